/*-------------------------------------------------------------------------
 *
 * scenario.c
 *	  Text scenarios: a story in commands, and the conversation it leads to.
 *
 * A file under scenarios/ is a sequence of blocks: command lines, a line "----",
 * and what they print, up to an empty line.  Nothing happens by itself: time,
 * disks and messages move when a command says so.  The oracle looks on as in
 * random worlds.
 *
 *	cluster V [learners=L] [base=I] [NAME=VALUE ...]
 *							replicas 1..V vote; limits as in RaftOptions
 *	elect N					campaign and settle, told in one line
 *	tick N [COUNT]			campaign N			forget N
 *	propose N WORD ...		read N COOKIE ...	transfer N TO
 *	conf N voters=A,B learners=C		(creates replicas that do not exist)
 *	deliver [A>B] [TYPE]	messages on their way now
 *	drop [A>B] [TYPE]		lose them			double [A>B] [TYPE]
 *	reverse					what was sent last comes first
 *	persist N [COUNT]		writes under way become durable
 *	settle					persist, deliver and apply until nothing moves
 *	cut A B					heal				(what is sent meanwhile is lost)
 *	cut A>B					one way
 *	crash N [KEEP]			restart N			(KEEP writes survive)
 *	compact N INDEX			evict N
 *	snapshot A B			A sends B a snapshot of what it applied
 *	failed A B				that snapshot did not arrive
 *	unreachable A B			A is told that messages to B were dropped
 *	status [N]				log N				peer A B (what A knows of B)
 *
 * --update writes the files anew; the change is then reviewed like code.
 *
 *-------------------------------------------------------------------------
 */
#include "sim.h"

#include <dirent.h>

#define LLU(x) ((unsigned long long) (x))
#define MAX_LINE 600

typedef struct Flying
{
	struct Flying *next;
	uint64_t	from;
	uint64_t	to;
	uint8_t		type;
	size_t		len;
	uint8_t		bytes[];
} Flying;

typedef struct Story
{
	Sim		   *sim;
	Group	   *group;
	Flying	   *flying;
	Flying	  **tail;
	bool		cut[SIM_MAX_REPLICAS + 1][SIM_MAX_REPLICAS + 1];
	DiskJob    *jobs[SIM_MAX_REPLICAS + 1];
	RaftRole	role[SIM_MAX_REPLICAS + 1];
	uint64_t	term[SIM_MAX_REPLICAS + 1];
	FILE	   *out;
} Story;

static void
say(Story *story, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vfprintf(story->out, fmt, args);
	va_end(args);
	fputc('\n', story->out);
}

static void
say_status(Story *story, const char *words, VtStatus status)
{
	if (status != VT_OK)
		say(story, "%s: %s", words, vt_status_words(status));
}

static Replica *
replica(Story *story, const char *word)
{
	uint64_t	id = word != NULL ? strtoull(word, NULL, 10) : 0;

	return id > 0 && id <= story->group->replicas_n ? &story->group->replicas[id - 1] : NULL;
}

/* -- Doing what a replica asks for ---------------------------------------------- */

static void
send_flying(Story *story, const RaftMessage *m)
{
	size_t		len = raft_message_size(m);
	Flying	   *f;

	if (story->cut[m->from][m->to] || m->to > story->group->replicas_n)
		return;
	f = malloc(sizeof(Flying) + len);
	if (f == NULL)
		abort();
	f->next = NULL;
	f->from = m->from;
	f->to = m->to;
	f->type = m->type;
	f->len = len;
	raft_message_encode(m, f->bytes);
	*story->tail = f;
	story->tail = &f->next;
}

static void
say_write(Story *story, const Replica *r, const RaftReady *rd)
{
	char		text[200];
	int			n = snprintf(text, sizeof(text), "%llu writes term=%llu vote=%llu", LLU(r->id),
							 LLU(rd->hard.term), LLU(rd->hard.vote));

	if (rd->snapshot != NULL)
		n += snprintf(text + n, sizeof(text) - (size_t) n, " installs=%llu",
					  LLU(rd->snapshot->index));
	if (rd->truncate_from != 0)
		n += snprintf(text + n, sizeof(text) - (size_t) n, " removes=%llu..",
					  LLU(rd->truncate_from));
	if (rd->append_n > 0)
		snprintf(text + n, sizeof(text) - (size_t) n, " entries=%llu..%llu",
				 LLU(rd->append[0].index), LLU(rd->append[rd->append_n - 1].index));
	say(story, "%s", text);
}

