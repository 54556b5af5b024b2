/*-------------------------------------------------------------------------
 *
 * cluster.c
 *	  Daemons, the collection, who leads what.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/level.h"

#define PATIENCE_US (60 * SECOND)
#define CHILDREN 32
#define NEAR 2000				/* entries behind the leader */

/* Everybody we have started and not seen the end of. */
static int	children[CHILDREN];

static void
remove_all(const Bench *bench)
{
	char		command[300];

	snprintf(command, sizeof(command), "rm -rf '%s'", bench->directory);
	if (system(command) != 0)
		fprintf(stderr, "cluster_bench: could not remove %s\n", bench->directory);
}

void
process_end(int *pid, int signal)
{
	if (*pid <= 0)
		return;
	kill(*pid, signal);
	waitpid(*pid, NULL, 0);
	for (int i = 0; i < CHILDREN; i++)
		if (children[i] == *pid)
			children[i] = 0;
	*pid = 0;
}

void
cluster_stop(Bench *bench)
{
	for (int i = 0; i < CHILDREN; i++)
	{
		int			pid = children[i];

		process_end(&pid, SIGKILL);
	}
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

static void
judge(Bench *bench, const char *what, double value, const char *which, double limit, bool good)
{
	if (limit == 0)
		return;
	printf("%s: %s %.3g, %s %.3g\n", good ? "PASS" : "FAIL", what, value, which, limit);
	bench->failed |= !good;
}

void
bar_most(Bench *bench, const char *what, double value, double limit)
{
	judge(bench, what, value, "at most", limit, value <= limit);
}

void
bar_least(Bench *bench, const char *what, double value, double limit)
{
	judge(bench, what, value, "at least", limit, value >= limit);
}

int
process_start(Bench *bench, const char *name, char *const argv[])
{
	char		log[200];
	int			pid;

	snprintf(log, sizeof(log), "%s/%s.log", bench->directory, name);
	pid = fork();
	if (pid < 0)
		give_up(bench, "no process");
	if (pid == 0)
	{
		(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!freopen(log, "a", stdout) || dup2(1, 2) < 0)
			_exit(127);
		execv(argv[0], argv);
		_exit(127);
	}
	for (int i = 0; i < CHILDREN; i++)
		if (children[i] == 0)
		{
			children[i] = pid;
			return pid;
		}
	give_up(bench, "too many processes");
}

/* Start a daemon and wait until it listens. */
static int
start(Bench *bench, const char *name, char *const argv[])
{
	char		socket[200];
	int64_t		until = clock_now_us() + PATIENCE_US;
	int			pid;

	snprintf(socket, sizeof(socket), "%s/%s", bench->directory, name);
	unlink(socket);
	pid = process_start(bench, name, argv);
	while (access(socket, F_OK) != 0)
	{
		if (waitpid(pid, NULL, WNOHANG) == pid || clock_now_us() > until)
			give_up(bench, "%s does not start; see %s/%s.log", name, bench->directory, name);
		usleep(2000);
	}
	return pid;
}

const char *
worker_endpoint(const Bench *bench, uint32_t n)
{
	static _Thread_local char endpoint[200];

	snprintf(endpoint, sizeof(endpoint), "unix:%s/worker%u", bench->directory, n);
	return endpoint;
}

void
worker_start(Bench *bench, uint32_t n)
{
	char		name[32];
	char		program[200];
	char		data[200];
	char		listen[200];
	char		rate[20];
	char		checkpoint[20];
	char		memory[20];
	char	   *argv[] = {program, "--data", data, "--listen", listen, "--pd", bench->pd,
		"--snapshot-rate", rate, "--checkpoint", checkpoint, "--memory-limit", memory, NULL};

	snprintf(name, sizeof(name), "worker%u", n);
	snprintf(program, sizeof(program), "%s/vectron-worker", bench->programs);
	snprintf(data, sizeof(data), "%s/data%u", bench->directory, n);
	snprintf(listen, sizeof(listen), "%s", worker_endpoint(bench, n));
	snprintf(rate, sizeof(rate), "%u", bench->snapshot_rate);
	snprintf(checkpoint, sizeof(checkpoint), "%u", bench->checkpoint);
	snprintf(memory, sizeof(memory), "%u", bench->memory_limit);
	bench->pids[n] = start(bench, name, argv);
}

uint32_t
worker_says(const Bench *bench, uint32_t n, const char *words)
{
	char		path[300];
	char		line[500];
	uint32_t	lines = 0;
	FILE	   *in;

	snprintf(path, sizeof(path), "%s/worker%u.log", bench->directory, n);
	in = fopen(path, "r");
	while (in && fgets(line, sizeof(line), in))
		lines += strstr(line, words) != NULL;
	if (in)
		fclose(in);
	return lines;
}

void
worker_kill(Bench *bench, uint32_t n)
{
	process_end(&bench->pids[n], SIGKILL);
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

/* -- Questions ----------------------------------------------------------------- */

json_t *
ask(Client *client, const char *endpoint, const char *fmt,...)
{
	char		question[500];
	int64_t		deadline = clock_now_us() + 5 * SECOND;
	const char *reply;
	va_list		args;
	VtStatus	status;

	va_start(args, fmt);
	vsnprintf(question, sizeof(question), fmt, args);
	va_end(args);
	status = endpoint ? client_control_at(client, endpoint, question, deadline, &reply, NULL) :
		client_control(client, question, deadline, &reply, NULL);
	return status == VT_OK ? json_loads(reply, 0, NULL) : NULL;
}

uint64_t
number_of(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));

	return text ? strtoull(text, NULL, 10) : 0;
}

