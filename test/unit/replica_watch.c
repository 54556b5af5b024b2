/*-------------------------------------------------------------------------
 *
 * replica_watch.c
 *	  A host whose disk does not answer ends its process, with a word; one that is slow, or
 *	  waits for something else, does not.
 *
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>

#include "replica_alone.h"

static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t disk_goes_on = PTHREAD_COND_INITIALIZER;
static bool disk_hangs;
static atomic_bool no_processor;	/* for who writes: to the watch it is as if it got none */

/* In the place of libc's, for LevelDB: the disk that does not answer. */
extern int	fdatasync(int fd) __attribute__((visibility("default")));

int
fdatasync(int fd)
{
	pthread_mutex_lock(&disk_lock);
	while (disk_hangs)
		pthread_cond_wait(&disk_goes_on, &disk_lock);
	pthread_mutex_unlock(&disk_lock);
	while (atomic_load(&no_processor))
		;
	return fsync(fd);
}

static void
let_hang(bool hangs)
{
	pthread_mutex_lock(&disk_lock);
	disk_hangs = hangs;
	pthread_cond_broadcast(&disk_goes_on);
	pthread_mutex_unlock(&disk_lock);
}

#define PATIENCE_S 120
#define WATCH_MS 50				/* 30 such rounds without a sign are the end */

typedef void (*Story) (Fixture *f, Replica *replica, Machine *m);

/*
 * Tell a story in a process of its own; how that ended, and its last words.  Nothing
 * of it is cleaned up.
 */
static int
end_of(Story story, char *words, size_t size)
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
		Fixture		f = {.options = {.watch_ms = WATCH_MS}};
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

static void
write_into_a_hanging_disk(Fixture *f, Replica *replica, Machine *m)
{
	(void) f;
	(void) m;
	let_hang(true);
	(void) ask(replica, "x", NULL);
}

static void
apply_for_ever(Fixture *f, Replica *replica, Machine *m)
{
	(void) f;
	static Question q;

	machine_shut(m, true);
	replica_propose(replica, bytes_str("x"), on_done, &q);
	usleep(60 * WATCH_MS * 1000);
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
	usleep(60 * WATCH_MS * 1000);
	atomic_store(&no_processor, false);
	wait_for(&q, 1);
	assert_int_equal(q.status, VT_OK);
}

/* All in all for longer, but never for long. */
static void
take_time(Fixture *f, Replica *replica, Machine *m)
{
	(void) m;
	for (int i = 0; i < 12; i++)
	{
		Question	q = {0};

		let_hang(true);
		replica_propose(replica, bytes_str("y"), on_done, &q);
		usleep(3 * WATCH_MS * 1000);
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
	assert_int_equal(end_of(write_where_the_log_hangs_too, words, sizeof(words)), 70);
}

static void
a_disk_that_does_not_answer(void **state)
{
	char		words[16384];

	(void) state;
	assert_int_equal(end_of(write_into_a_hanging_disk, words, sizeof(words)), 70);
	assert_non_null(strstr(words, "could not write the Raft log: nothing moves"));
	assert_null(strstr(words, "the disk answers"));
}

static void
what_waits_while_the_disk_answers_goes_on(void **state)
{
	char		words[16384];

	(void) state;
	assert_int_equal(end_of(apply_for_ever, words, sizeof(words)), 0);
	assert_non_null(strstr(words, "apply the Raft log does not get on"));
	assert_non_null(strstr(words, "the disk answers"));
}

static void
a_busy_machine_is_no_hanging_disk(void **state)
{
	char		words[16384];

	(void) state;
	assert_int_equal(end_of(write_without_a_processor, words, sizeof(words)), 0);
}

static void
what_is_slow_goes_on(void **state)
{
	char		words[16384];

	(void) state;
	assert_int_equal(end_of(take_time, words, sizeof(words)), 0);
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
