/*-------------------------------------------------------------------------
 *
 * collections.c
 *	  Collections: making them, and telling where their shards are.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "schedule.h"
#include "service.h"
#include "vec_names.h"

#define SHARDS_MAX 1024
#define READ_MOST_US (60 * INT64_C(1000000))
#define AGAIN_MS 1000			/* when as many wait as may: shards are made in about a second */

bool
collection_is_up(const CatalogCollection *c)
{
	for (uint32_t i = 0; i < c->nshards; i++)
		if (!c->shards[i].bootstrapped)
			return false;
	return true;
}

/* Voters that a collection should have. */
uint32_t
replicas_wanted(const Pd *pd, const CatalogCollection *c)
{
	uint32_t	wanted = c->replicas_wanted ? c->replicas_wanted : pd->options.default_replicas;

	return wanted < pd->options.replicas_max ? wanted : pd->options.replicas_max;
}

/*
 * Has all been read that stores have said, but for what came in this round, and has each told all that speaks?  A
 * thousand that tell a new leader everything take it many seconds, in which those that wait for it are not silent.  Beyond the first
 * minute of a reign that is no reason: then there is more to read than ever will be, or much is said
 * now and then, and what a round leaves over is read in the next.
 */
bool
reports_are_read(const Pd *pd)
{
	return (pd->behind_us == 0 && !untold_are_awaited(pd)) || pd->now_us - pd->led_since_us >= READ_MOST_US;
}

/*
 * Have the stores spoken to us since we lead?  Before that, who is silent may
 * just not have had the time, and nothing is placed or moved.
 */
bool
reports_are_in(Pd *pd)
{
	if (!reports_are_read(pd))
		return false;
	if (pd->now_us - pd->led_since_us >= SUSPECT_AFTER_US)
		return true;
	for (size_t i = 0; i < pd->catalog->nstores; i++)
		if (!beat_of(pd, pd->catalog->stores[i]->id) &&
			!store_is_superseded(pd, pd->catalog->stores[i]))
			return false;
	return true;
}

static const char *
endpoint_of(Pd *pd, uint64_t store)
{
	CatalogStore *home = catalog_store(pd->catalog, store);

	return home ? home->endpoint : "";
}

/* A shard of a route: all its replicas, and which one led when last heard. */
static json_t *
json_route_shard(Pd *pd, const CatalogShard *shard)
{
	json_t	   *out = json_object();
	json_t	   *replicas = json_array();
	uint64_t	leader;

	leader_of(pd, shard, &leader);
	json_object_set_new(out, "desc", json_desc(&shard->desc));
	json_object_set_new(out, "endpoint", json_string(endpoint_of(pd, leader ? leader : shard->desc.replicas[0].store)));
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];
		json_t	   *replica = json_object();

		json_object_set_new(replica, "store", json_u64(r->store));
		json_object_set_new(replica, "replica", json_u64(r->replica));
		json_object_set_new(replica, "role", json_string(r->role == ROLE_VOTER ? "voter" : "learner"));
		json_object_set_new(replica, "endpoint", json_string(endpoint_of(pd, r->store)));
		json_object_set_new(replica, "leader", json_boolean(r->store == leader));
		json_array_append_new(replicas, replica);
	}
	json_object_set_new(out, "replicas", replicas);
	return out;
}

static json_t *
json_route(Pd *pd, const CatalogCollection *c)
{
	json_t	   *route = json_object();
	json_t	   *shards = json_array();

	json_object_set_new(route, "generation", json_id(&c->generation));
	json_object_set_new(route, "owner", json_owner(&c->owner));
	json_object_set_new(route, "dim", json_integer(c->dim));
	json_object_set_new(route, "metric", json_string(metric_name(c->metric)));
	json_object_set_new(route, "m", json_integer(c->m));
	json_object_set_new(route, "ef_construction", json_integer(c->ef_construction));
	json_object_set_new(route, "element", json_string(element_name(c->element)));
	json_object_set_new(route, "quantization", json_string(quantization_name(c->quantization)));
	if (c->nattributes > 0)
		json_object_set_new(route, "attributes", json_attributes(c));
	json_object_set_new(route, "route_version", json_u64(c->route_version));
	json_object_set_new(route, "state", json_string("live"));
	json_object_set_new(route, "replicas_wanted", json_integer(replicas_wanted(pd, c)));
	for (uint32_t i = 0; i < c->nshards; i++)
		json_array_append_new(shards, json_route_shard(pd, &c->shards[i]));
	json_object_set_new(route, "shards", shards);
	return route;
}

