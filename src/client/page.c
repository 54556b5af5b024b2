/*-------------------------------------------------------------------------
 *
 * page.c
 *	  Answers that come in pages: what a page says of the others.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "private.h"

bool
client_page(const json_t *answer, ClientPage *page)
{
	const json_t *next = json_object_get(answer, "next");
	char		after[VT_ID_TEXT];
	VtId		id;

	memcpy(after, page->next, sizeof(after));
	page->whole = !json_is_true(json_object_get(answer, "page"));
	page->next[0] = '\0';
	if (!next)
		return json_is_object(answer);
	if (!json_is_string(next) || !vt_id_parse(json_string_value(next), &id))
		return false;
	vt_id_format(&id, page->next);
	return strcmp(page->next, after) > 0;	/* digits, always as many: it is their order */
}
