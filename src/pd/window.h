/*-------------------------------------------------------------------------
 *
 * window.h
 *	  What monitoring sees of a placement driver: /metrics, /status, /healthz and /readyz.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_WINDOW_H
#define PD_WINDOW_H

#include "http/http.h"
#include "pd.h"

#define PD_PAGES 4

/* Their argument is a Pd *_Atomic: where it will be found once it is there. */
extern const HttpPage pd_pages[PD_PAGES];

/* What a leader's /metrics has of the cluster; takes the catalog's lock again and again. */
extern void window_put_cluster(Pd *pd, Buf *out);

#endif							/* PD_WINDOW_H */
