/*-------------------------------------------------------------------------
 *
 * pd_plan.c
 *	  Where replicas go and why: labels, sites, plans; pure functions alone.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../../src/pd/labels.h"
#include "../../src/pd/plan.h"
#include "../../src/pd/schedule.h"
#include "base/prng.h"

static void
labels_are_words(void **state)
{
	static const char *const good[] = {"", "zone=a", "zone=a,rack=r1", "a.b-c_d=1,b=2,ab=3"};
	static const char *const bad[] = {
		"zone", "zone=", "=a", ",", "zone=a,", "zone=a,,rack=b", "zone=a b", "zone=a=b", "zone=a,zone=b",
		"z=a,y=b,z=c", "zone=a;rack=b", "zone=\xc3\xa4"
	};
	char		longest[LABELS_MAX + 1];
	VtError		err = {0};

	(void) state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_int_equal(labels_check(good[i], &err), VT_OK);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(labels_check(bad[i], &err), VT_INVALID);
	memset(longest, 'x', sizeof(longest));
	longest[1] = '=';
	longest[LABELS_MAX - 1] = '\0';
	assert_int_equal(labels_check(longest, &err), VT_OK);
	longest[LABELS_MAX - 1] = 'x';
	longest[LABELS_MAX] = '\0';
	assert_int_equal(labels_check(longest, &err), VT_INVALID);
}

static Site
at(const char *labels)
{
	Spread		spread;
	VtError		err = {0};

	assert_int_equal(spread_parse("zone,rack", &spread, &err), VT_OK);
	assert_int_equal(spread.n, 2);
	return spread_site(&spread, labels);
}

static void
keys_of_a_spread(void **state)
{
	static const char *const bad[] = {",", "zone,", "zone,,rack", "zone rack", "a,b,c,d,e", "zone=a"};
	Spread		spread;
	VtError		err = {0};

	(void) state;
	assert_int_equal(spread_parse("", &spread, &err), VT_OK);
	assert_int_equal(spread.n, 0);
	assert_int_equal(spread_parse("a,b,c,d", &spread, &err), VT_OK);
	assert_int_equal(spread.n, 4);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(spread_parse(bad[i], &spread, &err), VT_INVALID);
}

static void
sites_of_stores(void **state)
{
	Site		a1 = at("rack=1,zone=a");
	Site		a2 = at("zone=a,rack=2,host=x");
	Site		b1 = at("zone=b,rack=1");
	Site		none = at("host=x");
	Site		others[3];

	(void) state;
	assert_true(a1.at[0] == a2.at[0] && a1.at[0] != b1.at[0]);
	assert_true(a1.at[1] != a2.at[1]);
	assert_true(a1.at[1] != b1.at[1]);	/* racks of two zones are two racks */
	assert_true(none.at[0] != a1.at[0] && none.at[0] == at("").at[0]);
	assert_true(at("zone=a,rack=1").at[1] == a1.at[1]);
	assert_true(at("zones=a").at[0] == none.at[0]);

	others[0] = a1;
	others[1] = a1;
	others[2] = b1;
	assert_true(site_crowding(&a2, others, 3) < site_crowding(&a1, others, 3));
	assert_true(site_crowding(&b1, others, 3) < site_crowding(&a2, others, 3));
	assert_true(site_crowding(&none, others, 3) < site_crowding(&b1, others, 3));
}

