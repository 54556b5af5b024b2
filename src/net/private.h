/*-------------------------------------------------------------------------
 *
 * private.h
 *	  What the files of net share.
 *
 *	   server.c		a server and its connections: greeting, frames in, replies out
 *	   streams.c	carried by nng streams
 *	   sockets.c	carried by plain sockets, moved by the callers' own threads
 *	   guard.c		who may come in, and how long that may take
 *	   tls.c		certificates of a daemon
 *	   peer.c		connections a daemon makes itself
 *	   outgoing.c	and their sockets
 *	   held.c		how long all this held a thread
 *
 * A connection is kept alive by references: one of the server's list, those of
 * its carrier, one for each reply that is being made.
 *
 *-------------------------------------------------------------------------
 */
#ifndef NET_PRIVATE_H
#define NET_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "base/endpoint.h"
#include "net/net.h"

#define READ_CHUNK (64u << 10)
#define READ_CHUNK_GREETING (4u << 10)	/* from who has not greeted */
#define GREETING_MAX 1024		/* payload of HELLO */
#define GREETING_MS 10000
#define STRANGERS_MAX 256
#define NET_NO_ROOM "a connection waits: no file descriptor or memory is left for it"
#define SWEEP_MS 1000			/* at most between looks for who greets too slowly */
#define SEND_FRAMES 8			/* queued frames that leave in one call */

typedef struct OutFrame
{
	struct OutFrame *next;
	Buf			frame;
} OutFrame;

/* How bytes come and go. */
typedef struct NetCarrier
{
	VtStatus	(*start) (NetServer *server, VtError *err);

	/* Something was queued where nothing was; conn->lock is held. */
	void		(*send) (NetConn *conn);

	/* Let nothing come or go any more; once, without locks. */
	void		(*cut) (NetConn *conn);

	/* The last reference is gone. */
	void		(*gone) (NetConn *conn);

	/* New connections no more; then all are closed; then wait until all are freed. */
	void		(*stop_accepting) (NetServer *server);
	void		(*stop) (NetServer *server);
} NetCarrier;

/* The part of a connection that does not depend on its carrier, which has its own behind it. */
struct NetConn
{
	NetServer  *server;
	NetConn    *next;			/* in server->conns */
	uint64_t	id;
	atomic_int	refs;
	atomic_int	requests;		/* as told by net_conn_requests() */
	atomic_bool gone;			/* as closed below */
	atomic_uint cancels;		/* so many; the last ones: */
	atomic_uint_fast64_t cancelled[WIRE_OUTSTANDING_MAX];
	WireRole	role;
	uint64_t	store;			/* as it says; 0 unless a worker */
	uint64_t	features;		/* as it says */
	uint64_t	system;			/* of a gateway's certificate, else 0 */
	bool		greeted;		/* written under server->lock */
	bool		stranger;		/* server->lock: in its list, and not greeted */
	int64_t		greet_by_us;
	char		from[ENDPOINT_ADDRESS_TEXT];	/* for people; "" = a unix socket */

	/* Bytes received, not yet taken; whoever receives */
	Buf			in;
	Buf			raw;			/* with tls: as they came */

	WireTls    *tls;			/* lock; NULL on a unix socket */

	/* Waits to be sent; lock */
	pthread_mutex_t lock;
	OutFrame   *out;
	OutFrame  **out_end;
	size_t		out_bytes;
	size_t		sent;			/* of out's first frame */
	bool		closed;
};

struct NetServer
{
	NetServerOptions options;
	const NetCarrier *carrier;
	void	   *carried;		/* the carrier's own */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	VtId		cluster;
	uint64_t	store;
	NetConn    *conns;
	int			alive;			/* connections not yet freed */
	int			strangers;		/* of conns: not greeted yet */
	bool		stopping;
	int64_t		telling_since_us;	/* refusals told since, and others */
	uint32_t	told;
	uint32_t	untold;
	Endpoint	listens;
};

