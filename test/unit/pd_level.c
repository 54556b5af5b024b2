/*-------------------------------------------------------------------------
 *
 * pd_level.c
 *	  Feature levels: raised when everybody knows the next one, never before and
 *	  never back, and who does not know the cluster's is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

#include "base/level.h"

#include "../../src/pd/vec_names.h"

/* What a daemon of a release that knows this much says. */
static json_t *
knows(json_t *body, uint32_t high)
{
	json_object_set_new(body, "level_low", json_integer(VT_LEVEL_LOW));
	json_object_set_new(body, "level_high", json_integer(high));
	return body;
}

/* A heartbeat of a store with nothing. */
static VtStatus
beats(PdWorld *w, uint32_t store, uint32_t high, VtError *err)
{
	json_t	   *body = knows(json_pack("{s:o,s:i,s:[]}", "store", json_u64(w->stores[store].id), "wait_ms", 0, "shards"), high);
	VtStatus	status;

	memset(err, 0, sizeof(*err));
	status = heartbeat_take(&w->pd, body, err);
	json_decref(body);
	return status;
}

static uint32_t
level_after_a_look(PdWorld *w)
{
	w->now += 2 * SECOND_US;
	w->pd.now_us = w->now;
	levels_look(&w->pd);
	return catalog_level(w->pd.catalog);
}

static void
raised_when_all_know_it(void **state)
{
	PdWorld    *w = cluster(1, 3);
	CatalogDriver other = {.id = 77, .endpoint = "unix:/other"};
	CatalogDriver self = {.id = 5, .endpoint = "unix:/self"};
	Buf			command = {0};
	VtError		err;
	json_t	   *body;
	json_t	   *reply;

	(void) state;
	w->pd.id = 5;
	command_begin(&command);
	command_driver(&command, &self);
	command_driver(&command, &other);
	world_commit(&w->pd, &command);
	buf_free(&command);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(beats(w, i, 2, &err), VT_OK);
	assert_int_equal(level_after_a_look(w), 1);	/* the other driver has said nothing */
	level_heard(&w->pd, 77, 1, 1);
	assert_int_equal(level_after_a_look(w), 1);
	level_heard(&w->pd, 77, 1, 2);
	assert_int_equal(beats(w, 1, 1, &err), VT_OK);
	assert_int_equal(level_after_a_look(w), 1);	/* one worker does not know it */
	assert_int_equal(beats(w, 1, 2, &err), VT_OK);
	another_driver(w);
	w->pd.id = 5;
	level_heard(&w->pd, 77, 1, 2);
	assert_int_equal(beats(w, 0, 2, &err), VT_OK);
	assert_int_equal(beats(w, 1, 2, &err), VT_OK);
	w->now += 30 * SECOND_US;
	level_heard(&w->pd, 77, 1, 2);
	assert_int_equal(level_after_a_look(w), 1);	/* the third has not spoken to this driver */
	assert_int_equal(beats(w, 2, 2, &err), VT_OK);
	level_heard(&w->pd, 77, 1, 2);
	assert_int_equal(level_after_a_look(w), 2);
	assert_int_equal(level_after_a_look(w), 2);	/* and no further than is known */

	/* It is durable, and there is no way back. */
	another_driver(w);
	assert_int_equal(catalog_level(w->pd.catalog), 2);
	expect(beats(w, 0, 1, &err), VT_VERSION, &err, "start a newer one");
	expect(beats(w, 0, 0, &err), VT_VERSION, &err, "level 2");
	assert_int_equal(beats(w, 0, 2, &err), VT_OK);
	assert_int_equal(beats(w, 0, 3, &err), VT_OK);
	body = knows(json_pack("{s:s,s:s,s:s,s:s}", "store", "0", "cluster", "", "data_id", "0123456789abcdef0123456789abcdef", "endpoint", "unix:/w9"), 1);
	memset(&err, 0, sizeof(err));
	expect(register_store(&w->pd, "", body, &reply, &err), VT_VERSION, &err, "this worker knows only those up to 1");
	json_decref(body);

	/* A driver of an older release cannot open this catalog, nor take it over. */
	setenv("VECTRON_LEVEL_HIGH", "1", 1);
	memset(&err, 0, sizeof(err));
	expect(catalog_check_level(w->pd.catalog, &err), VT_VERSION, &err, "this placement driver knows only those up to 1");
	unsetenv("VECTRON_LEVEL_HIGH");
	memset(&err, 0, sizeof(err));
	expect(level_joins(&w->pd, 99, &err), VT_VERSION, &err, "that waits there");
	cluster_end(w);
}

