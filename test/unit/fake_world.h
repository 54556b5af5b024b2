/*-------------------------------------------------------------------------
 *
 * fake_world.h
 *	  What the fake cluster of the client's tests knows, and what it answers.
 *
 * A World has the shards of one generation and what they hold; right answers
 * come from memory, and wrong ones where a test asks for them.  A trick changes
 * the answer to one request of a type; tricks are used up in order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FAKE_WORLD_H
#define FAKE_WORLD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/prng.h"
#include "client/client.h"

#define DIM 4
#ifndef WORLD_SHARDS
#define WORLD_SHARDS 8
#endif
#define FAKE_CONNS 32

typedef enum Mischief
{
	AS_IT_SHOULD,
	REFUSE,						/* answer with a status, do nothing */
	CLOSE_BEFORE,				/* close, do nothing */
	CLOSE_AFTER,				/* do it, close instead of answering */
	CLOSE_IN_MIDDLE,			/* do it, send half of the answer, close */
	SAY_NOTHING,				/* do nothing, send nothing */
	BAD_CHECKSUM,				/* a bit of the payload is other than was sent */
	BAD_MAGIC,
	OTHER_VERSION,
	STALE_FIRST,				/* a reply to an old request, then the right one */
	OTHER_TYPE,					/* the right id, the wrong type */
	LEAVE_HOLE,					/* the answer covers one hash less */
	OTHER_LIFE,					/* another incarnation of the shard */
	OLD_VIEW,					/* answered at an index before any mark */
	WRONG_TOTAL,				/* a listing that counts one more */
	FOREIGN_RECORD,				/* an item or hit of another shard */
	EMPTY_BATCH,				/* no hits, and not exhausted */
	REPEAT_BATCH,				/* begins with a hit that was given before */
	NO_LEASE,					/* right hits, but no state is kept */
	RAISE_BEFORE,				/* somebody else raises the fence first */
	SHUFFLED					/* hits out of order */
} Mischief;

typedef struct Trick
{
	WireType	type;
	int			after;			/* so many requests of the type are let through first */
	Mischief	what;
	VtStatus	status;			/* REFUSE */
} Trick;

typedef struct FakeRecord
{
	uint8_t		id[16];
	size_t		id_len;
	uint64_t	version;
	float		vector[DIM];
	uint32_t	times;			/* it was put */
} FakeRecord;

/* A command of a session that was done. */
typedef struct FakeDone
{
	uint64_t	session;
	uint64_t	sequence;
	uint64_t	index;
	uint64_t	first;
	uint64_t	last;
} FakeDone;

#define FAKE_SESSIONS 32
#ifndef FAKE_DONE
#define FAKE_DONE 1024
#endif

struct Fake;

typedef struct FakeShard
{
	WireShardDesc desc;
	struct Fake *home;			/* the leader */
	struct Fake *followers[3];	/* have the same, but lag behind */
	uint64_t	lag;			/* of their applied index */
	struct Fake *crowded[2];	/* have so much that is not indexed */
	uint32_t	crowd;			/* hundredths of what is meant to be */
	struct Fake *told;			/* whom PD thinks the leader; NULL = home */
	FakeRecord *records;
	size_t		n;
	uint64_t	index;
	uint64_t	fence;
	uint32_t	largest;		/* write command, bytes */
	uint32_t	ingest;			/* begins and ends that came */
	uint64_t	sessions[FAKE_SESSIONS];
	uint64_t	settled[FAKE_SESSIONS];
	uint32_t	nsessions;
	uint32_t	opened;			/* in all */
	FakeDone	done[FAKE_DONE];
	uint32_t	ndone;
	uint32_t	repeated;		/* answers that it was done before */
} FakeShard;

typedef struct FakeLease
{
	uint64_t	id;				/* 0 = free */
	int			fd;
	FakeRecord *records;
	double	   *distances;
	size_t		n;
	size_t		next;
	bool		vectors;
	uint64_t	applied;
} FakeLease;

