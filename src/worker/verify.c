/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  Do the replicas of a shard hold the same?
 *
 * A command in the shard's log (WRITE_VERIFY) has each replica digest its rows
 * as they are at that command's index, and what else apply decides by (rules.c).
 * Apply only pins the rows, by a LevelDB snapshot, and goes on; their digest is made
 * here, on a thread that gives way to all others.  What came of it is told in
 * heartbeats, and PD compares.
 *
 * A row counts with all its bytes, as far as its hash is in the shard's interval:
 * every replica wrote them from the same entry.  Keys that follow from this
 * replica's own checkpoints are left out.
 *
 * What searches find is in memory, and others have nothing to hold it against: so
 * the id map is held against the rows (law S5).  There were as many records as rows at
 * that index (which is not said while some are lent, lend.c), and a row's version is the map's, unless that is of a later entry, with
 * its attributes.  If not, the replica is as good as one with a damaged row.
 *
 * The graph over the records is a cache, and any graph that leads to all of them will do: it is
 * looked over by the threads that mend it (hnsw_look_over), and what they find is told, too.
 *
 * Besides when PD finds it time, replicas are compared when one of them cannot read
 * something (shard_note_damage): its worker asks PD for it (house.c).
 *
 * A replica that PD finds to differ from the majority is set aside: a mark goes
 * into its store, so that no start opens it, it is closed, and from then on it is
 * treated as one that is damaged (broken.c).
 *
 *-------------------------------------------------------------------------
 */
#include "verify.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/hash.h"
#include "base/log.h"
#include "private.h"
#include "rules.h"

#define NICE 15
#define QUEUE_MAX 16			/* pinned snapshots; PD asks again for what finds no room */
#define RATE (128u << 20)		/* bytes a second */
#define SLICE (4u << 20)		/* between two looks at the clock */
#define CLOSE_AGAIN_US 200000	/* what is set aside and held */

typedef struct Job
{
	struct Job *next;
	Shard	   *shard;			/* held */
	StoreIter  *rows;
	RulesOnDisk rules_there;
	ShardVerified result;
	uint64_t	first;			/* the interval then */
	uint64_t	last;
	uint64_t	records;		/* in memory then, */
	bool		counted;		/* and none of them lent */
	uint64_t	strangers;		/* rows that memory has in another version, or with other attributes */
} Job;

struct Verifier
{
	pthread_t	thread;
	pthread_mutex_t lock;
	pthread_cond_t called;
	Job		   *jobs;
	size_t		njobs;
	bool		stopping;
};

static void
job_free(Job *job)
{
	if (!job)
		return;
	store_iter_close(job->rows);
	rules_unpin(&job->rules_there);
	shard_release(job->shard);
	free(job);
}

/* On the apply thread: rows are pinned at index, and are ours from here on. */
void
verifier_take(void *arg, Shard *shard, StoreIter *rows, uint64_t id, uint64_t index)
{
	Verifier   *verifier = (Verifier *) arg;
	Job		   *job;
	Job		  **p = &verifier->jobs;

	if (!shard_hold(shard))
	{
		store_iter_close(rows);
		return;
	}
	/* Who closes it has seen that nobody holds it, and waits for this thread alone. */
	if (atomic_load(&shard->leaving))
	{
		store_iter_close(rows);
		shard_release(shard);
		return;
	}
	job = vt_alloc0(sizeof(Job));
	job->shard = shard;
	job->rows = rows;
	job->result.id = id;
	job->result.index = index;
	job->first = shard->desc.first;
	job->last = shard->desc.last;
	rules_take(shard, &job->result.rules, &job->rules_there);
	job->counted = loan_is_none(shard, &job->records);
	pthread_mutex_lock(&verifier->lock);
	if (verifier->njobs < QUEUE_MAX && !verifier->stopping)
	{
		while (*p)
			p = &(*p)->next;
		*p = job;
		job = NULL;
		verifier->njobs++;
		pthread_cond_signal(&verifier->called);
	}
	pthread_mutex_unlock(&verifier->lock);
	job_free(job);
}

/* Is the shard needed for something else?  That waits until nobody holds it. */
static bool
is_wanted_back(const Job *job)
{
	return atomic_load(&job->shard->leaving) || atomic_load(&job->shard->installing);
}

/* Let go of shards in the queue that are wanted back. */
static void
give_back(Verifier *verifier)
{
	Job		   *gone = NULL;

	pthread_mutex_lock(&verifier->lock);
	for (Job **p = &verifier->jobs; *p;)
	{
		Job		   *job = *p;

		if (!is_wanted_back(job))
		{
			p = &job->next;
			continue;
		}
		*p = job->next;
		job->next = gone;
		gone = job;
		verifier->njobs--;
	}
	pthread_mutex_unlock(&verifier->lock);
	while (gone)
	{
		Job		   *job = gone;

		gone = job->next;
		job_free(job);
	}
}

