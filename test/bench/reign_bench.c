/*-------------------------------------------------------------------------
 *
 * reign_bench.c
 *	  How soon a placement driver that begins to lead has heard many workers.
 *
 *	  reign_bench [OPTION VALUE]...
 *		--pd PROGRAM		build/vectron-pd; another one's for a comparison
 *		--drivers N			processes of it (3)
 *		--workers N			threads that speak as a worker does (1000)
 *		--replicas N		that each has in the mean (300)
 *		--busy N			replicas of each whose rows change between two heartbeats (0)
 *		--heeds 0			who waits until it is asked, or comes to another driver, tells what has changed all the same, as workers did once
 *		--forgets 1			who gets no answer tells all again, unasked, as they did before that
 *		--rounds N			leaders that are killed (3)
 *		--patience N		seconds in which all are to be heard (300)
 *
 * Workers register and make the replicas of collections of 20 shards, three of each, as they are told; of each they tell all figures
 * that there are, of all as followers.  The driver that leads is killed then, and begun anew at once.  The time runs
 * from there until the leader takes all workers for up.  With --busy rows change from
 * the first of these moments on; the driver is to have time for all that tells of them.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/daemon.h"
#include "base/prng.h"
#include "net/net.h"

#define DRIVERS_MAX 5
#define WORKERS_MAX 4000
#define WAIT_MS 500				/* as src/worker/house.c and driver.c have it */
#define RETRY_MS 200
#define TIMEOUT_MS 5000
#define TIMEOUT_OF_MANY_MS 2000
#define HINTS_MAX 2
#define SHARDS 20				/* of a collection, */
#define COPIES 3				/* and replicas of each */
#define MAKE_US 3000000			/* until what is made is told, with all that is made meanwhile */
#define SETTLE_US 3000000		/* of everyday work before a leader is killed */
#define SECOND INT64_C(1000000)

static const char *program = "build/vectron-pd";
static int	drivers = 3;
static int	workers = 1000;
static int	replicas = 300;
static int	busy = 0;
static int	heeds = 1;
static int	forgets = 0;
static int	rounds = 3;
static int	patience = 300;

static char directory[64];
static char endpoints[DRIVERS_MAX][96];
static char peers[DRIVERS_MAX * 97];
static int	pids[DRIVERS_MAX];
static atomic_bool stopping;
static atomic_bool at_work;		/* rows change */
static atomic_ullong told;		/* times that a worker told all, to whichever driver, */
static atomic_ullong told_bytes;
static atomic_ullong changes;	/* times that one told what has changed, the same, */
static atomic_ullong changed_bytes;
static atomic_ullong unanswered;	/* questions */
static atomic_llong longest_us;	/* that one took, or those of one worker that were not answered in a row */

