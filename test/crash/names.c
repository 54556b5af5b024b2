/*-------------------------------------------------------------------------
 *
 * names.c
 *	  Which names a power loss would take back.
 *
 * By POSIX a name is durable when its directory was synced, and not before: not when
 * the file was.  So what is made, renamed and removed is noted in a journal, the file
 * `names` of the folder VECTRON_POWERLOSS, and so is each sync of a directory.  After
 * the processes were killed the test undoes some of what no sync followed
 * (test/perl/PowerLoss.pm).  What is removed, or replaced by a rename, is kept for that
 * in the folder `kept`, and the directory's next sync lets go of it.
 *
 *	   make <dir> <name>
 *	   remove <dir> <name> <kept>
 *	   rename <dir> <name> <dir> <name> <kept, or ->
 *	   sync <dir> <what was noted before this offset is durable>
 *
 * with a tab between any two words.  Directories go by device and inode, since they are
 * renamed, too.  A line is written before what it says is done, and whoever undoes it
 * looks whether it was: the process may be killed in between.
 *
 * Locks, LevelDB's log for people and sockets are not noted, and so can never be missed;
 * nor is what libc does inside (fopen, mkostemp).  Nobody here renames a directory onto
 * another one, or a name out of one file system into another.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "layer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Name
{
	char		dir[40];		/* device-inode of the directory */
	const char *last;
} Name;

/* Of threads; the lock of the file is that of processes. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int	journal = -1;

void
power_file_key(char out[40], const struct stat *st)
{
	snprintf(out, 40, "%llx-%llx", (unsigned long long) st->st_dev, (unsigned long long) st->st_ino);
}

static bool
in_notes(char out[4096], const char *name)
{
	const char *folder = getenv("VECTRON_POWERLOSS");

	return folder && snprintf(out, 4096, "%s/%s", folder, name) < 4096;
}

/* Is it a name that is noted?  Its directory is on the disk of the notes. */
static bool
name_of(const char *path, Name *out)
{
	static const char *const others[] = {"lock", "LOCK", "LOG", "LOG.old"};
	const char *slash = strrchr(path, '/');
	char		folder[4096];
	struct stat notes;
	struct stat dir;

	if (!in_notes(folder, "kept") || stat(folder, &notes) < 0)
		return false;
	out->last = slash ? slash + 1 : path;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(out->last, others[i]) == 0)
			return false;
	if (snprintf(folder, sizeof(folder), "%.*s", slash ? (int) (slash - path) + 1 : 1, slash ? path : ".") >= (int) sizeof(folder) ||
		stat(folder, &dir) < 0 || dir.st_dev != notes.st_dev || strpbrk(out->last, "\t\n"))
		return false;
	power_file_key(out->dir, &dir);
	return true;
}

/* Nobody else changes a name from here on. */
static void
begin(void)
{
	char		path[4096];
	int			saved = errno;

	pthread_mutex_lock(&lock);
	if (journal < 0 && in_notes(path, "names"))
		journal = REAL(int, "open", (const char *, int,...)) (path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (journal < 0 || flock(journal, LOCK_EX) < 0)
		abort();
	errno = saved;
}

static int
end(int rc)
{
	int			saved = errno;

	flock(journal, LOCK_UN);
	pthread_mutex_unlock(&lock);
	errno = saved;
	return rc;
}

static long long
journal_end(void)
{
	off_t		at = lseek(journal, 0, SEEK_END);

	if (at < 0)
		abort();
	return (long long) at;
}

static void
note(const char *line, int n)
{
	if (n <= 0 || n >= 8192 || REAL(ssize_t, "write", (int, const void *, size_t)) (journal, line, (size_t) n) != n)
		abort();
}

#define NOTE(...) do { \
	char		line_[8192]; \
	note(line_, snprintf(line_, sizeof(line_), __VA_ARGS__)); \
} while (0)

/* Where what has a name now is kept when that is no longer so: with the directory and the offset of the line that says so. */
static void
kept_for(const Name *name, char kept[80], char path[4096])
{
	char		relative[96];

	snprintf(kept, 80, "%s.%lld", name->dir, journal_end());
	snprintf(relative, sizeof(relative), "kept/%s", kept);
	if (!in_notes(path, relative))
		abort();
}

static bool
is_there(const char *path, struct stat *st)
{
	return lstat(path, st) == 0;
}

int
names_open(int (*open_it) (const char *, int, mode_t), const char *path, int flags, mode_t mode)
{
	Name		name;
	struct stat st;
	bool		fresh;
	int			fd;

	if (!(flags & O_CREAT) || !name_of(path, &name))
		return open_it(path, flags, mode);
	begin();
	fresh = !is_there(path, &st);
	if (fresh)
		NOTE("make\t%s\t%s\n", name.dir, name.last);
	fd = open_it(path, flags, mode);
	if (fd >= 0 && (fresh || (flags & O_TRUNC)))
		power_nothing_synced(fd);
	return end(fd);
}