static void
take_ready(Story *story, Replica *r, const RaftReady *rd)
{
	if (rd->role != story->role[r->id] || rd->term != story->term[r->id])
		say(story, "%llu is %s of term %llu", LLU(r->id), raft_role_name(rd->role), LLU(rd->term));
	story->role[r->id] = rd->role;
	story->term[r->id] = rd->term;
	for (size_t i = 0; i < rd->messages_n; i++)
	{
		oracle_sending(story->sim, r, &rd->messages[i]);
		send_flying(story, &rd->messages[i]);
	}
	if (rd->seq != 0)
	{
		DiskJob   **end = &story->jobs[r->id];

		oracle_appended(story->sim, r, rd);
		say_write(story, r, rd);
		while (*end != NULL)
			end = &(*end)->next;
		*end = disk_job_new(r, rd);
	}
	if (rd->committed_n > 0)
		say(story, "%llu applies %llu..%llu", LLU(r->id), LLU(rd->committed[0].index),
			LLU(rd->committed[rd->committed_n - 1].index));
	for (size_t i = 0; i < rd->reads_n; i++)
		if (rd->reads[i].index != 0)
			say(story, "%llu may read %llu at %llu", LLU(r->id), LLU(rd->reads[i].cookie),
				LLU(rd->reads[i].index));
		else
			say(story, "%llu cannot read %llu", LLU(r->id), LLU(rd->reads[i].cookie));
	for (size_t i = 0; i < rd->snapshots_to_n; i++)
		say(story, "%llu wants to send %llu a snapshot", LLU(r->id), LLU(rd->snapshots_to[i]));
	if (rd->gone)
		say(story, "%llu is told that it is no member", LLU(r->id));
}

static void
take_all(Story *story, Replica *r)
{
	RaftReady	rd;

	while (r->raft != NULL && raft_has_ready(r->raft) && !story->sim->failed)
	{
		RaftEntry	entries[16] = {{0}};
		size_t		n = 0;
		uint64_t	applied;

		if (raft_ready(r->raft, &rd) != VT_OK)
			abort();
		take_ready(story, r, &rd);
		applied = rd.committed_n > 0 ? rd.committed[rd.committed_n - 1].index : 0;
		for (uint64_t i = rd.fetch.first; i != 0 && i <= rd.fetch.last && n < 16; i++)
			if (disk_read_entry(&r->disk, i, true, &story->sim->memory.vtable, &entries[n]) == VT_OK)
				n++;
		if (n > 0)
		{
			say(story, "%llu fetches %llu..%llu", LLU(r->id), LLU(rd.fetch.first),
				LLU(rd.fetch.last));
			(void) raft_fetched(r->raft, entries, n);
		}
		for (size_t i = 0; i < n; i++)
			raft_buf_release(entries[i].data);
		if (applied > r->sm_applied)
		{
			r->sm_applied = applied;
			r->disk.checkpoint = applied;
			if (raft_applied(r->raft, applied) != VT_OK)
				abort();
		}
	}
	oracle_look(story->sim, r, true);
}

static bool
persist(Story *story, Replica *r, uint64_t count)
{
	bool		any = false;

	while (count-- > 0 && r->raft != NULL && story->jobs[r->id] != NULL)
	{
		DiskJob    *job = story->jobs[r->id];
		RaftHardState hard = disk_hard(&r->disk);

		story->jobs[r->id] = job->next;
		disk_job_apply(story->sim, &r->disk, job);
		oracle_durable(story->sim, r, &hard, &job->hard);
		if (job->install && r->sm_applied < job->snapshot.index)
			r->sm_applied = job->snapshot.index;
		if (raft_persisted(r->raft, job->seq) != VT_OK)
			abort();
		disk_job_free(job);
		take_all(story, r);
		any = true;
	}
	return any;
}

static bool
matches(const Flying *f, const char *link, const char *type)
{
	char		ours[64];

	snprintf(ours, sizeof(ours), "%llu>%llu", LLU(f->from), LLU(f->to));
	if (link != NULL && strcmp(link, ours) != 0)
		return false;
	return type == NULL || strcmp(type, raft_message_name(f->type)) == 0;
}

