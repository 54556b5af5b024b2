/*-------------------------------------------------------------------------
 *
 * status.c
 *	  What a worker tells PD and whoever asks for its status.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/prng.h"
#include "private.h"
#include "status.h"
#include "tune.h"

json_t *
status_u64(uint64_t v)
{
	char		text[24];

	snprintf(text, sizeof(text), "%" PRIu64, v);
	return json_string(text);
}

json_t *
status_id(const VtId *id)
{
	char		hex[VT_ID_TEXT];

	vt_id_format(id, hex);
	return json_string(vt_id_is_zero(id) ? "" : hex);
}

static const char *
role_of(const Shard *shard, const ReplicaStatus *replica, const ReplicaMembers *members)
{
	if (replica->leader)
		return "leader";
	for (uint32_t i = 0; i < members->n; i++)
		if (members->members[i].member.id == shard->replica_id &&
			(members->members[i].member.roles & (RAFT_VOTER | RAFT_VOTER_OLD)))
			return "follower";
	return replica->gone ? "gone" : "learner";
}

/* As the leader sees them; old: it votes as well until the change under way is done. */
static json_t *
json_members(const ReplicaMembers *members)
{
	json_t	   *list = json_array();

	for (uint32_t i = 0; i < members->n; i++)
	{
		const ReplicaMember *m = &members->members[i];
		json_t	   *row = json_object();

		json_object_set_new(row, "replica", status_u64(m->member.id));
		json_object_set_new(row, "store", status_u64(m->member.node));
		json_object_set_new(row, "role", json_string(m->member.roles & RAFT_VOTER ? "voter" :
													 m->member.roles & RAFT_LEARNER ? "learner" : "leaving"));
		json_object_set_new(row, "match", status_u64(m->match));
		json_object_set_new(row, "applied", status_u64(m->applied));
		json_object_set_new(row, "active", json_boolean(m->active));
		if (m->member.roles & RAFT_VOTER_OLD)
			json_object_set_new(row, "old", json_true());
		json_array_append_new(list, row);
	}
	return list;
}

static bool
is_settled(const ReplicaStatus *replica)
{
	return replica->leader ? replica->serving : replica->current;
}

/* Nothing is said of a zero. */
static void
add_figure(json_t *row, const char *name, uint64_t figure)
{
	if (figure > 0)
		json_object_set_new(row, name, status_u64(figure));
}

/* What searches of it cost, and the ef that finds so much of the ten nearest (0: not known yet). */
static void
add_search_figures(json_t *row, Shard *shard)
{
	HnswStats	graph;

	if (!shard_hold(shard))
		return;
	add_figure(row, "ef_95", tune_ef(records_tune(shard->records), 10, 0.95));
	add_figure(row, "ef_99", tune_ef(records_tune(shard->records), 10, 0.99));
	for (int i = 0; i < RECORD_STATS; i++)
		add_figure(row, record_stat_names[i], records_stat(shard->records, (RecordStat) i));
	hnsw_stats(records_graph(shard->records), &graph);
	add_figure(row, "looks", graph.looks);
	add_figure(row, "unreachable", graph.unreachable);
	add_figure(row, "broken_links", graph.broken_links);
	shard_release(shard);
}

static json_t *
json_desc(const WireShardDesc *desc)
{
	static const char digits[] = "0123456789abcdef";
	Buf			bytes = {0};
	Buf			hex = {0};
	json_t	   *out;

	wire_desc_put(&bytes, desc);
	for (size_t i = 0; i < bytes.len; i++)
	{
		buf_put_u8(&hex, (uint8_t) digits[bytes.data[i] >> 4]);
		buf_put_u8(&hex, (uint8_t) digits[bytes.data[i] & 15]);
	}
	out = json_stringn((const char *) hex.data, hex.len);
	buf_free(&bytes);
	buf_free(&hex);
	return out;
}

/* Shards that were split off this one, and that PD has not settled yet. */
static void
add_owed(json_t *row, Shard *shard)
{
	json_t	   *list = NULL;
	ShardChild	child;

	for (size_t i = 0; shard_child(shard, i, &child); i++)
	{
		if (!child.owed)
			continue;
		if (!list)
			list = json_array();
		json_array_append_new(list, json_desc(&child.desc));
	}
	if (list)
		json_object_set_new(row, "owes", list);
}

