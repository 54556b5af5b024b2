/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What hnsw_bench prints, and the files it writes.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "bench.h"
#include "hnsw/hnsw.h"

#ifndef RIVAL_VERSION
#define RIVAL_VERSION "none"
#endif

static const double targets[] = {0.90, 0.95, 0.979, 0.99, 0.994, 0.995, 0.999};

#define TARGETS (sizeof(targets) / sizeof(targets[0]))

static void
cpu_model(char *out, size_t size)
{
	FILE	   *in = fopen("/proc/cpuinfo", "r");
	char		line[300];

	snprintf(out, size, "unknown");
	while (in && fgets(line, sizeof(line), in))
		if (strncmp(line, "model name", 10) == 0 && strchr(line, ':'))
		{
			snprintf(out, size, "%s", strchr(line, ':') + 2);
			out[strcspn(out, "\n")] = 0;
			break;
		}
	if (in)
		fclose(in);
}

void
report_machine(const Settings *settings)
{
	struct utsname name;
	char		cpu[200];

	cpu_model(cpu, sizeof(cpu));
	if (uname(&name) != 0)
		memset(&name, 0, sizeof(name));
	printf("command   ");
	for (int i = 0; i < settings->argc; i++)
		printf(" %s", settings->argv[i]);
	printf("\nmachine    %s, %s %s; our kernels: %s\n", cpu, name.sysname, name.release, hnsw_cpu_name());
	printf("compilers  ours %s -O2; rival: hnswlib %s -O3 -march=native\n", __VERSION__, RIVAL_VERSION);
	printf("settings   m %u, ef_construction %u, %u build threads, recall@%u, one thread searches, QPS of processor time, median of %u rounds\n",
		   settings->m, settings->ef_construction, settings->threads, settings->k, settings->rounds);
}

void
report_set(const Set *set)
{
	printf("\n== %s: %u x %u, %s, %u queries, truth %s\n", set->name, set->n, set->dim,
		   vec_metric_name(set->metric), set->nqueries, set->truth_read ? "read" : "computed");
}

void
report_curves(const Settings *settings, const Curve *curves, uint32_t n)
{
	const Curve *rival = NULL;

	printf("%-17s %9s %9s %9s\n", "engine", "build s", "cpu s", "B/vector");
	for (uint32_t e = 0; e < n; e++)
	{
		if (strcmp(curves[e].engine->name, "hnswlib") == 0)
			rival = &curves[e];
		printf("%-17s %9.2f %9.2f %9.0f\n", curves[e].engine->name, curves[e].build_s,
			   curves[e].cpu_s, curves[e].memory);
	}
	printf("\n%-17s %6s %8s %7s %8s %9s %8s %8s %8s %9s   recall@%u; of one query of twenty; share of queries that find none\n",
		   "engine", "ef", "recall", "p5", "none", "QPS", "p50 us", "p95 us", "p99 us", "distances", settings->k);
	for (uint32_t e = 0; e < n; e++)
		for (uint32_t i = 0; i < curves[e].n; i++)
		{
			const Point *p = &curves[e].points[i];

			printf("%-17s %6u %8.4f %7.3f %8.5f %9.0f %8.1f %8.1f %8.1f %9.0f\n", curves[e].engine->name, p->ef,
				   p->recall, p->recall_p5, p->nothing, p->median.qps, p->median.p50_us, p->median.p95_us,
				   p->median.p99_us, p->distances);
		}
	printf("\nQPS at recall  ");
	for (size_t t = 0; t < TARGETS; t++)
		printf("%15.3f", targets[t]);
	printf("\n");
	for (uint32_t e = 0; e < n; e++)
	{
		if (curves[e].engine->exact)
			continue;
		printf("%-17s", curves[e].engine->name);
		for (size_t t = 0; t < TARGETS; t++)
		{
			double		qps = curve_qps_at(&curves[e], targets[t]);
			double		base = rival ? curve_qps_at(rival, targets[t]) : 0;

			if (qps == 0)
				printf("%15s", "-");
			else if (base > 0 && rival != &curves[e])
				printf("%8.0f %5.2fx", qps, qps / base);
			else
				printf("%8.0f       ", qps);
		}
		printf("\n");
	}
}

