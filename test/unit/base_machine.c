/*-------------------------------------------------------------------------
 *
 * base_machine.c
 *	  How much memory a process may use, by folders like those of the kernel.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/machine.h"
#include "scratch.h"

#define MIB (UINT64_C(1) << 20)

/* A file and the folders that it lies in. */
static void
lay(const char *path, const char *text)
{
	char		whole[512];
	FILE	   *file;

	snprintf(whole, sizeof(whole), "%s/%s", scratch, path);
	for (char *slash = whole + strlen(scratch) + 1; (slash = strchr(slash, '/')) != NULL; *slash++ = '/')
	{
		*slash = '\0';
		(void) mkdir(whole, 0700);
	}
	file = fopen(whole, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* A machine of 4 MiB, and what the kernel says of our cgroup; NULL: nothing. */
static void
begin(const char *cgroup)
{
	lay("proc/meminfo", "MemFree:       12 kB\nMemTotal:       4096 kB\n");
	if (cgroup)
		lay("proc/self/cgroup", cgroup);
}

static void
expect(uint64_t bytes, const char *from)
{
	MachineMemory memory = machine_memory(scratch);

	assert_int_equal(memory.bytes, bytes);
	if (from)
		assert_string_equal(memory.from, from);
}

static void
the_machine(void **state)
{
	(void) state;
	expect(0, NULL);
	begin(NULL);
	expect(4 * MIB, "the machine");
	begin("0::/\n");
	expect(4 * MIB, "the machine");
}

static void
cgroups_of_version_2(void **state)
{
	(void) state;
	begin("0::/system.slice/vectron.service\n");
	lay("sys/fs/cgroup/system.slice/vectron.service/memory.max", "max\n");
	lay("sys/fs/cgroup/system.slice/vectron.service/memory.high", "max\n");
	expect(4 * MIB, "the machine");
	lay("sys/fs/cgroup/system.slice/vectron.service/memory.max", "3145728\n");
	expect(3 * MIB, "its cgroup");

	/* One above it may have less, and what is slowed down before it is ended counts. */
	lay("sys/fs/cgroup/system.slice/memory.max", "2097152\n");
	expect(2 * MIB, "its cgroup");
	lay("sys/fs/cgroup/system.slice/vectron.service/memory.high", "1048576\n");
	expect(1 * MIB, "its cgroup");

	/* In a container the name is the host's, and only the root is there. */
	lay("proc/self/cgroup", "0::/docker/0123\n");
	expect(4 * MIB, "the machine");
	lay("sys/fs/cgroup/memory.max", "1572864\n");
	expect(3 * MIB / 2, "its cgroup");
	lay("sys/fs/cgroup/memory.max", "1099511627776\n");
	expect(4 * MIB, "the machine");
}

static void
cgroups_of_version_1(void **state)
{
	(void) state;
	begin("12:cpu,cpuacct:/other\n9:name=systemd:/\n4:hugetlb,memory:/a/b\n0::/\n");
	lay("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
	lay("sys/fs/cgroup/memory/other/memory.limit_in_bytes", "1\n");
	expect(4 * MIB, "the machine");
	lay("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1048576\n");
	expect(1 * MIB, "its cgroup");
	lay("proc/self/cgroup", "4:memory_other:/other\nrubbish\n");
	expect(4 * MIB, "the machine");
}

static void
of_this_process(void **state)
{
	uint64_t	before = machine_resident();
	char	   *much = malloc(64 * MIB);

	(void) state;
	assert_true(before > 0);
	memset(much, 1, 64 * MIB);
	assert_true(machine_resident() >= before + 60 * MIB);
	assert_int_equal(much[12345], 1);
	free(much);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_machine, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(cgroups_of_version_2, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(cgroups_of_version_1, scratch_make, scratch_remove),
		cmocka_unit_test(of_this_process),
	};

	return cmocka_run_group_tests_name("base_machine", tests, NULL, NULL);
}
