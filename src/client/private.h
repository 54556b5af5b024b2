/*-------------------------------------------------------------------------
 *
 * private.h
 *	  What the files of client share.
 *
 * From below to above: conn.c moves frames on the connections of dial.c, pump.c waits for that, request.c
 * pairs requests with replies and classifies them, control.c and route.c speak with PD, fanout.c
 * asks every shard one question; write.c, fence.c, list.c and scan.c are the
 * calls of client.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_PRIVATE_H
#define CLIENT_PRIVATE_H

#include <jansson.h>

#include "base/prng.h"
#include "client/client.h"

#define ENDPOINT_SIZE 128
#define SHARDS_MAX 4096			/* of a route; outside data */
#define COMMAND_BYTES (1u << 20)	/* a write command of ours */
#define METADATA_MAX (1u << 20)	/* of a record */
#define WINDOW 4				/* write commands in flight to one shard */
#define LIST_PAGE_BYTES (1u << 20)

typedef struct Conn Conn;
typedef struct Request Request;
typedef struct RouteEntry RouteEntry;
typedef struct Certificates Certificates;

struct Client
{
	ClientOps	ops;
	Certificates *certificates; /* NULL = none: no tcp */
	WireRole	role;
	VtId		cluster;		/* as we were told, or the first peer that knew it said */
	int64_t		tell_foreign_us;	/* not before this again */
	Prng		prng;			/* jitter, and which replicas to compare */
	ClientPace *pace;
	ClientPace *own_pace;		/* to be freed */

	/* Where PD is; current is where it answered last */
	char	  **pd;
	size_t		npd;
	size_t		pd_current;
	char		pd_hint[ENDPOINT_SIZE]; /* the leader, as another driver said last */

	int			epoll;			/* all sockets: one descriptor to wait on */
	Conn	   *conns;
	int			nconns;
	uint64_t	conn_serials;
	bool		holding;		/* between conns_hold() and conns_let_go() */
	uint64_t	requests;		/* ids given; never used again */

	RouteEntry *routes;			/* the last used first */
	uint32_t	nroutes;
	Buf			control_reply;

	/* Of writes that are done once: in each shard; the last used first */
	struct ClientSession *sessions;
	uint32_t	nsessions;

	/* Open, to be freed with the client */
	ClientList *lists;
	ClientScan *scans;
};

/* -- conn.c, dial.c, pump.c ---------------------------------------------------------------- */

/*
 * A question on its way.  It lives in its caller's memory and hangs on its
 * connection until its reply is there or the connection is gone (done), or
 * until the caller gives up.
 */
struct Request
{
	Request    *next;			/* of the connection */
	Conn	   *conn;			/* NULL: not under way */
	uint64_t	conn_serial;	/* which connection it went out on */
	uint64_t	id;
	WireType	type;
	uint32_t	places;			/* of the connection's; 0 = one.  Set before request_begin() */
	int64_t		until_us;		/* then it has led nowhere; 0 = the call's deadline */
	char		endpoint[ENDPOINT_SIZE];

	/* When done: VT_OK and the reply's payload, or why there is none */
	bool		done;
	VtStatus	status;
	bool		definite;		/* another attempt would fail the same way */
	VtError		err;
	Buf			reply;
};

/* The connection to an endpoint, dialled if there is none; NULL and words. */
extern Conn *conn_of(Client *client, const char *endpoint, VtError *err);

/* The connection with this serial, if it is still up. */
extern Conn *conn_by_serial(Client *client, uint64_t serial);
extern uint64_t conn_serial(const Conn *conn);
extern const char *conn_endpoint(const Conn *conn);

/* Places that are taken by requests under way to an endpoint. */
extern uint32_t conn_under_way(const Client *client, const char *endpoint);

/* Is that a feature (WIRE_FEATURE_*) of who is there?  True until he has greeted. */
extern bool conn_knows(const Conn *conn, uint64_t feature);

/*
 * The worker might refuse one more request of so many places: wait for an answer first.
 * And on the connection to an endpoint, if there is one?
 */
extern bool conn_is_full(const Conn *conn, uint32_t places);
extern bool conn_is_full_to(const Client *client, const char *endpoint, uint32_t places);

/*
 * What request_send() is given in between leaves at the end, in one piece for each
 * connection.
 */
extern void conns_hold(Client *client);
extern void conns_let_go(Client *client);

/* It is greeted, and everything has gone out but for what is held. */
extern bool conn_is_clear(const Conn *conn);
extern void conn_close_all(Client *client);
extern void conn_abandon_all(Client *client);	/* descriptors only */

