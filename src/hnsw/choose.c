/*-------------------------------------------------------------------------
 *
 * choose.c
 *	  Which of some candidates a node is linked to.
 *
 * The rule (algorithm 4 of the paper, with Vamana's factor): nearest first, a
 * candidate is taken unless a chosen one is nearer to it than the node is, by a
 * factor.  Without the factor lists stay half empty, and walks take more hops.
 *
 * What was chosen together agrees: none of it keeps another out, which is so for each pair by itself
 * and stays so when some of them go.  A list on the ground remembers how many of its
 * first links agree (Meta.agreed).  When it chooses anew, those need not be compared with each other, only with the
 * ones that came since: the outcome is the same, for half the distances.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

/* The factor: of squared distances, and of others. */
#define NEARER 1.1f
#define NEARER_L1 1.05f

static inline bool
comes_before(const Candidate *a, const Candidate *b)
{
	return a->score != b->score ? a->score < b->score : a->slot < b->slot;
}

static int
compare_candidates(const void *pa, const void *pb)
{
	return comes_before(pa, pb) ? -1 : comes_before(pb, pa);
}

void
choose_sort(Candidate *candidates, uint32_t n)
{
	/* Short and often nearly sorted. */
	if (n > 64)
	{
		qsort(candidates, n, sizeof(Candidate), compare_candidates);
		return;
	}
	for (uint32_t i = 1; i < n; i++)
	{
		Candidate	c = candidates[i];
		uint32_t	j = i;

		for (; j > 0 && compare_candidates(&c, &candidates[j - 1]) < 0; j--)
			candidates[j] = candidates[j - 1];
		candidates[j] = c;
	}
}

/* A chosen one whose score to a candidate is below this keeps the candidate out. */
static float
keeps_out_below(const Hnsw *h, float score)
{
	switch (h->opt.metric)
	{
		case VEC_L2:
			return score > 0 ? score / NEARER : score;
		case VEC_COSINE:
			return score > -1 ? (score + 1) / NEARER - 1 : score;
		case VEC_L1:
		case VEC_JACCARD:
			return score / NEARER_L1;
		case VEC_HAMMING:
			return score / NEARER;	/* the squared distance of the corners of a cube */
		case VEC_IP:
			break;
	}
	return score;
}

/* Does one of these rows keep out the candidate that ctx->pair is of? */
static bool
keeps_out(Hnsw *h, Ctx *ctx, const uint32_t *slots, const uint8_t *const *rows, uint32_t n, float below)
{
	float		scores[8];

	for (uint32_t at = 0; at < n; at += 8)
	{
		uint32_t	some = n - at < 8 ? n - at : 8;
		bool		out = false;

		query_score(h, &ctx->pair, slots + at, rows + at, some, scores);
		ctx->distances += some;
		for (uint32_t j = 0; j < some; j++)
			out |= scores[j] < below;
		if (out)
			return true;
	}
	return false;
}

/* What is chosen so far, and its rows. */
typedef struct Chosen
{
	uint32_t   *slots;
	const uint8_t *rows[2 * HNSW_MAX_M];
	uint32_t	n;
} Chosen;

/* The next one in their order: it is taken, or kept out. */
static void
consider(Hnsw *h, Ctx *ctx, Chosen *chosen, Candidate c)
{
	if (chosen->n > 0)
		query_set_slot(h, &ctx->pair, c.slot);
	if (keeps_out(h, ctx, chosen->slots, chosen->rows, chosen->n, keeps_out_below(h, c.score)))
		return;
	chosen->rows[chosen->n] = graph_row(h, c.slot);
	chosen->slots[chosen->n++] = c.slot;
}

uint32_t
choose_links(Hnsw *h, Ctx *ctx, const Candidate *candidates, uint32_t n, uint32_t limit,
			 uint32_t *out)
{
	Chosen		chosen = {.slots = out};

	for (uint32_t i = 0; i < n && chosen.n < limit; i++)
		consider(h, ctx, &chosen, candidates[i]);
	return chosen.n;
}

