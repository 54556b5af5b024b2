/*-------------------------------------------------------------------------
 *
 * beats.c
 *	  What stores say to the driver, and what they do when it answers.
 *
 * A heartbeat is JSON as on the wire: what has changed since the driver was told
 * last, all if it knows nothing, and a digest.  The driver keeps it while it has nothing to say.  The store beats
 * again when the answer is there, or has not come in time.
 *
 *-------------------------------------------------------------------------
 */
#include "pdsim.h"

#define ANSWER_US (5 * SECOND)	/* an answer that is later does not come */

/* -- Saying ------------------------------------------------------------------ */

static json_t *
json_member(Sim *sim, const SimGroup *group, const WireReplica *member)
{
	const SimReplica *r = sim_live(sim, group->shard, member);
	json_t	   *row = json_object();

	json_object_set_new(row, "replica", json_u64(member->replica));
	json_object_set_new(row, "store", json_u64(member->store));
	json_object_set_new(row, "role", json_string(member->role == ROLE_VOTER ? "voter" : "learner"));
	json_object_set_new(row, "match", json_u64(sim_match(sim, group, r)));
	json_object_set_new(row, "active", json_boolean(r != NULL));
	return row;
}

static json_t *
json_report(Sim *sim, const SimReplica *r)
{
	const SimGroup *group = sim_group(sim, r->shard);
	bool		leader = group->leader == r->replica;
	uint64_t	applied = sim_match(sim, group, r);
	json_t	   *row = json_object();

	json_object_set_new(row, "shard", json_u64(r->shard));
	json_object_set_new(row, "replica", json_u64(r->replica));
	json_object_set_new(row, "term", json_u64(group->term));
	json_object_set_new(row, "leader", json_boolean(leader));
	json_object_set_new(row, "applied", json_u64(applied));
	json_object_set_new(row, "records", json_u64(group->bytes / 1000));
	json_object_set_new(row, "unindexed", json_u64(0));
	json_object_set_new(row, "bytes", json_u64(group->bytes));
	if (r->searched_us > 0)
		json_object_set_new(row, "walk_us", json_u64(r->searched_us));
	json_object_set_new(row, "conf_index", json_u64(leader ? group->conf_index : r->conf_index));
	json_object_set_new(row, "joint", json_boolean(leader && group->joint));
	if (leader)
	{
		json_t	   *members = json_array();

		for (uint32_t i = 0; i < group->n; i++)
			json_array_append_new(members, json_member(sim, group, &group->members[i]));
		json_object_set_new(row, "members", members);
	}
	if (r->owes)
		json_object_set_new(row, "owes", sim_owes(group, r));
	return row;
}

/* Differs, never 0, whenever the report would. */
static uint64_t
digest_of(Sim *sim, const SimReplica *r)
{
	const SimGroup *group = sim_group(sim, r->shard);
	bool		leader = group->leader == r->replica;
	uint64_t	digest = prng_mix(r->replica ^ group->term << 40);

	digest = prng_mix(digest ^ sim_match(sim, group, r) ^ (uint64_t) leader << 63);
	digest = prng_mix(digest ^ group->bytes ^ (uint64_t) r->owes << 63);
	if (r->searched_us > 0)
		digest = prng_mix(digest ^ r->searched_us);
	digest = prng_mix(digest ^ (leader ? group->conf_index : r->conf_index) ^ (uint64_t) (leader && group->joint) << 63);
	for (uint32_t i = 0; leader && i < group->n; i++)
	{
		const SimReplica *other = sim_live(sim, group->shard, &group->members[i]);

		digest = prng_mix(digest ^ group->members[i].replica ^ (uint64_t) group->members[i].role << 62);
		digest = prng_mix(digest ^ group->members[i].store);
		digest = prng_mix(digest ^ sim_match(sim, group, other) ^ (uint64_t) (other != NULL) << 63);
	}
	return digest | 1;
}

/* It has been searched until now as much as it is now. */
static void
pass_searches(Sim *sim, SimReplica *r)
{
	const SimGroup *group = sim_group(sim, r->shard);
	bool		answers = false;

	for (uint32_t i = 0; i < group->n; i++)
		answers |= group->members[i].replica == r->replica && r->ready_us <= sim->now;
	if (answers && group->searches > 0)
		r->searched_us += (uint64_t) (sim_share(sim, group) * (double) (sim->now - r->searched_at));
	r->searched_at = sim->now;
}

