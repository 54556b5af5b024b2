/*-------------------------------------------------------------------------
 *
 * raft_codec.c
 *	  Bytes of entries, hard state, configurations, snapshots and messages.
 *
 * What was encoded decodes to the same bytes; whatever is cut short or has one
 * bit turned is refused; nothing that is read decides how much memory is taken
 * before it was compared with what is there.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/prng.h"
#include "raft/raft.h"

static int64_t live_bytes;
static size_t largest;

static void *
counted_alloc(void *state, size_t size)
{
	(void) state;
	live_bytes += (int64_t) size;
	if (size > largest)
		largest = size;
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

static RaftConf
some_conf(void)
{
	RaftConf	conf = {.n = 3, .joint = true};

	conf.members[0] = (RaftMember) {.id = 1, .node = 5, .roles = RAFT_VOTER | RAFT_VOTER_OLD};
	conf.members[1] = (RaftMember) {.id = 4, .node = 6, .roles = RAFT_VOTER_OLD | RAFT_LEARNER};
	conf.members[2] = (RaftMember) {.id = 9, .node = 7, .roles = RAFT_LEARNER};
	return conf;
}

static RaftSnapshot
some_snapshot(void)
{
	return (RaftSnapshot) {
		.index = 1000, .term = 12, .conf_index = 990, .conf = some_conf(), .id = 77,
		.bytes = UINT64_C(1) << 40, .chunk_bytes = 1 << 19, .checksum = 0xdeadbeef
	};
}

static RaftMessage
some_message(uint8_t type)
{
	return (RaftMessage) {
		.type = type, .flags = RAFT_FLAG_REJECT, .group = 1, .from = 2, .to = 3, .term = 4,
		.index = 5, .log_term = 6, .commit = 7, .hint = 8, .read_seq = 9
	};
}

/* Decodes and releases at once; says whether it was accepted. */
static VtStatus
try_message(const uint8_t *data, size_t len)
{
	RaftMessage m;
	VtStatus	status = raft_message_decode(bytes_of(data, len), &allocator, &m);

	if (status == VT_OK)
		raft_message_free(&m, &allocator);
	return status;
}

/* Every prefix and every single turned bit of good bytes must be refused. */
static void
expect_damage_noticed(const uint8_t *good, size_t len, VtStatus (*decode) (const uint8_t *, size_t))
{
	uint8_t    *bad = malloc(len + 1);

	assert_int_equal(decode(good, len), VT_OK);
	for (size_t n = 0; n < len; n++)
	{
		/* A copy of exactly this size, so that a reader beyond it is noticed. */
		uint8_t    *cut = malloc(n > 0 ? n : 1);

		memcpy(cut, good, n);
		assert_int_not_equal(decode(cut, n), VT_OK);
		free(cut);
	}
	memcpy(bad, good, len);
	bad[len] = 0;
	assert_int_not_equal(decode(bad, len + 1), VT_OK);
	for (size_t bit = 0; bit < len * 8; bit++)
	{
		bad[bit / 8] ^= (uint8_t) (1 << bit % 8);
		assert_int_not_equal(decode(bad, len), VT_OK);
		bad[bit / 8] ^= (uint8_t) (1 << bit % 8);
	}
	free(bad);
	assert_int_equal(live_bytes, 0);
}

static void
every_message_returns_as_it_was(void **state)
{
	(void) state;
	for (uint8_t type = RAFT_APP; type <= RAFT_PEER_GONE; type++)
	{
		RaftMessage m = some_message(type);
		RaftMessage back;
		RaftSnapshot snapshot = some_snapshot();
		uint8_t		bytes[1024];
		uint8_t		again[1024];
		size_t		len;

		if (type == RAFT_SNAP)
			m.snapshot = &snapshot;
		len = raft_message_size(&m);
		assert_true(len <= sizeof(bytes));
		raft_message_encode(&m, bytes);
		assert_int_equal(raft_message_decode(bytes_of(bytes, len), &allocator, &back), VT_OK);
		assert_int_equal(back.type, type);
		assert_int_equal(back.read_seq, 9);
		assert_int_equal(raft_message_size(&back), len);
		raft_message_encode(&back, again);
		assert_memory_equal(bytes, again, len);
		raft_message_free(&back, &allocator);
		expect_damage_noticed(bytes, len, try_message);
	}
}

