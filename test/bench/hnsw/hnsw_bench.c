/*-------------------------------------------------------------------------
 *
 * hnsw_bench.c
 *	  Recall against speed: our graph, beside hnswlib and the exact scan.
 *
 *	  hnsw_bench [options] [mode ...]
 *		--data DIR	sets in the folders of DIR, or DIR itself
 *		--set NAME	only this one
 *		--demo DIR	the demonstration's files
 *		--out DIR	JSON and SVG go there
 *		--k N		neighbours that curves ask for
 *		--m N --efc N --threads N --rounds N --limit N
 *		--engines LIST	of hnswlib,float,int8,int8_only,exact,half,half-int8; mapped: int8 with vectors in a mapped file below TMPDIR
 *		--one-lock	of threads and insert: the graph behind one mutex, so that their bars are missed
 *		--share X	of filters only this one, 0.02 say
 *		--keep DIR	indexes are kept there and read the next time; a build time is
 *					not one then
 *	  modes: curves (usual), threads, insert, filter, churn, follow, shrink, bits, shards
 *
 * Searches run one at a time, by one thread.  Every point is measured in several
 * rounds, engine after engine within each, and the median of them counts: what
 * other work on the machine takes away hits all alike.  Queries a second are
 * those of processor time, latencies those of the clock on the wall.  Where threads are
 * at work beside each other all clocks are shown (beside.c).  A bar that is missed, of curves
 * (bars.c), threads, insert, filter, churn, follow or shards, is the exit status 1.
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"

double
usage_cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		(double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

double
usage_rss(void)
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

int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

double
median(double *values, uint32_t n)
{
	qsort(values, n, sizeof(double), compare_doubles);
	return values[n / 2];
}

static double
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec * 1e6 + (double) ts.tv_nsec / 1e3;
}

double
thread_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double) ts.tv_sec * 1e6 + (double) ts.tv_nsec / 1e3;
}

/* What of k neighbours each query has found, on the average and at its worst. */
static void
point_recall(const Set *set, const uint32_t *rows, const uint32_t *got, uint32_t nq, uint32_t k, Point *point)
{
	double	   *found = vt_alloc(sizeof(double) * nq);
	uint32_t	nothing = 0;

	for (uint32_t q = 0; q < nq; q++)
	{
		uint32_t	hits = set_hits(set, q, rows + (size_t) q * k, got[q]);

		found[q] = (double) hits / k;
		nothing += hits == 0;
		point->recall += found[q] / nq;
	}
	qsort(found, nq, sizeof(double), compare_doubles);
	point->recall_p5 = found[nq / 20];
	point->nothing = (double) nothing / nq;
	free(found);
}

static int
compare_rounds(const void *a, const void *b)
{
	return compare_doubles(&((const Round *) a)->qps, &((const Round *) b)->qps);
}

void
point_measure(const Set *set, const Engine *engine, void *index, uint32_t k, Point *point)
{
	/* A scan of all takes long: some queries tell enough. */
	uint32_t	nq = engine->exact && set->nqueries > 50 ? 50 : set->nqueries;
	double	   *us = vt_alloc(sizeof(double) * nq);
	uint32_t   *rows = vt_alloc(sizeof(uint32_t) * k * nq);
	uint32_t   *got = vt_alloc(sizeof(uint32_t) * nq);
	uint64_t	before = engine->distances ? engine->distances(index) : 0;
	double		cpu = thread_us();
	double		last = now_us();
	double		qps;

	for (uint32_t q = 0; q < nq; q++)
	{
		double		now;

		got[q] = engine->search(index, set->queries + (size_t) q * set->dim, k, point->ef,
								rows + (size_t) q * k);
		now = now_us();
		us[q] = now - last;
		last = now;
	}
	qps = nq / (thread_us() - cpu) * 1e6;
	if (point->nrounds == 0)
	{
		point_recall(set, rows, got, nq, k, point);
		if (engine->distances)
			point->distances = (double) (engine->distances(index) - before) / nq;
	}
	qsort(us, nq, sizeof(double), compare_doubles);
	point->rounds[point->nrounds++] = (Round) {qps, us[nq / 2], us[nq * 95 / 100], us[nq * 99 / 100]};
	qsort(point->rounds, point->nrounds, sizeof(Round), compare_rounds);
	point->median = point->rounds[point->nrounds / 2];
	free(us);
	free(rows);
	free(got);
}

