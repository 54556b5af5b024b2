/*-------------------------------------------------------------------------
 *
 * found.c
 *	  How the drivers' group comes into being, once.
 *
 * A driver is known by a random number that lies in its log, beside its votes:
 * an emptied directory is another driver, whatever its endpoint, and nobody asks
 * it what the old one has promised.
 *
 * Drivers that were told of each other ask around.  When each of the endpoints
 * has answered, none knows of a group, and all were told the same endpoints, the
 * numbers heard are the founders: written down first, then the group is made
 * with them as its voters.  Whoever hears that a group was founded with its
 * number in it does the same with that list; whoever hears of a group without
 * it makes an empty replica and waits to be added (and so does a founder whom
 * nobody remembers: it has promised nothing yet).  So two groups could only
 * be founded if all founders of the first have lost their directories or have
 * not begun with theirs, and in no case is anybody a voter in both.
 *
 * The thread of this file then says where we listen until the catalog says it.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "service.h"

#define FORMAT 1
#define CALL_MS 1000
#define AGAIN_MS 200			/* between two rounds, before there is a group */
#define ANNOUNCE_MS 1000
#define COMPLAIN_US (10 * INT64_C(1000000))

/* -- What is kept ---------------------------------------------------------- */

static bool
has_group(Pd *pd)
{
	Buf			base = {0};
	bool		found = log_load_base(pd->log, PD_GROUP, &base, NULL) != VT_NOT_FOUND;

	buf_free(&base);
	return found;
}

/* Our number; made at the first start.  Before drivers had one, it was 1. */
static VtStatus
load_identity(Pd *pd, VtError *err)
{
	Buf			value = {0};
	StoreBatch *batch;
	VtId		random;
	VtStatus	status = store_get(pd->log, bytes_of("M", 1), &value, err);
	Cursor		c = cursor_of(buf_bytes(&value));

	if (status == VT_OK)
	{
		uint8_t		format = cursor_u8(&c);

		pd->id = cursor_u64(&c);
		if (format != FORMAT || !cursor_done(&c) || pd->id == 0)
			status = vt_fail(err, VT_CORRUPT, "the placement driver's identity is damaged or of a newer version");
		buf_free(&value);
		return status;
	}
	if (status != VT_NOT_FOUND)
		return status;
	vt_id_random(&random);
	pd->id = has_group(pd) ? 1 : get_le64(random.b) >> 1 | 1;
	buf_clear(&value);
	buf_put_u8(&value, FORMAT);
	buf_put_u64(&value, pd->id);
	batch = store_batch_new();
	store_batch_put(batch, bytes_of("M", 1), buf_bytes(&value));
	status = store_write(pd->log, batch, true, err);
	store_batch_free(batch);
	buf_free(&value);
	return status;
}

static VtStatus
load_founders(Pd *pd, VtError *err)
{
	Buf			value = {0};
	VtStatus	status = store_get(pd->log, bytes_of("F", 1), &value, err);
	Cursor		c = cursor_of(buf_bytes(&value));

	if (status == VT_OK)
	{
		uint8_t		format = cursor_u8(&c);
		uint32_t	n = cursor_u32(&c);
		bool		good = format == FORMAT && n >= 1 && n <= PD_DRIVERS_MAX;

		for (uint32_t i = 0; good && i < n; i++)
		{
			CatalogDriver *d = &pd->founders.members[i];
			Bytes		endpoint;

			d->id = cursor_u64(&c);
			endpoint = cursor_string(&c);
			good = !c.failed && endpoint.len < sizeof(d->endpoint);
			if (good)
				memcpy(d->endpoint, endpoint.data, endpoint.len);
		}
		pd->founders.n = n;
		if (!good || !cursor_done(&c))
			status = vt_fail(err, VT_CORRUPT, "the list of founders is damaged or of a newer version");
	}
	buf_free(&value);
	return status == VT_NOT_FOUND ? VT_OK : status;
}

static void
keep_founders(Pd *pd, const Founders *founders)
{
	StoreBatch *batch = store_batch_new();
	Buf			value = {0};
	VtError		err = {0};

	buf_put_u8(&value, FORMAT);
	buf_put_u32(&value, founders->n);
	for (uint32_t i = 0; i < founders->n; i++)
	{
		buf_put_u64(&value, founders->members[i].id);
		buf_put_string(&value, bytes_str(founders->members[i].endpoint));
	}
	store_batch_put(batch, bytes_of("F", 1), buf_bytes(&value));
	if (store_write(pd->log, batch, true, &err) != VT_OK)
	{
		log_error("could not keep who founded the cluster: %s", vt_error_words(&err));
		log_exit(70);
	}
	buf_free(&value);
	store_batch_free(batch);
	pthread_mutex_lock(&pd->lock);
	pd->founders = *founders;
	pthread_mutex_unlock(&pd->lock);
}

