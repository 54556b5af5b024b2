/*-------------------------------------------------------------------------
 *
 * once.c
 *	  Registers in a collection beside the index, whose writes are done once.
 *
 * They are written at the door of src/client, by sessions (ClientWriter.once), and read
 * linearizably.  A write whose answer was lost is sent again until it is done; should it
 * be done a second time, after a later one, a register would go back, which the checker
 * sees.
 *
 * A record has one dimension, its version, so that its distance from 0 tells that.
 * A scan goes on until it has come to the record or there is none left.  Each run has
 * registers of its own, which begin at 0: there is no record.
 *
 *-------------------------------------------------------------------------
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/level.h"
#include "client/client.h"
#include "steps.h"

#define SYSTEM 42				/* no PostgreSQL server's */
#define REGISTERS 4				/* a split hardly leaves all of them to one half */
#define PATIENCE_US INT64_C(60000000)

struct Once
{
	Client	   *client;
	VtId		generation;
	WireOwner	owner;
	uint32_t	run;
	uint32_t	versions;
};

static bool
told(VtStatus status, const VtError *err)
{
	if (status != VT_OK)
		fprintf(stderr, "load: the collection: %s\n", vt_error_words(err));
	return status == VT_OK;
}

static Client *
open_client(const char *pd)
{
	ClientOptions options = {.pd_endpoints = pd, .role = WIRE_ROLE_GATEWAY, .ops = client_poll_ops};
	Client	   *client = NULL;
	VtError		err = {0};

	return told(client_open(&options, &client, &err), &err) ? client : NULL;
}

/* -- The collection ------------------------------------------------------------------ */

static bool
lease(Client *client, VtId *incarnation)
{
	char		question[400];
	const char *reply;
	json_t	   *body;
	VtError		err = {0};
	bool		good;

	snprintf(question, sizeof(question), "{\"op\":\"lease\",\"system\":\"%d\",\"incarnation\":\"\","
			 "\"holder\":\"0123456789abcdef0123456789abcdef\",\"timeline\":1,"
			 "\"session\":\"0123456789abcdef0123456789abcde0\",\"before\":[],\"place\":\"0\","
			 "\"level_low\":%d,\"level_high\":%u}", SYSTEM, VT_LEVEL_LOW, vt_level_high());
	if (!told(client_control(client, question, clock_now_us() + PATIENCE_US, &reply, &err), &err))
		return false;
	body = json_loads(reply, 0, NULL);
	good = vt_id_parse(json_string_value(json_object_get(body, "incarnation")), incarnation);
	json_decref(body);
	return good;
}

bool
once_create(PGconn *db, const char *pd)
{
	ClientCreate create = {.dim = 1, .metric = VEC_L1, .m = 16, .ef_construction = 200, .quantization = QUANTIZATION_NONE,
		.shards = 1, .replicas = 3, .xid = 1, .label = "chaos.once",
	.owner = {.system = SYSTEM, .database = 1}};
	Client	   *client = open_client(pd);
	char		generation[VT_ID_TEXT];
	char		incarnation[VT_ID_TEXT];
	VtError		err = {0};
	bool		good;

	if (!client)
		return false;
	vt_id_random(&create.generation);
	good = lease(client, &create.owner.incarnation) &&
		told(client_create(client, &create, clock_now_us() + PATIENCE_US, &err), &err);
	client_close(client);
	vt_id_format(&create.generation, generation);
	vt_id_format(&create.owner.incarnation, incarnation);
	if (good)
	{
		PGresult   *result = db_ask(db, "SELECT $1::text AS generation, $2::text AS incarnation INTO once", generation, incarnation, NULL);

		good = PQresultStatus(result) == PGRES_COMMAND_OK;
		PQclear(result);
	}
	return good;
}

Once *
once_open(PGconn *db, const char *pd, uint32_t run)
{
	PGresult   *result = db_ask(db, "SELECT generation, incarnation FROM once", NULL);
	Once	   *once = calloc(1, sizeof(Once));

	if (once && PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
		vt_id_parse(PQgetvalue(result, 0, 0), &once->generation) &&
		vt_id_parse(PQgetvalue(result, 0, 1), &once->owner.incarnation))
		once->client = open_client(pd);
	PQclear(result);
	if (!once || !once->client)
	{
		free(once);
		return NULL;
	}
	once->run = run;
	once->owner.system = SYSTEM;
	once->owner.database = 1;
	return once;
}

