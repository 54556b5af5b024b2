/*-------------------------------------------------------------------------
 *
 * worker_apply.c
 *	  The state machine of a shard against a plain model: what is refused, what
 *	  is done, and that a replay over whatever survived decides the same (law
 *	  S3).
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/worker/shard.h"
#include "base/prng.h"
#include "damage.h"
#include "shard_desc.h"

#define DIM 2
#define IDS 12
#define LENGTH 60				/* commands of a history */

static char directory[128];
static WireShardDesc desc;

static int
set_up(void **state)
{
	(void) state;
	snprintf(directory, sizeof(directory), "/tmp/vectron-apply.XXXXXX");
	desc = shard_alone(1001, 77, DIM);
	return mkdtemp(directory) ? 0 : -1;
}

static int
tear_down(void **state)
{
	char		command[256];

	(void) state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return system(command);
}

/* -- Commands -------------------------------------------------------------- */

typedef struct Command
{
	WireWriteType type;
	int			id;
	uint64_t	version;		/* delete: as listed */
	uint64_t	fence;
	uint64_t	fence_to;
	uint64_t	lsn;
	int			vector;
} Command;

static WireRoute
route(void)
{
	WireRoute	r;

	memset(&r, 0, sizeof(r));
	r.generation = desc.generation;
	r.owner = desc.owner;
	r.shard = desc.shard;
	r.range_ver = desc.range_ver;
	r.deadline_ms = 1000;
	return r;
}

static void
encode(const Command *c, const WireRoute *r, Buf *out)
{
	WireWrite	write;
	WireRecord	record;
	uint8_t		id[WIRE_TID_SIZE];
	uint8_t		vector[DIM * 4];
	size_t		begin;

	memset(&write, 0, sizeof(write));
	write.type = c->type;
	write.route = *r;
	write.fence = c->fence;
	write.fence_to = c->fence_to;
	write.lsn = c->lsn;
	begin = wire_write_begin(out, &write);
	if (c->type == WRITE_PUT || c->type == WRITE_DELETE)
	{
		float		x = (float) c->vector;
		uint32_t	bits;

		memcpy(&bits, &x, sizeof(bits));
		put_le32(vector, bits);
		put_le32(vector + 4, bits);
		memset(&record, 0, sizeof(record));
		wire_tid_put(id, (uint32_t) c->id, 1);
		record.id = bytes_of(id, sizeof(id));
		record.version = c->version;
		record.dim = DIM;
		record.vector = vector;
		wire_record_put(out, c->type, &record);
	}
	wire_write_end(out, begin, c->type == WRITE_PUT || c->type == WRITE_DELETE ? 1 : 0);
}

/* Apply one command at an index; returns its decision. */
static VtStatus
apply(Shard *shard, const Command *c, const WireRoute *r, uint64_t index)
{
	Buf			bytes = {0};
	ReplicaCommand command;
	VtError		err = {0};

	memset(&command, 0, sizeof(command));
	encode(c, r, &bytes);
	command.index = index;
	command.term = 1;
	command.bytes = buf_bytes(&bytes);
	assert_int_equal(shard_apply(shard, &command, 1, index, &err), VT_OK);
	buf_free(&command.reply);
	buf_free(&bytes);
	return command.status;
}

static Shard *
open_shard(uint64_t *replay)
{
	Shard	   *shard;
	VtError		err = {0};

	assert_int_equal(shard_open(directory, desc.shard, false, &shard, replay, &err), VT_OK);
	return shard;
}

static void
fresh(void)
{
	char		path[256];
	VtError		err = {0};

	snprintf(path, sizeof(path), "%s/%016llx", directory, (unsigned long long) desc.shard);
	store_destroy(path, &err);
	assert_int_equal(shard_create(directory, &desc, desc.replicas[0].replica, &err), VT_OK);
}

/* -- The model ------------------------------------------------------------- */

typedef struct Model
{
	uint64_t	version[IDS];	/* 0 = not there */
	int			vector[IDS];
	uint64_t	fence;
	uint64_t	lsn;			/* highest of what was not refused */
} Model;

