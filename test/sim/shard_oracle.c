/*-------------------------------------------------------------------------
 *
 * shard_oracle.c
 *	  What must be true of shards and of the indexes that lie in them.
 *
 * Two kinds of truth (docs/shard-tests.md):
 *
 *	- a shard is one machine: every replica decides every entry alike, whatever
 *	  it lost and replayed, and holds the same rows after it (S2, S3, W5, W6);
 *	- what a server's index says of its heap: I1 a row that a new snapshot sees has
 *	  its entry; I2 no entry that a scan could return shows another row's vector; I3
 *	  what was acknowledged stays while its row is not dead; and each hash has one
 *	  owner (D1).  These are the laws' purpose, and models/index-protocol's as well.
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

#include "base/hash.h"

#define LLU(x) ((unsigned long long) (x))

static void
reserve(ShardTruth *truth, size_t at)
{
	size_t		size = truth->size ? truth->size : 128;

	if (at < truth->size)
		return;
	while (size <= at)
		size *= 2;
	truth->decided = vt_realloc(truth->decided, size);
	truth->took = vt_realloc(truth->took, size);
	truth->digest = vt_realloc(truth->digest, size * sizeof(uint64_t));
	memset(truth->decided + truth->size, 0, size - truth->size);
	memset(truth->took + truth->size, 0, size - truth->size);
	memset(truth->digest + truth->size, 0, (size - truth->size) * sizeof(uint64_t));
	truth->size = size;
}

void
truth_free(ShardWorld *w)
{
	for (int g = 0; g < SIM_MAX_GROUPS; g++)
	{
		free(w->truth[g].decided);
		free(w->truth[g].took);
		free(w->truth[g].digest);
	}
}

/* -- One machine ------------------------------------------------------------------- */

void
truth_decided(Sim *sim, Replica *r, uint64_t index, VtStatus status, int took)
{
	ShardTruth *truth = &shard_world(sim)->truth[r->group];
	size_t		at = (size_t) (index - sim->groups[r->group].base);

	reserve(truth, at);
	if (truth->decided[at] == 0)
	{
		truth->decided[at] = (uint8_t) (status + 1);
		truth->took[at] = (uint8_t) took;
	}
	else if (truth->decided[at] != status + 1 || truth->took[at] != took)
		sim_fail(sim, "[S3] group %u replica %llu decides %llu otherwise: %s for %s", r->group,
				 LLU(r->id), LLU(index), vt_status_words(status),
				 vt_status_words((VtStatus) (truth->decided[at] - 1)));
}

/* Records of a child, which are found with its parent for a while. */
static bool
is_lent(const Shard *shard, int tid)
{
	uint8_t		id[WIRE_TID_SIZE];
	uint64_t	place = wire_place(&shard->desc, shard_id_of(tid, id));

	return atomic_load(&shard->lent) != 0 && place >= shard->loan.desc.first && place <= shard->loan.desc.last;
}

static uint64_t
digest_of(const Shard *shard)
{
	const ShardRow *rows;
	size_t		n = shard_records(shard->records, &rows);
	uint64_t	digest = prng_mix(atomic_load(&shard->fence) * 2 + 77 + atomic_load(&shard->ingesting)) ^ shard->desc.last ^ shard->desc.range_ver ^
		sessions_digest(shard->sessions);

	for (size_t i = 0; i < n; i++)
		if (!is_lent(shard, rows[i].tid))
			digest = prng_mix(digest ^ prng_mix((uint64_t) rows[i].tid + 1) ^ prng_mix(rows[i].version * 3) ^
							  (uint64_t) rows[i].row ^ hash_checksum(bytes_of(&rows[i].attributes, sizeof(WireAttributes))));
	return digest ? digest : 1;
}

void
truth_applied(Sim *sim, Replica *r, Shard *shard, uint64_t applied, bool whole)
{
	ShardTruth *truth = &shard_world(sim)->truth[r->group];
	size_t		at = (size_t) (applied - sim->groups[r->group].base);
	uint64_t	digest = digest_of(shard);
	const ShardRow *rows;
	size_t		n;

	/* What a power failure left may be ahead of the log for a while. */
	if (!whole)
		return;
	reserve(truth, at);
	if (truth->digest[at] == 0)
		truth->digest[at] = digest;
	else if (truth->digest[at] != digest)
	{
		sim_fail(sim, "[S2] group %u replica %llu holds other rows or another fence at %llu", r->group,
				 LLU(r->id), LLU(applied));
		return;
	}
	if (shard_world(sim)->load_over[r->group] != 0 && applied >= shard_world(sim)->load_over[r->group] &&
		atomic_load(&shard->ingesting))
		sim_fail(sim, "[L1] group %u replica %llu is in a bulk load at %llu, which was over at %llu", r->group, LLU(r->id),
				 LLU(applied), LLU(shard_world(sim)->load_over[r->group]));
	if (applied <= truth->front)
		return;
	truth->front = applied;
	truth->fence = atomic_load(&shard->fence);
	memset(truth->version, 0, sizeof(truth->version));
	for (int t = 0; t < MAX_TIDS; t++)
		truth->row[t] = NO_ROW;
	n = shard_records(shard->records, &rows);
	for (size_t i = 0; i < n; i++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		uint64_t	place = wire_place(&shard->desc, shard_id_of(rows[i].tid, id));
		WireAttributes attributes;

		if (is_lent(shard, rows[i].tid))
			continue;
		truth->version[rows[i].tid] = rows[i].version;
		truth->row[rows[i].tid] = rows[i].row;
		attributes = shard_attributes_of(rows[i].row);
		if (memcmp(&rows[i].attributes, &attributes, sizeof(attributes)) != 0)
			sim_fail(sim, "[R6] group %u replica %llu holds TID %d with attributes of another row", r->group, LLU(r->id),
					 rows[i].tid);
		if (place < shard->desc.first || place > shard->desc.last)
			sim_fail(sim, "[D1] group %u replica %llu holds TID %d, which belongs to another shard", r->group,
					 LLU(r->id), rows[i].tid);
	}
}

