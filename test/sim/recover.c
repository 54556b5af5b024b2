/*-------------------------------------------------------------------------
 *
 * recover.c
 *	  Majorities that are lost for good; what is left goes on by force.
 *
 * The placement driver's part (src/pd/recover.c) in one step, with the core's
 * raft_force: members are lost until those that are left cannot decide; these are closed,
 * and so is everybody's old life; the most advanced is forced to vote alone, the others
 * are its learners.  What was said before is still on its way.
 *
 * From then on the truth is what the chosen one has.  [R]: of what was committed it
 * has whatever any other that is left has, and all of it where exactly half of the voters
 * were lost (docs/decisions/0011).  All other rules hold as ever: what was lost was
 * never.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#define LLU(x) ((unsigned long long) (x))

typedef struct Loss
{
	bool		lost[SIM_MAX_REPLICAS + 1];	/* by replica id */
	uint32_t	voters;
	uint32_t	lost_voters;
} Loss;

/* Have those that are left a majority, of each half? */
static bool
can_decide(const RaftConf *conf, const Loss *loss)
{
	for (int half = 0; half <= (conf->joint ? 1 : 0); half++)
	{
		uint8_t		role = half == 0 ? RAFT_VOTER : RAFT_VOTER_OLD;
		uint32_t	all = 0;
		uint32_t	left = 0;

		for (uint32_t i = 0; i < conf->n; i++)
			if ((conf->members[i].roles & role) != 0)
			{
				all++;
				left += !loss->lost[conf->members[i].id];
			}
		if (left * 2 <= all)
			return false;
	}
	return true;
}

/* Any members, and more until nothing can be decided. */
static Loss
draw_loss(Sim *sim, const Group *group, const RaftConf *conf)
{
	Loss		loss = {.voters = 0};

	for (uint32_t i = 0; i < conf->n; i++)
		loss.lost[conf->members[i].id] = !group->replicas[conf->members[i].id - 1].exists || sim_below(sim, 4) == 0;
	while (can_decide(conf, &loss))
		loss.lost[conf->members[sim_below(sim, conf->n)].id] = true;
	for (uint32_t i = 0; i < conf->n; i++)
		if ((conf->members[i].roles & RAFT_VOTER) != 0)
		{
			loss.voters++;
			loss.lost_voters += loss.lost[conf->members[i].id];
		}
	return loss;
}

/* All that a replica has stored; the entries are the caller's to free. */
static VtStatus
load(Sim *sim, const Replica *r, RaftStored *out, RaftEntry **entries)
{
	VtStatus	status = VT_OK;

	*entries = calloc(r->disk.n + 1, sizeof(RaftEntry));
	if (*entries == NULL)
		abort();
	*out = (RaftStored) {.hard = disk_hard(&r->disk), .base = r->disk.base, .applied = r->sm_applied,
		.entries = *entries, .n = r->disk.n};
	for (size_t i = 0; i < r->disk.n && status == VT_OK; i++)
		status = disk_read_entry(&r->disk, r->disk.base.index + 1 + i, false, &sim->memory.vtable, &(*entries)[i]);
	return status;
}

static void
unload(const RaftStored *stored, RaftEntry *entries)
{
	for (size_t i = 0; i < stored->n; i++)
		raft_buf_release(entries[i].data);
	free(entries);
}

static void
write_ready(Sim *sim, Replica *r, const RaftReady *ready)
{
	DiskJob    *job = disk_job_new(r, ready);

	disk_job_apply(sim, &r->disk, job);
	disk_job_free(job);
}

static void
outlive(Sim *sim, const Group *group, Replica *r)
{
	RaftStored	stored;
	RaftEntry  *entries;
	RaftReady	ready = {.append_n = 0};
	uint64_t	fail_in = sim->memory.fail_in;

	sim->memory.fail_in = 0;
	if (load(sim, r, &stored, &entries) == VT_OK && raft_outlive(&stored, group->lives, &ready.hard) == VT_OK && !SIM_BUG(47))
		write_ready(sim, r, &ready);
	unload(&stored, entries);
	sim->memory.fail_in = fail_in;
}

/* Whatever is no member, or lost, is gone; the others are closed.  How many of these have anything. */
static uint32_t
close_group(Sim *sim, Group *group, const RaftConf *conf, const Loss *loss)
{
	uint32_t	left = 0;

	for (uint32_t i = 0; i < group->replicas_n; i++)
	{
		Replica    *r = &group->replicas[i];

		if (r->exists && (loss->lost[r->id] || raft_conf_find(conf, r->id) == NULL))
			sim_destroy_replica(sim, r);
	}
	for (uint32_t i = 0; i < group->replicas_n && !sim->failed; i++)
	{
		Replica    *r = &group->replicas[i];

		if (!r->exists)
			continue;
		if (sim->stores[r->store].up)
		{
			sim_crash(sim, r->store);
			sim_schedule(sim, sim_delay(sim, 20 * TICK_TIME), (Event) {.type = EVENT_RESTART, .store = r->store});
		}
		if (!sim->failed)
			outlive(sim, group, r);
		if (!sim->failed)
			oracle_reopened(sim, r);
		left += disk_last(&r->disk) > 0;
	}
	return left;
}

