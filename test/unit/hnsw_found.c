/*-------------------------------------------------------------------------
 *
 * hnsw_found.c
 *	  A graph that links by what another one has found is as good as that one, for
 *	  a fraction of the work; and whatever it is told, it stays a graph.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_owner.h"

#include <sched.h>
#include <stdatomic.h>

#include "hnsw/ctx.h"

#define N 3000

/* How one graph has linked each label, in labels. */
typedef struct Book
{
	Hnsw	   *h;				/* of whoever writes */
	HnswFound	found[N];
	bool		has[N];
} Book;

static void
copy(HnswFound *out, const HnswFound *in)
{
	const HnswLink *link = in->links;
	const uint32_t *dropped = in->dropped;

	hnsw_found_begin(out);
	out->twin = in->twin;
	for (uint32_t list = 0; list < in->nlists; list++)
	{
		hnsw_found_list(out);
		for (uint32_t i = 0; i < in->n[list]; i++, link++)
		{
			hnsw_found_link(out, link->slot, link->entered);
			for (uint32_t j = 0; j < link->ndropped; j++)
				hnsw_found_drop(out, *dropped++);
		}
	}
}

/* Each slot as another number. */
static void
rename_slots(HnswFound *found, uint32_t (*as) (void *arg, uint32_t slot), void *arg)
{
	for (uint32_t i = 0; i < found->nlinks; i++)
		found->links[i].slot = as(arg, found->links[i].slot);
	for (uint32_t i = 0; i < found->ndropped; i++)
		found->dropped[i] = as(arg, found->dropped[i]);
	if (found->twin != HNSW_NO_SLOT)
		found->twin = as(arg, found->twin);
}

static uint32_t
as_label(void *arg, uint32_t slot)
{
	return (uint32_t) hnsw_label(arg, slot);
}

static void
write_down(void *arg, uint32_t slot, const HnswFound *found)
{
	Book	   *book = arg;
	uint64_t	label = hnsw_label(book->h, slot);

	copy(&book->found[label], found);
	rename_slots(&book->found[label], as_label, book->h);
	book->has[label] = true;
}

static void
book_free(Book *book)
{
	for (uint32_t i = 0; i < N; i++)
		hnsw_found_free(&book->found[i]);
	free(book);
}

/* -- A reader ------------------------------------------------------------------- */

typedef struct Reader
{
	const Book *book;
	Hnsw	   *h;
	uint32_t	slot_of[N];		/* HNSW_NO_SLOT: not here */
} Reader;

static uint32_t
as_slot(void *arg, uint32_t label)
{
	return ((Reader *) arg)->slot_of[label];
}

static HnswAdvice
look_up(void *arg, uint32_t slot)
{
	const Reader *reader = arg;

	return reader->book->has[hnsw_label(reader->h, slot)] ? HNSW_FOUND : HNSW_ALONE;
}

static bool
read_out(void *arg, uint32_t slot, HnswFound *found)
{
	Reader	   *reader = arg;

	copy(found, &reader->book->found[hnsw_label(reader->h, slot)]);
	rename_slots(found, as_slot, reader);
	return true;
}

static Reader *
reader_new(const Book *book, Hnsw *h)
{
	Reader	   *reader = calloc(1, sizeof(*reader));

	assert_non_null(reader);
	reader->book = book;
	reader->h = h;
	memset(reader->slot_of, 0xff, sizeof(reader->slot_of));
	return reader;
}

static void
read_all(Reader *reader)
{
	HnswHelp	help = {.ask = look_up, .find = read_out, .arg = reader};

	while (hnsw_link_next_with(reader->h, &help) == HNSW_LINKED)
		;
}

/* -- Given ------------------------------------------------------------------------ */

static Hnsw *
graph_of(size_t kind)
{
	HnswOptions options = {
		.dim = DIM, .metric = graph_kinds[kind].metric, .m = 12, .ef_construction = 80, .codes = graph_kinds[kind].codes,
		.element = graph_kinds[kind].element, .seed = 7
	};
	Hnsw	   *h;
	VtError		err;

	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	return h;
}

