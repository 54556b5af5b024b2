/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  What processes use, and what the disk gives.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#define PROBES 500

/* The number after a word at the beginning of a line; 0: there is none. */
static uint64_t
number_in(const char *path, const char *word)
{
	char		line[300];
	uint64_t	number = 0;
	FILE	   *in = fopen(path, "r");

	while (in && fgets(line, sizeof(line), in))
		if (strncmp(line, word, strlen(word)) == 0)
			number = strtoull(line + strlen(word), NULL, 10);
	if (in)
		fclose(in);
	return number;
}

static double
processor_of(int pid)
{
	char		path[100];
	char		line[1000];
	unsigned long own[2] = {0, 0};
	const char *after;
	FILE	   *in;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	in = fopen(path, "r");
	if (in && fgets(line, sizeof(line), in) && (after = strrchr(line, ')')) != NULL)
		(void) !sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &own[0], &own[1]);
	if (in)
		fclose(in);
	return (double) (own[0] + own[1]) / (double) sysconf(_SC_CLK_TCK);
}

Usage
usage_of(int pid)
{
	Usage		usage = {.seconds = processor_of(pid)};
	char		path[100];
	struct dirent *entry;
	DIR		   *tasks;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	usage.memory = number_in(path, "VmRSS:") * 1024;
	usage.memory_most = number_in(path, "VmHWM:") * 1024;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks)) != NULL)
	{
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/status", pid, entry->d_name);
		usage.switches += number_in(path, "voluntary_ctxt_switches:") + number_in(path, "nonvoluntary_ctxt_switches:");
	}
	if (tasks)
		closedir(tasks);
	return usage;
}

Usage
usage_of_all(const Bench *bench)
{
	Usage		all = usage_of(bench->pd_pid);

	for (uint32_t i = 1; i <= bench->workers; i++)
	{
		Usage		one = usage_of(bench->pids[i]);

		all.seconds += one.seconds;
		all.switches += one.switches;
		all.memory += one.memory;
	}
	return all;
}

void
disk_probe(Bench *bench, double *p50_us, double *p99_us)
{
	static uint8_t block[4096];
	int64_t		took[PROBES];
	char		path[300];
	int			fd;

	snprintf(path, sizeof(path), "%s/probe", bench->directory);
	fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
	for (int i = 0; i < PROBES; i++)
	{
		int64_t		begun = clock_now_us();

		if (fd < 0 || write(fd, block, sizeof(block)) != sizeof(block) || fdatasync(fd) != 0)
			give_up(bench, "could not write %s", path);
		took[i] = clock_now_us() - begun;
	}
	close(fd);
	unlink(path);
	sort_times(took, PROBES);
	*p50_us = ms_at(took, PROBES, 0.5) * 1000;
	*p99_us = ms_at(took, PROBES, 0.99) * 1000;
}
