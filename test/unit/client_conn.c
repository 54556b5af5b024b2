/*-------------------------------------------------------------------------
 *
 * client_conn.c
 *	  Connections: greeting, frames in pieces, damage, loss, interruption.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_cluster.h"

#include <signal.h>
#include <sys/wait.h>

static VtError err;

static void
a_question_is_answered_byte_by_byte(void **state)
{
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	fake.drip = 1;
	client = client_for(fake.endpoint, NULL, &watch);
	for (int i = 1; i <= 5; i++)
	{
		char		expected[64];

		assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
		snprintf(expected, sizeof(expected), "{\"status\":0,\"echo\":%d}", i);
		assert_string_equal(reply, expected);
	}
	assert_int_equal(client_connections(client), 1);
	assert_int_equal(world_count(&w, WIRE_HELLO), 1);
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

/* Each kind of damage costs the connection and is asked again on a new one. */
static void
damage_closes_the_connection_and_is_asked_again(void **state)
{
	static const Mischief kinds[] = {BAD_CHECKSUM, BAD_MAGIC, CLOSE_BEFORE, CLOSE_AFTER,
		CLOSE_IN_MIDDLE, OTHER_TYPE};
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	client = client_for(fake.endpoint, NULL, &watch);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
	{
		uint32_t	hellos;

		assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
		hellos = world_count(&w, WIRE_HELLO);
		world_trick(&w, WIRE_CONTROL, 0, kinds[i], VT_OK);
		assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
		assert_int_equal(world_count(&w, WIRE_HELLO), hellos + 1);
		assert_int_equal(client_connections(client), 1);
	}
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

static void
a_stale_reply_is_dropped(void **state)
{
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	client = client_for(fake.endpoint, NULL, &watch);
	world_trick(&w, WIRE_CONTROL, 0, STALE_FIRST, VT_OK);
	for (int i = 0; i < 2; i++)
		assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	assert_string_equal(reply, "{\"status\":0,\"echo\":2}");
	assert_int_equal(world_count(&w, WIRE_HELLO), 1);
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

static void
another_version_is_a_definite_no(void **state)
{
	static const WireType where[] = {WIRE_HELLO, WIRE_CONTROL};
	World		w;
	Fake		fake;
	Watch		watch;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	for (int i = 0; i < 2; i++)
	{
		Client	   *client = client_for(fake.endpoint, NULL, &watch);

		world_trick(&w, where[i], 0, OTHER_VERSION, VT_OK);
		assert_int_equal(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err),
						 VT_VERSION);
		assert_null(reply);
		assert_non_null(strstr(err.msg, fake.endpoint));
		assert_int_equal(client_connections(client), 0);
		client_end(client, &watch);
	}
	fake_stop(&fake);
	world_free(&w);
}

/* What a client would tell a log. */
static char told[400];
static int	tellings;

static void
on_tell(void *arg, const char *words)
{
	(void) arg;
	snprintf(told, sizeof(told), "%s", words);
	tellings++;
}

static Client *
client_of(const char *endpoints, const VtId *cluster)
{
	ClientOptions options = {.pd_endpoints = endpoints, .role = WIRE_ROLE_GATEWAY, .cluster = *cluster,
		.ops = client_poll_ops};
	Client	   *client;

	options.ops.tell = on_tell;
	assert_ok(client_open(&options, &client, &err));
	return client;
}

static void
assert_names(const char *words, const VtId *a, const VtId *b)
{
	char		text[VT_ID_TEXT];

	vt_id_format(a, text);
	assert_non_null(strstr(words, text));
	vt_id_format(b, text);
	assert_non_null(strstr(words, text));
}

/* Another cluster's driver says that it knows none of our indexes: nobody listens to it. */
static void
another_cluster_is_not_heeded(void **state)
{
	World		w;
	World		other;
	Fake		fake;
	Fake		foreign;
	char		both[300];
	Client	   *client;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	world_init(&other, 1);
	other.route_status = VT_NOT_OWNER;
	fake_start(&fake, &w);
	fake_start(&foreign, &other);
	tellings = 0;

	/* Alone it is as if it were not there; not even what it would refuse for good is heard. */
	client = client_of(foreign.endpoint, &w.cluster);
	assert_int_equal(client_control(client, "{\"op\":\"route\"}", in_ms(LONG_MS), &reply, &err), VT_FOREIGN);
	assert_names(err.msg, &w.cluster, &other.cluster);
	assert_int_equal(client_control(client, "{\"op\":\"route\"}", in_ms(LONG_MS), &reply, &err), VT_FOREIGN);
	assert_int_equal(tellings, 1);	/* of both times */
	assert_names(told, &w.cluster, &other.cluster);
	assert_non_null(strstr(told, foreign.endpoint));
	client_close(client);

	/* Met first, it is passed by. */
	snprintf(both, sizeof(both), "%s,%s", foreign.endpoint, fake.endpoint);
	client = client_of(both, &w.cluster);
	assert_ok(client_control(client, "{\"op\":\"route\"}", in_ms(LONG_MS), &reply, &err));
	assert_int_equal(world_count(&other, WIRE_CONTROL), 0);
	client_close(client);
	fake_stop(&fake);
	fake_stop(&foreign);
	world_free(&w);
	world_free(&other);
}

/* A driver with an emptied disk listens before it founds its cluster, and would know nothing then either. */
static void
a_driver_without_a_cluster_is_not_heeded(void **state)
{
	World		w;
	World		other;
	Fake		fake;
	Fake		empty;
	char		both[300];
	Client	   *client;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	world_init(&other, 1);
	memset(&other.cluster, 0, sizeof(other.cluster));
	other.route_status = VT_NOT_OWNER;
	fake_start(&fake, &w);
	fake_start(&empty, &other);
	tellings = 0;
	snprintf(both, sizeof(both), "%s,%s", empty.endpoint, fake.endpoint);
	client = client_of(both, &w.cluster);
	assert_ok(client_control(client, "{\"op\":\"route\"}", in_ms(LONG_MS), &reply, &err));
	assert_int_equal(world_count(&other, WIRE_HELLO), 1);
	assert_int_equal(world_count(&other, WIRE_CONTROL), 0);
	assert_int_equal(tellings, 0);	/* it may yet become one of ours */
	client_close(client);

	/* Who has no cluster yet asks whom there is. */
	client = client_of(empty.endpoint, &other.cluster);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	client_close(client);
	fake_stop(&fake);
	fake_stop(&empty);
	world_free(&w);
	world_free(&other);
}

/* The same endpoint is the door of another cluster for a moment: it is asked again. */
static void
a_cluster_that_comes_back_is_heard(void **state)
{
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	client = client_for(fake.endpoint, NULL, &watch);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	world_trick(&w, WIRE_CONTROL, 0, CLOSE_BEFORE, VT_OK);
	world_trick(&w, WIRE_HELLO, 0, OTHER_LIFE, VT_OK);
	assert_int_equal(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err), VT_FOREIGN);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

static void
silence_ends_at_the_deadline(void **state)
{
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;
	int64_t		deadline;
	VtStatus	status;

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	client = client_for(fake.endpoint, NULL, &watch);
	/* Of the answer, and of the greeting. */
	for (int i = 0; i < 2; i++)
	{
		status = VT_UNAVAILABLE;
		/* Again where it came no farther than to the closed connection. */
		for (int k = 0; k < 100 && status == VT_UNAVAILABLE; k++)
		{
			forget_tricks(&w);
			world_trick(&w, i ? WIRE_HELLO : WIRE_CONTROL, 0, SAY_NOTHING, VT_OK);
			if (i)
				world_trick(&w, WIRE_CONTROL, 0, CLOSE_BEFORE, VT_OK);
			deadline = in_ms(60);
			status = client_control(client, "{\"op\":\"status\"}", deadline, &reply, &err);
			assert_true(clock_now_us() >= deadline);
		}
		assert_int_equal(status, VT_TIMEOUT);
		/* It may not have come even to them. */
		forget_tricks(&w);
		assert_non_null(strstr(err.msg, fake.endpoint));
		/* And the client is as good as new. */
		assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	}
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

static void
nobody_there_is_unavailable(void **state)
{
	Watch		watch;
	Client	   *client = client_for("unix:/nowhere/at/all", NULL, &watch);
	const char *reply;

	(void) state;
	assert_told(VT_UNAVAILABLE, client_control(client, "{}", in_ms(30), &reply, &err));
	assert_non_null(strstr(err.msg, "unix:/nowhere/at/all"));
	client_end(client, &watch);
}

static void
endpoints_are_checked(void **state)
{
	static const struct
	{
		const char *endpoint;
		VtStatus	status;
	}			bad[] = {
		{"", VT_INVALID}, {"/tmp/x", VT_INVALID}, {"unix:", VT_INVALID}, {"tcp://127.0.0.1", VT_INVALID},
		{"tcp://192.0.2.1:80", VT_DENIED}, {"tcp://example.org:80", VT_INVALID},
		{"unix:/1234567890/1234567890/1234567890/1234567890/1234567890/1234567890/1234567890/1234567890/12345678901234567890", VT_INVALID},
	};
	Watch		watch;
	const char *reply;

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		Client	   *client = client_for(bad[i].endpoint, NULL, &watch);

		assert_int_equal(client_control(client, "{}", in_ms(LONG_MS), &reply, &err), bad[i].status);
		client_end(client, &watch);
	}
}

static void
the_next_driver_is_asked(void **state)
{
	World		w;
	Fake		a;
	Fake		b;
	Watch		watch;
	Client	   *client;
	const char *reply;
	char		endpoints[256];

	(void) state;
	world_init(&w, 1);
	fake_start(&a, &w);
	fake_start(&b, &w);
	snprintf(endpoints, sizeof(endpoints), "unix:/nowhere/at/all, %s,%s", a.endpoint, b.endpoint);
	client = client_for(endpoints, NULL, &watch);
	world_trick(&w, WIRE_CONTROL, 0, REFUSE, VT_NOT_LEADER);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	assert_int_equal(client_connections(client), 2);
	/* Who answered is asked first from now on. */
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	assert_int_equal(world_count(&w, WIRE_CONTROL), 3);
	client_end(client, &watch);
	fake_stop(&a);
	fake_stop(&b);
	world_free(&w);
}

/* A driver that does not lead says who does, also one that nobody has named. */
static void
who_leads_is_asked(void **state)
{
	World		w;
	Fake		a;
	Fake		b;
	Watch		watch;
	Client	   *client;
	const char *reply;
	int64_t		begin;

	(void) state;
	world_init(&w, 1);
	fake_start(&a, &w);
	fake_start(&b, &w);
	client = client_for(a.endpoint, NULL, &watch);
	w.hint = b.endpoint;
	world_trick(&w, WIRE_CONTROL, 0, REFUSE, VT_NOT_LEADER);
	begin = clock_now_us();
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	assert_true(clock_now_us() - begin < LONG_MS * 500);
	assert_int_equal(client_connections(client), 2);
	assert_int_equal(world_count(&w, WIRE_CONTROL), 2);

	/* It may be dead by now, or another one, or we are sent in circles. */
	w.hint = "unix:/nowhere/at/all";
	world_trick(&w, WIRE_CONTROL, 0, REFUSE, VT_NOT_LEADER);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	w.hint = a.endpoint;
	for (int i = 0; i < 7; i++)
		world_trick(&w, WIRE_CONTROL, 0, REFUSE, VT_NOT_LEADER);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));

	/* While nobody leads, that is what is said, not that others are silent. */
	w.hint = "";
	for (int i = 0; i < 40; i++)
		world_trick(&w, WIRE_CONTROL, 0, REFUSE, VT_NOT_LEADER);
	client_end(client, &watch);
	{
		char		endpoints[256];

		snprintf(endpoints, sizeof(endpoints), "%s,unix:/nowhere/at/all", a.endpoint);
		client = client_for(endpoints, NULL, &watch);
	}
	assert_told(VT_NOT_LEADER, client_control(client, "{\"op\":\"status\"}", in_ms(300), &reply, &err));
	assert_non_null(strstr(err.msg, "not now"));
	client_end(client, &watch);
	fake_stop(&a);
	fake_stop(&b);
	world_free(&w);
}

