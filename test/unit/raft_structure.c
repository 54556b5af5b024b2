/*-------------------------------------------------------------------------
 *
 * raft_structure.c
 *	  raft_check() notices what it promises to notice.
 *
 * The simulator asks raft_check() after every event; a sentence of it that
 * cannot fail would guard nothing.  Here each one is broken by hand, in a replica
 * that was sound before and is again after, and must be the one that is named.
 *
 *-------------------------------------------------------------------------
 */
#include "raft_rig.h"

#include "raft/internal.h"

static void
expect_sentence(const Raft *raft, const char *sentence)
{
	VtError		err;

	assert_int_equal(raft_check(raft, &err), VT_CORRUPT);
	if (strstr(err.msg, sentence) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.msg, sentence);
}

/* With this value there, the sentence is broken; without it, all is well. */
#define EXPECT_NOTICED(place, value, sentence) \
	do { \
		__typeof__(place) kept_ = (place); \
		(place) = (value); \
		expect_sentence(raft, sentence); \
		(place) = kept_; \
		rig_check(raft); \
	} while (0)

/*
 * A leader whose log begins after a compacted entry, with a configuration in it,
 * and two writes under way.
 */
static Raft *
busy_leader(void)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftConf	conf;
	RaftReady	rd;

	rig_lead(raft);
	assert_int_equal(raft_compact(raft, 1), VT_OK);
	assert_int_equal(rig_propose(raft, "one"), VT_OK);
	conf = rig_conf(raft);
	rig_add(&conf, 4, RAFT_LEARNER);
	assert_int_equal(raft_propose_conf(raft, &conf, 0, NULL), VT_OK);
	rig_serve(raft);
	assert_int_equal(rig_propose(raft, "two"), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rig_propose(raft, "three"), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(raft->log.writes_n, 2);
	rig_check(raft);
	return raft;
}

static void
the_log(void **state)
{
	Raft	   *raft = busy_leader();
	RaftLog    *log = &raft->log;
	RaftEntry  *first = log_entry(log, 2);
	RaftEntry  *last = log_entry(log, 5);
	RaftBuf    *data = last->data;

	(void) state;
	EXPECT_NOTICED(log->stable, 0, "log->base <= log->stable");
	EXPECT_NOTICED(log->stable, log->emitted + 1, "log->stable <= log->emitted");
	EXPECT_NOTICED(log->emitted, log_last(log) + 1, "log->emitted <= log_last(log)");
	EXPECT_NOTICED(first->index, 9, "entry->index == i");
	EXPECT_NOTICED(first->term, 0, "entry->term >= term");
	EXPECT_NOTICED(first->size, 4, "entry->data->len == entry->size");
	last->data = NULL;			/* neither resident nor durable */
	expect_sentence(raft, "i <= log->stable");
	last->data = data;
	EXPECT_NOTICED(log->evicted, log_last(log), "i > log->evicted");
	EXPECT_NOTICED(log->confs[0], 2, "log->confs[confs] == i");
	EXPECT_NOTICED(log->confs_n, 0, "confs < log->confs_n");
	EXPECT_NOTICED(log->confs_n, 2, "confs == log->confs_n");
	EXPECT_NOTICED(log->bytes, 0, "bytes == log->bytes");
	EXPECT_NOTICED(log->resident_bytes, 0, "resident == log->resident_bytes");
	EXPECT_NOTICED(log->conf_index, 2, "conf_index == log->conf_index");
	EXPECT_NOTICED(log->conf.n, 3, "conf.n == log->conf.n");
	EXPECT_NOTICED(log->conf.joint, true, "conf.joint == log->conf.joint");
	EXPECT_NOTICED(log->conf.members[1].node, 9, "memcmp(conf.members");
	EXPECT_NOTICED(log->writes[1].last, 6, "log->writes[i].last <= log->emitted");
	EXPECT_NOTICED(log->writes[1].seq, log->writes[0].seq, "log->writes[i - 1].seq");
	EXPECT_NOTICED(log->truncate_from, 5, "log->truncate_from == 0");
	rig_close(raft);
}

static void
the_replica(void **state)
{
	Raft	   *raft = busy_leader();

	(void) state;
	EXPECT_NOTICED(raft->applied, 0, "raft->log.base <= raft->applied");
	EXPECT_NOTICED(raft->applied, 2, "raft->applied <= raft->handed_out");
	EXPECT_NOTICED(raft->handed_out, 2, "raft->handed_out <= raft->commit");
	raft->commit = raft->handed_out = 5;	/* committed, not durable here */
	expect_sentence(raft, "raft->handed_out <= raft->log.stable");
	raft->commit = raft->handed_out = 1;
	EXPECT_NOTICED(raft->commit, 6, "raft->commit <= log_last(&raft->log)");
	EXPECT_NOTICED(raft->seq_persisted, raft->seq_emitted + 1, "raft->seq_persisted <= raft->seq_emitted");
	EXPECT_NOTICED(raft->installing, raft->seq_persisted, "raft->installing > raft->seq_persisted");
	EXPECT_NOTICED(raft->install, true, "raft->incoming != NULL");
	EXPECT_NOTICED(raft->term, 0, "raft->term >= log_last_term(&raft->log)");
	EXPECT_NOTICED(raft->peers_n, 3, "raft->peers_n == raft->log.conf.n");
	EXPECT_NOTICED(raft->peers[2].id, 7, "raft->peers[i].id");
	EXPECT_NOTICED(raft->queue_n, raft->queue_size + 1, "raft->queue_n <= raft->queue_size");
	rig_close(raft);
}

