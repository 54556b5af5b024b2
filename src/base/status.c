/*-------------------------------------------------------------------------
 *
 * status.c
 *	  Errors as values, identities, and memory that is always there.
 *
 *-------------------------------------------------------------------------
 */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"

#define LAST_MS 1000			/* for log lines before the end */

const char *
vt_status_words(VtStatus status)
{
	switch (status)
	{
#define X(name, number, words) case name: return words;
			VT_STATUS_LIST(X)
#undef X
	}
	return "unrecognized status";
}

bool
vt_status_valid(uint32_t number)
{
	switch (number)
	{
#define X(name, value, words) case value:
			VT_STATUS_LIST(X)
#undef X
			return true;
		default:
			return false;
	}
}

static void
fill(VtError *err, VtStatus code, const char *fmt, va_list args)
{
	err->code = code;
	vsnprintf(err->msg, sizeof(err->msg), fmt, args);
}

VtStatus
vt_fail(VtError *err, VtStatus code, const char *fmt,...)
{
	if (err)
	{
		va_list		args;

		va_start(args, fmt);
		fill(err, code, fmt, args);
		va_end(args);
	}
	return code;
}

VtStatus
vt_fail_errno(VtError *err, VtStatus code, const char *fmt,...)
{
	int			saved = errno;

	if (err)
	{
		va_list		args;
		size_t		used;

		va_start(args, fmt);
		fill(err, code, fmt, args);
		va_end(args);
		used = strlen(err->msg);
		snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", strerror(saved));
	}
	errno = saved;
	return code;
}

const char *
vt_error_words(const VtError *err)
{
	return err->msg[0] ? err->msg : vt_status_words(err->code);
}

bool
vt_id_is_zero(const VtId *id)
{
	static const VtId zero;

	return memcmp(id, &zero, sizeof(zero)) == 0;
}

bool
vt_id_equal(const VtId *a, const VtId *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

void
vt_id_format(const VtId *id, char out[VT_ID_TEXT])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++)
	{
		out[2 * i] = digits[id->b[i] >> 4];
		out[2 * i + 1] = digits[id->b[i] & 15];
	}
	out[32] = '\0';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
vt_id_parse(const char *text, VtId *id)
{
	for (int i = 0; i < 16; i++)
	{
		int			high = hex_value(text[2 * i]);
		int			low = high < 0 ? -1 : hex_value(text[2 * i + 1]);

		if (low < 0)
			return false;
		id->b[i] = (uint8_t) (high << 4 | low);
	}
	return text[32] == '\0';
}

void
vt_id_random(VtId *id)
{
	size_t		done = 0;

	while (done < sizeof(id->b))
	{
		ssize_t		n = getrandom(id->b + done, sizeof(id->b) - done, 0);

		if (n < 0 && errno != EINTR)
		{
			fprintf(stderr, "vectron: no random numbers from the kernel: %s\n", strerror(errno));
			abort();
		}
		if (n > 0)
			done += (size_t) n;
	}
}

static void (*out_of_memory) (size_t size);

void
vt_on_out_of_memory(void (*handler) (size_t size))
{
	out_of_memory = handler;
}

static void *
checked(void *p, size_t size)
{
	if (!p)
	{
		if (out_of_memory)
			out_of_memory(size);
		log_flush(LAST_MS);
		fprintf(stderr, "vectron: out of memory (%zu bytes)\n", size);
		abort();
	}
	return p;
}

void *
vt_alloc(size_t size)
{
	return checked(malloc(size ? size : 1), size);
}

void *
vt_alloc0(size_t size)
{
	return checked(calloc(1, size ? size : 1), size);
}

void *
vt_realloc(void *p, size_t size)
{
	return checked(realloc(p, size ? size : 1), size);
}

char *
vt_strdup(const char *s)
{
	size_t		size = strlen(s) + 1;

	return memcpy(vt_alloc(size), s, size);
}

void
vt_assert_fail(const char *what, const char *file, int line)
{
	log_flush(LAST_MS);
	fprintf(stderr, "vectron: assertion failed: %s at %s:%d\n", what, file, line);
	abort();
}