/*
 * Begin a request's frame: append its payload to *out, then request_send().
 * request_send() never waits; what the socket does not take is sent by pump().
 */
extern size_t request_begin(Client *client, Conn *conn, Request *request, WireType type, Buf **out);
extern void request_send(Request *request, size_t begin);

/* A request whose reply nobody wants. */
extern void request_send_unheard(Client *client, Conn *conn, WireType type, Bytes payload);

/*
 * Forget a request.  If it is under way its connection gets a cancel frame, or
 * is closed when it is in the middle of a frame.  Before the greeting is answered it is
 * taken back if others wait for that, too, and not for long.  Frees the reply.
 */
extern void request_drop(Request *request);

/* Until then, as poll() and epoll_wait() take it; rounded up, an hour at most. */
extern int	wait_ms(int64_t until_us);

/*
 * Wait until some socket has moved, or until_us.  VT_OK, VT_TIMEOUT, or the
 * status with which the caller of the client ends the call.
 */
extern VtStatus pump(Client *client, int64_t until_us, VtError *err);

/*
 * Take what has come already, when the time is over.  VT_OK, also if that is nothing, or
 * the status with which the caller of the client ends the call.
 */
extern VtStatus pump_late(Client *client, VtError *err);

/*
 * A request that nobody answered in the time of one try: given up, and done with
 * VT_TIMEOUT.
 */
extern void request_expire(Request *request);

/*
 * Until done or the deadline (VT_TIMEOUT and words); the request is not dropped.
 * Done is also what has outlived its try.
 */
extern VtStatus request_wait(Client *client, Request *request, int64_t deadline_us, VtError *err);

/* -- certificates.c -------------------------------------------------------- */

extern Certificates *certificates_new(const WireTlsFiles *files);
extern void certificates_free(Certificates *certificates);	/* NULL is fine */

/* What the files hold now; release it. */
extern VtStatus certificates_now(Certificates *certificates, WireRole role, WireTlsContext **out,
								 VtError *err);

/* -- request.c ------------------------------------------------------------- */

/* What is left to do about an answer. */
typedef enum Advice
{
	ADVICE_DONE,				/* it is VT_OK */
	ADVICE_RETRY,				/* same route, a bit later */
	ADVICE_REFRESH,				/* ask PD for the route, then again */
	ADVICE_FAIL					/* a definite answer */
} Advice;

typedef struct Answer
{
	const char *asked;			/* the request's endpoint */
	WireReply	head;
	Bytes		body;			/* in the request's reply */
	Bytes		splits;			/* there, too: of a refusal that says how the shard was split since */
	bool		full;			/* VT_BUSY is the worker's word, not the shard's: it has too much to do */
	VtError		err;			/* words with shard and endpoint */
} Answer;

/*
 * Decode what a shard said to a request that is done.  covering: the answer
 * must be for exactly the shard's interval (law D1).
 */
extern Advice answer_get(const Request *request, const WireShardDesc *desc, bool covering,
						 Answer *out);

/* The attempts of one call. */
typedef struct Retry
{
	uint32_t	tries;
	uint32_t	after_ms;		/* the server's wish */
	bool		refresh;
	bool		hop;			/* another replica may answer at once */
	bool		told;			/* by whom else may, a worker has said */
	bool		replicated;		/* there are others to ask */
	VtError		last;			/* why the last attempt failed */
} Retry;

/* An answer that was none, or (below) no answer, outside of shards. */
extern void retry_note_failure(Retry *retry, VtStatus status, const VtError *err);

/*
 * A shard gave no answer that counts: the next try goes to its next replica,
 * where there is one, and to PD when all have been tried.  To neither, and without a
 * pause, when the answer names what the shard was split into.
 */
extern void retry_note(Client *client, Retry *retry, const ClientShard *shard, Advice advice,
					   const Answer *answer);
extern void retry_note_lost(Client *client, Retry *retry, const ClientShard *shard,
							VtStatus status, const VtError *err);

/* When one try of a question to this shard ends. */
extern int64_t try_until(const Retry *retry, const ClientShard *shard, int64_t deadline_us);

/* How long to wait before the next attempt; counts it. */
extern int64_t retry_pause(Client *client, Retry *retry);

/*
 * Wait before the next attempt, answering sockets meanwhile.  At the deadline:
 * the status and words of the last failure.
 */
extern VtStatus retry_wait(Client *client, Retry *retry, int64_t deadline_us, VtError *err);

/*
 * A shard was silent until the deadline: that, or why the attempt before failed,
 * which says more.
 */
