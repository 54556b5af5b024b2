/*-------------------------------------------------------------------------
 *
 * worker_place.h
 *	  A worker in this process with one shard made by hand, and no placement
 *	  driver, to be asked by worker_gateway.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_WORKER_PLACE_H
#define TEST_WORKER_PLACE_H

#include "identity.h"
#include "shard_desc.h"
#include "worker_gateway.h"

static uint32_t search_threads = 2; /* these four of the next worker */
static uint64_t memory_limit;	/* bytes, 0 = none */
static uint64_t session_ms;		/* 0: as it is by itself */
static NetTls *certificates;	/* NULL: it listens at a unix socket */

static inline void
start(Place *place)
{
	WorkerOptions options;
	VtError		err = {0};

	memset(&options, 0, sizeof(options));
	options.data = place->data;
	vt_id_random(&options.data_id);
	options.listen = options.advertise = place->endpoint;
	options.pd = place->pd;
	options.search_threads = search_threads;
	options.boot_epoch = 1;
	options.session_ms = session_ms;
	options.memory_limit = memory_limit;
	options.tls = certificates;
	options.disk_reserve = 1;
	if (worker_start(&options, &place->worker, &err) != VT_OK)
		fail_msg("worker: %s", vt_error_words(&err));
}

static WireQuantization quantization;	/* of the next shard */

#define BITS 19					/* dimensions of a shard of bits; of others DIM */

/* The rows on the disk of a worker that was stopped; to be closed. */
static inline Store *
open_rows(const Place *place)
{
	Store	   *rows;
	char		shards[100];

	snprintf(shards, sizeof(shards), "%s/shards", place->data);
	assert_int_equal(shard_open_rows(shards, SHARD, &rows, NULL), VT_OK);
	return rows;
}

/* Its folders and what its shard is like; nothing runs yet. */
static inline void
lay(Place *place, VecElement element, uint8_t nattributes)
{
	WireShardDesc *desc = &place->desc;

	log_setup("test", LOG_LEVEL_ERROR);
	snprintf(place->directory, sizeof(place->directory), "/tmp/vectron-serve.XXXXXX");
	assert_non_null(mkdtemp(place->directory));
	snprintf(place->data, sizeof(place->data), "%s/data", place->directory);
	snprintf(place->endpoint, sizeof(place->endpoint), "unix:%s/w", place->directory);
	snprintf(place->pd, sizeof(place->pd), "unix:%s/pd", place->directory);
	assert_int_equal(mkdir(place->data, 0700), 0);
	*desc = shard_alone(SHARD, 77, DIM);
	if (element == VEC_BIT)
	{
		desc->dim = BITS;
		desc->metric = VEC_HAMMING;
	}
	desc->element = element;
	desc->quantization = (uint8_t) quantization;
	desc->nattributes = nattributes;
	for (int i = 0; i < nattributes; i++)
		desc->attributes[i] = i == 0 ? WIRE_ATTR_ORDERED : WIRE_ATTR_HASHED;
	quantization = QUANTIZATION_NONE;
}

static inline void
make_shard(Place *place)
{
	WireShardDesc *desc = &place->desc;
	VtError		err = {0};

	if (worker_create_shard(place->worker, desc, desc->replicas[0].replica, true, &err) != VT_OK)
		fail_msg("shard: %s", vt_error_words(&err));
}

static inline int
set_up_with(void **state, VecElement element, uint8_t nattributes)
{
	Place	   *place = vt_alloc0(sizeof(Place));

	lay(place, element, nattributes);
	start(place);
	make_shard(place);
	*state = place;
	return 0;
}

static inline int
set_up_floats(void **state)
{
	return set_up_with(state, VEC_FLOAT32, 0);
}

static inline int
clear(Place *place)
{
	char		command[128];

	worker_stop(place->worker);
	snprintf(command, sizeof(command), "rm -rf %s", place->directory);
	return system(command);
}

static inline int
tear_down(void **state)
{
	Place	   *place = *state;
	int			rc = clear(place);

	free(place);
	return rc;
}

#endif							/* TEST_WORKER_PLACE_H */
