/*-------------------------------------------------------------------------
 *
 * links.c
 *	  The transport between hosts: where the others are, and what is sent to them.
 *
 * Raft messages go over a link each, which is made when the first one is sent;
 * snapshots over a connection of their own, which only the errand thread uses,
 * so that they never stand before a heartbeat.
 *
 * When a node's connection to us breaks, its link is asked to dial: if nobody
 * listens there any more, the node is dead, and its followers need not wait
 * for their timeouts.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/net.h"

#define CHUNK_TIMEOUT_MS 30000
#define UNREACHABLE_US (3 * INT64_C(1000000))	/* nothing got through for so long */
#define IDLE_US (30 * INT64_C(1000000))

typedef struct Peer
{
	struct Peer *next;
	uint64_t	node;
	char	   *endpoint;
	NetLink    *link;			/* NULL until something is sent */
	NetPeer    *chunks;			/* of the errand thread, but for its end */
	bool		moved;			/* chunks go to the endpoint before */
	bool		told;			/* that it cannot be reached */
	int64_t		told_us;		/* since when not */
} Peer;

typedef enum Reach
{
	REACHED,
	UNREACHABLE,
	IDLE						/* nobody has tried lately */
} Reach;

struct ReplicaLinks
{
	ReplicaHost *host;			/* told who is dead; set before anybody is noted */

	pthread_mutex_t lock;		/* of all below */
	ReplicaLinksOptions options;
	Peer	   *peers;
	bool		stopped;
};

ReplicaLinks *
replica_links_new(const ReplicaLinksOptions *options)
{
	ReplicaLinks *links = vt_alloc0(sizeof(ReplicaLinks));

	links->options = *options;
	pthread_mutex_init(&links->lock, NULL);
	return links;
}

void
replica_links_serve(ReplicaLinks *links, ReplicaHost *host)
{
	links->host = host;
}

void
replica_links_set_identity(ReplicaLinks *links, const VtId *cluster, uint64_t node)
{
	pthread_mutex_lock(&links->lock);
	links->options.cluster = *cluster;
	links->options.node = node;
	pthread_mutex_unlock(&links->lock);
}

/* With the lock held. */
static NetPeerOptions
options_for(ReplicaLinks *links, const char *endpoint)
{
	NetPeerOptions options;

	memset(&options, 0, sizeof(options));
	options.endpoint = endpoint;
	options.role = links->options.role;
	options.expected = links->options.role;
	options.tls = links->options.tls;
	options.cluster = links->options.cluster;
	options.store = links->options.node;
	options.boot_epoch = links->options.boot_epoch;
	return options;
}

/* With the lock held. */
static Peer *
find(ReplicaLinks *links, uint64_t node)
{
	Peer	   *peer = links->peers;

	while (peer && peer->node != node)
		peer = peer->next;
	return peer;
}

static void
on_refused(void *arg, uint64_t node)
{
	replica_host_node_down(((ReplicaLinks *) arg)->host, node);
}

void
replica_links_note(ReplicaLinks *links, uint64_t node, const char *endpoint)
{
	Peer	   *peer;
	NetLink    *old = NULL;

	if (node == 0 || endpoint[0] == '\0')
		return;
	pthread_mutex_lock(&links->lock);
	peer = find(links, node);
	if (!peer && node != links->options.node)
	{
		peer = vt_alloc0(sizeof(Peer));
		peer->node = node;
		peer->next = links->peers;
		links->peers = peer;
	}
	if (peer && (!peer->endpoint || strcmp(peer->endpoint, endpoint) != 0))
	{
		free(peer->endpoint);
		peer->endpoint = vt_strdup(endpoint);
		old = peer->link;
		peer->link = NULL;
		peer->moved = true;
		log_info("node=%llu is at %s", (unsigned long long) node, endpoint);
	}
	pthread_mutex_unlock(&links->lock);
	net_link_free(old);
}

/* On a thread that steps the cores. */
static void
send_messages(void *arg, uint64_t node, Buf *messages)
{
	ReplicaLinks *links = (ReplicaLinks *) arg;
	Peer	   *peer;

	pthread_mutex_lock(&links->lock);
	peer = links->stopped ? NULL : find(links, node);
	if (peer)
	{
		if (!peer->link)
		{
			NetPeerOptions options = options_for(links, peer->endpoint);

			peer->link = net_link_new(&options, on_refused, links, node);
		}
		net_link_send(peer->link, messages);
	}
	pthread_mutex_unlock(&links->lock);
	buf_free(messages);
}

/* On an errand thread. */
static VtStatus
send_chunk(void *arg, uint64_t node, Bytes chunk, VtError *err)
{
	ReplicaLinks *links = (ReplicaLinks *) arg;
	Peer	   *peer;
	NetPeer    *chunks = NULL;
	NetPeer    *old = NULL;

	pthread_mutex_lock(&links->lock);
	peer = links->stopped ? NULL : find(links, node);
	if (peer && (!peer->chunks || peer->moved))
	{
		NetPeerOptions options = options_for(links, peer->endpoint);

		old = peer->chunks;
		peer->chunks = net_peer_new(&options);
		peer->moved = false;
	}
	if (peer)
		chunks = peer->chunks;
	pthread_mutex_unlock(&links->lock);
	net_peer_free(old);
	if (!chunks)
		return vt_fail(err, VT_UNAVAILABLE, "nobody said where node %llu is",
					   (unsigned long long) node);
	return net_peer_request(chunks, WIRE_CHUNK, chunk, CHUNK_TIMEOUT_MS, err);
}