extern VtStatus unanswered(const Retry *retry, const ClientShard *shard, VtError *err);
extern VtStatus malformed(const ClientShard *shard, VtError *err);

/* A status that says "not now" or "not here" rather than "no". */
extern bool status_is_passing(VtStatus status);

/* Milliseconds for the server, at least 1. */
extern uint32_t deadline_ms(int64_t deadline_us);

/* The route fields of a request. */
extern WireRoute route_of(const WireShardDesc *desc, const WireOwner *owner, int64_t deadline_us);

/*
 * A vector as it goes over the wire: itself, or a copy in scratch.  That it fits its
 * element has been checked (vec_to_half, vec_bits_valid).
 */
extern const uint8_t *vector_on_wire(Buf *scratch, VecElement element, const void *vector, uint32_t dim);

extern void marks_note(ClientMarks *marks, uint64_t shard, uint64_t incarnation, uint64_t index);

/* The route by which what is acknowledged went (R3). */
extern void marks_note_route(ClientMarks *marks, uint64_t version, const ClientShard *shards, uint32_t n);
extern void marks_reset(ClientMarks *marks);

/* -- pace.c ---------------------------------------------------------------- */

/* A search's first batch took so long. */
extern void pace_took(ClientPace *pace, int64_t us, int64_t now_us);

/* The time after which a second replica is asked: the p95 of the last minute. */
extern int64_t pace_hedge_us(ClientPace *pace, int64_t now_us);

/* A question went out; and may another one, to a worker that is not in doubt? */
extern void pace_asked(ClientPace *pace);
extern bool pace_may_hedge(ClientPace *pace, bool urgent);	/* urgent: it would be an error else */

/* Something came from a worker: it is there.  And what a search says of it. */
extern void pace_heard(ClientPace *pace, const char *endpoint, int64_t now_us);
extern int64_t pace_heard_us(ClientPace *pace, const char *endpoint); /* when, the last time; 0 = never */
extern void pace_answered(ClientPace *pace, const char *endpoint, int64_t took_us, uint32_t waiting);

/* Nothing came since then?  Unless others have heard from it, it is in doubt: true. */
extern bool pace_silent(ClientPace *pace, const char *endpoint, int64_t since_us, int64_t now_us);
extern bool pace_is_doubted(ClientPace *pace, const char *endpoint);

/* Is it our turn to look whether a worker in doubt is back? */
extern bool pace_may_probe(ClientPace *pace, const char *endpoint, int64_t now_us);

/* Has it more to do than it can at a time?  Then a hedge there takes the time of another search. */
extern bool pace_is_busy(ClientPace *pace, const char *endpoint, int64_t now_us);

/*
 * A worker has turned a question to a collection away, since searches of that wait there
 * for so long.  Would it turn away another, that has so much time left?  Then: how long
 * they wait; 0 = it would not, as far as is known.  May it be asked all the same?  For who
 * is answered others may try.
 */
extern void pace_full(ClientPace *pace, const char *endpoint, const VtId *collection, int64_t wait_us, int64_t now_us);
extern int64_t pace_full_us(ClientPace *pace, const char *endpoint, const VtId *collection, int64_t left_us, int64_t now_us);
extern bool pace_may_try(ClientPace *pace, const char *endpoint, const VtId *collection, int64_t now_us);
extern void pace_served(ClientPace *pace, const char *endpoint, const VtId *collection);

/* Smaller is better. */
extern uint64_t pace_score(ClientPace *pace, const char *endpoint, uint32_t under_way, int64_t now_us);

/* -- route_read.c ---------------------------------------------------------- */

/* A route as JSON has it; false: it is malformed.  The caller frees out->shards, whatever comes back. */
extern bool route_read(json_t *object, ClientCollection *out);

/* Sorted shards: do they tile the space and agree with the collection? */
extern bool route_agrees(const ClientCollection *route);

/* -- route_told.c ---------------------------------------------------------- */

/* The route with what a worker says was split off a shard of it, with shards of its own; false: that does not fit. */
extern bool route_adopt(const ClientCollection *route, const WireShardDesc *child, ClientCollection *out);

/*
 * What PD said of a route may be older than what is known of it: where it is, shards stay as they
 * are known, at the places that PD says.  False: the two do not fit, and what PD said stays.
 */
extern bool route_go_on(const ClientCollection *known, ClientCollection *said);

/* -- route.c --------------------------------------------------------------- */

/* Of the places of a shard, the one with this endpoint; nplaces = none. */
extern uint32_t shard_place(const ClientShard *shard, const char *endpoint);

/* Which shard of a route owns an id. */
extern uint32_t route_place(const ClientCollection *route, Bytes id);

