/*-------------------------------------------------------------------------
 *
 * peers.c
 *	  Other workers: where they are, and what is sent to them.
 *
 * PD says where each store listens.  Raft messages go over a link each, which
 * is made when the first one is sent; snapshots over a connection of their own,
 * which only the errand thread of src/replica uses, so that they never stand
 * before a heartbeat.
 *
 * When a worker's connection to us breaks, its link is asked to dial: if nobody
 * listens there any more, the worker is dead, and its followers need not wait
 * for their timeouts.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/log.h"
#include "private.h"

#define CHUNK_TIMEOUT_MS 30000

struct WorkerPeer
{
	WorkerPeer *next;
	uint64_t	store;
	char	   *endpoint;
	NetLink    *link;			/* NULL until something is sent */
	NetPeer    *chunks;			/* of the errand thread, but for its end */
	bool		moved;			/* chunks go to the endpoint before */
};

static NetPeerOptions
options_for(Worker *worker, const char *endpoint)
{
	NetPeerOptions options;

	memset(&options, 0, sizeof(options));
	options.endpoint = endpoint;
	options.role = WIRE_ROLE_WORKER;
	options.cluster = worker->cluster;
	options.store = worker->store_id;
	options.boot_epoch = worker->options.boot_epoch;
	return options;
}

static WorkerPeer *
find(Worker *worker, uint64_t store)
{
	WorkerPeer *peer = worker->peers;

	while (peer && peer->store != store)
		peer = peer->next;
	return peer;
}

static void
on_refused(void *arg, uint64_t store)
{
	replica_host_node_down(((Worker *) arg)->host, store);
}

/* PD says that a store listens there. */
void
peers_note(Worker *worker, uint64_t store, const char *endpoint)
{
	WorkerPeer *peer;
	NetLink    *old = NULL;

	if (store == 0 || store == worker->store_id || endpoint[0] == '\0')
		return;
	pthread_mutex_lock(&worker->peers_lock);
	peer = find(worker, store);
	if (!peer)
	{
		peer = vt_alloc0(sizeof(WorkerPeer));
		peer->store = store;
		peer->next = worker->peers;
		worker->peers = peer;
	}
	if (!peer->endpoint || strcmp(peer->endpoint, endpoint) != 0)
	{
		free(peer->endpoint);
		peer->endpoint = vt_strdup(endpoint);
		old = peer->link;
		peer->link = NULL;
		peer->moved = true;
		log_info("store=%llu is at %s", (unsigned long long) store, endpoint);
	}
	pthread_mutex_unlock(&worker->peers_lock);
	net_link_free(old);
}

/* For src/replica, on its raft thread. */
static void
send_messages(void *arg, uint64_t node, Buf *messages)
{
	Worker	   *worker = (Worker *) arg;
	WorkerPeer *peer;

	pthread_mutex_lock(&worker->peers_lock);
	peer = worker->peers_stopped ? NULL : find(worker, node);
	if (peer)
	{
		if (!peer->link)
		{
			NetPeerOptions options = options_for(worker, peer->endpoint);

			peer->link = net_link_new(&options, on_refused, worker, node);
		}
		net_link_send(peer->link, messages);
	}
	pthread_mutex_unlock(&worker->peers_lock);
	buf_free(messages);
}

/* For src/replica, on an errand thread. */
static VtStatus
send_chunk(void *arg, uint64_t node, Bytes chunk, WireChunkResult *result, VtError *err)
{
	Worker	   *worker = (Worker *) arg;
	WorkerPeer *peer;
	NetPeer    *chunks = NULL;
	NetPeer    *old = NULL;
	Buf			reply = {0};
	VtStatus	status;

	pthread_mutex_lock(&worker->peers_lock);
	peer = worker->peers_stopped ? NULL : find(worker, node);
	if (peer && (!peer->chunks || peer->moved))
	{
		NetPeerOptions options = options_for(worker, peer->endpoint);

		old = peer->chunks;
		peer->chunks = net_peer_new(&options);
		peer->moved = false;
	}
	if (peer)
		chunks = peer->chunks;
	pthread_mutex_unlock(&worker->peers_lock);
	net_peer_free(old);
	if (!chunks)
		return vt_fail(err, VT_UNAVAILABLE, "nobody said where store %llu is",
					   (unsigned long long) node);
	status = net_peer_call(chunks, WIRE_CHUNK, chunk, CHUNK_TIMEOUT_MS, &reply, err);
	if (status == VT_OK && wire_chunk_result_get(buf_bytes(&reply), result) != VT_OK)
		status = vt_fail(err, VT_PROTOCOL, "the answer to a chunk is malformed");
	buf_free(&reply);
	return status;
}

ReplicaTransport
peers_transport(Worker *worker)
{
	ReplicaTransport transport = {send_messages, send_chunk, worker};

	return transport;
}

/* A connection from a worker is gone.  In a callback of net's. */
void
peers_lost(Worker *worker, uint64_t store)
{
	WorkerPeer *peer;

	if (store == 0)
		return;
	pthread_mutex_lock(&worker->peers_lock);
	peer = find(worker, store);
	if (peer && peer->link)
		net_link_probe(peer->link);
	pthread_mutex_unlock(&worker->peers_lock);
}

/*
 * Before the host ends: nothing is sent any more, what waits for a peer's answer
 * ends, and so do the links' threads, which tell the host who is dead.
 */
void
peers_stop(Worker *worker)
{
	NetLink    *link;

	pthread_mutex_lock(&worker->peers_lock);
	worker->peers_stopped = true;
	for (WorkerPeer *peer = worker->peers; peer; peer = peer->next)
		if (peer->chunks)
			net_peer_abort(peer->chunks);
	pthread_mutex_unlock(&worker->peers_lock);
	do
	{
		link = NULL;
		pthread_mutex_lock(&worker->peers_lock);
		for (WorkerPeer *peer = worker->peers; peer && !link; peer = peer->next)
		{
			link = peer->link;
			peer->link = NULL;
		}
		pthread_mutex_unlock(&worker->peers_lock);
		net_link_free(link);	/* waits for its thread, which may be stepping cores */
	} while (link);
}

/* Once nobody sends any more. */
void
peers_free(Worker *worker)
{
	while (worker->peers)
	{
		WorkerPeer *peer = worker->peers;

		worker->peers = peer->next;
		net_peer_free(peer->chunks);
		free(peer->endpoint);
		free(peer);
	}
}
