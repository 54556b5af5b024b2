/*-------------------------------------------------------------------------
 *
 * load.c
 *	  Load on a server while its cluster suffers, and questions afterwards.
 *
 *		load fill CONNINFO ROWS SHARDS [PD]		the table, its indexes (that on bits has one
 *												shard), rows of the beginning; another
 *												table, for recall;
 *												where placement drivers are named, a collection
 *		load collection CONNINFO PD				the collection alone, whose name is kept in a table `once`
 *		load run CONNINFO SEED CLIENTS KEYS READ_TIMEOUT_MS SECONDS HISTORY [PD]
 *												until SIGTERM or "end", at most SECONDS; with 0
 *												CLIENTS only VACUUM and the collection
 *		load recall CONNINFO QUERIES			recall@10 of the table r (recall.c);
 *												1: not all was found by walks
 *		load rows CONNINFO						every row by its own vector, and by its group
 *
 * What run prints: "operations N slowest_ms N" as it goes on, the latter of gets and
 * searches; at the end a line for each kind of statement, "KIND done N failed N
 * slowest_ms N", and "all wrong N unknown N behind N stood_ms N", the last of how long it was
 * not let run at a time: more than a second or two says that the machine was busy elsewhere, and
 * that what waited then says little.  What it reads: another READ_TIMEOUT_MS, or "end".
 *
 *-------------------------------------------------------------------------
 */
#include "steps.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static PGconn *
session(const char *conninfo)
{
	PGconn	   *db = db_open(conninfo);

	if (!db)
	{
		fprintf(stderr, "load: no session\n");
		exit(2);
	}
	return db;
}

static PGresult *
rows_of(PGconn *db, PGresult *result)
{
	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
	{
		fprintf(stderr, "load: %s", PQerrorMessage(db));
		exit(2);
	}
	return result;
}

static int
fill(const char *conninfo, int64_t rows, int shards, const char *pd)
{
	PGconn	   *db = session(conninfo);
	char		bits[BITS_TEXT];
	char		sql[BITS_TEXT + 400];

	bits_sql("v", bits);
	snprintf(sql, sizeof(sql), "CREATE TABLE t (id bigint PRIMARY KEY, ver bigint, n int, g int, w text, v vector(%d));"
			 "CREATE INDEX t_v ON t USING vectron (v vector_l2_ops, g, w) WITH (shards = %d, replicas = 3);"
			 "CREATE INDEX t_b ON t USING vectron ((%s) bit_hamming_ops) WITH (shards = 1, replicas = 3)", DIM, shards, bits);
	PQclear(rows_of(db, PQexec(db, sql)));
	PQclear(rows_of(db, PQexec(db, "BEGIN")));
	for (int64_t id = BASE_FIRST; id < BASE_FIRST + rows; id++)
	{
		float		v[DIM];
		char		text[VECTOR_TEXT];
		char		id_text[24];
		char		group[16];
		char		word[WORD_TEXT];

		vector_of(id, 0, v);
		vector_text(v, text);
		snprintf(id_text, sizeof(id_text), "%lld", (long long) id);
		snprintf(group, sizeof(group), "%d", (int) (id % GROUPS));
		word_of(id, (int) (id % GROUPS), word);
		PQclear(rows_of(db, db_ask(db, "INSERT INTO t VALUES ($1, 0, 0, $2, $3, $4::vector)", id_text, group, word, text, NULL)));
	}
	PQclear(rows_of(db, PQexec(db, "COMMIT")));
	if (!recall_fill(db) || (pd && !once_create(db, pd)))
		return 2;
	PQfinish(db);
	return 0;
}

static int
collection(const char *conninfo, const char *pd)
{
	PGconn	   *db = session(conninfo);
	bool		good = once_create(db, pd);

	PQfinish(db);
	return good ? 0 : 2;
}

/* A row is the nearest to its own vector, at distance zero. */
static bool
is_nearest(PGconn *db, const char *id, const char *vector, const float v[DIM])
{
	PGresult   *got = rows_of(db, db_ask(db, "SELECT id, ver, v <-> $1::vector, g, w FROM t ORDER BY v <-> $1::vector LIMIT 1", vector, NULL));
	bool		is = PQntuples(got) == 1 && strcmp(PQgetvalue(got, 0, 0), id) == 0 && rows_wrong(got, v, NULL) == 0;

	PQclear(got);
	return is;
}

