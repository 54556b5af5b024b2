/*-------------------------------------------------------------------------
 *
 * window.c
 *	  What monitoring sees of a worker.
 *
 * healthz: the process lives and its loops turn; a supervisor may end it when it says
 * otherwise for long.  readyz: it can be sent work.  Both read atomics only (http.h).
 * A placement driver that is away makes nobody unhealthy: data goes on without.
 *
 *-------------------------------------------------------------------------
 */
#include "window.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "private.h"

#define STANDS_US (60 * INT64_C(1000000))	/* the house thread asks drivers, which may take half of that */

static Worker *
worker_of(void *arg)
{
	return atomic_load((Worker *_Atomic *) arg);
}

static int
healthz(void *arg, Buf *out)
{
	Worker	   *worker = worker_of(arg);
	const char *stalled = worker ? replica_host_stalled(worker->host) : NULL;

	if (!worker)
		return http_say(out, 200, "ok, opening shards");
	if (stalled)
		return http_say(out, 503, stalled);
	if (clock_now_us() - atomic_load(&worker->stats.turned_us) > STANDS_US)
		return http_say(out, 503, "the housekeeping thread stands still");
	return http_say(out, 200, "ok");
}

static int
readyz(void *arg, Buf *out)
{
	Worker	   *worker = worker_of(arg);

	if (!worker)
		return http_say(out, 503, "opening shards");
	if (!atomic_load(&worker->stats.registered))
		return http_say(out, 503, "not registered: no placement driver has answered yet");
	return http_say(out, 200, "ok");
}

/* -- Metrics ----------------------------------------------------------------- */

typedef enum ShardState
{
	SHARD_LEADING,
	SHARD_FOLLOWING,
	SHARD_LEARNING,				/* no vote */
	SHARD_LOADING,				/* a snapshot is being put in its place */
	SHARD_LEADERLESS,			/* looks for its leader, or has begun to lead and not yet gone on */
	SHARD_GONE,					/* no member any more, or about to be closed */
	SHARD_DAMAGED,
	SHARD_STATES
} ShardState;

static const char *const shard_states[SHARD_STATES] = {
	"leading", "following", "learning", "loading", "leaderless", "leaving", "damaged"
};

typedef struct Totals
{
	uint64_t	shards[SHARD_STATES];
	uint64_t	records;
	uint64_t	unindexed;
	uint64_t	terms;
	uint64_t	lag;			/* entries of logs that are not applied here */
	uint64_t	worst_lag;
	uint64_t	peer_lag;		/* the furthest that a live member of a group led here is behind */
	uint64_t	peer_apply_lag;	/* the same of what it has applied, as it told */
	uint64_t	held_back;		/* shards whose writers are, since most copies lag */
	uint64_t	dead;			/* slots of graphs */
	uint64_t	repaired;
	uint64_t	moved;
	uint64_t	link_distances;
	uint64_t	told;			/* linked by what leaders had found */
	HintsFigures hints;
	uint64_t	stats[RECORD_STATS];
} Totals;

static bool
is_voter(const Shard *s, const ReplicaMembers *members)
{
	for (uint32_t i = 0; i < members->n; i++)
		if (members->members[i].member.id == s->replica_id)
			return (members->members[i].member.roles & (RAFT_VOTER | RAFT_VOTER_OLD)) != 0;
	return false;
}

static ShardState
state_of(const Shard *s, const ReplicaStatus *replica, const ReplicaMembers *members)
{
	if (replica->gone || atomic_load(&s->leaving))
		return SHARD_GONE;
	if (atomic_load(&s->installing))
		return SHARD_LOADING;
	if (replica->leader ? !replica->serving : replica->leader_replica == 0)
		return SHARD_LEADERLESS;
	return replica->leader ? SHARD_LEADING : is_voter(s, members) ? SHARD_FOLLOWING : SHARD_LEARNING;
}