/* Not this one any more: its shard is wanted back, or the worker ends. */
static bool
is_called_off(Verifier *verifier, const Job *job)
{
	bool		stopping;

	give_back(verifier);
	pthread_mutex_lock(&verifier->lock);
	stopping = verifier->stopping;
	pthread_mutex_unlock(&verifier->lock);
	return stopping || is_wanted_back(job);
}

/* Read no faster than the rate. */
static void
pace(uint64_t bytes, int64_t begin_us)
{
	int64_t		ahead_us = (int64_t) (bytes * 1000000 / RATE) - (clock_now_us() - begin_us);
	struct timespec nap = {0, ahead_us * 1000};

	if (ahead_us > 0 && ahead_us < 1000000)
		nanosleep(&nap, NULL);
}

/* Is there something else in memory than this row?  That it was deleted since is fine. */
static bool
is_strange(const Job *job, Bytes id, const StoreRow *row)
{
	Records    *records = job->shard->records;
	uint32_t	entered = records_enter(records);
	uint64_t	version;
	uint32_t	slot;
	bool		strange = false;

	if (records_find(records, id, &slot, &version))
	{
		WireAttributes here;
		WireAttributes there;

		strange = version != row->index && version <= job->result.index;
		if (version == row->index && job->shard->desc.nattributes > 0)
		{
			records_slot_attributes(records, slot, &here);
			strange = wire_attributes_get(row->attributes, job->shard->desc.nattributes, &there) != VT_OK ||
				memcmp(&here, &there, sizeof(here)) != 0;
		}
	}
	records_leave(records, entered);
	return strange;
}

static void
add_row(Job *job, Bytes key, Bytes value, const StoreRow *row)
{
	Bytes		id = bytes_of(key.data + 1, key.len - 1);
	uint64_t	place = wire_place(&job->shard->desc, id);

	if (place < job->first || place > job->last)
		return;
	job->strangers += is_strange(job, id, row);
	job->result.digest = hash_place(key, job->result.digest);
	job->result.digest = hash_place(value, job->result.digest);
	job->result.rows++;
}

/* False: called off.  What is damaged in itself is said, whatever others have. */
static bool
digest_rows(Verifier *verifier, Job *job)
{
	int64_t		begin = clock_now_us();
	uint64_t	bytes = 0;
	uint64_t	looked = 0;
	VtStatus	status = VT_OK;
	VtError		err = {0};
	StoreRow	row;
	Bytes		key;
	Bytes		value;

	while (status == VT_OK && store_iter_next(job->rows, &key, &value))
	{
		status = row_get(value, &row, &err);
		if (status == VT_OK)
			add_row(job, key, value, &row);
		bytes += key.len + value.len;
		if (bytes - looked < SLICE)
			continue;
		looked = bytes;
		pace(bytes, begin);
		if (is_called_off(verifier, job))
			return false;
	}
	if (status == VT_OK)
		status = store_iter_status(job->rows, &err);
	if (status == VT_OK && ((job->counted && job->result.rows != job->records) || job->strangers > 0))
		status = vt_fail(&err, VT_CORRUPT, "%llu records were in memory for %llu rows, %llu of them others",
						 (unsigned long long) job->records, (unsigned long long) job->result.rows,
						 (unsigned long long) job->strangers);
	if (status == VT_OK)
		status = rules_check(&job->rules_there, &job->result.rules, job->result.index, &err);
	job->result.damaged = status != VT_OK;
	if (status != VT_OK)
		log_error("shard=%llu: this replica is damaged: %s", (unsigned long long) job->shard->desc.shard, vt_error_words(&err));
	job->result.wall_us = clock_wall_us();
	return true;
}

static void
do_job(Verifier *verifier, Job *job)
{
	if (is_called_off(verifier, job) || !digest_rows(verifier, job))
		return;
	pthread_mutex_lock(&job->shard->verified_lock);
	job->shard->verified = job->result;
	pthread_mutex_unlock(&job->shard->verified_lock);
	hnsw_look_over(records_graph(job->shard->records));
	if (!job->result.damaged)
		atomic_store(&job->shard->suspect, false);
	shard_stir(job->shard);
	log_info("shard=%llu: %llu rows at %llu have digest %016llx, the fence is %llu and the sessions have %016llx", (unsigned long long) job->shard->desc.shard,
			 (unsigned long long) job->result.rows, (unsigned long long) job->result.index,
			 (unsigned long long) job->result.digest, (unsigned long long) job->result.rules.fence,
			 (unsigned long long) job->result.rules.sessions);
}

static void *
verifier_main(void *arg)
{
	Verifier   *verifier = (Verifier *) arg;

	setpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid), NICE);
	pthread_mutex_lock(&verifier->lock);
	while (!verifier->stopping)
	{
		Job		   *job = verifier->jobs;

		if (!job)
		{
			pthread_cond_wait(&verifier->called, &verifier->lock);
			continue;
		}
		verifier->jobs = job->next;
		pthread_mutex_unlock(&verifier->lock);
		do_job(verifier, job);
		job_free(job);
		pthread_mutex_lock(&verifier->lock);
		verifier->njobs--;
	}
	pthread_mutex_unlock(&verifier->lock);
	return NULL;
}

