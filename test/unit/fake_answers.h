/*-------------------------------------------------------------------------
 *
 * fake_answers.h
 *	  What the fake cluster of the client's tests answers: what is right comes from
 *	  the world's memory, and what is wrong where a test asks for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FAKE_ANSWERS_H
#define FAKE_ANSWERS_H

#include "fake_world.h"

static inline void
send_bytes(Fake *fake, int fd, const uint8_t *data, size_t len)
{
	for (size_t done = 0; done < len;)
	{
		ssize_t		n = send(fd, data + done, fake->drip && fake->drip < len - done ? fake->drip : len - done, MSG_NOSIGNAL);
		int			unread = 1;

		if (n <= 0)
			return;
		done += (size_t) n;
		/* Until the client has taken the piece; bounded, should it have gone. */
		for (int i = 0; fake->drip && unread > 0 && i < 1000000; i++)
		{
			if (ioctl(fd, SIOCOUTQ, &unread) != 0)
				return;
			sched_yield();
		}
	}
}

/* Send a reply with what the trick does to its bytes; false = close. */
static inline bool
send_reply(Fake *fake, int fd, Mischief what, WireType type, uint64_t request, Bytes payload)
{
	Buf			out = {0};
	bool		keep = true;

	if (what == STALE_FIRST)
		wire_frame_put(&out, WIRE_REPLY, type, request > 1 ? request - 1 : request + 1000, payload);
	wire_frame_put(&out, WIRE_REPLY, what == OTHER_TYPE ? WIRE_RAFT : type, request, payload);
	if (what == BAD_CHECKSUM)
		out.data[out.len - 1] ^= 1;
	if (what == BAD_MAGIC)
		out.data[0] ^= 1;
	if (what == OTHER_VERSION)
		out.data[4] = WIRE_VERSION + 1;
	if (what == CLOSE_IN_MIDDLE)
	{
		out.len = out.len / 2;
		keep = false;
	}
	if (what == CLOSE_AFTER)
		keep = false;
	else
		send_bytes(fake, fd, out.data, out.len);
	buf_free(&out);
	return keep;
}

static inline void
put_hex(Buf *out, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		char		hex[3];

		snprintf(hex, sizeof(hex), "%02x", data[i]);
		buf_put(out, hex, 2);
	}
}

static inline void put_text(Buf *out, const char *fmt,...) __attribute__((format(printf, 2, 3)));

static inline void
put_text(Buf *out, const char *fmt,...)
{
	char		text[512];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	buf_put(out, text, strlen(text));
}

static inline void
put_replicas(const FakeShard *s, const Fake *told, Buf *out)
{
	const Fake *all[4] = {s->home, s->followers[0], s->followers[1], s->followers[2]};
	const char *comma = "";

	if (!s->followers[0])
		return;
	put_text(out, ",\"replicas\":[");
	for (int i = 0; i < 4; i++)
		if (all[i])
		{
			put_text(out, "%s{\"store\":\"%d\",\"replica\":\"%d\",\"role\":\"voter\",\"endpoint\":\"%s\",\"leader\":%s}",
					 comma, i + 1, i + 1, all[i]->endpoint, all[i] == told ? "true" : "false");
			comma = ",";
		}
	put_text(out, "]");
}

