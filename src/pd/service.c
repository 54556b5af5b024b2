/*-------------------------------------------------------------------------
 *
 * service.c
 *	  The questions PD answers, and the one thread that answers them.
 *
 * A question is a JSON object with a member "op"; docs/wire.md has the list.
 * The service thread takes them in turn.  What changes the catalog is put into
 * a command with every value decided, proposed, and waited for; so the next
 * decision sees it.  Heartbeats and creations that have to wait are parked and
 * looked at again after every event.
 *
 *-------------------------------------------------------------------------
 */
#include "pd.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "schedule.h"
#include "service.h"
#include "vec_names.h"

#define DOWN_AFTER_US (10 * INT64_C(1000000))
#define QUEUE_MAX 4096
#define PARK_MAX_US (60 * INT64_C(1000000))
#define SHARDS_MAX 1024

/* -- The log --------------------------------------------------------------- */

typedef struct Proposal
{
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool		finished;
	VtStatus	status;
} Proposal;

static void
on_proposed(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Proposal   *proposal = (Proposal *) arg;

	(void) index;
	(void) reply;
	pthread_mutex_lock(&proposal->lock);
	proposal->status = status;
	proposal->finished = true;
	pthread_cond_signal(&proposal->done);
	pthread_mutex_unlock(&proposal->lock);
}

/* Propose a command and wait until it is applied. */
VtStatus
commit(Pd *pd, const Buf *command)
{
	Proposal	proposal = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, VT_OK};

	replica_propose(pd->replica, buf_bytes(command), on_proposed, &proposal);
	pthread_mutex_lock(&proposal.lock);
	while (!proposal.finished)
		pthread_cond_wait(&proposal.done, &proposal.lock);
	pthread_mutex_unlock(&proposal.lock);
	return proposal.status;
}

/* Does the catalog hold everything decided before? */
static bool
is_leader(Pd *pd)
{
	uint64_t	index;

	return replica_read_now(pd->replica, &index);
}

/* -- Stores ---------------------------------------------------------------- */

Beat *
beat_of(Pd *pd, uint64_t store)
{
	for (size_t i = 0; i < pd->nbeats; i++)
		if (pd->beats[i].store == store)
			return &pd->beats[i];
	return NULL;
}

bool
store_is_up(Pd *pd, uint64_t store)
{
	Beat	   *beat = beat_of(pd, store);

	return beat && clock_now_us() - beat->at_us < DOWN_AFTER_US;
}

Report *
report_of(Pd *pd, uint64_t shard)
{
	for (size_t i = 0; i < pd->nreports; i++)
		if (pd->reports[i].shard == shard)
			return &pd->reports[i];
	return NULL;
}

static void
op_register(Pd *pd, Question *q)
{
	uint64_t	id;
	VtId		data_id;
	VtId		cluster;
	const char *endpoint = json_string_value(json_object_get(q->body, "endpoint"));
	CatalogStore store;
	CatalogMeta meta = pd->catalog->meta;
	CatalogStore *known;
	json_t	   *reply;
	Buf			command = {0};
	VtStatus	status = VT_OK;

	memset(&store, 0, sizeof(store));
	if (!get_u64(q->body, "store", &id) || !get_id(q->body, "data_id", &data_id) ||
		!get_id(q->body, "cluster", &cluster) || !endpoint || strlen(endpoint) >= sizeof(store.endpoint) ||
		vt_id_is_zero(&data_id))
	{
		refuse(q, VT_INVALID, "register: members are missing or malformed");
		return;
	}
	if (!vt_id_is_zero(&cluster) && !vt_id_equal(&cluster, &meta.cluster))
	{
		refuse(q, VT_DENIED, "the worker belongs to another cluster");
		return;
	}
	known = id ? catalog_store(pd->catalog, id) : NULL;
	if (id && (!known || !vt_id_equal(&known->data_id, &data_id)))
	{
		refuse(q, VT_DENIED, "store %" PRIu64 " is not this data directory", id);
		return;
	}
	/* A worker that registered and died before it kept its number asks again. */
	for (size_t i = 0; !known && i < pd->catalog->nstores; i++)
		if (vt_id_equal(&pd->catalog->stores[i]->data_id, &data_id))
			known = pd->catalog->stores[i];
	store.id = known ? known->id : meta.next_id++;
	store.data_id = data_id;
	memcpy(store.endpoint, endpoint, strlen(endpoint) + 1);
	if (!known || strcmp(known->endpoint, store.endpoint) != 0)
	{
		command_begin(&command);
		if (!known)
			command_meta(&command, &meta);
		command_store(&command, &store);
		status = commit(pd, &command);
		buf_free(&command);
		log_info("store=%" PRIu64 " registered at %s", store.id, store.endpoint);
	}
	reply = json_object();
	json_object_set_new(reply, "cluster", json_id(&meta.cluster));
	json_object_set_new(reply, "store", json_u64(store.id));
	answer(q, status, reply, NULL);
}

