/*-------------------------------------------------------------------------
 *
 * directory.c
 *	  A daemon's data directory: its lock and its identity.
 *
 * A copy of a directory (rsync, a base backup, a clone) would speak with the
 * identity of the original and with data of another moment.  The identity file
 * therefore names the inode and birth time it was written under; in a copy
 * they differ, and the daemon refuses.  The device number is left out: it
 * changes with a reboot or a re-attached volume.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/directory.h"

typedef struct Birth
{
	unsigned long long inode;
	long long	seconds;
	unsigned	nanoseconds;
} Birth;

static VtStatus
birth_of(int fd, Birth *out, VtError *err)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) < 0)
		return vt_fail_errno(err, VT_IO, "could not stat an identity file");
	out->inode = st.stx_ino;
	out->seconds = (st.stx_mask & STATX_BTIME) ? st.stx_btime.tv_sec : 0;
	out->nanoseconds = (st.stx_mask & STATX_BTIME) ? st.stx_btime.tv_nsec : 0;
	return VT_OK;
}

/*
 * Whoever has no identity yet may have been made just now, here or by a process that ended
 * before it had one: its own name is durable first.  Where the directory above may not be
 * read, or is of a file system that syncs none, it was not made by us.
 */
static VtStatus
sync_above(const char *directory, VtError *err)
{
	char		above[4104];

	snprintf(above, sizeof(above), "%s/..", directory);
	if (directory_sync(above, err) == VT_OK || errno == EACCES || errno == EPERM || errno == EINVAL || errno == EROFS)
		return VT_OK;
	return VT_IO;
}

static VtStatus
identity_make(const char *directory, const char *path, VtId *id, VtError *err)
{
	char		temporary[4104];
	char		hex[VT_ID_TEXT];
	char		line[160];
	Birth		birth;
	VtStatus	status;
	int			n;
	int			fd;

	status = sync_above(directory, err);
	if (status != VT_OK)
		return status;
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	unlink(temporary);
	fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return vt_fail_errno(err, VT_IO, "could not create \"%s\"", temporary);
	status = birth_of(fd, &birth, err);
	vt_id_random(id);
	vt_id_format(id, hex);
	n = snprintf(line, sizeof(line), "%s %llu %lld %u\n", hex, birth.inode, birth.seconds,
				 birth.nanoseconds);
	if (status == VT_OK && (write(fd, line, (size_t) n) != n || fsync(fd) < 0))
		status = vt_fail_errno(err, VT_IO, "could not write \"%s\"", temporary);
	close(fd);
	if (status == VT_OK && rename(temporary, path) < 0)
		status = vt_fail_errno(err, VT_IO, "could not rename \"%s\"", temporary);
	return status == VT_OK ? directory_sync(directory, err) : status;
}

static VtStatus
identity_read(const char *directory, VtId *id, VtError *err)
{
	char		path[4096];
	char		line[160];
	char		hex[VT_ID_TEXT];
	Birth		then;
	Birth		now;
	ssize_t		n;
	VtStatus	status;
	int			fd;

	snprintf(path, sizeof(path), "%s/identity", directory);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? identity_make(directory, path, id, err) :
			vt_fail_errno(err, VT_IO, "could not open \"%s\"", path);
	n = read(fd, line, sizeof(line) - 1);
	status = birth_of(fd, &now, err);
	close(fd);
	if (status != VT_OK)
		return status;
	line[n > 0 ? n : 0] = '\0';
	if (sscanf(line, "%32s %llu %lld %u", hex, &then.inode, &then.seconds, &then.nanoseconds) != 4 ||
		!vt_id_parse(hex, id))
		return vt_fail(err, VT_CORRUPT, "\"%s\" is damaged", path);
	if (then.inode != now.inode ||
		(then.seconds && now.seconds &&
		 (then.seconds != now.seconds || then.nanoseconds != now.nanoseconds)))
		return vt_fail(err, VT_DENIED,
					   "directory \"%s\" is a copy of another one; it is not opened, since its data is of another moment",
					   directory);
	return VT_OK;
}

VtStatus
store_directory_open(const char *path, StoreDirectory *out, VtError *err)
{
	char		lock[4096];
	VtStatus	status;

	out->lock_fd = -1;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return vt_fail_errno(err, VT_IO, "could not create directory \"%s\"", path);
	snprintf(lock, sizeof(lock), "%s/lock", path);
	out->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (out->lock_fd < 0)
		return vt_fail_errno(err, VT_IO, "could not open \"%s\"", lock);
	if (flock(out->lock_fd, LOCK_EX | LOCK_NB) < 0)
	{
		status = vt_fail(err, VT_BUSY, "directory \"%s\" is in use by another process", path);
		store_directory_close(out);
		return status;
	}
	status = identity_read(path, &out->id, err);
	if (status != VT_OK)
		store_directory_close(out);
	return status;
}

void
store_directory_close(StoreDirectory *directory)
{
	if (directory->lock_fd >= 0)
		close(directory->lock_fd);
	directory->lock_fd = -1;
}

VtId
store_boot_id(void)
{
	char		text[64];
	char		hex[VT_ID_TEXT];
	VtId		id;
	ssize_t		n = 0;
	int			k = 0;
	int			fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	memset(&id, 0, sizeof(id));
	if (fd < 0)
		return id;
	n = read(fd, text, sizeof(text));
	close(fd);
	for (ssize_t i = 0; i < n && k < 32; i++)
		if (text[i] != '-' && text[i] != '\n')
			hex[k++] = text[i];
	hex[k] = '\0';
	if (k != 32 || !vt_id_parse(hex, &id))
		memset(&id, 0, sizeof(id));
	return id;
}
