/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  Who this server is to the cluster (law W7).
 *
 * An index belongs to (system identifier, incarnation, database).  The
 * incarnation is 128 random bits leased from the placement driver for one life
 * of one data directory.  A new one is needed after a promotion or a recovery
 * to another timeline, and whenever the directory turns out to be a copy: its
 * marker file has another inode or birth time than is written in it.  (Not the
 * device number: that changes with a reboot.)  Indexes of an older incarnation
 * are stale, since heap and cluster may have parted.
 *
 * In the folder:
 *
 *	   marker		 id, inode and birth time of this very file
 *	   incarnation	 what PD gave, with the marker, system identifier, timeline
 *					 and cluster it was given for
 *	   lock			 held while the two are looked at or changed
 *	   pd, worker	 the embedded cluster's data (supervisor.c)
 *
 * A copy of the folder is a torn copy of the embedded store.  It is set aside
 * as copy-<time>, never opened and never deleted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "index.h"
#include "json.h"

typedef struct Marker
{
	VtId		id;
	uint64		inode;
	int64		born_s;
	uint32		born_ns;
} Marker;

static WireOwner owner;			/* valid if owner_known */
static bool owner_known = false;
static VtId kept;				/* the incarnation that lay here last */

/* Relative to the data directory, the working directory of every backend. */
char *
identity_directory(void)
{
	return vectron_embedded_directory && vectron_embedded_directory[0] ?
		vectron_embedded_directory : "vectron";
}

static char *
in_directory(const char *name)
{
	return psprintf("%s/%s", identity_directory(), name);
}

/* Open the folder's lock and take it; close() gives it back. */
static int
directory_lock(void)
{
	char	   *path;
	int			fd;
	int			rc = 0;

	if (mkdir(identity_directory(), pg_dir_create_mode) < 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", identity_directory())));
	path = in_directory("lock");
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
	char	   *path = in_directory("marker");
	char	   *temporary = in_directory("marker.new");
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
	durable_rename(temporary, path, ERROR);
}

/*
 * Read the marker.  False: there is none.  *copied: it was written for another
 * file, so this directory is a copy.
 */
static bool
marker_read(Marker *out, bool *copied)
{
	char	   *path = in_directory("marker");
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
	char	   *from = in_directory(name);
	char	   *to = psprintf("%s/%s", where, name);

	if (rename(from, to) < 0 && errno != ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rename \"%s\" to \"%s\": %m", from, to)));
}

static void
set_copy_aside(void)
{
	char	   *where = psprintf("%s/copy-" INT64_FORMAT, identity_directory(),
								 (int64) GetCurrentTimestamp());

	if (mkdir(where, pg_dir_create_mode) < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", where)));
	set_aside("pd", where);
	set_aside("worker", where);
	set_aside("incarnation", where);
	ereport(LOG,
			(errmsg("this data directory is a copy: its vectron data was set aside in \"%s\"", where),
			 errdetail("Indexes of the original are stale here."),
			 errhint("REINDEX rebuilds them. Delete the folder when it is not needed.")));
}

/* The marker of this directory, made on first use. Under the lock. */
static Marker
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

/*
 * The marker's id.  Settles whether the directory is a copy, so it comes
 * before anything under the folder is opened.
 */
VtId
identity_marker(void)
{
	int			lock = directory_lock();
	Marker		marker = marker_current();

	CloseTransientFile(lock);
	return marker.id;
}

/* What the incarnation file says; all zero when there is none. */
typedef struct Lease
{
	VtId		incarnation;
	VtId		marker;
	VtId		cluster;
	uint64		system;
	uint32		timeline;
} Lease;

static void
lease_read(Lease *out)
{
	char	   *path = in_directory("incarnation");
	char		line[512];
	char		incarnation[VT_ID_TEXT];
	char		marker[VT_ID_TEXT];
	char		cluster[VT_ID_TEXT];
	int			fd = OpenTransientFile(path, O_RDONLY);
	ssize_t		n;

	memset(out, 0, sizeof(*out));
	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open file \"%s\": %m", path)));
		return;
	}
	n = read(fd, line, sizeof(line) - 1);
	CloseTransientFile(fd);
	line[n > 0 ? n : 0] = '\0';
	if (sscanf(line, "%32s %32s %32s " UINT64_FORMAT " %u", incarnation, marker, cluster,
			   &out->system, &out->timeline) != 5 ||
		!vt_id_parse(incarnation, &out->incarnation) || !vt_id_parse(marker, &out->marker) ||
		!vt_id_parse(cluster, &out->cluster))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" is damaged", path),
				 errhint("Remove it: a new incarnation is leased, and REINDEX rebuilds the indexes.")));
}

static void
lease_write(const Lease *lease)
{
	char	   *path = in_directory("incarnation");
	char	   *temporary = in_directory("incarnation.new");
	char		incarnation[VT_ID_TEXT];
	char		marker[VT_ID_TEXT];
	char		cluster[VT_ID_TEXT];
	char	   *line;
	int			fd;

	vt_id_format(&lease->incarnation, incarnation);
	vt_id_format(&lease->marker, marker);
	vt_id_format(&lease->cluster, cluster);
	line = psprintf("%s %s %s " UINT64_FORMAT " %u\n", incarnation, marker, cluster,
					lease->system, lease->timeline);
	fd = OpenTransientFile(temporary, O_WRONLY | O_CREAT | O_TRUNC);
	if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t) strlen(line) || pg_fsync(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", temporary)));
	CloseTransientFile(fd);
	durable_rename(temporary, path, ERROR);
}