static void
entries_travel_with_their_payload(void **state)
{
	RaftEntry	entries[3] = {
		{.index = 6, .term = 3, .type = RAFT_NOOP},
		{.index = 7, .term = 3, .type = RAFT_COMMAND},
		{.index = 8, .term = 4, .type = RAFT_CONF}
	};
	RaftMessage m = some_message(RAFT_APP);
	RaftMessage back;
	RaftConf	conf = some_conf();
	uint8_t    *bytes;
	size_t		len;

	(void) state;
	entries[1].data = raft_buf_new(&allocator, "payload", 7);
	entries[1].size = 7;
	entries[2].data = raft_buf_new(&allocator, NULL, (uint32_t) raft_conf_size(&conf));
	entries[2].size = entries[2].data->len;
	raft_conf_encode(&conf, entries[2].data->data);
	m.entries = entries;
	m.n = 3;
	len = raft_message_size(&m);
	bytes = malloc(len);
	raft_message_encode(&m, bytes);
	raft_buf_release(entries[1].data);
	raft_buf_release(entries[2].data);

	assert_int_equal(raft_message_decode(bytes_of(bytes, len), &allocator, &back), VT_OK);
	assert_int_equal(back.n, 3);
	assert_null(back.entries[0].data);
	assert_memory_equal(back.entries[1].data->data, "payload", 7);
	assert_int_equal(back.entries[2].type, RAFT_CONF);
	raft_message_free(&back, &allocator);
	expect_damage_noticed(bytes, len, try_message);
	free(bytes);
}

static VtStatus
try_hard_state(const uint8_t *data, size_t len)
{
	RaftHardState hard;

	return raft_hard_state_decode(bytes_of(data, len), &hard);
}

static VtStatus
try_snapshot(const uint8_t *data, size_t len)
{
	RaftSnapshot snapshot;

	return raft_snapshot_decode(bytes_of(data, len), &snapshot);
}

static VtStatus
try_entry(const uint8_t *data, size_t len)
{
	RaftEntry	entry;
	size_t		used = 0;
	VtStatus	status = raft_entry_decode(bytes_of(data, len), true, &allocator, &entry, &used);

	if (status == VT_OK)
		raft_buf_release(entry.data);
	return status == VT_OK && used != len ? VT_PROTOCOL : status;
}

static void
stored_objects_notice_damage(void **state)
{
	RaftHardState hard = {.term = 5, .vote = 2, .commit = 90, .last_index = 100, .last_term = 5};
	RaftHardState back;
	RaftSnapshot snapshot = some_snapshot();
	RaftEntry	entry = {.index = 9, .term = 2, .type = RAFT_COMMAND, .size = 5};
	uint8_t		bytes[512];

	(void) state;
	raft_hard_state_encode(&hard, bytes);
	assert_int_equal(raft_hard_state_decode(bytes_of(bytes, RAFT_HARD_STATE_SIZE), &back), VT_OK);
	assert_memory_equal(&hard, &back, sizeof(hard));
	expect_damage_noticed(bytes, RAFT_HARD_STATE_SIZE, try_hard_state);

	raft_snapshot_encode(&snapshot, bytes);
	expect_damage_noticed(bytes, raft_snapshot_size(&snapshot), try_snapshot);

	entry.data = raft_buf_new(&allocator, "abcde", 5);
	raft_entry_encode(&entry, bytes);
	raft_buf_release(entry.data);
	expect_damage_noticed(bytes, raft_entry_size(&entry), try_entry);
}

