/*-------------------------------------------------------------------------
 *
 * worker_chores.c
 *	  Shards are made while heartbeats go on, however long that takes.
 *
 * The placement driver is a model that answers what it is told to.  A shard
 * whose file CURRENT is a pipe takes until somebody writes into that.
 *
 *	  build/unit/worker_chores --bench [shards]	 what idle shards cost a worker
 *
 *-------------------------------------------------------------------------
 */
#include "worker_shards.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "base/daemon.h"
#include "base/log.h"
#include "net/net.h"
#include "patience.h"

/* What becomes of a heartbeat. */
typedef enum Hearing
{
	HEARS,
	TAKES,						/* but its answer says that it was not */
	DROPS,						/* and its answer says so */
	SENDS_ON					/* with news, to the other driver; else it hears */
} Hearing;

/* What it says to who names what it does not know. */
typedef enum Asking
{
	ASKS,						/* for all */
	ASKS_LATER,					/* it says so */
	ASKS_NOT					/* as one of an earlier release that has no time yet */
} Asking;

typedef struct Driver
{
	char		endpoint[128];
	struct Driver *other;
	NetServer  *server;
	pthread_mutex_t lock;
	json_t	   *tasks;			/* for every heartbeat */
	atomic_uint beats;
	atomic_bool has_8;			/* the worker has reported it */
	atomic_uint same;			/* heartbeats without a list */
	atomic_uint changes;		/* such as told what has changed */
	json_t	   *known;			/* of the net's thread: rows by shard, as they were told */
	char		digest[24];		/* of them */
	bool		settled;		/* nothing has changed since */
	json_t	   *before;			/* known settled, before all was told again; and its digest */
	char		before_digest[24];
	atomic_bool tell_all;
	atomic_bool told_all;
	atomic_int	hears;			/* a Hearing */
	atomic_uint refused;		/* heartbeats that it has answered by a refusal, */
	atomic_uint unanswered;		/* and such as told news */
	bool		asked;			/* of the net's thread: for all, or nothing was told yet */
	atomic_uint unasked;		/* times that all was told without */
	atomic_int	asks;			/* an Asking */
	atomic_bool forgets;		/* the next heartbeat comes to another driver */
	char		named[24];		/* of the net's thread: the digest that was named last and is not known */
	atomic_uint waited;			/* heartbeats that were not to tell all yet, */
	atomic_uint moved;			/* such as named another digest than the last one, */
	atomic_uint in_vain;		/* and such as told news */
	atomic_uint_fast64_t doubted;	/* a shard whose replicas are to be compared; 0 = none */
} Driver;

/*
 * Without what is no news, and so told of only with other things: how far a member is that has
 * applied something, passes over the graph, and what these take of memory for a moment.
 */
static void
forget_moments(json_t *row)
{
	size_t		i;
	json_t	   *member;

	json_object_del(row, "looks");
	json_object_del(row, "bytes");
	json_array_foreach(json_object_get(row, "members"), i, member)
	{
		json_object_del(member, "applied");
	}
}

/* Rows of what is there now, in place of those before. */
static void
take_rows(Driver *d, json_t *rows)
{
	size_t		i;
	json_t	   *row;

	json_array_foreach(rows, i, row)
	{
		const char *shard = json_string_value(json_object_get(row, "shard"));

		forget_moments(row);
		json_object_set(d->known, shard, row);
		if (strcmp(shard, "8") == 0)
			atomic_store(&d->has_8, true);
	}
}

/* Of the net's thread, where cmocka's assertions end nothing well. */
static void
must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "it does not hold that %s\n", what);
	abort();
}

/*
 * As the driver does: all is told, or what has changed since it was told last.  All, told
 * again when nothing has happened, is what was told piece by piece.  Rows are newer than the
 * digest they come with: a shard that was closed meanwhile is told of by none, and is gone
 * the next time all the same.  False: it goes on from what is not known here.
 */
