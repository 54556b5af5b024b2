/*-------------------------------------------------------------------------
 *
 * raft.c
 *	  Fuzzer of every decoder of src/raft, and of the door behind them.
 *
 * The first byte of the input chooses the object; with its highest bit set all
 * checksums are made right before, else hardly an input would get past them.
 * What a decoder accepts must be written again byte for byte.  An accepted
 * message is stepped into a replica, which must stay sound whatever it says.
 *
 * `make fuzz` builds and runs it.  With -DFUZZ_SAMPLES it is a program that
 * writes a first corpus into the folder it is given; with -DFUZZ_REPLAY one that
 * runs the inputs it is given, for a compiler without a fuzzer.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "raft/raft.h"
#include "inputs.h"

#define REPAIR 0x80
#define MESSAGE_HEADER 96

enum
{
	OBJECT_MESSAGE,
	OBJECT_ENTRY,
	OBJECT_HARD_STATE,
	OBJECT_SNAPSHOT,
	OBJECT_CONF,
	OBJECTS
};

static int64_t live;

static void *
fuzz_alloc(void *state, size_t size)
{
	(void) state;
	/* Nothing that was read may decide how much is taken. */
	if (size > 64 * (size_t) INPUT_MAX)
		abort();
	live += (int64_t) size;
	return malloc(size);
}

static void
fuzz_free(void *state, void *p, size_t size)
{
	(void) state;
	live -= (int64_t) size;
	free(p);
}

static const RaftAllocator allocator = {fuzz_alloc, fuzz_free, NULL};

static void
must(bool truth)
{
	if (!truth)
		abort();
}

/* -- Checksums -------------------------------------------------------------- */

static void
repair(uint8_t *p, size_t size)
{
	if (size >= 8)
		put_le64(p, hash_checksum(bytes_of(p + 8, size - 8)));
}

static void
repair_entry(uint8_t *p, size_t len, size_t *used)
{
	*used = len;
	if (len < RAFT_ENTRY_HEADER || get_le32(p + 24) > len - RAFT_ENTRY_HEADER)
		return;
	*used = RAFT_ENTRY_HEADER + get_le32(p + 24);
	repair(p, *used);
}

static void
repair_object(int object, uint8_t *p, size_t len)
{
	size_t		used;

	switch (object)
	{
		case OBJECT_MESSAGE:
			if (len < MESSAGE_HEADER)
				return;
			repair(p, MESSAGE_HEADER);
			if (p[13] == RAFT_SNAP)
				repair(p + MESSAGE_HEADER, len - MESSAGE_HEADER);
			else
				for (size_t at = MESSAGE_HEADER; at < len; at += used)
					repair_entry(p + at, len - at, &used);
			break;
		case OBJECT_ENTRY:
			repair_entry(p, len, &used);
			break;
		case OBJECT_HARD_STATE:
		case OBJECT_SNAPSHOT:
			repair(p, len);
			break;
	}
}

/* -- Decoding and writing again --------------------------------------------- */

static void
must_equal(Bytes in, const uint8_t *out, size_t len)
{
	must(in.len == len && memcmp(in.data, out, len) == 0);
}

static Raft *
open_replica(void)
{
	RaftOptions options;
	RaftStored	stored;
	Raft	   *raft;

	memset(&stored, 0, sizeof(stored));
	stored.base.conf.n = 3;
	for (uint32_t i = 0; i < 3; i++)
		stored.base.conf.members[i] = (RaftMember) {.id = i + 1, .node = i + 1, .roles = RAFT_VOTER};
	raft_options_init(&options);
	options.group = options.id = 1;
	options.allocator = &allocator;
	must(raft_open(&options, &stored, &raft, NULL) == VT_OK);
	return raft;
}

/* Whatever is said to a replica, it stays sound, and can say what it wants. */
static void
step(RaftMessage *m)
{
	Raft	   *raft = open_replica();
	RaftReady	rd;
	VtError		err;

	m->group = m->to = 1;
	(void) raft_step(raft, m);
	must(raft_check(raft, &err) == VT_OK);
	must(raft_ready(raft, &rd) == VT_OK);
	if (rd.seq != 0)
		must(raft_persisted(raft, rd.seq) == VT_OK);
	must(raft_ready(raft, &rd) == VT_OK);
	must(raft_check(raft, &err) == VT_OK);
	raft_close(raft);
}

static void
try_message(Bytes in)
{
	RaftMessage m;
	uint8_t    *out;

	if (raft_message_decode(in, &allocator, &m) != VT_OK)
		return;
	out = malloc(raft_message_size(&m));
	raft_message_encode(&m, out);
	must_equal(in, out, raft_message_size(&m));
	free(out);
	step(&m);
	raft_message_free(&m, &allocator);
}

