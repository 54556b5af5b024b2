/*-------------------------------------------------------------------------
 *
 * hnsw.h
 *	  Nearest neighbours in memory: a graph that is searched while it grows.
 *
 * Conventions
 *
 * 1. A *slot* is one version of one vector: dense, uint32_t, below
 *	  HNSW_MAX_SLOTS.  Its vector and label are written once, before anybody can
 *	  find it, and never change.  The *label* is the caller's; nothing is
 *	  assumed about it but that equal distances are ordered by it.
 * 2. The life of a slot:
 *
 *		free -> reserved -> added -> linked
 *					|		  |        |
 *					|		  +--------+--> dead --> (grace) --> free
 *					+--> free (given back)
 *
 *	  An *added* slot is found by every search that begins afterwards: searches
 *	  scan the waiting slots exactly, then walk the graph.  Linking moves it into
 *	  the graph; it is found at every moment in between.  Whoever adds should see
 *	  to it that the queue stays short (HnswStats.waiting).
 *	  Compaction (HnswOptions.move) is a replacement by the same vector in another
 *	  slot.
 * 3. What a search returns.  Every hit was live at some moment of the search.
 *	  A vector that was live from before the search until after it is never lost
 *	  because of what other threads do.  One that is replaced meanwhile
 *	  (hnsw_replace) comes once, in its old version or in its new one, with the
 *	  distance of the version that comes.  What is added meanwhile does not come.
 * 4. Threads.  Every function may be called by any thread at any time, but for
 *	  hnsw_create, hnsw_destroy and hnsw_check (graph at rest), and a cursor is
 *	  used by one thread at a time.  Searches and cursors take no lock.
 * 5. Slots seen in hits are not used again before the guard under which they
 *	  were seen is left (hnsw_enter).  A cursor is a guard of its own.
 * 6. Distances in hits are those of vec_distance(), hits are ordered by
 *	  (distance, label, slot); NaN comes last.  Walks use faster numbers.
 * 7. Vectors are dim finite floats; the caller has checked that.  A graph may keep
 *	  them in halves (HnswOptions.element): then the caller has checked that they
 *	  fit (vec_to_half), each is rounded to the nearest, and what is said of a
 *	  vector, distances too, is said of the rounded one.  Queries are not rounded.
 *	  With codes alone (HNSW_CODES_INT8_ONLY) what is said of a vector, distances too,
 *	  is said of the numbers that its codes stand for: each is off by at most half of
 *	  a 255th of the range of the vector's numbers.  Halves are not made of it then.
 *	  A graph of VEC_BIT is of bit strings as vec.h says, checked by the caller likewise
 *	  (vec_bits_valid); vectors and queries are such strings where `void` stands, and
 *	  walks go by exact distances.
 * 8. A graph of no dimensions is a table of slots, for records that have no vectors:
 *	  all of the above holds but that nothing is searched for (by no function that takes
 *	  a query) or tried.  Nothing waits there, or is linked, and what dies is free after its
 *	  grace; but what a file had and nobody restores is mended away, as in others.  Where a vector is passed there, any pointer will do.
 * 9. Memory: sizes follow from options the caller has validated; what can fail
 *	  for lack of memory fails in hnsw_reserve.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_H
#define HNSW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "vec/vec.h"

#define HNSW_MAX_SLOTS (UINT32_C(1) << 30)
#define HNSW_NO_SLOT UINT32_MAX
#define HNSW_MIN_M 2
#define HNSW_MAX_M 128
#define HNSW_MAX_EF 100000

/* Memory of free slots is given back when one of so many is free, and so many are. */
#define HNSW_SPARE_SHARE 5
#define HNSW_SPARE_LEAST 1024

typedef struct Hnsw Hnsw;
typedef struct HnswCursor HnswCursor;
typedef struct HnswSet HnswSet;

/* On disk one day: never renumber. */
typedef enum HnswCodes
{
	HNSW_CODES_NONE = 0,		/* walk on the vectors; bits have no other */
	HNSW_CODES_INT8 = 1,		/* walk on 8-bit codes, refine on the vectors */
	HNSW_CODES_INT8_ONLY = 2	/* the vectors are not kept: codes are all there is */
} HnswCodes;

