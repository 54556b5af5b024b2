/*-------------------------------------------------------------------------
 *
 * worker_hot.c
 *	  A replica that has just caught up comes to lead: its graph is far behind, and
 *	  writers go on.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>

#include "../../src/worker/hot.h"
#include "../../src/worker/shard.h"
#include "base/log.h"
#include "scratch.h"
#include "shard_desc.h"

#define DIM 1024
#define SHARD 9

static Shard *
make(void)
{
	WireShardDesc desc = shard_alone(SHARD, 11, DIM);
	Shard	   *shard;
	uint64_t	replay;
	VtError		err = {0};

	desc.m = 4;
	desc.ef_construction = 4;
	mkdir(scratch_path("hot"), 0700);
	if (shard_create(scratch_path("hot"), &desc, 11, &err) != VT_OK ||
		shard_open(scratch_path("hot"), SHARD, false, &shard, &replay, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	return shard;
}

/* Entries with a record each; led: proposed by this replica. */
static void
apply(Shard *shard, uint64_t first, uint64_t n, bool led)
{
	for (uint64_t index = first; index < first + n; index++)
	{
		WireWrite	write;
		WireRecord	record;
		ReplicaCommand command = {.index = index, .term = 1, .led = led};
		Buf			bytes = {0};
		uint8_t		id[WIRE_TID_SIZE];
		uint8_t		vector[DIM * 4] = {0};
		size_t		begin;
		VtError		err = {0};

		memset(&write, 0, sizeof(write));
		memset(&record, 0, sizeof(record));
		write.type = WRITE_PUT;
		write.route.generation = shard->desc.generation;
		write.route.owner = shard->desc.owner;
		write.route.shard = SHARD;
		write.route.range_ver = 1;
		wire_tid_put(id, (uint32_t) index, 1);
		put_le32(vector, (uint32_t) index);
		record.id = bytes_of(id, sizeof(id));
		record.dim = DIM;
		record.vector = vector;
		begin = wire_write_begin(&bytes, &write);
		wire_record_put(&bytes, WRITE_PUT, &record);
		wire_write_end(&bytes, begin, 1);
		command.bytes = buf_bytes(&bytes);
		assert_int_equal(shard_apply(shard, &command, 1, index, &err), VT_OK);
		assert_int_equal(command.status, VT_OK);
		buf_free(&command.reply);
		buf_free(&bytes);
	}
}

static void
writers_do_not_wait_for_it(void **state)
{
	Shard	   *shard = make();
	uint64_t	limit = hot_limit(shard);
	bool		looked;

	(void) state;

	/* What came from its leader keeps no writer away. */
	apply(shard, 1, 4 * limit, false);
	assert_int_equal(hot_fresh(shard), 0);
	assert_true(hot_presses(shard));

	/* What writers bring does, and they are let in again long before the rest is done. */
	apply(shard, 4 * limit + 1, limit, true);
	assert_int_equal(hot_fresh(shard), limit);
	while (hot_fresh(shard) >= limit / 2)
		assert_int_equal(hot_link(shard, 8, &looked), 8);
	assert_true(atomic_load(&shard->backlog) > 3 * limit);
	assert_true(atomic_load(&shard->backlog) < 4 * limit);

	/* In the end nothing is left of either. */
	while (hot_link(shard, 8, &looked) > 0)
		;
	assert_int_equal(records_waiting(shard->records), 0);
	assert_int_equal(atomic_load(&shard->backlog), 0);
	assert_false(hot_presses(shard));
	shard_close(shard);
}

/* So many searches, each of which took so long, beside so many vectors that waited. */
static void
searches(Shard *shard, uint32_t n, uint64_t walk_us, uint64_t waiting, uint64_t waiting_us)
{
	bool		looked;
	HnswCost	cost = {.walk_ns = walk_us * 1000, .waiting = waiting, .waiting_ns = waiting_us * 1000};

	for (uint32_t i = 0; i < n; i++)
		records_count_pass(shard->records, &cost, false);
	(void) hot_link(shard, 0, &looked);
}

/* As much may wait as makes a search half as long again: what that is, searches tell. */
static void
what_may_wait_follows_its_price(void **state)
{
	Shard	   *shard = make();
	uint64_t	most = hot_limit(shard);

	(void) state;
	assert_int_equal(most, (1 << 20) / (4 * DIM));

	/* A few say nothing yet. */
	searches(shard, 31, 1000, 1000, 1000);
	assert_int_equal(hot_limit(shard), most);

	/* 1 ms for a walk, 5 us for a vector: 100 of them; and with a walk of 0.4 ms the fewest there can be. */
	searches(shard, 69, 1000, 1000, 5000 + 31 * 4000 / 69);
	assert_in_range(hot_limit(shard), 99, 103);
	for (int i = 0; i < 40; i++)
		searches(shard, 100, 400, 1000, 5000);
	assert_int_equal(hot_limit(shard), 64);

	/* Slow walks let more in, up to the bound. */
	for (int i = 0; i < 40; i++)
		searches(shard, 100, 2000, 1000, 5000);
	assert_in_range(hot_limit(shard), 198, 202);
	for (int i = 0; i < 40; i++)
		searches(shard, 100, 20000, 1000, 5000);
	assert_int_equal(hot_limit(shard), most);
	shard_close(shard);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writers_do_not_wait_for_it, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(what_may_wait_follows_its_price, scratch_make, scratch_remove),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
