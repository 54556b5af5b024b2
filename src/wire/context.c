/*-------------------------------------------------------------------------
 *
 * context.c
 *	  Whom to trust and who we are: a CA, a certificate and its key.
 *
 * All that can be wrong with them is found here, when they are read, and not
 * by the first peer: a certificate that the CA has not signed, or that is not in
 * force, one for another role, a key of another certificate, a key that others
 * may read.
 *
 *-------------------------------------------------------------------------
 */
#include "tls_session.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (1u << 20)
#define CHAIN_BYTES_MAX (16u << 10) /* of certificates that a peer shows */
#define CHAIN_DEPTH_MAX 4

static bool
add_authorities(SSL_CTX *ssl, Bytes ca)
{
	BIO		   *bio = cert_pem(ca);
	X509	   *cert;
	int			n = 0;

	while ((cert = cert_next(bio)) != NULL)
	{
		n += X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), cert) == 1;
		X509_free(cert);
	}
	BIO_free(bio);
	ERR_clear_error();			/* the end of the file is one */
	return n > 0;
}

/* Our own certificate, what follows it in its file, and its key. */
static bool
set_own(SSL_CTX *ssl, Bytes certificate, Bytes key)
{
	BIO		   *cert_bio = cert_pem(certificate);
	BIO		   *key_bio = cert_pem(key);
	X509	   *cert = cert_next(cert_bio);
	EVP_PKEY   *pair = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
	bool		ok = cert && pair && SSL_CTX_use_certificate(ssl, cert) == 1;

	X509_free(cert);
	while (ok && (cert = cert_next(cert_bio)) != NULL)
	{
		ok = SSL_CTX_add1_chain_cert(ssl, cert) == 1;
		X509_free(cert);
	}
	if (ok)
		ERR_clear_error();
	ok = ok && SSL_CTX_use_PrivateKey(ssl, pair) == 1 && SSL_CTX_check_private_key(ssl) == 1;
	EVP_PKEY_free(pair);
	BIO_free(cert_bio);
	BIO_free(key_bio);
	return ok;
}

/* Would our own peers believe us? */
static VtStatus
check_own(WireTlsContext *context, WireRole role, VtError *err)
{
	X509	   *cert = SSL_CTX_get0_certificate(context->ssl);
	STACK_OF(X509) * chain = NULL;
	X509_STORE_CTX *check = X509_STORE_CTX_new();
	VtError		why = {0};
	char		words[200];
	VtStatus	status = VT_OK;

	SSL_CTX_get0_chain_certs(context->ssl, &chain);
	if (!check || !X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context->ssl), cert, chain))
		vt_assert_fail("X509_STORE_CTX_init", __FILE__, __LINE__);
	if (X509_verify_cert(check) != 1)
	{
		cert_refusal(check, words, sizeof(words));
		status = vt_fail(err, VT_DENIED, "%s", words);
	}
	else if (cert_identity(cert, &context->identity, &why) != VT_OK)
		status = vt_fail(err, VT_DENIED, "the certificate is for nobody: %s", vt_error_words(&why));
	else if (role != 0 && context->identity.role != role)
		status = vt_fail(err, VT_DENIED, "the certificate is for %s \"%s\", and this is %s %s",
						 wire_role_word(context->identity.role), context->identity.name,
						 role == WIRE_ROLE_CTL ? "an" : "a", wire_role_word(role));
	X509_STORE_CTX_free(check);
	return status;
}

VtStatus
wire_tls_context_new(Bytes ca, Bytes certificate, Bytes key, WireRole role, WireTlsContext **out,
					 VtError *err)
{
	WireTlsContext *context = vt_alloc0(sizeof(WireTlsContext));
	SSL_CTX    *ssl = SSL_CTX_new(TLS_method());
	VtStatus	status = VT_OK;

	ERR_clear_error();
	*out = NULL;
	if (!ssl)
		vt_assert_fail("SSL_CTX_new", __FILE__, __LINE__);
	context->ssl = ssl;
	atomic_store(&context->refs, 1);
	if (!SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) ||
		!SSL_CTX_set_ciphersuites(ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") ||
		!SSL_CTX_set_num_tickets(ssl, 0))
		vt_assert_fail("TLS 1.3", __FILE__, __LINE__);

	/* A session is never taken up again: whoever comes shows his certificate. */
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_read_ahead(ssl, 1);
	SSL_CTX_set_max_cert_list(ssl, CHAIN_BYTES_MAX);
	SSL_CTX_set_verify_depth(ssl, CHAIN_DEPTH_MAX);
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_verify);
	if (!add_authorities(ssl, ca))
		status = vt_fail(err, VT_INVALID, "there is no CA's certificate");
	else if (!set_own(ssl, certificate, key))
		status = vt_fail(err, VT_INVALID, "certificate and key are no PEM or do not fit together: %s", cert_openssl_words());
	else
		status = check_own(context, role, err);
	ERR_clear_error();
	if (status != VT_OK)
	{
		wire_tls_context_release(context);
		return status;
	}
	*out = context;
	return VT_OK;
}

