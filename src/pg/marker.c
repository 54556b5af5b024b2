/*-------------------------------------------------------------------------
 *
 * marker.c
 *	  Is this data directory a copy?
 *
 * In the folder vectron of the data directory:
 *
 *	   marker		 id, inode and birth time of this very file
 *	   incarnation	 what PD gave, and for what (identity.c)
 *	   sessions		 the starts of this server (session.c)
 *	   stopped		 the session that ended with its server
 *	   lock			 held while these are looked at or changed
 *	   pd, worker	 the embedded cluster's data (supervisor.c)
 *
 * The marker of a directory that was copied by its files is another file than
 * is written in it.  (Not its device number: that changes with a reboot.)  A
 * copy of the folder is a torn copy of the embedded store.  It is set aside as
 * copy-<time>, never opened and never deleted.  A copy made below the file system
 * has the same marker; session.c is for that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "identity.h"
#include "index.h"

/* Relative to the data directory, the working directory of every backend. */
char *
identity_directory(void)
{
	return vectron_embedded_directory && vectron_embedded_directory[0] ?
		vectron_embedded_directory : "vectron";
}

char *
identity_file(const char *name)
{
	return psprintf("%s/%s", identity_directory(), name);
}

/* Open the folder's lock and take it; close() gives it back. */
int
identity_lock(void)
{
	char	   *path;
	int			fd;
	int			rc = 0;

	if (mkdir(identity_directory(), pg_dir_create_mode) < 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", identity_directory())));
	path = identity_file("lock");
	fd = OpenTransientFile(path, O_RDWR | O_CREAT);
	/* Held for a moment only; the wait can be cancelled all the same. */
	while (fd >= 0 && (rc = flock(fd, LOCK_EX | LOCK_NB)) < 0 && (errno == EWOULDBLOCK || errno == EINTR))
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	if (fd < 0 || rc < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not lock file \"%s\": %m", path)));
	pfree(path);
	return fd;
}

/* Inode and birth time of an open file. */
static void
marker_stat(int fd, Marker *out)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat marker file of vectron: %m")));
	out->inode = st.stx_ino;
	out->born_s = (st.stx_mask & STATX_BTIME) ? st.stx_btime.tv_sec : 0;
	out->born_ns = (st.stx_mask & STATX_BTIME) ? st.stx_btime.tv_nsec : 0;
}

/* A new marker, in a new file that then takes the name. */
static void
marker_make(Marker *out)
{
	char	   *path = identity_file("marker");
	char	   *temporary = identity_file("marker.new");
	char		hex[VT_ID_TEXT];
	char		line[256];
	int			fd;
	int			n;

	unlink(temporary);
	fd = OpenTransientFile(temporary, O_RDWR | O_CREAT | O_EXCL);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", temporary)));
	marker_stat(fd, out);
	vt_id_random(&out->id);
	vt_id_format(&out->id, hex);
	n = snprintf(line, sizeof(line), "%s " UINT64_FORMAT " " INT64_FORMAT " %u\n", hex,
				 out->inode, out->born_s, out->born_ns);
	if (write(fd, line, n) != n || pg_fsync(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", temporary)));
	CloseTransientFile(fd);
	/* The folder's own name is durable before what is in it is relied upon. */
	fsync_fname(psprintf("%s/..", identity_directory()), true);
	durable_rename(temporary, path, ERROR);
}

/*
 * Read the marker.  False: there is none.  *copied: it was written for another
 * file, so this directory is a copy.
 */
bool
marker_read(Marker *out, bool *copied)
{
	char	   *path = identity_file("marker");
	char		line[256];
	char		hex[VT_ID_TEXT];
	Marker		now;
	int			fd = OpenTransientFile(path, O_RDONLY);
	ssize_t		n;

	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", path)));
		return false;
	}
	n = read(fd, line, sizeof(line) - 1);
	marker_stat(fd, &now);
	CloseTransientFile(fd);
	line[n > 0 ? n : 0] = '\0';
	if (sscanf(line, "%32s " UINT64_FORMAT " " INT64_FORMAT " %u", hex, &out->inode,
			   &out->born_s, &out->born_ns) != 4 ||
		!vt_id_parse(hex, &out->id))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" is damaged", path),
				 errhint("Move the folder \"%s\" away: all vectron indexes become stale and REINDEX rebuilds them.",
						 identity_directory())));
	*copied = now.inode != out->inode ||
		(now.born_s && out->born_s &&
		 (now.born_s != out->born_s || now.born_ns != out->born_ns));
	return true;
}

/* Move one entry of the folder out of the way, if it is there. */
static void
set_aside(const char *name, const char *where)
{
	char	   *from = identity_file(name);
	char	   *to = psprintf("%s/%s", where, name);

	if (rename(from, to) < 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rename \"%s\" to \"%s\": %m", from, to)));
}

/* A folder for what is set aside. */
static char *
make_aside(void)
{
	char	   *where = psprintf("%s/copy-" INT64_FORMAT, identity_directory(),
								 (int64) GetCurrentTimestamp());

	if (mkdir(where, pg_dir_create_mode) < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", where)));
	return where;
}

/* What was leased, and the sessions it was leased to. */
static void
set_identity_aside(const char *where)
{
	set_aside("incarnation", where);
	set_aside("sessions", where);
	set_aside("stopped", where);
}

static void
set_copy_aside(void)
{
	char	   *where = make_aside();

	set_aside("pd", where);
	set_aside("worker", where);
	set_aside("exposed", where);
	set_identity_aside(where);
	ereport(LOG,
			(errmsg("this data directory is a copy: its vectron data was set aside in \"%s\"", where),
			 errdetail("Indexes of the original are stale here."),
			 errhint("REINDEX rebuilds them. Delete the folder when it is not needed.")));
}

/*
 * Become another server: what was leased so far belongs to one that goes on
 * elsewhere.  Under the lock.
 */
void
marker_renew(const char *reason)
{
	Marker		marker;

	set_identity_aside(make_aside());
	marker_make(&marker);
	ereport(LOG,
			(errmsg("this server is a copy, or its data directory has gone back in time: %s", reason),
			 errdetail("Its vectron indexes are stale; those of the other server are untouched."),
			 errhint("REINDEX rebuilds them.")));
}

/* The marker of this directory, made on first use. Under the lock. */
Marker
marker_current(void)
{
	Marker		marker;
	bool		copied = false;

	if (!marker_read(&marker, &copied))
		marker_make(&marker);
	else if (copied)
	{
		set_copy_aside();
		marker_make(&marker);
	}
	return marker;
}
