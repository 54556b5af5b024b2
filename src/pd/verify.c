/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  Do the replicas of a shard hold the same?
 *
 * Somebody asks, or it is long ago: the shard's leader is told to put a command
 * with a fresh id into its log, and each replica digests what it has there and
 * reports it.  The verdict follows from reports alone, so a driver that has just
 * begun comes to the same one: those of the same id and index are compared, and
 * what more than half of all voters agree on is right.  A replica that has
 * something else is set aside by its worker, which then treats it as damaged;
 * the plans put another in its place.  Where no majority agrees nothing is done,
 * and people are told (check.c).
 *
 * Beside rows they are compared in what else decides what a write does.  A worker of
 * another release may know more or less of that: then it is compared in rows alone.
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
#define AT_ONCE 4				/* comparisons under way */
#define GIVE_UP_US (600 * INT64_C(1000000))	/* what has not been answered by then is not waited for */
#define TELL_AGAIN_US (60 * INT64_C(1000000))
#define LOOKED_AT 256			/* shards, in one look for what is long ago */
#define JUDGED_US (10 * INT64_C(1000000))	/* a store that was silent may be heard again, and make a majority */

/* -- What reports say -------------------------------------------------------- */

const char *const verified_parts[VERIFIED_PARTS] = {"fence", "sessions", "interval", "load", "properties"};

/* False: malformed.  Of a version that we do not know nothing is read. */
static bool
read_parts(json_t *rules, Verified *out)
{
	int64_t		version;
	bool		ok = get_int(rules, "version", 1, INT32_MAX, &version);

	out->told = ok && version == VERIFIED_VERSION;
	for (int i = 0; i < VERIFIED_PARTS && out->told && ok; i++)
		ok = get_u64(rules, verified_parts[i], &out->parts[i]);
	return ok;
}

/* False: malformed. */
bool
verified_read(json_t *body, Verified *out)
{
	json_t	   *verified = json_object_get(body, "verified");
	json_t	   *rules = json_object_get(verified, "rules");

	memset(out, 0, sizeof(*out));
	if (!verified)
		return true;
	if (rules && !read_parts(rules, out))
		return false;
	out->damaged = json_is_true(json_object_get(verified, "damaged"));
	return get_u64(verified, "id", &out->id) && get_u64(verified, "index", &out->index) &&
		get_u64(verified, "rows", &out->rows) && get_u64(verified, "digest", &out->digest) &&
		get_int(verified, "wall_us", 0, INT64_MAX, &out->wall_us);
}

static bool
is_same_comparison(const Verified *a, const Verified *b)
{
	return a->id != 0 && a->id == b->id && a->index == b->index;
}

static bool
holds_the_same(const Verified *a, const Verified *b)
{
	return !a->damaged && !b->damaged && a->rows == b->rows && a->digest == b->digest &&
		(!a->told || !b->told || memcmp(a->parts, b->parts, sizeof(a->parts)) == 0);
}

/*
 * Should it hold what the voters hold?  A learner that is on its way need not, nor
 * one that a split has made; those that stay on stores for searches should.
 */
static bool
is_comparable(Pd *pd, const WireReplica *r)
{
	CatalogStore *home = catalog_store(pd->catalog, r->store);

	return r->role == ROLE_VOTER || (home && home->search_only);
}

/* What the replica itself has reported; NULL = nothing, or its store is silent. */
static const Verified *
verified_of(Pd *pd, const CatalogShard *shard, const WireReplica *r)
{
	Report	   *report = store_is_up(pd, r->store) ? report_of(pd, r->store, shard->desc.shard) : NULL;

	return report && report->replica == r->replica && report->verified.id ? &report->verified : NULL;
}

/* Voters that hold the same as this one at the same place. */
static uint32_t
voters_with(Pd *pd, const CatalogShard *shard, const Verified *like)
{
	uint32_t	n = 0;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const Verified *v = verified_of(pd, shard, &shard->desc.replicas[i]);

		n += shard->desc.replicas[i].role == ROLE_VOTER && v && is_same_comparison(v, like) && holds_the_same(v, like);
	}
	return n;
}

Verdict
verify_verdict(Pd *pd, const CatalogShard *shard, const WireReplica *r)
{
	const Verified *verified = verified_of(pd, shard, r);
	uint32_t	voters = 0;
	bool		all = true;

	if (!verified || !is_comparable(pd, r))
		return VERDICT_NONE;
	for (int i = 0; i < shard->desc.nreplicas; i++)
		voters += shard->desc.replicas[i].role == ROLE_VOTER;
	if (voters_with(pd, shard, verified) * 2 > voters)
		return VERDICT_AGREES;
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const Verified *v = verified_of(pd, shard, &shard->desc.replicas[i]);

		if (v && is_same_comparison(v, verified) && voters_with(pd, shard, v) * 2 > voters)
			return VERDICT_DIFFERS;
		all &= shard->desc.replicas[i].role != ROLE_VOTER || (v && is_same_comparison(v, verified));
	}
	return all ? VERDICT_SPLIT : VERDICT_OPEN;
}

