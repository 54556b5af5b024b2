/*-------------------------------------------------------------------------
 *
 * torn.h
 *	  Private to store: does LevelDB's log lack something that was written?
 *
 *-------------------------------------------------------------------------
 */
#ifndef STORE_TORN_H
#define STORE_TORN_H

#include "base/bytes.h"

/* Of the closed store in this directory: is a log of it damaged before its end, or not to be read? */
extern bool torn_look(const char *path);

#endif							/* STORE_TORN_H */
