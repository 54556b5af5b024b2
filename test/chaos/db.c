/*-------------------------------------------------------------------------
 *
 * db.c
 *	  Rows, and sessions that ask for them.
 *
 *-------------------------------------------------------------------------
 */
#include "load.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/prng.h"

void
vector_of(int64_t id, int64_t ver, float out[DIM])
{
	Prng		of_id = {.state = prng_mix((uint64_t) id)};
	Prng		of_ver = {.state = prng_mix((uint64_t) id ^ prng_mix((uint64_t) ver))};

	/* Few bits, so that text carries them exactly. */
	for (int i = 0; i < DIM; i++)
		out[i] = (float) prng_below(i < DIM_OF_ID ? &of_id : &of_ver, 1024) / 1024;
}

void
vector_near(int64_t id, float out[DIM])
{
	vector_of(id, 0, out);
	for (int i = DIM_OF_ID; i < DIM; i++)
		out[i] = 0.5f;
}

void
vector_text(const float v[DIM], char out[VECTOR_TEXT])
{
	int			at = 0;

	for (int i = 0; i < DIM; i++)
		at += snprintf(out + at, VECTOR_TEXT - (size_t) at, "%c%.10g", i == 0 ? '[' : ',', (double) v[i]);
	snprintf(out + at, VECTOR_TEXT - (size_t) at, "]");
}

double
vector_distance(const float a[DIM], const float b[DIM])
{
	double		sum = 0;

	for (int i = 0; i < DIM; i++)
		sum += ((double) a[i] - (double) b[i]) * ((double) a[i] - (double) b[i]);
	return sqrt(sum);
}

int64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool
db_do(PGconn *db, const char *sql)
{
	PGresult   *result = PQexec(db, sql);
	bool		done = PQresultStatus(result) == PGRES_COMMAND_OK;

	PQclear(result);
	return done;
}

PGconn *
db_open(const char *conninfo)
{
	PGconn	   *db = PQconnectdb(conninfo);

	/*
	 * No exact scan may stand in for the index: neither because it is cheaper nor
	 * because the cluster is away.
	 */
	if (db_do(db, "SET enable_seqscan = off; SET vectron.fallback_scan = off; SET vectron.verify_scan = on; "
			  "SET client_min_messages = warning"))
		return db;
	PQfinish(db);
	return NULL;
}

bool
db_set_read_timeout(PGconn *db, int ms)
{
	char		sql[60];

	snprintf(sql, sizeof(sql), "SET vectron.read_timeout = %d", ms);
	return db_do(db, sql);
}

PGresult *
db_ask(PGconn *db, const char *sql,...)
{
	const char *values[4];
	int			n = 0;
	va_list		args;

	va_start(args, sql);
	while (n < 4 && (values[n] = va_arg(args, const char *)) != NULL)
		n++;
	va_end(args);
	return PQexecParams(db, sql, n, NULL, values, NULL, NULL, 0);
}

int
db_wrong_rows(const PGresult *rows, const float query[DIM])
{
	int			wrong = 0;

	/* id, ver, distance */
	for (int i = 0; i < PQntuples(rows); i++)
	{
		int64_t		id = strtoll(PQgetvalue(rows, i, 0), NULL, 10);
		int64_t		ver = strtoll(PQgetvalue(rows, i, 1), NULL, 10);
		double		told = strtod(PQgetvalue(rows, i, 2), NULL);
		float		v[DIM];
		bool		twice = false;

		vector_of(id, ver, v);
		for (int k = 0; k < i; k++)
			twice |= strtoll(PQgetvalue(rows, k, 0), NULL, 10) == id;
		if (twice || fabs(vector_distance(v, query) - told) > 1e-4)
		{
			fprintf(stderr, "wrong row: id %lld version %lld at %g, is at %g%s\n", (long long) id,
					(long long) ver, told, vector_distance(v, query), twice ? ", and comes twice" : "");
			wrong++;
		}
	}
	return wrong;
}
