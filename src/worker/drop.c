/*-------------------------------------------------------------------------
 *
 * drop.c
 *	  The end of a shard: its memory first, then its group and its files.
 *
 * While its collection is hidden a shard is closed: nothing of it is in memory,
 * everything on disk, and it can be opened again.  A start leaves it closed (hidden.c).
 *
 * Then it is dropped.  PD asks for it until it hears that it was done, so every step may be met half
 * done, and the order makes each state one that a start can live with:
 *
 *	1.	The shard leaves the list: no request finds it.  Those that hold it, and
 *		the scans that clients left behind, end or expire first.  When its collection
 *		goes for good, what was split off it here, and PD may never have heard of, is dropped now.
 *	2.	A tombstone for its replica and the end of its Raft log, in one synced
 *		batch.  From here on it cannot be opened or founded again.
 *	3.	Its directory is renamed to <id>.dropped, which no start opens, and
 *		removed.  A start removes what a crash left of one.
 *
 * All on the threads of chores, one of them for a shard, or before they begin.
 *
 *-------------------------------------------------------------------------
 */
#include "worker.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "private.h"

#define SUFFIX ".dropped"

/*
 * Take the shard out of the list of those that are served.  NULL: it is not
 * open.  *other: it is, or is about to be closed, as another replica, and stays.
 */
static Shard *
take_out(Worker *worker, uint64_t id, uint64_t replica, bool *other)
{
	Shard	   *shard = NULL;

	*other = false;
	pthread_mutex_lock(&worker->lock);
	shard = shards_find(worker, id);
	*other = shard && shard->replica_id != replica;
	if (*other)
		shard = NULL;
	if (shard)
	{
		shards_remove(worker, shard);
		shard->next = worker->leaving;
		worker->leaving = shard;
	}
	for (Shard *s = worker->leaving; s && !shard && !*other; s = s->next)
		if (s->desc.shard == id)
		{
			*other = s->replica_id != replica;
			shard = *other ? NULL : s;
		}
	if (shard)
		atomic_store(&shard->leaving, true);
	pthread_mutex_unlock(&worker->lock);
	return shard;
}

static void
unlink_leaving(Worker *worker, Shard *shard)
{
	pthread_mutex_lock(&worker->lock);
	for (Shard **p = &worker->leaving; *p; p = &(*p)->next)
		if (*p == shard)
		{
			*p = shard->next;
			break;
		}
	pthread_mutex_unlock(&worker->lock);
}

/* Remove a directory that bears the suffix. */
static VtStatus
remove_dropped(const char *path, VtError *err)
{
	VtStatus	status = shard_remove_graph(path, err);

	if (status == VT_OK)
		status = store_destroy(path, err);
	if (status == VT_OK && rmdir(path) < 0 && errno != ENOENT)
		status = vt_fail_errno(err, VT_IO, "could not remove \"%s\"", path);
	return status;
}

/* Step 3. */
static VtStatus
remove_files(Worker *worker, uint64_t id, VtError *err)
{
	char		path[4096];
	char		dropped[4096 + sizeof(SUFFIX)];
	VtStatus	status;

	snprintf(path, sizeof(path), "%s/%016llx", worker->shards_path, (unsigned long long) id);
	snprintf(dropped, sizeof(dropped), "%s" SUFFIX, path);
	if (rename(path, dropped) < 0 && errno != ENOENT)
		return vt_fail_errno(err, VT_IO, "could not rename \"%s\"", path);
	status = shard_finish_install(worker->shards_path, id, 0, 0, err);
	if (status == VT_OK)
		status = shard_sync_directory(worker->shards_path, err);
	if (status == VT_OK && access(dropped, F_OK) == 0)
		status = remove_dropped(dropped, err);
	return status;
}

/*
 * Take a shard out and wait for nobody: VT_OK with *out NULL when it is not open,
 * VT_BUSY while somebody holds it.
 */
