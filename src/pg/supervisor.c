/*-------------------------------------------------------------------------
 *
 * supervisor.c
 *	  The background worker that keeps the embedded cluster running.
 *
 * With vectron.pd_endpoints empty, one placement driver and one worker run
 * under the data directory: from server start when vectron is preloaded, else
 * from first use.  One supervisor, chosen by a lock file, starts them and
 * starts them again when they end.
 *
 * The daemons live with the postmaster, not with the supervisor: they hold the
 * read end of its death-watch pipe and stop when it is gone.  So a supervisor
 * that was killed (which makes PostgreSQL restart its processes) finds them
 * running and adopts them: whoever answers on the socket is the daemon, and the
 * socket tells its process id.
 *
 * On the way to a cluster of several machines they also listen for those (exposed.c),
 * and run beside the drivers that vectron.pd_endpoints names by then, until they are
 * needed no more.
 *
 * It also has processes started that sweep up (sweeper.c), and tells an outside
 * placement driver that this server lives (identity.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "access/xlog.h"
#include "common/file_perm.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "postmaster/postmaster.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "identity.h"
#include "index.h"

PGDLLEXPORT void vectron_supervisor_main(Datum arg);

#define DAEMONS 2
#define LOOK_MS 1000			/* how often adopted daemons are looked at */
#define BACKOFF_MAX_MS 30000
#define DEATH_FD 3				/* where a daemon finds the pipe */
#define ARGUMENTS_FIXED 9		/* that are the same as long as the server runs */
#define ARGUMENTS_MAX (ARGUMENTS_FIXED + 2 + EXPOSED_OPTIONS + 1)
#define MEMORY_SHARE "40"		/* percent of the machine's: PostgreSQL needs some, too */
#define COMMAND_MAX 16384

typedef struct Daemon
{
	const char *name;			/* "pd": program vectron-pd, folder pd */
	int			socket;			/* number of its endpoint */
	pid_t		child;			/* started by us and not yet reaped, or 0 */
	int64_t		not_before_us;	/* back-off after it ended */
	int			backoff_ms;
} Daemon;

static Daemon daemons[DAEMONS] = {
	{.name = "pd", .socket = 1},
	{.name = "worker", .socket = 2},
};

/* The lease from an outside placement driver, whose lease_time is longer */
#define RENEW_US (2 * INT64CONST(1000000))
#define RENEW_MS 500			/* for the answer */
static int64_t renew_not_before_us;

/* Take the lock that makes one supervisor; -1 = somebody has it. */
static int
supervisor_lock(void)
{
	char	   *path;
	int			fd;

	if (mkdir(identity_directory(), pg_dir_create_mode) < 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", identity_directory())));
	path = psprintf("%s/supervisor", identity_directory());
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, pg_file_create_mode);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path)));
	pfree(path);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	close(fd);
	return -1;
}

/* What all background workers of ours have in common. */
void
supervisor_describe(BackgroundWorker *out, const char *function, const char *name, const char *type)
{
	memset(out, 0, sizeof(*out));
	out->bgw_flags = BGWORKER_SHMEM_ACCESS;
	out->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(out->bgw_library_name, "vectron", BGW_MAXLEN);
	strlcpy(out->bgw_function_name, function, BGW_MAXLEN);
	strlcpy(out->bgw_name, name, BGW_MAXLEN);
	strlcpy(out->bgw_type, type, BGW_MAXLEN);
}

static BackgroundWorker
ourselves(void)
{
	BackgroundWorker worker;

	supervisor_describe(&worker, "vectron_supervisor_main", "vectron supervisor", "vectron supervisor");
	worker.bgw_restart_time = 1;
	return worker;
}

/*
 * Called by a backend about to use the cluster: make sure that a supervisor runs
 * or is on its way.  An embedded cluster cannot do without; with an outside one
 * it only sweeps, which can wait.
 */
void
supervisor_wake(void)
{
	BackgroundWorker worker;
	int			lock;
	bool		needed = cluster_is_embedded();

	if ((!IsUnderPostmaster || RecoveryInProgress() || IsBinaryUpgrade) && !needed)
		return;
	if (!IsUnderPostmaster || RecoveryInProgress() || IsBinaryUpgrade)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the embedded vectron cluster does not run on a standby, in single-user mode or during pg_upgrade")));
	lock = supervisor_lock();
	if (lock < 0)
		return;
	close(lock);
	worker = ourselves();
	if (!RegisterDynamicBackgroundWorker(&worker, NULL) && needed)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker slot is free for the vectron supervisor"),
				 errhint("Raise max_worker_processes, or add vectron to shared_preload_libraries.")));
}

void
supervisor_setup(void)
{
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	worker = ourselves();
	RegisterBackgroundWorker(&worker);
}

