/*-------------------------------------------------------------------------
 *
 * cert.c
 *	  Certificates: reading ours, making them, and words for what is wrong.
 *
 * Keys are ECDSA on P-256: signing and checking take some tens of microseconds,
 * and everybody who speaks TLS 1.3 knows it.  A CA may sign nothing but ends
 * of chains, and a gateway's or a person's certificate is none for a server.
 *
 *-------------------------------------------------------------------------
 */
#include "cert.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#define CA_NAME "vectron CA"
#define SERIAL_BYTES 16

const char *
cert_openssl_words(void)
{
	unsigned long code = ERR_peek_error();
	const char *words = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return words ? words : "OpenSSL says nothing of it";
}

/* -- Reading ----------------------------------------------------------------- */

BIO *
cert_pem(Bytes pem)
{
	BIO		   *bio = pem.len <= INT32_MAX ? BIO_new_mem_buf(pem.data ? pem.data : (const uint8_t *) "", (int) pem.len) : NULL;

	if (!bio)
		vt_assert_fail("BIO_new_mem_buf", __FILE__, __LINE__);
	return bio;
}

X509 *
cert_next(BIO *pem)
{
	return PEM_read_bio_X509(pem, NULL, NULL, NULL);
}

/* The only URI of a certificate that begins as ours do; NULL = none, or several. */
static const ASN1_IA5STRING *
our_uri(const GENERAL_NAMES *names)
{
	const ASN1_IA5STRING *found = NULL;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
	{
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;

		if (name->type != GEN_URI || ASN1_STRING_length(uri) < 10 ||
			memcmp(ASN1_STRING_get0_data(uri), "vectron://", 10) != 0)
			continue;
		if (found)
			return NULL;
		found = uri;
	}
	return found;
}

VtStatus
cert_identity(X509 *cert, WireIdentity *out, VtError *err)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	const ASN1_IA5STRING *uri = names ? our_uri(names) : NULL;
	VtStatus	status = VT_INVALID;

	memset(out, 0, sizeof(*out));
	if (uri)
		status = wire_identity_parse(bytes_of(ASN1_STRING_get0_data(uri), (size_t) ASN1_STRING_length(uri)), out, err);
	else
		vt_fail(err, VT_INVALID, "it has no URI vectron://CLUSTER/ROLE/NAME, or more than one");
	GENERAL_NAMES_free(names);
	return status;
}

bool
cert_ca_cluster(X509 *cert, VtId *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	const ASN1_IA5STRING *uri = names ? our_uri(names) : NULL;
	char		text[VT_ID_TEXT] = "";

	memset(out, 0, sizeof(*out));
	if (uri && ASN1_STRING_length(uri) == 10 + 32)
		memcpy(text, ASN1_STRING_get0_data(uri) + 10, 32);
	GENERAL_NAMES_free(names);
	return text[0] && vt_id_parse(text, out) && !vt_id_is_zero(out);
}

int64_t
cert_seconds(const ASN1_TIME *time)
{
	struct tm	tm;

	return ASN1_TIME_to_tm(time, &tm) ? (int64_t) timegm(&tm) : 0;
}

