/*-------------------------------------------------------------------------
 *
 * repair.c
 *	  What searches and writes notice while replicas are made anew: those of a worker
 *	  that was drained, and those of one that has died.
 *
 * Clients search and write at a pace that leaves room.  Their p99, and how many writes
 * there are, is taken before; while the replicas of one worker move to a spare one; and,
 * after that one is empty and has died, from the moment the placement driver holds it
 * for lost until all its replicas are elsewhere.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <inttypes.h>
#include <unistd.h>

#define LOOK_US 20000
#define PATIENCE_US (120 * SECOND)

enum
{
	BEFORE,
	DRAINING,
	REPAIRING,
	OTHERWISE
};

static const char *const words[] = {"before", "while a worker is emptied", "while a lost worker's replicas are made anew"};

/* Until the store has no replica; returns how long it took. */
static double
wait_empty(Bench *bench, Client *client, uint64_t store)
{
	int64_t		begun = clock_now_us();

	while (replicas_at(client, store) > 0)
	{
		if (clock_now_us() > begun + PATIENCE_US)
			give_up(bench, "store %" PRIu64 " does not become empty", store);
		usleep(LOOK_US);
	}
	return (double) (clock_now_us() - begun) / 1e6;
}

/* A worker that leads something, not this one. */
static uint32_t
somebody(const Leaders *leaders, uint32_t but)
{
	for (uint32_t i = 0; i < leaders->n; i++)
		if (leaders->worker[i] != but)
			return leaders->worker[i];
	return but == 1 ? 2 : 1;
}

void
repair(Bench *bench)
{
	LoadOptions options = {.searchers = bench->searchers, .writers = bench->writers, .batch = 1, .pause_ms = bench->pause_ms,
		.first = bench->records};
	uint32_t	spare = bench->workers + 1;
	Client	   *client;
	Leaders		leaders;
	Load	   *load;
	uint64_t	store;
	uint32_t	victim;
	double		took[3] = {bench->seconds};
	Noticed		noticed[3];

	collection_start(bench);
	client = bench_client(bench);
	wait_whole(bench, client, &leaders);
	wait_indexed(bench, client);
	load = load_start(bench, &options);
	load_phase(load, OTHERWISE);
	worker_start(bench, spare);
	bench->workers = spare;
	usleep((useconds_t) SECOND);
	load_phase(load, BEFORE);
	usleep((useconds_t) (bench->seconds * 1e6));

	victim = leaders.worker[0];
	store = store_of(bench, client, victim);
	load_phase(load, DRAINING);
	json_decref(ask(client, NULL, "{\"op\":\"drain\",\"store\":\"%" PRIu64 "\"}", store));
	took[1] = wait_empty(bench, client, store);
	load_phase(load, OTHERWISE);
	json_decref(ask(client, NULL, "{\"op\":\"undrain\",\"store\":\"%" PRIu64 "\"}", store));
	wait_whole(bench, client, &leaders);
	usleep((useconds_t) (2 * SECOND));

	victim = somebody(&leaders, victim);
	store = store_of(bench, client, victim);
	worker_kill(bench, victim);
	usleep((useconds_t) (bench->down_after * SECOND));
	load_phase(load, REPAIRING);
	took[2] = wait_empty(bench, client, store);
	load_phase(load, OTHERWISE);
	(void) load_stop(load);

	printf("%u searchers and %u writers, one question in %g ms each; %u records of %u dimensions, %u shards of %u replicas\n",
		   bench->searchers, bench->writers, bench->pause_ms, bench->records, bench->dim, bench->shards, bench->replicas);
	for (uint32_t i = BEFORE; i <= REPAIRING; i++)
		noticed[i] = load_noticed(load, i, words[i], took[i]);
	load_bars(bench, "drain", &noticed[BEFORE], &noticed[DRAINING]);
	load_bars(bench, "repair", &noticed[BEFORE], &noticed[REPAIRING]);
	load_free(load);
	client_close(client);
}
