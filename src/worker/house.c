/*-------------------------------------------------------------------------
 *
 * house.c
 *	  The housekeeping thread: registration, heartbeats, tasks, looking at room,
 *	  leases that have expired.
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
#include <unistd.h>

#include "base/clock.h"
#include "base/level.h"
#include "base/log.h"
#include "private.h"
#include "status.h"

#define NOTICES_US (2 * INT64_C(1000000))	/* between two looks at what the log should say */
#define BEAT_WAIT_MS 500		/* how long PD may hold a heartbeat */
#define RETRY_MS 200
#define DENIED_MS 6400			/* at most: PD does not know us, or has forgotten us */
#define ASK_AGAIN_US (60 * INT64_C(1000000))	/* for a comparison that has not come */
#define SETTLE_MS 20			/* between heartbeats while a shard has no leader */

static void
look_around(Worker *worker)
{
	shards_stir_all(worker);
	worker_look(worker);
	worker_close_aside(worker);
	if (atomic_load(&worker->stirred) & LOOK_SPLITS)
		chores_look(worker);
	logtime_pass(worker);
	replica_links_look(worker->links);
	if (clock_now_us() - worker->notices_us >= NOTICES_US)
	{
		worker->notices_us = clock_now_us();
		notices_look(worker);
	}
	lease_expire(worker, clock_now_us(), false);
	lease_bury(worker);
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
		log_exit(70);
	}
	buf_free(&value);
	store_batch_free(batch);
}

/*
 * The feature level that the cluster works at, durably before anything of it is done
 * here: a release that does not know it must not open this directory any more.
 */
static void
take_level(Worker *worker, json_t *answer)
{
	uint32_t	level = (uint32_t) json_integer_value(json_object_get(answer, "level"));
	StoreBatch *batch;
	Buf			value = {0};
	VtError		err = {0};

	if (level <= worker->level)
		return;
	batch = store_batch_new();
	buf_put_u32(&value, level);
	store_batch_put(batch, bytes_of("V", 1), buf_bytes(&value));
	if (store_write(worker->log, batch, true, &err) != VT_OK)
	{
		log_error("could not keep the cluster's feature level: %s", vt_error_words(&err));
		log_exit(70);
	}
	buf_free(&value);
	store_batch_free(batch);
	worker->level = level;
}

static bool
register_with_pd(Worker *worker, Drivers *drivers, VtStatus *last)
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
	json_object_set_new(question, "labels", json_string(worker->options.labels));
	json_object_set_new(question, "role", json_string(worker->options.role));
	json_object_set_new(question, "level_low", json_integer(VT_LEVEL_LOW));
	json_object_set_new(question, "level_high", json_integer(vt_level_high()));
	answer = drivers_ask(drivers, question, 0, last);
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
			take_level(worker, answer);
			net_server_set_identity(worker->server, &worker->cluster, worker->store_id);
			if (worker->exposed)
				net_server_set_identity(worker->exposed, &worker->cluster, worker->store_id);
			replica_host_set_node(worker->host, worker->store_id);
			replica_links_set_identity(worker->links, &worker->cluster, worker->store_id);
			atomic_store(&worker->stats.registered, true);
			log_info("store=%s registered", store);
			ok = true;
		}
	}
	json_decref(answer);
	return ok;
}

/* PD's list of stores, when it is newer than ours. */
static void
take_peers(Worker *worker, json_t *answer)
{
	const char *version = json_string_value(json_object_get(answer, "peers_version"));
	json_t	   *row;
	size_t		i;

	json_array_foreach(json_object_get(answer, "peers"), i, row)
	{
		const char *store = json_string_value(json_object_get(row, "store"));
		const char *endpoint = json_string_value(json_object_get(row, "endpoint"));

		if (store && endpoint)
			replica_links_note(worker->links, strtoull(store, NULL, 10), endpoint);
	}
	if (version)
		worker->peers_version = strtoull(version, NULL, 10);
}

/* Shards dropped since PD was last told; how many. */
static size_t
tell_dropped(Worker *worker, json_t *list)
{
	size_t		n;

	pthread_mutex_lock(&worker->lock);
	n = worker->ndropped;
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, status_u64(worker->dropped[i]));
	pthread_mutex_unlock(&worker->lock);
	return n;
}

