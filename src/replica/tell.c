/*-------------------------------------------------------------------------
 *
 * tell.c
 *	  What the machine of one replica says to those of the others, beside the log.
 *
 * It travels in the frames of Raft's messages, is lost like these, and decides
 * nothing: a replica that hears none of it is as right as one that hears all.  Nobody wakes
 * for it: it leaves with what is said next, at the latest with the next tick.
 *
 *		0 "VTTELL1\n" | 8 u64 group | 16 u64 from | 24 u64 to | words
 *
 * No message of Raft's has that magic where its own has a checksum, but for one in 2^64; and
 * who does not know it (an older release) passes it over as one that does not decode.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include "private.h"

#define MAGIC UINT64_C(0x0a314c4c45545456)	/* "VTTELL1\n" */
#define HEAD 32
#define WORDS_MAX (1u << 20)	/* frames have room for it */

void
replica_tell(Replica *replica, Buf *words)
{
	Event	   *event;

	if (words->len > WORDS_MAX)
	{
		buf_free(words);
		return;
	}
	event = vt_alloc0(sizeof(Event));
	event->kind = EVENT_TELL;
	event->replica = replica;
	event->payload = *words;
	memset(words, 0, sizeof(*words));
	host_push(replica->host, event);
}

void
tell_send(Replica *replica, Bytes words)
{
	const RaftConf *conf = raft_get_conf(replica->raft);

	for (uint32_t i = 0; i < conf->n && !replica->gone; i++)
	{
		const RaftMember *member = &conf->members[i];
		uint64_t	node = member->id != replica->id ? peers_node(replica, member->id) : 0;
		uint8_t    *room = node ? peers_room(replica->host, node, HEAD + words.len) : NULL;

		if (!room)
			continue;
		put_le64(room, MAGIC);
		put_le64(room + 8, replica->group);
		put_le64(room + 16, replica->id);
		put_le64(room + 24, member->id);
		if (words.len > 0)
			memcpy(room + HEAD, words.data, words.len);
	}
}

bool
tell_take(ReplicaHost *host, Bytes bytes)
{
	Replica    *replica;

	if (bytes.len < HEAD || get_le64(bytes.data) != MAGIC)
		return false;
	replica = peers_find(host, get_le64(bytes.data + 8));
	if (replica && !replica->gone && get_le64(bytes.data + 24) == replica->id && replica->machine.told)
		replica->machine.told(replica->machine.state, get_le64(bytes.data + 16),
							  bytes_of(bytes.data + HEAD, bytes.len - HEAD));
	return true;
}
