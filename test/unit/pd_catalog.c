/*-------------------------------------------------------------------------
 *
 * pd_catalog.c
 *	  The catalog's rows on disk, its replay over whatever survived, and where
 *	  shards are placed.
 *
 *-------------------------------------------------------------------------
 */
#include "damage.h"
#include "pd_given.h"

/* -- Tests ----------------------------------------------------------------- */

static void
rows_survive(void **state)
{
	Place		p;
	Buf			command = {0};
	Buf			before = {0};
	Buf			after = {0};
	Prng		prng = {5};
	VtError		err = {0};
	uint64_t	index;
	CatalogCollection c = collection_of(2, 7);
	const CatalogCollection *got;

	(void) state;
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 0);
	for (uint64_t i = 1; i <= 200; i++)
	{
		random_command(&prng, i, &command);
		assert_int_equal(apply(&p, i, buf_bytes(&command), &err), VT_OK);
	}
	command_begin(&command);
	command_collection(&command, &c);
	assert_int_equal(apply(&p, 201, buf_bytes(&command), &err), VT_OK);
	assert_int_equal(p.machine.checkpoint(p.machine.state, &index, &err), VT_OK);
	assert_int_equal(index, 201);
	dump_memory(&p, &before);
	close_place(&p);

	open_place(&p, "catalog");
	assert_int_equal(p.replay, 201);
	dump_memory(&p, &after);
	assert_true(bytes_equal(buf_bytes(&before), buf_bytes(&after)));
	got = catalog_collection(p.catalog, &c.generation);
	assert_non_null(got);
	assert_int_equal(got->state, c.state);
	assert_int_equal(got->nshards, 3);
	assert_int_equal(got->created_us, -5);
	assert_string_equal(got->label, c.label);
	assert_true(wire_owner_equal(&got->owner, &c.owner));
	for (uint32_t i = 0; i < 3; i++)
	{
		assert_true(got->shards[i].desc.first == c.shards[i].desc.first);
		assert_true(got->shards[i].desc.last == c.shards[i].desc.last);
		assert_int_equal(got->shards[i].desc.replicas[0].replica, 500 + i);
		assert_false(got->shards[i].bootstrapped);
		assert_int_equal(got->shards[i].conf_index, 7 + i);
		assert_int_equal(got->shards[i].seen, 1);
		assert_int_equal(got->shards[i].plan.kind, PLAN_SHRINK - 1);
		assert_int_equal(got->shards[i].plan.add_replica, 707);
	}
	close_place(&p);
	free(c.shards);
	buf_free(&command);
	buf_free(&before);
	buf_free(&after);
}

/* A store's row as it was before there were labels. */
static void
an_old_row_of_a_store(void **state)
{
	static const uint8_t row[] = {1, 9, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 1,
	4, 0, 0, 0, 'u', ':', '/', 'a'};
	uint8_t		key[9] = {'s', 0, 0, 0, 0, 0, 0, 0, 9};
	uint8_t		newer[sizeof(row)];
	Place		p;
	CatalogStore *store;

	(void) state;
	open_place(&p, "catalog");
	assert_true(catalog_take_row(p.catalog, bytes_of(key, 9), bytes_of(row, sizeof(row))));
	store = catalog_store(p.catalog, 9);
	assert_non_null(store);
	assert_true(store->draining);
	assert_false(store->search_only);
	assert_string_equal(store->endpoint, "u:/a");
	assert_string_equal(store->labels, "");

	/* The same bytes under the newer number lack what it has. */
	memcpy(newer, row, sizeof(row));
	newer[0] = PD_STORE_FORMAT;
	assert_false(catalog_take_row(p.catalog, bytes_of(key, 9), bytes_of(newer, sizeof(newer))));
	close_place(&p);
}

/*
 * Law S3: a random part of later commands survived, then all are replayed from
 * the checkpoint.  Disk and memory end as if nothing had happened.
 */
