/*-------------------------------------------------------------------------
 *
 * stores.c
 *	  Workers: registration, heartbeats, and what a heartbeat teaches for good.
 *
 * Three things of a heartbeat go into the log, all in one command: that a group
 * has been founded (its leader has reported), who its members are now (a leader's
 * word, only forward by the index of the configuration), and that a replica
 * exists (its store has reported it).
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/breaks.h"
#include "base/log.h"
#include "service.h"

#define UNTOLD_WAIT_MS 500		/* to be asked for all; who has no leader yet does not want to wait at all otherwise */
#define FORGOTTEN "store %" PRIu64 " was forgotten (vectronctl forget-store): its data directory cannot come back; start this worker with an empty one"

/*
 * A certificate says which worker it is for.  The first one that a store shows is its
 * own from then on, and one that was renewed has the same name; another worker's does not
 * speak for it.  Over a unix socket our own user comes, who has no certificate.
 */
VtStatus
store_bound(const CatalogStore *store, const char *name, VtError *err)
{
	if (name[0] == '\0' || store->name[0] == '\0' || strcmp(name, store->name) == 0 || vt_broken("T2-store"))
		return VT_OK;
	return vt_fail(err, VT_DENIED, "store %" PRIu64 " is bound to the certificate of worker \"%s\": that of \"%s\" does not speak for it",
				   store->id, store->name, name);
}

/* Another store that is on another machine than its placement driver may be; NULL = none. */
static const CatalogStore *
store_elsewhere(Pd *pd, uint64_t but)
{
	for (size_t i = 0; i < pd->catalog->nstores; i++)
		if (pd->catalog->stores[i]->id != but && strncmp(pd->catalog->stores[i]->endpoint, "tcp:", strlen("tcp:")) == 0)
			return pd->catalog->stores[i];
	return NULL;
}

/* name: in the certificate that is shown; "" = none is */
VtStatus
register_store(Pd *pd, const char *name, json_t *body, json_t **reply, VtError *err)
{
	uint64_t	id;
	VtId		data_id;
	VtId		cluster;
	const char *endpoint = json_string_value(json_object_get(body, "endpoint"));
	const char *labels = json_string_value(json_object_get(body, "labels"));
	const char *role = json_string_value(json_object_get(body, "role"));
	CatalogStore store;
	CatalogMeta meta = pd->catalog->meta;
	CatalogStore *known;
	Buf			command = {0};
	CatalogGone *gone;
	VtStatus	status = VT_OK;

	memset(&store, 0, sizeof(store));
	if (!get_u64(body, "store", &id) || !get_id(body, "data_id", &data_id) ||
		!get_id(body, "cluster", &cluster) || !endpoint || strlen(endpoint) >= sizeof(store.endpoint) ||
		vt_id_is_zero(&data_id))
		return vt_fail(err, VT_INVALID, "register: members are missing or malformed");
	if (labels_check(labels ? labels : "", err) != VT_OK)
		return err->code;
	if (role && strcmp(role, "data") != 0 && strcmp(role, "search-only") != 0)
		return vt_fail(err, VT_INVALID, "register: there is no role \"%.32s\"", role);
	if (!vt_id_is_zero(&cluster) && !vt_id_equal(&cluster, &meta.cluster))
		return vt_fail(err, VT_DENIED, "the worker belongs to another cluster");
	if (level_admits(pd, body, "this worker", err) != VT_OK)
		return err->code;
	gone = catalog_gone(pd->catalog, id, &data_id);
	if (gone)
		return vt_fail(err, VT_GONE, FORGOTTEN, gone->id);
	known = id ? catalog_store(pd->catalog, id) : NULL;
	if (id && (!known || !vt_id_equal(&known->data_id, &data_id)))
		return vt_fail(err, VT_DENIED, "store %" PRIu64 " is not this data directory", id);
	/* A worker that registered and died before it kept its number asks again. */
	for (size_t i = 0; !known && i < pd->catalog->nstores; i++)
		if (vt_id_equal(&pd->catalog->stores[i]->data_id, &data_id))
			known = pd->catalog->stores[i];
	if (known && store_bound(known, name, err) != VT_OK)
		return err->code;
	if (strncmp(endpoint, "unix:", strlen("unix:")) == 0 && store_elsewhere(pd, known ? known->id : 0))
		return vt_fail(err, VT_DENIED, "the worker at %s could not come to this one at %s: expose it, or let it listen on tcp",
					   store_elsewhere(pd, known ? known->id : 0)->endpoint, endpoint);
	store.id = known ? known->id : meta.next_id++;
	store.data_id = data_id;
	store.draining = known && known->draining;
	store.search_only = role && strcmp(role, "search-only") == 0;
	memcpy(store.endpoint, endpoint, strlen(endpoint) + 1);
	if (labels)
		memcpy(store.labels, labels, strlen(labels) + 1);
	snprintf(store.name, sizeof(store.name), "%s", known && known->name[0] ? known->name : name);
	if (!known || strcmp(known->endpoint, store.endpoint) != 0 || strcmp(known->name, store.name) != 0 || strcmp(known->labels, store.labels) != 0 ||
		known->search_only != store.search_only)
	{
		meta.peers_version++;
		command_begin(&command);
		command_meta(&command, &meta);
		command_store(&command, &store);
		status = pd->commit(pd, &command);
		buf_free(&command);
		if (status != VT_OK)
			return vt_fail(err, status, "the store could not be recorded");
		log_info("store=%" PRIu64 " registered at %s, labels \"%s\"%s", store.id, store.endpoint, store.labels,
				 store.search_only ? ", for searches only" : "");
	}
	beats_challenge(pd, store.id, store.endpoint);
	*reply = json_object();
	json_object_set_new(*reply, "cluster", json_id(&meta.cluster));
	json_object_set_new(*reply, "store", json_u64(store.id));
	json_object_set_new(*reply, "level", json_integer(catalog_level(pd->catalog)));
	return VT_OK;
}

