/*-------------------------------------------------------------------------
 *
 * service.h
 *	  Private to pd: what its files share, with heard.h (what stores say) and moves.h
 *	  (how shards change).
 *
 * start.c begins and ends; service.c is the thread; stores.c, collections.c, lease.c,
 * drop.c, delete.c, report.c, operators.c, admin.c, remains.c, recover.c, check.c and dump.c are the
 * questions; heard.c keeps what heartbeats say, untold.c whose are to come yet, health.c and loads.c are what follows from
 * it; survey.c sees what stands out; operate.c moves replicas, rebalance.c looks whether
 * some should be moved, handover.c moves leadership; change.c puts decisions into the log;
 * places.c finds shards; members.c reads and writes JSON.
 * found.c makes the group of drivers, once; meet.c hears of them, drivers.c is about
 * who belongs to it.  questions.c is the queue in front of the thread.
 *
 * All of it but found.c runs on the service thread, which holds the catalog's
 * lock but for the moments in which it waits for the log: rows may be other ones
 * after a commit, and pointers to them are not to be used any more.  Time is
 * pd->now_us, read once for each event, so that a test can be the clock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_SERVICE_H
#define PD_SERVICE_H

#include <jansson.h>
#include <stdatomic.h>

#include "catalog.h"
#include "heard.h"
#include "idmap.h"
#include "moves.h"
#include "operate.h"
#include "pd.h"
#include "questions.h"

#define SUSPECT_AFTER_US (10 * INT64_C(1000000))	/* a store this silent is not up */
#define SUPERSEDED_AFTER_US (2 * INT64_C(1000000))	/* or for so long, while another speaks from its endpoint */

/* A question, in the queue or parked. */
typedef struct Question
{
	struct Question *next;
	NetConn    *conn;
	uint64_t	request;
	WireType	type;			/* control, or a chunk of a snapshot */
	Buf			payload;		/* as it came; of a control question until its turn comes */
	bool		tells;			/* a worker's that is long: of what it has */
	json_t	   *body;			/* what that says; of a parked one only what is needed yet */

	/* Parked */
	bool		counted;		/* in net_conn_requests() */
	int64_t		until_us;		/* answer by then */
	uint64_t	store;			/* a heartbeat, of this store; 0 = a creation, */
	bool		untold;			/* the store has not told what it has, and waits until it is its turn */
	VtId		generation;		/* of this, */
	uint32_t	up;				/* whose first shards, so many, are there */
} Question;

/* A driver that is no member has told that it is there. */
#define STRANGERS_MAX 8
typedef struct Stranger
{
	CatalogDriver driver;		/* id 0: none */
	int64_t		at_us;
} Stranger;

/* What a driver said that it knows (level.c). */
#define DRIVER_LEVELS 8
typedef struct DriverLevel
{
	uint64_t	driver;			/* 0: none */
	uint32_t	low;
	uint32_t	high;
	int64_t		at_us;
} DriverLevel;

/* Who founds the group: the same list for all of them. */
typedef struct Founders
{
	uint32_t	n;
	CatalogDriver members[PD_DRIVERS_MAX];	/* by id */
} Founders;

/* A comparison that is under way, or the next to be, until its answers are in. */
#define COMPARISONS_MAX 4
typedef struct Wanted
{
	uint64_t	shard;
	uint64_t	id;
	uint64_t	told;			/* replica that led when it was told */
	int64_t		told_us;		/* 0 = not yet */
} Wanted;

/* Shards that wait to be compared, each once, in the order they were asked for: a ring; all zero = none. */
typedef struct WaitingList
{
	uint64_t   *shards;			/* owned */
	size_t		room;			/* a power of two */
	size_t		from;
	size_t		n;
	IdMap		among;			/* by shard */
} WaitingList;

typedef struct Holder Holder;

/* A task given a moment ago is not given again at once. */
#define TOLD 1024
typedef struct Told
{
	uint64_t	what;			/* a hash of store and task */
	int64_t		at_us;
} Told;

struct Pd
{
	Catalog    *catalog;
	Store	   *log;
	ReplicaHost *host;
	Replica    *_Atomic replica;	/* NULL until there is a group */
	NetServer  *server;
	NetServer  *exposed;		/* the second endpoint's; NULL = none */

