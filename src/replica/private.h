/*-------------------------------------------------------------------------
 *
 * private.h
 *	  What host.c, group.c and apply.c share.
 *
 * Locks, in the order they may be taken: host->step_lock; host->inbox_lock;
 * replica->lock; host->writer_lock; host->apply_lock.  None but the step lock is
 * held while a core is stepped or a done callback runs, and none at all while
 * LevelDB is called.
 *
 *-------------------------------------------------------------------------
 */
#ifndef REPLICA_PRIVATE_H
#define REPLICA_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "replica/replica.h"

/* What the cores are told. */
typedef enum EventKind
{
	EVENT_PROPOSE,
	EVENT_READ,
	EVENT_PERSISTED,			/* number = seq */
	EVENT_APPLIED,				/* number = index */
	EVENT_CHECKPOINTED,			/* number = index */
	EVENT_BASE_DURABLE,			/* number = index */
	EVENT_OPEN,
	EVENT_CLOSE
} EventKind;

typedef struct Event
{
	struct Event *next;
	EventKind	kind;
	Replica    *replica;
	uint64_t	number;
	RaftBuf    *command;		/* PROPOSE */
	ReplicaDone done;
	void	   *arg;
} Event;

/* A proposal or read that waits for its index. */
typedef struct Waiter
{
	struct Waiter *next;
	uint64_t	index;
	uint64_t	term;			/* proposals; 0 for reads */
	uint32_t	bytes;
	ReplicaDone done;
	void	   *arg;
} Waiter;

/* A committed entry on its way to the state machine. */
typedef struct ApplyItem
{
	struct ApplyItem *next;
	uint64_t	index;
	uint64_t	term;
	uint8_t		type;
	uint32_t	size;
	RaftBuf    *data;			/* NULL: empty, or to be read from the log */
} ApplyItem;

/* One group's share of a write cycle. */
typedef struct WriteJob
{
	struct WriteJob *next;
	Replica    *replica;
	StoreBatch *batch;
	uint64_t	seq;			/* 0: not a Ready */
	uint64_t	base;			/* durable afterwards; 0: none */
	bool	   *finished;		/* somebody waits on writer_done, or NULL */
} WriteJob;

struct Replica
{
	ReplicaHost *host;
	Replica    *next;			/* in host->replicas; the stepper's */
	uint64_t	group;
	uint64_t	id;
	ReplicaMachine machine;

	/* The stepper's */
	Raft	   *raft;
	uint64_t	stored_last;	/* highest index in the store */
	uint64_t	stored_base;	/* L keys up to here are gone or going */
	uint64_t	log_bytes;		/* written since the last checkpoint */
	bool		checkpointing;
	bool		dirty;
	bool		gone;			/* being destroyed: nothing of it is written any more */
	Waiter	   *asked;			/* reads the core has not answered, oldest first */
	Waiter	  **asked_end;

	/* Published by the stepper and the apply threads */
	atomic_uint_fast64_t applied;
	atomic_uint_fast64_t term;
	atomic_uint_fast64_t serving_from;	/* first index of this leader's term; 0 = not leader */
	atomic_bool sole_voter;

	/* Protected by lock */
	pthread_mutex_t lock;
	pthread_cond_t idle;		/* apply has let go of a closed replica */
	Waiter	   *proposals;		/* in order of index */
	Waiter	  **proposals_end;
	Waiter	   *reads;
	ApplyItem  *items;
	ApplyItem **items_end;
	bool		queued;			/* in the run queue, or being applied */
	bool		closed;

	/* In the run queue; host->apply_lock */
	Replica    *run_next;
};

struct ReplicaHost
{
	Store	   *log;
	ReplicaHostOptions options;
	RaftAllocator allocator;
	atomic_uint_fast64_t inflight_bytes;

	/* Events that no stepper has taken yet */
	pthread_mutex_t inbox_lock;
	pthread_cond_t stop_asked;
	Event	   *inbox;
	Event	  **inbox_end;
	bool		stopping;		/* the raft thread shall end */

	/* The stepper's: whoever holds the lock */
	pthread_mutex_t step_lock;
	bool		stopped;		/* no core is stepped any more */
	Replica    *replicas;
	uint64_t	seeds;

	/* The writer */
	pthread_mutex_t writer_lock;
	pthread_cond_t writer_ready;
	pthread_cond_t writer_done;
	WriteJob   *jobs;
	WriteJob  **jobs_end;
	bool		writer_stop;

	/* The apply threads */
	pthread_mutex_t apply_lock;
	pthread_cond_t apply_ready;
	Replica    *run;
	Replica   **run_end;
	bool		apply_stop;

	/* The io thread: replicas that want a checkpoint */
	pthread_mutex_t io_lock;
	pthread_cond_t io_ready;
	pthread_cond_t io_idle;
	Replica   **io_queue;
	size_t		io_n;
	size_t		io_room;
	Replica    *io_busy;
	bool		io_stop;

	pthread_t	raft_thread;
	pthread_t	writer_thread;
	pthread_t	io_thread;
	pthread_t  *apply_pool;
};

/* A failure that must stop the process (laws S4, P8). */
extern void host_die(const char *doing, const VtError *err) __attribute__((noreturn));

/* Tell the cores something, and step them unless another thread does. */
extern void host_event(ReplicaHost *host, EventKind kind, Replica *replica, uint64_t number);
extern void step_all(ReplicaHost *host);
extern void host_write(ReplicaHost *host, WriteJob *job);
extern void host_run(ReplicaHost *host, Replica *replica);

/* group.c, with the step lock held */
extern void group_handle(Replica *replica, Event *event);
extern void group_duties(Replica *replica);
extern void group_fail_waiters(Replica *replica, VtStatus status, bool all);
extern void group_fail_asked(Replica *replica, VtStatus status);

/* apply.c */
extern void *apply_main(void *host);
extern void apply_reads(Replica *replica, uint64_t applied);
extern void *io_main(void *host);
extern void io_ask(ReplicaHost *host, Replica *replica);

#endif							/* REPLICA_PRIVATE_H */
