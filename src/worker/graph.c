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
 * a shard; the file names that life, and this replica, in its tag.
 *
 * It lies in the directory of the rows and goes where they go: with a dropped
 * shard, or with the state that an installed snapshot takes the place of.
 *
 *-------------------------------------------------------------------------
 */
#include "shard.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"

#define NAME "graph"

static void
graph_path(char *out, size_t size, const Shard *shard)
{
	shard_path(out, size, shard->directory, shard->desc.shard);
	snprintf(out + strlen(out), size - strlen(out), "/" NAME);
}

static void
put_tag(Buf *out, const Shard *shard)
{
	const WireShardDesc *desc = &shard->desc;

	buf_put_id(out, &desc->generation);
	buf_put_u64(out, desc->shard);
	buf_put_u64(out, desc->incarnation);
	buf_put_u64(out, shard->replica_id);
	buf_put_u64(out, desc->first);
	buf_put_u64(out, shard->born_last); /* a split leaves the file as good as it was */
	buf_put_u32(out, desc->element);
}

VtStatus
shard_save_graph(Shard *shard, ShardPace pace, void *arg, VtError *err)
{
	char		path[4096];
	Buf			tag = {0};
	RecordsFile file = {.path = path, .pace = pace, .arg = arg};
	VtStatus	status;

	graph_path(path, sizeof(path), shard);
	put_tag(&tag, shard);
	file.tag = buf_bytes(&tag);
	status = records_save(shard->records, &file, err);
	buf_free(&tag);
	return status;
}

bool
shard_load_graph(Shard *shard, const RecordsOptions *options, Records **out)
{
	char		path[4096];
	Buf			tag = {0};
	RecordsFile file = {.path = path};
	VtError		err = {0};
	VtStatus	status;

	graph_path(path, sizeof(path), shard);
	put_tag(&tag, shard);
	file.tag = buf_bytes(&tag);
	status = records_load(options, &file, out, &err);
	buf_free(&tag);
	if (status != VT_OK && status != VT_NOT_FOUND)
		log_warn("shard=%llu: its graph is built anew: %s", (unsigned long long) shard->desc.shard,
				 vt_error_words(&err));
	return status == VT_OK;
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
