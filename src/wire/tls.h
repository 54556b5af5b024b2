/*-------------------------------------------------------------------------
 *
 * tls.h
 *	  Who may speak over tcp: certificates, and sessions that hide and guard
 *	  what crosses the network.  Part of wire.h.
 *
 * TLS 1.3 by OpenSSL, from bytes to bytes: no socket is touched here.  Both
 * sides show a certificate.  What counts is that one of our CA has signed it,
 * that it is in force, and the identity in its only URI of this form:
 *
 *		vectron://<cluster, 32 hex digits>/<role>/<name>
 *
 * with role pd, worker, gateway or admin.  A gateway's name is the decimal
 * system identifier of its PostgreSQL server; others are free.  Host names play
 * no part.
 *
 * Contexts are immutable and may be used by all threads; a session belongs to
 * whoever holds its connection's lock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WIRE_TLS_H
#define WIRE_TLS_H

#include "wire/wire.h"

#define WIRE_NAME_MAX 63		/* bytes of a name: letters, digits, ".", "_", "-" */

typedef struct WireIdentity
{
	WireRole	role;
	VtId		cluster;
	char		name[WIRE_NAME_MAX + 1];
	uint64_t	system;			/* a gateway's, else 0 */
} WireIdentity;

/* The words of certificates for roles; 0 = none of them. */
extern const char *wire_role_word(WireRole role);
extern WireRole wire_role_of_word(const char *word);

/* VT_INVALID when it is no identity; words say why. */
extern VtStatus wire_identity_make(const VtId *cluster, WireRole role, const char *name,
								   WireIdentity *out, VtError *err);
extern VtStatus wire_identity_parse(Bytes uri, WireIdentity *out, VtError *err);
extern void wire_identity_format(const WireIdentity *identity, Buf *uri);

/* -- Contexts: whom to trust, and who we are -------------------------------- */

typedef struct WireTlsContext WireTlsContext;

/* PEM.  VT_DENIED: they do not fit together, are not in force, or not for role (0 = any). */
extern VtStatus wire_tls_context_new(Bytes ca, Bytes certificate, Bytes key, WireRole role,
									 WireTlsContext **out, VtError *err);

typedef struct WireTlsFiles
{
	const char *ca_file;		/* one or more certificates */
	const char *cert_file;
	const char *key_file;		/* others must not be able to read it */
} WireTlsFiles;

extern VtStatus wire_tls_context_load(const WireTlsFiles *files, WireRole role,
									  WireTlsContext **out, VtError *err);
extern WireTlsContext *wire_tls_context_ref(WireTlsContext *context);
extern void wire_tls_context_release(WireTlsContext *context);	/* NULL is fine */
extern const WireIdentity *wire_tls_context_identity(const WireTlsContext *context);
extern int64_t wire_tls_context_until(const WireTlsContext *context);	/* seconds since 1970 */

/* -- Sessions --------------------------------------------------------------- */

typedef struct WireTls WireTls;

/* expected: the role that the peer must have, 0 = any.  Refers to the context. */
extern WireTls *wire_tls_new(WireTlsContext *context, bool server, WireRole expected);
extern void wire_tls_free(WireTls *tls);	/* NULL is fine */
extern WireTlsContext *wire_tls_context_of(const WireTls *tls);

/*
 * Bytes have come from the peer (a client begins with none).  What they mean is
 * added to *plain, what the peer has to be sent to *out, also after a failure:
 * it says why.  After one the session is of no use: VT_DENIED (a certificate),
 * VT_VERSION, VT_PROTOCOL (no TLS, damage), VT_UNAVAILABLE (the peer has ended it).
 */
extern VtStatus wire_tls_take(WireTls *tls, Bytes in, Buf *plain, Buf *out, VtError *err);

/* Is the peer known?  Before that *plain stays empty and nothing may be sent. */
extern bool wire_tls_ready(const WireTls *tls);
extern const WireIdentity *wire_tls_peer(const WireTls *tls);

/* Hide bytes for the peer and add them to *out. */
extern VtStatus wire_tls_put(WireTls *tls, Bytes plain, Buf *out, VtError *err);

/* -- Making certificates ---------------------------------------------------- */

/* Times are seconds since 1970.  PEM is added to the two Bufs. */
extern VtStatus wire_ca_make(const VtId *cluster, int64_t from, int64_t until, Buf *certificate,
							 Buf *key, VtError *err);

/*
 * In force no longer than its CA.  With a key in *key it is for that one, else for
 * a new one, which is put there.
 */
extern VtStatus wire_cert_make(Bytes ca, Bytes ca_key, WireRole role, const char *name,
							   int64_t from, int64_t until, Buf *certificate, Buf *key,
							   VtError *err);

typedef struct WireCertFacts
{
	bool		is_ca;
	WireIdentity identity;		/* a CA has only a cluster, or none */
	int64_t		from;
	int64_t		until;
	char		fingerprint[65];	/* SHA-256 */
} WireCertFacts;

/* The first certificate of a PEM. */
extern VtStatus wire_cert_read(Bytes pem, WireCertFacts *out, VtError *err);

#endif							/* WIRE_TLS_H */
