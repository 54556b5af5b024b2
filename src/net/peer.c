/*-------------------------------------------------------------------------
 *
 * peer.c
 *	  A connection that a daemon makes itself: for one thread at a time, with TLS when
 *	  it is tcp.  Requests are answered in their order.
 *
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include <stdlib.h>

#include "base/clock.h"
#include "private.h"

struct NetPeer
{
	NetPeerOptions options;
	char	   *endpoint;
	Outgoing	socket;
	WireTls    *tls;			/* NULL = unix */
	Buf			plain;			/* received over TLS and opened */
	size_t		taken;			/* of plain */
	Buf			rest;			/* of a frame that the socket took a part of: leaves before anything else */
	uint64_t	requests;
	uint32_t	owed;			/* answers to the last so many of them are still to come */
	bool		refused;		/* nobody listened when it was dialled last */

	/* Of net_peer_is_there() */
	bool		pings;			/* the other side answers them */
	int64_t		heard_us;		/* it was there */
	int64_t		asked_us;		/* 0 = no question is under way */
	int64_t		answered_us;	/* the last question that was answered was asked then */
};

NetPeer *
net_peer_new(const NetPeerOptions *options)
{
	NetPeer    *peer = vt_alloc0(sizeof(NetPeer));

	peer->options = *options;
	peer->endpoint = vt_strdup(options->endpoint);
	outgoing_init(&peer->socket);
	return peer;
}

void
net_peer_set_identity(NetPeer *peer, const VtId *cluster, uint64_t store)
{
	peer->options.cluster = *cluster;
	peer->options.store = store;
}

bool
net_peer_connected(const NetPeer *peer)
{
	return peer->socket.fd >= 0;
}

static void
hang_up(NetPeer *peer)
{
	if (!net_peer_connected(peer))
		return;
	outgoing_close(&peer->socket);
	peer->asked_us = 0;
	peer->answered_us = 0;
	wire_tls_free(peer->tls);
	peer->tls = NULL;
	buf_free(&peer->plain);
	buf_free(&peer->rest);
	peer->taken = 0;
	peer->owed = 0;
}

void
net_peer_free(NetPeer *peer)
{
	if (!peer)
		return;
	hang_up(peer);
	outgoing_free(&peer->socket);
	free(peer->endpoint);
	free(peer);
}

/* Send or receive some bytes, up to len. */
static VtStatus
move_some(NetPeer *peer, bool out, uint8_t *data, size_t len, int64_t until, size_t *moved, VtError *err)
{
	VtError		why = {0};
	VtStatus	status = outgoing_move(&peer->socket, out, data, len, until, moved, &why);

	return status == VT_OK ? VT_OK : vt_fail(err, status, "%s: %s", peer->endpoint, vt_error_words(&why));
}

/* Exactly len bytes. */
static VtStatus
move(NetPeer *peer, bool out, uint8_t *data, size_t len, int64_t until, VtError *err)
{
	VtStatus	status = VT_OK;
	size_t		moved = 0;

	for (; len > 0 && status == VT_OK; data += moved, len -= moved)
		status = move_some(peer, out, data, len, until, &moved, err);
	return status;
}

/* -- Over TLS ---------------------------------------------------------------- */

/* Give TLS what came, and the peer what TLS has to say to it. */
static VtStatus
take(NetPeer *peer, Bytes in, int64_t until, VtError *err)
{
	Buf			out = {0};
	VtError		why = {0};
	VtStatus	status = wire_tls_take(peer->tls, in, &peer->plain, &out, &why);
	VtStatus	sent = move(peer, true, out.data, out.len, until, err);

	buf_free(&out);
	if (status != VT_OK)
		return vt_fail(err, status, "%s: %s", peer->endpoint, vt_error_words(&why));
	return sent;
}

