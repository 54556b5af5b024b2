-- Indexes on bit strings: what is said with them is what is said without them
SET enable_seqscan = off;
SET jit = off;
SET vectron.verify_scan = on;
SELECT setseed(0.4);
-- 150 bits near one of 30 strings, so that some are near each other and masses are equally far
CREATE TABLE q (id int, category int, b bit(150));
CREATE TABLE centre AS SELECT c, (SELECT string_agg((random() < 0.5)::int::text, '') FROM generate_series(1, 150) WHERE c > 0)::bit(150) AS b
	FROM generate_series(1, 30) c;
INSERT INTO q SELECT i, i % 7, c.b # (SELECT string_agg((random() < 0.08)::int::text, '') FROM generate_series(1, 150) WHERE i > 0)::bit(150)
	FROM generate_series(1, 1500) i JOIN centre c ON c.c = 1 + i % 30;
INSERT INTO q VALUES (1501, 1, NULL), (1502, 1, repeat('0', 150)::bit(150)), (1503, 1, repeat('1', 150)::bit(150));

-- Of the 20 nearest of some rows those that are as near as the 20th
CREATE FUNCTION found(op text, with_what text DEFAULT '') RETURNS TABLE (ordered boolean, of_nearest numeric) LANGUAGE plpgsql AS $$
DECLARE
	one int;
	last float8;
	got bigint;
	rises boolean;
BEGIN
	of_nearest := 0;
	ordered := true;
	FOR one IN SELECT generate_series(17, 1417, 100) LOOP
		SET LOCAL enable_indexscan = off;
		SET LOCAL enable_seqscan = on;
		EXECUTE format('SELECT max(d) FROM (SELECT b %1$s (SELECT b FROM q WHERE id = %2$s) AS d FROM q WHERE b IS NOT NULL %3$s ORDER BY d LIMIT 20) n', op, one, with_what) INTO last;
		SET LOCAL enable_indexscan = on;
		SET LOCAL enable_seqscan = off;
		EXECUTE format('SELECT count(*) FILTER (WHERE d <= %4$s), bool_and(d >= before) FROM (SELECT d, lag(d, 1, d) OVER () AS before FROM
			(SELECT b %1$s (SELECT b FROM q WHERE id = %2$s) AS d FROM q WHERE true %3$s ORDER BY b %1$s (SELECT b FROM q WHERE id = %2$s) LIMIT 20) n) o',
			op, one, with_what, last) INTO got, rises;
		of_nearest := of_nearest + got;
		ordered := ordered AND rises;
	END LOOP;
	of_nearest := round(of_nearest / 300, 2);
	RETURN NEXT;
END $$;
CREATE INDEX q_b ON q USING hnsw (b bit_hamming_ops) WITH (m = 16, ef_construction = 64);
EXPLAIN (COSTS OFF) SELECT id FROM q ORDER BY b <~> (SELECT b FROM q WHERE id = 17) LIMIT 3;
SELECT ordered, of_nearest >= 0.99 AS found FROM found('<~>');
SELECT dimensions, quantization FROM vectron.index_meta('q_b');
SELECT c ->> 'element' AS kept_in, c ->> 'metric' AS metric FROM json_array_elements(vectron.report('collections')::json -> 'collections') c
	WHERE c ->> 'generation' = (SELECT generation FROM vectron.index_meta('q_b'));
-- every row, once; NULL is none of the index's
SELECT count(*), count(DISTINCT id), bool_or(id = 1501) FROM (SELECT id FROM q ORDER BY b <~> (SELECT b FROM q WHERE id = 17)) n;
SELECT id FROM (SELECT id FROM q ORDER BY b <~> repeat('1', 150)::bit(150) LIMIT 1) n;
SELECT query, distance, (item).id FROM vectron.search_many(NULL::q, 'q_b', ARRAY[repeat('1', 150)::bit(150), repeat('0', 150)::bit(150)], 1);
SELECT query, distance, (item).id FROM vectron.search_many(NULL::q, 'q_b', ARRAY[B'101'], 1);
SELECT count(*) FROM (SELECT id FROM q ORDER BY b <~> NULL LIMIT 7) n;
-- other lengths
SELECT id FROM q ORDER BY b <~> B'101' LIMIT 1;
INSERT INTO q VALUES (4000, 1, B'101');
-- changes
INSERT INTO q SELECT 2000 + id, category, b FROM q WHERE id = 917;
UPDATE q SET b = (SELECT b FROM q WHERE id = 917) WHERE id = 30;
SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM q ORDER BY b <~> (SELECT b FROM q WHERE id = 917) LIMIT 3) n;
DELETE FROM q WHERE id BETWEEN 100 AND 200 AND id <> 117;
VACUUM q;
SELECT entries, tuples, missing, extra, wrong FROM vectron.check_index('q_b');
SELECT ordered, of_nearest >= 0.99 AS found FROM found('<~>');
REINDEX INDEX q_b;
REINDEX INDEX CONCURRENTLY q_b;
SELECT ordered, of_nearest >= 0.99 AS found FROM found('<~>');
SELECT pg_get_indexdef('q_b'::regclass);
DROP INDEX q_b;
CREATE INDEX q_b ON q USING vectron (b bit_jaccard_ops) WITH (shards = 2, m = 12, ef_construction = 40);
SELECT ordered, of_nearest >= 0.99 AS found FROM found('<%>');
SELECT id FROM q ORDER BY b <%> (SELECT b FROM q WHERE id = 17) LIMIT 1;
SELECT count(*) FROM (SELECT id FROM q ORDER BY b <%> repeat('0', 150)::bit(150)) n;
SELECT entries, missing, extra, wrong FROM vectron.check_index('q_b');
DROP INDEX q_b;
-- pgvector has no ivfflat for jaccard, and neither have we
CREATE INDEX q_b ON q USING ivfflat (b bit_hamming_ops) WITH (lists = 10, m = 12, ef_construction = 40);
SELECT ordered, of_nearest >= 0.99 AS found FROM found('<~>');
DROP INDEX q_b;
CREATE INDEX q_b ON q USING ivfflat (b bit_jaccard_ops) WITH (lists = 10);
-- a condition beside
CREATE INDEX q_b ON q USING vectron (b bit_hamming_ops, category) WITH (m = 12, ef_construction = 40);
EXPLAIN (COSTS OFF) SELECT id FROM q WHERE category = 3 ORDER BY b <~> (SELECT b FROM q WHERE id = 17) LIMIT 3;
SELECT ordered, of_nearest >= 0.99 AS found FROM found('<~>', 'AND category = 3');
SELECT entries, missing, extra, wrong FROM vectron.check_index('q_b');
DROP INDEX q_b;