/* A new directory may have the inode of one that was removed. */
int
names_mkdir(const char *path, mode_t mode)
{
	Name		name;
	struct stat st;
	char		key[40];
	int			rc;

	if (!name_of(path, &name) || is_there(path, &st))
		return REAL(int, "mkdir", (const char *, mode_t)) (path, mode);
	begin();
	NOTE("make\t%s\t%s\n", name.dir, name.last);
	rc = REAL(int, "mkdir", (const char *, mode_t)) (path, mode);
	if (rc == 0 && is_there(path, &st))
	{
		power_file_key(key, &st);
		NOTE("sync\t%s\t%lld\n", key, journal_end());
	}
	return end(rc);
}

int
names_link(const char *from, const char *to)
{
	Name		name;
	struct stat st;

	if (!name_of(to, &name) || is_there(to, &st))
		return REAL(int, "link", (const char *, const char *)) (from, to);
	begin();
	NOTE("make\t%s\t%s\n", name.dir, name.last);
	return end(REAL(int, "link", (const char *, const char *)) (from, to));
}

static int
take_away(const char *path, const Name *name)
{
	char		kept[80];
	char		kept_path[4096];

	begin();
	kept_for(name, kept, kept_path);
	NOTE("remove\t%s\t%s\t%s\n", name->dir, name->last, kept);
	return end(REAL(int, "rename", (const char *, const char *)) (path, kept_path));
}

int
names_unlink(const char *path)
{
	Name		name;
	struct stat st;

	if (!is_there(path, &st) || !S_ISREG(st.st_mode) || !name_of(path, &name))
		return REAL(int, "unlink", (const char *)) (path);
	return take_away(path, &name);
}

static bool
is_empty(const char *path)
{
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	int			n = 0;

	if (!dir)
		return false;
	while ((entry = readdir(dir)) != NULL)
		n++;
	closedir(dir);
	return n == 2;
}

/* One that is not empty stays, and libc says why. */
int
names_rmdir(const char *path)
{
	Name		name;
	struct stat st;

	if (!is_there(path, &st) || !S_ISDIR(st.st_mode) || !name_of(path, &name) || !is_empty(path))
		return REAL(int, "rmdir", (const char *)) (path);
	return take_away(path, &name);
}

int
names_rename(const char *from, const char *to)
{
	Name		old;
	Name		new;
	struct stat st;
	struct stat victim;
	char		kept[80] = "-";
	char		kept_path[4096];

	if (!is_there(from, &st) || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) || !name_of(from, &old) || !name_of(to, &new))
		return REAL(int, "rename", (const char *, const char *)) (from, to);
	begin();
	if (is_there(to, &victim))
	{
		if (S_ISDIR(victim.st_mode))
			abort();
		kept_for(&new, kept, kept_path);
	}
	NOTE("rename\t%s\t%s\t%s\t%s\t%s\n", old.dir, old.last, new.dir, new.last, kept);
	if (kept[0] != '-' && REAL(int, "link", (const char *, const char *)) (to, kept_path) < 0)
		abort();
	return end(REAL(int, "rename", (const char *, const char *)) (from, to));
}

/* Nothing of this directory that was removed before an offset comes back; of a directory that does not, nothing at all. */
static void
let_go(const char *dir_key, long long before)
{
	char		folder[4096];
	char		path[4400];
	char		key[40];
	size_t		n = strlen(dir_key);
	struct stat st;
	DIR		   *dir;
	struct dirent *entry;

	if (!in_notes(folder, "kept") || !(dir = opendir(folder)))
		return;					/* no more files: it is kept, and not needed */
	while ((entry = readdir(dir)) != NULL)
	{
		if (strncmp(entry->d_name, dir_key, n) != 0 || entry->d_name[n] != '.' || atoll(entry->d_name + n + 1) >= before)
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (!is_there(path, &st))
			continue;
		if (!S_ISDIR(st.st_mode))
			REAL(int, "unlink", (const char *)) (path);
		else if (REAL(int, "rmdir", (const char *)) (path) == 0)
		{
			power_file_key(key, &st);
			let_go(key, LLONG_MAX);
		}
	}
	closedir(dir);
}

long long
names_end(void)
{
	long long	at;

	begin();
	at = journal_end();
	end(0);
	return at;
}

/* Whatever was noted before this offset. */
void
names_synced(const struct stat *dir, long long before)
{
	char		key[40];

	power_file_key(key, dir);
	begin();
	NOTE("sync\t%s\t%lld\n", key, before);
	let_go(key, before);
	end(0);
}
