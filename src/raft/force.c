/*-------------------------------------------------------------------------
 *
 * force.c
 *	  A group that has lost its majority for good goes on with one survivor.
 *
 * Nothing here is consensus: a person has said that the others will never come
 * back, and the placement driver has chosen the survivor, once.  What Raft can do
 * is to make that decision an entry like others, so that from then on every rule
 * holds again: a configuration in which the survivor alone votes, behind its whole
 * log, in a term that none of the lost ever reached, nor another survivor that was
 * forced before and is lost by now.
 *
 * Before it is chosen all survivors outlive the life before: their term becomes one that nobody
 * had in it.  What the lost said, and was long on its way, would else be appended, and
 * applied, by one that then follows who never had it.
 *
 * The chosen one leads at once, and
 * commits what it has: all that was committed is in there if it has the most
 * advanced log of those that are left and the lost had no more than they; else what the lost
 * alone had acknowledged is gone, and who is told of it is the caller's affair.
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

/* The configuration that holds at the end of what is stored. */
static VtStatus
conf_stored(const RaftStored *stored, RaftConf *out)
{
	*out = stored->base.conf;
	for (size_t i = stored->n; i > 0; i--)
	{
		const RaftEntry *entry = &stored->entries[i - 1];

		if (entry->type == RAFT_CONF)
			return entry->data ? raft_conf_decode(bytes_of(entry->data->data, entry->data->len), out) : VT_CORRUPT;
	}
	return VT_OK;
}

/* One that was founded, and never wrote anything, has none. */
static RaftHardState
hard_state_of(const RaftStored *stored)
{
	RaftHardState hard = stored->hard;

	hard.last_index = stored->base.index + stored->n;
	hard.last_term = stored->n > 0 ? stored->entries[stored->n - 1].term : stored->base.term;
	return hard;
}

VtStatus
raft_outlive(const RaftStored *stored, uint64_t life, RaftHardState *hard)
{
	*hard = hard_state_of(stored);
	if (hard->term >= raft_life_term(life))
		return VT_EXISTS;
	hard->term = raft_life_term(life);
	hard->vote = 0;
	return VT_OK;
}

static bool
votes_alone(const RaftConf *conf, uint64_t id)
{
	for (uint32_t i = 0; i < conf->n; i++)
		if (((conf->members[i].roles & (RAFT_VOTER | RAFT_VOTER_OLD)) != 0) != (conf->members[i].id == id))
			return false;
	return !conf->joint && raft_conf_find(conf, id) != NULL;
}

VtStatus
raft_force(const RaftStored *stored, uint64_t id, const RaftConf *members, uint64_t life,
		   const RaftAllocator *allocator, RaftEntry *entry, RaftHardState *hard, VtError *err)
{
	RaftConf	now;
	VtStatus	status = conf_stored(stored, &now);

	/*
	 * A learner may have come by a snapshot that does not name it yet, or have the log from its
	 * beginning and not as far as any configuration: so who is a member is not asked.
	 */
	if (status != VT_OK)
		return vt_fail(err, VT_CORRUPT, "the configuration of the group is damaged");
	if (now.n == 0 && stored->n == 0)
		return vt_fail(err, VT_NOT_FOUND, "replica %llu has nothing of its group", (unsigned long long) id);
	if (stored->hard.term >= raft_forced_term(life))
		return vt_fail(err, VT_EXISTS, "replica %llu goes on in life %llu of its group already", (unsigned long long) id, (unsigned long long) life);
	if (raft_conf_check(members, err) != VT_OK || !votes_alone(members, id))
		return vt_fail(err, VT_INVALID, "only replica %llu may vote in the members it is forced to", (unsigned long long) id);

	*hard = hard_state_of(stored);
	hard->term = raft_forced_term(life);
	hard->vote = id;
	hard->last_index++;
	hard->last_term = hard->term;
	memset(entry, 0, sizeof(*entry));
	entry->index = hard->last_index;
	entry->term = hard->term;
	entry->type = RAFT_CONF;
	entry->size = (uint32_t) raft_conf_size(members);
	entry->data = raft_buf_new(allocator, NULL, entry->size);
	if (entry->data == NULL)
		return vt_fail(err, VT_NOMEM, "out of memory for a configuration");
	raft_conf_encode(members, entry->data->data);
	return VT_OK;
}
