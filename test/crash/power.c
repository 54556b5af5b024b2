/*-------------------------------------------------------------------------
 *
 * power.c
 *	  What a power loss would leave.
 *
 * kill -9 tests no sync: what a process wrote stays in the page cache.  So each
 * fsync and fdatasync of a file is noted, with the file's length, in the folder
 * VECTRON_POWERLOSS.  After the processes were killed, the test cuts every file of
 * theirs back to what was synced, or to a random point between that and what was
 * written (test/perl/PowerLoss.pm).
 *
 *	   <hash of path>	"<length> <path>\n"
 *
 * Since a machine boots after a power loss, processes are shown another boot id:
 * VECTRON_BOOT_ID_FILE instead of the kernel's.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "layer.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void
note_name(char *out, size_t size, const char *path)
{
	uint64_t	hash = UINT64_C(14695981039346656037);

	for (const char *p = path; *p; p++)
		hash = (hash ^ (unsigned char) *p) * UINT64_C(1099511628211);
	snprintf(out, size, "%s/%016llx", getenv("VECTRON_POWERLOSS"), (unsigned long long) hash);
}

static void
note(const char *path, long long length)
{
	char		name[4096];
	char		temporary[4160];
	FILE	   *file;

	note_name(name, sizeof(name), path);
	snprintf(temporary, sizeof(temporary), "%s.%d.%lx", name, (int) getpid(), (unsigned long) pthread_self());
	file = fopen(temporary, "w");
	if (!file)
		abort();
	fprintf(file, "%lld %s\n", length, path);
	fclose(file);
	REAL(int, "rename", (const char *, const char *)) (temporary, name);
}

void
power_synced(int fd)
{
	char		path[4096];
	long long	length;

	if (getenv("VECTRON_POWERLOSS") && layer_path(fd, path, &length))
		note(path, length);
}

/* What was synced in a folder is so under its new name. */
static void
carry_notes(const char *from, const char *to)
{
	DIR		   *dir = opendir(getenv("VECTRON_POWERLOSS"));
	size_t		n = strlen(from);
	struct dirent *entry;

	if (!dir)
		abort();
	while ((entry = readdir(dir)) != NULL)
	{
		char		name[4400];
		char		path[4096];
		char		moved[8200];
		long long	length;
		FILE	   *file;
		bool		inside;

		snprintf(name, sizeof(name), "%s/%s", getenv("VECTRON_POWERLOSS"), entry->d_name);
		if (strchr(entry->d_name, '.') || (file = fopen(name, "r")) == NULL)
			continue;
		inside = fscanf(file, "%lld %4095[^\n]", &length, path) == 2 && strncmp(path, from, n) == 0 && path[n] == '/';
		fclose(file);
		if (!inside)
			continue;
		snprintf(moved, sizeof(moved), "%s%s", to, path + n);
		note(moved, length);
		REAL(int, "unlink", (const char *)) (name);
	}
	closedir(dir);
}

int
power_rename(const char *from, const char *to)
{
	char		old_path[4096];
	char		path[4096];
	char		name[4096];
	long long	length = 0;
	FILE	   *file = NULL;
	struct stat st;
	int			rc;

	if (getenv("VECTRON_POWERLOSS") && realpath(from, old_path))
	{
		note_name(name, sizeof(name), old_path);
		file = fopen(name, "r");
		if (file && fscanf(file, "%lld", &length) != 1)
			length = 0;
		if (file)
			fclose(file);
	}
	rc = REAL(int, "rename", (const char *, const char *)) (from, to);
	if (rc == 0 && file && realpath(to, path))
	{
		note(path, length);
		REAL(int, "unlink", (const char *)) (name);
	}
	else if (rc == 0 && getenv("VECTRON_POWERLOSS") && realpath(to, path) && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		carry_notes(old_path, path);
	return rc;
}

void
power_unlink(const char *path)
{
	char		full[4096];
	char		name[4096];

	if (getenv("VECTRON_POWERLOSS") && realpath(path, full))
	{
		note_name(name, sizeof(name), full);
		REAL(int, "unlink", (const char *)) (name);
	}
}

const char *
power_boot_id(const char *path)
{
	const char *other = getenv("VECTRON_BOOT_ID_FILE");

	return other && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0 ? other : path;
}
