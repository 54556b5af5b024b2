/*-------------------------------------------------------------------------
 *
 * note.h
 *	  Private to replica: what hosts say to each other beside Raft's messages (note.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef REPLICA_NOTE_H
#define REPLICA_NOTE_H

#include "replica/replica.h"

#define NOTE_SIZE 48

typedef enum NoteAbout
{
	NOTE_OF_SLEEP = 0x504c5356, /* "VSLP" */
	NOTE_OF_FAR = 0x58445256,	/* "VRDX" */
	NOTE_OF_ROOM = 0x4d525256	/* "VRRM" */
} NoteAbout;

typedef struct Note
{
	NoteAbout	about;
	uint8_t		kind;			/* this and x, y: as its file has it */
	uint64_t	group;			/* these three: 0 in a note for all groups */
	uint64_t	from;
	uint64_t	to;
	uint64_t	x;
	uint64_t	y;
} Note;

extern void note_encode(const Note *note, uint8_t out[NOTE_SIZE]);

/* With the step lock held */
extern bool note_send(ReplicaHost *host, const Note *note, uint64_t node);	/* false: it cannot leave */
extern bool note_take(ReplicaHost *host, Bytes bytes, uint64_t node);	/* false: it is none */

#endif							/* REPLICA_NOTE_H */
