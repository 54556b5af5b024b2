/*-------------------------------------------------------------------------
 *
 * fake_cluster.h
 *	  A cluster of threads for tests of the client.
 *
 * A Fake is a socket with a thread that answers for its World as PD, and as the
 * worker of those shards that the world says are its own.  Every test starts
 * what it needs and joins the threads at its end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FAKE_CLUSTER_H
#define FAKE_CLUSTER_H

#include "fake_answers.h"
#include "patience.h"

#define ALL_FEATURES (WIRE_FEATURE_MANY | WIRE_FEATURE_METADATA)

/* -- The thread ------------------------------------------------------------ */

/* HELLO; false = close. */
static inline bool
greet_back(Fake *fake, FakeConn *conn, const WireHeader *header, Bytes payload)
{
	World	   *w = fake->world;
	WireHello	hello;
	Buf			out = {0};
	bool		good = true;
	Trick		trick;

	pthread_mutex_lock(&w->lock);
	w->count[header->type]++;
	trick = take_trick(w, header->type);
	pthread_mutex_unlock(&w->lock);
	if (trick.what == CLOSE_BEFORE)
		return false;
	if (trick.what == SAY_NOTHING)
		return true;
	if (header->type != WIRE_HELLO || wire_hello_get(payload, &hello) != VT_OK)
		return false;
	pthread_mutex_lock(&w->lock);
	w->features = hello.features;
	pthread_mutex_unlock(&w->lock);
	memset(&hello, 0, sizeof(hello));
	hello.version_low = hello.version_high = trick.what == OTHER_VERSION ? 9 : WIRE_VERSION;
	hello.role = WIRE_ROLE_PD;
	hello.cluster = w->cluster;
	hello.features = fake == w->newer ? ALL_FEATURES : ALL_FEATURES & ~w->lacks;
	if (trick.what == OTHER_LIFE)
		hello.cluster.b[0] ^= 1;
	wire_hello_put(&out, &hello);
	conn->greeted = true;
	good = send_reply(fake, conn->fd, trick.what == OTHER_VERSION ? AS_IT_SHOULD : trick.what,
					  header->type, header->request, buf_bytes(&out));
	buf_free(&out);
	return good;
}

static inline bool
says(Bytes payload, const char *word)
{
	return payload.data != NULL && memmem(payload.data, payload.len, word, strlen(word)) != NULL;
}

/* Letting go of a lease: neither counted nor tricked, since nobody waits for it. */
static inline bool
is_close(WireType type, Bytes payload)
{
	WireSearch	search;
	WireList	list;

	return (type == WIRE_SEARCH && wire_search_get(payload, &search, NULL) == VT_OK &&
			(search.flags & SEARCH_CLOSE)) ||
		(type == WIRE_LIST && wire_list_get(payload, &list, NULL) == VT_OK && (list.flags & LIST_CLOSE));
}

/* A whole frame; false = close. */
static inline bool
answer(Fake *fake, FakeConn *conn, const WireHeader *header, Bytes payload)
{
	World	   *w = fake->world;
	Buf			out = {0};
	Trick		trick = {header->type, 0, AS_IT_SHOULD, VT_OK};
	bool		keep = true;

	if (!conn->greeted)
		return greet_back(fake, conn, header, payload);
	pthread_mutex_lock(&w->lock);
	if (header->kind == WIRE_CANCEL)
	{
		w->cancels++;
		pthread_mutex_unlock(&w->lock);
		return true;
	}
	if (!is_close(header->type, payload))
	{
		w->count[header->type]++;
		trick = take_trick(w, header->type);
		if (w->on_request)
			w->on_request(w, header->type);
	}
	if (trick.what == CLOSE_BEFORE || trick.what == SAY_NOTHING)
	{
		pthread_mutex_unlock(&w->lock);
		return trick.what == SAY_NOTHING;
	}
	if (header->type == WIRE_CONTROL)
	{
		if (trick.what == REFUSE)
		{
			put_text(&out, "{\"status\":%d,\"message\":\"%s\"%s%s%s", trick.status, w->later_ms ? WIRE_FLOODED : "not now",
					 w->hint ? ",\"leader\":\"" : "", w->hint ? w->hint : "", w->hint ? "\"" : "");
			if (w->later_ms)
				put_text(&out, ",\"retry_after_ms\":%u", w->later_ms);
			put_text(&out, "}");
		}
		else if (says(payload, "\"route\"") || says(payload, "\"create_collection\""))
			put_route(w, &out);
		else if (says(payload, "nonsense"))
			put_text(&out, "[1, 2");
		else
			put_text(&out, "{\"status\":0,\"echo\":%u}", w->count[WIRE_CONTROL]);
	}
	else
		answer_data(fake, conn->fd, header->type, payload, trick.what, trick.status, &out);
	pthread_mutex_unlock(&w->lock);
	keep = send_reply(fake, conn->fd, trick.what, header->type, header->request, buf_bytes(&out));
	buf_free(&out);
	return keep;
}

