/*-------------------------------------------------------------------------
 *
 * pd_door.c
 *	  What comes in at a placement driver's socket: bytes are moved there and read
 *	  by its service thread, nobody speaks for another driver, and what waits is
 *	  bounded.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../src/pd/service.h"
#include "base/clock.h"
#include "base/log.h"
#include "raft/raft.h"
#include "patience.h"
#include "scratch.h"

/* -- Who reads ------------------------------------------------------------- */

#define MARK "who reads this?"

static atomic_int reads;		/* of what has the mark, */
static pthread_t reader;		/* and which thread the last was */

static size_t
give(void *buffer, size_t room, void *data)
{
	Bytes	   *left = (Bytes *) data;
	size_t		n = left->len < room ? left->len : room;

	if (n > 0)
		memcpy(buffer, left->data, n);
	*left = bytes_of(left->data + n, left->len - n);
	return n;
}

/* In place of jansson's: the driver's calls come here, too. */
json_t *
json_loadb(const char *buffer, size_t len, size_t flags, json_error_t *error)
{
	Bytes		left = bytes_of(buffer, len);

	for (size_t i = 0; i + strlen(MARK) <= len && i < 100; i++)
		if (memcmp(buffer + i, MARK, strlen(MARK)) == 0)
		{
			reader = pthread_self();
			atomic_fetch_add(&reads, 1);
			break;
		}
	return json_load_callback(give, &left, flags, error);
}

/* -- A driver alone --------------------------------------------------------- */

static char endpoint[96];
static const char *peers;		/* of the driver; NULL = it is alone */
static Store *log_store;
static Store *rows;
static Pd  *pd;

