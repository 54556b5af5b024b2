-- pgvector's names: the access methods hnsw and ivfflat, their options and settings
SELECT amname, opcname, opcdefault FROM pg_opclass JOIN pg_am a ON a.oid = opcmethod
	WHERE amname IN ('hnsw', 'ivfflat') ORDER BY 1, 2;
SELECT opcname, amname FROM pg_opclass JOIN pg_am a ON a.oid = opcmethod
	WHERE amname IN ('hnsw', 'ivfflat') AND NOT amvalidate(pg_opclass.oid);
CREATE TABLE t (id int, embedding vector(3), half halfvec(3));
INSERT INTO t SELECT n, ARRAY[n, n % 7, 1], ARRAY[n, n % 7, 1] FROM generate_series(1, 300) n;
-- as documents of pgvector have it
CREATE INDEX t_hnsw ON t USING hnsw (embedding vector_l2_ops) WITH (m = 16, ef_construction = 64);
CREATE INDEX t_ivfflat ON t USING ivfflat (embedding vector_cosine_ops) WITH (lists = 100);
CREATE INDEX t_plain ON t USING ivfflat (embedding);
CREATE INDEX t_half ON t USING hnsw (half halfvec_l1_ops);
CREATE INDEX t_expression ON t USING hnsw ((embedding::halfvec(3)) halfvec_ip_ops) WHERE id > 100;
SELECT indexdef FROM pg_indexes WHERE tablename = 't' ORDER BY 1;
-- lists are spoken of once
CREATE INDEX t_again ON t USING ivfflat (embedding vector_ip_ops) WITH (lists = 32768, m = 8, quantization = none);
DROP INDEX t_again;
CREATE INDEX ON t USING hnsw (embedding);
CREATE INDEX ON t USING hnsw (half);
CREATE INDEX ON t USING ivfflat (half);
CREATE INDEX ON t USING ivfflat (embedding vector_l1_ops);
CREATE INDEX ON t USING hnsw (embedding vector_l2_ops, id);
CREATE UNIQUE INDEX ON t USING hnsw (embedding vector_l2_ops);
CREATE INDEX ON t USING hnsw (embedding vector_l2_ops) WITH (m = 1);
CREATE INDEX ON t USING hnsw (embedding vector_l2_ops) WITH (m = 101);
CREATE INDEX ON t USING hnsw (embedding vector_l2_ops) WITH (ef_construction = 3);
CREATE INDEX ON t USING hnsw (embedding vector_l2_ops) WITH (ef_construction = 1001);
CREATE INDEX ON t USING hnsw (embedding vector_l2_ops) WITH (m = 16, ef_construction = 31);
CREATE INDEX ON t USING hnsw (embedding vector_l2_ops) WITH (lists = 10);
CREATE INDEX ON t USING ivfflat (embedding) WITH (lists = 0);
CREATE INDEX ON t USING ivfflat (embedding) WITH (lists = 32769);
-- they are indexes of ours wherever one asks
SET enable_seqscan = off;
SET vectron.verify_scan = on;
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY embedding <-> '[20.2,6,1]' LIMIT 2;
SELECT id FROM t ORDER BY embedding <-> '[20.2,6,1]' LIMIT 2;
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY embedding <=> '[20.2,6,1]' LIMIT 2;
SELECT id FROM t ORDER BY embedding <=> '[20.2,6,1]' LIMIT 2;
SELECT id FROM t ORDER BY half <+> '[20.2,6,1]' LIMIT 2;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE id > 100 ORDER BY embedding::halfvec(3) <#> '[20.2,6,1]' LIMIT 2;
SELECT id FROM t WHERE id > 100 ORDER BY embedding::halfvec(3) <#> '[20.2,6,1]' LIMIT 2;
-- (a distance that nobody reads is not computed for them either)
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM t ORDER BY embedding <-> '[20.2,6,1]' LIMIT 2;
DELETE FROM t WHERE id <= 20;
VACUUM t;
INSERT INTO t VALUES (400, '[20,6,1]', '[20,6,1]');
UPDATE t SET embedding = '[9,9,9]' WHERE id = 300;
REINDEX INDEX t_plain;
SELECT i, (vectron.check_index(i)).* FROM unnest('{t_hnsw,t_ivfflat,t_plain,t_half,t_expression}'::regclass[]) i;
SELECT index, state, dimensions, m, ef_construction, quantization FROM vectron.indexes WHERE index::text ~ '^t_' ORDER BY index::text;
SELECT (vectron.index_meta('t_ivfflat')).state, vectron.index_size('t_hnsw') >= 0 AS sized;
SELECT count(*) AS swept FROM vectron.sweep() s JOIN vectron.indexes i USING (generation);
BEGIN; SELECT id FROM t ORDER BY embedding <-> '[20,6,1]' LIMIT 1; TRUNCATE t; SELECT id FROM t ORDER BY embedding <-> '[20,6,1]' LIMIT 1; ROLLBACK;
SELECT id FROM t ORDER BY embedding <-> '[20,6,1]' LIMIT 1;
DROP INDEX t_hnsw, t_ivfflat, t_plain, t_half, t_expression;

