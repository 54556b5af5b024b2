/*-------------------------------------------------------------------------
 *
 * cluster.c
 *	  A backend's way to the cluster: one client, its waits, and its errors.
 *
 * The client waits in backend_wait(), on the backend's latch, so that a query
 * or a commit can be cancelled at any moment.  An interrupt that turns into an
 * error is caught there, the client gives its request up in good order, and
 * cluster_rethrow() lets the error go on.  Nothing of the client is left half
 * done by a longjmp: what it calls while it is at work does not throw, and a
 * message, whose ereport() would let a pending interrupt speak, is kept until it
 * is at rest.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <poll.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/postmaster.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/varlena.h"

#include "index.h"

/* How long a failure to reach the cluster keeps the planner away from it. */
#define DOWN_US (5 * INT64CONST(1000000))

/* Timeouts at least this long say something when they pass. */
#define TELLING_MS 1000

static Client *client;
static WaitEventSet *wait_set;	/* latch, postmaster, and the client's descriptor */
static int	wait_fd = -1;		/* that descriptor */
static char *client_endpoints;	/* what it was opened with */
static char *client_files[3];	/* CA, certificate, key */
static VtId client_cluster;		/* whom it believes; zero = the first it meets */
static uint64 client_epoch = 0;	/* tells one client from the next */
static bool error_caught = false;	/* in backend_wait(), to be thrown again */
static int64_t down_until = 0;
static int64_t left_out_us = 0;	/* when the planner last left an index out for that; 0 = not lately */
static bool cleaning = false;	/* an error is being cleaned up after */
static char untold[512];		/* what the client has said in the middle of something; "" = nothing */

/*
 * Let a pending interrupt speak.  False: it was an error, which stays on the
 * error stack until cluster_rethrow().
 */
static bool
interrupts_pass(void)
{
	MemoryContext context = CurrentMemoryContext;

	if (!INTERRUPTS_PENDING_CONDITION())
		return true;
	PG_TRY();
	{
		CHECK_FOR_INTERRUPTS();
	}
	PG_CATCH();
	{
		error_caught = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return !error_caught;
}

/* Before the client's descriptor is closed: another may get its number. */
static void
forget_wait_set(void)
{
	if (wait_set)
		FreeWaitEventSet(wait_set);
	wait_set = NULL;
	wait_fd = -1;
}

/*
 * Wait for the client's descriptor to be readable, which is what a client
 * mostly waits for.  The set is kept: making one costs more system calls than
 * all the rest of a search.
 */
static int
wait_readable(int fd, long timeout_ms)
{
	WaitEvent	event;

	if (fd != wait_fd)
	{
		forget_wait_set();
		wait_set = CreateWaitEventSet(TopMemoryContext, 3);
		AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, fd, NULL, NULL);
		wait_fd = fd;
	}
	return WaitEventSetWait(wait_set, timeout_ms, &event, 1, PG_WAIT_EXTENSION) > 0 ? event.events : 0;
}

/*
 * Wait for the latch, the descriptor or the time.  False: that has raised an error,
 * such as too many files being open, which stays on the error stack as one of an interrupt does.
 */
