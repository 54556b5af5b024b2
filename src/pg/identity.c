/*-------------------------------------------------------------------------
 *
 * identity.c
 *	  Who this server is to the cluster (law W7).
 *
 * An index belongs to (system identifier, incarnation, database).  The
 * incarnation is 128 random bits leased from the placement driver for one life
 * of one data directory.  A new one is needed after a promotion or a recovery
 * to another timeline, when the directory turns out to be a copy (marker.c), and
 * when another server has gone on with it (session.c): then this one is a copy
 * that was made below the file system, or has gone back in time.  Indexes of an
 * older incarnation are stale, since heap and cluster may have parted.
 *
 * The lease is confirmed at the first use in each backend, and every few seconds
 * by the supervisor, so that PD knows that this server lives.  What was confirmed
 * is in shared memory, as long as this postmaster and it last: a backend takes it from
 * there when that was a moment ago, or when PD cannot be reached.  It knows no
 * less then than one that has asked earlier and goes on, as all of them do while there is no PD.
 * A server that is superseded all the same (it could not reach PD for long) learns it from PD
 * when it meets a fence that it did not raise: identity_confirm().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/builtins.h"

#include "base/breaks.h"
#include "base/hash.h"
#include "base/level.h"

#include "identity.h"
#include "index.h"
#include "json.h"

/* How often a server asks again whether its predecessor is silent. */
#define ASK_AGAIN_MS 200

/* What was confirmed to another backend so lately needs no question. */
#define FRESH_US (5 * INT64CONST(1000000))

/* With something that was confirmed earlier, PD is waited for so long, and not by everybody. */
#define PATIENCE_MS 1000
#define IN_VAIN_US (5 * INT64CONST(1000000))

/* What the incarnation file says; all zero when there is none. */
typedef struct Lease
{
	VtId		incarnation;
	VtId		marker;
	VtId		cluster;
	uint64		system;
	uint32		timeline;

	/* Not in the file */
	VtId		session;
	uint64		place;
	const char *before;			/* JSON */
} Lease;

static WireOwner owner;			/* valid if owner_known */
static bool owner_known = false;
static Lease held;				/* what it was leased by */
static VtId kept;				/* the incarnation that lay here last */

static void
lease_read(Lease *out)
{
	char	   *path = identity_file("incarnation");
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
	char	   *path = identity_file("incarnation");
	char	   *temporary = identity_file("incarnation.new");
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

/* Ask PD for the lease once; fills incarnation and cluster. */
static VtStatus
lease_ask(Lease *lease, int64_t deadline_us, VtError *err)
{
	char		incarnation[VT_ID_TEXT];
	char		holder[VT_ID_TEXT];
	char		session[VT_ID_TEXT];
	char	   *request;
	const char *reply;
	char		got[VT_ID_TEXT];
	char		cluster[VT_ID_TEXT];
	VtStatus	status;

	vt_id_format(&lease->incarnation, incarnation);
	vt_id_format(&lease->marker, holder);
	vt_id_format(&lease->session, session);
	request = psprintf("{\"op\":\"lease\",\"system\":\"" UINT64_FORMAT "\",\"incarnation\":\"%s\","
					   "\"holder\":\"%s\",\"timeline\":%u,\"session\":\"%s\",\"before\":%s,"
					   "\"place\":\"" UINT64_FORMAT "\",\"level_low\":%u,\"level_high\":%u}",
					   lease->system, vt_id_is_zero(&lease->incarnation) ? "" : incarnation,
					   holder, lease->timeline, session, lease->before, lease->place, VT_LEVEL_LOW, vt_level_high());
	status = client_control(cluster_client(), request, deadline_us, &reply, err);
	pfree(request);
	if (status != VT_OK)
		return status;
	if (!json_member_text(reply, "incarnation", got, sizeof(got)) ||
		!json_member_text(reply, "cluster", cluster, sizeof(cluster)) ||
		!vt_id_parse(got, &lease->incarnation) || !vt_id_parse(cluster, &lease->cluster))
		return vt_fail(err, VT_PROTOCOL, "the placement driver's answer to a lease makes no sense");
	return VT_OK;
}

/* The same until there is an answer, or an error. */
static VtStatus
lease_wait(Lease *lease, int timeout_ms, VtError *err)
{
	int64_t		deadline = cluster_deadline(timeout_ms);
	VtStatus	status;

	/* BUSY: whoever had it may be alive, and is being waited for. */
	while ((status = lease_ask(lease, deadline, err)) == VT_BUSY && clock_now_us() < deadline)
	{
		CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ASK_AGAIN_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	return status;
}

static void
lease_error(VtStatus status, const VtError *err)
{
	cluster_rethrow();
	if (status == VT_NOT_OWNER)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the placement driver does not know this server: %s", vt_error_words(err)),
				 errhint("Check vectron.pd_endpoints. If the cluster has lost its data, or the server is to move to this one, remove \"%s/incarnation\" and REINDEX.",
						 identity_directory())));
	if (status == VT_FOREIGN)
	{
		cluster_note_failure(status, NULL, NULL);
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("no placement driver of this server's cluster answers: %s", vt_error_words(err)),
				 errhint("Check vectron.pd_endpoints. If that cluster is gone, or the server is to move to the other one, remove \"%s/incarnation\" and REINDEX.",
						 identity_directory())));
	}
	if (status == VT_BUSY && !client_driver_is_flooded(err))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("another server may be using the vectron indexes of this one: %s", vt_error_words(err)),
				 errhint("Try again. If this server is a copy of one that runs, its indexes become stale then, and REINDEX rebuilds them.")));
	cluster_check(status, err, "could not get this server's lease from the placement driver", NULL);
}

