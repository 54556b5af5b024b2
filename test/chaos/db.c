/*-------------------------------------------------------------------------
 *
 * db.c
 *	  Sessions that ask for rows.
 *
 *-------------------------------------------------------------------------
 */
#include "load.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define ARGS_MAX 6

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

bool
db_set_ef(PGconn *db, int ef)
{
	char		sql[60];

	snprintf(sql, sizeof(sql), "SET vectron.ef_search = %d", ef);
	return db_do(db, sql);
}

PGresult *
db_ask(PGconn *db, const char *sql,...)
{
	const char *values[ARGS_MAX];
	int			n = 0;
	va_list		args;

	va_start(args, sql);
	while (n < ARGS_MAX && (values[n] = va_arg(args, const char *)) != NULL)
		n++;
	va_end(args);
	return PQexecParams(db, sql, n, NULL, values, NULL, NULL, 0);
}
