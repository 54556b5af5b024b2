/*-------------------------------------------------------------------------
 *
 * tls.c
 *	  TLS 1.3 from bytes to bytes.
 *
 * OpenSSL reads and writes through a BIO of ours, which takes from the bytes that
 * wire_tls_take() was given and adds to the Buf that is sent: nothing is copied
 * on the way, and what OpenSSL has read of an unfinished record it keeps itself.
 *
 * The identity of a peer is checked while its certificate is, so that it is told
 * by an alert when it is refused.  OpenSSL's queue of errors is empty before and
 * after each call: in a backend it belongs to others, too.
 *
 *-------------------------------------------------------------------------
 */
#include "tls_session.h"

#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define RECORD_BYTES (16u << 10)
#define GREETING_BYTES_MAX (64u << 10)	/* that an unknown peer may send */

struct WireTls
{
	SSL		   *ssl;
	WireTlsContext *context;
	WireRole	expected;
	bool		ready;
	WireIdentity peer;
	size_t		greeting_bytes;
	char		refusal[200];	/* of its certificate; "" = none */

	/* During a call */
	Bytes		in;				/* not read yet */
	Buf		   *out;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method;
static int	session_index;		/* where an SSL knows its WireTls */

/* -- OpenSSL's end ------------------------------------------------------------ */

static int
bio_read(BIO *bio, char *data, int len)
{
	WireTls    *tls = BIO_get_data(bio);
	size_t		n = tls->in.len < (size_t) len ? tls->in.len : (size_t) len;

	BIO_clear_retry_flags(bio);
	if (n == 0)
	{
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(data, tls->in.data, n);
	tls->in.data += n;
	tls->in.len -= n;
	return (int) n;
}

static int
bio_write(BIO *bio, const char *data, int len)
{
	WireTls    *tls = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	buf_put(tls->out, data, (size_t) len);
	return len;
}

static long
bio_ctrl(BIO *bio, int command, long number, void *arg)
{
	(void) bio;
	(void) number;
	(void) arg;
	return command == BIO_CTRL_FLUSH;
}

static void
setup(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "vectron");
	session_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	if (!method || session_index < 0 || !BIO_meth_set_read(method, bio_read) ||
		!BIO_meth_set_write(method, bio_write) || !BIO_meth_set_ctrl(method, bio_ctrl))
		vt_assert_fail("BIO_meth_new", __FILE__, __LINE__);
}

/* Is this who may be at the other end?  What is wrong goes into refusal. */
static bool
is_welcome(WireTls *tls, X509 *cert)
{
	const WireIdentity *own = &tls->context->identity;
	VtError		why = {0};

	if (cert_identity(cert, &tls->peer, &why) != VT_OK)
		snprintf(tls->refusal, sizeof(tls->refusal), "the certificate is for nobody: %.140s", vt_error_words(&why));
	else if (!vt_id_equal(&tls->peer.cluster, &own->cluster))
		snprintf(tls->refusal, sizeof(tls->refusal), "the certificate of %s \"%s\" is for another cluster",
				 wire_role_word(tls->peer.role), tls->peer.name);
	else if (tls->expected != 0 && tls->peer.role != tls->expected)
		snprintf(tls->refusal, sizeof(tls->refusal), "the certificate is for %s \"%s\", where a %s was expected",
				 wire_role_word(tls->peer.role), tls->peer.name, wire_role_word(tls->expected));
	return tls->refusal[0] == '\0';
}

int
tls_verify(int believed, X509_STORE_CTX *chain)
{
	SSL		   *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
	WireTls    *tls = SSL_get_ex_data(ssl, session_index);
	X509	   *cert = X509_STORE_CTX_get_current_cert(chain);

	if (!believed)
	{
		cert_refusal(chain, tls->refusal, sizeof(tls->refusal));
		return 0;
	}
	if (X509_STORE_CTX_get_error_depth(chain) == 0 && !is_welcome(tls, cert))
	{
		X509_STORE_CTX_set_error(chain, X509_V_ERR_APPLICATION_VERIFICATION);
		return 0;
	}
	return 1;
}

/* -- Sessions ----------------------------------------------------------------- */

WireTls *
wire_tls_new(WireTlsContext *context, bool server, WireRole expected)
{
	WireTls    *tls = vt_alloc0(sizeof(WireTls));
	BIO		   *bio;

	pthread_once(&once, setup);
	tls->context = wire_tls_context_ref(context);
	tls->expected = expected;
	tls->ssl = SSL_new(context->ssl);
	bio = BIO_new(method);
	if (!tls->ssl || !bio || !SSL_set_ex_data(tls->ssl, session_index, tls))
		vt_assert_fail("SSL_new", __FILE__, __LINE__);
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	if (server)
		SSL_set_accept_state(tls->ssl);
	else
		SSL_set_connect_state(tls->ssl);
	return tls;
}

void
wire_tls_free(WireTls *tls)
{
	if (!tls)
		return;
	SSL_free(tls->ssl);
	wire_tls_context_release(tls->context);
	free(tls);
}

WireTlsContext *
wire_tls_context_of(const WireTls *tls)
{
	return tls->context;
}

bool
wire_tls_ready(const WireTls *tls)
{
	return tls->ready;
}

const WireIdentity *
wire_tls_peer(const WireTls *tls)
{
	Assert(tls->ready);
	return &tls->peer;
}

/* What the peer's last word means: an alert. */
static VtStatus
refused_by_peer(int alert, VtError *err)
{
	switch (alert)
	{
		case SSL_AD_CERTIFICATE_EXPIRED:
			return vt_fail(err, VT_DENIED, "refuses our certificate: expired, or not in force yet, by its clock");
		case SSL_AD_UNKNOWN_CA:
			return vt_fail(err, VT_DENIED, "refuses our certificate: not signed by a CA that it knows");
		case SSL_AD_CERTIFICATE_REQUIRED:
			return vt_fail(err, VT_DENIED, "wants a certificate");
		case SSL_AD_HANDSHAKE_FAILURE:
		case SSL_AD_BAD_CERTIFICATE:
		case SSL_AD_UNSUPPORTED_CERTIFICATE:
		case SSL_AD_CERTIFICATE_UNKNOWN:
		case SSL_AD_ACCESS_DENIED:
			return vt_fail(err, VT_DENIED, "refuses our certificate: its log says why");
		case SSL_AD_PROTOCOL_VERSION:
			return vt_fail(err, VT_VERSION, "does not speak TLS 1.3");
		default:
			return vt_fail(err, VT_PROTOCOL, "ends TLS: %s", SSL_alert_desc_string_long(alert));
	}
}

/* OpenSSL gave up: why, in our words. */
static VtStatus
failed(WireTls *tls, VtError *err)
{
	unsigned long code = ERR_peek_error();
	int			reason = ERR_GET_REASON(code);

	if (tls->refusal[0])
	{
		ERR_clear_error();
		return vt_fail(err, VT_DENIED, "%s", tls->refusal);
	}
	if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
	{
		ERR_clear_error();
		return refused_by_peer(reason - SSL_AD_REASON_OFFSET, err);
	}
	switch (ERR_GET_LIB(code) == ERR_LIB_SSL ? reason : 0)
	{
		case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
			ERR_clear_error();
			return vt_fail(err, VT_DENIED, "showed no certificate");
		case SSL_R_UNSUPPORTED_PROTOCOL:
			ERR_clear_error();
			return vt_fail(err, VT_VERSION, "does not speak TLS 1.3");
		case SSL_R_WRONG_VERSION_NUMBER:
		case SSL_R_HTTP_REQUEST:
			ERR_clear_error();
			return vt_fail(err, VT_PROTOCOL, "does not speak TLS");
		default:
			return vt_fail(err, VT_PROTOCOL, "TLS failed: %s", cert_openssl_words());
	}
}

/* After a call of OpenSSL's that did not succeed: does it only want more bytes? */
static VtStatus
outcome(WireTls *tls, int rc, VtError *err)
{
	switch (SSL_get_error(tls->ssl, rc))
	{
		case SSL_ERROR_WANT_READ:
			return VT_OK;
		case SSL_ERROR_ZERO_RETURN:
			return vt_fail(err, VT_UNAVAILABLE, "closed the connection");
		default:
			return failed(tls, err);
	}
}

VtStatus
wire_tls_take(WireTls *tls, Bytes in, Buf *plain, Buf *out, VtError *err)
{
	VtStatus	status = VT_OK;
	int			n;

	ERR_clear_error();
	tls->in = in;
	tls->out = out;
	if (!tls->ready)
	{
		tls->greeting_bytes += in.len;
		n = SSL_do_handshake(tls->ssl);
		tls->ready = n == 1;
		if (n != 1)
			status = outcome(tls, n, err);
		if (status == VT_OK && !tls->ready && tls->greeting_bytes > GREETING_BYTES_MAX)
			status = vt_fail(err, VT_PROTOCOL, "greets at too great length");
	}
	while (status == VT_OK && tls->ready)
	{
		buf_reserve(plain, RECORD_BYTES);
		n = SSL_read(tls->ssl, plain->data + plain->len, (int) RECORD_BYTES);
		if (n > 0)
			plain->len += (size_t) n;
		else
		{
			status = outcome(tls, n, err);
			break;
		}
	}
	ERR_clear_error();
	Assert(status != VT_OK || tls->in.len == 0);
	return status;
}

VtStatus
wire_tls_put(WireTls *tls, Bytes plain, Buf *out, VtError *err)
{
	Assert(tls->ready);
	ERR_clear_error();
	tls->in = bytes_of(NULL, 0);
	tls->out = out;
	while (plain.len > 0)
	{
		int			want = plain.len < (1u << 30) ? (int) plain.len : 1 << 30;
		int			n;

		/* Headers and tags of the records come on top. */
		buf_reserve(out, (size_t) want + 64 + (size_t) want / 256);
		n = SSL_write(tls->ssl, plain.data, want);
		if (n <= 0)
			return failed(tls, err);
		plain.data += n;
		plain.len -= (size_t) n;
	}
	ERR_clear_error();
	return VT_OK;
}