static inline void
put_route(World *w, Buf *out)
{
	char		generation[VT_ID_TEXT];
	char		incarnation[VT_ID_TEXT];

	if (w->route_status != VT_OK)
	{
		put_text(out, "{\"status\":%d,\"message\":\"as the test wants\"}", w->route_status);
		return;
	}
	if (w->route_words)
	{
		buf_put(out, w->route_words->data, w->route_words->len);
		return;
	}
	vt_id_format(&w->generation, generation);
	vt_id_format(&w->owner.incarnation, incarnation);
	put_text(out, "{\"status\":0,\"unknown_member\":[1],\"route\":{\"generation\":\"%s\","
			 "\"owner\":{\"system\":\"%" PRIu64 "\",\"incarnation\":\"%s\",\"database\":%u},"
			 "\"dim\":%d,\"metric\":\"l2\",\"m\":16,\"ef_construction\":200,"
			 "\"route_version\":\"%" PRIu64 "\",\"state\":\"live\",\"shards\":[",
			 generation, w->owner.system, incarnation, w->owner.database, (int) w->shards[0].desc.dim, w->route_version);
	for (uint32_t i = w->nshards; i-- > 0;)	/* backwards: the client sorts */
	{
		Buf			desc = {0};
		const Fake *told = w->shards[i].told ? w->shards[i].told : w->shards[i].home;

		if (w->route_with_hole && i == 1)
			continue;
		wire_desc_put(&desc, &w->shards[i].desc);
		put_text(out, "{\"desc\":\"");
		put_hex(out, desc.data, desc.len);
		put_text(out, "\",\"endpoint\":\"%s\"", told ? told->endpoint : "unix:/none");
		put_replicas(&w->shards[i], told, out);
		put_text(out, "}%s", i ? "," : "");
		buf_free(&desc);
	}
	put_text(out, "]}}");
}

static inline void
put_head(Buf *out, const FakeShard *s, VtStatus status, Mischief what, uint64_t applied)
{
	WireReply	head;

	memset(&head, 0, sizeof(head));
	head.status = status;
	head.last = UINT64_MAX;
	if (s)
	{
		head.shard = s->desc.shard;
		head.incarnation = s->desc.incarnation + (what == OTHER_LIFE);
		head.range_ver = s->desc.range_ver;
		head.first = s->desc.first;
		head.last = s->desc.last - (what == LEAVE_HOLE);
		head.fence = s->fence;
		head.applied = what == OLD_VIEW ? 0 : applied;
	}
	if (status != VT_OK)
		head.message = bytes_str("as the test wants");
	wire_reply_put(out, &head);
}

/* A worker's word, of no shard. */
static inline void
put_full(Buf *out, uint32_t ms)
{
	WireReply	head = {.status = VT_BUSY, .last = UINT64_MAX, .retry_after_ms = ms, .message = bytes_str("too much to do")};

	wire_reply_put(out, &head);
}

/* Is it to be done?  What the state machine of a worker says to one of a session's. */
static inline VtStatus
judge(FakeShard *s, const WireWrite *write, const FakeDone **before)
{
	uint32_t	k = 0;

	*before = NULL;
	while (k < s->nsessions && s->sessions[k] != write->session)
		k++;
	if (k == s->nsessions || write->sequence < s->settled[k])
		return VT_SESSION_OVER;
	for (uint32_t i = 0; i < s->ndone; i++)
		if (s->done[i].session == write->session && s->done[i].sequence == write->sequence)
		{
			*before = &s->done[i];
			return VT_OK;
		}
	if (write->settled > s->settled[k])
		s->settled[k] = write->settled;
	return write->sequence - s->settled[k] < 64 ? VT_OK : VT_INVALID;
}

