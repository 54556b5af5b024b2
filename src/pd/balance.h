/*-------------------------------------------------------------------------
 *
 * balance.h
 *	  Private to pd: what is gained by moving something from one store to another.
 *
 * A store carries things: replicas, or leaderships.  Each counts one and has a
 * weight: bytes, or writes a second; a replica is searched besides, which takes
 * processors.  Let c, w and s be what a store carries, C, W and S the means over all
 * stores.  The unevenness of a cluster is the sum over stores of
 * (c/C)^2 + (w/W)^2 + (s/S)^2, and a move is made when it lowers that by enough: by more
 * than what a store with BALANCE_TOLERANCE too many would gain by giving one away.
 * So each move lowers something that cannot go below zero by at least a fixed
 * amount: it ends, whatever the order of moves, and never goes back.
 *
 * Pure functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_BALANCE_H
#define PD_BALANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of the mean; and never for less than two things of difference. */
#define BALANCE_TOLERANCE 0.05

typedef struct Carried
{
	double		n;
	double		weight;
	double		searches;		/* processors */
} Carried;

/* The same for a mean: 0 does not matter. */
typedef Carried BalanceMeans;

/*
 * A mean weight below that of floor is left out of it.  Searches come and go, so theirs
 * is taken for no less than floor's: the fewer there are the less they matter.
 */
extern BalanceMeans balance_means(const Carried *total, size_t stores, const Carried *floor);

/*
 * What is gained by moving one thing that is so heavy; to be compared with
 * BALANCE_TOLERANCE, and with what other moves would gain.  thing->n is 1.
 */
extern double balance_gain(const BalanceMeans *means, const Carried *from, const Carried *to, const Carried *thing);

/* No thing, none being heavier than this in anything, gains more than that. */
extern double balance_gain_most(const BalanceMeans *means, const Carried *from, const Carried *to, const Carried *heaviest);

#endif							/* PD_BALANCE_H */
