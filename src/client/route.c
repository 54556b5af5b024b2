/*-------------------------------------------------------------------------
 *
 * route.c
 *	  Where the shards of a generation are: asked from PD, kept, checked.
 *
 * A route is outside data, taken only if it is whole (route_read.c): whoever has one can
 * trust that every id has exactly one place in it (law D1).  An entry keeps its address while it lives; its shards are replaced
 * by a refresh, which is why calls that go on copy what they need.
 *
 * What PD said is also kept for other processes of the server, if there is a
 * place for it (ClientOps.keep_route).  A client that is new takes it from there, asks PD
 * all the same, and goes by it when PD cannot be reached.
 *
 * The entries are in order of use, and those beyond ROUTES_MAX are forgotten.  One
 * that is stale (a worker refused what was sent by it) is asked for anew before it
 * is used again.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>

#include "private.h"

#define REFRESH_PAUSE_US 1000000
#define FRESHEN_US 1000000
#define ROUTES_MAX 1000

struct RouteEntry
{
	RouteEntry *next;
	ClientCollection route;
	ClientCollection told;		/* with what workers said meanwhile: the next to be used; without shards: nothing was said */
	bool		stale;
	int64_t		refresh_after_us;	/* PD was out of reach: not before this */
};

static RouteEntry **
find(Client *client, const VtId *generation)
{
	RouteEntry **p = &client->routes;

	while (*p && !vt_id_equal(&(*p)->route.generation, generation))
		p = &(*p)->next;
	return p;
}

/* The entry of a generation, which becomes the first; NULL = there is none. */
static RouteEntry *
use(Client *client, const VtId *generation)
{
	RouteEntry **p = find(client, generation);
	RouteEntry *entry = *p;

	if (!entry)
		return NULL;
	*p = entry->next;
	entry->next = client->routes;
	client->routes = entry;
	return entry;
}

/* What workers said of splits counts, now that nobody has the route in hand. */
static RouteEntry *
use_newest(Client *client, const VtId *generation)
{
	RouteEntry *entry = use(client, generation);

	if (entry && entry->told.shards)
	{
		free(entry->route.shards);
		entry->route = entry->told;
		entry->told.shards = NULL;
	}
	return entry;
}

bool
route_take_splits(Client *client, const WireShardDesc *asked, Bytes splits)
{
	RouteEntry *entry = *find(client, &asked->generation);
	const ClientCollection *now;
	WireShardDesc children[WIRE_SPLITS_MAX];
	uint32_t	n;

	if (!entry || splits.len == 0 || wire_splits_get(splits, children, &n) != VT_OK)
		return false;
	now = entry->told.shards ? &entry->told : &entry->route;
	for (uint32_t i = 0; i < n; i++)
	{
		ClientCollection after;

		if (!route_adopt(now, &children[i], &after))
			continue;
		free(entry->told.shards);
		entry->told = after;
		now = &entry->told;
	}
	for (uint32_t i = 0; i < now->nshards; i++)
		if (now->shards[i].desc.shard == asked->shard)
			return now->shards[i].desc.range_ver > asked->range_ver;
	return false;
}

void
client_route_forget(Client *client, const VtId *generation)
{
	RouteEntry **p = find(client, generation);
	RouteEntry *entry = *p;

	if (!entry)
		return;
	*p = entry->next;
	client->nroutes--;
	once_forget_all(client, generation);
	free(entry->route.shards);
	free(entry->told.shards);
	free(entry);
}

void
route_set_stale(Client *client, const VtId *generation)
{
	RouteEntry *entry = *find(client, generation);

	if (entry)
		entry->stale = true;
}

/* A new entry; the one that was not used for longest makes room. */
static RouteEntry *
make(Client *client, const VtId *generation)
{
	RouteEntry *entry = client->routes;

	if (client->nroutes >= ROUTES_MAX)
	{
		while (entry->next)
			entry = entry->next;
		client_route_forget(client, &entry->route.generation);
	}
	entry = vt_alloc0(sizeof(RouteEntry));
	entry->route.generation = *generation;
	entry->next = client->routes;
	client->routes = entry;
	client->nroutes++;
	return entry;
}

void
route_free_all(Client *client)
{
	while (client->routes)
		client_route_forget(client, &client->routes->route.generation);
}

