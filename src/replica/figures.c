/*-------------------------------------------------------------------------
 *
 * figures.c
 *	  How the host is, for people and monitoring.  Takes no lock.
 *
 *-------------------------------------------------------------------------
 */
#include "replica/replica.h"

#include "base/clock.h"
#include "private.h"

#define WATCH_LATE 10			/* rounds that the watch may miss where much is going on */

const char *
replica_host_stalled(const ReplicaHost *host)
{
	int64_t		watched_us = atomic_load(&host->counts.watched_us);
	unsigned	stalled = atomic_load(&host->counts.stalled);

	if (stalled & STALLED_LOG)
		return "the Raft log is not being written: does the disk answer?";
	if (stalled & STALLED_STEP)
		return "Raft groups are not stepped";
	if (stalled & STALLED_APPLY)
		return "what is committed is not applied";
	if (watched_us > 0 && clock_now_us() - watched_us > WATCH_LATE * 1000 * (int64_t) host->options.watch_ms)
		return "nobody watches the Raft groups any more";
	return NULL;
}

void
replica_host_figures(ReplicaHost *host, ReplicaHostFigures *out)
{
	out->log_bytes = atomic_load(&host->log_bytes);
	out->resident_bytes = atomic_load(&host->resident_bytes);
	out->inflight_bytes = atomic_load(&host->inflight_bytes);
	out->inbox_bytes = atomic_load(&host->inbox_bytes);
	out->memory_bytes = out->resident_bytes + atomic_load(&host->entries) * sizeof(RaftEntry) + out->inbox_bytes;
	out->sending_bytes = atomic_load(&host->sending_bytes);
	out->dropped = atomic_load(&host->dropped);
	out->asleep = atomic_load(&host->asleep);
	for (int i = 0; i < REPLICA_TICK_KINDS; i++)
		out->ticks[i] = atomic_load(&host->tick_counts[i]);
}

void
replica_host_metrics(ReplicaHost *host, Buf *out)
{
	HostCounts *counts = &host->counts;
	ReplicaHostFigures f;

	replica_host_figures(host, &f);
	metrics_counter(out, "vectron_raft_campaigns_total", "Elections that replicas of this process began.", atomic_load(&counts->campaigns));
	metrics_counter(out, "vectron_raft_elected_total", "Elections that they won.", atomic_load(&counts->elected));
	metrics_counter(out, "vectron_raft_deposed_total", "Times that one led and no longer did.", atomic_load(&counts->deposed));
	metrics_counter(out, "vectron_raft_proposals_total", "Commands given to groups led here.", atomic_load(&counts->proposals));
	metrics_counter(out, "vectron_raft_proposals_refused_total", "Commands refused since too much was in flight.", atomic_load(&counts->refused));
	metrics_counter(out, "vectron_raft_applied_total", "Commands applied, of all groups here.", atomic_load(&counts->applied));
	metrics_gauge(out, "vectron_raft_log_bytes", "The logs of all groups on disk.", f.log_bytes);
	metrics_gauge(out, "vectron_raft_log_limit_bytes", "Above this the fullest is cut.", host->options.log_bytes);
	metrics_gauge(out, "vectron_raft_groups_asleep", "Groups in which nothing happens.", f.asleep);
	metrics_family(out, "vectron_raft_memory_bytes", "gauge", "Memory that Raft holds: log entries peers may need, proposals not yet applied, messages not yet stepped.");
	metrics_put(out, "vectron_raft_memory_bytes", "kind=\"log\"", f.resident_bytes);
	metrics_put(out, "vectron_raft_memory_bytes", "kind=\"proposals\"", f.inflight_bytes);
	metrics_put(out, "vectron_raft_memory_bytes", "kind=\"messages\"", f.inbox_bytes);
	metrics_family(out, "vectron_raft_memory_limit_bytes", "gauge", "As much it may hold of each.");
	metrics_put(out, "vectron_raft_memory_limit_bytes", "kind=\"log\"", host->options.resident_bytes);
	metrics_put(out, "vectron_raft_memory_limit_bytes", "kind=\"proposals\"", host->options.max_inflight_bytes);
	metrics_counter(out, "vectron_raft_frames_dropped_total", "Frames of peers dropped for want of room.", f.dropped);
	metrics_histogram(out, "vectron_raft_log_write_seconds", "Writing and syncing a batch of the log of all groups.", &counts->log_writes);
	metrics_buckets(out, "vectron_raft_tick_lateness_seconds", "How late the ticks of Raft's clock came.", replica_ticks_late_us,
					f.ticks, REPLICA_TICK_KINDS - 1, atomic_load(&counts->ticks_late_us));
	metrics_gauge(out, "vectron_raft_stalled", "1: writing, stepping or applying does not get on (healthz says which).", replica_host_stalled(host) != NULL);
	metrics_counter(out, "vectron_snapshots_sent_total", "Snapshots sent to peers, whole.", atomic_load(&counts->snapshots_sent));
	metrics_counter(out, "vectron_snapshots_failed_total", "Snapshots that could not be sent.", atomic_load(&counts->snapshots_failed));
	metrics_counter(out, "vectron_snapshots_installed_total", "Snapshots of peers put in the place of a state.", atomic_load(&counts->snapshots_installed));
	metrics_counter(out, "vectron_snapshot_sent_bytes_total", "Bytes of snapshots sent, as they travel.", atomic_load(&counts->sent_bytes));
	metrics_counter(out, "vectron_snapshot_received_bytes_total", "Bytes of snapshots received and staged.", atomic_load(&counts->staged_bytes));
}
