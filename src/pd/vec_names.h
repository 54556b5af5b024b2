/*-------------------------------------------------------------------------
 *
 * vec_names.h
 *	  Private to pd: metrics, elements and quantizations by name.  PD knows no vectors;
 *	  the numbers are those of the wire.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_VEC_NAMES_H
#define PD_VEC_NAMES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "wire/wire.h"

#define METRICS 6
#define METRIC_OF_BITS 5		/* from here on */

static inline const char *
metric_name(uint8_t metric)
{
	static const char *const names[] = {"l2", "ip", "cosine", "l1", "hamming", "jaccard"};

	return metric >= 1 && metric <= METRICS ? names[metric - 1] : "?";
}

static inline bool
metric_number(const char *name, uint8_t *out)
{
	for (uint8_t i = 1; i <= METRICS; i++)
		if (strcmp(name, metric_name(i)) == 0)
		{
			*out = i;
			return true;
		}
	return false;
}

static inline const char *
element_name(uint8_t element)
{
	static const char *const names[] = {"float32", "float16", "bit"};

	return element >= WIRE_FLOAT32 && element <= WIRE_BIT ? names[element - 1] : "?";
}

static inline bool
element_number(const char *name, uint8_t *out)
{
	for (*out = WIRE_FLOAT32; *out <= WIRE_BIT; ++*out)
		if (strcmp(name, element_name(*out)) == 0)
			return true;
	return false;
}

static inline const char *
quantization_name(uint8_t quantization)
{
	static const char *const names[] = {"none", "int8", "int8_only"};

	return quantization <= 2 ? names[quantization] : "?";
}

/* What the order of its searches goes by. */
static inline const char *
distances_name(uint8_t quantization)
{
	return quantization == QUANTIZATION_INT8_ONLY ? "approximate" : "exact";
}

static inline bool
quantization_number(const char *name, uint8_t *out)
{
	for (*out = 0; *out <= 2; ++*out)
		if (strcmp(name, quantization_name(*out)) == 0)
			return true;
	return false;
}

#endif							/* PD_VEC_NAMES_H */