	/* Ourselves and the others (found.c) */
	uint64_t	id;				/* our replica and our node */
	ReplicaLinks *links;
	char	  **peers;			/* endpoints in order, ours among them; owned */
	size_t		npeers;
	Founders	founders;		/* n = 0: not founded, or we came later; lock */
	bool		is_member;		/* lock: the catalog says where we are */
	bool		is_removed;		/* lock: we were, and are told that we are no more */
	size_t		hints;			/* given since */
	bool		is_known;		/* lock: and the cluster's feature level is as high as ours */
	pthread_t	meeter;
	pthread_cond_t met;
	int64_t		started_us;
	PdOptions	options;

	/*
	 * Propose a command and wait until it is applied.  VT_NOT_LEADER: perhaps it
	 * is not, ask another driver.
	 */
	VtStatus	(*commit) (struct Pd *pd, Buf *command);

	pthread_t	thread;
	pthread_mutex_t lock;
	pthread_cond_t ready;
	Questions	questions;		/* that wait */
	uint64_t	turned_away;	/* for want of room; lock */
	bool		stopping;

	/* Raft frames of drivers that spoke for another one; and of the last: whose, and for whom */
	atomic_uint_fast64_t foreign;
	atomic_uint_fast64_t foreign_from;
	atomic_uint_fast64_t foreign_as;

	/* For monitoring (window.c); under the catalog's lock but for the first */
	atomic_llong turned_us;		/* a round began last */
	uint64_t	answered;		/* questions, also by a no */
	uint64_t	ended[PLAN_KINDS][ENDINGS];	/* operators, in all reigns of this process, */
	Ended		last_ended[ENDED_MAX];	/* and the last of them, in a ring; */
	uint64_t	nended;			/* so many in all */

	/* The service thread's */
	int64_t		now_us;
	bool		leads;			/* in this round */
	uint64_t	led_term;		/* the term we lead in */
	int64_t		wall_ahead_us;	/* the wall clock as this reign found it, less now_us then */
	int64_t		lived_before_us;	/* lived_us when this reign began */
	int64_t		led_since_us;	/* since when we listen to stores; 0 = we do not lead */
	int64_t		behind_us;		/* since when daemons have said more than was read, in each round; 0 = all was */
	Question   *parked;
	size_t		ncreations;		/* of these; the others are heartbeats */
	char	   *route;			/* the answer that was given last to who asked for a route, */
	VtId		route_of;		/* of this generation; NULL: things may be others since */
	Beat	  **beats;			/* by store */
	size_t		nbeats;
	IdMap		beat_at;		/* store: its beat's address */
	UntoldList	untold_waiting;	/* stores that speak and are not known, in the order of their turns, */
	UntoldList	untold_asked;	/* and those that were asked, in that order; owned */
	size_t		nuntold;		/* in both */
	IdMap		untold_at;		/* store: its Untold's address */
	size_t		untold_bytes;	/* so many are on their way of those that were asked, about */
	uint64_t	untold_look;	/* counts looks at who waits */
	int64_t		told_us;		/* one of them told all last, in this reign */
	IdMap		spoke_last;		/* key of an endpoint: the store that spoke there last */
	IdMap		load_at;		/* shard: place in loads */
	ShardLoad  *loads;
	Holder	   *holders;		/* of incarnations (lease.c); owned */
	size_t		nholders;
	uint64_t	looked_touches; /* of the catalog, and version of the stores' list, */
	uint64_t	looked_peers;	/* at the last look at what is parked */
	bool		woken;			/* a beat is to be looked at */
	int64_t		parked_due_us;	/* the first of them is to be answered */
	Handover	handovers[HANDOVERS_MAX];
	size_t		nhandovers;
	Told		told[TOLD];
	int64_t		drops_due_us;	/* next look for what is to be deleted */
	int64_t		plans_due_us;	/* next look at the plans */
	size_t		needs_from;		/* where that look begins among equals that could not be served */
	int64_t		splits_due_us;	/* and for shards that have become large */
	uint32_t	search_stores;	/* for searches only, at that look */
	Wanted		wanted[COMPARISONS_MAX];	/* comparisons of replicas, */
	size_t		nwanted;
	WaitingList waiting;		/* and shards that wait for theirs */
	size_t		verify_cursor;	/* counts collections that were looked at for one that is due */
	int64_t		verify_due_us;	/* next look at them */
	Operator   *operators;		/* by shard; owned */
	size_t		noperators;
	int64_t		operators_due_us;	/* next look at how far they are */
	Shunned		shunned[SHUNNED_MAX];	/* where they came no further */
	int64_t		braked_until_us;	/* after a mass failure */
	bool		repairing;		/* something was lost or missing at that look */
	int64_t		balance_due_us; /* next look whether stores have more than others */
	size_t		spread_from;	/* shard at which that look goes on, */
	size_t		givers_from;	/* and store that leads more than others */
	Stranger	strangers[STRANGERS_MAX];
	DriverLevel driver_levels[DRIVER_LEVELS];
	int64_t		levels_due_us;	/* next look whether the cluster's can be raised */
	bool		announced;		/* server and links know the cluster */
	uint64_t	told_foreign;	/* so many of them are in the log, */
	int64_t		tell_foreign_us;	/* and no more before this */
	uint64_t	noted_at;		/* the catalog whose drivers' endpoints are noted */
	int64_t		drivers_due_us; /* next look at the drivers */
	int64_t		digest_due_us;	/* next digest, when there is something new */
	uint64_t	digest_at;		/* applied when the last one was */
};

