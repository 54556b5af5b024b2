/*-------------------------------------------------------------------------
 *
 * hnsw_owner.h
 *	  A graph and who owns it: he knows, as a caller does, which label is in which slot,
 *	  and moves it when he is asked to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_OWNER_H
#define HNSW_OWNER_H

#include "hnsw_given.h"

#include <pthread.h>

#define LABELS 6000
#define NOWHERE UINT32_MAX

typedef struct Owner
{
	Hnsw	   *h;
	pthread_mutex_t lock;
	uint32_t	slot_of[LABELS];
	uint32_t	row_of[LABELS];	/* of the version that lives */
	bool		refuse;
} Owner;

static inline bool
on_move(void *arg, uint32_t from, uint32_t to)
{
	Owner	   *owner = arg;
	uint64_t	label = hnsw_label(owner->h, from);
	bool		live;

	pthread_mutex_lock(&owner->lock);
	live = !owner->refuse && label < LABELS && owner->slot_of[label] == from;
	if (live)
	{
		hnsw_move(owner->h, from, to);
		owner->slot_of[label] = to;
	}
	pthread_mutex_unlock(&owner->lock);
	return live;
}

/* -- Given ----------------------------------------------------------------- */

static inline Owner *
owner_new(uint32_t dim, uint32_t m, HnswCodes codes)
{
	Owner	   *owner = calloc(1, sizeof(*owner));
	HnswOptions options = {
		.dim = dim, .metric = VEC_L2, .m = m, .ef_construction = 60, .codes = codes, .seed = 7,
		.move = on_move, .move_arg = owner
	};
	VtError		err;

	assert_non_null(owner);
	pthread_mutex_init(&owner->lock, NULL);
	memset(owner->slot_of, 0xff, sizeof(owner->slot_of));
	assert_int_equal(hnsw_create(&options, &owner->h, &err), VT_OK);
	return owner;
}

static inline void
owner_free(Owner *owner)
{
	hnsw_destroy(owner->h);
	pthread_mutex_destroy(&owner->lock);
	free(owner);
}

/* A label gets this row, its first or another. */
static inline void
put(Owner *owner, uint32_t label, uint32_t row, const float *vector)
{
	uint32_t	slot;
	VtError		err;

	assert_int_equal(hnsw_reserve(owner->h, &slot, &err), VT_OK);
	pthread_mutex_lock(&owner->lock);
	if (owner->slot_of[label] == NOWHERE)
		hnsw_add(owner->h, slot, label, vector);
	else
		hnsw_replace(owner->h, owner->slot_of[label], slot, label, vector);
	owner->slot_of[label] = slot;
	owner->row_of[label] = row;
	pthread_mutex_unlock(&owner->lock);
}

static inline void
drop(Owner *owner, uint32_t label)
{
	pthread_mutex_lock(&owner->lock);
	assert_true(hnsw_delete(owner->h, owner->slot_of[label]));
	owner->slot_of[label] = NOWHERE;
	pthread_mutex_unlock(&owner->lock);
}

static inline void
mend(Owner *owner)
{
	while (hnsw_repair(owner->h, 200, false))
		;
}

static inline uint64_t
used(const Owner *owner)
{
	HnswStats	stats;

	hnsw_stats(owner->h, &stats);
	return stats.used;
}

/* Is so little free, when so many live and all that died is mended, that no memory has to go back? */
static inline bool
is_tight(const Owner *owner, uint64_t live)
{
	uint64_t	all = used(owner);

	return all < live + HNSW_SPARE_LEAST || (all - live) * HNSW_SPARE_SHARE < all;
}

static inline bool
is_label(void *arg, uint64_t label, uint32_t slot)
{
	(void) slot;
	return label == *(uint32_t *) arg;
}

/* -- Then ------------------------------------------------------------------ */

/* Every label is in the graph once and in its own slot, or not at all. */
static inline void
assert_all_there(Owner *owner, const float *rows, uint32_t dim, uint32_t labels)
{
	float	   *vector = malloc(sizeof(float) * dim);

	assert_non_null(vector);
	for (uint32_t label = 0; label < labels; label++)
	{
		HnswHit		hits[2];
		HnswSearch	s = {.query = rows, .k = 2, .ef = 10, .filter = is_label, .filter_arg = &label};
		uint32_t	n = hnsw_search(owner->h, &s, hits);

		assert_int_equal(n, owner->slot_of[label] != NOWHERE);
		if (n > 0)
		{
			assert_int_equal(hits[0].slot, owner->slot_of[label]);
			hnsw_read_vector(owner->h, hits[0].slot, vector);
			assert_memory_equal(vector, rows + (size_t) owner->row_of[label] * dim, sizeof(float) * dim);
		}
	}
	free(vector);
}

#endif							/* HNSW_OWNER_H */
