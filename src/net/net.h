/*-------------------------------------------------------------------------
 *
 * net.h
 *	  Frames over streams of bytes: the daemons' side of every connection.
 *
 * Conventions
 *
 * 1. No nng type leaves this module.
 * 2. [law T1] A stream has at most one send and one receive under way; a
 *	  partial completion is continued before anything else.  Callbacks move
 *	  frames between bounded queues and nothing more.
 * 3. A server's frame handler runs in such a callback: it must only look at the
 *	  header, take the payload and queue it.  Budget 50 us.  A polled server
 *	  has no nng and no threads: the threads that serve move the frames too, in
 *	  net_server_poll(), and the handler runs there, as shortly.
 * 4. The first frame in both directions is HELLO; net answers it, and closes
 *	  connections of another cluster, version or user.  A damaged frame closes
 *	  the connection.  Who is of another cluster is told of which this is before
 *	  that: then he can say whom he met (VT_FOREIGN).
 * 5. Endpoints: "unix:/path", for our own user and root; "tcp://address:port",
 *	  with TLS, for whom certificates say they are (wire/tls.h).  Role and
 *	  cluster in HELLO must be those of the certificate.
 * 6. Who has not been heard to say HELLO after ten seconds is shut out, and so is
 *	  the one who has waited longest when more than 256 have not.
 *
 *-------------------------------------------------------------------------
 */
#ifndef NET_H
#define NET_H

#include "wire/wire.h"

typedef struct NetServer NetServer;
typedef struct NetConn NetConn;

/* What a daemon shows and believes, over tcp; shared by its server and its peers. */
typedef struct NetTls NetTls;

/* With three empty names there is none: *out is NULL. */
extern VtStatus net_tls_open(const WireTlsFiles *files, WireRole role, NetTls **out, VtError *err);

/* Read the files again; when something is wrong with them, those of before stay. */
extern VtStatus net_tls_reload(NetTls *tls, VtError *err);
extern void net_tls_free(NetTls *tls);	/* NULL is fine */
extern WireIdentity net_tls_identity(NetTls *tls);

/* When our certificate ends, in seconds since 1970. */
extern int64_t net_tls_until(NetTls *tls);

typedef struct NetHandler
{
	/*
	 * A whole frame that is no HELLO.  *payload may be taken (moved away, left
	 * zeroed).  conn is valid during the call; net_conn_ref() keeps it.
	 */
	void		(*frame) (void *arg, NetConn *conn, const WireHeader *header, Buf *payload);

	/* The connection is gone; scan state of its may be dropped. */
	void		(*closed) (void *arg, NetConn *conn);

	/* Somebody was shut out, in words for a log; not more often than it bears.  May be NULL. */
	void		(*refused) (void *arg, const char *words);
	void	   *arg;
} NetHandler;

typedef struct NetServerOptions
{
	const char *endpoint;
	WireRole	role;			/* what this daemon is */
	VtId		cluster;		/* zero = not known yet; see net_server_set_identity */
	uint64_t	store;
	uint64_t	boot_epoch;
	bool		polled;			/* the caller's threads move the frames */
	NetTls	   *tls;			/* for tcp; NULL = none */
	uint32_t	greeting_ms;	/* time to say who one is; 0 = ten seconds */
	NetHandler	handler;
} NetServerOptions;

/*
 * Listen.  A socket file left by a dead process is replaced; VT_BUSY when
 * somebody answers on it.
 */
extern VtStatus net_server_start(const NetServerOptions *options, NetServer **out, VtError *err);
extern void net_server_set_identity(NetServer *server, const VtId *cluster, uint64_t store);

/* After net_tls_reload(): who came under other certificates has to come anew. */
extern void net_server_renew(NetServer *server);

/*
 * Close all connections and remove the socket file; waits for callbacks and
 * until no connection is referred to.  Of a polled server nobody may be in
 * net_server_poll() any more.
 */
extern void net_server_stop(NetServer *server);

/*
 * A polled server: wait until something can be moved, and move it.  The handler
 * may be called several times meanwhile, in this thread; when the call returns,
 * the connection is free for other threads.  At least one thread should always
 * be here, or soon: others' frames, cancels among them, are read by nobody else.
 */
extern void net_server_poll(NetServer *server);

/*
 * Move what else is there, of a few connections, and do not wait: for a thread that
 * has something to do which it can do for many at once.  True: there may be more.
 */
extern bool net_server_poll_more(NetServer *server);

/* Make one thread return from net_server_poll(), now or when it next comes. */
extern void net_server_wake(NetServer *server);

/*
 * Numbers of the whole process: how long frames being moved held a thread.  Whoever asks
 * takes the longest times with him; the next one gets those since.
 */
extern void net_metrics(Buf *out);

extern NetConn *net_conn_ref(NetConn *conn);
extern void net_conn_release(NetConn *conn);
extern WireRole net_conn_role(const NetConn *conn);
extern uint64_t net_conn_features(const NetConn *conn);	/* bits of its greeting */
extern uint64_t net_conn_store(const NetConn *conn);	/* 0 unless a worker's or PD's */
extern uint64_t net_conn_id(const NetConn *conn);	/* never reused in a process */
extern bool net_conn_is_closed(NetConn *conn);	/* before handler.closed() is told */

/*
 * Requests of it that are being answered, after one more has come or been answered
 * (change 1 or -1); for who bounds them.
 */
extern uint32_t net_conn_requests(NetConn *conn, int change);

/*
 * Nobody wants the answer to this request of it any more: that is known until
 * WIRE_OUTSTANDING_MAX others were cancelled after it, and of all of them when the
 * connection is gone.  Any thread.
 */
