/*-------------------------------------------------------------------------
 *
 * heirs.c
 *	  Rows of shards that are to be split off, copied before that.
 *
 * The placement driver tells the stores of a shard that it will be split, again and
 * again until it is.  Each copies what the child is to have (heir.c), keeps up with what changes, and
 * says with the shard's status that it is ready, or that it could not be (it tries again as long as it is
 * asked): the driver has the split proposed when all have said the one or the other, or when that
 * takes too long.  Whoever makes the child then takes what there is, however far it has come.
 *
 * This is done by a thread of its own, one child at a time, at a bounded rate, niced, and
 * with rests beside searches (background.h): nobody waits for it.  It holds the parent as a comparison of replicas does, while
 * rows are copied for the first time, and then for moments; of locks that apply or
 * requests take only the watch's, for as long as it takes to exchange two pointers.
 *
 * What is copied has no Raft group, and is nobody's until the split: a file beside its
 * directory, <id>.heir, says so to the next start, which removes both.  What nobody has asked
 * for in a while goes as well.
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/thread.h"
#include "background.h"
#include "private.h"

#define NICE 15
#define COPY_BYTES (1u << 20)	/* in one step */
#define RATE (64u << 20)		/* bytes a second */
#define FEW 64					/* ids that may be left for the end */
#define ROUNDS 16				/* at most until there are so few */
#define LOOK_US 1000000			/* between two looks at what has changed: while it has one in hand, who takes it waits */
#define PUT_OFF_MOST 5			/* what failed is tried again after one look, two, four, ..., so often doubled at most */
#define FORGET_US (30 * INT64_C(1000000))	/* without being asked for */
#define SUFFIX ".heir"

typedef enum State
{
	STATE_WANTED,
	STATE_READY,
	STATE_GIVEN_UP
} State;

typedef struct Preparing
{
	struct Preparing *next;
	WireShardDesc desc;
	State		state;
	int64_t		asked_us;
	int64_t		look_us;		/* when to look at it again */
	uint32_t	put_off;		/* how often it has failed */
	bool		taken;			/* somebody waits for it: no further step */
	Heir	   *heir;			/* NULL: there is none */
	uint64_t	bytes;			/* of memory that it has taken */
} Preparing;

struct Heirs
{
	Worker	   *worker;
	pthread_t	thread;
	pthread_mutex_t lock;		/* of all below, but not of what is at work */
	pthread_cond_t changed;
	Preparing  *list;
	Preparing  *at_work;		/* the thread has it in hand */
	bool		stopping;
};

static void
marker_path(char *out, size_t size, const Worker *worker, uint64_t id)
{
	shard_path(out, size, worker->shards_path, id);
	snprintf(out + strlen(out), size - strlen(out), SUFFIX);
}

static VtStatus
mark(const Worker *worker, uint64_t id, VtError *err)
{
	char		path[4096];
	int			fd;

	marker_path(path, sizeof(path), worker, id);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return vt_fail_errno(err, VT_IO, "could not create \"%s\"", path);
	close(fd);
	return shard_sync_directory(worker->shards_path, err);
}

void
heirs_founded(Worker *worker, uint64_t id)
{
	char		path[4096];

	marker_path(path, sizeof(path), worker, id);
	if (unlink(path) < 0 && errno != ENOENT)
		log_warn("could not remove \"%s\"", path);
}

/* Rows that are nobody's, and then their mark. */
static void
remove_rows(Worker *worker, uint64_t id)
{
	char		path[4096];
	VtError		err = {0};

	shard_path(path, sizeof(path), worker->shards_path, id);
	if (shard_remove_store(path, &err) == VT_OK)
		heirs_founded(worker, id);
	else
		log_warn("what was prepared of shard=%" PRIu64 " stays until the next start: %s", id, vt_error_words(&err));
}

/* What was prepared goes, and the parent keeps no ids for it any more. */
static void
let_go(Worker *worker, const WireShardDesc *desc, Heir *heir)
{
	Shard	   *parent = heir ? worker_find_shard(worker, desc->parent) : NULL;

	if (!heir)
		return;
	if (parent)
		(void) heir_go_on(heir, parent, NULL);
	heir_drop(heir);
	if (parent)
		shard_release(parent);
	remove_rows(worker, desc->shard);
}

