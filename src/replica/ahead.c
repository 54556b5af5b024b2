/*-------------------------------------------------------------------------
 *
 * ahead.c
 *	  Reading a snapshot ahead of who sends it: by a thread of the stream's own.
 *
 * While chunks are on their way the next one is read, and packed where that pays:
 * a part of it is tried first, and where that does not shrink the next chunks are
 * not tried at all.  Vectors hardly do, their metadata and who is linked to whom does.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include <stdlib.h>

#include "base/thread.h"
#include "private.h"

#define CHUNK_BYTES (1u << 20)
#define TRIED_BYTES (32u << 10)
#define NOT_TRIED 15			/* chunks after one that did not shrink */

struct Ahead
{
	const ReplicaMachine *machine;
	void	   *stream;
	pthread_t	thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool		full;			/* the rest is there to be taken */
	bool		stop;
	VtStatus	status;
	VtError		err;
	AheadChunk	chunk;

	/* The thread's */
	Packer	   *packer;
	uint32_t	untried;		/* chunks still to be sent as they are */
};

static void
pack(Ahead *ahead)
{
	AheadChunk *chunk = &ahead->chunk;
	Buf			packed = {0};

	chunk->raw = 0;
	if (ahead->untried > 0)
		ahead->untried--;
	else if (!packer_shrinks(ahead->packer, bytes_of(chunk->data.data, chunk->data.len < TRIED_BYTES ? chunk->data.len : TRIED_BYTES)))
		ahead->untried = NOT_TRIED;
	else if (packer_pack(ahead->packer, buf_bytes(&chunk->data), &packed))
	{
		chunk->raw = (uint32_t) chunk->data.len;
		buf_free(&chunk->data);
		chunk->data = packed;
	}
}

static void *
ahead_main(void *arg)
{
	Ahead	   *ahead = (Ahead *) arg;
	bool		over = false;

	thread_name("snapshot");
	pthread_mutex_lock(&ahead->lock);
	while (!over && !ahead->stop)
	{
		if (ahead->full)
		{
			pthread_cond_wait(&ahead->changed, &ahead->lock);
			continue;
		}
		pthread_mutex_unlock(&ahead->lock);
		ahead->status = ahead->machine->snapshot_read(ahead->stream, CHUNK_BYTES, &ahead->chunk.data, &ahead->chunk.last,
													  &ahead->err);
		over = ahead->status != VT_OK || ahead->chunk.last;
		if (ahead->status == VT_OK)
			pack(ahead);
		pthread_mutex_lock(&ahead->lock);
		ahead->full = true;
		pthread_cond_broadcast(&ahead->changed);
	}
	pthread_mutex_unlock(&ahead->lock);
	return NULL;
}

Ahead *
ahead_start(const ReplicaMachine *machine, void *stream)
{
	Ahead	   *ahead = vt_alloc0(sizeof(Ahead));

	ahead->machine = machine;
	ahead->stream = stream;
	ahead->packer = packer_new();
	pthread_mutex_init(&ahead->lock, NULL);
	pthread_cond_init(&ahead->changed, NULL);
	host_start_thread(&ahead->thread, ahead_main, ahead);
	return ahead;
}

VtStatus
ahead_take(Ahead *ahead, AheadChunk *out, VtError *err)
{
	VtStatus	status;

	pthread_mutex_lock(&ahead->lock);
	while (!ahead->full)
		pthread_cond_wait(&ahead->changed, &ahead->lock);
	status = ahead->status;
	if (status != VT_OK)
		*err = ahead->err;		/* and it stays so */
	else
	{
		*out = ahead->chunk;
		memset(&ahead->chunk, 0, sizeof(ahead->chunk));
		ahead->full = false;
		pthread_cond_broadcast(&ahead->changed);
	}
	pthread_mutex_unlock(&ahead->lock);
	return status;
}

void
ahead_stop(Ahead *ahead)
{
	if (!ahead)
		return;
	pthread_mutex_lock(&ahead->lock);
	ahead->stop = true;
	pthread_cond_broadcast(&ahead->changed);
	pthread_mutex_unlock(&ahead->lock);
	pthread_join(ahead->thread, NULL);
	pthread_mutex_destroy(&ahead->lock);
	pthread_cond_destroy(&ahead->changed);
	packer_free(ahead->packer);
	buf_free(&ahead->chunk.data);
	free(ahead);
}
