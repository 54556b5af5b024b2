/*-------------------------------------------------------------------------
 *
 * held.c
 *	  How long the loops that move frames were held (law T1: a budget of 50 us).
 *
 * While a callback of nng runs, one of its few threads moves nothing else, Raft's
 * messages among it; the threads of a polled server are more, but whoever is there
 * reads for others, too.  Counted for the whole process, since nng's threads are.
 *
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include "base/clock.h"
#include "base/histogram.h"
#include "base/metrics.h"
#include "private.h"

typedef struct Held
{
	Histogram	times;
	atomic_llong longest_us;	/* since it was asked for last */
} Held;

static Held held[HELD_KINDS];

int64_t
held_begin(void)
{
	return clock_now_us();
}

void
held_end(HeldKind kind, int64_t began_us)
{
	long long	us = clock_now_us() - began_us;
	long long	longest = atomic_load_explicit(&held[kind].longest_us, memory_order_relaxed);

	histogram_add(&held[kind].times, us);
	while (us > longest && !atomic_compare_exchange_weak(&held[kind].longest_us, &longest, us))
		;
}

void
net_metrics(Buf *out)
{
	metrics_histogram(out, "vectron_net_callback_seconds", "How long threads that move frames of peers were held by a callback.",
					  &held[HELD_CALLBACK].times);
	metrics_seconds(out, "vectron_net_callback_max_seconds", "The longest since this was asked for last.",
					atomic_exchange(&held[HELD_CALLBACK].longest_us, 0));
	metrics_histogram(out, "vectron_net_poll_seconds", "How long threads that serve moved frames of gateways at a time.",
					  &held[HELD_POLL].times);
	metrics_seconds(out, "vectron_net_poll_max_seconds", "The longest since this was asked for last.",
					atomic_exchange(&held[HELD_POLL].longest_us, 0));
}
