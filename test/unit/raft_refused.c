/*-------------------------------------------------------------------------
 *
 * raft_refused.c
 *	  What a replica refuses, and that refusing changes nothing.
 *
 * Settings, stored state and messages no correct caller or peer produces, and
 * requests that come at the wrong moment or to the wrong replica.
 *
 *-------------------------------------------------------------------------
 */
#include "raft_rig.h"

/* -- Opening ----------------------------------------------------------------- */

#define EXPECT_SETTING_REFUSED(field, value) \
	do { \
		RaftOptions options_ = rig_options(); \
		RaftStored	stored_ = rig_stored(); \
		Raft	   *raft_; \
		VtError		err_; \
		options_.field = (value); \
		assert_int_equal(raft_open(&options_, &stored_, &raft_, &err_), VT_INVALID); \
		assert_null(raft_); \
		assert_true(err_.msg[0] != '\0'); \
	} while (0)

static void
settings_out_of_range(void **state)
{
	(void) state;
	EXPECT_SETTING_REFUSED(group, 0);
	EXPECT_SETTING_REFUSED(id, 0);
	EXPECT_SETTING_REFUSED(allocator, NULL);
	EXPECT_SETTING_REFUSED(heartbeat_ticks, 0);
	EXPECT_SETTING_REFUSED(election_ticks, 2);	/* no more than heartbeat_ticks */
	EXPECT_SETTING_REFUSED(max_message_entries, 0);
	EXPECT_SETTING_REFUSED(max_message_entries, RAFT_MAX_MESSAGE_ENTRIES + 1);
	EXPECT_SETTING_REFUSED(max_inflight_messages, 0);
	EXPECT_SETTING_REFUSED(max_inflight_bytes, 0);
	EXPECT_SETTING_REFUSED(max_apply_bytes, 0);
	EXPECT_SETTING_REFUSED(max_entry_bytes, 0);
	EXPECT_SETTING_REFUSED(max_reads, 0);
}

