/*-------------------------------------------------------------------------
 *
 * load.c
 *	  Clients that search or insert at the same time, each on a connection and
 *	  in a thread of its own, with prepared statements and binary parameters.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

typedef struct ClientThread
{
	Load	   *load;
	uint32_t	number;
	PGconn	   *conn;
	pthread_barrier_t *ready;
	char	   *vector;			/* binary form */
	int			vector_len;
	uint64_t	done;
	uint64_t	hits;
	float	   *latency_us;
	size_t		room;
	double		begin_us;
	double		end_us;
} ClientThread;

static double
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}

static void
set_vector(ClientThread *c, const float *x)
{
	uint32_t	dim = c->load->set->dim;

	c->vector[0] = (char) (dim >> 8);
	c->vector[1] = (char) dim;
	c->vector[2] = c->vector[3] = 0;
	for (uint32_t i = 0; i < dim; i++)
	{
		uint32_t	bits;

		memcpy(&bits, x + i, 4);
		bits = htonl(bits);
		memcpy(c->vector + 4 + 4 * (size_t) i, &bits, 4);
	}
}

static void
note(ClientThread *c, double us)
{
	if (c->done == c->room)
	{
		c->room = c->room ? 2 * c->room : 4096;
		c->latency_us = vt_realloc(c->latency_us, sizeof(float) * c->room);
	}
	c->latency_us[c->done++] = (float) us;
}

static PGresult *
run(ClientThread *c, const char *statement, int n, const char *const *values, const int *lengths)
{
	static const int formats[] = {1, 1};
	PGresult   *result = PQexecPrepared(c->conn, statement, n, values, lengths, formats, 1);

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		die("%s %s: %s", c->load->engine->name, statement, PQerrorMessage(c->conn));
	return result;
}

/* The ids of the K nearest to c->vector. */
static uint32_t
search(ClientThread *c, uint32_t *rows)
{
	const char *values[] = {c->vector};
	int			lengths[] = {c->vector_len};
	PGresult   *result = run(c, "search", 1, values, lengths);
	int			n = PQntuples(result);

	for (int i = 0; i < n && i < K; i++)
	{
		memcpy(&rows[i], PQgetvalue(result, i, 0), 4);
		rows[i] = ntohl(rows[i]);
	}
	PQclear(result);
	return (uint32_t) n;
}

static void
insert(ClientThread *c, uint32_t row)
{
	uint32_t	id = htonl(row);
	const char *values[] = {(const char *) &id, c->vector};
	int			lengths[] = {4, c->vector_len};

	PQclear(run(c, "insert", 2, values, lengths));
}

static void
search_for_a_while(ClientThread *c)
{
	const Load *load = c->load;
	double		until = now_us() + load->seconds * 1e6;
	uint32_t	q = c->number * (load->set->nqueries / load->clients);
	uint32_t	rows[K];
	double		from;

	while ((from = now_us()) < until)
	{
		set_vector(c, load->set->queries + (size_t) (q % load->set->nqueries) * load->set->dim);
		from = now_us();
		search(c, rows);
		note(c, now_us() - from);
		q++;
	}
}

static void
search_each(ClientThread *c)
{
	const Load *load = c->load;
	uint32_t	rows[K];

	for (uint32_t q = load->first + c->number; q < load->after; q += load->clients)
	{
		uint32_t	n;
		double		from;

		set_vector(c, load->set->queries + (size_t) q * load->set->dim);
		from = now_us();
		n = search(c, rows);
		note(c, now_us() - from);
		c->hits += set_hits(load->set, q, rows, n < K ? n : K);
	}
}

/* Is the row, or one as near, the nearest to its vector? */
static bool
found(ClientThread *c, uint32_t row)
{
	const Set  *set = c->load->set;
	const float *own = set->base + (size_t) row * set->dim;
	uint32_t	rows[K];
	uint32_t	n = search(c, rows);

	if (n == 0 || rows[0] >= set->n)
		return false;
	return vec_distance(set->metric, own, set->base + (size_t) rows[0] * set->dim, set->dim) <=
		vec_distance(set->metric, own, own, set->dim);
}

static void
insert_each(ClientThread *c)
{
	const Load *load = c->load;

	for (uint32_t row = load->first + c->number; row < load->after; row += load->clients)
	{
		double		from;

		set_vector(c, load->set->base + (size_t) row * load->set->dim);
		from = now_us();
		insert(c, row);
		note(c, now_us() - from);
		if (load->work == WORK_FIND)
			c->hits += found(c, row);
	}
}