/* -- Files ----------------------------------------------------------------- */

static FILE *
open_file(const Settings *settings, const Set *set, const char *end)
{
	char		path[700];
	FILE	   *out;

	(void) mkdir(settings->out, 0777);
	snprintf(path, sizeof(path), "%s/%s.%s", settings->out, set->name, end);
	out = fopen(path, "w");
	if (out == NULL)
		fprintf(stderr, "hnsw_bench: could not write \"%s\"\n", path);
	return out;
}

static void
write_json(FILE *out, const Settings *settings, const Set *set, const Curve *curves, uint32_t n)
{
	char		cpu[200];

	cpu_model(cpu, sizeof(cpu));
	fprintf(out, "{\"set\": \"%s\", \"rows\": %u, \"dim\": %u, \"metric\": \"%s\", \"queries\": %u,\n",
			set->name, set->n, set->dim, vec_metric_name(set->metric), set->nqueries);
	fprintf(out, " \"cpu\": \"%s\", \"kernels\": \"%s\", \"compiler\": \"%s\", \"hnswlib\": \"%s\",\n", cpu,
			hnsw_cpu_name(), __VERSION__, RIVAL_VERSION);
	fprintf(out, " \"m\": %u, \"ef_construction\": %u, \"k\": %u, \"engines\": [", settings->m,
			settings->ef_construction, settings->k);
	for (uint32_t e = 0; e < n; e++)
	{
		fprintf(out, "%s\n  {\"name\": \"%s\", \"build_s\": %.3f, \"build_threads\": %u, "
				"\"build_cpu_s\": %.3f, \"bytes_per_vector\": %.0f, \"points\": [",
				e ? "," : "", curves[e].engine->name, curves[e].build_s, curves[e].build_threads,
				curves[e].cpu_s, curves[e].memory);
		for (uint32_t i = 0; i < curves[e].n; i++)
		{
			const Point *p = &curves[e].points[i];

			fprintf(out, "%s\n   {\"ef\": %u, \"recall\": %.5f, \"recall_p5\": %.4f, \"nothing\": %.6f, \"qps\": %.1f, \"p50_us\": %.1f, "
					"\"p95_us\": %.1f, \"p99_us\": %.1f, \"distances\": %.1f}", i ? "," : "", p->ef,
					p->recall, p->recall_p5, p->nothing, p->median.qps, p->median.p50_us, p->median.p95_us,
					p->median.p99_us, p->distances);
		}
		fprintf(out, "]}");
	}
	fprintf(out, "\n]}\n");
}

/* Recall on a scale that spreads what is near 1; QPS by decades. */
static double
place_x(double recall)
{
	double		miss = 1 - recall < 0.0005 ? 0.0005 : 1 - recall;

	return 60 + 520 * (log10(0.5) - log10(miss)) / (log10(0.5) - log10(0.0005));
}

static double
place_y(double qps, double least, double most)
{
	return 340 - 300 * (log10(qps) - log10(least)) / (log10(most) - log10(least));
}

