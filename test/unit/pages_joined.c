/*-------------------------------------------------------------------------
 *
 * pages_joined.c
 *	  Answers in pages, from the driver that tells them to those who put them together:
 *	  vectronctl, and the gateway for its views.
 *
 * The driver's own code answers, with few rows in a page; between two pages its catalog
 * changes, or a driver of an earlier release begins to lead.
 *
 *-------------------------------------------------------------------------
 */
#include "pd_world.h"

#include "../../src/ctl/ask.c"
#include "../../src/pg/json.c"

#define COLLECTIONS 6
#define SHARDS 2
#define REPLICAS 3
#define ROWS (SHARDS * REPLICAS)

/* -- Who is asked ------------------------------------------------------------ */

static struct
{
	PdWorld    *w;
	void		(*before) (int page);	/* it is told; NULL: nothing happens */
	int			older_from;		/* from this page on by a driver that knows of none; -1 = never */
	int			said_at;		/* in place of that page ... */
	const char *said;			/* ... this is said, or it is refused */
	int			asked;
	char	   *reply;
} door;

VtStatus
client_control(Client *client, const char *request, int64_t deadline_us, const char **reply, VtError *err)
{
	json_t	   *body = json_loads(request, 0, NULL);
	int			page = door.asked++;
	json_t	   *answer;

	(void) client;
	(void) deadline_us;
	assert_non_null(body);
	assert_true(page < 4 * COLLECTIONS);	/* it ends */
	if (door.before)
		door.before(page);
	if (page == door.said_at)
	{
		json_decref(body);
		*reply = door.said;
		return door.said ? VT_OK : vt_fail(err, VT_BUSY, "another has just begun to lead");
	}
	if (door.older_from >= 0 && page >= door.older_from)
	{
		json_object_del(body, "page");
		json_object_del(body, "after");
	}
	answer = page_answer(&door.w->pd, NULL, body, err);
	json_decref(body);
	if (!answer)
		return err->code;
	free(door.reply);
	*reply = door.reply = answer_words(VT_OK, answer, NULL);
	return VT_OK;
}

VtStatus
client_control_at(Client *client, const char *endpoint, const char *request, int64_t deadline_us, const char **reply, VtError *err)
{
	(void) endpoint;
	return client_control(client, request, deadline_us, reply, err);
}

/* -- Who asks ---------------------------------------------------------------- */

/* The rows of an answer, or NULL and why. */
typedef json_t *(*Joiner) (const char *what, const char *name, VtError *err);

static json_t *
question_of(const char *what, const char *name)
{
	json_t	   *question = json_pack("{s:s}", "op", what);

	if (strcmp(what, "dump") != 0)
		json_object_set_new(question, "page", json_true());
	if (name)
		json_object_set_new(question, "collection", json_string(name));
	return question;
}

static const char *
rows_in(const char *what)
{
	return strcmp(what, "dump") == 0 ? "collections" : what;
}

static json_t *
by_vectronctl(const char *what, const char *name, VtError *err)
{
	Ctl			ctl = {.timeout_ms = 1000};
	json_t	   *whole = ctl_ask_pages(&ctl, question_of(what, name), rows_in(what), err);
	json_t	   *rows = json_incref(json_object_get(whole, rows_in(what)));

	if (whole)
	{
		assert_null(json_object_get(whole, "next"));
		assert_null(json_object_get(whole, "page"));
		assert_int_equal(json_integer_value(json_object_get(whole, "status")), 0);
	}
	json_decref(whole);
	return rows;
}

/* As monitor.c does, with memory of its own. */
static json_t *
by_view(const char *what, const char *name, VtError *err)
{
	json_t	   *question = question_of(what, name);
	ClientPage	now = {.whole = false};
	char	   *out = vt_strdup("[");
	size_t		len = 0;
	json_t	   *rows;

	do
	{
		char	   *request = json_dumps(question, JSON_COMPACT);
		const char *page;
		bool		ok = client_control(NULL, request, 0, &page, err) == VT_OK;

		free(request);
		if (ok)
		{
			out = vt_realloc(out, 1 + len + strlen(page) + 1);
			ok = json_page(page, rows_in(what), &now, out + 1, &len);
			if (!ok)
				vt_fail(err, VT_PROTOCOL, "it makes no sense");
		}
		if (!ok)
		{
			json_decref(question);
			free(out);
			return NULL;
		}
		json_object_set_new(question, "after", json_string(now.next));
	} while (now.next[0]);
	json_decref(question);
	out[1 + len] = ']';
	rows = json_loadb(out, len + 2, 0, NULL);
	free(out);
	assert_non_null(rows);
	return rows;
}

static const Joiner joiners[] = {by_vectronctl, by_view};

#define NJOINERS (sizeof(joiners) / sizeof(joiners[0]))

/* -- What there is ----------------------------------------------------------- */

