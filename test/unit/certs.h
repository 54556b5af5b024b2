/*-------------------------------------------------------------------------
 *
 * certs.h
 *	  CAs and certificates for tests, good and bad.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_CERTS_H
#define TEST_CERTS_H

#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <time.h>
#include <unistd.h>

#include "scratch.h"
#include "wire/wire.h"

#define HOUR INT64_C(3600)

typedef struct TestCa
{
	VtId		cluster;
	Buf			cert;
	Buf			key;
} TestCa;

typedef struct TestCert
{
	Buf			cert;
	Buf			key;
} TestCert;

static inline void
ca_make(TestCa *ca, uint8_t cluster)
{
	memset(ca, 0, sizeof(*ca));
	ca->cluster.b[0] = cluster;
	assert_int_equal(wire_ca_make(&ca->cluster, time(NULL) - 100 * HOUR, time(NULL) + 100 * HOUR, &ca->cert, &ca->key, NULL), VT_OK);
}

/* In force from so many hours from now until so many. */
static inline void
cert_make_at(TestCert *out, const TestCa *ca, WireRole role, const char *name, int64_t from, int64_t until)
{
	memset(out, 0, sizeof(*out));
	assert_int_equal(wire_cert_make(buf_bytes(&ca->cert), buf_bytes(&ca->key), role, name, time(NULL) + from * HOUR,
									time(NULL) + until * HOUR, &out->cert, &out->key, NULL), VT_OK);
}

static inline void
cert_make(TestCert *out, const TestCa *ca, WireRole role, const char *name)
{
	cert_make_at(out, ca, role, name, -1, 10);
}

static inline void
ca_free(TestCa *ca)
{
	buf_free(&ca->cert);
	buf_free(&ca->key);
}

static inline void
cert_free(TestCert *cert)
{
	buf_free(&cert->cert);
	buf_free(&cert->key);
}

/* A context whose peers must be signed by trusted. */
static inline WireTlsContext *
context_of(const TestCa *trusted, const TestCa *signer, WireRole role, const char *name)
{
	TestCert	cert;
	Buf			both = {0};
	WireTlsContext *context;
	VtError		err = {0};

	cert_make(&cert, signer, role, name);
	/* Its own CA is trusted, too, since a context refuses a certificate that nobody could believe. */
	buf_put(&both, trusted->cert.data, trusted->cert.len);
	if (signer != trusted)
		buf_put(&both, signer->cert.data, signer->cert.len);
	if (wire_tls_context_new(buf_bytes(&both), buf_bytes(&cert.cert), buf_bytes(&cert.key), 0, &context, &err) != VT_OK)
		fail_msg("%s", err.msg);
	buf_free(&both);
	cert_free(&cert);
	return context;
}

/* OpenSSL's own client, which shows what it is told to, or nothing, and believes everybody. */
static inline SSL_CTX *
stranger(const TestCert *shows, int version)
{
	SSL_CTX    *context = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_max_proto_version(context, version);
	if (shows)
	{
		BIO		   *cert_bio = BIO_new_mem_buf(shows->cert.data, (int) shows->cert.len);
		BIO		   *key_bio = BIO_new_mem_buf(shows->key.data, (int) shows->key.len);
		X509	   *cert = PEM_read_bio_X509(cert_bio, NULL, NULL, NULL);
		EVP_PKEY   *key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);

		assert_int_equal(SSL_CTX_use_certificate(context, cert), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
		X509_free(cert);
		EVP_PKEY_free(key);
		BIO_free(cert_bio);
		BIO_free(key_bio);
	}
	return context;
}

static inline void
write_whole(const char *path, Bytes bytes, mode_t mode)
{
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(write(fd, bytes.data, bytes.len), (ssize_t) bytes.len);
	close(fd);
}

#endif							/* TEST_CERTS_H */