/* The shard with this id in the catalog. */
CatalogShard *
find_shard(Pd *pd, uint64_t id, CatalogCollection **collection)
{
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		for (uint32_t j = 0; j < pd->catalog->collections[i]->nshards; j++)
			if (pd->catalog->collections[i]->shards[j].desc.shard == id)
			{
				*collection = pd->catalog->collections[i];
				return &pd->catalog->collections[i]->shards[j];
			}
	return NULL;
}

/*
 * The first report of a shard: record it through the log, so that its group is
 * never bootstrapped again.
 */
static VtStatus
record_bootstrap(Pd *pd, CatalogCollection *collection, uint64_t shard)
{
	Buf			command = {0};
	CatalogCollection changed = *collection;
	VtStatus	status;

	changed.shards = vt_alloc(sizeof(CatalogShard) * changed.nshards);
	memcpy(changed.shards, collection->shards, sizeof(CatalogShard) * changed.nshards);
	for (uint32_t i = 0; i < changed.nshards; i++)
		if (changed.shards[i].desc.shard == shard)
			changed.shards[i].bootstrapped = true;
	command_begin(&command);
	command_collection(&command, &changed);
	status = commit(pd, &command);
	buf_free(&command);
	free(changed.shards);
	return status;
}

static VtStatus
take_report(Pd *pd, uint64_t store, json_t *body)
{
	Report		report;
	CatalogCollection *collection;
	CatalogShard *shard;
	Report	   *known;

	memset(&report, 0, sizeof(report));
	report.store = store;
	report.at_us = clock_now_us();
	report.leader = json_is_true(json_object_get(body, "leader"));
	if (!get_u64(body, "shard", &report.shard) || !get_u64(body, "term", &report.term) ||
		!get_u64(body, "applied", &report.applied) || !get_u64(body, "records", &report.records) ||
		!get_u64(body, "unindexed", &report.unindexed) || !get_u64(body, "bytes", &report.bytes))
		return VT_INVALID;
	known = report_of(pd, report.shard);
	if (!known)
	{
		pd->reports = vt_realloc(pd->reports, sizeof(Report) * (pd->nreports + 1));
		known = &pd->reports[pd->nreports++];
	}
	*known = report;
	shard = find_shard(pd, report.shard, &collection);
	if (shard && !shard->bootstrapped && report.leader)
		return record_bootstrap(pd, collection, report.shard);
	return VT_OK;
}

/*
 * What is to be done with a shard that its worker has, or should have: a hidden
 * one is closed, so that it takes no memory, and opened when it was brought
 * back.  (One that was never founded is created, which is another matter.)
 */
static const char *
shard_task(Pd *pd, CollectionState state, const CatalogShard *shard)
{
	bool		open = report_of(pd, shard->desc.shard) != NULL;

	switch (state)
	{
		case COLLECTION_HIDDEN:
			return open ? "close_shard" : NULL;
		case COLLECTION_DOOMED:
			return "drop_shard";
		default:
			return shard->bootstrapped && !open ? "open_shard" : NULL;
	}
}

