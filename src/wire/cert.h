/*-------------------------------------------------------------------------
 *
 * cert.h
 *	  Private to wire: what its files know of a certificate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WIRE_CERT_H
#define WIRE_CERT_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "wire/wire.h"

/* The next certificate of a PEM; NULL = there is none. */
extern X509 *cert_next(BIO *pem);
extern BIO *cert_pem(Bytes pem);

/* Who it says it is for: its only URI of our form. */
extern VtStatus cert_identity(X509 *cert, WireIdentity *out, VtError *err);

/* The cluster of a CA, from the same place; false = it names none. */
extern bool cert_ca_cluster(X509 *cert, VtId *out);

extern int64_t cert_seconds(const ASN1_TIME *time);

#define CERT_TIME_TEXT 32
extern void cert_time_words(const ASN1_TIME *time, char out[CERT_TIME_TEXT]);

/* Why OpenSSL does not believe a chain of certificates, in our words. */
extern void cert_refusal(X509_STORE_CTX *chain, char *out, size_t size);

/* Words for OpenSSL's first error; empties its queue. */
extern const char *cert_openssl_words(void);

#endif							/* WIRE_CERT_H */