static void
an_answer_with_a_status_is_passed_on(void **state)
{
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	client = client_for(fake.endpoint, NULL, &watch);
	world_trick(&w, WIRE_CONTROL, 0, REFUSE, VT_GONE);
	assert_int_equal(client_control_at(client, fake.endpoint, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err),
					 VT_GONE);
	assert_non_null(strstr(err.msg, "not now"));
	assert_string_equal(reply, "{\"status\":22,\"message\":\"not now\"}");
	assert_int_equal(client_control(client, "{\"op\":\"nonsense\"}", in_ms(LONG_MS), &reply, &err),
					 VT_PROTOCOL);
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

static void
a_cancelled_question_leaves_a_usable_connection(void **state)
{
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	client = client_for(fake.endpoint, NULL, &watch);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	/* The reply comes after the call has ended, and must not be taken for another's. */
	watch.waits_left = 0;
	watch.then = VT_CANCELLED;
	assert_int_equal(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err), VT_CANCELLED);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	assert_string_equal(reply, "{\"status\":0,\"echo\":3}");
	assert_int_equal(world_count(&w, WIRE_HELLO), 1);
	assert_int_equal(w.cancels, 1);
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

/* Interrupted at every wait there is, with a peer that drips: never confused. */
static void
cancelled_anywhere_it_is_never_confused(void **state)
{
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	fake.drip = 1;
	client = client_for(fake.endpoint, NULL, &watch);
	for (int i = 0; i < 60; i++)
	{
		VtStatus	status;
		unsigned	before;
		unsigned	answered;

		watch.waits_left = i;
		watch.then = VT_CANCELLED;
		status = client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err);
		assert_true(status == VT_OK || status == VT_CANCELLED);
		watch.waits_left = -1;
		before = world_count(&w, WIRE_CONTROL);
		assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
		assert_int_equal(sscanf(reply, "{\"status\":0,\"echo\":%u}", &answered), 1);
		/* It is the answer to this question, not to one before it. */
		assert_true(answered > before || answered == world_count(&w, WIRE_CONTROL));
	}
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

static void
a_half_sent_request_is_never_completed(void **state)
{
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;
	char	   *large = vt_alloc(8 << 20);

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	client = client_for(fake.endpoint, NULL, &watch);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	/* More than a socket takes at once. */
	memset(large, ' ', (8 << 20) - 1);
	large[(8 << 20) - 1] = '\0';
	/* The server is held up by a question before, or it would read along. */
	pthread_mutex_lock(&w.lock);
	watch.then = VT_CANCELLED;
	for (int i = 0; i < 2; i++)
	{
		watch.waits_left = 0;
		assert_int_equal(client_control(client, i ? large : "{}", in_ms(LONG_MS), &reply, &err), VT_CANCELLED);
		assert_int_equal(client_connections(client), i ? 0 : 1);
	}
	pthread_mutex_unlock(&w.lock);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	/* The first, the small one given up, and this. */
	assert_string_equal(reply, "{\"status\":0,\"echo\":3}");
	free(large);
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

static void
a_large_request_goes_out_in_pieces(void **state)
{
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;
	char	   *large = vt_alloc(12 << 20);

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	client = client_for(fake.endpoint, NULL, &watch);
	memset(large, ' ', (12 << 20) - 1);
	large[(12 << 20) - 1] = '\0';
	assert_ok(client_control(client, large, in_ms(LONG_MS), &reply, &err));
	large = vt_realloc(large, (17 << 20));
	memset(large, ' ', (17 << 20) - 1);
	large[(17 << 20) - 1] = '\0';
	assert_int_equal(client_control(client, large, in_ms(LONG_MS), &reply, &err), VT_INVALID);
	free(large);
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

static void
descriptors_are_accounted(void **state)
{
	World		w;
	Fake		fake;
	Watch		watch;
	Client	   *client;
	const char *reply;

	(void) state;
	world_init(&w, 1);
	fake_start(&fake, &w);
	client = client_for(fake.endpoint, NULL, &watch);
	assert_int_equal(watch.fds, 1);
	watch.fds_max = 1;
	assert_int_equal(client_control(client, "{}", in_ms(LONG_MS), &reply, &err), VT_FULL);
	watch.fds_max = 2;
	assert_ok(client_control(client, "{}", in_ms(LONG_MS), &reply, &err));
	assert_int_equal(watch.fds, 2);
	client_end(client, &watch);
	fake_stop(&fake);
	world_free(&w);
}

/* A socket that another user listens on; making one takes root. */
static void
another_users_socket_is_refused(void **state)
{
	char		dir[] = "/tmp/vtfakeXXXXXX";
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char		endpoint[128];
	int			ready[2];
	int			done[2];
	char		c;
	pid_t		child;
	Watch		watch;
	Client	   *client;
	const char *reply;

	(void) state;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0777), 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	snprintf(endpoint, sizeof(endpoint), "unix:%s/s", dir);
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(done), 0);
	child = fork();
	if (child == 0)
	{
		int			fd = socket(AF_UNIX, SOCK_STREAM, 0);

		close(done[1]);
		if (setuid(65534) == 0 && bind(fd, (struct sockaddr *) &addr, sizeof(addr)) == 0 &&
			listen(fd, 4) == 0 && write(ready[1], "x", 1) == 1 && read(done[0], &c, 1) <= 1)
			_exit(0);
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	client = client_for(endpoint, NULL, &watch);
	assert_int_equal(client_control(client, "{}", in_ms(LONG_MS), &reply, &err), VT_DENIED);
	assert_non_null(strstr(err.msg, "another user"));
	client_end(client, &watch);
	close(done[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(done[0]);
	close(ready[0]);
	unlink(addr.sun_path);
	rmdir(dir);
}

/*
 * A driver that has too much to do says for how long: it is asked again, and others in turn, since
 * it may not be the one that leads; at the deadline that is the error.  Without that word
 * it is an answer.
 */
static void
a_busy_driver_is_asked_later(void **state)
{
	World		w;
	Fake		fakes[2];
	Watch		watch;
	Client	   *client;
	const char *reply;
	char		endpoints[200];

	(void) state;
	world_init(&w, 2);
	for (int i = 0; i < 2; i++)
		fake_start(&fakes[i], &w);
	snprintf(endpoints, sizeof(endpoints), "%s,%s", fakes[0].endpoint, fakes[1].endpoint);
	client = client_for(endpoints, NULL, &watch);
	w.later_ms = 3;
	for (int i = 0; i < 5; i++)
		world_trick(&w, WIRE_CONTROL, 0, REFUSE, VT_BUSY);
	assert_ok(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err));
	assert_int_equal(world_count(&w, WIRE_CONTROL), 6);
	assert_int_equal(w.count[WIRE_HELLO], 2);

	for (int i = 0; i < 60; i++)
		world_trick(&w, WIRE_CONTROL, 0, REFUSE, VT_BUSY);
	w.later_ms = 50;
	assert_told(VT_BUSY, client_control(client, "{\"op\":\"status\"}", in_ms(300), &reply, &err));
	assert_true(client_driver_is_flooded(&err));
	assert_in_range(world_count(&w, WIRE_CONTROL), 6, 6 + 300 / 25 + 1);

	w.later_ms = 0;
	assert_int_equal(client_control(client, "{\"op\":\"status\"}", in_ms(LONG_MS), &reply, &err), VT_BUSY);
	assert_non_null(strstr(vt_error_words(&err), "not now"));
	assert_false(client_driver_is_flooded(&err));
	client_end(client, &watch);
	for (int i = 0; i < 2; i++)
		fake_stop(&fakes[i]);
	world_free(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_question_is_answered_byte_by_byte),
		cmocka_unit_test(damage_closes_the_connection_and_is_asked_again),
		cmocka_unit_test(a_stale_reply_is_dropped),
		cmocka_unit_test(another_version_is_a_definite_no),
		cmocka_unit_test(another_cluster_is_not_heeded),
		cmocka_unit_test(a_driver_without_a_cluster_is_not_heeded),
		cmocka_unit_test(a_cluster_that_comes_back_is_heard),
		cmocka_unit_test(silence_ends_at_the_deadline),
		cmocka_unit_test(nobody_there_is_unavailable),
		cmocka_unit_test(endpoints_are_checked),
		cmocka_unit_test(the_next_driver_is_asked),
		cmocka_unit_test(who_leads_is_asked),
		cmocka_unit_test(an_answer_with_a_status_is_passed_on),
		cmocka_unit_test(a_cancelled_question_leaves_a_usable_connection),
		cmocka_unit_test(cancelled_anywhere_it_is_never_confused),
		cmocka_unit_test(a_half_sent_request_is_never_completed),
		cmocka_unit_test(a_large_request_goes_out_in_pieces),
		cmocka_unit_test(descriptors_are_accounted),
		cmocka_unit_test(another_users_socket_is_refused),
		cmocka_unit_test(a_busy_driver_is_asked_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
