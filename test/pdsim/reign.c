/*-------------------------------------------------------------------------
 *
 * reign.c
 *	  What a driver that begins to lead has to read: all workers tell everything.
 *
 * Each heartbeat is text, with all that a worker says of a replica that has been written to,
 * searched and compared, and goes through what the service thread does with it: reading,
 * taking, answering.  Processor time, a worker at a time.
 *
 *-------------------------------------------------------------------------
 */
#include "pdsim.h"

/* What the model has no use for, as a worker (src/worker/status.c) says it. */
static void
say_the_rest(json_t *row, Prng *prng)
{
	json_t	   *verified = json_object();
	json_t	   *rules = json_pack("{s:i}", "version", VERIFIED_VERSION);

	json_object_set_new(row, "incarnation", json_u64(1));
	json_object_set_new(row, "leaving", json_false());
	json_object_set_new(row, "role", json_string(json_is_true(json_object_get(row, "leader")) ? "leader" : "follower"));
	json_object_set_new(row, "settled", json_true());
	json_object_set(row, "last", json_object_get(row, "applied"));
	json_object_set(row, "last_term", json_object_get(row, "term"));
	json_object_set_new(row, "fence", json_u64(prng_next(prng) >> 8));
	for (int i = 0; i < REPORT_FIGURES; i++)
		json_object_set_new(row, report_figures[i], json_u64(prng_next(prng) >> 30));
	for (int i = 0; i < VERIFIED_PARTS; i++)
		json_object_set_new(rules, verified_parts[i], json_u64(prng_next(prng)));
	json_object_set_new(verified, "id", json_u64(prng_next(prng) >> 32));
	json_object_set(verified, "index", json_object_get(row, "applied"));
	json_object_set(verified, "rows", json_object_get(row, "records"));
	json_object_set_new(verified, "digest", json_u64(prng_next(prng)));
	json_object_set_new(verified, "rules", rules);
	json_object_set_new(verified, "damaged", json_false());
	json_object_set_new(verified, "wall_us", json_integer(INT64_C(1790000000000000)));
	json_object_set_new(row, "verified", verified);
}

typedef struct Spent
{
	double		read_s;
	double		take_s;
	double		answer_s;
	double		most_s;			/* of one heartbeat */
	size_t		bytes;
	size_t		most_bytes;
	size_t		rows;
	size_t		n;
} Spent;

static void
one(Sim *sim, SimStore *store, Spent *spent)
{
	json_t	   *body = sim_say_all(sim, store);
	json_t	   *rows = json_object_get(body, "shards");
	json_t	   *reply;
	json_t	   *row;
	VtError		err = {0};
	size_t		i;
	size_t		len;
	char	   *text;
	double		begin;
	double		read;
	double		taken;
	double		end;

	json_array_foreach(rows, i, row)
	{
		say_the_rest(row, &sim->prng);
	}
	spent->rows += json_array_size(rows);
	text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	len = strlen(text);
	begin = sim_clock();
	body = json_loadb(text, len, 0, NULL);
	read = sim_clock();
	if (heartbeat_take(&sim->pd, body, &err) != VT_OK)
		sim_fail(sim, "a heartbeat was refused: %s", vt_error_words(&err));
	taken = sim_clock();
	reply = heartbeat_answer(&sim->pd, body);
	json_decref(body);
	json_decref(reply);
	end = sim_clock();
	free(text);
	spent->read_s += read - begin;
	spent->take_s += taken - read;
	spent->answer_s += end - taken;
	if (end - begin > spent->most_s)
		spent->most_s = end - begin;
	if (len > spent->most_bytes)
		spent->most_bytes = len;
	spent->bytes += len;
	spent->n++;
}

void
sim_reign(Sim *sim)
{
	Spent		spent = {0};

	sim_new_driver(sim);
	for (size_t i = 0; i < sim->nstores; i++)
		if (sim->stores[i].alive && sim->stores[i].id)
			one(sim, &sim->stores[i], &spent);
	printf("# %s: %zu workers tell of %zu replicas in %.1f MB, %.0f KB at most: %.2f s, %.2f of them to read, %.2f to take, %.2f to answer; one %.1f ms in the mean, %.1f at most\n",
		   sim->scenario, spent.n, spent.rows, (double) spent.bytes / 1e6, (double) spent.most_bytes / 1e3, spent.read_s + spent.take_s + spent.answer_s,
		   spent.read_s, spent.take_s, spent.answer_s, (spent.read_s + spent.take_s + spent.answer_s) * 1e3 / (double) (spent.n ? spent.n : 1), spent.most_s * 1e3);
}
