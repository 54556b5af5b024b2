/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Scanning all records, nearest first, without keeping them all.
 *
 * A pass asks the graph for the nearest records that were not returned yet;
 * they are handed out one by one; then comes another pass, which asks for more.
 * So a client that wants ten rows costs one walk and little memory.  The second pass, or
 * the first of a scan that goes on where another has ended, begins a walk that the later
 * ones go on with (HnswCursor), until slots are given up between two of them: then another
 * begins.  When the walk so far costs not much less than comparing the query with every
 * vector, as with a few thousand records, or late in a scan, passes do that instead; and a
 * scan ends when a pass has left nothing out (rule R1).
 *
 * At emit each candidate is checked against the map: one that was superseded is
 * replaced by its current version with its distance, never just dropped (law
 * S5).
 *
 * With a predicate a pass searches among the members of a set, and then measures what
 * came since that was made (filters.c).  A walk goes on as long as the next pass finds the
 * same set; of what came late a pass takes what is as near as what it has come to, and the
 * last one the rest.  What is handed out is held against the
 * predicate itself, current versions of superseded candidates too.
 *
 * Between two calls a scan holds no slot: candidates carry copies of their ids,
 * and (slot, version) says whether one is still what it was, as long as no record
 * was moved since; then the map is asked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* qsort_r */
#endif
#include "scan.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "filters.h"
#include "idset.h"
#include "tune.h"
#include "wire/wire.h"

#define KEEP_GROWS 4

/*
 * A walk keeps its candidates in one ordered array: beyond so many, scan.  Up to there
 * each costs about the same, 1 us with 128 dimensions in codes among 300 000 records,
 * where a scan takes 24 ms.
 */
#define WALK_MAX 16384

/*
 * A walk computes about so many distances for each record it keeps, and each
 * waits for memory; a scan streams through all of them.  In units of what it
 * takes to compare one more dimension.  A scan misses nothing, so it may cost
 * some tens of microseconds more: measured at the limit (100 kept) 80 us
 * against 23 with 4 dimensions, 70 against 48 with 64, 180 against 96 with 784.
 */
#define WALK_DISTANCES 12
#define WALK_WAIT 128
#define SCAN_WAIT 32

/* What a search that names a recall keeps until it is known how much that takes. */
#define EF_UNKNOWN 200

/* Room for records that come while a pass looks. */
#define SPARE 64

typedef struct Candidate
{
	double		distance;
	uint64_t	version;		/* 0 = died while it was found */
	uint64_t	moves;			/* records_moves() of before that was read */
	uint32_t	slot;
	uint32_t	id_len;
	size_t		id_at;			/* in ids */
} Candidate;

struct RecordScan
{
	Records    *records;
	void	   *query;
	uint32_t	ef;
	bool		exact;
	Predicate  *predicate;		/* NULL: all records */
	IdSet		seen;			/* excluded, or returned */
	HnswCost	cost;

	/* What the last pass found, nearest first, from at on */
	Candidate  *found;
	uint32_t	n;
	uint32_t	at;
	uint32_t	keep;			/* at most so many in a pass */
	bool		all;			/* the last pass left nothing out */
	bool		walked;			/* some pass was a walk */
	bool		reads_on;		/* more than a beginning is wanted */
	HnswCursor *cursor;			/* NULL, or it rests: the walk of the passes after the first */
	uint64_t	cursor_set;		/* number of the set it is among; 0 = among all */
	HnswCost	cursor_cost;	/* of its last pass */
	bool		(*stop) (void *arg);
	void	   *stop_arg;
	bool		stopped;

	/* Replacements of superseded candidates; few */
	Candidate  *late;
	size_t		nlate;
	size_t		late_room;

	Buf			ids;			/* of found and late */
};

/* By distance, NaN last; then by id. */
static int
compare(double a, Bytes a_id, double b, Bytes b_id)
{
	bool		a_nan = a != a;
	bool		b_nan = b != b;

	if (a_nan != b_nan)
		return a_nan ? 1 : -1;
	if (!a_nan && a != b)
		return a < b ? -1 : 1;
	return bytes_compare(a_id, b_id);
}

static Bytes
id_of(const RecordScan *scan, const Candidate *c)
{
	return bytes_of(scan->ids.data + c->id_at, c->id_len);
}

static int
compare_candidates(const RecordScan *scan, const Candidate *a, const Candidate *b)
{
	return compare(a->distance, id_of(scan, a), b->distance, id_of(scan, b));
}

/* -- A pass ---------------------------------------------------------------- */

static bool
is_new(void *arg, uint64_t label, uint32_t slot)
{
	const RecordScan *scan = (const RecordScan *) arg;

	(void) label;
	return !idset_has(&scan->seen, records_slot_id(scan->records, slot));
}

