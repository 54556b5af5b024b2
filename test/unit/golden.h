/*-------------------------------------------------------------------------
 *
 * golden.h
 *	  Exact bytes of a format, kept as text in test/golden.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_GOLDEN_H
#define TEST_GOLDEN_H

#include <ctype.h>
#include <stdio.h>

#include "base/bytes.h"

/* Hex digits; the rest of a line after # is comment. */
static inline Buf
read_hex(const char *path)
{
	FILE	   *file = fopen(path, "r");
	Buf			out = {0};
	int			high = -1;
	int			c;

	if (!file)
		fail_msg("%s cannot be read; tests run from the top of the tree", path);
	while ((c = fgetc(file)) != EOF)
	{
		int			digit;

		if (c == '#')
			while (c != EOF && c != '\n')
				c = fgetc(file);
		if (!isxdigit(c))
			continue;
		digit = isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;
		if (high < 0)
			high = digit;
		else
		{
			buf_put_u8(&out, (uint8_t) (high << 4 | digit));
			high = -1;
		}
	}
	fclose(file);
	assert_int_equal(high, -1);
	return out;
}

/* 16 bytes a line, below a comment. */
static inline bool
write_hex(const char *path, const char *about, Bytes bytes)
{
	FILE	   *file = fopen(path, "w");

	if (!file)
		return false;
	fprintf(file, "# %s\n", about);
	for (size_t k = 0; k < bytes.len; k++)
		fprintf(file, "%02x%s", bytes.data[k], k % 16 == 15 || k + 1 == bytes.len ? "\n" : k % 8 == 7 ? "  " : " ");
	return fclose(file) == 0;
}

#endif							/* TEST_GOLDEN_H */