static void
give_up(const char *what)
{
	fprintf(stderr, "reign_bench: %s; logs are in %s\n", what, directory);
	for (int i = 0; i < drivers; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	exit(2);
}

/* -- Drivers ---------------------------------------------------------------- */

static void
driver_start(int i)
{
	char		data[96];
	char		log[96];

	snprintf(data, sizeof(data), "%s/pd%d", directory, i);
	snprintf(log, sizeof(log), "%s/pd%d.log", directory, i);
	pids[i] = fork();
	if (pids[i] != 0)
		return;
	if (!freopen(log, "a", stdout) || dup2(1, 2) < 0)
		_exit(127);
	if (drivers > 1)
		execl(program, program, "--data", data, "--listen", endpoints[i], "--balance", "off", "--peers", peers, (char *) NULL);
	else
		execl(program, program, "--data", data, "--listen", endpoints[i], "--balance", "off", (char *) NULL);
	_exit(127);
}

static NetPeer *
peer_of(int driver, WireRole role, const VtId *cluster, uint64_t store)
{
	NetPeerOptions options = {.endpoint = endpoints[driver], .role = role, .expected = WIRE_ROLE_PD, .cluster = *cluster, .store = store};

	return net_peer_new(&options);
}

/* What stands behind "name": in an answer, into out; false: nothing. */
static bool
find(const Buf *reply, const char *name, char *out, size_t size)
{
	char		key[40];
	const char *at;
	size_t		n = 0;

	snprintf(key, sizeof(key), "\"%s\":", name);
	at = memmem(reply->data, reply->len, key, strlen(key));
	if (!at)
		return false;
	at += strlen(key);
	at += strspn(at, " \"");
	while (n + 1 < size && at + n < (const char *) reply->data + reply->len && !strchr("\",}]", at[n]))
		n++;
	memcpy(out, at, n);
	out[n] = '\0';
	return true;
}

/* Asked as a person does; the number of the driver that leads, and how many it takes for up.  -1: nobody. */
static int
who_leads(int *up)
{
	static const char question[] = "{\"op\":\"workers\"}";
	VtId		any = {0};

	for (int i = 0; i < drivers; i++)
	{
		NetPeer    *peer = peer_of(i, WIRE_ROLE_CTL, &any, 0);
		Buf			reply = {0};
		char		status[16];
		bool		leads = net_peer_call(peer, WIRE_CONTROL, bytes_str(question), 10000, &reply, NULL) == VT_OK &&
			find(&reply, "status", status, sizeof(status)) && atoi(status) == VT_OK;

		*up = 0;
		for (const char *at = (const char *) reply.data; leads;)
		{
			at = memmem(at, reply.len - (size_t) (at - (const char *) reply.data), "\"state\":", 8);
			if (!at)
				break;
			at += 8;
			*up += strncmp(at + strspn(at, " "), "\"up\"", 4) == 0;
		}
		net_peer_free(peer);
		buf_free(&reply);
		if (leads)
			return i;
	}
	return -1;
}

static double
cpu_of(int pid)
{
	char		path[40];
	char		line[600];
	FILE	   *f;
	unsigned long user = 0;
	unsigned long kernel = 0;
	const char *behind;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f) && (behind = strrchr(line, ')')) != NULL)
		(void) sscanf(behind + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
	if (f)
		fclose(f);
	return (double) (user + kernel) / (double) sysconf(_SC_CLK_TCK);
}

/* -- Workers ------------------------------------------------------------------ */

typedef struct Speaker
{
	int			number;
	int			current;		/* driver, */
	int			answered;		/* and who answered last */
	NetPeer    *peers[DRIVERS_MAX];
	VtId		cluster;
	uint64_t	store;
	char		(*made)[2][24];	/* shard and replica of each */
	size_t		n;
	uint64_t	turns;			/* of its busy ones: their rows have changed so often */
	size_t		known;			/* so many of them are, as the worker thinks, */
	uint64_t	known_turns;	/* as of then, */
	bool		knows;			/* if anything is */
	bool		waits;			/* until it is asked for all */
	size_t		said;			/* replicas and turns that the heartbeat has; */
	uint64_t	said_turns;
	bool		tells;			/* it has rows, */
	bool		told;			/* and they were sent */
} Speaker;

static char rest[4096];			/* of a row, behind shard and replica */
static atomic_ullong made;		/* replicas, */
static atomic_ullong settled;	/* and such as were told */

/* As src/worker/status.c says a replica that was written to, searched and compared. */
static void
make_row(void)
{
	static const char *const figures[] = {"ef_95", "ef_99", "passes", "exact_passes", "distances", "hot_distances", "refined", "hops", "asked",
	"walk_us", "hot_us", "refine_us", "exact_us", "filter_us", "looks"};
	static const char *const parts[] = {"fence", "sessions", "interval", "load", "properties"};
	Prng		prng = {7};
	size_t		n;

	n = (size_t) snprintf(rest, sizeof(rest), "\",\"incarnation\":\"1\",\"leaving\":false,\"role\":\"follower\",\"term\":\"7\","
						  "\"leader\":false,\"settled\":true,\"applied\":\"1874623\",\"last\":\"1874623\",\"last_term\":\"7\",\"fence\":\"73418273465\",\"records\":\"120034\","
						  "\"unindexed\":\"0\",\"bytes\":\"61457408\",\"conf_index\":\"12\",\"joint\":false");
	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		n += (size_t) snprintf(rest + n, sizeof(rest) - n, ",\"%s\":\"%" PRIu64 "\"", figures[i], prng_next(&prng) >> 30);
	n += (size_t) snprintf(rest + n, sizeof(rest) - n, ",\"verified\":{\"id\":\"73468723\",\"index\":\"1874000\",\"rows\":\"120034\",\"digest\":\"%" PRIu64 "\",\"rules\":{\"version\":2",
						   prng_next(&prng));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		n += (size_t) snprintf(rest + n, sizeof(rest) - n, ",\"%s\":\"%" PRIu64 "\"", parts[i], prng_next(&prng));
	(void) snprintf(rest + n, sizeof(rest) - n, "},\"damaged\":false,\"wall_us\":1790000000000000}}");
}

