/*-------------------------------------------------------------------------
 *
 * replica_host.c
 *	  Groups in a host, around a state machine that only writes down what it was
 *	  told: each answer comes once, what was acknowledged is replayed, what was
 *	  damaged or destroyed is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "replica_alone.h"

#include "base/clock.h"
#include "patience.h"

/* -- Tests ----------------------------------------------------------------- */

#define THREADS 4
#define EACH 400

typedef struct Proposer
{
	pthread_t	thread;
	Replica    *replica[2];
	uint64_t	seed;
	Question	questions[EACH];
	uint64_t	hashes[EACH];
	bool		refused[EACH];
	int			group[EACH];
} Proposer;

static void *
propose_many(void *arg)
{
	Proposer   *p = (Proposer *) arg;
	Prng		prng = {p->seed};

	for (int i = 0; i < EACH; i++)
	{
		uint8_t		command[300];
		size_t		len = 16 + prng_below(&prng, 280);

		memset(command, 0, sizeof(command));
		for (size_t k = 0; k < len; k++)
			command[k] = (uint8_t) prng_next(&prng);
		put_le64(command + 4, p->seed << 32 | (uint64_t) i);
		p->refused[i] = prng_below(&prng, 4) == 0;
		command[0] = p->refused[i] ? 'r' : 'p';
		p->hashes[i] = hash_of(bytes_of(command, len));
		p->group[i] = (int) prng_below(&prng, 2);
		replica_propose(p->replica[p->group[i]], bytes_of(command, len), on_done, &p->questions[i]);
		/* Not all of it is one batch. */
		if (i % 50 == 49)
			wait_for(p->questions, (size_t) i + 1);
	}
	wait_for(p->questions, EACH);
	return NULL;
}

/* Two groups, four threads, checkpoints meanwhile; then replays from many points. */
static void
each_answer_once_in_order_and_again_at_replay(void **state)
{
	Fixture		f = {.options = {.checkpoint_bytes = 20000}};
	Machine    *m[2] = {machine_new(BASE), machine_new(BASE)};
	Proposer   *p = vt_alloc0(sizeof(Proposer) * THREADS);
	Replica    *r[2];
	uint64_t	ncommands = 0;
	uint64_t	last[2];
	Prng		prng = {11};

	(void) state;
	start(&f);
	for (int g = 0; g < 2; g++)
	{
		found(&f, GROUP + (uint64_t) g, REPLICA);
		r[g] = open_group(&f, GROUP + (uint64_t) g, REPLICA, m[g], BASE);
		wait_until_serving(r[g]);
	}
	for (uint64_t t = 0; t < THREADS; t++)
	{
		p[t].seed = t + 1;
		memcpy(p[t].replica, r, sizeof(r));
		assert_int_equal(pthread_create(&p[t].thread, NULL, propose_many, &p[t]), 0);
	}
	for (int t = 0; t < THREADS; t++)
		pthread_join(p[t].thread, NULL);
	for (int g = 0; g < 2; g++)
	{
		uint64_t	index = wait_until_serving(r[g]);
		ReplicaStatus status;
		uint64_t	now = 0;

		replica_status(r[g], &status);
		assert_true(status.leader && status.serving);
		assert_int_equal(status.group, GROUP + g);
		assert_int_equal(status.replica, REPLICA);
		assert_int_equal(status.applied, index);
		assert_true(replica_read_now(r[g], &now));
		assert_int_equal(now, index);
		while (base_of(f.log, GROUP + (uint64_t) g) == BASE)
			usleep(1000);		/* a checkpoint that was asked for long ago cuts it */
	}
	stop(&f);

	for (int t = 0; t < THREADS; t++)
		for (int i = 0; i < EACH; i++)
		{
			Question   *q = &p[t].questions[i];

			assert_int_equal(q->calls, 1);
			assert_int_equal(q->status, p[t].refused[i] ? VT_DENIED : VT_OK);
			assert_true(q->hash == p[t].hashes[i]);
			assert_true(q->index > BASE);
			assert_true(m[p[t].group[i]]->hash[q->index - BASE - 1] == p[t].hashes[i]);
		}
	for (int g = 0; g < 2; g++)
	{
		ncommands += m[g]->ncommands;
		last[g] = m[g]->applied;
	}
	assert_int_equal(ncommands, THREADS * EACH);

	start(&f);
	for (int g = 0; g < 2; g++)
	{
		Machine    *again;
		uint64_t	base = base_of(f.log, GROUP + (uint64_t) g);
		uint64_t	from;

		assert_true(base > BASE);
		from = base + prng_below(&prng, (uint32_t) (last[g] - base + 1));
		again = machine_new(from);
		r[g] = open_group(&f, GROUP + (uint64_t) g, REPLICA, again, from);
		wait_until_serving(r[g]);
		for (uint64_t i = 0; i < last[g] - BASE; i++)
			assert_true(again->hash[i] == (i + BASE + 1 > from ? m[g]->hash[i] : 0));
		machine_free(m[g]);
		m[g] = again;
	}
	stop(&f);
	machine_free(m[0]);
	machine_free(m[1]);
	free(p);
}

