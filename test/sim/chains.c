/*-------------------------------------------------------------------------
 *
 * chains.c
 *	  Log Matching.
 *
 * Part of the oracle.  A log is compared by prefix digests: chain(i) covers terms, types
 * and contents of all entries up to i.  Two entries of equal index and term must have
 * equal digests in all logs at all times, so a table from (index, term) to digest is
 * all that is needed.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#define LLU(x) ((unsigned long long) (x))

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

uint64_t
oracle_next_chain(uint64_t chain, uint64_t index, uint64_t term, uint64_t hash)
{
	return prng_mix(chain ^ prng_mix(index + 1) ^ prng_mix(term * 3) ^ hash);
}

static void
set_chain(Replica *r, const Group *group, uint64_t index, uint64_t chain)
{
	size_t		at = (size_t) (index - group->base);

	if (at >= r->chain_size)
	{
		size_t		size = r->chain_size == 0 ? 64 : r->chain_size;

		while (size <= at)
			size *= 2;
		r->chain = must(realloc(r->chain, size * sizeof(uint64_t)));
		r->chain_size = size;
	}
	r->chain[at] = chain;
	r->chain_last = index;
}

static TermChain *
find_chain(TermChain *table, size_t size, uint64_t index, uint64_t term)
{
	size_t		at = (size_t) prng_mix(index * 1000003 + term) & (size - 1);

	while (table[at].chain != 0 && (table[at].index != index || table[at].term != term))
		at = (at + 1) & (size - 1);
	return &table[at];
}

static void
match_log(Sim *sim, Replica *r, uint64_t index, uint64_t term, uint64_t chain)
{
	Group	   *group = &sim->groups[r->group];
	TermChain  *slot;

	if (group->chains_n * 2 >= group->chains_size)
	{
		size_t		size = group->chains_size == 0 ? 256 : group->chains_size * 2;
		TermChain  *table = must(calloc(size, sizeof(TermChain)));

		for (size_t i = 0; i < group->chains_size; i++)
			if (group->chains[i].chain != 0)
				*find_chain(table, size, group->chains[i].index, group->chains[i].term) =
					group->chains[i];
		free(group->chains);
		group->chains = table;
		group->chains_size = size;
	}
	slot = find_chain(group->chains, group->chains_size, index, term);
	if (slot->chain == 0)
	{
		*slot = (TermChain) {index, term, chain};
		group->chains_n++;
	}
	else if (slot->chain != chain)
		sim_fail(sim, "[3] Log Matching: group %u replica %llu has another entry or prefix at %llu of term %llu",
				 r->group, LLU(r->id), LLU(index), LLU(term));
}

static void
append_chain(Sim *sim, Replica *r, const RaftEntry *entry, uint64_t hash)
{
	Group	   *group = &sim->groups[r->group];
	uint64_t	chain;

	if (entry->index <= group->base || entry->index > r->chain_last + 1)
	{
		sim_fail(sim, "group %u replica %llu appends %llu behind %llu", r->group, LLU(r->id),
				 LLU(entry->index), LLU(r->chain_last));
		return;
	}
	chain = oracle_next_chain(r->chain[entry->index - 1 - group->base], entry->index, entry->term, hash);
	set_chain(r, group, entry->index, chain);
	match_log(sim, r, entry->index, entry->term, chain);
}

static void
start_chain(Sim *sim, Replica *r, uint64_t index)
{
	Group	   *group = &sim->groups[r->group];
	const Committed *c = oracle_at(group, index < group->base ? group->base : index);

	if (c == NULL)
	{
		sim_fail(sim, "[20] group %u replica %llu stands on a snapshot at %llu that is not committed",
				 r->group, LLU(r->id), LLU(index));
		return;
	}
	set_chain(r, group, index < group->base ? group->base : index, c->chain);
}

/*
 * A Ready with something to write: that is worth a sync.
 */
void
oracle_appended(Sim *sim, Replica *r, const RaftReady *rd)
{
	if (rd->snapshot == NULL && rd->append_n == 0 && rd->truncate_from == 0 && rd->hard.term == r->written_term &&
		rd->hard.vote == r->written_vote)
		sim_fail(sim, "[P6] group %u replica %llu writes nothing but its commit index %llu", r->group, LLU(r->id), LLU(rd->hard.commit));
	r->written_term = rd->hard.term;
	r->written_vote = rd->hard.vote;
	if (rd->snapshot != NULL)
		start_chain(sim, r, rd->snapshot->index);
	for (size_t i = 0; i < rd->append_n && !sim->failed; i++)
	{
		const RaftEntry *e = &rd->append[i];

		append_chain(sim, r, e, sim_entry_hash(e->type, e->data != NULL ? e->data->data : NULL,
											   e->size));
	}
}

/* A replica was opened from its disk. */
void
oracle_reopened(Sim *sim, Replica *r)
{
	r->written_term = disk_hard(&r->disk).term;
	r->written_vote = disk_hard(&r->disk).vote;
	start_chain(sim, r, r->disk.base.index);
	for (size_t i = 0; i < r->disk.n && !sim->failed; i++)
	{
		RaftEntry	e = {.index = r->disk.base.index + 1 + i, .term = r->disk.entries[i].term};
		const uint8_t *bytes = r->disk.entries[i].bytes;
		size_t		len = r->disk.entries[i].len;

		append_chain(sim, r, &e, sim_entry_hash(bytes[28], bytes + RAFT_ENTRY_HEADER,
												len - RAFT_ENTRY_HEADER));
	}
	r->seen_commit = 0;
	r->seen_term = 0;
	r->seen_conf = r->judged_conf = 0;
	r->seen_quorum = 0;
	r->lead_term = 0;
}