/* -- The group ------------------------------------------------------------- */

static VtStatus
open_group(Pd *pd, VtError *err)
{
	ReplicaMachine machine = catalog_machine(pd->catalog);
	Replica    *replica;
	VtStatus	status = replica_open(pd->host, PD_GROUP, pd->id, &machine, pd->catalog->applied,
									  &replica, err);

	if (status == VT_OK)
		atomic_store(&pd->replica, replica);
	return status;
}

/* founders: n = 0, the group exists and may take us in. */
static VtStatus
make_group(Pd *pd, const Founders *founders, VtError *err)
{
	RaftConf	conf = {0};
	VtStatus	status;

	for (uint32_t i = 0; i < founders->n; i++)
	{
		conf.members[i].id = conf.members[i].node = founders->members[i].id;
		conf.members[i].roles = RAFT_VOTER;
		replica_links_note(pd->links, founders->members[i].id, founders->members[i].endpoint);
	}
	conf.n = founders->n;
	status = replica_create(pd->host, PD_GROUP, pd->id, founders->n ? &conf : NULL, 0, err);
	return status == VT_OK || status == VT_EXISTS ? open_group(pd, err) : status;
}

/* -- Who was told of whom -------------------------------------------------- */

static int
text_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static void
tell(Pd *pd, const char *endpoint, size_t len)
{
	char	   *copy = vt_alloc0(len + 1);

	memcpy(copy, endpoint, len);
	for (size_t i = 0; i < pd->npeers; i++)
		if (strcmp(pd->peers[i], copy) == 0)
		{
			free(copy);
			return;
		}
	pd->peers = vt_realloc(pd->peers, sizeof(char *) * (pd->npeers + 1));
	pd->peers[pd->npeers++] = copy;
}

static VtStatus
read_peers(Pd *pd, VtError *err)
{
	const char *p = pd->options.peers ? pd->options.peers : "";

	tell(pd, pd->options.advertise, strlen(pd->options.advertise));
	while (*(p += strspn(p, ", ")))
	{
		size_t		len = strcspn(p, ", ");

		if (len >= sizeof(((CatalogDriver *) 0)->endpoint))
			return vt_fail(err, VT_INVALID, "peer \"%.100s...\" is too long", p);
		tell(pd, p, len);
		p += len;
	}
	if (pd->npeers > PD_DRIVERS_MAX)
		return vt_fail(err, VT_INVALID, "%zu placement drivers are more than %d", pd->npeers, PD_DRIVERS_MAX);
	qsort(pd->peers, pd->npeers, sizeof(char *), text_compare);
	return VT_OK;
}

json_t *
json_founders(const Founders *founders)
{
	json_t	   *list = json_array();

	for (uint32_t i = 0; i < founders->n; i++)
	{
		json_t	   *row = json_object();

		json_object_set_new(row, "id", json_u64(founders->members[i].id));
		json_object_set_new(row, "endpoint", json_string(founders->members[i].endpoint));
		json_array_append_new(list, row);
	}
	return list;
}

static bool
read_founders(json_t *list, Founders *out)
{
	size_t		i;
	json_t	   *row;

	memset(out, 0, sizeof(*out));
	if (json_array_size(list) > PD_DRIVERS_MAX)
		return false;
	json_array_foreach(list, i, row)
	{
		CatalogDriver *d = &out->members[out->n++];
		const char *endpoint = json_string_value(json_object_get(row, "endpoint"));

		if (!get_u64(row, "id", &d->id) || d->id == 0 || !endpoint || strlen(endpoint) >= sizeof(d->endpoint) ||
			(i > 0 && d->id <= out->members[i - 1].id))
			return false;
		memcpy(d->endpoint, endpoint, strlen(endpoint) + 1);
	}
	return true;
}

/* -- Asking around --------------------------------------------------------- */

