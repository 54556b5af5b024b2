/*-------------------------------------------------------------------------
 *
 * db.c
 *	  Tables, indexes and rows of one engine.
 *
 * Both engines call their type vector, so each has a database of its own in one
 * server, with the same settings.  Vectors travel in their binary form.
 *
 *-------------------------------------------------------------------------
 */
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "bench.h"
#include "client/client.h"

void
die(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	fprintf(stderr, "sql_bench: ");
	vfprintf(stderr, fmt, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

static PGconn *
connect_to(const Settings *settings, const char *database)
{
	const char *const keys[] = {"host", "user", "dbname", "application_name", NULL};
	const char *const values[] = {settings->host, "postgres", database, "sql_bench", NULL};
	PGconn	   *conn = PQconnectdbParams(keys, values, 0);

	if (PQstatus(conn) != CONNECTION_OK)
		die("%s", PQerrorMessage(conn));
	return conn;
}

PGconn *
db_open(const Settings *settings, const Engine *engine)
{
	PGconn	   *conn = connect_to(settings, engine->database);

	db_run(conn, "SET jit = off");
	db_run(conn, "SET client_min_messages = warning");
	return conn;
}

static PGresult *
query(PGconn *conn, const char *fmt, va_list args)
{
	char		text[1000];
	PGresult   *result;

	vsnprintf(text, sizeof(text), fmt, args);
	result = PQexec(conn, text);
	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK &&
		PQresultStatus(result) != PGRES_COPY_IN)
		die("%s: %s", text, PQerrorMessage(conn));
	return result;
}

void
db_run(PGconn *conn, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	PQclear(query(conn, fmt, args));
	va_end(args);
}

double
db_number(PGconn *conn, const char *fmt,...)
{
	va_list		args;
	PGresult   *result;
	double		number;

	va_start(args, fmt);
	result = query(conn, fmt, args);
	va_end(args);
	if (PQntuples(result) != 1)
		die("a question for a number was answered with %d rows", PQntuples(result));
	number = atof(PQgetvalue(result, 0, 0));
	PQclear(result);
	return number;
}

void
db_prepare(Settings *settings)
{
	PGconn	   *conn = connect_to(settings, "postgres");

	for (int e = 0; e < ENGINES; e++)
	{
		Engine	   *engine = &settings->engines[e];
		PGconn	   *own;
		PGresult   *result;

		engine->present = db_number(conn, "SELECT count(*) FROM pg_available_extensions WHERE name = '%s'",
									engine->extension) > 0;
		if (!engine->present)
			continue;
		db_run(conn, "CREATE DATABASE %s", engine->database);
		own = connect_to(settings, engine->database);
		db_run(own, "CREATE EXTENSION %s", engine->extension);
		result = PQexec(own, "SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql'");
		snprintf(engine->version, sizeof(engine->version), "%s", PQgetvalue(result, 0, 1));
		PQclear(result);
		PQfinish(own);
	}
	PQfinish(conn);
}

const char *
db_operator(VecMetric metric)
{
	return metric == VEC_L2 ? "<->" : metric == VEC_COSINE ? "<=>" : metric == VEC_L1 ? "<+>" : "<#>";
}

static const char *
opclass(VecMetric metric)
{
	return metric == VEC_L2 ? "vector_l2_ops" : metric == VEC_COSINE ? "vector_cosine_ops" :
		metric == VEC_L1 ? "vector_l1_ops" : "vector_ip_ops";
}

void
db_table(PGconn *conn, const Set *set)
{
	db_run(conn, "DROP TABLE IF EXISTS t");
	db_run(conn, "CREATE TABLE t (id int, v vector(%u))", set->dim);
}

/* The rival gets the memory and the processes that its manual asks for. */
void
db_index(PGconn *conn, const Settings *settings, const Engine *engine, const Set *set)
{
	long		cores = sysconf(_SC_NPROCESSORS_ONLN);

	db_run(conn, "SET maintenance_work_mem = '4GB'");
	db_run(conn, "SET max_parallel_maintenance_workers = %ld", cores - 1);
	db_run(conn, "ALTER TABLE t SET (parallel_workers = %ld)", cores - 1);
	db_run(conn, "CREATE INDEX t_v ON t USING %s (v %s) WITH (m = %u, ef_construction = %u)",
		   engine->method, opclass(set->metric), settings->m, settings->ef_construction);
}

static void
put_be(char **at, uint32_t value, int bytes)
{
	while (bytes-- > 0)
		*(*at)++ = (char) (value >> (8 * bytes));
}

double
db_copy(PGconn *conn, const Set *set, uint32_t first, uint32_t after)
{
	char	   *row = vt_alloc(64 + 4 * (size_t) set->dim);
	int64_t		begin = clock_now_us();
	PGresult   *result;

	db_run(conn, "COPY t (id, v) FROM STDIN (FORMAT binary)");
	if (PQputCopyData(conn, "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19) != 1)
		die("COPY: %s", PQerrorMessage(conn));
	for (uint32_t i = first; i < after; i++)
	{
		char	   *at = row;

		put_be(&at, 2, 2);
		put_be(&at, 4, 4);
		put_be(&at, i, 4);
		put_be(&at, 4 + 4 * set->dim, 4);
		put_be(&at, set->dim, 2);
		put_be(&at, 0, 2);
		for (uint32_t j = 0; j < set->dim; j++)
		{
			uint32_t	bits;

			memcpy(&bits, set->base + (size_t) i * set->dim + j, 4);
			put_be(&at, bits, 4);
		}
		if (PQputCopyData(conn, row, (int) (at - row)) != 1)
			die("COPY: %s", PQerrorMessage(conn));
	}
	if (PQputCopyData(conn, "\377\377", 2) != 1 || PQputCopyEnd(conn, NULL) != 1)
		die("COPY: %s", PQerrorMessage(conn));
	result = PQgetResult(conn);
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		die("COPY: %s", PQerrorMessage(conn));
	PQclear(result);
	while ((result = PQgetResult(conn)) != NULL)
		PQclear(result);
	free(row);
	return (double) (clock_now_us() - begin) / 1e6;
}

/* A client trusts only servers of its own user: root becomes the socket's owner for the call. */
static VtStatus
ask_status(Client *client, const char *endpoint, const char **reply, VtError *err)
{
	uid_t		self = geteuid();
	struct stat st;
	VtStatus	status;

	if (self == 0 && (strncmp(endpoint, "unix:", 5) != 0 || stat(endpoint + 5, &st) != 0 ||
					  seteuid(st.st_uid) != 0))
		die("no way to %s", endpoint);
	status = client_control_at(client, endpoint, "{\"op\":\"status\"}", clock_now_us() + 10000000, reply, err);
	if (self == 0 && seteuid(self) != 0)
		die("could not be root again");
	return status;
}

/* What the worker at an endpoint says of one of its shards; -1: it has none like that. */
static double
shard_backlog(Client *client, const char *endpoint, const char *shard)
{
	const char *reply = NULL;
	VtError		err = {0};
	VtStatus	status = ask_status(client, endpoint, &reply, &err);
	json_t	   *answer = status == VT_OK ? json_loads(reply, 0, NULL) : NULL;
	double		waiting = -1;
	json_t	   *row;
	size_t		i;

	json_array_foreach(json_object_get(answer, "shards"), i, row)
	{
		const char *id = json_string_value(json_object_get(row, "shard"));

		if (id && strcmp(id, shard) == 0)
			waiting = atof(json_string_value(json_object_get(row, "unindexed")));
	}
	if (answer == NULL)
		die("%s does not say how it is: %s", endpoint, vt_error_words(&err));
	json_decref(answer);
	return waiting;
}

/* From the workers themselves: views are as old as the last heartbeat. */
double
db_backlog(PGconn *conn, const Engine *engine)
{
	ClientOptions options = {.ops = client_poll_ops, .role = WIRE_ROLE_CTL};
	Client	   *client;
	PGresult   *shards;
	double		waiting = 0;
	int			found = 0;
	VtError		err = {0};

	if (!engine->ours)
		return 0;
	if (client_open(&options, &client, &err) != VT_OK)
		die("%s", vt_error_words(&err));
	shards = PQexec(conn, "SELECT endpoint, shard FROM vectron.shards WHERE index LIKE '%.t_v'");
	for (int i = 0; i < PQntuples(shards); i++)
	{
		double		of_shard = shard_backlog(client, PQgetvalue(shards, i, 0), PQgetvalue(shards, i, 1));

		/* The table of the mode before had an index of the same name. */
		if (of_shard < 0)
			continue;
		waiting += of_shard;
		found++;
	}
	if (found == 0)
		die("no shard of the index is reported");
	PQclear(shards);
	client_close(client);
	return waiting;
}

double
db_drain(PGconn *conn, const Engine *engine)
{
	int64_t		begin = clock_now_us();

	for (int i = 0; db_backlog(conn, engine) > 0; i++)
	{
		if (i == 300000)
			die("the backlog of %s is not indexed after a very long time", engine->name);
		usleep(2000);
	}
	return (double) (clock_now_us() - begin) / 1e6;
}
