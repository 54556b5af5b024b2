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
 * when it began, and a link too many does no harm.
 *
 * A pass reads all lists, so it must be worth it.  hnsw_repair() makes one after it
 * has mended, and when the graph has grown by an eighth since the last.  Where the
 * graph stands still now, by a hundredth is enough: linking those took longer than a
 * pass does.  And what trickles in is seen to when there has been a rest of many
 * times what the last pass took.
 *
 * A pass is also how a graph is looked over (hnsw_look_over): it cuts links that lead to
 * no node, of which there are none but by damage, and leaves in the figures how many there
 * were, and how many nodes it could not lead to.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw/walk.h"

/* So many of the nodes come to last are asked for a place when none is near. */
#define FALLBACK_MAX 4096

/* Growth that is worth a pass: one node for so many, at any time, and while the graph stands still. */
#define GROWN_SHARE 8
#define SETTLED_SHARE 100

/* A rest, in times of the last pass, makes any growth worth one. */
#define REST_TIMES 100

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
	uint64_t	took;			/* nanoseconds so far */
	uint64_t	broken;			/* links that led to no node */
	bool		left;			/* perhaps something could not be linked again */
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

/* Is there no node?  Slots are freed by repairs alone, which end a pass. */
static bool
leads_nowhere(const Hnsw *h, const Connect *c, uint32_t slot)
{
	SlotState	state;

	if (slot < c->used && has_bit(c->reached, slot))
		return false;
	if (slot >= atomic_load_explicit(&h->used, memory_order_acquire))
		return true;
	state = atomic_load_explicit(&graph_meta(h, slot)->state, memory_order_acquire);
	return state == SLOT_FREE || state == SLOT_RESERVED || state == SLOT_RETIRED;
}

static void
cut(Hnsw *h, uint32_t from, int level, uint32_t to)
{
	Meta	   *meta = graph_meta(h, from);
	uint32_t	limit;
	atomic_uint *links = graph_links(h, from, level, &limit);
	uint32_t	list[2 * HNSW_MAX_M];
	uint32_t	kept = 0;
	uint32_t	n;

	graph_lock_node(meta);
	n = graph_copy_links(h, from, level, list);
	for (uint32_t i = 0; i < n; i++)
		if (list[i] != to)
			list[kept++] = list[i];
	for (uint32_t i = 0; i < limit; i++)
		atomic_store_explicit(&links[i], i < kept ? list[i] : NO_SLOT, memory_order_release);
	if (level == 0)
		meta->agreed = 0;
	graph_unlock_node(meta);
}

/* Its links lead to nodes afterwards. */
static void
tidy(Hnsw *h, Connect *c, uint32_t slot)
{
	uint32_t	list[2 * HNSW_MAX_M];

	for (int level = atomic_load(&graph_meta(h, slot)->level); level >= 0; level--)
	{
		uint32_t	n = graph_copy_links(h, slot, level, list);

		for (uint32_t i = 0; i < n; i++)
			if (leads_nowhere(h, c, list[i]))
			{
				cut(h, slot, level, list[i]);
				c->broken++;
			}
	}
}

/* Has the graph grown enough since the last pass? */
static bool
is_worth_it(Hnsw *h, uint64_t linked)
{
	uint64_t	grown = linked > h->connected ? linked - h->connected : 0;
	bool		settled = linked == h->connect_seen && hnsw_waiting(h) == 0;	/* what waits may be on its way (HNSW_WAIT) */

	h->connect_seen = linked;
	if (grown == 0)
		return false;
	if (grown * GROWN_SHARE >= h->connected)
		return true;
	return settled && (grown * SETTLED_SHARE >= h->connected || walk_clock_ns() >= h->connect_rest);
}

bool
connect_begin(Hnsw *h)
{
	uint64_t	linked = atomic_load(&h->linked);
	uint64_t	entry = atomic_load(&h->entry);
	bool		worth_it = is_worth_it(h, linked);
	Connect    *c;

	if (graph_is_table(h) && h->connect_due)
	{
		h->connect_due = false;
		atomic_fetch_add(&h->looks, 1);		/* no links, so none that is broken */
	}
	if (entry == NO_ENTRY || (!h->connect_due && !worth_it))
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
	h->connect_rest = walk_clock_ns() + REST_TIMES * c->took;
	graph_account(h, -c->bytes);
	free(c->reached);
	free(c->queue);
	free(c);
	h->connect = NULL;
}

typedef enum Appended
{
	NO_ROOM,
	WAS_THERE,
	IS_NEW
} Appended;

