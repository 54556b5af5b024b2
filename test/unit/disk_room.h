/*-------------------------------------------------------------------------
 *
 * disk_room.h
 *	  As much room on every disk as the test says, to be included by one file of a program.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DISK_ROOM_H
#define DISK_ROOM_H

#include <stdatomic.h>
#include <sys/statvfs.h>

static atomic_bool disk_is_full;
static void (*_Atomic disk_was_seen) (void);	/* between seeing and telling; NULL: nothing */

/* In the place of the C library's. */
int
statvfs(const char *path, struct statvfs *out)
{
	void		(*seen) (void) = atomic_load(&disk_was_seen);

	(void) path;
	*out = (struct statvfs) {.f_frsize = 4096, .f_bavail = atomic_load(&disk_is_full) ? 0 : 1 << 20};
	if (seen)
		seen();
	return 0;
}

#endif							/* DISK_ROOM_H */