static Book *
written(Hnsw *h, const float *rows)
{
	Book	   *book = calloc(1, sizeof(*book));
	HnswHelp	help = {.found = write_down, .arg = book};

	assert_non_null(book);
	book->h = h;
	for (uint32_t i = 0; i < N; i++)
		add(h, i, rows + (size_t) i * DIM);
	while (hnsw_link_next_with(h, &help) == HNSW_LINKED)
		;
	return book;
}

/* -- Then -------------------------------------------------------------------------- */

/* What a list remembers as chosen together would be chosen together (choose.c). */
static void
assert_lists_agree(Hnsw *h)
{
	uint32_t	guard = hnsw_enter(h);
	Ctx		   *ctx = ctx_take(h);
	uint32_t	n = 0;

	for (uint32_t slot = 0; slot < atomic_load(&h->used); slot++)
	{
		const Meta *meta = graph_meta(h, slot);
		uint32_t	list[2 * HNSW_MAX_M];
		uint32_t	chosen[2 * HNSW_MAX_M];

		if (atomic_load(&meta->state) != SLOT_LINKED)
			continue;
		assert_true(meta->agreed <= graph_copy_links(h, slot, 0, list));
		assert_int_equal(choose_near(h, ctx, slot, list, meta->agreed, h->m0, chosen, 0), meta->agreed);
		n += meta->agreed > 1;
	}
	assert_true(n > 0);
	ctx_give(h, ctx);
	hnsw_leave(h, guard);
}

/* Told everything, in an order of its own, a graph comes out as good. */
static void
it_is_as_good(void **state)
{
	(void) state;
	for (size_t kind = 0; kind < GRAPH_KINDS; kind++)
	{
		float	   *rows = clustered(1, N);
		Hnsw	   *first = graph_of(kind);
		Hnsw	   *second = graph_of(kind);
		Book	   *book;
		Reader	   *reader;
		Prng		prng = {kind + 1};
		HnswStats	a;
		HnswStats	b;
		uint32_t	order[N];

		if (graph_kinds[kind].element == VEC_FLOAT16)
			round_to_halves(rows, N);
		for (uint32_t i = 0; i < N / 50; i++)	/* equal ones become twins */
			memcpy(rows + (size_t) (50 * i + 49) * DIM, rows + (size_t) (50 * i) * DIM, sizeof(float) * DIM);
		book = written(first, rows);
		reader = reader_new(book, second);
		for (uint32_t i = 0; i < N; i++)
			order[i] = i;
		for (uint32_t i = 0; i + 8 < N; i++)
		{
			uint32_t	other = i + prng_below(&prng, 8);
			uint32_t	label = order[i];

			order[i] = order[other];
			order[other] = label;
		}
		for (uint32_t i = 0; i < N; i++)
			reader->slot_of[order[i]] = add(second, order[i], rows + (size_t) order[i] * DIM);
		read_all(reader);

		assert_sound(second);
		assert_lists_agree(second);
		hnsw_stats(first, &a);
		hnsw_stats(second, &b);
		assert_int_equal(a.found, 0);
		assert_true(b.found > N * 8 / 10);
		assert_true(b.link_distances < a.link_distances / 3);
		if (graph_kinds[kind].codes != HNSW_CODES_INT8_ONLY)
			assert_true(recall(second, graph_kinds[kind].metric, rows, N, NULL, 40) >
						recall(first, graph_kinds[kind].metric, rows, N, NULL, 40) - 0.02);
		free(reader);
		book_free(book);
		hnsw_destroy(first);
		hnsw_destroy(second);
		free(rows);
	}
}

