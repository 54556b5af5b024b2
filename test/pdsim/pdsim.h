/*-------------------------------------------------------------------------
 *
 * pdsim.h
 *	  A simulator of the placement driver's scheduling.
 *
 * The driver's own code runs here: catalog, what it hears, plans, balance,
 * handovers, tasks.  Around it are models: workers that beat, with messages that
 * are late, lost or doubled; Raft groups reduced to who is a member, who leads and
 * who has the log; snapshots that take the time their bytes need.  Time is a queue
 * of events, so that a thousand workers and a hundred thousand shards can be run
 * for hours.
 *
 *	   world.c	 time, the driver, the network
 *	   groups.c	 Raft groups and what stores hold
 *	   splits.c	 groups that are split in two
 *	   reign.c	 what a new leader has to read
 *	   beats.c	 heartbeats and tasks
 *	   watch.c	 what must hold at each step and in the end; traces and figures
 *	   twin.c	 what the driver sees at a glance, seen slowly
 *	   script.c	 scenarios: a line a command, and what is expected of it
 *
 *-------------------------------------------------------------------------
 */
#ifndef PDSIM_H
#define PDSIM_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/pd/service.h"
#include "base/prng.h"

#define SECOND INT64_C(1000000)

/* A replica as its store has it. */
typedef struct SimReplica
{
	uint64_t	shard;
	uint64_t	replica;
	uint64_t	conf_index;		/* newest it has heard of */
	int64_t		ready_us;		/* when it has the log; INT64_MAX: nobody sends it */
	uint64_t	told;			/* digest of what the driver was told of it; 0 = nothing */
	uint64_t	saying;			/* in the heartbeat that waits */
	bool		owes;			/* its group's child is not settled yet */
	bool		evened;			/* it was made here for evenness */
	uint64_t	searched_us;	/* time of processors that its searches have taken, until then */
	int64_t		searched_at;
} SimReplica;

typedef struct SimStore
{
	uint64_t	id;				/* 0 = not registered yet */
	VtId		data_id;
	char		endpoint[64];
	char		labels[LABELS_MAX];
	bool		search_only;
	bool		alive;
	int			slow;			/* everything takes so many times as long */
	bool		stuck;			/* nothing comes to new replicas */
	int64_t		died_us;
	int64_t		period_us;		/* flapping: up and down for so long each; 0 = it does not */

	SimReplica *replicas;
	size_t		n;
	size_t		room;
	IdMap		at;				/* shard: place among them */
	IdMap		dead;			/* replicas that were deleted here, and are made no more */

	uint64_t   *dropped;		/* shards deleted here, for the driver to hear */
	size_t		ndropped;
	size_t		dropped_said;	/* in the heartbeat that waits */
	uint64_t   *lost;			/* shards it has no more, since all was told */
	size_t		nlost;
	size_t		lost_said;		/* in the heartbeat that waits */
	bool		says;			/* that one has a list */
	bool		waits;			/* it has none until the driver asks for all */

	/* Heartbeats */
	uint64_t	changes;		/* of what it would say; its digest */
	uint64_t	told;			/* when it was told last */
	uint64_t	said;			/* in the heartbeat that waits */
	int64_t		whole_us;		/* when all was told last */
	uint64_t	letter;			/* number of the heartbeat that waits for an answer */
	int64_t		parked_until;	/* it is with the driver; 0 = it is not */
	uint64_t	parked;
	bool		untold;			/* it waits until the driver asks it for all */
} SimStore;

typedef struct SimGroup
{
	uint64_t	shard;
	uint64_t	bytes;
	uint64_t	rate;			/* writes a second */
	double		searches;		/* processors in all; its replicas share them out */
	int64_t		since_us;		/* last was `last` then */
	uint64_t	last;
	uint64_t	conf_index;
	uint32_t	n;
	WireReplica members[WIRE_REPLICAS_MAX];
	bool		joint;
	uint32_t	nnext;
	WireReplica next[WIRE_REPLICAS_MAX];
	uint64_t	leader;			/* replica; 0 = none */
	uint64_t	leads;			/* its store */
	uint64_t	term;
	WireShardDesc child;		/* that was split off it last */

	uint32_t	handed;			/* handovers since the last "measure" */

	/* As watch.c has seen it last */
	PlanKind	plan;
	uint64_t	add_store;
	uint64_t	led_by;
} SimGroup;

