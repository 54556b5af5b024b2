/*-------------------------------------------------------------------------
 *
 * records.c
 *	  A shard's records in memory.
 *
 * Slots live in chunks that never move; a chunk holds the vectors and the
 * heads of CHUNK slots.  The id map is an open-addressing table from id to the
 * slot of its newest version.
 *
 *-------------------------------------------------------------------------
 */
#include "records.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/breaks.h"
#include "base/hash.h"
#include "wire/wire.h"

#define CHUNK 1024
#define CHUNKS_MAX (1u << 21)
#define NONE UINT32_MAX

typedef struct Slot
{
	atomic_uint_fast64_t version;	/* 0 = dead or not yet published */
	uint32_t	id_len;
	uint8_t    *id;				/* malloc'd; valid while the slot is not reused */
} Slot;

typedef struct Chunk
{
	Slot		slots[CHUNK];
	float		vectors[];		/* CHUNK x dim */
} Chunk;

struct Records
{
	VecMetric	metric;
	uint32_t	dim;

	_Atomic(Chunk *) *chunks;	/* CHUNKS_MAX pointers, pages touched as needed */
	atomic_uint_fast32_t used;	/* slots handed out so far */
	atomic_uint_fast64_t live;
	atomic_uint_fast64_t superseding;	/* odd while a version replaces another */

	/* The map; changed by the apply thread, read by it without the lock */
	pthread_mutex_t map_lock;
	uint32_t   *map;			/* slot or NONE */
	uint32_t	map_size;		/* a power of two */
	uint32_t	map_used;		/* entries, dead marks included */

	/* Dead slots: waiting for the readers of their time, then free to use */
	pthread_rwlock_t readers;	/* held for reading by every scan */
	uint32_t   *waiting;
	uint32_t	nwaiting;
	uint32_t	waiting_room;
	uint32_t   *ready;
	uint32_t	nready;
	uint32_t	ready_room;
};

#define MAP_DEAD (UINT32_MAX - 1)

static Chunk *
chunk_of(const Records *records, uint32_t slot)
{
	return atomic_load_explicit(&records->chunks[slot / CHUNK], memory_order_acquire);
}

static Slot *
slot_of(const Records *records, uint32_t slot)
{
	return &chunk_of(records, slot)->slots[slot % CHUNK];
}

static float *
vector_of(const Records *records, uint32_t slot)
{
	return chunk_of(records, slot)->vectors + (size_t) (slot % CHUNK) * records->dim;
}

static Bytes
id_of(const Records *records, uint32_t slot)
{
	Slot	   *s = slot_of(records, slot);

	return bytes_of(s->id, s->id_len);
}

Records *
records_new(VecMetric metric, uint32_t dim)
{
	Records    *records = vt_alloc0(sizeof(Records));

	records->metric = metric;
	records->dim = dim;
	records->chunks = vt_alloc0(sizeof(*records->chunks) * CHUNKS_MAX);
	records->map_size = 1024;
	records->map = vt_alloc(sizeof(uint32_t) * records->map_size);
	memset(records->map, 0xff, sizeof(uint32_t) * records->map_size);
	pthread_mutex_init(&records->map_lock, NULL);
	pthread_rwlock_init(&records->readers, NULL);
	return records;
}

void
records_free(Records *records)
{
	uint32_t	used;

	if (!records)
		return;
	used = (uint32_t) atomic_load(&records->used);
	for (uint32_t i = 0; i < used; i++)
		free(slot_of(records, i)->id);
	for (uint32_t i = 0; i * CHUNK < used; i++)
		free(atomic_load(&records->chunks[i]));
	free(records->chunks);
	free(records->map);
	free(records->waiting);
	free(records->ready);
	pthread_mutex_destroy(&records->map_lock);
	pthread_rwlock_destroy(&records->readers);
	free(records);
}

/* Position of an id in the map; *place is where it would be put. */
static uint32_t
map_find(const Records *records, Bytes id, uint32_t *place)
{
	uint32_t	mask = records->map_size - 1;
	uint32_t	free_place = NONE;

	for (uint32_t i = (uint32_t) hash_checksum(id) & mask;; i = (i + 1) & mask)
	{
		uint32_t	slot = records->map[i];

		if (slot == NONE)
		{
			*place = free_place != NONE ? free_place : i;
			return NONE;
		}
		if (slot == MAP_DEAD)
		{
			if (free_place == NONE)
				free_place = i;
		}
		else if (bytes_equal(id_of(records, slot), id))
		{
			*place = i;
			return slot;
		}
	}
}