typedef struct HnswOptions
{
	uint32_t	dim;			/* 1 to vec_max_dim(); 0 = no vectors, of float32 without codes */
	VecMetric	metric;			/* vec_metric_fits() the element */
	uint32_t	m;				/* links per node above the ground level, twice that on it */
	uint32_t	ef_construction;	/* candidates looked at when linking; at least m is used */
	HnswCodes	codes;
	VecElement	element;		/* what vectors are kept in, if they are; 0 = VEC_FLOAT32 */
	uint32_t	max_slots;		/* hnsw_reserve says VT_FULL beyond; 0 = HNSW_MAX_SLOTS */
	uint64_t	seed;			/* levels are a function of (seed, label) */

	/*
	 * A folder: vectors lie in a mapped file there, that has no name and is gone with
	 * the graph, and memory is needed for those in use only.  For HNSW_CODES_INT8.
	 * hnsw_reserve says VT_FULL when the disk is.  NULL: in memory.
	 */
	const char *vectors;

	/* Told of every change of the memory held, in bytes; NULL = nobody. */
	void		(*account) (void *arg, int64_t bytes);
	void	   *account_arg;

	/*
	 * Compaction.  When a fifth of the slots is free (HNSW_SPARE_SHARE), and
	 * HNSW_SPARE_LEAST of them are, hnsw_repair moves what lies in the last
	 * ones down and gives the memory behind back; fewer stay as they are.  For
	 * each it asks the caller, who makes sure that nobody deletes or replaces
	 * `from` meanwhile, notes beside `to`, a reserved slot, whatever belongs to
	 * `from`, and calls hnsw_move; or, when `from` has died, says false.
	 * Searches, guards and cursors go on.  NULL = never.
	 */
	bool		(*move) (void *arg, uint32_t from, uint32_t to);
	void	   *move_arg;
} HnswOptions;

/* VT_INVALID with a sentence when an option is out of range. */
extern VtStatus hnsw_create(const HnswOptions *options, Hnsw **h, VtError *err);
extern void hnsw_destroy(Hnsw *h);	/* NULL is fine; no cursor or guard may be left */

/* -- Changing -------------------------------------------------------------- */

/*
 * A free slot, for the caller alone, to note beside it whatever belongs to it.
 * VT_FULL, VT_NOMEM.
 */
extern VtStatus hnsw_reserve(Hnsw *h, uint32_t *slot, VtError *err);
extern void hnsw_unreserve(Hnsw *h, uint32_t slot);

/* Publish a reserved slot: from now on it is found.  The vector is copied. */
extern void hnsw_add(Hnsw *h, uint32_t slot, uint64_t label, const void *vector);

/*
 * Publish a reserved slot as the new version of a live one, which dies: a
 * search sees one of the two.  Two threads may not replace or delete the same
 * slot at once.
 */
extern void hnsw_replace(Hnsw *h, uint32_t old, uint32_t slot, uint64_t label,
						 const void *vector);

/* Within HnswOptions.move: `to` is what `from` was, which dies. */
extern void hnsw_move(Hnsw *h, uint32_t from, uint32_t to);

/* A live slot dies.  False: it was not live. */
extern bool hnsw_delete(Hnsw *h, uint32_t slot);

/*
 * Take the slot that has waited longest into the graph; costs about what two
 * to five searches with ef_construction do.  False: none waits.  Slots that
 * died while waiting are passed over.
 */
extern bool hnsw_link_next(Hnsw *h);

/*
 * How a slot was taken into a graph, by the slots of that graph: enough for
 * another one that has the same vectors to take its own in without looking for neighbours.
 * Of lists: that of the highest level first, the ground's last, and in each the
 * neighbours that the slot was linked to.  Their own lists took it in (entered), and gave
 * up so many others for it, which are in `dropped`, one neighbour's after the other's.
 */
#define HNSW_LISTS_MAX 31

typedef struct HnswLink
{
	uint32_t	slot;
	uint16_t	ndropped;
	bool		entered;
} HnswLink;

