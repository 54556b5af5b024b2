/*-------------------------------------------------------------------------
 *
 * directory.h
 *	  Names that outlive a power loss.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_DIRECTORY_H
#define BASE_DIRECTORY_H

#include "base/status.h"

/*
 * What was made, renamed or removed in a directory before this call is durable after
 * it.  A sync of a file does not do that for its name.  VT_IO, and errno
 * tells why.
 */
extern VtStatus directory_sync(const char *path, VtError *err);

#endif							/* BASE_DIRECTORY_H */
