/*-------------------------------------------------------------------------
 *
 * shard_zoo.c
 *	  Every law of shards and indexes broken once; the world must notice.
 *
 * Where a law is kept by code of src/worker the switch is there (base/breaks.h),
 * else in the model of the server.  Each law is broken in a process of its own, two
 * at a time.  The seed that noticed it last is tried first; when it does not any
 * more, others are, from the first one on.
 *
 *-------------------------------------------------------------------------
 */
#include "shard_sim.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define LLU(x) ((unsigned long long) (x))

typedef struct Law
{
	const char *name;
	const char *words;
	uint64_t	seed;			/* that noticed it when it was written down; 0: none */
} Law;

static const Law laws[] = {
	{"D1-range", "apply takes records outside its range", 210},
	{"D1-tiles", "answers need not cover the whole hash space", 34},
	{"W1-live", "sent before the state live is on disk", 111},
	{"W1-late", "live is logged with the flush, not with the first entry", 1429},
	{"W1-generation", "a build goes on in the generation of one that failed", 35},
	{"W2-kept", "a failed flush forgets what was not acknowledged", 7},
	{"W2-subabort", "a subtransaction's abort leaves its entries in the buffer", 199},
	{"W3-put", "an entry is sent before the WAL of its tuple is on disk", 10},
	{"W3-delete", "deletes are sent before WAL is on disk", 257},
	{"W4-commit", "commits without all acknowledgements", 9},
	{"W5-raise", "VACUUM does not raise the fence", 153},
	{"W5-order", "VACUUM raises after its listing", 955},
	{"W5-each", "VACUUM raises once, later ones use that number", 732},
	{"W5-shards", "the fence is raised on one shard of several", 1359},
	{"W5-strict", "a raise counts also where the number was there already", 1639},
	{"W5-leader", "VACUUM lists at any replica", 784},
	{"W5-version", "apply deletes by TID, whatever version is there", 3964},
	{"W5-wait", "VACUUM does not wait for its deletes", 9},
	{"W6-fence", "apply takes puts with an older fence", 96},
	{"W6-restamp", "a newer stamp without a look at the heap", 199},
	{"W6-abort", "an aborted transaction goes on sending", 2503},
	{"W7-owner", "apply takes another owner's commands", 66},
	{"W7-snapshot", "a scan reads the index' state before its snapshot", 580},
	{"W7-raise", "repair does not raise the fence before it opens the index", 204},
	{"W7-wait", "repair does not wait for those who skipped the index", 233},
	{"W7-vectors", "repair compares TIDs, not vectors", 15},
	{"L1-over", "a bulk load begins again that was over", 3075},
	{"S1-applied", "acknowledged when proposed, not when applied", 2},
	{"S2-flush", "a checkpoint without the flush of the memtable", 137},
	{"S2-reboot", "the applied index is believed after a reboot", 229},
	{"S2-visible", "whole when the newest row is reached, whatever was deleted", 143},
	{"S2-stands", "the applied index on disk stays one that survived beyond holes", 41126},
	{"S3-fence", "apply decides by the newest fence, not by that of its index", 7},
	{"S3-whole", "answers before the log is replayed beyond its rows", 217},
	{"R3-behind", "a replica answers that has not applied the mark", 42},
	{"R3-batch", "a later batch of a scan asks without its mark", 141},
	{"R3-commit", "marks are stored after the commit record", 373},
	{"R3-free", "VACUUM's marks are stored after it has freed the TIDs", 945},
	{"R3-listing", "VACUUM's mark covers its deletes only", 11186},
	{"R3-snapshot", "a scan reads marks before its snapshot", 487},
	{"R3-own", "a scan does not honour its own transaction's flushes", 373},
	{"R3-unknown", "a mark that is not known means none", 7},
	{"R3-fill", "a flush makes a mark known that was not", 2308},
	{"R3-epoch", "an answer is stored although marks were evicted meanwhile", 7681},
	{"D1-split", "a split leaves the parent's interval as it was", 5},
	{"D1-rows", "a split leaves the child's records with the parent", 8},
	{"D1-fence", "a child does not begin with its parent's fence", 5},
	{"D1-heir", "a child is founded before its rows are durable", 31},
	{"D1-keep", "what is owed to a child is let go when one replica has it", 216},
	{"D1-owed", "whoever receives a snapshot of the parent owes nothing", 1694},
	{"D1-settle", "what is owed is let go before a checkpoint covers the split", 1107},
	{"D1-replay", "replay begins with the newest interval", 7},
	{"D1-joiner", "who joins begins with the newest interval", 3},
	{"D1-told", "a child may be made before the split's batch is written", 5},
	{"D1-again", "what changes while rows are copied before the split is not copied again", 48},
	{"R3-route", "marks are used with an older route than their writes", 1508},
	{"R3-lent", "what is lent of a child is shown at any mark", 209},
	{"R3-noted", "a shard whose mark is not known has no writes", 756},
	{"D1-loan", "what was lent is shown when its records are gone", 30},
	{"R3-back", "marks are used for an older interval than they were read by", 657},
	{"E1-once", "apply does a command again that was done", 2},
	{"E1-settled", "a command that the client has left behind is done", 5},
	{"E1-over", "a command of a session that has ended is done", 35},
	{"E1-replay", "replay begins with what was done later", 25},
	{"E1-early", "what is settled goes before a checkpoint covers it", 234},
	{"E1-split", "a child does not begin with its parent's sessions", 1},
	{"E1-snapshot", "a snapshot leaves out sessions", 7},
	{"E1-heir", "a session opened after a split is used with the child", 183},
	{"D1-get", "a record is asked from a shard that does not own it", 13},
	{"E1-number", "what is sent again gets another number", 3},
	{"RI-ask", "a follower answers a linearizable read as it stands", 3},
	{"RI-wait", "a follower does not wait until it has applied the leader's index", 7},
};