typedef struct World
{
	pthread_mutex_t lock;
	VtId		cluster;
	VtId		generation;
	WireOwner	owner;
	FakeShard	shards[WORLD_SHARDS];
	uint32_t	nshards;
	uint64_t	route_version;
	VtStatus	route_status;
	bool		route_with_hole;
	const char *hint;			/* whom a driver that refuses takes for the leader */

	Trick		tricks[64];
	int			ntricks;
	uint32_t	page;			/* items of a listing's page */
	uint32_t	hold_writes;	/* answer writes only when so many wait */
	uint32_t	held;
	void		(*on_request) (struct World *world, WireType type);	/* under the lock */

	uint64_t	features;		/* of the last greeting */
	bool		takes_one;		/* workers are of before searches of many queries, */
	struct Fake *takes_many;	/* but this one */
	uint32_t	many;			/* questions of many queries that came */
	uint32_t	count[32];		/* requests by type */
	uint32_t	cancels;
	uint32_t	at_followers;	/* requests that met one */
	bool		follows;		/* who answers now */
	struct Fake *answering;
	uint32_t	closes;			/* of leases */
	uint32_t	waiting;		/* searches, as all workers say */
	uint64_t	last_nexcluded;	/* of the last search */
	uint64_t	last_mark;
	uint32_t	linearizable;	/* searches that had no mark */
	Bytes		filter;			/* that searches are to have; it is not evaluated */
	uint32_t	unfiltered;		/* searches with another one */
	uint64_t	lease_ids;
	FakeLease	leases[64];
} World;

typedef struct FakeConn
{
	int			fd;				/* -1 = free */
	Buf			in;
	bool		greeted;
	struct
	{
		uint64_t	request;
		Buf			payload;
	}			held[16];
	uint32_t	nheld;
} FakeConn;

typedef struct Fake
{
	World	   *world;
	char		dir[32];
	char		endpoint[96];
	int			listener;
	int			stop[2];
	pthread_t	thread;
	size_t		drip;			/* not 0: so many bytes at a time, each piece read before the next */
	bool		frozen;			/* reads nothing; see fake_freeze() */
	uint32_t	searches;		/* answered; under the world's lock */
	FakeConn	conns[FAKE_CONNS];
} Fake;

/* -- The world ------------------------------------------------------------- */

static inline void
world_shard(World *w, uint32_t i, uint64_t shard, uint64_t first, uint64_t last)
{
	WireShardDesc *d = &w->shards[i].desc;

	memset(&w->shards[i], 0, sizeof(w->shards[i]));
	d->generation = w->generation;
	d->owner = w->owner;
	d->shard = shard;
	d->incarnation = 1;
	d->first = first;
	d->last = last;
	d->conf_ver = 1;
	d->range_ver = 1;
	d->hash_kind = HASH_XXH3_64;
	d->hash_seed = 77;
	d->dim = DIM;
	d->metric = VEC_L2;
	d->element = VEC_FLOAT32;
	d->m = 16;
	d->ef_construction = 200;
	d->nreplicas = 1;
	d->replicas[0].store = 1;
	d->replicas[0].replica = 1;
	d->replicas[0].role = 1;
	w->shards[i].index = 10;
}

static inline void
world_init(World *w, uint32_t nshards)
{
	uint64_t	width = UINT64_MAX / nshards;

	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	vt_id_random(&w->cluster);
	vt_id_random(&w->generation);
	vt_id_random(&w->owner.incarnation);
	w->owner.system = 7;
	w->owner.database = 5;
	w->nshards = nshards;
	w->route_version = 1;
	w->page = 7;
	for (uint32_t i = 0; i < nshards; i++)
		world_shard(w, i, 100 + i, i * width, i + 1 == nshards ? UINT64_MAX : (i + 1) * width - 1);
}

static inline void
world_trick(World *w, WireType type, int after, Mischief what, VtStatus status)
{
	pthread_mutex_lock(&w->lock);
	assert_true(w->ntricks < 64);
	w->tricks[w->ntricks++] = (Trick) {type, after, what, status};
	pthread_mutex_unlock(&w->lock);
}

static inline uint32_t
world_count(World *w, WireType type)
{
	uint32_t	n;

	pthread_mutex_lock(&w->lock);
	n = w->count[type];
	pthread_mutex_unlock(&w->lock);
	return n;
}

