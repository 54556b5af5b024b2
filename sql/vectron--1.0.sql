-- vectron 1.0: the type vector, its operators, and the access method.
-- Run by CREATE EXTENSION; complain when it is not.
\echo Use "CREATE EXTENSION vectron" to load this file. \quit

-- One type named vector in a database: two would make drivers, which look it
-- up by name, choose at random.
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_catalog.pg_type WHERE typname = 'vector') THEN
		RAISE EXCEPTION 'a type named "vector" already exists in this database'
			USING ERRCODE = 'duplicate_object',
				  HINT = 'vectron brings its own; it cannot live beside the extension "vector" in one database.';
	END IF;
END
$$;

-- Management objects; PostgreSQL refuses if somebody has made the schema before.
CREATE SCHEMA vectron;
GRANT USAGE ON SCHEMA vectron TO PUBLIC;

---------------------------------------------------------------------------
-- The type
---------------------------------------------------------------------------

CREATE TYPE vector;

CREATE FUNCTION vector_in(cstring, oid, integer) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_out(vector) RETURNS cstring
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_typmod_in(cstring[]) RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_recv(internal, oid, integer) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_send(vector) RETURNS bytea
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE vector (
	INPUT = vector_in,
	OUTPUT = vector_out,
	TYPMOD_IN = vector_typmod_in,
	RECEIVE = vector_recv,
	SEND = vector_send,
	STORAGE = external
);
COMMENT ON TYPE vector IS 'up to 16000 float4 numbers; vector(n) has exactly n';

---------------------------------------------------------------------------
-- Functions
---------------------------------------------------------------------------

CREATE FUNCTION l2_distance(vector, vector) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION l2_distance(vector, vector) IS 'Euclidean distance, operator <->';
CREATE FUNCTION inner_product(vector, vector) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION inner_product(vector, vector) IS 'inner product; operator <#> is its negative';
CREATE FUNCTION cosine_distance(vector, vector) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION cosine_distance(vector, vector) IS '1 - cosine similarity, 0 to 2, operator <=>; NaN for a zero vector';
CREATE FUNCTION l1_distance(vector, vector) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION l1_distance(vector, vector) IS 'taxicab distance, operator <+>';
CREATE FUNCTION vector_dims(vector) RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vector_dims(vector) IS 'number of dimensions';
CREATE FUNCTION vector_norm(vector) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION vector_norm(vector) IS 'Euclidean norm';
CREATE FUNCTION l2_normalize(vector) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION l2_normalize(vector) IS 'the vector divided by its norm; a zero vector stays one';
CREATE FUNCTION binary_quantize(vector) RETURNS bit
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION binary_quantize(vector) IS 'one bit for each element: is it positive?';
CREATE FUNCTION subvector(vector, integer, integer) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION subvector(vector, integer, integer) IS 'elements from a position (counted from 1), so many';

