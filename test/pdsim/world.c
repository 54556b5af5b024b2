/*-------------------------------------------------------------------------
 *
 * world.c
 *	  Time, the driver that is tried, and the network between it and its stores.
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <time.h>

#include "pdsim.h"

static Sim *the_sim;			/* whose driver commits */

double
sim_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

void
sim_fail(Sim *sim, const char *format,...)
{
	va_list		args;

	fflush(stdout);
	fprintf(stderr, "%s: at %.1f s: ", sim->scenario, (double) sim->now / 1e6);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

/* -- Events ------------------------------------------------------------------ */

static bool
is_before(const SimEvent *a, const SimEvent *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void
sim_at(Sim *sim, int64_t at_us, SimEventKind kind, uint32_t store, uint64_t id, json_t *body)
{
	SimEvent	event = {at_us, sim->order++, kind, store, id, body};
	size_t		i = sim->nheap++;

	if (i == sim->heap_room)
	{
		sim->heap_room = sim->heap_room ? sim->heap_room * 2 : 1024;
		sim->heap = vt_realloc(sim->heap, sizeof(SimEvent) * sim->heap_room);
	}
	for (; i > 0 && is_before(&event, &sim->heap[(i - 1) / 2]); i = (i - 1) / 2)
		sim->heap[i] = sim->heap[(i - 1) / 2];
	sim->heap[i] = event;
}

static SimEvent
next_event(Sim *sim)
{
	SimEvent	first = sim->heap[0];
	SimEvent	last = sim->heap[--sim->nheap];
	size_t		i = 0;

	for (;;)
	{
		size_t		child = 2 * i + 1;

		if (child >= sim->nheap)
			break;
		if (child + 1 < sim->nheap && is_before(&sim->heap[child + 1], &sim->heap[child]))
			child++;
		if (is_before(&last, &sim->heap[child]))
			break;
		sim->heap[i] = sim->heap[child];
		i = child;
	}
	sim->heap[i] = last;
	return first;
}

/* A letter between a store and the driver: late, lost or doubled. */
void
sim_send(Sim *sim, SimEventKind kind, uint32_t store, uint64_t id, json_t *body)
{
	for (int copies = prng_below(&sim->prng, 100) < sim->doubled ? 2 : 1; copies > 0; copies--)
	{
		int64_t		late = 200 + prng_below(&sim->prng, (uint32_t) sim->delay_us + 1);

		if (prng_below(&sim->prng, 100) >= sim->loss)
			sim_at(sim, sim->now + late * sim->stores[store].slow, kind, store, id, json_incref(body));
	}
	json_decref(body);
}

/* -- The driver -------------------------------------------------------------- */

VtStatus
sim_commit(Pd *pd, Buf *bytes)
{
	ReplicaMachine machine = catalog_machine(pd->catalog);
	ReplicaCommand command;
	VtError		err = {0};
	double		begin = sim_clock();

	memset(&command, 0, sizeof(command));
	command.index = ++the_sim->index;
	command.bytes = buf_bytes(bytes);
	if (machine.apply(machine.state, &command, 1, command.index, &err) != VT_OK)
		sim_fail(the_sim, "a command was refused: %s", vt_error_words(&err));
	buf_free(&command.reply);
	the_sim->figures.commits++;
	the_sim->figures.commit_s += sim_clock() - begin;
	return VT_OK;
}

static void
driver_begins(Sim *sim)
{
	VtError		err = {0};
	uint64_t	applied;

	memset(&sim->pd, 0, sizeof(sim->pd));
	if (catalog_open(sim->rows, &sim->pd.catalog, &applied, &err) != VT_OK)
		sim_fail(sim, "%s", vt_error_words(&err));
	sim->pd.options = sim->options;
	sim->pd.commit = sim_commit;
	sim->pd.now_us = sim->pd.led_since_us = sim->now;
	for (size_t i = 0; i < sim->nstores; i++)
		sim->stores[i].parked_until = 0;
}

static void
driver_ends(Sim *sim)
{
	beats_free(&sim->pd);
	free(sim->pd.holders);
	free(sim->pd.operators);
	catalog_close(sim->pd.catalog);
}

void
sim_new_driver(Sim *sim)
{
	driver_ends(sim);
	driver_begins(sim);
}

void
sim_begin(Sim *sim, const char *scenario, uint64_t seed)
{
	memset(sim, 0, sizeof(*sim));
	the_sim = sim;
	sim->scenario = scenario;
	sim->prng.state = seed;
	sim->now = 1000 * SECOND;
	sim->delay_us = 5000;
	sim->wait_us = SECOND / 2;
	sim->bandwidth = 100 << 20;
	sim->options = (PdOptions) {.down_after_us = 600 * SECOND, .default_replicas = 3, .replicas_max = 5,
		.keep_dropped_us = 3600 * SECOND, .lease_us = 10 * SECOND, .balance = true, .search_replicas = 1};
}

void
sim_open(Sim *sim)
{
	StoreOptions options = {.write_buffer = 16 << 20, .replayed = true};
	CatalogMeta meta = {.next_id = 1000};
	Buf			command = {0};
	VtError		err = {0};

	snprintf(sim->directory, sizeof(sim->directory), "/tmp/vectron-pdsim.XXXXXX");
	if (!mkdtemp(sim->directory) || store_open(sim->directory, &options, &sim->rows, &err) != VT_OK)
		sim_fail(sim, "no catalog: %s", vt_error_words(&err));
	driver_begins(sim);
	memset(&meta.cluster, 7, sizeof(meta.cluster));
	command_begin(&command);
	command_meta(&command, &meta);
	sim_commit(&sim->pd, &command);
	buf_free(&command);
	sim_at(sim, sim->now, EVENT_LOOK, 0, 0, NULL);
}

void
sim_end(Sim *sim)
{
	VtError		err = {0};

	for (size_t i = 0; i < sim->nheap; i++)
		json_decref(sim->heap[i].body);
	free(sim->heap);
	for (size_t i = 0; i < sim->nstores; i++)
	{
		free(sim->stores[i].replicas);
		free(sim->stores[i].dropped);
		free(sim->stores[i].lost);
		idmap_free(&sim->stores[i].at);
		idmap_free(&sim->stores[i].dead);
	}
	free(sim->stores);
	free(sim->groups);
	idmap_free(&sim->store_at);
	idmap_free(&sim->group_at);
	if (!sim->rows)
		return;
	driver_ends(sim);
	store_close(sim->rows);
	if (store_destroy(sim->directory, &err) != VT_OK)
		fprintf(stderr, "%s\n", vt_error_words(&err));
}

/* -- Running ----------------------------------------------------------------- */

/* Without what applying takes, which is another thread's. */
static void
look(Sim *sim, SimLook what, void (*run) (Pd *pd))
{
	double		begin = sim_clock();
	double		commits = sim->figures.commit_s;
	double		took;

	run(&sim->pd);
	took = sim_clock() - begin - (sim->figures.commit_s - commits);
	sim->figures.look_s[what] += took;
	if (took > sim->figures.look_most_s[what])
		sim->figures.look_most_s[what] = took;
}

static void
look_around(Sim *sim)
{
	uint64_t	touches = catalog_touches(sim->pd.catalog);

	sim->figures.looks += sim->now >= sim->pd.plans_due_us || sim->now >= sim->pd.balance_due_us;
	look(sim, LOOK_PLANS, plans_look);
	look(sim, LOOK_REST, handovers_look);
	look(sim, LOOK_BALANCE, rebalance_look);
	look(sim, LOOK_REST, splits_look);
	look(sim, LOOK_REST, operators_look);
	if (touches != catalog_touches(sim->pd.catalog) || sim->pd.woken)
		sim_look_at_parked(sim);
	watch_step(sim);
}

static void
happen(Sim *sim, SimEvent *event)
{
	SimGroup   *group;

	switch (event->kind)
	{
		case EVENT_BEAT:
			sim_beat(sim, event->store);
			break;
		case EVENT_ARRIVES:
			sim_beat_arrives(sim, event->store, event->id, event->body);
			break;
		case EVENT_ANSWER:
			sim_answer(sim, event->store, event->id, event->body);
			break;
		case EVENT_TIMEOUT:
			sim_no_answer(sim, event->store, event->id);
			break;
		case EVENT_UNPARK:
			sim_unpark(sim, event->store, event->id);
			break;
		case EVENT_ELECT:
			sim_elect(sim, sim_group(sim, event->id));
			break;
		case EVENT_JOINT_END:
			sim_joint_end(sim, sim_group(sim, event->id));
			break;
		case EVENT_READY:
			group = sim_group(sim, event->id);
			sim_touch(sim, group);
			break;
		case EVENT_FLAP:
			{
				SimStore   *store = &sim->stores[event->store];

				if (store->period_us == 0)
					break;
				if (store->alive)
					sim_store_dies(sim, store);
				else
					sim_store_lives(sim, store);
				sim_at(sim, sim->now + store->period_us, EVENT_FLAP, event->store, 0, NULL);
				break;
			}
		case EVENT_LOOK:
			look_around(sim);
			sim_at(sim, sim->now + SECOND / 10, EVENT_LOOK, 0, 0, NULL);
			break;
	}
}

void
sim_run(Sim *sim, int64_t us)
{
	int64_t		until = sim->now + us;

	while (sim->nheap > 0 && sim->heap[0].at_us <= until)
	{
		SimEvent	event = next_event(sim);

		sim->now = event.at_us;
		sim->pd.now_us = sim->now;
		happen(sim, &event);
		json_decref(event.body);
	}
	sim->now = until;
	sim->pd.now_us = until;
}
