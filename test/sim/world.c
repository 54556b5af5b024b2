/*-------------------------------------------------------------------------
 *
 * world.c
 *	  The event loop: stores and their replicas, and the disk's writer.
 *
 * A store is a process with one disk.  When it crashes, all of its replicas lose
 * what is volatile; of the jobs on their way to the disk some first part stays,
 * and the state machines fall back to somewhere between checkpoint and applied.
 *
 * What a replica asks for is done in settle.c; messages are in net.c.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#include "base/hash.h"

#define LLU(x) ((unsigned long long) (x))

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

/* -- Chance, trace, failure ------------------------------------------------------ */

uint32_t
sim_below(Sim *sim, uint32_t n)
{
	return n == 0 ? 0 : prng_below(&sim->prng, n);
}

bool
sim_chance(Sim *sim, uint32_t per_mille)
{
	return !sim->calm && per_mille > 0 && prng_below(&sim->prng, 1000) < per_mille;
}

/* Around mean, with a long tail. */
uint64_t
sim_delay(Sim *sim, uint32_t mean)
{
	uint64_t	delay = 1 + sim_below(sim, 2 * mean);

	while (prng_below(&sim->prng, 8) == 0 && delay < 64 * (uint64_t) mean)
		delay *= 2;
	return delay;
}

void
sim_note(Sim *sim, uint64_t value)
{
	sim->digest = prng_mix(sim->digest ^ value) + sim->now;
}

void
sim_trace(Sim *sim, const char *fmt,...)
{
	va_list		args;

	if (sim->trace == NULL)
		return;
	fprintf(sim->trace, "[%9llu] ", LLU(sim->now));
	va_start(args, fmt);
	vfprintf(sim->trace, fmt, args);
	va_end(args);
	fputc('\n', sim->trace);
}

/* The first violation is the one that counts. */
void
sim_fail(Sim *sim, const char *fmt,...)
{
	va_list		args;

	if (sim->failed)
		return;
	sim->failed = true;
	va_start(args, fmt);
	vsnprintf(sim->violation, sizeof(sim->violation), fmt, args);
	va_end(args);
	sim_trace(sim, "VIOLATION %s", sim->violation);
}

uint64_t
sim_entry_hash(uint8_t type, const uint8_t *data, size_t len)
{
	return prng_mix(hash_checksum(bytes_of(data, len)) + type);
}

/* -- Memory that can fail ----------------------------------------------------------- */

static void *
sim_alloc(void *state, size_t size)
{
	SimAllocator *memory = state;

	if (memory->fail_in > 0 && --memory->fail_in == 0)
	{
		memory->failures++;
		return NULL;
	}
	memory->live += (int64_t) size;
	return must(malloc(size > 0 ? size : 1));
}

static void
sim_release(void *state, void *p, size_t size)
{
	SimAllocator *memory = state;

	memory->live -= (int64_t) size;
	free(p);
}

/* -- Events ---------------------------------------------------------------------------- */

static bool
before(const Event *a, const Event *b)
{
	return a->time != b->time ? a->time < b->time : a->order < b->order;
}

