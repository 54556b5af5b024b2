/*-------------------------------------------------------------------------
 *
 * clients.c
 *	  Several clients at once, and what each was answered, with times.
 *
 * Keys are registers: 0 when there is no row, else its version.  A put or delete
 * writes, a get through the index reads; the checker (test/lin) says whether the
 * answers fit together.  A statement that failed changed nothing, since PostgreSQL
 * has undone it; one whose connection broke has an unknown outcome.
 *
 * A question that failed because whoever answers was behind the mark is asked again:
 * where nobody within reach has applied it, waiting is all there is.
 *
 * Other rows come and go besides, with savepoints, updates beside the vector, and
 * VACUUM, so that TIDs are used again.
 *
 *-------------------------------------------------------------------------
 */
#include "load.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/prng.h"

#define TEXTS 24
#define BEHIND_NS INT64_C(30000000000)	/* so long may all be behind a mark */

typedef enum Kind
{
	KIND_WRITE,
	KIND_GET,
	KIND_SEARCH,
	KIND_VACUUM,
	KINDS
} Kind;

static const char *const kind_names[KINDS] = {"write", "get", "search", "vacuum"};

typedef struct Client
{
	const LoadOptions *options;
	int			number;			/* 0: the one that vacuums */
	PGconn	   *db;
	Prng		prng;
	FILE	   *history;
	int64_t		versions;
	int64_t		first_row;		/* rows first_row .. next_row - 1 are its own; some were deleted */
	int64_t		next_row;

	/* What came of it */
	uint64_t	done[KINDS];
	uint64_t	failed[KINDS];
	int64_t		slowest_ns[KINDS];
	uint64_t	unknown;
	uint64_t	wrong;
	uint64_t	behind;
	int			read_timeout_ms;	/* of the session; 0: not set yet */
	pthread_t	thread;
} Client;

static atomic_bool stopping;
static atomic_ullong operations;
static atomic_llong slowest_read_ns;
static atomic_int read_timeout_ms;

static void
stop(int number)
{
	(void) number;				/* of a signal */
	atomic_store(&stopping, true);
}

/* -- One statement ----------------------------------------------------------------- */

typedef enum Outcome
{
	OUTCOME_DONE,
	OUTCOME_FAILED,				/* and undone */
	OUTCOME_UNKNOWN
} Outcome;

static const char *
words(const PGresult *result, int field)
{
	const char *text = PQresultErrorField(result, field);

	return text ? text : "";
}

static Outcome
outcome_of(Client *c, PGresult *result, Kind kind, int64_t begin)
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
	if ((kind == KIND_GET || kind == KIND_SEARCH) && took > atomic_load(&slowest_read_ns))
		atomic_store(&slowest_read_ns, took);
	atomic_fetch_add(&operations, 1);
	return outcome;
}

static bool
is_behind(const PGresult *result)
{
	return PQresultStatus(result) == PGRES_FATAL_ERROR && strstr(words(result, PG_DIAG_MESSAGE_PRIMARY), "the mark") != NULL;
}

/* A question to the index. */
static PGresult *
ask_index(Client *c, const char *sql, const char *one, const char *other)
{
	int64_t		begin = now_ns();
	PGresult   *result = db_ask(c->db, sql, one, other, NULL);

	while (is_behind(result) && now_ns() - begin < BEHIND_NS)
	{
		PQclear(result);
		c->behind++;
		result = db_ask(c->db, sql, one, other, NULL);
	}
	return result;
}

/* The end of an operation as the checker wants it. */
static void
record(Client *c, int64_t key, int64_t begin, Outcome outcome, const char *what, int64_t value)
{
	if (outcome == OUTCOME_UNKNOWN)
		fprintf(c->history, "k%lld %lld - %s %lld\n", (long long) key, (long long) begin, what, (long long) value);
	else
		fprintf(c->history, "k%lld %lld %lld %s %lld\n", (long long) key, (long long) begin,
				(long long) now_ns(), what, (long long) value);
}

/* -- What clients do ------------------------------------------------------------------ */

static int64_t
new_version(Client *c)
{
	return ++c->versions * 64 + c->number;
}

static void
put(Client *c, int64_t key)
{
	int64_t		ver = new_version(c);
	float		v[DIM];
	char		text[VECTOR_TEXT];
	char		id_text[TEXTS];
	char		ver_text[TEXTS];
	int64_t		begin;
	Outcome		outcome;
	PGresult   *result;

	vector_of(key, ver, v);
	vector_text(v, text);
	snprintf(id_text, TEXTS, "%lld", (long long) key);
	snprintf(ver_text, TEXTS, "%lld", (long long) ver);
	begin = now_ns();
	result = db_ask(c->db, "INSERT INTO t VALUES ($1, $2, 0, $3::vector) "
					"ON CONFLICT (id) DO UPDATE SET ver = excluded.ver, v = excluded.v",
					id_text, ver_text, text, NULL);
	outcome = outcome_of(c, result, KIND_WRITE, begin);
	PQclear(result);
	if (outcome != OUTCOME_FAILED)
		record(c, key, begin, outcome, "write", ver);
}

