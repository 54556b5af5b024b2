/*-------------------------------------------------------------------------
 *
 * filter_bench.c
 *	  Searches with a predicate on attributes, and such that read on, as a worker does them.
 *
 *	  filter_bench --set DIR [options]
 *		--set DIR			base.* and query.*; with base_class.u16.raw or the like also by class
 *		--limit N			rows of the set (0: all)
 *		--ef N				candidates kept (80)
 *		--rounds N			(5)
 *		--threads N			that link (2)
 *		--keep DIR			a folder for the graph, so that it is built once
 *		--pages N			instead: searches that read 1 to N pages of ten rows; without attributes, or
 *		--share X			... of rows of which this share passes, by the number at random
 *		--puts N			instead: what N puts take while there are sets of no, of some and of many predicates
 *		--only 1			codes alone
 *
 * Records in memory and their scans (src/worker), without a socket, a log or a disk.
 * Each row has two attributes: a number at random and its class.  A line is a share
 * of the rows that pass, by one of them.  Speeds are of one thread's processor time, the median of rounds in
 * which searches with and without the predicate take turns.  A first use makes the set:
 * it has a predicate that no search had before.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../hnsw/set.h"
#include "../../../src/worker/records_inside.h"
#include "../../../src/worker/scan.h"
#include "base/prng.h"

#define K 10
#define TRIED 200				/* queries whose recall is measured */
#define TIMED 1000
#define FIRSTS 15
#define RANGE 1000000			/* of the random numbers */
#define ROUNDS_MAX 25

/* The bar of memory a record: 1.25 times its floats (a quarter with codes alone), and so much, and its attributes; of many, or what is fixed tells */
#define OWN_BYTES 256
#define MANY 50000

static const uint8_t kinds[] = {WIRE_ATTR_ORDERED, WIRE_ATTR_ORDERED};

typedef struct Bench
{
	Set		   *set;
	Records    *records;
	uint32_t	ef;
	uint32_t	rounds;
	uint32_t	threads;
	uint32_t	classes;
	const char *keep;
	uint32_t	most_pages;		/* 0: predicates are tried */
	double		share;			/* that passes while pages are read; 0: no predicate */
	uint32_t	puts;
	bool		only;			/* codes alone */
	double		grown;			/* by what the process has grown, a record */
} Bench;

static double
thread_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double) ts.tv_sec * 1e6 + (double) ts.tv_nsec / 1e3;
}

