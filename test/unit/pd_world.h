/*-------------------------------------------------------------------------
 *
 * pd_world.h
 *	  Workers and their groups as a model, around the real placement driver.
 *
 * The driver's own code runs on a clock of the test's, with a catalog on disk
 * and commands applied at once.  Around it are stores that die, come back, lose
 * their disks, and speak by heartbeats that are late or lost, in JSON as on the
 * wire; and Raft groups reduced to what matters here: who is a member, who has
 * how much of the log, who leads.  A group that elects a leader without all that
 * was acknowledged has lost data, and the test fails there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_PD_WORLD_H
#define TEST_PD_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <string.h>

/* Each test uses what it needs. */
#pragma GCC diagnostic ignored "-Wunused-function"

#include "../../src/pd/service.h"
#include "base/log.h"
#include "base/prng.h"
#include "scratch.h"

#define W_STORES 12
#define W_SHARDS 40
#define W_LETTERS 64
#define TICK_US 100000
#define SECOND_US INT64_C(1000000)
#define GROWTH 20				/* entries of a group in a tick */
#define CATCH_UP 4000			/* entries a replica behind gets in a tick */

typedef struct WReplica
{
	uint64_t	shard;
	uint64_t	replica;
	uint64_t	match;
	uint64_t	conf_index;		/* newest it has heard of */
	uint64_t	life;			/* of its shard (recover.c) */
	bool		wrong;			/* it holds something else than it should */
	uint64_t	prepared;		/* a child that its store is ready to make */
	const char *other;			/* it decides by something else, of this name */
	bool		older;			/* its worker tells nothing of that */
	uint64_t	verified;		/* comparison it has answered, and where that was */
	uint64_t	verified_at;
	int64_t		verified_us;
} WReplica;

typedef struct WStore
{
	uint64_t	id;				/* 0 = not registered */
	VtId		data_id;
	char		endpoint[64];
	bool		alive;
	int64_t		beat_due;
	int64_t		died_at;
	WReplica	replicas[W_SHARDS];
	uint32_t	n;
	uint64_t	dead[256];		/* tombstones: it deleted them and makes them no more */
	uint32_t	ndead;
	uint64_t	told[16];		/* shards dropped, for the next heartbeat */
	uint32_t	ntold;
	uint64_t	lost;			/* replica that is gone without a trace */
	WReplica	damaged;		/* one that is there and closed; shard 0 = none */
	bool		disk_short;
	bool		prepares;		/* splits, */
	bool		stuck;			/* and never comes to an end with it */
	int64_t		wall_ahead_us;	/* its clock, of the others' */
	uint32_t	unreachable;	/* records that its first replica's graph does not lead to */
} WStore;

typedef struct WGroup
{
	uint64_t	shard;			/* 0 = not founded */
	uint64_t	conf_index;
	uint32_t	n;
	WireReplica members[WIRE_REPLICAS_MAX];
	bool		joint;
	uint32_t	nnext;
	WireReplica next[WIRE_REPLICAS_MAX];
	uint64_t	joint_index;	/* of the change under way */
	int64_t		joint_until;
	uint64_t	leader;
	uint64_t	term;
	uint64_t	last;			/* of the leader's log */
	uint64_t	acked;
	int64_t		headless_since;
	uint64_t	verify;			/* comparison that is in its log last, and where */
	uint64_t	verify_at;
	uint64_t	life;			/* that it was forced into last */
	uint64_t	forced;			/* replica that went on then */
} WGroup;

/* A heartbeat or its answer, on its way. */
typedef struct WLetter
{
	bool		used;
	bool		is_answer;
	uint32_t	store;
	uint64_t	store_id;		/* as it was when the letter was sent */
	int64_t		at;
	json_t	   *body;
} WLetter;