void
op_register(Pd *pd, Question *q)
{
	VtError		err = {0};
	json_t	   *reply = NULL;
	VtStatus	status = register_store(pd, net_conn_name(q->conn), q->body, &reply, &err);

	if (status == VT_OK)
		answer(q, VT_OK, reply, NULL);
	else
		refuse(q, status, "%s", vt_error_words(&err));
}

/* -- What a heartbeat teaches ---------------------------------------------- */

/* Which of a shard's replicas is this?  -1 = none. */
static int
place_of(const CatalogShard *shard, uint64_t store, uint64_t replica)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].store == store && shard->desc.replicas[i].replica == replica)
			return i;
	return -1;
}

/* The members that a leader reports take the place of those we know. */
static void
take_members(CatalogShard *shard, const Report *report)
{
	CatalogShard old = *shard;

	shard->conf_index = report->conf_index;
	shard->desc.conf_ver++;
	shard->desc.nreplicas = (uint8_t) report->nmembers;
	shard->seen = 0;
	for (uint32_t i = 0; i < report->nmembers; i++)
	{
		const WireReplica *r = &report->members[i].replica;
		int			was = place_of(&old, r->store, r->replica);

		shard->desc.replicas[i] = *r;
		if ((was >= 0 && (old.seen >> was & 1)) || report->members[i].match > 0 ||
			(r->replica == old.plan.add_replica && old.plan.add_seen))
			shard->seen |= (uint16_t) (1u << i);
	}
}

/* A report of one replica, as far as it says something for good. */
static void
learn(Changes *changes, CatalogCollection *collection, CatalogShard *shard, uint64_t store,
	  const Report *report)
{
	int			place = place_of(shard, store, report->replica);
	bool		is_new = place >= 0 && !(shard->seen >> place & 1);
	bool		arrives = shard->plan.add_replica == report->replica &&
		shard->plan.add_store == store && !shard->plan.add_seen;
	bool		founds = report->leader && !shard->bootstrapped;
	bool		moves = report->leader && report->nmembers > 0 && !report->joint &&
		report->conf_index > shard->conf_index;

	/* Who was led in an earlier life says nothing of this one (recover.c). */
	if (report->leader && report->incarnation != shard->desc.incarnation)
		return;
	if (!is_new && !arrives && !founds && !moves)
		return;
	shard = changes_of_shard(changes, collection, shard);
	if (is_new)
		shard->seen |= (uint16_t) (1u << place);
	if (arrives)
		shard->plan.add_seen = true;
	if (founds)
		shard->bootstrapped = true;
	if (moves)
		take_members(shard, report);
}

static VtStatus
learn_all(Pd *pd, Beat *beat)
{
	Changes		changes;
	VtStatus	status;

	changes_begin(pd, &changes);
	for (size_t i = 0; i < beat->nreports; i++)
	{
		CatalogCollection *collection;
		CatalogShard *shard = find_shard(pd, beat->reports[i].shard, &collection);

		if (shard && collection->state != COLLECTION_DOOMED)
			learn(&changes, collection, shard, beat->store, &beat->reports[i]);
	}
	splits_learn(pd, &changes, beat);
	status = changes_commit(pd, &changes);
	beat_take_missing(pd, beat);
	if (status == VT_OK)
		beat->learned_at = store_touched(pd->catalog, beat->store);
	return status;
}

