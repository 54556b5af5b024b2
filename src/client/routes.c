/*-------------------------------------------------------------------------
 *
 * routes.c
 *	  Routes that the processes of a server share, in memory of a fixed size.
 *
 * PD's own words lie in a ring of bytes, the newest over the oldest; a place
 * says where those of one generation are.  Nothing here is believed: whoever takes words out
 * reads them as if they had come from PD just now (route.c), and the workers
 * refuse what is out of date (law D1).
 *
 *-------------------------------------------------------------------------
 */
#include "private.h"

#define PLACES 1024

typedef struct RoutePlace
{
	VtId		generation;
	uint64_t	serial;			/* 0 = free; the lowest was put first */
	size_t		at;
	size_t		len;
} RoutePlace;

struct ClientRouteTable
{
	size_t		room;
	size_t		head;			/* where the next words go */
	uint64_t	serials;
	RoutePlace	places[PLACES];
	uint8_t		bytes[];
};

size_t
client_route_table_size(size_t room)
{
	return sizeof(ClientRouteTable) + room;
}

ClientRouteTable *
client_route_table_init(void *memory, size_t room)
{
	ClientRouteTable *table = (ClientRouteTable *) memory;

	memset(table, 0, sizeof(*table));
	table->room = room;
	return table;
}

static RoutePlace *
place_of(ClientRouteTable *table, const VtId *generation)
{
	for (int i = 0; i < PLACES; i++)
		if (table->places[i].serial != 0 && vt_id_equal(&table->places[i].generation, generation))
			return &table->places[i];
	return NULL;
}

/* Room for len bytes: what lies there is forgotten. */
static size_t
make_room(ClientRouteTable *table, size_t len)
{
	size_t		at = table->head + len <= table->room ? table->head : 0;

	for (int i = 0; i < PLACES; i++)
	{
		RoutePlace *p = &table->places[i];

		if (p->serial != 0 && p->at < at + len && at < p->at + p->len)
			p->serial = 0;
	}
	table->head = at + len;
	return at;
}

/* A free place, or that of the oldest words. */
static RoutePlace *
free_place(ClientRouteTable *table)
{
	RoutePlace *best = &table->places[0];

	for (int i = 1; i < PLACES && best->serial != 0; i++)
		if (table->places[i].serial < best->serial)
			best = &table->places[i];
	return best;
}

void
client_route_put(ClientRouteTable *table, const VtId *generation, Bytes words)
{
	RoutePlace *place = place_of(table, generation);
	size_t		at;

	if (place && place->len == words.len && memcmp(table->bytes + place->at, words.data, words.len) == 0)
		return;
	if (place)
		place->serial = 0;
	if (words.len == 0 || words.len > table->room)
		return;
	at = make_room(table, words.len);
	memcpy(table->bytes + at, words.data, words.len);
	place = free_place(table);
	place->generation = *generation;
	place->serial = ++table->serials;
	place->at = at;
	place->len = words.len;
}

bool
client_route_get(ClientRouteTable *table, const VtId *generation, Buf *out)
{
	RoutePlace *place = place_of(table, generation);

	if (!place)
		return false;
	buf_put(out, table->bytes + place->at, place->len);
	return true;
}

bool
client_route_has(ClientRouteTable *table, const VtId *generation)
{
	return place_of(table, generation) != NULL;
}
