/*-------------------------------------------------------------------------
 *
 * identity.h
 *	  What the files about this server's identity share (law W7).
 *
 * marker.c tells copies of files, session.c copies below the file system, and
 * identity.c asks the placement driver.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_IDENTITY_H
#define VECTRON_IDENTITY_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/status.h"

typedef struct Marker
{
	VtId		id;
	uint64		inode;
	int64		born_s;
	uint32		born_ns;
} Marker;

/* marker.c */
extern char *identity_file(const char *name);	/* its path */
extern int	identity_lock(void);
extern bool marker_read(Marker *out, bool *copied);
extern Marker marker_current(void);
extern void marker_renew(const char *reason);

/* session.c; all but the last two under the lock */
extern VtId session_begin(void);
extern void session_confirm(const VtId *name);
extern bool session_is_last(const VtId *name);
extern char *session_before_json(void);
extern uint64 session_place(const Marker *marker);
extern void session_note_stop(void);

#endif							/* VECTRON_IDENTITY_H */