#define LAWS (sizeof(laws) / sizeof(laws[0]))
#define SESSION_LAWS 12			/* the last of them: in worlds with sessions */
#define SPLIT_LAWS (16 + SESSION_LAWS)	/* these, too: in worlds with splits */

#ifdef VT_BREAKS

#define AT_ONCE 2

typedef struct Report
{
	uint64_t	seed;
	uint64_t	tried;
	bool		caught;
	char		words[160];
} Report;

static bool
notices(const Law *law, uint64_t seed, Report *report)
{
	SimWorld	world = {.seed = seed, .guest = &shard_guest, .splits = law >= laws + LAWS - SPLIT_LAWS,
		.sessions = law >= laws + LAWS - SESSION_LAWS
	};
	Sim		   *sim = sim_run(world, NULL);

	report->seed = seed;
	report->tried++;
	report->caught = sim->failed;
	snprintf(report->words, sizeof(report->words), "%.*s", (int) sizeof(report->words) - 1, sim->violation);
	sim_free(sim);
	return report->caught;
}

static void
hunt(const Law *law, uint64_t first, uint64_t budget, Report *report)
{
	setenv("VECTRON_BREAK", law->name, 1);
	zoo_limit(400);
	if (first != 0 || law->seed == 0 || !notices(law, law->seed, report))
		for (uint64_t i = 0; i < budget && !notices(law, (first ? first : 1) + i, report); i++)
			continue;
	_exit(0);
}

static bool
tell(const Law *law, const Report *report)
{
	printf("%-14s %-66s ", law->name, law->words);
	if (report->caught)
		printf("seed %6llu  %s\n", LLU(report->seed), report->words);
	else
		printf("NOT NOTICED in %llu seeds\n", LLU(report->tried));
	fflush(stdout);
	return report->caught;
}

/* first 0: each law's own seed, then from 1 on. */
int
shard_zoo_run(const char *only, uint64_t first, uint64_t budget)
{
	Report	   *reports = mmap(NULL, sizeof(Report) * LAWS, PROT_READ | PROT_WRITE,
							   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t	passed = 0;
	uint32_t	failed = 0;
	uint32_t	running = 0;
	size_t		told = 0;
	pid_t		pids[LAWS] = {0};

	if (reports == MAP_FAILED)
		return 2;
	for (size_t i = 0; told < LAWS;)
	{
		pid_t		ended;

		if (i < LAWS && running < AT_ONCE)
		{
			if (only == NULL || strcmp(only, laws[i].name) == 0)
			{
				fflush(stdout);
				pids[i] = fork();
				if (pids[i] == 0)
					hunt(&laws[i], first, budget, &reports[i]);
				if (pids[i] < 0)
					return 2;
				running++;
			}
			else
				pids[i] = -1;
			i++;
			continue;
		}
		ended = running > 0 ? wait(NULL) : 0;
		running -= ended > 0;
		for (size_t k = 0; k < LAWS; k++)
			if (pids[k] == ended)
				pids[k] = -1;
		/* In their order. */
		for (; told < LAWS && pids[told] == -1; told++)
			if (only == NULL || strcmp(only, laws[told].name) == 0)
			{
				bool		good = tell(&laws[told], &reports[told]);

				passed += good;
				failed += !good;
			}
	}
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed > 0 || passed == 0;
}

#else

int
shard_zoo_run(const char *only, uint64_t first, uint64_t budget)
{
	(void) only;
	(void) first;
	(void) budget;
	printf("this program was built without -DVT_BREAKS\n");
	printf("0 passed, 0 failed, %zu skipped\n", LAWS);
	return 0;
}

#endif
