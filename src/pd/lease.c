/*-------------------------------------------------------------------------
 *
 * lease.c
 *	  Who a PostgreSQL server is: incarnations, leased to one data directory each
 *	  (law W7).
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "service.h"

void
op_lease(Pd *pd, Question *q)
{
	CatalogLease lease;
	CatalogLease *known = NULL;
	int64_t		timeline;
	json_t	   *reply;
	VtStatus	status = VT_OK;

	memset(&lease, 0, sizeof(lease));
	if (!get_u64(q->body, "system", &lease.system) || !get_id(q->body, "incarnation", &lease.incarnation) ||
		!get_id(q->body, "holder", &lease.holder) || vt_id_is_zero(&lease.holder) ||
		!get_int(q->body, "timeline", 1, UINT32_MAX, &timeline))
	{
		refuse(q, VT_INVALID, "lease: members are missing or malformed");
		return;
	}
	lease.timeline = (uint32_t) timeline;
	if (!vt_id_is_zero(&lease.incarnation))
	{
		known = catalog_lease(pd->catalog, lease.system, &lease.incarnation);
		if (!known || !vt_id_equal(&known->holder, &lease.holder))
		{
			refuse(q, VT_NOT_OWNER, "this cluster has not leased that incarnation to this data directory");
			return;
		}
	}
	else
	{
		/* Asked twice for one life of one directory: the same answer. */
		for (size_t i = 0; i < pd->catalog->nleases && !known; i++)
			if (pd->catalog->leases[i]->system == lease.system &&
				vt_id_equal(&pd->catalog->leases[i]->holder, &lease.holder) &&
				pd->catalog->leases[i]->timeline == lease.timeline)
				known = pd->catalog->leases[i];
		if (known)
			lease.incarnation = known->incarnation;
		else
			vt_id_random(&lease.incarnation);
	}
	if (!known)
	{
		Buf			command = {0};

		command_begin(&command);
		command_lease(&command, &lease);
		status = pd->commit(pd, &command);
		buf_free(&command);
	}
	reply = json_object();
	json_object_set_new(reply, "incarnation", json_id(&lease.incarnation));
	json_object_set_new(reply, "cluster", json_id(&pd->catalog->meta.cluster));
	answer(q, status, reply, NULL);
}
