/*-------------------------------------------------------------------------
 *
 * records.c
 *	  Fuzzer of what a shard believes of a graph's file that comes from a peer.
 *
 * The first byte of an input says what graph is asked for and whether lengths and
 * checksums are made right before, the second which rows there are.  The rest is
 * the file, with an id and a version beside each slot.  Whatever is in it, it is
 * refused, or the records are those rows afterwards: each once, in its version and with
 * its vector, and nothing else; and they go on as records do.
 *
 * `make fuzz` builds and runs it, as test/fuzz/hnsw.c.
 *
 * Links also: vec hnsw wire
 * Sources: worker/records.c worker/records_file.c worker/columns.c worker/filters.c worker/predicate.c worker/predicate_avx2.c worker/tune.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/worker/records.h"
#include "hnsw_seal.h"
#include "inputs.h"

#define SEAL 0x80
#define CODES 0x40
#define HALVES 0x20
#define DIM 8
#define ROWS 40
#define ID_MOST 30

static RecordsOptions
options_of(uint8_t kind)
{
	RecordsOptions options = {
		.dim = DIM, .metric = VEC_L2, .m = 3, .ef_construction = 20,
		.codes = kind & CODES ? HNSW_CODES_INT8 : HNSW_CODES_NONE,
		.element = kind & HALVES ? VEC_FLOAT16 : VEC_FLOAT32
	};

	return options;
}

/* Ids that lie in the head of a record, and longer ones; some begin alike. */
static Bytes
id_of(uint32_t row, uint8_t out[ID_MOST])
{
	size_t		len = row % 3 == 0 ? 6 : row % 3 == 1 ? 9 + row / 3 : ID_MOST;

	memset(out, row % 2 ? 'a' : 'b', ID_MOST);
	out[len - 1] = (uint8_t) row;
	return bytes_of(out, len);
}

static uint64_t
version_of(uint32_t row)
{
	return 100 + row * 7;
}

static void
numbers_of(uint32_t row, float out[DIM])
{
	for (uint32_t i = 0; i < DIM; i++)
		out[i] = (float) ((row % 30 + 1) * (i + 3) % 17);
}

/* As a row holds it. */
static const uint8_t *
vector_of(uint32_t row, uint8_t kind, uint8_t out[DIM * 4])
{
	float		numbers[DIM];

	numbers_of(row, numbers);
	if (kind & HALVES)
		(void) vec_to_half((VecHalf *) (void *) out, numbers, DIM);
	else
		memcpy(out, numbers, sizeof(numbers));
	return out;
}

