/*-------------------------------------------------------------------------
 *
 * lease.c
 *	  Who a PostgreSQL server is: incarnations, leased to one data directory each,
 *	  and handed on from one start of its server to the next (law W7).
 *
 * Each start of a server is a session with a random name, which the directory
 * keeps.  An incarnation goes from one session to the next only if the asker
 * names the one that has it, so of two directories that were one once, only the
 * first to ask goes on.  Whoever names an older session is a copy, or has gone
 * back in time: VT_EXISTS, and a new incarnation is all it can have.
 *
 * Naming it is not enough while its server lives: a copy of a running server
 * names it too.  So the asker waits (VT_BUSY) until the holder has been silent
 * for lease_us, unless he asks from the same place (directory, device and boot
 * of the machine), where PostgreSQL itself sees to it that only one server runs.
 * If the holder speaks meanwhile, the asker is a copy.
 *
 * All this only decides who goes on.  That the heap of whoever does is not
 * older than what the shards hold is checked by him, index by index, against
 * what the shards have heard; a server that lives, and was not heard, finds out
 * by a fence that is not its own (src/pg/settle.c).
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/breaks.h"
#include "base/log.h"
#include "service.h"

#define BEFORE_MAX 64			/* sessions a server may name as those before it */
#define FORGET_US (600 * INT64_C(1000000))	/* beyond the lease, in which a holder is still remembered */

/* What was heard of an incarnation's holder; not in the log. */
struct Holder
{
	VtId		incarnation;
	VtId		session;
	int64_t		heard_us;

	/* Who would follow, and since when he asks */
	VtId		next;
	int64_t		asked_us;
};

typedef struct Asker
{
	CatalogLease lease;			/* as it will be; incarnation zero = a new one */
	json_t	   *before;
} Asker;

/*
 * Of an incarnation whose holder has been silent for longer than its lease, or was heard in
 * an earlier reign alone, nothing is known that one who is new here would not have: it was last
 * heard when this driver began to lead, so its lease is over as well, or as far from it.  Who
 * asked to follow, before that silence, asks once more.  Which session has it is in the log.
 */
static void
forget_silent(Pd *pd)
{
	size_t		n = 0;

	for (size_t i = 0; i < pd->nholders; i++)
	{
		const Holder *holder = &pd->holders[i];

		if (holder->heard_us >= pd->led_since_us && pd->now_us - holder->heard_us <= pd->options.lease_us + FORGET_US)
			pd->holders[n++] = *holder;
	}
	pd->nholders = n;
}

/* The holder by its session; a new one was last heard when this driver began to lead. */
static Holder *
holder_of(Pd *pd, const CatalogLease *lease)
{
	Holder	   *holder = NULL;

	for (size_t i = 0; i < pd->nholders && !holder; i++)
		if (vt_id_equal(&pd->holders[i].incarnation, &lease->incarnation))
			holder = &pd->holders[i];
	if (!holder)
	{
		forget_silent(pd);
		pd->holders = vt_realloc(pd->holders, sizeof(Holder) * (pd->nholders + 1));
		holder = &pd->holders[pd->nholders++];
		memset(holder, 0, sizeof(*holder));
		holder->incarnation = lease->incarnation;
	}
	if (!vt_id_equal(&holder->session, &lease->session))
	{
		memset(holder, 0, sizeof(*holder));
		holder->incarnation = lease->incarnation;
		holder->session = lease->session;
	}
	if (holder->heard_us < pd->led_since_us)
	{
		/* Of an earlier reign; who asked then has not seen the holder speak since. */
		holder->heard_us = pd->led_since_us;
		memset(&holder->next, 0, sizeof(holder->next));
	}
	return holder;
}

static bool
is_named(json_t *before, const VtId *session)
{
	char		hex[VT_ID_TEXT];
	size_t		i;
	json_t	   *item;

	vt_id_format(session, hex);
	json_array_foreach(before, i, item)
	{
		if (json_is_string(item) && strcmp(json_string_value(item), hex) == 0)
			return true;
	}
	return false;
}

