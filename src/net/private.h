/*-------------------------------------------------------------------------
 *
 * private.h
 *	  What the files of net share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef NET_PRIVATE_H
#define NET_PRIVATE_H

#include "net/net.h"

/* The path of a unix endpoint, or NULL and words. */
extern const char *endpoint_path(const char *endpoint, VtError *err);

#endif							/* NET_PRIVATE_H */
