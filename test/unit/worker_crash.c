/*-------------------------------------------------------------------------
 *
 * worker_crash.c
 *	  A shard through processes that die and machines that lose power.
 *
 * The shard writes its own batches and checkpoints to a store that forgets
 * (store_model.h); the test keeps the log, as Raft would, from the last
 * checkpoint on.  Deaths come at any moment, also in the middle of a replay.
 * Whenever a replay has reached the end of the log, rows, records and fence
 * are what a plain model says, and every entry was decided as the first time
 * (laws S2, S3, W5, W6).
 *
 * The graph is saved now and then, and at a start its file may be any that there
 * ever was: of an earlier moment, of one that a power loss took back, of another
 * shard's life under the same name, damaged, or none.  What is in the graph after
 * the load is what rows say, with their vectors (law S5).
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/worker/scan.h"
#include "../../src/worker/shard.h"
#include "base/log.h"
#include "shard_desc.h"
#include "store_model.h"

#define DIM 2
#define IDS 8
#define LOG_MAX 400
#define RECORDS_MAX 3
#define SEEDS 300

/* -- The plain model ------------------------------------------------------- */

typedef struct Entry
{
	WireWriteType type;
	int			n;
	int			id[RECORDS_MAX];
	uint64_t	version[RECORDS_MAX];	/* delete: as listed */
	int			vector[RECORDS_MAX];
	uint64_t	fence;
	uint64_t	fence_to;
	VtStatus	decided;
	uint8_t		took;			/* raise */
} Entry;

typedef struct Model
{
	uint64_t	version[IDS];	/* 0 = not there */
	int			vector[IDS];
	uint64_t	fence;
	bool		ingesting;
	bool		loaded;			/* a bulk load is over: none begins any more */
} Model;

static void
model_apply(Model *m, Entry *e, uint64_t index)
{
	e->decided = VT_OK;
	switch (e->type)
	{
		case WRITE_RAISE:
			e->took = e->fence_to > m->fence;
			if (e->took)
				m->fence = e->fence_to;
			return;
		case WRITE_INGEST_BEGIN:
		case WRITE_INGEST_END:
			if (e->type == WRITE_INGEST_BEGIN && m->loaded)
			{
				e->decided = VT_INVALID;
				return;
			}
			m->ingesting = e->type == WRITE_INGEST_BEGIN;
			m->loaded |= e->type == WRITE_INGEST_END;
			return;
		default:
			break;
	}
	if (e->fence < m->fence)
	{
		e->decided = VT_FENCED;
		return;
	}
	for (int i = 0; i < e->n; i++)
	{
		int			id = e->id[i];

		if (e->type == WRITE_PUT)
		{
			m->version[id] = index;
			m->vector[id] = e->vector[i];
		}
		else if (m->version[id] && m->version[id] == e->version[i])
			m->version[id] = 0;
	}
}

static Entry
random_entry(Prng *prng, const Model *m, uint64_t index)
{
	Entry		e;
	uint32_t	dice = prng_below(prng, 16);

	memset(&e, 0, sizeof(e));
	e.fence = m->fence > 0 && prng_below(prng, 4) == 0 ? m->fence - 1 : m->fence;
	if (dice == 0)
		e.type = prng_below(prng, 2) ? WRITE_INGEST_BEGIN : WRITE_INGEST_END;
	else if (dice < 3)
	{
		e.type = WRITE_RAISE;
		e.fence_to = m->fence + prng_below(prng, 3);
		if (e.fence_to == 0)
			e.fence_to = 1;
	}
	else
	{
		e.type = dice < 10 ? WRITE_PUT : WRITE_DELETE;
		e.n = 1 + (int) prng_below(prng, RECORDS_MAX);
		for (int i = 0; i < e.n; i++)
		{
			e.id[i] = (int) prng_below(prng, IDS);
			e.vector[i] = (int) prng_below(prng, 1000);
			e.version[i] = prng_below(prng, 4) ? m->version[e.id[i]] : prng_below(prng, (uint32_t) index) + 1;
		}
	}
	return e;
}

/* -- The shard ------------------------------------------------------------- */

static WireShardDesc desc;

static void
describe(void)
{
	desc = shard_alone(1001, 77, DIM);
	desc.nattributes = 1;
	desc.attributes[0] = WIRE_ATTR_ORDERED;
}

static Bytes
id_bytes(int n, uint8_t out[WIRE_TID_SIZE])
{
	wire_tid_put(out, (uint32_t) n, 1);
	return bytes_of(out, WIRE_TID_SIZE);
}

