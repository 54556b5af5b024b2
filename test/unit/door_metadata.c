/*-------------------------------------------------------------------------
 *
 * door_metadata.c
 *	  A client at a real worker: what a record of a collection was put with is read
 *	  back, whole, over a split and a start.
 *
 * There is no placement driver: the client is given the words that one would have said,
 * and hears of the split from the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_children.h"

#include <jansson.h>

#include "base/log.h"
#include "client/client.h"
#include "patience.h"

#define N 200
#define LARGE 700000			/* bytes of some: two of them are more than a page */

static VtError err;
static char *words;				/* the route */

static int64_t
deadline(void)
{
	return clock_now_us() + PATIENCE_US;
}

static bool
kept(void *arg, const VtId *generation, Buf *out)
{
	(void) arg;
	(void) generation;
	buf_put(out, words, strlen(words));
	return true;
}

static Client *
client_new(void)
{
	ClientOptions options = {.role = WIRE_ROLE_GATEWAY, .ops = client_poll_ops};
	char		pd[128];
	Client	   *client;

	snprintf(pd, sizeof(pd), "unix:%s", scratch_path("nobody"));
	options.pd_endpoints = pd;
	options.ops.kept_route = kept;
	assert_int_equal(client_open(&options, &client, &err), VT_OK);
	return client;
}

/* What PD would say: these shards, all at the worker. */
static void
tell_route(const WireShardDesc *shards, int n)
{
	json_t	   *rows = json_array();
	json_t	   *answer;
	char		generation[VT_ID_TEXT];
	char		incarnation[VT_ID_TEXT];
	char		endpoint[128];

	snprintf(endpoint, sizeof(endpoint), "unix:%s", scratch_path("w"));
	for (int i = 0; i < n; i++)
	{
		Buf			desc = {0};
		char		hex[1000];

		wire_desc_put(&desc, &shards[i]);
		assert_true(desc.len * 2 < sizeof(hex));
		for (size_t k = 0; k < desc.len; k++)
			snprintf(hex + 2 * k, 3, "%02x", desc.data[k]);
		json_array_append_new(rows, json_pack("{s:s,s:s}", "desc", hex, "endpoint", endpoint));
		buf_free(&desc);
	}
	vt_id_format(&shards[0].generation, generation);
	vt_id_format(&shards[0].owner.incarnation, incarnation);
	answer = json_pack("{s:i,s:{s:s,s:{s:s,s:s,s:i},s:i,s:s,s:s,s:s,s:o}}", "status", 0, "route",
					   "generation", generation, "owner", "system", "42", "incarnation", incarnation, "database", 5, "dim", 0,
					   "metric", "l2", "route_version", "1", "state", "live", "shards", rows);
	assert_non_null(answer);
	free(words);
	words = json_dumps(answer, 0);
	json_decref(answer);
}

static Bytes
id_of(uint32_t n, uint8_t out[WIRE_TID_SIZE])
{
	wire_tid_put(out, n, 1);
	return bytes_of(out, WIRE_TID_SIZE);
}

/* Of the record's life-th put: none for every seventh, much for every fiftieth. */
static Bytes
metadata_of(uint32_t n, uint32_t life)
{
	static uint8_t bytes[LARGE];
	size_t		len = n % 50 == 49 ? LARGE : n % 7 == 0 ? 0 : 1 + n % 100;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t) (n * 31 + life + i);
	return bytes_of(bytes, len);
}

/* One by one, since metadata_of() has room for one. */
static void
put_all(Client *client, uint32_t life)
{
	WireShardDesc desc = desc_of(PARENT, 11);
	ClientWriter writer = {.generation = desc.generation, .owner = desc.owner, .timeline = 1, .once = true};

	for (uint32_t n = 0; n < N; n++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		ClientRecord record = {.id = id_of(n, id), .metadata = metadata_of(n, life)};

		writer.deadline_us = deadline();
		if (client_put(client, &writer, &record, 1, NULL, NULL, &err) != VT_OK)
			fail_msg("record %u: %s", n, vt_error_words(&err));
	}
}

/* Each record once, with what it was put with last; VT_LEASE_GONE: the shards have changed. */
static VtStatus
list_all(Client *client, uint32_t flags, uint32_t life)
{
	WireShardDesc desc = desc_of(PARENT, 11);
	bool		seen[N] = {0};
	ClientList *list;
	VtStatus	status = client_list_open(client, &desc.generation, &desc.owner, NULL, flags, deadline(), &list, &err);
	uint32_t	count = 0;

	for (WireListItem item; status == VT_OK; count++)
	{
		uint32_t	n;
		uint16_t	offset;

		status = client_list_next(list, deadline(), &item, &err);
		if (status != VT_OK || item.id.len == 0)
			break;
		assert_true(wire_tid_get(item.id, &n, &offset));
		assert_true(n < N && !seen[n]);
		seen[n] = true;
		assert_int_equal(item.dim, 0);
		assert_true(bytes_equal(item.metadata, flags & LIST_METADATA ? metadata_of(n, life) : bytes_of(NULL, 0)));
	}
	client_list_close(list);
	if (status == VT_OK)
		assert_int_equal(count, N);
	return status;
}

static void
assert_listed(Client *client, uint32_t life)
{
	static const uint32_t flags[] = {LIST_METADATA, LIST_METADATA | LIST_VECTORS, LIST_VECTORS, 0};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
	{
		VtStatus	status = list_all(client, flags[i], life);

		if (status != VT_OK)
			fail_msg("%s", vt_error_words(&err));
	}
}

static void
read_back_over_a_split_and_a_start(void **state)
{
	Worker	   *worker;
	WireShardDesc shards[2];
	Client	   *client;

	(void) state;
	dimensions = 0;
	worker = start_as_one();
	assert_int_equal(create(worker, PARENT, 11), VT_OK);
	shards[0] = desc_of(PARENT, 11);
	tell_route(shards, 1);
	client = client_new();
	put_all(client, 1);
	assert_listed(client, 1);

	/* Who listed by the old route begins again, by what the worker has told. */
	assert_int_equal(split(worker, child_of()), VT_OK);
	wait_for_shard(worker, CHILD);
	assert_int_equal(list_all(client, LIST_METADATA, 1), VT_LEASE_GONE);
	assert_listed(client, 1);
	put_all(client, 2);
	assert_listed(client, 2);
	assert_in_range(records_of(worker, CHILD), 1, N - 1);
	client_close(client);

	worker_stop(worker);
	worker = start();
	wait_for_shard(worker, CHILD);
	shards[1] = *child_of();
	shards[0].last = shards[1].first - 1;
	shards[0].range_ver = 2;
	tell_route(shards, 2);
	client = client_new();
	assert_listed(client, 2);
	client_close(client);
	worker_stop(worker);
	free(words);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(read_back_over_a_split_and_a_start, scratch_make, scratch_remove),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("door_metadata", tests, NULL, NULL);
}