static inline void
answer_write(FakeShard *s, const WireWrite *write, Mischief what, Buf *out)
{
	WireWriteResult result = {0};
	WireAttributes attributes;
	WireRecord	record;
	size_t		at = 0;

	if (what == RAISE_BEFORE)
		s->fence += 5;
	while (write->type == WRITE_PUT && wire_record_next(write, &at, &record))
		if (wire_attributes_get(record.attributes, s->desc.nattributes, &attributes) != VT_OK)
		{
			put_head(out, s, VT_INVALID, what, s->index);
			return;
		}
	at = 0;
	if ((write->type == WRITE_PUT || write->type == WRITE_DELETE) && write->fence < s->fence)
	{
		put_head(out, s, VT_FENCED, what, s->index);
		return;
	}
	if (write->session && (write->type == WRITE_PUT || write->type == WRITE_DELETE))
	{
		const FakeDone *before;
		VtStatus	status = judge(s, write, &before);

		if (status != VT_OK)
		{
			put_head(out, s, status, what, s->index);
			return;
		}
		if (before)
		{
			s->repeated++;
			result = (WireWriteResult) {.index = before->index, .repeated = true, .first = before->first,
				.last = before->last, .done = write->type == WRITE_PUT ? write->nrecords : 0};
			put_head(out, s, VT_OK, what, s->index);
			wire_write_result_put(out, &result);
			return;
		}
		s->done[s->ndone++ % FAKE_DONE] = (FakeDone) {write->session, write->sequence, s->index + 1, s->desc.first,
			s->desc.last};
	}
	result.index = ++s->index;
	if (write->type == WRITE_OPEN)
	{
		s->opened++;
		s->settled[s->nsessions] = 0;
		s->sessions[s->nsessions++] = result.index;
	}
	if (write->type == WRITE_RAISE && write->fence_to > s->fence)
	{
		s->fence = write->fence_to;
		result.took = 1;
	}
	if (write->type == WRITE_INGEST_BEGIN || write->type == WRITE_INGEST_END)
		s->ingest++;
	while (wire_record_next(write, &at, &record))
	{
		FakeRecord *r = shard_record(s, record.id);

		if (write->type == WRITE_PUT)
		{
			shard_put(s, record.id, record.vector, record.element);
			result.done++;
		}
		else if (r && (r->version == record.version || (write->session && record.version == 0)))
		{
			*r = s->records[--s->n];
			result.done++;
		}
	}
	put_head(out, s, VT_OK, what, s->index);
	wire_write_result_put(out, &result);
}

static inline void
lease_end(FakeLease *l)
{
	free(l->records);
	free(l->distances);
	memset(l, 0, sizeof(*l));
}

/* A free place, or that of the oldest: questions given up leave theirs behind. */
static inline FakeLease *
lease_new(World *w, FakeShard *s, int fd)
{
	FakeLease  *l = &w->leases[0];

	for (int i = 1; i < 64; i++)
		if (w->leases[i].id < l->id)
			l = &w->leases[i];
	lease_end(l);
	l->id = ++w->lease_ids;
	l->fd = fd;
	l->records = vt_alloc(sizeof(FakeRecord) * (s->n + 1));
	l->distances = vt_alloc(sizeof(double) * (s->n + 1));
	l->applied = s->index;
	return l;
}

static inline FakeLease *
lease_find(World *w, uint64_t id, int fd)
{
	for (int i = 0; i < 64; i++)
		if (w->leases[i].id == id && w->leases[i].fd == fd)
			return &w->leases[i];
	return NULL;
}

static inline bool
excluded(const WireSearch *search, Bytes id)
{
	size_t		at = 0;
	Bytes		one;

	while (wire_id_next(search->excluded, &at, &one))
		if (bytes_equal(one, id))
			return true;
	return false;
}

static inline FakeLease *
search_begin(World *w, FakeShard *s, int fd, const WireSearch *search)
{
	FakeLease  *l = lease_new(w, s, fd);
	float		query[DIM];

	memcpy(query, search->vector, sizeof(query));
	for (size_t i = 0; i < s->n; i++)
	{
		const FakeRecord *r = &s->records[i];
		double		distance = vec_distance(VEC_L2, query, r->vector, DIM);
		size_t		j = l->n;

		if (excluded(search, bytes_of(r->id, r->id_len)))
			continue;
		while (j > 0 && (l->distances[j - 1] > distance ||
						 (l->distances[j - 1] == distance &&
						  bytes_compare(bytes_of(l->records[j - 1].id, l->records[j - 1].id_len),
										bytes_of(r->id, r->id_len)) > 0)))
		{
			l->records[j] = l->records[j - 1];
			l->distances[j] = l->distances[j - 1];
			j--;
		}
		l->records[j] = *r;
		l->distances[j] = distance;
		l->n++;
	}
	return l;
}

