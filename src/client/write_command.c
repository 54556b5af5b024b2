/*-------------------------------------------------------------------------
 *
 * write_command.c
 *	  A write's commands to one shard: what goes into one, and what its answer is
 *	  worth.
 *
 *-------------------------------------------------------------------------
 */
#include "writing.h"

static void
fail(Writing *w, VtStatus status, const VtError *why)
{
	if (w->failed != VT_OK)
		return;
	w->failed = status;
	w->why = *why;
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

void
write_send(Writing *w, Target *t, Command *command)
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

void
write_take_answer(Writing *w, Target *t, Command *command)
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
