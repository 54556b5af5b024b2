/*-------------------------------------------------------------------------
 *
 * operators.c
 *	  What is under way, why, how far it is, and since when.
 *
 * An operator is a shard's plan, a handover of its leadership, or the deletion of a dropped shard's replica.
 * Plans are in the catalog, their steps follow from reports; the times are this
 * driver's own and begin when it begins to lead.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service.h"

#define LOOK_US (1 * INT64_C(1000000))

/* What each kind of plan is called, and why it is made. */
static const struct
{
	const char *name;
	const char *why;
}			kinds[PLAN_KINDS] = {
	[PLAN_NONE] = {"none", ""},
	[PLAN_REPAIR] = {"repair", "a replica is lost"},
	[PLAN_GROW] = {"grow", "it has fewer replicas than are wanted"},
	[PLAN_SHRINK] = {"shrink", "it has more replicas than are wanted"},
	[PLAN_DRAIN] = {"drain", "its store is to be emptied"},
	[PLAN_MOVE] = {"move", "somebody asked for it"},
	[PLAN_BALANCE] = {"balance", "its store has more than others"},
	[PLAN_SPREAD] = {"spread", "two of its replicas stand too near to each other"},
	[PLAN_SEARCH] = {"search", "stores for searches are to have it"},
	[PLAN_SPLIT] = {"split", "it has grown, or somebody asked for it"},
	[PLAN_RECOVER] = {"recover", "a majority of its replicas is lost for good"},
};

static const PlanMember *
member_of(const PlanShard *shard, uint64_t replica)
{
	for (uint32_t i = 0; replica && i < shard->n; i++)
		if (shard->members[i].replica == replica)
			return &shard->members[i];
	return NULL;
}

/* The step in words that do not change while it lasts. */
static const char *
step_name(const PlanShard *shard, const Step *step)
{
	const PlanMember *added = member_of(shard, shard->plan.add_replica);

	switch (step->kind)
	{
		case STEP_CREATE:
			return "make the new replica";
		case STEP_CHANGE:
			if (shard->plan.add_replica && !added)
				return "let it join as a learner";
			return shard->plan.remove ? "let the other go" : "give it a vote";
		case STEP_TRANSFER:
			return "hand leadership over";
		case STEP_END:
		case STEP_UNDO:
			return "end";
		case STEP_WAIT:
			break;
	}
	if (shard->plan.kind == PLAN_SPLIT)
		return shard->split ? "wait for the new shard's replicas" :
			shard->prepared ? "ask its leader to split" : "have its rows copied";
	if (!shard->settled)
		return shard->leader ? "wait for the members to settle" : "wait for a leader";
	if (added && !added->voter)
		return added->active ? "wait until the new replica has the log" : "wait for the new replica";
	return "wait for a voter that can lead";
}

static const char *
recover_words(RecoverStage stage)
{
	switch (stage)
	{
		case RECOVER_TELL:
			return "tell its survivors of a new life";
		case RECOVER_CHOOSE:
			return "choose who goes on";
		case RECOVER_NOBODY:
			return "nobody is left that has anything";
		case RECOVER_FORCE:
			return "make the chosen one lead";
		case RECOVER_DONE:
			break;
	}
	return "end";
}

/* -- Since when -------------------------------------------------------------- */

static int
operator_compare(const void *a, const void *b)
{
	uint64_t	x = ((const Operator *) a)->shard;
	uint64_t	y = ((const Operator *) b)->shard;

	return x < y ? -1 : x > y;
}

static bool
is_same_plan(const Plan *a, const Plan *b)
{
	return a->kind == b->kind && a->add_replica == b->add_replica && a->remove == b->remove &&
		a->child == b->child && a->chosen == b->chosen;
}

const char *
operator_name(PlanKind kind)
{
	return kinds[kind].name;
}

const Operator *
operator_of(const Pd *pd, uint64_t shard)
{
	Operator	key = {.shard = shard};

	return pd->noperators == 0 ? NULL : bsearch(&key, pd->operators, pd->noperators, sizeof(Operator), operator_compare);
}

/* What was noted before stays; what has ended is forgotten. */
static void
note_operators(Pd *pd)
{
	size_t		nplanned;
	const uint64_t *planned = catalog_planned(pd->catalog, &nplanned);
	Operator   *now = vt_alloc(sizeof(Operator) * (nplanned + 1));
	size_t		n = 0;

	for (size_t i = 0; i < nplanned; i++)
	{
		CatalogCollection *c;
		const CatalogShard *shard = find_shard(pd, planned[i], &c);
		Operator	op = {.shard = planned[i], .since_us = pd->now_us, .step_since_us = pd->now_us, .progress_us = pd->now_us};
		const Operator *before;
		PlanShard	picture;
		Step		step;

		if (!shard || c->state != COLLECTION_LIVE)
			continue;
		op.plan = shard->plan;
		step = operate_step(pd, c, shard, &picture);
		op.step = shard->plan.kind == PLAN_RECOVER ? recover_words(recover_stage(pd, shard)) : step_name(&picture, &step);
		op.prepared = picture.prepared;
		op.progress = stall_progress(&picture);
		before = operator_of(pd, op.shard);
		if (before && is_same_plan(&before->plan, &op.plan))
		{
			op.since_us = before->since_us;
			if (before->step == op.step)
				op.step_since_us = before->step_since_us;
			if (before->step == op.step && before->progress == op.progress)
				op.progress_us = before->progress_us;
		}
		now[n++] = op;
	}
	if (n > 0)
		qsort(now, n, sizeof(Operator), operator_compare);
	free(pd->operators);
	pd->operators = now;
	pd->noperators = n;
}

