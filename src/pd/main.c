/*-------------------------------------------------------------------------
 *
 * main.c
 *	  vectron-pd.
 *
 *-------------------------------------------------------------------------
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/breaks.h"
#include "base/daemon.h"
#include "base/directory.h"
#include "base/log.h"
#include "base/settings.h"
#include "pd.h"
#include "window.h"

#define PD_REPLICAS_MAX 5
#define LAST_MS 1000			/* for log lines before the end */

static Setting settings[] = {
	{.name = "data", .help = "data directory"},
	{.name = "listen", .help = "endpoint to listen on, unix:PATH or tcp://ADDRESS:PORT"},
	{.name = "expose", .help = "a second endpoint to listen on, for others than this machine, tcp://ADDRESS:PORT", .fallback = ""},
	{.name = "advertise", .help = "endpoint the others are told, and find in --peers (default: expose, or listen)", .fallback = ""},
	{.name = "peers", .help = "endpoints of the other placement drivers, separated by commas", .fallback = ""},
	{.name = "checkpoint", .help = "KiB of Raft log before a checkpoint cuts it", .fallback = "16384", .low = 16, .high = 1 << 20},
	{.name = "keep_dropped", .help = "seconds that the data of a dropped index is kept; less when a disk is short", .fallback = "86400", .low = 0, .high = 100 * 86400},
	{.name = "down_after", .help = "seconds of silence after which a worker's replicas are made anew on others", .fallback = "600", .low = 1, .high = 100 * 86400},
	{.name = "lease_time", .help = "seconds of silence after which another PostgreSQL server may go on with an incarnation", .fallback = "10", .low = 3, .high = 3600},
	{.name = "verify_every", .help = "hours after which the replicas of a shard are compared again, one shard after the other, 0 = only when asked for", .fallback = "168", .low = 0, .high = 24 * 3660},
	{.name = "default_replicas", .help = "copies of each shard of an index that names no number", .fallback = "3", .low = 1, .high = 5},
	{.name = "spread", .help = "keys of the workers' labels that copies are spread over, the most important first: zone,rack", .fallback = ""},
	{.name = "search_replicas", .help = "copies of each shard on workers of the role search-only, as far as there are any", .fallback = "1", .low = 0, .high = 3},
	{.name = "balance", .help = "on: replicas and leaderships move from workers that have more to those that have less; off: they stay", .fallback = "on"},
	{.name = "moves", .help = "changes of replicas under way at once; 0: 64, or one for each worker if there are more", .fallback = "0", .low = 0, .high = 4096},
	{.name = "store_moves", .help = "replicas on their way to one worker at once; 0: two, or up to eight that have less than 128 MiB in all", .fallback = "0", .low = 0, .high = 64},
	{.name = "plan_timeout", .help = "seconds without progress after which a change of replicas is given up and made elsewhere, besides a second for each 4 MiB of the shard; 0: never", .fallback = "1800", .low = 0, .high = 100 * 86400},
	{.name = "split_bytes", .help = "MiB of memory beyond which a shard is split in two, where there are more workers than it has copies; 0: never", .fallback = "8192", .low = 0, .high = 1 << 30},
	{.name = "split_rows", .help = "rows beyond which a shard is split in two, wherever it is; 0: never", .fallback = "0", .low = 0, .high = INT64_C(1000000000000)},
	{.name = "page_rows", .help = "rows of one answer to vectronctl shards, collections or dump, or their views; the rest comes in further ones, and others are answered between them", .fallback = "8192", .low = 1, .high = 8192},
	{.name = "tls_ca_file", .help = "whom to believe over tcp: certificates of the cluster's CA", .fallback = ""},
	{.name = "tls_cert_file", .help = "certificate of this placement driver", .fallback = ""},
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

/* The certificates, when some are named. */
static VtStatus
open_tls(NetTls **out, VtError *err)
{
	WireTlsFiles files = {get("tls_ca_file")->text, get("tls_cert_file")->text, get("tls_key_file")->text};

	return net_tls_open(&files, WIRE_ROLE_PD, out, err);
}

/* Where monitoring finds the driver; NULL: it is not there yet. */
static Pd  *_Atomic shown;

int
main(int argc, char **argv)
{
	int			signals = daemon_block_signals();
	StoreDirectory directory;
	StoreOptions log_options = {0};
	StoreOptions row_options = {.replayed = true};
	PdOptions	options = {0};
	Store	   *log;
	Store	   *rows;
	Pd		   *pd;
	HttpServer *window = NULL;
	VtError		err = {0};
	char		path[4096];
	bool		help;
	int			level;

	log_setup("pd", LOG_LEVEL_INFO);
	if (settings_load("pd", settings, N, argc, argv, &help, &err) != VT_OK)
		return fail(&err);
	if (help)
		return 0;
	level = log_level_parse(get("log_level")->text);
	if (level < 0)
	{
		vt_fail(&err, VT_INVALID, "%s: \"%s\" is no log level", get("log_level")->from, get("log_level")->text);
		return fail(&err);
	}
	log_setup("pd", (LogLevel) level);
	log_start();
	(void) daemon_raise_file_limit();

	if (store_directory_open(get("data")->text, &directory, &err) != VT_OK)
		return fail(&err);
	snprintf(path, sizeof(path), "%s/log", get("data")->text);
	if (store_open(path, &log_options, &log, &err) != VT_OK)
		return fail(&err);
	snprintf(path, sizeof(path), "%s/catalog", get("data")->text);
	if (store_open(path, &row_options, &rows, &err) != VT_OK)
		return fail(&err);
	/* Before anything is acknowledged: the folders of both. */
	if (!vt_broken("S1-folder") && directory_sync(get("data")->text, &err) != VT_OK)
		return fail(&err);
	options.listen = get("listen")->text;
	options.expose = get("expose")->text[0] ? get("expose")->text : NULL;
	options.advertise = get("advertise")->text[0] ? get("advertise")->text : NULL;
	options.boot_epoch = daemon_boot_epoch();
	options.keep_dropped_us = get("keep_dropped")->number * INT64_C(1000000);
	/* One that lives with its server (embedded), and is reached by no other, need not ask itself whether that is alive. */
	if (!get("death_fd")->text[0] || options.expose)
		options.lease_us = get("lease_time")->number * INT64_C(1000000);
	options.down_after_us = get("down_after")->number * INT64_C(1000000);
	options.verify_us = get("verify_every")->number * INT64_C(3600000000);
	options.default_replicas = (uint32_t) get("default_replicas")->number;
	options.replicas_max = PD_REPLICAS_MAX;
	options.peers = get("peers")->text;
	options.search_replicas = (uint32_t) get("search_replicas")->number;
	options.moves = (uint32_t) get("moves")->number;
	options.store_moves = (uint32_t) get("store_moves")->number;
	options.balance = strcmp(get("balance")->text, "on") == 0;
	if (!options.balance && strcmp(get("balance")->text, "off") != 0)
	{
		vt_fail(&err, VT_INVALID, "%s: \"%s\" is neither on nor off", get("balance")->from, get("balance")->text);
		return fail(&err);
	}
	if (spread_parse(get("spread")->text, &options.spread, &err) != VT_OK)
		return fail(&err);
	options.plan_timeout_us = get("plan_timeout")->number * INT64_C(1000000);
	options.split_bytes = (uint64_t) get("split_bytes")->number << 20;
	options.split_rows = (uint64_t) get("split_rows")->number;
	options.page_rows = (uint32_t) get("page_rows")->number;
	options.checkpoint_bytes = (uint64_t) get("checkpoint")->number << 10;
	if (open_tls(&options.tls, &err) != VT_OK)
		return fail(&err);
	if (http_start_as_set(get("http"), get("http_open"), pd_pages, PD_PAGES, &shown, &window, &err) != VT_OK)
		return fail(&err);
	if (pd_start(log, rows, &options, &pd, &err) != VT_OK)
		return fail(&err);
	atomic_store(&shown, pd);
	log_info("ready on %s", get("listen")->text);

	log_info("stopping: %s", daemon_wait(signals, get("death_fd")->text[0] ? (int) get("death_fd")->number : -1,
										  pd_reload, pd));
	daemon_stop_within(get("death_fd")->text[0] != 0);
	http_stop(window);
	pd_stop(pd);
	net_tls_free(options.tls);
	store_close(rows);
	store_close(log);
	store_directory_close(&directory);
	log_info("stopped");
	log_flush(LAST_MS);
	return 0;
}
