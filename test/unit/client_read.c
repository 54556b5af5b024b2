/*-------------------------------------------------------------------------
 *
 * client_read.c
 *	  Listings that are whole or fail, and scans that are merged, complete and
 *	  free of repeats whatever happens in between.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_truth.h"

#include <sched.h>

static VtError err;

/* -- Listings -------------------------------------------------------------- */

/* List all; the status of the end, and how many came. */
static VtStatus
list_all(Setup *s, uint32_t flags, const ClientMarks *marks, size_t *n)
{
	ClientList *list;
	WireListItem item;
	VtStatus	status = client_list_open(s->client, &s->w.generation, &s->w.owner, marks, flags,
										  in_ms(LONG_MS), &list, &err);

	*n = 0;
	assert_int_equal(status, VT_OK);
	for (;;)
	{
		status = client_list_next(list, in_ms(LONG_MS), &item, &err);
		if (status != VT_OK || item.id.len == 0)
			break;
		(*n)++;
		pthread_mutex_lock(&s->w.lock);
		{
			FakeRecord *r = shard_record(world_place(&s->w, item.id), item.id);

			assert_non_null(r);
			assert_int_equal(item.version, r->version);
			assert_int_equal(item.dim, flags & LIST_VECTORS ? DIM : 0);
			if (flags & LIST_VECTORS)
				assert_memory_equal(item.vector, r->vector, sizeof(r->vector));
			assert_true(bytes_equal(item.metadata, flags & LIST_METADATA ? item.id : bytes_of(NULL, 0)));
		}
		pthread_mutex_unlock(&s->w.lock);
	}
	/* The end stays the end. */
	assert_int_equal(client_list_next(list, in_ms(LONG_MS), &item, &err), status);
	assert_int_equal(item.id.len, 0);
	client_list_close(list);
	return status;
}

static void
a_listing_is_whole(void **state)
{
	static const uint32_t pages[] = {1, 7, 100000};
	Setup		s;
	size_t		n;

	(void) state;
	set_up(&s, 5, 300);
	for (int i = 0; i < 3; i++)
	{
		s.w.page = pages[i];
		for (uint32_t flags = 0; flags <= (LIST_VECTORS | LIST_METADATA); flags++)
		{
			if (flags & LIST_CLOSE)
				continue;
			assert_int_equal(list_all(&s, flags, NULL, &n), VT_OK);
			assert_int_equal(n, 300);
		}
	}
	tear_down(&s);
}

/* The page that was asked for ahead of time is here when the caller comes for it, whose time is over. */
static bool
is_taken_though_late(Setup *s)
{
	uint64_t	before = world_count(&s->w, WIRE_LIST);
	ClientList *list;
	WireListItem item;
	VtStatus	status;

	assert_int_equal(client_list_open(s->client, &s->w.generation, &s->w.owner, NULL, 0, in_ms(LONG_MS), &list, &err), VT_OK);
	for (int i = 0; i < 7; i++)
		assert_int_equal(client_list_next(list, in_ms(LONG_MS), &item, &err), VT_OK);
	while (world_count(&s->w, WIRE_LIST) < before + 2)
		sched_yield();
	status = client_list_next(list, in_ms(0), &item, &err);
	assert_true(status == VT_OK || status == VT_TIMEOUT);
	client_list_close(list);
	return status == VT_OK;
}

static void
an_answer_that_is_here_is_taken(void **state)
{
	Setup		s;
	int			tries = 0;

	(void) state;
	set_up(&s, 1, 20);
	while (!is_taken_though_late(&s))	/* it was on its way */
		assert_true(++tries < 1000);
	tear_down(&s);
}

static void
an_empty_generation_lists_nothing(void **state)
{
	Setup		s;
	size_t		n;

	(void) state;
	set_up(&s, 3, 0);
	assert_int_equal(list_all(&s, LIST_VECTORS, NULL, &n), VT_OK);
	assert_int_equal(n, 0);
	assert_int_equal(world_count(&s.w, WIRE_LIST), 3);
	tear_down(&s);
}