static ShardVerified
verified_of(Shard *shard)
{
	ShardVerified verified;

	pthread_mutex_lock(&shard->verified_lock);
	verified = shard->verified;
	pthread_mutex_unlock(&shard->verified_lock);
	return verified;
}

static json_t *
json_rules(const ShardRules *rules)
{
	json_t	   *out = json_object();

	json_object_set_new(out, "version", json_integer(SHARD_RULES_VERSION));
	json_object_set_new(out, "fence", status_u64(rules->fence));
	json_object_set_new(out, "sessions", status_u64(rules->sessions));
	json_object_set_new(out, "interval", status_u64(rules->interval));
	json_object_set_new(out, "load", status_u64(rules->load));
	json_object_set_new(out, "properties", status_u64(rules->properties));
	return out;
}

/* What it held when replicas were compared last, if they were. */
static void
add_verified(json_t *row, Shard *shard)
{
	ShardVerified verified = verified_of(shard);
	json_t	   *out;

	if (verified.id == 0)
		return;
	out = json_object();
	json_object_set_new(out, "id", status_u64(verified.id));
	json_object_set_new(out, "index", status_u64(verified.index));
	json_object_set_new(out, "rows", status_u64(verified.rows));
	json_object_set_new(out, "digest", status_u64(verified.digest));
	json_object_set_new(out, "rules", json_rules(&verified.rules));
	json_object_set_new(out, "damaged", json_boolean(verified.damaged));
	json_object_set_new(out, "wall_us", json_integer(verified.wall_us));
	json_object_set_new(row, "verified", out);
}

static int
number_compare(const void *a, const void *b)
{
	uint64_t	x = *(const uint64_t *) a;
	uint64_t	y = *(const uint64_t *) b;

	return x < y ? -1 : x > y;
}

/* people: what a placement driver knows without being told.  only: of these, in order; NULL = of all */
static void
add_shards(json_t *list, Shard *first, bool leaving, bool people, const uint64_t *only, size_t n)
{
	for (Shard *s = first; s; s = s->next)
	{
		json_t	   *row;
		ShardFigures figures;
		ReplicaStatus replica;
		ReplicaMembers members;

		if (only && (n == 0 || !bsearch(&s->desc.shard, only, n, sizeof(uint64_t), number_compare)))
			continue;
		row = json_object();
		figures = shard_figures(s);
		replica_status(s->replica, &replica);
		replica_members(s->replica, &members);
		json_object_set_new(row, "shard", status_u64(s->desc.shard));
		json_object_set_new(row, "incarnation", status_u64(s->desc.incarnation));
		json_object_set_new(row, "replica", status_u64(s->replica_id));
		json_object_set_new(row, "term", status_u64(replica.term));
		json_object_set_new(row, "leader", json_boolean(replica.serving && !leaving));
		json_object_set_new(row, "leaving", json_boolean(leaving));
		json_object_set_new(row, "role", json_string(role_of(s, &replica, &members)));
		json_object_set_new(row, "settled", json_boolean(is_settled(&replica)));
		json_object_set_new(row, "conf_index", status_u64(members.conf_index));
		json_object_set_new(row, "joint", json_boolean(members.joint));
		if (replica.leader || replica.leader_replica == 0)
			json_object_set_new(row, "members", json_members(&members));
		json_object_set_new(row, "applied", status_u64(replica.applied));
		json_object_set_new(row, "last", status_u64(replica.last));
		json_object_set_new(row, "last_term", status_u64(replica.last_term));
		json_object_set_new(row, "fence", status_u64(atomic_load(&s->fence)));
		json_object_set_new(row, "records", status_u64(figures.records));
		json_object_set_new(row, "unindexed", status_u64(figures.waiting));
		json_object_set_new(row, "bytes", status_u64(figures.bytes));
		if (atomic_load(&s->ingesting))
			json_object_set_new(row, "ingesting", json_true());
		add_figure(row, "prepared", atomic_load(&s->prepared));
		if (people)
		{
			if (replica_lags(s->replica))
				json_object_set_new(row, "held_back", json_true());
			json_object_set_new(row, "generation", status_id(&s->desc.generation));
			json_object_set_new(row, "leader_replica", status_u64(replica.leader_replica));
		}
		add_owed(row, s);
		add_verified(row, s);
		if (!leaving)
			add_search_figures(row, s);
		json_array_append_new(list, row);
	}
}

