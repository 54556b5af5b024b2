/*-------------------------------------------------------------------------
 *
 * records_inside.h
 *	  Private to records.c and records_file.c: how records lie in memory.
 *
 * The graph hands out slots and says when one may be used again; a head for
 * each lies here (chunks.h), and its attributes in columns where there are some.  The
 * id map is an open-addressing table from id to the slot of its newest version.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_RECORDS_INSIDE_H
#define WORKER_RECORDS_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "chunks.h"
#include "columns.h"
#include "filters.h"
#include "records.h"
#include "tune.h"

#define MAP_FIRST 1024
#define MAP_FULL(size) ((size) / 4 * 3)	/* with so many entries it grows: 5 to 16 bytes a record */
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
	Tune	   *tune;
	float	   *vector;			/* of the apply thread: dim floats, aligned */
	atomic_uint_fast64_t live;
	atomic_uint_fast64_t changes;	/* puts and deletes */
	atomic_uint_fast64_t moves;
	atomic_llong graph_bytes;
	atomic_llong own_bytes;

	atomic_uint_fast64_t stats[RECORD_STATS];	/* times in nanoseconds */

	_Atomic(Head *) chunks[CHUNKS];
	uint32_t	nheads;			/* slots seen so far; the apply thread's */
	Columns    *columns;		/* NULL: there are no attributes */
	Filters    *filters;		/* ... and so no sets */

	/* The map; changed by the apply thread, and by compaction */
	pthread_mutex_t map_lock;
	uint32_t   *map;			/* slot, NONE or MAP_DEAD */
	uint32_t	map_size;		/* a power of two */
	uint32_t	map_used;		/* entries, dead marks included */
	uint32_t	map_made;		/* how often the table was made anew */

	/*
	 * While a file is loaded: the version that it gives a slot, 0 where a row has
	 * claimed it or none may.  What may be claimed is in the map, one slot for an id,
	 * and counted in live.
	 */
	uint64_t   *claims;
	uint32_t	nclaims;
};

static inline Head *
head_of(const Records *records, uint32_t slot)
{
	int			k = chunk_of(slot);

	return atomic_load_explicit(&records->chunks[k], memory_order_acquire) + chunk_place(k, slot);
}

static inline Bytes
id_of(const Head *head)
{
	return bytes_of(head->id_len > ID_INLINE ? head->id.elsewhere : head->id.here, head->id_len);
}

/* Ids in their order give labels in their order; equal ones when they begin alike. */
static inline uint64_t
label_of(Bytes id)
{
	uint8_t		first[8] = {0};

	memcpy(first, id.data, id.len < sizeof(first) ? id.len : sizeof(first));
	return get_be64(first);
}

/* Without a graph yet; and what the graph is to be like. */
extern Records *records_make(const RecordsOptions *options);
extern HnswOptions records_graph_options(Records *records);

/* Position of an id in the map; *place is where it would be put. */
extern uint32_t records_map_find(const Records *records, Bytes id, uint32_t *place);

/* A table with room, without dead marks. */
extern void records_map_grow(Records *records);

/* There is a head for this slot from now on; under map_lock once there are other threads. */
extern void records_head_make(Records *records, uint32_t slot);

/* The head of a slot that was just reserved, with its id. */
extern Head *records_head_fill(Records *records, uint32_t slot, Bytes id);

/* Into records->vector, aligned. */
extern const void *records_read_vector(Records *records, const uint8_t *vector);

/* Decode a record's attributes and keep them with its slot, which is not published yet. */
extern void records_take_attributes(Records *records, uint32_t slot, Bytes encoded);

#endif							/* WORKER_RECORDS_INSIDE_H */
