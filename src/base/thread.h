/*-------------------------------------------------------------------------
 *
 * thread.h
 *	  What a thread is called, for top, gdb and perf.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <sys/prctl.h>

/* The calling thread's, at most 15 characters. */
static inline void
thread_name(const char *name)
{
	(void) prctl(PR_SET_NAME, name);
}

#endif							/* BASE_THREAD_H */
