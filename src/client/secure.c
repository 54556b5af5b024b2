/*-------------------------------------------------------------------------
 *
 * secure.c
 *	  TLS between a connection's frames and its socket.
 *
 * Frames are sealed when they are to leave, first and out in their order, so a
 * request is either wholly sealed or not begun; what is sealed and not sent
 * counts as the middle of a frame.
 *
 *-------------------------------------------------------------------------
 */
#include <sys/socket.h>

#include "conn.h"

#define KEEP_BYTES (1u << 20)	/* of an empty buffer */
#define LAST_WORDS 4096

VtStatus
secure_open(Conn *conn, VtError *err)
{
	VtStatus	status = wire_tls_take(conn->tls, buf_bytes(&conn->raw), &conn->in, &conn->sealed, err);

	buf_clear(&conn->raw);
	return status;
}

bool
secure_begin(Conn *conn)
{
	VtError		err = {0};
	VtStatus	status = secure_open(conn, &err);

	if (status == VT_OK)
		return conn_flush(conn);
	conn_fail(conn, status, true, "%s", vt_error_words(&err));
	return false;
}

static VtStatus
seal(Conn *conn, Buf *frames, VtError *err)
{
	VtStatus	status = wire_tls_put(conn->tls, buf_bytes(frames), &conn->sealed, err);

	buf_clear(frames);
	if (frames->size > KEEP_BYTES)
		buf_free(frames);
	return status;
}

VtStatus
secure_seal(Conn *conn, VtError *err)
{
	VtStatus	status = VT_OK;

	if (conn->state != CONN_SECURING && conn->first.len > 0)
		status = seal(conn, &conn->first, err);
	if (status == VT_OK && conn->state == CONN_READY && conn->out.len > 0)
		status = seal(conn, &conn->out, err);
	return status;
}

VtStatus
secure_last_words(Conn *conn, VtError *err)
{
	Buf			answer = {0};
	ssize_t		n;
	VtStatus	status = VT_OK;

	buf_reserve(&conn->raw, LAST_WORDS);
	n = recv(conn->fd, conn->raw.data, LAST_WORDS, 0);
	if (n > 0)
		status = wire_tls_take(conn->tls, bytes_of(conn->raw.data, (size_t) n), &conn->in, &answer, err);
	buf_free(&answer);
	return status;
}
