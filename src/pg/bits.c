/*-------------------------------------------------------------------------
 *
 * bits.c
 *	  Distances of bit strings, such as binary_quantize() makes of vectors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "port/pg_bitutils.h"
#include "utils/varbit.h"

PG_FUNCTION_INFO_V1(hamming_distance);
PG_FUNCTION_INFO_V1(jaccard_distance);

/* Two arguments of one length.  Bits beyond it are zero in every bit string. */
static int
bytes_of_both(const VarBit *a, const VarBit *b)
{
	if (VARBITLEN(a) != VARBITLEN(b))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different bit lengths %u and %u", VARBITLEN(a), VARBITLEN(b))));
	return VARBITBYTES(a);
}

/* How many bits differ. */
Datum
hamming_distance(PG_FUNCTION_ARGS)
{
	VarBit	   *a = PG_GETARG_VARBIT_P(0);
	VarBit	   *b = PG_GETARG_VARBIT_P(1);
	int			n = bytes_of_both(a, b);
	uint64		differ = 0;

	for (int i = 0; i < n; i++)
		differ += pg_number_of_ones[VARBITS(a)[i] ^ VARBITS(b)[i]];
	PG_RETURN_FLOAT8((float8) differ);
}

/* 1 less the share of the bits set in either that are set in both; 1 if none is set in both. */
Datum
jaccard_distance(PG_FUNCTION_ARGS)
{
	VarBit	   *a = PG_GETARG_VARBIT_P(0);
	VarBit	   *b = PG_GETARG_VARBIT_P(1);
	int			n = bytes_of_both(a, b);
	uint64		both = 0;
	uint64		either = 0;

	for (int i = 0; i < n; i++)
	{
		both += pg_number_of_ones[VARBITS(a)[i] & VARBITS(b)[i]];
		either += pg_number_of_ones[VARBITS(a)[i] | VARBITS(b)[i]];
	}
	PG_RETURN_FLOAT8(both == 0 ? 1 : 1 - (float8) both / (float8) either);
}