typedef struct HnswFound
{
	uint32_t	twin;			/* it hangs behind this one, whose vector is equal, and has no lists; HNSW_NO_SLOT: it is a node */
	uint32_t	nlists;
	uint32_t	n[HNSW_LISTS_MAX];	/* neighbours in each */
	HnswLink   *links;			/* of all lists; these two are malloc'd */
	uint32_t   *dropped;
	uint32_t	nlinks;
	uint32_t	ndropped;
	uint32_t	links_room;
	uint32_t	dropped_room;
} HnswFound;

extern void hnsw_found_begin(HnswFound *found); /* empty; a zeroed one, or one that was used before */
extern void hnsw_found_list(HnswFound *found);	/* a list more; what follows is in it */
extern void hnsw_found_link(HnswFound *found, uint32_t slot, bool entered);
extern void hnsw_found_drop(HnswFound *found, uint32_t slot);	/* by the last neighbour */
extern void hnsw_found_free(HnswFound *found);

/* Who is asked while a slot is linked, all in a guard.  Functions may be NULL: nobody asks, or wants to know. */
typedef enum HnswAdvice
{
	HNSW_ALONE,					/* look for its neighbours */
	HNSW_FOUND,					/* they were found elsewhere: find() has them */
	HNSW_WAIT					/* they are about to be: leave it for now */
} HnswAdvice;

typedef struct HnswHelp
{
	/* What is known of the slot whose turn it is; with the graph's lock: it must be short, and call nothing here */
	HnswAdvice	(*ask) (void *arg, uint32_t slot);

	/*
	 * In this graph's slots, or HNSW_NO_SLOT for what is not here; any others are checked.  False:
	 * nothing after all.
	 */
	bool		(*find) (void *arg, uint32_t slot, HnswFound *found);

	/* Its neighbours were looked for, and found; before it has left the queue */
	void		(*found) (void *arg, uint32_t slot, const HnswFound *found);
	void	   *arg;
} HnswHelp;

typedef enum HnswNext
{
	HNSW_NONE_WAITS,
	HNSW_LINKED,
	HNSW_LEFT					/* ask() wants to wait for the one whose turn it is */
} HnswNext;

/*
 * hnsw_link_next() with help.  What is said to have been found is advice: what is no node
 * here, or dead, is left out, where too little is left its neighbours are looked for, and now and
 * then they are in any case, to learn what searches need.  The worst that wrong advice does is that
 * walks are longer, and find less.
 */
extern HnswNext hnsw_link_next_with(Hnsw *h, const HnswHelp *help);

/* The slot that has waited longest and is not linked yet, under a guard; HNSW_NO_SLOT: none waits. */
extern uint32_t hnsw_oldest_waiting(Hnsw *h);

/*
 * Repair the graph around dead slots and make them free again, link once more
 * what no walk comes to, and give memory back, of the queue and of slots (HnswOptions.move); at most about `steps` nodes mended in this
 * call, or eight times as many looked at; false: nothing is left to do now.  One thread at a time does it, others
 * get false.  Begins when the share of dead slots is worth a pass (or any is,
 * with `eager`), or when the graph has grown enough, by a little only after a rest;
 * never necessary for right results, but by and by walks find more.
 */
extern bool hnsw_repair(Hnsw *h, uint32_t steps, bool eager);

/*
 * Have hnsw_repair() look the whole graph over, while others search and link: what no
 * walk comes to is linked again, links to what is no node are cut.  What it finds is in
 * the figures when `looks` has grown.
 */
extern void hnsw_look_over(Hnsw *h);

/* -- Looking --------------------------------------------------------------- */

/*
 * Between enter and leave no slot that can still be found is used again.
 * Guards are cheap; a long one only delays reuse.
 */
extern uint32_t hnsw_enter(Hnsw *h);
extern void hnsw_leave(Hnsw *h, uint32_t guard);

/* Of a slot that is added or linked, dead or not, under a guard. */
extern void hnsw_read_vector(const Hnsw *h, uint32_t slot, void *out);	/* dim floats, or bits */
extern double hnsw_distance(const Hnsw *h, const void *query, uint32_t slot);	/* vec_distance() */
extern uint64_t hnsw_label(const Hnsw *h, uint32_t slot);
extern bool hnsw_live(const Hnsw *h, uint32_t slot);