-- The usual pattern: by bits first, then by distance
CREATE TABLE items (id int, embedding vector(64));
INSERT INTO items SELECT i, (SELECT array_agg(sin(i * 0.37 + j * (i % 23 + 1)) ORDER BY j)::vector(64) FROM generate_series(1, 64) j)
	FROM generate_series(1, 500) i;
INSERT INTO items VALUES (501, NULL);
CREATE INDEX items_b ON items USING hnsw ((binary_quantize(embedding)::bit(64)) bit_hamming_ops);
EXPLAIN (COSTS OFF) SELECT id FROM (SELECT * FROM items ORDER BY binary_quantize(embedding)::bit(64) <~> binary_quantize((SELECT embedding FROM items WHERE id = 77))::bit(64) LIMIT 60) s
	ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 77) LIMIT 5;
SELECT id FROM (SELECT * FROM items ORDER BY binary_quantize(embedding)::bit(64) <~> binary_quantize((SELECT embedding FROM items WHERE id = 77))::bit(64) LIMIT 60) s
	ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 77) LIMIT 1;
INSERT INTO items SELECT 3000, embedding FROM items WHERE id = 77;
SELECT count(*) FROM (SELECT id, embedding FROM items ORDER BY binary_quantize(embedding)::bit(64) <~> binary_quantize((SELECT embedding FROM items WHERE id = 77))::bit(64) LIMIT 60) s
	WHERE embedding = (SELECT embedding FROM items WHERE id = 77);
SELECT entries, tuples, missing, extra, wrong FROM vectron.check_index('items_b');

-- What it is not
CREATE INDEX ON items USING hnsw ((binary_quantize(embedding)) bit_hamming_ops);
CREATE TABLE odd (v varbit(8), b bit(8), long bit(64001), longest bit(64000));
CREATE INDEX ON odd USING hnsw (b);
CREATE INDEX ON odd USING hnsw (b vector_l2_ops);
CREATE INDEX ON odd USING hnsw (b, b bit_hamming_ops);
CREATE INDEX ON odd USING hnsw (long bit_hamming_ops);
CREATE INDEX ON odd USING vectron (long bit_jaccard_ops);
CREATE INDEX ON odd USING vectron (b bit_hamming_ops) WITH (quantization = int8_only);
CREATE INDEX odd_b ON odd USING vectron (b bit_hamming_ops) WITH (quantization = int8);
SELECT quantization FROM vectron.index_meta('odd_b');
SELECT b FROM odd ORDER BY b <~> B'1' LIMIT 1;
SELECT b FROM odd ORDER BY b <~> B'11110000' LIMIT 1;
CREATE INDEX odd_longest ON odd USING hnsw (longest bit_hamming_ops);
INSERT INTO odd (longest) SELECT (repeat('1', i) || repeat('0', 64000 - i))::bit(64000) FROM generate_series(0, 64000, 6400) i;
SELECT bit_length(longest) - length(replace(longest::text, '1', '')) AS ones FROM odd ORDER BY longest <~> (repeat('1', 13000) || repeat('0', 51000))::bit(64000) LIMIT 3;
SELECT entries, missing, extra, wrong FROM vectron.check_index('odd_longest');
-- varbit is taken for bit, as long as it is as long as it may be
CREATE INDEX odd_v ON odd USING hnsw (v bit_hamming_ops);
INSERT INTO odd (v) VALUES (B'10101010'), (B'10101011');
INSERT INTO odd (v) VALUES (B'101');
SELECT v FROM odd ORDER BY v <~> B'10101011' LIMIT 1;
SELECT am.amname, c.opcname, c.opcdefault, amvalidate(c.oid) FROM pg_opclass c JOIN pg_am am ON am.oid = c.opcmethod
	WHERE c.opcname LIKE 'bit%' AND am.amname IN ('vectron', 'hnsw', 'ivfflat') ORDER BY 1, 2;
DROP TABLE q, centre, items, odd;
DROP FUNCTION found(text, text);
