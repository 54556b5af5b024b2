/*-------------------------------------------------------------------------
 *
 * records.c
 *	  A shard's records in memory: putting, deleting, moving and finding them.
 *
 * How they lie there is in records_inside.h, their files are in records_file.c.
 *
 *-------------------------------------------------------------------------
 */
#include "records_inside.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "base/hash.h"

static void
on_graph_memory(void *arg, int64_t bytes)
{
	atomic_fetch_add_explicit(&((Records *) arg)->graph_bytes, bytes, memory_order_relaxed);
}

static bool on_move(void *arg, uint32_t from, uint32_t to);

HnswOptions
records_graph_options(Records *records)
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

Records *
records_make(const RecordsOptions *options)
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
	if (options->attributes > 0)
	{
		records->columns = columns_new(options->attributes);
		records->filters = filters_new();
	}
	return records;
}

VtStatus
records_new(const RecordsOptions *options, Records **out, VtError *err)
{
	Records    *records = records_make(options);
	HnswOptions graph = records_graph_options(records);
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
	if (records->filters)
		filters_close(records);
	columns_free(records->columns);
	hnsw_destroy(records->graph);
	free(records->map);
	free(records->claims);
	free(records->vector);
	pthread_mutex_destroy(&records->map_lock);
	free(records);
}

/* -- The map --------------------------------------------------------------- */

uint32_t
records_map_find(const Records *records, Bytes id, uint32_t *place)
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

