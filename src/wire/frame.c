/*-------------------------------------------------------------------------
 *
 * frame.c
 *	  Frames: a fixed header, a checksum, a payload; and the first message.
 *
 *-------------------------------------------------------------------------
 */
#include "wire/wire.h"

#include "base/hash.h"

#define AT_LENGTH 16
#define AT_FLAGS 20
#define AT_CHECKSUM 24

size_t
wire_frame_begin(Buf *out, WireKind kind, WireType type, uint64_t request)
{
	size_t		begin = out->len;

	buf_put_u32(out, WIRE_MAGIC);
	buf_put_u8(out, WIRE_VERSION);
	buf_put_u8(out, (uint8_t) kind);
	buf_put_u16(out, (uint16_t) type);
	buf_put_u64(out, request);
	buf_put_u32(out, 0);		/* length */
	buf_put_u32(out, 0);		/* flags */
	buf_put_u64(out, 0);		/* checksum */
	return begin;
}

void
wire_frame_end(Buf *out, size_t begin)
{
	size_t		payload = begin + WIRE_HEADER_SIZE;
	size_t		length = out->len - payload;

	Assert(length <= WIRE_PAYLOAD_MAX);
	buf_set_u32(out, begin + AT_LENGTH, (uint32_t) length);
	buf_set_u64(out, begin + AT_CHECKSUM,
				hash_checksum2(bytes_of(out->data + begin, AT_CHECKSUM),
							   bytes_of(out->data + payload, length)));
}

void
wire_frame_put(Buf *out, WireKind kind, WireType type, uint64_t request, Bytes payload)
{
	size_t		begin = wire_frame_begin(out, kind, type, request);

	buf_put(out, payload.data, payload.len);
	wire_frame_end(out, begin);
}

void
wire_frame_head(uint8_t head[WIRE_HEADER_SIZE], WireKind kind, WireType type, uint64_t request, Bytes payload)
{
	Assert(payload.len <= WIRE_PAYLOAD_MAX);
	put_le32(head, WIRE_MAGIC);
	head[4] = WIRE_VERSION;
	head[5] = (uint8_t) kind;
	put_le16(head + 6, (uint16_t) type);
	put_le64(head + 8, request);
	put_le32(head + AT_LENGTH, (uint32_t) payload.len);
	put_le32(head + AT_FLAGS, 0);
	put_le64(head + AT_CHECKSUM, hash_checksum2(bytes_of(head, AT_CHECKSUM), payload));
}

static bool
type_known(uint16_t type)
{
	switch ((WireType) type)
	{
		case WIRE_HELLO:
		case WIRE_CONTROL:
		case WIRE_WRITE:
		case WIRE_SEARCH:
		case WIRE_LIST:
		case WIRE_READ_INDEX:
		case WIRE_RAFT:
		case WIRE_CHUNK:
		case WIRE_PING:
			return true;
	}
	return false;
}

VtStatus
wire_header_get(const uint8_t *head, WireHeader *out, VtError *err)
{
	uint8_t		kind = head[5];
	uint16_t	type = get_le16(head + 6);

	if (get_le32(head) != WIRE_MAGIC)
		return vt_fail(err, VT_PROTOCOL, "peer does not speak the vectron protocol");
	if (head[4] != WIRE_VERSION)
		return vt_fail(err, VT_VERSION, "peer speaks wire version %u, this side speaks %u",
					   head[4], WIRE_VERSION);
	if (kind < WIRE_REQUEST || kind > WIRE_ONEWAY || !type_known(type))
		return vt_fail(err, VT_PROTOCOL, "frame of unrecognized kind %u or type %u", kind, type);
	out->kind = (WireKind) kind;
	out->type = (WireType) type;
	out->request = get_le64(head + 8);
	out->length = get_le32(head + AT_LENGTH);
	out->flags = get_le32(head + AT_FLAGS);
	out->checksum = get_le64(head + AT_CHECKSUM);
	if (out->length > WIRE_PAYLOAD_MAX)
		return vt_fail(err, VT_PROTOCOL, "frame of %u bytes is over the limit of %u",
					   out->length, WIRE_PAYLOAD_MAX);
	if (out->flags != 0)
		return vt_fail(err, VT_VERSION, "frame has unrecognized flags 0x%x", out->flags);
	return VT_OK;
}

VtStatus
wire_payload_check(const uint8_t *head, const WireHeader *h, Bytes payload, VtError *err)
{
	if (payload.len != h->length ||
		hash_checksum2(bytes_of(head, AT_CHECKSUM), payload) != h->checksum)
		return vt_fail(err, VT_PROTOCOL, "frame checksum does not match");
	return VT_OK;
}

void
wire_hello_put(Buf *out, const WireHello *hello)
{
	buf_put_u16(out, hello->version_low);
	buf_put_u16(out, hello->version_high);
	buf_put_u8(out, (uint8_t) hello->role);
	buf_put_id(out, &hello->cluster);
	buf_put_u64(out, hello->store);
	buf_put_u64(out, hello->boot_epoch);
	buf_put_u64(out, hello->features);
	buf_put_id(out, &hello->nonce);
	buf_put_string(out, hello->proof);
}

VtStatus
wire_hello_get(Bytes payload, WireHello *out)
{
	Cursor		c = cursor_of(payload);
	uint8_t		role;

	out->version_low = cursor_u16(&c);
	out->version_high = cursor_u16(&c);
	role = cursor_u8(&c);
	out->cluster = cursor_id(&c);
	out->store = cursor_u64(&c);
	out->boot_epoch = cursor_u64(&c);
	out->features = cursor_u64(&c);
	out->nonce = cursor_id(&c);
	out->proof = cursor_string(&c);
	if (!cursor_done(&c) || role < WIRE_ROLE_GATEWAY || role > WIRE_ROLE_CTL ||
		out->version_low > out->version_high)
		return VT_PROTOCOL;
	out->role = (WireRole) role;
	return VT_OK;
}
