/*-------------------------------------------------------------------------
 *
 * recover.c
 *	  Shards that have lost a majority of their replicas for good.
 *
 * Such a shard has no leader and never gets one: Raft cannot tell stores that are
 * gone from stores that are away.  A person can.  What follows is staged.
 *
 *	1.	The plan.  Who asks names the stores that are lost; they must be down.  What
 *		their shards have left elsewhere is told, and what may be missing.  Nothing
 *		is changed.  The plan has an id, made of all that it was decided from.
 *	2.	With that id it is carried out, by one command: the named stores are
 *		forgotten, so that they can never come back with what they have, and each
 *		of the shards begins another life (desc.incarnation) and gets an operator.
 *	3.	Each survivor is told its new life, and serves no gateway from then on.
 *	4.	When all have said so the one with the most advanced log is chosen, by a
 *		command: one for each life, whoever leads among the drivers.  It is forced to
 *		lead, the others become its learners.
 *	5.	When it has reported, the operator is over, and repair goes on as ever.
 *
 * Between any two of these a driver or a store may die: what is decided is in the
 * log, and a task is given until a report shows that it is done.  A survivor that
 * dies for good meanwhile is named in another plan, which begins one more life.
 *
 * What the lost alone had acknowledged is gone, and that is never silent: a shard in
 * a later life than the first is refused to gateways by its workers and here (law W7).
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/breaks.h"
#include "base/hash.h"
#include "base/log.h"
#include "service.h"

#define SHARDS_SHOWN 1000		/* of a plan */

/* -- The plan ------------------------------------------------------------------ */

/* How far anybody is known to have come, the lost included: what this driver has heard while it leads. */
static uint64_t
known_end(Pd *pd, const CatalogShard *shard)
{
	uint64_t	end = 0;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const Report *report = report_of(pd, shard->desc.replicas[i].store, shard->desc.shard);

		if (report && report->replica == shard->desc.replicas[i].replica && report->applied > end)
			end = report->applied;
	}
	return end;
}

static json_t *
json_survivors(Pd *pd, const Lost *lost, const CatalogShard *shard)
{
	json_t	   *list = json_array();

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];
		const Report *report = report_of(pd, r->store, shard->desc.shard);

		if (remains_left(pd, lost, shard, i) != LEFT_LIVING)
			continue;
		json_array_append_new(list, json_pack("{s:o,s:o,s:s,s:o,s:o,s:o}", "store", json_u64(r->store), "replica", json_u64(r->replica),
											  "role", r->role == ROLE_VOTER ? "voter" : "learner", "last_term", json_u64(report->last_term),
											  "last", json_u64(report->last), "applied", json_u64(report->applied)));
	}
	return list;
}

/* A shard of the plan: what is left, what is done with it, and what is known to be missing. */
static json_t *
json_planned(Pd *pd, const Lost *lost, const CatalogCollection *c, const CatalogShard *shard, const Remains *remains)
{
	const WireReplica *best = remains->best >= 0 ? &shard->desc.replicas[remains->best] : NULL;
	const Report *report = best ? report_of(pd, best->store, shard->desc.shard) : NULL;
	uint64_t	end = known_end(pd, shard);
	char		survivors[200] = "";

	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (remains_left(pd, lost, shard, i) == LEFT_LIVING)
			snprintf(survivors + strlen(survivors), sizeof(survivors) - strlen(survivors), "%s%" PRIu64,
					 survivors[0] ? "," : "", shard->desc.replicas[i].store);
	return json_pack("{s:o,s:o,s:s,s:i,s:i,s:b,s:s,s:o,s:o,s:s,s:o}", "shard", json_u64(shard->desc.shard), "generation", json_id(&c->generation),
					 "label", c->label, "voters", (int) remains->voters, "lost", (int) remains->lost_voters, "changing", (int) remains->stuck,
					 "survivors", survivors, "leads", json_u64(best ? best->store : 0),
					 "missing", json_u64(report && end > report->last ? end - report->last : 0),
					 "action", remains->unclear ? "wait" : best ? "recover" : "give up",
					 "replicas", json_survivors(pd, lost, shard));
}