static void
an_entry_without_payload_can_be_asked_for(void **state)
{
	RaftEntry	entry = {.index = 9, .term = 2, .type = RAFT_COMMAND, .size = 5};
	RaftEntry	back;
	uint8_t		bytes[64];
	size_t		used;

	(void) state;
	entry.data = raft_buf_new(&allocator, "abcde", 5);
	raft_entry_encode(&entry, bytes);
	raft_buf_release(entry.data);
	assert_int_equal(raft_entry_decode(bytes_of(bytes, 37), false, &allocator, &back, &used), VT_OK);
	assert_null(back.data);
	assert_int_equal(back.size, 5);
	assert_int_equal(used, 37);
}

/*
 * The layouts are a contract: these bytes were written down by hand from the
 * table at the top of codec.c.
 */
static void
layouts_do_not_change(void **state)
{
	RaftConf	conf = {.n = 1};
	uint8_t		bytes[64];
	static const uint8_t want[44] = {
		1, 0, 1, 0,
		3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		1, 0, 0, 0, 0, 0, 0, 0
	};
	RaftEntry	entry = {.index = 0x0102, .term = 3, .type = RAFT_NOOP};

	(void) state;
	conf.members[0] = (RaftMember) {.id = 3, .node = 4, .roles = RAFT_VOTER};
	assert_int_equal(raft_conf_size(&conf), sizeof(want));
	raft_conf_encode(&conf, bytes);
	assert_memory_equal(bytes, want, sizeof(want));

	raft_entry_encode(&entry, bytes);
	assert_int_equal(bytes[8], 2);
	assert_int_equal(bytes[9], 1);
	assert_int_equal(bytes[16], 3);
	assert_int_equal(bytes[28], RAFT_NOOP);
	assert_int_equal(bytes[29], 1);
}

/* The sum over these bytes is right again. */
static void
sum_again(uint8_t *bytes, size_t len)
{
	put_le64(bytes, hash_checksum(bytes_of(bytes + 8, len - 8)));
}

/* This byte has another value, and the sum over the first summed bytes agrees. */
static void
expect_byte_refused(uint8_t *bytes, size_t len, size_t summed, size_t at, uint8_t value,
					VtStatus (*decode) (const uint8_t *, size_t), VtStatus want)
{
	uint8_t		kept = bytes[at];

	bytes[at] = value;
	sum_again(bytes, summed);
	assert_int_equal(decode(bytes, len), want);
	bytes[at] = kept;
	sum_again(bytes, summed);
	assert_int_equal(decode(bytes, len), VT_OK);
	assert_int_equal(live_bytes, 0);
}

/*
 * What a newer version wrote has a right sum too: versions, kinds, flags and
 * reserved bytes we do not know are refused, never skipped.
 */