/* Twice the size, without dead marks. */
static void
map_grow(Records *records)
{
	uint32_t	old_size = records->map_size;
	uint32_t   *old = records->map;
	uint32_t	live = (uint32_t) atomic_load(&records->live);

	while (records->map_size < 4 * (live + 1))
		records->map_size *= 2;
	records->map = vt_alloc(sizeof(uint32_t) * records->map_size);
	memset(records->map, 0xff, sizeof(uint32_t) * records->map_size);
	records->map_used = 0;
	for (uint32_t i = 0; i < old_size; i++)
	{
		uint32_t	place;

		if (old[i] == NONE || old[i] == MAP_DEAD)
			continue;
		map_find(records, id_of(records, old[i]), &place);
		records->map[place] = old[i];
		records->map_used++;
	}
	free(old);
}

uint64_t
records_version(Records *records, Bytes id)
{
	uint32_t	place;
	uint32_t	slot = map_find(records, id, &place);

	return slot == NONE ? 0 : atomic_load(&slot_of(records, slot)->version);
}

static void
push(uint32_t **array, uint32_t *n, uint32_t *room, uint32_t slot)
{
	if (*n == *room)
	{
		*room = *room ? *room * 2 : 64;
		*array = vt_realloc(*array, sizeof(uint32_t) * *room);
	}
	(*array)[(*n)++] = slot;
}

/*
 * A slot to write into.  Dead ones become ready when, at some moment after
 * their death, no scan was under way.
 */
static uint32_t
slot_take(Records *records)
{
	uint32_t	slot;
	uint32_t	chunk;

	if (records->nready == 0 && records->nwaiting >= CHUNK &&
		pthread_rwlock_trywrlock(&records->readers) == 0)
	{
		pthread_rwlock_unlock(&records->readers);
		while (records->nwaiting > 0)
			push(&records->ready, &records->nready, &records->ready_room,
				 records->waiting[--records->nwaiting]);
	}
	if (records->nready > 0)
		return records->ready[--records->nready];

	slot = (uint32_t) atomic_load(&records->used);
	chunk = slot / CHUNK;
	Assert(chunk < CHUNKS_MAX);
	if (slot % CHUNK == 0)
	{
		size_t		size = sizeof(Chunk) + sizeof(float) * CHUNK * records->dim;
		Chunk	   *fresh = vt_alloc(size);

		memset(fresh->slots, 0, sizeof(fresh->slots));
		atomic_store_explicit(&records->chunks[chunk], fresh, memory_order_release);
	}
	return slot;
}

static void
slot_die(Records *records, uint32_t slot)
{
	atomic_store_explicit(&slot_of(records, slot)->version, 0, memory_order_release);
	push(&records->waiting, &records->nwaiting, &records->waiting_room, slot);
}

void
records_put(Records *records, Bytes id, uint64_t version, const uint8_t *vector)
{
	uint32_t	slot = slot_take(records);
	Slot	   *s = slot_of(records, slot);
	float	   *out = vector_of(records, slot);
	uint32_t	place;
	uint32_t	old;

	for (uint32_t i = 0; i < records->dim; i++)
	{
		uint32_t	bits = get_le32(vector + 4 * (size_t) i);

		memcpy(&out[i], &bits, sizeof(bits));
	}
	free(s->id);
	s->id = vt_alloc(id.len);
	s->id_len = (uint32_t) id.len;
	memcpy(s->id, id.data, id.len);

	/*
	 * Under the lock a reader of the map sees the old version or the new one,
	 * never both and never neither.  A scan's pass does not take it: it looks
	 * at superseding before and after (record_scan_open).
	 */
	pthread_mutex_lock(&records->map_lock);
	if (records->map_used + 1 > records->map_size / 2)
		map_grow(records);
	old = map_find(records, id, &place);
	if (records->map[place] == NONE)
		records->map_used++;
	if (old != NONE)
		atomic_fetch_add(&records->superseding, 1);
	atomic_store_explicit(&s->version, version, memory_order_release);
	records->map[place] = slot;
	if (slot >= atomic_load(&records->used))
		atomic_store_explicit(&records->used, slot + 1, memory_order_release);
	if (old != NONE)
	{
		slot_die(records, old);
		atomic_fetch_add(&records->superseding, 1);
	}
	else
		atomic_fetch_add(&records->live, 1);
	pthread_mutex_unlock(&records->map_lock);
}

