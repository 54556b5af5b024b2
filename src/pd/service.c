/*-------------------------------------------------------------------------
 *
 * service.c
 *	  The questions PD answers, and the one thread that answers them.
 *
 * A question is a JSON object with a member "op"; docs/wire.md has the list.
 * The service thread takes them in turn, and reads them: who brought one has only
 * moved its bytes (law T1).  What changes the catalog is put into
 * a command with every value decided, proposed, and waited for; so the next
 * decision sees it.  Heartbeats and creations that have to wait are parked and
 * looked at again after every event.
 *
 *-------------------------------------------------------------------------
 */
#include "pd.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "base/endpoint.h"
#include "base/cond.h"
#include "base/log.h"
#include "service.h"

#define PARK_MAX_US (60 * INT64_C(1000000))
#define ASKER_US INT64_C(1000000)	/* between looks whether who wants something created is still there */
#define UNLED_US 100000			/* between looks whether we lead */
#define DIGEST_AFTER_US 1000000	/* a reign's first */
#define FROZEN_US (5 * INT64_C(1000000))	/* a round begins every second at least */

/* -- The log --------------------------------------------------------------- */

typedef struct Proposal
{
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool		finished;
	VtStatus	status;
} Proposal;

static void
on_proposed(void *arg, VtStatus status, uint64_t index, Bytes reply)
{
	Proposal   *proposal = (Proposal *) arg;

	(void) index;
	(void) reply;
	pthread_mutex_lock(&proposal->lock);
	proposal->status = status;
	proposal->finished = true;
	pthread_cond_signal(&proposal->done);
	pthread_mutex_unlock(&proposal->lock);
}

static VtStatus
await(Proposal *proposal)
{
	pthread_mutex_lock(&proposal->lock);
	while (!proposal->finished)
		pthread_cond_wait(&proposal->done, &proposal->lock);
	pthread_mutex_unlock(&proposal->lock);
	return proposal->status;
}

/*
 * A leader that cannot reach the others steps down within about a second, which
 * ends the wait.  What then became of the command nobody knows: the one who asked
 * is to ask another driver, where asking twice does no harm.
 */
VtStatus
service_commit(Pd *pd, Buf *command)
{
	Proposal	proposal = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, VT_OK};
	VtStatus	status;

	if (!pd->leads)
		return VT_NOT_LEADER;
	command_set_term(command, pd->led_term);
	pthread_mutex_unlock(&pd->catalog->lock);
	replica_propose(atomic_load(&pd->replica), buf_bytes(command), on_proposed, &proposal);
	status = await(&proposal);
	pthread_mutex_lock(&pd->catalog->lock);
	if (status == VT_UNAVAILABLE)
		status = VT_NOT_LEADER;
	if (status == VT_NOT_LEADER)
		pd->leads = false;
	return status;
}

/*
 * Does the catalog hold everything that was decided before now, by whomever?  A
 * leader that has lost its place without knowing it must not answer either: it
 * asks the others (ReadIndex).
 */
static bool
is_leader(Pd *pd, uint64_t *term)
{
	Proposal	read = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, VT_OK};
	Replica    *replica = atomic_load(&pd->replica);
	ReplicaStatus status;
	uint64_t	index;

	if (!replica)
		return false;
	replica_status(replica, &status);
	*term = status.term;
	if (!status.serving)
		return false;
	if (replica_read_now(replica, &index) || vt_broken("PD-read"))
		return true;
	replica_read(replica, on_proposed, &read);
	return await(&read) == VT_OK;
}

/* -- Waiting --------------------------------------------------------------- */

bool
park_has_room(const Pd *pd, const Question *q)
{
	return net_conn_requests(q->conn, 0) < PARKED_OF_ONE && (q->store != 0 || pd->ncreations < CREATIONS_MAX);
}

/* Into the list, to be looked at in time. */
static void
keep(Pd *pd, Question *q)
{
	int64_t		due = q->until_us;

	if (q->store == 0 && due > pd->now_us + ASKER_US)
		due = pd->now_us + ASKER_US;
	if (due < pd->parked_due_us)
		pd->parked_due_us = due;
	pd->ncreations += q->store == 0;
	q->next = pd->parked;
	pd->parked = q;
}

bool
park(Pd *pd, Question *q, int64_t wait_ms)
{
	int64_t		wait_us = wait_ms * 1000;

	if (!park_has_room(pd, q))
		return false;
	q->until_us = pd->now_us + (wait_us < PARK_MAX_US ? wait_us : PARK_MAX_US);
	net_conn_requests(q->conn, 1);
	q->counted = true;
	keep(pd, q);
	return true;
}