/* Receive once, and open it. */
static VtStatus
open_some(NetPeer *peer, int64_t until, VtError *err)
{
	uint8_t		raw[READ_CHUNK_GREETING * 4];
	size_t		n = 0;
	VtStatus	status = move_some(peer, false, raw, sizeof(raw), until, &n, err);

	return status == VT_OK ? take(peer, bytes_of(raw, n), until, err) : status;
}

static VtStatus
begin_tls(NetPeer *peer, int64_t until, VtError *err)
{
	WireTlsContext *context = net_tls_context(peer->options.tls);
	VtStatus	status;

	peer->tls = wire_tls_new(context, false, peer->options.expected);
	wire_tls_context_release(context);
	status = take(peer, bytes_of(NULL, 0), until, err);
	while (status == VT_OK && !wire_tls_ready(peer->tls))
		status = open_some(peer, until, err);
	return status;
}

/* -- Whole frames ------------------------------------------------------------ */

static VtStatus
put(NetPeer *peer, Buf *frame, int64_t until, VtError *err)
{
	Buf			sealed = {0};
	VtStatus	status = VT_OK;

	if (peer->tls)
	{
		status = wire_tls_put(peer->tls, buf_bytes(frame), &sealed, err);
		if (status == VT_OK)
			status = move(peer, true, sealed.data, sealed.len, until, err);
		buf_free(&sealed);
		return status;
	}
	return move(peer, true, frame->data, frame->len, until, err);
}

/* What is begun is ended first. */
static VtStatus
put_rest(NetPeer *peer, int64_t until)
{
	VtStatus	status = move(peer, true, peer->rest.data, peer->rest.len, until, NULL);

	buf_free(&peer->rest);
	return status;
}

static VtStatus
get(NetPeer *peer, uint8_t *data, size_t len, int64_t until, VtError *err)
{
	VtStatus	status = VT_OK;

	if (!peer->tls || len == 0)
		return move(peer, false, data, len, until, err);
	while (status == VT_OK && peer->plain.len - peer->taken < len)
		status = open_some(peer, until, err);
	if (status != VT_OK)
		return status;
	memcpy(data, peer->plain.data + peer->taken, len);
	peer->taken += len;
	if (peer->taken == peer->plain.len)
	{
		buf_clear(&peer->plain);
		peer->taken = 0;
	}
	return VT_OK;
}

static VtStatus
ask(NetPeer *peer, WireType type, Bytes payload, int64_t until, VtError *err)
{
	Buf			frame = {0};
	VtStatus	status;

	if (payload.len > WIRE_PAYLOAD_MAX)
		return vt_fail(err, VT_INVALID, "%s: what is to be said takes %zu bytes, and a message %u at most", peer->endpoint,
					   payload.len, WIRE_PAYLOAD_MAX);
	wire_frame_put(&frame, WIRE_REQUEST, type, ++peer->requests, payload);
	status = put(peer, &frame, until, err);
	buf_free(&frame);
	peer->owed++;
	return status;
}

/* The answer to the oldest request that has none yet. */
static VtStatus
take_answer(NetPeer *peer, WireType type, int64_t until, Buf *reply, VtError *err)
{
	uint8_t		head[WIRE_HEADER_SIZE];
	uint64_t	request = peer->requests - --peer->owed;
	WireHeader	header;
	VtStatus	status = get(peer, head, sizeof(head), until, err);

	if (status == VT_OK)
		status = wire_header_get(head, &header, err);
	if (status != VT_OK)
		return status;
	buf_clear(reply);
	buf_reserve(reply, header.length);
	reply->len = header.length;
	status = get(peer, reply->data, header.length, until, err);
	if (status == VT_OK)
		status = wire_payload_check(head, &header, buf_bytes(reply), err);
	if (status == VT_OK && (header.kind != WIRE_REPLY || header.request != request || header.type != type))
		status = vt_fail(err, VT_PROTOCOL, "%s: the reply is to another request", peer->endpoint);
	return status;
}