/* No more tricks. */
static inline void
forget_tricks(World *w)
{
	pthread_mutex_lock(&w->lock);
	w->ntricks = 0;
	pthread_mutex_unlock(&w->lock);
}

/* Under the lock: the trick for this request, if there is one. */
static inline Trick
take_trick(World *w, WireType type)
{
	Trick		trick = {type, 0, AS_IT_SHOULD, VT_OK};

	for (int i = 0; i < w->ntricks; i++)
	{
		if (w->tricks[i].type != type)
			continue;
		if (w->tricks[i].after-- > 0)
			break;
		trick = w->tricks[i];
		memmove(&w->tricks[i], &w->tricks[i + 1], sizeof(Trick) * (size_t) (w->ntricks - i - 1));
		w->ntricks--;
		break;
	}
	return trick;
}

static inline bool
is_follower(const FakeShard *s, const struct Fake *fake)
{
	for (int i = 0; i < 3; i++)
		if (s->followers[i] == fake && fake)
			return true;
	return false;
}

static inline FakeShard *
world_find(World *w, const Fake *home, uint64_t shard)
{
	for (uint32_t i = 0; i < w->nshards; i++)
		if (w->shards[i].desc.shard == shard && (w->shards[i].home == home || is_follower(&w->shards[i], home)))
			return &w->shards[i];
	return NULL;
}

static inline FakeShard *
world_place(World *w, Bytes id)
{
	uint64_t	place = wire_place(&w->shards[0].desc, id);

	for (uint32_t i = 0; i < w->nshards; i++)
		if (place >= w->shards[i].desc.first && place <= w->shards[i].desc.last)
			return &w->shards[i];
	return NULL;
}

static inline FakeRecord *
shard_record(FakeShard *s, Bytes id)
{
	for (size_t i = 0; i < s->n; i++)
		if (bytes_equal(bytes_of(s->records[i].id, s->records[i].id_len), id))
			return &s->records[i];
	return NULL;
}

static inline void
shard_put(FakeShard *s, Bytes id, const uint8_t *vector, bool halves)
{
	FakeRecord *r = shard_record(s, id);
	uint32_t	times = r ? r->times + 1 : 1;

	if (!r)
	{
		s->records = vt_realloc(s->records, sizeof(FakeRecord) * (s->n + 1));
		r = &s->records[s->n++];
	}
	memset(r, 0, sizeof(*r));
	memcpy(r->id, id.data, id.len);
	r->id_len = id.len;
	r->version = s->index;
	r->times = times;
	if (halves)
	{
		VecHalf		numbers[DIM];

		memcpy(numbers, vector, sizeof(numbers));
		vec_from_half(r->vector, numbers, DIM);
	}
	else
		memcpy(r->vector, vector, sizeof(r->vector));
}

static inline size_t
world_records(World *w)
{
	size_t		n = 0;

	for (uint32_t i = 0; i < w->nshards; i++)
		n += w->shards[i].n;
	return n;
}

static inline void
leases_drop(World *w, int fd)
{
	for (int i = 0; i < 64; i++)
		if (w->leases[i].id && (fd < 0 || w->leases[i].fd == fd))
		{
			free(w->leases[i].records);
			free(w->leases[i].distances);
			memset(&w->leases[i], 0, sizeof(w->leases[i]));
		}
}

static inline void
world_free(World *w)
{
	leases_drop(w, -1);
	for (uint32_t i = 0; i < WORLD_SHARDS; i++)
		free(w->shards[i].records);
	pthread_mutex_destroy(&w->lock);
}

/* Make n records of small whole numbers (many ties), spread over the shards. */
static inline void
world_fill(World *w, uint32_t n, uint64_t seed)
{
	Prng		prng = {seed};

	for (uint32_t i = 0; i < n; i++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		float		vector[DIM];
		FakeShard  *s;

		wire_tid_put(id, i / 50, (uint16_t) (i % 50 + 1));
		for (int d = 0; d < DIM; d++)
			vector[d] = (float) prng_below(&prng, 4);
		s = world_place(w, bytes_of(id, sizeof(id)));
		s->index++;
		shard_put(s, bytes_of(id, sizeof(id)), (const uint8_t *) vector, false);
	}
}

