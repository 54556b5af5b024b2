/*-------------------------------------------------------------------------
 *
 * shard_machine.c
 *	  A shard's life in a replica, and what a worker answers about it.
 *
 * The machine is src/worker's: shard_open(), shard_apply(), its checkpoint.
 * What a worker checks at its door (src/worker/serve.c) is small and tied to its
 * threads; it stands here again, in machine_answer().
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

#include "../../src/worker/door.h"

#define LLU(x) ((unsigned long long) (x))

/* A command or a read of somebody's, until it is known what became of it. */
typedef struct Waiting
{
	uint64_t	index;			/* of the command; 0: a read */
	uint64_t	term;
	uint64_t	cookie;			/* of the read */
	uint64_t	asked;			/* a read whose index the leader has to say: the question's number */
	uint64_t	until;			/* ... as it did: to be applied first */
	ShardMessage question;		/* without the command */
} Waiting;

typedef struct Machine
{
	Shard	   *shard;
	uint64_t	whole_at;		/* says nothing before it has replayed so far */
	Waiting    *waiting;
	size_t		n;
	size_t		size;
	Heir	   *heir;			/* a child's rows being made */
	uint32_t	heir_group;
	Prepared	prepared;		/* ... before there is a child */
	Sim		   *sim;
	const Replica *replica;
} Machine;

void
machine_directory(const Replica *r, char out[32])
{
	snprintf(out, 32, "s%u.g%u.r%llu", r->store, r->group, LLU(r->id));
}

static void
path_of(const Sim *sim, const Replica *r, char out[64])
{
	char		directory[32];

	machine_directory(r, directory);
	snprintf(out, 64, "%s/%016llx", directory, LLU(shard_world(sim)->descs[r->group].shard));
}

void
machine_enter(Sim *sim, const Replica *r)
{
	model_store_enter(shard_world(sim)->boot[r->store] + 1, &sim->prng);
}

/*
 * Whoever is told of a split may begin with the child before apply goes on, and has
 * to find its rows: the entry's batch is written, which has the puts before it, too.
 */
static void
told_of_split(void *arg)
{
	Machine    *m = arg;
	ShardChild	child;
	char		path[64];
	Buf			rows;
	Cursor		c;
	size_t		written = 0;
	size_t		told = 0;

	path_of(m->sim, m->replica, path);
	rows = model_store_read(path, bytes_of("c", 1), bytes_of("d", 1));
	for (c = cursor_of(buf_bytes(&rows)); cursor_left(&c) > 0; written++)
	{
		(void) cursor_string(&c);
		(void) cursor_string(&c);
	}
	buf_free(&rows);
	while (shard_child(m->shard, told, &child))
		told++;
	if (told == 0 || told > written)
		sim_fail(m->sim, "[D1] group %u replica %llu is told of %zu splits, and %zu are written", m->replica->group,
				 LLU(m->replica->id), told, written);
}

/* -- Opening, closing -------------------------------------------------------------- */

static void
create_store(Sim *sim, const Replica *r, const char *path)
{
	StoreOptions options = {0};
	/* Who joins applies all there is in the log: its interval is that of the beginning. */
	WireShardDesc desc = vt_broken("D1-joiner") ? shard_world(sim)->descs[r->group] :
		shard_world(sim)->born[r->group];
	StoreBatch *batch = store_batch_new();
	uint8_t		number[8];
	Buf			value = {0};
	Store	   *store;

	desc.base_index = r->disk.base.index;
	put_le64(number, r->id);
	store_batch_put(batch, bytes_of("i", 1), bytes_of(number, sizeof(number)));
	wire_desc_put(&value, &desc);
	store_batch_put(batch, bytes_of("d", 1), buf_bytes(&value));
	if (store_open(path, &options, &store, NULL) != VT_OK || store_write(store, batch, true, NULL) != VT_OK)
		abort();
	store_batch_free(batch);
	buf_free(&value);
}

