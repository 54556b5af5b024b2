/*-------------------------------------------------------------------------
 *
 * window.h
 *	  What monitoring sees of a worker: /metrics, /status, /healthz and /readyz.
 *
 *-------------------------------------------------------------------------
 */
#ifndef WORKER_WINDOW_H
#define WORKER_WINDOW_H

#include "http/http.h"
#include "worker.h"

#define WORKER_PAGES 4

/*
 * Their argument is a Worker *_Atomic: where the worker will be found once it is there.
 * While it opens its shards it is alive and not ready.
 */
extern const HttpPage worker_pages[WORKER_PAGES];

#endif							/* WORKER_WINDOW_H */
