/*-------------------------------------------------------------------------
 *
 * replica_install.c
 *	  Moments that come seldom: in the middle of an installation, and where
 *	  events never end.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/replica/private.h"
#include "replica_world.h"

/* Those that are up, with another bound; no snapshot is on its way from them. */
static void
start_anew(uint64_t bound)
{
	bool		up[NODES + 1];

	for (int i = 1; i <= NODES; i++)
	{
		up[i] = nodes[i].up;
		if (up[i])
			node_stop(i, false);
	}
	log_bound = bound;
	net.nstreams = 0;
	atomic_store(&net.chunks, 0);
	for (int i = 1; i <= NODES; i++)
		if (up[i])
		{
			node_start(i);
			node_open(i, NULL);
		}
	(void) await_leader();
}

/* It is told once more, of other nodes. */
static void
world_again(void **state)
{
	world_end();
	(void) scratch_remove(state);
	assert_int_equal(scratch_make(state), 0);
}

/*
 * While the log has a snapshot as its base that the machine has not put in
 * place, no other may take the place of what is staged.  False: one was elected
 * meanwhile, who may send another one afterwards.
 */
static bool
stages_beside_an_installation(uint64_t seed)
{
	WireChunk	chunk = {.group = GROUP, .stream = 4711};
	WireChunkResult result;
	uint64_t	last = 0;
	uint64_t	term;
	Machine    *m;
	int			away;

	log_bound = 16384;
	world_begin(3, seed);
	away = leave_behind(&last);
	start_anew(0);
	term = term_now();
	m = &nodes[away].machine;
	m->hold = true;
	node_start(away);
	node_open(away, NULL);
	machine_await_held(m);

	chunk.to = (uint64_t) away * 10;
	chunk.data = bytes_str("x");
	replica_stage(nodes[away].replica, &chunk, &result);
	assert_int_equal(result.status, VT_BUSY);

	/* The last chunk once more, since its answer may have been lost. */
	chunk.stream = m->stream;
	chunk.seq = sizeof(m->staged) - 1;
	chunk.last = true;
	replica_stage(nodes[away].replica, &chunk, &result);
	assert_int_equal(result.status, VT_OK);
	assert_int_equal(result.next, chunk.seq + 1);

	machine_go_on(m);
	await_agreement(last);
	if (term_now() != term)
		return false;
	assert_int_equal(m->installs, 1);
	return true;
}

static void
what_is_staged_stays(void **state)
{
	bool		told = false;

	for (uint64_t seed = 8; seed < 18 && !told; seed++)
	{
		told = stages_beside_an_installation(seed);
		world_again(state);
	}
	assert_true(told);
}

/* What was put in place counts at once: it votes and takes entries while it is loaded. */
static void
votes_while_it_loads(void **state)
{
	uint64_t	last = 0;
	Machine    *m;
	int			away;
	int			dead;

	(void) state;
	log_bound = 16384;
	world_begin(3, 12);
	away = leave_behind(&last);
	start_anew(0);
	m = &nodes[away].machine;
	m->hold_load = true;
	node_start(away);
	node_open(away, NULL);
	pthread_mutex_lock(&m->lock);
	while (!m->loading)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);

	/* Of the other two one is left, and nothing is committed without the one that loads. */
	dead = await_leader();
	node_stop(dead, false);
	for (uint32_t i = 0; i < 5; i++)
		last = write_one(i);
	assert_true(m->loading);
	machine_go_on(m);
	await_agreement(last);
	node_start(dead);
	node_open(dead, NULL);
	last = write_one(9);
	await_agreement(last);
	world_end();
}

/* Give a node a snapshot of a newer term than any, as a leader would that nobody has heard of. */
static void
stage_newer(int number, uint64_t index, uint64_t term)
{
	RaftSnapshot snapshot;
	RaftMessage message;
	WireChunkResult result;
	uint8_t		bytes[16];
	uint8_t		encoded[4096];

	memset(&snapshot, 0, sizeof(snapshot));
	snapshot.index = index;
	snapshot.term = term;
	snapshot.conf = conf_of(3);
	snapshot.id = 4712;
	memset(&message, 0, sizeof(message));
	message.type = RAFT_SNAP;
	message.group = GROUP;
	message.from = (uint64_t) (number % 3 + 1) * 10;
	message.to = (uint64_t) number * 10;
	message.term = term;
	message.index = index;
	message.log_term = term;
	message.snapshot = &snapshot;
	raft_message_encode(&message, encoded);
	put_le64(bytes, index);
	put_le64(bytes + 8, 1);
	for (uint32_t i = 0; i < sizeof(bytes); i++)
	{
		WireChunk	chunk = {.group = GROUP, .to = message.to, .stream = snapshot.id, .seq = i};

		chunk.data = bytes_of(bytes + i, 1);
		chunk.last = i + 1 == sizeof(bytes);
		if (chunk.last)
			chunk.message = bytes_of(encoded, raft_message_size(&message));
		replica_stage(nodes[number].replica, &chunk, &result);
		assert_int_equal(result.status, VT_OK);
	}
}