json_t *
status_shards(Worker *worker, bool with_leaving)
{
	json_t	   *list = json_array();

	pthread_mutex_lock(&worker->lock);
	add_shards(list, worker->shards, false, !with_leaving, NULL, 0);
	if (with_leaving)
		add_shards(list, worker->leaving, true, false, NULL, 0);
	pthread_mutex_unlock(&worker->lock);
	return list;
}

static json_t *
json_searches(Worker *worker)
{
	PoolFigures figures = pool_figures(worker);
	json_t	   *row = json_object();

	json_object_set_new(row, "waiting", json_integer(figures.waiting));
	json_object_set_new(row, "under_way", json_integer(figures.searching));
	json_object_set_new(row, "service_us", json_integer(figures.service_us));
	json_object_set_new(row, "expired", status_u64(figures.expired));
	json_object_set_new(row, "turned_away", status_u64(figures.turned_away));
	json_object_set_new(row, "overran_us", json_integer(figures.overran_us));
	json_object_set_new(row, "forgotten", status_u64(figures.forgotten));
	return row;
}

static uint64_t
digest_shard(Shard *s, bool leaving, bool *settling)
{
	ShardFigures figures = shard_figures(s);
	ReplicaStatus replica;
	ReplicaMembers members;
	ShardChild	child;
	ShardVerified verified = verified_of(s);
	HnswStats	graph;
	uint64_t	digest;

	replica_status(s->replica, &replica);
	replica_members(s->replica, &members);
	*settling |= !is_settled(&replica);
	digest = prng_mix(s->desc.shard ^ s->replica_id << 32);
	digest = prng_mix(digest ^ replica.term << 8 ^ (uint64_t) (replica.leader | replica.serving << 1 |
															  replica.current << 2 | replica.gone << 3 |
															  leaving << 4 | members.joint << 5 |
															  (replica.leader_replica == 0) << 6));
	digest = prng_mix(digest ^ replica.applied);
	digest = prng_mix(digest ^ replica.last ^ replica.last_term << 40);
	digest = prng_mix(digest ^ s->desc.incarnation);
	digest = prng_mix(digest ^ atomic_load(&s->fence));
	digest = prng_mix(digest ^ atomic_load(&s->prepared));
	digest = prng_mix(digest ^ figures.records);
	digest = prng_mix(digest ^ figures.waiting);
	digest = prng_mix(digest ^ figures.bytes);
	digest = prng_mix(digest ^ verified.id);
	digest = prng_mix(digest ^ verified.index);
	if (!leaving && shard_hold(s))
	{
		digest = prng_mix(digest ^ tune_ef(records_tune(s->records), 10, 0.99));
		digest = prng_mix(digest ^ records_stat(s->records, RECORD_PASSES));
		hnsw_stats(records_graph(s->records), &graph);
		digest = prng_mix(digest ^ graph.unreachable ^ graph.broken_links << 32);
		shard_release(s);
	}
	digest = prng_mix(digest ^ atomic_load(&s->range_ver) ^ (uint64_t) atomic_load(&s->ingesting) << 32);
	for (size_t i = 0; shard_child(s, i, &child); i++)
		digest = prng_mix(digest ^ child.desc.shard ^ (uint64_t) child.owed << 63);
	digest = prng_mix(digest ^ members.conf_index ^ (uint64_t) members.n << 56);
	for (uint32_t i = 0; i < members.n; i++)
	{
		const ReplicaMember *m = &members.members[i];

		digest = prng_mix(digest ^ m->member.id);
		digest = prng_mix(digest ^ m->member.node ^ (uint64_t) m->member.roles << 56 ^ (uint64_t) m->active << 48);
		digest = prng_mix(digest ^ m->match);
	}
	return digest;
}

static int
told_compare(const void *a, const void *b)
{
	const ToldShard *x = (const ToldShard *) a;
	const ToldShard *y = (const ToldShard *) b;

	if (x->shard != y->shard)
		return x->shard < y->shard ? -1 : 1;
	return x->replica < y->replica ? -1 : x->replica > y->replica;
}

/* Digests of those of which something may be new; true: one still looks for its leader.  With worker->lock. */
static bool
digest_new(Worker *worker)
{
	bool		some = false;

	if (!shards_take_stir(worker, LOOK_TOLD))
		return false;
	for (Shard *s = worker->shards; s; s = s->next)
	{
		bool		settling = false;

		if (!shard_take_stir(s, LOOK_TOLD))
			continue;
		worker->digests -= s->digest;
		s->digest = digest_shard(s, false, &settling);
		worker->digests += s->digest;
		if (settling)
			shard_stir_for(s, LOOK_TOLD);
		some |= settling;
	}
	return some;
}

