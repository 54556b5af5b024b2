/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Codes, and scores against rows.
 *
 * A code row: each number is scale * code + offset, with the scale and offset
 * of its own vector, codes from 0 to 255.  Needs no training, and loses
 * nothing when the numbers are bytes.
 *
 * A query has two parts of seven bits, high and low: with the high part alone
 * the query would be rounded more coarsely than the rows.  The inner product
 * of a query q and the numbers x = s c + o of a row is
 *
 *		s * (high_scale * <high, c> + low_scale * <low, c>) + o * sum(q)
 *
 * A stored row becomes a query of the same kind: code = 4 * high + low, and
 * its offset is one more term.
 *
 * The taxicab distance does not fall into such products.  There the query is of
 * floats, and a row's numbers are made from its codes on the way.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/query.h"

#include <float.h>
#include <math.h>

size_t
query_bytes(const Hnsw *h)
{
	size_t		bytes = h->bits ? h->vec_row : sizeof(float) * h->dim16 + 2 * (h->coded ? h->dim64 : 0);

	return (bytes + 63) / 64 * 64;
}

void
query_init(const Hnsw *h, Query *query)
{
	size_t		floats = sizeof(float) * h->dim16;
	size_t		bytes = h->coded ? h->dim64 : 0;
	uint8_t    *block = aligned_alloc(64, query_bytes(h));

	Assert(block != NULL);
	memset(block, 0, query_bytes(h));
	memset(query, 0, sizeof(*query));
	query->own = (float *) block;
	query->vec = query->own;
	query->bits = block;
	if (h->bits)
		return;
	query->high = (int8_t *) block + floats;
	query->low = query->high + bytes;
}

void
query_free(Query *query)
{
	free(query->own);
}

/* Taken off all numbers: what lies half way between the least and the most. */
static float
take_middle(float *numbers, uint32_t dim)
{
	float		least = numbers[0];
	float		most = numbers[0];
	float		middle;

	for (uint32_t i = 1; i < dim; i++)
	{
		least = numbers[i] < least ? numbers[i] : least;
		most = numbers[i] > most ? numbers[i] : most;
	}
	middle = least / 2 + most / 2;
	for (uint32_t i = 0; i < dim; i++)
		numbers[i] -= middle;
	return middle;
}

void
query_set(const Hnsw *h, Query *query, const void *vector)
{
	Assert(!graph_is_table(h));
	if (h->bits)
	{
		memcpy(query->own, vector, vec_given_bytes(VEC_BIT, h->opt.dim));
		query->bits = (const uint8_t *) query->own;
		return;
	}
	query->vec = query->own;
	if (h->opt.metric == VEC_COSINE)
		vec_normalize(query->own, vector, h->opt.dim);
	else
		memcpy(query->own, vector, sizeof(float) * h->opt.dim);
	if (h->coded && h->opt.metric != VEC_L1)
	{
		float		offset = h->opt.metric == VEC_L2 ? take_middle(query->own, h->opt.dim) : 0;
		Split		split = h->kernels->split(query->vec, h->dim16, query->high, query->low);

		query->high_scale = split.high_scale;
		query->low_scale = split.low_scale;
		query->sum = split.sum;
		query->norm = split.norm;
		query->inv_norm = 1;
		query->offset = offset;
	}
}

/* Rows are aligned and their length is a multiple. */
typedef float Four __attribute__((vector_size(16), may_alias));

static void
scale(float *out, const float *in, float factor, uint32_t dim16)
{
	const Four *from = (const Four *) in;
	Four	   *to = (Four *) out;

	for (uint32_t i = 0; i < dim16 / 4; i++)
		to[i] = from[i] * factor;
}

/* Without codes.  What need not be changed stays where it is. */
static void
set_floats(const Hnsw *h, Query *query, uint32_t slot)
{
	if (h->halves)
		vectors_read(h, slot, query->own);
	else
		query->vec = (const float *) graph_vector(h, slot);
	if (h->opt.metric == VEC_COSINE)
	{
		scale(query->own, query->vec, graph_life(h, slot)->inv_norm, h->dim16);
		query->vec = query->own;
	}
}