static void
expect_corrupt(const RaftStored *stored, const char *words)
{
	RaftOptions options = rig_options();
	Raft	   *raft;
	VtError		err;

	assert_int_equal(raft_open(&options, stored, &raft, &err), VT_CORRUPT);
	assert_null(raft);
	if (strstr(err.msg, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
	assert_int_equal(rig_live, 0);
}

static void
stored_state_nobody_wrote(void **state)
{
	RaftEntry	entries[2] = {
		{.index = 11, .term = 3, .type = RAFT_NOOP},
		{.index = 12, .term = 3, .type = RAFT_COMMAND}
	};
	RaftStored	good = rig_stored();
	RaftStored	bad;

	(void) state;
	good.base.index = good.base.conf_index = good.applied = 10;
	good.base.term = 2;
	good.hard = (RaftHardState) {.term = 3, .last_index = 12, .last_term = 3};
	good.entries = entries;
	good.n = 2;
	rig_close(rig_open(&good));

	bad = good;
	bad.base.conf.members[1].roles = 0;
	expect_corrupt(&bad, "configuration of the base");
	bad = good;
	bad.hard.last_term = 2;
	expect_corrupt(&bad, "the log ends at");
	bad = good;
	bad.applied = 9;			/* what is missing was compacted away */
	expect_corrupt(&bad, "only 9 was applied");
	bad = good;
	bad.hard = (RaftHardState) {.term = 0};
	bad.n = 0;
	bad.applied = 11;
	expect_corrupt(&bad, "without its log");

	bad = good;
	bad.hard.term = 2;
	expect_corrupt(&bad, "of a later term");
	bad.hard.term = 0;			/* lost altogether */
	expect_corrupt(&bad, "of a later term");

	/* A vote is written with its term. */
	bad = rig_stored();
	bad.hard.vote = 2;
	expect_corrupt(&bad, "a vote but no term");
}

static void
stored_entries_nobody_wrote(void **state)
{
	RaftBuf    *data = raft_buf_new(&rig_allocator, "\1\0\0", 4);
	RaftEntry	entries[2] = {
		{.index = 1, .term = 3, .type = RAFT_NOOP},
		{.index = 2, .term = 3, .type = RAFT_COMMAND, .size = 4, .data = data}
	};
	RaftStored	stored = rig_stored();
	RaftOptions options = rig_options();
	Raft	   *raft;
	VtError		err;

	(void) state;
	stored.hard = (RaftHardState) {.term = 3, .last_index = 2, .last_term = 3};
	stored.entries = entries;
	stored.n = 2;
	raft_close(rig_open(&stored));

#define EXPECT_DAMAGED(field, value) \
	do { \
		__typeof__(entries[1].field) kept_ = entries[1].field; \
		entries[1].field = (value); \
		assert_int_equal(raft_open(&options, &stored, &raft, &err), VT_CORRUPT); \
		assert_non_null(strstr(err.msg, "log entry 2 is damaged")); \
		entries[1].field = kept_; \
	} while (0)
	EXPECT_DAMAGED(term, 2);
	EXPECT_DAMAGED(size, 3);
	EXPECT_DAMAGED(type, RAFT_CONF);	/* of no members */
	EXPECT_DAMAGED(index, 1);
	data->data[0] = 9;			/* nor in a version we know */
	EXPECT_DAMAGED(type, RAFT_CONF);
#undef EXPECT_DAMAGED

	/* Terms begin with 1. */
	entries[0].term = 0;
	assert_int_equal(raft_open(&options, &stored, &raft, &err), VT_CORRUPT);
	raft_buf_release(data);
	assert_int_equal(rig_live, 0);
}

/* The commit index on disk is a hint: one beyond the log says nothing more. */
static void
a_hint_beyond_the_log(void **state)
{
	RaftEntry	entry = {.index = 1, .term = 1, .type = RAFT_NOOP};
	RaftStored	stored = rig_stored();
	Raft	   *raft;

	(void) state;
	stored.hard = (RaftHardState) {.term = 1, .commit = 7, .last_index = 1, .last_term = 1};
	stored.entries = &entry;
	stored.n = 1;
	raft = rig_open(&stored);
	assert_int_equal(rig_status(raft).commit, 1);
	rig_check(raft);
	rig_close(raft);
}

/* -- Messages ----------------------------------------------------------------- */

static void
expect_no_peer_sends(Raft *raft, const RaftMessage *m)
{
	RaftStatus	before = rig_status(raft);
	RaftStatus	after;

	assert_int_equal(raft_step(raft, m), VT_PROTOCOL);
	after = rig_status(raft);
	assert_memory_equal(&before, &after, sizeof(before));
	rig_check(raft);
}

static void
messages_no_peer_sends(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftMessage good = {.type = RAFT_APP, .group = 1, .from = 2, .to = 1, .term = 3};
	RaftMessage bad;
	RaftEntry	entry = {.index = 1, .term = 3, .type = RAFT_COMMAND, .size = 4};
	RaftSnapshot snapshot = stored.base;

	(void) state;
	bad = good;
	bad.from = 0;
	expect_no_peer_sends(raft, &bad);
	bad.from = 1;				/* from ourselves */
	expect_no_peer_sends(raft, &bad);
	bad = good;
	bad.term = UINT64_MAX;
	expect_no_peer_sends(raft, &bad);
	bad = good;
	bad.commit = UINT64_MAX;
	expect_no_peer_sends(raft, &bad);
	bad = good;
	bad.entries = &entry;		/* without its payload */
	bad.n = 1;
	expect_no_peer_sends(raft, &bad);
	entry.size = 0;
	bad.type = RAFT_HEARTBEAT;
	expect_no_peer_sends(raft, &bad);
	bad.type = RAFT_APP;
	bad.log_term = 3;			/* entries of a term before their predecessor's */
	entry.term = 2;
	expect_no_peer_sends(raft, &bad);

	bad = good;
	bad.type = RAFT_SNAP;
	bad.snapshot = &snapshot;
	snapshot.index = 5;
	snapshot.term = 4;			/* of a term its sender does not know */
	expect_no_peer_sends(raft, &bad);
	snapshot.term = 3;
	snapshot.conf_index = 6;	/* a configuration from after it */
	expect_no_peer_sends(raft, &bad);
	snapshot.conf_index = 0;
	snapshot.index = UINT64_MAX;
	expect_no_peer_sends(raft, &bad);
	snapshot.index = 5;
	snapshot.conf.members[0].roles = 0;
	expect_no_peer_sends(raft, &bad);
	rig_close(raft);
}

/* An entry contradicts what is committed: the sender is no leader of ours. */
static void
committed_entries_stay(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftEntry	entries[2] = {
		{.index = 1, .term = 3, .type = RAFT_NOOP},
		{.index = 2, .term = 3, .type = RAFT_NOOP}
	};
	RaftMessage m = {.type = RAFT_APP, .group = 1, .from = 2, .to = 1, .term = 3,
	.entries = entries, .n = 2, .commit = 2};
	RaftReady	rd;

	(void) state;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	rig_serve(raft);
	assert_int_equal(rig_status(raft).applied, 2);

	m.term = 4;
	entries[1].term = 4;
	assert_int_equal(raft_step(raft, &m), VT_CORRUPT);
	assert_int_equal(raft_get_entry(raft, 2)->term, 3);
	rig_serve(raft);

	/* Nor does a refusal hint at anything before the commit index. */
	m.n = 0;
	m.index = 6;
	m.log_term = 1;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.messages_n, 1);
	assert_int_equal(rd.messages[0].flags, RAFT_FLAG_REJECT);
	assert_int_equal(rd.messages[0].hint, 2);
	rig_close(raft);
}

/* Entries replaced twice before anybody could write them, and after. */
static void
entries_replaced_before_they_are_written(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftEntry	entries[6];
	RaftMessage m = {.type = RAFT_APP, .group = 1, .from = 2, .to = 1, .term = 1,
	.entries = entries, .n = 6};
	RaftReady	rd;

	(void) state;
	for (uint64_t i = 0; i < 6; i++)
		entries[i] = (RaftEntry) {.index = i + 1, .term = 1, .type = RAFT_NOOP};
	assert_int_equal(raft_step(raft, &m), VT_OK);
	rig_serve(raft);

	/* 4 to 6 change: they are on disk and must be removed there. */
	m.term++;
	m.index = 3;
	m.log_term = 1;
	m.n = 3;
	for (uint64_t i = 0; i < 3; i++)
		entries[i] = (RaftEntry) {.index = i + 4, .term = 2, .type = RAFT_NOOP};
	assert_int_equal(raft_step(raft, &m), VT_OK);

	/* 5 and 6 change again: nobody wrote them. */
	m.term++;
	m.index = 4;
	m.log_term = 2;
	m.n = 1;
	entries[0] = (RaftEntry) {.index = 5, .term = 3, .type = RAFT_NOOP};
	assert_int_equal(raft_step(raft, &m), VT_OK);
	rig_check(raft);

	/* 2 and what follows: the earliest removal is the one that counts. */
	m.term++;
	m.index = 1;
	m.log_term = 1;
	m.n = 1;
	entries[0] = (RaftEntry) {.index = 2, .term = 4, .type = RAFT_NOOP};
	assert_int_equal(raft_step(raft, &m), VT_OK);
	rig_check(raft);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.truncate_from, 2);
	assert_int_equal(rd.append_n, 1);
	assert_int_equal(rd.append[0].index, 2);
	assert_int_equal(rd.hard.last_index, 2);
	assert_int_equal(rd.hard.last_term, 4);
	rig_close(raft);
}

