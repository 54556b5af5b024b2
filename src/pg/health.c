/*-------------------------------------------------------------------------
 *
 * health.c
 *	  Since when the cluster, or the shards of an index, cannot be reached.
 *
 * The planner makes no call (R5), so somebody else has to find out for it.  A
 * backend that could not reach something leaves a file in <directory>/down, for
 * the placement driver or for a generation: since when, and whose it is.  While
 * there is such a file the planner does not choose the index
 * (vectron.fallback_scan), in any session, and the view vectron.indexes says
 * since when.  The supervisor sees it and has the process of sweep.c try again
 * and again; what answers loses its file.
 *
 * What is only believed must not be believed for ever: each failure and each
 * try in vain renews the file's time, and a file that nobody has renewed for a
 * minute is not believed any more.  So nothing depends on the supervisor.
 *
 * Plans that sessions keep with an index are made anew when a file comes, those
 * without one a while later, as long as it takes (cluster_plan_again).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "index.h"

#define CLUSTER "cluster"		/* file of the placement driver */
#define BELIEVED_S 60
#define PROBE_MS 2000
#define PROBES_MAX 64			/* in one go; the rest another time */

static bool
is_believed(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && time(NULL) - st.st_mtime < BELIEVED_S;
}

static char *
down_path(const char *name)
{
	return psprintf("%s/down/%s", identity_directory(), name);
}

static char *
path_of(const VtId *generation)
{
	char		name[VT_ID_TEXT];

	if (generation == NULL)
		return down_path(CLUSTER);
	vt_id_format(generation, name);
	return down_path(name);
}

/*
 * A generation, or with NULL the placement driver, could not be reached.  That
 * this cannot be noted is not worth an error: one is on its way already.
 */
void
health_note_failure(const VtId *generation, const WireOwner *owner)
{
	char	   *path = path_of(generation);
	char	   *directory = psprintf("%s/down", identity_directory());
	char		incarnation[VT_ID_TEXT] = "0";
	char	   *line;
	bool		known = is_believed(path);
	int			fd;

	(void) mkdir(directory, pg_dir_create_mode);
	fd = OpenTransientFile(path, O_WRONLY | O_CREAT | O_EXCL);
	if (fd < 0)
	{
		(void) utimensat(AT_FDCWD, path, NULL, 0);
		if (!known)
			plan_forget(InvalidOid);
		return;
	}
	if (owner)
		vt_id_format(&owner->incarnation, incarnation);
	line = psprintf(INT64_FORMAT " " UINT64_FORMAT " %s %u\n", GetCurrentTimestamp(),
					owner ? owner->system : 0, incarnation, owner ? owner->database : 0);
	if (write(fd, line, strlen(line)) != (ssize_t) strlen(line))
		(void) unlink(path);
	CloseTransientFile(fd);
	plan_forget(InvalidOid);
}

/* What a file says; false when there is none, or none that makes sense yet. */
static bool
read_down(const char *path, TimestampTz *since, WireOwner *owner)
{
	char		line[256];
	char		incarnation[VT_ID_TEXT];
	int			fd = OpenTransientFile(path, O_RDONLY);
	ssize_t		n;

	if (fd < 0)
		return false;
	n = read(fd, line, sizeof(line) - 1);
	CloseTransientFile(fd);
	line[n > 0 ? n : 0] = '\0';
	if (sscanf(line, INT64_FORMAT " " UINT64_FORMAT " %32s %u", since, &owner->system, incarnation,
			   &owner->database) != 4)
		return false;
	if (!vt_id_parse(incarnation, &owner->incarnation))
		memset(&owner->incarnation, 0, sizeof(owner->incarnation));
	return true;
}

/*
 * For the planner: is the generation believed to be out of reach, or the placement
 * driver, where the way is not known without it?
 */
bool
health_is_down(const VtId *generation)
{
	return is_believed(path_of(generation)) || (is_believed(path_of(NULL)) && !shared_knows_way(generation));
}

/* Since when, for the view. */
bool
health_down_since(const VtId *generation, TimestampTz *since)
{
	WireOwner	owner;
	TimestampTz other;
	bool		down = read_down(path_of(generation), since, &owner);

	if (!read_down(path_of(NULL), &other, &owner))
		return down;
	if (!down || other < *since)
		*since = other;
	return true;
}

/* Is anything noted?  Asked by the supervisor each second. */
bool
health_any_down(void)
{
	char	   *directory = psprintf("%s/down", identity_directory());
	DIR		   *dir = opendir(directory);
	struct dirent *entry;
	bool		any = false;

	pfree(directory);
	while (dir && !any && (entry = readdir(dir)) != NULL)
		any = entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return any;
}

/* A definite answer, whatever it says, comes from somebody who can be reached. */
static bool
is_answer(VtStatus status)
{
	switch (status)
	{
		case VT_TIMEOUT:
		case VT_CANCELLED:
		case VT_UNAVAILABLE:
		case VT_BUSY:
		case VT_NOT_LEADER:
		case VT_STOPPING:
		case VT_FOREIGN:
			return false;
		default:
			return true;
	}
}

/* Try once; true if it answers. */
static bool
probe(const char *name)
{
	char	   *path = down_path(name);
	TimestampTz since;
	WireOwner	owner;
	VtId		generation;
	VtError		err = {0};
	VtStatus	status = VT_OK;

	if (strcmp(name, CLUSTER) == 0)
	{
		const char *reply;

		status = client_control(cluster_client(), "{\"op\":\"status\"}", cluster_deadline(PROBE_MS),
								&reply, &err);
	}
	else if (vt_id_parse(name, &generation) && read_down(path, &since, &owner))
	{
		ClientMarks marks = {0};
		uint64_t	records;
		uint64_t	unindexed;

		status = client_read_index(cluster_client(), &generation, &owner, cluster_deadline(PROBE_MS),
								   &marks, &records, &unindexed, &err);
		client_marks_free(&marks);
	}
	cluster_rethrow();
	if (!is_answer(status))
	{
		(void) utimensat(AT_FDCWD, path, NULL, 0);
		return false;
	}
	(void) unlink(path);
	ereport(LOG, (errmsg("vectron: \"%s\" can be reached again", name)));
	return true;
}

/* Try what is noted; without the placement driver the rest is not tried. */
void
health_probe(void)
{
	char	   *directory = psprintf("%s/down", identity_directory());
	DIR		   *dir;
	struct dirent *entry;
	int			n = 0;

	if (access(down_path(CLUSTER), F_OK) == 0 && !probe(CLUSTER))
		return;
	dir = AllocateDir(directory);
	if (dir == NULL)
		return;
	while (n < PROBES_MAX && (entry = ReadDirExtended(dir, directory, LOG)) != NULL)
		if (entry->d_name[0] != '.')
		{
			CHECK_FOR_INTERRUPTS();
			(void) probe(entry->d_name);
			n++;
		}
	FreeDir(dir);
}