typedef struct PdWorld
{
	Prng		prng;
	int64_t		now;
	Pd			pd;
	Store	   *rows;
	uint64_t	index;
	WStore		stores[W_STORES];
	uint32_t	nstores;
	WGroup		groups[W_SHARDS];
	WLetter		letters[W_LETTERS];
	uint32_t	loss;			/* of 100 letters */
	uint32_t	delay_ms;		/* at most */
	uint32_t	wanted;
	bool		balance;		/* the driver evens out what stores have */

	/* What it cost */
	uint32_t	changes;
	uint32_t	transfers;
	uint32_t	transfers_in_vain;	/* asked for, to a replica that is away */
	uint32_t	created;
	uint32_t	dropped;
	uint32_t	splits_asked;	/* of leaders, which refuse, as if a bulk load went on */
	uint64_t	lost;			/* entries that were acknowledged and that no survivor had */
	uint64_t	trace;			/* of every task, to compare two runs */
} PdWorld;

/* -- The driver ------------------------------------------------------------ */

static PdWorld *the_world;

static VtStatus
world_commit(Pd *pd, Buf *bytes)
{
	ReplicaMachine machine = catalog_machine(pd->catalog);
	ReplicaCommand command;
	VtError		err = {0};
	VtStatus	status;

	memset(&command, 0, sizeof(command));
	command.index = ++the_world->index;
	command.bytes = buf_bytes(bytes);
	status = machine.apply(machine.state, &command, 1, command.index, &err);
	buf_free(&command.reply);
	if (status != VT_OK)
		fail_msg("a command was refused: %s", vt_error_words(&err));
	return VT_OK;
}

