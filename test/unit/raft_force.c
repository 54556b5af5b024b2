/*-------------------------------------------------------------------------
 *
 * raft_force.c
 *	  A group whose majority is lost goes on with one replica (raft_force).
 *
 *-------------------------------------------------------------------------
 */
#include "raft_rig.h"

/* Replica 1 of three, a follower with three entries of term 4, two of them committed. */
typedef struct Given
{
	RaftStored	stored;
	RaftEntry	entries[4];
	size_t		n;
	uint64_t	life;
} Given;

static void
given(Given *g)
{
	memset(g, 0, sizeof(*g));
	g->stored = rig_stored();
	for (g->n = 0; g->n < 3; g->n++)
	{
		RaftBuf    *data = raft_buf_new(&rig_allocator, "abc", 3);

		g->entries[g->n] = (RaftEntry) {.index = g->n + 1, .term = 4, .type = RAFT_COMMAND, .size = 3, .data = data};
	}
	g->stored.entries = g->entries;
	g->stored.n = g->n;
	g->stored.hard = (RaftHardState) {.term = 6, .vote = 3, .commit = 2, .last_index = 3, .last_term = 4};
	g->stored.applied = 2;
	g->life = 2;
}

static void
given_end(Given *g)
{
	for (size_t i = 0; i < g->n; i++)
		raft_buf_release(g->entries[i].data);
}

static RaftConf
members(uint64_t voter, uint64_t learner)
{
	RaftConf	conf = {0};

	for (uint64_t id = 1; id <= 3; id++)
		if (id == voter || id == learner)
			rig_add(&conf, id, id == voter ? RAFT_VOTER : RAFT_LEARNER);
	return conf;
}

/* As the caller does: both in one batch. */
static VtStatus
force(Given *g, const RaftConf *conf, VtError *err)
{
	RaftHardState hard;
	RaftEntry	entry;
	VtStatus	status = raft_force(&g->stored, 1, conf, g->life, &rig_allocator, &entry, &hard, err);

	if (status != VT_OK)
		return status;
	g->entries[g->n++] = entry;
	g->stored.n = g->n;
	g->stored.hard = hard;
	return VT_OK;
}

static void
it_leads_alone_and_keeps_what_it_has(void **state)
{
	Given		g;
	RaftConf	conf = members(1, 2);
	RaftMessage late;
	VtError		err = {0};
	Raft	   *raft;

	(void) state;
	given(&g);
	assert_int_equal(force(&g, &conf, &err), VT_OK);
	raft = rig_open(&g.stored);
	for (int i = 0; i < 100 && rig_status(raft).role != RAFT_LEADER; i++)
	{
		assert_int_equal(raft_tick(raft), VT_OK);
		rig_serve(raft);
	}
	assert_int_equal(rig_status(raft).role, RAFT_LEADER);
	assert_true(rig_status(raft).term > raft_forced_term(2) && rig_status(raft).term < raft_life_term(3));
	assert_true(rig_status(raft).term_committed);
	assert_true(rig_status(raft).commit >= 5);
	assert_int_equal(raft_get_conf(raft)->n, 2);
	assert_int_equal(rig_propose(raft, "new"), VT_OK);
	rig_serve(raft);
	assert_int_equal(rig_status(raft).commit, rig_status(raft).last);

	/* What a lost leader sent before it died changes nothing. */
	late = rig_message(raft, RAFT_APP, 3);
	late.term = 7;
	late.index = 2;
	late.log_term = 4;
	late.commit = 900;
	assert_int_equal(raft_step(raft, &late), VT_OK);
	rig_serve(raft);
	assert_int_equal(rig_status(raft).role, RAFT_LEADER);

	/* The learner is led, and can be given a vote again. */
	rig_acknowledge(raft, 2);
	rig_serve(raft);
	conf = members(2, 0);
	rig_add(&conf, 3, RAFT_LEARNER);
	conf.members[1] = conf.members[0];
	conf.members[0] = (RaftMember) {.id = 1, .node = 1, .roles = RAFT_VOTER};
	assert_int_equal(raft_propose_conf(raft, &conf, rig_status(raft).conf_index, NULL), VT_OK);
	raft_close(raft);
	given_end(&g);
	assert_int_equal(rig_live, 0);
}