/* Where others are here than there: what is not here is no neighbour, and too few are none. */
static void
others_are_here(void **state)
{
	float	   *rows = clustered(2, N);
	uint8_t    *gone = calloc(N, 1);
	Hnsw	   *first = graph_of(0);
	Hnsw	   *second = graph_of(0);
	Book	   *book = written(first, rows);
	Reader	   *reader = reader_new(book, second);
	HnswStats	stats;

	(void) state;
	for (uint32_t i = 0; i < N; i++)
		if (i % 3 == 0)
			gone[i] = 1;
		else
			reader->slot_of[i] = add(second, i, rows + (size_t) i * DIM);
	read_all(reader);
	assert_sound(second);
	hnsw_stats(second, &stats);
	assert_in_range(stats.found, N / 3, N * 2 / 3 - 1);
	assert_true(recall(second, VEC_L2, rows, N, gone, 40) > 0.95);

	/* Of what has died here nothing is led to by what is told later. */
	for (uint32_t i = 1; i < N; i += 3)
	{
		gone[i] = 1;
		assert_true(hnsw_delete(second, reader->slot_of[i]));
	}
	for (uint32_t i = 0; i < N; i += 3)
	{
		gone[i] = 0;
		reader->slot_of[i] = add(second, i, rows + (size_t) i * DIM);
	}
	read_all(reader);
	while (hnsw_repair(second, 1000, true))
		;
	assert_sound(second);
	assert_true(recall(second, VEC_L2, rows, N, gone, 40) > 0.95);
	free(reader);
	book_free(book);
	hnsw_destroy(first);
	hnsw_destroy(second);
	free(gone);
	free(rows);
}

/* -- Lies ---------------------------------------------------------------------------- */

typedef struct Liar
{
	Hnsw	   *h;
	_Atomic(uint64_t) turns;
} Liar;

static HnswAdvice
always(void *arg, uint32_t slot)
{
	(void) arg;
	(void) slot;
	return HNSW_FOUND;
}

/* Anything: slots that are none, itself, the dead, the same twice, levels it has not, all dropped. */
static bool
lie(void *arg, uint32_t slot, HnswFound *found)
{
	Liar	   *liar = arg;
	Prng		prng = {atomic_fetch_add(&liar->turns, 1) + 1};
	uint32_t	used = atomic_load(&liar->h->used) + 3;

	if (prng_below(&prng, 20) == 0)
	{
		found->twin = prng_below(&prng, used);
		return true;
	}
	for (uint32_t lists = prng_below(&prng, HNSW_LISTS_MAX + 1); lists > 0; lists--)
	{
		hnsw_found_list(found);
		for (uint32_t i = prng_below(&prng, 30); i > 0; i--)
		{
			uint32_t	kind = prng_below(&prng, 10);

			hnsw_found_link(found, kind == 0 ? slot : kind == 1 ? HNSW_NO_SLOT : kind == 2 ? 7 : prng_below(&prng, used),
							prng_below(&prng, 2) == 0);
			for (uint32_t j = prng_below(&prng, 6); j > 0; j--)
				hnsw_found_drop(found, prng_below(&prng, used));
		}
	}
	return prng_below(&prng, 10) != 0;
}

/* All is there, and a walk comes to it, once what none came to was linked again. */
static void
assert_whole(Owner *owner, const float *rows, uint32_t labels)
{
	HnswReport	report;

	hnsw_look_over(owner->h);
	while (hnsw_repair(owner->h, 1000, true))
		;
	if (!hnsw_check(owner->h, &report))
		fail_msg("%s", report.first);
	assert_int_equal(report.unreachable, 0);
	assert_all_there(owner, rows, DIM, labels);
}

static void
lies_make_no_holes(void **state)
{
	float	   *rows = clustered(3, N);
	Owner	   *owner = owner_new(DIM, 8, HNSW_CODES_NONE);
	Liar		liar = {.h = owner->h};
	HnswHelp	help = {.ask = always, .find = lie, .arg = &liar};
	HnswStats	stats;

	(void) state;
	for (uint32_t i = 0; i < N; i++)
	{
		put(owner, i, i, rows + (size_t) i * DIM);
		if (i >= 10 && i % 3 == 0)
			drop(owner, i - 10);
		(void) hnsw_link_next_with(owner->h, &help);
		(void) hnsw_repair(owner->h, 20, false);
	}
	hnsw_stats(owner->h, &stats);
	assert_true(stats.found > N / 4);
	assert_whole(owner, rows, N);
	owner_free(owner);
	free(rows);
}

