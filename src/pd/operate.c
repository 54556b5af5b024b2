/*-------------------------------------------------------------------------
 *
 * operate.c
 *	  Moving replicas: plans begun, ended and turned into tasks for workers.
 *
 * What the catalog knows for certain and what stores say now make the picture
 * that plan.c decides on.  A plan's beginning and end are commands in the log;
 * the steps in between are tasks in the answers to heartbeats, each the same
 * until a report shows that it was done.
 *
 * A replica that is neither a member of its group nor on its way to become one
 * is deleted where it is reported, but only when it knows no newer configuration
 * than the catalog, or one that was never committed: else it may be a member that we
 * have not heard of yet.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/breaks.h"
#include "base/hash.h"
#include "base/log.h"
#include "service.h"

#define LOOK_US 200000			/* between two looks at the plans, and for each shard */
#define LOOK_SHARD_US 5
#define TELL_AGAIN_US 500000
#define BRAKE_REST_US (60 * INT64_C(1000000))
#define STEADY_US (30 * INT64_C(1000000))	/* after it came back, before a store is given more for balance' sake */
#define STORE_MOVES 2			/* limits, where none are given, */
#define STORE_MOVES_SMALL 8		/* and of such replicas */
#define SMALL_BYTES (UINT64_C(128) << 20)	/* as have less in all */
#define MOVES 64				/* or one for each store */
#define TRIES_MAX 1000			/* shards that are looked at closely in a look */

/* -- The picture ----------------------------------------------------------- */

/* Which replica of the shard the catalog has on this store. */
bool
operate_has_replica(const CatalogShard *shard, uint64_t store, uint64_t *replica)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].store == store)
		{
			*replica = shard->desc.replicas[i].replica;
			return true;
		}
	*replica = shard->plan.add_replica;
	return shard->plan.add_replica != 0 && shard->plan.add_store == store;
}

void
operate_picture(Pd *pd, const CatalogCollection *c, const CatalogShard *shard, PlanShard *out)
{
	uint64_t	store;
	Report	   *leader = leader_of(pd, shard, &store);

	memset(out, 0, sizeof(*out));
	out->shard = shard->desc.shard;
	out->wanted = replicas_wanted(pd, c);
	out->learners = pd->search_stores < pd->options.search_replicas ? pd->search_stores : pd->options.search_replicas;
	out->settled = shard->bootstrapped && leader && leader->nmembers > 0 && !leader->joint &&
		leader->conf_index == shard->conf_index;
	out->leader = leader ? leader->replica : 0;
	out->plan = shard->plan;
	out->split = shard->plan.kind == PLAN_SPLIT && split_is_done(c, shard);
	out->prepared = shard->plan.kind == PLAN_SPLIT && split_is_prepared(pd, shard);
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];
		CatalogStore *home = catalog_store(pd->catalog, r->store);
		PlanMember *m = &out->members[out->n++];

		m->replica = r->replica;
		m->store = r->store;
		m->voter = r->role == ROLE_VOTER;
		m->search_only = home && home->search_only;
		m->draining = home && (home->draining || (m->voter && home->search_only));
		m->site = spread_site(&pd->options.spread, home ? home->labels : "");
		m->health = replica_health(pd, r->store, shard->desc.shard, r->replica, shard->seen >> i & 1);
		for (uint32_t j = 0; leader && j < leader->nmembers; j++)
			if (leader->members[j].replica.replica == r->replica)
			{
				m->active = leader->members[j].active;
				m->match = leader->members[j].match;
			}
		out->holders[out->nholders++] = r->store;
	}
	if (shard->plan.add_replica)
		out->arriving = replica_health(pd, shard->plan.add_store, shard->desc.shard,
									   shard->plan.add_replica, shard->plan.add_seen);
}

/* How far a shard's plan is, for those who look. */
Step
operate_step(Pd *pd, const CatalogCollection *c, const CatalogShard *shard, PlanShard *picture)
{
	operate_picture(pd, c, shard, picture);
	if (shard->plan.kind == PLAN_RECOVER)
		return (Step) {.kind = recover_stage(pd, shard) == RECOVER_DONE ? STEP_END : STEP_WAIT};
	return shard->plan.kind != PLAN_SPLIT ? plan_step(picture) :
		(Step) {.kind = split_is_over(pd, c, shard) ? STEP_END : STEP_WAIT};
}

