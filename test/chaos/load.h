/*-------------------------------------------------------------------------
 *
 * load.h
 *	  Rows whose contents follow from their identity, and who asks for them.
 *
 * The table is t (id bigint PRIMARY KEY, ver bigint, n int, g int, w text, v vector(DIM));
 * its index t_v has v, g and w, and t_b the bits of v.  A row's vector follows from (id, ver), so that whoever gets
 * a row knows the distance it must have.  Most of the vector follows from the id alone:
 * the versions of a row are neighbours.  The group g is what conditions ask for, and the
 * word w follows from it, or from the key.
 *
 *		1 .. KEYS_MAX		keys: written and read as registers, for the checker; each has
 *							VARIANTS groups of its own and goes through them with its
 *							versions
 *		BASE_FIRST ..		rows of the beginning, which never change; each of the groups
 *							0 .. GROUPS - 1 has as many of them
 *		CLIENT_FIRST * n ..	rows that a client adds, moves from group to group and removes;
 *							n is another one in every run
 *
 *-------------------------------------------------------------------------
 */
#ifndef CHAOS_LOAD_H
#define CHAOS_LOAD_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"

#define DIM 32
#define DIM_OF_ID 28			/* the other dimensions follow from the version */
#define KEYS_MAX 1000
#define BASE_FIRST 10000
#define CLIENT_FIRST INT64_C(1000000)
#define VECTOR_TEXT (DIM * 14 + 4)
#define GROUPS 50
#define LANES 8					/* sessions that ask afterwards, at the same time */
#define VARIANTS 4
#define WORD_TEXT 16
#define BITS_TEXT (VECTOR_TEXT + 80)
#define NEAR_TEXT (2 * BITS_TEXT + 8)

/* rows.c */
extern void vector_of(int64_t id, int64_t ver, float out[DIM]);

/* In the middle of all versions of a row. */
extern void vector_near(int64_t id, float out[DIM]);
extern void vector_text(const float v[DIM], char out[VECTOR_TEXT]);
extern double vector_distance(const float a[DIM], const float b[DIM]);

/* In SQL the bits of a vector, as t_b has them; and what puts the rows near to one first, by either index. */
extern void bits_sql(const char *vector, char out[BITS_TEXT]);
extern void near_sql(bool by_bits, const char *vector, char out[NEAR_TEXT]);

extern int	group_of_key(int64_t key, int64_t ver);
extern void word_of(int64_t id, int group, char out[WORD_TEXT]);

/* Groups low to high without except, and other; -1: there is none. */
typedef struct Condition
{
	char		sql[80];
	int			low;
	int			high;
	int			other;
	int			except;
} Condition;

/* wide: half of the rows meet it, else few do. */
extern void condition_draw(Prng *prng, bool wide, Condition *out);
extern void condition_of_key(Prng *prng, int64_t key, Condition *out);

/*
 * Of an answer with id, ver, distance, g and w: how many rows are wrong, told on stderr.
 * A condition of NULL is met by all.
 */
extern int	rows_wrong(const PGresult *rows, const float query[DIM], const Condition *condition);

/* The same of some of the rows, which answer one of several questions. */
extern int	rows_wrong_of(const PGresult *rows, int first, int end, const float query[DIM], const Condition *condition);

/* And how many rows of the beginning are missing; or come too often, less than 0. */
extern int	rows_missing(const PGresult *rows, int limit, const Condition *condition, int64_t base_rows);

/* db.c */
extern int64_t now_ns(void);

/* A session whose searches go through the index or fail; NULL when the server is not there. */
extern PGconn *db_open(const char *conninfo);

/* How long an answer of the index may take. */
extern bool db_set_read_timeout(PGconn *db, int ms);
extern bool db_set_ef(PGconn *db, int ef);

/* Text parameters, text results; NULL ends the list. */
extern PGresult *db_ask(PGconn *db, const char *sql,...);

/* clients.c */
typedef struct LoadOptions
{
	const char *conninfo;
	const char *history;		/* file to write */
	const char *pd;				/* placement drivers, for a collection; NULL: none */
	uint64_t	seed;
	int			clients;
	int			keys;
	int			read_timeout_ms;	/* until another is told */
	int			seconds;		/* at most */
} LoadOptions;

extern int	load_run(const LoadOptions *options);

#endif							/* CHAOS_LOAD_H */
