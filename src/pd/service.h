/*-------------------------------------------------------------------------
 *
 * service.h
 *	  Private to pd: what its files share.
 *
 * start.c begins and ends; service.c is the thread; stores.c, collections.c, lease.c,
 * drop.c, delete.c, report.c, operators.c, admin.c, recover.c, check.c and dump.c are the
 * questions; heard.c keeps what heartbeats say, health.c and loads.c are what follows from
 * it; survey.c sees what stands out; operate.c moves replicas, rebalance.c looks whether
 * some should be moved, handover.c moves leadership; change.c puts decisions into the log;
 * places.c finds shards; members.c reads and writes JSON.
 * found.c makes the group of drivers, once; meet.c hears of them, drivers.c is about
 * who belongs to it.
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
#include "idmap.h"
#include "operate.h"
#include "pd.h"

#define SUSPECT_AFTER_US (10 * INT64_C(1000000))	/* a store this silent is not up */
#define SUPERSEDED_AFTER_US (2 * INT64_C(1000000))	/* or for so long, while another speaks from its endpoint */

/* A question, in the queue or parked. */
typedef struct Question
{
	struct Question *next;
	NetConn    *conn;
	uint64_t	request;
	json_t	   *body;
	Buf			chunk;			/* of a snapshot; body is NULL */
	int64_t		until_us;		/* parked: answer by then */
	uint64_t	store;			/* parked heartbeat: of this store; 0 = another question */
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

/* What a leader says of a member of its group. */
typedef struct ReportMember
{
	WireReplica replica;
	uint64_t	match;
	bool		active;
} ReportMember;

/* Figures a worker gives of a replica that PD only passes on; by these names. */
#define REPORT_FIGURES 17
#define REPORT_TIMES 9			/* ... but for these five, whose sum is the time of searches, */
#define REPORT_TIMES_END 14
#define REPORT_UNREACHABLE 15	/* and these, which check.c looks at */
#define REPORT_BROKEN_LINKS 16
extern const char *const report_figures[REPORT_FIGURES];

/* What a replica held when it was compared last; id 0 = it says nothing (verify.c). */
typedef struct Verified
{
	uint64_t	id;
	uint64_t	index;
	uint64_t	rows;
	uint64_t	digest;
	bool		damaged;
	int64_t		wall_us;
} Verified;

/* A comparison that somebody wants, until its answers are in. */
typedef struct Wanted
{
	uint64_t	shard;
	uint64_t	id;
	uint64_t	told;			/* replica that led when it was told */
	int64_t		told_us;		/* 0 = not yet */
} Wanted;

typedef enum Verdict
{
	VERDICT_NONE,				/* it was never compared */
	VERDICT_AGREES,				/* with more than half of all voters */
	VERDICT_DIFFERS,			/* from what more than half agree on */
	VERDICT_SPLIT,				/* all have answered, and no majority agrees */
	VERDICT_OPEN				/* not all have answered */
} Verdict;

/* What a store says of one of its replicas; not in the log. */
typedef struct Report
{
	uint64_t	shard;
	uint64_t	replica;
	uint64_t	term;
	uint64_t	applied;
	uint64_t	incarnation;	/* the shard's life that it is in */
	uint64_t	last;			/* entry of its log, and the term of that; 0 = it says nothing, or has none */
	uint64_t	last_term;
	uint64_t	records;
	uint64_t	unindexed;
	uint64_t	bytes;
	uint64_t	figures[REPORT_FIGURES];	/* 0 where it says nothing */
	double		searches;		/* processors that searches of it take, smoothed, */
	int64_t		searches_us;	/* as of then, when they had taken this much time (loads.c) */
	uint64_t	searched_us;
	Verified	verified;
	bool		leader;
	bool		ingesting;		/* a bulk load goes on */
	bool		leaving;		/* it serves nobody, and goes when nobody holds it */

	/* The group's configuration in force here */
	bool		says_conf;
	uint64_t	conf_index;
	bool		joint;			/* it is one of a change under way, or not committed yet */
	uint32_t	nmembers;		/* a leader's */
	ReportMember members[WIRE_REPLICAS_MAX];
} Report;

/* A shard that a store should have and does not report, and since when. */
typedef struct Missing
{
	uint64_t	shard;
	int64_t		since_us;
} Missing;

/* A replica that a store has and says is damaged; 0 = it does not know which. */
typedef struct Damaged
{
	uint64_t	shard;
	uint64_t	replica;
} Damaged;

/* What a worker's memory goes for, by name; as the workers say. */
typedef enum MemoryKind
{
	MEMORY_RECORDS,				/* these stay, */
	MEMORY_SHARDS,				/* and what each shard has besides; all else goes by itself */
	MEMORY_KINDS = 7
} MemoryKind;

extern const char *const memory_kind_names[MEMORY_KINDS];

/* What a store says of itself that only people want to know (check.c). */
typedef struct StoreFacts
{
	uint64_t	memory_limit;	/* 0 = none */
	uint64_t	memory_of[MEMORY_KINDS];
	bool		memory_told;	/* it said what it goes for */
	bool		disk_full;		/* it refuses new data */
	int64_t		clock_ahead_us; /* of ours, and what the heartbeat took */
	int64_t		cert_until;		/* seconds since 1970; 0 = it has none */
} StoreFacts;

/* What a store said last; not in the log. */
typedef struct Beat
{
	uint64_t	store;
	int64_t		at_us;
	int64_t		steady_us;		/* since when it has never been silent for long */
	uint64_t	disk_free;
	uint64_t	memory;
	bool		disk_short;		/* it will soon refuse new data */
	bool		memory_short;	/* the same; it ends lower than it begins */
	bool		challenged;		/* another store registered at its endpoint since */
	char		version[32];
	uint32_t	level_low;		/* of the feature levels it knows */
	uint32_t	level_high;
	Report	   *reports;		/* by shard; owned */
	size_t		nreports;
	Missing    *missing;		/* by shard; owned */
	size_t		nmissing;
	uint64_t	digest;			/* of the list of shards, as the store says; 0 = none */
	uint64_t	looked;			/* store_touched() when its tasks were looked for last */
	bool		wake;			/* something else is new for it */
	bool		quiet;			/* it had nothing to do with these reports, */
	uint64_t	quiet_at;		/* store_touched() being this */
	uint64_t	learned_at;		/* the same, when all that they teach was learned */
	Damaged    *damaged;		/* owned */
	size_t		ndamaged;
	StoreFacts	facts;
	WireShardDesc *children;	/* what its shards owe to such as were split off them; owned */
	size_t		nchildren;
} Beat;

/* What a shard carries, as its leaders tell one after the other. */
typedef struct ShardLoad
{
	uint64_t	bytes;
	uint64_t	rows;
	double		rate;			/* entries a second, smoothed, */
	int64_t		at_us;			/* as of then, */
	uint64_t	applied;		/* when so many were applied */
} ShardLoad;

typedef struct Holder Holder;

/* A plan under way, since when this driver knows of it and of its step. */
typedef struct Operator
{
	uint64_t	shard;
	Plan		plan;
	const char *step;			/* never freed */
	int64_t		since_us;
	int64_t		step_since_us;
	uint64_t	progress;		/* stall_progress(), and when it or the step was another last */
	int64_t		progress_us;
} Operator;

/* How one ended. */
typedef enum Ending
{
	ENDING_DONE,
	ENDING_UNDONE,				/* it was not needed any more */
	ENDING_GIVEN_UP,			/* it did not come on */
	ENDING_CANCELLED,
	ENDINGS
} Ending;

extern const char *const ending_names[ENDINGS];

#define ENDED_MAX 32
typedef struct Ended
{
	uint64_t	shard;
	PlanKind	kind;
	Ending		how;
	uint64_t	to_store;		/* 0 = none */
	int64_t		since_us;		/* this driver knew of it */
	int64_t		at_us;
} Ended;

/* A store that is not to be chosen for a shard until then */
#define SHUNNED_MAX 256
typedef struct Shunned
{
	uint64_t	shard;
	uint64_t	store;
	int64_t		until_us;
} Shunned;

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
	Question   *queue;
	Question  **queue_end;
	size_t		queued;
	uint64_t	turned_away;	/* for want of room */
	bool		stopping;

	/* For monitoring (window.c); under the catalog's lock but for the first */
	atomic_llong turned_us;		/* a round began last */
	uint64_t	questions;
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
	Question   *parked;
	Beat	  **beats;			/* by store */
	size_t		nbeats;
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
	Wanted	   *wanted;			/* comparisons of replicas, in the order they were asked for; owned */
	size_t		nwanted;
	size_t		verify_cursor;	/* counts collections that were looked at for one that is due */
	int64_t		verify_due_us;	/* next look at them */
	Operator   *operators;		/* by shard; owned */
	size_t		noperators;
	int64_t		operators_due_us;	/* next look at how far they are */
	Shunned		shunned[SHUNNED_MAX];	/* where they came no further */
	int64_t		braked_until_us;	/* after a mass failure */
	bool		repairing;		/* something was lost or missing at that look */
	int64_t		balance_due_us; /* next look whether stores have more than others */
	size_t		spread_from;	/* shard at which that look goes on */
	Stranger	strangers[STRANGERS_MAX];
	DriverLevel driver_levels[DRIVER_LEVELS];
	int64_t		levels_due_us;	/* next look whether the cluster's can be raised */
	bool		announced;		/* server and links know the cluster */
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

/* change.c: rows that a decision changes, put into one command */
typedef struct Changes
{
	CatalogMeta meta;			/* as it will be */
	bool		meta_changed;
	CatalogCollection **collections;	/* deep copies, to be changed */
	size_t		n;
} Changes;

extern void changes_begin(Pd *pd, Changes *changes);

/* The copy of a collection, made at the first call. */
extern CatalogCollection *changes_of(Changes *changes, const CatalogCollection *collection);
extern CatalogShard *changes_of_shard(Changes *changes, const CatalogCollection *collection,
									  const CatalogShard *shard);
extern uint64_t changes_next_id(Changes *changes);
extern bool changes_any(const Changes *changes);

/* Commit what was changed, if anything; frees the copies. */
extern VtStatus changes_commit(Pd *pd, Changes *changes);
extern void changes_drop(Changes *changes);

/* The beginning of a command with other rows behind: only those of changes, which stay. */
extern void changes_put(Pd *pd, const Changes *changes, Buf *command);

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
extern VtStatus drivers_check_place(Pd *pd, VtError *err);
extern const char *leader_endpoint(Pd *pd); /* "" = not known */
extern void refuse_to_lead(Pd *pd, Question *q);
extern VtStatus driver_commit(Pd *pd, uint64_t id, const char *endpoint);
extern const ReplicaMember *driver_member(const ReplicaMembers *members, uint64_t id);	/* NULL = it is none */

/* service.c; wall time is for people: drivers' clocks may differ, and jump */
extern int64_t pd_wall_us(const Pd *pd);
extern void pd_pass_time(Pd *pd, uint64_t term, int64_t now_us);
extern void park(Pd *pd, Question *q, int64_t wait_ms);
extern VtStatus service_commit(Pd *pd, Buf *command);	/* waits; without the catalog's lock meanwhile */
extern void *service_main(void *pd);

/* places.c */
extern CatalogShard *find_shard(Pd *pd, uint64_t id, CatalogCollection **collection);

/* The shards that the catalog has on a store, or that are to come there. */
extern const ShardPlace *shards_of_store(Pd *pd, uint64_t store, size_t *n);

/* heard.c */
extern Beat *beat_of(Pd *pd, uint64_t store);
extern void beat_wake(Pd *pd, uint64_t store);	/* there may be something to do for it */
extern bool beat_is_known(Pd *pd, uint64_t store, json_t *body);
extern Beat *beat_take(Pd *pd, uint64_t store, json_t *body);	/* NULL = malformed */
extern void beat_take_missing(Pd *pd, Beat *beat);
extern void beats_challenge(Pd *pd, uint64_t store, const char *endpoint);
extern void beats_free(Pd *pd);
extern Report *report_in(Beat *beat, uint64_t shard);
extern Missing *missing_of(Beat *beat, uint64_t shard); /* since when it was not mentioned */

/* health.c */
extern bool store_is_superseded(Pd *pd, const CatalogStore *store);
extern bool store_is_up(Pd *pd, uint64_t store);
extern Health store_health(Pd *pd, const CatalogStore *store);
extern bool replica_is_damaged(Pd *pd, uint64_t store, uint64_t shard);	/* so it says */
extern Health replica_health(Pd *pd, uint64_t store, uint64_t shard, uint64_t replica, bool seen);
extern Report *report_of(Pd *pd, uint64_t store, uint64_t shard);
/* Of the replicas that claim to lead now, the one with the highest term; NULL = none. */
extern Report *leader_of(Pd *pd, const CatalogShard *shard, uint64_t *store);

/* loads.c */
extern void load_take(Pd *pd, const Report *leader);

/* Bytes, and writes a second: less the longer nothing is said. */
extern void shard_load(const Pd *pd, uint64_t shard, double *bytes, double *rate);
extern double shard_bytes(const Pd *pd, uint64_t shard);

/* How much a replica is searched, by what it said before and says now. */
extern void load_take_searches(const Pd *pd, const Report *before, Report *now);
extern double replica_searches(const Pd *pd, const Report *report);	/* processors; less the longer nothing is said */
extern double shard_rows(const Pd *pd, uint64_t shard);
extern void loads_prune(Pd *pd);

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

/* How much more fits onto a store's disk and into its memory, as it said last. */
typedef enum Room
{
	ROOM_NONE,					/* it refuses new data */
	ROOM_LITTLE,				/* it soon will: it gets no replica, if another can have it */
	ROOM_ENOUGH
} Room;

extern Room store_room(const Beat *beat);
extern void beat_weigh_memory(Beat *beat);	/* sets memory_short */
extern uint64_t beat_memory_stays(const Beat *beat, uint64_t *most);
extern json_t *heartbeat_answer(Pd *pd, json_t *body);	/* NULL = nothing to say yet */

/* survey.c */
typedef struct SurveyShard
{
	CatalogCollection *collection;
	CatalogShard *shard;
	int			urgency;		/* plan_urgency() by what stores are like; lower first */
} SurveyShard;

typedef struct Survey
{
	PlanStore  *stores;			/* by id, as in the catalog */
	size_t		nstores;
	IdMap		at;				/* id of a store: its place among them */
	uint32_t	learners;		/* that each shard is to have */
	uint32_t	plans;
	uint32_t	kinds[PLAN_KINDS];	/* of them */

	/* Live, founded shards with a plan, and those without that may need one */
	SurveyShard *planned;
	size_t		nplanned;
	SurveyShard *needs;
	size_t		nneeds;
} Survey;

extern void survey_begin(Pd *pd, Survey *survey);
extern void survey_end(Survey *survey);
extern PlanStore *survey_store(const Survey *survey, uint64_t store); /* NULL = not known */

/* One more plan is under way, of a shard of so many bytes. */
extern void survey_begins(Survey *survey, const CatalogShard *shard, const Plan *plan, uint64_t bytes);

/* operate.c */
extern void plans_look(Pd *pd);
extern PlanLimits operate_limits(const Pd *pd);
extern bool operate_brake(Pd *pd, const Survey *survey);
extern void operate_begin(Pd *pd, Survey *survey, Changes *changes, const CatalogCollection *c,
						  const CatalogShard *shard, Plan *plan);
extern void operate_picture(Pd *pd, const CatalogCollection *c, const CatalogShard *shard, PlanShard *out);

/* Adds the stores that have a replica which is no member. */
extern void operate_holders(Pd *pd, const CatalogShard *shard, PlanShard *out);

/* A store without its counts; false: there is no such store. */
extern bool operate_store(Pd *pd, uint64_t store, PlanStore *out);
extern void operate_give(Pd *pd, uint64_t store, const char *what, uint64_t shard, uint64_t replica, json_t *tasks);
extern void operate_give_drop(Pd *pd, uint64_t store, uint64_t shard, uint64_t replica, bool whole, json_t *tasks);
extern bool operate_has_replica(const CatalogShard *shard, uint64_t store, uint64_t *replica);
extern void tasks_for(Pd *pd, Beat *beat, json_t *tasks);
extern Step operate_step(Pd *pd, const CatalogCollection *c, const CatalogShard *shard, PlanShard *picture);

/* handover.c; false: too many are under way */
extern bool handover_begin(Pd *pd, const Handover *handover);
extern void handovers_look(Pd *pd);
extern void handovers_tell(Pd *pd, Beat *beat, json_t *tasks);

/* rebalance.c */
extern void rebalance_look(Pd *pd);
extern void rebalance_soon(Pd *pd);	/* a change has ended: there is room for another */

/* split.c */
#define SPLIT_SHARDS_MAX 1024	/* of a collection */
extern void op_split(Pd *pd, Question *q);
extern const char *split_objection(Pd *pd, const CatalogCollection *c, const CatalogShard *shard);
extern uint64_t split_begin(Changes *changes, const CatalogCollection *c, const CatalogShard *shard);	/* the child */
extern void splits_look(Pd *pd);	/* split_size.c */
extern void splits_take(Beat *beat, json_t *body, const Report *gone, size_t ngone);
extern void splits_learn(Pd *pd, Changes *changes, const Beat *beat);
/* Is the child in the catalog?  And does it stand on its own, or is the plan given up? */
extern bool split_is_done(const CatalogCollection *c, const CatalogShard *shard);
extern bool split_is_over(Pd *pd, const CatalogCollection *c, const CatalogShard *shard, const PlanShard *picture);

/* A collection's data is to go: so are children of its shards that nobody has reported yet. */
extern void split_owe(Pd *pd, Buf *command, const CatalogCollection *c);
extern json_t *split_task(const CatalogCollection *c, const CatalogShard *shard);	/* NULL: none */
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
extern bool op_route_unled(Pd *pd, Question *q);
extern bool create_again(Pd *pd, Question *q);
extern bool collection_is_up(const CatalogCollection *c);
extern uint32_t replicas_wanted(const Pd *pd, const CatalogCollection *c);
extern bool reports_are_in(Pd *pd);

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

/* report.c */
extern void op_collections(Pd *pd, Question *q);
extern void op_workers(Pd *pd, Question *q);
extern void op_shards(Pd *pd, Question *q);
extern void op_status(Pd *pd, Question *q);
extern json_t *json_status(Pd *pd, bool whole);	/* whole: also what ended and was complained of */
extern uint32_t replicas_asked(Pd *pd, const CatalogCollection *c);
extern uint32_t voters_up(Pd *pd, const CatalogShard *shard);
extern const char *store_state(Pd *pd, const CatalogStore *store);
extern const char *collection_state(const CatalogCollection *c);

/* operators.c */
extern void op_operators(Pd *pd, Question *q);
extern void operators_look(Pd *pd);
extern const char *operator_name(PlanKind kind);
extern const Operator *operator_of(const Pd *pd, uint64_t shard);	/* as noted last; NULL = none */

/* ended.c: when the shard's plan is about to be taken away */
extern void operator_ended(Pd *pd, const CatalogShard *shard, Ending how);
extern json_t *json_ended(const Pd *pd);

/* stall.c */
extern void stalls_look(Pd *pd);
extern uint64_t stall_progress(const PlanShard *shard);	/* how far the new replica is */
extern void stall_shun(const Pd *pd, PlanShard *shard);
extern json_t *json_operators(Pd *pd, const Question *q);

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
extern const char *verify_word(Verdict verdict);
extern VtStatus verify_ask(Pd *pd, json_t *body, uint32_t *n, VtError *err);
extern void op_verify(Pd *pd, Question *q);
extern void verify_look(Pd *pd);
extern void verify_tell(Pd *pd, const Beat *beat, json_t *tasks);

/* check.c */
extern void facts_take(Beat *beat, json_t *body);
extern json_t *facts_memory(const StoreFacts *facts);
extern void op_check(Pd *pd, Question *q);
extern json_t *json_findings(Pd *pd, const Question *q);	/* NULL = whoever may see everything */

/* dump.c */
extern void op_dump(Pd *pd, Question *q);
extern json_t *dump_page(Pd *pd, const VtId *after);

#endif							/* PD_SERVICE_H */
