/*-------------------------------------------------------------------------
 *
 * rival.c
 *	  Three replicas beside three members of etcd, on the same disk: how many
 *	  writes a second, and how long each takes.
 *
 * The two take turns within each round, so that the ratio of a round is of one
 * machine in one minute.  A record is 256 bytes without a vector; etcd puts as many
 * under a key.  Then vectors of 768 dimensions are put beside 3 072 bytes, and their rate,
 * until every replica's graph has them, beside what threads that do nothing else
 * take into a graph.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#include <unistd.h>

#include "hnsw/hnsw.h"

#define ROUNDS_MAX 20
#define RECORD_BYTES 256
#define VECTOR_DIM 768
#define WARM_S 1.0
#define THREADS_MAX 64

/* What one of the two did. */
typedef struct Part
{
	double		rate;
	double		p50_ms;
	double		p99_ms;
	double		cpu_us;			/* of a write, all processes but the clients */
	double		switches;		/* the same */
	double		clients_us;		/* of processor, of the clients */
} Part;

typedef struct Rivalry
{
	Bench	   *bench;
	Etcd	   *etcd;			/* NULL: it is not there */
	uint32_t	connections;	/* with which etcd is fastest */
	uint64_t	next;			/* record */
	uint32_t	value;			/* bytes that etcd puts */
} Rivalry;

/* Processor time of this process, in which the clients are. */
static double
own_seconds(void)
{
	return usage_of((int) getpid()).seconds;
}

static Part
part_of(const Times *times, double seconds, Usage before, Usage after, double own)
{
	double		n = times->n > 0 ? (double) times->n : 1;

	return (Part) {
		(double) times->n / seconds, times_ms(times, 0.5), times_ms(times, 0.99),
		(after.seconds - before.seconds) * 1e6 / n, (double) (after.switches - before.switches) / n,
		(own_seconds() - own) * 1e6 / n
	};
}

static Part
theirs(Rivalry *r, uint32_t clients, double seconds)
{
	Usage		before = etcd_usage(r->etcd);
	double		own = own_seconds();
	Times		times = {0};
	Part		part;

	etcd_put(r->etcd, clients, clients < r->connections ? clients : r->connections, r->value, seconds, &times);
	part = part_of(&times, seconds, before, etcd_usage(r->etcd), own);
	times_free(&times);
	return part;
}

static Part
ours(Rivalry *r, uint32_t clients, double seconds)
{
	LoadOptions options = {.writers = clients, .batch = 1, .first = r->next};
	Usage		before = usage_of_all(r->bench);
	double		own = own_seconds();
	int64_t		begun = clock_now_us();
	Load	   *load = load_start(r->bench, &options);
	Times		searches = {0};
	Times		writes = {0};
	Part		part;

	usleep((useconds_t) (seconds * 1e6));
	r->next = load_stop(load);
	seconds = (double) (clock_now_us() - begun) / 1e6;
	load_times(load, 0, &searches, &writes);
	part = part_of(&writes, seconds, before, usage_of_all(r->bench), own);
	times_free(&writes);
	load_free(load);
	return part;
}

static void
print_part(const char *who, uint32_t clients, const Part *part)
{
	printf("  %-8s %3u clients: %7.0f/s, p50 %6.2f ms, p99 %6.2f; each %4.0f us of processor and %5.1f switches, the client %3.0f us\n",
		   who, clients, part->rate, part->p50_ms, part->p99_ms, part->cpu_us, part->switches, part->clients_us);
}

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static double
median(double *values, uint32_t n)
{
	qsort(values, n, sizeof(double), compare);
	return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

static void
print_disk(Bench *bench)
{
	double		p50;
	double		p99;

	disk_probe(bench, &p50, &p99);
	printf("  fdatasync of 4 kB: p50 %.0f us, p99 %.0f\n", p50, p99);
}

/* The number of connections with which many clients of etcd are fastest. */
static void
find_connections(Rivalry *r, uint32_t clients)
{
	static const uint32_t some[] = {1, 4, 16, 64};
	uint32_t	fastest = 1;
	double		best = 0;

	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]) && some[i] <= clients; i++)
	{
		Part		part;

		r->connections = some[i];
		part = theirs(r, clients, WARM_S);
		printf("  etcd over %u connections: %.0f/s\n", some[i], part.rate);
		fastest = part.rate > best ? some[i] : fastest;
		best = part.rate > best ? part.rate : best;
	}
	r->connections = fastest;
}

/* Ratios of our rate to theirs, and of our median to theirs with one client. */
static void
compare_records(Rivalry *r)
{
	Bench	   *bench = r->bench;
	Client	   *client = bench_client(bench);
	double		rates[ROUNDS_MAX];
	double		medians[ROUNDS_MAX];

	for (uint32_t i = 0; i < bench->rounds; i++)
	{
		Part		one;
		Part		two;

		printf("round %u, %u bytes\n", i + 1, RECORD_BYTES);
		print_disk(bench);
		one = theirs(r, bench->clients, bench->seconds);
		two = ours(r, bench->clients, bench->seconds);
		print_part("etcd", bench->clients, &one);
		print_part("vectron", bench->clients, &two);
		rates[i] = two.rate / one.rate;

		/* What the graphs did not get to before is not to be done beside others. */
		wait_indexed(bench, client);
		one = theirs(r, 1, bench->seconds);
		two = ours(r, 1, bench->seconds);
		print_part("etcd", 1, &one);
		print_part("vectron", 1, &two);
		medians[i] = two.p50_ms / one.p50_ms;
	}
	client_close(client);
	bar_least(bench, "writes a second, times etcd's", median(rates, bench->rounds), bench->times);
	bar_most(bench, "median latency of one client, times etcd's", median(medians, bench->rounds), bench->times > 0 ? 1 : 0);
}

