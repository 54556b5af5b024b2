/*-------------------------------------------------------------------------
 *
 * worker_serve.c
 *	  A whole worker in this process, asked over its socket as a gateway asks.
 *
 * There is no placement driver: the shard is made by hand.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../src/worker/private.h"
#include "base/hash.h"
#include "base/log.h"

#define DIM 3
#define SHARD 7

/* -- A worker -------------------------------------------------------------- */

typedef struct Place
{
	char		directory[64];
	char		data[80];
	char		endpoint[96];
	char		pd[96];
	Worker	   *worker;
	WireShardDesc desc;
} Place;

static void
start(Place *place)
{
	WorkerOptions options;
	VtError		err = {0};

	memset(&options, 0, sizeof(options));
	options.data = place->data;
	vt_id_random(&options.data_id);
	options.listen = options.advertise = place->endpoint;
	options.pd = place->pd;
	options.search_threads = 2;
	options.boot_epoch = 1;
	if (worker_start(&options, &place->worker, &err) != VT_OK)
		fail_msg("worker: %s", vt_error_words(&err));
}

static int
set_up(void **state)
{
	Place	   *place = vt_alloc0(sizeof(Place));
	WireShardDesc *desc = &place->desc;
	VtError		err = {0};

	log_setup("test", LOG_LEVEL_ERROR);
	snprintf(place->directory, sizeof(place->directory), "/tmp/vectron-serve.XXXXXX");
	if (!mkdtemp(place->directory))
		return -1;
	snprintf(place->data, sizeof(place->data), "%s/data", place->directory);
	snprintf(place->endpoint, sizeof(place->endpoint), "unix:%s/w", place->directory);
	snprintf(place->pd, sizeof(place->pd), "unix:%s/pd", place->directory);
	if (mkdir(place->data, 0700) != 0)
		return -1;
	memset(desc->generation.b, 7, 16);
	desc->owner.system = 42;
	memset(desc->owner.incarnation.b, 9, 16);
	desc->owner.database = 5;
	desc->shard = SHARD;
	desc->incarnation = 3;
	desc->last = UINT64_MAX;
	desc->conf_ver = desc->range_ver = 1;
	desc->hash_kind = HASH_XXH3_64;
	desc->dim = DIM;
	desc->metric = VEC_L2;
	desc->element = VEC_FLOAT32;
	desc->m = 16;
	desc->ef_construction = 200;
	desc->nreplicas = 1;
	desc->replicas[0].store = 1;
	desc->replicas[0].replica = 77;
	desc->replicas[0].role = 1;
	start(place);
	if (worker_create_shard(place->worker, desc, &err) != VT_OK)
		fail_msg("shard: %s", vt_error_words(&err));
	*state = place;
	return 0;
}

static int
tear_down(void **state)
{
	Place	   *place = *state;
	char		command[128];
	int			rc;

	worker_stop(place->worker);
	snprintf(command, sizeof(command), "rm -rf %s", place->directory);
	rc = system(command);
	free(place);
	return rc;
}

/* -- A gateway ------------------------------------------------------------- */

typedef struct Gateway
{
	int			fd;
	uint64_t	requests;
	Buf			payload;		/* of the last reply */
	WireReply	head;
	Bytes		body;
} Gateway;

static void
read_fully(int fd, uint8_t *out, size_t n)
{
	while (n > 0)
	{
		ssize_t		got = read(fd, out, n);

		assert_true(got > 0);
		out += got;
		n -= (size_t) got;
	}
}

static void
send_frame(Gateway *g, WireKind kind, WireType type, uint64_t request, const Buf *payload)
{
	Buf			frame = {0};

	wire_frame_put(&frame, kind, type, request, buf_bytes(payload));
	assert_int_equal(write(g->fd, frame.data, frame.len), frame.len);
	buf_free(&frame);
}

static uint64_t
read_frame(Gateway *g)
{
	uint8_t		head[WIRE_HEADER_SIZE];
	WireHeader	header;

	read_fully(g->fd, head, sizeof(head));
	assert_int_equal(wire_header_get(head, &header, NULL), VT_OK);
	buf_clear(&g->payload);
	buf_reserve(&g->payload, header.length + 1);
	read_fully(g->fd, g->payload.data, header.length);
	g->payload.len = header.length;
	assert_int_equal(wire_payload_check(head, &header, buf_bytes(&g->payload), NULL), VT_OK);
	return header.request;
}

