/*-------------------------------------------------------------------------
 *
 * compare.c
 *	  Which shards' replicas are compared, and when (verify.c says how).
 *
 * What somebody asks for waits for its turn, each shard once; a few at a time are
 * taken up, those whose leaders are heard, and that leader is told in the next answer
 * to its heartbeat.  Heartbeats are many, and so may be what waits: only what is taken
 * up is looked at there.  When nothing else is compared, what was compared long ago is.
 *
 * What is wanted and not done yet is in memory: whoever asked asks a new leader
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "service.h"

#define LOOK_US (1 * INT64_C(1000000))
#define GIVE_UP_US (600 * INT64_C(1000000))	/* what has not been answered by then is not waited for */
#define TELL_AGAIN_US (60 * INT64_C(1000000))
#define LOOKED_AT 256			/* shards, in one look for what is long ago, or at what waits */
#define CLOCK_AHEAD_US (3600 * INT64_C(1000000))	/* who says that something was in a later time than this has no clock */

/* -- What is wanted ---------------------------------------------------------- */

static uint64_t
fresh_id(void)
{
	VtId		random;

	vt_id_random(&random);
	return get_le64(random.b) | 1;
}

static void
waiting_put(WaitingList *list, uint64_t shard)
{
	uint64_t	is;

	if (idmap_get(&list->among, shard, &is))
		return;
	if (list->n == list->room)
	{
		uint64_t   *shards = vt_alloc(sizeof(uint64_t) * (list->room ? list->room * 2 : 16));

		for (size_t i = 0; i < list->n; i++)
			shards[i] = list->shards[(list->from + i) & (list->room - 1)];
		free(list->shards);
		list->shards = shards;
		list->room = list->room ? list->room * 2 : 16;
		list->from = 0;
	}
	list->shards[(list->from + list->n++) & (list->room - 1)] = shard;
	idmap_put(&list->among, shard, 1);
}

static uint64_t
waiting_take(WaitingList *list)
{
	uint64_t	shard = list->shards[list->from];

	list->from = (list->from + 1) & (list->room - 1);
	list->n--;
	idmap_remove(&list->among, shard);
	return shard;
}

void
verify_forget(Pd *pd)
{
	free(pd->waiting.shards);
	idmap_free(&pd->waiting.among);
	memset(&pd->waiting, 0, sizeof(pd->waiting));
	pd->nwanted = 0;
}

/* One that is under way began before it was asked for now: then it begins anew. */
static void
want(Pd *pd, uint64_t shard)
{
	for (size_t i = 0; i < pd->nwanted; i++)
		if (pd->wanted[i].shard == shard)
		{
			pd->wanted[i] = (Wanted) {.shard = shard, .id = fresh_id()};
			return;
		}
	waiting_put(&pd->waiting, shard);
}

/* Its leader is on this store, and is told in the next answer that it gets. */
static void
take_up(Pd *pd, uint64_t shard, uint64_t store)
{
	pd->wanted[pd->nwanted++] = (Wanted) {.shard = shard, .id = fresh_id()};
	beat_wake(pd, store);
}

/*
 * As many as there is room for, of those that wait.  Who has no leader now waits on, behind the
 * others, and not all are looked at in one look.
 */
static void
take_up_waiting(Pd *pd)
{
	size_t		n = pd->waiting.n < LOOKED_AT ? pd->waiting.n : LOOKED_AT;

	for (; n > 0 && pd->nwanted < COMPARISONS_MAX; n--)
	{
		uint64_t	id = waiting_take(&pd->waiting);
		CatalogCollection *c;
		CatalogShard *shard = find_shard(pd, id, &c);
		uint64_t	store;

		if (!shard || c->state != COLLECTION_LIVE)
			continue;
		if (leader_of(pd, shard, &store))
			take_up(pd, id, store);
		else
			waiting_put(&pd->waiting, id);
	}
}

