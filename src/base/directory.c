/*-------------------------------------------------------------------------
 *
 * directory.c
 *	  Names that outlive a power loss.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "base/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

VtStatus
directory_sync(const char *path, VtError *err)
{
	int			fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	VtStatus	status = VT_OK;
	int			why = 0;

	if (fd < 0 || fsync(fd) < 0)
	{
		why = errno;
		status = vt_fail_errno(err, VT_IO, "could not sync directory \"%s\"", path);
	}
	if (fd >= 0)
		close(fd);
	errno = why;
	return status;
}
