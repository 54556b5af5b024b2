-- columns beside the vector: conditions on them are evaluated by the workers, and
-- mean what PostgreSQL's operators mean
SET vectron.verify_scan = on;
SET vectron.ef_search = 10000;

-- what an index cannot be
CREATE TABLE r (id int, a int, n numeric, c char(3), m money, t text, v vector(2), w vector(2));
CREATE INDEX ON r USING vectron (a, v);
CREATE INDEX ON r USING vectron (v, w);
CREATE INDEX ON r USING vectron (v, n);
CREATE INDEX ON r USING vectron (v, c);
CREATE INDEX ON r USING vectron (v, a, id, a, id, a, id, a, id, a);
CREATE COLLATION nobody_minds (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE INDEX ON r USING vectron (v, t COLLATE nobody_minds);
CREATE OPERATOR CLASS money_ops FOR TYPE money USING vectron AS OPERATOR 3 =;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'money_ops' AND opcmethod = (SELECT oid FROM pg_am WHERE amname = 'vectron');
CREATE INDEX ON r USING vectron (v, m money_ops);
DROP OPERATOR FAMILY money_ops USING vectron;
CREATE INDEX r_v ON r USING vectron (v, t);
-- another collation than the index's is not its business
EXPLAIN (COSTS OFF) SELECT id FROM r WHERE t = 'x' COLLATE nobody_minds ORDER BY v <-> '[1,2]';
DROP TABLE r;
DROP COLLATION nobody_minds;
SELECT opcname, opcintype::regtype, amvalidate(oid) FROM pg_opclass
	WHERE opcmethod = (SELECT oid FROM pg_am WHERE amname = 'vectron') AND opcname !~ 'vec' ORDER BY 1;

-- hostile values of every type, in every combination of two rows in a while
CREATE TABLE types (family text, type text, col name, vals text[]);
INSERT INTO types VALUES
	('bool', 'bool', 'b', '{f,t}'),
	('char', '"char"', 'c', '{"",a,Z,~,é}'),
	('int', 'int2', 'i2', '{-32768,-1,0,1,32767}'),
	('int', 'int4', 'i4', '{-2147483648,-32769,0,1,2147483647}'),
	('int', 'int8', 'i8', '{-9223372036854775808,-2147483649,0,1,32768,9223372036854775807}'),
	('oid', 'oid', 'o', '{0,1,2147483648,4294967295}'),
	('float', 'float4', 'f4', '{-infinity,-1.1,-1e-45,-0,0,1e-45,1.1,infinity,NaN}'),
	('float', 'float8', 'f8', '{-infinity,-1.1,-5e-324,-0,0,1.100000023841858,1.1,1.7976931348623157e308,infinity,NaN}'),
	('date', 'date', 'd', '{-infinity,4713-01-01 BC,1999-12-31,2000-01-01,5874897-12-31,infinity}'),
	('date', 'timestamp', 'ts', '{-infinity,4713-01-01 00:00:00 BC,1999-12-31 23:59:59.999999,2000-01-01,2000-01-01 00:00:00.000001,294276-12-31 23:59:59.999999,infinity}'),
	('tz', 'timestamptz', 'tz', '{-infinity,1999-12-31 23:59:59.999999+00,2000-01-01 00:00:00+00,2000-01-01 01:00:00+00,infinity}'),
	('time', 'time', 'tm', '{00:00,12:34:56.789012,23:59:59.999999,24:00}'),
	('uuid', 'uuid', 'u', '{00000000-0000-0000-0000-000000000000,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,ffffffff-ffff-ffff-ffff-ffffffffffff}'),
	('text', 'text', 't', '{"",a,A,"a ",ä}'),
	('text', 'varchar', 'vc', '{"",a,A,"a ",ä}'),
	('bytea', 'bytea', 'y', '{"","\\x00","\\x0000","\\x6100"}');
SELECT format('CREATE TABLE a (id int, v vector(3), %s)', string_agg(format('%I %s', col, type), ', ')) AS make,
	format('INSERT INTO a SELECT n, ARRAY[n, n * n %% 31, n %% 7]::vector(3), %s FROM generate_series(1, 120) n',
		   string_agg(format('(%L::text[])[n / %s %% %s]::%s', vals, ordinality, cardinality(vals) + 1, type), ', ')) AS fill
	FROM (SELECT *, row_number() OVER () AS ordinality FROM types) s \gset
:make;
CREATE INDEX a_1 ON a USING vectron (v, b, c, i2, i4, i8, o, f4, f8) WITH (m = 4, ef_construction = 16);
:fill;
CREATE INDEX a_2 ON a USING vectron (v vector_l2_ops, d, ts, tz, tm, u, t, vc, y) WITH (m = 4, ef_construction = 16);
SELECT i, c.* FROM unnest('{a_1,a_2}'::regclass[]) i, vectron.check_index(i) c;
ANALYZE a;

-- the rows that meet a condition: by the index, in its workers; and as PostgreSQL finds them
CREATE FUNCTION by_index(condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	ids text;
BEGIN
	SET LOCAL enable_sort = off;
	SET LOCAL enable_seqscan = off;
	EXECUTE format('SELECT string_agg(id::text, '','' ORDER BY id) FROM (SELECT id FROM a WHERE %s ORDER BY v <-> ''[1,2,3]'') s', condition) INTO ids;
	RETURN coalesce(ids, '');
END $$;
CREATE FUNCTION in_index(condition text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
	n int := 0;
BEGIN
	SET LOCAL enable_sort = off;
	SET LOCAL enable_seqscan = off;
	FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) SELECT id FROM a WHERE %s ORDER BY v <-> ''[1,2,3]''', condition) LOOP
		n := n + (line ~ 'Index Cond')::int - (line ~ 'Filter')::int;
	END LOOP;
	RETURN n = 1;
END $$;
CREATE FUNCTION by_table(conditions text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	ids text[];
BEGIN
	SET LOCAL enable_seqscan = on;
	EXECUTE (SELECT format('SELECT ARRAY[%s] FROM a', string_agg(format('coalesce(string_agg(id::text, '','' ORDER BY id) FILTER (WHERE %s), '''')', c), ', ' ORDER BY n))
		FROM unnest(conditions) WITH ORDINALITY u(c, n)) INTO ids;
	RETURN ids;