/* A start replays from wherever the machine says it stands, every time. */
static void
replay_begins_where_the_machine_stands(void **state)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Machine    *first = m;
	Replica    *r;
	char		text[32];
	uint64_t	last = 0;
	VtError		err = {0};
	Prng		prng = {3};

	(void) state;
	start(&f);
	found(&f, GROUP, REPLICA);
	r = open_group(&f, GROUP, REPLICA, m, BASE);
	wait_until_serving(r);
	for (int i = 0; i < 50; i++)
	{
		snprintf(text, sizeof(text), "command %d", i);
		assert_int_equal(ask(r, text, &last), VT_OK);
	}
	stop(&f);
	for (int round = 0; round < 10; round++)
	{
		uint64_t	from = BASE + prng_below(&prng, (uint32_t) (last - BASE + 1));

		m = machine_new(from);
		start(&f);
		r = open_group(&f, GROUP, REPLICA, m, from);
		wait_until_serving(r);
		stop(&f);
		for (uint64_t i = 0; i < last - BASE; i++)
			assert_true(m->hash[i] == (i + BASE + 1 > from ? first->hash[i] : 0));
		machine_free(m);
	}

	/* Further than the log goes: synced writes were lost. */
	start(&f);
	assert_int_equal(open_refused(&f, last + 1000, &err), VT_CORRUPT);
	assert_true(err.msg[0] != '\0');
	assert_int_equal(open_refused(&f, BASE - 1, &err), VT_CORRUPT);
	stop(&f);
	machine_free(first);
}

/*
 * Ask for checkpoints until one has moved the base of the log beyond index.  Written is
 * what the log begins with then, and little of that: the machine has HISTORY places.
 */
static uint64_t
wait_until_cut(Fixture *f, Replica *r, uint64_t index)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	lowest = 0;

	for (;;)
	{
		uint64_t	n = count_keys(f->log, 'L', GROUP, &lowest);

		if (n > 0 && lowest > index)
			return lowest - 1;
		if (clock_now_us() > until)
			fail_msg("the log has %llu entries, and begins at %llu", (unsigned long long) n, (unsigned long long) lowest);
		if (n == 0)
			assert_int_equal(ask(r, "more", NULL), VT_OK);
		else
			replica_checkpoint(r);
		usleep(1000);
	}
}

