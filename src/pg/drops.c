/*-------------------------------------------------------------------------
 *
 * drops.c
 *	  Which generations a transaction drops, and telling the cluster (law W8).
 *
 * This is the optimisation; sweep.c is the rule.  At PRE_COMMIT PostgreSQL knows
 * every file it is going to delete with the commit: of DROP at any level, and of
 * TRUNCATE, REINDEX and rewrites, which replace files.  Subtransactions that were
 * rolled back have no part in it.  A metapage in such a file names a generation
 * that nobody needs once the transaction has committed, unless the file has
 * only moved (SET TABLESPACE): then the same generation stands in a file that
 * the transaction made and keeps.
 *
 * The generations go into a file of the transaction's name in
 * <directory>/drops, and nothing else happens in the backend: no call to
 * anybody, nothing at all after the commit record, and a failure to write is
 * worth no failed DROP.  The supervisor sees the file and has a short process
 * send the drops (drops_send).  The file's name is the 64-bit transaction id, so
 * that process can tell what became of the transaction, prepared or crashed or
 * not.  WAL is flushed before the file is written: an id that stands there
 * cannot be given out again after a crash.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/storage.h"
#include "common/file_perm.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"

#include "base/breaks.h"

#include "index.h"

char *
drops_directory(void)
{
	return psprintf("%s/drops", identity_directory());
}

static bool
file_in(const RelFileNode *files, int n, RelFileNode file)
{
	for (int i = 0; i < n; i++)
		if (RelFileNodeEquals(files[i], file))
			return true;
	return false;
}

/*
 * Does a file that the transaction made, and keeps, hold the generation?  Also
 * true when that cannot be told of one of them: then the sweeps find out.
 */
static bool
generation_moved(const RelFileNode *made, int nmade, const RelFileNode *gone, int ngone,
				 const VtId *generation)
{
	for (int i = 0; i < nmade; i++)
	{
		VectronMeta meta;
		MetaFile	file;

		if (made[i].dbNode != MyDatabaseId || file_in(gone, ngone, made[i]))
			continue;
		file = meta_read_file(made[i], &meta);
		if (file == META_FILE_UNSURE ||
			(file == META_FILE_OURS && vt_id_equal(&meta.generation, generation)))
			return true;
	}
	return false;
}

/* One line for each generation that goes with this transaction's commit. */
static void
find_drops(StringInfo out)
{
	RelFileNode *gone;
	RelFileNode *made;
	int			ngone = smgrGetPendingDeletes(true, &gone);
	int			nmade;

	if (ngone == 0)
		return;
	nmade = smgrGetPendingDeletes(false, &made);
	for (int i = 0; i < ngone; i++)
	{
		VectronMeta meta;
		char		generation[VT_ID_TEXT];
		char		incarnation[VT_ID_TEXT];

		CHECK_FOR_INTERRUPTS();
		if (gone[i].dbNode != MyDatabaseId || meta_read_file(gone[i], &meta) != META_FILE_OURS ||
			meta.state != VECTRON_LIVE || meta.owner.database != MyDatabaseId ||
			(!vt_broken("W8-moved") && generation_moved(made, nmade, gone, ngone, &meta.generation)))
			continue;
		vt_id_format(&meta.generation, generation);
		vt_id_format(&meta.owner.incarnation, incarnation);
		appendStringInfo(out, "%s " UINT64_FORMAT " %s %u\n", generation, meta.owner.system,
						 incarnation, meta.owner.database);
	}
}

static void
write_intents(uint64 xid, const StringInfo lines)
{
	char	   *directory = drops_directory();
	char	   *path = psprintf("%s/" UINT64_FORMAT, directory, xid);
	int			fd;

	(void) mkdir(identity_directory(), pg_dir_create_mode);
	(void) mkdir(directory, pg_dir_create_mode);
	fd = OpenTransientFile(path, O_WRONLY | O_CREAT | O_TRUNC);
	if (fd < 0 || write(fd, lines->data, lines->len) != lines->len)
		ereport(LOG,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", path),
				 errdetail("The cluster learns of the dropped indexes by the next sweeps.")));
	if (fd >= 0)
		CloseTransientFile(fd);
}

