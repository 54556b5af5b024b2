/*-------------------------------------------------------------------------
 *
 * start.c
 *	  How a placement driver begins, is spoken to, and ends.
 *
 *-------------------------------------------------------------------------
 */
#include "pd.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/endpoint.h"
#include "base/level.h"
#include "base/log.h"
#include "service.h"

/* Raft messages are believed to come from the driver that its HELLO named. */
static void
take_messages(Pd *pd, NetConn *conn, Buf *payload)
{
	uint64_t	as = wire_raft_store(buf_bytes(payload));

	if (net_conn_role(conn) == WIRE_ROLE_PD && as == net_conn_store(conn))
	{
		replica_host_receive(pd->host, payload);
		return;
	}
	atomic_store(&pd->foreign_from, net_conn_store(conn));
	atomic_store(&pd->foreign_as, as);
	atomic_fetch_add(&pd->foreign, 1);
}

/*
 * In a callback, on the one thread that all who come over tcp share: what it brings is
 * moved, and read by who serves it (law T1).
 */
static void
on_frame(void *arg, NetConn *conn, const WireHeader *header, Buf *payload)
{
	Pd		   *pd = (Pd *) arg;
	bool		daemon = net_conn_role(conn) == WIRE_ROLE_WORKER || net_conn_role(conn) == WIRE_ROLE_PD;
	Question   *q;
	bool		stopping;
	bool		full;
	uint32_t	wait_ms;

	if (header->kind == WIRE_CANCEL)
		net_conn_cancel(conn, header->request);
	if (header->type == WIRE_RAFT && header->kind == WIRE_ONEWAY)
		take_messages(pd, conn, payload);
	if (header->kind != WIRE_REQUEST || (header->type != WIRE_CONTROL && header->type != WIRE_CHUNK))
		return;
	q = vt_alloc0(sizeof(Question));
	q->conn = net_conn_ref(conn);
	q->request = header->request;
	q->type = header->type;
	q->tells = header->type == WIRE_CONTROL && payload->len > QUESTIONS_LONG && net_conn_role(conn) == WIRE_ROLE_WORKER;
	q->payload = *payload;
	memset(payload, 0, sizeof(*payload));
	pthread_mutex_lock(&pd->lock);
	stopping = pd->stopping;
	full = !stopping && !questions_put(&pd->questions, q, daemon);
	if (full && q->type == WIRE_CHUNK)
	{
		/* Answers come in the order of the chunks: it keeps its place, and is told there. */
		buf_free(&q->payload);
		full = !questions_put(&pd->questions, q, daemon);
	}
	wait_ms = questions_wait_ms(&pd->questions);
	pd->turned_away += full;
	if (!stopping && !full)
		pthread_cond_signal(&pd->ready);
	pthread_mutex_unlock(&pd->lock);
	if (stopping)
		refuse(q, VT_STOPPING, "the placement driver is shutting down");
	else if (full)
		refuse_for(q, wait_ms);
}

static void
on_closed(void *arg, NetConn *conn)
{
	if (net_conn_role(conn) == WIRE_ROLE_PD)
		replica_links_lost(((Pd *) arg)->links, net_conn_store(conn));
}

static void
on_refused(void *arg, const char *words)
{
	(void) arg;
	log_warn("%s", words);
}

void
pd_reload(void *arg)
{
	Pd		   *pd = (Pd *) arg;
	VtError		err = {0};

	if (!pd->options.tls)
		return;
	if (net_tls_reload(pd->options.tls, &err) != VT_OK)
	{
		log_error("certificates stay as they are: %s", vt_error_words(&err));
		return;
	}
	net_server_renew(pd->server);
	if (pd->exposed)
		net_server_renew(pd->exposed);
	log_info("certificates were read anew");
}

/* Can others come to us, and is our certificate for the cluster whose catalog this is, if there is one yet? */
static VtStatus
check_place(Pd *pd, VtError *err)
{
	const VtId *cluster = &pd->catalog->meta.cluster;
	char		hex[VT_ID_TEXT];
	WireIdentity identity;
	Endpoint	place;
	VtStatus	status = endpoint_parse(pd->options.advertise, &place, err);

	if (status != VT_OK)
		return status;
	if (place.tcp && place.any)
		return vt_fail(err, VT_INVALID, "\"%s\" is no place to come to: set advertise", pd->options.advertise);
	if (!pd->options.tls || vt_id_is_zero(cluster))
		return VT_OK;
	identity = net_tls_identity(pd->options.tls);
	if (vt_id_equal(cluster, &identity.cluster))
		return VT_OK;
	vt_id_format(cluster, hex);
	return vt_fail(err, VT_DENIED, "the certificate is for another cluster than this one, which is %s: vectronctl certs init --cluster", hex);
}

