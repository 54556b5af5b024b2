/*-------------------------------------------------------------------------
 *
 * host.c
 *	  The host: its threads, the inbox of the raft thread, the log writer.
 *
 * Whatever happens comes into the inbox as an event.  Whoever brought it then
 * tries to become the stepper: it handles all events there are, lets the groups
 * concerned do their duties, and goes on.  Who finds the place taken may leave,
 * since the stepper looks into the inbox once more after it has let go.  So a
 * core is stepped by one thread at a time, and an event never waits for another
 * thread to wake up; the raft thread is left with the ticks.
 *
 * What has to be written goes to the writer as jobs; while one write is under
 * way the next jobs gather, so one sync serves many groups and many proposals.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/prng.h"
#include "private.h"

#define TICK_MS 50
#define PUBLISH_TICKS 10		/* replica_members() of a leader is that old at most */

void
host_die(const char *doing, const VtError *err)
{
	log_error("could not %s: %s; stopping, since nothing may be acknowledged after this", doing,
			  vt_error_words(err));
	_exit(70);
}

static void *
buf_alloc(void *state, size_t size)
{
	(void) state;
	return malloc(size);
}

static void
buf_free_sized(void *state, void *p, size_t size)
{
	(void) state;
	(void) size;
	free(p);
}

/* Put an event into the inbox; step_all() must follow. */
static void
push(ReplicaHost *host, Event *event)
{
	event->next = NULL;
	pthread_mutex_lock(&host->inbox_lock);
	*host->inbox_end = event;
	host->inbox_end = &event->next;
	pthread_mutex_unlock(&host->inbox_lock);
}

static void
push_event(ReplicaHost *host, EventKind kind, Replica *replica, uint64_t number)
{
	Event	   *event = vt_alloc0(sizeof(Event));

	event->kind = kind;
	event->replica = replica;
	event->number = number;
	push(host, event);
}

void
host_post(ReplicaHost *host, Event *event)
{
	push(host, event);
	step_all(host);
}

/*
 * Messages from peers come in where nothing may be done but move them (law T1):
 * the raft thread steps the cores.
 */
void
host_post_later(ReplicaHost *host, Event *event)
{
	push(host, event);
	pthread_mutex_lock(&host->inbox_lock);
	host->called = true;
	pthread_mutex_unlock(&host->inbox_lock);
	pthread_cond_signal(&host->raft_ready);
}

void
host_event(ReplicaHost *host, EventKind kind, Replica *replica, uint64_t number)
{
	push_event(host, kind, replica, number);
	step_all(host);
}

void
host_write(ReplicaHost *host, WriteJob *job)
{
	job->next = NULL;
	pthread_mutex_lock(&host->writer_lock);
	*host->jobs_end = job;
	host->jobs_end = &job->next;
	pthread_mutex_unlock(&host->writer_lock);
	pthread_cond_signal(&host->writer_ready);
}

/* Tell whoever waits for a job that is durable, and free it; step_all() must follow. */
static void
job_finish(ReplicaHost *host, WriteJob *job)
{
	store_batch_free(job->batch);
	if (job->seq)
		push_event(host, EVENT_PERSISTED, job->replica, job->seq);
	if (job->base)
		push_event(host, EVENT_BASE_DURABLE, job->replica, job->base);
	if (job->finished)
	{
		pthread_mutex_lock(&host->writer_lock);
		*job->finished = true;
		pthread_cond_broadcast(&host->writer_done);
		pthread_mutex_unlock(&host->writer_lock);
	}
	free(job);
}

/*
 * The writer: take all jobs there are and write them as one batch, with one
 * sync for all groups.  While it waits for the disk the next jobs gather.
 * Their order is kept, so a group's jobs become durable in the order of seq.
 */
static void *
writer_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;

	for (;;)
	{
		WriteJob   *jobs;
		VtError		err = {0};

		pthread_mutex_lock(&host->writer_lock);
		while (!host->jobs && !host->writer_stop)
			pthread_cond_wait(&host->writer_ready, &host->writer_lock);
		jobs = host->jobs;
		host->jobs = NULL;
		host->jobs_end = &host->jobs;
		pthread_mutex_unlock(&host->writer_lock);
		if (!jobs)
			return NULL;

		for (WriteJob *job = jobs->next; job; job = job->next)
			store_batch_append(jobs->batch, job->batch);
		if (store_write(host->log, jobs->batch, !vt_broken("S1-sync"), &err) != VT_OK)
			host_die("write the Raft log", &err);
		while (jobs)
		{
			WriteJob   *job = jobs;

			jobs = job->next;
			job_finish(host, job);
		}
		step_all(host);
	}
}

