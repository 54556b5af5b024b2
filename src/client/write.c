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
#include <stdlib.h>

#include "base/breaks.h"
#include "writing.h"

/*
 * A number is good for a shard that knows its session.  Where the session is younger than the
 * shard, the record was never its home's when it was sent there: it was done nowhere.
 */
static void
check_number(Writing *w, size_t i, const WireShardDesc *desc)
{
	OnceNumber *number = &w->numbers[i];
	OnceKin		kin = once_kin(w->route, desc, number->home, number->session);

	if (number->sequence && (kin == ONCE_STRANGER || (kin == ONCE_OLDER && vt_broken("E1-older")) || vt_broken("E1-number")))
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

/* Has it something that is to be sent in this round? */
static bool
is_waiting(const Target *t)
{
	return t->next < t->end && !t->stopped;
}

/*
 * Send what there is room for; returns a target that has commands under way.
 * *soonest: when the first of their tries ends; 0 = one has ended.  A try whose time is over
 * ends when sockets were looked into since then (looked_us): an answer that is here is an answer.
 */
static Target *
send_and_take(Writing *w, int64_t looked_us, int64_t *soonest)
{
	Target	   *busy = NULL;

	for (uint32_t s = 0; s < w->route->nshards; s++)
	{
		Target	   *t = &w->targets[s];

		for (int i = 0; i < WINDOW; i++)
		{
			Command    *command = &t->commands[i];

			if (command->n > 0 && !command->request.done && command->request.until_us && looked_us >= command->request.until_us)
				request_expire(&command->request);
			if (command->n > 0 && command->request.done)
				write_take_answer(w, t, command);
			if (command->n == 0 && is_waiting(t) && w->failed == VT_OK && clock_now_us() < w->writer->deadline_us)
				write_send(w, t, command);
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
	const ClientWriter *writer = w->writer;
	int64_t		looked_us = 0;
	int64_t		soonest;

	w->settled = 0;
	w->retry.refresh = false;
	group(w);
	while (soonest = writer->deadline_us, (busy = send_and_take(w, looked_us, &soonest)) != NULL)
	{
		if (looked_us >= writer->deadline_us)
		{
			status = unanswered(&w->retry, busy->shard, err);
			break;
		}
		looked_us = clock_now_us();
		status = looked_us >= writer->deadline_us ? pump_late(w->client, err) : pump(w->client, soonest, err);
		if (status != VT_OK && status != VT_TIMEOUT)
			break;
		status = VT_OK;
	}
	/* The time was over before they were sent. */
	for (uint32_t s = 0; s < w->route->nshards && status == VT_OK && w->failed == VT_OK && clock_now_us() >= writer->deadline_us; s++)
		if (is_waiting(&w->targets[s]))
			status = unanswered(&w->retry, w->targets[s].shard, err);
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

/* There are vectors where the collection has some, and what they are to be kept in holds all their numbers, or bits and no more. */
static VtStatus
check_range(const Writing *w, VtError *err)
{
	VecHalf    *halves;
	VtStatus	status = VT_OK;

	if (w->type != WRITE_PUT)
		return VT_OK;
	for (size_t i = 0; i < w->n; i++)
	{
		if (!w->records[i].vector && w->route->dim > 0)
			return vt_fail(err, VT_INVALID, "record %zu has no vector", i);
		if (w->records[i].vector && w->route->dim == 0)
			return vt_fail(err, VT_INVALID, "record %zu has a vector, and the collection is of records without", i);
	}
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
			(w->type == WRITE_PUT && w->records[i].metadata.len > METADATA_MAX))
			return vt_fail(err, VT_INVALID, "record %zu has an id of %zu bytes or metadata of %zu", i,
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
