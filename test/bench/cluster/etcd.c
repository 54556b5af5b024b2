/*-------------------------------------------------------------------------
 *
 * etcd.c
 *	  A rival: three members of etcd on this machine, and clients that put values
 *	  by its gRPC interface.
 *
 * All clients are in one thread and one loop over nghttp2, each a stream that puts
 * the next value when the one before was acknowledged, so that they cost as little
 * as clients can.  They speak to the leader, to whom nothing has to be passed on.
 * Needs Debian's etcd-server, and libnghttp2-dev when this is compiled.
 *
 *-------------------------------------------------------------------------
 */
#include "cluster.h"

#define PROGRAM "/usr/bin/etcd"

#ifdef HAVE_NGHTTP2

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEMBERS 3
#define GRPC_PREFIX 5			/* a byte, and the length of the message */
#define KEYS 100000
#define PATIENCE_US (60 * SECOND)
#define CONNECTIONS_MAX 64

struct Etcd
{
	Bench	   *bench;
	int			pids[MEMBERS];
	uint16_t	ports[MEMBERS];
	uint16_t	leader;			/* its port */
};

/* What is asked over and over, by some clients for some time. */
typedef struct Asking
{
	Bench	   *bench;
	const char *path;
	uint32_t	bytes;			/* of a value; 0: the question is empty */
	int64_t		until_us;		/* nothing is asked any more; 0: once */
	uint32_t	open;			/* streams under way */
	uint64_t	asked;
	Times	   *times;
	Buf			answer;			/* to the last one, when once is enough */
} Asking;

typedef struct Channel
{
	Asking	   *asking;
	int			fd;
	nghttp2_session *session;
	Buf			out;
	size_t		sent;
} Channel;

/* One call. */
typedef struct Call
{
	Channel    *channel;
	Buf			body;
	size_t		sent;
	int64_t		begun_us;
	bool		well;			/* grpc-status 0 */
} Call;

/* -- Messages ------------------------------------------------------------------- */

static void
put_varint(Buf *out, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		buf_put_u8(out, (uint8_t) (value | 0x80));
	buf_put_u8(out, (uint8_t) value);
}

static uint64_t
get_varint(Bytes bytes, size_t *at)
{
	uint64_t	value = 0;

	for (int shift = 0; *at < bytes.len && shift < 64; shift += 7)
	{
		uint8_t		byte = bytes.data[(*at)++];

		value |= (uint64_t) (byte & 0x7f) << shift;
		if (byte < 0x80)
			break;
	}
	return value;
}

/* A field of a message: its number, or (*inner) its bytes; 0 when there is none. */
static uint64_t
field_of(Bytes message, uint32_t field, Bytes *inner)
{
	size_t		at = 0;

	while (at < message.len)
	{
		uint64_t	tag = get_varint(message, &at);
		uint64_t	value = get_varint(message, &at);	/* or a length */
		bool		nested = (tag & 7) == 2;

		if ((tag & 7) != 0 && !nested)
			return 0;			/* no other kinds before what we look for */
		if (nested && value > message.len - at)
			return 0;
		if (tag >> 3 == field)
		{
			if (inner && nested)
				*inner = bytes_of(message.data + at, value);
			return value;
		}
		at += nested ? value : 0;
	}
	return 0;
}

/* A PutRequest with its prefix, or an empty message. */
static void
put_question(Buf *out, uint64_t number, uint32_t bytes)
{
	static const uint8_t zeros[1 << 16];
	uint8_t		prefix[GRPC_PREFIX] = {0};
	char		key[32];
	size_t		begin = out->len;

	buf_put(out, prefix, sizeof(prefix));
	if (bytes > 0)
	{
		int			len = snprintf(key, sizeof(key), "k%08" PRIu64, number % KEYS);

		buf_put_u8(out, 1 << 3 | 2);
		put_varint(out, (uint64_t) len);
		buf_put(out, key, (size_t) len);
		buf_put_u8(out, 2 << 3 | 2);
		put_varint(out, bytes);
		buf_put(out, zeros, bytes);
	}
	out->data[begin + 1] = (uint8_t) ((out->len - begin - GRPC_PREFIX) >> 24);
	out->data[begin + 2] = (uint8_t) ((out->len - begin - GRPC_PREFIX) >> 16);
	out->data[begin + 3] = (uint8_t) ((out->len - begin - GRPC_PREFIX) >> 8);
	out->data[begin + 4] = (uint8_t) (out->len - begin - GRPC_PREFIX);
}

/* -- Calls ---------------------------------------------------------------------- */

static ssize_t
read_body(nghttp2_session *session, int32_t stream, uint8_t *out, size_t room, uint32_t *flags,
		  nghttp2_data_source *source, void *arg)
{
	Call	   *call = source->ptr;
	size_t		n = call->body.len - call->sent < room ? call->body.len - call->sent : room;

	(void) session;
	(void) stream;
	(void) arg;
	memcpy(out, call->body.data + call->sent, n);
	call->sent += n;
	if (call->sent == call->body.len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t) n;
}

