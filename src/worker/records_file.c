/*-------------------------------------------------------------------------
 *
 * records_file.c
 *	  The graph of records, with their ids and versions, to a file and back.
 *
 * A file is no evidence: what it knows is there when a row has claimed it.
 *
 *-------------------------------------------------------------------------
 */
#include "records_inside.h"

#include <stdlib.h>

#include "base/breaks.h"

typedef struct Saving
{
	Records    *records;
	const RecordsFile *file;
} Saving;

/* Kept with a slot: version u64, id. */
static bool
write_note(void *arg, uint32_t slot, Buf *out)
{
	const Saving *saving = (const Saving *) arg;
	const RecordsFile *file = saving->file;
	const Head *head = head_of(saving->records, slot);
	uint64_t	version = atomic_load_explicit(&head->version, memory_order_acquire);
	Bytes		id = id_of(head);

	buf_put_u64(out, version);
	buf_put(out, id.data, id.len);
	return version != 0 && (file->keep == NULL || file->keep(file->keep_arg, id));
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
	HnswSave	save = {.path = file->path, .tag = file->tag, .seed = file->seed, .note = write_note, .pace = pace, .arg = &saving};

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
	records_head_make(records, slot);
	(void) records_head_fill(records, slot, id);
	if (slot >= records->nclaims)
	{
		uint32_t	room = slot + slot / 2 + 64;

		records->claims = vt_realloc(records->claims, sizeof(uint64_t) * room);
		memset(records->claims + records->nclaims, 0, sizeof(uint64_t) * (room - records->nclaims));
		records->nclaims = room;
	}
	if (records->map_used + 1 > MAP_FULL(records->map_size))
		records_map_grow(records);
	other = records_map_find(records, id, &place);
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
	Records    *records = records_make(options);
	HnswOptions graph = records_graph_options(records);
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
take_claim(Records *records, uint32_t slot, const void *vector)
{
	hnsw_restore(records->graph, slot, vector);
	atomic_store_explicit(&head_of(records, slot)->version, records->claims[slot], memory_order_release);
	records->claims[slot] = 0;
}

bool
records_claim(Records *records, Bytes id, uint64_t version, const uint8_t *vector, Bytes attributes)
{
	uint32_t	place;
	uint32_t	slot;

	if (records->claims == NULL)
		return false;
	slot = records_map_find(records, id, &place);
	if (slot == NONE || slot >= records->nclaims || records->claims[slot] == 0)
		return false;
	if (records->claims[slot] != version && !vt_broken("S5-file"))
	{
		give_up_claim(records, slot, place);
		return false;
	}
	records_take_attributes(records, slot, attributes);
	take_claim(records, slot, records_read_vector(records, vector));
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
		(void) records_map_find(records, id_of(head_of(records, slot)), &place);
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
