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

/* What this server was leased, and by whom it asked: all it takes to go on with it. */
typedef struct Confirmed
{
	VtId		incarnation;
	VtId		marker;
	VtId		cluster;
	VtId		session;
	uint64		system;
	uint64		endpoints;		/* hash of where PD was asked */
	uint32		timeline;
} Confirmed;

/*
 * shared.c: what PD confirmed last to any process of this postmaster, when that
 * was, and when one could not reach PD (0 = it was reached since).  False: nothing, or no shared memory.
 */
extern void confirmed_keep(const Confirmed *confirmed);
extern bool confirmed_get(Confirmed *out, int64 *at_us, int64 *in_vain_us);
extern void confirmed_in_vain(void);
extern void confirmed_drop(void);

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