void
query_set_slot(const Hnsw *h, Query *query, uint32_t slot)
{
	const uint8_t *codes;
	const CodeParams *params;

	if (h->bits)
	{
		query->bits = graph_vector(h, slot);
		return;
	}
	query->vec = query->own;
	if (!h->coded)
	{
		set_floats(h, query, slot);
		return;
	}
	codes = graph_codes(h, slot);
	params = graph_code_params(h, codes);
	if (h->opt.metric == VEC_L1)
	{
		h->kernels->numbers(codes, params, h->dim16, query->own);
		return;
	}
	h->kernels->unpack(codes, (uint32_t) h->code_params, query->high, query->low);
	memset(query->high + h->opt.dim, 0, h->dim64 - h->opt.dim);
	memset(query->low + h->opt.dim, 0, h->dim64 - h->opt.dim);
	query->high_scale = 4 * params->scale;
	query->low_scale = params->scale;
	query->offset = params->offset;
	query->sum = params->scale * params->sum;
	if (h->opt.metric != VEC_L2)
		query->sum += params->offset * (float) h->opt.dim;
	query->norm = params->norm;
	query->inv_norm = h->opt.metric == VEC_COSINE ? params->norm : 1;
}

/* Rows whose counts are kept at a time. */
#define BITS_AT_ONCE 64

static void
bits_score(const Hnsw *h, const Query *query, const uint8_t *const *rows, uint32_t n, float *scores)
{
	for (uint32_t at = 0; at < n; at += BITS_AT_ONCE)
	{
		uint32_t	some = n - at < BITS_AT_ONCE ? n - at : BITS_AT_ONCE;

		if (h->opt.metric == VEC_HAMMING)
		{
			uint32_t	differ[BITS_AT_ONCE];

			vec_bits_differ(query->bits, rows + at, some, h->vec_row, differ);
			for (uint32_t i = 0; i < some; i++)
				scores[at + i] = (float) differ[i];
		}
		else
		{
			VecShared	shared[BITS_AT_ONCE];

			vec_bits_share(query->bits, rows + at, some, h->vec_row, shared);
			for (uint32_t i = 0; i < some; i++)
				scores[at + i] = (float) vec_jaccard(shared[i]);
		}
	}
}

void
query_score(const Hnsw *h, const Query *query, const uint32_t *slots, const uint8_t *const *rows,
			uint32_t n, float *scores)
{
	if (h->bits)
	{
		bits_score(h, query, rows, n, scores);
		return;
	}
	if (!h->coded)
	{
		const FloatKernels *kernels = h->halves ? &h->kernels->halves : &h->kernels->floats;

		switch (h->opt.metric)
		{
			case VEC_L2:
				kernels->l2(query->vec, rows, n, h->dim16, scores);
				break;
			case VEC_L1:
				kernels->l1(query->vec, rows, n, h->dim16, scores);
				break;
			case VEC_IP:
				kernels->dot(query->vec, rows, n, h->dim16, scores);
				for (uint32_t i = 0; i < n; i++)
					scores[i] = -scores[i];
				break;
			case VEC_COSINE:
				kernels->dot(query->vec, rows, n, h->dim16, scores);
				for (uint32_t i = 0; i < n; i++)
					scores[i] *= -graph_life(h, slots[i])->inv_norm;
				break;
			case VEC_HAMMING:
			case VEC_JACCARD:
				break;			/* of bits */
		}
	}
	else if (h->opt.metric == VEC_L1)
		h->kernels->code_l1(query->vec, rows, n, h->opt.dim, (uint32_t) h->code_params, scores);
	else
	{
		CodeQuery	code = {query->high, query->low, query->high_scale, query->low_scale, (uint32_t) h->code_row};

		h->kernels->code(&code, rows, n, (uint32_t) h->code_params, scores);
		for (uint32_t i = 0; i < n; i++)
		{
			const CodeParams *p = graph_code_params(h, rows[i]);
			float		dot;

			if (h->opt.metric == VEC_L2)
			{
				/* Each beyond its own offset, so that vectors far from zero lose nothing. */
				float		apart = query->offset - p->offset;

				scores[i] = query->norm + p->norm - 2 * (p->scale * scores[i]) +
					apart * (apart * (float) h->opt.dim + 2 * (query->sum - p->scale * p->sum));
				continue;
			}

			/* <q - offset, s c> + o sum(q) + offset * sum(s c) */
			dot = p->scale * (scores[i] + query->offset * p->sum) + p->offset * query->sum;
			if (h->opt.metric == VEC_IP)
				scores[i] = -dot;
			else
				scores[i] = -dot * query->inv_norm * p->norm;
		}
	}

	/* Sums of huge numbers overflow; what has no order comes last. */
	for (uint32_t i = 0; i < n; i++)
		scores[i] = scores[i] == scores[i] ? scores[i] : INFINITY;
}

