-- a distance that is only ordered by, and that nothing above the index scan
-- looks at, is not computed
CREATE TABLE films (id int, v vector(3));
INSERT INTO films SELECT n, ARRAY[n % 7, n % 11, n % 13]::vector(3) FROM generate_series(1, 300) n;
CREATE INDEX films_v ON films USING vectron (v vector_l2_ops);
SET enable_seqscan = off;
SET enable_sort = off;

EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM films ORDER BY v <-> '[1,2,3]' LIMIT 3;
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM films WHERE id > 5 ORDER BY v <-> '[1,2,3]';
PREPARE nearest(vector) AS SELECT id FROM films ORDER BY v <-> $1 LIMIT 3 OFFSET 1;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (VERBOSE, COSTS OFF) EXECUTE nearest('[1,2,3]');

-- but where it is asked for, or something may look at it, it is
EXPLAIN (VERBOSE, COSTS OFF) SELECT id, v <-> '[1,2,3]' AS d FROM films ORDER BY d LIMIT 3;
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM films ORDER BY v <-> '[1,2,3]' FETCH FIRST 3 ROWS WITH TIES;
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM films ORDER BY v <-> '[1,2,3]' LIMIT 3 FOR UPDATE;
EXPLAIN (VERBOSE, COSTS OFF) SELECT count(*) FROM (SELECT id FROM films ORDER BY v <-> '[1,2,3]' LIMIT 3) s;

-- the rows are the same in each way
SELECT array_agg(id) AS ids FROM (SELECT id FROM films ORDER BY v <-> '[1,2,3]' LIMIT 40) s \gset by_subquery_
CREATE TABLE got AS SELECT id FROM films ORDER BY v <-> '[1,2,3]' LIMIT 40;
SELECT array_agg(id ORDER BY ctid) = :'by_subquery_ids' AS same FROM got;
SELECT array_agg(id ORDER BY n) = :'by_subquery_ids' AS same
	FROM (SELECT id, row_number() OVER () AS n FROM (SELECT id, v <-> '[1,2,3]' AS d FROM films ORDER BY d LIMIT 40) s) s;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM films ORDER BY v <-> '[1,2,3]';
FETCH 3 FROM c;
COMMIT;
EXECUTE nearest('[1,2,3]');
EXECUTE nearest('[1,2]');
DROP TABLE films, got;