static void
trace_machine(Sim *sim, const Replica *r, size_t commands, uint64_t applied)
{
	const Machine *m = r->guest;
	const ShardRow *rows;
	size_t		n = shard_records(m->shard->records, &rows);
	char		text[200] = "";
	int			len = 0;

	for (size_t i = 0; i < n && len < 180; i++)
		len += snprintf(text + len, sizeof(text) - (size_t) len, " %d:%d@%llu", rows[i].tid, rows[i].row,
						LLU(rows[i].version));
	sim_trace(sim, "g%u %llu machine at %llu after %zu commands, whole at %llu, fence=%llu%s", r->group,
			  LLU(r->id), LLU(applied), commands, LLU(m->whole_at), LLU(atomic_load(&m->shard->fence)),
			  text);
}

uint64_t
machine_open(Sim *sim, Replica *r)
{
	Machine    *m = vt_alloc0(sizeof(Machine));
	char		directory[32];
	char		path[64];
	uint64_t	replay = 0;
	VtError		err = {0};

	machine_directory(r, directory);
	path_of(sim, r, path);
	machine_enter(sim, r);
	if (model_store_exists(path))
		COUNT(sim, replays);
	else
		create_store(sim, r, path);
	if (shard_open(directory, shard_world(sim)->descs[r->group].shard, false, &m->shard, &replay, &err) != VT_OK)
	{
		sim_fail(sim, "group %u replica %llu: its machine does not open: %s", r->group, LLU(r->id), err.msg);
		free(m);
		return r->disk.base.index;
	}
	m->whole_at = m->shard->newest;
	if (r->sm_applied > replay)
		sim->counts.lost_applied += r->sm_applied - replay;
	if (m->whole_at > replay)
		COUNT(sim, replays_over_holes);
	m->sim = sim;
	m->replica = r;
	m->shard->on_split = told_of_split;
	m->shard->on_split_arg = m;
	r->guest = m;
	if (sim->trace != NULL)
		trace_machine(sim, r, 0, replay);
	return replay;
}

void
machine_close(Sim *sim, Replica *r)
{
	Machine    *m = r->guest;

	if (m->heir != NULL)
	{
		heir_drop(m->heir);
		shard_world(sim)->maker[m->heir_group][r->store] = NULL;
		COUNT(sim, heirs_dropped);
	}
	machine_forget_prepared(sim, r);
	shard_close(m->shard);
	free(m->waiting);
	free(m);
	r->guest = NULL;
}

bool
machine_is_open(const Replica *r)
{
	return r->exists && r->raft != NULL && r->guest != NULL;
}

void
machine_destroy(Sim *sim, Replica *r)
{
	char		path[64];

	path_of(sim, r, path);
	model_store_forget(path);
}

/*
 * A store went down.  Either its process died, and what was written is there; or
 * the power failed, and what was not synced may be gone.
 */
void
machine_crash(Sim *sim, uint32_t store)
{
	ShardWorld *w = shard_world(sim);
	uint64_t	lost = model_store_lost();
	char		path[64];

	if (sim_below(sim, 2) == 0)
	{
		w->counts.process_deaths++;
		return;
	}
	w->counts.power_losses++;
	w->boot[store]++;
	for (uint32_t g = 0; g < sim->opt.groups; g++)
		for (uint32_t i = 0; i < sim->groups[g].replicas_n; i++)
		{
			const Replica *r = &sim->groups[g].replicas[i];

			if ((!r->exists && !r->awaited) || r->store != store)
				continue;
			path_of(sim, r, path);
			model_store_lose_power(path, &sim->prng, w->harsh);
		}
	w->counts.lost_store_batches += model_store_lost() - lost;
	sim_trace(sim, "store %u lost its power, and %llu batches of rows", store,
			  LLU(model_store_lost() - lost));
}

/* -- Answers ------------------------------------------------------------------------- */

