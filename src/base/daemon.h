/*-------------------------------------------------------------------------
 *
 * daemon.h
 *	  What every daemon does besides its work: be told to stop, and ask for room.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_DAEMON_H
#define BASE_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Block all signals in this thread and those it will start, ignore SIGPIPE,
 * and return a descriptor for daemon_wait().  Call first thing in main().
 */
extern int	daemon_block_signals(void);

/*
 * As many open files as the system lets this process have: the usual limit of 1 024
 * is for programs that use select(), and each shard needs several.  Returns the limit.
 */
extern uint64_t daemon_raise_file_limit(void);

/*
 * Wait for SIGTERM or SIGINT, or, when death_fd >= 0, until the other end of
 * that pipe is closed by everybody.  Returns words for the log.  At each SIGHUP
 * meanwhile reload (may be NULL) is called.
 */
extern const char *daemon_wait(int signal_fd, int death_fd, void (*reload) (void *arg), void *arg);

/*
 * End the process, with a line in the log and status DAEMON_CUT_SHORT, if it still lives after
 * 30 seconds; after 5 where a server waits for it (embedded).
 */
#define DAEMON_CUT_SHORT 75
extern void daemon_stop_within(bool embedded);

/* A number that grows with each start on one machine: microseconds since 1970. */
extern uint64_t daemon_boot_epoch(void);

#endif							/* BASE_DAEMON_H */