/* -- The service thread ---------------------------------------------------- */

static void
handle(Pd *pd, Question *q)
{
	const char *op = json_string_value(json_object_get(q->body, "op"));
	bool		worker = net_conn_role(q->conn) == WIRE_ROLE_WORKER;
	bool		route = op && strcmp(op, "route") == 0;

	if (!route)
		route_forget(pd);
	if (!op)
		refuse(q, VT_INVALID, "no op");
	else if (route && net_conn_is_cancelled(q->conn, q->request))
		question_free(q);		/* it changes nothing, and nobody waits for it */
	else if (strcmp(op, "meet") == 0 && net_conn_role(q->conn) == WIRE_ROLE_PD)
		op_meet(pd, q);
	else if (strcmp(op, "status") == 0)
		op_status(pd, q);
	else if (!pd->leads && route && rights_allow(pd, q, op) && op_route_unled(pd, q))
		;
	else if (!pd->leads)
		refuse_to_lead(pd, q);
	else if (!rights_allow(pd, q, op))
		refuse(q, VT_DENIED, "op \"%s\" is not for this certificate", op);
	else if (route)
		op_route(pd, q);
	else if (strcmp(op, "heartbeat") == 0 && worker)
		op_heartbeat(pd, q);
	else if (strcmp(op, "register") == 0 && worker)
		op_register(pd, q);
	else if (strcmp(op, "verify") == 0)
		op_verify(pd, q);		/* also a worker's, of a replica that it cannot read */
	else if (worker)
		refuse(q, VT_DENIED, "op \"%s\" is not for workers", op);
	else if (strcmp(op, "lease") == 0)
		op_lease(pd, q);
	else if (strcmp(op, "create_collection") == 0)
		op_create(pd, q);
	else if (strcmp(op, "drop_collection") == 0)
		op_drop(pd, q, COLLECTION_HIDDEN);
	else if (strcmp(op, "undrop_collection") == 0)
		op_drop(pd, q, COLLECTION_LIVE);
	else if (strcmp(op, "owned") == 0)
		op_owned(pd, q);
	else if (strcmp(op, "unused") == 0)
		op_unused(pd, q);
	else if (strcmp(op, "retire") == 0)
		op_retire(pd, q);
	else if (strcmp(op, "drain") == 0 || strcmp(op, "undrain") == 0)
		op_drain(pd, q, op[0] == 'd');
	else if (strcmp(op, "operators") == 0)
		op_operators(pd, q);
	else if (strcmp(op, "check") == 0)
		op_check(pd, q);
	else if (strcmp(op, "shards") == 0 || strcmp(op, "collections") == 0 || strcmp(op, "dump") == 0)
		op_in_pages(pd, q);
	else if (strcmp(op, "split") == 0)
		op_split(pd, q);
	else if (strcmp(op, "workers") == 0)
		op_workers(pd, q);
	else if (strcmp(op, "pds") == 0)
		op_drivers(pd, q);
	else if (strcmp(op, "add_pd") == 0)
		op_add_driver(pd, q);
	else if (strcmp(op, "remove_pd") == 0)
		op_remove_driver(pd, q);
	else if (strcmp(op, "unsafe_recover") == 0)
		op_unsafe_recover(pd, q);
	else if (!op_admin(pd, q, op))
		refuse(q, VT_INVALID, "unrecognized op \"%s\"", op);
}

/* Is there anything new for a store whose heartbeat is parked? */
static bool
is_touched(Pd *pd, uint64_t store)
{
	Beat	   *beat = beat_of(pd, store);
	uint64_t	touched = store_touched(pd->catalog, store);
	bool		is_new;

	if (!beat)
		return false;
	is_new = beat->wake || beat->looked != touched;
	beat->wake = false;
	beat->looked = touched;
	return is_new;
}

/*
 * The parked questions.  Those whose askers have gone are dropped, and then stores that wait for it are asked for all, in
 * their turns: who has gone would not hear it, and have others wait for what does not come.
 */
static Question *
take_parked(Pd *pd)
{
	Question   *list = NULL;

	while (pd->parked)
	{
		Question   *q = pd->parked;

		pd->parked = q->next;
		if (net_conn_is_cancelled(q->conn, q->request))
		{
			question_free(q);
			continue;
		}
		/* One that has told all since, by another heartbeat, waits like any that has. */
		if (q->untold)
			q->untold = untold_waits(pd, q->store);
		q->next = list;
		list = q;
	}
	untold_ask(pd);
	return list;
}