static VtStatus
chunk_answer(void *arg, uint64_t node, WireChunkResult *result, VtError *err)
{
	ReplicaLinks *links = (ReplicaLinks *) arg;
	Peer	   *peer;
	NetPeer    *chunks;
	Buf			reply = {0};
	VtStatus	status;

	pthread_mutex_lock(&links->lock);
	peer = find(links, node);
	chunks = peer ? peer->chunks : NULL;
	pthread_mutex_unlock(&links->lock);
	if (!result && chunks)
		net_peer_forget(chunks);
	if (!result)
		return VT_OK;
	if (!chunks)
		return vt_fail(err, VT_UNAVAILABLE, "nothing was sent to node %llu", (unsigned long long) node);
	status = net_peer_reply(chunks, WIRE_CHUNK, CHUNK_TIMEOUT_MS, &reply, err);
	if (status == VT_OK && wire_chunk_result_get(buf_bytes(&reply), result) != VT_OK)
	{
		status = vt_fail(err, VT_PROTOCOL, "the answer to a chunk is malformed");
		net_peer_forget(chunks);
	}
	buf_free(&reply);
	return status;
}

/* The connection goes, and the next chunk makes another. */
static void
interrupt_chunks(void *arg, uint64_t node)
{
	ReplicaLinks *links = (ReplicaLinks *) arg;
	Peer	   *peer;

	pthread_mutex_lock(&links->lock);
	peer = find(links, node);
	if (peer && peer->chunks)
	{
		peer->moved = true;
		net_peer_abort(peer->chunks);
	}
	pthread_mutex_unlock(&links->lock);
}

ReplicaTransport
replica_links_transport(ReplicaLinks *links)
{
	ReplicaTransport transport = {send_messages, send_chunk, chunk_answer, links, interrupt_chunks};

	return transport;
}

void
replica_links_lost(ReplicaLinks *links, uint64_t node)
{
	Peer	   *peer;

	pthread_mutex_lock(&links->lock);
	peer = find(links, node);
	if (peer && peer->link)
		net_link_probe(peer->link);
	pthread_mutex_unlock(&links->lock);
}

/* With the lock held. */
static Reach
reach_of(const Peer *peer, int64_t now_us, int64_t *failing_us)
{
	int64_t		tried_us = 0;

	*failing_us = 0;
	if (peer->link)
		net_link_state(peer->link, &tried_us, failing_us);
	if (tried_us == 0 || now_us - tried_us > IDLE_US)
		return IDLE;
	return *failing_us != 0 && now_us - *failing_us >= UNREACHABLE_US ? UNREACHABLE : REACHED;
}

void
replica_links_look(ReplicaLinks *links)
{
	int64_t		now_us = clock_now_us();
	int64_t		failing_us;

	pthread_mutex_lock(&links->lock);
	for (Peer *peer = links->peers; peer; peer = peer->next)
	{
		Reach		reach = reach_of(peer, now_us, &failing_us);

		if (reach == UNREACHABLE && !peer->told)
		{
			log_warn("node=%llu at %s cannot be reached", (unsigned long long) peer->node, peer->endpoint);
			peer->told = true;
			peer->told_us = failing_us;
		}
		else if (reach == REACHED && peer->told && failing_us == 0)
		{
			log_info("node=%llu at %s is reached again, after %.0f s", (unsigned long long) peer->node, peer->endpoint,
					 (double) (now_us - peer->told_us) / 1e6);
			peer->told = false;
		}
	}
	pthread_mutex_unlock(&links->lock);
}

void
replica_links_metrics(ReplicaLinks *links, Buf *out)
{
	int64_t		now_us = clock_now_us();
	int64_t		failing_us;
	uint64_t	counts[IDLE + 1] = {0};

	pthread_mutex_lock(&links->lock);
	for (Peer *peer = links->peers; peer; peer = peer->next)
		counts[reach_of(peer, now_us, &failing_us)]++;
	pthread_mutex_unlock(&links->lock);
	metrics_family(out, "vectron_peers", "gauge", "Processes that Raft messages go to; idle: none for half a minute.");
	metrics_put(out, "vectron_peers", "state=\"reached\"", counts[REACHED]);
	metrics_put(out, "vectron_peers", "state=\"unreachable\"", counts[UNREACHABLE]);
	metrics_put(out, "vectron_peers", "state=\"idle\"", counts[IDLE]);
}

void
replica_links_stop(ReplicaLinks *links)
{
	NetLink    *link;

	pthread_mutex_lock(&links->lock);
	links->stopped = true;
	for (Peer *peer = links->peers; peer; peer = peer->next)
		if (peer->chunks)
			net_peer_abort(peer->chunks);
	pthread_mutex_unlock(&links->lock);
	do
	{
		link = NULL;
		pthread_mutex_lock(&links->lock);
		for (Peer *peer = links->peers; peer && !link; peer = peer->next)
		{
			link = peer->link;
			peer->link = NULL;
		}
		pthread_mutex_unlock(&links->lock);
		net_link_free(link);	/* waits for its thread, which may be stepping cores */
	} while (link);
}

void
replica_links_free(ReplicaLinks *links)
{
	while (links->peers)
	{
		Peer	   *peer = links->peers;

		links->peers = peer->next;
		net_peer_free(peer->chunks);
		free(peer->endpoint);
		free(peer);
	}
	pthread_mutex_destroy(&links->lock);
	free(links);
}
