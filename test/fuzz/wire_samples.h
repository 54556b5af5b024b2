/*-------------------------------------------------------------------------
 *
 * wire_samples.h
 *	  What samples of messages are made of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WIRE_SAMPLES_H
#define WIRE_SAMPLES_H

#include <stdlib.h>

#include "base/hash.h"
#include "wire/wire.h"

/* Bytes that are easy to see in a dump: 10 11 12 ... */
static inline VtId
sample_id(uint8_t first)
{
	VtId		id;

	for (int i = 0; i < 16; i++)
		id.b[i] = (uint8_t) (first + i);
	return id;
}

static inline WireOwner
sample_owner(void)
{
	WireOwner	owner = {0x0102030405060708, sample_id(0x20), 16384};

	return owner;
}

static inline WireRoute
sample_route(void)
{
	WireRoute	route = {sample_id(0x10), 0x1122334455667788, 3, sample_owner(), 30000};

	return route;
}

static const float sample_vector[3] = {1.0f, -2.5f, 0.0f};

/* Nineteen bits; the five behind them are zero. */
static const uint8_t sample_bits[] = {0xA5, 0x0F, 0xE0};

#endif							/* WIRE_SAMPLES_H */
