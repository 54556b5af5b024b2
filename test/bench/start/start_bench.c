/*-------------------------------------------------------------------------
 *
 * start_bench.c
 *	  How soon a worker that was killed answers again, and what a million vectors
 *	  cost on the whole path behind the gateway.
 *
 *	  start_bench --set DIR [options]
 *		--set DIR			base.*, query.* and groundtruth.ivecs
 *		--programs DIR		vectron-pd and vectron-worker (build)
 *		--place DIR			data directories there, in a folder that is made and removed (/tmp)
 *		--quantization none|int8|int8_only
 *		--tail N			rows that came after the graph was saved (20000)
 *		--limit N			rows of the set (0: all)
 *		--rounds N			starts of each kind (3)
 *		-- OPTION ...		passed on to the worker
 *
 * Real processes: a placement driver and a worker, started here, loaded in bulk
 * and row by row through src/client, then killed and started again, with their
 * files in the page cache (warm) or not (cold: POSIX_FADV_DONTNEED on each, while
 * no process has them open), with the file of the graph and without.  The time
 * runs from the start of the process to the answer of the first search.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../hnsw/set.h"
#include "client/client.h"

#define K 10
#define EF 100
#define BATCH 1000
#define PATIENCE_US (INT64_C(1800) * 1000000)
#define QUERIES 200

typedef struct Bench
{
	const char *programs;
	char		place[200];
	WireQuantization quantization;
	uint32_t	tail;
	uint32_t	rounds;
	char	  **worker_options;
	Set		   *set;
	Client	   *client;
	VtId		generation;
	WireOwner	owner;
	pid_t		pd;
	pid_t		worker;
	int64_t		started_us;		/* the worker */
} Bench;

static Bench bench;

static void end_processes(void);

__attribute__((noreturn, format(printf, 1, 2))) static void
die(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	fprintf(stderr, "start_bench: ");
	vfprintf(stderr, fmt, args);
	fprintf(stderr, "\n");
	va_end(args);
	end_processes();
	exit(1);
}

static int64_t
soon(void)
{
	return clock_now_us() + PATIENCE_US;
}

/* -- Processes ------------------------------------------------------------- */

static void
end_processes(void)
{
	pid_t		pids[2] = {bench.worker, bench.pd};

	for (int i = 0; i < 2; i++)
		if (pids[i] > 0)
		{
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
		}
}

static void
on_signal(int signal)
{
	end_processes();
	_exit(128 + signal);
}

static pid_t
spawn(const char *program, char *const arguments[])
{
	char		path[400];
	char		log[300];
	pid_t		pid;

	snprintf(path, sizeof(path), "%s/%s", bench.programs, program);
	snprintf(log, sizeof(log), "%s/%s.log", bench.place, program);
	pid = fork();
	if (pid == 0)
	{
		int			fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

		if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
			_exit(127);
		execv(path, arguments);
		_exit(127);
	}
	if (pid < 0)
		die("could not start %s", path);
	return pid;
}

static void
start_pd(void)
{
	char		data[250];
	char		listen[250];

	snprintf(data, sizeof(data), "%s/pd", bench.place);
	snprintf(listen, sizeof(listen), "unix:%s/pd.s", bench.place);
	bench.pd = spawn("vectron-pd", (char *[]) {"vectron-pd", "--data", data, "--listen", listen,
											   "--default-replicas", "1", NULL});
}

static void
start_worker(void)
{
	char		data[250];
	char		listen[250];
	char		pd[250];
	char	   *arguments[40] = {"vectron-worker", "--data", data, "--listen", listen, "--pd", pd};
	int			n = 7;

	snprintf(data, sizeof(data), "%s/worker", bench.place);
	snprintf(listen, sizeof(listen), "unix:%s/w.s", bench.place);
	snprintf(pd, sizeof(pd), "unix:%s/pd.s", bench.place);
	for (char **option = bench.worker_options; *option && n < 39; option++)
		arguments[n++] = *option;
	bench.started_us = clock_now_us();
	bench.worker = spawn("vectron-worker", arguments);
}

