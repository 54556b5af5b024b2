/*-------------------------------------------------------------------------
 *
 * base_metrics.c
 *	  Histograms count into the right bucket, and numbers are written as Prometheus
 *	  reads them.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/metrics.h"

static void
test_buckets(void **state)
{
	(void) state;
	assert_int_equal(histogram_bucket(-5), 0);
	assert_int_equal(histogram_bucket(0), 0);
	for (int i = 0; i < HISTOGRAM_BOUNDS; i++)
	{
		int64_t		bound = (int64_t) histogram_bound_us(i);

		assert_int_equal(histogram_bucket(bound), i);
		assert_int_equal(histogram_bucket(bound + 1), i + 1);
		assert_int_equal(histogram_bucket(bound - 1), i);
	}
	assert_int_equal(histogram_bucket(INT64_MAX), HISTOGRAM_BOUNDS);
}

static const char *
text_of(Buf *out)
{
	buf_put_u8(out, 0);
	return (const char *) out->data;
}

static void
test_text(void **state)
{
	Buf			out = {0};

	(void) state;
	metrics_family(&out, "a_total", "counter", "All of a.");
	metrics_put(&out, "a_total", "kind=\"x\"", 7);
	metrics_put(&out, "a_total", NULL, UINT64_MAX);
	metrics_seconds(&out, "b_seconds", "B.", 1500001);
	metrics_seconds(&out, "c_seconds", "C.", -3);
	assert_string_equal(text_of(&out),
						"# HELP a_total All of a.\n# TYPE a_total counter\na_total{kind=\"x\"} 7\na_total 18446744073709551615\n"
						"# HELP b_seconds B.\n# TYPE b_seconds gauge\nb_seconds 1.500001\n"
						"# HELP c_seconds C.\n# TYPE c_seconds gauge\nc_seconds 0.000000\n");
	buf_free(&out);
}

#define THREADS 4
#define EACH 20000

static Histogram shared;

static void *
add_many(void *arg)
{
	(void) arg;
	for (int i = 0; i < EACH; i++)
		histogram_add(&shared, i % 100);
	return NULL;
}

/* Nothing is lost between threads; counts rise from bound to bound up to the count of all. */
static void
test_histogram(void **state)
{
	pthread_t	threads[THREADS];
	Buf			out = {0};
	char	   *line;
	char	   *rest;
	uint64_t	before = 0;
	uint64_t	n;
	int			lines = 0;

	(void) state;
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, add_many, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	histogram_add(&shared, INT64_C(100) * 1000000);
	metrics_histogram(&out, "h_seconds", "H.", &shared);
	(void) text_of(&out);
	assert_non_null(strstr((char *) out.data, "# TYPE h_seconds histogram\n"));
	assert_non_null(strstr((char *) out.data, "h_seconds_bucket{le=\"0.000016\"} 13600\n"));
	assert_non_null(strstr((char *) out.data, "h_seconds_bucket{le=\"0.000032\"} 26400\n"));
	assert_non_null(strstr((char *) out.data, "h_seconds_bucket{le=\"33.554432\"} 80000\n"));
	assert_non_null(strstr((char *) out.data, "h_seconds_bucket{le=\"+Inf\"} 80001\n"));
	assert_non_null(strstr((char *) out.data, "h_seconds_sum 103.960000\n"));
	assert_non_null(strstr((char *) out.data, "h_seconds_count 80001\n"));
	for (line = strtok_r((char *) out.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (sscanf(line, "h_seconds_bucket{le=%*[^}]} %" SCNu64, &n) == 1)
		{
			assert_true(n >= before);
			before = n;
			lines++;
		}
	assert_int_equal(lines, HISTOGRAM_BOUNDS + 1);
	buf_free(&out);
}

static void
test_process(void **state)
{
	static const char *const names[] = {
		"process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds ", "process_max_fds ",
		"process_start_time_seconds "
	};
	Buf			out = {0};

	(void) state;
	metrics_process(&out);
	(void) text_of(&out);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		char		line[80];
		char	   *at;

		snprintf(line, sizeof(line), "\n%s", names[i]);
		at = strstr((char *) out.data, line);
		assert_non_null(at);
		if (i > 0)
			assert_true(strtod(at + strlen(line), NULL) > 0);
	}
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
