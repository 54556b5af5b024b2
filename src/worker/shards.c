/*-------------------------------------------------------------------------
 *
 * shards.c
 *	  The shards that a worker serves: by number, and which of them want a look.
 *
 * The house thread and others look at shards for something to do, some times in a
 * second, and there may be thousands in which nothing happens.  So each shard has a
 * bit for each of these looks, and the worker as well: whoever changes something that can
 * be seen from outside sets them all (shard_stir), and a look takes the worker's bit, and if that was
 * set goes to those shards of which it can take the bit, too.  While nothing happens
 * a look costs nothing.
 *
 * A bit is taken before what it stands for is looked at: what changes meanwhile sets
 * it again.  What is not over with one look, as a shard that still has no leader, the look
 * sets again for itself.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/prng.h"
#include "private.h"

#define STIR_US (30 * INT64_C(1000000))

/* -- By number --------------------------------------------------------------- */

static Shard **
chain_of(Worker *worker, uint64_t id)
{
	return &worker->by_id[prng_mix(id) & (worker->nchains - 1)];
}

static void
link_by_id(Worker *worker, Shard *shard)
{
	Shard	  **chain = chain_of(worker, shard->desc.shard);

	shard->id_next = *chain;
	*chain = shard;
}

void
shards_add(Worker *worker, Shard *shard)
{
	shard->next = worker->shards;
	worker->shards = shard;
	if (++worker->nshards > worker->nchains)
	{
		worker->nchains = worker->nchains ? 2 * worker->nchains : 64;
		free(worker->by_id);
		worker->by_id = vt_alloc0(sizeof(Shard *) * worker->nchains);
		for (Shard *s = shard->next; s; s = s->next)
			link_by_id(worker, s);
	}
	link_by_id(worker, shard);
	shard->digest = 0;
	atomic_store(&shard->disk_low, atomic_load(&worker->disk_low));
	atomic_store(&shard->stirred, LOOK_ALL);
	atomic_fetch_or(&worker->stirred, LOOK_ALL);
}

void
shards_remove(Worker *worker, Shard *shard)
{
	Shard	  **p = &worker->shards;
	Shard	  **chain = chain_of(worker, shard->desc.shard);

	while (*p != shard)
		p = &(*p)->next;
	*p = shard->next;
	while (*chain != shard)
		chain = &(*chain)->id_next;
	*chain = shard->id_next;
	worker->nshards--;
	worker->counted_bytes -= shard->counted_bytes;
	worker->digests -= shard->digest;
	shard->counted_bytes = shard->digest = 0;
}

Shard *
shards_find(Worker *worker, uint64_t id)
{
	Shard	   *found = worker->nchains > 0 ? *chain_of(worker, id) : NULL;

	while (found && found->desc.shard != id)
		found = found->id_next;
	return found;
}

Shard *
worker_find_shard(Worker *worker, uint64_t id)
{
	Shard	   *found;

	pthread_mutex_lock(&worker->lock);
	found = shards_find(worker, id);
	if (found)
		atomic_fetch_add(&found->users, 1);
	pthread_mutex_unlock(&worker->lock);
	return found;
}

Shard *
worker_find_lender(Worker *worker, uint64_t child)
{
	Shard	   *found = NULL;

	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s && !found && child != 0; s = s->next)
		if (atomic_load(&s->lent) == child)
			found = s;
	if (found)
		atomic_fetch_add(&found->users, 1);
	pthread_mutex_unlock(&worker->lock);
	return found;
}

/* -- Looks ------------------------------------------------------------------- */

bool
shards_take_stir(Worker *worker, ShardLook look)
{
	return (atomic_load(&worker->stirred) & (unsigned) look) != 0 &&
		(atomic_fetch_and(&worker->stirred, ~(unsigned) look) & (unsigned) look) != 0;
}

/*
 * A change that nobody has told of would never be seen: so much later all are looked at
 * once more.  The house thread's.
 */
void
shards_stir_all(Worker *worker)
{
	int64_t		now_us = clock_now_us();

	if (now_us < worker->stir_us)
		return;
	worker->stir_us = now_us + STIR_US;
	pthread_mutex_lock(&worker->lock);
	for (Shard *s = worker->shards; s; s = s->next)
		shard_stir(s);
	pthread_mutex_unlock(&worker->lock);
}