/* What this store has to do; NULL = nothing. */
static json_t *
tasks_of(Pd *pd, uint64_t store)
{
	json_t	   *tasks = json_array();

	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		for (uint32_t j = 0; j < pd->catalog->collections[i]->nshards; j++)
		{
			CollectionState state = pd->catalog->collections[i]->state;
			CatalogShard *shard = &pd->catalog->collections[i]->shards[j];
			const char *what;
			json_t	   *task;

			if (shard->desc.replicas[0].store != store)
				continue;
			what = shard_task(pd, state, shard);
			if (what)
			{
				task = json_object();
				json_object_set_new(task, "task", json_string(what));
				json_object_set_new(task, "shard", json_u64(shard->desc.shard));
				json_object_set_new(task, "replica", json_u64(shard->desc.replicas[0].replica));
			}
			else if (state == COLLECTION_LIVE && !shard->bootstrapped)
			{
				task = json_object();
				json_object_set_new(task, "task", json_string("create_shard"));
				json_object_set_new(task, "desc", json_desc(&shard->desc));
			}
			else
				continue;
			json_array_append_new(tasks, task);
		}
	if (json_array_size(tasks) > 0)
		return tasks;
	json_decref(tasks);
	return NULL;
}

static void
answer_heartbeat(Question *q, json_t *tasks)
{
	json_t	   *reply = json_object();

	json_object_set_new(reply, "tasks", tasks ? tasks : json_array());
	answer(q, VT_OK, reply, NULL);
}

static void
park(Pd *pd, Question *q, int64_t wait_ms)
{
	int64_t		wait_us = wait_ms * 1000;

	q->until_us = clock_now_us() + (wait_us < PARK_MAX_US ? wait_us : PARK_MAX_US);
	q->next = pd->parked;
	pd->parked = q;
}

/* Shards that the store's heartbeat of this moment did not mention are not open. */
static void
forget_reports(Pd *pd, uint64_t store, int64_t beat_us)
{
	for (size_t i = 0; i < pd->nreports;)
		if (pd->reports[i].store == store && pd->reports[i].at_us < beat_us)
			pd->reports[i] = pd->reports[--pd->nreports];
		else
			i++;
}

static void
op_heartbeat(Pd *pd, Question *q)
{
	uint64_t	store;
	int64_t		wait_ms;
	json_t	   *shards = json_object_get(q->body, "shards");
	const char *version = json_string_value(json_object_get(q->body, "version"));
	json_t	   *tasks;
	Beat	   *beat;
	size_t		i;
	json_t	   *shard;

	if (!get_u64(q->body, "store", &store) || !get_int(q->body, "wait_ms", 0, 60000, &wait_ms) ||
		!catalog_store(pd->catalog, store))
	{
		refuse(q, VT_DENIED, "heartbeat of a store that is not registered");
		return;
	}
	beat = beat_of(pd, store);
	if (!beat)
	{
		pd->beats = vt_realloc(pd->beats, sizeof(Beat) * (pd->nbeats + 1));
		beat = &pd->beats[pd->nbeats++];
		memset(beat, 0, sizeof(*beat));
		beat->store = store;
	}
	beat->at_us = clock_now_us();
	get_u64(q->body, "disk_free", &beat->disk_free);
	get_u64(q->body, "memory", &beat->memory);
	beat->disk_short = json_is_true(json_object_get(q->body, "disk_short"));
	snprintf(beat->version, sizeof(beat->version), "%s", version ? version : "");
	json_array_foreach(shards, i, shard)
	{
		VtStatus	status = take_report(pd, store, shard);

		if (status != VT_OK)
		{
			refuse(q, status, "heartbeat: a report could not be recorded");
			return;
		}
	}
	forget_reports(pd, store, beat->at_us);
	if (drops_take(pd, store, json_object_get(q->body, "dropped")) != VT_OK)
	{
		refuse(q, VT_UNAVAILABLE, "heartbeat: what was dropped could not be recorded");
		return;
	}
	tasks = tasks_of(pd, store);
	if (tasks || wait_ms == 0)
		answer_heartbeat(q, tasks);
	else
		park(pd, q, wait_ms);
}

