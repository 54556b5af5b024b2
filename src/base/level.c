/*-------------------------------------------------------------------------
 *
 * level.c
 *	  Feature levels: what all members of a cluster can do.
 *
 *-------------------------------------------------------------------------
 */
#include "base/level.h"

#include <stdlib.h>

uint32_t
vt_level_high(void)
{
	const char *text = getenv("VECTRON_LEVEL_HIGH");
	char	   *end;
	unsigned long asked = text ? strtoul(text, &end, 10) : 0;

	return text && end != text && *end == '\0' && asked >= VT_LEVEL_LOW && asked < VT_LEVEL_NEWEST ?
		(uint32_t) asked : VT_LEVEL_NEWEST;
}

VtStatus
vt_level_check(const char *who, uint32_t low, uint32_t high, uint32_t level, VtError *err)
{
	if (high == 0)
		low = high = VT_LEVEL_LOW;
	if (level > high)
		return vt_fail(err, VT_VERSION, "the cluster works at feature level %u, and %s knows only those up to %u: it is of an older release, start a newer one",
					   level, who, high);
	if (level < low)
		return vt_fail(err, VT_VERSION, "the cluster works at feature level %u, and %s needs at least %u: upgrade the placement drivers and workers first",
					   level, who, low);
	return VT_OK;
}
