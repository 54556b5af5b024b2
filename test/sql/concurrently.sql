-- indexes built, rebuilt and dropped while the table is in use
CREATE TABLE con (id int PRIMARY KEY, kind int, v vector(4));
INSERT INTO con SELECT n, n % 3, ARRAY[n, n % 7, n % 11, 1] FROM generate_series(1, 300) n;
CREATE INDEX CONCURRENTLY con_v ON con USING vectron (v vector_l2_ops) WITH (shards = 2);
SELECT * FROM vectron.check_index('con_v');
CREATE INDEX CONCURRENTLY con_part ON con USING vectron (v vector_cosine_ops) WHERE kind = 1;
SELECT * FROM vectron.check_index('con_part');
CREATE INDEX CONCURRENTLY con_expr ON con USING vectron ((CASE WHEN kind = 2 THEN v END::vector(4)) vector_l1_ops);
SELECT * FROM vectron.check_index('con_expr');
SET enable_seqscan = off;
SET vectron.verify_scan = on;
EXPLAIN (COSTS OFF) SELECT id FROM con ORDER BY v <-> '[7,0,7,1]' LIMIT 3;
SELECT id FROM con ORDER BY v <-> '[7,0,7,1]' LIMIT 3;
INSERT INTO con VALUES (301, 1, '[-5,0,0,0]'), (302, 1, NULL);
DELETE FROM con WHERE id % 4 = 0;
UPDATE con SET kind = kind + 1 WHERE id % 5 = 0;
VACUUM con;

-- a new generation each time
CREATE TABLE con_before AS SELECT * FROM vectron.index_meta('con_v');
REINDEX INDEX CONCURRENTLY con_v;
SELECT a.generation <> b.generation AS other, a.state FROM vectron.index_meta('con_v') a, con_before b;
REINDEX TABLE CONCURRENTLY con;
SELECT (vectron.check_index(i)).* FROM unnest('{con_v,con_part,con_expr}'::regclass[]) i;
SELECT id FROM con ORDER BY v <-> '[-5,0,0,0]' LIMIT 1;

-- over an empty table nothing is asked of the cluster
CREATE TABLE con_none (v vector(2));
CREATE INDEX CONCURRENTLY con_none_v ON con_none USING vectron (v vector_l2_ops);
SELECT state FROM vectron.index_meta('con_none_v');
INSERT INTO con_none VALUES ('[1,1]');
SELECT * FROM con_none ORDER BY v <-> '[1,1]' LIMIT 1;

-- what fails leaves an index that is not valid, not used, and can go
INSERT INTO con VALUES (400, 9, '[1,2,3,4]');
CREATE INDEX CONCURRENTLY con_bad ON con USING vectron ((v::real[]::vector(3)) vector_l2_ops);
SELECT state FROM vectron.index_meta('con_bad');
SELECT index, state FROM vectron.indexes WHERE index = 'con_bad'::regclass;
SELECT vectron.check_index('con_bad');
INSERT INTO con VALUES (401, 9, '[1,2,3,5]');
VACUUM con;
DROP INDEX CONCURRENTLY con_bad;
SELECT id FROM con ORDER BY v <-> '[1,2,3,5]' LIMIT 2;
DROP INDEX CONCURRENTLY con_v;
EXPLAIN (COSTS OFF) SELECT id FROM con WHERE kind = 1 ORDER BY v <=> '[7,0,7,1]' LIMIT 3;
DROP TABLE con, con_none, con_before;
