/*-------------------------------------------------------------------------
 *
 * read.c
 *	  Reads that see every acknowledged write, without writing the log.
 *
 * Section 6.4 of the Raft dissertation (ReadIndex): remember the commit index,
 * make sure by a round of heartbeats that we still lead, answer when the state
 * machine has applied that index.
 *
 * Rounds are numbered by the leader itself, and the numbers never go back while
 * the process lives; what a caller passes never travels.  etcd#20418 confirmed
 * reads by the caller's context, and an old answer to a context used twice
 * confirmed a read of a deposed leader.
 *
 * All reads that arrive between two Readys share one round.  A round is
 * confirmed by a quorum of the configuration that holds when it is counted;
 * every heartbeat carries the newest round, so members that join meanwhile
 * are asked too.
 *
 * A new leader knows the group's commit index only when the first entry of its
 * own term is committed (etcd#7331): reads before that wait.
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

VtStatus
raft_read(Raft *raft, uint64_t cookie)
{
	Read	   *read;
	VtStatus	status;

	if (raft->role != RAFT_LEADER)
		return VT_NOT_LEADER;
	if (raft->reads_n + raft->reads_done_n >= raft->opt.max_reads)
		return VT_BUSY;
	status = raft_grow(raft->allocator, (void **) &raft->reads, &raft->reads_size,
					   raft->reads_n + 1, sizeof(Read));
	if (status == VT_OK)
		status = raft_grow(raft->allocator, (void **) &raft->reads_done, &raft->reads_done_size,
						   raft->reads_done_n + raft->reads_n + 1, sizeof(RaftRead));
	if (status != VT_OK)
		return status;

	read = &raft->reads[raft->reads_n++];
	read->cookie = cookie;
	read->index = 0;
	read->seq = 0;
	if (raft_term_committed(raft) || RAFT_BUG(14))
		raft_reads_assign(raft);
	return VT_OK;
}

/* Give the reads that waited for it an index and the next round. */
void
raft_reads_assign(Raft *raft)
{
	for (size_t i = 0; i < raft->reads_n; i++)
		if (raft->reads[i].seq == 0)
		{
			raft->reads[i].index = raft->commit;
			raft->reads[i].seq = raft->read_seq + 1;
		}
}

/* Does a read wait for a round that was not begun? */
bool
raft_reads_open(const Raft *raft)
{
	return raft->reads_n > 0 && raft->reads[raft->reads_n - 1].seq > raft->read_seq;
}

/* Which rounds has a quorum answered? */
void
raft_reads_confirm(Raft *raft)
{
	uint64_t	values[RAFT_MAX_MEMBERS];
	uint64_t	round;
	size_t		done = 0;

	if (raft->reads_n == 0)
		return;
	for (uint32_t i = 0; i < raft->peers_n; i++)
		values[i] = raft->peers[i].id == raft->opt.id ? raft->read_seq : raft->peers[i].read_seq;
	round = quorum_index(&raft->log.conf, values);
	while (done < raft->reads_n && raft->reads[done].seq != 0 && raft->reads[done].seq <= round)
	{
		RaftRead   *answer = &raft->reads_done[raft->reads_done_n++];

		answer->cookie = raft->reads[done].cookie;
		answer->index = raft->reads[done].index;
		done++;
	}
	raft->reads_n -= done;
	memmove(raft->reads, raft->reads + done, raft->reads_n * sizeof(Read));
}

/* Leadership is lost: the callers have to ask elsewhere. */
void
raft_reads_fail(Raft *raft)
{
	for (size_t i = 0; i < raft->reads_n; i++)
	{
		RaftRead   *answer = &raft->reads_done[raft->reads_done_n++];

		answer->cookie = raft->reads[i].cookie;
		answer->index = 0;
	}
	raft->reads_n = 0;
}
