/*-------------------------------------------------------------------------
 *
 * graph.c
 *	  A graph as a whole: made, looked at, and ended.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/graph.h"

#include <math.h>

#include "hnsw/ctx.h"

VtStatus
hnsw_create(const HnswOptions *options, Hnsw **out, VtError *err)
{
	Hnsw	   *h;
	VtStatus	status;

	*out = NULL;
	if (options->dim > vec_max_dim(options->element))
		return vt_fail(err, VT_INVALID, "vectors have 1 to %u dimensions, not %u", vec_max_dim(options->element),
					   options->dim);
	if (options->dim == 0 && (options->codes != HNSW_CODES_NONE || (options->element != 0 && options->element != VEC_FLOAT32)))
		return vt_fail(err, VT_INVALID, "where there are no vectors there are no codes, and no other elements than float32");
	if (!vec_metric_valid(options->metric))
		return vt_fail(err, VT_INVALID, "unrecognized metric %u", (unsigned) options->metric);
	if (options->m < HNSW_MIN_M || options->m > HNSW_MAX_M)
		return vt_fail(err, VT_INVALID, "m is from %d to %d, not %u", HNSW_MIN_M, HNSW_MAX_M,
					   options->m);
	if (options->ef_construction > HNSW_MAX_EF)
		return vt_fail(err, VT_INVALID, "ef_construction is at most %d, not %u", HNSW_MAX_EF,
					   options->ef_construction);
	if (options->codes != HNSW_CODES_NONE && options->codes != HNSW_CODES_INT8 &&
		options->codes != HNSW_CODES_INT8_ONLY)
		return vt_fail(err, VT_INVALID, "unrecognized kind of codes %u", (unsigned) options->codes);
	if (options->element != 0 && !vec_element_valid(options->element))
		return vt_fail(err, VT_INVALID, "unrecognized element %u", (unsigned) options->element);
	if (!vec_metric_fits(options->metric, options->element))
		return vt_fail(err, VT_INVALID, "the metric %s is not for vectors of %s", vec_metric_name(options->metric),
					   options->element ? vec_element_name(options->element) : "float32");
	if (options->element == VEC_BIT && options->codes != HNSW_CODES_NONE)
		return vt_fail(err, VT_INVALID, "bits have no codes");
	if (options->max_slots > HNSW_MAX_SLOTS)
		return vt_fail(err, VT_INVALID, "a graph has at most %u slots", HNSW_MAX_SLOTS);
	if (options->vectors && options->codes != HNSW_CODES_INT8)
		return vt_fail(err, VT_INVALID, "vectors are mapped only where they are kept and walks are on codes");

	h = aligned_alloc(64, sizeof(Hnsw));
	Assert(h != NULL);
	memset(h, 0, sizeof(*h));
	h->opt = *options;
	if (h->opt.element == 0)
		h->opt.element = VEC_FLOAT32;
	if (h->opt.max_slots == 0)
		h->opt.max_slots = HNSW_MAX_SLOTS;
	if (h->opt.ef_construction < h->opt.m)
		h->opt.ef_construction = h->opt.m;
	h->kernels = kernels_choose();
	h->level_factor = 1 / log((double) h->opt.m);
	memory_lay_out(h);
	h->nchunks_max = (uint32_t) (((uint64_t) h->opt.max_slots + h->mask) >> h->shift);
	h->chunks = memory_table(sizeof(*h->chunks) * h->nchunks_max);
	h->vectors = memory_table(sizeof(*h->vectors) * h->nchunks_max);
	atomic_init(&h->entry, NO_ENTRY);
	atomic_init(&h->sweep_best, NO_ENTRY);
	for (int i = 0; i < INFLIGHT_PLACES; i++)
		atomic_init(&h->inflight[i], NO_SLOT);
	for (int i = 0; i < LANDED_PLACES; i++)
		atomic_init(&h->landed[i], UINT64_MAX);
	for (int i = 0; i < OWED_PLACES; i++)
		atomic_init(&h->owed[i], UINT64_MAX);
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->repair_lock, NULL);
	atomic_init(&h->epoch, 1);
	h->limit = NO_SLOT;
	status = h->chunks && h->vectors ? vectors_open(h, err) :
		vt_fail(err, VT_NOMEM, "could not map the tables of a graph");
	h->opt.vectors = NULL;		/* the caller's, for this call */
	if (status == VT_OK)
		*out = h;
	else
		hnsw_destroy(h);
	return status;
}

void
hnsw_destroy(Hnsw *h)
{
	uint32_t	used;

	if (h == NULL)
		return;
	Assert(epoch_oldest(h) == UINT64_MAX);
	used = atomic_load(&h->used);
	for (uint32_t slot = 0; slot < used; slot++)
		free(atomic_load(&graph_meta(h, slot)->upper));
	memory_close(h);
	queue_destroy(h);
	for (int i = 0; i < CTX_PLACES; i++)
		ctx_free(atomic_load(&h->ctx[i]));
	connect_end(h);
	graph_account(h, -atomic_load(&h->bytes));
	epoch_destroy(h);
	memory_table_free(h->chunks, sizeof(*h->chunks) * h->nchunks_max);
	memory_table_free(h->vectors, sizeof(*h->vectors) * h->nchunks_max);
	free(h->free.slots);
	free(h->limbo);
	free(h->died.slots);
	free(h->batch.slots);
	free(h->in_batch);
	pthread_mutex_destroy(&h->lock);
	pthread_mutex_destroy(&h->repair_lock);
	free(h);
}

void
graph_account(Hnsw *h, int64_t bytes)
{
	atomic_fetch_add_explicit(&h->bytes, bytes, memory_order_relaxed);
	if (h->opt.account)
		h->opt.account(h->opt.account_arg, bytes);
}

uint64_t
hnsw_label(const Hnsw *h, uint32_t slot)
{
	return graph_meta(h, slot)->label;
}

bool
hnsw_live(const Hnsw *h, uint32_t slot)
{
	return graph_fate(h, slot) == FATE_LIVE;
}

uint64_t
hnsw_waiting(const Hnsw *h)
{
	/* In this order the difference is never negative. */
	uint64_t	head = atomic_load(&h->head);

	return atomic_load(&h->tail) - head;
}

void
hnsw_stats(const Hnsw *hc, HnswStats *stats)
{
	Hnsw	   *h = (Hnsw *) hc;
	uint64_t	entry;

	memset(stats, 0, sizeof(*stats));
	pthread_mutex_lock(&h->lock);
	stats->live = atomic_load(&h->live);
	stats->waiting = atomic_load(&h->tail) - atomic_load(&h->head);
	stats->linked = atomic_load(&h->linked);
	stats->dead = atomic_load(&h->dead);
	stats->free = h->free.n;
	stats->used = atomic_load(&h->used);
	stats->bytes = (uint64_t) atomic_load(&h->bytes);
	stats->mapped = h->vectors_bytes;
	stats->bytes_reserved = ((stats->used + h->mask) >> h->shift) * h->chunk_size;
	stats->link_distances = atomic_load(&h->link_distances);
	stats->found = atomic_load(&h->found);
	stats->repaired = atomic_load(&h->repaired);
	stats->moved = h->moved;
	stats->looks = atomic_load(&h->looks);
	stats->unreachable = atomic_load(&h->unreachable);
	stats->broken_links = atomic_load(&h->broken_links);
	entry = atomic_load(&h->entry);
	stats->levels = entry == NO_ENTRY ? 0 : (int) (entry >> 32) + 1;
	pthread_mutex_unlock(&h->lock);
}