static void *
client_main(void *arg)
{
	ClientThread *c = (ClientThread *) arg;

	pthread_barrier_wait(c->ready);
	c->begin_us = now_us();
	switch (c->load->work)
	{
		case WORK_SEARCH:
			search_for_a_while(c);
			break;
		case WORK_RECALL:
			search_each(c);
			break;
		case WORK_INSERT:
		case WORK_FIND:
			insert_each(c);
			break;
	}
	c->end_us = now_us();
	return NULL;
}

static void
prepare(ClientThread *c)
{
	const Load *load = c->load;
	char		search_text[200];

	c->conn = db_open(load->settings, load->engine);
	c->vector_len = 4 + 4 * (int) load->set->dim;
	c->vector = vt_alloc((size_t) c->vector_len);
	db_run(c->conn, "SET enable_seqscan = %s", load->exact ? "on" : "off");
	db_run(c->conn, "SET enable_indexscan = %s", load->exact ? "off" : "on");
	if (load->ef)
		db_run(c->conn, "SET %s = %u", load->engine->ef_setting, load->ef);
	snprintf(search_text, sizeof(search_text), "SELECT id FROM t ORDER BY v %s $1::vector LIMIT %d",
			 db_operator(load->set->metric), K);
	PQclear(PQprepare(c->conn, "search", search_text, 0, NULL));
	PQclear(PQprepare(c->conn, "insert", "INSERT INTO t (id, v) VALUES ($1::int, $2::vector)", 0, NULL));

	/* Plans, caches and connections are made before the clock runs. */
	if (load->work == WORK_SEARCH || load->work == WORK_RECALL)
		for (uint32_t q = 0; q < 8 && q < load->set->nqueries && !load->exact; q++)
		{
			uint32_t	rows[K];

			set_vector(c, load->set->queries + (size_t) q * load->set->dim);
			search(c, rows);
		}
}

void
load_run(Load *load)
{
	ClientThread clients[MAX_CLIENTS];
	pthread_t	threads[MAX_CLIENTS];
	pthread_barrier_t ready;
	Usage		before;
	Usage		after;
	double		begin = 0;
	double		end = 0;
	uint64_t	done = 0;

	memset(clients, 0, sizeof(clients));
	pthread_barrier_init(&ready, NULL, load->clients + 1);
	for (uint32_t i = 0; i < load->clients; i++)
	{
		clients[i].load = load;
		clients[i].number = i;
		clients[i].ready = &ready;
		prepare(&clients[i]);
		if (pthread_create(&threads[i], NULL, client_main, &clients[i]) != 0)
			die("no thread");
	}
	usage_take(load->settings, &before);
	pthread_barrier_wait(&ready);
	for (uint32_t i = 0; i < load->clients; i++)
		pthread_join(threads[i], NULL);
	usage_take(load->settings, &after);
	usage_add(&load->usage, &before, &after);

	for (uint32_t i = 0; i < load->clients; i++)
	{
		ClientThread *c = &clients[i];

		begin = i == 0 || c->begin_us < begin ? c->begin_us : begin;
		end = c->end_us > end ? c->end_us : end;
		load->latency_us = vt_realloc(load->latency_us, sizeof(float) * (load->nlatencies + c->done + 1));
		memcpy(load->latency_us + load->nlatencies, c->latency_us, sizeof(float) * c->done);
		load->nlatencies += c->done;
		load->hits += c->hits;
		done += c->done;
		free(c->latency_us);
		free(c->vector);
		PQfinish(c->conn);
	}
	load->done = done;
	load->elapsed_s = (end - begin) / 1e6;
	pthread_barrier_destroy(&ready);
}

static int
compare_floats(const void *a, const void *b)
{
	float		x = *(const float *) a;
	float		y = *(const float *) b;

	return x < y ? -1 : x > y;
}

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

double
load_latency(Load *load, double quantile)
{
	qsort(load->latency_us, load->nlatencies, sizeof(float), compare_floats);
	return load->nlatencies ? load->latency_us[(size_t) (quantile * (double) (load->nlatencies - 1))] : 0;
}

double
median(const double *values, uint32_t n)
{
	double		sorted[MAX_ROUNDS];

	if (n == 0)
		return 0;
	memcpy(sorted, values, sizeof(double) * n);
	qsort(sorted, n, sizeof(double), compare_doubles);
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}
