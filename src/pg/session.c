/*-------------------------------------------------------------------------
 *
 * session.c
 *	  The starts of this server, so that a copy made below the file system, or a
 *	  directory that has gone back in time, is told from its original (law W7).
 *
 * Each start of the postmaster is a *session* with a random name.  The file
 * "sessions" has a line for each, oldest first:
 *
 *	   <name> <position> <start time> <process id of the postmaster> <confirmed>
 *
 * Two things hang on it.  The placement driver hands the incarnation from one
 * session to the next only (src/pd/lease.c): confirmed are those that have had
 * it.  And position is where the WAL of that session's own begins: the end of
 * its recovery.  Everything before is the history that this directory shares
 * with whatever it was copied from, everything after is ours alone; so an index
 * that the session before was the last to use is ours only if its shards have
 * heard of no position beyond (settle.c).
 *
 * A server that was shut down makes no recovery, and nothing tells how far it
 * had come.  Then the file "stopped" must name the last session: it is written
 * at the end of the postmaster, or, if vectron was not preloaded, of the
 * supervisor.  If it does not, the server ran without us meanwhile, and the
 * position is 0, not known.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "common/file_perm.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/hash.h"

#include "identity.h"
#include "index.h"

#define SESSIONS_MAX 1000		/* kept; then some in the middle go */
#define NAMED_MAX 63			/* that have not been confirmed, to PD */

typedef struct Session
{
	VtId		name;
	uint64		position;		/* 0 = not known */
	int64		started;
	int			postmaster;
	int			confirmed;
} Session;

/* The whole file, palloc'd; *n = 0 when there is none. */
static Session *
sessions_read(int *n)
{
	char	   *path = identity_file("sessions");
	int			fd = OpenTransientFile(path, O_RDONLY);
	struct stat st;
	Session    *list;
	char	   *text;
	char	   *rest;
	char	   *line;

	*n = 0;
	if (fd < 0 && errno == ENOENT)
		return NULL;
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > 1024 * 1024)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	rest = text = palloc0(st.st_size + 1);
	if (read(fd, text, st.st_size) != st.st_size)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read file \"%s\": %m", path)));
	CloseTransientFile(fd);
	list = palloc0(sizeof(Session) * (SESSIONS_MAX + 2));
	while ((line = strsep(&rest, "\n")) != NULL && *line && *n <= SESSIONS_MAX)
	{
		Session    *session = &list[(*n)++];
		char		name[VT_ID_TEXT];

		if (sscanf(line, "%32s " UINT64_FORMAT " " INT64_FORMAT " %d %d", name, &session->position,
				   &session->started, &session->postmaster, &session->confirmed) != 5 ||
			!vt_id_parse(name, &session->name))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("file \"%s\" is damaged", path),
					 errhint("Move the folder \"%s\" away: all vectron indexes become stale and REINDEX rebuilds them.",
							 identity_directory())));
	}
	pfree(text);
	return list;
}

