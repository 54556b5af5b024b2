/*-------------------------------------------------------------------------
 *
 * split.c
 *	  Splitting shards: who is asked to, what comes of it, and when it has settled.
 *
 * A split is a plan of its shard (PLAN_SPLIT), so nothing else is done to that shard
 * meanwhile.  The plan has the child's id and the hash where it begins; the ids of its
 * replicas are those that follow, one for each voter of the shard, in the stores
 * where these are (decision 0009).
 *
 *	0.	The stores of its voters are told that there will be a child, and copy what it
 *		is to have while that still changes, so that writes do not wait for it (prepare_split).  What
 *		comes of it is theirs alone: one that is not ready makes the child all the same.
 *	1.	When all have said that they are, or long enough was waited, and as long as no
 *		store has reported the child, the shard's leader is asked to
 *		split.  Until then all of it may be given up (somebody cancels it, or it gives way: stall.c): if an
 *		answer comes late all the same, the split is taken as it comes, for
 *		descriptors tell everything and ids are never given twice.
 *	2.	A store reports that the split was applied.  The catalog follows: the shard's
 *		interval ends where the child begins, the child is a shard like any other, and
 *		founded already.  From here on it only goes forward.
 *	3.	Each store makes its replica of the child, out of the rows it has, or empty, if
 *		it has none.  When all have been reported, and most of them have what the child
 *		begins with, the stores are told that they owe the child nothing any more, and
 *		the plan has ended.  A replica that is lost before is replaced like any other's;
 *		where that can not be, as a majority is lost for good, the plan gives way to the
 *		recovery of what is left of either (recover.c).
 *
 * An index that is dropped meanwhile may take the parent away before anybody has
 * reported the child: with the word that its data goes, the stores owe it that
 * they delete the child, whether they have made it or not (split_owe()).  Of one whose
 * plan was given up before, and that came late all the same, only the stores know: with
 * the parent's replica they delete what was split off it there (operate_give_drop()).
 *
 * By command, or by size: split_size.c.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/breaks.h"
#include "base/log.h"
#include "service.h"

#define PREPARE_US (1800 * INT64_C(1000000))	/* for as long stores are waited for that are not ready: they rest beside searches */

/* -- What stores say ------------------------------------------------------- */

/* Is something else told now of the shard that this child was split off from? */
static bool
is_told_anew(const WireShardDesc *child, json_t *shards, const Report *gone, size_t ngone)
{
	size_t		i;
	json_t	   *shard;
	uint64_t	id;

	for (i = 0; i < ngone; i++)
		if (gone[i].shard == child->parent)
			return true;
	json_array_foreach(shards, i, shard)
	{
		if (get_u64(shard, "shard", &id) && id == child->parent)
			return true;
	}
	return false;
}

void
splits_take(Beat *beat, json_t *body, const Report *gone, size_t ngone)
{
	json_t	   *whole = json_object_get(body, "shards");
	json_t	   *shards = whole ? whole : json_object_get(body, "changed");
	size_t		kept = 0;
	size_t		i;
	size_t		k;
	json_t	   *shard;
	json_t	   *child;

	for (i = 0; i < beat->nchildren && !whole; i++)
		if (!is_told_anew(&beat->children[i], shards, gone, ngone))
			beat->children[kept++] = beat->children[i];
	beat->nchildren = kept;
	json_array_foreach(shards, i, shard)
	{
		json_array_foreach(json_object_get(shard, "owes"), k, child)
		{
			WireShardDesc desc;

			if (!get_desc(child, &desc) || desc.parent == 0 || desc.nreplicas == 0)
				continue;
			beat->children = vt_realloc(beat->children, sizeof(WireShardDesc) * (beat->nchildren + 1));
			beat->children[beat->nchildren++] = desc;
		}
	}
}

static CatalogShard *
shard_in(CatalogCollection *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->nshards; i++)
		if (c->shards[i].desc.shard == id)
			return &c->shards[i];
	return NULL;
}

