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

/* What is noted of a path: false, nothing of it was synced. */
static bool
noted(const char *name, long long *length, char path[4096])
{
	FILE	   *file = fopen(name, "r");
	bool		good = file && fscanf(file, "%lld %4095[^\n]", length, path) == 2;

	if (file)
		fclose(file);
	return good;
}

/* Of all that is in a folder: it is so under another name, too; or, with NULL, nothing is noted any more. */
static void
each_note(const char *folder, const char *other)
{
	DIR		   *dir = opendir(getenv("VECTRON_POWERLOSS"));
	size_t		n = strlen(folder);
	struct dirent *entry;

	if (!dir)
		abort();
	while ((entry = readdir(dir)) != NULL)
	{
		char		name[4400];
		char		path[4096];
		char		moved[8200];
		long long	length;

		snprintf(name, sizeof(name), "%s/%s", getenv("VECTRON_POWERLOSS"), entry->d_name);
		if (strchr(entry->d_name, '.') || !noted(name, &length, path) || strncmp(path, folder, n) != 0 || path[n] != '/')
			continue;
		snprintf(moved, sizeof(moved), "%s%s", other ? other : "", path + n);
		if (other)
			note(moved, length);
		else
			REAL(int, "unlink", (const char *)) (name);
	}
	closedir(dir);
}

/* The path that a name will have, of which all but the last part is there. */
static bool
path_to_be(const char *name, char out[4096])
{
	const char *last = strrchr(name, '/');
	char		folder[4096];
	char		real[4096];

	snprintf(folder, sizeof(folder), "%.*s", last ? (int) (last - name) + 1 : 1, last ? name : ".");
	return realpath(folder, real) && snprintf(out, 4096, "%s/%s", strcmp(real, "/") == 0 ? "" : real, last ? last + 1 : name) < 4096;
}

/*
 * What was synced is so under its new name.  A process may be killed at any moment: it is
 * noted before, and what is no longer so is forgotten afterwards.
 */
int
power_rename(const char *from, const char *to)
{
	char		old_path[4096];
	char		path[4096];
	char		ignored[4096];
	char		name[4096];
	char		new_name[4096];
	long long	length = 0;
	long long	before = 0;
	bool		synced;
	struct stat st;
	int			rc;

	if (!getenv("VECTRON_POWERLOSS") || !realpath(from, old_path) || !path_to_be(to, path) || stat(old_path, &st) < 0)
		return REAL(int, "rename", (const char *, const char *)) (from, to);
	if (S_ISDIR(st.st_mode))
	{
		each_note(old_path, path);
		rc = REAL(int, "rename", (const char *, const char *)) (from, to);
		each_note(rc == 0 ? old_path : path, NULL);
		return rc;
	}
	note_name(name, sizeof(name), old_path);
	note_name(new_name, sizeof(new_name), path);
	synced = noted(name, &length, ignored);
	if (synced && (!noted(new_name, &before, ignored) || before < length))
		note(path, length);
	rc = REAL(int, "rename", (const char *, const char *)) (from, to);
	if (rc == 0 && synced)
		note(path, length);
	if (rc == 0)
		REAL(int, "unlink", (const char *)) (synced ? name : new_name);
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
