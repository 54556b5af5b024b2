/*-------------------------------------------------------------------------
 *
 * splits.c
 *	  What a worker has to do about splits: asking for one, making the children
 *	  of shards that are here, letting go of their rows.
 *
 * The steps and what a crash leaves between them are told in split.c.  All of it
 * but the proposal is done on the thread of long chores, which looks at all shards when a
 * split was applied, when a snapshot was installed, with every heartbeat, and while a child has
 * no leader when it is to ask for votes again; so whatever was given up is taken up again.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "private.h"

#define COPY_BYTES (1u << 20)	/* in one step; then the parent may be let go of */
#define PURGE_ROWS 4096
#define PURGE_STEPS 32			/* of one chore: others wait */
#define CAMPAIGN_US INT64_C(20000)	/* for the votes to come; twice as long with each, */
#define CAMPAIGN_DOUBLINGS 5	/* so often */
#define OTHERS_US INT64_C(200000)	/* one after the other */

uint64_t
splits_own_replica(const Worker *worker, const WireShardDesc *child)
{
	for (int i = 0; i < child->nreplicas; i++)
		if (child->replicas[i].store == worker->store_id)
			return child->replicas[i].replica;
	return 0;
}

bool
splits_was_made(Worker *worker, const WireShardDesc *child, uint64_t replica)
{
	bool		dead = false;

	return worker_has_group(worker, child->shard) ||
		log_has_tombstone(worker->log, child->shard, replica, &dead, NULL) != VT_OK || dead;
}

/* The long chores' thread looks again then, at the latest. */
static void
look_again(Worker *worker, int64_t at_us)
{
	pthread_mutex_lock(&worker->lock);
	if (worker->splits_us == 0 || at_us < worker->splits_us)
		worker->splits_us = at_us;
	pthread_mutex_unlock(&worker->lock);
}

static int
rank_of(const Worker *worker, const WireShardDesc *child)
{
	int			rank = 0;

	while (rank < child->nreplicas && child->replicas[rank].store != worker->store_id)
		rank++;
	return rank;
}

/*
 * Half a shard waits for a leader.  Who leads the parent leads the child, if he can: one
 * at a time finds a majority as soon as there is one, where two would share the votes, and wait
 * for their timeouts.  Others begin when he had his time.  Whoever asks may be the first who has
 * made the child: nobody else answers then, and he asks again a moment later.
 */
static void
campaign(Worker *worker, Shard *parent, Shard *child)
{
	ReplicaStatus of_child;
	ReplicaStatus of_parent;
	int64_t		now_us = clock_now_us();
	uint32_t	n = child->campaigns;

	replica_status(child->replica, &of_child);
	replica_status(parent->replica, &of_parent);
	if (of_child.leader || of_child.leader_replica != 0)
		return;
	if (now_us >= child->campaign_us)
	{
		if (n > 0 || of_parent.leader)
			replica_campaign(child->replica);
		child->campaign_us = now_us + (n > 0 || of_parent.leader ? CAMPAIGN_US << (n < CAMPAIGN_DOUBLINGS ? n : CAMPAIGN_DOUBLINGS) :
									   OTHERS_US * (1 + rank_of(worker, &child->desc)));
		child->campaigns++;
	}
	look_again(worker, child->campaign_us);
}

/* Is what the shard lends served by the child itself, or will it not be?  False: nothing is lent. */
static bool
look_at_loan(Worker *worker, Shard *shard)
{
	ShardChild	loan;
	Shard	   *child;
	uint64_t	replica;

	if (!loan_of(shard, &loan))
		return false;
	replica = splits_own_replica(worker, &loan.desc);
	child = worker_find_shard(worker, loan.desc.shard);
	if (replica == 0 || (child ? shard_is_whole(child) == VT_OK : splits_was_made(worker, &loan.desc, replica)))
		loan_end(shard);
	if (child)
		shard_release(child);
	return true;
}

/* Lent or not, a half without a leader takes no writes; false: it is not here. */
static bool
look_for_leader(Worker *worker, Shard *parent, uint64_t id)
{
	Shard	   *child = worker_find_shard(worker, id);

	if (!child)
		return false;
	campaign(worker, parent, child);
	shard_release(child);
	return true;
}