/* Hand over, or lose, what is on its way at this moment. */
static bool
move_flying(Story *story, const char *link, const char *type, bool lose)
{
	Flying	   *moving = NULL;
	Flying	  **end = &moving;
	Flying	  **at = &story->flying;
	bool		any = false;

	if (link != NULL && strchr(link, '>') == NULL)
	{
		type = link;
		link = NULL;
	}
	while (*at != NULL)
	{
		Flying	   *f = *at;

		if (!matches(f, link, type))
		{
			at = &f->next;
			continue;
		}
		*at = f->next;
		f->next = NULL;
		*end = f;
		end = &f->next;
	}
	story->tail = at;

	while (moving != NULL)
	{
		Flying	   *f = moving;
		Replica    *r = &story->group->replicas[f->to - 1];
		RaftMessage m;
		char		text[600];

		moving = f->next;
		if (raft_message_decode(bytes_of(f->bytes, f->len), &story->sim->memory.vtable, &m) != VT_OK)
			abort();
		sim_format_message(&m, text, sizeof(text));
		if (lose || r->raft == NULL)
			say(story, "lost %s", text);
		else
		{
			say(story, "%s", text);
			say_status(story, "refused", raft_step(r->raft, &m));
		}
		raft_message_free(&m, &story->sim->memory.vtable);
		free(f);
		if (!lose && r->raft != NULL)
			take_all(story, r);
		any = true;
	}
	return any;
}

/* Another copy of what is on its way, behind it. */
static void
double_flying(Story *story, const char *link, const char *type)
{
	Flying	   *last = NULL;

	if (link != NULL && strchr(link, '>') == NULL)
	{
		type = link;
		link = NULL;
	}
	for (Flying *f = story->flying; f != NULL; f = f->next)
		last = f;
	for (Flying *f = story->flying; f != NULL; f = f->next)
	{
		if (matches(f, link, type))
		{
			Flying	   *copy = malloc(sizeof(Flying) + f->len);

			if (copy == NULL)
				abort();
			memcpy(copy, f, sizeof(Flying) + f->len);
			copy->next = NULL;
			*story->tail = copy;
			story->tail = &copy->next;
		}
		if (f == last)
			break;
	}
}

static void
reverse_flying(Story *story)
{
	Flying	   *f = story->flying;

	story->flying = NULL;
	while (f != NULL)
	{
		Flying	   *next = f->next;

		f->next = story->flying;
		story->flying = f;
		f = next;
	}
	story->tail = &story->flying;
	while (*story->tail != NULL)
		story->tail = &(*story->tail)->next;
}

static void
settle(Story *story)
{
	bool		moved = true;

	for (int i = 0; moved && i < 100; i++)
	{
		moved = false;
		for (uint32_t k = 0; k < story->group->replicas_n; k++)
			moved = persist(story, &story->group->replicas[k], UINT64_MAX) || moved;
		moved = move_flying(story, NULL, NULL, false) || moved;
	}
}

/* -- Commands --------------------------------------------------------------------- */

static void
open_again(Story *story, Replica *r)
{
	RaftOptions options = story->group->options;
	VtError		err;

	options.id = r->id;
	options.seed = r->id;
	options.allocator = &story->sim->memory.vtable;
	if (disk_open(&r->disk, &options, r->sm_applied, &r->raft, &err) != VT_OK)
	{
		say(story, "%llu does not open: %s", LLU(r->id), err.msg);
		return;
	}
	oracle_reopened(story->sim, r);
	story->role[r->id] = RAFT_FOLLOWER;
	story->term[r->id] = disk_hard(&r->disk).term;
	take_all(story, r);
}

static Replica *
add_replica(Story *story, bool founder)
{
	uint32_t	n = story->group->replicas_n;
	Replica    *r = sim_create_replica(story->sim, 0, n % SIM_MAX_STORES, founder);

	if (r != NULL)
		open_again(story, r);
	return r;
}