/* A shard of a route, in this life; NULL: it has none.  Shards begin where they always began. */
static ClientShard *
shard_of(const ClientCollection *route, const WireShardDesc *desc)
{
	uint32_t	low = 0;
	uint32_t	high = route->nshards;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;
		ClientShard *shard = &route->shards[middle];

		if (shard->desc.shard == desc->shard && shard->desc.incarnation == desc->incarnation)
			return shard;
		if (shard->desc.first < desc->first)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* -- Taking in -------------------------------------------------------------- */

/*
 * What was known of replicas that are where they were.  A split puts children between
 * the shards, so positions are others then.
 */
static void
keep_known(ClientCollection *route, const ClientCollection *old)
{
	for (uint32_t i = 0; i < route->nshards; i++)
	{
		ClientShard *to = &route->shards[i];
		const ClientShard *from = shard_of(old, &to->desc);

		if (!from)
			continue;
		for (uint32_t k = 0; k < to->nplaces; k++)
			for (uint32_t l = 0; l < from->nplaces; l++)
				if (strcmp(to->places[k], from->places[l]) == 0)
					to->known[k] = from->known[l];
	}
}

/* Take the route out of an answer of PD into the cache. */
static VtStatus
take_route(Client *client, const VtId *generation, const char *reply,
		   const ClientCollection **out, VtError *err)
{
	json_t	   *body = json_loads(reply, JSON_REJECT_DUPLICATES, NULL);
	ClientCollection route;
	RouteEntry *entry;
	bool		good = route_read(json_object_get(body, "route"), &route);

	json_decref(body);
	if (!good || !vt_id_equal(&route.generation, generation))
	{
		free(route.shards);
		return vt_fail(err, VT_PROTOCOL, "the placement driver's route is malformed, or its shards "
					   "leave a hole or overlap");
	}
	entry = use_newest(client, generation);
	if (!entry)
		entry = make(client, generation);
	/* Numbers that a shard was asked for which this route does not have are not begun with again. */
	else if (!route_go_on(&entry->route, &route))
		once_forget_all(client, generation);
	keep_known(&route, &entry->route);
	free(entry->route.shards);
	entry->route = route;
	entry->stale = false;
	*out = &entry->route;
	return VT_OK;
}

static void
keep_words(Client *client, const VtId *generation, Bytes words)
{
	if (client->ops.keep_route)
		client->ops.keep_route(client->ops.arg, generation, words);
}

/* The route in PD's last answer: into the cache, and kept for others. */
static VtStatus
keep_route(Client *client, const VtId *generation, const char *reply,
		   const ClientCollection **out, VtError *err)
{
	VtStatus	status = take_route(client, generation, reply, out, err);

	if (status == VT_OK)
		keep_words(client, generation, bytes_str(reply));
	return status;
}

/* What PD told another process of this server; stale, since that may be long ago.  NULL: nothing. */
static RouteEntry *
recall(Client *client, const VtId *generation)
{
	const ClientCollection *route;
	Buf			words = {0};
	bool		good = client->ops.kept_route && client->ops.kept_route(client->ops.arg, generation, &words);

	buf_put_u8(&words, 0);
	good = good && take_route(client, generation, (const char *) words.data, &route, NULL) == VT_OK;
	buf_free(&words);
	if (good)
		route_set_stale(client, generation);
	return good ? *find(client, generation) : NULL;
}

/* known: there is an old one, so a driver that has too much to do is left alone. */
static VtStatus
ask_pd(Client *client, const VtId *generation, bool known, int64_t deadline_us, const ClientCollection **out,
	   VtError *err)
{
	char		id[VT_ID_TEXT];
	char		request[96];
	const char *reply;
	VtStatus	status;

	vt_id_format(generation, id);
	snprintf(request, sizeof(request), "{\"op\":\"route\",\"generation\":\"%s\"}", id);
	status = known ? control_once(client, request, deadline_us, &reply, err) :
		client_control(client, request, deadline_us, &reply, err);
	if (status == VT_OK)
		return keep_route(client, generation, reply, out, err);
	if (status == VT_UNKNOWN_GENERATION || status == VT_GONE)
	{
		client_route_forget(client, generation);
		keep_words(client, generation, bytes_of("", 0));
	}
	return status;
}

/*
 * Ask PD for a route that is known.  PD out of reach, or with too much to do, is no failure,
 * since the old one may be right, and half of the time is left for whom it names; patient:
 * then it is not asked again at once.
 */
static VtStatus
freshen(Client *client, RouteEntry *entry, bool patient, int64_t deadline_us,
		const ClientCollection **out, VtError *err)
{
	const VtId	generation = entry->route.generation;
	int64_t		now_us = clock_now_us();
	int64_t		half_us = (deadline_us - now_us) / 2;
	VtError		failure = {0};
	VtStatus	status = ask_pd(client, &generation, true, now_us + (half_us < FRESHEN_US ? half_us : FRESHEN_US), out, &failure);

	if (status != VT_OK && status_is_passing(status))
	{
		if (patient)
			entry->refresh_after_us = clock_now_us() + REFRESH_PAUSE_US;
		*out = &entry->route;
		return VT_OK;
	}
	if (status != VT_OK && err)
		*err = failure;
	return status;
}

VtStatus
client_route(Client *client, const VtId *generation, bool refresh, int64_t deadline_us,
			 const ClientCollection **out, VtError *err)
{
	RouteEntry *entry = use_newest(client, generation);

	*out = NULL;
	if (!entry && !refresh)
		entry = recall(client, generation);
	if (!entry || refresh)
		return ask_pd(client, generation, false, deadline_us, out, err);
	if (entry->stale && clock_now_us() >= entry->refresh_after_us)
		return freshen(client, entry, true, deadline_us, out, err);
	*out = &entry->route;
	return VT_OK;
}

VtStatus
route_again(Client *client, const VtId *generation, const Retry *retry, int64_t deadline_us,
			const ClientCollection **out, VtError *err)
{
	RouteEntry *entry = use_newest(client, generation);

	if (!entry || !retry->refresh || clock_now_us() < entry->refresh_after_us)
		return client_route(client, generation, false, deadline_us, out, err);
	/* Other replicas may answer: not each round of them waits for PD. */
	return freshen(client, entry, retry->replicated, deadline_us, out, err);
}

/* -- Using ----------------------------------------------------------------- */

ClientShard *
route_shard(Client *client, const WireShardDesc *desc)
{
	RouteEntry *entry = *find(client, &desc->generation);

	return entry ? shard_of(&entry->route, desc) : NULL;
}

const WireShardDesc *
route_parent(const ClientCollection *route, const WireShardDesc *desc)
{
	for (uint32_t i = 0; i < route->nshards && desc->parent != 0; i++)
		if (route->shards[i].desc.shard == desc->parent && route->shards[i].desc.first < desc->first)
			return &route->shards[i].desc;
	return NULL;
}

uint32_t
route_born_ver(const ClientCollection *route, const WireShardDesc *desc)
{
	uint32_t	born = desc->range_ver;

	for (uint32_t i = 0; i < route->nshards; i++)
		born -= route->shards[i].desc.parent == desc->shard;
	return born;
}

uint32_t
shard_place(const ClientShard *shard, const char *endpoint)
{
	uint32_t	at = 0;

	while (at < shard->nplaces && strcmp(shard->places[at], endpoint) != 0)
		at++;
	return at;
}

uint32_t
route_place(const ClientCollection *route, Bytes id)
{
	uint64_t	place = wire_place(&route->shards[0].desc, id);
	uint32_t	low = 0;
	uint32_t	high = route->nshards - 1;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;

		if (place > route->shards[middle].desc.last)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
route_miss(Client *client, const ClientShard *shard, const char *endpoint)
{
	RouteEntry *entry = *find(client, &shard->desc.generation);

	for (uint32_t i = 0; entry && i < entry->route.nshards; i++)
	{
		ClientShard *known = &entry->route.shards[i];
		uint32_t	at;

		if (known->desc.shard != shard->desc.shard)
			continue;
		if (strcmp(known->endpoint, endpoint) != 0)
			return false;		/* another question has turned away from it already */
		at = shard_place(known, known->endpoint);
		memcpy(known->endpoint, known->places[(at + 1) % known->nplaces], ENDPOINT_SIZE);
		return ++known->misses % known->nplaces == 0;
	}
	return true;
}

void
shard_take_places(ClientShard *to, const ClientShard *from)
{
	memcpy(to->endpoint, from->endpoint, sizeof(to->endpoint));
	memcpy(to->places, from->places, sizeof(to->places));
	to->nplaces = from->nplaces;
}

bool
route_same_shape(const ClientCollection *route, const ClientShard *shards, uint32_t n)
{
	if (route->nshards != n)
		return false;
	for (uint32_t i = 0; i < n; i++)
	{
		const WireShardDesc *a = &route->shards[i].desc;
		const WireShardDesc *b = &shards[i].desc;

		if (a->shard != b->shard || a->incarnation != b->incarnation || a->first != b->first ||
			a->last != b->last || a->range_ver != b->range_ver)
			return false;
	}
	return true;
}

/* -- Creating -------------------------------------------------------------- */

/* The kinds of what is to be declared, by name; NULL: nothing is. */
static json_t *
json_attributes(const ClientCreate *create)
{
	json_t	   *names = create->nattributes > 0 ? json_pack("[]") : NULL;

	for (uint32_t i = 0; i < create->nattributes; i++)
		json_array_append_new(names, json_string(wire_attribute_name(create->attributes[i])));
	return names;
}

/* Has the collection the attributes that were asked for? */
static bool
declares(const ClientCollection *route, const ClientCreate *create)
{
	return route->nattributes == create->nattributes &&
		memcmp(route->attributes, create->attributes, create->nattributes) == 0;
}

static const char *
quantization_name(WireQuantization quantization)
{
	switch (quantization)
	{
		case QUANTIZATION_NONE:
			return "none";
		case QUANTIZATION_INT8:
			return "int8";
		case QUANTIZATION_INT8_ONLY:
			return "int8_only";
	}
	return NULL;
}

static char *
creation_text(const ClientCreate *create, int64_t deadline_us)
{
	char		generation[VT_ID_TEXT];
	char		incarnation[VT_ID_TEXT];
	char		system[24];
	char		xid[24];
	uint32_t	wait_ms = deadline_ms(deadline_us);
	json_t	   *body;
	char	   *text;

	vt_id_format(&create->generation, generation);
	vt_id_format(&create->owner.incarnation, incarnation);
	snprintf(system, sizeof(system), "%" PRIu64, create->owner.system);
	snprintf(xid, sizeof(xid), "%" PRIu64, create->xid);
	/* The answer should be on its way before we stop listening. */
	wait_ms = wait_ms > 60000 ? 60000 : wait_ms - wait_ms / 10;
	body = json_pack("{s:s, s:s, s:{s:s, s:s, s:I}, s:I, s:s, s:s, s:i, s:i, s:s, s:I, s:I, s:s, s:s, s:I, s:o*}",
					 "op", "create_collection",
					 "generation", generation,
					 "owner", "system", system, "incarnation", incarnation,
					 "database", (json_int_t) create->owner.database,
					 "dim", (json_int_t) create->dim,
					 "metric", vec_metric_name(create->metric),
					 "element", vec_element_name(create->element ? create->element : VEC_FLOAT32),
					 "m", (int) create->m,
					 "ef_construction", (int) create->ef_construction,
					 "quantization", quantization_name(create->quantization),
					 "shards", (json_int_t) create->shards,
					 "replicas", (json_int_t) create->replicas,
					 "xid", xid,
					 "label", create->label ? create->label : "",
					 "wait_ms", (json_int_t) wait_ms,
					 "attributes", json_attributes(create));
	text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	return text;
}

VtStatus
client_create(Client *client, const ClientCreate *create, int64_t deadline_us, VtError *err)
{
	Retry		retry = {0};

	if (!vec_metric_valid(create->metric))
		return vt_fail(err, VT_INVALID, "unrecognized metric %d", (int) create->metric);
	if (create->element != 0 && !vec_element_valid(create->element))
		return vt_fail(err, VT_INVALID, "unrecognized element %d", (int) create->element);
	if (!vec_metric_fits(create->metric, create->element))
		return vt_fail(err, VT_INVALID, "the metric %s is not for vectors of %s", vec_metric_name(create->metric),
					   vec_element_name(create->element ? create->element : VEC_FLOAT32));
	if (create->element == VEC_BIT && create->quantization != QUANTIZATION_NONE)
		return vt_fail(err, VT_INVALID, "vectors of bits are not quantized");
	if (!quantization_name(create->quantization))
		return vt_fail(err, VT_INVALID, "unrecognized quantization %d", (int) create->quantization);
	if (create->nattributes > WIRE_ATTRIBUTES_MAX)
		return vt_fail(err, VT_INVALID, "%u attributes are more than %d", create->nattributes, WIRE_ATTRIBUTES_MAX);
	for (uint32_t i = 0; i < create->nattributes; i++)
		if (!wire_attribute_name(create->attributes[i]))
			return vt_fail(err, VT_INVALID, "unrecognized kind of attribute %u", create->attributes[i]);
	for (;;)
	{
		char	   *text = creation_text(create, deadline_us);
		VtError		failure = {0};
		const ClientCollection *route;
		const char *reply;
		VtStatus	status;

		if (!text)
			return vt_fail(err, VT_INVALID, "the label of the collection is no UTF-8 text");
		status = client_control(client, text, deadline_us, &reply, &failure);
		free(text);
		if (status == VT_OK)
			status = keep_route(client, &create->generation, reply, &route, &failure);
		/* A driver of an older release does not read what is declared, and makes one without. */
		if (status == VT_OK && !declares(route, create))
			return vt_fail(err, VT_VERSION, "the placement driver made the collection without its attributes: it is of an older release");
		if (status == VT_OK)
			return VT_OK;
		/* No worker has come up yet, or not all have made their shards. */
		if (reply && (status == VT_UNAVAILABLE || status == VT_BUSY))
		{
			retry_note_failure(&retry, status, &failure);
			status = retry_wait(client, &retry, deadline_us, err);
			if (status == VT_OK)
				continue;
			return status;
		}
		if (err)
			*err = failure;
		return status;
	}
}
