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
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "street.h"

#define CONNS_MAX 2000
#define LOOK_MS 5				/* how often a daemon that is gone is looked for */
#define DYING_US 300000			/* a process that hung up may be about to end */

typedef struct Target
{
	int			name;
	char		listen[108];
	char		real[108];
	int			fd;				/* -1: gone, its place refuses */
	int64_t		dying_until;
} Target;

/* pipe[0] is what the dialling side says, read from fd[0] and written to fd[1]. */
typedef struct Conn
{
	int			fd[2];			/* fd[1] is -1 while a cut keeps it from being made */
	Target	   *target;
	Pipe		pipe[2];
} Conn;

static Target targets[NAMES_MAX];
static int	ntargets;
static Conn *conns[CONNS_MAX];
static int	nconns;

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
	waits = is_cut(from, t->name) || is_cut(t->name, from);
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
		pipe_free(&c->pipe[k]);
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
		if (c->pipe[i].ended && !c->pipe[i].queue && !is_cut(c->pipe[i].from, c->pipe[i].to))
			return false;
	return true;
}

/* -- Commands ------------------------------------------------------------------------------ */

static void
heal(bool reset)
{
	rules_clear();
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
	char		what[64] = "";
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
			printf("ok %llu %llu %llu %llu %llu\n", (unsigned long long) streets.carried, (unsigned long long) streets.held,
				   (unsigned long long) streets.dropped, (unsigned long long) streets.doubled,
				   (unsigned long long) streets.overtaken);
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
			int64_t		due = pipe_due(&conns[i]->pipe[k]);

			/* What is due already waits for its reader, and poll tells. */
			if (due > now && due - now < wait)
				wait = due - now;
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
	if (!out->deaf && pipe_due(out) <= clock_now_us())
		events |= POLLOUT;
	return events;
}

int
main(int argc, char **argv)
{
	static struct pollfd fds[1 + NAMES_MAX + 2 * CONNS_MAX];

	streets.prng.state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
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
