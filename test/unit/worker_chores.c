/*-------------------------------------------------------------------------
 *
 * worker_chores.c
 *	  Shards are made while heartbeats go on, however long that takes.
 *
 * The placement driver is a model that answers what it is told to.  A shard
 * whose file CURRENT is a pipe takes until somebody writes into that.
 *
 *	  build/unit/worker_chores --bench [shards]	 what idle shards cost a worker
 *
 *-------------------------------------------------------------------------
 */
#include "told_driver.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "base/daemon.h"
#include "base/log.h"

static void
give_create(Driver *d, uint64_t shard, uint64_t replica)
{
	WireShardDesc desc = desc_of(shard, replica);
	json_t	   *task = json_object();
	Buf			bytes = {0};
	char	   *hex;

	wire_desc_put(&bytes, &desc);
	hex = vt_alloc(2 * bytes.len + 1);
	for (size_t i = 0; i < bytes.len; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes.data[i]);
	json_object_set_new(task, "task", json_string("create_shard"));
	json_object_set_new(task, "desc", json_string(hex));
	pthread_mutex_lock(&d->lock);
	json_array_append_new(d->tasks, task);
	pthread_mutex_unlock(&d->lock);
	free(hex);
	buf_free(&bytes);
}

/* So that nothing is given any more that was. */
static void
give_nothing(Driver *d)
{
	pthread_mutex_lock(&d->lock);
	json_array_clear(d->tasks);
	pthread_mutex_unlock(&d->lock);
}

static void
give(Driver *d, const char *what, const char *shard, const char *replica)
{
	pthread_mutex_lock(&d->lock);
	json_array_append_new(d->tasks, json_pack("{s:s,s:s,s:s}", "task", what, "shard", shard, "replica", replica));
	pthread_mutex_unlock(&d->lock);
}

/*
 * While the rows of one shard are read, however long that takes, others are made,
 * hidden and dropped.
 */
static void
long_chores_hold_up_none(void **state)
{
	static Driver d;
	int64_t		until = clock_now_us() + PATIENCE_US;
	Worker	   *worker;
	char		manifest[256] = "";
	FILE	   *current;
	int			pipe = -1;

	(void) state;
	driver_start(&d);
	worker = start();
	assert_int_equal(create(worker, 7, 70), VT_OK);
	assert_int_equal(create(worker, 6, 60), VT_OK);
	assert_int_equal(create(worker, 5, 50), VT_OK);
	put(worker, 7, 1);
	while (worker_hide_shard(worker, 7, 70, NULL) == VT_BUSY)
		wait_for(until, "the shard is not closed");

	/* Its name is read from a pipe, into which nobody has written yet. */
	current = fopen(scratch_path("shards/0000000000000007/CURRENT"), "r");
	assert_non_null(current);
	assert_non_null(fgets(manifest, sizeof(manifest), current));
	fclose(current);
	assert_int_equal(unlink(scratch_path("shards/0000000000000007/CURRENT")), 0);
	assert_int_equal(mkfifo(scratch_path("shards/0000000000000007/CURRENT"), 0600), 0);
	give(&d, "open_shard", "7", "70");
	while ((pipe = open(scratch_path("shards/0000000000000007/CURRENT"), O_WRONLY | O_NONBLOCK)) < 0)
		wait_for(until, "the shard is not opened");

	give_create(&d, 8, 80);
	give(&d, "drop_shard", "6", "60");
	give(&d, "close_shard", "5", "50");
	while (!is_open(worker, 8) || is_open(worker, 6) || is_there("0000000000000006") || is_open(worker, 5))
		wait_for(until, "others wait for the one that is opened");
	assert_false(is_open(worker, 7));

	/* Then that one is there, too. */
	give_nothing(&d);
	assert_int_equal(unlink(scratch_path("shards/0000000000000007/CURRENT")), 0);
	current = fopen(scratch_path("shards/0000000000000007/CURRENT"), "w");
	assert_non_null(current);
	fputs(manifest, current);
	fclose(current);
	assert_int_equal(write(pipe, manifest, strlen(manifest)), (ssize_t) strlen(manifest));
	close(pipe);
	while (!is_open(worker, 7))
		wait_for(until, "the shard is not open in the end");
	worker_stop(worker);
	net_server_stop(d.server);
	driver_free(&d);
}