/* Step 2: what was split off takes its place in the catalog; false: it has it, or has none. */
static bool
adopt(Changes *changes, const CatalogCollection *collection, const WireShardDesc *child)
{
	CatalogCollection *c = changes_of(changes, collection);
	CatalogShard *parent = shard_in(c, child->parent);
	CatalogShard *added;

	if (!parent || shard_in(c, child->shard) || child->range_ver != parent->desc.range_ver + 1 ||
		child->first <= parent->desc.first || child->last != parent->desc.last ||
		!vt_id_equal(&child->generation, &c->generation))
		return false;
	parent->desc.last = child->first - 1;
	parent->desc.range_ver = child->range_ver;
	if (parent->plan.kind != PLAN_RECOVER)	/* who is left has applied it only now: that goes on */
		parent->plan = (Plan) {.kind = PLAN_SPLIT, .split_at = child->first, .child = child->shard};
	c->shards = vt_realloc(c->shards, sizeof(CatalogShard) * (c->nshards + 2));
	added = &c->shards[c->nshards++];
	memset(added, 0, sizeof(*added));
	added->desc = *child;
	added->conf_index = child->base_index;
	added->bootstrapped = true;
	c->route_version++;
	log_info("shard=%" PRIu64 " was split: shard=%" PRIu64 " has all from %016" PRIx64 " to %016" PRIx64,
			 child->parent, child->shard, child->first, child->last);
	return true;
}

void
splits_learn(Pd *pd, Changes *changes, const Beat *beat)
{
	for (size_t i = 0; i < beat->nchildren; i++)
	{
		CatalogCollection *c;
		CatalogCollection *other;

		if (find_shard(pd, beat->children[i].parent, &c) && !find_shard(pd, beat->children[i].shard, &other) &&
			adopt(changes, c, &beat->children[i]))
			load_split(pd, &beat->children[i]);
	}
}

/* -- Plans ----------------------------------------------------------------- */

static bool
all_seen(const CatalogShard *shard)
{
	return shard->bootstrapped && shard->seen == (1u << shard->desc.nreplicas) - 1;
}

/*
 * Law D1: have more than half of the voters what the child begins with?  That a replica
 * has been reported says nothing of that: one that began empty waits for a snapshot.
 */
static bool
stands(Pd *pd, const CatalogShard *child)
{
	uint32_t	voters = 0;
	uint32_t	there = 0;

	for (int i = 0; i < child->desc.nreplicas; i++)
	{
		const WireReplica *r = &child->desc.replicas[i];
		const Report *report = store_is_up(pd, r->store) ? report_of(pd, r->store, child->desc.shard) : NULL;

		voters += r->role == ROLE_VOTER;
		there += r->role == ROLE_VOTER && report && report->replica == r->replica &&
			report->applied >= child->desc.base_index;
	}
	return there * 2 > voters;
}

static bool
has_settled(Pd *pd, const CatalogShard *child)
{
	return all_seen(child) && (stands(pd, child) || vt_broken("D1-empty"));
}

bool
split_is_done(const CatalogCollection *c, const CatalogShard *shard)
{
	for (uint32_t i = 0; i < c->nshards; i++)
		if (c->shards[i].desc.shard == shard->plan.child)
			return true;
	return false;
}

bool
split_is_over(Pd *pd, const CatalogCollection *c, const CatalogShard *shard)
{
	for (uint32_t i = 0; i < c->nshards; i++)
		if (c->shards[i].desc.shard == shard->plan.child)
			return has_settled(pd, &c->shards[i]);
	return false;
}

/* Who has been told and is up is waited for; one of an older release was not. */
static bool
is_waited_for(Pd *pd, const CatalogShard *shard, const WireReplica *r)
{
	Beat	   *beat = beat_of(pd, r->store);
	Report	   *report = report_in(beat, shard->desc.shard);

	return r->role == ROLE_VOTER && report && beat->prepares && store_is_up(pd, r->store) &&
		report->replica == r->replica && report->prepared != shard->plan.child;
}

uint64_t
split_waits_for(Pd *pd, const CatalogShard *shard)
{
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (is_waited_for(pd, shard, &shard->desc.replicas[i]))
			return shard->desc.replicas[i].store;
	return 0;
}

