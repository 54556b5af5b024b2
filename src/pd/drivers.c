/*-------------------------------------------------------------------------
 *
 * drivers.c
 *	  The placement drivers themselves: who is to belong to them, and whether they
 *	  agree.
 *
 * The catalog has a row for each driver that is to be one.  The leader makes the
 * group's members follow it, one change at a time: a row without a member joins
 * as a learner and becomes a voter when it has nearly all of the log; a member
 * without a row leaves, after its leadership if it has that.  How far it is
 * follows from the configuration, so any leader goes on where the last one was.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "service.h"

#define LOOK_US 200000
#define DIGEST_US (10 * INT64_C(1000000))
#define STRANGER_US (10 * INT64_C(1000000)) /* who has not spoken for so long is gone */
#define NEARLY_ALL 1000			/* entries that a learner may lack */

static bool
is_voter(const ReplicaMember *member)
{
	return member && (member->member.roles & RAFT_VOTER);
}

/* -- Who belongs to them --------------------------------------------------- */

/* The cluster's first life: make its identity, through the log. */
VtStatus
found_cluster(Pd *pd)
{
	CatalogMeta meta = {0};
	Buf			command = {0};
	VtId		random;
	VtStatus	status;

	/* Certificates that were made before the cluster say who it is. */
	if (pd->options.tls)
		meta.cluster = net_tls_identity(pd->options.tls).cluster;
	else
		vt_id_random(&meta.cluster);
	vt_id_random(&random);
	meta.next_id = ((uint64_t) (get_le32(random.b) >> 1 | 1) << 32) + 1;
	command_begin(&command);
	command_meta(&command, &meta);
	for (uint32_t i = 0; i < pd->founders.n; i++)
		command_driver(&command, &pd->founders.members[i]);
	status = pd->commit(pd, &command);
	buf_free(&command);
	return status;
}

static void
on_changed(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	(void) arg;
	(void) index;
	(void) reply;
	/* Whatever came of it, the next look sees. */
	if (status != VT_OK && status != VT_BUSY && status != VT_FENCED)
		log_warn("the placement drivers' group could not be changed: %s", vt_status_words(status));
}

/* The group as it is, to be changed in one place. */
static RaftConf
conf_of(const ReplicaMembers *members, uint64_t without)
{
	RaftConf	conf = {0};

	for (uint32_t i = 0; i < members->n; i++)
		if (members->members[i].member.id != without)
			conf.members[conf.n++] = members->members[i].member;
	return conf;
}

static void
add_learner(RaftConf *conf, uint64_t id)
{
	uint32_t	at = conf->n++;

	for (; at > 0 && conf->members[at - 1].id > id; at--)
		conf->members[at] = conf->members[at - 1];
	memset(&conf->members[at], 0, sizeof(conf->members[at]));
	conf->members[at].id = conf->members[at].node = id;
	conf->members[at].roles = RAFT_LEARNER;
}

/* Lead no more: the voter that has most of the log shall. */
static void
hand_over(Pd *pd, const ReplicaMembers *members)
{
	const ReplicaMember *best = NULL;

	for (uint32_t i = 0; i < members->n; i++)
	{
		const ReplicaMember *m = &members->members[i];

		if (m->member.id != pd->id && is_voter(m) && m->active && catalog_driver(pd->catalog, m->member.id) &&
			(!best || m->match > best->match))
			best = m;
	}
	if (best)
		replica_transfer(atomic_load(&pd->replica), best->member.id, on_changed, NULL);
}

/*
 * Would those that stay be able to decide anything without it?  It was so when it was told to
 * leave, but one of them may have died since.
 */
static bool
may_go(const ReplicaMembers *members, uint64_t id)
{
	uint32_t	voters = 0;
	uint32_t	active = 0;

	for (uint32_t i = 0; i < members->n; i++)
	{
		const ReplicaMember *m = &members->members[i];

		if (m->member.id == id && !is_voter(m))
			return true;
		if (m->member.id == id || !is_voter(m))
			continue;
		voters++;
		active += m->active;
	}
	return active * 2 > voters;
}

/* A member without a row, that may go: false when there is none. */
static bool
let_one_go(Pd *pd, const ReplicaMembers *members)
{
	for (uint32_t i = 0; i < members->n; i++)
	{
		uint64_t	id = members->members[i].member.id;
		RaftConf	conf;

		if (catalog_driver(pd->catalog, id) || (id != pd->id && !may_go(members, id)))
			continue;
		if (id == pd->id)
			hand_over(pd, members);
		else
		{
			log_info("driver=%" PRIu64 " leaves", id);
			conf = conf_of(members, id);
			replica_change(atomic_load(&pd->replica), &conf, members->conf_index, on_changed, NULL);
		}
		return true;
	}
	return false;
}

