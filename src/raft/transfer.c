/*-------------------------------------------------------------------------
 *
 * transfer.c
 *	  Handing leadership to another voter.
 *
 * Section 3.10 of the Raft dissertation: stop taking proposals, bring the target
 * up to date, tell it to campaign now.  TIMEOUT_NOW is repeated with the
 * heartbeat in case it was lost; after one election timeout we give up, or as soon as
 * the target is silent: it holds up all writes, and a target that has died with
 * everything we had would stay up to date for as long as it does.
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

#define SILENT_BEATS 2			/* a target that has let so many heartbeats pass does not take over */
#define STALL_ELECTIONS 2		/* a disk that is silent for so many timeouts leads no more */

static void
send_timeout_now(Raft *raft, uint64_t to)
{
	RaftMessage m = {.type = RAFT_TIMEOUT_NOW, .to = to, .term = raft->term};

	raft_queue(raft, &m);
}

static bool
is_silent(const Raft *raft, const Progress *pr)
{
	return pr->silent > SILENT_BEATS * raft->opt.heartbeat_ticks;
}

VtStatus
raft_transfer(Raft *raft, uint64_t to)
{
	Progress   *pr;
	VtStatus	status;

	if (raft->role != RAFT_LEADER)
		return VT_NOT_LEADER;
	if (to == raft->opt.id || !raft_is_voter(raft, to))
		return VT_INVALID;
	if (raft->transfer_to == to)
		return VT_OK;
	pr = raft_peer(raft, to);
	if (log_last(&raft->log) - pr->match > raft->opt.transfer_max_lag || is_silent(raft, pr))
		return VT_BEHIND;
	status = raft_reserve(raft, 0, 0);
	if (status != VT_OK)
		return status;
	raft->transfer_to = to;
	raft->transfer_elapsed = 0;
	raft_transfer_progress(raft, pr);
	return VT_OK;
}

/* The target may have caught up. */
void
raft_transfer_progress(Raft *raft, const Progress *pr)
{
	if (raft->transfer_to != 0 && pr->id == raft->transfer_to &&
		pr->match == log_last(&raft->log))
		send_timeout_now(raft, pr->id);
}

void
raft_transfer_tick(Raft *raft)
{
	if (raft->transfer_to == 0)
		return;
	if (++raft->transfer_elapsed >= raft->opt.election_ticks || is_silent(raft, raft_peer(raft, raft->transfer_to)))
		raft_transfer_abort(raft);
	else if (raft->transfer_elapsed % raft->opt.heartbeat_ticks == 0)
		raft_transfer_progress(raft, raft_peer(raft, raft->transfer_to));
}

/* What was sent to it has not left: it is silent from now on, until it is heard. */
void
raft_transfer_unreachable(Raft *raft, Progress *pr)
{
	pr->silent = SILENT_BEATS * raft->opt.heartbeat_ticks + 1;
	if (raft->transfer_to == pr->id)
		raft_transfer_abort(raft);
}

void
raft_transfer_abort(Raft *raft)
{
	raft->transfer_to = 0;
	raft->transfer_elapsed = 0;
}

/*
 * We are asked to lead.  Not while something is on its way to our disk: the
 * leader asks again.
 */
void
raft_handle_timeout_now(Raft *raft)
{
	if (raft->role == RAFT_FOLLOWER)
		raft_start_campaign(raft, false, true);
}

/* Who is fit comes first, then who has more. */
static bool
is_better_heir(const Progress *pr, const Progress *best)
{
	return best == NULL || (pr->unfit != best->unfit ? best->unfit : pr->match > best->match);
}

/* Follow, and ask the best voter to take over: nobody waits for a timeout. */
static void
leave_to_others(Raft *raft)
{
	const Progress *best = NULL;

	for (uint32_t i = 0; i < raft->peers_n; i++)
	{
		const Progress *pr = &raft->peers[i];

		if (pr->id != raft->opt.id && raft_is_voter(raft, pr->id) && pr->active && is_better_heir(pr, best))
			best = pr;
	}
	if (best != NULL)
		send_timeout_now(raft, best->id);
	raft_become_follower(raft, raft->term, 0);
}

/*
 * Section 4.2.2: a leader that is not in the new configuration leads until that
 * is committed, without counting itself, then leaves.
 */
void
raft_step_down_when_removed(Raft *raft)
{
	if (raft->role != RAFT_LEADER || raft->log.conf.joint ||
		raft->log.conf_index > raft->commit || raft_is_voter(raft, raft->opt.id))
		return;
	leave_to_others(raft);
}

/*
 * A leader whose disk completes nothing still beats and is answered, so nobody else
 * would come to lead, and what it applies and answers waits for its own disk [P4].
 * It leaves, if others have written what it could not and are enough to elect without
 * it.  Where all disks are slow nobody would do better: it leads on, and can at least
 * still answer reads.
 */
void
raft_step_down_when_stalled(Raft *raft)
{
	Vote		able[RAFT_MAX_MEMBERS];

	if (raft->stalled_ticks < STALL_ELECTIONS * raft->opt.election_ticks)
		return;
	for (uint32_t i = 0; i < raft->peers_n; i++)
	{
		const Progress *pr = &raft->peers[i];

		able[i] = pr->id != raft->opt.id && pr->active && pr->match > raft->log.stable ? VOTE_GRANTED : VOTE_REFUSED;
	}
	if (quorum_votes(&raft->log.conf, able) == VOTES_WON)
		leave_to_others(raft);
}