static bool
wait_once(int fd, bool want_read, bool want_write, long left_ms, int *happened)
{
	MemoryContext context = CurrentMemoryContext;
	const int	events = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH |
		(want_read ? WL_SOCKET_READABLE : 0) | (want_write ? WL_SOCKET_WRITEABLE : 0);

	PG_TRY();
	{
		if (fd >= 0 && want_read && !want_write)
			*happened = wait_readable(fd, left_ms);
		else
			*happened = WaitLatchOrSocket(MyLatch, events, fd < 0 ? PGINVALID_SOCKET : fd, left_ms,
										  PG_WAIT_EXTENSION);
	}
	PG_CATCH();
	{
		error_caught = true;
		/* A set that is only half made is none. */
		forget_wait_set();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return !error_caught;
}

static VtStatus
backend_wait(void *arg pg_attribute_unused(), int fd, bool want_read, bool want_write,
			 int64_t until_us)
{
	for (;;)
	{
		int64_t		left_us = until_us - clock_now_us();
		int			rc = 0;

		if (!interrupts_pass())
			return VT_CANCELLED;
		if (left_us <= 0)
			return VT_TIMEOUT;
		if (!wait_once(fd, want_read, want_write, (long) Min((left_us + 999) / 1000, 1000 * 3600), &rc))
			return VT_CANCELLED;
		if (rc & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (rc & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE))
			return interrupts_pass() ? VT_OK : VT_CANCELLED;
	}
}

/* That it closes another file may have to be told of, and an interrupt must not speak then. */
static bool
backend_acquire_fd(void *arg pg_attribute_unused())
{
	bool		acquired;

	HOLD_INTERRUPTS();
	acquired = AcquireExternalFD();
	RESUME_INTERRUPTS();
	return acquired;
}

static void
backend_release_fd(void *arg pg_attribute_unused())
{
	ReleaseExternalFD();
}

static void
backend_tell(void *arg pg_attribute_unused(), const char *words)
{
	strlcpy(untold, words, sizeof(untold));
}

/* The client is at rest: what it had to say.  Who calls may have something to close: a cancel waits until it looks for one. */
static void
tell_now(void)
{
	char		words[sizeof(untold)];

	if (untold[0] == '\0')
		return;
	strlcpy(words, untold, sizeof(words));
	untold[0] = '\0';
	HOLD_INTERRUPTS();
	ereport(LOG, (errmsg("vectron: %s", words)));
	RESUME_INTERRUPTS();
}

bool
cluster_is_embedded(void)
{
	return vectron_pd_endpoints == NULL || vectron_pd_endpoints[0] == '\0';
}

/*
 * Socket of an embedded daemon: n is 1 for the placement driver, 2 for the
 * worker.  In the first of unix_socket_directories, or in the data directory,
 * which is where backends and daemons run.  The path without "unix:" must fit
 * a sockaddr_un.  What it is made of cannot change while the server runs, and
 * it is asked for at each search: kept.
 */
const char *
cluster_endpoint(int n)
{
	static char *kept[3];
	char	   *copy;
	List	   *directories = NIL;
	const char *first = "";
	char	   *path;

	if (kept[n])
		return kept[n];
	copy = pstrdup(Unix_socket_directories);
	if (SplitDirectoriesString(copy, ',', &directories) && directories != NIL)
		first = (const char *) linitial(directories);
	/* An abstract socket has no folder to put ours into. */
	if (first[0] == '@' || first[0] == '\0')
		path = psprintf("unix:.s.VECTRON.%d.%d", PostPortNumber, n);
	else
		path = psprintf("unix:%s/.s.VECTRON.%d.%d", first, PostPortNumber, n);
	if (strlen(path + strlen("unix:")) >= 107)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("socket path \"%s\" is too long", path + strlen("unix:")),
				 errhint("Use a shorter first entry in unix_socket_directories.")));
	kept[n] = MemoryContextStrdup(TopMemoryContext, path);
	pfree(path);
	list_free_deep(directories);
	pfree(copy);
	return kept[n];
}

/* Is the client that of these settings? */
static bool
client_is_for(const char *endpoints, char *const files[3])
{
	if (!client || strcmp(client_endpoints, endpoints) != 0)
		return false;
	for (int i = 0; i < 3; i++)
		if (strcmp(client_files[i], files[i]) != 0)
			return false;
	return true;
}

/* A setting as it is now, in memory that stays, in place of what it was. */
static void
keep_text(char **kept, const char *text)
{
	if (*kept)
		pfree(*kept);
	*kept = MemoryContextStrdup(TopMemoryContext, text);
}

/* This client is not used again. */
static void
hang_up(void)
{
	forget_wait_set();
	client_close(client);
	client = NULL;
	client_epoch++;
	identity_forget();
}

/*
 * The lease that lies here is of this cluster; zero: there is none.  It may have been
 * another one when the client was opened.
 */
void
cluster_believe(const VtId *cluster)
{
	if (client && !vt_id_equal(&client_cluster, cluster))
		hang_up();
}

/* It was leased by whom the client believes, so by nobody else from now on. */
void
cluster_believed(const VtId *cluster)
{
	client_cluster = *cluster;
}

/*
 * The client of this backend, opened on first use and again when its settings
 * have changed.  Embedded daemons that do not run are started.
 */
