/*-------------------------------------------------------------------------
 *
 * task.c
 *	  What the placement driver gives a worker to do; on the house thread.
 *
 * PD gives a task again until a heartbeat shows that it is done, so each may
 * be met half done or done.  What is to be done with a whole shard may take long
 * and is a chore (chores.c).  The members of a group and its leader are changed
 * through its Raft, which refuses what was computed from an older configuration.
 *
 *-------------------------------------------------------------------------
 */
#include <jansson.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "private.h"
#include "verify.h"

/* Half a shard waits until PD has heard of a split: for so long it is told at once. */
#define HURRY_US (2 * INT64_C(1000000))

static uint64_t
get_number(const json_t *task, const char *name)
{
	const char *text = json_string_value(json_object_get(task, name));

	return text ? strtoull(text, NULL, 10) : 0;
}

static int
hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A descriptor in hex; false = malformed. */
static bool
desc_from_hex(const char *hex, WireShardDesc *out)
{
	Buf			bytes = {0};
	Cursor		c;
	bool		ok = hex != NULL;

	for (; ok && hex[0]; hex += 2)
	{
		int			high = hex_value(hex[0]);
		int			low = high < 0 ? -1 : hex_value(hex[1]);

		ok = low >= 0;
		if (ok)
			buf_put_u8(&bytes, (uint8_t) (high << 4 | low));
	}
	c = cursor_of(buf_bytes(&bytes));
	ok = ok && wire_desc_get(&c, out) == VT_OK && cursor_done(&c) && out->nreplicas >= 1;
	buf_free(&bytes);
	return ok;
}

/*
 * Our replica of a shard in its descriptor: the one the task names, or the one
 * that lives in this store.
 */
static uint64_t
own_replica(const Worker *worker, const json_t *task, const WireShardDesc *desc)
{
	uint64_t	replica = get_number(task, "replica");

	for (int i = 0; i < desc->nreplicas && replica == 0; i++)
		if (desc->replicas[i].store == worker->store_id)
			replica = desc->replicas[i].replica;
	return replica;
}

static void
create_shard(Worker *worker, const json_t *task)
{
	Chore		chore = {.kind = CHORE_CREATE};

	chore.found = !json_is_false(json_object_get(task, "bootstrap"));
	if (!desc_from_hex(json_string_value(json_object_get(task, "desc")), &chore.desc) ||
		(chore.replica = own_replica(worker, task, &chore.desc)) == 0)
	{
		log_error("placement driver gave a shard to make that is malformed or not of this store");
		return;
	}
	chore.shard = chore.desc.shard;
	chores_put(worker, &chore);
}

/* Close, open or drop a shard that is there. */
static void
do_shard_task(Worker *worker, ChoreKind kind, const json_t *task)
{
	Chore		chore = {.kind = kind, .shard = get_number(task, "shard"),
		.replica = get_number(task, "replica"), .whole = json_is_true(json_object_get(task, "whole"))
	};

	/* PD does not know yet that it is to be closed: in the list it would keep it from being. */
	if (kind == CHORE_OPEN && worker_leaves_aside(worker, chore.shard))
		return;
	chores_put(worker, &chore);
}

typedef struct Asked
{
	uint64_t	shard;
	const char *what;
} Asked;

static void
on_asked(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Asked	   *asked = (Asked *) arg;

	(void) reply;
	if (status == VT_OK)
		log_info("shard=%llu: %s is under way, at %llu", (unsigned long long) asked->shard, asked->what,
				 (unsigned long long) index);
	else
		log_info("shard=%llu: %s was refused: %s", (unsigned long long) asked->shard, asked->what,
				 vt_status_words(status));
	free(asked);
}

static Asked *
asked_new(uint64_t shard, const char *what)
{
	Asked	   *asked = vt_alloc0(sizeof(Asked));

	asked->shard = shard;
	asked->what = what;
	return asked;
}

/* Members in a task; false = malformed.  Raft checks the rest. */
static bool
get_members(const json_t *task, RaftConf *out)
{
	json_t	   *members = json_object_get(task, "members");
	json_t	   *row;
	size_t		i;

	memset(out, 0, sizeof(*out));
	if (json_array_size(members) == 0 || json_array_size(members) > RAFT_MAX_MEMBERS)
		return false;
	json_array_foreach(members, i, row)
	{
		const char *role = json_string_value(json_object_get(row, "role"));
		uint64_t	id = get_number(row, "replica");
		uint32_t	at = out->n++;

		for (; at > 0 && out->members[at - 1].id > id; at--)
			out->members[at] = out->members[at - 1];
		memset(&out->members[at], 0, sizeof(out->members[at]));
		out->members[at].id = id;
		out->members[at].node = get_number(row, "store");
		out->members[at].roles = role && strcmp(role, "learner") == 0 ? RAFT_LEARNER : RAFT_VOTER;
	}
	return true;
}