typedef struct HnswHit
{
	double		distance;		/* vec_distance(metric, query, vector) */
	uint64_t	label;
	uint32_t	slot;
} HnswHit;

/* What a search cost, added up by the functions that take one. */
typedef struct HnswCost
{
	uint64_t	distances;		/* vectors or codes compared while walking or scanning */
	uint64_t	refined;		/* exact distances computed at the end */
	uint64_t	hops;			/* nodes whose links were read */
	uint64_t	exact;			/* times everything that passes was measured instead */
	uint64_t	looked;			/* slots a filter or set was asked about on the way to others */
	uint64_t	waiting;		/* of the distances: to what waits to be linked */
	uint64_t	asked;			/* calls of the filter */

	/* Nanoseconds of the clock; a cursor's walk_ns is with its exact distances */
	uint64_t	walk_ns;		/* from the beginning to the neighbourhood */
	uint64_t	waiting_ns;		/* comparing with what waits */
	uint64_t	refine_ns;		/* exact distances at the end */
	uint64_t	exact_ns;		/* measuring everything that passes */
	uint64_t	filter_ns;		/* within these: in the filter, told from one call of 64 */
} HnswCost;

/*
 * May this slot be a hit?  Called by the searching thread, for some slots more
 * than once, in no order.
 */
typedef bool (*HnswFilter) (void *arg, uint64_t label, uint32_t slot);

typedef struct HnswSearch
{
	const void *query;			/* dim floats, or bits; a cursor copies them */
	uint32_t	k;				/* hits wanted; for a cursor, a hint */
	uint32_t	ef;				/* candidates to walk with, on the average; at least k is used */
	HnswFilter	filter;			/* NULL = all pass */
	void	   *filter_arg;
	double		passes;			/* the share of slots that the filter lets pass, about; 0 = not known: it is
								 * asked about some hundred slots first */
	HnswCost   *cost;			/* may be NULL */
	const HnswSet *set;			/* only its members, of those only what passes; NULL = all */

	/*
	 * Asked now and then: true ends it, and what is returned means nothing.  NULL =
	 * never.  A walk of less than a thousand nodes is over before it asks.  A cursor asks
	 * until it is closed; one that was told to end can only be closed.
	 */
	bool		(*stop) (void *arg);
	void	   *stop_arg;
} HnswSearch;

/*
 * Slots that may be hits, for one search or many: costs a search far less than
 * a filter, and says how few they are, so that a search can choose its way.
 *
 * One thread fills a set, before any search uses it.  A set is a guard of its
 * own: close it before long.  It names versions; one that supersedes a member
 * later stands for it, with its own distance, but walks look for it where the
 * member was: one that has moved far may be missed by them until the set is made anew.
 *
 * Memory: a bit for each slot; once a search has walked, another; and from the
 * second search that measured all members on, where that takes no more than 4 MiB,
 * a copy of what it reads of them, made piece by piece, so that later ones read it
 * in one stream.
 * Counted in HnswStats.bytes, gone with the set.
 */
extern HnswSet *hnsw_set_open(Hnsw *h);

/*
 * One that shares the guard of another, which is open: for who keeps many, since every
 * search and every link steps over each guard.  What the other keeps from being used
 * again is kept until both are closed.
 */
extern HnswSet *hnsw_set_open_beside(const HnswSet *other);
extern void hnsw_set_close(HnswSet *set);

/* A slot seen under a guard that is entered still, or under the set's own. */
extern void hnsw_set_add(HnswSet *set, uint32_t slot);

/* Every live slot that passes. */
extern void hnsw_set_add_passing(HnswSet *set, HnswFilter filter, void *arg);

/*
 * All members of an empty set at once: n words of a bit for each slot, from `first`
 * on, a multiple of 64, are asked for until there are no more slots, and those slots
 * become members that live.  Such members stand alone: what supersedes one does not
 * come in its place, and the caller looks for it by itself.
 */
typedef void (*HnswWords) (void *arg, uint32_t first, uint32_t n, uint64_t *out);
extern void hnsw_set_fill(HnswSet *set, HnswWords words, void *arg);

/* No member after all; before any search. */
extern void hnsw_set_remove(HnswSet *set, uint32_t slot);
extern uint32_t hnsw_set_size(const HnswSet *set);

