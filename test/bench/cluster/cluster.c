/*-------------------------------------------------------------------------
 *
 * cluster.c
 *	  Daemons, the collection, who leads what.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_US (60 * SECOND)
#define NEAR 2000				/* entries behind the leader */

static void
remove_all(const Bench *bench)
{
	char		command[300];

	snprintf(command, sizeof(command), "rm -rf '%s'", bench->directory);
	if (system(command) != 0)
		fprintf(stderr, "cluster_bench: could not remove %s\n", bench->directory);
}

static void
end_process(int *pid, int signal)
{
	if (*pid <= 0)
		return;
	kill(*pid, signal);
	waitpid(*pid, NULL, 0);
	*pid = 0;
}

void
cluster_stop(Bench *bench)
{
	for (uint32_t i = 1; i <= bench->workers; i++)
		end_process(&bench->pids[i], SIGKILL);
	end_process(&bench->pd_pid, SIGKILL);
	if (!bench->keep)
		remove_all(bench);
}

void
give_up(Bench *bench, const char *fmt,...)
{
	va_list		args;

	fprintf(stderr, "cluster_bench: ");
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	cluster_stop(bench);
	exit(2);
}

/* Start a daemon and wait until it listens. */
static int
start(Bench *bench, const char *name, char *const argv[])
{
	char		log[200];
	char		socket[200];
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			pid;

	snprintf(log, sizeof(log), "%s/%s.log", bench->directory, name);
	snprintf(socket, sizeof(socket), "%s/%s", bench->directory, name);
	unlink(socket);
	pid = fork();
	if (pid == 0)
	{
		if (!freopen(log, "a", stdout) || dup2(1, 2) < 0)
			_exit(127);
		execv(argv[0], argv);
		_exit(127);
	}
	while (access(socket, F_OK) != 0)
	{
		if (waitpid(pid, NULL, WNOHANG) == pid || clock_now_us() > until)
			give_up(bench, "%s does not start; see %s", name, log);
		usleep(2000);
	}
	return pid;
}

void
worker_start(Bench *bench, uint32_t n)
{
	char		name[32];
	char		program[200];
	char		data[200];
	char		listen[200];
	char	   *argv[] = {program, "--data", data, "--listen", listen, "--pd", bench->pd, NULL};

	snprintf(name, sizeof(name), "worker%u", n);
	snprintf(program, sizeof(program), "%s/vectron-worker", bench->programs);
	snprintf(data, sizeof(data), "%s/data%u", bench->directory, n);
	snprintf(listen, sizeof(listen), "unix:%s/%s", bench->directory, name);
	bench->pids[n] = start(bench, name, argv);
}

void
worker_kill(Bench *bench, uint32_t n)
{
	end_process(&bench->pids[n], SIGKILL);
}

Client *
bench_client(Bench *bench)
{
	ClientOptions options = {.pd_endpoints = bench->pd, .role = WIRE_ROLE_GATEWAY, .pace = bench->pace};
	Client	   *client;
	VtError		err = {0};

	options.ops = client_poll_ops;
	if (client_open(&options, &client, &err) != VT_OK)
		give_up(bench, "%s", vt_error_words(&err));
	return client;
}

/* -- The collection ---------------------------------------------------------- */

void
vector_of(const Bench *bench, uint64_t number, float *out)
{
	Prng		prng = {number * UINT64_C(0x9e3779b97f4a7c15)};

	for (uint32_t i = 0; i < bench->dim; i++)
		out[i] = (float) prng_double(&prng);
}

Bytes
id_of(uint64_t number, uint8_t out[WIRE_TID_SIZE])
{
	wire_tid_put(out, (uint32_t) (number / 200), (uint16_t) (number % 200 + 1));
	return bytes_of(out, WIRE_TID_SIZE);
}