/* Of a stream that was installed no chunk is taken any more, but each is said to have come. */
static void
stage_again(int number)
{
	Machine    *m = &nodes[number].machine;

	for (uint32_t seq = 0; seq < sizeof(m->staged); seq += 5)
	{
		WireChunk	chunk = {.group = GROUP, .to = (uint64_t) number * 10, .stream = 4712, .seq = seq};
		WireChunkResult result;

		chunk.data = bytes_str("x");
		replica_stage(nodes[number].replica, &chunk, &result);
		assert_int_equal(result.status, VT_OK);
		assert_in_range(result.next, seq + 1, sizeof(m->staged));
		pthread_mutex_lock(&m->lock);
		assert_int_equal(m->next, 0);
		pthread_mutex_unlock(&m->lock);
	}
}

/*
 * Whoever sent it has not heard that all of it has come, and begins again.  What would be staged under its
 * number is half of what the log has as its base, and a start would put that in place.
 */
static void
an_answer_that_was_lost(void **state)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	last;
	ReplicaStatus status = {0};
	int			away;

	(void) state;
	checkpoint_bytes = 1 << 30; /* the log keeps its base */
	world_begin(3, 15);
	last = write_one(0);
	await_agreement(last);
	away = await_leader() % 3 + 1;
	pthread_mutex_lock(&net.lock);
	for (int i = 1; i <= 3; i++)
		net.cut[away][i] = net.cut[i][away] = true;
	pthread_mutex_unlock(&net.lock);
	stage_newer(away, last + 1000, term_now() + 5);
	while (status.applied < last + 1000)
	{
		if (clock_now_us() > until)
			fail_msg("it is not installed");
		pause_ms(1);
		replica_status(nodes[away].replica, &status);
	}
	stage_again(away);
	node_stop(away, false);
	node_start(away);
	node_open(away, NULL);
	stage_again(away);
	assert_int_equal(nodes[away].machine.installs, 1);
	world_end();
}

static bool
sends(int number)
{
	ReplicaHost *host = nodes[number].host;
	bool		busy = false;

	pthread_mutex_lock(&host->sends.lock);
	for (uint32_t i = 0; i < host->sends.nthreads; i++)
		busy |= host->sends.threads[i].busy != NULL;
	busy |= host->sends.first != NULL;
	pthread_mutex_unlock(&host->sends.lock);
	return busy;
}

static bool
has_installed(Machine *m)
{
	bool		has;

	pthread_mutex_lock(&m->lock);
	has = m->installs > 0;
	pthread_mutex_unlock(&m->lock);
	return has;
}

/*
 * Who sends a snapshot, to somebody who does not answer, and is to install one himself,
 * does not wait for that: what is being sent pins the state that is to go.
 */
static void
a_send_gives_way(void **state)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	last = 0;
	Machine    *m;
	int			away;
	int			leader;

	(void) state;
	log_bound = 16384;
	world_begin(3, 13);
	away = leave_behind(&last);
	atomic_store(&net.hold_chunks, true);
	node_start(away);
	node_open(away, NULL);
	/* Another may lead by now than he who began to send. */
	while (leader = await_leader(), atomic_load(&net.holds[leader]) == 0)
	{
		if (clock_now_us() > until)
			fail_msg("nobody sends");
		pause_ms(1);
	}
	m = &nodes[leader].machine;
	stage_newer(leader, last + 1000, term_now() + 5);
	while (!has_installed(m) || sends(leader))
	{
		if (clock_now_us() > until)
			fail_msg("it is still being sent");
		pause_ms(1);
	}
	assert_true(atomic_load(&net.interrupted) > 0);
	atomic_store(&net.hold_chunks, false);
	for (int i = 1; i <= 3; i++)
		node_down(i);			/* what the others have is no longer of this world */
	for (int i = 1; i <= 3; i++)
	{
		replica_host_stop(nodes[i].host);
		store_close(nodes[i].log);
	}
	world_end();
}

/* Where its last checkpoint stands. */
static uint64_t
checkpoint_of(int number)
{
	Machine    *m = &nodes[number].machine;
	uint64_t	durable;

	pthread_mutex_lock(&m->lock);
	durable = m->durable;
	pthread_mutex_unlock(&m->lock);
	return durable;
}