/*
 * Has the store still a replica of it which is no member?  Then nothing else can come
 * there, and it is noted as one of those that have it.  Of a store that is about to be
 * chosen: there are a thousand, and almost none has.
 */
bool
operate_is_held(Pd *pd, const CatalogShard *shard, uint64_t store, PlanShard *picture)
{
	uint64_t	replica;

	if ((!report_of(pd, store, shard->desc.shard) && !replica_is_damaged(pd, store, shard->desc.shard)) ||
		operate_has_replica(shard, store, &replica))
		return false;
	if (picture->nholders < HOLDERS_MAX)
		picture->holders[picture->nholders++] = store;
	return true;
}

bool
operate_store(Pd *pd, uint64_t id, PlanStore *out)
{
	const CatalogStore *store = catalog_store(pd->catalog, id);
	const Beat *beat = beat_of(pd, id);

	memset(out, 0, sizeof(*out));
	if (!store)
		return false;
	out->store = id;
	out->draining = store->draining;
	out->search_only = store->search_only;
	out->site = spread_site(&pd->options.spread, store->labels);
	out->health = store_health(pd, store);
	out->steady = beat && pd->now_us - beat->steady_us >= STEADY_US;
	if (out->health == HEALTH_UP && !store->draining && beat)
	{
		out->takes = store_room(beat) == ROOM_ENOUGH;
		out->takes_little = store_room(beat) == ROOM_LITTLE;
	}
	return true;
}

/* -- Beginning and ending plans -------------------------------------------- */

const char *
operate_words(PlanKind kind)
{
	switch (kind)
	{
		case PLAN_REPAIR:
			return "replaces a lost replica";
		case PLAN_GROW:
			return "gets one more replica";
		case PLAN_SHRINK:
			return "loses a replica too many";
		case PLAN_DRAIN:
			return "leaves a store that is to be emptied";
		case PLAN_MOVE:
			return "moves as was asked for";
		case PLAN_BALANCE:
			return "leaves a fuller store";
		case PLAN_SPREAD:
			return "is spread wider";
		case PLAN_SEARCH:
			return "gets a replica for searches";
		case PLAN_SPLIT:
			return "is split in two";
		case PLAN_RECOVER:
			return "is recovered from what is left of it";
		default:
			return "is left as it is";
	}
}

