/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Reading the control plane's JSON answers.
 *
 * A file of its own, since jansson and PostgreSQL both have a function named
 * json_object: the two headers cannot meet, and vectron.so must never call
 * that one (the server's would answer).  make lint checks it.
 *
 *-------------------------------------------------------------------------
 */
#include <jansson.h>

#include "json.h"

#include <stdlib.h>
#include <string.h>

bool
json_member_text(const char *text, const char *member, char *out, size_t size)
{
	json_t	   *json = json_loads(text, 0, NULL);
	const char *value = NULL;
	bool		ok = false;

	if (json && json_unpack(json, "{s:s}", member, &value) == 0 && strlen(value) < size)
	{
		memcpy(out, value, strlen(value) + 1);
		ok = true;
	}
	json_decref(json);
	return ok;
}

static bool
take_text(char *out, size_t size, const char *text)
{
	if (strlen(text) >= size)
		return false;
	memcpy(out, text, strlen(text) + 1);
	return true;
}

static bool
take_owned(json_t *row, JsonOwned *out)
{
	const char *generation;
	const char *label;
	const char *xid;
	json_int_t	database;
	int			unused;
	char	   *end;

	if (json_unpack(row, "{s:s, s:s, s:s, s:I, s:b}", "generation", &generation, "label", &label,
					"xid", &xid, "database", &database, "unused", &unused) != 0 ||
		database < 0 || database > UINT32_MAX || xid[0] < '0' || xid[0] > '9' ||
		!take_text(out->generation, sizeof(out->generation), generation) ||
		!take_text(out->label, sizeof(out->label), label))
		return false;
	out->database = (uint32_t) database;
	out->xid = strtoull(xid, &end, 10);
	out->unused = unused != 0;
	return *end == '\0';
}

bool
json_owned(const char *text, JsonOwned **out, size_t *n)
{
	json_t	   *json = json_loads(text, 0, NULL);
	json_t	   *list = json_object_get(json, "owned");
	bool		ok = json_is_array(list);

	*n = ok ? json_array_size(list) : 0;
	*out = calloc(*n + 1, sizeof(JsonOwned));
	ok = ok && *out;
	for (size_t i = 0; ok && i < *n; i++)
		ok = take_owned(json_array_get(list, i), &(*out)[i]);
	if (!ok)
	{
		free(*out);
		*out = NULL;
	}
	json_decref(json);
	return ok;
}

void
json_list_each(const char *text, const char *member, void (*each) (void *arg, const char *text),
			   void *arg)
{
	json_t	   *json = json_loads(text, 0, NULL);
	json_t	   *list = json_object_get(json, member);

	for (size_t i = 0; i < json_array_size(list); i++)
		if (json_is_string(json_array_get(list, i)))
			each(arg, json_string_value(json_array_get(list, i)));
	json_decref(json);
}

/* A u64, which is text in JSON. */
static bool
take_number(json_t *row, const char *member, uint64_t *out)
{
	const char *text = json_string_value(json_object_get(row, member));
	char	   *end;

	if (!text || text[0] < '0' || text[0] > '9')
		return false;
	*out = strtoull(text, &end, 10);
	return *end == '\0';
}

static int
number_sorter(const void *a, const void *b)
{
	uint64_t	x = *(const uint64_t *) a;
	uint64_t	y = *(const uint64_t *) b;

	return (x > y) - (x < y);
}

/* Of the replicas of one shard; false: a row makes no sense. */
static bool
unindexed_of(json_t *list, const ClientMark *mark, uint64_t *out)
{
	uint64_t	each[WIRE_REPLICAS_MAX];
	size_t		n = 0;

	for (size_t i = 0; i < json_array_size(list); i++)
	{
		json_t	   *row = json_array_get(list, i);
		const char *role = json_string_value(json_object_get(row, "role"));
		uint64_t	shard;
		uint64_t	applied;
		uint64_t	unindexed;

		if (!role || !take_number(row, "shard", &shard) || !take_number(row, "applied", &applied) ||
			!take_number(row, "unindexed", &unindexed))
			return false;
		if (shard != mark->shard || strcmp(role, "learner") == 0 || n == WIRE_REPLICAS_MAX)
			continue;
		each[n++] = strcmp(role, "leader") == 0 ? 0 : applied < mark->index ? UINT64_MAX : unindexed;
	}
	qsort(each, n, sizeof(each[0]), number_sorter);
	*out = n == 0 ? UINT64_MAX : n == 1 ? 0 : each[n / 2];
	return true;
}

bool
json_unindexed(const char *text, const ClientMarks *marks, uint64_t *unindexed)
{
	json_t	   *json = json_loads(text, 0, NULL);
	json_t	   *list = json_object_get(json, "shards");
	bool		ok = json_is_array(list);

	*unindexed = 0;
	for (uint32_t i = 0; ok && i < marks->n; i++)
	{
		uint64_t	one = 0;

		ok = unindexed_of(list, &marks->items[i], &one);
		*unindexed = one > UINT64_MAX - *unindexed ? UINT64_MAX : *unindexed + one;
	}
	json_decref(json);
	return ok;
}

bool
json_page(const char *text, const char *member, ClientPage *page, char *out, size_t *len)
{
	json_t	   *json = json_loads(text, 0, NULL);
	json_t	   *list = json_object_get(json, member);
	bool		ok = client_page(json, page) && json_is_array(list);

	if (ok && page->whole)
		*len = 0;
	if (ok && json_array_size(list) > 0)
	{
		size_t		room = strlen(text);
		size_t		size = json_dumpb(list, out + *len, room, JSON_COMPACT);

		ok = size >= 2 && size <= room;
		/* Without its brackets, the first of which is where a comma belongs. */
		if (ok && *len > 0)
			out[*len] = ',';
		else if (ok)
			memmove(out, out + 1, size - 1);
		*len += !ok ? 0 : size - (*len > 0 ? 1 : 2);
	}
	json_decref(json);
	return ok;
}
