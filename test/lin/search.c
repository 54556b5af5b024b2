/*-------------------------------------------------------------------------
 *
 * search.c
 *	  Linearizability of a register, by search.
 *
 * Wing and Gong's search with Lowe's memory ("Testing for linearizability",
 * 2017), in the form made popular by Porcupine: calls and returns lie in a list
 * by time.  From its front we try each call that comes before the first return;
 * one that fits the state is taken out of the list together with its return, and
 * the search goes on from the front.  A return at which we arrive belongs to an
 * operation that should have been tried earlier: go back.  A set of operations
 * done plus a state that was met before is not tried again.
 *
 * A write whose answer never came may be anywhere after its call, and each such one
 * doubles what there is to be tried.  Reads tell of most: one whose value nobody
 * has read need not have been, and one whose value was read, and that only it wrote,
 * took effect before that read returned.  (Not where there are swaps, which see values
 * without naming them.)
 *
 *-------------------------------------------------------------------------
 */
#include "lin.h"

#include <stdlib.h>
#include <string.h>

typedef struct Mark
{
	struct Mark *prev;
	struct Mark *next;
	struct Mark *match;			/* call: its return, NULL for none */
	uint64_t	time;
	uint32_t	op;
	bool		is_call;
} Mark;

typedef struct Step
{
	Mark	   *call;
	uint64_t	state;			/* before it */
} Step;

/* Sets of done operations with the state they led to: open addressing. */
typedef struct Memory
{
	uint64_t   *slots;			/* words of the set, then state, then 1 if used */
	size_t		words;
	size_t		n;
	size_t		size;
} Memory;

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

bool
lin_apply(const LinOp *op, uint64_t *state)
{
	bool		known = op->end != LIN_NEVER;

	switch (op->kind)
	{
		case LIN_WRITE:
			*state = op->value;
			return true;
		case LIN_READ:
			return *state == op->value;
		case LIN_CAS:
			if (known && (*state == op->old) != op->ok)
				return false;
			if (*state == op->old)
				*state = op->value;
			return true;
		case LIN_APPEND:
		case LIN_LENGTH:
			break;
	}
	return false;
}

static size_t
stride(const Memory *memory)
{
	return memory->words + 2;
}

static uint64_t
hash_of(const uint64_t *set, size_t words, uint64_t state)
{
	uint64_t	h = state * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < words; i++)
	{
		h ^= set[i];
		h *= UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	return h;
}

static uint64_t *
find_slot(Memory *memory, const uint64_t *set, uint64_t state)
{
	size_t		at = (size_t) hash_of(set, memory->words, state) & (memory->size - 1);

	for (;;)
	{
		uint64_t   *slot = memory->slots + at * stride(memory);

		if (slot[memory->words + 1] == 0 ||
			(slot[memory->words] == state &&
			 memcmp(slot, set, memory->words * sizeof(uint64_t)) == 0))
			return slot;
		at = (at + 1) & (memory->size - 1);
	}
}

/* True: it is new. */
static bool
remember(Memory *memory, const uint64_t *set, uint64_t state)
{
	uint64_t   *slot;

	if (memory->n * 2 >= memory->size)
	{
		Memory		bigger = {.words = memory->words, .n = memory->n,
		.size = memory->size == 0 ? 256 : memory->size * 2};

		bigger.slots = must(calloc(bigger.size * stride(memory), sizeof(uint64_t)));
		for (size_t i = 0; i < memory->size; i++)
		{
			uint64_t   *old = memory->slots + i * stride(memory);

			if (old[memory->words + 1] != 0)
				memcpy(find_slot(&bigger, old, old[memory->words]), old,
					   stride(memory) * sizeof(uint64_t));
		}
		free(memory->slots);
		*memory = bigger;
	}
	slot = find_slot(memory, set, state);
	if (slot[memory->words + 1] != 0)
		return false;
	memcpy(slot, set, memory->words * sizeof(uint64_t));
	slot[memory->words] = state;
	slot[memory->words + 1] = 1;
	memory->n++;
	return true;
}

/* By time; at one moment calls come before returns, so that they overlap. */
static int
compare_marks(const void *a, const void *b)
{
	const Mark *x = a;
	const Mark *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	if (x->is_call != y->is_call)
		return x->is_call ? -1 : 1;
	return x->op < y->op ? -1 : x->op > y->op;
}

/* What was written or read, by value, writes first. */
static int
compare_values(const void *a, const void *b)
{
	const LinOp *x = *(const LinOp *const *) a;
	const LinOp *y = *(const LinOp *const *) b;

	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind == LIN_WRITE ? -1 : 1;
	return 0;
}

