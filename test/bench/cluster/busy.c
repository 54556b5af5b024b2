/*-------------------------------------------------------------------------
 *
 * busy.c
 *	  All cores busy for a minute with searches, writes, bulk loads and snapshots: nobody
 *	  is elected who was not asked to be, and the clock of Raft runs on time.
 *
 * That is judged by terms, which rise with each candidacy.  Of the leader of each term
 * the workers' logs tell, and of each time that a leader was asked to hand over.  What
 * was asked of a leader explains that the next one has the next term, once, if it comes soon
 * enough after it; any other term that has come is an election that nobody asked for.
 *
 * The snapshots come from moving replicas: a worker more than there are replicas is
 * there, and those of one worker after the other are moved away.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* strptime */
#endif
#include "cluster.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS_MAX 64
#define LOOK_US 50000
#define HANDOVER_US (3 * SECOND)	/* a leader gives one up after an election's time, and who was told to campaign needs about as long */

/* Ticks of all workers by how late they were, as far as they say: cumulative. */
typedef struct Ticks
{
	uint64_t	all;
	uint64_t	late[BUCKETS_MAX];	/* at most limit_us[i] */
	uint64_t	limit_us[BUCKETS_MAX];
	uint32_t	n;
} Ticks;

static Ticks
ticks_now(Bench *bench, Client *client)
{
	Ticks		ticks = {0};

	for (uint32_t i = 1; i <= bench->workers; i++)
	{
		json_t	   *answer = ask(client, worker_endpoint(bench, i), "{\"op\":\"status\"}");
		json_t	   *row;
		size_t		k;

		if (!answer)
			give_up(bench, "worker %u does not say how it is", i);
		ticks.n = 0;
		json_array_foreach(json_object_get(answer, "ticks"), k, row)
		{
			uint64_t	n = number_of(row, "ticks");

			if (k == BUCKETS_MAX)
				break;
			ticks.n = (uint32_t) k + 1;
			ticks.limit_us[k] = number_of(row, "late_us");
			ticks.late[k] += n;
			ticks.all += n;
		}
		json_decref(answer);
	}
	return ticks;
}

/* The end of the bucket that the share of the ticks between two looks falls into. */
static double
lateness_ms(const Ticks *before, const Ticks *after, double share)
{
	uint64_t	all = after->all - before->all;
	uint64_t	n = 0;

	for (uint32_t i = 0; i < after->n; i++)
	{
		n += after->late[i] - before->late[i];
		if ((double) n >= share * (double) all)
			return (double) after->limit_us[i] / 1000;
	}
	return 1e9;
}

/* How often the workers' logs say this. */
static uint32_t
lines_with(const Bench *bench, const char *words)
{
	uint32_t	n = 0;

	for (uint32_t i = 1; i <= bench->workers; i++)
		n += worker_says(bench, i, words);
	return n;
}

/* -- Elections ------------------------------------------------------------------ */

/* A line of a worker's log: somebody leads a group from then on, or (term 0) its leader was asked to hand over. */
typedef struct Event
{
	uint64_t	group;
	int64_t		at_us;
	uint64_t	term;
} Event;

typedef struct Events
{
	Event	   *events;
	size_t		n;
	size_t		room;
} Events;

typedef struct Elections
{
	uint32_t	leaders;		/* that came after another */
	uint32_t	handed;			/* of them, to whom their predecessor was asked to hand over */
	uint64_t	unasked;		/* terms that nobody asked for */
} Elections;

/* "2026-11-27T13:45:21.126Z ..."; false: it does not begin so. */
static bool
time_of(const char *line, int64_t *us)
{
	struct tm	tm = {0};
	const char *rest = strptime(line, "%Y-%m-%dT%H:%M:%S.", &tm);
	int			ms;

	if (!rest || sscanf(rest, "%3dZ", &ms) != 1)
		return false;
	*us = (int64_t) timegm(&tm) * SECOND + (int64_t) ms * 1000;
	return true;
}

static void
read_events(Bench *bench, uint32_t worker, Events *out)
{
	char		path[300];
	char		line[500];
	FILE	   *in;

	snprintf(path, sizeof(path), "%s/worker%u.log", bench->directory, worker);
	in = fopen(path, "r");
	while (in && fgets(line, sizeof(line), in))
	{
		const char *leads = strstr(line, "became leader") ? strstr(line, "group=") : NULL;
		const char *asked = strstr(line, "handing leadership over is under way") ? strstr(line, "shard=") : NULL;
		Event		event = {0};

		if (!(leads && sscanf(leads, "group=%" SCNu64 " term=%" SCNu64, &event.group, &event.term) == 2) &&
			!(asked && sscanf(asked, "shard=%" SCNu64, &event.group) == 1))
			continue;
		if (!time_of(line, &event.at_us))
			give_up(bench, "the log of worker %u has no times", worker);
		if (out->n == out->room)
		{
			out->room = out->room ? 2 * out->room : 256;
			out->events = vt_realloc(out->events, sizeof(Event) * out->room);
		}
		out->events[out->n++] = event;
	}
	if (in)
		fclose(in);
}

/* By group and time; who is asked and who leads in one millisecond: it was asked before. */
static int
event_compare(const void *a, const void *b)
{
	const Event *x = (const Event *) a;
	const Event *y = (const Event *) b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	if (x->at_us != y->at_us)
		return x->at_us < y->at_us ? -1 : 1;
	return x->term < y->term ? -1 : x->term > y->term;
}