typedef enum SimEventKind
{
	EVENT_BEAT,					/* a store sends one */
	EVENT_ARRIVES,				/* one comes to the driver */
	EVENT_ANSWER,				/* its answer comes to the store */
	EVENT_TIMEOUT,				/* nothing came */
	EVENT_UNPARK,				/* the driver has kept one for long enough */
	EVENT_ELECT,
	EVENT_JOINT_END,
	EVENT_READY,				/* a replica has the log */
	EVENT_FLAP,
	EVENT_LOOK					/* the driver looks around */
} SimEventKind;

typedef struct SimEvent
{
	int64_t		at_us;
	uint64_t	order;			/* among those of one moment */
	SimEventKind kind;
	uint32_t	store;			/* place among the stores */
	uint64_t	id;				/* shard, or number of a letter */
	json_t	   *body;			/* owned */
} SimEvent;

typedef enum SimLook
{
	LOOK_PLANS,
	LOOK_BALANCE,
	LOOK_REST,
	LOOKS
} SimLook;

/* What the run has cost, and how long the driver has thought. */
typedef struct SimFigures
{
	uint64_t	created;
	uint64_t	dropped;
	uint64_t	changes;		/* of members */
	uint64_t	transfers;
	uint64_t	again;			/* what was moved for evenness is moved once more for it */
	uint64_t	moved_bytes;
	uint64_t	commits;
	uint64_t	beats;
	uint64_t	full_beats;
	uint64_t	rows;			/* in heartbeats */
	uint64_t	plans[PLAN_KINDS];
	uint64_t	splits;
	uint32_t	most_plans;
	uint32_t	most_arriving;

	/* Time of the processor */
	double		look_s[LOOKS];
	double		look_most_s[LOOKS];
	double		commit_s;		/* of them */
	uint64_t	looks;			/* that did something */
	double		beat_s;
} SimFigures;

typedef struct Sim
{
	Prng		prng;
	int64_t		now;
	Pd			pd;
	Store	   *rows;
	uint64_t	index;
	SimStore   *stores;
	size_t		nstores;
	IdMap		store_at;		/* id: place among them */
	SimGroup   *groups;
	size_t		ngroups;
	uint64_t	heaviest;		/* of them, bytes */
	IdMap		group_at;		/* shard: place among them */
	SimEvent   *heap;
	size_t		nheap;
	size_t		heap_room;
	uint64_t	order;

	/* How it is */
	uint32_t	loss;			/* of 100 letters */
	uint32_t	doubled;		/* the same */
	int64_t		delay_us;		/* of a letter, at most */
	int64_t		wait_us;		/* how long the driver may keep a heartbeat */
	uint64_t	bandwidth;		/* of a snapshot, bytes a second */
	PdOptions	options;
	char		directory[64];

	uint64_t	decisions;		/* digest of what a trace would have, of a wide run */
	SimFigures	figures;
	SimFigures	base;			/* as of the last "measure" */
	int64_t		measured_us;
	FILE	   *trace;			/* NULL: none is kept */
	bool		verbose;
	bool		hot;			/* something is written to or searched */
	const char *scenario;
} Sim;

/* world.c */
extern void sim_begin(Sim *sim, const char *scenario, uint64_t seed);
extern void sim_open(Sim *sim);	/* the driver, when options are set */
extern void sim_end(Sim *sim);
extern void sim_new_driver(Sim *sim);	/* another one leads from now on */
extern void sim_run(Sim *sim, int64_t us);
extern void sim_at(Sim *sim, int64_t at_us, SimEventKind kind, uint32_t store, uint64_t id, json_t *body);
extern void sim_send(Sim *sim, SimEventKind kind, uint32_t store, uint64_t id, json_t *body);
extern VtStatus sim_commit(Pd *pd, Buf *command);
extern double sim_clock(void);
extern void sim_fail(Sim *sim, const char *format,...) __attribute__((format(printf, 2, 3), noreturn));