static void
tell(Told *told, const Shard *first)
{
	for (const Shard *s = first; s; s = s->next)
	{
		if ((told->n & (told->n - 1)) == 0)
			told->shards = vt_realloc(told->shards, sizeof(ToldShard) * (told->n ? 2 * told->n : 1));
		told->shards[told->n++] = (ToldShard) {s->desc.shard, s->replica_id, s->digest};
	}
}

void
told_free(Told *told)
{
	free(told->shards);
	memset(told, 0, sizeof(*told));
}

bool
status_digest(Worker *worker, const Told *before, Told *out, bool *settling)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&worker->lock);
	*settling = digest_new(worker);
	out->digest = prng_mix(worker->digests);
	for (Shard *s = worker->leaving; s; s = s->next)
	{
		s->digest = digest_shard(s, true, settling);
		out->digest += s->digest;
	}
	for (const Broken *b = worker->broken; b; b = b->next)
		out->digest = prng_mix(out->digest ^ b->shard ^ b->replica << 32);
	out->digest |= 1;
	if (out->digest != before->digest)
	{
		tell(out, worker->shards);
		tell(out, worker->leaving);
	}
	pthread_mutex_unlock(&worker->lock);
	if (out->n > 0)
		qsort(out->shards, out->n, sizeof(ToldShard), told_compare);
	return out->digest != before->digest;
}

/* How many in a row are of the same shard. */
static size_t
run_of(const Told *told, size_t at)
{
	size_t		n = 1;

	while (at + n < told->n && told->shards[at + n].shard == told->shards[at].shard)
		n++;
	return n;
}

json_t *
status_changed(Worker *worker, const Told *before, const Told *now, json_t *gone)
{
	uint64_t   *changed = vt_alloc0(sizeof(uint64_t) * (now->n + 1));
	json_t	   *list = json_array();
	size_t		n = 0;
	size_t		i = 0;
	size_t		k = 0;

	while (i < before->n || k < now->n)
	{
		bool		was = i < before->n && (k == now->n || before->shards[i].shard <= now->shards[k].shard);
		bool		is = k < now->n && (i == before->n || now->shards[k].shard <= before->shards[i].shard);
		size_t		nwas = was ? run_of(before, i) : 0;
		size_t		nis = is ? run_of(now, k) : 0;
		bool		same = nwas == nis;

		for (size_t j = 0; same && j < nis; j++)
			same = before->shards[i + j].replica == now->shards[k + j].replica &&
				before->shards[i + j].digest == now->shards[k + j].digest;
		if (!is)
			json_array_append_new(gone, status_u64(before->shards[i].shard));
		else if (!same)
			changed[n++] = now->shards[k].shard;
		i += nwas;
		k += nis;
	}
	pthread_mutex_lock(&worker->lock);
	add_shards(list, worker->shards, false, false, changed, n);
	add_shards(list, worker->leaving, true, false, changed, n);
	pthread_mutex_unlock(&worker->lock);
	free(changed);
	return list;
}

json_t *
status_broken(Worker *worker)
{
	json_t	   *list = json_array();

	pthread_mutex_lock(&worker->lock);
	for (const Broken *b = worker->broken; b; b = b->next)
	{
		json_t	   *row = json_object();

		json_object_set_new(row, "shard", status_u64(b->shard));
		json_object_set_new(row, "replica", status_u64(b->replica));
		json_object_set_new(row, "message", json_string(vt_error_words(&b->err)));
		json_array_append_new(list, row);
	}
	pthread_mutex_unlock(&worker->lock);
	return list;
}

/* Text of an answer, which is given up. */
static char *
text_of(json_t *reply)
{
	char	   *text = json_dumps(reply, JSON_COMPACT);

	json_decref(reply);
	return text;
}

char *
status_refusal_json(VtStatus status)
{
	json_t	   *reply = json_object();

	json_object_set_new(reply, "status", json_integer(status));
	json_object_set_new(reply, "message", json_string(vt_status_words(status)));
	return text_of(reply);
}

