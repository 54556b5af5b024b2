/*-------------------------------------------------------------------------
 *
 * install.c
 *	  A snapshot in the place of a shard's state.
 *
 * Installing what transfer.c has staged is two renames: the old directory goes to
 * <id>.old, the staged one takes its name.  The Raft log names the stream as its
 * base before that, so a start can tell which state is the right one, and
 * finishes what a crash has interrupted (shard_finish_install).  It believes no name
 * alone: what takes the place of a state is whole by its own marker, and what is
 * thrown away instead was never needed.
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/breaks.h"
#include "base/cond.h"
#include "base/log.h"

#define GATE_WAIT_MS 20

/* -- Directories --------------------------------------------------------------- */

void
shard_staged_path(char *out, size_t size, const char *directory, uint64_t id, uint64_t stream)
{
	snprintf(out, size, "%s/%016" PRIx64 ".in.%016" PRIx64, directory, id, stream);
}

static void
old_path(char *out, size_t size, const char *directory, uint64_t id)
{
	snprintf(out, size, "%s/%016" PRIx64 ".old", directory, id);
}

VtStatus
shard_remove_store(const char *path, VtError *err)
{
	VtStatus	status = shard_remove_graph(path, err);

	if (status == VT_OK && !(access(path, F_OK) < 0 && errno == ENOENT))
		status = store_destroy(path, err);
	if (status == VT_OK && rmdir(path) < 0 && errno != ENOENT)
		status = vt_fail_errno(err, VT_IO, "could not remove \"%s\"", path);
	return status;
}

/* -- Installing ------------------------------------------------------------ */

/* Two renames, each of which may be the last that a crash left done. */
static VtStatus
swap_directories(const char *directory, uint64_t id, uint64_t stream, VtError *err)
{
	char		path[4096];
	char		old[4096];
	char		staged[4096];
	VtStatus	status;

	shard_path(path, sizeof(path), directory, id);
	old_path(old, sizeof(old), directory, id);
	shard_staged_path(staged, sizeof(staged), directory, id, stream);
	status = shard_remove_store(old, err);
	if (status == VT_OK && rename(path, old) < 0 && errno != ENOENT)
		status = vt_fail_errno(err, VT_IO, "could not rename \"%s\"", path);
	if (status == VT_OK && rename(staged, path) < 0)
		status = vt_fail_errno(err, VT_IO, "could not rename \"%s\"", staged);
	if (status == VT_OK)
		status = shard_sync_directory(directory, err);
	if (status == VT_OK)
		status = shard_remove_store(old, err);
	return status;
}

/* Nobody holds the shard when it returns, and nobody new can since installing was set. */
static void
close_gate(Shard *shard)
{
	pthread_mutex_lock(&shard->gate_lock);
	while (atomic_load(&shard->users) > 0)
	{
		struct timespec until;

		/* Those that were about to leave something behind may have done so by now. */
		pthread_mutex_unlock(&shard->gate_lock);
		if (shard->quiesce)
			shard->quiesce(shard->quiesce_arg, shard);
		pthread_mutex_lock(&shard->gate_lock);
		until = cond_moment(GATE_WAIT_MS * 1000);
		if (atomic_load(&shard->users) > 0)
			pthread_cond_timedwait(&shard->gate, &shard->gate_lock, &until);
	}
	pthread_mutex_unlock(&shard->gate_lock);
}

/* The old state goes first, so that memory does not hold both. */
static void
let_go(Shard *shard)
{
	Records    *records = shard->records;
	Store	   *rows = shard->rows;

	pthread_mutex_lock(&shard->content_lock);
	shard->records = NULL;
	shard->rows = NULL;
	pthread_mutex_unlock(&shard->content_lock);
	records_free(records);
	store_close(rows);
	free(shard->raises);
	shard->raises = NULL;
	shard->nraises = 0;
	pthread_mutex_lock(&shard->children_lock);
	free(shard->children);
	shard->children = NULL;
	shard->nchildren = shard->nsplit = 0;
	pthread_mutex_unlock(&shard->children_lock);
	watch_end(shard);
	atomic_store(&shard->strays, false);
	buf_clear(&shard->purge);

	/* What was compared was the state that goes: nobody is to be set aside for that any more. */
	pthread_mutex_lock(&shard->verified_lock);
	memset(&shard->verified, 0, sizeof(shard->verified));
	pthread_mutex_unlock(&shard->verified_lock);
	atomic_store(&shard->suspect, false);
	shard->newest = 0;
	atomic_store(&shard->whole, false);
	atomic_store(&shard->fence, 0);
	atomic_store(&shard->lsn, 0);
	atomic_store(&shard->ingesting, false);
	shard->load_over = 0;
}

/* Is this stream staged, all of it, and does it stand where it should? */
static VtStatus
check_staged(Shard *shard, uint64_t stream, uint64_t index, VtError *err)
{
	Buf			value = {0};
	uint64_t	stands = 0;
	VtStatus	status;

	if (shard->staged_stream != stream || !shard->staged_whole)
		return vt_fail(err, VT_NOT_FOUND, "the snapshot of shard %llu is not staged",
					   (unsigned long long) shard->desc.shard);
	status = store_get(shard->staged, bytes_of("a", 1), &value, err);
	if (status == VT_OK && value.len == 8)
		stands = get_le64(value.data);
	buf_free(&value);
	if (status == VT_OK && stands != index)
		status = vt_fail(err, VT_CORRUPT, "the snapshot of shard %llu stands at %llu, not at %llu",
						 (unsigned long long) shard->desc.shard, (unsigned long long) stands,
						 (unsigned long long) index);
	return status;
}