void
operators_look(Pd *pd)
{
	if (pd->now_us < pd->operators_due_us)
		return;
	pd->operators_due_us = pd->now_us + LOOK_US;
	note_operators(pd);
	stalls_look(pd);
}

/* -- Telling ----------------------------------------------------------------- */

static json_t *
row_of(const CatalogCollection *c, const CatalogShard *shard, const char *kind, const char *why)
{
	json_t	   *row = json_object();

	json_object_set_new(row, "shard", json_u64(shard->desc.shard));
	json_object_set_new(row, "generation", json_id(&c->generation));
	json_object_set_new(row, "label", json_string(c->label));
	json_object_set_new(row, "kind", json_string(kind));
	json_object_set_new(row, "why", json_string(why));
	return row;
}

static void
add_plan(Pd *pd, json_t *list, const Operator *op)
{
	CatalogCollection *c;
	const CatalogShard *shard = find_shard(pd, op->shard, &c);
	PlanShard	picture;
	const PlanMember *leaves;
	const PlanMember *added;
	const PlanMember *leader;
	const PlanMember *chosen;
	json_t	   *row;

	operate_step(pd, c, shard, &picture);
	chosen = member_of(&picture, op->plan.chosen);
	leaves = member_of(&picture, op->plan.remove);
	added = member_of(&picture, op->plan.add_replica);
	leader = member_of(&picture, picture.leader);
	row = row_of(c, shard, kinds[op->plan.kind].name, kinds[op->plan.kind].why);
	json_object_set_new(row, "step", json_string(op->step));
	json_object_set_new(row, "from_store", json_u64(leaves ? leaves->store : 0));
	json_object_set_new(row, "from_replica", json_u64(op->plan.remove));
	json_object_set_new(row, "to_store", json_u64(chosen ? chosen->store : op->plan.add_store));
	json_object_set_new(row, "to_replica", json_u64(op->plan.kind == PLAN_RECOVER ? op->plan.chosen : op->plan.add_replica));
	json_object_set_new(row, "behind", json_u64(added && leader && leader->match > added->match ?
												leader->match - added->match : 0));
	json_object_set_new(row, "since_ms", json_integer((pd->now_us - op->since_us) / 1000));
	json_object_set_new(row, "step_since_ms", json_integer((pd->now_us - op->step_since_us) / 1000));
	json_array_append_new(list, row);
}

/* A doomed shard waits for each store that has a replica of it. */
static void
add_deletions(Pd *pd, json_t *list, const CatalogCollection *c, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];
		json_t	   *row = row_of(c, shard, "delete", "its collection was dropped");

		json_object_set_new(row, "step", json_string(store_is_up(pd, r->store) ? "delete its data" : "wait for the store, which is silent"));
		json_object_set_new(row, "from_store", json_u64(r->store));
		json_object_set_new(row, "from_replica", json_u64(r->replica));
		json_object_set_new(row, "to_store", json_u64(0));
		json_object_set_new(row, "to_replica", json_u64(0));
		json_object_set_new(row, "behind", json_u64(0));
		json_array_append_new(list, row);
	}
}

/* Leadership that moves: it is in memory alone (handover.c). */
static void
add_handover(Pd *pd, json_t *list, const CatalogCollection *c, const CatalogShard *shard, const Handover *h)
{
	static const char *const why[] = {"somebody asked for it", "its store leads more than others", "its store's disk is short"};
	json_t	   *row = row_of(c, shard, "lead", why[h->why]);

	json_object_set_new(row, "step", json_string(h->given_up ? "given up: the new leader did not come" : "hand leadership over"));
	json_object_set_new(row, "from_store", json_u64(h->from_store));
	json_object_set_new(row, "from_replica", json_u64(h->from));
	json_object_set_new(row, "to_store", json_u64(h->to_store));
	json_object_set_new(row, "to_replica", json_u64(h->to));
	json_object_set_new(row, "behind", json_u64(0));
	json_object_set_new(row, "since_ms", json_integer((pd->now_us - h->begun_us) / 1000));
	json_object_set_new(row, "step_since_ms", json_integer((pd->now_us - h->begun_us) / 1000));
	json_array_append_new(list, row);
}

/* q: who asks; NULL = whoever may see everything. */
json_t *
json_operators(Pd *pd, const Question *q)
{
	json_t	   *list = json_array();

	note_operators(pd);
	for (size_t i = 0; i < pd->noperators; i++)
	{
		CatalogCollection *c;

		if (find_shard(pd, pd->operators[i].shard, &c) && (!q || rights_see(q, &c->owner)))
			add_plan(pd, list, &pd->operators[i]);
	}
	for (size_t i = 0; i < pd->nhandovers; i++)
	{
		CatalogCollection *c;
		const CatalogShard *shard = find_shard(pd, pd->handovers[i].shard, &c);

		if (shard && (!q || rights_see(q, &c->owner)))
			add_handover(pd, list, c, shard, &pd->handovers[i]);
	}
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
	{
		const CatalogCollection *c = pd->catalog->collections[i];

		if (c->state != COLLECTION_DOOMED || (q && !rights_see(q, &c->owner)))
			continue;
		for (uint32_t j = 0; j < c->nshards; j++)
			add_deletions(pd, list, c, &c->shards[j]);
	}
	return list;
}

/* operators */
void
op_operators(Pd *pd, Question *q)
{
	json_t	   *reply = json_object();

	json_object_set_new(reply, "operators", json_operators(pd, q));
	answer(q, VT_OK, reply, NULL);
}
