/*-------------------------------------------------------------------------
 *
 * pd.h
 *	  The placement driver: who holds what.
 *
 * vectron-pd keeps a catalog (stores, leases, collections with their shards)
 * as the state machine of a Raft group and answers the control plane's
 * questions, which docs/wire.md lists.  One service thread decides everything,
 * one command at a time; a question that has to wait for a worker's report is
 * parked, not blocked on.
 *
 * One driver is a group of one.  Three or five found their group together, when
 * each has heard from all; one that comes with an empty directory afterwards is
 * another driver, which waits to be added.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_H
#define PD_H

#include "base/status.h"
#include "labels.h"
#include "net/net.h"
#include "replica/replica.h"

typedef struct Pd Pd;

typedef struct PdOptions
{
	const char *listen;			/* endpoint */
	const char *expose;			/* a second endpoint, for others than our own machine; NULL = none */
	const char *advertise;		/* where the others find it; NULL: expose, or listen */
	const char *peers;			/* those of the other drivers, separated by commas */
	uint64_t	boot_epoch;
	int64_t		keep_dropped_us;	/* how long a dropped collection can come back */
	int64_t		lease_us;		/* silence after which another may go on as a server */
	int64_t		down_after_us;	/* silence after which a store's replicas are replaced */
	int64_t		verify_us;		/* after which a shard's replicas are compared again; 0 = never */
	uint32_t	default_replicas;	/* of a collection that wants no number */
	uint32_t	replicas_max;	/* never more than this */
	Spread		spread;			/* keys of labels that replicas are spread over */
	uint32_t	search_replicas;	/* learners of a shard on workers for searches only */
	uint32_t	moves;			/* changes of replicas under way at once; 0: 64, or one for each store */
	uint32_t	store_moves;	/* replicas on their way to one store; 0: 2, or 8 small ones */
	int64_t		plan_timeout_us;	/* without progress, then a change of replicas is given up; 0 = never */
	bool		balance;		/* move what is fine where it is, so that all have the same */
	uint64_t	split_rows;		/* a shard with more is split; 0 = never for that */
	uint64_t	split_bytes;	/* the same, where half of it could go elsewhere */
	uint32_t	page_rows;		/* in one answer, of what comes in pages; 0: 8 192 */
	uint64_t	checkpoint_bytes;	/* of the log, before a checkpoint cuts it */
	NetTls	   *tls;			/* for tcp; NULL = none; the caller's */
} PdOptions;

#define PD_DRIVERS_MAX 5
#define PD_VERSION "1.0"

/*
 * The stores stay the caller's and outlive the PD.  A driver that is alone is
 * ready to decide when this returns; others may still look for each other.
 */
extern VtStatus pd_start(Store *log, Store *rows, const PdOptions *options, Pd **out, VtError *err);
extern void pd_stop(Pd *pd);

/* Certificates may have changed: read them again, and have everybody come anew. */
extern void pd_reload(void *pd);

#endif							/* PD_H */