void
records_map_grow(Records *records)
{
	uint32_t	old_size = records->map_size;
	uint32_t   *old = records->map;
	uint64_t	live = atomic_load(&records->live);

	while (records->map_size < 2 * (live + 1))
		records->map_size *= 2;
	records->map = vt_alloc(sizeof(uint32_t) * records->map_size);
	memset(records->map, 0xff, sizeof(uint32_t) * records->map_size);
	atomic_fetch_add(&records->own_bytes, (long long) sizeof(uint32_t) *
					 ((long long) records->map_size - (long long) old_size));
	records->map_used = 0;
	records->map_made++;
	for (uint32_t i = 0; i < old_size; i++)
	{
		uint32_t	place;

		if (old[i] == NONE || old[i] == MAP_DEAD)
			continue;
		records_map_find(records, id_of(head_of(records, old[i])), &place);
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

void
records_head_make(Records *records, uint32_t slot)
{
	/* A file may leave out slots: heads are there for all before this one. */
	for (int k = chunk_of(records->nheads); k <= chunk_of(slot); k++)
	{
		if (!atomic_load(&records->chunks[k]))
			atomic_store_explicit(&records->chunks[k], vt_alloc0(sizeof(Head) * (FIRST << k)),
								  memory_order_release);
		if (records->columns)
			columns_make(records->columns, k);
	}
	if (slot >= records->nheads)
	{
		size_t		width = sizeof(Head) + (records->columns ? columns_width(records->columns) : 0);

		atomic_fetch_add(&records->own_bytes, (long long) width * (slot + 1 - records->nheads));
		records->nheads = slot + 1;
	}
}

Head *
records_head_fill(Records *records, uint32_t slot, Bytes id)
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
vector_take(void *to, const uint8_t *in, uint32_t dim, VecElement element)
{
	VecHalf		some[64];
	float	   *out = to;

	if (element == VEC_BIT)
	{
		memcpy(to, in, VEC_BITS_BYTES(dim));
		return;
	}
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

const void *
records_read_vector(Records *records, const uint8_t *vector)
{
	vector_take(records->vector, vector, records->opt.dim, records->opt.element);
	return records->vector;
}

void
records_take_attributes(Records *records, uint32_t slot, Bytes encoded)
{
	WireAttributes attributes;
	VtStatus	status = wire_attributes_get(encoded, records->opt.attributes, &attributes);

	/* Apply has looked at them (shard_attributes_fit), and so has whoever reads rows. */
	Assert(status == VT_OK);
	(void) status;
	if (records->columns)
		columns_write(records->columns, slot, &attributes);
}

VtStatus
records_put(Records *records, Bytes id, uint64_t version, const uint8_t *vector, Bytes attributes, VtError *err)
{
	uint32_t	slot;
	uint32_t	place;
	uint32_t	old;
	Head	   *head;
	VtStatus	status = hnsw_reserve(records->graph, &slot, err);

	if (status != VT_OK)
		return status;
	pthread_mutex_lock(&records->map_lock);
	records_head_make(records, slot);
	pthread_mutex_unlock(&records->map_lock);
	head = records_head_fill(records, slot, id);
	(void) records_read_vector(records, vector);
	records_take_attributes(records, slot, attributes);

	/*
	 * A search meets the old version or the new one in the graph, never both
	 * and never neither; a reader of the map the same, by the lock.
	 */
	pthread_mutex_lock(&records->map_lock);
	if (records->map_used + 1 > MAP_FULL(records->map_size))
		records_map_grow(records);
	old = records_map_find(records, id, &place);
	if (records->map[place] == NONE)
		records->map_used++;
	atomic_store_explicit(&head->version, version, memory_order_release);
	filters_note(records, slot);
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
	slot = records_map_find(records, id, &place);
	Assert(slot != NONE);
	records->map[place] = MAP_DEAD;
	atomic_store_explicit(&head_of(records, slot)->version, 0, memory_order_release);
	hnsw_delete(records->graph, slot);
	filters_died(records, 1);
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
	uint32_t	begin = 0;
	uint32_t	made = 0;
	bool		more = true;

	while (more)
	{
		uint64_t	before = gone;

		pthread_mutex_lock(&records->map_lock);
		/* In another table all have other places. */
		if (records->map_made != made)
			begin = 0;
		made = records->map_made;
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
		begin += KEEP_SLICE;
		more = begin < records->map_size;
		filters_died(records, gone - before);
		atomic_fetch_sub(&records->live, gone - before);
		atomic_fetch_add(&records->changes, gone - before);
		pthread_mutex_unlock(&records->map_lock);
	}
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
	live = atomic_load(&old->version) != 0 && records_map_find(records, id_of(old), &place) == from;
	if (live)
	{
		WireAttributes attributes = {0};
		Head	   *head;

		records_head_make(records, to);	/* a file's free slots may have none */
		head = records_head_fill(records, to, id_of(old));
		if (records->columns)
		{
			columns_read(records->columns, from, &attributes);
			columns_write(records->columns, to, &attributes);
		}
		/* Counted first: who sees the version in its new place sees that it was moved. */
		atomic_fetch_add(&records->moves, 1);
		atomic_store_explicit(&head->version, atomic_load(&old->version), memory_order_release);
		filters_note(records, to);
		hnsw_move(records->graph, from, to);
		atomic_store_explicit(&old->version, 0, memory_order_release);
		records->map[place] = to;
	}
	pthread_mutex_unlock(&records->map_lock);
	return live;
}

/* -- Looking --------------------------------------------------------------- */

uint32_t
records_dim(const Records *records)
{
	return records->opt.dim;
}

VecElement
records_element(const Records *records)
{
	return records->opt.element;
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

void
records_count_more(Records *records, const HnswCost *cost)
{
	atomic_fetch_add_explicit(&records->stats[RECORD_DISTANCES], cost->distances, memory_order_relaxed);
	atomic_fetch_add_explicit(&records->stats[RECORD_REFINED], cost->refined, memory_order_relaxed);
	atomic_fetch_add_explicit(&records->stats[RECORD_HOPS], cost->hops, memory_order_relaxed);
	atomic_fetch_add_explicit(&records->stats[RECORD_ASKED], cost->asked, memory_order_relaxed);
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

void
records_slot_attributes(const Records *records, uint32_t slot, WireAttributes *out)
{
	if (records->columns)
		columns_read(records->columns, slot, out);
	else
		*out = (WireAttributes) {0};
}

bool
records_find(Records *records, Bytes id, uint32_t *slot, uint64_t *version)
{
	uint32_t	place;

	pthread_mutex_lock(&records->map_lock);
	*slot = records_map_find(records, id, &place);
	if (*slot != NONE)
		*version = records_slot_version(records, *slot);
	pthread_mutex_unlock(&records->map_lock);
	return *slot != NONE;
}

/* Names that are looked up under one lock, which the apply thread wants. */
#define LOCATE_SLICE 32

/* The sum is where the search in the map begins (records_map_find). */
RecordName
records_name(const Records *records, uint32_t slot)
{
	RecordName	name = {.version = records_slot_version(records, slot)};

	if (name.version != 0)
		name.sum = (uint32_t) hash_checksum(records_slot_id(records, slot));
	return name;
}

/* With map_lock. */
static uint32_t
locate(const Records *records, RecordName name)
{
	uint32_t	mask = records->map_size - 1;

	if (name.version == 0)
		return NONE;
	for (uint32_t i = name.sum & mask;; i = (i + 1) & mask)
	{
		uint32_t	slot = records->map[i];

		if (slot == NONE)
			return NONE;
		if (slot != MAP_DEAD && records_slot_version(records, slot) == name.version &&
			(uint32_t) hash_checksum(records_slot_id(records, slot)) == name.sum)
			return slot;
	}
}

void
records_locate(Records *records, const RecordName *names, uint32_t n, uint32_t *slots)
{
	for (uint32_t begin = 0; begin < n; begin += LOCATE_SLICE)
	{
		pthread_mutex_lock(&records->map_lock);
		for (uint32_t i = begin; i < begin + LOCATE_SLICE && i < n; i++)
			slots[i] = locate(records, names[i]);
		pthread_mutex_unlock(&records->map_lock);
	}
}
