/*-------------------------------------------------------------------------
 *
 * records.c
 *	  A shard's records in memory.
 *
 * The graph hands out slots and says when one may be used again; a head for
 * each lies here, in chunks that never move: the first has FIRST heads, each
 * further one twice as many as the one before.  The id map is an
 * open-addressing table from id to the slot of its newest version.
 *
 *-------------------------------------------------------------------------
 */
#include "records.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/breaks.h"
#include "base/hash.h"

#define FIRST_SHIFT 8
#define FIRST (1u << FIRST_SHIFT)
#define CHUNKS (31 - FIRST_SHIFT)	/* enough for HNSW_MAX_SLOTS */
#define MAP_FIRST 1024
#define MAP_DEAD (UINT32_MAX - 1)
#define NONE HNSW_NO_SLOT

/* Ids up to this long need no memory of their own. */
#define ID_INLINE 8

typedef struct Head
{
	atomic_uint_fast64_t version;	/* 0 = dead or not yet published */
	union
	{
		uint8_t		here[ID_INLINE];
		uint8_t    *elsewhere;	/* malloc'd; until the slot is used again */
	}			id;
	uint32_t	id_len;
} Head;

struct Records
{
	RecordsOptions opt;
	Hnsw	   *graph;
	float	   *vector;			/* of the apply thread: dim floats, aligned */
	atomic_uint_fast64_t live;
	atomic_llong graph_bytes;
	atomic_llong own_bytes;

	_Atomic(Head *) chunks[CHUNKS];
	uint32_t	nheads;			/* slots seen so far; the apply thread's */

	/* The map; changed by the apply thread, read by it without the lock */
	pthread_mutex_t map_lock;
	uint32_t   *map;			/* slot, NONE or MAP_DEAD */
	uint32_t	map_size;		/* a power of two */
	uint32_t	map_used;		/* entries, dead marks included */
};

/* Chunk k holds the slots from FIRST * (2^k - 1) on, FIRST * 2^k of them. */
static int
chunk_of(uint32_t slot)
{
	return 31 - __builtin_clz(slot + FIRST) - FIRST_SHIFT;
}

static Head *
head_of(const Records *records, uint32_t slot)
{
	int			k = chunk_of(slot);

	return atomic_load_explicit(&records->chunks[k], memory_order_acquire) + (slot + FIRST - (FIRST << k));
}

static Bytes
id_of(const Head *head)
{
	return bytes_of(head->id_len > ID_INLINE ? head->id.elsewhere : head->id.here, head->id_len);
}

/* Ids in their order give labels in their order; equal ones when they begin alike. */
static uint64_t
label_of(Bytes id)
{
	uint8_t		first[8] = {0};

	memcpy(first, id.data, id.len < sizeof(first) ? id.len : sizeof(first));
	return get_be64(first);
}

static void
on_graph_memory(void *arg, int64_t bytes)
{
	atomic_fetch_add_explicit(&((Records *) arg)->graph_bytes, bytes, memory_order_relaxed);
}

VtStatus
records_new(const RecordsOptions *options, Records **out, VtError *err)
{
	Records    *records = vt_alloc0(sizeof(Records));
	HnswOptions graph = {
		.dim = options->dim,
		.metric = options->metric,
		.m = options->m,
		.ef_construction = options->ef_construction,
		.codes = options->codes,
		.seed = options->seed,
		.account = on_graph_memory,
		.account_arg = records,
	};
	VtStatus	status;

	records->opt = *options;
	pthread_mutex_init(&records->map_lock, NULL);
	records->map_size = MAP_FIRST;
	records->map = vt_alloc(sizeof(uint32_t) * records->map_size);
	memset(records->map, 0xff, sizeof(uint32_t) * records->map_size);
	atomic_store(&records->own_bytes, (long long) (sizeof(uint32_t) * records->map_size));
	status = hnsw_create(&graph, &records->graph, err);
	if (status != VT_OK)
	{
		records_free(records);
		return status;
	}
	records->vector = vt_alloc(sizeof(float) * options->dim);
	*out = records;
	return VT_OK;
}

void
records_free(Records *records)
{
	if (!records)
		return;
	for (uint32_t slot = 0; slot < records->nheads; slot++)
		if (head_of(records, slot)->id_len > ID_INLINE)
			free(head_of(records, slot)->id.elsewhere);
	for (int k = 0; k < CHUNKS; k++)
		free(atomic_load(&records->chunks[k]));
	hnsw_destroy(records->graph);
	free(records->map);
	free(records->vector);
	pthread_mutex_destroy(&records->map_lock);
	free(records);
}

/* -- The map --------------------------------------------------------------- */

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
		else if (bytes_equal(id_of(head_of(records, slot)), id))
		{
			*place = i;
			return slot;
		}
	}
}

