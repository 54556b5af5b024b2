/*-------------------------------------------------------------------------
 *
 * heard.h
 *	  Private to pd: what stores say by heartbeats, and what follows from it.
 *
 * In the leader's memory alone: it comes again within a second.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_HEARD_H
#define PD_HEARD_H

#include <jansson.h>

#include "catalog.h"
#include "pd.h"

/* What a leader says of a member of its group, or who follows nobody; role 0: it leaves. */
typedef struct ReportMember
{
	WireReplica replica;
	uint64_t	match;
	bool		active;
	bool		old;			/* it votes as well until the change under way is done */
} ReportMember;

/* Figures a worker gives of a replica that PD only passes on; by these names. */
#define REPORT_FIGURES 17
#define REPORT_TIMES 9			/* ... but for these five, whose sum is the time of searches, */
#define REPORT_TIMES_END 14
#define REPORT_UNREACHABLE 15	/* and these, which check.c looks at */
#define REPORT_BROKEN_LINKS 16
extern const char *const report_figures[REPORT_FIGURES];

/* What else than rows a replica may differ in: verified_parts has the names. */
#define VERIFIED_PARTS 5
#define VERIFIED_VERSION 2		/* of these, as this driver knows them */
extern const char *const verified_parts[VERIFIED_PARTS];

/* What a replica held when it was compared last; id 0 = it says nothing (verify.c). */
typedef struct Verified
{
	uint64_t	id;
	uint64_t	index;
	uint64_t	rows;
	uint64_t	digest;			/* of the rows */
	uint64_t	parts[VERIFIED_PARTS];
	bool		told;			/* it told these; a worker of another release may tell others, or none */
	bool		damaged;
	int64_t		wall_us;
} Verified;

typedef enum Verdict
{
	VERDICT_NONE,				/* it was never compared */
	VERDICT_AGREES,				/* with more than half of all voters */
	VERDICT_DIFFERS,			/* from what more than half agree on */
	VERDICT_SPLIT,				/* all have answered, and no majority agrees */
	VERDICT_OPEN				/* not all have answered */
} Verdict;

/* What a store says of one of its replicas; not in the log.  First what looks at all of them need. */
typedef struct Report
{
	uint64_t	shard;
	uint64_t	replica;
	uint64_t	term;
	uint64_t	applied;
	uint64_t	unindexed;
	double		searches;		/* processors that searches of it take, smoothed, */
	int64_t		searches_us;	/* as of then, when they had taken searched_us (loads.c) */
	bool		leader;
	bool		ingesting;		/* a bulk load goes on */
	bool		leaving;		/* it serves nobody, and goes when nobody holds it */
	bool		says_conf;		/* conf_index is the group's configuration in force here, */
	bool		joint;			/* and it is one of a change under way, or not committed yet */
	uint32_t	nmembers;		/* a leader's, or of who follows nobody */

	uint64_t	conf_index;
	uint64_t	searched_us;
	uint64_t	incarnation;	/* the shard's life that it is in */
	uint64_t	last;			/* entry of its log, and the term of that; 0 = it says nothing, or has none */
	uint64_t	last_term;
	uint64_t	records;
	uint64_t	bytes;
	uint64_t	prepared;		/* a child that its store is ready to make; 0 = none */
	ReportMember members[WIRE_REPLICAS_MAX];
	uint64_t	figures[REPORT_FIGURES];	/* 0 where it says nothing */
	Verified	verified;
} Report;

/* A shard that a store should have and does not report, and since when. */
typedef struct Missing
{
	uint64_t	shard;
	int64_t		since_us;
} Missing;

/* A replica that a store has and says is damaged; 0 = it does not know which. */
typedef struct Damaged
{
	uint64_t	shard;
	uint64_t	replica;
} Damaged;

/* What a worker's memory goes for, by name; as the workers say. */
typedef enum MemoryKind
{
	MEMORY_RECORDS,				/* these stay, */
	MEMORY_SHARDS,				/* and what each shard has besides; all else goes by itself */
	MEMORY_KINDS = 7
} MemoryKind;

extern const char *const memory_kind_names[MEMORY_KINDS];