static int
need_compare(const void *a, const void *b)
{
	const SurveyShard *x = (const SurveyShard *) a;
	const SurveyShard *y = (const SurveyShard *) b;

	if (x->urgency != y->urgency)
		return x->urgency < y->urgency ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

PlanLimits
operate_limits(const Pd *pd)
{
	uint32_t	stores = (uint32_t) pd->catalog->nstores;
	PlanLimits	limits = {.per_store = pd->options.store_moves, .plans = pd->options.moves};

	if (limits.per_store == 0)
	{
		limits.per_store = STORE_MOVES;
		limits.small_per_store = STORE_MOVES_SMALL;
		limits.small_bytes = SMALL_BYTES;
	}
	if (limits.plans == 0)
		limits.plans = stores > MOVES ? stores : MOVES;
	return limits;
}

/*
 * Is, or was a moment ago, too much silent at once?  Those that were come back one
 * after the other: what the last of them have is not to be made anew meanwhile.
 */
bool
operate_brake(Pd *pd, const Survey *survey)
{
	if (plan_brake(survey->stores, survey->nstores))
		pd->braked_until_us = pd->now_us + BRAKE_REST_US;
	return pd->now_us < pd->braked_until_us;
}

/* Put a plan into the shard's row, and into the survey. */
void
operate_begin(Pd *pd, Survey *survey, Changes *changes, const CatalogCollection *c, const CatalogShard *shard, Plan *plan)
{
	if (plan->add_store && !plan->add_replica)
		plan->add_replica = changes_next_id(changes);
	changes_of_shard(changes, c, shard)->plan = *plan;
	survey_begins(survey, shard, plan, (uint64_t) shard_bytes(pd, shard->desc.shard));
	log_info("shard=%" PRIu64 " %s: new replica=%" PRIu64 " store=%" PRIu64 ", leaves replica=%" PRIu64,
			 shard->desc.shard, operate_words(plan->kind), plan->add_replica, plan->add_store, plan->remove);
}

bool
operate_choose(Pd *pd, const Survey *survey, const PlanLimits *limits, bool brake, const CatalogShard *shard,
			   PlanShard *picture, Plan *plan)
{
	stall_shun(pd, picture);
	while (picture->nholders < HOLDERS_MAX && plan_choose(picture, survey->stores, survey->nstores, limits, brake, plan))
		if (!operate_is_held(pd, shard, plan->add_store, picture))
			return true;
	return false;
}

/*
 * Begin the plans that are needed most, as far as the limits go.  When many can
 * not be served, not all are looked at closely in one look: the next one goes on
 * behind them.
 */
static void
begin_plans(Pd *pd, Survey *survey, Changes *changes)
{
	PlanLimits	limits = operate_limits(pd);
	bool		brake = operate_brake(pd, survey);
	SurveyShard *needs = survey->needs;
	size_t		n = survey->nneeds;
	size_t		from;
	size_t		tries = 0;
	uint64_t	last = 0;

	if (n == 0 || survey->plans >= limits.plans)
		return;
	qsort(needs, n, sizeof(SurveyShard), need_compare);
	from = pd->needs_from % n;
	for (; tries < n && tries < TRIES_MAX && survey->plans < limits.plans; tries++)
	{
		SurveyShard *need = &needs[(from + tries) % n];
		PlanShard	picture;
		Plan		plan;

		/* One that is lost in two places is listed twice. */
		if (need->shard->desc.shard == last)
			continue;
		operate_picture(pd, need->collection, need->shard, &picture);
		if (!picture.settled || !operate_choose(pd, survey, &limits, brake, need->shard, &picture, &plan))
			continue;
		operate_begin(pd, survey, changes, need->collection, need->shard, &plan);
		last = need->shard->desc.shard;
	}
	pd->needs_from = tries == TRIES_MAX && tries < n ? from + tries : 0;
}

/* End plans that are done; how many. */
static size_t
end_plans(Pd *pd, Survey *survey, Changes *changes)
{
	size_t		ended = 0;

	for (size_t i = 0; i < survey->nplanned; i++)
	{
		CatalogShard *shard = survey->planned[i].shard;
		PlanShard	picture;
		Step		step;

		if (shard->plan.kind == PLAN_RECOVER)
		{
			recover_step(pd, changes, survey->planned[i].collection, shard);
			continue;
		}
		if (shard->plan.kind == PLAN_SPLIT && stall_split(pd, survey, changes, survey->planned[i].collection, shard))
		{
			ended++;
			continue;
		}
		step = operate_step(pd, survey->planned[i].collection, shard, &picture);
		if (step.kind != STEP_END && step.kind != STEP_UNDO)
			continue;
		operator_ended(pd, shard, step.kind == STEP_UNDO ? ENDING_UNDONE : ENDING_DONE);
		if (shard->plan.kind == PLAN_MOVE)
			load_ask(pd, picture.shard);	/* it may have taken long */
		shard = changes_of_shard(changes, survey->planned[i].collection, shard);
		if (step.kind == STEP_UNDO)
			shard->plan = (Plan) {.kind = PLAN_SHRINK, .remove = shard->plan.add_replica};
		else
			memset(&shard->plan, 0, sizeof(shard->plan));
		log_info("shard=%" PRIu64 " %s", picture.shard,
				 step.kind == STEP_UNDO ? "undoes its change of replicas" : "has its replicas");
		ended++;
	}
	return ended;
}

/* End plans that are done, begin what is needed. */
void
plans_look(Pd *pd)
{
	Survey		survey;
	Changes		changes;
	int64_t		pause = (int64_t) catalog_nshards(pd->catalog) * LOOK_SHARD_US;
	size_t		ended;

	if (pd->now_us < pd->plans_due_us || !reports_are_in(pd))
		return;
	pd->plans_due_us = pd->now_us + LOOK_US + pause;
	survey_begin(pd, &survey);
	changes_begin(pd, &changes);
	ended = end_plans(pd, &survey, &changes);
	pd->repairing = survey.kinds[PLAN_REPAIR] + survey.kinds[PLAN_GROW] > 0;
	for (size_t i = 0; i < survey.nneeds; i++)
		pd->repairing |= survey.needs[i].urgency < 100;
	if (ended > 0 && !pd->repairing)
		rebalance_soon(pd);
	operate_brake(pd, &survey);
	begin_plans(pd, &survey, &changes);
	survey_end(&survey);
	if (changes_any(&changes))
		pd->plans_due_us = pd->now_us + pause;	/* there may be more */
	changes_commit(pd, &changes);
}

/* -- Tasks ----------------------------------------------------------------- */

static json_t *
task_of(const char *what, uint64_t shard)
{
	json_t	   *task = json_object();

	json_object_set_new(task, "task", json_string(what));
	json_object_set_new(task, "shard", json_u64(shard));
	return task;
}

/* Give a task, unless it was given a moment ago; takes it. */
static void
give(Pd *pd, uint64_t store, json_t *task, json_t *tasks)
{
	char	   *text = json_dumps(task, JSON_COMPACT | JSON_SORT_KEYS);
	uint64_t	what = hash_place(bytes_str(text), store);
	Told	   *told = &pd->told[what % TOLD];

	free(text);
	if (told->what == what && pd->now_us - told->at_us < TELL_AGAIN_US)
	{
		json_decref(task);
		return;
	}
	told->what = what;
	told->at_us = pd->now_us;
	json_array_append_new(tasks, task);
}

static void
give_create(Pd *pd, uint64_t store, CatalogCollection *c, const CatalogShard *shard, uint64_t replica,
			bool bootstrap, json_t *tasks)
{
	json_t	   *task = task_of("create_shard", shard->desc.shard);
	WireShardDesc born = split_born(c, shard);

	json_object_set_new(task, "desc", json_desc(&born));
	json_object_set_new(task, "replica", json_u64(replica));
	json_object_set_new(task, "bootstrap", json_boolean(bootstrap));
	give(pd, store, task, tasks);
}

void
operate_give(Pd *pd, uint64_t store, const char *what, uint64_t shard, uint64_t replica, json_t *tasks)
{
	json_t	   *task = task_of(what, shard);

	json_object_set_new(task, "replica", json_u64(replica));
	give(pd, store, task, tasks);
}

/*
 * whole: the collection is gone for good, and with the replica goes what was split off it
 * here, which we may never have heard of (split.c).
 */
void
operate_give_drop(Pd *pd, uint64_t store, uint64_t shard, uint64_t replica, bool whole, json_t *tasks)
{
	json_t	   *task = task_of("drop_shard", shard);

	json_object_set_new(task, "replica", json_u64(replica));
	if (whole)
		json_object_set_new(task, "whole", json_true());
	give(pd, store, task, tasks);
}

/* What the leader of a shard with a plan is to do. */
static void
give_step(Pd *pd, uint64_t store, const CatalogCollection *c, const CatalogShard *shard, json_t *tasks)
{
	PlanShard	picture;
	Step		step;
	json_t	   *task;
	json_t	   *members;

	if (shard->plan.kind == PLAN_SPLIT)
	{
		task = split_is_prepared(pd, shard) ? split_task(c, shard) : NULL;
		if (task)
			give(pd, store, task, tasks);
		return;
	}
	operate_picture(pd, c, shard, &picture);
	step = plan_step(&picture);
	if (step.kind == STEP_TRANSFER)
	{
		task = task_of("transfer_leader", shard->desc.shard);
		json_object_set_new(task, "replica", json_u64(step.replica));
		give(pd, store, task, tasks);
	}
	if (step.kind != STEP_CHANGE)
		return;
	task = task_of("change_members", shard->desc.shard);
	members = json_array();
	for (uint32_t i = 0; i < step.n; i++)
	{
		json_t	   *member = json_object();

		json_object_set_new(member, "replica", json_u64(step.members[i].replica));
		json_object_set_new(member, "store", json_u64(step.members[i].store));
		json_object_set_new(member, "role", json_string(step.members[i].role == ROLE_VOTER ? "voter" : "learner"));
		json_array_append_new(members, member);
	}
	json_object_set_new(task, "conf_index", json_u64(shard->conf_index));
	json_object_set_new(task, "members", members);
	give(pd, store, task, tasks);
}

/*
 * Is this replica still to be made?  Not when its store has reported it once,
 * and not when it is a learner that no plan wants any more.
 */
static bool
is_to_be_made(const CatalogShard *shard, uint64_t replica)
{
	if (vt_broken("P9-seen"))
		return true;
	if (shard->plan.add_replica == replica)
		return !shard->plan.add_seen;
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].replica == replica)
			return shard->desc.replicas[i].role == ROLE_VOTER && !(shard->seen >> i & 1);
	return false;
}

