/*-------------------------------------------------------------------------
 *
 * identity.h
 *	  A worker's data directory that knows already which store it is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_IDENTITY_H
#define TEST_IDENTITY_H

#include <stdio.h>
#include <stdlib.h>

#include "store/store.h"

/* Before it runs. */
static inline void
keep_identity(const char *data, uint64_t store)
{
	StoreOptions options = {0};
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};
	VtId		cluster = {{0}};
	char		path[300];
	Store	   *log;

	buf_put_u64(&value, store);
	buf_put_id(&value, &cluster);
	store_batch_put(batch, bytes_of("M", 1), buf_bytes(&value));
	snprintf(path, sizeof(path), "%s/log", data);
	if (store_open(path, &options, &log, NULL) != VT_OK || store_write(log, batch, true, NULL) != VT_OK)
		abort();
	store_close(log);
	store_batch_free(batch);
	buf_free(&value);
}

#endif							/* TEST_IDENTITY_H */