/* For all random clusters: as many zones as there can be, then racks, then evenly. */
static void
new_shards_are_spread_over_zones(void **state)
{
	Prng		prng = {9};

	(void) state;
	for (int round = 0; round < 300; round++)
	{
		Candidate	candidates[24];
		uint64_t	stores[600];
		size_t		zones = 1 + prng_below(&prng, 5);
		size_t		n = zones + prng_below(&prng, 19);
		size_t		r = 1 + prng_below(&prng, n < 5 ? (uint32_t) n : 5);
		size_t		shards = 1 + prng_below(&prng, 100);

		memset(candidates, 0, sizeof(candidates));
		for (size_t i = 0; i < n; i++)
		{
			char		labels[64];

			/* Each zone has one at least. */
			snprintf(labels, sizeof(labels), "zone=%u,rack=%u",
					 (unsigned) (i < zones ? i : prng_below(&prng, (uint32_t) zones)), (unsigned) prng_below(&prng, 3));
			candidates[i].store = i + 1;
			candidates[i].replicas = prng_below(&prng, 20);
			candidates[i].site = at(labels);
		}
		schedule_place(candidates, n, stores, shards, r);
		for (size_t s = 0; s < shards; s++)
		{
			size_t		distinct = 0;

			for (size_t a = 0; a < r; a++)
			{
				bool		is_first = true;

				for (size_t b = 0; b < a; b++)
				{
					assert_true(stores[s * r + a] != stores[s * r + b]);
					is_first &= candidates[stores[s * r + a] - 1].site.at[0] != candidates[stores[s * r + b] - 1].site.at[0];
				}
				distinct += is_first;
			}
			assert_int_equal(distinct, r < zones ? r : zones);
		}
	}
}

/* -- Plans ----------------------------------------------------------------- */

static const PlanLimits limits = {.per_store = 2, .small_per_store = 4, .small_bytes = 1000, .plans = 64};

/* Three voters in zones a, b and c, and six stores, two in each zone. */
typedef struct Given
{
	PlanShard	shard;
	PlanStore	stores[8];
	size_t		n;
} Given;

static Given
given(void)
{
	static const char *const labels[] = {
		"zone=a,rack=1", "zone=b,rack=1", "zone=c,rack=1", "zone=a,rack=2", "zone=b,rack=2", "zone=c,rack=2"
	};
	Given		g;

	memset(&g, 0, sizeof(g));
	g.n = 6;
	for (size_t i = 0; i < g.n; i++)
		g.stores[i] = (PlanStore) {.store = 10 + i, .takes = true, .site = at(labels[i]), .replicas = 5};
	g.shard.shard = 1;
	g.shard.wanted = 3;
	g.shard.settled = true;
	g.shard.leader = 100;
	for (uint32_t i = 0; i < 3; i++)
	{
		g.shard.members[g.shard.n++] = (PlanMember) {.replica = 100 + i, .store = 10 + i, .voter = true, .active = true,
			.match = 50, .site = g.stores[i].site};
		g.shard.holders[g.shard.nholders++] = 10 + i;
	}
	return g;
}

static void
a_lost_replica_comes_back_in_its_zone(void **state)
{
	Given		g = given();
	Plan		plan;

	(void) state;
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	g.shard.members[1].health = HEALTH_DOWN;
	g.stores[1].health = HEALTH_DOWN;
	g.stores[4].replicas = 1000;	/* full as it is */
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.kind, PLAN_REPAIR);
	assert_int_equal(plan.add_store, 14);
	assert_int_equal(plan.remove, 101);

	/* It has enough on its way: the shard waits rather than double a zone. */
	g.stores[4].arriving = limits.per_store;
	g.stores[4].arriving_bytes = limits.small_bytes;
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));

	/* Unless that is little; but never very many. */
	g.stores[4].arriving_bytes--;
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.add_store, 14);
	g.stores[4].arriving = limits.small_per_store;
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));

	/* The zone has no room at all: another one, and there another rack. */
	g.stores[4].takes = false;
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_true(plan.add_store == 13 || plan.add_store == 15);

	/* Little room is for what has nowhere else to go. */
	g.stores[3].takes_little = g.stores[4].takes_little = true;
	g.stores[4].arriving = 0;
	g.stores[3].takes = false;
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.add_store, 15);
	g.stores[5].takes = false;
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.add_store, 14);
	g.stores[3].takes_little = g.stores[4].takes_little = false;
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
}

