/*-------------------------------------------------------------------------
 *
 * codec.c
 *	  Bytes on disk and wire.
 *
 * All integers little-endian; reserved bytes are zero and must be.  An entry has
 * the same bytes on disk and in a message, so it is checked by the sum that was
 * made when it was proposed.
 *
 *	entry		0 checksum | 8 index | 16 term | 24 size u32 | 28 type u8 |
 *				29 version u8 = 1 | 30 zero u16 | 32 payload
 *	hard state	0 checksum | 8 version u8 = 1, zero | 16 term | 24 vote |
 *				32 commit | 40 last index | 48 last term
 *	conf		0 version u8 = 1 | 1 joint u8 | 2 members u16 |
 *				4 per member: id | node | zero (16 bytes) | roles u8, zero (40 bytes)
 *	snapshot	0 checksum | 8 version u8 = 1, zero | 16 index | 24 term |
 *				32 conf index | 40 id | 48 bytes | 56 checksum of data |
 *				64 chunk bytes u32 | 68 conf length u32 | 72 conf
 *	message		0 checksum of the other 88 | 8 magic u32 | 12 version u8 = 1 |
 *				13 type u8 | 14 flags u8 | 15 zero | 16 group | 24 from | 32 to |
 *				40 term | 48 index | 56 log term | 64 commit | 72 hint |
 *				80 read seq | 88 entries u32 | 92 body length u32 | 96 body:
 *				the entries, or the snapshot
 *
 * A checksum covers everything that follows it in its own object.
 *
 *-------------------------------------------------------------------------
 */
#include "base/hash.h"
#include "raft/internal.h"

#define CODEC_VERSION 1
#define MESSAGE_MAGIC UINT32_C(0x54465256)	/* "VRFT" */
#define MESSAGE_HEADER 96
#define MEMBER_SIZE 40
#define CONF_HEADER 4
#define SNAPSHOT_HEADER 72

static void
put_checksum(uint8_t *out, size_t size)
{
	put_le64(out, hash_checksum(bytes_of(out + 8, size - 8)));
}

static bool
checksum_holds(const uint8_t *data, size_t size)
{
	return get_le64(data) == hash_checksum(bytes_of(data + 8, size - 8));
}

static bool
all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != 0)
			return false;
	return true;
}

/* -- Entries ----------------------------------------------------------------- */

size_t
raft_entry_size(const RaftEntry *entry)
{
	return RAFT_ENTRY_HEADER + (size_t) entry->size;
}

void
raft_entry_encode(const RaftEntry *entry, uint8_t *out)
{
	Assert(entry->size == 0 || entry->data != NULL);
	put_le64(out + 8, entry->index);
	put_le64(out + 16, entry->term);
	put_le32(out + 24, entry->size);
	out[28] = entry->type;
	out[29] = CODEC_VERSION;
	put_le16(out + 30, 0);
	if (entry->size > 0)
		memcpy(out + RAFT_ENTRY_HEADER, entry->data->data, entry->size);
	put_checksum(out, raft_entry_size(entry));
}

VtStatus
raft_entry_decode(Bytes bytes, bool payload, const RaftAllocator *allocator, RaftEntry *out,
				  size_t *used)
{
	const uint8_t *p = bytes.data;

	memset(out, 0, sizeof(*out));
	if (bytes.len < RAFT_ENTRY_HEADER)
		return VT_PROTOCOL;
	out->index = get_le64(p + 8);
	out->term = get_le64(p + 16);
	out->size = get_le32(p + 24);
	out->type = p[28];
	if (out->size > bytes.len - RAFT_ENTRY_HEADER)
		return VT_PROTOCOL;
	if (!checksum_holds(p, RAFT_ENTRY_HEADER + (size_t) out->size))
		return VT_CORRUPT;
	if (p[29] != CODEC_VERSION || !all_zero(p + 30, 2) ||
		out->type < RAFT_NOOP || out->type > RAFT_CONF)
		return VT_VERSION;
	if (out->size > 0 && (payload || out->type == RAFT_CONF))
	{
		out->data = raft_buf_new(allocator, p + RAFT_ENTRY_HEADER, out->size);
		if (out->data == NULL)
			return VT_NOMEM;
	}
	*used = RAFT_ENTRY_HEADER + (size_t) out->size;
	return VT_OK;
}

/* -- Hard state --------------------------------------------------------------- */

void
raft_hard_state_encode(const RaftHardState *hard, uint8_t out[RAFT_HARD_STATE_SIZE])
{
	memset(out, 0, RAFT_HARD_STATE_SIZE);
	out[8] = CODEC_VERSION;
	put_le64(out + 16, hard->term);
	put_le64(out + 24, hard->vote);
	put_le64(out + 32, hard->commit);
	put_le64(out + 40, hard->last_index);
	put_le64(out + 48, hard->last_term);
	put_checksum(out, RAFT_HARD_STATE_SIZE);
}

