/*-------------------------------------------------------------------------
 *
 * room.c
 *	  How much disk and memory there is for new data.
 *
 * Memory is counted by what it goes for.  Records stay until they are deleted; what
 * else there is (memtables, the log's tail, requests) goes by itself, and each has a
 * bound that follows from memory_limit.  So new data meets one of two answers where all
 * of it is more than the limit: VT_FULL if the records are what there is too much of,
 * VT_BUSY if not, and something is done about it.
 *
 * Memtables of all shards together have a bound, too: where they are more, the fullest
 * shards are asked for a checkpoint, which writes them out.  LevelDB gives each database
 * a bound of its own, and there are thousands.
 *
 *-------------------------------------------------------------------------
 */
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"
#include "private.h"

#define MIB (UINT64_C(1) << 20)
#define LOOK_BYTES (4 * MIB)	/* of new data between two looks */
#define CHECKPOINTS 8			/* asked for with one look */
#define FLUSH_US (2 * INT64_C(1000000))	/* in which one that was asked for is believed to come */

/* Below this what goes by itself is not held to the limit: a process needs so much to work. */
#define LEAST (256 * MIB)

/* LevelDB's buffers, Raft's state, tables of the graph: measured, docs/decisions/0013. */
#define SHARD_BYTES (UINT64_C(100) << 10)

const char *const memory_names[MEMORY_KINDS] = {"records", "shards", "tables", "log", "scans", "snapshots", "requests"};

static uint64_t
within(uint64_t bytes, uint64_t low, uint64_t high)
{
	return bytes < low ? low : bytes > high ? high : bytes;
}

MemoryBounds
worker_memory_bounds(uint64_t limit)
{
	if (limit == 0)
		limit = UINT64_MAX;
	return (MemoryBounds)
	{
		.tables = within(limit / 8, 1 * MIB, 256 * MIB),
			.log_tables = within(limit / 32, 1 * MIB, 64 * MIB),
			.log = within(limit / 16, 16 * MIB, 256 * MIB),
			.scans = within(limit / 16, 1 * MIB, 256 * MIB),
	};
}

uint64_t
worker_memory_share(uint64_t whole, uint32_t percent)
{
	return whole / 100 * percent / MIB * MIB;
}

/*
 * Full is full until it is clearly less: each time it begins leaders are handed over, and
 * what they held besides records goes with them.
 */
MemoryRoom
worker_memory_room(MemoryRoom was, uint64_t limit, uint64_t stays, uint64_t all)
{
	uint64_t	most = was == MEMORY_FULL ? limit / 20 * 19 : limit;

	if (limit == 0 || all <= most)
		return MEMORY_ENOUGH;
	if (stays > limit / 4 * 3)
		return MEMORY_FULL;
	return all > limit && all > LEAST ? MEMORY_BUSY : MEMORY_ENOUGH;
}

/* -- What there is ------------------------------------------------------------- */

/* The shard with the fullest memtable that is not about to be written out; held, NULL = none. */
static Shard *
find_fullest(Worker *worker, int64_t now_us, uint64_t *tables)
{
	Shard	   *fullest = NULL;

	*tables = 0;
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s; s = s->next)
	{
		uint64_t	own = shard_figures(s).tables;

		if (own > *tables && now_us >= s->flush_until_us)
		{
			fullest = s;
			*tables = own;
		}
	}
	if (fullest)
	{
		fullest->flush_until_us = now_us + FLUSH_US;
		atomic_fetch_add(&fullest->users, 1);
	}
	pthread_mutex_unlock(&worker->lock);
	return fullest;
}

/* Ask shards for checkpoints, the fullest first, until so many bytes of memtables will be gone. */
static void
flush_fullest(Worker *worker, int64_t now_us, uint64_t bytes)
{
	for (int i = 0; i < CHECKPOINTS && bytes > 0; i++)
	{
		uint64_t	tables;
		Shard	   *fullest = find_fullest(worker, now_us, &tables);

		if (!fullest)
			return;
		replica_checkpoint(fullest->replica);
		shard_release(fullest);
		bytes -= tables < bytes ? tables : bytes;
	}
}

/* What records take, of those where that may have changed; worker->lock is held. */
static void
count_records(Worker *worker)
{
	if (!shards_take_stir(worker, LOOK_MEMORY))
		return;
	for (Shard *s = worker->shards; s; s = s->next)
		if (shard_take_stir(s, LOOK_MEMORY))
		{
			uint64_t	bytes = shard_figures(s).bytes;
			HintsFigures hints;

			hints_figures(s->hints, &hints);
			bytes += hints.bytes;
			worker->counted_bytes += bytes - s->counted_bytes;
			s->counted_bytes = bytes;
		}
}

/* Memtables of shards, and how much of them will have been written out before long. */
static void
count_tables(Worker *worker, int64_t now_us, uint64_t *tables, uint64_t *going)
{
	*tables = *going = 0;
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s; s = s->next)
	{
		uint64_t	own = shard_figures(s).tables;

		*tables += own;
		*going += now_us < s->flush_until_us ? own : 0;
	}
	pthread_mutex_unlock(&worker->lock);
}

