-- The type halfvec: what it takes and gives, and its index.

SELECT '[1,2,3]'::halfvec, ' [ 1 , 2.5,-3e-2 ] '::halfvec, '[1,2,3]'::halfvec(3);
SELECT '[0.1,65504,-65519.9,6e-8,1e-8,1e-50]'::halfvec;
SELECT '[65520]'::halfvec;
SELECT '[-1e5]'::halfvec;
SELECT '[4e38]'::halfvec;
SELECT '[nan]'::halfvec;
SELECT '[inf]'::halfvec;
SELECT '[1,2,3'::halfvec;
SELECT '[1,,3]'::halfvec;
SELECT '[1,2]]'::halfvec;
SELECT '1,2'::halfvec;
SELECT '[]'::halfvec;
SELECT '[1,2,3]'::halfvec(2);
SELECT '[1]'::halfvec(0);
SELECT '[1]'::halfvec(16001);
SELECT '[1]'::halfvec(1, 2);

-- Casts
SELECT '[1,2,3]'::vector::halfvec, '[1.5,2]'::halfvec::vector, '[1.5,2]'::halfvec::real[];
SELECT ARRAY[1,2]::halfvec, ARRAY[1.5,2]::halfvec, ARRAY[1.5,2]::real[]::halfvec, ARRAY[1.5,2]::float8[]::halfvec(2);
SELECT '[1,2,3]'::vector::halfvec(2);
SELECT '[1,2,3]'::halfvec::vector(2);
SELECT '[65520,1]'::vector::halfvec;
SELECT ARRAY[1,70000]::halfvec;
SELECT ARRAY[1,NULL]::halfvec;
SELECT ARRAY[[1,2]]::halfvec;
SELECT '{}'::real[]::halfvec;
SELECT '[0.1]'::vector::halfvec::vector;
SELECT ARRAY['[1,2]'::halfvec, '[3]'];

-- COPY and binary, to and fro, of everything that a halfvec can hold
SELECT halfvec_send('[1,-2,0.5]');
SELECT current_setting('data_directory') || '/halfvec_copy_any.bin' AS file \gset
CREATE TABLE h (id int, v halfvec, a halfvec[]);
INSERT INTO h VALUES
	(1, '[1,-2.5,0]', '{"[1]","[2,3]",NULL}'),
	(2, '[65504,-65504,6e-8,-6e-8,-0]', '{}'),
	(3, NULL, NULL),
	(4, (SELECT array_agg(i) FROM generate_series(1, 16000) i), NULL);