/* -- Waiting ---------------------------------------------------------------------------- */

typedef struct Patience
{
	uint32_t	slot;			/* for which it waits */
	uint32_t	asked;
} Patience;

static HnswAdvice
wait_for_one(void *arg, uint32_t slot)
{
	Patience   *patience = arg;

	patience->asked++;
	return slot == patience->slot ? HNSW_WAIT : HNSW_ALONE;
}

/* One that is waited for keeps its turn, and those behind it theirs; what has died is not asked for. */
static void
one_that_is_waited_for(void **state)
{
	float	   *rows = clustered(4, 20);
	Hnsw	   *h = graph_of(0);
	Patience	patience = {0};
	HnswHelp	help = {.ask = wait_for_one, .arg = &patience};
	uint32_t	slots[20];
	HnswStats	stats;
	HnswHit		hit;

	(void) state;
	assert_int_equal(hnsw_oldest_waiting(h), HNSW_NO_SLOT);
	assert_int_equal(hnsw_link_next_with(h, &help), HNSW_NONE_WAITS);
	for (uint32_t i = 0; i < 20; i++)
		slots[i] = add(h, i, rows + (size_t) i * DIM);
	patience.slot = slots[5];
	for (int i = 0; i < 5; i++)
	{
		assert_int_equal(hnsw_oldest_waiting(h), slots[i]);
		assert_int_equal(hnsw_link_next_with(h, &help), HNSW_LINKED);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(hnsw_link_next_with(h, &help), HNSW_LEFT);
	assert_int_equal(hnsw_oldest_waiting(h), slots[5]);
	hnsw_stats(h, &stats);
	assert_int_equal(stats.waiting, 15);
	assert_int_equal(search(h, rows + 5 * DIM, 1, 20, &hit), 1);
	assert_int_equal(hit.slot, slots[5]);

	patience.asked = 0;
	assert_true(hnsw_delete(h, slots[5]));
	assert_int_equal(hnsw_link_next_with(h, &help), HNSW_LINKED);
	assert_int_equal(patience.asked, 0);
	while (hnsw_link_next_with(h, &help) == HNSW_LINKED)
		;
	assert_int_equal(hnsw_oldest_waiting(h), HNSW_NO_SLOT);
	assert_sound(h);
	hnsw_destroy(h);
	free(rows);
}

/* -- At once ------------------------------------------------------------------------------ */

typedef struct Crowd
{
	Owner	   *owner;
	const float *rows;
	Liar		liar;
	atomic_bool over;
} Crowd;

/* Two of these: by lies, by themselves, and telling what they find. */
static void
forget(void *arg, uint32_t slot, const HnswFound *found)
{
	(void) arg;
	(void) slot;
	assert_true(found->nlists > 0 || found->twin != HNSW_NO_SLOT);
}

static void *
link_always(void *arg)
{
	Crowd	   *crowd = arg;
	HnswHelp	lies = {.ask = always, .find = lie, .found = forget, .arg = &crowd->liar};

	while (!atomic_load(&crowd->over))
		if (hnsw_link_next_with(crowd->owner->h, &lies) == HNSW_NONE_WAITS)
			sched_yield();
	return NULL;
}

static void *
mend_always(void *arg)
{
	Crowd	   *crowd = arg;

	while (!atomic_load(&crowd->over))
		if (!hnsw_repair(crowd->owner->h, 100, true))
			sched_yield();
	return NULL;
}

static void
all_at_once(void **state)
{
	float	   *rows = clustered(6, LABELS);
	Crowd		crowd = {.owner = owner_new(DIM, 8, HNSW_CODES_INT8), .rows = rows};
	pthread_t	threads[3];
	Prng		prng = {6};

	(void) state;
	crowd.liar.h = crowd.owner->h;
	assert_int_equal(pthread_create(&threads[0], NULL, link_always, &crowd), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, link_always, &crowd), 0);
	assert_int_equal(pthread_create(&threads[2], NULL, mend_always, &crowd), 0);
	for (uint32_t turn = 0; turn < 3 * LABELS; turn++)
	{
		uint32_t	label = prng_below(&prng, LABELS);
		uint32_t	row = prng_below(&prng, LABELS);
		HnswHit		hits[3];

		if (turn % 3 == 0 && crowd.owner->slot_of[label] != NOWHERE)
			drop(crowd.owner, label);
		else
			put(crowd.owner, label, row, rows + (size_t) row * DIM);
		if (turn % 10 == 0)
			(void) search(crowd.owner->h, rows + (size_t) label * DIM, 3, 30, hits);
	}
	atomic_store(&crowd.over, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	link_all(crowd.owner->h);
	assert_whole(crowd.owner, rows, LABELS);
	owner_free(crowd.owner);
	free(rows);
}

/* -- Two at each ------------------------------------------------------------------------- */

/* Rows in the order of a walk: who comes next is the nearest, and is linked at the same time. */
static float *
walked(uint32_t n)
{
	Prng		prng = {11};
	float	   *rows = malloc((size_t) n * DIM * sizeof(float));

	assert_non_null(rows);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < DIM; j++)
			rows[i * DIM + j] = (i > 0 ? rows[(i - 1) * DIM + j] : 0) + (float) (prng_double(&prng) - 0.5);
	return rows;
}

