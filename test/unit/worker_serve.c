/*-------------------------------------------------------------------------
 *
 * worker_serve.c
 *	  A whole worker in this process, asked over its socket as a gateway asks.
 *
 * There is no placement driver: the shard is made by hand.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "worker_place.h"

static int
set_up_halves(void **state)
{
	return set_up_with(state, VEC_FLOAT16, 0);
}

static int
set_up_codes(void **state)
{
	quantization = QUANTIZATION_INT8_ONLY;
	return set_up_floats(state);
}

static int
set_up_attributes(void **state)
{
	return set_up_with(state, VEC_FLOAT32, 2);
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
	assert_int_equal(g.head.incarnation, 1);
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
	c = (Change) {WRITE_DELETE, route(place), 0, 0, 42, 1, written.index + 1, 0, 0, 0, 0};
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
	Change		c = {WRITE_RAISE, route(place), 0, 8, 0, 0, 0, 0, 0, 0, 0};

	dial(&g, place);
	assert_int_equal(change(&g, &c, &result), VT_OK);
	assert_int_equal(result.took, 1);
	assert_int_equal(g.head.fence, 8);
	assert_int_equal(change(&g, &c, &result), VT_OK);
	assert_int_equal(result.took, 0);

	c = (Change) {WRITE_PUT, route(place), 7, 0, 1, 1, 0, DIM, 0, 0, 0};
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

/* Scans over many shards of one worker are closed together: more than may be under way. */
static void
closed_in_one_burst(Gateway *g, const Place *place)
{
	enum
	{
		N = 2 * WIRE_OUTSTANDING_MAX
	};
	uint8_t		vector[DIM * 4];
	WireSearch	s;
	WireSearchResult found;
	Buf			frames = {0};

	vector_of(0, vector);
	for (int i = 0; i < N; i++)
	{
		Buf			payload = {0};

		s = question(place, vector, 1);
		assert_int_equal(search(g, &s, &found), VT_OK);
		s.lease = found.lease;
		s.flags = SEARCH_CLOSE;
		wire_search_put(&payload, &s);
		wire_frame_put(&frames, WIRE_REQUEST, WIRE_SEARCH, g->requests + N, buf_bytes(&payload));
		buf_free(&payload);
	}
	assert_int_equal(place->worker->nleases, N);
	assert_int_equal(write(g->fd, frames.data, frames.len), frames.len);
	for (int i = 0; i < N; i++)
	{
		read_frame(g);
		assert_int_equal(wire_reply_get(buf_bytes(&g->payload), &g->head, &g->body), VT_OK);
		assert_int_equal(g->head.status, VT_OK);
	}
	assert_int_equal(place->worker->nleases, 0);
	buf_free(&frames);
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

	closed_in_one_burst(&g, place);

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

/* What a split leaves of the other half for a while: more of it than one question is to read. */
static void
rows_of_others_are_passed_by(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	Shard	   *shard = worker_find_shard(place->worker, SHARD);
	StoreBatch *batch = store_batch_new();
	WireList	l = {.route = route(place), .limit_bytes = 4 << 20};
	WireListResult page;
	WireListItem item;
	uint8_t		vector[DIM * 4];
	uint8_t    *metadata = calloc(1, 100000);
	Buf			key = {0};
	Buf			value = {0};
	uint32_t	own = 0;
	uint32_t	n = 0;
	uint32_t	pages = 0;

	dial(&g, place);
	put(&g, place, 0, 50);
	for (uint32_t i = 0; i < 250; i++)
	{
		StoreRow	row = {.index = 1, .dim = DIM, .vector = vector, .metadata = bytes_of(metadata, 100000)};
		uint8_t		id[WIRE_TID_SIZE];

		wire_tid_put(id, i, 1);
		own += wire_place(&shard->desc, bytes_of(id, sizeof(id))) <= UINT64_MAX / 2;
		if (i < 50)
			continue;
		vector_of((float) i, vector);
		row_key(&key, bytes_of(id, sizeof(id)));
		buf_clear(&value);
		row_put(&value, &row);
		store_batch_put(batch, buf_bytes(&key), buf_bytes(&value));
	}
	assert_int_equal(store_write(shard->rows, batch, false, NULL), VT_OK);
	assert_in_range(own, 1, 249);
	atomic_store(&shard->last, UINT64_MAX / 2);
	do
	{
		size_t		at = 0;

		assert_int_equal(list(&g, &l, &page), VT_OK);
		while (wire_list_item_next(&page, &at, &item))
		{
			assert_true(wire_place(&shard->desc, item.id) <= UINT64_MAX / 2);
			n++;
		}
		l.lease = page.lease;
		pages++;
	} while (!page.last);
	assert_int_equal(n, own);
	assert_int_equal(page.total, own);
	assert_true(pages > 1);
	atomic_store(&shard->last, UINT64_MAX);
	shard_release(shard);
	store_batch_free(batch);
	buf_free(&key);
	buf_free(&value);
	free(metadata);
	hang_up(&g);
}

static void
it_is_all_there_after_a_restart(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	WireWriteResult result;
	char		path[128];
	Change		raise = {WRITE_RAISE, route(place), 0, 4, 0, 0, 0, 0, 0, 0, 0};

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

/* The nearest record and how far it is. */
static void
assert_nearest(Gateway *g, const Place *place, float x, uint32_t id, double distance)
{
	WireSearchResult found;
	WireSearch	s;
	WireHit		hit;
	uint8_t		vector[DIM * 4];
	size_t		at = 0;

	vector_of(x, vector);
	s = question(place, vector, 1);
	assert_int_equal(search(g, &s, &found), VT_OK);
	assert_true(wire_hit_next(&found, &at, &hit));
	assert_int_equal(number_of(hit.id), id);
	assert_true(hit.distance == distance);
}

/* Does the answer to who wants it exact say that it is? */
static bool
is_exact(Gateway *g, const Place *place)
{
	WireSearchResult found;
	WireSearch	s;
	uint8_t		vector[DIM * 4];

	vector_of(7, vector);
	s = question(place, vector, 3);
	s.flags = SEARCH_EXACT;
	assert_int_equal(search(g, &s, &found), VT_OK);
	assert_int_equal(found.nhits, 3);
	return found.exact;
}

/* Above 2048 every second number is a half: 2049 lies at 2048, 2051 at 2052. */
static void
halves_are_kept(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	Change		c = {WRITE_PUT, route(place), 0, 0, 2049, 3, 0, DIM, 0, 0, 0};
	WireWriteResult result;
	WireList	l;
	WireListResult page;
	WireListItem item;
	static const float listed[] = {2048, 2050, 2052};
	size_t		at = 0;
	uint32_t	n = 0;
	Store	   *rows;
	StoreIter  *iter;
	Bytes		key;
	Bytes		value;

	dial(&g, place);
	g.halves = true;
	assert_int_equal(change(&g, &c, &result), VT_OK);
	assert_int_equal(result.done, 3);
	assert_nearest(&g, place, 2047.5f, 2049, 0.5);
	assert_nearest(&g, place, 2050, 2050, 0);
	assert_nearest(&g, place, 2052.25f, 2051, 0.25);
	assert_true(is_exact(&g, place));

	/* Another element: refused, and nothing of it is there. */
	g.halves = false;
	c.first = 9;
	assert_int_equal(change(&g, &c, &result), VT_INVALID);
	assert_int_equal(count(&g, place), 3);

	/* Listings are of float32. */
	memset(&l, 0, sizeof(l));
	l.route = route(place);
	l.flags = LIST_VECTORS;
	assert_int_equal(list(&g, &l, &page), VT_OK);
	for (; wire_list_item_next(&page, &at, &item); n++)
	{
		uint8_t		vector[DIM * 4];

		assert_int_equal(number_of(item.id), 2049 + n);
		vector_of(listed[n], vector);
		assert_int_equal(item.dim, DIM);
		assert_memory_equal(item.vector, vector, sizeof(vector));
	}
	assert_int_equal(n, 3);
	hang_up(&g);
	worker_stop(place->worker);

	/* Rows are halves, too. */
	rows = open_rows(place);
	iter = store_iter_open(rows, bytes_of("v", 1), bytes_of("w", 1));
	for (n = 0; store_iter_next(iter, &key, &value); n++)
	{
		StoreRow	row;

		assert_int_equal(row_get(value, &row, NULL), VT_OK);
		assert_int_equal(row.element, ROW_FLOAT16);
		assert_int_equal(row.dim, DIM);
		assert_int_equal(get_le16(row.vector), 0x6800 + n);
	}
	assert_int_equal(n, 3);
	store_iter_close(iter);
	store_close(rows);
	start(place);
	dial(&g, place);
	assert_int_equal(count(&g, place), 3);
	assert_nearest(&g, place, 2047.5f, 2049, 0.5);
	hang_up(&g);
}

/* What is not indexed is told to who can read it, at whatever level: older gateways live longest. */
static void
unindexed_is_told(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	Gateway		older;
	Change		c = {WRITE_PUT, route(place), 0, 0, 0, 300, 0, DIM, 0, 0, 0};
	WireWriteResult result;
	WireSearchResult found;
	WireSearch	s;
	uint8_t		vector[DIM * 4];
	int64_t		until = clock_now_us() + 30 * INT64_C(1000000);

	vector_of(7, vector);
	s = question(place, vector, 1);
	dial(&g, place);
	assert_int_equal(change(&g, &c, &result), VT_OK);
	dial_with(&older, place, 0);
	assert_int_equal(search(&older, &s, &found), VT_OK);
	assert_false(found.says_unindexed);
	hang_up(&older);
	do
	{
		assert_true(clock_now_us() < until);
		assert_int_equal(search(&g, &s, &found), VT_OK);
		assert_true(found.says_unindexed && found.unindexed <= 300);
		assert_true(found.meant >= 64);
	} while (found.unindexed > 0);
	hang_up(&g);
}

/* Memory has what codes stand for; rows, listings and what is made of rows have the vectors. */
static void
codes_alone(void **state)
{
	Place	   *place = *state;
	uint32_t	n = 1;
	Gateway		g;
	Change		c = {WRITE_PUT, route(place), 0, 0, 0, 3, 0, DIM, 0, 0, 0};
	WireWriteResult result;

	/* One that no code stands for. */
	while (255 * ((float) n / 255) == (float) n)
		n++;
	c.first = n;
	dial(&g, place);
	assert_int_equal(change(&g, &c, &result), VT_OK);
	for (int start_again = 0; start_again <= 1; start_again++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		uint8_t		vector[DIM * 4];
		float		has[DIM];
		Shard	   *shard = worker_find_shard(place->worker, SHARD);
		uint64_t	version;
		uint32_t	slot;
		WireList	l = {.route = route(place), .flags = LIST_VECTORS};
		WireListResult page;
		WireListItem item;
		size_t		at = 0;
		uint32_t	listed = 0;

		assert_non_null(shard);
		assert_int_equal(count(&g, place), 3);
		assert_true(records_find(shard->records, id_of(n, id), &slot, &version));
		hnsw_read_vector(records_graph(shard->records), slot, has);
		assert_true(has[0] != (float) n && fabsf(has[0] - (float) n) < 0.001f);
		shard_release(shard);
		assert_nearest(&g, place, (float) n, n, vec_distance(VEC_L2, (float[DIM]) {(float) n}, has, DIM));
		assert_false(is_exact(&g, place));
		assert_int_equal(list(&g, &l, &page), VT_OK);
		for (; wire_list_item_next(&page, &at, &item); listed++)
		{
			vector_of((float) (n + listed), vector);
			assert_int_equal(number_of(item.id), n + listed);
			assert_memory_equal(item.vector, vector, sizeof(vector));
		}
		assert_int_equal(listed, 3);
		if (!start_again)
		{
			hang_up(&g);
			worker_stop(place->worker);
			start(place);
			dial(&g, place);
		}
	}
	hang_up(&g);
}

static void
no_halves_among_floats(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	Change		c = {WRITE_PUT, route(place), 0, 0, 5, 3, 0, DIM, 0, 0, 0};
	WireWriteResult result;

	dial(&g, place);
	g.halves = true;
	assert_int_equal(change(&g, &c, &result), VT_INVALID);
	assert_int_equal(count(&g, place), 0);
	hang_up(&g);
}

/* Records with a first attribute of 3 or 4 or, with null, none. */
static Buf
filter_of(bool null)
{
	WireClause	some = {.attribute = 0, .op = null ? WIRE_CLAUSE_IS_NULL : WIRE_CLAUSE_BETWEEN, .lo = 3, .hi = 4};
	Buf			filter = {0};
	size_t		begin = wire_predicate_begin(&filter);

	wire_clause_put(&filter, &some);
	wire_predicate_end(&filter, begin, 1);
	return filter;
}

static bool
passes_filter(uint32_t n, bool null)
{
	return null ? n % 7 == 0 : n % 7 != 0 && (n % 10 == 3 || n % 10 == 4);
}

/* The next records from x on, in a batch of k; where the last one was. */
static uint32_t
assert_batch(WireSearchResult *found, uint32_t x, bool null)
{
	WireHit		hit;
	size_t		at = 0;

	while (wire_hit_next(found, &at, &hit))
	{
		while (!passes_filter(x, null))
			x++;
		assert_int_equal(number_of(hit.id), x++);
	}
	return x;
}

/* Of records 0 to all - 1: first ten, ten more by the lease, then what is left when twenty are excluded. */
static void
assert_filtered(Gateway *g, const Place *place, uint32_t all, bool null)
{
	WireSearchResult found;
	Buf			filter = filter_of(null);
	Buf			excluded = {0};
	uint8_t		vector[DIM * 4];
	uint8_t		id[WIRE_TID_SIZE];
	WireSearch	s;
	uint32_t	x;
	uint32_t	n = 0;

	vector_of(-1, vector);
	s = question(place, vector, 10);
	s.filter = buf_bytes(&filter);
	assert_int_equal(search(g, &s, &found), VT_OK);
	assert_int_equal(found.nhits, 10);
	x = assert_batch(&found, 0, null);
	s.lease = found.lease;
	assert_int_equal(search(g, &s, &found), VT_OK);
	assert_int_equal(found.nhits, 10);
	x = assert_batch(&found, x, null);
	for (uint32_t i = 0; i < x; i++)
		if (passes_filter(i, null))
		{
			wire_id_put(&excluded, id_of(i, id));
			s.nexcluded++;
		}
	assert_int_equal(s.nexcluded, 20);
	s.excluded = buf_bytes(&excluded);
	s.lease = 0;
	s.k = 2000;
	assert_int_equal(search(g, &s, &found), VT_OK);
	x = assert_batch(&found, x, null);
	for (uint32_t i = 0; i < all; i++)
		n += passes_filter(i, null);
	assert_int_equal(found.nhits, n - 20);
	assert_true(found.exhausted);
	buf_free(&excluded);
	buf_free(&filter);
}

static void
filters_are_evaluated_here(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	WireSearchResult found;
	WireClause	between = {.attribute = 1, .op = WIRE_CLAUSE_BETWEEN};
	Buf			filter = {0};
	uint8_t		vector[DIM * 4];
	WireSearch	s;
	WireList	l;
	WireListResult page;
	WireListItem item;
	uint32_t	n = 0;

	dial(&g, place);
	g.attributes = true;
	put(&g, place, 0, 1900);
	assert_filtered(&g, place, 1900, true);	/* sets are made, ... */
	put(&g, place, 1900, 100);
	put(&g, place, 0, 50);		/* ... and these come late */
	assert_filtered(&g, place, 2000, true);
	assert_filtered(&g, place, 2000, false);

	/* A hash has no order; and what is no filter at all. */
	vector_of(0, vector);
	s = question(place, vector, 10);
	wire_predicate_begin(&filter);
	wire_clause_put(&filter, &between);
	wire_predicate_end(&filter, 0, 1);
	s.filter = buf_bytes(&filter);
	assert_int_equal(search(&g, &s, &found), VT_INVALID);
	s.filter = bytes_of(filter.data, filter.len - 1);
	assert_int_equal(search(&g, &s, &found), VT_PROTOCOL);
	buf_free(&filter);

	/* A listing with vectors has what repair compares. */
	memset(&l, 0, sizeof(l));
	l.route = route(place);
	l.flags = LIST_VECTORS;
	do
	{
		size_t		at = 0;

		assert_int_equal(list(&g, &l, &page), VT_OK);
		assert_true(page.attributes);
		while (wire_list_item_next(&page, &at, &item))
		{
			WireAttributes expected = attributes_of(n++);
			WireAttributes got;

			assert_int_equal(wire_attributes_get(item.attributes, 2, &got), VT_OK);
			assert_memory_equal(&got, &expected, sizeof(got));
		}
		l.lease = page.lease;
	} while (!page.last);
	assert_int_equal(n, 2000);

	/* A start finds them in the rows. */
	hang_up(&g);
	worker_stop(place->worker);
	start(place);
	dial(&g, place);
	assert_filtered(&g, place, 2000, false);
	hang_up(&g);
}

/* Refused at the door with words, and at apply whatever the door says. */
static void
other_attributes_are_refused(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	Change		c = {WRITE_PUT, route(place), 0, 0, 5, 3, 0, DIM, 0, 0, 0};
	WireWriteResult result;
	WireWrite	write;
	Shard	   *shard = worker_find_shard(place->worker, SHARD);
	Buf			payload;

	dial(&g, place);
	g.attributes = place->desc.nattributes == 0;
	assert_int_equal(change(&g, &c, &result), VT_INVALID);
	assert_true(strstr((const char *) g.head.message.data, "attributes") != NULL);
	assert_int_equal(count(&g, place), 0);
	payload = change_encode(&g, &c);
	assert_int_equal(wire_write_get(buf_bytes(&payload), &write, NULL), VT_OK);
	assert_int_equal(shard_decide(shard, &write, 100).status, VT_INVALID);
	shard_release(shard);
	buf_free(&payload);
	hang_up(&g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(written_found_listed_gone, set_up_floats, tear_down),
		cmocka_unit_test_setup_teardown(fences_and_refusals, set_up_floats, tear_down),
		cmocka_unit_test_setup_teardown(scans_end_when_nothing_is_left, set_up_floats, tear_down),
		cmocka_unit_test_setup_teardown(listings_are_whole_and_counted, set_up_floats, tear_down),
		cmocka_unit_test_setup_teardown(rows_of_others_are_passed_by, set_up_floats, tear_down),
		cmocka_unit_test_setup_teardown(it_is_all_there_after_a_restart, set_up_floats, tear_down),
		cmocka_unit_test_setup_teardown(halves_are_kept, set_up_halves, tear_down),
		cmocka_unit_test_setup_teardown(unindexed_is_told, set_up_floats, tear_down),
		cmocka_unit_test_setup_teardown(codes_alone, set_up_codes, tear_down),
		cmocka_unit_test_setup_teardown(scans_end_when_nothing_is_left, set_up_codes, tear_down),
		cmocka_unit_test_setup_teardown(it_is_all_there_after_a_restart, set_up_codes, tear_down),
		cmocka_unit_test_setup_teardown(no_halves_among_floats, set_up_floats, tear_down),
		cmocka_unit_test_setup_teardown(filters_are_evaluated_here, set_up_attributes, tear_down),
		cmocka_unit_test_setup_teardown(other_attributes_are_refused, set_up_attributes, tear_down),
		cmocka_unit_test_setup_teardown(other_attributes_are_refused, set_up_floats, tear_down),
	};

	return cmocka_run_group_tests_name("worker_serve", tests, NULL, NULL);
}
