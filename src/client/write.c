/*-------------------------------------------------------------------------
 *
 * write.c
 *	  Putting and deleting records.
 *
 * Records are grouped by shard and sent in commands of at most 1 MiB, up to
 * four of them under way to each shard.  Work goes in rounds, each over one
 * route: what a round could not settle (a shard moved, its worker was busy or
 * gone) is grouped again by the next round's route.  Frames are encoded only
 * when there is room for them, straight into the connection's buffer.
 *
 * A command whose answer was lost is sent again.  That is harmless in any order
 * and at any time, not because of the sending but by what apply checks: a put
 * carries the fence (law W6), a delete the version it means.  A delete that was
 * applied twice counts its hits once only when the first answer arrived.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>

#include "private.h"

/* A command under way: some of order[]. */
typedef struct Command
{
	Request		request;
	size_t		from;
	size_t		n;				/* 0 = slot is free */
} Command;

/* What goes to one shard in this round: order[next..end) is not sent yet. */
typedef struct Target
{
	const ClientShard *shard;
	size_t		next;
	size_t		end;
	bool		stopped;		/* no more to it in this round */
	Command		commands[WINDOW];
} Target;

typedef struct Writing
{
	Client	   *client;
	WireWriteType type;
	const ClientWriter *writer;
	const ClientRecord *records;
	size_t		n;
	bool	   *done;
	uint64_t	hits;
	uint64_t	fence;			/* highest seen */
	ClientMarks *marks;

	/* This round */
	const ClientCollection *route;
	Target	   *targets;
	size_t	   *order;			/* undone records, by shard */
	size_t		settled;
	Retry		retry;

	/* A definite no: nothing more is sent, what is under way is awaited */
	VtStatus	failed;
	VtError		why;

	Buf			scratch;
} Writing;

static void
fail(Writing *w, VtStatus status, const VtError *why)
{
	if (w->failed != VT_OK)
		return;
	w->failed = status;
	w->why = *why;
}

/* Sort the undone records by shard; returns how many there are. */
static size_t
group(Writing *w)
{
	uint32_t	nshards = w->route->nshards;
	uint32_t   *where = vt_alloc(sizeof(uint32_t) * w->n);
	size_t	   *count = vt_alloc0(sizeof(size_t) * nshards);
	size_t		total = 0;

	w->targets = vt_alloc0(sizeof(Target) * nshards);
	for (size_t i = 0; i < w->n; i++)
		if (!w->done[i])
		{
			where[i] = route_place(w->route, w->records[i].id);
			count[where[i]]++;
		}
	for (uint32_t s = 0; s < nshards; s++)
	{
		w->targets[s].shard = &w->route->shards[s];
		w->targets[s].next = total;
		w->targets[s].end = total;
		total += count[s];
	}
	w->order = vt_alloc(sizeof(size_t) * (total ? total : 1));
	for (size_t i = 0; i < w->n; i++)
		if (!w->done[i])
			w->order[w->targets[where[i]].end++] = i;
	free(count);
	free(where);
	return total;
}

/* The most that a record can take in a command. */
static size_t
room_for(const Writing *w, const ClientRecord *record)
{
	size_t		room = WIRE_ID_MAX + 32;

	return w->type == WRITE_PUT ? room + (size_t) w->route->dim * 4 + record->metadata.len : room;
}

