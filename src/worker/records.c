/*-------------------------------------------------------------------------
 *
 * records.c
 *	  A shard's records in memory.
 *
 * The graph hands out slots and says when one may be used again; a head for
 * each lies here, in chunks that never move: the first has FIRST heads, each
 * further one twice as many as the one before.  The id map is an
 * open-addressing table from id to the slot of its newest version.
 *
 *-------------------------------------------------------------------------
 */
#include "records.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/breaks.h"
#include "base/hash.h"
#include "tune.h"

#define FIRST_SHIFT 8
#define FIRST (1u << FIRST_SHIFT)
#define CHUNKS (31 - FIRST_SHIFT)	/* enough for HNSW_MAX_SLOTS */
#define MAP_FIRST 1024
#define MAP_DEAD (UINT32_MAX - 1)
#define NONE HNSW_NO_SLOT

/* Ids up to this long need no memory of their own. */
#define ID_INLINE 8

typedef struct Head
{
	atomic_uint_fast64_t version;	/* 0 = dead or not yet published */
	union
	{
		uint8_t		here[ID_INLINE];
		uint8_t    *elsewhere;	/* malloc'd; until the slot is used again */
	}			id;
	uint32_t	id_len;
} Head;

struct Records
{
	RecordsOptions opt;
	Hnsw	   *graph;
	Tune	   *tune;
	float	   *vector;			/* of the apply thread: dim floats, aligned */
	atomic_uint_fast64_t live;
	atomic_uint_fast64_t changes;	/* puts and deletes */
	atomic_uint_fast64_t moves;
	atomic_llong graph_bytes;
	atomic_llong own_bytes;

	atomic_uint_fast64_t stats[RECORD_STATS];	/* times in nanoseconds */

	_Atomic(Head *) chunks[CHUNKS];
	uint32_t	nheads;			/* slots seen so far; the apply thread's */

	/* The map; changed by the apply thread, and by compaction */
	pthread_mutex_t map_lock;
	uint32_t   *map;			/* slot, NONE or MAP_DEAD */
	uint32_t	map_size;		/* a power of two */
	uint32_t	map_used;		/* entries, dead marks included */

	/*
	 * While a file is loaded: the version that it gives a slot, 0 where a row has
	 * claimed it or none may.  What may be claimed is in the map, one slot for an id,
	 * and counted in live.
	 */
	uint64_t   *claims;
	uint32_t	nclaims;
};

/* Chunk k holds the slots from FIRST * (2^k - 1) on, FIRST * 2^k of them. */
static int
chunk_of(uint32_t slot)
{
	return 31 - __builtin_clz(slot + FIRST) - FIRST_SHIFT;
}

static Head *
head_of(const Records *records, uint32_t slot)
{
	int			k = chunk_of(slot);

	return atomic_load_explicit(&records->chunks[k], memory_order_acquire) + (slot + FIRST - (FIRST << k));
}

static Bytes
id_of(const Head *head)
{
	return bytes_of(head->id_len > ID_INLINE ? head->id.elsewhere : head->id.here, head->id_len);
}

/* Ids in their order give labels in their order; equal ones when they begin alike. */
static uint64_t
label_of(Bytes id)
{
	uint8_t		first[8] = {0};

	memcpy(first, id.data, id.len < sizeof(first) ? id.len : sizeof(first));
	return get_be64(first);
}

static void
on_graph_memory(void *arg, int64_t bytes)
{
	atomic_fetch_add_explicit(&((Records *) arg)->graph_bytes, bytes, memory_order_relaxed);
}

static bool on_move(void *arg, uint32_t from, uint32_t to);

static HnswOptions
graph_options(Records *records)
{
	HnswOptions options = {
		.dim = records->opt.dim,
		.metric = records->opt.metric,
		.m = records->opt.m,
		.ef_construction = records->opt.ef_construction,
		.codes = records->opt.codes,
		.element = records->opt.element,
		.seed = records->opt.seed,
		.vectors = records->opt.codes == HNSW_CODES_INT8 ? records->opt.vectors : NULL,
		.account = on_graph_memory,
		.account_arg = records,
		.move = on_move,
		.move_arg = records,
	};

	return options;
}

