/*-------------------------------------------------------------------------
 *
 * session_facts.h
 *	  Private to worker: the facts of sessions on disk, each with the index of the
 *	  entry that made it.
 *
 *	   s <session> e		the entry that ended it
 *	   s <session> l		as of the last checkpoint: settled, log time of its last use
 *	   s <session> o		log time when it was opened; <session> is that entry's index
 *	   s <session> r <seq>	a command that was done: index, settled, log time, interval
 *	   t <index>			log time, set by the entry at index
 *	   h <index>			sessions as a split at index left them, for the child
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_SESSION_FACTS_H
#define WORKER_SESSION_FACTS_H

#include "sessions.h"

#define SESSION_FORMAT 1

/* A fact as it is read. */
typedef struct SessionFact
{
	uint64_t	session;
	char		kind;
	uint64_t	index;			/* of the entry it is of; l: 0 */
	uint64_t	settled;		/* l, r */
	uint64_t	used;			/* l, o, r */
	SessionDone done;			/* r */
} SessionFact;

/* False: damaged, or of a newer version. */
extern bool session_fact_get(Bytes key, Bytes value, SessionFact *out);
extern VtStatus session_fact_damaged(VtError *err);

extern void session_fact_done(StoreBatch *batch, uint64_t session, const SessionDone *done, uint64_t settled,
							  uint64_t used);

/* Of kind o, e and l; b is l's alone. */
extern void session_fact_numbers(StoreBatch *batch, uint64_t session, char kind, uint64_t a, uint64_t b);
extern void session_fact_time(StoreBatch *batch, uint64_t index, uint64_t time);

#endif							/* WORKER_SESSION_FACTS_H */