static void
sessions_write(const Session *list, int n)
{
	char	   *path = identity_file("sessions");
	char	   *temporary = identity_file("sessions.new");
	StringInfoData text;
	int			fd;

	initStringInfo(&text);
	for (int i = 0; i < n; i++)
	{
		char		name[VT_ID_TEXT];

		vt_id_format(&list[i].name, name);
		appendStringInfo(&text, "%s " UINT64_FORMAT " " INT64_FORMAT " %d %d\n", name, list[i].position,
						 list[i].started, list[i].postmaster, list[i].confirmed);
	}
	fd = OpenTransientFile(temporary, O_WRONLY | O_CREAT | O_TRUNC);
	if (fd < 0 || write(fd, text.data, text.len) != text.len || pg_fsync(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", temporary)));
	CloseTransientFile(fd);
	durable_rename(temporary, path, ERROR);
	pfree(text.data);
}

static int
our_postmaster(void)
{
	return IsUnderPostmaster ? (int) PostmasterPid : MyProcPid;
}

static bool
is_ours(const Session *session)
{
	return session->started == PgStartTime && session->postmaster == our_postmaster();
}

/* Does the file "stopped" name this session? */
static bool
was_stopped(const VtId *name)
{
	int			fd = OpenTransientFile(identity_file("stopped"), O_RDONLY);
	char		text[VT_ID_TEXT] = "";
	VtId		stopped;
	ssize_t		n;

	if (fd < 0)
		return false;
	n = read(fd, text, VT_ID_TEXT - 1);
	CloseTransientFile(fd);
	return n == VT_ID_TEXT - 1 && vt_id_parse(text, &stopped) && vt_id_equal(&stopped, name);
}

/* Where our own WAL begins, in a session after this one (NULL: there was none). */
static uint64
own_position(const Session *last)
{
	XLogRecPtr	replayed = GetXLogReplayRecPtr(NULL);

	if (!XLogRecPtrIsInvalid(replayed))
		return replayed;
	return last == NULL || was_stopped(&last->name) ? GetXLogInsertRecPtr() : 0;
}

/* The session of this start of the server, noted by whoever comes first. */
VtId
session_begin(void)
{
	int			n;
	Session    *list = sessions_read(&n);
	Session    *session;

	if (n > 0 && is_ours(&list[n - 1]))
		return list[n - 1].name;
	if (list == NULL)
		list = palloc0(sizeof(Session));
	if (n >= SESSIONS_MAX)
	{
		/* The oldest stays: its position is the strictest. */
		memmove(&list[n / 4], &list[n / 2], sizeof(Session) * (n - n / 2));
		n -= n / 2 - n / 4;
	}
	session = &list[n];
	memset(session, 0, sizeof(*session));
	vt_id_random(&session->name);
	session->position = own_position(n > 0 ? &list[n - 1] : NULL);
	session->started = PgStartTime;
	session->postmaster = our_postmaster();
	sessions_write(list, n + 1);
	return session->name;
}

/* PD has given this session the incarnation. */
void
session_confirm(const VtId *name)
{
	int			n;
	Session    *list = sessions_read(&n);

	if (n == 0 || !vt_id_equal(&list[n - 1].name, name) || list[n - 1].confirmed)
		return;
	list[n - 1].confirmed = 1;
	sessions_write(list, n);
}

bool
session_is_last(const VtId *name)
{
	int			n;
	Session    *list = sessions_read(&n);

	return n > 0 && vt_id_equal(&list[n - 1].name, name);
}

/*
 * Sessions that may have had the incarnation last, as a JSON list: the last one
 * that is known to, and those after it, whose answer may have been lost.
 */
char *
session_before_json(void)
{
	int			n;
	Session    *list = sessions_read(&n);
	StringInfoData out;
	int			named = 0;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	for (int i = n - 2; i >= 0; i--)
	{
		char		name[VT_ID_TEXT];

		if (!list[i].confirmed && named >= NAMED_MAX)
			continue;
		vt_id_format(&list[i].name, name);
		appendStringInfo(&out, "%s\"%s\"", named++ ? "," : "", name);
		if (list[i].confirmed)
			break;
	}
	appendStringInfoChar(&out, ']');
	return out.data;
}

/*
 * How far the history goes that this directory shares with whoever used an
 * index in a session last: to where the session after it began.  0: not known.
 */
uint64
session_shared_until(const VtId *name)
{
	int			lock = identity_lock();
	int			n;
	Session    *list = sessions_read(&n);
	int			next = 0;

	CloseTransientFile(lock);
	for (int i = 0; i < n; i++)
		if (vt_id_equal(&list[i].name, name))
			next = i + 1;
	return next < n ? list[next].position : 0;
}

/*
 * Device and boot of the machine, and the marker's and the data directory's
 * files: where all of them are the same, PostgreSQL's own lock keeps a second
 * server out.  0: not known.
 */
uint64
session_place(const Marker *marker)
{
	struct
	{
		char		boot[64];
		uint64		device;
		uint64		directory;
		uint64		inode;
		int64		born_s;
		int64		born_ns;
	}			place;
	struct stat st;
	int			fd = OpenTransientFile("/proc/sys/kernel/random/boot_id", O_RDONLY);
	ssize_t		n;

	memset(&place, 0, sizeof(place));
	n = fd >= 0 ? read(fd, place.boot, sizeof(place.boot) - 1) : 0;
	if (fd >= 0)
		CloseTransientFile(fd);
	if (n <= 0 || stat(".", &st) < 0)
		return 0;
	place.device = st.st_dev;
	place.directory = st.st_ino;
	place.inode = marker->inode;
	place.born_s = marker->born_s;
	place.born_ns = marker->born_ns;
	return hash_checksum(bytes_of((const uint8_t *) &place, sizeof(place)));
}

/*
 * The server, or the supervisor with it, ends: note which session that was.  In
 * the postmaster, so nothing here may raise; what cannot be written is as if
 * the server had run on without us.
 */
void
session_note_stop(void)
{
	char		path[MAXPGPATH];
	char		name[VT_ID_TEXT] = "";
	char		line[256];
	Session		last = {0};
	FILE	   *sessions;
	int			fd;

	snprintf(path, sizeof(path), "%s/sessions", identity_directory());
	sessions = fopen(path, "r");
	while (sessions && fgets(line, sizeof(line), sessions))
		if (sscanf(line, "%32s %*u " INT64_FORMAT " %d", name, &last.started, &last.postmaster) != 3)
			name[0] = '\0';
	if (sessions)
		fclose(sessions);
	if (strlen(name) != VT_ID_TEXT - 1 || !is_ours(&last))
		return;
	snprintf(path, sizeof(path), "%s/stopped", identity_directory());
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, pg_file_create_mode);
	if (fd < 0)
		return;
	if (write(fd, name, strlen(name)) != (ssize_t) strlen(name) || fsync(fd) != 0)
		(void) unlink(path);
	close(fd);
}

static void
on_postmaster_exit(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	if (MyProcPid == PostmasterPid)
		session_note_stop();
}

void
session_setup(void)
{
	if (process_shared_preload_libraries_in_progress && !IsUnderPostmaster)
		on_proc_exit(on_postmaster_exit, 0);
}