/* Chores for one shard; it is held.  False: there is nothing that would have to be done later, either. */
static bool
look_at(Worker *worker, Shard *shard)
{
	ShardChild	child;
	bool		some = look_at_loan(worker, shard);

	for (size_t i = 0; shard_child(shard, i, &child); i++)
	{
		uint64_t	replica = splits_own_replica(worker, &child.desc);
		Chore		chore = {.kind = CHORE_CHILD, .shard = child.desc.shard, .replica = replica,
			.desc = child.desc, .other = shard->desc.shard
		};

		some |= child.owed;
		if (child.owed && replica != 0 && !look_for_leader(worker, shard, child.desc.shard) && !splits_was_made(worker, &child.desc, replica))
			chores_put(worker, &chore);
	}
	if (atomic_load(&shard->strays) || shard->purge.len > 0)
	{
		Chore		chore = {.kind = CHORE_PURGE, .shard = shard->desc.shard};

		chores_put(worker, &chore);
		some = true;
	}
	return some;
}

void
splits_look(Worker *worker)
{
	Shard	  **some = NULL;
	ShardChild	child;
	size_t		n = 0;

	if (!shards_take_stir(worker, LOOK_SPLITS))
		return;
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s; s = s->next)
		if (shard_take_stir(s, LOOK_SPLITS) && (shard_child(s, 0, &child) || atomic_load(&s->strays)))
		{
			some = vt_realloc(some, sizeof(Shard *) * (n + 1));
			some[n++] = s;
			atomic_fetch_add(&s->users, 1);
		}
	pthread_mutex_unlock(&worker->lock);
	for (size_t i = 0; i < n; i++)
	{
		bool		held = shard_hold(some[i]);

		if (!held || look_at(worker, some[i]))
			shard_stir_for(some[i], LOOK_SPLITS);
		if (held)
			shard_release(some[i]);
		shard_release(some[i]);
	}
	free(some);
}

/* How long the steps of making a child took. */
typedef struct Took
{
	int64_t		last_us;
	int64_t		copied_ms;
	int64_t		graph_ms;
	int64_t		durable_ms;
	int64_t		founded_ms;
	int64_t		opened_ms;
} Took;

static int64_t
lap_ms(Took *took)
{
	int64_t		now_us = clock_now_us();
	int64_t		ms = (now_us - took->last_us) / 1000;

	took->last_us = now_us;
	return ms;
}

/* What was prepared before the split, or nothing yet. */
static VtStatus
begin(Worker *worker, Shard *parent, const ShardChild *child, uint64_t replica, Heir **heir, VtError *err)
{
	VtError		why = {0};

	*heir = heirs_take(worker, child->desc.shard);
	if (*heir && heir_succeed(*heir, parent, child, replica, &why) == VT_OK)
		return VT_OK;
	if (*heir)
		log_info("shard=%llu: all rows are copied once more: %s", (unsigned long long) child->desc.shard, vt_error_words(&why));
	heir_drop(*heir);
	*heir = NULL;
	return heir_begin(parent, child, worker->shards_path, replica, heir, err);
}

typedef struct Making
{
	Worker	   *worker;
	Shard	   *parent;
} Making;

/* VT_OK as long as the parent's rows are there, and nobody waits for this to end. */
static VtStatus
is_wanted(const Making *making, VtError *err)
{
	Worker	   *worker = making->worker;

	if (chores_end(worker))
		return vt_fail(err, VT_STOPPING, "the worker stops");
	if (atomic_load(&making->parent->installing) || atomic_load(&making->parent->leaving))
		return vt_fail(err, VT_BUSY, "the shard is being replaced or closed here");
	/* The rows wait here, and a log that finds no room stops the worker (law S4). */
	if (atomic_load(&worker->disk_low))
		return vt_fail(err, VT_FULL, "the worker's disk is almost full");
	return VT_OK;
}

/* A ShardPace: writes wait for it, so only whether it is wanted. */
static bool
pace(void *arg, size_t bytes)
{
	(void) bytes;
	return is_wanted((const Making *) arg, NULL) == VT_OK;
}

