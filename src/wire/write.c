/*-------------------------------------------------------------------------
 *
 * write.c
 *	  The write command: what a gateway sends and what the log keeps.
 *
 * Layout (little-endian):
 *
 *		 0  u8	 format			WIRE_WRITE_FORMAT, _HALVES or _BITS
 *		 1  u8	 type
 *		 2  u16  reserved, 0
 *		 4  route (64 bytes, see route_put)
 *		68  u64  fence
 *		76  u32  timeline
 *		80  u64  lsn
 *		88  u64  session
 *		96  u64  sequence
 *	   104  u64  fence_to, or settled
 *	   112  u32  number of records
 *	   116  records
 *
 * A record: u16 id length, id, then for a put u32 attributes length,
 * attributes, u32 metadata length, metadata, u32 dim, dim float32 (or, by the
 * format, float16 or bits); for a delete u64 version.  In place of records a split has
 * the child's descriptor.
 *
 *-------------------------------------------------------------------------
 */
#include "wire/wire.h"

#include "private.h"

#define AT_ROUTE 4
#define AT_FENCE (AT_ROUTE + WIRE_ROUTE_SIZE)
#define AT_NRECORDS (AT_FENCE + 44)
#define AT_RECORDS (AT_NRECORDS + 4)

bool
wire_owner_equal(const WireOwner *a, const WireOwner *b)
{
	return a->system == b->system && a->database == b->database &&
		vt_id_equal(&a->incarnation, &b->incarnation);
}

void
route_put(Buf *out, const WireRoute *route)
{
	buf_put_id(out, &route->generation);
	buf_put_u64(out, route->shard);
	buf_put_u32(out, route->range_ver);
	owner_put(out, &route->owner);
	buf_put_u32(out, route->deadline_ms);
	buf_put_u32(out, 0);
}

void
route_get(Cursor *c, WireRoute *out)
{
	out->generation = cursor_id(c);
	out->shard = cursor_u64(c);
	out->range_ver = cursor_u32(c);
	out->owner = owner_get(c);
	out->deadline_ms = cursor_u32(c);
	if (cursor_u32(c) != 0)
		c->failed = true;
}

void
owner_put(Buf *out, const WireOwner *owner)
{
	buf_put_u64(out, owner->system);
	buf_put_id(out, &owner->incarnation);
	buf_put_u32(out, owner->database);
}

WireOwner
owner_get(Cursor *c)
{
	WireOwner	owner;

	owner.system = cursor_u64(c);
	owner.incarnation = cursor_id(c);
	owner.database = cursor_u32(c);
	return owner;
}

size_t
wire_write_begin(Buf *out, const WireWrite *write)
{
	size_t		begin = out->len;

	buf_put_u8(out, write->element == WIRE_BIT ? WIRE_WRITE_BITS :
			   write->element == WIRE_FLOAT16 ? WIRE_WRITE_HALVES : WIRE_WRITE_FORMAT);
	buf_put_u8(out, (uint8_t) write->type);
	buf_put_u16(out, 0);
	route_put(out, &write->route);
	buf_put_u64(out, write->fence);
	buf_put_u32(out, write->timeline);
	buf_put_u64(out, write->lsn);
	buf_put_u64(out, write->session);
	buf_put_u64(out, write->sequence);
	buf_put_u64(out, write->type == WRITE_RAISE ? write->fence_to : write->settled);
	buf_put_u32(out, 0);
	Assert(out->len - begin == AT_RECORDS);
	return begin;
}

size_t
wire_vector_bytes(WireElement element, uint32_t dim)
{
	return element == WIRE_BIT ? ((size_t) dim + 7) / 8 : (size_t) dim * (element == WIRE_FLOAT16 ? 2 : 4);
}

uint32_t
wire_max_dim(WireElement element)
{
	return element == WIRE_BIT ? WIRE_BITS_MAX : WIRE_DIM_MAX;
}

void
wire_record_put(Buf *out, WireWriteType type, const WireRecord *record)
{
	Assert(record->id.len >= 1 && record->id.len <= WIRE_ID_MAX);
	wire_id_put(out, record->id);
	if (type == WRITE_DELETE)
	{
		buf_put_u64(out, record->version);
		return;
	}
	buf_put_string(out, record->attributes);
	buf_put_string(out, record->metadata);
	buf_put_u32(out, record->dim);
	buf_put(out, record->vector, wire_vector_bytes(record->element, record->dim));
}

void
wire_write_end(Buf *out, size_t begin, uint32_t nrecords)
{
	buf_set_u32(out, begin + AT_NRECORDS, nrecords);
}