/* What has changed since the driver was told, or all. */
static void
say_what_is(Sim *sim, SimStore *store, json_t *body)
{
	json_t	   *shards = json_array();
	json_t	   *gone = json_array();
	bool		whole = store->told == 0;

	for (size_t i = 0; i < store->n; i++)
	{
		SimReplica *r = &store->replicas[i];

		pass_searches(sim, r);
		r->saying = digest_of(sim, r);
		if (whole || r->saying != r->told)
			json_array_append_new(shards, json_report(sim, r));
	}
	for (size_t i = 0; i < store->nlost && !whole; i++)
		if (!sim_replica(store, store->lost[i]))
			json_array_append_new(gone, json_u64(store->lost[i]));
	sim->figures.rows += json_array_size(shards);
	json_object_set_new(body, whole ? "shards" : "changed", shards);
	if (whole)
		json_decref(gone);
	else
	{
		json_object_set_new(body, "gone", gone);
		json_object_set_new(body, "since", json_u64(store->told));
	}
	sim->figures.full_beats += whole;
}

json_t *
sim_say_all(Sim *sim, SimStore *store)
{
	json_t	   *body = json_object();
	uint64_t	told = store->told;

	json_object_set_new(body, "store", json_u64(store->id));
	json_object_set_new(body, "wait_ms", json_integer(0));
	store->told = 0;
	say_what_is(sim, store, body);
	store->told = told;
	return body;
}

/* The driver has it, or says when it is told more that it has not. */
static void
was_told(SimStore *store)
{
	if (!store->says)
		return;
	store->told = store->said;
	store->nlost -= store->lost_said;
	if (store->nlost > 0)
		memmove(store->lost, store->lost + store->lost_said, sizeof(uint64_t) * store->nlost);
	for (size_t i = 0; i < store->n; i++)
		store->replicas[i].told = store->replicas[i].saying;
}

static void
register_it(Sim *sim, uint32_t at)
{
	SimStore   *store = &sim->stores[at];
	char		data_id[VT_ID_TEXT];
	VtError		err = {0};
	json_t	   *body;
	json_t	   *reply;

	vt_id_format(&store->data_id, data_id);
	body = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "store", "0", "cluster", "", "data_id", data_id, "endpoint", store->endpoint,
					 "labels", store->labels, "role", store->search_only ? "search-only" : "data");
	if (register_store(&sim->pd, "", body, &reply, &err) != VT_OK || !get_u64(reply, "store", &store->id))
		sim_fail(sim, "a store was not registered: %s", vt_error_words(&err));
	idmap_put(&sim->store_at, store->id, at);
	json_decref(reply);
	json_decref(body);
}

/* Does it lead anything that is written to, or answer searches? */
static bool
is_used(Sim *sim, const SimStore *store)
{
	for (size_t i = 0; i < store->n; i++)
	{
		const SimGroup *group = sim_group(sim, store->replicas[i].shard);

		if (group->searches > 0 || (group->rate > 0 && group->leads == store->id))
			return true;
	}
	return false;
}

void
sim_beat(Sim *sim, uint32_t at)
{
	SimStore   *store = &sim->stores[at];
	json_t	   *body;

	if (!store->alive)
		return;
	if (sim->hot && sim->now - store->whole_us > 3 * SECOND && is_used(sim, store))
		store->changes++;
	if (store->id == 0)
		register_it(sim, at);
	body = json_object();
	json_object_set_new(body, "store", json_u64(store->id));
	json_object_set_new(body, "wait_ms", json_integer(sim->wait_us / 1000));
	json_object_set_new(body, "digest", json_u64(store->changes));
	json_object_set_new(body, "disk_free", json_u64(UINT64_C(1) << 40));
	store->says = store->changes != store->told && !store->waits;
	store->lost_said = store->nlost;
	if (store->says)
	{
		say_what_is(sim, store, body);
		store->whole_us = sim->now;
	}
	if (store->ndropped > 0)
	{
		json_t	   *dropped = json_array();

		for (size_t i = 0; i < store->ndropped; i++)
			json_array_append_new(dropped, json_u64(store->dropped[i]));
		json_object_set_new(body, "dropped", dropped);
	}
	store->dropped_said = store->ndropped;
	store->said = store->changes;
	sim->figures.beats++;
	sim_send(sim, EVENT_ARRIVES, at, ++store->letter, body);
	sim_at(sim, sim->now + sim->wait_us + ANSWER_US, EVENT_TIMEOUT, at, store->letter, NULL);
}