static int
number_sorter(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static double
median(double *numbers, uint32_t n)
{
	qsort(numbers, n, sizeof(double), number_sorter);
	return numbers[n / 2];
}

/* -- Records --------------------------------------------------------------- */

/* Row n: at random, but the same in each run; and its class. */
static void
attributes_put(const Set *set, uint32_t row, Buf *out)
{
	Prng		prng = {row + 1};
	WireAttributes attributes = {.n = 2, .value = {prng_below(&prng, RANGE), set->classes ? set->classes[row] : 0}};

	buf_clear(out);
	wire_attributes_put(out, &attributes);
}

static void *
link_main(void *arg)
{
	while (hnsw_link_next(records_graph((Records *) arg)))
		;
	return NULL;
}

/* Memory of this process that is not of files. */
static double
memory_now(void)
{
	FILE	   *in = fopen("/proc/self/statm", "r");
	double		pages = 0;
	double		of_files = 0;

	if (in)
	{
		if (fscanf(in, "%*s %lf %lf", &pages, &of_files) != 2)
			pages = of_files = 0;
		fclose(in);
	}
	return (pages - of_files) * (double) sysconf(_SC_PAGESIZE);
}

static void
die(const VtError *err)
{
	fprintf(stderr, "filter_bench: %s\n", vt_error_words(err));
	exit(1);
}

/* All rows, in the graph: from the kept file as far as it has them. */
static void
load(Bench *b)
{
	const Set  *set = b->set;
	RecordsOptions options = {.metric = set->metric, .dim = set->dim, .element = VEC_FLOAT32, .m = 16, .ef_construction = 200,
		.codes = b->only ? HNSW_CODES_INT8_ONLY : HNSW_CODES_INT8, .seed = 1, .attributes = b->most_pages && b->share == 0 ? 0 : 2};
	double		before = memory_now();
	char		path[4096];
	RecordsFile file = {.path = path, .tag = bytes_str("filter_bench")};
	pthread_t	threads[64];
	Buf			attributes = {0};
	VtError		err = {0};
	VtStatus	status = VT_NOT_FOUND;

	snprintf(path, sizeof(path), "%s/filter-%s-%u%s", b->keep ? b->keep : "", set->name, set->n, b->only ? "-only" : "");
	if (b->keep)
		status = records_load(&options, &file, &b->records, &err);
	if (status != VT_OK && records_new(&options, &b->records, &err) != VT_OK)
		die(&err);
	for (uint32_t row = 0; row < set->n; row++)
	{
		const uint8_t *vector = (const uint8_t *) (set->base + (size_t) row * set->dim);
		uint8_t		tid[WIRE_TID_SIZE];
		Bytes		id = bytes_of(tid, sizeof(tid));

		wire_tid_put(tid, row, 1);
		if (options.attributes)
			attributes_put(set, row, &attributes);
		if (!records_claim(b->records, id, row + 1, vector, buf_bytes(&attributes)) &&
			records_put(b->records, id, row + 1, vector, buf_bytes(&attributes), &err) != VT_OK)
			die(&err);
	}
	records_settle(b->records);
	for (uint32_t i = 0; i < b->threads; i++)
		pthread_create(&threads[i], NULL, link_main, b->records);
	for (uint32_t i = 0; i < b->threads; i++)
		pthread_join(threads[i], NULL);
	while (hnsw_repair(records_graph(b->records), 100000, false))
		;						/* the queue is short again */
	if (b->keep && status != VT_OK && records_save(b->records, &file, &err) != VT_OK)
		die(&err);
	buf_free(&attributes);
	b->grown = (memory_now() - before) / set->n;
}

/* -- Searches -------------------------------------------------------------- */

/* lo..hi of one attribute. */
static Predicate *
between(uint8_t attribute, int64_t lo, int64_t hi)
{
	WireClause	clause = {.attribute = attribute, .op = WIRE_CLAUSE_BETWEEN, .lo = lo, .hi = hi};
	Buf			encoded = {0};
	Predicate  *predicate;
	size_t		begin = wire_predicate_begin(&encoded);

	wire_clause_put(&encoded, &clause);
	wire_predicate_end(&encoded, begin, 1);
	if (predicate_new(buf_bytes(&encoded), kinds, 2, &predicate, NULL) != VT_OK)
		abort();
	buf_free(&encoded);
	return predicate;
}

static uint32_t
search(const Bench *b, uint32_t query, Predicate *predicate, bool exact, double *distances)
{
	RecordScanOptions options = {.query = (const uint8_t *) (b->set->queries + (size_t) query * b->set->dim),
		.predicate = predicate, .expected = K, .ef = b->ef, .exact = exact};
	RecordScan *scan = record_scan_open(b->records, &options);
	uint64_t	version;
	Bytes		id;
	uint32_t	n = 0;

	while (n < K && record_scan_next(scan, &distances[n], &version, &id))
		n++;
	record_scan_close(scan);
	return n;
}

static double
spend(const Bench *b, Predicate *predicate, uint32_t n)
{
	double		begin = thread_us();
	double		distances[K];

	for (uint32_t q = 0; q < n; q++)
		search(b, q, predicate, false, distances);
	return (thread_us() - begin) / n;
}

static double
recall_of(const Bench *b, Predicate *predicate)
{
	uint32_t	right = 0;
	uint32_t	wanted = 0;

	for (uint32_t q = 0; q < TRIED && q < b->set->nqueries; q++)
	{
		double		truth[K];
		double		got[K];
		uint32_t	n = search(b, q, predicate, true, truth);
		uint32_t	found = search(b, q, predicate, false, got);

		if (found != n)
			printf("# %u came, %u pass\n", found, n);
		wanted += n;
		for (uint32_t i = 0; i < found; i++)
			right += got[i] <= truth[n - 1];
	}
	return (double) right / wanted;
}

static void
line(const Bench *b, uint8_t attribute, double share)
{
	int64_t		hi = (int64_t) (share * (attribute == 0 ? RANGE : b->classes)) - 1;
	Predicate  *predicate = between(attribute, 0, hi < 0 ? 0 : hi);
	uint32_t	n = b->set->nqueries < TIMED ? b->set->nqueries : TIMED;
	uint32_t	slots = b->set->n / 64 * 64;
	uint64_t   *words = vt_alloc(slots / 8 + 8);
	double		us[5][ROUNDS_MAX];
	double		distances[K];
	double		recall = recall_of(b, predicate);
	uint64_t	pass = 0;

	for (uint32_t i = 0; i < b->rounds; i++)
	{
		us[0][i] = spend(b, NULL, n);
		us[1][i] = spend(b, predicate, n);
	}
	for (uint32_t i = 0; i < FIRSTS; i++)
	{
		/* Other bytes, the same rows. */
		Predicate  *fresh = between(attribute, -1 - (int64_t) i, hi < 0 ? 0 : hi);
		FilterSet  *filter;
		double		begin = thread_us();

		filter = filters_take(b->records, fresh, NULL, NULL);
		us[2][i] = thread_us() - begin;
		pass = hnsw_set_size(filter_set(filter));
		filters_give(b->records, filter);
		begin = thread_us();
		search(b, i, fresh, false, distances);
		us[3][i] = thread_us() - begin;
		predicate_free(fresh);
	}
	for (uint32_t i = 0; i < b->rounds; i++)
	{
		double		begin = thread_us();

		for (uint32_t at = 0; at < slots; at += 4096)
			predicate_words(predicate, b->records->columns, at, (slots - at < 4096 ? slots - at : 4096) / 64, words);
		us[4][i] = thread_us() - begin;
	}
	printf("| %-6s | %6.2f%% | %.4f | %8.0f | %8.0f | %5.2fx | %7.2f | %7.2f | %7.0f |\n", attribute ? "class" : "random",
		   100.0 * (double) pass / b->set->n, recall, 1e6 / median(us[0], b->rounds), 1e6 / median(us[1], b->rounds),
		   median(us[0], b->rounds) / median(us[1], b->rounds), median(us[4], b->rounds) / 1000,
		   median(us[2], FIRSTS) / 1000, median(us[3], FIRSTS));
	fflush(stdout);
	free(words);
	predicate_free(predicate);
}

/* Rows one after the other as a gateway asks for them: a first page, then on from there with a scan that is kept. */
typedef struct Reading
{
	const Bench *b;
	RecordScanOptions options;
	RecordScan *scan;
	Buf			first;			/* ids */
	uint32_t	n;
	uint64_t	distances;
} Reading;

static void
reading_stop(Reading *r)
{
	r->distances += record_scan_cost(r->scan)->distances + record_scan_cost(r->scan)->refined;
	record_scan_close(r->scan);
}

static bool
reading_next(Reading *r, double *distance)
{
	uint64_t	version;
	Bytes		id;

	if (r->n == 0 || r->n == K)
	{
		if (r->n == K)
			reading_stop(r);
		r->options.excluded = buf_bytes(&r->first);
		r->options.expected = r->n == 0 ? K : 32;
		r->scan = record_scan_open(r->b->records, &r->options);
	}
	if (!record_scan_next(r->scan, distance, &version, &id))
		return false;
	if (r->n++ < K)
		wire_id_put(&r->first, id);
	return true;
}

static void
reading_end(Reading *r)
{
	reading_stop(r);
	buf_free(&r->first);
}

/* What searches cost that read so many pages, and how many of the true rows these are. */
static void
read_pages(const Bench *b, uint32_t pages)
{
	uint32_t	rows = K * pages;
	uint32_t	nq = b->set->nqueries < 100 ? b->set->nqueries : 100;
	double	   *truth = vt_alloc(sizeof(double) * rows);
	double		us[ROUNDS_MAX];
	uint64_t	distances = 0;
	uint64_t	right = 0;
	uint64_t	wanted = 0;
	uint64_t	late = 0;
	Predicate  *predicate = b->share > 0 ? between(0, 0, (int64_t) (b->share * RANGE) - 1) : NULL;

	for (uint32_t round = 0; round <= b->rounds; round++)
	{
		double		begin = thread_us();

		for (uint32_t q = 0; q < nq; q++)
		{
			Reading		r = {.b = b, .options = {.query = (const uint8_t *) (b->set->queries + (size_t) q * b->set->dim),
				.predicate = predicate, .ef = b->ef, .exact = round == 0}};
			double		distance;
			double		last = 0;
			uint32_t	n = 0;

			while (n < rows && reading_next(&r, &distance))
			{
				if (round == 0)
					truth[n] = distance;
				late += round > 0 && n > 0 && distance < last;
				last = distance;
				n++;
			}
			reading_end(&r);
			if (round > 0)
				distances += r.distances;
			wanted += round == 0 ? n : 0;

			/* Of the true rows those that came, by the walk that is timed. */
			if (round == 0)
			{
				r = (Reading) {.b = b, .options = r.options};
				r.options.exact = false;
				for (uint32_t i = 0; i < n && reading_next(&r, &distance); i++)
					right += distance <= truth[n - 1];
				reading_end(&r);
			}
		}
		if (round > 0)
			us[round - 1] = (thread_us() - begin) / nq;
	}
	printf("| %u | %.4f | %.2f | %.0f | %.0f |\n", pages, (double) right / (double) wanted,
		   100.0 * (double) late / ((double) wanted * b->rounds), (double) distances / nq / b->rounds, median(us, b->rounds));
	fflush(stdout);
	predicate_free(predicate);
	free(truth);
}

/* Rows put once more, while there are sets of so many predicates that nobody asks for meanwhile. */
static void
put_beside(const Bench *b, uint32_t sets)
{
	const Set  *set = b->set;
	double		us[ROUNDS_MAX];
	Buf			attributes = {0};
	VtError		err = {0};
	uint64_t	version = set->n;

	for (uint32_t round = 0; round < b->rounds; round++)
	{
		double		begin;

		for (uint32_t i = 0; i < sets; i++)
		{
			Predicate  *predicate = between(0, -1 - (int64_t) i, RANGE / 100);

			filters_give(b->records, filters_take(b->records, predicate, NULL, NULL));
			predicate_free(predicate);
		}
		begin = thread_us();
		for (uint32_t row = 0; row < b->puts && row < set->n; row++)
		{
			uint8_t		tid[WIRE_TID_SIZE];

			wire_tid_put(tid, row, 1);
			attributes_put(set, row, &attributes);
			if (records_put(b->records, bytes_of(tid, sizeof(tid)), ++version,
							(const uint8_t *) (set->base + (size_t) row * set->dim), buf_bytes(&attributes), &err) != VT_OK)
				die(&err);
		}
		us[round] = (thread_us() - begin) / b->puts;
		while (hnsw_link_next(records_graph(b->records)) || hnsw_repair(records_graph(b->records), 100000, true))
			;
	}
	printf("| %u | %.2f |\n", sets, median(us, b->rounds));
	fflush(stdout);
	buf_free(&attributes);
}

int
main(int argc, char **argv)
{
	static const uint32_t pages[] = {1, 2, 3, 5, 10, 30, 100, 300};
	static const uint32_t sets[] = {0, 16, 256};
	static const double shares[] = {0.5, 0.1, 0.05, 0.01, 0.001};
	Bench		b = {.ef = 80, .rounds = 5, .threads = 2};
	const char *folder = NULL;
	uint32_t	limit = 0;
	double		most;
	bool		missed;

	for (int i = 1; i + 1 < argc; i += 2)
	{
		uint32_t	number = (uint32_t) strtoul(argv[i + 1], NULL, 10);

		if (strcmp(argv[i], "--set") == 0)
			folder = argv[i + 1];
		else if (strcmp(argv[i], "--keep") == 0)
			b.keep = argv[i + 1];
		else if (strcmp(argv[i], "--limit") == 0)
			limit = number;
		else if (strcmp(argv[i], "--ef") == 0)
			b.ef = number;
		else if (strcmp(argv[i], "--rounds") == 0)
			b.rounds = number;
		else if (strcmp(argv[i], "--threads") == 0)
			b.threads = number;
		else if (strcmp(argv[i], "--pages") == 0)
			b.most_pages = number;
		else if (strcmp(argv[i], "--share") == 0)
			b.share = strtod(argv[i + 1], NULL);
		else if (strcmp(argv[i], "--puts") == 0)
			b.puts = number;
		else if (strcmp(argv[i], "--only") == 0)
			b.only = number != 0;
		else
			folder = NULL, i = argc;
	}
	if (!folder || b.rounds < 1 || b.rounds > ROUNDS_MAX || b.threads < 1 || b.threads > 64 || (b.set = set_read(folder, limit, 0)) == NULL)
	{
		fprintf(stderr, "usage: filter_bench --set DIR [--limit N] [--ef N] [--rounds N] [--threads N] [--keep DIR] [--pages N [--share X]] [--puts N] [--only 1]\n");
		return 2;
	}
	for (uint32_t i = 0; b.set->classes && i < b.set->n; i++)
		b.classes = b.set->classes[i] >= b.classes ? b.set->classes[i] + 1u : b.classes;
	load(&b);
	printf("%s, %u rows of %u dimensions, ef %u; %.0f bytes a record are counted, by %.0f the process has grown\n\n", b.set->name,
		   b.set->n, b.set->dim, b.ef, (double) records_bytes(b.records) / b.set->n, b.grown);
	if (b.most_pages)
		printf("| pages | recall | late %% | distances | us |\n|---|---|---|---|---|\n");
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]) && pages[i] <= b.most_pages; i++)
		read_pages(&b, pages[i]);
	if (b.puts)
		printf("| predicates | us a put |\n|---|---|\n");
	for (size_t i = 0; b.puts && i < sizeof(sets) / sizeof(sets[0]); i++)
		put_beside(&b, sets[i]);
	if (!b.most_pages && !b.puts)
		printf("| rows | pass | recall | free QPS | QPS | of free | columns ms | make ms | then us |\n|---|---|---|---|---|---|---|---|---|\n");
	for (size_t i = 0; !b.most_pages && !b.puts && i < sizeof(shares) / sizeof(shares[0]); i++)
		for (uint8_t attribute = 0; attribute <= (b.classes > 0); attribute++)
			line(&b, attribute, shares[i]);
	most = (b.only ? 0.25 : 1.25) * sizeof(float) * b.set->dim + OWN_BYTES + (b.most_pages && b.share == 0 ? 0 : sizeof(kinds) * sizeof(int64_t));
	missed = b.set->n >= MANY && b.grown > most;
	if (b.set->n >= MANY)
		printf("\nbar: %s: bytes a record %.0f, at most %.0f: %s\n", b.set->name, b.grown, most, missed ? "MISSED" : "held");
	records_free(b.records);
	set_free(b.set);
	return missed;
}
