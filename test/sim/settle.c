/*-------------------------------------------------------------------------
 *
 * settle.c
 *	  The caller's loop of raft.h, with a crash between any two of its steps.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#define LLU(x) ((unsigned long long) (x))

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

bool
sim_crash_point(Sim *sim, Replica *r)
{
	if (!sim_chance(sim, sim->opt.crash_point))
		return false;
	sim->counts.crash_points++;
	sim_crash(sim, r->store);
	sim_schedule(sim, sim_delay(sim, 20 * TICK_TIME),
				 (Event) {.type = EVENT_RESTART, .store = r->store});
	return true;
}

static void
send_messages(Sim *sim, Replica *r, const RaftReady *rd)
{
	for (size_t i = 0; i < rd->messages_n && !sim->failed; i++)
	{
		oracle_sending(sim, r, &rd->messages[i]);
		sim_send(sim, r, &rd->messages[i]);
	}
}

void
sim_start_disk(Sim *sim, uint32_t store)
{
	Store	   *s = &sim->stores[store];
	uint64_t	delay = sim_delay(sim, sim->opt.disk_delay);

	if (s->disk_busy || s->jobs == NULL)
		return;
	if (sim_chance(sim, sim->opt.disk_stall))
		delay += sim_below(sim, 40 * TICK_TIME);
	s->disk_busy = true;
	sim_schedule(sim, delay, (Event) {.type = EVENT_DISK, .store = store, .epoch = s->epoch});
}

static void
start_write(Sim *sim, Replica *r, const RaftReady *rd)
{
	Store	   *s = &sim->stores[r->store];
	DiskJob    *job;

	if (rd->seq == 0)
		return;
	oracle_appended(sim, r, rd);
	if (rd->truncate_from != 0)
		sim->counts.truncations++;
	sim_trace(sim, "g%u %llu write seq=%llu term=%llu vote=%llu%s entries=%zu last=%llu",
			  r->group, LLU(r->id), LLU(rd->seq), LLU(rd->hard.term), LLU(rd->hard.vote),
			  rd->snapshot != NULL ? " install" : "", rd->append_n, LLU(rd->hard.last_index));
	job = disk_job_new(r, rd);
	*s->jobs_tail = job;
	s->jobs_tail = &job->next;
	sim_start_disk(sim, r->store);
}

static void
queue_committed(Sim *sim, Replica *r, const RaftReady *rd)
{
	for (size_t i = 0; i < rd->committed_n; i++)
	{
		const RaftEntry *e = &rd->committed[i];
		RaftEntry	read = {0};
		Applying   *slot;

		if (r->queue_n == r->queue_size)
		{
			r->queue_size = r->queue_size == 0 ? 16 : r->queue_size * 2;
			r->queue = must(realloc(r->queue, r->queue_size * sizeof(Applying)));
		}
		slot = &r->queue[r->queue_n++];
		slot->index = e->index;
		slot->term = e->term;
		if (e->size > 0 && e->data == NULL)
		{
			uint64_t	fail_in = sim->memory.fail_in;

			/* Not resident: the log on disk must have it [P4]. */
			sim->memory.fail_in = 0;
			if (disk_read_entry(&r->disk, e->index, true, &sim->memory.vtable, &read) != VT_OK)
				sim_fail(sim, "[7] group %u replica %llu is to apply %llu, which is not on disk",
						 r->group, LLU(r->id), LLU(e->index));
			sim->memory.fail_in = fail_in;
			e = &read;
		}
		slot->hash = sim_entry_hash(e->type, e->data != NULL ? e->data->data : NULL, e->size);
		slot->bytes = NULL;
		slot->len = e->size;
		if (sim->guest != NULL && e->type == RAFT_COMMAND && e->data != NULL)
		{
			slot->bytes = must(malloc(e->size + 1));
			memcpy(slot->bytes, e->data->data, e->size);
		}
		raft_buf_release(read.data);
	}
	if (r->queue_n > 0 && !r->apply_scheduled)
	{
		r->apply_scheduled = true;
		sim_schedule_for(sim, r, EVENT_APPLY, sim_delay(sim, sim->opt.apply_delay), 0, 0);
	}
}

