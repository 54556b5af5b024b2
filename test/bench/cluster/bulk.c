/*-------------------------------------------------------------------------
 *
 * bulk.c
 *	  Bulk loads beside everything else, as CREATE INDEX makes them: a collection of its
 *	  own, the begin of a load through the log of each shard, records batch by batch, of
 *	  which none waits for the graph, the end, and then the wait until all is linked.
 *
 * A collection is loaded once (law L1), so each load has another one.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

#define BATCH 500
#define LOOK_US 100000
#define PATIENCE_US (30 * SECOND)
#define GENERATIONS 64			/* whose marks there is room for */

struct Bulk
{
	Bench		bench;			/* the same cluster, another collection */
	void	   *marks;
	uint32_t	records;		/* of each load */
	pthread_t	thread;
	atomic_bool over;
	BulkDone	done;
};

static void
ingest(Bulk *bulk, Client *client, bool begin)
{
	ClientWriter writer = {.generation = bulk->bench.generation, .owner = bulk->bench.owner, .timeline = 1,
		.deadline_us = clock_now_us() + PATIENCE_US};
	ClientMarks marks = {0};
	VtError		err = {0};

	if (client_ingest(client, &writer, begin, &marks, &err) != VT_OK)
		give_up(&bulk->bench, "a bulk load does not %s: %s", begin ? "begin" : "end", vt_error_words(&err));
	client_marks_free(&marks);
}

/* False: it was told to stop before all was linked. */
static bool
wait_linked(Bulk *bulk, Client *client)
{
	uint64_t	records;
	uint64_t	unindexed = 1;
	VtError		err = {0};

	while (!atomic_load(&bulk->over))
	{
		ClientMarks marks = {0};

		if (client_read_index(client, &bulk->bench.generation, &bulk->bench.owner, clock_now_us() + PATIENCE_US,
							  &marks, &records, &unindexed, &err) != VT_OK)
			give_up(&bulk->bench, "how far a bulk load is linked is not told: %s", vt_error_words(&err));
		client_marks_free(&marks);
		if (records != bulk->records)
			give_up(&bulk->bench, "a bulk load of %u records has left %" PRIu64, bulk->records, records);
		if (unindexed == 0)
			return true;
		usleep(LOOK_US);
	}
	return false;
}

static void *
run(void *arg)
{
	Bulk	   *bulk = arg;
	Client	   *client = bench_client(&bulk->bench);

	while (!atomic_load(&bulk->over))
	{
		uint32_t	put = 0;

		collection_create(&bulk->bench, client, bulk->bench.shards);
		ingest(bulk, client, true);
		bulk->done.begun++;
		for (uint32_t n; put < bulk->records && !atomic_load(&bulk->over); put += n)
		{
			n = bulk->records - put < BATCH ? bulk->records - put : BATCH;
			put_records(&bulk->bench, client, put, n);
			bulk->done.records += n;
		}
		ingest(bulk, client, false);
		if (put == bulk->records)
			bulk->done.linked += wait_linked(bulk, client);
	}
	client_close(client);
	return NULL;
}

Bulk *
bulk_start(Bench *bench, uint32_t records)
{
	Bulk	   *bulk = vt_alloc0(sizeof(Bulk));

	bulk->bench = *bench;
	pthread_mutex_init(&bulk->bench.lock, NULL);
	bulk->marks = vt_alloc0(client_mark_table_size(GENERATIONS));
	bulk->bench.marks = client_mark_table_init(bulk->marks, GENERATIONS);
	bulk->records = records;
	if (pthread_create(&bulk->thread, NULL, run, bulk) != 0)
		give_up(bench, "no thread");
	return bulk;
}

BulkDone
bulk_stop(Bulk *bulk)
{
	BulkDone	done;

	atomic_store(&bulk->over, true);
	pthread_join(bulk->thread, NULL);
	done = bulk->done;
	pthread_mutex_destroy(&bulk->bench.lock);
	free(bulk->marks);
	free(bulk);
	return done;
}