/*
 * Two checkpoints later nothing but the snapshot to `away` holds the log; or another one is elected.  Where
 * they were slow, and so few, there is another one only when more is written: the last of that.
 */
static uint64_t
await_checkpoints(int leader, int away, uint64_t term, uint64_t last)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			other = 6 - leader - away;
	uint64_t	newest = last;

	for (uint32_t i = 1; term_now() == term && (checkpoint_of(leader) <= last - 60 || base_of(other) <= last - 100); i++)
	{
		if (clock_now_us() > until)
			fail_msg("the last checkpoint stands at %llu, the other log begins at %llu", (unsigned long long) checkpoint_of(leader),
					 (unsigned long long) base_of(other));
		pause_ms(5);
		if (i % 20 == 0)
			newest = write_one(i);
	}
	return newest;
}

/*
 * While a snapshot is on its way the others write more than was ever kept: it is
 * of use all the same.  A leader that was elected meanwhile knows nothing of it,
 * and then the story is told once more.
 */
static void
a_slow_snapshot_is_of_use(void **state)
{
	bool		told = false;

	for (uint64_t seed = 20; seed < 30 && !told; seed++)
	{
		uint64_t	last = 0;
		uint64_t	term;
		int			away;
		int			leader;

		log_bound = 16384;
		world_begin(3, seed);
		away = leave_behind(&last);
		start_anew(0);
		atomic_store(&net.hold_chunks, true);
		node_start(away);
		node_open(away, NULL);
		while (atomic_load(&net.chunks) == 0)
			pause_ms(1);
		leader = await_leader();
		term = term_now();
		for (uint32_t i = 0; i < 400; i++)
			last = write_one(i);
		last = await_checkpoints(leader, away, term, last);
		atomic_store(&net.hold_chunks, false);
		await_agreement(last);
		told = term_now() == term && await_leader() == leader;
		if (told)
			assert_int_equal(nodes[away].machine.installs, 1);
		world_again(state);
	}
	assert_true(told);
}

/* But not for ever: the bound of the host ends it, and another snapshot is sent. */
static void
a_snapshot_that_never_comes(void **state)
{
	uint64_t	last = 0;
	int			away;

	(void) state;
	log_bound = 16384;
	world_begin(3, 14);
	away = leave_behind(&last);
	atomic_store(&net.hold_chunks, true);
	atomic_store(&net.chunks, 0);
	node_start(away);
	node_open(away, NULL);
	while (atomic_load(&net.chunks) == 0)
		pause_ms(1);
	for (uint32_t i = 0; i < 400; i++)
		last = write_one(i);
	for (int i = 1; i <= 3; i++)
	{
		int64_t		until = clock_now_us() + PATIENCE_US;
		ReplicaHostFigures figures = {.log_bytes = UINT64_MAX};

		while (figures.log_bytes > log_bound)
		{
			if (clock_now_us() > until)
				fail_msg("node %d keeps %llu bytes of log", i, (unsigned long long) figures.log_bytes);
			pause_ms(5);
			replica_host_figures(nodes[i].host, &figures);
		}
	}
	atomic_store(&net.hold_chunks, false);
	await_agreement(last);
	world_end();
}

/* The link breaks in the middle, for longer than a moment: it goes on where it was. */
static void
a_snapshot_goes_on(void **state)
{
	bool		told = false;

	for (uint64_t seed = 40; seed < 50 && !told; seed++)
	{
		uint64_t	last = 0;
		uint64_t	term;
		int			away;

		log_bound = 16384;
		world_begin(3, seed);
		away = leave_behind(&last);
		start_anew(0);
		atomic_store(&net.chunks_lost_after, 5);
		term = term_now();
		node_start(away);
		node_open(away, NULL);
		while (atomic_load(&net.chunks) < 5 + 6)
			pause_ms(1);
		atomic_store(&net.chunks_lost_after, 0);
		await_agreement(last);
		told = term_now() == term;
		if (told)
			assert_int_equal(net.nstreams, 1);
		world_again(state);
	}
	assert_true(told);
}

/* -- A host that is never at rest ------------------------------------------- */

typedef struct Storm
{
	Node	   *node;
	pthread_t	thread;
	atomic_bool stop;
	atomic_bool over;
} Storm;

/* Each answer asks anew, before the stepper has come to the end of its events. */
static void
on_answered(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Storm	   *storm = (Storm *) arg;

	(void) status;
	(void) index;
	(void) reply;
	if (atomic_load(&storm->stop))
		atomic_store(&storm->over, true);
	else
		replica_transfer(storm->node->replica, 1, on_answered, storm);
}

static void *
storm_main(void *arg)
{
	on_answered(arg, VT_OK, 0, bytes_str(""));
	return NULL;
}

