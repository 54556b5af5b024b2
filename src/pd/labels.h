/*-------------------------------------------------------------------------
 *
 * labels.h
 *	  Private to pd: where stores stand, as their labels tell.
 *
 * A worker is started with labels, "zone=a,rack=r1"; the driver with the keys
 * that replicas are to be spread over, the most important one first:
 * "zone,rack".  For each store these make a site: one number for each key.  Two
 * stores have the same number there if they have the same value of that key and
 * of all keys before it, so racks of two zones are never the same rack.  Stores
 * without a label are all at one site, that of the empty value.
 *
 * Pure functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_LABELS_H
#define PD_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define LABELS_MAX 128			/* bytes of a store's labels, the last one a zero */
#define SPREAD_LEVELS 4

typedef struct Spread
{
	uint32_t	n;				/* 0: nothing is spread over anything but stores */
	char		keys[SPREAD_LEVELS][32];
} Spread;

typedef struct Site
{
	uint64_t	at[SPREAD_LEVELS];	/* 0 beyond the keys there are */
} Site;

/* Words of letters, digits and "-_." as key=value, separated by commas, no key twice; or nothing. */
extern VtStatus labels_check(const char *labels, VtError *err);

/* Keys, separated by commas; or nothing. */
extern VtStatus spread_parse(const char *keys, Spread *out, VtError *err);

extern Site spread_site(const Spread *spread, const char *labels);

/*
 * How much a store here would share with those that have a replica: how many are
 * at the same site by the first key, and among equals by the next one, and so
 * on.  Lower is better; to be compared only for the same others.  n is at most 255.
 */
extern uint32_t site_crowding(const Site *site, const Site *others, size_t n);

#endif							/* PD_LABELS_H */
