-- vectron 1.5: what vectronctl shows of the cluster, its collections, workers that were forgotten and changes that have ended, in views as well.
-- Run by ALTER EXTENSION, and by CREATE EXTENSION after 1.4; complain when it is not.
\echo Use "ALTER EXTENSION vectron UPDATE TO '1.5'" to load this file. \quit

CREATE OR REPLACE VIEW vectron.collections AS
	SELECT c.generation, c.label AS index, c.state, c.owner ->> 'system' AS system_identifier,
		   c.owner ->> 'incarnation' AS incarnation, (c.owner ->> 'database')::oid AS database,
		   c.nshards AS shards, c.records, c.bytes,
		   pg_catalog.to_timestamp(c.created_us OPERATOR(pg_catalog./) 1000000.0) AS created,
		   CASE WHEN c.dropped_us OPERATOR(pg_catalog.>) 0
				THEN pg_catalog.to_timestamp(c.dropped_us OPERATOR(pg_catalog./) 1000000.0) END AS dropped,
		   c.dim, c.metric, c.element, c.quantization, c.distances, c.m, c.ef_construction, c.attributes,
		   c.replicas_wanted AS replicas, c.under_replicated, c.unindexed
	FROM pg_catalog.json_to_recordset(vectron.report('collections')::json -> 'collections') AS
		c(generation text, label text, state text, owner json, nshards integer, records bigint,
		  bytes bigint, created_us bigint, dropped_us bigint, dim integer, metric text, element text,
		  quantization text, distances text, m integer, ef_construction integer, attributes json,
		  replicas_wanted integer, under_replicated boolean, unindexed bigint);

-- unreachable, broken_links: what the last look over the replica's graph has found; NULL: there was none yet.
CREATE OR REPLACE VIEW vectron.shards AS
	SELECT s.shard, s.generation, s.label AS index, s.first, s.last, s.store, s.endpoint, s.role,
		   s.state, s.term, s.applied, s.records, s.unindexed, s.bytes, s.replica, s.match,
		   CASE WHEN s.ef_95 OPERATOR(pg_catalog.>) 0 THEN s.ef_95 END AS ef_95,
		   CASE WHEN s.ef_99 OPERATOR(pg_catalog.>) 0 THEN s.ef_99 END AS ef_99,
		   CASE WHEN s.verified_us OPERATOR(pg_catalog.>) 0
				THEN pg_catalog.to_timestamp(s.verified_us OPERATOR(pg_catalog./) 1000000.0) END AS verified, s.verdict,
		   CASE WHEN s.looks OPERATOR(pg_catalog.>) 0 THEN s.unreachable END AS unreachable,
		   CASE WHEN s.looks OPERATOR(pg_catalog.>) 0 THEN s.broken_links END AS broken_links
	FROM pg_catalog.json_to_recordset(vectron.report('shards')::json -> 'shards') AS
		s(shard numeric, generation text, label text, first numeric, last numeric, store numeric,
		  endpoint text, role text, state text, term bigint, applied bigint, records bigint,
		  unindexed bigint, bytes bigint, replica numeric, match bigint, ef_95 bigint, ef_99 bigint,
		  verified_us bigint, verdict text, looks bigint, unreachable bigint, broken_links bigint);

CREATE OR REPLACE VIEW vectron.cluster AS
	SELECT c.cluster, c.level, c.leader, c.term, c.message, c.applied, c.agreed_at, c.version,
		   pg_catalog.make_interval(secs => c.uptime_ms OPERATOR(pg_catalog./) 1000.0) AS uptime
	FROM pg_catalog.json_to_record(vectron.report('status')::json) AS
		c(cluster text, level integer, leader text, term bigint, message text, applied bigint, agreed_at bigint,
		  version text, uptime_ms double precision);

CREATE VIEW vectron.operators_ended AS
	SELECT e.shard, e.kind, e.result, CASE WHEN e.to_store OPERATOR(pg_catalog.>) 0 THEN e.to_store END AS to_store,
		   pg_catalog.make_interval(secs => e.took_ms OPERATOR(pg_catalog./) 1000.0) AS took,
		   pg_catalog.make_interval(secs => e.ago_ms OPERATOR(pg_catalog./) 1000.0) AS ago
	FROM pg_catalog.json_to_recordset(vectron.report('status')::json -> 'ended') AS
		e(shard numeric, kind text, result text, to_store numeric, took_ms double precision, ago_ms double precision);
COMMENT ON VIEW vectron.operators_ended IS 'the last changes of replicas that have ended, and how, since the placement driver leads';
GRANT SELECT ON vectron.operators_ended TO pg_monitor;

CREATE VIEW vectron.tombstones AS
	SELECT t.store, t.endpoint, t.state, pg_catalog.to_timestamp(t.since_us OPERATOR(pg_catalog./) 1000000.0) AS since
	FROM pg_catalog.json_to_recordset(vectron.report('tombstones')::json -> 'tombstones') AS
		t(store numeric, endpoint text, state text, since_us bigint);
COMMENT ON VIEW vectron.tombstones IS 'workers that were forgotten: neither their number nor their directory can come back';
GRANT SELECT ON vectron.tombstones TO pg_monitor;
