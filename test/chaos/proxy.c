/*-------------------------------------------------------------------------
 *
 * proxy.c
 *	  The network of a chaos test: every frame between processes passes here.
 *
 * A target is a daemon: the proxy listens where others look for it and carries
 * what they say to where it really listens.  Who dials is known by the process at
 * the other end of the socket: the last part of its --listen is its name, and
 * whoever has none is the gateway.  So a rule is about a street, FROM and TO, and
 * holds for everything that FROM says to TO, whichever of them dialled.
 *
 * What a street can do to frames:
 *
 *		cut		nothing arrives: not even that the other side hung up.  What was
 *				said waits, as in the buffers of a kernel that sends again; the
 *				sender notices when those are full
 *		delay	each frame arrives later, in order
 *		drop, twice, reorder
 *				of one-way frames (Raft) alone, since those may be lost, doubled or
 *				overtaken; in requests and replies TCP would allow none of it
 *
 * When a street heals, what waited arrives late, or the connections break: both
 * happen in a real network.
 *
 * When a daemon is gone, its connections end and its place refuses, as the kernel
 * of a living machine would do for a dead process.  For the death of a machine its
 * streets are cut first.
 *
 * Commands come on standard input, one a line, each answered by a line:
 *
 *		target NAME LISTEN REAL		paths of sockets
 *		rule FROM TO cut			* is everybody
 *		rule FROM TO delay LOW HIGH	milliseconds
 *		rule FROM TO drop|twice PERMILLE
 *		rule FROM TO reorder PERMILLE MS
 *		heal deliver|reset
 *		count						frames carried, held, dropped, doubled, overtaken
 *
 * One thread.  The end of the input ends it.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/prng.h"
#include "wire/wire.h"

#define NAMES_MAX 32
#define CONNS_MAX 2000
#define QUEUE_BYTES (4u << 20)	/* of a street, before its sender has to wait */
#define LOOK_MS 5				/* how often a daemon that is gone is looked for */
#define DYING_US 300000			/* a process that hung up may be about to end */

typedef struct Rule
{
	bool		cut;
	uint32_t	delay_low;
	uint32_t	delay_high;
	uint32_t	drop;			/* permille, as the next two */
	uint32_t	twice;
	uint32_t	reorder;
	uint32_t	reorder_ms;
} Rule;

typedef struct Target
{
	int			name;
	char		listen[108];
	char		real[108];
	int			fd;				/* -1: gone, its place refuses */
	int64_t		dying_until;
} Target;

typedef struct Frame
{
	struct Frame *next;
	int64_t		due;
	size_t		len;
	uint8_t		bytes[];
} Frame;

/* One direction of a connection. */
typedef struct Pipe
{
	int			from;
	int			to;
	Buf			in;				/* less than a frame */
	Frame	   *queue;			/* by due */
	size_t		queued;
	size_t		sent;			/* of the first frame; it is not overtaken any more */
	int64_t		last_due;		/* of those that must stay in order */
	bool		held;			/* a cut kept something from arriving */
	bool		ended;			/* nothing more comes in */
	bool		deaf;			/* nobody takes what comes out */
} Pipe;

/* pipe[0] is what the dialling side says, read from fd[0] and written to fd[1]. */
typedef struct Conn
{
	int			fd[2];			/* fd[1] is -1 while a cut keeps it from being made */
	Target	   *target;
	Pipe		pipe[2];
} Conn;

static char names[NAMES_MAX][64];
static int	nnames;
static Rule rules[NAMES_MAX][NAMES_MAX];
static Target targets[NAMES_MAX];
static int	ntargets;
static Conn *conns[CONNS_MAX];
static int	nconns;
static Prng prng;
static uint64_t carried,
			held,
			dropped,
			doubled,
			overtaken;

static void
die(const char *what)
{
	fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* -- Who --------------------------------------------------------------------------- */

static int
name_number(const char *name)
{
	for (int i = 0; i < nnames; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	if (nnames == NAMES_MAX)
		die("too many names");
	snprintf(names[nnames], sizeof(names[0]), "%s", name);
	return nnames++;
}

/* The name of the process at the other end. */
static int
who_dials(int fd)
{
	struct ucred peer;
	socklen_t	len = sizeof(peer);
	char		path[64];
	char		line[4096];
	ssize_t		n;
	int			file;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return name_number("gateway");
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int) peer.pid);
	file = open(path, O_RDONLY | O_CLOEXEC);
	n = file < 0 ? 0 : read(file, line, sizeof(line) - 1);
	if (file >= 0)
		close(file);
	line[n > 0 ? n : 0] = '\0';
	for (char *word = line; word < line + n; word += strlen(word) + 1)
		if (strcmp(word, "--listen") == 0 && word + sizeof("--listen") < line + n)
		{
			const char *at = strrchr(word + sizeof("--listen"), '/');

			return name_number(at ? at + 1 : "gateway");
		}
	return name_number("gateway");
}

