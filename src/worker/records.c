/*-------------------------------------------------------------------------
 *
 * records.c
 *	  A shard's records in memory.
 *
 * Slots live in chunks that never move; a chunk holds the vectors and the
 * heads of CHUNK slots.  The id map is an open-addressing table from id to the
 * slot of its newest version.
 *
 * Dead slots wait for the readers of their time by epochs.  Who enters in epoch
 * e is counted in inside[e % 2]; what dies in e waits in waiting[e % 2].  The
 * epoch may become e + 1 when nobody of e - 1 is inside any more; then what died
 * in e - 1 is out of sight: who entered in e found it dead.
 *
 *-------------------------------------------------------------------------
 */
#include "records.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"

#define CHUNK 1024
#define CHUNKS_MAX (1u << 21)
#define NONE UINT32_MAX

typedef struct Slot
{
	atomic_uint_fast64_t version;	/* 0 = dead or not yet published */
	uint32_t	id_len;
	uint8_t    *id;				/* malloc'd; valid while the slot is not reused */
} Slot;

typedef struct Chunk
{
	Slot		slots[CHUNK];
	float		vectors[];		/* CHUNK x dim */
} Chunk;

typedef struct SlotList
{
	uint32_t   *slots;
	uint32_t	n;
	uint32_t	room;
} SlotList;

struct Records
{
	VecMetric	metric;
	uint32_t	dim;

	_Atomic(Chunk *) *chunks;	/* CHUNKS_MAX pointers, pages touched as needed */
	atomic_uint_fast32_t used;	/* slots handed out so far */
	atomic_uint_fast64_t live;

	/* Twice the moves (records_moves), odd while one is under way */
	atomic_uint_fast64_t moving;
	atomic_uint_fast32_t moves[RECORDS_MOVES_KEPT];

	/* The map; changed by the apply thread, read by it without the lock */
	pthread_mutex_t map_lock;
	uint32_t   *map;			/* slot or NONE */
	uint32_t	map_size;		/* a power of two */
	uint32_t	map_used;		/* entries, dead marks included */

	/* Dead slots: waiting for the readers of their time, then free to use */
	atomic_uint_fast32_t epoch;
	atomic_uint_fast32_t inside[2];
	SlotList	waiting[2];
	SlotList	ready;
};

#define MAP_DEAD (UINT32_MAX - 1)

static Chunk *
chunk_of(const Records *records, uint32_t slot)
{
	return atomic_load_explicit(&records->chunks[slot / CHUNK], memory_order_acquire);
}

static Slot *
slot_of(const Records *records, uint32_t slot)
{
	return &chunk_of(records, slot)->slots[slot % CHUNK];
}

static float *
vector_of(const Records *records, uint32_t slot)
{
	return chunk_of(records, slot)->vectors + (size_t) (slot % CHUNK) * records->dim;
}

static Bytes
id_of(const Records *records, uint32_t slot)
{
	Slot	   *s = slot_of(records, slot);

	return bytes_of(s->id, s->id_len);
}

Records *
records_new(VecMetric metric, uint32_t dim)
{
	Records    *records = vt_alloc0(sizeof(Records));

	records->metric = metric;
	records->dim = dim;
	records->chunks = vt_alloc0(sizeof(*records->chunks) * CHUNKS_MAX);
	records->map_size = 1024;
	records->map = vt_alloc(sizeof(uint32_t) * records->map_size);
	memset(records->map, 0xff, sizeof(uint32_t) * records->map_size);
	pthread_mutex_init(&records->map_lock, NULL);
	return records;
}

void
records_free(Records *records)
{
	uint32_t	used;

	if (!records)
		return;
	used = (uint32_t) atomic_load(&records->used);
	for (uint32_t i = 0; i < used; i++)
		free(slot_of(records, i)->id);
	for (uint32_t i = 0; i * CHUNK < used; i++)
		free(atomic_load(&records->chunks[i]));
	free(records->chunks);
	free(records->map);
	free(records->waiting[0].slots);
	free(records->waiting[1].slots);
	free(records->ready.slots);
	pthread_mutex_destroy(&records->map_lock);
	free(records);
}

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
		else if (bytes_equal(id_of(records, slot), id))
		{
			*place = i;
			return slot;
		}
	}
}

/* Twice the size, without dead marks. */
static void
map_grow(Records *records)
{
	uint32_t	old_size = records->map_size;
	uint32_t   *old = records->map;
	uint32_t	live = (uint32_t) atomic_load(&records->live);

	while (records->map_size < 4 * (live + 1))
		records->map_size *= 2;
	records->map = vt_alloc(sizeof(uint32_t) * records->map_size);
	memset(records->map, 0xff, sizeof(uint32_t) * records->map_size);
	records->map_used = 0;
	for (uint32_t i = 0; i < old_size; i++)
	{
		uint32_t	place;

		if (old[i] == NONE || old[i] == MAP_DEAD)
			continue;
		map_find(records, id_of(records, old[i]), &place);
		records->map[place] = old[i];
		records->map_used++;
	}
	free(old);
}

uint64_t
records_version(Records *records, Bytes id)
{
	uint32_t	place;
	uint32_t	slot = map_find(records, id, &place);

	return slot == NONE ? 0 : atomic_load(&slot_of(records, slot)->version);
}

static void
push(SlotList *list, uint32_t slot)
{
	if (list->n == list->room)
	{
		list->room = list->room ? list->room * 2 : 64;
		list->slots = vt_realloc(list->slots, sizeof(uint32_t) * list->room);
	}
	list->slots[list->n++] = slot;
}