/* -- The driver -------------------------------------------------------------- */

static json_t *
nothing(void)
{
	return json_pack("{s:[]}", "tasks");
}

/* As stores.c says it. */
static json_t *
not_yet(void)
{
	return json_pack("{s:[],s:b}", "tasks", "untold", 1);
}

static json_t *
to_tell_all(void)
{
	return json_pack("{s:[],s:b}", "tasks", "tell_all", 1);
}

static void
answer_parked(Sim *sim, uint32_t at, bool late)
{
	SimStore   *store = &sim->stores[at];
	json_t	   *body = json_pack("{s:o}", "store", json_u64(store->id));
	double		begin = sim_clock();
	json_t	   *reply;

	if (store->untold)
		reply = untold_is_asked(&sim->pd, store->id) ? to_tell_all() : NULL;
	else
		reply = heartbeat_answer(&sim->pd, body);
	sim->figures.beat_s += sim_clock() - begin;
	json_decref(body);
	if (!reply && !late)
		return;
	store->parked_until = 0;
	if (!reply)
		reply = store->untold ? not_yet() : nothing();
	sim_send(sim, EVENT_ANSWER, at, store->parked, reply);
}

/* As service.c does at the end of a round: of those that wait to be asked for all, whose turn it is. */
static void
ask_in_turn(Sim *sim)
{
	for (uint32_t i = 0; i < sim->nstores; i++)
		if (sim->stores[i].parked_until && sim->stores[i].untold)
			untold_waits(&sim->pd, sim->stores[i].id);
	untold_ask(&sim->pd);
	for (uint32_t i = 0; i < sim->nstores; i++)
		if (sim->stores[i].parked_until && sim->stores[i].untold)
			answer_parked(sim, i, false);
}

void
sim_beat_arrives(Sim *sim, uint32_t at, uint64_t letter, json_t *body)
{
	SimStore   *store = &sim->stores[at];
	VtError		err = {0};
	json_t	   *reply = NULL;
	double		begin = sim_clock();
	VtStatus	status = heartbeat_take(&sim->pd, body, &err);

	if (status == VT_BEHIND)
	{
		untold_spoke(&sim->pd, store->id);
		untold_waits(&sim->pd, store->id);
		ask_in_turn(sim);
		reply = untold_is_asked(&sim->pd, store->id) ? to_tell_all() : NULL;
	}
	else if (status != VT_OK)
		sim_fail(sim, "a heartbeat was refused: %s", vt_error_words(&err));
	else
		reply = heartbeat_answer(&sim->pd, body);
	sim->figures.beat_s += sim_clock() - begin;
	if (reply)
	{
		sim_send(sim, EVENT_ANSWER, at, letter, reply);
		return;
	}
	store->parked = letter;
	store->untold = status == VT_BEHIND;
	store->parked_until = sim->now + sim->wait_us;
	sim_at(sim, store->parked_until, EVENT_UNPARK, at, letter, NULL);
}

void
sim_unpark(Sim *sim, uint32_t at, uint64_t letter)
{
	SimStore   *store = &sim->stores[at];

	if (store->parked_until != 0 && store->parked == letter)
		answer_parked(sim, at, true);
}

/* As service.c does: those for which something may be new. */
void
sim_look_at_parked(Sim *sim)
{
	sim->pd.woken = false;
	ask_in_turn(sim);
	for (uint32_t i = 0; i < sim->nstores; i++)
	{
		Beat	   *beat = sim->stores[i].parked_until ? beat_of(&sim->pd, sim->stores[i].id) : NULL;
		uint64_t	touched = beat ? store_touched(sim->pd.catalog, beat->store) : 0;

		if (sim->stores[i].untold || !beat || (!beat->wake && beat->looked == touched))
			continue;
		beat->wake = false;
		beat->looked = touched;
		answer_parked(sim, i, false);
	}
}