/* With worker->lock held. */
static void
add_shard(Totals *t, Shard *s)
{
	ShardFigures figures = shard_figures(s);
	ReplicaStatus replica;
	ReplicaMembers members;
	uint64_t	lag;

	replica_status(s->replica, &replica);
	replica_members(s->replica, &members);
	lag = replica.last > replica.applied ? replica.last - replica.applied : 0;
	t->shards[state_of(s, &replica, &members)]++;
	t->records += figures.records;
	t->unindexed += figures.waiting;
	t->terms += replica.term;
	t->lag += lag;
	t->worst_lag = lag > t->worst_lag ? lag : t->worst_lag;
	t->held_back += replica_lags(s->replica);
	for (uint32_t i = 0; replica.serving && i < members.n; i++)
	{
		const ReplicaMember *m = &members.members[i];
		uint64_t	behind = m->active && m->match < replica.applied ? replica.applied - m->match : 0;

		t->peer_lag = behind > t->peer_lag ? behind : t->peer_lag;
		behind = m->active && m->applied != 0 && m->applied < replica.applied ? replica.applied - m->applied : 0;
		t->peer_apply_lag = behind > t->peer_apply_lag ? behind : t->peer_apply_lag;
	}
	if (shard_hold(s))
	{
		HnswStats	graph;
		HintsFigures hints;

		hnsw_stats(records_graph(s->records), &graph);
		t->dead += graph.dead;
		t->repaired += graph.repaired;
		t->moved += graph.moved;
		t->link_distances += graph.link_distances;
		t->told += graph.found;
		hints_figures(s->hints, &hints);
		t->hints.bytes += hints.bytes;
		t->hints.refused += hints.refused;
		t->hints.vain += hints.vain;
		for (int i = 0; i < RECORD_STATS; i++)
			t->stats[i] += records_stat(s->records, (RecordStat) i);
		shard_release(s);
	}
}

/* Names that end in _us are of times. */
static void
put_search_stat(Buf *out, const char *stat, uint64_t value)
{
	size_t		len = strlen(stat);
	char		name[80];

	if (strcmp(stat + len - 3, "_us") == 0)
	{
		snprintf(name, sizeof(name), "vectron_worker_search_%.*s_seconds", (int) len - 3, stat);
		metrics_seconds(out, name, "Time that searches took for this since their shards were opened (docs/sql.md, stat_search).", (int64_t) value);
	}
	else
	{
		snprintf(name, sizeof(name), "vectron_worker_search_%s", stat);
		metrics_gauge(out, name, "What searches did since their shards were opened (docs/sql.md, stat_search).", value);
	}
}