/* The parent's status says that this store is not waited for any more. */
static void
answer(Worker *worker, const WireShardDesc *desc)
{
	Shard	   *parent = worker_find_shard(worker, desc->parent);

	if (!parent)
		return;
	if (atomic_exchange(&parent->prepared, desc->shard) != desc->shard)
	{
		shard_stir(parent);
		chores_tell(worker);
	}
	shard_release(parent);
}

/* -- The thread ------------------------------------------------------------------ */

/* Is this one to be left as it is?  Or, until then, wait for so long. */
static bool
is_over(Heirs *heirs, const Preparing *p, int64_t wait_us)
{
	struct timespec until = cond_moment(wait_us > 0 ? wait_us : 0);
	bool		over;

	pthread_mutex_lock(&heirs->lock);
	while (!heirs->stopping && !p->taken && wait_us > 0 &&
		   pthread_cond_timedwait(&heirs->changed, &heirs->lock, &until) == 0)
		;
	over = heirs->stopping || p->taken;
	pthread_mutex_unlock(&heirs->lock);
	return over;
}

typedef struct Job
{
	Heirs	   *heirs;
	Preparing  *p;
	Shard	   *parent;			/* held */
	int64_t		begin_us;
	int64_t		rested_us;		/* when it has rested last */
	uint64_t	bytes;
	uint64_t	counted;		/* of them, when memory was counted last */
} Job;

static Job
job_of(Heirs *heirs, Preparing *p, Shard *parent)
{
	int64_t		now_us = clock_now_us();

	return (Job) {.heirs = heirs, .p = p, .parent = parent, .begin_us = now_us, .rested_us = now_us};
}

/* Does nobody want another step, or does somebody wait for the parent to be let go of? */
static bool
gives_way(Job *job, int64_t wait_us)
{
	return is_over(job->heirs, job->p, wait_us) || atomic_load(&job->parent->installing) || atomic_load(&job->parent->leaving);
}

static VtStatus
has_room(Worker *worker, VtError *err)
{
	if (atomic_load(&worker->disk_low) || atomic_load(&worker->room) != MEMORY_ENOUGH)
		return vt_fail(err, VT_FULL, "the worker's disk or memory is almost full");
	return VT_OK;
}

/* What it has taken of memory so far: whoever looks whether there is room counts that. */
static void
count(Heirs *heirs, Preparing *p)
{
	pthread_mutex_lock(&heirs->lock);
	p->bytes = p->heir ? heir_bytes(p->heir) : 0;
	pthread_mutex_unlock(&heirs->lock);
}

/* So long, beside searches; false: no further step. */
static bool
rest(Job *job, int64_t wait_us)
{
	int64_t		rest_us = background_rest_us(job->heirs->worker, job->rested_us);
	bool		over = gives_way(job, wait_us > rest_us ? wait_us : rest_us);

	if (wait_us > 0 || rest_us > 0)
		job->rested_us = clock_now_us();
	return !over;
}

/* A ShardPace. */
static bool
pace(void *arg, size_t bytes)
{
	Job		   *job = (Job *) arg;
	int64_t		due_us = job->begin_us + (int64_t) (job->bytes * 1000000 / RATE);

	job->bytes += bytes;
	if (job->bytes - job->counted >= COPY_BYTES)
	{
		job->counted = job->bytes;
		count(job->heirs, job->p);
	}
	return rest(job, due_us - clock_now_us()) && has_room(job->heirs->worker, NULL) == VT_OK;
}

/* Another step; false: there is no room for it, or nobody wants it now. */
static VtStatus
step(Job *job, VtError *err)
{
	bool		more = pace(job, COPY_BYTES);
	VtStatus	status = has_room(job->heirs->worker, err);
	bool		done;

	if (status == VT_OK && !more)
		status = vt_fail(err, VT_CANCELLED, "it is taken as it is");
	return status == VT_OK ? heir_copy(job->p->heir, COPY_BYTES, &done, err) : status;
}

