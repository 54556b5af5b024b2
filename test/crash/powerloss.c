/*-------------------------------------------------------------------------
 *
 * powerloss.c
 *	  A preloaded library that knows what a power loss would leave.
 *
 * kill -9 tests no sync: what a process wrote stays in the page cache.  With
 * this library preloaded, each fsync and fdatasync of a file is noted, with the
 * file's length, in the folder VECTRON_POWERLOSS.  After the processes were
 * killed, the test cuts every file of theirs back to what was synced, or to a
 * random point between that and what was written (test/perl/PowerLoss.pm).
 *
 * It also shows the processes another boot id: VECTRON_BOOT_ID_FILE instead of
 * the kernel's, since after a power loss the machine boots.
 *
 *	   <hash of path>	"<length> <path>\n"
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int			fsync(int fd);
int			fdatasync(int fd);
int			rename(const char *from, const char *to);
int			unlink(const char *path);
int			open(const char *path, int flags,...);
int			open64(const char *path, int flags,...);

static void *
real(const char *name)
{
	void	   *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

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
	((int (*) (const char *, const char *)) real("rename")) (temporary, name);
}

static void
synced(int fd)
{
	char		link[64];
	char		path[4096];
	struct stat st;
	ssize_t		n;

	if (!getenv("VECTRON_POWERLOSS") || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return;
	path[n] = '\0';
	note(path, (long long) st.st_size);
}

int
fsync(int fd)
{
	int			rc = ((int (*) (int)) real("fsync")) (fd);

	if (rc == 0)
		synced(fd);
	return rc;
}

int
fdatasync(int fd)
{
	int			rc = ((int (*) (int)) real("fdatasync")) (fd);

	if (rc == 0)
		synced(fd);
	return rc;
}

int
rename(const char *from, const char *to)
{
	char		old_path[4096];
	char		path[4096];
	char		name[4096];
	long long	length = 0;
	FILE	   *file = NULL;
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
	rc = ((int (*) (const char *, const char *)) real("rename")) (from, to);
	if (rc == 0 && file && realpath(to, path))
	{
		note(path, length);
		((int (*) (const char *)) real("unlink")) (name);
	}
	return rc;
}

int
unlink(const char *path)
{
	char		full[4096];
	char		name[4096];

	if (getenv("VECTRON_POWERLOSS") && realpath(path, full))
	{
		note_name(name, sizeof(name), full);
		((int (*) (const char *)) real("unlink")) (name);
	}
	return ((int (*) (const char *)) real("unlink")) (path);
}

static const char *
boot_id_instead(const char *path)
{
	const char *other = getenv("VECTRON_BOOT_ID_FILE");

	return other && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0 ? other : path;
}

int
open(const char *path, int flags,...)
{
	mode_t		mode = 0;
	va_list		args;

	va_start(args, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = (mode_t) va_arg(args, int);
	va_end(args);
	return ((int (*) (const char *, int, mode_t)) real("open")) (boot_id_instead(path), flags, mode);
}

int
open64(const char *path, int flags,...)
{
	mode_t		mode = 0;
	va_list		args;

	va_start(args, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = (mode_t) va_arg(args, int);
	va_end(args);
	return ((int (*) (const char *, int, mode_t)) real("open64")) (boot_id_instead(path), flags, mode);
}
