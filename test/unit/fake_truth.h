/*-------------------------------------------------------------------------
 *
 * fake_truth.h
 *	  What a scan of the fake world must give, by looking at every record.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_FAKE_TRUTH_H
#define TEST_FAKE_TRUTH_H

#include "fake_pair.h"

/* The whole order, by looking at every record. */
typedef struct Truth
{
	size_t		n;
	double	   *distances;
	FakeRecord *records;
} Truth;

static inline Truth
truth_of(World *w, const float *query)
{
	Truth		t = {0, vt_alloc(sizeof(double) * (world_records(w) + 1)),
		vt_alloc(sizeof(FakeRecord) * (world_records(w) + 1))};

	for (uint32_t i = 0; i < w->nshards; i++)
		for (size_t k = 0; k < w->shards[i].n; k++)
		{
			const FakeRecord *r = &w->shards[i].records[k];
			double		d = vec_distance(VEC_L2, query, r->vector, DIM);
			size_t		j = t.n++;

			for (; j > 0 && (t.distances[j - 1] > d ||
							 (t.distances[j - 1] == d &&
							  bytes_compare(bytes_of(t.records[j - 1].id, t.records[j - 1].id_len),
											bytes_of(r->id, r->id_len)) > 0)); j--)
			{
				t.distances[j] = t.distances[j - 1];
				t.records[j] = t.records[j - 1];
			}
			t.distances[j] = d;
			t.records[j] = *r;
		}
	return t;
}

static inline void
truth_free(Truth *t)
{
	free(t->distances);
	free(t->records);
}

/* The next n hits are those of the truth from *at; n = 0: to the very end. */
static inline void
assert_hits(ClientScan *scan, const Truth *t, size_t *at, size_t n)
{
	VtError		err = {0};
	ClientHit	hit;
	bool		found;

	for (size_t i = 0; n == 0 || i < n; i++)
	{
		assert_ok(client_scan_next(scan, in_ms(LONG_MS), &hit, &found, &err));
		if (!found)
			break;
		assert_true(*at < t->n);
		assert_true(hit.distance == t->distances[*at]);
		assert_true(bytes_equal(hit.id, bytes_of(t->records[*at].id, t->records[*at].id_len)));
		assert_false(hit.late);
		(*at)++;
	}
	if (n == 0)
	{
		assert_int_equal(*at, t->n);
		assert_ok(client_scan_next(scan, in_ms(LONG_MS), &hit, &found, &err));
		assert_false(found);
	}
}

/* So many of the next searches meet some trouble that passes. */
static inline void
world_trouble(World *w, Prng *prng, int n)
{
	static const Mischief kinds[] = {CLOSE_BEFORE, CLOSE_AFTER, CLOSE_IN_MIDDLE, BAD_CHECKSUM, STALE_FIRST,
		LEAVE_HOLE, OTHER_LIFE, OLD_VIEW, EMPTY_BATCH, REPEAT_BATCH, NO_LEASE, SHUFFLED, REFUSE};
	static const VtStatus passing[] = {VT_BUSY, VT_BEHIND, VT_NOT_LEADER, VT_WRONG_SHARD, VT_STOPPING};

	for (int i = 0; i < n; i++)
	{
		Mischief	what = kinds[prng_below(prng, sizeof(kinds) / sizeof(kinds[0]))];
		VtStatus	status = passing[prng_below(prng, sizeof(passing) / sizeof(passing[0]))];

		world_trick(w, WIRE_SEARCH, (int) prng_below(prng, 4), what, status);
	}
}

/* Each of two shards is split; the children are at first and second.  Under the lock. */
static inline void
world_split_both(World *w, Fake *first, Fake *second)
{
	world_split(w, 0)->home = first;
	world_split(w, 1)->home = second;
}

#endif							/* TEST_FAKE_TRUTH_H */
