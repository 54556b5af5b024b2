/*-------------------------------------------------------------------------
 *
 * modes.c
 *	  Who is measured when.
 *
 * The engines take turns within every round, so that what other work on the
 * machine takes away hits all alike; rates are the medians of the rounds.
 * Before an engine's turn no other has work left over: a backlog is drained.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static const uint32_t efs[] = {20, 40, 60, 80, 100, 150, 200, 400};

#define EFS (sizeof(efs) / sizeof(efs[0]))

/* Everything about a load that is over, into one line of a table. */
static void
speed_take(Speed *speed, Load *load)
{
	double		ops = (double) load->nlatencies;

	speed->clients = load->clients;
	speed->ops = load->nlatencies;
	speed->rate = median(speed->rates, speed->nrates);
	speed->p50_us = load_latency(load, 0.50);
	speed->p95_us = load_latency(load, 0.95);
	speed->p99_us = load_latency(load, 0.99);
	speed->cpu_ms = ops > 0 ? 1e3 * usage_server_cpu(&load->usage) / ops : 0;
	speed->client_cpu_ms = ops > 0 ? 1e3 * load->usage.client_cpu_s / ops : 0;
	speed->syncs = ops > 0 ? (double) usage_syncs(&load->usage) / ops : 0;
	speed->sync_p50_us = usage_sync_us(&load->usage, 0.50);
	speed->sync_p99_us = usage_sync_us(&load->usage, 0.99);
	free(load->latency_us);
	load->latency_us = NULL;
}

static void
note_rate(Speed *speed, const Load *load)
{
	if (speed->nrates < MAX_ROUNDS)
		speed->rates[speed->nrates++] = (double) load->done / load->elapsed_s;
}

/* -- Search ---------------------------------------------------------------- */

static void
build(const Settings *settings, const Engine *engine, const Set *set, Built *out)
{
	PGconn	   *conn = db_open(settings, engine);
	Usage		before;
	Usage		after;
	Usage		spent = {0};
	int64_t		begin;

	db_table(conn, set);
	db_copy(conn, set, 0, set->n);
	db_run(conn, "VACUUM ANALYZE t");
	db_run(conn, "CHECKPOINT");
	usage_take(settings, &before);
	begin = clock_now_us();
	db_index(conn, settings, engine, set);
	out->seconds = (double) (clock_now_us() - begin) / 1e6;
	out->drain_s = db_drain(conn, engine);
	usage_take(settings, &after);
	usage_add(&spent, &before, &after);
	out->cpu_s = usage_server_cpu(&spent);
	PQfinish(conn);
}

static void
measure_recall(const Settings *settings, const Engine *engine, const Set *set, Point *point)
{
	Load		load = {.settings = settings, .engine = engine, .set = set, .work = WORK_RECALL,
						.clients = 2, .ef = point->ef};

	load.after = set->nqueries < settings->queries ? set->nqueries : settings->queries;
	load_run(&load);
	point->recall = (double) load.hits / ((double) load.done * K);
	free(load.latency_us);
}

static void
measure_exact(const Settings *settings, const Engine *engine, const Set *set, Speed *out)
{
	Load		load = {.settings = settings, .engine = engine, .set = set, .work = WORK_SEARCH,
						.exact = true, .clients = 1, .seconds = settings->seconds * 2};

	load_run(&load);
	note_rate(out, &load);
	speed_take(out, &load);
}

/* All rounds of one engine's points, in loads[point][0 = one client, 1 = two]. */
typedef struct Turns
{
	Load		loads[MAX_POINTS][2];
} Turns;

void
mode_search(const Settings *settings, const Set *set, Results *results)
{
	Turns	   *turns = vt_alloc0(sizeof(Turns) * ENGINES);

	for (int e = 0; e < ENGINES; e++)
	{
		const Engine *engine = &settings->engines[e];
		Result	   *result = &results->engines[e];
		Usage		usage;

		if (!engine->present)
			continue;
		result->searched = true;
		build(settings, engine, set, &result->build);
		for (size_t i = 0; i < EFS; i++)
		{
			Point	   *point = &result->points[result->npoints++];

			point->ef = efs[i];
			measure_recall(settings, engine, set, point);
			for (int c = 0; c < 2; c++)
				turns[e].loads[i][c] = (Load) {.settings = settings, .engine = engine, .set = set,
					.work = WORK_SEARCH, .clients = (uint32_t) c + 1, .ef = efs[i],
					.seconds = settings->seconds};
		}
		usage_take(settings, &usage);
		result->build.postgres_memory = usage.memory[PROGRAM_POSTGRES];
		result->build.worker_memory = usage.memory[PROGRAM_WORKER];
	}
	for (uint32_t round = 0; round < settings->rounds; round++)
		for (size_t i = 0; i < EFS; i++)
			for (int c = 0; c < 2; c++)
				for (int e = 0; e < ENGINES; e++)
				{
					if (!settings->engines[e].present)
						continue;
					load_run(&turns[e].loads[i][c]);
					note_rate(&results->engines[e].points[i].speeds[c], &turns[e].loads[i][c]);
				}
	for (int e = 0; e < ENGINES; e++)
		for (size_t i = 0; settings->engines[e].present && i < EFS; i++)
			for (int c = 0; c < 2; c++)
				speed_take(&results->engines[e].points[i].speeds[c], &turns[e].loads[i][c]);
	measure_exact(settings, &settings->engines[0], set, &results->exact);
	free(turns);
}

