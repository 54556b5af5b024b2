/*-------------------------------------------------------------------------
 *
 * raft_single.c
 *	  A group of one: the whole contract of a Ready without any peer.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "raft/raft.h"

static void *
counted_alloc(void *state, size_t size)
{
	size_t	   *live = state;

	*live += size;
	return malloc(size);
}

static void
counted_free(void *state, void *p, size_t size)
{
	size_t	   *live = state;

	*live -= size;
	free(p);
}

static size_t live_bytes;
static const RaftAllocator allocator = {counted_alloc, counted_free, &live_bytes};

static RaftStored
new_group(uint64_t base, uint64_t base_term)
{
	RaftStored	stored = {.applied = base};

	stored.base.index = base;
	stored.base.term = base_term;
	stored.base.conf_index = base;
	stored.base.conf.n = 1;
	stored.base.conf.members[0].id = 7;
	stored.base.conf.members[0].node = 1;
	stored.base.conf.members[0].roles = RAFT_VOTER;
	return stored;
}

static Raft *
open_replica(const RaftStored *stored)
{
	RaftOptions options;
	Raft	   *raft;
	VtError		err;

	raft_options_init(&options);
	options.group = 3;
	options.id = 7;
	options.seed = 42;
	options.allocator = &allocator;
	assert_int_equal(raft_open(&options, stored, &raft, &err), VT_OK);
	return raft;
}

static void
check(Raft *raft)
{
	VtError		err;

	if (raft_check(raft, &err) != VT_OK)
		fail_msg("%s", err.msg);
}

/* Tick until it wants to campaign; it asks for its term and vote to be written. */
static RaftReady
tick_until_candidate(Raft *raft)
{
	RaftReady	rd;

	for (int i = 0; i < 20 && !raft_has_ready(raft); i++)
		assert_int_equal(raft_tick(raft), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.role, RAFT_CANDIDATE);
	return rd;
}

static Raft *
open_leader(const RaftStored *stored)
{
	Raft	   *raft = open_replica(stored);
	RaftReady	rd = tick_until_candidate(raft);

	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.role, RAFT_LEADER);
	assert_int_equal(rd.append_n, 1);
	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.committed_n, 1);
	assert_int_equal(raft_applied(raft, rd.committed[0].index), VT_OK);
	assert_false(raft_has_ready(raft));
	check(raft);
	return raft;
}

static void
leads_only_when_its_vote_is_durable(void **state)
{
	RaftStored	stored = new_group(0, 0);
	Raft	   *raft = open_replica(&stored);
	RaftReady	rd;

	(void) state;
	rd = tick_until_candidate(raft);
	assert_int_equal(rd.seq, 1);
	assert_int_equal(rd.hard.term, 1);
	assert_int_equal(rd.hard.vote, 7);
	assert_int_equal(rd.append_n, 0);
	assert_int_equal(rd.messages_n, 0);
	assert_false(raft_has_ready(raft));

	assert_int_equal(raft_persisted(raft, 1), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.role, RAFT_LEADER);
	assert_int_equal(rd.leader, 7);
	assert_int_equal(rd.append_n, 1);
	assert_int_equal(rd.append[0].type, RAFT_NOOP);
	assert_int_equal(rd.append[0].index, 1);
	assert_int_equal(rd.committed_n, 0);
	check(raft);
	raft_close(raft);
	assert_int_equal(live_bytes, 0);
}

