/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Scanning all records, nearest first, without keeping them all.
 *
 * A pass looks at every live record that was not returned yet and keeps the
 * nearest ones; they are handed out one by one; then comes another pass, which
 * keeps four times as many.  So a client that wants ten rows costs one pass
 * and little memory, and one that wants all of them a handful of passes.
 *
 * A pass runs beside the apply thread, without a lock.  A record that is
 * superseded meanwhile may be met in neither slot: the moves that happened
 * during the pass are looked at afterwards, until there are no new ones.  At
 * emit each candidate is checked against the map: one that was superseded is
 * replaced by its current version with its distance, never just dropped (law
 * S5).
 *
 * Between two calls a scan holds no slot: candidates carry copies of their ids,
 * and (slot, version) says whether one is still what it was.
 *
 *-------------------------------------------------------------------------
 */
#include "scan.h"

#include <stdlib.h>

#include "base/breaks.h"
#include "idset.h"
#include "wire/wire.h"

#define KEEP_MIN 128
#define KEEP_GROWS 4

typedef struct Candidate
{
	double		distance;
	uint64_t	version;
	uint32_t	slot;
	uint32_t	id_len;
	size_t		id_at;			/* in ids, once it is there */
} Candidate;

struct RecordScan
{
	Records    *records;
	float	   *query;
	IdSet		seen;			/* excluded, or returned */
	uint64_t	distances;

	/* What the last pass found, nearest first, from at on */
	Candidate  *found;
	size_t		n;
	size_t		at;
	size_t		keep;			/* at most so many in a pass */
	size_t		room;
	bool		all;			/* the last pass left nothing out */

	/* Replacements of superseded candidates; few */
	Candidate  *late;
	size_t		nlate;
	size_t		late_room;

	Buf			ids;			/* of found and late */
};

/* By distance, NaN last; then by id. */
static int
compare(double a, Bytes a_id, double b, Bytes b_id)
{
	bool		a_nan = a != a;
	bool		b_nan = b != b;

	if (a_nan != b_nan)
		return a_nan ? 1 : -1;
	if (!a_nan && a != b)
		return a < b ? -1 : 1;
	return bytes_compare(a_id, b_id);
}

/* While in a pass: ids are still in their slots. */
static int
compare_slots(const RecordScan *scan, const Candidate *a, const Candidate *b)
{
	return compare(a->distance, records_slot_id(scan->records, a->slot),
				   b->distance, records_slot_id(scan->records, b->slot));
}

static Bytes
id_of(const RecordScan *scan, const Candidate *c)
{
	return bytes_of(scan->ids.data + c->id_at, c->id_len);
}

static double
distance_to(RecordScan *scan, uint32_t slot)
{
	scan->distances++;
	return vec_distance(records_metric(scan->records), scan->query,
						records_slot_vector(scan->records, slot), records_dim(scan->records));
}

/* -- A pass ---------------------------------------------------------------- */

/* found[0..n) is a heap with the farthest on top. */
static void
sift_down(RecordScan *scan, size_t at)
{
	Candidate	moving = scan->found[at];

	for (;;)
	{
		size_t		child = 2 * at + 1;

		if (child >= scan->n)
			break;
		if (child + 1 < scan->n && compare_slots(scan, &scan->found[child + 1], &scan->found[child]) > 0)
			child++;
		if (compare_slots(scan, &scan->found[child], &moving) <= 0)
			break;
		scan->found[at] = scan->found[child];
		at = child;
	}
	scan->found[at] = moving;
}

static void
add_found(RecordScan *scan, const Candidate *c)
{
	size_t		at = scan->n;

	if (scan->n == scan->room)
	{
		scan->room = scan->room ? scan->room * 2 : KEEP_MIN;
		scan->found = vt_realloc(scan->found, sizeof(Candidate) * scan->room);
	}
	for (scan->n++; at > 0 && compare_slots(scan, c, &scan->found[(at - 1) / 2]) > 0; at = (at - 1) / 2)
		scan->found[at] = scan->found[(at - 1) / 2];
	scan->found[at] = *c;
}

static void
look_at(RecordScan *scan, uint32_t slot)
{
	Candidate	c = {.slot = slot, .version = records_slot_version(scan->records, slot)};

	if (c.version == 0)
		return;
	c.distance = distance_to(scan, slot);
	if (scan->n == scan->keep && compare_slots(scan, &c, &scan->found[0]) >= 0)
	{
		scan->all = false;
		return;
	}
	if (idset_has(&scan->seen, records_slot_id(scan->records, slot)))
		return;
	if (scan->n < scan->keep)
	{
		add_found(scan, &c);
		return;
	}
	scan->all = false;
	scan->found[0] = c;
	sift_down(scan, 0);
}

/* Look at what came new meanwhile; false = too much did. */
static bool
follow_moves(RecordScan *scan, uint64_t from)
{
	uint64_t	until;

	while ((until = records_moves(scan->records)) != from)
		for (; from < until; from++)
		{
			uint32_t	slot;

			if (!records_move(scan->records, from, &slot))
				return false;
			look_at(scan, slot);
		}
	return true;
}