void *
index_make(const Settings *settings, const Set *set, uint32_t n, const Engine *engine)
{
	Plan		plan = {set->base, n, set->dim, (int) set->metric, settings->m,
		settings->ef_construction, settings->threads, NULL};
	char		keep[700];

	if (settings->keep && n > 0)
	{
		snprintf(keep, sizeof(keep), "%s/%s-%u-%u-%u.%s", settings->keep, set->name, n, settings->m,
				 settings->ef_construction, engine->name);
		plan.keep = keep;
	}
	return engine->build(&plan);
}

double
curve_qps_at(const Curve *curve, double recall)
{
	double		best = 0;

	for (uint32_t i = 0; i < curve->n; i++)
	{
		const Point *b = &curve->points[i];
		const Point *a = i ? b - 1 : NULL;

		if (b->recall < recall)
			continue;
		if (b->median.qps > best)
			best = b->median.qps;
		if (a && a->recall < recall)
		{
			double		part = (recall - a->recall) / (b->recall - a->recall);
			double		qps = a->median.qps + part * (b->median.qps - a->median.qps);

			if (qps > best)
				best = qps;
		}
	}
	return best;
}

static bool
mode_curves(const Settings *settings, const Set *set, const Engine *const *engines, uint32_t n)
{
	static const uint32_t all[] = {10, 16, 20, 26, 32, 40, 50, 64, 80, 100, 130, 160, 200, 280, 400, 560, 800};
	const uint32_t *efs = all;
	uint32_t	nefs = sizeof(all) / sizeof(all[0]);
	Curve	   *curves = vt_alloc0(sizeof(Curve) * n);
	void	  **indexes = vt_alloc0(sizeof(void *) * n);
	bool		held;

	/* None below k; for ten none beyond what the tables name. */
	for (; *efs < settings->k; efs++)
		nefs--;
	if (settings->k <= 10)
		nefs -= 2;
	for (uint32_t e = 0; e < n; e++)
	{
		Curve	   *curve = &curves[e];
		double		rss = usage_rss();
		double		cpu = usage_cpu_s();
		double		begin = now_us();

		curve->engine = engines[e];
		curve->build_threads = engines[e]->exact ? 1 : settings->threads;
		indexes[e] = index_make(settings, set, set->n, engines[e]);
		curve->build_s = (now_us() - begin) / 1e6;
		curve->cpu_s = usage_cpu_s() - cpu;
		curve->memory = (usage_rss() - rss) / set->n;
		curve->n = engines[e]->exact ? 1 : nefs;
		for (uint32_t i = 0; i < curve->n; i++)
			curve->points[i].ef = engines[e]->exact ? set->n : efs[i];
	}
	for (uint32_t round = 0; round < settings->rounds; round++)
		for (uint32_t i = 0; i < nefs; i++)
			for (uint32_t e = 0; e < n; e++)
				if (i < curves[e].n)
					point_measure(set, engines[e], indexes[e], settings->k, &curves[e].points[i]);
	report_curves(settings, curves, n);
	report_write(settings, set, curves, n);
	held = bars_of_curves(settings, set, curves, n);
	for (uint32_t e = 0; e < n; e++)
		engines[e]->destroy(indexes[e]);
	free(indexes);
	free(curves);
	return held;
}

/* -- Sets ------------------------------------------------------------------ */