/* A driver begins to lead: it has the catalog and has heard of nobody. */
static void
pd_begin(PdWorld *w)
{
	PdOptions	options = {.down_after_us = 60 * SECOND_US, .default_replicas = 3, .replicas_max = 9,
		.keep_dropped_us = 3600 * SECOND_US, .lease_us = 10 * SECOND_US};
	VtError		err = {0};
	uint64_t	applied;

	memset(&w->pd, 0, sizeof(w->pd));
	if (catalog_open(w->rows, &w->pd.catalog, &applied, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	w->pd.options = options;
	w->pd.options.balance = w->balance;
	w->pd.commit = world_commit;
	w->pd.now_us = w->pd.led_since_us = w->now;
	drops_reign(&w->pd);
}

static void
pd_end(PdWorld *w)
{
	beats_free(&w->pd);
	free(w->pd.holders);
	free(w->pd.operators);
	verify_forget(&w->pd);
	catalog_close(w->pd.catalog);
}

static void
world_begin(PdWorld *w, uint64_t seed, uint32_t nstores)
{
	StoreOptions options = {.write_buffer = 1 << 20, .replayed = true};
	VtError		err = {0};
	CatalogMeta meta = {.next_id = 1000};
	Buf			command = {0};

	memset(w, 0, sizeof(*w));
	the_world = w;
	w->prng.state = seed;
	w->now = 1000 * SECOND_US;
	w->nstores = nstores;
	w->delay_ms = 50;
	log_setup("pd", getenv("VERBOSE") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR);
	if (store_open(scratch_path("catalog"), &options, &w->rows, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	pd_begin(w);
	vt_id_random(&meta.cluster);
	command_begin(&command);
	command_meta(&command, &meta);
	world_commit(&w->pd, &command);
	buf_free(&command);
	for (uint32_t i = 0; i < nstores; i++)
	{
		vt_id_random(&w->stores[i].data_id);
		snprintf(w->stores[i].endpoint, sizeof(w->stores[i].endpoint), "unix:/w%u", i);
		w->stores[i].alive = true;
		w->stores[i].beat_due = w->now + prng_below(&w->prng, 1000) * 1000;
	}
}

static void
world_end(PdWorld *w)
{
	VtError		err = {0};

	for (int i = 0; i < W_LETTERS; i++)
		if (w->letters[i].used)
			json_decref(w->letters[i].body);
	pd_end(w);
	store_close(w->rows);
	assert_int_equal(store_destroy(scratch_path("catalog"), &err), VT_OK);
}

/* -- Finding --------------------------------------------------------------- */

static WGroup *
group_of(PdWorld *w, uint64_t shard)
{
	for (int i = 0; i < W_SHARDS; i++)
		if (w->groups[i].shard == shard)
			return &w->groups[i];
	return NULL;
}

static WReplica *
replica_on(WStore *s, uint64_t shard)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->replicas[i].shard == shard)
			return &s->replicas[i];
	return NULL;
}

/* The replica of a member, if its store is up and has it. */
static WReplica *
live(PdWorld *w, uint64_t shard, const WireReplica *member)
{
	for (uint32_t i = 0; i < w->nstores; i++)
	{
		WStore	   *s = &w->stores[i];
		WReplica   *r = s->alive && s->id == member->store ? replica_on(s, shard) : NULL;

		if (r && r->replica == member->replica)
			return r;
	}
	return NULL;
}

static uint32_t
live_voters(PdWorld *w, uint64_t shard, const WireReplica *members, uint32_t n, uint32_t *voters)
{
	uint32_t	alive = 0;

	*voters = 0;
	for (uint32_t i = 0; i < n; i++)
		if (members[i].role == ROLE_VOTER)
		{
			++*voters;
			alive += live(w, shard, &members[i]) != NULL;
		}
	return alive;
}

static bool
has_majority(PdWorld *w, uint64_t shard, const WireReplica *members, uint32_t n)
{
	uint32_t	voters;
	uint32_t	alive = live_voters(w, shard, members, n, &voters);

	return alive > voters / 2;
}

static bool
is_in(const WireReplica *members, uint32_t n, uint64_t replica)
{
	for (uint32_t i = 0; i < n; i++)
		if (members[i].replica == replica)
			return true;
	return false;
}

/* -- Groups ---------------------------------------------------------------- */

/* What a majority of these voters has. */
static uint64_t
majority_has(PdWorld *w, const WGroup *g, const WireReplica *members, uint32_t nmembers)
{
	uint64_t	have[WIRE_REPLICAS_MAX];
	uint32_t	n = 0;

	for (uint32_t i = 0; i < nmembers; i++)
	{
		WReplica   *r;
		uint32_t	at = n;

		if (members[i].role != ROLE_VOTER)
			continue;
		r = live(w, g->shard, &members[i]);
		for (have[n++] = r ? r->match : 0; at > 0 && have[at - 1] < have[at]; at--)
		{
			uint64_t	x = have[at];

			have[at] = have[at - 1];
			have[at - 1] = x;
		}
	}
	return n > 0 ? have[n / 2] : 0;
}

/* Acknowledged is what a majority of voters has, and amid a change of those that are to be, too. */
static void
group_ack(PdWorld *w, WGroup *g)
{
	uint64_t	acked = majority_has(w, g, g->members, g->n);

	if (g->joint && majority_has(w, g, g->next, g->nnext) < acked)
		acked = majority_has(w, g, g->next, g->nnext);
	if (acked > g->acked)
		g->acked = acked;
}

/* Is there a majority of its voters, and amid a change of those that are to be, too? */
static bool
has_quorum(PdWorld *w, const WGroup *g)
{
	return has_majority(w, g->shard, g->members, g->n) && (!g->joint || has_majority(w, g->shard, g->next, g->nnext));
}

/* Of a change that its leader alone had begun nobody else knows. */
static bool
is_unheard(PdWorld *w, const WGroup *g)
{
	for (uint32_t i = 0; i < g->n; i++)
	{
		WReplica   *r = live(w, g->shard, &g->members[i]);

		if (r && r->conf_index >= g->joint_index)
			return false;
	}
	return has_majority(w, g->shard, g->members, g->n);
}

static void
group_elect(PdWorld *w, WGroup *g)
{
	WReplica   *best = NULL;

	if (g->headless_since == 0)
		g->headless_since = w->now;
	if (g->joint && is_unheard(w, g))
		g->joint = false;
	if (w->now - g->headless_since < SECOND_US || !has_quorum(w, g))
		return;
	for (uint32_t i = 0; i < g->n; i++)
	{
		WReplica   *r = live(w, g->shard, &g->members[i]);

		if (r && g->members[i].role == ROLE_VOTER && (!best || r->match > best->match))
			best = r;
	}
	if (best->match < g->acked)
		fail_msg("shard %" PRIu64 ": replica %" PRIu64 " leads with %" PRIu64 " of %" PRIu64 " entries that were acknowledged",
				 g->shard, best->replica, best->match, g->acked);
	g->leader = best->replica;
	g->last = best->match;
	g->term++;
	g->headless_since = 0;
}

static void
group_tick(PdWorld *w, WGroup *g)
{
	WReplica   *leader = NULL;

	for (uint32_t i = 0; i < g->n; i++)
		if (g->members[i].replica == g->leader)
			leader = live(w, g->shard, &g->members[i]);
	if (!leader || !has_quorum(w, g))
	{
		g->leader = 0;
		group_elect(w, g);
		return;
	}
	g->last += GROWTH;
	leader->match = g->last;
	for (uint32_t i = 0; i < g->n; i++)
	{
		WReplica   *r = live(w, g->shard, &g->members[i]);

		if (!r)
			continue;
		r->match = g->last - r->match > CATCH_UP ? r->match + CATCH_UP : g->last;
		r->conf_index = g->joint ? g->joint_index : g->conf_index;
		if (g->verify && r->match >= g->verify_at && r->verified_at < g->verify_at)
		{
			r->verified = g->verify;
			r->verified_at = g->verify_at;
			r->verified_us = w->now;
		}
	}
	group_ack(w, g);
	if (g->joint && w->now >= g->joint_until)
	{
		memcpy(g->members, g->next, sizeof(g->members));
		g->n = g->nnext;
		g->joint = false;
		g->conf_index = ++g->last;
		leader->match = g->last;
		leader->conf_index = g->conf_index;
	}
}

#include "pd_tasks.h"

/* -- Heartbeats ------------------------------------------------------------ */

static json_t *
verified_json(const WStore *s, const WReplica *r)
{
	json_t	   *verified = json_pack("{s:o,s:o,s:s,s:s,s:I}", "id", json_u64(r->verified), "index", json_u64(r->verified_at),
									 "rows", "7", "digest", r->wrong ? "666" : "42", "wall_us", (json_int_t) (r->verified_us + s->wall_ahead_us));
	json_t	   *rules = json_pack("{s:i}", "version", VERIFIED_VERSION);

	for (int i = 0; i < VERIFIED_PARTS; i++)
		json_object_set_new(rules, verified_parts[i], json_u64(r->other && strcmp(r->other, verified_parts[i]) == 0 ? 13 : 12));
	if (!r->older)
		json_object_set(verified, "rules", rules);
	json_decref(rules);
	return verified;
}

/* The configuration that a replica has, which is that of a change under way if it has heard of that. */
static json_t *
members_json(PdWorld *w, const WGroup *g, const WReplica *r, bool leader)
{
	bool		joint = g->joint && r->conf_index == g->joint_index;
	json_t	   *list = json_array();

	for (uint32_t k = 0; k < g->n; k++)
	{
		const WireReplica *now = &g->members[k];
		const WireReplica *next = now;
		WReplica   *m = leader ? live(w, r->shard, now) : NULL;

		for (uint32_t i = 0; joint && i < g->nnext; i++)
			if (g->next[i].replica == now->replica)
				next = &g->next[i];
		json_array_append_new(list, json_pack("{s:o,s:o,s:s,s:o,s:b,s:b}", "replica", json_u64(now->replica), "store", json_u64(now->store), "role",
											  joint && !is_in(g->next, g->nnext, now->replica) ? "leaving" : next->role == ROLE_VOTER ? "voter" : "learner",
											  "match", json_u64(m ? m->match : 0), "active", m != NULL, "old", joint && now->role == ROLE_VOTER));
	}
	return list;
}

static json_t *
beat_body(PdWorld *w, WStore *s)
{
	json_t	   *body = json_object();
	json_t	   *shards = json_array();

	json_object_set_new(body, "op", json_string("heartbeat"));
	json_object_set_new(body, "store", json_u64(s->id));
	json_object_set_new(body, "wait_ms", json_integer(0));
	json_object_set_new(body, "level_low", json_integer(VT_LEVEL_LOW));
	json_object_set_new(body, "level_high", json_integer(VT_LEVEL_NEWEST));
	for (uint32_t i = 0; i < s->n; i++)
	{
		WReplica   *r = &s->replicas[i];
		WGroup	   *g = group_of(w, r->shard);
		bool		leader = g && g->leader == r->replica;
		json_t	   *report = json_object();

		json_object_set_new(report, "shard", json_u64(r->shard));
		json_object_set_new(report, "replica", json_u64(r->replica));
		json_object_set_new(report, "role", json_string(leader ? "leader" : "follower"));
		json_object_set_new(report, "term", json_u64(g ? g->term : 0));
		json_object_set_new(report, "leader", json_boolean(leader));
		json_object_set_new(report, "applied", json_u64(r->match));
		json_object_set_new(report, "incarnation", json_u64(r->life));
		json_object_set_new(report, "last", json_u64(r->match));
		json_object_set_new(report, "last_term", json_u64(r->match > 0));
		json_object_set_new(report, "records", json_u64(r->match));
		json_object_set_new(report, "unindexed", json_u64(0));
		json_object_set_new(report, "bytes", json_u64(0));
		json_object_set_new(report, "conf_index", json_u64(r->conf_index));
		json_object_set_new(report, "joint", json_boolean(g && g->joint && r->conf_index == g->joint_index));
		if (r->prepared)
			json_object_set_new(report, "prepared", json_u64(r->prepared));
		if (i == 0 && s->unreachable)
			json_object_set_new(report, "unreachable", json_u64(s->unreachable));
		if (r->verified)
			json_object_set_new(report, "verified", verified_json(s, r));
		if (leader || (g && g->leader == 0))
			json_object_set_new(report, "members", members_json(w, g, r, leader));
		json_array_append_new(shards, report);
	}
	json_object_set_new(body, "shards", shards);
	json_object_set_new(body, "disk_short", json_boolean(s->disk_short));
	if (s->prepares)
		json_object_set_new(body, "prepares", json_true());
	if (s->ntold > 0)
	{
		json_t	   *dropped = json_array();

		while (s->ntold > 0)
			json_array_append_new(dropped, json_u64(s->told[--s->ntold]));
		json_object_set_new(body, "dropped", dropped);
	}
	if (s->damaged.shard)
	{
		json_t	   *row = json_object();
		json_t	   *list = json_array();

		json_object_set_new(row, "shard", json_u64(s->damaged.shard));
		json_object_set_new(row, "replica", json_u64(s->damaged.replica));
		json_array_append_new(list, row);
		json_object_set_new(body, "broken", list);
	}
	return body;
}

static void
send_letter(PdWorld *w, uint32_t store, uint64_t store_id, bool is_answer, json_t *body)
{
	if (prng_below(&w->prng, 100) >= w->loss)
		for (int i = 0; i < W_LETTERS; i++)
			if (!w->letters[i].used)
			{
				w->letters[i] = (WLetter) {true, is_answer, store, store_id,
					w->now + prng_below(&w->prng, w->delay_ms + 1) * 1000, body};
				return;
			}
	json_decref(body);
}

static void
store_beat(PdWorld *w, uint32_t i)
{
	WStore	   *s = &w->stores[i];
	char		text[VT_ID_TEXT];
	VtError		err = {0};
	json_t	   *reply;

	s->beat_due = w->now + 300000 + prng_below(&w->prng, 400) * 1000;
	if (s->id == 0)
	{
		json_t	   *body;

		vt_id_format(&s->data_id, text);
		body = json_pack("{s:s,s:s,s:s,s:s,s:i,s:i}", "store", "0", "cluster", "", "data_id", text, "endpoint", s->endpoint, "level_low", VT_LEVEL_LOW, "level_high", VT_LEVEL_NEWEST);
		if (register_store(&w->pd, "", body, &reply, &err) != VT_OK)
			fail_msg("%s", vt_error_words(&err));
		assert_true(get_u64(reply, "store", &s->id));
		json_decref(reply);
		json_decref(body);
		return;
	}
	send_letter(w, i, s->id, false, beat_body(w, s));
}

static void
deliver(PdWorld *w, WLetter *letter)
{
	json_t	   *body = letter->body;
	WStore	   *s = &w->stores[letter->store];
	VtError		err = {0};
	json_t	   *reply;

	letter->used = false;
	if (!letter->is_answer)
	{
		if (heartbeat_take(&w->pd, body, &err) != VT_OK)
			fail_msg("%s", vt_error_words(&err));
		plans_look(&w->pd);
		reply = heartbeat_answer(&w->pd, body);
		if (reply)
			send_letter(w, letter->store, letter->store_id, true, reply);
	}
	else if (s->alive && s->id == letter->store_id)
	{
		size_t		i;
		json_t	   *task;

		json_array_foreach(json_object_get(body, "tasks"), i, task)
		{
			do_task(w, s, task);
		}
	}
	json_decref(body);
}

/* -- Time ------------------------------------------------------------------ */

static void
tick(PdWorld *w)
{
	w->now += TICK_US;
	w->pd.now_us = w->now;
	for (int i = 0; i < W_SHARDS; i++)
		if (w->groups[i].shard)
			group_tick(w, &w->groups[i]);
	for (uint32_t i = 0; i < w->nstores; i++)
		if (w->stores[i].alive && w->now >= w->stores[i].beat_due)
			store_beat(w, i);
	for (int i = 0; i < W_LETTERS; i++)
		if (w->letters[i].used && w->letters[i].at <= w->now)
			deliver(w, &w->letters[i]);
	plans_look(&w->pd);
	handovers_look(&w->pd);
	rebalance_look(&w->pd);
	verify_look(&w->pd);
}

static void
run_seconds(PdWorld *w, int seconds)
{
	for (int64_t until = w->now + seconds * SECOND_US; w->now < until;)
		tick(w);
}

static void
store_dies(PdWorld *w, uint32_t i)
{
	w->stores[i].alive = false;
	w->stores[i].died_at = w->now;
}

/* The machine comes back with an empty disk. */
static void
store_is_replaced(PdWorld *w, uint32_t i)
{
	WStore	   *s = &w->stores[i];

	s->id = 0;
	s->n = s->ndead = 0;
	vt_id_random(&s->data_id);
	s->alive = true;
	s->beat_due = w->now;
}

static CatalogCollection *
create(PdWorld *w, uint32_t shards, uint32_t replicas)
{
	char		generation[VT_ID_TEXT];
	VtId		id;
	json_t	   *body;
	CatalogCollection *c;
	VtError		err = {0};

	vt_id_random(&id);
	vt_id_format(&id, generation);
	body = json_pack("{s:s,s:{s:s,s:s,s:i},s:i,s:s,s:i,s:i,s:i,s:i,s:s}", "generation", generation,
					 "owner", "system", "7", "incarnation", generation, "database", 5,
					 "dim", 3, "metric", "l2", "m", 16, "ef_construction", 100,
					 "shards", (int) shards, "replicas", (int) replicas, "xid", "1");
	if (collection_create(&w->pd, body, &c, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	json_decref(body);
	w->wanted = replicas ? replicas : 3;
	return c;
}

/* -- What must hold in the end --------------------------------------------- */

/* How many shards are not as they should be with so many stores up. */
static uint32_t
unsettled(PdWorld *w, uint32_t target, bool print)
{
	uint32_t	n = 0;

	for (size_t i = 0; i < w->pd.catalog->ncollections; i++)
		for (uint32_t j = 0; w->pd.catalog->collections[i]->state == COLLECTION_LIVE && j < w->pd.catalog->collections[i]->nshards; j++)
		{
			const CatalogShard *shard = &w->pd.catalog->collections[i]->shards[j];
			WGroup	   *g = group_of(w, shard->desc.shard);
			uint32_t	voters = 0;
			uint32_t	alive = g ? live_voters(w, g->shard, g->members, g->n, &voters) : 0;
			uint32_t	holders = 0;
			bool		good;

			for (uint32_t k = 0; k < w->nstores; k++)
				holders += w->stores[k].alive && replica_on(&w->stores[k], shard->desc.shard) != NULL;
			good = g && g->leader && alive == target && g->n == target && holders == target &&
				shard->plan.kind == PLAN_NONE && shard->conf_index == g->conf_index;
			for (uint32_t k = 0; good && k < g->n; k++)
				good = is_in(shard->desc.replicas, shard->desc.nreplicas, g->members[k].replica);
			n += !good;
			if (!good && print)
				print_message("shard %" PRIu64 ": %u members, %u alive, %u holders, plan %d add %" PRIu64 " remove %" PRIu64 ", leader %" PRIu64 ", conf %" PRIu64 " known %" PRIu64 "\n",
							  shard->desc.shard, g ? g->n : 0, alive, holders, (int) shard->plan.kind, shard->plan.add_replica,
							  shard->plan.remove, g ? g->leader : 0, g ? g->conf_index : 0, shard->conf_index);
		}
	return n;
}

/* Run until all shards have so many replicas; fails when that takes too long. */
static int
settle(PdWorld *w, uint32_t target, int seconds)
{
	int			took = 0;

	while (unsettled(w, target, false) > 0)
	{
		if (took++ > seconds)
		{
			unsettled(w, target, true);
			fail_msg("not all shards have %u replicas after %d s", target, seconds);
		}
		run_seconds(w, 1);
	}
	return took;
}

/* -- A cluster with all its workers registered and heard of ------------------- */

static PdWorld *
cluster(uint64_t seed, uint32_t nstores)
{
	PdWorld    *w = vt_alloc(sizeof(PdWorld));

	world_begin(w, seed, nstores);
	run_seconds(w, 3);
	return w;
}

static void
cluster_end(PdWorld *w)
{
	world_end(w);
	free(w);
}

/* The driver dies, another has its catalog. */
static void
another_driver(PdWorld *w)
{
	pd_end(w);
	pd_begin(w);
}

/* What an answer or a refusal is to be; words: it says so, NULL = nothing. */
static void
expect(VtStatus status, VtStatus wanted, const VtError *err, const char *words)
{
	if (status != wanted)
		fail_msg("status %d in place of %d: %s", (int) status, (int) wanted, vt_error_words(err));
	if (words && !strstr(vt_error_words(err), words))
		fail_msg("\"%s\" does not say \"%s\"", vt_error_words(err), words);
}

/* Is that among what is wrong? */
static bool
has_finding(PdWorld *w, const char *finding, const char *severity)
{
	json_t	   *list = json_findings(&w->pd, NULL);
	bool		has = false;
	size_t		i;
	json_t	   *row;

	json_array_foreach(list, i, row)
	{
		assert_non_null(json_string_value(json_object_get(row, "subject")));
		assert_non_null(json_string_value(json_object_get(row, "what")));
		assert_true(json_string_length(json_object_get(row, "advice")) > 0);
		has |= strcmp(json_string_value(json_object_get(row, "finding")), finding) == 0 &&
			strcmp(json_string_value(json_object_get(row, "severity")), severity) == 0;
	}
	json_decref(list);
	return has;
}

static size_t
findings(PdWorld *w)
{
	json_t	   *list = json_findings(&w->pd, NULL);
	size_t		n = json_array_size(list);

	json_decref(list);
	return n;
}

#endif							/* TEST_PD_WORLD_H */