/* On a store that is up: it leaves only where nobody else may take another and its store may. */
static void
what_has_no_other_place_leaves_first(void **state)
{
	Given		g = given();
	Plan		plan;

	(void) state;
	g.n = 4;
	g.shard.members[1].health = HEALTH_DOWN;
	g.stores[3].arriving = limits.small_per_store;
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));	/* busy, for now */
	g.stores[3].takes = false;
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, true, &plan));
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.kind, PLAN_SHRINK);
	assert_int_equal(plan.remove, 101);
	assert_int_equal(plan.add_store, 0);

	g.stores[1].takes = false;	/* it is to be emptied, or full */
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	g.stores[1].takes_little = true;
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.kind, PLAN_SHRINK);
	g.stores[1].health = HEALTH_SUSPECT;
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));

	/* It has left: the next one comes to the same store. */
	g.stores[1].health = HEALTH_UP;
	g.shard.members[1] = g.shard.members[--g.shard.n];
	g.shard.holders[1] = g.shard.holders[--g.shard.nholders];
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.kind, PLAN_GROW);
	assert_int_equal(plan.add_store, 11);
}

static void
a_doubled_zone_is_spread_when_there_is_room(void **state)
{
	Given		g = given();
	Plan		plan;

	(void) state;
	assert_false(plan_spread(&g.shard, g.stores, g.n, &limits, &plan));
	g.shard.members[1].store = 13;	/* both in zone a */
	g.shard.members[1].site = g.stores[3].site;
	g.shard.holders[1] = 13;
	assert_true(plan_spread(&g.shard, g.stores, g.n, &limits, &plan));
	assert_int_equal(plan.kind, PLAN_SPREAD);
	assert_true(plan.add_store == 11 || plan.add_store == 14);
	assert_true(plan.remove == 100 || plan.remove == 101);
	g.stores[1].takes = g.stores[4].takes = false;
	g.stores[1].takes_little = true;
	assert_false(plan_spread(&g.shard, g.stores, g.n, &limits, &plan));
	g.stores[1].takes = true;
	g.shard.members[2].health = HEALTH_SUSPECT;
	assert_false(plan_spread(&g.shard, g.stores, g.n, &limits, &plan));
}

/* A step of the plan under way must be a change; its members are these. */
static bool
has_role(const Step *step, uint64_t replica, uint8_t role)
{
	for (uint32_t i = 0; i < step->n; i++)
		if (step->members[i].replica == replica)
			return step->members[i].role == role;
	return false;
}

static void
search_stores_hold_learners_that_stay(void **state)
{
	Given		g = given();
	Plan		plan;
	Step		step;

	(void) state;
	g.stores[6] = (PlanStore) {.store = 16, .takes = true, .search_only = true, .site = at("zone=a")};
	g.n = 7;
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));	/* none is wanted */
	g.shard.learners = 1;
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.kind, PLAN_SEARCH);
	assert_int_equal(plan.add_store, 16);
	assert_int_equal(plan.remove, 0);

	/* It joins as a learner, and that is all. */
	plan.add_replica = 103;
	plan.add_seen = true;
	g.shard.plan = plan;
	step = plan_step(&g.shard);
	assert_int_equal(step.kind, STEP_CHANGE);
	assert_true(has_role(&step, 103, ROLE_LEARNER));
	g.shard.members[g.shard.n++] = (PlanMember) {.replica = 103, .store = 16, .search_only = true, .active = true, .match = 50};
	g.shard.holders[g.shard.nholders++] = 16;
	assert_int_equal(plan_step(&g.shard).kind, STEP_END);
	memset(&g.shard.plan, 0, sizeof(g.shard.plan));
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));

	/* A voter that is lost is replaced on a store for data, also when that is fuller. */
	g.shard.members[2].health = HEALTH_DOWN;
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.kind, PLAN_REPAIR);
	assert_int_equal(plan.add_store, 15);
	g.shard.members[2].health = HEALTH_UP;

	/* It goes when its store is to be emptied, is lost, or is for data by now. */
	for (int i = 0; i < 3; i++)
	{
		Given		h = g;

		h.shard.members[3].draining = i == 0;
		h.shard.members[3].health = i == 1 ? HEALTH_DOWN : HEALTH_UP;
		h.shard.members[3].search_only = i != 2;
		assert_true(plan_choose(&h.shard, h.stores, h.n, &limits, false, &plan));
		assert_int_equal(plan.kind, PLAN_SHRINK);
		assert_int_equal(plan.remove, 103);
		h.shard.plan = plan;
		step = plan_step(&h.shard);
		assert_int_equal(step.kind, STEP_CHANGE);
		assert_int_equal(step.n, 3);
	}

	/* And when none is wanted any more. */
	g.shard.learners = 0;
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.remove, 103);
}

