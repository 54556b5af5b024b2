CREATE TABLE t (v vector(3));
INSERT INTO t VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL), ('[1,2,3]');
CREATE INDEX ON t (v);
SET enable_seqscan = off;
SELECT * FROM t WHERE v = '[1,2,3]';
SELECT * FROM t WHERE v > '[1,1,0]' ORDER BY v DESC;
SELECT * FROM t ORDER BY v LIMIT 2;
SELECT DISTINCT v FROM t ORDER BY v;
SELECT v, count(*) FROM t GROUP BY v ORDER BY v;
CREATE UNIQUE INDEX ON t (v);
SELECT a.v FROM t a JOIN t b USING (v) WHERE a.v < '[1,2,0]' ORDER BY 1;
DROP TABLE t;
-- the index answers; a duplicate is refused, or skipped when asked
CREATE TABLE t (v vector(3) PRIMARY KEY, n int);
INSERT INTO t VALUES ('[1,2,3]', 1), ('[1,2,4]', 2), ('[-1,0,0]', 3);
INSERT INTO t VALUES ('[1,2,3]', 4);
INSERT INTO t VALUES ('[1,2,3]', 5) ON CONFLICT DO NOTHING;
INSERT INTO t VALUES ('[1,2,3]', 6) ON CONFLICT (v) DO UPDATE SET n = EXCLUDED.n;
INSERT INTO t VALUES ('[-0,0,0]', 7), ('[0,0,0]', 8);
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT n FROM t WHERE v >= '[1,2,3]' ORDER BY v;
SELECT n FROM t WHERE v >= '[1,2,3]' ORDER BY v;
SELECT n FROM t WHERE v IN ('[1,2,4]', '[5,5,5]') OR v = ANY (ARRAY['[-1,0,0]'::vector]) ORDER BY v;
DROP TABLE t;
-- sorting many, in memory and on disk; shorter ones first where they agree
SET work_mem = '64kB';
SELECT count(*), count(*) FILTER (WHERE v < before) AS wrong FROM (
	SELECT v, lag(v) OVER (ORDER BY v) AS before FROM (
		SELECT ARRAY[n * 7919 % 101, n % 3, n]::vector AS v FROM generate_series(1, 5000) n) x) y;
RESET work_mem;
SELECT v FROM unnest(ARRAY['[2]', '[1,2]', '[1]', '[1,-1,5]', '[1,-1]', NULL, '[-3,9]']::vector[]) v ORDER BY v DESC NULLS LAST;
-- merge, never hash: 0 and -0 are equal but not the same bytes
CREATE TABLE t (v vector(3));
CREATE INDEX ON t USING hash (v);
EXPLAIN (COSTS OFF) SELECT v FROM t GROUP BY v;
SELECT '[0]'::vector = '[-0]', hashtext('x') IS NOT NULL AND count(*) = 0 AS no_hash FROM pg_amop
	WHERE amoplefttype = 'vector'::regtype AND amopmethod = (SELECT oid FROM pg_am WHERE amname = 'hash');
SELECT opcname, opcdefault, amname FROM pg_opclass JOIN pg_am a ON a.oid = opcmethod
	WHERE opcintype = 'vector'::regtype AND amname IN ('btree', 'hash') ORDER BY 1, 3;
DROP TABLE t;