/* Process id of whoever listens on the daemon's socket; 0 = nobody. */
static pid_t
daemon_listening(const Daemon *daemon)
{
	const char *endpoint = cluster_endpoint(daemon->socket);
	struct sockaddr_un address;
	struct ucred peer;
	socklen_t	size = sizeof(peer);
	int			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t		pid = 0;

	memset(&address, 0, sizeof(address));
	address.sun_family = AF_UNIX;
	strlcpy(address.sun_path, endpoint + strlen("unix:"), sizeof(address.sun_path));
	if (fd >= 0 && connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0 &&
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
		pid = peer.pid;
	if (fd >= 0)
		close(fd);
	return pid;
}

/* After fork: only what is safe between fork and exec. */
static void daemon_exec(char *const *argv) pg_attribute_noreturn();

static void
daemon_exec(char *const *argv)
{
	sigset_t	none;

	setsid();
	if (dup2(postmaster_alive_fds[POSTMASTER_FD_WATCH], DEATH_FD) < 0)
		_exit(1);
	close_range(DEATH_FD + 1, ~0U, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	execv(argv[0], argv);
	_exit(127);
}

/* Does the embedded cluster run beside others: on its way out of this machine? */
static bool
exposing(void)
{
	return exposed_by_settings() || exposed_is_held();
}

/* The command that a daemon is to run, ended by NULL; what may change at a reload comes last. */
static void
daemon_command(const Daemon *daemon, char *argv[ARGUMENTS_MAX])
{
	char		directory[MAXPGPATH];
	char	   *slash;
	int			n = 0;

	strlcpy(directory, my_exec_path, sizeof(directory));
	slash = strrchr(directory, '/');
	if (slash)
		*slash = '\0';
	argv[n++] = psprintf("%s/vectron-%s", directory, daemon->name);
	argv[n++] = "--data";
	argv[n++] = psprintf("%s/%s", identity_directory(), daemon->name);
	argv[n++] = "--listen";
	argv[n++] = pstrdup(cluster_endpoint(daemon->socket));
	argv[n++] = "--death-fd";
	argv[n++] = psprintf("%d", DEATH_FD);
	if (daemon->socket == 1)
	{
		argv[n++] = "--default-replicas";
		argv[n++] = "1";
	}
	else
	{
		argv[n++] = "--pd";
		argv[n++] = pstrdup(cluster_endpoint(1));
	}
	Assert(n == ARGUMENTS_FIXED);
	if (daemon->socket == 2)
	{
		bool		own = vectron_embedded_memory_limit >= 0;

		argv[n++] = own ? "--memory-limit" : "--memory-share";
		argv[n++] = own ? psprintf("%d", vectron_embedded_memory_limit) : MEMORY_SHARE;
	}
	n += exposed_options(daemon->name, argv + n);
	argv[n] = NULL;
}

/*
 * Was a process started with these last arguments?  One that cannot be seen, or is
 * about to become the daemon only, is believed to be.
 */
static bool
is_running(pid_t pid, char *const *argv)
{
	char		path[64];
	char		line[COMMAND_MAX];
	FILE	   *file;
	size_t		len;
	size_t		at = 0;
	bool		same = true;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int) pid);
	file = AllocateFile(path, "r");
	len = file ? fread(line, 1, sizeof(line), file) : 0;
	if (file)
		FreeFile(file);
	if (len == 0 || len == sizeof(line) || len < strlen(argv[0]) || memcmp(line, argv[0], strlen(argv[0])) != 0)
		return true;
	for (int i = 0; i < ARGUMENTS_FIXED && at < len; i++)
		at += strnlen(line + at, len - at) + 1;
	for (argv += ARGUMENTS_FIXED; same && *argv; argv++)
	{
		size_t		size = strlen(*argv) + 1;

		same = at + size <= len && memcmp(line + at, *argv, size) == 0;
		at += size;
	}
	return same && at == len;
}

/*
 * The settings may be others than those that a daemon was started with, perhaps by
 * a supervisor before us: then it is to end, and will be started with these.
 */
static void
daemon_renew(Daemon *daemon)
{
	pid_t		pid = daemon->child ? daemon->child : daemon_listening(daemon);
	char	   *argv[ARGUMENTS_MAX];

	daemon_command(daemon, argv);
	if (!pid || is_running(pid, argv))
		return;
	ereport(LOG, (errmsg("vectron-%s (process %d) is started anew with other settings", daemon->name, (int) pid)));
	kill(pid, SIGTERM);
}

static void
daemon_start(Daemon *daemon)
{
	char	   *argv[ARGUMENTS_MAX];
	pid_t		pid;

	daemon_command(daemon, argv);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		daemon_exec(argv);
	if (pid < 0)
		ereport(LOG, (errmsg("could not start %s: %m", argv[0])));
	else
	{
		daemon->child = pid;
		ereport(LOG, (errmsg("started %s, process %d", argv[0], (int) pid)));
	}
}