static void
unknown_content_is_refused(void **state)
{
	RaftHardState hard = {.term = 5, .vote = 2};
	RaftSnapshot snapshot = some_snapshot();
	RaftEntry	entry = {.index = 9, .term = 2, .type = RAFT_COMMAND, .size = 5};
	RaftMessage m = some_message(RAFT_HEARTBEAT);
	uint8_t		bytes[512];
	size_t		len;

	(void) state;
	entry.data = raft_buf_new(&allocator, "abcde", 5);
	raft_entry_encode(&entry, bytes);
	len = raft_entry_size(&entry);
	raft_buf_release(entry.data);
	expect_byte_refused(bytes, len, len, 28, 0, try_entry, VT_VERSION);
	expect_byte_refused(bytes, len, len, 28, RAFT_CONF + 1, try_entry, VT_VERSION);
	expect_byte_refused(bytes, len, len, 29, 2, try_entry, VT_VERSION);
	expect_byte_refused(bytes, len, len, 30, 1, try_entry, VT_VERSION);
	expect_byte_refused(bytes, len, len, 31, 1, try_entry, VT_VERSION);

	raft_hard_state_encode(&hard, bytes);
	len = RAFT_HARD_STATE_SIZE;
	expect_byte_refused(bytes, len, len, 8, 2, try_hard_state, VT_VERSION);
	expect_byte_refused(bytes, len, len, 15, 1, try_hard_state, VT_VERSION);

	raft_snapshot_encode(&snapshot, bytes);
	len = raft_snapshot_size(&snapshot);
	expect_byte_refused(bytes, len, len, 8, 2, try_snapshot, VT_VERSION);
	expect_byte_refused(bytes, len, len, 9, 1, try_snapshot, VT_VERSION);
	expect_byte_refused(bytes, len, len, 72, 2, try_snapshot, VT_VERSION);	/* of the configuration */
	expect_byte_refused(bytes, len, len, 73, 2, try_snapshot, VT_PROTOCOL); /* joint: 0 or 1 */
	expect_byte_refused(bytes, len, len, 74, RAFT_MAX_MEMBERS + 1, try_snapshot, VT_PROTOCOL);
	expect_byte_refused(bytes, len, len, 74, 2, try_snapshot, VT_PROTOCOL); /* members: there are 3 */
	expect_byte_refused(bytes, len, len, 72 + 4 + 16, 1, try_snapshot, VT_PROTOCOL);
	expect_byte_refused(bytes, len, len, 72 + 4 + 31, 1, try_snapshot, VT_PROTOCOL);
	expect_byte_refused(bytes, len, len, 72 + 4 + 39, 1, try_snapshot, VT_PROTOCOL);

	raft_message_encode(&m, bytes);
	len = raft_message_size(&m);
	expect_byte_refused(bytes, len, len, 12, 2, try_message, VT_VERSION);
	expect_byte_refused(bytes, len, len, 13, 0, try_message, VT_VERSION);
	expect_byte_refused(bytes, len, len, 13, RAFT_PEER_GONE + 1, try_message, VT_VERSION);
	expect_byte_refused(bytes, len, len, 14, 8, try_message, VT_VERSION);
	expect_byte_refused(bytes, len, len, 15, 1, try_message, VT_VERSION);
	expect_byte_refused(bytes, len, len, 88, 1, try_message, VT_PROTOCOL);	/* entries in a heartbeat */
	expect_byte_refused(bytes, len, len, 13, RAFT_SNAP, try_message, VT_PROTOCOL);	/* without one */
}

/* A message says how many entries and bytes follow; both are compared. */
static void
counts_must_agree(void **state)
{
	RaftMessage m = some_message(RAFT_APP);
	RaftEntry	entry = {.index = 6, .term = 3, .type = RAFT_NOOP};
	uint8_t		bytes[512];
	uint8_t		conf[3] = {1, 0, 0};
	RaftConf	decoded;
	size_t		len;

	(void) state;
	m.entries = &entry;
	m.n = 1;
	len = raft_message_size(&m);
	raft_message_encode(&m, bytes);
	expect_byte_refused(bytes, len, 96, 88, 2, try_message, VT_PROTOCOL);	/* entries */
	expect_byte_refused(bytes, len, 96, 90, 2, try_message, VT_PROTOCOL);	/* 131 073 of them */
	expect_byte_refused(bytes, len, 96, 88, 0, try_message, VT_PROTOCOL);	/* a body of nothing */
	expect_byte_refused(bytes, len, 96, 92, 31, try_message, VT_PROTOCOL);	/* bytes */

	/* Room for two, but what follows the first is not a whole one. */
	memset(bytes + len, 0, 40);
	bytes[92] = 32 + 8;
	sum_again(bytes, 96);
	assert_int_equal(try_message(bytes, len + 8), VT_PROTOCOL);
	bytes[88] = 2;
	bytes[92] = 32 + 32;
	sum_again(bytes, 96);
	assert_int_equal(try_message(bytes, len + 32), VT_CORRUPT);
	assert_int_equal(live_bytes, 0);

	assert_int_equal(raft_conf_decode(bytes_of(conf, 3), &decoded), VT_PROTOCOL);
}

/* More than any message may have: refused before memory is asked for. */
static void
too_many_entries_are_refused(void **state)
{
	RaftMessage m = some_message(RAFT_APP);
	size_t		n = RAFT_MAX_MESSAGE_ENTRIES + 1;
	size_t		len;
	RaftEntry  *entries = calloc(n, sizeof(RaftEntry));
	uint8_t    *bytes;

	(void) state;
	for (size_t i = 0; i < n; i++)
		entries[i] = (RaftEntry) {.index = 6 + i, .term = 3, .type = RAFT_NOOP};
	m.entries = entries;
	m.n = (uint32_t) n;
	len = raft_message_size(&m);
	bytes = malloc(len);
	raft_message_encode(&m, bytes);
	largest = 0;
	assert_int_equal(try_message(bytes, len), VT_PROTOCOL);
	assert_int_equal(largest, 0);
	free(bytes);
	free(entries);
}

