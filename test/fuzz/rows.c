/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  Fuzzer of what is believed of a record on disk.
 *
 * An input is a row without its checksum, which is made here: it keeps out what a disk
 * has damaged, and not what somebody else has written.  What is taken for a row must be
 * written again byte for byte, but for the two bytes that are reserved.
 *
 * `make fuzz` builds and runs it, as test/fuzz/wire.c.
 *
 * Sources: store/rows.c
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "inputs.h"
#include "row_samples.h"

#define RESERVED_AT 2

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Buf			in = {0};
	Buf			out = {0};
	StoreRow	row;

	buf_put(&in, data, size);
	if (size >= RESERVED_AT + 2)
		put_le16(in.data + RESERVED_AT, 0);
	buf_put_u64(&in, hash_checksum(buf_bytes(&in)));
	if (row_get(buf_bytes(&in), &row, NULL) == VT_OK)
	{
		row_put(&out, &row);
		if (!bytes_equal(buf_bytes(&in), buf_bytes(&out)))
			abort();
	}
	buf_free(&in);
	buf_free(&out);
	return 0;
}

#if defined(FUZZ_SAMPLES)
int
main(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < ROW_SAMPLES; i++)
	{
		Buf			out = {0};

		row_sample_put(&row_samples[i], &out);
		if (!write_input(argv[1], row_samples[i].name, "", 0, out.data, out.len - 8))
			return 1;
		buf_free(&out);
	}
	return argc != 2;
}
#endif