static void
set_option(RaftOptions *o, const char *word)
{
	static const struct
	{
		const char *name;
		size_t		offset;
		bool		wide;
	}			known[] = {
		{"max_message_entries", offsetof(RaftOptions, max_message_entries), false},
		{"max_message_bytes", offsetof(RaftOptions, max_message_bytes), false},
		{"max_inflight_messages", offsetof(RaftOptions, max_inflight_messages), false},
		{"max_uncommitted_bytes", offsetof(RaftOptions, max_uncommitted_bytes), true},
		{"max_inflight_bytes", offsetof(RaftOptions, max_inflight_bytes), true},
		{"max_apply_bytes", offsetof(RaftOptions, max_apply_bytes), true},
		{"max_reads", offsetof(RaftOptions, max_reads), false},
		{"transfer_max_lag", offsetof(RaftOptions, transfer_max_lag), true},
		{"promote_max_lag", offsetof(RaftOptions, promote_max_lag), true},
		{"snapshot_first_bytes", offsetof(RaftOptions, snapshot_first_bytes), true},
	};
	const char *value = strchr(word, '=');

	for (size_t i = 0; value != NULL && i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strncmp(word, known[i].name, (size_t) (value - word)) != 0)
			continue;
		if (known[i].wide)
			*(uint64_t *) ((char *) o + known[i].offset) = strtoull(value + 1, NULL, 10);
		else
			*(uint32_t *) ((char *) o + known[i].offset) = (uint32_t) strtoul(value + 1, NULL, 10);
	}
}

static void
make_cluster(Story *story, char **words, int n)
{
	Group	   *group = story->group;
	uint32_t	voters = (uint32_t) strtoul(words[1], NULL, 10);
	uint32_t	learners = 0;
	RaftSnapshot *origin = &group->origin;

	raft_options_init(&group->options);
	for (int i = 2; i < n; i++)
	{
		if (strncmp(words[i], "learners=", 9) == 0)
			learners = (uint32_t) strtoul(words[i] + 9, NULL, 10);
		else if (strncmp(words[i], "base=", 5) == 0)
			group->base = strtoull(words[i] + 5, NULL, 10);
		else
			set_option(&group->options, words[i]);
	}
	group->id = 1;
	group->options.group = 1;
	origin->index = origin->conf_index = group->base;
	origin->term = group->base > 0 ? 1 : 0;
	origin->conf.n = voters + learners;
	for (uint32_t i = 0; i < origin->conf.n; i++)
	{
		origin->conf.members[i].id = origin->conf.members[i].node = i + 1;
		origin->conf.members[i].roles = i < voters ? RAFT_VOTER : RAFT_LEARNER;
	}
	oracle_start(story->sim, group);
	for (uint32_t i = 0; i < origin->conf.n; i++)
		add_replica(story, true);
}

static void
add_members(Story *story, RaftConf *conf, const char *list, uint8_t role)
{
	while (*list != '\0')
	{
		char	   *end;
		uint64_t	id = strtoull(list, &end, 10);
		uint32_t	at = conf->n++;

		while (story->group->replicas_n < id)
			add_replica(story, false);
		for (; at > 0 && conf->members[at - 1].id > id; at--)
			conf->members[at] = conf->members[at - 1];
		conf->members[at] = (RaftMember) {.id = id, .node = id, .roles = role};
		list = *end == ',' ? end + 1 : end;
	}
}

static void
change_conf(Story *story, Replica *r, char **words, int n)
{
	RaftConf	target;
	RaftStatus	status;

	memset(&target, 0, sizeof(target));
	for (int i = 2; i < n; i++)
	{
		if (strncmp(words[i], "voters=", 7) == 0)
			add_members(story, &target, words[i] + 7, RAFT_VOTER);
		else if (strncmp(words[i], "learners=", 9) == 0)
			add_members(story, &target, words[i] + 9, RAFT_LEARNER);
	}
	raft_get_status(r->raft, &status);
	say_status(story, "refused", raft_propose_conf(r->raft, &target, status.conf_index, NULL));
}

static void
say_conf(const RaftConf *conf, char *out, size_t size)
{
	int			n = snprintf(out, size, "%s", conf->joint ? " joint" : "");

	for (uint32_t i = 0; i < conf->n; i++)
		n += snprintf(out + n, size - (size_t) n, " %llu%s%s%s", LLU(conf->members[i].id),
					  (conf->members[i].roles & RAFT_VOTER) != 0 ? "v" : "",
					  (conf->members[i].roles & RAFT_VOTER_OLD) != 0 ? "o" : "",
					  (conf->members[i].roles & RAFT_LEARNER) != 0 ? "l" : "");
}