/* A row without a voter. */
static void
let_one_come(Pd *pd, const ReplicaMembers *members)
{
	const ReplicaMember *self = driver_member(members, pd->id);

	for (size_t i = 0; i < pd->catalog->ndrivers; i++)
	{
		uint64_t	id = pd->catalog->drivers[i]->id;
		const ReplicaMember *m = driver_member(members, id);
		RaftConf	conf = conf_of(members, 0);

		if (is_voter(m) || (m && (!m->active || m->match == 0 || !self || m->match + NEARLY_ALL < self->match)))
			continue;
		if (!m)
			add_learner(&conf, id);
		for (uint32_t j = 0; m && j < conf.n; j++)
			if (conf.members[j].id == id)
				conf.members[j].roles = RAFT_VOTER;
		log_info("driver=%" PRIu64 " at %s %s", id, pd->catalog->drivers[i]->endpoint,
				 m ? "has the log, and gets a vote" : "joins");
		replica_change(atomic_load(&pd->replica), &conf, members->conf_index, on_changed, NULL);
		return;
	}
}

void
drivers_look(Pd *pd)
{
	const CatalogDriver *self = catalog_driver(pd->catalog, pd->id);
	ReplicaMembers members;

	if (pd->now_us < pd->drivers_due_us)
		return;
	pd->drivers_due_us = pd->now_us + LOOK_US;
	if (self ? strcmp(self->endpoint, pd->options.advertise) != 0 : pd->catalog->ndrivers == 0)
	{
		(void) driver_commit(pd, pd->id, pd->options.advertise);
		return;
	}
	replica_members(atomic_load(&pd->replica), &members);
	if (!members.joint && members.n < RAFT_MAX_MEMBERS && !let_one_go(pd, &members))
		let_one_come(pd, &members);
}

/* -- Asked by people ------------------------------------------------------- */

/* While a change is under way who comes is not there yet, and who leaves is. */
static const char *
role_of(Pd *pd, const CatalogDriver *driver, const ReplicaMember *member, bool joint)
{
	if (!member)
		return "joining";
	if (!driver)
		return "leaving";
	if (!is_voter(member) || (joint && !(member->member.roles & RAFT_VOTER_OLD)))
		return "learner";
	return member->member.id == pd->id ? "leader" : "follower";
}

static json_t *
add_row(json_t *list, uint64_t id, const char *endpoint, const char *role, const char *state, uint64_t match)
{
	json_t	   *row = json_object();

	json_object_set_new(row, "id", json_u64(id));
	json_object_set_new(row, "endpoint", json_string(endpoint));
	json_object_set_new(row, "role", json_string(role));
	json_object_set_new(row, "state", json_string(state));
	json_object_set_new(row, "match", json_u64(match));
	json_array_append_new(list, row);
	return row;
}

/* Who does not lead knows where they are and who leads, not how the others are. */
static json_t *
json_drivers_unled(Pd *pd)
{
	json_t	   *list = json_array();
	const char *leader = leader_endpoint(pd);

	for (size_t i = 0; i < pd->catalog->ndrivers; i++)
	{
		const CatalogDriver *d = pd->catalog->drivers[i];

		add_row(list, d->id, d->endpoint, strcmp(d->endpoint, leader) == 0 ? "leader" : "follower",
				d->id == pd->id ? "up" : "unknown", 0);
	}
	return list;
}

json_t *
json_drivers(Pd *pd)
{
	json_t	   *list;
	ReplicaMembers members;

	if (!pd->leads)
		return json_drivers_unled(pd);
	list = json_array();
	replica_members(atomic_load(&pd->replica), &members);
	for (size_t i = 0; i < pd->catalog->ndrivers; i++)
	{
		const CatalogDriver *d = pd->catalog->drivers[i];
		const ReplicaMember *m = driver_member(&members, d->id);

		level_show_driver(pd, d->id, m && m->active, add_row(list, d->id, d->endpoint, role_of(pd, d, m, members.joint),
															 m && m->active ? "up" : "silent", m ? m->match : 0));
	}
	for (uint32_t i = 0; i < members.n; i++)
	{
		const ReplicaMember *m = &members.members[i];

		if (!catalog_driver(pd->catalog, m->member.id))
			add_row(list, m->member.id, "", role_of(pd, NULL, m, members.joint),
					m->active ? "up" : "silent", m->match);
	}
	for (int i = 0; i < STRANGERS_MAX; i++)
	{
		const Stranger *s = &pd->strangers[i];

		if (s->driver.id && pd->now_us - s->at_us < STRANGER_US && !catalog_driver(pd->catalog, s->driver.id) &&
			!driver_member(&members, s->driver.id))
			level_show_driver(pd, s->driver.id, false, add_row(list, s->driver.id, s->driver.endpoint, "waiting", "up", 0));
	}
	return list;
}