static VtStatus
exchange(NetPeer *peer, WireType type, Bytes payload, int64_t until, Buf *reply, VtError *err)
{
	VtStatus	status = ask(peer, type, payload, until, err);

	return status == VT_OK ? take_answer(peer, type, until, reply, err) : status;
}

static VtStatus
connect_to(NetPeer *peer, const Endpoint *endpoint, int64_t until, VtError *err)
{
	VtError		why = {0};
	VtStatus	status = outgoing_dial(&peer->socket, endpoint, until, &peer->refused, &why);

	return status == VT_OK ? VT_OK : vt_fail(err, status, "%s: %s", peer->endpoint, vt_error_words(&why));
}

static VtStatus
check_cluster(NetPeer *peer, const VtId *cluster, VtError *err)
{
	const VtId *ours = &peer->options.cluster;
	char		their_text[VT_ID_TEXT];
	char		our_text[VT_ID_TEXT];

	if (vt_id_is_zero(ours) || vt_id_equal(ours, cluster))
		return VT_OK;

	/* A driver that is about to found one or to join one: ours knows its own. */
	if (vt_id_is_zero(cluster) && peer->options.expected == WIRE_ROLE_PD && peer->options.role != WIRE_ROLE_PD)
		return vt_fail(err, VT_UNAVAILABLE, "%s: does not know its cluster yet", peer->endpoint);
	if (vt_id_is_zero(cluster))
		return VT_OK;
	vt_id_format(cluster, their_text);
	vt_id_format(ours, our_text);
	return vt_fail(err, VT_FOREIGN, "%s: belongs to another cluster, %s, not to %s", peer->endpoint, their_text, our_text);
}

/* Of our cluster, and over TLS what its certificate says? */
static VtStatus
check_greeting(NetPeer *peer, const WireHello *hello, VtError *err)
{
	const WireIdentity *identity;
	VtStatus	status = check_cluster(peer, &hello->cluster, err);

	if (status != VT_OK)
		return status;
	if (!peer->tls)
		return VT_OK;
	identity = wire_tls_peer(peer->tls);
	if (hello->role != identity->role || (!vt_id_is_zero(&hello->cluster) &&
										  !vt_id_equal(&hello->cluster, &identity->cluster)))
		return vt_fail(err, VT_DENIED, "%s: says that it is something else than its certificate is for", peer->endpoint);
	return VT_OK;
}

static VtStatus
greet(NetPeer *peer, int64_t until, VtError *err)
{
	WireHello	hello;
	Buf			out = {0};
	Buf			in = {0};
	VtStatus	status;

	memset(&hello, 0, sizeof(hello));
	hello.version_low = hello.version_high = WIRE_VERSION;
	hello.role = peer->options.role;
	hello.cluster = peer->options.cluster;
	hello.store = peer->options.store;
	hello.boot_epoch = peer->options.boot_epoch;
	wire_hello_put(&out, &hello);
	status = exchange(peer, WIRE_HELLO, buf_bytes(&out), until, &in, err);
	if (status == VT_OK && wire_hello_get(buf_bytes(&in), &hello) != VT_OK)
		status = vt_fail(err, VT_PROTOCOL, "%s: malformed greeting", peer->endpoint);
	if (status == VT_OK)
		status = check_greeting(peer, &hello, err);
	peer->pings = status == VT_OK && (hello.features & WIRE_FEATURE_PING) != 0;
	peer->heard_us = clock_now_us();
	buf_free(&in);
	buf_free(&out);
	return status;
}

static VtStatus
dial(NetPeer *peer, int64_t until, VtError *err)
{
	Endpoint	endpoint;
	VtStatus	status = endpoint_parse(peer->endpoint, &endpoint, err);

	if (status == VT_OK && endpoint.tcp && !peer->options.tls)
		status = vt_fail(err, VT_INVALID, "%s: tcp needs tls_ca_file, tls_cert_file and tls_key_file", peer->endpoint);
	if (status == VT_OK)
		status = connect_to(peer, &endpoint, until, err);
	if (status == VT_OK && endpoint.tcp)
		status = begin_tls(peer, until, err);
	if (status == VT_OK)
		status = greet(peer, until, err);
	return status;
}