static CatalogCollection was[COLLECTIONS];	/* as made, in the order of pages */

static int
by_generation(const void *a, const void *b)
{
	return memcmp(((const CatalogCollection *) a)->generation.b, ((const CatalogCollection *) b)->generation.b, sizeof(VtId));
}

static void
commit(const CatalogCollection *c, const VtId *forgotten)
{
	Buf			command = {0};

	command_begin(&command);
	if (c)
		command_collection(&command, c);
	else
		command_forget(&command, forgotten);
	assert_int_equal(world_commit(&door.w->pd, &command), VT_OK);
	buf_free(&command);
}

static void
begin(uint32_t rows)
{
	door.w = cluster(8, 3);
	door.w->pd.options.page_rows = rows;
	door.before = NULL;
	door.older_from = door.said_at = -1;
	for (int i = 0; i < COLLECTIONS; i++)
	{
		was[i] = *create(door.w, SHARDS, REPLICAS);
		was[i].shards = memcpy(vt_alloc(sizeof(CatalogShard) * SHARDS), was[i].shards, sizeof(CatalogShard) * SHARDS);
	}
	qsort(was, COLLECTIONS, sizeof(was[0]), by_generation);
}

static void
end(void)
{
	for (int i = 0; i < COLLECTIONS; i++)
		free(was[i].shards);
	free(door.reply);
	door.reply = NULL;
	cluster_end(door.w);
}

/* All in one, as who knows of no pages is answered. */
static json_t *
all_in_one(const char *what)
{
	json_t	   *body = json_pack("{s:s}", "op", what);
	VtError		err = {0};
	json_t	   *reply = page_answer(&door.w->pd, NULL, body, &err);
	json_t	   *rows = json_incref(json_object_get(reply, rows_in(what)));

	assert_null(json_object_get(reply, "page"));
	assert_null(json_object_get(reply, "next"));
	json_decref(reply);
	json_decref(body);
	return rows;
}

static json_t *
joined(Joiner by, const char *what, const char *name)
{
	VtError		err = {0};
	json_t	   *rows;

	door.asked = 0;
	rows = by(what, name, &err);
	if (!rows)
		fail_msg("%s: %s", what, vt_error_words(&err));
	return rows;
}

/* -- Nothing happens --------------------------------------------------------- */

/* So many collections go into a page of so many rows: at least one, and those that fit in whole. */
static void
pages_are_as_large_as_they_may_be(void **state)
{
	static const struct
	{
		uint32_t	rows;
		int			shards;		/* collections of a page */
		int			collections;
		int			dump;		/* where a shard and a collection are rows, too */
	}			pages[] = {{1, 1, 1, 1}, {5, 1, 5, 1}, {ROWS, 1, COLLECTIONS, 1}, {2 * ROWS - 1, 1, COLLECTIONS, 1}, {2 * ROWS, 2, COLLECTIONS, 1},
	{3 * ROWS - 1, 2, COLLECTIONS, 1}, {2 * (ROWS + SHARDS + 1), 3, COLLECTIONS, 2}, {0, COLLECTIONS, COLLECTIONS, COLLECTIONS}};

	(void) state;
	begin(0);
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		for (size_t by = 0; by < NJOINERS; by++)
		{
			static const char *const ops[] = {"shards", "collections", "dump"};

			for (int what = 0; what < (joiners[by] == by_vectronctl ? 3 : 2); what++)	/* no view is a dump */
			{
				int			of_page = what == 0 ? pages[i].shards : what == 1 ? pages[i].collections : pages[i].dump;
				json_t	   *rows;
				json_t	   *all;

				door.w->pd.options.page_rows = 0;
				all = all_in_one(ops[what]);
				door.w->pd.options.page_rows = pages[i].rows;
				rows = joined(joiners[by], ops[what], NULL);
				assert_int_equal(json_array_size(rows), what == 0 ? COLLECTIONS * ROWS : COLLECTIONS);
				assert_true(json_equal(rows, all));
				assert_int_equal(door.asked, (COLLECTIONS + of_page - 1) / of_page);
				json_decref(rows);
				json_decref(all);
			}
		}
	end();
}

static void
an_empty_cluster_has_one_page(void **state)
{
	(void) state;
	begin(1);
	for (int i = 0; i < COLLECTIONS; i++)
		commit(NULL, &was[i].generation);
	for (size_t by = 0; by < NJOINERS; by++)
	{
		json_t	   *rows = joined(joiners[by], "shards", NULL);

		assert_int_equal(json_array_size(rows), 0);
		assert_int_equal(door.asked, 1);
		json_decref(rows);
	}
	end();
}

/* -- What may happen between two pages ----------------------------------------- */

typedef enum Event
{
	SPLIT,						/* its first shard */
	SHRUNK,						/* its first shard is deleted: its lowest number rises */
	DROPPED,
	FORGOTTEN,
	MADE,						/* another one, just behind it */
	EVENTS
} Event;