static void
a_listing_that_lies_is_refused(void **state)
{
	Setup		s;
	size_t		n;

	(void) state;
	set_up(&s, 3, 90);
	/* A count that does not match, on any shard's last page. */
	s.w.page = 1000;
	for (int after = 0; after < 3; after++)
	{
		world_trick(&s.w, WIRE_LIST, after, WRONG_TOTAL, VT_OK);
		assert_int_equal(list_all(&s, 0, NULL, &n), VT_CORRUPT);
		assert_true(n < 90 || after == 2);
		assert_non_null(strstr(err.msg, "shard 10"));
	}
	/* A record that belongs elsewhere. */
	world_trick(&s.w, WIRE_LIST, 1, FOREIGN_RECORD, VT_OK);
	assert_int_equal(list_all(&s, 0, NULL, &n), VT_CORRUPT);
	tear_down(&s);
}

/* A page is what was asked for: with metadata or without. */
static void
a_page_of_something_else_is_refused(void **state)
{
	static const uint32_t flags[] = {0, LIST_METADATA};
	Setup		s;
	size_t		n;

	(void) state;
	set_up(&s, 3, 90);
	for (int i = 0; i < 2; i++)
		for (int after = 0; after < 3; after++)
		{
			world_trick(&s.w, WIRE_LIST, after, OTHER_PAGE, VT_OK);
			assert_int_equal(list_all(&s, flags[i], NULL, &n), VT_PROTOCOL);
		}
	tear_down(&s);
}

/* Whether they were met or not: the error says what to do, and what they do list is listed. */
static void
workers_of_before_list_no_metadata(void **state)
{
	Setup		s;
	Fake		pd;
	size_t		n;
	uint32_t	asked;

	(void) state;
	for (int met = 0; met < 2; met++)
	{
		set_up_with_pd(&s, 4, 90, &pd);
		s.w.lacks = WIRE_FEATURE_METADATA;
		if (met)
			assert_int_equal(list_all(&s, LIST_VECTORS, NULL, &n), VT_OK);
		asked = world_count(&s.w, WIRE_LIST);
		assert_int_equal(list_all(&s, LIST_METADATA, NULL, &n), VT_VERSION);
		assert_int_equal(n, 0);
		assert_non_null(strstr(err.msg, "shard 100"));
		assert_non_null(strstr(err.msg, "upgrade the workers"));
		/* Who is known is not asked what he does not understand, but whether he leads. */
		assert_int_equal(world_count(&s.w, WIRE_LIST) - asked, met ? 1 : 2);
		assert_int_equal(s.w.nonsense, met ? 0 : 1);
		assert_int_equal(list_all(&s, 0, NULL, &n), VT_OK);
		assert_int_equal(n, 90);
		fake_stop(&pd);
		tear_down(&s);
	}

	/* One of two: what the newer one has comes, and nothing is taken for the whole. */
	set_up(&s, 4, 90);
	s.w.lacks = WIRE_FEATURE_METADATA;
	s.w.newer = &s.a;
	assert_int_equal(list_all(&s, LIST_METADATA, NULL, &n), VT_VERSION);
	assert_in_range(n, 1, 89);
	tear_down(&s);
}

static void
a_first_page_is_asked_for_again(void **state)
{
	static const Trick kinds[] = {
		{WIRE_LIST, 0, LEAVE_HOLE, VT_OK}, {WIRE_LIST, 0, OTHER_LIFE, VT_OK},
		{WIRE_LIST, 0, CLOSE_BEFORE, VT_OK}, {WIRE_LIST, 0, CLOSE_AFTER, VT_OK},
		{WIRE_LIST, 0, BAD_CHECKSUM, VT_OK}, {WIRE_LIST, 0, REFUSE, VT_BUSY},
		{WIRE_LIST, 0, REFUSE, VT_BEHIND}, {WIRE_LIST, 0, REFUSE, VT_NOT_LEADER},
		{WIRE_LIST, 0, REFUSE, VT_WRONG_SHARD},
	};
	Setup		s;
	size_t		n;

	(void) state;
	set_up(&s, 3, 90);
	s.w.page = 1000;			/* one page a shard: every page is a first page */
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (int after = 0; after < 3; after++)
		{
			world_trick(&s.w, WIRE_LIST, after, kinds[k].what, kinds[k].status);
			assert_int_equal(list_all(&s, 0, NULL, &n), VT_OK);
			assert_int_equal(n, 90);
			assert_int_equal(s.w.ntricks, 0);
		}
	tear_down(&s);
}