static inline void
conn_end(Fake *fake, FakeConn *conn)
{
	pthread_mutex_lock(&fake->world->lock);
	leases_drop(fake->world, conn->fd);
	pthread_mutex_unlock(&fake->world->lock);
	close(conn->fd);
	for (uint32_t i = 0; i < conn->nheld; i++)
		buf_free(&conn->held[i].payload);
	buf_free(&conn->in);
	memset(conn, 0, sizeof(*conn));
	conn->fd = -1;
}

/* Keep a write until enough of them wait, then answer all, last first. */
static inline bool
hold_or_answer(Fake *fake, FakeConn *conn, const WireHeader *header, Bytes payload)
{
	World	   *w = fake->world;
	bool		keep = true;

	if (!w->hold_writes || header->type != WIRE_WRITE || header->kind != WIRE_REQUEST)
		return answer(fake, conn, header, payload);
	assert_true(conn->nheld < 16);
	memset(&conn->held[conn->nheld], 0, sizeof(conn->held[0]));
	conn->held[conn->nheld].request = header->request;
	buf_put(&conn->held[conn->nheld++].payload, payload.data, payload.len);
	pthread_mutex_lock(&w->lock);
	if (conn->nheld > w->held)
		w->held = conn->nheld;
	pthread_mutex_unlock(&w->lock);
	if (conn->nheld < w->hold_writes)
		return true;
	while (conn->nheld > 0)
	{
		WireHeader	again = *header;

		again.request = conn->held[--conn->nheld].request;
		keep = answer(fake, conn, &again, buf_bytes(&conn->held[conn->nheld].payload)) && keep;
		buf_free(&conn->held[conn->nheld].payload);
	}
	return keep;
}

/* A search that is answered later, if it is not cancelled: true. */
static inline bool
is_put_off(Fake *fake, FakeConn *conn, const WireHeader *header, Bytes payload)
{
	uint32_t	slow_ms;

	pthread_mutex_lock(&fake->world->lock);
	slow_ms = fake->slow_ms;
	pthread_mutex_unlock(&fake->world->lock);
	for (uint32_t i = 0; header->kind == WIRE_CANCEL && header->type == WIRE_SEARCH && i < conn->nheld; i++)
		if (conn->held[i].request == header->request)
		{
			buf_free(&conn->held[i].payload);
			conn->held[i] = conn->held[--conn->nheld];
			break;
		}
	if (!slow_ms || header->kind != WIRE_REQUEST || header->type != WIRE_SEARCH || is_close(header->type, payload))
		return false;
	assert_true(conn->nheld < 16);
	memset(&conn->held[conn->nheld], 0, sizeof(conn->held[0]));
	conn->held[conn->nheld].request = header->request;
	conn->held[conn->nheld].due_us = clock_now_us() + slow_ms * INT64_C(1000);
	buf_put(&conn->held[conn->nheld++].payload, payload.data, payload.len);
	return true;
}

/* Searches whose time has come; *next_us is lowered to that of the next one.  False = close. */
static inline bool
answer_put_off(Fake *fake, FakeConn *conn, int64_t *next_us)
{
	bool		keep = true;

	for (uint32_t i = 0; i < conn->nheld && keep;)
	{
		WireHeader	header = {.kind = WIRE_REQUEST, .type = WIRE_SEARCH, .request = conn->held[i].request};
		Buf			payload = conn->held[i].payload;

		if (conn->held[i].due_us == 0 || conn->held[i].due_us > clock_now_us())
		{
			if (conn->held[i].due_us && conn->held[i].due_us < *next_us)
				*next_us = conn->held[i].due_us;
			i++;
			continue;
		}
		conn->held[i] = conn->held[--conn->nheld];
		keep = answer(fake, conn, &header, buf_bytes(&payload));
		buf_free(&payload);
	}
	return keep;
}

