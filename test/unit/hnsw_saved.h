/*-------------------------------------------------------------------------
 *
 * hnsw_saved.h
 *	  What the tests of a graph's file share: graphs, and their way into a file and back.
 *
 * The note of a slot is its label, and the label says which row its vector is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HNSW_SAVED_H
#define HNSW_SAVED_H

#include "hnsw_given.h"

#include <sys/stat.h>

#include "scratch.h"

#define N 2000					/* rows, at most */
#define FEW 40

static inline bool
note(void *arg, uint32_t slot, Buf *out)
{
	buf_put_u64(out, hnsw_label((const Hnsw *) arg, slot));
	return true;
}

static inline VtStatus
save(Hnsw *h, const char *path)
{
	HnswSave	how = {.path = path, .tag = bytes_str("mine"), .note = note, .arg = h};
	VtError		err = {0};

	return hnsw_save(h, &how, &err);
}

/* What a file tells of. */
typedef struct Told
{
	uint32_t	slots[2 * N];
	uint64_t	labels[2 * N];
	uint32_t	n;
} Told;

static inline bool
tell(void *arg, uint32_t slot, uint64_t label, Bytes text)
{
	Told	   *told = (Told *) arg;

	if (text.len != 8 || get_le64(text.data) != label || told->n == 2 * N)
		return false;
	told->slots[told->n] = slot;
	told->labels[told->n++] = label;
	return true;
}

static inline HnswOptions
options_of(VecMetric metric, HnswCodes codes, uint32_t m)
{
	HnswOptions options = {
		.dim = DIM, .metric = metric, .m = m, .ef_construction = 100, .codes = codes, .seed = 7,
		.element = VEC_FLOAT32
	};

	return options;
}

static inline VtStatus
load(const char *path, const HnswOptions *options, Told *told, Hnsw **h)
{
	HnswLoad	how = {.path = path, .tag = bytes_str("mine"), .each = tell, .arg = told};
	VtError		err = {0};

	told->n = 0;
	return hnsw_load(options, &how, h, &err);
}

/* All come back but those that are gone. */
static inline void
restore(Hnsw *h, const Told *told, const float *rows, const uint8_t *gone)
{
	for (uint32_t i = 0; i < told->n; i++)
		if (!gone || !gone[told->labels[i]])
			hnsw_restore(h, told->slots[i], rows + told->labels[i] * DIM);
	hnsw_loaded(h);
}

/* Numbers that are halves as well; every tenth row is one that was there before: twins. */
static inline float *
rows_with_twins(uint32_t n)
{
	float	   *rows = clustered(1, n);

	round_to_halves(rows, n);
	for (uint32_t i = 10; i < n; i += 10)
		memcpy(rows + (size_t) i * DIM, rows + (size_t) (i % 70) * DIM, DIM * sizeof(float));
	return rows;
}

static inline Hnsw *
built(const HnswOptions *options, const float *rows, uint32_t n)
{
	Hnsw	   *h;
	VtError		err;

	assert_int_equal(hnsw_create(options, &h, &err), VT_OK);
	link_rows(h, rows, n);
	return h;
}

static inline void
assert_same_answers(Hnsw *a, Hnsw *b, uint32_t queries)
{
	float	   *query = clustered(1234, queries);

	for (uint32_t q = 0; q < queries; q++)
	{
		HnswHit		x[50];
		HnswHit		y[50];
		uint32_t	n = search(a, query + q * DIM, 1 + q % 50, 40, x);

		assert_int_equal(search(b, query + q * DIM, 1 + q % 50, 40, y), n);
		assert_memory_equal(x, y, n * sizeof(HnswHit));
	}
	free(query);
}

static inline HnswOptions
kind(size_t k)
{
	HnswOptions options = options_of(graph_kinds[k].metric, graph_kinds[k].codes, 16);

	options.element = graph_kinds[k].element;
	return options;
}

static inline uint8_t *
read_file(const char *path, size_t *size)
{
	FILE	   *file = fopen(path, "rb");
	uint8_t    *data;
	struct stat st;

	assert_non_null(file);
	assert_int_equal(fstat(fileno(file), &st), 0);
	*size = (size_t) st.st_size;
	data = malloc(*size + 1);
	assert_non_null(data);
	assert_int_equal(fread(data, 1, *size, file), *size);
	fclose(file);
	return data;
}

static inline void
write_file(const char *path, const uint8_t *data, size_t size)
{
	FILE	   *file = fopen(path, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	fclose(file);
}

#endif							/* HNSW_SAVED_H */
