/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  A worker's life: opening its shards, making new ones, stopping.
 *
 *-------------------------------------------------------------------------
 */
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/endpoint.h"
#include "base/level.h"
#include "base/log.h"
#include "private.h"

#define SESSION_MS (UINT64_C(600) * 1000)
#define LOG_BYTES_MIN (UINT64_C(64) << 20)
#define LOG_BYTES_MAX (UINT64_C(1) << 30)

/* Make whoever holds the shard let go of it: leases, above all. */
static void
quiesce(void *arg, Shard *shard)
{
	lease_drop_shard((Worker *) arg, shard);
}

/* One that nobody knows any more, and whose replica is closed. */
void
worker_free_shard(Shard *shard)
{
	hints_free(shard->hints);
	shard_close(shard);
}

/* Open a shard whose directory and Raft group exist.  rows: they are open, and taken; NULL: they are not.  records: they are loaded, too. */
VtStatus
worker_open_with(Worker *worker, uint64_t id, Store *rows, Records *records, VtError *err)
{
	Shard	   *shard;
	ReplicaMachine machine;
	RaftSnapshot base;
	uint64_t	replay;
	int64_t		begin = clock_now_us();
	VtStatus	status = hidden_forget(worker, id, err);

	if (status == VT_OK)
		status = replica_stored_base(worker->host, id, &base, err);
	if (status == VT_OK)
		status = shard_finish_install(worker->shards_path, id, base.id, base.index, err);
	if (status != VT_OK)
	{
		records_free(records);
		store_close(rows);
	}
	else if (rows)
		status = shard_open_with(worker->shards_path, rows, records, worker->options.mapped, &shard, &replay, err);
	else
		status = shard_open(worker->shards_path, id, worker->options.mapped, &shard, &replay, err);
	if (status != VT_OK)
		return status;
	shard->on_waiting = indexer_wake;
	shard->on_told = indexer_wake_now;
	shard->on_waiting_arg = worker->indexer;
	shard->on_verify = verifier_take;
	shard->on_verify_arg = worker->verifier;
	shard->quiesce = quiesce;
	shard->quiesce_arg = worker;
	shard->on_split = chores_split;
	shard->on_split_arg = worker;
	shard->stirred_all = &worker->stirred;
	machine = shard_machine(shard);
	if (!worker->options.no_hints)
	{
		shard->hints = hints_new();
		machine.told = hints_told;
	}
	status = replica_open(worker->host, id, shard->replica_id, &machine, replay, &shard->replica, err);
	if (status != VT_OK)
	{
		worker_free_shard(shard);
		return status;
	}
	pthread_mutex_lock(&worker->lock);
	shards_add(worker, shard);
	pthread_mutex_unlock(&worker->lock);
	log_info("shard=%llu open, %llu records in %lld ms, %llu to index, replay from %llu", (unsigned long long) id,
			 (unsigned long long) shard_figures(shard).records,
			 (long long) ((clock_now_us() - begin) / 1000), (unsigned long long) shard_figures(shard).waiting,
			 (unsigned long long) replay);
	return VT_OK;
}

VtStatus
worker_open_shard(Worker *worker, uint64_t id, VtError *err)
{
	return worker_open_with(worker, id, NULL, NULL, err);
}

/* The founders of a shard's group, by its descriptor. */
RaftConf
worker_founders_of(const WireShardDesc *desc)
{
	RaftConf	conf;

	memset(&conf, 0, sizeof(conf));
	for (int i = 0; i < desc->nreplicas; i++)
	{
		uint32_t	at = conf.n++;

		for (; at > 0 && conf.members[at - 1].id > desc->replicas[i].replica; at--)
			conf.members[at] = conf.members[at - 1];
		memset(&conf.members[at], 0, sizeof(conf.members[at]));
		conf.members[at].id = desc->replicas[i].replica;
		conf.members[at].node = desc->replicas[i].store;
		conf.members[at].roles = desc->replicas[i].role == 2 ? RAFT_LEARNER : RAFT_VOTER;
	}
	return conf;
}

VtStatus
worker_create_shard(Worker *worker, const WireShardDesc *desc, uint64_t replica, bool found,
					VtError *err)
{
	Shard	   *there = worker_find_shard(worker, desc->shard);
	RaftConf	founders = worker_founders_of(desc);
	WireShardDesc own = *desc;
	bool		dead;
	VtStatus	status;

	if (there)
	{
		shard_release(there);
		return VT_OK;
	}
	if (broken_has(worker, desc->shard))
		return vt_fail(err, VT_EXISTS, "the replica that is here is damaged");
	status = log_has_tombstone(worker->log, desc->shard, replica, &dead, err);
	if (status == VT_OK && dead)
		return vt_fail(err, VT_GONE, "it was dropped here");

	/* Who joins has nothing, wherever the group began: a snapshot brings it. */
	if (!found)
		own.base_index = 0;
	if (status == VT_OK && !found && desc->parent != 0)
		status = splits_may_begin_empty(worker, desc, err);
	if (status == VT_OK)
		status = shard_create(worker->shards_path, &own, replica, err);
	if (status != VT_OK)
		return status;			/* VT_EXISTS: as another replica, which stays closed */
	status = hidden_forget(worker, desc->shard, err);	/* of one that was dropped here */
	if (status != VT_OK)
		return status;
	status = replica_create(worker->host, desc->shard, replica, found ? &founders : NULL,
							own.base_index, err);
	if (status == VT_OK || status == VT_EXISTS)
		status = worker_open_shard(worker, desc->shard, err);
	return status;
}

