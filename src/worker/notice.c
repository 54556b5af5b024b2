/*-------------------------------------------------------------------------
 *
 * notice.c
 *	  Lines for the log that nobody's work writes: a shard that stays without a
 *	  leader, a member that stays behind, and that this is over.
 *
 * Looked for by the house thread.  When a machine goes, thousands of shards may have
 * something to say at once: a few of them do, and how many there are.
 *
 *-------------------------------------------------------------------------
 */
#include "notice.h"

#include "base/clock.h"
#include "base/log.h"
#include "private.h"

#define LINES 8					/* of a kind, in one look */

NoticeKind
notice_next(ShardNotice *notice, const ShardView *view, int64_t now_us)
{
	if (view->has_leader)
	{
		bool		told = notice->told_leaderless;

		notice->told_leaderless = false;
		if (told)
			return NOTICE_LED_AGAIN;	/* leaderless_us is for whoever writes the line */
		notice->leaderless_us = 0;
	}
	else if (notice->leaderless_us == 0)
		notice->leaderless_us = now_us;
	else if (!notice->told_leaderless && now_us - notice->leaderless_us >= NOTICE_LEADERLESS_US)
	{
		notice->told_leaderless = true;
		return NOTICE_LEADERLESS;
	}

	/* Who leads no more leaves the telling to the one who does. */
	if (!view->leads)
		notice->laggard = 0;
	else if (notice->laggard == 0 && view->behind >= NOTICE_BEHIND)
	{
		notice->laggard = view->laggard;
		return NOTICE_LAGS;
	}
	else if (notice->laggard != 0 && view->told_behind <= NOTICE_CAUGHT_UP)
		return NOTICE_LAGS_NO_MORE;	/* whoever writes the line forgets it */
	return NOTICE_NONE;
}

/* A line to be written when no lock is held. */
typedef struct Line
{
	uint64_t	shard;
	uint64_t	replica;
	uint64_t	number;			/* entries */
	int64_t		us;				/* how long it was so */
} Line;

typedef struct Lines
{
	Line		lines[NOTICE_LAGS_NO_MORE + 1][LINES];
	size_t		n[NOTICE_LAGS_NO_MORE + 1]; /* of all, also such as have no place */
} Lines;

static void
view_of(const Shard *s, ShardView *out)
{
	ReplicaStatus replica;
	ReplicaMembers members;

	memset(out, 0, sizeof(*out));
	replica_status(s->replica, &replica);
	out->leads = replica.serving;
	out->has_leader = replica.leader ? replica.serving : replica.leader_replica != 0;
	if (!out->leads)
		return;
	replica_members(s->replica, &members);
	for (uint32_t i = 0; i < members.n; i++)
	{
		const ReplicaMember *m = &members.members[i];
		uint64_t	behind = m->active && m->match < replica.applied ? replica.applied - m->match : 0;

		if (m->member.id == s->notice.laggard)
			out->told_behind = behind;
		if (behind <= out->behind)
			continue;
		out->behind = behind;
		out->laggard = m->member.id;
	}
}

static void
look_at(Shard *s, Lines *lines, int64_t now_us)
{
	ShardView	view;
	NoticeKind	kind;
	Line		line;

	view_of(s, &view);
	kind = notice_next(&s->notice, &view, now_us);
	if (!view.has_leader || s->notice.laggard != 0)
		shard_stir_for(s, LOOK_NOTICES);	/* time will tell */
	if (kind == NOTICE_NONE)
		return;
	line = (Line) {s->desc.shard, s->notice.laggard, view.behind, now_us - s->notice.leaderless_us};
	if (kind == NOTICE_LED_AGAIN)
		s->notice.leaderless_us = 0;
	if (kind == NOTICE_LAGS_NO_MORE)
		s->notice.laggard = 0;
	if (lines->n[kind]++ < LINES)
		lines->lines[kind][lines->n[kind] - 1] = line;
}

static void
write_line(NoticeKind kind, const Line *line)
{
	unsigned long long shard = line->shard;
	unsigned long long replica = line->replica;

	switch (kind)
	{
		case NOTICE_LEADERLESS:
			log_warn("shard=%llu has had no leader for %.0f s: it is neither written nor read, but for searches that may be old", shard,
					 (double) line->us / 1e6);
			break;
		case NOTICE_LED_AGAIN:
			log_info("shard=%llu has a leader again, after %.0f s", shard, (double) line->us / 1e6);
			break;
		case NOTICE_LAGS:
			log_warn("shard=%llu: replica %llu is %llu entries behind", shard, replica, (unsigned long long) line->number);
			break;
		case NOTICE_LAGS_NO_MORE:
			log_info("shard=%llu: replica %llu lags no more, or is gone", shard, replica);
			break;
		case NOTICE_NONE:
			break;
	}
}

void
notices_look(Worker *worker)
{
	static const char *const words[] = {"", "have no leader either", "have a leader again, too", "have a replica that is behind", "have none that lags any more"};
	Lines		lines;
	int64_t		now_us = clock_now_us();

	if (!shards_take_stir(worker, LOOK_NOTICES))
		return;
	memset(&lines, 0, sizeof(lines));
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s; s = s->next)
		if (shard_take_stir(s, LOOK_NOTICES))
			look_at(s, &lines, now_us);
	pthread_mutex_unlock(&worker->lock);
	for (int kind = NOTICE_LEADERLESS; kind <= NOTICE_LAGS_NO_MORE; kind++)
	{
		for (size_t i = 0; i < lines.n[kind] && i < LINES; i++)
			write_line((NoticeKind) kind, &lines.lines[kind][i]);
		if (lines.n[kind] > LINES)
			log_warn("%zu shards more %s", lines.n[kind] - LINES, words[kind]);
	}
}