/* Returns how long it took to end, in ms. */
static double
end_worker(int signal)
{
	int64_t		begin = clock_now_us();
	int			status;

	kill(bench.worker, signal);
	waitpid(bench.worker, &status, 0);
	bench.worker = 0;
	return (double) (clock_now_us() - begin) / 1e3;
}

/* A number of /proc/<worker>/<file>, of the line that begins with key. */
static double
worker_number(const char *file, const char *key)
{
	char		path[100];
	char		line[300];
	double		value = 0;
	FILE	   *in;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int) bench.worker, file);
	in = fopen(path, "r");
	while (in && fgets(line, sizeof(line), in))
		if (strncmp(line, key, strlen(key)) == 0)
			value = atof(line + strlen(key));
	if (in)
		fclose(in);
	return value;
}

/* Processor time of the worker. */
static double
worker_cpu_s(void)
{
	char		path[100];
	char		line[1000];
	unsigned long own[2] = {0, 0};
	char	   *after;
	FILE	   *in;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int) bench.worker);
	in = fopen(path, "r");
	if (in && fgets(line, sizeof(line), in) && (after = strrchr(line, ')')) != NULL)
		(void) !sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &own[0], &own[1]);
	if (in)
		fclose(in);
	return (double) (own[0] + own[1]) / (double) sysconf(_SC_CLK_TCK);
}

/* -- Files ----------------------------------------------------------------- */

static double disk_bytes;
static const char *disk_part;

static int
add_size(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void) ftw;
	if (kind == FTW_F && strstr(path, disk_part))
		disk_bytes += (double) st->st_blocks * 512;
	return 0;
}

/* Bytes on disk of the files of the worker whose path contains this. */
static double
disk_of(const char *part)
{
	char		path[250];

	disk_bytes = 0;
	disk_part = part;
	snprintf(path, sizeof(path), "%s/worker", bench.place);
	(void) nftw(path, add_size, 16, FTW_PHYS);
	return disk_bytes;
}

static int
forget(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	int			fd;

	(void) st;
	(void) ftw;
	if (kind == FTW_F && (fd = open(path, O_RDONLY)) >= 0)
	{
		(void) fdatasync(fd);
		(void) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
	return 0;
}

/* Nothing that the worker will read is in memory. */
static void
make_cold(void)
{
	char		path[250];

	snprintf(path, sizeof(path), "%s/worker", bench.place);
	(void) nftw(path, forget, 16, FTW_PHYS);
	(void) nftw(bench.programs, forget, 16, FTW_PHYS);
}

static int
remove_it(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void) st;
	(void) kind;
	(void) ftw;
	return remove(path);
}

/* The file of the graph; false: there is none. */
static bool
graph_path(char *out, size_t size)
{
	char		pattern[300];
	glob_t		found;
	bool		any;

	snprintf(pattern, sizeof(pattern), "%s/worker/shards/*/graph", bench.place);
	any = glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc > 0;
	if (any)
		snprintf(out, size, "%s", found.gl_pathv[0]);
	globfree(&found);
	return any;
}

static void
run_command(const char *fmt,...)
{
	char		command[1000];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	if (system(command) != 0)
		die("%s failed", command);
}

/* -- The cluster ----------------------------------------------------------- */

static ClientWriter
writer(void)
{
	ClientWriter w = {.generation = bench.generation, .owner = bench.owner, .timeline = 1, .lsn = 1};

	w.deadline_us = soon();
	return w;
}

