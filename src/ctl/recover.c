/*-------------------------------------------------------------------------
 *
 * recover.c
 *	  vectronctl unsafe-recover: shards that have lost a majority for good.
 *
 * Without --apply the plan is shown and nothing is changed.  With the plan's id it
 * is carried out, if it is still what would be done.  Exit status 0: carried out, or
 * it could be; 1: refused, or there is nothing that could be done now.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "ctl.h"
#include "table.h"

static const Column store_columns[] = {
	{"store", COLUMN_TEXT}, {"state", COLUMN_TEXT}, {"endpoint", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const Column shard_columns[] = {
	{"shard", COLUMN_TEXT}, {"label", COLUMN_TEXT}, {"voters", COLUMN_TEXT}, {"lost", COLUMN_TEXT},
	{"survivors", COLUMN_TEXT}, {"leads", COLUMN_TEXT}, {"missing", COLUMN_TEXT}, {"action", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const char *
text_in(json_t *plan, const char *name)
{
	const char *text = json_string_value(json_object_get(plan, name));

	return text ? text : "";
}

static void
show(json_t *plan, const char *stores)
{
	size_t		shown = json_array_size(json_object_get(plan, "shards"));
	long long	recovered = json_integer_value(json_object_get(plan, "recovered"));
	long long	given_up = json_integer_value(json_object_get(plan, "given_up"));

	printf("Stores that are given up for ever; what they have can never come back:\n\n");
	table_print(stdout, store_columns, json_object_get(plan, "stores"));
	printf("\n%lld shards go on from what is left of them, %lld have nothing left%s\n\n", recovered, given_up, shown ? ":" : ".");
	if (shown)
		table_print(stdout, shard_columns, json_object_get(plan, "shards"));
	if ((long long) shown < recovered + given_up)
		printf("... and %lld more\n", recovered + given_up - (long long) shown);
	for (size_t i = 0; i < shown; i++)
		if (json_is_true(json_object_get(json_array_get(json_object_get(plan, "shards"), i), "changing")))
		{
			printf("\nShards stand still amid a change of their replicas, as shard %s: voters and lost are those of it.\n",
				   text_in(json_array_get(json_object_get(plan, "shards"), i), "shard"));
			break;
		}
	if (shown)
		printf("\nWrites that only the lost stores had acknowledged are gone.  missing: log entries that are known\n"
			   "to be gone; there may be more.  An index of PostgreSQL with such a shard becomes stale: its table\n"
			   "is scanned in its place, nothing is answered from it, and REINDEX makes it anew.\n");
	if (text_in(plan, "blocked")[0])
		printf("\nThis cannot be done now: %s.\n", text_in(plan, "blocked"));
	else if (json_is_true(json_object_get(plan, "applied")))
		printf("\nThis is being done: vectronctl operators shows how far it is, vectronctl check what is left to do.\n");
	else
		printf("\nNothing has been done.  To do this: vectronctl unsafe-recover %s --apply %s\n", stores, text_in(plan, "plan"));
}

int
recover_main(Ctl *ctl)
{
	const char *stores = ctl->words[0];
	VtError		err = {0};
	json_t	   *plan = ctl_ask(ctl, json_pack("{s:s,s:s,s:s*}", "op", "unsafe_recover", "stores", stores, "apply", ctl->apply), &err);
	int			status;

	if (!plan)
		return ctl_failed("unsafe-recover", &err);
	if (ctl->as_json)
		ctl_print(plan);
	else
		show(plan, stores);
	status = text_in(plan, "blocked")[0] ? 1 : 0;
	json_decref(plan);
	return status;
}