static bool
learn(Driver *d, json_t *question)
{
	json_t	   *whole = json_object_get(question, "shards");
	json_t	   *changed = json_object_get(question, "changed");
	json_t	   *shard;
	size_t		i;

	if (!whole && !changed)
	{
		if (strcmp(json_string_value(json_object_get(question, "digest")), d->digest) != 0)
			return false;
		atomic_fetch_add(&d->same, 1);
		if (d->before && strcmp(d->before_digest, d->digest) == 0)
		{
			must(json_equal(d->known, d->before), "all is what had been told piece by piece");
			atomic_store(&d->told_all, true);
		}
		d->settled = true;
		return true;
	}
	if (!whole && strcmp(json_string_value(json_object_get(question, "since")), d->digest) != 0)
		return false;
	json_decref(d->before);
	d->before = NULL;
	if (whole)
	{
		if (!d->asked)
			atomic_fetch_add(&d->unasked, 1);
		d->asked = false;
		if (d->settled)
			d->before = json_incref(d->known);
		snprintf(d->before_digest, sizeof(d->before_digest), "%s", d->digest);
		json_decref(d->known);
		d->known = json_object();
	}
	else if (json_array_size(changed) > 0)
		atomic_fetch_add(&d->changes, 1);
	take_rows(d, whole ? whole : changed);
	json_array_foreach(json_object_get(question, "gone"), i, shard)
	{
		json_object_del(d->known, json_string_value(shard));
	}
	d->settled = false;
	snprintf(d->digest, sizeof(d->digest), "%s", json_string_value(json_object_get(question, "digest")));
	return true;
}

static bool
tells(json_t *question)
{
	return json_object_get(question, "shards") || json_object_get(question, "changed");
}

/* Nothing is known of what was told before. */
static void
forget(Driver *d)
{
	d->digest[0] = '\0';
	d->settled = false;
	json_decref(d->before);
	d->before = NULL;
}

/* To who names what is not known, or is to tell all again. */
static void
ask_for_all(Driver *d, json_t *question, json_t *answer)
{
	const char *digest = json_string_value(json_object_get(question, "digest"));

	if (atomic_load(&d->asks) == ASKS)
	{
		d->asked = true;
		json_object_set_new(answer, "tell_all", json_true());
		return;
	}
	if (atomic_load(&d->asks) == ASKS_LATER)
		json_object_set_new(answer, "untold", json_true());
	atomic_fetch_add(&d->in_vain, tells(question));
	atomic_fetch_add(&d->moved, strcmp(d->named, digest) != 0);
	snprintf(d->named, sizeof(d->named), "%s", digest);
	atomic_fetch_add(&d->waited, 1);
}

static json_t *
answer_to(Driver *d, json_t *question)
{
	json_t	   *answer = json_object();
	const char *op = json_string_value(json_object_get(question, "op"));
	Hearing		hears;
	bool		known;

	json_object_set_new(answer, "status", json_integer(VT_OK));
	if (op && strcmp(op, "register") == 0)
	{
		json_object_set_new(answer, "store", json_string("1"));
		json_object_set_new(answer, "cluster", json_string("0102030405060708090a0b0c0d0e0f10"));
		return answer;
	}
	if (op && strcmp(op, "verify") == 0)
	{
		atomic_store(&d->doubted, strtoull(json_string_value(json_object_get(question, "what")), NULL, 10));
		return answer;
	}
	if (atomic_exchange(&d->forgets, false))
		forget(d);
	hears = (Hearing) atomic_load(&d->hears);
	if (hears == SENDS_ON && tells(question))
	{
		json_object_set_new(answer, "status", json_integer(VT_NOT_LEADER));
		json_object_set_new(answer, "leader", json_string(d->other->endpoint));
		atomic_fetch_add(&d->refused, 1);
		return answer;
	}
	hears = hears == SENDS_ON ? HEARS : hears;
	known = hears != DROPS && learn(d, question);
	if (hears != HEARS)
	{
		atomic_fetch_add(&d->unanswered, tells(question));
		atomic_fetch_add(&d->refused, 1);
		json_object_set_new(answer, "status", json_integer(VT_BUSY));
		return answer;
	}
	if (!known || (atomic_load(&d->tell_all) && !json_object_get(question, "shards")))
		ask_for_all(d, question, answer);
	pthread_mutex_lock(&d->lock);
	json_object_set_new(answer, "tasks", json_deep_copy(d->tasks));
	pthread_mutex_unlock(&d->lock);
	atomic_fetch_add(&d->beats, 1);
	return answer;
}