static void
demand(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

static void
put(Records *records, uint8_t kind, uint32_t row, uint64_t version)
{
	uint8_t		id[ID_MOST];
	_Alignas(8) uint8_t vector[DIM * 4];

	demand(records_put(records, id_of(row, id), version, vector_of(row, kind, vector), (Bytes) {0}, NULL) == VT_OK, "put");
}

static bool
is_there(uint8_t choice, uint32_t row)
{
	return (row + choice) % 4 != 0;
}

/* The records are these rows, in these versions later by `newer`. */
static void
demand_rows(Records *records, uint8_t choice, uint64_t newer)
{
	uint32_t	n = 0;
	uint32_t	entered = records_enter(records);
	float		query[DIM];
	HnswHit		hits[4 * ROWS];
	HnswSearch	search = {.query = query, .k = 4 * ROWS, .ef = 4 * ROWS};
	HnswReport	report;

	for (uint32_t row = 0; row < ROWS; row++)
	{
		uint8_t		id[ID_MOST];
		float		want[DIM];
		float		got[DIM];
		uint32_t	slot;
		uint64_t	version;
		bool		found = records_find(records, id_of(row, id), &slot, &version);

		demand(found == is_there(choice, row), "a row that is not there, or one that was not found");
		demand((records_version(records, id_of(row, id)) != 0) == found, "the map and the heads differ");
		if (!found)
			continue;
		n++;
		demand(version == version_of(row) + newer, "another version");
		demand(bytes_compare(records_slot_id(records, slot), id_of(row, id)) == 0, "another id");
		numbers_of(row, want);
		hnsw_read_vector(records_graph(records), slot, got);
		demand(memcmp(want, got, sizeof(want)) == 0, "another vector");
	}
	demand(records_count(records) == n, "the count is wrong");
	numbers_of(5, query);
	demand(hnsw_search(records_graph(records), &search, hits) == n, "a search finds more or less");
	for (uint32_t i = 0; i < n; i++)
		demand(records_slot_version(records, hits[i].slot) != 0, "a hit without a version");
	records_leave(records, entered);
	if (!hnsw_check(records_graph(records), &report))
		demand(false, report.first);
}

static void
use(Records *records, uint8_t kind, uint8_t choice)
{
	demand_rows(records, choice, 0);
	for (uint32_t row = 0; row < ROWS; row++)
		if (is_there(choice, row))
			put(records, kind, row, version_of(row) + 1);
	while (hnsw_link_next(records_graph(records)))
		;
	for (int i = 0; i < 10000 && hnsw_repair(records_graph(records), 100, true); i++)
		;
	demand_rows(records, choice, 1);
	for (uint32_t row = 0; row < ROWS; row++)
	{
		uint8_t		id[ID_MOST];

		if (is_there(choice, row))
			records_delete(records, id_of(row, id));
	}
	demand(records_count(records) == 0, "some are left");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int	fd = -1;
	static char path[64];
	RecordsFile file = {.path = path, .tag = bytes_str("mine")};
	RecordsOptions options;
	Records    *records;
	uint8_t    *copy;
	uint8_t		kind;
	uint8_t		choice;

	if (size < 2)
		return 0;
	kind = data[0];
	choice = data[1];
	if (fd < 0)
	{
		fd = memfd_create("graph", 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	copy = malloc(size);
	if (fd < 0 || !copy)
		abort();
	memcpy(copy, data + 2, size - 2);
	if (kind & SEAL)
		seal(copy, size - 2);
	if (ftruncate(fd, 0) < 0 || pwrite(fd, copy, size - 2, 0) != (ssize_t) (size - 2))
		abort();
	free(copy);
	options = options_of(kind);
	if (records_load(&options, &file, &records, NULL) != VT_OK)
		return 0;
	for (uint32_t row = 0; row < ROWS; row++)
	{
		uint8_t		id[ID_MOST];
		_Alignas(8) uint8_t vector[DIM * 4];

		if (is_there(choice, row) &&
			!records_claim(records, id_of(row, id), version_of(row), vector_of(row, kind, vector), (Bytes) {0}))
			put(records, kind, row, version_of(row));
	}
	records_settle(records);
	use(records, kind, choice);
	records_free(records);
	return 0;
}

#if defined(FUZZ_SAMPLES)
/* All rows but some, some in other versions, and what is nobody's, as a file behind its first bytes. */
static int
write_sample(const char *folder, uint8_t kind)
{
	RecordsOptions options = options_of(kind);
	char		path[4096];
	RecordsFile to = {.path = path, .tag = bytes_str("mine")};
	const uint8_t front[2] = {kind, 1};
	char		name[32];
	Records    *records;
	bool		ok;

	if (records_new(&options, &records, NULL) != VT_OK)
		return 1;
	for (uint32_t row = 0; row < ROWS + 5; row++)
		if (row % 11 != 0)
			put(records, kind, row, version_of(row) - (row % 7 == 0));
	while (hnsw_link_next(records_graph(records)))
		;
	for (uint32_t row = 1; row < ROWS; row += 9)
	{
		uint8_t		id[ID_MOST];

		if (row % 11 != 0)
			records_delete(records, id_of(row, id));
	}
	snprintf(name, sizeof(name), "records-%02x", kind);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	ok = records_save(records, &to, NULL) == VT_OK;
	records_free(records);
	return !(ok && put_in_front(folder, name, front, sizeof(front)));
}

int
main(int argc, char **argv)
{
	return argc != 2 || write_sample(argv[1], SEAL) || write_sample(argv[1], SEAL | CODES) ||
		write_sample(argv[1], SEAL | HALVES) || write_sample(argv[1], SEAL | CODES | HALVES) || write_sample(argv[1], 3);
}
#endif
