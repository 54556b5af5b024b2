/*-------------------------------------------------------------------------
 *
 * lin.h
 *	  Was this history linearizable?
 *
 * A history is a set of operations, each with the time it was called and the
 * time it returned, what was asked and what was answered.  It is linearizable
 * when every operation can be given one moment between its call and its return
 * such that executing them one by one in that order gives the same answers
 * (Herlihy and Wing 1990).
 *
 * Conventions
 *
 *	1.	Keys are independent, so each is checked alone (Herlihy and Wing's
 *		locality; Horn and Kroening 2015).
 *	2.	A register starts as 0.
 *	3.	An operation whose answer never came may have taken effect at any time
 *		after its call, or never.  As a read it says nothing and is left out.
 *	4.	A history whose answer would take more than the budget of steps is
 *		LIN_UNKNOWN, never silently good.
 *
 * As text, one operation per line; END is - when no answer came:
 *
 *		KEY START END write VALUE
 *		KEY START END read VALUE
 *		KEY START END cas OLD NEW ok|no
 *		KEY START END append POSITION	(0: not known)
 *		KEY START END length LENGTH
 *
 * A key is either a register (write, read, cas) or a log (append, length).
 *
 *-------------------------------------------------------------------------
 */
#ifndef LIN_LIN_H
#define LIN_LIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIN_NEVER UINT64_MAX	/* no answer came */

typedef enum LinKind
{
	LIN_WRITE,
	LIN_READ,
	LIN_CAS,
	LIN_APPEND,
	LIN_LENGTH
} LinKind;

typedef struct LinOp
{
	uint32_t	key;
	LinKind		kind;
	uint64_t	start;
	uint64_t	end;			/* LIN_NEVER: no answer */
	uint64_t	value;			/* written, read, position, length; cas: new */
	uint64_t	old;			/* cas: expected */
	bool		ok;				/* cas: swapped */
} LinOp;

typedef enum LinResult
{
	LIN_GOOD,
	LIN_BAD,
	LIN_UNKNOWN
} LinResult;

/*
 * Check n operations of any keys.  *bad_key is one that is not linearizable.
 */
extern LinResult lin_check(const LinOp *ops, size_t n, uint64_t budget, uint32_t *bad_key);

/* One key: search.c for registers, append.c for logs. */
extern LinResult lin_check_register(const LinOp *ops, size_t n, uint64_t budget);
extern LinResult lin_check_log(const LinOp *ops, size_t n);

/* One operation on a register; false: this answer is not possible in *state. */
extern bool lin_apply(const LinOp *op, uint64_t *state);

#endif							/* LIN_LIN_H */
