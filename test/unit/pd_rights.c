/*-------------------------------------------------------------------------
 *
 * pd_rights.c
 *	  What a gateway's certificate opens at the placement driver: a server asks, by
 *	  tcp, whether it may ask.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../../src/pd/service.h"
#include "certs_daemon.h"

#define OURS 9
#define THEIRS "10"

static TestCa ca;
static Pd	pd;
static NetServer *server;
static char endpoint[64];
static NetTls *server_tls;

static void
on_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	Question	q = {.conn = conn, .body = json_loadb((const char *) payload->data, payload->len, 0, NULL)};
	const char *op = json_string_value(json_object_get(q.body, "op"));

	(void) arg;
	net_reply_frame(conn, header->type, header->request, bytes_str(rights_allow(&pd, &q, op) ? "yes" : "no"));
	json_decref(q.body);
}

static void
on_closed(void *arg, NetConn *conn)
{
	(void) arg;
	(void) conn;
}

static Catalog catalog;

static int
setup(void **state)
{
	static CatalogCollection mine;
	static CatalogCollection others;
	static CatalogCollection *collections[2] = {&mine, &others};
	NetServerOptions options;

	if (scratch_make(state) != 0)
		return -1;
	net_block_signals();
	ca_make(&ca, 7);
	mine.generation.b[0] = 1;
	mine.owner.system = OURS;
	others.generation.b[0] = 2;
	others.owner.system = 10;
	pthread_mutex_init(&catalog.lock, NULL);
	catalog.collections = collections;
	catalog.ncollections = 2;
	for (size_t i = 0; i < catalog.ncollections; i++)
		places_put(&catalog, i, NULL);
	pd.catalog = &catalog;
	memset(&options, 0, sizeof(options));
	server_tls = tls_of(&ca, WIRE_ROLE_PD, "pd1");
	snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", free_port());
	options.endpoint = endpoint;
	options.role = WIRE_ROLE_PD;
	options.tls = server_tls;
	options.handler.frame = on_frame;
	options.handler.closed = on_closed;
	return net_server_start(&options, &server, NULL) == VT_OK ? 0 : -1;
}

static int
teardown(void **state)
{
	net_server_stop(server);
	net_tls_free(server_tls);
	ca_free(&ca);
	places_free(&catalog);
	return scratch_remove(state);
}

/* Ask all questions; the answers as a string of y and n. */
static void
ask(WireRole role, const char *name, const char *const *questions, const char *answers)
{
	NetPeerOptions options = {.endpoint = endpoint, .role = role, .expected = WIRE_ROLE_PD, .tls = tls_of(&ca, role, name)};
	NetPeer    *peer = net_peer_new(&options);
	Buf			reply = {0};
	VtError		err = {0};

	for (size_t i = 0; questions[i]; i++)
	{
		if (net_peer_call(peer, WIRE_CONTROL, bytes_str(questions[i]), 20000, &reply, &err) != VT_OK)
			fail_msg("%s", err.msg);
		if (reply.data[0] != (uint8_t) answers[i])
			fail_msg("%s \"%s\": %.*s", questions[i], name, (int) reply.len, (const char *) reply.data);
	}
	net_peer_free(peer);
	net_tls_free(options.tls);
	buf_free(&reply);
}

#define ID(digit) "\"0" digit "000000000000000000000000000000\""
#define OWNER(system) "\"owner\":{\"system\":\"" system "\",\"incarnation\":\"\",\"database\":5}"

static void
a_gateway_asks_for_its_own(void **state)
{
	static const char *const questions[] = {
		"{\"op\":\"status\"}", "{\"op\":\"workers\"}", "{\"op\":\"pds\"}", "{\"op\":\"collections\"}",
		"{\"op\":\"lease\",\"system\":\"9\"}", "{\"op\":\"lease\",\"system\":\"" THEIRS "\"}",
		"{\"op\":\"retire\",\"system\":\"9\"}", "{\"op\":\"retire\",\"system\":\"" THEIRS "\"}",
		"{\"op\":\"owned\"," OWNER("9") "}", "{\"op\":\"owned\"," OWNER(THEIRS) "}",
		"{\"op\":\"unused\"," OWNER("9") "}", "{\"op\":\"unused\"," OWNER(THEIRS) "}",
		"{\"op\":\"create_collection\"," OWNER(THEIRS) "}",
		"{\"op\":\"route\",\"generation\":" ID("1") "}", "{\"op\":\"route\",\"generation\":" ID("2") "}",
		"{\"op\":\"route\",\"generation\":" ID("3") "}",
		"{\"op\":\"drop_collection\",\"generation\":" ID("1") "," OWNER("9") "}",
		"{\"op\":\"drop_collection\",\"generation\":" ID("2") "," OWNER("9") "}",
		"{\"op\":\"undrop_collection\",\"generation\":" ID("2") "," OWNER("9") "}",
		"{\"op\":\"shards\",\"generation\":" ID("2") "}",
		NULL
	};

	(void) state;
	ask(WIRE_ROLE_GATEWAY, "9", questions, "yyyy" "yn" "yn" "yn" "yn" "n" "yny" "ynn" "n");
}

/* Moving replicas and drivers, and whatever comes after this was written. */
static void
the_rest_is_an_admins(void **state)
{
	static const char *const questions[] = {"{\"op\":\"drain\"}", "{\"op\":\"undrain\"}", "{\"op\":\"add_pd\"}",
	"{\"op\":\"remove_pd\"}", "{\"op\":\"register\"}", "{\"op\":\"something\"}", NULL};

	(void) state;
	ask(WIRE_ROLE_GATEWAY, "9", questions, "nnnnnn");
	ask(WIRE_ROLE_CTL, "anna", questions, "yyyyyy");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_gateway_asks_for_its_own),
		cmocka_unit_test(the_rest_is_an_admins),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