static void
create(void)
{
	ClientCreate create = {.dim = bench.set->dim, .metric = bench.set->metric, .m = 16, .ef_construction = 200,
		.quantization = bench.quantization, .shards = 1, .replicas = 1, .xid = 1, .label = "bench"};
	ClientOptions options = {.ops = client_poll_ops, .role = WIRE_ROLE_GATEWAY};
	char		pd[250];
	int64_t		until_us = clock_now_us() + 60000000;
	VtError		err = {0};
	VtStatus	status;

	snprintf(pd, sizeof(pd), "unix:%s/pd.s", bench.place);
	options.pd_endpoints = pd;
	vt_id_random(&bench.generation);
	bench.owner.system = 1;
	vt_id_random(&bench.owner.incarnation);
	bench.owner.database = 1;
	create.generation = bench.generation;
	create.owner = bench.owner;
	if (client_open(&options, &bench.client, &err) != VT_OK)
		die("%s", vt_error_words(&err));

	/* The worker has to be heard of first. */
	do
	{
		usleep(20000);
		status = client_create(bench.client, &create, clock_now_us() + 10000000, &err);
	}
	while (status != VT_OK && clock_now_us() < until_us);
	if (status != VT_OK)
		die("no collection: %s", vt_error_words(&err));
}

static void
ingest(bool begin)
{
	ClientWriter w = writer();
	VtError		err = {0};

	if (client_ingest(bench.client, &w, begin, NULL, &err) != VT_OK)
		die("bulk load: %s", vt_error_words(&err));
}

static void
put(uint32_t first, uint32_t after)
{
	static ClientRecord records[BATCH];
	static uint8_t ids[BATCH][WIRE_TID_SIZE];

	for (uint32_t at = first; at < after;)
	{
		ClientWriter w = writer();
		uint32_t	n = 0;
		VtError		err = {0};

		for (; n < BATCH && at < after; n++, at++)
		{
			/* Ids as a table would have them: 100 rows in a block. */
			wire_tid_put(ids[n], at / 100, (uint16_t) (at % 100 + 1));
			records[n].id = bytes_of(ids[n], WIRE_TID_SIZE);
			records[n].vector = bench.set->base + (size_t) at * bench.set->dim;
		}
		if (client_put(bench.client, &w, records, n, NULL, NULL, &err) != VT_OK)
			die("put: %s", vt_error_words(&err));
	}
}

static uint64_t
unindexed(void)
{
	ClientMarks marks = {0};
	uint64_t	records;
	uint64_t	waiting;
	VtError		err = {0};

	if (client_read_index(bench.client, &bench.generation, &bench.owner, soon(), &marks, &records, &waiting, &err) != VT_OK)
		die("read: %s", vt_error_words(&err));
	client_marks_free(&marks);
	return waiting;
}

static void
drain(void)
{
	while (unindexed() > 0)
		usleep(5000);
}

/* How many of the K nearest are found. */
static uint32_t
search(uint32_t query)
{
	ClientSearch search = {.generation = bench.generation, .owner = bench.owner,
		.query = bench.set->queries + (size_t) query * bench.set->dim, .dim = bench.set->dim, .batch = K, .ef = EF,
		.consistency = WIRE_LINEARIZABLE};
	ClientScan *scan;
	uint32_t	rows[K] = {0};
	uint32_t	n = 0;
	bool		found = true;
	ClientHit	hit;
	VtError		err = {0};

	if (client_scan_open(bench.client, &search, soon(), &scan, &err) != VT_OK)
		die("search: %s", vt_error_words(&err));
	while (n < K && found)
	{
		uint32_t	block;
		uint16_t	offset;

		if (client_scan_next(scan, soon(), &hit, &found, &err) != VT_OK)
			die("search: %s", vt_error_words(&err));
		if (found && wire_tid_get(hit.id, &block, &offset))
			rows[n++] = block * 100 + offset - 1;
	}
	client_scan_close(scan);
	return set_hits(bench.set, query, rows, n);
}

/* -- What it costs ---------------------------------------------------------- */

