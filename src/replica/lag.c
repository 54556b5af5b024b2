/*-------------------------------------------------------------------------
 *
 * lag.c
 *	  Who has too much to apply: a leader is told when to hold writers back.
 *
 * What is acknowledged is durable on more than half of the voters and applied by the
 * leader; the others may apply it later.  One of three that is slow just lags, and
 * nobody waits for it.  But where more than half of the voters lag, or the leader, the
 * log grows without an end, and who takes over after a failure has all of it to apply
 * before it serves anybody.  So no new data is to be proposed then.
 *
 * A peer says how far it has applied with each answer.  One that has said nothing in this
 * term counts by its log: it lags if it lacks what the log had two looks ago.  So
 * the lost lag, which alone holds back nobody: of three, two have to.
 *
 * A lag ends by applying what is committed, for which nothing has to be proposed: the
 * leader sends what a peer lacks, and asks how far it is with heartbeats, whoever is
 * refused.  A leader falls asleep only when all that live have applied all there is, and
 * holds nobody back then.
 *
 * This is advice for admission, as that of room.c is.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include "base/log.h"
#include "private.h"

#define FEW 16					/* entries that may wait, however large they are */
#define SAY_TICKS 1200			/* of a group that was not held back for so long */

/* So many entries may one be behind: as many as there may be, or as hold so many bytes by the mean of the log. */
static uint64_t
most_entries(const ReplicaHostOptions *options, const RaftStatus *status)
{
	uint64_t	most = options->lag_entries ? options->lag_entries : UINT64_MAX;
	uint64_t	n = status->last - status->base;
	uint64_t	by_bytes;

	if (options->lag_bytes == 0 || n == 0 || status->log_bytes < n)
		return most;
	by_bytes = options->lag_bytes / (status->log_bytes / n);
	by_bytes = by_bytes > FEW ? by_bytes : FEW;
	return by_bytes < most ? by_bytes : most;
}

static bool
is_behind(const RaftStatus *status, uint64_t applied, uint64_t most)
{
	return status->commit > applied && status->commit - applied > most;
}

static bool
lags(const Replica *replica, const RaftStatus *status, uint64_t id, uint64_t most)
{
	RaftPeer	peer;

	if (id == replica->id)
		return is_behind(status, status->applied, most);
	if (!raft_get_peer(replica->raft, id, &peer))
		return false;
	return peer.applied ? is_behind(status, peer.applied, most) : peer.match < replica->lag_last[1];
}

/* Of those that vote, and while members change of those that did, too. */
static bool
most_lag(const Replica *replica, const RaftStatus *status, uint64_t most)
{
	const RaftConf *conf = raft_get_conf(replica->raft);
	bool		lag = false;

	for (int half = 0; half < (conf->joint ? 2 : 1); half++)
	{
		uint8_t		role = half == 0 ? RAFT_VOTER : RAFT_VOTER_OLD;
		uint32_t	voters = 0;
		uint32_t	behind = 0;

		for (uint32_t i = 0; i < conf->n; i++)
			if (conf->members[i].roles & role)
			{
				voters++;
				behind += lags(replica, status, conf->members[i].id, most);
			}
		lag |= 2 * behind > voters;
	}
	return lag;
}

void
lag_end(Replica *replica)
{
	if (atomic_exchange(&replica->lagging, false))
		replica->lag_tick = replica->host->ticks;
}

static void
begin(Replica *replica, uint64_t most)
{
	uint32_t	ticks = replica->host->ticks;
	bool		say = replica->lag_tick == 0 || ticks - replica->lag_tick > SAY_TICKS;

	if (!atomic_exchange(&replica->lagging, true) && say)
		log_warn("group=%llu: new data is refused until most copies have less than %llu entries to apply", (unsigned long long) replica->group,
				 (unsigned long long) most);
}

/* A leader's.  due: as often as who says nothing is judged by. */
void
lag_look(Replica *replica, bool due)
{
	const ReplicaHostOptions *options = &replica->host->options;
	RaftStatus	status;
	uint64_t	most;

	if (options->lag_entries == 0 && options->lag_bytes == 0)
		return;
	raft_get_status(replica->raft, &status);
	if (status.term != replica->lag_term)
		replica->lag_last[0] = replica->lag_last[1] = 0;
	replica->lag_term = status.term;
	most = most_entries(options, &status);
	if (is_behind(&status, status.applied, most) || most_lag(replica, &status, most))
		begin(replica, most);
	else
		lag_end(replica);
	if (due)
	{
		replica->lag_last[1] = replica->lag_last[0];
		replica->lag_last[0] = status.last;
	}
}

bool
replica_lags(const Replica *replica)
{
	return atomic_load_explicit(&replica->lagging, memory_order_relaxed);
}