/* Turn the heap into a list, nearest first, and copy the ids. */
static void
settle(RecordScan *scan)
{
	size_t		n = scan->n;

	while (scan->n > 1)
	{
		Candidate	farthest = scan->found[0];

		scan->found[0] = scan->found[--scan->n];
		sift_down(scan, 0);
		scan->found[scan->n] = farthest;
	}
	scan->n = n;
	buf_clear(&scan->ids);
	for (size_t i = 0; i < n; i++)
	{
		Bytes		id = records_slot_id(scan->records, scan->found[i].slot);

		scan->found[i].id_at = scan->ids.len;
		scan->found[i].id_len = (uint32_t) id.len;
		buf_put(&scan->ids, id.data, id.len);
	}
}

static void
pass(RecordScan *scan)
{
	uint32_t	entered = records_enter(scan->records);
	bool		whole = false;

	while (!whole)
	{
		uint64_t	moves = records_moves(scan->records);
		uint32_t	slots = records_slots(scan->records);

		scan->n = scan->at = scan->nlate = 0;
		scan->all = true;
		for (uint32_t slot = 0; slot < slots; slot++)
			look_at(scan, slot);
		whole = follow_moves(scan, moves);
	}
	settle(scan);
	records_leave(scan->records, entered);
}

/* -- Handing out ----------------------------------------------------------- */

RecordScan *
record_scan_open(Records *records, const uint8_t *query, Bytes excluded, uint32_t expected)
{
	RecordScan *scan = vt_alloc0(sizeof(RecordScan));
	uint32_t	dim = records_dim(records);
	size_t		at = 0;
	Bytes		id;

	scan->records = records;
	scan->query = vt_alloc(sizeof(float) * dim);
	for (uint32_t i = 0; i < dim; i++)
	{
		uint32_t	bits = get_le32(query + 4 * (size_t) i);

		memcpy(&scan->query[i], &bits, sizeof(bits));
	}
	while (wire_id_next(excluded, &at, &id))
		idset_add(&scan->seen, id);
	scan->keep = expected > KEEP_MIN ? expected : KEEP_MIN;
	pass(scan);
	return scan;
}

/* Put the current version of a superseded candidate among the late ones. */
static void
replace(RecordScan *scan, const Candidate *stale)
{
	Candidate	now = *stale;
	uint32_t	entered = records_enter(scan->records);
	bool		live = records_find(scan->records, id_of(scan, stale), &now.slot, &now.version);

	if (live)
		now.distance = distance_to(scan, now.slot);
	records_leave(scan->records, entered);
	if (!live || vt_broken("S5-replace"))
		return;
	if (scan->nlate == scan->late_room)
	{
		scan->late_room = scan->late_room ? scan->late_room * 2 : 16;
		scan->late = vt_realloc(scan->late, sizeof(Candidate) * scan->late_room);
	}
	scan->late[scan->nlate++] = now;
}

/* Take the nearest of what is in hand; false = nothing is. */
static bool
take(RecordScan *scan, Candidate *out)
{
	size_t		best = scan->nlate;

	for (size_t i = 0; i < scan->nlate; i++)
		if (best == scan->nlate || compare(scan->late[i].distance, id_of(scan, &scan->late[i]),
										   scan->late[best].distance, id_of(scan, &scan->late[best])) < 0)
			best = i;
	if (best < scan->nlate &&
		(scan->at == scan->n || compare(scan->late[best].distance, id_of(scan, &scan->late[best]),
										scan->found[scan->at].distance,
										id_of(scan, &scan->found[scan->at])) < 0))
	{
		*out = scan->late[best];
		scan->late[best] = scan->late[--scan->nlate];
		return true;
	}
	if (scan->at == scan->n)
		return false;
	*out = scan->found[scan->at++];
	return true;
}

bool
record_scan_next(RecordScan *scan, double *distance, uint64_t *version, Bytes *id)
{
	Candidate	c;

	for (;;)
	{
		while (take(scan, &c))
		{
			if (idset_has(&scan->seen, id_of(scan, &c)))
				continue;
			if (records_slot_version(scan->records, c.slot) != c.version)
			{
				replace(scan, &c);
				continue;
			}
			idset_add(&scan->seen, id_of(scan, &c));
			*distance = c.distance;
			*version = c.version;
			*id = id_of(scan, &c);
			return true;
		}
		if (scan->all)
			return false;
		scan->keep *= KEEP_GROWS;
		pass(scan);
	}
}

uint64_t
record_scan_distances(const RecordScan *scan)
{
	return scan->distances;
}

void
record_scan_close(RecordScan *scan)
{
	if (!scan)
		return;
	idset_free(&scan->seen);
	buf_free(&scan->ids);
	free(scan->found);
	free(scan->late);
	free(scan->query);
	free(scan);
}