/* In its middle a stream cannot be entered again: the caller starts over. */
static void
a_broken_stream_ends_the_listing(void **state)
{
	static const Trick kinds[] = {
		{WIRE_LIST, 0, LEAVE_HOLE, VT_OK}, {WIRE_LIST, 0, CLOSE_BEFORE, VT_OK},
		{WIRE_LIST, 0, CLOSE_AFTER, VT_OK}, {WIRE_LIST, 0, BAD_CHECKSUM, VT_OK},
		{WIRE_LIST, 0, REFUSE, VT_LEASE_GONE}, {WIRE_LIST, 0, REFUSE, VT_WRONG_SHARD},
	};
	Setup		s;
	size_t		n;

	(void) state;
	set_up(&s, 1, 60);
	s.w.page = 10;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (int after = 1; after < 6; after++)
		{
			world_trick(&s.w, WIRE_LIST, after, kinds[k].what, kinds[k].status);
			assert_int_equal(list_all(&s, 0, NULL, &n), VT_LEASE_GONE);
			assert_int_equal(n, after * 10);
			/* Beginning again helps. */
			assert_int_equal(list_all(&s, 0, NULL, &n), VT_OK);
			assert_int_equal(n, 60);
		}
	/* A refusal at the door does not move the stream. */
	world_trick(&s.w, WIRE_LIST, 3, REFUSE, VT_BUSY);
	assert_int_equal(list_all(&s, 0, NULL, &n), VT_OK);
	assert_int_equal(n, 60);
	tear_down(&s);
}

static void
a_listing_older_than_its_mark_is_refused(void **state)
{
	Setup		s;
	ClientMark	mark = {100, 1, 1000, 0};
	ClientMarks marks = {.n = 1, .items = &mark};
	size_t		n;

	(void) state;
	set_up(&s, 1, 20);
	assert_int_equal(list_all(&s, 0, &marks, &n), VT_PROTOCOL);
	mark.index = s.w.shards[0].index;
	assert_int_equal(list_all(&s, 0, &marks, &n), VT_OK);
	assert_int_equal(n, 20);
	tear_down(&s);
}

/* A mark of another life of a shard, or of none of the shards, covers nothing. */
static void
a_listing_needs_a_mark_of_each_shard(void **state)
{
	Setup		s;
	ClientMark	mark[2] = {{100, 7, 1, 0}, {101, 1, 1, 0}};
	ClientMarks marks = {.n = 2, .items = mark};
	ClientList *list;

	(void) state;
	set_up(&s, 2, 20);
	assert_int_equal(client_list_open(s.client, &s.w.generation, &s.w.owner, &marks, 0, in_ms(LONG_MS),
									  &list, &err), VT_WRONG_SHARD);
	assert_null(list);
	mark[0].incarnation = 1;
	marks.n = 1;
	assert_int_equal(client_list_open(s.client, &s.w.generation, &s.w.owner, &marks, 0, in_ms(LONG_MS),
									  &list, &err), VT_WRONG_SHARD);
	assert_int_equal(world_count(&s.w, WIRE_LIST), 0);
	tear_down(&s);
}

static void
a_listing_left_early_lets_go(void **state)
{
	Setup		s;
	ClientList *list;
	WireListItem item;
	size_t		n;

	(void) state;
	set_up(&s, 2, 100);
	assert_ok(client_list_open(s.client, &s.w.generation, &s.w.owner, NULL, 0, in_ms(LONG_MS), &list, &err));
	for (int i = 0; i < 10; i++)
		assert_int_equal(client_list_next(list, in_ms(LONG_MS), &item, &err), VT_OK);
	client_list_close(list);
	assert_int_equal(list_all(&s, 0, NULL, &n), VT_OK);
	assert_int_equal(n, 100);
	assert_int_equal(s.w.closes, 1);
	assert_int_equal(s.w.cancels, 1);
	assert_int_equal(world_count(&s.w, WIRE_HELLO), 2);

	/* One that is never closed goes with its client. */
	assert_ok(client_list_open(s.client, &s.w.generation, &s.w.owner, NULL, 0, in_ms(LONG_MS), &list, &err));
	assert_ok(client_list_next(list, in_ms(LONG_MS), &item, &err));
	tear_down(&s);
}

/* -- Scans ----------------------------------------------------------------- */

static const float query[DIM] = {1, 2, 0, 3};

static ClientScan *
scan_open(Setup *s, uint32_t batch, const ClientMarks *marks)
{
	ClientSearch search = {.generation = s->w.generation, .owner = s->w.owner, .query = query,
		.dim = DIM, .batch = batch, .ef = 100, .consistency = WIRE_AT_MARK, .marks = marks};
	ClientScan *scan;

	assert_ok(client_scan_open(s->client, &search, in_ms(LONG_MS), &scan, &err));
	return scan;
}