/* What a store says of itself that only people want to know (check.c). */
typedef struct StoreFacts
{
	uint64_t	memory_limit;	/* 0 = none */
	uint64_t	memory_of[MEMORY_KINDS];
	bool		memory_told;	/* it said what it goes for */
	bool		disk_full;		/* it refuses new data */
	int64_t		clock_ahead_us; /* of ours, and what the heartbeat took */
	int64_t		cert_until;		/* seconds since 1970; 0 = it has none */
} StoreFacts;

/* What a store said last; not in the log. */
typedef struct Beat
{
	uint64_t	store;
	int64_t		at_us;
	int64_t		steady_us;		/* since when it has never been silent for long */
	uint64_t	disk_free;
	uint64_t	memory;
	bool		disk_short;		/* it will soon refuse new data */
	bool		memory_short;	/* the same; it ends lower than it begins */
	bool		challenged;		/* another store registered at its endpoint since */
	char		version[32];
	bool		prepares;		/* it knows the task prepare_split */
	uint32_t	level_low;		/* of the feature levels it knows */
	uint32_t	level_high;
	Report	   *reports;		/* by shard; owned */
	size_t		nreports;
	Missing    *missing;		/* by shard; owned */
	size_t		nmissing;
	uint64_t	digest;			/* of the list of shards, as the store says; 0 = none */
	uint64_t	looked;			/* store_touched() when its tasks were looked for last */
	bool		wake;			/* something else is new for it */
	bool		searched;		/* a replica of it was, once */
	bool		quiet;			/* it had nothing to do with these reports, */
	uint64_t	quiet_at;		/* store_touched() being this */
	uint64_t	learned_at;		/* the same, when all that they teach was learned */
	bool		judged;			/* none of its replicas was to be set aside (verify.c), */
	uint64_t	judged_at;		/* the same, */
	int64_t		judged_us;		/* and then */
	Damaged    *damaged;		/* owned */
	size_t		ndamaged;
	StoreFacts	facts;
	WireShardDesc *children;	/* what its shards owe to such as were split off them; owned */
	size_t		nchildren;
} Beat;

/* A store that speaks and has not told what it has; not in the log. */
typedef struct Untold
{
	struct Untold *before;
	struct Untold *next;
	uint64_t	store;
	int64_t		first_us;		/* it spoke first, */
	int64_t		heard_us;		/* and last */
	uint64_t	look;			/* in which its heartbeat waited last */
	int64_t		asked_us;		/* for all, */
	size_t		asked;			/* so many bytes, about; 0 = it is not */
} Untold;

typedef struct UntoldList
{
	Untold	   *first;
	Untold	   *last;
} UntoldList;

/* What a shard carries, as its leaders tell one after the other. */
typedef struct ShardLoad
{
	uint64_t	bytes;
	uint64_t	rows;
	double		rate;			/* entries a second, smoothed, */
	int64_t		at_us;			/* as of then, */
	uint64_t	applied;		/* when so many were applied */
	int64_t		split_us;		/* it was split then, or split off; 0 = not that we know */
	int64_t		asked_us;		/* somebody had a replica or the leadership of it moved; the same */
	int64_t		compared_us;	/* its replicas were compared then; the same */

	/* Who claims to lead it, in the highest term that we have heard of; store 0 = nobody */
	uint64_t	leads;
	uint64_t	leader;
	uint64_t	term;
} ShardLoad;

/* heard.c */
extern Beat *beat_of(Pd *pd, uint64_t store);
extern void beat_wake(Pd *pd, uint64_t store);	/* there may be something to do for it */
extern bool beat_is_known(Pd *pd, uint64_t store, json_t *body);
extern Beat *beat_take(Pd *pd, uint64_t store, json_t *body);	/* NULL = malformed */
extern void beat_take_missing(Pd *pd, Beat *beat);
extern void beats_challenge(Pd *pd, uint64_t store, const char *endpoint);
extern void beats_free(Pd *pd);
extern Report *report_in(Beat *beat, uint64_t shard);
extern Missing *missing_of(Beat *beat, uint64_t shard); /* since when it was not mentioned */

/* untold.c */
#define UNTOLD_ASKED_BYTES (2u << 20)	/* that may be on their way, unless one store alone has more */

/* It speaks, and what it says goes on from what is not known here: it is to tell all, when it is its turn. */
extern void untold_spoke(Pd *pd, uint64_t store);

