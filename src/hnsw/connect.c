/*-------------------------------------------------------------------------
 *
 * connect.c
 *	  Nodes that no walk comes to are linked once more.
 *
 * A list that chooses anew drops links, and now and then the last link to a
 * node: in a new graph to one of a thousand where vectors lie in tight groups.
 * And where nearly all around has died, what is left may hang on to the entry
 * point without being linked to.  A pass goes through the lowest level from the
 * entry point, breadth first; what it has not come to in the end is linked to
 * from the nearest node that it has come to and that has a place left, and back if
 * it has few links; and so is what none of its own neighbours links to.  Lists only grow by that, so nothing else is lost.
 *
 * Others may link meanwhile: a pass judges only nodes that were in the graph
 * when it began, and a link too many does no harm.  hnsw_repair() makes a pass
 * when the graph has grown by an eighth since the last, or has grown and stands
 * still now, and after it has mended.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

/* So many of the nodes come to last are asked for a place when none is near. */
#define FALLBACK_MAX 4096

/* Where a pass stands; who holds repair_lock. */
struct Connect
{
	uint64_t	old;			/* it judges what was born before this place of the queue */
	uint32_t	used;			/* slots it looks at are below */
	uint8_t    *reached;		/* a bit for each */
	uint32_t   *queue;			/* of nodes come to */
	uint32_t	at;				/* everything before has been followed */
	uint32_t	n;
	uint32_t	slot;			/* once all is followed: the next to judge */
	int64_t		bytes;
};

static inline bool
has_bit(const uint8_t *bits, uint32_t slot)
{
	return bits[slot >> 3] >> (slot & 7) & 1;
}

static inline void
set_bit(uint8_t *bits, uint32_t slot)
{
	bits[slot >> 3] |= (uint8_t) (1 << (slot & 7));
}

static void
come_to(Connect *c, uint32_t slot)
{
	if (slot < c->used && !has_bit(c->reached, slot))
	{
		set_bit(c->reached, slot);
		c->queue[c->n++] = slot;
	}
}

bool
connect_begin(Hnsw *h)
{
	uint64_t	linked = atomic_load(&h->linked);
	uint64_t	entry = atomic_load(&h->entry);
	bool		grown = 8 * linked >= 9 * h->connected && linked > h->connected;
	bool		settled = linked != h->connected && linked == h->connect_seen;
	Connect    *c;

	h->connect_seen = linked;
	if (entry == NO_ENTRY || (!h->connect_due && !grown && !settled))
		return false;
	h->connect_due = false;
	h->connected = linked;
	c = vt_alloc0(sizeof(Connect));
	c->old = atomic_load(&h->head);
	c->used = atomic_load_explicit(&h->used, memory_order_acquire);
	c->reached = vt_alloc0((size_t) c->used / 8 + 1);
	c->queue = vt_alloc(sizeof(uint32_t) * ((size_t) c->used + 1));
	c->bytes = (int64_t) (c->used / 8 + sizeof(uint32_t) * (size_t) c->used);
	graph_account(h, c->bytes);
	come_to(c, (uint32_t) entry);
	h->connect = c;
	return true;
}

void
connect_end(Hnsw *h)
{
	Connect    *c = h->connect;

	if (c == NULL)
		return;
	graph_account(h, -c->bytes);
	free(c->reached);
	free(c->queue);
	free(c);
	h->connect = NULL;
}

/* A link from `from` to `to`, if there is a place; never at the cost of another. */
static bool
append(Hnsw *h, uint32_t from, uint32_t to)
{
	Meta	   *meta = graph_meta(h, from);
	atomic_uint *links = graph_ground(h, from);
	uint32_t	list[2 * HNSW_MAX_M];
	uint32_t	n;
	bool		done = false;

	graph_lock_node(meta);
	n = graph_copy_links(h, from, 0, list);
	for (uint32_t i = 0; i < n; i++)
		done |= list[i] == to;
	if (!done && n < h->m0)
	{
		atomic_store_explicit(&links[n], to, memory_order_release);
		done = true;
	}
	graph_unlock_node(meta);
	return done;
}

