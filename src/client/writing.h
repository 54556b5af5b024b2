/*-------------------------------------------------------------------------
 *
 * writing.h
 *	  Private to client: one call that puts or deletes, which write.c runs in rounds;
 *	  write_command.c sends its commands and takes their answers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_WRITING_H
#define CLIENT_WRITING_H

#include "private.h"

/* A command under way: some of order[]. */
typedef struct Command
{
	Request		request;
	size_t		from;
	size_t		n;				/* 0 = slot is free */

	/* With writer.once */
	bool		opens;			/* a session, and has no records */
	bool		first;			/* it was never sent before */
	OnceNumber	number;
} Command;

/* What goes to one shard in this round: order[next..end) is not sent yet. */
typedef struct Target
{
	const ClientShard *shard;
	size_t		next;
	size_t		end;
	bool		stopped;		/* no more to it in this round */
	bool		opening;		/* nothing before it has a session */
	uint64_t	lost;			/* lowest number of a command without an answer; 0 = none */
	Command		commands[WINDOW];
} Target;

typedef struct Writing
{
	Client	   *client;
	WireWriteType type;
	const ClientWriter *writer;
	const ClientRecord *records;
	size_t		n;
	bool	   *done;
	OnceNumber *numbers;		/* with writer.once: of each record */
	uint64_t	hits;
	uint64_t	fence;			/* highest seen */
	ClientMarks *marks;

	/* This round */
	const ClientCollection *route;
	Target	   *targets;
	size_t	   *order;			/* undone records, by shard */
	size_t		settled;
	Retry		retry;

	/* A definite no: nothing more is sent, what is under way is awaited */
	VtStatus	failed;
	VtError		why;

	Buf			scratch;
} Writing;

/* Send the next command of a target, if its connection has room for one. */
extern void write_send(Writing *w, Target *t, Command *command);

/* Its request is done. */
extern void write_take_answer(Writing *w, Target *t, Command *command);

#endif							/* CLIENT_WRITING_H */
