/*-------------------------------------------------------------------------
 *
 * meet.c
 *	  Placement drivers that hear of each other: where they are, and which of them
 *	  leads.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/level.h"
#include "base/log.h"
#include "service.h"

#define TELL_FOREIGN_US (60 * INT64_C(1000000))

const ReplicaMember *
driver_member(const ReplicaMembers *members, uint64_t id)
{
	for (uint32_t i = 0; i < members->n; i++)
		if (members->members[i].member.id == id)
			return &members->members[i];
	return NULL;
}

const char *
leader_endpoint(Pd *pd)
{
	Replica    *replica = atomic_load(&pd->replica);
	ReplicaStatus status;
	CatalogDriver *driver;

	if (!replica)
		return "";
	replica_status(replica, &status);
	driver = status.leader_replica ? catalog_driver(pd->catalog, status.leader_replica) : NULL;
	for (uint32_t i = 0; !driver && status.leader_replica && i < pd->founders.n; i++)
		if (pd->founders.members[i].id == status.leader_replica)
			driver = &pd->founders.members[i];
	return driver ? driver->endpoint : "";
}

/* Another driver than we, each time the next one; NULL: there is none. */
static const CatalogDriver *
another_driver(Pd *pd)
{
	for (size_t i = 0; i < pd->catalog->ndrivers; i++)
	{
		const CatalogDriver *d = pd->catalog->drivers[pd->hints++ % pd->catalog->ndrivers];

		if (d->id != pd->id)
			return d;
	}
	return NULL;
}

/* Others are drivers, and we are none any more: they have told us. */
static bool
was_removed(Pd *pd)
{
	Replica    *replica = atomic_load(&pd->replica);
	ReplicaStatus status;

	if (!replica)
		return false;
	replica_status(replica, &status);
	return status.gone && another_driver(pd) != NULL;
}

static bool
is_tcp(const char *endpoint)
{
	return strncmp(endpoint, "tcp:", strlen("tcp:")) == 0;
}

/*
 * Where other machines are to come to us, a socket file is no place.  Of two
 * workers on tcp one at least is not the one that lives with us.
 */
VtStatus
drivers_check_place(Pd *pd, VtError *err)
{
	size_t		workers = 0;

	if (is_tcp(pd->options.advertise) || !catalog_driver(pd->catalog, pd->id))
		return VT_OK;
	for (size_t i = 0; i < pd->catalog->nstores; i++)
		workers += is_tcp(pd->catalog->stores[i]->endpoint);
	if (workers > 1)
		return vt_fail(err, VT_DENIED, "%zu workers listen on tcp, and could not come to this placement driver at %s: expose it until others have taken over",
					   workers, pd->options.advertise);
	for (size_t i = 0; i < pd->catalog->ndrivers; i++)
	{
		const CatalogDriver *d = pd->catalog->drivers[i];

		if (d->id != pd->id && is_tcp(d->endpoint))
			return vt_fail(err, VT_DENIED, "the placement driver at %s could not come to this one at %s: expose it until it was removed (vectronctl remove-pd %" PRIu64 ")",
						   d->endpoint, pd->options.advertise, pd->id);
	}
	return VT_OK;
}

/* The links learn from the catalog, and server and links what cluster this is. */
void
drivers_note(Pd *pd)
{
	Catalog    *catalog = pd->catalog;
	CatalogDriver *self;
	bool		removed = was_removed(pd);

	if (pd->noted_at == catalog->applied && removed == pd->is_removed)
		return;
	pd->noted_at = catalog->applied;
	for (size_t i = 0; i < catalog->ndrivers; i++)
		replica_links_note(pd->links, catalog->drivers[i]->id, catalog->drivers[i]->endpoint);
	self = catalog_driver(catalog, pd->id);
	pthread_mutex_lock(&pd->lock);
	pd->is_member = self && strcmp(self->endpoint, pd->options.advertise) == 0;
	if (removed && !pd->is_removed)
		log_warn("driver=%" PRIu64 " was removed: it only says where the others are", pd->id);
	pd->is_removed = removed;
	pd->is_known = pd->is_member && catalog_level(catalog) >= vt_level_high();
	pthread_cond_broadcast(&pd->met);
	pthread_mutex_unlock(&pd->lock);
	if (pd->announced || vt_id_is_zero(&catalog->meta.cluster))
		return;
	pd->announced = true;
	net_server_set_identity(pd->server, &catalog->meta.cluster, pd->id);
	if (pd->exposed)
		net_server_set_identity(pd->exposed, &catalog->meta.cluster, pd->id);
	replica_links_set_identity(pd->links, &catalog->meta.cluster, pd->id);
}