/*
 * The disk stalls while peers go on asking: what is kept for them is bounded, time
 * stands still, and everything kept leaves when the disk is back.
 */
static void
a_stalled_disk_bounds_the_queue(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftMessage m = {.type = RAFT_VOTE, .group = 1, .from = 2, .to = 1, .term = 1};
	RaftReady	rd;
	uint64_t	seq;

	(void) state;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.messages_n, 0);
	seq = rd.seq;
	for (int i = 0; i < 5000; i++)
		assert_int_equal(raft_step(raft, &m), VT_OK);
	for (int i = 0; i < 100; i++)
		assert_int_equal(raft_tick(raft), VT_OK);
	assert_int_equal(rig_status(raft).role, RAFT_FOLLOWER);
	assert_false(raft_has_ready(raft));

	assert_int_equal(raft_persisted(raft, seq + 1), VT_INVALID);
	assert_int_equal(raft_persisted(raft, seq), VT_OK);
	assert_int_equal(raft_persisted(raft, seq), VT_OK); /* known already */
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.messages_n, 4096);
	for (int i = 0; i < 20; i++)
		assert_int_equal(raft_tick(raft), VT_OK);
	assert_int_equal(rig_status(raft).role, RAFT_PRECANDIDATE);
	rig_close(raft);
}