/* Into memory, if there is as much again as the parent takes, and as far as searches go on meanwhile. */
static VtStatus
load(Job *job, VtError *err)
{
	Worker	   *worker = job->heirs->worker;
	uint64_t	limit = worker->options.memory_limit;
	VtStatus	status;

	if (limit != 0 && atomic_load(&worker->memory) + shard_figures(job->parent).bytes > limit / 10 * 8)
		return VT_OK;
	status = heir_load(job->p->heir, worker->options.mapped, pace, job, err);
	while (status == VT_OK && heir_mend(job->p->heir))
		if (!rest(job, 0))
			status = vt_fail(err, VT_CANCELLED, "it is taken as it is");
	return status;
}

/* All that there is, in a parent that is held; VT_CANCELLED: as far as it came. */
static VtStatus
copy_all(Heirs *heirs, Preparing *p, Shard *parent, VtError *err)
{
	Worker	   *worker = heirs->worker;
	Job			job = job_of(heirs, p, parent);
	uint64_t	replica = splits_own_replica(worker, &p->desc);
	VtStatus	status = has_room(worker, err);

	if (status != VT_OK)
		return status;
	/* What may lie there is a shard's. */
	if (replica == 0 || splits_was_made(worker, &p->desc, replica))
		status = vt_fail(err, VT_EXISTS, "the shard was split meanwhile");
	if (status == VT_OK)
		status = mark(worker, p->desc.shard, err);
	if (status == VT_OK)
		status = heir_prepare(parent, &p->desc, worker->shards_path, &p->heir, err);
	if (status != VT_OK)
	{
		heirs_founded(worker, p->desc.shard);
		return status;
	}
	while (status == VT_OK && heir_left(p->heir) == UINT64_MAX)
		status = step(&job, err);
	if (status == VT_OK)
		status = heir_flush(p->heir, err);
	if (status == VT_OK)
		heir_graph(p->heir, pace, &job);
	if (status == VT_OK)
		status = load(&job, err);
	for (int i = 0; i < ROUNDS && status == VT_OK && heir_left(p->heir) > FEW; i++)
		status = step(&job, err);
	if (status == VT_OK)
		log_info("shard=%" PRIu64 " can be split: rows of shard=%" PRIu64 " were copied in %lld ms", p->desc.parent, p->desc.shard,
				 (long long) ((clock_now_us() - job.begin_us) / 1000));
	return status;
}

/* What has changed, when there is more than a little of it. */
static VtStatus
keep_up(Heirs *heirs, Preparing *p, Shard *parent, VtError *err)
{
	Job			job = job_of(heirs, p, parent);
	VtStatus	status = heir_go_on(p->heir, parent, err);

	/* Also where nothing changes, for want of that very room. */
	if (status == VT_OK)
		status = has_room(heirs->worker, err);
	for (int i = 0; i < ROUNDS && status == VT_OK && heir_left(p->heir) > FEW; i++)
		status = step(&job, err);
	while (status == VT_OK && heir_mend(p->heir) && rest(&job, 0))
		;
	return status;
}