typedef struct Pair
{
	Hnsw	   *h;
	HnswHelp	help;
} Pair;

static void *
link_with(void *arg)
{
	Pair	   *pair = arg;

	while (hnsw_link_next_with(pair->h, &pair->help) == HNSW_LINKED)
		;
	return NULL;
}

static void
by_two(Hnsw *h, HnswHelp help)
{
	Pair		pair = {.h = h, .help = help};
	pthread_t	threads[2];

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, link_with, &pair), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

/* Links on the ground between each row and those that came before and after it. */
static uint32_t
links_along(Hnsw *h)
{
	uint32_t	along = 0;

	for (uint32_t slot = 0; slot < N; slot++)
	{
		uint32_t	list[2 * HNSW_MAX_M];
		uint32_t	n = graph_copy_links(h, slot, 0, list);
		uint64_t	label = hnsw_label(h, slot);

		for (uint32_t i = 0; i < n; i++)
			along += hnsw_label(h, list[i]) + 1 == label || hnsw_label(h, list[i]) == label + 1;
	}
	return along;
}

/* What was linked at the same time there is linked to each other here, too. */
static void
side_by_side(void **state)
{
	float	   *rows = walked(N);
	Hnsw	   *first = graph_of(0);
	Hnsw	   *second = graph_of(0);
	Book	   *book = calloc(1, sizeof(*book));
	Reader	   *reader = reader_new(book, second);

	(void) state;
	assert_non_null(book);
	book->h = first;
	for (uint32_t i = 0; i < N; i++)
	{
		add(first, i, rows + (size_t) i * DIM);
		reader->slot_of[i] = add(second, i, rows + (size_t) i * DIM);
	}
	by_two(first, (HnswHelp) {.found = write_down, .arg = book});
	by_two(second, (HnswHelp) {.ask = look_up, .find = read_out, .arg = reader});
	assert_sound(first);
	assert_sound(second);
	assert_true(links_along(first) * 100 >= 2 * (N - 1) * 95);
	assert_true(links_along(second) * 100 >= links_along(first) * 96);
	free(reader);
	book_free(book);
	hnsw_destroy(first);
	hnsw_destroy(second);
	free(rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_as_good),
		cmocka_unit_test(others_are_here),
		cmocka_unit_test(lies_make_no_holes),
		cmocka_unit_test(one_that_is_waited_for),
		cmocka_unit_test(all_at_once),
		cmocka_unit_test(side_by_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