static void
put(Buf *out, const char *text)
{
	buf_put(out, text, strlen(text));
}

/* Of what is there when it has made n, and their rows have changed so often. */
static uint64_t
digest_of(const Speaker *speaker, size_t n, uint64_t turns)
{
	return prng_mix(prng_mix(speaker->store ^ (uint64_t) n << 48) ^ turns) | 1;
}

static void
put_row(Buf *out, const Speaker *speaker, size_t i, bool *first)
{
	put(out, *first ? "{\"shard\":\"" : ",{\"shard\":\"");
	put(out, speaker->made[i][0]);
	put(out, "\",\"replica\":\"");
	put(out, speaker->made[i][1]);
	put(out, rest);
	*first = false;
}

/* All into out, and without rows into brief. */
static void
say(Speaker *speaker, Buf *out, Buf *brief)
{
	char		text[400];
	bool		first = true;
	size_t		nbusy = (size_t) busy < speaker->n ? (size_t) busy : speaker->n;

	speaker->turns += nbusy > 0 && atomic_load(&at_work);
	speaker->said = speaker->n;
	speaker->said_turns = speaker->turns;
	buf_clear(out);
	snprintf(text, sizeof(text), "{\"op\":\"heartbeat\",\"store\":\"%" PRIu64 "\",\"boot_epoch\":\"1\",\"wait_ms\":%d,\"version\":\"1\",\"digest\":\"%" PRIu64 "\","
			 "\"memory\":\"1000000\",\"dropped\":[],\"disk_free\":\"1099511627776\",\"memory_limit\":\"0\",\"level_low\":1,\"level_high\":9,\"prepares\":true",
			 speaker->store, WAIT_MS, digest_of(speaker, speaker->n, speaker->turns));
	put(out, text);
	speaker->tells = (speaker->known < speaker->n || speaker->known_turns < speaker->turns || !speaker->knows) && !speaker->waits;
	buf_clear(brief);
	buf_put(brief, out->data, out->len);
	put(brief, "}");
	if (!speaker->tells)
	{
		put(out, "}");
		return;
	}
	if (!speaker->knows)
		put(out, ",\"shards\":[");
	else
	{
		snprintf(text, sizeof(text), ",\"since\":\"%" PRIu64 "\",\"gone\":[],\"changed\":[", digest_of(speaker, speaker->known, speaker->known_turns));
		put(out, text);
	}
	for (size_t i = 0; i < speaker->n; i++)
		if (!speaker->knows || i < nbusy || i >= speaker->known)
			put_row(out, speaker, i, &first);
	put(out, "]}");
}

/* What became of it. */
static void
hear(Speaker *speaker, VtStatus status, const Buf *reply)
{
	char		text[8];

	if (status == VT_OK && find(reply, "tell_all", text, sizeof(text)))
		speaker->knows = false;
	else if (speaker->told)
	{
		if (speaker->said > speaker->known)
			atomic_fetch_add(&settled, speaker->said - speaker->known);
		speaker->known = speaker->said;
		speaker->known_turns = speaker->said_turns;
		speaker->knows = status == VT_OK || !forgets;
	}
	else if (status != VT_OK && forgets)
		speaker->knows = false;
	if (status == VT_OK)
		speaker->waits = heeds && find(reply, "untold", text, sizeof(text));
}

