/*-------------------------------------------------------------------------
 *
 * worker_cluster.c
 *	  Three workers, each a process, with a replica each of one shard: what was
 *	  acknowledged is there after any of them was killed, wherever it is asked.
 *
 * There is no placement driver: the shard is made by hand, and each worker is
 * told where the others are.
 *
 *-------------------------------------------------------------------------
 */
#include "worker_place.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/prng.h"

#define NODES 3

typedef struct Node
{
	Place		place;
	pid_t		pid;			/* 0 = dead */
	bool		connected;
	Gateway		gateway;
} Node;

static Node nodes[NODES + 1];
static char directory[64];

/* Told to a worker when it starts: its shard is in this life; its replica goes on alone, with a learner. */
static uint64_t life;			/* 0 = nothing is told */
static int	goes_on;			/* worker; 0 = none */
static uint64_t reserve[NODES + 1]; /* of its disk */
static uint64_t grace[NODES + 1];	/* without a leader, ms; there is no placement driver */

/* -- Processes ------------------------------------------------------------- */

static VtStatus
run_worker(int number)
{
	Place	   *place = &nodes[number].place;
	WorkerOptions options;
	VtError		err = {0};
	VtStatus	status;

	memset(&options, 0, sizeof(options));
	options.data = place->data;
	memset(options.data_id.b, number, 16);
	options.listen = options.advertise = place->endpoint;
	options.pd = place->pd;
	options.search_threads = 2;
	options.boot_epoch = 1;
	options.checkpoint_bytes = 16384;
	options.disk_reserve = reserve[number];
	options.replica_grace_ms = grace[number];
	keep_identity(place->data, (uint64_t) number);
	status = worker_start(&options, &place->worker, &err);
	if (status == VT_OK)
	{
		for (int i = 1; i <= NODES; i++)
			replica_links_note(place->worker->links, (uint64_t) i, nodes[i].place.endpoint);
		status = worker_create_shard(place->worker, &place->desc, 100 + (uint64_t) number, true, &err);
	}
	if (status == VT_OK && life)
	{
		Chore		chore = {.kind = CHORE_RECOVER, .shard = SHARD, .replica = 100 + (uint64_t) number, .other = life};

		for (int i = 1; goes_on == number && i <= 2; i++)
			chore.members.members[chore.members.n++] = (RaftMember) {.id = 100 + (uint64_t) i, .node = (uint64_t) i,
				.roles = i == number ? RAFT_VOTER : RAFT_LEARNER};
		while ((status = worker_recover_shard(place->worker, &chore, &err)) == VT_BUSY)
			;
	}
	if (status != VT_OK)
		fprintf(stderr, "worker %d: %s\n", number, vt_error_words(&err));
	return status;
}