/* -- Leases ---------------------------------------------------------------- */

static void
op_lease(Pd *pd, Question *q)
{
	CatalogLease lease;
	CatalogLease *known = NULL;
	int64_t		timeline;
	json_t	   *reply;
	VtStatus	status = VT_OK;

	memset(&lease, 0, sizeof(lease));
	if (!get_u64(q->body, "system", &lease.system) || !get_id(q->body, "incarnation", &lease.incarnation) ||
		!get_id(q->body, "holder", &lease.holder) || vt_id_is_zero(&lease.holder) ||
		!get_int(q->body, "timeline", 1, UINT32_MAX, &timeline))
	{
		refuse(q, VT_INVALID, "lease: members are missing or malformed");
		return;
	}
	lease.timeline = (uint32_t) timeline;
	if (!vt_id_is_zero(&lease.incarnation))
	{
		known = catalog_lease(pd->catalog, lease.system, &lease.incarnation);
		if (!known || !vt_id_equal(&known->holder, &lease.holder))
		{
			refuse(q, VT_NOT_OWNER, "this cluster has not leased that incarnation to this data directory");
			return;
		}
	}
	else
	{
		/* Asked twice for one life of one directory: the same answer. */
		for (size_t i = 0; i < pd->catalog->nleases && !known; i++)
			if (pd->catalog->leases[i]->system == lease.system &&
				vt_id_equal(&pd->catalog->leases[i]->holder, &lease.holder) &&
				pd->catalog->leases[i]->timeline == lease.timeline)
				known = pd->catalog->leases[i];
		if (known)
			lease.incarnation = known->incarnation;
		else
			vt_id_random(&lease.incarnation);
	}
	if (!known)
	{
		Buf			command = {0};

		command_begin(&command);
		command_lease(&command, &lease);
		status = commit(pd, &command);
		buf_free(&command);
	}
	reply = json_object();
	json_object_set_new(reply, "incarnation", json_id(&lease.incarnation));
	json_object_set_new(reply, "cluster", json_id(&pd->catalog->meta.cluster));
	answer(q, status, reply, NULL);
}

/* -- Collections ----------------------------------------------------------- */

bool
collection_is_up(const CatalogCollection *c)
{
	for (uint32_t i = 0; i < c->nshards; i++)
		if (!c->shards[i].bootstrapped)
			return false;
	return true;
}

static json_t *
json_route(Pd *pd, const CatalogCollection *c)
{
	json_t	   *route = json_object();
	json_t	   *shards = json_array();

	json_object_set_new(route, "generation", json_id(&c->generation));
	json_object_set_new(route, "owner", json_owner(&c->owner));
	json_object_set_new(route, "dim", json_integer(c->dim));
	json_object_set_new(route, "metric", json_string(metric_name(c->metric)));
	json_object_set_new(route, "m", json_integer(c->m));
	json_object_set_new(route, "ef_construction", json_integer(c->ef_construction));
	json_object_set_new(route, "quantization", json_string(quantization_name(c->quantization)));
	json_object_set_new(route, "route_version", json_u64(c->route_version));
	json_object_set_new(route, "state", json_string("live"));
	for (uint32_t i = 0; i < c->nshards; i++)
	{
		json_t	   *shard = json_object();
		CatalogStore *store = catalog_store(pd->catalog, c->shards[i].desc.replicas[0].store);

		json_object_set_new(shard, "desc", json_desc(&c->shards[i].desc));
		json_object_set_new(shard, "endpoint", json_string(store ? store->endpoint : ""));
		json_array_append_new(shards, shard);
	}
	json_object_set_new(route, "shards", shards);
	return route;
}