static ShardMessage
reply_head(const Replica *r, const ShardMessage *question, VtStatus status)
{
	const Machine *m = r->guest;
	ShardMessage reply = *question;

	memset(&reply.command, 0, sizeof(reply.command));
	reply.answer = true;
	reply.status = status;
	reply.first = m->shard->desc.first;
	reply.last = m->shard->desc.last;
	reply.fence = atomic_load(&m->shard->fence);
	reply.index = r->sm_applied;
	reply.n = 0;
	reply.repeated = false;
	return reply;
}

static void
answer(Sim *sim, const Replica *r, const ShardMessage *question, VtStatus status)
{
	ShardMessage reply = reply_head(r, question, status);

	net_send(sim, &reply);
}

/* The next k of those that did not come before, in their order. */
static void
take_batch(ShardMessage *reply, const ShardRow *rows)
{
	size_t		n = reply->n;

	reply->n = 0;
	reply->exhausted = true;
	for (size_t i = 0; i < n && reply->exhausted; i++)
	{
		if (reply->excluded & (1u << rows[i].tid))
			continue;
		if (reply->k > 0 && reply->n == reply->k)
			reply->exhausted = false;
		else
			reply->rows[reply->n++] = rows[i];
	}
}

/* Those of an interval: records of a child may be there, which are lent. */
static size_t
rows_of(const Shard *shard, const ShardSpan *view, ShardRow out[MAX_TIDS])
{
	const ShardRow *rows;
	size_t		n = shard_records(shard->records, &rows);
	size_t		kept = 0;

	if (n > MAX_TIDS)
		abort();
	for (size_t i = 0; i < n; i++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		uint64_t	place = wire_place(&shard->desc, shard_id_of(rows[i].tid, id));

		if (place >= view->first && place <= view->last)
			out[kept++] = rows[i];
	}
	return kept;
}

static void
answer_rows(Sim *sim, Replica *r, const ShardMessage *question, uint64_t index)
{
	const Machine *m = r->guest;
	ShardMessage reply = reply_head(r, question, VT_OK);
	ShardRow	rows[MAX_TIDS];
	ShardSpan	view;

	/* It was split while the question waited for an index. */
	if (!shard_view(m->shard, question->route.shard, question->route.range_ver, &view) ||
		(view.lent != 0 && question->kind != ASK_SEARCH))
	{
		answer(sim, r, question, VT_WRONG_SHARD);
		return;
	}
	reply.index = view.base != 0 ? view.base : index;
	reply.first = view.first;
	reply.last = view.last;
	reply.lagged = r->sm_applied < sim->groups[r->group].committed_last;
	reply.n = rows_of(m->shard, &view, rows);
	shard_world(sim)->counts.lent_halves += view.lent != 0 && view.base == 0;
	shard_world(sim)->counts.lent_children += view.base != 0;
	truth_answered(sim, r, m->shard);
	if (question->kind == ASK_SEARCH)
		take_batch(&reply, rows);
	else if (reply.n > 0)
		memcpy(reply.rows, rows, reply.n * sizeof(ShardRow));
	net_send(sim, &reply);
}

/* Of what is lent: a search at a mark, and no more. */
static void
answer_lent(Sim *sim, Replica *r, const ShardMessage *q, const ShardSpan *view)
{
	uint64_t	stands = view->base != 0 ? view->base : r->sm_applied;

	if (q->kind != ASK_SEARCH)
		answer(sim, r, q, view->base != 0 ? VT_NOT_LEADER : VT_WRONG_SHARD);
	else if (door_lent(WIRE_AT_MARK, q->mark, stands) == DOOR_SERVE)
		answer_rows(sim, r, q, stands);
	else
		answer(sim, r, q, VT_BEHIND);
}

