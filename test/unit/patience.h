/*-------------------------------------------------------------------------
 *
 * patience.h
 *	  How long a test waits for what is to come before it says that it did not.
 *
 * Nothing is told by it of how quick anything is: who is slow is waited for.  A
 * sanitizer makes everything slower, up to twenty times; without one the harness
 * ends a program after two minutes, and this should be sooner, since it has words.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_PATIENCE_H
#define TEST_PATIENCE_H

#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PATIENCE_S 1500
#else
#define PATIENCE_S 100
#endif
#define PATIENCE_MS (PATIENCE_S * 1000)
#define PATIENCE_US (PATIENCE_S * INT64_C(1000000))

#endif							/* TEST_PATIENCE_H */
