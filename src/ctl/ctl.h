/*-------------------------------------------------------------------------
 *
 * ctl.h
 *	  Private to ctl: a call of vectronctl, and asking.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <jansson.h>

#include "client/client.h"

/* What the options say. */
typedef struct Ctl
{
	ClientOptions options;
	Client	   *client;
	int			timeout_ms;
	bool		as_json;
	bool		all;			/* workers: also those that were forgotten */
	char	  **words;			/* the command's arguments */
	const char *endpoint;		/* ask this process, and no other; NULL = the placement driver */
	const char *apply;			/* unsafe-recover: this plan; NULL = show what would be done */
} Ctl;

/*
 * Ask whoever leads, or the daemon at an endpoint; takes the question.  The
 * answer is the caller's; NULL = none, or a no.
 */
extern json_t *ctl_ask(Ctl *ctl, json_t *question, VtError *err);
extern json_t *ctl_ask_at(Ctl *ctl, const char *endpoint, json_t *question, VtError *err);

/*
 * The same for an answer that comes in pages (client_page): they are put together by their rows, a member
 * that is a list.
 */
extern json_t *ctl_ask_pages(Ctl *ctl, json_t *question, const char *rows, VtError *err);

/* JSON for programs. */
extern void ctl_print(json_t *answer);

/* A command that failed: says so; the exit status. */
extern int	ctl_failed(const char *command, const VtError *err);

/* alone.c: the status of the process at ctl->endpoint; NULL = none, or a no */
extern json_t *alone_ask(Ctl *ctl, VtError *err);
extern bool alone_is_worker(json_t *answer);
extern void alone_print(json_t *answer);	/* of a worker, for people */
extern void alone_print_driver(json_t *answer);	/* of a placement driver, what status has not shown */

/* check.c, dump.c, expose.c, recover.c: their commands; the exit status */
extern int	check_main(Ctl *ctl);
extern int	dump_main(Ctl *ctl);
extern int	expose_main(Ctl *ctl);
extern int	recover_main(Ctl *ctl);

#endif							/* CTL_CTL_H */
