/*-------------------------------------------------------------------------
 *
 * table.c
 *	  Rows of JSON as a table for people.
 *
 *-------------------------------------------------------------------------
 */
#include "table.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CELL 200
#define COLUMNS_MAX 24

static const char *
with_unit(double value, ColumnKind kind, char *buf, size_t size)
{
	static const char *const bytes[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	static const char *const times[] = {"ms", "s", "min", "h", "d"};
	static const double steps[] = {1000, 60, 60, 24};
	int			unit = 0;

	if (value < 0)
		return "never";

	if (kind == COLUMN_BYTES)
	{
		while (value >= 1024 && unit < 5)
		{
			value /= 1024;
			unit++;
		}
		snprintf(buf, size, unit == 0 ? "%.0f %s" : "%.1f %s", value, bytes[unit]);
		return buf;
	}
	while (unit < 4 && value >= steps[unit])
	{
		value /= steps[unit];
		unit++;
	}
	snprintf(buf, size, unit == 0 ? "%.0f %s" : "%.1f %s", value, times[unit]);
	return buf;
}

const char *
table_cell(const Column *column, json_t *row, char *buf, size_t size)
{
	json_t	   *value = json_object_get(row, column->name);

	if (!value || json_is_null(value))
		return "";
	if (column->kind != COLUMN_TEXT)
		return with_unit(json_is_string(value) ? strtod(json_string_value(value), NULL) :
						 json_number_value(value), column->kind, buf, size);
	if (json_is_string(value))
		return json_string_value(value);
	if (json_is_boolean(value))
		return json_is_true(value) ? "yes" : "no";
	if (json_is_integer(value))
	{
		snprintf(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		return buf;
	}
	return "?";
}

/* Numbers and what has a unit stand right. */
static bool
stands_right(const Column *column, json_t *rows)
{
	json_t	   *row;
	size_t		i;

	if (column->kind != COLUMN_TEXT)
		return true;
	json_array_foreach(rows, i, row)
	{
		char		buf[CELL];
		const char *text = table_cell(column, row, buf, sizeof(buf));

		if (text[strspn(text, "0123456789")] != '\0')
			return false;
	}
	return true;
}

static void
print_cell(FILE *out, const char *text, int width, bool right, bool last)
{
	if (right)
		fprintf(out, "%*s%s", width, text, last ? "\n" : "  ");
	else if (last)
		fprintf(out, "%s\n", text);
	else
		fprintf(out, "%-*s  ", width, text);
}

void
table_print(FILE *out, const Column *columns, json_t *rows)
{
	int			width[COLUMNS_MAX];
	bool		right[COLUMNS_MAX];
	char		buf[CELL];
	json_t	   *row;
	size_t		i;
	int			n = 0;

	for (; n < COLUMNS_MAX && columns[n].name; n++)
	{
		width[n] = (int) strlen(columns[n].name);
		right[n] = stands_right(&columns[n], rows);
		json_array_foreach(rows, i, row)
		{
			int			len = (int) strlen(table_cell(&columns[n], row, buf, sizeof(buf)));

			if (len > width[n])
				width[n] = len;
		}
	}
	for (int c = 0; c < n; c++)
		print_cell(out, columns[c].name, width[c], right[c], c == n - 1);
	json_array_foreach(rows, i, row)
	{
		for (int c = 0; c < n; c++)
			print_cell(out, table_cell(&columns[c], row, buf, sizeof(buf)), width[c], right[c], c == n - 1);
	}
}

void
table_print_one(FILE *out, const Column *columns, json_t *row)
{
	char		buf[CELL];
	int			width = 0;

	for (const Column *c = columns; c->name; c++)
		if ((int) strlen(c->name) > width)
			width = (int) strlen(c->name);
	for (const Column *c = columns; c->name; c++)
		fprintf(out, "%-*s  %s\n", width, c->name, table_cell(c, row, buf, sizeof(buf)));
}
