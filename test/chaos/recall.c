/*-------------------------------------------------------------------------
 *
 * recall.c
 *	  A table whose searches walk through graphs, and how much they find.
 *
 * The table is r (id bigint PRIMARY KEY, g int, v vector(DIM)) with the index r_v of v and g.
 * Its rows stay, so what is nearest to a question does too; but the load gives rows another g all
 * the time, which is another entry in the index, and VACUUM takes the one before.  There are
 * so many, and so few candidates are kept, that a shard is walked through also when it has been
 * split twice (scan_is_better() of src/worker).
 *
 *-------------------------------------------------------------------------
 */
#include "steps.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 6000
#define K 10
#define DIM_WITHIN 12			/* dimensions in which rows really differ: few candidates find most */
#define EF 20
#define ID_TEXT 24

/* A point on a plane of few dimensions, and a little off it. */
static void
point(int64_t id, float out[DIM])
{
	Prng		plane = {.state = prng_mix(0)};
	Prng		of_id = {.state = prng_mix((uint64_t) id * 2 + 1)};
	float		within[DIM_WITHIN];

	for (int k = 0; k < DIM_WITHIN; k++)
		within[k] = (float) prng_below(&of_id, 1024) / 1024;
	for (int i = 0; i < DIM; i++)
	{
		out[i] = (float) prng_below(&of_id, 1024) / (16 * 1024);
		for (int k = 0; k < DIM_WITHIN; k++)
			out[i] += within[k] * ((float) prng_below(&plane, 1024) / 512 - 1);
	}
}

bool
recall_fill(PGconn *db)
{
	char		sql[300];
	bool		good;
	PGresult   *result;

	snprintf(sql, sizeof(sql), "CREATE TABLE r (id bigint PRIMARY KEY, g int, v vector(%d)) WITH (fillfactor = 50);"
			 "COPY r FROM STDIN", DIM);
	result = PQexec(db, sql);
	good = PQresultStatus(result) == PGRES_COPY_IN;
	PQclear(result);
	for (int64_t id = 1; id <= ROWS && good; id++)
	{
		float		v[DIM];
		char		text[VECTOR_TEXT];
		char		line[VECTOR_TEXT + 60];
		int			len;

		point(id, v);
		vector_text(v, text);
		len = snprintf(line, sizeof(line), "%lld\t0\t%s\n", (long long) id, text);
		good = PQputCopyData(db, line, len) == 1;
	}
	good = good && PQputCopyEnd(db, NULL) == 1;
	while ((result = PQgetResult(db)) != NULL)
	{
		good &= PQresultStatus(result) == PGRES_COMMAND_OK;
		PQclear(result);
	}
	result = good ? PQexec(db, "CREATE INDEX r_v ON r USING vectron (v vector_l2_ops, g) WITH (shards = 1, replicas = 3)") : NULL;
	good = PQresultStatus(result) == PGRES_COMMAND_OK;
	PQclear(result);
	if (!good)
		fprintf(stderr, "load: r: %s", PQerrorMessage(db));
	return good;
}

/* Another entry for the same vector. */
void
recall_touch(LoadClient *c)
{
	char		id[ID_TEXT];
	int64_t		begin = now_ns();
	PGresult   *result;

	snprintf(id, ID_TEXT, "%d", 1 + (int) prng_below(&c->prng, ROWS));
	result = db_ask(c->db, "UPDATE r SET g = g + 1 WHERE id = $1::bigint", id, NULL);
	step_outcome(c, result, KIND_WRITE, begin);
	PQclear(result);
}

/* -- What is found -------------------------------------------------------------------- */

/* The answer, which there is; or the program ends. */
static PGresult *
rows_of(PGconn *db, PGresult *result)
{
	if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK)
		return result;
	fprintf(stderr, "load: recall: %s", PQerrorMessage(db));
	exit(2);
}

