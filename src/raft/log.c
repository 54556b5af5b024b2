/*-------------------------------------------------------------------------
 *
 * log.c
 *	  The log in memory: entries, how far they are durable, configurations.
 *
 * All entries after the base are here with index, term and size; payloads may
 * have been evicted.  The numbered truths are at RaftLog in internal.h.
 *
 * Durability is counted, not guessed: every Ready that writes leaves a LogWrite
 * {seq, last} behind, and stable moves to last when that seq is durable.  When
 * entries are replaced meanwhile, the last of every write under way is lowered
 * to what is still the same entry.
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

uint64_t
log_last(const RaftLog *log)
{
	return log->base + log->n;
}

uint64_t
log_last_term(const RaftLog *log)
{
	return log->n == 0 ? log->base_term : log->entries[log->start + log->n - 1].term;
}

RaftEntry *
log_entry(const RaftLog *log, uint64_t index)
{
	if (index <= log->base || index > log_last(log))
		return NULL;
	return &log->entries[log->start + (size_t) (index - log->base - 1)];
}

/*
 * The term of the entry at index; false when it is not known here.
 */
bool
log_term(const RaftLog *log, uint64_t index, uint64_t *term)
{
	const RaftEntry *entry = log_entry(log, index);

	*term = entry != NULL ? entry->term : log->base_term;
	return entry != NULL || index == log->base;
}

bool
log_matches(const RaftLog *log, uint64_t index, uint64_t term)
{
	uint64_t	ours;

	return log_term(log, index, &ours) && ours == term;
}

/*
 * Room for so many more entries, of which so many are CONF.
 */
VtStatus
log_reserve(RaftLog *log, size_t entries, size_t confs)
{
	VtStatus	status;

	status = raft_grow(log->allocator, (void **) &log->confs, &log->confs_size,
					   log->confs_n + confs, sizeof(uint64_t));
	if (status != VT_OK)
		return status;
	if (log->start + log->n + entries <= log->size)
		return VT_OK;
	if (log->start > 0 && log->n + entries <= log->size / 2 + log->size / 4)
	{
		memmove(log->entries, log->entries + log->start, log->n * sizeof(RaftEntry));
		log->start = 0;
		return VT_OK;
	}
	return raft_grow(log->allocator, (void **) &log->entries, &log->size,
					 log->start + log->n + entries, sizeof(RaftEntry));
}

VtStatus
log_reserve_write(RaftLog *log)
{
	return raft_grow(log->allocator, (void **) &log->writes, &log->writes_size,
					 log->writes_n + 1, sizeof(LogWrite));
}

/* The configuration of the last CONF entry, or of the base. */
static void
derive_conf(RaftLog *log)
{
	log_conf_at(log, log_last(log), &log->conf, &log->conf_index);
}

/*
 * The configuration as of index: of the last CONF entry up to there.
 */
void
log_conf_at(const RaftLog *log, uint64_t index, RaftConf *conf, uint64_t *conf_index)
{
	for (size_t i = log->confs_n; i > 0; i--)
	{
		const RaftEntry *entry;

		if (log->confs[i - 1] > index)
			continue;
		entry = log_entry(log, log->confs[i - 1]);
		/* It was decoded once before it was appended, and never evicted. */
		if (raft_conf_decode(bytes_of(entry->data->data, entry->data->len), conf) != VT_OK)
			Assert(false);
		*conf_index = entry->index;
		return;
	}
	*conf = log->base_conf;
	*conf_index = log->base_conf_index;
}

/*
 * Append one entry at the end; room was reserved.  Takes a reference of its
 * own on the payload.
 */
void
log_append(RaftLog *log, const RaftEntry *entry)
{
	RaftEntry  *slot = &log->entries[log->start + log->n];

	Assert(entry->index == log_last(log) + 1);
	Assert(log->start + log->n < log->size);
	*slot = *entry;
	raft_buf_ref(slot->data);
	log->n++;
	log->bytes += slot->size;
	if (slot->data != NULL)
		log->resident_bytes += slot->size;
	if (slot->type == RAFT_CONF)
	{
		Assert(log->confs_n < log->confs_size);
		log->confs[log->confs_n++] = slot->index;
		derive_conf(log);
	}
}

static void
drop_entry(RaftLog *log, RaftEntry *entry)
{
	log->bytes -= entry->size;
	if (entry->data != NULL)
		log->resident_bytes -= entry->size;
	raft_buf_release(entry->data);
	entry->data = NULL;
}

/*
 * Remove every entry from index on.  The configuration falls back to the one
 * before (libraft#250, openraft#1808: a configuration that outlives its entry
 * gives quorums that do not intersect).
 */
void
log_truncate(RaftLog *log, uint64_t from)
{
	size_t		confs_n = log->confs_n;

	if (from > log_last(log))
		return;
	Assert(from > log->base);
	for (uint64_t i = from; i <= log_last(log); i++)
		drop_entry(log, log_entry(log, i));
	log->n = (size_t) (from - log->base - 1);
	while (log->confs_n > 0 && log->confs[log->confs_n - 1] >= from)
		log->confs_n--;
	if (log->confs_n != confs_n && !RAFT_BUG(20))
		derive_conf(log);

	if (from <= log->emitted)
	{
		if (log->truncate_from == 0 || from < log->truncate_from)
			log->truncate_from = from;
		log->emitted = from - 1;
	}
	if (log->stable > log->emitted)
		log->stable = log->emitted;
	if (log->evicted >= from)
		log->evicted = from - 1;
	for (size_t i = 0; i < log->writes_n; i++)
		if (log->writes[i].last >= from && !RAFT_BUG(12))
			log->writes[i].last = from - 1;
}