/* A table with room, without dead marks. */
static void
map_grow(Records *records)
{
	uint32_t	old_size = records->map_size;
	uint32_t   *old = records->map;
	uint64_t	live = atomic_load(&records->live);

	while (records->map_size < 4 * (live + 1))
		records->map_size *= 2;
	records->map = vt_alloc(sizeof(uint32_t) * records->map_size);
	memset(records->map, 0xff, sizeof(uint32_t) * records->map_size);
	atomic_fetch_add(&records->own_bytes, (long long) sizeof(uint32_t) *
					 ((long long) records->map_size - (long long) old_size));
	records->map_used = 0;
	for (uint32_t i = 0; i < old_size; i++)
	{
		uint32_t	place;

		if (old[i] == NONE || old[i] == MAP_DEAD)
			continue;
		map_find(records, id_of(head_of(records, old[i])), &place);
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

	return slot == NONE ? 0 : atomic_load(&head_of(records, slot)->version);
}

/* -- Changing -------------------------------------------------------------- */

/* The head of a slot that was just reserved, with its id. */
static Head *
head_fill(Records *records, uint32_t slot, Bytes id)
{
	int			k = chunk_of(slot);
	Head	   *head;

	if (!atomic_load(&records->chunks[k]))
		atomic_store_explicit(&records->chunks[k], vt_alloc0(sizeof(Head) * (FIRST << k)),
							  memory_order_release);
	if (slot >= records->nheads)
	{
		atomic_fetch_add(&records->own_bytes, (long long) sizeof(Head) * (slot + 1 - records->nheads));
		records->nheads = slot + 1;
	}
	head = head_of(records, slot);
	if (head->id_len > ID_INLINE)
	{
		atomic_fetch_sub(&records->own_bytes, head->id_len);
		free(head->id.elsewhere);
	}
	head->id_len = (uint32_t) id.len;
	if (id.len > ID_INLINE)
	{
		head->id.elsewhere = vt_alloc(id.len);
		memcpy(head->id.elsewhere, id.data, id.len);
		atomic_fetch_add(&records->own_bytes, (long long) id.len);
	}
	else
		memcpy(head->id.here, id.data, id.len);
	return head;
}

VtStatus
records_put(Records *records, Bytes id, uint64_t version, const uint8_t *vector, VtError *err)
{
	uint32_t	slot;
	uint32_t	place;
	uint32_t	old;
	Head	   *head;
	VtStatus	status = hnsw_reserve(records->graph, &slot, err);

	if (status != VT_OK)
		return status;
	head = head_fill(records, slot, id);
	for (uint32_t i = 0; i < records->opt.dim; i++)
	{
		uint32_t	bits = get_le32(vector + 4 * (size_t) i);

		memcpy(&records->vector[i], &bits, sizeof(bits));
	}

	/*
	 * A search meets the old version or the new one in the graph, never both
	 * and never neither; a reader of the map the same, by the lock.
	 */
	pthread_mutex_lock(&records->map_lock);
	if (records->map_used + 1 > records->map_size / 2)
		map_grow(records);
	old = map_find(records, id, &place);
	if (records->map[place] == NONE)
		records->map_used++;
	atomic_store_explicit(&head->version, version, memory_order_release);
	if (old == NONE || vt_broken("S5-supersede"))
		hnsw_add(records->graph, slot, label_of(id), records->vector);
	else
	{
		hnsw_replace(records->graph, old, slot, label_of(id), records->vector);
		atomic_store_explicit(&head_of(records, old)->version, 0, memory_order_release);
	}
	records->map[place] = slot;
	if (old == NONE)
		atomic_fetch_add(&records->live, 1);
	pthread_mutex_unlock(&records->map_lock);
	return VT_OK;
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
	atomic_store_explicit(&head_of(records, slot)->version, 0, memory_order_release);
	hnsw_delete(records->graph, slot);
	pthread_mutex_unlock(&records->map_lock);
	atomic_fetch_sub(&records->live, 1);
}

/* -- Looking --------------------------------------------------------------- */

VecMetric
records_metric(const Records *records)
{
	return records->opt.metric;
}

uint32_t
records_dim(const Records *records)
{
	return records->opt.dim;
}

uint64_t
records_count(const Records *records)
{
	return atomic_load(&records->live);
}

uint64_t
records_bytes(const Records *records)
{
	return (uint64_t) (atomic_load(&records->graph_bytes) + atomic_load(&records->own_bytes));
}

uint64_t
records_waiting(const Records *records)
{
	return hnsw_waiting(records->graph);
}

Hnsw *
records_graph(const Records *records)
{
	return records->graph;
}

uint32_t
records_enter(Records *records)
{
	return hnsw_enter(records->graph);
}

void
records_leave(Records *records, uint32_t entered)
{
	hnsw_leave(records->graph, entered);
}

uint64_t
records_slot_version(const Records *records, uint32_t slot)
{
	return atomic_load_explicit(&head_of(records, slot)->version, memory_order_acquire);
}

Bytes
records_slot_id(const Records *records, uint32_t slot)
{
	return id_of(head_of(records, slot));
}

bool
records_find(Records *records, Bytes id, uint32_t *slot, uint64_t *version)
{
	uint32_t	place;

	pthread_mutex_lock(&records->map_lock);
	*slot = map_find(records, id, &place);
	if (*slot != NONE)
		*version = records_slot_version(records, *slot);
	pthread_mutex_unlock(&records->map_lock);
	return *slot != NONE;
}
