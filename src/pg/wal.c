/*-------------------------------------------------------------------------
 *
 * wal.c
 *	  What must be on disk here before the cluster hears of it (law W3).
 *
 * An entry whose heap tuple is lost in a crash would never be found dead and
 * would later name another row; a deleted entry whose row comes back after a
 * crash would be missing.  So WAL is flushed first, either up to the heap
 * tuples of one's own (a put) or up to now (a build, a delete).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogdefs.h"

#include "base/breaks.h"

#include "index.h"

/*
 * The end of everything inserted into WAL so far.  The insert position may
 * stand right behind a page header that is not written yet, and XLogFlush
 * refuses such a target: step back to the end of the page before.
 */
static XLogRecPtr
wal_insert_end(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();
	uint32		in_segment = XLogSegmentOffset(lsn, wal_segment_size);

	if (in_segment == SizeOfXLogLongPHD)
		lsn -= SizeOfXLogLongPHD;
	else if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		lsn -= SizeOfXLogShortPHD;
	return lsn;
}

/* Flush up to now; returns the position, for the record of the write. */
XLogRecPtr
wal_flush_all(void)
{
	XLogRecPtr	lsn = wal_insert_end();

	XLogFlush(lsn);
	return lsn;
}

/* Flush WAL of our own insertions; 0 = not known, so everything. */
void
wal_flush_own(XLogRecPtr lsn)
{
	if (vt_broken("W3-put"))
		return;
	if (XLogRecPtrIsInvalid(lsn))
		wal_flush_all();
	else
		XLogFlush(lsn);
}