VtStatus
raft_hard_state_decode(Bytes bytes, RaftHardState *out)
{
	const uint8_t *p = bytes.data;

	memset(out, 0, sizeof(*out));
	if (bytes.len != RAFT_HARD_STATE_SIZE)
		return VT_PROTOCOL;
	if (!checksum_holds(p, RAFT_HARD_STATE_SIZE))
		return VT_CORRUPT;
	if (p[8] != CODEC_VERSION || !all_zero(p + 9, 7))
		return VT_VERSION;
	out->term = get_le64(p + 16);
	out->vote = get_le64(p + 24);
	out->commit = get_le64(p + 32);
	out->last_index = get_le64(p + 40);
	out->last_term = get_le64(p + 48);
	return VT_OK;
}

/* -- Configurations ------------------------------------------------------------ */

size_t
raft_conf_size(const RaftConf *conf)
{
	return CONF_HEADER + (size_t) conf->n * MEMBER_SIZE;
}

void
raft_conf_encode(const RaftConf *conf, uint8_t *out)
{
	uint8_t    *p = out + CONF_HEADER;

	out[0] = CODEC_VERSION;
	out[1] = conf->joint;
	put_le16(out + 2, (uint16_t) conf->n);
	for (uint32_t i = 0; i < conf->n; i++, p += MEMBER_SIZE)
	{
		const RaftMember *member = &conf->members[i];

		memset(p, 0, MEMBER_SIZE);
		put_le64(p, member->id);
		put_le64(p + 8, member->node);
		p[32] = member->roles;
	}
}

/*
 * Shape only; whether a group can have it says raft_conf_check().
 */
VtStatus
raft_conf_decode(Bytes bytes, RaftConf *out)
{
	const uint8_t *p;

	memset(out, 0, sizeof(*out));
	if (bytes.len < CONF_HEADER)
		return VT_PROTOCOL;
	p = bytes.data + CONF_HEADER;
	if (bytes.data[0] != CODEC_VERSION)
		return VT_VERSION;
	if (bytes.data[1] > 1 || get_le16(bytes.data + 2) > RAFT_MAX_MEMBERS)
		return VT_PROTOCOL;
	out->joint = bytes.data[1] != 0;
	out->n = get_le16(bytes.data + 2);
	if (bytes.len != raft_conf_size(out))
		return VT_PROTOCOL;
	for (uint32_t i = 0; i < out->n; i++, p += MEMBER_SIZE)
	{
		RaftMember *member = &out->members[i];

		member->id = get_le64(p);
		member->node = get_le64(p + 8);
		member->roles = p[32];
		if (!all_zero(p + 16, 16) || !all_zero(p + 33, 7))
			return VT_PROTOCOL;
	}
	return VT_OK;
}

/* -- Snapshots ------------------------------------------------------------------ */

size_t
raft_snapshot_size(const RaftSnapshot *snapshot)
{
	return SNAPSHOT_HEADER + raft_conf_size(&snapshot->conf);
}

void
raft_snapshot_encode(const RaftSnapshot *snapshot, uint8_t *out)
{
	memset(out, 0, SNAPSHOT_HEADER);
	out[8] = CODEC_VERSION;
	put_le64(out + 16, snapshot->index);
	put_le64(out + 24, snapshot->term);
	put_le64(out + 32, snapshot->conf_index);
	put_le64(out + 40, snapshot->id);
	put_le64(out + 48, snapshot->bytes);
	put_le64(out + 56, snapshot->checksum);
	put_le32(out + 64, snapshot->chunk_bytes);
	put_le32(out + 68, (uint32_t) raft_conf_size(&snapshot->conf));
	raft_conf_encode(&snapshot->conf, out + SNAPSHOT_HEADER);
	put_checksum(out, raft_snapshot_size(snapshot));
}

VtStatus
raft_snapshot_decode(Bytes bytes, RaftSnapshot *out)
{
	const uint8_t *p = bytes.data;

	memset(out, 0, sizeof(*out));
	if (bytes.len < SNAPSHOT_HEADER || get_le32(p + 68) != bytes.len - SNAPSHOT_HEADER)
		return VT_PROTOCOL;
	if (!checksum_holds(p, bytes.len))
		return VT_CORRUPT;
	if (p[8] != CODEC_VERSION || !all_zero(p + 9, 7))
		return VT_VERSION;
	out->index = get_le64(p + 16);
	out->term = get_le64(p + 24);
	out->conf_index = get_le64(p + 32);
	out->id = get_le64(p + 40);
	out->bytes = get_le64(p + 48);
	out->checksum = get_le64(p + 56);
	out->chunk_bytes = get_le32(p + 64);
	return raft_conf_decode(bytes_of(p + SNAPSHOT_HEADER, bytes.len - SNAPSHOT_HEADER),
							&out->conf);
}

/* -- Messages --------------------------------------------------------------------- */

static size_t
body_size(const RaftMessage *m)
{
	size_t		size = 0;

	if (m->snapshot != NULL)
		return raft_snapshot_size(m->snapshot);
	for (uint32_t i = 0; i < m->n; i++)
		size += raft_entry_size(&m->entries[i]);
	return size;
}