/* Read one record; sets c->failed when it is none. */
static void
record_get(Cursor *c, const WireWrite *write, WireRecord *out)
{
	memset(out, 0, sizeof(*out));
	out->element = write->element;
	out->id = cursor_bytes(c, cursor_u16(c));
	if (out->id.len < 1 || out->id.len > WIRE_ID_MAX)
		c->failed = true;
	if (write->type == WRITE_DELETE)
	{
		out->version = cursor_u64(c);
		return;
	}
	out->attributes = cursor_string(c);
	out->metadata = cursor_string(c);
	out->dim = cursor_u32(c);
	if (out->dim > wire_max_dim(out->element))
		c->failed = true;
	else
		out->vector = cursor_bytes(c, wire_vector_bytes(out->element, out->dim)).data;
}

bool
wire_floats_finite(const uint8_t *vector, uint32_t dim)
{
	/* An exponent of all ones is an infinity or a NaN. */
	for (uint32_t i = 0; i < dim; i++)
		if ((get_le32(vector + 4 * (size_t) i) & 0x7F800000u) == 0x7F800000u)
			return false;
	return true;
}

static bool
halves_finite(const uint8_t *vector, uint32_t dim)
{
	for (uint32_t i = 0; i < dim; i++)
		if ((get_le16(vector + 2 * (size_t) i) & 0x7C00u) == 0x7C00u)
			return false;
	return true;
}

bool
wire_bits_end(const uint8_t *vector, uint32_t dim)
{
	return dim % 8 == 0 || (vector[dim / 8] & (0xFF >> dim % 8)) == 0;
}

/* Is it a vector, as far as its numbers go? */
static bool
vector_valid(const WireRecord *record)
{
	switch (record->element)
	{
		case WIRE_FLOAT16:
			return halves_finite(record->vector, record->dim);
		case WIRE_BIT:
			return wire_bits_end(record->vector, record->dim);
		default:
			return wire_floats_finite(record->vector, record->dim);
	}
}

void
wire_split_put(Buf *out, const WireRoute *route, const WireShardDesc *child)
{
	WireWrite	write;
	size_t		begin;

	memset(&write, 0, sizeof(write));
	write.type = WRITE_SPLIT;
	write.route = *route;
	begin = wire_write_begin(out, &write);
	wire_desc_put(out, child);
	wire_write_end(out, begin, 0);
}

WireShardDesc
wire_split_child(const WireWrite *write)
{
	WireShardDesc child;
	Cursor		c = cursor_of(write->records);

	if (wire_desc_get(&c, &child) != VT_OK)
		memset(&child, 0, sizeof(child));	/* never: it was decoded before */
	return child;
}

/* Whether a child can be of the shard that the route names; its state decides the rest. */
static VtStatus
check_split(const WireWrite *write, VtError *err)
{
	WireShardDesc child;
	Cursor		c = cursor_of(write->records);
	VtStatus	status = wire_desc_get(&c, &child);

	if (status == VT_OK && !cursor_done(&c))
		status = VT_PROTOCOL;
	if (status != VT_OK)
		return vt_fail(err, status, "the shard to split off is malformed or of a newer version");
	if (write->nrecords != 0 || write->settled != 0 || child.parent != write->route.shard ||
		child.shard == child.parent || child.shard == 0 || child.base_index != 0 || child.first == 0 ||
		child.nreplicas == 0 || child.range_ver != write->route.range_ver + 1 ||
		!vt_id_equal(&child.generation, &write->route.generation) ||
		!wire_owner_equal(&child.owner, &write->route.owner))
		return vt_fail(err, VT_PROTOCOL, "the shard to split off does not fit the one it comes from");
	return VT_OK;
}

/* What else than its records a command has, by its type. */
static bool
numbers_fit(const WireWrite *write)
{
	switch (write->type)
	{
		case WRITE_PUT:
		case WRITE_DELETE:
			return write->session == 0 ? write->settled == 0 :
				write->settled > 0 && write->settled <= write->sequence;
		case WRITE_RAISE:
			return write->fence_to != 0;
		case WRITE_VERIFY:
			return write->settled == 0 && write->sequence != 0;
		case WRITE_EXPIRE:
			return write->settled < write->sequence;
		default:
			return write->settled == 0;
	}
}

