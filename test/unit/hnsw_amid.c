/*-------------------------------------------------------------------------
 *
 * hnsw_amid.c
 *	  A graph's file that is written while nodes are moved, or come: after a start all are led
 *	  to as they were.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_owner.h"

#include <stdio.h>

#include "hnsw/file.h"
#include "hnsw/graph.h"
#include "scratch.h"

static bool
note_label(void *arg, uint32_t slot, Buf *out)
{
	const Owner *owner = arg;
	uint64_t	label = hnsw_label(owner->h, slot);

	buf_put_u64(out, label);
	return owner->slot_of[label] == slot;
}

typedef struct Told
{
	uint32_t	slots[LABELS];
	uint64_t	labels[LABELS];
	uint32_t	n;
} Told;

static bool
tell_label(void *arg, uint32_t slot, uint64_t label, Bytes text)
{
	Told	   *told = arg;

	(void) text;
	told->slots[told->n] = slot;
	told->labels[told->n++] = label;
	return true;
}

/* Nodes that hardly anybody links to. */
static uint32_t
lonely(const Hnsw *h)
{
	uint32_t	used = atomic_load(&h->used);
	uint32_t   *led = calloc(used, sizeof(uint32_t));
	uint32_t	list[2 * HNSW_MAX_M];
	uint32_t	n = 0;

	for (uint32_t slot = 0; slot < used; slot++)
		if (atomic_load(&graph_meta(h, slot)->state) == SLOT_LINKED)
			for (uint32_t i = graph_copy_links(h, slot, 0, list); i-- > 0;)
				led[list[i]]++;
	for (uint32_t slot = 0; slot < used; slot++)
		n += atomic_load(&graph_meta(h, slot)->state) == SLOT_LINKED && graph_fate(h, slot) == FATE_LIVE && led[slot] < 4;
	free(led);
	return n;
}

/* The graph as it comes out of a file that is written now, mended; how many of its nodes are lonely. */
static uint32_t
lonely_from_file(Owner *owner, const float *rows)
{
	HnswSave	save = {.path = scratch_path("graph"), .tag = bytes_str("mine"), .note = note_label, .arg = owner};
	Told	   *told = calloc(1, sizeof(*told));
	HnswLoad	load = {.path = save.path, .tag = save.tag, .each = tell_label, .arg = told};
	HnswOptions options = owner->h->opt;
	uint32_t	n;
	Hnsw	   *h;
	VtError		err;

	options.move = NULL;
	assert_int_equal(hnsw_save(owner->h, &save, &err), VT_OK);
	assert_int_equal(hnsw_load(&options, &load, &h, &err), VT_OK);
	for (uint32_t i = 0; i < told->n; i++)
		hnsw_restore(h, told->slots[i], rows + told->labels[i] * DIM);
	hnsw_loaded(h);
	link_all(h);
	while (hnsw_repair(h, 1000, true))
		;
	assert_sound(h);
	n = lonely(h);
	hnsw_destroy(h);
	free(told);
	return n;
}

/* A file may be written at any moment of it: who was moved is led to as before. */
static void
amid_moves(void **state)
{
	enum {N = 4000, STAY = 2800};
	float	   *rows = clustered(3, N);
	Owner	   *owner = owner_new(DIM, 8, HNSW_CODES_INT8);
	uint32_t	before;
	uint32_t	saves = 0;
	HnswStats	stats;

	(void) state;
	for (uint32_t i = 0; i < N; i++)
		put(owner, i, i, rows + (size_t) i * DIM);
	link_all(owner->h);
	for (uint32_t i = 0; i < N - STAY; i++)
		drop(owner, i);
	hnsw_stats(owner->h, &stats);
	while (stats.moved == 0 && hnsw_repair(owner->h, 10, false))
		hnsw_stats(owner->h, &stats);
	before = lonely_from_file(owner, rows);
	while (hnsw_repair(owner->h, 10, false))
	{
		saves++;
		if (saves % 8 == 0)
			assert_in_range(lonely_from_file(owner, rows), 0, before + STAY / 50);
	}
	hnsw_stats(owner->h, &stats);
	assert_in_range(stats.moved, 100, N);
	assert_in_range(saves, 40, UINT32_MAX);
	owner_free(owner);
	free(rows);
}

