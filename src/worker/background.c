/*-------------------------------------------------------------------------
 *
 * background.c
 *	  How work that nobody waits for goes on beside searches.
 *
 *-------------------------------------------------------------------------
 */
#include "background.h"

#include <unistd.h>

#include "base/clock.h"
#include "private.h"

#define PIECE_US 1000			/* of work before a rest */
#define LATELY_US 100000		/* a search was answered since: there will be more */
#define REST 8					/* times the work, shared by the cores */
#define REST_MOST_US 20000		/* work that took long did so because it made way */

int64_t
background_rest_us(const Worker *worker, int64_t begun_us)
{
	static atomic_long cores;
	int64_t		now_us = clock_now_us();
	int64_t		rest_us;

	if (now_us - begun_us < PIECE_US || now_us - atomic_load(&worker->searched_us) > LATELY_US)
		return 0;
	if (atomic_load(&cores) == 0)
		atomic_store(&cores, sysconf(_SC_NPROCESSORS_ONLN) > 1 ? sysconf(_SC_NPROCESSORS_ONLN) : 1);
	rest_us = (now_us - begun_us) * REST / atomic_load(&cores);
	return rest_us < REST_MOST_US ? rest_us : REST_MOST_US;
}