static void
put_shards(Worker *worker, Buf *out)
{
	Totals		t = {0};

	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s; s = s->next)
		add_shard(&t, s);
	for (Shard *s = worker->leaving; s; s = s->next)
		t.shards[SHARD_GONE]++;
	for (const Broken *b = worker->broken; b; b = b->next)
		t.shards[SHARD_DAMAGED]++;
	pthread_mutex_unlock(&worker->lock);
	metrics_family(out, "vectron_worker_shards", "gauge", "Replicas of shards that are here, by what they do.");
	for (int i = 0; i < SHARD_STATES; i++)
	{
		char		label[40];

		snprintf(label, sizeof(label), "state=\"%s\"", shard_states[i]);
		metrics_put(out, "vectron_worker_shards", label, t.shards[i]);
	}
	metrics_gauge(out, "vectron_worker_records", "Records in memory.", t.records);
	metrics_gauge(out, "vectron_worker_unindexed_records", "Of these, not in a graph yet: searches compare them one by one.", t.unindexed);
	metrics_gauge(out, "vectron_worker_graph_deleted", "Places of deleted records in graphs that cannot be used again yet.", t.dead);
	metrics_gauge(out, "vectron_worker_graph_repairs", "Nodes given other links since their shard was opened.", t.repaired);
	metrics_gauge(out, "vectron_worker_graph_moves", "Records moved to give memory back since their shard was opened.", t.moved);
	metrics_gauge(out, "vectron_worker_graph_link_distances", "Vectors compared to link new ones since their shard was opened.", t.link_distances);
	metrics_gauge(out, "vectron_worker_graph_told", "Vectors linked as their shard's leader had linked them, since it was opened.", t.told);
	metrics_gauge(out, "vectron_worker_hints_bytes", "Memory of what leaders have said of links and is not used yet.", t.hints.bytes);
	metrics_gauge(out, "vectron_worker_hints_refused", "Of this, what there was no room for.", t.hints.refused);
	metrics_gauge(out, "vectron_worker_hints_missed", "Times that a vector waited for it in vain.", t.hints.vain);
	for (int i = 0; i < RECORD_STATS; i++)
		put_search_stat(out, record_stat_names[i], t.stats[i]);
	metrics_gauge(out, "vectron_worker_raft_terms", "Sum of the terms of all groups here: it rises with each election.", t.terms);
	metrics_gauge(out, "vectron_worker_apply_lag_entries", "Log entries here that are not applied, of all groups.", t.lag);
	metrics_gauge(out, "vectron_worker_apply_lag_max_entries", "The same of the group with the most.", t.worst_lag);
	metrics_gauge(out, "vectron_worker_peer_lag_max_entries", "The most entries that a live member of a group led here is behind.", t.peer_lag);
	metrics_gauge(out, "vectron_worker_peer_apply_lag_max_entries", "The most entries that one has not applied which are applied here.", t.peer_apply_lag);
	metrics_gauge(out, "vectron_worker_shards_held_back", "Shards led here whose writes are refused, since most copies have too much to apply.", t.held_back);
	metrics_counter(out, "vectron_worker_writes_held_back_total", "Writes refused for that.", atomic_load(&worker->stats.held_back));
}

/* VT_NOT_LEADER: not_leader */
static const char *
status_name(int status, char *out, size_t size)
{
	static const char *const names[] = {
#define X(name, number, words) [number] = #name,
		VT_STATUS_LIST(X)
#undef X
	};
	size_t		n = 0;

	for (const char *p = names[status] + 3; *p && n + 1 < size; p++)
		out[n++] = (char) tolower((unsigned char) *p);
	out[n] = '\0';
	return out;
}

static void
put_requests(Worker *worker, Buf *out)
{
	static const char *const kinds[REPLY_KINDS] = {"write", "search", "list", "read", "other"};
	PoolFigures pool = pool_figures(worker);

	metrics_family(out, "vectron_worker_replies_total", "counter", "Answers to gateways, by what was asked and how it went.");
	for (int kind = 0; kind < REPLY_KINDS; kind++)
		for (int status = 0; status < REPLY_STATUSES; status++)
		{
			uint64_t	n = atomic_load_explicit(&worker->stats.replies[kind][status], memory_order_relaxed);
			char		name[32];
			char		labels[96];

			if (n == 0 && status != VT_OK)
				continue;
			snprintf(labels, sizeof(labels), "op=\"%s\",status=\"%s\"", kinds[kind], status_name(status, name, sizeof(name)));
			metrics_put(out, "vectron_worker_replies_total", labels, n);
		}
	metrics_histogram(out, "vectron_worker_write_seconds", "Writes that went well, from their coming to the answer.", &worker->stats.writes);
	metrics_histogram(out, "vectron_worker_search_seconds", "Searches that went well, a page each, from their coming to the answer.", &worker->stats.searches);
	metrics_family(out, "vectron_worker_queue_requests", "gauge", "Requests that wait for a thread.");
	metrics_put(out, "vectron_worker_queue_requests", "queue=\"searches\"", pool.waiting);
	metrics_put(out, "vectron_worker_queue_requests", "queue=\"short\"", pool.at_door);
	metrics_gauge(out, "vectron_worker_searches_running", "Searches and listings under way.", pool.searching);
	metrics_gauge(out, "vectron_worker_search_threads", "As many may be at once.", worker->npool - 1);
	metrics_seconds(out, "vectron_worker_search_service_seconds", "Time of a thread that a search takes, smoothed.", pool.service_us);
	metrics_counter(out, "vectron_worker_requests_expired_total", "Requests whose time was over before a thread was free.", pool.expired);
	metrics_counter(out, "vectron_worker_requests_refused_total", "Requests turned away since they would have waited for too long, or queues were full.", pool.turned_away);
}

