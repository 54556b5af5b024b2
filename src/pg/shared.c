/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  What the processes of a server share: marks (R3), how fast workers answer,
 *	  the lease and the routes that PD gave, and counters of scans.
 *
 * Shared memory is there only if vectron is in shared_preload_libraries.
 * Without it every mark is unknown, so each scan asks the leaders first, and
 * nothing is counted.  A restart, also one after a crash, begins with an empty
 * table, which means the same: unknown.
 *
 * A flush stores its marks before the commit record, VACUUM stores marks that
 * cover its listing and its deletes before TIDs are freed, and a scan reads
 * them after its snapshot.  src/client/marks.c has the rules of the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "identity.h"
#include "index.h"

#define SHARED_NAME "vectron"
#define ROUTE_BYTES (2 * 1024 * 1024)	/* some 3000 shards with three replicas */

enum
{
	LOCK_MARKS,
	LOCK_ROUTES,				/* and the lease */
	LOCKS
};

typedef struct Shared
{
	LWLock	   *lock;			/* covers the table of marks, which follows */
	LWLock	   *routes_lock;	/* covers the routes and what is below */
	bool		is_confirmed;
	Confirmed	confirmed;
	int64		confirmed_us;
	int64		in_vain_us;
	pg_atomic_uint64 counts[SCAN_COUNTS];
} Shared;						/* then the table, the workers' pace, the routes */

static Shared *shared;			/* NULL = not preloaded */
static ClientMarkTable *table;
static ClientPace *pace;
static ClientRouteTable *routes;
static shmem_request_hook_type next_request;
static shmem_startup_hook_type next_startup;

PG_FUNCTION_INFO_V1(vectron_stat_search);
PG_FUNCTION_INFO_V1(vectron_stat_search_reset);

static Size
shared_size(void)
{
	Size		size = add_size(MAXALIGN(sizeof(Shared)),
								MAXALIGN(client_mark_table_size((uint32) vectron_mark_entries)));

	size = add_size(size, MAXALIGN(client_pace_size()));
	return add_size(size, client_route_table_size(ROUTE_BYTES));
}

static void
on_request(void)
{
	if (next_request)
		next_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(SHARED_NAME, LOCKS);
}