/* Say who we are; the answer, or NULL.  Where who answers listens is noted. */
static json_t *
meet(Pd *pd, const char *endpoint)
{
	NetPeerOptions options = {.endpoint = endpoint, .role = WIRE_ROLE_PD, .expected = WIRE_ROLE_PD,
		.store = pd->id, .boot_epoch = pd->options.boot_epoch, .tls = pd->options.tls};
	NetPeer    *peer;
	json_t	   *question = json_object();
	json_t	   *told = json_array();
	json_t	   *answer = NULL;
	Buf			reply = {0};
	uint64_t	id;
	char	   *text;

	pthread_mutex_lock(&pd->catalog->lock);
	options.cluster = pd->catalog->meta.cluster;
	pthread_mutex_unlock(&pd->catalog->lock);
	for (size_t i = 0; i < pd->npeers; i++)
		json_array_append_new(told, json_string(pd->peers[i]));
	json_object_set_new(question, "op", json_string("meet"));
	json_object_set_new(question, "id", json_u64(pd->id));
	json_object_set_new(question, "endpoint", json_string(pd->options.advertise));
	json_object_set_new(question, "level_low", json_integer(VT_LEVEL_LOW));
	json_object_set_new(question, "level_high", json_integer(vt_level_high()));
	json_object_set_new(question, "peers", told);
	text = json_dumps(question, JSON_COMPACT);
	json_decref(question);
	peer = net_peer_new(&options);
	if (net_peer_call(peer, WIRE_CONTROL, bytes_str(text), CALL_MS, &reply, NULL) == VT_OK)
		answer = json_loadb((const char *) reply.data, reply.len, 0, NULL);
	net_peer_free(peer);
	free(text);
	buf_free(&reply);
	if (json_integer_value(json_object_get(answer, "status")) != VT_OK || !json_is_object(answer))
	{
		json_decref(answer);
		answer = NULL;
	}
	if (get_u64(answer, "id", &id))
		replica_links_note(pd->links, id, endpoint);
	return answer;
}

static bool
was_told_the_same(Pd *pd, json_t *answer)
{
	json_t	   *told = json_object_get(answer, "peers");
	bool		same = json_array_size(told) == pd->npeers;

	for (size_t i = 0; same && i < pd->npeers; i++)
	{
		const char *endpoint = json_string_value(json_array_get(told, i));

		same = endpoint && strcmp(endpoint, pd->peers[i]) == 0;
	}
	return same;
}

static void
add_founder(Founders *founders, uint64_t id, const char *endpoint)
{
	uint32_t	at = founders->n++;

	for (; at > 0 && founders->members[at - 1].id > id; at--)
		founders->members[at] = founders->members[at - 1];
	memset(&founders->members[at], 0, sizeof(founders->members[at]));
	founders->members[at].id = id;
	memcpy(founders->members[at].endpoint, endpoint, strlen(endpoint) + 1);
}

static bool
is_among(const Founders *founders, uint64_t id)
{
	for (uint32_t i = 0; i < founders->n; i++)
		if (founders->members[i].id == id)
			return true;
	return false;
}

/* What one round of asking has shown. */
typedef struct Round
{
	Founders	heard;			/* ourselves and whoever answered */
	Founders	known;			/* of a group that somebody has founded; n = 0: none heard of */
	bool		founded;		/* somebody is in a group */
	const char *silent;			/* one that did not answer; NULL = all did */
	const char *differs;		/* one that was told other endpoints */
} Round;

static void
ask_around(Pd *pd, Round *round)
{
	memset(round, 0, sizeof(*round));
	add_founder(&round->heard, pd->id, pd->options.advertise);
	for (size_t i = 0; i < pd->npeers; i++)
	{
		json_t	   *answer;
		Founders	known;
		uint64_t	id;

		if (strcmp(pd->peers[i], pd->options.advertise) == 0)
			continue;
		answer = meet(pd, pd->peers[i]);
		if (!answer || !get_u64(answer, "id", &id) || id == 0 || id == pd->id ||
			!read_founders(json_object_get(answer, "founders"), &known) ||
			json_is_true(json_object_get(answer, "waiting")))
			round->silent = pd->peers[i];
		else
		{
			add_founder(&round->heard, id, pd->peers[i]);
			round->founded |= json_is_true(json_object_get(answer, "founded"));
			if (known.n > 0 && (round->known.n == 0 || is_among(&known, pd->id)))
				round->known = known;
			if (!was_told_the_same(pd, answer))
				round->differs = pd->peers[i];
		}
		json_decref(answer);
	}
}

/* Is there a group for us after this round?  Words for the log otherwise. */
static bool
decide(Pd *pd, const Round *round, VtError *why)
{
	const Founders *founders = NULL;
	static const Founders none;
	VtError		err = {0};

	if (round->known.n > 0 || round->founded)
		founders = is_among(&round->known, pd->id) ? &round->known : &none;
	else if (round->silent)
		vt_fail(why, VT_UNAVAILABLE, "%s does not answer", round->silent);
	else if (round->differs)
		vt_fail(why, VT_INVALID, "%s was told other peers", round->differs);
	else
		founders = &round->heard;
	if (!founders)
		return false;
	if (founders->n > 0)
		keep_founders(pd, founders);
	if (make_group(pd, founders, &err) != VT_OK)
	{
		log_error("could not make the placement drivers' group: %s", vt_error_words(&err));
		log_exit(70);
	}
	if (founders->n > 0)
		log_info("driver=%" PRIu64 ": one of %u founders of the cluster", pd->id, founders->n);
	else
		log_warn("driver=%" PRIu64 " at %s is no member of the cluster that is there: it has no vote until it is added (vectronctl add-pd)",
				 pd->id, pd->options.advertise);
	return true;
}

