/*-------------------------------------------------------------------------
 *
 * steps.c
 *	  What a client of the load does, one statement after the other.
 *
 * Keys are registers: 0 when there is no row, else its version.  A put or delete
 * writes, a get through the index reads; the checker (test/lin) says whether the
 * answers fit together.  A statement that failed changed nothing, since PostgreSQL
 * has undone it; one whose connection broke has an unknown outcome.
 *
 * A question that failed because whoever answers was behind the mark is asked again:
 * where nobody within reach has applied it, waiting is all there is.
 *
 * Other rows come and go besides, with savepoints, updates beside the vector and
 * of the columns in the index, and VACUUM, so that TIDs are used again.
 *
 *-------------------------------------------------------------------------
 */
#include "steps.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXTS 24
#define SQL_TEXT (NEAR_TEXT + 300)
#define BEHIND_NS INT64_C(30000000000)	/* so long may all be behind a mark */

const char *const kind_names[KINDS] = {"write", "get", "search", "many", "compare", "vacuum", "once", "look"};

/* -- One statement ----------------------------------------------------------------- */

static const char *
words(const PGresult *result, int field)
{
	const char *text = PQresultErrorField(result, field);

	return text ? text : "";
}

Outcome
step_outcome(LoadClient *c, PGresult *result, Kind kind, int64_t begin)
{
	ExecStatusType status = PQresultStatus(result);
	int64_t		took = now_ns() - begin;
	Outcome		outcome = OUTCOME_DONE;

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
	{
		const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

		outcome = PQstatus(c->db) == CONNECTION_OK && state ? OUTCOME_FAILED : OUTCOME_UNKNOWN;
		fprintf(c->history, "# %s of client %d, %lld ms, %s: %.100s: %.200s\n", kind_names[kind], c->number,
				(long long) took / 1000000, state ? state : "no answer",
				words(result, PG_DIAG_MESSAGE_PRIMARY), words(result, PG_DIAG_MESSAGE_DETAIL));
		c->failed[kind]++;
		c->unknown += outcome == OUTCOME_UNKNOWN;
	}
	else
		c->done[kind]++;
	if (took > c->slowest_ns[kind])
		c->slowest_ns[kind] = took;
	if ((kind == KIND_GET || kind == KIND_SEARCH || kind == KIND_MANY) && took > atomic_load(&load_now.slowest_read_ns))
		atomic_store(&load_now.slowest_read_ns, took);
	atomic_fetch_add(&load_now.operations, 1);
	return outcome;
}

bool
step_is_behind(const LoadClient *c, const PGresult *result, int64_t begin)
{
	return PQstatus(c->db) == CONNECTION_OK && PQresultStatus(result) == PGRES_FATAL_ERROR &&
		strstr(words(result, PG_DIAG_MESSAGE_PRIMARY), "the mark") != NULL &&
		strstr(words(result, PG_DIAG_MESSAGE_PRIMARY), "has not answered") == NULL && now_ns() - begin < BEHIND_NS;
}

PGresult *
step_ask(LoadClient *c, const char *sql, const char *one, const char *two, const char *three)
{
	int64_t		begin = now_ns();
	PGresult   *result = db_ask(c->db, sql, one, two, three, NULL);

	while (step_is_behind(c, result, begin))
	{
		PQclear(result);
		c->behind++;
		result = db_ask(c->db, sql, one, two, three, NULL);
	}
	return result;
}

/* The end of an operation as the checker wants it. */
static void
record(LoadClient *c, int64_t key, int64_t begin, Outcome outcome, const char *what, int64_t value)
{
	if (outcome == OUTCOME_UNKNOWN)
		fprintf(c->history, "k%lld %lld - %s %lld\n", (long long) key, (long long) begin, what, (long long) value);
	else
		fprintf(c->history, "k%lld %lld %lld %s %lld\n", (long long) key, (long long) begin,
				(long long) now_ns(), what, (long long) value);
}

/* -- What clients do ------------------------------------------------------------------ */

static int64_t
new_version(LoadClient *c)
{
	return ++c->versions * 64 + c->number;
}