Verifier *
verifier_start(void)
{
	Verifier   *verifier = vt_alloc0(sizeof(Verifier));

	pthread_mutex_init(&verifier->lock, NULL);
	cond_init(&verifier->called);
	if (pthread_create(&verifier->thread, NULL, verifier_main, verifier) != 0)
		vt_assert_fail("pthread_create", __FILE__, __LINE__);
	return verifier;
}

void
verifier_stop(Verifier *verifier)
{
	if (!verifier)
		return;
	pthread_mutex_lock(&verifier->lock);
	verifier->stopping = true;
	pthread_cond_signal(&verifier->called);
	pthread_mutex_unlock(&verifier->lock);
	pthread_join(verifier->thread, NULL);
	while (verifier->jobs)
	{
		Job		   *job = verifier->jobs;

		verifier->jobs = job->next;
		job_free(job);
	}
	pthread_cond_destroy(&verifier->called);
	pthread_mutex_destroy(&verifier->lock);
	free(verifier);
}

/* -- Asking for one -------------------------------------------------------- */

typedef struct Asked
{
	uint64_t	shard;
} Asked;

static void
on_asked(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Asked	   *asked = (Asked *) arg;

	(void) index;
	(void) reply;
	if (status != VT_OK)
		log_info("shard=%llu: a comparison of its replicas was refused: %s", (unsigned long long) asked->shard,
				 vt_status_words(status));
	free(asked);
}

void
worker_verify_shard(Worker *worker, uint64_t id, uint64_t verification)
{
	Shard	   *shard = worker_find_shard(worker, id);
	WireWrite	write = {.type = WRITE_VERIFY, .sequence = verification};
	Asked	   *asked;
	Buf			command = {0};

	if (!shard)
		return;
	write.route.generation = shard->desc.generation;
	write.route.owner = shard->desc.owner;
	write.route.shard = id;
	write.route.range_ver = atomic_load(&shard->range_ver);
	wire_write_end(&command, wire_write_begin(&command, &write), 0);
	asked = vt_alloc(sizeof(Asked));
	asked->shard = id;
	replica_propose(shard->replica, buf_bytes(&command), on_asked, asked);
	buf_free(&command);
	shard_release(shard);
}

/* -- Setting a replica aside ----------------------------------------------- */

/*
 * The mark is durable before anything else: from then on no start opens the
 * replica.  VT_BUSY: somebody still holds it, and the house thread tries again
 * (worker_close_aside); or its files change places, and it is not marked.
 */
VtStatus
worker_set_aside(Worker *worker, uint64_t id, uint64_t replica, VtError *err)
{
	Shard	   *shard = worker_find_shard(worker, id);
	bool		is_marked = false;
	VtError		why = {0};
	VtStatus	status = VT_OK;

	if (shard && shard->replica_id == replica && !shard_hold(shard))
		status = vt_fail(err, VT_BUSY, "a snapshot is being installed here");
	else if (shard && shard->replica_id == replica)
	{
		status = shard_mark_aside(shard, err);
		is_marked = status == VT_OK;
		shard_release(shard);
	}
	else if (shard)
		status = vt_fail(err, VT_INVALID, "the shard is here as another replica");
	if (shard)
		shard_release(shard);
	if (status != VT_OK)
		return status;
	/* It may have been marked when it could not be closed yet. */
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->leaving; s; s = s->next)
		is_marked |= s->desc.shard == id && s->replica_id == replica && atomic_load(&s->aside);
	pthread_mutex_unlock(&worker->lock);
	if (!is_marked)
		return VT_OK;
	status = worker_close_shard(worker, id, replica, err);
	if (status == VT_OK)
		broken_note(worker, id, vt_fail(&why, VT_CORRUPT, SHARD_ASIDE_WORDS), &why);
	return status;
}

bool
worker_leaves_aside(Worker *worker, uint64_t id)
{
	bool		aside = false;

	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->leaving; s; s = s->next)
		aside |= s->desc.shard == id && atomic_load(&s->aside);
	pthread_mutex_unlock(&worker->lock);
	return aside;
}

/* Put as chores what was marked and could not be closed then. */
void
worker_close_aside(Worker *worker)
{
	int64_t		now_us = clock_now_us();
	Chore		found[8];
	size_t		n = 0;

	if (now_us - worker->aside_us < CLOSE_AGAIN_US)
		return;
	worker->aside_us = now_us;
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->leaving; s && n < sizeof(found) / sizeof(found[0]); s = s->next)
		if (atomic_load(&s->aside))
			found[n++] = (Chore) {.kind = CHORE_ASIDE, .shard = s->desc.shard, .replica = s->replica_id};
	pthread_mutex_unlock(&worker->lock);
	for (size_t i = 0; i < n; i++)
		chores_put(worker, &found[i]);
}
