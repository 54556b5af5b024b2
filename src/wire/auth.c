/*-------------------------------------------------------------------------
 *
 * auth.c
 *	  Proof that a peer on tcp knows the cluster's secret.
 *
 * Both sides put a fresh random nonce into their HELLO.  A proof is
 *
 *		HMAC-SHA256(secret, "vectron-auth-1" | role | own nonce | other nonce)
 *
 * with the role and nonce of the side that proves first, so that a proof heard
 * from one side is of no use to the other.  The server proves itself in its
 * HELLO, the client in the WIRE_AUTH that follows.  The secret never travels.
 * This proves who speaks; it hides nothing and does not guard later frames,
 * which is why tcp without TLS is for loopback only.
 *
 *-------------------------------------------------------------------------
 */
#include "wire/wire.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define LABEL "vectron-auth-1"
#define LABEL_SIZE (sizeof(LABEL) - 1)

void
wire_auth_proof(Bytes secret, WireRole role, const VtId *own, const VtId *other,
				uint8_t out[WIRE_PROOF_SIZE])
{
	uint8_t		text[LABEL_SIZE + 1 + 2 * sizeof(own->b)];
	uint8_t    *p = text;
	unsigned	len = 0;

	memcpy(p, LABEL, LABEL_SIZE);
	p += LABEL_SIZE;
	*p++ = (uint8_t) role;
	memcpy(p, own->b, sizeof(own->b));
	memcpy(p + sizeof(own->b), other->b, sizeof(other->b));
	Assert(secret.len > 0 && secret.len <= INT32_MAX);
	if (!HMAC(EVP_sha256(), secret.data, (int) secret.len, text, sizeof(text), out, &len) ||
		len != WIRE_PROOF_SIZE)
		vt_assert_fail("HMAC-SHA256", __FILE__, __LINE__);
}

bool
wire_auth_check(Bytes secret, WireRole role, const VtId *own, const VtId *other, Bytes proof)
{
	uint8_t		expected[WIRE_PROOF_SIZE];

	if (proof.len != WIRE_PROOF_SIZE)
		return false;
	wire_auth_proof(secret, role, own, other, expected);
	return CRYPTO_memcmp(expected, proof.data, WIRE_PROOF_SIZE) == 0;
}

void
wire_auth_put(Buf *out, Bytes proof)
{
	buf_put_string(out, proof);
}

VtStatus
wire_auth_get(Bytes payload, Bytes *proof)
{
	Cursor		c = cursor_of(payload);

	*proof = cursor_string(&c);
	return cursor_done(&c) ? VT_OK : VT_PROTOCOL;
}