/* A row is found by a scan that goes on to the end, among all or in a group ("": among all). */
static bool
is_there(PGconn *db, const char *id, const char *vector, const char *group)
{
	const char *all = "SELECT id FROM t WHERE id + 0 = $2 ORDER BY v <-> $1::vector LIMIT 1";
	const char *of_group = "SELECT id FROM t WHERE id + 0 = $2 AND g = $3 ORDER BY v <-> $1::vector LIMIT 1";
	PGresult   *got = rows_of(db, *group ? db_ask(db, of_group, vector, id, group, NULL) : db_ask(db, all, vector, id, NULL));
	bool		is = PQntuples(got) == 1;

	PQclear(got);
	return is;
}

/* Some of the rows, and how many of them a graph missed or nothing found. */
typedef struct RowsPart
{
	pthread_t	thread;
	const char *conninfo;
	const PGresult *all;
	int			first;			/* and every LANESth behind it */
	int			missed;
	int			lost;
} RowsPart;

static void *
rows_main(void *arg)
{
	RowsPart   *part = arg;
	PGconn	   *db = session(part->conninfo);

	PQclear(rows_of(db, PQexec(db, "SET vectron.ef_search = 200")));
	for (int i = part->first; i < PQntuples(part->all); i += LANES)
	{
		const char *id = PQgetvalue(part->all, i, 0);
		const char *ver = PQgetvalue(part->all, i, 1);
		const char *group = PQgetvalue(part->all, i, 2);
		float		v[DIM];
		char		text[VECTOR_TEXT];
		bool		found = true;

		vector_of(strtoll(id, NULL, 10), strtoll(ver, NULL, 10), v);
		vector_text(v, text);
		/* A graph may miss one; the scan that goes on to the end may not. */
		if (!is_nearest(db, id, text, v))
		{
			part->missed++;
			found = is_there(db, id, text, "");
		}
		if (!found || !is_there(db, id, text, group))
		{
			fprintf(stderr, "row %s version %s is not in the index%s\n", id, ver, found ? " where one asks for its group" : "");
			part->lost++;
		}
	}
	PQfinish(db);
	return NULL;
}

static int
rows(const char *conninfo)
{
	PGconn	   *db = session(conninfo);
	PGresult   *all = rows_of(db, PQexec(db, "SET enable_seqscan = on; SELECT id, ver, g FROM t"));
	RowsPart	parts[LANES] = {0};
	int			missed = 0;
	int			lost = 0;

	for (int i = 0; i < LANES; i++)
	{
		parts[i] = (RowsPart) {.conninfo = conninfo, .all = all, .first = i};
		if (pthread_create(&parts[i].thread, NULL, rows_main, &parts[i]) != 0)
		{
			fprintf(stderr, "load: no thread\n");
			exit(2);
		}
	}
	for (int i = 0; i < LANES; i++)
	{
		pthread_join(parts[i].thread, NULL);
		missed += parts[i].missed;
		lost += parts[i].lost;
	}
	printf("rows %d missed %d lost %d\n", PQntuples(all), missed, lost);
	PQclear(all);
	PQfinish(db);
	return lost > 0;
}

int
main(int argc, char **argv)
{
	if ((argc == 5 || argc == 6) && strcmp(argv[1], "fill") == 0)
		return fill(argv[2], strtoll(argv[3], NULL, 10), atoi(argv[4]), argc == 6 ? argv[5] : NULL);
	if (argc == 4 && strcmp(argv[1], "collection") == 0)
		return collection(argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[1], "recall") == 0 && atoi(argv[3]) > 0)
		return recall_measure(argv[2], atoi(argv[3]));
	if (argc == 3 && strcmp(argv[1], "rows") == 0)
		return rows(argv[2]);
	if ((argc == 9 || argc == 10) && strcmp(argv[1], "run") == 0)
	{
		LoadOptions options = {
			.conninfo = argv[2],
			.seed = strtoull(argv[3], NULL, 10),
			.clients = atoi(argv[4]),
			.keys = atoi(argv[5]),
			.read_timeout_ms = atoi(argv[6]),
			.seconds = atoi(argv[7]),
			.history = argv[8],
			.pd = argc == 10 ? argv[9] : NULL,
		};

		if (options.clients >= 0 && options.clients < 60 && options.keys > 0 && options.keys <= KEYS_MAX)
			return load_run(&options);
	}
	fputs("usage: load fill|collection|run|recall|rows CONNINFO ... (see load.c)\n", stderr);
	return 2;
}