END $$;
CREATE VIEW comparisons AS
	SELECT a.family, a.col, op, b.type, format('%I %s %L::%s', a.col, op, val, b.type) AS condition
	FROM types a JOIN types b USING (family) CROSS JOIN unnest(b.vals) val
		CROSS JOIN unnest(CASE WHEN family IN ('uuid', 'text', 'bytea') THEN '{=}'::text[] ELSE '{<,<=,=,>=,>,<>}' END) op
	WHERE a.family <> 'bool' OR op <> '=';
SELECT family, count(*) AS comparisons, bool_or(ids <> '') AS found_some, count(*) FILTER (WHERE by_index(condition) <> ids) AS wrong
	FROM (SELECT family, array_agg(condition) AS conditions FROM comparisons GROUP BY family) s,
		unnest(conditions, by_table(conditions)) u(condition, ids) GROUP BY family ORDER BY family;
SELECT family, count(*) AS operators, count(*) FILTER (WHERE NOT in_index(condition)) AS not_in_index
	FROM (SELECT DISTINCT ON (family, col, op, type) * FROM comparisons ORDER BY family, col, op, type, condition) s GROUP BY family ORDER BY family;
-- NULL tests, lists, booleans
CREATE VIEW others AS
	SELECT 'null' AS kind, format('%I %s', col, test) AS condition FROM types, unnest('{IS NULL,IS NOT NULL}'::text[]) test
	UNION ALL
	SELECT 'list', format('%I = ANY (%L::%s[])', a.col, b.vals[2:] || NULL || b.vals[3:4], b.type) FROM types a JOIN types b USING (family) WHERE a.type <> 'bool'
	UNION ALL
	SELECT 'no list', format('%I = ANY (''{}''::%s[])', col, type) FROM types WHERE type <> 'bool'
	UNION ALL
	SELECT 'bool', unnest('{b,NOT b,b IS TRUE,b IS FALSE,b = true,b <> true,b AND b}'::text[])
	UNION ALL
	SELECT 'several', unnest('{i4 > -5 AND i4 < 5 AND i4 <> 1,i4 > 0 AND i4 < 0,f8 >= 0 AND f8 < ''nan'' AND NOT b,i2 = 1 AND i4 = 1 AND c IS NULL,t = ''a'' AND d IS NOT NULL,v IS NOT NULL AND t = ''a''}'::text[]);