/* Would it be asked now, for all that there is on its way to us? */
extern bool untold_has_room(Pd *pd, uint64_t store);

/*
 * A look at the heartbeats of such: of which stores they are that wait, and then whose turn it is among those.  They are asked, until
 * they have told it or are late.  false: it has told all since, and waits for nothing of the kind.
 */
extern bool untold_waits(Pd *pd, uint64_t store);
extern void untold_ask(Pd *pd);
extern bool untold_is_asked(const Pd *pd, uint64_t store);
extern void untold_told(Pd *pd, uint64_t store);	/* it is known now */
extern void untold_forget(Pd *pd, uint64_t store);	/* it does not come back */
extern bool untold_speaks(const Pd *pd, uint64_t store);
extern size_t untold_count(const Pd *pd);	/* those that speak */

/*
 * When it spoke last; 0 = it is known, or has not spoken.  Who has not told what it has for a minute speaks for
 * nothing: it cannot tell (it has more than a message holds, or what we do not take), and its replicas are to be made anew.
 */
extern int64_t untold_heard_us(const Pd *pd, uint64_t store);
extern bool untold_are_awaited(const Pd *pd);
extern void untold_free(Pd *pd);

/* health.c */
extern void store_spoke(Pd *pd, uint64_t store);	/* a heartbeat came from it */
extern bool store_is_superseded(Pd *pd, const CatalogStore *store);
extern bool store_is_up(Pd *pd, uint64_t store);
extern Health store_health(Pd *pd, const CatalogStore *store);
extern bool replica_is_damaged(Pd *pd, uint64_t store, uint64_t shard);	/* so it says */
extern Health replica_health(Pd *pd, uint64_t store, uint64_t shard, uint64_t replica, bool seen);
extern Report *report_of(Pd *pd, uint64_t store, uint64_t shard);
/* Of the replicas that claim to lead now, the one with the highest term; NULL = none. */
extern Report *leader_of(Pd *pd, const CatalogShard *shard, uint64_t *store);
extern bool replica_is_no_member(Pd *pd, const CatalogShard *shard, const Report *report);	/* one that the catalog has not */

/* loads.c: what a leader says on this store; and a replica there (0: whichever) leads no more */
extern void load_take(Pd *pd, uint64_t store, const Report *leader);
extern void load_left(Pd *pd, uint64_t store, uint64_t shard, uint64_t replica);

/* NULL: nothing is known of it. */
extern const ShardLoad *shard_load(const Pd *pd, uint64_t shard);

/* Writes a second: fewer the longer nothing is said. */
extern double load_rate(const Pd *pd, const ShardLoad *load);

/* Was it split a moment ago, or split off?  It is left in peace for a while. */
extern bool load_rests(const Pd *pd, const ShardLoad *load);

/* Somebody asks where a replica of it is to be, or who is to lead; is that so lately that it stays so? */
extern void load_ask(Pd *pd, uint64_t shard);
extern bool load_is_asked(const Pd *pd, const ShardLoad *load);
extern void load_compared(Pd *pd, uint64_t shard);	/* its replicas, now */
extern double shard_bytes(const Pd *pd, uint64_t shard);

/* A child is new to the catalog: it carries half of what its parent did. */
extern void load_split(Pd *pd, const WireShardDesc *child);

/* How much a replica is searched, by what it said before and says now. */
extern void load_take_searches(const Pd *pd, const Report *before, Report *now);
extern double replica_searches(const Pd *pd, const Report *report);	/* processors; less the longer nothing is said */
extern double shard_rows(const Pd *pd, uint64_t shard);
extern void loads_prune(Pd *pd);

/* stores.c */
/* How much more fits onto a store's disk and into its memory, as it said last. */
typedef enum Room
{
	ROOM_NONE,					/* it refuses new data */
	ROOM_LITTLE,				/* it soon will: it gets no replica, if another can have it */
	ROOM_ENOUGH
} Room;

extern Room store_room(const Beat *beat);
extern void beat_weigh_memory(Beat *beat);	/* sets memory_short */
extern uint64_t beat_memory_stays(const Beat *beat, uint64_t *most);

#endif							/* PD_HEARD_H */
