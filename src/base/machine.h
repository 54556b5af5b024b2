/*-------------------------------------------------------------------------
 *
 * machine.h
 *	  How much memory a process may come to use before the kernel ends it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_MACHINE_H
#define BASE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct MachineMemory
{
	uint64_t	bytes;			/* 0 = not known */
	const char *from;			/* what says so, for people: "the machine", "its cgroup" */
} MachineMemory;

/*
 * The memory of the machine, or what the cgroup of this process or one above it may
 * use (version 2: memory.max and memory.high, or 1), whichever is least.  root: where
 * /proc and /sys are looked for, "" but in tests.
 */
extern MachineMemory machine_memory(const char *root);

/* Of this process, without what it shares with files; 0 = not known. */
extern uint64_t machine_resident(void);

#endif							/* BASE_MACHINE_H */
