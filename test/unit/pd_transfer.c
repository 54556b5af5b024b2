/*-------------------------------------------------------------------------
 *
 * pd_transfer.c
 *	  The catalog on its way to another driver, whatever comes in between, and how
 *	  drivers notice that they differ.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_given.h"

#define STREAM 4711

/* A catalog with a history of its own. */
static void
begin_place(Place *p, const char *name, uint64_t seed, uint64_t commands)
{
	Buf			command = {0};
	Prng		prng = {seed};
	VtError		err = {0};

	open_place(p, name);
	for (uint64_t i = 1; i <= commands; i++)
	{
		random_command(&prng, seed * 1000 + i, &command);
		assert_int_equal(apply(p, i, buf_bytes(&command), &err), VT_OK);
	}
	buf_free(&command);
}

/* The chunks of a snapshot, each a buffer; returns how many. */
#define CHUNKS 64
static uint32_t
cut(Place *p, Buf chunks[CHUNKS], uint64_t *index)
{
	void	   *stream;
	bool		last = false;
	uint32_t	n = 0;
	VtError		err = {0};

	assert_int_equal(p->machine.snapshot_open(p->machine.state, &stream, index, &err), VT_OK);
	while (!last)
	{
		assert_true(n < CHUNKS);
		memset(&chunks[n], 0, sizeof(Buf));
		assert_int_equal(p->machine.snapshot_read(stream, 400, &chunks[n++], &last, &err), VT_OK);
	}
	p->machine.snapshot_close(stream);
	return n;
}

static VtStatus
give(Place *p, uint64_t stream, const Buf *chunks, uint32_t n, uint32_t seq, uint32_t *next)
{
	WireChunk	chunk = {.group = PD_GROUP, .stream = stream, .seq = seq, .last = seq + 1 == n,
		.data = buf_bytes(&chunks[seq])};
	VtError		err = {0};

	return p->machine.stage(p->machine.state, &chunk, next, &err);
}

static void
free_chunks(Buf *chunks, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		buf_free(&chunks[i]);
}

/* The same rows on disk and in memory, and the same digest. */
static void
assert_same(Place *p, Place *q)
{
	Buf			a = {0};
	Buf			b = {0};

	dump_disk(p, &a);
	dump_disk(q, &b);
	assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
	dump_memory(p, &a);
	dump_memory(q, &b);
	assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
	assert_true(catalog_digest(p->catalog) == catalog_digest(q->catalog));
	buf_free(&a);
	buf_free(&b);
}

static void
reopen(Place *p, const char *name, uint64_t base_stream, uint64_t base_index)
{
	StoreOptions options = {.write_buffer = 1 << 20, .replayed = true};
	RaftSnapshot base = {.id = base_stream, .index = base_index};
	VtError		err = {0};

	close_place(p);
	assert_int_equal(store_open(scratch_path(name), &options, &p->rows, &err), VT_OK);
	assert_int_equal(catalog_finish_install(p->rows, &base, &err), VT_OK);
	assert_int_equal(catalog_open(p->rows, &p->catalog, &p->replay, &err), VT_OK);
	p->machine = catalog_machine(p->catalog);
}

/* Chunks come twice, and a while after the snapshot was pinned. */
static void
all_rows_arrive(void **state)
{
	Place		from;
	Place		to;
	Place		pinned;
	Buf			chunks[CHUNKS];
	Buf			command = {0};
	Prng		prng = {3};
	VtError		err = {0};
	uint64_t	index;
	uint64_t	later;
	uint32_t	next;
	uint32_t	n;

	(void) state;
	begin_place(&from, "from", 1, 100);
	begin_place(&pinned, "pinned", 1, 100);
	begin_place(&to, "to", 2, 40);
	n = cut(&from, chunks, &index);
	assert_int_equal(index, 100);
	assert_true(n > 3);
	for (uint32_t i = 0; i < n; i++)
	{
		random_command(&prng, 9000 + i, &command);
		assert_int_equal(apply(&from, 101 + i, buf_bytes(&command), &err), VT_OK);
		assert_int_equal(give(&to, STREAM, chunks, n, i, &next), VT_OK);
		assert_int_equal(next, i + 1);
		assert_int_equal(give(&to, STREAM, chunks, n, i, &next), VT_OK);
		assert_int_equal(next, i + 1);
	}
	/* A checkpoint that was begun before must not say that the old state is in force. */
	assert_int_equal(to.machine.install(to.machine.state, STREAM + 1, index, &err), VT_NOT_FOUND);
	assert_int_equal(to.machine.install(to.machine.state, STREAM, index, &err), VT_OK);
	assert_same(&pinned, &to);
	assert_int_equal(to.machine.checkpoint(to.machine.state, &later, &err), VT_OK);
	assert_int_equal(later, index);
	reopen(&to, "to", STREAM, index);
	assert_int_equal(to.replay, index);
	assert_same(&pinned, &to);
	free_chunks(chunks, n);
	buf_free(&command);
	close_place(&from);
	close_place(&pinned);
	close_place(&to);
}

