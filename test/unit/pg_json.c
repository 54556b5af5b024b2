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

static char joined[512];
static size_t joined_len;

/* What the list is when this page is added; NULL: it makes no sense. */
static const char *
join(const char *text, ClientPage *page)
{
	size_t		end = joined_len + strlen(text);

	memset(joined + joined_len, '#', sizeof(joined) - joined_len);
	if (!json_page(text, "shards", page, joined, &joined_len))
		return NULL;
	assert_true(joined_len < end && joined[end] == '#');
	joined[joined_len] = '\0';
	return joined;
}

#define ID(end) "0123456789abcdef0123456789abcd" end

static void
pages(void **state)
{
	static const char *const wrong[] = {
		"", "{\"page\":true}", "{\"page\":true,\"shards\":1}", "{\"page\":true,\"shards\":[1],\"next\":7}", "{\"page\":true,\"shards\":[1],\"next\":\"x\"}",
		"{\"page\":true,\"shards\":[],\"next\":\"\\\"\"}", "{\"page\":true,\"shards\":[1]", "[]",
		"{\"page\":true,\"shards\":[1],\"next\":\"" ID("20") "\"}", "{\"page\":true,\"shards\":[1],\"next\":\"" ID("1f") "\"}",
		"{\"page\":true,\"shards\":[1],\"next\":\"" ID("ff0") "\"}",
	};
	ClientPage	page = {.whole = true};

	(void) state;
	joined_len = 0;
	assert_string_equal(join("{\"shards\":[],\"page\":true,\"next\":\"" ID("09") "\"}", &page), "");
	assert_string_equal(join("{\"shards\":[{\"shard\":\"7\",\"label\":\"a,]\"},{\"shard\":\"8\"}],\"status\":0,\"page\":true,\"next\":\"" ID("1A") "\"}", &page),
						"{\"shard\":\"7\",\"label\":\"a,]\"},{\"shard\":\"8\"}");
	assert_string_equal(page.next, ID("1a"));
	assert_false(page.whole);
	assert_string_equal(join("{\"shards\":[],\"page\":true,\"next\":\"" ID("20") "\"}", &page), "{\"shard\":\"7\",\"label\":\"a,]\"},{\"shard\":\"8\"}");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		ClientPage	before = page;

		assert_null(join(wrong[i], &before));
	}
	assert_string_equal(join("{\"page\":true,\"status\": 0, \"shards\": [ {\"shard\": \"9\"} ]}", &page),
						"{\"shard\":\"7\",\"label\":\"a,]\"},{\"shard\":\"8\"},{\"shard\":\"9\"}");
	assert_string_equal(page.next, "");

	/* A driver of an earlier release tells all, or that there is nothing. */
	assert_string_equal(join("{\"status\": 0, \"shards\": [ {\"shard\": \"7\"} ]}", &page), "{\"shard\":\"7\"}");
	assert_true(page.whole && page.next[0] == '\0');
	assert_string_equal(join("{\"status\":0,\"shards\":[]}", &page), "");
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