/* Answer those of the parked questions that can be, or that have waited long enough. */
static void
look_at_parked(Pd *pd)
{
	Question   *list = take_parked(pd);
	bool		all = pd->looked_peers != pd->catalog->meta.peers_version;

	pd->looked_touches = catalog_touches(pd->catalog);
	pd->looked_peers = pd->catalog->meta.peers_version;
	pd->woken = false;
	pd->ncreations = 0;
	pd->parked_due_us = INT64_MAX;
	while (list)
	{
		Question   *q = list;

		list = q->next;
		if (q->store == 0 ? !create_again(pd, q) :
				 !((q->untold || is_touched(pd, q->store) || all || pd->now_us >= q->until_us) && heartbeat_again(pd, q)))
			keep(pd, q);
	}
}

/*
 * Look at the parked questions again, when a shard, a store or the time has come
 * on: there may be thousands of them.  Returns when there is something to do next.
 */
static int64_t
look_again(Pd *pd)
{
	int64_t		due = pd->now_us + 1000000;

	if (pd->parked && (pd->looked_touches != catalog_touches(pd->catalog) || pd->woken ||
					   pd->looked_peers != pd->catalog->meta.peers_version || pd->now_us >= pd->parked_due_us))
		look_at_parked(pd);
	if (pd->parked && pd->parked_due_us < due)
		due = pd->parked_due_us;
	if (pd->plans_due_us > pd->now_us && pd->plans_due_us < due)
		due = pd->plans_due_us;
	return due;
}

int64_t
pd_wall_us(const Pd *pd)
{
	return pd->now_us + pd->wall_ahead_us;
}

/* Whoever waits here is to wait with the new leader. */
static void
send_away(Pd *pd)
{
	while (pd->parked)
	{
		Question   *q = pd->parked;

		pd->parked = q->next;
		refuse_to_lead(pd, q);
	}
	pd->ncreations = 0;
}

/*
 * Time goes on; the catalog's lock is held.  When we begin to lead nothing is known of
 * the stores, and what was known in an earlier reign is old, also when nobody noticed
 * that it had ended.  So it is when time has jumped: we were frozen, or waited for the
 * log, and the silence of those who could not be heard meanwhile says nothing.
 */
void
pd_pass_time(Pd *pd, uint64_t term, int64_t now_us)
{
	bool		jumped = now_us - pd->now_us > FROZEN_US;

	pd->now_us = now_us;
	if (!pd->leads)
	{
		pd->led_since_us = 0;
		return;
	}
	if (pd->led_since_us != 0 && pd->led_term == term && !jumped)
		return;
	if (pd->led_since_us != 0 && pd->led_term == term)
	{
		log_warn("nobody could be heard for some seconds: what is known of the workers has to come in again");
		send_away(pd);
	}
	pd->led_since_us = pd->now_us;
	pd->led_term = term;
	pd->wall_ahead_us = clock_wall_us() - pd->now_us;
	pd->digest_due_us = pd->now_us + DIGEST_AFTER_US;
	beats_free(pd);
	drops_reign(pd);
	pd->noperators = 0;
	verify_forget(pd);
}

/* A chunk of a snapshot from the leader. */
static void
take_chunk(Pd *pd, Question *q)
{
	Replica    *replica = atomic_load(&pd->replica);
	WireChunk	chunk;
	WireChunkResult result = {.status = VT_NOT_FOUND};
	Buf			out = {0};

	if (q->payload.len == 0)
		result.status = VT_BUSY;	/* it found no room */
	else if (wire_chunk_get(buf_bytes(&q->payload), &chunk) != VT_OK)
		result.status = VT_PROTOCOL;
	else if (replica && chunk.group == PD_GROUP && chunk.to == pd->id)
		replica_stage(replica, &chunk, &result);
	wire_chunk_result_put(&out, &result);
	net_reply_frame(q->conn, WIRE_CHUNK, q->request, buf_bytes(&out));
	buf_free(&out);
	question_free(q);
}

/*
 * What does it ask?  False: it was no question, and has been refused.  A long one takes a while,
 * in which others may have the catalog.
 */