extern void net_conn_cancel(NetConn *conn, uint64_t request);
extern bool net_conn_is_cancelled(const NetConn *conn, uint64_t request);

/*
 * May it act for this PostgreSQL server (its system identifier)?  A gateway's
 * certificate is for one; who comes over a unix socket is trusted with all.
 */
extern bool net_conn_may_own(const NetConn *conn, uint64_t system);

/* The name in its certificate; "" = it came over a unix socket. */
extern const char *net_conn_name(const NetConn *conn);

/* The one server it is bound to; 0 = none. */
extern uint64_t net_conn_system(const NetConn *conn);

/*
 * Queue a reply frame; its bytes are moved out of *frame.  Any thread.  A reply
 * to a closed connection vanishes; one whose peer does not read closes it.
 */
extern void net_reply(NetConn *conn, Buf *frame);

/* Frame and queue in one step. */
extern void net_reply_frame(NetConn *conn, WireType type, uint64_t request, Bytes payload);

/*
 * A connection of our own, for one thread at a time.  Dialled on first use and again after a failure.
 * Nothing is sent to who is of another cluster (VT_FOREIGN), nor, unless we are one
 * ourselves, to a placement driver that has none yet (VT_UNAVAILABLE).
 */
typedef struct NetPeer NetPeer;

typedef struct NetPeerOptions
{
	const char *endpoint;
	WireRole	role;			/* what this process is */
	WireRole	expected;		/* what the other must be, over tcp */
	VtId		cluster;		/* ours; zero = none yet, and then any will do */
	uint64_t	store;
	uint64_t	boot_epoch;
	NetTls	   *tls;			/* for tcp; NULL = none */
} NetPeerOptions;

extern NetPeer *net_peer_new(const NetPeerOptions *options);
extern void net_peer_free(NetPeer *peer);

/* Who we are, when that was not known before; for the next time it dials. */
extern void net_peer_set_identity(NetPeer *peer, const VtId *cluster, uint64_t store);

/*
 * Send a request and wait for its reply's payload, at most timeout_ms.  After
 * any failure the connection is closed.
 */
extern VtStatus net_peer_call(NetPeer *peer, WireType type, Bytes payload, int timeout_ms,
							  Buf *reply, VtError *err);

/*
 * The same in two steps, so that several requests of a type are under way: their
 * answers come in the order of asking.  When the one or the other fails, the
 * connection is closed and no answer will come.  forget: none is wanted any more.
 */
extern VtStatus net_peer_request(NetPeer *peer, WireType type, Bytes payload, int timeout_ms, VtError *err);
extern VtStatus net_peer_reply(NetPeer *peer, WireType type, int timeout_ms, Buf *reply, VtError *err);
extern void net_peer_forget(NetPeer *peer);

/*
 * Send one-way frames, one for each payload, together; nobody answers.  After any
 * failure the connection is closed.
 */
extern VtStatus net_peer_send(NetPeer *peer, WireType type, const Bytes *payloads, size_t n, int timeout_ms);
extern VtStatus net_peer_redial(NetPeer *peer, int timeout_ms);

/*
 * Send one such frame without waiting: true: it is sent, or a part of it, and owes says that the rest
 * is still to leave, by net_peer_send().  False, and nothing was sent: where the socket is full,
 * there is no connection, over TLS, which takes its time, and when net_peer_is_there() would ask.
 */
extern bool net_peer_try(NetPeer *peer, WireType type, Bytes payload, int every_ms);
extern bool net_peer_owes(const NetPeer *peer);

/*
 * For a connection over which nothing comes back: is the other still there?  After
 * every_ms without a sign of it it is asked, and what was not answered in patience_ms was
 * asked of nobody: false, and the connection is closed.  Never waits.
 */
extern bool net_peer_is_there(NetPeer *peer, int every_ms, int patience_ms);

/*
 * Has it answered a question that it was asked after that moment?  VT_OK: it has;
 * VT_TIMEOUT: not yet, and it is asked; VT_UNAVAILABLE: there is no connection, or none
 * any more, over which it could.  Never waits.
 */
extern VtStatus net_peer_ask(NetPeer *peer, int64_t since_us, int patience_ms);

/* A question is under way since then; 0 = none. */
extern int64_t net_peer_asked_us(const NetPeer *peer);
extern bool net_peer_connected(const NetPeer *peer);

/* The last time it was dialled nobody listened there. */
extern bool net_peer_refused(const NetPeer *peer);

/* What another thread waits for here ends, and nothing more is sent; then free it. */
extern void net_peer_abort(NetPeer *peer);

/*
 * A one-way street to a store for WIRE_RAFT: frames leave in order and may be
 * lost.  A cut that nobody is told of is noticed within a few seconds, and the other
 * side dialled anew.  refused() is told, on the link's thread, when a dial finds that nobody
 * listens.
 */
typedef struct NetLink NetLink;

extern NetLink *net_link_new(const NetPeerOptions *options,
							 void (*refused) (void *arg, uint64_t tag), void *arg, uint64_t tag);
extern void net_link_free(NetLink *link);
extern void net_link_send(NetLink *link, Buf *payload);	/* takes it; never waits */

/* When something was to leave last, and since when nothing gets through (0: it does); both by clock_now_us(). */
extern void net_link_state(const NetLink *link, int64_t *tried_us, int64_t *failing_us);

/*
 * Is anybody there?  Asked when a connection from there broke: over ours while that
 * stands, else by dialling.
 */
extern void net_link_probe(NetLink *link);

/* Block every signal in this thread and its children; before the first nng call. */
extern void net_block_signals(void);

#endif							/* NET_H */
