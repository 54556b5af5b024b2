/*-------------------------------------------------------------------------
 *
 * window.c
 *	  What monitoring sees of a placement driver.
 *
 * On the reporter's thread of http.h, under the catalog's lock: the service thread
 * either waits for the log meanwhile, or for us, which is never long.  healthz and readyz read atomics only.
 * What only a leader knows is told by the leader only, so that sums over all drivers
 * are right.
 *
 *-------------------------------------------------------------------------
 */
#include "window.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "service.h"

#define SHARDS_A_TURN 1000		/* that are looked at while the service thread waits */
#define PAUSE_NS 100000			/* in which it takes its turn */
#define STANDS_US (30 * INT64_C(1000000))	/* a round begins every second at least, but for waits on the log */

static Pd *
pd_of(void *arg)
{
	return atomic_load((Pd *_Atomic *) arg);
}

static int
healthz(void *arg, Buf *out)
{
	Pd		   *pd = pd_of(arg);
	const char *stalled = pd ? replica_host_stalled(pd->host) : NULL;

	if (!pd)
		return http_say(out, 200, "ok, starting");
	if (stalled)
		return http_say(out, 503, stalled);
	if (clock_now_us() - atomic_load(&pd->turned_us) > STANDS_US)
		return http_say(out, 503, "the service thread stands still");
	return http_say(out, 200, "ok");
}

static int
readyz(void *arg, Buf *out)
{
	Pd		   *pd = pd_of(arg);
	Replica    *replica = pd ? atomic_load(&pd->replica) : NULL;
	ReplicaStatus status;

	if (!pd)
		return http_say(out, 503, "starting");
	if (!replica)
		return http_say(out, 503, "it is not one of the cluster's placement drivers yet");
	replica_status(replica, &status);
	if (status.leader_replica == 0)
		return http_say(out, 503, "it knows no leader");
	return http_say(out, 200, status.leader ? "ok, leads" : "ok, follows");
}

/* -- Metrics ----------------------------------------------------------------- */

static void
put_by(Buf *out, const char *name, const char *key, const char *value, uint64_t n)
{
	char		labels[96];

	snprintf(labels, sizeof(labels), "%s=\"%s\"", key, value);
	metrics_put(out, name, labels, n);
}

static void
put_self(Pd *pd, Buf *out)
{
	Replica    *replica = atomic_load(&pd->replica);
	ReplicaStatus status = {0};
	size_t		waiting;
	size_t		bytes;
	size_t		parked = 0;
	uint64_t	refused;

	if (replica)
		replica_status(replica, &status);
	pthread_mutex_lock(&pd->lock);
	waiting = questions_count(&pd->questions);
	bytes = questions_bytes(&pd->questions);
	refused = pd->turned_away;
	pthread_mutex_unlock(&pd->lock);
	for (const Question *q = pd->parked; q; q = q->next)
		parked++;
	metrics_family(out, "vectron_build_info", "gauge", "Release of this process.");
	metrics_put(out, "vectron_build_info", "program=\"vectron-pd\",version=\"" PD_VERSION "\"", 1);
	metrics_gauge(out, "vectron_pd_id", "Number of this placement driver.", pd->id);
	metrics_gauge(out, "vectron_pd_leads", "1: this one leads.", pd->leads);
	metrics_gauge(out, "vectron_pd_leader_known", "1: it leads or knows who does, as readyz says.", status.leader_replica != 0);
	metrics_gauge(out, "vectron_pd_term", "Term of the drivers' group: it rises with each election.", status.term);
	metrics_gauge(out, "vectron_pd_applied", "Entries of the drivers' log that it has applied.", status.applied);
	metrics_gauge(out, "vectron_pd_level", "Feature level that the cluster works at.", catalog_level(pd->catalog));
	metrics_seconds(out, "vectron_pd_uptime_seconds", "Since it was started.", clock_now_us() - pd->started_us);
	metrics_counter(out, "vectron_pd_questions_total", "Questions taken.", pd->answered);
	metrics_counter(out, "vectron_pd_questions_refused_total", "Questions refused since too many waited.", refused);
	metrics_family(out, "vectron_pd_queue_questions", "gauge", "Questions that wait: new ones, and those that wait for something to happen.");
	put_by(out, "vectron_pd_queue_questions", "queue", "new", waiting);
	put_by(out, "vectron_pd_queue_questions", "queue", "parked", parked);
	metrics_gauge(out, "vectron_pd_queue_bytes", "Bytes of the new ones.", bytes);
	metrics_counter(out, "vectron_pd_foreign_frames_total", "Raft frames of placement drivers that spoke for another one.", atomic_load(&pd->foreign));
	metrics_family(out, "vectron_pd_operators_ended_total", "counter", "Changes of shards that ended while this driver led, by kind and result.");
	for (int kind = PLAN_NONE + 1; kind < PLAN_KINDS; kind++)
		for (int how = 0; how < ENDINGS; how++)
		{
			char		labels[96];

			snprintf(labels, sizeof(labels), "kind=\"%s\",result=\"%s\"", operator_name((PlanKind) kind), ending_names[how]);
			metrics_put(out, "vectron_pd_operators_ended_total", labels, pd->ended[kind][how]);
		}
	if (pd->options.tls)
		metrics_gauge(out, "vectron_certificate_expiry_timestamp_seconds", "Until when its certificate is in force, in seconds since 1970.", (uint64_t) net_tls_until(pd->options.tls));
}