typedef struct Run
{
	Settings	settings;
	const Engine *engines[8];
	uint32_t	nengines;
	const char *modes[8];
	uint32_t	nmodes;
	const char *only;
	uint32_t	sets;			/* that were run */
	bool		missed;			/* some bar */
} Run;

static void
run_set(Run *run, Set *set)
{
	if (set == NULL)
		return;
	run->sets++;
	report_set(set);
	if (!set_want(set, run->settings.k))
	{
		fprintf(stderr, "hnsw_bench: %s knows fewer than %u neighbours\n", set->name, run->settings.k);
		exit(2);
	}
	for (uint32_t i = 0; i < run->nmodes; i++)
	{
		const char *mode = run->modes[i];

		if (strcmp(mode, "curves") == 0)
		{
			/* hnswlib has no taxicab distance. */
			uint32_t	skip = set->metric == VEC_L1 && run->engines[0] == engine_hnswlib();

			run->missed |= !mode_curves(&run->settings, set, run->engines + skip, run->nengines - skip);
		}
		else if (strcmp(mode, "insert") == 0)
			run->missed |= !mode_insert(&run->settings, set);
		else if (strcmp(mode, "filter") == 0)
			run->missed |= !mode_filter(&run->settings, set);
		else if (strcmp(mode, "churn") == 0)
			run->missed |= !mode_churn(&run->settings, set);
		else if (strcmp(mode, "follow") == 0)
			run->missed |= !mode_follow(&run->settings, set);
		else if (strcmp(mode, "warm") == 0)
			mode_warm(&run->settings, set);
		else if (strcmp(mode, "shrink") == 0)
			mode_shrink(&run->settings, set);
		else if (strcmp(mode, "bits") == 0)
			mode_bits(&run->settings, set);
		else if (strcmp(mode, "shards") == 0)
			run->missed |= !mode_shards(&run->settings, set);
		else if (strcmp(mode, "threads") == 0)
			run->missed |= !mode_threads(&run->settings, set);
		fflush(stdout);
	}
	set_free(set);
}

static bool
wanted(const Run *run, const char *name)
{
	return run->only == NULL || strcmp(run->only, name) == 0;
}