static void
write_svg(FILE *out, const Settings *settings, const Set *set, const Curve *curves, uint32_t n)
{
	static const char *const colours[] = {"#888888", "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b"};
	static const double ticks[] = {0.5, 0.9, 0.95, 0.99, 0.995, 0.999};
	double		least = 1e12;
	double		most = 1;
	double		decade;

	for (uint32_t e = 0; e < n; e++)
		for (uint32_t i = 0; i < curves[e].n && !curves[e].engine->exact; i++)
		{
			least = curves[e].points[i].median.qps < least ? curves[e].points[i].median.qps : least;
			most = curves[e].points[i].median.qps > most ? curves[e].points[i].median.qps : most;
		}
	least = pow(10, floor(log10(least)));
	most = pow(10, ceil(log10(most)));
	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"400\" "
			"font-family=\"sans-serif\" font-size=\"12\">\n"
			"<rect width=\"640\" height=\"400\" fill=\"white\"/>\n"
			"<text x=\"60\" y=\"24\">%s: queries a second against recall@%u</text>\n", set->name, settings->k);
	for (size_t t = 0; t < sizeof(ticks) / sizeof(ticks[0]); t++)
		fprintf(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"40\" y2=\"340\" stroke=\"#ddd\"/>"
				"<text x=\"%.1f\" y=\"358\" text-anchor=\"middle\">%g</text>\n", place_x(ticks[t]),
				place_x(ticks[t]), place_x(ticks[t]), ticks[t]);
	for (decade = least; decade <= most; decade *= 10)
		fprintf(out, "<line x1=\"60\" x2=\"600\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
				"<text x=\"54\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
				place_y(decade, least, most), place_y(decade, least, most),
				place_y(decade, least, most) + 4, decade);
	for (uint32_t e = 0, at = 0; e < n; e++)
	{
		if (curves[e].engine->exact)
			continue;
		fprintf(out, "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"%s\" points=\"", colours[at % 6]);
		for (uint32_t i = 0; i < curves[e].n; i++)
			if (curves[e].points[i].recall >= 0.5)
				fprintf(out, "%.1f,%.1f ", place_x(curves[e].points[i].recall),
						place_y(curves[e].points[i].median.qps, least, most));
		fprintf(out, "\"/>\n<text x=\"%u\" y=\"384\" fill=\"%s\">%s</text>\n", 60 + 114 * at,
				colours[at % 6], curves[e].engine->name);
		at++;
	}
	fprintf(out, "</svg>\n");
}

/* The table of docs/performance.md. */
static void
write_table(FILE *out, const Set *set, const Curve *curves, uint32_t n)
{
	const Curve *rival = NULL;

	fprintf(out, "**%s**: %u x %u, %s\n\n| engine | build, s of processor | bytes a vector |", set->name, set->n,
			set->dim, vec_metric_name(set->metric));
	for (size_t t = 0; t < TARGETS; t++)
		fprintf(out, " %.3f |", targets[t]);
	fprintf(out, "\n|---|---|---|");
	for (size_t t = 0; t < TARGETS; t++)
		fprintf(out, "---|");
	fprintf(out, "\n");
	for (uint32_t e = 0; e < n; e++)
		if (strcmp(curves[e].engine->name, "hnswlib") == 0)
			rival = &curves[e];
	for (uint32_t e = 0; e < n; e++)
	{
		if (curves[e].engine->exact)
			continue;
		fprintf(out, "| %s | %.1f | %.0f |", curves[e].engine->name, curves[e].cpu_s, curves[e].memory);
		for (size_t t = 0; t < TARGETS; t++)
		{
			double		qps = curve_qps_at(&curves[e], targets[t]);
			double		base = rival ? curve_qps_at(rival, targets[t]) : 0;

			if (qps == 0)
				fprintf(out, " - |");
			else if (base > 0 && rival != &curves[e])
				fprintf(out, " %.0f (%.2fx) |", qps, qps / base);
			else
				fprintf(out, " %.0f |", qps);
		}
		fprintf(out, "\n");
	}
}

void
report_write(const Settings *settings, const Set *set, const Curve *curves, uint32_t n)
{
	FILE	   *out;

	if (settings->out == NULL)
		return;
	if ((out = open_file(settings, set, "json")) != NULL)
	{
		write_json(out, settings, set, curves, n);
		fclose(out);
	}
	if ((out = open_file(settings, set, "md")) != NULL)
	{
		write_table(out, set, curves, n);
		fclose(out);
	}
	if ((out = open_file(settings, set, "svg")) != NULL)
	{
		write_svg(out, settings, set, curves, n);
		fclose(out);
	}
}
