/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Who may come in and what he may ask; and strangers, who have connected
 *	  and not yet said who they are.
 *
 * Anybody may connect to a tcp port, and say nothing, or half of something.  A
 * stranger costs a descriptor, a few KiB, and no thread.  He has ten seconds; and
 * there are never more than STRANGERS_MAX of them: of too many the one who has
 * waited longest goes, since who means well needs but a few round trips.
 *
 * Refusals are told in words, a few in a row and then counted: who knocks a
 * thousand times a second must not fill the disk with the log of it.
 *
 *-------------------------------------------------------------------------
 */
#include "net/net.h"

#include <stdio.h>

#include "base/breaks.h"
#include "base/clock.h"
#include "private.h"

#define TELL_MAX 10				/* refusals told in each ... */
#define TELL_US (10 * INT64_C(1000000))
#define FOREIGN_US 1000000		/* for the answer to somebody of another cluster to arrive */

void
guard_known(NetConn *conn)
{
	conn->server->strangers -= conn->stranger;
	conn->stranger = false;
}

void
guard_refuse(NetConn *conn, const char *words)
{
	NetServer  *server = conn->server;
	int64_t		now = clock_now_us();
	uint32_t	untold = 0;
	bool		tell;
	char		line[400];

	if (!server->options.handler.refused)
		return;
	pthread_mutex_lock(&server->lock);
	if (now - server->telling_since_us >= TELL_US)
	{
		server->telling_since_us = now;
		server->told = 0;
		untold = server->untold;
		server->untold = 0;
	}
	tell = server->told < TELL_MAX;
	server->told += tell;
	server->untold += !tell;
	pthread_mutex_unlock(&server->lock);
	if (!tell)
		return;
	snprintf(line, sizeof(line), "shut out %s: %s", conn->from[0] ? conn->from : "who came by the unix socket", words);
	if (untold)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), " (and %u others before)", untold);
	server->options.handler.refused(server->options.handler.arg, line);
}

/*
 * The stranger who has waited longest, held, if he came before a time; NULL = none.  He
 * is none any more then: who greets in this moment is not welcomed and shut out after.
 */
static NetConn *
take_oldest(NetServer *server, int64_t greet_before_us, int more_than)
{
	NetConn    *found = NULL;

	pthread_mutex_lock(&server->lock);
	for (NetConn *c = server->strangers > more_than ? server->conns : NULL; c; c = c->next)
		if (c->stranger && c->greet_by_us <= greet_before_us && (!found || c->greet_by_us < found->greet_by_us))
			found = c;
	if (found)
	{
		guard_known(found);
		net_conn_ref(found);
	}
	pthread_mutex_unlock(&server->lock);
	return found;
}

static void
shut_out(NetConn *conn, const char *words)
{
	guard_refuse(conn, words);
	conn_close(conn);
	net_conn_release(conn);
}

void
guard_bound(NetServer *server)
{
	NetConn    *conn;

	while ((conn = take_oldest(server, INT64_MAX, STRANGERS_MAX)) != NULL)
		shut_out(conn, "too many have not said who they are, and it has waited longest");
}

int64_t
guard_greeting_ms(const NetServer *server)
{
	return server->options.greeting_ms ? server->options.greeting_ms : GREETING_MS;
}

int64_t
guard_sweep_ms(const NetServer *server)
{
	int64_t		greeting = guard_greeting_ms(server);

	return greeting < SWEEP_MS ? greeting : SWEEP_MS;
}

bool
guard_sweep(NetServer *server)
{
	NetConn    *conn;
	bool		any;

	while ((conn = take_oldest(server, clock_now_us(), 0)) != NULL)
		shut_out(conn, "did not say who it is in time");
	pthread_mutex_lock(&server->lock);
	any = server->strangers > 0;
	pthread_mutex_unlock(&server->lock);
	return any;
}

/* -- The greeting ------------------------------------------------------------ */

/* Is this who it says it is?  NULL, or why not. */
static const char *
hello_refusal(NetConn *conn, const WireHello *hello)
{
	const WireIdentity *identity = conn->tls ? wire_tls_peer(conn->tls) : NULL;

	if (hello->version_low > WIRE_VERSION || hello->version_high < WIRE_VERSION)
		return "speaks other versions of the wire";
	if (identity && identity->role != hello->role && !vt_broken("T2-role"))
		return "says that it is something else than its certificate is for";
	if (identity && !vt_id_is_zero(&hello->cluster) && !vt_id_equal(&hello->cluster, &identity->cluster))
		return "belongs to another cluster than its certificate";
	return NULL;
}

