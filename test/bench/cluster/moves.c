/*-------------------------------------------------------------------------
 *
 * moves.c
 *	  What searches and writes notice while replicas move because one worker has less
 *	  than others, while somebody moves them by command, while shards are split, and
 *	  while the driver evens out what that has made uneven.
 *
 * Clients search and write at a pace that leaves room, as in repair.c.  In the end all
 * that was put is read back, and once more after all workers were killed and started.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <inttypes.h>
#include <unistd.h>

#define LOOK_US 20000
#define PATIENCE_US (120 * SECOND)
#define STILL_US SECOND			/* nothing was under way for so long: it has come to its end */
#define AFTERMATH_US (15 * SECOND)	/* the same after a split, whose parts the driver leaves in peace for a while */

enum
{
	BEFORE,
	BALANCING,
	MOVING,
	SPLITTING,
	EVENING,
	AFTER,
	OTHERWISE
};

static const char *const words[] = {"before", "while a new worker gets its share", "while replicas are moved",
	"while shards are split", "while what was split is evened out", "after"};

/*
 * Until nothing has been under way for a while.  What clients do counts for the phase
 * as long as something is; returns for how many seconds that was.
 */
static double
wait_still(Bench *bench, Client *client, Load *load, uint32_t phase, int64_t for_us)
{
	int64_t		begun = clock_now_us();
	int64_t		last_us = begun;
	int64_t		still_us = begun;
	int64_t		sum_us = 0;
	bool		moves = false;

	while (moves || last_us - still_us < for_us)
	{
		int64_t		now = clock_now_us();

		sum_us += moves ? now - last_us : 0;
		moves = changes_under_way(client) > 0;
		load_phase(load, moves ? phase : OTHERWISE);
		if (moves)
			still_us = now;
		if (now > begun + PATIENCE_US)
			give_up(bench, "changes do not come to an end");
		last_us = now;
		usleep(LOOK_US);
	}
	return (double) sum_us / 1e6;
}

/* Until the driver takes a command: something else may be under way. */
static void
insist(Bench *bench, Client *client, const char *command)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	json_t	   *answer;

	while ((answer = ask(client, NULL, "%s", command)) == NULL)
	{
		if (clock_now_us() > until)
			give_up(bench, "the placement driver refuses %s", command);
		usleep(LOOK_US);
	}
	json_decref(answer);
}

/* Does a store have a replica of the shard? */
static bool
has_replica(Bench *bench, Client *client, uint64_t shard, uint64_t store)
{
	json_t	   *answer = ask(client, NULL, "{\"op\":\"shards\"}");
	json_t	   *row;
	size_t		i;
	bool		has = false;

	if (!answer)
		give_up(bench, "the placement driver does not say where replicas are");
	json_array_foreach(json_object_get(answer, "shards"), i, row)
		has = has || (number_of(row, "shard") == shard && number_of(row, "store") == store);
	json_decref(answer);
	return has;
}

/* A replica of each shard goes where none is. */
static double
move_each(Bench *bench, Client *client, Load *load, const Leaders *leaders)
{
	double		took = 0;

	for (uint32_t i = 0; i < leaders->n; i++)
	{
		uint64_t	from = 0;
		uint64_t	to = 0;
		char		command[200];

		for (uint32_t n = 1; n <= bench->workers; n++)
		{
			uint64_t	store = store_of(bench, client, n);

			if (has_replica(bench, client, leaders->shard[i], store))
				from = store;
			else
				to = store;
		}
		snprintf(command, sizeof(command), "{\"op\":\"move\",\"shard\":\"%" PRIu64 "\",\"from_store\":\"%" PRIu64 "\",\"to_store\":\"%" PRIu64 "\"}",
				 leaders->shard[i], from, to);
		insist(bench, client, command);
		took += wait_still(bench, client, load, MOVING, STILL_US);
		if (!has_replica(bench, client, leaders->shard[i], to))
			give_up(bench, "shard %" PRIu64 " did not move", leaders->shard[i]);
	}
	return took;
}