static void
count_it(const Speaker *speaker, size_t bytes)
{
	atomic_fetch_add(speaker->knows ? &changes : &told, 1);
	atomic_fetch_add(speaker->knows ? &changed_bytes : &told_bytes, bytes);
}

/* As src/worker/driver.c asks. */
static VtStatus
ask(Speaker *speaker, const Buf *question, const Buf *brief, int wait_ms, Buf *reply)
{
	VtStatus	status = VT_UNAVAILABLE;
	int			hints = 0;
	bool		late = false;

	speaker->told = false;
	for (int tries = 0; tries < (drivers > 1 ? drivers + HINTS_MAX : 1) && !atomic_load(&stopping); tries++)
	{
		NetPeer   **peer = &speaker->peers[speaker->current];
		bool		tells = brief && speaker->tells && !late && (!heeds || speaker->current == speaker->answered);
		char		text[96];

		if (!*peer)
			*peer = peer_of(speaker->current, WIRE_ROLE_WORKER, &speaker->cluster, speaker->store);
		net_peer_set_identity(*peer, &speaker->cluster, speaker->store);
		buf_clear(reply);
		if (tells)
			count_it(speaker, question->len);
		speaker->told |= tells;
		status = net_peer_call(*peer, WIRE_CONTROL, buf_bytes(tells || !brief ? question : brief), wait_ms + (drivers > 1 ? TIMEOUT_OF_MANY_MS : TIMEOUT_MS), reply, NULL);
		if (status == VT_OK)
			status = find(reply, "status", text, sizeof(text)) ? (VtStatus) atoi(text) : VT_PROTOCOL;
		late |= tells && status == VT_TIMEOUT;
		if (status == VT_OK)
			speaker->answered = speaker->current;
		if (status != VT_NOT_LEADER && status != VT_STOPPING && status != VT_UNAVAILABLE && status != VT_TIMEOUT)
			return status;
		if (status == VT_NOT_LEADER && find(reply, "leader", text, sizeof(text)) && text[0] && hints++ < HINTS_MAX)
		{
			for (int i = 0; i < drivers; i++)
				if (strcmp(text, endpoints[i]) == 0)
					speaker->current = i;
		}
		else
			speaker->current = (speaker->current + 1) % drivers;
	}
	return status;
}

static bool
register_it(Speaker *speaker, Buf *question, Buf *reply)
{
	char		text[300];
	int			n = snprintf(text, sizeof(text), "{\"op\":\"register\",\"store\":\"%" PRIu64 "\",\"cluster\":\"\",\"data_id\":\"%032x\",\"endpoint\":\"unix:/w%d\","
							 "\"boot_epoch\":\"1\",\"version\":\"1\",\"level_low\":1,\"level_high\":9}", speaker->store, speaker->number + 1, speaker->number);

	buf_clear(question);
	buf_put(question, text, (size_t) n);
	if (ask(speaker, question, NULL, 0, reply) != VT_OK || !find(reply, "store", text, sizeof(text)))
		return false;
	speaker->store = strtoull(text, NULL, 10);
	if (!speaker->made)
		speaker->made = vt_alloc0(sizeof(*speaker->made) * (size_t) (20 * replicas + 1000));
	return find(reply, "cluster", text, sizeof(text)) && vt_id_parse(text, &speaker->cluster);
}

/* What it is told to make is there. */
static void
do_tasks(Speaker *speaker, const Buf *reply)
{
	static const char task[] = "\"create_shard\"";
	Buf			left = *reply;
	const char *at;

	while ((at = memmem(left.data, left.len, task, strlen(task))) != NULL)
	{
		size_t		i = 0;

		left.len -= (size_t) (at + strlen(task) - (const char *) left.data);
		left.data = (uint8_t *) at + strlen(task);
		if (!find(&left, "shard", speaker->made[speaker->n][0], sizeof(speaker->made[0][0])) ||
			!find(&left, "replica", speaker->made[speaker->n][1], sizeof(speaker->made[0][1])))
			give_up("a task that is not understood");
		while (i < speaker->n && strcmp(speaker->made[i][0], speaker->made[speaker->n][0]) != 0)
			i++;
		if (i == speaker->n && i < (size_t) (20 * replicas + 999))
		{
			speaker->n++;
			atomic_fetch_add(&made, 1);
		}
	}
}