static void
answer_route(Pd *pd, Question *q, const CatalogCollection *c)
{
	json_t	   *reply = json_object();

	json_object_set_new(reply, "route", json_route(pd, c));
	answer(q, VT_OK, reply, NULL);
}

/* Make the shards of a new collection; 0 live workers = false. */
static bool
place_shards(Pd *pd, CatalogCollection *c, uint32_t wanted, CatalogMeta *meta)
{
	Candidate  *candidates = vt_alloc(sizeof(Candidate) * (pd->catalog->nstores + 1));
	size_t		n = 0;
	uint64_t   *stores;
	VtId		seed;

	for (size_t i = 0; i < pd->catalog->nstores; i++)
		if (store_is_up(pd, pd->catalog->stores[i]->id))
		{
			candidates[n].store = pd->catalog->stores[i]->id;
			candidates[n++].shards = 0;
		}
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		for (uint32_t j = 0; j < pd->catalog->collections[i]->nshards; j++)
			for (size_t k = 0; k < n; k++)
				if (candidates[k].store == pd->catalog->collections[i]->shards[j].desc.replicas[0].store)
					candidates[k].shards++;
	if (n == 0)
	{
		free(candidates);
		return false;
	}
	c->nshards = wanted ? wanted : (uint32_t) n;
	if (c->nshards > SHARDS_MAX)
		c->nshards = SHARDS_MAX;
	c->shards = vt_alloc0(sizeof(CatalogShard) * c->nshards);
	stores = vt_alloc(sizeof(uint64_t) * c->nshards);
	schedule_place(candidates, n, stores, c->nshards);
	vt_id_random(&seed);
	for (uint32_t i = 0; i < c->nshards; i++)
	{
		WireShardDesc *desc = &c->shards[i].desc;

		desc->generation = c->generation;
		desc->owner = c->owner;
		desc->shard = meta->next_id++;
		desc->incarnation = 1;
		schedule_interval(i, c->nshards, &desc->first, &desc->last);
		desc->conf_ver = 1;
		desc->range_ver = 1;
		desc->hash_kind = HASH_XXH3_64;
		desc->hash_seed = get_le64(seed.b);
		desc->dim = c->dim;
		desc->metric = c->metric;
		desc->element = 1;
		desc->quantization = c->quantization;
		desc->m = c->m;
		desc->ef_construction = c->ef_construction;
		desc->nreplicas = 1;
		desc->replicas[0].store = stores[i];
		desc->replicas[0].replica = meta->next_id++;
		desc->replicas[0].role = 1;
	}
	free(stores);
	free(candidates);
	return true;
}

/* Parse what is to be created; false = malformed. */
static bool
read_creation(json_t *body, CatalogCollection *c, int64_t *shards)
{
	int64_t		dim;
	int64_t		m;
	int64_t		ef;
	int64_t		replicas;
	const char *label = json_string_value(json_object_get(body, "label"));
	const char *metric = json_string_value(json_object_get(body, "metric"));
	const char *quantization = json_string_value(json_object_get(body, "quantization"));

	memset(c, 0, sizeof(*c));
	if (!get_id(body, "generation", &c->generation) || vt_id_is_zero(&c->generation) ||
		!get_owner(body, &c->owner) || !get_int(body, "dim", 1, 16000, &dim) ||
		!get_int(body, "m", 2, 100, &m) || !get_int(body, "ef_construction", 4, 1000, &ef) ||
		!get_int(body, "shards", 0, SHARDS_MAX, shards) || !get_int(body, "replicas", 0, 9, &replicas) ||
		!get_u64(body, "xid", &c->xid) || !metric || !metric_number(metric, &c->metric) ||
		!quantization_number(quantization ? quantization : "none", &c->quantization))
		return false;
	c->dim = (uint32_t) dim;
	c->m = (uint16_t) m;
	c->ef_construction = (uint16_t) ef;
	c->replicas_wanted = (uint32_t) replicas;
	c->state = COLLECTION_LIVE;
	c->route_version = 1;
	snprintf(c->label, sizeof(c->label), "%s", label ? label : "");
	return true;
}