/* Another server has gone on with what the lease says: this one is another. */
static void
lease_lost(const Lease *lease, const VtError *err)
{
	int			lock = identity_lock();

	confirmed_drop();
	/* Somebody else may have seen it first. */
	if (session_is_last(&lease->session))
		marker_renew(vt_error_words(err));
	CloseTransientFile(lock);
	identity_forget();
}

/* What is to be asked for; *there is what lies in the file. */
static Lease
lease_wanted(Lease *there)
{
	int			lock = identity_lock();
	Marker		marker = marker_current();
	VtId		home;
	Lease		now;

	lease_read(there);
	memset(&now, 0, sizeof(now));
	now.marker = marker.id;
	now.system = GetSystemIdentifier();
	now.timeline = GetWALInsertionTimeLine();
	if (vt_id_equal(&there->marker, &now.marker) && there->system == now.system &&
		there->timeline == now.timeline)
		now.incarnation = there->incarnation;
	now.session = session_begin();
	now.before = session_before_json();
	now.place = session_place(&marker);
	CloseTransientFile(lock);
	home = identity_cluster();
	cluster_believe(&home);
	return now;
}

static uint64
endpoints_hash(void)
{
	const char *endpoints = cluster_is_embedded() ? cluster_endpoint(1) : vectron_pd_endpoints;

	return hash_checksum(bytes_str(endpoints));
}

/* For other backends. */
static void
lease_share(const Lease *lease)
{
	Confirmed	confirmed;

	memset(&confirmed, 0, sizeof(confirmed));
	confirmed.incarnation = lease->incarnation;
	confirmed.marker = lease->marker;
	confirmed.cluster = lease->cluster;
	confirmed.session = lease->session;
	confirmed.system = lease->system;
	confirmed.endpoints = endpoints_hash();
	confirmed.timeline = lease->timeline;
	confirmed_keep(&confirmed);
}

static bool
is_silence(VtStatus status)
{
	return status == VT_TIMEOUT || status == VT_UNAVAILABLE || status == VT_NOT_LEADER || status == VT_STOPPING ||
		status == VT_FOREIGN;
}

/*
 * May what was confirmed to another backend be had without PD?  It must be the very
 * lease that we would ask for, in the same start of the server.
 */