static void
encode(const Entry *e, Buf *out)
{
	WireWrite	write;
	Buf			encoded = {0};
	size_t		begin;

	memset(&write, 0, sizeof(write));
	write.type = e->type;
	write.route.generation = desc.generation;
	write.route.owner = desc.owner;
	write.route.shard = desc.shard;
	write.route.range_ver = desc.range_ver;
	write.route.deadline_ms = 1000;
	write.fence = e->fence;
	write.fence_to = e->fence_to;
	begin = wire_write_begin(out, &write);
	for (int i = 0; i < e->n; i++)
	{
		WireRecord	record;
		uint8_t		id[WIRE_TID_SIZE];
		uint8_t		vector[DIM * 4];
		float		x = (float) e->vector[i];
		uint32_t	bits;

		memcpy(&bits, &x, sizeof(bits));
		put_le32(vector, bits);
		put_le32(vector + 4, bits);
		memset(&record, 0, sizeof(record));
		record.id = id_bytes(e->id[i], id);
		record.version = e->version[i];
		record.dim = DIM;
		record.vector = vector;
		buf_clear(&encoded);
		wire_attributes_put(&encoded, &(WireAttributes) {.n = 1, .nulls = e->vector[i] % 4 == 0, .value = {e->vector[i]}});
		record.attributes = buf_bytes(&encoded);
		wire_record_put(out, e->type, &record);
	}
	buf_free(&encoded);
	wire_write_end(out, begin, (uint32_t) e->n);
}

/* The world of one seed. */
typedef struct World
{
	uint64_t	seed;
	Prng		prng;
	char		directory[96];
	char		path[128];
	Shard	   *shard;
	Entry		log[LOG_MAX + 1];	/* from 1 */
	uint64_t	last;			/* of the log */
	uint64_t	applied;
	uint64_t	checkpoint;		/* what is below may be gone from the log */
	bool		marked;			/* a checkpoint was written in this boot */
	Model		model;			/* at last */
} World;

static char scratch[64];		/* holds the directories, and files of graphs */
static uint64_t taken;			/* records that a file had a place for */
static uint64_t refused;		/* records put beside a file that had none for them */

/* -- Files of graphs -------------------------------------------------------- */

#define KEPT_FILES 4

static void
graph_file(const World *w, int kept, char *out, size_t size)
{
	if (kept < 0)
		snprintf(out, size, "%s/graph", w->path);
	else
		snprintf(out, size, "%s/kept%d", scratch, kept);
}

static void
copy_file(const char *from, const char *to)
{
	uint8_t		data[65536];
	FILE	   *in = fopen(from, "rb");
	FILE	   *out;
	size_t		n;

	if (!in)
		return;
	n = fread(data, 1, sizeof(data), in);
	assert_true(n < sizeof(data));
	fclose(in);
	out = fopen(to, "wb");
	assert_non_null(out);
	assert_int_equal(fwrite(data, 1, n, out), n);
	fclose(out);
}

/* Index threads link some of what waits; then the graph is saved, and perhaps kept for later. */
static void
save_graph(World *w)
{
	char		path[192];
	char		kept[192];
	uint32_t	links = prng_below(&w->prng, 20);
	VtError		err = {0};

	while (links-- > 0 && hnsw_link_next(records_graph(w->shard->records)))
		;
	if (prng_below(&w->prng, 2))
		hnsw_repair(records_graph(w->shard->records), 100, true);
	assert_int_equal(shard_save_graph(w->shard, NULL, NULL, &err), VT_OK);
	graph_file(w, -1, path, sizeof(path));
	graph_file(w, (int) prng_below(&w->prng, KEPT_FILES), kept, sizeof(kept));
	if (prng_below(&w->prng, 2))
		copy_file(path, kept);
}

/* Nobody holds the shard: another file takes the place of its own, or damage its middle. */
static void
meddle(World *w)
{
	char		path[192];
	char		kept[192];
	FILE	   *file;
	uint32_t	dice = prng_below(&w->prng, 8);

	graph_file(w, -1, path, sizeof(path));
	graph_file(w, (int) prng_below(&w->prng, KEPT_FILES), kept, sizeof(kept));
	if (dice < 3)
		copy_file(kept, path);
	else if (dice == 3)
		unlink(path);
	else if (dice == 4 && (file = fopen(path, "r+b")) != NULL)
	{
		fseek(file, (long) prng_below(&w->prng, 2000), SEEK_SET);
		fputc((int) prng_below(&w->prng, 256), file);
		fclose(file);
	}
}

