/*-------------------------------------------------------------------------
 *
 * check.c
 *	  What is wrong with the cluster, and what to do about it.
 *
 * A finding is for somebody who was woken up: how bad it is, what it is about,
 * what is the case, and the next thing to do.  "critical": data cannot be read or
 * written, or will not be soon.  "warning": all goes on, but not if more happens.
 * Shards are told by collection, with one of them as an example, and so many findings of
 * a kind (findings.c).
 *
 * Only the leader's view is here.  What each driver says of itself is in its
 * status; whether it can be reached, who asks knows best (vectronctl check).
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "findings.h"
#include "service.h"

#define CLOCK_AHEAD_US (5 * INT64_C(1000000))	/* certificates and sessions live by clocks */
#define CERT_WARN_S (30 * 86400)
#define CERT_CRITICAL_S (3 * 86400)
#define STUCK_US (3600 * INT64_C(1000000))	/* a step that lasts so long */

#define LEVEL_US (30 * INT64_C(1000000))	/* in which everybody has spoken to a new leader */

/* -- What stores say --------------------------------------------------------- */

const char *const memory_kind_names[MEMORY_KINDS] = {"records", "shards", "tables", "log", "scans", "snapshots", "requests"};

void
facts_take(Beat *beat, json_t *body)
{
	StoreFacts *facts = &beat->facts;
	int64_t		wall;

	memset(facts, 0, sizeof(*facts));
	get_u64(body, "memory_limit", &facts->memory_limit);
	for (int kind = 0; kind < MEMORY_KINDS; kind++)
		get_u64(json_object_get(body, "memory_of"), memory_kind_names[kind], &facts->memory_of[kind]);
	facts->memory_told = json_object_get(body, "memory_of") != NULL;
	beat_weigh_memory(beat);
	facts->disk_full = json_is_true(json_object_get(body, "disk_full"));
	if (get_int(body, "wall_us", 0, INT64_MAX, &wall))
		facts->clock_ahead_us = wall - clock_wall_us();
	get_int(body, "certificate_until", 0, INT64_MAX, &facts->cert_until);
}

json_t *
facts_memory(const StoreFacts *facts)
{
	json_t	   *row = json_object();

	for (int kind = 0; kind < MEMORY_KINDS; kind++)
		json_object_set_new(row, memory_kind_names[kind], json_u64(facts->memory_of[kind]));
	return row;
}

/* -- Shards ------------------------------------------------------------------ */

/* Shards of a collection in the same state. */
typedef struct Tally
{
	uint32_t	n;
	uint64_t	first;			/* an example */
} Tally;

static void
tally(Tally *t, const CatalogShard *shard)
{
	if (t->n++ == 0)
		t->first = shard->desc.shard;
}

static uint32_t
voters_of(const CatalogShard *shard)
{
	uint32_t	n = 0;

	for (int i = 0; i < shard->desc.nreplicas; i++)
		n += shard->desc.replicas[i].role == ROLE_VOTER;
	return n;
}

static bool
has_damage(Pd *pd, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (replica_is_damaged(pd, shard->desc.replicas[i].store, shard->desc.shard))
			return true;
	return false;
}

/* Did somebody who looked over a replica's graph find that walks do not come to all of it? */
static bool
has_bad_graph(Pd *pd, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const Report *report = report_of(pd, shard->desc.replicas[i].store, shard->desc.shard);

		if (report && (report->figures[REPORT_UNREACHABLE] || report->figures[REPORT_BROKEN_LINKS]))
			return true;
	}
	return false;
}

/* Is there a replica of which that is the verdict? */
static bool
has_verdict(Pd *pd, const CatalogShard *shard, Verdict verdict)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (verify_verdict(pd, shard, &shard->desc.replicas[i]) == verdict)
			return true;
	return false;
}

/* Is there a store of its replicas that has not been given up? */
static bool
has_survivor(Pd *pd, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (catalog_store(pd->catalog, shard->desc.replicas[i].store))
			return true;
	return false;
}

