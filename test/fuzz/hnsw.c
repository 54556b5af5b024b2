/*-------------------------------------------------------------------------
 *
 * hnsw.c
 *	  Fuzzer of the loader of graphs.
 *
 * The first byte of an input says what graph is asked for, whether lengths and
 * checksums are made right before (else hardly an input would get past them), and
 * who of those the file tells of is restored.  The rest is the file.  Whatever is
 * in it, it is refused or gives a sound graph that finds what was restored, grows,
 * and can be mended.
 *
 * `make fuzz` builds and runs it.  With -DFUZZ_SAMPLES it is a program that writes
 * a first corpus into the folder it is given; with -DFUZZ_REPLAY one that runs the
 * inputs it is given, for a compiler without a fuzzer.
 *
 * Links also: vec
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hnsw/hnsw.h"
#include "hnsw_seal.h"
#include "inputs.h"

#define SEAL 0x80
#define CODES 0x40
#define HALVES 0x20
#define BITS 0x10				/* and none of the two before */
#define DIM 8
#define FEW 60
#define MOST 4096

static HnswOptions
options_of(uint8_t kind)
{
	HnswOptions options = {
		.dim = DIM, .metric = VEC_L2, .m = 3, .ef_construction = 20, .max_slots = MOST,
		.codes = kind & CODES ? HNSW_CODES_INT8 : HNSW_CODES_NONE,
		.element = kind & HALVES ? VEC_FLOAT16 : VEC_FLOAT32
	};

	if (kind & BITS)
	{
		options.element = VEC_BIT;
		options.metric = VEC_HAMMING;
		options.codes = HNSW_CODES_NONE;
	}
	return options;
}

/* Floats, of which all bytes tell; a graph of bits takes the first byte for a string of eight. */
static void
vector_of(uint64_t label, float out[DIM])
{
	for (uint32_t i = 0; i < DIM; i++)
		out[i] = (float) ((label % 50 + 1) * (i + 3) % 17) / 3;
}

typedef struct Told
{
	uint32_t	slots[MOST];
	uint64_t	labels[MOST];
	uint32_t	n;
} Told;

static bool
tell(void *arg, uint32_t slot, uint64_t label, Bytes note)
{
	Told	   *told = (Told *) arg;

	/* Slots come once, in order. */
	if (told->n == MOST || (told->n > 0 && told->slots[told->n - 1] >= slot))
		abort();
	told->slots[told->n] = slot;
	told->labels[told->n++] = label;
	return note.len < 100;
}

static void
demand_sound(Hnsw *h)
{
	HnswReport	report;

	if (hnsw_check(h, &report))
		return;
	fprintf(stderr, "%s\n", report.first);
	abort();
}

static void
use(Hnsw *h, uint32_t live)
{
	float		query[DIM];
	HnswHit		hits[MOST];
	HnswSearch	search = {.query = query, .k = MOST, .ef = MOST};

	vector_of(5, query);
	demand_sound(h);
	if (hnsw_search(h, &search, hits) != live)
		abort();
	for (uint32_t i = 0; i < 5; i++)
	{
		uint32_t	slot;

		vector_of(i, query);
		if (hnsw_reserve(h, &slot, NULL) == VT_OK)
			hnsw_add(h, slot, i, query);
	}
	while (hnsw_link_next(h))
		;
	for (int i = 0; i < 10000 && hnsw_repair(h, 100, true); i++)
		;
	demand_sound(h);
	hnsw_destroy(h);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Told told;
	static int	fd = -1;
	static char path[64];
	uint8_t    *file;
	HnswOptions options;
	HnswLoad	load = {.path = path, .tag = bytes_str("mine"), .each = tell, .arg = &told};
	Hnsw	   *h;
	uint32_t	live = 0;

	if (size < 1)
		return 0;
	if (fd < 0)
	{
		fd = memfd_create("graph", 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	file = malloc(size);
	if (fd < 0 || !file)
		abort();
	memcpy(file, data + 1, size - 1);
	if (data[0] & SEAL)
		seal(file, size - 1);
	if (ftruncate(fd, 0) < 0 || pwrite(fd, file, size - 1, 0) != (ssize_t) (size - 1))
		abort();
	free(file);
	told.n = 0;
	options = options_of(data[0]);
	if (hnsw_load(&options, &load, &h, NULL) != VT_OK)
		return 0;
	for (uint32_t i = 0; i < told.n; i++)
		if ((told.labels[i] + data[0]) % 4 != 0)
		{
			float		vector[DIM];

			vector_of(told.labels[i], vector);
			hnsw_restore(h, told.slots[i], vector);
			live++;
		}
	hnsw_loaded(h);
	use(h, live);
	return 0;
}

#if defined(FUZZ_SAMPLES)
static bool
note(void *arg, uint32_t slot, Buf *out)
{
	buf_put_u32(out, slot);
	return hnsw_live((const Hnsw *) arg, slot);
}

/* A graph with twins and dead ones, as a file behind its first byte. */
static int
write_sample(const char *folder, uint8_t kind)
{
	HnswOptions options = options_of(kind);
	char		path[4096];
	HnswSave	save = {.path = path, .tag = bytes_str("mine"), .note = note};
	char		name[32];
	Hnsw	   *h;
	bool		ok;

	if (hnsw_create(&options, &h, NULL) != VT_OK)
		return 1;
	for (uint32_t i = 0; i < FEW; i++)
	{
		float		vector[DIM];
		uint32_t	slot;

		vector_of(i, vector);
		if (hnsw_reserve(h, &slot, NULL) != VT_OK)
			return 1;
		hnsw_add(h, slot, i, vector);
	}
	while (hnsw_link_next(h))
		;
	for (uint32_t slot = 0; slot < FEW; slot += 9)
		hnsw_delete(h, slot);
	save.arg = h;
	snprintf(name, sizeof(name), "graph-%02x", kind);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	ok = hnsw_save(h, &save, NULL) == VT_OK;
	hnsw_destroy(h);
	return !(ok && put_in_front(folder, name, &kind, 1));
}

int
main(int argc, char **argv)
{
	return argc != 2 || write_sample(argv[1], SEAL) || write_sample(argv[1], SEAL | CODES) ||
		write_sample(argv[1], SEAL | HALVES) || write_sample(argv[1], SEAL | CODES | HALVES) ||
		write_sample(argv[1], SEAL | BITS) || write_sample(argv[1], 3);
}
#endif
