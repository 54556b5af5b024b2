/*-------------------------------------------------------------------------
 *
 * disk.c
 *	  What survives a crash.
 *
 * A store has one disk and one writer: jobs of all its replicas become durable
 * in the order they were handed over, each of them whole or not at all (one
 * LevelDB batch is one record with a checksum; a torn record is no record).  A
 * crash keeps some first part of the jobs under way, known to nobody, and loses
 * the rest.
 *
 * Entries and hard state lie here as bytes, so that every restart reads them
 * through the codec.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

static DiskEntry
encode_entry(const RaftEntry *entry)
{
	DiskEntry	e = {.term = entry->term, .len = raft_entry_size(entry)};

	e.bytes = must(malloc(e.len));
	raft_entry_encode(entry, e.bytes);
	return e;
}

DiskJob *
disk_job_new(Replica *replica, const RaftReady *rd)
{
	DiskJob    *job = must(calloc(1, sizeof(*job)));

	job->replica = replica;
	job->seq = rd->seq;
	job->hard = rd->hard;
	job->truncate_from = rd->truncate_from;
	if (rd->snapshot != NULL)
	{
		job->install = true;
		job->snapshot = *rd->snapshot;
	}
	job->n = rd->append_n;
	if (job->n > 0)
	{
		job->first = rd->append[0].index;
		job->entries = must(malloc(job->n * sizeof(DiskEntry)));
		for (size_t i = 0; i < job->n; i++)
			job->entries[i] = encode_entry(&rd->append[i]);
	}
	return job;
}

void
disk_job_free(DiskJob *job)
{
	for (size_t i = 0; i < job->n; i++)
		free(job->entries[i].bytes);
	free(job->entries);
	free(job);
}

static void
drop_from(Disk *disk, uint64_t index)
{
	size_t		keep = index > disk->base.index ? (size_t) (index - disk->base.index - 1) : 0;

	while (disk->n > keep)
		free(disk->entries[--disk->n].bytes);
}

uint64_t
disk_last(const Disk *disk)
{
	return disk->base.index + disk->n;
}

/*
 * The job is durable now.  Whatever a writer must not do shows here.
 */
void
disk_job_apply(Sim *sim, Disk *disk, const DiskJob *job)
{
	if (job->install)
	{
		drop_from(disk, 0);
		disk->base = job->snapshot;
		disk->checkpoint = job->snapshot.index;
	}
	if (job->truncate_from != 0)
		drop_from(disk, job->truncate_from);
	for (size_t i = 0; i < job->n; i++)
	{
		uint64_t	index = job->first + i;
		DiskEntry  *slot;

		if (index <= disk->base.index)
			continue;			/* compacted meanwhile */
		if (index <= disk_last(disk))
		{
			sim_fail(sim, "[P5] group %u replica %llu writes entry %llu over one that was not removed",
					 job->replica->group, (unsigned long long) job->replica->id,
					 (unsigned long long) index);
			return;
		}
		if (index != disk_last(disk) + 1)
		{
			sim_fail(sim, "group %u replica %llu writes entry %llu after %llu: a gap",
					 job->replica->group, (unsigned long long) job->replica->id,
					 (unsigned long long) index, (unsigned long long) disk_last(disk));
			return;
		}
		if (disk->n == disk->size)
		{
			disk->size = disk->size == 0 ? 16 : disk->size * 2;
			disk->entries = must(realloc(disk->entries, disk->size * sizeof(DiskEntry)));
		}
		slot = &disk->entries[disk->n++];
		slot->term = job->entries[i].term;
		slot->len = job->entries[i].len;
		slot->bytes = must(malloc(slot->len));
		memcpy(slot->bytes, job->entries[i].bytes, slot->len);
	}
	raft_hard_state_encode(&job->hard, disk->hard);
	disk->has_hard = true;
	if (job->hard.last_index != disk_last(disk) && job->hard.last_index > disk->base.index)
		sim_fail(sim, "[P5] group %u replica %llu says its log ends at %llu, on disk it ends at %llu",
				 job->replica->group, (unsigned long long) job->replica->id,
				 (unsigned long long) job->hard.last_index, (unsigned long long) disk_last(disk));
}

void
disk_compact(Disk *disk, const RaftSnapshot *base)
{
	size_t		n = (size_t) (base->index - disk->base.index);

	if (n > disk->n)
		n = disk->n;
	for (size_t i = 0; i < n; i++)
		free(disk->entries[i].bytes);
	memmove(disk->entries, disk->entries + n, (disk->n - n) * sizeof(DiskEntry));
	disk->n -= n;
	disk->base = *base;
}

RaftHardState
disk_hard(const Disk *disk)
{
	RaftHardState hard = {0};

	if (disk->has_hard && raft_hard_state_decode(bytes_of(disk->hard, sizeof(disk->hard)), &hard) != VT_OK)
		abort();
	return hard;
}

/* The term of an entry on disk; false: not there (or compacted). */
bool
disk_term(const Disk *disk, uint64_t index, uint64_t *term)
{
	if (index < disk->base.index || index > disk_last(disk))
		return false;
	*term = index == disk->base.index ? disk->base.term :
		disk->entries[index - disk->base.index - 1].term;
	return true;
}

VtStatus
disk_read_entry(const Disk *disk, uint64_t index, bool payload, const RaftAllocator *a,
				RaftEntry *out)
{
	const DiskEntry *e;
	size_t		used;

	if (index <= disk->base.index || index > disk_last(disk))
		return VT_NOT_FOUND;
	e = &disk->entries[index - disk->base.index - 1];
	return raft_entry_decode(bytes_of(e->bytes, e->len), payload, a, out, &used);
}

/*
 * Bring a replica up from what is on disk.
 */
VtStatus
disk_open(const Disk *disk, const RaftOptions *options, uint64_t applied, Raft **raft, VtError *err)
{
	RaftStored	stored = {.hard = disk_hard(disk), .base = disk->base, .applied = applied};
	RaftEntry  *entries = must(calloc(disk->n + 1, sizeof(RaftEntry)));
	VtStatus	status = VT_OK;

	for (size_t i = 0; i < disk->n && status == VT_OK; i++)
		status = disk_read_entry(disk, disk->base.index + 1 + i, false, options->allocator,
								 &entries[i]);
	stored.entries = entries;
	stored.n = disk->n;
	if (status == VT_OK)
		status = raft_open(options, &stored, raft, err);
	for (size_t i = 0; i < disk->n; i++)
		raft_buf_release(entries[i].data);
	free(entries);
	return status;
}

void
disk_free(Disk *disk)
{
	drop_from(disk, 0);
	free(disk->entries);
	memset(disk, 0, sizeof(*disk));
}