/* A heap, the first of the order on top: its place `at` is the only one that may be wrong. */
static void
sink(Candidate *heap, uint32_t n, uint32_t at)
{
	Candidate	c = heap[at];

	for (uint32_t child; (child = 2 * at + 1) < n; at = child)
	{
		if (child + 1 < n && comes_before(&heap[child + 1], &heap[child]))
			child++;
		if (!comes_before(&heap[child], &c))
			break;
		heap[at] = heap[child];
	}
	heap[at] = c;
}

/* How near these are to the node `from`, in their order. */
static Candidate *
measure(Hnsw *h, Ctx *ctx, uint32_t from, const uint32_t *slots, uint32_t n)
{
	Candidate  *candidates = ctx_candidates(ctx, n);
	const uint8_t *rows[64];
	float		scores[64];

	query_set_slot(h, &ctx->pair, from);
	for (uint32_t at = 0; at < n; at += 64)
	{
		uint32_t	some = n - at < 64 ? n - at : 64;

		for (uint32_t i = 0; i < some; i++)
			rows[i] = graph_row(h, slots[at + i]);
		query_score(h, &ctx->pair, slots + at, rows, some, scores);
		for (uint32_t i = 0; i < some; i++)
		{
			candidates[at + i].score = scores[i];
			candidates[at + i].slot = slots[at + i];
		}
	}
	ctx->distances += n;
	return candidates;
}

uint32_t
choose_near(Hnsw *h, Ctx *ctx, uint32_t from, const uint32_t *slots, uint32_t n,
			uint32_t limit, uint32_t *out, uint32_t chosen)
{
	Candidate  *heap = measure(h, ctx, from, slots, n);
	Chosen		all = {.slots = out, .n = chosen};

	for (uint32_t i = 0; i < chosen; i++)
		all.rows[i] = graph_row(h, out[i]);

	/* There may be hundreds, and all places are mostly taken long before the last one's turn. */
	for (uint32_t i = n / 2; i-- > 0;)
		sink(heap, n, i);
	while (n > 0 && all.n < limit)
	{
		Candidate	c = heap[0];

		heap[0] = heap[--n];
		sink(heap, n, 0);
		consider(h, ctx, &all, c);
	}
	return all.n;
}

uint32_t
choose_again(Hnsw *h, Ctx *ctx, uint32_t from, const uint32_t *slots, uint32_t n, uint32_t agreed,
			 uint32_t limit, uint32_t *out)
{
	Candidate  *old = measure(h, ctx, from, slots, n);
	Candidate  *new = old + agreed;
	uint32_t	nnew = n - agreed;
	uint32_t	chosen[2][2 * HNSW_MAX_M + 1];	/* of the old, and of the new */
	const uint8_t *rows[2][2 * HNSW_MAX_M + 1];
	uint32_t	nchosen[2] = {0};
	uint32_t	total = 0;

	choose_sort(old, agreed);
	choose_sort(new, nnew);
	for (uint32_t at[2] = {0}; at[0] + at[1] < n && total < limit;)
	{
		bool		is_new = at[0] == agreed || (at[1] < nnew && compare_candidates(&new[at[1]], &old[at[0]]) < 0);
		const Candidate *c = is_new ? &new[at[1]] : &old[at[0]];
		float		below = keeps_out_below(h, c->score);

		at[is_new]++;
		if (nchosen[1] > 0 || (is_new && nchosen[0] > 0))
			query_set_slot(h, &ctx->pair, c->slot);
		if (keeps_out(h, ctx, chosen[1], rows[1], nchosen[1], below) ||
			(is_new && keeps_out(h, ctx, chosen[0], rows[0], nchosen[0], below)))
			continue;
		rows[is_new][nchosen[is_new]] = graph_row(h, c->slot);
		chosen[is_new][nchosen[is_new]++] = c->slot;
		out[total++] = c->slot;
	}
	return total;
}