static void
put_stores(Pd *pd, Buf *out)
{
	static const char *const states[] = {"up", "draining", "suspect", "down"};
	int64_t		oldest_us = 0;

	metrics_family(out, "vectron_pd_stores", "gauge", "Workers by state; suspect are silent, or have not told yet what they have, down so long that their replicas are made anew, tombstones were forgotten.");
	for (int i = 0; i < 4; i++)
	{
		uint64_t	n = 0;

		for (size_t j = 0; j < pd->catalog->nstores; j++)
			n += strcmp(store_state(pd, pd->catalog->stores[j]), states[i]) == 0;
		put_by(out, "vectron_pd_stores", "state", states[i], n);
	}
	put_by(out, "vectron_pd_stores", "state", "tombstone", pd->catalog->ngone);
	metrics_gauge(out, "vectron_pd_stores_untold", "Workers that speak and have not told this driver yet what they have.", untold_count(pd));
	for (size_t i = 0; i < pd->catalog->nstores; i++)
	{
		const Beat *beat = beat_of(pd, pd->catalog->stores[i]->id);

		if (beat && pd->now_us - beat->at_us > oldest_us)
			oldest_us = pd->now_us - beat->at_us;
	}
	metrics_seconds(out, "vectron_pd_heartbeat_age_max_seconds", "Since the worker spoke that has been silent the longest.", oldest_us);
}

/* -- Collections -------------------------------------------------------------- */

static const char *const collection_states[] = {"live", "creating", "hidden", "doomed"};

/* What is found by looking at all collections, one after the other. */
typedef struct Risks
{
	size_t		next;			/* collection */
	uint64_t	states[4];		/* collections */
	uint64_t	shards;
	uint64_t	lost;
	uint64_t	thin;
	uint64_t	headless;
} Risks;

static void
add_risks(Pd *pd, Risks *risks, const CatalogCollection *c)
{
	for (int j = 0; j < 4; j++)
		risks->states[j] += strcmp(collection_state(c), collection_states[j]) == 0;
	for (uint32_t j = 0; c->state == COLLECTION_LIVE && j < c->nshards; j++)
	{
		uint32_t	voters = 0;
		uint32_t	up = voters_up(pd, &c->shards[j]);
		uint64_t	leads;
		bool		lost;

		for (int k = 0; k < c->shards[j].desc.nreplicas; k++)
			voters += c->shards[j].desc.replicas[k].role == ROLE_VOTER;
		risks->shards++;
		lost = up < voters / 2 + 1 || remains_stand_still(pd, &c->shards[j]);
		risks->lost += lost;
		risks->thin += !lost && up < replicas_asked(pd, c);
		risks->headless += !lost && !leader_of(pd, &c->shards[j], &leads);
	}
}

/* Some of them; false: that was all. */
static bool
look_on(Pd *pd, Risks *risks)
{
	uint64_t	enough = risks->shards + SHARDS_A_TURN;

	while (risks->next < pd->catalog->ncollections && risks->shards < enough)
		add_risks(pd, risks, pd->catalog->collections[risks->next++]);
	return risks->next < pd->catalog->ncollections;
}