VtStatus
heartbeat_take(Pd *pd, json_t *body, VtError *err)
{
	uint64_t	store;
	int64_t		wait_ms;
	Beat	   *beat;
	VtStatus	status;

	if (get_u64(body, "store", &store) && catalog_gone(pd->catalog, store, NULL))
		return vt_fail(err, VT_GONE, FORGOTTEN, store);
	if (!get_u64(body, "store", &store) || !get_int(body, "wait_ms", 0, 60000, &wait_ms) ||
		!catalog_store(pd->catalog, store))
		return vt_fail(err, VT_DENIED, "heartbeat of a store that is not registered");
	if (level_admits(pd, body, "this worker", err) != VT_OK)
		return err->code;
	if (!beat_is_known(pd, store, body))
		return vt_fail(err, VT_BEHIND, "heartbeat: what was told before is not known here");
	beat = beat_take(pd, store, body);
	if (!beat)
		return vt_fail(err, VT_INVALID, "heartbeat: a report is malformed");
	untold_told(pd, store);
	facts_take(beat, body);
	/* The same reports teach nothing new while the catalog has the same of their shards. */
	if (beat->learned_at != store_touched(pd->catalog, store) || beat->nchildren > 0)
	{
		status = learn_all(pd, beat);
		if (status != VT_OK)
			return vt_fail(err, status, "heartbeat: a report could not be recorded");
	}
	status = drops_take(pd, beat, json_object_get(body, "dropped"));
	if (status != VT_OK)
		return vt_fail(err, status, "heartbeat: what was dropped could not be recorded");
	return VT_OK;
}

/* Where all stores are; for a worker that knows an older list. */
static void
add_peers(Pd *pd, json_t *reply)
{
	json_t	   *peers = json_array();

	for (size_t i = 0; i < pd->catalog->nstores; i++)
	{
		json_t	   *peer = json_object();

		json_object_set_new(peer, "store", json_u64(pd->catalog->stores[i]->id));
		json_object_set_new(peer, "endpoint", json_string(pd->catalog->stores[i]->endpoint));
		json_array_append_new(peers, peer);
	}
	json_object_set_new(reply, "peers", peers);
	json_object_set_new(reply, "peers_version", json_u64(pd->catalog->meta.peers_version));
}

/*
 * The list of stores, and the level that the cluster works at, for a worker that knows older ones.
 * false: there is nothing new.
 */
static bool
add_news(Pd *pd, json_t *body, json_t *reply)
{
	uint64_t	peers_version;
	int64_t		level;
	bool		knows_level = !get_int(body, "level", 0, UINT32_MAX, &level) || level == catalog_level(pd->catalog);

	/* A worker that says no version does not ask for peers. */
	bool		knows_peers = !get_u64(body, "peers_version", &peers_version) ||
		peers_version == pd->catalog->meta.peers_version;

	if (!knows_peers)
		add_peers(pd, reply);
	if (!knows_level)
		json_object_set_new(reply, "level", json_integer(catalog_level(pd->catalog)));
	return !knows_peers || !knows_level;
}

json_t *
heartbeat_answer(Pd *pd, json_t *body)
{
	json_t	   *tasks = json_array();
	json_t	   *reply = json_object();
	uint64_t	store = 0;
	Beat	   *beat;

	get_u64(body, "store", &store);
	beat = beat_of(pd, store);
	if (beat)
	{
		drops_tell(pd, beat, tasks);
		verify_tell(pd, beat, tasks);
		tasks_for(pd, beat, tasks);
	}
	json_object_set_new(reply, "tasks", tasks);
	if (!add_news(pd, body, reply) && json_array_size(tasks) == 0)
	{
		json_decref(reply);
		return NULL;
	}
	return reply;
}

static json_t *
nothing_to_do(void)
{
	json_t	   *reply = json_object();

	json_object_set_new(reply, "tasks", json_array());
	return reply;
}

/* It may wait for long: where the others are it learns meanwhile. */
static json_t *
only_news(Pd *pd, const Question *q, const char *what)
{
	json_t	   *reply = nothing_to_do();

	(void) add_news(pd, q->body, reply);
	json_object_set_new(reply, what, json_true());
	return reply;
}

/*
 * It is not the store's turn to tell all: what has changed meanwhile would be read in vain, and it names the
 * digest alone until it is.
 */
static json_t *
not_yet(Pd *pd, const Question *q)
{
	return only_news(pd, q, "untold");
}

static json_t *
tell_all(Pd *pd, const Question *q)
{
	return only_news(pd, q, "tell_all");
}

/* All else of a heartbeat was taken, and may be megabytes: what heartbeat_answer() needs. */
static void
keep_little(Question *q)
{
	static const char *const names[] = {"store", "peers_version", "level"};
	json_t	   *little = json_object();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		json_object_set(little, names[i], json_object_get(q->body, names[i]));
	json_decref(q->body);
	q->body = little;
}