static inline bool
conn_take(Fake *fake, FakeConn *conn)
{
	uint8_t		chunk[65536];
	ssize_t		n = recv(conn->fd, chunk, sizeof(chunk), 0);
	size_t		at = 0;
	bool		good = n > 0;

	if (n > 0)
		buf_put(&conn->in, chunk, (size_t) n);
	while (good && conn->in.len - at >= WIRE_HEADER_SIZE)
	{
		const uint8_t *head = conn->in.data + at;
		WireHeader	header;
		Bytes		payload;

		good = wire_header_get(head, &header, NULL) == VT_OK;
		if (!good || conn->in.len - at - WIRE_HEADER_SIZE < header.length)
			break;
		payload = bytes_of(head + WIRE_HEADER_SIZE, header.length);
		good = wire_payload_check(head, &header, payload, NULL) == VT_OK &&
			(is_put_off(fake, conn, &header, payload) || hold_or_answer(fake, conn, &header, payload));
		at += WIRE_HEADER_SIZE + header.length;
	}
	if (at)
	{
		memmove(conn->in.data, conn->in.data + at, conn->in.len - at);
		conn->in.len -= at;
	}
	return good;
}

static inline void *
fake_main(void *arg)
{
	Fake	   *fake = (Fake *) arg;

	for (;;)
	{
		struct pollfd fds[FAKE_CONNS + 2];
		int			n = 2;
		char		order;
		int64_t		next_us = INT64_MAX;

		for (int i = 0; i < FAKE_CONNS && !fake->frozen; i++)
			if (fake->conns[i].fd >= 0 && !answer_put_off(fake, &fake->conns[i], &next_us))
				conn_end(fake, &fake->conns[i]);
		fds[0] = (struct pollfd) {.fd = fake->stop[0], .events = POLLIN};
		fds[1] = (struct pollfd) {.fd = fake->listener, .events = POLLIN};
		for (int i = 0; i < FAKE_CONNS; i++)
			fds[n++] = (struct pollfd) {.fd = fake->conns[i].fd, .events = POLLIN};
		if (poll(fds, fake->frozen ? 1 : (nfds_t) n, next_us == INT64_MAX ? -1 : (int) ((next_us - clock_now_us()) / 1000 + 1)) < 0)
			continue;
		if (fds[0].revents && read(fake->stop[0], &order, 1) == 1)
		{
			if (order == 'x')
				break;
			__atomic_store_n(&fake->frozen, order == 'f', __ATOMIC_SEQ_CST);
		}
		if (fake->frozen)
			continue;
		for (int i = 0; i < FAKE_CONNS; i++)
			if (fake->conns[i].fd >= 0 && fds[i + 2].revents && !conn_take(fake, &fake->conns[i]))
				conn_end(fake, &fake->conns[i]);
		if (fds[1].revents)
			for (int i = 0; i < FAKE_CONNS; i++)
				if (fake->conns[i].fd < 0)
				{
					fake->conns[i].fd = accept(fake->listener, NULL, NULL);
					break;
				}
	}
	for (int i = 0; i < FAKE_CONNS; i++)
		if (fake->conns[i].fd >= 0)
			conn_end(fake, &fake->conns[i]);
	return NULL;
}