static void
delete(Client *c, int64_t key)
{
	char		id_text[TEXTS];
	int64_t		begin = now_ns();
	Outcome		outcome;
	PGresult   *result;

	snprintf(id_text, TEXTS, "%lld", (long long) key);
	result = db_ask(c->db, "DELETE FROM t WHERE id = $1::bigint", id_text, NULL);
	outcome = outcome_of(c, result, KIND_WRITE, begin);
	PQclear(result);
	if (outcome != OUTCOME_FAILED && key <= KEYS_MAX)
		record(c, key, begin, outcome, "write", 0);
}

/*
 * Read a key through the index alone: id + 0 keeps the primary key out of it, and
 * the scan goes on until it has found the row or seen all.
 */
static void
get(Client *c, int64_t key)
{
	float		v[DIM];
	char		text[VECTOR_TEXT];
	char		id_text[TEXTS];
	int64_t		begin;
	Outcome		outcome;
	PGresult   *result;

	vector_near(key, v);
	vector_text(v, text);
	snprintf(id_text, TEXTS, "%lld", (long long) key);
	begin = now_ns();
	result = ask_index(c, "SELECT id, ver, v <-> $1::vector FROM t WHERE id + 0 = $2 "
					   "ORDER BY v <-> $1::vector LIMIT 1", text, id_text);
	outcome = outcome_of(c, result, KIND_GET, begin);
	if (outcome == OUTCOME_DONE)
	{
		c->wrong += (uint64_t) db_wrong_rows(result, v);
		record(c, key, begin, outcome, "read",
			   PQntuples(result) == 0 ? 0 : strtoll(PQgetvalue(result, 0, 1), NULL, 10));
	}
	PQclear(result);
}

static void
search(Client *c)
{
	float		v[DIM];
	char		text[VECTOR_TEXT];
	int64_t		begin;
	PGresult   *result;

	vector_near((int64_t) prng_next(&c->prng), v);
	vector_text(v, text);
	begin = now_ns();
	result = ask_index(c, "SELECT id, ver, v <-> $1::vector FROM t ORDER BY v <-> $1::vector LIMIT 10", text, NULL);
	if (outcome_of(c, result, KIND_SEARCH, begin) == OUTCOME_DONE)
		c->wrong += (uint64_t) db_wrong_rows(result, v);
	PQclear(result);
}

/* Rows of its own: one, or a few of which a savepoint takes some back. */
static void
add_rows(Client *c)
{
	int			n = prng_below(&c->prng, 3) == 0 ? 4 : 1;
	char		sql[4 * VECTOR_TEXT + 400];
	size_t		at = (size_t) snprintf(sql, sizeof(sql), "BEGIN;");
	int64_t		begin;
	PGresult   *result;

	for (int i = 0; i < n; i++)
	{
		float		v[DIM];
		char		text[VECTOR_TEXT];

		vector_of(c->next_row + i, 0, v);
		vector_text(v, text);
		at += (size_t) snprintf(sql + at, sizeof(sql) - at, "%sINSERT INTO t VALUES (%lld, 0, 0, '%s');%s",
								i == 2 ? "SAVEPOINT s;" : "", (long long) c->next_row + i, text,
								i == 2 ? "ROLLBACK TO s;" : "");
	}
	snprintf(sql + at, sizeof(sql) - at, "COMMIT");
	begin = now_ns();
	result = PQexec(c->db, sql);
	if (outcome_of(c, result, KIND_WRITE, begin) == OUTCOME_FAILED)
		PQclear(PQexec(c->db, "ROLLBACK"));
	PQclear(result);
	/* Also when it failed: an id is not used twice. */
	c->next_row += n;
}

static void
touch(Client *c, int64_t id)
{
	char		id_text[TEXTS];
	int64_t		begin = now_ns();
	PGresult   *result;

	snprintf(id_text, TEXTS, "%lld", (long long) id);
	result = db_ask(c->db, "UPDATE t SET n = n + 1 WHERE id = $1::bigint", id_text, NULL);
	outcome_of(c, result, KIND_WRITE, begin);
	PQclear(result);
}

static void
one_operation(Client *c)
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
	else if (dice < 85)
		search(c);
	else if (dice < 93)
		add_rows(c);
	else if (dice < 97)
		touch(c, own);
	else
		delete(c, own);
}

static void
vacuum(Client *c)
{
	int64_t		begin = now_ns();
	PGresult   *result = PQexec(c->db, "VACUUM t");

	outcome_of(c, result, KIND_VACUUM, begin);
	PQclear(result);
	for (int i = 0; i < 20 && !atomic_load(&stopping); i++)
		usleep(10000);
}

