/*-------------------------------------------------------------------------
 *
 * door.c
 *	  May this replica answer a search?
 *
 *-------------------------------------------------------------------------
 */
#include "door.h"

#include "base/breaks.h"

DoorSays
door_search(WireConsistency consistency, uint64_t mark, uint64_t applied, bool leader)
{
	if (consistency == WIRE_EVENTUAL)
		return DOOR_SERVE;
	if (consistency != WIRE_AT_MARK)
		return vt_broken("RI-ask") ? DOOR_SERVE : DOOR_ASK;
	if (applied >= mark || vt_broken("R3-behind"))
		return DOOR_SERVE;
	return leader ? DOOR_ASK : DOOR_BEHIND;
}

DoorSays
door_lent(WireConsistency consistency, uint64_t mark, uint64_t stands)
{
	if (vt_broken("R3-lent") || consistency == WIRE_EVENTUAL)
		return DOOR_SERVE;
	return consistency == WIRE_AT_MARK && stands >= mark ? DOOR_SERVE : DOOR_BEHIND;
}
