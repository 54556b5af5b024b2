/*-------------------------------------------------------------------------
 *
 * heard.c
 *	  What heartbeats say, kept as it was heard last.
 *
 * A heartbeat tells everything a store has, or all that has changed since the one
 * before, which it names; else it is not taken, and the store asked to tell all.  So
 * what was heard last is always whole.  None of it is in the log: a driver that has just begun to lead
 * knows nothing, and counts a store's silence from then on, not from the
 * beginning of time.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service.h"

/* Place of a store in pd->beats, or where it would be. */
static size_t
beat_place(Pd *pd, uint64_t store)
{
	size_t		low = 0;
	size_t		high = pd->nbeats;

	while (low < high)
	{
		size_t		middle = low + (high - low) / 2;

		if (pd->beats[middle]->store < store)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

Beat *
beat_of(Pd *pd, uint64_t store)
{
	uint64_t	at;

	return store && idmap_get(&pd->beat_at, store, &at) ? (Beat *) (uintptr_t) at : NULL;
}

void
beat_wake(Pd *pd, uint64_t store)
{
	Beat	   *beat = beat_of(pd, store);

	if (beat)
		beat->wake = pd->woken = true;
}

static void
beat_free(Beat *beat)
{
	free(beat->reports);
	free(beat->missing);
	free(beat->damaged);
	free(beat->children);
	free(beat);
}

void
beats_free(Pd *pd)
{
	for (size_t i = 0; i < pd->nbeats; i++)
		beat_free(pd->beats[i]);
	free(pd->beats);
	pd->beats = NULL;
	pd->nbeats = 0;
	idmap_free(&pd->beat_at);
	idmap_free(&pd->spoke_last);
	idmap_free(&pd->load_at);
	untold_free(pd);
	free(pd->loads);
	pd->loads = NULL;
}

/*
 * A store has registered at an endpoint where we thought others: nothing new goes
 * to those until they speak again.  A registration may be late, or a double, so it
 * says nothing more; who is gone follows from who is heard (store_is_superseded).
 */
void
beats_challenge(Pd *pd, uint64_t store, const char *endpoint)
{
	for (size_t i = 0; i < pd->nbeats; i++)
	{
		const CatalogStore *other = catalog_store(pd->catalog, pd->beats[i]->store);

		if (other && other->id != store && strcmp(other->endpoint, endpoint) == 0)
			pd->beats[i]->challenged = true;
	}
}

/* -- Reading --------------------------------------------------------------- */

/* *leaves: it is a member only until the change under way is done. */
static bool
read_member(json_t *body, ReportMember *out, bool *leaves)
{
	const char *role = json_string_value(json_object_get(body, "role"));

	memset(out, 0, sizeof(*out));
	if (!get_u64(body, "replica", &out->replica.replica) || !get_u64(body, "store", &out->replica.store) ||
		!get_u64(body, "match", &out->match) || !role ||
		out->replica.replica == 0 || out->replica.store == 0)
		return false;
	if (strcmp(role, "voter") == 0)
		out->replica.role = ROLE_VOTER;
	else if (strcmp(role, "learner") == 0)
		out->replica.role = ROLE_LEARNER;
	else if (strcmp(role, "leaving") == 0)
		*leaves = true;
	else
		return false;
	out->active = json_is_true(json_object_get(body, "active"));
	out->old = json_is_true(json_object_get(body, "old"));
	return true;
}

const char *const report_figures[REPORT_FIGURES] = {
	"ef_95", "ef_99", "passes", "exact_passes", "distances", "hot_distances", "refined", "hops", "asked",
	"walk_us", "hot_us", "refine_us", "exact_us", "filter_us", "looks", "unreachable", "broken_links"
};

static bool
read_report(json_t *body, Report *out)
{
	json_t	   *members = json_object_get(body, "members");
	size_t		i;
	json_t	   *member;

	memset(out, 0, sizeof(*out));
	out->incarnation = 1;
	get_u64(body, "incarnation", &out->incarnation);
	get_u64(body, "last", &out->last);
	get_u64(body, "last_term", &out->last_term);
	if (!get_u64(body, "shard", &out->shard) || out->shard == 0 || !get_u64(body, "replica", &out->replica) ||
		!get_u64(body, "term", &out->term) ||
		!get_u64(body, "applied", &out->applied) || !get_u64(body, "records", &out->records) ||
		!get_u64(body, "unindexed", &out->unindexed) || !get_u64(body, "bytes", &out->bytes))
		return false;
	for (i = 0; i < REPORT_FIGURES; i++)
		if (json_object_get(body, report_figures[i]) && !get_u64(body, report_figures[i], &out->figures[i]))
			return false;
	if (json_object_get(body, "prepared") && !get_u64(body, "prepared", &out->prepared))
		return false;
	if (!verified_read(body, &out->verified))
		return false;
	out->leader = json_is_true(json_object_get(body, "leader"));
	out->ingesting = json_is_true(json_object_get(body, "ingesting"));
	out->leaving = json_is_true(json_object_get(body, "leaving"));
	out->says_conf = json_object_get(body, "conf_index") != NULL;
	if (out->says_conf && !get_u64(body, "conf_index", &out->conf_index))
		return false;
	/* What has been applied here was committed before. */
	out->joint = json_is_true(json_object_get(body, "joint")) || out->conf_index > out->applied;
	if (json_array_size(members) > WIRE_REPLICAS_MAX)
		return false;
	json_array_foreach(members, i, member)
	{
		if (!read_member(member, &out->members[out->nmembers++], &out->joint))
			return false;
	}
	return true;
}

static int
report_compare(const void *a, const void *b)
{
	uint64_t	x = ((const Report *) a)->shard;
	uint64_t	y = ((const Report *) b)->shard;

	return x < y ? -1 : x > y;
}

/* Replicas that the store says are damaged; what is malformed is none. */
static void
take_damaged(Beat *beat, json_t *body)
{
	json_t	   *list = json_object_get(body, "broken");
	size_t		i;
	json_t	   *row;

	free(beat->damaged);
	beat->damaged = NULL;
	beat->ndamaged = 0;
	if (json_array_size(list) == 0)
		return;
	beat->damaged = vt_alloc0(sizeof(Damaged) * json_array_size(list));
	json_array_foreach(list, i, row)
	{
		Damaged    *damaged = &beat->damaged[beat->ndamaged];

		if (get_u64(row, "shard", &damaged->shard) && get_u64(row, "replica", &damaged->replica))
			beat->ndamaged++;
	}
}

/*
 * A heartbeat without a list says that all is as it was with this digest; one that
 * tells what has changed, since when.  What is told twice is known.
 */
bool
beat_is_known(Pd *pd, uint64_t store, json_t *body)
{
	Beat	   *beat = beat_of(pd, store);
	uint64_t	digest = 0;
	uint64_t	since = 0;

	if (json_object_get(body, "shards"))
		return true;
	if (!beat || beat->digest == 0)
		return false;
	return (get_u64(body, "digest", &digest) && digest == beat->digest) ||
		(json_object_get(body, "changed") && get_u64(body, "since", &since) && since == beat->digest);
}

/* Does it tell more than is known? */
static bool
is_news(const Beat *beat, json_t *body)
{
	uint64_t	digest = 0;

	if (json_object_get(body, "shards"))
		return true;
	return json_object_get(body, "changed") && !(get_u64(body, "digest", &digest) && digest == beat->digest);
}

/* A list of reports by shard; NULL: one is malformed.  The caller frees it. */
static Report *
read_reports(json_t *list, size_t *n)
{
	Report	   *reports = vt_alloc0(sizeof(Report) * (json_array_size(list) + 1));
	size_t		i;
	json_t	   *shard;

	*n = json_array_size(list);
	json_array_foreach(list, i, shard)
	{
		if (!read_report(shard, &reports[i]))
		{
			free(reports);
			return NULL;
		}
	}
	qsort(reports, *n, sizeof(Report), report_compare);
	return reports;
}

static void
keep_reports(Beat *beat, Report *reports, size_t n)
{
	free(beat->reports);
	beat->reports = reports;
	beat->nreports = n;
}

/* Shards of which the store has nothing any more, as a list of reports that say no more. */
static Report *
read_gone(json_t *list, size_t *n)
{
	Report	   *gone = vt_alloc0(sizeof(Report) * (json_array_size(list) + 1));

	*n = json_array_size(list);
	for (size_t i = 0; i < *n; i++)
		if (!value_u64(json_array_get(list, i), &gone[i].shard))
		{
			free(gone);
			return NULL;
		}
	qsort(gone, *n, sizeof(Report), report_compare);
	return gone;
}

static bool
is_among(const Report *reports, size_t n, const Report *report)
{
	return n > 0 && bsearch(report, reports, n, sizeof(Report), report_compare) != NULL;
}

/* Each is of a shard that there was one report of, and is one: they take their places. */
static bool
replace_reports(Beat *beat, const Report *changed, size_t n)
{
	Report	   *end = beat->reports + beat->nreports;

	for (size_t i = 0; i < n; i++)
	{
		Report	   *at = report_in(beat, changed[i].shard);

		if (!at || (i > 0 && changed[i - 1].shard == at->shard) || (at > beat->reports && at[-1].shard == at->shard) ||
			(at + 1 < end && at[1].shard == at->shard))
			return false;
	}
	for (size_t i = 0; i < n; i++)
		*report_in(beat, changed[i].shard) = changed[i];
	return true;
}

/* What is told of a shard takes the place of all that was told of it before. */
static void
merge_reports(Beat *beat, const Report *changed, size_t nchanged, const Report *gone, size_t ngone)
{
	Report	   *all = vt_alloc0(sizeof(Report) * (beat->nreports + nchanged + 1));
	size_t		n = 0;

	for (size_t i = 0; i < beat->nreports; i++)
		if (!is_among(changed, nchanged, &beat->reports[i]) && !is_among(gone, ngone, &beat->reports[i]))
			all[n++] = beat->reports[i];
	if (nchanged > 0)
		memcpy(all + n, changed, sizeof(Report) * nchanged);
	qsort(all, n + nchanged, sizeof(Report), report_compare);
	keep_reports(beat, all, n + nchanged);
}

/*
 * What the store has, in place of what it had, or what has changed; false:
 * malformed, and nothing is changed.
 */
static bool
take_reports(Pd *pd, Beat *beat, json_t *body)
{
	json_t	   *whole = json_object_get(body, "shards");
	size_t		n;
	size_t		ngone;
	Report	   *reports = read_reports(whole ? whole : json_object_get(body, "changed"), &n);
	Report	   *gone = read_gone(whole ? NULL : json_object_get(body, "gone"), &ngone);

	if (!reports || !gone)
	{
		free(reports);
		free(gone);
		return false;
	}
	for (size_t i = 0; i < n; i++)
	{
		const Report *before = report_in(beat, reports[i].shard);

		load_take_searches(pd, before, &reports[i]);
		verify_note(pd, before, &reports[i]);
		beat->searched |= reports[i].searches > 0;
		if (reports[i].leader)
			load_take(pd, beat->store, &reports[i]);
		else
			load_left(pd, beat->store, reports[i].shard, reports[i].replica);
	}
	for (size_t i = 0; i < ngone; i++)
		load_left(pd, beat->store, gone[i].shard, 0);
	for (size_t i = 0; whole && i < beat->nreports; i++)
		if (beat->reports[i].leader && !is_among(reports, n, &beat->reports[i]))
			load_left(pd, beat->store, beat->reports[i].shard, beat->reports[i].replica);
	splits_take(beat, body, gone, ngone);
	if (whole)
		keep_reports(beat, reports, n);
	else
	{
		if (ngone > 0 || !replace_reports(beat, reports, n))
			merge_reports(beat, reports, n, gone, ngone);
		free(reports);
	}
	free(gone);
	splits_wake(pd, beat);
	beat->quiet = false;
	beat->learned_at = UINT64_MAX;
	beat->digest = 0;
	get_u64(body, "digest", &beat->digest);
	take_damaged(beat, body);
	return true;
}

static Beat *
beat_new(Pd *pd, uint64_t store)
{
	size_t		place = beat_place(pd, store);
	Beat	   *beat = vt_alloc0(sizeof(Beat));

	pd->beats = vt_realloc(pd->beats, sizeof(Beat *) * (pd->nbeats + 1));
	memmove(pd->beats + place + 1, pd->beats + place, sizeof(Beat *) * (pd->nbeats - place));
	pd->beats[place] = beat;
	pd->nbeats++;
	idmap_put(&pd->beat_at, store, (uint64_t) (uintptr_t) beat);
	beat->store = store;
	return beat;
}

Beat *
beat_take(Pd *pd, uint64_t store, json_t *body)
{
	const char *version = json_string_value(json_object_get(body, "version"));
	Beat	   *beat = beat_of(pd, store);
	Beat		fresh = {.store = store};

	if (!beat)
	{
		if (!take_reports(pd, &fresh, body))
			return NULL;
		beat = beat_new(pd, store);
		*beat = fresh;
	}
	else if (is_news(beat, body) && !take_reports(pd, beat, body))
		return NULL;
	if (pd->now_us - beat->at_us >= SUSPECT_AFTER_US)
		beat->steady_us = pd->now_us;
	beat->at_us = pd->now_us;
	store_spoke(pd, store);
	beat->challenged = false;
	beat->disk_free = beat->memory = 0;
	get_u64(body, "disk_free", &beat->disk_free);
	get_u64(body, "memory", &beat->memory);
	beat->disk_short = json_is_true(json_object_get(body, "disk_short"));
	beat->prepares = json_is_true(json_object_get(body, "prepares"));
	beat->level_low = level_said(body, "level_low");
	beat->level_high = level_said(body, "level_high");
	snprintf(beat->version, sizeof(beat->version), "%s", version ? version : "");
	return beat;
}

static int
missing_compare(const void *a, const void *b)
{
	uint64_t	x = ((const Missing *) a)->shard;
	uint64_t	y = ((const Missing *) b)->shard;

	return x < y ? -1 : x > y;
}

Missing *
missing_of(Beat *beat, uint64_t shard)
{
	Missing		key = {.shard = shard};

	return beat && beat->nmissing ?
		bsearch(&key, beat->missing, beat->nmissing, sizeof(Missing), missing_compare) : NULL;
}

/* What the heartbeat did not mention; of what it did not mention before, since then. */
void
beat_take_missing(Pd *pd, Beat *beat)
{
	Missing    *now = NULL;
	size_t		n = 0;
	size_t		nhomes;
	const ShardPlace *homes = shards_of_store(pd, beat->store, &nhomes);

	for (size_t i = 0; i < nhomes; i++)
	{
		const CatalogCollection *c = pd->catalog->collections[homes[i].collection];
		uint64_t	shard = c->shards[homes[i].place].desc.shard;
		Missing    *before;

		if (c->state != COLLECTION_LIVE || report_in(beat, shard))
			continue;
		before = missing_of(beat, shard);
		now = vt_realloc(now, sizeof(Missing) * (n + 1));
		now[n++] = (Missing) {shard, before ? before->since_us : pd->now_us};
	}
	if (n > 0)
		qsort(now, n, sizeof(Missing), missing_compare);
	free(beat->missing);
	beat->missing = now;
	beat->nmissing = n;
}

Report *
report_in(Beat *beat, uint64_t shard)
{
	Report		key = {.shard = shard};

	return beat && beat->nreports ?
		bsearch(&key, beat->reports, beat->nreports, sizeof(Report), report_compare) : NULL;
}