/* At both ends of what somebody knows. */
static void
who_is_admitted(void **state)
{
	VtError		err = {0};

	(void) state;
	assert_int_equal(vt_level_check("this worker", 1, 2, 1, &err), VT_OK);
	assert_int_equal(vt_level_check("this worker", 1, 2, 2, &err), VT_OK);
	assert_int_equal(vt_level_check("this worker", 0, 0, 1, &err), VT_OK);	/* it says nothing: of the first */
	expect(vt_level_check("this server", 1, 2, 3, &err), VT_VERSION, &err, "this server knows only those up to 2");
	expect(vt_level_check("this server", 3, 4, 2, &err), VT_VERSION, &err, "needs at least 3: upgrade the placement drivers");
	expect(vt_level_check("this worker", 0, 0, 2, &err), VT_VERSION, &err, "up to 1");
}

/* What is of a later level is not done at an earlier one. */
static void
nothing_of_a_level_before_it(void **state)
{
	PdWorld    *w = cluster(2, 3);
	json_t	   *body = json_pack("{s:s}", "stores", "1");
	json_t	   *reply;
	VtError		err = {0};

	(void) state;
	expect(unsafe_recover(&w->pd, body, &reply, &err), VT_VERSION, &err, "feature level 2");
	json_decref(body);
	cluster_end(w);
}

/* Ask for a collection, with what else is to be said of it (JSON). */
static VtStatus
ask_for(PdWorld *w, const char *generation, const char *name, json_t *value, CatalogCollection **out, VtError *err)
{
	json_t	   *body = json_pack("{s:s,s:{s:s,s:s,s:i},s:i,s:s,s:i,s:i,s:i,s:i,s:s,s:o}", "generation", generation,
								 "owner", "system", "7", "incarnation", "0123456789abcdef0123456789abcdef", "database", 5,
								 "dim", 3, "metric", "l2", "m", 16, "ef_construction", 100, "shards", 2, "replicas", 3, "xid", "1",
								 name, value);
	VtStatus	status;

	memset(err, 0, sizeof(*err));
	status = collection_create(&w->pd, body, out, err);
	json_decref(body);
	return status;
}

/* One that declares these attributes. */
static VtStatus
declare(PdWorld *w, const char *attributes, CatalogCollection **out, VtError *err)
{
	return ask_for(w, "abcdef0123456789abcdef0123456789", "attributes", json_loads(attributes, 0, NULL), out, err);
}