/* pds */
void
op_drivers(Pd *pd, Question *q)
{
	json_t	   *reply = json_object();

	json_object_set_new(reply, "pds", json_drivers(pd));
	answer(q, VT_OK, reply, NULL);
}

/* add_pd */
void
op_add_driver(Pd *pd, Question *q)
{
	const char *endpoint = json_string_value(json_object_get(q->body, "endpoint"));
	const Stranger *found = NULL;
	VtError		err = {0};

	if (!endpoint)
	{
		refuse(q, VT_INVALID, "add_pd: endpoint is missing or malformed");
		return;
	}
	for (size_t i = 0; i < pd->catalog->ndrivers; i++)
		if (strcmp(pd->catalog->drivers[i]->endpoint, endpoint) == 0)
		{
			ReplicaMembers members;
			const ReplicaMember *m;

			replica_members(atomic_load(&pd->replica), &members);
			m = driver_member(&members, pd->catalog->drivers[i]->id);
			if (!m || m->active)
			{
				answer(q, VT_OK, NULL, NULL);	/* asked twice */
				return;
			}
			refuse(q, VT_EXISTS, "driver %" PRIu64 " was at %s and is silent: remove it first, vectronctl remove-pd %" PRIu64,
				   pd->catalog->drivers[i]->id, endpoint, pd->catalog->drivers[i]->id);
			return;
		}
	for (int i = 0; i < STRANGERS_MAX; i++)
		if (pd->strangers[i].driver.id && strcmp(pd->strangers[i].driver.endpoint, endpoint) == 0 &&
			pd->now_us - pd->strangers[i].at_us < STRANGER_US &&
			(!found || pd->strangers[i].at_us > found->at_us))
			found = &pd->strangers[i];
	if (!found)
		refuse(q, VT_NOT_FOUND, "no placement driver at %s has spoken to the leader: start it with --peers first", endpoint);
	else if (level_joins(pd, found->driver.id, &err) != VT_OK)
		refuse(q, err.code, "%s", vt_error_words(&err));
	else if (pd->catalog->ndrivers >= PD_DRIVERS_MAX)
		refuse(q, VT_FULL, "there are %d placement drivers already", PD_DRIVERS_MAX);
	else
	{
		uint64_t	id = found->driver.id;
		VtStatus	status = driver_commit(pd, id, endpoint);

		if (status == VT_OK)
			log_info("driver=%" PRIu64 " at %s is to be one of us", id, endpoint);
		pd->drivers_due_us = pd->now_us;
		answer(q, status, NULL, NULL);
	}
}

/* remove_pd: not when those that stay could not decide anything without it */
void
op_remove_driver(Pd *pd, Question *q)
{
	uint64_t	id;
	uint32_t	voters = 0;
	uint32_t	active = 0;
	Buf			command = {0};
	ReplicaMembers members;
	VtStatus	status;

	if (!get_u64(q->body, "id", &id))
	{
		refuse(q, VT_INVALID, "remove_pd: id is missing or malformed");
		return;
	}
	replica_members(atomic_load(&pd->replica), &members);
	for (uint32_t i = 0; i < members.n; i++)
	{
		const ReplicaMember *m = &members.members[i];

		if (m->member.id == id || !is_voter(m) || !catalog_driver(pd->catalog, m->member.id))
			continue;
		voters++;
		active += m->active;
	}
	if (!catalog_driver(pd->catalog, id))
	{
		if (driver_member(&members, id))
			answer(q, VT_OK, NULL, NULL);	/* asked twice */
		else
			refuse(q, VT_NOT_FOUND, "there is no such placement driver");
		return;
	}
	if (voters == 0)
	{
		refuse(q, VT_INVALID, "it is the only placement driver");
		return;
	}
	if (active * 2 <= voters)
	{
		refuse(q, VT_FULL, "%u of the %u placement drivers that would stay are up: more than half must be",
			   active, voters);
		return;
	}
	command_begin(&command);
	command_dismiss(&command, id);
	status = pd->commit(pd, &command);
	buf_free(&command);
	if (status == VT_OK)
		log_info("driver=%" PRIu64 " is to leave", id);
	pd->drivers_due_us = pd->now_us;
	answer(q, status, NULL, NULL);
}

/* -- Do they agree? -------------------------------------------------------- */

/* Put the digest of our rows into the log when there is something new. */
void
digest_look(Pd *pd)
{
	Buf			command = {0};
	ReplicaMembers members;

	if (pd->now_us < pd->digest_due_us || pd->digest_at == pd->catalog->applied)
		return;
	pd->digest_due_us = pd->now_us + DIGEST_US;
	replica_members(atomic_load(&pd->replica), &members);
	if (members.n < 2)
		return;
	command_begin(&command);
	command_digest(&command, catalog_digest(pd->catalog));
	if (pd->commit(pd, &command) == VT_OK)
		pd->digest_at = pd->catalog->applied;
	buf_free(&command);
}