/* What a shard was split off, which begins before it; NULL: nothing.  And the version it had then. */
extern const WireShardDesc *route_parent(const ClientCollection *route, const WireShardDesc *desc);
extern uint32_t route_born_ver(const ClientCollection *route, const WireShardDesc *desc);

/*
 * Nothing came of asking a shard at an endpoint: turn to its next replica.  True
 * when each of them has had its turn since PD was asked.
 */
extern bool route_miss(Client *client, const ClientShard *shard, const char *endpoint);

/* The shard as the cached route has it; NULL when it has not, in this life. */
extern ClientShard *route_shard(Client *client, const WireShardDesc *desc);

/* As client_control(), but a driver that has too much to do is not asked again (control.c). */
extern VtStatus control_once(Client *client, const char *request, int64_t deadline_us, const char **reply, VtError *err);

/* Take over where the replicas of a shard are, and whom to ask next. */
extern void shard_take_places(ClientShard *to, const ClientShard *from);

/*
 * A worker says how a shard was split since it was asked: the route is so from its next use on.
 * False: that is no news, or does not fit.
 */
extern bool route_take_splits(Client *client, const WireShardDesc *asked, Bytes splits);

/* Same shards with the same intervals?  Endpoints may differ. */
extern bool route_same_shape(const ClientCollection *route, const ClientShard *shards, uint32_t n);

/*
 * After a failed attempt: ask PD when the retry says so.  PD out of reach is no
 * failure here, since the old route may be right; a definite no is.
 */
extern VtStatus route_again(Client *client, const VtId *generation, const Retry *retry,
							int64_t deadline_us, const ClientCollection **out, VtError *err);
extern void route_free_all(Client *client);

/* Before the route of a generation is used again, PD is asked for it. */
extern void route_set_stale(Client *client, const VtId *generation);

/* -- once.c ---------------------------------------------------------------- */

typedef struct ClientSession ClientSession;

/* What a command goes by, as long as its call tries; sequence 0: none yet. */
typedef struct OnceNumber
{
	uint64_t	home;			/* shard in whose session it was numbered */
	uint64_t	session;
	uint64_t	sequence;
} OnceNumber;

/* A record on its way to a shard. */
typedef struct OncePlace
{
	uint32_t	where;			/* in the route */
	OnceNumber	number;
	size_t		record;
} OncePlace;

/* By shard; there first what has a number, command by command. */
extern void once_sort(OncePlace *places, size_t n);

/* What a shard has to do with a session that a record was numbered in at home. */
typedef enum OnceKin
{
	ONCE_HEIR,					/* it knows it: it is home, or was split off later */
	ONCE_STRANGER,				/* it was split off before, and owned the record when it was sent to home */
	ONCE_OLDER					/* the route says nothing of home, or that it comes from this one */
} OnceKin;

extern OnceKin once_kin(const ClientCollection *route, const WireShardDesc *desc, uint64_t home, uint64_t session);

/* The session of a shard, which may be one of its parent's; NULL: to be opened. */
extern ClientSession *once_session(Client *client, const ClientCollection *route, const WireShardDesc *desc);
extern ClientSession *once_opened(Client *client, const WireShardDesc *desc, uint64_t id);
extern OnceNumber once_number(ClientSession *session, uint64_t home);
extern void once_forget(Client *client, const VtId *generation, uint64_t id);
extern void once_forget_all(Client *client, const VtId *generation);
extern void once_make_room(Client *client);
extern void once_free_all(Client *client);

/* -- fanout.c -------------------------------------------------------------- */

/* One question to every shard. */
typedef struct FanOut
{
	uint32_t	n;
	ClientShard *shards;		/* copies */
	Request    *requests;
	Answer	   *answers;
	uint64_t	route_version;
} FanOut;

/* Append the payload for one shard. */
typedef void (*FanOutEncode) (Buf *out, const WireRoute *route, void *arg);

/*
 * Ask all shards at once, again where an answer was not definite, all of them
 * anew when the route changed, until every shard of one route has answered
 * VT_OK for its own interval.
 */
extern VtStatus fanout(Client *client, const VtId *generation, const WireOwner *owner,
					   WireType type, FanOutEncode encode, void *arg, int64_t deadline_us,
					   FanOut *out, uint64_t *fence, VtError *err);
extern void fanout_free(FanOut *fan);

/* -- list.c, scan.c -------------------------------------------------------- */

extern void list_free_all(Client *client);
extern void scan_free_all(Client *client);

#endif							/* CLIENT_PRIVATE_H */
