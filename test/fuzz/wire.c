/*-------------------------------------------------------------------------
 *
 * wire.c
 *	  Fuzzer of every decoder of src/wire.
 *
 * The first byte of the input chooses the message.  What a decoder accepts must
 * be written again byte for byte; see wire_messages.h.
 *
 * `make fuzz` builds and runs it.  With -DFUZZ_SAMPLES it is a program that
 * writes a first corpus, one file for each message, into the folder it is given;
 * with -DFUZZ_REPLAY one that runs the inputs it is given, for a compiler without
 * a fuzzer.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>

#include "inputs.h"
#include "wire_messages.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Buf			out = {0};
	Bytes		in;

	if (size < 1)
		return 0;
	in = bytes_of(data + 1, size - 1);
	if (wire_messages[data[0] % WIRE_MESSAGES].recode(in, &out) == VT_OK &&
		!bytes_equal(in, buf_bytes(&out)))
		abort();
	buf_free(&out);
	return 0;
}

#if defined(FUZZ_SAMPLES)
int
main(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < WIRE_MESSAGES; i++)
	{
		Buf			out = {0};
		uint8_t		choice = (uint8_t) i;

		wire_messages[i].sample(&out);
		if (!write_input(argv[1], wire_messages[i].name, &choice, 1, out.data, out.len))
			return 1;
		buf_free(&out);
	}
	return argc != 2;
}
#endif