-- settings: their values
SET hnsw.ef_search = 0;
SET hnsw.ef_search = 1001;
SET hnsw.iterative_scan = on;
SET hnsw.max_scan_tuples = 0;
SET hnsw.scan_mem_multiplier = 0.5;
SET hnsw.scan_mem_multiplier = 1001;
SET hnsw.nonsense = 1;
SET ivfflat.probes = 0;
SET ivfflat.probes = 32769;
SET ivfflat.iterative_scan = strict_order;
SET ivfflat.max_probes = 0;
SET ivfflat.nonsense = 1;
SELECT name, setting, min_val, max_val, enumvals FROM pg_settings WHERE name ~ '^(hnsw|ivfflat)\.' ORDER BY 1;
-- and what they do: the planner counts on the candidates that a search keeps
CREATE TABLE s (id int, v vector(2));
INSERT INTO s SELECT n, ARRAY[n, 0] FROM generate_series(1, 3000) n;
CREATE INDEX s_v ON s USING hnsw (v vector_l2_ops);
ANALYZE s;
CREATE FUNCTION startup_cost() RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE $q$EXPLAIN (FORMAT json) SELECT id FROM s ORDER BY v <-> '[1,1]' LIMIT 1$q$ INTO plan;
	RETURN plan -> 0 -> 'Plan' ->> 'Startup Cost';
END $$;
CREATE TABLE costs AS SELECT 0 AS ef, 0::numeric AS cost LIMIT 0;
DO $$ DECLARE n int; BEGIN
	FOREACH n IN ARRAY '{40,100,200,300,400}'::int[] LOOP
		PERFORM set_config('vectron.ef_search', n::text, true);
		INSERT INTO costs VALUES (n, startup_cost());
	END LOOP;
END $$;
CREATE FUNCTION kept() RETURNS int LANGUAGE sql AS $$ SELECT ef FROM costs WHERE cost = startup_cost() $$;
SELECT count(DISTINCT cost) FROM costs;
SHOW hnsw.ef_search;
SELECT kept() AS nothing_set;
SET hnsw.ef_search = 300;
SELECT kept() AS theirs;
SET vectron.ef_search = 200;
SELECT kept() AS both_here;
RESET vectron.ef_search;
BEGIN; SET LOCAL hnsw.ef_search = 400; SELECT kept() AS for_now; ROLLBACK;
SELECT kept() AS as_before;
RESET hnsw.ef_search;
-- in a session that has not met an index yet, and for a database
SELECT current_database() AS db \gset
ALTER DATABASE :db SET vectron.ef_search = 200;
\c
SET enable_seqscan = off;
SET hnsw.ef_search = 400;
SELECT kept() AS closer;
RESET hnsw.ef_search;
SELECT kept() AS the_databases;
ALTER DATABASE :db RESET vectron.ef_search;
ALTER DATABASE :db SET hnsw.ef_search = 300;
\c
SET enable_seqscan = off;
SELECT kept() AS the_databases;
SET vectron.ef_search = 100;
SELECT kept() AS closer;
ALTER DATABASE :db RESET hnsw.ef_search;
\c
SET enable_seqscan = off;
SET hnsw.ef_search = 5000;
SET ivfflat.nonsense = 1;
SELECT kept() AS no_such_value;
SHOW hnsw.ef_search;

-- a scan goes on in every mode, and strict_order is strict
CREATE TABLE m (id int, v vector(24));
INSERT INTO m SELECT n, (SELECT array_agg(sin(n * 12.9898 + k * 78.233) * 43758.5453 - floor(sin(n * 12.9898 + k * 78.233) * 43758.5453) ORDER BY k)::vector(24)
	FROM generate_series(1, 24) k) FROM generate_series(1, 1500) n;
CREATE INDEX m_v ON m USING hnsw (v vector_l2_ops) WITH (m = 4, ef_construction = 16);
CREATE VIEW walk AS SELECT count(*), count(*) FILTER (WHERE d < before) AS late FROM
	(SELECT d, lag(d) OVER () AS before FROM (SELECT v <-> (SELECT v FROM m WHERE id = 7) AS d FROM m
		ORDER BY v <-> (SELECT v FROM m WHERE id = 7) LIMIT 1500) s) s;
SET enable_seqscan = off;
SET enable_sort = off;
SET hnsw.ef_search = 1;
SET hnsw.max_scan_tuples = 1;
SELECT count, late > 0 AS some_late FROM walk;
SET hnsw.iterative_scan = relaxed_order;
SELECT count, late > 0 AS some_late FROM walk;
SET hnsw.iterative_scan = strict_order;
SELECT count < 1500 AS fewer, count > 0 AS some, late FROM walk;
SET vectron.strict_order = off;
SELECT count, late > 0 AS some_late FROM walk;
DROP VIEW walk;
DROP TABLE t, s, m, costs;
DROP FUNCTION kept, startup_cost;