static void
tasks_of_shard(Pd *pd, Beat *beat, CatalogCollection *c, const CatalogShard *shard, json_t *tasks)
{
	Report	   *report = report_in(beat, shard->desc.shard);
	bool		was_quiet = beat->quiet;
	uint64_t	leads;
	uint64_t	replica;
	bool		ours = operate_has_replica(shard, beat->store, &replica);

	beat->quiet = false;		/* unless all is as it should be */
	if (c->state == COLLECTION_DOOMED)
	{
		if (ours)
			operate_give_drop(pd, beat->store, shard->desc.shard, replica, true, tasks);
		return;
	}
	if (report && shard->bootstrapped && (!ours || report->replica != replica))
	{
		if (replica_is_no_member(pd, shard, report))
			operate_give_drop(pd, beat->store, shard->desc.shard, report->replica, false, tasks);
		return;
	}
	if (c->state == COLLECTION_HIDDEN)
	{
		if (ours && report)
			operate_give(pd, beat->store, "close_shard", shard->desc.shard, replica, tasks);
		return;
	}
	if (shard->plan.kind == PLAN_RECOVER && report)
	{
		json_t	   *task = ours ? recover_task(pd, shard, report) : NULL;

		if (task)
			give(pd, beat->store, task, tasks);
		return;
	}
	if (ours && (!report || report->leaving))
	{
		/* A group is founded once [cluster-hazards 14]. */
		if (!report && (!shard->bootstrapped || is_to_be_made(shard, replica)) && shard->plan.kind != PLAN_RECOVER)
			give_create(pd, beat->store, c, shard, replica, !shard->bootstrapped, tasks);
		else if (!replica_is_damaged(pd, beat->store, shard->desc.shard))
			operate_give(pd, beat->store, "open_shard", shard->desc.shard, replica, tasks);
		return;
	}
	if (shard->plan.kind == PLAN_SPLIT && report)
	{
		json_t	   *task = split_prepare_task(c, shard, beat);

		if (task)
		{
			give(pd, beat->store, task, tasks);
			was_quiet = false;
		}
	}
	if (!report || !report->leader || shard->plan.kind == PLAN_NONE)
		beat->quiet = was_quiet;
	else if (leader_of(pd, shard, &leads) == report)
		give_step(pd, beat->store, c, shard, tasks);
}