/* What the graph shows, to the last: the rows, each at its own vector. */
static void
check_graph(World *w)
{
	Records    *records = w->shard->records;
	StoreIter  *iter = store_iter_open(w->shard->rows, bytes_of("v", 1), bytes_of("w", 1));
	uint8_t		zero[DIM * 4] = {0};
	RecordScanOptions options = {.query = zero, .expected = IDS, .ef = 10};
	RecordScan *scan = record_scan_open(records, &options);
	HnswReport	report;
	double		distance;
	uint64_t	version;
	uint64_t	rows = 0;
	Bytes		id;
	Bytes		key;
	Bytes		value;
	int			shown = 0;

	if (!hnsw_check(records_graph(records), &report))
		fail_msg("seed %llu: %s", (unsigned long long) w->seed, report.first);
	while (store_iter_next(iter, &key, &value))
	{
		StoreRow	row;
		uint32_t	slot;
		float		vector[DIM];
		WireAttributes on_disk;
		WireAttributes in_memory;

		assert_int_equal(row_get(value, &row, NULL), VT_OK);
		if (!records_find(records, bytes_of(key.data + 1, key.len - 1), &slot, &version) ||
			version != row.index || !hnsw_live(records_graph(records), slot))
			fail_msg("seed %llu: a row is not in the graph", (unsigned long long) w->seed);
		hnsw_read_vector(records_graph(records), slot, vector);
		if (memcmp(row.vector, vector, sizeof(vector)) != 0)
			fail_msg("seed %llu: a row is not in the graph as it is on disk", (unsigned long long) w->seed);
		assert_int_equal(wire_attributes_get(row.attributes, 1, &on_disk), VT_OK);
		records_slot_attributes(records, slot, &in_memory);
		if (memcmp(&on_disk, &in_memory, sizeof(on_disk)) != 0)
			fail_msg("seed %llu: a record has other attributes than its row", (unsigned long long) w->seed);
		rows++;
	}
	store_iter_close(iter);
	while (record_scan_next(scan, &distance, &version, &id))
		shown++;
	record_scan_close(scan);
	if (shown != (int) rows || records_count(records) != rows)
		fail_msg("seed %llu: a scan shows %d records, there are %llu rows", (unsigned long long) w->seed, shown,
				 (unsigned long long) rows);
}

static void
open_shard(World *w)
{
	uint64_t	replay;
	VtError		err = {0};

	assert_int_equal(shard_open(w->directory, desc.shard, false, &w->shard, &replay, &err), VT_OK);
	if (replay < w->checkpoint || replay > w->last)
		fail_msg("seed %llu: replay begins at %llu, the log is %llu to %llu", (unsigned long long) w->seed,
				 (unsigned long long) replay, (unsigned long long) w->checkpoint, (unsigned long long) w->last);
	w->applied = replay;
	check_graph(w);
	if (records_count(w->shard->records) > records_waiting(w->shard->records))
		taken += records_count(w->shard->records) - records_waiting(w->shard->records);
	refused += records_waiting(w->shard->records);
}

/* Apply up to four entries in one batch; new ones at the end of the log. */
static void
apply_some(World *w)
{
	ReplicaCommand commands[4];
	Buf			bytes[4] = {{0}};
	size_t		n = 1 + prng_below(&w->prng, 4);
	size_t		filled = 0;
	VtError		err = {0};

	memset(commands, 0, sizeof(commands));
	while (filled < n)
	{
		uint64_t	index = w->applied + filled + 1;

		if (index > w->last)
		{
			if (w->last == LOG_MAX)
				break;
			w->log[index] = random_entry(&w->prng, &w->model, index);
			model_apply(&w->model, &w->log[index], index);
			w->last = index;
		}
		encode(&w->log[index], &bytes[filled]);
		commands[filled].index = index;
		commands[filled].term = 1;
		commands[filled].bytes = buf_bytes(&bytes[filled]);
		filled++;
	}
	if (filled == 0)
		return;
	assert_int_equal(shard_apply(w->shard, commands, filled, w->applied + filled, &err), VT_OK);
	for (size_t i = 0; i < filled; i++)
	{
		const Entry *e = &w->log[commands[i].index];
		WireWriteResult result;

		assert_int_equal(wire_write_result_get(buf_bytes(&commands[i].reply), &result), VT_OK);
		if (commands[i].status != e->decided || result.took != e->took || result.index != commands[i].index)
			fail_msg("seed %llu: entry %llu (type %d) is decided otherwise: %d for %d", (unsigned long long) w->seed,
					 (unsigned long long) commands[i].index, e->type, commands[i].status, e->decided);
		buf_free(&commands[i].reply);
		buf_free(&bytes[i]);
	}
	w->applied += filled;
}

static void
checkpoint(World *w)
{
	ReplicaMachine machine = shard_machine(w->shard);
	VtError		err = {0};

	assert_int_equal(machine.checkpoint(machine.state, &w->checkpoint, &err), VT_OK);
	assert_int_equal(w->checkpoint, w->applied);
	w->marked = true;
}