static void
on_xact_event(XactEvent event, void *arg pg_attribute_unused())
{
	StringInfoData lines;
	FullTransactionId xid = GetTopFullTransactionIdIfAny();

	if ((event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE) ||
		!FullTransactionIdIsValid(xid) || !vectron_drop_intents || !IsUnderPostmaster ||
		IsBinaryUpgrade)
		return;
	initStringInfo(&lines);
	find_drops(&lines);
	if (lines.len > 0)
	{
		wal_flush_own(XactLastRecEnd);
		write_intents(U64FromFullTransactionId(xid), &lines);
	}
	pfree(lines.data);
}

void
drops_setup(void)
{
	RegisterXactCallback(on_xact_event, NULL);
}

/* -- The other end --------------------------------------------------------- */

/*
 * The first transaction that has left word and has ended since; 0 = none.  Asked
 * by the supervisor each second.
 */
uint64
drops_waiting(void)
{
	char	   *directory = drops_directory();
	DIR		   *dir = opendir(directory);
	struct dirent *entry;
	uint64		first = 0;

	pfree(directory);
	while (dir && (entry = readdir(dir)) != NULL)
	{
		char	   *end;
		uint64		xid = strtou64(entry->d_name, &end, 10);

		if (entry->d_name[0] != '.' && *end == '\0' && (first == 0 || xid < first) &&
			!sweep_xid_may_run(xid))
			first = xid;
	}
	if (dir)
		closedir(dir);
	return first;
}

/* Did the transaction commit, for certain? */
static bool
has_committed(uint64 xid)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	bool		committed;

	/* Is it still in the commit log? */
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	committed = xid < next && next - xid < PG_INT32_MAX &&
		!TransactionIdPrecedes((TransactionId) xid, ShmemVariableCache->oldestClogXid) &&
		TransactionIdDidCommit((TransactionId) xid);
	LWLockRelease(XactTruncationLock);
	return committed;
}

/* Send one line's drop, if it is of this server's present life. */
static void
send_drop(const char *line)
{
	char		generation[VT_ID_TEXT];
	char		incarnation[VT_ID_TEXT];
	WireOwner	owner;
	VtId		id;
	const char *reply;
	VtError		err = {0};
	VtStatus	status;

	if (sscanf(line, "%32s " UINT64_FORMAT " %32s %u", generation, &owner.system, incarnation,
			   &owner.database) != 4 ||
		!vt_id_parse(generation, &id) || !vt_id_parse(incarnation, &owner.incarnation))
		return;
	if (owner.system != identity_owner()->system ||
		!vt_id_equal(&owner.incarnation, &identity_owner()->incarnation))
		return;
	status = client_control(cluster_client(),
							psprintf("{\"op\":\"drop_collection\",\"session\":\"%s\",\"generation\":\"%s\",\"owner\":{"
									 "\"system\":\"" UINT64_FORMAT "\",\"incarnation\":\"%s\",\"database\":%u}}",
									 identity_session_text(), generation, owner.system, incarnation,
									 owner.database),
							cluster_deadline(vectron_write_timeout), &reply, &err);
	if (!cluster_refused(status))
		cluster_check(status, &err, "could not drop a generation", NULL);
}

static void
send_file(const char *path, uint64 xid)
{
	char		text[65536];
	char	   *rest = text;
	char	   *line;
	int			fd;
	ssize_t		n;

	if (has_committed(xid))
	{
		/* What does not fit is found by the sweeps. */
		fd = OpenTransientFile(path, O_RDONLY);
		n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
		if (fd >= 0)
			CloseTransientFile(fd);
		text[n > 0 ? n : 0] = '\0';
		while ((line = strsep(&rest, "\n")) != NULL)
			send_drop(line);
	}
	durable_unlink(path, LOG);
}

/*
 * Send what committed transactions have dropped, forget what was rolled back,
 * and leave what is not decided yet.
 */
void
drops_send(void)
{
	char	   *directory = drops_directory();
	DIR		   *dir = AllocateDir(directory);
	struct dirent *entry;
	List	   *names = NIL;
	ListCell   *lc;

	if (dir == NULL)
		return;
	while ((entry = ReadDirExtended(dir, directory, LOG)) != NULL)
		if (entry->d_name[0] != '.')
			names = lappend(names, pstrdup(entry->d_name));
	FreeDir(dir);
	foreach(lc, names)
	{
		char	   *name = (char *) lfirst(lc);
		char	   *end;
		uint64		xid = strtou64(name, &end, 10);

		CHECK_FOR_INTERRUPTS();
		if (*end == '\0' && !sweep_xid_may_run(xid))
			send_file(psprintf("%s/%s", directory, name), xid);
	}
}