SELECT kind, count(*) AS conditions, bool_or(ids <> '') AS found_some, count(*) FILTER (WHERE by_index(condition) <> ids) AS wrong,
	count(*) FILTER (WHERE NOT in_index(condition)) AS not_in_index
	FROM (SELECT kind, array_agg(condition) AS conditions FROM others GROUP BY kind) s,
		unnest(conditions, by_table(conditions)) u(condition, ids) GROUP BY kind ORDER BY kind;
-- what the index does not do is done all the same
SELECT condition, by_index(condition) = (by_table(ARRAY[condition]))[1] AS same, in_index(condition)
	FROM unnest(ARRAY[$$b IS NOT TRUE$$, $$b IS UNKNOWN$$, $$i4 = 1 OR i2 = 1$$, $$i4 NOT IN (0, 1)$$, $$t > 'A'$$, $$t LIKE 'a%'$$, $$d < timestamptz '2000-01-01 00:00+00'$$, $$i4 = ANY (ARRAY[id])$$, $$i4 < ANY ('{0, 1}')$$, $$(i4, i8) > (0, 0)$$]) condition;
-- a list that is too long for the workers: PostgreSQL looks at each row
SELECT by_index(condition) = (by_table(ARRAY[condition]))[1] AS same, in_index(condition)
	FROM (VALUES ('i4 = ANY (ARRAY(SELECT generate_series(-20000, 20000)))')) c(condition);
DROP VIEW comparisons, others;
DROP FUNCTION by_index, in_index, by_table;

-- plans
CREATE TABLE items (id int PRIMARY KEY, tenant int, rare int, flag bool, ts timestamp, v vector(3));
INSERT INTO items SELECT n, n % 10, n % 2000, n % 3 = 0, timestamp '2000-01-01' + n * interval '1 hour',
	ARRAY[(n * 7919) % 1009, (n * 104729) % 1013, n % 97]::vector(3) FROM generate_series(1, 4000) n;
CREATE INDEX items_v ON items USING vectron (v, tenant, rare, flag, ts) WITH (m = 4, ef_construction = 16);
CREATE INDEX items_rare ON items (rare);
ANALYZE items;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE tenant = 7 ORDER BY v <-> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE tenant IN (7, 8) AND NOT flag AND ts < date '2000-06-01' ORDER BY v <-> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE tenant BETWEEN 3::int8 AND 4::int2 AND (rare = 7 OR flag) ORDER BY v <-> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE v IS NULL AND tenant = 7 ORDER BY v <-> '[1,2,3]' LIMIT 10;
-- another index where it is cheaper
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE rare = 7 ORDER BY v <-> '[1,2,3]' LIMIT 10;
-- and never for a condition without an order
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE tenant = 7;
EXPLAIN (COSTS OFF) SELECT i.id FROM (VALUES (1), (2)) t(n), items i WHERE i.tenant = t.n;
-- of two indexes that order alike the one with conditions, and all of them
BEGIN;
SET LOCAL enable_sort = off;
DROP INDEX items_rare;
CREATE INDEX items_only ON items USING vectron (v);
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE tenant >= 0 AND rare IN (7, 8) ORDER BY v <-> '[1,2,3]' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE 0 <= tenant AND ts IS NOT NULL AND rare IN (7, 8) AND id > 0 ORDER BY v <-> '[1,2,3]' LIMIT 10;
SELECT id FROM items WHERE 0 <= tenant AND ts IS NOT NULL AND rare IN (7, 8) AND id > 2000 ORDER BY v <-> '[1,2,3]' LIMIT 10;
ROLLBACK;
-- a list of more values than are sent is a filter, and costs what a filter does
SELECT format('EXPLAIN (COSTS OFF) SELECT count(*) FROM (SELECT id FROM items WHERE tenant = 7 AND rare = ANY (%L) ORDER BY v <-> ''[1,2,3]'' LIMIT 10) s',
	array_agg(n)) AS query FROM generate_series(1, 16385) n \gset
