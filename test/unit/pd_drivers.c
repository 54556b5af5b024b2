/*-------------------------------------------------------------------------
 *
 * pd_drivers.c
 *	  Three placement drivers in one process, on sockets: founding, a leader that
 *	  goes, one that was away too long for the log, one that comes with an empty
 *	  directory.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_drivers.h"

static void
alone(void **state)
{
	char		cluster[64];
	char		again[64];
	uint64_t	store;

	(void) state;
	world_begin();
	driver_start(0, 1);
	ask_status(0, "cluster", cluster, sizeof(cluster));
	assert_int_equal(strlen(cluster), 32);
	store = register_worker(1, "unix:/w1");
	driver_stop(0);

	/* It is known by its directory, not by where it listens. */
	strcat(drivers[0].endpoint, "x");
	driver_start(0, 1);
	ask_status(0, "cluster", again, sizeof(again));
	assert_string_equal(cluster, again);
	assert_true(register_worker(1, "unix:/w1") == store);
	assert_int_equal(count("leader", "up"), 1);
	world_end();
}

/* Nothing is founded before all have met, and nothing twice. */
static void
founded_together(void **state)
{
	char		text[64];
	char		cluster[64];
	uint64_t	stores[3];
	json_t	   *answer;
	int			first;

	(void) state;
	world_begin();
	driver_start(0, 3);
	driver_start(1, 3);
	pause_ms(500);
	ask_status(0, "role", text, sizeof(text));
	assert_string_equal(text, "founding");
	answer = ask_as(WIRE_ROLE_CTL, 1, "{\"op\":\"workers\"}");
	assert_int_equal(status_of(answer), VT_NOT_LEADER);
	json_decref(answer);
	driver_start(2, 3);
	first = leader();
	await_count(2, "follower", "up");
	for (uint32_t i = 0; i < 3; i++)
		stores[i] = register_worker(i + 1, "unix:/w");
	ask_status(first, "cluster", cluster, sizeof(cluster));

	/* The others say who leads; that may change at any moment. */
	for (int64_t until = clock_now_us() + PATIENCE_US;; pause_ms(20))
	{
		const char *said;
		bool		right;

		first = leader();
		answer = ask_as(WIRE_ROLE_CTL, (first + 1) % 3, "{\"op\":\"workers\"}");
		said = json_string_value(json_object_get(answer, "leader"));
		right = status_of(answer) == VT_NOT_LEADER && said && strcmp(said, drivers[first].endpoint) == 0;
		json_decref(answer);
		if (right)
			break;
		assert_true(clock_now_us() < until);
	}

	/* Each in turn is away, and what was decided stays decided. */
	for (int round = 0; round < 4; round++)
	{
		int			gone = leader();

		driver_stop(gone);
		for (uint32_t i = 0; i < 3; i++)
			assert_true(register_worker(i + 1, "unix:/w") == stores[i]);
		(void) register_worker(100 + (uint32_t) round, "unix:/w");
		driver_start(gone, 3);
		await_applied(gone);
		ask_status(gone, "cluster", text, sizeof(text));
		assert_string_equal(text, cluster);
	}

	/* Two are away: the third decides nothing. */
	first = leader();
	driver_stop(first);
	driver_stop((first + 1) % 3);
	for (int64_t until = clock_now_us() + PATIENCE_US; clock_now_us() < until; pause_ms(20))
	{
		ask_status((first + 2) % 3, "leader", text, sizeof(text));
		if (text[0] == '\0')
			break;
	}
	answer = ask_as(WIRE_ROLE_CTL, (first + 2) % 3, "{\"op\":\"workers\"}");
	assert_int_equal(status_of(answer), VT_NOT_LEADER);
	assert_non_null(strstr(json_string_value(json_object_get(answer, "message")), "more than half of the 3"));
	json_decref(answer);
	driver_start((first + 1) % 3, 3);
	assert_true(register_worker(1, "unix:/w") == stores[0]);
	world_end();
}

/* Told of other peers, they do not found anything. */
static void
told_differently(void **state)
{
	char		text[64];

	(void) state;
	world_begin();
	driver_start(0, 2);
	driver_start(1, 3);
	driver_start(2, 3);
	pause_ms(1000);
	for (int i = 0; i < 3; i++)
	{
		ask_status(i, "role", text, sizeof(text));
		assert_string_equal(text, "founding");
	}
	driver_stop(0);
	driver_start(0, 3);
	(void) leader();
	await_count(2, "follower", "up");
	world_end();
}

