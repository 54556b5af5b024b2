/*-------------------------------------------------------------------------
 *
 * vectron.c
 *	  The library's entrance.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "index.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	index_setup();
}