static void
change_members(Worker *worker, const json_t *task)
{
	Shard	   *shard = worker_find_shard(worker, get_number(task, "shard"));
	RaftConf	target;

	if (!shard)
		return;
	if (get_members(task, &target))
		replica_change(shard->replica, &target, get_number(task, "conf_index"), on_asked,
					   asked_new(shard->desc.shard, "a change of members"));
	else
		log_error("shard=%llu: the members in a task are malformed",
				  (unsigned long long) shard->desc.shard);
	shard_release(shard);
}

static void
transfer_leader(Worker *worker, const json_t *task)
{
	Shard	   *shard = worker_find_shard(worker, get_number(task, "shard"));

	if (!shard)
		return;
	replica_transfer(shard->replica, get_number(task, "replica"), on_asked,
					 asked_new(shard->desc.shard, "handing leadership over"));
	shard_release(shard);
}

/* A shard that is here is to be split before long. */
static void
prepare_split(Worker *worker, const json_t *task)
{
	WireShardDesc child;

	if (desc_from_hex(json_string_value(json_object_get(task, "desc")), &child) && child.parent != 0)
		heirs_ask(worker, &child);
	else
		log_error("placement driver gave a split to prepare that is malformed");
}

/* Propose to split a shard that is led here. */
static void
split_shard(Worker *worker, const json_t *task)
{
	WireShardDesc child;
	VtError		err = {0};
	Asked	   *asked;

	if (!desc_from_hex(json_string_value(json_object_get(task, "desc")), &child))
	{
		log_error("placement driver gave a shard to split off that is malformed");
		return;
	}
	asked = asked_new(child.parent, "a split");
	if (splits_propose(worker, &child, get_number(task, "conf_index"), on_asked, asked, &err) != VT_OK)
	{
		log_info("shard=%llu: it is not the moment for a split: %s", (unsigned long long) child.parent,
				 vt_error_words(&err));
		free(asked);
	}
	else
		worker->hurry_until_us = clock_now_us() + HURRY_US;
}

static void
settle_split(Worker *worker, const json_t *task)
{
	Chore		chore = {.kind = CHORE_SETTLE, .shard = get_number(task, "shard"),
		.other = get_number(task, "child")
	};

	chores_put(worker, &chore);
}

/* A shard has lost its majority for good: its new life, and in one replica its new members. */
static void
recover_shard(Worker *worker, const json_t *task)
{
	Chore		chore = {.kind = CHORE_RECOVER, .shard = get_number(task, "shard"),
		.replica = get_number(task, "replica"), .other = get_number(task, "incarnation")
	};

	if (chore.shard == 0 || chore.replica == 0 || chore.other < 2 ||
		(json_object_get(task, "members") && !get_members(task, &chore.members)))
		log_error("placement driver gave a shard to recover, and the task is malformed");
	else
		chores_put(worker, &chore);
}

void
task_do(Worker *worker, const json_t *task)
{
	const char *what = json_string_value(json_object_get(task, "task"));

	if (!what)
		what = "?";
	if (strcmp(what, "create_shard") == 0)
		create_shard(worker, task);
	else if (strcmp(what, "close_shard") == 0)
		do_shard_task(worker, CHORE_CLOSE, task);
	else if (strcmp(what, "open_shard") == 0)
		do_shard_task(worker, CHORE_OPEN, task);
	else if (strcmp(what, "drop_shard") == 0)
		do_shard_task(worker, CHORE_DROP, task);
	else if (strcmp(what, "set_aside") == 0)
		do_shard_task(worker, CHORE_ASIDE, task);
	else if (strcmp(what, "verify_shard") == 0)
		worker_verify_shard(worker, get_number(task, "shard"), get_number(task, "id"));
	else if (strcmp(what, "change_members") == 0)
		change_members(worker, task);
	else if (strcmp(what, "transfer_leader") == 0)
		transfer_leader(worker, task);
	else if (strcmp(what, "prepare_split") == 0)
		prepare_split(worker, task);
	else if (strcmp(what, "split_shard") == 0)
		split_shard(worker, task);
	else if (strcmp(what, "recover_shard") == 0)
		recover_shard(worker, task);
	else if (strcmp(what, "settle_split") == 0)
		settle_split(worker, task);
	else
		log_warn("placement driver gave a task this worker does not know: %s", what);
}
