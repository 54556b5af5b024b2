/*-------------------------------------------------------------------------
 *
 * pd_recover.h
 *	  Stores that die for good, and plans to go on without them; around pd_world.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_PD_RECOVER_H
#define TEST_PD_RECOVER_H

#include "pd_world.h"

/* A cluster that works at the newest feature level. */
static PdWorld *
new_cluster(uint64_t seed, uint32_t nstores)
{
	PdWorld    *w = cluster(seed, nstores);
	Buf			command = {0};

	command_begin(&command);
	command_level(&command, VT_LEVEL_NEWEST);
	world_commit(&w->pd, &command);
	buf_free(&command);
	return w;
}

/* What would be done, or with apply what is; NULL = refused, as is expected. */
static json_t *
recover(PdWorld *w, const char *stores, const char *apply, VtStatus wanted, const char *words)
{
	json_t	   *body = json_pack("{s:s,s:s*}", "stores", stores, "apply", apply);
	json_t	   *reply;
	VtError		err = {0};
	VtStatus	status = unsafe_recover(&w->pd, body, &reply, &err);

	expect(status, wanted, &err, words);
	json_decref(body);
	if (status == VT_OK)
		return reply;
	json_decref(reply);
	return NULL;
}

static void
refused(PdWorld *w, const char *stores, const char *apply, VtStatus wanted, const char *words)
{
	assert_null(recover(w, stores, apply, wanted, words));
}

/* "id,id" of stores by their place in the world. */
static const char *
names(PdWorld *w, uint32_t stores)
{
	static char text[200];

	text[0] = '\0';
	for (uint32_t i = 0; i < w->nstores; i++)
		if (stores >> i & 1)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%" PRIu64, text[0] ? "," : "", w->stores[i].id);
	return text;
}

static void
plan_of(PdWorld *w, const char *stores, char plan[17], int recovered, int given_up)
{
	json_t	   *reply = recover(w, stores, NULL, VT_OK, NULL);

	snprintf(plan, 17, "%s", json_string_value(json_object_get(reply, "plan")));
	assert_int_equal(strlen(plan), 16);
	if (recovered >= 0)
	{
		assert_int_equal(json_integer_value(json_object_get(reply, "recovered")), recovered);
		assert_int_equal(json_integer_value(json_object_get(reply, "given_up")), given_up);
		assert_int_equal(json_array_size(json_object_get(reply, "shards")), recovered + given_up);
	}
	json_decref(reply);
}

static void
apply(PdWorld *w, const char *stores, const char *plan)
{
	json_t	   *reply = recover(w, stores, plan, VT_OK, NULL);

	assert_true(json_is_true(json_object_get(reply, "applied")));
	json_decref(reply);
}

/* Shards without a majority once these stores are gone; nothing: of which nothing is left at all. */
static int
beyond_without(PdWorld *w, uint32_t stores, bool nothing)
{
	int			n = 0;

	for (int g = 0; g < W_SHARDS; g++)
	{
		uint32_t	left = 0;

		if (!w->groups[g].shard)
			continue;
		for (uint32_t i = 0; i < w->nstores; i++)
			left += !(stores >> i & 1) && replica_on(&w->stores[i], w->groups[g].shard);
		n += nothing ? left == 0 : left > 0 && left <= w->groups[g].n / 2;
	}
	return n;
}

static void
stores_die(PdWorld *w, uint32_t stores)
{
	for (uint32_t i = 0; i < w->nstores; i++)
		if (stores >> i & 1)
			store_dies(w, i);
}

#endif							/* TEST_PD_RECOVER_H */
