/*-------------------------------------------------------------------------
 *
 * conf.c
 *	  Configurations: what a valid one is, and how one becomes another.
 *
 * Section 4.3 of the Raft dissertation.  Voters always change through a joint
 * configuration, even one at a time: the single-server shortcut of section 4.1
 * is unsafe unless an entry of the own term is committed first (its erratum of
 * 2015), and joint consensus does not have that corner at all.
 *
 *		C_old --(append)--> C_old,new --(committed: append)--> C_new
 *
 * A configuration holds from the moment it is appended, not when it is applied:
 * applying may lag by minutes here while a graph is built.  The price, falling
 * back when its entry is replaced, is paid in log.c.
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

const RaftMember *
raft_conf_find(const RaftConf *conf, uint64_t id)
{
	for (uint32_t i = 0; i < conf->n; i++)
		if (conf->members[i].id == id)
			return &conf->members[i];
	return NULL;
}

static VtStatus
check_member(const RaftConf *conf, const RaftMember *member, VtError *err)
{
	uint8_t		roles = member->roles;

	if (member->id == 0)
		return vt_fail(err, VT_INVALID, "a member has no replica id");
	if ((roles & ~(RAFT_VOTER | RAFT_VOTER_OLD | RAFT_LEARNER)) != 0)
		return vt_fail(err, VT_VERSION, "a member has an unrecognized role 0x%02x", roles);
	if ((roles & (RAFT_VOTER | RAFT_VOTER_OLD | RAFT_LEARNER)) == 0 ||
		((roles & RAFT_VOTER) != 0 && (roles & RAFT_LEARNER) != 0))
		return vt_fail(err, VT_INVALID, "a member must be either voter or learner");
	if ((roles & RAFT_VOTER_OLD) != 0 && !conf->joint)
		return vt_fail(err, VT_INVALID, "old voters exist only in a joint configuration");
	return VT_OK;
}

/*
 * Is this a configuration a group can have?
 */
VtStatus
raft_conf_check(const RaftConf *conf, VtError *err)
{
	uint32_t	voters = 0;
	uint32_t	old = 0;

	if (conf->n == 0 || conf->n > RAFT_MAX_MEMBERS)
		return vt_fail(err, VT_INVALID, "a configuration has 1 to %d members", RAFT_MAX_MEMBERS);
	for (uint32_t i = 0; i < conf->n; i++)
	{
		VtStatus	status = check_member(conf, &conf->members[i], err);

		if (status != VT_OK)
			return status;
		if (i > 0 && conf->members[i - 1].id >= conf->members[i].id)
			return vt_fail(err, VT_INVALID, "members are not in ascending order of id");
		voters += (conf->members[i].roles & RAFT_VOTER) != 0;
		old += (conf->members[i].roles & RAFT_VOTER_OLD) != 0;
	}
	if (voters == 0 || (conf->joint && old == 0))
		return vt_fail(err, VT_INVALID, "a configuration needs a voter");
	return VT_OK;
}

static bool
votes_in(const RaftMember *member)
{
	return member != NULL && (member->roles & RAFT_VOTER) != 0;
}

/* Same voters?  (Neither joint.) */
bool
conf_same_voters(const RaftConf *a, const RaftConf *b)
{
	for (uint32_t i = 0; i < a->n; i++)
		if (votes_in(&a->members[i]) && !votes_in(raft_conf_find(b, a->members[i].id)))
			return false;
	for (uint32_t i = 0; i < b->n; i++)
		if (votes_in(&b->members[i]) && !votes_in(raft_conf_find(a, b->members[i].id)))
			return false;
	return true;
}

/*
 * The joint configuration that leads from one to the other.  VT_FULL when there
 * are too many members; VT_INVALID when a replica would change its node.
 */
VtStatus
conf_joint(const RaftConf *from, const RaftConf *to, RaftConf *out)
{
	uint32_t	i = 0;
	uint32_t	k = 0;

	memset(out, 0, sizeof(*out));
	out->joint = true;
	while (i < from->n || k < to->n)
	{
		const RaftMember *old = i < from->n ? &from->members[i] : NULL;
		const RaftMember *new = k < to->n ? &to->members[k] : NULL;
		RaftMember	member;

		if (old != NULL && new != NULL && old->id != new->id)
		{
			if (old->id < new->id)
				new = NULL;
			else
				old = NULL;
		}
		i += old != NULL;
		k += new != NULL;
		if (old != NULL && new != NULL && old->node != new->node)
			return VT_INVALID;
		if (new == NULL && !votes_in(old))
			continue;			/* a learner leaves at once */
		member = new != NULL ? *new : *old;
		if (new == NULL)
			member.roles = 0;
		if (votes_in(old))
			member.roles |= RAFT_VOTER_OLD;
		if (out->n == RAFT_MAX_MEMBERS)
			return VT_FULL;
		out->members[out->n++] = member;
	}
	return VT_OK;
}

