/*-------------------------------------------------------------------------
 *
 * inputs.h
 *	  What the fuzzers share: writing a first corpus (-DFUZZ_SAMPLES), and running
 *	  the inputs it is given where a compiler has no fuzzer (-DFUZZ_REPLAY).
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_INPUTS_H
#define FUZZ_INPUTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define INPUT_MAX (1u << 20)

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#if defined(FUZZ_SAMPLES)
/* The bytes in front and those behind them become an input of this name; false: they could not be written. */
static inline bool
write_input(const char *folder, const char *name, const void *front, size_t nfront, const void *data, size_t n)
{
	char		path[4096];
	FILE	   *file;
	bool		ok;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "wb");
	if (!file)
		return false;
	ok = fwrite(front, 1, nfront, file) == nfront && fwrite(data, 1, n, file) == n;
	return fclose(file) == 0 && ok;
}

/* What lies in the folder under this name is put behind the bytes in front. */
static inline bool
put_in_front(const char *folder, const char *name, const void *front, size_t nfront)
{
	static uint8_t data[INPUT_MAX];
	char		path[4096];
	FILE	   *file;
	size_t		n;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	if (!file)
		return false;
	n = fread(data, 1, sizeof(data), file);
	fclose(file);
	return write_input(folder, name, front, nfront, data, n);
}
#elif defined(FUZZ_REPLAY)
int
main(int argc, char **argv)
{
	static uint8_t input[INPUT_MAX];

	for (int i = 1; i < argc; i++)
	{
		FILE	   *file = fopen(argv[i], "rb");

		if (!file)
			return 1;
		LLVMFuzzerTestOneInput(input, fread(input, 1, sizeof(input), file));
		fclose(file);
	}
	return 0;
}
#endif

#endif							/* FUZZ_INPUTS_H */
