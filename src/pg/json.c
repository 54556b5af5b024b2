/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Reading the control plane's JSON answers.
 *
 * A file of its own, since jansson and PostgreSQL both have a function named
 * json_object: the two headers cannot meet, and vectron.so must never call
 * that one (the server's would answer).  make lint checks it.
 *
 *-------------------------------------------------------------------------
 */
#include <jansson.h>

#include "json.h"

#include <string.h>

bool
json_member_text(const char *text, const char *member, char *out, size_t size)
{
	json_t	   *json = json_loads(text, 0, NULL);
	const char *value = NULL;
	bool		ok = false;

	if (json && json_unpack(json, "{s:s}", member, &value) == 0 && strlen(value) < size)
	{
		memcpy(out, value, strlen(value) + 1);
		ok = true;
	}
	json_decref(json);
	return ok;
}
