SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2,3]'::vector, '[3,5,7]']) v;
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2,3]'::vector, '[3,5,7]', NULL]) v;
SELECT avg(v), sum(v) FROM unnest(ARRAY[]::vector[]) v;
SELECT avg(v), sum(v) FROM unnest(ARRAY[NULL]::vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]'::vector, '[3]']) v;
SELECT sum(v) FROM unnest(ARRAY['[1,2]'::vector, '[3]']) v;
SELECT avg(v) FROM unnest(ARRAY['[3e38]'::vector, '[3e38]']) v;
SELECT sum(v) FROM unnest(ARRAY['[3e38]'::vector, '[3e38]']) v;
SELECT vector_avg('{}');
SELECT vector_avg('{0}'), vector_avg('{2,4,6}');
SELECT vector_accum('{1,2}', '[1,2]');
SELECT vector_accum('{NULL}', '[1,2]');
SELECT vector_combine('{0}', '{2,3}'), vector_combine('{2,3}', '{0}'), vector_combine('{1,2}', '{2,3}');
SELECT vector_combine('{1,2}', '{2,3,4}');
-- states that no aggregate makes
SELECT vector_avg('{1}');
SELECT vector_avg(array_fill(1::float8, ARRAY[16002]));
SELECT vector_avg(array_fill(1::float8, ARRAY[40001]));
SELECT vector_avg('{1,NaN}');
SELECT vector_avg('{1,1e300}');
SELECT vector_avg('{{1,2}}');
SELECT vector_accum('{}', '[1]');
SELECT vector_accum('{0,1}', '[1,2]');
SELECT vector_accum('{1,1e308}', '[3e38]'), vector_accum('{0}', '[1,-0]'), vector_accum('[0:1]={1,2}', '[1]');
SELECT vector_combine('{0}', '{0}'), vector_combine('{0,5}', '{1,2}'), vector_combine('{1}', '{1,2}'), vector_combine('[0:1]={1,2}', '{0}');
SELECT vector_combine('{1,1e308}', '{1,1e308}');
SELECT vector_combine('{{1,2}}', '{1,2}');
SELECT vector_combine('{1,2}', '{}');
SELECT vector_combine('{0}', array_fill(1::float8, ARRAY[16002]));
SELECT vector_combine(array_fill(1::float8, ARRAY[16002]), array_fill(1::float8, ARRAY[16002]));
SELECT vector_avg(vector_combine(array_fill(1::float8, ARRAY[16001]), '{0}')) = array_fill(1::real, ARRAY[16000])::vector;
-- grouped, filtered, as window, over a sum in double precision
SELECT n % 2 AS odd, avg(v), sum(v), avg(v) FILTER (WHERE n > 3) FROM
	(SELECT n, ARRAY[n, -n]::vector v FROM generate_series(1, 4) n) t GROUP BY 1 ORDER BY 1;
SELECT n, sum(v) OVER (ORDER BY n), avg(v) OVER (ORDER BY n ROWS 1 PRECEDING) FROM
	(SELECT n, ARRAY[n]::vector v FROM generate_series(1, 4) n) t ORDER BY n;
SELECT avg(v) FROM unnest(ARRAY['[16777216]', '[1]', '[1]', '[16777214]']::vector[]) v;
-- in parallel
CREATE TABLE t (v vector(2)) WITH (parallel_workers = 2);
INSERT INTO t SELECT ARRAY[n, n % 7] FROM generate_series(1, 1000) n;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT avg(v) FROM t;
SELECT avg(v), sum(v) FROM t;
-- some workers see no row, and then no worker sees one
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM t WHERE vector_norm(v) < 2;
SELECT avg(v), sum(v) FROM t WHERE vector_norm(v) < 2;
SELECT avg(v), sum(v) FROM t WHERE vector_norm(v) < 1;
DROP TABLE t;