/* -- Vectors --------------------------------------------------------------------- */

static void *
link_all(void *arg)
{
	Hnsw	   *graph = arg;

	while (hnsw_link_next(graph))
		;
	return NULL;
}

/* Vectors a second that threads take into a graph when they have the machine alone. */
static double
index_alone(Bench *bench, uint64_t first, uint32_t n)
{
	HnswOptions options = {.dim = bench->dim, .metric = VEC_L2, .m = bench->m, .ef_construction = bench->ef_construction,
		.seed = 1};
	long		cores = sysconf(_SC_NPROCESSORS_ONLN);
	pthread_t	threads[THREADS_MAX];
	float	   *vector = vt_alloc(sizeof(float) * bench->dim);
	Hnsw	   *graph;
	int64_t		begun;
	double		seconds;
	VtError		err = {0};

	cores = cores > THREADS_MAX ? THREADS_MAX : cores;
	if (hnsw_create(&options, &graph, &err) != VT_OK)
		give_up(bench, "%s", vt_error_words(&err));
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	slot;

		vector_of(bench, first + i, vector);
		if (hnsw_reserve(graph, &slot, &err) != VT_OK)
			give_up(bench, "%s", vt_error_words(&err));
		hnsw_add(graph, slot, i, vector);
	}
	begun = clock_now_us();
	for (long i = 0; i < cores; i++)
		if (pthread_create(&threads[i], NULL, link_all, graph) != 0)
			give_up(bench, "no thread");
	for (long i = 0; i < cores; i++)
		pthread_join(threads[i], NULL);
	seconds = (double) (clock_now_us() - begun) / 1e6;
	hnsw_destroy(graph);
	free(vector);
	return n / seconds;
}

static void
compare_vectors(Rivalry *r)
{
	Bench	   *bench = r->bench;
	double		shares[ROUNDS_MAX];

	for (uint32_t i = 0; i < bench->rounds; i++)
	{
		Client	   *client;
		uint64_t	first = r->next;
		int64_t		begun;
		double		drained;
		double		alone;
		uint32_t	n;
		Part		part;

		printf("round %u, vectors of %u dimensions\n", i + 1, bench->dim);
		print_disk(bench);
		if (r->etcd)
		{
			r->value = bench->dim * (uint32_t) sizeof(float);
			part = theirs(r, bench->clients, bench->seconds);
			print_part("etcd", bench->clients, &part);
		}
		vt_id_random(&bench->generation);
		collection_start(bench);
		client = bench_client(bench);
		begun = clock_now_us();
		part = ours(r, bench->clients, 2 * bench->seconds);
		print_part("vectron", bench->clients, &part);
		wait_indexed(bench, client);
		n = (uint32_t) (r->next - first);
		drained = n / ((double) (clock_now_us() - begun) / 1e6);
		alone = index_alone(bench, first, n);
		shares[i] = drained * 3 / alone;
		printf("  in every graph %.0f/s; threads that do nothing else take %.0f/s into one graph\n", drained, alone);
		client_close(client);
	}
	bar_least(bench, "vectors a second, of a third of the graph alone", median(shares, bench->rounds), bench->share);
}

/* Without a rival there is nothing to judge. */
static void
alone(Rivalry *r)
{
	for (uint32_t i = 0; i < r->bench->rounds; i++)
	{
		Part		part = ours(r, r->bench->clients, r->bench->seconds);

		print_part("vectron", r->bench->clients, &part);
		part = ours(r, 1, r->bench->seconds);
		print_part("vectron", 1, &part);
	}
}

/* A bar of 0 leaves out what it is about. */
void
rival(Bench *bench)
{
	Rivalry		r = {.bench = bench, .next = 1, .value = RECORD_BYTES, .connections = 1};

	if (bench->rounds > ROUNDS_MAX)
		give_up(bench, "at most %d rounds", ROUNDS_MAX);
	if (bench->times > 0 && etcd_missing())
		give_up(bench, "no etcd: %s", etcd_missing());
	if (bench->times > 0)
		r.etcd = etcd_start(bench);
	printf("%u workers, %s; one shard of %u replicas; %g s each\n", bench->workers,
		   r.etcd ? "three members of etcd" : "no etcd", bench->replicas, bench->seconds);
	bench->dim = 0;
	bench->metadata = RECORD_BYTES;
	collection_start(bench);
	(void) ours(&r, bench->clients, WARM_S);
	if (r.etcd)
	{
		find_connections(&r, bench->clients);
		compare_records(&r);
	}
	else
		alone(&r);
	bench->dim = VECTOR_DIM;
	bench->m = 16;
	bench->ef_construction = 200;
	bench->metadata = 0;
	if (bench->share > 0)
		compare_vectors(&r);
	if (r.etcd)
		etcd_stop(r.etcd);
}
