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
 * Where fences do not help, with writer.once, each command has a session and a
 * number instead (once.c).  It is sent again as it was, or after a split in parts; an
 * answer that says "done before" is for all parts in its interval.  With each command
 * goes the lowest number that might still be asked of that shard.
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

	/* With writer.once */
	bool		opens;			/* a session, and has no records */
	bool		first;			/* it was never sent before */
	OnceNumber	number;
} Command;

/* What goes to one shard in this round: order[next..end) is not sent yet. */
typedef struct Target
{
	const ClientShard *shard;
	size_t		next;
	size_t		end;
	bool		stopped;		/* no more to it in this round */
	bool		opening;		/* nothing before it has a session */
	uint64_t	lost;			/* lowest number of a command without an answer; 0 = none */
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
	OnceNumber *numbers;		/* with writer.once: of each record */
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

/*
 * A number is good for a shard that knows its session.  Otherwise the record was never
 * this one's when it was sent: it was done nowhere.
 */
static void
check_number(Writing *w, size_t i, const WireShardDesc *desc)
{
	OnceNumber *number = &w->numbers[i];

	if (number->sequence && !once_is_heir(w->route, desc, number->home, number->session))
		memset(number, 0, sizeof(*number));
}

/* Sort the undone records by shard. */
static void
group(Writing *w)
{
	uint32_t	nshards = w->route->nshards;
	OncePlace  *places = vt_alloc(sizeof(OncePlace) * (w->n ? w->n : 1));
	size_t	   *next = vt_alloc0(sizeof(size_t) * nshards);
	size_t		total = 0;
	size_t		begin = 0;

	w->targets = vt_alloc0(sizeof(Target) * nshards);
	for (size_t i = 0; i < w->n; i++)
	{
		OncePlace  *place = &places[total];

		if (w->done[i])
			continue;
		memset(place, 0, sizeof(*place));
		place->record = i;
		place->where = route_place(w->route, w->records[i].id);
		if (w->numbers)
		{
			check_number(w, i, &w->route->shards[place->where].desc);
			place->number = w->numbers[i];
		}
		next[place->where]++;
		total++;
	}
	w->order = vt_alloc(sizeof(size_t) * (total ? total : 1));
	for (uint32_t s = 0; s < nshards; s++)
	{
		w->targets[s].shard = &w->route->shards[s];
		w->targets[s].next = begin;
		w->targets[s].end = begin + next[s];
		next[s] = begin;
		begin = w->targets[s].end;
	}
	if (w->numbers)
		once_sort(places, total);
	for (size_t i = 0; i < total; i++)
		w->order[next[places[i].where]++] = places[i].record;
	free(next);
	free(places);
}

/* The most that a record can take in a command. */
static size_t
room_for(const Writing *w, const ClientRecord *record)
{
	size_t		room = WIRE_ID_MAX + 32;

	return w->type == WRITE_PUT ? room + vec_kept_bytes(w->route->element, w->route->dim) + record->attributes.len + record->metadata.len : room;
}

/* No connection: whatever was to be sent is not. */
static Conn *
connection(Writing *w, Target *t)
{
	VtError		failure = {0};
	Conn	   *conn = conn_of(w->client, t->shard->endpoint, &failure);

	if (conn)
		return conn;
	t->stopped = true;
	if (status_is_passing(failure.code))
		retry_note_lost(w->client, &w->retry, t->shard, failure.code, &failure);
	else
		fail(w, failure.code, &failure);
	return NULL;
}

/* Ask for a session, before anything else goes to this shard. */
static void
send_open(Writing *w, Target *t, Command *command)
{
	WireWrite	write = {.type = WRITE_OPEN};
	Conn	   *conn = connection(w, t);
	Buf		   *out;
	size_t		frame;

	if (!conn)
		return;
	write.route = route_of(&t->shard->desc, &w->writer->owner, w->writer->deadline_us);
	frame = request_begin(w->client, conn, &command->request, WIRE_WRITE, &out);
	wire_write_end(out, wire_write_begin(out, &write), 0);
	request_send(&command->request, frame);
	command->request.until_us = try_until(&w->retry, t->shard, w->writer->deadline_us);
	command->from = t->next;
	command->n = 1;
	command->opens = t->opening = true;
	memset(&command->number, 0, sizeof(command->number));
}

/* The lowest number that this shard might be asked for again, up to the one at hand. */
static uint64_t
settled(const Writing *w, const Target *t, uint64_t session, uint64_t sequence)
{
	uint64_t	lowest = t->lost && t->lost < sequence ? t->lost : sequence;

	for (int i = 0; i < WINDOW; i++)
	{
		const OnceNumber *number = &t->commands[i].number;

		if (t->commands[i].n > 0 && number->session == session && number->sequence < lowest)
			lowest = number->sequence;
	}
	/* Of those that are still to be sent the first has the lowest. */
	if (t->next < t->end)
	{
		const OnceNumber *number = &w->numbers[w->order[t->next]];

		if (number->sequence && number->session == session && number->sequence < lowest)
			lowest = number->sequence;
	}
	return lowest;
}

/* Does this record go with the command at hand? */
static bool
goes_with(const Writing *w, const Command *command, size_t record)
{
	const OnceNumber *number = &w->numbers[record];

	return command->first ? number->sequence == 0 :
		number->session == command->number.session && number->sequence == command->number.sequence;
}

/* Which number the next command has: that of its records, or a new one. */
static bool
take_number(Writing *w, Target *t, Command *command)
{
	const OnceNumber *number = &w->numbers[w->order[t->next]];
	ClientSession *session;

	command->first = number->sequence == 0;
	if (!command->first)
	{
		command->number = *number;
		return true;
	}
	session = once_session(w->client, w->route, &t->shard->desc);
	if (session)
		command->number = once_number(session, t->shard->desc.shard);
	return session != NULL;
}

/* Send the next command of a target. */
static void
send_command(Writing *w, Target *t, Command *command)
{
	WireWrite	write = {.type = w->type};
	Conn	   *conn;
	Buf		   *out;
	size_t		frame;
	size_t		begin;

	command->opens = false;
	if (w->numbers && t->opening)
		return;
	conn = connection(w, t);
	if (!conn || conn_is_full(conn, 1))
		return;
	if (w->numbers && !take_number(w, t, command))
	{
		send_open(w, t, command);
		return;
	}
	write.route = route_of(&t->shard->desc, &w->writer->owner, w->writer->deadline_us);
	write.fence = w->writer->fence;
	write.timeline = w->writer->timeline;
	write.lsn = w->writer->lsn;
	write.element = w->type == WRITE_PUT ? (WireElement) w->route->element : WIRE_FLOAT32;
	if (w->numbers)
	{
		write.session = command->number.session;
		write.sequence = command->number.sequence;
		write.settled = settled(w, t, write.session, write.sequence);
	}
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
			record.element = write.element;
			record.vector = vector_on_wire(&w->scratch, w->route->element, r->vector, record.dim);
			record.attributes = r->attributes;
			record.metadata = r->metadata;
		}
		wire_record_put(out, w->type, &record);
		if (w->numbers)
			w->numbers[w->order[t->next]] = command->number;
		t->next++;
	} while (t->next < t->end && (!w->numbers || goes_with(w, command, w->order[t->next])) &&
			 out->len - begin + room_for(w, &w->records[w->order[t->next]]) <= COMMAND_BYTES);
	command->n = t->next - command->from;
	wire_write_end(out, begin, (uint32_t) command->n);
	request_send(&command->request, frame);
	command->request.until_us = try_until(&w->retry, t->shard, w->writer->deadline_us);
}

