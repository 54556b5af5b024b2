/*-------------------------------------------------------------------------
 *
 * shard_records.c
 *	  The records of a shard as the simulator hosts it: records.h for apply.c
 *	  and shard.c, without a graph.
 *
 * A plain map; how records lie in a graph, and law S5 there, is what
 * test/unit/worker_records.c is about.
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

#include <stdlib.h>
#include <string.h>

struct Records
{
	RecordsOptions options;
	ShardRow   *rows;			/* by id */
	size_t		n;
	size_t		size;
};

VtStatus
records_new(const RecordsOptions *options, Records **out, VtError *err)
{
	(void) err;
	*out = vt_alloc0(sizeof(Records));
	(*out)->options = *options;
	return VT_OK;
}

void
records_free(Records *records)
{
	if (!records)
		return;
	free(records->rows);
	free(records);
}

static size_t
find(const Records *records, int tid)
{
	size_t		at = 0;

	while (at < records->n && records->rows[at].tid < tid)
		at++;
	return at;
}

static bool
is_at(const Records *records, size_t at, int tid)
{
	return at < records->n && records->rows[at].tid == tid;
}

uint64_t
records_version(Records *records, Bytes id)
{
	int			tid = shard_tid_of(id);
	size_t		at = find(records, tid);

	return is_at(records, at, tid) ? records->rows[at].version : 0;
}

VtStatus
records_put(Records *records, Bytes id, uint64_t version, const uint8_t *vector, Bytes attributes, VtError *err)
{
	int			tid = shard_tid_of(id);
	size_t		at = find(records, tid);
	WireAttributes taken;

	if (wire_attributes_get(attributes, records->options.attributes, &taken) != VT_OK)
		return vt_fail(err, VT_CORRUPT, "a record has other attributes than its shard declares");
	if (!is_at(records, at, tid))
	{
		if (records->n == records->size)
		{
			records->size = records->size ? records->size * 2 : 8;
			records->rows = vt_realloc(records->rows, records->size * sizeof(ShardRow));
		}
		memmove(&records->rows[at + 1], &records->rows[at], (records->n - at) * sizeof(ShardRow));
		records->n++;
	}
	records->rows[at] = (ShardRow) {.tid = tid, .version = version, .row = shard_row_of(vector), .attributes = taken};
	return VT_OK;
}

void
records_delete(Records *records, Bytes id)
{
	int			tid = shard_tid_of(id);
	size_t		at = find(records, tid);

	if (!is_at(records, at, tid))
		abort();
	records->n--;
	memmove(&records->rows[at], &records->rows[at + 1], (records->n - at) * sizeof(ShardRow));
}

uint64_t
records_keep(Records *records, bool (*keep) (void *arg, Bytes id), void *arg)
{
	uint64_t	gone = 0;
	size_t		kept = 0;

	for (size_t i = 0; i < records->n; i++)
	{
		uint8_t		id[WIRE_TID_SIZE];

		if (keep(arg, shard_id_of(records->rows[i].tid, id)))
			records->rows[kept++] = records->rows[i];
		else
			gone++;
	}
	records->n = kept;
	return gone;
}

/* Graphs, and so their files, are not in these worlds. */
bool
records_claim(Records *records, Bytes id, uint64_t version, const uint8_t *vector, Bytes attributes)
{
	(void) records;
	(void) id;
	(void) version;
	(void) vector;
	(void) attributes;
	return false;
}

void
records_settle(Records *records)
{
	(void) records;
}

uint64_t
records_changes(const Records *records)
{
	(void) records;
	return 0;
}

bool
shard_load_graph(Shard *shard, const RecordsOptions *options, Records **out)
{
	(void) shard;
	(void) options;
	(void) out;
	return false;
}

VtStatus
shard_bequeath_graph(Shard *shard, const WireShardDesc *child, const char *directory, ShardPace pace, void *arg,
					 VtError *err)
{
	(void) shard;
	(void) child;
	(void) directory;
	(void) pace;
	(void) arg;
	(void) err;
	return VT_OK;
}

bool
shard_load_bequeathed(const WireShardDesc *child, const char *directory, const RecordsOptions *options, Records **out)
{
	(void) child;
	(void) directory;
	(void) options;
	(void) out;
	return false;
}

Hnsw *
records_graph(const Records *records)
{
	(void) records;
	return NULL;
}

bool
hnsw_link_next(Hnsw *graph)
{
	(void) graph;
	return false;
}

bool
hnsw_repair(Hnsw *graph, uint32_t steps, bool eager)
{
	(void) graph;
	(void) steps;
	(void) eager;
	return false;
}

bool
shard_sends_graph(Shard *shard)
{
	(void) shard;
	return false;
}

int
shard_open_graph(Shard *shard, ShardPace pace, void *arg)
{
	(void) shard;
	(void) pace;
	(void) arg;
	return -1;
}

int
shard_make_graph(const char *directory)
{
	(void) directory;
	return -1;
}

VtStatus
shard_remove_graph(const char *path, VtError *err)
{
	(void) path;
	(void) err;
	return VT_OK;
}

uint64_t
records_count(const Records *records)
{
	return records->n;
}

uint64_t
records_bytes(const Records *records)
{
	return records->size * sizeof(ShardRow);
}

uint64_t
records_waiting(const Records *records)
{
	(void) records;
	return 0;
}

size_t
shard_records(const Records *records, const ShardRow **out)
{
	*out = records->rows;
	return records->n;
}