static void
put(LoadClient *c, int64_t key)
{
	int64_t		ver = new_version(c);
	float		v[DIM];
	char		text[VECTOR_TEXT];
	char		id_text[TEXTS];
	char		ver_text[TEXTS];
	char		group[TEXTS];
	char		word[WORD_TEXT];
	int64_t		begin;
	Outcome		outcome;
	PGresult   *result;

	vector_of(key, ver, v);
	vector_text(v, text);
	snprintf(group, TEXTS, "%d", group_of_key(key, ver));
	word_of(key, group_of_key(key, ver), word);
	snprintf(id_text, TEXTS, "%lld", (long long) key);
	snprintf(ver_text, TEXTS, "%lld", (long long) ver);
	begin = now_ns();
	result = db_ask(c->db, "INSERT INTO t VALUES ($1, $2, 0, $3, $4, $5::vector) "
					"ON CONFLICT (id) DO UPDATE SET ver = excluded.ver, v = excluded.v, g = excluded.g",
					id_text, ver_text, group, word, text, NULL);
	outcome = step_outcome(c, result, KIND_WRITE, begin);
	PQclear(result);
	if (outcome != OUTCOME_FAILED)
		record(c, key, begin, outcome, "write", ver);
}

static void
delete(LoadClient *c, int64_t key)
{
	char		id_text[TEXTS];
	int64_t		begin = now_ns();
	Outcome		outcome;
	PGresult   *result;

	snprintf(id_text, TEXTS, "%lld", (long long) key);
	result = db_ask(c->db, "DELETE FROM t WHERE id = $1::bigint", id_text, NULL);
	outcome = step_outcome(c, result, KIND_WRITE, begin);
	PQclear(result);
	if (outcome != OUTCOME_FAILED && key <= KEYS_MAX)
		record(c, key, begin, outcome, "write", 0);
}

/* By which index, and of which rows. */
typedef enum Way
{
	WAY_ALL,
	WAY_CONDITION,
	WAY_BITS,
	WAYS
} Way;

/*
 * Read a key through an index alone: id + 0 keeps the primary key out of it, and
 * the scan goes on until it has found the row or seen all that meet the condition,
 * if there is one.
 */
static void
get(LoadClient *c, int64_t key)
{
	Way			way = (Way) prng_below(&c->prng, WAYS);
	bool		of_all = way != WAY_CONDITION;
	Condition	condition;
	float		v[DIM];
	char		text[VECTOR_TEXT];
	char		id_text[TEXTS];
	char		near[NEAR_TEXT];
	char		sql[SQL_TEXT];
	int64_t		begin;
	Outcome		outcome;
	PGresult   *result;

	vector_near(key, v);
	vector_text(v, text);
	snprintf(id_text, TEXTS, "%lld", (long long) key);
	condition_of_key(&c->prng, key, &condition);
	near_sql(way == WAY_BITS, "$1::vector", near);
	snprintf(sql, sizeof(sql), "SELECT id, ver, v <-> $1::vector, g, w FROM t WHERE id + 0 = $2%s%s "
			 "ORDER BY %s LIMIT 1", of_all ? "" : " AND ", of_all ? "" : condition.sql, near);
	begin = now_ns();
	result = step_ask(c, sql, text, id_text, NULL);
	outcome = step_outcome(c, result, KIND_GET, begin);
	if (outcome == OUTCOME_DONE)
	{
		c->wrong += (uint64_t) rows_wrong(result, v, of_all ? NULL : &condition);
		record(c, key, begin, outcome, "read",
			   PQntuples(result) == 0 ? 0 : strtoll(PQgetvalue(result, 0, 1), NULL, 10));
	}
	PQclear(result);
}

/* The nearest of all, or of those that meet a condition: some, or all of them. */
static void
search(LoadClient *c)
{
	Way			way = (Way) prng_below(&c->prng, WAYS);
	bool		of_all = way != WAY_CONDITION;
	int			limit = !of_all && prng_below(&c->prng, 3) == 0 ? 100000 : 10;
	Condition	condition;
	float		v[DIM];
	char		text[VECTOR_TEXT];
	char		near[NEAR_TEXT];
	char		sql[SQL_TEXT];
	int64_t		begin;
	PGresult   *result;

	vector_near((int64_t) prng_next(&c->prng), v);
	vector_text(v, text);
	condition_draw(&c->prng, false, &condition);
	near_sql(way == WAY_BITS, "$1::vector", near);
	snprintf(sql, sizeof(sql), "SELECT id, ver, v <-> $1::vector, g, w FROM t%s%s ORDER BY %s LIMIT %d",
			 of_all ? "" : " WHERE ", of_all ? "" : condition.sql, near, limit);
	begin = now_ns();
	result = step_ask(c, sql, text, NULL, NULL);
	if (step_outcome(c, result, KIND_SEARCH, begin) == OUTCOME_DONE)
	{
		c->wrong += (uint64_t) rows_wrong(result, v, of_all ? NULL : &condition);
		c->wrong += (uint64_t) abs(rows_missing(result, limit, of_all ? NULL : &condition, c->base_rows));
	}
	PQclear(result);
}