static void
what_only_a_leader_has(void **state)
{
	Raft	   *raft = busy_leader();
	RaftReady	rd;

	(void) state;
	assert_int_equal(raft_transfer(raft, 2), VT_OK);
	EXPECT_NOTICED(raft->role, RAFT_FOLLOWER, "raft->transfer_to == 0");
	raft_transfer_abort(raft);
	raft->role = RAFT_CANDIDATE;
	rig_check(raft);
	EXPECT_NOTICED(raft->vote, 2, "raft->vote == raft->opt.id");
	rig_close(raft);

	raft = busy_leader();
	assert_int_equal(raft_read(raft, 1), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(raft_read(raft, 2), VT_OK);
	assert_int_equal(raft->reads_n, 2);
	EXPECT_NOTICED(raft->role, RAFT_FOLLOWER, "raft->reads_n == 0");
	EXPECT_NOTICED(raft->opt.max_reads, 1, "raft->opt.max_reads");
	EXPECT_NOTICED(raft->reads[0].seq, 3, "raft->reads[i - 1].seq");
	rig_close(raft);
}

static void
a_leader(void **state)
{
	Raft	   *raft = busy_leader();
	Progress   *self = &raft->peers[0];
	Progress   *pr = &raft->peers[1];
	RaftSnapshot snapshot;

	(void) state;
	assert_int_equal(pr->state, RAFT_REPLICATE);
	assert_true(pr->inflight_n > 0);
	EXPECT_NOTICED(raft->leader, 2, "raft->leader == raft->opt.id");
	EXPECT_NOTICED(raft->term_start, 6, "raft->term_start");
	EXPECT_NOTICED(raft->uncommitted_bytes, 0, "bytes == raft->uncommitted_bytes");
	EXPECT_NOTICED(pr->next, pr->match, "pr->match < pr->next");
	EXPECT_NOTICED(pr->next, 7, "pr->state != RAFT_REPLICATE");
	EXPECT_NOTICED(raft->opt.max_inflight_messages, 0, "raft->opt.max_inflight_messages");
	EXPECT_NOTICED(pr->read_seq, raft->read_seq + 1, "pr->read_seq <= raft->read_seq");
	EXPECT_NOTICED(pr->state, RAFT_PROBE, "pr->inflight_n == 0");
	EXPECT_NOTICED(pr->snapshot, &snapshot, "pr->snapshot == NULL");

	/* A peer that got a snapshot may be probed beyond our end. */
	progress_probe(pr, raft->allocator, 9);
	rig_check(raft);
	rig_close(raft);

	raft = busy_leader();
	self = &raft->peers[0];
	self->next = 9;
	self->match = 6;
	expect_sentence(raft, "pr->match <= log_last(&raft->log)");
	self->match = 5;
	expect_sentence(raft, "pr->match <= raft->log.stable");
	rig_close(raft);
}

/*
 * Majorities, where a replica never asks: nobody votes.
 */
static void
nobody_votes(void **state)
{
	RaftConf	conf = {.n = 0};
	uint64_t	values[1] = {7};
	Vote		votes[1] = {VOTE_GRANTED};

	(void) state;
	assert_int_equal(quorum_index(&conf, values), 0);
	assert_int_equal(quorum_votes(&conf, votes), VOTES_LOST);
	rig_add(&conf, 1, RAFT_LEARNER);
	assert_int_equal(quorum_index(&conf, values), 0);
	assert_int_equal(quorum_votes(&conf, votes), VOTES_LOST);
}

/* Five voters, two of them old only, three new: both majorities, one by one. */
static void
both_majorities_count(void **state)
{
	RaftConf	conf = {.n = 0, .joint = true};
	uint64_t	values[5] = {9, 8, 3, 2, 1};
	Vote		votes[5] = {VOTE_GRANTED, VOTE_GRANTED, VOTE_NONE, VOTE_NONE, VOTE_NONE};

	(void) state;
	rig_add(&conf, 1, RAFT_VOTER_OLD);
	rig_add(&conf, 2, RAFT_VOTER_OLD);
	rig_add(&conf, 3, RAFT_VOTER | RAFT_VOTER_OLD);
	rig_add(&conf, 4, RAFT_VOTER);
	rig_add(&conf, 5, RAFT_VOTER);
	assert_int_equal(quorum_index(&conf, values), 2);	/* old 8, new 2 */
	values[0] = values[1] = 1;
	assert_int_equal(quorum_index(&conf, values), 1);	/* old 1, new 2 */
	assert_int_equal(quorum_votes(&conf, votes), VOTES_PENDING);
	votes[3] = votes[4] = VOTE_GRANTED;
	assert_int_equal(quorum_votes(&conf, votes), VOTES_WON);
	votes[1] = votes[2] = VOTE_REFUSED;
	assert_int_equal(quorum_votes(&conf, votes), VOTES_LOST);
	votes[1] = VOTE_NONE;
	assert_int_equal(quorum_votes(&conf, votes), VOTES_PENDING);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_log),
		cmocka_unit_test(the_replica),
		cmocka_unit_test(what_only_a_leader_has),
		cmocka_unit_test(a_leader),
		cmocka_unit_test(nobody_votes),
		cmocka_unit_test(both_majorities_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