/* -- Doing ------------------------------------------------------------------- */

static void
create_replica(Sim *sim, SimStore *store, uint64_t shard, uint64_t replica)
{
	uint64_t	unused;
	CatalogCollection *c;
	const CatalogShard *known = find_shard(&sim->pd, shard, &c);

	if (sim_replica(store, shard) || idmap_get(&store->dead, replica, &unused))
		return;					/* it is there, or another must go first */
	sim_make_replica(sim, store, shard, replica)->evened = known && known->plan.kind == PLAN_BALANCE;
}

static void
tell_dropped(SimStore *store, uint64_t shard)
{
	store->dropped = vt_realloc(store->dropped, sizeof(uint64_t) * (store->ndropped + 1));
	store->dropped[store->ndropped++] = shard;
}

static void
drop_replica(Sim *sim, SimStore *store, SimGroup *group, uint64_t replica)
{
	SimReplica *r = sim_replica(store, group->shard);

	if (!r)
	{
		tell_dropped(store, group->shard);	/* it never was here, or is gone */
		idmap_put(&store->dead, replica, 1);
	}
	if (!r || r->replica != replica)
		return;
	for (uint32_t i = 0; i < group->n; i++)
		if (group->members[i].replica == replica && group->members[i].role == ROLE_VOTER)
			sim_fail(sim, "shard %" PRIu64 ": voter %" PRIu64 " is to be deleted", group->shard, replica);
	sim_lose_replica(store, group->shard);
	tell_dropped(store, group->shard);
	idmap_put(&store->dead, replica, 1);
	sim->figures.dropped++;
}

static void
do_task(Sim *sim, SimStore *store, json_t *task)
{
	const char *what = json_string_value(json_object_get(task, "task"));
	uint64_t	shard = 0;
	uint64_t	replica = 0;
	SimGroup   *group;

	get_u64(task, "shard", &shard);
	get_u64(task, "replica", &replica);
	group = sim_group(sim, shard);
	if (!what || !group)
		sim_fail(sim, "a task of no shard");
	if (strcmp(what, "create_shard") == 0)
		create_replica(sim, store, shard, replica);
	else if (strcmp(what, "change_members") == 0)
		sim_change(sim, store, group, task);
	else if (strcmp(what, "drop_shard") == 0)
		drop_replica(sim, store, group, replica);
	else if (strcmp(what, "transfer_leader") == 0)
		sim_transfer(sim, store, group, replica);
	else if (strcmp(what, "split_shard") == 0)
		sim_split(sim, store, shard, task);
	else if (strcmp(what, "settle_split") == 0)
		sim_settle_split(store, shard, task);
	else if (strcmp(what, "open_shard") != 0)	/* what is here is open */
		sim_fail(sim, "task \"%s\"", what);
}

void
sim_no_answer(Sim *sim, uint32_t at, uint64_t letter)
{
	SimStore   *store = &sim->stores[at];

	if (letter != store->letter)
		return;
	was_told(store);
	sim_beat(sim, at);
}

void
sim_answer(Sim *sim, uint32_t at, uint64_t letter, json_t *body)
{
	SimStore   *store = &sim->stores[at];
	json_t	   *tasks = json_object_get(body, "tasks");
	size_t		i;
	json_t	   *task;

	if (!store->alive || letter != store->letter)
		return;
	store->letter++;			/* a double of it is not listened to */
	if (json_is_true(json_object_get(body, "tell_all")))
		store->told = 0;
	else
		was_told(store);
	store->waits = json_is_true(json_object_get(body, "untold"));
	store->ndropped -= store->dropped_said;
	if (store->ndropped > 0)
		memmove(store->dropped, store->dropped + store->dropped_said, sizeof(uint64_t) * store->ndropped);
	store->dropped_said = 0;
	json_array_foreach(tasks, i, task)
	{
		do_task(sim, store, task);
	}
	sim_at(sim, sim->now + (int64_t) (1000 + prng_below(&sim->prng, 20000)) * store->slow, EVENT_BEAT, at, 0, NULL);
}