/* Of those that hold something else than this replica: what more than half of all voters hold, or the first. */
static const Verified *
other_than(Pd *pd, const CatalogShard *shard, const Verified *mine)
{
	const Verified *other = NULL;
	uint32_t	most = 0;

	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		const Verified *v = verified_of(pd, shard, &shard->desc.replicas[i]);
		uint32_t	with;

		if (!v || v == mine || !is_comparable(pd, &shard->desc.replicas[i]) || !is_same_comparison(v, mine) || holds_the_same(v, mine))
			continue;
		with = voters_with(pd, shard, v);
		if (!other || with > most)
		{
			other = v;
			most = with;
		}
	}
	return other;
}

static void
say(char *words, const char *part)
{
	size_t		len = strlen(words);

	snprintf(words + len, VERIFY_WORDS - len, "%s%s", strstr(words, " in ") ? ", " : " in ", part);
}

static void
say_parts(char *words, const Verified *mine, const Verified *other)
{
	if (mine->damaged || other->damaged)
	{
		say(words, mine->damaged ? "that it is damaged" : "that the others are damaged");
		return;
	}
	if (mine->rows != other->rows || mine->digest != other->digest)
		say(words, "rows");
	for (int i = 0; i < VERIFIED_PARTS; i++)
		if (mine->told && other->told && mine->parts[i] != other->parts[i])
			say(words, verified_parts[i]);
}

void
verify_words(Pd *pd, const CatalogShard *shard, const WireReplica *r, char words[VERIFY_WORDS])
{
	static const char *const verdicts[] = {"", "agrees", "differs", "no majority", "not all have answered"};
	Verdict		verdict = verify_verdict(pd, shard, r);
	const Verified *mine = verified_of(pd, shard, r);
	const Verified *other = verdict == VERDICT_DIFFERS || verdict == VERDICT_SPLIT ? other_than(pd, shard, mine) : NULL;

	snprintf(words, VERIFY_WORDS, "%s", verdicts[verdict]);
	if (other)
		say_parts(words, mine, other);
}

/* -- What is wanted ---------------------------------------------------------- */

/* One that is under way began before it was asked for now: then it begins anew. */
static void
want(Pd *pd, uint64_t shard)
{
	VtId		random;
	size_t		i = 0;

	while (i < pd->nwanted && pd->wanted[i].shard != shard)
		i++;
	if (i == pd->nwanted)
		pd->wanted = vt_realloc(pd->wanted, sizeof(Wanted) * ++pd->nwanted);
	vt_id_random(&random);
	pd->wanted[i] = (Wanted) {.shard = shard, .id = get_le64(random.b) | 1};
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
		return VT_OK;
	}
	if (get_u64(body, "what", &id) && (shard = find_shard(pd, id, &c)) != NULL)
	{
		if (c->state != COLLECTION_LIVE)
			return vt_fail(err, VT_GONE, "the collection was dropped");
		want(pd, shard->desc.shard);
		*n = 1;
		return VT_OK;
	}
	status = collection_named(pd, what, &c, err);
	if (status == VT_OK)
		want_all_of(pd, c, n);
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

		if (!report || !is_comparable(pd, r))
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

