/*-------------------------------------------------------------------------
 *
 * names.c
 *	  pgvector's names: the access methods hnsw and ivfflat, and their settings.
 *
 * An application written for pgvector says "USING hnsw" or "USING ivfflat", and
 * "SET hnsw.ef_search".  Both access methods make the same index as vectron does;
 * what pgvector's options and settings ask for is given where it means something
 * here, and taken where it does not (docs/sql.md).
 *
 * The settings belong to pgvector's library, too, which may serve another database
 * of this server, and which fails if somebody has defined them before.  So they are
 * not defined when our library is loaded, but when a backend first meets an access
 * method of ours: its database has no pgvector then.  What was said of them before,
 * in whatever place, PostgreSQL has kept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "index.h"

/* pgvector's defaults and limits; some are ours as well (index.h). */
#define DEFAULT_EF_SEARCH 40
#define MAX_EF_SEARCH 1000
#define DEFAULT_MAX_SCAN_TUPLES 20000
#define MAX_SCAN_MEMORY 1000
#define MAX_LISTS 32768

#define STRICT_ORDER "strict_order"

PG_FUNCTION_INFO_V1(vectron_hnsw_handler);
PG_FUNCTION_INFO_V1(vectron_ivfflat_handler);

enum
{
	ITERATIVE_OFF,
	ITERATIVE_RELAXED,
	ITERATIVE_STRICT
};

static const struct config_enum_entry hnsw_iterative[] = {
	{"off", ITERATIVE_OFF, false},
	{"relaxed_order", ITERATIVE_RELAXED, false},
	{STRICT_ORDER, ITERATIVE_STRICT, false},
	{NULL, 0, false}
};

static const struct config_enum_entry ivfflat_iterative[] = {
	{"off", ITERATIVE_OFF, false},
	{"relaxed_order", ITERATIVE_RELAXED, false},
	{NULL, 0, false}
};

/* What PostgreSQL keeps their values in: read through setting(), since pgvector may own them. */
static int	hnsw_ef_search;
static int	hnsw_iterative_scan;
static int	hnsw_max_scan_tuples;
static double hnsw_scan_mem_multiplier;
static int	ivfflat_probes;
static int	ivfflat_iterative_scan;
static int	ivfflat_max_probes;

/* A setting as PostgreSQL has it, of that type, whoever defined it; NULL: nobody did. */
static struct config_generic *
setting(const char *name, enum config_type type)
{
	struct config_generic **all = get_guc_variables();
	int			n = GetNumConfigOptions();

	for (int i = 0; i < n; i++)
		if (strcmp(all[i]->name, name) == 0)
			return (all[i]->flags & GUC_CUSTOM_PLACEHOLDER) == 0 && all[i]->vartype == type ? all[i] : NULL;
	return NULL;
}

static struct config_generic *our_ef_search;
static struct config_generic *their_ef_search;
static struct config_generic *our_strict_order;
static struct config_generic *their_iterative_scan;

static void
define_hnsw(void)
{
	DefineCustomIntVariable("hnsw.ef_search",
							"Candidates kept during a search, by pgvector's name; see vectron.ef_search.",
							NULL, &hnsw_ef_search, DEFAULT_EF_SEARCH, 1, MAX_EF_SEARCH, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("hnsw.iterative_scan",
							 "In which order a scan goes on; it always does. strict_order: see vectron.strict_order.",
							 NULL, &hnsw_iterative_scan, ITERATIVE_OFF, hnsw_iterative, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hnsw.max_scan_tuples",
							"Taken for pgvector's sake; see vectron.max_scan_tuples.",
							NULL, &hnsw_max_scan_tuples, DEFAULT_MAX_SCAN_TUPLES, 1, INT_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("hnsw.scan_mem_multiplier",
							 "Taken for pgvector's sake: a scan needs little memory here.",
							 NULL, &hnsw_scan_mem_multiplier, 1, 1, MAX_SCAN_MEMORY, PGC_USERSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("hnsw");
}

static void
define_ivfflat(void)
{
	DefineCustomIntVariable("ivfflat.probes",
							"Taken for pgvector's sake: the index has no lists.",
							NULL, &ivfflat_probes, 1, 1, MAX_LISTS, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("ivfflat.iterative_scan",
							 "Taken for pgvector's sake: a scan always goes on.",
							 NULL, &ivfflat_iterative_scan, ITERATIVE_OFF, ivfflat_iterative, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("ivfflat.max_probes",
							"Taken for pgvector's sake: the index has no lists.",
							NULL, &ivfflat_max_probes, MAX_LISTS, 1, MAX_LISTS, PGC_USERSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("ivfflat");
}

/* In this backend, from now on.  Where pgvector's library was loaded before us, they are its. */
void
names_define(void)
{
	static bool defined = false;

	if (defined)
		return;
	defined = true;
	if (!setting("hnsw.ef_search", PGC_INT))
		define_hnsw();
	if (!setting("ivfflat.probes", PGC_INT))
		define_ivfflat();
	our_ef_search = setting("vectron.ef_search", PGC_INT);
	their_ef_search = setting("hnsw.ef_search", PGC_INT);
	our_strict_order = setting("vectron.strict_order", PGC_BOOL);
	their_iterative_scan = setting("hnsw.iterative_scan", PGC_ENUM);
}

/*
 * Of two names for one thing the one counts that was set closer to the session: by SET
 * rather than for the role, for the role rather than in the configuration file.  Ours
 * does where both were set in the same place, or none.
 */
static bool
theirs_counts(const struct config_generic *ours, const struct config_generic *theirs)
{
	return ours && theirs && theirs->source > ours->source;
}

/* Candidates that a search keeps. */
int
names_ef_search(void)
{
	if (theirs_counts(our_ef_search, their_ef_search))
		return *((struct config_int *) their_ef_search)->variable;
	return vectron_ef_search;
}

/* Are rows left out that are found late? */
bool
names_strict_order(void)
{
	struct config_enum *mode = (struct config_enum *) their_iterative_scan;

	if (theirs_counts(our_strict_order, their_iterative_scan))
		return strcmp(config_enum_lookup_by_value(mode, *mode->variable), STRICT_ORDER) == 0;
	return vectron_strict_order;
}

/* As pgvector has it, an index has one column, the vector. */
static Datum
handler(amoptions_function options)
{
	IndexAmRoutine *am = handler_routine();

	am->amcanmulticol = false;
	am->amoptions = options;
	PG_RETURN_POINTER(am);
}

Datum
vectron_hnsw_handler(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	return handler(vtoptions);
}

Datum
vectron_ivfflat_handler(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	return handler(vtoptions_of_ivfflat);
}