/* -- Answers --------------------------------------------------------------- */

static inline void
send_bytes(Fake *fake, int fd, const uint8_t *data, size_t len)
{
	for (size_t done = 0; done < len;)
	{
		ssize_t		n = send(fd, data + done, fake->drip && fake->drip < len - done ? fake->drip : len - done, MSG_NOSIGNAL);
		int			unread = 1;

		if (n <= 0)
			return;
		done += (size_t) n;
		/* Until the client has taken the piece; bounded, should it have gone. */
		for (int i = 0; fake->drip && unread > 0 && i < 1000000; i++)
		{
			if (ioctl(fd, SIOCOUTQ, &unread) != 0)
				return;
			sched_yield();
		}
	}
}

/* Send a reply with what the trick does to its bytes; false = close. */
static inline bool
send_reply(Fake *fake, int fd, Mischief what, WireType type, uint64_t request, Bytes payload)
{
	Buf			out = {0};
	bool		keep = true;

	if (what == STALE_FIRST)
		wire_frame_put(&out, WIRE_REPLY, type, request > 1 ? request - 1 : request + 1000, payload);
	wire_frame_put(&out, WIRE_REPLY, what == OTHER_TYPE ? WIRE_RAFT : type, request, payload);
	if (what == BAD_CHECKSUM)
		out.data[out.len - 1] ^= 1;
	if (what == BAD_MAGIC)
		out.data[0] ^= 1;
	if (what == OTHER_VERSION)
		out.data[4] = WIRE_VERSION + 1;
	if (what == CLOSE_IN_MIDDLE)
	{
		out.len = out.len / 2;
		keep = false;
	}
	if (what == CLOSE_AFTER)
		keep = false;
	else
		send_bytes(fake, fd, out.data, out.len);
	buf_free(&out);
	return keep;
}

static inline void
put_hex(Buf *out, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		char		hex[3];

		snprintf(hex, sizeof(hex), "%02x", data[i]);
		buf_put(out, hex, 2);
	}
}

static inline void put_text(Buf *out, const char *fmt,...) __attribute__((format(printf, 2, 3)));

static inline void
put_text(Buf *out, const char *fmt,...)
{
	char		text[512];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	buf_put(out, text, strlen(text));
}

static inline void
put_replicas(const FakeShard *s, const Fake *told, Buf *out)
{
	const Fake *all[4] = {s->home, s->followers[0], s->followers[1], s->followers[2]};
	const char *comma = "";

	if (!s->followers[0])
		return;
	put_text(out, ",\"replicas\":[");
	for (int i = 0; i < 4; i++)
		if (all[i])
		{
			put_text(out, "%s{\"store\":\"%d\",\"replica\":\"%d\",\"role\":\"voter\",\"endpoint\":\"%s\",\"leader\":%s}",
					 comma, i + 1, i + 1, all[i]->endpoint, all[i] == told ? "true" : "false");
			comma = ",";
		}
	put_text(out, "]");
}

static inline void
put_route(World *w, Buf *out)
{
	char		generation[VT_ID_TEXT];
	char		incarnation[VT_ID_TEXT];

	if (w->route_status != VT_OK)
	{
		put_text(out, "{\"status\":%d,\"message\":\"as the test wants\"}", w->route_status);
		return;
	}
	vt_id_format(&w->generation, generation);
	vt_id_format(&w->owner.incarnation, incarnation);
	put_text(out, "{\"status\":0,\"unknown_member\":[1],\"route\":{\"generation\":\"%s\","
			 "\"owner\":{\"system\":\"%" PRIu64 "\",\"incarnation\":\"%s\",\"database\":%u},"
			 "\"dim\":%d,\"metric\":\"l2\",\"m\":16,\"ef_construction\":200,"
			 "\"route_version\":\"%" PRIu64 "\",\"state\":\"live\",\"shards\":[",
			 generation, w->owner.system, incarnation, w->owner.database, DIM, w->route_version);
	for (uint32_t i = w->nshards; i-- > 0;)	/* backwards: the client sorts */
	{
		Buf			desc = {0};
		const Fake *told = w->shards[i].told ? w->shards[i].told : w->shards[i].home;

		if (w->route_with_hole && i == 1)
			continue;
		wire_desc_put(&desc, &w->shards[i].desc);
		put_text(out, "{\"desc\":\"");
		put_hex(out, desc.data, desc.len);
		put_text(out, "\",\"endpoint\":\"%s\"", told ? told->endpoint : "unix:/none");
		put_replicas(&w->shards[i], told, out);
		put_text(out, "}%s", i ? "," : "");
		buf_free(&desc);
	}
	put_text(out, "]}}");
}