static void
want_all_of(Pd *pd, const CatalogCollection *c, uint32_t *n)
{
	for (uint32_t i = 0; c->state == COLLECTION_LIVE && i < c->nshards; i++)
		if (c->shards[i].bootstrapped)
		{
			want(pd, c->shards[i].desc.shard);
			++*n;
		}
}

/* verify: a shard, a collection, or everything */
VtStatus
verify_ask(Pd *pd, json_t *body, uint32_t *n, VtError *err)
{
	const char *what = json_string_value(json_object_get(body, "what"));
	CatalogCollection *c;
	CatalogShard *shard;
	uint64_t	id;
	VtStatus	status;

	*n = 0;
	if (!what)
	{
		for (size_t i = 0; i < pd->catalog->ncollections; i++)
			want_all_of(pd, pd->catalog->collections[i], n);
		take_up_waiting(pd);
		return VT_OK;
	}
	if (get_u64(body, "what", &id) && (shard = find_shard(pd, id, &c)) != NULL)
	{
		if (c->state != COLLECTION_LIVE)
			return vt_fail(err, VT_GONE, "the collection was dropped");
		want(pd, shard->desc.shard);
		take_up_waiting(pd);
		*n = 1;
		return VT_OK;
	}
	status = collection_named(pd, what, &c, err);
	if (status == VT_OK)
		want_all_of(pd, c, n);
	take_up_waiting(pd);
	return status;
}

void
op_verify(Pd *pd, Question *q)
{
	VtError		err = {0};
	uint32_t	n;
	VtStatus	status = verify_ask(pd, q->body, &n, &err);
	json_t	   *reply;

	if (status != VT_OK)
	{
		refuse(q, status, "%s", vt_error_words(&err));
		return;
	}
	reply = json_object();
	json_object_set_new(reply, "shards", json_integer(n));
	answer(q, VT_OK, reply, NULL);
}

/* Has everybody answered who can? */
static bool
is_answered(Pd *pd, const CatalogShard *shard, uint64_t id)
{
	uint32_t	n = 0;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const WireReplica *r = &shard->desc.replicas[i];
		Report	   *report = store_is_up(pd, r->store) ? report_of(pd, r->store, shard->desc.shard) : NULL;

		if (!report || !verify_counts(pd, r))
			continue;
		if (report->verified.id != id)
			return false;
		n++;
	}
	return n > 0;
}

static void
log_answer(Pd *pd, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const Verified *v = verified_of(pd, shard, &shard->desc.replicas[i]);
		char		words[VERIFY_WORDS];

		if (verify_verdict(pd, shard, &shard->desc.replicas[i]) != VERDICT_SPLIT)
			continue;
		verify_words(pd, shard, &shard->desc.replicas[i], words);
		log_error("shard=%" PRIu64 " replica=%" PRIu64 " store=%" PRIu64 ": %s: %" PRIu64 " rows, digest %016" PRIx64 " at %" PRIu64,
				  shard->desc.shard, shard->desc.replicas[i].replica, shard->desc.replicas[i].store, words, v->rows, v->digest, v->index);
	}
}

/* Let go of what is answered, too old, or of a shard that is gone; one that has lost its leader before that was told waits again. */
static void
end_wanted(Pd *pd)
{
	size_t		n = 0;

	for (size_t i = 0; i < pd->nwanted; i++)
	{
		Wanted	   *w = &pd->wanted[i];
		CatalogCollection *c;
		CatalogShard *shard = find_shard(pd, w->shard, &c);
		uint64_t	store;

		if (!shard || c->state != COLLECTION_LIVE)
			continue;
		if (!w->told_us && !leader_of(pd, shard, &store))
		{
			waiting_put(&pd->waiting, w->shard);
			continue;
		}
		if (w->told_us && is_answered(pd, shard, w->id))
		{
			log_answer(pd, shard);
			load_compared(pd, w->shard);
			continue;
		}
		if (w->told_us && pd->now_us - w->told_us > GIVE_UP_US)
		{
			log_warn("shard=%" PRIu64 ": not all replicas have said what they hold", w->shard);
			continue;
		}
		pd->wanted[n++] = *w;
	}
	pd->nwanted = n;
}