/* What a store has to do with its shards, and with those it should not have. */
static void
tasks_of_shards(Pd *pd, Beat *beat, json_t *tasks)
{
	size_t		n;
	const ShardPlace *homes = shards_of_store(pd, beat->store, &n);
	CatalogCollection *c;
	uint64_t	replica;

	for (size_t i = 0; i < n; i++)
	{
		c = pd->catalog->collections[homes[i].collection];
		tasks_of_shard(pd, beat, c, &c->shards[homes[i].place], tasks);
	}
	/* What it has and should not have. */
	for (size_t i = 0; i < beat->nreports; i++)
	{
		CatalogShard *shard = find_shard(pd, beat->reports[i].shard, &c);

		if (shard && !operate_has_replica(shard, beat->store, &replica))
			tasks_of_shard(pd, beat, c, shard, tasks);
	}
	/* A damaged replica whose place another has taken. */
	for (size_t i = 0; i < beat->ndamaged; i++)
	{
		const Damaged *damaged = &beat->damaged[i];
		CatalogShard *shard = find_shard(pd, damaged->shard, &c);

		beat->quiet = false;
		if (shard && shard->bootstrapped && damaged->replica &&
			(!operate_has_replica(shard, beat->store, &replica) || replica != damaged->replica))
			operate_give_drop(pd, beat->store, damaged->shard, damaged->replica, false, tasks);
	}
}

/*
 * Everything a store has to do now.  When all was as it should be, and neither what
 * the store says nor what the catalog has of its shards is another since, it still is.
 */
void
tasks_for(Pd *pd, Beat *beat, json_t *tasks)
{
	uint64_t	touched = store_touched(pd->catalog, beat->store);

	if (!beat->quiet || beat->quiet_at != touched)
	{
		beat->quiet = true;
		beat->quiet_at = touched;
		tasks_of_shards(pd, beat, tasks);
	}
	handovers_tell(pd, beat, tasks);
	for (size_t i = 0; i < beat->nchildren; i++)
	{
		json_t	   *task = split_settle_task(pd, &beat->children[i]);

		if (task)
			give(pd, beat->store, task, tasks);
	}
}
