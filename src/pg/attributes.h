/*-------------------------------------------------------------------------
 *
 * attributes.h
 *	  Scalar columns beside the vector, and conditions on them (R6).
 *
 *-------------------------------------------------------------------------
 */
#ifndef VECTRON_ATTRIBUTES_H
#define VECTRON_ATTRIBUTES_H

#include "index.h"

/* Strategies of an attribute's operator class: those of a B-tree, and <>. */
#define VECTRON_NOT_EQUAL 6

/* attributes.c: what a value becomes */
extern bool attribute_type(Oid type, WireAttributeKind *kind);
extern int64 attribute_number(Oid type, Datum value);
extern void attributes_check(Relation index);
extern uint32 attributes_declare(Relation index, uint8 *kinds);
extern Bytes attributes_encode(Relation index, const Datum *values, const bool *isnull);

/* What the keys of a scan ask for. */
typedef struct Conditions
{
	bool		nothing;		/* no row can pass */
	bool		recheck;		/* filter lets more pass than they do */
	Bytes		filter;			/* predicate for the workers, until the next call; empty = none */
} Conditions;

/* conditions.c */
extern void conditions_of(Relation index, ScanKey keys, int nkeys, Conditions *out);
extern bool conditions_hold(Relation index, ScanKey keys, int nkeys, const Datum *values,
							const bool *isnull);

/* paths.c */
extern void paths_setup(void);

/* parents.c */
extern void parents_setup(void);

#endif							/* VECTRON_ATTRIBUTES_H */
