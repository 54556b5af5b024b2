/*-------------------------------------------------------------------------
 *
 * compare.c
 *	  What indexes answer beside what the table has, and several questions in one.
 *
 * A transaction that sees the same rows throughout takes all that an index has from it, and
 * then reads the table: the same rows must have come, each once.  They are taken page by page, with
 * pauses in which others change the rows and the cluster changes under the scan; or for several
 * questions at once, of which each wants all.
 *
 *-------------------------------------------------------------------------
 */
#include "steps.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUESTIONS 3				/* of one statement */
#define K 10
#define ALL 60000				/* rows, more than there are */
#define PAGE_MOST 400
#define PAUSE_US 30000
#define HOW_TEXT 100
#define BEGIN_SQL "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL enable_sort = off"
#define TABLE_SQL "SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off; SELECT id, ver FROM t"

/* -- Rows, as a set ---------------------------------------------------------------- */

typedef struct Row
{
	int64_t		id;
	int64_t		ver;
} Row;

typedef struct Rows
{
	Row		   *row;
	int			n;
} Rows;

/* Some of the rows of an answer that begin with id and ver. */
static void
rows_add(Rows *rows, const PGresult *result, int first, int end)
{
	Row		   *row = realloc(rows->row, sizeof(Row) * (size_t) (rows->n + end - first + 1));

	if (!row)
		abort();
	rows->row = row;
	for (int i = first; i < end; i++)
		row[rows->n++] = (Row) {strtoll(PQgetvalue(result, i, 0), NULL, 10), strtoll(PQgetvalue(result, i, 1), NULL, 10)};
}

static void
rows_clear(Rows *rows)
{
	free(rows->row);
	*rows = (Rows) {0};
}

static int
row_order(const void *one, const void *other)
{
	const Row  *a = one;
	const Row  *b = other;

	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return (a->ver > b->ver) - (a->ver < b->ver);
}

/* How many rows only one of them has, told on stderr; both are sorted then. */
static uint64_t
rows_differ(Rows *found, Rows *there, const char *how)
{
	uint64_t	differ = 0;
	int			f = 0;
	int			t = 0;

	if (found->n > 0)
		qsort(found->row, (size_t) found->n, sizeof(Row), row_order);
	if (there->n > 0)
		qsort(there->row, (size_t) there->n, sizeof(Row), row_order);
	while (f < found->n || t < there->n)
	{
		int			order = f == found->n ? 1 : t == there->n ? -1 : row_order(&found->row[f], &there->row[t]);
		const Row  *row = order < 0 ? &found->row[f] : &there->row[t];

		if (order != 0)
		{
			fprintf(stderr, "%s: id %lld version %lld is %s\n", how, (long long) row->id, (long long) row->ver,
					order > 0 ? "missing" : "not in the table, or comes twice");
			differ++;
		}
		f += order <= 0;
		t += order >= 0;
	}
	return differ;
}

/* -- Several questions in one statement ---------------------------------------------- */

typedef struct Questions
{
	bool		by_bits;
	float		vector[QUESTIONS][DIM];
	char		text[QUESTIONS][VECTOR_TEXT];
	char		sql[QUESTIONS * BITS_TEXT + 400];
} Questions;

/* The k nearest to each of some vectors: id, ver, distance of v, g, w, question. */
static void
questions_draw(Prng *prng, int k, Questions *out)
{
	char		wanted[QUESTIONS * BITS_TEXT];
	size_t		at = 0;

	out->by_bits = prng_below(prng, 3) == 0;
	for (int i = 0; i < QUESTIONS; i++)
	{
		char		parameter[20];
		char		bits[BITS_TEXT];

		vector_near((int64_t) prng_next(prng), out->vector[i]);
		vector_text(out->vector[i], out->text[i]);
		snprintf(parameter, sizeof(parameter), "$%d::vector", i + 1);
		bits_sql(parameter, bits);
		at += (size_t) snprintf(wanted + at, sizeof(wanted) - at, "%s%s", i == 0 ? "" : ", ", out->by_bits ? bits : parameter);
	}
	snprintf(out->sql, sizeof(out->sql),
			 "SELECT (item).id, (item).ver, %s, (item).g, (item).w, query FROM vectron.search_many(NULL::t, '%s', ARRAY[%s], %d)",
			 out->by_bits ? "(item).v <-> (ARRAY[$1::vector, $2::vector, $3::vector])[query]" : "distance",
			 out->by_bits ? "t_b" : "t_v", wanted, k);
}

/* The first row behind those of a question; they come in the order of the questions. */
static int
questions_end(const PGresult *result, int first, int question)
{
	int			end = first;

	while (end < PQntuples(result) && atoi(PQgetvalue(result, end, 5)) == question + 1)
		end++;
	return end;
}

void
search_many(LoadClient *c)
{
	Questions	questions;
	int64_t		begin;
	PGresult   *result;

	questions_draw(&c->prng, K, &questions);
	begin = now_ns();
	result = step_ask(c, questions.sql, questions.text[0], questions.text[1], questions.text[2]);
	if (step_outcome(c, result, KIND_MANY, begin) == OUTCOME_DONE)
	{
		int			first = 0;

		for (int i = 0; i < QUESTIONS; i++)
		{
			int			end = questions_end(result, first, i);

			/* Rows of the beginning alone are more. */
			if (end - first != K)
			{
				fprintf(stderr, "search_many: %d rows of %d wanted\n", end - first, K);
				c->wrong++;
			}
			c->wrong += (uint64_t) rows_wrong_of(result, first, end, questions.vector[i], NULL);
			first = end;
		}
		c->wrong += first != PQntuples(result);
	}
	PQclear(result);
}

