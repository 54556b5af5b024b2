/*-------------------------------------------------------------------------
 *
 * hnsw_readers.c
 *	  Readers take no lock: they come to their end while somebody holds them all.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* pthread_timedjoin_np */
#endif
#include "hnsw_given.h"
#include "patience.h"

#include <pthread.h>
#include <time.h>

#include "hnsw/graph.h"

#define ROWS 2000

static bool
is_even(void *arg, uint64_t label, uint32_t slot)
{
	(void) arg;
	(void) slot;
	return label % 2 == 0;
}

typedef struct Reader
{
	Hnsw	   *h;
	const float *query;
	HnswSet    *set;
	uint32_t	come[5];
} Reader;

static void *
read_all_ways(void *arg)
{
	Reader	   *r = (Reader *) arg;
	HnswHit		hits[K];
	HnswSearch	s = {.query = r->query, .k = K, .ef = 40};
	HnswCursor *cursor;

	r->come[0] = hnsw_search(r->h, &s, hits);
	r->come[1] = hnsw_scan_exact(r->h, &s, hits);
	cursor = hnsw_cursor_open(r->h, &s);
	r->come[2] = hnsw_cursor_next(cursor, hits, K);
	hnsw_cursor_close(cursor);
	s.filter = is_even;
	r->come[3] = hnsw_search(r->h, &s, hits);
	s.filter = NULL;
	s.set = r->set;
	r->come[4] = hnsw_search(r->h, &s, hits);
	return NULL;
}

/* Some rows are linked, some wait, some are dead. */
static void
whoever_holds_the_locks(void **state)
{
	float	   *rows = clustered(31, ROWS);
	Hnsw	   *h = create(VEC_L2, HNSW_CODES_INT8);
	Reader		reader = {.h = h, .query = rows};
	struct timespec until;
	pthread_t	thread;
	bool		ended;

	(void) state;
	for (uint32_t i = 0; i < ROWS; i++)
	{
		uint32_t	slot = add(h, i, rows + (size_t) i * DIM);

		if (i < ROWS - 100)
			hnsw_link_next(h);
		if (i % 10 == 3)
			assert_true(hnsw_delete(h, slot));
	}
	reader.set = hnsw_set_open(h);
	hnsw_set_add_passing(reader.set, is_even, NULL);
	pthread_mutex_lock(&h->lock);
	pthread_mutex_lock(&h->repair_lock);
	for (uint32_t slot = 0; slot < ROWS; slot++)
		graph_lock_node(graph_meta(h, slot));

	assert_int_equal(pthread_create(&thread, NULL, read_all_ways, &reader), 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	ended = pthread_timedjoin_np(thread, NULL, &until) == 0;

	for (uint32_t slot = 0; slot < ROWS; slot++)
		graph_unlock_node(graph_meta(h, slot));
	pthread_mutex_unlock(&h->repair_lock);
	pthread_mutex_unlock(&h->lock);
	if (!ended)
		pthread_join(thread, NULL);
	assert_true(ended);
	for (size_t i = 0; i < sizeof(reader.come) / sizeof(reader.come[0]); i++)
		assert_int_equal(reader.come[i], K);
	hnsw_set_close(reader.set);
	hnsw_destroy(h);
	free(rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whoever_holds_the_locks),
	};

	return cmocka_run_group_tests_name("hnsw_readers", tests, NULL, NULL);
}