static bool
lease_shared(Lease *lease)
{
	Confirmed	known;
	int64		at_us;
	int64		in_vain_us;
	int64		now = clock_now_us();
	VtError		err = {0};
	VtStatus	status;

	if (!confirmed_get(&known, &at_us, &in_vain_us))
		return false;
	if (!vt_id_equal(&known.session, &lease->session) ||
		!vt_id_equal(&known.incarnation, &lease->incarnation) ||
		!vt_id_equal(&known.marker, &lease->marker) || known.system != lease->system ||
		known.timeline != lease->timeline || known.endpoints != endpoints_hash())
		return false;
	lease->cluster = known.cluster;
	if (now - at_us < FRESH_US || now - in_vain_us < IN_VAIN_US)
		return true;
	status = lease_ask(lease, cluster_deadline(Min(PATIENCE_MS, vectron_write_timeout)), &err);
	cluster_rethrow();
	if (status == VT_OK)
		lease_share(lease);
	else if (is_silence(status))
		confirmed_in_vain();
	else
		return false;			/* it is asked again, and the answer heeded */
	return true;
}

/* The lease is there: what is asked from now on. */
static void
lease_hold(const Lease *lease, const Lease *there)
{
	int			lock = identity_lock();

	/* It may have been lost to another backend's question meanwhile. */
	if (!session_is_last(&lease->session))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("this server has lost its lease"),
				 errhint("Try again.")));
	if (!vt_id_equal(&lease->incarnation, &there->incarnation))
		lease_write(lease);
	session_confirm(&lease->session);
	CloseTransientFile(lock);
	held = *lease;
	held.before = NULL;
	owner.system = lease->system;
	owner.incarnation = lease->incarnation;
	owner.database = MyDatabaseId;
	owner_known = true;
	cluster_believed(&lease->cluster);
}

/*
 * The owner that every request carries.  The first call in a backend asks PD,
 * which confirms or gives the incarnation.
 */
const WireOwner *
identity_owner(void)
{
	Lease		there;
	Lease		now;
	VtError		err = {0};
	VtStatus	status;

	if (owner_known)
		return &owner;
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("vectron indexes are not used on a standby")));

	/*
	 * The question is not asked under the lock: the supervisor needs that before
	 * it starts the embedded PD.  PD gives one session one incarnation, however
	 * many ask.
	 */
	now = lease_wanted(&there);
	if (lease_shared(&now))
	{
		lease_hold(&now, &there);
		return &owner;
	}
	status = lease_wait(&now, vectron_write_timeout, &err);
	if (status == VT_EXISTS)
	{
		lease_lost(&now, &err);
		now = lease_wanted(&there);
		status = lease_wait(&now, vectron_write_timeout, &err);
	}
	if (status != VT_OK)
		lease_error(status, &err);
	if (!vt_id_is_zero(&there.cluster) && vt_id_equal(&there.marker, &now.marker) &&
		!vt_id_equal(&there.cluster, &now.cluster))
	{
		char		before[VT_ID_TEXT];
		char		after[VT_ID_TEXT];

		vt_id_format(&there.cluster, before);
		vt_id_format(&now.cluster, after);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this server's indexes live in cluster %s, but the placement driver belongs to cluster %s",
						before, after),
				 errhint("Check vectron.pd_endpoints. To move to the other cluster, remove \"%s/incarnation\" and REINDEX.",
						 identity_directory())));
	}
	lease_hold(&now, &there);
	lease_share(&now);
	return &owner;
}

/* The session that the owner was leased to. */
const VtId *
identity_session(void)
{
	(void) identity_owner();
	return &held.session;
}

char *
identity_session_text(void)
{
	char	   *out = palloc(VT_ID_TEXT);

	vt_id_format(identity_session(), out);
	return out;
}

/* VT_OK: PD has said whether this server still has its incarnation. */
static VtStatus
confirm(int timeout_ms, bool *ours, VtError *err)
{
	VtStatus	status;

	*ours = true;
	if (!owner_known)
	{
		/*
		 * The client was opened since, or again: is what we get now what we had?  It may
		 * be what another backend was told some time ago, and so is no answer yet.
		 */
		VtId		session = held.session;

		(void) identity_owner();
		*ours = vt_id_equal(&session, &held.session);
		if (!*ours)
			return VT_OK;
	}
	held.before = "[]";
	status = lease_wait(&held, timeout_ms, err);
	if (status == VT_EXISTS && !vt_broken("W7-confirm"))
	{
		lease_lost(&held, err);
		*ours = false;
	}
	return status == VT_EXISTS ? VT_OK : status;
}