/* What the plan's id is made of: all that it was decided from, but for how far logs are. */
static uint64_t
mix_shard(uint64_t id, Pd *pd, const Lost *lost, const CatalogShard *shard, const Remains *remains)
{
	Buf			bytes = {0};

	buf_put_u64(&bytes, shard->desc.shard);
	buf_put_u64(&bytes, shard->desc.incarnation);
	buf_put_u64(&bytes, shard->conf_index);
	if (remains->stuck)
		buf_put_u64(&bytes, (uint64_t) remains->voters << 32 | remains->lost_voters);
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		buf_put_u64(&bytes, shard->desc.replicas[i].replica);
		buf_put_u8(&bytes, (uint8_t) remains_left(pd, lost, shard, i));
	}
	id = hash_place(buf_bytes(&bytes), id);
	buf_free(&bytes);
	return id;
}

/*
 * The shard as it may be by now: a replica on its way may have become a member, and the
 * leader that knew of it is gone.
 */
static CatalogShard
with_arriving(const Lost *lost, const CatalogShard *shard)
{
	CatalogShard out = *shard;
	const Plan *plan = &shard->plan;

	for (int i = 0; i < out.desc.nreplicas; i++)
		if (out.desc.replicas[i].replica == plan->add_replica)
			return out;
	if (plan->add_replica && (plan->add_seen || lost_has(lost, plan->add_store)) && out.desc.nreplicas < WIRE_REPLICAS_MAX)
	{
		out.seen |= (uint16_t) (1u << out.desc.nreplicas);
		out.desc.replicas[out.desc.nreplicas++] = (WireReplica) {plan->add_store, plan->add_replica, ROLE_LEARNER};
	}
	return out;
}

/*
 * Is it one of these shards?  One that is being recovered is not begun again but for a
 * store that was not given up before; one that a plan has left out, since a leader
 * had not noticed yet, is taken by the next, also when its stores are forgotten.
 */
static bool
is_concerned(Pd *pd, const Lost *lost, const CatalogCollection *c, const CatalogShard *shard, Remains *remains)
{
	bool		is_named_here = false;
	bool		is_new = false;
	uint64_t	leads;

	if (c->state != COLLECTION_LIVE || leader_of(pd, shard, &leads))
		return false;			/* what was dropped is not brought back, and who has a leader has a majority */
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		if (!lost_has(lost, shard->desc.replicas[i].store))
			continue;
		is_named_here = true;
		is_new |= catalog_store(pd->catalog, shard->desc.replicas[i].store) != NULL;
	}
	if (!is_named_here || (!is_new && shard->plan.kind == PLAN_RECOVER))
		return false;
	*remains = remains_of(pd, lost, shard);
	/* Its survivors have been told that they elect nobody. */
	return (shard->plan.kind == PLAN_RECOVER || remains_is_beyond(remains)) && (is_new || remains->best >= 0);
}

typedef struct RecoverPlan
{
	uint64_t	id;
	size_t		recovered;
	size_t		given_up;
	uint64_t	waits_for;		/* a store; 0 = the plan can be carried out */
	uint64_t	splitting;		/* a shard whose split may be given up yet; 0 = none */
	json_t	   *shards;
	Changes		changes;
} RecoverPlan;

/*
 * What is to happen to one shard, in the copy of its row.  It is not founded again,
 * also if nobody has reported yet that it was.  The plan that it had ends here, also that
 * of a split that was made: its child is a shard like any other, and may be one of these.
 */
static void
plan_shard(Changes *changes, const CatalogCollection *c, const CatalogShard *shard, const CatalogShard *whole, const Remains *remains)
{
	CatalogShard *changed = changes_of_shard(changes, c, shard);

	*changed = *whole;
	changed->desc.incarnation++;
	changed->bootstrapped = true;
	memset(&changed->plan, 0, sizeof(changed->plan));
	if (remains->best >= 0)
		changed->plan.kind = PLAN_RECOVER;
	changes_of(changes, c)->route_version++;
}

