/*-------------------------------------------------------------------------
 *
 * stalls.c
 *	  A preloaded library, stalls.so, that makes threads stand still where another
 *	  one may go on: around locks, after waits, after all that is sent, received,
 *	  read, written and synced, after the clock was read.
 *
 *	  VECTRON_STALLS=3 LD_PRELOAD=build/stalls.so build/unit/net_server
 *
 * A busy machine does that to any thread at any moment, for hundreds of ms.  What a
 * test says of another thread then holds only if that has happened before, or was
 * waited for; so it is with what our threads believe of one another.
 *
 * A seed gives each thread, by its number, the calls at which it wants to stand, and
 * how long; without VECTRON_STALLS nobody does.  Processes that a test starts have
 * the same seed.
 *
 * Whoever calls often would stand for ever.  So all threads of a process together
 * stand for an eighth of its time shortly and for a quarter of it long, no more: what
 * depends on nothing but them takes one and a half times as long.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Where a thread wants to stand: one call in so many, and with three threads of four in 8, 64 or 512 times as many. */
#define ONE_IN_FEW 5			/* calls that enter the kernel */
#define ONE_IN_MANY 50			/* locks and clocks */
#define ONE_LONG_IN 4			/* of these, while it is earned */

#define SHORT_US 20000
#define LONG_US 1500000

/* Time that may be stood away without having been earned by going on. */
#define CREDIT_US 2000000

/* Of each kind, when it has been earned back: `costs` times as long as somebody stood. */
typedef struct Ledger
{
	int64_t		costs;
	int64_t		due_us;			/* atomic */
} Ledger;

static Ledger short_ones = {.costs = 8};
static Ledger long_ones = {.costs = 4};

static uint64_t seed;
static _Atomic uint64_t threads;
static __thread uint64_t drawn __attribute__((tls_model("initial-exec")));
static __thread uint64_t seldom __attribute__((tls_model("initial-exec")));

static void __attribute__((constructor))
begin(void)
{
	const char *words = getenv("VECTRON_STALLS");

	seed = words ? strtoull(words, NULL, 10) : 0;
}

