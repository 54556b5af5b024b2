-- when the planner takes the index, and that it may in every shape of query
SET vectron.verify_scan = on;
CREATE FUNCTION pt(n int) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$ SELECT ARRAY[(n * 7919) % 1009, (n * 104729) % 1013, n % 97]::vector(3) $$;
CREATE TABLE tiny (id int, v vector(3));
INSERT INTO tiny SELECT n, pt(n) FROM generate_series(1, 50) n;
CREATE INDEX ON tiny USING vectron (v vector_l2_ops) WITH (m = 4, ef_construction = 16);
CREATE TABLE big (id int PRIMARY KEY, tenant int, v vector(3));
INSERT INTO big SELECT n, n % 10, pt(n) FROM generate_series(1, 10000) n;
CREATE INDEX big_v ON big USING vectron (v vector_l2_ops) WITH (m = 8, ef_construction = 32);
CREATE INDEX big_tenant ON big (tenant);
ANALYZE tiny, big;

-- the index where it is cheaper, else not
EXPLAIN (COSTS OFF) SELECT id FROM tiny ORDER BY v <-> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM big ORDER BY v <-> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM big ORDER BY v <-> '[1,2,3]';
EXPLAIN (COSTS OFF) SELECT id FROM big WHERE tenant = 3 ORDER BY v <-> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM big WHERE id = 77 ORDER BY v <-> '[1,2,3]' LIMIT 10;
-- what the index cannot do
EXPLAIN (COSTS OFF) SELECT id FROM big ORDER BY v <-> '[1,2,3]' DESC LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM big ORDER BY v <=> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM big ORDER BY v <-> '[1,2,3]', v <-> '[4,5,6]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM big WHERE v IS NULL ORDER BY v <-> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT count(*) FROM big;
-- a second key: PostgreSQL 15 matches all keys to the index or none
EXPLAIN (COSTS OFF) SELECT id FROM big ORDER BY v <-> '[1,2,3]', id LIMIT 10;

EXPLAIN (COSTS OFF) SELECT t.id, n.id FROM tiny t, LATERAL (SELECT id FROM big ORDER BY v <-> t.v LIMIT 2) n WHERE t.id < 5;
EXPLAIN (COSTS OFF) SELECT b.id, t.id FROM big b JOIN tiny t USING (id) ORDER BY b.v <-> '[1,2,3]' LIMIT 3;
PREPARE near(vector, int) AS SELECT v <-> $1 FROM big ORDER BY v <-> $1 LIMIT $2;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE near('[1,2,3]', 3);