static void
replay_over_what_survived(void **state)
{
	(void) state;
	for (uint64_t seed = 1; seed <= 40; seed++)
	{
		Place		whole;
		Place		torn;
		Prng		prng = {seed};
		Buf			commands[60] = {{0}};
		Buf			a = {0};
		Buf			b = {0};
		uint64_t	checkpoint = 1 + prng_below(&prng, 60);
		VtError		err = {0};

		open_place(&whole, "whole");
		open_place(&torn, "torn");
		for (uint64_t i = 1; i <= 60; i++)
		{
			random_command(&prng, seed * 100 + i, &commands[i - 1]);
			assert_int_equal(apply(&whole, i, buf_bytes(&commands[i - 1]), &err), VT_OK);
			if (i <= checkpoint || prng_below(&prng, 2))
				assert_int_equal(apply(&torn, i, buf_bytes(&commands[i - 1]), &err), VT_OK);
		}
		close_place(&torn);
		open_place(&torn, "torn");
		for (uint64_t i = checkpoint + 1; i <= 60; i++)
			assert_int_equal(apply(&torn, i, buf_bytes(&commands[i - 1]), &err), VT_OK);
		dump_disk(&whole, &a);
		dump_disk(&torn, &b);
		assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
		dump_memory(&whole, &a);
		dump_memory(&torn, &b);
		assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
		close_place(&whole);
		close_place(&torn);
		assert_int_equal(store_destroy(scratch_path("whole"), &err), VT_OK);
		assert_int_equal(store_destroy(scratch_path("torn"), &err), VT_OK);
		for (int i = 0; i < 60; i++)
			buf_free(&commands[i]);
		buf_free(&a);
		buf_free(&b);
	}
}

static void
put_marker(Place *p, uint64_t index, const VtId *boot)
{
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};

	buf_put_u64(&value, index);
	buf_put_id(&value, boot);
	store_batch_put(batch, bytes_of("k", 1), buf_bytes(&value));
	assert_int_equal(store_write(p->rows, batch, false, NULL), VT_OK);
	store_batch_free(batch);
	buf_free(&value);
}

/* Law S2. */
static void
after_a_boot_only_the_checkpoint_counts(void **state)
{
	Place		p;
	Buf			command = {0};
	VtError		err = {0};
	Prng		prng = {9};
	VtId		other = id_of(77);
	uint64_t	index;

	(void) state;
	random_command(&prng, 1, &command);
	open_place(&p, "catalog");
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(apply(&p, i, buf_bytes(&command), &err), VT_OK);
	close_place(&p);

	/* Before the first checkpoint nothing is known to have lasted. */
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 0);
	for (uint64_t i = 1; i <= 10; i++)
		assert_int_equal(apply(&p, i, buf_bytes(&command), &err), VT_OK);
	assert_int_equal(p.machine.checkpoint(p.machine.state, &index, &err), VT_OK);
	for (uint64_t i = 11; i <= 20; i++)
		assert_int_equal(apply(&p, i, buf_bytes(&command), &err), VT_OK);
	close_place(&p);

	/* The process died: what is visible counts. */
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 20);
	put_marker(&p, 10, &other);
	close_place(&p);

	/* The machine did. */
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 10);

	/*
	 * A checkpoint taken before anything was replayed covers what it began with
	 * and nothing of what survived beyond.
	 */
	assert_int_equal(p.machine.checkpoint(p.machine.state, &index, &err), VT_OK);
	assert_int_equal(index, 10);
	close_place(&p);
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 10);
	close_place(&p);
	buf_free(&command);
}

