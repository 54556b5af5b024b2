-- an index by each operator class gives what the exact scan gives
SET vectron.verify_scan = on;
CREATE TABLE items (id int PRIMARY KEY, tenant int, v vector(8));
CREATE FUNCTION some_vector(n int) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$ SELECT array_agg(((n * 7919 + d * 104729 + (n * d) % 31) % 1009) / 100.0 - 5 ORDER BY d)::vector(8)
	   FROM generate_series(1, 8) d $$;
INSERT INTO items SELECT n, n % 5, some_vector(n) FROM generate_series(1, 500) n;
CREATE INDEX items_l2 ON items USING vectron (v vector_l2_ops);
CREATE INDEX items_ip ON items USING vectron (v vector_ip_ops) WITH (m = 8, ef_construction = 100, shards = 1);
CREATE INDEX items_cos ON items USING vectron (v vector_cosine_ops);
CREATE INDEX items_l1 ON items USING vectron (v vector_l1_ops) WITH (shards = 3);
SELECT index, state, cluster_state, dimensions, m, ef_construction, shards FROM vectron.indexes
	WHERE index::text <> 'items_l1' ORDER BY index::text;
SELECT (vectron.check_index(i)).* FROM unnest('{items_l2,items_ip,items_cos,items_l1}'::regclass[]) i;

SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <-> some_vector(1000) LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE tenant = 3 ORDER BY v <=> '[1,2,3,4,5,6,7,8]' LIMIT 5;

-- do the distances of the two plans differ, over several queries?  (rows at
-- equal distances come in either order)
CREATE FUNCTION differences(op text, how text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	q vector;
	a float8[];
	b float8[];
	n bigint := 0;
BEGIN
	FOR i IN 1001..1010 LOOP
		q := some_vector(i);
		SET LOCAL enable_indexscan = on;
		EXECUTE format('SELECT array_agg(d) FROM (SELECT v %s $1 AS d FROM items %s ORDER BY v %s $1 LIMIT 50) s', op, how, op) INTO a USING q;
		SET LOCAL enable_indexscan = off;
		SET LOCAL enable_seqscan = on;
		EXECUTE format('SELECT array_agg(d) FROM (SELECT v %s $1 AS d FROM items %s ORDER BY v %s $1 LIMIT 50) s', op, how, op) INTO b USING q;
		SET LOCAL enable_seqscan = off;
		IF a IS DISTINCT FROM b THEN n := n + 1; END IF;
	END LOOP;
	RETURN n;
END $$;
SELECT op, differences(op, '') AS plain, differences(op, 'WHERE tenant = 3') AS filtered
	FROM unnest('{<->,<#>,<=>,<+>}'::text[]) op;
-- a scan goes on until no row is left
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <-> some_vector(3) LIMIT 1000) s;
SET vectron.ef_search = 3;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <-> some_vector(3) LIMIT 1000) s;
SET vectron.max_scan_tuples = 7;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> some_vector(3) LIMIT 1000) s;
RESET vectron.max_scan_tuples;
RESET vectron.ef_search;

-- queries of all shapes
PREPARE near(vector, int) AS SELECT id FROM items ORDER BY v <-> $1 LIMIT $2;
EXECUTE near(some_vector(7), 1);
EXECUTE near(some_vector(8), 1);
SELECT i.id, n.id FROM (VALUES (11), (12)) i(id)
	CROSS JOIN LATERAL (SELECT id FROM items ORDER BY v <-> some_vector(i.id) LIMIT 1) n ORDER BY 1;
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> some_vector(20);
FETCH 1 FROM c;
INSERT INTO items VALUES (9001, 0, some_vector(20));
FETCH 1 FROM c;
MOVE FORWARD ALL IN c;
FETCH 1 FROM c;
ROLLBACK;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> NULL LIMIT 600) s;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <=> '[0,0,0,0,0,0,0,0]' LIMIT 600) s;
SELECT id FROM items ORDER BY v <-> '[1,2,3]' LIMIT 1;

-- own writes are seen at once, others' after their commit, undone ones never
BEGIN;
INSERT INTO items VALUES (1001, 0, '[50,50,50,50,50,50,50,50]');
SELECT id FROM items ORDER BY v <-> '[50,50,50,50,50,50,50,50]' LIMIT 1;
SAVEPOINT s;
INSERT INTO items VALUES (1002, 0, '[51,50,50,50,50,50,50,50]');
SELECT id FROM items ORDER BY v <-> '[51,50,50,50,50,50,50,50]' LIMIT 1;
ROLLBACK TO s;
SELECT id FROM items ORDER BY v <-> '[51,50,50,50,50,50,50,50]' LIMIT 1;
SAVEPOINT s2;
INSERT INTO items VALUES (1003, 0, '[52,50,50,50,50,50,50,50]');
RELEASE s2;
COMMIT;
SELECT id FROM items ORDER BY v <-> '[52,50,50,50,50,50,50,50]' LIMIT 2;
-- a failed statement in an exception block does not take outer rows with it
DO $$
BEGIN
	INSERT INTO items VALUES (1004, 0, '[60,0,0,0,0,0,0,0]');
	BEGIN
		INSERT INTO items VALUES (1005, 0, '[61,0,0,0,0,0,0,0]');
		INSERT INTO items VALUES (1004, 0, '[62,0,0,0,0,0,0,0]');
	EXCEPTION WHEN unique_violation THEN NULL;
	END;
