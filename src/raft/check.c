/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Looking at a replica, and the truths its structure must keep.
 *
 * raft_check() states what internal.h promises in numbered sentences.  The
 * simulator calls it after every event; what needs more than one replica to see
 * (two leaders, logs that differ) is checked there.
 *
 *-------------------------------------------------------------------------
 */
#include "raft/internal.h"

void
raft_get_status(const Raft *raft, RaftStatus *out)
{
	memset(out, 0, sizeof(*out));
	out->group = raft->opt.group;
	out->id = raft->opt.id;
	out->role = raft->role;
	out->term = raft->term;
	out->vote = raft->vote;
	out->leader = raft->leader;
	out->base = raft->log.base;
	out->last = log_last(&raft->log);
	out->stable = raft->log.stable;
	out->commit = raft->commit;
	out->handed_out = raft->handed_out;
	out->applied = raft->applied;
	out->conf_index = raft->log.conf_index;
	out->transfer_to = raft->transfer_to;
	out->uncommitted_bytes = raft->uncommitted_bytes;
	out->resident_bytes = raft->log.resident_bytes;
	out->log_bytes = raft->log.bytes;
	out->term_committed = raft_term_committed(raft);
	out->installing = raft_installing(raft);
	if (raft->role != RAFT_LEADER)
		return;
	out->min_match = raft->log.stable;
	for (uint32_t i = 0; i < raft->peers_n; i++)
		if (raft->peers[i].active && raft->peers[i].match < out->min_match)
			out->min_match = raft->peers[i].match;
}

const RaftConf *
raft_get_conf(const Raft *raft)
{
	return &raft->log.conf;
}

bool
raft_get_peer(const Raft *raft, uint64_t id, RaftPeer *out)
{
	if (raft->role != RAFT_LEADER)
		return false;
	for (uint32_t i = 0; i < raft->peers_n; i++)
	{
		const Progress *pr = &raft->peers[i];

		if (pr->id != id)
			continue;
		out->id = id;
		out->state = pr->state;
		out->match = pr->match;
		out->next = pr->next;
		out->applied = pr->applied;
		out->active = pr->active || pr->silent < raft->opt.election_ticks;
		out->inflight_messages = pr->inflight_n;
		out->inflight_bytes = pr->inflight_bytes;
		out->snapshot = pr->snapshot != NULL ? pr->snapshot->index : 0;
		return true;
	}
	return false;
}

const RaftEntry *
raft_get_entry(const Raft *raft, uint64_t index)
{
	return log_entry(&raft->log, index);
}

const char *
raft_role_name(RaftRole role)
{
	static const char *const names[] = {"follower", "precandidate", "candidate", "leader"};

	return (unsigned) role < 4 ? names[role] : "unrecognized";
}

const char *
raft_message_name(uint8_t type)
{
	static const char *const names[] = {
		"?", "APP", "APP_RESP", "HEARTBEAT", "HEARTBEAT_RESP", "PREVOTE", "PREVOTE_RESP",
		"VOTE", "VOTE_RESP", "SNAP", "TIMEOUT_NOW", "PEER_GONE"
	};

	return type < sizeof(names) / sizeof(names[0]) ? names[type] : "?";
}

/* -- Invariants -------------------------------------------------------------- */