/* All that the logs tell, from the beginning. */
static Elections
elections_now(Bench *bench)
{
	Elections	all = {0};
	Events		read = {0};
	uint64_t	term = 0;
	int64_t		asked_us = 0;	/* of the leader of that term; 0 = it was not */

	for (uint32_t i = 1; i <= bench->workers; i++)
		read_events(bench, i, &read);
	if (read.n > 0)
		qsort(read.events, read.n, sizeof(Event), event_compare);
	for (size_t i = 0; i < read.n; i++)
	{
		const Event *e = &read.events[i];
		bool		asked;

		if (i == 0 || e->group != read.events[i - 1].group)
			term = asked_us = 0;
		if (e->term == 0)
		{
			asked_us = e->at_us;
			continue;
		}
		asked = asked_us > 0 && e->at_us - asked_us < HANDOVER_US;
		if (term > 0 && e->term > term)
		{
			all.leaders++;
			all.handed += asked;
			all.unasked += e->term - term - asked;
		}
		term = e->term > term ? e->term : term;
		asked_us = 0;
	}
	free(read.events);
	return all;
}

/* Replicas move about until the time is over. */
static void
move_about(Bench *bench, Client *client, int64_t until)
{
	uint64_t	away = 0;

	for (uint32_t i = 0; clock_now_us() < until; i++)
	{
		uint64_t	store = store_of(bench, client, i % bench->workers + 1);

		if (store == 0)
			continue;
		json_decref(ask(client, NULL, "{\"op\":\"drain\",\"store\":\"%" PRIu64 "\"}", store));
		if (away != 0)
			json_decref(ask(client, NULL, "{\"op\":\"undrain\",\"store\":\"%" PRIu64 "\"}", away));
		away = store;
		while (replicas_at(client, store) > 0 && clock_now_us() < until)
			usleep(LOOK_US);
	}
}

void
busy(Bench *bench)
{
	LoadOptions options = {.searchers = bench->searchers, .writers = bench->writers, .batch = 50, .first = bench->records};
	Client	   *client;
	Leaders		leaders;
	Load	   *load;
	Bulk	   *bulk;
	BulkDone	loaded = {0};
	Ticks		before;
	Ticks		after;
	Usage		used;
	Usage		use;
	Times		searches = {0};
	Times		writes = {0};
	Elections	past;
	Elections	now;
	uint32_t	snapshots;
	int64_t		begun;
	double		seconds;
	double		cores = (double) sysconf(_SC_NPROCESSORS_ONLN);

	collection_start(bench);
	client = bench_client(bench);
	wait_whole(bench, client, &leaders);
	past = elections_now(bench);
	snapshots = lines_with(bench, " installed");
	before = ticks_now(bench, client);
	used = usage_of_all(bench);
	begun = clock_now_us();
	load = load_start(bench, &options);
	bulk = bench->bulk > 0 ? bulk_start(bench, bench->bulk) : NULL;
	move_about(bench, client, begun + (int64_t) (bench->seconds * 1e6));
	seconds = (double) (clock_now_us() - begun) / 1e6;
	use = usage_of_all(bench);
	after = ticks_now(bench, client);
	(void) load_stop(load);
	if (bulk)
		loaded = bulk_stop(bulk);
	now = elections_now(bench);
	snapshots = lines_with(bench, " installed") - snapshots;
	load_times(load, 0, &searches, &writes);
	printf("%.0f s, %u clients that search and %u that write 50 records at a time: daemons used %.0f %% of %.0f cores\n",
		   seconds, bench->searchers, bench->writers, 100 * (use.seconds - used.seconds) / seconds / cores, cores);
	printf("%.0f searches/s, p99 %.1f ms; %.0f records/s; %u snapshots; %u leaders came after another, %u of them by command\n",
		   (double) searches.n / seconds, times_ms(&searches, 0.99), 50 * (double) writes.n / seconds, snapshots,
		   now.leaders - past.leaders, now.handed - past.handed);
	printf("%.0f records/s in bulk: %u loads were begun, %u of %u records linked to the last\n", (double) loaded.records / seconds,
		   loaded.begun, loaded.linked, bench->bulk);
	printf("%" PRIu64 " ticks, late by at most: p50 %.3g ms, p99 %.3g, p99.9 %.3g, worst %.3g\n", after.all - before.all,
		   lateness_ms(&before, &after, 0.5), lateness_ms(&before, &after, 0.99), lateness_ms(&before, &after, 0.999),
		   lateness_ms(&before, &after, 1));
	bar_most(bench, "ticks late, p99.9, ms", lateness_ms(&before, &after, 0.999), bench->worst_ms);
	bar_most(bench, "terms that nobody asked for, and one", 1.0 + (double) (now.unasked - past.unasked), bench->worst_ms > 0 ? 1 : 0);
	bar_least(bench, "snapshots", snapshots, bench->worst_ms > 0 ? 1 : 0);
	bar_least(bench, "records loaded in bulk", (double) loaded.records, bench->worst_ms > 0 && bench->bulk > 0 ? 1 : 0);
	times_free(&searches);
	times_free(&writes);
	load_free(load);
	client_close(client);
}
