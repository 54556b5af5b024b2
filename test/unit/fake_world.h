/*-------------------------------------------------------------------------
 *
 * fake_world.h
 *	  What the fake cluster of the client's tests knows.
 *
 * A World has the shards of one generation and what they hold.  A trick changes
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
	OTHER_PAGE,					/* with metadata that nobody wants, or without what is wanted */
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
	uint64_t	born_last;		/* of one that was split off: where its interval ended then */
} FakeShard;

typedef struct FakeLease
{
	uint64_t	id;				/* 0 = free */
	int			fd;
	FakeRecord *records;
	double	   *distances;
	size_t		n;
	size_t		next;
	uint32_t	flags;			/* of a listing */
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
	const Buf  *route_words;	/* what PD says, whatever is so; NULL: what is so */
	bool		tells;			/* workers say how a shard was split, */
	bool		tells_nonsense;	/* of another one */
	const char *hint;			/* whom a driver that refuses takes for the leader */
	uint32_t	later_ms;		/* after which it wishes to be asked again; 0 = it says nothing */

	Trick		tricks[64];
	int			ntricks;
	uint32_t	page;			/* items of a listing's page */
	uint32_t	hold_writes;	/* answer writes only when so many wait */
	uint32_t	held;
	void		(*on_request) (struct World *world, WireType type);	/* under the lock */

	uint64_t	features;		/* of the last greeting */
	uint64_t	lacks;			/* features that workers do not know, being of a release of before, */
	struct Fake *newer;			/* but this one */
	uint32_t	nonsense;		/* listings with what they do not know */
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
	uint32_t	by_older;		/* searches by an interval of before a split; */
	uint32_t	marks_by_older; /* those at a mark */
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
		int64_t		due_us;		/* when a search is answered */
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
	uint32_t	slow_ms;		/* ... answered after so long, each at its own time, unless they are cancelled; 0 = at once */
	uint32_t	full_ms;		/* ... turned away for so long, as by a worker with too much to do; 0 = they are not */
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
knows(const World *w, const struct Fake *fake, uint64_t feature)
{
	return (w->lacks & feature) == 0 || fake == w->newer;
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
shard_put(FakeShard *s, Bytes id, const uint8_t *vector, WireElement element)
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
	if (element == WIRE_FLOAT16)
	{
		VecHalf		numbers[DIM];

		memcpy(numbers, vector, sizeof(numbers));
		vec_from_half(r->vector, numbers, DIM);
	}
	else
		memcpy(r->vector, vector, wire_vector_bytes(element, s->desc.dim));
}

/*
 * The upper two thirds of a shard become another one, at its home: with its
 * records there, its sessions, and what they did.  Under the lock.
 */
static inline FakeShard *
world_split(World *w, uint32_t i)
{
	FakeShard  *parent = &w->shards[i];
	FakeShard  *child = &w->shards[w->nshards];
	uint64_t	middle = parent->desc.first + (parent->desc.last - parent->desc.first) / 3;
	size_t		kept = 0;

	assert_true(w->nshards < WORLD_SHARDS);
	world_shard(w, w->nshards, 100 + w->nshards, middle + 1, parent->desc.last);
	w->nshards++;
	child->home = parent->home;
	child->index = child->desc.base_index = ++parent->index;
	child->desc.parent = parent->desc.shard;
	child->desc.range_ver = ++parent->desc.range_ver;
	child->born_last = parent->desc.last;
	memcpy(child->sessions, parent->sessions, sizeof(child->sessions));
	memcpy(child->settled, parent->settled, sizeof(child->settled));
	memcpy(child->done, parent->done, sizeof(child->done));
	child->nsessions = parent->nsessions;
	child->ndone = parent->ndone;
	parent->desc.last = middle;
	child->records = vt_alloc(sizeof(FakeRecord) * (parent->n + 1));
	for (size_t k = 0; k < parent->n; k++)
		if (wire_place(&parent->desc, bytes_of(parent->records[k].id, parent->records[k].id_len)) <= middle)
			parent->records[kept++] = parent->records[k];
		else
			child->records[child->n++] = parent->records[k];
	parent->n = kept;
	w->route_version++;
	return child;
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
		shard_put(s, bytes_of(id, sizeof(id)), (const uint8_t *) vector, WIRE_FLOAT32);
	}
}

#endif							/* FAKE_WORLD_H */
