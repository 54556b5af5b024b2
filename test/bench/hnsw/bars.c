/*-------------------------------------------------------------------------
 *
 * bars.c
 *	  What must be reached: each bar is a line that ends with held or MISSED.
 *
 * Those of curves are against hnswlib in the same run, on whole sets they were set for.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "bench.h"

typedef struct SpeedBar
{
	const char *set;
	const Engine *engine;
	double		recall;
	double		least;			/* times hnswlib's searches a second */
} SpeedBar;

#define BUILD_LEAST 1.3			/* times as fast, by two threads */

bool
bar_line(const char *set, const char *engine, const char *what, double is, const char *relation, double bar)
{
	bool		held = strcmp(relation, "at least") == 0 ? is >= bar : is <= bar;

	printf("bar: %s, %s: %s %.4g, %s %.4g: %s\n", set, engine, what, is, relation, bar, held ? "held" : "MISSED");
	return held;
}

static const Curve *
curve_of(const Curve *curves, uint32_t n, const Engine *engine)
{
	for (uint32_t i = 0; i < n; i++)
		if (curves[i].engine == engine)
			return &curves[i];
	return NULL;
}

bool
bars_of_curves(const Settings *settings, const Set *set, const Curve *curves, uint32_t n)
{
	const SpeedBar bars[] = {
		{"fashion-mnist", &engine_int8, 0.994, 2.7},
		{"fashion-mnist", &engine_float, 0.994, 1.2},
		{"films", &engine_int8, 0.995, 2},
		{"sift-1m", &engine_int8, 0.979, 1.6},
		{"sift-1m", &engine_int8, 0.994, 1.6},
	};
	const Engine *const built[] = {&engine_float, &engine_int8};
	const Curve *rival = engine_hnswlib() ? curve_of(curves, n, engine_hnswlib()) : NULL;
	bool		ours = false;	/* a set that bars are for */
	bool		held = true;

	if (rival == NULL || settings->limit || settings->metric || settings->k != 10)
		return true;
	for (size_t i = 0; i < sizeof(bars) / sizeof(bars[0]); i++)
	{
		const Curve *curve = curve_of(curves, n, bars[i].engine);
		double		theirs = curve_qps_at(rival, bars[i].recall);
		char		what[64];

		ours |= strcmp(bars[i].set, set->name) == 0;
		if (curve == NULL || strcmp(bars[i].set, set->name) != 0)
			continue;
		snprintf(what, sizeof(what), "at recall %.3f times hnswlib's searches", bars[i].recall);
		/* Where hnswlib does not come to that recall there is nothing to compare with. */
		if (theirs > 0)
			held &= bar_line(set->name, curve->engine->name, what, curve_qps_at(curve, bars[i].recall) / theirs, "at least", bars[i].least);
		else
			printf("bar: %s: hnswlib does not reach recall %.3f\n", set->name, bars[i].recall);
	}
	for (size_t i = 0; ours && i < sizeof(built) / sizeof(built[0]) && settings->threads == 2 && settings->keep == NULL; i++)
	{
		const Curve *curve = curve_of(curves, n, built[i]);

		if (curve)
			held &= bar_line(set->name, curve->engine->name, "built so many times as fast as hnswlib", rival->build_s / curve->build_s, "at least", BUILD_LEAST);
	}
	return held;
}