/* The record that was asked for, as it is here. */
static void
answer_get(Sim *sim, Replica *r, const ShardMessage *question, uint64_t index)
{
	ShardMessage reply = reply_head(r, question, VT_OK);
	const ShardRow *rows;
	Shard	   *shard = machine_shard(r);
	size_t		n = shard_records(shard->records, &rows);
	uint8_t		id[WIRE_TID_SIZE];

	/*
	 * D1: it was split while the question waited; or whoever asks knows the new version
	 * and not the new interval.
	 */
	if (question->route.range_ver != shard->desc.range_ver ||
		(!shard_owns(shard, shard_id_of(question->tid, id)) && !vt_broken("D1-get")))
	{
		answer(sim, r, question, VT_WRONG_SHARD);
		return;
	}
	truth_answered(sim, r, shard);
	reply.index = index;
	for (size_t i = 0; i < n; i++)
		if (rows[i].tid == question->tid)
			reply.rows[reply.n++] = rows[i];
	net_send(sim, &reply);
}

static void
wait_for(Machine *m, const ShardMessage *question, uint64_t index, uint64_t term, uint64_t cookie)
{
	Waiting    *w;

	if (m->n == m->size)
	{
		m->size = m->size ? m->size * 2 : 16;
		m->waiting = vt_realloc(m->waiting, m->size * sizeof(Waiting));
	}
	w = &m->waiting[m->n++];
	*w = (Waiting) {.index = index, .term = term, .cookie = cookie, .question = *question};
	memset(&w->question.command, 0, sizeof(Buf));
}

bool
machine_is_whole(const Replica *r)
{
	const Machine *m = r->guest;

	return r->sm_applied >= m->whole_at;
}

Shard *
machine_shard(const Replica *r)
{
	return ((Machine *) r->guest)->shard;
}

struct Heir **
machine_heir(const Replica *r, uint32_t **group)
{
	Machine    *m = r->guest;

	*group = &m->heir_group;
	return &m->heir;
}

Prepared *
machine_prepared(const Replica *r)
{
	return &((Machine *) r->guest)->prepared;
}

void
machine_forget_prepared(Sim *sim, const Replica *r)
{
	Prepared   *prepared = machine_prepared(r);

	if (prepared->heir == NULL)
		return;
	(void) heir_go_on(prepared->heir, machine_shard(r), NULL);
	heir_drop(prepared->heir);
	prepared->heir = NULL;
	COUNT(sim, heirs_in_vain);
}

/* Before its log was replayed beyond what its rows have seen it says nothing. */
static bool
is_whole(const Replica *r)
{
	const Machine *m = r->guest;

	return r->sm_applied >= m->whole_at || vt_broken("S3-whole");
}

static void
take_write(Sim *sim, Replica *r, ShardMessage *q)
{
	Machine    *m = r->guest;
	uint64_t	fail_in = sim->memory.fail_in;
	WireWrite	write;
	RaftBuf    *buf;
	uint64_t	index;
	uint64_t	term;
	VtStatus	status;

	if (wire_write_get(buf_bytes(&q->command), &write, NULL) != VT_OK)
	{
		sim_fail(sim, "a command does not decode");
		return;
	}
	if ((write.type == WRITE_PUT || write.type == WRITE_DELETE) &&
		write.fence < atomic_load(&m->shard->fence) && !vt_broken("W6-fence"))
	{
		COUNT(sim, fenced_out);
		answer(sim, r, q, VT_FENCED);
		return;
	}
	sim->memory.fail_in = 0;
	buf = raft_buf_new(&sim->memory.vtable, q->command.data, (uint32_t) q->command.len);
	sim->memory.fail_in = fail_in;
	status = raft_propose(r->raft, &buf, 1, &index, &term);
	raft_buf_release(buf);
	if (status != VT_OK)
	{
		answer(sim, r, q, status);
		return;
	}
	sim->counts.proposed++;
	if (vt_broken("S1-applied"))
	{
		ShardMessage reply = reply_head(r, q, VT_OK);

		sim->groups[r->group].finished++;

		reply.index = index;
		reply.took = true;
		net_send(sim, &reply);
		return;
	}
	wait_for(m, q, index, term, 0);
}

