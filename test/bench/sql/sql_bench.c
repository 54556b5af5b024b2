/*-------------------------------------------------------------------------
 *
 * sql_bench.c
 *	  The whole path through SQL: a server's clients, beside pgvector's.
 *
 *	  sql_bench --host DIR --root DIR [options] [mode ...]
 *		--host DIR		folder of the server's socket
 *		--root DIR		its installation: processes from there are the server's
 *		--data DIR		sets in the folders of DIR, or DIR itself
 *		--set NAME		only this one
 *		--demo DIR		the demonstration's files
 *		--out DIR		JSON goes there
 *		--syncs FILE	counters of the preloaded library
 *		--sync-us N, --tmpfs, --place DIR, --command TEXT	are printed
 *		--m N --efc N --rounds N --queries N --inserts N --seconds X --limit N
 *	  modes: search, copy, insert (all of them when none is named)
 *
 * run.sh beside this file makes the server and calls this.
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

typedef struct Wanted
{
	const char *data;
	const char *set;
	const char *demo;
	uint32_t	limit;
	bool		search;
	bool		copy;
	bool		insert;
} Wanted;

static void
run_set(Settings settings, const Wanted *wanted, Set *set)
{
	Results    *results;

	if (set == NULL)
		return;
	results = vt_alloc0(sizeof(Results));
	if (settings.inserts > set->n / (6 * settings.rounds))
		settings.inserts = set->n / (6 * settings.rounds);
	report_set(set);
	if (wanted->search)
	{
		mode_search(&settings, set, results);
		report_search(&settings, results);
		fflush(stdout);
	}
	if (wanted->copy)
	{
		mode_copy(&settings, set, results);
		report_copy(&settings, set, results);
		fflush(stdout);
	}
	if (wanted->insert)
	{
		mode_insert(&settings, set, results);
		report_insert(&settings, results);
		fflush(stdout);
	}
	report_write(&settings, set, results);
	free(results);
	set_free(set);
}

static bool
is_wanted(const Wanted *wanted, const char *name)
{
	return wanted->set == NULL || strcmp(wanted->set, name) == 0;
}

/* A folder that is a set, or the sets in its folders. */
static void
run_folder(const Settings *settings, const Wanted *wanted)
{
	Set		   *set = set_read(wanted->data, wanted->limit, 0);
	struct dirent **names;
	int			n;

	if (set)
	{
		run_set(*settings, wanted, set);
		return;
	}
	n = scandir(wanted->data, &names, NULL, alphasort);
	for (int i = 0; i < n; i++)
	{
		char		path[700];

		snprintf(path, sizeof(path), "%s/%s", wanted->data, names[i]->d_name);
		if (names[i]->d_name[0] != '.' && is_wanted(wanted, names[i]->d_name))
			run_set(*settings, wanted, set_read(path, wanted->limit, 0));
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

static const SyncCount *
map_syncs(const char *path)
{
	int			fd = open(path, O_RDONLY | O_CLOEXEC);
	void	   *map = fd >= 0 ? mmap(NULL, sizeof(SyncCount), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (map == MAP_FAILED)
		die("could not read \"%s\"", path);
	close(fd);
	return (const SyncCount *) map;
}

int
main(int argc, char **argv)
{
	Settings	settings = {.m = 16, .ef_construction = 200, .rounds = 3, .queries = 1000,
		.inserts = 1000, .clients = 4, .seconds = 0.5, .command = "",
		.engines = {{"vectron", "ours", "vectron", "vectron", "vectron.ef_search", true, false, ""},
					{"pgvector", "rival", "vector", "hnsw", "hnsw.ef_search", false, false, ""}}};
	Wanted		wanted = {0};
	bool		any = false;

	for (int i = 1; i < argc; i++)
	{
		const char *arg = argv[i];
		const char *value;

		if (strcmp(arg, "search") == 0)
			any = wanted.search = true;
		else if (strcmp(arg, "copy") == 0)
			any = wanted.copy = true;
		else if (strcmp(arg, "insert") == 0)
			any = wanted.insert = true;
		else if (strcmp(arg, "--tmpfs") == 0)
			settings.tmpfs = true;
		else if (i + 1 == argc)
			die("%s: unknown, or without its value", arg);
		else
		{
			value = argv[++i];
			if (strcmp(arg, "--host") == 0)
				settings.host = value;
			else if (strcmp(arg, "--root") == 0)
				settings.root = value;
			else if (strcmp(arg, "--place") == 0)
				settings.data = value;
			else if (strcmp(arg, "--data") == 0)
				wanted.data = value;
			else if (strcmp(arg, "--set") == 0)
				wanted.set = value;
			else if (strcmp(arg, "--demo") == 0)
				wanted.demo = value;
			else if (strcmp(arg, "--out") == 0)
				settings.out = value;
			else if (strcmp(arg, "--command") == 0)
				settings.command = value;
			else if (strcmp(arg, "--syncs") == 0)
				settings.syncs = map_syncs(value);
			else if (strcmp(arg, "--sync-us") == 0)
				settings.sync_us = (uint32_t) atoi(value);
			else if (strcmp(arg, "--m") == 0)
				settings.m = (uint32_t) atoi(value);
			else if (strcmp(arg, "--efc") == 0)
				settings.ef_construction = (uint32_t) atoi(value);
			else if (strcmp(arg, "--rounds") == 0)
				settings.rounds = (uint32_t) atoi(value);
			else if (strcmp(arg, "--queries") == 0)
				settings.queries = (uint32_t) atoi(value);
			else if (strcmp(arg, "--inserts") == 0)
				settings.inserts = (uint32_t) atoi(value);
			else if (strcmp(arg, "--clients") == 0)
				settings.clients = (uint32_t) atoi(value);
			else if (strcmp(arg, "--limit") == 0)
				wanted.limit = (uint32_t) atoi(value);
			else if (strcmp(arg, "--seconds") == 0)
				settings.seconds = atof(value);
			else
				die("unrecognized option %s", arg);
		}
	}
	if (!settings.host || !settings.root || !settings.data)
		die("--host, --root and --place are needed");
	if (settings.rounds < 1 || settings.rounds > MAX_ROUNDS || settings.queries < 1 || settings.seconds <= 0)
		die("rounds are 1 to %d, queries and seconds more than 0", MAX_ROUNDS);
	if (settings.clients < 1 || settings.clients > MAX_CLIENTS)
		die("--clients is 1 to %d", MAX_CLIENTS);
	if (!any)
		wanted.search = wanted.copy = wanted.insert = true;

	db_prepare(&settings);
	if (!settings.engines[0].present)
		die("the server has no vectron");
	report_machine(&settings);
	if (wanted.demo && is_wanted(&wanted, "demo-films"))
		run_set(settings, &wanted, set_demo(wanted.demo));
	if (is_wanted(&wanted, "generated"))
		run_set(settings, &wanted, set_generate("generated", VEC_L2, 128, 20000, 1000, 1));
	if (wanted.data)
		run_folder(&settings, &wanted);
	return 0;
}