static void
on_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	json_t	   *question = json_loadb((const char *) payload->data, payload->len, 0, NULL);
	json_t	   *answer = answer_to((Driver *) arg, question);
	char	   *text = json_dumps(answer, JSON_COMPACT);

	net_reply_frame(conn, WIRE_CONTROL, header->request, bytes_str(text));
	free(text);
	json_decref(answer);
	json_decref(question);
}

static void
on_closed(void *arg, NetConn *conn)
{
	(void) arg;
	(void) conn;
}

static void
driver_start_at(Driver *d, const char *name)
{
	NetServerOptions options;
	VtError		err = {0};

	memset(&options, 0, sizeof(options));
	pthread_mutex_init(&d->lock, NULL);
	d->tasks = json_array();
	d->known = json_object();
	d->asked = true;
	snprintf(d->endpoint, sizeof(d->endpoint), "unix:%s", scratch_path(name));
	options.endpoint = d->endpoint;
	options.role = WIRE_ROLE_PD;
	for (uint8_t i = 0; i < sizeof(options.cluster.b); i++)
		options.cluster.b[i] = i + 1;
	options.handler = (NetHandler) {.frame = on_frame, .closed = on_closed, .arg = d};
	if (net_server_start(&options, &d->server, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
}

static void
driver_start(Driver *d)
{
	driver_start_at(d, "nobody");
}

static void
give_create(Driver *d, uint64_t shard, uint64_t replica)
{
	WireShardDesc desc = desc_of(shard, replica);
	json_t	   *task = json_object();
	Buf			bytes = {0};
	char	   *hex;

	wire_desc_put(&bytes, &desc);
	hex = vt_alloc(2 * bytes.len + 1);
	for (size_t i = 0; i < bytes.len; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes.data[i]);
	json_object_set_new(task, "task", json_string("create_shard"));
	json_object_set_new(task, "desc", json_string(hex));
	pthread_mutex_lock(&d->lock);
	json_array_append_new(d->tasks, task);
	pthread_mutex_unlock(&d->lock);
	free(hex);
	buf_free(&bytes);
}

/* So that nothing is given any more that was. */
static void
give_nothing(Driver *d)
{
	pthread_mutex_lock(&d->lock);
	json_array_clear(d->tasks);
	pthread_mutex_unlock(&d->lock);
}

static void
give(Driver *d, const char *what, const char *shard, const char *replica)
{
	pthread_mutex_lock(&d->lock);
	json_array_append_new(d->tasks, json_pack("{s:s,s:s,s:s}", "task", what, "shard", shard, "replica", replica));
	pthread_mutex_unlock(&d->lock);
}

/* A moment's nap, of which there are not too many. */
static void
wait_for(int64_t until, const char *what)
{
	if (clock_now_us() > until)
		fail_msg("%s", what);
	usleep(1000);
}

/*
 * While the rows of one shard are read, however long that takes, others are made,
 * hidden and dropped.
 */
static void
long_chores_hold_up_none(void **state)
{
	static Driver d;
	int64_t		until = clock_now_us() + PATIENCE_US;
	Worker	   *worker;
	char		manifest[256] = "";
	FILE	   *current;
	int			pipe = -1;

	(void) state;
	driver_start(&d);
	worker = start();
	assert_int_equal(create(worker, 7, 70), VT_OK);
	assert_int_equal(create(worker, 6, 60), VT_OK);
	assert_int_equal(create(worker, 5, 50), VT_OK);
	put(worker, 7, 1);
	while (worker_hide_shard(worker, 7, 70, NULL) == VT_BUSY)
		wait_for(until, "the shard is not closed");

	/* Its name is read from a pipe, into which nobody has written yet. */
	current = fopen(scratch_path("shards/0000000000000007/CURRENT"), "r");
	assert_non_null(current);
	assert_non_null(fgets(manifest, sizeof(manifest), current));
	fclose(current);
	assert_int_equal(unlink(scratch_path("shards/0000000000000007/CURRENT")), 0);
	assert_int_equal(mkfifo(scratch_path("shards/0000000000000007/CURRENT"), 0600), 0);
	give(&d, "open_shard", "7", "70");
	while ((pipe = open(scratch_path("shards/0000000000000007/CURRENT"), O_WRONLY | O_NONBLOCK)) < 0)
		wait_for(until, "the shard is not opened");

	give_create(&d, 8, 80);
	give(&d, "drop_shard", "6", "60");
	give(&d, "close_shard", "5", "50");
	while (!is_open(worker, 8) || is_open(worker, 6) || is_there("0000000000000006") || is_open(worker, 5))
		wait_for(until, "others wait for the one that is opened");
	assert_false(is_open(worker, 7));

	/* Then that one is there, too. */
	give_nothing(&d);
	assert_int_equal(unlink(scratch_path("shards/0000000000000007/CURRENT")), 0);
	current = fopen(scratch_path("shards/0000000000000007/CURRENT"), "w");
	assert_non_null(current);
	fputs(manifest, current);
	fclose(current);
	assert_int_equal(write(pipe, manifest, strlen(manifest)), (ssize_t) strlen(manifest));
	close(pipe);
	while (!is_open(worker, 7))
		wait_for(until, "the shard is not open in the end");
	worker_stop(worker);
	net_server_stop(d.server);
	json_decref(d.known);
	json_decref(d.before);
	json_decref(d.tasks);
}

static void
heartbeats_go_on(void **state)
{
	static Driver d;
	int64_t		until = clock_now_us() + PATIENCE_US;
	Worker	   *worker;
	Shard	   *doubtful;
	VtError		damage = {0};
	unsigned	beats;
	int			pipe = -1;

	(void) state;
	driver_start(&d);
	mkdir(scratch_path("shards"), 0700);
	mkdir(scratch_path("shards/0000000000000007"), 0700);
	assert_int_equal(mkfifo(scratch_path("shards/0000000000000007/CURRENT"), 0600), 0);
	worker = start();
	give_create(&d, 7, 70);
	give_create(&d, 8, 80);

	/* Somebody reads from it: the shard is being made. */
	while (pipe < 0)
	{
		pipe = open(scratch_path("shards/0000000000000007/CURRENT"), O_WRONLY | O_NONBLOCK);
		if (clock_now_us() > until)
			fail_msg("the shard is not made");
		usleep(1000);
	}
	beats = atomic_load(&d.beats);
	while (atomic_load(&d.beats) < beats + 5)
	{
		if (clock_now_us() > until)
			fail_msg("the worker's heart has stopped");
		usleep(1000);
	}
	assert_false(atomic_load(&d.has_8));	/* one after the other */

	/* It cannot be made like this; the other one can. */
	assert_int_equal(unlink(scratch_path("shards/0000000000000007/CURRENT")), 0);
	assert_int_equal(write(pipe, "rubbish\n", 8), 8);
	close(pipe);
	while (!atomic_load(&d.has_8))
	{
		if (clock_now_us() > until)
			fail_msg("the other shard is not made");
		usleep(1000);
	}
	assert_true(is_open(worker, 8));

	/* What goes is told, too. */
	drop(worker, 8, 80);
	assert_int_equal(create(worker, 9, 90), VT_OK);
	put(worker, 9, 1);

	/* Nothing happens, and that is not told at length, unless it is asked for. */
	while (atomic_load(&d.same) < 3)
	{
		if (clock_now_us() > until)
			fail_msg("the same is told again and again");
		usleep(1000);
	}
	assert_true(atomic_load(&d.changes) > 0);
	atomic_store(&d.tell_all, true);
	while (!atomic_load(&d.told_all))
	{
		if (clock_now_us() > until)
			fail_msg("a driver that knows nothing is told nothing");
		usleep(1000);
	}

	/* Of a replica that cannot be read the driver is asked what the others have. */
	doubtful = worker_find_shard(worker, 9);
	assert_int_equal(atomic_load(&d.doubted), 0);
	shard_note_damage(doubtful, VT_BUSY, &damage);
	assert_false(atomic_load(&doubtful->suspect));
	shard_note_damage(doubtful, vt_fail(&damage, VT_CORRUPT, "a row is damaged"), &damage);
	shard_release(doubtful);
	while (atomic_load(&d.doubted) != 9)
	{
		if (clock_now_us() > until)
			fail_msg("nobody is asked");
		usleep(1000);
	}
	worker_stop(worker);
	net_server_stop(d.server);
	assert_non_null(json_object_get(d.known, "9"));
	assert_null(json_object_get(d.known, "8"));
	json_decref(d.known);
	json_decref(d.before);
	json_decref(d.tasks);
}

/* Until it has been told by digests alone that what it knows is all there is. */
static void
await_same(Driver *d)
{
	unsigned	same = atomic_load(&d->same);
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (atomic_load(&d->same) < same + 3)
		wait_for(until, "what is known is not told of by its digest");
}

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
	json_decref(d.known);
	json_decref(d.before);
	json_decref(d.tasks);
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
	await_more(&d.waited, 1, "another driver hears nothing");
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
	json_decref(d.known);
	json_decref(d.before);
	json_decref(d.tasks);
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
	for (Driver *d = &first; d; d = d->other)
	{
		json_decref(d->known);
		json_decref(d->before);
		json_decref(d->tasks);
	}
}

/* -- What idle shards cost -------------------------------------------------- */

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		(double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double
resident_kb(void)
{
	FILE	   *f = fopen("/proc/self/statm", "r");
	long		pages = 0;

	if (!f || fscanf(f, "%*d %ld", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return (double) pages * (double) sysconf(_SC_PAGESIZE) / 1024;
}

static uint32_t
open_files(void)
{
	DIR		   *dir = opendir("/proc/self/fd");
	uint32_t	n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static int
bench(uint64_t shards)
{
	static Driver d;
	ReplicaHostFigures figures = {0};
	Worker	   *worker;
	unsigned	beats;
	uint32_t	files;
	double		memory;
	double		cpu;
	int64_t		begun;

	(void) daemon_raise_file_limit();
	scratch_make(NULL);
	driver_start(&d);
	worker = start();
	memory = resident_kb();
	files = open_files();
	for (uint64_t i = 1; i <= shards; i++)
	{
		assert_int_equal(create(worker, i, i + 100000), VT_OK);
		put(worker, i, 1);
	}
	memory = (resident_kb() - memory) / (double) shards;
	while (figures.asleep < shards)
	{
		usleep(10000);
		replica_host_figures(worker->host, &figures);
	}
	beats = atomic_load(&d.beats);
	cpu = cpu_seconds();
	begun = clock_now_us();
	usleep(10000000);
	cpu = (cpu_seconds() - cpu) / ((double) (clock_now_us() - begun) / 1e6);
	beats = atomic_load(&d.beats) - beats;
	/* The driver here answers at once; a real one, when nothing is to be done, after half a second. */
	printf("%llu idle shards with a record each: %.0f us of processor time a heartbeat with all else, "
		   "%.2f %% of a core at two a second, %.0f kB each\n", (unsigned long long) shards,
		   cpu * 10 * 1e6 / beats, cpu * 10 / beats * 2 * 100, memory);
	worker_look(worker);
	printf("open files: %.1f each; counted, kB each:", (double) (open_files() - files) / (double) shards);
	for (int kind = 0; kind < MEMORY_KINDS; kind++)
		printf(" %s %.1f", memory_names[kind], (double) atomic_load(&worker->memory_of[kind]) / 1024 / (double) shards);
	begun = clock_now_us();
	for (int i = 0; i < 100; i++)
		worker_look(worker);
	printf("; looking at all of them: %.2f ms\n", (double) (clock_now_us() - begun) / 1000 / 100);
	worker_stop(worker);
	net_server_stop(d.server);
	json_decref(d.tasks);
	return scratch_remove(NULL);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(heartbeats_go_on, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(long_chores_hold_up_none, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(what_is_not_answered_is_told_once, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(who_waits_to_be_asked_tells_nothing, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(another_driver_is_told_what_it_asks_for, scratch_make, scratch_remove),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	if (argc > 1 && strcmp(argv[1], "--bench") == 0)
		return bench(argc > 2 ? (uint64_t) atoi(argv[2]) : 2000);
	return cmocka_run_group_tests_name("worker_chores", tests, NULL, NULL);
}
