/*-------------------------------------------------------------------------
 *
 * clients.c
 *	  Several clients at once, and what each was answered, with times.
 *
 *-------------------------------------------------------------------------
 */
#include "steps.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ONCE_CLIENTS 3
#define WALK_EF 10				/* a walk that keeps more would cost more than comparing all of the few rows there are */

LoadNow		load_now;

static void
stop(int number)
{
	(void) number;				/* of a signal */
	atomic_store(&load_now.stopping, true);
}

/* A session as it is to be now; false: there is none yet. */
static bool
have_session(LoadClient *c)
{
	int			wanted_ms = atomic_load(&load_now.read_timeout_ms);
	int			has_ms;

	if (c->db && PQstatus(c->db) != CONNECTION_OK)
	{
		PQfinish(c->db);
		c->db = NULL;
	}
	if (!c->db)
	{
		c->db = db_open(c->options->conninfo);
		atomic_store(&c->read_timeout_ms, 0);
		if (c->db && c->number % 2 == 1 && !db_set_ef(c->db, WALK_EF))
		{
			PQfinish(c->db);
			c->db = NULL;
		}
	}
	has_ms = atomic_load(&c->read_timeout_ms);
	if (c->db && has_ms != wanted_ms && db_set_read_timeout(c->db, wanted_ms))
		atomic_store(&c->read_timeout_ms, has_ms = wanted_ms);
	return c->db && has_ms == wanted_ms;
}

static void *
client_main(void *arg)
{
	LoadClient *c = arg;

	while (!atomic_load(&load_now.stopping))
	{
		if (c->once)
			once_operation(c);
		else if (!have_session(c))
			usleep(50000);
		else if (c->number == 0)
			vacuum(c);
		else
			one_operation(c);
	}
	once_close(c->once);
	PQfinish(c->db);
	return NULL;
}

/* -- All of them ------------------------------------------------------------------------- */

static bool
join_histories(const LoadOptions *options, LoadClient *clients, int n)
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
		atomic_store(&load_now.read_timeout_ms, atoi(line));
	len = 0;
}

/* What was told last, if all that is under way was begun under it; else 0. */
static int
read_timeout_of_all(LoadClient *clients, const LoadOptions *options)
{
	int			wanted_ms = atomic_load(&load_now.read_timeout_ms);

	for (int i = 0; i <= options->clients; i++)
		if (atomic_load(&clients[i].read_timeout_ms) != wanted_ms)
			return 0;
	return wanted_ms;
}

/* Rows of the beginning, and the collection for those who work there; false: told. */
static bool
begin_with(const LoadOptions *options, LoadClient *clients, int n, int64_t begin)
{
	PGconn	   *db = db_open(options->conninfo);
	char		sql[120];
	PGresult   *result;
	bool		good;

	if (!db)
		return false;
	snprintf(sql, sizeof(sql), "SELECT count(*) FROM t WHERE id >= %d AND id < %lld", BASE_FIRST, (long long) CLIENT_FIRST);
	result = PQexec(db, sql);
	good = PQresultStatus(result) == PGRES_TUPLES_OK;
	for (int i = 0; i < n && good; i++)
	{
		clients[i].base_rows = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
		if (i > options->clients)
			good = (clients[i].once = once_open(db, options->pd, (uint32_t) (begin / 1000000000))) != NULL;
	}
	PQclear(result);
	PQfinish(db);
	return good;
}

int
load_run(const LoadOptions *options)
{
	int			n = 1 + options->clients + (options->pd ? ONCE_CLIENTS : 0);
	LoadClient *clients = calloc((size_t) n, sizeof(LoadClient));
	uint64_t	wrong = 0;
	uint64_t	unknown = 0;
	uint64_t	behind = 0;
	int64_t		begin = now_ns();
	int64_t		looked = begin;
	int64_t		stood_ns = 0;	/* the longest time in which we were not let run */

	if (!clients || !begin_with(options, clients, n, begin))
	{
		fprintf(stderr, "load: it cannot begin\n");
		return 2;
	}
	signal(SIGTERM, stop);
	atomic_store(&load_now.read_timeout_ms, options->read_timeout_ms);
	for (int i = 0; i < n; i++)
	{
		LoadClient *c = &clients[i];

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
	while (!atomic_load(&load_now.stopping) && now_ns() - begin < (int64_t) options->seconds * 1000000000)
	{
		printf("operations %llu slowest_ms %lld timeout_ms %d\n", atomic_load(&load_now.operations),
			   atomic_load(&load_now.slowest_read_ns) / 1000000, read_timeout_of_all(clients, options));
		fflush(stdout);
		listen_a_while();
		stood_ns = now_ns() - looked > stood_ns ? now_ns() - looked : stood_ns;
		looked = now_ns();
	}
	atomic_store(&load_now.stopping, true);
	for (int i = 0; i < n; i++)
		pthread_join(clients[i].thread, NULL);
	if (!join_histories(options, clients, n))
	{
		perror(options->history);
		return 2;
	}
	for (int k = 0; k < KINDS; k++)
	{
		uint64_t	done = 0;
		uint64_t	failed = 0;
		int64_t		slowest = 0;

		for (int i = 0; i < n; i++)
		{
			done += clients[i].done[k];
			failed += clients[i].failed[k];
			slowest = clients[i].slowest_ns[k] > slowest ? clients[i].slowest_ns[k] : slowest;
		}
		printf("%s done %llu failed %llu slowest_ms %lld\n", kind_names[k], (unsigned long long) done,
			   (unsigned long long) failed, (long long) slowest / 1000000);
	}
	for (int i = 0; i < n; i++)
	{
		wrong += clients[i].wrong;
		unknown += clients[i].unknown;
		behind += clients[i].behind;
		fclose(clients[i].history);
	}
	printf("all wrong %llu unknown %llu behind %llu stood_ms %lld\n", (unsigned long long) wrong, (unsigned long long) unknown,
		   (unsigned long long) behind, (long long) stood_ns / 1000000);
	free(clients);
	return 0;
}