#define REQUIRE(cond) \
	do { \
		if (!(cond)) \
			return vt_fail(err, VT_CORRUPT, "broken in a replica: %s", #cond); \
	} while (0)

static VtStatus
check_log(const RaftLog *log, VtError *err)
{
	uint64_t	term = log->base_term;
	uint64_t	bytes = 0;
	uint64_t	resident = 0;
	size_t		confs = 0;
	RaftConf	conf;
	uint64_t	conf_index;

	REQUIRE(log->base <= log->stable);
	REQUIRE(log->stable <= log->emitted);
	REQUIRE(log->emitted <= log_last(log));
	for (uint64_t i = log->base + 1; i <= log_last(log); i++)
	{
		const RaftEntry *entry = log_entry(log, i);

		REQUIRE(entry->index == i);
		REQUIRE(entry->term >= term);
		REQUIRE(entry->data == NULL || entry->data->len == entry->size);
		REQUIRE(entry->size == 0 || entry->data != NULL || i <= log->stable);
		REQUIRE(i > log->evicted || entry->data == NULL || entry->type == RAFT_CONF);
		term = entry->term;
		bytes += entry->size;
		resident += entry->data != NULL ? entry->size : 0;
		if (entry->type == RAFT_CONF)
		{
			REQUIRE(confs < log->confs_n && log->confs[confs] == i);
			confs++;
		}
	}
	REQUIRE(confs == log->confs_n);
	REQUIRE(bytes == log->bytes);
	REQUIRE(resident == log->resident_bytes);
	log_conf_at(log, log_last(log), &conf, &conf_index);
	REQUIRE(conf_index == log->conf_index);
	REQUIRE(conf.n == log->conf.n && conf.joint == log->conf.joint);
	REQUIRE(memcmp(conf.members, log->conf.members, conf.n * sizeof(RaftMember)) == 0);
	for (size_t i = 0; i < log->writes_n; i++)
	{
		REQUIRE(log->writes[i].last <= log->emitted);
		REQUIRE(i == 0 || log->writes[i - 1].seq < log->writes[i].seq);
	}
	REQUIRE(log->truncate_from == 0 || log->emitted < log_last(log));
	return VT_OK;
}

static VtStatus
check_leader(const Raft *raft, VtError *err)
{
	uint64_t	bytes = 0;

	REQUIRE(raft->leader == raft->opt.id);
	REQUIRE(raft->term_start <= raft->log.base ||
			log_matches(&raft->log, raft->term_start, raft->term));
	for (uint64_t i = raft->commit + 1; i <= log_last(&raft->log); i++)
		bytes += log_entry(&raft->log, i)->size;
	REQUIRE(bytes == raft->uncommitted_bytes);
	for (uint32_t i = 0; i < raft->peers_n; i++)
	{
		const Progress *pr = &raft->peers[i];

		REQUIRE(pr->match < pr->next);
		REQUIRE(pr->match <= log_last(&raft->log));
		REQUIRE(pr->next <= log_last(&raft->log) + 1 || pr->state != RAFT_REPLICATE);
		REQUIRE(pr->inflight_n <= raft->opt.max_inflight_messages);
		REQUIRE(pr->read_seq <= raft->read_seq);
		REQUIRE(pr->state == RAFT_REPLICATE || pr->inflight_n == 0);
		REQUIRE(pr->state == RAFT_SNAPSHOT || pr->snapshot == NULL);
		if (pr->id == raft->opt.id)
			REQUIRE(pr->match <= raft->log.stable);
	}
	return VT_OK;
}

VtStatus
raft_check(const Raft *raft, VtError *err)
{
	VtStatus	status = check_log(&raft->log, err);

	if (status != VT_OK)
		return status;
	REQUIRE(raft->log.base <= raft->applied);
	REQUIRE(raft->applied <= raft->handed_out);
	REQUIRE(raft->handed_out <= raft->commit);
	REQUIRE(raft->handed_out <= raft->log.stable);
	REQUIRE(raft->commit <= log_last(&raft->log));
	REQUIRE(raft->seq_persisted <= raft->seq_emitted);
	REQUIRE(raft->installing == 0 || raft->installing > raft->seq_persisted);
	REQUIRE(!raft_installing(raft) || raft->incoming != NULL);
	REQUIRE(raft->term >= log_last_term(&raft->log));
	REQUIRE(raft->peers_n == raft->log.conf.n);
	for (uint32_t i = 0; i < raft->peers_n; i++)
		REQUIRE(raft->peers[i].id == raft->log.conf.members[i].id);
	REQUIRE(raft->reads_n == 0 || raft->role == RAFT_LEADER);
	REQUIRE(raft->reads_n + raft->reads_done_n <= raft->opt.max_reads);
	for (size_t i = 1; i < raft->reads_n; i++)
		REQUIRE(raft->reads[i].seq == 0 || raft->reads[i - 1].seq <= raft->reads[i].seq);
	REQUIRE(raft->transfer_to == 0 || raft->role == RAFT_LEADER);
	REQUIRE(raft->queue_n <= raft->queue_size);
	if (raft->role == RAFT_LEADER)
		return check_leader(raft, err);
	if (raft->role == RAFT_CANDIDATE)
		REQUIRE(raft->vote == raft->opt.id);
	return VT_OK;
}