static void
look_at_collection(Pd *pd, Findings *f, const CatalogCollection *c)
{
	Tally		unmade = {0};
	Tally		lost = {0};
	Tally		stuck = {0};
	Tally		headless = {0};
	Tally		thin = {0};
	Tally		last = {0};
	Tally		damaged = {0};
	Tally		graph = {0};
	Tally		differs = {0};
	Tally		split = {0};
	Tally		back = {0};
	uint64_t	leads;

	for (uint32_t i = 0; i < c->nshards; i++)
	{
		const CatalogShard *shard = &c->shards[i];
		uint32_t	up = voters_up(pd, shard);
		uint32_t	majority = voters_of(shard) / 2 + 1;

		if (shard->desc.incarnation != 1)
			tally(&back, shard);
		if (!shard->bootstrapped)
			tally(&unmade, shard);
		else if (up < majority && shard->plan.kind != PLAN_RECOVER && (shard->desc.incarnation == 1 || has_survivor(pd, shard)))
			tally(&lost, shard);
		else if (!leader_of(pd, shard, &leads))
			tally(up >= majority && remains_stand_still(pd, shard) ? &stuck : &headless, shard);
		else if (up == majority && up < replicas_asked(pd, c))
			tally(&last, shard);
		else if (up < replicas_asked(pd, c))
			tally(&thin, shard);
		if (has_damage(pd, shard))
			tally(&damaged, shard);
		if (has_bad_graph(pd, shard))
			tally(&graph, shard);
		if (has_verdict(pd, shard, VERDICT_DIFFERS))
			tally(&differs, shard);
		if (has_verdict(pd, shard, VERDICT_SPLIT))
			tally(&split, shard);
	}
	findings_about(f, "collection %s", c->label);
	if (lost.n)
	{
		findings_advise(f, "start the workers again that hold its replicas: vectronctl shards, state down; if they are lost for good: vectronctl unsafe-recover STORES");
		findings_add(f, CRITICAL, "majority_lost", "%u of %u shards have no majority of their replicas and are neither read nor written, as shard %" PRIu64,
			  lost.n, c->nshards, lost.first);
	}
	if (stuck.n)
	{
		findings_advise(f, "start the workers again that are to have its replicas: vectronctl workers, state down; if they are lost for good: vectronctl unsafe-recover STORES");
		findings_add(f, CRITICAL, "change_stuck", "%u of %u shards stand still amid a change of their replicas, as shard %" PRIu64 ": it needs workers that are silent, and nothing is read or written",
			  stuck.n, c->nshards, stuck.first);
	}
	if (back.n)
	{
		findings_advise(f, "REINDEX makes the index anew from its table, and takes this one away");
		findings_add(f, CRITICAL, "recovered", "%u of %u shards lost a majority of their replicas for good, as shard %" PRIu64 ": acknowledged writes may be missing, and nothing is answered from them",
			  back.n, c->nshards, back.first);
	}
	if (headless.n)
	{
		findings_advise(f, "an election takes seconds; if this stays, look into the logs of its workers");
		findings_add(f, WARNING, "no_leader", "%u of %u shards have no leader just now, as shard %" PRIu64, headless.n, c->nshards, headless.first);
	}
	if (last.n)
	{
		findings_advise(f, "bring back its workers or add one; vectronctl operators shows what is being repaired");
		findings_add(f, WARNING, "one_loss_away", "%u of %u shards stop when one more replica is lost, as shard %" PRIu64, last.n, c->nshards, last.first);
	}
	if (thin.n)
	{
		findings_advise(f, "bring back its workers, add one, or want fewer: vectronctl set-replicas");
		findings_add(f, WARNING, "under_replicated", "%u of %u shards have fewer than the %u replicas that are wanted, as shard %" PRIu64,
			  thin.n, c->nshards, replicas_asked(pd, c), thin.first);
	}
	if (unmade.n)
	{
		findings_advise(f, "its workers have not all said that they have it: are they up?");
		findings_add(f, WARNING, "not_made", "%u of %u shards are still being made, as shard %" PRIu64, unmade.n, c->nshards, unmade.first);
	}
	if (split.n)
	{
		findings_advise(f, "REINDEX makes it anew; keep vectronctl dump and the workers' logs for whoever looks into it");
		findings_add(f, CRITICAL, "no_agreement", "the replicas of %u shards do not hold the same, and no majority agrees, as of shard %" PRIu64, split.n, split.first);
	}
	if (differs.n)
	{
		findings_advise(f, "it is set aside and another takes its place by itself; its machine is suspect: memory, disk");
		findings_add(f, WARNING, "differs", "a replica of %u shards holds something else than the others, as of shard %" PRIu64, differs.n, differs.first);
	}
	if (graph.n)
	{
		findings_advise(f, "searches there may miss rows: vectronctl verify looks over and mends it; if this stays, REINDEX. Broken links are damage of memory (vectronctl --json shards)");
		findings_add(f, WARNING, "graph", "the graph of a replica of %u shards does not lead to all of its records, or had broken links, as of shard %" PRIu64, graph.n, graph.first);
	}
	if (damaged.n)
	{
		findings_advise(f, "another replica takes its place by itself, if there is a worker for it; the disk is suspect: the worker's log says what was found");
		findings_add(f, WARNING, "damaged", "a replica of %u shards is damaged and was set aside, as of shard %" PRIu64, damaged.n, damaged.first);
	}
}