/* Law S2: where the disk has lost something in between, the checkpoint counts in the same boot, too. */
static void
damaged_in_the_same_boot(void **state)
{
	Place		p;
	Buf			command = {0};
	VtError		err = {0};
	Prng		prng = {9};
	char		path[256];
	off_t		lengths[21];
	uint64_t	index;

	(void) state;
	random_command(&prng, 1, &command);
	open_place(&p, "catalog");
	snprintf(path, sizeof(path), "%s", store_path(p.rows));
	for (uint64_t i = 1; i <= 20; i++)
	{
		assert_int_equal(apply(&p, i, buf_bytes(&command), &err), VT_OK);
		if (i == 10)
			assert_int_equal(p.machine.checkpoint(p.machine.state, &index, &err), VT_OK);
		lengths[i] = log_length(path);
	}
	close_place(&p);
	turn_over(path, (lengths[14] + lengths[15]) / 2);
	for (int times = 0; times < 2; times++)
	{
		open_place(&p, "catalog");
		assert_int_equal(p.replay, 10);
		close_place(&p);
	}
	open_place(&p, "catalog");
	for (uint64_t i = 11; i <= 20; i++)
		assert_int_equal(apply(&p, i, buf_bytes(&command), &err), VT_OK);
	assert_int_equal(p.machine.checkpoint(p.machine.state, &index, &err), VT_OK);
	assert_int_equal(apply(&p, 21, buf_bytes(&command), &err), VT_OK);
	close_place(&p);
	open_place(&p, "catalog");
	assert_int_equal(p.replay, 21);
	close_place(&p);
	buf_free(&command);
}

static void
what_is_not_known_stops_it(void **state)
{
	static const char *const rows[][2] = {
		{"M", ""},				/* only collections may go */
		{"c", ""},
		{"z", "\001"},			/* a kind of row from the future */
		{"M", "\002"},			/* another format */
		{"M", "\001short"},
		{"s\0\0\0\0\0\0\0\1", "\001"},
	};
	Place		p;
	Buf			command = {0};
	VtError		err = {0};

	(void) state;
	open_place(&p, "catalog");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		command_begin(&command);
		buf_put_string(&command, bytes_str(rows[i][0]));
		buf_put_string(&command, bytes_str(rows[i][1]));
		assert_int_equal(apply(&p, 1, buf_bytes(&command), &err), VT_VERSION);
		assert_true(err.msg[0] != '\0');
	}
	buf_clear(&command);
	buf_put_u8(&command, PD_COMMAND_FORMAT + 1);
	assert_int_equal(apply(&p, 1, buf_bytes(&command), &err), VT_VERSION);

	/* Cut anywhere but between two rows, a command is refused. */
	command_begin(&command);
	{
		CatalogCollection c = collection_of(1, 7);

		command_collection(&command, &c);
		free(c.shards);
	}
	for (size_t len = 2; len < command.len; len++)
		if (len != 9)
			assert_int_not_equal(apply(&p, 1, bytes_of(command.data, len), &err), VT_OK);
	assert_int_equal(p.catalog->ncollections, 0);
	assert_int_equal(apply(&p, 1, buf_bytes(&command), &err), VT_OK);

	/* And so is a damaged row at open. */
	{
		StoreBatch *batch = store_batch_new();

		store_batch_put(batch, bytes_str("M"), bytes_str("\001short"));
		assert_int_equal(store_write(p.rows, batch, false, &err), VT_OK);
		store_batch_free(batch);
	}
	close_place(&p);
	memset(&err, 0, sizeof(err));
	assert_int_equal(try_open(&p, "catalog", &err), VT_CORRUPT);
	assert_true(err.msg[0] != '\0');
	buf_free(&command);
}

/* Intervals tile the space, in order, of nearly one size. */
static void
intervals_tile(void **state)
{
	(void) state;
	for (size_t n = 1; n <= 1024; n++)
	{
		uint64_t	next = 0;
		uint64_t	width = UINT64_MAX / n;

		for (size_t i = 0; i < n; i++)
		{
			uint64_t	first;
			uint64_t	last;

			schedule_interval(i, n, &first, &last);
			assert_true(first == next);
			assert_true(last >= first);
			assert_true(last - first >= width - 1 && last - first - (width - 1) <= n);
			next = last + 1;
			assert_true((next == 0) == (i + 1 == n));
		}
	}
}