/* The caller drops or commits plan->changes, and releases plan->shards. */
static void
make_plan(Pd *pd, const Lost *lost, RecoverPlan *plan)
{
	Buf			stores = {0};

	memset(plan, 0, sizeof(*plan));
	plan->shards = json_array();
	changes_begin(pd, &plan->changes);
	for (size_t i = 0; i < lost->n; i++)
		buf_put_u64(&stores, lost->stores[i]);
	plan->id = hash_place(buf_bytes(&stores), get_le64(pd->catalog->meta.cluster.b));
	buf_free(&stores);
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		for (uint32_t j = 0; j < pd->catalog->collections[i]->nshards; j++)
		{
			const CatalogCollection *c = pd->catalog->collections[i];
			const CatalogShard *shard = &c->shards[j];
			const CatalogShard whole = with_arriving(lost, shard);
			Remains		remains;

			if (!is_concerned(pd, lost, c, &whole, &remains))
				continue;
			plan->id = mix_shard(plan->id, pd, lost, &whole, &remains);
			if (remains.unclear)
				plan->waits_for = remains.unclear_store;
			if (shard->plan.kind == PLAN_SPLIT && !split_is_done(c, shard))
				plan->splitting = shard->desc.shard;
			plan->recovered += remains.best >= 0;
			plan->given_up += remains.best < 0;
			if (json_array_size(plan->shards) < SHARDS_SHOWN)
				json_array_append_new(plan->shards, json_planned(pd, lost, c, &whole, &remains));
			plan_shard(&plan->changes, c, shard, &whole, &remains);
		}
}

/* "3,7": stores that are known and down, or were forgotten before. */
static VtStatus
read_lost(Pd *pd, const char *text, Lost *lost, VtError *err)
{
	memset(lost, 0, sizeof(*lost));
	while (text && *text)
	{
		char	   *end;
		uint64_t	id = strtoull(text, &end, 10);
		const CatalogStore *store = catalog_store(pd->catalog, id);
		size_t		at = lost->n;

		if (end == text || (*end && *end != ',') || (*end == ',' && !end[1]))
			return vt_fail(err, VT_INVALID, "\"%.60s\" is no list of stores like 3,7", text);
		text = *end ? end + 1 : end;
		if (lost_has(lost, id))
			continue;
		if (lost->n == LOST_MAX)
			return vt_fail(err, VT_INVALID, "at most %d stores can be given up at once", LOST_MAX);
		if (!store && !catalog_gone(pd->catalog, id, NULL))
			return vt_fail(err, VT_NOT_FOUND, "there is no store %" PRIu64, id);
		if (store && store_health(pd, store) != HEALTH_DOWN)
			return vt_fail(err, VT_EXISTS, "store %" PRIu64 " at %s is %s: only a store that is down can be given up", id, store->endpoint,
						   store_health(pd, store) == HEALTH_UP ? "up" : "silent, but not for as long as would make it down");
		for (; at > 0 && lost->stores[at - 1] > id; at--)
			lost->stores[at] = lost->stores[at - 1];
		lost->stores[at] = id;
		lost->n++;
	}
	return lost->n > 0 ? VT_OK : vt_fail(err, VT_INVALID, "which stores are lost?");
}

/* Why the plan cannot be carried out now; "" = it can. */
static void
blocked_by(const RecoverPlan *plan, char *out, size_t size)
{
	out[0] = '\0';
	if (plan->waits_for)
		snprintf(out, size, "store %" PRIu64 " has replicas of these shards, too, and is silent: start it, or, if it is lost for good, name it with the others", plan->waits_for);
	else if (plan->splitting)
		snprintf(out, size, "shard %" PRIu64 " is being split: vectronctl cancel %" PRIu64 " first", plan->splitting, plan->splitting);
	else if (plan->recovered + plan->given_up == 0)
		snprintf(out, size, "no shard has lost its majority with these stores: their replicas are made anew by themselves, and vectronctl forget-store removes a store that holds nothing any more");
}