/* Listen and answer. */
static inline void
fake_start(Fake *fake, World *w)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memset(fake, 0, sizeof(*fake));
	fake->world = w;
	for (int i = 0; i < FAKE_CONNS; i++)
		fake->conns[i].fd = -1;
	fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fake->listener >= 0);
	strcpy(fake->dir, "/tmp/vtfakeXXXXXX");
	assert_non_null(mkdtemp(fake->dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", fake->dir);
	snprintf(fake->endpoint, sizeof(fake->endpoint), "unix:%s/s", fake->dir);
	assert_int_equal(bind(fake->listener, (struct sockaddr *) &addr, sizeof(addr)), 0);
	assert_int_equal(listen(fake->listener, 16), 0);
	assert_int_equal(pipe(fake->stop), 0);
	assert_int_equal(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
}

/* Alive, as a stopped process is: connections are made, and nothing is read. */
static inline void
fake_freeze(Fake *fake, bool frozen)
{
	assert_int_equal(write(fake->stop[1], frozen ? "f" : "t", 1), 1);
	while (__atomic_load_n(&fake->frozen, __ATOMIC_SEQ_CST) != frozen)
		sched_yield();
}

static inline void
fake_stop(Fake *fake)
{
	assert_int_equal(write(fake->stop[1], "x", 1), 1);
	pthread_join(fake->thread, NULL);
	close(fake->stop[0]);
	close(fake->stop[1]);
	close(fake->listener);
	unlink(fake->endpoint + 5);
	rmdir(fake->dir);
}

/* Every shard at this fake. */
static inline void
world_home(World *w, Fake *fake)
{
	for (uint32_t i = 0; i < w->nshards; i++)
		w->shards[i].home = fake;
}

/* -- The client's side ----------------------------------------------------- */

/* A wait that ends the call with a status after so many waits, and counts descriptors. */
typedef struct Watch
{
	int			waits_left;		/* -1 = never */
	VtStatus	then;
	int			fds;
	int			fds_max;		/* 0 = no limit */
	void		(*on_dial) (void *arg); /* before a socket is opened; NULL = nothing */
	void	   *dial_arg;
	int64_t		late_us;		/* the next wait ends when bytes are there and it is then, and says that its time is over; 0 = never */
} Watch;

static inline VtStatus
watch_wait(void *arg, int fd, bool want_read, bool want_write, int64_t until_us)
{
	Watch	   *watch = (Watch *) arg;

	if (watch->waits_left == 0)
	{
		watch->waits_left = -1;
		return watch->then;
	}
	if (watch->waits_left > 0)
		watch->waits_left--;
	if (watch->late_us)
	{
		struct pollfd there = {.fd = fd, .events = POLLIN};

		poll(&there, 1, PATIENCE_MS);
		while (clock_now_us() < watch->late_us)
			usleep(1000);
		watch->late_us = 0;
		return VT_TIMEOUT;
	}
	return client_poll_ops.wait(NULL, fd, want_read, want_write, until_us);
}

static inline bool
watch_acquire(void *arg)
{
	Watch	   *watch = (Watch *) arg;

	if (watch->fds_max && watch->fds >= watch->fds_max)
		return false;
	if (watch->on_dial)
		watch->on_dial(watch->dial_arg);
	watch->fds++;
	return true;
}

static inline void
watch_release(void *arg)
{
	((Watch *) arg)->fds--;
}

static inline Client *
client_for(const char *endpoints, const WireTlsFiles *tls, Watch *watch)
{
	ClientOptions options = {.pd_endpoints = endpoints, .role = WIRE_ROLE_GATEWAY};
	Client	   *client;
	VtError		err = {0};

	*watch = (Watch) {.waits_left = -1};
	if (tls)
		options.tls = *tls;
	options.ops = (ClientOps) {.wait = watch_wait, .acquire_fd = watch_acquire, .release_fd = watch_release, .arg = watch};
	assert_int_equal(client_open(&options, &client, &err), VT_OK);
	return client;
}

static inline void
client_end(Client *client, Watch *watch)
{
	client_close(client);
	assert_int_equal(watch->fds, 0);
}

static inline int64_t
in_ms(int64_t ms)
{
	return clock_now_us() + ms * 1000;
}

#define LONG_MS PATIENCE_MS

#define assert_ok(call) \
	do { \
		VtStatus	status_ = (call); \
		if (status_ != VT_OK) \
			fail_msg("%s: status %d, %s", #call, status_, vt_error_words(&err)); \
	} while (0)

/*
 * A deadline that is meant to pass, after an answer that tells why.  A machine that stands still
 * for as long hears of none, or only that somebody else is not there; that proves nothing, so it is
 * tried again.
 */
#define assert_told(wanted, call) \
	do { \
		VtStatus	told_ = VT_TIMEOUT; \
		for (int try_ = 0; try_ < 100 && told_ != (wanted) && (told_ == VT_TIMEOUT || told_ == VT_UNAVAILABLE); try_++) \
			told_ = (call); \
		assert_int_equal(told_, wanted); \
	} while (0)

#endif							/* FAKE_CLUSTER_H */