static inline void
put_one_hit(Buf *out, const FakeLease *l, size_t i)
{
	WireHit		hit = {l->distances[i], l->records[i].version,
		bytes_of(l->records[i].id, l->records[i].id_len)};

	wire_hit_put(out, &hit);
}

/* What a lease gives next, by a search for one vector. */
static inline void
put_search_result(World *w, FakeShard *s, const WireSearch *search, FakeLease *l, Mischief what, Buf *out)
{
	WireSearchResult result = {0};
	uint32_t	n = 0;
	size_t		begin;

	result.exhausted = what != EMPTY_BATCH && l->n - l->next <= search->k;
	result.lease = result.exhausted || what == NO_LEASE || (search->flags & SEARCH_ONCE) ? 0 : l->id;
	result.exact = 1;
	result.distances = 1;
	result.leader = !w->follows;
	result.says_unindexed = (w->features & WIRE_FEATURE_UNINDEXED) != 0;
	result.unindexed = w->answering && (w->answering == s->crowded[0] || w->answering == s->crowded[1]) ? s->crowd : 0;
	result.meant = 100;
	result.waiting = w->waiting;
	begin = wire_search_result_begin(out, &result);
	if (what == REPEAT_BATCH && l->next > 0)
	{
		put_one_hit(out, l, l->next - 1);
		n++;
	}
	if (what == FOREIGN_RECORD)
	{
		WireHit		hit = {0, 1, bytes_str("")};
		char		id[16];

		for (int i = 0;; i++)
		{
			snprintf(id, sizeof(id), "x%d", i);
			hit.id = bytes_str(id);
			if (world_place(w, hit.id) != s)
				break;
		}
		wire_hit_put(out, &hit);
		n++;
	}
	if (what == SHUFFLED && l->n - l->next >= 2 && search->k >= 2)
	{
		put_one_hit(out, l, l->next + 1);
		put_one_hit(out, l, l->next);
		l->next += 2;
		n += 2;
	}
	while (what != EMPTY_BATCH && n < search->k && l->next < l->n)
	{
		put_one_hit(out, l, l->next++);
		n++;
	}
	while (result.exhausted && l->next < l->n)
	{
		put_one_hit(out, l, l->next++);
		n++;
	}
	wire_search_result_end(out, begin, n);
	if (result.lease == 0)
		lease_end(l);
}

/* Many vectors, an answer for each. */
static inline void
answer_many(World *w, FakeShard *s, int fd, const WireSearch *search, Mischief what, Buf *out)
{
	Buf			bodies[WIRE_QUERIES_MAX];
	Bytes		results[WIRE_QUERIES_MAX];

	memset(bodies, 0, sizeof(bodies));
	for (uint32_t i = 0; i < search->nqueries; i++)
	{
		WireSearch	one = *search;

		one.vector += (size_t) i * DIM * 4;
		put_search_result(w, s, &one, search_begin(w, s, fd, &one), what, &bodies[i]);
		results[i] = buf_bytes(&bodies[i]);
	}
	wire_search_results_put(out, results, search->nqueries);
	for (uint32_t i = 0; i < search->nqueries; i++)
		buf_free(&bodies[i]);
}