static void
say_replica(Story *story, const Replica *r)
{
	RaftStatus	s;
	char		conf[300];

	if (r->raft == NULL)
	{
		say(story, "%llu down", LLU(r->id));
		return;
	}
	raft_get_status(r->raft, &s);
	say_conf(raft_get_conf(r->raft), conf, sizeof(conf));
	say(story, "%llu %s term=%llu leader=%llu commit=%llu log=%llu..%llu durable=%llu conf=%llu:%s",
		LLU(r->id), raft_role_name(s.role), LLU(s.term), LLU(s.leader), LLU(s.commit),
		LLU(s.base + 1), LLU(s.last), LLU(s.stable), LLU(s.conf_index), conf);
}

static void
say_log(Story *story, const Replica *r)
{
	RaftStatus	s;

	raft_get_status(r->raft, &s);
	for (uint64_t i = s.base + 1; i <= s.last; i++)
	{
		const RaftEntry *e = raft_get_entry(r->raft, i);

		say(story, "%llu/%llu %s%.*s", LLU(e->index), LLU(e->term),
			e->type == RAFT_NOOP ? "noop" : e->type == RAFT_CONF ? "conf" : "",
			e->type == RAFT_COMMAND && e->data != NULL ? (int) e->data->len : 0,
			e->data != NULL ? (const char *) e->data->data : "");
	}
}

static void
crash(Story *story, Replica *r, uint64_t keep)
{
	while (story->jobs[r->id] != NULL)
	{
		DiskJob    *job = story->jobs[r->id];

		story->jobs[r->id] = job->next;
		if (keep > 0)
		{
			disk_job_apply(story->sim, &r->disk, job);
			keep--;
		}
		disk_job_free(job);
	}
	raft_close(r->raft);
	r->raft = NULL;
}

static void
propose_words(Story *story, Replica *r, char **words, int n)
{
	for (int i = 2; i < n; i++)
	{
		RaftBuf    *buf = raft_buf_new(&story->sim->memory.vtable, words[i],
									   (uint32_t) strlen(words[i]));

		say_status(story, "refused", raft_propose(r->raft, &buf, 1, NULL, NULL));
		raft_buf_release(buf);
	}
}

static void
send_snapshot(Story *story, Replica *r, uint64_t to)
{
	RaftSnapshot snapshot;
	VtStatus	status = raft_snapshot_at(r->raft, r->sm_applied, &snapshot);

	if (status == VT_OK)
	{
		oracle_snapshot(story->sim, r, &snapshot);
		status = raft_send_snapshot(r->raft, to, &snapshot);
	}
	say_status(story, "refused", status);
}

static void
compact(Story *story, Replica *r, uint64_t index)
{
	RaftSnapshot base;
	VtStatus	status = raft_snapshot_at(r->raft, index, &base);

	if (status == VT_OK)
	{
		oracle_snapshot(story->sim, r, &base);
		disk_compact(&r->disk, &base);
		status = raft_compact(r->raft, index);
	}
	say_status(story, "refused", status);
}

/* How a story begins that is not about elections. */
static void
elect(Story *story, Replica *r)
{
	FILE	   *out = story->out;
	char	   *said = NULL;
	size_t		size = 0;
	RaftStatus	status;

	story->out = open_memstream(&said, &size);
	if (story->out == NULL)
		abort();
	(void) raft_campaign(r->raft);
	take_all(story, r);
	settle(story);
	fclose(story->out);
	free(said);
	story->out = out;
	raft_get_status(r->raft, &status);
	say(story, "%llu is %s of term %llu, commit=%llu", LLU(r->id), raft_role_name(status.role),
		LLU(status.term), LLU(status.commit));
}

static void
say_peer(Story *story, Replica *r, uint64_t id)
{
	static const char *const states[] = {"probed", "replicated to", "sent a snapshot"};
	RaftPeer	p;

	if (raft_get_peer(r->raft, id, &p))
		say(story, "%llu is %s: match=%llu next=%llu inflight=%u, %llu bytes", LLU(id), states[p.state],
			LLU(p.match), LLU(p.next), p.inflight_messages, LLU(p.inflight_bytes));
	else
		say(story, "%llu knows nothing of %llu", LLU(r->id), LLU(id));
}

