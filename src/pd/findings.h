/*-------------------------------------------------------------------------
 *
 * findings.h
 *	  Private to pd: what is wrong, row by row.
 *
 * A row is of five words: severity, finding, subject, what, advice.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PD_FINDINGS_H
#define PD_FINDINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define WARNING "warning"
#define CRITICAL "critical"

#define FINDINGS_OF_A_KIND 100	/* that are told */
#define FINDING_KINDS 48

/* How many there are of a kind, and of those that are not told the last one. */
typedef struct FoundKind
{
	const char *finding;
	size_t		n;
	bool		critical;		/* one of those that are not told is */
	char		subject[200];
	char		advice[320];
} FoundKind;

/* All zero but for list, which is the caller's. */
typedef struct Findings
{
	json_t	   *list;
	char		subject[200];
	char		advice[320];
	size_t		nkinds;
	FoundKind	kinds[FINDING_KINDS];
} Findings;

/* The one who is looked at, and what is to be done about the finding that comes next. */
extern void findings_about(Findings *f, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));
extern void findings_advise(Findings *f, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));

/* What is the case; finding: of a kind, and a constant.  The advice is used up. */
extern void findings_add(Findings *f, const char *severity, const char *finding, const char *fmt,...)
			__attribute__((format(printf, 4, 5)));

/* That was all: what was only counted is told. */
extern void findings_end(Findings *f);

#endif							/* PD_FINDINGS_H */
