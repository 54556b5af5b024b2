/*-------------------------------------------------------------------------
 *
 * drop.c
 *	  How a collection ends (law W8): unused, hidden, doomed, gone.
 *
 *	   live		a sweep of its owner found it unused: the time is noted, and only a
 *				second sweep, an interval later, drops it.  A sweep that finds it
 *				used again clears the note.
 *	   hidden	dropped, by such a sweep or by the owner's own word after the
 *				commit of a DROP.  No route leads to it; its workers close it, so that
 *				it takes no memory; its data is kept (keep_dropped), and undrop
 *				brings it back.
 *	   doomed	kept long enough, or its disk is short.  There is no way back:
 *				its workers are told to delete their shards until each has said
 *				that it did.
 *	   gone		the last shard is deleted, and so is the row.  Ids are never used
 *				again, so nothing that comes late can mean another collection.
 *
 * How the data of a doomed one goes is told in delete.c.
 *
 * How long something has been so is counted by the leaders, by clocks that never
 * jump, and the count is in the log: every minute while something waits, and with
 * whatever begins to wait.  No wall clock decides, so none that is wrong can.
 *
 * Each step is one command in the log, and each is asked for or looked at again
 * until it has been done, so a crash of anybody in between only delays it.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/breaks.h"
#include "base/log.h"
#include "schedule.h"
#include "service.h"

#define LOOK_US (1 * INT64_C(1000000))
#define COUNT_US (60 * INT64_C(1000000))

int64_t
pd_lived_us(const Pd *pd)
{
	return pd->lived_before_us + pd->now_us - pd->led_since_us;
}

/* Before it was counted, wall times stood in its place: the count goes on from there. */
void
drops_reign(Pd *pd)
{
	pd->lived_before_us = pd->catalog->lived_us ? pd->catalog->lived_us : pd_wall_us(pd);
}

/* The changed collection as it will be in this state. */
static CatalogCollection
in_state(const CatalogCollection *c, CollectionState state, int64_t unused_us)
{
	CatalogCollection changed = *c;

	changed.state = state;
	changed.unused_us = unused_us;
	if (state != c->state)
		changed.route_version++;
	return changed;
}

static VtStatus
commit_collection(Pd *pd, const CatalogCollection *changed)
{
	Buf			command = {0};
	VtStatus	status;

	command_begin(&command);
	command_lived(&command, pd_lived_us(pd));
	command_collection(&command, changed);
	if (changed->state == COLLECTION_DOOMED)
		split_owe(pd, &command, changed);
	status = pd->commit(pd, &command);
	buf_free(&command);
	return status;
}

/* drop_collection (to hidden) and undrop_collection (to live) */
void
op_drop(Pd *pd, Question *q, CollectionState to)
{
	VtId		generation;
	WireOwner	owner;
	CatalogCollection *c;
	CatalogCollection changed;
	VtStatus	status;

	if (!get_id(q->body, "generation", &generation) || !get_owner(q->body, &owner))
	{
		refuse(q, VT_INVALID, "members are missing or malformed");
		return;
	}
	c = catalog_collection(pd->catalog, &generation);
	if (c && !wire_owner_equal(&c->owner, &owner))
		refuse(q, VT_NOT_OWNER, "the generation belongs to another server or database");
	else if (c && !lease_is_held(pd, q->body, &owner))
		refuse(q, VT_NOT_OWNER, "another server has gone on with the owner's incarnation");
	else if (!c && to == COLLECTION_LIVE)
		refuse(q, VT_UNKNOWN_GENERATION, "this cluster does not know the generation");
	else if (c && c->state == COLLECTION_DOOMED && to == COLLECTION_LIVE)
		refuse(q, VT_GONE, "the generation was dropped too long ago: its data is being deleted");
	else if (!c || c->state == to || c->state == COLLECTION_DOOMED)
		answer(q, VT_OK, NULL, NULL);	/* said twice: the first time counts */
	else
	{
		changed = in_state(c, to, to == COLLECTION_HIDDEN ? pd_lived_us(pd) : 0);
		status = commit_collection(pd, &changed);
		log_info("%s \"%s\"", to == COLLECTION_HIDDEN ? "dropped" : "brought back", changed.label);
		answer(q, status, NULL, NULL);
	}
}

static bool
is_of(const CatalogCollection *c, const WireOwner *owner)
{
	return c->owner.system == owner->system &&
		vt_id_equal(&c->owner.incarnation, &owner->incarnation) &&
		(owner->database == 0 || c->owner.database == owner->database);
}

