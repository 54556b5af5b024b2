/*-------------------------------------------------------------------------
 *
 * handler.c
 *	  The access method "vectron" as PostgreSQL sees it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "commands/vacuum.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/syscache.h"
#include "utils/varbit.h"

#include "attributes.h"
#include "elements.h"
#include "index.h"

PG_FUNCTION_INFO_V1(vectron_handler);
PG_FUNCTION_INFO_V1(vectron_metric_l2);
PG_FUNCTION_INFO_V1(vectron_metric_ip);
PG_FUNCTION_INFO_V1(vectron_metric_cosine);
PG_FUNCTION_INFO_V1(vectron_metric_l1);
PG_FUNCTION_INFO_V1(vectron_metric_half_l2);
PG_FUNCTION_INFO_V1(vectron_metric_half_ip);
PG_FUNCTION_INFO_V1(vectron_metric_half_cosine);
PG_FUNCTION_INFO_V1(vectron_metric_half_l1);
PG_FUNCTION_INFO_V1(vectron_metric_bit_hamming);
PG_FUNCTION_INFO_V1(vectron_metric_bit_jaccard);
PG_FUNCTION_INFO_V1(vectron_metric_none);

static ExecutorStart_hook_type next_executor_start;

IndexAmRoutine *
handler_routine(void)
{
	IndexAmRoutine *am = makeNode(IndexAmRoutine);

	names_define();
	am->amstrategies = 0;
	am->amsupport = 1;
	am->amoptsprocnum = 0;
	am->amcanorder = false;
	am->amcanorderbyop = true;
	am->amcanbackward = false;
	am->amcanunique = false;
	am->amcanmulticol = true;
	am->amoptionalkey = true;
	am->amsearcharray = true;
	am->amsearchnulls = true;
	am->amstorage = false;
	am->amclusterable = false;
	am->ampredlocks = false;
	am->amcanparallel = false;
	am->amcaninclude = false;
	am->amusemaintenanceworkmem = false;
	am->amparallelvacuumoptions = 0;
	am->amkeytype = InvalidOid;

	am->ambuild = vtbuild;
	am->ambuildempty = vtbuildempty;
	am->aminsert = vtinsert;
	am->ambulkdelete = vtbulkdelete;
	am->amvacuumcleanup = vtvacuumcleanup;
	am->amcanreturn = NULL;
	am->amcostestimate = vtcostestimate;
	am->amoptions = vtoptions;
	am->amproperty = NULL;
	am->ambuildphasename = vtbuildphasename;
	am->amvalidate = vtvalidate;
	am->amadjustmembers = NULL;
	am->ambeginscan = vtbeginscan;
	am->amrescan = vtrescan;
	am->amgettuple = vtgettuple;
	am->amgetbitmap = NULL;
	am->amendscan = vtendscan;
	am->ammarkpos = NULL;
	am->amrestrpos = NULL;
	am->amestimateparallelscan = NULL;
	am->aminitparallelscan = NULL;
	am->amparallelrescan = NULL;
	return am;
}

Datum
vectron_handler(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_POINTER(handler_routine());
}

/* Is an index of ours, by whatever name of an access method? */
bool
handler_is_ours(Relation index)
{
	return index->rd_indam && index->rd_indam->ambuild == vtbuild;
}

/* Is this access method one of ours? */
bool
handler_is_am(Oid am)
{
	IndexAmRoutine *routine = GetIndexAmRoutineByAmId(am, true);
	bool		ours = routine && routine->ambuild == vtbuild;

	if (routine)
		pfree(routine);
	return ours;
}

/* Support function 1 of an operator class: its metric, and what vectors are kept in (OPCLASS_KIND). */
Datum
vectron_metric_l2(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(VEC_L2);
}

Datum
vectron_metric_ip(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(VEC_IP);
}

Datum
vectron_metric_cosine(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(VEC_COSINE);
}

Datum
vectron_metric_l1(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(VEC_L1);
}

Datum
vectron_metric_half_l2(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(OPCLASS_KIND(VEC_L2, VEC_FLOAT16));
}

Datum
vectron_metric_half_ip(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(OPCLASS_KIND(VEC_IP, VEC_FLOAT16));
}

Datum
vectron_metric_half_cosine(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(OPCLASS_KIND(VEC_COSINE, VEC_FLOAT16));
}