static void
shards_are_merged_by_distance_and_id(void **state)
{
	static const uint32_t nshards[] = {1, 2, 7};
	static const uint32_t batches[] = {1, 10, 1000};

	(void) state;
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++)
		{
			Setup		s;
			Truth		t;
			ClientScan *scan;
			ClientScanStats stats;
			size_t		at = 0;

			/* 4^4 vectors for 400 records: ties everywhere. */
			set_up(&s, nshards[i], 400);
			t = truth_of(&s.w, query);
			scan = scan_open(&s, batches[j], NULL);
			assert_hits(scan, &t, &at, 0);
			client_scan_stats(scan, &stats);
			assert_int_equal(stats.hits, 400);
			assert_int_equal(stats.late, 0);
			if (batches[j] == 1000)
				assert_int_equal(stats.batches, nshards[i]);
			client_scan_close(scan);
			truth_free(&t);
			tear_down(&s);
		}
}

/* What was sent to the workers before has been served afterwards. */
static void
talk_to_both(Setup *s)
{
	for (int i = 0; i < 2; i++)
	{
		const char *reply;

		assert_ok(client_control_at(s->client, i ? s->a.endpoint : s->b.endpoint, "{}", in_ms(LONG_MS),
									&reply, &err));
	}
}

static void
the_first_batch_is_one_question_a_shard(void **state)
{
	Setup		s;
	Truth		t;
	ClientScan *scan;
	size_t		at = 0;

	(void) state;
	set_up(&s, 4, 200);
	t = truth_of(&s.w, query);
	scan = scan_open(&s, 10, NULL);
	assert_hits(scan, &t, &at, 10);
	assert_int_equal(world_count(&s.w, WIRE_SEARCH), 4);
	client_scan_close(scan);
	/* Nothing was kept for it, so there is nothing to close. */
	talk_to_both(&s);
	assert_int_equal(s.w.closes, 0);

	/* Beyond it the workers keep state; leaving early tells them, without waiting. */
	at = 0;
	scan = scan_open(&s, 10, NULL);
	assert_hits(scan, &t, &at, 100);
	client_scan_close(scan);
	talk_to_both(&s);
	assert_int_equal(s.w.closes, 4);
	truth_free(&t);
	tear_down(&s);
}

static void
an_empty_generation_has_no_hits(void **state)
{
	Setup		s;
	ClientScan *scan;
	Truth		t;
	size_t		at = 0;

	(void) state;
	set_up(&s, 3, 0);
	t = truth_of(&s.w, query);
	scan = scan_open(&s, 10, NULL);
	assert_hits(scan, &t, &at, 0);
	truth_free(&t);
	tear_down(&s);				/* frees the scan */
}

/* Whatever passes, at every place of the scan: the same hits, each once. */
static void
a_scan_survives_what_passes(void **state)
{
	static const Trick kinds[] = {
		{WIRE_SEARCH, 0, CLOSE_BEFORE, VT_OK}, {WIRE_SEARCH, 0, CLOSE_AFTER, VT_OK},
		{WIRE_SEARCH, 0, CLOSE_IN_MIDDLE, VT_OK}, {WIRE_SEARCH, 0, BAD_CHECKSUM, VT_OK},
		{WIRE_SEARCH, 0, STALE_FIRST, VT_OK}, {WIRE_SEARCH, 0, LEAVE_HOLE, VT_OK},
		{WIRE_SEARCH, 0, OTHER_LIFE, VT_OK}, {WIRE_SEARCH, 0, EMPTY_BATCH, VT_OK},
		{WIRE_SEARCH, 0, REPEAT_BATCH, VT_OK}, {WIRE_SEARCH, 0, NO_LEASE, VT_OK},
		{WIRE_SEARCH, 0, SHUFFLED, VT_OK},
		{WIRE_SEARCH, 0, REFUSE, VT_BUSY}, {WIRE_SEARCH, 0, REFUSE, VT_BEHIND},
		{WIRE_SEARCH, 0, REFUSE, VT_NOT_LEADER}, {WIRE_SEARCH, 0, REFUSE, VT_WRONG_SHARD},
		{WIRE_SEARCH, 0, REFUSE, VT_STOPPING},
	};

	(void) state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
	{
		Setup		s;
		Truth		t;

		set_up(&s, 3, 300);
		t = truth_of(&s.w, query);
		for (int after = 0; after < 9; after++)
		{
			ClientScan *scan = scan_open(&s, 5, NULL);
			size_t		at = 0;

			world_trick(&s.w, WIRE_SEARCH, after, kinds[k].what, kinds[k].status);
			assert_hits(scan, &t, &at, 0);
			assert_int_equal(s.w.ntricks, 0);
			client_scan_close(scan);
		}
		truth_free(&t);
		tear_down(&s);
	}
}

