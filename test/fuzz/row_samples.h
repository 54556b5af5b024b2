/*-------------------------------------------------------------------------
 *
 * row_samples.h
 *	  One record on disk of each kind; for the golden bytes and the fuzzer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROW_SAMPLES_H
#define ROW_SAMPLES_H

#include "store/store.h"

/* 1, -2 and 0.5; as float16; nineteen bits. */
static const uint8_t row_floats[] = {0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0, 0, 0, 0, 0x3F};
static const uint8_t row_halves[] = {0x00, 0x3C, 0x00, 0xC0, 0x00, 0x38};
static const uint8_t row_bits[] = {0xA5, 0x0F, 0xE0};

typedef struct RowSample
{
	const char *name;
	const char *attributes;
	const char *metadata;
	uint32_t	dim;
	uint8_t		element;
	const uint8_t *vector;
	size_t		vector_bytes;
} RowSample;

static const RowSample row_samples[] = {
	{"row", "", "", 3, ROW_FLOAT32, row_floats, sizeof(row_floats)},
	{"row_all", "attributes", "{\"a\": 1}", 3, ROW_FLOAT32, row_floats, sizeof(row_floats)},
	{"row_halves", "", "", 3, ROW_FLOAT16, row_halves, sizeof(row_halves)},
	{"row_bits", "", "{}", 19, ROW_BIT, row_bits, sizeof(row_bits)},
	{"row_no_vectors", "", "{\"a\": 1}", 0, ROW_FLOAT32, NULL, 0},
	{"row_nothing", "", "", 0, ROW_FLOAT32, NULL, 0},
};

#define ROW_SAMPLES (sizeof(row_samples) / sizeof(row_samples[0]))

static inline StoreRow
row_of_sample(const RowSample *sample)
{
	return (StoreRow) {.timeline = 2, .index = 77, .fence = 9, .lsn = 0x0000000116B374D8, .attributes = bytes_str(sample->attributes),
		.metadata = bytes_str(sample->metadata), .dim = sample->dim, .element = sample->element, .vector = sample->vector};
}

static inline void
row_sample_put(const RowSample *sample, Buf *out)
{
	StoreRow	row = row_of_sample(sample);

	row_put(out, &row);
}

#endif							/* ROW_SAMPLES_H */