/* Time goes on, and so a leader is found, though events never end. */
static void
time_goes_on(void **state)
{
	static Storm storms[4];
	uint64_t	last;

	(void) state;
	world_begin(3, 10);
	last = write_one(0);
	await_agreement(last);
	for (int i = 1; i <= 3; i++)
		node_stop(i, false);
	for (int i = 1; i <= 3; i++)
	{
		node_start(i);
		node_open(i, NULL);
		memset(&storms[i], 0, sizeof(storms[i]));
		storms[i].node = &nodes[i];
		assert_int_equal(pthread_create(&storms[i].thread, NULL, storm_main, &storms[i]), 0);
	}
	(void) await_leader();
	for (int i = 1; i <= 3; i++)
		atomic_store(&storms[i].stop, true);
	for (int i = 1; i <= 3; i++)
	{
		while (!atomic_load(&storms[i].over))
			pause_ms(1);
		pthread_join(storms[i].thread, NULL);
	}
	last = write_one(1);
	await_agreement(last);
	world_end();
}

/* Who has no room for a snapshot is not sent one after the other. */
static void
a_full_disk(void **state)
{
	int64_t		begun;
	uint64_t	last = 0;
	uint64_t	term;
	uint64_t	nstreams;
	uint64_t	most;
	int			away;

	(void) state;
	log_bound = 16384;
	world_begin(3, 21);
	away = leave_behind(&last);
	start_anew(0);
	term = term_now();
	begun = clock_now_us();
	atomic_store(&nodes[away].machine.full, true);
	node_start(away);
	node_open(away, NULL);
	while (atomic_load(&net.chunks) == 0)
		pause_ms(1);

	/* Some heartbeats, each of which would bring another one. */
	for (uint32_t i = 0; i < 10; i++)
	{
		pause_ms(100);
		last = write_one(i);
	}
	pthread_mutex_lock(&net.lock);
	nstreams = net.nstreams;
	pthread_mutex_unlock(&net.lock);

	/* Who is elected begins anew. */
	most = 2 + (term_now() - term) + (uint64_t) (clock_now_us() - begun) / 3000000;
	assert_in_range(nstreams, 1, most);

	/* There is room again. */
	atomic_store(&nodes[away].machine.full, false);
	await_agreement(last);
	world_end();
}

/* A chunk is packed where it shrinks, and unpacked only to what it says it was. */
static void
packed(void **state)
{
	Packer	   *packer = packer_new();
	Prng		prng = {77};
	Buf			text = {0};
	Buf			noise = {0};
	Buf			out = {0};
	Buf			back = {0};
	WireChunk	chunk = {.stream = 1};
	VtError		err = {0};

	(void) state;
	for (uint32_t i = 0; i < 20000; i++)
	{
		buf_put_u32(&text, i / 7);
		buf_put_u64(&noise, prng_next(&prng));
	}
	assert_false(packer_shrinks(packer, buf_bytes(&noise)));
	assert_true(packer_shrinks(packer, buf_bytes(&text)));
	assert_true(packer_pack(packer, buf_bytes(&text), &out));
	chunk.raw = (uint32_t) text.len;
	chunk.data = buf_bytes(&out);
	assert_int_equal(chunk_unpack(&chunk, &back, &err), VT_OK);
	assert_true(bytes_equal(buf_bytes(&back), buf_bytes(&text)));

	/* Neither more nor less than it says, nor half of it, nor rubbish. */
	chunk.raw = (uint32_t) text.len - 1;
	assert_int_equal(chunk_unpack(&chunk, &back, &err), VT_PROTOCOL);
	chunk.raw = (uint32_t) text.len + 1;
	assert_int_equal(chunk_unpack(&chunk, &back, &err), VT_PROTOCOL);
	chunk.raw = (uint32_t) text.len;
	chunk.data.len /= 2;
	assert_int_equal(chunk_unpack(&chunk, &back, &err), VT_PROTOCOL);
	chunk.data = buf_bytes(&noise);
	assert_int_equal(chunk_unpack(&chunk, &back, &err), VT_PROTOCOL);
	packer_free(packer);
	buf_free(&text);
	buf_free(&noise);
	buf_free(&out);
	buf_free(&back);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_staged_stays, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(votes_while_it_loads, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(an_answer_that_was_lost, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_send_gives_way, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_slow_snapshot_is_of_use, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_snapshot_goes_on, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_snapshot_that_never_comes, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(time_goes_on, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_full_disk, scratch_make, scratch_remove),
		cmocka_unit_test(packed),
	};

	return cmocka_run_group_tests_name("replica_install", tests, NULL, NULL);
}