/* From now on it may ask; false = it was closed meanwhile. */
static bool
welcome(NetConn *conn, const WireHello *hello)
{
	NetServer  *server = conn->server;
	bool		known;

	conn->role = hello->role;
	conn->store = hello->store;
	conn->features = hello->features;
	conn->system = conn->tls ? wire_tls_peer(conn->tls)->system : 0;
	pthread_mutex_lock(&server->lock);
	known = conn->stranger;
	guard_known(conn);
	conn->greeted = known;
	pthread_mutex_unlock(&server->lock);
	return known;
}

static void
answer_hello(NetConn *conn, uint64_t request, WireHello *ours)
{
	Buf			out = {0};

	ours->version_low = ours->version_high = WIRE_VERSION;
	ours->role = conn->server->options.role;
	ours->boot_epoch = conn->server->options.boot_epoch;
	ours->features = WIRE_FEATURE_PING | WIRE_FEATURE_MANY | WIRE_FEATURE_METADATA;
	wire_hello_put(&out, ours);
	net_reply_frame(conn, WIRE_HELLO, request, buf_bytes(&out));
	buf_free(&out);
}

static void
refuse_foreign(NetConn *conn, const VtId *theirs, const VtId *ours)
{
	char		their_text[VT_ID_TEXT];
	char		our_text[VT_ID_TEXT];
	char		words[160];

	vt_id_format(theirs, their_text);
	vt_id_format(ours, our_text);
	snprintf(words, sizeof(words), "belongs to another cluster, %s, and this is %s", their_text, our_text);
	guard_refuse(conn, words);
}

/*
 * One of another cluster has been told whose this is, so that he can say whom he
 * met, and remains a stranger for the moment that takes.  Not sooner: whoever stands
 * still before the answer would find the connection closed.
 */
static void
turn_away(NetConn *conn)
{
	int64_t		until = clock_now_us() + FOREIGN_US;

	pthread_mutex_lock(&conn->server->lock);
	if (until < conn->greet_by_us)
		conn->greet_by_us = until;
	pthread_mutex_unlock(&conn->server->lock);
}

bool
guard_greet(NetConn *conn, const WireHeader *header, Bytes payload)
{
	NetServer  *server = conn->server;
	WireHello	theirs;
	WireHello	ours;
	const char *refusal;
	bool		foreign;

	memset(&ours, 0, sizeof(ours));
	pthread_mutex_lock(&server->lock);
	ours.cluster = server->cluster;
	ours.store = server->store;
	pthread_mutex_unlock(&server->lock);
	if (header->type != WIRE_HELLO || header->kind != WIRE_REQUEST || wire_hello_get(payload, &theirs) != VT_OK)
		refusal = "does not begin with a greeting";
	else
		refusal = hello_refusal(conn, &theirs);
	if (refusal)
	{
		guard_refuse(conn, refusal);
		return false;
	}
	foreign = !vt_id_is_zero(&theirs.cluster) && !vt_id_is_zero(&ours.cluster) &&
		!vt_id_equal(&theirs.cluster, &ours.cluster);
	if (foreign)
		refuse_foreign(conn, &theirs.cluster, &ours.cluster);
	else if (!welcome(conn, &theirs))
		return false;
	answer_hello(conn, header->request, &ours);
	if (foreign)
		turn_away(conn);
	return true;
}

/* Raft is spoken among equals. */
bool
guard_may(WireRole ours, WireRole role, WireType type)
{
	switch (type)
	{
		case WIRE_CONTROL:
		case WIRE_PING:
			return true;
		case WIRE_WRITE:
		case WIRE_SEARCH:
		case WIRE_LIST:
		case WIRE_READ_INDEX:
			return role == WIRE_ROLE_GATEWAY || role == WIRE_ROLE_CTL;
		case WIRE_RAFT:
		case WIRE_CHUNK:
			return role == ours && (role == WIRE_ROLE_WORKER || role == WIRE_ROLE_PD);
		default:
			return false;
	}
}
