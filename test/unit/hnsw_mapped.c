/*-------------------------------------------------------------------------
 *
 * hnsw_mapped.c
 *	  Vectors in a mapped file: the same graph, the same answers, less memory, no
 *	  trace on the disk, and a full disk is an error.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "scratch.h"

#define N 4000

static Hnsw *
create_in(VecMetric metric, const char *folder)
{
	HnswOptions options = {
		.dim = DIM, .metric = metric, .m = 16, .ef_construction = 100, .codes = HNSW_CODES_INT8, .seed = 7,
		.vectors = folder
	};
	Hnsw	   *h;
	VtError		err;

	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	return h;
}

static int
files_in(const char *folder)
{
	DIR		   *dir = opendir(folder);
	struct dirent *entry;
	int			n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void
answers_are_the_same(void **state)
{
	const VecMetric metrics[] = {VEC_L2, VEC_COSINE, VEC_IP, VEC_L1};
	float	   *rows = clustered(1, N);
	float	   *queries = clustered(1234, QUERIES);

	(void) state;
	for (int k = 0; k < 4; k++)
	{
		Hnsw	   *plain = create_in(metrics[k], NULL);
		Hnsw	   *mapped = create_in(metrics[k], scratch);
		HnswStats	a;
		HnswStats	b;

		assert_int_equal(files_in(scratch), 0);
		for (uint32_t i = 0; i < N; i++)
		{
			assert_int_equal(add(plain, i, rows + (size_t) i * DIM), i);
			assert_int_equal(add(mapped, i, rows + (size_t) i * DIM), i);
		}
		link_all(plain);
		link_all(mapped);
		for (uint32_t i = 0; i < N; i += 3)
		{
			hnsw_delete(plain, i);
			hnsw_delete(mapped, i);
		}
		while (hnsw_repair(plain, 1000, true) | hnsw_repair(mapped, 1000, true))
			;
		for (uint32_t i = 0; i < N / 3; i++)
			assert_int_equal(add(plain, N + i, rows + (size_t) i * DIM), add(mapped, N + i, rows + (size_t) i * DIM));
		assert_sound(mapped);
		for (int q = 0; q < QUERIES; q++)
		{
			HnswHit		x[K];
			HnswHit		y[K];

			assert_int_equal(search(plain, queries + q * DIM, K, 40, x), K);
			assert_int_equal(search(mapped, queries + q * DIM, K, 40, y), K);
			assert_memory_equal(x, y, sizeof(x));
			assert_hits(mapped, metrics[k], queries + q * DIM, y, K);
		}
		hnsw_stats(plain, &a);
		hnsw_stats(mapped, &b);
		assert_true(b.bytes + N * DIM * sizeof(float) <= a.bytes);
		assert_true(b.mapped >= N * DIM * sizeof(float));
		assert_int_equal(a.mapped, 0);
		hnsw_destroy(plain);
		hnsw_destroy(mapped);
	}
	free(rows);
	free(queries);
}

static void
only_with_codes(void **state)
{
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 8, .ef_construction = 50, .vectors = scratch};
	Hnsw	   *h;
	VtError		err;

	(void) state;
	assert_int_equal(hnsw_create(&options, &h, &err), VT_INVALID);
	options.codes = HNSW_CODES_INT8;
	options.vectors = scratch_path("no/such/folder");
	assert_int_equal(hnsw_create(&options, &h, &err), VT_IO);
	assert_null(h);
}

/* No room for more: an error, and everything that is there stays as it was. */
static void
a_full_disk(void **state)
{
	struct rlimit before;
	struct rlimit limit;
	float	   *rows = clustered(1, 12000);
	Hnsw	   *h = create_in(VEC_L2, scratch);
	HnswHit		hits[K];
	VtStatus	status = VT_OK;
	uint32_t	n = 0;
	uint32_t	slot;
	VtError		err;

	(void) state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 3 << 19;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	while (n < 12000 && (status = hnsw_reserve(h, &slot, &err)) == VT_OK)
	{
		hnsw_add(h, slot, n, rows + (size_t) n * DIM);
		n++;
	}
	assert_int_equal(status, VT_FULL);
	assert_true(n > 1000 && n < 12000);
	link_all(h);
	assert_int_equal(search(h, rows, K, 50, hits), K);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);

	/* And there is again. */
	for (; n < 12000; n++)
		assert_int_equal(add(h, n, rows + (size_t) n * DIM), n);
	link_all(h);
	assert_sound(h);
	assert_true(recall(h, VEC_L2, rows, 12000, NULL, 100) > 0.95);
	hnsw_destroy(h);
	free(rows);
}

/* -- Several threads ------------------------------------------------------- */

typedef struct Shared
{
	Hnsw	   *h;
	const float *rows;
	atomic_bool stop;
} Shared;

static void *
search_on(void *arg)
{
	Shared	   *s = (Shared *) arg;
	HnswHit		hits[K];

	for (uint32_t q = 0; !atomic_load(&s->stop); q = (q + 1) % N)
	{
		uint32_t	n = search(s->h, s->rows + (size_t) q * DIM, K, 30, hits);

		for (uint32_t i = 1; i < n; i++)
			assert_true(hits[i - 1].distance <= hits[i].distance);
	}
	return NULL;
}

static void
grows_while_it_is_searched(void **state)
{
	float	   *rows = clustered(1, N);
	Shared		s = {.h = create_in(VEC_L2, scratch), .rows = rows};
	pthread_t	thread;

	(void) state;
	assert_int_equal(pthread_create(&thread, NULL, search_on, &s), 0);
	for (uint32_t i = 0; i < N; i++)
	{
		add(s.h, i, rows + (size_t) i * DIM);
		hnsw_link_next(s.h);
	}
	atomic_store(&s.stop, true);
	pthread_join(thread, NULL);
	assert_sound(s.h);
	assert_true(recall(s.h, VEC_L2, rows, N, NULL, 60) > 0.95);
	hnsw_destroy(s.h);
	free(rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_the_same),
		cmocka_unit_test(only_with_codes),
		cmocka_unit_test(a_full_disk),
		cmocka_unit_test(grows_while_it_is_searched),
	};

	return cmocka_run_group_tests_name("hnsw_mapped", tests, scratch_make, scratch_remove);
}
