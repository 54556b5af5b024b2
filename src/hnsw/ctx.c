/*-------------------------------------------------------------------------
 *
 * ctx.c
 *	  Scratch memory of walks: taken for a search, given back after it.
 *
 * Contexts lie in a few places of the graph, taken and put back by one atomic
 * exchange; more searches at once than places make their own.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/ctx.h"

static uint32_t
first_place(void)
{
	static _Thread_local char here;

	return (uint32_t) (((uintptr_t) &here >> 6) * 0x9e3779b9u) >> 20;
}

Ctx *
ctx_take(Hnsw *h)
{
	uint32_t	first = first_place();
	Ctx		   *ctx;

	for (uint32_t i = 0; i < CTX_PLACES; i++)
	{
		_Atomic(Ctx *) *place = &h->ctx[(first + i) % CTX_PLACES];

		if (atomic_load_explicit(place, memory_order_relaxed) == NULL)
			continue;
		ctx = atomic_exchange_explicit(place, NULL, memory_order_acq_rel);
		if (ctx)
		{
			ctx->distances = 0;
			ctx->hops = 0;
			return ctx;
		}
	}
	ctx = vt_alloc0(sizeof(Ctx));
	query_init(h, &ctx->query);
	query_init(h, &ctx->pair);
	return ctx;
}

void
ctx_give(Hnsw *h, Ctx *ctx)
{
	uint32_t	first = first_place();

	for (uint32_t i = 0; i < CTX_PLACES; i++)
	{
		Ctx		   *none = NULL;

		if (atomic_compare_exchange_strong_explicit(&h->ctx[(first + i) % CTX_PLACES], &none, ctx,
													memory_order_acq_rel, memory_order_relaxed))
			return;
	}
	ctx_free(ctx);
}

void
ctx_free(Ctx *ctx)
{
	if (ctx == NULL)
		return;
	query_free(&ctx->query);
	query_free(&ctx->pair);
	visited_free(&ctx->visited);
	visited_free(&ctx->refused);
	free(ctx->pool.e);
	free(ctx->candidates);
	free(ctx->hits);
	hnsw_found_free(&ctx->found);
	free(ctx);
}

Candidate *
ctx_candidates(Ctx *ctx, uint32_t n)
{
	if (n > ctx->ncandidates_room)
	{
		ctx->ncandidates_room = n + n / 2;
		ctx->candidates = vt_realloc(ctx->candidates, sizeof(Candidate) * ctx->ncandidates_room);
	}
	return ctx->candidates;
}

HnswHit *
ctx_hits(Ctx *ctx, uint32_t n)
{
	if (n > ctx->hits_room)
	{
		ctx->hits_room = n + n / 2;
		ctx->hits = vt_realloc(ctx->hits, sizeof(HnswHit) * ctx->hits_room);
	}
	return ctx->hits;
}

void
visited_begin(Visited *v, uint32_t n)
{
	size_t		words = ((size_t) n + 63) / 64;

	if (words > v->words)
	{
		words += words / 4;
		free(v->bits);
		free(v->tags);
		v->bits = vt_alloc(sizeof(uint64_t) * words);
		v->tags = vt_alloc0(sizeof(uint16_t) * words);
		v->words = words;
		v->tag = 0;
	}
	if (++v->tag == 0)
	{
		memset(v->tags, 0, sizeof(uint16_t) * v->words);
		v->tag = 1;
	}
}

void
visited_grow(Visited *v, size_t word)
{
	size_t		words = word + 1 + word / 4;

	v->bits = vt_realloc(v->bits, sizeof(uint64_t) * words);
	v->tags = vt_realloc(v->tags, sizeof(uint16_t) * words);
	memset(v->tags + v->words, 0, sizeof(uint16_t) * (words - v->words));
	v->words = words;
}

void
visited_free(Visited *v)
{
	free(v->bits);
	free(v->tags);
}

void
pool_begin(Pool *pool, uint32_t want)
{
	pool->n = 0;
	pool->at = 0;
	pool->passed_by = 0;
	pool->want = want;
	if (pool->room < want + 1)
	{
		pool->room = want + want / 4 + 64;
		pool->e = vt_realloc(pool->e, sizeof(Entry) * pool->room);
	}
}

void
pool_grow(Pool *pool)
{
	pool->room += pool->room / 2;
	pool->e = vt_realloc(pool->e, sizeof(Entry) * pool->room);
}

void
heap_push(Heap *heap, Entry e)
{
	size_t		i = heap->n++;

	if (heap->n > heap->room)
	{
		heap->room = heap->room ? heap->room * 2 : 256;
		heap->e = vt_realloc(heap->e, sizeof(Entry) * heap->room);
	}
	while (i > 0 && heap->e[(i - 1) / 2] > e)
	{
		heap->e[i] = heap->e[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	heap->e[i] = e;
}

Entry
heap_pop(Heap *heap)
{
	Entry		top = heap->e[0];
	Entry		last = heap->e[--heap->n];
	size_t		i = 0;

	for (;;)
	{
		size_t		child = 2 * i + 1;

		if (child >= heap->n)
			break;
		if (child + 1 < heap->n && heap->e[child + 1] < heap->e[child])
			child++;
		if (heap->e[child] >= last)
			break;
		heap->e[i] = heap->e[child];
		i = child;
	}
	heap->e[i] = last;
	return top;
}