/* members.c: reading questions, making answers */
extern void question_free(Question *q);

/* Send body (taken; NULL = none) with a status; frees the question. */
extern void answer(Question *q, VtStatus status, json_t *body, const char *message);
extern void refuse(Question *q, VtStatus status, const char *fmt,...)
			__attribute__((format(printf, 3, 4)));

/* Too much is asked: it is to be asked again after so long. */
extern void refuse_for(Question *q, uint32_t wait_ms);

/* The same in two steps, for an answer that many get: as it is sent (takes body; free() it), and sending it. */
extern char *answer_words(VtStatus status, json_t *body, const char *message);
extern void answer_in_words(Question *q, const char *text);

/* False: missing or malformed. */
extern bool value_u64(json_t *value, uint64_t *out);
extern bool get_u64(json_t *body, const char *name, uint64_t *out);
extern bool get_int(json_t *body, const char *name, int64_t low, int64_t high, int64_t *out);
extern bool get_id(json_t *body, const char *name, VtId *out);	/* "" is the zero id */
extern bool get_owner(json_t *body, WireOwner *out);

extern json_t *json_u64(uint64_t v);
extern json_t *json_id(const VtId *id);
extern json_t *json_owner(const WireOwner *owner);
extern json_t *json_desc(const WireShardDesc *desc);
extern json_t *json_attributes(const CatalogCollection *c);	/* collections.c */
extern bool get_desc(json_t *hex, WireShardDesc *out);

/* found.c */
extern VtStatus found_begin(Pd *pd, VtError *err);
extern void *found_main(void *pd);
extern void found_end(Pd *pd);
extern json_t *json_founders(const Founders *founders);

/* drivers.c */
extern void op_drivers(Pd *pd, Question *q);
extern json_t *json_drivers(Pd *pd);
extern void op_add_driver(Pd *pd, Question *q);
extern void op_remove_driver(Pd *pd, Question *q);
extern void drivers_look(Pd *pd);
extern VtStatus found_cluster(Pd *pd);
extern void digest_look(Pd *pd);

/* meet.c */
extern void op_meet(Pd *pd, Question *q);
extern void drivers_note(Pd *pd);
extern void drivers_tell_foreign(Pd *pd);
extern VtStatus drivers_check_place(Pd *pd, VtError *err);
extern const char *leader_endpoint(Pd *pd); /* "" = not known */
extern void refuse_to_lead(Pd *pd, Question *q);
extern VtStatus driver_commit(Pd *pd, uint64_t id, const char *endpoint);
extern const ReplicaMember *driver_member(const ReplicaMembers *members, uint64_t id);	/* NULL = it is none */

/* service.c; wall time is for people: drivers' clocks may differ, and jump */
extern int64_t pd_wall_us(const Pd *pd);
extern void pd_pass_time(Pd *pd, uint64_t term, int64_t now_us);

/*
 * Keep a question until something happens or its time is over.  False, and it is still the
 * caller's: its connection has as many there as it may have, or there are as many creations.
 */
#define PARKED_OF_ONE 16		/* of one connection */
#define CREATIONS_MAX 256
extern bool park(Pd *pd, Question *q, int64_t wait_ms);
extern bool park_has_room(const Pd *pd, const Question *q);
extern VtStatus service_commit(Pd *pd, Buf *command);	/* waits; without the catalog's lock meanwhile */
extern void *service_main(void *pd);