static void
op_create(Pd *pd, Question *q)
{
	CatalogCollection c;
	CatalogCollection *known;
	int64_t		shards;
	int64_t		wait_ms = 30000;

	if (!read_creation(q->body, &c, &shards))
	{
		refuse(q, VT_INVALID, "create_collection: members are missing or malformed");
		return;
	}
	known = catalog_collection(pd->catalog, &c.generation);
	if (!known)
	{
		CatalogMeta meta = pd->catalog->meta;
		Buf			command = {0};
		VtStatus	status;

		c.created_us = clock_wall_us();
		if (!place_shards(pd, &c, (uint32_t) shards, &meta))
		{
			refuse(q, VT_UNAVAILABLE, "no worker is up");
			return;
		}
		command_begin(&command);
		command_meta(&command, &meta);
		command_collection(&command, &c);
		status = commit(pd, &command);
		buf_free(&command);
		free(c.shards);
		if (status != VT_OK)
		{
			refuse(q, status, "the collection could not be recorded");
			return;
		}
		known = catalog_collection(pd->catalog, &c.generation);
		log_info("created \"%s\" with %u shards", known->label, known->nshards);
	}
	if (!wire_owner_equal(&known->owner, &c.owner))
		refuse(q, VT_NOT_OWNER, "the generation belongs to another server or database");
	else if (known->state != COLLECTION_LIVE)
		refuse(q, VT_GONE, "the generation was dropped");
	else if (known->dim != c.dim || known->metric != c.metric || known->m != c.m ||
			 known->ef_construction != c.ef_construction || known->quantization != c.quantization)
		refuse(q, VT_EXISTS, "the generation exists with other properties");
	else if (collection_is_up(known))
		answer_route(pd, q, known);
	else
	{
		get_int(q->body, "wait_ms", 0, 60000, &wait_ms);
		park(pd, q, wait_ms);
	}
}

static void
op_route(Pd *pd, Question *q)
{
	VtId		generation;
	CatalogCollection *c;

	if (!get_id(q->body, "generation", &generation))
		refuse(q, VT_INVALID, "route: generation is missing or malformed");
	else if ((c = catalog_collection(pd->catalog, &generation)) == NULL)
		refuse(q, VT_UNKNOWN_GENERATION, "this cluster does not know the generation");
	else if (c->state != COLLECTION_LIVE)
		refuse(q, VT_GONE, "the generation was dropped");
	else
		answer_route(pd, q, c);
}

/* -- The service thread ---------------------------------------------------- */

static void
handle(Pd *pd, Question *q)
{
	const char *op = json_string_value(json_object_get(q->body, "op"));
	bool		worker = net_conn_role(q->conn) == WIRE_ROLE_WORKER;

	if (!op)
		refuse(q, VT_INVALID, "no op");
	else if (!is_leader(pd))
		refuse(q, VT_NOT_LEADER, "this placement driver is not the leader or has just started");
	else if (strcmp(op, "route") == 0)
		op_route(pd, q);
	else if (strcmp(op, "heartbeat") == 0 && worker)
		op_heartbeat(pd, q);
	else if (strcmp(op, "register") == 0 && worker)
		op_register(pd, q);
	else if (strcmp(op, "status") == 0)
		op_status(pd, q);
	else if (worker)
		refuse(q, VT_DENIED, "op \"%s\" is not for workers", op);
	else if (strcmp(op, "lease") == 0)
		op_lease(pd, q);
	else if (strcmp(op, "create_collection") == 0)
		op_create(pd, q);
	else if (strcmp(op, "drop_collection") == 0)
		op_drop(pd, q, COLLECTION_HIDDEN);
	else if (strcmp(op, "undrop_collection") == 0)
		op_drop(pd, q, COLLECTION_LIVE);
	else if (strcmp(op, "owned") == 0)
		op_owned(pd, q);
	else if (strcmp(op, "unused") == 0)
		op_unused(pd, q);
	else if (strcmp(op, "collections") == 0)
		op_collections(pd, q);
	else if (strcmp(op, "workers") == 0)
		op_workers(pd, q);
	else if (strcmp(op, "shards") == 0)
		op_shards(pd, q);
	else
		refuse(q, VT_INVALID, "unrecognized op \"%s\"", op);
}

