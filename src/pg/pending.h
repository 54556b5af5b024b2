/*-------------------------------------------------------------------------
 *
 * pending.h
 *	  Private to pending.c and send.c: entries of a transaction on their way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_PENDING_H
#define VECTRON_PENDING_H

#include "index.h"

typedef struct PendingEntry
{
	ItemPointerData tid;
	SubTransactionId subid;
	uint64		stamp;			/* fence it will be sent with */
	bool		validating;		/* of a tuple of another, committed transaction */
	bool		done;			/* acknowledged */
	uint8	   *vector;			/* dim floats, or bits, of its group; in pending_context */
	Bytes		attributes;		/* right behind the vector */
} PendingEntry;

/* All entries of one generation. */
typedef struct PendingGroup
{
	VtId		generation;		/* hash key */

	/* Where it goes */
	WireOwner	owner;
	Oid			index;			/* to look again, or to mark it stale */
	Oid			heap;
	uint32		dim;
	VecMetric	metric;
	VecElement	element;

	/* What it holds, in the order of insertion */
	PendingEntry *entries;
	int			n;
	int			room;
} PendingGroup;

/* send.c */
extern void pending_send(PendingGroup *group, XLogRecPtr lsn, int64_t deadline, bool at_end);

#endif							/* VECTRON_PENDING_H */