static VtStatus
take_unused(Worker *worker, uint64_t id, uint64_t replica, Shard **out, VtError *err)
{
	bool		other;

	*out = NULL;
	if (id == 0 || replica == 0)
		return vt_fail(err, VT_INVALID, "the task names no shard and replica");
	*out = take_out(worker, id, replica, &other);
	if (other)
		return vt_fail(err, VT_INVALID, "the shard is here as another replica than %llu",
					   (unsigned long long) replica);
	if (!*out || atomic_load(&(*out)->users) == 0)
		return VT_OK;
	replica_cease_sending((*out)->replica);
	return VT_BUSY;
}

/* Close a shard, which stays on disk.  VT_BUSY: somebody still holds it; try again. */
VtStatus
worker_close_shard(Worker *worker, uint64_t id, uint64_t replica, VtError *err)
{
	Shard	   *shard;
	VtStatus	status = take_unused(worker, id, replica, &shard, err);

	if (status != VT_OK || !shard)
		return status;
	unlink_leaving(worker, shard);	/* others may look at what is in the list */
	replica_close(shard->replica);
	worker_free_shard(shard);
	log_info("shard=%llu closed", (unsigned long long) id);
	return VT_OK;
}

/* Close a shard whose collection is hidden; a start leaves it so.  VT_BUSY as above. */
VtStatus
worker_hide_shard(Worker *worker, uint64_t id, uint64_t replica, VtError *err)
{
	VtStatus	status = worker_close_shard(worker, id, replica, err);

	if (status == VT_OK && worker_has_group(worker, id))
		hidden_note(worker, id);
	return status;
}

/* Open a shard that was closed.  It is never founded anew. */
VtStatus
worker_reopen_shard(Worker *worker, uint64_t id, VtError *err)
{
	Shard	   *there = worker_find_shard(worker, id);
	Shard	   *back = NULL;
	bool		aside = false;
	VtError		damage = {0};
	VtStatus	status;

	if (there)
	{
		shard_release(there);
		return VT_OK;
	}

	/* It was about to be closed. */
	pthread_mutex_lock(&worker->lock);
	for (Shard **p = &worker->leaving; *p && !back && !aside; p = &(*p)->next)
		if ((*p)->desc.shard == id && atomic_load(&(*p)->aside))
			aside = true;
		else if ((*p)->desc.shard == id)
		{
			back = *p;
			*p = back->next;
			atomic_store(&back->leaving, false);
			shards_add(worker, back);
			break;
		}
	pthread_mutex_unlock(&worker->lock);
	if (back)
		return VT_OK;
	if (aside)
		return VT_BUSY;			/* it goes, and for good */
	if (broken_has(worker, id))
		return vt_fail(err, VT_CORRUPT, "the replica that is here is damaged");
	if (!worker_has_group(worker, id))
		return vt_fail(err, VT_NOT_FOUND, "the shard is not here");
	status = worker_open_shard(worker, id, &damage);
	if (status == VT_CORRUPT)
		broken_note(worker, id, status, &damage);
	if (status != VT_OK && err)
		*err = damage;
	return status;
}

/* What is owed to children; shard: it is open, and nobody holds it. */
static VtStatus
list_owed(Worker *worker, uint64_t id, Shard *shard, ShardChild **out, size_t *n, VtError *err)
{
	char		path[4096];
	ShardChild	child;

	*out = NULL;
	*n = 0;
	shard_path(path, sizeof(path), worker->shards_path, id);
	if (!shard)
		return access(path, F_OK) == 0 ? shard_owed_children(worker->shards_path, id, out, n, err) : VT_OK;
	for (size_t i = 0; shard_child(shard, i, &child); i++)
		if (child.owed)
		{
			*out = vt_realloc(*out, sizeof(ShardChild) * (*n + 1));
			(*out)[(*n)++] = child;
		}
	return VT_OK;
}

/* Is this replica to be dropped still?  As another one PD put the shard here, and has it dropped. */
static bool
is_left(Worker *worker, uint64_t id, uint64_t replica, VtError *err)
{
	Shard	   *there = worker_find_shard(worker, id);
	bool		other = there && there->replica_id != replica;
	bool		dead = false;

	if (there)
		shard_release(there);
	return !other && (log_has_tombstone(worker->log, id, replica, &dead, err) != VT_OK || !dead);
}

