/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  One table of a daemon's settings makes its flags, its environment names,
 *	  its checks and its --help.
 *
 * A setting "log_level" of service "worker" is --log-level on the command line
 * and VECTRON_WORKER_LOG_LEVEL in the environment.  Also read is the first of
 * .env.<service>, <service>.env, env/<service>.env in the working directory,
 * with lines NAME=value.  Flags win over the environment; the process
 * environment wins over the file, unless VECTRON_ENV_OVERRIDE is set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef BASE_SETTINGS_H
#define BASE_SETTINGS_H

#include "base/status.h"

typedef struct Setting
{
	const char *name;			/* "log_level" */
	const char *help;
	const char *fallback;		/* default; NULL = must be given; "" = none */

	/* Numbers: low <= value <= high when high > 0; else text. */
	long long	low;
	long long	high;

	/* Filled in */
	const char *text;
	long long	number;
	char		from[96];		/* "--data", "worker.env:3", ... for messages */
} Setting;

/*
 * Fill the table.  VT_INVALID names the setting and where it came from.
 * *help is set when --help was given (the text goes to standard output).
 */
extern VtStatus settings_load(const char *service, Setting *settings, size_t n, int argc,
							  char **argv, bool *help, VtError *err);

/* A setting that is in the table. */
extern const Setting *setting_of(const Setting *settings, size_t n, const char *name);

#endif							/* BASE_SETTINGS_H */