CREATE TABLE g (LIKE h);
COPY h TO :'file' (FORMAT binary);
COPY g FROM :'file' (FORMAT binary);
SELECT id, h.v = g.v AS same, halfvec_send(h.v) = halfvec_send(g.v) AS same_bytes, h.a = g.a AS same_array FROM h JOIN g USING (id) ORDER BY id;
TRUNCATE g;
COPY h TO :'file';
COPY g FROM :'file';
SELECT id, halfvec_send(h.v) = halfvec_send(g.v) AS same_bytes FROM h JOIN g USING (id) ORDER BY id;
-- bad bytes: a value of a bytea column is read as if it were a halfvec
CREATE TABLE r (v halfvec);
CREATE FUNCTION reads(b bytea, file text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMPORARY TABLE bytes AS SELECT b;
	EXECUTE format('COPY bytes TO %L (FORMAT binary)', file);
	DROP TABLE bytes;
	EXECUTE format('COPY r FROM %L (FORMAT binary)', file);
	RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT reads('\x000200003c00c000', :'file');
SELECT reads('\x000200003c00', :'file');
SELECT reads('\x000100003c00c000', :'file');
SELECT reads('\x000100013c00', :'file');
SELECT reads('\x00000000', :'file');
SELECT reads('\x3e810000', :'file');
SELECT reads('\x000100007c00', :'file');
SELECT reads('\x00010000fe01', :'file');
SELECT v FROM r;
DROP FUNCTION reads(bytea, text);
DROP TABLE h, g, r;

-- Functions and operators
SELECT '[1,2,3]'::halfvec + '[4,5,6]', '[1,2,3]'::halfvec - '[4,5,6]', '[1,2,3]'::halfvec * '[4,5,6]', '[1,2]'::halfvec || '[3]';
SELECT '[65504]'::halfvec + '[16]';
SELECT '[65504]'::halfvec + '[15]' AS rounded_down;
SELECT '[-65504]'::halfvec - '[65504]';
SELECT '[300]'::halfvec * '[300]';
SELECT '[1e-4]'::halfvec * '[1e-4]';
SELECT '[0,1]'::halfvec * '[1e-4,0]';
SELECT '[1]'::halfvec + '[1,2]';
SELECT '[1]'::halfvec <-> '[1,2]';
SELECT l2_distance('[0,0]'::halfvec, '[3,4]'), '[0,0]'::halfvec <-> '[3,4]', inner_product('[1,2]'::halfvec, '[3,4]'), '[1,2]'::halfvec <#> '[3,4]';
SELECT cosine_distance('[1,1]'::halfvec, '[-1,-1]'), '[1,0]'::halfvec <=> '[0,2]', '[0,0]'::halfvec <=> '[1,1]', l1_distance('[0,0]'::halfvec, '[3,-4]'), '[0,0]'::halfvec <+> '[3,4]';
SELECT halfvec_l2_squared_distance('[0,0]', '[3,4]'), halfvec_spherical_distance('[1,0]', '[0,1]'), halfvec_spherical_distance('[1,1]', '[1,1]');
SELECT vector_dims('[1,2,3]'::halfvec), l2_norm('[3,4]'::halfvec), l2_normalize('[3,4]'::halfvec), l2_normalize('[0,0]'::halfvec), binary_quantize('[1,0,-1,0.5,-0]'::halfvec);
SELECT subvector('[1,2,3,4,5]'::halfvec, 2, 3), subvector('[1,2,3,4,5]'::halfvec, -1, 3), subvector('[1,2,3]'::halfvec, 3, 2147483647);
SELECT subvector('[1,2,3]'::halfvec, 4, 1);
SELECT subvector('[1,2,3]'::halfvec, 1, 0);
SELECT '[1,2]'::halfvec < '[1,2,0]', '[1,2]'::halfvec <= '[1,2]', '[0]'::halfvec = '[-0]', '[1]'::halfvec <> '[2]', '[-1]'::halfvec >= '[-2]', '[-1]'::halfvec > '[1]', halfvec_cmp('[2]', '[1,5]');
-- a distance of halves is that of the floats they stand for
SELECT bool_and(a::vector::halfvec <-> b::vector::halfvec = a::vector::halfvec::vector <-> b::vector::halfvec::vector
	AND a::vector::halfvec <=> b::vector::halfvec = a::vector::halfvec::vector <=> b::vector::halfvec::vector)
	FROM (SELECT array_agg(sin(i * 7 + j)) AS a, array_agg(cos(i + j * 3)) AS b FROM generate_series(1, 40) i, generate_series(1, 30) j GROUP BY i) x;

-- Aggregates
SELECT avg(v), sum(v) FROM unnest(ARRAY['[1,2]'::halfvec, '[3,5]', NULL]) v;
SELECT avg(v), sum(v) FROM unnest(ARRAY[NULL]::halfvec[]) v;
SELECT avg(v) FROM unnest(ARRAY['[65504]'::halfvec, '[65504]']) v;
SELECT sum(v) FROM unnest(ARRAY['[65504]'::halfvec, '[65504]']) v;
SELECT avg(v) FROM unnest(ARRAY['[1]'::halfvec, '[1,2]']) v;
SELECT halfvec_avg('{1,1e30}'), halfvec_avg('{0}');
SELECT halfvec_accum('{}', '[1]');
SELECT halfvec_combine('{1,2}', '{1,2,3}');

-- Sorting, B-trees
CREATE TABLE s (v halfvec(2));
INSERT INTO s VALUES ('[0,0]'), ('[1,2]'), ('[-1,2]'), ('[1,-2]'), (NULL);
CREATE INDEX s_v ON s (v);
SET enable_seqscan = off;
SELECT v FROM s WHERE v = '[1,2]';
SELECT v FROM s ORDER BY v;
SELECT DISTINCT v FROM (SELECT v FROM s UNION ALL SELECT v FROM s) x ORDER BY v DESC NULLS LAST;
INSERT INTO s VALUES ('[1,2,3]');
DROP TABLE s;

-- The index: order is exact, and that of the table
CREATE TABLE q (id int, v halfvec(40));
INSERT INTO q SELECT i, (SELECT array_agg(sin(i * 0.37 + j * (i % 23 + 1)) ORDER BY j)::halfvec(40) FROM generate_series(1, 40) j)
	FROM generate_series(1, 1000) i;
INSERT INTO q VALUES (1001, NULL), (1002, array_fill(0, ARRAY[40]));
SET vectron.verify_scan = on;
CREATE FUNCTION compare(op text) RETURNS TABLE (ordered boolean, of_nearest numeric) LANGUAGE plpgsql AS $$
DECLARE
	looks int[];
	truth int[];
BEGIN
	EXECUTE format('SELECT array_agg(id), bool_and(d >= before) FROM (SELECT id, d, lag(d, 1, d) OVER () AS before FROM
		(SELECT id, v %s (SELECT v FROM q WHERE id = 17) AS d FROM q ORDER BY v %1$s (SELECT v FROM q WHERE id = 17) LIMIT 50) n) o', op) INTO looks, ordered;
	SET LOCAL enable_indexscan = off;
	EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM q ORDER BY v %s (SELECT v FROM q WHERE id = 17), id LIMIT 50) n', op) INTO truth;
	of_nearest := round((SELECT count(*) FROM unnest(looks) i WHERE i = ANY (truth)) / 50.0, 1);
	RETURN NEXT;