/*
 * The children of a shard whose collection is deleted are dropped before it, as far as they
 * are owed what it has: PD has perhaps never heard of them, and nobody else knows that
 * they are here.  Each is a chore of its own, as nothing else may be done to it; VT_BUSY
 * until they are done.
 */
static VtStatus
drop_owed(Worker *worker, uint64_t id, Shard *shard, VtError *err)
{
	ShardChild *children;
	size_t		n;
	VtError		damage = {0};
	VtStatus	status = list_owed(worker, id, shard, &children, &n, &damage);

	if (status != VT_OK)
		log_warn("shard=%llu: what was split off it may stay here: %s", (unsigned long long) id, vt_error_words(&damage));
	status = VT_OK;
	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < children[i].desc.nreplicas; k++)
		{
			Chore		chore = {.kind = CHORE_DROP, .shard = children[i].desc.shard,
				.replica = children[i].desc.replicas[k].replica, .whole = true
			};

			if (children[i].desc.replicas[k].store != worker->store_id ||
				!is_left(worker, chore.shard, chore.replica, err))
				continue;
			chores_put(worker, &chore);
			status = vt_fail(err, VT_BUSY, "what was split off it goes first");
		}
	free(children);
	return status;
}

/* A closed shard with a group, as which replica?  0: it is none, or cannot be read: nobody but who drops it wants it. */
static uint64_t
closed_replica(Worker *worker, uint64_t id)
{
	char		path[4096];
	uint64_t	replica = 0;
	Store	   *rows;

	shard_path(path, sizeof(path), worker->shards_path, id);
	if (access(path, F_OK) != 0 || !worker_has_group(worker, id) ||
		shard_open_rows(worker->shards_path, id, &rows, NULL) != VT_OK)
		return 0;
	(void) shard_read_replica(rows, &replica, NULL);
	store_close(rows);
	return replica;
}

/*
 * Drop a replica of a shard, also one that is not or no longer here; whole: and before it
 * what was split off it and is known to it alone.  VT_BUSY: somebody still holds it; try
 * again.
 */
VtStatus
worker_drop_shard(Worker *worker, uint64_t id, uint64_t replica, bool whole, VtError *err)
{
	Shard	   *shard;
	VtStatus	status = take_unused(worker, id, replica, &shard, err);

	if (status == VT_OK && !shard)
	{
		uint64_t	here = closed_replica(worker, id);

		if (here != 0 && here != replica)
			return vt_fail(err, VT_INVALID, "the shard is here, closed, as replica %llu, not %llu", (unsigned long long) here,
						   (unsigned long long) replica);
	}
	heirs_forget(worker, id);
	/* From here on nobody makes children of it. */
	if (status == VT_OK && whole)
		status = drop_owed(worker, id, shard, err);
	if (status != VT_OK)
		return status;
	if (shard)
	{
		unlink_leaving(worker, shard);
		status = replica_destroy(shard->replica, err);
		worker_free_shard(shard);
		if (status != VT_OK)
			return status;
	}
	else
	{
		status = replica_forget(worker->host, id, replica, err);
		if (status != VT_OK)
			return status;
	}
	/* Once more: a driver that asks late may have had it prepared since, but for a tombstone nothing is. */
	heirs_forget(worker, id);
	status = remove_files(worker, id, err);
	if (status == VT_OK)
		status = hidden_forget(worker, id, err);
	if (status == VT_OK)
		broken_forget(worker, id);
	if (status == VT_OK)
		log_info("shard=%llu dropped", (unsigned long long) id);
	return status;
}

/* At start: what a crash left of a step 3. */
VtStatus
worker_finish_drops(Worker *worker, VtError *err)
{
	DIR		   *dir = opendir(worker->shards_path);
	struct dirent *entry;
	VtStatus	status = VT_OK;

	if (!dir)
		return errno == ENOENT ? VT_OK :
			vt_fail_errno(err, VT_IO, "could not open \"%s\"", worker->shards_path);
	while (status == VT_OK && (entry = readdir(dir)) != NULL)
	{
		size_t		len = strlen(entry->d_name);
		char		path[4096];

		if (len <= strlen(SUFFIX) || strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", worker->shards_path, entry->d_name);
		status = remove_dropped(path, err);
	}
	closedir(dir);
	return status;
}