/* It was done before a split, or may have been: what lies in that interval is settled. */
static void
take_repeated(Writing *w, const Command *command, const WireWriteResult *result)
{
	for (size_t i = 0; i < w->n; i++)
	{
		uint64_t	place;

		if (w->done[i] || w->numbers[i].session != command->number.session ||
			w->numbers[i].sequence != command->number.sequence)
			continue;
		place = wire_place(&w->route->shards[0].desc, w->records[i].id);
		if (place < result->first || place > result->last)
			continue;
		w->done[i] = true;
		w->settled++;
	}
}

/*
 * The session is over.  True: nothing is lost, since this was the first time; what was
 * refused gets another number.
 */
static bool
take_over(Writing *w, const Target *t, const Command *command, size_t n, Answer *answer)
{
	once_forget(w->client, &t->shard->desc.generation, command->number.session);
	if (!command->first)
	{
		char		words[sizeof(answer->err.msg)];

		memcpy(words, answer->err.msg, sizeof(words));
		vt_fail(&answer->err, VT_SESSION_OVER, "%.150s: whether %zu records were written is not known", words, n);
		return false;
	}
	for (size_t i = 0; i < n; i++)
		memset(&w->numbers[w->order[command->from + i]], 0, sizeof(OnceNumber));
	return true;
}

