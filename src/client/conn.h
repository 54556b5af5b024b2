/*-------------------------------------------------------------------------
 *
 * conn.h
 *	  What conn.c and dial.c share: a connection from the inside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_CONN_H
#define CLIENT_CONN_H

#include "private.h"

typedef enum ConnState
{
	CONN_DIALING,
	CONN_SECURING,				/* tcp: certificates are shown */
	CONN_GREETING,				/* our HELLO is on its way */
	CONN_READY
} ConnState;

struct Conn
{
	Conn	   *next;
	Client	   *client;
	uint64_t	serial;
	char		endpoint[ENDPOINT_SIZE];
	int			fd;
	ConnState	state;
	int64_t		begun_us;		/* when it was dialled */
	uint64_t	greeting;		/* request id of HELLO */
	uint64_t	features;		/* that its answer named */

	/* tcp: what is between the frames and the socket */
	WireTls    *tls;			/* NULL = unix */
	Buf			raw;			/* empty between calls */
	Buf			sealed;
	size_t		sealed_sent;

	Buf			in;
	Buf			first;			/* HELLO: goes before out */
	size_t		first_sent;
	Buf			out;			/* whole frames; leaves once READY */
	size_t		sent;
	bool		held;			/* nothing but requests that are held is in out */
	bool		watches_write;	/* EPOLLOUT is asked for */

	Request    *requests;
	uint32_t	under_way;		/* of them */
};

/*
 * Close and free; requests under way are done, with the reason.  definite:
 * another attempt would fail the same way.
 */
extern void conn_fail(Conn *conn, VtStatus status, bool definite, const char *fmt,...)
			__attribute__((format(printf, 4, 5)));

/* Move what the socket takes, or has.  False when the connection is gone. */
extern bool conn_flush(Conn *conn);
extern bool conn_read(Conn *conn);

/* Has everything left that was begun? */
extern bool conn_is_between_frames(const Conn *conn);

/* dial.c: the dial has ended, show certificates or say HELLO.  False when the connection is gone. */
extern bool conn_dialed(Conn *conn);

/* dial.c: say HELLO; and take its answer. */
extern bool conn_greet(Conn *conn);
extern bool conn_take_greeting(Conn *conn, const WireHeader *header, Bytes payload);

/* secure.c: begin to show certificates; for conn.c: seal what is to leave, and open what came in raw. */
extern bool secure_begin(Conn *conn);
extern VtStatus secure_seal(Conn *conn, VtError *err);
extern VtStatus secure_open(Conn *conn, VtError *err);

/* After a send that failed: what the peer said before it closed; VT_OK = nothing. */
extern VtStatus secure_last_words(Conn *conn, VtError *err);

#endif							/* CLIENT_CONN_H */