/* Ask PD for the lease; fills incarnation and cluster. */
static void
lease_ask(Lease *lease)
{
	char		incarnation[VT_ID_TEXT];
	char		holder[VT_ID_TEXT];
	char	   *request;
	const char *reply;
	char		got[VT_ID_TEXT];
	char		cluster[VT_ID_TEXT];
	VtError		err = {0};
	VtStatus	status;

	vt_id_format(&lease->incarnation, incarnation);
	vt_id_format(&lease->marker, holder);
	request = psprintf("{\"op\":\"lease\",\"system\":\"" UINT64_FORMAT "\",\"incarnation\":\"%s\","
					   "\"holder\":\"%s\",\"timeline\":%u}",
					   lease->system, vt_id_is_zero(&lease->incarnation) ? "" : incarnation,
					   holder, lease->timeline);
	status = client_control(cluster_client(), request, cluster_deadline(vectron_write_timeout), &reply,
							&err);
	if (status == VT_NOT_OWNER)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the placement driver does not know this server: %s", vt_error_words(&err)),
				 errhint("Check vectron.pd_endpoints. If the cluster has lost its data, or the server is to move to this one, remove \"%s/incarnation\" and REINDEX.",
						 identity_directory())));
	cluster_check(status, &err, "could not get this server's lease from the placement driver", NULL);

	if (!json_member_text(reply, "incarnation", got, sizeof(got)) ||
		!json_member_text(reply, "cluster", cluster, sizeof(cluster)) ||
		!vt_id_parse(got, &lease->incarnation) || !vt_id_parse(cluster, &lease->cluster))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the placement driver's answer to a lease makes no sense")));
}

/*
 * The owner that every request carries.  The first call in a backend asks PD,
 * which confirms or gives the incarnation.
 */
const WireOwner *
identity_owner(void)
{
	Lease		lease;
	Lease		now;
	Marker		marker;
	int			lock;

	if (owner_known)
		return &owner;
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("vectron indexes are not used on a standby")));

	lock = directory_lock();
	marker = marker_current();
	lease_read(&lease);
	memset(&now, 0, sizeof(now));
	now.marker = marker.id;
	now.system = GetSystemIdentifier();
	now.timeline = GetWALInsertionTimeLine();
	if (vt_id_equal(&lease.marker, &now.marker) && lease.system == now.system &&
		lease.timeline == now.timeline)
		now.incarnation = lease.incarnation;
	CloseTransientFile(lock);

	/*
	 * Not under the lock: the supervisor needs it before it starts the
	 * embedded PD.  PD gives one life of one directory one incarnation, however
	 * many ask.
	 */
	lease_ask(&now);
	if (!vt_id_is_zero(&lease.cluster) && vt_id_equal(&lease.marker, &now.marker) &&
		!vt_id_equal(&lease.cluster, &now.cluster))
	{
		char		before[VT_ID_TEXT];
		char		after[VT_ID_TEXT];

		vt_id_format(&lease.cluster, before);
		vt_id_format(&now.cluster, after);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this server's indexes live in cluster %s, but the placement driver belongs to cluster %s",
						before, after),
				 errhint("Check vectron.pd_endpoints. To move to the other cluster, remove \"%s/incarnation\" and REINDEX.",
						 identity_directory())));
	}
	if (!vt_id_equal(&now.incarnation, &lease.incarnation))
	{
		lock = directory_lock();
		lease_write(&now);
		CloseTransientFile(lock);
	}

	owner.system = now.system;
	owner.incarnation = now.incarnation;
	owner.database = MyDatabaseId;
	owner_known = true;
	return &owner;
}

bool
identity_is_ours(const WireOwner *other)
{
	return wire_owner_equal(identity_owner(), other);
}

/*
 * For the planner, which makes no call (R5): may an index with this owner be
 * ours?  False is certain.  Before the first use of the cluster it is judged by
 * what lies here: a directory that is a copy, or was promoted, will be given
 * another incarnation.  The files are only ever replaced whole, so no lock.
 */
bool
identity_may_be_ours(const WireOwner *other)
{
	Lease		lease;
	Marker		marker;
	bool		copied = false;

	if (owner_known)
		return wire_owner_equal(&owner, other);
	if (other->system != GetSystemIdentifier() || other->database != MyDatabaseId)
		return false;
	if (vt_id_equal(&kept, &other->incarnation) && !vt_id_is_zero(&kept))
		return true;

	/* Another session may have leased one since: look each time. */
	if (!marker_read(&marker, &copied) || copied)
		return false;
	lease_read(&lease);
	if (vt_id_equal(&lease.marker, &marker.id) && lease.system == other->system &&
		lease.timeline == GetWALInsertionTimeLine())
		kept = lease.incarnation;
	return vt_id_equal(&kept, &other->incarnation) && !vt_id_is_zero(&kept);
}

/* Ask again next time. */
void
identity_forget(void)
{
	owner_known = false;
	memset(&kept, 0, sizeof(kept));
}
