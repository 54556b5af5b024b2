/*-------------------------------------------------------------------------
 *
 * layer.h
 *	  A preloaded library, powerloss.so, that stands between a process and its
 *	  machine: power that goes, disks and memory that fail, clocks that jump.
 *
 * Each part does nothing until its variables are set:
 *
 *		power.c		VECTRON_POWERLOSS: what would be left of files; VECTRON_BOOT_ID_FILE
 *		names.c		VECTRON_POWERLOSS: and which names would be taken back
 *		faults.c	VECTRON_FAULTS: a disk that is slow, hangs or is full, while a test says so;
 *					VECTRON_FAIL_WRITE_FILE, VECTRON_FAIL_READ_FILE: one write, or reads;
 *					VECTRON_INTERRUPT_WRITE_FILE: a signal in the middle of one
 *		clock.c		VECTRON_FAULTS: a wall clock that is off
 *		memory.c	VECTRON_FAIL_ALLOC_IN, VECTRON_FAIL_ALLOC_FILE: one allocation
 *
 * layer.c has the functions for files that a process finds instead of libc's, and
 * asks the parts.  What the parts do to files themselves libc does inside, unseen.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CRASH_LAYER_H
#define CRASH_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* The function that is found without us. */
#define REAL(type, name, args) ({ \
	static type (*function) args; \
	if (!function) \
		function = (type (*) args) layer_real(name); \
	function; })

extern void *layer_real(const char *name);

/* The path of an open regular file; false if it is something else. */
extern bool layer_path(int fd, char path[4096], long long *length);

/* What a test says is wrong, all of it mapped from its file (faults.c). */
typedef struct Faults
{
	int64_t		sync_us;		/* each fsync and fdatasync takes this much longer */
	int64_t		full;			/* what would take room under VECTRON_FAULTS_DISK fails with ENOSPC */
	int64_t		low;			/* statvfs says that no room is left */
	int64_t		wall_us;		/* added to the wall clock */
	int64_t		hang;			/* no fsync or fdatasync begins until this is 0 again */
} Faults;

extern const volatile Faults *layer_faults;

/* faults.c */
extern void faults_slow_sync(void);
extern bool faults_write(int fd);
extern bool faults_read(int fd);
extern void faults_interrupt(const void *data, size_t n);
extern bool faults_make(const char *path);

/* What a sync makes durable: what there was when it began. */
typedef struct PowerSync
{
	bool		asked;			/* else nobody notes it */
	struct stat file;
	long long	names;			/* the end of the journal of names */
} PowerSync;

/* power.c */
extern void power_before_sync(PowerSync *out, int fd);
extern void power_synced(const PowerSync *begun);
extern void power_nothing_synced(int fd);
extern const char *power_boot_id(const char *path);

/* names.c: as libc's, and noted */
extern int	names_open(int (*open_it) (const char *, int, mode_t), const char *path, int flags, mode_t mode);
extern int	names_mkdir(const char *path, mode_t mode);
extern int	names_link(const char *from, const char *to);
extern int	names_unlink(const char *path);
extern int	names_rmdir(const char *path);
extern int	names_rename(const char *from, const char *to);

extern long long names_end(void);
extern void names_synced(const struct stat *dir, long long before);

/* What a file or directory goes by in the notes. */
extern void power_file_key(char out[40], const struct stat *st);

#endif							/* CRASH_LAYER_H */
