/*-------------------------------------------------------------------------
 *
 * house.c
 *	  The housekeeping thread: registration, heartbeats, tasks, admission
 *	  figures, leases that have expired.
 *
 * A heartbeat is a long poll: PD answers at once when there is something to
 * do, else after a while, so that a new shard is made without delay.
 *
 *-------------------------------------------------------------------------
 */
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/log.h"
#include "private.h"
#include "status.h"

#define BEAT_WAIT_MS 500		/* how long PD may hold a heartbeat */
#define CALL_TIMEOUT_MS 5000
#define RETRY_MS 200
#define COMPLAIN_US (30 * INT64_C(1000000))	/* between log lines about tasks that fail */
#define SETTLE_MS 20			/* between heartbeats while a shard has no leader */

static void
look_around(Worker *worker)
{
	struct statvfs disk;
	uint64_t	memory = 0;
	bool		low;

	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s; s = s->next)
		memory += records_bytes(s->records);
	pthread_mutex_unlock(&worker->lock);
	atomic_store(&worker->memory, memory);
	if (statvfs(worker->options.data, &disk) == 0)
	{
		low = (uint64_t) disk.f_bavail * disk.f_frsize < worker->options.disk_reserve;
		if (atomic_exchange(&worker->disk_low, low) != low)
			log_warn(low ? "disk almost full: new data is refused" : "disk has room again");
	}
	lease_expire(worker, clock_now_us(), false);
	lease_bury(worker);
}

/* Ask PD; NULL when it did not answer or refused (logged once per cause). */
static json_t *
ask(NetPeer *peer, json_t *question, int timeout_ms, VtStatus *last)
{
	char	   *text = json_dumps(question, JSON_COMPACT);
	Buf			reply = {0};
	VtError		err = {0};
	VtStatus	status = net_peer_call(peer, WIRE_CONTROL, bytes_str(text), timeout_ms, &reply, &err);
	json_t	   *answer = NULL;

	if (status == VT_OK)
	{
		answer = json_loadb((const char *) reply.data, reply.len, 0, NULL);
		status = answer ? (VtStatus) json_integer_value(json_object_get(answer, "status")) : VT_PROTOCOL;
		if (status != VT_OK)
			vt_fail(&err, status, "%s", json_is_string(json_object_get(answer, "message")) ?
					json_string_value(json_object_get(answer, "message")) : vt_status_words(status));
	}
	if (status != VT_OK)
	{
		if (status != *last)
			log_warn("placement driver: %s", vt_error_words(&err));
		json_decref(answer);
		answer = NULL;
	}
	else if (*last != VT_OK)
		log_info("placement driver answers");
	*last = status;
	buf_free(&reply);
	free(text);
	json_decref(question);
	return answer;
}

/* Keep who we are, durably, before anybody is told. */
static void
keep_identity(Worker *worker)
{
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};
	VtError		err = {0};

	buf_put_u64(&value, worker->store_id);
	buf_put_id(&value, &worker->cluster);
	store_batch_put(batch, bytes_of("M", 1), buf_bytes(&value));
	if (store_write(worker->log, batch, true, &err) != VT_OK)
	{
		log_error("could not keep the worker's identity: %s", vt_error_words(&err));
		_Exit(70);
	}
	buf_free(&value);
	store_batch_free(batch);
}

static bool
register_with_pd(Worker *worker, NetPeer *peer, VtStatus *last)
{
	json_t	   *question = json_object();
	json_t	   *answer;
	const char *store;
	const char *cluster;
	bool		ok = false;

	json_object_set_new(question, "op", json_string("register"));
	json_object_set_new(question, "store", status_u64(worker->store_id));
	json_object_set_new(question, "cluster", status_id(&worker->cluster));
	json_object_set_new(question, "data_id", status_id(&worker->options.data_id));
	json_object_set_new(question, "endpoint", json_string(worker->options.advertise));
	json_object_set_new(question, "boot_epoch", status_u64(worker->options.boot_epoch));
	json_object_set_new(question, "version", json_string(WORKER_VERSION));
	answer = ask(peer, question, CALL_TIMEOUT_MS, last);
	store = json_string_value(json_object_get(answer, "store"));
	cluster = json_string_value(json_object_get(answer, "cluster"));
	if (store && cluster)
	{
		VtId		id;

		if (vt_id_parse(cluster, &id))
		{
			worker->store_id = strtoull(store, NULL, 10);
			worker->cluster = id;
			keep_identity(worker);
			net_server_set_identity(worker->server, &worker->cluster, worker->store_id);
			log_info("store=%s registered", store);
			ok = true;
		}
	}
	json_decref(answer);
	return ok;
}

static int
hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A descriptor in hex; false = malformed. */
static bool
desc_from_hex(const char *hex, WireShardDesc *out)
{
	Buf			bytes = {0};
	Cursor		c;
	bool		ok = hex != NULL;

	for (; ok && hex[0]; hex += 2)
	{
		int			high = hex_value(hex[0]);
		int			low = high < 0 ? -1 : hex_value(hex[1]);

		ok = low >= 0;
		if (ok)
			buf_put_u8(&bytes, (uint8_t) (high << 4 | low));
	}
	c = cursor_of(buf_bytes(&bytes));
	ok = ok && wire_desc_get(&c, out) == VT_OK && cursor_done(&c) && out->nreplicas == 1;
	buf_free(&bytes);
	return ok;
}

