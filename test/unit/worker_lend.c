/*-------------------------------------------------------------------------
 *
 * worker_lend.c
 *	  What was split off is found with its parent until it serves, by who may
 *	  find it there (src/worker/lend.c), at the real door.
 *
 *-------------------------------------------------------------------------
 */
#include "disk_room.h"
#include "worker_place.h"

#define ROWS 200
#define CHILD 9

/* The child, once it was split off; its first hash halves the space. */
static Place child;

static int
set_up(void **state)
{
	Place	   *place = vt_alloc0(sizeof(Place));

	search_threads = 1;
	lay(place, VEC_FLOAT32, 0);
	keep_identity(place->data, 1);
	start(place);
	make_shard(place);
	*state = place;
	return 0;
}

static bool
is_of_child(uint32_t n)
{
	uint8_t		id[WIRE_TID_SIZE];

	return wire_place(&child.desc, id_of(n, id)) >= child.desc.first;
}

/* Children are made, or wait: the disk has no room for them. */
static void
hold_up(Place *place, bool on)
{
	atomic_store(&disk_is_full, on);
	worker_look(place->worker);
	assert_int_equal(atomic_load(&place->worker->disk_low), on);
}

static void
on_split(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	(void) reply;
	assert_int_equal(status, VT_OK);
	atomic_store((atomic_uint_fast64_t *) arg, index);
}

/* Split the shard at that hash; the index of that, where the child stands. */
static uint64_t
split_at(Place *place, uint64_t first)
{
	Shard	   *shard = worker_find_shard(place->worker, SHARD);
	atomic_uint_fast64_t index = 0;
	ReplicaMembers members;

	child = *place;
	child.desc.shard = CHILD;
	child.desc.parent = SHARD;
	child.desc.first = first;
	child.desc.range_ver = 2;
	child.desc.replicas[0].replica = 78;
	replica_members(shard->replica, &members);
	shard_release(shard);
	assert_int_equal(splits_propose(place->worker, &child.desc, members.conf_index, on_split, &index, NULL), VT_OK);
	while (atomic_load(&index) == 0)
		usleep(1000);
	return atomic_load(&index);
}

static uint64_t
split(Place *place)
{
	return split_at(place, UINT64_MAX / 2 + 1);
}

static uint64_t
records_of(Place *place, uint64_t id)
{
	Shard	   *shard = worker_find_shard(place->worker, id);
	uint64_t	n = shard ? shard_figures(shard).records : 0;

	if (shard)
		shard_release(shard);
	return n;
}

/* What its replicas would be compared by is there. */
static void
verify(Place *place, uint64_t id)
{
	Shard	   *shard = worker_find_shard(place->worker, SHARD);
	ShardVerified verified = {0};

	worker_verify_shard(place->worker, SHARD, id);
	for (int i = 0; i < 30000 && verified.id != id; i++)
	{
		usleep(1000);
		pthread_mutex_lock(&shard->verified_lock);
		verified = shard->verified;
		pthread_mutex_unlock(&shard->verified_lock);
	}
	assert_int_equal(verified.id, id);
	assert_false(verified.damaged);
	shard_release(shard);
}

/* All that a search finds, in batches of so many. */
static VtStatus
find_all(Gateway *g, const Place *place, WireConsistency consistency, uint64_t mark, uint32_t k, bool found[ROWS + 1])
{
	uint8_t		vector[DIM * 4];
	WireSearch	s;
	WireSearchResult result = {0};
	Buf			excluded = {0};
	VtStatus	status = VT_OK;

	memset(found, 0, sizeof(bool) * (ROWS + 1));
	vector_of(0, vector);
	s = question(place, vector, k);
	s.consistency = consistency;
	s.mark = mark;
	while (status == VT_OK && !result.exhausted)
	{
		size_t		at = 0;
		WireHit		hit;

		s.lease = result.lease;
		s.excluded = buf_bytes(&excluded);
		status = search(g, &s, &result);
		while (status == VT_OK && wire_hit_next(&result, &at, &hit))
		{
			assert_false(found[number_of(hit.id)]);
			found[number_of(hit.id)] = true;
			wire_id_put(&excluded, hit.id);
			s.nexcluded++;
		}
	}
	buf_free(&excluded);
	return status;
}