void
cert_time_words(const ASN1_TIME *time, char out[CERT_TIME_TEXT])
{
	struct tm	tm;

	if (!ASN1_TIME_to_tm(time, &tm) || strftime(out, CERT_TIME_TEXT, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		snprintf(out, CERT_TIME_TEXT, "an unknown time");
}

void
cert_refusal(X509_STORE_CTX *chain, char *out, size_t size)
{
	int			verify_error = X509_STORE_CTX_get_error(chain);
	X509	   *cert = X509_STORE_CTX_get_current_cert(chain);
	X509	   *last = X509_STORE_CTX_get0_cert(chain);
	bool		above = cert != last;
	WireIdentity identity;
	char		who[sizeof(identity.name) + 32] = "";
	char		when[CERT_TIME_TEXT];

	/* What is wrong may be with one above it: that has a name of its own, or none. */
	if (last && cert_identity(last, &identity, NULL) == VT_OK)
		snprintf(who, sizeof(who), "%s of %s \"%s\"", above ? " above that" : "", wire_role_word(identity.role), identity.name);
	switch (verify_error)
	{
		case X509_V_ERR_CERT_HAS_EXPIRED:
			cert_time_words(X509_get0_notAfter(cert), when);
			snprintf(out, size, "the certificate%s expired at %s", who, when);
			break;
		case X509_V_ERR_CERT_NOT_YET_VALID:
			cert_time_words(X509_get0_notBefore(cert), when);
			snprintf(out, size, "the certificate%s is in force from %s on only: is a clock wrong?", who, when);
			break;
		case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
		case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
		case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		case X509_V_ERR_CERT_SIGNATURE_FAILURE:
			snprintf(out, size, "the certificate%s is not signed by the cluster's CA",
					 who + (above && who[0] ? strlen(" above that") : 0));
			break;
		case X509_V_ERR_INVALID_PURPOSE:
			snprintf(out, size, "the certificate%s is not for this side of a connection", who);
			break;
		default:
			snprintf(out, size, "the certificate%s is not valid: %s", who,
					 X509_verify_cert_error_string(verify_error));
			break;
	}
}

VtStatus
wire_cert_read(Bytes pem, WireCertFacts *out, VtError *err)
{
	BIO		   *bio = cert_pem(pem);
	X509	   *cert = cert_next(bio);
	uint8_t		digest[EVP_MAX_MD_SIZE];
	unsigned	len = 0;
	VtStatus	status = VT_OK;

	BIO_free(bio);
	memset(out, 0, sizeof(*out));
	if (!cert)
		return vt_fail(err, VT_INVALID, "there is no certificate in it: %s", cert_openssl_words());
	out->is_ca = X509_check_ca(cert) != 0;
	out->from = cert_seconds(X509_get0_notBefore(cert));
	out->until = cert_seconds(X509_get0_notAfter(cert));
	if (!X509_digest(cert, EVP_sha256(), digest, &len) || len != 32)
		vt_assert_fail("X509_digest", __FILE__, __LINE__);
	for (unsigned i = 0; i < len; i++)
		snprintf(out->fingerprint + 2 * i, 3, "%02x", digest[i]);
	if (out->is_ca)
		cert_ca_cluster(cert, &out->identity.cluster);
	else
		status = cert_identity(cert, &out->identity, err);
	X509_free(cert);
	ERR_clear_error();
	return status;
}

/* -- Making ------------------------------------------------------------------ */

static bool
add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX	ctx;
	X509_EXTENSION *extension;
	bool		ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = extension && X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
	return ok;
}

static bool
set_name(X509 *cert, const char *name)
{
	X509_NAME  *subject = X509_get_subject_name(cert);

	return X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const unsigned char *) "vectron", -1, -1, 0) &&
		X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *) name, -1, -1, 0);
}

/* All that certificates have in common; not signed yet. */
static X509 *
blank(EVP_PKEY *key, const char *name, int64_t from, int64_t until)
{
	X509	   *cert = X509_new();
	uint8_t		random[SERIAL_BYTES];
	BIGNUM	   *serial = NULL;
	bool		ok = cert && RAND_bytes(random, sizeof(random)) == 1;

	random[0] = (uint8_t) ((random[0] & 0x3f) | 0x40);	/* positive, and always as long */
	serial = ok ? BN_bin2bn(random, sizeof(random), NULL) : NULL;
	ok = serial && X509_set_version(cert, X509_VERSION_3) &&
		BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) &&
		ASN1_TIME_set(X509_getm_notBefore(cert), (time_t) from) &&
		ASN1_TIME_set(X509_getm_notAfter(cert), (time_t) until) &&
		X509_set_pubkey(cert, key) && set_name(cert, name);
	BN_free(serial);
	if (ok)
		return cert;
	X509_free(cert);
	return NULL;
}

static bool
write_cert(X509 *cert, Buf *out)
{
	BIO		   *bio = BIO_new(BIO_s_mem());
	bool		ok = bio && PEM_write_bio_X509(bio, cert);
	char	   *text;

	if (ok)
	{
		long		len = BIO_get_mem_data(bio, &text);

		buf_put(out, text, (size_t) len);
	}
	BIO_free(bio);
	return ok;
}

static bool
write_key(EVP_PKEY *key, Buf *out)
{
	BIO		   *bio = BIO_new(BIO_s_secmem());
	bool		ok = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	char	   *text;

	if (ok)
	{
		long		len = BIO_get_mem_data(bio, &text);

		buf_put(out, text, (size_t) len);
	}
	BIO_free(bio);
	return ok;
}

static EVP_PKEY *
read_key(Bytes pem)
{
	BIO		   *bio = cert_pem(pem);
	EVP_PKEY   *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	BIO_free(bio);
	return key;
}

