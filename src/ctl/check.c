/*-------------------------------------------------------------------------
 *
 * check.c
 *	  vectronctl check: is the cluster well, and if not, what is to be done?
 *
 * The placement driver that leads says what it finds.  Whether each driver can be
 * reached is found from here, by asking all that were named: when none leads it is
 * all that can be told, and the most urgent.
 *
 * Exit status, as monitoring wants it: 0 well, 1 warnings, 2 critical.
 *
 *-------------------------------------------------------------------------
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

#define DRIVER_MS 2000			/* in which each driver says how it is */
#define SUBJECT "placement driver at "
#define CERT_WARN_S (30 * 86400)
#define CERT_CRITICAL_S (3 * 86400)

typedef struct Check
{
	Ctl		   *ctl;
	json_t	   *findings;
	json_t	   *versions;		/* of each driver that answered: an object of endpoints */
	size_t		npds;
	size_t		reached;
} Check;

__attribute__((format(printf, 6, 7))) static void
add(Check *check, const char *severity, const char *finding, const char *subject, const char *advice, const char *fmt,...)
{
	char		what[512];
	va_list		args;
	json_t	   *row;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	row = json_pack("{s:s,s:s,s:s,s:s,s:s}", "severity", severity, "finding", finding, "subject", subject,
					"what", what, "advice", advice);
	if (row)
		json_array_append_new(check->findings, row);
}

static void
look_at_certificate(Check *check, const char *subject, json_t *status)
{
	json_int_t	until = json_integer_value(json_object_get(status, "certificate_until"));
	int64_t		left = until - clock_wall_us() / 1000000;
	const char *advice = "vectronctl certs renew, copy it there, and send SIGHUP (docs/cluster.md)";

	if (until == 0 || left > CERT_WARN_S)
		return;
	if (left <= 0)
		add(check, "critical", "certificate", subject, advice, "its certificate has expired");
	else
		add(check, left < CERT_CRITICAL_S ? "critical" : "warning", "certificate", subject, advice,
			"its certificate ends in %" PRId64 " hours", left / 3600);
}

/* One of the placement drivers that were named. */
static void
look_at_driver(Check *check, const char *endpoint)
{
	VtError		err = {0};
	int			patience_ms = check->ctl->timeout_ms;
	json_t	   *status;
	const char *version;
	const char *role;
	char		subject[160];

	/* Several may be away, and whoever looks has no time. */
	if (check->ctl->timeout_ms > DRIVER_MS)
		check->ctl->timeout_ms = DRIVER_MS;
	status = ctl_ask_at(check->ctl, endpoint, json_pack("{s:s}", "op", "status"), &err);
	check->ctl->timeout_ms = patience_ms;
	version = json_string_value(json_object_get(status, "version"));
	role = json_string_value(json_object_get(status, "role"));
	snprintf(subject, sizeof(subject), SUBJECT "%s", endpoint);
	check->npds++;
	if (!status)
	{
		add(check, "warning", "pd_unreachable", subject, "start it again, or see to the network between here and there", "%s", vt_error_words(&err));
		return;
	}
	check->reached++;
	look_at_certificate(check, subject, status);
	if (role && (strcmp(role, "waiting") == 0 || strcmp(role, "founding") == 0))
		add(check, "warning", "pd_waiting", subject, "vectronctl add-pd, from one that leads; or stop it", "it is not one of the placement drivers yet");
	if (version)
		json_object_set_new(check->versions, version, json_true());
	json_decref(status);
}

static void
look_at_drivers(Check *check)
{
	char	   *list = vt_strdup(check->ctl->options.pd_endpoints);
	char	   *rest;

	for (char *one = strtok_r(list, ", ", &rest); one; one = strtok_r(NULL, ", ", &rest))
		look_at_driver(check, one);
	free(list);
	if (json_object_size(check->versions) > 1)
		add(check, "warning", "version", "placement drivers", "after an upgrade all daemons are to be of one version",
			"they are of different versions");
}

/* What the leader finds. */
static void
ask_leader(Check *check)
{
	VtError		err = {0};
	json_t	   *answer = check->reached > 0 ? ctl_ask(check->ctl, json_pack("{s:s}", "op", "check"), &err) : NULL;

	if (answer)
		json_array_extend(check->findings, json_object_get(answer, "findings"));
	else
		add(check, "critical", "no_pd", "placement drivers", "start more than half of them: until then nothing is created, repaired or found here; if they are lost for good: docs/cluster.md",
			check->reached ? "none leads, or the one that does cannot be asked: %s" : "none of them can be reached%s",
			check->reached ? vt_error_words(&err) : "");
	json_decref(answer);
}

/* A driver that waits to be added knows no cluster and says nothing to us: its leader has said so. */
static bool
waits(const Check *check, const char *endpoint)
{
	size_t		n = strlen(endpoint);
	size_t		i;
	json_t	   *row;

	json_array_foreach(check->findings, i, row)
	{
		const char *finding = json_string_value(json_object_get(row, "finding"));
		const char *subject = json_string_value(json_object_get(row, "subject"));

		if (finding && subject && strcmp(finding, "pd_waiting") == 0 && strlen(subject) > n &&
			strcmp(subject + strlen(subject) - n, endpoint) == 0)
			return true;
	}
	return false;
}

static void
forget_unreachable(Check *check)
{
	for (size_t i = json_array_size(check->findings); i-- > 0;)
	{
		json_t	   *row = json_array_get(check->findings, i);
		const char *finding = json_string_value(json_object_get(row, "finding"));
		const char *subject = json_string_value(json_object_get(row, "subject"));

		if (finding && subject && strcmp(finding, "pd_unreachable") == 0 && waits(check, subject + strlen(SUBJECT)))
			json_array_remove(check->findings, i);
	}
}

static int
severity_of(json_t *finding)
{
	const char *severity = json_string_value(json_object_get(finding, "severity"));

	return severity && strcmp(severity, "critical") == 0 ? 2 : 1;
}

/* The worst first. */
static void
show(Check *check)
{
	json_t	   *row;
	size_t		i;

	for (int severity = 2; severity > 0; severity--)
		json_array_foreach(check->findings, i, row)
		{
			if (severity_of(row) == severity)
				printf("%-9s %s: %s\n%-9s %s\n", severity == 2 ? "CRITICAL" : "warning",
					   json_string_value(json_object_get(row, "subject")), json_string_value(json_object_get(row, "what")),
					   "", json_string_value(json_object_get(row, "advice")));
		}
	if (json_array_size(check->findings) == 0)
		printf("all is well\n");
}

int
check_main(Ctl *ctl)
{
	Check		check = {.ctl = ctl, .findings = json_array(), .versions = json_object()};
	json_t	   *row;
	size_t		i;
	int			worst = 0;

	look_at_drivers(&check);
	ask_leader(&check);
	forget_unreachable(&check);
	json_array_foreach(check.findings, i, row)
	{
		worst = severity_of(row) > worst ? severity_of(row) : worst;
	}
	if (ctl->as_json)
	{
		json_t	   *whole = json_pack("{s:i,s:O}", "status", worst, "findings", check.findings);

		ctl_print(whole);
		json_decref(whole);
	}
	else
		show(&check);
	json_decref(check.findings);
	json_decref(check.versions);
	return worst;
}