/* Look at the parked questions again; returns when the next one is due. */
static int64_t
look_again(Pd *pd)
{
	Question   *list = pd->parked;
	int64_t		now = clock_now_us();
	int64_t		due = now + 1000000;

	pd->parked = NULL;
	while (list)
	{
		Question   *q = list;
		const char *op = json_string_value(json_object_get(q->body, "op"));
		VtId		generation;
		CatalogCollection *c;
		uint64_t	store = 0;
		json_t	   *tasks;

		list = q->next;
		if (strcmp(op, "heartbeat") == 0)
		{
			get_u64(q->body, "store", &store);
			tasks = tasks_of(pd, store);
			if (tasks || now >= q->until_us)
			{
				answer_heartbeat(q, tasks);
				continue;
			}
		}
		else
		{
			get_id(q->body, "generation", &generation);
			c = catalog_collection(pd->catalog, &generation);
			if (c && c->state == COLLECTION_LIVE && collection_is_up(c))
			{
				answer_route(pd, q, c);
				continue;
			}
			if (!c || c->state != COLLECTION_LIVE)
			{
				refuse(q, VT_GONE, "the generation was dropped");
				continue;
			}
			if (now >= q->until_us)
			{
				refuse(q, VT_BUSY, "the workers have not made all shards yet");
				continue;
			}
		}
		if (q->until_us < due)
			due = q->until_us;
		q->next = pd->parked;
		pd->parked = q;
	}
	return due;
}

static void *
service_main(void *arg)
{
	Pd		   *pd = (Pd *) arg;
	int64_t		due = clock_now_us();

	for (;;)
	{
		Question   *q;
		struct timespec until;
		int64_t		left = due - clock_now_us();

		clock_gettime(CLOCK_REALTIME, &until);
		left = left > 0 ? left : 0;
		until.tv_nsec += left % 1000000 * 1000;
		until.tv_sec += left / 1000000 + until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_mutex_lock(&pd->lock);
		if (!pd->queue && !pd->stopping)
			pthread_cond_timedwait(&pd->ready, &pd->lock, &until);
		if (pd->stopping)
		{
			pthread_mutex_unlock(&pd->lock);
			break;
		}
		q = pd->queue;
		if (q)
		{
			pd->queue = q->next;
			pd->queued--;
			if (!pd->queue)
				pd->queue_end = &pd->queue;
		}
		pthread_mutex_unlock(&pd->lock);
		if (q)
			handle(pd, q);
		if (is_leader(pd))
			drops_look(pd);
		due = look_again(pd);
	}
	return NULL;
}

static void
on_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	Pd		   *pd = (Pd *) arg;
	Question   *q;
	json_t	   *body;
	bool		full;

	if (header->kind != WIRE_REQUEST || header->type != WIRE_CONTROL)
		return;
	body = json_loadb((const char *) payload->data, payload->len, 0, NULL);
	q = vt_alloc0(sizeof(Question));
	q->conn = net_conn_ref(conn);
	q->request = header->request;
	q->body = body;
	if (!json_is_object(body))
	{
		refuse(q, VT_PROTOCOL, "the request is no JSON object");
		return;
	}
	pthread_mutex_lock(&pd->lock);
	full = pd->queued >= QUEUE_MAX || pd->stopping;
	if (!full)
	{
		*pd->queue_end = q;
		pd->queue_end = &q->next;
		pd->queued++;
		pthread_cond_signal(&pd->ready);
	}
	pthread_mutex_unlock(&pd->lock);
	if (full)
		refuse(q, VT_BUSY, "too many questions");
}