CREATE FUNCTION conditions(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE query LOOP
		IF line ~ '(Index Cond|Filter):' THEN RETURN NEXT left(btrim(line), 40); END IF;
	END LOOP;
END $$;
SET enable_sort = off;
SELECT * FROM conditions(:'query');
RESET enable_sort;
DROP FUNCTION conditions;
-- parameters, also NULL; lists of them
SET enable_sort = off;
SET plan_cache_mode = force_generic_plan;
PREPARE p(int, bool) AS SELECT count(*), min(tenant), max(tenant) FROM (SELECT tenant FROM items WHERE tenant = $1 AND flag = $2 ORDER BY v <-> '[1,2,3]') s;
EXPLAIN (COSTS OFF) EXECUTE p(7, true);
EXECUTE p(7, true);
EXECUTE p(8, false);
EXECUTE p(NULL, true);
PREPARE l(int[]) AS SELECT count(*), min(tenant), max(tenant) FROM (SELECT tenant FROM items WHERE tenant = ANY ($1) ORDER BY v <-> '[1,2,3]') s;
EXPLAIN (COSTS OFF) EXECUTE l('{1}');
EXECUTE l('{3,NULL,5,3}');
EXECUTE l('{}');
EXECUTE l(NULL);
RESET plan_cache_mode;
-- scanned again for every outer row
SELECT t.n, s.n AS found, s.min, s.max FROM generate_series(8, 11) t(n),
	LATERAL (SELECT count(*) AS n, min(tenant), max(tenant) FROM (SELECT tenant FROM items WHERE tenant = t.n ORDER BY v <-> ARRAY[t.n, 2, 3]::vector(3)) q) s;
SELECT count(*) FROM (SELECT id FROM items WHERE tenant = 7 AND flag ORDER BY v <-> '[1,2,3]' FOR UPDATE) s;
-- a batch at a time, to the end
SET vectron.ef_search = 5;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items WHERE tenant = 7 ORDER BY v <-> '[1,2,3]') s;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items WHERE rare = 7 ORDER BY v <-> '[1,2,3]' LIMIT 10) s;
RESET vectron.ef_search;