void
route_forget(Pd *pd)
{
	free(pd->route);
	pd->route = NULL;
}

/* When something has happened to a collection all of its askers come at once: what they are told is made once. */
static void
answer_route(Pd *pd, Question *q, const CatalogCollection *c)
{
	if (!pd->route || !vt_id_equal(&pd->route_of, &c->generation))
	{
		json_t	   *reply = json_object();

		json_object_set_new(reply, "route", json_route(pd, c));
		route_forget(pd);
		pd->route = answer_words(VT_OK, reply, NULL);
		pd->route_of = c->generation;
	}
	answer_in_words(q, pd->route);
}

/* The stores that may take new replicas and have so much room, by id; free() it. */
static Candidate *
candidates_now(Pd *pd, Room room, size_t *n)
{
	Candidate  *candidates = vt_alloc0(sizeof(Candidate) * (pd->catalog->nstores + 1));

	*n = 0;
	for (size_t i = 0; i < pd->catalog->nstores; i++)
	{
		const CatalogStore *store = pd->catalog->stores[i];
		Candidate  *c = &candidates[*n];
		size_t		nshards;

		if (!store_is_up(pd, store->id) || store->draining || store->search_only ||
			store_room(beat_of(pd, store->id)) < room)
			continue;
		shards_of_store(pd, store->id, &nshards);
		c->store = store->id;
		c->site = spread_site(&pd->options.spread, store->labels);
		c->replicas = nshards;
		c->firsts = store_firsts(pd->catalog, store->id);
		++*n;
	}
	return candidates;
}

/*
 * Those with room enough; when there are none, those that will soon refuse data.  NULL:
 * there are none either.
 */
static Candidate *
candidates_best(Pd *pd, size_t *n, VtError *err)
{
	for (int room = ROOM_ENOUGH; room >= ROOM_NONE; room--)
	{
		Candidate  *candidates = candidates_now(pd, (Room) room, n);

		if (*n > 0 && room > ROOM_NONE)
			return candidates;
		free(candidates);
	}
	if (*n > 0)
		vt_fail(err, VT_FULL, "no worker has room on its disk and in its memory_limit (vectronctl check)");
	else
		vt_fail(err, VT_UNAVAILABLE, "no worker is up");
	return NULL;
}

/*
 * Make the shards of a new collection, with as many replicas as are wanted, or
 * as there are workers for.
 */
static VtStatus
place_shards(Pd *pd, CatalogCollection *c, uint32_t wanted, CatalogMeta *meta, VtError *err)
{
	size_t		n;
	Candidate  *candidates = candidates_best(pd, &n, err);
	size_t		r = replicas_wanted(pd, c);
	uint64_t   *stores;
	VtId		seed;

	if (!candidates)
		return err->code;
	r = r < n ? r : n;
	c->nshards = wanted ? wanted : (uint32_t) n;
	if (c->nshards > SHARDS_MAX)
		c->nshards = SHARDS_MAX;
	c->shards = vt_alloc0(sizeof(CatalogShard) * c->nshards);
	stores = vt_alloc(sizeof(uint64_t) * c->nshards * r);
	schedule_place(candidates, n, stores, c->nshards, r);
	vt_id_random(&seed);
	for (uint32_t i = 0; i < c->nshards; i++)
	{
		WireShardDesc *desc = &c->shards[i].desc;

		desc->generation = c->generation;
		desc->owner = c->owner;
		desc->shard = meta->next_id++;
		desc->incarnation = 1;
		schedule_interval(i, c->nshards, &desc->first, &desc->last);
		desc->conf_ver = 1;
		desc->range_ver = 1;
		desc->hash_kind = HASH_XXH3_64;
		desc->hash_seed = get_le64(seed.b);
		desc->dim = c->dim;
		desc->metric = c->metric;
		desc->element = c->element;
		desc->quantization = c->quantization;
		desc->m = c->m;
		desc->ef_construction = c->ef_construction;
		desc->nattributes = c->nattributes;
		memcpy(desc->attributes, c->attributes, sizeof(desc->attributes));
		desc->nreplicas = (uint8_t) r;
		for (size_t k = 0; k < r; k++)
		{
			desc->replicas[k].store = stores[i * r + k];
			desc->replicas[k].replica = meta->next_id++;
			desc->replicas[k].role = ROLE_VOTER;
		}
	}
	free(stores);
	free(candidates);
	return VT_OK;
}

/* The declared attributes, for people and for who asks for the route; NULL: there are none. */
json_t *
json_attributes(const CatalogCollection *c)
{
	json_t	   *names = c->nattributes > 0 ? json_array() : NULL;

	for (int i = 0; i < c->nattributes; i++)
		json_array_append_new(names, json_string(wire_attribute_name(c->attributes[i])));
	return names;
}