/* Memory that it will take at most. */
extern size_t hnsw_set_bytes(const HnswSet *set);

/*
 * The k nearest, about: hits has room for k.  Returns how many, fewer than k
 * only when no more were live and passed.
 */
extern uint32_t hnsw_search(Hnsw *h, const HnswSearch *search, HnswHit *hits);

/*
 * The ef with which searches for k, 1 to HNSW_MAX_EF / 10, find this share of the
 * true neighbours, on the average of queries that are like the vectors: tried
 * with some of them.  Takes as long as a few thousand searches; the answer holds
 * until the number of vectors, or what they are like, has changed by a third or
 * so.  More than 8 k, and than 600, is never said to be needed.
 */
extern uint32_t hnsw_calibrate(Hnsw *h, uint32_t k, double recall);

/*
 * The same a search at a time, and for every recall at once: what is found with
 * which ef.  One thread at a time goes on with a trial.
 */
#define HNSW_CURVE_POINTS 16

typedef struct HnswCurve
{
	uint32_t	k;
	uint32_t	n;				/* points; 0 = the graph had no vectors */
	uint32_t	ef[HNSW_CURVE_POINTS];	/* rising */
	float		recall[HNSW_CURVE_POINTS];	/* what is found with it, on the careful side */
} HnswCurve;

typedef struct HnswTrial HnswTrial;

extern HnswTrial *hnsw_trial_begin(Hnsw *h, uint32_t k);
extern bool hnsw_trial_go_on(HnswTrial *trial);	/* false: that was the last search */
extern void hnsw_trial_end(HnswTrial *trial, HnswCurve *curve);	/* curve may be NULL, and trial */

/* The ef for a recall; of a curve with points. */
extern uint32_t hnsw_curve_ef(const HnswCurve *curve, double recall);

/* The k nearest, exactly: compares the query with every live vector. */
extern uint32_t hnsw_scan_exact(Hnsw *h, const HnswSearch *search, HnswHit *hits);

/*
 * A search that goes on.  Each call of next returns the next n hits or fewer,
 * ordered within the call, none twice.  Fewer than n are returned only when
 * everything has come that was live all the time and passes: read to its end,
 * a cursor returns it all.  From call to call the order is that of the walk: a
 * later hit can be nearer than an earlier one.
 *
 * A cursor holds about n / 6 bytes for a graph of n slots and 8 for each that it has
 * measured and not returned, and keeps slots that die from being used again until it is
 * closed, or rests.
 *
 * One among the members of a set wants it open whenever it is asked; when that has been
 * closed while it rested, all that is left is to close it.
 */
extern HnswCursor *hnsw_cursor_open(Hnsw *h, const HnswSearch *search);
extern uint32_t hnsw_cursor_next(HnswCursor *cursor, HnswHit *hits, uint32_t n);
extern void hnsw_cursor_close(HnswCursor *cursor);

/* What it takes, which is not in HnswStats.bytes: it goes with whoever reads. */
extern size_t hnsw_cursor_bytes(const HnswCursor *cursor);

/*
 * Between two calls of next, for whoever does not know when the next one comes: a
 * cursor that rests holds nothing back.
 * False from hnsw_cursor_wake(): some slot has been given up since it was opened, so it
 * may know one that is another by now, and all that is left is to close it.
 */
extern void hnsw_cursor_rest(HnswCursor *cursor);
extern bool hnsw_cursor_wake(HnswCursor *cursor);

/* -- Files ----------------------------------------------------------------- */

/*
 * A file keeps who is linked to whom, so that a graph need not be built anew.
 * There are no vectors in it; whoever loads it brings them.
 *
 * Saving: any thread, while others search and change the graph; one at a time for
 * a path.  In the file is what was in the graph when the part of it was written:
 * each slot at one moment between begin and end, with its label and note of that
 * moment; what still waited is not, nor what was linked since the save began, of
 * which only a part may be led to by others: whoever loads the file has it linked
 * again.  Written to path and HNSW_SAVE_SUFFIX, synced,
 * renamed: under its name the file is whole or not there.
 */
#define HNSW_SAVE_SUFFIX ".new"