static inline void
put_head(Buf *out, const FakeShard *s, VtStatus status, Mischief what, uint64_t applied)
{
	WireReply	head;

	memset(&head, 0, sizeof(head));
	head.status = status;
	head.last = UINT64_MAX;
	if (s)
	{
		head.shard = s->desc.shard;
		head.incarnation = s->desc.incarnation + (what == OTHER_LIFE);
		head.range_ver = s->desc.range_ver;
		head.first = s->desc.first;
		head.last = s->desc.last - (what == LEAVE_HOLE);
		head.fence = s->fence;
		head.applied = what == OLD_VIEW ? 0 : applied;
	}
	if (status != VT_OK)
		head.message = bytes_str("as the test wants");
	wire_reply_put(out, &head);
}

/* Is it to be done?  What the state machine of a worker says to one of a session's. */
static inline VtStatus
judge(FakeShard *s, const WireWrite *write, const FakeDone **before)
{
	uint32_t	k = 0;

	*before = NULL;
	while (k < s->nsessions && s->sessions[k] != write->session)
		k++;
	if (k == s->nsessions || write->sequence < s->settled[k])
		return VT_SESSION_OVER;
	for (uint32_t i = 0; i < s->ndone; i++)
		if (s->done[i].session == write->session && s->done[i].sequence == write->sequence)
		{
			*before = &s->done[i];
			return VT_OK;
		}
	if (write->settled > s->settled[k])
		s->settled[k] = write->settled;
	return write->sequence - s->settled[k] < 64 ? VT_OK : VT_INVALID;
}

static inline void
answer_write(FakeShard *s, const WireWrite *write, Mischief what, Buf *out)
{
	WireWriteResult result = {0};
	WireAttributes attributes;
	WireRecord	record;
	size_t		at = 0;

	if (what == RAISE_BEFORE)
		s->fence += 5;
	while (write->type == WRITE_PUT && wire_record_next(write, &at, &record))
		if (wire_attributes_get(record.attributes, s->desc.nattributes, &attributes) != VT_OK)
		{
			put_head(out, s, VT_INVALID, what, s->index);
			return;
		}
	at = 0;
	if ((write->type == WRITE_PUT || write->type == WRITE_DELETE) && write->fence < s->fence)
	{
		put_head(out, s, VT_FENCED, what, s->index);
		return;
	}
	if (write->session && (write->type == WRITE_PUT || write->type == WRITE_DELETE))
	{
		const FakeDone *before;
		VtStatus	status = judge(s, write, &before);

		if (status != VT_OK)
		{
			put_head(out, s, status, what, s->index);
			return;
		}
		if (before)
		{
			s->repeated++;
			result = (WireWriteResult) {.index = before->index, .repeated = true, .first = before->first,
				.last = before->last, .done = write->type == WRITE_PUT ? write->nrecords : 0};
			put_head(out, s, VT_OK, what, s->index);
			wire_write_result_put(out, &result);
			return;
		}
		s->done[s->ndone++ % FAKE_DONE] = (FakeDone) {write->session, write->sequence, s->index + 1, s->desc.first,
			s->desc.last};
	}
	result.index = ++s->index;
	if (write->type == WRITE_OPEN)
	{
		s->opened++;
		s->settled[s->nsessions] = 0;
		s->sessions[s->nsessions++] = result.index;
	}
	if (write->type == WRITE_RAISE && write->fence_to > s->fence)
	{
		s->fence = write->fence_to;
		result.took = 1;
	}
	if (write->type == WRITE_INGEST_BEGIN || write->type == WRITE_INGEST_END)
		s->ingest++;
	while (wire_record_next(write, &at, &record))
	{
		FakeRecord *r = shard_record(s, record.id);

		if (write->type == WRITE_PUT)
		{
			shard_put(s, record.id, record.vector, record.halves);
			result.done++;
		}
		else if (r && (r->version == record.version || (write->session && record.version == 0)))
		{
			*r = s->records[--s->n];
			result.done++;
		}
	}
	put_head(out, s, VT_OK, what, s->index);
	wire_write_result_put(out, &result);
}