/* The store that a voter was to come to is for searches only by now: nobody leaves for it. */
static void
a_learner_is_no_successor_of_a_voter(void **state)
{
	Given		g = given();
	Step		step;

	(void) state;
	g.shard.plan = (Plan) {.kind = PLAN_DRAIN, .add_store = 13, .add_replica = 103, .remove = 101, .add_seen = true};
	g.shard.members[1].draining = true;
	g.shard.members[g.shard.n++] = (PlanMember) {.replica = 103, .store = 13, .search_only = true, .active = true, .match = 50};
	step = plan_step(&g.shard);
	assert_int_equal(step.kind, STEP_END);
	g.shard.members[3].search_only = false;
	step = plan_step(&g.shard);
	assert_int_equal(step.kind, STEP_CHANGE);
	assert_true(has_role(&step, 103, ROLE_VOTER));
	assert_false(has_role(&step, 101, ROLE_VOTER));
}

/* A learner takes a learner's place: the old one goes when the new one has the log. */
static void
a_learner_moves(void **state)
{
	Given		g = given();
	Step		step;

	(void) state;
	g.shard.learners = 1;
	g.shard.members[g.shard.n++] = (PlanMember) {.replica = 103, .store = 16, .search_only = true, .active = true, .match = 50};
	g.shard.plan = (Plan) {.kind = PLAN_BALANCE, .add_store = 17, .add_replica = 104, .remove = 103, .add_seen = true};
	step = plan_step(&g.shard);
	assert_int_equal(step.kind, STEP_CHANGE);
	assert_true(has_role(&step, 103, ROLE_LEARNER) && has_role(&step, 104, ROLE_LEARNER));
	g.shard.members[g.shard.n++] = (PlanMember) {.replica = 104, .store = 17, .search_only = true};
	assert_int_equal(plan_step(&g.shard).kind, STEP_WAIT);
	g.shard.members[4].active = true;
	g.shard.members[4].match = 50;
	step = plan_step(&g.shard);
	assert_int_equal(step.kind, STEP_CHANGE);
	assert_true(has_role(&step, 104, ROLE_LEARNER));
	assert_int_equal(step.n, 4);
	g.shard.members[3] = g.shard.members[--g.shard.n];
	assert_int_equal(plan_step(&g.shard).kind, STEP_END);
}

/* -- Whoever is silent ------------------------------------------------------- */

static PlanMember
learner_at(uint64_t replica, uint64_t store)
{
	return (PlanMember) {.replica = replica, .store = store, .active = true, .match = 50};
}

static void
leaves(PlanShard *shard, uint64_t replica)
{
	for (uint32_t i = 0; i < shard->n; i++)
		if (shard->members[i].replica == replica)
			shard->members[i] = shard->members[--shard->n];
}

