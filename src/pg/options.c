/*-------------------------------------------------------------------------
 *
 * options.c
 *	  What a user may set: WITH (...) of an index, and vectron.* settings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "index.h"

char	   *vectron_pd_endpoints;
char	   *vectron_tls_ca_file;
char	   *vectron_tls_cert_file;
char	   *vectron_tls_key_file;
char	   *vectron_embedded_directory;
int			vectron_embedded_memory_limit;
char	   *vectron_expose_pd;
char	   *vectron_expose_worker;
char	   *vectron_expose_certificates;
int			vectron_ef_search;
double		vectron_recall_target;
int			vectron_write_timeout;
int			vectron_read_timeout;
int			vectron_insert_buffer;
bool		vectron_fallback_scan;
bool		vectron_strict_order;
bool		vectron_verify_scan;
int			vectron_max_scan_tuples;
int			vectron_consistency;
int			vectron_mark_entries;
int			vectron_sweep_interval;
bool		vectron_drop_intents;

static relopt_kind vectron_relopts;
static relopt_kind ivfflat_relopts;

static const struct config_enum_entry consistencies[] = {
	{"server", CONSISTENCY_SERVER, false},
	{"linearizable", CONSISTENCY_LINEARIZABLE, false},
	{NULL, 0, false}
};

#define LISTS_NOT_SAID 0

static relopt_enum_elt_def quantizations[] = {
	{"none", QUANTIZATION_NONE},
	{"int8", QUANTIZATION_INT8},
	{(const char *) NULL}
};

/* Options of an access method. */
static relopt_kind
add_options(void)
{
	relopt_kind kind = add_reloption_kind();

	add_int_reloption(kind, "m", "Links of a node in the graph",
					  VECTRON_DEFAULT_M, VECTRON_MIN_M, VECTRON_MAX_M, AccessExclusiveLock);
	add_int_reloption(kind, "ef_construction", "Candidates looked at when a node is linked",
					  VECTRON_DEFAULT_EF_CONSTRUCTION, VECTRON_MIN_EF_CONSTRUCTION,
					  VECTRON_MAX_EF_CONSTRUCTION, AccessExclusiveLock);
	add_int_reloption(kind, "shards", "Shards of the index, 0 = one for each worker",
					  0, 0, VECTRON_MAX_SHARDS, AccessExclusiveLock);
	add_int_reloption(kind, "replicas", "Replicas of each shard, 0 = the cluster's default",
					  0, 0, 5, AccessExclusiveLock);
	add_enum_reloption(kind, "quantization",
					   "What a search walks on; its order is by exact distance either way",
					   quantizations, QUANTIZATION_INT8, "Valid values are \"none\" and \"int8\".",
					   AccessExclusiveLock);
	return kind;
}