static void
shards_are_spread(void **state)
{
	Prng		prng = {4};

	(void) state;
	for (int round = 0; round < 500; round++)
	{
		Candidate	candidates[12];
		Candidate	copy[12];
		uint64_t	before[12];
		uint64_t	stores[1000];
		uint64_t	again[1000];
		size_t		n = 1 + prng_below(&prng, 12);
		size_t		shards = 1 + prng_below(&prng, 200);
		size_t		r = 1 + prng_below(&prng, n < 5 ? (uint32_t) n : 5);
		uint64_t	given = 0;

		memset(candidates, 0, sizeof(candidates));
		for (size_t i = 0; i < n; i++)
		{
			candidates[i].store = 100 - i;
			candidates[i].replicas = before[i] = prng_below(&prng, 20);
			candidates[i].firsts = 0;
		}
		memcpy(copy, candidates, sizeof(copy));
		schedule_place(candidates, n, stores, shards, r);
		for (size_t s = 0; s < shards; s++)
			for (size_t a = 0; a < r; a++)
				for (size_t b = 0; b < a; b++)
					assert_true(stores[s * r + a] != stores[s * r + b]);
		for (size_t i = 0; i < n; i++)
		{
			uint64_t	mine = 0;
			uint64_t	firsts = 0;

			for (size_t s = 0; s < shards * r; s++)
			{
				mine += stores[s] == candidates[i].store;
				firsts += s % r == 0 && stores[s] == candidates[i].store;
			}
			assert_int_equal(candidates[i].replicas, before[i] + mine);
			assert_int_equal(candidates[i].firsts, firsts);
			given += mine;
		}
		assert_int_equal(given, shards * r);

		/* With one replica each, whoever got one stands at most one above the lowest. */
		for (size_t i = 0; i < n && r == 1; i++)
			for (size_t j = 0; j < n; j++)
				if (candidates[i].replicas > before[i])
					assert_true(candidates[i].replicas <= candidates[j].replicas + 1);

		/* From an even start all have an even share, of first places too. */
		if (round % 2)
		{
			for (size_t i = 0; i < n; i++)
				candidates[i].replicas = candidates[i].firsts = 0;
			schedule_place(candidates, n, again, shards, r);
			for (size_t i = 0; i < n; i++)
			{
				assert_in_range(candidates[i].replicas, shards * r / n, shards * r / n + 1);
				assert_in_range(candidates[i].firsts, 0, shards / n + 1 + (r > 1));
			}
		}

		/* The order of the candidates makes no difference. */
		for (size_t i = 0; i < n / 2; i++)
		{
			Candidate	c = copy[i];

			copy[i] = copy[n - 1 - i];
			copy[n - 1 - i] = c;
		}
		schedule_place(copy, n, again, shards, r);
		assert_memory_equal(stores, again, sizeof(uint64_t) * shards * r);
	}
}

/* What was dropped goes when it was kept long enough, or its disk is short. */
static void
dropped_data_goes_in_time(void **state)
{
	Kept		kept[4] = {{100, false}, {50, false}, {70, false}, {60, true}};

	(void) state;
	assert_int_equal(schedule_delete(kept, 0, 1000, 10), 0);
	assert_int_equal(schedule_delete(kept, 3, 149, 100), 3);	/* none is due */
	assert_int_equal(schedule_delete(kept, 3, 150, 100), 1);
	assert_int_equal(schedule_delete(kept, 3, 1000, 100), 1);	/* the oldest first */
	assert_int_equal(schedule_delete(kept, 4, 149, 100), 3);	/* a short disk does not wait */
	assert_int_equal(schedule_delete(kept, 4, 150, 100), 1);
	assert_int_equal(schedule_delete(kept, 3, 20, 100), 3);	/* the clock was set back */
	assert_int_equal(schedule_delete(kept, 1, 100, 0), 0);	/* kept for no time */
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(rows_survive),
		TEST(an_old_row_of_a_store),
		TEST(replay_over_what_survived),
		TEST(after_a_boot_only_the_checkpoint_counts),
		TEST(damaged_in_the_same_boot),
		TEST(what_is_not_known_stops_it),
		cmocka_unit_test(intervals_tile),
		cmocka_unit_test(shards_are_spread),
		cmocka_unit_test(dropped_data_goes_in_time),
	};

	return cmocka_run_group_tests_name("pd_catalog", tests, NULL, NULL);
}