static inline void
answer_search(World *w, FakeShard *s, int fd, const WireSearch *search, Mischief what, Buf *out)
{
	FakeLease  *l;

	if (search->flags & SEARCH_CLOSE)
	{
		l = lease_find(w, search->lease, fd);
		if (l)
		{
			lease_end(l);
			w->closes++;
		}
		put_head(out, s, VT_OK, what, s->index);
		return;
	}
	w->last_mark = search->consistency == WIRE_AT_MARK ? search->mark : 0;
	w->linearizable += search->consistency == WIRE_LINEARIZABLE;
	if (search->consistency == WIRE_AT_MARK && s->index < search->mark)
	{
		put_head(out, s, VT_BEHIND, what, s->index);
		return;
	}
	w->last_nexcluded = search->nexcluded;
	if (search->flags & SEARCH_MANY)
	{
		w->many++;
		put_head(out, s, knows(w, w->answering, WIRE_FEATURE_MANY) ? VT_OK : VT_PROTOCOL, what, s->index);
		if (knows(w, w->answering, WIRE_FEATURE_MANY))
			answer_many(w, s, fd, search, what, out);
		return;
	}
	l = search->lease ? lease_find(w, search->lease, fd) : search_begin(w, s, fd, search);
	if (!l)
	{
		put_head(out, s, VT_LEASE_GONE, what, s->index);
		return;
	}
	put_head(out, s, VT_OK, what, l->applied);
	put_search_result(w, s, search, l, what, out);
}

static inline void
answer_list(World *w, FakeShard *s, int fd, const WireList *list, Mischief what, Buf *out)
{
	WireListResult result = {0};
	FakeLease  *l;
	uint32_t	n = 0;
	size_t		begin;
	bool		vectors;

	if (list->flags & LIST_CLOSE)
	{
		l = lease_find(w, list->lease, fd);
		if (l)
		{
			lease_end(l);
			w->closes++;
		}
		put_head(out, s, VT_OK, what, s->index);
		return;
	}
	l = list->lease ? lease_find(w, list->lease, fd) : lease_new(w, s, fd);
	if (!l)
	{
		put_head(out, s, VT_LEASE_GONE, what, s->index);
		return;
	}
	if (!list->lease && s->n > 0)
	{
		memcpy(l->records, s->records, sizeof(FakeRecord) * s->n);
		l->n = s->n;
	}
	if (!list->lease)
		l->flags = list->flags;
	vectors = (l->flags & LIST_VECTORS) != 0;
	result.metadata = ((l->flags & LIST_METADATA) != 0) != (what == OTHER_PAGE);
	put_head(out, s, VT_OK, what, l->applied);
	result.lease = l->id;
	result.last = l->n - l->next <= w->page;
	result.total = result.last ? l->n + (what == WRONG_TOTAL) : 0;
	begin = wire_list_result_begin(out, &result);
	for (; n < w->page && l->next < l->n; n++, l->next++)
	{
		const FakeRecord *r = &l->records[l->next];
		WireListItem item = {.id = bytes_of(r->id, r->id_len), .version = r->version, .dim = vectors ? DIM : 0,
			.vector = (const uint8_t *) r->vector, .metadata = bytes_of(r->id, r->id_len)};	/* what was put is not kept */
		char		id[16];

		for (int i = 0; what == FOREIGN_RECORD && world_place(w, item.id) == s; i++)
		{
			snprintf(id, sizeof(id), "x%d", i);
			item.id = bytes_str(id);
		}
		wire_list_item_put(out, &result, &item);
	}
	wire_list_result_end(out, begin, n);
	if (result.last)
		lease_end(l);
}

/* A follower answers searches at a mark it has, and sends everything else away. */
static inline void
answer_as_follower(World *w, FakeShard *s, int fd, WireType type, const WireSearch *search,
				   Mischief what, Buf *out)
{
	w->at_followers++;
	w->follows = true;
	s->index -= s->lag;
	if (type != WIRE_SEARCH || search->consistency == WIRE_LINEARIZABLE)
		put_head(out, s, VT_NOT_LEADER, what, s->index);
	else
		answer_search(w, s, fd, search, what, out);
	s->index += s->lag;
	w->follows = false;
}

