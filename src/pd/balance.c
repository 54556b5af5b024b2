/*-------------------------------------------------------------------------
 *
 * balance.c
 *	  What is gained by moving something from one store to another.
 *
 * Moving (1, x) from i to j changes the unevenness by
 *
 *	   2 (c_j - c_i + 1) / C^2  +  2 x (w_j - w_i + x) / W^2
 *
 * and by the same for searches.  The gain is the negative of it, times C/2: then a thing of mean weight gains
 * about the difference of counts over C plus that of weights over W.
 *
 *-------------------------------------------------------------------------
 */
#include "balance.h"

BalanceMeans
balance_means(const Carried *total, size_t stores, const Carried *floor)
{
	BalanceMeans means = {0};

	if (stores == 0)
		return means;
	means.n = total->n / (double) stores;
	means.weight = total->weight / (double) stores;
	means.searches = total->searches / (double) stores;
	if (means.weight < floor->weight)
		means.weight = 0;
	if (means.searches < floor->searches)
		means.searches = floor->searches;
	return means;
}

/* Of one kind: x goes from where there is so much more. */
static double
gain_of(double n, double mean, double more, double x)
{
	return mean > 0 ? n * x / mean * (more - x) / mean : 0;
}

double
balance_gain(const BalanceMeans *means, const Carried *from, const Carried *to, const Carried *thing)
{
	return gain_of(means->n, means->n, from->n - to->n, 1) +
		gain_of(means->n, means->weight, from->weight - to->weight, thing->weight) +
		gain_of(means->n, means->searches, from->searches - to->searches, thing->searches);
}

/* x (more - x) is highest for half of it, and grows until there. */
static double
best_of(double more, double heaviest)
{
	return more <= 0 ? 0 : more / 2 < heaviest ? more / 2 : heaviest;
}

double
balance_gain_most(const BalanceMeans *means, const Carried *from, const Carried *to, const Carried *heaviest)
{
	Carried		best = {1, best_of(from->weight - to->weight, heaviest->weight),
		best_of(from->searches - to->searches, heaviest->searches)};

	return balance_gain(means, from, to, &best);
}
