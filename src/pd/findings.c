/*-------------------------------------------------------------------------
 *
 * findings.c
 *	  Findings, put together for whoever asks what is wrong (check.c).
 *
 * In an outage of many indexes there are tens of thousands of a kind.  A hundred are
 * told, and of the others how many they are: an answer that is too large for a
 * message would tell nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
findings_about(Findings *f, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vsnprintf(f->subject, sizeof(f->subject), fmt, args);
	va_end(args);
}

void
findings_advise(Findings *f, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vsnprintf(f->advice, sizeof(f->advice), fmt, args);
	va_end(args);
}

static void
put_finding(Findings *f, const char *severity, const char *finding, const char *subject, const char *what, const char *advice)
{
	json_t	   *row = json_object();

	json_object_set_new(row, "severity", json_string(severity));
	json_object_set_new(row, "finding", json_string(finding));
	json_object_set_new(row, "subject", json_string(subject));
	json_object_set_new(row, "what", json_string(what));
	json_object_set_new(row, "advice", json_string(advice));
	json_array_append_new(f->list, row);
}

/* One more of its kind; false: there are so many that it is only counted. */
static bool
is_told(Findings *f, const char *severity, const char *finding)
{
	size_t		i = 0;
	FoundKind  *kind;

	while (i < f->nkinds && strcmp(f->kinds[i].finding, finding) != 0)
		i++;
	if (i == FINDING_KINDS)
		return true;			/* there are fewer */
	kind = &f->kinds[i];
	if (i == f->nkinds)
		f->kinds[f->nkinds++] = (FoundKind) {.finding = finding};
	if (kind->n++ < FINDINGS_OF_A_KIND)
		return true;
	kind->critical |= strcmp(severity, CRITICAL) == 0;
	memcpy(kind->subject, f->subject, sizeof(kind->subject));
	memcpy(kind->advice, f->advice, sizeof(kind->advice));
	return false;
}

void
findings_end(Findings *f)
{
	for (size_t i = 0; i < f->nkinds; i++)
	{
		const FoundKind *kind = &f->kinds[i];
		char		subject[80];
		char		what[320];

		if (kind->n <= FINDINGS_OF_A_KIND)
			continue;
		snprintf(subject, sizeof(subject), "... and %zu more", kind->n - FINDINGS_OF_A_KIND);
		snprintf(what, sizeof(what), "the same (%s), the last of them %s", kind->finding, kind->subject);
		put_finding(f, kind->critical ? CRITICAL : WARNING, kind->finding, subject, what, kind->advice);
	}
}

void
findings_add(Findings *f, const char *severity, const char *finding, const char *fmt,...)
{
	char		what[320];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	if (is_told(f, severity, finding))
		put_finding(f, severity, finding, f->subject, what, f->advice);
	f->advice[0] = '\0';
}