Client *
cluster_client(void)
{
	const char *endpoints = cluster_is_embedded() ? cluster_endpoint(1) : vectron_pd_endpoints;
	char	   *const files[3] = {vectron_tls_ca_file, vectron_tls_cert_file, vectron_tls_key_file};
	ClientOptions options;
	VtError		err = {0};
	VtStatus	status;

	tell_now();
	if (client_is_for(endpoints, files))
		return client;
	hang_up();
	supervisor_wake();
	client_cluster = identity_cluster();
	memset(&options, 0, sizeof(options));
	options.pd_endpoints = endpoints;
	options.role = WIRE_ROLE_GATEWAY;
	options.tls.ca_file = files[0];
	options.tls.cert_file = files[1];
	options.tls.key_file = files[2];
	options.pace = shared_pace();
	options.ops.wait = backend_wait;
	options.ops.keep_route = shared_keep_route;
	options.ops.kept_route = shared_kept_route;
	options.ops.acquire_fd = backend_acquire_fd;
	options.ops.release_fd = backend_release_fd;
	options.ops.tell = backend_tell;
	options.cluster = client_cluster;
	status = client_open(&options, &client, &err);
	if (status != VT_OK)
	{
		client = NULL;
		cluster_error(status, &err, "could not use vectron.pd_endpoints", NULL);
	}
	keep_text(&client_endpoints, endpoints);
	for (int i = 0; i < 3; i++)
		keep_text(&client_files[i], files[i]);
	return client;
}

/*
 * The client got no memory in the middle of something: nothing of it may be
 * touched again, and the next use makes another one.  Its memory is lost.  While
 * an error is being cleaned up after there can be no second one, so the session
 * ends; the server lives in either case.
 */
static void
on_out_of_memory(size_t size)
{
	Client	   *broken = client;

	client = NULL;
	client_epoch++;
	error_caught = false;
	forget_wait_set();
	client_abandon(broken);
	identity_forget();
	ereport(cleaning ? FATAL : ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("Failed on request of size %zu in vectron's client.", size)));
}

void
cluster_setup(void)
{
	vt_on_out_of_memory(on_out_of_memory);
}

/* A scan that an error, or the end of a query, has left: tell the workers. */
void
cluster_close_scan(ClientScan *scan, uint64 epoch)
{
	if (epoch != client_epoch)
		return;
	cleaning = true;
	client_scan_close(scan);
	cleaning = false;
}

void
cluster_close_list(ClientList *list, uint64 epoch)
{
	if (epoch != client_epoch)
		return;
	cleaning = true;
	client_list_close(list);
	cleaning = false;
}

/* Changes when the client is closed: its scans and lists are gone then. */
uint64
cluster_epoch(void)
{
	return client_epoch;
}

int64_t
cluster_deadline(int timeout_ms)
{
	return clock_now_us() + (int64_t) timeout_ms * 1000;
}

/* A definite answer that this is not our index any more, or went back in time (law W7). */
bool
cluster_refused(VtStatus status)
{
	return status == VT_NOT_OWNER || status == VT_LOST;
}

/* Throw the error that backend_wait() caught, if any; the client is at rest. */
void
cluster_rethrow(void)
{
	if (error_caught)
	{
		error_caught = false;
		PG_RE_THROW();
	}
	tell_now();
}

static int
sqlstate_of(VtStatus status)
{
	switch (status)
	{
		case VT_TIMEOUT:
		case VT_CANCELLED:
			return ERRCODE_QUERY_CANCELED;
		case VT_UNAVAILABLE:
		case VT_NOT_LEADER:
		case VT_STOPPING:
		case VT_FOREIGN:
			return ERRCODE_CONNECTION_FAILURE;
		case VT_PROTOCOL:
		case VT_VERSION:
			return ERRCODE_PROTOCOL_VIOLATION;
		case VT_BUSY:
			return ERRCODE_INSUFFICIENT_RESOURCES;
		case VT_FULL:
			return ERRCODE_DISK_FULL;
		case VT_NOMEM:
			return ERRCODE_OUT_OF_MEMORY;
		case VT_DENIED:
			return ERRCODE_INSUFFICIENT_PRIVILEGE;
		case VT_INVALID:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case VT_CORRUPT:
		case VT_LOST:
			return ERRCODE_DATA_CORRUPTED;
		case VT_IO:
			return ERRCODE_IO_ERROR;
		default:
			return ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	}
}

