/*-------------------------------------------------------------------------
 *
 * replica_many.c
 *	  A newcomer lacks all of many groups: their snapshots come one after the other,
 *	  those that wait for their turn cost nothing, and all together they leave no faster
 *	  than the host may send them.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "replica/replica.h"
#include "patience.h"
#include "scratch.h"

#define GROUPS 30
#define CHUNKS 4				/* of a snapshot */
#define BASE 5					/* where the groups begin: no log reaches a newcomer */

/* A machine is no more than how far it is. */
typedef struct Machine
{
	atomic_uint_fast64_t applied;
	uint64_t	stream;
	uint64_t	staged;
	uint64_t	sent_stream;	/* and so many of its chunks have left */
	uint32_t	sent;
} Machine;

typedef struct Stream
{
	uint64_t	index;
	uint32_t	n;				/* chunks that were read */
} Stream;

static atomic_int open_now;
static atomic_int open_most;
static pthread_mutex_t net_lock = PTHREAD_MUTEX_INITIALIZER;
static ReplicaHost *hosts[2];	/* who leads, and the newcomer; net_lock */
static Replica *newcomers[GROUPS];
static Machine machines[2][GROUPS];
static WireChunkResult answers[16];
static uint32_t asked;
static uint32_t heard;
static uint64_t rate;			/* bytes a second of all snapshots; 0: no limit */
static atomic_llong opened_us;	/* the first snapshot; 0: none was */
static uint64_t left;			/* bytes of chunks */
static atomic_uint too_soon;	/* chunks that left before the rate allows it */

/* -- The machine ----------------------------------------------------------- */

static VtStatus
apply(void *arg, ReplicaCommand *commands, size_t n, uint64_t applied, VtError *err)
{
	(void) commands;
	(void) n;
	(void) err;
	atomic_store(&((Machine *) arg)->applied, applied);
	return VT_OK;
}

static VtStatus
checkpoint(void *arg, uint64_t *index, VtError *err)
{
	(void) err;
	*index = atomic_load(&((Machine *) arg)->applied);
	return VT_OK;
}

static VtStatus
snapshot_open(void *arg, void **out, uint64_t *index, VtError *err)
{
	Stream	   *stream = vt_alloc0(sizeof(Stream));
	long long	none = 0;
	int			now = atomic_fetch_add(&open_now, 1) + 1;
	int			most = atomic_load(&open_most);

	(void) err;
	atomic_compare_exchange_strong(&opened_us, &none, clock_now_us());
	while (now > most && !atomic_compare_exchange_weak(&open_most, &most, now))
		;
	stream->index = *index = atomic_load(&((Machine *) arg)->applied);
	*out = stream;
	return VT_OK;
}

static VtStatus
snapshot_read(void *arg, size_t bytes, Buf *out, bool *last, VtError *err)
{
	Stream	   *stream = (Stream *) arg;

	(void) bytes;
	(void) err;
	buf_put_u64(out, stream->index);
	*last = ++stream->n == CHUNKS;
	return VT_OK;
}

static void
snapshot_close(void *stream)
{
	atomic_fetch_sub(&open_now, 1);
	free(stream);
}

static VtStatus
stage(void *arg, const WireChunk *chunk, uint32_t *next, VtError *err)
{
	Machine    *m = (Machine *) arg;

	(void) err;
	assert_int_equal(chunk->data.len, 8);
	m->stream = chunk->stream;
	m->staged = get_le64(chunk->data.data);
	*next = chunk->seq + 1;
	return VT_OK;
}

static VtStatus
install(void *arg, uint64_t stream, uint64_t index, VtError *err)
{
	Machine    *m = (Machine *) arg;

	if (m->stream != stream || m->staged != index)
		return vt_fail(err, VT_CORRUPT, "what is staged is not what is installed");
	atomic_store(&m->applied, index);
	return VT_OK;
}

/* -- The network: frames and chunks of the one for the other ------------------- */

static void
net_send(void *arg, uint64_t to, Buf *messages)
{
	(void) arg;
	pthread_mutex_lock(&net_lock);	/* or it would be stopped in the middle */
	if (hosts[to - 1])
		replica_host_receive(hosts[to - 1], messages);
	pthread_mutex_unlock(&net_lock);
	buf_free(messages);
}

static void
reach(int i, ReplicaHost *host)
{
	pthread_mutex_lock(&net_lock);
	hosts[i] = host;
	pthread_mutex_unlock(&net_lock);
}

/*
 * A chunk leaves.  Those before it have had their time by then; one that is sent again,
 * since the newcomer was busy, has no place in the order of its own.
 */
