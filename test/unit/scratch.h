/*-------------------------------------------------------------------------
 *
 * scratch.h
 *	  A folder that a test makes and that is gone after it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_SCRATCH_H
#define TEST_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>

static char scratch[64];

/* cmocka's setup and teardown. */
static int
scratch_make(void **state)
{
	(void) state;
	snprintf(scratch, sizeof(scratch), "/tmp/vectron-test.XXXXXX");
	return mkdtemp(scratch) ? 0 : -1;
}

static int
scratch_remove(void **state)
{
	char		command[128];

	(void) state;
	snprintf(command, sizeof(command), "rm -rf '%s'", scratch);
	return system(command);
}

/* A path in it; the last four are kept. */
static inline const char *
scratch_path(const char *name)
{
	static char paths[4][192];
	static int	at;
	char	   *path = paths[at++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", scratch, name);
	return path;
}

#endif							/* TEST_SCRATCH_H */