static bool
is_further(const Replica *a, const Replica *b)
{
	uint64_t	a_term = 0;
	uint64_t	b_term = 0;

	disk_term(&a->disk, disk_last(&a->disk), &a_term);
	disk_term(&b->disk, disk_last(&b->disk), &b_term);
	if (SIM_BUG(46))
		return disk_last(&a->disk) < disk_last(&b->disk);
	return a_term != b_term ? a_term > b_term : disk_last(&a->disk) > disk_last(&b->disk);
}

static Replica *
choose(Group *group)
{
	Replica    *best = NULL;

	for (uint32_t i = 0; i < group->replicas_n; i++)
	{
		Replica    *r = &group->replicas[i];

		if (r->exists && disk_last(&r->disk) > 0 && (!best || is_further(r, best)))
			best = r;
	}
	return best;
}

/* Up to where has it what was committed?  Its chain is that of its disk. */
static uint64_t
held(const Group *group, const Replica *r)
{
	uint64_t	i = disk_last(&r->disk) < group->committed_last ? disk_last(&r->disk) : group->committed_last;

	while (i > r->disk.base.index && i > group->base && oracle_at(group, i)->chain != r->chain[i - group->base])
		i--;
	return i > group->base ? i : group->base;
}

/* [R] */
static void
check_choice(Sim *sim, const Group *group, const RaftConf *conf, const Loss *loss, const Replica *best)
{
	uint64_t	has = held(group, best);

	for (uint32_t i = 0; i < group->replicas_n; i++)
	{
		const Replica *r = &group->replicas[i];

		if (r->exists && disk_last(&r->disk) > 0 && held(group, r) > has)
			sim_fail(sim, "[R] group %u replica %llu goes on with what was committed up to %llu, and %llu has it up to %llu",
					 best->group, LLU(best->id), LLU(has), LLU(r->id), LLU(held(group, r)));
	}
	if (!conf->joint && loss->lost_voters * 2 == loss->voters)
	{
		sim->counts.halves_lost++;
		if (has < group->committed_last)
			sim_fail(sim, "[R] group %u: half of %u voters are left, and what was committed after %llu is not",
					 best->group, loss->voters, LLU(has));
	}
	else if (has < group->committed_last)
		sim->counts.recovered_less++;
}

/* The chosen one votes, the others learn. */
static RaftConf
forced_members(const Group *group, const Replica *best)
{
	RaftConf	conf = {0};

	for (uint32_t i = 0; i < group->replicas_n; i++)
		if (group->replicas[i].exists)
		{
			RaftMember *m = &conf.members[conf.n++];

			m->id = group->replicas[i].id;
			m->node = group->replicas[i].store + 1;
			m->roles = &group->replicas[i] == best ? RAFT_VOTER : RAFT_LEARNER;
		}
	return conf;
}

static void
force(Sim *sim, Group *group, Replica *best)
{
	RaftConf	conf = forced_members(group, best);
	RaftStored	stored;
	RaftEntry  *entries;
	RaftEntry	entry;
	RaftReady	ready = {.append = &entry, .append_n = 1};
	VtError		err = {0};
	VtStatus	status = load(sim, best, &stored, &entries);

	if (status == VT_OK)
		status = raft_force(&stored, best->id, &conf, group->lives, &sim->memory.vtable, &entry, &ready.hard, &err);
	unload(&stored, entries);
	if (status != VT_OK)
	{
		sim_fail(sim, "group %u replica %llu cannot be forced: %s", best->group, LLU(best->id), vt_error_words(&err));
		return;
	}
	write_ready(sim, best, &ready);
	raft_buf_release(entry.data);
	group->forced = entry.index;
}

void
chaos_recover(Sim *sim)
{
	uint32_t	g = sim_below(sim, sim->opt.groups);
	Group	   *group = &sim->groups[g];
	const RaftConf conf = group->confs[group->confs_n - 1];
	Loss		loss = draw_loss(sim, group, &conf);
	uint32_t	has = 0;
	uint64_t	fail_in = sim->memory.fail_in;
	uint64_t	fork;
	Replica    *best;

	/* Of a group of which nothing would be left there is nothing to be seen any more. */
	for (uint32_t i = 0; i < conf.n; i++)
		has += !loss.lost[conf.members[i].id] && disk_last(&group->replicas[conf.members[i].id - 1].disk) > 0;
	if (has == 0)
		return;
	sim_trace(sim, "g%u loses %u of %u voters for good", g, loss.lost_voters, loss.voters);
	group->lives++;
	if (close_group(sim, group, &conf, &loss) == 0 || sim->failed)
		return;
	best = choose(group);
	check_choice(sim, group, &conf, &loss, best);
	if (sim->failed)
		return;
	fork = held(group, best);
	sim->memory.fail_in = 0;	/* else it is asked again */
	force(sim, group, best);
	sim->memory.fail_in = fail_in;
	if (sim->failed)
		return;
	sim->counts.recoveries++;
	sim_trace(sim, "g%u %llu goes on in term %llu, with what was committed up to %llu of %llu", g, LLU(best->id),
			  LLU(disk_hard(&best->disk).term), LLU(fork), LLU(group->committed_last));
	oracle_forced(sim, best, fork);
}
