/*-------------------------------------------------------------------------
 *
 * hnsw_choose.c
 *	  A list that chooses anew and remembers what agreed before chooses what it
 *	  would without remembering.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

#include "hnsw/ctx.h"

#define N 1500
#define M 6

static Hnsw *
given(size_t kind)
{
	HnswOptions options = {
		.dim = DIM, .metric = graph_kinds[kind].metric, .m = M, .ef_construction = 40, .codes = graph_kinds[kind].codes,
		.element = graph_kinds[kind].element, .seed = 7
	};
	Hnsw	   *h;
	VtError		err;

	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	return h;
}

/* Nodes whose lists remember something; each is asked with a newcomer. */
static uint32_t
lists_agree(Hnsw *h, Prng *prng)
{
	uint32_t	used = atomic_load(&h->used);
	uint32_t	guard = hnsw_enter(h);
	Ctx		   *ctx = ctx_take(h);
	uint32_t	n = 0;

	for (uint32_t slot = 0; slot < used; slot++)
	{
		const Meta *meta = graph_meta(h, slot);
		uint32_t	list[2 * M + 1];
		uint32_t	quick[2 * M];
		uint32_t	slow[2 * M];
		uint32_t	len = graph_copy_links(h, slot, 0, list);
		uint32_t	newcomer = prng_below(prng, used);
		bool		known = newcomer == slot || atomic_load(&graph_meta(h, newcomer)->state) != SLOT_LINKED;
		uint32_t	got;

		if (atomic_load(&meta->state) != SLOT_LINKED)
			continue;
		assert_true(meta->agreed <= len);
		n += meta->agreed > 1;
		for (uint32_t i = 0; i < len; i++)
			known |= list[i] == newcomer;
		if (!known)
			list[len++] = newcomer;
		got = choose_again(h, ctx, slot, list, len, meta->agreed, 2 * M, quick);
		assert_int_equal(choose_near(h, ctx, slot, list, len, 2 * M, slow, 0), got);
		assert_memory_equal(quick, slow, sizeof(uint32_t) * got);

		/* All that agreed is still chosen while nobody new comes. */
		assert_int_equal(choose_near(h, ctx, slot, list, meta->agreed, 2 * M, slow, 0), meta->agreed);
	}
	ctx_give(h, ctx);
	hnsw_leave(h, guard);
	return n;
}

/* Built, half of it deleted and mended around, and filled up again. */
static void
remembering_changes_nothing(void **state)
{
	(void) state;
	for (size_t kind = 0; kind < GRAPH_KINDS; kind++)
	{
		float	   *rows = clustered(1, 2 * N);
		Prng		prng = {kind + 1};
		Hnsw	   *h = given(kind);

		for (uint32_t i = 0; i < N; i++)
		{
			add(h, i, rows + (size_t) i * DIM);
			hnsw_link_next(h);
		}
		assert_true(lists_agree(h, &prng) > N / 2);
		for (uint32_t i = 0; i < N; i += 2)
			hnsw_delete(h, i);
		while (hnsw_repair(h, 500, true))
			;
		assert_true(lists_agree(h, &prng) > N / 8);
		for (uint32_t i = N; i < 2 * N; i++)
		{
			add(h, i, rows + (size_t) i * DIM);
			hnsw_link_next(h);
		}
		assert_true(lists_agree(h, &prng) > N / 2);
		hnsw_destroy(h);
		free(rows);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(remembering_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