static inline void
lease_end(FakeLease *l)
{
	free(l->records);
	free(l->distances);
	memset(l, 0, sizeof(*l));
}

/* A free place, or that of the oldest: questions given up leave theirs behind. */
static inline FakeLease *
lease_new(World *w, FakeShard *s, int fd)
{
	FakeLease  *l = &w->leases[0];

	for (int i = 1; i < 64; i++)
		if (w->leases[i].id < l->id)
			l = &w->leases[i];
	lease_end(l);
	l->id = ++w->lease_ids;
	l->fd = fd;
	l->records = vt_alloc(sizeof(FakeRecord) * (s->n + 1));
	l->distances = vt_alloc(sizeof(double) * (s->n + 1));
	l->applied = s->index;
	return l;
}

static inline FakeLease *
lease_find(World *w, uint64_t id, int fd)
{
	for (int i = 0; i < 64; i++)
		if (w->leases[i].id == id && w->leases[i].fd == fd)
			return &w->leases[i];
	return NULL;
}

static inline bool
excluded(const WireSearch *search, Bytes id)
{
	size_t		at = 0;
	Bytes		one;

	while (wire_id_next(search->excluded, &at, &one))
		if (bytes_equal(one, id))
			return true;
	return false;
}

static inline FakeLease *
search_begin(World *w, FakeShard *s, int fd, const WireSearch *search)
{
	FakeLease  *l = lease_new(w, s, fd);
	float		query[DIM];

	memcpy(query, search->vector, sizeof(query));
	for (size_t i = 0; i < s->n; i++)
	{
		const FakeRecord *r = &s->records[i];
		double		distance = vec_distance(VEC_L2, query, r->vector, DIM);
		size_t		j = l->n;

		if (excluded(search, bytes_of(r->id, r->id_len)))
			continue;
		while (j > 0 && (l->distances[j - 1] > distance ||
						 (l->distances[j - 1] == distance &&
						  bytes_compare(bytes_of(l->records[j - 1].id, l->records[j - 1].id_len),
										bytes_of(r->id, r->id_len)) > 0)))
		{
			l->records[j] = l->records[j - 1];
			l->distances[j] = l->distances[j - 1];
			j--;
		}
		l->records[j] = *r;
		l->distances[j] = distance;
		l->n++;
	}
	return l;
}

static inline void
put_one_hit(Buf *out, const FakeLease *l, size_t i)
{
	WireHit		hit = {l->distances[i], l->records[i].version,
		bytes_of(l->records[i].id, l->records[i].id_len)};

	wire_hit_put(out, &hit);
}

/* What a lease gives next, by a search for one vector. */
static inline void
put_search_result(World *w, FakeShard *s, const WireSearch *search, FakeLease *l, Mischief what, Buf *out)
{
	WireSearchResult result = {0};
	uint32_t	n = 0;
	size_t		begin;

	result.exhausted = what != EMPTY_BATCH && l->n - l->next <= search->k;
	result.lease = result.exhausted || what == NO_LEASE || (search->flags & SEARCH_ONCE) ? 0 : l->id;
	result.exact = 1;
	result.distances = 1;
	result.leader = !w->follows;
	result.says_unindexed = (w->features & WIRE_FEATURE_UNINDEXED) != 0;
	result.unindexed = w->answering && (w->answering == s->crowded[0] || w->answering == s->crowded[1]) ? s->crowd : 0;
	result.meant = 100;
	result.waiting = w->waiting;
	begin = wire_search_result_begin(out, &result);
	if (what == REPEAT_BATCH && l->next > 0)
	{
		put_one_hit(out, l, l->next - 1);
		n++;
	}
	if (what == FOREIGN_RECORD)
	{
		WireHit		hit = {0, 1, bytes_str("")};
		char		id[16];

		for (int i = 0;; i++)
		{
			snprintf(id, sizeof(id), "x%d", i);
			hit.id = bytes_str(id);
			if (world_place(w, hit.id) != s)
				break;
		}
		wire_hit_put(out, &hit);
		n++;
	}
	if (what == SHUFFLED && l->n - l->next >= 2 && search->k >= 2)
	{
		put_one_hit(out, l, l->next + 1);
		put_one_hit(out, l, l->next);
		l->next += 2;
		n += 2;
	}
	while (what != EMPTY_BATCH && n < search->k && l->next < l->n)
	{
		put_one_hit(out, l, l->next++);
		n++;
	}
	while (result.exhausted && l->next < l->n)
	{
		put_one_hit(out, l, l->next++);
		n++;
	}
	wire_search_result_end(out, begin, n);
	if (result.lease == 0)
		lease_end(l);
}

