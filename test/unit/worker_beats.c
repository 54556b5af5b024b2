/*-------------------------------------------------------------------------
 *
 * worker_beats.c
 *	  What a worker tells a placement driver of what it has: once, also where no answer
 *	  comes, and nothing that the driver that leads now cannot use.
 *
 *-------------------------------------------------------------------------
 */
#include "told_driver.h"

#include "base/log.h"

/* A replica is made while the driver refuses what it is told. */
static void
make_unanswered(Driver *d, Worker *worker, Hearing hearing, uint64_t shard)
{
	unsigned	unanswered = atomic_load(&d->unanswered);
	int64_t		until = clock_now_us() + PATIENCE_US;

	atomic_store(&d->hears, hearing);
	assert_int_equal(create(worker, shard, 10 * shard), VT_OK);
	while (atomic_load(&d->unanswered) == unanswered)
		wait_for(until, "nothing is told");
	atomic_store(&d->hears, HEARS);
	await_same(d);
}

/*
 * Who gets no answer does not know whether it was heard.  It goes on as if it was: the driver
 * says if it was not.  All is told again to who asks for it, and to nobody else.
 */
static void
what_is_not_answered_is_told_once(void **state)
{
	static Driver d;
	Worker	   *worker;

	(void) state;
	driver_start(&d);
	worker = start();
	assert_int_equal(create(worker, 7, 70), VT_OK);
	await_same(&d);
	make_unanswered(&d, worker, TAKES, 8);
	make_unanswered(&d, worker, DROPS, 9);
	make_unanswered(&d, worker, TAKES, 10);
	worker_stop(worker);
	net_server_stop(d.server);
	assert_int_equal(atomic_load(&d.unasked), 0);
	for (int shard = 7; shard <= 10; shard++)
	{
		char		key[8];

		snprintf(key, sizeof(key), "%d", shard);
		assert_non_null(json_object_get(d.known, key));
	}
	driver_free(&d);
}

/* Until it has come to that. */
static void
await_count(atomic_uint *count, unsigned least, const char *what)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (atomic_load(count) < least)
		wait_for(until, what);
}

static void
await_more(atomic_uint *count, unsigned more, const char *what)
{
	await_count(count, atomic_load(count) + more, what);
}

/* A row is written, and a heartbeat names what is there with it. */
static void
put_named(Driver *d, Worker *worker, uint64_t row)
{
	unsigned	moved = atomic_load(&d->moved);

	put(worker, 7, row);
	await_count(&d->moved, moved + 1, "what changes has no other digest");
}

/*
 * A driver that has no time yet for all that is here cannot use what has changed: who is told so names the digest alone,
 * also while nobody answers, until it is asked for all.  To one that does not say so it tells what has changed.
 */
static void
who_waits_to_be_asked_tells_nothing(void **state)
{
	static Driver d;
	Worker	   *worker;
	int64_t		until;
	unsigned	in_vain;
	unsigned	unanswered;
	unsigned	changes;

	(void) state;
	driver_start(&d);
	worker = start();
	assert_int_equal(create(worker, 7, 70), VT_OK);
	await_same(&d);
	atomic_store(&d.asks, ASKS_LATER);
	atomic_store(&d.forgets, true);
	await_more(&d.waited, 2, "another driver hears nothing");	/* the answer to the first may have been lost */
	in_vain = atomic_load(&d.in_vain);
	for (uint64_t row = 1; row <= 3; row++)
		put_named(&d, worker, row);
	unanswered = atomic_load(&d.unanswered);
	atomic_store(&d.hears, DROPS);
	put(worker, 7, 4);
	await_more(&d.refused, 2, "who gets no answer is silent");
	atomic_store(&d.hears, HEARS);
	put_named(&d, worker, 5);
	assert_int_equal(atomic_load(&d.in_vain), in_vain);
	assert_int_equal(atomic_load(&d.unanswered), unanswered);

	/* It has no time, and does not say so. */
	atomic_store(&d.asks, ASKS_NOT);
	await_count(&d.in_vain, in_vain + 1, "who is not told to wait tells nothing");

	/* Now it has. */
	atomic_store(&d.asks, ASKS_LATER);
	await_more(&d.waited, 2, "it is silent");
	assert_int_equal(atomic_load(&d.unasked), 0);
	atomic_store(&d.asks, ASKS);
	await_same(&d);
	assert_int_equal(atomic_load(&d.unasked), 0);
	changes = atomic_load(&d.changes);
	until = clock_now_us() + PATIENCE_US;
	for (uint64_t row = 6; atomic_load(&d.changes) == changes; row++)
	{
		put(worker, 7, row);
		wait_for(until, "what changes is told no more");
	}
	await_same(&d);
	atomic_store(&d.tell_all, true);
	while (!atomic_load(&d.told_all))
		wait_for(until, "it is not told again");
	worker_stop(worker);
	net_server_stop(d.server);
	driver_free(&d);
}

/*
 * What has changed since one driver was told is of no use to another, which begins to lead: it is named the
 * digest, and asks.
 */
static void
another_driver_is_told_what_it_asks_for(void **state)
{
	static Driver first;
	static Driver second;
	Worker	   *worker;

	(void) state;
	driver_start(&first);
	driver_start_at(&second, "another");
	first.other = &second;
	second.asked = false;
	atomic_store(&second.asks, ASKS_LATER);
	worker = start();
	assert_int_equal(create(worker, 7, 70), VT_OK);
	await_same(&first);
	atomic_store(&first.hears, SENDS_ON);
	put(worker, 7, 1);
	await_count(&second.waited, 2, "the other driver hears nothing");
	put_named(&second, worker, 2);
	assert_int_equal(atomic_load(&second.in_vain), 0);
	atomic_store(&second.asks, ASKS);
	await_same(&second);
	assert_int_equal(atomic_load(&second.unasked), 0);
	assert_non_null(json_object_get(second.known, "7"));
	worker_stop(worker);
	net_server_stop(first.server);
	net_server_stop(second.server);
	driver_free(&first);
	driver_free(&second);
}

/*
 * A driver that reads slowly, and others that say who leads: it has what it was told, and is not told it
 * again and again by the same heartbeat, which would make it slower still.
 */
static void
who_is_slow_is_told_once(void **state)
{
	static Driver first;
	static Driver second;
	Worker	   *worker;

	(void) state;
	driver_start(&first);
	driver_start_at(&second, "another");
	first.other = &second;
	second.other = &first;
	atomic_store(&second.hears, FOLLOWS);
	worker = start();
	assert_int_equal(create(worker, 7, 70), VT_OK);
	await_same(&first);
	atomic_store(&first.hears, SENDS_ON);	/* the worker is to know the other one */
	put(worker, 7, 1);
	await_count(&second.refused, 1, "the other one is not asked");
	atomic_store(&first.hears, HEARS);
	await_same(&first);
	atomic_store(&first.hears, HEARS_LATE);
	put(worker, 7, 2);
	await_more(&second.refused, 1, "nobody else is asked who leads");
	await_same(&first);
	assert_true(atomic_load(&first.late) > 0);
	assert_int_equal(atomic_load(&first.again), 0);
	assert_int_equal(atomic_load(&first.unasked), 0);
	worker_stop(worker);
	net_server_stop(first.server);
	net_server_stop(second.server);
	driver_free(&first);
	driver_free(&second);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(what_is_not_answered_is_told_once),
		TEST(who_waits_to_be_asked_tells_nothing),
		TEST(another_driver_is_told_what_it_asks_for),
		TEST(who_is_slow_is_told_once),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("worker_beats", tests, NULL, NULL);
}