static int
candidate_sorter(const void *a, const void *b, void *scan)
{
	return compare_candidates((const RecordScan *) scan, (const Candidate *) a, (const Candidate *) b);
}

/* Labels order ids by their first bytes only: put ties between longer ones right. */
static void
settle_ties(RecordScan *scan)
{
	for (uint32_t i = 1; i < scan->n; i++)
		if (compare_candidates(scan, &scan->found[i - 1], &scan->found[i]) > 0)
		{
			qsort_r(scan->found, scan->n, sizeof(Candidate), candidate_sorter, scan);
			return;
		}
}

bool
scan_is_better(uint64_t live, uint32_t dim, uint64_t keep, uint32_t ef)
{
	uint64_t	kept = keep > ef ? keep : ef;

	return kept > WALK_MAX || live * (SCAN_WAIT + dim) <= WALK_DISTANCES * kept * (WALK_WAIT + dim);
}

/* Dimensions that a vector counts as there: bits are compared 32 at a time. */
static uint32_t
compared(const Records *records)
{
	return records_element(records) == VEC_BIT ? records_dim(records) / 32 : records_dim(records);
}

static int
hit_sorter(const void *pa, const void *pb)
{
	const HnswHit *a = (const HnswHit *) pa;
	const HnswHit *b = (const HnswHit *) pb;
	bool		a_nan = a->distance != a->distance;
	bool		b_nan = b->distance != b->distance;

	if (a_nan != b_nan)
		return a_nan ? 1 : -1;
	if (!a_nan && a->distance != b->distance)
		return a->distance < b->distance ? -1 : 1;
	if (a->label != b->label)
		return a->label < b->label ? -1 : 1;
	return a->slot < b->slot ? -1 : a->slot > b->slot;
}

/* Those that came late are hits, too; unless these hits are all, only if they are nearer than the last. */
static void
add_late(RecordScan *scan, FilterSet *filter, HnswHit **hits, HnswCost *cost)
{
	const Hnsw *graph = records_graph(scan->records);
	uint32_t	nlate;
	uint32_t   *late = filter_late(scan->records, filter, &nlate);
	HnswHit		last;

	if (nlate == 0)
	{
		free(late);
		return;
	}
	if (!scan->all)
		last = (*hits)[scan->n - 1];
	*hits = vt_realloc(*hits, sizeof(HnswHit) * (scan->n + nlate));
	for (uint32_t i = 0; i < nlate; i++)
	{
		uint32_t	slot = late[i];
		HnswHit		hit;

		if (scan->seen.n > 0 && !is_new(scan, 0, slot))
			continue;
		cost->distances++;
		hit = (HnswHit) {hnsw_distance(graph, scan->query, slot), hnsw_label(graph, slot), slot};
		if (scan->all || hit_sorter(&hit, &last) < 0)
			(*hits)[scan->n++] = hit;
	}
	free(late);
	qsort(*hits, scan->n, sizeof(HnswHit), hit_sorter);
}

/* Does what lies in a slot pass?  Under a guard. */
static bool
slot_passes(const RecordScan *scan, uint32_t slot)
{
	WireAttributes attributes;

	if (!scan->predicate)
		return true;
	records_slot_attributes(scan->records, slot, &attributes);
	return predicate_passes(scan->predicate, &attributes);
}

/* Copy what is needed of hits beyond the guard. */
static void
take_hits(RecordScan *scan, const HnswHit *hits, uint64_t moves)
{
	Records    *records = scan->records;
	uint32_t	n = 0;

	buf_clear(&scan->ids);
	scan->found = vt_realloc(scan->found, sizeof(Candidate) * (scan->n + 1));
	for (uint32_t i = 0; i < scan->n; i++)
	{
		Candidate  *c = &scan->found[n];
		Bytes		id = records_slot_id(records, hits[i].slot);

		if (!slot_passes(scan, hits[i].slot))
			continue;
		n++;
		c->distance = hits[i].distance;
		c->slot = hits[i].slot;
		c->moves = moves;
		c->version = records_slot_version(records, c->slot);
		c->id_at = scan->ids.len;
		c->id_len = (uint32_t) id.len;
		buf_put(&scan->ids, id.data, id.len);
	}
	scan->n = n;
}

/* What a pass found: copies of it, in order.  Inside the guard of before. */
static void
take_pass(RecordScan *scan, const HnswCost *cost, const HnswHit *hits, uint64_t moves)
{
	scan->stopped = scan->stop && scan->stop(scan->stop_arg);
	scan->at = 0;
	scan->nlate = 0;
	scan->cost.distances += cost->distances;
	scan->cost.refined += cost->refined;
	scan->cost.hops += cost->hops;
	take_hits(scan, hits, moves);
	settle_ties(scan);
}