void
once_close(Once *once)
{
	if (once)
		client_close(once->client);
	free(once);
}

/* -- What is done with it ----------------------------------------------------------------- */

static void
finish(LoadClient *c, Kind kind, uint32_t number, int64_t begin, VtStatus status, const VtError *err, const char *what, uint32_t value)
{
	int64_t		end = now_ns();

	if (end - begin > c->slowest_ns[kind])
		c->slowest_ns[kind] = end - begin;
	atomic_fetch_add(&load_now.operations, 1);
	if (status == VT_OK)
		c->done[kind]++;
	else
	{
		c->failed[kind]++;
		fprintf(c->history, "# %s of client %d, %lld ms, %d: %.200s\n", kind_names[kind], c->number,
				(long long) (end - begin) / 1000000, (int) status, vt_error_words(err));
	}
	if (status == VT_OK)
		fprintf(c->history, "c%u %lld %lld %s %u\n", number, (long long) begin, (long long) end, what, value);
	else if (kind == KIND_ONCE)
		fprintf(c->history, "c%u %lld - %s %u\n", number, (long long) begin, what, value);
}

static void
write_register(LoadClient *c, Once *once, uint32_t number, bool deletes)
{
	ClientWriter writer = {.generation = once->generation, .owner = once->owner, .timeline = 1, .once = true,
		.deadline_us = clock_now_us() + PATIENCE_US};
	uint32_t	version = ++once->versions * 64 + (uint32_t) c->number;
	float		vector = (float) version;
	uint8_t		id[WIRE_TID_SIZE];
	ClientRecord record = {.vector = &vector};
	ClientMarks marks = {0};
	uint64_t	hits;
	int64_t		begin = now_ns();
	VtError		err = {0};
	VtStatus	status;

	wire_tid_put(id, once->run, (uint16_t) (number + 1));
	record.id = bytes_of(id, sizeof(id));
	status = deletes ? client_delete(once->client, &writer, &record, 1, &hits, &marks, &err) :
		client_put(once->client, &writer, &record, 1, NULL, &marks, &err);
	client_marks_free(&marks);
	finish(c, KIND_ONCE, number, begin, status, &err, "write", deletes ? 0 : version);
}

static void
read_register(LoadClient *c, Once *once, uint32_t number)
{
	float		query = 0;
	ClientSearch search = {.generation = once->generation, .owner = once->owner, .query = &query, .dim = 1, .batch = 100,
		.ef = 100, .consistency = WIRE_LINEARIZABLE};
	int64_t		begin = now_ns();
	int64_t		deadline = clock_now_us() + PATIENCE_US;
	uint8_t		id[WIRE_TID_SIZE];
	ClientScan *scan = NULL;
	ClientHit	hit;
	bool		found = true;
	bool		is_it = false;
	VtError		err = {0};
	VtStatus	status;

	wire_tid_put(id, once->run, (uint16_t) (number + 1));
	status = client_scan_open(once->client, &search, deadline, &scan, &err);
	while (status == VT_OK && found && !is_it)
	{
		status = client_scan_next(scan, deadline, &hit, &found, &err);
		is_it = status == VT_OK && found && bytes_equal(hit.id, bytes_of(id, sizeof(id)));
	}
	finish(c, KIND_LOOK, number, begin, status, &err, "read", is_it ? (uint32_t) lround(hit.distance) : 0);
	client_scan_close(scan);
}

void
once_operation(LoadClient *c)
{
	uint32_t	number = prng_below(&c->prng, REGISTERS);
	uint32_t	dice = prng_below(&c->prng, 100);

	if (dice < 40)
		write_register(c, c->once, number, false);
	else if (dice < 55)
		write_register(c, c->once, number, true);
	else
		read_register(c, c->once, number);
	/* The machine is there for the others as well. */
	usleep(10000);
}