/* All rows of a child, of which the group is not yet founded; they stay open. */
static VtStatus
copy_rows(Worker *worker, Shard *parent, const ShardChild *child, uint64_t replica, Store **rows, Records **records, Took *took, VtError *err)
{
	Making		making = {worker, parent};
	Heir	   *heir;
	bool		done = false;
	VtStatus	status = begin(worker, parent, child, replica, &heir, err);

	if (status != VT_OK)
		return status;
	while (status == VT_OK && !done)
	{
		status = is_wanted(&making, err);
		if (status == VT_OK)
			status = heir_copy(heir, COPY_BYTES, &done, err);
	}
	took->copied_ms = lap_ms(took);
	if (status == VT_OK)
	{
		heir_graph(heir, pace, &making);
		status = is_wanted(&making, err);
	}
	took->graph_ms = lap_ms(took);
	if (status == VT_OK)
		status = heir_end(heir, err);
	if (status == VT_OK)
		status = shard_sync_directory(worker->shards_path, err);
	if (status == VT_OK)
		*rows = heir_take(heir, records);
	heir_drop(heir);
	took->durable_ms = lap_ms(took);
	return status;
}

VtStatus
splits_make_child(Worker *worker, const Chore *chore, VtError *err)
{
	Shard	   *parent = worker_find_shard(worker, chore->other);
	RaftConf	founders = worker_founders_of(&chore->desc);
	ShardChild	child;
	Took		took = {.last_us = clock_now_us()};
	Store	   *rows = NULL;
	Records    *records = NULL;
	VtStatus	status = VT_OK;

	if (!parent)
		return VT_OK;
	if (shard_find_child(parent, chore->shard, &child) && child.owed &&
		!splits_was_made(worker, &child.desc, chore->replica))
	{
		status = copy_rows(worker, parent, &child, chore->replica, &rows, &records, &took, err);
		/* One synced batch: from here on it may vote, and is never made again. */
		if (status == VT_OK)
			status = replica_create(worker->host, chore->shard, chore->replica, &founders, child.index, err);
		if (status == VT_OK)
			heirs_founded(worker, chore->shard);
		took.founded_ms = lap_ms(&took);
		if (status == VT_OK)
			status = worker_open_with(worker, chore->shard, rows, records, err);
		else
		{
			records_free(records);
			store_close(rows);
		}
		took.opened_ms = lap_ms(&took);
		if (status == VT_OK)
		{
			look_at_loan(worker, parent);
			(void) look_for_leader(worker, parent, chore->shard);
			log_info("shard=%llu was split off shard=%llu at %llu: rows copied in %lld ms, graph in %lld, durable in %lld, founded in %lld, open in %lld",
					 (unsigned long long) chore->shard, (unsigned long long) chore->other, (unsigned long long) child.index,
					 (long long) took.copied_ms, (long long) took.graph_ms, (long long) took.durable_ms, (long long) took.founded_ms, (long long) took.opened_ms);
		}
	}
	shard_release(parent);
	return status;
}

VtStatus
splits_settle(Worker *worker, const Chore *chore, VtError *err)
{
	Shard	   *shard = worker_find_shard(worker, chore->shard);
	VtStatus	status;

	if (!shard)
		return VT_OK;
	status = shard_settle(shard, chore->other, err);
	shard_stir(shard);
	shard_release(shard);
	chores_look(worker);
	return status;
}

VtStatus
splits_purge(Worker *worker, const Chore *chore, VtError *err)
{
	Shard	   *shard = worker_find_shard(worker, chore->shard);
	bool		more = true;
	VtStatus	status = VT_OK;

	if (!shard)
		return VT_OK;
	for (int i = 0; i < PURGE_STEPS && more && status == VT_OK && !chores_end(worker); i++)
		status = shard_purge(shard, PURGE_ROWS, &more, err);
	if (status == VT_OK && !more && shard->purged > 0)
	{
		log_info("shard=%llu: %llu rows of other shards were removed", (unsigned long long) chore->shard,
				 (unsigned long long) shard->purged);
		shard->purged = 0;
	}
	shard_release(shard);
	if (more)
		chores_look(worker);
	return status;
}