/*
 * Is this server still the one that has its incarnation?  Asked when something
 * was seen in the cluster that another may have done; whatever it was, it was
 * ours if the answer, given after it, is yes.
 */
bool
identity_confirm(void)
{
	VtError		err = {0};
	bool		ours;
	VtStatus	status = confirm(vectron_write_timeout, &ours, &err);

	if (status != VT_OK)
		lease_error(status, &err);
	return ours;
}

/* The same within a time; false: nobody has answered. */
bool
identity_ask(int timeout_ms, bool *ours)
{
	VtError		err = {0};
	VtStatus	status = confirm(timeout_ms, ours, &err);

	cluster_rethrow();
	return status == VT_OK;
}

/*
 * For the supervisor: note the start of this server, and tell PD that it lives,
 * if it has ever had a lease.  Never waits long.  False: PD was not reached.
 */
bool
identity_renew(int timeout_ms)
{
	Lease		there;
	Lease		now = lease_wanted(&there);
	VtError		err = {0};
	VtStatus	status;

	if (vt_id_is_zero(&now.incarnation))
		return true;
	status = lease_ask(&now, cluster_deadline(timeout_ms), &err);
	cluster_rethrow();
	if (status == VT_EXISTS)
		lease_lost(&now, &err);
	else if (status == VT_OK)
	{
		lease_hold(&now, &there);
		lease_share(&now);
	}
	else if (is_silence(status))
		confirmed_in_vain();
	return status == VT_OK || status == VT_EXISTS || status == VT_BUSY;
}

/* For the supervisor, before it can ask anybody: the start of this server is noted. */
void
identity_begin(void)
{
	Lease		there;

	(void) lease_wanted(&there);
	(void) unlink(identity_file("stopped"));
}

/*
 * Is this the owner that the files here tell of?  They are only ever replaced whole,
 * so no lock.
 */
static bool
lies_here(const WireOwner *other)
{
	Lease		lease;
	Marker		marker;
	bool		copied = false;

	if (other->system != GetSystemIdentifier() || other->database != MyDatabaseId ||
		!marker_read(&marker, &copied) || copied)
		return false;
	lease_read(&lease);
	return vt_id_equal(&lease.marker, &marker.id) && lease.system == other->system &&
		lease.timeline == GetWALInsertionTimeLine() && !vt_id_is_zero(&lease.incarnation) &&
		vt_id_equal(&lease.incarnation, &other->incarnation);
}

/*
 * Another session may have found out that this server is another one by now, and built
 * the index anew: that one is ours as well.
 */
bool
identity_is_ours(const WireOwner *other)
{
	if (wire_owner_equal(identity_owner(), other))
		return true;
	if (!lies_here(other))
		return false;
	identity_forget();
	return wire_owner_equal(identity_owner(), other);
}

/*
 * For the planner, which makes no call (R5): may an index with this owner be
 * ours?  False is certain, as things are.  It is judged by what lies here: a
 * directory that is a copy, or was promoted, will be given another incarnation.
 */
bool
identity_may_be_ours(const WireOwner *other)
{
	if (owner_known && wire_owner_equal(&owner, other))
		return true;
	if (!owner_known && vt_id_equal(&kept, &other->incarnation) && !vt_id_is_zero(&kept) &&
		other->system == GetSystemIdentifier() && other->database == MyDatabaseId)
		return true;

	/* Another session may have leased one since: look each time. */
	if (!lies_here(other))
		return false;
	kept = other->incarnation;
	return true;
}

/*
 * The cluster this server's lease is of; zero: it has none, or is another server
 * than the one that had it.  A cluster's word counts for its own indexes only.
 */
VtId
identity_cluster(void)
{
	Lease		lease;
	Marker		marker;
	bool		copied = false;
	VtId		none;

	memset(&none, 0, sizeof(none));
	if (!marker_read(&marker, &copied) || copied)
		return none;
	lease_read(&lease);
	return vt_id_equal(&lease.marker, &marker.id) && lease.system == GetSystemIdentifier() ? lease.cluster : none;
}

/* Ask again next time. */
void
identity_forget(void)
{
	owner_known = false;
	memset(&kept, 0, sizeof(kept));
}
