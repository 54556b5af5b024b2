/*-------------------------------------------------------------------------
 *
 * private.h
 *	  What the files of net share.
 *
 *	   server.c		a server and its connections: greeting, frames in, replies out
 *	   streams.c	carried by nng streams
 *	   sockets.c	carried by plain sockets, moved by the callers' own threads
 *	   peer.c		connections a daemon makes itself
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

#include "net/net.h"

#define READ_CHUNK (64u << 10)
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
	WireRole	role;
	uint64_t	store;			/* as it says; 0 unless a worker */
	bool		greeted;

	/* Bytes received, not yet taken; whoever receives */
	Buf			in;

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
	char	   *path;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	VtId		cluster;
	uint64_t	store;
	NetConn    *conns;
	uint64_t	ids;
	int			alive;			/* connections not yet freed */
	bool		stopping;
};

extern const NetCarrier net_streams;
extern const NetCarrier net_sockets;

/* The path of a unix endpoint, or NULL and words. */
extern const char *endpoint_path(const char *endpoint, VtError *err);

/* -- server.c, for the carriers -------------------------------------------- */

/* A connection of size bytes, NetConn first, with refs references, one of them the list's. */
extern NetConn *conn_new(NetServer *server, size_t size, int refs);

/* Its carrier's part is filled in: into the list. */
extern void conn_join(NetConn *conn);

/* Free what is not the carrier's, and the connection. */
extern void conn_free(NetConn *conn);

/* End it: no reply leaves any more, the handler is told. */
extern void conn_close(NetConn *conn);

/* Take whole frames from the front of conn->in; false = close it. */
extern bool conn_take_frames(NetConn *conn);

/* Room in conn->in for what is worth receiving at once. */
extern void conn_reserve(NetConn *conn);

/* bytes of the queue have left; conn->lock is held. */
extern void conn_sent(NetConn *conn, size_t bytes);

#endif							/* NET_PRIVATE_H */
