/*-------------------------------------------------------------------------
 *
 * control.c
 *	  Questions in JSON: to the placement driver, or to one worker.
 *
 * Of several drivers the one that answered last is asked first.  A driver that
 * cannot be reached, is not the leader or is going down leaves the question to
 * the one it says leads, else to the next; when all have, it starts over after a
 * pause.  So it does when one says how long it has too much to do.  Any other answer is
 * the answer.  Every op may safely be asked twice.
 *
 * PostgreSQL exports a function json_object() too, so jansson's is not called
 * here: objects are made by json_pack().
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "private.h"

/*
 * With several drivers none may use up the whole time by silence: each gets half
 * of what is left, while more than the first is left, and at most the second,
 * which doubles with each round.  One that is waited for with reason, as for a
 * new collection's shards, is only asked again.
 */
#define ONE_OF_MANY_US (1 * INT64_C(1000000))
#define SILENCE_US (3 * INT64_C(1000000))
#define HINTS_MAX 2				/* followed in one round */
#define AFTER_MOST_MS 10000		/* that a driver's wish is heard for */

/* What became of asking one endpoint once. */
typedef enum Outcome
{
	ASK_ANSWERED,
	ASK_LOST,					/* no answer: another endpoint, another time */
	ASK_LATER,					/* it has too much to do, and says for how long */
	ASK_HOPELESS,				/* no answer, and none to be expected */
	ASK_ENDED					/* the caller's wait ended the call */
} Outcome;

/*
 * The status in the answer that lies in client->control_reply.  hint: whom a
 * driver that does not lead takes for the leader, or ""; *after_ms: how long one that has
 * too much to do wishes to be left alone, or 0.
 */
static VtStatus
read_status(Client *client, const char *endpoint, char hint[ENDPOINT_SIZE], uint32_t *after_ms, VtError *err)
{
	json_t	   *body = json_loadb((const char *) client->control_reply.data,
								  client->control_reply.len - 1, JSON_REJECT_DUPLICATES, NULL);
	json_t	   *number = json_object_get(body, "status");
	json_t	   *after = json_object_get(body, "retry_after_ms");
	const char *leader = json_string_value(json_object_get(body, "leader"));
	VtStatus	status;

	hint[0] = '\0';
	*after_ms = 0;
	if (!json_is_integer(number) || json_integer_value(number) < 0 ||
		json_integer_value(number) > UINT16_MAX ||
		!vt_status_valid((uint32_t) json_integer_value(number)))
		status = vt_fail(err, VT_PROTOCOL, "%s: the answer is no JSON object with a status", endpoint);
	else if (json_integer_value(number) == VT_OK)
		status = VT_OK;
	else
	{
		const char *words = json_string_value(json_object_get(body, "message"));

		status = (VtStatus) json_integer_value(number);
		vt_fail(err, status, "%s: %s", endpoint, words ? words : vt_status_words(status));
		if (status == VT_NOT_LEADER && leader && strlen(leader) < ENDPOINT_SIZE)
			memcpy(hint, leader, strlen(leader) + 1);
		if (status == VT_BUSY && json_is_integer(after) && json_integer_value(after) > 0)
			*after_ms = json_integer_value(after) < AFTER_MOST_MS ? (uint32_t) json_integer_value(after) : AFTER_MOST_MS;
	}
	json_decref(body);
	return status;
}

static Outcome
ask_once(Client *client, const char *endpoint, const char *text, int64_t deadline_us, VtError *err)
{
	Conn	   *conn = conn_of(client, endpoint, err);
	Request		request = {0};
	Outcome		outcome = ASK_ANSWERED;
	Buf		   *out;
	size_t		begin;
	VtStatus	status;

	if (!conn)
		return status_is_passing(err->code) ? ASK_LOST : ASK_HOPELESS;
	begin = request_begin(client, conn, &request, WIRE_CONTROL, &out);
	buf_put(out, text, strlen(text));
	request_send(&request, begin);
	status = request_wait(client, &request, deadline_us, err);
	if (status != VT_OK)
		outcome = status == VT_TIMEOUT ? ASK_LOST : ASK_ENDED;
	else if (request.status != VT_OK)
	{
		*err = request.err;
		/* Ours may be elsewhere; when all are another cluster's there is nobody to wait for. */
		outcome = request.definite || request.status == VT_FOREIGN ? ASK_HOPELESS : ASK_LOST;
	}
	else
	{
		buf_clear(&client->control_reply);
		buf_put(&client->control_reply, request.reply.data, request.reply.len);
		buf_put_u8(&client->control_reply, 0);
	}
	request_drop(&request);
	return outcome;
}

/* One round of asking. */
typedef struct Round
{
	const char *text;
	int64_t		deadline_us;
	size_t		n;				/* endpoints that may be asked */
	uint32_t	number;			/* from 0 */
	VtStatus	status;			/* in the answer that counts */
	bool		hopeless;		/* nobody is to be expected to answer */
	bool		heard;			/* failure is what a driver said, not that it is silent */
	char		hint[ENDPOINT_SIZE];
	uint32_t	after_ms;		/* what the driver wishes that has too much to do */
	VtError		failure;
} Round;

/* When one driver has been silent for long enough. */
static int64_t
silence_until(const Round *round)
{
	int64_t		now = clock_now_us();
	int64_t		left = round->deadline_us - now;
	int64_t		most = (int64_t) SILENCE_US << (round->number < 6 ? round->number : 6);

	if (round->n == 1 || left <= ONE_OF_MANY_US)
		return round->deadline_us;
	return now + (left / 2 < most ? left / 2 : most);
}

