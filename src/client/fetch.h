/*-------------------------------------------------------------------------
 *
 * fetch.h
 *	  What fetch.c, choose.c and answer.c share: asking replicas for the next batch
 *	  of a shard.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_FETCH_H
#define CLIENT_FETCH_H

#include "scan.h"

/* -- choose.c -------------------------------------------------------------- */

extern bool try_is_on(const Try *t);
extern uint32_t tries_on(const Stream *s);

/* A first batch from the graph: those are alike in what they take. */
extern bool stream_is_first(const Stream *s);

extern bool stream_is_asking(const Stream *s, const char *endpoint);

/* Is somebody asked who may be expected to answer? */
extern bool somebody_answers(const ClientScan *scan, const Stream *s);

/* The place to ask next, among those not tried in this round; nplaces = none is left. */
extern uint32_t choose_place(ClientScan *scan, Stream *s, int64_t now_us);

/* How long searches wait there, if that is too long for this one, as far as is known; 0 = it is not. */
extern int64_t choose_full_us(const ClientScan *scan, const char *endpoint, int64_t now_us);

/* What a replica said of itself, and of its index, for the next choice. */
extern void choose_note(ClientScan *scan, const Stream *s, const char *endpoint, const WireReply *head);
extern void choose_note_crowd(ClientScan *scan, const Stream *s, const char *endpoint, const WireSearchResult *result);

/* -- answer.c -------------------------------------------------------------- */

/* Everybody has had his turn: pause, and perhaps look where they are now. */
extern void stream_round_over(ClientScan *scan, Stream *s);

/* Nobody else is to be asked before there may be room where searches wait for so long. */
extern void stream_wait_for_room(ClientScan *scan, Stream *s, int64_t wait_us, int64_t now_us);

/* An answer was none: VT_OK = somebody else is to be asked. */
extern VtStatus try_failed(ClientScan *scan, Stream *s, Advice advice, const Answer *answer, VtError *err);

/* A try is done.  *settled: the stream has its batch. */
extern VtStatus try_take_answer(ClientScan *scan, Stream *s, Try *t, bool *settled, VtError *err);

/* -- fetch.c --------------------------------------------------------------- */

/* Nobody will know how far it got: neither do the state at the worker and we agree. */
extern void try_drop(ClientScan *scan, Stream *s, Try *t);

#endif							/* CLIENT_FETCH_H */