static const char *
hint_of(VtStatus status, const VtError *err)
{
	switch (status)
	{
		case VT_TIMEOUT:
		case VT_UNAVAILABLE:
		case VT_NOT_LEADER:
			return cluster_is_embedded() ?
				"See the server log for messages of vectron-pd and vectron-worker." :
				"Check that the daemons in vectron.pd_endpoints and their workers run; see the view vectron.workers.";
		case VT_BUSY:
			if (client_driver_is_flooded(err))
				return "The placement driver has more questions to answer than it can just now: try again later, or with fewer sessions that begin at once; /metrics of vectron-pd tells how many wait.";
			return "The workers have more to do than they can just now: try again later or with more time, or add workers; see the view vectron.workers.";
		case VT_FULL:
			return "Add disk space, memory or workers; see the view vectron.workers.";
		case VT_UNKNOWN_GENERATION:
			return "Check vectron.pd_endpoints and the workers' data; if the data is lost, REINDEX rebuilds it.";
		case VT_GONE:
			return "The index was dropped in the cluster; REINDEX rebuilds it.";
		case VT_LOST:
			return "REINDEX rebuilds the index from the table.";
		case VT_NOT_OWNER:
			return "The index belongs to another server, database or incarnation; REINDEX makes it this server's.";
		case VT_DENIED:
			return cluster_is_embedded() ? NULL :
				"Check vectron.tls_ca_file, vectron.tls_cert_file and vectron.tls_key_file; \"vectronctl certs show FILE\" tells what a certificate is for and until when.";
		case VT_FOREIGN:
			return "Check vectron.pd_endpoints. If this server's cluster is gone, or it is to move to the other one, remove the file incarnation in its folder vectron and REINDEX.";
		case VT_VERSION:
			return "Library and daemons are of different releases; restart PostgreSQL after an upgrade.";
		default:
			return NULL;
	}
}

/*
 * Nobody answered: remember it, for the planner of this session and of others.
 * With a timeout that is too short for anybody to answer nothing is learnt.
 */
void
cluster_note_failure(VtStatus status, const VtId *generation, const WireOwner *owner)
{
	if (status != VT_UNAVAILABLE && status != VT_TIMEOUT && status != VT_FOREIGN)
		return;
	down_until = clock_now_us() + DOWN_US;
	ResetPlanCache();
	if (status != VT_TIMEOUT ||
		(vectron_read_timeout >= TELLING_MS && vectron_write_timeout >= TELLING_MS))
		health_note_failure(generation, owner);
}

/* Raise what the cluster said.  doing is a phrase such as "could not search". */
void
cluster_error(VtStatus status, const VtError *err, const char *doing, Relation index)
{
	const char *hint = hint_of(status, err);
	VectronMeta meta;

	cluster_rethrow();
	if (index == NULL)
		cluster_note_failure(status, NULL, NULL);
	else if (meta_read_built(index, &meta) && meta.state == VECTRON_LIVE)
		cluster_note_failure(status, &meta.generation, &meta.owner);
	if (index)
		ereport(ERROR,
				(errcode(sqlstate_of(status)),
				 errmsg("%s index \"%s\": %s", doing, RelationGetRelationName(index),
						vt_error_words(err)),
				 hint ? errhint("%s", hint) : 0));
	ereport(ERROR,
			(errcode(sqlstate_of(status)),
			 errmsg("%s: %s", doing, vt_error_words(err)),
			 hint ? errhint("%s", hint) : 0));
}

void
cluster_check(VtStatus status, const VtError *err, const char *doing, Relation index)
{
	VtError		plain;

	if (status == VT_OK)
	{
		down_until = 0;
		tell_now();
		return;
	}
	plain = *err;
	plain.code = status;
	cluster_error(status, &plain, doing, index);
}

/* The same for a generation whose relation is not open. */
void
cluster_check_generation(VtStatus status, const VtError *err, const char *doing,
						 const VtId *generation, const WireOwner *owner)
{
	char		text[VT_ID_TEXT];
	const char *hint = hint_of(status, err);

	if (status == VT_OK)
		return;
	cluster_rethrow();
	cluster_note_failure(status, generation, owner);
	vt_id_format(generation, text);
	ereport(ERROR,
			(errcode(sqlstate_of(status)),
			 errmsg("%s the shards of generation %s: %s", doing, text, vt_error_words(err)),
			 hint ? errhint("%s", hint) : 0));
}

/* For the planner, which makes no call (R5). */
bool
cluster_believed_down(const VtId *generation)
{
	bool		down = (down_until != 0 && clock_now_us() < down_until) || health_is_down(generation);

	if (down)
		left_out_us = clock_now_us();
	return down;
}

/*
 * When a statement begins: a plan that does without an index because something is
 * out of reach is not kept for longer than that is believed without a look.
 */
void
cluster_plan_again(void)
{
	if (left_out_us == 0 || clock_now_us() - left_out_us < DOWN_US)
		return;
	left_out_us = 0;
	ResetPlanCache();
}