static json_t *
json_lost(Pd *pd, const Lost *lost)
{
	json_t	   *list = json_array();

	for (size_t i = 0; i < lost->n; i++)
	{
		const CatalogStore *store = catalog_store(pd->catalog, lost->stores[i]);
		const CatalogGone *gone = catalog_gone(pd->catalog, lost->stores[i], NULL);

		json_array_append_new(list, json_pack("{s:o,s:s,s:s}", "store", json_u64(lost->stores[i]),
											  "endpoint", store ? store->endpoint : gone->endpoint, "state", store ? "down" : "gone"));
	}
	return list;
}

static VtStatus
carry_out(Pd *pd, const Lost *lost, RecoverPlan *plan)
{
	Buf			command = {0};
	VtStatus	status;

	plan->changes.meta.peers_version++;
	plan->changes.meta_changed = true;
	changes_put(pd, &plan->changes, &command);
	for (size_t i = 0; i < lost->n; i++)
		if (catalog_store(pd->catalog, lost->stores[i]))
			store_goes(pd, catalog_store(pd->catalog, lost->stores[i]), &command);
	status = pd->commit(pd, &command);
	buf_free(&command);
	if (status == VT_OK)
		log_warn("plan %016" PRIx64 ": %zu stores are given up for ever, %zu shards are recovered from what is left, %zu have nothing left",
				 plan->id, lost->n, plan->recovered, plan->given_up);
	return status;
}

/*
 * unsafe_recover: the plan, or with its id in "apply" the deed.  *reply is the
 * plan, also of a refusal because it is another one by now.
 */
VtStatus
unsafe_recover(Pd *pd, json_t *body, json_t **reply, VtError *err)
{
	const char *apply = json_string_value(json_object_get(body, "apply"));
	RecoverPlan plan;
	Lost		lost;
	char		id[17];
	char		blocked[240];
	VtStatus	status;

	*reply = NULL;
	if (catalog_level(pd->catalog) < VT_LEVEL_RECOVER)
		return vt_fail(err, VT_VERSION, "this takes feature level %d, and the cluster works at %u: vectronctl check says who holds it there", VT_LEVEL_RECOVER, catalog_level(pd->catalog));
	if (!reports_are_in(pd))
		return vt_fail(err, VT_BUSY, "the placement driver has just begun to lead and waits for the workers' reports");
	status = read_lost(pd, json_string_value(json_object_get(body, "stores")), &lost, err);
	if (status != VT_OK)
		return status;
	make_plan(pd, &lost, &plan);
	snprintf(id, sizeof(id), "%016" PRIx64, plan.id);
	blocked_by(&plan, blocked, sizeof(blocked));
	*reply = json_pack("{s:s,s:o,s:o,s:i,s:i,s:s,s:b}", "plan", id, "stores", json_lost(pd, &lost), "shards", plan.shards,
					   "recovered", (int) plan.recovered, "given_up", (int) plan.given_up, "blocked", blocked, "applied", 0);
	if (!apply)
		;						/* a dry run */
	else if (strcmp(apply, id) != 0)
		status = vt_fail(err, VT_FENCED, "plan %.40s is not what would be done now, which is plan %s: look at it first", apply, id);
	else if (blocked[0])
		status = vt_fail(err, VT_EXISTS, "%s", blocked);
	else
	{
		status = carry_out(pd, &lost, &plan);
		json_object_set_new(*reply, "applied", json_boolean(status == VT_OK));
		if (status != VT_OK)
			vt_fail(err, status, "the plan could not be recorded");
	}
	changes_drop(&plan.changes);
	return status;
}

void
op_unsafe_recover(Pd *pd, Question *q)
{
	VtError		err = {0};
	json_t	   *reply;
	VtStatus	status = unsafe_recover(pd, q->body, &reply, &err);

	if (status == VT_OK)
	{
		answer(q, status, reply, NULL);
		return;
	}
	json_decref(reply);
	refuse(q, status, "%s", vt_error_words(&err));
}

/* -- Carrying on --------------------------------------------------------------- */