VtStatus
splits_may_begin_empty(Worker *worker, const WireShardDesc *desc, VtError *err)
{
	Shard	   *parent;
	ReplicaStatus replica;
	ShardChild	child;
	bool		wait;
	char		path[4096];
	VtStatus	status;

	if (worker_has_group(worker, desc->shard))
		return VT_OK;
	parent = worker_find_shard(worker, desc->parent);
	if (!parent)
		wait = worker_has_group(worker, desc->parent) && !broken_has(worker, desc->parent);
	else
	{
		replica_status(parent->replica, &replica);
		wait = replica.applied < desc->base_index || atomic_load(&parent->installing) ||
			(shard_find_child(parent, desc->shard, &child) && child.owed);
		shard_release(parent);
	}
	if (wait)
		return vt_fail(err, VT_BUSY, "the shard it was split off is here and is to make it");

	/* Rows without a group: what an attempt to make it has left, in a life before this one or for a split to come. */
	heirs_forget(worker, desc->shard);
	shard_path(path, sizeof(path), worker->shards_path, desc->shard);
	status = shard_remove_graph(path, err);
	return status == VT_OK ? store_destroy(path, err) : status;
}

/*
 * Do the child's replicas live where the voters do, and nothing is being changed?  As of
 * a moment ago: whoever proposes it names the configuration.
 */
static VtStatus
is_the_moment(Shard *shard, const WireShardDesc *child, uint64_t conf_index, VtError *err)
{
	ReplicaMembers members;
	ReplicaStatus replica;
	ShardChild	before;
	int			voters = 0;

	replica_status(shard->replica, &replica);
	replica_members(shard->replica, &members);
	if (!replica.serving || replica.applied < shard->newest)
		return vt_fail(err, VT_NOT_LEADER, "the replica does not lead");
	if (atomic_load(&shard->ingesting))
		return vt_fail(err, VT_BUSY, "a bulk load is going on");
	if (members.joint || members.conf_index != conf_index)
		return vt_fail(err, VT_BUSY, "the members of the group are being changed");
	for (size_t i = 0; shard_child(shard, i, &before); i++)
		if (before.owed)
			return vt_fail(err, VT_BUSY, "an earlier split has not settled");
	for (uint32_t i = 0; i < members.n; i++)
	{
		const RaftMember *m = &members.members[i].member;
		bool		named = false;

		for (int k = 0; k < child->nreplicas; k++)
			named |= child->replicas[k].store == m->node && child->replicas[k].role == 1;
		if ((m->roles & RAFT_VOTER) && !named)
			return vt_fail(err, VT_INVALID, "a voter's store gets no replica of the child");
		voters += (m->roles & RAFT_VOTER) != 0;
	}
	if (voters != child->nreplicas)
		return vt_fail(err, VT_INVALID, "a replica of the child has no voter to come from");
	return VT_OK;
}

VtStatus
splits_propose(Worker *worker, const WireShardDesc *child, uint64_t conf_index, ReplicaDone done, void *arg,
			   VtError *err)
{
	Shard	   *shard = worker_find_shard(worker, child->parent);
	WireRoute	route;
	Buf			command = {0};
	WireWrite	check;
	VtStatus	status;

	if (!shard)
		return vt_fail(err, VT_NOT_FOUND, "the shard is not here");
	memset(&route, 0, sizeof(route));
	route.generation = shard->desc.generation;
	route.shard = shard->desc.shard;
	route.range_ver = atomic_load(&shard->range_ver);
	route.owner = shard->desc.owner;
	status = is_the_moment(shard, child, conf_index, err);
	if (status == VT_OK)
	{
		wire_split_put(&command, &route, child);
		/* Whatever would be malformed in the log must not get there. */
		status = wire_write_get(buf_bytes(&command), &check, err);
	}
	if (status == VT_OK)
		replica_propose_under(shard->replica, buf_bytes(&command), conf_index, done, arg);
	buf_free(&command);
	shard_release(shard);
	return status;
}
