/*-------------------------------------------------------------------------
 *
 * pd_tasks.h
 *	  What a worker of the model does with a task; part of pd_world.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_PD_TASKS_H
#define TEST_PD_TASKS_H

static WireShardDesc
desc_of_task(json_t *task)
{
	const char *hex = json_string_value(json_object_get(task, "desc"));
	Buf			bytes = {0};
	WireShardDesc desc;
	Cursor		c;

	for (; hex && hex[0]; hex += 2)
	{
		unsigned	byte;

		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		buf_put_u8(&bytes, (uint8_t) byte);
	}
	c = cursor_of(buf_bytes(&bytes));
	assert_int_equal(wire_desc_get(&c, &desc), VT_OK);
	assert_true(cursor_done(&c));
	buf_free(&bytes);
	return desc;
}

static void
do_create(PdWorld *w, WStore *s, json_t *task, uint64_t shard, uint64_t replica)
{
	WireShardDesc desc = desc_of_task(task);
	bool		bootstrap = json_is_true(json_object_get(task, "bootstrap"));
	WReplica   *r = replica_on(s, shard);
	WGroup	   *g = group_of(w, shard);

	assert_int_equal(desc.shard, shard);
	if (r || s->damaged.shard == shard)
		return;					/* it is there, or another must go first */
	for (uint32_t i = 0; i < s->ndead; i++)
		if (s->dead[i] == replica)
			return;
	if (s->lost == replica)
		fail_msg("replica %" PRIu64 " of shard %" PRIu64 " is to be made again where it was before", replica, shard);
	assert_true(s->n < W_SHARDS);
	r = &s->replicas[s->n++];
	memset(r, 0, sizeof(*r));
	r->shard = shard;
	r->replica = replica;
	r->life = desc.incarnation;
	w->created++;
	if (!bootstrap)
		return;
	r->conf_index = r->match = 1;
	if (g)
		return;
	g = group_of(w, 0);
	assert_non_null(g);
	memset(g, 0, sizeof(*g));
	g->shard = shard;
	g->conf_index = g->last = g->acked = 1;
	g->n = desc.nreplicas;
	memcpy(g->members, desc.replicas, sizeof(g->members));
}

static void
do_change(PdWorld *w, WStore *s, json_t *task, uint64_t shard)
{
	WGroup	   *g = group_of(w, shard);
	WReplica   *r = replica_on(s, shard);
	json_t	   *members = json_object_get(task, "members");
	uint64_t	conf_index;
	uint32_t	before;
	uint32_t	after;
	uint32_t	voters;
	size_t		i;
	json_t	   *member;

	assert_true(get_u64(task, "conf_index", &conf_index));
	if (!g || !r || g->leader != r->replica || g->joint || g->conf_index != conf_index)
		return;					/* as Raft would refuse it */
	assert_in_range(json_array_size(members), 1, WIRE_REPLICAS_MAX);
	json_array_foreach(members, i, member)
	{
		assert_true(get_u64(member, "replica", &g->next[i].replica));
		assert_true(get_u64(member, "store", &g->next[i].store));
		g->next[i].role = strcmp(json_string_value(json_object_get(member, "role")), "voter") == 0 ?
			ROLE_VOTER : ROLE_LEARNER;
	}
	g->nnext = (uint32_t) i;
	if (!is_in(g->next, g->nnext, g->leader))
		fail_msg("shard %" PRIu64 ": the leader is to be removed", shard);
	for (uint32_t a = 0; a < g->nnext; a++)
		for (uint32_t b = 0; b < a; b++)
			assert_true(g->next[a].store != g->next[b].store);

	/* Nothing healthy leaves below what is wanted, unless a store died just now. */
	before = live_voters(w, shard, g->members, g->n, &voters);
	after = live_voters(w, shard, g->next, g->nnext, &voters);
	if (after < before && after < w->wanted)
		for (uint32_t k = 0;; k++)
		{
			if (k == w->nstores)
				fail_msg("shard %" PRIu64 " goes from %u to %u live voters of %u", shard, before, after, w->wanted);
			if (!w->stores[k].alive && w->now - w->stores[k].died_at < 90 * SECOND_US)
				break;
		}
	g->joint = true;
	g->joint_index = r->conf_index = r->match = ++g->last;
	g->joint_until = w->now + 200000 + prng_below(&w->prng, 400000);
	w->changes++;
}

/*
 * recover_shard.  Who is forced to lead must be the one with the most of those that
 * are left, each of which has heard before that the old life is over; and there is
 * one for each life.
 */
static void
do_recover(PdWorld *w, WStore *s, json_t *task, uint64_t shard, uint64_t replica)
{
	WGroup	   *g = group_of(w, shard);
	WReplica   *r = replica_on(s, shard);
	json_t	   *members = json_object_get(task, "members");
	uint64_t	life;
	size_t		i;
	json_t	   *member;

	assert_true(get_u64(task, "incarnation", &life));
	if (!r || r->replica != replica)
		return;
	if (r->life < life)
		r->life = life;
	if (!members || g->forced == replica)
		return;
	if (g->life == life)
		fail_msg("shard %" PRIu64 ": replicas %" PRIu64 " and %" PRIu64 " are both to go on", shard, g->forced, replica);
	for (uint32_t k = 0; k < w->nstores; k++)
	{
		WReplica   *other = w->stores[k].alive ? replica_on(&w->stores[k], shard) : NULL;

		if (other && is_in(g->members, g->n, other->replica) && other->life < life)
			fail_msg("shard %" PRIu64 ": replica %" PRIu64 " goes on, and %" PRIu64 " still serves the life before", shard, replica, other->replica);
		if (other && other->match > r->match)
			fail_msg("shard %" PRIu64 ": replica %" PRIu64 " goes on with %" PRIu64 " entries, and there is one with %" PRIu64, shard, replica, r->match, other->match);
	}
	g->n = 0;
	json_array_foreach(members, i, member)
	{
		assert_true(get_u64(member, "replica", &g->members[g->n].replica));
		assert_true(get_u64(member, "store", &g->members[g->n].store));
		g->members[g->n].role = strcmp(json_string_value(json_object_get(member, "role")), "voter") == 0 ? ROLE_VOTER : ROLE_LEARNER;
		assert_int_equal(g->members[g->n].role == ROLE_VOTER, g->members[g->n].replica == replica);
		g->n++;
	}
	if (g->acked > r->match)
		w->lost += g->acked - r->match;
	g->joint = false;
	g->last = g->acked = r->match;
	g->conf_index = r->conf_index = ++g->last;
	g->term += 1000;
	g->leader = g->forced = replica;
	g->life = life;
	g->headless_since = 0;
}