/* A refusal says what became of the shard that was asked: the child as it was founded; or it is another one, which was not split. */
static void
assert_named(const Gateway *g, uint64_t base)
{
	WireShardDesc named[WIRE_SPLITS_MAX];
	uint32_t	n = 0;

	if (base == 0)
	{
		assert_int_equal(g->body.len, 0);
		return;
	}
	assert_int_equal(wire_splits_get(g->body, named, &n), VT_OK);
	assert_int_equal(n, 1);
	assert_int_equal(named[0].shard, CHILD);
	assert_int_equal(named[0].parent, SHARD);
	assert_int_equal(named[0].range_ver, 2);
	assert_int_equal(named[0].first, child.desc.first);
	assert_int_equal(named[0].last, UINT64_MAX);
	assert_int_equal(named[0].base_index, base);
}

enum
{
	OF_PARENT = 1,
	OF_CHILD = 2
};

/* Are found those of the first n that are of these halves, and no others? */
static void
assert_found(const bool found[ROWS + 1], uint32_t n, int halves)
{
	for (uint32_t i = 0; i <= ROWS; i++)
		assert_int_equal(found[i], i < n && (halves & (is_of_child(i) ? OF_CHILD : OF_PARENT)) != 0);
}

static void
found_with_the_parent(void **state)
{
	Place	   *place = *state;
	Place		after;
	Gateway		g;
	bool		found[ROWS + 1];
	uint32_t	of_child = 0;
	uint32_t	last = ROWS - 1;
	uint64_t	version;
	uint64_t	mark;
	uint64_t	base;
	Change		c;
	WireWriteResult result;

	dial(&g, place);
	child.desc.first = UINT64_MAX / 2 + 1;
	child.desc.hash_kind = HASH_XXH3_64;
	while (is_of_child(last))
		last--;
	/* The last is one of the parent's. */
	version = put(&g, place, 0, last + 1).index;
	for (uint32_t i = 0; i <= last; i++)
		of_child += is_of_child(i);
	assert_in_range(of_child, 1, last);
	hold_up(place, true);
	base = split(place);
	after = *place;
	after.desc.last = child.desc.first - 1;
	after.desc.range_ver = 2;

	/* By the route of before all of it is there, at marks of then; with pages, too. */
	for (uint32_t k = 7; k < 500; k *= 2)
	{
		assert_int_equal(find_all(&g, place, WIRE_AT_MARK, base - 1, k, found), VT_OK);
		assert_found(found, last + 1, OF_PARENT | OF_CHILD);
		assert_int_equal(g.head.shard, SHARD);
		assert_int_equal(g.head.range_ver, 1);
		assert_int_equal(g.head.last, UINT64_MAX);
		assert_int_equal(find_all(&g, &after, WIRE_LINEARIZABLE, 0, k, found), VT_OK);
		assert_found(found, last + 1, OF_PARENT);
		assert_int_equal(g.head.last, after.desc.last);

		/* The child stands where its log begins. */
		assert_int_equal(find_all(&g, &child, WIRE_AT_MARK, base, k, found), VT_OK);
		assert_found(found, last, OF_CHILD);
		assert_int_equal(g.head.shard, CHILD);
		assert_int_equal(g.head.range_ver, 2);
		assert_int_equal(g.head.first, child.desc.first);
		assert_int_equal(g.head.applied, base);
	}
	assert_int_equal(find_all(&g, place, WIRE_EVENTUAL, 0, ROWS, found), VT_OK);
	assert_found(found, last + 1, OF_PARENT | OF_CHILD);
	assert_int_equal(find_all(&g, &child, WIRE_EVENTUAL, 0, ROWS, found), VT_OK);
	assert_found(found, last, OF_CHILD);

	/* What a mark does not say nobody can say here. */
	assert_int_equal(find_all(&g, &child, WIRE_AT_MARK, base + 1, ROWS, found), VT_BEHIND);
	assert_int_equal(g.head.applied, base);
	assert_int_equal(find_all(&g, &child, WIRE_LINEARIZABLE, 0, ROWS, found), VT_NOT_LEADER);
	assert_int_equal(find_all(&g, place, WIRE_LINEARIZABLE, 0, ROWS, found), VT_WRONG_SHARD);
	assert_named(&g, base);
	c = (Change) {WRITE_PUT, route(&child), 0, 0, 0, 1, 0, DIM, 0, 0, 0};
	assert_int_equal(change(&g, &c, &result), VT_NOT_LEADER);
	c.route.range_ver = 3;
	assert_int_equal(change(&g, &c, &result), VT_WRONG_SHARD);
	assert_named(&g, 0);
	c.route = route(place);
	assert_int_equal(change(&g, &c, &result), VT_WRONG_SHARD);
	assert_named(&g, base);
	c.route.range_ver = 3;
	assert_int_equal(change(&g, &c, &result), VT_WRONG_SHARD);
	assert_named(&g, 0);

	/* The parent goes on. */
	c = (Change) {WRITE_DELETE, route(&after), 0, 0, last, 1, version, 0, 0, 0, 0};
	assert_int_equal(change(&g, &c, &result), VT_OK);
	assert_int_equal(result.done, 1);
	mark = result.index;
	assert_int_equal(find_all(&g, place, WIRE_AT_MARK, mark, ROWS, found), VT_OK);
	assert_found(found, last, OF_PARENT | OF_CHILD);
	assert_int_equal(find_all(&g, &child, WIRE_AT_MARK, base, ROWS, found), VT_OK);
	assert_found(found, last, OF_CHILD);

	/* That replicas are compared ends no loan, and what is lent does not look like damage. */
	verify(place, 5);
	assert_int_equal(find_all(&g, &child, WIRE_AT_MARK, base, ROWS, found), VT_OK);
	assert_found(found, last, OF_CHILD);

	/* There is room again: the child is made, and has its own. */
	hold_up(place, false);
	while (records_of(place, CHILD) != of_child || records_of(place, SHARD) != last - of_child)
	{
		chores_look(place->worker);
		usleep(1000);
	}
	assert_int_equal(find_all(&g, place, WIRE_AT_MARK, mark, ROWS, found), VT_WRONG_SHARD);
	assert_named(&g, base);
	assert_int_equal(find_all(&g, &child, WIRE_LINEARIZABLE, 0, ROWS, found), VT_OK);
	assert_found(found, last, OF_CHILD);
	assert_int_equal(find_all(&g, &after, WIRE_LINEARIZABLE, 0, ROWS, found), VT_OK);
	assert_found(found, last, OF_PARENT);
	verify(place, 6);
	hang_up(&g);
}