/* Without a graph yet. */
static Records *
make_records(const RecordsOptions *options)
{
	Records    *records = vt_alloc0(sizeof(Records));

	records->opt = *options;
	records->tune = tune_new();
	pthread_mutex_init(&records->map_lock, NULL);
	records->map_size = MAP_FIRST;
	records->map = vt_alloc(sizeof(uint32_t) * records->map_size);
	memset(records->map, 0xff, sizeof(uint32_t) * records->map_size);
	atomic_store(&records->own_bytes, (long long) (sizeof(uint32_t) * records->map_size));
	records->vector = vt_alloc(sizeof(float) * (options->dim + 1));
	return records;
}

VtStatus
records_new(const RecordsOptions *options, Records **out, VtError *err)
{
	Records    *records = make_records(options);
	HnswOptions graph = graph_options(records);
	VtStatus	status = hnsw_create(&graph, &records->graph, err);

	records->opt.vectors = NULL;
	if (status != VT_OK)
	{
		records_free(records);
		return status;
	}
	*out = records;
	return VT_OK;
}

void
records_free(Records *records)
{
	if (!records)
		return;
	for (uint32_t slot = 0; slot < records->nheads; slot++)
		if (head_of(records, slot)->id_len > ID_INLINE)
			free(head_of(records, slot)->id.elsewhere);
	for (int k = 0; k < CHUNKS; k++)
		free(atomic_load(&records->chunks[k]));
	tune_free(records->tune);
	hnsw_destroy(records->graph);
	free(records->map);
	free(records->claims);
	free(records->vector);
	pthread_mutex_destroy(&records->map_lock);
	free(records);
}

/* -- The map --------------------------------------------------------------- */

/* Position of an id in the map; *place is where it would be put. */
static uint32_t
map_find(const Records *records, Bytes id, uint32_t *place)
{
	uint32_t	mask = records->map_size - 1;
	uint32_t	free_place = NONE;

	for (uint32_t i = (uint32_t) hash_checksum(id) & mask;; i = (i + 1) & mask)
	{
		uint32_t	slot = records->map[i];

		if (slot == NONE)
		{
			*place = free_place != NONE ? free_place : i;
			return NONE;
		}
		if (slot == MAP_DEAD)
		{
			if (free_place == NONE)
				free_place = i;
		}
		else if (bytes_equal(id_of(head_of(records, slot)), id))
		{
			*place = i;
			return slot;
		}
	}
}

/* A table with room, without dead marks. */
static void
map_grow(Records *records)
{
	uint32_t	old_size = records->map_size;
	uint32_t   *old = records->map;
	uint64_t	live = atomic_load(&records->live);

	while (records->map_size < 4 * (live + 1))
		records->map_size *= 2;
	records->map = vt_alloc(sizeof(uint32_t) * records->map_size);
	memset(records->map, 0xff, sizeof(uint32_t) * records->map_size);
	atomic_fetch_add(&records->own_bytes, (long long) sizeof(uint32_t) *
					 ((long long) records->map_size - (long long) old_size));
	records->map_used = 0;
	for (uint32_t i = 0; i < old_size; i++)
	{
		uint32_t	place;

		if (old[i] == NONE || old[i] == MAP_DEAD)
			continue;
		map_find(records, id_of(head_of(records, old[i])), &place);
		records->map[place] = old[i];
		records->map_used++;
	}
	free(old);
}

uint64_t
records_version(Records *records, Bytes id)
{
	uint32_t	slot;
	uint64_t	version = 0;

	(void) records_find(records, id, &slot, &version);
	return version;
}

/* -- Changing -------------------------------------------------------------- */

/* There is a head for this slot from now on; under map_lock once there are other threads. */
static void
head_make(Records *records, uint32_t slot)
{
	/* A file may leave out slots: heads are there for all before this one. */
	for (int k = chunk_of(records->nheads); k <= chunk_of(slot); k++)
		if (!atomic_load(&records->chunks[k]))
			atomic_store_explicit(&records->chunks[k], vt_alloc0(sizeof(Head) * (FIRST << k)),
								  memory_order_release);
	if (slot >= records->nheads)
	{
		atomic_fetch_add(&records->own_bytes, (long long) sizeof(Head) * (slot + 1 - records->nheads));
		records->nheads = slot + 1;
	}
}

