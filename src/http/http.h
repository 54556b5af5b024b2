/*-------------------------------------------------------------------------
 *
 * http.h
 *	  A daemon's door for monitoring: a few pages over HTTP, to be read only.
 *
 * Who looks after a daemon that does not answer must not be held up by what holds
 * the daemon up.  So a connection has a thread of its own, and a page is of one of
 * two kinds:
 *
 *	   quick	reads atomics and waits for nobody: made on the connection's thread
 *	   others	may take locks for a moment: made one after the other by one thread;
 *				who has waited for too long is told so (503)
 *
 * There are few connections, of few bytes and not for long.  GET and HEAD are
 * answered, everything else is refused.  There is no TLS here and nobody is asked
 * who he is; so the door is for this machine only, unless somebody says otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HTTP_H
#define HTTP_H

#include "base/bytes.h"
#include "base/settings.h"
#include "base/status.h"

#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_METRICS "text/plain; version=0.0.4; charset=utf-8"
#define HTTP_JSON "application/json"

typedef struct HttpPage
{
	const char *path;			/* "/metrics" */
	const char *type;			/* of its content */
	bool		quick;
	int			(*make) (void *arg, Buf *out);	/* the HTTP status */
} HttpPage;

typedef struct HttpOptions
{
	const char *listen;			/* PORT (of 127.0.0.1), ADDRESS:PORT or unix:PATH */
	bool		open;			/* an address that other machines reach is fine */
	const HttpPage *pages;
	size_t		npages;
	void	   *arg;			/* for all of them */
	uint32_t	patience_ms;	/* for pages that are not quick; 0 = 5000 */
} HttpOptions;

typedef struct HttpServer HttpServer;

/* A page of a line of words; its status. */
static inline int
http_say(Buf *out, int status, const char *words)
{
	buf_put(out, words, strlen(words));
	buf_put(out, "\n", 1);
	return status;
}

/* VT_INVALID, VT_DENIED (others would reach it), VT_BUSY (the place is taken), VT_IO. */
extern VtStatus http_start(const HttpOptions *options, HttpServer **out, VtError *err);

/*
 * The same by the settings http and http_open of a daemon, on or off.  *out stays
 * NULL when http is empty.
 */
extern VtStatus http_start_as_set(const Setting *http, const Setting *http_open, const HttpPage *pages,
								  size_t npages, void *arg, HttpServer **out, VtError *err);

/* No page is made any more when it returns; NULL is fine. */
extern void http_stop(HttpServer *server);

#endif							/* HTTP_H */