extern const NetCarrier net_streams;
extern const NetCarrier net_sockets;

/* -- server.c, for the carriers -------------------------------------------- */

/* A connection of size bytes, NetConn first, with refs references, one of them the list's. */
extern NetConn *conn_new(NetServer *server, size_t size, int refs);

/*
 * Its carrier's part is filled in: into the list.  With the address of who came
 * over tcp; NULL = over a unix socket.
 */
extern void conn_join(NetConn *conn, const struct sockaddr_storage *addr, socklen_t len);

/* Free what is not the carrier's, and the connection. */
extern void conn_free(NetConn *conn);

/* End it: no reply leaves any more, the handler is told. */
extern void conn_close(NetConn *conn);

/* Where to receive, and how much is worth receiving at once. */
extern uint8_t *conn_room(NetConn *conn, size_t *room);

/* n bytes came there: take what is whole; false = close it. */
extern bool conn_received(NetConn *conn, size_t n);

/* bytes of the queue have left; conn->lock is held. */
extern void conn_sent(NetConn *conn, size_t bytes);

/* -- guard.c ----------------------------------------------------------------- */

/* The first frame of a connection: answer it.  False = close it. */
extern bool guard_greet(NetConn *conn, const WireHeader *header, Bytes payload);

/* What a connection of a role may send to us. */
extern bool guard_may(WireRole ours, WireRole role, WireType type);

/* It is no stranger any more, if it was one: known, or gone.  server->lock is held. */
extern void guard_known(NetConn *conn);

/* Somebody is shut out: tell it. */
extern void guard_refuse(NetConn *conn, const char *words);

/*
 * Strangers have come: shut out who waits longest while they are too many.  Not
 * in a callback of nng's, since it may tell somebody.
 */
extern void guard_bound(NetServer *server);

/* Milliseconds: how long one may take to greet, and between two looks for who takes longer. */
extern int64_t guard_greeting_ms(const NetServer *server);
extern int64_t guard_sweep_ms(const NetServer *server);

/* Shut out who has greeted too slowly.  True: there are strangers still. */
extern bool guard_sweep(NetServer *server);

/* -- outgoing.c --------------------------------------------------------------- */

/* For one thread at a time; abort is for any. */
typedef struct Outgoing
{
	pthread_mutex_t lock;		/* written under it, for an abort */
	int			fd;				/* -1 = none */
	atomic_bool aborted;
} Outgoing;

extern void outgoing_init(Outgoing *o);
extern void outgoing_free(Outgoing *o);
extern void outgoing_close(Outgoing *o);
extern void outgoing_abort(Outgoing *o);	/* for good */

/* *refused: nobody listens there. */
extern VtStatus outgoing_dial(Outgoing *o, const Endpoint *endpoint, int64_t until, bool *refused, VtError *err);

/* Send or receive some bytes, at least one. */
extern VtStatus outgoing_move(Outgoing *o, bool out, uint8_t *data, size_t len, int64_t until, size_t *moved,
							  VtError *err);

/* Send what the socket takes now; false: nothing. */
extern bool outgoing_try(Outgoing *o, struct iovec *pieces, size_t n, size_t *sent);

/* Receive what is there now, which may be nothing; false: the connection has ended. */
extern bool outgoing_hear(Outgoing *o, uint8_t *data, size_t room, size_t *n);

/* -- tls.c ------------------------------------------------------------------- */

/* What is in force; release it. */
extern WireTlsContext *net_tls_context(NetTls *tls);
extern bool net_tls_is_current(NetTls *tls, const WireTlsContext *context);

/* held.c */
typedef enum HeldKind
{
	HELD_CALLBACK,				/* of nng */
	HELD_POLL,
	HELD_KINDS
} HeldKind;

extern int64_t held_begin(void);
extern void held_end(HeldKind kind, int64_t began_us);

#endif							/* NET_PRIVATE_H */