Datum
vectron_metric_half_l1(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(OPCLASS_KIND(VEC_L1, VEC_FLOAT16));
}

Datum
vectron_metric_bit_hamming(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(OPCLASS_KIND(VEC_HAMMING, VEC_BIT));
}

Datum
vectron_metric_bit_jaccard(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(OPCLASS_KIND(VEC_JACCARD, VEC_BIT));
}

/* Of a type whose rows the workers do not know: it is there so that an index is refused with words. */
Datum
vectron_metric_none(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(OPCLASS_REFUSED);
}

/* Complain of an operator class. */
static bool
invalid(const Form_pg_opclass form, const char *complaint)
{
	ereport(INFO,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("operator class \"%s\" %s", NameStr(form->opcname), complaint)));
	return false;
}

/*
 * An operator class for vectors has one ordering operator and support function 1,
 * and orders by distances of type float8.  One for attributes, which shares a
 * family with others, has no support function; its operators are those of a B-tree
 * and <>, or = alone where the workers know a hash.
 */
bool
vtvalidate(Oid opclass)
{
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form;
	CatCList   *operators;
	CatCList   *procs;
	WireAttributeKind kind = 0;
	bool		valid = true;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	form = (Form_pg_opclass) GETSTRUCT(tuple);
	operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(form->opcfamily));
	procs = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(form->opcfamily));
	if (procs->n_members == 0 && !attribute_type(form->opcintype, &kind))
		valid = invalid(form, "is for a type that cannot be an attribute");
	for (int i = 0; i < operators->n_members; i++)
	{
		Form_pg_amop amop = (Form_pg_amop) GETSTRUCT(&operators->members[i]->tuple);

		if (kind != 0 && (amop->amopstrategy < 1 || amop->amopstrategy > VECTRON_NOT_EQUAL ||
						  amop->amoppurpose != AMOP_SEARCH))
			valid = invalid(form, "has an operator that is not one of <, <=, =, >=, >, <>");
		else if (kind == WIRE_ATTR_HASHED && amop->amopstrategy != BTEqualStrategyNumber)
			valid = invalid(form, "has an operator that a hash cannot answer");
		else if (kind == 0 && (amop->amopstrategy != 1 || amop->amoppurpose != AMOP_ORDER))
			valid = invalid(form, "has an operator that is not ordering strategy 1");
	}
	if (kind == 0 && (operators->n_members != 1 || procs->n_members != 1))
		valid = invalid(form, "needs one operator and one support function");
	ReleaseCatCacheList(procs);
	ReleaseCatCacheList(operators);
	ReleaseSysCache(tuple);
	return valid;
}

/* A bit string's bits; what is behind them in the last byte is zero, PostgreSQL sees to that. */
static const void *
bits_of(Datum value, int *dim, Pointer *to_free)
{
	VarBit	   *bits = DatumGetVarBitP(value);

	if (bits != (VarBit *) DatumGetPointer(value))
		*to_free = (Pointer) bits;
	*dim = VARBITLEN(bits);
	return VARBITS(bits);
}

/*
 * The vector that an index value stands for, floats or bits.  False: nothing to index, since
 * it is NULL or a zero vector under cosine distance.  *to_free is set when it
 * is a copy.
 */
bool
vectron_index_vector(Datum value, bool isnull, VecMetric metric, VecElement element, const void **out,
					 int *dim, Pointer *to_free)
{
	*to_free = NULL;
	if (isnull)
		return false;
	if (element == VEC_BIT)
	{
		*out = bits_of(value, dim, to_free);
		return true;
	}
	*out = elements_type(element)->floats(value, dim, to_free);
	if (metric == VEC_COSINE && vec_norm(*out, *dim) == 0)
	{
		if (*to_free)
			pfree(*to_free);
		*to_free = NULL;
		return false;
	}
	return true;
}

/* A parallel worker cannot see the leader's buffer: empty it first (law W2). */
static void
on_executor_start(QueryDesc *query, int eflags)
{
	cluster_plan_again();
	if (query->plannedstmt->parallelModeNeeded && !pending_is_empty())
		pending_flush();
	if (next_executor_start)
		next_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

void
index_setup(void)
{
	options_setup();
	cluster_setup();
	shared_setup();
	session_setup();
	pending_setup();
	drops_setup();
	supervisor_setup();
	plan_setup();
	paths_setup();
	parents_setup();
	next_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = on_executor_start;
}
