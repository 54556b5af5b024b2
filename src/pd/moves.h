/*-------------------------------------------------------------------------
 *
 * moves.h
 *	  Private to pd: how shards change, from what stands out to what has ended.
 *
 * survey.c sees all shards at a glance, operate.c begins, tells and ends plans,
 * rebalance.c looks whether some should be begun for evenness, handover.c moves
 * leadership, stall.c gives up what does not come on; operators.c and ended.c tell people.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_MOVES_H
#define PD_MOVES_H

#include <jansson.h>

#include "catalog.h"
#include "heard.h"
#include "idmap.h"
#include "operate.h"

struct Question;

/* A plan under way, since when this driver knows of it and of its step. */
typedef struct Operator
{
	uint64_t	shard;
	Plan		plan;
	const char *step;			/* never freed */
	bool		prepared;		/* PLAN_SPLIT: its leader is asked */
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

/* A store that is not to be chosen for a shard until then; 0: the shard is not to be split for its size */
#define SHUNNED_MAX 256
typedef struct Shunned
{
	uint64_t	shard;
	uint64_t	store;
	int64_t		until_us;
} Shunned;

/* change.c: rows that a decision changes, put into one command */
typedef struct Changes
{
	CatalogMeta meta;			/* as it will be */
	bool		meta_changed;
	CatalogCollection **collections;	/* deep copies, to be changed */
	size_t		n;
	IdMap		at;				/* idmap_key(): place among them */
	bool		clash;			/* two have the same key */
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

/* survey.c */
typedef struct SurveyShard
{
	CatalogCollection *collection;
	CatalogShard *shard;
	int			urgency;		/* plan_urgency() by what stores are like; lower first */
	uint64_t	id;				/* the shard's, for who sorts them */
} SurveyShard;

typedef struct Survey
{
	PlanStore  *stores;			/* by id, as in the catalog */
	size_t		nstores;
	IdMap		at;				/* id of a store: its place among them */
	uint32_t	learners;		/* that each shard is to have */
	uint32_t	plans;
	uint32_t	kinds[PLAN_KINDS];	/* of them */
	uint64_t	evening_bytes;	/* of the shards that are balanced or spread */

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

/* What a shard with this picture, which is not to have a plan, needs most and can be done now; false: nothing. */
extern bool operate_choose(Pd *pd, const Survey *survey, const PlanLimits *limits, bool brake, const CatalogShard *shard,
						   PlanShard *picture, Plan *plan);
extern const char *operate_words(PlanKind kind);	/* what becomes of the shard */

/* Has the store a replica of it that is no member?  Then it is one of the picture's holders from now on. */
extern bool operate_is_held(Pd *pd, const CatalogShard *shard, uint64_t store, PlanShard *picture);

/* A store without its counts; false: there is no such store. */
extern bool operate_store(Pd *pd, uint64_t store, PlanStore *out);
extern void operate_give(Pd *pd, uint64_t store, const char *what, uint64_t shard, uint64_t replica, json_t *tasks);
extern void operate_give_drop(Pd *pd, uint64_t store, uint64_t shard, uint64_t replica, bool whole, json_t *tasks);
extern bool operate_has_replica(const CatalogShard *shard, uint64_t store, uint64_t *replica);
extern void tasks_for(Pd *pd, Beat *beat, json_t *tasks);
extern Step operate_step(Pd *pd, const CatalogCollection *c, const CatalogShard *shard, PlanShard *picture);

/* handover.c; false: too many are under way */
extern bool handover_begin(Pd *pd, const Handover *handover);
extern size_t handovers_most(const Pd *pd);	/* under way or given up, before none is begun for evenness */
extern void handovers_look(Pd *pd);
extern void handovers_tell(Pd *pd, Beat *beat, json_t *tasks);

/* rebalance.c */
extern void rebalance_look(Pd *pd);
extern void rebalance_soon(Pd *pd);	/* a change has ended: there is room for another */

/* operators.c */
extern void op_operators(Pd *pd, struct Question *q);
extern json_t *json_operators(Pd *pd, const struct Question *q);	/* NULL: whoever may see all */
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

/* A split that is not made: has it had as much time as whoever wants the shard for something else has to wait? */
extern bool stall_split_yields(Pd *pd, const CatalogCollection *c, const CatalogShard *shard);
extern void stall_split_ends(Pd *pd, Changes *changes, CatalogCollection *c, CatalogShard *shard, const char *why);

/* It gives way to what is more urgent; false: it goes on. */
extern bool stall_split(Pd *pd, const Survey *survey, Changes *changes, CatalogCollection *c, CatalogShard *shard);
extern bool stall_split_rests(const Pd *pd, uint64_t shard);	/* it gave way a while ago */

#endif							/* PD_MOVES_H */