/* Who is no member was told so by one who may know better, or was not. */
static void
told_to_be_gone(void **state)
{
	RaftStored	stored = rig_stored();
	RaftMessage m = {.type = RAFT_PEER_GONE, .group = 1, .from = 2, .to = 1};
	Raft	   *raft = rig_open(&stored);
	RaftReady	rd;

	(void) state;
	assert_int_equal(raft_step(raft, &m), VT_OK);	/* older than what it knows itself */
	assert_false(raft_has_ready(raft));
	m.index = 5;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_true(rd.gone);
	rig_close(raft);

	stored.base.conf.n = 0;		/* never heard of any configuration */
	m.index = 0;
	raft = rig_open(&stored);
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_true(rd.gone);
	assert_int_equal(raft_campaign(raft), VT_OK);
	assert_int_equal(rig_status(raft).role, RAFT_FOLLOWER);
	rig_close(raft);
}

/* -- Requests ------------------------------------------------------------------ */

static void
only_a_leader(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftConf	conf = rig_conf(raft);
	RaftSnapshot snapshot;
	RaftPeer	peer;

	(void) state;
	assert_int_equal(rig_propose(raft, "x"), VT_NOT_LEADER);
	assert_int_equal(raft_propose_conf(raft, &conf, 0, NULL), VT_NOT_LEADER);
	assert_int_equal(raft_read(raft, 1), VT_NOT_LEADER);
	assert_int_equal(raft_transfer(raft, 2), VT_NOT_LEADER);
	assert_int_equal(raft_snapshot_at(raft, 0, &snapshot), VT_OK);
	assert_int_equal(raft_send_snapshot(raft, 2, &snapshot), VT_NOT_FOUND);
	assert_false(raft_get_peer(raft, 2, &peer));
	raft_report_unreachable(raft, 2);
	raft_report_snapshot(raft, 2, true);
	assert_false(raft_has_ready(raft));
	rig_lead(raft);
	assert_true(raft_get_peer(raft, 2, &peer));
	assert_false(raft_get_peer(raft, 9, &peer));
	rig_close(raft);
}

static void
proposals(void **state)
{
	RaftOptions options = rig_options();
	RaftStored	stored = rig_stored();
	RaftBuf    *commands[2] = {NULL, NULL};
	Raft	   *raft;
	uint64_t	first;
	uint64_t	term;

	(void) state;
	options.max_entry_bytes = 3;
	assert_int_equal(raft_open(&options, &stored, &raft, NULL), VT_OK);
	rig_lead(raft);
	assert_int_equal(raft_propose(raft, commands, 0, &first, &term), VT_INVALID);
	assert_int_equal(rig_propose(raft, "four"), VT_FULL);
	assert_int_equal(rig_status(raft).last, 1);

	/* Nothing at all is a command too, with or without a buffer. */
	commands[1] = raft_buf_new(&rig_allocator, "", 0);
	assert_int_equal(raft_propose(raft, commands, 2, &first, &term), VT_OK);
	raft_buf_release(commands[1]);
	assert_int_equal(first, 2);
	assert_int_equal(term, 1);
	assert_int_equal(raft_get_entry(raft, 3)->size, 0);
	assert_null(raft_get_entry(raft, 3)->data);
	rig_serve(raft);
	rig_close(raft);
}