static struct
{
	Event		event;
	int			of;				/* this collection */
	int			before;			/* this page */
	CatalogCollection made;
} happens;

static void
happen(int page)
{
	CatalogShard shards[SHARDS + 1];
	CatalogCollection c = was[happens.of];
	uint64_t	id = 1000000;

	if (page != happens.before)
		return;
	memcpy(shards, c.shards, sizeof(CatalogShard) * SHARDS);
	c.shards = shards;
	if (happens.event == SPLIT)
	{
		memmove(shards + 1, shards, sizeof(CatalogShard) * SHARDS);
		shards[0].desc.last = shards[0].desc.first + (shards[0].desc.last - shards[0].desc.first) / 2;
		shards[1].desc.first = shards[0].desc.last + 1;
		shards[1].desc.shard = id++;
		for (int i = 0; i < REPLICAS; i++)
			shards[1].desc.replicas[i].replica = id++;
		c.nshards = SHARDS + 1;
	}
	else if (happens.event == SHRUNK)
	{
		c.state = COLLECTION_DOOMED;
		c.shards++;
		c.nshards--;
	}
	else if (happens.event == DROPPED)
		c.state = COLLECTION_HIDDEN;
	else if (happens.event == MADE)
	{
		for (int i = 15; ++c.generation.b[i] == 0;)
			i--;
		for (int i = 0; i < SHARDS; i++)
		{
			shards[i].desc.shard = id++;
			shards[i].desc.generation = c.generation;
			for (int j = 0; j < REPLICAS; j++)
				shards[i].desc.replicas[j].replica = id++;
		}
		happens.made = c;
	}
	commit(happens.event == FORGOTTEN ? NULL : &c, &was[happens.of].generation);
}

/* Rows of a collection, which follow each other; *state: of the first of them. */
static size_t
rows_of_generation(json_t *rows, const VtId *generation, const char **state)
{
	size_t		n = 0;
	size_t		last = 0;
	json_t	   *row;
	size_t		i;

	*state = NULL;
	json_array_foreach(rows, i, row)
	{
		VtId		id;

		assert_true(get_id(row, "generation", &id));
		if (!vt_id_equal(&id, generation))
			continue;
		assert_true(n == 0 || last + 1 == i);
		if (n++ == 0)
			*state = json_string_value(json_object_get(row, "state"));
		last = i;
	}
	return n;
}

static void
no_replica_twice(json_t *rows)
{
	IdMap		seen = {0};
	json_t	   *row;
	size_t		i;

	json_array_foreach(rows, i, row)
	{
		uint64_t	replica;
		uint64_t	at;

		assert_true(get_u64(row, "replica", &replica));
		assert_false(idmap_get(&seen, replica, &at));
		idmap_put(&seen, replica, 1);
	}
	idmap_free(&seen);
}

static void
look_at(json_t *rows, int of_page)
{
	int			told = happens.before * of_page;	/* when it happens */
	size_t		sum = 0;
	const char *state;

	no_replica_twice(rows);
	for (int i = 0; i < COLLECTIONS; i++)
	{
		Event		event = i == happens.of && i >= told ? happens.event : EVENTS;
		size_t		wanted = event == SPLIT ? ROWS + REPLICAS : event == SHRUNK ? ROWS - REPLICAS : event == FORGOTTEN ? 0 : ROWS;

		assert_int_equal(rows_of_generation(rows, &was[i].generation, &state), wanted);
		if (wanted > 0)
			assert_string_equal(state, event == SHRUNK || event == DROPPED ? "dropped" : "creating");
		sum += wanted;
	}
	if (happens.event == MADE)
	{
		/* Behind the last that was told. */
		size_t		wanted = happens.of >= told - 1 ? ROWS : 0;

		assert_int_equal(rows_of_generation(rows, &happens.made.generation, &state), wanted);
		sum += wanted;
	}
	assert_int_equal(json_array_size(rows), sum);
}

/*
 * Each collection that is there all the time is told once, in one piece and as it is when its page is told;
 * of one that comes or goes nothing is told twice.
 */
static void
whatever_comes_and_goes(void **state)
{
	(void) state;
	begin(0);
	door.before = happen;
	for (int of_page = 1; of_page <= 2; of_page++)
		for (int event = 0; event < EVENTS; event++)
			for (int of = 0; of < COLLECTIONS; of++)
				for (int before = 1; before * of_page < COLLECTIONS; before++)
					for (size_t by = 0; by < NJOINERS; by++)
					{
						json_t	   *rows;

						door.w->pd.options.page_rows = (uint32_t) of_page * ROWS;
						happens.event = (Event) event;
						happens.of = of;
						happens.before = before;
						rows = joined(joiners[by], "shards", NULL);
						assert_true(door.asked > before);
						look_at(rows, of_page);
						json_decref(rows);
						if (event == MADE)
							commit(NULL, &happens.made.generation);
						commit(&was[of], NULL);
					}
	end();
}