static double
split_each(Bench *bench, Client *client, Load *load, const Leaders *leaders)
{
	double		took = 0;

	for (uint32_t i = 0; i < leaders->n; i++)
	{
		char		command[100];

		snprintf(command, sizeof(command), "{\"op\":\"split\",\"shard\":\"%" PRIu64 "\"}", leaders->shard[i]);
		insist(bench, client, command);
		took += wait_still(bench, client, load, SPLITTING, STILL_US);
	}
	bench->shards = 2 * leaders->n;
	return took;
}

void
moves(Bench *bench)
{
	LoadOptions options = {.searchers = bench->searchers, .writers = bench->writers, .batch = 1, .pause_ms = bench->pause_ms,
		.first = bench->records};
	uint32_t	spare = bench->workers + 1;
	uint32_t	shards = bench->shards;
	Client	   *client;
	Leaders		leaders;
	Load	   *load;
	uint64_t	store;
	uint64_t	records;
	int64_t		begun;
	double		took[OTHERWISE] = {[BEFORE] = bench->seconds, [AFTER] = bench->seconds};
	Noticed		noticed[OTHERWISE] = {{0}};

	if (2 * bench->shards > SHARDS_OF_BENCH)
		give_up(bench, "at most %d shards", SHARDS_OF_BENCH / 2);
	collection_start(bench);
	client = bench_client(bench);
	wait_whole(bench, client, &leaders);
	wait_indexed(bench, client);
	load = load_start(bench, &options);
	(void) wait_still(bench, client, load, OTHERWISE, STILL_US);
	load_phase(load, BEFORE);
	usleep((useconds_t) (bench->seconds * 1e6));

	load_phase(load, OTHERWISE);
	begun = clock_now_us();
	worker_start(bench, spare);
	bench->workers = spare;
	while ((store = store_of(bench, client, spare)) == 0 || changes_under_way(client) == 0)
	{
		if (clock_now_us() > begun + PATIENCE_US)
			give_up(bench, "the new worker gets nothing");
		usleep(LOOK_US);
	}
	took[BALANCING] = wait_still(bench, client, load, BALANCING, STILL_US);
	printf("the new worker has %u of %u replicas\n", replicas_at(client, store), shards * bench->replicas);

	wait_whole(bench, client, &leaders);
	took[MOVING] = move_each(bench, client, load, &leaders);
	wait_whole(bench, client, &leaders);
	took[SPLITTING] = split_each(bench, client, load, &leaders);
	took[EVENING] = wait_still(bench, client, load, EVENING, AFTERMATH_US);
	wait_whole(bench, client, &leaders);
	wait_indexed(bench, client);
	load_phase(load, AFTER);
	usleep((useconds_t) (bench->seconds * 1e6));
	records = load_stop(load);
	read_back(bench, client, records, "in the end");
	for (uint32_t n = 1; n <= bench->workers; n++)
		worker_kill(bench, n);
	for (uint32_t n = 1; n <= bench->workers; n++)
		worker_start(bench, n);
	read_back(bench, client, records, "after a start of all workers");

	printf("%u searchers and %u writers, one question in %g ms each; %u records of %u dimensions, %u shards of %u replicas\n",
		   bench->searchers, bench->writers, bench->pause_ms, bench->records, bench->dim, shards, bench->replicas);
	for (uint32_t i = BEFORE; i < OTHERWISE; i++)
		if (took[i] > 0)
			noticed[i] = load_noticed(load, i, words[i], took[i]);
	load_bars(bench, "balance", &noticed[BEFORE], &noticed[BALANCING]);
	load_bars(bench, "move", &noticed[BEFORE], &noticed[MOVING]);
	load_bars(bench, "split", &noticed[BEFORE], &noticed[SPLITTING]);
	if (took[EVENING] > 0)
		load_bars(bench, "evening out", &noticed[BEFORE], &noticed[EVENING]);
	load_free(load);
	client_close(client);
}
