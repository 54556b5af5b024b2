/*-------------------------------------------------------------------------
 *
 * machine.c
 *	  How much memory there is: of the machine, and of the cgroups around us.
 *
 * A container sees its own cgroup as the root of what is mounted, while /proc/self/cgroup
 * may name it as the host does.  So every folder on the way from that name up to the
 * root is looked at, those that are not there say nothing, and the least counts.
 *
 *-------------------------------------------------------------------------
 */
#include "base/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 4096

/* A file with a number in it; UINT64_MAX: none, or no bound ("max"). */
static uint64_t
read_bound(const char *root, const char *mount, const char *group, const char *name)
{
	char		path[PATH_SIZE];
	uint64_t	bound;
	FILE	   *file;
	int			n = snprintf(path, sizeof(path), "%s%s%s/%s", root, mount, group, name);

	file = n > 0 && n < (int) sizeof(path) ? fopen(path, "re") : NULL;
	if (!file)
		return UINT64_MAX;
	if (fscanf(file, "%" SCNu64, &bound) != 1)
		bound = UINT64_MAX;
	fclose(file);
	return bound;
}

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Of a group and all above it; group is eaten up. */
static uint64_t
least_above(const char *root, bool second, char *group)
{
	uint64_t	bound = UINT64_MAX;

	for (;;)
	{
		char	   *slash;

		if (second)
		{
			bound = least(bound, read_bound(root, "/sys/fs/cgroup", group, "memory.max"));
			bound = least(bound, read_bound(root, "/sys/fs/cgroup", group, "memory.high"));
		}
		else
			bound = least(bound, read_bound(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"));
		slash = strrchr(group, '/');
		if (!slash)
			return bound;
		*slash = '\0';
	}
}

/* Is memory among these controllers, "cpu,memory"? */
static bool
has_memory(const char *controllers)
{
	const char *at = strstr(controllers, "memory");

	return at && (at == controllers || at[-1] == ',') && (at[6] == '\0' || at[6] == ',');
}

/* Lines "number:controllers:path"; version 2 is number 0, and names none. */
static uint64_t
cgroup_bound(const char *root)
{
	char		path[PATH_SIZE];
	char		line[PATH_SIZE];
	uint64_t	bound = UINT64_MAX;
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
	{
		char	   *controllers = strchr(line, ':');
		char	   *group = controllers ? strchr(controllers + 1, ':') : NULL;
		bool		second;

		if (!group)
			continue;
		*controllers++ = '\0';
		*group++ = '\0';
		group[strcspn(group, "\n")] = '\0';
		second = controllers[0] == '\0';
		if (second || has_memory(controllers))
			bound = least(bound, least_above(root, second, group));
	}
	if (file)
		fclose(file);
	return bound;
}

static uint64_t
whole_memory(const char *root)
{
	char		path[PATH_SIZE];
	char		line[256];
	uint64_t	kib = 0;
	FILE	   *file;

	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	file = fopen(path, "re");
	while (file && kib == 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemTotal: %" SCNu64 " kB", &kib) != 1)
			kib = 0;
	if (file)
		fclose(file);
	return kib << 10;
}

MachineMemory
machine_memory(const char *root)
{
	uint64_t	whole = whole_memory(root);
	uint64_t	bound = cgroup_bound(root);

	if (bound != UINT64_MAX && (whole == 0 || bound < whole))
		return (MachineMemory) {bound, "its cgroup"};
	return (MachineMemory) {whole, "the machine"};
}

uint64_t
machine_resident(void)
{
	uint64_t	resident;
	uint64_t	shared;
	FILE	   *file = fopen("/proc/self/statm", "re");
	bool		known = file && fscanf(file, "%*s %" SCNu64 " %" SCNu64, &resident, &shared) == 2;

	if (file)
		fclose(file);
	return known && resident > shared ? (resident - shared) * (uint64_t) sysconf(_SC_PAGESIZE) : 0;
}