/* Something for the log that nobody waits for. */
void
machine_propose(Sim *sim, Replica *r, Bytes command)
{
	uint64_t	fail_in = sim->memory.fail_in;
	RaftBuf    *buf;
	uint64_t	index;
	uint64_t	term;

	sim->memory.fail_in = 0;
	buf = raft_buf_new(&sim->memory.vtable, command.data, (uint32_t) command.len);
	sim->memory.fail_in = fail_in;
	if (raft_propose(r->raft, &buf, 1, &index, &term) == VT_OK)
		sim->counts.proposed++;
	raft_buf_release(buf);
	sim_settle(sim, r);
}

/* -- Linearizable reads away from the leader ------------------------------------------ */

static bool
is_leader(const Replica *r)
{
	RaftStatus	status;

	raft_get_status(r->raft, &status);
	return status.role == RAFT_LEADER;
}

static void
ask_leader(Sim *sim, Replica *r, const ShardMessage *q)
{
	Machine    *m = r->guest;
	ShardMessage question = *q;
	RaftStatus	status;

	raft_get_status(r->raft, &status);
	if (status.leader == 0 || status.leader == r->id)
	{
		answer(sim, r, q, VT_NOT_LEADER);
		return;
	}
	if (vt_broken("RI-ask"))
	{
		answer_get(sim, r, q, r->sm_applied);
		return;
	}
	memset(&question.command, 0, sizeof(Buf));
	question.kind = ASK_INDEX;
	question.request = ++shard_world(sim)->next_request;
	question.client = 0;
	question.asker = r->id;
	question.replica = status.leader;
	wait_for(m, q, 0, 0, 0);
	m->waiting[m->n - 1].asked = question.request;
	net_send(sim, &question);
}

/* Reads that the leader has said an index for, and that this replica has reached. */
static void
serve_reached(Sim *sim, Replica *r)
{
	Machine    *m = r->guest;

	for (size_t i = m->n; i-- > 0;)
	{
		Waiting		w = m->waiting[i];

		if (w.until == 0 || (w.until > r->sm_applied && !vt_broken("RI-wait")))
			continue;
		m->waiting[i] = m->waiting[--m->n];
		COUNT(sim, follower_reads);
		answer_get(sim, r, &w.question, w.until);
	}
}

/* The leader's answer. */
void
machine_take_index(Sim *sim, Replica *r, const ShardMessage *m)
{
	Machine    *machine = r->guest;

	for (size_t i = 0; i < machine->n; i++)
	{
		Waiting    *w = &machine->waiting[i];

		if (w->asked == 0 || w->asked != m->request)
			continue;
		w->asked = 0;
		w->until = m->index;
		if (m->status != VT_OK)
		{
			ShardMessage question = w->question;

			*w = machine->waiting[--machine->n];
			answer(sim, r, &question, VT_NOT_LEADER);
			return;
		}
	}
	serve_reached(sim, r);
}