/*
 * A directory without a Raft group: its creation was cut off before the group
 * was founded (worker_create_shard's order), or its deletion before the
 * directory went (drop.c).  PD will ask again for the one or the other.
 */
bool
worker_has_group(Worker *worker, uint64_t id)
{
	Buf			state = {0};
	bool		founded = log_load_state(worker->log, id, &state, NULL) != VT_NOT_FOUND;

	buf_free(&state);
	return founded;
}

static VtStatus
load_identity(Worker *worker, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = store_get(worker->log, bytes_of("M", 1), &value, err);

	if (status == VT_OK)
	{
		Cursor		c = cursor_of(buf_bytes(&value));

		worker->store_id = cursor_u64(&c);
		worker->cluster = cursor_id(&c);
		if (!cursor_done(&c))
			status = vt_fail(err, VT_CORRUPT, "the worker's identity is damaged");
	}
	buf_free(&value);
	return status == VT_NOT_FOUND ? VT_OK : status;
}

/* Of the cluster that last told us; a release that does not know it may open nothing here. */
static VtStatus
load_level(Worker *worker, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = store_get(worker->log, bytes_of("V", 1), &value, err);

	if (status == VT_OK && value.len != 4)
		status = vt_fail(err, VT_CORRUPT, "the worker's feature level is damaged");
	else if (status == VT_OK)
		worker->level = get_le32(value.data);
	buf_free(&value);
	if (status != VT_OK && status != VT_NOT_FOUND)
		return status;
	return vt_level_check("this worker", VT_LEVEL_LOW, vt_level_high(), worker->level ? worker->level : VT_LEVEL_LOW, err);
}

static void
on_closed(void *arg, NetConn *conn)
{
	lease_drop_conn((Worker *) arg, net_conn_id(conn));
	if (net_conn_role(conn) == WIRE_ROLE_WORKER)
		replica_links_lost(((Worker *) arg)->links, net_conn_store(conn));
}

static void
on_refused(void *arg, const char *words)
{
	(void) arg;
	log_warn("%s", words);
}

/* Our certificate must be for the cluster whose data is here, and gateways must be told a place. */
static VtStatus
check_tls(Worker *worker, VtError *err)
{
	const WorkerOptions *options = &worker->options;
	WireIdentity identity;
	Endpoint	place;
	VtStatus	status = endpoint_parse(options->advertise, &place, err);

	if (status == VT_OK && place.tcp && place.any)
		return vt_fail(err, VT_INVALID, "\"%s\" is no place to come to: set advertise", options->advertise);
	if (status != VT_OK || !options->tls || vt_id_is_zero(&worker->cluster))
		return status;
	identity = net_tls_identity(options->tls);
	if (!vt_id_equal(&worker->cluster, &identity.cluster))
		return vt_fail(err, VT_DENIED, "the certificate is for another cluster than the data directory");
	return VT_OK;
}

void
worker_reload(void *arg)
{
	Worker	   *worker = (Worker *) arg;
	VtError		err = {0};

	if (!worker->options.tls)
		return;
	if (net_tls_reload(worker->options.tls, &err) != VT_OK)
	{
		log_error("certificates stay as they are: %s", vt_error_words(&err));
		return;
	}
	net_server_renew(worker->server);
	if (worker->exposed)
		net_server_renew(worker->exposed);
	log_info("certificates were read anew");
}

/* A twentieth: a log that is cut too late must not be what fills the disk. */
uint64_t
worker_log_limit(uint64_t asked, uint64_t disk)
{
	uint64_t	share = disk / 20;

	if (asked > 0)
		return asked;
	return share < LOG_BYTES_MIN ? LOG_BYTES_MIN : share < LOG_BYTES_MAX ? share : LOG_BYTES_MAX;
}

/* Of the disk with the data; 0 = not known. */
static uint64_t
disk_bytes(const char *data)
{
	struct statvfs disk;

	return statvfs(data, &disk) == 0 ? (uint64_t) disk.f_blocks * disk.f_frsize : 0;
}