/* The last warnings and errors. */
static json_t *
json_recent(void)
{
	char		lines[LOG_RECENT][LOG_RECENT_SIZE];
	int			n = log_recent(lines);
	json_t	   *list = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_string(lines[i]));
	return list;
}

json_t *
status_memory(Worker *worker)
{
	json_t	   *row = json_object();

	for (int kind = 0; kind < MEMORY_KINDS; kind++)
		json_object_set_new(row, memory_names[kind], status_u64(atomic_load(&worker->memory_of[kind])));
	return row;
}

/* Ticks of Raft's clock by how late they came. */
static json_t *
json_ticks(const ReplicaHostFigures *raft)
{
	json_t	   *list = json_array();

	for (int i = 0; i < REPLICA_TICK_KINDS; i++)
	{
		json_t	   *row = json_object();

		json_object_set_new(row, "late_us", status_u64(replica_ticks_late_us[i]));
		json_object_set_new(row, "ticks", status_u64(raft->ticks[i]));
		json_array_append_new(list, row);
	}
	return list;
}

char *
status_answer_json(Worker *worker, Bytes question)
{
	json_t	   *asked = json_loadb((const char *) question.data, question.len, 0, NULL);
	const char *op = json_string_value(json_object_get(asked, "op"));
	bool		known = op && strcmp(op, "status") == 0;
	ReplicaHostFigures raft;
	int64_t		beat_us = atomic_load(&worker->stats.beat_us);
	const char *stalled = replica_host_stalled(worker->host);
	json_t	   *reply;

	json_decref(asked);
	if (!known)
		return status_refusal_json(VT_INVALID);
	reply = json_object();
	json_object_set_new(reply, "status", json_integer(VT_OK));
	json_object_set_new(reply, "store", status_u64(worker->store_id));
	json_object_set_new(reply, "cluster", status_id(&worker->cluster));
	json_object_set_new(reply, "version", json_string(WORKER_VERSION));
	json_object_set_new(reply, "uptime_ms", json_integer((clock_now_us() - worker->started_us) / 1000));
	json_object_set_new(reply, "role", json_string(worker->options.role ? worker->options.role : "data"));
	json_object_set_new(reply, "labels", json_string(worker->options.labels ? worker->options.labels : ""));
	json_object_set_new(reply, "endpoint", json_string(worker->options.advertise));
	json_object_set_new(reply, "pd", json_string(worker->options.pd));
	json_object_set_new(reply, "registered", json_boolean(atomic_load(&worker->stats.registered)));
	json_object_set_new(reply, "heartbeat_ms", json_integer(beat_us ? (clock_now_us() - beat_us) / 1000 : -1));
	json_object_set_new(reply, "health", json_string(stalled ? stalled : "ok"));
	json_object_set_new(reply, "memory", status_u64(atomic_load(&worker->memory)));
	json_object_set_new(reply, "memory_limit", status_u64(worker->options.memory_limit));
	json_object_set_new(reply, "disk_free", status_u64(atomic_load(&worker->stats.disk_free)));
	json_object_set_new(reply, "disk_reserve", status_u64(worker->options.disk_reserve));
	json_object_set_new(reply, "disk_full", json_boolean(atomic_load(&worker->disk_low)));
	if (worker->options.tls)
		json_object_set_new(reply, "certificate_until", json_integer(net_tls_until(worker->options.tls)));
	json_object_set_new(reply, "recent", json_recent());
	json_object_set_new(reply, "memory_of", status_memory(worker));
	json_object_set_new(reply, "memory_resident", status_u64(machine_resident()));
	json_object_set_new(reply, "searches", json_searches(worker));
	json_object_set_new(reply, "shards", status_shards(worker, false));
	json_object_set_new(reply, "broken", status_broken(worker));
	replica_host_figures(worker->host, &raft);
	json_object_set_new(reply, "raft_log", status_u64(raft.log_bytes));
	json_object_set_new(reply, "raft_log_resident", status_u64(raft.resident_bytes));
	json_object_set_new(reply, "raft_inflight", status_u64(raft.inflight_bytes));
	json_object_set_new(reply, "ticks", json_ticks(&raft));
	json_object_set_new(reply, "groups_asleep", status_u64(raft.asleep));
	json_object_set_new(reply, "raft_frames_dropped", status_u64(raft.dropped));
	json_object_set_new(reply, "raft_frames_foreign", status_u64(atomic_load(&worker->foreign)));
	return text_of(reply);
}