/* The head of a slot that was just reserved, with its id. */
static Head *
head_fill(Records *records, uint32_t slot, Bytes id)
{
	Head	   *head = head_of(records, slot);

	if (head->id_len > ID_INLINE)
	{
		atomic_fetch_sub(&records->own_bytes, head->id_len);
		free(head->id.elsewhere);
	}
	head->id_len = (uint32_t) id.len;
	if (id.len > ID_INLINE)
	{
		head->id.elsewhere = vt_alloc(id.len);
		memcpy(head->id.elsewhere, id.data, id.len);
		atomic_fetch_add(&records->own_bytes, (long long) id.len);
	}
	else
		memcpy(head->id.here, id.data, id.len);
	return head;
}

void
vector_take(float *out, const uint8_t *in, uint32_t dim, VecElement element)
{
	VecHalf		some[64];

	if (element != VEC_FLOAT16)
	{
		for (uint32_t i = 0; i < dim; i++)
		{
			uint32_t	bits = get_le32(in + 4 * (size_t) i);

			memcpy(&out[i], &bits, sizeof(bits));
		}
		return;
	}
	for (uint32_t at = 0; at < dim; at += 64)
	{
		uint32_t	n = dim - at < 64 ? dim - at : 64;

		for (uint32_t i = 0; i < n; i++)
			some[i] = get_le16(in + 2 * (size_t) (at + i));
		vec_from_half(out + at, some, n);
	}
}

/* Into records->vector, aligned. */
static const float *
read_vector(Records *records, const uint8_t *vector)
{
	vector_take(records->vector, vector, records->opt.dim, records->opt.element);
	return records->vector;
}

VtStatus
records_put(Records *records, Bytes id, uint64_t version, const uint8_t *vector, VtError *err)
{
	uint32_t	slot;
	uint32_t	place;
	uint32_t	old;
	Head	   *head;
	VtStatus	status = hnsw_reserve(records->graph, &slot, err);

	if (status != VT_OK)
		return status;
	pthread_mutex_lock(&records->map_lock);
	head_make(records, slot);
	pthread_mutex_unlock(&records->map_lock);
	head = head_fill(records, slot, id);
	(void) read_vector(records, vector);

	/*
	 * A search meets the old version or the new one in the graph, never both
	 * and never neither; a reader of the map the same, by the lock.
	 */
	pthread_mutex_lock(&records->map_lock);
	if (records->map_used + 1 > records->map_size / 2)
		map_grow(records);
	old = map_find(records, id, &place);
	if (records->map[place] == NONE)
		records->map_used++;
	atomic_store_explicit(&head->version, version, memory_order_release);
	if (old == NONE || vt_broken("S5-supersede"))
		hnsw_add(records->graph, slot, label_of(id), records->vector);
	else
	{
		hnsw_replace(records->graph, old, slot, label_of(id), records->vector);
		atomic_store_explicit(&head_of(records, old)->version, 0, memory_order_release);
	}
	records->map[place] = slot;
	if (old == NONE)
		atomic_fetch_add(&records->live, 1);
	pthread_mutex_unlock(&records->map_lock);
	atomic_fetch_add(&records->changes, 1);
	return VT_OK;
}

void
records_delete(Records *records, Bytes id)
{
	uint32_t	place;
	uint32_t	slot;

	pthread_mutex_lock(&records->map_lock);
	slot = map_find(records, id, &place);
	Assert(slot != NONE);
	records->map[place] = MAP_DEAD;
	atomic_store_explicit(&head_of(records, slot)->version, 0, memory_order_release);
	hnsw_delete(records->graph, slot);
	pthread_mutex_unlock(&records->map_lock);
	atomic_fetch_sub(&records->live, 1);
	atomic_fetch_add(&records->changes, 1);
}

/* Places of the map that are gone through under one lock. */
#define KEEP_SLICE 1024

uint64_t
records_keep(Records *records, bool (*keep) (void *arg, Bytes id), void *arg)
{
	uint64_t	gone = 0;

	/* The map grows by the apply thread only, and that is here. */
	for (uint32_t begin = 0; begin < records->map_size; begin += KEEP_SLICE)
	{
		pthread_mutex_lock(&records->map_lock);
		for (uint32_t i = begin; i < begin + KEEP_SLICE && i < records->map_size; i++)
		{
			uint32_t	slot = records->map[i];

			if (slot == NONE || slot == MAP_DEAD || keep(arg, id_of(head_of(records, slot))))
				continue;
			records->map[i] = MAP_DEAD;
			atomic_store_explicit(&head_of(records, slot)->version, 0, memory_order_release);
			hnsw_delete(records->graph, slot);
			gone++;
		}
		pthread_mutex_unlock(&records->map_lock);
	}
	atomic_fetch_sub(&records->live, gone);
	atomic_fetch_add(&records->changes, gone);
	return gone;
}