static void *
speak(void *arg)
{
	Speaker    *speaker = (Speaker *) arg;
	Buf			question = {0};
	Buf			brief = {0};
	Buf			reply = {0};
	int64_t		answered = clock_now_us();

	while (!atomic_load(&stopping) && !register_it(speaker, &question, &reply))
		usleep(RETRY_MS * 1000);
	while (!atomic_load(&stopping))
	{
		VtStatus	status;
		int64_t		took;

		say(speaker, &question, &brief);
		status = ask(speaker, &question, &brief, WAIT_MS, &reply);
		if (question.len > 64 << 10)
			buf_free(&question);
		hear(speaker, status, &reply);
		if (status == VT_OK)
			do_tasks(speaker, &reply);
		if (speaker->n > speaker->said)
			usleep(MAKE_US);
		took = clock_now_us() - answered;
		if (took > atomic_load(&longest_us))
			atomic_store(&longest_us, took);
		if (status == VT_OK)
			answered = clock_now_us();
		else
		{
			atomic_fetch_add(&unanswered, 1);
			usleep(RETRY_MS * 1000);
		}
	}
	for (int i = 0; i < drivers; i++)
		net_peer_free(speaker->peers[i]);
	buf_free(&question);
	buf_free(&brief);
	buf_free(&reply);
	return NULL;
}

/* -- Collections -------------------------------------------------------------- */

static void
create_all(int leader)
{
	int64_t		until = clock_now_us() + 1800 * SECOND;
	int64_t		begun = clock_now_us();
	VtId		any = {0};
	NetPeer    *peer = peer_of(leader, WIRE_ROLE_GATEWAY, &any, 0);
	int			n = (workers * replicas + SHARDS * COPIES - 1) / (SHARDS * COPIES);
	Buf			reply = {0};

	for (int i = 0; i < n;)
	{
		char		text[500];
		char		status[16];

		snprintf(text, sizeof(text), "{\"op\":\"create_collection\",\"generation\":\"%032x\",\"owner\":{\"system\":\"7\",\"incarnation\":\"00000000000000000000000000000001\","
				 "\"database\":5},\"dim\":3,\"metric\":\"l2\",\"m\":16,\"ef_construction\":100,\"shards\":%d,\"replicas\":%d,\"xid\":\"1\",\"wait_ms\":0}", i + 1, SHARDS, COPIES);
		buf_clear(&reply);
		if (clock_now_us() > until)
			give_up("collections are not made");
		if (net_peer_call(peer, WIRE_CONTROL, bytes_str(text), 10000, &reply, NULL) == VT_OK &&
			find(&reply, "status", status, sizeof(status)) && (atoi(status) == VT_OK || atoi(status) == VT_BUSY))
			i++;
		else
			usleep(RETRY_MS * 1000);
	}
	net_peer_free(peer);
	buf_free(&reply);
	while (atomic_load(&made) < (unsigned long long) n * SHARDS * COPIES)
	{
		usleep(100000);
		if (clock_now_us() > until)
			give_up("replicas are not made");
	}
	while (atomic_load(&settled) < atomic_load(&made))
		usleep(100000);
	printf("%d collections, %llu replicas, made in %.0f s\n", n, (unsigned long long) atomic_load(&made), (double) (clock_now_us() - begun) / 1e6);
}

/* -- The measurement ---------------------------------------------------------- */

