/*-------------------------------------------------------------------------
 *
 * questions.h
 *	  Private to pd: questions that wait for the service thread.
 *
 * What workers and other drivers say comes first, some MiB of it in a round: whom PD takes
 * for alive, and what it does about it, must not depend on how many others ask.  Of these a
 * round has only so many, so that in a flood there is another round soon.  Both are bounded, in
 * number and in bytes; who is refused is told how long those take who wait.
 *
 * All of daemons is answered in the order it came, so nothing that a worker has said is taken after what it said
 * later.
 *
 * No locks; the caller has one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_QUESTIONS_H
#define PD_QUESTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct Question;

#define QUESTIONS_MAX 4096		/* of each kind, */
#define QUESTIONS_BYTES (64u << 20) /* and bytes: of others than daemons, */
#define QUESTIONS_DAEMON_BYTES (256u << 20) /* and of these, who tell a new leader everything, all at once */
#define QUESTIONS_DAEMON_ROUND_BYTES (2u << 20) /* of them in a round, unless one alone is larger */
#define QUESTIONS_LONG (64u << 10)	/* a question with more takes long */
#define QUESTIONS_ROUND 256		/* of others than daemons in a round, */
#define QUESTIONS_ROUND_BYTES (1u << 20)	/* unless one alone is larger */

typedef struct QuestionLane
{
	struct Question *first;
	struct Question **end;
	size_t		n;
	size_t		bytes;			/* of payloads */
	size_t		most;			/* such */
} QuestionLane;

typedef struct Questions
{
	QuestionLane daemons;
	QuestionLane others;
	int64_t		service_us;		/* a question takes, smoothed; 0 = not known */
} Questions;

extern void questions_init(Questions *questions);
extern size_t questions_count(const Questions *questions);
extern size_t questions_bytes(const Questions *questions);

/* False: too many wait. */
extern bool questions_put(Questions *questions, struct Question *q, bool daemon);

/*
 * Those of the next round, a list; NULL = nobody waits.  *behind: daemons have asked more
 * than belongs to a round; may be NULL.
 */
extern struct Question *questions_take(Questions *questions, bool *behind);

/* A round of so many took so long. */
extern void questions_served(Questions *questions, size_t n, int64_t took_us);

/* How long one that came now would wait. */
extern uint32_t questions_wait_ms(const Questions *questions);

#endif							/* PD_QUESTIONS_H */