/*
 * What lives here of one owner, or with database 0 of all databases of one
 * incarnation, and which transaction made it: what a sweep begins with.
 */
void
op_owned(Pd *pd, Question *q)
{
	WireOwner	owner;
	json_t	   *reply;
	json_t	   *list;

	if (!get_owner(q->body, &owner))
	{
		refuse(q, VT_INVALID, "owned: owner is missing or malformed");
		return;
	}
	list = json_array();
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
	{
		CatalogCollection *c = pd->catalog->collections[i];
		json_t	   *row;

		if (c->state != COLLECTION_LIVE || !is_of(c, &owner))
			continue;
		row = json_object();
		json_object_set_new(row, "generation", json_id(&c->generation));
		json_object_set_new(row, "database", json_integer(c->owner.database));
		json_object_set_new(row, "xid", json_u64(c->xid));
		json_object_set_new(row, "unused", json_boolean(c->unused_us != 0));
		json_object_set_new(row, "label", json_string(c->label));
		json_array_append_new(list, row);
	}
	reply = json_object();
	json_object_set_new(reply, "owned", list);
	answer(q, VT_OK, reply, NULL);
}

/* Is it among the generations of the list? */
static bool
is_listed(json_t *generations, const VtId *generation)
{
	char		hex[VT_ID_TEXT];
	size_t		i;
	json_t	   *item;

	vt_id_format(generation, hex);
	json_array_foreach(generations, i, item)
	{
		if (json_is_string(item) && strcmp(json_string_value(item), hex) == 0)
			return true;
	}
	return false;
}

/* Has it been so for so long? */
static bool
has_lasted(Pd *pd, int64_t since_us, int64_t interval_us)
{
	return since_us != 0 && pd_lived_us(pd) - since_us >= interval_us;
}

/* While something waits the count is noted now and then. */
static void
note_count(Pd *pd)
{
	Buf			command = {0};
	bool		waits = false;

	for (size_t i = 0; i < pd->catalog->ncollections && !waits; i++)
		waits = pd->catalog->collections[i]->unused_us != 0 &&
			pd->catalog->collections[i]->state != COLLECTION_DOOMED;
	if (!waits || (pd->catalog->lived_us != 0 && pd_lived_us(pd) - pd->catalog->lived_us < COUNT_US))
		return;
	command_begin(&command);
	command_lived(&command, pd_lived_us(pd));
	(void) pd->commit(pd, &command);
	buf_free(&command);
}

/*
 * The result of a sweep of one database: which of its collections no index
 * needs.  Found unused for the first time is noted; an interval later it drops.
 */
void
op_unused(Pd *pd, Question *q)
{
	WireOwner	owner;
	int64_t		interval_ms;
	json_t	   *generations = json_object_get(q->body, "generations");
	json_t	   *noted = json_array();
	json_t	   *dropped = json_array();
	int64_t		now = pd_lived_us(pd);
	bool		changes = false;
	Buf			command = {0};
	VtStatus	status = VT_OK;
	json_t	   *reply;

	if (!get_owner(q->body, &owner) || owner.database == 0 || !json_is_array(generations) ||
		!get_int(q->body, "interval_ms", 0, INT64_C(100) * 86400 * 1000, &interval_ms))
	{
		json_decref(noted);
		json_decref(dropped);
		refuse(q, VT_INVALID, "unused: members are missing or malformed");
		return;
	}
	if (!lease_is_held(pd, q->body, &owner))
	{
		json_decref(noted);
		json_decref(dropped);
		refuse(q, VT_NOT_OWNER, "unused: another server has gone on with the owner's incarnation");
		return;
	}
	command_begin(&command);
	command_lived(&command, now);
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
	{
		CatalogCollection *c = pd->catalog->collections[i];
		CatalogCollection changed = in_state(c, c->state, 0);
		bool		unused;

		if (c->state != COLLECTION_LIVE || !is_of(c, &owner))
			continue;
		unused = is_listed(generations, &c->generation);
		if (unused && (has_lasted(pd, c->unused_us, interval_ms * 1000) || vt_broken("W8-twice")))
		{
			changed = in_state(c, COLLECTION_HIDDEN, now);
			json_array_append_new(dropped, json_id(&c->generation));
			log_info("dropped \"%s\": two sweeps found that no index needs it", c->label);
		}
		else if (unused)
		{
			json_array_append_new(noted, json_id(&c->generation));
			if (c->unused_us != 0)
				continue;
			changed.unused_us = now;
		}
		else if (c->unused_us == 0)
			continue;
		command_collection(&command, &changed);
		changes = true;
	}
	if (changes)
		status = pd->commit(pd, &command);
	buf_free(&command);
	reply = json_object();
	json_object_set_new(reply, "noted", noted);
	json_object_set_new(reply, "dropped", dropped);
	answer(q, status, reply, NULL);
}