/*
 * Compaction moves a record to another slot, with its version.  By an index
 * thread; the lock keeps the apply thread from ending or superseding it.
 */
static bool
on_move(void *arg, uint32_t from, uint32_t to)
{
	Records    *records = (Records *) arg;
	Head	   *old = head_of(records, from);
	uint32_t	place;
	bool		live;

	pthread_mutex_lock(&records->map_lock);
	live = atomic_load(&old->version) != 0 && map_find(records, id_of(old), &place) == from;
	if (live)
	{
		Head	   *head;

		head_make(records, to);	/* a file's free slots may have none */
		head = head_fill(records, to, id_of(old));
		/* Counted first: who sees the version in its new place sees that it was moved. */
		atomic_fetch_add(&records->moves, 1);
		atomic_store_explicit(&head->version, atomic_load(&old->version), memory_order_release);
		hnsw_move(records->graph, from, to);
		atomic_store_explicit(&old->version, 0, memory_order_release);
		records->map[place] = to;
	}
	pthread_mutex_unlock(&records->map_lock);
	return live;
}

/* -- Files ----------------------------------------------------------------- */

typedef struct Saving
{
	Records    *records;
	const RecordsFile *file;
} Saving;

/* Kept with a slot: version u64, id. */
static bool
write_note(void *arg, uint32_t slot, Buf *out)
{
	const Head *head = head_of(((Saving *) arg)->records, slot);
	uint64_t	version = atomic_load_explicit(&head->version, memory_order_acquire);
	Bytes		id = id_of(head);

	buf_put_u64(out, version);
	buf_put(out, id.data, id.len);
	return version != 0;
}

static bool
pace(void *arg, size_t bytes)
{
	const RecordsFile *file = ((Saving *) arg)->file;

	return file->pace == NULL || file->pace(file->arg, bytes);
}

VtStatus
records_save(Records *records, const RecordsFile *file, VtError *err)
{
	Saving		saving = {records, file};
	HnswSave	save = {.path = file->path, .tag = file->tag, .note = write_note, .pace = pace, .arg = &saving};

	return hnsw_save(records->graph, &save, err);
}

/* A slot of a file: of the versions of an id it may have, the newest can be claimed. */
static bool
read_note(void *arg, uint32_t slot, uint64_t label, Bytes note)
{
	Records    *records = (Records *) arg;
	uint64_t	version = note.len > 8 ? get_le64(note.data) : 0;
	Bytes		id;
	uint32_t	place;
	uint32_t	other;

	if (version == 0)
		return false;
	id = bytes_of(note.data + 8, note.len - 8);
	if (label != label_of(id))
		return false;
	head_make(records, slot);
	(void) head_fill(records, slot, id);
	if (slot >= records->nclaims)
	{
		uint32_t	room = slot + slot / 2 + 64;

		records->claims = vt_realloc(records->claims, sizeof(uint64_t) * room);
		memset(records->claims + records->nclaims, 0, sizeof(uint64_t) * (room - records->nclaims));
		records->nclaims = room;
	}
	if (records->map_used + 1 > records->map_size / 2)
		map_grow(records);
	other = map_find(records, id, &place);
	if (other != NONE && records->claims[other] >= version)
		return true;
	if (other != NONE)
		records->claims[other] = 0;
	else
	{
		records->map_used += records->map[place] == NONE;
		atomic_fetch_add(&records->live, 1);
	}
	records->map[place] = slot;
	records->claims[slot] = version;
	return true;
}

VtStatus
records_load(const RecordsOptions *options, const RecordsFile *file, Records **out, VtError *err)
{
	Records    *records = make_records(options);
	HnswOptions graph = graph_options(records);
	HnswLoad	load = {.path = file->path, .tag = file->tag, .each = read_note, .arg = records};
	VtStatus	status = hnsw_load(&graph, &load, &records->graph, err);

	records->opt.vectors = NULL;
	if (status != VT_OK)
	{
		records_free(records);
		return status;
	}
	if (records->claims == NULL)
		records->claims = vt_alloc0(sizeof(uint64_t));
	*out = records;
	return VT_OK;
}