static void
insert_event(Sim *sim, Event event)
{
	size_t		at = sim->heap_n++;

	if (at == sim->heap_size)
	{
		sim->heap_size = sim->heap_size == 0 ? 256 : sim->heap_size * 2;
		sim->heap = must(realloc(sim->heap, sim->heap_size * sizeof(Event)));
	}
	while (at > 0 && before(&event, &sim->heap[(at - 1) / 2]))
	{
		sim->heap[at] = sim->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	sim->heap[at] = event;
}

void
sim_schedule(Sim *sim, uint64_t delay, Event event)
{
	event.time = sim->now + delay;
	event.order = sim->order++;
	insert_event(sim, event);
}

/* Nothing that is planned comes later than this. */
void
sim_hasten(Sim *sim, uint64_t delay)
{
	size_t		n = sim->heap_n;

	/* Events before i are a heap already; one by one the others join it. */
	sim->heap_n = 0;
	for (size_t i = 0; i < n; i++)
	{
		Event		event = sim->heap[i];

		if (event.time > sim->now + delay)
			event.time = sim->now + delay;
		insert_event(sim, event);
	}
}

static Event
pop_event(Sim *sim)
{
	Event		top = sim->heap[0];
	Event		last = sim->heap[--sim->heap_n];
	size_t		at = 0;

	for (;;)
	{
		size_t		child = 2 * at + 1;

		if (child >= sim->heap_n)
			break;
		if (child + 1 < sim->heap_n && before(&sim->heap[child + 1], &sim->heap[child]))
			child++;
		if (!before(&sim->heap[child], &last))
			break;
		sim->heap[at] = sim->heap[child];
		at = child;
	}
	sim->heap[at] = last;
	return top;
}

void
sim_schedule_for(Sim *sim, Replica *r, EventType type, uint64_t delay, uint64_t arg, uint64_t arg2)
{
	sim_schedule(sim, delay, (Event) {
		.type = type, .store = r->store, .epoch = sim->stores[r->store].epoch, .replica = r,
		.arg = arg, .arg2 = arg2
	});
}

/* -- Replicas and stores -------------------------------------------------------------------------- */

static void
open_replica(Sim *sim, Replica *r)
{
	Group	   *group = &sim->groups[r->group];
	RaftOptions options = group->options;
	uint64_t	fail_in = sim->memory.fail_in;
	VtError		err;

	options.id = r->id;
	options.seed = prng_next(&sim->prng);
	options.allocator = &sim->memory.vtable;
	sim->memory.fail_in = 0;
	if (sim->guest != NULL)
		r->sm_applied = sim->guest->open(sim, r);
	if (disk_open(&r->disk, &options, r->sm_applied, &r->raft, &err) != VT_OK)
	{
		r->raft = NULL;
		sim_fail(sim, "group %u replica %llu does not open: %s", r->group, LLU(r->id), err.msg);
	}
	else
		oracle_reopened(sim, r);
	sim->memory.fail_in = fail_in;
}

/*
 * A founder begins with the group's first configuration, others know nothing.
 */
Replica *
sim_create_replica(Sim *sim, uint32_t group_no, uint32_t store, bool founder)
{
	Group	   *group = &sim->groups[group_no];
	Replica    *r;

	if (group->replicas_n == SIM_MAX_REPLICAS)
		return NULL;
	r = &group->replicas[group->replicas_n++];
	memset(r, 0, sizeof(*r));
	r->group = group_no;
	r->store = store;
	r->id = group->replicas_n;
	r->exists = true;
	if (founder)
		r->disk.base = group->origin;
	r->disk.checkpoint = r->disk.base.index;
	r->sm_applied = r->disk.checkpoint;
	if (sim->stores[store].up)
		open_replica(sim, r);
	return r;
}

/* One that is to be there and is not yet: its number is taken. */
void
sim_await_replica(Sim *sim, uint32_t group_no, uint32_t store)
{
	Group	   *group = &sim->groups[group_no];
	Replica    *r = &group->replicas[group->replicas_n++];

	memset(r, 0, sizeof(*r));
	r->group = group_no;
	r->store = store;
	r->id = group->replicas_n;
	r->awaited = true;
}

/* Now it is: on a store that is up. */
void
sim_make_awaited(Sim *sim, Replica *r, bool founder)
{
	r->awaited = false;
	r->exists = true;
	if (founder)
		r->disk.base = sim->groups[r->group].origin;
	r->disk.checkpoint = r->disk.base.index;
	r->sm_applied = r->disk.checkpoint;
	open_replica(sim, r);
}

static void
drop_volatile(Sim *sim, Replica *r)
{
	if (sim->guest != NULL && r->guest != NULL)
		sim->guest->close(sim, r);
	raft_close(r->raft);
	r->raft = NULL;
	for (size_t i = 0; i < r->queue_n; i++)
		free(r->queue[i].bytes);
	r->queue_n = 0;
	r->pending_n = 0;
	r->apply_scheduled = false;
	r->ready_scheduled = false;
	r->loading = false;
	r->asleep_until = 0;
}

static void
drop_jobs_of(Sim *sim, Replica *r)
{
	Store	   *s = &sim->stores[r->store];
	DiskJob   **link = &s->jobs;

	while (*link != NULL)
	{
		DiskJob    *job = *link;

		if (job->replica == r)
		{
			*link = job->next;
			disk_job_free(job);
		}
		else
			link = &job->next;
	}
	s->jobs_tail = link;
}

void
sim_destroy_replica(Sim *sim, Replica *r)
{
	sim_trace(sim, "g%u %llu destroyed", r->group, LLU(r->id));
	drop_jobs_of(sim, r);
	drop_volatile(sim, r);
	if (sim->guest != NULL)
		sim->guest->destroy(sim, r);
	disk_free(&r->disk);
	r->exists = false;
}

/* One job becomes durable. */
static void
finish_job(Sim *sim, Store *s)
{
	DiskJob    *job = s->jobs;
	Replica    *r = job->replica;
	RaftHardState hard = disk_hard(&r->disk);

	s->jobs = job->next;
	if (s->jobs == NULL)
		s->jobs_tail = &s->jobs;
	disk_job_apply(sim, &r->disk, job);
	oracle_durable(sim, r, &hard, &job->hard);
	if (job->install)
	{
		sim->counts.snapshots_installed++;
		if (sim->guest != NULL)
			sim->guest->install(sim, r, &job->snapshot);
	}
}

void
sim_crash(Sim *sim, uint32_t store)
{
	Store	   *s = &sim->stores[store];
	uint32_t	jobs = 0;
	uint32_t	kept;

	if (!s->up)
		return;
	s->up = false;
	s->epoch++;
	s->disk_busy = false;
	sim->counts.crashes++;
	for (uint32_t g = 0; g < sim->opt.groups; g++)
		for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
			if (sim->groups[g].replicas[i].exists && sim->groups[g].replicas[i].store == store)
				oracle_crashing(sim, &sim->groups[g].replicas[i]);
	for (DiskJob *job = s->jobs; job != NULL; job = job->next)
		jobs++;
	kept = sim_below(sim, jobs + 1);
	sim_trace(sim, "store %u crashes, %u of %u writes survive", store, kept, jobs);
	sim_note(sim, store + 1000);
	for (uint32_t i = 0; i < kept; i++)
	{
		DiskJob    *job = s->jobs;

		finish_job(sim, s);
		disk_job_free(job);
	}
	while (s->jobs != NULL)
	{
		DiskJob    *job = s->jobs;

		s->jobs = job->next;
		sim->counts.lost_batches++;
		disk_job_free(job);
	}
	s->jobs_tail = &s->jobs;

	for (uint32_t g = 0; g < sim->opt.groups; g++)
		for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
		{
			Replica    *r = &sim->groups[g].replicas[i];

			if (!r->exists || r->store != store)
				continue;
			drop_volatile(sim, r);
			if (sim->guest != NULL)
				continue;
			if (r->sm_applied > r->disk.checkpoint)
			{
				/* Applied without sync: any first part of it is left. */
				uint64_t	lost = sim_below(sim, (uint32_t) (r->sm_applied - r->disk.checkpoint + 1));

				sim->counts.lost_applied += lost;
				r->sm_applied -= lost;
			}
			else
				r->sm_applied = r->disk.checkpoint;
		}
	if (sim->guest != NULL)
		sim->guest->crash(sim, store);
}

void
sim_restart(Sim *sim, uint32_t store)
{
	Store	   *s = &sim->stores[store];

	if (s->up || s->frozen)
		return;
	s->up = true;
	s->epoch++;
	s->paused_until = 0;
	sim_trace(sim, "store %u starts", store);
	for (uint32_t g = 0; g < sim->opt.groups; g++)
		for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
		{
			Replica    *r = &sim->groups[g].replicas[i];

			if (r->exists && r->store == store && !sim->failed)
			{
				if (SIM_BUG(34) && sim_chance(sim, 100))
				{
					disk_free(&r->disk);
					r->disk.base = sim->groups[g].origin;
					r->disk.checkpoint = r->sm_applied = r->disk.base.index;
				}
				open_replica(sim, r);
				sim_settle(sim, r);
				if (!s->up)
					return;
			}
		}
	sim_schedule(sim, 1 + sim_below(sim, s->tick_time),
				 (Event) {.type = EVENT_TICK, .store = store, .epoch = s->epoch});
}

/* -- What happens -------------------------------------------------------------------------------------- */

/* Who loads what it has installed leads nobody. */
static void
check_passive(Sim *sim, const Replica *r)
{
	RaftStatus	status;

	if (!r->loading)
		return;
	raft_get_status(r->raft, &status);
	if (status.role != RAFT_FOLLOWER)
		sim_fail(sim, "[passive] group %u replica %llu campaigns and is not loaded yet", r->group, LLU(r->id));
}

/* What a snapshot brought is in place, and is loaded while Raft goes on. */
static void
begin_loading(Sim *sim, Replica *r)
{
	if (!sim->opt.passive)
		return;
	r->loading = true;
	raft_set_passive(r->raft, true);
	sim->counts.loads++;
	sim_schedule_for(sim, r, EVENT_LOADED, sim_delay(sim, sim->calm ? TICK_TIME : 20 * TICK_TIME), 0, 0);
}

static void
on_loaded(Sim *sim, Replica *r)
{
	check_passive(sim, r);
	r->loading = false;
	raft_set_passive(r->raft, false);
	sim_settle(sim, r);
}

static void
on_tick(Sim *sim, const Event *event)
{
	Store	   *s = &sim->stores[event->store];
	uint64_t	epoch = s->epoch;

	for (uint32_t g = 0; g < sim->opt.groups; g++)
		for (uint32_t i = 0; i < sim->groups[g].replicas_n && s->epoch == epoch; i++)
		{
			Replica    *r = &sim->groups[g].replicas[i];

			if (!r->exists || r->store != event->store || r->raft == NULL || sim->failed)
				continue;
			if (r->asleep_until > sim->now && !sim->calm)
				continue;
			if (r->asleep_until != 0)
			{
				/* Nobody has told it for long that all sleep. */
				r->asleep_until = 0;
				raft_forget_leader(r->raft);
			}
			(void) raft_tick(r->raft);
			check_passive(sim, r);
			sim_settle(sim, r);
		}
	if (s->epoch == epoch)
		sim_schedule(sim, s->tick_time, *event);
}

static void
on_deliver(Sim *sim, const Event *event)
{
	Packet	   *packet = event->packet;
	Group	   *group = &sim->groups[packet->group];
	Replica    *r = &group->replicas[packet->to - 1];
	RaftMessage m;
	RaftStatus	old;
	RaftStatus	new;
	VtStatus	status;
	uint8_t    *again;

	if (!r->exists || r->raft == NULL ||
		(sim->cut[packet->from_store][r->store] && !packet->on_its_way))
	{
		sim->counts.dropped++;
		return;
	}
	status = raft_message_decode(bytes_of(packet->bytes, packet->len), &sim->memory.vtable, &m);
	if (status == VT_NOMEM)
		return;
	if (status != VT_OK)
	{
		sim_fail(sim, "[28] a message does not decode: %s", vt_status_words(status));
		return;
	}
	again = must(malloc(packet->len));
	if (raft_message_size(&m) != packet->len)
		sim_fail(sim, "[28] a message changes its size in the codec");
	else
	{
		raft_message_encode(&m, again);
		if (memcmp(again, packet->bytes, packet->len) != 0)
			sim_fail(sim, "[28] a message changes in the codec");
	}
	free(again);

	sim->counts.delivered++;
	r->asleep_until = 0;
	if (sim->trace != NULL)
	{
		char		text[600];

		sim_format_message(&m, text, sizeof(text));
		sim_trace(sim, "g%u recv %s", packet->group, text);
	}
	raft_get_status(r->raft, &old);
	status = raft_step(r->raft, &m);
	raft_get_status(r->raft, &new);
	raft_message_free(&m, &sim->memory.vtable);
	if (status == VT_NOMEM && memcmp(&old, &new, sizeof(old)) != 0)
		sim_fail(sim, "[nomem] group %u replica %llu changed although it had no memory",
				 packet->group, LLU(r->id));
	else if (status != VT_OK && status != VT_NOMEM)
		sim_fail(sim, "group %u replica %llu does not accept a message: %s", packet->group,
				 LLU(r->id), vt_status_words(status));
	if ((packet->bytes[13] == RAFT_PREVOTE || packet->bytes[13] == RAFT_PREVOTE_RESP) &&
		(packet->bytes[14] & RAFT_FLAG_REJECT) == 0 && new.role != RAFT_CANDIDATE &&
		(old.term != new.term || old.vote != new.vote))
		sim_fail(sim, "[prevote] group %u replica %llu changes its term or vote by a question",
				 packet->group, LLU(r->id));
	sim_settle(sim, r);
}

static void
on_disk(Sim *sim, const Event *event)
{
	Store	   *s = &sim->stores[event->store];
	uint64_t	epoch = s->epoch;
	uint32_t	jobs = 0;

	s->disk_busy = false;
	if (SIM_BUG(36) && s->jobs != NULL && sim_chance(sim, 20))
	{
		/* The sync failed; asked again the kernel says all is well. */
		DiskJob    *job = s->jobs;
		Replica    *r = job->replica;
		uint64_t	seq = job->seq;

		s->jobs = job->next;
		if (s->jobs == NULL)
			s->jobs_tail = &s->jobs;
		disk_job_free(job);
		(void) raft_persisted(r->raft, seq);
		sim_settle(sim, r);
		if (s->epoch == epoch)
			sim_start_disk(sim, event->store);
		return;
	}
	if (sim_chance(sim, sim->opt.disk_error))
	{
		/* No space, or a failed sync: the process stops [P8]. */
		sim->counts.disk_errors++;
		sim_crash(sim, event->store);
		sim_schedule(sim, sim_delay(sim, 20 * TICK_TIME),
					 (Event) {.type = EVENT_RESTART, .store = event->store});
		return;
	}
	for (DiskJob *job = s->jobs; job != NULL; job = job->next)
		jobs++;
	jobs = 1 + sim_below(sim, jobs);
	while (jobs-- > 0 && s->jobs != NULL && !sim->failed)
	{
		Replica    *r = s->jobs->replica;
		DiskJob		done = *s->jobs;
		DiskJob    *job = s->jobs;

		finish_job(sim, s);
		disk_job_free(job);
		if (sim_crash_point(sim, r) || r->raft == NULL)
			return;
		if (done.install && r->sm_applied < done.snapshot.index)
		{
			size_t		kept = 0;

			r->sm_applied = done.snapshot.index;
			for (size_t i = 0; i < r->queue_n; i++)
				if (r->queue[i].index > r->sm_applied)
					r->queue[kept++] = r->queue[i];
				else
					free(r->queue[i].bytes);
			r->queue_n = kept;
			for (size_t i = r->pending_n; i > 0; i--)
				if (!r->pending[i - 1].is_read && r->pending[i - 1].index <= r->sm_applied)
					r->pending[i - 1] = r->pending[--r->pending_n];
		}
		if (done.install)
			begin_loading(sim, r);
		while (raft_persisted(r->raft, done.seq) == VT_NOMEM)
			continue;
		sim_settle(sim, r);
		if (s->epoch != epoch)
			return;
	}
	sim_start_disk(sim, event->store);
}

static void
on_apply(Sim *sim, const Event *event)
{
	Replica    *r = event->replica;
	size_t		n;

	if (r->loading)
	{
		sim_schedule_for(sim, r, EVENT_APPLY, TICK_TIME, 0, 0);
		return;
	}
	n = r->queue_n == 0 ? 0 : 1 + sim_below(sim, (uint32_t) r->queue_n);
	r->apply_scheduled = false;
	for (size_t i = 0; i < n && !sim->failed; i++)
	{
		if (r->queue[i].index <= r->sm_applied)
			continue;
		oracle_applied(sim, r, &r->queue[i]);
		r->sm_applied = r->queue[i].index;
		sim_note(sim, r->queue[i].hash);
	}
	if (sim->guest != NULL && !sim->failed)
		sim->guest->apply(sim, r, r->queue, n);
	for (size_t i = 0; i < n; i++)
		free(r->queue[i].bytes);
	memmove(r->queue, r->queue + n, (r->queue_n - n) * sizeof(Applying));
	r->queue_n -= n;
	if (raft_applied(r->raft, r->sm_applied) != VT_OK)
		sim_fail(sim, "group %u replica %llu does not know that it handed out %llu", r->group,
				 LLU(r->id), LLU(r->sm_applied));
	sim_finish_pending(sim, r);
	if (r->queue_n > 0)
	{
		r->apply_scheduled = true;
		sim_schedule_for(sim, r, EVENT_APPLY, sim_delay(sim, sim->opt.apply_delay), 0, 0);
	}
	sim_settle(sim, r);
}

static void
on_snapshot(Sim *sim, const Event *event)
{
	Replica    *r = event->replica;
	RaftSnapshot snapshot;
	VtStatus	status;

	if (event->arg2 != 0)
	{
		raft_report_snapshot(r->raft, event->arg, event->arg2 == 1);
		sim_settle(sim, r);
		return;
	}
	if (raft_snapshot_at(r->raft, r->sm_applied, &snapshot) != VT_OK)
		return;
	oracle_snapshot(sim, r, &snapshot);
	if (sim->guest != NULL && !sim->guest->snapshot(sim, r, &snapshot))
		return;
	status = raft_send_snapshot(r->raft, event->arg, &snapshot);
	if (status == VT_OK)
		sim->counts.snapshots_sent++;
	sim_settle(sim, r);
}

static void
on_fetch(Sim *sim, const Event *event)
{
	Replica    *r = event->replica;
	RaftEntry	entries[64] = {{0}};
	size_t		n = 0;
	uint64_t	fail_in = sim->memory.fail_in;

	sim->memory.fail_in = 0;
	for (uint64_t i = event->arg; i <= event->arg2 && n < 64; i++)
		if (disk_read_entry(&r->disk, i, true, &sim->memory.vtable, &entries[n]) == VT_OK)
			n++;
	sim->memory.fail_in = fail_in;
	(void) raft_fetched(r->raft, entries, n);
	for (size_t i = 0; i < n; i++)
		raft_buf_release(entries[i].data);
	sim_settle(sim, r);
}

/*
 * One event.  Those of a store that is down or was restarted are void, those of
 * a paused one come later.
 */
bool
sim_step(Sim *sim)
{
	Event		event;
	Store	   *s;

	if (sim->heap_n == 0 || sim->failed)
		return false;
	event = pop_event(sim);
	sim->now = event.time;
	sim->counts.events++;
	s = &sim->stores[event.store];
	if (event.type != EVENT_CLIENT && event.type != EVENT_FAULT && event.type != EVENT_RESTART &&
		event.type != EVENT_GUEST && s->up && s->paused_until > sim->now)
	{
		sim_schedule(sim, s->paused_until - sim->now + sim_below(sim, 3 * TICK_TIME), event);
		return true;
	}
	if (event.type != EVENT_CLIENT && event.type != EVENT_FAULT && event.type != EVENT_RESTART &&
		event.type != EVENT_DELIVER && event.type != EVENT_GUEST &&
		(!s->up || s->epoch != event.epoch))
		return true;
	if (event.replica != NULL && (event.replica->raft == NULL || !event.replica->exists))
		return true;
	sim->memory.failures = 0;
	switch (event.type)
	{
		case EVENT_TICK:
			on_tick(sim, &event);
			break;
		case EVENT_DELIVER:
			on_deliver(sim, &event);
			free(event.packet);
			break;
		case EVENT_DISK:
			on_disk(sim, &event);
			break;
		case EVENT_APPLY:
			on_apply(sim, &event);
			break;
		case EVENT_READY:
			event.replica->ready_scheduled = false;
			sim_settle(sim, event.replica);
			break;
		case EVENT_RESTART:
			sim_restart(sim, event.store);
			break;
		case EVENT_CLIENT:
			chaos_client(sim, event.replica);
			break;
		case EVENT_FAULT:
			chaos_fault(sim);
			break;
		case EVENT_FETCH:
			on_fetch(sim, &event);
			break;
		case EVENT_SNAPSHOT:
			on_snapshot(sim, &event);
			break;
		case EVENT_LOADED:
			on_loaded(sim, event.replica);
			break;
		case EVENT_GUEST:
			sim->guest->step(sim, &event);
			break;
		case EVENT_NOTHING:
			break;
	}
	sim->counts.alloc_failures += sim->memory.failures;
	return !sim->failed;
}

/* -- Beginning and end -------------------------------------------------------------------------------- */

Sim *
sim_new(SimWorld world, FILE *trace)
{
	Sim		   *sim = must(calloc(1, sizeof(Sim)));

	sim->world = world;
	sim->guest = world.guest;
	sim->prng.state = prng_mix(world.seed + 0x517cc1b727220a95);
	sim->trace = trace;
	sim->memory.vtable = (RaftAllocator) {sim_alloc, sim_release, &sim->memory};
	for (uint32_t i = 0; i < SIM_MAX_STORES; i++)
		sim->stores[i].jobs_tail = &sim->stores[i].jobs;
	return sim;
}

void
sim_free(Sim *sim)
{
	for (size_t i = 0; i < sim->heap_n; i++)
	{
		free(sim->heap[i].packet);
		if (sim->heap[i].type == EVENT_GUEST)
			sim->guest->drop(sim->heap[i].guest);
	}
	free(sim->heap);
	for (uint32_t i = 0; i < SIM_MAX_STORES; i++)
		while (sim->stores[i].jobs != NULL)
		{
			DiskJob    *job = sim->stores[i].jobs;

			sim->stores[i].jobs = job->next;
			disk_job_free(job);
		}
	for (uint32_t g = 0; g < SIM_MAX_GROUPS; g++)
	{
		Group	   *group = &sim->groups[g];

		for (uint32_t i = 0; i < group->replicas_n; i++)
		{
			Replica    *r = &group->replicas[i];

			drop_volatile(sim, r);
			disk_free(&r->disk);
			free(r->queue);
			free(r->pending);
			free(r->chain);
		}
		oracle_free(group);
	}
	if (sim->guest != NULL)
		sim->guest->end(sim);
	free(sim);
}