static VtStatus
model_apply(Model *m, const Command *c, uint64_t index)
{
	if (c->type != WRITE_RAISE && c->fence < m->fence)
		return VT_FENCED;
	if (c->lsn > m->lsn)
		m->lsn = c->lsn;
	if (c->type == WRITE_RAISE)
	{
		if (c->fence_to > m->fence)
			m->fence = c->fence_to;
		return VT_OK;
	}
	if (c->type == WRITE_PUT)
	{
		m->version[c->id] = index;
		m->vector[c->id] = c->vector;
	}
	else if (c->version && m->version[c->id] == c->version)
		m->version[c->id] = 0;
	return VT_OK;
}

/* Rows on disk and records in memory are what the model says. */
static void
same_as_model(Shard *shard, const Model *m)
{
	Buf			key = {0};
	Buf			value = {0};
	VtError		err = {0};
	uint64_t	live = 0;

	for (int i = 0; i < IDS; i++)
	{
		uint8_t		id[WIRE_TID_SIZE];
		StoreRow	row;
		VtStatus	status;
		float		x;
		uint32_t	bits;

		wire_tid_put(id, (uint32_t) i, 1);
		assert_int_equal(records_version(shard->records, bytes_of(id, sizeof(id))), m->version[i]);
		row_key(&key, bytes_of(id, sizeof(id)));
		status = store_get(shard->rows, buf_bytes(&key), &value, &err);
		assert_int_equal(status, m->version[i] ? VT_OK : VT_NOT_FOUND);
		if (!m->version[i])
			continue;
		live++;
		assert_int_equal(row_get(buf_bytes(&value), &row, &err), VT_OK);
		assert_int_equal(row.index, m->version[i]);
		bits = get_le32(row.vector);
		memcpy(&x, &bits, sizeof(x));
		assert_int_equal((int) x, m->vector[i]);
	}
	assert_int_equal(records_count(shard->records), live);
	assert_int_equal(atomic_load(&shard->fence), m->fence);
	assert_int_equal(atomic_load(&shard->lsn), m->lsn);
	buf_free(&key);
	buf_free(&value);
}

static Command
random_command(Prng *prng, const Model *m)
{
	Command		c;
	uint32_t	dice = prng_below(prng, 10);

	memset(&c, 0, sizeof(c));
	c.id = (int) prng_below(prng, IDS);
	c.vector = (int) prng_below(prng, 1000);
	c.lsn = prng_below(prng, 1000);
	c.fence = m->fence > 0 && prng_below(prng, 4) == 0 ? m->fence - 1 : m->fence;
	if (dice < 6)
		c.type = WRITE_PUT;
	else if (dice < 9)
	{
		c.type = WRITE_DELETE;
		c.version = prng_below(prng, 4) ? m->version[c.id] : prng_below(prng, LENGTH) + 1;
	}
	else
	{
		c.type = WRITE_RAISE;
		c.fence_to = m->fence + prng_below(prng, 3);
		if (c.fence_to == 0)
			c.fence_to = 1;
	}
	return c;
}

/* -- Tests ----------------------------------------------------------------- */

static void
refused_as_a_whole(void **state)
{
	Command		c = {.type = WRITE_PUT, .id = 1, .vector = 5, .lsn = 99};
	Model		nothing = {{0}, {0}, 0, 0};
	uint64_t	replay;
	Shard	   *shard;
	WireRoute	r;

	(void) state;
	fresh();
	shard = open_shard(&replay);
	r = route();
	r.generation.b[0] ^= 1;
	assert_int_equal(apply(shard, &c, &r, 1), VT_UNKNOWN_GENERATION);
	r = route();
	r.owner.incarnation.b[3] ^= 1;
	assert_int_equal(apply(shard, &c, &r, 2), VT_NOT_OWNER);
	r = route();
	r.owner.database = 6;
	assert_int_equal(apply(shard, &c, &r, 3), VT_NOT_OWNER);
	r = route();
	r.range_ver = 2;
	assert_int_equal(apply(shard, &c, &r, 4), VT_WRONG_SHARD);
	shard->desc.last = 0;		/* an id outside of the interval in force */
	r = route();
	assert_int_equal(apply(shard, &c, &r, 5), VT_WRONG_SHARD);
	same_as_model(shard, &nothing);
	shard_close(shard);
}