/* The answer to a data request; under the lock. */
/* What was split off a shard since that version; a world's shards come in the order of their birth. */
static inline void
put_splits(const World *w, const FakeShard *s, uint32_t since, Buf *out)
{
	WireShardDesc children[WIRE_SPLITS_MAX];
	uint32_t	n = 0;
	uint32_t	born = s->desc.range_ver;

	for (uint32_t i = 0; i < w->nshards; i++)
		born -= w->shards[i].desc.parent == s->desc.shard;
	for (uint32_t i = 0; i < w->nshards && n < WIRE_SPLITS_MAX; i++)
		if (w->shards[i].desc.parent == s->desc.shard && ++born > since)
		{
			children[n] = w->shards[i].desc;
			/* As it was founded. */
			children[n].range_ver = born;
			children[n].last = w->shards[i].born_last - w->tells_nonsense;
			n++;
		}
	if (n > 0)
		wire_splits_put(out, children, n);
}

static inline void
answer_data(Fake *fake, int fd, WireType type, Bytes payload, Mischief what, VtStatus status,
			Buf *out)
{
	World	   *w = fake->world;
	WireWrite	write;
	WireSearch	search;
	WireList	list;
	WireRead	read;
	WireRoute	route = {0};
	FakeShard  *s;
	VtStatus	good = VT_PROTOCOL;

	if (type == WIRE_WRITE && (good = wire_write_get(payload, &write, NULL)) == VT_OK)
		route = write.route;
	if (type == WIRE_SEARCH && (good = wire_search_get(payload, &search, NULL)) == VT_OK)
		route = search.route;
	if (type == WIRE_LIST && (good = wire_list_get(payload, &list, NULL)) == VT_OK)
		route = list.route;
	if (type == WIRE_LIST && good == VT_OK && (list.flags & LIST_METADATA) && !knows(w, fake, WIRE_FEATURE_METADATA))
	{
		w->nonsense++;
		good = VT_PROTOCOL;
	}
	if (type == WIRE_READ_INDEX && (good = wire_read_get(payload, &read, NULL)) == VT_OK)
		route = read.route;
	s = world_find(w, fake, route.shard);
	w->answering = fake;
	if (s && type == WIRE_SEARCH && good == VT_OK && !(search.flags & SEARCH_CLOSE) && route.range_ver < s->desc.range_ver)
	{
		w->by_older++;
		w->marks_by_older += search.consistency == WIRE_AT_MARK;
	}
	fake->searches += type == WIRE_SEARCH && good == VT_OK && !(search.flags & SEARCH_CLOSE);
	w->unfiltered += type == WIRE_SEARCH && good == VT_OK && !(search.flags & SEARCH_CLOSE) &&
		!bytes_equal(search.filter, w->filter);
	if (s && type == WIRE_WRITE && payload.len > s->largest)
		s->largest = (uint32_t) payload.len;
	if (good != VT_OK)
		put_head(out, NULL, good, what, 0);
	else if (fake->full_ms && type == WIRE_SEARCH && !(search.flags & SEARCH_CLOSE))
		put_full(out, fake->full_ms);
	else if (what == REFUSE)
		put_head(out, s, status, what, s ? s->index : 0);
	else if (!s || s->desc.range_ver != route.range_ver)
	{
		put_head(out, s, VT_WRONG_SHARD, what, 0);
		if (s && w->tells)
			put_splits(w, s, route.range_ver, out);
	}
	else if (!wire_owner_equal(&route.owner, &w->owner))
		put_head(out, s, VT_NOT_OWNER, what, 0);
	else if (is_follower(s, fake))
		answer_as_follower(w, s, fd, type, &search, what, out);
	else if (type == WIRE_WRITE)
		answer_write(s, &write, what, out);
	else if (type == WIRE_SEARCH)
		answer_search(w, s, fd, &search, what, out);
	else if (type == WIRE_LIST)
		answer_list(w, s, fd, &list, what, out);
	else
	{
		WireReadResult result = {s->n, 1, 0};

		put_head(out, s, VT_OK, what, s->index);
		wire_read_result_put(out, &result);
	}
}

#endif							/* FAKE_ANSWERS_H */