void
options_setup(void)
{
	vectron_relopts = add_options();
	ivfflat_relopts = add_options();
	add_int_reloption(ivfflat_relopts, "lists", "Taken for pgvector's sake: the index is a graph",
					  LISTS_NOT_SAID, 1, 32768, AccessExclusiveLock);

	DefineCustomStringVariable("vectron.pd_endpoints",
							   "Where the placement drivers listen.",
							   "Comma-separated unix:/path or tcp://address:port. Empty: one placement driver "
							   "and one worker run under the data directory.",
							   &vectron_pd_endpoints, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("vectron.tls_ca_file",
							   "Certificates of the cluster's CA, needed for tcp endpoints.",
							   "The placement drivers and workers that it has certified are believed.",
							   &vectron_tls_ca_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("vectron.tls_cert_file",
							   "Certificate of this server for the cluster.",
							   "It is for a gateway with this server's system identifier.",
							   &vectron_tls_cert_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("vectron.tls_key_file",
							   "Key of the certificate in vectron.tls_cert_file.",
							   NULL, &vectron_tls_key_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("vectron.embedded_directory",
							   "Where the embedded cluster keeps its data.",
							   "Empty: the folder vectron in the data directory.",
							   &vectron_embedded_directory, "",
							   process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("vectron.embedded_memory_limit",
							"Memory of the embedded worker above which new data is refused.",
							"-1: 40 % of the memory of the machine or cgroup; 0: no limit. At a reload the worker is started anew.",
							&vectron_embedded_memory_limit, -1, -1, INT_MAX / 1024, PGC_SIGHUP,
							GUC_UNIT_MB | GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("vectron.expose_pd",
							   "Where the embedded placement driver also listens, for other machines.",
							   "tcp://address:port; see vectronctl expose. At a reload the daemon is started anew.",
							   &vectron_expose_pd, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("vectron.expose_worker",
							   "Where the embedded worker also listens, for other machines.",
							   "tcp://address:port; see vectronctl expose. At a reload the daemon is started anew.",
							   &vectron_expose_worker, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("vectron.expose_certificates",
							   "Folder with the certificates of the embedded daemons.",
							   "ca.crt, pd-embedded.crt, worker-embedded.crt and the keys of the latter two.",
							   &vectron_expose_certificates, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("vectron.ef_search",
							"Candidates kept during a search: more is slower and finds more.",
							NULL, &vectron_ef_search, 100, 1, 10000, PGC_USERSET, 0,
							NULL, NULL, NULL);
	DefineCustomRealVariable("vectron.recall_target",
							 "Share of the true neighbours that a search is to find, on average; 0: vectron.ef_search decides.",
							 "Each shard keeps as many candidates as it takes there, found out by trial.",
							 &vectron_recall_target, 0, 0, 0.9999, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("vectron.write_timeout",
							"How long a write or a commit may wait for the cluster.",
							NULL, &vectron_write_timeout, 30000, 10, INT_MAX / 1000, PGC_USERSET,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("vectron.read_timeout",
							"How long a search may wait for the cluster.",
							NULL, &vectron_read_timeout, 30000, 10, INT_MAX / 1000, PGC_USERSET,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("vectron.insert_buffer",
							"Memory for index entries of a transaction before they are sent.",
							NULL, &vectron_insert_buffer, 16384, 64, MAX_KILOBYTES, PGC_USERSET,
							GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomBoolVariable("vectron.fallback_scan",
							 "Plan exact scans of the table while the cluster cannot be reached.",
							 NULL, &vectron_fallback_scan, true, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("vectron.strict_order",
							 "Leave out a row that is found late and nearer than one already returned.",
							 NULL, &vectron_strict_order, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("vectron.verify_scan",
							 "Compare every row a scan returns with the table, for tests.",
							 NULL, &vectron_verify_scan, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("vectron.max_scan_tuples",
							"Rows after which a scan ends early, 0 = never.",
							NULL, &vectron_max_scan_tuples, 0, 0, INT_MAX, PGC_USERSET, 0,
							NULL, NULL, NULL);
	DefineCustomEnumVariable("vectron.consistency",
							 "What a search must see: every write of this server, or whatever the leaders hold.",
							 "server needs no question to the leaders when vectron is preloaded; linearizable asks them each time.",
							 &vectron_consistency, CONSISTENCY_SERVER, consistencies, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	/* One that is PGC_POSTMASTER cannot be defined later. */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("vectron.mark_entries",
								"Shards of which the server remembers what it has written.",
								"Of the others a search asks the leaders first.",
								&vectron_mark_entries, 8192, 8, 1 << 24, PGC_POSTMASTER, 0,
								NULL, NULL, NULL);
	DefineCustomIntVariable("vectron.sweep_interval",
							"How often the cluster is searched for indexes that no longer exist, 0 = never.",
							"What two sweeps this far apart find unused is dropped.",
							&vectron_sweep_interval, 3600, 0, 100 * 86400, PGC_SIGHUP,
							GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomBoolVariable("vectron.drop_intents",
							 "Tell the cluster of dropped indexes at once; off: only sweeps find them.",
							 NULL, &vectron_drop_intents, true, PGC_SUSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("vectron");
}

static VectronOptions *
parse(relopt_kind kind, Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"m", RELOPT_TYPE_INT, offsetof(VectronOptions, m)},
		{"ef_construction", RELOPT_TYPE_INT, offsetof(VectronOptions, ef_construction)},
		{"shards", RELOPT_TYPE_INT, offsetof(VectronOptions, shards)},
		{"replicas", RELOPT_TYPE_INT, offsetof(VectronOptions, replicas)},
		{"quantization", RELOPT_TYPE_ENUM, offsetof(VectronOptions, quantization)},
		{"lists", RELOPT_TYPE_INT, offsetof(VectronOptions, lists)},	/* of ivfflat only */
	};
	int			n = kind == ivfflat_relopts ? lengthof(table) : lengthof(table) - 1;
	VectronOptions *options = build_reloptions(reloptions, validate, kind, sizeof(VectronOptions), table, n);

	if (validate && options)
	{
		if (options->ef_construction < 2 * options->m)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("ef_construction must be greater than or equal to 2 * m")));
	}
	return options;
}

/* For vectron and hnsw. */
bytea *
vtoptions(Datum reloptions, bool validate)
{
	return (bytea *) parse(vectron_relopts, reloptions, validate);
}

bytea *
vtoptions_of_ivfflat(Datum reloptions, bool validate)
{
	static bool said = false;
	VectronOptions *options = parse(ivfflat_relopts, reloptions, validate);

	/* A dump has many such indexes, and one word is enough. */
	if (validate && options && options->lists != LISTS_NOT_SAID && !said)
	{
		said = true;
		ereport(NOTICE,
				(errmsg("\"lists\" has no effect: what \"ivfflat\" makes is a graph, like \"hnsw\" and \"vectron\""),
				 errhint("Its options are \"m\" and \"ef_construction\".")));
	}
	return (bytea *) options;
}

const VectronOptions *
options_of(Relation index)
{
	return (const VectronOptions *) index->rd_options;
}