static void
driver_start(void)
{
	StoreOptions log_options = {.write_buffer = 1 << 20};
	StoreOptions row_options = {.write_buffer = 1 << 20, .replayed = true};
	PdOptions	options = {.listen = endpoint, .peers = peers, .boot_epoch = (uint64_t) clock_now_us(),
		.keep_dropped_us = INT64_C(3600000000), .down_after_us = INT64_C(600000000), .default_replicas = 1,
		.replicas_max = 5, .checkpoint_bytes = 1 << 20};
	VtError		err = {0};

	log_setup("pd", getenv("VERBOSE") ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR);
	snprintf(endpoint, sizeof(endpoint), "unix:%s/pd", scratch);
	assert_int_equal(store_open(scratch_path("log"), &log_options, &log_store, &err), VT_OK);
	assert_int_equal(store_open(scratch_path("rows"), &row_options, &rows, &err), VT_OK);
	if (pd_start(log_store, rows, &options, &pd, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
}

static void
driver_stop(void)
{
	pd_stop(pd);
	store_close(rows);
	store_close(log_store);
}

static void
pause_ms(long ms)
{
	struct timespec nap = {0, ms * 1000000};

	nanosleep(&nap, NULL);
}

/* -- Somebody who asks, and does not wait for one answer before the next question -- */

typedef struct Asker
{
	int			fd;
	uint64_t	requests;
	Buf			heard;			/* payload of the last frame, */
	WireHeader	header;			/* and what stands before it */
	json_t	   *answer;			/* its object, if it is one */
} Asker;

static void
say(Asker *asker, WireKind kind, WireType type, uint64_t request, Bytes payload)
{
	Buf			frame = {0};

	wire_frame_put(&frame, kind, type, request, payload);
	assert_int_equal(send(asker->fd, frame.data, frame.len, MSG_NOSIGNAL), frame.len);
	buf_free(&frame);
}

static void
hear(Asker *asker)
{
	uint8_t		head[WIRE_HEADER_SIZE];

	assert_int_equal(recv(asker->fd, head, sizeof(head), MSG_WAITALL), sizeof(head));
	assert_int_equal(wire_header_get(head, &asker->header, NULL), VT_OK);
	buf_clear(&asker->heard);
	buf_reserve(&asker->heard, asker->header.length + 1);
	asker->heard.len = asker->header.length;
	if (asker->heard.len > 0)
		assert_int_equal(recv(asker->fd, asker->heard.data, asker->heard.len, MSG_WAITALL), asker->heard.len);
	json_decref(asker->answer);
	asker->answer = asker->header.type == WIRE_CONTROL ? json_loadb((const char *) asker->heard.data, asker->heard.len, 0, NULL) : NULL;
}

static uint64_t
ask(Asker *asker, const char *text)
{
	say(asker, WIRE_REQUEST, WIRE_CONTROL, ++asker->requests, bytes_str(text));
	return asker->requests;
}

static VtStatus
status_of(const Asker *asker)
{
	json_t	   *status = json_object_get(asker->answer, "status");

	assert_true(json_is_integer(status));
	return (VtStatus) json_integer_value(status);
}

/* The next answer is to this, and says that. */
static void
expect(Asker *asker, uint64_t request, VtStatus status)
{
	hear(asker);
	assert_int_equal(asker->header.type, WIRE_CONTROL);
	assert_true(asker->header.request == request);
	if (status_of(asker) != status)
		fail_msg("%.*s", (int) asker->heard.len, (const char *) asker->heard.data);
}

/* Is the next answer to this a refusal that says for how long? */
static void
expect_flooded(Asker *asker, uint64_t request)
{
	expect(asker, request, VT_BUSY);
	assert_string_equal(json_string_value(json_object_get(asker->answer, "message")), WIRE_FLOODED);
	assert_true(json_integer_value(json_object_get(asker->answer, "retry_after_ms")) > 0);
}

/* The callback has seen all that was said, and nothing of it was answered there. */
static void
expect_taken(Asker *asker)
{
	say(asker, WIRE_REQUEST, WIRE_PING, ++asker->requests, bytes_of("", 0));
	hear(asker);
	assert_int_equal(asker->header.type, WIRE_PING);
}

/* The service thread, too, and it has answered nothing. */
static void
expect_parked(Asker *asker)
{
	expect(asker, ask(asker, "{\"op\":\"status\"}"), VT_OK);
}

static void
asker_comes(Asker *asker, WireRole role)
{
	struct sockaddr_un addr;
	WireHello	hello;
	Buf			payload = {0};
	struct timeval patience = {PATIENCE_US / 1000000, 0};

	memset(asker, 0, sizeof(*asker));
	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", endpoint + strlen("unix:"));
	asker->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(asker->fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
	assert_int_equal(setsockopt(asker->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	memset(&hello, 0, sizeof(hello));
	hello.version_low = hello.version_high = WIRE_VERSION;
	hello.role = role;
	wire_hello_put(&payload, &hello);
	say(asker, WIRE_REQUEST, WIRE_HELLO, ++asker->requests, buf_bytes(&payload));
	hear(asker);
	assert_int_equal(asker->header.type, WIRE_HELLO);
	buf_free(&payload);
}

static void
asker_goes(Asker *asker)
{
	close(asker->fd);
	buf_free(&asker->heard);
	json_decref(asker->answer);
}

/* -- Law T1 ------------------------------------------------------------------ */

static void
the_service_thread_reads(void **state)
{
	static const char *const wrong[] = {"", "{", "[\"" MARK "\"]", "\"" MARK "\"", "{\"op\":\"status\"} " MARK};
	Asker		asker;

	(void) state;
	driver_start();
	asker_comes(&asker, WIRE_ROLE_CTL);
	expect(&asker, ask(&asker, "{\"op\":\"status\",\"" MARK "\":1}"), VT_OK);
	assert_int_equal(atomic_load(&reads), 1);
	assert_true(pthread_equal(reader, pd->thread));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		expect(&asker, ask(&asker, wrong[i]), VT_PROTOCOL);
		assert_string_equal(json_string_value(json_object_get(asker.answer, "message")), "the request is no JSON object");
		assert_true(pthread_equal(reader, pd->thread));
	}
	assert_int_equal(atomic_load(&reads), 4);
	asker_goes(&asker);
	driver_stop();
}

#define LARGE (100u << 10)		/* in a buffer of 128 KiB */

/* The service thread waits for the catalog, which we have. */
static void
what_waits_is_bounded_in_bytes(void **state)
{
	const int	most = 5;		/* besides those that it had taken before, as many at most */
	Asker		asker;
	Asker		worker;
	Buf			text = {0};
	int			refused = 0;

	(void) state;
	driver_start();
	asker_comes(&asker, WIRE_ROLE_CTL);
	asker_comes(&worker, WIRE_ROLE_WORKER);
	buf_put(&text, "{\"op\":\"status\",\"pad\":\"", strlen("{\"op\":\"status\",\"pad\":\""));
	buf_reserve(&text, LARGE);
	memset(text.data + text.len, 'x', LARGE);
	text.len += LARGE;
	buf_put(&text, "\"}", 3);
	pthread_mutex_lock(&pd->lock);
	pd->questions.others.most = (size_t) most * (128 << 10);
	pthread_mutex_unlock(&pd->lock);
	pthread_mutex_lock(&pd->catalog->lock);
	for (int i = 0; i < 2 * most + 1; i++)
		ask(&asker, (const char *) text.data);
	hear(&asker);
	assert_int_equal(status_of(&asker), VT_BUSY);
	assert_string_equal(json_string_value(json_object_get(asker.answer, "message")), WIRE_FLOODED);
	assert_true(json_integer_value(json_object_get(asker.answer, "retry_after_ms")) > 0);

	/* What workers say has room of its own. */
	ask(&worker, (const char *) text.data);
	expect_taken(&worker);
	pthread_mutex_unlock(&pd->catalog->lock);
	for (int i = 0; i < 2 * most; i++)
	{
		hear(&asker);
		refused += status_of(&asker) == VT_BUSY;
	}
	assert_in_range(refused, 0, most);
	hear(&worker);
	assert_int_equal(status_of(&worker), VT_OK);

	/* It is empty again. */
	expect(&asker, ask(&asker, (const char *) text.data), VT_OK);
	pthread_mutex_lock(&pd->lock);
	assert_int_equal(questions_bytes(&pd->questions), 0);
	pthread_mutex_unlock(&pd->lock);
	buf_free(&text);
	asker_goes(&asker);
	asker_goes(&worker);
	driver_stop();
}

/* What is long, in the buffer. */
static void
put_long(Buf *text)
{
	const char *begin = "{\"op\":\"status\",\"" MARK "\":\"";

	buf_put(text, begin, strlen(begin));
	buf_reserve(text, 6 * LARGE);
	memset(text->data + text->len, 'x', 6 * LARGE);
	text->len += 6 * LARGE;
	buf_put(text, "\"}", 3);
}

/* A driver that does not lead is told everything, too, by who looks for the one that does. */
static void
who_does_not_lead_reads_no_worker(void **state)
{
	Asker		worker;
	Buf			text = {0};

	(void) state;
	peers = "unix:/nobody/is/here";
	driver_start();
	peers = NULL;
	asker_comes(&worker, WIRE_ROLE_WORKER);
	put_long(&text);
	atomic_store(&reads, 0);
	expect(&worker, ask(&worker, (const char *) text.data), VT_NOT_LEADER);
	assert_int_equal(atomic_load(&reads), 0);
	expect(&worker, ask(&worker, "{\"op\":\"status\",\"" MARK "\":1}"), VT_OK);
	assert_int_equal(atomic_load(&reads), 1);
	buf_free(&text);
	asker_goes(&worker);
	driver_stop();
}

/* -- Raft of drivers --------------------------------------------------------- */

static uint64_t
term_now(void)
{
	ReplicaStatus status;

	replica_status(atomic_load(&pd->replica), &status);
	return status.term;
}

/* A leader of a higher term, if it is believed.  True: the connection stands after it. */
static bool
claim(WireRole role, uint64_t hello, uint64_t store, uint64_t term)
{
	NetPeerOptions options = {.endpoint = endpoint, .role = role, .store = hello};
	NetPeer    *peer = net_peer_new(&options);
	RaftMessage message = {.type = RAFT_HEARTBEAT, .group = PD_GROUP, .from = 99, .to = pd->id, .term = term};
	Buf			payload = {0};
	Buf			reply = {0};
	Bytes		sent;
	bool		stands;

	wire_raft_begin(&payload, store);
	raft_message_encode(&message, wire_raft_room(&payload, raft_message_size(&message)));
	sent = buf_bytes(&payload);
	assert_int_equal(net_peer_send(peer, WIRE_RAFT, &sent, 1, 60000), VT_OK);
	stands = net_peer_call(peer, WIRE_PING, bytes_of("", 0), 60000, &reply, NULL) == VT_OK;
	net_peer_free(peer);
	buf_free(&payload);
	buf_free(&reply);
	return stands;
}

static void
nobody_speaks_for_another_driver(void **state)
{
	uint64_t	term;
	int64_t		until = clock_now_us() + PATIENCE_US;
	bool		told = false;

	(void) state;
	driver_start();
	term = term_now();

	/* As another driver, as this one, as nobody; and a worker as a driver. */
	assert_true(claim(WIRE_ROLE_PD, 55, 99, term + 1000));
	assert_true(claim(WIRE_ROLE_PD, 55, pd->id, term + 1000));
	assert_true(claim(WIRE_ROLE_PD, 0, 99, term + 1000));
	assert_int_equal(atomic_load(&pd->foreign), 3);
	assert_false(claim(WIRE_ROLE_WORKER, 99, 99, term + 1000));
	assert_int_equal(atomic_load(&pd->foreign), 3);
	while (!told)
	{
		pthread_mutex_lock(&pd->catalog->lock);
		told = pd->told_foreign > 0;
		pthread_mutex_unlock(&pd->catalog->lock);
		assert_true(clock_now_us() < until);
		pause_ms(5);
	}

	/* For itself it is heard; the term says that none of those before it were. */
	assert_true(claim(WIRE_ROLE_PD, 99, 99, term + 500));
	while (term_now() < term + 500)
	{
		assert_true(clock_now_us() < until);
		pause_ms(5);
	}
	assert_true(term_now() < term + 1000);
	assert_int_equal(atomic_load(&pd->foreign), 3);
	driver_stop();
}

/* -- What is parked ----------------------------------------------------------- */

#define CREATE "{\"op\":\"create_collection\",\"generation\":\"000000000000000000000000000000%02x\",\"owner\":{\"system\":\"7\"," \
	"\"incarnation\":\"00000000000000000000000000000001\",\"database\":5},\"dim\":3,\"metric\":\"l2\",\"m\":16," \
	"\"ef_construction\":100,\"shards\":1,\"replicas\":1,\"xid\":\"1\",\"wait_ms\":60000}"

static uint64_t
create(Asker *asker, unsigned generation)
{
	char		text[400];

	snprintf(text, sizeof(text), CREATE, generation);
	return ask(asker, text);
}

/* A heartbeat with these reports. */
static uint64_t
beat(Asker *worker, uint64_t store, int wait_ms, const char *reports)
{
	char		text[600];

	snprintf(text, sizeof(text), "{\"op\":\"heartbeat\",\"store\":\"%" PRIu64 "\",\"wait_ms\":%d,\"level_high\":9,\"shards\":[%s],\"pad\":\"%0100d\"}",
			 store, wait_ms, reports, 0);
	return ask(worker, text);
}

static uint64_t
worker_comes(Asker *worker)
{
	uint64_t	store = 0;

	asker_comes(worker, WIRE_ROLE_WORKER);
	expect(worker, ask(worker, "{\"op\":\"register\",\"store\":\"0\",\"cluster\":\"\",\"data_id\":\"00000000000000000000000000000001\","
					   "\"endpoint\":\"unix:/w\",\"level_high\":9}"), VT_OK);
	assert_true(get_u64(worker->answer, "store", &store));
	expect(worker, beat(worker, store, 0, ""), VT_OK);
	return store;
}

/* So many creations wait; and of all that waits no more is kept than is needed. */
static size_t
creations(void)
{
	size_t		n;
	size_t		of_list = 0;

	pthread_mutex_lock(&pd->catalog->lock);
	n = pd->ncreations;
	for (const Question *q = pd->parked; q; q = q->next)
	{
		of_list += q->store == 0;
		assert_int_equal(q->payload.size, 0);
		assert_int_equal(json_object_size(q->body), q->store ? 1 : 0);
	}
	pthread_mutex_unlock(&pd->catalog->lock);
	assert_int_equal(n, of_list);
	return n;
}

static void
await_creations(size_t n)
{
	for (int64_t until = clock_now_us() + PATIENCE_US; creations() != n; pause_ms(20))
		assert_true(clock_now_us() < until);
}

/* The replica of the only shard of a collection is there and leads. */
static void
tell_founded(Asker *worker, uint64_t store, unsigned generation)
{
	VtId		id = {.b = {[15] = (uint8_t) generation}};
	const CatalogCollection *c;
	char		report[400];

	pthread_mutex_lock(&pd->catalog->lock);
	c = catalog_collection(pd->catalog, &id);
	assert_non_null(c);
	snprintf(report, sizeof(report), "{\"shard\":\"%" PRIu64 "\",\"replica\":\"%" PRIu64 "\",\"role\":\"leader\",\"term\":\"1\",\"leader\":true,"
			 "\"applied\":\"1\",\"incarnation\":\"1\",\"last\":\"1\",\"last_term\":\"1\",\"records\":\"0\",\"unindexed\":\"0\",\"bytes\":\"0\"}",
			 c->shards[0].desc.shard, c->shards[0].desc.replicas[0].replica);
	pthread_mutex_unlock(&pd->catalog->lock);
	expect(worker, beat(worker, store, 0, report), VT_OK);
}

static void
creations_that_wait_are_bounded(void **state)
{
	enum {OTHERS = CREATIONS_MAX / PARKED_OF_ONE};
	Asker		worker;
	Asker		first;
	Asker		others[OTHERS];
	uint64_t	store;

	(void) state;
	driver_start();
	store = worker_comes(&worker);
	asker_comes(&first, WIRE_ROLE_GATEWAY);

	/* As many as one connection may have; one more makes nothing. */
	for (int i = 0; i < PARKED_OF_ONE; i++)
		create(&first, 1);
	expect_parked(&first);
	expect_flooded(&first, create(&first, 1));
	expect_flooded(&first, create(&first, 2));
	assert_int_equal(creations(), PARKED_OF_ONE);
	pthread_mutex_lock(&pd->lock);
	assert_int_equal(pd->turned_away, 2);
	pthread_mutex_unlock(&pd->lock);

	/* And as many as all may have. */
	for (int i = 0; i < OTHERS; i++)
	{
		asker_comes(&others[i], WIRE_ROLE_GATEWAY);
		for (int j = 0; j < PARKED_OF_ONE && i < OTHERS - 1; j++)
			create(&others[i], 1);
		expect_parked(&others[i]);
	}
	assert_int_equal(creations(), CREATIONS_MAX);
	expect_flooded(&others[OTHERS - 1], create(&others[OTHERS - 1], 2));

	/* Who has gone makes room, and so does who wants it no more. */
	for (int i = 0; i < OTHERS - 1; i++)
		asker_goes(&others[i]);
	await_creations(PARKED_OF_ONE);
	say(&first, WIRE_CANCEL, WIRE_CONTROL, 2, bytes_of("", 0));
	await_creations(PARKED_OF_ONE - 1);
	expect(&worker, beat(&worker, store, 0, ""), VT_OK);
	create(&others[OTHERS - 1], 2);
	expect_parked(&others[OTHERS - 1]);
	create(&first, 2);
	expect_parked(&first);
	assert_int_equal(creations(), PARKED_OF_ONE + 1);

	/* What was waited for comes: all are answered, and nobody else. */
	tell_founded(&worker, store, 1);
	for (int i = 0; i < PARKED_OF_ONE - 1; i++)
	{
		hear(&first);
		assert_int_equal(status_of(&first), VT_OK);
		assert_non_null(json_object_get(first.answer, "route"));
	}
	assert_int_equal(creations(), 2);
	expect(&first, create(&first, 1), VT_OK);

	/* As many as before may wait again. */
	for (int i = 0; i < PARKED_OF_ONE - 1; i++)
		create(&first, 2);
	expect_parked(&first);
	expect_flooded(&first, create(&first, 2));
	asker_goes(&first);
	asker_goes(&others[OTHERS - 1]);
	asker_goes(&worker);
	driver_stop();
}

/* A connection of a worker cannot have any number of them there either. */
static void
heartbeats_that_wait_are_bounded(void **state)
{
	Asker		worker;
	uint64_t	store;
	uint64_t	last = 0;

	(void) state;
	driver_start();
	store = worker_comes(&worker);
	for (int i = 0; i < PARKED_OF_ONE; i++)
		beat(&worker, store, 60000, "");
	expect_parked(&worker);
	for (int i = 0; i < 3; i++)
		last = beat(&worker, store, 60000, "");

	/* Those beyond are told at once that there is nothing to do. */
	for (int i = 0; i < 3; i++)
		expect(&worker, last - 2 + (uint64_t) i, VT_OK);
	assert_int_equal(creations(), 0);
	asker_goes(&worker);
	driver_stop();
}

/* The next answer to a heartbeat; does it ask for all? */
static bool
is_asked(Asker *worker, uint64_t request)
{
	expect(worker, request, VT_OK);
	return json_is_true(json_object_get(worker->answer, "tell_all"));
}

/* Does the answer say that it is not its turn yet? */
static bool
is_to_wait(const Asker *worker)
{
	return json_is_true(json_object_get(worker->answer, "untold"));
}

static uint64_t
another_worker_comes(Asker *worker)
{
	uint64_t	store;

	asker_comes(worker, WIRE_ROLE_WORKER);
	expect(worker, ask(worker, "{\"op\":\"register\",\"store\":\"0\",\"cluster\":\"\",\"data_id\":\"00000000000000000000000000000002\","
					   "\"endpoint\":\"unix:/w2\",\"level_high\":9}"), VT_OK);
	assert_true(get_u64(worker->answer, "store", &store));
	expect(worker, beat(worker, store, 0, ""), VT_OK);
	return store;
}

/* As many collections as it takes for each of two workers to have as much as may be on its way. */
static void
create_much(Asker *gateway)
{
	for (int i = 1; i <= 4; i++)
	{
		char		text[400];

		snprintf(text, sizeof(text), "{\"op\":\"create_collection\",\"generation\":\"000000000000000000000000000000%02x\",\"owner\":{\"system\":\"7\","
				 "\"incarnation\":\"00000000000000000000000000000001\",\"database\":5},\"dim\":3,\"metric\":\"l2\",\"m\":16,"
				 "\"ef_construction\":100,\"shards\":1000,\"replicas\":2,\"xid\":\"1\",\"wait_ms\":0}", (unsigned) i);
		expect(gateway, ask(gateway, text), VT_BUSY);
	}
}

/* Says that all is as it told before, which this driver does not know. */
static uint64_t
say_the_same(Asker *worker, uint64_t store, int wait_ms)
{
	char		text[240];

	snprintf(text, sizeof(text), "{\"op\":\"heartbeat\",\"store\":\"%" PRIu64 "\",\"wait_ms\":%d,\"level_high\":9,\"digest\":\"77\",\"peers_version\":\"0\",\"level\":0}",
			 store, wait_ms);
	return ask(worker, text);
}

/* Where the stores are, for one that does not know it, comes with any answer. */
static void
expect_news(const Asker *worker, size_t stores)
{
	assert_int_equal(json_array_size(json_object_get(worker->answer, "peers")), stores);
	assert_true(json_is_integer(json_object_get(worker->answer, "level")));
}

/* Who is asked may take any time to come with it, however slow this machine is. */
static void
be_patient(void)
{
	pthread_mutex_lock(&pd->catalog->lock);
	for (Untold *untold = pd->untold_asked.first; untold; untold = untold->next)
		untold->asked_us = INT64_MAX;
	pthread_mutex_unlock(&pd->catalog->lock);
}

/*
 * Two workers have much to tell: one is asked for it, the other waits, also if it would not wait for tasks, and is asked
 * when the first has told it.  Who is known is asked for nothing.
 */
static void
who_is_to_tell_all_waits_for_its_turn(void **state)
{
	Asker		gateway;
	Asker		first;
	Asker		second;
	uint64_t	stores[2];
	uint64_t	waits;

	(void) state;
	driver_start();
	stores[0] = worker_comes(&first);
	stores[1] = another_worker_comes(&second);
	asker_comes(&gateway, WIRE_ROLE_GATEWAY);
	create_much(&gateway);

	assert_true(is_asked(&first, say_the_same(&first, stores[0], 0)));
	assert_true(is_asked(&first, say_the_same(&first, stores[0], 0)));
	be_patient();
	waits = say_the_same(&second, stores[1], 60000);
	expect_parked(&second);
	expect_news(&first, 2);
	expect(&first, beat(&first, stores[0], 0, ""), VT_OK);
	assert_true(json_array_size(json_object_get(first.answer, "tasks")) > 3000);
	assert_false(is_to_wait(&first));
	assert_true(is_asked(&second, waits));
	assert_false(is_to_wait(&second));
	expect_news(&second, 2);
	be_patient();

	/* Who does not wait for tasks waits for a moment, and is told that it is to tell nothing meanwhile. */
	assert_false(is_asked(&first, say_the_same(&first, stores[0], 0)));
	assert_true(is_to_wait(&first));
	expect_news(&first, 2);
	expect(&second, beat(&second, stores[1], 0, ""), VT_OK);
	assert_false(is_to_wait(&second));
	assert_true(is_asked(&first, say_the_same(&first, stores[0], 0)));
	assert_false(is_to_wait(&first));
	expect(&first, beat(&first, stores[0], 0, ""), VT_OK);

	/* So is one that finds no room to wait. */
	assert_true(is_asked(&second, say_the_same(&second, stores[1], 0)));
	be_patient();
	for (int i = 0; i < PARKED_OF_ONE; i++)
		say_the_same(&first, stores[0], 60000);
	expect_parked(&first);
	assert_false(is_asked(&first, say_the_same(&first, stores[0], 60000)));
	assert_true(is_to_wait(&first));
	asker_goes(&gateway);
	asker_goes(&first);
	asker_goes(&second);
	driver_stop();
}

/* Has the service thread taken all that was asked?  It is waited for a moment. */
static bool
has_taken_all(void)
{
	int64_t		until = clock_now_us() + 500000;
	bool		done = false;

	while (!done && clock_now_us() < until)
	{
		pause_ms(5);
		pthread_mutex_lock(&pd->lock);
		done = questions_count(&pd->questions) == 0;
		pthread_mutex_unlock(&pd->lock);
	}
	return done;
}

/*
 * The service thread has taken a question, and waits for the catalog, which we have, with it.  Where it waits for
 * that with something else, and so does not take it, it is to go on first.
 */
static uint64_t
hold_up(Asker *asker)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	for (;;)
	{
		uint64_t	first;

		pthread_mutex_lock(&pd->catalog->lock);
		first = ask(asker, "{\"op\":\"status\"}");
		expect_taken(asker);
		if (has_taken_all())
			return first;
		pthread_mutex_unlock(&pd->catalog->lock);
		expect(asker, first, VT_OK);
		assert_true(clock_now_us() < until);
	}
}

/* Whose question is the first that waits has gone, and that is known. */
static void
goes_before_it_is_read(Asker *gone)
{
	int64_t		until = clock_now_us() + PATIENCE_US;

	expect_taken(gone);
	asker_goes(gone);
	for (bool done = false; !done; pause_ms(5))
	{
		assert_true(clock_now_us() < until);
		pthread_mutex_lock(&pd->lock);
		done = net_conn_is_closed(pd->questions.daemons.first->conn);
		pthread_mutex_unlock(&pd->lock);
	}
}

/*
 * A worker that waited in vain has gone before it was read, among more than a round has.  What it told counts: it does
 * not have to tell it again.
 */
static void
who_has_gone_has_told_it_all_the_same(void **state)
{
	Asker		gone;
	Asker		worker;
	uint64_t	store;
	uint64_t	first;
	uint64_t	waits;
	Buf			text = {0};
	char		head[200];

	(void) state;
	driver_start();
	store = worker_comes(&worker);
	asker_comes(&gone, WIRE_ROLE_WORKER);
	snprintf(head, sizeof(head), "{\"op\":\"heartbeat\",\"store\":\"%" PRIu64 "\",\"wait_ms\":0,\"level_high\":9,\"digest\":\"77\",\"shards\":[],\"pad\":\"", store);
	buf_put(&text, head, strlen(head));
	buf_reserve(&text, 6 * LARGE);
	memset(text.data + text.len, 'x', 6 * LARGE);
	text.len += 6 * LARGE;
	buf_put(&text, "\"}", 3);
	first = hold_up(&worker);
	for (int i = 0; i < 4; i++)
		ask(&gone, (const char *) text.data);
	goes_before_it_is_read(&gone);
	waits = say_the_same(&worker, store, 0);
	buf_clear(&text);
	put_long(&text);
	for (int i = 0; i < 4; i++)
		ask(&worker, (const char *) text.data);
	expect_taken(&worker);
	pthread_mutex_unlock(&pd->catalog->lock);
	expect(&worker, first, VT_OK);
	assert_false(is_asked(&worker, waits));
	buf_free(&text);
	asker_goes(&worker);
	driver_stop();
}

/* Of two that have much to tell the first has gone when it is its turn: it would not hear that it is asked, and the second is. */
static void
who_has_gone_is_not_asked(void **state)
{
	Asker		gateway;
	Asker		gone;
	Asker		worker;
	uint64_t	stores[2];
	uint64_t	first;
	uint64_t	waits;

	(void) state;
	driver_start();
	stores[0] = worker_comes(&gone);
	stores[1] = another_worker_comes(&worker);
	asker_comes(&gateway, WIRE_ROLE_GATEWAY);
	create_much(&gateway);
	first = hold_up(&gateway);
	say_the_same(&gone, stores[0], 60000);
	goes_before_it_is_read(&gone);
	waits = say_the_same(&worker, stores[1], 0);
	expect_taken(&worker);
	pthread_mutex_unlock(&pd->catalog->lock);
	expect(&gateway, first, VT_OK);
	assert_true(is_asked(&worker, waits));
	asker_goes(&gateway);
	asker_goes(&worker);
	driver_stop();
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, scratch_make, scratch_remove)
	const struct CMUnitTest tests[] = {
		TEST(the_service_thread_reads),
		TEST(what_waits_is_bounded_in_bytes),
		TEST(who_does_not_lead_reads_no_worker),
		TEST(nobody_speaks_for_another_driver),
		TEST(creations_that_wait_are_bounded),
		TEST(heartbeats_that_wait_are_bounded),
		TEST(who_is_to_tell_all_waits_for_its_turn),
		TEST(who_has_gone_has_told_it_all_the_same),
		TEST(who_has_gone_is_not_asked),
	};

	return cmocka_run_group_tests_name("pd_door", tests, NULL, NULL);
}