/* ASK_ANSWERED: that is the answer; ASK_LOST: go on; ASK_LATER: in another round; ASK_ENDED: give up. */
static Outcome
ask_one(Client *client, const char *endpoint, Round *round)
{
	VtError		err = {0};
	Outcome		outcome = ask_once(client, endpoint, round->text, silence_until(round), &err);

	round->hint[0] = '\0';
	if (outcome == ASK_ANSWERED)
	{
		round->status = read_status(client, endpoint, round->hint, &round->after_ms, &err);
		if (round->after_ms > 0)
		{
			round->hopeless = false;
			round->heard = true;
			round->failure = err;
			return ASK_LATER;
		}
		if (round->status != VT_NOT_LEADER && round->status != VT_STOPPING)
		{
			round->failure = err;
			return ASK_ANSWERED;
		}
	}
	round->hopeless = round->hopeless && outcome == ASK_HOPELESS;
	/* Why nobody leads says more than who is silent. */
	if (outcome == ASK_ANSWERED || outcome == ASK_ENDED || !round->heard)
		round->failure = err;
	round->heard |= outcome == ASK_ANSWERED;
	return outcome == ASK_ENDED ? ASK_ENDED : ASK_LOST;
}

/* Which of the endpoints it is; n = none. */
static size_t
place_of(const char *const *endpoints, size_t n, const char *endpoint)
{
	size_t		i = 0;

	while (i < n && strcmp(endpoints[i], endpoint) != 0)
		i++;
	return i;
}

/* once: one that has too much to do is not asked again. */
static VtStatus
ask(Client *client, const char *const *endpoints, size_t n, size_t *current, const char *text,
	bool once, int64_t deadline_us, const char **reply, VtError *err)
{
	Retry		retry = {.replicated = n > 1};
	VtError		said = {0};		/* by a driver, in an earlier round */

	*reply = NULL;
	if (n == 0)
		return vt_fail(err, VT_INVALID, "no endpoint of a placement driver is known");
	if (strlen(text) > WIRE_PAYLOAD_MAX)
		return vt_fail(err, VT_INVALID, "control request of %zu bytes is over the limit of %u",
					   strlen(text), WIRE_PAYLOAD_MAX);
	for (;;)
	{
		Round		round = {.text = text, .deadline_us = deadline_us, .n = n, .number = retry.tries,
		.hopeless = true};
		int			hints = 0;
		VtStatus	status;

		for (size_t i = 0; i < n; i++)
		{
			size_t		which = (*current + i) % n;
			Outcome		outcome = ask_one(client, endpoints[which], &round);

			while (outcome == ASK_LOST && round.hint[0] && hints++ < HINTS_MAX)
			{
				char		leader[ENDPOINT_SIZE];

				memcpy(leader, round.hint, sizeof(leader));
				memcpy(client->pd_hint, leader, sizeof(client->pd_hint));
				outcome = ask_one(client, leader, &round);
				if (outcome == ASK_ANSWERED && place_of(endpoints, n, leader) < n)
					which = place_of(endpoints, n, leader);
			}
			if (outcome == ASK_ENDED)
			{
				if (err)
					*err = round.failure;
				return round.failure.code;
			}
			if (outcome == ASK_ANSWERED)
			{
				*current = which;
				*reply = (const char *) client->control_reply.data;
				if (round.status != VT_OK && err)
					*err = round.failure;
				return round.status;
			}
			if (outcome == ASK_LATER && once)
			{
				if (err)
					*err = round.failure;
				return round.failure.code;
			}
			/* It has not looked whether it leads: if it does not, the next one knows who does. */
			if (outcome == ASK_LATER)
			{
				*current = (which + 1) % n;
				break;
			}
		}
		if (round.hopeless)
		{
			if (err)
				*err = round.failure;
			return round.failure.code;
		}
		/* A round that the deadline cuts short may hear nobody. */
		if (round.heard)
			said = round.failure;
		else if (said.code != VT_OK)
			round.failure = said;
		retry_note_failure(&retry, round.failure.code, &round.failure);
		/* From half of it to one and a half: those who were refused together come back apart. */
		if (round.after_ms > 0)
			retry.after_ms = round.after_ms / 2 + prng_below(&client->prng, round.after_ms + 1);
		status = retry_wait(client, &retry, deadline_us, err);
		if (status != VT_OK)
			return status;
	}
}

VtStatus
client_control(Client *client, const char *request, int64_t deadline_us, const char **reply,
			   VtError *err)
{
	return ask(client, (const char *const *) client->pd, client->npd, &client->pd_current, request, false,
			   deadline_us, reply, err);
}

VtStatus
control_once(Client *client, const char *request, int64_t deadline_us, const char **reply, VtError *err)
{
	return ask(client, (const char *const *) client->pd, client->npd, &client->pd_current, request, true,
			   deadline_us, reply, err);
}

bool
client_driver_is_flooded(const VtError *err)
{
	return err->code == VT_BUSY && strstr(err->msg, WIRE_FLOODED) != NULL;
}

VtStatus
client_control_at(Client *client, const char *endpoint, const char *request, int64_t deadline_us,
				  const char **reply, VtError *err)
{
	size_t		current = 0;

	return ask(client, &endpoint, 1, &current, request, false, deadline_us, reply, err);
}
