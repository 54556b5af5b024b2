/*-------------------------------------------------------------------------
 *
 * sparse.c
 *	  Distances of vectors that are kept without their zeros.
 *
 * An element goes to the lane that it would have gone to with the zeros there
 * (distance.c), and a zero changes no sum; so the result is that of the whole
 * vectors, to the last bit.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "kernels.h"

/* What two elements add to a sum. */
typedef float (*Term) (float x, float y);

static inline float
squared_difference(float x, float y)
{
	return (x - y) * (x - y);
}

static inline float
difference(float x, float y)
{
	return fabsf(x - y);
}

/* The next element of both, by position; an absent one is zero.  False: there is none. */
static inline bool
next(const VecSparse *a, const VecSparse *b, size_t *i, size_t *j, int32_t *at, float *x, float *y)
{
	bool		of_a = *i < a->n && (*j == b->n || a->index[*i] <= b->index[*j]);
	bool		of_b = *j < b->n && (*i == a->n || b->index[*j] <= a->index[*i]);

	if (!of_a && !of_b)
		return false;
	*at = of_a ? a->index[*i] : b->index[*j];
	*x = of_a ? a->value[(*i)++] : 0;
	*y = of_b ? b->value[(*j)++] : 0;
	return true;
}

static inline float
sum(const VecSparse *a, const VecSparse *b, Term term)
{
	float		lane[VEC_LANES] = {0};
	size_t		i = 0;
	size_t		j = 0;
	int32_t		at;
	float		x;
	float		y;

	while (next(a, b, &i, &j, &at, &x, &y))
		lane[at % VEC_LANES] += term(x, y);
	return vec_fold(lane);
}

float
vec_sparse_l2_squared(const VecSparse *a, const VecSparse *b)
{
	return sum(a, b, squared_difference);
}

/* Only what both have counts. */
float
vec_sparse_dot(const VecSparse *a, const VecSparse *b)
{
	float		lane[VEC_LANES] = {0};
	size_t		j = 0;

	for (size_t i = 0; i < a->n; i++)
	{
		while (j < b->n && b->index[j] < a->index[i])
			j++;
		if (j < b->n && b->index[j] == a->index[i])
			lane[a->index[i] % VEC_LANES] += a->value[i] * b->value[j];
	}
	return vec_fold(lane);
}

static float
square_sum(const VecSparse *a)
{
	float		lane[VEC_LANES] = {0};

	for (size_t i = 0; i < a->n; i++)
		lane[a->index[i] % VEC_LANES] += a->value[i] * a->value[i];
	return vec_fold(lane);
}

double
vec_sparse_distance(VecMetric metric, const VecSparse *a, const VecSparse *b)
{
	switch (metric)
	{
		case VEC_L2:
			return sqrt((double) vec_sparse_l2_squared(a, b));
		case VEC_IP:
			return -(double) vec_sparse_dot(a, b);
		case VEC_L1:
			return (double) sum(a, b, difference);
		case VEC_COSINE:
			return vec_cosine((VecDots) {vec_sparse_dot(a, b), square_sum(a), square_sum(b)});
		case VEC_HAMMING:
		case VEC_JACCARD:
			break;
	}
	return NAN;
}
