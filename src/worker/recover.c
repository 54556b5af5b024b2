/*-------------------------------------------------------------------------
 *
 * recover.c
 *	  A shard whose majority is lost for good: a new life, and a survivor that leads.
 *
 * The placement driver decides (src/pd/recover.c); a store does two things with its
 * replica, each while it is closed, so that nobody reads or writes between them.
 *
 *	1.	The replica outlives its group's life (replica_outlive): what the lost said, however
 *		late it comes, is not heard any more.
 *	2.	The life (desc.incarnation) is raised, durably.  From then on no gateway is
 *		served, whatever it knows of marks and routes: what the lost replicas had
 *		acknowledged may be missing here, and log indexes are given a second time.
 *		That it is so is reported, and who is to go on is chosen by reports of all.
 *	3.	In the one replica that was chosen, the group is forced to members in which
 *		it votes alone (replica_force).
 *
 * In this order: between any two of them nothing is served and nothing is decided, and the
 * driver asks again.  Each is fine to be met half done, or done.
 *
 *-------------------------------------------------------------------------
 */
#include "base/log.h"
#include "private.h"

/* Is what the chore wants so already? */
static bool
is_done(const Shard *shard, const Chore *chore)
{
	ReplicaStatus status;

	if (shard->desc.incarnation < chore->other)
		return false;
	replica_status(shard->replica, &status);
	return status.term >= (chore->members.n > 0 ? raft_forced_term(chore->other) : raft_life_term(chore->other));
}

/* The shard is closed. */
static VtStatus
recover_closed(Worker *worker, const Chore *chore, VtError *err)
{
	VtStatus	status = replica_outlive(worker->host, chore->shard, chore->replica, chore->other, err);

	if (status == VT_OK)
		status = shard_raise_life(worker->shards_path, chore->shard, chore->replica, chore->other, err);
	if (status == VT_OK && chore->members.n > 0)
		status = replica_force(worker->host, chore->shard, chore->replica, &chore->members, chore->other, err);
	return status;
}

VtStatus
worker_recover_shard(Worker *worker, const Chore *chore, VtError *err)
{
	Shard	   *shard = worker_find_shard(worker, chore->shard);
	bool		done = shard && shard->replica_id == chore->replica && is_done(shard, chore);
	VtError		later = {0};
	VtStatus	status;

	if (shard)
		shard_release(shard);
	if (done)
		return VT_OK;
	status = worker_close_shard(worker, chore->shard, chore->replica, err);
	if (status != VT_OK)
		return status;			/* VT_BUSY: somebody holds it still */
	status = recover_closed(worker, chore, err);
	if (worker_reopen_shard(worker, chore->shard, status == VT_OK ? err : &later) != VT_OK)
		return status == VT_OK ? err->code : status;
	if (status == VT_OK)
		log_warn("shard=%llu is in life %llu%s: its majority was lost", (unsigned long long) chore->shard,
				 (unsigned long long) chore->other, chore->members.n > 0 ? " and goes on from here" : "");
	return status;
}