static void
changes_of_members(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftConf	now;
	RaftConf	target;
	uint64_t	index;

	(void) state;
	rig_lead(raft);
	now = rig_conf(raft);
	target = now;
	target.joint = true;
	assert_int_equal(raft_propose_conf(raft, &target, 0, &index), VT_INVALID);
	assert_int_equal(raft_propose_conf(raft, &now, 7, &index), VT_FENCED);
	target = now;
	target.members[1].node = 9; /* a replica does not move */
	assert_int_equal(raft_propose_conf(raft, &target, 0, &index), VT_INVALID);

	/* Two that leave stay members while joint: 32 and they are too many. */
	target = (RaftConf) {.n = 1, .members = {now.members[0]}};
	for (uint64_t id = 4; id < 4 + 31; id++)
		rig_add(&target, id, RAFT_LEARNER);
	assert_int_equal(raft_propose_conf(raft, &target, 0, &index), VT_FULL);
	assert_int_equal(rig_status(raft).conf_index, 0);
	assert_int_equal(rig_status(raft).last, 1);

	target = now;
	rig_add(&target, 4, RAFT_LEARNER);
	assert_int_equal(raft_propose_conf(raft, &target, 0, &index), VT_OK);
	assert_int_equal(index, 2);
	rig_serve(raft);
	rig_acknowledge(raft, 2);
	rig_acknowledge(raft, 4);
	rig_serve(raft);

	/* A member between two that stay leaves. */
	target = (RaftConf) {.n = 2, .members = {now.members[0], now.members[2]}};
	assert_int_equal(raft_propose_conf(raft, &target, 2, &index), VT_OK);
	assert_int_equal(index, 3);
	assert_true(rig_conf(raft).joint);
	assert_int_equal(rig_conf(raft).n, 3);
	rig_close(raft);
}

/* Nobody has heard of it: it is taken to be active at first, and in a short log nobody lags. */
static void
who_never_answered_gets_no_vote(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftConf	target;

	(void) state;
	rig_lead(raft);
	target = rig_conf(raft);
	rig_add(&target, 4, RAFT_LEARNER);
	assert_int_equal(raft_propose_conf(raft, &target, 0, NULL), VT_OK);
	rig_serve(raft);
	rig_acknowledge(raft, 2);
	rig_serve(raft);
	target.members[3].roles = RAFT_VOTER;
	assert_int_equal(raft_propose_conf(raft, &target, 2, NULL), VT_BEHIND);
	rig_acknowledge(raft, 4);
	rig_serve(raft);
	assert_int_equal(raft_propose_conf(raft, &target, 2, NULL), VT_OK);
	rig_close(raft);
}

/* One of three is silent: it may go, and nobody else, since the two that are left could do nothing. */
static void
a_change_that_nobody_could_carry(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftConf	now;
	RaftConf	target;

	(void) state;
	rig_lead(raft);
	now = rig_conf(raft);
	for (uint32_t i = 0; i < rig_options().election_ticks; i++)
	{
		assert_int_equal(raft_tick(raft), VT_OK);
		rig_serve(raft);
		rig_acknowledge(raft, 2);
	}
	assert_int_equal(rig_status(raft).role, RAFT_LEADER);
	target = (RaftConf) {.n = 2, .members = {now.members[0], now.members[2]}};
	assert_int_equal(raft_propose_conf(raft, &target, 0, NULL), VT_BUSY);
	assert_int_equal(rig_status(raft).conf_index, 0);

	/* A learner changes nobody's majority. */
	target = now;
	rig_add(&target, 4, RAFT_LEARNER);
	assert_int_equal(raft_propose_conf(raft, &target, 0, NULL), VT_OK);
	rig_serve(raft);
	rig_acknowledge(raft, 2);
	rig_serve(raft);
	target = (RaftConf) {.n = 2, .members = {now.members[0], now.members[2]}};
	assert_int_equal(raft_propose_conf(raft, &target, 2, NULL), VT_BUSY);
	target = (RaftConf) {.n = 2, .members = {now.members[0], now.members[1]}};
	assert_int_equal(raft_propose_conf(raft, &target, 2, NULL), VT_OK);
	rig_close(raft);
}

/* Ids need not grow: a replica may come before those that are there. */
static void
a_member_in_the_middle(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft;
	RaftConf	target;

	(void) state;
	stored.base.conf.members[2].id = 5;
	raft = rig_open(&stored);
	rig_lead(raft);
	target = rig_conf(raft);
	target.members[3] = target.members[2];
	target.members[2] = (RaftMember) {.id = 4, .node = 4, .roles = RAFT_LEARNER};
	target.n = 4;
	assert_int_equal(raft_propose_conf(raft, &target, 0, NULL), VT_OK);
	assert_int_equal(rig_conf(raft).n, 4);
	assert_int_equal(rig_conf(raft).members[2].id, 4);
	assert_int_equal(rig_conf(raft).members[2].roles, RAFT_LEARNER);
	assert_int_equal(rig_conf(raft).members[3].id, 5);
	rig_serve(raft);
	rig_close(raft);
}

