/*-------------------------------------------------------------------------
 *
 * append.c
 *	  Linearizability of an append-only log, without search.
 *
 * An append returns its position, which is its place in the order; a length of n
 * was read after the append of position n and before that of n + 1.  What is
 * left to check is time: nothing that began after position p was known may
 * lie before p.  One sweep by time, O(n log n), and complete.
 *
 * lin_check() splits by key and picks the method.
 *
 *-------------------------------------------------------------------------
 */
#include "lin.h"

#include <stdlib.h>

typedef struct Moment
{
	uint64_t	time;
	bool		is_call;
	const LinOp *op;
} Moment;

static int
compare_moments(const void *a, const void *b)
{
	const Moment *x = a;
	const Moment *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	if (x->is_call != y->is_call)
		return x->is_call ? -1 : 1;
	return 0;
}

static int
compare_values(const void *a, const void *b)
{
	uint64_t	x = *(const uint64_t *) a;
	uint64_t	y = *(const uint64_t *) b;

	return x < y ? -1 : x > y;
}

/* Positions are given once; and no more is read than was ever appended. */
static bool
positions_fit(const LinOp *ops, size_t n)
{
	uint64_t   *positions = calloc(n + 1, sizeof(uint64_t));
	size_t		known = 0;
	size_t		appends = 0;
	uint64_t	longest = 0;
	bool		fit = true;

	if (positions == NULL)
		abort();
	for (size_t i = 0; i < n; i++)
	{
		appends += ops[i].kind == LIN_APPEND;
		if (ops[i].end == LIN_NEVER)
			continue;
		if (ops[i].kind == LIN_APPEND)
		{
			positions[known++] = ops[i].value;
			fit = fit && ops[i].value > 0;
		}
		if (ops[i].value > longest)
			longest = ops[i].value;
	}
	qsort(positions, known, sizeof(uint64_t), compare_values);
	for (size_t i = 1; i < known; i++)
		fit = fit && positions[i - 1] != positions[i];
	free(positions);
	return fit && longest <= appends;
}

/*
 * A position that no known append has was filled by one whose answer never came,
 * and that must have begun before anybody knew of the position.  The earliest
 * begun fill the lowest: if that does not work nothing does.
 */
static bool
holes_are_filled(const LinOp *ops, size_t n)
{
	uint64_t   *deadline = calloc(n + 2, sizeof(uint64_t)); /* by position */
	bool	   *filled = calloc(n + 2, sizeof(bool));
	uint64_t   *begun = calloc(n + 1, sizeof(uint64_t));
	size_t		begun_n = 0;
	size_t		used = 0;
	bool		fit = true;

	if (deadline == NULL || filled == NULL || begun == NULL)
		abort();
	for (size_t q = 0; q < n + 2; q++)
		deadline[q] = LIN_NEVER;
	for (size_t i = 0; i < n; i++)
	{
		const LinOp *op = &ops[i];

		if (op->end == LIN_NEVER && op->kind == LIN_APPEND)
			begun[begun_n++] = op->start;
		if (op->end == LIN_NEVER)
			continue;
		if (op->kind == LIN_APPEND)
			filled[op->value] = true;
		if (op->end < deadline[op->value])
			deadline[op->value] = op->end;
	}
	for (size_t q = n + 1; q > 0; q--)
		if (deadline[q] < deadline[q - 1])
			deadline[q - 1] = deadline[q];
	qsort(begun, begun_n, sizeof(uint64_t), compare_values);
	for (size_t q = 1; q <= n && fit; q++)
		if (!filled[q] && deadline[q] != LIN_NEVER)
			fit = used < begun_n && begun[used++] <= deadline[q];
	free(deadline);
	free(filled);
	free(begun);
	return fit;
}

LinResult
lin_check_log(const LinOp *ops, size_t n)
{
	Moment	   *moments = calloc(2 * n + 1, sizeof(Moment));
	uint64_t   *floors = calloc(n + 1, sizeof(uint64_t));
	uint64_t	floor = 0;
	size_t		m = 0;
	bool		good;

	if (moments == NULL || floors == NULL)
		abort();
	for (size_t i = 0; i < n; i++)
	{
		moments[m++] = (Moment) {ops[i].start, true, &ops[i]};
		if (ops[i].end != LIN_NEVER)
			moments[m++] = (Moment) {ops[i].end, false, &ops[i]};
	}
	qsort(moments, m, sizeof(Moment), compare_moments);
	good = positions_fit(ops, n) && holes_are_filled(ops, n);
	for (size_t i = 0; i < m && good; i++)
	{
		const LinOp *op = moments[i].op;
		uint64_t   *before = &floors[op - ops];

		if (moments[i].is_call)
			*before = floor;
		else
		{
			good = op->kind == LIN_APPEND ? op->value > *before : op->value >= *before;
			if (op->value > floor)
				floor = op->value;
		}
	}
	free(moments);
	free(floors);
	return good ? LIN_GOOD : LIN_BAD;
}

static int
compare_keys(const void *a, const void *b)
{
	const LinOp *x = a;
	const LinOp *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

LinResult
lin_check(const LinOp *ops, size_t n, uint64_t budget, uint32_t *bad_key)
{
	LinOp	   *sorted = calloc(n + 1, sizeof(LinOp));
	LinResult	result = LIN_GOOD;
	size_t		first = 0;

	if (sorted == NULL)
		abort();
	for (size_t i = 0; i < n; i++)
		sorted[i] = ops[i];
	qsort(sorted, n, sizeof(LinOp), compare_keys);
	while (first < n && result != LIN_BAD)
	{
		size_t		after = first;
		bool		log = sorted[first].kind == LIN_APPEND || sorted[first].kind == LIN_LENGTH;
		LinResult	one;

		while (after < n && sorted[after].key == sorted[first].key)
			after++;
		one = log ? lin_check_log(sorted + first, after - first) :
			lin_check_register(sorted + first, after - first, budget);
		if (one != LIN_GOOD)
		{
			result = one;
			*bad_key = sorted[first].key;
		}
		first = after;
	}
	free(sorted);
	return result;
}