/* Send the next command of a target. */
static void
send_command(Writing *w, Target *t, Command *command)
{
	WireWrite	write = {.type = w->type};
	VtError		failure = {0};
	Conn	   *conn = conn_of(w->client, t->shard->endpoint, &failure);
	Buf		   *out;
	size_t		frame;
	size_t		begin;

	if (!conn)
	{
		t->stopped = true;
		if (status_is_passing(failure.code))
			retry_note_lost(w->client, &w->retry, t->shard, failure.code, &failure);
		else
			fail(w, failure.code, &failure);
		return;
	}
	write.route = route_of(&t->shard->desc, &w->writer->owner, w->writer->deadline_us);
	write.fence = w->writer->fence;
	write.timeline = w->writer->timeline;
	write.lsn = w->writer->lsn;
	write.halves = w->type == WRITE_PUT && w->route->element == VEC_FLOAT16;
	frame = request_begin(w->client, conn, &command->request, WIRE_WRITE, &out);
	begin = wire_write_begin(out, &write);
	command->from = t->next;
	do
	{
		const ClientRecord *r = &w->records[w->order[t->next]];
		WireRecord	record = {.id = r->id, .version = r->version};

		if (w->type == WRITE_PUT)
		{
			record.dim = w->route->dim;
			record.halves = write.halves;
			record.vector = (write.halves ? halves_le : floats_le) (&w->scratch, r->vector, record.dim);
			record.metadata = r->metadata;
		}
		wire_record_put(out, w->type, &record);
		t->next++;
	} while (t->next < t->end &&
			 out->len - begin + room_for(w, &w->records[w->order[t->next]]) <= COMMAND_BYTES);
	command->n = t->next - command->from;
	wire_write_end(out, begin, (uint32_t) command->n);
	request_send(&command->request, frame);
	command->request.until_us = try_until(&w->retry, t->shard, w->writer->deadline_us);
}

static void
take_answer(Writing *w, Target *t, Command *command)
{
	Answer		answer;
	Advice		advice = answer_get(&command->request, &t->shard->desc, false, &answer);
	WireWriteResult result;
	size_t		n = command->n;

	command->n = 0;
	if (answer.head.fence > w->fence)
		w->fence = answer.head.fence;
	if (advice == ADVICE_DONE && (wire_write_result_get(answer.body, &result) != VT_OK || result.done > n ||
								  (w->type == WRITE_PUT && result.done != n)))
	{
		malformed(t->shard, &answer.err);
		answer.head.status = VT_PROTOCOL;
		advice = ADVICE_FAIL;
	}
	switch (advice)
	{
		case ADVICE_DONE:
			for (size_t i = 0; i < n; i++)
				w->done[w->order[command->from + i]] = true;
			w->settled += n;
			w->hits += result.done;
			marks_note(w->marks, t->shard->desc.shard, answer.head.incarnation, result.index);
			break;
		case ADVICE_FAIL:
			fail(w, answer.head.status, &answer.err);
			break;
		default:
			t->stopped = true;
			retry_note(w->client, &w->retry, t->shard, advice, &answer);
			break;
	}
	request_drop(&command->request);
}

/*
 * Send what there is room for; returns a target that has commands under way.
 * *soonest: when the first of their tries ends.
 */
static Target *
send_and_take(Writing *w, int64_t *soonest)
{
	Target	   *busy = NULL;

	for (uint32_t s = 0; s < w->route->nshards; s++)
	{
		Target	   *t = &w->targets[s];

		for (int i = 0; i < WINDOW; i++)
		{
			Command    *command = &t->commands[i];

			if (command->n > 0 && !command->request.done && command->request.until_us &&
				clock_now_us() >= command->request.until_us)
				request_expire(&command->request);
			if (command->n > 0 && command->request.done)
				take_answer(w, t, command);
			if (command->n == 0 && t->next < t->end && !t->stopped && w->failed == VT_OK)
				send_command(w, t, command);
			if (command->n > 0)
				busy = t;
			if (command->n > 0 && command->request.until_us && command->request.until_us < *soonest)
				*soonest = command->request.until_us;
		}
	}
	return busy;
}

/* Everything undone, over one route. */
static VtStatus
run_round(Writing *w, VtError *err)
{
	VtStatus	status = VT_OK;
	Target	   *busy;
	int64_t		soonest;

	w->settled = 0;
	w->retry.refresh = false;
	group(w);
	while (soonest = w->writer->deadline_us, (busy = send_and_take(w, &soonest)) != NULL)
	{
		if (clock_now_us() >= w->writer->deadline_us)
		{
			status = unanswered(&w->retry, busy->shard, err);
			break;
		}
		status = pump(w->client, soonest, err);
		if (status != VT_OK && status != VT_TIMEOUT)
			break;
		status = VT_OK;
	}
	for (uint32_t s = 0; s < w->route->nshards; s++)
		for (int i = 0; i < WINDOW; i++)
			request_drop(&w->targets[s].commands[i].request);
	free(w->targets);
	free(w->order);
	if (w->settled > 0)
		w->retry.tries = 0;
	return status;
}