static nghttp2_nv
header(const char *name, const char *value)
{
	nghttp2_nv	nv = {(uint8_t *) (uintptr_t) name, (uint8_t *) (uintptr_t) value, strlen(name), strlen(value),
	NGHTTP2_NV_FLAG_NONE};

	return nv;
}

static void
call_begin(Channel *channel)
{
	Asking	   *asking = channel->asking;
	Call	   *call = vt_alloc0(sizeof(Call));
	nghttp2_data_provider body = {.source = {.ptr = call}, .read_callback = read_body};
	nghttp2_nv	headers[] = {
		header(":method", "POST"), header(":scheme", "http"), header(":path", asking->path),
		header(":authority", "localhost"), header("content-type", "application/grpc"), header("te", "trailers"),
	};

	call->channel = channel;
	put_question(&call->body, asking->asked++, asking->bytes);
	call->begun_us = clock_now_us();
	if (nghttp2_submit_request(channel->session, NULL, headers, sizeof(headers) / sizeof(headers[0]), &body, call) < 0)
		give_up(asking->bench, "etcd takes no more calls");
	asking->open++;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
		  const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	Call	   *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void) flags;
	(void) arg;
	if (call && name_len == strlen("grpc-status") && memcmp(name, "grpc-status", name_len) == 0)
		call->well = value_len == 1 && value[0] == '0';
	return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t len, void *arg)
{
	Channel    *channel = arg;

	(void) session;
	(void) flags;
	(void) stream;
	if (channel->asking->until_us == 0)
		buf_put(&channel->asking->answer, data, len);
	return 0;
}

static int
on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
	Channel    *channel = arg;
	Asking	   *asking = channel->asking;
	Call	   *call = nghttp2_session_get_stream_user_data(session, stream);

	if (!call)
		return 0;
	if (asking->until_us && (error != 0 || !call->well))
		give_up(asking->bench, "etcd refused a call, error %u", error);
	if (!call->well)
		buf_clear(&asking->answer);
	times_add(asking->times, clock_now_us() - call->begun_us);
	buf_free(&call->body);
	free(call);
	asking->open--;
	if (clock_now_us() < asking->until_us)
		call_begin(channel);
	return 0;
}

/* -- Channels ------------------------------------------------------------------- */

static int
dial(uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int			one = 1;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && connect(fd, (struct sockaddr *) &addr, sizeof(addr)) == 0 &&
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool
channel_open(Channel *channel, Asking *asking, uint16_t port)
{
	nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
	nghttp2_session_callbacks *callbacks;

	memset(channel, 0, sizeof(*channel));
	channel->asking = asking;
	channel->fd = dial(port);
	if (channel->fd < 0)
		return false;
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	nghttp2_session_client_new(&channel->session, callbacks, channel);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_submit_settings(channel->session, NGHTTP2_FLAG_NONE, settings, 1);
	return true;
}

static void
channel_close(Channel *channel)
{
	nghttp2_session_del(channel->session);
	buf_free(&channel->out);
	close(channel->fd);
}

/* Everything that wants to go, as far as the socket takes it; false: the connection is gone. */
static bool
channel_flush(Channel *channel)
{
	const uint8_t *data;
	ssize_t		n;

	while ((n = nghttp2_session_mem_send(channel->session, &data)) > 0)
		buf_put(&channel->out, data, (size_t) n);
	while (n >= 0 && channel->sent < channel->out.len)
	{
		n = send(channel->fd, channel->out.data + channel->sent, channel->out.len - channel->sent, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		channel->sent += (size_t) n;
	}
	buf_clear(&channel->out);
	channel->sent = 0;
	return n >= 0;
}

static bool
channel_read(Channel *channel)
{
	uint8_t		in[1 << 16];
	ssize_t		n = recv(channel->fd, in, sizeof(in), 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	return n > 0 && nghttp2_session_mem_recv(channel->session, in, (size_t) n) == n;
}

/* Until no call is under way; false: the other side has hung up, or does not answer. */
static bool
run(Asking *asking, Channel *channels, uint32_t n)
{
	struct pollfd fds[CONNECTIONS_MAX];
	int64_t		until = (asking->until_us ? asking->until_us : clock_now_us()) + PATIENCE_US;

	while (asking->open > 0)
	{
		for (uint32_t i = 0; i < n; i++)
		{
			if (!channel_flush(&channels[i]))
				return false;
			fds[i] = (struct pollfd) {.fd = channels[i].fd, .events = POLLIN | (channels[i].out.len > 0 ? POLLOUT : 0)};
		}
		if (clock_now_us() > until || (poll(fds, n, 100) < 0 && errno != EINTR))
			return false;
		for (uint32_t i = 0; i < n; i++)
			if (fds[i].revents && !channel_read(&channels[i]))
				return false;
	}
	return true;
}

void
etcd_put(Etcd *etcd, uint32_t clients, uint32_t connections, uint32_t bytes, double seconds, Times *times)
{
	static Channel channels[CONNECTIONS_MAX];
	Asking		asking = {.bench = etcd->bench, .path = "/etcdserverpb.KV/Put", .bytes = bytes, .times = times};

	asking.until_us = clock_now_us() + (int64_t) (seconds * 1e6);
	for (uint32_t i = 0; i < connections; i++)
		if (!channel_open(&channels[i], &asking, etcd->leader))
			give_up(etcd->bench, "etcd does not listen");
	for (uint32_t i = 0; i < clients; i++)
		call_begin(&channels[i % connections]);
	if (!run(&asking, channels, connections))
		give_up(etcd->bench, "etcd does not answer any more");
	for (uint32_t i = 0; i < connections; i++)
		channel_close(&channels[i]);
	times_sort(times);
}

/* -- The members ---------------------------------------------------------------- */

/* Does the member at this port lead? */
static bool
leads(Etcd *etcd, uint16_t port)
{
	Times		times = {0};
	Asking		asking = {.bench = etcd->bench, .path = "/etcdserverpb.Maintenance/Status", .times = &times};
	Channel		channel;
	Bytes		head = {0};
	Bytes		message;
	bool		yes = false;

	if (!channel_open(&channel, &asking, port))
		return false;
	call_begin(&channel);
	if (run(&asking, &channel, 1) && asking.answer.len > GRPC_PREFIX)
	{
		message = bytes_of(asking.answer.data + GRPC_PREFIX, asking.answer.len - GRPC_PREFIX);
		field_of(message, 1, &head);
		yes = head.len > 0 && field_of(head, 2, NULL) != 0 && field_of(head, 2, NULL) == field_of(message, 4, NULL);
	}
	channel_close(&channel);
	buf_free(&asking.answer);
	times_free(&times);
	return yes;
}

/* A port that nobody has now. */
static uint16_t
free_port(Bench *bench)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t	len = sizeof(addr);
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *) &addr, len) != 0 || getsockname(fd, (struct sockaddr *) &addr, &len) != 0)
		give_up(bench, "no port");
	close(fd);
	return ntohs(addr.sin_port);
}

