/*-------------------------------------------------------------------------
 *
 * hnsw_moved.c
 *	  Records come, go, and are moved to give memory back, and whoever looks meanwhile
 *	  finds what stays, once, in its place.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_owner.h"

#include <sched.h>
#include <stdatomic.h>

static Owner *shared;
static const float *shared_rows;
static atomic_int working;
static atomic_int complaints;

/* Labels below stay; the others come and go in waves. */
#define STAYS 300
#define COME_AND_GO 2500

/* So many go in a second part: what they leave is too little to be given back. */
#define GO_LATE (HNSW_SPARE_LEAST - 64)

static void *
come_and_go(void *arg)
{
	Prng		prng = {9};

	(void) arg;
	for (int wave = 0; wave < 2; wave++)
	{
		for (uint32_t label = STAYS; label < COME_AND_GO; label++)
		{
			uint32_t	row = prng_below(&prng, LABELS);

			put(shared, label, row, shared_rows + (size_t) row * DIM);
		}
		/* Those that stay are replaced by themselves, so they lie behind. */
		for (uint32_t label = 0; label < STAYS; label++)
			put(shared, label, label, shared_rows + (size_t) label * DIM);
		while (hnsw_waiting(shared->h) > 0)
			sched_yield();
		for (uint32_t label = STAYS + GO_LATE; label < COME_AND_GO; label++)
			drop(shared, label);
		while (!is_tight(shared, STAYS + GO_LATE))
			sched_yield();
		for (uint32_t label = STAYS; label < STAYS + GO_LATE; label++)
			drop(shared, label);
		while (!is_tight(shared, STAYS))
			sched_yield();
	}
	atomic_store(&working, 0);
	return NULL;
}

static void *
link_on(void *arg)
{
	(void) arg;
	while (atomic_load(&working))
		if (!hnsw_link_next(shared->h))
			sched_yield();
	return NULL;
}

static void *
mend_on(void *arg)
{
	(void) arg;
	while (atomic_load(&working))
		if (!hnsw_repair(shared->h, 100, true))
			sched_yield();
	return NULL;
}

static void *
look_on(void *arg)
{
	Prng		prng = {(uint64_t) (uintptr_t) arg};
	uint8_t    *seen = malloc(COME_AND_GO);

	for (int i = 0; atomic_load(&working); i++)
	{
		uint32_t	label = prng_below(&prng, STAYS);
		uint32_t	guard = hnsw_enter(shared->h);
		HnswHit		hits[64];
		HnswSearch	s = {.query = shared_rows + (size_t) label * DIM, .k = 2, .ef = 20,
			.filter = is_label, .filter_arg = &label};
		uint32_t	n = hnsw_search(shared->h, &s, hits);

		if (n != 1 || hits[0].distance != 0 || hnsw_label(shared->h, hits[0].slot) != label)
			atomic_fetch_add(&complaints, 1);
		s.filter = NULL;
		s.k = 10;
		n = hnsw_search(shared->h, &s, hits);
		for (uint32_t k = 0; k < n; k++)
		{
			float		vector[DIM];

			hnsw_read_vector(shared->h, hits[k].slot, vector);
			if (hits[k].distance != vec_distance(VEC_L2, s.query, vector, DIM))
				atomic_fetch_add(&complaints, 1);
			for (uint32_t j = 0; j < k; j++)
				if (hits[j].label == hits[k].label)
					atomic_fetch_add(&complaints, 1);
		}
		hnsw_leave(shared->h, guard);
		if (i % 32 == 0)
		{
			HnswCursor *cursor = hnsw_cursor_open(shared->h, &s);
			uint32_t	stay = 0;

			memset(seen, 0, COME_AND_GO);
			while ((n = hnsw_cursor_next(cursor, hits, 64)) > 0)
				for (uint32_t k = 0; k < n; k++)
				{
					stay += hits[k].label < STAYS;
					if (seen[hits[k].label]++)
						atomic_fetch_add(&complaints, 1);
				}
			if (stay != STAYS)
				atomic_fetch_add(&complaints, 1);
			hnsw_cursor_close(cursor);
		}
	}
	free(seen);
	return NULL;
}

static void
while_others_look(void **state)
{
	void	   *(*const jobs[]) (void *) = {come_and_go, link_on, mend_on, look_on, look_on};
	enum {JOBS = sizeof(jobs) / sizeof(jobs[0])};
	float	   *rows = clustered(3, LABELS);
	pthread_t	threads[JOBS];
	HnswStats	stats;

	(void) state;
	for (int codes = 0; codes <= 1; codes++)
	{
		shared = owner_new(DIM, 8, codes ? HNSW_CODES_INT8 : HNSW_CODES_NONE);
		shared_rows = rows;
		for (uint32_t label = 0; label < STAYS; label++)
			put(shared, label, label, rows + (size_t) label * DIM);
		link_all(shared->h);
		atomic_store(&working, 1);
		for (int i = 0; i < JOBS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, jobs[i], (void *) (uintptr_t) (i + 1)), 0);
		for (int i = 0; i < JOBS; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(atomic_load(&complaints), 0);
		while (hnsw_link_next(shared->h))
			;
		mend(shared);
		assert_sound(shared->h);
		hnsw_stats(shared->h, &stats);
		assert_int_equal(stats.live, STAYS);
		assert_true(stats.moved > 0);
		assert_all_there(shared, rows, DIM, COME_AND_GO);
		owner_free(shared);
	}
	free(rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(while_others_look),
	};

	return cmocka_run_group_tests_name("hnsw_moved", tests, NULL, NULL);
}
