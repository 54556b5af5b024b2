/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What sql_bench prints, and the JSON it writes.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"

static const double targets[] = {0.95, 0.98, 0.99, 0.995};

#define TARGETS (sizeof(targets) / sizeof(targets[0]))
#define MIB (1024.0 * 1024.0)

/* Queries a second at a recall, between the measured points; 0: not reached. */
static double
rate_at(const Result *result, int c, double recall)
{
	double		best = 0;

	for (uint32_t i = 0; i < result->npoints; i++)
	{
		const Point *b = &result->points[i];
		const Point *a = i ? b - 1 : NULL;
		double		rate = b->speeds[c].rate;

		if (b->recall < recall)
			continue;
		if (a && a->recall < recall)
			rate = a->speeds[c].rate + (rate - a->speeds[c].rate) * (recall - a->recall) / (b->recall - a->recall);
		best = rate > best ? rate : best;
	}
	return best;
}

static const char *
place(const Settings *settings)
{
	return settings->tmpfs ? "tmpfs" : "disk";
}

void
report_machine(const Settings *settings)
{
	struct utsname name;

	if (uname(&name) != 0)
		memset(&name, 0, sizeof(name));
	printf("\nthrough SQL: %s\n", settings->command);
	printf("machine      %ld cores, %s %s; PostgreSQL libpq %d\n", sysconf(_SC_NPROCESSORS_ONLN), name.sysname,
		   name.release, PQlibVersion());
	for (int e = 0; e < ENGINES; e++)
		printf("%-12s %s\n", settings->engines[e].name,
			   settings->engines[e].present ? settings->engines[e].version : "not installed");
	printf("settings     m %u, ef_construction %u; data directories on %s (%s)", settings->m,
		   settings->ef_construction, place(settings), settings->data);
	if (settings->sync_us)
		printf(", each sync made to take at least %u us", settings->sync_us);
	printf("\n             medians of %u rounds, engines in turn\n", settings->rounds);
}

void
report_set(const Set *set)
{
	printf("\n== %s: %u x %u, %s, %u queries, truth %s\n", set->name, set->n, set->dim,
		   vec_metric_name(set->metric), set->nqueries, set->truth_read ? "read" : "computed");
}

static void
print_ratio(double ours, double rival)
{
	if (rival > 0)
		printf(" %6.2fx", ours / rival);
}

void
report_search(const Settings *settings, const Results *results)
{
	printf("\nCREATE INDEX   %9s %9s %9s %12s %12s\n", "seconds", "to drain", "cpu s", "postgres MiB", "worker MiB");
	for (int e = 0; e < ENGINES; e++)
	{
		const Built *b = &results->engines[e].build;

		if (results->engines[e].searched)
			printf("%-14s %9.2f %9.2f %9.2f %12.0f %12.0f\n", settings->engines[e].name, b->seconds,
				   b->drain_s, b->cpu_s, b->postgres_memory / MIB, b->worker_memory / MIB);
	}
	printf("\nsearch         %7s %5s %8s %8s %8s %8s %8s %10s %10s\n", "clients", "ef", "recall", "QPS",
		   "p50 us", "p95 us", "p99 us", "server ms", "client ms");
	for (int c = 0; c < 2; c++)
		for (int e = 0; e < ENGINES; e++)
			for (uint32_t i = 0; i < results->engines[e].npoints; i++)
			{
				const Point *p = &results->engines[e].points[i];
				const Speed *s = &p->speeds[c];

				printf("%-14s %7u %5u %8.4f %8.0f %8.0f %8.0f %8.0f %10.3f %10.3f\n",
					   settings->engines[e].name, s->clients, p->ef, p->recall, s->rate, s->p50_us, s->p95_us,
					   s->p99_us, s->cpu_ms, s->client_cpu_ms);
			}
	printf("%-14s %7u %5s %8.4f %8.1f %8.0f %8.0f %8.0f\n", "exact scan", 1, "", 1.0, results->exact.rate,
		   results->exact.p50_us, results->exact.p95_us, results->exact.p99_us);
	printf("\nQPS at recall  %7s", "clients");
	for (size_t t = 0; t < TARGETS; t++)
		printf(" %16.3f", targets[t]);
	printf("\n");
	for (int c = 0; c < 2; c++)
		for (int e = 0; e < ENGINES; e++)
		{
			if (!results->engines[e].searched)
				continue;
			printf("%-14s %7d", settings->engines[e].name, c + 1);
			for (size_t t = 0; t < TARGETS; t++)
			{
				double		rate = rate_at(&results->engines[e], c, targets[t]);
				double		rival = results->engines[1].searched ? rate_at(&results->engines[1], c, targets[t]) : 0;

				if (rate > 0)
					printf(" %9.0f", rate);
				else
					printf(" %9s", "-");
				if (e == 0 && rate > 0 && rival > 0)
					print_ratio(rate, rival);
				else
					printf("%7s", "");
			}
			printf("\n");
		}
}

void
report_copy(const Settings *settings, const Set *set, const Results *results)
{
	printf("\nCOPY into an indexed table, %u rows\n%-14s %9s %9s %9s %9s %9s\n", set->n, "", "seconds", "rows/s",
		   "recall", "to drain", "cpu s");
	for (int e = 0; e < ENGINES; e++)
	{
		const Built *b = &results->engines[e].copy;

		if (!results->engines[e].copied)
			continue;
		printf("%-14s %9.2f %9.0f %9.4f %9.2f %9.2f", settings->engines[e].name, b->seconds,
			   set->n / b->seconds, b->found, b->drain_s, b->cpu_s);
		if (e == 0 && results->engines[1].copied)
			print_ratio(results->engines[1].copy.seconds, b->seconds);
		printf("\n");
	}
}

