/*-------------------------------------------------------------------------
 *
 * endpoint.h
 *	  Where somebody listens: "unix:/path" or "tcp://address:port".
 *
 * An address is a number, or "localhost", which is 127.0.0.1: looking up a name
 * may wait, and who parses an endpoint must not.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_ENDPOINT_H
#define BASE_ENDPOINT_H

#include <sys/socket.h>

#include "base/status.h"

#define ENDPOINT_ADDRESS_TEXT 64	/* "[address]:port" and NUL */

typedef struct Endpoint
{
	bool		tcp;
	bool		any;			/* tcp: every address of this machine, to listen on only */
	struct sockaddr_storage addr;
	socklen_t	len;
} Endpoint;

/* VT_INVALID, with words that name the endpoint. */
extern VtStatus endpoint_parse(const char *text, Endpoint *out, VtError *err);

/* Of tcp: "address:port" or "[address]:port". */
extern void endpoint_format(const struct sockaddr_storage *addr, socklen_t len,
							char out[ENDPOINT_ADDRESS_TEXT]);

/* The path of a unix endpoint, which must be one. */
extern const char *endpoint_path(const Endpoint *endpoint);

/*
 * Small messages leave at once, and a connection whose other end is gone without
 * a word (a machine without power, a cable cut) ends within half a minute.
 */
extern void endpoint_set_up_tcp(int fd);

#endif							/* BASE_ENDPOINT_H */
