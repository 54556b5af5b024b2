/*-------------------------------------------------------------------------
 *
 * status.h
 *	  What can go wrong, as numbers that travel and words that explain.
 *
 * A VtStatus is returned by value and crosses the wire: numbers are never
 * reused.  A VtError adds words where the cause is known; whoever passes an
 * error on neither logs nor rewrites it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VT_STATUS_LIST(X) \
	X(VT_OK, 0, "ok") \
	X(VT_NOMEM, 1, "out of memory") \
	X(VT_INVALID, 2, "invalid argument or setting") \
	X(VT_CORRUPT, 3, "data is damaged") \
	X(VT_IO, 4, "input/output error") \
	X(VT_PROTOCOL, 5, "malformed message") \
	X(VT_VERSION, 6, "unsupported version or format") \
	X(VT_TIMEOUT, 7, "deadline passed") \
	X(VT_CANCELLED, 8, "cancelled") \
	X(VT_UNAVAILABLE, 9, "cannot be reached") \
	X(VT_BUSY, 10, "busy, try again later") \
	X(VT_NOT_FOUND, 11, "not found") \
	X(VT_EXISTS, 12, "exists with other properties") \
	X(VT_NOT_LEADER, 13, "not the leader") \
	X(VT_WRONG_SHARD, 14, "route is out of date") \
	X(VT_FENCED, 15, "fence has been raised") \
	X(VT_NOT_OWNER, 16, "belongs to another owner") \
	X(VT_BEHIND, 17, "replica has not applied the mark") \
	X(VT_UNKNOWN_GENERATION, 18, "generation is not known here") \
	X(VT_FULL, 19, "limit reached") \
	X(VT_DENIED, 20, "not permitted") \
	X(VT_STOPPING, 21, "shutting down") \
	X(VT_GONE, 22, "was dropped") \
	X(VT_LEASE_GONE, 23, "scan state is no longer kept") \
	X(VT_SESSION_OVER, 24, "session is over, or has left this command behind") \
	X(VT_LOST, 25, "acknowledged writes may be lost") \
	X(VT_FOREIGN, 26, "belongs to another cluster")

typedef enum VtStatus
{
#define X(name, number, words) name = number,
	VT_STATUS_LIST(X)
#undef X
} VtStatus;

/* A status with a sentence.  msg is empty or ends in NUL. */
typedef struct VtError
{
	VtStatus	code;
	char		msg[240];
} VtError;

/* Words for a status; "unrecognized status" for a number that is none. */
extern const char *vt_status_words(VtStatus status);
extern bool vt_status_valid(uint32_t number);

/*
 * Fill *err (may be NULL) and return code, so that "return vt_fail(...)" is one
 * line.
 */
extern VtStatus vt_fail(VtError *err, VtStatus code, const char *fmt,...)
			__attribute__((format(printf, 3, 4)));

/* As vt_fail, adding ": " and the words of errno. */
extern VtStatus vt_fail_errno(VtError *err, VtStatus code, const char *fmt,...)
			__attribute__((format(printf, 3, 4)));

/*
 * The sentence of err, or the plain words of its status when it has none.
 */
extern const char *vt_error_words(const VtError *err);

/* Random identities, 128 bits; all zero means "none". */
typedef struct VtId
{
	uint8_t		b[16];
} VtId;

#define VT_ID_TEXT 33			/* hex digits and NUL */
extern bool vt_id_is_zero(const VtId *id);
extern bool vt_id_equal(const VtId *a, const VtId *b);
extern void vt_id_format(const VtId *id, char out[VT_ID_TEXT]);
extern bool vt_id_parse(const char *text, VtId *id);

/* From the kernel's random source; stops the process if that fails. */
extern void vt_id_random(VtId *id);

/*
 * malloc and friends that never return NULL: the process stops instead.  A host
 * that must not stop for that (PostgreSQL) gives a handler, which does not return:
 * it leaves by longjmp or ends the thread of control.  Whatever our code was doing
 * then is left half done, and must not be touched again.
 */
extern void vt_on_out_of_memory(void (*handler) (size_t size));
extern void *vt_alloc(size_t size);
extern void *vt_alloc0(size_t size);
extern void *vt_realloc(void *p, size_t size);
extern char *vt_strdup(const char *s);

/* A broken truth: print where and stop.  Outside data never meets this. */
extern void vt_assert_fail(const char *what, const char *file, int line)
			__attribute__((noreturn));
#ifndef Assert
#define Assert(cond) \
	((cond) ? (void) 0 : vt_assert_fail(#cond, __FILE__, __LINE__))
#endif

#endif							/* BASE_STATUS_H */
