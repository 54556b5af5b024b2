/*-------------------------------------------------------------------------
 *
 * catchup.c
 *	  How soon a new replica has everything, beside a plain copy of the same bytes
 *	  through a socket to the same disk.
 *
 * A worker is drained, and the spare one that takes its replica is asked how far it
 * is, from the moment that the group has it as a member: until it counts, since it has
 * all that the leader had, durably; and until it can be searched, since its records
 * are loaded.  The copy reads the rows' files of the worker that
 * is drained, which are in the page cache for both.
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* nftw */
#endif
#include "cluster.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_US 5000
#define PATIENCE_US (120 * SECOND)
#define COPY_BYTES (1u << 20)
#define INSTALLED " installed"

/* -- The plain copy -------------------------------------------------------------- */

typedef struct Copy
{
	Bench	   *bench;
	int			in;
	int			out;
	size_t		bytes;
} Copy;

static Copy copying;

static int
send_file(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	static uint8_t block[COPY_BYTES];
	const char *name = path + ftw->base;
	int			fd;
	ssize_t		n;

	(void) st;
	if (kind != FTW_F || !strstr(path, "/shards/") || !strstr(name, ".ldb"))
		return 0;
	fd = open(path, O_RDONLY);
	while (fd >= 0 && (n = read(fd, block, sizeof(block))) > 0)
	{
		for (ssize_t at = 0, sent; at < n; at += sent)
			if ((sent = write(copying.out, block + at, (size_t) (n - at))) <= 0)
				give_up(copying.bench, "could not send");
		copying.bytes += (size_t) n;
	}
	if (fd >= 0)
		close(fd);
	return 0;
}

static void *
receive_all(void *arg)
{
	static uint8_t block[COPY_BYTES];
	const Bench *bench = arg;
	char		path[300];
	int			fd;
	ssize_t		n;

	snprintf(path, sizeof(path), "%s/copy", bench->directory);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	while ((n = read(copying.in, block, sizeof(block))) > 0)
		if (write(fd, block, (size_t) n) != n)
			give_up(copying.bench, "could not write %s", path);
	if (fd < 0 || fdatasync(fd) != 0)
		give_up(copying.bench, "could not write %s", path);
	close(fd);
	unlink(path);
	return NULL;
}

/* MB a second of the rows of a worker. */
static double
copy_rate(Bench *bench, uint32_t worker)
{
	char		path[300];
	pthread_t	receiver;
	int			pair[2];
	int64_t		begun;

	snprintf(path, sizeof(path), "%s/data%u", bench->directory, worker);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		give_up(bench, "no socket");
	copying = (Copy) {.bench = bench, .in = pair[0], .out = pair[1]};
	begun = clock_now_us();
	if (pthread_create(&receiver, NULL, receive_all, bench) != 0)
		give_up(bench, "no thread");
	(void) nftw(path, send_file, 16, FTW_PHYS);
	close(pair[1]);
	pthread_join(receiver, NULL);
	close(pair[0]);
	return (double) copying.bytes / (double) (clock_now_us() - begun);
}

/* -- The replica ----------------------------------------------------------------- */

/* How far the replica at a worker is (0: it has nothing), and, if it leads, how many there are. */
static uint64_t
applied_at(Bench *bench, Client *client, uint32_t worker, size_t *members)
{
	json_t	   *answer = ask(client, worker_endpoint(bench, worker), "{\"op\":\"status\"}");
	json_t	   *shard = json_array_get(json_object_get(answer, "shards"), 0);
	uint64_t	applied = number_of(shard, "applied");

	*members = json_array_size(json_object_get(shard, "members"));
	json_decref(answer);
	return applied;
}

/* Seconds until the replica at `to` has what the one at `from` has now, and can be searched. */
static void
catch_up(Bench *bench, Client *client, uint32_t leader, uint32_t from, uint32_t to, double *has, double *searched)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint64_t	store = store_of(bench, client, from);
	int64_t		begun = 0;
	int64_t		there = 0;
	size_t		members;
	uint32_t	installed = worker_says(bench, to, INSTALLED);
	uint64_t	target = applied_at(bench, client, from, &members);
	uint64_t	applied = 0;

	json_decref(ask(client, NULL, "{\"op\":\"drain\",\"store\":\"%" PRIu64 "\"}", store));
	while (applied < target)
	{
		if (begun == 0)
		{
			(void) applied_at(bench, client, leader, &members);
			if (members > bench->replicas)
				begun = clock_now_us();
		}
		else if (there == 0 && worker_says(bench, to, INSTALLED) > installed)
			there = clock_now_us();
		else if (there != 0)
			applied = applied_at(bench, client, to, &members);
		if (clock_now_us() > until)
			give_up(bench, "the replica does not catch up");
		usleep(LOOK_US);
	}
	*has = (double) (there - begun) / 1e6;
	*searched = (double) (clock_now_us() - begun) / 1e6;
	while (replicas_at(client, store) > 0)
		usleep(50000);
	json_decref(ask(client, NULL, "{\"op\":\"undrain\",\"store\":\"%" PRIu64 "\"}", store));
}

static int
ratio_compare(const void *a, const void *b)
{
	const double *x = a;
	const double *y = b;

	return (*x > *y) - (*x < *y);
}

void
catchup(Bench *bench)
{
	Client	   *client;
	Leaders		leaders;
	double		mb = (double) bench->records * bench->dim * sizeof(float) / 1e6;
	double		ratios[32];
	uint32_t	spare = bench->workers;
	uint32_t	from = 1;

	if (bench->rounds > 32 || bench->workers != bench->replicas + 1 || bench->shards != 1)
		give_up(bench, "catchup wants one shard, a worker more than replicas, at most 32 rounds");
	collection_start(bench);
	client = bench_client(bench);
	wait_whole(bench, client, &leaders);
	wait_indexed(bench, client);

	/* Whichever worker has no replica is the spare one. */
	for (uint32_t i = 1; i <= bench->workers; i++)
		if (replicas_at(client, store_of(bench, client, i)) == 0)
			spare = i;
	printf("%u records of %u dimensions, %.0f MB of vectors, %u replicas\n", bench->records, bench->dim, mb, bench->replicas);
	for (uint32_t i = 0; i < bench->rounds; i++)
	{
		Usage		before = usage_of_all(bench);
		double		copied;
		double		seconds;
		double		searched;
		Usage		after;

		wait_whole(bench, client, &leaders);
		from = leaders.worker[0];
		for (uint32_t k = 1; k <= bench->workers; k++)
			if (k != spare && k != leaders.worker[0])
				from = k;
		copied = copy_rate(bench, from);
		before = usage_of_all(bench);
		catch_up(bench, client, leaders.worker[0], from, spare, &seconds, &searched);
		after = usage_of_all(bench);
		ratios[i] = mb / seconds / copied;
		printf("round %u: a plain copy %.0f MB/s; the new replica %.2f s, %.0f MB/s, %.2f of it; searched after %.2f s; %.2f s of processor\n",
			   i + 1, copied, seconds, mb / seconds, ratios[i], searched, after.seconds - before.seconds);
		wait_indexed(bench, client);
		spare = from;
	}
	/* The disk is another one from round to round. */
	qsort(ratios, bench->rounds, sizeof(ratios[0]), ratio_compare);
	bar_least(bench, "speed of a new replica, of a plain copy's, in the median", (ratios[(bench->rounds - 1) / 2] + ratios[bench->rounds / 2]) / 2, bench->share);
	client_close(client);
}