static void
on_startup(void)
{
	bool		found;

	if (next_startup)
		next_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct(SHARED_NAME, shared_size(), &found);
	table = (ClientMarkTable *) ((char *) shared + MAXALIGN(sizeof(Shared)));
	pace = (ClientPace *) ((char *) table + MAXALIGN(client_mark_table_size((uint32) vectron_mark_entries)));
	routes = (ClientRouteTable *) ((char *) pace + MAXALIGN(client_pace_size()));
	if (!found)
	{
		LWLockPadded *locks = GetNamedLWLockTranche(SHARED_NAME);

		shared->lock = &locks[LOCK_MARKS].lock;
		shared->routes_lock = &locks[LOCK_ROUTES].lock;
		shared->is_confirmed = false;
		shared->in_vain_us = 0;
		for (int i = 0; i < SCAN_COUNTS; i++)
			pg_atomic_init_u64(&shared->counts[i], 0);
		client_mark_table_init(table, (uint32) vectron_mark_entries);
		client_pace_init(pace);
		client_route_table_init(routes, ROUTE_BYTES);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
shared_setup(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_request = shmem_request_hook;
	shmem_request_hook = on_request;
	next_startup = shmem_startup_hook;
	shmem_startup_hook = on_startup;
}

/* -- Marks ----------------------------------------------------------------- */

bool
marks_are_shared(void)
{
	return shared != NULL;
}

void
marks_keep(const VtId *generation, const ClientMarks *marks)
{
	if (!shared)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	client_mark_note(table, generation, marks);
	LWLockRelease(shared->lock);
}

/*
 * The known marks of a route's shards; items are palloc'd.  False: some are
 * not known, and marks_learn() may be told the answers, with the ticket.
 */
bool
marks_recall(const ClientCollection *route, ClientMarks *marks, uint64 *ticket)
{
	uint64_t	version;
	uint64_t	count;

	memset(marks, 0, sizeof(*marks));
	marks->items = palloc(sizeof(ClientMark) * Max(route->nshards, 1));
	LWLockAcquire(shared->lock, LW_SHARED);
	marks->n = client_mark_read(table, route, marks->items, &version, &count);
	LWLockRelease(shared->lock);
	marks->route_version = version;
	*ticket = count;
	return marks->n == route->nshards;
}

void
marks_learn(const VtId *generation, uint64 ticket, const ClientMarks *answered)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	client_mark_learn(table, generation, ticket, answered);
	LWLockRelease(shared->lock);
}

/* -- Pace ------------------------------------------------------------------ */

ClientPace *
shared_pace(void)
{
	return pace;
}

/* -- The lease, and the way --------------------------------------------------- */

void
confirmed_keep(const Confirmed *confirmed)
{
	if (!shared)
		return;
	LWLockAcquire(shared->routes_lock, LW_EXCLUSIVE);
	shared->confirmed = *confirmed;
	shared->is_confirmed = true;
	shared->confirmed_us = clock_now_us();
	shared->in_vain_us = 0;
	LWLockRelease(shared->routes_lock);
}

bool
confirmed_get(Confirmed *out, int64 *at_us, int64 *in_vain_us)
{
	bool		known;

	if (!shared)
		return false;
	LWLockAcquire(shared->routes_lock, LW_SHARED);
	known = shared->is_confirmed;
	*out = shared->confirmed;
	*at_us = shared->confirmed_us;
	*in_vain_us = shared->in_vain_us;
	LWLockRelease(shared->routes_lock);
	return known;
}

void
confirmed_in_vain(void)
{
	if (!shared)
		return;
	LWLockAcquire(shared->routes_lock, LW_EXCLUSIVE);
	shared->in_vain_us = clock_now_us();
	LWLockRelease(shared->routes_lock);
}

void
confirmed_drop(void)
{
	if (!shared)
		return;
	LWLockAcquire(shared->routes_lock, LW_EXCLUSIVE);
	shared->is_confirmed = false;
	LWLockRelease(shared->routes_lock);
}

void
shared_keep_route(void *arg pg_attribute_unused(), const VtId *generation, Bytes words)
{
	if (!shared)
		return;
	LWLockAcquire(shared->routes_lock, LW_EXCLUSIVE);
	client_route_put(routes, generation, words);
	LWLockRelease(shared->routes_lock);
}

bool
shared_kept_route(void *arg pg_attribute_unused(), const VtId *generation, Buf *out)
{
	bool		found;

	if (!shared)
		return false;
	LWLockAcquire(shared->routes_lock, LW_SHARED);
	found = client_route_get(routes, generation, out);
	LWLockRelease(shared->routes_lock);
	return found;
}

bool
shared_knows_way(const VtId *generation)
{
	bool		knows;

	if (!shared || generation == NULL)
		return false;
	LWLockAcquire(shared->routes_lock, LW_SHARED);
	knows = shared->is_confirmed && client_route_has(routes, generation);
	LWLockRelease(shared->routes_lock);
	return knows;
}

/* -- Counters -------------------------------------------------------------- */

void
scan_count(ScanCount what, uint64 n)
{
	if (shared && n > 0)
		pg_atomic_fetch_add_u64(&shared->counts[what], (int64) n);
}

static void
need_shared(void)
{
	if (!shared)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("scans are counted only in shared memory"),
				 errhint("Add vectron to shared_preload_libraries and restart the server.")));
}

/* All counters, in the order of ScanCount. */
Datum
vectron_stat_search(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[SCAN_COUNTS];
	bool		nulls[SCAN_COUNTS] = {false};

	need_shared();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != SCAN_COUNTS)
		elog(ERROR, "return type must be a row of counters");
	for (int i = 0; i < SCAN_COUNTS; i++)
		values[i] = Int64GetDatum((int64) pg_atomic_read_u64(&shared->counts[i]));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
vectron_stat_search_reset(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	need_shared();
	for (int i = 0; i < SCAN_COUNTS; i++)
		pg_atomic_write_u64(&shared->counts[i], 0);
	PG_RETURN_VOID();
}