static void
a_lost_lease_goes_on_by_exclusion(void **state)
{
	Setup		s;
	Truth		t;
	ClientScan *scan;
	size_t		at = 0;

	(void) state;
	set_up(&s, 1, 200);
	t = truth_of(&s.w, query);
	scan = scan_open(&s, 20, NULL);
	assert_hits(scan, &t, &at, 20);
	assert_hits(scan, &t, &at, 1);
	assert_int_equal(s.w.last_nexcluded, 20);	/* nothing is kept for a first batch */
	assert_hits(scan, &t, &at, 39);
	pthread_mutex_lock(&s.w.lock);
	leases_drop(&s.w, -1);
	pthread_mutex_unlock(&s.w.lock);
	assert_hits(scan, &t, &at, 1);
	assert_int_equal(s.w.last_nexcluded, 60);
	assert_hits(scan, &t, &at, 0);
	client_scan_close(scan);
	truth_free(&t);
	tear_down(&s);
}

/* By lease and by exclusion; and none that the attributes cannot answer leaves. */
static void
a_filter_goes_with_every_question(void **state)
{
	WireClause	clause = {.op = WIRE_CLAUSE_BETWEEN, .lo = 1, .hi = 2};
	Setup		s;
	Truth		t;
	Buf			filter = {0};
	ClientSearch search = {.query = query, .dim = DIM, .batch = 20, .ef = 100, .consistency = WIRE_AT_MARK};
	ClientScan *scan;
	size_t		begin = wire_predicate_begin(&filter);
	size_t		at = 0;

	(void) state;
	wire_clause_put(&filter, &clause);
	wire_predicate_end(&filter, begin, 1);
	set_up(&s, 3, 200);
	search.generation = s.w.generation;
	search.owner = s.w.owner;
	search.filter = buf_bytes(&filter);
	assert_int_equal(client_scan_open(s.client, &search, in_ms(LONG_MS), &scan, &err), VT_INVALID);
	assert_int_equal(world_count(&s.w, WIRE_SEARCH), 0);
	for (int i = 0; i < 3; i++)
	{
		s.w.shards[i].desc.nattributes = 1;
		s.w.shards[i].desc.attributes[0] = WIRE_ATTR_ORDERED;
	}
	client_route_forget(s.client, &s.w.generation);
	s.w.filter = search.filter;
	t = truth_of(&s.w, query);
	assert_ok(client_scan_open(s.client, &search, in_ms(LONG_MS), &scan, &err));
	assert_hits(scan, &t, &at, 70);
	pthread_mutex_lock(&s.w.lock);
	leases_drop(&s.w, -1);
	pthread_mutex_unlock(&s.w.lock);
	assert_hits(scan, &t, &at, 0);
	assert_true(world_count(&s.w, WIRE_SEARCH) > 6);
	assert_int_equal(s.w.unfiltered, 0);
	client_scan_close(scan);
	truth_free(&t);
	buf_free(&filter);
	tear_down(&s);
}

/*
 * A worker that was started again gives the same numbers to other leases: a
 * lease of the old connection must not be asked for on the new one.
 */
static void
a_lease_is_not_carried_to_another_connection(void **state)
{
	Setup		s;
	Truth		t;
	ClientScan *scan;
	ClientScan *other;
	size_t		at = 0;
	size_t		other_at = 0;

	(void) state;
	set_up(&s, 1, 200);
	t = truth_of(&s.w, query);
	scan = scan_open(&s, 20, NULL);
	assert_hits(scan, &t, &at, 60);
	world_trick(&s.w, WIRE_CONTROL, 0, CLOSE_BEFORE, VT_OK);
	{
		const char *reply;

		assert_ok(client_control(s.client, "{}", in_ms(LONG_MS), &reply, &err));
	}
	s.w.lease_ids = 0;
	other = scan_open(&s, 50, NULL);
	assert_hits(other, &t, &other_at, 51);	/* its lease has the number again */
	assert_hits(scan, &t, &at, 0);
	assert_hits(other, &t, &other_at, 0);
	client_scan_close(scan);
	client_scan_close(other);
	truth_free(&t);
	tear_down(&s);
}