/* groups.c */
extern SimStore *sim_add_store(Sim *sim, const char *labels, bool search_only);
extern SimStore *sim_store(Sim *sim, uint64_t id);
extern SimGroup *sim_group(Sim *sim, uint64_t shard);
extern SimReplica *sim_replica(SimStore *store, uint64_t shard);
extern SimReplica *sim_live(Sim *sim, uint64_t shard, const WireReplica *member);
extern uint64_t sim_last(const Sim *sim, const SimGroup *group);
extern uint64_t sim_match(const Sim *sim, const SimGroup *group, const SimReplica *replica);
extern void sim_found(Sim *sim, const CatalogCollection *c, uint64_t low, uint64_t high);
extern double sim_share(Sim *sim, const SimGroup *group);	/* of searches, for each replica that answers */
extern SimReplica *sim_make_replica(Sim *sim, SimStore *store, uint64_t shard, uint64_t replica);
extern void sim_lose_replica(SimStore *store, uint64_t shard);
extern uint32_t sim_live_voters(Sim *sim, uint64_t shard, const WireReplica *members, uint32_t n, uint32_t *voters);
extern void sim_store_dies(Sim *sim, SimStore *store);
extern void sim_store_lives(Sim *sim, SimStore *store);
extern void sim_store_wiped(Sim *sim, SimStore *store);
extern void sim_elect(Sim *sim, SimGroup *group);
extern void sim_leader_is_gone(Sim *sim, SimGroup *group);
extern void sim_change(Sim *sim, SimStore *store, SimGroup *group, json_t *task);
extern void sim_joint_end(Sim *sim, SimGroup *group);
extern void sim_transfer(Sim *sim, SimStore *store, SimGroup *group, uint64_t replica);
extern void sim_touch(Sim *sim, SimGroup *group); /* its leader has something new to say */
extern SimGroup *sim_add_group(Sim *sim, uint64_t shard, uint64_t bytes);

extern SimGroup *sim_add_group(Sim *sim, uint64_t shard, uint64_t bytes);

/* splits.c */
extern void sim_split(Sim *sim, SimStore *store, uint64_t shard, json_t *task);
extern void sim_settle_split(SimStore *store, uint64_t shard, json_t *task);
extern json_t *sim_owes(const SimGroup *group, const SimReplica *r);

/* beats.c */
extern void sim_beat(Sim *sim, uint32_t store);
extern json_t *sim_say_all(Sim *sim, SimStore *store);	/* as a heartbeat to who knows nothing */
extern void sim_beat_arrives(Sim *sim, uint32_t store, uint64_t letter, json_t *body);
extern void sim_answer(Sim *sim, uint32_t store, uint64_t letter, json_t *body);
extern void sim_no_answer(Sim *sim, uint32_t store, uint64_t letter);
extern void sim_look_at_parked(Sim *sim);
extern void sim_unpark(Sim *sim, uint32_t store, uint64_t letter);

/* reign.c */
extern void sim_reign(Sim *sim);

/* watch.c */
extern void watch_change(Sim *sim, SimGroup *group);
extern void watch_step(Sim *sim);	/* limits, traces */
extern bool watch_settled(Sim *sim, bool say);	/* nothing is under way and nothing missing */
extern void watch_even(Sim *sim, double tolerance);
extern void watch_spread(Sim *sim);
extern void watch_report(Sim *sim, FILE *out);

/* Too many shards for a trace of each decision: it is a line with figures and a digest of those. */
extern bool watch_is_wide(const Sim *sim);
extern void watch_sum_up(Sim *sim);

/* twin.c: fails if the survey is not what a look at every shard finds */
extern void twin_check(Sim *sim, const Survey *survey);

/* script.c */
extern bool script_run(Sim *sim, FILE *script);

#endif							/* PDSIM_H */