void
records_delete(Records *records, Bytes id)
{
	uint32_t	place;
	uint32_t	slot;

	pthread_mutex_lock(&records->map_lock);
	slot = map_find(records, id, &place);
	Assert(slot != NONE);
	records->map[place] = MAP_DEAD;
	slot_die(records, slot);
	pthread_mutex_unlock(&records->map_lock);
	atomic_fetch_sub(&records->live, 1);
}

uint64_t
records_count(const Records *records)
{
	return atomic_load(&records->live);
}

uint64_t
records_bytes(const Records *records)
{
	uint64_t	used = atomic_load(&records->used);

	return used * (sizeof(Slot) + 16 + sizeof(float) * records->dim) + records->map_size * 4ull;
}

/* -- Scans ----------------------------------------------------------------- */

/* A set of ids, copied. */
typedef struct IdSet
{
	Buf			bytes;			/* the ids, one after the other */
	struct IdSetEntry
	{
		uint64_t	hash;
		uint32_t	at;			/* in bytes */
		uint32_t	len;		/* 0 = empty */
	}		   *table;
	uint32_t	size;			/* 0 or a power of two */
	uint32_t	n;
} IdSet;

static struct IdSetEntry *
id_set_find(const IdSet *set, Bytes id, uint64_t hash)
{
	for (uint32_t i = (uint32_t) hash & (set->size - 1);; i = (i + 1) & (set->size - 1))
	{
		struct IdSetEntry *e = &set->table[i];

		if (e->len == 0 || (e->hash == hash &&
							bytes_equal(bytes_of(set->bytes.data + e->at, e->len), id)))
			return e;
	}
}

static bool
id_set_has(const IdSet *set, Bytes id)
{
	return set->n > 0 && id_set_find(set, id, hash_checksum(id))->len != 0;
}

/* False: it was there. */
static bool
id_set_add(IdSet *set, Bytes id)
{
	uint64_t	hash = hash_checksum(id);
	struct IdSetEntry *e;

	if (2 * (set->n + 1) > set->size)
	{
		struct IdSetEntry *old = set->table;
		uint32_t	old_size = set->size;

		set->size = old_size ? 2 * old_size : 64;
		set->table = vt_alloc0(sizeof(*set->table) * set->size);
		for (uint32_t i = 0; i < old_size; i++)
			if (old[i].len)
				*id_set_find(set, bytes_of(set->bytes.data + old[i].at, old[i].len), old[i].hash) = old[i];
		free(old);
	}
	e = id_set_find(set, id, hash);
	if (e->len)
		return false;
	e->hash = hash;
	e->at = (uint32_t) set->bytes.len;
	e->len = (uint32_t) id.len;
	buf_put(&set->bytes, id.data, id.len);
	set->n++;
	return true;
}

static void
id_set_free(IdSet *set)
{
	buf_free(&set->bytes);
	free(set->table);
}

typedef struct Candidate
{
	double		distance;
	uint64_t	version;
	uint32_t	slot;
} Candidate;

struct RecordScan
{
	Records    *records;
	float	   *query;
	Candidate  *heap;			/* the nearest on top */
	size_t		n;
	uint64_t	distances;
	IdSet		returned;		/* each id comes at most once */
};

/* (distance, id); NaN is last. */
static bool
before(const RecordScan *scan, const Candidate *a, const Candidate *b)
{
	bool		a_nan = a->distance != a->distance;
	bool		b_nan = b->distance != b->distance;

	if (a_nan != b_nan)
		return b_nan;
	if (!a_nan && a->distance != b->distance)
		return a->distance < b->distance;
	return bytes_compare(id_of(scan->records, a->slot), id_of(scan->records, b->slot)) < 0;
}

static void
sift_down(RecordScan *scan, size_t at)
{
	Candidate	moving = scan->heap[at];

	for (;;)
	{
		size_t		child = 2 * at + 1;

		if (child >= scan->n)
			break;
		if (child + 1 < scan->n && before(scan, &scan->heap[child + 1], &scan->heap[child]))
			child++;
		if (!before(scan, &scan->heap[child], &moving))
			break;
		scan->heap[at] = scan->heap[child];
		at = child;
	}
	scan->heap[at] = moving;
}

static void
sift_up(RecordScan *scan, size_t at)
{
	while (at > 0 && before(scan, &scan->heap[at], &scan->heap[(at - 1) / 2]))
	{
		Candidate	t = scan->heap[at];

		scan->heap[at] = scan->heap[(at - 1) / 2];
		scan->heap[(at - 1) / 2] = t;
		at = (at - 1) / 2;
	}
}