/* A slot that the map names may not be claimed any more. */
static void
give_up_claim(Records *records, uint32_t slot, uint32_t place)
{
	records->claims[slot] = 0;
	records->map[place] = MAP_DEAD;
	atomic_fetch_sub(&records->live, 1);
	atomic_fetch_add(&records->changes, 1);
}

static void
take_claim(Records *records, uint32_t slot, const float *vector)
{
	hnsw_restore(records->graph, slot, vector);
	atomic_store_explicit(&head_of(records, slot)->version, records->claims[slot], memory_order_release);
	records->claims[slot] = 0;
}

bool
records_claim(Records *records, Bytes id, uint64_t version, const uint8_t *vector)
{
	uint32_t	place;
	uint32_t	slot;

	if (records->claims == NULL)
		return false;
	slot = map_find(records, id, &place);
	if (slot == NONE || slot >= records->nclaims || records->claims[slot] == 0)
		return false;
	if (records->claims[slot] != version && !vt_broken("S5-file"))
	{
		give_up_claim(records, slot, place);
		return false;
	}
	take_claim(records, slot, read_vector(records, vector));
	return true;
}

void
records_settle(Records *records)
{
	uint32_t	place;

	if (records->claims == NULL)
		return;
	for (uint32_t slot = 0; slot < records->nclaims; slot++)
	{
		if (records->claims[slot] == 0)
			continue;
		(void) map_find(records, id_of(head_of(records, slot)), &place);
		if (vt_broken("S5-file"))
			take_claim(records, slot, records->vector);
		else
			give_up_claim(records, slot, place);
	}
	free(records->claims);
	records->claims = NULL;
	records->nclaims = 0;
	hnsw_loaded(records->graph);
}

/* -- Looking --------------------------------------------------------------- */

uint32_t
records_dim(const Records *records)
{
	return records->opt.dim;
}

uint64_t
records_count(const Records *records)
{
	return atomic_load(&records->live);
}

uint64_t
records_bytes(const Records *records)
{
	return (uint64_t) (atomic_load(&records->graph_bytes) + atomic_load(&records->own_bytes));
}

uint64_t
records_changes(const Records *records)
{
	return atomic_load(&records->changes);
}

const char *const record_stat_names[RECORD_STATS] = {
	"passes", "exact_passes", "distances", "hot_distances", "refined", "hops", "asked",
	"walk_us", "hot_us", "refine_us", "exact_us", "filter_us"
};

void
records_count_pass(Records *records, const HnswCost *cost, bool exact)
{
	const uint64_t counts[RECORD_STATS] = {
		1, exact || cost->exact > 0, cost->distances, cost->waiting, cost->refined, cost->hops, cost->asked,
		cost->walk_ns, cost->waiting_ns, cost->refine_ns, cost->exact_ns, cost->filter_ns
	};

	for (int i = 0; i < RECORD_STATS; i++)
		if (counts[i] > 0)
			atomic_fetch_add_explicit(&records->stats[i], counts[i], memory_order_relaxed);
}

uint64_t
records_stat(const Records *records, RecordStat stat)
{
	uint64_t	count = atomic_load_explicit(&records->stats[stat], memory_order_relaxed);

	return stat >= RECORD_WALK_US ? count / 1000 : count;
}

struct Tune *
records_tune(const Records *records)
{
	return records->tune;
}

uint64_t
records_waiting(const Records *records)
{
	return hnsw_waiting(records->graph);
}

Hnsw *
records_graph(const Records *records)
{
	return records->graph;
}

uint32_t
records_enter(Records *records)
{
	return hnsw_enter(records->graph);
}

void
records_leave(Records *records, uint32_t entered)
{
	hnsw_leave(records->graph, entered);
}

uint64_t
records_slot_version(const Records *records, uint32_t slot)
{
	return atomic_load_explicit(&head_of(records, slot)->version, memory_order_acquire);
}

uint64_t
records_moves(const Records *records)
{
	return atomic_load(&records->moves);
}

Bytes
records_slot_id(const Records *records, uint32_t slot)
{
	return id_of(head_of(records, slot));
}

bool
records_find(Records *records, Bytes id, uint32_t *slot, uint64_t *version)
{
	uint32_t	place;

	pthread_mutex_lock(&records->map_lock);
	*slot = map_find(records, id, &place);
	if (*slot != NONE)
		*version = records_slot_version(records, *slot);
	pthread_mutex_unlock(&records->map_lock);
	return *slot != NONE;
}