static void
on_closed(void *arg, NetConn *conn)
{
	(void) arg;
	(void) conn;
}

/* The cluster's first life: make its identity, through the log. */
static VtStatus
found_cluster(Pd *pd, VtError *err)
{
	CatalogMeta meta;
	Buf			command = {0};
	VtId		random;
	VtStatus	status;
	int64_t		until = clock_now_us() + 30 * INT64_C(1000000);

	while (!is_leader(pd))
	{
		struct timespec nap = {0, 2000000};

		if (clock_now_us() > until)
			return vt_fail(err, VT_TIMEOUT, "the placement driver's Raft group did not elect a leader");
		nanosleep(&nap, NULL);
	}
	if (!vt_id_is_zero(&pd->catalog->meta.cluster))
		return VT_OK;
	memset(&meta, 0, sizeof(meta));
	vt_id_random(&meta.cluster);
	vt_id_random(&random);
	meta.next_id = ((uint64_t) (get_le32(random.b) >> 1 | 1) << 32) + 1;
	command_begin(&command);
	command_meta(&command, &meta);
	status = commit(pd, &command);
	buf_free(&command);
	return status == VT_OK ? VT_OK : vt_fail(err, status, "could not found the cluster");
}

VtStatus
pd_start(Store *rows, ReplicaHost *host, const PdOptions *options, Pd **out, VtError *err)
{
	Pd		   *pd = vt_alloc0(sizeof(Pd));
	NetServerOptions net;
	ReplicaMachine machine;
	uint64_t	applied;
	RaftConf	alone = {.n = 1, .members = {{.id = 1, .node = 1, .roles = RAFT_VOTER}}};
	VtStatus	status;

	pd->host = host;
	pd->keep_dropped_us = options->keep_dropped_us;
	pd->started_us = clock_now_us();
	pd->queue_end = &pd->queue;
	pthread_mutex_init(&pd->lock, NULL);
	pthread_cond_init(&pd->ready, NULL);
	status = catalog_open(rows, &pd->catalog, &applied, err);
	if (status == VT_OK)
	{
		machine = catalog_machine(pd->catalog);
		status = replica_create(host, PD_GROUP, 1, &alone, 0, err);
		if (status == VT_OK || status == VT_EXISTS)
			status = replica_open(host, PD_GROUP, 1, &machine, applied, &pd->replica, err);
	}
	if (status == VT_OK)
		status = found_cluster(pd, err);
	if (status == VT_OK && pthread_create(&pd->thread, NULL, service_main, pd) != 0)
		status = vt_fail(err, VT_NOMEM, "could not start a thread");
	if (status != VT_OK)
		return status;
	memset(&net, 0, sizeof(net));
	net.endpoint = options->listen;
	net.role = WIRE_ROLE_PD;
	net.cluster = pd->catalog->meta.cluster;
	net.boot_epoch = options->boot_epoch;
	net.handler.frame = on_frame;
	net.handler.closed = on_closed;
	net.handler.arg = pd;
	status = net_server_start(&net, &pd->server, err);
	if (status == VT_OK)
		*out = pd;
	return status;
}

void
pd_stop(Pd *pd)
{
	pthread_mutex_lock(&pd->lock);
	pd->stopping = true;
	pthread_cond_signal(&pd->ready);
	pthread_mutex_unlock(&pd->lock);
	pthread_join(pd->thread, NULL);
	while (pd->queue || pd->parked)
	{
		Question  **from = pd->queue ? &pd->queue : &pd->parked;
		Question   *q = *from;

		*from = q->next;
		refuse(q, VT_STOPPING, "the placement driver is shutting down");
	}
	net_server_stop(pd->server);
	replica_host_stop(pd->host);
	catalog_close(pd->catalog);
	free(pd->reports);
	free(pd->beats);
	free(pd);
}