static void
print_costs(const char *when, uint32_t rows)
{
	double		per = 1e6 / rows;
	double		raw = 4.0 * bench.set->dim;

	printf("| %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f |\n", when,
		   worker_number("status", "RssAnon:") * 1024 / rows,
		   worker_number("status", "RssFile:") * 1024 / rows, raw,
		   disk_of("/shards/") * per / 1e6 - (disk_of("/graph") * per / 1e6), disk_of("/graph") * per / 1e6,
		   disk_of("/log/") * per / 1e6, worker_number("io", "write_bytes:") * per / 1e6);
	fflush(stdout);
}

/* Wait until the graph that is there now is in its file. */
static void
wait_for_file(time_t since)
{
	int64_t		until_us = soon();
	char		path[400];
	struct stat st;

	while (!graph_path(path, sizeof(path)) || stat(path, &st) < 0 || st.st_mtime < since)
	{
		if (clock_now_us() > until_us)
			die("the graph is not saved");
		usleep(50000);
	}
}

static void
load(void)
{
	uint32_t	n = bench.set->n - bench.tail;
	int64_t		begin;
	double		put_s;
	double		drain_s;
	time_t		drained;

	start_pd();
	start_worker();
	create();
	begin = clock_now_us();
	ingest(true);
	put(0, n);
	ingest(false);
	put_s = (double) (clock_now_us() - begin) / 1e6;
	begin = clock_now_us();
	drain();
	drain_s = (double) (clock_now_us() - begin) / 1e6;
	drained = time(NULL);
	printf("Loaded %u rows in %.1f s, indexed %.1f s later.\n\n", n, put_s, drain_s);
	printf("Per vector, in bytes: memory of the worker, and what a million of them put on disk, in MB.\n\n"
		   "| | anonymous memory | mapped files in memory | raw vector | rows | graph file | Raft log | written |\n"
		   "|---|---|---|---|---|---|---|---|\n");
	wait_for_file(drained);
	print_costs("indexed and saved", n);
	put(n, bench.set->n);
}

/* -- Starting --------------------------------------------------------------- */

typedef struct Start
{
	double		answer_s;		/* the first search */
	double		cpu_s;			/* of the worker, until then */
	double		search_ms;		/* median of those after it */
	double		recall;
	uint64_t	waiting;		/* vectors no graph held then */
	double		drain_s;		/* until all was indexed */
} Start;

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static Start
start_and_ask(bool till_indexed)
{
	Start		start = {0};
	double		ms[QUERIES];
	uint32_t	hits = 0;

	start_worker();
	(void) search(0);
	start.answer_s = (double) (clock_now_us() - bench.started_us) / 1e6;
	start.cpu_s = worker_cpu_s();
	start.waiting = unindexed();
	for (uint32_t q = 0; q < QUERIES; q++)
	{
		int64_t		begin = clock_now_us();

		hits += search(q % bench.set->nqueries);
		ms[q] = (double) (clock_now_us() - begin) / 1e3;
	}
	qsort(ms, QUERIES, sizeof(double), compare_doubles);
	start.search_ms = ms[QUERIES / 2];
	start.recall = (double) hits / (QUERIES * K);
	if (till_indexed)
	{
		drain();
		start.drain_s = (double) (clock_now_us() - bench.started_us) / 1e6;
	}
	return start;
}

/* Starts of one kind; the worker is down before and after. */
static void
measure(const char *kind, const char *kept, bool cold)
{
	char		path[400];
	Start		starts[20];
	double		answers[20];
	Start		middle;

	for (uint32_t round = 0; round < bench.rounds; round++)
	{
		if (graph_path(path, sizeof(path)))
			unlink(path);
		if (kept)
			run_command("cp -p '%s' \"$(ls -d '%s'/worker/shards/*)/graph\" && sync '%s'/worker/shards/*/graph", kept,
						bench.place, bench.place);
		if (cold)
			make_cold();
		starts[round] = start_and_ask(kept && round + 1 == bench.rounds);
		answers[round] = starts[round].answer_s;
		end_worker(SIGKILL);
	}
	middle = starts[bench.rounds - 1];
	qsort(answers, bench.rounds, sizeof(double), compare_doubles);
	printf("| %s | %.2f (%.2f to %.2f) | %.2f | %llu | %.2f | %.4f |", kind, answers[bench.rounds / 2], answers[0],
		   answers[bench.rounds - 1], middle.cpu_s, (unsigned long long) middle.waiting, middle.search_ms, middle.recall);
	if (kept)
		printf(" %.1f |\n", middle.drain_s);
	else
		printf(" |\n");
	fflush(stdout);
}

