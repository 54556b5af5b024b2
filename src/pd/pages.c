/*-------------------------------------------------------------------------
 *
 * pages.c
 *	  What may be larger than a frame is told in pages: shards, collections, a dump.
 *
 * All in one order, that of the generations of collections, since a generation never
 * changes: a page has all that there is to tell of each of its collections, as it is at
 * that moment, and the next page begins after the last of them.  So a collection that is
 * there all the time is told once and in one piece, whatever is split, moved or deleted
 * of it or of others between two pages.  One that was dropped is told as that, or not at
 * all once it is forgotten; one that is made meanwhile is told if its page is still to
 * come.  Numbers of shards are no such order: a collection's lowest one rises while it is
 * being deleted.
 *
 * Nothing is kept from page to page.  Another driver may tell the next one: when it
 * leads it knows all that the one before had decided.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "service.h"

/* What is asked for; false = malformed. */
static bool
page_read(const Pd *pd, json_t *body, bool always, Page *page)
{
	*page = (Page) {.in_pages = json_is_true(json_object_get(body, "page")), .most = SIZE_MAX};
	if (!page->in_pages && !always)
		return true;
	page->most = pd->options.page_rows ? pd->options.page_rows : PD_PAGE_ROWS;
	return !json_object_get(body, "after") || get_id(body, "after", &page->after);
}

static int
generation_compare(const VtId *a, const VtId *b)
{
	return memcmp(a->b, b->b, sizeof(a->b));
}

void
page_offer(Page *page, CatalogCollection *c)
{
	page->is_offered = true;
	if (generation_compare(&c->generation, &page->after) <= 0)
		return;
	/* Room doubles at each power of two. */
	if ((page->n & (page->n - 1)) == 0)
		page->offered = vt_realloc(page->offered, sizeof(CatalogCollection *) * (page->n ? page->n * 2 : 1));
	page->offered[page->n++] = c;
}

static int
collection_compare(const void *a, const void *b)
{
	return generation_compare(&(*(CatalogCollection *const *) a)->generation, &(*(CatalogCollection *const *) b)->generation);
}

CatalogCollection *
page_next(Page *page, size_t (*rows_of) (const CatalogCollection *))
{
	CatalogCollection *c;
	size_t		rows;

	if (page->told == 0 && page->n > 1)
		qsort(page->offered, page->n, sizeof(CatalogCollection *), collection_compare);
	if (page->told == page->n)
		return NULL;
	c = page->offered[page->told];
	rows = rows_of(c);
	if (page->told > 0 && (page->rows >= page->most || rows > page->most - page->rows))
		return NULL;
	page->rows += rows;
	page->told++;
	return c;
}

/* After what the next one is to be asked for, if there is one. */
static void
page_end(Page *page, json_t *reply)
{
	if (page->told < page->n)
		json_object_set_new(reply, "next", json_id(&page->offered[page->told - 1]->generation));
	if (page->in_pages)
		json_object_set_new(reply, "page", json_true());
	free(page->offered);
}

json_t *
page_answer(Pd *pd, const Question *q, json_t *body, VtError *err)
{
	const char *op = json_string_value(json_object_get(body, "op"));
	const char *name = json_string_value(json_object_get(body, "collection"));
	bool		shards = strcmp(op, "shards") == 0;
	bool		dump = strcmp(op, "dump") == 0;
	json_t	   *reply;
	Page		page;

	if (!page_read(pd, body, dump, &page))
	{
		vt_fail(err, VT_INVALID, "%s: after is malformed", op);
		return NULL;
	}
	reply = shards ? shards_page(pd, q, name, &page) : dump ? dump_page(pd, &page) : collections_page(pd, q, &page);
	/* What was named may have gone since the page before. */
	if (shards && name && !page.is_offered && vt_id_is_zero(&page.after))
	{
		vt_fail(err, VT_NOT_FOUND, "there is no collection with that generation or name");
		json_decref(reply);
		return NULL;
	}
	page_end(&page, reply);
	return reply;
}

void
op_in_pages(Pd *pd, Question *q)
{
	VtError		err = {0};
	json_t	   *reply = page_answer(pd, q, q->body, &err);

	if (reply)
		answer(q, VT_OK, reply, NULL);
	else
		refuse(q, err.code, "%s", vt_error_words(&err));
}
