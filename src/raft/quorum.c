/*-------------------------------------------------------------------------
 *
 * quorum.c
 *	  Majorities, simple and joint, as pure functions.
 *
 * Section 4.3 of the Raft dissertation: while a configuration is joint, every
 * decision needs a majority of the old voters and a majority of the new ones.
 * Values and votes stand parallel to conf->members.
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

/*
 * The highest value that a majority of the members with this role has reached.
 * No such member: no say, UINT64_MAX.
 */
static uint64_t
half_index(const RaftConf *conf, uint8_t role, const uint64_t *values)
{
	uint64_t	sorted[RAFT_MAX_MEMBERS];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < conf->n; i++)
	{
		uint32_t	at;

		if ((conf->members[i].roles & role) == 0)
			continue;
		for (at = n; at > 0 && sorted[at - 1] < values[i]; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = values[i];
		n++;
	}
	return n == 0 ? UINT64_MAX : sorted[n / 2];
}

/*
 * The highest index that a quorum has reached; 0 without voters.
 */
uint64_t
quorum_index(const RaftConf *conf, const uint64_t *values)
{
	uint64_t	index = half_index(conf, RAFT_VOTER, values);

	if (conf->joint)
	{
		uint64_t	old = half_index(conf, RAFT_VOTER_OLD, values);

		if (old < index)
			index = old;
	}
	return index == UINT64_MAX ? 0 : index;
}

static VoteResult
half_votes(const RaftConf *conf, uint8_t role, const Vote *votes)
{
	uint32_t	n = 0;
	uint32_t	granted = 0;
	uint32_t	refused = 0;

	for (uint32_t i = 0; i < conf->n; i++)
	{
		if ((conf->members[i].roles & role) == 0)
			continue;
		n++;
		granted += votes[i] == VOTE_GRANTED;
		refused += votes[i] == VOTE_REFUSED;
	}
	if (granted > n / 2)
		return VOTES_WON;
	/* Even if all that are silent agreed it would not suffice. */
	if (n - refused <= n / 2)
		return VOTES_LOST;
	return VOTES_PENDING;
}

VoteResult
quorum_votes(const RaftConf *conf, const Vote *votes)
{
	VoteResult	result = half_votes(conf, RAFT_VOTER, votes);
	VoteResult	old;

	if (!conf->joint)
		return result;
	old = half_votes(conf, RAFT_VOTER_OLD, votes);
	if (result == VOTES_LOST || old == VOTES_LOST)
		return VOTES_LOST;
	return result == VOTES_WON && old == VOTES_WON ? VOTES_WON : VOTES_PENDING;
}
