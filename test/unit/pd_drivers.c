/*-------------------------------------------------------------------------
 *
 * pd_drivers.c
 *	  Three placement drivers in one process, on sockets: founding, a leader that
 *	  goes, one that was away too long for the log, one that comes with an empty
 *	  directory.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "../../src/pd/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "patience.h"
#include "scratch.h"

#define DRIVERS 4

typedef struct Driver
{
	char		endpoint[128];
	char		data[64];		/* name of the directory; another one is another driver */
	Store	   *log;
	Store	   *rows;
	Pd		   *pd;				/* NULL: it does not run */
} Driver;

static Driver drivers[DRIVERS];

static void
driver_start(int i, int of)
{
	StoreOptions log_options = {.write_buffer = 1 << 20};
	StoreOptions row_options = {.write_buffer = 1 << 20, .replayed = true};
	char		peers[600] = "";
	char		path[128];
	PdOptions	options = {.listen = drivers[i].endpoint, .peers = peers, .boot_epoch = (uint64_t) clock_now_us(),
		.keep_dropped_us = INT64_C(3600000000), .down_after_us = INT64_C(600000000), .default_replicas = 3,
		.replicas_max = 5, .checkpoint_bytes = 16 << 10};
	VtError		err = {0};

	for (int j = 0; j < of; j++)
	{
		strcat(peers, drivers[j].endpoint);
		strcat(peers, ",");
	}
	snprintf(path, sizeof(path), "%s.log", drivers[i].data);
	assert_int_equal(store_open(scratch_path(path), &log_options, &drivers[i].log, &err), VT_OK);
	snprintf(path, sizeof(path), "%s.rows", drivers[i].data);
	assert_int_equal(store_open(scratch_path(path), &row_options, &drivers[i].rows, &err), VT_OK);
	if (pd_start(drivers[i].log, drivers[i].rows, &options, &drivers[i].pd, &err) != VT_OK)
		fail_msg("driver %d: %s", i, vt_error_words(&err));
}

static void
driver_stop(int i)
{
	if (!drivers[i].pd)
		return;
	assert_int_equal(atomic_load(&drivers[i].pd->foreign), 0);	/* whoever spoke was who he said */
	pd_stop(drivers[i].pd);
	store_close(drivers[i].rows);
	store_close(drivers[i].log);
	drivers[i].pd = NULL;
}

static void
world_begin(void)
{
	log_setup("pd", getenv("VERBOSE") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR);
	memset(drivers, 0, sizeof(drivers));
	for (int i = 0; i < DRIVERS; i++)
	{
		snprintf(drivers[i].endpoint, sizeof(drivers[i].endpoint), "unix:%s/pd%d", scratch, i);
		snprintf(drivers[i].data, sizeof(drivers[i].data), "data%d", i);
	}
}

static void
world_end(void)
{
	for (int i = 0; i < DRIVERS; i++)
		driver_stop(i);
}

/* -- Asking ---------------------------------------------------------------- */

static json_t *
ask_as(WireRole role, int i, const char *question)
{
	NetPeerOptions options = {.endpoint = drivers[i].endpoint, .role = role};
	NetPeer    *peer = net_peer_new(&options);
	Buf			reply = {0};
	json_t	   *answer = NULL;

	if (net_peer_call(peer, WIRE_CONTROL, bytes_str(question), 5000, &reply, NULL) == VT_OK)
		answer = json_loadb((const char *) reply.data, reply.len, 0, NULL);
	net_peer_free(peer);
	buf_free(&reply);
	return answer;
}

static VtStatus
status_of(json_t *answer)
{
	json_t	   *status = json_object_get(answer, "status");

	return json_is_integer(status) ? (VtStatus) json_integer_value(status) : VT_UNAVAILABLE;
}

static void
pause_ms(long ms)
{
	struct timespec nap = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&nap, NULL);
}

/* The one that leads; waits for it. */
static int
leader(void)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (clock_now_us() < until)
	{
		for (int i = 0; i < DRIVERS; i++)
		{
			json_t	   *answer = drivers[i].pd ? ask_as(WIRE_ROLE_CTL, i, "{\"op\":\"pds\"}") : NULL;
			VtStatus	status = status_of(answer);

			json_decref(answer);
			if (status == VT_OK)
				return i;
		}
		pause_ms(10);
	}
	fail_msg("nobody leads");
	return -1;
}

