/*-------------------------------------------------------------------------
 *
 * driver.c
 *	  Asking the placement driver that leads.
 *
 * The one that answered last is asked first.  One that does not lead says who
 * does, if it knows; else, and when one cannot be reached, the next is asked.
 * For the house thread alone.
 *
 *-------------------------------------------------------------------------
 */
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "private.h"

#define DRIVERS_MAX 16			/* told, and heard of */
#define TIMEOUT_MS 5000
#define TIMEOUT_OF_MANY_MS 2000 /* the next one may answer */
#define HINTS_MAX 2				/* followed in one question */
#define TELL_FOREIGN_US (60 * INT64_C(1000000))
#define REMIND_US (60 * INT64_C(1000000))	/* that nobody answers */

struct Drivers
{
	Worker	   *worker;
	size_t		n;
	size_t		current;
	size_t		answered;		/* who said yes last; before anybody has, nobody's place */
	char	   *endpoints[DRIVERS_MAX];
	NetPeer    *peers[DRIVERS_MAX]; /* made when first asked */
	int64_t		away_us;		/* since when nobody says yes; 0 = somebody does */
	uint64_t	told;			/* why not, as it was logged since: a bit for each status */
	int64_t		remind_us;		/* not before this again */
	int64_t		tell_foreign_us;	/* not before this again */
};

/* Its place, also of one that is new; current when there is no room. */
static size_t
place_of(Drivers *drivers, const char *endpoint, size_t len)
{
	size_t		i = 0;

	while (i < drivers->n && (strlen(drivers->endpoints[i]) != len || memcmp(drivers->endpoints[i], endpoint, len) != 0))
		i++;
	if (i == DRIVERS_MAX)
		return drivers->current;
	if (i == drivers->n)
	{
		drivers->endpoints[i] = vt_alloc0(len + 1);
		memcpy(drivers->endpoints[i], endpoint, len);
		drivers->n++;
	}
	return i;
}

Drivers *
drivers_new(Worker *worker)
{
	Drivers    *drivers = vt_alloc0(sizeof(Drivers));
	const char *p = worker->options.pd;

	drivers->worker = worker;
	drivers->answered = DRIVERS_MAX;
	while (*(p += strspn(p, ", ")))
	{
		size_t		len = strcspn(p, ", ");

		(void) place_of(drivers, p, len);
		p += len;
	}
	return drivers;
}

void
drivers_free(Drivers *drivers)
{
	for (size_t i = 0; i < drivers->n; i++)
	{
		net_peer_free(drivers->peers[i]);
		free(drivers->endpoints[i]);
	}
	free(drivers);
}

static NetPeer *
current_peer(Drivers *drivers)
{
	NetPeer   **peer = &drivers->peers[drivers->current];
	NetPeerOptions options = {.endpoint = drivers->endpoints[drivers->current], .role = WIRE_ROLE_WORKER,
		.expected = WIRE_ROLE_PD, .tls = drivers->worker->options.tls,
		.cluster = drivers->worker->cluster, .store = drivers->worker->store_id,
		.boot_epoch = drivers->worker->options.boot_epoch};

	if (!*peer)
		*peer = net_peer_new(&options);
	net_peer_set_identity(*peer, &options.cluster, options.store);	/* known since it was registered */
	return *peer;
}

/* Ask the current one once: its answer whatever it says, or NULL. */
static json_t *
ask_one(Drivers *drivers, const char *text, int wait_ms, VtError *err)
{
	Buf			reply = {0};
	json_t	   *answer = NULL;
	int			timeout_ms = wait_ms + (drivers->n > 1 ? TIMEOUT_OF_MANY_MS : TIMEOUT_MS);
	VtStatus	status = net_peer_call(current_peer(drivers), WIRE_CONTROL, bytes_str(text), timeout_ms, &reply, err);

	if (status == VT_OK)
	{
		answer = json_loadb((const char *) reply.data, reply.len, 0, NULL);
		status = answer ? (VtStatus) json_integer_value(json_object_get(answer, "status")) : VT_PROTOCOL;
		if (status != VT_OK)
			vt_fail(err, status, "%s: %s", drivers->endpoints[drivers->current],
					json_is_string(json_object_get(answer, "message")) ?
					json_string_value(json_object_get(answer, "message")) : vt_status_words(status));
	}
	else if (status == VT_FOREIGN && clock_now_us() >= drivers->tell_foreign_us)
	{
		drivers->tell_foreign_us = clock_now_us() + TELL_FOREIGN_US;
		log_error("placement driver %s: it is not heeded", vt_error_words(err));
	}
	buf_free(&reply);
	err->code = status;
	return answer;
}

