/*-------------------------------------------------------------------------
 *
 * worker_rights.c
 *	  What a gateway's certificate opens at a worker: what is its own server's, and of
 *	  another server's nothing, though it may know generation, owner and all.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_place.h"

#include "certs_daemon.h"

#define OURS "42"				/* the owner in worker_place.h */
#define THEIRS "43"
#define RECORDS 20

static TestCa ca;

/* A server's gateway, over tcp. */
typedef struct Caller
{
	NetTls	   *tls;
	NetPeer    *peer;
	Buf			reply;
	WireReply	head;			/* of the last one */
	Bytes		body;
} Caller;

static int
set_up_tls(void **state)
{
	Place	   *place;
	Gateway		g;

	if (scratch_make(state) != 0 || set_up_floats(state) != 0)
		return -1;
	place = *state;
	dial(&g, place);
	put(&g, place, 0, RECORDS);
	hang_up(&g);
	worker_stop(place->worker);
	net_block_signals();
	ca_make(&ca, 7);
	certificates = tls_of(&ca, WIRE_ROLE_WORKER, "w1");
	snprintf(place->endpoint, sizeof(place->endpoint), "tcp://127.0.0.1:%d", free_port());
	start(place);
	return 0;
}

static int
tear_down_tls(void **state)
{
	int			rc = tear_down(state);

	net_tls_free(certificates);
	certificates = NULL;
	ca_free(&ca);
	return scratch_remove(state) | rc;
}

static void
caller_begin(Caller *caller, const Place *place, const char *system)
{
	NetPeerOptions options = {.endpoint = place->endpoint, .role = WIRE_ROLE_GATEWAY, .expected = WIRE_ROLE_WORKER};

	memset(caller, 0, sizeof(*caller));
	options.tls = caller->tls = tls_of(&ca, WIRE_ROLE_GATEWAY, system);
	caller->peer = net_peer_new(&options);
}

static void
caller_end(Caller *caller)
{
	net_peer_free(caller->peer);
	net_tls_free(caller->tls);
	buf_free(&caller->reply);
}

/* Takes the payload. */
static VtStatus
call(Caller *caller, WireType type, Buf *payload)
{
	int64_t		until = clock_now_us() + 30 * INT64_C(1000000);
	VtError		err = {0};

	do
	{
		if (clock_now_us() > until)
			fail_msg("the shard is not ready");
		if (net_peer_call(caller->peer, type, buf_bytes(payload), 20000, &caller->reply, &err) != VT_OK)
			fail_msg("%s", vt_error_words(&err));
		assert_int_equal(wire_reply_get(buf_bytes(&caller->reply), &caller->head, &caller->body), VT_OK);
	} while (caller->head.status == VT_BUSY);
	buf_free(payload);
	return caller->head.status;
}

static VtStatus
call_write(Caller *caller, const Change *change)
{
	Gateway		plain = {0};
	Buf			payload = change_encode(&plain, change);

	return call(caller, WIRE_WRITE, &payload);
}

static VtStatus
call_search(Caller *caller, const WireSearch *search)
{
	Buf			payload = {0};

	wire_search_put(&payload, search);
	return call(caller, WIRE_SEARCH, &payload);
}

static VtStatus
call_list(Caller *caller, const WireList *list)
{
	Buf			payload = {0};

	wire_list_put(&payload, list);
	return call(caller, WIRE_LIST, &payload);
}

static VtStatus
call_read(Caller *caller, const Place *place)
{
	WireRead	read = {route(place)};
	Buf			payload = {0};

	wire_read_put(&payload, &read);
	return call(caller, WIRE_READ_INDEX, &payload);
}

static uint64_t
records(Caller *caller, const Place *place)
{
	WireReadResult result;

	assert_int_equal(call_read(caller, place), VT_OK);
	assert_int_equal(wire_read_result_get(caller->body, &result), VT_OK);
	return result.records;
}

/* Nothing comes with a refusal but its words. */
static void
is_denied(const Caller *caller, VtStatus status)
{
	assert_int_equal(status, VT_DENIED);
	assert_int_equal(caller->body.len, 0);
}

/*
 * Law T2: another server's certificate, and in the question all that is the owner's, as it may
 * stand in a copy of that one's disk.  It reads nothing, changes nothing, raises no fence, and
 * cannot go on with what the owner began.
 */
static void
another_server_is_refused(void **state)
{
	static const WireWriteType writes[] = {WRITE_PUT, WRITE_DELETE, WRITE_RAISE, WRITE_INGEST_BEGIN, WRITE_INGEST_END, WRITE_OPEN};
	static const WireConsistency kinds[] = {WIRE_AT_MARK, WIRE_LINEARIZABLE, WIRE_EVENTUAL};
	Place	   *place = *state;
	Change		more = {.type = WRITE_PUT, .route = route(place), .first = RECORDS, .n = 1, .dim = DIM};
	WireList	all = {.route = route(place), .limit_bytes = 100000};
	Buf			status = {0};
	VtError		err = {0};
	WireSearchResult found;
	WireHit		hit;
	size_t		at = 0;
	Caller		ours;
	Caller		theirs;
	uint8_t		vector[DIM * 4];
	WireSearch	nearest = question(place, vector, 1);

	vector_of(5, vector);
	caller_begin(&ours, place, OURS);
	caller_begin(&theirs, place, THEIRS);
	assert_int_equal(call_search(&ours, &nearest), VT_OK);
	assert_int_equal(wire_search_result_get(ours.body, &found), VT_OK);
	assert_true(wire_hit_next(&found, &at, &hit));
	assert_true(found.lease != 0);

	is_denied(&theirs, call_read(&theirs, place));
	is_denied(&theirs, call_list(&theirs, &all));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
	{
		nearest.consistency = kinds[i];
		is_denied(&theirs, call_search(&theirs, &nearest));
	}
	nearest.lease = found.lease;
	is_denied(&theirs, call_search(&theirs, &nearest));
	nearest.flags = SEARCH_CLOSE;
	is_denied(&theirs, call_search(&theirs, &nearest));
	for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
	{
		Change		c = {.type = writes[i], .route = route(place), .first = 5, .dim = DIM};

		c.n = writes[i] == WRITE_PUT || writes[i] == WRITE_DELETE;
		c.version = writes[i] == WRITE_DELETE ? hit.version : 0;
		c.fence_to = writes[i] == WRITE_RAISE ? 1000 : 0;
		is_denied(&theirs, call_write(&theirs, &c));
	}
	/* Nor what a worker says of everybody's shards. */
	assert_int_equal(net_peer_call(theirs.peer, WIRE_CONTROL, bytes_str("{\"op\":\"status\"}"), 20000, &status, &err), VT_OK);
	buf_put_u8(&status, 0);
	assert_null(strstr((const char *) status.data, "shards"));

	/* All is as it was: the row, the fence, the scan that the owner goes on with. */
	nearest.flags = 0;
	assert_int_equal(call_search(&ours, &nearest), VT_OK);
	assert_int_equal(ours.head.fence, 0);
	assert_int_equal(records(&ours, place), RECORDS);
	assert_int_equal(call_list(&ours, &all), VT_OK);
	assert_int_equal(call_write(&ours, &more), VT_OK);
	buf_free(&status);
	caller_end(&ours);
	caller_end(&theirs);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(another_server_is_refused, set_up_tls, tear_down_tls),
	};

	return cmocka_run_group_tests_name("worker_rights", tests, NULL, NULL);
}