/*
 * A person says that an incarnation of a server is gone for good: everything
 * that lives of it is dropped.  No sweep does that, since its owner may be alive.
 */
void
op_retire(Pd *pd, Question *q)
{
	WireOwner	owner = {0};
	json_t	   *dropped = json_array();
	int64_t		now = pd_lived_us(pd);
	Buf			command = {0};
	VtStatus	status = VT_OK;
	json_t	   *reply;

	if (!get_u64(q->body, "system", &owner.system) ||
		!get_id(q->body, "incarnation", &owner.incarnation) || vt_id_is_zero(&owner.incarnation))
	{
		json_decref(dropped);
		refuse(q, VT_INVALID, "retire: members are missing or malformed");
		return;
	}
	command_begin(&command);
	command_lived(&command, now);
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
	{
		CatalogCollection *c = pd->catalog->collections[i];
		CatalogCollection changed = in_state(c, COLLECTION_HIDDEN, now);

		if (c->state != COLLECTION_LIVE || !is_of(c, &owner))
			continue;
		command_collection(&command, &changed);
		json_array_append_new(dropped, json_id(&c->generation));
	}
	if (json_array_size(dropped) > 0)
		status = pd->commit(pd, &command);
	log_info("retired an incarnation: dropped %zu collections", json_array_size(dropped));
	buf_free(&command);
	reply = json_object();
	json_object_set_new(reply, "dropped", dropped);
	answer(q, status, reply, NULL);
}

/* Has a collection data on this store? */
static bool
has_data_on(const CatalogCollection *c, uint64_t store)
{
	uint64_t	replica;

	for (uint32_t i = 0; i < c->nshards; i++)
		if (operate_has_replica(&c->shards[i], store, &replica))
			return true;
	return false;
}

/*
 * Does a store whose disk is short hold data of it, with no deletion under way there?  One that is
 * away, or forgotten, frees nothing: what it said last would take one after the other, for nothing.
 */
static bool
frees_a_short_disk(Pd *pd, const CatalogCollection *c)
{
	for (size_t i = 0; i < pd->nbeats; i++)
	{
		uint64_t	store = pd->beats[i]->store;
		bool		under_way = false;

		if (!pd->beats[i]->disk_short || !store_is_up(pd, store) || !catalog_store(pd->catalog, store) || !has_data_on(c, store))
			continue;
		for (size_t j = 0; j < pd->catalog->ncollections && !under_way; j++)
			under_way = pd->catalog->collections[j]->state == COLLECTION_DOOMED &&
				has_data_on(pd->catalog->collections[j], store);
		if (!under_way)
			return true;
	}
	return false;
}

/* Has a dropped collection been kept long enough?  One each time. */
void
drops_look(Pd *pd)
{
	size_t		n = pd->catalog->ncollections;
	int64_t		now = pd->now_us;
	Kept	   *kept;
	CatalogCollection **which;
	size_t		nkept = 0;
	size_t		next;

	if (now < pd->drops_due_us)
		return;
	pd->drops_due_us = now + LOOK_US;
	note_count(pd);
	for (size_t i = 0; i < n; i++)
		if (pd->catalog->collections[i]->state == COLLECTION_DOOMED && delete_without_lost(pd, pd->catalog->collections[i]))
		{
			pd->drops_due_us = now; /* there may be more; the list is another one now */
			return;
		}
	kept = vt_alloc(sizeof(Kept) * (n + 1));
	which = vt_alloc(sizeof(CatalogCollection *) * (n + 1));
	for (size_t i = 0; i < n; i++)
	{
		CatalogCollection *c = pd->catalog->collections[i];

		if (c->state != COLLECTION_HIDDEN)
			continue;
		kept[nkept].since_us = c->unused_us;
		kept[nkept].disk_short = frees_a_short_disk(pd, c);
		which[nkept++] = c;
	}
	next = schedule_delete(kept, nkept, pd_lived_us(pd), pd->options.keep_dropped_us);
	if (next < nkept)
	{
		CatalogCollection changed = in_state(which[next], COLLECTION_DOOMED, which[next]->unused_us);

		log_info("deleting the data of \"%s\"%s", changed.label,
				 kept[next].disk_short ? ": a disk is short" : "");
		if (commit_collection(pd, &changed) == VT_OK)
			pd->drops_due_us = now;	/* there may be more */
	}
	free(which);
	free(kept);
}
