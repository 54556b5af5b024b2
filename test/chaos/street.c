/*-------------------------------------------------------------------------
 *
 * street.c
 *	  Names, rules, and frames on their way.
 *
 * One-way frames (Raft) alone may be lost, doubled or overtaken: in requests and
 * replies TCP would allow none of it.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include "street.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/wire.h"

struct Frame
{
	Frame	   *next;
	int64_t		due;
	size_t		len;
	uint8_t		bytes[];
};

static char names[NAMES_MAX][64];
static int	nnames;
static Rule rules[NAMES_MAX][NAMES_MAX];

Streets		streets;

void
die(const char *what)
{
	fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* -- Who --------------------------------------------------------------------------- */

int
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

int
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

/* -- Rules ----------------------------------------------------------------------------- */

bool
is_cut(int from, int to)
{
	return rules[from][to].cut;
}

bool
is_cut_off(int name)
{
	for (int i = 0; i < nnames; i++)
		if (rules[i][name].cut || rules[name][i].cut)
			return true;
	return false;
}

void
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

void
rules_clear(void)
{
	memset(rules, 0, sizeof(rules));
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
		streets.overtaken++;
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
	bool		late = loose && prng_below(&streets.prng, 1000) < r->reorder;

	if (loose && prng_below(&streets.prng, 1000) < r->drop)
	{
		streets.dropped++;
		return;
	}
	if (r->delay_high > 0)
		due += 1000 * (int64_t) (r->delay_low + prng_below(&streets.prng, r->delay_high - r->delay_low + 1));
	if (late)
		due += 1000 * (int64_t) prng_below(&streets.prng, r->reorder_ms + 1);
	frame_queue(p, bytes, len, due, !late);
	if (loose && prng_below(&streets.prng, 1000) < r->twice)
	{
		streets.doubled++;
		frame_queue(p, bytes, len, due + 1000 * (int64_t) prng_below(&streets.prng, 50), false);
	}
}

/* Read what there is; the whole frames of it are queued. */
void
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
void
pipe_write(Pipe *p, int fd)
{
	int64_t		now = clock_now_us();

	while (fd >= 0 && p->queue && !is_cut(p->from, p->to) && p->queue->due <= now)
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
		streets.carried++;
		free(f);
	}
	if (p->queue && is_cut(p->from, p->to) && !p->held)
	{
		p->held = true;
		streets.held++;
	}
}

void
pipe_free(Pipe *p)
{
	while (p->queue)
	{
		Frame	   *f = p->queue;

		p->queue = f->next;
		free(f);
	}
	buf_free(&p->in);
}

int64_t
pipe_due(const Pipe *p)
{
	return p->queue && !is_cut(p->from, p->to) ? p->queue->due : INT64_MAX;
}