-- What operators, casts and aggregates are made of
CREATE FUNCTION vector_add(vector, vector) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_sub(vector, vector) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_mul(vector, vector) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_concat(vector, vector) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_lt(vector, vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_le(vector, vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_eq(vector, vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_ne(vector, vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_ge(vector, vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_gt(vector, vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_cmp(vector, vector) RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_l2_squared_distance(vector, vector) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_negative_inner_product(vector, vector) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_spherical_distance(vector, vector) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_accum(double precision[], vector) RETURNS double precision[]
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_avg(double precision[]) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_combine(double precision[], double precision[]) RETURNS double precision[]
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

---------------------------------------------------------------------------
-- Aggregates
---------------------------------------------------------------------------

CREATE AGGREGATE avg(vector) (
	SFUNC = vector_accum,
	STYPE = double precision[],
	FINALFUNC = vector_avg,
	COMBINEFUNC = vector_combine,
	INITCOND = '{0}',
	PARALLEL = SAFE
);

CREATE AGGREGATE sum(vector) (
	SFUNC = vector_add,
	STYPE = vector,
	COMBINEFUNC = vector_add,
	PARALLEL = SAFE
);

---------------------------------------------------------------------------
-- Casts
---------------------------------------------------------------------------

CREATE FUNCTION vector(vector, integer, boolean) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vector(integer[], integer, boolean) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vector(real[], integer, boolean) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vector(double precision[], integer, boolean) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION array_to_vector(numeric[], integer, boolean) RETURNS vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION vector_to_float4(vector, integer, boolean) RETURNS real[]
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE CAST (vector AS vector) WITH FUNCTION vector(vector, integer, boolean) AS IMPLICIT;
CREATE CAST (vector AS real[]) WITH FUNCTION vector_to_float4(vector, integer, boolean) AS IMPLICIT;
CREATE CAST (integer[] AS vector) WITH FUNCTION array_to_vector(integer[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (real[] AS vector) WITH FUNCTION array_to_vector(real[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (double precision[] AS vector) WITH FUNCTION array_to_vector(double precision[], integer, boolean) AS ASSIGNMENT;
CREATE CAST (numeric[] AS vector) WITH FUNCTION array_to_vector(numeric[], integer, boolean) AS ASSIGNMENT;

---------------------------------------------------------------------------
-- Operators
---------------------------------------------------------------------------

CREATE OPERATOR <-> (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = l2_distance,
	COMMUTATOR = '<->'
);
CREATE OPERATOR <#> (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_negative_inner_product,
	COMMUTATOR = '<#>'
);
CREATE OPERATOR <=> (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = cosine_distance,
	COMMUTATOR = '<=>'
);
CREATE OPERATOR <+> (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = l1_distance,
	COMMUTATOR = '<+>'
);
CREATE OPERATOR + (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_add,
	COMMUTATOR = +
);
CREATE OPERATOR - (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_sub
);
CREATE OPERATOR * (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_mul,
	COMMUTATOR = *
);
CREATE OPERATOR || (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_concat
);
CREATE OPERATOR < (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_lt,
	COMMUTATOR = >, NEGATOR = >=,
	RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
CREATE OPERATOR <= (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_le,
	COMMUTATOR = >=, NEGATOR = >,
	RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
CREATE OPERATOR = (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_eq,
	COMMUTATOR = =, NEGATOR = <>,
	RESTRICT = eqsel, JOIN = eqjoinsel
);
CREATE OPERATOR <> (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_ne,
	COMMUTATOR = <>, NEGATOR = =,
	RESTRICT = neqsel, JOIN = neqjoinsel
);
CREATE OPERATOR >= (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_ge,
	COMMUTATOR = <=, NEGATOR = <,
	RESTRICT = scalargesel, JOIN = scalargejoinsel
);
CREATE OPERATOR > (
	LEFTARG = vector, RIGHTARG = vector, FUNCTION = vector_gt,
	COMMUTATOR = <, NEGATOR = <=,
	RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);

CREATE OPERATOR CLASS vector_ops
	DEFAULT FOR TYPE vector USING btree AS
	OPERATOR 1 <,
	OPERATOR 2 <=,
	OPERATOR 3 =,
	OPERATOR 4 >=,
	OPERATOR 5 >,
	FUNCTION 1 vector_cmp(vector, vector);

---------------------------------------------------------------------------
-- The access method
---------------------------------------------------------------------------

CREATE FUNCTION vectron_handler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME' LANGUAGE C;

CREATE ACCESS METHOD vectron TYPE INDEX HANDLER vectron_handler;
COMMENT ON ACCESS METHOD vectron IS 'nearest neighbours by an index whose data lives in vectron workers';

-- Support function 1 of an operator class names its metric.
CREATE FUNCTION vectron.metric_l2() RETURNS integer
	AS 'MODULE_PATHNAME', 'vectron_metric_l2' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION vectron.metric_ip() RETURNS integer
	AS 'MODULE_PATHNAME', 'vectron_metric_ip' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION vectron.metric_cosine() RETURNS integer
	AS 'MODULE_PATHNAME', 'vectron_metric_cosine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION vectron.metric_l1() RETURNS integer
	AS 'MODULE_PATHNAME', 'vectron_metric_l1' LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE OPERATOR CLASS vector_l2_ops
	DEFAULT FOR TYPE vector USING vectron AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_l2();

CREATE OPERATOR CLASS vector_ip_ops
	FOR TYPE vector USING vectron AS
	OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_ip();

CREATE OPERATOR CLASS vector_cosine_ops
	FOR TYPE vector USING vectron AS
	OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_cosine();

CREATE OPERATOR CLASS vector_l1_ops
	FOR TYPE vector USING vectron AS
	OPERATOR 1 <+> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_l1();

---------------------------------------------------------------------------
-- Looking at it
---------------------------------------------------------------------------

-- An index's own state, from its metapage: works without the cluster.
CREATE FUNCTION vectron.index_meta(index regclass,
		OUT generation text, OUT state text, OUT dimensions integer, OUT m integer,
		OUT ef_construction integer, OUT quantization text, OUT stale_since timestamptz, OUT stale_reason text,
		OUT unreachable_since timestamptz)
	AS 'MODULE_PATHNAME', 'vectron_index_meta' LANGUAGE C STRICT;

-- A report of the placement driver, as JSON: collections, workers, shards, pds,
-- operators, check or status.  When it cannot be reached the report says so.
CREATE FUNCTION vectron.report(op text) RETURNS text
	AS 'MODULE_PATHNAME', 'vectron_report' LANGUAGE C STRICT PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION vectron.report(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vectron.report(text) TO pg_monitor;

CREATE VIEW vectron.workers AS
	SELECT w.store, w.endpoint, w.state, w.last_heartbeat_ms, w.shards, w.records, w.bytes,
		   w.disk_free, w.memory, w.version, w.leaders, w.role, w.labels
	FROM pg_catalog.json_to_recordset(vectron.report('workers')::json -> 'workers') AS
		w(store numeric, endpoint text, state text, last_heartbeat_ms bigint, shards bigint,
		  records bigint, bytes bigint, disk_free bigint, memory bigint, version text,
		  leaders bigint, role text, labels text);
COMMENT ON VIEW vectron.workers IS 'workers known to the placement driver';

CREATE VIEW vectron.pds AS
	SELECT p.id, p.endpoint, p.role, p.state, p.match
	FROM pg_catalog.json_to_recordset(vectron.report('pds')::json -> 'pds') AS
		p(id numeric, endpoint text, role text, state text, match bigint);
COMMENT ON VIEW vectron.pds IS 'the placement drivers, which of them leads, and how much of its log each has';

CREATE VIEW vectron.shards AS
	SELECT s.shard, s.generation, s.label AS index, s.first, s.last, s.store, s.endpoint, s.role,
		   s.state, s.term, s.applied, s.records, s.unindexed, s.bytes, s.replica, s.match,
		   CASE WHEN s.ef_95 OPERATOR(pg_catalog.>) 0 THEN s.ef_95 END AS ef_95,
		   CASE WHEN s.ef_99 OPERATOR(pg_catalog.>) 0 THEN s.ef_99 END AS ef_99,
		   CASE WHEN s.verified_us OPERATOR(pg_catalog.>) 0
				THEN pg_catalog.to_timestamp(s.verified_us OPERATOR(pg_catalog./) 1000000.0) END AS verified, s.verdict
	FROM pg_catalog.json_to_recordset(vectron.report('shards')::json -> 'shards') AS
		s(shard numeric, generation text, label text, first numeric, last numeric, store numeric,
		  endpoint text, role text, state text, term bigint, applied bigint, records bigint,
		  unindexed bigint, bytes bigint, replica numeric, match bigint, ef_95 bigint, ef_99 bigint,
		  verified_us bigint, verdict text);
COMMENT ON VIEW vectron.shards IS 'replicas of shards, the hash interval each covers, where it is and how far';

CREATE VIEW vectron.stat_shards AS
	SELECT s.shard, s.generation, s.label AS index, s.store, s.role, s.passes, s.exact_passes, s.distances,
		   s.hot_distances, s.refined, s.hops, s.asked, s.walk_us, s.hot_us, s.refine_us, s.exact_us, s.filter_us
	FROM pg_catalog.json_to_recordset(vectron.report('shards')::json -> 'shards') AS
		s(shard numeric, generation text, label text, store numeric, role text, passes bigint,
		  exact_passes bigint, distances bigint, hot_distances bigint, refined bigint, hops bigint,
		  asked bigint, walk_us bigint, hot_us bigint, refine_us bigint, exact_us bigint, filter_us bigint);
COMMENT ON VIEW vectron.stat_shards IS 'what searches have cost in each replica since its worker has loaded it';

CREATE VIEW vectron.operators AS
	SELECT o.shard, o.generation, o.label AS index, o.kind, o.why, o.step, o.from_store, o.from_replica,
		   o.to_store, o.to_replica, o.behind,
		   pg_catalog.make_interval(secs => o.since_ms OPERATOR(pg_catalog./) 1000.0) AS since,
		   pg_catalog.make_interval(secs => o.step_since_ms OPERATOR(pg_catalog./) 1000.0) AS step_since
	FROM pg_catalog.json_to_recordset(vectron.report('operators')::json -> 'operators') AS
		o(shard numeric, generation text, label text, kind text, why text, step text, from_store numeric,
		  from_replica numeric, to_store numeric, to_replica numeric, behind bigint, since_ms double precision,
		  step_since_ms double precision);
COMMENT ON VIEW vectron.operators IS 'what is under way with replicas, why, and how far it is';

CREATE VIEW vectron.health AS
	WITH report AS MATERIALIZED (
		SELECT vectron.report('check')::json AS r
	)
	SELECT 'critical' AS severity, 'unreachable' AS finding, 'placement driver' AS subject, r ->> 'message' AS what,
		   'start it, or more than half of them: until then nothing is created or repaired' AS advice
	FROM report WHERE (r ->> 'status')::integer OPERATOR(pg_catalog.<>) 0
	UNION ALL
	SELECT f.severity, f.finding, f.subject, f.what, f.advice
	FROM report, pg_catalog.json_to_recordset(r -> 'findings') AS
		f(severity text, finding text, subject text, what text, advice text);
COMMENT ON VIEW vectron.health IS 'what is wrong with the cluster and what to do about it; no row: nothing';

CREATE VIEW vectron.indexes AS
	WITH report AS MATERIALIZED (
		SELECT vectron.report('collections')::json AS r
	), collections AS (
		SELECT c.*
		FROM report, pg_catalog.json_to_recordset(r -> 'collections') AS
			c(generation text, state text, nshards integer, under_replicated boolean,
			  records bigint, unindexed bigint, bytes bigint)
	)
	SELECT i.oid::regclass AS index, m.state,
		   CASE WHEN (r ->> 'status')::integer OPERATOR(pg_catalog.<>) 0 THEN 'unreachable: ' || (r ->> 'message')
				WHEN m.state OPERATOR(pg_catalog.=) ANY ('{empty,not built}') THEN 'not needed yet'
				WHEN m.state OPERATOR(pg_catalog.=) 'locked' THEN 'not known while the index is locked'
				ELSE coalesce(c.state, 'unknown to the cluster') END AS cluster_state,
		   m.generation, m.dimensions, m.m, m.ef_construction, m.quantization, c.nshards AS shards,
		   c.under_replicated, c.records, c.unindexed, c.bytes, m.stale_since, m.stale_reason,
		   coalesce(m.unreachable_since, CASE WHEN (r ->> 'status')::integer OPERATOR(pg_catalog.<>) 0
				THEN pg_catalog.now() END) AS unreachable_since,
		   pg_catalog.age(t.relfrozenxid) AS table_xid_age
	FROM pg_catalog.pg_class i
		JOIN pg_catalog.pg_am a ON a.oid OPERATOR(pg_catalog.=) i.relam AND a.amname OPERATOR(pg_catalog.=) 'vectron'
		JOIN pg_catalog.pg_index x ON x.indexrelid OPERATOR(pg_catalog.=) i.oid
		JOIN pg_catalog.pg_class t ON t.oid OPERATOR(pg_catalog.=) x.indrelid
		CROSS JOIN report
		CROSS JOIN LATERAL vectron.index_meta(i.oid::regclass) m
		LEFT JOIN collections c ON c.generation OPERATOR(pg_catalog.=) m.generation
	WHERE i.relkind OPERATOR(pg_catalog.=) 'i';
COMMENT ON VIEW vectron.indexes IS 'vectron indexes of this database, their state here and in the cluster';
GRANT SELECT ON vectron.workers, vectron.pds, vectron.shards, vectron.stat_shards, vectron.operators, vectron.health,
	vectron.indexes TO pg_monitor;

-- Compare an index with its table; online, for the table's owner.
CREATE FUNCTION vectron.check_index(index regclass,
		OUT entries bigint, OUT tuples bigint, OUT missing bigint, OUT extra bigint, OUT wrong bigint,
		OUT first_missing tid, OUT first_extra tid, OUT first_wrong tid)
	AS 'MODULE_PATHNAME', 'vectron_check_index' LANGUAGE C STRICT;
COMMENT ON FUNCTION vectron.check_index(regclass) IS
	'missing: visible rows without entry; extra: entries without line pointer; wrong: entries with another vector than their row';

-- What scans of vectron indexes did since the server's start; needs vectron in
-- shared_preload_libraries.
CREATE FUNCTION vectron.stat_search(
		OUT scans bigint, OUT asked bigint, OUT batches bigint, OUT exact_batches bigint,
		OUT distances bigint, OUT rows bigint, OUT late bigint, OUT skipped bigint,
		OUT ended_early bigint, OUT by_leader bigint, OUT by_follower bigint, OUT behind bigint,
		OUT hedged bigint, OUT hedges_won bigint)
	AS 'MODULE_PATHNAME', 'vectron_stat_search' LANGUAGE C STRICT PARALLEL SAFE;
REVOKE ALL ON FUNCTION vectron.stat_search() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vectron.stat_search() TO pg_monitor;
CREATE VIEW vectron.stat_search AS SELECT * FROM vectron.stat_search();
COMMENT ON VIEW vectron.stat_search IS 'what scans of vectron indexes did since the start of the server';
GRANT SELECT ON vectron.stat_search TO pg_monitor;
CREATE FUNCTION vectron.stat_search_reset() RETURNS void
	AS 'MODULE_PATHNAME', 'vectron_stat_search_reset' LANGUAGE C STRICT PARALLEL SAFE;
REVOKE ALL ON FUNCTION vectron.stat_search_reset() FROM PUBLIC;

-- Bytes the cluster uses for an index; NULL when it cannot be asked.
CREATE FUNCTION vectron.index_size(index regclass) RETURNS bigint
	LANGUAGE sql STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$ SELECT coalesce(bytes, 0) FROM vectron.indexes i WHERE i.index = index_size.index $$;

---------------------------------------------------------------------------
-- What dropped indexes leave in the cluster
---------------------------------------------------------------------------

-- One look for collections of this database, and of databases that are gone,
-- that no index needs.  The background does the same every sweep_interval.
CREATE FUNCTION vectron.sweep(OUT generation text, OUT index text, OUT outcome text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'vectron_sweep' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.sweep() FROM PUBLIC;
COMMENT ON FUNCTION vectron.sweep() IS
	'noted: unused at a first look; dropped: unused again vectron.sweep_interval later';

-- Everything the cluster holds, of whichever server; what is hidden can be
-- brought back by its own server.
CREATE VIEW vectron.collections AS
	SELECT c.generation, c.label AS index, c.state, c.owner ->> 'system' AS system_identifier,
		   c.owner ->> 'incarnation' AS incarnation, (c.owner ->> 'database')::oid AS database,
		   c.nshards AS shards, c.records, c.bytes,
		   pg_catalog.to_timestamp(c.created_us OPERATOR(pg_catalog./) 1000000.0) AS created,
		   CASE WHEN c.dropped_us OPERATOR(pg_catalog.>) 0
				THEN pg_catalog.to_timestamp(c.dropped_us OPERATOR(pg_catalog./) 1000000.0) END AS dropped
	FROM pg_catalog.json_to_recordset(vectron.report('collections')::json -> 'collections') AS
		c(generation text, label text, state text, owner json, nshards integer, records bigint,
		  bytes bigint, created_us bigint, dropped_us bigint);
COMMENT ON VIEW vectron.collections IS 'what the cluster holds, of this server and others, dropped or not';
GRANT SELECT ON vectron.collections TO pg_monitor;

-- Empty a worker before it leaves for good.
CREATE FUNCTION vectron.drain_worker(store numeric) RETURNS void
	AS 'MODULE_PATHNAME', 'vectron_drain_worker' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.drain_worker(numeric) FROM PUBLIC;
COMMENT ON FUNCTION vectron.drain_worker(numeric) IS 'moves the replicas of a worker to others, so that it can be stopped for good';
CREATE FUNCTION vectron.undrain_worker(store numeric) RETURNS void
	AS 'MODULE_PATHNAME', 'vectron_undrain_worker' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.undrain_worker(numeric) FROM PUBLIC;
COMMENT ON FUNCTION vectron.undrain_worker(numeric) IS 'lets a drained worker take replicas again';

-- A worker that is gone for good and holds nothing; it can never come back.
CREATE FUNCTION vectron.forget_worker(store numeric) RETURNS void
	AS 'MODULE_PATHNAME', 'vectron_forget_worker' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.forget_worker(numeric) FROM PUBLIC;
COMMENT ON FUNCTION vectron.forget_worker(numeric) IS 'removes a worker that is down and empty for good: its data directory can never come back';

CREATE FUNCTION vectron.set_replicas(index regclass, replicas integer) RETURNS void
	AS 'MODULE_PATHNAME', 'vectron_set_replicas' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.set_replicas(regclass, integer) FROM PUBLIC;
COMMENT ON FUNCTION vectron.set_replicas(regclass, integer) IS
	'how many copies each shard of an index is to have, until it is rebuilt; vectron.operators shows how they come';

-- Compare the replicas of an index's shards; vectron.shards shows what came of it.
CREATE FUNCTION vectron.verify(index regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'vectron_verify' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.verify(regclass) FROM PUBLIC;
COMMENT ON FUNCTION vectron.verify(regclass) IS
	'has the replicas of an index''s shards compared; one that differs is replaced';

CREATE FUNCTION vectron.move_shard(shard numeric, from_store numeric, to_store numeric) RETURNS void
	AS 'MODULE_PATHNAME', 'vectron_move_shard' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.move_shard(numeric, numeric, numeric) FROM PUBLIC;
COMMENT ON FUNCTION vectron.move_shard(numeric, numeric, numeric) IS
	'moves a replica of a shard from one worker to another; vectron.operators shows how far it is';

CREATE FUNCTION vectron.transfer_leader(shard numeric, store numeric) RETURNS void
	AS 'MODULE_PATHNAME', 'vectron_transfer_leader' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.transfer_leader(numeric, numeric) FROM PUBLIC;
COMMENT ON FUNCTION vectron.transfer_leader(numeric, numeric) IS 'has the replica on a worker lead its shard';

CREATE FUNCTION vectron.cancel_operator(shard numeric) RETURNS void
	AS 'MODULE_PATHNAME', 'vectron_cancel_operator' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.cancel_operator(numeric) FROM PUBLIC;
COMMENT ON FUNCTION vectron.cancel_operator(numeric) IS
	'ends the change of replicas under way in a shard; what is still needed is begun anew';

-- Bring a dropped generation back while the cluster still keeps its data.
CREATE FUNCTION vectron.undrop(generation text) RETURNS void
	AS 'MODULE_PATHNAME', 'vectron_undrop' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.undrop(text) FROM PUBLIC;

-- Drop everything of another incarnation of this server: of its life before a
-- promotion or a restored backup, or of a copy.  Only when that is gone for good.
CREATE FUNCTION vectron.retire(incarnation text) RETURNS bigint
	AS 'MODULE_PATHNAME', 'vectron_retire' LANGUAGE C STRICT;
REVOKE ALL ON FUNCTION vectron.retire(text) FROM PUBLIC;
