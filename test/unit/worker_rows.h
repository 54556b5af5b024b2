/*-------------------------------------------------------------------------
 *
 * worker_rows.h
 *	  Records for tests: vectors and ids by number, put with attributes or without.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_ROWS_H
#define WORKER_ROWS_H

#include "../../src/worker/records.h"
#include "base/prng.h"
#include "wire/wire.h"

#define DIM 4

static inline void
vector_of(uint32_t n, uint8_t out[DIM * 4])
{
	Prng		prng = {n};

	for (int i = 0; i < DIM; i++)
	{
		float		x = (float) prng_double(&prng);
		uint32_t	bits;

		memcpy(&bits, &x, sizeof(bits));
		put_le32(out + 4 * i, bits);
	}
}

static inline Bytes
id_of(uint32_t n, uint8_t out[WIRE_TID_SIZE])
{
	wire_tid_put(out, n, 1);
	return bytes_of(out, WIRE_TID_SIZE);
}

/* attributes: of a collection with some; NULL: of one without */
static inline void
put(Records *records, uint32_t n, uint64_t version, uint32_t vector, const WireAttributes *attributes)
{
	uint8_t		id[WIRE_TID_SIZE];
	uint8_t		v[DIM * 4];
	Buf			encoded = {0};
	VtError		err = {0};

	vector_of(vector, v);
	if (attributes)
		wire_attributes_put(&encoded, attributes);
	assert_int_equal(records_put(records, id_of(n, id), version, v, buf_bytes(&encoded), &err), VT_OK);
	buf_free(&encoded);
}

static inline Records *
make_records(VecMetric metric, uint32_t attributes)
{
	RecordsOptions options = {.metric = metric, .dim = DIM, .m = 8, .ef_construction = 40, .attributes = attributes};
	Records    *records;
	VtError		err = {0};

	assert_int_equal(records_new(&options, &records, &err), VT_OK);
	return records;
}

#endif							/* WORKER_ROWS_H */