/* A search, among so many: the members of a set and what came late, or all (NULL). */
static void
search_pass(RecordScan *scan, FilterSet *filter, uint64_t live, uint32_t keep, bool exact)
{
	Records    *records = scan->records;
	HnswHit    *hits = vt_alloc(sizeof(HnswHit) * keep);
	HnswCost	cost = {0};
	HnswSearch	search = {
		.query = scan->query,
		.k = keep,
		.ef = scan->ef,
		.set = filter ? filter_set(filter) : NULL,
		.filter = scan->seen.n > 0 ? is_new : NULL,
		.filter_arg = scan,
		.passes = scan->seen.n < live ? 1 - (double) scan->seen.n / (double) live : 0,
		.cost = &cost,
		.stop = scan->stop,
		.stop_arg = scan->stop_arg,
	};
	uint32_t	entered = records_enter(records);
	uint64_t	moves = records_moves(records);

	scan->n = exact ? hnsw_scan_exact(records_graph(records), &search, hits) :
		hnsw_search(records_graph(records), &search, hits);
	scan->all = scan->n < keep;
	if (filter)
		add_late(scan, filter, &hits, &cost);
	if (scan->n > keep)
	{
		scan->n = keep;
		scan->all = false;
	}
	records_count_pass(records, &cost, exact);
	take_pass(scan, &cost, hits, moves);
	records_leave(records, entered);
	free(hits);
}

/*
 * The next `keep` of a walk that goes on; one that begins if there is none, or none
 * that can go on.  What it has left out when it ends came after it had begun.
 *
 * Among all it passes by what has come before.  Among the members of a set that would be
 * a second condition, so there the first pass has that once more, and it is dropped when
 * it is handed out.
 */
static void
cursor_pass(RecordScan *scan, FilterSet *filter, uint32_t keep)
{
	Records    *records = scan->records;
	uint64_t	number = filter ? filter_number(filter) : 0;
	uint32_t	again = filter ? scan->seen.n : 0;
	HnswHit    *hits;
	HnswSearch	search = {
		.query = scan->query,
		.ef = scan->ef,
		.set = filter ? filter_set(filter) : NULL,
		.filter = filter ? NULL : is_new,
		.filter_arg = scan,
		.cost = &scan->cursor_cost,
		.stop = scan->stop,
		.stop_arg = scan->stop_arg,
	};
	uint32_t	entered = records_enter(records);
	uint64_t	moves = records_moves(records);
	bool		goes_on = scan->cursor && scan->cursor_set == number && hnsw_cursor_wake(scan->cursor);

	scan->cursor_cost = (HnswCost) {0};
	if (!goes_on)
	{
		keep += again;
		search.k = keep;
		hnsw_cursor_close(scan->cursor);
		scan->cursor = hnsw_cursor_open(records_graph(records), &search);
		scan->cursor_set = number;
	}
	hits = vt_alloc(sizeof(HnswHit) * keep);
	scan->n = hnsw_cursor_next(scan->cursor, hits, keep);
	scan->all = scan->n < keep;
	hnsw_cursor_rest(scan->cursor);
	if (filter)
		add_late(scan, filter, &hits, &scan->cursor_cost);
	if (goes_on)
		records_count_more(records, &scan->cursor_cost);
	else
		records_count_pass(records, &scan->cursor_cost, false);
	take_pass(scan, &scan->cursor_cost, hits, moves);
	records_leave(records, entered);
	free(hits);
}

static void
pass(RecordScan *scan)
{
	Records    *records = scan->records;
	uint64_t	all = records_count(records);
	uint64_t	live = all;
	bool		goes_on = scan->reads_on;
	FilterSet  *filter = NULL;
	uint32_t	keep;
	bool		exact;

	if (scan->predicate)
	{
		filter = filters_take(records, scan->predicate, scan->stop, scan->stop_arg);
		if (!filter)
		{
			scan->stopped = true;
			return;
		}
		live = hnsw_set_size(filter_set(filter));
	}
	keep = scan->keep < live + SPARE ? scan->keep : (uint32_t) live + SPARE;
	exact = scan->exact || scan_is_better(all, compared(records), keep + (goes_on ? scan->seen.n : 0), scan->ef);
	if (goes_on && !exact)
		cursor_pass(scan, filter, keep);
	else
	{
		hnsw_cursor_close(scan->cursor);
		scan->cursor = NULL;
		search_pass(scan, filter, live, keep, exact);
	}
	scan->walked |= !exact;
	scan->reads_on |= !exact;
	if (filter)
		filters_give(records, filter);
}

/* -- Handing out ----------------------------------------------------------- */