VtStatus
net_peer_request(NetPeer *peer, WireType type, Bytes payload, int timeout_ms, VtError *err)
{
	int64_t		until = clock_now_us() + (int64_t) timeout_ms * 1000;
	VtStatus	status = net_peer_connected(peer) ? VT_OK : dial(peer, until, err);

	if (status == VT_OK)
		status = ask(peer, type, payload, until, err);
	if (status != VT_OK)
		hang_up(peer);
	return status;
}

VtStatus
net_peer_reply(NetPeer *peer, WireType type, int timeout_ms, Buf *reply, VtError *err)
{
	VtStatus	status;

	if (peer->owed == 0)
		return vt_fail(err, VT_UNAVAILABLE, "%s: nothing was asked over this connection", peer->endpoint);
	status = take_answer(peer, type, clock_now_us() + (int64_t) timeout_ms * 1000, reply, err);
	if (status != VT_OK)
		hang_up(peer);
	return status;
}

void
net_peer_forget(NetPeer *peer)
{
	if (peer->owed > 0)
		hang_up(peer);
}

VtStatus
net_peer_call(NetPeer *peer, WireType type, Bytes payload, int timeout_ms, Buf *reply, VtError *err)
{
	int64_t		until = clock_now_us() + (int64_t) timeout_ms * 1000;
	VtStatus	status = net_peer_connected(peer) ? VT_OK : dial(peer, until, err);

	/* A greeting that could not be sent still counts as one until we hang up. */
	Assert(status != VT_OK || peer->owed == 0);
	if (status == VT_OK)
		status = exchange(peer, type, payload, until, reply, err);
	if (status != VT_OK)
		hang_up(peer);
	return status;
}

VtStatus
net_peer_send(NetPeer *peer, WireType type, const Bytes *payloads, size_t n, int timeout_ms)
{
	int64_t		until = clock_now_us() + (int64_t) timeout_ms * 1000;
	VtStatus	status = net_peer_connected(peer) ? VT_OK : dial(peer, until, NULL);
	size_t		bytes = n * WIRE_HEADER_SIZE;
	Buf			frames = {0};

	if (status == VT_OK)
		status = put_rest(peer, until);
	if (status == VT_OK)
	{
		for (size_t i = 0; i < n; i++)
			bytes += payloads[i].len;
		buf_reserve(&frames, bytes);
		for (size_t i = 0; i < n; i++)
			wire_frame_put(&frames, WIRE_ONEWAY, type, ++peer->requests, payloads[i]);
		status = put(peer, &frames, until, NULL);
		buf_free(&frames);
	}
	if (status != VT_OK)
		hang_up(peer);
	return status;
}

bool
net_peer_try(NetPeer *peer, WireType type, Bytes payload, int every_ms)
{
	uint8_t		head[WIRE_HEADER_SIZE];
	struct iovec pieces[] = {{head, sizeof(head)}, {(void *) (uintptr_t) payload.data, payload.len}};
	size_t		sent;

	if (!net_peer_connected(peer) || peer->tls || peer->rest.len > 0 || peer->asked_us ||
		(peer->pings && clock_now_us() - peer->heard_us >= 1000 * (int64_t) every_ms))
		return false;
	wire_frame_head(head, WIRE_ONEWAY, type, ++peer->requests, payload);
	if (!outgoing_try(&peer->socket, pieces, 2, &sent))
		return false;
	if (sent < sizeof(head))
		buf_put(&peer->rest, head + sent, sizeof(head) - sent);
	sent = sent > sizeof(head) ? sent - sizeof(head) : 0;
	buf_put(&peer->rest, payload.data + sent, payload.len - sent);
	return true;
}