/* A request has arrived. */
void
machine_answer(Sim *sim, Replica *r, ShardMessage *q)
{
	Machine    *m = r->guest;
	Shard	   *shard = m->shard;
	Pending    *p;
	ShardSpan	view;
	bool		found = shard_view(shard, q->route.shard, q->route.range_ver, &view);

	if (!found && q->route.shard != shard->desc.shard)
		answer(sim, r, q, VT_WRONG_SHARD);
	else if (!vt_id_equal(&q->route.generation, &shard->desc.generation))
		answer(sim, r, q, VT_UNKNOWN_GENERATION);
	else if (!wire_owner_equal(&q->route.owner, &shard->desc.owner) && !vt_broken("W7-owner"))
	{
		COUNT(sim, foreign_refused);
		answer(sim, r, q, VT_NOT_OWNER);
	}
	else if (!found)
	{
		COUNT(sim, misrouted);
		answer(sim, r, q, VT_WRONG_SHARD);
	}
	else if (!is_whole(r))
		answer(sim, r, q, VT_BUSY);
	else if (view.lent != 0)
		answer_lent(sim, r, q, &view);
	else if (q->kind == ASK_GET && door_search(q->consistency, 0, r->sm_applied, false) == DOOR_SERVE)
		answer_get(sim, r, q, r->sm_applied);
	else if (q->kind == ASK_GET && !is_leader(r))
		ask_leader(sim, r, q);
	else if (q->kind == ASK_WRITE)
		take_write(sim, r, q);
	else if (q->kind == ASK_SEARCH && door_search(WIRE_AT_MARK, q->mark, r->sm_applied, false) == DOOR_BEHIND)
	{
		COUNT(sim, behind);
		answer(sim, r, q, VT_BEHIND);
	}
	else if (q->kind == ASK_SEARCH || q->anywhere)
		answer_rows(sim, r, q, r->sm_applied);
	else
	{
		Group	   *group = &sim->groups[r->group];
		uint64_t	cookie = ++group->next_cookie;
		VtStatus	status = raft_read(r->raft, cookie);

		if (status != VT_OK)
		{
			answer(sim, r, q, status);
			return;
		}
		p = chaos_add_pending(r);
		p->is_read = true;
		p->cookie = cookie;
		wait_for(m, q, 0, 0, cookie);
	}
	sim_settle(sim, r);
}

/* A read's index is known and applied. */
void
machine_read(Sim *sim, Replica *r, const Pending *p)
{
	Machine    *m = r->guest;

	for (size_t i = 0; i < m->n; i++)
		if (m->waiting[i].index == 0 && m->waiting[i].cookie == p->cookie)
		{
			ShardMessage question = m->waiting[i].question;

			m->waiting[i] = m->waiting[--m->n];
			sim->groups[r->group].finished++;
			sim->groups[r->group].reads_finished++;
			sim->counts.reads++;
			if (question.kind == ASK_GET)
				answer_get(sim, r, &question, p->index);
			else if (question.kind == ASK_INDEX)
			{
				ShardMessage reply = reply_head(r, &question, VT_OK);

				reply.index = p->index;
				net_send(sim, &reply);
			}
			else
				answer_rows(sim, r, &question, p->index);
			return;
		}
}

/* -- Applying ------------------------------------------------------------------------- */

/* A put of a transaction that is over was applied: what the fence is there for. */
static void
count_command(Sim *sim, const ReplicaCommand *command, const WireWriteResult *result)
{
	ShardWorld *w = shard_world(sim);
	WireWrite	write;
	WireRecord	record;
	size_t		at = 0;

	if (wire_write_get(command->bytes, &write, NULL) != VT_OK)
		return;
	w->counts.fenced_out += command->status == VT_FENCED;
	if (command->status != VT_OK)
		return;
	w->counts.deletes_hit += write.type == WRITE_DELETE ? result->done : 0;
	while (write.type == WRITE_PUT && wire_record_next(&write, &at, &record))
	{
		int			row = shard_row_of(record.vector);

		w->counts.puts++;
		if (row < w->rows_n && !heap_is_active(&w->servers[0], w->rows[row].txn) &&
			!heap_is_active(&w->servers[1], w->rows[row].txn))
			w->counts.late_puts++;
	}
}

