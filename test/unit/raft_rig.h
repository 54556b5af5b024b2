/*-------------------------------------------------------------------------
 *
 * raft_rig.h
 *	  A replica of a small group, its disk and its peers played by the test.
 *
 * Replica 1 of a group whose voters are 1, 2 and 3.  Memory is counted, and the
 * n-th allocation fails when the test says so.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_RAFT_RIG_H
#define TEST_RAFT_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "raft/raft.h"

static int64_t rig_live;
static int	rig_fail_in;		/* 0: never */

static void *
rig_alloc(void *state, size_t size)
{
	(void) state;
	if (rig_fail_in > 0 && --rig_fail_in == 0)
		return NULL;
	rig_live += (int64_t) size;
	return malloc(size);
}

static void
rig_free(void *state, void *p, size_t size)
{
	(void) state;
	rig_live -= (int64_t) size;
	free(p);
}

static const RaftAllocator rig_allocator = {rig_alloc, rig_free, NULL};

static inline RaftStored
rig_stored(void)
{
	RaftStored	stored;

	memset(&stored, 0, sizeof(stored));
	stored.base.conf.n = 3;
	for (uint32_t i = 0; i < 3; i++)
		stored.base.conf.members[i] = (RaftMember) {.id = i + 1, .node = i + 1, .roles = RAFT_VOTER};
	return stored;
}

static inline RaftOptions
rig_options(void)
{
	RaftOptions options;

	raft_options_init(&options);
	options.group = 1;
	options.id = 1;
	options.seed = 5;
	options.allocator = &rig_allocator;
	return options;
}

static inline Raft *
rig_open(const RaftStored *stored)
{
	RaftOptions options = rig_options();
	Raft	   *raft;
	VtError		err;

	if (raft_open(&options, stored, &raft, &err) != VT_OK)
		fail_msg("%s", err.msg);
	return raft;
}

static inline void
rig_close(Raft *raft)
{
	raft_close(raft);
	assert_int_equal(rig_live, 0);
}

static inline void
rig_check(const Raft *raft)
{
	VtError		err;

	if (raft_check(raft, &err) != VT_OK)
		fail_msg("%s", err.msg);
}

static inline RaftStatus
rig_status(const Raft *raft)
{
	RaftStatus	status;

	raft_get_status(raft, &status);
	return status;
}

/* Take what it wants; its disk and its state machine are done at once. */
static inline void
rig_serve(Raft *raft)
{
	for (int i = 0; i < 1000 && raft_has_ready(raft); i++)
	{
		RaftReady	rd;
		uint64_t	applied;

		assert_int_equal(raft_ready(raft, &rd), VT_OK);
		applied = rd.committed_n > 0 ? rd.committed[rd.committed_n - 1].index : 0;
		if (rd.seq != 0)
			assert_int_equal(raft_persisted(raft, rd.seq), VT_OK);
		assert_int_equal(raft_applied(raft, applied), VT_OK);
	}
	assert_false(raft_has_ready(raft));
	rig_check(raft);
}

static inline RaftMessage
rig_message(const Raft *raft, uint8_t type, uint64_t from)
{
	return (RaftMessage) {
		.type = type, .group = 1, .from = from, .to = 1, .term = rig_status(raft).term
	};
}

/* That peer has everything. */
static inline void
rig_acknowledge(Raft *raft, uint64_t from)
{
	RaftMessage m = rig_message(raft, RAFT_APP_RESP, from);

	m.index = rig_status(raft).last;
	assert_int_equal(raft_step(raft, &m), VT_OK);
}

/* Peer 2 elects it, and has the first entry of its term. */
static inline void
rig_lead(Raft *raft)
{
	RaftMessage m;

	assert_int_equal(raft_campaign(raft), VT_OK);
	m = rig_message(raft, RAFT_PREVOTE_RESP, 2);
	m.term++;
	assert_int_equal(raft_step(raft, &m), VT_OK);
	rig_serve(raft);
	m = rig_message(raft, RAFT_VOTE_RESP, 2);
	assert_int_equal(raft_step(raft, &m), VT_OK);
	rig_serve(raft);
	rig_acknowledge(raft, 2);
	rig_serve(raft);
	assert_int_equal(rig_status(raft).role, RAFT_LEADER);
	assert_true(rig_status(raft).term_committed);
}

static inline VtStatus
rig_propose(Raft *raft, const char *words)
{
	RaftBuf    *command = raft_buf_new(&rig_allocator, words, (uint32_t) strlen(words));
	VtStatus	status = raft_propose(raft, &command, 1, NULL, NULL);

	raft_buf_release(command);
	return status;
}

/* The configuration it has, without joint roles, to be changed by the test. */
static inline RaftConf
rig_conf(const Raft *raft)
{
	return *raft_get_conf(raft);
}

static inline void
rig_add(RaftConf *conf, uint64_t id, uint8_t roles)
{
	conf->members[conf->n++] = (RaftMember) {.id = id, .node = id, .roles = roles};
}

#endif							/* TEST_RAFT_RIG_H */
