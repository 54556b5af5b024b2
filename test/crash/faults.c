/*-------------------------------------------------------------------------
 *
 * faults.c
 *	  A disk that is slow, hangs or is full, and single writes and reads that fail.
 *
 * The test writes what is wrong into the file VECTRON_FAULTS, a struct Faults, which
 * is mapped, so that a running process feels it at once.
 *
 * The next write to a file whose path contains the text in VECTRON_FAIL_WRITE_FILE
 * fails with ENOSPC, and that file is removed, so that the writes after it succeed
 * again.  While there is a file VECTRON_FAIL_READ_FILE, every pread of a file whose
 * path contains the text in it fails with EIO.
 *
 * The next write of the text in VECTRON_INTERRUPT_WRITE_FILE, to whatever file, comes with a SIGINT
 * for the process that makes it, and that file is removed.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "layer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const volatile Faults none;
const volatile Faults *layer_faults = &none;
static const char *disk = "";

__attribute__((constructor))
static void
begin(void)
{
	const char *path = getenv("VECTRON_FAULTS");
	int			fd = path ? REAL(int, "open", (const char *, int,...)) (path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *at;

	if (!path)
		return;
	at = mmap(NULL, sizeof(Faults), PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		abort();
	close(fd);
	layer_faults = at;
	disk = getenv("VECTRON_FAULTS_DISK") ? getenv("VECTRON_FAULTS_DISK") : "";
}

void
faults_slow_sync(void)
{
	if (layer_faults->sync_us > 0)
		usleep((useconds_t) layer_faults->sync_us);
	while (layer_faults->hang)
		usleep(10000);
}

static bool
is_full(const char *path)
{
	size_t		n = strlen(disk);

	return layer_faults->full && n > 0 && strncmp(path, disk, n) == 0;
}

/* A file or folder is to be made, unless it is there: is there no room? */
bool
faults_make(const char *path)
{
	return is_full(path) && access(path, F_OK) != 0;
}

/* Does the file of this name hold a part of the path of an open one? */
static bool
is_named(const char *name, int fd)
{
	char		path[4096];
	char		text[256];
	long long	length;
	FILE	   *file;
	bool		named;

	if (!name || access(name, F_OK) != 0 || !layer_path(fd, path, &length) || !(file = fopen(name, "r")))
		return false;
	named = fgets(text, sizeof(text), file) != NULL && strstr(path, text) != NULL;
	fclose(file);
	return named;
}

bool
faults_write(int fd)
{
	const char *name = getenv("VECTRON_FAIL_WRITE_FILE");
	char		path[4096];
	long long	length;

	if (layer_faults->full && layer_path(fd, path, &length) && is_full(path))
		return true;
	return is_named(name, fd) && REAL(int, "unlink", (const char *)) (name) == 0;
}

bool
faults_read(int fd)
{
	return is_named(getenv("VECTRON_FAIL_READ_FILE"), fd);
}

void
faults_interrupt(const void *data, size_t n)
{
	const char *name = getenv("VECTRON_INTERRUPT_WRITE_FILE");
	char		text[256];
	FILE	   *file;
	bool		named;

	if (!name || access(name, F_OK) != 0 || !(file = fopen(name, "r")))
		return;
	named = fgets(text, sizeof(text), file) != NULL && memmem(data, n, text, strlen(text)) != NULL;
	fclose(file);
	if (named && REAL(int, "unlink", (const char *)) (name) == 0)
		raise(SIGINT);
}
