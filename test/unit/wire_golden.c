/*-------------------------------------------------------------------------
 *
 * wire_golden.c
 *	  The exact bytes of every message, as kept in test/golden.
 *
 * A format that has been released is read for ever, so these files change only
 * together with a version.  `wire_golden --write` writes them; run it from the
 * top of the tree, look at the difference, and say in the commit how old meets
 * new.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../fuzz/wire_messages.h"
#include "golden.h"

static void
path_of(const WireMessage *m, char *out, size_t size)
{
	snprintf(out, size, "test/golden/wire_%s.hex", m->name);
}

static int
write_all(void)
{
	for (size_t i = 0; i < WIRE_MESSAGES; i++)
	{
		Buf			bytes = {0};
		char		path[128];
		char		about[128];

		path_of(&wire_messages[i], path, sizeof(path));
		wire_messages[i].sample(&bytes);
		snprintf(about, sizeof(about), "%s, %zu bytes; the fields are those of docs/wire.md", wire_messages[i].name,
				 bytes.len);
		if (!write_hex(path, about, buf_bytes(&bytes)))
			return 1;
		buf_free(&bytes);
	}
	return 0;
}

static void
messages_are_written_as_ever(void **state)
{
	(void) state;
	for (size_t i = 0; i < WIRE_MESSAGES; i++)
	{
		char		path[128];
		Buf			golden;
		Buf			now = {0};

		path_of(&wire_messages[i], path, sizeof(path));
		golden = read_hex(path);
		wire_messages[i].sample(&now);
		if (!bytes_equal(buf_bytes(&golden), buf_bytes(&now)))
			fail_msg("%s is written otherwise than in %s", wire_messages[i].name, path);
		buf_free(&golden);
		buf_free(&now);
	}
}

static void
messages_are_read_as_ever(void **state)
{
	(void) state;
	for (size_t i = 0; i < WIRE_MESSAGES; i++)
	{
		char		path[128];
		Buf			golden;
		Buf			again = {0};

		path_of(&wire_messages[i], path, sizeof(path));
		golden = read_hex(path);
		assert_int_equal(wire_messages[i].recode(buf_bytes(&golden), &again), VT_OK);
		assert_true(bytes_equal(buf_bytes(&golden), buf_bytes(&again)));
		buf_free(&golden);
		buf_free(&again);
	}
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_written_as_ever),
		cmocka_unit_test(messages_are_read_as_ever),
	};

	if (argc == 2 && strcmp(argv[1], "--write") == 0)
		return write_all();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