static void
a_checkpoint_cuts_the_log(void **state)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Replica    *r;
	uint64_t	index = 0;
	uint64_t	base;
	uint64_t	lowest = 0;
	uint64_t	last;
	uint8_t		key[17] = {'L'};
	StoreBatch *batch;
	VtError		err = {0};

	(void) state;
	start(&f);
	found(&f, GROUP, REPLICA);
	r = open_group(&f, GROUP, REPLICA, m, BASE);
	wait_until_serving(r);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(r, "some", &index), VT_OK);
	base = wait_until_cut(&f, r, index);
	assert_int_equal(ask(r, "last", &last), VT_OK);
	stop(&f);
	machine_free(m);

	/* A machine that stands before the base has lost what is in no log. */
	start(&f);
	assert_int_equal(open_refused(&f, index - 1, &err), VT_CORRUPT);

	/* A crash between the new base and the deletions leaves entries below it. */
	batch = store_batch_new();
	put_be64(key + 1, GROUP);
	put_be64(key + 9, index - 1);
	store_batch_put(batch, bytes_of(key, sizeof(key)), bytes_str("an old entry"));
	assert_int_equal(store_write(f.log, batch, true, &err), VT_OK);
	store_batch_free(batch);
	count_keys(f.log, 'L', GROUP, &lowest);
	assert_int_equal(lowest, index - 1);

	m = machine_new(last);
	r = open_group(&f, GROUP, REPLICA, m, last);
	assert_true(count_keys(f.log, 'L', GROUP, &lowest) == 0 || lowest > base);
	wait_until_serving(r);
	assert_int_equal(m->ncommands, 0);
	assert_int_equal(ask(r, "goes on", &index), VT_OK);
	assert_true(index > last);
	stop(&f);
	machine_free(m);
}

/* What the machine has applied and would lose is still in the log (P7). */
static void
what_is_not_durable_stays(void **state)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Machine    *again;
	Replica    *r;
	uint64_t	index = 0;
	uint64_t	durable = 0;
	uint64_t	base;
	int64_t		until;

	(void) state;
	m->durable = BASE;
	start(&f);
	found(&f, GROUP, REPLICA);
	r = open_group(&f, GROUP, REPLICA, m, BASE);
	wait_until_serving(r);
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(r, "some", i == 7 ? &durable : &index), VT_OK);
	pthread_mutex_lock(&m->lock);
	m->durable = durable;
	pthread_mutex_unlock(&m->lock);
	until = clock_now_us() + PATIENCE_US;
	for (int i = 0; (base = base_of(f.log, GROUP)) < durable; i++)
	{
		if (clock_now_us() > until)
			fail_msg("the log begins at %llu, and %llu is durable", (unsigned long long) base, (unsigned long long) durable);
		replica_checkpoint(r);
		if (i % 20 == 0)		/* the machine has HISTORY places */
			assert_int_equal(ask(r, "more", &index), VT_OK);
		usleep(10000);
	}
	assert_int_equal(base, durable);
	stop(&f);

	start(&f);
	again = machine_new(durable);
	r = open_group(&f, GROUP, REPLICA, again, durable);
	wait_until_serving(r);
	for (uint64_t i = durable - BASE; i < index - BASE; i++)
		assert_true(again->hash[i] == m->hash[i]);
	stop(&f);
	machine_free(again);
	machine_free(m);
}

/* While proposals, reads and checkpoints are under way. */
static void
destroyed_is_destroyed(void **state)
{
	Fixture		f = {0};
	VtError		err = {0};

	(void) state;
	start(&f);
	for (uint64_t round = 0; round < 60; round++)
	{
		Machine    *m = machine_new(BASE);
		Question	q[64] = {0};
		Replica    *r;
		int			acknowledged = 0;

		found(&f, GROUP, REPLICA + round);
		assert_int_equal(replica_create(f.host, GROUP, REPLICA + round, NULL, BASE, &err), VT_EXISTS);
		r = open_group(&f, GROUP, REPLICA + round, m, BASE);
		if (round % 3 != 2)
			wait_until_serving(r);
		for (int i = 0; i < 64; i++)
		{
			if (i % 8 == 7)
				replica_read(r, on_done, &q[i]);
			else
				replica_propose(r, bytes_str("a command"), on_done, &q[i]);
			if (i % 16 == 3)
				replica_checkpoint(r);
		}
		if (round % 3 == 0)
			wait_for(q, 64);
		assert_int_equal(replica_destroy(r, &err), VT_OK);
		pthread_mutex_lock(&m->lock);
		m->dead = true;
		pthread_mutex_unlock(&m->lock);
		wait_for(q, 64);
		for (int i = 0; i < 64; i++)
		{
			assert_int_equal(q[i].calls, 1);
			acknowledged += q[i].status == VT_OK;
			assert_true(q[i].status == VT_OK || q[i].status == VT_UNAVAILABLE ||
						q[i].status == VT_NOT_LEADER);
		}
		assert_true(round % 3 != 0 || acknowledged == 64);

		assert_int_equal(replica_create(f.host, GROUP, REPLICA + round, NULL, BASE, &err), VT_DENIED);
		assert_int_equal(count_keys(f.log, 'H', GROUP, NULL), 0);
		assert_int_equal(count_keys(f.log, 'S', GROUP, NULL), 0);
		assert_int_equal(count_keys(f.log, 'L', GROUP, NULL), 0);
		assert_int_equal(count_keys(f.log, 'X', GROUP, NULL), round + 1);
		machine_free(m);
	}
	stop(&f);

	/* And after a start. */
	start(&f);
	assert_int_equal(replica_create(f.host, GROUP, REPLICA + 3, NULL, BASE, &err), VT_DENIED);
	found(&f, GROUP, REPLICA + 1000);
	stop(&f);
}

