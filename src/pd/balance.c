/*-------------------------------------------------------------------------
 *
 * balance.c
 *	  What is gained by moving something from one store to another.
 *
 * Moving (1, x) from i to j changes the unevenness by
 *
 *	   2 (c_j - c_i + 1) / C^2  +  2 x (w_j - w_i + x) / W^2
 *
 * The gain is the negative of it, times C/2: then a thing of mean weight gains
 * about the difference of counts over C plus that of weights over W.
 *
 *-------------------------------------------------------------------------
 */
#include "balance.h"

BalanceMeans
balance_means(const Carried *total, size_t stores, double floor)
{
	BalanceMeans means = {0, 0};

	if (stores == 0)
		return means;
	means.n = total->n / (double) stores;
	means.weight = total->weight / (double) stores;
	if (means.weight < floor)
		means.weight = 0;
	return means;
}

double
balance_gain(const BalanceMeans *means, const Carried *from, const Carried *to, double weight)
{
	double		gain;

	if (means->n <= 0)
		return 0;
	gain = (from->n - to->n - 1) / means->n;
	if (means->weight > 0)
		gain += means->n * weight / means->weight * (from->weight - to->weight - weight) / means->weight;
	return gain;
}

/* The second part is highest for half the difference, and grows until there. */
double
balance_gain_most(const BalanceMeans *means, const Carried *from, const Carried *to, double heaviest)
{
	double		half = (from->weight - to->weight) / 2;

	return balance_gain(means, from, to, half <= 0 ? 0 : half < heaviest ? half : heaviest);
}
