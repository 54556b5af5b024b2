/*-------------------------------------------------------------------------
 *
 * broken.c
 *	  Replicas that are damaged: what they had said was safe is not all there, or
 *	  nothing but their Raft group is.
 *
 * Such a replica is not opened: it would vote with a memory that has holes, or
 * answer without rows that it had acknowledged.  Nor is it emptied: then it would
 * vote with no memory at all, under an id that has acknowledged writes (P9).  The
 * worker goes on with its other shards, says so in its log, its status and its
 * heartbeats, and keeps the files.  PD puts another replica in its place as in
 * that of a dead one, and has this one dropped in the end (drop.c), which is the
 * only way out of this list.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/log.h"
#include "private.h"

/* Is this what damage looks like, and not want of memory or a newer version? */
static bool
is_damage(VtStatus status)
{
	return status == VT_CORRUPT || status == VT_IO || status == VT_NOT_FOUND || status == VT_PROTOCOL;
}

/* With worker->lock held. */
static Broken **
find(Worker *worker, uint64_t shard)
{
	Broken	  **p = &worker->broken;

	while (*p && (*p)->shard != shard)
		p = &(*p)->next;
	return p;
}

bool
broken_note(Worker *worker, uint64_t shard, VtStatus status, const VtError *err)
{
	RaftSnapshot base;
	Broken	   *broken;
	Broken	  **p;

	if (!is_damage(status))
		return false;
	broken = vt_alloc0(sizeof(Broken));
	broken->shard = shard;
	broken->err = *err;
	if (replica_stored_base(worker->host, shard, &base, NULL) == VT_OK)
		for (uint32_t i = 0; i < base.conf.n; i++)
			if (base.conf.members[i].node == worker->store_id)
				broken->replica = base.conf.members[i].id;
	log_error("shard=%llu: this replica is damaged and stays closed until it is dropped: %s",
			  (unsigned long long) shard, vt_error_words(err));
	pthread_mutex_lock(&worker->lock);
	p = find(worker, shard);
	if (*p)
		free(broken);
	else
		*p = broken;
	pthread_mutex_unlock(&worker->lock);
	return true;
}

bool
broken_has(Worker *worker, uint64_t shard)
{
	bool		there;

	pthread_mutex_lock(&worker->lock);
	there = *find(worker, shard) != NULL;
	pthread_mutex_unlock(&worker->lock);
	return there;
}

/* It was dropped. */
void
broken_forget(Worker *worker, uint64_t shard)
{
	Broken	  **p;
	Broken	   *gone;

	pthread_mutex_lock(&worker->lock);
	p = find(worker, shard);
	gone = *p;
	if (gone)
		*p = gone->next;
	pthread_mutex_unlock(&worker->lock);
	free(gone);
}

void
broken_free(Worker *worker)
{
	while (worker->broken)
		broken_forget(worker, worker->broken->shard);
}