size_t
raft_message_size(const RaftMessage *message)
{
	return MESSAGE_HEADER + body_size(message);
}

void
raft_message_encode(const RaftMessage *m, uint8_t *out)
{
	uint8_t    *p = out + MESSAGE_HEADER;

	put_le32(out + 8, MESSAGE_MAGIC);
	out[12] = CODEC_VERSION;
	out[13] = m->type;
	out[14] = m->flags;
	out[15] = 0;
	put_le64(out + 16, m->group);
	put_le64(out + 24, m->from);
	put_le64(out + 32, m->to);
	put_le64(out + 40, m->term);
	put_le64(out + 48, m->index);
	put_le64(out + 56, m->log_term);
	put_le64(out + 64, m->commit);
	put_le64(out + 72, m->hint);
	put_le64(out + 80, m->read_seq);
	put_le32(out + 88, m->n);
	put_le32(out + 92, (uint32_t) body_size(m));
	put_checksum(out, MESSAGE_HEADER);
	if (m->snapshot != NULL)
		raft_snapshot_encode(m->snapshot, p);
	for (uint32_t i = 0; i < m->n; i++)
	{
		raft_entry_encode(&m->entries[i], p);
		p += raft_entry_size(&m->entries[i]);
	}
}

static VtStatus
decode_entries(Bytes body, uint32_t n, const RaftAllocator *allocator, RaftMessage *out)
{
	RaftEntry  *entries;
	VtStatus	status = VT_OK;

	if (n > RAFT_MAX_MESSAGE_ENTRIES || (size_t) n * RAFT_ENTRY_HEADER > body.len)
		return VT_PROTOCOL;
	entries = raft_alloc(allocator, n * sizeof(RaftEntry));
	if (entries == NULL)
		return VT_NOMEM;
	memset(entries, 0, n * sizeof(RaftEntry));
	out->entries = entries;
	out->n = n;
	for (uint32_t i = 0; i < n && status == VT_OK; i++)
	{
		size_t		used = 0;

		status = raft_entry_decode(body, true, allocator, &entries[i], &used);
		body = bytes_of(body.data + used, body.len - used);
	}
	if (status == VT_OK && body.len != 0)
		status = VT_PROTOCOL;
	return status;
}

static VtStatus
decode_snapshot(Bytes body, const RaftAllocator *allocator, RaftMessage *out)
{
	RaftSnapshot *snapshot;

	if (body.len < SNAPSHOT_HEADER)
		return VT_PROTOCOL;
	snapshot = raft_alloc(allocator, sizeof(RaftSnapshot));
	if (snapshot == NULL)
		return VT_NOMEM;
	out->snapshot = snapshot;
	return raft_snapshot_decode(body, snapshot);
}

VtStatus
raft_message_decode(Bytes bytes, const RaftAllocator *allocator, RaftMessage *out)
{
	const uint8_t *p = bytes.data;
	Bytes		body;
	uint32_t	n;
	VtStatus	status = VT_OK;

	memset(out, 0, sizeof(*out));
	if (bytes.len < MESSAGE_HEADER || get_le32(p + 8) != MESSAGE_MAGIC)
		return VT_PROTOCOL;
	if (!checksum_holds(p, MESSAGE_HEADER))
		return VT_CORRUPT;
	if (p[12] != CODEC_VERSION || p[13] < RAFT_APP || p[13] > RAFT_PEER_GONE ||
		(p[14] & ~(RAFT_FLAG_REJECT | RAFT_FLAG_TRANSFER | RAFT_FLAG_QUIET)) != 0 || p[15] != 0)
		return VT_VERSION;
	out->type = p[13];
	out->flags = p[14];
	out->group = get_le64(p + 16);
	out->from = get_le64(p + 24);
	out->to = get_le64(p + 32);
	out->term = get_le64(p + 40);
	out->index = get_le64(p + 48);
	out->log_term = get_le64(p + 56);
	out->commit = get_le64(p + 64);
	out->hint = get_le64(p + 72);
	out->read_seq = get_le64(p + 80);
	n = get_le32(p + 88);
	body = bytes_of(p + MESSAGE_HEADER, bytes.len - MESSAGE_HEADER);

	if (get_le32(p + 92) != body.len || (n > 0 && out->type != RAFT_APP))
		status = VT_PROTOCOL;
	else if (out->type == RAFT_SNAP)
		status = decode_snapshot(body, allocator, out);
	else if (n > 0)
		status = decode_entries(body, n, allocator, out);
	else if (body.len != 0)
		status = VT_PROTOCOL;
	if (status != VT_OK)
		raft_message_free(out, allocator);
	return status;
}

void
raft_message_free(RaftMessage *message, const RaftAllocator *allocator)
{
	for (uint32_t i = 0; i < message->n; i++)
		raft_buf_release(message->entries[i].data);
	raft_free(allocator, (void *) message->entries, message->n * sizeof(RaftEntry));
	raft_free(allocator, (void *) message->snapshot, sizeof(RaftSnapshot));
	memset(message, 0, sizeof(*message));
}