static void
forget_all(int page)
{
	for (int i = 0; page == 1 && i < COLLECTIONS; i++)
		commit(NULL, &was[i].generation);
}

/* A name that means several may mean none when the next page is told: that is no error any more. */
static void
what_was_named_has_gone(void **state)
{
	VtError		err = {0};

	(void) state;
	begin(ROWS);
	door.before = forget_all;
	for (size_t by = 0; by < NJOINERS; by++)
	{
		json_t	   *rows;

		for (int i = 0; i < COLLECTIONS; i++)
		{
			strcpy(was[i].label, "public.t_v");
			commit(&was[i], NULL);
		}
		rows = joined(joiners[by], "shards", "public.t_v");
		assert_int_equal(door.asked, 2);
		assert_int_equal(json_array_size(rows), ROWS);
		json_decref(rows);
		assert_null(joiners[by] ("shards", "public.other", &err));
		assert_int_equal(err.code, VT_NOT_FOUND);
	}
	end();
}

/* -- Drivers of an earlier release, and such as make no sense ----------------------- */

static void
an_older_driver_tells_all(void **state)
{
	(void) state;
	begin(ROWS);
	for (door.older_from = 0; door.older_from < COLLECTIONS; door.older_from++)
		for (size_t by = 0; by < NJOINERS; by++)
			for (int what = 0; what < 2; what++)
			{
				const char *op = what == 0 ? "shards" : "collections";
				json_t	   *all = all_in_one(op);
				json_t	   *rows;

				door.w->pd.options.page_rows = what == 0 ? ROWS : 1;
				rows = joined(joiners[by], op, NULL);
				assert_int_equal(door.asked, door.older_from + 1);
				assert_true(json_equal(rows, all));
				json_decref(rows);
				json_decref(all);
			}
	end();
}

/* What comes as the second page ends it, with an error and no rows. */
static void
a_page_that_makes_no_sense(void **state)
{
	char		words[6][128];
	char		first[VT_ID_TEXT];
	VtId		before;

	(void) state;
	begin(ROWS);
	before = was[0].generation;
	vt_id_format(&before, first);
	snprintf(words[0], sizeof(words[0]), "{\"status\":0,\"page\":true,\"shards\":[],\"next\":\"%s\"}", first);	/* the same again */
	memset(&before, 0, sizeof(before));
	vt_id_format(&before, first);
	snprintf(words[1], sizeof(words[1]), "{\"status\":0,\"page\":true,\"shards\":[],\"next\":\"%s\"}", first);	/* it falls */
	snprintf(words[2], sizeof(words[2]), "{\"status\":0,\"page\":true,\"shards\":[],\"next\":\"7\"}");
	snprintf(words[3], sizeof(words[3]), "{\"status\":0,\"page\":true,\"shards\":[],\"next\":7}");
	snprintf(words[4], sizeof(words[4]), "{\"status\":0,\"page\":true,\"shards\":{}}");
	snprintf(words[5], sizeof(words[5]), "{\"status\":0,\"page\":true}");
	door.said_at = 1;
	for (int i = 0; i <= 6; i++)
		for (size_t by = 0; by < NJOINERS; by++)
		{
			VtError		err = {0};

			door.said = i < 6 ? words[i] : NULL;
			door.asked = 0;
			assert_null(joiners[by] ("shards", NULL, &err));
			assert_int_equal(err.code, i < 6 ? VT_PROTOCOL : VT_BUSY);
			assert_int_equal(door.asked, 2);
		}
	end();
}

/* A driver refuses what is no generation. */
static void
after_is_malformed(void **state)
{
	static const char *const wrong[] = {"7", "x", "0123456789abcdef0123456789abcdefg"};
	static const char *const ops[] = {"shards", "collections", "dump"};

	(void) state;
	begin(ROWS);
	for (size_t i = 0; i < 3 * sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		json_t	   *body = json_pack("{s:s,s:b,s:s}", "op", ops[i % 3], "page", 1, "after", wrong[i / 3]);
		VtError		err = {0};

		assert_null(page_answer(&door.w->pd, NULL, body, &err));
		expect(err.code, VT_INVALID, &err, "after is malformed");
		json_decref(body);
	}
	end();
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(pages_are_as_large_as_they_may_be),
		TEST(an_empty_cluster_has_one_page),
		TEST(whatever_comes_and_goes),
		TEST(what_was_named_has_gone),
		TEST(an_older_driver_tells_all),
		TEST(a_page_that_makes_no_sense),
		TEST(after_is_malformed),
	};

	return cmocka_run_group_tests_name("pages_joined", tests, NULL, NULL);
}
