/*-------------------------------------------------------------------------
 *
 * pd_lease.c
 *	  One incarnation, many starts of servers that were one once: which of them
 *	  goes on (law W7).
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

/* A start of a server, on some data directory. */
typedef struct Start
{
	VtId		session;
	VtId		before;
	uint64_t	place;
} Start;

static VtId directory;			/* its copies have the same */
static VtId incarnation;

static PdWorld *
driver(void)
{
	PdWorld    *w = vt_alloc(sizeof(PdWorld));

	world_begin(w, 1, 0);
	vt_id_random(&directory);
	memset(&incarnation, 0, sizeof(incarnation));
	return w;
}

static void
end(PdWorld *w)
{
	cluster_end(w);
}

static Start
start_after(const Start *last, uint64_t place)
{
	Start		start = {.place = place};

	vt_id_random(&start.session);
	if (last)
		start.before = last->session;
	return start;
}

static VtStatus
ask(PdWorld *w, const Start *start, VtId *got)
{
	char		text[4][VT_ID_TEXT];
	char		place[24];
	json_t	   *body;
	json_t	   *reply = NULL;
	VtError		err = {0};
	VtStatus	status;

	vt_id_format(&incarnation, text[0]);
	vt_id_format(&directory, text[1]);
	vt_id_format(&start->session, text[2]);
	vt_id_format(&start->before, text[3]);
	snprintf(place, sizeof(place), "%" PRIu64, start->place);
	w->pd.now_us = w->now;
	body = json_pack("{s:s,s:s,s:s,s:i,s:s,s:[s],s:s}", "system", "7",
					 "incarnation", vt_id_is_zero(&incarnation) ? "" : text[0], "holder", text[1],
					 "timeline", 1, "session", text[2], "before", text[3], "place", place);
	status = lease_take(&w->pd, body, &reply, &err);
	if (status == VT_OK && got)
		assert_true(vt_id_parse(json_string_value(json_object_get(reply, "incarnation")), got));
	json_decref(reply);
	json_decref(body);
	return status;
}

/* A driver that holds nothing in memory: killed and started, or another that leads. */
static void
driver_changes(PdWorld *w)
{
	pd_end(w);
	pd_begin(w);
}

static void
one_incarnation_for_one_session(void **state)
{
	PdWorld    *w = driver();
	Start		first = start_after(NULL, 1);
	Start		other = start_after(NULL, 2);
	VtId		a;
	VtId		b;

	(void) state;
	assert_int_equal(ask(w, &first, &a), VT_OK);
	assert_int_equal(ask(w, &first, &b), VT_OK);
	assert_true(vt_id_equal(&a, &b));

	/* A copy that has not got one yet either */
	assert_int_equal(ask(w, &other, &b), VT_OK);
	assert_false(vt_id_equal(&a, &b));
	end(w);
}

static void
a_restart_in_its_place_goes_on_at_once(void **state)
{
	PdWorld    *w = driver();
	Start		first = start_after(NULL, 1);
	Start		second = start_after(&first, 1);

	(void) state;
	assert_int_equal(ask(w, &first, &incarnation), VT_OK);
	assert_int_equal(ask(w, &second, NULL), VT_OK);
	assert_int_equal(ask(w, &first, NULL), VT_EXISTS);

	/* Also when the driver was started again meanwhile */
	driver_changes(w);
	first = start_after(&second, 1);
	assert_int_equal(ask(w, &first, NULL), VT_OK);
	end(w);
}

static void
only_one_goes_on(void **state)
{
	PdWorld    *w = driver();
	Start		first = start_after(NULL, 1);
	Start		original = start_after(&first, 1);
	Start		copy = start_after(&first, 2);

	(void) state;
	assert_int_equal(ask(w, &first, &incarnation), VT_OK);
	assert_int_equal(ask(w, &original, NULL), VT_OK);
	assert_int_equal(ask(w, &copy, NULL), VT_EXISTS);
	w->now += 3600 * SECOND_US;
	assert_int_equal(ask(w, &copy, NULL), VT_EXISTS);
	driver_changes(w);
	assert_int_equal(ask(w, &copy, NULL), VT_EXISTS);
	assert_int_equal(ask(w, &original, NULL), VT_OK);
	end(w);
}