/*
 * Is a shard's last comparison, or its creation, so long ago?  Those times are of other machines' clocks.  One
 * that is ahead of ours says nothing; and whoever's is wrong, of one reign no two comparisons are nearer than that.
 */
static bool
is_long_ago(Pd *pd, const CatalogCollection *c, const CatalogShard *shard)
{
	uint64_t	store;
	Report	   *leader = leader_of(pd, shard, &store);
	int64_t		latest = pd_wall_us(pd) + CLOCK_AHEAD_US;
	int64_t		since = c->created_us <= latest ? c->created_us : INT64_MIN;
	const ShardLoad *load = shard_load(pd, shard->desc.shard);

	if (!leader || !shard->bootstrapped || c->state != COLLECTION_LIVE)
		return false;
	if (load && load->compared_us != 0 && pd->now_us - load->compared_us <= pd->options.verify_us)
		return false;
	if (leader->verified.id && leader->verified.wall_us > since && leader->verified.wall_us <= latest)
		since = leader->verified.wall_us;
	return since == INT64_MIN || pd_wall_us(pd) - since > pd->options.verify_us;
}

/* One shard after the other, when nothing else is compared. */
static void
take_up_what_is_due(Pd *pd)
{
	size_t		n = pd->catalog->ncollections;
	uint32_t	looked = 0;

	if (pd->options.verify_us == 0)
		return;
	for (size_t i = 0; i < n && looked < LOOKED_AT && pd->nwanted == 0; i++)
	{
		const CatalogCollection *c = pd->catalog->collections[pd->verify_cursor++ % n];

		for (uint32_t j = 0; j < c->nshards && pd->nwanted == 0; j++, looked++)
			if (is_long_ago(pd, c, &c->shards[j]))
			{
				uint64_t	store;

				(void) leader_of(pd, &c->shards[j], &store);
				take_up(pd, c->shards[j].desc.shard, store);
			}
	}
}

void
verify_look(Pd *pd)
{
	if (pd->now_us < pd->verify_due_us)
		return;
	pd->verify_due_us = pd->now_us + LOOK_US;
	end_wanted(pd);
	take_up_waiting(pd);
	take_up_what_is_due(pd);
}

/* -- Telling leaders ---------------------------------------------------------- */

/* Has anybody answered? */
static bool
is_begun(Pd *pd, const CatalogShard *shard, uint64_t id)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const Verified *v = verified_of(pd, shard, &shard->desc.replicas[i]);

		if (v && v->id == id)
			return true;
	}
	return false;
}

/*
 * Is a leader to be told, now?  Not twice while it may be at it: then all rows
 * would be read once more.
 */
static bool
is_to_be_told(Pd *pd, const Wanted *w, const CatalogShard *shard, const Report *leader)
{
	return w->told_us == 0 || leader->replica != w->told || (pd->now_us - w->told_us > TELL_AGAIN_US && !is_begun(pd, shard, w->id));
}

void
comparisons_tell(Pd *pd, const Beat *beat, json_t *tasks)
{
	for (size_t i = 0; i < pd->nwanted; i++)
	{
		Wanted	   *w = &pd->wanted[i];
		CatalogCollection *c;
		CatalogShard *shard = find_shard(pd, w->shard, &c);
		uint64_t	store = 0;
		Report	   *leader = shard ? leader_of(pd, shard, &store) : NULL;
		json_t	   *task;

		if (!leader || store != beat->store || !is_to_be_told(pd, w, shard, leader))
			continue;
		w->told = leader->replica;
		w->told_us = pd->now_us;
		task = json_object();
		json_object_set_new(task, "task", json_string("verify_shard"));
		json_object_set_new(task, "shard", json_u64(w->shard));
		json_object_set_new(task, "id", json_u64(w->id));
		json_array_append_new(tasks, task);
	}
}
