/*-------------------------------------------------------------------------
 *
 * peer.c
 *	  A connection that a daemon makes itself: one thread, one request at a
 *	  time, over an nng stream.
 *
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include <nng/nng.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "private.h"

struct NetPeer
{
	NetPeerOptions options;
	char	   *endpoint;
	nng_stream *stream;
	nng_aio    *aio;
	uint64_t	requests;
	bool		refused;		/* nobody listened when it was dialled last */
};

NetPeer *
net_peer_new(const NetPeerOptions *options)
{
	NetPeer    *peer = vt_alloc0(sizeof(NetPeer));

	peer->options = *options;
	peer->endpoint = vt_strdup(options->endpoint);
	if (nng_aio_alloc(&peer->aio, NULL, NULL) != 0)
		vt_assert_fail("nng_aio_alloc", __FILE__, __LINE__);
	return peer;
}

static void
hang_up(NetPeer *peer)
{
	if (!peer->stream)
		return;
	nng_stream_close(peer->stream);
	nng_stream_free(peer->stream);
	peer->stream = NULL;
}

void
net_peer_free(NetPeer *peer)
{
	if (!peer)
		return;
	hang_up(peer);
	nng_aio_free(peer->aio);
	free(peer->endpoint);
	free(peer);
}

static VtStatus
failed(NetPeer *peer, VtError *err, int rc)
{
	return vt_fail(err, rc == NNG_ETIMEDOUT ? VT_TIMEOUT : VT_UNAVAILABLE, "%s: %s",
				   peer->endpoint, nng_strerror(rc));
}

static void
set_deadline(NetPeer *peer, int64_t until)
{
	int64_t		left = (until - clock_now_us()) / 1000;

	nng_aio_set_timeout(peer->aio, (nng_duration) (left > 0 ? left : 0));
}

/* Send or receive exactly len bytes. */
static VtStatus
move(NetPeer *peer, bool out, uint8_t *data, size_t len, int64_t until, VtError *err)
{
	while (len > 0)
	{
		nng_iov		iov = {data, len};
		int			rc;

		nng_aio_set_iov(peer->aio, 1, &iov);
		set_deadline(peer, until);
		if (out)
			nng_stream_send(peer->stream, peer->aio);
		else
			nng_stream_recv(peer->stream, peer->aio);
		nng_aio_wait(peer->aio);
		rc = nng_aio_result(peer->aio);
		if (rc != 0)
			return failed(peer, err, rc);
		data += nng_aio_count(peer->aio);
		len -= nng_aio_count(peer->aio);
	}
	return VT_OK;
}

static VtStatus
exchange(NetPeer *peer, WireType type, Bytes payload, int64_t until, Buf *reply, VtError *err)
{
	Buf			frame = {0};
	uint8_t		head[WIRE_HEADER_SIZE];
	uint64_t	request = ++peer->requests;
	WireHeader	header;
	VtStatus	status;

	wire_frame_put(&frame, WIRE_REQUEST, type, request, payload);
	status = move(peer, true, frame.data, frame.len, until, err);
	buf_free(&frame);
	if (status == VT_OK)
		status = move(peer, false, head, sizeof(head), until, err);
	if (status == VT_OK)
		status = wire_header_get(head, &header, err);
	if (status != VT_OK)
		return status;
	buf_clear(reply);
	buf_reserve(reply, header.length);
	reply->len = header.length;
	status = move(peer, false, reply->data, header.length, until, err);
	if (status == VT_OK)
		status = wire_payload_check(head, &header, buf_bytes(reply), err);
	if (status == VT_OK && (header.kind != WIRE_REPLY || header.request != request || header.type != type))
		status = vt_fail(err, VT_PROTOCOL, "%s: the reply is to another request", peer->endpoint);
	return status;
}

static VtStatus
dial(NetPeer *peer, int64_t until, VtError *err)
{
	const char *path = endpoint_path(peer->endpoint, err);
	nng_stream_dialer *dialer = NULL;
	WireHello	hello;
	Buf			out = {0};
	Buf			in = {0};
	VtStatus	status;
	char		url[160];
	int			rc;

	if (!path)
		return VT_INVALID;
	snprintf(url, sizeof(url), "ipc://%s", path);
	rc = nng_stream_dialer_alloc(&dialer, url);
	if (rc == 0)
	{
		set_deadline(peer, until);
		nng_stream_dialer_dial(dialer, peer->aio);
		nng_aio_wait(peer->aio);
		rc = nng_aio_result(peer->aio);
		if (rc == 0)
			peer->stream = (nng_stream *) nng_aio_get_output(peer->aio, 0);
		nng_stream_dialer_free(dialer);
	}
	peer->refused = rc == NNG_ECONNREFUSED || rc == NNG_ENOENT;
	if (rc != 0)
		return failed(peer, err, rc);

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
	buf_free(&in);
	buf_free(&out);
	return status;
}

VtStatus
net_peer_call(NetPeer *peer, WireType type, Bytes payload, int timeout_ms, Buf *reply, VtError *err)
{
	int64_t		until = clock_now_us() + (int64_t) timeout_ms * 1000;
	VtStatus	status = peer->stream ? VT_OK : dial(peer, until, err);

	if (status == VT_OK)
		status = exchange(peer, type, payload, until, reply, err);
	if (status != VT_OK)
		hang_up(peer);
	return status;
}

VtStatus
net_peer_send(NetPeer *peer, WireType type, Bytes payload, int timeout_ms)
{
	int64_t		until = clock_now_us() + (int64_t) timeout_ms * 1000;
	VtStatus	status = peer->stream ? VT_OK : dial(peer, until, NULL);
	Buf			frame = {0};

	if (status == VT_OK)
	{
		wire_frame_put(&frame, WIRE_ONEWAY, type, ++peer->requests, payload);
		status = move(peer, true, frame.data, frame.len, until, NULL);
		buf_free(&frame);
	}
	if (status != VT_OK)
		hang_up(peer);
	return status;
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

bool
net_peer_connected(const NetPeer *peer)
{
	return peer->stream != NULL;
}

bool
net_peer_refused(const NetPeer *peer)
{
	return peer->refused;
}

void
net_peer_abort(NetPeer *peer)
{
	nng_aio_stop(peer->aio);
}