END $$;
CREATE INDEX q_v ON q USING vectron (v) WITH (shards = 2);
EXPLAIN (COSTS OFF) SELECT id FROM q ORDER BY v <-> (SELECT v FROM q WHERE id = 17) LIMIT 3;
SELECT * FROM compare('<->');
SELECT c ->> 'element' AS kept_in FROM json_array_elements(vectron.report('collections')::json -> 'collections') c
	WHERE c ->> 'generation' = (SELECT generation FROM vectron.index_meta('q_v'));
SELECT count(*) FROM (SELECT id FROM q ORDER BY v <-> (SELECT v FROM q WHERE id = 17)) n;
SELECT id FROM q ORDER BY v <-> '[1]' LIMIT 1;
INSERT INTO q SELECT 2000, v FROM q WHERE id = 17;
UPDATE q SET v = (SELECT v FROM q WHERE id = 17) WHERE id = 30;
SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM q ORDER BY v <-> (SELECT v FROM q WHERE id = 17) LIMIT 3) n;
DELETE FROM q WHERE id BETWEEN 100 AND 200;
VACUUM q;
SELECT entries, missing, extra, wrong FROM vectron.check_index('q_v');
DROP INDEX q_v;
CREATE INDEX q_v ON q USING vectron (v halfvec_ip_ops) WITH (m = 8, ef_construction = 40, quantization = none);
SELECT * FROM compare('<#>');
DROP INDEX q_v;
CREATE INDEX q_v ON q USING vectron (v halfvec_cosine_ops);
SELECT * FROM compare('<=>');
SELECT entries, missing, extra, wrong FROM vectron.check_index('q_v');
REINDEX INDEX CONCURRENTLY q_v;
DROP INDEX q_v;
CREATE INDEX q_v ON q USING vectron (v halfvec_l1_ops);
SELECT * FROM compare('<+>');
SELECT entries, missing, extra, wrong FROM vectron.check_index('q_v');

-- A column of vectors, indexed as halves
CREATE TABLE e (id int, v vector(3));
INSERT INTO e SELECT i, ARRAY[i, i % 7, 0.1] FROM generate_series(1, 100) i;
CREATE INDEX e_v ON e USING vectron ((v::halfvec(3)) halfvec_l2_ops);
EXPLAIN (COSTS OFF) SELECT id FROM e ORDER BY v::halfvec(3) <-> '[50,1,0]' LIMIT 2;
SELECT id FROM e ORDER BY v::halfvec(3) <-> '[50,1,0]' LIMIT 2;
INSERT INTO e VALUES (101, '[50,1,0.2]');
SELECT id FROM e ORDER BY v::halfvec(3) <-> '[50,1,0.2]' LIMIT 1;
INSERT INTO e VALUES (102, '[1e6,1,0.2]');
SELECT entries, missing, extra, wrong FROM vectron.check_index('e_v');

-- What it is not
CREATE INDEX ON e USING vectron (v halfvec_l2_ops);
CREATE INDEX ON q USING vectron (v vector_l2_ops);
CREATE TABLE any_length (v halfvec);
CREATE INDEX ON any_length USING vectron (v);
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname LIKE 'halfvec%' AND opcmethod = (SELECT oid FROM pg_am WHERE amname = 'vectron');
DROP TABLE q, e, any_length;
DROP FUNCTION compare(text);