/* Returns when it listens. */
static void
node_start(int number)
{
	Node	   *node = &nodes[number];
	int			ready[2];
	char		byte = 0;

	assert_int_equal(pipe(ready), 0);
	node->pid = fork();
	if (node->pid == 0)
	{
		close(ready[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);	/* a test that is killed leaves no workers */
		if (run_worker(number) == VT_OK && write(ready[1], "r", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	close(ready[1]);
	assert_true(node->pid > 0);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static void
disconnect(int number)
{
	if (nodes[number].connected)
		hang_up(&nodes[number].gateway);
	nodes[number].connected = false;
}

static void
kill_it(int number)
{
	disconnect(number);
	assert_int_equal(kill(nodes[number].pid, SIGKILL), 0);
	assert_int_equal(waitpid(nodes[number].pid, NULL, 0), nodes[number].pid);
	nodes[number].pid = 0;
}

static int
set_up(void **state)
{
	(void) state;
	log_setup("test", LOG_LEVEL_ERROR);
	memset(nodes, 0, sizeof(nodes));
	memset(reserve, 0, sizeof(reserve));
	snprintf(directory, sizeof(directory), "/tmp/vectron-three.XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	for (int i = 1; i <= NODES; i++)
	{
		Place	   *place = &nodes[i].place;
		WireShardDesc *desc = &place->desc;

		snprintf(place->directory, sizeof(place->directory), "%.40s", directory);
		snprintf(place->data, sizeof(place->data), "%.40s/data%d", directory, i);
		snprintf(place->endpoint, sizeof(place->endpoint), "unix:%.40s/w%d", directory, i);
		snprintf(place->pd, sizeof(place->pd), "unix:%.40s/pd", directory);
		if (mkdir(place->data, 0700) != 0)
			return -1;
		*desc = shard_alone(SHARD, 0, DIM);
		desc->nreplicas = NODES;
		for (int k = 0; k < NODES; k++)
		{
			desc->replicas[k].store = (uint64_t) k + 1;
			desc->replicas[k].replica = 101 + (uint64_t) k;
			desc->replicas[k].role = 1;
		}
	}
	for (int i = 1; i <= NODES; i++)
		node_start(i);
	return 0;
}

static int
kill_all(void **state)
{
	char		command[128];

	(void) state;
	for (int i = 1; i <= NODES; i++)
		if (nodes[i].pid)
			kill_it(i);
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

/* -- Asking ---------------------------------------------------------------- */

static void
pause_ms(int ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&t, NULL);
}

static Gateway *
gateway_to(int number)
{
	if (!nodes[number].connected)
		dial(&nodes[number].gateway, &nodes[number].place);
	nodes[number].connected = true;
	return &nodes[number].gateway;
}

/*
 * Write ids first..first + n - 1 at whoever leads; *leader is where.  The
 * outcome of a try that was not acknowledged is not known, and the next one
 * writes the same.
 */
static WireWriteResult
change_somewhere(const Change *c, int *leader)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	VtStatus	status = VT_OK;

	for (int i = *leader;; i = i % NODES + 1)
	{
		WireWriteResult result;

		if (nodes[i].pid)
			status = change(gateway_to(i), c, &result);
		if (nodes[i].pid && status == VT_OK)
		{
			*leader = i;
			return result;
		}
		if (clock_now_us() > until)
			fail_msg("nobody takes a write: %s", vt_status_words(status));
		pause_ms(5);
	}
}

static uint64_t
put_somewhere(uint32_t first, uint32_t n, int *leader)
{
	Change		c = {WRITE_PUT, route(&nodes[1].place), 0, 0, first, n, 0, DIM, 0, 0, 0};
	WireWriteResult result = change_somewhere(&c, leader);

	assert_int_equal(result.done, n);
	return result.index;
}

/* A worker that has applied mark finds exactly the ids below n. */
static void
has_all(int number, uint64_t mark, uint32_t n)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint8_t		vector[DIM * 4];
	bool	   *seen = vt_alloc0(n);
	uint32_t	found = 0;
	WireSearch	s;
	WireSearchResult result;
	WireHit		hit;
	VtStatus	status;

	vector_of(0, vector);
	s = question(&nodes[number].place, vector, 1000);
	s.consistency = WIRE_AT_MARK;
	s.mark = mark;
	do
	{
		size_t		at = 0;

		status = search(gateway_to(number), &s, &result);
		if (status == VT_BEHIND || status == VT_LEASE_GONE || status == VT_NOT_LEADER || status == VT_UNAVAILABLE)
		{
			/* It is on its way, has just installed a snapshot, or led for a moment: begin anew. */
			if (clock_now_us() > until)
				fail_msg("worker %d stays behind %llu", number, (unsigned long long) mark);
			pause_ms(5);
			memset(seen, 0, n);
			found = 0;
			s.lease = 0;
			result.exhausted = false;
			continue;
		}
		assert_int_equal(status, VT_OK);
		while (wire_hit_next(&result, &at, &hit))
		{
			uint32_t	id = number_of(hit.id);

			assert_true(id < n && !seen[id]);
			seen[id] = true;
			found++;
		}
		s.lease = result.lease;
	} while (!result.exhausted);
	assert_int_equal(found, n);
	free(seen);
}

/* -- Stories --------------------------------------------------------------- */

static void
leaders_are_killed(void **state)
{
	int			leader = 1;
	uint32_t	n = 0;
	uint64_t	mark = 0;

	(void) state;
	for (int round = 0; round < 5; round++)
	{
		int			dead;

		for (int i = 0; i < 10; i++, n += 5)
			mark = put_somewhere(n, 5, &leader);
		dead = leader;
		kill_it(dead);
		leader = leader % NODES + 1;
		for (int i = 0; i < 10; i++, n += 5)
			mark = put_somewhere(n, 5, &leader);
		for (int i = 1; i <= NODES; i++)
			if (i != dead)
				has_all(i, mark, n);
		node_start(dead);
	}
	for (int i = 1; i <= NODES; i++)
		has_all(i, mark, n);
}

/* Away until the log it needs is gone; then killed again while it catches up. */
static void
one_was_away_for_long(void **state)
{
	Prng		prng = {11};
	int			leader = 1;
	int			away;
	uint32_t	n = 0;
	uint64_t	mark = 0;

	(void) state;
	for (int round = 0; round < 4; round++)
	{
		mark = put_somewhere(n, 1, &leader);
		n++;
		away = leader % NODES + 1;
		kill_it(away);
		for (int i = 0; i < 40; i++, n += 50)
			mark = put_somewhere(n, 50, &leader);
		for (int i = 0; i < round; i++)
		{
			node_start(away);
			pause_ms((int) prng_below(&prng, 300));
			kill_it(away);
		}
		node_start(away);
		for (int i = 0; i < 5; i++, n += 50)
			mark = put_somewhere(n, 50, &leader);
		has_all(away, mark, n);

		/* And what it holds is durable. */
		kill_it(away);
		node_start(away);
		has_all(away, mark, n);
	}
}

/* It is behind, or was asked when it led for a moment. */
static bool
is_refusal(VtStatus status)
{
	return status == VT_BEHIND || status == VT_NOT_LEADER || status == VT_UNAVAILABLE;
}

/*
 * Law R3: a follower answers at a mark that it has applied, and says at once that
 * it is behind one that it has not; a scan that one of them began is gone on with
 * by another.
 */
static void
followers_answer_at_marks(void **state)
{
	int			leader = 1;
	uint32_t	n = 0;
	uint32_t	answered = 0;
	uint32_t	led = 0;
	uint32_t	behind = 0;
	uint64_t	mark = 0;
	uint8_t		vector[DIM * 4];
	uint8_t		id[WIRE_TID_SIZE];
	WireSearch	s;
	WireSearchResult result;
	WireHit		hit;

	(void) state;
	vector_of(0, vector);
	for (int round = 0; round < 300; round++, n++)
	{
		int			other;

		mark = put_somewhere(n, 1, &leader);
		other = (leader + round % 2) % NODES + 1;
		vector_of((float) n, vector);
		s = question(&nodes[other].place, vector, 1);
		s.consistency = WIRE_AT_MARK;
		s.mark = mark;
		/* Whatever it says, it does not say that there is no such row. */
		if (search(gateway_to(other), &s, &result) == VT_OK)
		{
			size_t		at = 0;

			assert_true(nodes[other].gateway.head.applied >= mark);
			assert_true(wire_hit_next(&result, &at, &hit));
			assert_int_equal(number_of(hit.id), n);
			answered++;
			led += result.leader;
		}
		else
			assert_true(is_refusal(nodes[other].gateway.head.status));
		s.mark = mark + 1000;
		assert_true(is_refusal(search(gateway_to(other), &s, &result)));
		behind += nodes[other].gateway.head.status == VT_BEHIND;
		assert_in_range(nodes[other].gateway.head.applied, 0, s.mark - 1);
		assert_int_equal(nodes[other].gateway.head.shard, SHARD);
	}

	/* That one was elected just then, on a busy machine, is seldom. */
	assert_true(answered == 0 || 2 * led < answered);
	assert_in_range(behind, 150, 300);
	for (int i = 1; i <= NODES; i++)
		has_all(i, mark, n);

	/* Each worker gives a few, without what came from the others. */
	{
		Buf			excluded = {0};
		bool	   *seen = vt_alloc0(n);
		uint32_t	found = 0;
		double		last = -1;

		vector_of(0, vector);
		result.exhausted = 0;
		for (int i = 1; !result.exhausted; i = i % NODES + 1)
		{
			size_t		at = 0;

			s = question(&nodes[i].place, vector, 7);
			s.consistency = WIRE_AT_MARK;
			s.mark = mark;
			s.flags = SEARCH_ONCE;
			s.nexcluded = found;
			s.excluded = buf_bytes(&excluded);
			assert_int_equal(search(gateway_to(i), &s, &result), VT_OK);
			while (wire_hit_next(&result, &at, &hit))
			{
				uint32_t	number = number_of(hit.id);

				assert_false(seen[number]);
				assert_true(hit.distance >= last);
				seen[number] = true;
				last = hit.distance;
				wire_id_put(&excluded, id_of(number, id));
				found++;
			}
		}
		assert_int_equal(found, n);
		buf_free(&excluded);
		free(seen);
	}
}

/* The version of the only record at a worker, once it has applied a mark. */
static uint64_t
version_at(int number, uint64_t mark)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint8_t		vector[DIM * 4];
	WireSearchResult result;
	WireSearch	s;
	WireHit		hit;
	size_t		at = 0;

	vector_of(0, vector);
	s = question(&nodes[number].place, vector, 10);
	s.consistency = WIRE_AT_MARK;
	s.mark = mark;
	while (search(gateway_to(number), &s, &result) != VT_OK)
	{
		if (clock_now_us() > until)
			fail_msg("worker %d stays behind %llu", number, (unsigned long long) mark);
		pause_ms(5);
	}
	assert_int_equal(result.nhits, 1);
	assert_true(wire_hit_next(&result, &at, &hit));
	return hit.version;
}

/*
 * Law E1: a leader dies with a command of a session on its way.  Sent again it is
 * done, once; sent again after somebody else has written, it changes nothing, and every
 * leader says where it was done.
 */
static void
retries_across_leaders(void **state)
{
	Change		open = {.type = WRITE_OPEN, .route = route(&nodes[1].place)};
	int			leader = 1;
	uint64_t	session = change_somewhere(&open, &leader).index;

	(void) state;
	for (uint64_t round = 1; round <= 6; round++)
	{
		Change		mine = {WRITE_PUT, open.route, 0, 0, 0, 1, 0, DIM, session, round, round};
		Gateway    *g = gateway_to(leader);
		Buf			payload = change_encode(g, &mine);
		WireWriteResult first;
		WireWriteResult again;
		uint64_t	theirs;
		int			dead = leader;

		send_frame(g, WIRE_REQUEST, WIRE_WRITE, 1000000 + round, &payload);
		buf_free(&payload);
		pause_ms((int) round * 2);
		kill_it(dead);
		first = change_somewhere(&mine, &leader);
		theirs = put_somewhere(0, 1, &leader);
		assert_true(theirs > first.index);
		node_start(dead);
		for (int i = 1; i <= NODES; i++)
			assert_int_equal(version_at(i, theirs), theirs);
		dead = leader;
		kill_it(dead);
		again = change_somewhere(&mine, &leader);
		assert_true(again.repeated);
		assert_int_equal(again.index, first.index);
		node_start(dead);
		theirs = version_at(leader, theirs);
		assert_true(theirs > first.index);
		for (int i = 1; i <= NODES; i++)
			assert_int_equal(version_at(i, theirs), theirs);
	}
}

/*
 * A linearizable search at a worker that does not lead finds what was acknowledged
 * before it was asked, or is refused; one without that promise is answered by any.
 */
static void
linearizable_away_from_the_leader(void **state)
{
	int			leader = 1;
	uint32_t	n = 0;
	uint32_t	found[NODES + 1] = {0};
	uint8_t		vector[DIM * 4];
	WireSearch	s;
	WireSearchResult result;
	WireHit		hit;

	(void) state;
	for (int round = 0; round < 200; round++, n++)
	{
		int64_t		until = clock_now_us() + PATIENCE_US;
		int			other;
		size_t		at = 0;
		VtStatus	status;

		(void) put_somewhere(n, 1, &leader);
		other = (leader + round % 2) % NODES + 1;
		vector_of((float) n, vector);
		s = question(&nodes[other].place, vector, 1);
		s.consistency = WIRE_LINEARIZABLE;
		while ((status = search(gateway_to(other), &s, &result)) != VT_OK)
		{
			/* It knows nobody who leads, or that one had to go, or it lags. */
			assert_true(status == VT_BUSY || is_refusal(status));
			if (clock_now_us() > until)
				fail_msg("worker %d does not come to answer", other);
			pause_ms(20);
		}
		assert_true(wire_hit_next(&result, &at, &hit));
		assert_int_equal(number_of(hit.id), n);
		found[other] += !result.leader;
		s.consistency = WIRE_EVENTUAL;
		assert_int_equal(search(gateway_to(other), &s, &result), VT_OK);
		if (round == 100)
		{
			kill_it(leader);
			pause_ms(20);
			node_start(leader);
		}
	}
	for (int i = 1; i <= NODES; i++)
		n -= found[i];
	/* Most of them were, and by who did not lead. */
	assert_in_range(n, 0, 100);
}

static void
comes_to_answer(int number, VtStatus status)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint8_t		vector[DIM * 4];
	WireSearch	s;
	WireSearchResult result;

	vector_of(0, vector);
	s = question(&nodes[number].place, vector, 1);
	s.consistency = WIRE_EVENTUAL;
	while (search(gateway_to(number), &s, &result) != status)
	{
		if (clock_now_us() > until)
			fail_msg("worker %d does not come to answer with %s", number, vt_status_words(status));
		pause_ms(5);
	}
}

/*
 * Who hears neither a leader nor a placement driver for replica_grace may have been replaced
 * long ago: it does not answer of any age any more, until it hears one.  A leader that has nothing to say is heard as well.
 */
static void
left_alone(void **state)
{
	int			leader = 1;
	uint64_t	mark;
	int			alone;
	int			patient;

	(void) state;
	mark = put_somewhere(0, 20, &leader);
	for (int i = 1; i <= NODES; i++)
		has_all(i, mark, 20);
	alone = leader % NODES + 1;
	patient = alone % NODES + 1;
	kill_it(alone);
	grace[alone] = 200;
	node_start(alone);
	pause_ms(1500);				/* nothing happens: they fall asleep */
	comes_to_answer(alone, VT_OK);
	kill_it(leader);
	kill_it(patient);
	comes_to_answer(alone, VT_BEHIND);
	node_start(patient);
	comes_to_answer(alone, VT_OK);
	kill_it(alone);
	pause_ms(400);
	comes_to_answer(patient, VT_OK);
	grace[alone] = 0;
}

static void
start_anew(int number, uint64_t disk_reserve)
{
	kill_it(number);
	reserve[number] = disk_reserve;
	node_start(number);
}

/* The leader has room, its followers have none: it takes nothing that only fills their disks. */
static void
followers_have_no_room(void **state)
{
	Change		more = {WRITE_PUT, route(&nodes[1].place), 0, 0, 20, 1, 0, DIM, 0, 0, 0};
	Change		gone = {WRITE_DELETE, route(&nodes[1].place), 0, 0, 0, 1, 0, 0, 0, 0, 0};
	int64_t		until = clock_now_us() + PATIENCE_US;
	WireWriteResult result;
	VtStatus	status;
	int			leader = 1;
	int			roomy;

	(void) state;
	(void) put_somewhere(0, 20, &leader);
	roomy = leader;
	for (int i = 1; i < NODES; i++)
		start_anew((roomy - 1 + i) % NODES + 1, UINT64_MAX);
	for (int tries = 0; (status = change(gateway_to(roomy), &more, &result)) != VT_FULL; tries++)
	{
		/* Another one may have come to lead. */
		if (status == VT_NOT_LEADER && tries % 200 == 199)
			start_anew((roomy + tries / 200 % 2) % NODES + 1, UINT64_MAX);
		if (clock_now_us() > until)
			fail_msg("new data is not refused: %s", vt_status_words(status));
		pause_ms(10);
	}
	(void) change_somewhere(&gone, &leader);
	for (int i = 1; i < NODES; i++)
		start_anew((roomy - 1 + i) % NODES + 1, 0);
	more.first = 21;
	(void) change_somewhere(&more, &leader);
}

/* What a worker says of its shard. */
static bool
says(int number, const char *words)
{
	return strstr(control(gateway_to(number), "{\"op\":\"status\"}"), words) != NULL;
}

/* A gateway gets nothing of it, whatever it knows. */
static void
is_refused(int number, uint64_t mark)
{
	Change		c = {.type = WRITE_PUT, .route = route(&nodes[1].place), .first = 100, .n = 1, .dim = DIM};
	WireWriteResult written;
	WireRead	read = {route(&nodes[1].place)};
	WireList	l = {.route = read.route, .limit_bytes = 1000};
	WireListResult listed;
	WireSearchResult result;
	uint8_t		vector[DIM * 4];
	Buf			payload = {0};
	WireSearch	s;

	vector_of(0, vector);
	s = question(&nodes[1].place, vector, 30);
	assert_int_equal(search(gateway_to(number), &s, &result), VT_LOST);
	s.consistency = WIRE_AT_MARK;
	s.mark = mark;
	assert_int_equal(search(gateway_to(number), &s, &result), VT_LOST);
	assert_int_equal(list(gateway_to(number), &l, &listed), VT_LOST);
	assert_int_equal(change(gateway_to(number), &c, &written), VT_LOST);
	wire_read_put(&payload, &read);
	assert_int_equal(ask(gateway_to(number), WIRE_READ_INDEX, &payload), VT_LOST);
	buf_free(&payload);
}

static void
comes_to_say(int number, const char *words)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (!says(number, words))
	{
		if (clock_now_us() > until)
			fail_msg("worker %d does not come to say %s: %s", number, words, control(gateway_to(number), "{\"op\":\"status\"}"));
		pause_ms(5);
	}
}

/*
 * Law W7: a shard that went back in time.  Its survivors begin another life, and tell
 * no gateway anything from then on; the one that has most goes on, the other learns
 * from it; each may be killed between any two steps, and told again.  Who was given up
 * and comes back takes nothing away.
 */
static void
survivors_go_on(void **state)
{
	int			leader = 1;
	uint64_t	mark;

	(void) state;
	mark = put_somewhere(0, 20, &leader);
	for (int i = 1; i <= NODES; i++)
		has_all(i, mark, 20);
	kill_it(1);
	leader = 2;
	put_somewhere(20, 20, &leader);
	kill_it(2);
	kill_it(3);
	life = 2;
	for (int times = 0; times < 2; times++)
	{
		node_start(1);
		is_refused(1, mark);
		assert_true(says(1, "\"incarnation\":\"2\""));
		kill_it(1);
	}
	for (goes_on = 0; goes_on <= 2; goes_on += 2)
	{
		node_start(2);
		is_refused(2, mark);
		if (goes_on)
			comes_to_say(2, "\"leader\":true");
		kill_it(2);
	}
	goes_on = 2;
	node_start(2);
	node_start(1);
	comes_to_say(2, "\"leader\":true");
	comes_to_say(1, "\"records\":\"40\"");
	comes_to_say(1, "\"role\":\"learner\"");
	life = goes_on = 0;
	node_start(3);
	pause_ms(1500);				/* it asks for votes meanwhile */
	assert_true(says(2, "\"leader\":true"));
	is_refused(1, mark);
	is_refused(2, mark);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(survivors_go_on, set_up, kill_all),
		cmocka_unit_test_setup_teardown(followers_answer_at_marks, set_up, kill_all),
		cmocka_unit_test_setup_teardown(linearizable_away_from_the_leader, set_up, kill_all),
		cmocka_unit_test_setup_teardown(left_alone, set_up, kill_all),
		cmocka_unit_test_setup_teardown(followers_have_no_room, set_up, kill_all),
		cmocka_unit_test_setup_teardown(retries_across_leaders, set_up, kill_all),
		cmocka_unit_test_setup_teardown(leaders_are_killed, set_up, kill_all),
		cmocka_unit_test_setup_teardown(one_was_away_for_long, set_up, kill_all),
	};

	return cmocka_run_group_tests_name("worker_cluster", tests, NULL, NULL);
}
