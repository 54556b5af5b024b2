/*-------------------------------------------------------------------------
 *
 * pg_json.c
 *	  What the gateway reads of the placement driver's answers: how far more than half of
 *	  each shard's replicas have indexed; and lists that come in pages.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "../../src/pg/json.c"

typedef struct Row
{
	int			shard;
	const char *role;
	int			applied;
	int			unindexed;
} Row;

static uint64_t
unindexed(const Row *rows, int n)
{
	ClientMark	items[2] = {{.shard = 7, .index = 100}, {.shard = 8, .index = 50}};
	ClientMarks marks = {.n = 2, .items = items};
	char		text[4096];
	uint64_t	left = 77;
	int			at = snprintf(text, sizeof(text), "{\"shards\":[");

	for (int i = 0; i < n; i++)
		at += snprintf(text + at, sizeof(text) - (size_t) at, "%s{\"shard\":\"%d\",\"role\":\"%s\",\"applied\":\"%d\",\"unindexed\":\"%d\"}",
					   i ? "," : "", rows[i].shard, rows[i].role, rows[i].applied, rows[i].unindexed);
	snprintf(text + at, sizeof(text) - (size_t) at, "]}");
	assert_true(json_unindexed(text, &marks, &left));
	return left;
}

static void
as_more_than_half_are(void **state)
{
	Row			rows[] = {
		{7, "leader", 100, 900}, {7, "follower", 100, 30}, {7, "follower", 100, 500}, {7, "learner", 100, 0},
		{8, "leader", 50, 0}, {9, "follower", 0, 1000},
	};

	(void) state;
	assert_int_equal(unindexed(rows, 6), 30);	/* the leader has been asked itself; one more is enough */
	rows[1].applied = 99;		/* what it says is of before */
	assert_int_equal(unindexed(rows, 6), 500);
	rows[2].role = "unknown";
	rows[2].applied = 0;
	assert_true(unindexed(rows, 6) == UINT64_MAX);
	rows[2] = (Row) {7, "follower", 101, 0};
	assert_int_equal(unindexed(rows, 6), 0);

	/* Nobody leads, as far as the driver knows: two of three. */
	rows[0].role = "follower";
	assert_int_equal(unindexed(rows, 6), 900);

	/* Two are both; one is itself; a shard that is not there is not done. */
	rows[0] = (Row) {8, "follower", 50, 12};
	rows[1].applied = 100;
	assert_int_equal(unindexed(rows, 6), 30 + 12);
	assert_true(unindexed(rows, 1) == UINT64_MAX);
}

static void
nonsense(void **state)
{
	static const char *const wrong[] = {
		"", "{}", "{\"shards\":3}", "{\"shards\":[3]}", "{\"shards\":[{\"shard\":\"7\",\"role\":\"leader\",\"applied\":\"1\"}]}",
		"{\"shards\":[{\"shard\":\"7\",\"role\":\"leader\",\"applied\":\"-1\",\"unindexed\":\"0\"}]}",
		"{\"shards\":[{\"shard\":7,\"role\":\"leader\",\"applied\":\"1\",\"unindexed\":\"0\"}]}",
	};
	ClientMark	item = {.shard = 7, .index = 100};
	ClientMarks marks = {.n = 1, .items = &item};
	uint64_t	left;

	(void) state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(json_unindexed(wrong[i], &marks, &left));
}

/* What a page's list becomes, in a room of its own size; NULL: it makes no sense. */
static const char *
page(const char *text, uint64_t *next)
{
	static char out[256];
	size_t		len;

	memset(out, '#', sizeof(out));
	if (!json_page(text, "shards", out, strlen(text), &len, next))
		return NULL;
	assert_true(len < strlen(text) && out[strlen(text)] == '#');
	out[len] = '\0';
	return out;
}

static void
pages(void **state)
{
	static const char *const wrong[] = {
		"", "{\"status\":0}", "{\"shards\":1}", "{\"shards\":[1],\"next\":7}", "{\"shards\":[1],\"next\":\"x\"}",
		"{\"shards\":[],\"next\":\"\\\"\"}", "{\"shards\":[1]"
	};
	uint64_t	next;

	(void) state;
	assert_string_equal(page("{\"shards\":[{\"shard\":\"7\",\"label\":\"a,]\"},{\"shard\":\"8\"}],\"status\":0,\"next\":\"18446744073709551615\"}", &next),
						"{\"shard\":\"7\",\"label\":\"a,]\"},{\"shard\":\"8\"}");
	assert_true(next == UINT64_MAX);
	assert_string_equal(page("{\"status\": 0, \"shards\": [ {\"shard\": \"7\"} ]}", &next), "{\"shard\":\"7\"}");
	assert_true(next == 0);
	assert_string_equal(page("{\"shards\":[],\"next\":\"9\"}", &next), "");
	assert_true(next == 9);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_null(page(wrong[i], &next));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_more_than_half_are),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(pages),
	};

	return cmocka_run_group_tests_name("pg_json", tests, NULL, NULL);
}
