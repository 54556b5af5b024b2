/*-------------------------------------------------------------------------
 *
 * main.c
 *	  vectron-worker.
 *
 *-------------------------------------------------------------------------
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/daemon.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/settings.h"
#include "store/store.h"
#include "window.h"
#include "worker.h"

#define LAST_MS 1000			/* for log lines before the end */
#define FILES_WANTED 16384u		/* some hundred shards, and their clients */

static Setting settings[] = {
	{.name = "data", .help = "data directory"},
	{.name = "listen", .help = "endpoint to listen on, unix:PATH or tcp://ADDRESS:PORT"},
	{.name = "expose", .help = "a second endpoint to listen on, for others than this machine, tcp://ADDRESS:PORT", .fallback = ""},
	{.name = "advertise", .help = "endpoint gateways are told (default: expose, or listen)", .fallback = ""},
	{.name = "pd", .help = "endpoints of the placement drivers, separated by commas"},
	{.name = "labels", .help = "where it stands, for vectron-pd --spread: zone=a,rack=r1", .fallback = ""},
	{.name = "role", .help = "data, or search-only: holds copies that answer searches and have no vote", .fallback = "data"},
	{.name = "search_threads", .help = "threads for searches and listings, 0 = one for each core", .fallback = "0", .low = 0, .high = 1024},
	{.name = "index_threads", .help = "threads that take vectors into the graph (half of them unless much waits), 0 = one for each core", .fallback = "0", .low = 0, .high = 1024},
	{.name = "link_hints", .help = "on: leaders say how they have linked vectors, and followers link by that; off: each looks for neighbours itself", .fallback = "on"},
	{.name = "memory_limit", .help = "MiB of memory above which new data is refused, 0 = none (default: the share that follows)", .fallback = "", .low = 0, .high = 1 << 30},
	{.name = "memory_share", .help = "percent of the memory of the machine, or of the cgroup, that memory_limit is when it is not set", .fallback = "75", .low = 1, .high = 100},
	{.name = "checkpoint", .help = "MiB of Raft log of a shard before a checkpoint cuts it", .fallback = "64", .low = 1, .high = 1 << 20},
	{.name = "log_limit", .help = "MiB of Raft log of all shards above which the fullest is cut, whoever may still need it; 0 = a twentieth of the disk, 64 to 1024", .fallback = "0", .low = 0, .high = 1 << 20},
	{.name = "snapshot_rate", .help = "MiB a second of snapshots sent to other workers, 0 = no limit", .fallback = "0", .low = 0, .high = 1 << 20},
	{.name = "disk_reserve", .help = "MiB of free disk below which new data is refused", .fallback = "256", .low = 0, .high = 1 << 30},
	{.name = "apply_lag", .help = "log entries of a shard that most of its copies may still have to apply before its leader refuses writes for a moment, 0 = no limit", .fallback = "65536", .low = 0, .high = 1 << 30},
	{.name = "apply_lag_size", .help = "the same in MiB, by the mean of its log, 0 = no limit", .fallback = "128", .low = 0, .high = 1 << 20},
	{.name = "exact_store", .help = "where quantized indexes keep their full-precision vectors: memory, or mapped files", .fallback = "memory"},
	{.name = "graph_save", .help = "changed records of a shard, and a tenth of all, before its graph is written to a file, 0 = never", .fallback = "20000", .low = 0, .high = 1 << 30},
	{.name = "session_time", .help = "seconds after which a session of a collection ends that nobody uses", .fallback = "600", .low = 1, .high = 1 << 20},
	{.name = "replica_grace", .help = "seconds for which a copy that hears neither its leader nor a placement driver answers searches that may be of any age, 0 = without end", .fallback = "60", .low = 0, .high = 1 << 30},
	{.name = "tls_ca_file", .help = "whom to believe over tcp: certificates of the cluster's CA", .fallback = ""},
	{.name = "tls_cert_file", .help = "certificate of this worker", .fallback = ""},
	{.name = "tls_key_file", .help = "its key; all three are read again at SIGHUP", .fallback = ""},
	{.name = "http", .help = "where to answer monitoring: PORT (of 127.0.0.1), ADDRESS:PORT or unix:PATH", .fallback = ""},
	{.name = "http_open", .help = "on: http may be an address that other machines reach; there is no TLS and nobody is asked who he is", .fallback = "off"},
	{.name = "death_fd", .help = "stop when this inherited pipe is closed", .fallback = "", .low = 0, .high = 1 << 20},
	{.name = "log_level", .help = "debug, info, warn or error", .fallback = "info"},
};

#define N (sizeof(settings) / sizeof(settings[0]))

static const Setting *
get(const char *name)
{
	return setting_of(settings, N, name);
}

static int
fail(const VtError *err)
{
	log_error("%s", vt_error_words(err));
	log_flush(LAST_MS);
	return err->code == VT_DENIED ? 3 : err->code == VT_BUSY ? 4 : 1;
}

