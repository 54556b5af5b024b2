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
#include "base/cond.h"
#include "base/log.h"
#include "service.h"

#define QUEUE_MAX 4096
#define LOOK_US 100000			/* between looks at all parked heartbeats */
#define PARK_MAX_US (60 * INT64_C(1000000))

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
static VtStatus
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
bool
is_leader(Pd *pd)
{
	uint64_t	index;

	return replica_read_now(pd->replica, &index);
}

/* -- The catalog's shards -------------------------------------------------- */

static int
place_compare(const void *a, const void *b)
{
	uint64_t	x = ((const ShardPlace *) a)->key;
	uint64_t	y = ((const ShardPlace *) b)->key;

	return x < y ? -1 : x > y;
}

static void
add_home(Pd *pd, size_t *room, uint64_t store, ShardPlace place)
{
	if (pd->nhomes == *room)
	{
		*room = *room ? *room * 2 : 64;
		pd->homes = vt_realloc(pd->homes, sizeof(ShardPlace) * *room);
	}
	place.key = store;
	pd->homes[pd->nhomes++] = place;
}

/* Index the catalog's shards, if it has changed. */
static void
index_shards(Pd *pd)
{
	Catalog    *catalog = pd->catalog;
	size_t		n = 0;
	size_t		room = 0;

	if (pd->places && pd->places_at == catalog->applied)
		return;
	for (size_t i = 0; i < catalog->ncollections; i++)
		n += catalog->collections[i]->nshards;
	pd->places = vt_realloc(pd->places, sizeof(ShardPlace) * (n + 1));
	free(pd->homes);
	pd->homes = NULL;
	pd->nplaces = pd->nhomes = 0;
	for (size_t i = 0; i < catalog->ncollections; i++)
		for (uint32_t j = 0; j < catalog->collections[i]->nshards; j++)
		{
			const CatalogShard *shard = &catalog->collections[i]->shards[j];
			ShardPlace	place = {shard->desc.shard, (uint32_t) i, j};
			bool		arrives = shard->plan.add_replica != 0;

			pd->places[pd->nplaces++] = place;
			for (int k = 0; k < shard->desc.nreplicas; k++)
			{
				add_home(pd, &room, shard->desc.replicas[k].store, place);
				arrives &= shard->desc.replicas[k].store != shard->plan.add_store;
			}
			if (arrives)
				add_home(pd, &room, shard->plan.add_store, place);
		}
	qsort(pd->places, pd->nplaces, sizeof(ShardPlace), place_compare);
	if (pd->nhomes > 0)
		qsort(pd->homes, pd->nhomes, sizeof(ShardPlace), place_compare);
	pd->places_at = catalog->applied;
}

CatalogShard *
find_shard(Pd *pd, uint64_t id, CatalogCollection **collection)
{
	ShardPlace	key = {.key = id};
	ShardPlace *place;

	index_shards(pd);
	place = bsearch(&key, pd->places, pd->nplaces, sizeof(ShardPlace), place_compare);
	if (!place)
		return NULL;
	*collection = pd->catalog->collections[place->collection];
	return &(*collection)->shards[place->place];
}

const ShardPlace *
shards_of_store(Pd *pd, uint64_t store, size_t *n)
{
	size_t		low = 0;
	size_t		high;

	index_shards(pd);
	high = pd->nhomes;
	while (low < high)
	{
		size_t		middle = low + (high - low) / 2;

		if (pd->homes[middle].key < store)
			low = middle + 1;
		else
			high = middle;
	}
	for (*n = 0; low + *n < pd->nhomes && pd->homes[low + *n].key == store;)
		++*n;
	return pd->homes + low;
}

/* -- Waiting --------------------------------------------------------------- */

void
park(Pd *pd, Question *q, int64_t wait_ms)
{
	int64_t		wait_us = wait_ms * 1000;

	q->until_us = pd->now_us + (wait_us < PARK_MAX_US ? wait_us : PARK_MAX_US);
	q->next = pd->parked;
	pd->parked = q;
}

/* -- The service thread ---------------------------------------------------- */

static void
handle(Pd *pd, Question *q, bool leads)
{
	const char *op = json_string_value(json_object_get(q->body, "op"));
	bool		worker = net_conn_role(q->conn) == WIRE_ROLE_WORKER;

	if (!op)
		refuse(q, VT_INVALID, "no op");
	else if (!leads)
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
	else if (strcmp(op, "retire") == 0)
		op_retire(pd, q);
	else if (strcmp(op, "drain") == 0 || strcmp(op, "undrain") == 0)
		op_drain(pd, q, op[0] == 'd');
	else if (strcmp(op, "collections") == 0)
		op_collections(pd, q);
	else if (strcmp(op, "workers") == 0)
		op_workers(pd, q);
	else if (strcmp(op, "shards") == 0)
		op_shards(pd, q);
	else
		refuse(q, VT_INVALID, "unrecognized op \"%s\"", op);
}

/*
 * Is it worth looking at all parked heartbeats?  When the catalog has changed,
 * and else ten times a second: there may be thousands of them.
 */
static bool
beats_are_due(Pd *pd)
{
	if (pd->looked_at == pd->catalog->applied && pd->now_us - pd->looked_us < LOOK_US)
		return false;
	pd->looked_at = pd->catalog->applied;
	pd->looked_us = pd->now_us;
	return true;
}

/* Look at the parked questions again; returns when the next one is due. */
static int64_t
look_again(Pd *pd)
{
	Question   *list = pd->parked;
	int64_t		due = pd->now_us + (list ? LOOK_US : 1000000);
	bool		beats = beats_are_due(pd);

	if (pd->plans_due_us > pd->now_us && pd->plans_due_us < due)
		due = pd->plans_due_us;
	pd->parked = NULL;
	while (list)
	{
		Question   *q = list;
		bool		is_beat = strcmp(json_string_value(json_object_get(q->body, "op")), "heartbeat") == 0;

		list = q->next;
		if (is_beat ? (beats || pd->now_us >= q->until_us) && heartbeat_again(pd, q) : create_again(pd, q))
			continue;
		if (q->until_us < due)
			due = q->until_us;
		q->next = pd->parked;
		pd->parked = q;
	}
	return due;
}

/*
 * Do we lead?  When we begin to, nothing is known of the stores, and what was
 * known in an earlier reign is old.
 */
static bool
reign(Pd *pd)
{
	pd->now_us = clock_now_us();
	if (!is_leader(pd))
	{
		pd->led_since_us = 0;
		return false;
	}
	if (pd->led_since_us == 0)
	{
		pd->led_since_us = pd->now_us;
		beats_free(pd);
	}
	return true;
}

static void *
service_main(void *arg)
{
	Pd		   *pd = (Pd *) arg;
	int64_t		due = clock_now_us();

	for (;;)
	{
		Question   *q;
		bool		leads;
		struct timespec until;
		int64_t		left = due - clock_now_us();

		until = cond_moment(left > 0 ? left : 0);
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
		leads = reign(pd);
		if (q)
			handle(pd, q, leads);
		if (leads)
		{
			drops_look(pd);
			plans_look(pd);
		}
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
	status = pd->commit(pd, &command);
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
	pd->options = *options;
	pd->commit = commit;
	pd->started_us = clock_now_us();
	pd->queue_end = &pd->queue;
	pthread_mutex_init(&pd->lock, NULL);
	cond_init(&pd->ready);
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
	beats_free(pd);
	free(pd->places);
	free(pd->homes);
	free(pd);
}