static uint64_t
member_u64(json_t *task, const char *name)
{
	const char *text = json_string_value(json_object_get(task, name));

	return text ? strtoull(text, NULL, 10) : 0;
}

/*
 * Close, open or drop a shard that is there.  *again: it could not be done yet;
 * PD will ask for it again.
 */
static void
do_shard_task(Worker *worker, const char *what, json_t *task, bool *again)
{
	uint64_t	id = member_u64(task, "shard");
	uint64_t	replica = member_u64(task, "replica");
	VtError		err = {0};
	VtStatus	status;

	if (strcmp(what, "close_shard") == 0)
		status = worker_close_shard(worker, id, replica, &err);
	else if (strcmp(what, "open_shard") == 0)
		status = worker_reopen_shard(worker, id, &err);
	else
		status = worker_drop_shard(worker, id, replica, &err);
	if (status == VT_OK && strcmp(what, "drop_shard") == 0)
	{
		worker->dropped = vt_realloc(worker->dropped, sizeof(uint64_t) * (worker->ndropped + 1));
		worker->dropped[worker->ndropped++] = id;
	}
	*again |= status != VT_OK;
	if (status != VT_OK && status != VT_BUSY && clock_now_us() > worker->complain_us)
	{
		worker->complain_us = clock_now_us() + COMPLAIN_US;
		log_error("shard=%llu: %s: %s", (unsigned long long) id, what, vt_error_words(&err));
	}
}

static void
do_task(Worker *worker, json_t *task, bool *again)
{
	const char *what = json_string_value(json_object_get(task, "task"));
	WireShardDesc desc;
	VtError		err = {0};

	if (what && strcmp(what, "create_shard") == 0 &&
		desc_from_hex(json_string_value(json_object_get(task, "desc")), &desc))
	{
		if (worker_create_shard(worker, &desc, &err) != VT_OK)
			log_error("shard=%llu could not be made: %s", (unsigned long long) desc.shard,
					  vt_error_words(&err));
	}
	else if (what && (strcmp(what, "close_shard") == 0 || strcmp(what, "open_shard") == 0 ||
					  strcmp(what, "drop_shard") == 0))
		do_shard_task(worker, what, task, again);
	else
		log_warn("placement driver gave a task this worker does not know: %s", what ? what : "?");
}

/* Report, and do what comes back.  Returns in how many ms to report again. */
static int
beat(Worker *worker, NetPeer *peer, VtStatus *last)
{
	json_t	   *question = json_object();
	json_t	   *shards = status_shards(worker);
	json_t	   *dropped = json_array();
	json_t	   *answer;
	json_t	   *task;
	size_t		i;
	struct statvfs disk;
	uint64_t	disk_free;
	bool		settling = false;
	bool		again = false;

	json_array_foreach(shards, i, task)
	{
		settling |= !json_is_true(json_object_get(task, "leader"));
	}
	for (i = 0; i < worker->ndropped; i++)
		json_array_append_new(dropped, status_u64(worker->dropped[i]));
	disk_free = statvfs(worker->options.data, &disk) == 0 ? (uint64_t) disk.f_bavail * disk.f_frsize : 0;
	json_object_set_new(question, "op", json_string("heartbeat"));
	json_object_set_new(question, "store", status_u64(worker->store_id));
	json_object_set_new(question, "boot_epoch", status_u64(worker->options.boot_epoch));
	json_object_set_new(question, "wait_ms", json_integer(settling ? 0 : BEAT_WAIT_MS));
	json_object_set_new(question, "version", json_string(WORKER_VERSION));
	json_object_set_new(question, "shards", shards);
	json_object_set_new(question, "memory", status_u64(atomic_load(&worker->memory)));
	json_object_set_new(question, "dropped", dropped);
	json_object_set_new(question, "disk_free", status_u64(disk_free));
	json_object_set_new(question, "disk_short", json_boolean(disk_free < 2 * worker->options.disk_reserve));
	answer = ask(peer, question, CALL_TIMEOUT_MS + BEAT_WAIT_MS, last);
	if (answer)
		worker->ndropped = 0;
	json_array_foreach(json_object_get(answer, "tasks"), i, task)
	{
		do_task(worker, task, &again);
	}
	json_decref(answer);
	return again ? RETRY_MS : settling ? SETTLE_MS : 0;
}

static bool
nap(Worker *worker, int ms)
{
	struct pollfd fd = {worker->wake_fd, POLLIN, 0};

	return poll(&fd, 1, ms) > 0;
}

void *
house_main(void *arg)
{
	Worker	   *worker = (Worker *) arg;
	NetPeerOptions options;
	NetPeer    *peer;
	VtStatus	last = VT_OK;
	bool		registered = false;
	int			pause_ms = 0;

	memset(&options, 0, sizeof(options));
	options.endpoint = worker->options.pd;
	options.role = WIRE_ROLE_WORKER;
	options.cluster = worker->cluster;
	options.store = worker->store_id;
	options.boot_epoch = worker->options.boot_epoch;
	peer = net_peer_new(&options);
	while (!nap(worker, last != VT_OK ? RETRY_MS : pause_ms))
	{
		look_around(worker);
		if (!registered)
			registered = register_with_pd(worker, peer, &last);
		if (registered)
			pause_ms = beat(worker, peer, &last);
	}
	net_peer_free(peer);
	return NULL;
}