static void
two_scans_and_a_listing_go_side_by_side(void **state)
{
	Setup		s;
	Truth		t;
	ClientScan *one;
	ClientScan *two;
	ClientList *list;
	WireListItem item;
	size_t		at_one = 0;
	size_t		at_two = 0;

	(void) state;
	set_up(&s, 3, 240);
	t = truth_of(&s.w, query);
	one = scan_open(&s, 5, NULL);
	two = scan_open(&s, 30, NULL);
	assert_ok(client_list_open(s.client, &s.w.generation, &s.w.owner, NULL, LIST_VECTORS, in_ms(LONG_MS), &list, &err));
	for (int i = 0; i < 240; i++)
	{
		assert_hits(one, &t, &at_one, 1);
		assert_int_equal(client_list_next(list, in_ms(LONG_MS), &item, &err), VT_OK);
		assert_true(item.id.len > 0);
		if (i % 2)
			assert_hits(two, &t, &at_two, 2);
	}
	assert_ok(client_list_next(list, in_ms(LONG_MS), &item, &err));
	assert_int_equal(item.id.len, 0);
	assert_hits(one, &t, &at_one, 0);
	assert_hits(two, &t, &at_two, 0);
	client_list_close(list);
	truth_free(&t);
	tear_down(&s);
}

/* A record put after its neighbourhood was returned comes late, and says so. */
static void
a_nearer_hit_that_comes_later_is_marked(void **state)
{
	Setup		s;
	ClientScan *scan;
	ClientHit	hit;
	bool		found;
	ClientScanStats stats;
	uint32_t	late = 0;
	size_t		n = 0;

	(void) state;
	set_up(&s, 2, 100);
	scan = scan_open(&s, 10, NULL);
	for (int i = 0; i < 40; i++, n++)
		assert_ok(client_scan_next(scan, in_ms(LONG_MS), &hit, &found, &err));
	pthread_mutex_lock(&s.w.lock);
	shard_put(world_place(&s.w, bytes_str("new")), bytes_str("new"), (const uint8_t *) query, false);
	leases_drop(&s.w, -1);
	pthread_mutex_unlock(&s.w.lock);
	for (;; n++)
	{
		assert_ok(client_scan_next(scan, in_ms(LONG_MS), &hit, &found, &err));
		if (!found)
			break;
		late += hit.late;
		assert_int_equal(hit.late, bytes_equal(hit.id, bytes_str("new")));
	}
	assert_int_equal(late, 1);
	assert_int_equal(n, 101);
	client_scan_stats(scan, &stats);
	assert_int_equal(stats.late, 1);
	client_scan_close(scan);
	tear_down(&s);
}

/*
 * Both shards become two in the middle of the scan; ids keep their hashes.  Where marks of
 * the shards are known as of a route, what they are split into needs no leader.
 */
static void
a_scan_goes_on_over_a_split(void **state)
{
	Setup		s;
	Truth		t;
	ClientScan *scan;
	size_t		at = 0;

	(void) state;
	for (size_t before = 0; before < 60; before += 7)
	{
		uint32_t	known = before % 2;
		ClientMark	mark[2] = {{100, 1, 1, known}, {101, 1, 1, known}};
		ClientMarks marks = {.n = 2, .items = mark};

		set_up(&s, 2, 300);
		t = truth_of(&s.w, query);
		scan = scan_open(&s, 10, &marks);
		at = 0;
		if (before)
			assert_hits(scan, &t, &at, before);
		pthread_mutex_lock(&s.w.lock);
		world_split_both(&s.w, &s.b, &s.a);
		pthread_mutex_unlock(&s.w.lock);
		assert_hits(scan, &t, &at, 0);
		if (known)
			assert_int_equal(s.w.linearizable, 0);
		else
			assert_true(s.w.linearizable >= 2);
		client_scan_close(scan);
		truth_free(&t);
		tear_down(&s);
	}
}