/* Many vectors, an answer for each. */
static inline void
answer_many(World *w, FakeShard *s, int fd, const WireSearch *search, Mischief what, Buf *out)
{
	Buf			bodies[WIRE_QUERIES_MAX];
	Bytes		results[WIRE_QUERIES_MAX];

	memset(bodies, 0, sizeof(bodies));
	for (uint32_t i = 0; i < search->nqueries; i++)
	{
		WireSearch	one = *search;

		one.vector += (size_t) i * DIM * 4;
		put_search_result(w, s, &one, search_begin(w, s, fd, &one), what, &bodies[i]);
		results[i] = buf_bytes(&bodies[i]);
	}
	wire_search_results_put(out, results, search->nqueries);
	for (uint32_t i = 0; i < search->nqueries; i++)
		buf_free(&bodies[i]);
}

static inline void
answer_search(World *w, FakeShard *s, int fd, const WireSearch *search, Mischief what, Buf *out)
{
	FakeLease  *l;

	if (search->flags & SEARCH_CLOSE)
	{
		l = lease_find(w, search->lease, fd);
		if (l)
		{
			lease_end(l);
			w->closes++;
		}
		put_head(out, s, VT_OK, what, s->index);
		return;
	}
	w->last_mark = search->consistency == WIRE_AT_MARK ? search->mark : 0;
	w->linearizable += search->consistency == WIRE_LINEARIZABLE;
	if (search->consistency == WIRE_AT_MARK && s->index < search->mark)
	{
		put_head(out, s, VT_BEHIND, what, s->index);
		return;
	}
	w->last_nexcluded = search->nexcluded;
	if (search->flags & SEARCH_MANY)
	{
		w->many++;
		put_head(out, s, w->takes_one && w->answering != w->takes_many ? VT_PROTOCOL : VT_OK, what, s->index);
		if (!w->takes_one || w->answering == w->takes_many)
			answer_many(w, s, fd, search, what, out);
		return;
	}
	l = search->lease ? lease_find(w, search->lease, fd) : search_begin(w, s, fd, search);
	if (!l)
	{
		put_head(out, s, VT_LEASE_GONE, what, s->index);
		return;
	}
	put_head(out, s, VT_OK, what, l->applied);
	put_search_result(w, s, search, l, what, out);
}