/* A crash before the batch leaves all as it was; one after it finds it done. */
static void
it_is_done_once(void **state)
{
	Given		g;
	RaftConf	conf = members(1, 2);
	RaftConf	other = members(2, 1);
	RaftConf	both = members(1, 2);
	VtError		err = {0};
	Raft	   *raft;

	(void) state;
	given(&g);
	both.members[1].roles = RAFT_VOTER;
	assert_int_equal(force(&g, &other, &err), VT_INVALID);
	assert_int_equal(force(&g, &both, &err), VT_INVALID);
	assert_int_equal(force(&g, &conf, &err), VT_OK);
	assert_int_equal(force(&g, &conf, &err), VT_EXISTS);
	assert_int_equal(g.stored.hard.last_index, 4);

	/* Others have votes by then: a task that comes late once more takes them from nobody. */
	g.stored.hard.term += 3;
	raft_buf_release(g.entries[3].data);
	g.entries[3].data = raft_buf_new(&rig_allocator, NULL, (uint32_t) raft_conf_size(&both));
	g.entries[3].size = (uint32_t) raft_conf_size(&both);
	raft_conf_encode(&both, g.entries[3].data->data);
	assert_int_equal(force(&g, &conf, &err), VT_EXISTS);
	given_end(&g);

	/* Two that are forced in two lives, the first of them lost before anybody heard, share no term. */
	given(&g);
	assert_int_equal(force(&g, &conf, &err), VT_OK);
	assert_int_equal(g.entries[3].term, raft_forced_term(2));
	given_end(&g);
	given(&g);
	g.life = 3;
	assert_int_equal(force(&g, &conf, &err), VT_OK);
	assert_int_equal(g.entries[3].term, raft_forced_term(3));
	given_end(&g);

	/* One that was founded, and has never written anything, goes on behind its base. */
	given(&g);
	g.stored.n = 0;
	g.stored.base.index = 1000;
	g.stored.base.term = 1;
	g.stored.applied = 1000;
	memset(&g.stored.hard, 0, sizeof(g.stored.hard));
	for (size_t i = 0; i < g.n; i++)
		raft_buf_release(g.entries[i].data);
	g.n = 0;
	assert_int_equal(force(&g, &conf, &err), VT_OK);
	assert_int_equal(g.entries[0].index, 1001);
	raft = rig_open(&g.stored);
	assert_int_equal(rig_status(raft).last, 1001);
	raft_close(raft);
	given_end(&g);

	/* A change that was under way and not committed is overruled. */
	given(&g);
	both = rig_stored().base.conf;
	both.joint = true;
	for (uint32_t i = 0; i < 3; i++)
		both.members[i].roles = i == 0 ? RAFT_VOTER | RAFT_VOTER_OLD : RAFT_VOTER_OLD;
	raft_buf_release(g.entries[2].data);
	g.entries[2].type = RAFT_CONF;
	g.entries[2].size = (uint32_t) raft_conf_size(&both);
	g.entries[2].data = raft_buf_new(&rig_allocator, NULL, g.entries[2].size);
	raft_conf_encode(&both, g.entries[2].data->data);
	assert_int_equal(force(&g, &conf, &err), VT_OK);
	raft = rig_open(&g.stored);
	assert_false(raft_get_conf(raft)->joint);
	raft_close(raft);
	given_end(&g);
	assert_int_equal(rig_live, 0);
}

/* Whoever has nothing of its group cannot go on with it. */
static void
an_empty_one_is_refused(void **state)
{
	Given		g;
	RaftConf	conf = members(1, 2);
	VtError		err = {0};
	Raft	   *raft;

	(void) state;
	given(&g);
	g.stored.n = 0;
	memset(&g.stored.base, 0, sizeof(g.stored.base));
	assert_int_equal(force(&g, &conf, &err), VT_NOT_FOUND);

	/* A learner that has the beginning of the log has something, though no configuration. */
	g.stored.n = 3;
	assert_int_equal(force(&g, &conf, &err), VT_OK);
	raft = rig_open(&g.stored);
	assert_int_equal(raft_get_conf(raft)->n, 2);
	raft_close(raft);
	given_end(&g);
	assert_int_equal(rig_live, 0);
}

/* One that is told of another life hears nothing of the one before, however late it comes. */
static void
the_lost_are_not_heard(void **state)
{
	Given		g;
	RaftConf	conf = members(1, 2);
	RaftMessage late;
	RaftHardState hard;
	VtError		err = {0};
	Raft	   *raft;

	(void) state;
	given(&g);
	assert_int_equal(raft_outlive(&g.stored, g.life, &hard), VT_OK);
	g.stored.hard = hard;
	assert_int_equal(raft_outlive(&g.stored, g.life, &hard), VT_EXISTS);
	raft = rig_open(&g.stored);
	late = rig_message(raft, RAFT_APP, 3);
	late.term = 7;
	late.index = 3;
	late.log_term = 4;
	late.commit = 3;
	assert_int_equal(raft_step(raft, &late), VT_OK);
	rig_serve(raft);
	assert_int_equal(rig_status(raft).commit, 2);
	assert_int_equal(rig_status(raft).term, raft_life_term(2));
	raft_close(raft);
	assert_int_equal(force(&g, &conf, &err), VT_OK);
	assert_int_equal(raft_outlive(&g.stored, g.life, &hard), VT_EXISTS);
	given_end(&g);
	assert_int_equal(rig_live, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_leads_alone_and_keeps_what_it_has),
		cmocka_unit_test(it_is_done_once),
		cmocka_unit_test(an_empty_one_is_refused),
		cmocka_unit_test(the_lost_are_not_heard),
	};

	return cmocka_run_group_tests_name("raft_force", tests, NULL, NULL);
}
