/*-------------------------------------------------------------------------
 *
 * level.h
 *	  Feature levels: what all members of a cluster can do.
 *
 * A release knows the levels from VT_LEVEL_LOW to vt_level_high().  A cluster works
 * at one of them, which is a row of PD's catalog: it is raised, by one, when every
 * placement driver and every worker has said that it knows the next one, and never
 * lowered.  What members of an older release would not understand (a kind of task,
 * entry, row or status) is used from its level on only; who does not know the level
 * that a cluster works at is refused, with words (decision 0010).
 *
 *	  1		where all clusters begin
 *	  2		shards whose majority is lost are recovered (src/pd/recover.c): the plan
 *			RECOVER, the task recover_shard, lives of shards after the first, VT_LOST
 *	  3		collections that declare attributes (wire/attributes.h): descriptors of format
 *			2, filters in searches, attributes in listings
 *	  4		collections of codes alone (quantization int8_only); answers to searches tell
 *			how many records of the replica are not indexed
 *	  5		collections of bit strings (element bit, metrics hamming and jaccard): puts of
 *			format 3, rows with that flag, searches and listings of bits
 *	  6		collections without vectors: descriptors, puts and rows of no dimensions
 *
 * VECTRON_LEVEL_HIGH in a daemon's or server's environment makes it one that knows no
 * more than that.  So an upgrade can be held where there is a way back; and tests play
 * an older release.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_LEVEL_H
#define BASE_LEVEL_H

#include "base/status.h"

#define VT_LEVEL_LOW 1
#define VT_LEVEL_RECOVER 2
#define VT_LEVEL_ATTRIBUTES 3
#define VT_LEVEL_CODES_ALONE 4
#define VT_LEVEL_BITS 5
#define VT_LEVEL_NO_VECTORS 6

#define VT_LEVEL_NEWEST 6

/* The highest that this process knows: VT_LEVEL_NEWEST, or what the environment says. */
extern uint32_t vt_level_high(void);

/*
 * May somebody who knows the levels from low to high come to where level is worked
 * at?  who: "this worker"; a high of 0 is of a release before there were levels.
 */
extern VtStatus vt_level_check(const char *who, uint32_t low, uint32_t high, uint32_t level, VtError *err);

#endif							/* BASE_LEVEL_H */