static void
snapshots(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftMessage m = {.type = RAFT_SNAP, .group = 1, .from = 2, .to = 1, .term = 1};
	RaftSnapshot snapshot = stored.base;
	RaftSnapshot at;
	RaftReady	rd;

	(void) state;
	snapshot.index = 5;
	snapshot.term = 1;
	m.snapshot = &snapshot;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(raft_snapshot_at(raft, 5, &at), VT_BUSY);
	assert_int_equal(raft_compact(raft, 4), VT_OK); /* nothing to do */
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.snapshot->index, 5);
	assert_int_equal(raft_snapshot_at(raft, 5, &at), VT_BUSY);
	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_snapshot_at(raft, 4, &at), VT_INVALID);
	assert_int_equal(raft_snapshot_at(raft, 6, &at), VT_INVALID);
	assert_int_equal(raft_snapshot_at(raft, 5, &at), VT_OK);
	assert_int_equal(at.term, 1);
	rig_check(raft);
	rig_close(raft);
}

/* A leader whose peer 3 needs a snapshot, and what the caller may say about it. */
static void
snapshots_to_send(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftMessage m;
	RaftSnapshot at;
	RaftSnapshot bad;
	RaftReady	rd;
	RaftPeer	peer;

	(void) state;
	rig_lead(raft);
	assert_int_equal(raft_compact(raft, 1), VT_OK);
	m = rig_message(raft, RAFT_APP_RESP, 3);	/* it has nothing */
	m.flags = RAFT_FLAG_REJECT;
	assert_true(raft_get_peer(raft, 3, &peer));
	m.index = peer.next - 1;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.snapshots_to_n, 1);
	assert_int_equal(rd.snapshots_to[0], 3);

	assert_int_equal(raft_snapshot_at(raft, 1, &at), VT_OK);
	bad = at;
	bad.index = 0;				/* the log does not reach back to it */
	assert_int_equal(raft_send_snapshot(raft, 3, &bad), VT_INVALID);
	bad.index = 2;				/* not applied */
	assert_int_equal(raft_send_snapshot(raft, 3, &bad), VT_INVALID);
	assert_int_equal(raft_send_snapshot(raft, 2, &at), VT_NOT_FOUND);
	assert_int_equal(raft_send_snapshot(raft, 9, &at), VT_NOT_FOUND);

	/* It was sent, it says, but it never got it from us. */
	raft_report_snapshot(raft, 3, true);
	assert_true(raft_get_peer(raft, 3, &peer));
	assert_int_equal(peer.state, RAFT_PROBE);
	assert_int_equal(peer.next, 1);
	rig_check(raft);
	rig_close(raft);
}

/*
 * While a snapshot travels the log is compacted beyond it, and a late answer says
 * that the peer is further than the snapshot: probing goes on from the answer.
 */
static void
a_snapshot_that_was_overtaken(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftMessage m;
	RaftSnapshot at;
	RaftReady	rd;
	RaftPeer	peer;

	(void) state;
	rig_lead(raft);
	for (int i = 0; i < 5; i++)
		assert_int_equal(rig_propose(raft, "x"), VT_OK);
	rig_serve(raft);
	rig_acknowledge(raft, 2);
	rig_serve(raft);
	assert_int_equal(raft_compact(raft, 1), VT_OK);
	assert_true(raft_get_peer(raft, 3, &peer));
	m = rig_message(raft, RAFT_APP_RESP, 3);
	m.flags = RAFT_FLAG_REJECT;
	m.index = peer.next - 1;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.snapshots_to_n, 1);
	assert_int_equal(raft_snapshot_at(raft, 2, &at), VT_OK);
	assert_int_equal(raft_send_snapshot(raft, 3, &at), VT_OK);
	assert_int_equal(raft_compact(raft, 4), VT_OK);

	m = rig_message(raft, RAFT_APP_RESP, 3);
	m.index = 3;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_true(raft_get_peer(raft, 3, &peer));
	assert_int_equal(peer.state, RAFT_SNAPSHOT);
	assert_int_equal(peer.match, 3);
	raft_report_snapshot(raft, 3, true);
	assert_true(raft_get_peer(raft, 3, &peer));
	assert_int_equal(peer.state, RAFT_PROBE);
	assert_int_equal(peer.next, 4);
	rig_check(raft);
	rig_close(raft);
}

