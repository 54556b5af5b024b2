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
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "service.h"

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
bool
verify_counts(Pd *pd, const WireReplica *r)
{
	CatalogStore *home = catalog_store(pd->catalog, r->store);

	return r->role == ROLE_VOTER || (home && home->search_only);
}

/* What the replica itself has reported; NULL = nothing, or its store is silent. */
const Verified *
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

	if (!verified || !verify_counts(pd, r))
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

		if (!v || v == mine || !verify_counts(pd, &shard->desc.replicas[i]) || !is_same_comparison(v, mine) || holds_the_same(v, mine))
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

/* -- Setting aside ------------------------------------------------------------ */

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
	comparisons_tell(pd, beat, tasks);
	judge(pd, beat, tasks);
}