/* Rows of its own: one, or a few of which a savepoint takes some back. */
static void
add_rows(LoadClient *c)
{
	int			n = prng_below(&c->prng, 3) == 0 ? 4 : 1;
	char		sql[4 * (VECTOR_TEXT + WORD_TEXT) + 400];
	size_t		at = (size_t) snprintf(sql, sizeof(sql), "BEGIN;");
	int64_t		begin;
	PGresult   *result;

	for (int i = 0; i < n; i++)
	{
		int			group = (int) prng_below(&c->prng, GROUPS);
		float		v[DIM];
		char		text[VECTOR_TEXT];
		char		word[WORD_TEXT];

		vector_of(c->next_row + i, 0, v);
		vector_text(v, text);
		word_of(c->next_row + i, group, word);
		at += (size_t) snprintf(sql + at, sizeof(sql) - at, "%sINSERT INTO t VALUES (%lld, 0, 0, %d, '%s', '%s');%s",
								i == 2 ? "SAVEPOINT s;" : "", (long long) c->next_row + i, group, word, text,
								i == 2 ? "ROLLBACK TO s;" : "");
	}
	snprintf(sql + at, sizeof(sql) - at, "COMMIT");
	begin = now_ns();
	result = PQexec(c->db, sql);
	if (step_outcome(c, result, KIND_WRITE, begin) == OUTCOME_FAILED)
		PQclear(PQexec(c->db, "ROLLBACK"));
	PQclear(result);
	/* Also when it failed: an id is not used twice. */
	c->next_row += n;
}

/* Beside all that is in the index, or to another group with the same vector. */
static void
touch(LoadClient *c, int64_t id)
{
	static const char *const beside = "UPDATE t SET n = n + 1 WHERE id = $1::bigint";
	static const char *const move = "UPDATE t SET g = $2::int, w = $3 WHERE id = $1::bigint";
	int			group = (int) prng_below(&c->prng, GROUPS);
	char		id_text[TEXTS];
	char		group_text[TEXTS];
	char		word[WORD_TEXT];
	int64_t		begin = now_ns();
	PGresult   *result;

	snprintf(id_text, TEXTS, "%lld", (long long) id);
	snprintf(group_text, TEXTS, "%d", group);
	word_of(id, group, word);
	result = prng_below(&c->prng, 2) == 0 ? db_ask(c->db, beside, id_text, NULL) : db_ask(c->db, move, id_text, group_text, word, NULL);
	step_outcome(c, result, KIND_WRITE, begin);
	PQclear(result);
}

void
one_operation(LoadClient *c)
{
	int64_t		key = 1 + prng_below(&c->prng, (uint32_t) c->options->keys);
	uint32_t	dice = prng_below(&c->prng, 100);
	int64_t		own = c->first_row;

	if (c->next_row > c->first_row)
		own += prng_below(&c->prng, (uint32_t) (c->next_row - c->first_row));
	if (dice < 25)
		put(c, key);
	else if (dice < 35)
		delete(c, key);
	else if (dice < 65)
		get(c, key);
	else if (dice < 80)
		search(c);
	else if (dice < 83)
		search_many(c);
	else if (dice < 85)
		compare(c);
	else if (dice < 92)
		add_rows(c);
	else if (dice < 94)
		recall_touch(c);
	else if (dice < 97)
		touch(c, own);
	else
		delete(c, own);
}

/* Of the table whose rows are many seldom, as it lists them all; where there are no clients, there is none. */
void
vacuum(LoadClient *c)
{
	int64_t		begin = now_ns();
	PGresult   *result = PQexec(c->db, c->options->clients > 0 && prng_below(&c->prng, 8) == 0 ? "VACUUM r" : "VACUUM t");

	step_outcome(c, result, KIND_VACUUM, begin);
	PQclear(result);
	for (int i = 0; i < 20 && !atomic_load(&load_now.stopping); i++)
		usleep(10000);
}
