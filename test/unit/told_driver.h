/*-------------------------------------------------------------------------
 *
 * told_driver.h
 *	  A model of a placement driver that a worker tells what it has: it answers what
 *	  it is told to, and holds what was told piece by piece against all of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TOLD_DRIVER_H
#define TOLD_DRIVER_H

#include <jansson.h>
#include <stdatomic.h>

#include "net/net.h"
#include "patience.h"
#include "worker_shards.h"

/* What becomes of a heartbeat. */
typedef enum Hearing
{
	HEARS,
	TAKES,						/* but its answer says that it was not */
	DROPS,						/* and its answer says so */
	SENDS_ON,					/* with news, to the other driver; else it hears */
	FOLLOWS,					/* to the other driver, always */
	HEARS_LATE					/* but to news it gives no answer */
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
	atomic_uint late;			/* such as it has not answered, */
	atomic_uint again;			/* and of these what it knew already */
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
static inline void
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
static inline void
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
static inline void
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
static inline bool
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

static inline bool
tells(json_t *question)
{
	return json_object_get(question, "shards") || json_object_get(question, "changed");
}

/* Nothing is known of what was told before. */
static inline void
forget(Driver *d)
{
	d->digest[0] = '\0';
	d->settled = false;
	json_decref(d->before);
	d->before = NULL;
}

/* To who names what is not known, or is to tell all again. */
static inline void
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

/* NULL: none. */
static inline json_t *
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
	if (hears == FOLLOWS || (hears == SENDS_ON && tells(question)))
	{
		json_object_set_new(answer, "status", json_integer(VT_NOT_LEADER));
		json_object_set_new(answer, "leader", json_string(d->other->endpoint));
		atomic_fetch_add(&d->refused, 1);
		return answer;
	}
	if (hears == HEARS_LATE && tells(question))
	{
		atomic_fetch_add(&d->again, strcmp(json_string_value(json_object_get(question, "digest")), d->digest) == 0);
		atomic_fetch_add(&d->late, 1);
		(void) learn(d, question);
		json_decref(answer);
		return NULL;
	}
	hears = hears == SENDS_ON || hears == HEARS_LATE ? HEARS : hears;
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

static inline void
on_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	json_t	   *question = json_loadb((const char *) payload->data, payload->len, 0, NULL);
	json_t	   *answer = answer_to((Driver *) arg, question);
	char	   *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;

	if (text)
		net_reply_frame(conn, WIRE_CONTROL, header->request, bytes_str(text));
	free(text);
	json_decref(answer);
	json_decref(question);
}

static inline void
on_closed(void *arg, NetConn *conn)
{
	(void) arg;
	(void) conn;
}

static inline void
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

static inline void
driver_start(Driver *d)
{
	driver_start_at(d, "nobody");
}

/* Its server has been stopped; what it knows was there until now. */
static inline void
driver_free(Driver *d)
{
	json_decref(d->known);
	json_decref(d->before);
	json_decref(d->tasks);
}

/* A moment's nap, of which there are not too many. */
static inline void
wait_for(int64_t until, const char *what)
{
	if (clock_now_us() > until)
		fail_msg("%s", what);
	usleep(1000);
}

/* Until it has been told by digests alone that what it knows is all there is. */
static inline void
await_same(Driver *d)
{
	unsigned	same = atomic_load(&d->same);
	int64_t		until = clock_now_us() + PATIENCE_US;

	while (atomic_load(&d->same) < same + 3)
		wait_for(until, "what is known is not told of by its digest");
}

#endif							/* TOLD_DRIVER_H */
