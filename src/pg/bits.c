/*-------------------------------------------------------------------------
 *
 * bits.c
 *	  Distances of bit strings, such as binary_quantize() makes of vectors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "utils/varbit.h"

#include "elements.h"

PG_FUNCTION_INFO_V1(hamming_distance);
PG_FUNCTION_INFO_V1(jaccard_distance);

const ElementType bit_elements = {"bit", INFINITY, VEC_MAX_BITS, NULL, NULL, false};

void
bits_check_same_length(int a, int b)
{
	if (a != b)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different bit lengths %d and %d", a, b)));
}

/* Of two arguments of one length.  Bits beyond it are zero in every bit string. */
static Datum
distance(FunctionCallInfo fcinfo, VecMetric metric)
{
	VarBit	   *a = PG_GETARG_VARBIT_P(0);
	VarBit	   *b = PG_GETARG_VARBIT_P(1);

	bits_check_same_length(VARBITLEN(a), VARBITLEN(b));
	PG_RETURN_FLOAT8(vec_distance(metric, VARBITS(a), VARBITS(b), VARBITLEN(a)));
}

/* How many bits differ. */
Datum
hamming_distance(PG_FUNCTION_ARGS)
{
	return distance(fcinfo, VEC_HAMMING);
}

/* 1 less the share of the bits set in either that are set in both; 1 if none is set in both. */
Datum
jaccard_distance(PG_FUNCTION_ARGS)
{
	return distance(fcinfo, VEC_JACCARD);
}