static void
take_answer(Writing *w, Target *t, Command *command)
{
	Answer		answer;
	Advice		advice = answer_get(&command->request, &t->shard->desc, false, &answer);
	WireWriteResult result;
	size_t		n = command->opens ? 0 : command->n;

	if (answer.head.fence > w->fence)
		w->fence = answer.head.fence;
	if (advice == ADVICE_DONE && (wire_write_result_get(answer.body, &result) != VT_OK || result.done > n ||
								  (w->type == WRITE_PUT && result.done != n) ||
								  (result.repeated && (!w->numbers || command->opens))))
	{
		malformed(t->shard, &answer.err);
		answer.head.status = VT_PROTOCOL;
		advice = ADVICE_FAIL;
	}
	command->n = 0;
	if (w->numbers && !command->opens && answer.head.status == VT_SESSION_OVER && take_over(w, t, command, n, &answer))
	{
		t->stopped = true;
		w->retry.hop = true;
		w->retry.last = answer.err;
		request_drop(&command->request);
		return;
	}
	switch (advice)
	{
		case ADVICE_DONE:
			if (command->opens)
			{
				t->opening = false;
				(void) once_opened(w->client, &t->shard->desc, result.index);
				break;
			}
			if (result.repeated)
				take_repeated(w, command, &result);
			for (size_t i = 0; i < n; i++)
			{
				w->settled += !w->done[w->order[command->from + i]];
				w->done[w->order[command->from + i]] = true;
			}
			w->hits += result.done;
			marks_note(w->marks, t->shard->desc.shard, answer.head.incarnation, result.index);
			break;
		case ADVICE_FAIL:
			fail(w, answer.head.status, &answer.err);
			break;
		default:
			t->stopped = true;
			if (!command->opens && (t->lost == 0 || command->number.sequence < t->lost))
				t->lost = command->number.sequence;
			retry_note(w->client, &w->retry, t->shard, advice, &answer);
			break;
	}
	request_drop(&command->request);
}

/*
 * Is a command done whose answer nobody took?  To send looks at the connection, which
 * may give or end what was sent before on it, and the command at hand: no wait would
 * tell of that any more.
 */
static bool
has_news(const Writing *w)
{
	for (uint32_t s = 0; s < w->route->nshards; s++)
		for (int i = 0; i < WINDOW; i++)
			if (w->targets[s].commands[i].n > 0 && w->targets[s].commands[i].request.done)
				return true;
	return false;
}

/*
 * Send what there is room for; returns a target that has commands under way.
 * *soonest: when the first of their tries ends; 0 = one has ended.
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
	if (has_news(w))
		*soonest = 0;
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

/* What the records are to be kept in holds all their numbers, or bits and no more. */
static VtStatus
check_range(const Writing *w, VtError *err)
{
	VecHalf    *halves;
	VtStatus	status = VT_OK;

	if (w->type != WRITE_PUT)
		return VT_OK;
	for (size_t i = 0; i < w->n && w->route->element == VEC_BIT; i++)
		if (!vec_bits_valid(w->records[i].vector, w->route->dim))
			return vt_fail(err, VT_INVALID, "the bits of record %zu have others behind them", i);
	if (w->route->element != VEC_FLOAT16)
		return VT_OK;
	halves = vt_alloc(sizeof(VecHalf) * w->route->dim);
	for (size_t i = 0; i < w->n && status == VT_OK; i++)
		if (!vec_to_half(halves, w->records[i].vector, w->route->dim))
			status = vt_fail(err, VT_INVALID, "the vector of record %zu has a number that is out of range for float16", i);
	free(halves);
	return status;
}

static VtStatus
check_attributes(const Writing *w, VtError *err)
{
	WireAttributes attributes;

	for (size_t i = 0; w->type == WRITE_PUT && i < w->n; i++)
		if (wire_attributes_get(w->records[i].attributes, w->route->nattributes, &attributes) != VT_OK)
			return vt_fail(err, VT_INVALID, "the attributes of record %zu are not the %u that the collection declares", i,
						   w->route->nattributes);
	return VT_OK;
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
	if (status == VT_OK)
		status = check_attributes(w, err);
	while (status == VT_OK && !all_done(w))
	{
		marks_note_route(w->marks, w->route->route_version, w->route->shards, w->route->nshards);
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
	if (writer->once)
	{
		once_make_room(client);
		w.numbers = vt_alloc0(sizeof(OnceNumber) * (n ? n : 1));
	}
	status = run(&w, err);
	if (marks)
		marks->fence = w.fence;
	if (hits)
		*hits = w.hits;
	if (!done)
		free(w.done);
	free(w.numbers);
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