/* -- Stores ------------------------------------------------------------------ */

static void
look_at_certificate(Findings *f, int64_t until)
{
	int64_t		left = until - clock_wall_us() / 1000000;

	if (until == 0 || left > CERT_WARN_S)
		return;
	findings_advise(f, "vectronctl certs renew, copy it there, and send SIGHUP (docs/cluster.md)");
	if (left <= 0)
		findings_add(f, CRITICAL, "certificate", "its certificate has expired");
	else
		findings_add(f, left < CERT_CRITICAL_S ? CRITICAL : WARNING, "certificate", "its certificate ends in %" PRId64 " %s",
			  left < 86400 ? left / 3600 : left / 86400, left < 86400 ? "hours" : "days");
}

static void
look_at_room(Findings *f, const Beat *beat)
{
	uint64_t	most;
	uint64_t	stays = beat_memory_stays(beat, &most);

	if (beat->facts.disk_full)
	{
		findings_advise(f, "make room on its disk, add workers, or lower its --disk-reserve; dropped indexes are deleted by themselves");
		findings_add(f, CRITICAL, "disk_full", "its disk is almost full and new data is refused; %" PRIu64 " MiB are free", beat->disk_free >> 20);
	}
	else if (beat->disk_short)
	{
		findings_advise(f, "make room on its disk or add workers");
		findings_add(f, WARNING, "disk_short", "it will soon refuse new data: %" PRIu64 " MiB are free", beat->disk_free >> 20);
	}
	if (most && stays >= most)
	{
		findings_advise(f, "raise --memory-limit, or add workers");
		findings_add(f, CRITICAL, "memory_full", "its records take %" PRIu64 " MiB of memory, which is all that they may: new data is, or will be at any moment, refused",
			  stays >> 20);
	}
	else if (beat->memory_short)
	{
		findings_advise(f, "raise --memory-limit, or add workers");
		findings_add(f, WARNING, "memory_short", "its records take %" PRIu64 " of the %" PRIu64 " MiB of memory that they may", stays >> 20, most >> 20);
	}
}

/* Is there another store that takes a replica of this shard? */
static bool
has_refuge(Pd *pd, const CatalogShard *shard)
{
	uint64_t	replica;

	for (size_t i = 0; i < pd->catalog->nstores; i++)
	{
		const CatalogStore *s = pd->catalog->stores[i];
		const Beat *beat = beat_of(pd, s->id);

		if (!s->draining && !s->search_only && store_is_up(pd, s->id) && beat && store_room(beat) > ROOM_NONE &&
			!operate_has_replica(shard, s->id, &replica))
			return true;
	}
	return false;
}

/* What is to leave a store, and could go nowhere: whoever waits for that waits for ever. */
static void
look_at_drain(Pd *pd, Findings *f, const CatalogStore *store)
{
	Tally		stuck = {0};
	size_t		n;
	const ShardPlace *homes = shards_of_store(pd, store->id, &n);

	if (!store->draining || store->search_only)
		return;
	for (size_t i = 0; i < n; i++)
	{
		const CatalogCollection *c = pd->catalog->collections[homes[i].collection];
		const CatalogShard *shard = &c->shards[homes[i].place];

		if (c->state == COLLECTION_LIVE && shard->plan.kind == PLAN_NONE && !has_refuge(pd, shard))
			tally(&stuck, shard);
	}
	if (!stuck.n)
		return;
	findings_advise(f, "add a worker, want fewer copies (vectronctl set-replicas), or vectronctl undrain %" PRIu64, store->id);
	findings_add(f, WARNING, "drain", "it is to be emptied, and %zu of its %zu shards can go nowhere, as shard %" PRIu64 ": each other worker has a copy, or takes none",
		  (size_t) stuck.n, n, stuck.first);
}

