/*-------------------------------------------------------------------------
 *
 * exposed.c
 *	  What the embedded daemons are told so that other machines find them, and
 *	  how long they go on beside a cluster that is elsewhere by now.
 *
 * On the way to a cluster of several machines (docs/cluster.md) they also listen as
 * vectron.expose_pd and its like say.  When other placement drivers have taken over
 * these settings are taken out again, and the daemons end.  Too early that would
 * end decisions: as long as the embedded driver is one of the cluster's, with a vote,
 * a majority may need it.  So what was exposed is kept in a file, and while the
 * settings are gone, but the driver has not left, the daemons go on by that file, also
 * after a restart of the server.  vectronctl remove-pd ends it.
 *
 * All of this runs in the supervisor.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "storage/fd.h"

#include "base/clock.h"

#include "identity.h"
#include "index.h"
#include "json.h"

#define FILE_NAME "exposed"
#define ASK_US (2 * INT64CONST(1000000))
#define ASK_MS 500

typedef struct Exposed
{
	char		pd[256];
	char		worker[256];
	char		certificates[MAXPGPATH];
} Exposed;

static Exposed kept;			/* by the file; valid while is_held */
static bool is_held = false;	/* the settings are gone, and the driver has not left */
static int64_t ask_not_before_us;

/* Does a setting say that the embedded daemons are to be found by others? */
bool
exposed_by_settings(void)
{
	return vectron_expose_pd[0] || vectron_expose_worker[0] || vectron_expose_certificates[0];
}

bool
exposed_is_held(void)
{
	return is_held;
}

/* -- The file -------------------------------------------------------------- */

/* A line without its end; false: there is none, or it is too long. */
static bool
read_line(FILE *file, char *out, size_t size)
{
	size_t		len;

	if (!fgets(out, (int) size, file))
		return false;
	len = strlen(out);
	if (len < 2 || out[len - 1] != '\n')
		return false;
	out[len - 1] = '\0';
	return true;
}

static bool
read_kept(Exposed *out)
{
	char	   *path = identity_file(FILE_NAME);
	FILE	   *file = AllocateFile(path, "r");
	bool		whole = file && read_line(file, out->pd, sizeof(out->pd)) &&
		read_line(file, out->worker, sizeof(out->worker)) &&
		read_line(file, out->certificates, sizeof(out->certificates));

	if (file)
		FreeFile(file);
	pfree(path);
	return whole;
}

/* All three are set, and can be kept. */
static bool
settings_whole(Exposed *out)
{
	memset(out, 0, sizeof(*out));
	return vectron_expose_pd[0] && vectron_expose_worker[0] && vectron_expose_certificates[0] &&
		strlcpy(out->pd, vectron_expose_pd, sizeof(out->pd)) < sizeof(out->pd) &&
		strlcpy(out->worker, vectron_expose_worker, sizeof(out->worker)) < sizeof(out->worker) &&
		strlcpy(out->certificates, vectron_expose_certificates, sizeof(out->certificates)) < sizeof(out->certificates) &&
		!strchr(out->pd, '\n') && !strchr(out->worker, '\n') && !strchr(out->certificates, '\n');
}

static void
keep(const Exposed *exposed)
{
	char	   *path = identity_file(FILE_NAME);
	char	   *temporary = identity_file(FILE_NAME ".new");
	FILE	   *file = AllocateFile(temporary, "w");

	if (!file || fprintf(file, "%s\n%s\n%s\n", exposed->pd, exposed->worker, exposed->certificates) < 0 ||
		fflush(file) != 0 || pg_fsync(fileno(file)) != 0)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", temporary)));
	else
		(void) durable_rename(temporary, path, LOG);
	if (file)
		FreeFile(file);
	pfree(path);
	pfree(temporary);
}

static void
forget(void)
{
	char	   *path = identity_file(FILE_NAME);

	if (unlink(path) != 0 && errno != ENOENT)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", path)));
	pfree(path);
}

/* -- How long -------------------------------------------------------------- */