/* A batch that survived a power loss: the effects of one command alone. */
static void
survive(Shard *shard, const Command *c, uint64_t index, const Model *before)
{
	Model		m = *before;
	StoreBatch *batch = store_batch_new();
	Buf			key = {0};
	Buf			value = {0};
	VtError		err = {0};
	uint8_t		id[WIRE_TID_SIZE];
	uint8_t		number[8];
	uint8_t		fence_key[9] = {'f'};

	wire_tid_put(id, (uint32_t) c->id, 1);
	row_key(&key, bytes_of(id, sizeof(id)));
	if (model_apply(&m, c, index) == VT_OK)
	{
		if (c->type == WRITE_PUT)
		{
			StoreRow	row;
			uint8_t		vector[DIM * 4];
			float		x = (float) c->vector;
			uint32_t	bits;

			memcpy(&bits, &x, sizeof(bits));
			put_le32(vector, bits);
			put_le32(vector + 4, bits);
			memset(&row, 0, sizeof(row));
			row.index = index;
			row.fence = c->fence;
			row.dim = DIM;
			row.vector = vector;
			row_put(&value, &row);
			store_batch_put(batch, buf_bytes(&key), buf_bytes(&value));
		}
		else if (c->type == WRITE_DELETE && before->version[c->id] && !m.version[c->id])
			store_batch_delete(batch, buf_bytes(&key));
		else if (c->type == WRITE_RAISE && m.fence > before->fence)
		{
			put_be64(fence_key + 1, index);
			put_le64(number, m.fence);
			store_batch_put(batch, bytes_of(fence_key, 9), bytes_of(number, 8));
		}
	}
	put_le64(number, index);
	store_batch_put(batch, bytes_of("a", 1), bytes_of(number, 8));
	assert_int_equal(store_write(shard->rows, batch, false, &err), VT_OK);
	store_batch_free(batch);
	buf_free(&key);
	buf_free(&value);
}

/*
 * A history; then the disk keeps everything up to a checkpoint and a random
 * part of the batches after it; replay from the checkpoint must end where the
 * history ended, with every decision as before.
 */
static void
replay_over_holes(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 150; seed++)
	{
		Prng		prng = {seed};
		Command		history[LENGTH];
		VtStatus	decided[LENGTH];
		Model		before[LENGTH + 1];
		Model		m = {{0}, {0}, 0, 0};
		WireRoute	r = route();
		uint64_t	replay;
		uint64_t	checkpoint = prng_below(&prng, LENGTH);
		Shard	   *shard;

		fresh();
		shard = open_shard(&replay);
		for (int i = 0; i < LENGTH; i++)
		{
			before[i] = m;
			history[i] = random_command(&prng, &m);
			decided[i] = apply(shard, &history[i], &r, (uint64_t) i + 1);
			assert_int_equal(decided[i], model_apply(&m, &history[i], (uint64_t) i + 1));
		}
		before[LENGTH] = m;
		same_as_model(shard, &m);
		shard_close(shard);
		shard = open_shard(&replay);
		same_as_model(shard, &m);
		shard_close(shard);

		/* The disk after the power loss. */
		fresh();
		shard = open_shard(&replay);
		for (uint64_t i = 0; i < checkpoint; i++)
			apply(shard, &history[i], &r, i + 1);
		for (uint64_t i = checkpoint; i < LENGTH; i++)
			if (prng_below(&prng, 2))
				survive(shard, &history[i], i + 1, &before[i]);
		shard_close(shard);

		/* Replay. */
		shard = open_shard(&replay);
		for (uint64_t i = checkpoint; i < LENGTH; i++)
			if (apply(shard, &history[i], &r, i + 1) != decided[i])
				fail_msg("seed %llu: entry %llu is decided otherwise on replay",
						 (unsigned long long) seed, (unsigned long long) i + 1);
		same_as_model(shard, &m);
		shard_close(shard);
	}
}