/*
 * The service thread goes on between two turns, so that it never waits for long, and
 * what is created or dropped meanwhile may be counted or not.
 */
static void
look_at_risks(Pd *pd, Risks *risks)
{
	const struct timespec pause = {0, PAUSE_NS};
	bool		more = true;

	while (more)
	{
		pthread_mutex_lock(&pd->catalog->lock);
		more = look_on(pd, risks);
		pthread_mutex_unlock(&pd->catalog->lock);
		if (more)
			nanosleep(&pause, NULL);
	}
}

static void
put_risks(Buf *out, const Risks *risks)
{
	metrics_family(out, "vectron_pd_collections", "gauge", "Collections, which are the indexes of all servers, by state.");
	for (int j = 0; j < 4; j++)
		put_by(out, "vectron_pd_collections", "state", collection_states[j], risks->states[j]);
	metrics_gauge(out, "vectron_pd_shards", "Shards of live collections.", risks->shards);
	metrics_family(out, "vectron_pd_shards_at_risk", "gauge", "Of these, such as vectronctl check tells of: without a majority (also of those that are to vote), with fewer replicas than wanted, without a leader.");
	put_by(out, "vectron_pd_shards_at_risk", "why", "majority_lost", risks->lost);
	put_by(out, "vectron_pd_shards_at_risk", "why", "under_replicated", risks->thin);
	put_by(out, "vectron_pd_shards_at_risk", "why", "no_leader", risks->headless);
}

/* -- The leader's --------------------------------------------------------------- */

static void
put_operators(Pd *pd, Buf *out)
{
	uint64_t	n[PLAN_KINDS] = {0};

	for (size_t i = 0; i < pd->noperators; i++)
		n[pd->operators[i].plan.kind]++;
	metrics_family(out, "vectron_pd_operators", "gauge", "Changes of shards under way, by kind.");
	for (int kind = PLAN_NONE + 1; kind < PLAN_KINDS; kind++)
		put_by(out, "vectron_pd_operators", "kind", operator_name((PlanKind) kind), n[kind]);
	metrics_gauge(out, "vectron_pd_handovers", "Leaderships that are being handed over.", pd->nhandovers);
	metrics_gauge(out, "vectron_pd_braked", "1: so much is silent that nothing is repaired for now.", pd->now_us < pd->braked_until_us);
}

void
window_put_cluster(Pd *pd, Buf *out)
{
	Risks		risks = {0};

	look_at_risks(pd, &risks);
	pthread_mutex_lock(&pd->catalog->lock);
	put_stores(pd, out);
	put_risks(out, &risks);
	put_operators(pd, out);
	pthread_mutex_unlock(&pd->catalog->lock);
}

static int
metrics(void *arg, Buf *out)
{
	Pd		   *pd = pd_of(arg);

	if (pd)
	{
		bool		leads;

		pthread_mutex_lock(&pd->catalog->lock);
		put_self(pd, out);
		leads = pd->leads;
		pthread_mutex_unlock(&pd->catalog->lock);
		if (leads)
			window_put_cluster(pd, out);
		replica_host_metrics(pd->host, out);
		replica_links_metrics(pd->links, out);
	}
	net_metrics(out);
	metrics_process(out);
	return 200;
}

/* What vectronctl --endpoint ... status asks. */
static int
status(void *arg, Buf *out)
{
	Pd		   *pd = pd_of(arg);
	json_t	   *row;
	char	   *text;

	if (!pd)
		return http_say(out, 503, "starting");
	pthread_mutex_lock(&pd->catalog->lock);
	row = json_status(pd, true);
	pthread_mutex_unlock(&pd->catalog->lock);
	text = json_dumps(row, JSON_COMPACT);
	json_decref(row);
	buf_put(out, text, strlen(text));
	buf_put(out, "\n", 1);
	free(text);
	return 200;
}

const HttpPage pd_pages[PD_PAGES] = {
	{"/healthz", HTTP_TEXT, true, healthz},
	{"/readyz", HTTP_TEXT, true, readyz},
	{"/metrics", HTTP_METRICS, false, metrics},
	{"/status", HTTP_JSON, false, status},
};