/* One of three is silent, perhaps dead: who is taken away is not one of the other two. */
static void
one_too_many_is_one_that_is_silent(void **state)
{
	(void) state;
	for (uint32_t wanted = 1; wanted <= 2; wanted++)
		for (int how = 0; how < 2; how++)
		{
			Given		g = given();
			Plan		plan;
			Step		step;

			g.shard.wanted = wanted;
			g.stores[2].replicas = 1000;

			/* All answer: the one on the fullest store, and then somebody falls silent. */
			assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
			assert_int_equal(plan.remove, 102);
			g.shard.plan = plan;
			assert_int_equal(plan_step(&g.shard).kind, STEP_CHANGE);
			g.shard.members[1].health = how == 0 ? HEALTH_SUSPECT : HEALTH_UP;
			g.shard.members[1].active = false;
			assert_int_equal(plan_step(&g.shard).kind, STEP_END);

			/* It is lost: it goes, in place of the other. */
			g.shard.members[1].health = HEALTH_DOWN;
			assert_int_equal(plan_step(&g.shard).kind, STEP_END);
			memset(&g.shard.plan, 0, sizeof(g.shard.plan));
			assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
			assert_int_equal(plan.remove, 101);

			/* It was silent before any was chosen. */
			g.shard.members[1].health = how == 0 ? HEALTH_SUSPECT : HEALTH_UP;
			assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
			assert_int_equal(plan.kind, PLAN_SHRINK);
			assert_int_equal(plan.remove, 101);
			g.shard.plan = plan;
			step = plan_step(&g.shard);
			assert_int_equal(step.kind, STEP_CHANGE);
			assert_true(has_role(&step, 100, ROLE_VOTER) && has_role(&step, 102, ROLE_VOTER));
			assert_int_equal(step.n, 2);
		}
}