static int64_t
now_us(void)
{
	struct timespec now;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static bool
earned(Ledger *ledger, int64_t us)
{
	int64_t		now = now_us();
	int64_t		due = __atomic_load_n(&ledger->due_us, __ATOMIC_SEQ_CST);
	int64_t		from;

	do
	{
		if (due > now)
			return false;
		from = due > now - CREDIT_US ? due : now - CREDIT_US;
	} while (!__atomic_compare_exchange_n(&ledger->due_us, &due, from + ledger->costs * us, false,
										  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	return true;
}

/* On a busy machine it may be much longer than was asked for, and that counts, too. */
static void
sleep_for(Ledger *ledger, int64_t us)
{
	struct timespec t = {us / 1000000, us % 1000000 * 1000};
	int64_t		began = now_us();
	int			before = errno;

	syscall(SYS_nanosleep, &t, NULL);
	__atomic_add_fetch(&ledger->due_us, ledger->costs * (now_us() - began - us), __ATOMIC_SEQ_CST);
	errno = before;
}

/* splitmix64 */
static uint64_t
draw(void)
{
	uint64_t	z = (drawn += 0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
	return z ^ (z >> 31);
}

static void
stand(uint64_t one_in)
{
	bool		first = drawn == 0;
	bool		is_long;
	int64_t		us;

	if (seed == 0)
		return;
	/* Where all stand as often nobody is late. */
	if (first)
	{
		drawn = (seed << 20 | ++threads) * 0xD1342543DE82EF95;
		seldom = UINT64_C(1) << 3 * (draw() % 4);
	}
	/* The first call of a thread is where it comes late. */
	if (draw() % (first ? 2 : one_in * seldom) != 0)
		return;
	is_long = draw() % ONE_LONG_IN == 0;
	us = (int64_t) (draw() % (is_long ? 1 + draw() % LONG_US : SHORT_US));
	if (earned(is_long ? &long_ones : &short_ones, us))
		sleep_for(is_long ? &long_ones : &short_ones, us);
}

/* dlsym() finds the oldest function of that name, and waits on conditions were other ones once. */
static void *
real(const char *name)
{
	void	   *f = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");

	f = f ? f : dlsym(RTLD_NEXT, name);
	if (!f)
		abort();
	return f;
}

#define REAL(name) ({ \
	static __typeof__(name) *function; \
	if (!function) \
		function = (__typeof__(name) *) real(#name); \
	function; })

#define AFTER(one_in, type, name, params, args) \
	type name params; \
	type name params \
	{ \
		type		rc = REAL(name) args; \
		stand(one_in); \
		return rc; \
	}

#define BEFORE(one_in, type, name, params, args) \
	type name params; \
	type name params \
	{ \
		stand(one_in); \
		return REAL(name) args; \
	}

BEFORE(ONE_IN_MANY, int, pthread_mutex_lock, (pthread_mutex_t *m), (m))
BEFORE(ONE_IN_MANY, int, pthread_mutex_trylock, (pthread_mutex_t *m), (m))
BEFORE(ONE_IN_FEW, int, pthread_mutex_clocklock, (pthread_mutex_t *m, clockid_t c, const struct timespec *t), (m, c, t))
AFTER(ONE_IN_MANY, int, pthread_mutex_unlock, (pthread_mutex_t *m), (m))
BEFORE(ONE_IN_MANY, int, pthread_rwlock_rdlock, (pthread_rwlock_t *l), (l))
BEFORE(ONE_IN_MANY, int, pthread_rwlock_wrlock, (pthread_rwlock_t *l), (l))
AFTER(ONE_IN_MANY, int, pthread_rwlock_unlock, (pthread_rwlock_t *l), (l))
AFTER(ONE_IN_FEW, int, pthread_cond_wait, (pthread_cond_t *c, pthread_mutex_t *m), (c, m))
AFTER(ONE_IN_FEW, int, pthread_cond_timedwait, (pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t), (c, m, t))
AFTER(ONE_IN_FEW, int, pthread_create, (pthread_t *p, const pthread_attr_t *a, void *(*f) (void *), void *arg), (p, a, f, arg))

AFTER(ONE_IN_FEW, ssize_t, send, (int fd, const void *data, size_t n, int flags), (fd, data, n, flags))
AFTER(ONE_IN_FEW, ssize_t, recv, (int fd, void *data, size_t n, int flags), (fd, data, n, flags))
AFTER(ONE_IN_FEW, ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
AFTER(ONE_IN_FEW, ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
AFTER(ONE_IN_FEW, int, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags), (fd, a, n, flags))
AFTER(ONE_IN_FEW, int, accept, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
AFTER(ONE_IN_FEW, int, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
AFTER(ONE_IN_FEW, int, shutdown, (int fd, int how), (fd, how))
AFTER(ONE_IN_FEW, int, close, (int fd), (fd))
AFTER(ONE_IN_FEW, int, poll, (struct pollfd *p, nfds_t n, int ms), (p, n, ms))
AFTER(ONE_IN_FEW, int, epoll_wait, (int fd, struct epoll_event *e, int n, int ms), (fd, e, n, ms))

AFTER(ONE_IN_FEW, ssize_t, read, (int fd, void *data, size_t n), (fd, data, n))
AFTER(ONE_IN_FEW, ssize_t, write, (int fd, const void *data, size_t n), (fd, data, n))
AFTER(ONE_IN_FEW, ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n))
AFTER(ONE_IN_FEW, ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
AFTER(ONE_IN_FEW, ssize_t, pread, (int fd, void *data, size_t n, off_t at), (fd, data, n, at))
AFTER(ONE_IN_FEW, ssize_t, pwrite, (int fd, const void *data, size_t n, off_t at), (fd, data, n, at))
AFTER(ONE_IN_FEW, int, fsync, (int fd), (fd))
AFTER(ONE_IN_FEW, int, fdatasync, (int fd), (fd))
AFTER(ONE_IN_FEW, int, rename, (const char *from, const char *to), (from, to))

AFTER(ONE_IN_FEW, int, usleep, (useconds_t us), (us))
AFTER(ONE_IN_FEW, int, nanosleep, (const struct timespec *t, struct timespec *left), (t, left))
AFTER(ONE_IN_MANY, int, clock_gettime, (clockid_t clock, struct timespec *out), (clock, out))