void
report_insert(const Settings *settings, const Results *results)
{
	printf("\nsingle-row INSERT commits into the indexed table, on %s\n", place(settings));
	printf("%-14s %7s %9s %8s %8s %8s %9s %6s %8s %8s %8s %9s\n", "", "clients", "commits/s", "p50 us", "p95 us",
		   "p99 us", "server ms", "syncs", "sync p50", "sync p99", "backlog", "drained/s");
	for (int c = 0; c < 2; c++)
		for (int e = 0; e < ENGINES; e++)
		{
			const Speed *s = &results->engines[e].inserts[c];
			const Speed *rival = &results->engines[1].inserts[c];

			if (!results->engines[e].inserted)
				continue;
			printf("%-14s %7u %9.0f %8.0f %8.0f %8.0f %9.3f", settings->engines[e].name, s->clients, s->rate,
				   s->p50_us, s->p95_us, s->p99_us, s->cpu_ms);
			if (settings->syncs)
				printf(" %6.2f %8.0f %8.0f", s->syncs, s->sync_p50_us, s->sync_p99_us);
			else
				printf(" %6s %8s %8s", "-", "-", "-");
			printf(" %8.0f %9.0f", s->backlog, s->rate_drained);
			if (e == 0 && results->engines[1].inserted)
			{
				print_ratio(s->rate, rival->rate);
				print_ratio(s->rate_drained, rival->rate_drained);
			}
			printf("\n");
		}
	for (int e = 0; e < ENGINES; e++)
		if (results->engines[e].inserted)
			printf("%-14s %llu rows searched for by their own vector right after their commit, %llu not found\n",
				   settings->engines[e].name, (unsigned long long) results->engines[e].checked,
				   (unsigned long long) results->engines[e].missed);
}

/* -- JSON ------------------------------------------------------------------ */

static void
write_speed(FILE *out, const Speed *s)
{
	fprintf(out, "{\"clients\": %u, \"operations\": %llu, \"rate\": %.2f, \"p50_us\": %.1f, \"p95_us\": %.1f, "
			"\"p99_us\": %.1f, \"server_cpu_ms\": %.4f, \"client_cpu_ms\": %.4f, \"syncs\": %.3f, "
			"\"sync_p50_us\": %.1f, \"sync_p99_us\": %.1f, \"backlog\": %.0f, \"rate_drained\": %.2f}",
			s->clients, (unsigned long long) s->ops, s->rate, s->p50_us, s->p95_us, s->p99_us, s->cpu_ms,
			s->client_cpu_ms, s->syncs, s->sync_p50_us, s->sync_p99_us, s->backlog, s->rate_drained);
}

static void
write_built(FILE *out, const char *name, const Built *b)
{
	fprintf(out, ",\n   \"%s\": {\"seconds\": %.3f, \"drain_s\": %.3f, \"cpu_s\": %.3f, \"postgres_bytes\": %.0f, "
			"\"worker_bytes\": %.0f, \"recall\": %.5f}", name, b->seconds, b->drain_s, b->cpu_s,
			b->postgres_memory, b->worker_memory, b->found);
}

static void
write_engine(FILE *out, const Engine *engine, const Result *r)
{
	fprintf(out, "  {\"name\": \"%s\", \"version\": \"%s\"", engine->name, engine->version);
	if (r->searched)
	{
		write_built(out, "create_index", &r->build);
		fprintf(out, ",\n   \"search\": [");
		for (uint32_t i = 0; i < r->npoints; i++)
			for (int c = 0; c < 2; c++)
			{
				fprintf(out, "%s\n    {\"ef\": %u, \"recall\": %.5f, \"speed\": ", i + (uint32_t) c ? "," : "",
						r->points[i].ef, r->points[i].recall);
				write_speed(out, &r->points[i].speeds[c]);
				fprintf(out, "}");
			}
		fprintf(out, "]");
	}
	if (r->copied)
		write_built(out, "copy", &r->copy);
	if (r->inserted)
	{
		fprintf(out, ",\n   \"checked\": %llu, \"missed\": %llu, \"insert\": [\n    ",
				(unsigned long long) r->checked, (unsigned long long) r->missed);
		write_speed(out, &r->inserts[0]);
		fprintf(out, ",\n    ");
		write_speed(out, &r->inserts[1]);
		fprintf(out, "]");
	}
	fprintf(out, "}");
}

void
report_write(const Settings *settings, const Set *set, const Results *results)
{
	char		path[700];
	FILE	   *out;
	bool		any = false;

	if (settings->out == NULL)
		return;
	(void) mkdir(settings->out, 0777);
	snprintf(path, sizeof(path), "%s/sql-%s-%s.json", settings->out, set->name, place(settings));
	out = fopen(path, "w");
	if (out == NULL)
		die("could not write \"%s\"", path);
	fprintf(out, "{\"set\": \"%s\", \"rows\": %u, \"dim\": %u, \"metric\": \"%s\", \"queries\": %u, \"k\": %d,\n",
			set->name, set->n, set->dim, vec_metric_name(set->metric), set->nqueries, K);
	fprintf(out, " \"place\": \"%s\", \"least_sync_us\": %u, \"rounds\": %u, \"m\": %u, \"ef_construction\": %u, "
			"\"command\": \"%s\",\n \"exact\": ", place(settings), settings->sync_us, settings->rounds,
			settings->m, settings->ef_construction, settings->command);
	write_speed(out, &results->exact);
	fprintf(out, ",\n \"engines\": [\n");
	for (int e = 0; e < ENGINES; e++)
		if (settings->engines[e].present)
		{
			fprintf(out, "%s", any ? ",\n" : "");
			write_engine(out, &settings->engines[e], &results->engines[e]);
			any = true;
		}
	fprintf(out, "]}\n");
	fclose(out);
}