static bool
all_done(const Writing *w)
{
	for (size_t i = 0; i < w->n; i++)
		if (!w->done[i])
			return false;
	return true;
}

/* What the records are to be kept in holds all their numbers. */
static VtStatus
check_range(const Writing *w, VtError *err)
{
	VecHalf    *halves;
	VtStatus	status = VT_OK;

	if (w->type != WRITE_PUT || w->route->element != VEC_FLOAT16)
		return VT_OK;
	halves = vt_alloc(sizeof(VecHalf) * w->route->dim);
	for (size_t i = 0; i < w->n && status == VT_OK; i++)
		if (!vec_to_half(halves, w->records[i].vector, w->route->dim))
			status = vt_fail(err, VT_INVALID, "the vector of record %zu has a number that is out of range for float16", i);
	free(halves);
	return status;
}

static VtStatus
run(Writing *w, VtError *err)
{
	const ClientWriter *writer = w->writer;
	VtStatus	status;

	for (size_t i = 0; i < w->n; i++)
		if (w->records[i].id.len < 1 || w->records[i].id.len > WIRE_ID_MAX ||
			(w->type == WRITE_PUT && (!w->records[i].vector || w->records[i].metadata.len > METADATA_MAX)))
			return vt_fail(err, VT_INVALID, "record %zu has no vector, an id of %zu bytes or metadata of %zu", i,
						   w->records[i].id.len, w->records[i].metadata.len);
	status = client_route(w->client, &writer->generation, false, writer->deadline_us, &w->route, err);
	if (status == VT_OK)
		status = check_range(w, err);
	while (status == VT_OK && !all_done(w))
	{
		if (w->marks)
			w->marks->route_version = w->route->route_version;
		status = run_round(w, err);
		if (w->failed != VT_OK && (status == VT_OK || status == VT_TIMEOUT))
		{
			if (err)
				*err = w->why;
			return w->failed;
		}
		if (status != VT_OK || all_done(w))
			break;
		status = retry_wait(w->client, &w->retry, writer->deadline_us, err);
		if (status == VT_OK)
			status = route_again(w->client, &writer->generation, &w->retry, writer->deadline_us,
								 &w->route, err);
	}
	return status;
}

static VtStatus
write_records(Client *client, WireWriteType type, const ClientWriter *writer,
			  const ClientRecord *records, size_t n, bool *done, uint64_t *hits, ClientMarks *marks,
			  VtError *err)
{
	Writing		w = {.client = client, .type = type, .writer = writer, .records = records, .n = n,
					 .done = done, .marks = marks};
	VtStatus	status;

	marks_reset(marks);
	if (!done)
		w.done = vt_alloc0(sizeof(bool) * n);
	else
		memset(done, 0, sizeof(bool) * n);
	status = run(&w, err);
	if (marks)
		marks->fence = w.fence;
	if (hits)
		*hits = w.hits;
	if (!done)
		free(w.done);
	buf_free(&w.scratch);
	return status;
}

VtStatus
client_put(Client *client, const ClientWriter *writer, const ClientRecord *records, size_t n,
		   bool *done, ClientMarks *marks, VtError *err)
{
	return write_records(client, WRITE_PUT, writer, records, n, done, NULL, marks, err);
}

VtStatus
client_delete(Client *client, const ClientWriter *writer, const ClientRecord *records, size_t n,
			  uint64_t *hits, ClientMarks *marks, VtError *err)
{
	return write_records(client, WRITE_DELETE, writer, records, n, NULL, hits, marks, err);
}