-- from here on a search visits every row, so its answer is the exact one: the
-- same rows by two plans?
SET vectron.ef_search = 10000;
SET enable_seqscan = off;
EXECUTE near(pt(21), 1);
EXECUTE near(NULL, 1);
SET plan_cache_mode = force_custom_plan;
EXECUTE near(pt(22), 1);
RESET plan_cache_mode;
EXECUTE near('[1,2]', 1);
DEALLOCATE near;
CREATE FUNCTION same(q text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	a text[];
	b text[];
BEGIN
	SET LOCAL enable_sort = off;
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_indexscan = on;
	EXECUTE 'SELECT array_agg(s::text) FROM (' || q || ') s' INTO a;
	SET LOCAL enable_sort = on;
	SET LOCAL enable_seqscan = on;
	SET LOCAL enable_indexscan = off;
	EXECUTE 'SELECT array_agg(s::text) FROM (' || q || ') s' INTO b;
	RETURN a IS NOT DISTINCT FROM b AND cardinality(a) > 0;
END $$;

-- joins: the index inside a nested loop, scanned again for every outer row
SELECT same('SELECT t.id, n.d FROM tiny t, LATERAL (SELECT v <-> t.v AS d FROM big ORDER BY d LIMIT 2) n WHERE t.id < 5 ORDER BY 1, 2');
SELECT same('SELECT t.id, n.d FROM tiny t LEFT JOIN LATERAL (SELECT v <-> t.v AS d FROM big WHERE tenant = t.id ORDER BY d LIMIT 2) n ON true WHERE t.id < 12 ORDER BY 1, 2');
SELECT same('SELECT b.v <-> ''[1,2,3]'' FROM big b JOIN tiny t USING (id) ORDER BY b.v <-> ''[1,2,3]'' LIMIT 3');
-- subqueries and CTEs
SELECT same('SELECT (SELECT min(d) FROM (SELECT v <-> t.v AS d FROM big WHERE id <> t.id ORDER BY d LIMIT 1) s) FROM tiny t ORDER BY t.id LIMIT 5');
SELECT same('WITH near AS MATERIALIZED (SELECT v <-> ''[5,5,5]'' AS d FROM big ORDER BY d LIMIT 7) SELECT d FROM near ORDER BY d DESC');
SELECT same('SELECT d FROM (SELECT tenant, v <-> ''[5,5,5]'' AS d FROM big ORDER BY d LIMIT 100) s WHERE tenant = 3 ORDER BY d');
WITH moved AS (UPDATE big SET tenant = 99 WHERE id IN (SELECT id FROM big ORDER BY v <-> '[5,5,5]' LIMIT 3) RETURNING id)
	SELECT count(*) FROM moved;
DELETE FROM big WHERE id = (SELECT id FROM big ORDER BY v <-> '[5,5,5]' LIMIT 1);
SELECT count(*) FROM (SELECT 1 FROM big ORDER BY v <-> '[5,5,5]' LIMIT 20000) s;
SELECT id = 7 FROM big WHERE EXISTS (SELECT 1 FROM tiny WHERE tiny.id = big.id) ORDER BY v <-> pt(7) LIMIT 1;
SELECT id FROM (SELECT id, v FROM big ORDER BY v <-> pt(11) LIMIT 1 FOR UPDATE) s;
-- union of two orders
(SELECT id FROM big ORDER BY v <-> pt(12) LIMIT 1) UNION ALL (SELECT id FROM big ORDER BY v <-> pt(13) LIMIT 1);

-- cursors: by steps, with hold, with scroll, two at once
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM big ORDER BY v <-> pt(31);
DECLARE b CURSOR FOR SELECT id FROM big ORDER BY v <-> pt(32);
FETCH 1 FROM a;
FETCH 1 FROM b;
MOVE FORWARD 900 IN a;
SAVEPOINT s;
FETCH 1 FROM b \gset
ROLLBACK TO s;
MOVE FORWARD ALL IN a;
MOVE FORWARD ALL IN b;
COMMIT;
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT id FROM big ORDER BY v <-> pt(33) LIMIT 500;
FETCH 1 FROM h;
INSERT INTO big VALUES (20001, 0, pt(33));
COMMIT;
MOVE FORWARD ALL IN h;
FETCH ABSOLUTE 1 FROM h;
CLOSE h;
BEGIN;
DECLARE s SCROLL CURSOR FOR SELECT id FROM big ORDER BY v <-> pt(34);
FETCH 3 FROM s \g /dev/null
FETCH BACKWARD 2 FROM s \g /dev/null
FETCH ABSOLUTE 1 FROM s;
FETCH ABSOLUTE 1200 FROM s \g /dev/null
FETCH FIRST FROM s;
COMMIT;
DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT id FROM big ORDER BY v <-> pt(35);
FETCH BACKWARD 1 FROM c;
CLOSE c;

-- partitions: the nearest of all by merging
CREATE TABLE p (id int, kind int, v vector(3)) PARTITION BY RANGE (kind);
CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (1);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (2);
CREATE TABLE p2 PARTITION OF p DEFAULT;
CREATE INDEX ON p USING vectron (v vector_l2_ops) WITH (m = 4, ef_construction = 16);
INSERT INTO p SELECT n, n % 4, pt(n) FROM generate_series(1, 400) n;
EXPLAIN (COSTS OFF) SELECT id FROM p ORDER BY v <-> '[1,2,3]' LIMIT 3;
EXPLAIN (COSTS OFF) SELECT id FROM p WHERE kind = 1 ORDER BY v <-> '[1,2,3]' LIMIT 3;
SELECT same('SELECT v <-> ''[100,200,3]'' AS d FROM p ORDER BY d LIMIT 50');
ALTER TABLE p DETACH PARTITION p1;
SELECT same('SELECT v <-> ''[100,200,3]'' AS d FROM p ORDER BY d LIMIT 50');
ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (1) TO (2);
UPDATE p SET kind = 0 WHERE kind = 1 AND id < 100;
SELECT same('SELECT v <-> ''[100,200,3]'' AS d FROM p WHERE kind = 0 ORDER BY d LIMIT 50');

-- searching often in one query leaves nothing behind
BEGIN;
DECLARE often NO SCROLL CURSOR FOR
	SELECT n.id FROM generate_series(1, 3000) g, LATERAL (SELECT id FROM big ORDER BY v <-> pt(g) LIMIT 1) n;
MOVE 100 FROM often;
SELECT sum(used_bytes) AS before FROM pg_backend_memory_contexts WHERE name = 'ExecutorState' \gset
MOVE 2000 FROM often;
SELECT sum(used_bytes) - :before < 200000 AS bounded FROM pg_backend_memory_contexts WHERE name = 'ExecutorState';
COMMIT;

-- parallel plans: entries of the own transaction are there for the workers too
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET force_parallel_mode = on;
BEGIN;
INSERT INTO p VALUES (1001, 1, '[900,900,900]');
EXPLAIN (COSTS OFF) SELECT id FROM p WHERE kind = 1 ORDER BY v <-> '[900,900,900]' LIMIT 1;
SELECT id FROM p WHERE kind = 1 ORDER BY v <-> '[900,900,900]' LIMIT 1;
ROLLBACK;
RESET force_parallel_mode;
SELECT id FROM p ORDER BY v <-> pt(5) LIMIT 1;
DROP TABLE p, big, tiny;
DROP FUNCTION same, pt;