static void
marks_are_kept_by_every_answer(void **state)
{
	Setup		s;
	Truth		t;
	ClientMark	mark = {100, 1, 1, 0};
	ClientMarks marks = {.n = 1, .items = &mark};
	ClientMarks answered;
	ClientScan *scan;
	ClientHit	hit;
	bool		found;
	size_t		at = 0;
	uint32_t	before;

	(void) state;
	set_up(&s, 1, 60);
	t = truth_of(&s.w, query);
	mark.index = s.w.shards[0].index;
	scan = scan_open(&s, 5, &marks);
	client_scan_marks(scan, &answered);
	assert_int_equal(answered.n, 0);	/* nobody has answered yet */
	assert_hits(scan, &t, &at, 1);
	assert_int_equal(s.w.last_mark, mark.index);
	assert_hits(scan, &t, &at, 0);
	assert_int_equal(s.w.last_mark, mark.index);	/* of the last batch too */
	client_scan_close(scan);

	/* Asked by ReadIndex for want of a mark, it says where the shard stood. */
	scan = scan_open(&s, 5, NULL);
	at = 0;
	assert_hits(scan, &t, &at, 1);
	client_scan_marks(scan, &answered);
	assert_int_equal(answered.n, 1);
	assert_int_equal(answered.items[0].shard, 100);
	assert_int_equal(answered.items[0].incarnation, 1);
	assert_int_equal(answered.items[0].index, mark.index);
	assert_int_equal(answered.route_version, 1);
	client_marks_free(&answered);
	client_scan_close(scan);

	/* An answer from before the mark is none, even if it says that it is one. */
	world_trick(&s.w, WIRE_SEARCH, 0, OLD_VIEW, VT_OK);
	before = world_count(&s.w, WIRE_SEARCH);
	scan = scan_open(&s, 5, &marks);
	at = 0;
	assert_hits(scan, &t, &at, 5);
	assert_int_equal(world_count(&s.w, WIRE_SEARCH), before + 2);
	client_scan_close(scan);

	/* Nobody has applied it: the call waits, and fails. */
	mark.index++;
	scan = scan_open(&s, 5, &marks);
	assert_told(VT_BEHIND, client_scan_next(scan, in_ms(500), &hit, &found, &err));
	assert_false(found);
	/* Until somebody has. */
	pthread_mutex_lock(&s.w.lock);
	s.w.shards[0].index++;
	pthread_mutex_unlock(&s.w.lock);
	at = 0;
	assert_hits(scan, &t, &at, 0);
	client_scan_close(scan);

	/* A newer route than ours is known elsewhere: it is asked for. */
	before = world_count(&s.w, WIRE_CONTROL);
	marks.route_version = 1;
	scan = scan_open(&s, 5, &marks);
	client_scan_close(scan);
	assert_int_equal(world_count(&s.w, WIRE_CONTROL), before);
	marks.route_version = 2;
	scan = scan_open(&s, 5, &marks);
	client_scan_close(scan);
	assert_int_equal(world_count(&s.w, WIRE_CONTROL), before + 1);
	truth_free(&t);
	tear_down(&s);
}

static void
definite_errors_end_a_scan(void **state)
{
	static const Trick kinds[] = {
		{WIRE_SEARCH, 0, REFUSE, VT_NOT_OWNER}, {WIRE_SEARCH, 0, REFUSE, VT_VERSION},
		{WIRE_SEARCH, 0, FOREIGN_RECORD, VT_CORRUPT},
	};
	Setup		s;
	ClientScan *scan;
	ClientHit	hit;
	bool		found;
	ClientSearch search;

	(void) state;
	set_up(&s, 2, 100);
	for (size_t k = 0; k < 3; k++)
	{
		scan = scan_open(&s, 5, NULL);
		world_trick(&s.w, WIRE_SEARCH, 1, kinds[k].what, kinds[k].status);
		assert_int_equal(client_scan_next(scan, in_ms(LONG_MS), &hit, &found, &err), kinds[k].status);
		assert_non_null(strstr(err.msg, "shard 10"));
		client_scan_close(scan);
	}
	/* A worker that promises more and gives nothing does not hold us for ever. */
	for (int i = 0; i < 20; i++)
		world_trick(&s.w, WIRE_SEARCH, 0, EMPTY_BATCH, VT_OK);
	scan = scan_open(&s, 5, NULL);
	assert_int_equal(client_scan_next(scan, in_ms(LONG_MS), &hit, &found, &err), VT_PROTOCOL);
	client_scan_close(scan);
	forget_tricks(&s.w);

	memset(&search, 0, sizeof(search));
	search.generation = s.w.generation;
	search.query = query;
	search.dim = DIM - 1;
	search.batch = 1;
	assert_int_equal(client_scan_open(s.client, &search, in_ms(LONG_MS), &scan, &err), VT_INVALID);
	tear_down(&s);
}