/* Let go of what is answered, too old, or of a shard that is gone. */
static void
end_wanted(Pd *pd)
{
	size_t		n = 0;

	for (size_t i = 0; i < pd->nwanted; i++)
	{
		Wanted	   *w = &pd->wanted[i];
		CatalogCollection *c;
		CatalogShard *shard = find_shard(pd, w->shard, &c);

		if (!shard || c->state != COLLECTION_LIVE)
			continue;
		if (w->told_us && is_answered(pd, shard, w->id))
		{
			log_answer(pd, shard);
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

/* Is a shard's last comparison, or its creation, so long ago? */
static bool
is_long_ago(Pd *pd, const CatalogCollection *c, const CatalogShard *shard)
{
	uint64_t	store;
	Report	   *leader = leader_of(pd, shard, &store);
	int64_t		since = c->created_us;

	if (!leader || !shard->bootstrapped || c->state != COLLECTION_LIVE)
		return false;
	if (leader->verified.wall_us > since)
		since = leader->verified.wall_us;
	return pd_wall_us(pd) - since > pd->options.verify_us;
}

/* One shard after the other, when nothing else is wanted. */
static void
want_what_is_due(Pd *pd)
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
				want(pd, c->shards[j].desc.shard);
	}
}

void
verify_look(Pd *pd)
{
	if (pd->now_us < pd->verify_due_us)
		return;
	pd->verify_due_us = pd->now_us + LOOK_US;
	end_wanted(pd);
	want_what_is_due(pd);
}

/* -- Telling workers --------------------------------------------------------- */

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
is_to_be_told(Pd *pd, const Wanted *w, const CatalogShard *shard, const Report *leader, uint32_t under_way)
{
	if (w->told_us == 0)
		return under_way < AT_ONCE;
	return leader->replica != w->told || (pd->now_us - w->told_us > TELL_AGAIN_US && !is_begun(pd, shard, w->id));
}

static void
tell_to_begin(Pd *pd, const Beat *beat, json_t *tasks)
{
	uint32_t	under_way = 0;

	for (size_t i = 0; i < pd->nwanted; i++)
		under_way += pd->wanted[i].told_us != 0;
	for (size_t i = 0; i < pd->nwanted; i++)
	{
		Wanted	   *w = &pd->wanted[i];
		CatalogCollection *c;
		CatalogShard *shard = find_shard(pd, w->shard, &c);
		uint64_t	store = 0;
		Report	   *leader = shard ? leader_of(pd, shard, &store) : NULL;
		json_t	   *task;

		if (!leader || store != beat->store || !is_to_be_told(pd, w, shard, leader, under_way))
			continue;
		under_way += w->told_us == 0;
		w->told = leader->replica;
		w->told_us = pd->now_us;
		task = json_object();
		json_object_set_new(task, "task", json_string("verify_shard"));
		json_object_set_new(task, "shard", json_u64(w->shard));
		json_object_set_new(task, "id", json_u64(w->id));
		json_array_append_new(tasks, task);
	}
}

/* A replica answers a comparison, or says something else of it: whoever holds one of the shard is judged by that. */
void
verify_note(Pd *pd, const Report *before, const Report *now)
{
	CatalogCollection *c;
	const CatalogShard *shard;

	if (now->verified.id == 0 || (before && before->replica == now->replica && before->verified.told == now->verified.told &&
								  is_same_comparison(&before->verified, &now->verified) && holds_the_same(&before->verified, &now->verified)))
		return;
	shard = find_shard(pd, now->shard, &c);
	for (int i = 0; shard && i < shard->desc.nreplicas; i++)
	{
		Beat	   *beat = beat_of(pd, shard->desc.replicas[i].store);

		if (beat)
			beat->judged = false;
	}
}

static void
set_aside(Pd *pd, const Beat *beat, const Report *report, const CatalogShard *shard, const WireReplica *r, json_t *tasks)
{
	size_t		told = json_array_size(tasks);
	char		words[VERIFY_WORDS];

	operate_give(pd, beat->store, "set_aside", report->shard, report->replica, tasks);
	if (json_array_size(tasks) == told)
		return;
	verify_words(pd, shard, r, words);
	log_error("shard=%" PRIu64 " replica=%" PRIu64 " store=%" PRIu64 " holds something else than the majority at %" PRIu64
			  ": it %s, and is to be set aside", report->shard, report->replica, beat->store, report->verified.index, words);
}

/*
 * What is to be set aside on the store.  Where nothing is, and neither what was compared nor what the catalog has of its
 * shards is another since, nothing is still: heartbeats are many, and shards are.
 */
static void
judge(Pd *pd, Beat *beat, json_t *tasks)
{
	uint64_t	touched = store_touched(pd->catalog, beat->store);

	if (beat->judged && beat->judged_at == touched && pd->now_us - beat->judged_us < JUDGED_US)
		return;
	beat->judged = true;
	beat->judged_at = touched;
	beat->judged_us = pd->now_us;
	for (size_t i = 0; i < beat->nreports; i++)
	{
		const Report *report = &beat->reports[i];
		CatalogCollection *c;
		const CatalogShard *shard = report->verified.id ? find_shard(pd, report->shard, &c) : NULL;

		if (!shard || c->state != COLLECTION_LIVE)
			continue;
		for (int k = 0; k < shard->desc.nreplicas; k++)
		{
			const WireReplica *r = &shard->desc.replicas[k];

			if (r->store != beat->store || r->replica != report->replica || verify_verdict(pd, shard, r) != VERDICT_DIFFERS)
				continue;
			beat->judged = false;
			set_aside(pd, beat, report, shard, r, tasks);
		}
	}
}

void
verify_tell(Pd *pd, Beat *beat, json_t *tasks)
{
	tell_to_begin(pd, beat, tasks);
	judge(pd, beat, tasks);
}