/* One turn of one that is wanted, or is ready; without the lock. */
static void
work(Heirs *heirs, Preparing *p)
{
	Shard	   *parent = worker_find_shard(heirs->worker, p->desc.parent);
	VtError		err = {0};
	bool		whole = parent && shard_is_whole(parent) == VT_OK;
	VtStatus	status = parent ? VT_OK : vt_fail(&err, VT_NOT_FOUND, "the shard is not here");

	p->look_us = clock_now_us() + LOOK_US;
	if (parent && !whole)
	{
		shard_release(parent);
		return;
	}
	if (status == VT_OK)
		status = p->heir ? keep_up(heirs, p, parent, &err) : copy_all(heirs, p, parent, &err);
	/* Half of it pins what is to be replaced, and would for as long as it is asked for. */
	if (status == VT_CANCELLED && (atomic_load(&parent->installing) || atomic_load(&parent->leaving)))
		status = vt_fail(&err, VT_BUSY, "the shard is being replaced or closed here");
	if (p->heir)
		heir_rest(p->heir);
	if (status == VT_OK || status == VT_CANCELLED)
		p->state = STATE_READY;
	else
	{
		log_info("shard=%" PRIu64 ": its split is not prepared: %s", p->desc.parent, vt_error_words(&err));
		p->state = STATE_GIVEN_UP;
		let_go(heirs->worker, &p->desc, p->heir);
		p->heir = NULL;

		/* The driver need not wait for it, but may for others: what stood in the way may have gone by then. */
		p->look_us = status == VT_EXISTS ? INT64_MAX : clock_now_us() + (LOOK_US << p->put_off);
		p->put_off += p->put_off < PUT_OFF_MOST;
	}
	count(heirs, p);
	if (parent)
		shard_release(parent);
	answer(heirs->worker, &p->desc);
}

/* With the lock. */
static Preparing *
next_turn(Heirs *heirs, int64_t now_us)
{
	for (Preparing *p = heirs->list; p; p = p->next)
		if (!p->taken && now_us - p->asked_us < FORGET_US && now_us >= p->look_us)
			return p;
	return NULL;
}

/* One that nobody asks for any more; with the lock. */
static Preparing *
next_forgotten(Heirs *heirs, int64_t now_us)
{
	for (Preparing *p = heirs->list; p; p = p->next)
		if (!p->taken && now_us - p->asked_us >= FORGET_US)
			return p;
	return NULL;
}

/* Where it is in the list, or would be; with the lock. */
static Preparing **
place_of(Heirs *heirs, uint64_t child)
{
	Preparing **at = &heirs->list;

	while (*at && (*at)->desc.shard != child)
		at = &(*at)->next;
	return at;
}

/* With the lock. */
static void
unlink_one(Heirs *heirs, Preparing *p)
{
	*place_of(heirs, p->desc.shard) = p->next;
	pthread_cond_broadcast(&heirs->changed);
}

static void
forget(Heirs *heirs, Preparing *p)
{
	let_go(heirs->worker, &p->desc, p->heir);
	free(p);
}

static void *
heirs_main(void *arg)
{
	Heirs	   *heirs = (Heirs *) arg;

	thread_name("heirs");
	/* Best effort: without it the thread only competes harder. */
	(void) setpriority(PRIO_PROCESS, (id_t) syscall(SYS_gettid), NICE);
	pthread_mutex_lock(&heirs->lock);
	while (!heirs->stopping)
	{
		int64_t		now_us = clock_now_us();
		Preparing  *old = next_forgotten(heirs, now_us);
		Preparing  *p = old ? old : next_turn(heirs, now_us);
		struct timespec until = cond_moment(LOOK_US);

		/* In the list until its rows are gone: who makes the child has the directory then. */
		heirs->at_work = p;
		if (p)
		{
			pthread_mutex_unlock(&heirs->lock);
			if (old)
				let_go(heirs->worker, &old->desc, old->heir);
			else
				work(heirs, p);
			pthread_mutex_lock(&heirs->lock);
			heirs->at_work = NULL;
			pthread_cond_broadcast(&heirs->changed);
		}
		if (old)
		{
			unlink_one(heirs, old);
			free(old);
		}
		else if (heirs->list)
			pthread_cond_timedwait(&heirs->changed, &heirs->lock, &until);
		else
			pthread_cond_wait(&heirs->changed, &heirs->lock);
	}
	pthread_mutex_unlock(&heirs->lock);
	return NULL;
}

/* -- Asking, and taking ------------------------------------------------------------- */

void
heirs_ask(Worker *worker, const WireShardDesc *child)
{
	Heirs	   *heirs = worker->heirs;
	Preparing  *p;
	bool		known;

	pthread_mutex_lock(&heirs->lock);
	for (p = heirs->list; p && p->desc.shard != child->shard;)
		p = p->next;
	if (!p)
	{
		p = vt_alloc0(sizeof(Preparing));
		p->desc = *child;
		p->next = heirs->list;
		heirs->list = p;
		pthread_cond_broadcast(&heirs->changed);
	}
	p->asked_us = clock_now_us();
	known = p != heirs->at_work && p->state != STATE_WANTED;
	pthread_mutex_unlock(&heirs->lock);

	/* The parent may have been closed and opened since it was said. */
	if (known)
		answer(worker, child);
}