/* Commands that need a replica that is up; false: no such command. */
static bool
run_at_replica(Story *story, Replica *r, char **words, int n)
{
	const char *verb = words[0];
	uint64_t	number = n > 2 ? strtoull(words[2], NULL, 10) : 0;

	if (strcmp(verb, "tick") == 0)
	{
		for (uint64_t i = 0; i < (n > 2 ? number : 1); i++)
		{
			(void) raft_tick(r->raft);
			take_all(story, r);
		}
	}
	else if (strcmp(verb, "campaign") == 0)
		(void) raft_campaign(r->raft);
	else if (strcmp(verb, "elect") == 0)
		elect(story, r);
	else if (strcmp(verb, "peer") == 0)
		say_peer(story, r, number);
	else if (strcmp(verb, "forget") == 0)
		raft_forget_leader(r->raft);
	else if (strcmp(verb, "propose") == 0)
		propose_words(story, r, words, n);
	else if (strcmp(verb, "read") == 0)
	{
		for (int i = 2; i < n; i++)
			say_status(story, "refused", raft_read(r->raft, strtoull(words[i], NULL, 10)));
	}
	else if (strcmp(verb, "transfer") == 0)
		say_status(story, "refused", raft_transfer(r->raft, number));
	else if (strcmp(verb, "unreachable") == 0)
		raft_report_unreachable(r->raft, number);
	else if (strcmp(verb, "conf") == 0)
		change_conf(story, r, words, n);
	else if (strcmp(verb, "persist") == 0)
		(void) persist(story, r, n > 2 ? number : UINT64_MAX);
	else if (strcmp(verb, "crash") == 0)
		crash(story, r, number);
	else if (strcmp(verb, "compact") == 0)
		compact(story, r, number);
	else if (strcmp(verb, "evict") == 0)
		raft_evict(r->raft, r->sm_applied);
	else if (strcmp(verb, "snapshot") == 0)
		send_snapshot(story, r, number);
	else if (strcmp(verb, "failed") == 0)
		raft_report_snapshot(r->raft, number, false);
	else if (strcmp(verb, "log") == 0)
		say_log(story, r);
	else
		return false;
	if (r->raft != NULL)
		take_all(story, r);
	return true;
}

static void
run_line(Story *story, const char *line)
{
	char		copy[MAX_LINE];
	char	   *words[32];
	int			n = 0;
	char	   *save = NULL;
	Replica    *r;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *w = strtok_r(copy, " \t\n", &save); w != NULL && n < 31; w = strtok_r(NULL, " \t\n", &save))
		words[n++] = w;
	words[n] = NULL;
	if (n == 0 || words[0][0] == '#')
		return;
	r = n > 1 ? replica(story, words[1]) : NULL;
	if (strcmp(words[0], "cluster") == 0 && n > 1)
		make_cluster(story, words, n);
	else if (strcmp(words[0], "deliver") == 0 || strcmp(words[0], "drop") == 0)
		(void) move_flying(story, n > 1 ? words[1] : NULL, n > 2 ? words[2] : NULL,
						   strcmp(words[0], "drop") == 0);
	else if (strcmp(words[0], "double") == 0)
		double_flying(story, n > 1 ? words[1] : NULL, n > 2 ? words[2] : NULL);
	else if (strcmp(words[0], "reverse") == 0)
		reverse_flying(story);
	else if (strcmp(words[0], "settle") == 0)
		settle(story);
	else if (strcmp(words[0], "cut") == 0 && n == 2 && strchr(words[1], '>') != NULL)
		story->cut[strtoull(words[1], NULL, 10) % SIM_MAX_REPLICAS]
			[strtoull(strchr(words[1], '>') + 1, NULL, 10) % SIM_MAX_REPLICAS] = true;
	else if (strcmp(words[0], "cut") == 0 && n > 2)
	{
		uint64_t	a = strtoull(words[1], NULL, 10) % SIM_MAX_REPLICAS;
		uint64_t	b = strtoull(words[2], NULL, 10) % SIM_MAX_REPLICAS;

		story->cut[a][b] = story->cut[b][a] = true;
	}
	else if (strcmp(words[0], "heal") == 0)
		memset(story->cut, 0, sizeof(story->cut));
	else if (strcmp(words[0], "status") == 0)
	{
		for (uint32_t i = 0; i < story->group->replicas_n; i++)
			if (r == NULL || r == &story->group->replicas[i])
				say_replica(story, &story->group->replicas[i]);
	}
	else if (strcmp(words[0], "restart") == 0 && r != NULL && r->raft == NULL)
		open_again(story, r);
	else if (r == NULL || r->raft == NULL || !run_at_replica(story, r, words, n))
		say(story, "cannot: %s", line);
	if (story->sim->failed)
		say(story, "VIOLATION %s", story->sim->violation);
}