static void
attributes_are_of_level_three(void **state)
{
	PdWorld    *w = cluster(1, 3);
	CatalogCollection *c;
	VtError		err;

	(void) state;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(beats(w, i, i == 1 ? 2 : 3, &err), VT_OK);
	expect(declare(w, "[\"ordered\",\"hashed\"]", &c, &err), VT_VERSION, &err, "does not know more");
	assert_int_equal(catalog_level(w->pd.catalog), 2);	/* as far as all know */

	/* Nobody waits for the next look once all know it; but for those that have not spoken. */
	another_driver(w);
	w->now += 30 * SECOND_US;
	w->pd.now_us = w->now;
	assert_int_equal(beats(w, 0, 3, &err), VT_OK);
	assert_int_equal(beats(w, 1, 3, &err), VT_OK);
	expect(declare(w, "[\"ordered\",\"hashed\"]", &c, &err), VT_UNAVAILABLE, &err, "has not said yet");
	assert_int_equal(beats(w, 2, 3, &err), VT_OK);
	expect(declare(w, "[\"ordered\",\"other\"]", &c, &err), VT_INVALID, &err, "malformed");
	expect(declare(w, "\"ordered\"", &c, &err), VT_INVALID, &err, "malformed");
	expect(declare(w, "[\"ordered\",1,2,3,4,5,6,7,8]", &c, &err), VT_INVALID, &err, "malformed");
	assert_int_equal(declare(w, "[\"ordered\",\"hashed\"]", &c, &err), VT_OK);
	assert_int_equal(catalog_level(w->pd.catalog), 3);

	/* Each shard knows them, and so does the next driver from its catalog. */
	another_driver(w);
	assert_int_equal(declare(w, "[\"ordered\",\"hashed\"]", &c, &err), VT_OK);
	for (uint32_t i = 0; i < 2; i++)
	{
		assert_int_equal(c->shards[i].desc.nattributes, 2);
		assert_int_equal(c->shards[i].desc.attributes[0], WIRE_ATTR_ORDERED);
		assert_int_equal(c->shards[i].desc.attributes[1], WIRE_ATTR_HASHED);
	}
	expect(declare(w, "[\"ordered\"]", &c, &err), VT_EXISTS, &err, "other properties");
	expect(declare(w, "[\"hashed\",\"hashed\"]", &c, &err), VT_EXISTS, &err, "other properties");
	cluster_end(w);
}

static void
codes_alone_are_of_level_four(void **state)
{
	static const char *const generation = "abcdef0123456789abcdef0123456788";
	PdWorld    *w = cluster(1, 3);
	CatalogCollection *c;
	VtError		err;

	(void) state;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(beats(w, i, i == 1 ? 3 : 4, &err), VT_OK);
	expect(ask_for(w, generation, "quantization", json_string("int8_only"), &c, &err), VT_VERSION, &err, "does not know more");
	assert_int_equal(ask_for(w, "abcdef0123456789abcdef0123456787", "quantization", json_string("int8"), &c, &err), VT_OK);
	another_driver(w);
	w->now += 30 * SECOND_US;
	w->pd.now_us = w->now;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(beats(w, i, 4, &err), VT_OK);
	expect(ask_for(w, generation, "quantization", json_string("int4"), &c, &err), VT_INVALID, &err, "malformed");
	assert_int_equal(ask_for(w, generation, "quantization", json_string("int8_only"), &c, &err), VT_OK);
	assert_int_equal(catalog_level(w->pd.catalog), 4);

	/* Each shard knows it, also from the catalog. */
	another_driver(w);
	expect(ask_for(w, generation, "quantization", json_string("int8"), &c, &err), VT_EXISTS, &err, "other properties");
	assert_int_equal(ask_for(w, generation, "quantization", json_string("int8_only"), &c, &err), VT_OK);
	assert_int_equal(c->shards[0].desc.quantization, QUANTIZATION_INT8_ONLY);
	assert_int_equal(c->shards[1].desc.quantization, QUANTIZATION_INT8_ONLY);
	assert_string_equal(distances_name(c->quantization), "approximate");
	assert_string_equal(distances_name(QUANTIZATION_INT8), "exact");
	cluster_end(w);
}

static VtStatus
ask_for_bits(PdWorld *w, const char *metric, int dim, const char *quantization, CatalogCollection **out, VtError *err)
{
	json_t	   *body = json_pack("{s:s,s:{s:s,s:s,s:i},s:i,s:s,s:s,s:s,s:i,s:i,s:i,s:i,s:s}", "generation",
								 "abcdef0123456789abcdef0123456786", "owner", "system", "7", "incarnation",
								 "0123456789abcdef0123456789abcdef", "database", 5, "dim", dim, "metric", metric,
								 "element", "bit", "quantization", quantization, "m", 16, "ef_construction", 100,
								 "shards", 2, "replicas", 3, "xid", "1");
	VtStatus	status;

	memset(err, 0, sizeof(*err));
	status = collection_create(&w->pd, body, out, err);
	json_decref(body);
	return status;
}