/* A crash after any number of chunks, and between the last and the installation. */
static void
cut_off_anywhere(void **state)
{
	Place		from;
	Place		to;
	Place		before;
	Buf			chunks[CHUNKS];
	uint64_t	index;
	uint32_t	next;
	uint32_t	n;

	(void) state;
	begin_place(&from, "from", 1, 100);
	begin_place(&before, "before", 2, 40);
	begin_place(&to, "to", 2, 40);
	n = cut(&from, chunks, &index);
	for (uint32_t k = 1; k <= n; k++)
	{
		for (uint32_t i = 0; i < k; i++)
			assert_int_equal(give(&to, STREAM + k, chunks, n, i, &next), VT_OK);
		/* The log does not name it: nothing is left of it. */
		reopen(&to, "to", k % 2 ? STREAM : 0, 77);
		assert_same(&before, &to);
	}
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(give(&to, STREAM, chunks, n, i, &next), VT_OK);
	reopen(&to, "to", STREAM, index);
	assert_int_equal(to.replay, index);
	assert_same(&from, &to);
	reopen(&to, "to", STREAM, index);
	assert_int_equal(to.replay, index);
	assert_same(&from, &to);
	free_chunks(chunks, n);
	close_place(&from);
	close_place(&before);
	close_place(&to);
}

/* Half of one stream, then another; and what no driver sends. */
static void
other_streams_and_nonsense(void **state)
{
	Place		from;
	Place		to;
	Place		before;
	Buf			chunks[CHUNKS];
	Buf			bad[3] = {{0}};
	VtError		err = {0};
	uint64_t	index;
	uint32_t	next;
	uint32_t	n;

	(void) state;
	begin_place(&from, "from", 1, 100);
	begin_place(&before, "before", 2, 40);
	begin_place(&to, "to", 2, 40);
	n = cut(&from, chunks, &index);
	assert_int_equal(give(&to, 1, chunks, n, 0, &next), VT_OK);
	assert_int_equal(give(&to, 2, chunks, n, 0, &next), VT_OK);
	assert_int_equal(give(&to, 1, chunks, n, 1, &next), VT_LEASE_GONE);

	/* A chunk too early is not taken. */
	assert_int_equal(give(&to, 2, chunks, n, 2, &next), VT_OK);
	assert_int_equal(next, 1);

	buf_put_u32(&bad[0], 1000);	/* a string longer than the chunk */
	buf_put_string(&bad[1], bytes_str("a"));	/* no row */
	buf_put_string(&bad[1], bytes_str("12345678"));
	buf_put_string(&bad[2], bytes_str("M"));	/* a row of another format */
	buf_put_string(&bad[2], bytes_str("\x7f" "abc"));
	for (uint64_t i = 0; i < 3; i++)
	{
		assert_int_not_equal(give(&to, 10 + i, &bad[i], 2, 0, &next), VT_OK);
		assert_int_not_equal(to.machine.install(to.machine.state, 10 + i, index, &err), VT_OK);
		buf_free(&bad[i]);
	}

	/* After all that a good one is taken. */
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(give(&to, 3, chunks, n, i, &next), VT_OK);
	assert_int_equal(to.machine.install(to.machine.state, 3, index, &err), VT_OK);
	assert_same(&from, &to);
	free_chunks(chunks, n);
	close_place(&from);
	close_place(&before);
	close_place(&to);
}

/* -- Do they agree? -------------------------------------------------------- */

static VtStatus
tell_digest(Place *p, uint64_t index, uint64_t digest, VtError *err)
{
	Buf			command = {0};
	VtStatus	status;

	command_begin(&command);
	command_digest(&command, digest);
	status = apply(p, index, buf_bytes(&command), err);
	buf_free(&command);
	return status;
}

static void
who_differs_stops(void **state)
{
	Place		a;
	Place		b;
	CatalogStore store = store_of(3, 77);
	Buf			command = {0};
	VtError		err = {0};
	uint64_t	digest;

	(void) state;
	begin_place(&a, "a", 1, 100);
	begin_place(&b, "b", 1, 100);
	digest = catalog_digest(a.catalog);
	assert_int_equal(tell_digest(&b, 101, digest, &err), VT_OK);
	reopen(&b, "b", 0, 0);
	assert_true(catalog_digest(b.catalog) == digest);

	/* One of them has a row more. */
	command_begin(&command);
	command_store(&command, &store);
	assert_int_equal(apply(&a, 101, buf_bytes(&command), &err), VT_OK);
	buf_free(&command);
	/* What it has replayed by now may be less than what is visible: it cannot tell. */
	assert_int_equal(tell_digest(&b, 101, catalog_digest(a.catalog), &err), VT_OK);
	assert_int_equal(tell_digest(&b, 102, catalog_digest(a.catalog), &err), VT_CORRUPT);
	assert_non_null(strstr(err.msg, "differs from its leader's"));
	close_place(&a);
	close_place(&b);
}