/* What a walk keeps that would keep this much in a graph of its own. */
static void
assert_kept(Shard *shard, uint64_t id, uint32_t range_ver, uint32_t k, uint32_t ef, uint32_t more_k, uint32_t more_ef)
{
	ShardSpan	view;

	assert_true(shard_view(shard, id, range_ver, &view));
	loan_keep(shard, &view, &k, &ef);
	assert_int_equal(k, more_k);
	assert_int_equal(ef, more_ef);
}

/* The more, the smaller the part of the graph is that is asked for: here one of sixteen, and the others. */
static void
kept_by_the_part_that_is_asked(void **state)
{
	Place	   *place = *state;
	Gateway		g;
	Shard	   *shard;

	/* Then it leads. */
	dial(&g, place);
	(void) put(&g, place, 0, 1);
	hang_up(&g);
	hold_up(place, true);
	shard = worker_find_shard(place->worker, SHARD);
	assert_kept(shard, SHARD, 1, 10, 100, 10, 100);
	(void) split_at(place, UINT64_MAX / 16 * 15 + 15);
	assert_kept(shard, SHARD, 1, 10, 100, 10, 100);
	assert_kept(shard, CHILD, 2, 10, 100, 160, 400);
	assert_kept(shard, SHARD, 2, 10, 100, 11, 104);
	assert_kept(shard, SHARD, 2, 30, 60, 32, 62);

	/* Whose recall is named has no ef; and more than a walk can keep is not asked of it. */
	assert_kept(shard, CHILD, 2, 1, 0, 16, 0);
	assert_kept(shard, CHILD, 2, HNSW_MAX_EF / 10, HNSW_MAX_EF / 2, HNSW_MAX_EF, HNSW_MAX_EF);
	assert_kept(shard, CHILD, 2, HNSW_MAX_EF + 5, 1, HNSW_MAX_EF + 5, 4);
	shard_release(shard);

	hold_up(place, false);

	/* Until the child serves, and has a graph of its own. */
	shard = worker_find_shard(place->worker, SHARD);
	while (atomic_load(&shard->lent) != 0)
	{
		chores_look(place->worker);
		usleep(1000);
	}
	assert_kept(shard, SHARD, 2, 10, 100, 10, 100);
	shard_release(shard);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(found_with_the_parent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(kept_by_the_part_that_is_asked, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("worker_lend", tests, NULL, NULL);
}