uint64_t
store_of(Bench *bench, Client *client, uint32_t n)
{
	json_t	   *answer = ask(client, worker_endpoint(bench, n), "{\"op\":\"status\"}");
	uint64_t	store = number_of(answer, "store");

	json_decref(answer);
	return store;
}

uint32_t
replicas_at(Client *client, uint64_t store)
{
	json_t	   *answer = ask(client, NULL, "{\"op\":\"shards\"}");
	json_t	   *row;
	size_t		i;
	uint32_t	n = 0;

	if (!answer)
		return UINT32_MAX;
	json_array_foreach(json_object_get(answer, "shards"), i, row)
		n += number_of(row, "store") == store;
	json_decref(answer);
	return n;
}

uint32_t
changes_under_way(Client *client)
{
	json_t	   *answer = ask(client, NULL, "{\"op\":\"operators\"}");
	uint32_t	n = answer ? (uint32_t) json_array_size(json_object_get(answer, "operators")) : UINT32_MAX;

	json_decref(answer);
	return n;
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

/* Its number, over and over. */
static Bytes
metadata_of(const Bench *bench, uint64_t number, uint8_t *out)
{
	for (uint32_t i = 0; i < bench->metadata; i++)
		out[i] = (uint8_t) (number >> 8 * (i % 8));
	return bytes_of(out, bench->metadata);
}

void
put_records(Bench *bench, Client *client, uint64_t first, uint32_t n)
{
	ClientRecord *records = vt_alloc0(sizeof(ClientRecord) * n);
	uint8_t    *ids = vt_alloc((size_t) WIRE_TID_SIZE * n);
	float	   *vectors = vt_alloc(sizeof(float) * bench->dim * n);
	uint8_t    *metadata = vt_alloc((size_t) bench->metadata * n);
	ClientWriter writer = {.generation = bench->generation, .owner = bench->owner, .timeline = 1,
		.deadline_us = clock_now_us() + PATIENCE_US};
	ClientMarks marks;
	VtError		err = {0};

	for (uint32_t i = 0; i < n; i++)
	{
		records[i].id = id_of(first + i, ids + (size_t) WIRE_TID_SIZE * i);
		records[i].metadata = metadata_of(bench, first + i, metadata + (size_t) bench->metadata * i);
		if (bench->dim == 0)
			continue;
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
	free(metadata);
}

/* Is that record as it was put?  Its number, or UINT64_MAX. */
static uint64_t
number_of_item(const Bench *bench, const WireListItem *item, float *vector, uint8_t *metadata)
{
	uint32_t	block;
	uint16_t	offset;
	uint64_t	number;

	if (!wire_tid_get(item->id, &block, &offset) || offset == 0)
		return UINT64_MAX;
	number = (uint64_t) block * 200 + offset - 1;
	vector_of(bench, number, vector);
	return item->dim == bench->dim && memcmp(item->vector, vector, sizeof(float) * bench->dim) == 0 &&
		bytes_equal(item->metadata, metadata_of(bench, number, metadata)) ? number : UINT64_MAX;
}

/* VT_LEASE_GONE: it is to begin again. */
static VtStatus
list_whole(Bench *bench, Client *client, uint64_t n, bool *seen, int64_t until, VtError *err)
{
	float	   *vector = vt_alloc(sizeof(float) * bench->dim);
	uint8_t    *metadata = vt_alloc(bench->metadata);
	ClientList *list = NULL;
	WireListItem item;
	VtStatus	status = client_list_open(client, &bench->generation, &bench->owner, NULL, LIST_VECTORS | LIST_METADATA,
										  until, &list, err);

	memset(seen, 0, sizeof(bool) * n);
	while (status == VT_OK)
	{
		uint64_t	number;

		status = client_list_next(list, until, &item, err);
		if (status != VT_OK || item.id.len == 0)
			break;
		number = number_of_item(bench, &item, vector, metadata);
		if (number >= n || seen[number])
			give_up(bench, "a record came twice, or is not what was put");
		seen[number] = true;
	}
	client_list_close(list);
	free(vector);
	free(metadata);
	return status;
}

void
read_back(Bench *bench, Client *client, uint64_t n, const char *when)
{
	int64_t		begun = clock_now_us();
	bool	   *seen = vt_alloc0(sizeof(bool) * n);
	uint64_t	found = 0;
	VtError		err = {0};
	VtStatus	status;

	while ((status = list_whole(bench, client, n, seen, begun + 2 * PATIENCE_US, &err)) == VT_LEASE_GONE)
		;
	if (status != VT_OK)
		give_up(bench, "could not list the records: %s", vt_error_words(&err));
	for (uint64_t i = 0; i < n; i++)
		found += seen[i];
	printf("%s: %" PRIu64 " of %" PRIu64 " records read back with their vectors and metadata, in %.2f s\n", when, found, n,
		   (double) (clock_now_us() - begun) / 1e6);
	if (found < n)
		give_up(bench, "records are missing");
	free(seen);
}

void
collection_create(Bench *bench, Client *client, uint32_t shards)
{
	ClientCreate create = {.dim = bench->dim, .metric = VEC_L2, .m = (uint16_t) bench->m,
		.ef_construction = (uint16_t) bench->ef_construction, .quantization = QUANTIZATION_NONE, .shards = shards, .replicas = bench->replicas, .xid = 1,
		.label = "bench"};
	int64_t		deadline = clock_now_us() + 5 * PATIENCE_US;	/* a thousand shards are not made in a moment */
	const char *reply;
	json_t	   *body;
	char		lease[320];
	VtError		err = {0};

	snprintf(lease, sizeof(lease), "{\"op\":\"lease\",\"system\":\"42\",\"incarnation\":\"\","
			 "\"holder\":\"0123456789abcdef0123456789abcdef\",\"timeline\":1,"
			 "\"session\":\"0123456789abcdef0123456789abcde0\",\"before\":[],\"place\":\"0\","
			 "\"level_low\":%d,\"level_high\":%u}", VT_LEVEL_LOW, vt_level_high());
	if (client_control(client, lease, deadline, &reply, &err) != VT_OK)
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
	char		generation[VT_ID_TEXT];
	json_t	   *body;
	json_t	   *row;
	size_t		i;
	uint64_t	applied[SHARDS_OF_BENCH] = {0};
	uint32_t	replicas[SHARDS_OF_BENCH] = {0};
	bool		good = true;

	vt_id_format(&bench->generation, generation);
	body = ask(client, NULL, "{\"op\":\"shards\"}");
	if (!body)
		return false;
	leaders->n = 0;
	json_array_foreach(json_object_get(body, "shards"), i, row)
	{
		const char *endpoint = json_string_value(json_object_get(row, "endpoint"));

		if (strcmp(json_string_value(json_object_get(row, "generation")), generation) != 0 ||
			strcmp(json_string_value(json_object_get(row, "role")), "leader") != 0 || leaders->n == SHARDS_OF_BENCH)
			continue;
		leaders->shard[leaders->n] = number_of(row, "shard");
		leaders->worker[leaders->n] = (uint32_t) atoi(strstr(endpoint, "/worker") + strlen("/worker"));
		applied[leaders->n++] = number_of(row, "applied");
	}
	json_array_foreach(json_object_get(body, "shards"), i, row)
	{
		uint64_t	shard = number_of(row, "shard");
		uint64_t	at = number_of(row, "applied");

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
wait_indexed(Bench *bench, Client *client)
{
	int64_t		until = clock_now_us() + 10 * PATIENCE_US;
	bool		waits = true;

	while (waits)
	{
		waits = false;
		for (uint32_t n = 1; n <= bench->workers; n++)
		{
			json_t	   *answer = ask(client, worker_endpoint(bench, n), "{\"op\":\"status\"}");
			json_t	   *row;
			size_t		i;

			waits = waits || !answer;
			json_array_foreach(json_object_get(answer, "shards"), i, row)
				waits = waits || number_of(row, "unindexed") > 0;
			json_decref(answer);
		}
		if (clock_now_us() > until)
			give_up(bench, "the graphs do not catch up");
		if (waits)
			usleep(5000);
	}
}

void
cluster_start(Bench *bench)
{
	static uint8_t memory[1 << 20];
	char		program[200];
	char		data[200];
	char		down[20];
	char	   *argv[] = {program, "--data", data, "--listen", bench->pd, "--log-level", "warn", "--down-after", down, NULL};

	remove_all(bench);
	if (mkdir(bench->directory, 0700) != 0)
		give_up(bench, "could not make %s", bench->directory);
	snprintf(bench->pd, sizeof(bench->pd), "unix:%.100s/pd", bench->directory);
	snprintf(program, sizeof(program), "%s/vectron-pd", bench->programs);
	snprintf(data, sizeof(data), "%s/data-pd", bench->directory);
	snprintf(down, sizeof(down), "%u", bench->down_after);
	pthread_mutex_init(&bench->lock, NULL);
	bench->marks = client_mark_table_init(memory, 256);
	bench->pace = client_pace_init(vt_alloc(client_pace_size()));
	bench->pd_pid = start(bench, "pd", argv);
	for (uint32_t i = 1; i <= bench->workers; i++)
		worker_start(bench, i);
}

void
collection_start(Bench *bench)
{
	Client	   *client = bench_client(bench);
	Leaders		leaders;

	collection_create(bench, client, bench->shards);
	wait_whole(bench, client, &leaders);
	for (uint32_t i = 0; i < bench->records; i += 500)
		put_records(bench, client, i, bench->records - i < 500 ? bench->records - i : 500);
	client_close(client);
}

/* -- Searching ----------------------------------------------------------------- */

VtStatus
search_open_many(Bench *bench, Client *client, Search *search, const float *queries, uint32_t n, uint32_t rows,
				 int64_t deadline_us, ClientScan **scans, uint32_t *opened, VtError *err)
{
	ClientSearch ask = {.generation = bench->generation, .owner = bench->owner, .query = queries,
		.dim = bench->dim, .batch = rows, .ef = 100, .consistency = WIRE_AT_MARK};
	ClientMarks marks = {.items = search->items};
	const ClientCollection *route;
	VtStatus	status = client_route(client, &bench->generation, false, deadline_us, &route, err);

	search->scan = NULL;
	*opened = 0;
	/* By a route that is not older than that of any write. */
	for (bool fresh = false; status == VT_OK && !fresh;)
	{
		pthread_mutex_lock(&bench->lock);
		marks.n = client_mark_read(bench->marks, route, search->items, &marks.route_version, &search->ticket);
		pthread_mutex_unlock(&bench->lock);
		fresh = marks.route_version <= route->route_version;
		if (!fresh)
			status = client_route(client, &bench->generation, true, deadline_us, &route, err);
	}
	if (status != VT_OK)
		return status;
	search->asks = marks.n < route->nshards;
	ask.marks = &marks;
	if (n > 1)
		status = client_scan_open_many(client, &ask, n, deadline_us, scans, opened, err);
	else
		status = client_scan_open(client, &ask, deadline_us, scans, err);
	if (status != VT_OK)
		return status;
	*opened = n > 1 ? *opened : 1;
	search->scan = scans[0];
	return VT_OK;
}

VtStatus
search_open(Bench *bench, Client *client, Search *search, const float *query, uint32_t rows,
			int64_t deadline_us, VtError *err)
{
	ClientScan *scan;
	uint32_t	opened;

	return search_open_many(bench, client, search, query, 1, rows, deadline_us, &scan, &opened, err);
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