/* Interrupted at any wait, the scan goes on where it was. */
static void
a_cancelled_scan_is_never_confused(void **state)
{
	Setup		s;
	Truth		t;

	(void) state;
	set_up(&s, 3, 300);
	s.a.drip = 61;				/* b does not, so answers come in pieces and at once */
	t = truth_of(&s.w, query);
	for (int i = 0; i < 30; i++)
	{
		ClientScan *scan = scan_open(&s, 2, NULL);
		ClientHit	hit;
		bool		found;
		size_t		at = 0;
		int			cancelled = 0;

		while (at < 40)
		{
			VtStatus	status;

			/* In the first batch; or in a later one, which has moved the worker's state. */
			s.watch.waits_left = i % 2 == 0 ? (cancelled < 5 ? i / 2 : -1) :
				(cancelled < 1 && at >= 2 ? i / 2 % 5 : -1);
			s.watch.then = VT_CANCELLED;
			status = client_scan_next(scan, in_ms(LONG_MS), &hit, &found, &err);
			if (status == VT_CANCELLED)
			{
				cancelled++;
				continue;
			}
			assert_int_equal(status, VT_OK);
			assert_true(found);
			assert_true(hit.distance == t.distances[at]);
			assert_true(bytes_equal(hit.id, bytes_of(t.records[at].id, t.records[at].id_len)));
			at++;
		}
		s.watch.waits_left = -1;
		client_scan_close(scan);
	}
	truth_free(&t);
	tear_down(&s);
}

/* Random trouble by seed: the hits are always those of the truth. */
static void
random_trouble_changes_nothing(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 20; seed++)
	{
		Prng		prng = {seed};
		Setup		s;
		Truth		t;
		ClientScan *scan;
		size_t		at = 0;

		set_up(&s, 1 + prng_below(&prng, 5), 250);
		t = truth_of(&s.w, query);
		scan = scan_open(&s, 1 + prng_below(&prng, 20), NULL);
		world_trouble(&s.w, &prng, 10);
		while (at < t.n)
		{
			size_t		n = 1 + prng_below(&prng, 40);

			assert_hits(scan, &t, &at, n < t.n - at ? n : t.n - at);
			if (prng_below(&prng, 3) == 0)
			{
				pthread_mutex_lock(&s.w.lock);
				leases_drop(&s.w, -1);
				pthread_mutex_unlock(&s.w.lock);
			}
		}
		assert_hits(scan, &t, &at, 0);
		client_scan_close(scan);
		truth_free(&t);
		tear_down(&s);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listing_is_whole),
		cmocka_unit_test(an_answer_that_is_here_is_taken),
		cmocka_unit_test(an_empty_generation_lists_nothing),
		cmocka_unit_test(a_listing_that_lies_is_refused),
		cmocka_unit_test(a_page_of_something_else_is_refused),
		cmocka_unit_test(workers_of_before_list_no_metadata),
		cmocka_unit_test(a_first_page_is_asked_for_again),
		cmocka_unit_test(a_broken_stream_ends_the_listing),
		cmocka_unit_test(a_listing_older_than_its_mark_is_refused),
		cmocka_unit_test(a_listing_needs_a_mark_of_each_shard),
		cmocka_unit_test(a_listing_left_early_lets_go),
		cmocka_unit_test(shards_are_merged_by_distance_and_id),
		cmocka_unit_test(the_first_batch_is_one_question_a_shard),
		cmocka_unit_test(an_empty_generation_has_no_hits),
		cmocka_unit_test(a_scan_survives_what_passes),
		cmocka_unit_test(a_lost_lease_goes_on_by_exclusion),
		cmocka_unit_test(a_filter_goes_with_every_question),
		cmocka_unit_test(a_lease_is_not_carried_to_another_connection),
		cmocka_unit_test(two_scans_and_a_listing_go_side_by_side),
		cmocka_unit_test(a_nearer_hit_that_comes_later_is_marked),
		cmocka_unit_test(a_scan_goes_on_over_a_split),
		cmocka_unit_test(marks_are_kept_by_every_answer),
		cmocka_unit_test(definite_errors_end_a_scan),
		cmocka_unit_test(a_cancelled_scan_is_never_confused),
		cmocka_unit_test(random_trouble_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