bool
split_is_prepared(Pd *pd, const CatalogShard *shard)
{
	bool		waits = split_waits_for(pd, shard) != 0;

	for (size_t i = 0; i < pd->noperators && waits; i++)
		waits = pd->operators[i].shard != shard->desc.shard || pd->operators[i].plan.child != shard->plan.child ||
			pd->now_us - pd->operators[i].since_us < PREPARE_US;
	return !waits;
}

void
splits_wake(Pd *pd, const Beat *beat)
{
	for (size_t i = 0; i < beat->nreports; i++)
	{
		CatalogCollection *c;
		CatalogShard *shard = beat->reports[i].prepared ? find_shard(pd, beat->reports[i].shard, &c) : NULL;
		uint64_t	leads;

		if (shard && shard->plan.kind == PLAN_SPLIT && shard->plan.child == beat->reports[i].prepared &&
			!split_is_done(c, shard) && leader_of(pd, shard, &leads))
			beat_wake(pd, leads);
	}
}

/* What the leader is to make of its shard; false: a store has reported it already. */
static bool
describe_child(const CatalogCollection *c, const CatalogShard *shard, WireShardDesc *out)
{
	if (split_is_done(c, shard))
		return false;
	*out = shard->desc;
	out->shard = shard->plan.child;
	out->parent = shard->desc.shard;
	out->first = shard->plan.split_at;
	out->range_ver++;
	out->conf_ver = 1;
	out->base_index = 0;
	out->nreplicas = 0;
	for (int i = 0; i < shard->desc.nreplicas; i++)
		if (shard->desc.replicas[i].role == ROLE_VOTER)
		{
			out->replicas[out->nreplicas] = shard->desc.replicas[i];
			out->replicas[out->nreplicas].replica = shard->plan.child + 1 + out->nreplicas;
			out->nreplicas++;
		}
	return true;
}

json_t *
split_task(const CatalogCollection *c, const CatalogShard *shard)
{
	WireShardDesc child;
	json_t	   *task;

	if (!describe_child(c, shard, &child))
		return NULL;
	task = json_object();
	json_object_set_new(task, "task", json_string("split_shard"));
	json_object_set_new(task, "shard", json_u64(shard->desc.shard));
	json_object_set_new(task, "desc", json_desc(&child));
	json_object_set_new(task, "conf_index", json_u64(shard->conf_index));
	return task;
}

json_t *
split_prepare_task(const CatalogCollection *c, const CatalogShard *shard, const Beat *beat)
{
	WireShardDesc child;
	json_t	   *task;
	bool		voter = false;

	if (!beat->prepares || !describe_child(c, shard, &child))
		return NULL;
	for (int i = 0; i < child.nreplicas; i++)
		voter |= child.replicas[i].store == beat->store;
	if (!voter)
		return NULL;
	task = json_object();
	json_object_set_new(task, "task", json_string("prepare_split"));
	json_object_set_new(task, "shard", json_u64(shard->desc.shard));
	json_object_set_new(task, "desc", json_desc(&child));
	return task;
}

json_t *
split_settle_task(Pd *pd, const WireShardDesc *child)
{
	CatalogCollection *c;
	CatalogShard *shard = find_shard(pd, child->shard, &c);
	json_t	   *task;

	if (!shard || !has_settled(pd, shard))
		return NULL;
	task = json_object();
	json_object_set_new(task, "task", json_string("settle_split"));
	json_object_set_new(task, "shard", json_u64(child->parent));
	json_object_set_new(task, "child", json_u64(child->shard));
	return task;
}

void
split_owe(Pd *pd, Buf *command, const CatalogCollection *c)
{
	for (uint32_t i = 0; i < c->nshards; i++)
	{
		WireShardDesc child;

		if (c->shards[i].plan.kind != PLAN_SPLIT || !describe_child(c, &c->shards[i], &child))
			continue;
		for (int k = 0; k < child.nreplicas; k++)
		{
			CatalogOwed owed = {child.replicas[k].store, child.shard, child.replicas[k].replica};

			if (catalog_store(pd->catalog, owed.store))
				command_owed(command, &owed);
		}
	}
}