END $$;
SELECT id FROM items ORDER BY v <-> '[61,0,0,0,0,0,0,0]' LIMIT 1;
INSERT INTO items VALUES (1004, 0, '[70,0,0,0,0,0,0,0]') ON CONFLICT DO NOTHING;
INSERT INTO items VALUES (1004, 0, '[70,0,0,0,0,0,0,0]') ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v;
SELECT id, v FROM items ORDER BY v <-> '[70,0,0,0,0,0,0,0]' LIMIT 1;
UPDATE items SET tenant = 99 WHERE id = 1004;
DELETE FROM items WHERE id = 1003;
SELECT id FROM items ORDER BY v <-> '[52,50,50,50,50,50,50,50]' LIMIT 1;
-- what is not indexed: NULL, and zero vectors under cosine distance
INSERT INTO items VALUES (1006, 0, NULL), (1007, 0, '[0,0,0,0,0,0,0,0]');
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <=> some_vector(1) LIMIT 2000) s;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> some_vector(1) LIMIT 2000) s;
SELECT (vectron.check_index(i)).missing, (vectron.check_index(i)).wrong FROM unnest('{items_l2,items_ip,items_cos,items_l1}'::regclass[]) i;

-- VACUUM, and TIDs used again
DELETE FROM items WHERE id % 2 = 0;
VACUUM items;
SELECT (vectron.check_index('items_l2')).*;
INSERT INTO items SELECT n, n % 5, some_vector(n) FROM generate_series(2000, 2300) n;
VACUUM items;
SELECT op, differences(op, '') AS plain FROM unnest('{<->,<#>,<=>,<+>}'::text[]) op;
SELECT (vectron.check_index(i)).missing, (vectron.check_index(i)).extra, (vectron.check_index(i)).wrong
	FROM unnest('{items_l2,items_ip,items_cos,items_l1}'::regclass[]) i;

-- new generations, and old ones that come back
BEGIN;
TRUNCATE items;
INSERT INTO items VALUES (1, 0, some_vector(1));
SELECT id FROM items ORDER BY v <-> some_vector(1) LIMIT 2;
ROLLBACK;
SELECT id FROM items ORDER BY v <-> some_vector(1) LIMIT 2;
BEGIN;
INSERT INTO items VALUES (3001, 0, '[80,0,0,0,0,0,0,0]');
SAVEPOINT s;
REINDEX INDEX items_l2;
INSERT INTO items VALUES (3002, 0, '[81,0,0,0,0,0,0,0]');
ROLLBACK TO s;
COMMIT;
SELECT id FROM items ORDER BY v <-> '[81,0,0,0,0,0,0,0]' LIMIT 1;
REINDEX TABLE items;
SELECT (vectron.check_index(i)).missing, (vectron.check_index(i)).extra, (vectron.check_index(i)).wrong
	FROM unnest('{items_l2,items_ip,items_cos,items_l1}'::regclass[]) i;
BEGIN;
INSERT INTO items VALUES (3003, 0, some_vector(3003));
DROP INDEX items_l1;
COMMIT;
TRUNCATE items;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> some_vector(1) LIMIT 5) s;
SELECT state FROM vectron.index_meta('items_l2');
INSERT INTO items VALUES (1, 0, some_vector(1));
SELECT state FROM vectron.index_meta('items_l2');
SELECT id FROM items ORDER BY v <-> some_vector(1) LIMIT 5;
DROP TABLE items;

-- partial and expression indexes, partitions
CREATE TABLE parts (id int, kind int, v vector(2)) PARTITION BY LIST (kind);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts2 PARTITION OF parts FOR VALUES IN (2);
CREATE INDEX ON parts USING vectron (v vector_l2_ops);
INSERT INTO parts SELECT n, 1 + n % 2, ARRAY[n, 0] FROM generate_series(1, 20) n;
EXPLAIN (COSTS OFF) SELECT id FROM parts ORDER BY v <-> '[7,0]' LIMIT 3;
SELECT id FROM parts ORDER BY v <-> '[7,0]' LIMIT 1;
DROP TABLE parts;
CREATE TABLE docs (id int, live boolean, a real[]);
INSERT INTO docs SELECT n, n % 2 = 0, ARRAY[n, n] FROM generate_series(1, 50) n;
CREATE INDEX docs_live ON docs USING vectron ((a::vector(2)) vector_l2_ops) WHERE live;
SELECT id FROM docs WHERE live ORDER BY a::vector(2) <-> '[9.1,9]' LIMIT 2;
INSERT INTO docs VALUES (51, true, '{9,9}'), (52, false, '{9,9}');
SELECT id FROM docs WHERE live ORDER BY a::vector(2) <-> '[9,9]' LIMIT 1;
SELECT (vectron.check_index('docs_live')).*;
DROP TABLE docs;