/*
 * A replica that joins has a first part of the log, but not yet the entry that
 * says who the members are.  Asked for its vote by one behind it, it still
 * cannot campaign: it would not know whom to ask.
 */
static void
asked_before_it_knows_the_members(void **state)
{
	RaftStored	stored = {.applied = 0};
	Raft	   *raft = rig_open(&stored);
	RaftEntry	entry = {.index = 1, .term = 1, .type = RAFT_NOOP};
	RaftMessage m = {.type = RAFT_APP, .group = 1, .from = 2, .to = 1, .term = 1,
	.entries = &entry, .n = 1};
	RaftMessage vote = {.type = RAFT_VOTE, .group = 1, .from = 3, .to = 1, .term = 2};
	RaftReady	rd;

	(void) state;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	rig_serve(raft);
	raft_forget_leader(raft);
	assert_int_equal(raft_step(raft, &vote), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.messages_n, 1);
	assert_int_equal(rd.messages[0].type, RAFT_VOTE_RESP);
	assert_int_equal(rd.messages[0].flags, RAFT_FLAG_REJECT);
	assert_int_equal(raft_campaign(raft), VT_OK);
	assert_int_equal(rig_status(raft).role, RAFT_FOLLOWER);
	assert_int_equal(rig_status(raft).term, 2);
	rig_close(raft);
}

/* Payloads that came back from the log are compared with what is known. */
static void
fetched_entries(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftBuf    *data = raft_buf_new(&rig_allocator, "words", 5);
	RaftBuf    *shorter = raft_buf_new(&rig_allocator, "word", 4);
	RaftEntry	entry;

	(void) state;
	rig_lead(raft);
	assert_int_equal(rig_propose(raft, "words"), VT_OK);
	rig_serve(raft);
	rig_acknowledge(raft, 2);
	rig_serve(raft);
	raft_evict(raft, 2);
	assert_null(raft_get_entry(raft, 2)->data);

	entry = *raft_get_entry(raft, 2);
	entry.data = shorter;
	assert_int_equal(raft_fetched(raft, &entry, 1), VT_OK);
	assert_null(raft_get_entry(raft, 2)->data);
	entry.data = data;
	entry.term = 9;				/* replaced meanwhile */
	assert_int_equal(raft_fetched(raft, &entry, 1), VT_OK);
	assert_null(raft_get_entry(raft, 2)->data);
	entry.term = 1;
	assert_int_equal(raft_fetched(raft, &entry, 1), VT_OK);
	assert_ptr_equal(raft_get_entry(raft, 2)->data, data);
	assert_int_equal(raft_compact(raft, 2), VT_OK);
	assert_int_equal(raft_fetched(raft, &entry, 1), VT_OK); /* compacted away meanwhile */
	assert_null(raft_get_entry(raft, 2));
	rig_check(raft);
	raft_buf_release(data);
	raft_buf_release(shorter);
	rig_close(raft);
}

/* -- No memory ------------------------------------------------------------------- */

static void
a_transfer_without_memory(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	VtStatus	status;
	int			failures = 0;

	(void) state;
	rig_lead(raft);

	/* Requests that are answered at once fill the queue to where it must grow. */
	for (int i = 0; i < 200 && failures == 0; i++)
	{
		RaftMessage m = rig_message(raft, RAFT_PREVOTE, 3);

		rig_fail_in = 1;
		status = raft_transfer(raft, 2);
		rig_fail_in = 0;
		if (status == VT_NOMEM)
		{
			assert_int_equal(rig_status(raft).transfer_to, 0);
			failures++;
		}
		else
		{
			assert_int_equal(status, VT_OK);
			for (int k = 0; k < 10; k++)
				assert_int_equal(raft_tick(raft), VT_OK);	/* gives up */
			assert_int_equal(rig_status(raft).transfer_to, 0);
			rig_acknowledge(raft, 2);
		}
		assert_int_equal(raft_step(raft, &m), VT_OK);
	}
	assert_int_equal(failures, 1);
	assert_int_equal(raft_transfer(raft, 2), VT_OK);
	assert_int_equal(raft_transfer(raft, 2), VT_OK);	/* the same again */
	rig_check(raft);
	rig_close(raft);
}