/* -- Beside the table ------------------------------------------------------------------- */

/* Rows that a transaction took from an index, for each question, and those of the table. */
typedef struct Comparison
{
	char		how[HOW_TEXT];
	Condition	condition;		/* of both, where it is_asked */
	bool		is_asked;
	int			questions;
	Rows		found[QUESTIONS];
	Rows		there;
} Comparison;

static bool
is_good(const PGresult *result)
{
	return PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK;
}

/* Some hundreds of rows at a time, to the end.  The last answer, or the one that failed, as below. */
static PGresult *
take_pages(LoadClient *c, bool by_bits, Comparison *comparison)
{
	const Condition *condition = comparison->is_asked ? &comparison->condition : NULL;
	float		v[DIM];
	char		text[VECTOR_TEXT];
	char		near[NEAR_TEXT];
	char		sql[NEAR_TEXT + 300];
	bool		more = true;
	PGresult   *result;

	vector_near((int64_t) prng_next(&c->prng), v);
	vector_text(v, text);
	near_sql(by_bits, "$1::vector", near);
	snprintf(sql, sizeof(sql), "DECLARE pages CURSOR FOR SELECT id, ver, v <-> $1::vector, g, w FROM t%s%s ORDER BY %s",
			 condition ? " WHERE " : "", condition ? condition->sql : "", near);
	result = db_ask(c->db, sql, text, NULL);
	while (is_good(result) && more)
	{
		PQclear(result);
		if (prng_below(&c->prng, 3) == 0)
			usleep(prng_below(&c->prng, PAUSE_US));
		snprintf(sql, sizeof(sql), "FETCH %u FROM pages", 1 + prng_below(&c->prng, PAGE_MOST));
		result = PQexec(c->db, sql);
		more = PQntuples(result) > 0;
		c->wrong += (uint64_t) rows_wrong(result, v, condition);
		rows_add(&comparison->found[0], result, 0, PQntuples(result));
	}
	return result;
}

static PGresult *
take_together(LoadClient *c, Comparison *comparison)
{
	Questions	questions;
	PGresult   *result;
	int			first = 0;

	questions_draw(&c->prng, ALL, &questions);
	result = db_ask(c->db, questions.sql, questions.text[0], questions.text[1], questions.text[2], NULL);
	comparison->questions = QUESTIONS;
	for (int i = 0; i < QUESTIONS; i++)
	{
		int			end = questions_end(result, first, i);

		rows_add(&comparison->found[i], result, first, end);
		first = end;
	}
	return result;
}

static PGresult *
take(LoadClient *c, Comparison *comparison)
{
	Prng	   *prng = &c->prng;

	comparison->questions = 1;
	switch (prng_below(prng, 4))
	{
		case 0:
			snprintf(comparison->how, HOW_TEXT, "search_many of all");
			return take_together(c, comparison);
		case 1:
			snprintf(comparison->how, HOW_TEXT, "all by their bits");
			return take_pages(c, true, comparison);
		case 2:
			snprintf(comparison->how, HOW_TEXT, "all");
			return take_pages(c, false, comparison);
		default:
			condition_draw(prng, prng_below(prng, 2) == 0, &comparison->condition);
			comparison->is_asked = true;
			snprintf(comparison->how, HOW_TEXT, "all where %s", comparison->condition.sql);
			return take_pages(c, false, comparison);
	}
}

static PGresult *
take_and_read(LoadClient *c, Comparison *comparison)
{
	char		sql[sizeof(TABLE_SQL) + sizeof(comparison->condition.sql) + 10];
	PGresult   *result = PQexec(c->db, BEGIN_SQL);

	if (is_good(result))
	{
		PQclear(result);
		result = take(c, comparison);
	}
	if (is_good(result))
	{
		PQclear(result);
		snprintf(sql, sizeof(sql), TABLE_SQL "%s%s", comparison->is_asked ? " WHERE " : "", comparison->condition.sql);
		result = PQexec(c->db, sql);
	}
	if (is_good(result))
		rows_add(&comparison->there, result, 0, PQntuples(result));
	PQclear(PQexec(c->db, "ROLLBACK"));
	return result;
}

static void
comparison_clear(Comparison *comparison)
{
	for (int i = 0; i < QUESTIONS; i++)
		rows_clear(&comparison->found[i]);
	rows_clear(&comparison->there);
	*comparison = (Comparison) {0};
}

void
compare(LoadClient *c)
{
	Comparison	comparison = {0};
	int64_t		begin = now_ns();
	PGresult   *result = take_and_read(c, &comparison);

	while (step_is_behind(c, result, begin))
	{
		PQclear(result);
		comparison_clear(&comparison);
		c->behind++;
		result = take_and_read(c, &comparison);
	}
	if (step_outcome(c, result, KIND_COMPARE, begin) == OUTCOME_DONE)
		for (int i = 0; i < comparison.questions; i++)
			c->wrong += rows_differ(&comparison.found[i], &comparison.there, comparison.how);
	PQclear(result);
	comparison_clear(&comparison);
}
