/*-------------------------------------------------------------------------
 *
 * alone.c
 *	  vectronctl --endpoint ENDPOINT status: one process, asked by itself.
 *
 * For the hour in which no placement driver answers: what a worker holds, who leads
 * its groups as it knows, what it lags behind, and what it complained of last.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "table.h"

static const Column worker_columns[] = {
	{"store", COLUMN_TEXT}, {"cluster", COLUMN_TEXT}, {"endpoint", COLUMN_TEXT}, {"role", COLUMN_TEXT}, {"labels", COLUMN_TEXT},
	{"version", COLUMN_TEXT}, {"uptime_ms", COLUMN_MS}, {"health", COLUMN_TEXT}, {"registered", COLUMN_TEXT},
	{"pd", COLUMN_TEXT}, {"heartbeat_ms", COLUMN_MS}, {"memory", COLUMN_BYTES}, {"memory_limit", COLUMN_BYTES},
	{"disk_free", COLUMN_BYTES}, {"disk_reserve", COLUMN_BYTES}, {"disk_full", COLUMN_TEXT}, {"raft_log", COLUMN_BYTES},
	{"raft_log_resident", COLUMN_BYTES}, {"raft_inflight", COLUMN_BYTES}, {"groups_asleep", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const Column shard_columns[] = {
	{"shard", COLUMN_TEXT}, {"generation", COLUMN_TEXT}, {"replica", COLUMN_TEXT}, {"role", COLUMN_TEXT},
	{"leader_replica", COLUMN_TEXT}, {"term", COLUMN_TEXT}, {"applied", COLUMN_TEXT}, {"lag", COLUMN_TEXT},
	{"silent", COLUMN_TEXT}, {"behind", COLUMN_TEXT}, {"held_back", COLUMN_TEXT}, {"records", COLUMN_TEXT}, {"unindexed", COLUMN_TEXT},
	{"bytes", COLUMN_BYTES}, {NULL, COLUMN_TEXT}
};

static const Column broken_columns[] = {
	{"shard", COLUMN_TEXT}, {"replica", COLUMN_TEXT}, {"message", COLUMN_TEXT}, {NULL, COLUMN_TEXT}
};

static const Column ended_columns[] = {
	{"shard", COLUMN_TEXT}, {"kind", COLUMN_TEXT}, {"result", COLUMN_TEXT}, {"to_store", COLUMN_TEXT},
	{"took_ms", COLUMN_MS}, {"ago_ms", COLUMN_MS}, {NULL, COLUMN_TEXT}
};

static unsigned long long
number_of(json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));

	return text ? strtoull(text, NULL, 10) : 0;
}

/* What its log has and it has not applied; of a leader, too, how many members are silent and how far the others are behind. */
static void
add_lags(json_t *shard)
{
	unsigned long long applied = number_of(shard, "applied");
	unsigned long long last = number_of(shard, "last");
	unsigned long long behind = 0;
	json_t	   *members = json_object_get(shard, "members");
	json_t	   *member;
	json_int_t	silent = 0;
	size_t		i;

	json_object_set_new(shard, "lag", json_integer(last > applied ? (json_int_t) (last - applied) : 0));
	if (!members)
		return;
	json_array_foreach(members, i, member)
	{
		unsigned long long match = number_of(member, "match");

		if (!json_is_true(json_object_get(member, "active")))
			silent++;
		else if (match < applied && applied - match > behind)
			behind = applied - match;
	}
	json_object_set_new(shard, "silent", json_integer(silent));
	json_object_set_new(shard, "behind", json_integer((json_int_t) behind));
}

bool
alone_is_worker(json_t *answer)
{
	return json_object_get(answer, "store") != NULL;
}

static void
print_recent(json_t *answer)
{
	json_t	   *recent = json_object_get(answer, "recent");
	json_t	   *row;
	size_t		i;

	if (json_array_size(recent) > 0)
	{
		puts("\nits last warnings and errors:");
		json_array_foreach(recent, i, row)
		{
			puts(json_is_string(row) ? json_string_value(row) : "");
		}
	}
}

void
alone_print_driver(json_t *answer)
{
	json_t	   *ended = json_object_get(answer, "ended");

	if (json_array_size(ended) > 0)
	{
		puts("\nchanges of shards that have ended:");
		table_print(stdout, ended_columns, ended);
	}
	print_recent(answer);
}

void
alone_print(json_t *answer)
{
	json_t	   *shards = json_object_get(answer, "shards");
	json_t	   *broken = json_object_get(answer, "broken");
	json_t	   *row;
	size_t		i;

	json_array_foreach(shards, i, row)
	{
		add_lags(row);
	}
	if (number_of(answer, "memory_limit") == 0)
		json_object_del(answer, "memory_limit");	/* there is none */
	table_print_one(stdout, worker_columns, answer);
	putchar('\n');
	table_print(stdout, shard_columns, shards);
	if (json_array_size(broken) > 0)
	{
		puts("\ndamaged, and closed:");
		table_print(stdout, broken_columns, broken);
	}
	print_recent(answer);
}

/* As a placement driver is asked, or as a worker: over TLS the client has to know whom it expects. */
static json_t *
ask_as(Ctl *ctl, bool driver, VtError *err)
{
	json_t	   *answer = NULL;

	ctl->options.pd_endpoints = driver ? ctl->endpoint : "";
	if (client_open(&ctl->options, &ctl->client, err) == VT_OK)
		answer = ctl_ask_at(ctl, ctl->endpoint, json_pack("{s:s}", "op", "status"), err);
	client_close(ctl->client);
	ctl->client = NULL;
	return answer;
}

json_t *
alone_ask(Ctl *ctl, VtError *err)
{
	json_t	   *answer = ask_as(ctl, false, err);

	if (answer || err->code != VT_DENIED)
		return answer;
	memset(err, 0, sizeof(*err));
	return ask_as(ctl, true, err);
}
