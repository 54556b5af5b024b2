/*-------------------------------------------------------------------------
 *
 * power.c
 *	  What a power loss would leave.
 *
 * kill -9 tests no sync: what a process wrote stays in the page cache.  So each
 * fsync and fdatasync of a file is noted, with the file's length, in the folder
 * VECTRON_POWERLOSS.  After the processes were killed, the test cuts every file of
 * theirs back to what was synced, or to a random point between that and what was
 * written (test/perl/PowerLoss.pm), after it took back names (names.c).
 *
 *	   synced/<device-inode>	"<length>\n"
 *
 * Whatever name the file has by then.  A new one, or one that was emptied, has none.
 *
 * Since a machine boots after a power loss, processes are shown another boot id:
 * VECTRON_BOOT_ID_FILE instead of the kernel's.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "layer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void
note_name(char *out, size_t size, const struct stat *st)
{
	char		key[40];

	power_file_key(key, st);
	snprintf(out, size, "%s/synced/%s", getenv("VECTRON_POWERLOSS"), key);
}

static void
note_length(const struct stat *st)
{
	char		name[4096];
	char		temporary[4160];
	FILE	   *file;

	note_name(name, sizeof(name), st);
	snprintf(temporary, sizeof(temporary), "%s.%d.%lx", name, (int) getpid(), (unsigned long) pthread_self());
	file = fopen(temporary, "w");
	if (!file)
		abort();
	fprintf(file, "%lld\n", (long long) st->st_size);
	fclose(file);
	REAL(int, "rename", (const char *, const char *)) (temporary, name);
}

/* What is written or renamed while it is being synced may be durable or not: it is not. */
void
power_before_sync(PowerSync *out, int fd)
{
	out->asked = getenv("VECTRON_POWERLOSS") && fstat(fd, &out->file) == 0;
	if (out->asked && S_ISDIR(out->file.st_mode))
		out->names = names_end();
}

void
power_synced(const PowerSync *begun)
{
	if (begun->asked && S_ISDIR(begun->file.st_mode))
		names_synced(&begun->file, begun->names);
	else if (begun->asked && S_ISREG(begun->file.st_mode))
		note_length(&begun->file);
}

void
power_nothing_synced(int fd)
{
	char		name[4096];
	struct stat st;

	if (fstat(fd, &st) == 0)
	{
		note_name(name, sizeof(name), &st);
		REAL(int, "unlink", (const char *)) (name);
	}
}

const char *
power_boot_id(const char *path)
{
	const char *other = getenv("VECTRON_BOOT_ID_FILE");

	return other && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0 ? other : path;
}