/* Of operations with one value, writes first: the writes without an answer are bounded, or never were. */
static void
bound_writes(LinOp **same, size_t n)
{
	size_t		writes = 0;
	uint64_t	read_us = LIN_NEVER;

	while (writes < n && same[writes]->kind == LIN_WRITE)
		writes++;
	for (size_t i = writes; i < n; i++)
		read_us = same[i]->end < read_us ? same[i]->end : read_us;
	for (size_t i = 0; i < writes; i++)
	{
		if (same[i]->end != LIN_NEVER)
			continue;
		if (read_us == LIN_NEVER)
			same[i]->kind = LIN_READ;	/* without an answer: it is left out */
		else if (writes == 1 && same[i]->value != 0 && same[i]->start <= read_us)
			same[i]->end = read_us;
	}
}

/* The same operations, with what reads tell of writes. */
static LinOp *
learn_from_reads(const LinOp *ops, size_t n)
{
	LinOp	   *learned = must(calloc(n + 1, sizeof(LinOp)));
	LinOp	  **by_value = must(calloc(n + 1, sizeof(LinOp *)));
	bool		swaps = false;

	for (size_t i = 0; i < n; i++)
	{
		learned[i] = ops[i];
		by_value[i] = &learned[i];
		swaps = swaps || (ops[i].kind != LIN_WRITE && ops[i].kind != LIN_READ);
	}
	if (!swaps)
	{
		qsort(by_value, n, sizeof(LinOp *), compare_values);
		for (size_t i = 0, next; i < n; i = next)
		{
			for (next = i + 1; next < n && by_value[next]->value == by_value[i]->value; next++)
				;
			bound_writes(by_value + i, next - i);
		}
	}
	free(by_value);
	return learned;
}

static size_t
make_marks(const LinOp *ops, size_t n, Mark *marks, Mark *head)
{
	Mark	  **calls = must(calloc(n, sizeof(Mark *)));
	size_t		m = 0;

	for (size_t i = 0; i < n; i++)
	{
		if (ops[i].end == LIN_NEVER && ops[i].kind == LIN_READ)
			continue;
		marks[m++] = (Mark) {.time = ops[i].start, .op = (uint32_t) i, .is_call = true};
		if (ops[i].end != LIN_NEVER)
			marks[m++] = (Mark) {.time = ops[i].end, .op = (uint32_t) i};
	}
	qsort(marks, m, sizeof(Mark), compare_marks);
	head->next = m > 0 ? &marks[0] : NULL;
	for (size_t i = 0; i < m; i++)
	{
		marks[i].prev = i > 0 ? &marks[i - 1] : head;
		marks[i].next = i + 1 < m ? &marks[i + 1] : NULL;
		if (marks[i].is_call)
			calls[marks[i].op] = &marks[i];
		else
			calls[marks[i].op]->match = &marks[i];
	}
	free(calls);
	return m;
}

static void
unlink_mark(Mark *mark)
{
	mark->prev->next = mark->next;
	if (mark->next != NULL)
		mark->next->prev = mark->prev;
}

static void
relink_mark(Mark *mark)
{
	mark->prev->next = mark;
	if (mark->next != NULL)
		mark->next->prev = mark;
}

LinResult
lin_check_register(const LinOp *told, size_t n, uint64_t budget)
{
	LinOp	   *ops = learn_from_reads(told, n);
	Mark	   *marks = must(calloc(2 * n + 1, sizeof(Mark)));
	Step	   *steps = must(calloc(n + 1, sizeof(Step)));
	Memory		memory = {.words = n / 64 + 1};
	uint64_t   *done = must(calloc(memory.words, sizeof(uint64_t)));
	Mark		head = {0};
	size_t		steps_n = 0;
	size_t		required = 0;
	uint64_t	state = 0;
	LinResult	result = LIN_GOOD;
	Mark	   *at;

	(void) make_marks(ops, n, marks, &head);
	for (size_t i = 0; i < n; i++)
		required += ops[i].end != LIN_NEVER;
	at = head.next;
	while (required > 0)
	{
		uint64_t	next_state = state;

		if (budget-- == 0)
		{
			result = LIN_UNKNOWN;
			break;
		}
		if (at == NULL || !at->is_call)
		{
			/* Too late for the one that returns here: undo the last step. */
			Step	   *last;

			if (steps_n == 0)
			{
				result = LIN_BAD;
				break;
			}
			last = &steps[--steps_n];
			at = last->call;
			state = last->state;
			done[at->op / 64] &= ~(UINT64_C(1) << (at->op % 64));
			if (at->match != NULL)
			{
				relink_mark(at->match);
				required++;
			}
			relink_mark(at);
			at = at->next;
			continue;
		}
		if (lin_apply(&ops[at->op], &next_state))
		{
			done[at->op / 64] |= UINT64_C(1) << (at->op % 64);
			if (remember(&memory, done, next_state))
			{
				steps[steps_n++] = (Step) {at, state};
				state = next_state;
				unlink_mark(at);
				if (at->match != NULL)
				{
					unlink_mark(at->match);
					required--;
				}
				at = head.next;
				continue;
			}
			done[at->op / 64] &= ~(UINT64_C(1) << (at->op % 64));
		}
		at = at->next;
	}
	free(ops);
	free(marks);
	free(steps);
	free(done);
	free(memory.slots);
	return result;
}
