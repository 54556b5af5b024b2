/*-------------------------------------------------------------------------
 *
 * raft_abuse.c
 *	  A replica under messages no correct peer sends, and without memory.
 *
 * Well formed but arbitrary messages must not crash it, break its structure or
 * let it grow without bound.  An allocation that fails, whichever it is, must
 * leave the replica as it was.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/prng.h"
#include "raft/raft.h"

static int64_t live_bytes;
static int	fail_in;			/* 0: never */

static void *
counted_alloc(void *state, size_t size)
{
	(void) state;
	if (fail_in > 0 && --fail_in == 0)
		return NULL;
	live_bytes += (int64_t) size;
	return malloc(size);
}

static void
counted_free(void *state, void *p, size_t size)
{
	(void) state;
	live_bytes -= (int64_t) size;
	free(p);
}

static const RaftAllocator allocator = {counted_alloc, counted_free, NULL};

static RaftStored
three_members(void)
{
	RaftStored	stored;

	memset(&stored, 0, sizeof(stored));
	stored.base.conf.n = 3;
	for (uint32_t i = 0; i < 3; i++)
	{
		stored.base.conf.members[i].id = i + 1;
		stored.base.conf.members[i].node = i + 1;
		stored.base.conf.members[i].roles = RAFT_VOTER;
	}
	return stored;
}

static VtStatus
open_replica(Raft **raft)
{
	RaftStored	stored = three_members();
	RaftOptions options;
	VtError		err;

	raft_options_init(&options);
	options.group = 1;
	options.id = 1;
	options.seed = 5;
	options.allocator = &allocator;
	return raft_open(&options, &stored, raft, &err);
}

static void
check(Raft *raft)
{
	VtError		err;

	if (raft_check(raft, &err) != VT_OK)
		fail_msg("%s", err.msg);
}

/* Take what it wants, answer that it is done. */
static void
serve(Raft *raft)
{
	for (int i = 0; i < 1000 && raft_has_ready(raft); i++)
	{
		RaftReady	rd;
		uint64_t	applied = 0;
		uint64_t	seq;

		if (raft_ready(raft, &rd) != VT_OK)
			continue;
		seq = rd.seq;
		if (rd.committed_n > 0)
			applied = rd.committed[rd.committed_n - 1].index;
		while (seq != 0 && raft_persisted(raft, seq) == VT_NOMEM)
			continue;
		assert_int_equal(raft_applied(raft, applied), VT_OK);
	}
	assert_false(raft_has_ready(raft));
}

static void
fill_entries(Prng *prng, RaftMessage *m, RaftEntry *entries, RaftBuf *command)
{
	uint64_t	term = m->log_term;

	m->n = prng_below(prng, 4);
	m->entries = entries;
	for (uint32_t i = 0; i < m->n; i++)
	{
		term += prng_below(prng, 2);
		entries[i] = (RaftEntry) {
			.index = m->index + 1 + i, .term = term > 0 ? term : 1, .type = RAFT_COMMAND,
			.size = command->len, .data = command
		};
		term = entries[i].term;
	}
}

static void
random_message(Prng *prng, const RaftStatus *status, RaftMessage *m, RaftEntry *entries,
			   RaftSnapshot *snapshot, RaftBuf *command)
{
	memset(m, 0, sizeof(*m));
	m->type = (uint8_t) (1 + prng_below(prng, 11));
	m->flags = (uint8_t) prng_below(prng, 8);
	m->group = 1;
	m->from = 2 + prng_below(prng, 3);
	m->to = 1;
	m->term = status->term + prng_below(prng, 3);
	if (m->term > 0 && prng_below(prng, 4) == 0)
		m->term--;
	m->index = status->last + 3 - (status->last + 3 < 6 ? 0 : prng_below(prng, 6));
	m->log_term = m->term > 0 ? m->term - prng_below(prng, m->term > 1 ? 2 : 1) : 0;
	m->commit = prng_below(prng, 2) == 0 ? status->last + prng_below(prng, 3) : m->index;
	m->hint = prng_below(prng, 2) == 0 ? prng_next(prng) : status->last;
	m->read_seq = prng_below(prng, 2) == 0 ? prng_next(prng) : 1;
	if (m->type == RAFT_APP)
		fill_entries(prng, m, entries, command);
	if (m->type == RAFT_SNAP)
	{
		*snapshot = three_members().base;
		snapshot->index = status->last + prng_below(prng, 3);
		snapshot->term = m->term > 0 ? m->term - prng_below(prng, m->term > 1 ? 2 : 1) : 0;
		m->snapshot = snapshot;
	}
}