/* Until the leader has heard all, from then on; returns it.  Says what it took. */
static int
await_all(const char *what, int64_t begun)
{
	double		led_s = -1;
	double		cpu = -1;
	int			leader = -1;
	int			up = 0;
	double		half_s = -1;
	double		now_s = 0;

	while (up < workers && now_s < patience)
	{
		int			leads = who_leads(&up);

		now_s = (double) (clock_now_us() - begun) / 1e6;
		if (leads >= 0 && leads != leader)
		{
			led_s = now_s;
			cpu = cpu_of(pids[leads]);
		}
		leader = leads >= 0 ? leads : leader;
		if (leads >= 0 && up >= workers / 2 && half_s < 0)
			half_s = now_s;
		usleep(100000);
	}
	printf("%s: %d of %d workers are up after %.1f s (half after %.1f, somebody leads after %.1f; the driver took %.1f s of processor since); told all %llu times, %.0f MB, and what has changed %llu times, %.0f MB; %llu questions not answered, nobody longer than %.1f s without an answer\n",
		   what, up, workers, now_s, half_s, led_s, leader >= 0 ? cpu_of(pids[leader]) - cpu : 0.0,
		   (unsigned long long) atomic_exchange(&told, 0), (double) atomic_exchange(&told_bytes, 0) / 1e6,
		   (unsigned long long) atomic_exchange(&changes, 0), (double) atomic_exchange(&changed_bytes, 0) / 1e6,
		   (unsigned long long) atomic_exchange(&unanswered, 0), (double) atomic_exchange(&longest_us, 0) / 1e6);
	return leader;
}

static bool
set_option(const char *name, const char *value)
{
	const struct
	{
		const char *name;
		int		   *number;
	}			options[] = {{"--drivers", &drivers}, {"--workers", &workers}, {"--replicas", &replicas}, {"--busy", &busy}, {"--heeds", &heeds}, {"--forgets", &forgets}, {"--rounds", &rounds}, {"--patience", &patience}};

	if (strcmp(name, "--pd") == 0)
	{
		program = value;
		return true;
	}
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (strcmp(name, options[i].name) == 0)
		{
			*options[i].number = atoi(value);
			return true;
		}
	return false;
}

int
main(int argc, char **argv)
{
	static Speaker speakers[WORKERS_MAX];
	static pthread_t threads[WORKERS_MAX];
	pthread_attr_t attr;
	char		command[100];
	int			leader;
	bool		good = true;

	for (int i = 1; i < argc && good; i += 2)
		good = i + 1 < argc && set_option(argv[i], argv[i + 1]);
	if (!good || drivers < 1 || drivers > DRIVERS_MAX || workers < 1 || workers > WORKERS_MAX || replicas < 1 || rounds < 0)
	{
		fprintf(stderr, "usage: reign_bench [--pd PROGRAM] [--drivers N] [--workers N] [--replicas N] [--busy N] [--heeds 0|1] [--forgets 0|1] [--rounds N] [--patience SECONDS]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	(void) daemon_raise_file_limit();
	snprintf(directory, sizeof(directory), "/tmp/vectron-reign.XXXXXX");
	if (!mkdtemp(directory))
		give_up("no directory");
	for (int i = 0; i < drivers; i++)
	{
		snprintf(endpoints[i], sizeof(endpoints[i]), "unix:%s/pd%d.sock", directory, i);
		snprintf(peers + strlen(peers), sizeof(peers) - strlen(peers), "%s%s", i > 0 ? "," : "", endpoints[i]);
	}
	make_row();
	for (int i = 0; i < drivers; i++)
		driver_start(i);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	for (int i = 0; i < workers; i++)
	{
		speakers[i].number = i;
		if (pthread_create(&threads[i], &attr, speak, &speakers[i]) != 0)
			give_up("no thread");
	}
	leader = await_all("begun", clock_now_us());
	if (leader >= 0)
		create_all(leader);
	leader = await_all("made", clock_now_us());
	atomic_store(&at_work, true);
	for (int i = 0; i < rounds && leader >= 0; i++)
	{
		int64_t		begun;

		usleep(SETTLE_US);
		atomic_store(&told, 0);
		atomic_store(&told_bytes, 0);
		atomic_store(&changes, 0);
		atomic_store(&changed_bytes, 0);
		begun = clock_now_us();
		kill(pids[leader], SIGKILL);
		waitpid(pids[leader], NULL, 0);
		driver_start(leader);
		leader = await_all("the leader was killed", begun);
	}
	atomic_store(&stopping, true);
	for (int i = 0; i < workers; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < drivers; i++)
	{
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command) == 0 ? 0 : 2;
}