static void
note_chunk(const WireChunk *chunk, size_t bytes)
{
	Machine    *m = &machines[0][chunk->group - 1];

	if (m->sent_stream != chunk->stream)
	{
		m->sent_stream = chunk->stream;
		m->sent = 0;
	}
	if (rate == 0 || chunk->seq < m->sent)
		return;
	m->sent = chunk->seq + 1;
	if (clock_now_us() - atomic_load(&opened_us) < (int64_t) (left * 1000000 / rate))
		atomic_fetch_add(&too_soon, 1);
	left += bytes;
}

static VtStatus
net_chunk(void *arg, uint64_t to, Bytes bytes, VtError *err)
{
	WireChunk	chunk;

	(void) arg;
	(void) err;
	assert_int_equal(to, 2);
	assert_int_equal(wire_chunk_get(bytes, &chunk), VT_OK);
	note_chunk(&chunk, bytes.len);
	memset(&answers[asked % 16], 0, sizeof(answers[0]));
	replica_stage(newcomers[chunk.group - 1], &chunk, &answers[asked++ % 16]);
	return VT_OK;
}

static VtStatus
net_answer(void *arg, uint64_t to, WireChunkResult *result, VtError *err)
{
	(void) arg;
	(void) to;
	(void) err;
	if (result)
		*result = answers[heard++ % 16];
	else
		heard = asked;
	return VT_OK;
}

static Replica *
open_group(int host, uint64_t group)
{
	ReplicaMachine machine = {
		.apply = apply, .checkpoint = checkpoint, .snapshot_open = snapshot_open, .snapshot_read = snapshot_read,
		.snapshot_close = snapshot_close, .stage = stage, .install = install, .state = &machines[host][group - 1]
	};
	RaftConf	founders = {.n = 2, .members = {
		{.id = 10, .node = 1, .roles = RAFT_VOTER}, {.id = 20, .node = 2, .roles = RAFT_LEARNER}
	}};
	Replica    *out = NULL;
	VtError		err = {0};

	if (replica_create(hosts[host], group, host ? 20 : 10, host ? NULL : &founders, host ? 0 : BASE, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	atomic_store(&machines[host][group - 1].applied, host ? 0 : BASE);
	if (replica_open(hosts[host], group, host ? 20 : 10, &machine, host ? 0 : BASE, &out, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	return out;
}

/* Every group of so many comes, and never is more than one snapshot open for a node. */
static void
tell(uint64_t ngroups)
{
	int64_t		until = clock_now_us() + PATIENCE_US;
	Store	   *logs[2];
	ReplicaHost *started[2];
	VtError		err = {0};

	log_setup("test", LOG_LEVEL_ERROR);
	for (int i = 0; i < 2; i++)
	{
		ReplicaHostOptions options = {
			.transport = {.send = net_send, .chunk = net_chunk, .answer = net_answer}, .node = (uint64_t) i + 1,
			.snapshot_rate = rate
		};

		if (store_open(scratch_path(i ? "b" : "a"), &(StoreOptions) {0}, &logs[i], &err) != VT_OK ||
			replica_host_start(logs[i], &options, &started[i], &err) != VT_OK)
			fail_msg("%s", vt_error_words(&err));
	}
	reach(1, started[1]);
	for (uint64_t g = 1; g <= ngroups; g++)
		newcomers[g - 1] = open_group(1, g);
	reach(0, started[0]);
	for (uint64_t g = 1; g <= ngroups; g++)
		(void) open_group(0, g);
	for (uint64_t g = 0; g < ngroups; g++)
		while (atomic_load(&machines[1][g].applied) < BASE)
		{
			if (clock_now_us() > until)
				fail_msg("group %llu has got nothing", (unsigned long long) g + 1);
			usleep(1000);
		}
	assert_int_equal(atomic_load(&open_most), 1);

	/* The sender first: the other one takes chunks to the end. */
	for (int i = 0; i < 2; i++)
	{
		reach(i, NULL);
		replica_host_stop(started[i]);
	}
	assert_int_equal(atomic_load(&open_now), 0);
	for (int i = 0; i < 2; i++)
		store_close(logs[i]);
}

static void
one_after_the_other(void **state)
{
	(void) state;
	rate = 0;
	tell(GROUPS);
}

/* From the clock there is only to be said that it took as long as that, since anybody may be slow. */
static void
no_faster_than_the_rate(void **state)
{
	(void) state;
	rate = 1000;
	left = 0;
	atomic_store(&opened_us, 0);
	tell(3);
	assert_true(left >= rate);
	assert_int_equal(atomic_load(&too_soon), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_after_the_other, scratch_make, scratch_remove),
		cmocka_unit_test_setup_teardown(no_faster_than_the_rate, scratch_make, scratch_remove),
	};

	return cmocka_run_group_tests_name("replica_many", tests, NULL, NULL);
}
