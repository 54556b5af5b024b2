/*-------------------------------------------------------------------------
 *
 * breaks.h
 *	  Switches that break one law, so that a test can be seen to fail without
 *	  it.  They exist only in a build with -DVT_BREAKS; `make check-laws` makes
 *	  one, breaks one law after the other through VECTRON_BREAK, and demands
 *	  that the tests named in test/laws.txt fail.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_BREAKS_H
#define BASE_BREAKS_H

#ifdef VT_BREAKS

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Is this law broken in this process? */
static inline bool
vt_broken(const char *law)
{
	const char *broken = getenv("VECTRON_BREAK");

	return broken && strcmp(broken, law) == 0;
}

#else

#define vt_broken(law) false

#endif

#endif							/* BASE_BREAKS_H */