/* A session as it is to be now; false: there is none yet. */
static bool
have_session(Client *c)
{
	int			wanted_ms = atomic_load(&read_timeout_ms);

	if (c->db && PQstatus(c->db) != CONNECTION_OK)
	{
		PQfinish(c->db);
		c->db = NULL;
	}
	if (!c->db)
	{
		c->db = db_open(c->options->conninfo);
		c->read_timeout_ms = 0;
	}
	if (c->db && c->read_timeout_ms != wanted_ms && db_set_read_timeout(c->db, wanted_ms))
		c->read_timeout_ms = wanted_ms;
	return c->db && c->read_timeout_ms == wanted_ms;
}

static void *
client_main(void *arg)
{
	Client	   *c = arg;

	while (!atomic_load(&stopping))
	{
		if (!have_session(c))
			usleep(50000);
		else if (c->number == 0)
			vacuum(c);
		else
			one_operation(c);
	}
	PQfinish(c->db);
	return NULL;
}

/* -- All of them ------------------------------------------------------------------------- */

static bool
join_histories(const LoadOptions *options, Client *clients, int n)
{
	FILE	   *out = fopen(options->history, "w");

	for (int i = 0; out && i < n; i++)
	{
		char		part[4096];
		size_t		len;

		rewind(clients[i].history);
		while ((len = fread(part, 1, sizeof(part), clients[i].history)) > 0)
			fwrite(part, 1, len, out);
	}
	return out && fclose(out) == 0;
}

/* For a moment, wait for something that we are told. */
static void
listen_a_while(void)
{
	static char line[64];
	static size_t len;
	static bool ended;
	struct pollfd in = {.fd = ended ? -1 : STDIN_FILENO, .events = POLLIN};
	ssize_t		n;

	if (poll(&in, 1, 100) <= 0)
		return;
	n = read(STDIN_FILENO, line + len, sizeof(line) - 1 - len);
	ended = n <= 0;
	len += n > 0 ? (size_t) n : 0;
	line[len] = '\0';
	if (len == 0 || line[len - 1] != '\n')
		return;
	if (strcmp(line, "end\n") == 0)
		stop(0);
	else if (atoi(line) > 0)
		atomic_store(&read_timeout_ms, atoi(line));
	len = 0;
}

int
load_run(const LoadOptions *options)
{
	Client	   *clients = calloc((size_t) options->clients + 1, sizeof(Client));
	uint64_t	wrong = 0;
	uint64_t	unknown = 0;
	uint64_t	behind = 0;
	int64_t		begin = now_ns();

	signal(SIGTERM, stop);
	atomic_store(&read_timeout_ms, options->read_timeout_ms);
	for (int i = 0; clients && i <= options->clients; i++)
	{
		Client	   *c = &clients[i];

		c->options = options;
		c->number = i;
		c->prng.state = prng_mix(options->seed * 1000 + (uint64_t) i);
		/* Versions and rows of every run are others. */
		c->versions = begin / 1000;
		c->first_row = c->next_row = CLIENT_FIRST * (begin / 1000000 * 64 + i);
		c->history = tmpfile();
		if (!c->history || pthread_create(&c->thread, NULL, client_main, c) != 0)
		{
			perror("load");
			return 2;
		}
	}
	while (!atomic_load(&stopping) && now_ns() - begin < (int64_t) options->seconds * 1000000000)
	{
		printf("operations %llu slowest_ms %lld\n", atomic_load(&operations), atomic_load(&slowest_read_ns) / 1000000);
		fflush(stdout);
		listen_a_while();
	}
	atomic_store(&stopping, true);
	for (int i = 0; i <= options->clients; i++)
		pthread_join(clients[i].thread, NULL);
	if (!join_histories(options, clients, options->clients + 1))
	{
		perror(options->history);
		return 2;
	}
	for (int k = 0; k < KINDS; k++)
	{
		uint64_t	done = 0;
		uint64_t	failed = 0;
		int64_t		slowest = 0;

		for (int i = 0; i <= options->clients; i++)
		{
			done += clients[i].done[k];
			failed += clients[i].failed[k];
			slowest = clients[i].slowest_ns[k] > slowest ? clients[i].slowest_ns[k] : slowest;
		}
		printf("%s done %llu failed %llu slowest_ms %lld\n", kind_names[k], (unsigned long long) done,
			   (unsigned long long) failed, (long long) slowest / 1000000);
	}
	for (int i = 0; i <= options->clients; i++)
	{
		wrong += clients[i].wrong;
		unknown += clients[i].unknown;
		behind += clients[i].behind;
		fclose(clients[i].history);
	}
	printf("all wrong %llu unknown %llu behind %llu\n", (unsigned long long) wrong, (unsigned long long) unknown,
		   (unsigned long long) behind);
	free(clients);
	return 0;
}