static void
dial(Gateway *g, const Place *place)
{
	struct sockaddr_un addr;
	WireHello	hello;
	Buf			payload = {0};

	memset(g, 0, sizeof(*g));
	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", place->endpoint + 5);
	g->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(g->fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	memset(&hello, 0, sizeof(hello));
	hello.version_low = hello.version_high = WIRE_VERSION;
	hello.role = WIRE_ROLE_GATEWAY;
	wire_hello_put(&payload, &hello);
	send_frame(g, WIRE_REQUEST, WIRE_HELLO, ++g->requests, &payload);
	read_frame(g);
	assert_int_equal(wire_hello_get(buf_bytes(&g->payload), &hello), VT_OK);
	assert_int_equal(hello.role, WIRE_ROLE_WORKER);
	buf_free(&payload);
}

static void
hang_up(Gateway *g)
{
	close(g->fd);
	buf_free(&g->payload);
}

/* Ask until the shard is ready; a started one says BUSY for a moment. */
static VtStatus
ask(Gateway *g, WireType type, const Buf *payload)
{
	do
	{
		send_frame(g, WIRE_REQUEST, type, ++g->requests, payload);
		assert_int_equal(read_frame(g), g->requests);
		assert_int_equal(wire_reply_get(buf_bytes(&g->payload), &g->head, &g->body), VT_OK);
	} while (g->head.status == VT_BUSY);
	return g->head.status;
}

/* A question in JSON; the answer lives until the next. */
static const char *
control(Gateway *g, const char *text)
{
	Buf			payload = {0};

	buf_put(&payload, text, strlen(text));
	send_frame(g, WIRE_REQUEST, WIRE_CONTROL, ++g->requests, &payload);
	assert_int_equal(read_frame(g), g->requests);
	buf_put_u8(&g->payload, 0);
	buf_free(&payload);
	return (const char *) g->payload.data;
}

static WireRoute
route(const Place *place)
{
	WireRoute	r;

	memset(&r, 0, sizeof(r));
	r.generation = place->desc.generation;
	r.owner = place->desc.owner;
	r.shard = place->desc.shard;
	r.range_ver = place->desc.range_ver;
	r.deadline_ms = 30000;
	return r;
}

static Bytes
id_of(uint32_t n, uint8_t out[WIRE_TID_SIZE])
{
	wire_tid_put(out, n, 1);
	return bytes_of(out, WIRE_TID_SIZE);
}

static uint32_t
number_of(Bytes id)
{
	uint32_t	block;
	uint16_t	offset;

	assert_true(wire_tid_get(id, &block, &offset));
	return block;
}

static void
vector_of(float x, uint8_t out[DIM * 4])
{
	for (int i = 0; i < DIM; i++)
	{
		float		y = i == 0 ? x : 0;
		uint32_t	bits;

		memcpy(&bits, &y, sizeof(bits));
		put_le32(out + 4 * i, bits);
	}
}

typedef struct Change
{
	WireWriteType type;
	WireRoute	route;
	uint64_t	fence;
	uint64_t	fence_to;
	uint32_t	first;			/* ids first .. first + n - 1, each at x = id */
	uint32_t	n;
	uint64_t	version;
	uint32_t	dim;
} Change;

static VtStatus
change(Gateway *g, const Change *c, WireWriteResult *result)
{
	WireWrite	write;
	Buf			payload = {0};
	size_t		begin;
	VtStatus	status;

	memset(&write, 0, sizeof(write));
	write.type = c->type;
	write.route = c->route;
	write.fence = c->fence;
	write.fence_to = c->fence_to;
	begin = wire_write_begin(&payload, &write);
	for (uint32_t i = 0; i < c->n; i++)
	{
		WireRecord	record;
		uint8_t		id[WIRE_TID_SIZE];
		uint8_t		vector[DIM * 4];

		memset(&record, 0, sizeof(record));
		vector_of((float) (c->first + i), vector);
		record.id = id_of(c->first + i, id);
		record.version = c->version;
		record.dim = c->dim;
		record.vector = vector;
		wire_record_put(&payload, c->type, &record);
	}
	wire_write_end(&payload, begin, c->n);
	status = ask(g, WIRE_WRITE, &payload);
	memset(result, 0, sizeof(*result));
	if (status == VT_OK)
	{
		assert_int_equal(wire_write_result_get(g->body, result), VT_OK);
		assert_int_equal(result->index, g->head.applied);
	}
	buf_free(&payload);
	return status;
}

static WireWriteResult
put(Gateway *g, const Place *place, uint32_t first, uint32_t n)
{
	Change		c = {WRITE_PUT, route(place), 0, 0, first, n, 0, DIM};
	WireWriteResult result;

	assert_int_equal(change(g, &c, &result), VT_OK);
	assert_int_equal(result.done, n);
	return result;
}

static uint64_t
count(Gateway *g, const Place *place)
{
	WireRead	read = {route(place)};
	WireReadResult result;
	Buf			payload = {0};

	wire_read_put(&payload, &read);
	assert_int_equal(ask(g, WIRE_READ_INDEX, &payload), VT_OK);
	assert_int_equal(wire_read_result_get(g->body, &result), VT_OK);
	buf_free(&payload);
	return result.records;
}

static WireSearch
question(const Place *place, const uint8_t *vector, uint32_t k)
{
	WireSearch	search;

	memset(&search, 0, sizeof(search));
	search.route = route(place);
	search.consistency = WIRE_LINEARIZABLE;
	search.k = k;
	search.ef = 100;
	search.dim = DIM;
	search.vector = vector;
	return search;
}

static VtStatus
search(Gateway *g, const WireSearch *s, WireSearchResult *result)
{
	Buf			payload = {0};
	VtStatus	status;

	wire_search_put(&payload, s);
	status = ask(g, WIRE_SEARCH, &payload);
	if (status == VT_OK && !(s->flags & SEARCH_CLOSE))
		assert_int_equal(wire_search_result_get(g->body, result), VT_OK);
	buf_free(&payload);
	return status;
}

static VtStatus
list(Gateway *g, const WireList *l, WireListResult *result)
{
	Buf			payload = {0};
	VtStatus	status;

	wire_list_put(&payload, l);
	status = ask(g, WIRE_LIST, &payload);
	if (status == VT_OK && !(l->flags & LIST_CLOSE))
		assert_int_equal(wire_list_result_get(g->body, result), VT_OK);
	buf_free(&payload);
	return status;
}

/* -- Tests ----------------------------------------------------------------- */

static void
written_found_listed_gone(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	WireWriteResult written;
	WireWriteResult result;
	WireSearchResult found;
	WireSearch	s;
	WireHit		hit;
	uint8_t		vector[DIM * 4];
	size_t		at = 0;
	Change		c;

	dial(&g, place);
	written = put(&g, place, 0, 100);
	assert_int_equal(g.head.shard, SHARD);
	assert_int_equal(g.head.incarnation, 3);
	assert_int_equal(g.head.first, 0);
	assert_true(g.head.last == UINT64_MAX);
	assert_int_equal(count(&g, place), 100);
	assert_true(g.head.applied >= written.index);

	vector_of(41.75f, vector);
	s = question(place, vector, 3);
	s.consistency = WIRE_AT_MARK;
	s.mark = written.index;
	assert_int_equal(search(&g, &s, &found), VT_OK);
	assert_int_equal(found.nhits, 3);
	for (uint32_t i = 0; i < 3; i++)
	{
		static const uint32_t nearest[] = {42, 41, 43};

		assert_true(wire_hit_next(&found, &at, &hit));
		assert_int_equal(number_of(hit.id), nearest[i]);
		assert_int_equal(hit.version, written.index);
	}

	/* A delete with another version than the record's does nothing. */
	c = (Change) {WRITE_DELETE, route(place), 0, 0, 42, 1, written.index + 1, 0};
	assert_int_equal(change(&g, &c, &result), VT_OK);
	assert_int_equal(result.done, 0);
	c.version = written.index;
	assert_int_equal(change(&g, &c, &result), VT_OK);
	assert_int_equal(result.done, 1);
	s.mark = result.index;
	at = 0;
	assert_int_equal(search(&g, &s, &found), VT_OK);
	assert_true(wire_hit_next(&found, &at, &hit));
	assert_int_equal(number_of(hit.id), 41);
	assert_int_equal(count(&g, place), 99);
	hang_up(&g);
}

static void
fences_and_refusals(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	WireWriteResult result;
	WireSearchResult found;
	uint8_t		vector[DIM * 4];
	WireSearch	s;
	Buf			rubbish = {0};
	Change		c = {WRITE_RAISE, route(place), 0, 8, 0, 0, 0, 0};

	dial(&g, place);
	assert_int_equal(change(&g, &c, &result), VT_OK);
	assert_int_equal(result.took, 1);
	assert_int_equal(g.head.fence, 8);
	assert_int_equal(change(&g, &c, &result), VT_OK);
	assert_int_equal(result.took, 0);

	c = (Change) {WRITE_PUT, route(place), 7, 0, 1, 1, 0, DIM};
	assert_int_equal(change(&g, &c, &result), VT_FENCED);
	assert_int_equal(g.head.fence, 8);
	c.fence = 8;
	assert_int_equal(change(&g, &c, &result), VT_OK);

	c.dim = DIM - 1;
	assert_int_equal(change(&g, &c, &result), VT_INVALID);
	c.dim = DIM;
	c.route.owner.database++;
	assert_int_equal(change(&g, &c, &result), VT_NOT_OWNER);
	c.route = route(place);
	c.route.generation.b[0]++;
	assert_int_equal(change(&g, &c, &result), VT_UNKNOWN_GENERATION);
	c.route = route(place);
	c.route.range_ver++;
	assert_int_equal(change(&g, &c, &result), VT_WRONG_SHARD);
	c.route = route(place);
	c.route.shard++;
	assert_int_equal(change(&g, &c, &result), VT_WRONG_SHARD);

	vector_of(0, vector);
	s = question(place, vector, 0);
	assert_int_equal(search(&g, &s, &found), VT_INVALID);
	s = question(place, vector, 1);
	s.consistency = WIRE_AT_MARK;
	s.mark = 1000000;
	assert_int_equal(search(&g, &s, &found), VT_BEHIND);
	s = question(place, vector, 1);
	s.lease = 12345;
	assert_int_equal(search(&g, &s, &found), VT_LEASE_GONE);

	buf_put_u64(&rubbish, 1);
	assert_int_equal(ask(&g, WIRE_WRITE, &rubbish), VT_VERSION);
	assert_int_equal(ask(&g, WIRE_SEARCH, &rubbish), VT_PROTOCOL);
	assert_int_equal(ask(&g, WIRE_LIST, &rubbish), VT_PROTOCOL);
	assert_int_equal(ask(&g, WIRE_READ_INDEX, &rubbish), VT_PROTOCOL);

	assert_non_null(strstr(control(&g, "{\"op\":\"status\"}"), "\"status\":0"));
	assert_non_null(strstr(control(&g, "{\"op\":\"status\"}"), "\"records\":\"1\""));
	assert_non_null(strstr(control(&g, "{\"op\":\"dance\"}"), "\"status\":2"));
	assert_non_null(strstr(control(&g, "{\"op\":"), "\"status\":2"));
	buf_free(&rubbish);
	assert_int_equal(count(&g, place), 1);
	hang_up(&g);
}

static void
scans_end_when_nothing_is_left(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	Gateway		other;
	uint8_t		vector[DIM * 4];
	uint8_t		id[WIRE_TID_SIZE];
	bool		seen[500] = {false};
	Buf			excluded = {0};
	WireSearch	s;
	WireSearchResult found;
	WireHit		hit;
	double		last = -1;
	uint32_t	n = 0;

	dial(&g, place);
	dial(&other, place);
	for (uint32_t i = 0; i < 500; i += 50)
		put(&g, place, i, 50);
	vector_of(100.25f, vector);
	s = question(place, vector, 7);
	for (uint32_t i = 0; i < 10; i++)
		wire_id_put(&excluded, id_of(100 + i, id));
	s.nexcluded = 10;
	s.excluded = buf_bytes(&excluded);
	do
	{
		size_t		at = 0;

		assert_int_equal(search(&g, &s, &found), VT_OK);
		while (wire_hit_next(&found, &at, &hit))
		{
			uint32_t	number = number_of(hit.id);

			assert_true(number < 500 && (number < 100 || number > 109));
			assert_false(seen[number]);
			assert_true(hit.distance >= last);
			seen[number] = true;
			last = hit.distance;
			n++;
		}
		assert_true(found.exhausted || found.lease != 0);
		s.lease = found.lease;
		s.nexcluded = 0;
		s.excluded = bytes_of(NULL, 0);
		s.k = s.k * 2;
	} while (!found.exhausted);
	assert_int_equal(n, 490);
	buf_free(&excluded);

	/* Nothing is kept for who wants no more; with what came excluded it goes on. */
	s = question(place, vector, 7);
	s.flags = SEARCH_ONCE;
	assert_int_equal(search(&g, &s, &found), VT_OK);
	assert_int_equal(found.nhits, 7);
	assert_int_equal(found.lease, 0);
	assert_int_equal(found.exhausted, 0);

	/* A scan belongs to its connection, and ends when it is closed. */
	s = question(place, vector, 1);
	assert_int_equal(search(&g, &s, &found), VT_OK);
	s.lease = found.lease;
	assert_int_equal(search(&other, &s, &found), VT_LEASE_GONE);
	assert_int_equal(search(&g, &s, &found), VT_OK);
	s.flags = SEARCH_CLOSE;
	assert_int_equal(search(&g, &s, &found), VT_OK);
	s.flags = 0;
	assert_int_equal(search(&g, &s, &found), VT_LEASE_GONE);

	/* It ends when the request that used it last is cancelled. */
	s = question(place, vector, 1);
	assert_int_equal(search(&g, &s, &found), VT_OK);
	s.lease = found.lease;
	assert_int_equal(search(&g, &s, &found), VT_OK);
	send_frame(&g, WIRE_CANCEL, WIRE_SEARCH, g.requests - 1, &(Buf) {0});
	assert_int_equal(search(&g, &s, &found), VT_OK);
	send_frame(&g, WIRE_CANCEL, WIRE_SEARCH, g.requests, &(Buf) {0});
	assert_int_equal(search(&g, &s, &found), VT_LEASE_GONE);
	hang_up(&other);
	hang_up(&g);
}

static void
listings_are_whole_and_counted(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	WireList	l;
	WireListResult page;
	WireListItem item;
	uint32_t	n = 0;
	uint32_t	pages = 0;

	dial(&g, place);
	put(&g, place, 0, 200);
	memset(&l, 0, sizeof(l));
	l.route = route(place);
	l.flags = LIST_VECTORS;
	l.limit_bytes = 1000;
	l.mark = 1000000;
	assert_int_equal(list(&g, &l, &page), VT_BEHIND);
	l.mark = 0;
	do
	{
		size_t		at = 0;

		assert_int_equal(list(&g, &l, &page), VT_OK);
		while (wire_list_item_next(&page, &at, &item))
		{
			uint8_t		vector[DIM * 4];

			assert_int_equal(number_of(item.id), n);
			vector_of((float) n++, vector);
			assert_int_equal(item.dim, DIM);
			assert_memory_equal(item.vector, vector, sizeof(vector));
		}
		l.lease = page.lease;
		if (pages++ == 0)
			put(&g, place, 1000, 50);	/* too late for this listing */
	} while (!page.last);
	assert_int_equal(page.total, n);
	assert_int_equal(n, 200);
	assert_true(pages > 3);
	assert_int_equal(list(&g, &l, &page), VT_LEASE_GONE);
	hang_up(&g);
}

static void
it_is_all_there_after_a_restart(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	WireWriteResult result;
	char		path[128];
	Change		raise = {WRITE_RAISE, route(place), 0, 4, 0, 0, 0, 0};

	dial(&g, place);
	put(&g, place, 0, 30);
	assert_int_equal(change(&g, &raise, &result), VT_OK);
	hang_up(&g);
	worker_stop(place->worker);

	/* Beside it, a shard whose creation was cut off. */
	snprintf(path, sizeof(path), "%s/shards/%016x", place->data, 99);
	assert_int_equal(mkdir(path, 0700), 0);
	start(place);
	dial(&g, place);
	assert_int_equal(count(&g, place), 30);
	assert_int_equal(g.head.fence, 4);
	hang_up(&g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(written_found_listed_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(fences_and_refusals, set_up, tear_down),
		cmocka_unit_test_setup_teardown(scans_end_when_nothing_is_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(listings_are_whole_and_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(it_is_all_there_after_a_restart, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("worker_serve", tests, NULL, NULL);
}
