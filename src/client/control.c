/*-------------------------------------------------------------------------
 *
 * control.c
 *	  Questions in JSON: to the placement driver, or to one worker.
 *
 * Of several drivers the one that answered last is asked first.  A driver that
 * cannot be reached, is not the leader or is going down leaves the question to
 * the next; when all have, it starts over after a pause.  Any other answer is
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
 * With several drivers none may use up the whole time by silence: each gets
 * half of what is left, while more than this is left.
 */
#define ONE_OF_MANY_US (1 * INT64_C(1000000))

/* What became of asking one endpoint once. */
typedef enum Outcome
{
	ASK_ANSWERED,
	ASK_LOST,					/* no answer: another endpoint, another time */
	ASK_HOPELESS,				/* no answer, and none to be expected */
	ASK_ENDED					/* the caller's wait ended the call */
} Outcome;

/* The status in the answer that lies in client->control_reply. */
static VtStatus
read_status(Client *client, const char *endpoint, VtError *err)
{
	json_t	   *body = json_loadb((const char *) client->control_reply.data,
								  client->control_reply.len - 1, JSON_REJECT_DUPLICATES, NULL);
	json_t	   *number = json_object_get(body, "status");
	VtStatus	status;

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
		outcome = request.definite ? ASK_HOPELESS : ASK_LOST;
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

static VtStatus
ask(Client *client, const char *const *endpoints, size_t n, size_t *current, const char *text,
	int64_t deadline_us, const char **reply, VtError *err)
{
	Retry		retry = {0};
	VtError		failure = {0};

	*reply = NULL;
	if (n == 0)
		return vt_fail(err, VT_INVALID, "no endpoint of a placement driver is known");
	if (strlen(text) > WIRE_PAYLOAD_MAX)
		return vt_fail(err, VT_INVALID, "control request of %zu bytes is over the limit of %u",
					   strlen(text), WIRE_PAYLOAD_MAX);
	for (;;)
	{
		bool		hopeless = true;
		VtStatus	status;

		for (size_t i = 0; i < n; i++)
		{
			size_t		which = (*current + i) % n;
			int64_t		left = deadline_us - clock_now_us();
			Outcome		outcome = ask_once(client, endpoints[which], text,
										   n > 1 && left > ONE_OF_MANY_US ? deadline_us - left / 2 :
										   deadline_us, &failure);

			if (outcome == ASK_ENDED)
			{
				if (err)
					*err = failure;
				return failure.code;
			}
			if (outcome == ASK_ANSWERED)
			{
				status = read_status(client, endpoints[which], &failure);
				if (status != VT_NOT_LEADER && status != VT_STOPPING)
				{
					*current = which;
					*reply = (const char *) client->control_reply.data;
					if (status != VT_OK && err)
						*err = failure;
					return status;
				}
			}
			hopeless = hopeless && outcome == ASK_HOPELESS;
		}
		if (hopeless)
		{
			if (err)
				*err = failure;
			return failure.code;
		}
		retry_note_failure(&retry, failure.code, &failure);
		status = retry_wait(client, &retry, deadline_us, err);
		if (status != VT_OK)
			return status;
	}
}

VtStatus
client_control(Client *client, const char *request, int64_t deadline_us, const char **reply,
			   VtError *err)
{
	return ask(client, (const char *const *) client->pd, client->npd, &client->pd_current, request,
			   deadline_us, reply, err);
}

VtStatus
client_control_at(Client *client, const char *endpoint, const char *request, int64_t deadline_us,
				  const char **reply, VtError *err)
{
	size_t		current = 0;

	return ask(client, &endpoint, 1, &current, request, deadline_us, reply, err);
}