/* -- Joining a shard that was split ---------------------------------------- */

/* Was this shard split off that one, or off one that was, and so on? */
static bool
comes_of(CatalogCollection *c, const CatalogShard *shard, uint64_t ancestor)
{
	while (shard && shard->desc.parent != 0 && shard->desc.parent != ancestor)
		shard = shard_in(c, shard->desc.parent);
	return shard && shard->desc.parent == ancestor;
}

/*
 * Who joins applies all there is in the group's log, so it begins with the interval
 * that the shard was founded with: what it gave away was at its end, and is with
 * those that come of it.
 */
WireShardDesc
split_born(CatalogCollection *c, const CatalogShard *shard)
{
	WireShardDesc born = shard->desc;

	for (uint32_t i = 0; i < c->nshards; i++)
	{
		if (!comes_of(c, &c->shards[i], shard->desc.shard))
			continue;
		if (c->shards[i].desc.last > born.last)
			born.last = c->shards[i].desc.last;
		born.range_ver -= c->shards[i].desc.parent == shard->desc.shard;
	}
	return born;
}

/* -- Deciding -------------------------------------------------------------- */

/* Why not now?  NULL: it may be split. */
const char *
split_objection(Pd *pd, const CatalogCollection *c, const CatalogShard *shard)
{
	uint64_t	store;
	Report	   *leader = leader_of(pd, shard, &store);
	PlanShard	picture;

	if (c->state != COLLECTION_LIVE)
		return "its index was dropped";
	if (shard->plan.kind == PLAN_SPLIT)
		return "it is being split";
	if (shard->plan.kind != PLAN_NONE)
		return "its replicas are being changed";
	if (!all_seen(shard))
		return "not all of its replicas have been made";
	operate_picture(pd, c, shard, &picture);
	if (!leader || !picture.settled)
		return "it has no leader, or the members of its group are being changed";
	if (leader->ingesting)
		return "a bulk load is going on";
	for (uint32_t i = 0; i < picture.n; i++)
	{
		const Beat *beat = beat_of(pd, picture.members[i].store);

		if (picture.members[i].health != HEALTH_UP)
			return "one of its replicas is out of reach";
		if (picture.members[i].voter && store_room(beat) < ROOM_ENOUGH)
			return "a disk or memory is short, and half of its rows are to be copied";
	}
	if (shard->desc.last == shard->desc.first || c->nshards >= SPLIT_SHARDS_MAX)
		return "there are too many shards";
	return NULL;
}

uint64_t
split_begin(Changes *changes, const CatalogCollection *c, const CatalogShard *shard)
{
	CatalogShard *changed = changes_of_shard(changes, c, shard);
	uint64_t	child = changes_next_id(changes);

	/* Those of its replicas follow. */
	for (int i = 0; i < shard->desc.nreplicas; i++)
		(void) changes_next_id(changes);
	changed->plan = (Plan) {.kind = PLAN_SPLIT, .child = child,
		.split_at = shard->desc.first + (shard->desc.last - shard->desc.first) / 2 + 1
	};
	log_info("shard=%" PRIu64 " is to be split: shard=%" PRIu64 " from %016" PRIx64, shard->desc.shard, child,
			 changed->plan.split_at);
	return child;
}

void
op_split(Pd *pd, Question *q)
{
	uint64_t	id;
	CatalogCollection *c;
	CatalogShard *shard;
	const char *words;
	Changes		changes;
	uint64_t	child;
	json_t	   *reply;
	VtStatus	status;

	if (!get_u64(q->body, "shard", &id) || !(shard = find_shard(pd, id, &c)))
	{
		refuse(q, VT_NOT_FOUND, "there is no such shard");
		return;
	}
	if ((words = split_objection(pd, c, shard)) != NULL)
	{
		refuse(q, VT_BUSY, "the shard cannot be split now: %s", words);
		return;
	}
	changes_begin(pd, &changes);
	child = split_begin(&changes, c, shard);
	status = changes_commit(pd, &changes);
	reply = json_object();
	json_object_set_new(reply, "child", json_u64(child));
	answer(q, status, reply, NULL);
}