/* Frames of drivers that speak for others: not from the callback that met them (T1), and not each. */
void
drivers_tell_foreign(Pd *pd)
{
	uint64_t	foreign = atomic_load(&pd->foreign);

	if (foreign == pd->told_foreign || pd->now_us < pd->tell_foreign_us)
		return;
	log_warn("%" PRIu64 " Raft frames more in the name of another placement driver are not heeded: the last from %" PRIuFAST64 ", for %" PRIuFAST64,
			 foreign - pd->told_foreign, atomic_load(&pd->foreign_from), atomic_load(&pd->foreign_as));
	pd->told_foreign = foreign;
	pd->tell_foreign_us = pd->now_us + TELL_FOREIGN_US;
}

/* One that is no member says that it is there: kept for a while. */
static void
note_stranger(Pd *pd, uint64_t id, const char *endpoint)
{
	Stranger   *place = &pd->strangers[0];

	for (int i = 0; i < STRANGERS_MAX; i++)
	{
		if (pd->strangers[i].driver.id == id)
		{
			place = &pd->strangers[i];
			break;
		}
		if (pd->strangers[i].at_us < place->at_us)
			place = &pd->strangers[i];
	}
	memset(place, 0, sizeof(*place));
	place->driver.id = id;
	memcpy(place->driver.endpoint, endpoint, strlen(endpoint) + 1);
	place->at_us = pd->now_us;
}

VtStatus
driver_commit(Pd *pd, uint64_t id, const char *endpoint)
{
	CatalogDriver driver = {.id = id};
	Buf			command = {0};
	VtStatus	status;

	memcpy(driver.endpoint, endpoint, strlen(endpoint) + 1);
	command_begin(&command);
	command_driver(&command, &driver);
	status = pd->commit(pd, &command);
	buf_free(&command);
	return status;
}

/* A driver is there; what it hears is all that one without a group needs to know. */
static void
take_announcement(Pd *pd, uint64_t id, const char *endpoint)
{
	Replica    *replica = atomic_load(&pd->replica);
	CatalogDriver *driver = catalog_driver(pd->catalog, id);
	ReplicaMembers members;

	if (!replica)
		return;
	replica_members(replica, &members);
	if (driver || driver_member(&members, id))
		replica_links_note(pd->links, id, endpoint);
	else if (pd->leads)
	{
		note_stranger(pd, id, endpoint);
		replica_links_note(pd->links, id, endpoint);	/* one that was removed can be told so */
	}
	if (pd->leads && driver && strcmp(driver->endpoint, endpoint) != 0)
		(void) driver_commit(pd, id, endpoint);
}

/* meet: one driver to another, whoever leads */
void
op_meet(Pd *pd, Question *q)
{
	const char *endpoint = json_string_value(json_object_get(q->body, "endpoint"));
	json_t	   *reply;
	json_t	   *told;
	bool		has_group = atomic_load(&pd->replica) != NULL;
	bool		is_member = catalog_driver(pd->catalog, pd->id) != NULL;
	uint64_t	id;

	if (!get_u64(q->body, "id", &id) || id == 0 || !endpoint ||
		strlen(endpoint) >= sizeof(((CatalogDriver *) 0)->endpoint))
	{
		refuse(q, VT_INVALID, "meet: members are missing or malformed");
		return;
	}
	level_heard(pd, id, level_said(q->body, "level_low"), level_said(q->body, "level_high"));
	take_announcement(pd, id, endpoint);
	reply = json_object();
	told = json_array();
	for (size_t i = 0; i < pd->npeers; i++)
		json_array_append_new(told, json_string(pd->peers[i]));
	json_object_set_new(reply, "id", json_u64(pd->id));
	json_object_set_new(reply, "peers", told);
	pthread_mutex_lock(&pd->lock);
	is_member |= pd->founders.n > 0;
	json_object_set_new(reply, "founders", json_founders(&pd->founders));
	pthread_mutex_unlock(&pd->lock);
	json_object_set_new(reply, "founded", json_boolean(has_group && is_member));
	json_object_set_new(reply, "waiting", json_boolean(has_group && !is_member));
	answer(q, VT_OK, reply, NULL);
}

/* Not the leader: say who is, or what is missing. */
void
refuse_to_lead(Pd *pd, Question *q)
{
	const char *leader = leader_endpoint(pd);
	Replica    *replica = atomic_load(&pd->replica);
	const CatalogDriver *other = pd->is_removed ? another_driver(pd) : NULL;
	json_t	   *reply = json_object();
	char		words[200];
	ReplicaMembers members = {0};

	if (replica)
		replica_members(replica, &members);
	if (strcmp(leader, pd->options.advertise) == 0)
		leader = "";			/* it has just begun, or is about to end */
	if (other)
		leader = other->endpoint;	/* it knows more */
	json_object_set_new(reply, "leader", json_string(leader));
	if (other)
		snprintf(words, sizeof(words), "this placement driver was removed: there is one at %s", leader);
	else if (leader[0])
		snprintf(words, sizeof(words), "this placement driver follows the one at %s", leader);
	else if (members.n > 1)
		snprintf(words, sizeof(words), "no placement driver leads now: more than half of the %u must be up", members.n);
	else
		snprintf(words, sizeof(words), "this placement driver is not the leader or has just started");
	answer(q, VT_NOT_LEADER, reply, words);
}
