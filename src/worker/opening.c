/*-------------------------------------------------------------------------
 *
 * opening.c
 *	  A start: opening the shards that are there, several at a time.
 *
 * Each reads all its rows, which takes one core and hardly the disk, so there are as
 * many threads as cores.  One that is damaged stays closed (broken.c) and the others
 * go on; so does one whose index was dropped (hidden.c).  Whatever else goes wrong
 * ends the start.
 *
 *-------------------------------------------------------------------------
 */
#include "worker.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/breaks.h"
#include "base/directory.h"
#include "base/log.h"
#include "private.h"

#define OPENERS_MAX 8

typedef struct Opening
{
	Worker	   *worker;
	uint64_t   *ids;
	size_t		n;
	pthread_mutex_t lock;		/* of all below */
	size_t		next;
	VtStatus	status;
	VtError		err;
} Opening;

/*
 * The shard whose directory this is, or is to be: a crash may have come when the
 * old one was out of the way and a snapshot not yet in its place.  0: no shard's.
 */
static uint64_t
shard_of_name(const char *name)
{
	char	   *end;
	uint64_t	id = strtoull(name, &end, 16);

	return end - name == 16 && (*end == '\0' || strncmp(end, ".in.", 4) == 0) ? id : 0;
}

/*
 * Before anything is acknowledged: the folders of the Raft log and of the shards themselves,
 * and what a process before this one had renamed and could no longer make durable (law S2).
 */
static VtStatus
sync_names(const Worker *worker, VtError *err)
{
	VtStatus	status = vt_broken("S1-folder") ? VT_OK : directory_sync(worker->options.data, err);

	return status == VT_OK ? shard_sync_directory(worker->shards_path, err) : status;
}

static VtStatus
add_one(void *arg, uint64_t id)
{
	Opening    *opening = (Opening *) arg;
	size_t		i = 0;

	while (i < opening->n && opening->ids[i] != id)
		i++;
	if (id == 0 || i < opening->n)
		return VT_OK;
	opening->ids = vt_realloc(opening->ids, sizeof(uint64_t) * (opening->n + 1));
	opening->ids[opening->n++] = id;
	return VT_OK;
}

/*
 * All names, before anything is opened: that may rename directories.  And all groups: one whose
 * directory is gone is damaged like others.
 */
static VtStatus
find_all(Worker *worker, Opening *opening, VtError *err)
{
	DIR		   *dir;
	struct dirent *entry;
	VtStatus	status;

	if (mkdir(worker->shards_path, 0700) < 0 && errno != EEXIST)
		return vt_fail_errno(err, VT_IO, "could not create \"%s\"", worker->shards_path);
	status = sync_names(worker, err);
	if (status != VT_OK)
		return status;
	dir = opendir(worker->shards_path);
	if (!dir)
		return vt_fail_errno(err, VT_IO, "could not open \"%s\"", worker->shards_path);
	while ((entry = readdir(dir)) != NULL)
		(void) add_one(opening, shard_of_name(entry->d_name));
	closedir(dir);
	return log_each_group(worker->log, add_one, opening, err);
}

static VtStatus
open_one(Worker *worker, uint64_t id, VtError *err)
{
	bool		hidden;
	VtStatus	status;

	if (!worker_has_group(worker, id))
	{
		log_info("shard=%llu has no Raft group: not founded yet, or being dropped", (unsigned long long) id);
		return VT_OK;
	}
	status = hidden_find(worker, id, &hidden, err);
	if (status != VT_OK)
		return status;
	if (hidden)
	{
		log_info("shard=%llu stays closed: its index was dropped", (unsigned long long) id);
		return VT_OK;
	}
	status = worker_open_shard(worker, id, err);
	return status != VT_OK && broken_note(worker, id, status, err) ? VT_OK : status;
}

static void *
open_main(void *arg)
{
	Opening    *opening = (Opening *) arg;

	pthread_mutex_lock(&opening->lock);
	while (opening->next < opening->n && opening->status == VT_OK)
	{
		uint64_t	id = opening->ids[opening->next++];
		VtError		err = {0};
		VtStatus	status;

		pthread_mutex_unlock(&opening->lock);
		status = open_one(opening->worker, id, &err);
		pthread_mutex_lock(&opening->lock);
		if (status != VT_OK && opening->status == VT_OK)
		{
			opening->status = status;
			opening->err = err;
		}
	}
	pthread_mutex_unlock(&opening->lock);
	return NULL;
}

VtStatus
worker_open_all(Worker *worker, VtError *err)
{
	Opening		opening = {.worker = worker};
	pthread_t	threads[OPENERS_MAX];
	long		cores = sysconf(_SC_NPROCESSORS_ONLN);
	int			n = 0;
	VtStatus	status = hidden_prune(worker, err);

	if (status == VT_OK)
		status = find_all(worker, &opening, err);
	pthread_mutex_init(&opening.lock, NULL);

	/* This one is the first of them; without memory for more it does it alone. */
	while (status == VT_OK && n < OPENERS_MAX && n + 1 < cores && (size_t) n + 1 < opening.n &&
		   pthread_create(&threads[n], NULL, open_main, &opening) == 0)
		n++;
	if (status == VT_OK)
		(void) open_main(&opening);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	if (opening.status != VT_OK)
	{
		status = opening.status;
		if (err)
			*err = opening.err;
	}
	pthread_mutex_destroy(&opening.lock);
	free(opening.ids);
	return status;
}
