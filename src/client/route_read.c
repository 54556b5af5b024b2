/*-------------------------------------------------------------------------
 *
 * route_read.c
 *	  A route in the placement driver's words.
 *
 * It is outside data.  It is taken only if its shards are sorted, tile the whole hash
 * space, and agree in generation, owner, dimension, metric, element and seed.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/breaks.h"
#include "private.h"

static bool
read_u64(json_t *object, const char *name, uint64_t *out)
{
	const char *text = json_string_value(json_object_get(object, name));
	uint64_t	value = 0;

	if (!text || *text == '\0')
		return false;
	for (; *text; text++)
	{
		uint64_t	digit = (uint64_t) (*text - '0');

		if (*text < '0' || *text > '9' || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*out = value;
	return true;
}

static bool
read_id(json_t *object, const char *name, VtId *out)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text && vt_id_parse(text, out);
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
read_desc(json_t *object, WireShardDesc *out)
{
	const char *hex = json_string_value(json_object_get(object, "desc"));
	Buf			bytes = {0};
	Cursor		c;
	bool		good = hex != NULL && *hex != '\0';

	for (; good && *hex; hex += 2)
	{
		int			high = hex_digit(hex[0]);
		int			low = high < 0 ? -1 : hex_digit(hex[1]);

		good = low >= 0;
		if (good)
			buf_put_u8(&bytes, (uint8_t) (high << 4 | low));
	}
	if (good)
	{
		c = cursor_of(buf_bytes(&bytes));
		good = wire_desc_get(&c, out) == VT_OK && cursor_done(&c);
	}
	buf_free(&bytes);
	return good;
}

static int
shard_compare(const void *a, const void *b)
{
	uint64_t	x = ((const ClientShard *) a)->desc.first;
	uint64_t	y = ((const ClientShard *) b)->desc.first;

	return x < y ? -1 : x > y;
}

bool
route_agrees(const ClientCollection *route)
{
	uint64_t	next = 0;

	for (uint32_t i = 0; i < route->nshards; i++)
	{
		const WireShardDesc *d = &route->shards[i].desc;

		if ((d->first != next && !vt_broken("D1-route")) || !vt_id_equal(&d->generation, &route->generation) ||
			!wire_owner_equal(&d->owner, &route->owner) || d->dim != route->dim ||
			d->metric != (uint8_t) route->metric || d->element != (uint8_t) route->element ||
			d->nattributes != route->nattributes ||
			memcmp(d->attributes, route->attributes, sizeof(route->attributes)) != 0 ||
			d->hash_seed != route->shards[0].desc.hash_seed)
			return false;
		if (d->last == UINT64_MAX)
			return i + 1 == route->nshards;
		next = d->last + 1;
	}
	return false;
}

/*
 * Where the replicas of a shard are, the leader first; a PD that names none knows one.
 * Each place once: while a lost replica is replaced by one of a new store in the same place
 * (a worker that came back empty) the route names both, and there is one to ask.
 */
static bool
read_places(json_t *object, ClientShard *out)
{
	json_t	   *replicas = json_object_get(object, "replicas");
	const char *endpoint = json_string_value(json_object_get(object, "endpoint"));
	size_t		n = json_array_size(replicas);

	if (!endpoint || strlen(endpoint) >= ENDPOINT_SIZE || n > WIRE_REPLICAS_MAX)
		return false;
	memcpy(out->endpoint, endpoint, strlen(endpoint) + 1);
	memcpy(out->places[0], endpoint, strlen(endpoint) + 1);
	out->nplaces = 1;
	for (size_t i = 0; i < n; i++)
	{
		const char *place = json_string_value(json_object_get(json_array_get(replicas, i), "endpoint"));

		if (!place || strlen(place) >= ENDPOINT_SIZE)
			return false;
		if (place[0] == '\0' || shard_place(out, place) < out->nplaces || out->nplaces == WIRE_REPLICAS_MAX)
			continue;
		memcpy(out->places[out->nplaces++], place, strlen(place) + 1);
	}
	return true;
}

bool
route_read(json_t *object, ClientCollection *out)
{
	json_t	   *owner = json_object_get(object, "owner");
	json_t	   *database = json_object_get(owner, "database");
	json_t	   *dim = json_object_get(object, "dim");
	json_t	   *wanted = json_object_get(object, "replicas_wanted");
	json_t	   *shards = json_object_get(object, "shards");
	size_t		n = json_array_size(shards);

	memset(out, 0, sizeof(*out));
	if (json_is_integer(wanted) && json_integer_value(wanted) > 0)
		out->replicas_wanted = json_integer_value(wanted) < WIRE_REPLICAS_MAX ?
			(uint32_t) json_integer_value(wanted) : WIRE_REPLICAS_MAX;
	if (!read_id(object, "generation", &out->generation) ||
		!read_u64(owner, "system", &out->owner.system) ||
		!read_id(owner, "incarnation", &out->owner.incarnation) || !json_is_integer(database) ||
		!json_is_integer(dim) || !read_u64(object, "route_version", &out->route_version) ||
		n < 1 || n > SHARDS_MAX)
		return false;
	if (json_integer_value(database) < 0 || json_integer_value(database) > UINT32_MAX ||
		json_integer_value(dim) < 0 || json_integer_value(dim) > VEC_MAX_BITS)
		return false;
	out->owner.database = (uint32_t) json_integer_value(database);
	out->dim = (uint32_t) json_integer_value(dim);
	out->nshards = (uint32_t) n;
	out->shards = vt_alloc0(sizeof(ClientShard) * n);
	for (size_t i = 0; i < n; i++)
	{
		json_t	   *shard = json_array_get(shards, i);

		if (!read_places(shard, &out->shards[i]) || !read_desc(shard, &out->shards[i].desc))
			return false;
	}
	qsort(out->shards, n, sizeof(ClientShard), shard_compare);
	out->metric = (VecMetric) out->shards[0].desc.metric;
	out->element = (VecElement) out->shards[0].desc.element;
	out->nattributes = out->shards[0].desc.nattributes;
	memcpy(out->attributes, out->shards[0].desc.attributes, sizeof(out->attributes));
	return vec_metric_valid(out->metric) && route_agrees(out);
}