/* Put a replica into the run queue of the apply threads. */
void
host_run(ReplicaHost *host, Replica *replica)
{
	pthread_mutex_lock(&host->apply_lock);
	replica->run_next = NULL;
	*host->run_end = replica;
	host->run_end = &replica->run_next;
	pthread_mutex_unlock(&host->apply_lock);
	pthread_cond_signal(&host->apply_ready);
}

void
host_mark_dirty(Replica *replica)
{
	if (replica->dirty || replica->gone)
		return;
	replica->dirty = true;
	replica->dirty_next = replica->host->dirty;
	replica->host->dirty = replica;
}

static void
tick_all(ReplicaHost *host)
{
	bool		publish = ++host->ticks % PUBLISH_TICKS == 0;

	for (Replica *r = host->replicas; r; r = r->next)
	{
		/* Before the tick: one of a leader's may begin to listen to its peers anew. */
		if (publish && atomic_load(&r->serving_from) != 0)
			peers_publish(r);
		if (raft_tick(r->raft) == VT_OK && raft_has_ready(r->raft))
			host_mark_dirty(r);
	}
}

static Event *
take_events(ReplicaHost *host)
{
	Event	   *events;

	pthread_mutex_lock(&host->inbox_lock);
	events = host->inbox;
	host->inbox = NULL;
	host->inbox_end = &host->inbox;
	pthread_mutex_unlock(&host->inbox_lock);
	return events;
}

/*
 * Should a replica that was just opened stand for election at once?  Alone it
 * need not wait for anybody; in a group that was just founded the first voter
 * begins, so that not all do.
 */
static bool
begins(const Replica *replica)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	RaftStatus	status;
	uint64_t	first = 0;
	uint32_t	voters = 0;

	raft_get_status(replica->raft, &status);
	for (uint32_t i = 0; i < conf->n; i++)
		if (conf->members[i].roles & RAFT_VOTER)
			first = voters++ == 0 ? conf->members[i].id : first;
	return first == replica->id && (voters == 1 || status.term == 0);
}

static void
handle(ReplicaHost *host, Event *event)
{
	switch (event->kind)
	{
		case EVENT_OPEN:
			peers_add(host, event->replica);
			peers_publish(event->replica);
			if (begins(event->replica))
				raft_campaign(event->replica->raft);
			host_mark_dirty(event->replica);
			break;
		case EVENT_MESSAGES:
			peers_receive(host, buf_bytes(&event->payload));
			break;
		case EVENT_NODE_DOWN:
			peers_node_down(host, event->number);
			break;
		case EVENT_CLOSE:
			/* Whoever waits for this may free the replica at once. */
			peers_remove(host, event->replica);
			group_handle(event->replica, event);
			break;
		default:
			group_handle(event->replica, event);
			host_mark_dirty(event->replica);
			break;
	}
	buf_free(&event->payload);
	free(event);
}

/* One that is marked anew meanwhile has its turn with the next step. */
static void
do_duties(ReplicaHost *host)
{
	Replica    *dirty = host->dirty;

	host->dirty = NULL;
	while (dirty)
	{
		Replica    *replica = dirty;

		dirty = replica->dirty_next;
		replica->dirty = false;
		group_duties(replica);
	}
	peers_flush(host);
}

/*
 * Handle all there is, and what that brings; the step lock is held.  A tick
 * that is due comes first: where events never end nobody else gets the lock.
 */
static void
step_held(ReplicaHost *host)
{
	while (!host->stopped)
	{
		Event	   *events;

		if (atomic_exchange(&host->tick_due, false))
		{
			tick_all(host);
			do_duties(host);
		}
		events = take_events(host);
		if (!events)
			break;
		while (events)
		{
			Event	   *event = events;

			events = event->next;
			handle(host, event);
		}
		do_duties(host);
	}
}

