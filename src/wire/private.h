/*-------------------------------------------------------------------------
 *
 * private.h
 *	  What the files of wire share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WIRE_PRIVATE_H
#define WIRE_PRIVATE_H

#include "wire/wire.h"

#define WIRE_ROUTE_SIZE 64
#define WIRE_DIM_MAX 16000		/* numbers */
#define WIRE_BITS_MAX 64000

extern void route_put(Buf *out, const WireRoute *route);
extern void route_get(Cursor *c, WireRoute *out);
extern void owner_put(Buf *out, const WireOwner *owner);
extern WireOwner owner_get(Cursor *c);

/* dim little-endian float32, none of them an infinity or a NaN? */
extern bool wire_floats_finite(const uint8_t *vector, uint32_t dim);

/* Is what is left of the last byte of dim bits zero? */
extern bool wire_bits_end(const uint8_t *vector, uint32_t dim);

#endif							/* WIRE_PRIVATE_H */