/* Bytes; 0 = there is none.  Says what it is, and why. */
static uint64_t
memory_limit(void)
{
	const Setting *limit = get("memory_limit");
	MachineMemory memory = machine_memory("");
	uint64_t	bytes = (uint64_t) limit->number << 20;

	if (limit->text[0] == '\0')
	{
		bytes = worker_memory_share(memory.bytes, (uint32_t) get("memory_share")->number);
		if (bytes == 0)
			log_warn("how much memory there is could not be found out, so there is no memory_limit");
		else
			log_info("memory_limit is %llu MiB: %lld %% (memory_share) of the %llu MiB of %s", (unsigned long long) bytes >> 20,
					 get("memory_share")->number, (unsigned long long) memory.bytes >> 20, memory.from);
	}
	else if (bytes == 0)
		log_info("there is no memory_limit (%s)", limit->from);
	else
		log_info("memory_limit is %lld MiB (%s)", limit->number, limit->from);
	if (memory.bytes > 0 && bytes > memory.bytes)
		log_warn("memory_limit is more than the %llu MiB of %s", (unsigned long long) memory.bytes >> 20, memory.from);
	return bytes;
}

/* The certificates, when some are named. */
static VtStatus
open_tls(NetTls **out, VtError *err)
{
	WireTlsFiles files = {get("tls_ca_file")->text, get("tls_cert_file")->text, get("tls_key_file")->text};

	return net_tls_open(&files, WIRE_ROLE_WORKER, out, err);
}

/* Where monitoring finds the worker; NULL: it is not there yet. */
static Worker *_Atomic shown;

int
main(int argc, char **argv)
{
	int			signals = daemon_block_signals();
	StoreDirectory directory;
	WorkerOptions options = {0};
	Worker	   *worker;
	HttpServer *window = NULL;
	VtError		err = {0};
	bool		help;
	int			level;

	log_setup("worker", LOG_LEVEL_INFO);
	if (settings_load("worker", settings, N, argc, argv, &help, &err) != VT_OK)
		return fail(&err);
	if (help)
		return 0;
	level = log_level_parse(get("log_level")->text);
	if (level < 0)
	{
		vt_fail(&err, VT_INVALID, "%s: \"%s\" is no log level", get("log_level")->from, get("log_level")->text);
		return fail(&err);
	}
	log_setup("worker", (LogLevel) level);
	log_start();
	if (daemon_raise_file_limit() < FILES_WANTED)
		log_warn("only %llu files may be open at once: raise the limit (ulimit -n, LimitNOFILE= of systemd) to %u at least",
				 (unsigned long long) daemon_raise_file_limit(), FILES_WANTED);
	options.mapped = strcmp(get("exact_store")->text, "mapped") == 0;
	if (!options.mapped && strcmp(get("exact_store")->text, "memory") != 0)
	{
		vt_fail(&err, VT_INVALID, "%s: \"%s\" is neither memory nor mapped", get("exact_store")->from,
				get("exact_store")->text);
		return fail(&err);
	}

	options.no_hints = strcmp(get("link_hints")->text, "off") == 0;
	if (!options.no_hints && strcmp(get("link_hints")->text, "on") != 0)
	{
		vt_fail(&err, VT_INVALID, "%s: \"%s\" is neither on nor off", get("link_hints")->from, get("link_hints")->text);
		return fail(&err);
	}

	options.role = get("role")->text;
	if (strcmp(options.role, "data") != 0 && strcmp(options.role, "search-only") != 0)
	{
		vt_fail(&err, VT_INVALID, "%s: \"%s\" is neither data nor search-only", get("role")->from, get("role")->text);
		return fail(&err);
	}

	if (store_directory_open(get("data")->text, &directory, &err) != VT_OK)
		return fail(&err);
	options.data = get("data")->text;
	options.data_id = directory.id;
	options.listen = get("listen")->text;
	options.expose = get("expose")->text[0] ? get("expose")->text : NULL;
	options.advertise = get("advertise")->text[0] ? get("advertise")->text : options.expose ? options.expose : options.listen;
	options.pd = get("pd")->text;
	options.labels = get("labels")->text;
	options.search_threads = (uint32_t) get("search_threads")->number;
	options.index_threads = (uint32_t) get("index_threads")->number;
	options.memory_limit = memory_limit();
	options.checkpoint_bytes = (uint64_t) get("checkpoint")->number << 20;
	options.log_bytes = (uint64_t) get("log_limit")->number << 20;
	options.snapshot_rate = (uint64_t) get("snapshot_rate")->number << 20;
	options.disk_reserve = (uint64_t) get("disk_reserve")->number << 20;
	options.lag_entries = (uint64_t) get("apply_lag")->number;
	options.lag_bytes = (uint64_t) get("apply_lag_size")->number << 20;
	options.graph_save = (uint64_t) get("graph_save")->number;
	options.session_ms = (uint64_t) get("session_time")->number * 1000;
	options.replica_grace_ms = (uint64_t) get("replica_grace")->number * 1000;
	options.boot_epoch = daemon_boot_epoch();
	if (open_tls(&options.tls, &err) != VT_OK)
		return fail(&err);
	if (http_start_as_set(get("http"), get("http_open"), worker_pages, WORKER_PAGES, &shown, &window, &err) != VT_OK)
		return fail(&err);
	if (worker_start(&options, &worker, &err) != VT_OK)
		return fail(&err);
	atomic_store(&shown, worker);
	log_info("ready on %s", options.listen);

	log_info("stopping: %s", daemon_wait(signals, get("death_fd")->text[0] ? (int) get("death_fd")->number : -1,
										  worker_reload, worker));
	daemon_stop_within(get("death_fd")->text[0] != 0);
	http_stop(window);
	worker_stop(worker);
	net_tls_free(options.tls);
	store_directory_close(&directory);
	log_info("stopped");
	log_flush(LAST_MS);
	return 0;
}