static void
heartbeats_go_on(void **state)
{
	static Driver d;
	int64_t		until = clock_now_us() + PATIENCE_US;
	Worker	   *worker;
	Shard	   *doubtful;
	VtError		damage = {0};
	unsigned	beats;
	int			pipe = -1;

	(void) state;
	driver_start(&d);
	mkdir(scratch_path("shards"), 0700);
	mkdir(scratch_path("shards/0000000000000007"), 0700);
	assert_int_equal(mkfifo(scratch_path("shards/0000000000000007/CURRENT"), 0600), 0);
	worker = start();
	give_create(&d, 7, 70);
	give_create(&d, 8, 80);

	/* Somebody reads from it: the shard is being made. */
	while (pipe < 0)
	{
		pipe = open(scratch_path("shards/0000000000000007/CURRENT"), O_WRONLY | O_NONBLOCK);
		if (clock_now_us() > until)
			fail_msg("the shard is not made");
		usleep(1000);
	}
	beats = atomic_load(&d.beats);
	while (atomic_load(&d.beats) < beats + 5)
	{
		if (clock_now_us() > until)
			fail_msg("the worker's heart has stopped");
		usleep(1000);
	}
	assert_false(atomic_load(&d.has_8));	/* one after the other */

	/* It cannot be made like this; the other one can. */
	assert_int_equal(unlink(scratch_path("shards/0000000000000007/CURRENT")), 0);
	assert_int_equal(write(pipe, "rubbish\n", 8), 8);
	close(pipe);
	while (!atomic_load(&d.has_8))
	{
		if (clock_now_us() > until)
			fail_msg("the other shard is not made");
		usleep(1000);
	}
	assert_true(is_open(worker, 8));

	/* What goes is told, too. */
	drop(worker, 8, 80);
	assert_int_equal(create(worker, 9, 90), VT_OK);
	put(worker, 9, 1);

	/* Nothing happens, and that is not told at length, unless it is asked for. */
	while (atomic_load(&d.same) < 3)
	{
		if (clock_now_us() > until)
			fail_msg("the same is told again and again");
		usleep(1000);
	}
	assert_true(atomic_load(&d.changes) > 0);
	atomic_store(&d.tell_all, true);
	while (!atomic_load(&d.told_all))
	{
		if (clock_now_us() > until)
			fail_msg("a driver that knows nothing is told nothing");
		usleep(1000);
	}

	/* Of a replica that cannot be read the driver is asked what the others have. */
	doubtful = worker_find_shard(worker, 9);
	assert_int_equal(atomic_load(&d.doubted), 0);
	shard_note_damage(doubtful, VT_BUSY, &damage);
	assert_false(atomic_load(&doubtful->suspect));
	shard_note_damage(doubtful, vt_fail(&damage, VT_CORRUPT, "a row is damaged"), &damage);
	shard_release(doubtful);
	while (atomic_load(&d.doubted) != 9)
	{
		if (clock_now_us() > until)
			fail_msg("nobody is asked");
		usleep(1000);
	}
	worker_stop(worker);
	net_server_stop(d.server);
	assert_non_null(json_object_get(d.known, "9"));
	assert_null(json_object_get(d.known, "8"));
	driver_free(&d);
}

/* -- What idle shards cost -------------------------------------------------- */

static double
cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		(double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double
resident_kb(void)
{
	FILE	   *f = fopen("/proc/self/statm", "r");
	long		pages = 0;

	if (!f || fscanf(f, "%*d %ld", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return (double) pages * (double) sysconf(_SC_PAGESIZE) / 1024;
}

static uint32_t
open_files(void)
{
	DIR		   *dir = opendir("/proc/self/fd");
	uint32_t	n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static int
bench(uint64_t shards)
{
	static Driver d;
	ReplicaHostFigures figures = {0};
	Worker	   *worker;
	unsigned	beats;
	uint32_t	files;
	double		memory;
	double		cpu;
	int64_t		begun;

	(void) daemon_raise_file_limit();
	scratch_make(NULL);
	driver_start(&d);
	worker = start();
	memory = resident_kb();
	files = open_files();
	for (uint64_t i = 1; i <= shards; i++)
	{
		assert_int_equal(create(worker, i, i + 100000), VT_OK);
		put(worker, i, 1);
	}
	memory = (resident_kb() - memory) / (double) shards;
	while (figures.asleep < shards)
	{
		usleep(10000);
		replica_host_figures(worker->host, &figures);
	}
	beats = atomic_load(&d.beats);
	cpu = cpu_seconds();
	begun = clock_now_us();
	usleep(10000000);
	cpu = (cpu_seconds() - cpu) / ((double) (clock_now_us() - begun) / 1e6);
	beats = atomic_load(&d.beats) - beats;
	/* The driver here answers at once; a real one, when nothing is to be done, after half a second. */
	printf("%llu idle shards with a record each: %.0f us of processor time a heartbeat with all else, "
		   "%.2f %% of a core at two a second, %.0f kB each\n", (unsigned long long) shards,
		   cpu * 10 * 1e6 / beats, cpu * 10 / beats * 2 * 100, memory);
	worker_look(worker);
	printf("open files: %.1f each; counted, kB each:", (double) (open_files() - files) / (double) shards);
	for (int kind = 0; kind < MEMORY_KINDS; kind++)
		printf(" %s %.1f", memory_names[kind], (double) atomic_load(&worker->memory_of[kind]) / 1024 / (double) shards);
	begun = clock_now_us();
	for (int i = 0; i < 100; i++)
		worker_look(worker);
	printf("; looking at all of them: %.2f ms\n", (double) (clock_now_us() - begun) / 1000 / 100);
	worker_stop(worker);
	net_server_stop(d.server);
	driver_free(&d);
	return scratch_remove(NULL);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(heartbeats_go_on, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(long_chores_hold_up_none, scratch_make, scratch_remove),
	};

	log_setup("test", LOG_LEVEL_ERROR);
	if (argc > 1 && strcmp(argv[1], "--bench") == 0)
		return bench(argc > 2 ? (uint64_t) atoi(argv[2]) : 2000);
	return cmocka_run_group_tests_name("worker_chores", tests, NULL, NULL);
}