typedef struct HnswSave
{
	const char *path;
	Bytes		tag;			/* whose graph it is; 256 bytes at most */
	uint64_t	seed;			/* of the graph that is to be loaded from it; 0 = this one's */

	/*
	 * Append the note that is to be kept with a live slot: what tells its vector
	 * when it is loaded.  False: it counts as dead.
	 */
	bool		(*note) (void *arg, uint32_t slot, Buf *out);

	/* Before the next so many bytes are written; may take its time.  False: give up. */
	bool		(*pace) (void *arg, size_t bytes);
	void	   *arg;
} HnswSave;

/* VT_IO, VT_CANCELLED; the file that was there before is there still. */
extern VtStatus hnsw_save(Hnsw *h, const HnswSave *save, VtError *err);

typedef struct HnswLoad
{
	const char *path;
	Bytes		tag;

	/* A slot that lived, in order of slots; false: this cannot be, refuse the file. */
	bool		(*each) (void *arg, uint32_t slot, uint64_t label, Bytes note);
	void	   *arg;
} HnswLoad;

/*
 * Make a graph from a file.  Then hnsw_restore() those that each() was told of and
 * that are still to live, with their vectors; then hnsw_loaded(), and what was not
 * restored is dead and will be mended around.  Until then the graph is one thread's,
 * who may add others meanwhile, but not link, mend, delete or search.
 *
 * The file may hold anything: what passes its checksums becomes a graph that is as
 * it should be, even if it were made to do harm, and leads to what was restored.
 * VT_NOT_FOUND; VT_CORRUPT; VT_VERSION; VT_INVALID: of a graph with another tag or
 * other options; VT_NOMEM, VT_IO.
 */
extern VtStatus hnsw_load(const HnswOptions *options, const HnswLoad *load, Hnsw **h, VtError *err);
extern void hnsw_restore(Hnsw *h, uint32_t slot, const void *vector);
extern void hnsw_loaded(Hnsw *h);

/* -- Knowing --------------------------------------------------------------- */

typedef struct HnswStats
{
	uint64_t	live;			/* added or linked, not dead */
	uint64_t	waiting;		/* added, not yet in the graph */
	uint64_t	linked;			/* in the graph, dead ones included */
	uint64_t	dead;			/* not yet free again */
	uint64_t	free;			/* slots to use again */
	uint64_t	used;			/* slots there is memory for; falls by compaction only */
	uint64_t	bytes;			/* memory in use for slots, links, codes, queues and sets */
	uint64_t	mapped;			/* of the file for vectors */
	uint64_t	bytes_reserved; /* mapped for them, in part not yet touched */
	uint64_t	link_distances; /* vectors compared while linking */
	uint64_t	found;			/* slots linked by what was found elsewhere (hnsw_link_next_with) */
	uint64_t	repaired;		/* nodes a repair has given other links, or links to them */
	uint64_t	moved;			/* slots by compaction */
	int			levels;			/* 0 = empty graph */
	uint64_t	looks;			/* passes over all nodes that came to their end; the last of them ... */
	uint64_t	unreachable;	/* ... could not lead to so many live ones, */
	uint64_t	broken_links;	/* and cut so many links that led to none: damage */
} HnswStats;

/* Slots added that are not in the graph yet; takes no lock. */
extern uint64_t hnsw_waiting(const Hnsw *h);

/* Numbers of about now; other threads may be at work. */
extern void hnsw_stats(const Hnsw *h, HnswStats *stats);

typedef struct HnswReport
{
	uint64_t	nodes;			/* linked, not dead */
	uint64_t	links;			/* on the ground level */
	uint64_t	unreachable;	/* live and linked, but no walk from the entry finds it */
	uint64_t	no_inlink;		/* live and linked, nobody's neighbour */
	char		first[200];		/* what is wrong, the first of it; empty = nothing */
} HnswReport;

/*
 * Is the graph what it should be?  Nobody may change it meanwhile.  False: a
 * rule is broken, report->first says which.  Unreachable nodes break no rule,
 * they are counted.
 */
extern bool hnsw_check(const Hnsw *h, HnswReport *report);

/* Which instructions the walk uses: "plain", "avx2", "avx512", "avx512vnni". */
extern const char *hnsw_cpu_name(void);

#endif							/* HNSW_H */