/* PD knows of the first n. */
static void
forget_dropped(Worker *worker, size_t n)
{
	pthread_mutex_lock(&worker->lock);
	worker->ndropped -= n;
	if (n > 0)
		memmove(worker->dropped, worker->dropped + n, sizeof(uint64_t) * worker->ndropped);
	pthread_mutex_unlock(&worker->lock);
}

/* All that is here, or what has changed since PD was told last. */
static json_t *
what_is(Worker *worker, const Told *known, const Told *now)
{
	json_t	   *rows = json_object();

	if (known->digest == 0)
		json_object_set_new(rows, "shards", status_shards(worker, true));
	else
	{
		json_t	   *gone = json_array();

		json_object_set_new(rows, "since", status_u64(known->digest));
		json_object_set_new(rows, "changed", status_changed(worker, known, now, gone));
		json_object_set_new(rows, "gone", gone);
	}
	json_object_set_new(rows, "broken", status_broken(worker));
	return rows;
}

typedef struct Word
{
	Told		known;			/* what PD was told last; digest 0 = nothing, or PD asks for all */
	bool		waits;			/* until PD asks: what has changed since is of no use to it */
} Word;

/*
 * Report, and do what comes back.  Returns in how many ms to report again.  Whether what was told came there
 * the next heartbeat tells, which names it: PD says if it does not know it.  So where no answer comes
 * nothing is told twice, and all of it only to who has asked: a driver that begins to lead, and has
 * no time for more than a few at once, is not told in vain, nor what has changed before it is told all;
 * before it says so we know by its not being the one that answered last.
 */
static int
beat(Worker *worker, Drivers *drivers, Word *word, VtStatus *last)
{
	Told	   *known = &word->known;
	json_t	   *question = json_object();
	json_t	   *dropped = json_array();
	json_t	   *rows = NULL;
	json_t	   *answer;
	json_t	   *task;
	size_t		i;
	size_t		ndropped;
	Told		now;
	struct statvfs disk;
	uint64_t	disk_free;
	bool		settling;
	bool		busy;
	bool		news;
	bool		told;

	/* Before the rows, which may be newer then: they are told once more. */
	news = status_digest(worker, known, &now, &settling) && !word->waits;
	ndropped = tell_dropped(worker, dropped);
	busy = chores_wait(worker) || clock_now_us() < worker->hurry_until_us;
	disk_free = statvfs(worker->options.data, &disk) == 0 ? (uint64_t) disk.f_bavail * disk.f_frsize : 0;
	json_object_set_new(question, "op", json_string("heartbeat"));
	json_object_set_new(question, "store", status_u64(worker->store_id));
	json_object_set_new(question, "boot_epoch", status_u64(worker->options.boot_epoch));
	json_object_set_new(question, "wait_ms", json_integer(settling || busy ? 0 : BEAT_WAIT_MS));
	json_object_set_new(question, "version", json_string(WORKER_VERSION));
	json_object_set_new(question, "digest", status_u64(now.digest));
	if (news)
		rows = what_is(worker, known, &now);
	json_object_set_new(question, "memory", status_u64(atomic_load(&worker->memory)));
	json_object_set_new(question, "dropped", dropped);
	json_object_set_new(question, "disk_free", status_u64(disk_free));
	json_object_set_new(question, "disk_short", json_boolean(disk_free < 2 * worker->options.disk_reserve));
	json_object_set_new(question, "disk_full", json_boolean(atomic_load(&worker->disk_low)));
	json_object_set_new(question, "memory_of", status_memory(worker));
	json_object_set_new(question, "memory_limit", status_u64(worker->options.memory_limit));
	json_object_set_new(question, "wall_us", json_integer(clock_wall_us()));
	if (worker->options.tls)
		json_object_set_new(question, "certificate_until", json_integer(net_tls_until(worker->options.tls)));
	json_object_set_new(question, "peers_version", status_u64(worker->peers_version));
	json_object_set_new(question, "level_low", json_integer(VT_LEVEL_LOW));
	json_object_set_new(question, "level_high", json_integer(vt_level_high()));
	json_object_set_new(question, "level", json_integer(worker->level));
	json_object_set_new(question, "prepares", json_true());
	answer = drivers_tell(drivers, question, rows, BEAT_WAIT_MS, &told, last);
	if (json_is_true(json_object_get(answer, "tell_all")))
		told_free(known);
	else if (told)
	{
		told_free(known);
		*known = now;
		memset(&now, 0, sizeof(now));
	}
	told_free(&now);
	if (answer)
		word->waits = json_is_true(json_object_get(answer, "untold"));
	if (answer)
		atomic_store(&worker->stats.beat_us, clock_now_us());
	if (answer)
		forget_dropped(worker, ndropped);
	take_peers(worker, answer);
	take_level(worker, answer);
	json_array_foreach(json_object_get(answer, "tasks"), i, task)
	{
		task_do(worker, task);
	}
	json_decref(answer);
	return clock_now_us() < worker->hurry_until_us ? SETTLE_MS : chores_wait(worker) ? RETRY_MS :
		settling ? SETTLE_MS : 0;
}

