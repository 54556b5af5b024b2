/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  What somebody may ask who has come with a certificate.
 *
 * A gateway's is for one PostgreSQL server, by its system identifier: it asks
 * about what is that server's and nothing else, and moves neither replicas nor
 * placement drivers.  Workers are told apart from the rest in service.c; an
 * admin's certificate is for everything, and so is a unix socket, to which only
 * our own user comes.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "service.h"

/* What a gateway has to ask.  Whatever is not here takes an admin's certificate. */
static bool
is_for_gateways(const char *op)
{
	static const char *const ops[] = {"status", "route", "lease", "create_collection", "drop_collection",
	"undrop_collection", "owned", "unused", "retire", "collections", "workers", "shards", "pds", "operators", "check"};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (strcmp(ops[i], op) == 0)
			return true;
	return false;
}

bool
rights_see(const Question *q, const WireOwner *owner)
{
	return net_conn_may_own(q->conn, owner->system);
}

/*
 * Of a gateway that is bound to a server: every owner, server and collection
 * that a question names must be that server's.  What is malformed is refused
 * where it is read.
 */
bool
rights_allow(Pd *pd, const Question *q, const char *op)
{
	WireOwner	owner;
	uint64_t	system;
	VtId		generation;
	CatalogCollection *c;

	if (net_conn_system(q->conn) == 0)
		return true;
	if (!is_for_gateways(op))
		return false;
	if (get_owner(q->body, &owner) && !net_conn_may_own(q->conn, owner.system))
		return false;
	if (get_u64(q->body, "system", &system) && !net_conn_may_own(q->conn, system))
		return false;
	if (!get_id(q->body, "generation", &generation) || vt_id_is_zero(&generation))
		return true;
	c = catalog_collection(pd->catalog, &generation);
	return !c || net_conn_may_own(q->conn, c->owner.system);
}