static void
a_copy_of_a_living_server_is_told_so(void **state)
{
	PdWorld    *w = driver();
	Start		original = start_after(NULL, 1);
	Start		copy = start_after(&original, 2);

	(void) state;
	assert_int_equal(ask(w, &original, &incarnation), VT_OK);
	w->now += SECOND_US;
	assert_int_equal(ask(w, &copy, NULL), VT_BUSY);
	w->now += SECOND_US;
	assert_int_equal(ask(w, &original, NULL), VT_OK);
	assert_int_equal(ask(w, &copy, NULL), VT_EXISTS);
	end(w);
}

static void
elsewhere_it_waits_until_there_is_silence(void **state)
{
	PdWorld    *w = driver();
	Start		first = start_after(NULL, 1);
	Start		moved = start_after(&first, 2);
	Start		nowhere = start_after(&moved, 0);
	Start		again = start_after(&nowhere, 0);

	(void) state;
	assert_int_equal(ask(w, &first, &incarnation), VT_OK);
	for (int i = 0; i < 10; i++, w->now += SECOND_US)
		assert_int_equal(ask(w, &moved, NULL), VT_BUSY);
	assert_int_equal(ask(w, &moved, NULL), VT_OK);

	/* A place that is not known is no place */
	w->now += 10 * SECOND_US;
	assert_int_equal(ask(w, &nowhere, NULL), VT_OK);
	assert_int_equal(ask(w, &again, NULL), VT_BUSY);
	end(w);
}

/* A driver that has heard of nobody yet does not take that for silence. */
static void
a_new_driver_listens_first(void **state)
{
	PdWorld    *w = driver();
	Start		first = start_after(NULL, 1);
	Start		copy = start_after(&first, 2);

	(void) state;
	assert_int_equal(ask(w, &first, &incarnation), VT_OK);
	w->now += 3600 * SECOND_US;
	driver_changes(w);
	assert_int_equal(ask(w, &copy, NULL), VT_BUSY);
	w->now += SECOND_US;
	assert_int_equal(ask(w, &first, NULL), VT_OK);
	assert_int_equal(ask(w, &copy, NULL), VT_EXISTS);
	driver_changes(w);
	w->now += 9 * SECOND_US;
	assert_int_equal(ask(w, &copy, NULL), VT_BUSY);
	w->now += SECOND_US;
	assert_int_equal(ask(w, &copy, NULL), VT_OK);
	end(w);
}

/* Another driver led for a while: that its reign began is not the holder's word. */
static void
a_driver_that_leads_again_listens_anew(void **state)
{
	PdWorld    *w = driver();
	Start		first = start_after(NULL, 1);
	Start		moved = start_after(&first, 2);

	(void) state;
	assert_int_equal(ask(w, &first, &incarnation), VT_OK);
	w->now += SECOND_US;
	assert_int_equal(ask(w, &moved, NULL), VT_BUSY);
	w->now += 5 * SECOND_US;
	w->pd.led_since_us = w->now;
	for (int i = 0; i < 10; i++, w->now += SECOND_US)
		assert_int_equal(ask(w, &moved, NULL), VT_BUSY);
	assert_int_equal(ask(w, &moved, NULL), VT_OK);
	end(w);
}

static void
only_the_holder_judges_what_is_unused(void **state)
{
	PdWorld    *w = driver();
	Start		first = start_after(NULL, 1);
	Start		second = start_after(&first, 1);
	WireOwner	owner = {.system = 7, .database = 5};
	json_t	   *body[2];

	(void) state;
	assert_int_equal(ask(w, &first, &incarnation), VT_OK);
	assert_int_equal(ask(w, &second, NULL), VT_OK);
	owner.incarnation = incarnation;
	for (int i = 0; i < 2; i++)
	{
		char		text[VT_ID_TEXT];

		vt_id_format(i ? &second.session : &first.session, text);
		body[i] = json_pack("{s:s}", "session", text);
		assert_true(lease_is_held(&w->pd, body[i], &owner) == (i == 1));
		json_decref(body[i]);
	}
	body[0] = json_object();
	assert_false(lease_is_held(&w->pd, body[0], &owner));
	json_decref(body[0]);
	end(w);
}

