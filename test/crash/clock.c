/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  A wall clock that is off by what layer_faults says.
 *
 * A wait until a moment of the wall clock ends when that clock, as shown, has come
 * there, as in a kernel whose clock is set.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "layer.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/time.h>
#include <time.h>

/* Before this no test runs: smaller moments are not of the wall clock. */
#define WALL_BEGIN 1000000000
#define SLICE_NS 50000000

int			clock_gettime(clockid_t clock, struct timespec *out);
int			gettimeofday(struct timeval *out, void *zone);
time_t		time(time_t *out);
int			pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock, const struct timespec *until);

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
		shift(out, layer_faults->wall_us);
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