bool
net_peer_owes(const NetPeer *peer)
{
	return peer->rest.len > 0;
}

VtStatus
net_peer_redial(NetPeer *peer, int timeout_ms)
{
	VtStatus	status;

	hang_up(peer);
	status = dial(peer, clock_now_us() + (int64_t) timeout_ms * 1000, NULL);
	if (status != VT_OK)
		hang_up(peer);
	return status;
}

/* -- Is anybody there? ------------------------------------------------------- */

/* Take what is whole of what came; false: that makes no sense. */
static bool
take_pongs(NetPeer *peer)
{
	while (peer->plain.len - peer->taken >= WIRE_HEADER_SIZE)
	{
		const uint8_t *head = peer->plain.data + peer->taken;
		WireHeader	header;

		if (wire_header_get(head, &header, NULL) != VT_OK || header.kind != WIRE_REPLY ||
			header.type != WIRE_PING || header.length != 0 ||
			wire_payload_check(head, &header, bytes_of("", 0), NULL) != VT_OK)
			return false;
		peer->taken += WIRE_HEADER_SIZE;
		peer->heard_us = clock_now_us();
		if (peer->asked_us)
			peer->answered_us = peer->asked_us;
		peer->asked_us = 0;
	}
	if (peer->taken == peer->plain.len)
	{
		buf_clear(&peer->plain);
		peer->taken = 0;
	}
	return true;
}

/* What has come since, if anything; false: the connection is of no use any more. */
static bool
hear(NetPeer *peer, int64_t until)
{
	uint8_t		heard[256];
	size_t		n = sizeof(heard);

	while (n == sizeof(heard))
	{
		if (!outgoing_hear(&peer->socket, heard, sizeof(heard), &n))
			return false;
		if (!peer->tls)
			buf_put(&peer->plain, heard, n);
		else if (n > 0 && take(peer, bytes_of(heard, n), until, NULL) != VT_OK)
			return false;
		if (!take_pongs(peer))
			return false;
	}
	return true;
}

static bool
ask_whether(NetPeer *peer, int64_t until)
{
	Buf			frame = {0};
	VtStatus	status;

	wire_frame_put(&frame, WIRE_REQUEST, WIRE_PING, ++peer->requests, bytes_of("", 0));
	status = put_rest(peer, until);
	if (status == VT_OK)
		status = put(peer, &frame, until, NULL);
	buf_free(&frame);
	peer->asked_us = clock_now_us();
	return status == VT_OK;
}

bool
net_peer_is_there(NetPeer *peer, int every_ms, int patience_ms)
{
	int64_t		now = clock_now_us();
	bool		there;

	if (!net_peer_connected(peer) || !peer->pings)
		return true;
	there = hear(peer, now + 1000 * (int64_t) patience_ms);
	if (there && peer->asked_us)
		there = now - peer->asked_us < 1000 * (int64_t) patience_ms;
	else if (there && now - peer->heard_us >= 1000 * (int64_t) every_ms)
		there = ask_whether(peer, now + 1000 * (int64_t) patience_ms);
	if (!there)
		hang_up(peer);
	return there;
}

VtStatus
net_peer_ask(NetPeer *peer, int64_t since_us, int patience_ms)
{
	if (!net_peer_connected(peer) || !peer->pings || !net_peer_is_there(peer, 0, patience_ms))
		return VT_UNAVAILABLE;
	return peer->answered_us >= since_us ? VT_OK : VT_TIMEOUT;
}

int64_t
net_peer_asked_us(const NetPeer *peer)
{
	return net_peer_connected(peer) ? peer->asked_us : 0;
}

bool
net_peer_refused(const NetPeer *peer)
{
	return peer->refused;
}

void
net_peer_abort(NetPeer *peer)
{
	outgoing_abort(&peer->socket);
}
