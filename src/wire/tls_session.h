/*-------------------------------------------------------------------------
 *
 * tls_session.h
 *	  Private to wire: the insides of contexts and sessions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WIRE_TLS_SESSION_H
#define WIRE_TLS_SESSION_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "cert.h"

struct WireTlsContext
{
	SSL_CTX    *ssl;
	WireIdentity identity;
	atomic_int	refs;
};

/* What OpenSSL asks of each certificate of a peer. */
extern int	tls_verify(int believed, X509_STORE_CTX *chain);

#endif							/* WIRE_TLS_SESSION_H */