static void
a_gap_in_the_log_is_damage(void **state)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Replica    *r;
	uint64_t	index = 0;
	uint8_t		key[17] = {'L'};
	Buf			entry = {0};
	StoreBatch *batch = store_batch_new();
	VtError		err = {0};

	(void) state;
	start(&f);
	assert_int_equal(open_refused(&f, BASE, &err), VT_NOT_FOUND);
	found(&f, GROUP, REPLICA);
	r = open_group(&f, GROUP, REPLICA, m, BASE);
	wait_until_serving(r);
	for (int i = 0; i < 10; i++)
		assert_int_equal(ask(r, "a command", &index), VT_OK);
	stop(&f);
	machine_free(m);

	/* In the middle; at the end; one bit of it. */
	for (int which = 0; which < 3; which++)
	{
		start(&f);
		put_be64(key + 1, GROUP);
		put_be64(key + 9, which == 0 ? index - 5 : index);
		assert_int_equal(store_get(f.log, bytes_of(key, sizeof(key)), &entry, &err), VT_OK);
		store_batch_clear(batch);
		if (which < 2)
			store_batch_delete(batch, bytes_of(key, sizeof(key)));
		else
		{
			entry.data[entry.len - 1] ^= 0x10;
			store_batch_put(batch, bytes_of(key, sizeof(key)), buf_bytes(&entry));
			entry.data[entry.len - 1] ^= 0x10;
		}
		assert_int_equal(store_write(f.log, batch, true, &err), VT_OK);
		memset(&err, 0, sizeof(err));
		assert_int_equal(open_refused(&f, BASE, &err), VT_CORRUPT);
		assert_non_null(strstr(err.msg, "entry "));
		store_batch_clear(batch);
		store_batch_put(batch, bytes_of(key, sizeof(key)), buf_bytes(&entry));
		assert_int_equal(store_write(f.log, batch, true, &err), VT_OK);
		stop(&f);
	}

	/* Put back, it opens. */
	start(&f);
	m = machine_new(BASE);
	wait_until_serving(open_group(&f, GROUP, REPLICA, m, BASE));
	assert_int_equal(m->ncommands, 10);
	stop(&f);
	machine_free(m);
	store_batch_free(batch);
	buf_free(&entry);
}