/* Reap what has ended, start what does not run. */
static void
daemon_look(Daemon *daemon)
{
	int			status;

	if (daemon->child && waitpid(daemon->child, &status, WNOHANG) == daemon->child)
	{
		daemon->backoff_ms = daemon->backoff_ms ? Min(2 * daemon->backoff_ms, BACKOFF_MAX_MS) : 100;
		daemon->not_before_us = clock_now_us() + (int64_t) daemon->backoff_ms * 1000;
		if (WIFSIGNALED(status))
			ereport(LOG, (errmsg("vectron-%s (process %d) was ended by signal %d", daemon->name,
								 (int) daemon->child, WTERMSIG(status))));
		else
			ereport(LOG, (errmsg("vectron-%s (process %d) ended with status %d", daemon->name,
								 (int) daemon->child, WEXITSTATUS(status)),
						  WEXITSTATUS(status) == 127 ?
						  errhint("The program is expected beside PostgreSQL's own; make install puts it there.") : 0));
		daemon->child = 0;
	}
	if (daemon->child)
		return;
	if (clock_now_us() < daemon->not_before_us || daemon_listening(daemon))
		return;
	daemon_start(daemon);
}

/* A daemon that has run for a while is forgiven its earlier ends. */
static void
daemon_forgive(Daemon *daemon)
{
	if (daemon->backoff_ms && clock_now_us() > daemon->not_before_us + 60 * INT64CONST(1000000))
		daemon->backoff_ms = 0;
}

/* Tell them to stop, the worker first, and wait; they bound it to 5 s. */
static void
daemons_stop(void)
{
	pid_t		pids[DAEMONS];

	for (int i = DAEMONS - 1; i >= 0; i--)
	{
		pids[i] = daemons[i].child ? daemons[i].child : daemon_listening(&daemons[i]);
		if (pids[i])
			kill(pids[i], SIGTERM);
	}
	for (int round = 0; round < 600; round++)
	{
		bool		alive = false;

		for (int i = 0; i < DAEMONS; i++)
		{
			if (!pids[i])
				continue;
			if (daemons[i].child ? waitpid(pids[i], NULL, WNOHANG) == pids[i] :
				kill(pids[i], 0) < 0)
			{
				pids[i] = 0;
				daemons[i].child = 0;
			}
			else
				alive = true;
		}
		if (!alive)
			return;
		pg_usleep(10000);
	}
}

/* Ask something of the cluster that may raise: the supervisor only says so. */
static void
ask_quietly(void (*ask) (void))
{
	static MemoryContext context;
	MemoryContext old;

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "vectron supervisor", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	PG_TRY();
	{
		ask();
	}
	PG_CATCH();
	{
		EmitErrorReport();
		FlushErrorState();
		AtEOXact_Files(false);	/* there is no transaction to do it: the lock, above all */
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
}

/*
 * Tell an outside placement driver that this server lives (law W7).  That it
 * cannot be told is no error: nobody can be given our place by it either.
 */
static void
renew(void)
{
	if (clock_now_us() < renew_not_before_us)
		return;
	renew_not_before_us = clock_now_us() + RENEW_US;
	(void) identity_renew(RENEW_MS);
}

static void
on_child_end(SIGNAL_ARGS)
{
	int			save_errno = errno;

	SetLatch(MyLatch);
	errno = save_errno;
}

void
vectron_supervisor_main(Datum arg)
{
	bool		reloaded = true;	/* settings may be others than the daemons' */
	int			lock;

	(void) arg;
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGCHLD, on_child_end);
	BackgroundWorkerUnblockSignals();

	lock = supervisor_lock();
	if (lock < 0)
		proc_exit(0);			/* another one does it */

	ereport(LOG, (errmsg("vectron supervisor in charge, process %d", MyProcPid)));

	/* Before anything under the folder is opened: is it a copy? */
	identity_begin();
	while (!ShutdownRequestPending)
	{
		if (reloaded)
			exposed_reload(cluster_is_embedded());
		ask_quietly(exposed_look);
		if (cluster_is_embedded() || exposing())
		{
			for (int i = 0; i < DAEMONS; i++)
			{
				if (reloaded)
					daemon_renew(&daemons[i]);
				daemon_look(&daemons[i]);
				daemon_forgive(&daemons[i]);
			}
		}
		else
			daemons_stop();
		reloaded = false;
		if (!cluster_is_embedded() || exposing())
			ask_quietly(renew);
		sweeper_look();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 daemons[0].backoff_ms || daemons[1].backoff_ms ? 100 : LOOK_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			reloaded = true;
		}
	}
	session_note_stop();
	daemons_stop();
	close(lock);
	proc_exit(0);
}