/* -- Sockets ------------------------------------------------------------------------- */

static struct sockaddr_un
address(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return addr;
}

/* A connection to a daemon; -1 when nobody takes it. */
static int
dial(const char *path)
{
	struct sockaddr_un addr = address(path);
	int			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (connect(fd, (struct sockaddr *) &addr, sizeof(addr)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void
target_open(Target *t)
{
	struct sockaddr_un addr = address(t->listen);

	t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	unlink(t->listen);
	if (t->fd < 0 || bind(t->fd, (struct sockaddr *) &addr, sizeof(addr)) < 0 ||
		chmod(t->listen, 0600) < 0 || listen(t->fd, 256) < 0)
		die(t->listen);
}

/* Does any street to or from here carry nothing? */
static bool
is_cut_off(int name)
{
	for (int i = 0; i < nnames; i++)
		if (rules[i][name].cut || rules[name][i].cut)
			return true;
	return false;
}

/*
 * Is it there?  Its place listens and refuses as it does.  A refusal is an answer,
 * too: nobody hears it from a place that is cut off.
 */
static void
target_look(Target *t)
{
	int			fd = dial(t->real);

	/* One that is stopped has a full backlog in the end, and is there. */
	if (fd < 0 && errno != EAGAIN && !is_cut_off(t->name))
	{
		if (t->fd >= 0)
			close(t->fd);
		t->fd = -1;
		return;
	}
	if (fd >= 0)
		close(fd);
	if (t->fd < 0)
		target_open(t);
}

/* -- Frames ---------------------------------------------------------------------------- */

static void
frame_queue(Pipe *p, const uint8_t *bytes, size_t len, int64_t due, bool in_order)
{
	Frame	   *f = malloc(sizeof(Frame) + len);
	Frame	  **at = &p->queue;

	if (!f)
		die("malloc");
	if (in_order)
	{
		due = due > p->last_due ? due : p->last_due;
		p->last_due = due;
	}
	f->due = due;
	f->len = len;
	memcpy(f->bytes, bytes, len);
	while (*at && ((*at)->due <= due || (p->sent > 0 && at == &p->queue)))
		at = &(*at)->next;
	if (*at)
		overtaken++;
	f->next = *at;
	*at = f;
	p->queued += len;
}

/* A whole frame came in. */
static void
frame_take(Pipe *p, const uint8_t *bytes, size_t len)
{
	const Rule *r = &rules[p->from][p->to];
	bool		loose = get_le16(bytes + 6) == WIRE_RAFT;
	int64_t		now = clock_now_us();
	int64_t		due = now;
	bool		late = loose && prng_below(&prng, 1000) < r->reorder;

	if (loose && prng_below(&prng, 1000) < r->drop)
	{
		dropped++;
		return;
	}
	if (r->delay_high > 0)
		due += 1000 * (int64_t) (r->delay_low + prng_below(&prng, r->delay_high - r->delay_low + 1));
	if (late)
		due += 1000 * (int64_t) prng_below(&prng, r->reorder_ms + 1);
	frame_queue(p, bytes, len, due, !late);
	if (loose && prng_below(&prng, 1000) < r->twice)
	{
		doubled++;
		frame_queue(p, bytes, len, due + 1000 * (int64_t) prng_below(&prng, 50), false);
	}
}

static bool
is_cut(const Pipe *p)
{
	return rules[p->from][p->to].cut;
}

/* Read what there is; the whole frames of it are queued. */
static void
pipe_read(Pipe *p, int fd)
{
	uint8_t		chunk[65536];
	ssize_t		n = read(fd, chunk, sizeof(chunk));
	size_t		at = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
	{
		p->ended = true;
		return;
	}
	if (p->deaf)
		return;
	buf_put(&p->in, chunk, (size_t) n);
	while (p->in.len - at >= WIRE_HEADER_SIZE)
	{
		size_t		len = WIRE_HEADER_SIZE + (size_t) get_le32(p->in.data + at + 16);

		if (p->in.len - at < len)
			break;
		frame_take(p, p->in.data + at, len);
		at += len;
	}
	if (at > 0)
	{
		memmove(p->in.data, p->in.data + at, p->in.len - at);
		p->in.len -= at;
	}
}

/* Write what is due. */
static void
pipe_write(Pipe *p, int fd)
{
	int64_t		now = clock_now_us();

	while (fd >= 0 && p->queue && !is_cut(p) && p->queue->due <= now)
	{
		Frame	   *f = p->queue;
		ssize_t		n = p->deaf ? (ssize_t) (f->len - p->sent) :
			send(fd, f->bytes + p->sent, f->len - p->sent, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0)
		{
			p->deaf = true;
			continue;
		}
		p->sent += (size_t) n;
		if (p->sent < f->len)
			return;
		p->queue = f->next;
		p->queued -= f->len;
		p->sent = 0;
		carried++;
		free(f);
	}
	if (p->queue && is_cut(p) && !p->held)
	{
		p->held = true;
		held++;
	}
}

/* -- Connections ------------------------------------------------------------------------- */

static void
conn_open(Target *t)
{
	int			fd = accept4(t->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int			from;
	int			real;
	bool		waits;
	Conn	   *c;

	if (fd < 0)
		return;
	from = who_dials(fd);
	waits = rules[from][t->name].cut || rules[t->name][from].cut;
	real = waits ? -1 : dial(t->real);
	if ((real < 0 && !waits) || nconns == CONNS_MAX)
	{
		target_look(t);
		if (real >= 0)
			close(real);
		close(fd);
		return;
	}
	c = vt_alloc0(sizeof(Conn));
	c->fd[0] = fd;
	c->fd[1] = real;
	c->target = t;
	for (int i = 0; i < 2; i++)
	{
		c->pipe[i].from = i == 0 ? from : t->name;
		c->pipe[i].to = i == 0 ? t->name : from;
		c->pipe[i].held = waits;
	}
	conns[nconns++] = c;
}

static void
conn_close(int i)
{
	Conn	   *c = conns[i];

	for (int k = 0; k < 2; k++)
	{
		if (c->fd[k] >= 0)
			close(c->fd[k]);
		while (c->pipe[k].queue)
		{
			Frame	   *f = c->pipe[k].queue;

			c->pipe[k].queue = f->next;
			free(f);
		}
		buf_free(&c->pipe[k].in);
	}
	free(c);
	conns[i] = conns[--nconns];
}

/* Carry what can be carried; false when the connection is over. */
static bool
conn_work(Conn *c, const short revents[2])
{
	for (int i = 0; i < 2; i++)
	{
		Pipe	   *p = &c->pipe[i];
		Pipe	   *back = &c->pipe[1 - i];

		if (!p->ended && c->fd[i] >= 0 && (revents[i] & (POLLIN | POLLHUP | POLLERR)))
			pipe_read(p, c->fd[i]);
		if (p->ended && !back->deaf)
		{
			/* Who does not speak any more does not listen either. */
			back->deaf = true;
			if (i == 1)
			{
				c->target->dying_until = clock_now_us() + DYING_US;
				target_look(c->target);
			}
		}
		pipe_write(p, c->fd[1 - i]);
	}
	for (int i = 0; i < 2; i++)
		if (c->pipe[i].ended && !c->pipe[i].queue && !is_cut(&c->pipe[i]))
			return false;
	return true;
}

/* -- Commands ------------------------------------------------------------------------------ */

static void
rule_set(const char *from, const char *to, const Rule *change, const char *what)
{
	for (int a = 0; a < nnames; a++)
		for (int b = 0; b < nnames; b++)
		{
			Rule	   *r = &rules[a][b];

			if (a == b || (strcmp(from, "*") != 0 && strcmp(from, names[a]) != 0) ||
				(strcmp(to, "*") != 0 && strcmp(to, names[b]) != 0))
				continue;
			if (strcmp(what, "cut") == 0)
				r->cut = true;
			else if (strcmp(what, "delay") == 0)
			{
				r->delay_low = change->delay_low;
				r->delay_high = change->delay_high;
			}
			else if (strcmp(what, "drop") == 0)
				r->drop = change->drop;
			else if (strcmp(what, "twice") == 0)
				r->twice = change->twice;
			else
			{
				r->reorder = change->reorder;
				r->reorder_ms = change->reorder_ms;
			}
		}
}

static void
heal(bool reset)
{
	memset(rules, 0, sizeof(rules));
	for (int i = nconns - 1; i >= 0; i--)
	{
		Conn	   *c = conns[i];
		bool		was_held = c->pipe[0].held || c->pipe[1].held;

		c->pipe[0].held = c->pipe[1].held = false;
		if (c->fd[1] < 0)
			c->fd[1] = dial(c->target->real);
		if (c->fd[1] < 0 || (was_held && reset))
			conn_close(i);
	}
	/* Who was gone all the time now refuses. */
	for (int i = 0; i < ntargets; i++)
		target_look(&targets[i]);
}

static bool
command(char *line)
{
	char		a[128] = "";
	char		b[128] = "";
	char		what[16] = "";
	unsigned	x = 0;
	unsigned	y = 0;
	Rule		r = {0};

	if (sscanf(line, "target %63s %107s %107s", what, a, b) == 3)
	{
		Target	   *t = &targets[ntargets++];

		t->name = name_number(what);
		snprintf(t->listen, sizeof(t->listen), "%.107s", a);
		snprintf(t->real, sizeof(t->real), "%.107s", b);
		t->fd = -1;
		return true;
	}
	if (sscanf(line, "rule %63s %63s %15s %u %u", a, b, what, &x, &y) >= 3)
	{
		name_number(strcmp(a, "*") == 0 ? "gateway" : a);
		name_number(strcmp(b, "*") == 0 ? "gateway" : b);
		r.delay_low = r.drop = r.twice = r.reorder = x;
		r.delay_high = r.reorder_ms = y;
		if (strcmp(what, "delay") == 0 && y < x)
			return false;
		rule_set(a, b, &r, what);
		return true;
	}
	if (sscanf(line, "heal %15s", what) == 1)
	{
		heal(strcmp(what, "reset") == 0);
		return true;
	}
	return strcmp(line, "count") == 0;
}

/* Commands that have come; false at the end of the input. */
static bool
commands(void)
{
	static char text[4096];
	static size_t len;
	ssize_t		n = read(STDIN_FILENO, text + len, sizeof(text) - len - 1);
	char	   *end;

	if (n <= 0)
		return n < 0 && errno == EINTR;
	len += (size_t) n;
	text[len] = '\0';
	while ((end = strchr(text, '\n')) != NULL)
	{
		*end = '\0';
		if (!command(text))
			printf("not understood: %s\n", text);
		else
			printf("ok %llu %llu %llu %llu %llu\n", (unsigned long long) carried, (unsigned long long) held,
				   (unsigned long long) dropped, (unsigned long long) doubled, (unsigned long long) overtaken);
		fflush(stdout);
		len -= (size_t) (end + 1 - text);
		memmove(text, end + 1, len + 1);
	}
	return true;
}

/* -- The loop -------------------------------------------------------------------------------- */

/* How long nothing has to be done, when nobody says anything. */
static int
idle_ms(void)
{
	int64_t		now = clock_now_us();
	int64_t		wait = 1000000;

	for (int i = 0; i < ntargets; i++)
		if (targets[i].fd < 0 || targets[i].dying_until > now)
			wait = LOOK_MS * 1000;
	for (int i = 0; i < nconns; i++)
		for (int k = 0; k < 2; k++)
		{
			const Pipe *p = &conns[i]->pipe[k];

			if (p->queue && !is_cut(p) && p->queue->due > now && p->queue->due - now < wait)
				wait = p->queue->due - now;
		}
	return (int) ((wait + 999) / 1000);
}

static short
wanted(const Conn *c, int side)
{
	const Pipe *in = &c->pipe[side];
	const Pipe *out = &c->pipe[1 - side];
	short		events = 0;

	if (!in->ended && in->queued < QUEUE_BYTES)
		events |= POLLIN;
	if (out->queue && !is_cut(out) && !out->deaf && out->queue->due <= clock_now_us())
		events |= POLLOUT;
	return events;
}

int
main(int argc, char **argv)
{
	static struct pollfd fds[1 + NAMES_MAX + 2 * CONNS_MAX];

	prng.state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
	signal(SIGPIPE, SIG_IGN);
	for (;;)
	{
		int			n = 0;
		int			had = nconns;

		fds[n++] = (struct pollfd) {.fd = STDIN_FILENO, .events = POLLIN};
		for (int i = 0; i < NAMES_MAX; i++)
			fds[n++] = (struct pollfd) {.fd = i < ntargets ? targets[i].fd : -1, .events = POLLIN};
		for (int i = 0; i < nconns; i++)
			for (int k = 0; k < 2; k++)
			{
				short		events = wanted(conns[i], k);

				/* An end nobody wants to hear of now would wake us all the time. */
				fds[n++] = (struct pollfd) {.fd = events ? conns[i]->fd[k] : -1, .events = events};
			}
		if (poll(fds, (nfds_t) n, idle_ms()) < 0 && errno != EINTR)
			die("poll");
		/* From the last on, since closing one moves the last into its place. */
		for (int i = had - 1; i >= 0; i--)
		{
			short		revents[2] = {fds[1 + NAMES_MAX + 2 * i].revents, fds[2 + NAMES_MAX + 2 * i].revents};

			if (!conn_work(conns[i], revents))
				conn_close(i);
		}
		for (int i = 0; i < ntargets; i++)
		{
			Target	   *t = &targets[i];

			if (t->fd < 0 || t->dying_until > clock_now_us())
				target_look(t);
			if (t->fd >= 0 && (fds[1 + i].revents & POLLIN))
				conn_open(t);
		}
		if ((fds[0].revents & (POLLIN | POLLHUP)) && !commands())
			return 0;
	}
}