static void
bits_are_of_level_five(void **state)
{
	PdWorld    *w = cluster(1, 3);
	CatalogCollection *c;
	VtError		err;

	(void) state;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(beats(w, i, i == 1 ? 4 : 5, &err), VT_OK);
	expect(ask_for_bits(w, "hamming", 64000, "none", &c, &err), VT_VERSION, &err, "does not know more");
	another_driver(w);
	w->now += 30 * SECOND_US;
	w->pd.now_us = w->now;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(beats(w, i, 5, &err), VT_OK);
	expect(ask_for_bits(w, "hamming", 64001, "none", &c, &err), VT_INVALID, &err, "malformed");
	expect(ask_for_bits(w, "l2", 64, "none", &c, &err), VT_INVALID, &err, "malformed");
	expect(ask_for_bits(w, "hamming", 64, "int8", &c, &err), VT_INVALID, &err, "malformed");
	expect(ask_for(w, "abcdef0123456789abcdef0123456785", "metric", json_string("jaccard"), &c, &err), VT_INVALID, &err, "malformed");
	expect(ask_for(w, "abcdef0123456789abcdef0123456785", "dim", json_integer(16001), &c, &err), VT_INVALID, &err, "malformed");
	assert_int_equal(ask_for_bits(w, "hamming", 64000, "none", &c, &err), VT_OK);
	assert_int_equal(catalog_level(w->pd.catalog), VT_LEVEL_BITS);

	/* Each shard knows it, also from the catalog. */
	another_driver(w);
	expect(ask_for_bits(w, "jaccard", 64000, "none", &c, &err), VT_EXISTS, &err, "other properties");
	assert_int_equal(ask_for_bits(w, "hamming", 64000, "none", &c, &err), VT_OK);
	for (uint32_t i = 0; i < 2; i++)
	{
		assert_int_equal(c->shards[i].desc.element, WIRE_BIT);
		assert_int_equal(c->shards[i].desc.dim, 64000);
		assert_string_equal(metric_name(c->shards[i].desc.metric), "hamming");
	}
	cluster_end(w);
}

static void
no_vectors_are_of_level_six(void **state)
{
	static const char *const generation = "abcdef0123456789abcdef0123456784";
	PdWorld    *w = cluster(1, 3);
	CatalogCollection *c;
	VtError		err;

	(void) state;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(beats(w, i, i == 1 ? 5 : 6, &err), VT_OK);
	expect(ask_for(w, generation, "dim", json_integer(0), &c, &err), VT_VERSION, &err, "does not know more");
	another_driver(w);
	w->now += 30 * SECOND_US;
	w->pd.now_us = w->now;
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(beats(w, i, 6, &err), VT_OK);
	expect(ask_for_bits(w, "hamming", 0, "none", &c, &err), VT_INVALID, &err, "malformed");
	expect(ask_for(w, generation, "dim", json_integer(-1), &c, &err), VT_INVALID, &err, "malformed");
	assert_int_equal(ask_for(w, generation, "dim", json_integer(0), &c, &err), VT_OK);
	assert_int_equal(catalog_level(w->pd.catalog), VT_LEVEL_NO_VECTORS);
	another_driver(w);
	assert_int_equal(ask_for(w, generation, "dim", json_integer(0), &c, &err), VT_OK);
	expect(ask_for(w, generation, "dim", json_integer(8), &c, &err), VT_EXISTS, &err, "other properties");
	assert_int_equal(c->shards[0].desc.dim, 0);
	cluster_end(w);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(who_is_admitted),
		TEST(raised_when_all_know_it),
		TEST(nothing_of_a_level_before_it),
		TEST(attributes_are_of_level_three),
		TEST(codes_alone_are_of_level_four),
		TEST(bits_are_of_level_five),
		cmocka_unit_test_setup_teardown(no_vectors_are_of_level_six, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("pd_level", tests, NULL, NULL);
}
