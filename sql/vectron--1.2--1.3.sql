-- vectron 1.3: what else an application written for pgvector uses.
-- Run by ALTER EXTENSION, and by CREATE EXTENSION after 1.2; complain when it is not.
\echo Use "ALTER EXTENSION vectron UPDATE TO '1.3'" to load this file. \quit

-- Names that there is one of in a database.
DO $$
DECLARE
	taken text;
BEGIN
	SELECT amname INTO taken FROM pg_catalog.pg_am WHERE amname IN ('hnsw', 'ivfflat') ORDER BY 1 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'an access method named "%" already exists in this database', taken
			USING ERRCODE = 'duplicate_object',
				  HINT = 'vectron brings its own by pgvector''s names; drop the extension that has made this one.';
	END IF;
END
$$;

---------------------------------------------------------------------------
-- The access methods by pgvector's names
---------------------------------------------------------------------------

CREATE FUNCTION vectron_hnsw_handler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME' LANGUAGE C;
CREATE FUNCTION vectron_ivfflat_handler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME' LANGUAGE C;

CREATE ACCESS METHOD hnsw TYPE INDEX HANDLER vectron_hnsw_handler;
COMMENT ON ACCESS METHOD hnsw IS 'the access method vectron, by pgvector''s name';
CREATE ACCESS METHOD ivfflat TYPE INDEX HANDLER vectron_ivfflat_handler;
COMMENT ON ACCESS METHOD ivfflat IS 'the access method vectron, by pgvector''s name; lists have no effect';

CREATE OPERATOR CLASS vector_l2_ops
	FOR TYPE vector USING hnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_l2();
CREATE OPERATOR CLASS vector_ip_ops
	FOR TYPE vector USING hnsw AS
	OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_ip();
CREATE OPERATOR CLASS vector_cosine_ops
	FOR TYPE vector USING hnsw AS
	OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_cosine();
CREATE OPERATOR CLASS vector_l1_ops
	FOR TYPE vector USING hnsw AS
	OPERATOR 1 <+> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_l1();
CREATE OPERATOR CLASS halfvec_l2_ops
	FOR TYPE halfvec USING hnsw AS
	OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_half_l2();
CREATE OPERATOR CLASS halfvec_ip_ops
	FOR TYPE halfvec USING hnsw AS
	OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_half_ip();
CREATE OPERATOR CLASS halfvec_cosine_ops
	FOR TYPE halfvec USING hnsw AS
	OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_half_cosine();
CREATE OPERATOR CLASS halfvec_l1_ops
	FOR TYPE halfvec USING hnsw AS
	OPERATOR 1 <+> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_half_l1();

CREATE OPERATOR CLASS vector_l2_ops
	DEFAULT FOR TYPE vector USING ivfflat AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_l2();
CREATE OPERATOR CLASS vector_ip_ops
	FOR TYPE vector USING ivfflat AS
	OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_ip();
CREATE OPERATOR CLASS vector_cosine_ops
	FOR TYPE vector USING ivfflat AS
	OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_cosine();
CREATE OPERATOR CLASS halfvec_l2_ops
	FOR TYPE halfvec USING ivfflat AS
	OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_half_l2();
CREATE OPERATOR CLASS halfvec_ip_ops
	FOR TYPE halfvec USING ivfflat AS
	OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_half_ip();
CREATE OPERATOR CLASS halfvec_cosine_ops
	FOR TYPE halfvec USING ivfflat AS
	OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 vectron.metric_half_cosine();

-- Indexes of ours, whatever their access method is called.
CREATE OR REPLACE VIEW vectron.indexes AS
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
		JOIN pg_catalog.pg_am a ON a.oid OPERATOR(pg_catalog.=) i.relam AND a.amhandler OPERATOR(pg_catalog.=)
			ANY ('{@extschema@.vectron_handler,@extschema@.vectron_hnsw_handler,@extschema@.vectron_ivfflat_handler}'::regproc[])
		JOIN pg_catalog.pg_index x ON x.indexrelid OPERATOR(pg_catalog.=) i.oid
		JOIN pg_catalog.pg_class t ON t.oid OPERATOR(pg_catalog.=) x.indrelid
		CROSS JOIN report
		CROSS JOIN LATERAL vectron.index_meta(i.oid::regclass) m
		LEFT JOIN collections c ON c.generation OPERATOR(pg_catalog.=) m.generation
	WHERE i.relkind OPERATOR(pg_catalog.=) 'i';