/*
 * What the store says goes on from what is not known here: another driver led when it told it all, or it was not
 * read.  It is to tell all, when it is its turn, which the next look at who waits finds (untold.c).
 */
static void
ask_for_all(Pd *pd, Question *q, uint64_t store, int64_t wait_ms)
{
	untold_spoke(pd, store);
	keep_little(q);
	q->store = store;
	q->untold = true;
	pd->woken |= untold_has_room(pd, store);
	if (untold_is_asked(pd, store))
		answer(q, VT_OK, tell_all(pd, q), NULL);
	else if (!park(pd, q, wait_ms > UNTOLD_WAIT_MS ? wait_ms : UNTOLD_WAIT_MS))
		answer(q, VT_OK, not_yet(pd, q), NULL);
}

void
op_heartbeat(Pd *pd, Question *q)
{
	VtError		err = {0};
	int64_t		wait_ms = 0;
	uint64_t	id = 0;
	CatalogStore *store = get_u64(q->body, "store", &id) ? catalog_store(pd->catalog, id) : NULL;
	json_t	   *reply;
	VtStatus	status = store ? store_bound(store, net_conn_name(q->conn), &err) : VT_OK;

	if (status == VT_OK)
		status = heartbeat_take(pd, q->body, &err);

	get_int(q->body, "wait_ms", 0, 60000, &wait_ms);
	if (status == VT_BEHIND)
	{
		ask_for_all(pd, q, id, wait_ms);
		return;
	}
	if (status != VT_OK)
	{
		refuse(q, status, "%s", vt_error_words(&err));
		return;
	}
	reply = heartbeat_answer(pd, q->body);
	if (!reply && wait_ms > 0)
	{
		keep_little(q);
		q->store = id;
		if (park(pd, q, wait_ms))
			return;
	}
	answer(q, VT_OK, reply ? reply : nothing_to_do(), NULL);
}

/* A parked heartbeat; false = it goes on waiting. */
bool
heartbeat_again(Pd *pd, Question *q)
{
	json_t	   *reply;

	if (q->untold)
		reply = untold_is_asked(pd, q->store) ? tell_all(pd, q) : NULL;
	else
		reply = heartbeat_answer(pd, q->body);
	if (!reply && pd->now_us < q->until_us)
		return false;
	if (!reply)
		reply = q->untold ? not_yet(pd, q) : nothing_to_do();
	answer(q, VT_OK, reply, NULL);
	return true;
}

/* -- Emptying a store ------------------------------------------------------ */

/*
 * The memory that does not go by itself, and how much there may be of it (0: any).
 * What a leader has besides would go with the leadership; to judge by that, too, would
 * be to move leaders back and forth.  Workers that do not say what it goes for are
 * believed to have nothing else.
 */
uint64_t
beat_memory_stays(const Beat *beat, uint64_t *most)
{
	const StoreFacts *facts = &beat->facts;

	if (!facts->memory_told)
	{
		*most = facts->memory_limit;
		return beat->memory;
	}
	*most = facts->memory_limit / 4 * 3;
	return facts->memory_of[MEMORY_RECORDS] + facts->memory_of[MEMORY_SHARDS];
}

void
beat_weigh_memory(Beat *beat)
{
	uint64_t	most;
	uint64_t	stays = beat_memory_stays(beat, &most);

	beat->memory_short = most && stays >= most / 10 * (beat->memory_short ? 8 : 9);
}

Room
store_room(const Beat *beat)
{
	uint64_t	most;
	uint64_t	stays = beat_memory_stays(beat, &most);

	if (beat->facts.disk_full || (most && stays >= most))
		return ROOM_NONE;
	return beat->disk_short || beat->memory_short ? ROOM_LITTLE : ROOM_ENOUGH;
}

/* drain, undrain */
void
op_drain(Pd *pd, Question *q, bool draining)
{
	uint64_t	id;
	CatalogStore *known;
	CatalogStore changed;
	Buf			command = {0};
	VtStatus	status = VT_OK;

	if (!get_u64(q->body, "store", &id) || !(known = catalog_store(pd->catalog, id)))
	{
		refuse(q, VT_NOT_FOUND, "there is no such store");
		return;
	}
	if (known->draining != draining)
	{
		changed = *known;
		changed.draining = draining;
		command_begin(&command);
		command_store(&command, &changed);
		status = pd->commit(pd, &command);
		buf_free(&command);
		log_info("store=%" PRIu64 " %s", id, draining ? "is to be emptied" : "takes replicas again");
	}
	answer(q, status, NULL, NULL);
}
