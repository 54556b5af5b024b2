/*-------------------------------------------------------------------------
 *
 * main.c
 *	  pdsim: scenarios of the placement driver's scheduling.
 *
 *	pdsim [--verbose] [--seeds N] [--seed N] [--write] FILE...
 *
 * Each file is a scenario (script.c), run for as many seeds, from 1 or the given
 * one on.  If it has a trace, the decisions for seed 1 must be those; --write puts those that were made in its place.  A step or an end that
 * is not as it must be ends the program with a sentence.  The last line counts
 * scenarios as the other tests do.
 *
 *-------------------------------------------------------------------------
 */
#include "pdsim.h"

#include "base/log.h"

typedef struct Text
{
	char	   *data;
	size_t		len;
} Text;

static Text
rest_of(FILE *file)
{
	Text		text = {NULL, 0};
	FILE	   *out = open_memstream(&text.data, &text.len);
	int			c;

	while ((c = fgetc(file)) != EOF)
		fputc(c, out);
	fclose(out);
	return text;
}

/* The first line that differs, for whoever looks at it. */
static void
show_difference(const char *path, const char *expected, const char *got)
{
	int			line = 1;

	while (*expected && *expected == *got)
	{
		line += *expected == '\n';
		expected++;
		got++;
	}
	fprintf(stderr, "%s: line %d of the trace differs, near\n  expected: %.60s\n  got:      %.60s\n", path, line, expected, got);
}

static void
rewrite(const char *path, const char *trace)
{
	FILE	   *file = fopen(path, "r");
	Text		text;
	char	   *mark;

	if (!file)
		return;
	text = rest_of(file);
	fclose(file);
	mark = strstr(text.data, "\n----");
	file = fopen(path, "w");
	if (file)
	{
		fprintf(file, "%.*s\n----\n%s", (int) (mark ? (size_t) (mark - text.data) : text.len), text.data, trace);
		fclose(file);
	}
	free(text.data);
}

static bool
run(const char *path, uint64_t seed, bool verbose, bool write)
{
	FILE	   *file = fopen(path, "r");
	Sim		   *sim = vt_alloc0(sizeof(Sim));
	Text		trace = {NULL, 0};
	bool		good = true;
	double		begin = sim_clock();
	const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;

	if (!file)
	{
		fprintf(stderr, "could not open %s\n", path);
		free(sim);
		return false;
	}
	sim_begin(sim, name, seed);
	sim->verbose = verbose;
	sim->trace = open_memstream(&trace.data, &trace.len);
	sim->measured_us = sim->now;
	if (script_run(sim, file))
	{
		Text		expected = rest_of(file);

		if (watch_is_wide(sim))
			watch_sum_up(sim);
		fflush(sim->trace);
		good = seed != 1 || strcmp(expected.data, trace.data) == 0;
		if (!good && write)
		{
			rewrite(path, trace.data);
			good = true;
		}
		else if (!good)
			show_difference(path, expected.data, trace.data);
		free(expected.data);
	}
	fflush(sim->trace);
	if (verbose)
		fputs(trace.data, stdout);
	watch_report(sim, stdout);
	printf("%s %s # seed %" PRIu64 ", %.1f s\n", good ? "ok" : "not ok", name, seed, sim_clock() - begin);
	fflush(stdout);
	fclose(sim->trace);
	fclose(file);
	free(trace.data);
	sim_end(sim);
	free(sim);
	return good;
}

int
main(int argc, char **argv)
{
	bool		verbose = false;
	bool		write = false;
	uint64_t	seed = 1;
	uint64_t	seeds = 1;
	int			passed = 0;
	int			failed = 0;

	log_setup("pd", getenv("VERBOSE") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR);
	for (int i = 1; i < argc; i++)
	{
		if (strcmp(argv[i], "--verbose") == 0)
			verbose = true;
		else if (strcmp(argv[i], "--write") == 0)
			write = true;
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
			seeds = strtoull(argv[++i], NULL, 10);
		else
			for (uint64_t k = seed; k < seed + seeds; k++)
				*(run(argv[i], k, verbose, write) ? &passed : &failed) += 1;
	}
	printf("%d passed, %d failed, 0 skipped\n", passed, failed);
	return failed > 0;
}
