/*-------------------------------------------------------------------------
 *
 * only.c
 *	  Which of its tests a unit program runs; linked into each of them.
 *
 *	  TEST_ONLY=survivors* build/unit/worker_cluster
 *
 * Without that, all.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void __attribute__((constructor))
choose(void)
{
	const char *only = getenv("TEST_ONLY");

	if (only)
		cmocka_set_test_filter(only);
}
