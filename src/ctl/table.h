/*-------------------------------------------------------------------------
 *
 * table.h
 *	  Private to ctl: rows of JSON as a table for people.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <jansson.h>
#include <stdio.h>

typedef enum ColumnKind
{
	COLUMN_TEXT,
	COLUMN_BYTES,				/* with a unit */
	COLUMN_MS					/* a duration, with a unit */
} ColumnKind;

typedef struct Column
{
	const char *name;			/* of the member; NULL ends a list */
	ColumnKind	kind;
} Column;

/* A line of names, then one for each object; numbers stand right. */
extern void table_print(FILE *out, const Column *columns, json_t *rows);

/* "name  value", a line for each column. */
extern void table_print_one(FILE *out, const Column *columns, json_t *row);

/* A member as text, in buf or elsewhere; "" when it is not there. */
extern const char *table_cell(const Column *column, json_t *row, char *buf, size_t size);

#endif							/* CTL_TABLE_H */
