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
	json_t	   *whole = NULL;
	VtError		err = {0};

	for (;;)
	{
		const char *after = json_string_value(json_object_get(whole, "next"));
		json_t	   *question = after ? json_pack("{s:s,s:s}", "op", "dump", "after", after) : json_pack("{s:s}", "op", "dump");
		json_t	   *page = ctl_ask(ctl, question, &err);

		if (!page)
		{
			json_decref(whole);
			return ctl_failed("dump", &err);
		}
		if (!whole)
			whole = page;
		else
		{
			json_array_extend(json_object_get(whole, "collections"), json_object_get(page, "collections"));
			json_object_del(whole, "next");
			if (json_object_get(page, "next"))
				json_object_set(whole, "next", json_object_get(page, "next"));
			json_decref(page);
		}
		if (!json_object_get(whole, "next"))
			break;
	}
	ctl_print(whole);
	json_decref(whole);
	return 0;
}
