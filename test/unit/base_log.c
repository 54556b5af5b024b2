/*-------------------------------------------------------------------------
 *
 * base_log.c
 *	  Log lines of a daemon: nobody stands where they cannot be written.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

#define LINES 10000

static char *
padding(void)
{
	static char text[201];

	memset(text, 'x', 200);
	return text;
}

/* In a process of its own, whose standard error is out. */
static void
write_far_too_much(int out, int go_on)
{
	alarm(60);
	dup2(out, STDERR_FILENO);
	log_setup("test", LOG_LEVEL_INFO);
	log_info("before there is a thread");
	log_start();
	for (int i = 0; i < LINES; i++)
		log_info("line=%d %s", i, padding());
	log_flush(1);				/* in vain: nobody reads */

	/* It came so far while nobody read; now somebody does. */
	if (write(go_on, "x", 1) != 1)
		_exit(1);
	log_flush(30000);
	log_info("the last");
	log_exit(7);
}

static void
what_finds_no_room_is_counted(void **state)
{
	int			out[2];
	int			go_on[2];
	char		line[4096];
	char		byte;
	int			next = 0;
	int			status;
	unsigned long long dropped = 0;
	bool		first = false;
	bool		last = false;
	FILE	   *lines;
	pid_t		child;

	(void) state;
	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(go_on), 0);
	child = fork();
	if (child == 0)
		write_far_too_much(out[1], go_on[1]);
	close(out[1]);
	assert_int_equal(read(go_on[0], &byte, 1), 1);	/* it was held up by nothing */
	lines = fdopen(out[0], "r");
	while (fgets(line, sizeof(line), lines))
	{
		const char *at = strstr(line, "line=");
		unsigned long long n;

		assert_non_null(strchr(line, '\n'));
		first |= strstr(line, "before there is a thread") != NULL;
		last |= strstr(line, "the last") != NULL;
		if (sscanf(strstr(line, "test") + 5, "lines=%llu were dropped", &n) == 1)
			dropped += n;
		else if (at)
		{
			assert_int_equal(atoi(at + 5), next);	/* in order, and whole */
			assert_non_null(strstr(line, padding()));
			next++;
		}
	}
	fclose(lines);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_true(first && last);
	assert_true(next > 100);
	assert_int_equal(next + dropped, LINES);
	close(go_on[0]);
	close(go_on[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_finds_no_room_is_counted),
	};

	return cmocka_run_group_tests_name("base_log", tests, NULL, NULL);
}
