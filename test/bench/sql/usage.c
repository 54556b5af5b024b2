/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  What the servers cost: processor time, memory, syncs.
 *
 * The processes are those whose program lies below the private installation.
 * Processor time of backends that have ended is in the postmaster's account of
 * its children.  Memory is the proportional set: a page that n processes share
 * counts as 1/n with each, so shared buffers are counted once.
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"

static bool
program_of(const Settings *settings, const char *pid, Program *out)
{
	char		path[300];
	char		exe[600];
	const char *name;
	ssize_t		n;

	snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	n = readlink(path, exe, sizeof(exe) - 1);
	if (n <= 0)
		return false;
	exe[n] = '\0';
	name = strrchr(exe, '/') + 1;
	if (strncmp(exe, settings->root, strlen(settings->root)) != 0)
		return false;
	*out = strcmp(name, "vectron-worker") == 0 ? PROGRAM_WORKER :
		strcmp(name, "vectron-pd") == 0 ? PROGRAM_PD : PROGRAM_POSTGRES;
	return strcmp(name, "postgres") == 0 || *out != PROGRAM_POSTGRES;
}

static double
cpu_of(const char *pid)
{
	char		path[300];
	char		line[1000];
	unsigned long own[2];
	long		children[2];
	double		cpu = 0;
	char	   *after;
	FILE	   *in;

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	in = fopen(path, "r");
	if (in == NULL)
		return 0;
	if (fgets(line, sizeof(line), in) && (after = strrchr(line, ')')) != NULL &&
		sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &own[0],
			   &own[1], &children[0], &children[1]) == 4)
		cpu = (double) (own[0] + own[1]) + (double) (children[0] + children[1]);
	fclose(in);
	return cpu / (double) sysconf(_SC_CLK_TCK);
}

static double
memory_of(const char *pid)
{
	char		path[300];
	char		line[200];
	double		kb = 0;
	FILE	   *in;

	snprintf(path, sizeof(path), "/proc/%s/smaps_rollup", pid);
	in = fopen(path, "r");
	while (in && fgets(line, sizeof(line), in))
		if (sscanf(line, "Pss: %lf", &kb) == 1)
			break;
	if (in)
		fclose(in);
	return kb * 1024;
}

void
usage_take(const Settings *settings, Usage *out)
{
	DIR		   *dir = opendir("/proc");
	struct dirent *entry;
	struct rusage self;
	Program		program;

	memset(out, 0, sizeof(*out));
	while (dir && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9' &&
			program_of(settings, entry->d_name, &program))
		{
			out->cpu_s[program] += cpu_of(entry->d_name);
			out->memory[program] += memory_of(entry->d_name);
		}
	if (dir)
		closedir(dir);
	getrusage(RUSAGE_SELF, &self);
	out->client_cpu_s = (double) (self.ru_utime.tv_sec + self.ru_stime.tv_sec) +
		(double) (self.ru_utime.tv_usec + self.ru_stime.tv_usec) / 1e6;
	if (settings->syncs)
		out->syncs = *(const volatile SyncCount *) settings->syncs;
}

void
usage_add(Usage *sum, const Usage *before, const Usage *after)
{
	for (int p = 0; p < PROGRAMS; p++)
	{
		sum->cpu_s[p] += after->cpu_s[p] - before->cpu_s[p];
		sum->memory[p] = after->memory[p];
	}
	sum->client_cpu_s += after->client_cpu_s - before->client_cpu_s;
	sum->syncs.calls += after->syncs.calls - before->syncs.calls;
	for (int i = 0; i < SYNC_CLASSES; i++)
		sum->syncs.classes[i] += after->syncs.classes[i] - before->syncs.classes[i];
}

double
usage_server_cpu(const Usage *usage)
{
	return usage->cpu_s[PROGRAM_POSTGRES] + usage->cpu_s[PROGRAM_WORKER] + usage->cpu_s[PROGRAM_PD];
}

uint64_t
usage_syncs(const Usage *usage)
{
	return usage->syncs.calls;
}

double
usage_sync_us(const Usage *usage, double quantile)
{
	double		left = quantile * (double) usage->syncs.calls;
	double		us = 1;

	for (int i = 0; i < SYNC_CLASSES; i++)
	{
		us *= 1.189207115002721;	/* the upper end of the class */
		left -= (double) usage->syncs.classes[i];
		if (left <= 0)
			break;
	}
	return usage->syncs.calls ? us : 0;
}