/* Operations whose index has been applied are done. */
void
sim_finish_pending(Sim *sim, Replica *r)
{
	size_t		kept = 0;

	for (size_t i = 0; i < r->pending_n; i++)
	{
		Pending    *p = &r->pending[i];

		if (p->is_read ? p->index != 0 && (p->index <= r->sm_applied || SIM_BUG(15)) :
			p->index <= r->sm_applied)
			chaos_finish(sim, r, p);
		else
			r->pending[kept++] = *p;
	}
	r->pending_n = kept;
}

static void
take_reads(Sim *sim, Replica *r, const RaftReady *rd)
{
	for (size_t i = 0; i < rd->reads_n; i++)
	{
		size_t		k = 0;

		while (k < r->pending_n &&
			   !(r->pending[k].is_read && r->pending[k].cookie == rd->reads[i].cookie &&
				 r->pending[k].index == 0))
			k++;
		if (k == r->pending_n)
		{
			sim_fail(sim, "group %u replica %llu answers a read nobody asked", r->group, LLU(r->id));
			return;
		}
		if (rd->reads[i].index == 0)
		{
			sim->counts.reads_failed++;
			r->pending[k] = r->pending[--r->pending_n];
		}
		else
			r->pending[k].index = rd->reads[i].index;
	}
	sim_finish_pending(sim, r);
}

static void
take_requests(Sim *sim, Replica *r, const RaftReady *rd)
{
	for (size_t i = 0; i < rd->snapshots_to_n; i++)
		sim_schedule_for(sim, r, EVENT_SNAPSHOT, sim_delay(sim, 2 * sim->opt.delay),
					 rd->snapshots_to[i], 0);
	if (rd->fetch.first != 0)
	{
		sim->counts.fetches++;
		sim_schedule_for(sim, r, EVENT_FETCH, sim_delay(sim, sim->opt.disk_delay), rd->fetch.first,
					 rd->fetch.last);
	}
	if (rd->role_changed)
		sim_trace(sim, "g%u %llu is %s term=%llu leader=%llu", r->group, LLU(r->id),
				  raft_role_name(rd->role), LLU(rd->term), LLU(rd->leader));
}

/*
 * Do what the replica asks for, until it asks for nothing more.
 */
void
sim_settle(Sim *sim, Replica *r)
{
	RaftReady	rd;
	bool		messages_first;
	int			rounds = 0;

	if (r->raft == NULL || sim->failed)
		return;
	if (sim_chance(sim, sim->opt.lazy_ready))
	{
		/* Other events come in before the loop gets round to this replica. */
		oracle_look(sim, r, !raft_has_ready(r->raft));
		if (!r->ready_scheduled)
		{
			r->ready_scheduled = true;
			sim_schedule_for(sim, r, EVENT_READY, sim_delay(sim, sim->opt.delay), 0, 0);
		}
		return;
	}
	while (raft_has_ready(r->raft) && !sim->failed)
	{
		if (++rounds > 1000)
		{
			sim_fail(sim, "group %u replica %llu never comes to rest", r->group, LLU(r->id));
			return;
		}
		if (raft_ready(r->raft, &rd) != VT_OK)
			continue;			/* no memory this time */
		messages_first = sim_chance(sim, 500);
		if (sim_crash_point(sim, r))
			return;
		if (messages_first)
		{
			send_messages(sim, r, &rd);
			if (sim_crash_point(sim, r))
				return;
		}
		start_write(sim, r, &rd);
		if (!messages_first)
		{
			if (sim_crash_point(sim, r))
				return;
			send_messages(sim, r, &rd);
		}
		queue_committed(sim, r, &rd);
		take_requests(sim, r, &rd);
		take_reads(sim, r, &rd);
		if (rd.gone)
		{
			oracle_gone(sim, r);
			sim->counts.peers_gone++;
			sim_destroy_replica(sim, r);
			return;
		}
	}
	oracle_look(sim, r, true);
}
