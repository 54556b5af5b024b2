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
	CONN_GREETING,				/* our HELLO is on its way */
	CONN_PROVING,				/* tcp: our WIRE_AUTH is */
	CONN_READY
} ConnState;

struct Conn
{
	Conn	   *next;
	Client	   *client;
	uint64_t	serial;
	char		endpoint[ENDPOINT_SIZE];
	int			fd;
	bool		tcp;
	ConnState	state;
	VtId		nonce;
	uint64_t	greeting;		/* request id of HELLO and WIRE_AUTH */

	Buf			in;
	Buf			first;			/* HELLO, WIRE_AUTH: go before out */
	size_t		first_sent;
	Buf			out;			/* whole frames; leaves once READY */
	size_t		sent;
	bool		watches_write;	/* EPOLLOUT is asked for */

	Request    *requests;
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

/* dial.c: the dial has ended, say HELLO; and its answer, false when the connection is gone. */
extern bool conn_greet(Conn *conn);
extern bool conn_take_greeting(Conn *conn, const WireHeader *header, Bytes payload);

#endif							/* CLIENT_CONN_H */
