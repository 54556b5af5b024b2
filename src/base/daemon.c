/*-------------------------------------------------------------------------
 *
 * daemon.c
 *	  Signals and the end of a daemon.
 *
 *-------------------------------------------------------------------------
 */
#include "base/daemon.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"

int
daemon_block_signals(void)
{
	sigset_t	all;
	sigset_t	end;
	int			fd;

	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	sigaddset(&end, SIGHUP);
	fd = signalfd(-1, &end, SFD_CLOEXEC);
	Assert(fd >= 0);
	return fd;
}

uint64_t
daemon_raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	if (limit.rlim_cur < limit.rlim_max)
	{
		rlim_t		before = limit.rlim_cur;

		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			limit.rlim_cur = before;
	}
	return limit.rlim_cur;
}

const char *
daemon_wait(int signal_fd, int death_fd, void (*reload) (void *arg), void *arg)
{
	static char told[80];
	struct pollfd fds[2] = {{signal_fd, POLLIN, 0}, {death_fd, POLLIN, 0}};
	char		byte;

	for (;;)
	{
		int			n = poll(fds, death_fd >= 0 ? 2 : 1, -1);

		if (n < 0 && errno != EINTR)
			return "poll failed";
		if (n <= 0)
			continue;
		if (fds[0].revents)
		{
			struct signalfd_siginfo signal;

			if (read(signal_fd, &signal, sizeof(signal)) != sizeof(signal))
				return "could not read a signal";
			if (signal.ssi_signo != SIGHUP)
			{
				snprintf(told, sizeof(told), "told to stop by process %u of user %u", signal.ssi_pid, signal.ssi_uid);
				return told;
			}
			if (reload)
				reload(arg);
		}
		if (death_fd >= 0 && fds[1].revents && read(death_fd, &byte, 1) == 0)
			return "the postmaster is gone";
	}
}

static void
on_alarm(int signal_number)
{
	static const char said[] = "ERROR did not stop in time: ends as it is, as by kill -9; what was acknowledged is on disk\n";

	(void) signal_number;
	if (write(STDERR_FILENO, said, sizeof(said) - 1) < 0)
		_exit(DAEMON_CUT_SHORT);
	_exit(DAEMON_CUT_SHORT);
}

void
daemon_stop_within(bool embedded)
{
	signal(SIGALRM, on_alarm);
	alarm(embedded ? 5 : 30);
}

uint64_t
daemon_boot_epoch(void)
{
	return (uint64_t) clock_wall_us();
}
