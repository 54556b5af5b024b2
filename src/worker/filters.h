/*-------------------------------------------------------------------------
 *
 * filters.h
 *	  Private to worker: which records pass a predicate, kept for searches to come.
 *
 * Whoever searches with a predicate takes the set that belongs to it, searches the
 * graph among its members, and afterwards looks at those that came late: records
 * that pass and were put, or moved, since the set was made.  filters.c says why nothing
 * is missed.  Sets are kept for the next search with the same predicate, as far as
 * there is memory for them, until much has changed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_FILTERS_H
#define WORKER_FILTERS_H

#include "hnsw/hnsw.h"
#include "predicate.h"

struct Records;

typedef struct Filters Filters;
typedef struct FilterSet FilterSet;

extern Filters *filters_new(void);
extern void filters_close(struct Records *records);	/* nobody has a set */

/* -- Searching: any thread ------------------------------------------------- */

/*
 * Make the set of a predicate, or find it made.  Give it back.  stop is asked now and
 * then while it is made, NULL = never: NULL when it said yes.  A set of which half was
 * made by then is made all the same, for whoever comes next.
 */
extern FilterSet *filters_take(struct Records *records, Predicate *predicate, bool (*stop) (void *arg), void *arg);
extern void filters_give(struct Records *records, FilterSet *filter);

/* For HnswSearch.set. */
extern const HnswSet *filter_set(const FilterSet *filter);

/* One that no other set of these records has; never 0. */
extern uint64_t filter_number(const FilterSet *filter);

/* Those that came late and live, after the set was searched; free() them. */
extern uint32_t *filter_late(struct Records *records, FilterSet *filter, uint32_t *n);

/* Now and then: close what is too old, or has not been used for long.  False: there is nothing that could become so. */
extern bool filters_trim(struct Records *records);

/* -- Changing records: within their map_lock --------------------------------- */

/* A slot is about to be published; its attributes are in the columns. */
extern void filters_note(struct Records *records, uint32_t slot);

/* So many have died. */
extern void filters_died(struct Records *records, uint64_t n);

/* -- For tests --------------------------------------------------------------- */

typedef struct FilterFigures
{
	uint32_t	sets;			/* that the next search may find */
	uint64_t	made;
	uint64_t	found;
	uint64_t	asked;			/* late slots that a predicate was asked about */
	uint64_t	journal;		/* slots there is room for */
} FilterFigures;

extern FilterFigures filters_figures(struct Records *records);

#endif							/* WORKER_FILTERS_H */
