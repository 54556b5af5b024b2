/*-------------------------------------------------------------------------
 *
 * sweeper.c
 *	  The processes that clean up in the background (law W8), and when.
 *
 * The supervisor has one process started for the whole server, connected to no
 * database: when a transaction has left word of what it dropped (drops.c), when
 * something could not be reached (health.c), and every vectron.sweep_interval.
 * For a sweep (sweep.c) that process then starts a short session in one database
 * after the other.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "index.h"

PGDLLEXPORT void vectron_sweeper_main(Datum full);
PGDLLEXPORT void vectron_sweep_database_main(Datum database);

#define FIRST_SWEEP_US (60 * INT64CONST(1000000))	/* after the start, at the latest */
#define PROBE_US (3 * INT64CONST(1000000))
#define DROPS_BACKOFF_MS 1000
#define DROPS_BACKOFF_MAX_MS 30000

/* A session in a database gives way: DROP DATABASE waits 5 s for it. */
#define SESSION_MS 1500

/* The supervisor's */
static BackgroundWorkerHandle *sweeper;
static int64_t sweep_due_us;	/* 0 = not known yet */
static uint64 drops_tried;		/* what the last one was started for */
static int64_t drops_not_before_us;
static int	drops_backoff_ms;
static int64_t probe_not_before_us;	/* for who could not be reached (health.c) */

/* A background worker that is started now and told of to whoever starts it. */
static BackgroundWorker
one_shot(const char *function, const char *name, const char *type, Datum arg)
{
	BackgroundWorker worker;

	supervisor_describe(&worker, function, name, type);
	worker.bgw_flags |= BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = arg;
	worker.bgw_notify_pid = MyProcPid;
	return worker;
}

/* Start the sweeping process if there is something for it to do; the supervisor asks each second. */
void
sweeper_look(void)
{
	int64_t		now = clock_now_us();
	int64_t		interval_us = (int64_t) vectron_sweep_interval * 1000000;
	BackgroundWorker worker;
	bool		full;
	uint64		drops;
	bool		probe;
	pid_t		pid;

	if (sweeper && GetBackgroundWorkerPid(sweeper, &pid) != BGWH_STOPPED)
		return;
	if (sweeper)
		pfree(sweeper);
	sweeper = NULL;

	if (sweep_due_us == 0)
		sweep_due_us = now + Min(interval_us, FIRST_SWEEP_US);
	if (sweep_due_us > now + interval_us)
		sweep_due_us = now + interval_us;	/* the interval was made shorter */
	full = interval_us > 0 && now >= sweep_due_us;
	drops = drops_waiting();
	if (drops != drops_tried)
		drops_backoff_ms = drops_not_before_us = 0;
	probe = now >= probe_not_before_us && health_any_down();
	if (!full && !probe && (drops == 0 || now < drops_not_before_us))
		return;

	worker = one_shot("vectron_sweeper_main", "vectron sweeper", "vectron sweeper", BoolGetDatum(full));
	if (!RegisterDynamicBackgroundWorker(&worker, &sweeper))
		return;					/* no slot is free now */
	if (full)
		sweep_due_us = now + interval_us;

	probe_not_before_us = now + PROBE_US;

	/* What does not get done is tried again later each time. */
	drops_tried = drops;
	drops_backoff_ms = drops_backoff_ms ? Min(2 * drops_backoff_ms, DROPS_BACKOFF_MAX_MS) : DROPS_BACKOFF_MS;
	drops_not_before_us = now + (int64_t) drops_backoff_ms * 1000;
}

/* -- The processes ------------------------------------------------------------ */

/* A session in one database. */
static void
start_session(Oid database)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	worker = one_shot("vectron_sweep_database_main", "vectron sweep of a database", "vectron sweep",
					  ObjectIdGetDatum(database));
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker slot is free to sweep a database"),
				 errhint("Raise max_worker_processes.")));
	(void) WaitForBackgroundWorkerShutdown(handle);
	pfree(handle);
}

void
vectron_sweep_database_main(Datum database)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	SetConfigOption("lock_timeout", "1s", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("vectron.write_timeout", "1500ms", PGC_USERSET, PGC_S_OVERRIDE);
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "vectron sweep");
	sweep_log(sweep_database(SESSION_MS));
	CommitTransactionCommand();
	proc_exit(0);
}

/*
 * See who can be reached again, send drops; full: sweep as well.  An error ends
 * the process, and the supervisor starts another one later.
 */
void
vectron_sweeper_main(Datum full)
{
	MemoryContext context;
	List	   *databases = NIL;
	List	   *outcomes = NIL;
	ListCell   *lc;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	context = AllocSetContextCreate(TopMemoryContext, "vectron sweeper", ALLOCSET_DEFAULT_SIZES);
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	health_probe();
	drops_send();
	if (DatumGetBool(full))
		databases = sweep_databases(&outcomes);
	sweep_log(outcomes);
	CommitTransactionCommand();
	foreach(lc, databases)
		start_session(lfirst_oid(lc));
	proc_exit(0);
}