/* Is this a report of the life that the shard is in now? */
static bool
is_of_this_life(const CatalogShard *shard, const Report *report)
{
	return report->incarnation == shard->desc.incarnation;
}

/* Have all survivors heard that the old life is over? */
static bool
all_have_heard(Pd *pd, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (remains_left(pd, NULL, shard, i) == LEFT_LIVING &&
			!is_of_this_life(shard, report_of(pd, shard->desc.replicas[i].store, shard->desc.shard)))
			return false;
	return true;
}

RecoverStage
recover_stage(Pd *pd, const CatalogShard *shard)
{
	uint64_t	store;
	Remains		remains;
	const Report *leader;

	if (shard->plan.chosen)
	{
		leader = leader_of(pd, shard, &store);
		return leader && is_of_this_life(shard, leader) && leader->conf_index == shard->conf_index && !leader->joint ?
			RECOVER_DONE : RECOVER_FORCE;
	}
	remains = remains_of(pd, NULL, shard);
	if (remains.unclear || (!all_have_heard(pd, shard) && !vt_broken("PD-heard")))
		return RECOVER_TELL;
	return remains.best >= 0 ? RECOVER_CHOOSE : RECOVER_NOBODY;
}

/*
 * The choice is made once for a life.  The members that a leader reports are taken
 * whatever their index is: the lost may have gone further, for nothing.
 */
void
recover_step(Pd *pd, Changes *changes, const CatalogCollection *c, const CatalogShard *shard)
{
	RecoverStage stage = recover_stage(pd, shard);
	CatalogShard *changed;

	if (stage != RECOVER_CHOOSE && stage != RECOVER_DONE)
		return;
	changed = changes_of_shard(changes, c, shard);
	if (stage == RECOVER_CHOOSE)
	{
		const WireReplica *best = &shard->desc.replicas[remains_of(pd, NULL, shard).best];

		changed->plan.chosen = best->replica;
		changed->conf_index = 0;
		log_warn("shard=%" PRIu64 " life %" PRIu64 " goes on with replica=%" PRIu64 " on store=%" PRIu64, shard->desc.shard,
				 shard->desc.incarnation, best->replica, best->store);
	}
	else
	{
		operator_ended(pd, shard, ENDING_DONE);
		memset(&changed->plan, 0, sizeof(changed->plan));
		log_warn("shard=%" PRIu64 " is recovered, in life %" PRIu64, shard->desc.shard, shard->desc.incarnation);
	}
}

/* The chosen one votes, the other survivors learn from it. */
static json_t *
json_forced(Pd *pd, const CatalogShard *shard)
{
	json_t	   *members = json_array();

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];

		if (r->replica == shard->plan.chosen || remains_left(pd, NULL, shard, i) == LEFT_LIVING)
			json_array_append_new(members, json_pack("{s:o,s:o,s:s}", "replica", json_u64(r->replica), "store", json_u64(r->store),
													 "role", r->replica == shard->plan.chosen ? "voter" : "learner"));
	}
	return members;
}

/* What a store with this replica is to do; NULL = nothing. */
json_t *
recover_task(Pd *pd, const CatalogShard *shard, const Report *report)
{
	bool		forced = report->replica == shard->plan.chosen && !report->leader;
	json_t	   *task;

	/* One that is being closed is still held by somebody: it is told again. */
	if (is_of_this_life(shard, report) && !forced && !report->leaving)
		return NULL;
	task = json_pack("{s:s,s:o,s:o,s:o}", "task", "recover_shard", "shard", json_u64(shard->desc.shard),
					 "replica", json_u64(report->replica), "incarnation", json_u64(shard->desc.incarnation));
	if (forced)
		json_object_set_new(task, "members", json_forced(pd, shard));
	return task;
}

bool
collection_went_back(const CatalogCollection *c, uint64_t *shard)
{
	for (uint32_t i = 0; i < c->nshards; i++)
		if (c->shards[i].desc.incarnation != 1)
		{
			*shard = c->shards[i].desc.shard;
			return true;
		}
	return false;
}