static void
too_much_and_too_large(void **state)
{
	Fixture		f = {.options = {.max_inflight_bytes = 1000}};
	Machine    *m = machine_new(BASE);
	Machine    *beside = machine_new(BASE);
	Replica    *r;
	Replica    *other;
	Question	q[40] = {0};
	Question	others[10] = {0};
	uint8_t		command[100] = {'p'};
	uint8_t    *large = vt_alloc0(9 << 20);
	int			busy = 0;

	(void) state;
	start(&f);
	found(&f, GROUP, REPLICA);
	r = open_group(&f, GROUP, REPLICA, m, BASE);
	found(&f, GROUP + 1, REPLICA);
	other = open_group(&f, GROUP + 1, REPLICA, beside, BASE);
	wait_until_serving(r);
	wait_until_serving(other);
	machine_shut(m, true);
	for (int i = 0; i < 40; i++)
		replica_propose(r, bytes_of(command, sizeof(command)), on_done, &q[i]);
	pthread_mutex_lock(&lock);
	for (int i = 0; i < 40; i++)
		if (q[i].calls)
		{
			Assert(q[i].calls == 1 && q[i].status == VT_BUSY);
			busy++;
		}
	pthread_mutex_unlock(&lock);

	/* A group that does not get on has half, of which one may stand over; the other half is for others. */
	assert_int_equal(busy, 40 - 6);
	for (int i = 0; i < 10; i++)
		replica_propose(other, bytes_of(command, sizeof(command)), on_done, &others[i]);
	wait_for(others, 10);
	for (int i = 0; i < 10; i++)
	{
		assert_int_equal(others[i].calls, 1);
		assert_true(others[i].status == VT_OK || (others[i].status == VT_BUSY && i >= 3));
	}
	machine_shut(m, false);
	wait_for(q, 40);
	for (int i = 0; i < 40; i++)
	{
		assert_int_equal(q[i].calls, 1);
		assert_int_equal(q[i].status, i < 6 ? VT_OK : VT_BUSY);
	}
	assert_int_equal(ask(r, "again", NULL), VT_OK);

	memset(q, 0, sizeof(q));
	replica_propose(r, bytes_of(large, 9 << 20), on_done, &q[0]);
	wait_for(q, 1);
	assert_int_equal(q[0].status, VT_FULL);
	assert_int_equal(ask(r, "still", NULL), VT_OK);
	stop(&f);
	machine_free(m);
	machine_free(beside);
	free(large);
}

/* Stopping answers everything; what was acknowledged is there afterwards. */
static void
stopping_in_the_middle(void **state)
{
	(void) state;
	for (uint64_t round = 0; round < 30; round++)
	{
		Fixture		f = {0};
		Machine    *m = machine_new(BASE);
		Machine    *again = machine_new(BASE);
		Replica    *r;
		Question	q[200] = {0};
		uint8_t		command[16] = {'p'};

		start(&f);
		found(&f, GROUP + round, REPLICA);
		r = open_group(&f, GROUP + round, REPLICA, m, BASE);
		if (round % 4)
			wait_until_serving(r);
		for (int i = 0; i < 200; i++)
		{
			put_le64(command + 8, (uint64_t) i);
			if (i % 10 == 9)
				replica_read(r, on_done, &q[i]);
			else
				replica_propose(r, bytes_of(command, sizeof(command)), on_done, &q[i]);
		}
		if (round % 2)
			wait_for(q, 100);
		stop(&f);
		start(&f);
		r = open_group(&f, GROUP + round, REPLICA, again, BASE);
		wait_until_serving(r);
		for (int i = 0; i < 200; i++)
		{
			put_le64(command + 8, (uint64_t) i);
			assert_int_equal(q[i].calls, 1);
			if (q[i].status == VT_OK && i % 10 != 9)
			{
				assert_true(again->hash[q[i].index - BASE - 1] == hash_of(bytes_of(command, sizeof(command))));
				assert_true(m->hash[q[i].index - BASE - 1] != 0);
			}
			else if (q[i].status != VT_OK)
				assert_true(q[i].status == VT_UNAVAILABLE || q[i].status == VT_NOT_LEADER ||
							q[i].status == VT_STOPPING);
		}
		stop(&f);
		machine_free(m);
		machine_free(again);
	}
}