/* What it answers is what all hold at that index. */
void
truth_answered(Sim *sim, const Replica *r, const Shard *shard)
{
	ShardTruth *truth = &shard_world(sim)->truth[r->group];
	size_t		at = (size_t) (r->sm_applied - sim->groups[r->group].base);

	if (at < truth->size && truth->digest[at] != 0 && truth->digest[at] != digest_of(shard))
		sim_fail(sim, "[S3] group %u replica %llu answers at %llu with other rows than others hold there",
				 r->group, LLU(r->id), LLU(r->sm_applied));
}

/* -- An index and its heap ------------------------------------------------------------- */

static const Entry *
entry_of(const Server *s, int row)
{
	for (int b = 0; b < MAX_BACKENDS; b++)
		for (size_t i = 0; i < s->backends[b].n; i++)
			if (s->backends[b].entries[i].row == row)
				return &s->backends[b].entries[i];
	return NULL;
}

static void
look_at_tid(Sim *sim, int server, int tid)
{
	ShardWorld *w = shard_world(sim);
	const Server *s = &w->servers[server];
	const ShardTruth *truth = &w->truth[target_of(sim, s->now.collection, newest_route(sim), tid)];
	int			row = s->now.tuple[tid];
	int			entry = truth->row[tid];
	const Entry *pending;
	bool		running;

	if (row == NO_ROW || heap_is_dead(w, s, row))
		return;
	running = heap_is_active(s, w->rows[row].txn);
	if (s->now.meta == META_EMPTY)
	{
		if (!w->rows[row].unindexed && heap_is_visible(w, s, row))
			sim_fail(sim, "[I1] server %d: row %d at TID %d is visible, and the index is empty", server, row, tid);
		return;
	}
	if (w->rows[row].unindexed)
	{
		if (entry != NO_ROW)
			sim_fail(sim, "[I2] server %d: row %d at TID %d has no entry, row %d's is there", server, row,
					 tid, entry);
		return;
	}
	pending = entry_of(s, row);
	if (running && (pending == NULL || !pending->acked))
		return;
	if (entry != NO_ROW && entry != row)
		sim_fail(sim, "[I2] server %d: TID %d is row %d, its entry shows row %d", server, tid, row, entry);
	else if (entry == NO_ROW && heap_is_visible(w, s, row))
		sim_fail(sim, "[I1] server %d: row %d at TID %d is visible and has no entry", server, row, tid);
	else if (entry == NO_ROW)
		sim_fail(sim, "[I3] server %d: row %d at TID %d is not dead, its entry is gone", server, row, tid);
}

/* Whom the shards refuse does not scan. */
static bool
is_refused(const ShardWorld *w, const Server *s)
{
	return !wire_owner_equal(&s->owner, &w->collections[s->now.collection].desc.owner) &&
		!vt_broken("W7-owner");
}

/* As if everybody scanned now, at the newest state that is known. */
void
truth_look(Sim *sim)
{
	ShardWorld *w = shard_world(sim);

	for (int i = 0; i < MAX_SERVERS; i++)
	{
		const Server *s = &w->servers[i];

		if (!s->exists || s->now.meta == META_STALE || s->now.meta == META_REPAIRING ||
			(s->now.meta == META_LIVE && is_refused(w, s)))
			continue;
		for (uint32_t t = 0; t < w->tids && !sim->failed; t++)
			look_at_tid(sim, i, (int) t);
	}
}

/* A scan has all its answers: is everything there that its snapshot sees? */
void
truth_scan(Sim *sim, int server, const Backend *b)
{
	ShardWorld *w = shard_world(sim);
	int			found[MAX_TIDS];
	uint32_t	times[MAX_TIDS] = {0};

	for (int g = 0; g < SIM_MAX_GROUPS && b->scan_meta != META_EMPTY; g++)
		for (size_t i = 0; i < b->found_n[g]; i++)
		{
			const ShardRow *row = &b->found[g][i];

			found[row->tid] = row->row;
			times[row->tid]++;
		}
	for (int r = 0; r < w->rows_n; r++)
	{
		int			tid = w->rows[r].tid;

		if (!b->sees[r])
			continue;
		if (times[tid] > 1)
			sim_fail(sim, "[D1] server %d: a scan finds TID %d in two shards", server, tid);
		else if (times[tid] == 1 && found[tid] != r)
			sim_fail(sim, "[R3] server %d: a scan sees row %d at TID %d and finds row %d's entry", server, r,
					 tid, found[tid]);
		else if (times[tid] == 0 && !w->rows[r].unindexed)
			sim_fail(sim, "[R3] server %d: a scan sees row %d at TID %d and does not find it", server, r, tid);
	}
}