/* The configuration a joint one ends in. */
void
conf_leave(const RaftConf *joint, RaftConf *out)
{
	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < joint->n; i++)
	{
		RaftMember	member = joint->members[i];

		member.roles &= (uint8_t) ~RAFT_VOTER_OLD;
		if (member.roles != 0)
			out->members[out->n++] = member;
	}
}

static VtStatus
append_conf(Raft *raft, const RaftConf *conf)
{
	RaftBuf    *data;
	VtStatus	status = raft_reserve(raft, 1, 1);

	if (status != VT_OK)
		return status;
	data = raft_buf_new(raft->allocator, NULL, (uint32_t) raft_conf_size(conf));
	if (data == NULL)
		return VT_NOMEM;
	raft_conf_encode(conf, data->data);
	raft_append_own(raft, RAFT_CONF, data);
	raft_buf_release(data);
	return VT_OK;
}

/*
 * The leader leaves a joint configuration as soon as it is committed; so does
 * one that was elected in it.  Without memory for it the next tick tries again.
 */
void
raft_maybe_leave_joint(Raft *raft)
{
	RaftConf	target;

	if (raft->role != RAFT_LEADER || !raft->log.conf.joint ||
		raft->log.conf_index > raft->commit || !raft_term_committed(raft))
		return;
	conf_leave(&raft->log.conf, &target);
	(void) append_conf(raft, &target);
}

/* May this replica be a voter next? */
static VtStatus
check_promotion(Raft *raft, const RaftMember *new)
{
	const RaftMember *now = raft_conf_find(&raft->log.conf, new->id);
	const Progress *pr = raft_peer(raft, new->id);

	if (!votes_in(new) || votes_in(now))
		return VT_OK;
	/* One that never answered has nothing, and lacks little where there is little. */
	if (now == NULL || pr->match == 0 || log_last(&raft->log) - pr->match > raft->opt.promote_max_lag)
		return VT_BEHIND;
	return VT_OK;
}

/*
 * Were more than half of those heard from within an election timeout who are to vote?  A
 * joint configuration needs them, and there is no way back out of one: with fewer this
 * group would stop by what it did itself, until they are back.
 */
static bool
is_carried(Raft *raft, const RaftConf *target)
{
	Vote		heard[RAFT_MAX_MEMBERS];

	for (uint32_t i = 0; i < target->n; i++)
	{
		uint64_t	id = target->members[i].id;
		const Progress *pr = raft_peer(raft, id);

		heard[i] = id == raft->opt.id || (pr != NULL && pr->silent < raft->opt.election_ticks) ? VOTE_GRANTED : VOTE_REFUSED;
	}
	return quorum_votes(target, heard) == VOTES_WON;
}

VtStatus
raft_propose_conf(Raft *raft, const RaftConf *target, uint64_t conf_index, uint64_t *index)
{
	const RaftConf *now = &raft->log.conf;
	RaftConf	next;
	VtStatus	status;

	if (raft->role != RAFT_LEADER)
		return VT_NOT_LEADER;
	if (target->joint || raft_conf_check(target, NULL) != VT_OK)
		return VT_INVALID;
	if (conf_index != raft->log.conf_index)
		return VT_FENCED;
	if ((now->joint || raft->log.conf_index > raft->commit) && !RAFT_BUG(19))
		return VT_BUSY;
	if ((!raft_term_committed(raft) && !RAFT_BUG(18)) || raft->transfer_to != 0)
		return VT_BUSY;
	for (uint32_t i = 0; i < target->n; i++)
	{
		status = check_promotion(raft, &target->members[i]);
		if (status != VT_OK)
			return status;
	}
	status = conf_joint(now, target, &next);
	if (status != VT_OK)
		return status;
	if (!conf_same_voters(now, target) && !is_carried(raft, target))
		return VT_BUSY;
	if (conf_same_voters(now, target) && !now->joint)
		next = *target;
	if (RAFT_BUG(18) || RAFT_BUG(41))
		next = *target;
	status = append_conf(raft, &next);
	if (status == VT_OK && index != NULL)
		*index = raft->log.conf_index;
	return status;
}