/* Ask whoever leads until the answer is a yes or a definite no. */
static json_t *
ask_leader(WireRole role, const char *question)
{
	for (;;)
	{
		json_t	   *answer = ask_as(role, leader(), question);
		VtStatus	status = status_of(answer);

		if (status != VT_NOT_LEADER && status != VT_UNAVAILABLE && status != VT_STOPPING)
			return answer;
		json_decref(answer);
	}
}

/*
 * Ask whoever leads until it answers so: whom it has not heard of for a moment, on a machine that stood
 * still, counts as silent for as long.
 */
static void
await_answer(const char *question, VtStatus wanted)
{
	for (int64_t until = clock_now_us() + PATIENCE_US;; pause_ms(20))
	{
		json_t	   *answer = ask_leader(WIRE_ROLE_CTL, question);
		VtStatus	status = status_of(answer);

		if (status != wanted && clock_now_us() > until)
			fail_msg("status %d in place of %d: %s", (int) status, (int) wanted, json_dumps(answer, 0));
		json_decref(answer);
		if (status == wanted)
			return;
	}
}

/* Register a worker by the number of its directory; its store. */
static uint64_t
register_worker(uint32_t n, const char *endpoint)
{
	char		question[300];
	json_t	   *answer;
	uint64_t	store = 0;

	snprintf(question, sizeof(question),
			 "{\"op\":\"register\",\"store\":\"0\",\"cluster\":\"\",\"data_id\":\"%032x\",\"endpoint\":\"%s\",\"level_high\":9}", n, endpoint);
	answer = ask_leader(WIRE_ROLE_WORKER, question);
	assert_int_equal(status_of(answer), VT_OK);
	assert_true(get_u64(answer, "store", &store));
	json_decref(answer);
	return store;
}

/* How many drivers the leader lists with this role and state. */
static int
count(const char *role, const char *state)
{
	json_t	   *answer = ask_leader(WIRE_ROLE_CTL, "{\"op\":\"pds\"}");
	int			n = 0;
	size_t		i;
	json_t	   *row;

	json_array_foreach(json_object_get(answer, "pds"), i, row)
	{
		n += strcmp(json_string_value(json_object_get(row, "role")), role) == 0 &&
			strcmp(json_string_value(json_object_get(row, "state")), state) == 0;
	}
	json_decref(answer);
	return n;
}

static void
await_count(int n, const char *role, const char *state)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (count(role, state) != n)
	{
		if (clock_now_us() > until)
		{
			json_t	   *answer = ask_leader(WIRE_ROLE_CTL, "{\"op\":\"pds\"}");

			fail_msg("there are not %d drivers \"%s\", \"%s\": %s", n, role, state, json_dumps(answer, JSON_INDENT(1)));
		}
		pause_ms(20);
	}
}

/* A member of the answer to "status" of one driver. */
static void
ask_status(int i, const char *member, char *out, size_t size)
{
	json_t	   *answer = ask_as(WIRE_ROLE_CTL, i, "{\"op\":\"status\"}");
	const char *text = json_string_value(json_object_get(answer, member));

	snprintf(out, size, "%s", text ? text : "");
	json_decref(answer);
}

/* Until this one says that it is so much: it may have told others before it knew. */
static void
await_role(int i, const char *role)
{
	char		text[64];

	for (int64_t until = clock_now_us() + PATIENCE_US;; pause_ms(20))
	{
		ask_status(i, "role", text, sizeof(text));
		if (strcmp(text, role) == 0)
			return;
		if (clock_now_us() > until)
			fail_msg("driver %d is \"%s\", not \"%s\"", i, text, role);
	}
}

/* Until this one has applied what the leader had when it was asked. */
static void
await_applied(int i)
{
	char		text[64];
	uint64_t	want;
	int64_t		until = clock_now_us() + PATIENCE_US;

	ask_status(leader(), "applied", text, sizeof(text));
	want = strtoull(text, NULL, 10);
	for (;;)
	{
		ask_status(i, "applied", text, sizeof(text));
		if (strtoull(text, NULL, 10) >= want)
			return;
		if (clock_now_us() > until)
			fail_msg("driver %d stands at %s, not at %" PRIu64, i, text, want);
		pause_ms(20);
	}
}

/* -- Tests ----------------------------------------------------------------- */

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
