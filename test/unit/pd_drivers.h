/*-------------------------------------------------------------------------
 *
 * pd_drivers.h
 *	  Placement drivers in one process, on sockets: started, stopped and asked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_PD_DRIVERS_H
#define TEST_PD_DRIVERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* Each test uses what it needs. */
#pragma GCC diagnostic ignored "-Wunused-function"

#include "../../src/pd/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "patience.h"
#include "scratch.h"

#define DRIVERS PD_DRIVERS_MAX

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
	char		peers[DRIVERS * (sizeof(drivers[0].endpoint) + 1)] = "";
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

	if (net_peer_call(peer, WIRE_CONTROL, bytes_str(question), PATIENCE_MS / 5, &reply, NULL) == VT_OK)
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
	for (int64_t until = clock_now_us() + PATIENCE_US;;)
	{
		int			i = leader();
		json_t	   *answer = ask_as(role, i, question);
		VtStatus	status = status_of(answer);

		if (status != VT_NOT_LEADER && status != VT_UNAVAILABLE && status != VT_STOPPING)
			return answer;
		if (clock_now_us() > until)
			fail_msg("driver %d leads and answers %s with %d: %s", i, question, (int) status, answer ? json_dumps(answer, 0) : "nothing");
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

/* What the worker with this number of its directory says to be registered. */
static void
registration(uint32_t n, const char *endpoint, char *question, size_t size)
{
	snprintf(question, size,
			 "{\"op\":\"register\",\"store\":\"0\",\"cluster\":\"\",\"data_id\":\"%032x\",\"endpoint\":\"%s\",\"level_high\":9}", n, endpoint);
}

/* Register it; its store. */
static uint64_t
register_worker(uint32_t n, const char *endpoint)
{
	char		question[300];
	json_t	   *answer;
	uint64_t	store = 0;

	registration(n, endpoint, question, sizeof(question));
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

#endif							/* TEST_PD_DRIVERS_H */