/* A link from what was linked to, if it has few: its places are for others that are lost. */
static void
lead_back(Hnsw *h, uint32_t slot, uint32_t to)
{
	uint32_t	list[2 * HNSW_MAX_M];

	if (graph_copy_links(h, slot, 0, list) < h->opt.m)
		(void) append(h, slot, to);
}

/* Link to a node from the nearest that walks come to. */
static bool
link_again(Hnsw *h, Ctx *ctx, uint32_t slot)
{
	Connect    *c = h->connect;
	Walk		walk = {.h = h, .ctx = ctx, .query = &ctx->query, .visited = &ctx->visited,
		.pool = &ctx->pool, .linking = true};
	uint64_t	entry = atomic_load(&h->entry);
	uint32_t	start;

	query_set_slot(h, &ctx->query, slot);
	start = entry_slot(walk_descend(&walk, entry, 0));
	visited_begin(walk.visited, atomic_load_explicit(&h->used, memory_order_acquire));
	pool_begin(walk.pool, h->opt.ef_construction);
	walk_offer(&walk, &start, 1);
	walk_run(&walk);
	ctx->distances += walk.distances;
	for (uint32_t i = 0; i < walk.pool->n; i++)
	{
		uint32_t	near = entry_slot(walk.pool->e[i]);

		if (near != slot && !(walk.pool->e[i] & ENTRY_PASS_BY) && near < c->used &&
			has_bit(c->reached, near) && append(h, near, slot))
		{
			lead_back(h, slot, near);
			return true;
		}
	}
	/* All near is full, or the walk itself is caught among what nothing leads to. */
	for (uint32_t i = c->n; i-- > 0 && c->n - i <= FALLBACK_MAX;)
		if (!has_bit(c->reached, slot) && graph_fate(h, c->queue[i]) == FATE_LIVE &&
			append(h, c->queue[i], slot))
		{
			lead_back(h, slot, c->queue[i]);
			return true;
		}
	return false;
}

/*
 * Come to what the next nodes of the queue link to, on the lowest level: a walk may
 * land anywhere on that, and what only links above it lead to it seldom finds.
 */
static void
follow(Hnsw *h, Connect *c, uint32_t steps)
{
	uint32_t	list[2 * HNSW_MAX_M];

	for (; c->at < c->n && steps > 0; c->at++, steps--)
	{
		uint32_t	len = graph_copy_links(h, c->queue[c->at], 0, list);

		for (uint32_t i = 0; i < len; i++)
			come_to(c, list[i]);
	}
}

/* A live node that was in the graph when the pass began. */
static bool
is_judged(const Hnsw *h, const Connect *c, uint32_t slot)
{
	return graph_fate(h, slot) == FATE_LIVE &&
		atomic_load_explicit(&graph_life(h, slot)->born, memory_order_relaxed) < c->old &&
		atomic_load_explicit(&graph_meta(h, slot)->state, memory_order_acquire) == SLOT_LINKED;
}

/*
 * Does none of the nodes it links to link back?  Then walks come to it from afar
 * at best, which a walk that looks for it seldom does.
 */
static bool
is_lonely(const Hnsw *h, uint32_t slot)
{
	uint32_t	list[2 * HNSW_MAX_M];
	uint32_t	back[2 * HNSW_MAX_M];
	uint32_t	n = graph_copy_links(h, slot, 0, list);

	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	len = graph_copy_links(h, list[i], 0, back);

		for (uint32_t k = 0; k < len; k++)
			if (back[k] == slot)
				return false;
	}
	return true;
}

bool
connect_some(Hnsw *h, Ctx *ctx, uint32_t steps)
{
	Connect    *c = h->connect;

	if (c->at < c->n)
	{
		follow(h, c, steps);
		return true;
	}
	for (; steps > 0 && c->slot < c->used; c->slot++, steps--)
		if (is_judged(h, c, c->slot) && (!has_bit(c->reached, c->slot) || is_lonely(h, c->slot)) &&
			link_again(h, ctx, c->slot))
		{
			/* It leads to others that no walk came to, perhaps. */
			come_to(c, c->slot);
			follow(h, c, UINT32_MAX);
			atomic_fetch_add_explicit(&h->repaired, 1, memory_order_relaxed);
		}
	return c->slot < c->used;
}
