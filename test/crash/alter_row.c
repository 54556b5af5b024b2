/*-------------------------------------------------------------------------
 *
 * alter_row.c
 *	  alter_row DIRECTORY: another vector in the first row of a shard's store,
 *	  under a checksum that fits.  What a broken memory or a bug would do, and
 *	  nothing finds but a comparison of replicas (test/t/027_verify.pl).
 *
 * The worker whose store it is must not run.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "store/store.h"

static VtStatus
alter(Store *rows, VtError *err)
{
	StoreIter  *iter = store_iter_open(rows, bytes_of("v", 1), bytes_of("w", 1));
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};
	Buf			vector = {0};
	StoreRow	row;
	Bytes		key;
	Bytes		there;
	VtStatus	status = store_iter_next(iter, &key, &there) ? row_get(there, &row, err) :
		vt_fail(err, VT_NOT_FOUND, "there is no row");

	if (status == VT_OK)
	{
		buf_put(&vector, row.vector, (size_t) row.dim * (row.element == ROW_FLOAT16 ? 2 : 4));
		vector.data[1] ^= 1;
		row.vector = vector.data;
		row_put(&value, &row);
		store_batch_put(batch, key, buf_bytes(&value));
		status = store_write(rows, batch, true, err);
	}
	store_iter_close(iter);
	store_batch_free(batch);
	buf_free(&value);
	buf_free(&vector);
	return status;
}

int
main(int argc, char **argv)
{
	StoreOptions options = {.write_buffer = 1 << 20, .must_exist = true, .replayed = true};
	VtError		err = {0};
	Store	   *rows;

	if (argc != 2 || store_open(argv[1], &options, &rows, &err) != VT_OK)
	{
		fprintf(stderr, "alter_row: %s\n", argc == 2 ? vt_error_words(&err) : "one directory");
		return 1;
	}
	if (alter(rows, &err) != VT_OK)
	{
		fprintf(stderr, "alter_row: %s\n", vt_error_words(&err));
		return 1;
	}
	store_close(rows);
	return 0;
}