/* No more than so many bytes of memtables. */
static void
bound_tables(Worker *worker, uint64_t bound)
{
	int64_t		now_us = clock_now_us();
	uint64_t	tables;
	uint64_t	going;

	count_tables(worker, now_us, &tables, &going);
	if (tables > bound + going)
		flush_fullest(worker, now_us, tables - bound - going);
}

static void
look_at_memory(Worker *worker)
{
	uint64_t	of[MEMORY_KINDS] = {0};
	uint64_t	limit = worker->options.memory_limit;
	uint64_t	bound = worker_memory_bounds(limit).tables;
	uint64_t	all = 0;
	ReplicaHostFigures raft;
	MemoryRoom	room;

	of[MEMORY_TABLES] = store_memory_all();
	of[MEMORY_RECORDS] = heirs_bytes(worker);
	replica_host_figures(worker->host, &raft);
	pthread_mutex_lock(&worker->lock);
	count_records(worker);
	of[MEMORY_RECORDS] += worker->counted_bytes;
	of[MEMORY_SHARDS] = worker->nshards * SHARD_BYTES;
	of[MEMORY_SCANS] = worker->lease_bytes;
	pthread_mutex_unlock(&worker->lock);
	of[MEMORY_LOG] = raft.memory_bytes;
	of[MEMORY_SNAPSHOTS] = intake_bytes(worker->intake) + raft.sending_bytes;
	of[MEMORY_REQUESTS] = atomic_load(&worker->request_bytes);
	for (int kind = 0; kind < MEMORY_KINDS; kind++)
	{
		atomic_store(&worker->memory_of[kind], of[kind]);
		all += of[kind];
	}
	atomic_store(&worker->memory, all);
	room = worker_memory_room(atomic_load(&worker->room), limit, of[MEMORY_RECORDS] + of[MEMORY_SHARDS], all);
	if ((atomic_exchange(&worker->room, room) == MEMORY_FULL) != (room == MEMORY_FULL))
		log_warn(room == MEMORY_FULL ? "memory_limit is reached: new data is refused" : "memory has room again");
	/* While nothing is written the tables would stay as they are. */
	if (room != MEMORY_ENOUGH)
		bound /= 4;
	/* All tables there are, also those that are no shard's. */
	if (of[MEMORY_TABLES] > bound)
		bound_tables(worker, bound);
}

static void
note_disk(Worker *worker, bool low)
{
	if (atomic_load(&worker->disk_low) == low)
		return;
	pthread_mutex_lock(&worker->lock);
	atomic_store(&worker->disk_low, low);
	for (Shard *s = worker->shards; s; s = s->next)
		atomic_store(&s->disk_low, low);
	pthread_mutex_unlock(&worker->lock);
	log_warn(low ? "disk almost full: new data is refused" : "disk has room again");
}

static void
look(Worker *worker)
{
	struct statvfs disk;

	atomic_store(&worker->admitted, 0);
	if (statvfs(worker->options.data, &disk) == 0)
	{
		uint64_t	bytes = (uint64_t) disk.f_bavail * disk.f_frsize;

		atomic_store(&worker->stats.disk_free, bytes);
		note_disk(worker, bytes < worker->options.disk_reserve);
	}
	look_at_memory(worker);
	replica_host_set_short(worker->host, atomic_load(&worker->disk_low) ||
						   atomic_load(&worker->room) == MEMORY_FULL);
}

/* One at a time: what is seen first must not be noted last. */
void
worker_look(Worker *worker)
{
	pthread_mutex_lock(&worker->look_lock);
	look(worker);
	pthread_mutex_unlock(&worker->look_lock);
}

/* -- Admission ----------------------------------------------------------------- */

void
worker_note_taken(Worker *worker, size_t bytes)
{
	atomic_fetch_add(&worker->admitted, bytes);
}

void
worker_look_if_due(Worker *worker)
{
	if (atomic_load(&worker->admitted) <= LOOK_BYTES)
		return;
	pthread_mutex_lock(&worker->look_lock);
	/* Who waited here has been looked for. */
	if (atomic_load(&worker->admitted) > LOOK_BYTES)
		look(worker);
	pthread_mutex_unlock(&worker->look_lock);
}

VtStatus
worker_admit(Worker *worker, const Shard *shard, size_t bytes, const char **words)
{
	worker_note_taken(worker, bytes);
	worker_look_if_due(worker);
	*words = NULL;
	if (atomic_load(&worker->disk_low))
		*words = "the worker's disk is almost full";
	else if (atomic_load(&worker->room) == MEMORY_FULL)
		*words = "the worker's memory_limit is reached";
	else if (replica_is_crowded(shard->replica))
		*words = "most replicas of the shard are where the disk is almost full or memory_limit is reached";
	if (*words)
		return VT_FULL;
	if (atomic_load(&worker->room) == MEMORY_BUSY)
	{
		*words = "what was written before has to leave the worker's memory first";
		return VT_BUSY;
	}
	return VT_OK;
}

VtStatus
worker_admit_entry(Worker *worker, const Shard *shard, const char **words)
{
	if (!replica_lags(shard->replica))
		return VT_OK;
	atomic_fetch_add_explicit(&worker->stats.held_back, 1, memory_order_relaxed);
	*words = "most copies of the shard have to apply what was written before first";
	return VT_BUSY;
}
