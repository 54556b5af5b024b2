/*-------------------------------------------------------------------------
 *
 * store_crc.c
 *	  Checksums: the values of the standard, and LevelDB computes the same ones with ours.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <string.h>

#include "base/prng.h"
#include "store/crc.h"

#define POLYNOMIAL 0x82f63b78u	/* bits reversed */
#define MOST 5000

/* As LevelDB calls it. */
extern uint32_t as_leveldb(uint32_t crc, const char *bytes, size_t n) __asm__("_ZN7leveldb6crc32c6ExtendEjPKcm");

/* A bit at a time, as the polynomial says. */
static uint32_t
by_bits(uint32_t crc, const uint8_t *bytes, size_t n)
{
	crc = ~crc;
	for (size_t i = 0; i < n; i++)
	{
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
	}
	return ~crc;
}

/* RFC 3720, B.4. */
static void
values_of_the_standard(void **state)
{
	uint8_t		bytes[32];

	(void) state;
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(crc32c_extend(0, bytes, sizeof(bytes)), 0x8a9136aau);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(crc32c_extend(0, bytes, sizeof(bytes)), 0x62a8ab43u);
	for (uint8_t i = 0; i < 32; i++)
		bytes[i] = i;
	assert_int_equal(crc32c_extend(0, bytes, sizeof(bytes)), 0x46dd794eu);
	assert_int_equal(crc32c_extend(7, bytes, 0), 7);
}

/* Of any length, at any address, in any parts. */
static void
parts_are_the_whole(void **state)
{
	static uint8_t bytes[MOST];
	Prng		prng = {3};

	(void) state;
	for (size_t i = 0; i < MOST; i++)
		bytes[i] = (uint8_t) prng_next(&prng);
	for (int i = 0; i < 2000; i++)
	{
		size_t		from = prng_below(&prng, 64);
		size_t		n = prng_below(&prng, i % 8 == 0 ? MOST - 64 : 300);
		size_t		cut = prng_below(&prng, (uint32_t) n + 1);
		uint32_t	begin = (uint32_t) prng_next(&prng);
		uint32_t	crc = crc32c_extend(begin, bytes + from, cut);

		crc = as_leveldb(crc, (const char *) bytes + from + cut, n - cut);
		assert_int_equal(crc, by_bits(begin, bytes + from, n));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_of_the_standard),
		cmocka_unit_test(parts_are_the_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