-- a changed attribute is a new entry; a changed column that is none is not
CREATE TABLE hot (id int, tenant int, note text, v vector(2));
CREATE INDEX hot_v ON hot USING vectron (v, tenant);
INSERT INTO hot SELECT n, n, 'note', ARRAY[n, n] FROM generate_series(1, 5) n;
BEGIN;
UPDATE hot SET note = 'changed';
SELECT pg_stat_get_xact_tuples_hot_updated('hot'::regclass);
UPDATE hot SET tenant = 7;
SELECT pg_stat_get_xact_tuples_hot_updated('hot'::regclass);
COMMIT;
SELECT count(*) FROM (SELECT id FROM hot WHERE tenant = 7 ORDER BY v <-> '[1,2]') s;
SELECT count(*) FROM (SELECT id FROM hot WHERE tenant < 7 ORDER BY v <-> '[1,2]') s;
SELECT entries, missing, extra, wrong FROM vectron.check_index('hot_v');
BEGIN;
UPDATE items SET tenant = 100 WHERE id IN (1, 2, 3);
SELECT id FROM items WHERE tenant = 100 ORDER BY v <-> '[1,2,3]' LIMIT 4;
SAVEPOINT s;
UPDATE items SET tenant = 101 WHERE tenant = 100;
SELECT count(*) FROM (SELECT id FROM items WHERE tenant >= 100 ORDER BY v <-> '[1,2,3]') s;
ROLLBACK TO s;
SELECT count(*) FROM (SELECT id FROM items WHERE tenant = 101 ORDER BY v <-> '[1,2,3]') s;
COMMIT;
DELETE FROM items WHERE tenant = 5;
VACUUM items;
INSERT INTO items SELECT -n, 102, 0, NULL, NULL, '[1,1,1]' FROM generate_series(1, 200) n;
SELECT tenant, count(*) FROM (SELECT tenant FROM items WHERE tenant >= 100 OR tenant = 5 ORDER BY v <-> '[1,2,3]') s GROUP BY tenant ORDER BY 1;
SELECT count(*), count(flag), count(ts) FROM (SELECT flag, ts FROM items WHERE flag IS NULL AND ts IS NULL ORDER BY v <-> '[1,2,3]') s;
REINDEX INDEX CONCURRENTLY items_v;
SELECT entries, missing, extra, wrong FROM vectron.check_index('items_v');
-- the cluster's words are compared with the table's, attribute by attribute
CREATE FUNCTION kind(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN n % 4; END';
CREATE TABLE e (id int, v vector(2));
INSERT INTO e SELECT n, ARRAY[n, n] FROM generate_series(1, 40) n;
CREATE INDEX e_v ON e USING vectron (v, kind(id)) WHERE id > 4;
EXPLAIN (COSTS OFF) SELECT id FROM e WHERE kind(id) = 3 AND id > 4 ORDER BY v <-> '[1,2]' LIMIT 3;
SELECT id FROM e WHERE kind(id) = 3 AND id > 4 ORDER BY v <-> '[1,2]' LIMIT 3;
SELECT entries, missing, extra, wrong FROM vectron.check_index('e_v');
CREATE OR REPLACE FUNCTION kind(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN CASE WHEN n < 10 THEN 0 ELSE n % 4 END; END';
SELECT entries, missing, extra, wrong, first_wrong FROM vectron.check_index('e_v');
SELECT id FROM e WHERE kind(id) = 1 AND id > 4 ORDER BY v <-> '[1,2]' LIMIT 3;
-- an index of a partitioned table is looked at when it is made, not with its first partition
CREATE TABLE p (id int, n numeric, s sparsevec(2), v vector(2)) PARTITION BY LIST (id);
CREATE INDEX ON p USING vectron (v, n);
CREATE INDEX ON p USING vectron (id, v);
CREATE INDEX ON p USING hnsw (s sparsevec_l2_ops);
CREATE INDEX p_v ON p USING vectron (v, id);
CREATE INDEX p_id ON p (id, n);
CREATE TABLE p0 PARTITION OF p FOR VALUES IN (0);
SELECT count(*) FROM pg_index WHERE indrelid = 'p0'::regclass;
DROP TABLE p;
-- partitions
CREATE TABLE p (id int, part int, kind text, v vector(2)) PARTITION BY LIST (part);
CREATE TABLE p0 PARTITION OF p FOR VALUES IN (0);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE INDEX ON p USING vectron (v, kind);
INSERT INTO p SELECT n, n % 2, CASE WHEN n % 5 = 0 THEN 'five' END, ARRAY[n, 0] FROM generate_series(1, 50) n;
EXPLAIN (COSTS OFF) SELECT id FROM p WHERE kind IN ('five', 'six') ORDER BY v <-> '[9,1]' LIMIT 3;
SELECT id FROM p WHERE kind IN ('five', 'six') ORDER BY v <-> '[9,1]' LIMIT 3;
DROP TABLE a, types, items, hot, e, p;
DROP FUNCTION kind;