/* A checkpoint that is being made comes to its end, and there is none until free_files(). */
static void
take_files(Shard *shard, uint64_t index)
{
	pthread_mutex_lock(&shard->files_lock);
	while (shard->files != FILES_FREE)
		pthread_cond_wait(&shard->files_free, &shard->files_lock);
	shard->files = FILES_INSTALL;
	shard->installing_at = index;
	pthread_mutex_unlock(&shard->files_lock);
}

static void
free_files(Shard *shard)
{
	pthread_mutex_lock(&shard->files_lock);
	shard->files = FILES_FREE;
	pthread_cond_broadcast(&shard->files_free);
	pthread_mutex_unlock(&shard->files_lock);
}

/*
 * The files change places, durably.  Nobody may hold the shard, and no checkpoint
 * be made, before its new state is loaded as well; one thread does both.
 */
VtStatus
shard_install(void *state, uint64_t stream, uint64_t index, VtError *err)
{
	Shard	   *shard = (Shard *) state;
	VtStatus	status;

	atomic_store(&shard->installing, true);	/* before checkpoints are none: shard_settle() */
	take_files(shard, index);
	close_gate(shard);
	status = check_staged(shard, stream, index, err);
	if (status == VT_OK)
	{
		let_go(shard);
		store_close(shard->staged);
		shard->staged = NULL;
		shard->staged_stream = 0;
		status = swap_directories(shard->directory, shard->desc.shard, stream, err);
	}
	if (status != VT_OK)
	{
		atomic_store(&shard->installing, false);
		free_files(shard);
	}
	return status;
}

VtStatus
shard_load_installed(void *state, uint64_t index, VtError *err)
{
	Shard	   *shard = (Shard *) state;
	uint64_t	stands;
	Store	   *rows = NULL;
	VtStatus	status = shard_open_rows(shard->directory, shard->desc.shard, &rows, err);

	pthread_mutex_lock(&shard->content_lock);
	shard->rows = rows;
	pthread_mutex_unlock(&shard->content_lock);
	if (status == VT_OK)
		status = shard_load(shard, &stands, err);
	if (status == VT_OK && stands != index)
		status = vt_fail(err, VT_CORRUPT, "the snapshot of shard %llu was not loaded as it came",
						 (unsigned long long) shard->desc.shard);
	atomic_store(&shard->installing, false);
	free_files(shard);
	shard_stir(shard);
	if (status == VT_OK && shard->on_waiting)
		shard->on_waiting(shard->on_waiting_arg);
	if (status == VT_OK && shard->on_split)
		shard->on_split(shard->on_split_arg);
	return status;
}

/* Where the last checkpoint in this directory stands; 0: there is none, or no replica that made it. */
static VtStatus
stands_at(const char *path, uint64_t *index, VtError *err)
{
	StoreOptions options = {.must_exist = true, .replayed = true};
	Store	   *rows;
	VtId		boot;
	uint64_t	replica;
	VtStatus	status;

	*index = 0;
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return VT_OK;
	status = store_open(path, &options, &rows, err);
	if (status != VT_OK)
		return status;
	status = shard_read_replica(rows, &replica, err);
	if (status == VT_OK)
		status = shard_read_marker(rows, index, &boot, err);
	store_close(rows);
	return status == VT_NOT_FOUND ? VT_OK : status;
}

/*
 * The base of the log is this stream, and something of it is staged.  All of it: it takes its place.
 * A part of it can only have come again, after that; or else nothing here is the base, and nothing is removed.
 */
static VtStatus
finish_staged(const char *directory, uint64_t id, uint64_t stream, uint64_t index, VtError *err)
{
	char		path[4096];
	char		staged[4096];
	uint64_t	staged_at = 0;
	uint64_t	at = 0;
	VtError		damage = {0};
	VtStatus	status;
	VtStatus	in_place;

	shard_path(path, sizeof(path), directory, id);
	shard_staged_path(staged, sizeof(staged), directory, id, stream);
	status = stands_at(staged, &staged_at, &damage);
	if ((status == VT_OK && staged_at == index) || vt_broken("P5-whole"))
	{
		log_info("shard=%llu: putting a snapshot in place that was staged before",
				 (unsigned long long) id);
		return swap_directories(directory, id, stream, err);
	}
	in_place = stands_at(path, &at, status == VT_OK ? &damage : NULL);
	if (in_place == VT_OK && at > 0 && at >= index)
	{
		log_info("shard=%llu: a part of the snapshot that is in place had come again", (unsigned long long) id);
		return VT_OK;
	}
	if (status == VT_OK && in_place == VT_OK)
		return vt_fail(err, VT_CORRUPT, "the snapshot of shard %llu at %llu is staged in part, and what is in place stands at %llu",
					   (unsigned long long) id, (unsigned long long) index, (unsigned long long) at);
	if (err)
		*err = damage;
	return status != VT_OK ? status : in_place;
}

VtStatus
shard_finish_install(const char *directory, uint64_t id, uint64_t stream, uint64_t index, VtError *err)
{
	char		begins[64];
	char		path[4096];
	char		staged[4096];
	struct dirent *entry;
	DIR		   *dir;
	VtStatus	status = VT_OK;

	shard_staged_path(staged, sizeof(staged), directory, id, stream);
	if (stream != 0 && access(staged, F_OK) == 0)
		status = finish_staged(directory, id, stream, index, err);

	/* What is left now was not taken. */
	snprintf(begins, sizeof(begins), "%016" PRIx64 ".in.", id);
	dir = status == VT_OK ? opendir(directory) : NULL;
	while (dir && status == VT_OK && (entry = readdir(dir)) != NULL)
	{
		if (strncmp(entry->d_name, begins, strlen(begins)) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		status = shard_remove_store(path, err);
	}
	if (dir)
		closedir(dir);
	old_path(path, sizeof(path), directory, id);
	return status == VT_OK ? shard_remove_store(path, err) : status;
}