/* Out of the list, when the thread, and who else wants it, has let go of it; NULL: there is none. */
static Preparing *
take(Heirs *heirs, uint64_t child)
{
	bool		ours = false;
	Preparing  *p;

	pthread_mutex_lock(&heirs->lock);
	while ((p = *place_of(heirs, child)) != NULL && (p == heirs->at_work || (p->taken && !ours)))
	{
		ours = ours || !p->taken;
		p->taken = true;
		pthread_cond_broadcast(&heirs->changed);
		pthread_cond_wait(&heirs->changed, &heirs->lock);
	}
	if (p)
		unlink_one(heirs, p);
	pthread_mutex_unlock(&heirs->lock);
	return p;
}

Heir *
heirs_take(Worker *worker, uint64_t child)
{
	Preparing  *p = take(worker->heirs, child);
	Heir	   *heir = p ? p->heir : NULL;

	free(p);
	return heir;
}

void
heirs_forget(Worker *worker, uint64_t child)
{
	Preparing  *p = take(worker->heirs, child);

	if (p)
		forget(worker->heirs, p);
}

uint64_t
heirs_bytes(Worker *worker)
{
	uint64_t	bytes = 0;

	if (!worker->heirs)
		return 0;				/* it starts */
	pthread_mutex_lock(&worker->heirs->lock);
	for (const Preparing *p = worker->heirs->list; p; p = p->next)
		bytes += p->bytes;
	pthread_mutex_unlock(&worker->heirs->lock);
	return bytes;
}

/* -- Starting, and stopping ------------------------------------------------------------ */

VtStatus
heirs_clear(Worker *worker, VtError *err)
{
	DIR		   *dir = opendir(worker->shards_path);
	struct dirent *entry;

	if (!dir)
		return errno == ENOENT ? VT_OK : vt_fail_errno(err, VT_IO, "could not open \"%s\"", worker->shards_path);
	while ((entry = readdir(dir)) != NULL)
	{
		char	   *end;
		uint64_t	id = strtoull(entry->d_name, &end, 16);

		if (end - entry->d_name != 16 || strcmp(end, SUFFIX) != 0)
			continue;
		if (worker_has_group(worker, id))
			heirs_founded(worker, id);
		else
			remove_rows(worker, id);
	}
	closedir(dir);
	return VT_OK;
}

VtStatus
heirs_start(Worker *worker, VtError *err)
{
	Heirs	   *heirs = vt_alloc0(sizeof(Heirs));

	heirs->worker = worker;
	pthread_mutex_init(&heirs->lock, NULL);
	cond_init(&heirs->changed);
	worker->heirs = heirs;
	if (pthread_create(&heirs->thread, NULL, heirs_main, heirs) != 0)
		return vt_fail(err, VT_NOMEM, "could not start a thread");
	return VT_OK;
}

void
heirs_stop(Worker *worker)
{
	Heirs	   *heirs = worker->heirs;

	pthread_mutex_lock(&heirs->lock);
	heirs->stopping = true;
	pthread_cond_broadcast(&heirs->changed);
	pthread_mutex_unlock(&heirs->lock);
	pthread_join(heirs->thread, NULL);
	for (;;)
	{
		Preparing  *p;

		pthread_mutex_lock(&heirs->lock);
		p = heirs->list;
		if (p)
			heirs->list = p->next;
		pthread_mutex_unlock(&heirs->lock);
		if (!p)
			return;
		forget(heirs, p);
	}
}

void
heirs_free(Worker *worker)
{
	Heirs	   *heirs = worker->heirs;

	pthread_mutex_destroy(&heirs->lock);
	pthread_cond_destroy(&heirs->changed);
	free(heirs);
}