/* Without a checkpoint marker of this boot, replay begins at the beginning. */
static void
position_after_reboot(void **state)
{
	Command		c = {.type = WRITE_PUT, .id = 1, .vector = 5};
	WireRoute	r = route();
	uint64_t	replay;
	uint64_t	index;
	Shard	   *shard;
	ReplicaMachine machine;
	VtError		err = {0};
	StoreBatch *batch;
	Buf			value = {0};
	VtId		other = {{1}};

	(void) state;
	fresh();
	shard = open_shard(&replay);
	assert_int_equal(replay, 0);
	apply(shard, &c, &r, 1);
	shard_close(shard);
	shard = open_shard(&replay);
	assert_int_equal(replay, 0);	/* no marker: nothing is known to be durable */
	apply(shard, &c, &r, 1);
	machine = shard_machine(shard);
	assert_int_equal(machine.checkpoint(machine.state, &index, &err), VT_OK);
	assert_int_equal(index, 1);
	apply(shard, &c, &r, 2);
	shard_close(shard);
	shard = open_shard(&replay);
	assert_int_equal(replay, 2);	/* same boot: what is visible is there */

	/* The machine reboots. */
	batch = store_batch_new();
	buf_put_u64(&value, 1);
	buf_put_id(&value, &other);
	store_batch_put(batch, bytes_of("k", 1), buf_bytes(&value));
	assert_int_equal(store_write(shard->rows, batch, true, &err), VT_OK);
	store_batch_free(batch);
	buf_free(&value);
	shard_close(shard);
	shard = open_shard(&replay);
	assert_int_equal(replay, 1);	/* only the checkpoint counts */
	shard_close(shard);
}

/*
 * Law S2 in the same boot: where the disk has lost something of what was written since the
 * checkpoint, but not what came after it, all since the checkpoint is applied again,
 * however often the process ends before that is durable.  An end that is cut off is no damage.
 */
static void
damaged_in_the_same_boot(void **state)
{
	Command		c = {.type = WRITE_PUT, .vector = 5};
	WireRoute	r = route();
	Model		m = {0};
	char		path[256];
	off_t		lengths[6];
	uint64_t	replay;
	uint64_t	index;
	Shard	   *shard;
	ReplicaMachine machine;
	VtError		err = {0};

	(void) state;
	fresh();
	shard = open_shard(&replay);
	snprintf(path, sizeof(path), "%s", store_path(shard->rows));
	machine = shard_machine(shard);
	for (uint64_t i = 1; i <= 5; i++)
	{
		c.id = (int) i;
		apply(shard, &c, &r, i);
		model_apply(&m, &c, i);
		if (i == 2)
			assert_int_equal(machine.checkpoint(machine.state, &index, &err), VT_OK);
		lengths[i] = log_length(path);
	}
	shard_close(shard);

	/* In the middle of the fourth: the fifth survives. */
	turn_over(path, (lengths[3] + lengths[4]) / 2);
	for (int times = 0; times < 2; times++)
	{
		shard = open_shard(&replay);
		assert_int_equal(replay, 2);
		shard_close(shard);
	}
	shard = open_shard(&replay);
	for (uint64_t i = 3; i <= 5; i++)
	{
		c.id = (int) i;
		assert_int_equal(apply(shard, &c, &r, i), VT_OK);
	}
	same_as_model(shard, &m);
	machine = shard_machine(shard);
	assert_int_equal(machine.checkpoint(machine.state, &index, &err), VT_OK);
	c.id = 6;
	apply(shard, &c, &r, 6);
	shard_close(shard);
	shard = open_shard(&replay);
	assert_int_equal(replay, 6);	/* it is whole again */
	machine = shard_machine(shard);
	assert_int_equal(machine.checkpoint(machine.state, &index, &err), VT_OK);
	lengths[5] = log_length(path);
	apply(shard, &c, &r, 7);
	lengths[0] = log_length(path);
	shard_close(shard);

	cut_off(path, (lengths[5] + lengths[0]) / 2);
	shard = open_shard(&replay);
	assert_int_equal(replay, 6);
	shard_close(shard);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refused_as_a_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(replay_over_holes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(position_after_reboot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(damaged_in_the_same_boot, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("worker_apply", tests, NULL, NULL);
}