/* One that was away while the log was cut gets a snapshot. */
static void
away_for_long(void **state)
{
	char		endpoint[64];
	uint64_t	store = 0;
	RaftSnapshot base;
	int			away;

	(void) state;
	world_begin();
	for (int i = 0; i < 3; i++)
		driver_start(i, 3);
	away = (leader() + 1) % 3;
	driver_stop(away);
	await_count(1, "follower", "silent");	/* until then the log is kept for it */
	for (int i = 0; i < 600; i++)
	{
		snprintf(endpoint, sizeof(endpoint), "unix:/worker-%d", i);
		store = register_worker(1, endpoint);
	}
	driver_start(away, 3);
	await_applied(away);
	assert_int_equal(replica_stored_base(drivers[away].pd->host, PD_GROUP, &base, NULL), VT_OK);
	assert_true(base.id != 0);	/* it names the snapshot */

	/* It has it all: with it alone beside another one, all is still there. */
	for (int i = 0; i < 3; i++)
		if (i != away)
		{
			driver_stop(i);
			assert_true(register_worker(1, endpoint) == store);
			driver_start(i, 3);
			await_applied(i);
		}
	world_end();
}

/* An emptied directory has no vote; it can be made a member in place of the old one. */
static void
with_an_empty_directory(void **state)
{
	char		question[300];
	char		old[64];
	json_t	   *answer;
	uint64_t	store;
	int			emptied;

	(void) state;
	world_begin();
	for (int i = 0; i < 3; i++)
		driver_start(i, 3);
	store = register_worker(1, "unix:/w");
	emptied = (leader() + 1) % 3;
	ask_status(emptied, "id", old, sizeof(old));
	driver_stop(emptied);
	strcat(drivers[emptied].data, "-new");
	driver_start(emptied, 3);
	await_count(1, "waiting", "up");
	await_count(1, "follower", "silent");
	await_role(emptied, "waiting");

	/* With it and one more there is no majority: neither may answer, not even at once. */
	for (int i = 0; i < 3; i++)
		if (i != emptied && i != leader())
		{
			driver_stop(i);
			for (int j = 0; j < 3; j++)
			{
				answer = drivers[j].pd ? ask_as(WIRE_ROLE_CTL, j, "{\"op\":\"workers\"}") : NULL;
				if (answer)
					assert_int_equal(status_of(answer), VT_NOT_LEADER);
				json_decref(answer);
			}
			driver_start(i, 3);
			break;
		}

	/* Its endpoint is taken by the one it was; that one goes first. */
	snprintf(question, sizeof(question), "{\"op\":\"add_pd\",\"endpoint\":\"%s\"}", drivers[emptied].endpoint);
	await_count(1, "waiting", "up");
	await_count(1, "follower", "up");
	answer = ask_leader(WIRE_ROLE_CTL, question);
	assert_int_equal(status_of(answer), VT_EXISTS);
	json_decref(answer);
	snprintf(question, sizeof(question), "{\"op\":\"remove_pd\",\"id\":\"%s\"}", old);
	await_answer(question, VT_OK);
	await_count(0, "leaving", "silent");
	await_count(1, "waiting", "up");
	snprintf(question, sizeof(question), "{\"op\":\"add_pd\",\"endpoint\":\"%s\"}", drivers[emptied].endpoint);
	await_answer(question, VT_OK);
	await_count(2, "follower", "up");

	/* Now it counts. */
	for (int i = 0; i < 3; i++)
		if (i != emptied)
		{
			driver_stop(i);
			assert_true(register_worker(1, "unix:/w") == store);
			driver_start(i, 3);
			await_count(2, "follower", "up");
		}
	world_end();
}