/* A link from `from` to `to`, if there is a place; never at the cost of another. */
static Appended
append(Hnsw *h, uint32_t from, uint32_t to)
{
	Meta	   *meta = graph_meta(h, from);
	atomic_uint *links = graph_ground(h, from);
	uint32_t	list[2 * HNSW_MAX_M];
	uint32_t	n;
	Appended	done = NO_ROOM;

	graph_lock_node(meta);
	n = graph_copy_links(h, from, 0, list);
	for (uint32_t i = 0; i < n; i++)
		if (list[i] == to)
			done = WAS_THERE;
	if (done == NO_ROOM && n < h->m0)
	{
		atomic_store_explicit(&links[n], to, memory_order_release);
		done = IS_NEW;
	}
	graph_unlock_node(meta);
	return done;
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

/*
 * A link from what was linked to.  The places of one that has many are for others that
 * are lost, unless it is lonely: it would be so again in the next pass.
 */
static bool
lead_back(Hnsw *h, uint32_t slot, uint32_t to)
{
	uint32_t	list[2 * HNSW_MAX_M];

	return (graph_copy_links(h, slot, 0, list) < h->opt.m || is_lonely(h, slot)) &&
		append(h, slot, to) == IS_NEW;
}

/* May the pass lead from here to what is lost? */
static bool
is_sound(const Hnsw *h, const Connect *c, uint32_t slot)
{
	return slot < c->used && has_bit(c->reached, slot) && graph_fate(h, slot) == FATE_LIVE;
}

/* What a lonely node links to links back, where there is a place. */
static bool
answer(Hnsw *h, uint32_t slot)
{
	uint32_t	list[2 * HNSW_MAX_M];
	uint32_t	n = graph_copy_links(h, slot, 0, list);

	for (uint32_t i = 0; i < n; i++)
		if (is_sound(h, h->connect, list[i]) && append(h, list[i], slot) == IS_NEW)
			return true;
	return false;
}

/* Link to a node from the nearest that walks come to; false: nothing could be done, or need be. */
static bool
link_again(Hnsw *h, Ctx *ctx, uint32_t slot)
{
	Connect    *c = h->connect;
	Walk		walk = {.h = h, .ctx = ctx, .query = &ctx->query, .visited = &ctx->visited,
		.pool = &ctx->pool, .linking = true};
	uint64_t	entry = atomic_load(&h->entry);
	bool		lonely = has_bit(c->reached, slot);	/* but nothing worse */
	uint32_t	start;

	if (lonely && answer(h, slot))
		return true;
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
		Appended	done;

		if (near == slot || walk.pool->e[i] & ENTRY_PASS_BY || !is_sound(h, c, near))
			continue;
		done = append(h, near, slot);
		if (done == WAS_THERE)
			come_to(c, slot);	/* since the pass was there */
		if (done != NO_ROOM)
			return lead_back(h, slot, near) || done == IS_NEW;
	}
	/* All near is full, or the walk itself is caught among what nothing leads to. */
	for (uint32_t i = c->n; i-- > 0 && c->n - i <= FALLBACK_MAX;)
		if (!lonely && graph_fate(h, c->queue[i]) == FATE_LIVE && append(h, c->queue[i], slot) != NO_ROOM)
		{
			(void) lead_back(h, slot, c->queue[i]);
			return true;
		}
	return false;
}

/*
 * Come to what the next nodes of the queue link to, on the lowest level: a walk may
 * land anywhere on that, and what only links above it lead to it seldom finds.
 */
static void
follow(Hnsw *h, Connect *c, uint64_t looks)
{
	uint32_t	list[2 * HNSW_MAX_M];

	for (; c->at < c->n && looks > 0; c->at++, looks--)
	{
		uint32_t	len;

		tidy(h, c, c->queue[c->at]);
		len = graph_copy_links(h, c->queue[c->at], 0, list);
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

/* False: there was nothing to do but to look. */
static bool
judge(Hnsw *h, Connect *c, Ctx *ctx, uint32_t slot)
{
	bool		reached = has_bit(c->reached, slot);

	if (!is_judged(h, c, slot))
		return false;
	if (!reached)
		tidy(h, c, slot);
	if (reached && !is_lonely(h, slot))
		return false;
	if (!link_again(h, ctx, slot))
	{
		c->left |= !reached;
		return true;
	}
	/* It leads to others that no walk came to, perhaps. */
	come_to(c, slot);
	follow(h, c, UINT64_MAX);
	atomic_fetch_add_explicit(&h->repaired, 1, memory_order_relaxed);
	return true;
}

/* What the pass that is over has found. */
static void
tell(Hnsw *h, const Connect *c)
{
	uint64_t	left = 0;

	for (uint32_t slot = 0; c->left && slot < c->used; slot++)
		left += !has_bit(c->reached, slot) && is_judged(h, c, slot);
	atomic_store(&h->unreachable, left);
	atomic_store(&h->broken_links, c->broken);
	atomic_fetch_add(&h->looks, 1);
}

bool
connect_some(Hnsw *h, Ctx *ctx, uint32_t steps)
{
	Connect    *c = h->connect;
	uint64_t	begin = walk_clock_ns();
	uint64_t	looks = (uint64_t) steps * LOOKS_A_STEP;

	if (c->at < c->n)
		follow(h, c, looks);
	else
		for (; looks > 0 && c->slot < c->used; c->slot++)
		{
			looks--;
			if (judge(h, c, ctx, c->slot))
				looks -= looks < LOOKS_A_STEP ? looks : LOOKS_A_STEP;
		}
	c->took += walk_clock_ns() - begin;
	if (c->at < c->n || c->slot < c->used)
		return true;
	tell(h, c);
	return false;
}
