/*-------------------------------------------------------------------------
 *
 * hnsw_layout.c
 *	  The file of a graph lies as docs/disk.md says: whoever maps it finds the
 *	  links where they lie, aligned and with their checksums.
 *
 * Read here with offsets from the documentation, not with those of file.h.
 *
 *-------------------------------------------------------------------------
 */
#include "hnsw_given.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "hnsw/graph.h"
#include "scratch.h"

#define SLOTS 20000				/* of more than one block */
#define M 4

static bool
note(void *arg, uint32_t slot, Buf *out)
{
	(void) arg;
	buf_put_zeros(out, slot % 9);
	return true;
}

static Hnsw *
given(void)
{
	HnswOptions options = {.dim = 2, .metric = VEC_L2, .m = M, .ef_construction = 8, .seed = 7};
	Prng		prng = {3};
	Hnsw	   *h;
	VtError		err;

	assert_int_equal(hnsw_create(&options, &h, &err), VT_OK);
	for (uint32_t i = 0; i < SLOTS; i++)
	{
		float		row[2] = {(float) prng_double(&prng), (float) prng_double(&prng)};

		add(h, 1000 + i, row);
		hnsw_link_next(h);
	}
	return h;
}

static const uint8_t *
map(const char *path, size_t *size)
{
	int			fd = open(path, O_RDONLY);
	struct stat st;
	void	   *at;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	*size = (size_t) st.st_size;
	at = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_true(at != MAP_FAILED);
	close(fd);
	return at;
}

/* What a block says of its slots is what the graph has, read in place. */
static void
assert_block(const Hnsw *h, const uint8_t *block, uint32_t first, uint32_t n)
{
	const uint32_t *ground = (const uint32_t *) (const void *) (block + 16 * (size_t) n);
	const uint32_t *upper = ground + 2 * M * (size_t) n;

	assert_int_equal((uintptr_t) ground % 16, 0);
	for (uint32_t i = 0; i < n; i++)
	{
		const Meta *meta = graph_meta(h, first + i);
		uint32_t	level = atomic_load(&meta->level);

		assert_int_equal(get_le64(block + 16 * (size_t) i), meta->label);
		assert_int_equal(block[16 * (size_t) i + 12], 1);
		assert_int_equal(block[16 * (size_t) i + 13], level);
		assert_memory_equal(ground + 2 * M * (size_t) i, graph_ground(h, first + i), sizeof(uint32_t) * 2 * M);
		if (level > 0)
			assert_memory_equal(upper, atomic_load(&meta->upper), sizeof(uint32_t) * M * level);
		upper += M * level;
	}
}

static void
is_mapped_as_documented(void **state)
{
	Hnsw	   *h = given();
	HnswSave	how = {.path = scratch_path("graph"), .tag = bytes_str("mine"), .note = note};
	VtError		err = {0};
	const uint8_t *file;
	const uint8_t *table;
	size_t		size;
	uint32_t	per_block;
	uint32_t	blocks;
	uint64_t	end;

	(void) state;
	assert_int_equal(hnsw_save(h, &how, &err), VT_OK);
	file = map(how.path, &size);
	assert_memory_equal(file, "VTGRAPH", 8);
	assert_int_equal(get_le64(file + 16), size);
	assert_int_equal(get_le32(file + 44), SLOTS);
	assert_true(get_le64(file + 504) == hash_checksum(bytes_of(file, 504)));
	per_block = get_le32(file + 48);
	blocks = get_le32(file + 52);
	assert_true(blocks > 1);
	assert_int_equal(blocks, (SLOTS + per_block - 1) / per_block);
	table = file + 512;
	assert_true(get_le64(table + 24 * (size_t) blocks) == hash_checksum(bytes_of(table, 24 * (size_t) blocks)));
	end = 512 + 24 * (uint64_t) blocks + 8;
	for (uint32_t b = 0; b < blocks; b++)
	{
		uint64_t	at = get_le64(table + 24 * (size_t) b);
		uint64_t	length = get_le64(table + 24 * (size_t) b + 8);
		uint32_t	left = SLOTS - b * per_block;

		assert_int_equal(at, (end + 63) / 64 * 64);
		for (; end < at; end++)
			assert_int_equal(file[end], 0);
		assert_true(at + length <= size);
		assert_true(get_le64(table + 24 * (size_t) b + 16) == hash_checksum(bytes_of(file + at, length)));
		assert_block(h, file + at, b * per_block, left < per_block ? left : per_block);
		end = at + length;
	}
	assert_int_equal(size, (end + 63) / 64 * 64);
	munmap((void *) (uintptr_t) file, size);
	hnsw_destroy(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_mapped_as_documented),
	};

	return cmocka_run_group_tests_name("hnsw_layout", tests, scratch_make, scratch_remove);
}