/* Collect what is live, without the map's lock or with it. */
static void
scan_pass(RecordScan *scan, const IdSet *excluded)
{
	Records    *records = scan->records;
	uint32_t	used = (uint32_t) atomic_load_explicit(&records->used, memory_order_acquire);

	scan->heap = vt_realloc(scan->heap, sizeof(Candidate) * ((size_t) used + 1));
	scan->n = 0;
	for (uint32_t i = 0; i < used; i++)
	{
		uint64_t	version = atomic_load_explicit(&slot_of(records, i)->version, memory_order_acquire);

		if (version == 0 || id_set_has(excluded, id_of(records, i)))
			continue;
		scan->heap[scan->n].version = version;
		scan->heap[scan->n++].slot = i;
	}
}

RecordScan *
record_scan_open(Records *records, const uint8_t *query, Bytes excluded)
{
	RecordScan *scan = vt_alloc0(sizeof(RecordScan));
	IdSet		out = {0};
	uint64_t	superseding;
	size_t		at = 0;
	Bytes		id;

	scan->records = records;
	scan->query = vt_alloc(sizeof(float) * records->dim);
	for (uint32_t i = 0; i < records->dim; i++)
	{
		uint32_t	bits = get_le32(query + 4 * (size_t) i);

		memcpy(&scan->query[i], &bits, sizeof(bits));
	}
	while (wire_id_next(excluded, &at, &id))
		id_set_add(&out, id);
	pthread_rwlock_rdlock(&records->readers);

	/*
	 * A record that is superseded during the pass may be seen in neither slot.
	 * That is rare: try again, at last with the map locked.
	 */
	superseding = atomic_load(&records->superseding);
	scan_pass(scan, &out);
	if (superseding % 2 != 0 || atomic_load(&records->superseding) != superseding)
	{
		pthread_mutex_lock(&records->map_lock);
		scan_pass(scan, &out);
		pthread_mutex_unlock(&records->map_lock);
	}
	id_set_free(&out);
	for (size_t i = 0; i < scan->n; i++)
		scan->heap[i].distance = vec_distance(records->metric, scan->query,
											  vector_of(records, scan->heap[i].slot), records->dim);
	scan->distances = scan->n;
	for (size_t i = scan->n / 2; i-- > 0;)
		sift_down(scan, i);
	return scan;
}

/*
 * A candidate that is no longer the live version of its record: put the
 * current one in its place, with its distance, if there is one.
 */
static void
scan_replace(RecordScan *scan, const Candidate *stale)
{
	Records    *records = scan->records;
	Candidate	now = {0};
	uint32_t	place;

	pthread_mutex_lock(&records->map_lock);
	now.slot = map_find(records, id_of(records, stale->slot), &place);
	if (now.slot != NONE)
		now.version = atomic_load(&slot_of(records, now.slot)->version);
	pthread_mutex_unlock(&records->map_lock);
	if (now.slot == NONE)
		return;
	now.distance = vec_distance(records->metric, scan->query, vector_of(records, now.slot), records->dim);
	scan->distances++;
	scan->heap[scan->n] = now;	/* there is room: one was taken off */
	sift_up(scan, scan->n++);
}

bool
record_scan_next(RecordScan *scan, double *distance, uint64_t *version, Bytes *id)
{
	while (scan->n > 0)
	{
		Candidate	top = scan->heap[0];
		Bytes		top_id = id_of(scan->records, top.slot);

		scan->heap[0] = scan->heap[--scan->n];
		if (scan->n > 0)
			sift_down(scan, 0);
		if (atomic_load_explicit(&slot_of(scan->records, top.slot)->version, memory_order_acquire) != top.version)
		{
			if (!vt_broken("S5-replace"))
				scan_replace(scan, &top);
			continue;
		}
		if (!id_set_add(&scan->returned, top_id))
			continue;
		*distance = top.distance;
		*version = top.version;
		*id = top_id;			/* no slot is reused while a scan is open */
		return true;
	}
	return false;
}

uint64_t
record_scan_distances(const RecordScan *scan)
{
	return scan->distances;
}

void
record_scan_close(RecordScan *scan)
{
	if (!scan)
		return;
	pthread_rwlock_unlock(&scan->records->readers);
	id_set_free(&scan->returned);
	free(scan->heap);
	free(scan->query);
	free(scan);
}