/* Law S4: a log that cannot be written stops the process, and nothing more is acknowledged. */
static void
write_to_a_full_disk(int acknowledged)
{
	Fixture		f = {0};
	Machine    *m = machine_new(BASE);
	Replica    *r;
	struct rlimit limit = {200 << 10, 200 << 10};
	uint8_t    *command = vt_alloc0(10 << 10);

	log_setup("test", LOG_LEVEL_ERROR);
	if (!freopen("/dev/null", "w", stderr))
		_exit(1);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	start(&f);
	found(&f, GROUP, REPLICA);
	r = open_group(&f, GROUP, REPLICA, m, BASE);
	wait_until_serving(r);
	for (int i = 0; i < 1000; i++)
	{
		Question	q = {0};

		replica_propose(r, bytes_of(command, 10 << 10), on_done, &q);
		wait_for(&q, 1);
		if (q.status != VT_OK || write(acknowledged, "", 1) != 1)
			_exit(2);
	}
	_exit(3);
}

static void
a_failed_write_ends_the_process(void **state)
{
	Fixture		f = {0};
	Machine    *m;
	int			ends[2];
	int			status;
	uint64_t	acknowledged = 0;
	char		byte;
	pid_t		child;

	(void) state;
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0)
		write_to_a_full_disk(ends[1]);
	close(ends[1]);
	while (read(ends[0], &byte, 1) == 1)
		acknowledged++;
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 70);
	assert_in_range(acknowledged, 10, 20);

	start(&f);
	m = machine_new(BASE);
	wait_until_serving(open_group(&f, GROUP, REPLICA, m, BASE));
	assert_true(m->ncommands >= acknowledged);
	stop(&f);
	machine_free(m);
}

/*
 * Closed while proposals, reads and checkpoints are under way, and opened again:
 * every question has one answer, and what was acknowledged is there.
 */
static void
closed_is_not_destroyed(void **state)
{
	Fixture		f = {0};
	uint64_t	stands = BASE;
	uint64_t	acknowledged = BASE;
	uint64_t	commands = 0;

	(void) state;
	start(&f);
	found(&f, GROUP, REPLICA);
	for (int round = 0; round < 60; round++)
	{
		Machine    *m = machine_new(stands);
		Question	q[64] = {0};
		Replica    *r = open_group(&f, GROUP, REPLICA, m, stands);

		if (round % 3 != 2)
			assert_true(wait_until_serving(r) >= acknowledged);
		for (int i = 0; i < 64; i++)
		{
			if (i % 8 == 7)
				replica_read(r, on_done, &q[i]);
			else
				replica_propose(r, bytes_str("a command"), on_done, &q[i]);
			if (i % 16 == 3)
				replica_checkpoint(r);
		}
		if (round % 3 == 0)
			wait_for(q, 64);
		replica_close(r);
		pthread_mutex_lock(&m->lock);
		m->dead = true;
		pthread_mutex_unlock(&m->lock);
		wait_for(q, 64);
		for (int i = 0; i < 64; i++)
		{
			assert_int_equal(q[i].calls, 1);
			assert_true(q[i].status == VT_OK || q[i].status == VT_UNAVAILABLE ||
						q[i].status == VT_NOT_LEADER);
			if (q[i].status == VT_OK && i % 8 != 7)
			{
				commands++;
				acknowledged = q[i].index > acknowledged ? q[i].index : acknowledged;
			}
		}
		stands = m->applied;
		assert_true(stands >= acknowledged);
		machine_free(m);
	}
	assert_true(commands >= 20 * 56);
	stop(&f);

	/* And after a start. */
	start(&f);
	{
		Machine    *m = machine_new(stands);

		assert_true(wait_until_serving(open_group(&f, GROUP, REPLICA, m, stands)) >= acknowledged);
		stop(&f);
		machine_free(m);
	}
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(a_failed_write_ends_the_process),
		TEST(each_answer_once_in_order_and_again_at_replay),
		TEST(replay_begins_where_the_machine_stands),
		TEST(a_checkpoint_cuts_the_log),
		TEST(what_is_not_durable_stays),
		TEST(destroyed_is_destroyed),
		TEST(closed_is_not_destroyed),
		TEST(a_gap_in_the_log_is_damage),
		TEST(too_much_and_too_large),
		TEST(stopping_in_the_middle),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("replica_host", tests, NULL, NULL);
}
