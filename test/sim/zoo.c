/*-------------------------------------------------------------------------
 *
 * zoo.c
 *	  Deliberate bugs, each of which the simulator must notice.
 *
 * A test is worth what it would catch.  Every bug below was made by somebody
 * (docs/raft-tests.md names whom); the core and the simulator contain them behind
 * RAFT_BUG(n), which is the constant 0 unless built with -DRAFT_BUGS.  Each bug
 * runs in a process of its own, for some make it crash or loop.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define LLU(x) ((unsigned long long) (x))

typedef struct ZooBug
{
	int			number;			/* as in docs/raft-tests.md */
	const char *name;
} ZooBug;

#define IN_RECOVERY(number) ((number) >= 46 && (number) <= 48)

static const ZooBug bugs[] = {
	{1, "entries of older terms committed by counting"},
	{2, "append acknowledged before it is durable"},
	{3, "vote answered before it is durable"},
	{4, "vote forgotten at restart"},
	{5, "campaign with a log that is not durable"},
	{6, "commit beyond what the message verified"},
	{7, "match goes back"},
	{8, "next falls to match or below"},
	{10, "suffix replaced without removing its tail"},
	{11, "short or old append removes what follows"},
	{12, "acknowledgement of a replaced write counts"},
	{13, "any heartbeat answer confirms all reads"},
	{14, "reads before the first commit of the term"},
	{15, "read served before its index is applied"},
	{18, "voters changed in one step, own term not committed"},
	{19, "second change while one is pending"},
	{20, "configuration not rolled back with its entry"},
	{21, "old configuration kept after a snapshot"},
	{22, "uncommitted configuration in a snapshot"},
	{23, "learner refuses its vote"},
	{24, "answers to a pre-vote counted as votes"},
	{25, "pre-vote raises the term"},
	{26, "removed leader counts itself"},
	{27, "compaction beyond what is durably applied"},
	{28, "applied before durable here"},
	{29, "snapshot acknowledged before it is installed"},
	{31, "lost window never probed again"},
	{34, "replica returns under its id with an empty disk"},
	{36, "write after a failed one counts as durable"},
	{39, "heartbeat's commit not clipped to match"},
	{40, "leader counts itself before its own write"},
	{41, "voters changed in one step"},
	{42, "who does not vote any more may never campaign"},
	{43, "payload leaves memory before it is durable"},
	{44, "reads not counted again when the quorum shrinks"},
	{45, "campaign while what was installed is loaded"},
	{49, "the stored commit is believed where more was applied"},
	{50, "all of the log is committed after a restart"},
	{51, "a commit index alone is written"},

	/* In worlds that lose majorities. */
	{46, "the shortest log goes on by force"},
	{47, "a survivor hears what the lost said, late"},
	{48, "a survivor takes a snapshot of what the lost had"},
};

void
zoo_limit(int seconds)
{
	struct itimerval limit = {.it_value = {.tv_sec = seconds}};

	(void) setitimer(ITIMER_PROF, &limit, NULL);
}

#ifdef RAFT_BUGS

typedef struct ZooReport
{
	uint64_t	seed;
	bool		caught;
	char		words[200];
} ZooReport;

static void
hunt(const ZooBug *bug, uint64_t first, uint64_t budget, ZooReport *report)
{
	raft_bug = bug->number;
	zoo_limit(180);
	if (freopen("/dev/null", "w", stderr) == NULL)
		_exit(3);
	for (uint64_t seed = first; seed < first + budget; seed++)
	{
		Sim		   *sim;

		report->seed = seed;
		snprintf(report->words, sizeof(report->words), "stopped by itself");
		sim = sim_run((SimWorld) {.seed = seed, .recover = IN_RECOVERY(bug->number)}, NULL);
		if (sim->failed)
		{
			report->caught = true;
			snprintf(report->words, sizeof(report->words), "%.*s",
					 (int) sizeof(report->words) - 1, sim->violation);
			_exit(0);
		}
		sim_free(sim);
	}
	_exit(0);
}

/* Does the world made smaller break the same invariant, sooner? */
static bool
shrinks_from(uint64_t seed)
{
	SimWorld	world = {.seed = seed};
	SimWorld	less;
	Sim		   *sim;
	uint64_t	events;
	bool		good;

	sim = sim_run(world, NULL);
	events = sim->counts.events;
	good = sim->failed && strncmp(sim->violation, "[P5]", 4) == 0;
	sim_free(sim);
	if (!good)
		return false;
	less = shrink(world);
	sim = sim_run(less, NULL);
	good = sim->failed && strncmp(sim->violation, "[P5]", 4) == 0 && sim->counts.events < events && less.without != 0;
	printf("a world that fails after %llu events, made smaller: after %llu%s\n", LLU(events),
		   LLU(sim->counts.events), good ? "" : ", so another one is tried");
	sim_free(sim);
	return good;
}

/* The way from a world that fails to a smaller one, on a bug that many worlds show; a few are small as they are. */
static bool
shrinks(void)
{
	bool		good = false;

	raft_bug = 10;
	for (uint64_t seed = 1; seed <= 20 && !good; seed++)
		good = shrinks_from(seed);
	raft_bug = 0;
	return good;
}

int
zoo_run(int only, uint64_t first, uint64_t budget)
{
	ZooReport  *report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
							  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t	passed = 0;
	uint32_t	failed = 0;

	if (report == MAP_FAILED)
		return 2;
	for (size_t i = 0; i < sizeof(bugs) / sizeof(bugs[0]); i++)
	{
		int			status;
		pid_t		pid;

		if (only != 0 && bugs[i].number != only)
			continue;
		memset(report, 0, sizeof(*report));
		fflush(stdout);
		pid = fork();
		if (pid == 0)
			hunt(&bugs[i], first, budget, report);
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return 2;
		if (report->caught || (WIFSIGNALED(status) && WTERMSIG(status) != SIGPROF))
		{
			printf("B%-3d %-52s %6llu  %s\n", bugs[i].number, bugs[i].name,
				   LLU(report->seed - first + 1), report->words);
			passed++;
		}
		else
		{
			printf("B%-3d %-52s SURVIVED %llu seeds\n", bugs[i].number, bugs[i].name,
				   LLU(report->seed - first + 1));
			failed++;
		}
	}
	if (only == 0)
	{
		bool		good = shrinks();

		passed += good;
		failed += !good;
	}
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed > 0;
}

#else

int
zoo_run(int only, uint64_t first, uint64_t budget)
{
	(void) only;
	(void) first;
	(void) budget;
	printf("this program was built without -DRAFT_BUGS\n");
	printf("0 passed, 0 failed, %zu skipped\n", sizeof(bugs) / sizeof(bugs[0]));
	return 0;
}

#endif