/* Batches that compared every row, and all, of the server. */
static void
count_batches(PGconn *db, int64_t *exact, int64_t *all)
{
	PGresult   *result = rows_of(db, PQexec(db, "SELECT exact_batches, batches FROM vectron.stat_search"));

	*exact = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
	*all = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
	PQclear(result);
}

typedef struct Near
{
	int64_t		id;
	double		distance;
} Near;

/* The rows nearest to a point, nearest first: what the table has follows from the ids. */
static void
nearest(const float (*rows)[DIM], const float v[DIM], Near out[K])
{
	int			n = 0;

	for (int64_t id = 1; id <= ROWS; id++)
	{
		Near		one = {.id = id, .distance = vector_distance(rows[id - 1], v)};
		int			at = n < K ? n++ : K;

		while (at > 0 && out[at - 1].distance > one.distance)
		{
			if (at < K)
				out[at] = out[at - 1];
			at--;
		}
		if (at < K)
			out[at] = one;
	}
}

/* How many of them an answer has. */
static int
found_of(const Near wanted[K], const PGresult *answer)
{
	int			n = 0;

	for (int i = 0; i < K; i++)
		for (int k = 0; k < PQntuples(answer); k++)
			n += strtoll(PQgetvalue(answer, k, 0), NULL, 10) == wanted[i].id;
	return n;
}

/* Some of the questions, and how much of what is nearest was found. */
typedef struct Part
{
	pthread_t	thread;
	PGconn	   *db;
	const float (*rows)[DIM];
	int			first;			/* and every LANESth behind it */
	int			queries;
	int64_t		found;
} Part;

static void *
part_main(void *arg)
{
	Part	   *part = arg;

	for (int i = part->first; i < part->queries; i += LANES)
	{
		float		v[DIM];
		char		text[VECTOR_TEXT];
		Near		wanted[K];
		PGresult   *got;

		point(-1 - i, v);
		vector_text(v, text);
		nearest(part->rows, v, wanted);
		got = rows_of(part->db, db_ask(part->db, "SELECT id FROM r ORDER BY v <-> $1::vector LIMIT 10", text, NULL));
		part->found += found_of(wanted, got);
		PQclear(got);
	}
	return NULL;
}

int
recall_measure(const char *conninfo, int queries)
{
	float		(*rows)[DIM] = malloc(sizeof(float[DIM]) * ROWS);
	Part		parts[LANES] = {0};
	int64_t		exact_before;
	int64_t		before;
	int64_t		exact_after;
	int64_t		after;
	int64_t		found = 0;

	if (!rows)
		return 2;
	for (int64_t id = 1; id <= ROWS; id++)
		point(id, rows[id - 1]);
	for (int i = 0; i < LANES; i++)
	{
		parts[i] = (Part) {.db = db_open(conninfo), .rows = (const float (*)[DIM]) rows, .first = i, .queries = queries};
		if (!parts[i].db || !db_set_ef(parts[i].db, EF))
		{
			fprintf(stderr, "load: no session\n");
			exit(2);
		}
	}
	count_batches(parts[0].db, &exact_before, &before);
	for (int i = 0; i < LANES; i++)
		if (pthread_create(&parts[i].thread, NULL, part_main, &parts[i]) != 0)
		{
			fprintf(stderr, "load: no thread\n");
			exit(2);
		}
	for (int i = 0; i < LANES; i++)
	{
		pthread_join(parts[i].thread, NULL);
		found += parts[i].found;
	}
	count_batches(parts[0].db, &exact_after, &after);
	for (int i = 0; i < LANES; i++)
		PQfinish(parts[i].db);
	free(rows);
	printf("%.4f\n", (double) found / K / queries);
	if (after - before >= queries && exact_after == exact_before)
		return 0;
	fprintf(stderr, "load: recall: of %lld batches for %d searches %lld compared every row\n",
			(long long) (after - before), queries, (long long) (exact_after - exact_before));
	return 1;
}
