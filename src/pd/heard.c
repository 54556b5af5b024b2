/*-------------------------------------------------------------------------
 *
 * heard.c
 *	  What heartbeats say: who is alive, which replicas there are, who leads.
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

#define RATE_US 30e6
#define RATE_HOLDS_US 5e6		/* who is written to is heard oftener */
#define RATE_LEAST_US 200e3

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
	size_t		place = beat_place(pd, store);

	return place < pd->nbeats && pd->beats[place]->store == store ? pd->beats[place] : NULL;
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
	idmap_free(&pd->load_at);
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
	return true;
}

const char *const report_figures[REPORT_FIGURES] = {
	"ef_95", "ef_99", "passes", "exact_passes", "distances", "hot_distances", "refined", "hops", "asked",
	"walk_us", "hot_us", "refine_us", "exact_us", "filter_us"
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
	if (!get_u64(body, "shard", &out->shard) || !get_u64(body, "replica", &out->replica) ||
		!get_u64(body, "term", &out->term) ||
		!get_u64(body, "applied", &out->applied) || !get_u64(body, "records", &out->records) ||
		!get_u64(body, "unindexed", &out->unindexed) || !get_u64(body, "bytes", &out->bytes))
		return false;
	for (i = 0; i < REPORT_FIGURES; i++)
		if (json_object_get(body, report_figures[i]) && !get_u64(body, report_figures[i], &out->figures[i]))
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

/*
 * What a shard carries is remembered from its leaders, whoever they are and also
 * while none is heard: else it would seem to be gone whenever one is.  How fast it
 * is written to: what its leader has applied since a leader of it reported last,
 * over the time, smoothed over RATE_US.  What a replica applies that catches up is
 * no measure of it.
 */
static void
take_load(Pd *pd, const Report *leader)
{
	ShardLoad  *load;
	uint64_t	at;
	double		passed;

	if (!idmap_get(&pd->load_at, leader->shard, &at))
	{
		at = pd->load_at.n;
		if ((at & (at - 1)) == 0)
			pd->loads = vt_realloc(pd->loads, sizeof(ShardLoad) * (at ? at * 2 : 1));
		pd->loads[at] = (ShardLoad) {.bytes = leader->bytes, .at_us = pd->now_us, .applied = leader->applied};
		idmap_put(&pd->load_at, leader->shard, at);
		return;
	}
	load = &pd->loads[at];
	load->bytes = leader->bytes;
	passed = (double) (pd->now_us - load->at_us);
	if (passed < RATE_LEAST_US || leader->applied < load->applied)
		return;
	load->rate = (load->rate * RATE_US + (double) (leader->applied - load->applied) * 1e6) / (RATE_US + passed);
	load->at_us = pd->now_us;
	load->applied = leader->applied;
}

/* Forget what shards carried that are gone. */
void
loads_prune(Pd *pd)
{
	IdMap		left = {0};
	ShardLoad  *loads;

	if (pd->load_at.n <= 2 * catalog_nshards(pd->catalog) + 1000)
		return;
	loads = vt_alloc(sizeof(ShardLoad) * pd->load_at.n * 2);	/* take_load() doubles at powers of two */
	for (size_t i = 0; i < pd->catalog->ncollections; i++)
		for (uint32_t j = 0; j < pd->catalog->collections[i]->nshards; j++)
		{
			uint64_t	shard = pd->catalog->collections[i]->shards[j].desc.shard;
			uint64_t	at;

			if (!idmap_get(&pd->load_at, shard, &at))
				continue;
			loads[left.n] = pd->loads[at];
			idmap_put(&left, shard, left.n);
		}
	idmap_free(&pd->load_at);
	free(pd->loads);
	pd->load_at = left;
	pd->loads = loads;
}

double
shard_bytes(const Pd *pd, uint64_t shard)
{
	uint64_t	at;

	return idmap_get(&pd->load_at, shard, &at) ? (double) pd->loads[at].bytes : 0;
}

/*
 * Of one that nothing new is said of, less and less.  Not at once: what was heard
 * a moment ago must not seem to be more than what was heard some seconds ago, or
 * leaderships would go round after it.
 */
double
shard_rate(const Pd *pd, uint64_t shard)
{
	uint64_t	at;
	double		silent;

	if (!idmap_get(&pd->load_at, shard, &at))
		return 0;
	silent = (double) (pd->now_us - pd->loads[at].at_us) - RATE_HOLDS_US;
	return pd->loads[at].rate * RATE_US / (RATE_US + (silent > 0 ? silent : 0));
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
		if (reports[i].leader)
			take_load(pd, &reports[i]);
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
	beat->challenged = false;
	beat->disk_free = beat->memory = 0;
	get_u64(body, "disk_free", &beat->disk_free);
	get_u64(body, "memory", &beat->memory);
	beat->disk_short = json_is_true(json_object_get(body, "disk_short"));
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

static Missing *
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

/* -- Asking ---------------------------------------------------------------- */

Report *
report_in(Beat *beat, uint64_t shard)
{
	Report		key = {.shard = shard};

	return beat && beat->nreports ?
		bsearch(&key, beat->reports, beat->nreports, sizeof(Report), report_compare) : NULL;
}

Report *
report_of(Pd *pd, uint64_t store, uint64_t shard)
{
	return report_in(beat_of(pd, store), shard);
}

static bool
is_heard(Pd *pd, const Beat *beat)
{
	return beat && pd->now_us - beat->at_us < SUSPECT_AFTER_US;
}

bool
store_is_up(Pd *pd, uint64_t store)
{
	Beat	   *beat = beat_of(pd, store);

	return is_heard(pd, beat) && !beat->challenged;
}

/* When we last heard of it, or began to listen. */
static int64_t
heard_us(Pd *pd, const Beat *beat)
{
	return beat && beat->at_us > pd->led_since_us ? beat->at_us : pd->led_since_us;
}

/*
 * Does another directory live where this store did?  That is heard: one place has
 * one process, and this one has been silent while the other spoke.  Neither ids nor
 * registrations tell, which may be of a directory that is gone again.
 */
bool
store_is_superseded(Pd *pd, const CatalogStore *store)
{
	int64_t		silent_since = heard_us(pd, beat_of(pd, store->id));

	for (size_t i = 0; i < pd->nbeats; i++)
	{
		const Beat *beat = pd->beats[i];
		const CatalogStore *other;

		if (beat->store == store->id || !is_heard(pd, beat) || beat->at_us < silent_since + SUPERSEDED_AFTER_US)
			continue;
		other = catalog_store(pd->catalog, beat->store);
		if (other && strcmp(other->endpoint, store->endpoint) == 0)
			return true;
	}
	return false;
}

Health
store_health(Pd *pd, const CatalogStore *store)
{
	Beat	   *beat = beat_of(pd, store->id);
	Health		health = plan_health(pd->now_us - heard_us(pd, beat), SUSPECT_AFTER_US, pd->options.down_after_us);

	if (health == HEALTH_UP && (!beat || beat->challenged))
		health = HEALTH_SUSPECT;	/* we have only just begun to listen, or another has come to its place */
	/* An empty disk is a new store: what the old one had is gone with it. */
	return health == HEALTH_SUSPECT && store_is_superseded(pd, store) ? HEALTH_DOWN : health;
}

bool
replica_is_damaged(Pd *pd, uint64_t store, uint64_t shard)
{
	Beat	   *beat = beat_of(pd, store);

	for (size_t i = 0; beat && i < beat->ndamaged; i++)
		if (beat->damaged[i].shard == shard)
			return true;
	return false;
}

/*
 * A replica is as healthy as its store; but one that the store says is damaged is
 * lost, and so is one that a store which is up has for long not mentioned.
 */
Health
replica_health(Pd *pd, uint64_t store, uint64_t shard, uint64_t replica, bool seen)
{
	CatalogStore *home = catalog_store(pd->catalog, store);
	Health		health = home ? store_health(pd, home) : HEALTH_DOWN;
	Beat	   *beat = beat_of(pd, store);
	Report	   *report = report_in(beat, shard);
	Missing    *missing = missing_of(beat, shard);

	if (health != HEALTH_UP || (report && report->replica == replica))
		return health;
	if (replica_is_damaged(pd, store, shard))
		return HEALTH_DOWN;		/* no waiting: it will not come back */
	return seen && missing && pd->now_us - missing->since_us >= pd->options.down_after_us ?
		HEALTH_DOWN : HEALTH_SUSPECT;
}

Report *
leader_of(Pd *pd, const CatalogShard *shard, uint64_t *store)
{
	Report	   *best = NULL;

	*store = 0;
	for (int i = 0; i < shard->desc.nreplicas; i++)
	{
		uint64_t	at = shard->desc.replicas[i].store;
		Beat	   *beat = beat_of(pd, at);
		Report	   *report = is_heard(pd, beat) ? report_in(beat, shard->desc.shard) : NULL;

		if (report && report->leader && report->replica == shard->desc.replicas[i].replica &&
			(!best || report->term > best->term))
		{
			best = report;
			*store = at;
		}
	}
	return best;
}