static void
commits_only_what_is_durable(void **state)
{
	RaftStored	stored = new_group(0, 0);
	Raft	   *raft = open_leader(&stored);
	RaftBuf    *commands[2];
	RaftReady	rd;
	uint64_t	first;
	uint64_t	term;

	(void) state;
	commands[0] = raft_buf_new(&allocator, "one", 3);
	commands[1] = raft_buf_new(&allocator, "two", 3);
	assert_int_equal(raft_propose(raft, commands, 2, &first, &term), VT_OK);
	raft_buf_release(commands[0]);
	raft_buf_release(commands[1]);
	assert_int_equal(first, 2);
	assert_int_equal(term, 1);

	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.append_n, 2);
	assert_int_equal(rd.append[1].index, 3);
	assert_memory_equal(rd.append[1].data->data, "two", 3);
	assert_int_equal(rd.hard.last_index, 3);
	assert_int_equal(rd.committed_n, 0);
	assert_false(raft_has_ready(raft));

	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.seq, 0);
	assert_int_equal(rd.committed_n, 2);
	assert_int_equal(rd.committed[0].index, 2);
	assert_int_equal(raft_applied(raft, 4), VT_INVALID);
	assert_int_equal(raft_applied(raft, 3), VT_OK);
	check(raft);
	raft_close(raft);
	assert_int_equal(live_bytes, 0);
}

static void
reads_are_answered_at_once(void **state)
{
	RaftStored	stored = new_group(0, 0);
	Raft	   *raft = open_leader(&stored);
	RaftReady	rd;

	(void) state;
	assert_int_equal(raft_read(raft, 77), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.reads_n, 1);
	assert_int_equal(rd.reads[0].cookie, 77);
	assert_int_equal(rd.reads[0].index, 1);
	assert_false(raft_has_ready(raft));
	raft_close(raft);
	assert_int_equal(live_bytes, 0);
}

static void
reads_wait_for_the_first_commit_of_the_term(void **state)
{
	RaftStored	stored = new_group(0, 0);
	Raft	   *raft = open_replica(&stored);
	RaftReady	rd = tick_until_candidate(raft);

	(void) state;
	assert_int_equal(raft_read(raft, 1), VT_NOT_LEADER);
	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_read(raft, 1), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.reads_n, 0);
	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.reads_n, 1);
	assert_int_equal(rd.reads[0].index, 1);
	raft_close(raft);
	assert_int_equal(live_bytes, 0);
}

static void
a_group_may_begin_late(void **state)
{
	RaftStored	stored = new_group(1000, 5);
	Raft	   *raft = open_leader(&stored);
	RaftStatus	status;

	(void) state;
	raft_get_status(raft, &status);
	assert_int_equal(status.term, 6);
	assert_int_equal(status.base, 1000);
	assert_int_equal(status.commit, 1001);
	raft_close(raft);
	assert_int_equal(live_bytes, 0);
}

static void
restart_keeps_term_vote_and_log(void **state)
{
	RaftStored	stored = new_group(0, 0);
	RaftEntry	entries[3] = {
		{.index = 1, .term = 1, .type = RAFT_NOOP},
		{.index = 2, .term = 1, .type = RAFT_COMMAND, .size = 9},	/* not loaded */
		{.index = 3, .term = 4, .type = RAFT_NOOP}
	};
	Raft	   *raft;
	RaftReady	rd;
	RaftStatus	status;

	(void) state;
	stored.hard = (RaftHardState) {.term = 4, .vote = 7, .commit = 2, .last_index = 3, .last_term = 4};
	stored.entries = entries;
	stored.n = 3;
	stored.applied = 1;
	raft = open_replica(&stored);
	raft_get_status(raft, &status);
	assert_int_equal(status.term, 4);
	assert_int_equal(status.vote, 7);
	assert_int_equal(status.commit, 2);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.committed_n, 1);
	assert_int_equal(rd.committed[0].index, 2);
	assert_null(rd.committed[0].data);
	check(raft);
	raft_close(raft);
	assert_int_equal(live_bytes, 0);
}

static void
expect_refused(const RaftStored *stored, VtStatus want)
{
	RaftOptions options;
	Raft	   *raft;
	VtError		err;

	raft_options_init(&options);
	options.group = 3;
	options.id = 7;
	options.allocator = &allocator;
	assert_int_equal(raft_open(&options, stored, &raft, &err), want);
	assert_null(raft);
	assert_true(err.msg[0] != '\0');
	assert_int_equal(live_bytes, 0);
}