static bool
is_stopping(const Worker *worker)
{
	struct pollfd fd = {worker->wake_fd, POLLIN, 0};

	return poll(&fd, 1, 0) > 0;
}

/* Whom to ask after this answer; false: it is the answer. */
static bool
turn(Drivers *drivers, json_t *answer, VtStatus status, int *hints)
{
	const char *leader = json_string_value(json_object_get(answer, "leader"));

	if (status != VT_NOT_LEADER && status != VT_STOPPING && status != VT_UNAVAILABLE && status != VT_TIMEOUT &&
		status != VT_FOREIGN)
		return false;
	if (status == VT_NOT_LEADER && leader && leader[0] && (*hints)++ < HINTS_MAX)
		drivers->current = place_of(drivers, leader, strlen(leader));
	else
		drivers->current = (drivers->current + 1) % drivers->n;
	return true;
}

/* Each cause once, also when two drivers take turns with theirs; and now and then that it is still so. */
static void
tell_no(Drivers *drivers, VtStatus status, const VtError *err)
{
	int64_t		now_us = clock_now_us();

	if (drivers->away_us == 0)
	{
		drivers->away_us = now_us;
		drivers->told = 0;
		drivers->remind_us = now_us + REMIND_US;
	}
	if ((drivers->told >> status & 1) == 0)
		log_warn("placement driver: %s", vt_error_words(err));
	else if (now_us >= drivers->remind_us)
	{
		drivers->remind_us = now_us + REMIND_US;
		log_warn("placement driver: for %.0f s now: %s", (double) (now_us - drivers->away_us) / 1e6, vt_error_words(err));
	}
	drivers->told |= UINT64_C(1) << status;
}

static void
tell_yes(Drivers *drivers)
{
	if (drivers->away_us != 0)
		log_info("placement driver answers, after %.1f s", (double) (clock_now_us() - drivers->away_us) / 1e6);
	drivers->away_us = 0;
}

json_t *
drivers_tell(Drivers *drivers, json_t *question, json_t *more, int wait_ms, bool *told, VtStatus *status)
{
	char	   *text = json_dumps(question, JSON_COMPACT);
	char	   *whole = NULL;
	json_t	   *answer = NULL;
	VtError		err = {0};
	int			hints = 0;
	bool		late = false;	/* it was told, and is slow: it has it, or says that it has not */

	if (more)
	{
		json_object_update(question, more);
		whole = json_dumps(question, JSON_COMPACT);
		json_decref(more);
	}
	json_decref(question);
	*told = false;
	*status = vt_fail(&err, VT_INVALID, "nobody said where the placement driver is");
	for (size_t tries = 0; tries < (drivers->n > 1 ? drivers->n + HINTS_MAX : drivers->n); tries++)
	{
		bool		tells = whole && !late && drivers->current == drivers->answered;

		if (tries > 0 && is_stopping(drivers->worker))
			break;
		json_decref(answer);
		memset(&err, 0, sizeof(err));
		*told |= tells;
		answer = ask_one(drivers, tells ? whole : text, wait_ms, &err);
		*status = err.code;
		late |= tells && *status == VT_TIMEOUT;
		if (*status == VT_OK || !turn(drivers, answer, *status, &hints))
			break;
	}
	free(text);
	free(whole);
	if (*status != VT_OK)
	{
		tell_no(drivers, *status, &err);
		json_decref(answer);
		answer = NULL;
	}
	else
	{
		drivers->answered = drivers->current;
		tell_yes(drivers);
	}
	return answer;
}

json_t *
drivers_ask(Drivers *drivers, json_t *question, int wait_ms, VtStatus *status)
{
	bool		told;

	return drivers_tell(drivers, question, NULL, wait_ms, &told, status);
}