/* places.c */
extern CatalogShard *find_shard(Pd *pd, uint64_t id, CatalogCollection **collection);

/* The shards that the catalog has on a store, or that are to come there. */
extern const ShardPlace *shards_of_store(Pd *pd, uint64_t store, size_t *n);

/* rights.c */
extern bool rights_allow(Pd *pd, const Question *q, const char *op);

/* May whoever asked see what is of this owner? */
extern bool rights_see(const Question *q, const WireOwner *owner);

/* lease.c */
extern void op_lease(Pd *pd, Question *q);
extern VtStatus lease_take(Pd *pd, json_t *body, json_t **reply, VtError *err);
extern bool lease_is_held(Pd *pd, json_t *body, const WireOwner *owner);

/* stores.c */
extern void op_register(Pd *pd, Question *q);
extern void op_heartbeat(Pd *pd, Question *q);
extern void op_drain(Pd *pd, Question *q, bool draining);
extern bool heartbeat_again(Pd *pd, Question *q);
extern VtStatus register_store(Pd *pd, const char *name, json_t *body, json_t **reply, VtError *err);
extern VtStatus store_bound(const CatalogStore *store, const char *name, VtError *err);
extern VtStatus heartbeat_take(Pd *pd, json_t *body, VtError *err);

extern json_t *heartbeat_answer(Pd *pd, json_t *body);	/* NULL = nothing to say yet */

/* split.c */
#define SPLIT_SHARDS_MAX 1024	/* of a collection */
extern void op_split(Pd *pd, Question *q);
extern const char *split_objection(Pd *pd, const CatalogCollection *c, const CatalogShard *shard);
extern uint64_t split_begin(Changes *changes, const CatalogCollection *c, const CatalogShard *shard);	/* the child */
extern void splits_look(Pd *pd);	/* split_size.c */
extern void splits_wake(Pd *pd, const Beat *beat);	/* leaders of what is ready to be split now */
extern void splits_take(Beat *beat, json_t *body, const Report *gone, size_t ngone);
extern void splits_learn(Pd *pd, Changes *changes, const Beat *beat);
/* Is the child in the catalog?  And does it stand on its own? */
extern bool split_is_done(const CatalogCollection *c, const CatalogShard *shard);
extern bool split_is_over(Pd *pd, const CatalogCollection *c, const CatalogShard *shard);

/* A collection's data is to go: so are children of its shards that nobody has reported yet. */
extern void split_owe(Pd *pd, Buf *command, const CatalogCollection *c);
extern json_t *split_task(const CatalogCollection *c, const CatalogShard *shard);	/* NULL: none */

/* Before it is asked for: what a store that reports a replica is told, or NULL; and is anybody still waited for? */
extern json_t *split_prepare_task(const CatalogCollection *c, const CatalogShard *shard, const Beat *beat);
extern bool split_is_prepared(Pd *pd, const CatalogShard *shard);
extern uint64_t split_waits_for(Pd *pd, const CatalogShard *shard);	/* a store that is not ready; 0 = all are */
extern json_t *split_settle_task(Pd *pd, const WireShardDesc *child);	/* NULL: not yet */

/* As the shard was founded: what a replica that joins begins with. */
extern WireShardDesc split_born(CatalogCollection *c, const CatalogShard *shard);

/* level.c; who: "this worker" */
extern VtStatus level_admits(Pd *pd, json_t *body, const char *who, VtError *err);
extern uint32_t level_said(json_t *body, const char *name);
extern void level_heard(Pd *pd, uint64_t driver, uint32_t low, uint32_t high);
extern VtStatus level_joins(const Pd *pd, uint64_t driver, VtError *err);
extern uint32_t level_of_store(Pd *pd, uint64_t store);	/* 0 = it has not spoken in this reign */

/* Into a row for people: what a driver or store knows; nothing where nobody has said it. */
extern void level_show_driver(const Pd *pd, uint64_t driver, bool is_up, json_t *row);
extern void level_show_store(Pd *pd, uint64_t store, json_t *row);

/* Who holds the cluster below this level: words, "" = nobody; and what they know, 0 = they have not said. */
extern uint32_t level_held_by(Pd *pd, uint32_t level, char *out, size_t size);
extern void levels_look(Pd *pd);

/*
 * Something of this level is wanted now: raise the cluster's to it, without waiting for
 * the next look.  VT_VERSION: somebody does not know it; VT_UNAVAILABLE: somebody has
 * not said yet.  Once reports_are_in().
 */