static void
put_process(Worker *worker, Buf *out)
{
	int64_t		beat_us = atomic_load(&worker->stats.beat_us);

	metrics_family(out, "vectron_build_info", "gauge", "Release of this process.");
	metrics_put(out, "vectron_build_info", "program=\"vectron-worker\",version=\"" WORKER_VERSION "\"", 1);
	metrics_gauge(out, "vectron_worker_store", "Number of this worker; 0 = it has none yet.", atomic_load(&worker->stats.registered) ? worker->store_id : 0);
	metrics_gauge(out, "vectron_worker_ready", "1: as readyz says.", atomic_load(&worker->stats.registered));
	metrics_seconds(out, "vectron_worker_uptime_seconds", "Since it began to open its shards.", clock_now_us() - worker->started_us);
	metrics_seconds(out, "vectron_worker_heartbeat_age_seconds", "Since a placement driver answered last; since the start if none did.",
					clock_now_us() - (beat_us ? beat_us : worker->started_us));
	metrics_family(out, "vectron_worker_memory_bytes", "gauge", "What memory_limit counts, by what it goes for.");
	for (int kind = 0; kind < MEMORY_KINDS; kind++)
	{
		char		label[40];

		snprintf(label, sizeof(label), "kind=\"%s\"", memory_names[kind]);
		metrics_put(out, "vectron_worker_memory_bytes", label, atomic_load(&worker->memory_of[kind]));
	}
	metrics_gauge(out, "vectron_worker_memory_limit_bytes", "memory_limit; 0 = none.", worker->options.memory_limit);
	metrics_gauge(out, "vectron_worker_disk_free_bytes", "Free where the data lies.", atomic_load(&worker->stats.disk_free));
	metrics_gauge(out, "vectron_worker_disk_reserve_bytes", "With less than that free new data is refused.", worker->options.disk_reserve);
	metrics_gauge(out, "vectron_worker_full", "1: new data is refused for want of disk or memory.",
				  atomic_load(&worker->disk_low) || atomic_load(&worker->room) == MEMORY_FULL);
	metrics_counter(out, "vectron_worker_foreign_frames_total", "Frames of peers that spoke for another store.", atomic_load(&worker->foreign));
	if (worker->options.tls)
		metrics_gauge(out, "vectron_certificate_expiry_timestamp_seconds", "Until when its certificate is in force, in seconds since 1970.", (uint64_t) net_tls_until(worker->options.tls));
}

static int
metrics(void *arg, Buf *out)
{
	Worker	   *worker = worker_of(arg);

	if (worker)
	{
		put_process(worker, out);
		put_requests(worker, out);
		put_shards(worker, out);
		replica_host_metrics(worker->host, out);
		replica_links_metrics(worker->links, out);
	}
	net_metrics(out);
	metrics_process(out);
	return 200;
}

/* What vectronctl --endpoint ... status asks. */
static int
status(void *arg, Buf *out)
{
	Worker	   *worker = worker_of(arg);
	char	   *text;

	if (!worker)
		return http_say(out, 503, "opening shards");
	text = status_answer_json(worker, bytes_str("{\"op\":\"status\"}"));
	buf_put(out, text, strlen(text));
	buf_put(out, "\n", 1);
	free(text);
	return 200;
}

const HttpPage worker_pages[WORKER_PAGES] = {
	{"/healthz", HTTP_TEXT, true, healthz},
	{"/readyz", HTTP_TEXT, true, readyz},
	{"/metrics", HTTP_METRICS, false, metrics},
	{"/status", HTTP_JSON, false, status},
};