/* A server that comes, has an incarnation, and is heard no more. */
static void
another_comes_and_goes(PdWorld *w)
{
	VtId		ours = incarnation;
	Start		other = start_after(NULL, 3);

	memset(&incarnation, 0, sizeof(incarnation));
	assert_int_equal(ask(w, &other, NULL), VT_OK);
	incarnation = ours;
}

/* In memory; what the log has says of them what has to be known. */
static void
the_silent_are_forgotten(void **state)
{
	PdWorld    *w = driver();
	Start		first = start_after(NULL, 1);
	Start		second = start_after(&first, 1);
	Start		superseded = start_after(&first, 2);
	Start		copy = start_after(&second, 2);
	Start		moved = start_after(&second, 3);
	size_t		most = 0;

	(void) state;
	assert_int_equal(ask(w, &first, &incarnation), VT_OK);
	assert_int_equal(ask(w, &second, NULL), VT_OK);

	/* One who speaks is not, however many come and go. */
	for (int i = 0; i < 3600; i += 5, w->now += 5 * SECOND_US)
	{
		if (i % 60 == 0)
			another_comes_and_goes(w);
		assert_int_equal(ask(w, &second, NULL), VT_OK);
		most = w->pd.nholders > most ? w->pd.nholders : most;
	}
	assert_in_range(most, 2, 13);
	assert_int_equal(w->pd.catalog->nleases, 61);
	assert_int_equal(ask(w, &copy, NULL), VT_BUSY);
	assert_int_equal(ask(w, &superseded, NULL), VT_EXISTS);

	/* Nor does silence give back what was handed on: who was superseded stays so, a copy asks once more. */
	w->now += 3600 * SECOND_US;
	another_comes_and_goes(w);
	assert_int_equal(w->pd.nholders, 1);
	assert_int_equal(ask(w, &superseded, NULL), VT_EXISTS);
	assert_int_equal(ask(w, &second, NULL), VT_OK);
	assert_int_equal(ask(w, &copy, NULL), VT_BUSY);
	w->now += SECOND_US;
	assert_int_equal(ask(w, &second, NULL), VT_OK);
	assert_int_equal(ask(w, &copy, NULL), VT_EXISTS);

	/* Who was forgotten has been silent for long enough for another to go on. */
	w->now += 3600 * SECOND_US;
	another_comes_and_goes(w);
	assert_int_equal(w->pd.nholders, 1);
	assert_int_equal(ask(w, &moved, NULL), VT_OK);
	assert_int_equal(ask(w, &second, NULL), VT_EXISTS);
	end(w);
}

static void
malformed_questions(void **state)
{
	static const char *const bad[] = {
		"{}",
		"{\"system\":\"7\",\"incarnation\":\"\",\"holder\":\"00000000000000000000000000000001\",\"timeline\":1,\"session\":\"\",\"before\":[],\"place\":\"1\"}",
		"{\"system\":\"7\",\"incarnation\":\"\",\"holder\":\"00000000000000000000000000000001\",\"timeline\":1,\"session\":\"00000000000000000000000000000001\",\"place\":\"1\"}",
		"{\"system\":\"7\",\"incarnation\":\"\",\"holder\":\"00000000000000000000000000000001\",\"timeline\":1,\"session\":\"00000000000000000000000000000001\",\"before\":[]}",
	};
	PdWorld    *w = driver();

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		json_t	   *body = json_loads(bad[i], 0, NULL);
		json_t	   *reply = NULL;
		VtError		err = {0};

		assert_non_null(body);
		assert_int_equal(lease_take(&w->pd, body, &reply, &err), VT_INVALID);
		json_decref(body);
	}
	end(w);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(one_incarnation_for_one_session),
		TEST(a_restart_in_its_place_goes_on_at_once),
		TEST(only_one_goes_on),
		TEST(a_copy_of_a_living_server_is_told_so),
		TEST(elsewhere_it_waits_until_there_is_silence),
		TEST(a_new_driver_listens_first),
		TEST(a_driver_that_leads_again_listens_anew),
		TEST(only_the_holder_judges_what_is_unused),
		TEST(the_silent_are_forgotten),
		TEST(malformed_questions),
	};

	return cmocka_run_group_tests_name("pd_lease", tests, NULL, NULL);
}