static bool
read_question(Pd *pd, Question *q)
{
	bool		is_long = q->payload.len > QUESTIONS_LONG;	/* read without the catalog's lock */

	if (is_long)
	{
		route_forget(pd);
		pthread_mutex_unlock(&pd->catalog->lock);
	}
	q->body = json_loadb((const char *) q->payload.data, q->payload.len, 0, NULL);
	buf_free(&q->payload);
	if (is_long)
		pthread_mutex_lock(&pd->catalog->lock);
	if (json_is_object(q->body))
		return true;
	refuse(q, VT_PROTOCOL, "the request is no JSON object");
	return false;
}

/* All that a worker tells is for who leads; whom it does not find in time it looks for among the others, with all of it. */
static bool
is_for_the_leader(const Pd *pd, const Question *q)
{
	return !pd->leads && q->tells;
}

/* The questions of a round. */
static void
answer_all(Pd *pd, Question *list, uint64_t term)
{
	int64_t		begun_us = clock_now_us();
	size_t		n = 0;

	route_forget(pd);
	while (list)
	{
		Question   *q = list;

		list = q->next;
		n++;
		pd_pass_time(pd, term, clock_now_us());
		if (q->type == WIRE_CHUNK)
		{
			route_forget(pd);
			pthread_mutex_unlock(&pd->catalog->lock);
			take_chunk(pd, q);
			pthread_mutex_lock(&pd->catalog->lock);
		}
		else if (is_for_the_leader(pd, q))
			refuse_to_lead(pd, q);
		else if (read_question(pd, q))
			handle(pd, q);
	}
	/* What follows may change things, and takes none with it. */
	route_forget(pd);
	pd->answered += n;
	pthread_mutex_lock(&pd->lock);
	questions_served(&pd->questions, n, clock_now_us() - begun_us);
	pthread_mutex_unlock(&pd->lock);
}

/* What the leader does unasked, when it knows what stores say. */
static void
look_around(Pd *pd)
{
	if (!reports_are_read(pd))
		return;
	if (pd->leads)
		drivers_look(pd);
	if (pd->leads)
		levels_look(pd);
	if (pd->leads)
		drops_look(pd);
	if (pd->leads)
		plans_look(pd);
	if (pd->leads)
		operators_look(pd);
	if (pd->leads)
		handovers_look(pd);
	if (pd->leads)
		rebalance_look(pd);
	if (pd->leads)
		splits_look(pd);
	if (pd->leads)
		verify_look(pd);
	if (pd->leads)
		digest_look(pd);
}

/* What was asked until now, as much as belongs to a round; *behind: daemons have asked more. */
static Question *
take_questions(Pd *pd, int64_t due_us, bool *behind, bool *stopping)
{
	Question   *list;
	int64_t		left = due_us - clock_now_us();
	struct timespec until = cond_moment(left > 0 ? left : 0);

	pthread_mutex_lock(&pd->lock);
	if (questions_count(&pd->questions) == 0 && !pd->stopping)
		pthread_cond_timedwait(&pd->ready, &pd->lock, &until);
	*stopping = pd->stopping;
	list = *stopping ? NULL : questions_take(&pd->questions, behind);
	pthread_mutex_unlock(&pd->lock);
	return list;
}

/*
 * A round: what was asked before we made sure that we lead is answered as of
 * then, or later.
 */
void *
service_main(void *arg)
{
	Pd		   *pd = (Pd *) arg;
	int64_t		due = clock_now_us();

	for (;;)
	{
		bool		stopping;
		bool		behind = false;
		Question   *list = take_questions(pd, due, &behind, &stopping);
		uint64_t	term = 0;
		bool		leads;

		if (stopping)
			return NULL;
		atomic_store(&pd->turned_us, clock_now_us());
		leads = is_leader(pd, &term);
		pthread_mutex_lock(&pd->catalog->lock);
		pd->leads = leads;
		pd_pass_time(pd, term, clock_now_us());
		if (pd->leads && vt_id_is_zero(&pd->catalog->meta.cluster))
			pd->leads = found_cluster(pd) == VT_OK;
		drivers_note(pd);
		if (!behind)
			pd->behind_us = 0;
		else if (pd->behind_us == 0)
			pd->behind_us = pd->now_us;
		answer_all(pd, list, term);
		look_around(pd);
		replica_links_look(pd->links);
		drivers_tell_foreign(pd);
		if (pd->leads)
			due = look_again(pd);
		else
		{
			send_away(pd);
			due = pd->now_us + UNLED_US;
		}
		drivers_note(pd);
		pthread_mutex_unlock(&pd->catalog->lock);
	}
}