static void
look_at_store(Pd *pd, Findings *f, const CatalogStore *store)
{
	Beat	   *beat = beat_of(pd, store->id);
	Health		health = store_health(pd, store);
	size_t		holds;
	char		silent[64];

	shards_of_store(pd, store->id, &holds);
	findings_about(f, "store %" PRIu64 " at %s", store->id, store->endpoint);
	snprintf(silent, sizeof(silent), "it has not spoken");
	if (untold_speaks(pd, store->id))
		snprintf(silent, sizeof(silent), "it speaks, and has not told yet what it has");
	else if (beat)
		snprintf(silent, sizeof(silent), "it has been silent for %" PRId64 " s", (pd->now_us - beat->at_us) / 1000000);
	if (health == HEALTH_DOWN && holds == 0)
	{
		findings_advise(f, "start it again, or, if it is gone for good: vectronctl forget-store %" PRIu64, store->id);
		findings_add(f, WARNING, "store_down", "%s, and nothing is missing: all that it had has been made anew elsewhere", silent);
	}
	else if (health == HEALTH_DOWN)
	{
		findings_advise(f, "start it again; if it is gone for good, its replicas are made anew where there is room, and then: vectronctl forget-store %" PRIu64, store->id);
		findings_add(f, WARNING, "store_down", "%s; it has replicas of %zu shards", silent, holds);
	}
	else if (health == HEALTH_SUSPECT && untold_speaks(pd, store->id))
	{
		findings_advise(f, "where many workers tell it all at once that takes a while; if it stays so, look into its log and this driver's");
		findings_add(f, WARNING, "store_silent", "%s; it has replicas of %zu shards", silent, holds);
	}
	else if (health == HEALTH_SUSPECT && holds == 0)
	{
		findings_advise(f, "start it again, or, if it is gone for good: vectronctl forget-store %" PRIu64, store->id);
		findings_add(f, WARNING, "store_silent", "%s; it has no replicas", silent);
	}
	else if (health == HEALTH_SUSPECT)
	{
		findings_advise(f, "is it being started? Its replicas are made anew elsewhere after --down-after");
		findings_add(f, WARNING, "store_silent", "%s; it has replicas of %zu shards", silent, holds);
	}
	if (!beat || health != HEALTH_UP)
		return;
	look_at_room(f, beat);
	look_at_drain(pd, f, store);
	if (llabs(beat->facts.clock_ahead_us) > CLOCK_AHEAD_US)
	{
		findings_advise(f, "set the clocks by NTP: certificates are judged by them");
		findings_add(f, WARNING, "clock", "its clock is %" PRId64 " s %s this placement driver's", (int64_t) llabs(beat->facts.clock_ahead_us) / 1000000,
			  beat->facts.clock_ahead_us > 0 ? "ahead of" : "behind");
	}
	look_at_certificate(f, beat->facts.cert_until);
	if (strcmp(beat->version, PD_VERSION) != 0)
	{
		findings_advise(f, "after an upgrade all daemons are to be of one version");
		findings_add(f, WARNING, "version", "it is of version %s, this placement driver of %s", beat->version[0] ? beat->version : "unknown", PD_VERSION);
	}
}

/* So many silent stores at once that nothing is repaired (plan_brake). */
static void
look_at_silence(Pd *pd, Findings *f)
{
	size_t		silent = 0;
	size_t		holding = 0;

	for (size_t i = 0; i < pd->catalog->nstores; i++)
	{
		size_t		holds;

		shards_of_store(pd, pd->catalog->stores[i]->id, &holds);
		holding += holds > 0;
		silent += holds > 0 && store_health(pd, pd->catalog->stores[i]) != HEALTH_UP;
	}
	if (silent < 2 || silent * 3 <= holding)
		return;
	findings_about(f, "workers");
	findings_advise(f, "look at network and power first; repairs begin when at most a third is silent");
	findings_add(f, CRITICAL, "mass_failure", "%zu of %zu workers with data are silent: nothing is repaired meanwhile", silent, holding);
}

/* -- Drivers, operators ------------------------------------------------------ */

/* The driver at the same endpoint of which that is so; NULL: there is none. */
static const char *
other_at(json_t *drivers, json_t *than, bool waiting)
{
	const char *endpoint = json_string_value(json_object_get(than, "endpoint"));
	size_t		i;
	json_t	   *d;

	json_array_foreach(drivers, i, d)
	{
		if (d != than && strcmp(json_string_value(json_object_get(d, "endpoint")), endpoint) == 0 &&
			(strcmp(json_string_value(json_object_get(d, "role")), "waiting") == 0) == waiting)
			return json_string_value(json_object_get(d, "id"));
	}
	return NULL;
}