/* What is to be declared; absent: nothing. */
static bool
read_attributes(json_t *body, CatalogCollection *c)
{
	json_t	   *names = json_object_get(body, "attributes");
	size_t		n = json_array_size(names);

	if (n > WIRE_ATTRIBUTES_MAX || (names && !json_is_array(names)))
		return false;
	for (size_t i = 0; i < n; i++)
	{
		const char *name = json_string_value(json_array_get(names, i));

		if (!name || !wire_attribute_kind(name, &c->attributes[i]))
			return false;
	}
	c->nattributes = (uint8_t) n;
	return true;
}

/* Parse what is to be created; false = malformed. */
static bool
read_creation(json_t *body, CatalogCollection *c, int64_t *shards)
{
	int64_t		dim;
	int64_t		m;
	int64_t		ef;
	int64_t		replicas;
	const char *label = json_string_value(json_object_get(body, "label"));
	const char *metric = json_string_value(json_object_get(body, "metric"));
	const char *element = json_string_value(json_object_get(body, "element"));
	const char *quantization = json_string_value(json_object_get(body, "quantization"));

	memset(c, 0, sizeof(*c));
	if (!get_id(body, "generation", &c->generation) || vt_id_is_zero(&c->generation) ||
		!get_owner(body, &c->owner) || !get_int(body, "dim", 0, wire_max_dim(WIRE_BIT), &dim) ||
		!get_int(body, "m", 2, 100, &m) || !get_int(body, "ef_construction", 4, 1000, &ef) ||
		!get_int(body, "shards", 0, SHARDS_MAX, shards) || !get_int(body, "replicas", 0, WIRE_REPLICAS_MAX - 1, &replicas) ||
		!get_u64(body, "xid", &c->xid) || !metric || !metric_number(metric, &c->metric) ||
		!element_number(element ? element : "float32", &c->element) ||
		!quantization_number(quantization ? quantization : "none", &c->quantization) ||
		!read_attributes(body, c) || dim > wire_max_dim((WireElement) c->element) ||
		(c->metric >= METRIC_OF_BITS) != (c->element == WIRE_BIT) ||
		(c->element == WIRE_BIT && c->quantization != QUANTIZATION_NONE) ||
		(dim == 0 && (c->element != WIRE_FLOAT32 || c->quantization != QUANTIZATION_NONE)))
		return false;
	c->dim = (uint32_t) dim;
	c->m = (uint16_t) m;
	c->ef_construction = (uint16_t) ef;
	c->replicas_wanted = (uint32_t) replicas;
	c->state = COLLECTION_LIVE;
	c->route_version = 1;
	snprintf(c->label, sizeof(c->label), "%s", label ? label : "");
	return true;
}

/*
 * Make a collection, or find it made: *out is the catalog's row.  VT_OK also
 * while its shards are not all there yet.
 */
VtStatus
collection_create(Pd *pd, json_t *body, CatalogCollection **out, VtError *err)
{
	CatalogCollection c;
	CatalogCollection *known;
	int64_t		shards;

	if (!read_creation(body, &c, &shards))
		return vt_fail(err, VT_INVALID, "create_collection: members are missing or malformed");
	known = catalog_collection(pd->catalog, &c.generation);
	if (!known)
	{
		CatalogMeta meta;
		Buf			command = {0};
		VtStatus	status = VT_OK;

		if (!reports_are_in(pd))
			return vt_fail(err, VT_UNAVAILABLE,
						   "the placement driver has just started and waits for the workers' reports");
		if (c.nattributes > 0)
			status = level_reach(pd, VT_LEVEL_ATTRIBUTES, err);
		if (status == VT_OK && c.quantization == QUANTIZATION_INT8_ONLY)
			status = level_reach(pd, VT_LEVEL_CODES_ALONE, err);
		if (status == VT_OK && c.element == WIRE_BIT)
			status = level_reach(pd, VT_LEVEL_BITS, err);
		if (status == VT_OK && c.dim == 0)
			status = level_reach(pd, VT_LEVEL_NO_VECTORS, err);
		if (status != VT_OK)
			return status;
		meta = pd->catalog->meta;
		c.created_us = pd_wall_us(pd);
		status = place_shards(pd, &c, (uint32_t) shards, &meta, err);
		if (status != VT_OK)
			return status;
		command_begin(&command);
		command_meta(&command, &meta);
		command_collection(&command, &c);
		status = pd->commit(pd, &command);
		buf_free(&command);
		free(c.shards);
		if (status != VT_OK)
			return vt_fail(err, status, "the collection could not be recorded");
		known = catalog_collection(pd->catalog, &c.generation);
		if (!known)				/* by another leader's word, a moment later */
			return vt_fail(err, VT_GONE, "the generation was dropped");
		log_info("created \"%s\" with %u shards of %u replicas", known->label, known->nshards,
				 known->shards[0].desc.nreplicas);
	}
	if (!wire_owner_equal(&known->owner, &c.owner))
		return vt_fail(err, VT_NOT_OWNER, "the generation belongs to another server or database");
	if (known->state != COLLECTION_LIVE)
		return vt_fail(err, VT_GONE, "the generation was dropped");
	if (known->dim != c.dim || known->metric != c.metric || known->m != c.m ||
		known->ef_construction != c.ef_construction || known->element != c.element ||
		known->quantization != c.quantization || known->nattributes != c.nattributes ||
		memcmp(known->attributes, c.attributes, sizeof(c.attributes)) != 0)
		return vt_fail(err, VT_EXISTS, "the generation exists with other properties");
	*out = known;
	return VT_OK;
}

