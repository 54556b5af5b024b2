/*-------------------------------------------------------------------------
 *
 * replica_watch.c
 *	  A host whose disk does not answer ends its process, with a word; one that is slow, or
 *	  waits for something else, does not.
 *
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>

#include "../../src/replica/private.h"
#include "patience.h"
#include "replica_alone.h"

static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t disk_goes_on = PTHREAD_COND_INITIALIZER;
static bool disk_hangs;
static atomic_bool no_processor;	/* for who writes: to the watch it is as if it got none */

/* In the place of libc's, for LevelDB: a disk that answers at once, or not at all.  How quick the real one is says nothing here. */
extern int	fdatasync(int fd) __attribute__((visibility("default")));

int
fdatasync(int fd)
{
	(void) fd;
	pthread_mutex_lock(&disk_lock);
	while (disk_hangs)
		pthread_cond_wait(&disk_goes_on, &disk_lock);
	pthread_mutex_unlock(&disk_lock);
	while (atomic_load(&no_processor))
		;
	return 0;
}

static void
let_hang(bool hangs)
{
	pthread_mutex_lock(&disk_lock);
	disk_hangs = hangs;
	pthread_cond_broadcast(&disk_goes_on);
	pthread_mutex_unlock(&disk_lock);
}

#define DIES_MS 50				/* 30 such rounds without a sign are the end */
#define LIVES_MS 200			/* of who is to live: it is not taken for dead for being kept from a processor for some seconds */
#define HANGS "the disk hangs from here on\n"

typedef void (*Story) (Fixture *f, Replica *replica, Machine *m);

/*
 * Tell a story in a process of its own, which is looked at that often; how that ended, and
 * its last words.  Nothing of it is cleaned up.
 */
static int
end_of(Story story, uint32_t watch_ms, char *words, size_t size)
{
	int			fds[2];
	int			status;
	size_t		used = 0;
	ssize_t		n;
	pid_t		child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (child == 0)
	{
		Fixture		f = {.options = {.watch_ms = watch_ms}};
		Machine    *m = machine_new(BASE);
		Replica    *replica;

		dup2(fds[1], STDERR_FILENO);
		log_setup("test", LOG_LEVEL_WARN);
		start(&f);
		found(&f, GROUP, REPLICA);
		replica = open_group(&f, GROUP, REPLICA, m, BASE);
		wait_until_serving(replica);
		story(&f, replica, m);
		_exit(0);
	}
	assert_true(child > 0);
	close(fds[1]);
	while (used + 1 < size && (n = read(fds[0], words + used, size - 1 - used)) > 0)
		used += (size_t) n;
	words[used] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Whether all gets on has been looked at. */
static void
await_look(ReplicaHost *host)
{
	long long	before = atomic_load(&host->counts.watched_us);

	while (atomic_load(&host->counts.watched_us) == before)
		usleep(1000);
}

static void
write_into_a_hanging_disk(Fixture *f, Replica *replica, Machine *m)
{
	static Question q;

	(void) m;
	let_hang(true);
	replica_propose(replica, bytes_str("x"), on_done, &q);

	/* The first look may know a disk that answered for what stood still before. */
	for (int i = 0; i < 3; i++)
		await_look(f->host);
	if (write(STDERR_FILENO, HANGS, strlen(HANGS)) < 0)
		_exit(1);
	wait_for(&q, 1);
}

static void
apply_for_ever(Fixture *f, Replica *replica, Machine *m)
{
	(void) f;
	static Question q;

	machine_shut(m, true);
	replica_propose(replica, bytes_str("x"), on_done, &q);
	usleep(36 * LIVES_MS * 1000);
}

/* Who writes, and who tries the disk, are ready to run all the time. */
static void
write_without_a_processor(Fixture *f, Replica *replica, Machine *m)
{
	Question	q = {0};

	(void) f;
	(void) m;
	atomic_store(&no_processor, true);
	replica_propose(replica, bytes_str("x"), on_done, &q);
	usleep(60 * DIES_MS * 1000);
	atomic_store(&no_processor, false);
	wait_for(&q, 1);
	assert_int_equal(q.status, VT_OK);
}

/* All in all for longer, but never for long. */
static void
take_time(Fixture *f, Replica *replica, Machine *m)
{
	(void) m;
	for (int i = 0; i < 6; i++)
	{
		Question	q = {0};

		let_hang(true);
		replica_propose(replica, bytes_str("y"), on_done, &q);
		usleep(6 * LIVES_MS * 1000);
		let_hang(false);
		wait_for(&q, 1);
		assert_int_equal(q.status, VT_OK);
	}
	stop(f);
}

/* The same where the log of the process hangs as well: it goes all the same. */
static void
write_where_the_log_hangs_too(Fixture *f, Replica *replica, Machine *m)
{
	char		rubbish[4096] = {0};
	int			fds[2];

	alarm(PATIENCE_S);
	if (pipe(fds) < 0 || fcntl(fds[1], F_SETFL, O_NONBLOCK) < 0)
		_exit(1);
	while (write(fds[1], rubbish, sizeof(rubbish)) > 0)
		;
	fcntl(fds[1], F_SETFL, 0);
	dup2(fds[1], STDERR_FILENO);
	log_start();
	write_into_a_hanging_disk(f, replica, m);
}

static void
a_log_that_hangs_stops_nobody(void **state)
{
	char		words[16384];

	(void) state;
	assert_int_equal(end_of(write_where_the_log_hangs_too, DIES_MS, words, sizeof(words)), 70);
}

static void
a_disk_that_does_not_answer(void **state)
{
	char		words[16384];
	const char *then;

	(void) state;
	assert_int_equal(end_of(write_into_a_hanging_disk, DIES_MS, words, sizeof(words)), 70);
	then = strstr(words, HANGS);
	assert_non_null(then);
	assert_non_null(strstr(then, "could not write the Raft log: nothing moves"));
	assert_null(strstr(then, "the disk answers"));
}

static void
what_waits_while_the_disk_answers_goes_on(void **state)
{
	char		words[16384];

	(void) state;
	assert_int_equal(end_of(apply_for_ever, LIVES_MS, words, sizeof(words)), 0);
	assert_non_null(strstr(words, "apply the Raft log does not get on"));
	assert_non_null(strstr(words, "the disk answers"));
}

static void
a_busy_machine_is_no_hanging_disk(void **state)
{
	char		words[16384];

	(void) state;
	assert_int_equal(end_of(write_without_a_processor, DIES_MS, words, sizeof(words)), 0);
}

static void
what_is_slow_goes_on(void **state)
{
	char		words[16384];

	(void) state;
	assert_int_equal(end_of(take_time, LIVES_MS, words, sizeof(words)), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_disk_that_does_not_answer, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_log_that_hangs_stops_nobody, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(what_waits_while_the_disk_answers_goes_on, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(a_busy_machine_is_no_hanging_disk, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(what_is_slow_goes_on, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("replica_watch", tests, NULL, NULL);
}
