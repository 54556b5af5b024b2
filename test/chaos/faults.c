/*-------------------------------------------------------------------------
 *
 * faults.c
 *	  A preloaded library: a disk that is slow or full, a wall clock that jumps.
 *
 * The test writes what is wrong into the file VECTRON_FAULTS, which is mapped, so
 * that a running process feels it at once.  A struct Faults, all of 64 bits:
 *
 *		sync_us		each fsync and fdatasync takes this much longer
 *		full		what would take room under VECTRON_FAULTS_DISK fails with ENOSPC
 *		low			statvfs says that no room is left
 *		wall_us		added to the wall clock
 *
 * A wait until a moment of the wall clock ends when that clock, as shown, has come
 * there, as in a kernel whose clock is set.
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef struct Faults
{
	int64_t		sync_us;
	int64_t		full;
	int64_t		low;
	int64_t		wall_us;
} Faults;

/* Before this no test runs: smaller moments are not of the wall clock. */
#define WALL_BEGIN 1000000000
#define SLICE_NS 50000000

static const volatile Faults none;
static const volatile Faults *faults = &none;
static const char *disk = "";

/* The function that is found without us. */
#define REAL(type, name, args) ({ \
	static type (*function) args; \
	if (!function) \
		function = (type (*) args) real(name); \
	function; })

ssize_t		write(int fd, const void *data, size_t n);
int			fsync(int fd);
int			fdatasync(int fd);
int			open(const char *path, int flags,...);
int			open64(const char *path, int flags,...);
int			mkdir(const char *path, mode_t mode);
int			statvfs(const char *path, struct statvfs *out);
int			clock_gettime(clockid_t clock, struct timespec *out);
int			gettimeofday(struct timeval *out, void *zone);
time_t		time(time_t *out);
int			pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until);

static void *
real(const char *name)
{
	void	   *f = dlsym(RTLD_NEXT, name);

	if (!f)
		abort();
	return f;
}

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
	faults = at;
	disk = getenv("VECTRON_FAULTS_DISK") ? getenv("VECTRON_FAULTS_DISK") : "";
}

/* -- The disk ------------------------------------------------------------------------ */

static bool
is_full(const char *path)
{
	size_t		n = strlen(disk);

	return faults->full && n > 0 && strncmp(path, disk, n) == 0;
}

ssize_t
write(int fd, const void *data, size_t n)
{
	if (faults->full)
	{
		char		link[64];
		char		path[4096];
		ssize_t		len;

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		len = readlink(link, path, sizeof(path) - 1);
		path[len > 0 ? len : 0] = '\0';
		if (is_full(path))
		{
			errno = ENOSPC;
			return -1;
		}
	}
	return REAL(ssize_t, "write", (int, const void *, size_t)) (fd, data, n);
}

static void
be_slow(void)
{
	if (faults->sync_us > 0)
		usleep((useconds_t) faults->sync_us);
}

int
fsync(int fd)
{
	be_slow();
	return REAL(int, "fsync", (int)) (fd);
}

int
fdatasync(int fd)
{
	be_slow();
	return REAL(int, "fdatasync", (int)) (fd);
}

/* May a file be opened: one that is there, or a new one? */
static bool
no_room(const char *path, int flags)
{
	if ((flags & O_CREAT) == 0 || !is_full(path) || access(path, F_OK) == 0)
		return false;
	errno = ENOSPC;
	return true;
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
	if (no_room(path, flags))
		return -1;
	return REAL(int, "open", (const char *, int, mode_t)) (path, flags, mode);
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
	if (no_room(path, flags))
		return -1;
	return REAL(int, "open64", (const char *, int, mode_t)) (path, flags, mode);
}

int
mkdir(const char *path, mode_t mode)
{
	if (is_full(path) && access(path, F_OK) != 0)
	{
		errno = ENOSPC;
		return -1;
	}
	return REAL(int, "mkdir", (const char *, mode_t)) (path, mode);
}

int
statvfs(const char *path, struct statvfs *out)
{
	int			rc = REAL(int, "statvfs", (const char *, struct statvfs *)) (path, out);

	if (rc == 0 && (faults->low || faults->full))
		out->f_bavail = 0;
	return rc;
}

/* -- The wall clock ---------------------------------------------------------------------- */

static void
shift(struct timespec *t, int64_t us)
{
	int64_t		ns = t->tv_nsec + us % 1000000 * 1000;

	t->tv_sec += us / 1000000 + ns / 1000000000 - (ns < 0 ? 1 : 0);
	t->tv_nsec = (ns % 1000000000 + 1000000000) % 1000000000;
}

int
clock_gettime(clockid_t clock, struct timespec *out)
{
	int			rc = REAL(int, "clock_gettime", (clockid_t, struct timespec *)) (clock, out);

	if (rc == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		shift(out, faults->wall_us);
	return rc;
}

int
gettimeofday(struct timeval *out, void *zone)
{
	struct timespec now;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &now);
	out->tv_sec = now.tv_sec;
	out->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *out)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}

static bool
is_past(const struct timespec *moment)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec > moment->tv_sec || (now.tv_sec == moment->tv_sec && now.tv_nsec >= moment->tv_nsec);
}

int
pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until)
{
	static int	(*wait) (pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

	if (!wait)
		wait = (int (*) (pthread_cond_t *, pthread_mutex_t *, const struct timespec *))
			dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
	if (until->tv_sec < WALL_BEGIN)
		return wait(cond, lock, until);
	for (;;)
	{
		struct timespec slice;
		int			rc;

		/* A moment of the kernel's clock, soon. */
		REAL(int, "clock_gettime", (clockid_t, struct timespec *)) (CLOCK_REALTIME, &slice);
		shift(&slice, SLICE_NS / 1000);
		rc = wait(cond, lock, &slice);
		if (rc != ETIMEDOUT || is_past(until))
			return rc;
	}
}