/* The embedded driver says that it is none of the cluster's any more. */
static bool
driver_has_left(void)
{
	const char *reply;
	char		role[32];
	VtError		err = {0};
	VtStatus	status = client_control_at(cluster_client(), cluster_endpoint(1), "{\"op\":\"status\"}",
										   cluster_deadline(ASK_MS), &reply, &err);

	cluster_rethrow();
	return status == VT_OK && json_member_text(reply, "role", role, sizeof(role)) && strcmp(role, "waiting") == 0;
}

/* In an emptied folder another driver would begin. */
static bool
has_driver(void)
{
	char	   *path = identity_file("pd");
	bool		found = access(path, F_OK) == 0;

	pfree(path);
	return found;
}

/*
 * The settings may be others: called at each start and reload.  embedded: this
 * server uses no other cluster.
 */
void
exposed_reload(bool embedded)
{
	Exposed		settings;

	if (settings_whole(&settings))
	{
		is_held = false;
		if (!read_kept(&kept) || strcmp(kept.pd, settings.pd) != 0 || strcmp(kept.worker, settings.worker) != 0 ||
			strcmp(kept.certificates, settings.certificates) != 0)
			keep(&settings);
	}
	else if (embedded)
	{
		is_held = false;
		forget();				/* taken back */
	}
	else if (!is_held && !exposed_by_settings() && read_kept(&kept) && has_driver())
	{
		is_held = true;
		ask_not_before_us = 0;
		ereport(LOG,
				(errmsg("the embedded vectron daemons go on listening at %s and %s until their placement driver has left the cluster", kept.pd, kept.worker),
				 errhint("\"vectronctl pds\" has its id, \"vectronctl remove-pd\" makes it leave.")));
	}
}

/*
 * While it is held: is it still needed?  May raise.  What nobody answers is taken
 * for a yes: the daemon may be on its way.
 */
void
exposed_look(void)
{
	if (!is_held || clock_now_us() < ask_not_before_us)
		return;
	ask_not_before_us = clock_now_us() + ASK_US;
	if (!driver_has_left())
		return;
	is_held = false;
	forget();
	ereport(LOG, (errmsg("the embedded vectron placement driver has left the cluster")));
}

/* -- What a daemon is told --------------------------------------------------- */

/* A file that a daemon needs: false, and that is told, when it cannot be read. */
static bool
is_readable(const char *path)
{
	if (access(path, R_OK) == 0)
		return true;
	ereport(LOG, (errmsg("could not read file \"%s\": %m", path)));
	return false;
}

/*
 * Options with which vectron-<name> is reached from other machines, EXPOSED_OPTIONS
 * of them, or none.  With half of them it would not start, so it gets nothing then.
 */
int
exposed_options(const char *name, char **argv)
{
	Exposed		settings;
	const Exposed *by = is_held ? &kept : &settings;
	char	   *files[3];

	if (!is_held && !exposed_by_settings())
		return 0;
	if (is_held || settings_whole(&settings))
	{
		files[0] = psprintf("%s/ca.crt", by->certificates);
		files[1] = psprintf("%s/%s-embedded.crt", by->certificates, name);
		files[2] = psprintf("%s/%s-embedded.key", by->certificates, name);
		if (is_readable(files[0]) && is_readable(files[1]) && is_readable(files[2]))
		{
			argv[0] = "--expose";
			argv[1] = pstrdup(strcmp(name, "pd") == 0 ? by->pd : by->worker);
			argv[2] = "--tls-ca-file";
			argv[3] = files[0];
			argv[4] = "--tls-cert-file";
			argv[5] = files[1];
			argv[6] = "--tls-key-file";
			argv[7] = files[2];
			return EXPOSED_OPTIONS;
		}
	}
	ereport(LOG,
			(errmsg("vectron-%s does not listen for other machines", name),
			 errhint("vectron.expose_pd, vectron.expose_worker and vectron.expose_certificates go together; \"vectronctl expose\" tells what each is to be.")));
	return 0;
}