static inline void
answer_list(World *w, FakeShard *s, int fd, const WireList *list, Mischief what, Buf *out)
{
	WireListResult result = {0};
	FakeLease  *l;
	uint32_t	n = 0;
	size_t		begin;

	if (list->flags & LIST_CLOSE)
	{
		l = lease_find(w, list->lease, fd);
		if (l)
		{
			lease_end(l);
			w->closes++;
		}
		put_head(out, s, VT_OK, what, s->index);
		return;
	}
	l = list->lease ? lease_find(w, list->lease, fd) : lease_new(w, s, fd);
	if (!l)
	{
		put_head(out, s, VT_LEASE_GONE, what, s->index);
		return;
	}
	if (!list->lease && s->n > 0)
	{
		memcpy(l->records, s->records, sizeof(FakeRecord) * s->n);
		l->n = s->n;
	}
	if (!list->lease)
		l->vectors = (list->flags & LIST_VECTORS) != 0;
	put_head(out, s, VT_OK, what, l->applied);
	result.lease = l->id;
	result.last = l->n - l->next <= w->page;
	result.total = result.last ? l->n + (what == WRONG_TOTAL) : 0;
	begin = wire_list_result_begin(out, &result);
	for (; n < w->page && l->next < l->n; n++, l->next++)
	{
		const FakeRecord *r = &l->records[l->next];
		WireListItem item = {.id = bytes_of(r->id, r->id_len), .version = r->version, .dim = l->vectors ? DIM : 0,
			.vector = (const uint8_t *) r->vector};
		char		id[16];

		for (int i = 0; what == FOREIGN_RECORD && world_place(w, item.id) == s; i++)
		{
			snprintf(id, sizeof(id), "x%d", i);
			item.id = bytes_str(id);
		}
		wire_list_item_put(out, &item, false);
	}
	wire_list_result_end(out, begin, n);
	if (result.last)
		lease_end(l);
}

/* A follower answers searches at a mark it has, and sends everything else away. */
static inline void
answer_as_follower(World *w, FakeShard *s, int fd, WireType type, const WireSearch *search,
				   Mischief what, Buf *out)
{
	w->at_followers++;
	w->follows = true;
	s->index -= s->lag;
	if (type != WIRE_SEARCH || search->consistency == WIRE_LINEARIZABLE)
		put_head(out, s, VT_NOT_LEADER, what, s->index);
	else
		answer_search(w, s, fd, search, what, out);
	s->index += s->lag;
	w->follows = false;
}

/* The answer to a data request; under the lock. */
static inline void
answer_data(Fake *fake, int fd, WireType type, Bytes payload, Mischief what, VtStatus status,
			Buf *out)
{
	World	   *w = fake->world;
	WireWrite	write;
	WireSearch	search;
	WireList	list;
	WireRead	read;
	WireRoute	route = {0};
	FakeShard  *s;
	VtStatus	good = VT_PROTOCOL;

	if (type == WIRE_WRITE && (good = wire_write_get(payload, &write, NULL)) == VT_OK)
		route = write.route;
	if (type == WIRE_SEARCH && (good = wire_search_get(payload, &search, NULL)) == VT_OK)
		route = search.route;
	if (type == WIRE_LIST && (good = wire_list_get(payload, &list, NULL)) == VT_OK)
		route = list.route;
	if (type == WIRE_READ_INDEX && (good = wire_read_get(payload, &read, NULL)) == VT_OK)
		route = read.route;
	s = world_find(w, fake, route.shard);
	w->answering = fake;
	fake->searches += type == WIRE_SEARCH && good == VT_OK && !(search.flags & SEARCH_CLOSE);
	w->unfiltered += type == WIRE_SEARCH && good == VT_OK && !(search.flags & SEARCH_CLOSE) &&
		!bytes_equal(search.filter, w->filter);
	if (s && type == WIRE_WRITE && payload.len > s->largest)
		s->largest = (uint32_t) payload.len;
	if (good != VT_OK)
		put_head(out, NULL, good, what, 0);
	else if (what == REFUSE)
		put_head(out, s, status, what, s ? s->index : 0);
	else if (!s || s->desc.range_ver != route.range_ver)
		put_head(out, s, VT_WRONG_SHARD, what, 0);
	else if (!wire_owner_equal(&route.owner, &w->owner))
		put_head(out, s, VT_NOT_OWNER, what, 0);
	else if (is_follower(s, fake))
		answer_as_follower(w, s, fd, type, &search, what, out);
	else if (type == WIRE_WRITE)
		answer_write(s, &write, what, out);
	else if (type == WIRE_SEARCH)
		answer_search(w, s, fd, &search, what, out);
	else if (type == WIRE_LIST)
		answer_list(w, s, fd, &list, what, out);
	else
	{
		WireReadResult result = {s->n, 1, 0};

		put_head(out, s, VT_OK, what, s->index);
		wire_read_result_put(out, &result);
	}
}

#endif							/* FAKE_WORLD_H */