static void
tell_waiting(Sim *sim, Replica *r, const ReplicaCommand *command, const WireWriteResult *result)
{
	Machine    *m = r->guest;

	for (size_t i = m->n; i-- > 0;)
	{
		Waiting    *w = &m->waiting[i];
		ShardMessage reply;

		if (w->index != command->index)
			continue;
		reply = reply_head(r, &w->question, w->term == command->term ? command->status : VT_UNAVAILABLE);
		reply.index = command->index;
		reply.took = result->took != 0;
		reply.repeated = result->repeated;
		if (result->repeated)
		{
			reply.index = result->index;
			reply.first = result->first;
			reply.last = result->last;
		}
		*w = m->waiting[--m->n];
		sim->groups[r->group].finished++;
		sim->counts.written++;
		count_command(sim, command, result);
		net_send(sim, &reply);
	}
}

static void
apply_batch(Sim *sim, Replica *r, const Applying *entries, size_t n)
{
	Machine    *m = r->guest;
	ReplicaCommand commands[8];
	size_t		k = 0;
	VtError		err = {0};

	memset(commands, 0, sizeof(commands));
	for (size_t i = 0; i < n; i++)
		if (entries[i].bytes != NULL)
		{
			commands[k].index = entries[i].index;
			commands[k].term = entries[i].term;
			commands[k++].bytes = bytes_of(entries[i].bytes, entries[i].len);
		}
	machine_enter(sim, r);
	if (shard_apply(m->shard, commands, k, entries[n - 1].index, &err) != VT_OK)
		sim_fail(sim, "group %u replica %llu cannot apply %llu: %s", r->group, LLU(r->id),
				 LLU(entries[n - 1].index), err.msg);
	for (size_t i = 0; i < k; i++)
	{
		WireWriteResult result = {0};
		WireWrite	write;

		if (wire_write_result_get(buf_bytes(&commands[i].reply), &result) != VT_OK ||
			(result.index != commands[i].index && !result.repeated))
			sim_fail(sim, "group %u replica %llu answers %llu wrongly", r->group, LLU(r->id),
					 LLU(commands[i].index));
		truth_decided(sim, r, commands[i].index, commands[i].status, result.took | result.repeated << 1);
		if (wire_write_get(commands[i].bytes, &write, NULL) != VT_OK)
			abort();
		if (commands[i].status == VT_OK)
			session_decided(sim, r, &write, commands[i].index, &result);
		shard_world(sim)->counts.repeats += result.repeated;
		shard_world(sim)->counts.repeats_by_children += result.repeated && result.index <= sim->groups[r->group].base;
		shard_world(sim)->counts.bulk_loads_late += write.type == WRITE_INGEST_BEGIN && commands[i].status == VT_INVALID;
		shard_world(sim)->counts.expiries += write.type == WRITE_EXPIRE;
		if (write.type == WRITE_SPLIT)
		{
			if (commands[i].status == VT_OK)
				split_applied(sim, r, &write, commands[i].index);
			else
				COUNT(sim, splits_refused);
		}
		tell_waiting(sim, r, &commands[i], &result);
		buf_free(&commands[i].reply);
	}
	if (sim->trace != NULL)
		trace_machine(sim, r, k, entries[n - 1].index);
	truth_applied(sim, r, m->shard, entries[n - 1].index, entries[n - 1].index >= m->whole_at);
}

/* A batch that ends with a split leaves the sessions as the split does. */
static size_t
up_to_split(const Applying *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (entries[i].bytes != NULL && entries[i].len > 1 && entries[i].bytes[1] == WRITE_SPLIT)
			return i + 1;
	return n;
}

/* What raft.h hands out, in batches of the machine's own. */
void
machine_apply(Sim *sim, Replica *r, const Applying *entries, size_t n)
{
	Machine    *m = r->guest;
	char		path[64];
	size_t		i = 0;

	while (i < n && entries[i].index <= m->shard->applied)
		i++;
	while (i < n && !sim->failed)
	{
		size_t		some = 1 + sim_below(sim, 4);

		if (some > n - i)
			some = n - i;
		if (sim->world.sessions)
			some = up_to_split(entries + i, some);
		apply_batch(sim, r, entries + i, some);
		i += some;
		/* LevelDB writes a table when it gets round to it. */
		if (sim_below(sim, 8) == 0)
		{
			path_of(sim, r, path);
			model_store_compact(path);
		}
	}
	if (!sim->failed)
		serve_reached(sim, r);
	if (!sim->failed)
		truth_look(sim);
}