static void
die(World *w, bool power)
{
	bool		marked = w->marked;
	uint64_t	applied = w->applied;

	shard_close(w->shard);
	if (power)
	{
		model_lose_power(w->path, &w->prng, prng_below(&w->prng, 9));
		w->marked = false;
	}
	meddle(w);
	open_shard(w);
	if (!power && marked)
		assert_int_equal(w->applied, applied);	/* nothing to replay */
	if (power)
		assert_int_equal(w->applied, w->checkpoint);
}

/* At the end of the log: as the model. */
static void
compare(World *w)
{
	const Model *m = &w->model;
	StoreIter  *iter = store_iter_open(w->shard->rows, bytes_of("v", 1), bytes_of("w", 1));
	Bytes		key;
	Bytes		value;
	uint64_t	live = 0;
	uint64_t	rows = 0;

	check_graph(w);
	for (int i = 0; i < IDS; i++)
	{
		uint8_t		id[WIRE_TID_SIZE];

		if (records_version(w->shard->records, id_bytes(i, id)) != m->version[i])
			fail_msg("seed %llu, entry %llu: record %d has version %llu in memory, not %llu",
					 (unsigned long long) w->seed, (unsigned long long) w->last, i,
					 (unsigned long long) records_version(w->shard->records, id_bytes(i, id)),
					 (unsigned long long) m->version[i]);
		live += m->version[i] != 0;
	}
	while (store_iter_next(iter, &key, &value))
	{
		StoreRow	row;
		uint32_t	block;
		uint16_t	offset;
		uint32_t	bits;
		float		x;

		assert_int_equal(row_get(value, &row, NULL), VT_OK);
		assert_true(wire_tid_get(bytes_of(key.data + 1, key.len - 1), &block, &offset));
		assert_true(block < IDS);
		if (row.index != m->version[block])
			fail_msg("seed %llu: row %u has version %llu on disk, not %llu", (unsigned long long) w->seed, block,
					 (unsigned long long) row.index, (unsigned long long) m->version[block]);
		bits = get_le32(row.vector);
		memcpy(&x, &bits, sizeof(x));
		assert_int_equal((int) x, m->vector[block]);
		rows++;
	}
	store_iter_close(iter);
	assert_int_equal(rows, live);
	assert_int_equal(records_count(w->shard->records), live);
	assert_int_equal(atomic_load(&w->shard->fence), m->fence);
	assert_int_equal(atomic_load(&w->shard->ingesting), m->ingesting);
}

static void
live_and_die(void **state)
{
	(void) state;
	log_setup("test", LOG_LEVEL_ERROR);
	describe();
	/* Every file is synced: in memory, where that can be had. */
	snprintf(scratch, sizeof(scratch), "%s/vectron-crash.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(scratch));
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
	{
		World		w;
		VtError		err = {0};

		memset(&w, 0, sizeof(w));
		w.seed = seed;
		w.prng.state = seed;
		snprintf(w.directory, sizeof(w.directory), "%s/%llu", scratch, (unsigned long long) seed);
		assert_int_equal(mkdir(w.directory, 0700), 0);
		snprintf(w.path, sizeof(w.path), "%s/%016llx", w.directory, (unsigned long long) desc.shard);
		assert_int_equal(shard_create(w.directory, &desc, desc.replicas[0].replica, &err), VT_OK);
		assert_int_equal(mkdir(w.path, 0700), 0);
		open_shard(&w);
		for (int step = 0; step < 80; step++)
		{
			uint32_t	dice = prng_below(&w.prng, 20);

			if (dice < 12)
				apply_some(&w);
			else if (dice < 15)
				save_graph(&w);
			else if (dice < 17)
				checkpoint(&w);
			else
				die(&w, dice > 17);
			if (w.applied == w.last)
				compare(&w);
		}
		while (w.applied < w.last)
			apply_some(&w);
		compare(&w);
		shard_close(w.shard);
		assert_int_equal(store_destroy(w.path, &err), VT_OK);
		assert_int_equal(shard_remove_graph(w.path, &err), VT_OK);
		assert_int_equal(rmdir(w.path), 0);
		assert_int_equal(rmdir(w.directory), 0);
	}
	for (int i = 0; i < KEPT_FILES; i++)
	{
		char		kept[192];

		graph_file(NULL, i, kept, sizeof(kept));
		unlink(kept);
	}
	assert_int_equal(rmdir(scratch), 0);

	/* Files were of use, and were not all. */
	assert_true(taken > SEEDS && refused > SEEDS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(live_and_die),
	};

	return cmocka_run_group_tests_name("worker_crash", tests, NULL, NULL);
}