/* -- While nodes come ---------------------------------------------------------- */

#define FIRST (FILE_BLOCK_SLOTS + 16)	/* of those that go, and others come in their places */
#define ALL (FIRST + 800)

typedef struct Grown
{
	Hnsw	   *h;
	const float *rows;			/* of the label modulo ALL */
	bool		has_grown;
	uint8_t		told[2 * ALL];	/* labels that the file has */
	uint32_t	slots[2 * ALL];
} Grown;

static void
add_label(Hnsw *h, const float *rows, uint32_t label)
{
	uint32_t	slot;
	VtError		err;

	assert_int_equal(hnsw_reserve(h, &slot, &err), VT_OK);
	hnsw_add(h, slot, label, rows + (size_t) (label % ALL) * DIM);
	link_all(h);
}

/* When the first block has been copied, others come into free places that the second one has. */
static bool
grow(void *arg, size_t bytes)
{
	Grown	   *g = arg;

	(void) bytes;
	for (uint32_t label = ALL + FIRST; label < 2 * ALL && !g->has_grown; label++)
		add_label(g->h, g->rows, label);
	g->has_grown = true;
	return true;
}

static bool
note_any(void *arg, uint32_t slot, Buf *out)
{
	buf_put_u64(out, hnsw_label(((Grown *) arg)->h, slot));
	return true;
}

static bool
tell_any(void *arg, uint32_t slot, uint64_t label, Bytes text)
{
	Grown	   *g = arg;

	(void) text;
	g->told[label] = 1;
	g->slots[label] = slot;
	return true;
}

static void
amid_growth(void **state)
{
	Grown	   *g = calloc(1, sizeof(*g));
	HnswOptions options = {.dim = DIM, .metric = VEC_L2, .m = 6, .ef_construction = 30, .codes = HNSW_CODES_INT8, .seed = 7};
	HnswSave	save = {.path = scratch_path("graph"), .tag = bytes_str("mine"), .note = note_any, .pace = grow, .arg = g};
	HnswLoad	load = {.path = save.path, .tag = save.tag, .each = tell_any, .arg = g};
	float	   *rows = clustered(3, ALL);
	uint32_t	before;
	VtError		err;

	(void) state;
	g->rows = rows;
	assert_int_equal(hnsw_create(&options, &g->h, &err), VT_OK);
	for (uint32_t label = 0; label < ALL; label++)
		add_label(g->h, rows, label);
	before = lonely(g->h);
	for (uint32_t slot = FIRST; slot < ALL; slot++)
		assert_true(hnsw_delete(g->h, slot));
	while (hnsw_repair(g->h, 1000, true))
		;
	assert_int_equal(hnsw_save(g->h, &save, &err), VT_OK);
	assert_true(g->has_grown);
	hnsw_destroy(g->h);

	assert_int_equal(hnsw_load(&options, &load, &g->h, &err), VT_OK);
	for (uint32_t label = 0; label < 2 * ALL; label++)
		if (g->told[label])
			hnsw_restore(g->h, g->slots[label], rows + (size_t) (label % ALL) * DIM);
	hnsw_loaded(g->h);
	for (uint32_t label = ALL + FIRST; label < 2 * ALL; label++)
		if (!g->told[label])
			add_label(g->h, rows, label);
	assert_in_range(lonely(g->h), 0, before + before / 4 + 40);
	hnsw_destroy(g->h);
	free(rows);
	free(g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(amid_moves, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(amid_growth, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("hnsw_amid", tests, NULL, NULL);
}
