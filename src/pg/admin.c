/*-------------------------------------------------------------------------
 *
 * admin.c
 *	  What an administrator asks of the cluster from SQL.
 *
 * Each function is one question to the placement driver, which answers when it
 * is decided, not when it is done.  vectronctl asks the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/rel.h"

#include "index.h"

PG_FUNCTION_INFO_V1(vectron_drain_worker);
PG_FUNCTION_INFO_V1(vectron_undrain_worker);
PG_FUNCTION_INFO_V1(vectron_forget_worker);
PG_FUNCTION_INFO_V1(vectron_set_replicas);
PG_FUNCTION_INFO_V1(vectron_verify);
PG_FUNCTION_INFO_V1(vectron_move_shard);
PG_FUNCTION_INFO_V1(vectron_transfer_leader);
PG_FUNCTION_INFO_V1(vectron_cancel_operator);

/* GRANT does not reach so far: what is moved may be other databases' and servers'. */
static void
superusers_only(const char *what)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to %s", what)));
}

static void
ask(const char *question, const char *doing)
{
	const char *reply;
	VtError		err = {0};

	cluster_check(client_control(cluster_client(), question, cluster_deadline(vectron_write_timeout), &reply, &err),
				  &err, doing, NULL);
}

/* A number of a store or shard: digits, and nothing that JSON minds. */
static const char *
id_text(Datum number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, number));
}

/* A worker's replicas are to move to others, or may come to it again. */
static void
drain(Datum store, const char *op)
{
	superusers_only("drain a worker");
	ask(psprintf("{\"op\":\"%s\",\"store\":\"%s\"}", op, id_text(store)), "could not drain the worker");
}

Datum
vectron_drain_worker(PG_FUNCTION_ARGS)
{
	drain(PG_GETARG_DATUM(0), "drain");
	PG_RETURN_VOID();
}

Datum
vectron_undrain_worker(PG_FUNCTION_ARGS)
{
	drain(PG_GETARG_DATUM(0), "undrain");
	PG_RETURN_VOID();
}

/* A worker that is gone for good and holds nothing. */
Datum
vectron_forget_worker(PG_FUNCTION_ARGS)
{
	superusers_only("forget a worker");
	ask(psprintf("{\"op\":\"forget_store\",\"store\":\"%s\"}", id_text(PG_GETARG_DATUM(0))), "could not forget the worker");
	PG_RETURN_VOID();
}

/* The generation of an index that has something in the cluster; the index is locked. */
static Relation
open_index(Oid oid, char generation[VT_ID_TEXT])
{
	Relation	index = monitor_open_index(oid, AccessShareLock);
	VectronMeta meta;

	if (!meta_read_built(index, &meta) || meta.state == VECTRON_EMPTY)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" has nothing in the cluster yet", RelationGetRelationName(index))));
	vt_id_format(&meta.generation, generation);
	return index;
}

/* How many copies each shard of an index is to have. */
Datum
vectron_set_replicas(PG_FUNCTION_ARGS)
{
	char		generation[VT_ID_TEXT];
	Relation	index;

	superusers_only("change the number of replicas");
	index = open_index(PG_GETARG_OID(0), generation);
	ask(psprintf("{\"op\":\"set_replicas\",\"collection\":\"%s\",\"replicas\":%d}", generation, PG_GETARG_INT32(1)),
		"could not change the number of replicas");
	index_close(index, AccessShareLock);
	PG_RETURN_VOID();
}

/* Compare the replicas of an index's shards. */
Datum
vectron_verify(PG_FUNCTION_ARGS)
{
	char		generation[VT_ID_TEXT];
	Relation	index;

	superusers_only("compare replicas");
	index = open_index(PG_GETARG_OID(0), generation);
	ask(psprintf("{\"op\":\"verify\",\"what\":\"%s\"}", generation), "could not compare the replicas");
	index_close(index, AccessShareLock);
	PG_RETURN_VOID();
}

/* A replica of a shard goes from one worker to another. */
Datum
vectron_move_shard(PG_FUNCTION_ARGS)
{
	superusers_only("move a shard");
	ask(psprintf("{\"op\":\"move\",\"shard\":\"%s\",\"from_store\":\"%s\",\"to_store\":\"%s\"}", id_text(PG_GETARG_DATUM(0)),
				 id_text(PG_GETARG_DATUM(1)), id_text(PG_GETARG_DATUM(2))), "could not move the shard");
	PG_RETURN_VOID();
}

/* Another replica of a shard is to lead it. */
Datum
vectron_transfer_leader(PG_FUNCTION_ARGS)
{
	superusers_only("transfer leadership");
	ask(psprintf("{\"op\":\"transfer_leader\",\"shard\":\"%s\",\"store\":\"%s\"}", id_text(PG_GETARG_DATUM(0)),
				 id_text(PG_GETARG_DATUM(1))), "could not transfer leadership");
	PG_RETURN_VOID();
}

/* End what is under way with a shard's replicas. */
Datum
vectron_cancel_operator(PG_FUNCTION_ARGS)
{
	superusers_only("cancel an operator");
	ask(psprintf("{\"op\":\"cancel\",\"shard\":\"%s\"}", id_text(PG_GETARG_DATUM(0))), "could not cancel the operator");
	PG_RETURN_VOID();
}