/* Wait so long, unless the driver stops: false. */
static bool
nap(Pd *pd, int ms)
{
	struct timespec until = cond_moment(ms * INT64_C(1000));
	bool		stopping;

	pthread_mutex_lock(&pd->lock);
	if (!pd->stopping)
		pthread_cond_timedwait(&pd->met, &pd->lock, &until);
	stopping = pd->stopping;
	pthread_mutex_unlock(&pd->lock);
	return !stopping;
}

/* Tell everybody where we are, who may know it otherwise or not at all. */
static void
announce(Pd *pd)
{
	char	   *endpoints[2 * PD_DRIVERS_MAX + 4];
	size_t		n = 0;

	for (size_t i = 0; i < pd->npeers; i++)
		endpoints[n++] = vt_strdup(pd->peers[i]);
	pthread_mutex_lock(&pd->catalog->lock);
	for (size_t i = 0; i < pd->catalog->ndrivers && n < sizeof(endpoints) / sizeof(endpoints[0]); i++)
		endpoints[n++] = vt_strdup(pd->catalog->drivers[i]->endpoint);
	pthread_mutex_unlock(&pd->catalog->lock);
	for (size_t i = 0; i < n; i++)
	{
		bool		again = strcmp(endpoints[i], pd->options.advertise) == 0;

		for (size_t j = 0; j < i; j++)
			again |= strcmp(endpoints[i], endpoints[j]) == 0;
		if (!again)
			json_decref(meet(pd, endpoints[i]));
	}
	for (size_t i = 0; i < n; i++)
		free(endpoints[i]);
}

void *
found_main(void *arg)
{
	Pd		   *pd = (Pd *) arg;
	int64_t		complain_us = 0;

	while (!atomic_load(&pd->replica))
	{
		VtError		why = {0};
		Round		round;

		ask_around(pd, &round);
		if (decide(pd, &round, &why))
			break;
		if (clock_now_us() >= complain_us)
		{
			log_warn("waiting for the other placement drivers: %s", vt_error_words(&why));
			complain_us = clock_now_us() + COMPLAIN_US;
		}
		if (!nap(pd, AGAIN_MS))
			return NULL;
	}
	do
	{
		ReplicaStatus status;
		bool		known;

		pthread_mutex_lock(&pd->lock);
		known = pd->is_known || pd->is_removed;
		pthread_mutex_unlock(&pd->lock);
		replica_status(atomic_load(&pd->replica), &status);
		if (!known && !status.gone)
			announce(pd);
	} while (nap(pd, ANNOUNCE_MS));
	return NULL;
}

/*
 * Who are we?  With a group that is there, or nobody else to ask, it is open
 * when this returns; else found_main() looks for the others.
 */
VtStatus
found_begin(Pd *pd, VtError *err)
{
	VtStatus	status = read_peers(pd, err);

	if (status == VT_OK)
		status = load_identity(pd, err);
	if (status == VT_OK)
		status = drivers_check_place(pd, err);
	if (status == VT_OK)
		status = load_founders(pd, err);
	if (status != VT_OK)
		return status;
	replica_host_set_node(pd->host, pd->id);
	replica_links_set_identity(pd->links, &pd->catalog->meta.cluster, pd->id);
	for (uint32_t i = 0; i < pd->founders.n; i++)
		replica_links_note(pd->links, pd->founders.members[i].id, pd->founders.members[i].endpoint);
	if (has_group(pd))
		return open_group(pd, err);
	if (pd->catalog->applied > 0)
		return vt_fail(err, VT_CORRUPT, "there is a catalog but no Raft log: the directory has lost its log, and with it what it has promised");
	if (pd->founders.n > 0)
		return make_group(pd, &pd->founders, err);
	if (pd->npeers == 1)
	{
		Founders	alone = {0};

		add_founder(&alone, pd->id, pd->options.advertise);
		keep_founders(pd, &alone);
		return make_group(pd, &alone, err);
	}
	return VT_OK;
}

void
found_end(Pd *pd)
{
	for (size_t i = 0; i < pd->npeers; i++)
		free(pd->peers[i]);
	free(pd->peers);
}
