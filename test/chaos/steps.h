/*-------------------------------------------------------------------------
 *
 * steps.h
 *	  A client of the load, and what it does: steps.c, compare.c and recall.c through SQL, once.c at
 *	  the door of src/client.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CHAOS_STEPS_H
#define CHAOS_STEPS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/prng.h"
#include "load.h"

typedef enum Kind
{
	KIND_WRITE,
	KIND_GET,
	KIND_SEARCH,
	KIND_MANY,					/* several searches in one statement */
	KIND_COMPARE,				/* all that an index has, beside the table */
	KIND_VACUUM,
	KIND_ONCE,					/* writes and reads of a collection */
	KIND_LOOK,
	KINDS
} Kind;

typedef struct Once Once;

typedef struct LoadClient
{
	const LoadOptions *options;
	int			number;			/* 0: the one that vacuums */
	PGconn	   *db;
	Once	   *once;			/* not NULL: it has no other work */
	Prng		prng;
	FILE	   *history;
	int64_t		versions;
	int64_t		first_row;		/* rows first_row .. next_row - 1 are its own; some were deleted */
	int64_t		next_row;
	int64_t		base_rows;		/* rows of the beginning */

	/* What came of it */
	uint64_t	done[KINDS];
	uint64_t	failed[KINDS];
	int64_t		slowest_ns[KINDS];
	uint64_t	unknown;
	uint64_t	wrong;
	uint64_t	behind;
	atomic_int	read_timeout_ms;	/* of the session, and so of what it does now; 0: not set yet */
	pthread_t	thread;
} LoadClient;

/* What all clients know, and tell. */
typedef struct LoadNow
{
	atomic_bool stopping;
	atomic_ullong operations;
	atomic_llong slowest_read_ns;
	atomic_int	read_timeout_ms;
} LoadNow;

extern LoadNow load_now;
extern const char *const kind_names[KINDS];

/* One statement, drawn; or VACUUM and a pause. */
extern void one_operation(LoadClient *c);
extern void vacuum(LoadClient *c);

/* compare.c */
extern void search_many(LoadClient *c);
extern void compare(LoadClient *c);

/* recall.c: a row of r gets another entry; the table and its index, false: told; recall, printed (see load.c). */
extern void recall_touch(LoadClient *c);
extern bool recall_fill(PGconn *db);
extern int	recall_measure(const char *conninfo, int queries);

/* What came of a statement; it is counted, and a failure noted in the history. */
typedef enum Outcome
{
	OUTCOME_DONE,
	OUTCOME_FAILED,				/* and undone */
	OUTCOME_UNKNOWN
} Outcome;

extern Outcome step_outcome(LoadClient *c, PGresult *result, Kind kind, int64_t begin);

/*
 * A question to an index, with parameters until the first NULL.  Where all were behind the mark it is asked again;
 * who asks in a transaction, which is lost then, does that himself as long as step_is_behind.
 */
extern PGresult *step_ask(LoadClient *c, const char *sql, const char *one, const char *two, const char *three);
extern bool step_is_behind(const LoadClient *c, const PGresult *result, int64_t begin);

/*
 * The collection, which a table of the server names; what a run knows of it, and one
 * write or read.  NULL and false: told on stderr.
 */
extern bool once_create(PGconn *db, const char *pd);
extern Once *once_open(PGconn *db, const char *pd, uint32_t run);
extern void once_close(Once *once);
extern void once_operation(LoadClient *c);

#endif							/* CHAOS_STEPS_H */
