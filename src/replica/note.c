/*-------------------------------------------------------------------------
 *
 * note.c
 *	  Notes: what hosts say to each other beside Raft's messages.
 *
 * They travel in the same frames, are lost like these, and all have one shape
 * (docs/wire.md).  What one says is the matter of the file it is about: sleep.c, far.c
 * and room.c.  A message of Raft's is longer, so size and magic tell them apart.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include "private.h"

#define NOTE_VERSION 1

void
note_encode(const Note *note, uint8_t out[NOTE_SIZE])
{
	put_le32(out, (uint32_t) note->about);
	out[4] = NOTE_VERSION;
	out[5] = note->kind;
	out[6] = out[7] = 0;
	put_le64(out + 8, note->group);
	put_le64(out + 16, note->from);
	put_le64(out + 24, note->to);
	put_le64(out + 32, note->x);
	put_le64(out + 40, note->y);
}

static bool
note_decode(Bytes bytes, Note *out)
{
	const uint8_t *p = bytes.data;

	if (p[4] != NOTE_VERSION || p[6] != 0 || p[7] != 0)
		return false;
	*out = (Note) {.about = (NoteAbout) get_le32(p), .kind = p[5], .group = get_le64(p + 8), .from = get_le64(p + 16),
		.to = get_le64(p + 24), .x = get_le64(p + 32), .y = get_le64(p + 40)};
	return true;
}

bool
note_send(ReplicaHost *host, const Note *note, uint64_t node)
{
	uint8_t    *room = node ? peers_room(host, node, NOTE_SIZE) : NULL;

	if (room)
		note_encode(note, room);
	return room != NULL;
}

/* One that this release does not understand is a note all the same. */
bool
note_take(ReplicaHost *host, Bytes bytes, uint64_t node)
{
	void		(*take) (ReplicaHost *host, const Note *note, uint64_t node) = NULL;
	Note		note;

	if (bytes.len != NOTE_SIZE)
		return false;
	switch (get_le32(bytes.data))
	{
		case NOTE_OF_SLEEP:
			take = sleep_note;
			break;
		case NOTE_OF_FAR:
			take = far_note;
			break;
		case NOTE_OF_ROOM:
			take = room_note;
			break;
		default:
			return false;
	}
	if (note_decode(bytes, &note))
		take(host, &note, node);
	return true;
}