extern VtStatus level_reach(Pd *pd, uint32_t level, VtError *err);

/* remains.c: what is left of a shard */
#define LOST_MAX 64				/* stores that one plan names */

/* The stores that are given up, in order of id. */
typedef struct Lost
{
	size_t		n;
	uint64_t	stores[LOST_MAX];
} Lost;

typedef enum Left
{
	LEFT_LOST,					/* for good: its store was named or forgotten, or it is damaged or missing */
	LEFT_LIVING,				/* reported by a store that is up */
	LEFT_UNCLEAR				/* its store is silent, and nobody has given it up */
} Left;

typedef struct Remains
{
	uint32_t	voters;
	uint32_t	lost_voters;
	bool		stuck;			/* these are of a change under way, which the living cannot carry and nobody else can end */
	uint32_t	living;			/* of whatever role */
	uint32_t	unclear;
	int			best;			/* the most advanced of the living; -1 = none has anything */
	uint64_t	unclear_store;	/* one of them */
} Remains;

extern bool lost_has(const Lost *lost, uint64_t store);
extern Left remains_left(Pd *pd, const Lost *lost, const CatalogShard *shard, int i);	/* of desc.replicas[i] */
extern Remains remains_of(Pd *pd, const Lost *lost, const CatalogShard *shard);
extern bool remains_is_beyond(const Remains *remains);	/* it can never have a majority again */

/*
 * It has no leader, and those who are here elect none.  Where that is a majority of the voters
 * that the catalog has, a change of them has begun that needs others.
 */
extern bool remains_stand_still(Pd *pd, const CatalogShard *shard);

/* recover.c */
typedef enum RecoverStage
{
	RECOVER_TELL,				/* not all survivors have heard, or one is silent */
	RECOVER_CHOOSE,
	RECOVER_NOBODY,				/* nobody is left that has anything */
	RECOVER_FORCE,				/* the chosen one does not lead yet */
	RECOVER_DONE
} RecoverStage;

extern void op_unsafe_recover(Pd *pd, Question *q);
extern VtStatus unsafe_recover(Pd *pd, json_t *body, json_t **reply, VtError *err);
extern RecoverStage recover_stage(Pd *pd, const CatalogShard *shard);
extern void recover_step(Pd *pd, Changes *changes, const CatalogCollection *c, const CatalogShard *shard);
extern json_t *recover_task(Pd *pd, const CatalogShard *shard, const Report *report);	/* NULL: none */

/* A shard of it lost its majority and was recovered or given up: law W7, nothing of it is to be believed. */
extern bool collection_went_back(const CatalogCollection *c, uint64_t *shard);

/* collections.c */
extern VtStatus collection_create(Pd *pd, json_t *body, CatalogCollection **out, VtError *err);
extern void op_create(Pd *pd, Question *q);
extern void op_route(Pd *pd, Question *q);

/* What was told last is to be made anew: something may have changed. */
extern void route_forget(Pd *pd);
extern bool op_route_unled(Pd *pd, Question *q);
extern bool create_again(Pd *pd, Question *q);
extern bool collection_is_up(const CatalogCollection *c);
extern uint32_t replicas_wanted(const Pd *pd, const CatalogCollection *c);
extern bool reports_are_in(Pd *pd);
extern bool reports_are_read(const Pd *pd);

/* drop.c */
extern void op_drop(Pd *pd, Question *q, CollectionState to);
extern void op_owned(Pd *pd, Question *q);
extern void op_unused(Pd *pd, Question *q);
extern void op_retire(Pd *pd, Question *q);
extern void drops_look(Pd *pd);

/*
 * For what outlives a driver: how long drivers have led, each by a clock that never
 * jumps.  It stands while none leads, and falls back by a minute at most when another
 * begins to: what was dropped is kept longer then, never shorter.
 */
extern int64_t pd_lived_us(const Pd *pd);
extern void drops_reign(Pd *pd);	/* a reign begins */

/* delete.c */
extern VtStatus drops_take(Pd *pd, Beat *beat, json_t *dropped);
extern void drops_tell(Pd *pd, Beat *beat, json_t *tasks);
extern bool delete_without_lost(Pd *pd, const CatalogCollection *c);	/* false: it waits for no lost store */

/* pages.c */
#define PD_PAGE_ROWS 8192		/* about a kilobyte each at most */