/* A shard that is to be compared with its other replicas, if it is time to ask; 0 = none. */
static uint64_t
next_suspect(Worker *worker)
{
	uint64_t	id = 0;
	int64_t		now_us = clock_now_us();

	if (!shards_take_stir(worker, LOOK_DAMAGE))
		return 0;
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s && id == 0; s = s->next)
	{
		if (!shard_take_stir(s, LOOK_DAMAGE) || !atomic_load(&s->suspect))
			continue;
		shard_stir_for(s, LOOK_DAMAGE);	/* until it is one no more */
		if (now_us < s->ask_us)
			continue;
		s->ask_us = now_us + ASK_AGAIN_US;
		id = s->desc.shard;
	}
	pthread_mutex_unlock(&worker->lock);
	return id;
}

/* PD has the replicas compared, and sets aside the one that differs from most (verify.c). */
static void
ask_about_damage(Worker *worker, Drivers *drivers)
{
	uint64_t	id = next_suspect(worker);
	json_t	   *question;
	VtStatus	status;

	if (id == 0)
		return;
	question = json_object();
	json_object_set_new(question, "op", json_string("verify"));
	json_object_set_new(question, "what", status_u64(id));
	json_decref(drivers_ask(drivers, question, 0, &status));
}

/* Until then, or until a chore is done; true: the worker stops. */
static bool
nap(Worker *worker, int ms)
{
	struct pollfd fds[2] = {{worker->wake_fd, POLLIN, 0}, {worker->chore_fd, POLLIN, 0}};
	uint64_t	done;

	if (poll(fds, 2, ms) <= 0)
		return false;
	if (fds[1].revents && read(worker->chore_fd, &done, sizeof(done)) != sizeof(done))
		log_warn("could not hear of a chore that is done");
	return fds[0].revents != 0;
}

/* Somebody has to change something before another answer comes, and may take days for it. */
int
house_pause_ms(VtStatus last, int before_ms)
{
	if (last != VT_DENIED)
		return RETRY_MS;
	return before_ms <= 0 ? RETRY_MS : before_ms < DENIED_MS ? 2 * before_ms : DENIED_MS;
}

/*
 * PD says that this store was forgotten, or given up with what it has.  Others may go
 * on in its place already, so nothing is served any more, and at once: what is here
 * would be lost by no crash either.  Or this program is too old for the cluster.
 */
static void
stop_if_refused(VtStatus status)
{
	if (status != VT_GONE && status != VT_VERSION)
		return;
	log_error("the placement driver has %s: it stops", status == VT_GONE ? "given this worker's data directory up" : "refused this worker's release");
	log_exit(WORKER_GIVEN_UP);
}

void *
house_main(void *arg)
{
	Worker	   *worker = (Worker *) arg;
	Drivers    *drivers = drivers_new(worker);
	Word		word = {0};
	VtStatus	last = VT_OK;
	bool		registered = false;
	int			denied_ms = 0;
	int			pause_ms = 0;

	while (!nap(worker, pause_ms))
	{
		atomic_store(&worker->stats.turned_us, clock_now_us());
		look_around(worker);
		if (!registered)
			registered = register_with_pd(worker, drivers, &last);
		if (registered)
			ask_about_damage(worker, drivers);
		if (registered)
			pause_ms = beat(worker, drivers, &word, &last);
		if (last != VT_OK)
			pause_ms = house_pause_ms(last, denied_ms);
		denied_ms = last == VT_DENIED ? pause_ms : 0;
		stop_if_refused(last);
	}
	told_free(&word.known);
	drivers_free(drivers);
	return NULL;
}