/* May the asker go on with what another session has? */
static VtStatus
may_follow(Pd *pd, const CatalogLease *known, const Asker *asker, VtError *err)
{
	Holder	   *holder = holder_of(pd, known);
	int64_t		silent = pd->now_us - holder->heard_us;

	if (vt_broken("W7-session"))
		return VT_OK;
	if (!is_named(asker->before, &known->session))
		return vt_fail(err, VT_EXISTS, "another server has gone on with the incarnation of this one");
	if ((asker->lease.place != 0 && asker->lease.place == known->place) || silent >= pd->options.lease_us)
		return VT_OK;
	if (!vt_id_equal(&holder->next, &asker->lease.session))
	{
		holder->next = asker->lease.session;
		holder->asked_us = pd->now_us;
	}
	if (holder->heard_us > holder->asked_us)
		return vt_fail(err, VT_EXISTS, "a server with the incarnation of this one is alive");
	return vt_fail(err, VT_BUSY, "the server that had this incarnation was heard %" PRId64 " ms ago; another may go on after %" PRId64 " ms of silence",
				   silent / 1000, pd->options.lease_us / 1000);
}

static bool
read_asker(json_t *body, Asker *out)
{
	int64_t		timeline;

	memset(out, 0, sizeof(*out));
	out->before = json_object_get(body, "before");
	if (!get_u64(body, "system", &out->lease.system) ||
		!get_id(body, "incarnation", &out->lease.incarnation) ||
		!get_id(body, "holder", &out->lease.holder) || vt_id_is_zero(&out->lease.holder) ||
		!get_id(body, "session", &out->lease.session) || vt_id_is_zero(&out->lease.session) ||
		!get_u64(body, "place", &out->lease.place) ||
		!get_int(body, "timeline", 1, UINT32_MAX, &timeline) ||
		!json_is_array(out->before) || json_array_size(out->before) > BEFORE_MAX)
		return false;
	out->lease.timeline = (uint32_t) timeline;
	return true;
}

/* The lease this very session has, if its first answer was lost. */
static CatalogLease *
given_before(Pd *pd, const CatalogLease *asked)
{
	for (size_t i = 0; i < pd->catalog->nleases; i++)
	{
		CatalogLease *lease = pd->catalog->leases[i];

		if (lease->system == asked->system && vt_id_equal(&lease->holder, &asked->holder) &&
			vt_id_equal(&lease->session, &asked->session) && lease->timeline == asked->timeline)
			return lease;
	}
	return NULL;
}

VtStatus
lease_take(Pd *pd, json_t *body, json_t **reply, VtError *err)
{
	Asker		asker;
	CatalogLease *known;
	Holder	   *holder;
	VtStatus	status = VT_OK;

	if (!read_asker(body, &asker))
		return vt_fail(err, VT_INVALID, "lease: members are missing or malformed");
	if (vt_id_is_zero(&asker.lease.incarnation))
	{
		known = given_before(pd, &asker.lease);
		if (known)
			asker.lease.incarnation = known->incarnation;
		else
			vt_id_random(&asker.lease.incarnation);
	}
	else
	{
		known = catalog_lease(pd->catalog, asker.lease.system, &asker.lease.incarnation);
		if (!known || !vt_id_equal(&known->holder, &asker.lease.holder) ||
			known->timeline != asker.lease.timeline)
			return vt_fail(err, VT_NOT_OWNER, "this cluster has not leased that incarnation to this data directory");
	}
	if (!known || !vt_id_equal(&known->session, &asker.lease.session))
	{
		Buf			command = {0};

		if (known)
			status = may_follow(pd, known, &asker, err);
		if (status != VT_OK)
			return status;
		command_begin(&command);
		command_lease(&command, &asker.lease);
		status = pd->commit(pd, &command);
		buf_free(&command);
		if (status != VT_OK)
			return status;
	}
	holder = holder_of(pd, &asker.lease);
	holder->heard_us = pd->now_us;
	*reply = json_object();
	json_object_set_new(*reply, "incarnation", json_id(&asker.lease.incarnation));
	json_object_set_new(*reply, "cluster", json_id(&pd->catalog->meta.cluster));
	return VT_OK;
}

void
op_lease(Pd *pd, Question *q)
{
	json_t	   *reply = NULL;
	VtError		err = {0};
	VtStatus	status = level_admits(pd, q->body, "this server", &err);

	if (status == VT_OK)
		status = lease_take(pd, q->body, &reply, &err);

	answer(q, status, reply, err.msg[0] ? err.msg : NULL);
}

/*
 * Does the asker, who says "session", have the owner's incarnation now?  What was
 * superseded must not judge what is needed.
 */
bool
lease_is_held(Pd *pd, json_t *body, const WireOwner *owner)
{
	const CatalogLease *lease = catalog_lease(pd->catalog, owner->system, &owner->incarnation);
	VtId		session;

	return lease && get_id(body, "session", &session) && vt_id_equal(&session, &lease->session);
}
