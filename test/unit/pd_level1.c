/*-------------------------------------------------------------------------
 *
 * pd_level1.c
 *	  What a placement driver of the first release with feature levels has left when
 *	  it was killed is known to this one (test/golden/level1), and decided on.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/net.h"
#include "pd/pd.h"
#include "patience.h"
#include "scratch.h"

typedef struct Driver
{
	Store	   *log;
	Store	   *rows;
	Pd		   *pd;
	char		endpoint[128];
} Driver;

static void
start(Driver *d)
{
	StoreOptions log_options = {.write_buffer = 1 << 20, .must_exist = true};
	StoreOptions row_options = {.write_buffer = 1 << 20, .must_exist = true, .replayed = true};
	PdOptions	options = {.listen = d->endpoint, .peers = "", .boot_epoch = (uint64_t) clock_now_us(),
		.keep_dropped_us = INT64_C(3600000000), .down_after_us = INT64_C(600000000), .default_replicas = 1,
		.replicas_max = 5, .checkpoint_bytes = 16 << 20};
	VtError		err = {0};

	if (store_open(scratch_path("log"), &log_options, &d->log, &err) != VT_OK ||
		store_open(scratch_path("catalog"), &row_options, &d->rows, &err) != VT_OK ||
		pd_start(d->log, d->rows, &options, &d->pd, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
}

static void
stop(Driver *d)
{
	pd_stop(d->pd);
	store_close(d->rows);
	store_close(d->log);
}

static json_t *
ask_once(const Driver *d, const char *question)
{
	NetPeerOptions options = {.endpoint = d->endpoint, .role = WIRE_ROLE_CTL};
	NetPeer    *peer = net_peer_new(&options);
	Buf			reply = {0};
	VtError		err = {0};
	json_t	   *answer;

	if (net_peer_call(peer, WIRE_CONTROL, bytes_str(question), 60000, &reply, &err) != VT_OK)
		fail_msg("%s: %s", question, vt_error_words(&err));
	answer = json_loadb((const char *) reply.data, reply.len, 0, NULL);
	assert_non_null(answer);
	net_peer_free(peer);
	buf_free(&reply);
	return answer;
}

/* It may still be electing itself. */
static json_t *
ask(const Driver *d, const char *question)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	json_t	   *answer;

	while (answer = ask_once(d, question),
		   json_integer_value(json_object_get(answer, "status")) == VT_NOT_LEADER && clock_now_us() < until)
	{
		json_decref(answer);
		usleep(1000);
	}
	return answer;
}

static VtStatus
status_of(const Driver *d, const char *question)
{
	json_t	   *answer = ask(d, question);
	VtStatus	status = (VtStatus) json_integer_value(json_object_get(answer, "status"));

	json_decref(answer);
	return status;
}

/* A member in words, of an object that has it as such. */
static const char *
text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	if (!text)
		fail_msg("no \"%s\" in the answer", name);
	return text;
}

/* A descriptor, in hex digits. */
static WireShardDesc
desc_of(const char *hex)
{
	WireShardDesc desc;
	Buf			bytes = {0};
	Cursor		c;
	uint8_t		byte;

	for (; sscanf(hex, "%2hhx", &byte) == 1; hex += 2)
		buf_put_u8(&bytes, byte);
	c = cursor_of(buf_bytes(&bytes));
	assert_int_equal(wire_desc_get(&c, &desc), VT_OK);
	assert_true(cursor_done(&c));
	buf_free(&bytes);
	return desc;
}

typedef struct Part
{
	uint64_t	shard;
	uint64_t	first;
	uint64_t	last;
} Part;

/* The route has these shards. */
static void
assert_route(const Driver *d, const char *generation, WireElement element, const Part *parts, size_t n)
{
	char		question[128];
	json_t	   *answer;
	json_t	   *list;
	json_t	   *row;
	size_t		i;

	snprintf(question, sizeof(question), "{\"op\":\"route\",\"generation\":\"%s\"}", generation);
	answer = ask(d, question);
	if (json_integer_value(json_object_get(answer, "status")) != VT_OK)
		fail_msg("%s: %s", question, text_of(answer, "message"));
	list = json_object_get(json_object_get(answer, "route"), "shards");
	assert_int_equal(json_array_size(list), n);
	json_array_foreach(list, i, row)
	{
		WireShardDesc desc = desc_of(text_of(row, "desc"));

		assert_int_equal(desc.shard, parts[i].shard);
		assert_int_equal(desc.first, parts[i].first);
		assert_int_equal(desc.last, parts[i].last);
		assert_int_equal(desc.dim, 3);
		assert_int_equal(desc.element, element);
		assert_int_equal(desc.owner.system, 42);
	}
	json_decref(answer);
}

static void
all_is_known(const Driver *d, bool drained)
{
	static const Part floats[] = {
		{UINT64_C(0x1152488d00000002), 0, UINT64_C(0x3fffffffffffffff)},
		{UINT64_C(0x1152488d00000004), UINT64_C(0x8000000000000000), UINT64_MAX},
		{UINT64_C(0x1152488d00000008), UINT64_C(0x4000000000000000), UINT64_C(0x7fffffffffffffff)}
	};
	static const Part halves[] = {{UINT64_C(0x1152488d00000006), 0, UINT64_MAX}};
	json_t	   *answer;
	json_t	   *workers;

	assert_route(d, "01010101010101010101010101010101", WIRE_FLOAT32, floats, 3);
	assert_route(d, "02020202020202020202020202020202", WIRE_FLOAT16, halves, 1);
	answer = ask(d, "{\"op\":\"status\"}");
	assert_int_equal(json_integer_value(json_object_get(answer, "level")), 1);
	json_decref(answer);
	answer = ask(d, "{\"op\":\"dump\"}");
	workers = json_object_get(answer, "stores");
	assert_int_equal(json_array_size(workers), 1);
	assert_string_equal(text_of(json_array_get(workers, 0), "store"), "1248139817162637313");
	assert_int_equal(json_is_true(json_object_get(json_array_get(workers, 0), "draining")), drained);
	json_decref(answer);
}

static void
what_was_decided_is_known(void **state)
{
	Driver		d = {0};
	char		command[200];

	(void) state;
	log_setup("pd", LOG_LEVEL_ERROR);
	snprintf(d.endpoint, sizeof(d.endpoint), "unix:%s/pd", scratch);
	snprintf(command, sizeof(command), "cp -r test/golden/level1/pd/. %s/", scratch);
	if (system(command) != 0)
		fail_msg("test/golden is not here; tests run from the top of the tree");
	start(&d);
	all_is_known(&d, false);

	/* Something is decided, and what was is there with it after another start. */
	assert_int_equal(status_of(&d, "{\"op\":\"drain\",\"store\":\"1248139817162637313\"}"), VT_OK);
	stop(&d);
	start(&d);
	all_is_known(&d, true);
	stop(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_decided_is_known, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("pd_level1", tests, NULL, NULL);
}