VtStatus
wire_ca_make(const VtId *cluster, int64_t from, int64_t until, Buf *certificate, Buf *key, VtError *err)
{
	EVP_PKEY   *pair = EVP_EC_gen("P-256");
	char		hex[VT_ID_TEXT];
	char		text[80];
	char		name[80];
	X509	   *cert;
	bool		ok;

	vt_id_format(cluster, hex);
	snprintf(name, sizeof(name), CA_NAME " %s", hex);
	snprintf(text, sizeof(text), "URI:vectron://%s", hex);
	cert = pair ? blank(pair, name, from, until) : NULL;
	ok = cert && X509_set_issuer_name(cert, X509_get_subject_name(cert)) &&
		add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
		add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		add_extension(cert, cert, NID_subject_key_identifier, "hash") &&
		add_extension(cert, cert, NID_subject_alt_name, text) &&
		X509_sign(cert, pair, EVP_sha256()) && write_cert(cert, certificate) && write_key(pair, key);
	X509_free(cert);
	EVP_PKEY_free(pair);
	if (!ok)
		return vt_fail(err, VT_IO, "could not make a CA: %s", cert_openssl_words());
	return VT_OK;
}

/* Sign a certificate for an identity. */
static bool
make(X509 *ca, EVP_PKEY *ca_key, const WireIdentity *identity, int64_t from, int64_t until,
	 Buf *certificate, Buf *key)
{
	bool		is_new = key->len == 0;
	EVP_PKEY   *pair = is_new ? EVP_EC_gen("P-256") : read_key(buf_bytes(key));
	bool		server = identity->role == WIRE_ROLE_PD || identity->role == WIRE_ROLE_WORKER;
	int64_t		ca_until = cert_seconds(X509_get0_notAfter(ca));
	Buf			uri = {0};
	X509	   *cert;
	bool		ok;

	buf_put(&uri, "URI:", 4);
	wire_identity_format(identity, &uri);
	buf_put_u8(&uri, 0);
	cert = pair ? blank(pair, identity->name, from, until < ca_until ? until : ca_until) : NULL;
	ok = cert && X509_set_issuer_name(cert, X509_get_subject_name(ca)) &&
		add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
		add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") &&
		add_extension(cert, ca, NID_ext_key_usage, server ? "serverAuth,clientAuth" : "clientAuth") &&
		add_extension(cert, ca, NID_subject_key_identifier, "hash") &&
		add_extension(cert, ca, NID_authority_key_identifier, "keyid:always") &&
		add_extension(cert, ca, NID_subject_alt_name, (const char *) uri.data) &&
		X509_sign(cert, ca_key, EVP_sha256()) && write_cert(cert, certificate) &&
		(!is_new || write_key(pair, key));
	X509_free(cert);
	EVP_PKEY_free(pair);
	buf_free(&uri);
	return ok;
}

VtStatus
wire_cert_make(Bytes ca, Bytes ca_key, WireRole role, const char *name, int64_t from, int64_t until,
			   Buf *certificate, Buf *key, VtError *err)
{
	BIO		   *cert_bio = cert_pem(ca);
	X509	   *authority = cert_next(cert_bio);
	EVP_PKEY   *pair = read_key(ca_key);
	WireIdentity identity;
	VtId		cluster;
	VtStatus	status = VT_OK;

	if (!authority || !pair)
		status = vt_fail(err, VT_INVALID, "the CA's certificate or key is no PEM: %s", cert_openssl_words());
	else if (!X509_check_private_key(authority, pair) || !X509_check_ca(authority))
		status = vt_fail(err, VT_INVALID, "the CA's certificate and key do not fit together");
	else if (!cert_ca_cluster(authority, &cluster))
		status = vt_fail(err, VT_INVALID, "the CA's certificate names no cluster");
	else
		status = wire_identity_make(&cluster, role, name, &identity, err);
	if (status == VT_OK && from >= cert_seconds(X509_get0_notAfter(authority)))
		status = vt_fail(err, VT_INVALID, "the CA itself is not in force then");
	if (status == VT_OK && !make(authority, pair, &identity, from, until, certificate, key))
		status = vt_fail(err, VT_IO, "could not make a certificate: %s", cert_openssl_words());
	X509_free(authority);
	EVP_PKEY_free(pair);
	BIO_free(cert_bio);
	ERR_clear_error();
	return status;
}