VtStatus
worker_start(const WorkerOptions *options, Worker **out, VtError *err)
{
	Worker	   *worker = vt_alloc0(sizeof(Worker));
	MemoryBounds bounds = worker_memory_bounds(options->memory_limit);
	StoreOptions log_options = {.write_buffer = bounds.log_tables};
	ReplicaHostOptions host_options = {0};
	ReplicaLinksOptions links = {.role = WIRE_ROLE_WORKER, .boot_epoch = options->boot_epoch, .tls = options->tls};
	NetServerOptions net;
	char		path[4096];
	VtId		salt;
	VtStatus	status;

	worker->options = *options;
	if (worker->options.session_ms == 0)
		worker->options.session_ms = SESSION_MS;
	worker->started_us = clock_now_us();
	atomic_store(&worker->stats.turned_us, worker->started_us);
	worker->door.end = &worker->door.first;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_mutex_init(&worker->look_lock, NULL);
	vt_id_random(&salt);
	worker->searches.salt = get_le64(salt.b);
	cond_init(&worker->chores_ready);
	worker->wake_fd = eventfd(0, EFD_CLOEXEC);
	worker->chore_fd = eventfd(0, EFD_CLOEXEC);
	snprintf(path, sizeof(path), "%s/shards", options->data);
	worker->shards_path = vt_strdup(path);
	snprintf(path, sizeof(path), "%s/log", options->data);
	status = store_open(path, &log_options, &worker->log, err);
	if (status == VT_OK)
		status = load_identity(worker, err);
	if (status == VT_OK)
		status = load_level(worker, err);
	if (status == VT_OK)
		status = check_tls(worker, err);
	if (status == VT_OK)
	{
		links.cluster = worker->cluster;
		links.node = worker->store_id;
		worker->links = replica_links_new(&links);
		host_options.transport = replica_links_transport(worker->links);
		host_options.node = worker->store_id;
		host_options.checkpoint_bytes = options->checkpoint_bytes;
		host_options.log_bytes = worker_log_limit(options->log_bytes, disk_bytes(options->data));
		host_options.snapshot_rate = options->snapshot_rate;
		host_options.lag_entries = options->lag_entries;
		host_options.lag_bytes = options->lag_bytes;
		host_options.resident_bytes = host_options.max_inflight_bytes = bounds.log;
		status = replica_host_start(worker->log, &host_options, &worker->host, err);
		replica_links_serve(worker->links, worker->host);
	}
	if (status == VT_OK)
		status = worker_finish_drops(worker, err);
	if (status == VT_OK)
		status = heirs_clear(worker, err);
	if (status == VT_OK)
	{
		worker->indexer = indexer_start(worker, options->index_threads);
		worker->verifier = verifier_start();
		status = worker_open_all(worker, err);
	}
	if (status == VT_OK)
		status = heirs_start(worker, err);
	if (status != VT_OK)
		return status;

	worker->intake = intake_start(worker);
	memset(&net, 0, sizeof(net));
	net.endpoint = options->listen;
	net.role = WIRE_ROLE_WORKER;
	net.cluster = worker->cluster;
	net.store = worker->store_id;
	net.boot_epoch = options->boot_epoch;
	net.polled = true;
	net.tls = options->tls;
	net.handler.frame = pool_take_frame;
	net.handler.closed = on_closed;
	net.handler.refused = on_refused;
	net.handler.arg = worker;
	worker_look(worker);		/* before anybody asks */
	status = net_server_start(&net, &worker->server, err);
	if (status != VT_OK)
		return status;
	pool_start(worker);
	if (options->expose)
	{
		net.endpoint = options->expose;
		net.polled = false;
		net.handler.frame = pool_take_exposed;
		status = net_server_start(&net, &worker->exposed, err);
		if (status != VT_OK)
			return status;
	}
	status = chores_start(worker, err);
	if (status != VT_OK)
		return status;
	worker->saver = saver_start(worker, options->graph_save);
	if (pthread_create(&worker->house, NULL, house_main, worker) != 0)
		return vt_fail(err, VT_NOMEM, "could not start a thread");
	*out = worker;
	return VT_OK;
}

void
worker_stop(Worker *worker)
{
	uint64_t	one = 1;
	int64_t		begin = clock_now_us();

	if (write(worker->wake_fd, &one, sizeof(one)) != sizeof(one))
		log_warn("could not wake the housekeeping thread");
	pthread_join(worker->house, NULL);
	chores_stop(worker);
	heirs_stop(worker);
	pool_stop(worker);
	intake_stop(worker->intake);
	replica_links_stop(worker->links);
	indexer_stop(worker->indexer);
	replica_host_stop(worker->host);
	indexer_free(worker->indexer);
	net_server_stop(worker->exposed);
	net_server_stop(worker->server);
	saver_stop(worker->saver, begin);
	verifier_stop(worker->verifier);
	lease_expire(worker, 0, true);
	lease_bury(worker);
	while (worker->shards || worker->leaving)
	{
		Shard	  **from = worker->shards ? &worker->shards : &worker->leaving;
		Shard	   *shard = *from;

		*from = shard->next;
		worker_free_shard(shard);
	}
	free(worker->by_id);
	free(worker->dropped);
	waiting_free(&worker->searches);
	replica_links_free(worker->links);
	heirs_free(worker);
	broken_free(worker);
	store_close(worker->log);
	close(worker->wake_fd);
	close(worker->chore_fd);
	free(worker->shards_path);
	free(worker);
}