static void
try_entry(Bytes in)
{
	RaftEntry	entry;
	size_t		used = 0;
	uint8_t    *out;

	if (raft_entry_decode(in, true, &allocator, &entry, &used) != VT_OK)
		return;
	out = malloc(raft_entry_size(&entry));
	raft_entry_encode(&entry, out);
	must_equal(bytes_of(in.data, used), out, raft_entry_size(&entry));
	free(out);
	raft_buf_release(entry.data);
}

static void
try_hard_state(Bytes in)
{
	RaftHardState hard;
	uint8_t		out[RAFT_HARD_STATE_SIZE];

	if (raft_hard_state_decode(in, &hard) != VT_OK)
		return;
	raft_hard_state_encode(&hard, out);
	must_equal(in, out, sizeof(out));
}

static void
try_snapshot(Bytes in)
{
	RaftSnapshot snapshot;
	uint8_t    *out;

	if (raft_snapshot_decode(in, &snapshot) != VT_OK)
		return;
	out = malloc(raft_snapshot_size(&snapshot));
	raft_snapshot_encode(&snapshot, out);
	must_equal(in, out, raft_snapshot_size(&snapshot));
	free(out);
}

static void
try_conf(Bytes in)
{
	RaftConf	conf;
	uint8_t    *out;

	if (raft_conf_decode(in, &conf) != VT_OK)
		return;
	(void) raft_conf_check(&conf, NULL);
	out = malloc(raft_conf_size(&conf));
	raft_conf_encode(&conf, out);
	must_equal(in, out, raft_conf_size(&conf));
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const tries[OBJECTS]) (Bytes) = {
		[OBJECT_MESSAGE] = try_message,
		[OBJECT_ENTRY] = try_entry,
		[OBJECT_HARD_STATE] = try_hard_state,
		[OBJECT_SNAPSHOT] = try_snapshot,
		[OBJECT_CONF] = try_conf,
	};
	int			object;
	uint8_t    *copy;

	if (size < 2 || size > INPUT_MAX)
		return 0;
	object = (data[0] & ~REPAIR) % OBJECTS;
	/* Of exactly this size, so that a reader beyond it is noticed. */
	copy = malloc(size - 1);
	memcpy(copy, data + 1, size - 1);
	if ((data[0] & REPAIR) != 0)
		repair_object(object, copy, size - 1);
	tries[object] (bytes_of(copy, size - 1));
	free(copy);
	must(live == 0);
	return 0;
}

#if defined(FUZZ_SAMPLES)
static int
write_sample(const char *folder, const char *name, int number, int object, const uint8_t *p, size_t len)
{
	uint8_t		choice = (uint8_t) (object | REPAIR);
	char		numbered[64];

	snprintf(numbered, sizeof(numbered), "%s_%d", name, number);
	return !write_input(folder, numbered, &choice, 1, p, len);
}

int
main(int argc, char **argv)
{
	RaftSnapshot snapshot = {.index = 9, .term = 2, .conf_index = 3, .id = 4, .bytes = 5};
	RaftHardState hard = {.term = 2, .vote = 1, .commit = 3, .last_index = 4, .last_term = 2};
	RaftEntry	entries[2] = {
		{.index = 1, .term = 1, .type = RAFT_NOOP},
		{.index = 2, .term = 1, .type = RAFT_COMMAND, .size = 5}
	};
	uint8_t		out[1024];
	int			bad = argc != 2;

	snapshot.conf.n = 2;
	snapshot.conf.members[0] = (RaftMember) {.id = 1, .node = 1, .roles = RAFT_VOTER};
	snapshot.conf.members[1] = (RaftMember) {.id = 2, .node = 2, .roles = RAFT_LEARNER};
	entries[1].data = raft_buf_new(&allocator, "words", 5);
	for (uint8_t type = RAFT_APP; !bad && type <= RAFT_PEER_GONE; type++)
	{
		RaftMessage m = {.type = type, .group = 1, .from = 2, .to = 1, .term = 2};

		if (type == RAFT_APP)
		{
			m.entries = entries;
			m.n = 2;
		}
		if (type == RAFT_SNAP)
			m.snapshot = &snapshot;
		raft_message_encode(&m, out);
		bad |= write_sample(argv[1], "message", type, OBJECT_MESSAGE, out, raft_message_size(&m));
	}
	if (!bad)
	{
		raft_entry_encode(&entries[1], out);
		bad |= write_sample(argv[1], "entry", 1, OBJECT_ENTRY, out, raft_entry_size(&entries[1]));
		raft_hard_state_encode(&hard, out);
		bad |= write_sample(argv[1], "hard_state", 1, OBJECT_HARD_STATE, out, RAFT_HARD_STATE_SIZE);
		raft_snapshot_encode(&snapshot, out);
		bad |= write_sample(argv[1], "snapshot", 1, OBJECT_SNAPSHOT, out, raft_snapshot_size(&snapshot));
		raft_conf_encode(&snapshot.conf, out);
		bad |= write_sample(argv[1], "conf", 1, OBJECT_CONF, out, raft_conf_size(&snapshot.conf));
	}
	raft_buf_release(entries[1].data);
	return bad;
}
#endif