WireTlsContext *
wire_tls_context_ref(WireTlsContext *context)
{
	atomic_fetch_add(&context->refs, 1);
	return context;
}

void
wire_tls_context_release(WireTlsContext *context)
{
	if (!context || atomic_fetch_sub(&context->refs, 1) != 1)
		return;
	SSL_CTX_free(context->ssl);
	free(context);
}

const WireIdentity *
wire_tls_context_identity(const WireTlsContext *context)
{
	return &context->identity;
}

int64_t
wire_tls_context_until(const WireTlsContext *context)
{
	return cert_seconds(X509_get0_notAfter(SSL_CTX_get0_certificate(context->ssl)));
}

/* -- Files ------------------------------------------------------------------- */

/* As PostgreSQL wants it of its own key: ours and nobody else's, or root's and our group's. */
static bool
is_secret(const struct stat *st)
{
	return st->st_uid == 0 && geteuid() != 0 ? (st->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) == 0 :
		st->st_uid == geteuid() && (st->st_mode & (S_IRWXG | S_IRWXO)) == 0;
}

static VtStatus
read_file(const char *path, bool secret, Buf *out, VtError *err)
{
	struct stat st;
	VtStatus	status = VT_OK;
	ssize_t		n = 1;
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return vt_fail_errno(err, VT_INVALID, "could not open \"%.120s\"", path);
	if (fstat(fd, &st) < 0)
		status = vt_fail_errno(err, VT_INVALID, "could not look at \"%.120s\"", path);
	else if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		status = vt_fail(err, VT_INVALID, "\"%.120s\" is no file of PEM", path);
	else if (secret && !is_secret(&st))
		status = vt_fail(err, VT_DENIED, "the key \"%.120s\" may be read by others, or is another user's: chmod 0600", path);
	while (status == VT_OK && n > 0 && out->len <= FILE_MAX)
	{
		buf_reserve(out, 4096);
		n = read(fd, out->data + out->len, 4096);
		if (n < 0 && errno != EINTR)
			status = vt_fail_errno(err, VT_INVALID, "could not read \"%.120s\"", path);
		out->len += n > 0 ? (size_t) n : 0;
		n = n < 0 ? 1 : n;
	}
	close(fd);
	return status;
}

static void
wipe(Buf *secret)
{
	if (secret->data)
		OPENSSL_cleanse(secret->data, secret->size);
	buf_free(secret);
}

VtStatus
wire_tls_context_load(const WireTlsFiles *files, WireRole role, WireTlsContext **out, VtError *err)
{
	Buf			ca = {0};
	Buf			certificate = {0};
	Buf			key = {0};
	VtError		why = {0};
	VtStatus	status;

	*out = NULL;
	buf_reserve(&key, FILE_MAX / 64);	/* a key does not move, and leaves no copy behind */
	status = read_file(files->ca_file, false, &ca, err);
	if (status == VT_OK)
		status = read_file(files->cert_file, false, &certificate, err);
	if (status == VT_OK)
		status = read_file(files->key_file, true, &key, err);
	if (status == VT_OK)
	{
		status = wire_tls_context_new(buf_bytes(&ca), buf_bytes(&certificate), buf_bytes(&key), role, out, &why);
		if (status != VT_OK)
			vt_fail(err, status, "\"%.80s\": %.140s", files->cert_file, vt_error_words(&why));
	}
	buf_free(&ca);
	buf_free(&certificate);
	wipe(&key);
	return status;
}