/* Of five two are silent, and three are wanted: those two go, one after the other. */
static void
two_of_five_are_silent(void **state)
{
	Given		g = given();
	Plan		plan;

	(void) state;
	for (uint32_t i = 3; i < 5; i++)
	{
		g.shard.members[g.shard.n] = learner_at(100 + i, 10 + i);
		g.shard.members[g.shard.n++].voter = true;
		g.shard.holders[g.shard.nholders++] = 10 + i;
	}
	g.stores[1].replicas = 1000;
	for (uint32_t i = 2; i < 4; i++)
	{
		g.shard.members[i].active = false;
		g.shard.members[i].health = HEALTH_SUSPECT;
	}
	for (int i = 0; i < 2; i++)
	{
		assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, true, &plan));
		assert_int_equal(plan.kind, PLAN_SHRINK);
		assert_true(plan.remove == 102 || plan.remove == 103);
		g.shard.plan = plan;
		assert_int_equal(plan_step(&g.shard).kind, STEP_CHANGE);
		memset(&g.shard.plan, 0, sizeof(g.shard.plan));
		leaves(&g.shard, plan.remove);
	}
	assert_int_equal(g.shard.n, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_true(g.shard.members[i].active);

	/* No more than half of those who would stay answer: nobody goes. */
	g.shard.wanted = 1;
	g.shard.members[1].active = g.shard.members[2].active = false;
	assert_false(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
}

/* Nobody gets a vote, or another's place, when those who vote then are not heard. */
static void
a_change_waits_for_those_who_vote_then(void **state)
{
	Given		g = given();

	(void) state;
	g.shard.members[g.shard.n++] = learner_at(103, 13);
	g.shard.plan = (Plan) {.kind = PLAN_MOVE, .add_store = 13, .add_replica = 103, .remove = 102, .add_seen = true};
	assert_int_equal(plan_step(&g.shard).kind, STEP_CHANGE);
	g.shard.members[1].health = HEALTH_SUSPECT;
	assert_int_equal(plan_step(&g.shard).kind, STEP_CHANGE);
	g.shard.members[3].health = HEALTH_SUSPECT;
	assert_int_equal(plan_step(&g.shard).kind, STEP_WAIT);
	g.shard.members[1].health = HEALTH_UP;
	assert_int_equal(plan_step(&g.shard).kind, STEP_CHANGE);

	/* A sole voter's successor. */
	g.shard.members[1] = g.shard.members[3];
	g.shard.n = 2;
	g.shard.wanted = 1;
	g.shard.plan.remove = 100;
	assert_int_equal(plan_step(&g.shard).kind, STEP_WAIT);
	g.shard.members[1].health = HEALTH_UP;
	assert_int_equal(plan_step(&g.shard).kind, STEP_CHANGE);
}

/* A leader takes who it has never heard of for active, and in a short log nobody lags. */
static void
who_never_answered_gets_no_vote(void **state)
{
	Given		g = given();

	(void) state;
	g.shard.wanted = 4;
	g.shard.members[g.shard.n++] = learner_at(103, 13);
	g.shard.members[3].match = 0;
	g.shard.plan = (Plan) {.kind = PLAN_GROW, .add_store = 13, .add_replica = 103, .add_seen = true};
	assert_int_equal(plan_step(&g.shard).kind, STEP_WAIT);
	g.shard.members[3].match = 1;
	assert_int_equal(plan_step(&g.shard).kind, STEP_CHANGE);
}

/* Of a shard that was recovered one votes and the other learns: its worker restarts, and it is still the only other copy. */
static void
a_copy_is_kept_while_voters_lack(void **state)
{
	Given		g = given();
	Plan		plan;

	(void) state;
	g.shard.n = 1;
	g.shard.members[g.shard.n++] = learner_at(101, 11);
	g.shard.members[1].active = false;
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.kind, PLAN_GROW);
	g.shard.members[1].health = HEALTH_SUSPECT;
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.kind, PLAN_GROW);
	assert_false(plan_choose(&g.shard, g.stores, 2, &limits, false, &plan));	/* there is no other store */

	/* Unless it is lost, and it is not likely to come back with many others. */
	g.shard.members[1].health = HEALTH_DOWN;
	assert_false(plan_choose(&g.shard, g.stores, 2, &limits, true, &plan));
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, false, &plan));
	assert_int_equal(plan.kind, PLAN_SHRINK);
	assert_int_equal(plan.remove, 101);

	/* One that may never vote is no copy in that sense, and goes when it is to. */
	g.shard.members[1] = learner_at(101, 11);
	g.shard.members[1].search_only = g.shard.members[1].draining = true;
	assert_true(plan_choose(&g.shard, g.stores, 2, &limits, false, &plan));
	assert_int_equal(plan.kind, PLAN_SHRINK);
	assert_int_equal(plan.remove, 101);

	/* It is back: it gets its vote. */
	g.shard.members[1] = learner_at(101, 11);
	assert_true(plan_choose(&g.shard, g.stores, g.n, &limits, true, &plan));
	assert_int_equal(plan.kind, PLAN_GROW);
	assert_int_equal(plan.add_replica, 101);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels_are_words),
		cmocka_unit_test(keys_of_a_spread),
		cmocka_unit_test(sites_of_stores),
		cmocka_unit_test(new_shards_are_spread_over_zones),
		cmocka_unit_test(a_lost_replica_comes_back_in_its_zone),
		cmocka_unit_test(what_has_no_other_place_leaves_first),
		cmocka_unit_test(a_doubled_zone_is_spread_when_there_is_room),
		cmocka_unit_test(search_stores_hold_learners_that_stay),
		cmocka_unit_test(a_learner_is_no_successor_of_a_voter),
		cmocka_unit_test(a_learner_moves),
		cmocka_unit_test(one_too_many_is_one_that_is_silent),
		cmocka_unit_test(two_of_five_are_silent),
		cmocka_unit_test(a_change_waits_for_those_who_vote_then),
		cmocka_unit_test(who_never_answered_gets_no_vote),
		cmocka_unit_test(a_copy_is_kept_while_voters_lack),
	};

	return cmocka_run_group_tests_name("pd_plan", tests, NULL, NULL);
}
