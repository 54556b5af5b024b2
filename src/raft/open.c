/*-------------------------------------------------------------------------
 *
 * open.c
 *	  A replica begins: what it was given is looked at before anything is made of it.
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

void
raft_options_init(RaftOptions *options)
{
	memset(options, 0, sizeof(*options));
	options->election_ticks = 10;
	options->heartbeat_ticks = 2;
	options->max_entry_bytes = 1 << 20;
	options->max_message_bytes = 512 << 10;
	options->max_message_entries = 1024;
	options->max_inflight_messages = 64;
	options->max_inflight_bytes = 4 << 20;
	options->max_uncommitted_bytes = 16 << 20;
	options->max_apply_bytes = 4 << 20;
	options->max_reads = 4096;
	options->transfer_max_lag = 128;
	options->promote_max_lag = 128;
	options->snapshot_first_bytes = UINT64_MAX;
}

static VtStatus
check_options(const RaftOptions *o, VtError *err)
{
	if (o->group == 0 || o->id == 0 || o->allocator == NULL)
		return vt_fail(err, VT_INVALID, "a replica needs a group, an id and an allocator");
	if (o->heartbeat_ticks == 0 || o->election_ticks <= o->heartbeat_ticks)
		return vt_fail(err, VT_INVALID, "heartbeats must be more frequent than elections");
	if (o->max_message_entries == 0 || o->max_message_entries > RAFT_MAX_MESSAGE_ENTRIES ||
		o->max_inflight_messages == 0 || o->max_inflight_bytes == 0 ||
		o->max_apply_bytes == 0 || o->max_entry_bytes == 0 || o->max_reads == 0)
		return vt_fail(err, VT_INVALID, "a limit is zero or out of range");
	return VT_OK;
}

/* Entry well formed, and possible after one of this index and term? */
VtStatus
raft_check_entry(const RaftEntry *entry, uint64_t index, uint64_t term)
{
	RaftConf	conf;

	if (entry->type != RAFT_NOOP && entry->type != RAFT_COMMAND && entry->type != RAFT_CONF)
		return VT_VERSION;
	if (entry->index != index + 1 || entry->term < term || entry->term == 0 ||
		(entry->data != NULL && entry->data->len != entry->size))
		return VT_PROTOCOL;
	if (entry->type == RAFT_CONF &&
		(entry->data == NULL ||
		 raft_conf_decode(bytes_of(entry->data->data, entry->data->len), &conf) != VT_OK ||
		 raft_conf_check(&conf, NULL) != VT_OK))
		return VT_PROTOCOL;
	return VT_OK;
}

static VtStatus
check_stored(const RaftStored *s, size_t *confs, VtError *err)
{
	uint64_t	index = s->base.index;
	uint64_t	term = s->base.term;

	*confs = 0;
	if (s->base.conf.n > 0 && raft_conf_check(&s->base.conf, NULL) != VT_OK)
		return vt_fail(err, VT_CORRUPT, "the configuration of the base is damaged");
	for (size_t i = 0; i < s->n; i++)
	{
		VtStatus	status = raft_check_entry(&s->entries[i], index, term);

		if (status == VT_VERSION)
			return vt_fail(err, status, "entry %llu has an unrecognized type %u",
						   (unsigned long long) (index + 1), s->entries[i].type);
		if (status != VT_OK)
			return vt_fail(err, VT_CORRUPT, "log entry %llu is damaged or missing",
						   (unsigned long long) (index + 1));
		index = s->entries[i].index;
		term = s->entries[i].term;
		*confs += s->entries[i].type == RAFT_CONF;
	}
	if (s->hard.term == 0 && s->hard.vote != 0)
		return vt_fail(err, VT_CORRUPT, "there is a vote but no term it was given in");
	if (s->hard.term == 0 && s->n == 0)
		return s->applied == s->base.index ? VT_OK :
			vt_fail(err, VT_CORRUPT, "a state machine was found without its log");
	if (s->hard.term < term)
		return vt_fail(err, VT_CORRUPT, "the log is of a later term than the replica");
	if (s->hard.last_index != index || s->hard.last_term != term)
		return vt_fail(err, VT_CORRUPT, "the log ends at %llu but was written up to %llu",
					   (unsigned long long) index, (unsigned long long) s->hard.last_index);
	if (s->applied > index)
		return vt_fail(err, VT_CORRUPT, "the log ends at %llu but %llu was applied: part of it is lost",
					   (unsigned long long) index, (unsigned long long) s->applied);
	if (s->applied < s->base.index)
		return vt_fail(err, VT_CORRUPT, "the log begins after %llu but only %llu was applied",
					   (unsigned long long) s->base.index, (unsigned long long) s->applied);
	return VT_OK;
}

VtStatus
raft_open(const RaftOptions *options, const RaftStored *stored, Raft **out, VtError *err)
{
	Raft	   *raft;
	size_t		confs;
	VtStatus	status;

	*out = NULL;
	status = check_options(options, err);
	if (status == VT_OK)
		status = check_stored(stored, &confs, err);
	if (status != VT_OK)
		return status;

	raft = raft_alloc(options->allocator, sizeof(Raft));
	if (raft == NULL)
		return vt_fail(err, VT_NOMEM, "out of memory for a replica");
	memset(raft, 0, sizeof(*raft));
	raft->opt = *options;
	raft->allocator = options->allocator;
	raft->prng.state = options->seed;
	raft->log.allocator = options->allocator;
	log_reset(&raft->log, &stored->base);
	raft->log.conf = stored->base.conf;
	raft->log.conf_index = stored->base.conf_index;
	status = raft_reserve(raft, stored->n, confs);
	if (status != VT_OK)
	{
		raft_close(raft);
		return vt_fail(err, status, "out of memory for a log of %zu entries", stored->n);
	}
	for (size_t i = 0; i < stored->n; i++)
		log_append(&raft->log, &stored->entries[i]);
	raft->log.stable = raft->log.emitted = log_last(&raft->log);

	raft->term = stored->hard.term;
	raft->vote = RAFT_BUG(4) ? 0 : stored->hard.vote;
	if (raft->term < log_last_term(&raft->log))
		raft->term = log_last_term(&raft->log); /* a new group that begins late */

	/* The stored commit index is a hint and may be behind [P6]. */
	raft->commit = RAFT_BUG(50) ? log_last(&raft->log) : stored->hard.commit;
	if (raft->commit > log_last(&raft->log))
		raft->commit = log_last(&raft->log);
	if (raft->commit < stored->applied && !RAFT_BUG(49))
		raft->commit = stored->applied;
	raft->handed_out = raft->applied = stored->applied;

	raft_sync_peers(raft);
	raft_reset_timeout(raft);
	raft->told_conf = raft->log.conf_index;
	raft->told_term = raft->term;
	*out = raft;
	return VT_OK;
}

void
raft_close(Raft *raft)
{
	const RaftAllocator *a;

	if (raft == NULL)
		return;
	a = raft->allocator;
	for (uint32_t i = 0; i < raft->peers_n; i++)
		progress_free(&raft->peers[i], a);
	log_free(&raft->log);
	raft_free(a, raft->incoming, sizeof(RaftSnapshot));
	raft_free(a, raft->reads, raft->reads_size * sizeof(Read));
	raft_free(a, raft->reads_done, raft->reads_done_size * sizeof(RaftRead));
	raft_free(a, raft->queue, raft->queue_size * sizeof(Queued));
	raft_free(a, raft->out, raft->out_size * sizeof(RaftMessage));
	raft_free(a, raft->out_reads, raft->out_reads_size * sizeof(RaftRead));
	raft_free(a, raft, sizeof(Raft));
}