/*
 * Replace the whole log by a snapshot.  What was on its way to the disk no
 * longer says anything about this log.
 */
void
log_reset(RaftLog *log, const RaftSnapshot *snapshot)
{
	for (size_t i = 0; i < log->n; i++)
		drop_entry(log, &log->entries[log->start + i]);
	log->start = 0;
	log->n = 0;
	log->confs_n = 0;
	log->base = snapshot->index;
	log->base_term = snapshot->term;
	log->base_conf = snapshot->conf;
	log->base_conf_index = snapshot->conf_index;
	log->stable = snapshot->index;
	log->emitted = snapshot->index;
	log->truncate_from = 0;
	log->evicted = snapshot->index;
	for (size_t i = 0; i < log->writes_n; i++)
		log->writes[i].last = snapshot->index;
	if (!RAFT_BUG(21))
		derive_conf(log);
}

/*
 * Make index the base; everything up to it is durable.
 */
void
log_compact(RaftLog *log, uint64_t index)
{
	RaftConf	conf;
	uint64_t	conf_index;
	uint64_t	term;
	size_t		confs_gone = 0;
	size_t		n = (size_t) (index - log->base);

	if (index <= log->base)
		return;
	Assert(index <= log->stable);
	log_conf_at(log, index, &conf, &conf_index);
	(void) log_term(log, index, &term);
	for (size_t i = 0; i < n; i++)
		drop_entry(log, &log->entries[log->start + i]);
	log->start += n;
	log->n -= n;
	while (confs_gone < log->confs_n && log->confs[confs_gone] <= index)
		confs_gone++;
	memmove(log->confs, log->confs + confs_gone, (log->confs_n - confs_gone) * sizeof(uint64_t));
	log->confs_n -= confs_gone;
	log->base = index;
	log->base_term = term;
	log->base_conf = conf;
	log->base_conf_index = conf_index;
	for (size_t i = 0; i < log->writes_n; i++)
		if (log->writes[i].last < index)
			log->writes[i].last = index;

	/* Give memory back after a long log; failing to is no harm. */
	if (log->size > 64 && log->n < log->size / 8)
	{
		size_t		size = log->size / 4;
		RaftEntry  *entries = raft_alloc(log->allocator, size * sizeof(RaftEntry));

		if (entries != NULL)
		{
			memcpy(entries, log->entries + log->start, log->n * sizeof(RaftEntry));
			raft_free(log->allocator, log->entries, log->size * sizeof(RaftEntry));
			log->entries = entries;
			log->start = 0;
			log->size = size;
		}
	}
}

/*
 * Drop payloads up to index, but none that the log on disk does not have yet;
 * configurations stay.
 */
void
log_evict(RaftLog *log, uint64_t index)
{
	if (index > log->stable && !RAFT_BUG(43))
		index = log->stable;
	if (log->evicted < log->base)
		log->evicted = log->base;
	while (log->evicted < index)
	{
		RaftEntry  *entry = log_entry(log, ++log->evicted);

		if (entry->type == RAFT_CONF || entry->data == NULL)
			continue;
		log->resident_bytes -= entry->size;
		raft_buf_release(entry->data);
		entry->data = NULL;
	}
}

/* The payload of an evicted entry is back. */
void
log_restore(RaftLog *log, uint64_t index, RaftBuf *data)
{
	RaftEntry  *entry = log_entry(log, index);

	if (entry->data != NULL || data == NULL || data->len != entry->size)
		return;
	entry->data = raft_buf_ref(data);
	log->resident_bytes += entry->size;
	if (log->evicted >= index)
		log->evicted = index - 1;
}

/*
 * Everything up to the end goes to the writer under this seq.
 */
void
log_written(RaftLog *log, uint64_t seq)
{
	Assert(log->writes_n < log->writes_size);
	log->emitted = log_last(log);
	log->writes[log->writes_n].seq = seq;
	log->writes[log->writes_n].last = log->emitted;
	log->writes_n++;
	log->truncate_from = 0;
}

void
log_persisted(RaftLog *log, uint64_t seq)
{
	size_t		done = 0;

	while (done < log->writes_n && log->writes[done].seq <= seq)
	{
		if (log->writes[done].last > log->stable)
			log->stable = log->writes[done].last;
		done++;
	}
	log->writes_n -= done;
	memmove(log->writes, log->writes + done, log->writes_n * sizeof(LogWrite));
	Assert(log->stable <= log->emitted || RAFT_BUG(12));
}

/*
 * The last index up to this one whose term is not above the given one: where
 * two logs may still agree.  Used by both sides of a rejected append, so that a
 * divergence costs one probe per term and not one per entry.
 */
uint64_t
log_hint(const RaftLog *log, uint64_t index, uint64_t term)
{
	uint64_t	ours;

	if (index > log_last(log))
		index = log_last(log);
	while (index > log->base && log_term(log, index, &ours) && ours > term)
		index--;
	return index;
}

void
log_free(RaftLog *log)
{
	for (size_t i = 0; i < log->n; i++)
		drop_entry(log, &log->entries[log->start + i]);
	raft_free(log->allocator, log->entries, log->size * sizeof(RaftEntry));
	raft_free(log->allocator, log->confs, log->confs_size * sizeof(uint64_t));
	raft_free(log->allocator, log->writes, log->writes_size * sizeof(LogWrite));
}
