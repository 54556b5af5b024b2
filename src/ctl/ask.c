/*-------------------------------------------------------------------------
 *
 * ask.c
 *	  Questions and answers.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "ctl.h"

static json_t *
ask(Ctl *ctl, const char *endpoint, json_t *question, VtError *err)
{
	char	   *text = json_dumps(question, JSON_COMPACT);
	int64_t		until = clock_now_us() + (int64_t) ctl->timeout_ms * 1000;
	const char *reply = NULL;
	json_t	   *answer = NULL;
	VtStatus	status = endpoint ? client_control_at(ctl->client, endpoint, text, until, &reply, err) :
		client_control(ctl->client, text, until, &reply, err);

	free(text);
	json_decref(question);
	if (status != VT_OK)
		return NULL;
	answer = json_loads(reply, 0, NULL);
	if (json_is_object(answer))
		return answer;
	json_decref(answer);
	vt_fail(err, VT_PROTOCOL, "the answer is no JSON object");
	return NULL;
}

json_t *
ctl_ask(Ctl *ctl, json_t *question, VtError *err)
{
	return ask(ctl, NULL, question, err);
}

json_t *
ctl_ask_at(Ctl *ctl, const char *endpoint, json_t *question, VtError *err)
{
	return ask(ctl, endpoint, question, err);
}

json_t *
ctl_ask_pages(Ctl *ctl, json_t *question, const char *rows, VtError *err)
{
	bool		in_pages = json_is_true(json_object_get(question, "page"));
	json_t	   *whole = NULL;
	ClientPage	now = {.whole = false};

	do
	{
		json_t	   *page = ctl_ask(ctl, json_incref(question), err);

		if (page && !(client_page(page, &now) && json_is_array(json_object_get(page, rows))))
		{
			vt_fail(err, VT_PROTOCOL, "the placement driver's answer makes no sense");
			json_decref(page);
			page = NULL;
		}
		/* All that a driver of an earlier release tells takes the place of what was told before. */
		if (!page || (in_pages && now.whole))
		{
			json_decref(whole);
			whole = NULL;
		}
		if (!page)
			break;
		json_object_del(page, "next");
		json_object_del(page, "page");
		if (whole)
			json_array_extend(json_object_get(whole, rows), json_object_get(page, rows));
		else
			whole = json_incref(page);
		json_decref(page);
		json_object_set_new(question, "after", json_string(now.next));
	} while (now.next[0]);
	json_decref(question);
	return whole;
}

void
ctl_print(json_t *answer)
{
	json_dumpf(answer, stdout, JSON_INDENT(2));
	putchar('\n');
}

int
ctl_failed(const char *command, const VtError *err)
{
	fprintf(stderr, "vectronctl: %s: %s\n", command, vt_error_words(err));
	return 1;
}