static void
damage_is_refused(void **state)
{
	RaftEntry	entries[2] = {
		{.index = 1, .term = 1, .type = RAFT_NOOP},
		{.index = 2, .term = 1, .type = RAFT_COMMAND}
	};
	RaftStored	good = new_group(0, 0);
	RaftStored	bad;

	(void) state;
	good.hard = (RaftHardState) {.term = 1, .vote = 7, .last_index = 2, .last_term = 1};
	good.entries = entries;
	good.n = 2;
	raft_close(open_replica(&good));

	bad = good;
	bad.n = 1;					/* an entry below last_index is missing */
	expect_refused(&bad, VT_CORRUPT);
	bad = good;
	bad.applied = 3;			/* the state machine knows more than the log */
	expect_refused(&bad, VT_CORRUPT);
	bad = good;
	bad.hard.term = 0;
	expect_refused(&bad, VT_CORRUPT);
	entries[1].index = 3;		/* a gap */
	expect_refused(&good, VT_CORRUPT);
	entries[1].index = 2;
	entries[1].type = 9;		/* written by a newer version */
	expect_refused(&good, VT_VERSION);
	entries[1].type = RAFT_CONF;	/* without its payload */
	expect_refused(&good, VT_CORRUPT);
}

static void
the_tail_is_bounded(void **state)
{
	RaftStored	stored = new_group(0, 0);
	RaftOptions options;
	Raft	   *raft;
	RaftReady	rd;
	RaftBuf    *command = raft_buf_new(&allocator, NULL, 600);
	VtError		err;

	(void) state;
	memset(command->data, 0, 600);
	raft_options_init(&options);
	options.group = 3;
	options.id = 7;
	options.allocator = &allocator;
	options.max_uncommitted_bytes = 1000;
	options.max_entry_bytes = 700;
	options.max_apply_bytes = 1;
	assert_int_equal(raft_open(&options, &stored, &raft, &err), VT_OK);
	rd = tick_until_candidate(raft);
	assert_int_equal(raft_propose(raft, &command, 1, NULL, NULL), VT_NOT_LEADER);
	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_propose(raft, &command, 1, NULL, NULL), VT_OK);
	assert_int_equal(raft_propose(raft, &command, 1, NULL, NULL), VT_BUSY);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_propose(raft, &command, 1, NULL, NULL), VT_OK);

	/* Applying is paged: the next entry only after the one before. */
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.committed_n, 1);
	assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
	assert_int_equal(raft_applied(raft, 1), VT_OK);
	assert_int_equal(raft_ready(raft, &rd), VT_OK);
	assert_int_equal(rd.committed_n, 1);
	assert_int_equal(rd.committed[0].index, 2);
	check(raft);
	raft_buf_release(command);
	raft_close(raft);
	assert_int_equal(live_bytes, 0);
}

static void
compaction_stays_behind_what_is_applied(void **state)
{
	RaftStored	stored = new_group(0, 0);
	Raft	   *raft = open_leader(&stored);
	RaftSnapshot at;
	RaftStatus	status;

	(void) state;
	assert_int_equal(raft_compact(raft, 2), VT_INVALID);
	assert_int_equal(raft_snapshot_at(raft, 2, &at), VT_INVALID);
	assert_int_equal(raft_snapshot_at(raft, 1, &at), VT_OK);
	assert_int_equal(at.term, 1);
	assert_int_equal(at.conf.n, 1);
	assert_int_equal(raft_compact(raft, 1), VT_OK);
	raft_get_status(raft, &status);
	assert_int_equal(status.base, 1);
	assert_int_equal(status.last, 1);
	check(raft);
	raft_close(raft);
	assert_int_equal(live_bytes, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leads_only_when_its_vote_is_durable),
		cmocka_unit_test(commits_only_what_is_durable),
		cmocka_unit_test(reads_are_answered_at_once),
		cmocka_unit_test(reads_wait_for_the_first_commit_of_the_term),
		cmocka_unit_test(a_group_may_begin_late),
		cmocka_unit_test(restart_keeps_term_vote_and_log),
		cmocka_unit_test(damage_is_refused),
		cmocka_unit_test(the_tail_is_bounded),
		cmocka_unit_test(compaction_stays_behind_what_is_applied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
