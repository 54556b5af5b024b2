/*-------------------------------------------------------------------------
 *
 * layer.c
 *	  The functions for files that are found instead of libc's.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "layer.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

ssize_t		write(int fd, const void *data, size_t n);
ssize_t		pread(int fd, void *data, size_t n, off_t at);
ssize_t		pread64(int fd, void *data, size_t n, off64_t at);
int			fsync(int fd);
int			fdatasync(int fd);
int			rename(const char *from, const char *to);
int			unlink(const char *path);
int			open(const char *path, int flags,...);
int			open64(const char *path, int flags,...);
int			creat(const char *path, mode_t mode);
int			creat64(const char *path, mode_t mode);
int			mkdir(const char *path, mode_t mode);
int			rmdir(const char *path);
int			link(const char *from, const char *to);
int			statvfs(const char *path, struct statvfs *out);

void *
layer_real(const char *name)
{
	void	   *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

bool
layer_path(int fd, char path[4096], long long *length)
{
	char		link[64];
	struct stat st;
	ssize_t		n;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, 4095);
	if (n <= 0)
		return false;
	path[n] = '\0';
	*length = (long long) st.st_size;
	return true;
}

/* -- Reading and writing ------------------------------------------------------------- */

ssize_t
write(int fd, const void *data, size_t n)
{
	if (faults_write(fd))
	{
		errno = ENOSPC;
		return -1;
	}
	faults_interrupt(data, n);
	return REAL(ssize_t, "write", (int, const void *, size_t)) (fd, data, n);
}

ssize_t
pread(int fd, void *data, size_t n, off_t at)
{
	if (faults_read(fd))
	{
		errno = EIO;
		return -1;
	}
	return REAL(ssize_t, "pread", (int, void *, size_t, off_t)) (fd, data, n, at);
}

ssize_t
pread64(int fd, void *data, size_t n, off64_t at)
{
	if (faults_read(fd))
	{
		errno = EIO;
		return -1;
	}
	return REAL(ssize_t, "pread64", (int, void *, size_t, off64_t)) (fd, data, n, at);
}

static int
sync_file(int (*sync) (int), int fd)
{
	PowerSync	begun;
	int			rc;

	power_before_sync(&begun, fd);
	faults_slow_sync();
	rc = sync(fd);
	if (rc == 0)
		power_synced(&begun);
	return rc;
}

int
fsync(int fd)
{
	return sync_file(REAL(int, "fsync", (int)), fd);
}

int
fdatasync(int fd)
{
	return sync_file(REAL(int, "fdatasync", (int)), fd);
}

/* -- Names ----------------------------------------------------------------------------- */

int
rename(const char *from, const char *to)
{
	return names_rename(from, to);
}

int
unlink(const char *path)
{
	return names_unlink(path);
}

static int
open_file(int (*open_it) (const char *, int, mode_t), const char *path, int flags, va_list args)
{
	mode_t		mode = 0;

	if (flags & (O_CREAT | O_TMPFILE))
		mode = (mode_t) va_arg(args, int);
	if ((flags & O_CREAT) && faults_make(path))
	{
		errno = ENOSPC;
		return -1;
	}
	return names_open(open_it, power_boot_id(path), flags, mode);
}

int
open(const char *path, int flags,...)
{
	va_list		args;
	int			fd;

	va_start(args, flags);
	fd = open_file(REAL(int, "open", (const char *, int, mode_t)), path, flags, args);
	va_end(args);
	return fd;
}

int
open64(const char *path, int flags,...)
{
	va_list		args;
	int			fd;

	va_start(args, flags);
	fd = open_file(REAL(int, "open64", (const char *, int, mode_t)), path, flags, args);
	va_end(args);
	return fd;
}

int
creat(const char *path, mode_t mode)
{
	return open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int
creat64(const char *path, mode_t mode)
{
	return open64(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int
mkdir(const char *path, mode_t mode)
{
	if (faults_make(path))
	{
		errno = ENOSPC;
		return -1;
	}
	return names_mkdir(path, mode);
}

int
rmdir(const char *path)
{
	return names_rmdir(path);
}

int
link(const char *from, const char *to)
{
	return names_link(from, to);
}

int
statvfs(const char *path, struct statvfs *out)
{
	int			rc = REAL(int, "statvfs", (const char *, struct statvfs *)) (path, out);

	if (rc == 0 && (layer_faults->low || layer_faults->full))
		out->f_bavail = 0;
	return rc;
}