/* Go on by an epoch if nobody of the last one is inside. */
static void
epoch_advance(Records *records)
{
	uint32_t	epoch = (uint32_t) atomic_load(&records->epoch);
	SlotList   *old = &records->waiting[(epoch + 1) % 2];

	if (atomic_load(&records->inside[(epoch + 1) % 2]) != 0)
		return;
	while (old->n > 0)
		push(&records->ready, old->slots[--old->n]);
	atomic_store(&records->epoch, epoch + 1);
}

/* A slot to write into. */
static uint32_t
slot_take(Records *records)
{
	uint32_t	slot;
	uint32_t	chunk;

	if (records->ready.n == 0 && records->waiting[0].n + records->waiting[1].n > 0)
		epoch_advance(records);
	if (records->ready.n > 0)
		return records->ready.slots[--records->ready.n];

	slot = (uint32_t) atomic_load(&records->used);
	chunk = slot / CHUNK;
	Assert(chunk < CHUNKS_MAX);
	if (slot % CHUNK == 0)
	{
		size_t		size = sizeof(Chunk) + sizeof(float) * CHUNK * records->dim;
		Chunk	   *fresh = vt_alloc(size);

		memset(fresh->slots, 0, sizeof(fresh->slots));
		atomic_store_explicit(&records->chunks[chunk], fresh, memory_order_release);
	}
	return slot;
}

static void
slot_die(Records *records, uint32_t slot)
{
	atomic_store_explicit(&slot_of(records, slot)->version, 0, memory_order_release);
	push(&records->waiting[atomic_load(&records->epoch) % 2], slot);
}

void
records_put(Records *records, Bytes id, uint64_t version, const uint8_t *vector)
{
	uint32_t	slot = slot_take(records);
	Slot	   *s = slot_of(records, slot);
	float	   *out = vector_of(records, slot);
	uint32_t	place;
	uint32_t	old;

	for (uint32_t i = 0; i < records->dim; i++)
	{
		uint32_t	bits = get_le32(vector + 4 * (size_t) i);

		memcpy(&out[i], &bits, sizeof(bits));
	}
	free(s->id);
	s->id = vt_alloc(id.len);
	s->id_len = (uint32_t) id.len;
	memcpy(s->id, id.data, id.len);

	/*
	 * Under the lock a reader of the map sees the old version or the new one,
	 * never both and never neither.  Who walks the slots does not take it: the
	 * move tells where to look again.
	 */
	pthread_mutex_lock(&records->map_lock);
	if (records->map_used + 1 > records->map_size / 2)
		map_grow(records);
	old = map_find(records, id, &place);
	if (records->map[place] == NONE)
		records->map_used++;
	if (old != NONE)
		atomic_fetch_add(&records->moving, 1);
	atomic_store_explicit(&s->version, version, memory_order_release);
	records->map[place] = slot;
	if (slot >= atomic_load(&records->used))
		atomic_store_explicit(&records->used, slot + 1, memory_order_release);
	if (old != NONE)
	{
		uint64_t	move = atomic_load(&records->moving) / 2;

		slot_die(records, old);
		atomic_store(&records->moves[move % RECORDS_MOVES_KEPT], slot);
		atomic_fetch_add(&records->moving, 1);
	}
	else
		atomic_fetch_add(&records->live, 1);
	pthread_mutex_unlock(&records->map_lock);
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
	slot_die(records, slot);
	pthread_mutex_unlock(&records->map_lock);
	atomic_fetch_sub(&records->live, 1);
}

uint64_t
records_count(const Records *records)
{
	return atomic_load(&records->live);
}

uint64_t
records_bytes(const Records *records)
{
	uint64_t	used = atomic_load(&records->used);

	return used * (sizeof(Slot) + 16 + sizeof(float) * records->dim) + records->map_size * 4ull;
}

VecMetric
records_metric(const Records *records)
{
	return records->metric;
}

uint32_t
records_dim(const Records *records)
{
	return records->dim;
}

/* -- Readers --------------------------------------------------------------- */

uint32_t
records_enter(Records *records)
{
	for (;;)
	{
		uint32_t	epoch = (uint32_t) atomic_load(&records->epoch);

		atomic_fetch_add(&records->inside[epoch % 2], 1);
		if (atomic_load(&records->epoch) == epoch)
			return epoch;
		atomic_fetch_sub(&records->inside[epoch % 2], 1);
	}
}

void
records_leave(Records *records, uint32_t entered)
{
	atomic_fetch_sub(&records->inside[entered % 2], 1);
}

uint32_t
records_slots(const Records *records)
{
	return (uint32_t) atomic_load_explicit(&records->used, memory_order_acquire);
}

uint64_t
records_slot_version(const Records *records, uint32_t slot)
{
	return atomic_load_explicit(&slot_of(records, slot)->version, memory_order_acquire);
}

const float *
records_slot_vector(const Records *records, uint32_t slot)
{
	return vector_of(records, slot);
}

Bytes
records_slot_id(const Records *records, uint32_t slot)
{
	return id_of(records, slot);
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

uint64_t
records_moves(const Records *records)
{
	uint64_t	moving;

	while ((moving = atomic_load(&records->moving)) % 2 != 0)
		sched_yield();
	return moving / 2;
}

bool
records_move(const Records *records, uint64_t move, uint32_t *slot)
{
	*slot = (uint32_t) atomic_load(&records->moves[move % RECORDS_MOVES_KEPT]);

	/* Not yet overwritten, nor about to be */
	return atomic_load(&records->moving) / 2 < move + RECORDS_MOVES_KEPT;
}
