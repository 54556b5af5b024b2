/*-------------------------------------------------------------------------
 *
 * dump.c
 *	  vectronctl dump: all that the placement driver knows, for a support case.
 *
 * It comes in pages and is put together here.  JSON with --json and without.
 *
 *-------------------------------------------------------------------------
 */
#include "ctl.h"

int
dump_main(Ctl *ctl)
{
	VtError		err = {0};
	json_t	   *whole = ctl_ask_pages(ctl, json_pack("{s:s}", "op", "dump"), "collections", &err);

	if (!whole)
		return ctl_failed("dump", &err);
	ctl_print(whole);
	json_decref(whole);
	return 0;
}