static void
look_at_drivers(Pd *pd, Findings *f)
{
	json_t	   *drivers = json_drivers(pd);
	size_t		voters = 0;
	size_t		up = 0;
	size_t		i;
	json_t	   *d;

	json_array_foreach(drivers, i, d)
	{
		const char *role = json_string_value(json_object_get(d, "role"));
		const char *id = json_string_value(json_object_get(d, "id"));
		const char *endpoint = json_string_value(json_object_get(d, "endpoint"));
		bool		is_up = strcmp(json_string_value(json_object_get(d, "state")), "up") == 0;

		findings_about(f, "placement driver %s at %s", id, endpoint);
		if (strcmp(role, "leader") == 0 || strcmp(role, "follower") == 0)
		{
			voters++;
			up += is_up;
		}
		if (strcmp(role, "waiting") == 0)
		{
			const char *before = other_at(drivers, d, false);

			if (before)
				findings_advise(f, "vectronctl remove-pd %s, which was there, then vectronctl add-pd %s", before, endpoint);
			else
				findings_advise(f, "vectronctl add-pd %s, or stop it", endpoint);
			findings_add(f, WARNING, "pd_waiting", "it waits to be made one of the placement drivers");
		}
		else if (!is_up && other_at(drivers, d, true))
		{
			findings_advise(f, "stop that one and start it with its own directory again; if that is lost: vectronctl remove-pd %s", id);
			findings_add(f, WARNING, "pd_silent", "its leader does not hear from it, and another directory answers there, that of %s", other_at(drivers, d, true));
		}
		else if (!is_up)
		{
			findings_advise(f, "start it again, or, if it is gone for good: vectronctl remove-pd %s", id);
			findings_add(f, WARNING, "pd_silent", "its leader does not hear from it");
		}
	}
	json_decref(drivers);
	findings_about(f, "placement drivers");
	if (voters > 1 && up == voters / 2 + 1 && up < voters)
	{
		findings_advise(f, "start the others again");
		findings_add(f, WARNING, "pd_quorum", "%zu of %zu are up: with one fewer nothing can be created or repaired", up, voters);
	}
	else if (voters == 2)
	{
		findings_advise(f, "add a third: vectronctl add-pd");
		findings_add(f, WARNING, "pd_quorum", "there are two, and both are needed");
	}
}

/* All drivers and workers but some know a higher level: somebody was not upgraded. */
static void
look_at_level(Pd *pd, Findings *f)
{
	uint32_t	level = catalog_level(pd->catalog);
	char		held[200];

	if (level >= vt_level_high() || pd->now_us - pd->led_since_us < LEVEL_US)
		return;
	level_held_by(pd, level + 1, held, sizeof(held));
	if (!held[0])
		return;
	findings_about(f, "%s", held);
	findings_advise(f, "upgrade it; if it is a store that is gone for good, vectronctl forget-store lets go");
	findings_add(f, WARNING, "level", "the cluster stays at feature level %u of %u: it does not know more, or has not spoken", level, vt_level_high());
}

static void
look_at_operators(Pd *pd, Findings *f)
{
	for (size_t i = 0; i < pd->noperators; i++)
	{
		const Operator *op = &pd->operators[i];

		if (pd->now_us - op->step_since_us < STUCK_US)
			continue;
		findings_about(f, "shard %" PRIu64, op->shard);
		findings_advise(f, "vectronctl operators shows it, vectronctl cancel %" PRIu64 " ends it", op->shard);
		findings_add(f, WARNING, "operator", "its change of replicas stands at \"%s\" for %" PRId64 " minutes", op->step,
			  (pd->now_us - op->step_since_us) / 60000000);
	}
}

json_t *
json_findings(Pd *pd, const Question *q)
{
	Findings	f = {.list = json_array()};

	look_at_silence(pd, &f);
	look_at_drivers(pd, &f);
	for (size_t i = 0; i < pd->catalog->nstores; i++)
		look_at_store(pd, &f, pd->catalog->stores[i]);
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		if (pd->catalog->collections[i]->state == COLLECTION_LIVE && (!q || rights_see(q, &pd->catalog->collections[i]->owner)))
			look_at_collection(pd, &f, pd->catalog->collections[i]);
	look_at_level(pd, &f);
	look_at_operators(pd, &f);
	findings_end(&f);
	return f.list;
}

/* check */
void
op_check(Pd *pd, Question *q)
{
	json_t	   *reply = json_object();

	json_object_set_new(reply, "findings", json_findings(pd, q));
	answer(q, VT_OK, reply, NULL);
}