/* -- Files --------------------------------------------------------------------------- */

static void
start_story(Story *story, FILE *out)
{
	memset(story, 0, sizeof(*story));
	story->sim = sim_new((SimWorld) {.seed = 1}, NULL);
	story->sim->calm = true;
	story->sim->opt.groups = 1;
	story->sim->opt.stores = SIM_MAX_STORES;
	story->group = &story->sim->groups[0];
	story->tail = &story->flying;
	story->out = out;
}

static void
end_story(Story *story)
{
	while (story->flying != NULL)
	{
		Flying	   *f = story->flying;

		story->flying = f->next;
		free(f);
	}
	for (uint32_t i = 1; i <= SIM_MAX_REPLICAS; i++)
		while (story->jobs[i] != NULL)
		{
			DiskJob    *job = story->jobs[i];

			story->jobs[i] = job->next;
			disk_job_free(job);
		}
	sim_free(story->sim);
}

/* What the file ought to be: its commands with what they print now. */
static char *
play(FILE *in, bool *broken)
{
	char	   *text = NULL;
	size_t		size = 0;
	FILE	   *out = open_memstream(&text, &size);
	char		line[MAX_LINE];
	bool		answer = false;
	Story		story;

	if (out == NULL)
		abort();
	start_story(&story, out);
	while (fgets(line, sizeof(line), in) != NULL)
	{
		if (answer)
		{
			/* The old answer: skipped up to the empty line. */
			if (line[0] == '\n')
			{
				fputc('\n', out);
				answer = false;
			}
			continue;
		}
		fputs(line, out);
		if (strcmp(line, "----\n") == 0)
		{
			answer = true;
			continue;
		}
		line[strcspn(line, "\n")] = '\0';
		if (line[0] != '\0' && line[0] != '#')
		{
			/* Answers stand after the rule; remember them until it comes. */
			char	   *said = NULL;
			size_t		said_size = 0;
			FILE	   *memory = open_memstream(&said, &said_size);
			char		more[MAX_LINE];

			if (memory == NULL)
				abort();
			story.out = memory;
			run_line(&story, line);
			while (fgets(more, sizeof(more), in) != NULL && strcmp(more, "----\n") != 0)
			{
				fputs(more, out);
				more[strcspn(more, "\n")] = '\0';
				run_line(&story, more);
			}
			fclose(memory);
			fprintf(out, "----\n%s", said);
			free(said);
			answer = true;
		}
	}
	if (answer)
		fputc('\n', out);
	*broken = story.sim->failed;
	end_story(&story);
	fclose(out);
	return text;
}

static bool
run_file(const char *path, bool update)
{
	FILE	   *in = fopen(path, "r");
	char	   *want = NULL;
	size_t		want_len = 0;
	char	   *got;
	bool		broken;
	bool		same;

	if (in == NULL)
		return false;
	got = play(in, &broken);
	rewind(in);
	if (getdelim(&want, &want_len, '\0', in) < 0)
		want = strdup("");
	fclose(in);
	same = want != NULL && strcmp(want, got) == 0;
	if (!same && update)
	{
		FILE	   *out = fopen(path, "w");

		same = out != NULL && fputs(got, out) >= 0;
		if (out != NULL)
			same = fclose(out) == 0 && same;
	}
	else if (!same)
		printf("%s differs; it now says:\n%s", path, got);
	if (broken)
		printf("%s: a violation\n", path);
	free(want);
	free(got);
	return same && !broken;
}

static int
is_scenario(const struct dirent *entry)
{
	size_t		len = strlen(entry->d_name);

	return len > 4 && strcmp(entry->d_name + len - 4, ".txt") == 0;
}

int
scenario_run_all(const char *path, bool update)
{
	struct dirent **files;
	int			n = scandir(path, &files, is_scenario, alphasort);
	uint32_t	passed = 0;
	uint32_t	failed = 0;

	for (int i = 0; i < n; i++)
	{
		char		file[1024];

		snprintf(file, sizeof(file), "%s/%s", path, files[i]->d_name);
		if (run_file(file, update))
			passed++;
		else
			failed++;
		free(files[i]);
	}
	if (n >= 0)
		free(files);
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed > 0 || passed == 0;
}