/* -- COPY ------------------------------------------------------------------ */

void
mode_copy(const Settings *settings, const Set *set, Results *results)
{
	for (int e = 0; e < ENGINES; e++)
	{
		const Engine *engine = &settings->engines[e];
		Built	   *out = &results->engines[e].copy;
		Load		load = {.settings = settings, .engine = engine, .set = set, .work = WORK_RECALL,
							.clients = 1, .ef = 100, .after = set->nqueries < 100 ? set->nqueries : 100};
		PGconn	   *conn;
		Usage		before;
		Usage		after;
		Usage		spent = {0};

		if (!engine->present)
			continue;
		conn = db_open(settings, engine);
		db_table(conn, set);
		db_index(conn, settings, engine, set);
		db_run(conn, "CHECKPOINT");
		usage_take(settings, &before);
		out->seconds = db_copy(conn, set, 0, set->n);
		load_run(&load);
		out->found = (double) load.hits / ((double) load.done * K);
		free(load.latency_us);
		out->drain_s = db_drain(conn, engine);
		usage_take(settings, &after);
		usage_add(&spent, &before, &after);
		out->cpu_s = usage_server_cpu(&spent);
		results->engines[e].copied = true;
		PQfinish(conn);
	}
}

/* -- Single rows ----------------------------------------------------------- */

typedef struct Inserting
{
	PGconn	   *conn;
	uint32_t	next;			/* row not inserted yet */
	Load		loads[2];
	double		drained_s;		/* inserts and the draining after them, all rounds */
	double		backlog;
} Inserting;

static void
insert_round(const Settings *settings, Inserting *in, Speed *speed, Load *load)
{
	load->first = in->next;
	load->after = in->next += settings->inserts;
	load_run(load);
	note_rate(speed, load);
	speed->backlog = db_backlog(in->conn, load->engine);
	speed->rate_drained += load->elapsed_s + db_drain(in->conn, load->engine);
}

void
mode_insert(const Settings *settings, const Set *set, Results *results)
{
	Inserting	all[ENGINES] = {{0}};
	uint32_t	wanted = settings->inserts * (2 * settings->rounds + 1);

	if (wanted > set->n / 2)
		die("%s has too few rows for %u rounds of %u inserts", set->name, settings->rounds, settings->inserts);
	for (int e = 0; e < ENGINES; e++)
	{
		const Engine *engine = &settings->engines[e];
		Inserting  *in = &all[e];

		if (!engine->present)
			continue;
		in->conn = db_open(settings, engine);
		in->next = set->n - wanted;
		db_table(in->conn, set);
		db_copy(in->conn, set, 0, in->next);
		db_index(in->conn, settings, engine, set);
		db_drain(in->conn, engine);
		db_run(in->conn, "CHECKPOINT");
		for (int c = 0; c < 2; c++)
			in->loads[c] = (Load) {.settings = settings, .engine = engine, .set = set,
				.work = WORK_INSERT, .clients = c ? settings->clients : 1};
	}
	for (uint32_t round = 0; round < settings->rounds; round++)
		for (int c = 0; c < 2; c++)
			for (int e = 0; e < ENGINES; e++)
				if (settings->engines[e].present)
					insert_round(settings, &all[e], &results->engines[e].inserts[c], &all[e].loads[c]);
	for (int e = 0; e < ENGINES; e++)
	{
		Result	   *result = &results->engines[e];
		Load		find;

		if (!settings->engines[e].present)
			continue;
		for (int c = 0; c < 2; c++)
		{
			Speed	   *speed = &result->inserts[c];

			speed_take(speed, &all[e].loads[c]);
			speed->rate_drained = (double) speed->ops / speed->rate_drained;
		}
		find = (Load) {.settings = settings, .engine = &settings->engines[e], .set = set,
			.work = WORK_FIND, .clients = 4, .ef = 100, .first = all[e].next,
			.after = all[e].next + settings->inserts};
		load_run(&find);
		result->checked = find.done;
		result->missed = find.done - find.hits;
		result->inserted = true;
		free(find.latency_us);
		PQfinish(all[e].conn);
	}
}
