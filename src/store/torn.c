/*-------------------------------------------------------------------------
 *
 * torn.c
 *	  Is all there that was written without a sync and is in no table yet?
 *
 * A process that ends takes nothing with it: what it has written the kernel has.  That
 * is what law S2 builds on when nothing is replayed that is visible after a restart in
 * the same boot.  But a page that could not be written back may be dropped, and be read again
 * as what is on the disk, and a disk may damage it; nobody has waited for a sync that
 * would tell.  LevelDB, which has to open what a power loss leaves as well, drops what
 * is damaged, and keeps what comes after it.
 *
 * So its log is read here before LevelDB reads it: blocks of 32 KiB with records, each a
 * masked CRC-32C of type and content, a length of two bytes, a type, the content (LevelDB's
 * doc/log_format.md).  A record that is cut off by the end of the file is what a process leaves
 * that was ended; whatever else is wrong is damage.
 *
 *-------------------------------------------------------------------------
 */
#include "torn.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc.h"

#define BLOCK 32768
#define HEADER 7
#define MASK 0xa282ead8u

enum
{
	RECORD_FULL = 1,
	RECORD_FIRST = 2,
	RECORD_MIDDLE = 3,
	RECORD_LAST = 4
};

static uint32_t
masked(uint32_t crc)
{
	return (crc >> 15 | crc << 17) + MASK;
}

/* Of so many bytes of a block; *open: has a record begun that goes on in the next? */
static bool
block_is_whole(const uint8_t *block, size_t n, bool *open)
{
	size_t		at = 0;

	while (n - at >= HEADER)
	{
		const uint8_t *record = block + at;
		size_t		length = (size_t) record[4] | (size_t) record[5] << 8;
		uint8_t		type = record[6];
		bool		begins = type == RECORD_FULL || type == RECORD_FIRST;

		if (at + HEADER + length > BLOCK)
			return false;
		if (at + HEADER + length > n)
			return true;		/* the end of the file */
		if (type < RECORD_FULL || type > RECORD_LAST || begins == *open)
			return false;
		if (get_le32(record) != masked(crc32c_extend(0, record + HEADER - 1, length + 1)))
			return false;
		*open = type == RECORD_FIRST || type == RECORD_MIDDLE;
		at += HEADER + length;
	}
	return true;
}

static bool
file_is_whole(const char *path)
{
	FILE	   *file = fopen(path, "re");
	uint8_t    *block = vt_alloc(BLOCK);
	bool		open = false;
	bool		whole = file != NULL;
	size_t		n;

	while (whole && (n = fread(block, 1, BLOCK, file)) > 0)
		whole = block_is_whole(block, n, &open);
	if (file)
	{
		whole = whole && !ferror(file);
		fclose(file);
	}
	free(block);
	return whole;
}

bool
torn_look(const char *path)
{
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	bool		whole = true;

	while (dir && whole && (entry = readdir(dir)) != NULL)
	{
		size_t		digits = strspn(entry->d_name, "0123456789");
		char	   *log;

		if (digits == 0 || strcmp(entry->d_name + digits, ".log") != 0)
			continue;
		log = vt_alloc(strlen(path) + strlen(entry->d_name) + 2);
		sprintf(log, "%s/%s", path, entry->d_name);
		whole = file_is_whole(log);
		free(log);
	}
	if (dir)
		closedir(dir);
	return !whole;
}
