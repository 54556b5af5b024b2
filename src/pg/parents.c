/*-------------------------------------------------------------------------
 *
 * parents.c
 *	  An index of a partitioned table is looked at when it is made.
 *
 * PostgreSQL builds nothing for it, so nobody would ask what its columns are until
 * it has a partition; then neither that partition nor any other could be made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "attributes.h"

static object_access_hook_type next_object_access = NULL;

/* A partitioned index of ours, whose row of the catalog was written just now? */
static bool
is_parent(Oid oid)
{
	Relation	catalog = table_open(RelationRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		parent = false;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(catalog, ClassOidIndexId, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);

		parent = class->relkind == RELKIND_PARTITIONED_INDEX && handler_is_am(class->relam);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return parent;
}

static void
on_object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (next_object_access)
		next_object_access(access, class, object, sub, arg);
	if (access == OAT_POST_CREATE && class == RelationRelationId && sub == 0 && is_parent(object))
	{
		Relation	index;
		VectronMeta meta;

		/* As PostgreSQL does next: the index can be opened then. */
		CommandCounterIncrement();
		index = index_open(object, NoLock);
		attributes_check(index);
		meta_describe(index, &meta);
		index_close(index, NoLock);
	}
}

void
parents_setup(void)
{
	next_object_access = object_access_hook;
	object_access_hook = on_object_access;
}