void
put_records(Bench *bench, Client *client, uint64_t first, uint32_t n)
{
	ClientRecord *records = vt_alloc0(sizeof(ClientRecord) * n);
	uint8_t    *ids = vt_alloc((size_t) WIRE_TID_SIZE * n);
	float	   *vectors = vt_alloc(sizeof(float) * bench->dim * n);
	ClientWriter writer = {.generation = bench->generation, .owner = bench->owner, .timeline = 1,
		.deadline_us = clock_now_us() + PATIENCE_US};
	ClientMarks marks;
	VtError		err = {0};

	for (uint32_t i = 0; i < n; i++)
	{
		records[i].id = id_of(first + i, ids + (size_t) WIRE_TID_SIZE * i);
		records[i].vector = vectors + (size_t) bench->dim * i;
		vector_of(bench, first + i, vectors + (size_t) bench->dim * i);
	}
	if (client_put(client, &writer, records, n, NULL, &marks, &err) != VT_OK)
		give_up(bench, "a write failed: %s", vt_error_words(&err));
	pthread_mutex_lock(&bench->lock);
	client_mark_note(bench->marks, &bench->generation, &marks);
	pthread_mutex_unlock(&bench->lock);
	client_marks_free(&marks);
	free(records);
	free(ids);
	free(vectors);
}

static void
create_collection(Bench *bench, Client *client)
{
	ClientCreate create = {.dim = bench->dim, .metric = VEC_L2, .m = 16, .ef_construction = 100,
		.quantization = QUANTIZATION_NONE, .shards = bench->shards, .replicas = bench->replicas, .xid = 1,
		.label = "bench"};
	int64_t		deadline = clock_now_us() + PATIENCE_US;
	const char *reply;
	json_t	   *body;
	VtError		err = {0};

	if (client_control(client, "{\"op\":\"lease\",\"system\":\"42\",\"incarnation\":\"\","
					   "\"holder\":\"0123456789abcdef0123456789abcdef\",\"timeline\":1,"
					   "\"session\":\"0123456789abcdef0123456789abcde0\",\"before\":[],\"place\":\"0\"}", deadline, &reply, &err) != VT_OK)
		give_up(bench, "no lease: %s", vt_error_words(&err));
	body = json_loads(reply, 0, NULL);
	bench->owner.system = 42;
	bench->owner.database = 1;
	if (!vt_id_parse(json_string_value(json_object_get(body, "incarnation")), &bench->owner.incarnation))
		give_up(bench, "no incarnation in %s", reply);
	json_decref(body);
	vt_id_random(&bench->generation);
	create.generation = bench->generation;
	create.owner = bench->owner;
	if (client_create(client, &create, deadline, &err) != VT_OK)
		give_up(bench, "no collection: %s", vt_error_words(&err));
}

/* One look; false: something is missing. */
static bool
look(Bench *bench, Client *client, Leaders *leaders)
{
	const char *reply;
	json_t	   *body;
	json_t	   *row;
	size_t		i;
	uint64_t	applied[SHARDS_OF_BENCH] = {0};
	uint32_t	replicas[SHARDS_OF_BENCH] = {0};
	bool		good = true;
	VtError		err = {0};

	if (client_control(client, "{\"op\":\"shards\"}", clock_now_us() + 5 * SECOND, &reply, &err) != VT_OK)
		return false;
	body = json_loads(reply, 0, NULL);
	leaders->n = 0;
	json_array_foreach(json_object_get(body, "shards"), i, row)
	{
		const char *endpoint = json_string_value(json_object_get(row, "endpoint"));

		if (strcmp(json_string_value(json_object_get(row, "role")), "leader") != 0 || leaders->n == SHARDS_OF_BENCH)
			continue;
		leaders->shard[leaders->n] = strtoull(json_string_value(json_object_get(row, "shard")), NULL, 10);
		leaders->worker[leaders->n] = (uint32_t) atoi(strstr(endpoint, "/worker") + strlen("/worker"));
		applied[leaders->n++] = strtoull(json_string_value(json_object_get(row, "applied")), NULL, 10);
	}
	json_array_foreach(json_object_get(body, "shards"), i, row)
	{
		uint64_t	shard = strtoull(json_string_value(json_object_get(row, "shard")), NULL, 10);
		uint64_t	at = strtoull(json_string_value(json_object_get(row, "applied")), NULL, 10);

		good = good && strcmp(json_string_value(json_object_get(row, "state")), "up") == 0;
		for (uint32_t k = 0; k < leaders->n; k++)
			if (leaders->shard[k] == shard)
			{
				replicas[k]++;
				good = good && at + NEAR >= applied[k];
			}
	}
	for (uint32_t k = 0; k < leaders->n; k++)
		good = good && replicas[k] == bench->replicas;
	json_decref(body);
	return good && leaders->n == bench->shards;
}

