/*-------------------------------------------------------------------------
 *
 * graph.c
 *	  The file of a shard's graph, in the shard's directory.
 *
 * A cache: it saves linking every vector anew at a start, and is believed in
 * nothing but who is linked to whom.  Which records there are, in which version
 * and with which vector, is what rows say: at load each row claims the slot that
 * has its id and version, one that finds none is put as a new one, and a slot that
 * no row claims is dead (records.h).  So it does not matter whether the file is
 * older than the rows, or knows of some that a power loss took, or of deletions
 * that it took back.  Versions are log indexes, one for each change in the life of
 * a shard, on all its replicas the same; the file names that life in its tag.
 *
 * It lies in the directory of the rows and goes where they go: with a dropped
 * shard, with the state that an installed snapshot takes the place of, and with a
 * snapshot to another replica, which then need not link everything anew either.
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"

#define NAME "graph"

/* With fewer records linking them takes less than this is worth. */
#define SENT_RECORDS_MIN 1000
#define SENT_STALE_SHARE 20		/* of the records may be newer than a file that is sent */

static void
graph_path(char *out, size_t size, const Shard *shard)
{
	shard_path(out, size, shard->directory, shard->desc.shard);
	snprintf(out + strlen(out), size - strlen(out), "/" NAME);
}

/* last: before the first split, which leaves the file as good as it was. */
static void
put_tag(Buf *out, const WireShardDesc *desc, uint64_t last)
{
	buf_put_id(out, &desc->generation);
	buf_put_u64(out, desc->shard);
	buf_put_u64(out, desc->incarnation);
	buf_put_u64(out, desc->first);
	buf_put_u64(out, last);
	buf_put_u32(out, desc->element);
}

/* With the graph's lock held. */
static VtStatus
save(Shard *shard, ShardPace pace, void *arg, VtError *err)
{
	char		path[4096];
	Buf			tag = {0};
	RecordsFile file = {.path = path, .pace = pace, .arg = arg};
	ShardFigures figures = shard_figures(shard);
	VtStatus	status;

	graph_path(path, sizeof(path), shard);
	put_tag(&tag, &shard->desc, shard->born_last);
	file.tag = buf_bytes(&tag);
	status = records_save(shard->records, &file, err);
	/* What waited is not in the file. */
	if (status == VT_OK && figures.waiting < figures.changes)
		atomic_store(&shard->saved_changes, figures.changes - figures.waiting);
	buf_free(&tag);
	return status;
}

VtStatus
shard_save_graph(Shard *shard, ShardPace pace, void *arg, VtError *err)
{
	VtStatus	status;

	pthread_mutex_lock(&shard->graph_lock);
	status = save(shard, pace, arg, err);
	pthread_mutex_unlock(&shard->graph_lock);
	return status;
}

static bool
is_of(void *arg, Bytes id)
{
	const WireShardDesc *desc = (const WireShardDesc *) arg;
	uint64_t	place = wire_place(desc, id);

	return place >= desc->first && place <= desc->last;
}

/*
 * Versions are indexes of the parent's log up to the split, and of the child's, which
 * begins there: in the child's life as well each is one change.
 */
VtStatus
shard_bequeath_graph(Shard *shard, const WireShardDesc *child, const char *directory, ShardPace pace, void *arg,
					 VtError *err)
{
	WireShardDesc desc = *child;
	char		path[4096];
	Buf			tag = {0};
	RecordsFile file = {.path = path, .pace = pace, .arg = arg, .keep = is_of, .keep_arg = &desc, .seed = child->shard};
	VtStatus	status;

	if (!shard_sends_graph(shard))
		return VT_OK;
	snprintf(path, sizeof(path), "%s/" NAME, directory);
	put_tag(&tag, child, child->last);
	file.tag = buf_bytes(&tag);
	status = records_save(shard->records, &file, err);
	buf_free(&tag);
	return status;
}

/* Unless somebody does it now, which may take long: then what is there has to do. */
static void
save_to_send(Shard *shard, ShardPace pace, void *arg)
{
	VtError		err = {0};

	if (pthread_mutex_trylock(&shard->graph_lock) != 0)
		return;
	if (save(shard, pace, arg, &err) != VT_OK && err.code != VT_CANCELLED)
		log_warn("shard=%llu: its graph could not be saved to be sent: %s", (unsigned long long) shard->desc.shard,
				 vt_error_words(&err));
	pthread_mutex_unlock(&shard->graph_lock);
}

bool
shard_sends_graph(Shard *shard)
{
	return shard_has_graph(shard) && shard_figures(shard).records >= SENT_RECORDS_MIN && !atomic_load(&shard->ingesting);
}

int
shard_open_graph(Shard *shard, ShardPace pace, void *arg)
{
	ShardFigures figures = shard_figures(shard);
	char		path[4096];

	if (figures.changes > atomic_load(&shard->saved_changes) + figures.waiting + figures.records / SENT_STALE_SHARE &&
		!atomic_load(&shard->disk_low))
		save_to_send(shard, pace, arg);
	graph_path(path, sizeof(path), shard);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int
shard_make_graph(const char *directory)
{
	char		path[4096];

	snprintf(path, sizeof(path), "%s/" NAME, directory);
	return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

/* last as in put_tag(). */
static bool
load(const char *path, const WireShardDesc *desc, uint64_t last, const RecordsOptions *options, Records **out)
{
	Buf			tag = {0};
	RecordsFile file = {.path = path};
	VtError		err = {0};
	VtStatus	status;

	put_tag(&tag, desc, last);
	file.tag = buf_bytes(&tag);
	status = records_load(options, &file, out, &err);
	buf_free(&tag);
	if (status != VT_OK && status != VT_NOT_FOUND)
		log_warn("shard=%llu: its graph is built anew: %s", (unsigned long long) desc->shard,
				 vt_error_words(&err));
	return status == VT_OK;
}

bool
shard_load_graph(Shard *shard, const RecordsOptions *options, Records **out)
{
	char		path[4096];

	graph_path(path, sizeof(path), shard);
	return load(path, &shard->desc, shard->born_last, options, out);
}

bool
shard_load_bequeathed(const WireShardDesc *child, const char *directory, const RecordsOptions *options, Records **out)
{
	char		path[4096];

	snprintf(path, sizeof(path), "%s/" NAME, directory);
	return load(path, child, child->last, options, out);
}

VtStatus
shard_remove_graph(const char *path, VtError *err)
{
	static const char *const names[] = {"/" NAME, "/" NAME HNSW_SAVE_SUFFIX};
	char		file[4096];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		snprintf(file, sizeof(file), "%s%s", path, names[i]);
		if (unlink(file) < 0 && errno != ENOENT)
			return vt_fail_errno(err, VT_IO, "could not remove \"%s\"", file);
	}
	return VT_OK;
}
