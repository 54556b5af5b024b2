/*-------------------------------------------------------------------------
 *
 * damage.h
 *	  The log in which LevelDB keeps what is in no table yet, of a closed store: how long it
 *	  is, a byte of it turned over, its end cut off.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_DAMAGE_H
#define TEST_DAMAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The newest one: LevelDB numbers them. */
static inline int
newest_log(const char *store)
{
	char		path[512] = "";
	char		newest[256] = "";
	struct dirent *entry;
	DIR		   *dir = opendir(store);
	int			fd;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		if (strstr(entry->d_name, ".log") && strcmp(entry->d_name, newest) > 0)
			snprintf(newest, sizeof(newest), "%s", entry->d_name);
	closedir(dir);
	assert_string_not_equal(newest, "");
	snprintf(path, sizeof(path), "%s/%s", store, newest);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	return fd;
}

static inline off_t
log_length(const char *store)
{
	struct stat st;
	int			fd = newest_log(store);

	assert_int_equal(fstat(fd, &st), 0);
	close(fd);
	return st.st_size;
}

static inline void
turn_over(const char *store, off_t at)
{
	uint8_t		byte;
	int			fd = newest_log(store);

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static inline void
cut_off(const char *store, off_t length)
{
	int			fd = newest_log(store);

	assert_int_equal(ftruncate(fd, length), 0);
	close(fd);
}

#endif							/* TEST_DAMAGE_H */