Etcd *
etcd_start(Bench *bench)
{
	Etcd	   *etcd = vt_alloc0(sizeof(Etcd));
	int64_t		until = clock_now_us() + PATIENCE_US;
	uint16_t	peers[MEMBERS];
	char		cluster[300] = "";

	etcd->bench = bench;
	for (int i = 0; i < MEMBERS; i++)
	{
		etcd->ports[i] = free_port(bench);
		peers[i] = free_port(bench);
		snprintf(cluster + strlen(cluster), sizeof(cluster) - strlen(cluster), "%se%d=http://127.0.0.1:%u",
				 i ? "," : "", i, peers[i]);
	}
	for (int i = 0; i < MEMBERS; i++)
	{
		char		name[16];
		char		data[300];
		char		peer[64];
		char		own[64];
		char	   *argv[] = {PROGRAM, "--name", name, "--data-dir", data, "--listen-peer-urls", peer,
			"--initial-advertise-peer-urls", peer, "--listen-client-urls", own, "--advertise-client-urls", own,
			"--initial-cluster", cluster, "--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error", NULL};

		snprintf(name, sizeof(name), "e%d", i);
		snprintf(data, sizeof(data), "%s/etcd%d", bench->directory, i);
		snprintf(peer, sizeof(peer), "http://127.0.0.1:%u", peers[i]);
		snprintf(own, sizeof(own), "http://127.0.0.1:%u", etcd->ports[i]);
		etcd->pids[i] = process_start(bench, name, argv);
	}
	while (etcd->leader == 0)
	{
		for (int i = 0; i < MEMBERS && etcd->leader == 0; i++)
			if (leads(etcd, etcd->ports[i]))
				etcd->leader = etcd->ports[i];
		if (clock_now_us() > until)
			give_up(bench, "etcd does not start; see %s/e0.log", bench->directory);
		usleep(50000);
	}
	return etcd;
}

void
etcd_stop(Etcd *etcd)
{
	for (int i = 0; i < MEMBERS; i++)
		process_end(&etcd->pids[i], SIGKILL);
	free(etcd);
}

Usage
etcd_usage(const Etcd *etcd)
{
	Usage		all = {0};

	for (int i = 0; i < MEMBERS; i++)
	{
		Usage		one = usage_of(etcd->pids[i]);

		all.seconds += one.seconds;
		all.switches += one.switches;
		all.memory += one.memory;
	}
	return all;
}

const char *
etcd_missing(void)
{
	return access(PROGRAM, X_OK) == 0 ? NULL : "etcd-server is not installed";
}

#else

const char *
etcd_missing(void)
{
	return "libnghttp2-dev was not installed when this was compiled";
}

Etcd *
etcd_start(Bench *bench)
{
	give_up(bench, "%s", etcd_missing());
}

void
etcd_stop(Etcd *etcd)
{
	(void) etcd;
}

Usage
etcd_usage(const Etcd *etcd)
{
	(void) etcd;
	return (Usage) {0};
}

void
etcd_put(Etcd *etcd, uint32_t clients, uint32_t connections, uint32_t bytes, double seconds, Times *times)
{
	(void) etcd;
	(void) clients;
	(void) connections;
	(void) bytes;
	(void) seconds;
	(void) times;
}

#endif