RecordScan *
record_scan_open(Records *records, const RecordScanOptions *options)
{
	RecordScan *scan = vt_alloc0(sizeof(RecordScan));
	uint32_t	dim = records_dim(records);
	size_t		at = 0;
	Bytes		id;

	scan->records = records;
	scan->exact = options->exact;
	scan->predicate = options->predicate ? predicate_share(options->predicate) : NULL;
	scan->stop = options->stop;
	scan->stop_arg = options->stop_arg;
	scan->keep = options->expected > 0 ? options->expected : 1;
	scan->ef = options->ef;
	if (options->recall > 0 && (scan->ef = tune_ef(records_tune(records), scan->keep, options->recall)) == 0)
		scan->ef = EF_UNKNOWN;
	if (scan->ef > HNSW_MAX_EF)
		scan->ef = HNSW_MAX_EF;
	scan->query = vt_alloc(vec_given_bytes(records_element(records), dim));
	vector_take(scan->query, options->query, dim, records_element(records) == VEC_BIT ? VEC_BIT : VEC_FLOAT32);
	while (wire_id_next(options->excluded, &at, &id))
		idset_add(&scan->seen, id);
	scan->reads_on = scan->seen.n > 0;
	pass(scan);
	return scan;
}

/* Put the current version of a superseded candidate among the late ones. */
static void
replace(RecordScan *scan, const Candidate *stale)
{
	Candidate	now = *stale;
	uint32_t	entered = records_enter(scan->records);
	bool		live;

	now.moves = records_moves(scan->records);
	live = records_find(scan->records, id_of(scan, stale), &now.slot, &now.version);

	/* The same version in another place is as near as it was. */
	if (live && now.version != stale->version)
	{
		scan->cost.refined++;
		now.distance = hnsw_distance(records_graph(scan->records), scan->query, now.slot);
	}
	live = live && (slot_passes(scan, now.slot) || vt_broken("R6-current"));
	records_leave(scan->records, entered);
	if (!live || vt_broken("S5-replace"))
		return;
	if (scan->nlate == scan->late_room)
	{
		scan->late_room = scan->late_room ? scan->late_room * 2 : 16;
		scan->late = vt_realloc(scan->late, sizeof(Candidate) * scan->late_room);
	}
	scan->late[scan->nlate++] = now;
}

/* Take the nearest of what is in hand; false = nothing is. */
static bool
take(RecordScan *scan, Candidate *out)
{
	size_t		best = scan->nlate;

	for (size_t i = 0; i < scan->nlate; i++)
		if (best == scan->nlate || compare_candidates(scan, &scan->late[i], &scan->late[best]) < 0)
			best = i;
	if (best < scan->nlate &&
		(scan->at == scan->n || compare_candidates(scan, &scan->late[best], &scan->found[scan->at]) < 0))
	{
		*out = scan->late[best];
		scan->late[best] = scan->late[--scan->nlate];
		return true;
	}
	if (scan->at == scan->n)
		return false;
	*out = scan->found[scan->at++];
	return true;
}

/* Is it still what it was when it was found? */
static bool
is_current(const RecordScan *scan, const Candidate *c)
{
	return c->version != 0 && records_slot_version(scan->records, c->slot) == c->version &&
		records_moves(scan->records) == c->moves;
}

bool
record_scan_next(RecordScan *scan, double *distance, uint64_t *version, Bytes *id)
{
	Candidate	c;

	while (!scan->stopped)
	{
		while (take(scan, &c))
		{
			if (!is_current(scan, &c))
			{
				replace(scan, &c);
				continue;
			}
			if (!idset_add(&scan->seen, id_of(scan, &c)))
				continue;
			*distance = c.distance;
			*version = c.version;
			*id = id_of(scan, &c);
			return true;
		}
		if (scan->all)
			return false;
		scan->keep = scan->keep > UINT32_MAX / KEEP_GROWS ? UINT32_MAX : scan->keep * KEEP_GROWS;
		pass(scan);
	}
	return false;
}

bool
record_scan_stopped(const RecordScan *scan)
{
	return scan->stopped;
}

const HnswCost *
record_scan_cost(const RecordScan *scan)
{
	return &scan->cost;
}

bool
record_scan_is_exact(const RecordScan *scan)
{
	return !scan->walked;
}

size_t
record_scan_bytes(const RecordScan *scan)
{
	return sizeof(RecordScan) + vec_given_bytes(records_element(scan->records), records_dim(scan->records)) + sizeof(Candidate) * (scan->n + scan->late_room) +
		scan->ids.size + scan->seen.bytes.size + sizeof(IdSetEntry) * scan->seen.size +
		(scan->cursor ? hnsw_cursor_bytes(scan->cursor) : 0);
}

void
record_scan_close(RecordScan *scan)
{
	if (!scan)
		return;
	hnsw_cursor_close(scan->cursor);
	idset_free(&scan->seen);
	buf_free(&scan->ids);
	predicate_free(scan->predicate);
	free(scan->found);
	free(scan->late);
	free(scan->query);
	free(scan);
}
