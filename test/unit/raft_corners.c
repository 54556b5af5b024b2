/*-------------------------------------------------------------------------
 *
 * raft_corners.c
 *	  Some of the test plan's behaviours that no story can show: they need a
 *	  count of chances, or messages at a moment no network can be asked for.
 *
 *-------------------------------------------------------------------------
 */
#include "raft_rig.h"

/* EL11: uniform in [T, 2T), another one for each replica and attempt. */
static void
timeouts_are_spread(void **state)
{
	uint32_t	counts[20] = {0};
	RaftStored	stored = rig_stored();

	(void) state;
	for (uint64_t seed = 1; seed <= 2000; seed++)
	{
		RaftOptions options = rig_options();
		Raft	   *raft;
		VtError		err;
		uint32_t	ticks = 0;

		options.seed = seed;
		options.election_ticks = 10;
		assert_int_equal(raft_open(&options, &stored, &raft, &err), VT_OK);
		while (rig_status(raft).role == RAFT_FOLLOWER && ticks < 100)
		{
			assert_int_equal(raft_tick(raft), VT_OK);
			ticks++;
		}
		assert_in_range(ticks, 10, 19);
		counts[ticks]++;
		rig_close(raft);
	}
	/* 200 are expected of each; 120 and 300 are five deviations away and more. */
	for (int i = 10; i < 20; i++)
		assert_in_range(counts[i], 120, 300);
}

/* Make it a follower of replica 2 in a term of its own. */
static void
follow(Raft *raft)
{
	RaftMessage m = {.type = RAFT_HEARTBEAT, .group = 1, .from = 2, .to = 1, .term = 3};

	assert_int_equal(raft_step(raft, &m), VT_OK);
	rig_serve(raft);
	assert_int_equal(rig_status(raft).leader, 2);
}

static RaftMessage
append_of(const Raft *raft, const RaftEntry *entries, uint32_t n)
{
	RaftMessage m = rig_message(raft, RAFT_APP, 2);

	m.index = entries[0].index - 1;
	m.log_term = m.index > 0 ? 3 : 0;
	m.entries = entries;
	m.n = n;
	return m;
}

/* LT13, P2: told to campaign while entries are on the way to its disk. */
static void
told_to_campaign_while_writing(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftEntry	entry = {.index = 1, .term = 3, .type = RAFT_NOOP};
	RaftMessage m;
	RaftReady	rd;

	(void) state;
	follow(raft);
	m = append_of(raft, &entry, 1);
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_not_equal(rd.seq, 0);

	m = rig_message(raft, RAFT_TIMEOUT_NOW, 2);
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(rig_status(raft).role, RAFT_FOLLOWER);
	assert_int_equal(rig_status(raft).term, 3);

	/* The leader asks again, and by now it is durable. */
	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(rig_status(raft).role, RAFT_CANDIDATE);
	assert_int_equal(rig_status(raft).term, 4);
	rig_close(raft);
}

/* LT10: told to campaign although it is no voter. */
static void
a_learner_told_to_campaign(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft;
	RaftMessage m;

	(void) state;
	stored.base.conf.members[0].roles = RAFT_LEARNER;
	raft = rig_open(&stored);
	follow(raft);
	m = rig_message(raft, RAFT_TIMEOUT_NOW, 2);
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_int_equal(rig_status(raft).role, RAFT_FOLLOWER);
	assert_int_equal(rig_status(raft).term, 3);
	rig_close(raft);
}

/* SN6: a snapshot of what the log has already moves the commit index and no more. */
static void
a_snapshot_of_what_is_there(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftEntry	entries[2] = {
		{.index = 1, .term = 3, .type = RAFT_NOOP}, {.index = 2, .term = 3, .type = RAFT_NOOP}
	};
	RaftSnapshot snapshot = stored.base;
	RaftMessage m;

	(void) state;
	follow(raft);
	m = append_of(raft, entries, 2);
	assert_int_equal(raft_step(raft, &m), VT_OK);
	rig_serve(raft);
	assert_int_equal(rig_status(raft).commit, 0);

	snapshot.index = 1;
	snapshot.term = 3;
	m = rig_message(raft, RAFT_SNAP, 2);
	m.snapshot = &snapshot;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_false(rig_status(raft).installing);
	assert_int_equal(rig_status(raft).commit, 1);
	assert_int_equal(rig_status(raft).base, 0);
	assert_int_equal(rig_status(raft).last, 2);
	rig_close(raft);
}

