/*-------------------------------------------------------------------------
 *
 * load.h
 *	  Rows whose contents follow from their identity, and who asks for them.
 *
 * The table is t (id bigint PRIMARY KEY, ver bigint, n int, v vector(DIM)); a row's
 * vector follows from (id, ver), so that whoever gets a row knows the distance it
 * must have.  Most of the vector follows from the id alone: the versions of a row
 * are neighbours.
 *
 *		1 .. KEYS_MAX		keys: written and read as registers, for the checker
 *		BASE_FIRST ..		rows of the beginning
 *		CLIENT_FIRST * n ..	rows that a client adds and removes; n is another one in
 *							every run
 *
 *-------------------------------------------------------------------------
 */
#ifndef CHAOS_LOAD_H
#define CHAOS_LOAD_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#define DIM 32
#define DIM_OF_ID 28			/* the other dimensions follow from the version */
#define KEYS_MAX 1000
#define BASE_FIRST 10000
#define CLIENT_FIRST INT64_C(1000000)
#define VECTOR_TEXT (DIM * 14 + 4)

/* db.c */
extern void vector_of(int64_t id, int64_t ver, float out[DIM]);

/* In the middle of all versions of a row. */
extern void vector_near(int64_t id, float out[DIM]);
extern void vector_text(const float v[DIM], char out[VECTOR_TEXT]);
extern double vector_distance(const float a[DIM], const float b[DIM]);
extern int64_t now_ns(void);

/* A session whose searches go through the index or fail; NULL when the server is not there. */
extern PGconn *db_open(const char *conninfo);

/* How long an answer of the index may take. */
extern bool db_set_read_timeout(PGconn *db, int ms);

/* Text parameters, text results; NULL ends the list. */
extern PGresult *db_ask(PGconn *db, const char *sql,...);

/* Rows of a search for id's neighbours: 0 or how many are wrong, told on stderr. */
extern int	db_wrong_rows(const PGresult *rows, const float query[DIM]);

/* clients.c */
typedef struct LoadOptions
{
	const char *conninfo;
	const char *history;		/* file to write */
	uint64_t	seed;
	int			clients;
	int			keys;
	int			read_timeout_ms;	/* until another is told */
	int			seconds;		/* at most */
} LoadOptions;

extern int	load_run(const LoadOptions *options);

#endif							/* CHAOS_LOAD_H */
