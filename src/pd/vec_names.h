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

static inline const char *
metric_name(uint8_t metric)
{
	static const char *const names[] = {"l2", "ip", "cosine", "l1"};

	return metric >= 1 && metric <= 4 ? names[metric - 1] : "?";
}

static inline bool
metric_number(const char *name, uint8_t *out)
{
	for (uint8_t i = 1; i <= 4; i++)
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
	return element == 1 ? "float32" : element == 2 ? "float16" : "?";
}

static inline bool
element_number(const char *name, uint8_t *out)
{
	for (*out = 1; *out <= 2; ++*out)
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