void
wait_whole(Bench *bench, Client *client, Leaders *leaders)
{
	int64_t		until = clock_now_us() + 2 * PATIENCE_US;

	while (!look(bench, client, leaders))
	{
		if (clock_now_us() > until)
			give_up(bench, "the replicas do not come together");
		usleep(50000);
	}
}

void
cluster_start(Bench *bench)
{
	static uint8_t memory[1 << 20];
	char		program[200];
	char		data[200];
	char	   *argv[] = {program, "--data", data, "--listen", bench->pd, "--log-level", "warn", NULL};
	Leaders		leaders;
	Client	   *client;

	remove_all(bench);
	if (mkdir(bench->directory, 0700) != 0)
		give_up(bench, "could not make %s", bench->directory);
	snprintf(bench->pd, sizeof(bench->pd), "unix:%.100s/pd", bench->directory);
	snprintf(program, sizeof(program), "%s/vectron-pd", bench->programs);
	snprintf(data, sizeof(data), "%s/data-pd", bench->directory);
	pthread_mutex_init(&bench->lock, NULL);
	bench->marks = client_mark_table_init(memory, 256);
	bench->pace = client_pace_init(vt_alloc(client_pace_size()));
	bench->pd_pid = start(bench, "pd", argv);
	for (uint32_t i = 1; i <= bench->workers; i++)
		worker_start(bench, i);
	client = bench_client(bench);
	create_collection(bench, client);
	wait_whole(bench, client, &leaders);
	for (uint32_t i = 0; i < bench->records; i += 500)
		put_records(bench, client, i, bench->records - i < 500 ? bench->records - i : 500);
	client_close(client);
}

/* -- Searching ----------------------------------------------------------------- */

VtStatus
search_open(Bench *bench, Client *client, Search *search, const float *query, uint32_t rows,
			int64_t deadline_us, VtError *err)
{
	ClientSearch ask = {.generation = bench->generation, .owner = bench->owner, .query = query,
		.dim = bench->dim, .batch = rows, .ef = 100, .consistency = WIRE_AT_MARK};
	ClientMarks marks = {.items = search->items};
	const ClientCollection *route;
	VtStatus	status = client_route(client, &bench->generation, false, deadline_us, &route, err);

	search->scan = NULL;
	if (status != VT_OK)
		return status;
	pthread_mutex_lock(&bench->lock);
	marks.n = client_mark_read(bench->marks, route, search->items, &marks.route_version, &search->ticket);
	pthread_mutex_unlock(&bench->lock);
	search->asks = marks.n < route->nshards;
	ask.marks = &marks;
	return client_scan_open(client, &ask, deadline_us, &search->scan, err);
}

void
search_learn(Bench *bench, Search *search)
{
	ClientMarks answered;

	if (!search->asks)
		return;
	client_scan_marks(search->scan, &answered);
	pthread_mutex_lock(&bench->lock);
	client_mark_learn(bench->marks, &bench->generation, search->ticket, &answered);
	pthread_mutex_unlock(&bench->lock);
	client_marks_free(&answered);
	search->asks = false;
}

static int
compare(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return x < y ? -1 : x > y;
}

void
sort_times(int64_t *times, size_t n)
{
	qsort(times, n, sizeof(int64_t), compare);
}

double
ms_at(const int64_t *sorted, size_t n, double share)
{
	size_t		at = (size_t) (share * (double) n);

	return n == 0 ? 0 : (double) sorted[at < n ? at : n - 1] / 1000;
}