static bool
nothing_to_step(ReplicaHost *host)
{
	bool		empty;

	pthread_mutex_lock(&host->inbox_lock);
	empty = host->inbox == NULL;
	pthread_mutex_unlock(&host->inbox_lock);
	return empty && !atomic_load(&host->tick_due);
}

/*
 * See to it that what is in the inbox is handled: here, or by the thread that
 * holds the step lock.  That may be this one, further up: a core's duties bring
 * events too.
 */
void
step_all(ReplicaHost *host)
{
	bool		done = false;

	while (!done && pthread_mutex_trylock(&host->step_lock) == 0)
	{
		step_held(host);
		done = host->stopped;
		pthread_mutex_unlock(&host->step_lock);
		/* Who came since the last look found the lock taken and left. */
		done = done || nothing_to_step(host);
	}
}

static void
add_ms(struct timespec *t, int ms)
{
	t->tv_nsec += ms * 1000000;
	t->tv_sec += t->tv_nsec / 1000000000;
	t->tv_nsec %= 1000000000;
}

static bool
is_later(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

/* The raft thread: ticks, and messages from peers. */
static void *
raft_main(void *arg)
{
	ReplicaHost *host = (ReplicaHost *) arg;
	struct timespec tick_at;

	clock_gettime(CLOCK_MONOTONIC, &tick_at);
	add_ms(&tick_at, TICK_MS);
	for (;;)
	{
		struct timespec now;
		bool		stopping;

		pthread_mutex_lock(&host->inbox_lock);
		while (!host->stopping && !host->called &&
			   pthread_cond_timedwait(&host->raft_ready, &host->inbox_lock, &tick_at) == 0)
			;
		stopping = host->stopping;
		host->called = false;
		pthread_mutex_unlock(&host->inbox_lock);
		if (stopping)
			return NULL;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (is_later(&now, &tick_at))
		{
			atomic_store(&host->tick_due, true);

			/* Ticks that were missed are not made up for. */
			add_ms(&tick_at, TICK_MS);
			if (is_later(&now, &tick_at))
			{
				tick_at = now;
				add_ms(&tick_at, TICK_MS);
			}
		}
		step_all(host);
	}
}

static void
cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

void
host_start_thread(pthread_t *thread, void *(*run) (void *), void *arg)
{
	int			rc = pthread_create(thread, NULL, run, arg);

	if (rc != 0)
	{
		VtError		err = {0};

		errno = rc;
		vt_fail_errno(&err, VT_NOMEM, "no thread");
		host_die("start a thread", &err);
	}
}

VtStatus
replica_host_start(Store *log, const ReplicaHostOptions *options, ReplicaHost **out, VtError *err)
{
	ReplicaHost *host = vt_alloc0(sizeof(ReplicaHost));
	VtId		seed;

	(void) err;
	host->log = log;
	host->options = *options;
	atomic_store(&host->node, options->node);
	if (host->options.apply_threads == 0)
		host->options.apply_threads = 2;
	if (host->options.checkpoint_bytes == 0)
		host->options.checkpoint_bytes = 64 << 20;
	if (host->options.max_inflight_bytes == 0)
		host->options.max_inflight_bytes = 256 << 20;
	host->allocator.alloc = buf_alloc;
	host->allocator.free = buf_free_sized;
	vt_id_random(&seed);
	host->seeds = get_le64(seed.b);

	pthread_mutex_init(&host->step_lock, NULL);
	pthread_mutex_init(&host->inbox_lock, NULL);
	pthread_mutex_init(&host->writer_lock, NULL);
	pthread_mutex_init(&host->apply_lock, NULL);
	pthread_mutex_init(&host->io_lock, NULL);
	cond_init(&host->raft_ready);
	cond_init(&host->writer_ready);
	cond_init(&host->writer_done);
	cond_init(&host->apply_ready);
	cond_init(&host->io_ready);
	cond_init(&host->io_idle);
	host->inbox_end = &host->inbox;
	host->jobs_end = &host->jobs;
	host->run_end = &host->run;

	host_start_thread(&host->writer_thread, writer_main, host);
	host_start_thread(&host->raft_thread, raft_main, host);
	host_start_thread(&host->io_thread, io_main, host);
	errands_start(host);
	host->apply_pool = vt_alloc(sizeof(pthread_t) * host->options.apply_threads);
	for (uint32_t i = 0; i < host->options.apply_threads; i++)
		host_start_thread(&host->apply_pool[i], apply_main, host);
	*out = host;
	return VT_OK;
}

static void
stop_thread(pthread_mutex_t *lock, pthread_cond_t *cond, bool *flag, pthread_t *threads, uint32_t n)
{
	pthread_mutex_lock(lock);
	*flag = true;
	pthread_cond_broadcast(cond);
	pthread_mutex_unlock(lock);
	for (uint32_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

static void
replica_free(Replica *replica)
{
	while (replica->items)
	{
		ApplyItem  *item = replica->items;

		replica->items = item->next;
		raft_buf_release(item->data);
		free(item);
	}

	/* What was proposed may be in the log by now, and be applied after a start. */
	group_fail_asked(replica, VT_UNAVAILABLE);
	group_fail_waiters(replica, VT_UNAVAILABLE, true);
	snapshot_forget_all(replica);
	raft_close(replica->raft);
	pthread_mutex_destroy(&replica->lock);
	pthread_cond_destroy(&replica->idle);
	free(replica);
}

void
replica_host_stop(ReplicaHost *host)
{
	if (!host)
		return;

	/*
	 * What was asked before is handled: an asker may hold what an installation
	 * waits for.  Then no core is stepped any more; what comes stays in the inbox.
	 */
	pthread_mutex_lock(&host->step_lock);
	step_held(host);
	host->stopped = true;
	pthread_mutex_unlock(&host->step_lock);
	stop_thread(&host->inbox_lock, &host->raft_ready, &host->stopping, &host->raft_thread, 1);
	for (Replica *r = host->replicas; r; r = r->next)
		errands_cancel(r);
	errands_stop(host);
	stop_thread(&host->writer_lock, &host->writer_ready, &host->writer_stop, &host->writer_thread, 1);
	stop_thread(&host->apply_lock, &host->apply_ready, &host->apply_stop, host->apply_pool,
				host->options.apply_threads);
	stop_thread(&host->io_lock, &host->io_ready, &host->io_stop, &host->io_thread, 1);

	while (host->inbox)
	{
		Event	   *event = host->inbox;

		host->inbox = event->next;
		if (event->kind == EVENT_OPEN)
		{
			event->replica->next = host->replicas;
			host->replicas = event->replica;
		}
		if (event->done)
			event->done(event->arg, VT_STOPPING, 0, bytes_of(NULL, 0));
		if (event->errand)
			errand_free(event->errand);
		raft_buf_release(event->command);
		buf_free(&event->payload);
		free(event);
	}
	while (host->replicas)
	{
		Replica    *replica = host->replicas;
		VtError		err = {0};
		uint64_t	index;

		host->replicas = replica->next;
		if (replica->machine.checkpoint(replica->machine.state, &index, &err) != VT_OK)
			host_die("write a checkpoint", &err);
		replica_free(replica);
	}
	for (size_t i = 0; i < host->noutboxes; i++)
		buf_free(&host->outboxes[i].messages);
	free(host->outboxes);
	free(host->groups);
	free(host->io_queue);
	free(host->apply_pool);
	free(host);
}

/* -- What other threads ask ------------------------------------------------ */

static void
post_question(Replica *replica, EventKind kind, RaftBuf *command, ReplicaDone done, void *arg)
{
	Event	   *event = vt_alloc0(sizeof(Event));

	event->kind = kind;
	event->replica = replica;
	event->command = command;
	event->done = done;
	event->arg = arg;
	host_post(replica->host, event);
}

void
replica_propose(Replica *replica, Bytes command, ReplicaDone done, void *arg)
{
	ReplicaHost *host = replica->host;
	RaftBuf    *buf;

	if (atomic_load_explicit(&replica->serving_from, memory_order_acquire) == 0)
	{
		done(arg, VT_NOT_LEADER, 0, bytes_of(NULL, 0));
		return;
	}
	if (atomic_fetch_add(&host->inflight_bytes, command.len) > host->options.max_inflight_bytes)
	{
		atomic_fetch_sub(&host->inflight_bytes, command.len);
		done(arg, VT_BUSY, 0, bytes_of(NULL, 0));
		return;
	}
	buf = raft_buf_new(&host->allocator, command.data, (uint32_t) command.len);
	if (!buf)
	{
		atomic_fetch_sub(&host->inflight_bytes, command.len);
		done(arg, VT_NOMEM, 0, bytes_of(NULL, 0));
		return;
	}
	post_question(replica, EVENT_PROPOSE, buf, done, arg);
}

void
replica_change(Replica *replica, const RaftConf *target, uint64_t conf_index, ReplicaDone done,
			   void *arg)
{
	Event	   *event = vt_alloc0(sizeof(Event));

	event->kind = EVENT_CHANGE;
	event->replica = replica;
	event->number = conf_index;
	buf_put(&event->payload, target, sizeof(*target));
	event->done = done;
	event->arg = arg;
	host_post(replica->host, event);
}

void
replica_transfer(Replica *replica, uint64_t to, ReplicaDone done, void *arg)
{
	Event	   *event = vt_alloc0(sizeof(Event));

	event->kind = EVENT_TRANSFER;
	event->replica = replica;
	event->number = to;
	event->done = done;
	event->arg = arg;
	host_post(replica->host, event);
}

void
replica_read(Replica *replica, ReplicaDone done, void *arg)
{
	post_question(replica, EVENT_READ, NULL, done, arg);
}

bool
replica_read_now(Replica *replica, uint64_t *index)
{
	uint64_t	from = atomic_load_explicit(&replica->serving_from, memory_order_acquire);
	uint64_t	applied = atomic_load_explicit(&replica->applied, memory_order_acquire);

	if (!atomic_load_explicit(&replica->sole_voter, memory_order_acquire) || from == 0 || applied < from)
		return false;
	*index = applied;
	return true;
}

void
replica_status(const Replica *replica, ReplicaStatus *out)
{
	uint64_t	from = atomic_load(&replica->serving_from);

	out->group = replica->group;
	out->replica = replica->id;
	out->term = atomic_load(&replica->term);
	out->applied = atomic_load(&replica->applied);
	out->leader = from != 0;
	out->serving = from != 0 && out->applied >= from;
	out->leader_replica = atomic_load(&replica->leader);
	out->current = atomic_load(&replica->current);
	out->gone = atomic_load(&replica->told_gone);
}

void
replica_cease_sending(Replica *replica)
{
	host_event(replica->host, EVENT_CEASE, replica, 0);
}

void
replica_checkpoint(Replica *replica)
{
	io_ask(replica->host, replica);
}

/* -- Founding, opening, destroying ----------------------------------------- */

/* Write a batch and wait until it is durable. */
static void
write_and_wait(ReplicaHost *host, StoreBatch *batch)
{
	WriteJob   *job = vt_alloc0(sizeof(WriteJob));
	bool		finished = false;

	job->batch = batch;
	job->finished = &finished;
	host_write(host, job);
	pthread_mutex_lock(&host->writer_lock);
	while (!finished)
		pthread_cond_wait(&host->writer_done, &host->writer_lock);
	pthread_mutex_unlock(&host->writer_lock);
}

static void
put_base(StoreBatch *batch, uint64_t group, const RaftSnapshot *base)
{
	size_t		size = raft_snapshot_size(base);
	uint8_t    *bytes = vt_alloc(size);

	raft_snapshot_encode(base, bytes);
	log_batch_base(batch, group, bytes_of(bytes, size));
	free(bytes);
}

VtStatus
replica_create(ReplicaHost *host, uint64_t group, uint64_t replica, const RaftConf *founders,
			   uint64_t base_index, VtError *err)
{
	Buf			old = {0};
	bool		dead = false;
	VtStatus	status = log_load_base(host->log, group, &old, err);
	RaftSnapshot base;
	RaftHardState hard;
	uint8_t		state[RAFT_HARD_STATE_SIZE];
	StoreBatch *batch;

	buf_free(&old);
	if (status == VT_OK)
		return vt_fail(err, VT_EXISTS, "Raft group %llu exists", (unsigned long long) group);
	if (status == VT_NOT_FOUND)
		status = log_has_tombstone(host->log, group, replica, &dead, err);
	if (status != VT_OK)
		return status;
	if (dead)
		return vt_fail(err, VT_DENIED, "replica %llu of Raft group %llu was destroyed here",
					   (unsigned long long) replica, (unsigned long long) group);

	memset(&base, 0, sizeof(base));
	memset(&hard, 0, sizeof(hard));
	if (founders)
	{
		if (!raft_conf_find(founders, replica))
			return vt_fail(err, VT_INVALID, "replica %llu is no founder of Raft group %llu",
						   (unsigned long long) replica, (unsigned long long) group);
		status = raft_conf_check(founders, err);
		if (status != VT_OK)
			return status;
		base.index = base_index;
		base.conf_index = base_index;
		base.conf = *founders;
		hard.last_index = base_index;
	}
	raft_hard_state_encode(&hard, state);
	batch = store_batch_new();
	put_base(batch, group, &base);
	log_batch_state(batch, group, bytes_of(state, sizeof(state)));
	write_and_wait(host, batch);
	return VT_OK;
}

typedef struct Loading
{
	ReplicaHost *host;
	RaftEntry  *entries;
	size_t		n;
	size_t		room;
	uint64_t	applied;
	uint64_t	bytes;
	VtError    *err;
} Loading;

static VtStatus
load_entry(void *arg, uint64_t index, Bytes bytes)
{
	Loading    *loading = (Loading *) arg;
	RaftEntry  *entry;
	size_t		used;
	VtStatus	status;

	if (loading->n == loading->room)
	{
		loading->room = loading->room ? loading->room * 2 : 64;
		loading->entries = vt_realloc(loading->entries, sizeof(RaftEntry) * loading->room);
	}
	entry = &loading->entries[loading->n];
	status = raft_entry_decode(bytes, index > loading->applied, &loading->host->allocator, entry, &used);
	if (status != VT_OK || used != bytes.len || entry->index != index)
		return vt_fail(loading->err, status == VT_OK ? VT_CORRUPT : status,
					   "entry %llu of the Raft log: %s", (unsigned long long) index,
					   vt_status_words(status == VT_OK ? VT_CORRUPT : status));
	loading->bytes += entry->size;
	loading->n++;
	return VT_OK;
}

VtStatus
replica_stored_base(ReplicaHost *host, uint64_t group, RaftSnapshot *out, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = log_load_base(host->log, group, &value, err);

	if (status == VT_OK)
		status = raft_snapshot_decode(buf_bytes(&value), out);
	buf_free(&value);
	return status;
}

/* Delete what a crash left below the base of a group's log. */
static VtStatus
drop_below_base(ReplicaHost *host, uint64_t group, uint64_t base, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	uint64_t	found;
	VtStatus	status = log_batch_drop_up_to(host->log, batch, group, base, &found, err);

	if (status == VT_OK && found > 0)
		write_and_wait(host, batch);
	else
		store_batch_free(batch);
	return status;
}

VtStatus
replica_open(ReplicaHost *host, uint64_t group, uint64_t id, const ReplicaMachine *machine,
			 uint64_t applied, Replica **out, VtError *err)
{
	Buf			value = {0};
	RaftOptions options;
	RaftStored	stored;
	Loading		loading = {host, NULL, 0, 0, applied, 0, err};
	Replica    *replica;
	Raft	   *raft = NULL;
	VtStatus	status;

	memset(&stored, 0, sizeof(stored));
	status = log_load_state(host->log, group, &value, err);
	if (status == VT_OK)
		status = raft_hard_state_decode(buf_bytes(&value), &stored.hard);
	if (status == VT_OK)
		status = log_load_base(host->log, group, &value, err);
	if (status == VT_OK)
		status = raft_snapshot_decode(buf_bytes(&value), &stored.base);
	if (status != VT_OK && err && err->msg[0] == '\0')
		vt_fail(err, status, "state of Raft group %llu: %s", (unsigned long long) group,
				vt_status_words(status));
	if (status == VT_OK)
		status = log_load_entries(host->log, group, stored.base.index + 1, stored.hard.last_index,
								  load_entry, &loading, err);
	if (status == VT_OK)
		status = drop_below_base(host, group, stored.base.index, err);
	if (status == VT_OK)
	{
		stored.entries = loading.entries;
		stored.n = loading.n;
		stored.applied = applied;
		raft_options_init(&options);
		options.group = group;
		options.id = id;
		options.seed = prng_mix(host->seeds ^ group ^ id * 31);
		options.allocator = &host->allocator;
		options.max_entry_bytes = 8 << 20;
		options.max_uncommitted_bytes = 512 << 20;
		options.max_apply_bytes = 64 << 20;
		status = raft_open(&options, &stored, &raft, err);
	}
	for (size_t i = 0; i < loading.n; i++)
		raft_buf_release(loading.entries[i].data);
	free(loading.entries);
	buf_free(&value);
	if (status != VT_OK)
		return status;

	replica = vt_alloc0(sizeof(Replica));
	replica->host = host;
	replica->group = group;
	replica->id = id;
	replica->machine = *machine;
	replica->raft = raft;
	replica->stored_last = stored.hard.last_index;
	replica->stored_base = stored.base.index;
	replica->log_bytes = loading.bytes;
	replica->proposals_end = &replica->proposals;
	replica->items_end = &replica->items;
	replica->asked_end = &replica->asked;
	atomic_store(&replica->applied, applied);
	pthread_mutex_init(&replica->lock, NULL);
	pthread_cond_init(&replica->idle, NULL);
	host_event(host, EVENT_OPEN, replica, 0);
	*out = replica;
	return VT_OK;
}

/* Wait until everything in the inbox before now has been handled. */
static void
close_round(Replica *replica)
{
	pthread_mutex_lock(&replica->lock);
	replica->closed = false;
	pthread_mutex_unlock(&replica->lock);
	host_event(replica->host, EVENT_CLOSE, replica, 0);
	pthread_mutex_lock(&replica->lock);
	while (!replica->closed)
		pthread_cond_wait(&replica->idle, &replica->lock);
	pthread_mutex_unlock(&replica->lock);
}

/* The steppers let go of it, then the apply and io threads. */
static void
let_go(Replica *replica)
{
	ReplicaHost *host = replica->host;

	close_round(replica);
	pthread_mutex_lock(&replica->lock);
	while (replica->queued || replica->staging)
		pthread_cond_wait(&replica->idle, &replica->lock);
	pthread_mutex_unlock(&replica->lock);
	errands_cancel(replica);
	pthread_mutex_lock(&host->io_lock);
	for (size_t i = 0; i < host->io_n; i++)
		if (host->io_queue[i] == replica)
			host->io_queue[i] = NULL;
	while (host->io_busy == replica)
		pthread_cond_wait(&host->io_idle, &host->io_lock);
	pthread_mutex_unlock(&host->io_lock);
}

/* Write a batch as its last word, and free it. */
static void
finish_with(Replica *replica, StoreBatch *batch)
{
	write_and_wait(replica->host, batch);

	/* What the writer reported before is in the inbox: let it pass. */
	close_round(replica);
	replica_free(replica);
}

VtStatus
replica_destroy(Replica *replica, VtError *err)
{
	StoreBatch *batch = store_batch_new();

	(void) err;
	let_go(replica);

	/* Nothing of it is written any more, so these stand still. */
	log_batch_tombstone(batch, replica->group, replica->id);
	for (uint64_t i = replica->stored_base + 1; i <= replica->stored_last; i++)
		log_batch_drop(batch, replica->group, i);
	finish_with(replica, batch);
	return VT_OK;
}

void
replica_close(Replica *replica)
{
	VtError		err = {0};
	uint64_t	index;

	let_go(replica);
	if (replica->machine.checkpoint(replica->machine.state, &index, &err) != VT_OK)
		host_die("write a checkpoint", &err);
	finish_with(replica, store_batch_new());
}

VtStatus
replica_forget(ReplicaHost *host, uint64_t group, uint64_t replica, VtError *err)
{
	StoreBatch *batch = store_batch_new();
	uint64_t	found;
	VtStatus	status = log_batch_drop_up_to(host->log, batch, group, UINT64_MAX - 1, &found, err);

	if (status != VT_OK)
	{
		store_batch_free(batch);
		return status;
	}
	log_batch_tombstone(batch, group, replica);
	write_and_wait(host, batch);
	return VT_OK;
}
