/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  Memory that is short in libraries whose name contains VECTRON_FAIL_ALLOC_IN.
 *
 * While there is a file VECTRON_FAIL_ALLOC_FILE with a number n, the n-th allocation
 * that a process makes from such a library, from then on, fails, once.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "layer.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* glibc's own, under the names that are not interposed */
void	   *__libc_malloc(size_t size);
void	   *__libc_calloc(size_t n, size_t size);
void	   *__libc_realloc(void *p, size_t size);

/* Is this the allocation that has to fail?  Allocates nothing itself. */
static bool
alloc_fails(const void *caller)
{
	static long count;
	const char *library = getenv("VECTRON_FAIL_ALLOC_IN");
	const char *name = getenv("VECTRON_FAIL_ALLOC_FILE");
	char		text[32] = "";
	Dl_info		info;
	int			fd;
	ssize_t		n;

	if (!library || !name || access(name, F_OK) != 0 || !dladdr(caller, &info) || !strstr(info.dli_fname, library))
		return false;
	fd = REAL(int, "open", (const char *, int, mode_t)) (name, O_RDONLY, 0);
	n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
	if (fd >= 0)
		close(fd);
	return n > 0 && ++count == atol(text);
}

void *
malloc(size_t size)
{
	return alloc_fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return alloc_fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *p, size_t size)
{
	return alloc_fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, size);
}