/* Writes would wait for it: who is silent has died, for all we know, with everything we have. */
static void
a_transfer_to_who_is_silent(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);

	(void) state;
	rig_lead(raft);
	rig_acknowledge(raft, 2);

	/* Silent before it: refused until it is heard. */
	for (int k = 0; k < 5; k++)
		assert_int_equal(raft_tick(raft), VT_OK);
	assert_int_equal(raft_transfer(raft, 2), VT_BEHIND);
	assert_int_equal(rig_propose(raft, "x"), VT_OK);
	rig_serve(raft);
	rig_acknowledge(raft, 2);
	assert_int_equal(raft_transfer(raft, 2), VT_OK);
	assert_int_equal(rig_propose(raft, "y"), VT_BUSY);

	/* Silent since: given up long before an election. */
	for (int k = 0; k < 5; k++)
		assert_int_equal(raft_tick(raft), VT_OK);
	assert_int_equal(rig_status(raft).transfer_to, 0);
	assert_int_equal(rig_propose(raft, "y"), VT_OK);
	rig_serve(raft);

	/* Nothing reaches it: at once, and not again before it is heard. */
	rig_acknowledge(raft, 2);
	assert_int_equal(raft_transfer(raft, 2), VT_OK);
	raft_report_unreachable(raft, 3);
	assert_int_equal(rig_status(raft).transfer_to, 2);
	raft_report_unreachable(raft, 2);
	assert_int_equal(rig_status(raft).transfer_to, 0);
	assert_int_equal(rig_propose(raft, "z"), VT_OK);
	assert_int_equal(raft_transfer(raft, 2), VT_BEHIND);
	rig_serve(raft);
	rig_acknowledge(raft, 2);
	assert_int_equal(raft_transfer(raft, 2), VT_OK);
	rig_check(raft);
	rig_close(raft);
}

/* Giving memory back needs some for a moment; without it nothing is lost. */
static void
compaction_without_memory(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);

	(void) state;
	rig_lead(raft);
	for (int i = 0; i < 200; i++)
		assert_int_equal(rig_propose(raft, "x"), VT_OK);
	rig_serve(raft);
	rig_acknowledge(raft, 2);
	rig_serve(raft);
	rig_fail_in = 1;
	assert_int_equal(raft_compact(raft, 195), VT_OK);
	assert_int_equal(rig_fail_in, 0);
	rig_check(raft);
	assert_int_equal(rig_status(raft).base, 195);
	assert_int_equal(rig_status(raft).last, 201);
	assert_int_equal(raft_compact(raft, 200), VT_OK);
	assert_int_equal(raft_get_entry(raft, 201)->index, 201);
	rig_check(raft);
	rig_close(raft);
}

static void
names(void **state)
{
	(void) state;
	assert_string_equal(raft_role_name(RAFT_LEADER), "leader");
	assert_string_equal(raft_role_name((RaftRole) 9), "unrecognized");
	assert_string_equal(raft_message_name(RAFT_PEER_GONE), "PEER_GONE");
	assert_string_equal(raft_message_name(RAFT_PEER_GONE + 1), "?");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(settings_out_of_range),
		cmocka_unit_test(stored_state_nobody_wrote),
		cmocka_unit_test(stored_entries_nobody_wrote),
		cmocka_unit_test(a_hint_beyond_the_log),
		cmocka_unit_test(messages_no_peer_sends),
		cmocka_unit_test(committed_entries_stay),
		cmocka_unit_test(entries_replaced_before_they_are_written),
		cmocka_unit_test(a_stalled_disk_bounds_the_queue),
		cmocka_unit_test(told_to_be_gone),
		cmocka_unit_test(only_a_leader),
		cmocka_unit_test(proposals),
		cmocka_unit_test(changes_of_members),
		cmocka_unit_test(who_never_answered_gets_no_vote),
		cmocka_unit_test(a_change_that_nobody_could_carry),
		cmocka_unit_test(a_member_in_the_middle),
		cmocka_unit_test(snapshots),
		cmocka_unit_test(snapshots_to_send),
		cmocka_unit_test(a_snapshot_that_was_overtaken),
		cmocka_unit_test(asked_before_it_knows_the_members),
		cmocka_unit_test(fetched_entries),
		cmocka_unit_test(a_transfer_without_memory),
		cmocka_unit_test(a_transfer_to_who_is_silent),
		cmocka_unit_test(compaction_without_memory),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
