/*-------------------------------------------------------------------------
 *
 * street.h
 *	  Who says something to whom, and what happens to it on the way.
 *
 * A street is a pair of names, FROM and TO, with a rule; a pipe is one direction of a
 * connection and belongs to a street.  Whole frames are read into a pipe, each with a
 * moment at which it is due, and written out when that has come and nothing is cut.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CHAOS_STREET_H
#define CHAOS_STREET_H

#include "base/bytes.h"
#include "base/prng.h"

#define NAMES_MAX 32
#define QUEUE_BYTES (4u << 20)	/* of a pipe, before its sender has to wait */

typedef struct Rule
{
	bool		cut;
	uint32_t	delay_low;		/* milliseconds */
	uint32_t	delay_high;
	uint32_t	drop;			/* permille, as the next two */
	uint32_t	twice;
	uint32_t	reorder;
	uint32_t	reorder_ms;
} Rule;

typedef struct Frame Frame;

typedef struct Pipe
{
	int			from;
	int			to;
	Buf			in;				/* less than a frame */
	Frame	   *queue;			/* by due */
	size_t		queued;
	size_t		sent;			/* of the first frame; it is not overtaken any more */
	int64_t		last_due;		/* of those that must stay in order */
	bool		held;			/* a cut kept something from arriving */
	bool		ended;			/* nothing more comes in */
	bool		deaf;			/* nobody takes what comes out */
} Pipe;

/* What all streets carried; the random numbers that decide. */
typedef struct Streets
{
	Prng		prng;
	uint64_t	carried;
	uint64_t	held;
	uint64_t	dropped;
	uint64_t	doubled;
	uint64_t	overtaken;
} Streets;

extern Streets streets;

extern void die(const char *what);

extern int	name_number(const char *name);

/* The name of the process at the other end of a socket. */
extern int	who_dials(int fd);

/* Change what is said of "cut", "delay" and so on; * is everybody known so far. */
extern void rule_set(const char *from, const char *to, const Rule *change, const char *what);
extern void rules_clear(void);
extern bool is_cut(int from, int to);

/* Does any street to or from here carry nothing? */
extern bool is_cut_off(int name);

/* Read what there is; write what is due.  fd -1: nothing is there yet. */
extern void pipe_read(Pipe *p, int fd);
extern void pipe_write(Pipe *p, int fd);
extern void pipe_free(Pipe *p);

/* When the next frame is due, INT64_MAX when none can go: what a cut holds is not due. */
extern int64_t pipe_due(const Pipe *p);

#endif							/* CHAOS_STREET_H */