/* A page: what is asked for, and how much of it is told. */
typedef struct Page
{
	VtId		after;			/* collections beyond this generation; zero = from the beginning */
	size_t		most;			/* rows, unless one collection has more */
	bool		in_pages;		/* the question says so; of a dump nobody has to */
	bool		is_offered;		/* something was, perhaps not beyond that generation */
	CatalogCollection **offered;	/* beyond it */
	size_t		n;
	size_t		told;			/* so many of these, */
	size_t		rows;			/* with so many rows */
} Page;

/* First every collection that is meant is offered; then come those that are to be told, in order; NULL: no more in this page. */
extern void page_offer(Page *page, CatalogCollection *c);
extern CatalogCollection *page_next(Page *page, size_t (*rows_of) (const CatalogCollection *));

/*
 * A page of shards, collections or a dump, as body asks for it; q: who asks, NULL = whoever may see
 * everything.  All in one for who does not ask for pages of the first two.  NULL: refused, with words.
 */
extern json_t *page_answer(Pd *pd, const Question *q, json_t *body, VtError *err);
extern void op_in_pages(Pd *pd, Question *q);

/* report.c */
extern json_t *collections_page(Pd *pd, const Question *q, Page *page);
extern json_t *shards_page(Pd *pd, const Question *q, const char *name, Page *page);	/* name: NULL = all */
extern size_t replicas_of(const CatalogCollection *c);
extern void op_workers(Pd *pd, Question *q);
extern void op_status(Pd *pd, Question *q);
extern json_t *json_workers(Pd *pd, json_t *body);	/* as the question asks for them */
extern json_t *json_tombstones(Pd *pd); /* an array of them */
extern json_t *json_status(Pd *pd, bool whole);	/* whole: also what ended and was complained of */
extern uint32_t replicas_asked(Pd *pd, const CatalogCollection *c);
extern uint32_t voters_up(Pd *pd, const CatalogShard *shard);
extern const char *store_state(Pd *pd, const CatalogStore *store);
extern const char *collection_state(const CatalogCollection *c);

/* admin.c: what people ask to be changed */
extern bool op_admin(Pd *pd, Question *q, const char *op);
extern void operator_end(Changes *changes, CatalogCollection *c, CatalogShard *shard);
extern VtStatus cancel_operator(Pd *pd, json_t *body, VtError *err);
extern VtStatus set_replicas(Pd *pd, json_t *body, VtError *err);
extern VtStatus forget_store(Pd *pd, json_t *body, VtError *err);

/* The rows with which a store goes for ever: what comes with its number or directory is refused. */
extern void store_goes(Pd *pd, const CatalogStore *store, Buf *command);

/* A collection by its generation, or by a label that only one has which lives. */
extern VtStatus collection_named(Pd *pd, const char *name, CatalogCollection **out, VtError *err);

/* verify.c */
extern bool verified_read(json_t *report, Verified *out);
extern Verdict verify_verdict(Pd *pd, const CatalogShard *shard, const WireReplica *r);

/* The verdict in words, and in what it differs from most, or from another. */
#define VERIFY_WORDS 128
extern void verify_words(Pd *pd, const CatalogShard *shard, const WireReplica *r, char words[VERIFY_WORDS]);
extern void verify_note(Pd *pd, const Report *before, const Report *now);	/* a report is taken; before: NULL = the first */
extern void verify_tell(Pd *pd, Beat *beat, json_t *tasks);

/* Should it hold what the voters hold? */
extern bool verify_counts(Pd *pd, const WireReplica *r);

/* What the replica itself has reported; NULL = nothing, or its store is silent. */
extern const Verified *verified_of(Pd *pd, const CatalogShard *shard, const WireReplica *r);

/* compare.c */
extern VtStatus verify_ask(Pd *pd, json_t *body, uint32_t *n, VtError *err);
extern void op_verify(Pd *pd, Question *q);
extern void verify_look(Pd *pd);
extern void verify_forget(Pd *pd);	/* whatever is wanted */
extern void comparisons_tell(Pd *pd, const Beat *beat, json_t *tasks);

/* check.c */
extern void facts_take(Beat *beat, json_t *body);
extern json_t *facts_memory(const StoreFacts *facts);
extern void op_check(Pd *pd, Question *q);
extern json_t *json_findings(Pd *pd, const Question *q);	/* NULL = whoever may see everything */

/* dump.c */
extern json_t *dump_page(Pd *pd, Page *page);

#endif							/* PD_SERVICE_H */