/* It is not, or no longer, here; said twice is fine. */
static void
tell_dropped(WStore *s, uint64_t shard)
{
	if (s->ntold < sizeof(s->told) / sizeof(s->told[0]))
		s->told[s->ntold++] = shard;
}

static bool
is_live(PdWorld *w, uint64_t shard)
{
	CatalogCollection *c;

	return find_shard(&w->pd, shard, &c) && c->state == COLLECTION_LIVE;
}

static void
do_drop(PdWorld *w, WStore *s, uint64_t shard, uint64_t replica)
{
	WGroup	   *g = group_of(w, shard);
	WReplica   *r = replica_on(s, shard);

	if (!r || r->replica == replica)
		tell_dropped(s, shard);
	if (!r && s->damaged.shard == shard && s->damaged.replica == replica)
	{
		memset(&s->damaged, 0, sizeof(s->damaged));
		s->dead[s->ndead++] = replica;
		w->dropped++;
		return;
	}
	if (!r || r->replica != replica)
		return;
	if (g && is_live(w, shard) && (is_in(g->members, g->n, replica) || (g->joint && is_in(g->next, g->nnext, replica))))
		for (uint32_t i = 0; i < g->n; i++)
			if (g->members[i].replica == replica && g->members[i].role == ROLE_VOTER)
				fail_msg("shard %" PRIu64 ": voter %" PRIu64 " is to be deleted", shard, replica);
	*r = s->replicas[--s->n];
	assert_true(s->ndead < 256);
	s->dead[s->ndead++] = replica;
	w->dropped++;
}

static void
do_task(PdWorld *w, WStore *s, json_t *task)
{
	const char *what = json_string_value(json_object_get(task, "task"));
	json_t	   *traced = json_copy(task);
	char	   *text;
	uint64_t	shard;
	uint64_t	replica = 0;
	WGroup	   *g;

	json_object_del(traced, "desc");	/* it holds random ids */
	text = json_dumps(traced, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(traced);
	for (const char *p = text; *p; p++)
		w->trace = (w->trace ^ (uint8_t) *p) * UINT64_C(0x100000001b3);
	if (getenv("VERBOSE"))
		print_message("%.1f store %" PRIu64 ": %s\n", (double) (w->now / 100000) / 10, s->id, text);
	free(text);
	assert_non_null(what);
	assert_true(get_u64(task, "shard", &shard));
	get_u64(task, "replica", &replica);
	g = group_of(w, shard);
	if (strcmp(what, "create_shard") == 0)
		do_create(w, s, task, shard, replica);
	else if (strcmp(what, "change_members") == 0)
		do_change(w, s, task, shard);
	else if (strcmp(what, "recover_shard") == 0)
		do_recover(w, s, task, shard, replica);
	else if (strcmp(what, "drop_shard") == 0)
		do_drop(w, s, shard, replica);
	else if (strcmp(what, "transfer_leader") == 0)
	{
		if (g && g->leader && replica_on(s, shard) && replica_on(s, shard)->replica == g->leader && !g->joint &&
			is_in(g->members, g->n, replica))
		{
			for (uint32_t i = 0; i < g->n; i++)
				w->transfers_in_vain += g->members[i].replica == replica && !live(w, shard, &g->members[i]);
			for (uint32_t i = 0; i < g->n; i++)
				if (g->members[i].replica == replica && live(w, shard, &g->members[i]) &&
					g->members[i].role == ROLE_VOTER && live(w, shard, &g->members[i])->match == g->last)
				{
					g->leader = replica;
					g->term++;
					w->transfers++;
				}
		}
	}
	else if (strcmp(what, "verify_shard") == 0)
	{
		assert_true(g && replica_on(s, shard) && get_u64(task, "id", &g->verify));
		g->verify_at = ++g->last;
	}
	else if (strcmp(what, "set_aside") == 0)
	{
		WReplica   *r = replica_on(s, shard);

		if (r && r->replica == replica)
		{
			if (!r->wrong && !r->other)
				fail_msg("shard %" PRIu64 ": replica %" PRIu64 " is set aside, and is right", shard, replica);
			s->damaged = *r;
			*r = s->replicas[--s->n];
		}
	}
	else if (strcmp(what, "prepare_split") == 0)
	{
		if (!s->stuck && replica_on(s, shard))
			replica_on(s, shard)->prepared = desc_of_task(task).shard;
	}
	else if (strcmp(what, "split_shard") == 0)
		w->splits_asked++;
	else if (strcmp(what, "close_shard") == 0)
	{
		/* It stays on disk, and is not spoken of. */
		WReplica   *r = replica_on(s, shard);

		if (r)
			*r = s->replicas[--s->n];
	}
	else if (strcmp(what, "open_shard") != 0)	/* what is here is open */
		fail_msg("task \"%s\"", what);
}

#endif							/* TEST_PD_TASKS_H */
