/*-------------------------------------------------------------------------
 *
 * members.c
 *	  JSON of the control plane: members of a question, parts of an answer.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service.h"

void
question_free(Question *q)
{
	if (q->counted)
		net_conn_requests(q->conn, -1);
	net_conn_release(q->conn);
	json_decref(q->body);
	buf_free(&q->payload);
	free(q);
}

/* As it is sent; takes body, NULL = nothing but the status.  free() it. */
char *
answer_words(VtStatus status, json_t *body, const char *message)
{
	char	   *text;

	if (!body)
		body = json_object();
	json_object_set_new(body, "status", json_integer(status));
	if (status != VT_OK)
		json_object_set_new(body, "message", json_string(message ? message : vt_status_words(status)));
	text = json_dumps(body, JSON_COMPACT);
	if (strlen(text) > WIRE_PAYLOAD_MAX)
	{
		free(text);
		text = vt_strdup("{\"status\":19,\"message\":\"the answer is larger than a frame\"}");
	}
	json_decref(body);
	return text;
}

void
answer_in_words(Question *q, const char *text)
{
	net_reply_frame(q->conn, WIRE_CONTROL, q->request, bytes_str(text));
	question_free(q);
}

void
answer(Question *q, VtStatus status, json_t *body, const char *message)
{
	char	   *text = answer_words(status, body, message);

	answer_in_words(q, text);
	free(text);
}

void
refuse(Question *q, VtStatus status, const char *fmt,...)
{
	char		words[256];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(words, sizeof(words), fmt, args);
	va_end(args);
	answer(q, status, NULL, words);
}

void
refuse_for(Question *q, uint32_t wait_ms)
{
	json_t	   *body = json_object();

	json_object_set_new(body, "retry_after_ms", json_integer(wait_ms));
	answer(q, VT_BUSY, body, WIRE_FLOODED);
}

bool
value_u64(json_t *value, uint64_t *out)
{
	const char *text = json_string_value(value);
	char	   *end;

	if (!text || text[0] < '0' || text[0] > '9')
		return false;
	*out = strtoull(text, &end, 10);
	return *end == '\0';
}

bool
get_u64(json_t *body, const char *name, uint64_t *out)
{
	return value_u64(json_object_get(body, name), out);
}

bool
get_int(json_t *body, const char *name, int64_t low, int64_t high, int64_t *out)
{
	json_t	   *value = json_object_get(body, name);

	if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high)
		return false;
	*out = json_integer_value(value);
	return true;
}

bool
get_id(json_t *body, const char *name, VtId *out)
{
	const char *text = json_string_value(json_object_get(body, name));

	memset(out, 0, sizeof(*out));
	return text && (text[0] == '\0' || vt_id_parse(text, out));
}

bool
get_owner(json_t *body, WireOwner *out)
{
	json_t	   *owner = json_object_get(body, "owner");
	int64_t		database;

	if (!get_u64(owner, "system", &out->system) || !get_id(owner, "incarnation", &out->incarnation) ||
		!get_int(owner, "database", 0, UINT32_MAX, &database))
		return false;
	out->database = (uint32_t) database;
	return true;
}

json_t *
json_u64(uint64_t v)
{
	char		text[24];

	snprintf(text, sizeof(text), "%" PRIu64, v);
	return json_string(text);
}

json_t *
json_id(const VtId *id)
{
	char		hex[VT_ID_TEXT];

	vt_id_format(id, hex);
	return json_string(hex);
}

json_t *
json_owner(const WireOwner *owner)
{
	json_t	   *out = json_object();

	json_object_set_new(out, "system", json_u64(owner->system));
	json_object_set_new(out, "incarnation", json_id(&owner->incarnation));
	json_object_set_new(out, "database", json_integer(owner->database));
	return out;
}

static int
hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A descriptor as json_desc() writes it; false: it is none. */
bool
get_desc(json_t *text, WireShardDesc *out)
{
	const char *hex = json_string_value(text);
	Buf			bytes = {0};
	Cursor		c;
	bool		ok = hex != NULL;

	for (; ok && hex[0]; hex += 2)
	{
		int			high = hex_value(hex[0]);
		int			low = high < 0 ? -1 : hex_value(hex[1]);

		ok = low >= 0;
		if (ok)
			buf_put_u8(&bytes, (uint8_t) (high << 4 | low));
	}
	c = cursor_of(buf_bytes(&bytes));
	ok = ok && wire_desc_get(&c, out) == VT_OK && cursor_done(&c);
	buf_free(&bytes);
	return ok;
}

json_t *
json_desc(const WireShardDesc *desc)
{
	static const char digits[] = "0123456789abcdef";
	Buf			bytes = {0};
	char	   *hex;
	json_t	   *out;

	wire_desc_put(&bytes, desc);
	hex = vt_alloc(bytes.len * 2 + 1);
	for (size_t i = 0; i < bytes.len; i++)
	{
		hex[2 * i] = digits[bytes.data[i] >> 4];
		hex[2 * i + 1] = digits[bytes.data[i] & 15];
	}
	hex[bytes.len * 2] = '\0';
	out = json_string(hex);
	free(hex);
	buf_free(&bytes);
	return out;
}