/* RP13: an append that begins before the base; what lies behind it is taken. */
static void
an_append_across_the_base(void **state)
{
	RaftStored	stored = rig_stored();
	RaftEntry	entries[4];
	RaftMessage m;
	Raft	   *raft;

	(void) state;
	stored.base.index = stored.base.conf_index = stored.applied = 5;
	stored.base.term = stored.hard.term = 3;
	stored.hard.commit = stored.hard.last_index = 5;
	stored.hard.last_term = 3;
	raft = rig_open(&stored);
	follow(raft);
	for (uint32_t i = 0; i < 4; i++)
		entries[i] = (RaftEntry) {.index = 4 + i, .term = 3, .type = RAFT_NOOP};
	m = append_of(raft, entries, 4);
	assert_int_equal(raft_step(raft, &m), VT_OK);
	rig_serve(raft);
	assert_int_equal(rig_status(raft).base, 5);
	assert_int_equal(rig_status(raft).last, 7);
	rig_close(raft);
}

/* RP22: who acknowledges what was never sent is not believed. */
static void
an_acknowledgement_from_the_future(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftMessage m;
	RaftPeer	peer;

	(void) state;
	rig_lead(raft);
	m = rig_message(raft, RAFT_APP_RESP, 3);
	m.index = rig_status(raft).last + 10;
	(void) raft_step(raft, &m);
	rig_check(raft);
	assert_true(raft_get_peer(raft, 3, &peer));
	assert_int_equal(peer.match, 0);
	rig_close(raft);
}

/* A leader knows how far its peers have applied, as they said last; it decides nothing by it. */
static void
what_peers_have_applied(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft = rig_open(&stored);
	RaftMessage m;
	RaftPeer	peer;
	uint64_t	last;
	uint64_t	commit;

	(void) state;
	rig_lead(raft);
	last = rig_status(raft).last;
	commit = rig_status(raft).commit;
	assert_true(raft_get_peer(raft, 3, &peer));
	assert_int_equal(peer.applied, 0);
	m = rig_message(raft, RAFT_HEARTBEAT_RESP, 3);
	m.commit = last;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	assert_true(raft_get_peer(raft, 3, &peer));
	assert_int_equal(peer.applied, last);
	assert_int_equal(peer.match, 0);
	assert_int_equal(rig_status(raft).commit, commit);

	/* One of before says nothing; one that lost what was not durable has less; nobody has what is not there. */
	for (uint64_t said = 0; said <= last + 1; said++)
	{
		m = rig_message(raft, said % 2 ? RAFT_APP_RESP : RAFT_HEARTBEAT_RESP, 3);
		m.commit = said;
		assert_int_equal(raft_step(raft, &m), VT_OK);
		assert_true(raft_get_peer(raft, 3, &peer));
		assert_int_equal(peer.applied, said == 0 || said > last ? last : said);
	}
	rig_check(raft);
	rig_close(raft);
}

/* And they say it with every answer. */
static void
a_peer_says_what_it_has_applied(void **state)
{
	RaftStored	stored = rig_stored();
	Raft	   *raft;
	RaftMessage m;
	RaftReady	ready;
	int			said = 0;

	(void) state;
	stored.base.index = stored.base.conf_index = stored.applied = 5;
	stored.base.term = stored.hard.term = stored.hard.last_term = 3;
	stored.hard.commit = stored.hard.last_index = 5;
	raft = rig_open(&stored);
	follow(raft);
	for (int kind = 0; kind < 2; kind++)
	{
		m = rig_message(raft, kind == 0 ? RAFT_HEARTBEAT : RAFT_APP, 2);
		m.index = m.commit = 5;
		m.log_term = 3;
		assert_int_equal(raft_step(raft, &m), VT_OK);
	}
	while (raft_has_ready(raft) && raft_ready(raft, &ready) == VT_OK)
	{
		for (size_t i = 0; i < ready.messages_n; i++)
			if (ready.messages[i].type == RAFT_HEARTBEAT_RESP ||
				(ready.messages[i].type == RAFT_APP_RESP && ready.messages[i].flags == 0))
			{
				assert_int_equal(ready.messages[i].commit, 5);
				said++;
			}
		if (ready.seq != 0)
			assert_int_equal(raft_persisted(raft, ready.seq), VT_OK);
	}
	assert_true(said >= 2);
	rig_close(raft);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timeouts_are_spread),
		cmocka_unit_test(told_to_campaign_while_writing),
		cmocka_unit_test(a_learner_told_to_campaign),
		cmocka_unit_test(a_snapshot_of_what_is_there),
		cmocka_unit_test(an_append_across_the_base),
		cmocka_unit_test(an_acknowledgement_from_the_future),
		cmocka_unit_test(what_peers_have_applied),
		cmocka_unit_test(a_peer_says_what_it_has_applied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