uint64_t
machine_checkpoint(Sim *sim, Replica *r)
{
	Machine    *m = r->guest;
	ReplicaMachine machine = shard_machine(m->shard);
	uint64_t	index = 0;

	machine_enter(sim, r);
	if (machine.checkpoint(machine.state, &index, NULL) != VT_OK)
		abort();
	COUNT(sim, checkpoints);
	return index;
}

/* -- Snapshots --------------------------------------------------------------------------- */

/* What src/worker sends, into the world's memory; the message carries its number. */
bool
machine_snapshot(Sim *sim, Replica *r, RaftSnapshot *snapshot)
{
	ShardWorld *w = shard_world(sim);
	const Machine *m = r->guest;
	ShardSnapshot *s;
	void	   *stream;
	uint64_t	index;
	bool		last = false;

	if (shard_snapshot_open(m->shard, &stream, &index, NULL) != VT_OK)
		return false;
	if (index != snapshot->index)
	{
		shard_snapshot_close(stream);
		return false;
	}
	s = vt_alloc0(sizeof(ShardSnapshot));
	while (!last)
	{
		Buf			chunk = {0};

		if (shard_snapshot_read(stream, 1 + sim_below(sim, 200), &chunk, &last, NULL) != VT_OK)
			abort();
		buf_put(&s->rows, chunk.data, chunk.len);
		buf_free(&chunk);
	}
	shard_snapshot_close(stream);
	s->id = ++w->next_snapshot;
	s->next = w->snapshots;
	w->snapshots = s;
	snapshot->id = s->id;
	w->counts.snapshots_read++;
	return true;
}

/*
 * In the place of what was there, as a checkpoint of this replica's: all of it
 * durable at once with the new base of the log.  (That a crash between any two
 * steps of it is finished at the start is test/unit/worker_transfer.c.)
 */
void
machine_install(Sim *sim, Replica *r, const RaftSnapshot *snapshot)
{
	ShardWorld *w = shard_world(sim);
	const ShardSnapshot *s = w->snapshots;
	StoreOptions options = {.must_exist = true};
	StoreBatch *batch = store_batch_new();
	uint8_t		number[8];
	char		path[64];
	Store	   *store;
	ShardChild	child;

	while (s != NULL && s->id != snapshot->id)
		s = s->next;
	if (s == NULL)
	{
		sim_fail(sim, "group %u replica %llu installs a snapshot without data", r->group, LLU(r->id));
		return;
	}
	machine_enter(sim, r);
	if (r->guest != NULL)
		machine_close(sim, r);
	path_of(sim, r, path);
	model_store_replace(path, buf_bytes(&s->rows));
	put_le64(number, r->id);
	store_batch_put(batch, bytes_of("i", 1), bytes_of(number, sizeof(number)));
	if (store_open(path, &options, &store, NULL) != VT_OK ||
		shard_write_marker(store, batch, snapshot->index, snapshot->index, NULL) != VT_OK)
		abort();
	store_batch_free(batch);
	w->counts.snapshots_kept++;
	if (machine_open(sim, r) != snapshot->index && !sim->failed)
		sim_fail(sim, "group %u replica %llu does not stand where its snapshot was taken", r->group,
				 LLU(r->id));
	for (size_t i = 0; r->guest != NULL && shard_child(machine_shard(r), i, &child); i++)
	{
		w->counts.owed_by_snapshot += child.owed;
		/* D1: the frozen rows came for a purpose. */
		if (child.owed && vt_broken("D1-owed"))
			(void) shard_settle(machine_shard(r), child.desc.shard, NULL);
	}
}
