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

/* The text member of a JSON object; false when it is not there or too long. */
extern bool json_member_text(const char *text, const char *member, char *out, size_t size);

#endif							/* VECTRON_PG_JSON_H */