float
query_error(const Hnsw *h, const Query *query, uint32_t slot, float score)
{
	const CodeParams *params;
	float		deviation;
	float		bias;
	float		dim = (float) h->opt.dim;

	params = graph_code_params(h, graph_codes(h, slot));
	deviation = params->scale * 0.2887f;	/* of one number: 1 / sqrt(12) */
	switch (h->opt.metric)
	{
		case VEC_L2:
			return 8 * deviation * sqrtf(score > 0 ? score : 0) + dim * deviation * deviation;
		case VEC_COSINE:
			return 4 * deviation * params->norm;
		case VEC_L1:
			/* Where numbers differ by less than a step, rounding only ever adds: a quarter of the step. */
			bias = dim * params->scale / 4;
			return 4 * deviation * sqrtf(dim) + bias * fminf(1, 4 * bias / fmaxf(score, FLT_MIN));
		case VEC_IP:
			break;
		case VEC_HAMMING:
		case VEC_JACCARD:
			return 0;			/* bits have no codes */
	}
	return 4 * deviation * sqrtf(query->norm);
}

void
query_encode(const Hnsw *h, const float *vector, uint8_t *codes)
{
	uint32_t	dim = h->opt.dim;
	CodeParams *params = (CodeParams *) (codes + h->code_params);
	float		least = vector[0];
	float		most = vector[0];
	float		inverse;
	double		sum = 0;
	double		squares = 0;
	double		norm;

	for (uint32_t i = 1; i < dim; i++)
	{
		least = vector[i] < least ? vector[i] : least;
		most = vector[i] > most ? vector[i] : most;
	}
	params->offset = least;
	params->scale = most / 255 - least / 255;
	inverse = params->scale > 0 ? 1 / params->scale : 0;
	if (!isfinite(inverse))
		inverse = 0;
	for (uint32_t i = 0; i < dim; i++)
	{
		float		code = rintf((vector[i] - least) * inverse);

		codes[i] = (uint8_t) (code > 255 ? 255 : code > 0 ? code : 0);
	}
	memset(codes + dim, 0, h->code_params - dim);
	{
		uint64_t	n = 0;
		uint64_t	n2 = 0;

		for (uint32_t i = 0; i < dim; i++)
		{
			n += codes[i];
			n2 += (uint32_t) codes[i] * codes[i];
		}
		sum = (double) n;
		squares = (double) n2;
	}
	norm = (double) params->scale * params->scale * squares;
	if (h->opt.metric != VEC_L2)
		norm += 2.0 * params->scale * params->offset * sum + (double) params->offset * params->offset * dim;
	params->sum = (float) sum;
	if (h->opt.metric == VEC_COSINE)
		params->norm = norm > 0 ? (float) (1 / sqrt(norm)) : 0;
	else
		params->norm = (float) norm;
}