/* Alone, a driver is ready when it has made the cluster's identity. */
static VtStatus
await_cluster(Pd *pd, VtError *err)
{
	int64_t		until = clock_now_us() + 30 * INT64_C(1000000);

	for (;;)
	{
		struct timespec nap = {0, 2000000};
		bool		is_ready;

		pthread_mutex_lock(&pd->lock);
		is_ready = pd->is_member || pd->is_removed;
		pthread_mutex_unlock(&pd->lock);
		if (is_ready)
			return VT_OK;
		if (clock_now_us() > until)
			return vt_fail(err, VT_TIMEOUT, "the placement driver's Raft group did not elect a leader");
		nanosleep(&nap, NULL);
	}
}

/* Open what is there, and listen. */
static VtStatus
begin(Pd *pd, Store *rows, VtError *err)
{
	ReplicaLinksOptions links = {.role = WIRE_ROLE_PD, .boot_epoch = pd->options.boot_epoch, .tls = pd->options.tls};
	ReplicaHostOptions host = {.checkpoint_bytes = pd->options.checkpoint_bytes};
	RaftSnapshot base = {0};
	NetServerOptions net;
	uint64_t	applied;
	VtStatus	status;

	pd->links = replica_links_new(&links);
	host.transport = replica_links_transport(pd->links);
	status = replica_host_start(pd->log, &host, &pd->host, err);
	if (status != VT_OK)
		return status;
	replica_links_serve(pd->links, pd->host);
	status = replica_stored_base(pd->host, PD_GROUP, &base, err);
	if (status == VT_OK || status == VT_NOT_FOUND)
		status = catalog_finish_install(rows, &base, err);
	if (status == VT_OK)
		status = catalog_open(rows, &pd->catalog, &applied, err);
	if (status == VT_OK)
		status = check_place(pd, err);
	if (status == VT_OK)
		status = found_begin(pd, err);
	if (status != VT_OK)
		return status;
	memset(&net, 0, sizeof(net));
	net.endpoint = pd->options.listen;
	net.role = WIRE_ROLE_PD;
	net.cluster = pd->catalog->meta.cluster;
	net.store = pd->id;
	net.boot_epoch = pd->options.boot_epoch;
	net.handler.frame = on_frame;
	net.handler.closed = on_closed;
	net.handler.refused = on_refused;
	net.handler.arg = pd;
	net.tls = pd->options.tls;
	status = net_server_start(&net, &pd->server, err);
	net.endpoint = pd->options.expose;
	return status == VT_OK && net.endpoint ? net_server_start(&net, &pd->exposed, err) : status;
}

static void
let_go(Pd *pd)
{
	net_server_stop(pd->exposed);
	net_server_stop(pd->server);
	replica_links_stop(pd->links);
	replica_host_stop(pd->host);
	replica_links_free(pd->links);
	catalog_close(pd->catalog);
	beats_free(pd);
	found_end(pd);
	free(pd->holders);
	free(pd->operators);
	verify_forget(pd);
	free(pd->route);
	free(pd);
}

VtStatus
pd_start(Store *log, Store *rows, const PdOptions *options, Pd **out, VtError *err)
{
	Pd		   *pd = vt_alloc0(sizeof(Pd));
	VtStatus	status;

	pd->log = log;
	pd->options = *options;
	if (!pd->options.advertise)
		pd->options.advertise = pd->options.expose ? pd->options.expose : pd->options.listen;
	pd->commit = service_commit;
	pd->started_us = clock_now_us();
	atomic_store(&pd->turned_us, pd->started_us);
	questions_init(&pd->questions);
	pthread_mutex_init(&pd->lock, NULL);
	cond_init(&pd->ready);
	cond_init(&pd->met);
	status = begin(pd, rows, err);
	if (status != VT_OK)
	{
		let_go(pd);
		return status;
	}
	if (pthread_create(&pd->thread, NULL, service_main, pd) != 0 ||
		pthread_create(&pd->meeter, NULL, found_main, pd) != 0)
		vt_assert_fail("pthread_create", __FILE__, __LINE__);
	if (pd->npeers == 1)
		status = await_cluster(pd, err);
	if (status == VT_OK)
		*out = pd;
	else
		pd_stop(pd);
	return status;
}

void
pd_stop(Pd *pd)
{
	pthread_mutex_lock(&pd->lock);
	pd->stopping = true;
	pthread_cond_signal(&pd->ready);
	pthread_cond_broadcast(&pd->met);
	pthread_mutex_unlock(&pd->lock);
	pthread_join(pd->thread, NULL);
	pthread_join(pd->meeter, NULL);
	/* The parked ones first: the list that a round would take may be put in their place. */
	while (pd->parked || (pd->parked = questions_take(&pd->questions, NULL)) != NULL)
	{
		Question   *q = pd->parked;

		pd->parked = q->next;
		refuse(q, VT_STOPPING, "the placement driver is shutting down");
	}
	let_go(pd);
}