static void
run(void)
{
	char		path[400];
	char		kept[250];
	double		stop_ms;
	Start		start;

	load();
	if (!graph_path(path, sizeof(path)))
		die("the graph is not saved");
	snprintf(kept, sizeof(kept), "%s/kept", bench.place);
	run_command("cp -p '%s' '%s'", path, kept);
	end_worker(SIGKILL);
	printf("\n| start | first answer, s: median (range) | processor, s | not indexed then | search then, ms | recall@10 | all indexed after, s |\n"
		   "|---|---|---|---|---|---|---|\n");
	measure("warm, without a graph file", NULL, false);
	measure("warm, with it", kept, false);
	measure("cold, with it", kept, true);

	/* Everything is indexed when it is told to stop. */
	(void) start_and_ask(true);
	stop_ms = end_worker(SIGTERM);
	start = start_and_ask(true);
	printf("| after an orderly stop, which took %.0f ms | %.2f | %.2f | %llu | %.2f | %.4f | %.1f |\n", stop_ms,
		   start.answer_s, start.cpu_s, (unsigned long long) start.waiting, start.search_ms, start.recall, start.drain_s);
}

int
main(int argc, char **argv)
{
	const char *folder = NULL;
	const char *place = "/tmp";
	uint32_t	limit = 0;
	int			i = 1;

	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	bench.programs = "build";
	bench.tail = 20000;
	bench.rounds = 3;
	bench.quantization = QUANTIZATION_NONE;
	for (; i < argc && strcmp(argv[i], "--") != 0; i += 2)
	{
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--set") == 0)
			folder = value;
		else if (strcmp(argv[i], "--programs") == 0)
			bench.programs = value;
		else if (strcmp(argv[i], "--place") == 0)
			place = value;
		else if (strcmp(argv[i], "--quantization") == 0)
			bench.quantization = strcmp(value, "int8") == 0 ? QUANTIZATION_INT8 :
				strcmp(value, "int8_only") == 0 ? QUANTIZATION_INT8_ONLY : QUANTIZATION_NONE;
		else if (strcmp(argv[i], "--tail") == 0)
			bench.tail = (uint32_t) atoi(value);
		else if (strcmp(argv[i], "--limit") == 0)
			limit = (uint32_t) atoi(value);
		else if (strcmp(argv[i], "--rounds") == 0)
			bench.rounds = (uint32_t) atoi(value);
		else
			die("unrecognized option %s", argv[i]);
	}
	bench.worker_options = argv + (i < argc ? i + 1 : argc);
	bench.set = folder ? set_read(folder, limit, 0) : NULL;
	if (!bench.set || bench.set->n <= bench.tail || bench.rounds < 1 || bench.rounds > 20)
		die("--set is needed, of more rows than the tail; 1 to 20 rounds");
	snprintf(bench.place, sizeof(bench.place), "%.150s/vectron-start.XXXXXX", place);
	if (!mkdtemp(bench.place))
		die("could not make a folder in %s", place);
	printf("%s: %u x %u, %s, quantization %s\n\n", bench.set->name, bench.set->n, bench.set->dim,
		   vec_metric_name(bench.set->metric), bench.quantization == QUANTIZATION_INT8 ? "int8" :
		   bench.quantization == QUANTIZATION_INT8_ONLY ? "int8_only" : "none");
	run();
	end_processes();
	client_close(bench.client);
	(void) nftw(bench.place, remove_it, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