/* Rows of later entries survived a power loss: no driver ever had such a state. */
static void
not_sure_after_a_power_loss(void **state)
{
	Place		a;
	Place		b;
	Buf			commands[10] = {{0}};
	Prng		prng = {8};
	VtError		err = {0};
	void	   *stream;
	uint64_t	index;
	uint64_t	digests[10];

	(void) state;
	begin_place(&a, "a", 1, 20);
	begin_place(&b, "b", 1, 20);
	assert_int_equal(b.machine.checkpoint(b.machine.state, &index, &err), VT_OK);
	for (uint64_t i = 0; i < 10; i++)
	{
		random_command(&prng, 5000 + i, &commands[i]);
		assert_int_equal(apply(&a, 21 + 2 * i, buf_bytes(&commands[i]), &err), VT_OK);
		digests[i] = catalog_digest(a.catalog);
		if (i % 3 == 0)
			assert_int_equal(apply(&b, 21 + 2 * i, buf_bytes(&commands[i]), &err), VT_OK);
	}
	/* As if in another boot: what is visible of 21..39 has holes. */
	{
		StoreBatch *batch = store_batch_new();
		VtId		other = id_of(77);
		Buf			value = {0};

		buf_put_u64(&value, 20);
		buf_put_id(&value, &other);
		store_batch_put(batch, bytes_of("k", 1), buf_bytes(&value));
		assert_int_equal(store_write(b.rows, batch, false, &err), VT_OK);
		store_batch_free(batch);
		buf_free(&value);
	}
	reopen(&b, "b", 0, 0);
	assert_int_equal(b.replay, 20);
	assert_int_equal(b.machine.snapshot_open(b.machine.state, &stream, &index, &err), VT_BUSY);
	for (uint64_t i = 0; i < 10; i++)
	{
		assert_int_equal(apply(&b, 21 + 2 * i, buf_bytes(&commands[i]), &err), VT_OK);
		assert_int_equal(tell_digest(&b, 22 + 2 * i, digests[i], &err), VT_OK);

		/* It dies and comes back, also after a checkpoint in this boot. */
		if (i == 4)
			assert_int_equal(b.machine.checkpoint(b.machine.state, &index, &err), VT_OK);
		if (i == 6)
			reopen(&b, "b", 0, 0);
	}
	assert_int_equal(tell_digest(&b, 41, digests[0], &err), VT_CORRUPT);
	for (int i = 0; i < 10; i++)
		buf_free(&commands[i]);
	close_place(&a);
	close_place(&b);
}

/* What a leader decided in one term is nothing in another: who led in between? */
static void
decided_in_another_term(void **state)
{
	Place		p;
	CatalogStore store = store_of(3, 77);
	ReplicaCommand command = {.index = 101, .term = 6};
	Buf			bytes = {0};
	VtError		err = {0};

	(void) state;
	begin_place(&p, "p", 1, 100);
	store.id = 99;
	command_begin(&bytes);
	command_store(&bytes, &store);
	command_set_term(&bytes, 5);
	command.bytes = buf_bytes(&bytes);
	assert_int_equal(p.machine.apply(p.machine.state, &command, 1, 101, &err), VT_OK);
	assert_int_equal(command.status, VT_NOT_LEADER);
	assert_null(catalog_store(p.catalog, 99));

	command_set_term(&bytes, 6);
	command.status = VT_OK;
	command.index = 102;
	assert_int_equal(p.machine.apply(p.machine.state, &command, 1, 102, &err), VT_OK);
	assert_int_equal(command.status, VT_OK);
	assert_non_null(catalog_store(p.catalog, 99));
	buf_free(&bytes);

	/* Drivers that were always alone named none. */
	store.id = 100;
	command_begin(&bytes);
	command_store(&bytes, &store);
	memmove(bytes.data + 1, bytes.data + 9, bytes.len - 9);
	bytes.len -= 8;
	bytes.data[0] = PD_COMMAND_TERMLESS;
	command.index = 103;
	command.bytes = buf_bytes(&bytes);
	assert_int_equal(p.machine.apply(p.machine.state, &command, 1, 103, &err), VT_OK);
	assert_non_null(catalog_store(p.catalog, 100));
	buf_free(&bytes);
	close_place(&p);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(all_rows_arrive),
		TEST(cut_off_anywhere),
		TEST(other_streams_and_nonsense),
		TEST(who_differs_stops),
		TEST(not_sure_after_a_power_loss),
		TEST(decided_in_another_term),
	};

	return cmocka_run_group_tests_name("pd_transfer", tests, NULL, NULL);
}