void
op_create(Pd *pd, Question *q)
{
	CatalogCollection *c;
	int64_t		wait_ms = 30000;
	VtError		err = {0};
	VtStatus	status;

	get_id(q->body, "generation", &q->generation);
	c = catalog_collection(pd->catalog, &q->generation);
	if ((!c || !collection_is_up(c)) && !park_has_room(pd, q))
	{
		/* Before anything is made. */
		pthread_mutex_lock(&pd->lock);
		pd->turned_away++;
		pthread_mutex_unlock(&pd->lock);
		refuse_for(q, AGAIN_MS);
		return;
	}
	status = collection_create(pd, q->body, &c, &err);
	if (status != VT_OK)
		refuse(q, status, "%s", vt_error_words(&err));
	else if (collection_is_up(c))
		answer_route(pd, q, c);
	else
	{
		get_int(q->body, "wait_ms", 0, 60000, &wait_ms);
		json_decref(q->body);
		q->body = NULL;
		if (!park(pd, q, wait_ms))
			refuse_for(q, AGAIN_MS);
	}
}

void
op_route(Pd *pd, Question *q)
{
	VtId		generation;
	uint64_t	shard;
	CatalogCollection *c;

	if (!get_id(q->body, "generation", &generation))
		refuse(q, VT_INVALID, "route: generation is missing or malformed");
	else if ((c = catalog_collection(pd->catalog, &generation)) == NULL)
		refuse(q, VT_UNKNOWN_GENERATION, "this cluster does not know the generation");
	else if (c->state != COLLECTION_LIVE)
		refuse(q, VT_GONE, "the generation was dropped");
	else if (collection_went_back(c, &shard) && !vt_broken("W7-life"))
		refuse(q, VT_LOST, "shard %" PRIu64 " lost a majority of its replicas: acknowledged writes may be missing", shard);
	else
		answer_route(pd, q, c);
}

/*
 * While no driver leads, what this one knows may be old, also older than what a client
 * has remembered: workers check every route (law D1), and a client's route never goes
 * back (D1-back).  Only a yes is answered; false: there is none.
 */
bool
op_route_unled(Pd *pd, Question *q)
{
	VtId		generation;
	uint64_t	shard;
	CatalogCollection *c;

	if (leader_endpoint(pd)[0] || !get_id(q->body, "generation", &generation) ||
		(c = catalog_collection(pd->catalog, &generation)) == NULL || c->state != COLLECTION_LIVE ||
		!collection_is_up(c) || collection_went_back(c, &shard))
		return false;
	answer_route(pd, q, c);
	return true;
}

/* Is it there now?  Looks at the shards once, not as often as is asked: who is there stays. */
static bool
came_up(Question *q, const CatalogCollection *c)
{
	while (q->up < c->nshards && c->shards[q->up].bootstrapped)
		q->up++;
	if (q->up < c->nshards)
		return false;
	q->up = 0;
	return collection_is_up(c);
}

/* A parked creation; false = it goes on waiting. */
bool
create_again(Pd *pd, Question *q)
{
	CatalogCollection *c = catalog_collection(pd->catalog, &q->generation);

	if (!c || c->state != COLLECTION_LIVE)
		refuse(q, VT_GONE, "the generation was dropped");
	else if (came_up(q, c))
		answer_route(pd, q, c);
	else if (pd->now_us >= q->until_us)
		refuse(q, VT_BUSY, "the workers have not made all shards yet");
	else
		return false;
	return true;
}