VtStatus
wire_write_get(Bytes payload, WireWrite *out, VtError *err)
{
	Cursor		c = cursor_of(payload);
	uint8_t		format = cursor_u8(&c);
	uint8_t		type = cursor_u8(&c);
	uint16_t	reserved = cursor_u16(&c);
	uint32_t	dim = 0;
	bool		plain;

	if (payload.len > WIRE_COMMAND_MAX)
		return vt_fail(err, VT_PROTOCOL, "write command of %zu bytes is over the limit of %u",
					   payload.len, WIRE_COMMAND_MAX);
	if (c.failed)
		return vt_fail(err, VT_PROTOCOL, "write command of %zu bytes is cut off", payload.len);
	if (format < WIRE_WRITE_FORMAT || format > WIRE_WRITE_BITS)
		return vt_fail(err, VT_VERSION, "write command has format %u, this side knows %u to %u",
					   format, WIRE_WRITE_FORMAT, WIRE_WRITE_BITS);
	if (type < WRITE_PUT || type > WRITE_EXPIRE)
		return vt_fail(err, VT_VERSION, "write command has unrecognized type %u", type);
	out->type = (WireWriteType) type;
	out->element = format == WIRE_WRITE_BITS ? WIRE_BIT : format == WIRE_WRITE_HALVES ? WIRE_FLOAT16 : WIRE_FLOAT32;
	route_get(&c, &out->route);
	out->fence = cursor_u64(&c);
	out->timeline = cursor_u32(&c);
	out->lsn = cursor_u64(&c);
	out->session = cursor_u64(&c);
	out->sequence = cursor_u64(&c);
	out->settled = cursor_u64(&c);
	out->fence_to = out->type == WRITE_RAISE ? out->settled : 0;
	out->nrecords = cursor_u32(&c);
	if (c.failed || reserved != 0 || (out->element != WIRE_FLOAT32 && out->type != WRITE_PUT))
		return vt_fail(err, VT_PROTOCOL, "write command is malformed");
	out->records = bytes_of(c.p, cursor_left(&c));

	plain = out->type != WRITE_PUT && out->type != WRITE_DELETE;
	if (out->type == WRITE_SPLIT)
		return check_split(out, err);
	if (plain != (out->nrecords == 0) || !numbers_fit(out))
		return vt_fail(err, VT_PROTOCOL, "write command has the wrong parts for its type");
	for (uint32_t i = 0; i < out->nrecords && !c.failed; i++)
	{
		WireRecord	record;

		record_get(&c, out, &record);
		if (c.failed || out->type != WRITE_PUT)
			continue;
		if (i == 0)
			dim = record.dim;
		if (record.dim != dim || (dim == 0 && out->element != WIRE_FLOAT32))
			return vt_fail(err, VT_PROTOCOL, "write command mixes dimensions %u and %u",
						   dim, record.dim);
		if (!vector_valid(&record))
			return vt_fail(err, VT_PROTOCOL, "write command holds a vector that %s",
						   record.element == WIRE_BIT ? "has bits behind its end" : "is not finite");
	}
	if (!cursor_done(&c))
		return vt_fail(err, VT_PROTOCOL, "write command has malformed records");
	return VT_OK;
}

bool
wire_record_next(const WireWrite *write, size_t *at, WireRecord *out)
{
	Cursor		c;

	if (write->nrecords == 0 || *at >= write->records.len)
		return false;
	c = cursor_of(bytes_of(write->records.data + *at, write->records.len - *at));
	record_get(&c, write, out);
	*at = (size_t) (c.p - write->records.data);
	return !c.failed;
}

uint32_t
wire_peek_deadline_ms(Bytes payload)
{
	return payload.len < WIRE_ROUTE_SIZE ? UINT32_MAX : get_le32(payload.data + WIRE_ROUTE_SIZE - 8);
}

VtId
wire_peek_generation(Bytes payload)
{
	VtId		generation = {{0}};

	if (payload.len >= WIRE_ROUTE_SIZE)
		memcpy(generation.b, payload.data, sizeof(generation.b));
	return generation;
}

void
wire_write_restamp(uint8_t *payload, size_t len, const WireRoute *route, uint64_t fence)
{
	Buf			head = {0};

	Assert(len >= AT_RECORDS);
	route_put(&head, route);
	Assert(head.len == WIRE_ROUTE_SIZE);
	memcpy(payload + AT_ROUTE, head.data, head.len);
	put_le64(payload + AT_FENCE, fence);
	buf_free(&head);
}

/* In the place of took: an interval follows. */
#define RESULT_REPEATED 2

void
wire_write_result_put(Buf *out, const WireWriteResult *result)
{
	buf_put_u64(out, result->index);
	buf_put_u32(out, result->done);
	if (!result->repeated)
	{
		buf_put_u8(out, result->took);
		return;
	}
	buf_put_u8(out, RESULT_REPEATED);
	buf_put_u64(out, result->first);
	buf_put_u64(out, result->last);
}

VtStatus
wire_write_result_get(Bytes body, WireWriteResult *out)
{
	Cursor		c = cursor_of(body);

	memset(out, 0, sizeof(*out));
	out->index = cursor_u64(&c);
	out->done = cursor_u32(&c);
	out->took = cursor_u8(&c);
	out->repeated = out->took == RESULT_REPEATED;
	if (out->repeated)
	{
		out->took = 0;
		out->first = cursor_u64(&c);
		out->last = cursor_u64(&c);
	}
	return cursor_done(&c) && out->took <= 1 && out->first <= out->last ? VT_OK : VT_PROTOCOL;
}
