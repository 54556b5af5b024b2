/*-------------------------------------------------------------------------
 *
 * json.h
 *	  Reading the control plane's JSON answers.  No PostgreSQL header here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_PG_JSON_H
#define VECTRON_PG_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/client.h"

/* The text member of a JSON object; false when it is not there or too long. */
extern bool json_member_text(const char *text, const char *member, char *out, size_t size);

/*
 * An answer that comes in pages (client_page), put together as text: the elements of the list that is a
 * member of this page are added to those in out, *len bytes with commas between them and no 0 after them, or take their
 * place.  There is room for as many bytes more as the page has.  False: it makes no sense.
 */
extern bool json_page(const char *text, const char *member, ClientPage *page, char *out, size_t *len);

/* A collection in PD's answer to "owned". */
typedef struct JsonOwned
{
	char		generation[33];
	char		label[160];
	uint32_t	database;
	uint64_t	xid;
	bool		unused;			/* an earlier sweep found it so */
} JsonOwned;

/*
 * The list of an "owned" answer, allocated with malloc(); false when it makes no
 * sense.
 */
extern bool json_owned(const char *text, JsonOwned **out, size_t *n);

/*
 * Call each() for every text of the list that is a member of a JSON object.  It
 * must not raise.
 */
extern void json_list_each(const char *json, const char *member,
						   void (*each) (void *arg, const char *text), void *arg);

/*
 * Of an answer to "shards": how many records are not indexed in the replica of each
 * shard that more than half of its voters are no worse than, summed over the shards of
 * the marks.  A leader counts as having indexed all, and one that has not come to the
 * mark as having indexed nothing: UINT64_MAX if that decides.  False: it makes no sense.
 */
extern bool json_unindexed(const char *text, const ClientMarks *marks, uint64_t *unindexed);

#endif							/* VECTRON_PG_JSON_H */