/* Random bytes, and good ones with several bytes replaced. */
static void
noise_is_harmless(void **state)
{
	Prng		prng = {.state = 7};
	RaftMessage m = some_message(RAFT_APP);
	RaftEntry	entry = {.index = 6, .term = 3, .type = RAFT_NOOP};
	uint8_t		good[128];
	size_t		len;

	(void) state;
	m.entries = &entry;
	m.n = 1;
	len = raft_message_size(&m);
	raft_message_encode(&m, good);
	largest = 0;
	for (int i = 0; i < 200000; i++)
	{
		uint8_t		bytes[128];

		memcpy(bytes, good, len);
		for (uint32_t k = 1 + prng_below(&prng, 20); k > 0; k--)
			bytes[prng_below(&prng, (uint32_t) len)] = (uint8_t) prng_next(&prng);
		(void) try_message(bytes, prng_below(&prng, (uint32_t) len + 1));
		(void) try_entry(bytes, len);
	}
	assert_int_equal(live_bytes, 0);
	assert_true(largest < 4096);
}

static void
conf_rules(void **state)
{
	RaftConf	conf = some_conf();
	RaftConf	bad;

	(void) state;
	assert_int_equal(raft_conf_check(&conf, NULL), VT_OK);
	assert_ptr_equal(raft_conf_find(&conf, 4), &conf.members[1]);
	assert_null(raft_conf_find(&conf, 5));

	bad = conf;
	bad.n = 0;
	assert_int_equal(raft_conf_check(&bad, NULL), VT_INVALID);
	bad = conf;
	bad.joint = false;
	assert_int_equal(raft_conf_check(&bad, NULL), VT_INVALID);
	bad = conf;
	bad.members[1].id = 1;
	assert_int_equal(raft_conf_check(&bad, NULL), VT_INVALID);
	bad = conf;
	bad.members[0].roles = RAFT_VOTER_OLD;	/* nobody votes in the new one */
	assert_int_equal(raft_conf_check(&bad, NULL), VT_INVALID);
	bad = conf;
	bad.members[0].roles = RAFT_VOTER | RAFT_LEARNER;
	assert_int_equal(raft_conf_check(&bad, NULL), VT_INVALID);
	bad = conf;
	bad.members[0].roles |= 0x08;
	assert_int_equal(raft_conf_check(&bad, NULL), VT_VERSION);
	bad = conf;
	bad.members[0].id = 0;
	assert_int_equal(raft_conf_check(&bad, NULL), VT_INVALID);
	bad = conf;
	bad.n = RAFT_MAX_MEMBERS + 1;
	assert_int_equal(raft_conf_check(&bad, NULL), VT_INVALID);
	bad = conf;
	bad.members[0].roles = 0;
	assert_int_equal(raft_conf_check(&bad, NULL), VT_INVALID);
	bad = conf;
	bad.members[0].roles = RAFT_VOTER;
	bad.members[1].roles = RAFT_LEARNER;	/* joint, and nobody votes in the old one */
	assert_int_equal(raft_conf_check(&bad, NULL), VT_INVALID);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_returns_as_it_was),
		cmocka_unit_test(entries_travel_with_their_payload),
		cmocka_unit_test(stored_objects_notice_damage),
		cmocka_unit_test(an_entry_without_payload_can_be_asked_for),
		cmocka_unit_test(layouts_do_not_change),
		cmocka_unit_test(unknown_content_is_refused),
		cmocka_unit_test(counts_must_agree),
		cmocka_unit_test(too_many_entries_are_refused),
		cmocka_unit_test(noise_is_harmless),
		cmocka_unit_test(conf_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
