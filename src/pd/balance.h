/*-------------------------------------------------------------------------
 *
 * balance.h
 *	  Private to pd: what is gained by moving something from one store to another.
 *
 * A store carries things: replicas, or leaderships.  Each counts one and has a
 * weight: bytes, or writes a second.  Let c and w be what a store carries, C and
 * W the means over all stores.  The unevenness of a cluster is the sum over stores
 * of (c/C)^2 + (w/W)^2, and a move is made when it lowers that by enough: by more
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
} Carried;

typedef struct BalanceMeans
{
	double		n;
	double		weight;			/* 0: so little that it does not matter */
} BalanceMeans;

/* floor: a mean weight below which weights are left out of it. */
extern BalanceMeans balance_means(const Carried *total, size_t stores, double floor);

/*
 * What is gained by moving one thing of this weight; to be compared with
 * BALANCE_TOLERANCE, and with what other moves would gain.
 */
extern double balance_gain(const BalanceMeans *means, const Carried *from, const Carried *to, double weight);

/* No thing, none being heavier than this, gains more than that. */
extern double balance_gain_most(const BalanceMeans *means, const Carried *from, const Carried *to, double heaviest);

#endif							/* PD_BALANCE_H */