static void
arbitrary_messages_do_no_harm(void **state)
{
	RaftBuf    *command;

	(void) state;
	command = raft_buf_new(&allocator, "12345678", 8);
	for (uint64_t seed = 0; seed < 300; seed++)
	{
		Prng		prng = {.state = seed};
		Raft	   *raft;

		assert_int_equal(open_replica(&raft), VT_OK);
		for (int i = 0; i < 300; i++)
		{
			RaftStatus	status;
			RaftMessage m;
			RaftEntry	entries[4];
			RaftSnapshot snapshot;

			raft_get_status(raft, &status);
			random_message(&prng, &status, &m, entries, &snapshot, command);
			(void) raft_step(raft, &m);
			if (prng_below(&prng, 3) == 0)
				(void) raft_tick(raft);
			if (prng_below(&prng, 10) == 0)
				(void) raft_propose(raft, &command, 1, NULL, NULL);
			if (prng_below(&prng, 10) == 0)
				(void) raft_read(raft, (uint64_t) i);
			if (prng_below(&prng, 2) == 0)
				serve(raft);
			check(raft);
		}
		raft_close(raft);
	}
	raft_buf_release(command);
	assert_int_equal(live_bytes, 0);
}

static void
impossible_messages_are_refused(void **state)
{
	Raft	   *raft;
	RaftMessage m = {.type = RAFT_HEARTBEAT, .group = 1, .from = 2, .to = 1, .term = 1};
	RaftMessage bad;
	RaftEntry	entry = {.index = 1, .term = 1, .type = 7};

	(void) state;
	assert_int_equal(open_replica(&raft), VT_OK);
	assert_int_equal(raft_step(raft, &m), VT_OK);
	bad = m;
	bad.group = 2;
	assert_int_equal(raft_step(raft, &bad), VT_PROTOCOL);
	bad = m;
	bad.to = 2;
	assert_int_equal(raft_step(raft, &bad), VT_PROTOCOL);
	bad = m;
	bad.type = 99;
	assert_int_equal(raft_step(raft, &bad), VT_VERSION);
	bad = m;
	bad.index = UINT64_MAX;
	assert_int_equal(raft_step(raft, &bad), VT_PROTOCOL);
	bad = m;
	bad.type = RAFT_SNAP;
	assert_int_equal(raft_step(raft, &bad), VT_PROTOCOL);
	bad = m;
	bad.type = RAFT_APP;
	bad.entries = &entry;
	bad.n = 1;
	assert_int_equal(raft_step(raft, &bad), VT_VERSION);
	entry.type = RAFT_NOOP;
	entry.index = 2;			/* not behind m.index */
	assert_int_equal(raft_step(raft, &bad), VT_PROTOCOL);
	entry.index = 1;
	entry.term = 2;				/* later than its leader */
	assert_int_equal(raft_step(raft, &bad), VT_PROTOCOL);
	check(raft);
	raft_close(raft);
	assert_int_equal(live_bytes, 0);
}

/* An election and a write, each step with the n-th allocation failing. */
static void
lead_and_write(Raft *raft, RaftBuf *command)
{
	RaftStatus	before;
	RaftStatus	after;

	for (int round = 0; round < 60; round++)
	{
		RaftMessage m = {.group = 1, .from = 2, .to = 1};
		VtStatus	status;

		raft_get_status(raft, &before);
		m.term = before.term;
		m.index = before.last;
		switch (before.role)
		{
			case RAFT_FOLLOWER:
				status = raft_campaign(raft);
				break;
			case RAFT_PRECANDIDATE:
				m.type = RAFT_PREVOTE_RESP;
				m.term++;
				status = raft_step(raft, &m);
				break;
			case RAFT_CANDIDATE:
				m.type = RAFT_VOTE_RESP;
				status = raft_step(raft, &m);
				break;
			default:
				m.type = RAFT_APP_RESP;
				status = round % 2 == 0 ? raft_propose(raft, &command, 1, NULL, NULL) :
					raft_step(raft, &m);
				break;
		}
		raft_get_status(raft, &after);
		if (status == VT_NOMEM)
			assert_memory_equal(&before, &after, sizeof(before));
		check(raft);
		serve(raft);
		check(raft);
	}
}

static void
failed_allocations_change_nothing(void **state)
{
	RaftBuf    *command;

	(void) state;
	command = raft_buf_new(&allocator, "12345678", 8);
	for (int n = 1; n < 200; n++)
	{
		Raft	   *raft;
		RaftStatus	status;

		fail_in = n;
		if (open_replica(&raft) == VT_NOMEM)
		{
			assert_null(raft);
			continue;
		}
		lead_and_write(raft, command);
		fail_in = 0;
		raft_get_status(raft, &status);
		assert_int_equal(status.role, RAFT_LEADER);
		assert_true(status.commit > 10);
		raft_close(raft);
	}
	raft_buf_release(command);
	assert_int_equal(live_bytes, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arbitrary_messages_do_no_harm),
		cmocka_unit_test(impossible_messages_are_refused),
		cmocka_unit_test(failed_allocations_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
