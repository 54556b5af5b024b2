/*-------------------------------------------------------------------------
 *
 * sync_count.c
 *	  A preloaded library that counts and times fsync and fdatasync.
 *
 * All processes of a server add to one file, VECTRON_SYNC_COUNT, which the
 * benchmark maps too: syncs per commit and the latency of the disk come from
 * the run itself, at the cost of two clock readings each.
 *
 * VECTRON_SYNC_US makes each call take at least so long.  On tmpfs that stands
 * for a disk whose latency does not change from one minute to the next.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "sync_count.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int			fsync(int fd);
int			fdatasync(int fd);

static SyncCount *count;
static double least_us;
static int	(*real_fsync) (int);
static int	(*real_fdatasync) (int);

__attribute__((constructor))
static void
begin(void)
{
	const char *path = getenv("VECTRON_SYNC_COUNT");
	const char *least = getenv("VECTRON_SYNC_US");
	int			fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void	   *map = fd >= 0 ? mmap(NULL, sizeof(SyncCount), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) :
		MAP_FAILED;

	if (fd >= 0)
		close(fd);
	count = map == MAP_FAILED ? NULL : (SyncCount *) map;
	least_us = least ? atof(least) : 0;
	*(void **) &real_fsync = dlsym(RTLD_NEXT, "fsync");
	*(void **) &real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
}

static double
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}

static int
timed(int (*call) (int), int fd)
{
	double		from = now_us();
	int			rc = call(fd);
	double		us = now_us() - from;
	double		at;

	if (us < least_us)
	{
		struct timespec rest = {0, (long) ((least_us - us) * 1e3)};

		/* A sleep overshoots: the last part is waited for awake. */
		if (rest.tv_nsec > 100000)
		{
			rest.tv_nsec -= 100000;
			nanosleep(&rest, NULL);
		}
		while ((us = now_us() - from) < least_us)
			;
	}
	at = us > 1 ? log2(us) * 4 : 0;
	if (count)
	{
		__atomic_fetch_add(&count->calls, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&count->classes[at < SYNC_CLASSES - 1 ? (int) at : SYNC_CLASSES - 1], 1,
						   __ATOMIC_RELAXED);
	}
	return rc;
}

int
fsync(int fd)
{
	return timed(real_fsync, fd);
}

int
fdatasync(int fd)
{
	return timed(real_fdatasync, fd);
}
