/*-------------------------------------------------------------------------
 *
 * questions.c
 *	  Questions that wait for the service thread: two lists, and what a round takes
 *	  of each.
 *
 *-------------------------------------------------------------------------
 */
#include "questions.h"

#include "service.h"

#define WAIT_LEAST_MS 10
#define WAIT_MOST_MS 10000
#define SERVICE_UNKNOWN_US 100

void
questions_init(Questions *questions)
{
	*questions = (Questions) {0};
	questions->daemons.end = &questions->daemons.first;
	questions->others.end = &questions->others.first;
	questions->daemons.most = QUESTIONS_DAEMON_BYTES;
	questions->others.most = QUESTIONS_BYTES;
}

size_t
questions_count(const Questions *questions)
{
	return questions->daemons.n + questions->others.n;
}

size_t
questions_bytes(const Questions *questions)
{
	return questions->daemons.bytes + questions->others.bytes;
}

bool
questions_put(Questions *questions, Question *q, bool daemon)
{
	QuestionLane *lane = daemon ? &questions->daemons : &questions->others;

	if (lane->n >= QUESTIONS_MAX || lane->bytes + q->payload.size > lane->most)
		return false;
	q->next = NULL;
	*lane->end = q;
	lane->end = &q->next;
	lane->n++;
	lane->bytes += q->payload.size;
	return true;
}

/* Move at most so many, and so many bytes but for one alone, from the front of a lane to the end of a list. */
static Question **
move(QuestionLane *lane, size_t most, size_t most_bytes, Question **end)
{
	size_t		bytes = 0;

	for (; lane->first && most > 0 && (bytes == 0 || bytes + lane->first->payload.size <= most_bytes); most--)
	{
		Question   *q = lane->first;

		lane->first = q->next;
		lane->n--;
		lane->bytes -= q->payload.size;
		bytes += q->payload.size;
		q->next = NULL;
		*end = q;
		end = &q->next;
	}
	if (!lane->first)
		lane->end = &lane->first;
	return end;
}

Question *
questions_take(Questions *questions, bool *behind)
{
	Question   *list = NULL;
	Question  **end = &list;

	end = move(&questions->daemons, QUESTIONS_MAX, QUESTIONS_DAEMON_ROUND_BYTES, end);
	move(&questions->others, QUESTIONS_ROUND, QUESTIONS_ROUND_BYTES, end);
	if (behind)
		*behind = questions->daemons.n > 0;
	return list;
}

void
questions_served(Questions *questions, size_t n, int64_t took_us)
{
	int64_t		each;

	if (n == 0)
		return;
	each = took_us / (int64_t) n + 1;
	questions->service_us = questions->service_us == 0 ? each : questions->service_us + (each - questions->service_us) / 8;
}

uint32_t
questions_wait_ms(const Questions *questions)
{
	int64_t		each = questions->service_us ? questions->service_us : SERVICE_UNKNOWN_US;
	int64_t		ms = (int64_t) (questions_count(questions) + 1) * each / 1000;

	return (uint32_t) (ms < WAIT_LEAST_MS ? WAIT_LEAST_MS : ms < WAIT_MOST_MS ? ms : WAIT_MOST_MS);
}