static void
run_folder(Run *run, const char *folder)
{
	DIR		   *dir = opendir(folder);
	uint32_t	before = run->sets;
	struct dirent *entry;

	if (dir == NULL)
	{
		fprintf(stderr, "hnsw_bench: could not open \"%s\"\n", folder);
		exit(2);
	}
	while ((entry = readdir(dir)) != NULL)
	{
		char		path[600];

		if (entry->d_name[0] == '.' || !wanted(run, entry->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		run_set(run, set_read(path, run->settings.limit, run->settings.metric));
	}
	closedir(dir);
	if (run->sets == before)
		run_set(run, set_read(folder, run->settings.limit, run->settings.metric));
}

static uint32_t
number(const char *text)
{
	char	   *end;
	unsigned long x = text ? strtoul(text, &end, 10) : 0;

	if (text == NULL || *end || x > 100000000)
	{
		fprintf(stderr, "hnsw_bench: \"%s\" is no number\n", text ? text : "");
		exit(2);
	}
	return (uint32_t) x;
}

static VecMetric
metric(const char *name)
{
	for (VecMetric m = VEC_L2; vec_metric_fits(m, VEC_FLOAT32); m++)
		if (name && strcmp(vec_metric_name(m), name) == 0)
			return m;
	fprintf(stderr, "hnsw_bench: \"%s\" is no metric\n", name ? name : "");
	exit(2);
}

/* Is the word in a list with commas? */
static bool
listed(const char *list, const char *word)
{
	size_t		len = strlen(word);

	for (; list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL)
		if (strncmp(list, word, len) == 0 && (list[len] == ',' || list[len] == '\0'))
			return true;
	return false;
}

static void
take_engines(Run *run, const char *list)
{
	static const struct
	{
		const char *word;
		const Engine *engine;
	}			ours[] = {
		{"float", &engine_float}, {"half", &engine_half}, {"int8", &engine_int8},
		{"int8_only", &engine_int8_only}, {"half-int8", &engine_half_int8}, {"mapped", &engine_mapped},
	};
	const Engine *rival = engine_hnswlib();

	run->nengines = 0;
	run->settings.nours = 0;
	if (rival && listed(list, "hnswlib"))
		run->engines[run->nengines++] = rival;
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (listed(list, ours[i].word))
		{
			run->engines[run->nengines++] = ours[i].engine;
			run->settings.ours[run->settings.nours++] = ours[i].engine;
		}
	if (listed(list, "exact"))
		run->engines[run->nengines++] = &engine_exact;
}

int
main(int argc, char **argv)
{
	Run			run = {.settings = {.m = 16, .ef_construction = 200, .threads = 1, .rounds = 5, .k = K,
			.argc = argc, .argv = argv}};
	const char *data = NULL;
	const char *demo = NULL;

	take_engines(&run, "hnswlib,float,int8,exact");
	for (int i = 1; i < argc; i++)
	{
		const char *arg = argv[i];
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strncmp(arg, "--", 2) != 0)
		{
			if (run.nmodes < 8)
				run.modes[run.nmodes++] = arg;
			continue;
		}
		if (strcmp(arg, "--one-lock") == 0)
		{
			run.settings.one_lock = true;
			continue;
		}
		i++;
		if (strcmp(arg, "--data") == 0)
			data = value;
		else if (strcmp(arg, "--set") == 0)
			run.only = value;
		else if (strcmp(arg, "--demo") == 0)
			demo = value;
		else if (strcmp(arg, "--out") == 0)
			run.settings.out = value;
		else if (strcmp(arg, "--keep") == 0)
			run.settings.keep = value;
		else if (strcmp(arg, "--engines") == 0 && value)
			take_engines(&run, value);
		else if (strcmp(arg, "--k") == 0)
			run.settings.k = number(value);
		else if (strcmp(arg, "--m") == 0)
			run.settings.m = number(value);
		else if (strcmp(arg, "--efc") == 0)
			run.settings.ef_construction = number(value);
		else if (strcmp(arg, "--threads") == 0)
			run.settings.threads = number(value);
		else if (strcmp(arg, "--rounds") == 0)
			run.settings.rounds = number(value);
		else if (strcmp(arg, "--share") == 0 && value)
			run.settings.share = strtod(value, NULL);
		else if (strcmp(arg, "--limit") == 0)
			run.settings.limit = number(value);
		else if (strcmp(arg, "--kind") == 0)
			run.settings.kind = value;
		else if (strcmp(arg, "--metric") == 0)
			run.settings.metric = metric(value);
		else
		{
			fprintf(stderr, "hnsw_bench: unknown option %s\n", arg);
			return 2;
		}
	}
	if (run.nmodes == 0)
		run.modes[run.nmodes++] = "curves";
	if (run.settings.threads < 1 || run.settings.threads > 64)
		run.settings.threads = 1;
	if (run.settings.k < 1 || run.settings.k > TRUTH_MOST || run.settings.rounds < 1 ||
		run.settings.rounds > ROUNDS_MOST)
	{
		fprintf(stderr, "hnsw_bench: k is 1 to %d, rounds are 1 to %d\n", TRUTH_MOST, ROUNDS_MOST);
		return 2;
	}
	report_machine(&run.settings);
	if (demo && wanted(&run, "demo-films"))
		run_set(&run, set_demo(demo));
	if (wanted(&run, "generated-64"))
		run_set(&run, set_generate("generated-64", VEC_L2, 64,
								   run.settings.limit ? run.settings.limit : 20000, 1000, 1));
	if (wanted(&run, "generated-256"))
		run_set(&run, set_generate("generated-256", VEC_COSINE, 256,
								   run.settings.limit ? run.settings.limit : 20000, 1000, 2));
	if (data)
		run_folder(&run, data);
	return run.missed;
}