/* From one to three and back to another one. */
static void
grown_and_shrunk(void **state)
{
	char		question[300];
	char		ids[4][64];
	json_t	   *answer;
	uint64_t	store;

	(void) state;
	world_begin();
	driver_start(0, 1);
	store = register_worker(1, "unix:/w");
	for (int i = 1; i < 3; i++)
	{
		driver_start(i, i + 1);
		await_count(1, "waiting", "up");
		snprintf(question, sizeof(question), "{\"op\":\"add_pd\",\"endpoint\":\"%s\"}", drivers[i].endpoint);
		for (int twice = 0; twice < 2; twice++)
			await_answer(question, VT_OK);
		await_count(i, "follower", "up");
	}
	for (int i = 0; i < 3; i++)
		ask_status(i, "id", ids[i], sizeof(ids[i]));
	answer = ask_leader(WIRE_ROLE_CTL, "{\"op\":\"remove_pd\",\"id\":\"12\"}");
	assert_int_equal(status_of(answer), VT_NOT_FOUND);
	json_decref(answer);

	/* Not below a majority that is up. */
	driver_stop(2);
	await_count(1, "follower", "silent");
	snprintf(question, sizeof(question), "{\"op\":\"remove_pd\",\"id\":\"%s\"}", ids[1]);
	answer = ask_leader(WIRE_ROLE_CTL, question);
	assert_int_equal(status_of(answer), VT_FULL);
	json_decref(answer);
	driver_start(2, 3);
	await_count(2, "follower", "up");

	/* The leader too can be let go. */
	for (int n = 2; n > 0; n--)
	{
		int			i = leader();

		snprintf(question, sizeof(question), "{\"op\":\"remove_pd\",\"id\":\"%s\"}", ids[i]);
		await_answer(question, VT_OK);
		for (int64_t until = clock_now_us() + PATIENCE_US; leader() == i; pause_ms(20))
			assert_true(clock_now_us() < until);
		await_count(n - 1, "follower", "up");
		await_count(0, "leaving", "up");
		driver_stop(i);
	}
	assert_true(register_worker(1, "unix:/w") == store);
	snprintf(question, sizeof(question), "{\"op\":\"remove_pd\",\"id\":\"%s\"}", ids[leader()]);
	answer = ask_leader(WIRE_ROLE_CTL, question);
	assert_int_equal(status_of(answer), VT_INVALID);
	json_decref(answer);

	/* Of those that are left none has founded anything: one can join all the same. */
	driver_start(3, 4);
	await_count(1, "waiting", "up");
	world_end();
}

/* A directory from before drivers had numbers: it is number 1. */
static void
from_before_numbers(void **state)
{
	StoreOptions options = {.write_buffer = 1 << 20};
	ReplicaHostOptions host_options = {0};
	RaftConf	conf = {.n = 1, .members = {{.id = 1, .node = 1, .roles = RAFT_VOTER}}};
	Store	   *log;
	ReplicaHost *host;
	VtError		err = {0};
	char		text[64];

	(void) state;
	world_begin();
	assert_int_equal(store_open(scratch_path("data0.log"), &options, &log, &err), VT_OK);
	assert_int_equal(replica_host_start(log, &host_options, &host, &err), VT_OK);
	assert_int_equal(replica_create(host, PD_GROUP, 1, &conf, 0, &err), VT_OK);
	replica_host_stop(host);
	store_close(log);
	for (int life = 0; life < 2; life++)
	{
		driver_start(0, 1);
		assert_int_equal(count("leader", "up"), 1);
		ask_status(0, "id", text, sizeof(text));
		assert_string_equal(text, "1");
		driver_stop(0);
	}
	world_end();
}

/* Without its log a directory has forgotten what it voted for. */
static void
without_its_log(void **state)
{
	StoreOptions options = {.write_buffer = 1 << 20, .replayed = true};
	PdOptions	pd_options = {.listen = drivers[0].endpoint, .peers = ""};
	Store	   *log;
	Store	   *rows;
	Pd		   *pd;
	VtError		err = {0};

	(void) state;
	world_begin();
	driver_start(0, 1);
	driver_stop(0);
	assert_int_equal(store_open(scratch_path("other.log"), &options, &log, &err), VT_OK);
	assert_int_equal(store_open(scratch_path("data0.rows"), &options, &rows, &err), VT_OK);
	assert_int_equal(pd_start(log, rows, &pd_options, &pd, &err), VT_CORRUPT);
	assert_non_null(strstr(err.msg, "lost its log"));
	store_close(log);
	store_close(rows);
	world_end();
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(alone),
		TEST(founded_together),
		TEST(told_differently),
		TEST(away_for_long),
		TEST(with_an_empty_directory),
		TEST(grown_and_shrunk),
		TEST(from_before_numbers),
		TEST(without_its_log),
	};

	return cmocka_run_group_tests_name("pd_drivers", tests, NULL, NULL);
}
