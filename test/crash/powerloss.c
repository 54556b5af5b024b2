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
 * And it can make one write fail, as on a full disk: the next write to a file
 * whose path contains the text in VECTRON_FAIL_WRITE_FILE fails with ENOSPC, and
 * the file is removed, so that the writes after it succeed again.  While there
 * is a file VECTRON_FAIL_READ_FILE, every pread of a file whose path contains the
 * text in it fails with EIO.
 *
 * Memory is short in libraries whose name contains VECTRON_FAIL_ALLOC_IN: while
 * there is a file VECTRON_FAIL_ALLOC_FILE with a number n, the n-th allocation
 * that a process makes from such a library, from then on, fails, once.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t		write(int fd, const void *data, size_t n);
int			fsync(int fd);
int			fdatasync(int fd);
int			rename(const char *from, const char *to);
int			unlink(const char *path);
ssize_t		pread(int fd, void *data, size_t n, off_t at);
ssize_t		pread64(int fd, void *data, size_t n, off64_t at);

/* glibc's own, under the names that are not interposed */
void	   *__libc_malloc(size_t size);
void	   *__libc_calloc(size_t n, size_t size);
void	   *__libc_realloc(void *p, size_t size);
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

/* The path of an open regular file; false if it is something else. */
static bool
path_of(int fd, char path[4096], long long *length)
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

static void
synced(int fd)
{
	char		path[4096];
	long long	length;

	if (getenv("VECTRON_POWERLOSS") && path_of(fd, path, &length))
		note(path, length);
}

/* Is this the write that has to fail? */
static bool
write_fails(int fd)
{
	const char *name = getenv("VECTRON_FAIL_WRITE_FILE");
	char		path[4096];
	char		text[256];
	long long	length;
	FILE	   *file;
	bool		fails;

	if (!name || access(name, F_OK) != 0 || !path_of(fd, path, &length) || !(file = fopen(name, "r")))
		return false;
	fails = fgets(text, sizeof(text), file) != NULL && strstr(path, text) != NULL;
	fclose(file);
	return fails && ((int (*) (const char *)) real("unlink")) (name) == 0;
}

ssize_t
write(int fd, const void *data, size_t n)
{
	if (write_fails(fd))
	{
		errno = ENOSPC;
		return -1;
	}
	return ((ssize_t (*) (int, const void *, size_t)) real("write")) (fd, data, n);
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

static bool
read_fails(int fd)
{
	const char *name = getenv("VECTRON_FAIL_READ_FILE");
	char		path[4096];
	char		text[256];
	long long	length;
	FILE	   *file;
	bool		fails;

	if (!name || access(name, F_OK) != 0 || !path_of(fd, path, &length) || !(file = fopen(name, "r")))
		return false;
	fails = fgets(text, sizeof(text), file) != NULL && strstr(path, text) != NULL;
	fclose(file);
	return fails;
}

ssize_t
pread(int fd, void *data, size_t n, off_t at)
{
	if (read_fails(fd))
	{
		errno = EIO;
		return -1;
	}
	return ((ssize_t (*) (int, void *, size_t, off_t)) real("pread")) (fd, data, n, at);
}

ssize_t
pread64(int fd, void *data, size_t n, off64_t at)
{
	if (read_fails(fd))
	{
		errno = EIO;
		return -1;
	}
	return ((ssize_t (*) (int, void *, size_t, off64_t)) real("pread64")) (fd, data, n, at);
}

/* Is this the allocation that has to fail?  Allocates nothing itself. */
static bool
alloc_fails(const void *caller)
{
	static long count;
	const char *library = getenv("VECTRON_FAIL_ALLOC_IN");
	const char *name = getenv("VECTRON_FAIL_ALLOC_FILE");
	char		text[32] = "";
	Dl_info		info;
	int			fd;
	ssize_t		n;

	if (!library || !name || access(name, F_OK) != 0 || !dladdr(caller, &info) || !strstr(info.dli_fname, library))
		return false;
	fd = ((int (*) (const char *, int, mode_t)) real("open")) (name, O_RDONLY, 0);
	n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
	if (fd >= 0)
		close(fd);
	return n > 0 && ++count == atol(text);
}

void *
malloc(size_t size)
{
	return alloc_fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return alloc_fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t size)
{
	return alloc_fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, size);
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
