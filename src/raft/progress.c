/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  What a leader knows of one peer, and the window of what is on its way.
 *
 *			  rejected, unreachable			   log no longer reaches back
 *		  +---------------------------+		 +------------------------+
 *		  v							  |		 v						  |
 *		PROBE --- acknowledged ---> REPLICATE			SNAPSHOT <-- PROBE
 *		  ^												   |
 *		  +------- acknowledged, sent, or failed -----------+
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

static void
clear_window(Progress *pr)
{
	pr->inflight_head = 0;
	pr->inflight_n = 0;
	pr->inflight_bytes = 0;
}

static void
clear_state(Progress *pr, const RaftAllocator *a)
{
	clear_window(pr);
	raft_free(a, pr->snapshot, sizeof(RaftSnapshot));
	pr->snapshot = NULL;
	pr->snapshot_asked = false;
	pr->snapshot_sent = false;
	pr->paused = false;
	pr->poke = false;
}

void
progress_probe(Progress *pr, const RaftAllocator *a, uint64_t next)
{
	clear_state(pr, a);
	pr->state = RAFT_PROBE;
	pr->next = next > pr->match || RAFT_BUG(8) ? next : pr->match + 1;
}

void
progress_replicate(Progress *pr, const RaftAllocator *a)
{
	clear_state(pr, a);
	pr->state = RAFT_REPLICATE;
	pr->next = pr->match + 1;
}

void
progress_snapshot(Progress *pr, const RaftAllocator *a)
{
	clear_state(pr, a);
	pr->state = RAFT_SNAPSHOT;
}

/* A new term, or a new member. */
void
progress_reset(Progress *pr, const RaftAllocator *a, uint64_t next)
{
	clear_state(pr, a);
	pr->state = RAFT_PROBE;
	pr->match = 0;
	pr->next = next;
	pr->sent_commit = 0;
	pr->read_seq = 0;
	pr->active = true;
	pr->silent = 0;
	pr->beat = false;
	pr->vote = VOTE_NONE;
}

void
progress_free(Progress *pr, const RaftAllocator *a)
{
	clear_state(pr, a);
	raft_free(a, pr->inflight, pr->inflight_size * sizeof(Inflight));
	pr->inflight = NULL;
	pr->inflight_size = 0;
}

/*
 * One message over the limit of bytes may go: an entry larger than the window
 * must not block for ever.
 */
bool
progress_full(const Progress *pr, const RaftOptions *opt)
{
	return pr->inflight_n >= opt->max_inflight_messages ||
		pr->inflight_bytes >= opt->max_inflight_bytes;
}

/*
 * Room for so many more messages, as far as they can be sent at all.  The ring
 * grows by doubling: thousands of groups rarely need it.
 */
VtStatus
progress_reserve(Progress *pr, const RaftAllocator *a, uint32_t more)
{
	uint32_t	size = pr->inflight_size == 0 ? 4 : pr->inflight_size;
	Inflight   *ring;

	if (pr->state == RAFT_SNAPSHOT)
		return VT_OK;
	if (pr->inflight_n + more <= pr->inflight_size)
		return VT_OK;
	while (size < pr->inflight_n + more)
		size *= 2;
	ring = raft_alloc(a, size * sizeof(Inflight));
	if (ring == NULL)
		return VT_NOMEM;
	for (uint32_t i = 0; i < pr->inflight_n; i++)
		ring[i] = pr->inflight[(pr->inflight_head + i) % pr->inflight_size];
	raft_free(a, pr->inflight, pr->inflight_size * sizeof(Inflight));
	pr->inflight = ring;
	pr->inflight_head = 0;
	pr->inflight_size = size;
	return VT_OK;
}

void
progress_sent(Progress *pr, uint64_t last, uint64_t bytes)
{
	Inflight   *slot;

	Assert(pr->inflight_n < pr->inflight_size);
	slot = &pr->inflight[(pr->inflight_head + pr->inflight_n) % pr->inflight_size];
	slot->last = last;
	slot->bytes = bytes;
	pr->inflight_n++;
	pr->inflight_bytes += bytes;
}

/* Acknowledged up to index: everything sent up to there has left the window. */
void
progress_acked(Progress *pr, uint64_t index)
{
	while (pr->inflight_n > 0 && pr->inflight[pr->inflight_head].last <= index)
	{
		pr->inflight_bytes -= pr->inflight[pr->inflight_head].bytes;
		pr->inflight_head = (pr->inflight_head + 1) % pr->inflight_size;
		pr->inflight_n--;
	}
}
