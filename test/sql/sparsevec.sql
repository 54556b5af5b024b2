-- The type sparsevec: what it takes and gives.
SELECT '{1:0.5,3:2}/5'::sparsevec, ' { 3 : 2.5e-1 , 1 : -1 } / 5 '::sparsevec(5), '{}/3'::sparsevec, '{1:0,2:1,3:-0}/3'::sparsevec;
SELECT '{1:1.17549435e-38,2:3.4028235e38,3:1e-45}/3'::sparsevec;
SELECT '{1000000000:1}/1000000000'::sparsevec;
SELECT ''::sparsevec;
SELECT '[1,2]'::sparsevec;
SELECT '{'::sparsevec;
SELECT '{1'::sparsevec;
SELECT '{1:'::sparsevec;
SELECT '{1:1'::sparsevec;
SELECT '{1:1,}/2'::sparsevec;
SELECT '{,1:1}/2'::sparsevec;
SELECT '{1:1 2:1}/2'::sparsevec;
SELECT '{1:1}'::sparsevec;
SELECT '{1:1}/'::sparsevec;
SELECT '{1:1}/2x'::sparsevec;
SELECT '{1:1}/2/'::sparsevec;
SELECT '{1.5:1}/2'::sparsevec;
SELECT '{0:1}/2'::sparsevec;
SELECT '{3:1}/2'::sparsevec;
SELECT '{-9223372036854775809:1}/2'::sparsevec;
SELECT '{1:1,1:2}/2'::sparsevec;
SELECT '{1:nan}/2'::sparsevec;
SELECT '{1:-inf}/2'::sparsevec;
SELECT '{1:4e38}/2'::sparsevec;
SELECT '{1:1e-50}/2'::sparsevec;
SELECT '{}/0'::sparsevec;
SELECT '{}/1000000001'::sparsevec;
SELECT '{}/99999999999999999999'::sparsevec;
SELECT '{1:1}/2'::sparsevec(3);
SELECT '{1:1}/2'::sparsevec(0);
SELECT '{1:1}/2'::sparsevec(1000000001);
SELECT '{1:1}/2'::sparsevec(2,3);
SELECT (('{' || string_agg(n || ':1', ',') || '}/20000')::sparsevec)::text LIKE '{1:1,2:1,%,16000:1}/20000' AS most FROM generate_series(1, 16000) n;
SELECT ('{' || string_agg(n || ':1', ',') || '}/20000')::sparsevec FROM generate_series(1, 16001) n;
SELECT array_fill(1, ARRAY[16001])::sparsevec;
SELECT vector_dims(array_fill(0, ARRAY[20000])::sparsevec::vector);

-- casts
SELECT '[0,1.5,0,-2]'::vector::sparsevec, '[0,1.5,0,-2]'::halfvec::sparsevec, '{2:1.5,4:-2}/4'::sparsevec::vector, '{2:0.1,4:-2}/4'::sparsevec::halfvec;
SELECT ARRAY[0,1,0]::sparsevec, '{0,1.5,0}'::real[]::sparsevec(3), '{0,1.5,1e-50}'::float8[]::sparsevec, '{0,1.5,-0.0}'::numeric[]::sparsevec;
SELECT '{1:1}/16001'::sparsevec::vector;
SELECT '{1:1}/16001'::sparsevec::halfvec;
SELECT '{1:65520}/2'::sparsevec::halfvec;
SELECT '{1:1e-20}/2'::sparsevec::halfvec;
SELECT '{1:1}/2'::sparsevec::vector(3), 0;
SELECT '[1,2]'::vector::sparsevec(3);
SELECT '{1,NULL}'::real[]::sparsevec;
SELECT '{{1},{2}}'::real[]::sparsevec;
SELECT '{}'::real[]::sparsevec;
SELECT '{nan}'::float8[]::sparsevec;
SELECT ARRAY[1,2,3] = ARRAY[1,2,3] AS arrays_still_compare;

-- distances and functions
SELECT '{1:1,2:2}/3'::sparsevec <-> '{2:2,3:2}/3', '{1:1,2:2}/3'::sparsevec <#> '{2:3}/3', '{1:3}/2'::sparsevec <=> '{2:4}/2',
	'{1:1,2:2}/3'::sparsevec <+> '{2:-1,3:2}/3', '{}/2'::sparsevec <=> '{1:1}/2';
SELECT '{1:1}/2'::sparsevec <-> '{1:1}/3';
SELECT '{1:1}/2'::sparsevec <#> '{1:1}/3';
SELECT '{1:1}/2'::sparsevec <=> '{1:1}/3';
SELECT '{1:1}/2'::sparsevec <+> '{1:1}/3';
SELECT l2_norm('{1:3,9:4}/9'::sparsevec), l2_norm('{}/9'::sparsevec), l2_normalize('{1:3,9:4}/9'::sparsevec), l2_normalize('{}/9'::sparsevec),
	l2_normalize('{1:3e38,2:1e-10}/2'::sparsevec), inner_product('{1:1,2:2}/2'::sparsevec, '{2:4}/2'), sparsevec_l2_squared_distance('{1:1}/2', '{2:3}/2');
-- of the whole vectors, to the last bit
CREATE TABLE pairs AS SELECT n, a::sparsevec AS a, b::sparsevec AS b, a AS va, b AS vb FROM generate_series(1, 400) n,
	LATERAL (SELECT array_agg(CASE WHEN hashint4(n * 1000 + k) % 3 = 0 THEN sin(n + k * 7.3) * n ELSE 0 END ORDER BY k)::vector AS a,
		array_agg(CASE WHEN hashint4(n * 1001 + k) % 4 = 0 THEN cos(n - k * 3.7) / n ELSE 0 END ORDER BY k)::vector AS b FROM generate_series(1, 3 + n % 90) k) x;
SELECT count(*), count(*) FILTER (WHERE a::text LIKE '{}%') AS zero FROM pairs;
SELECT n FROM pairs WHERE (a <-> b) IS DISTINCT FROM (va <-> vb) OR (a <#> b) IS DISTINCT FROM (va <#> vb) OR (a <=> b) IS DISTINCT FROM (va <=> vb)
	OR (a <+> b) IS DISTINCT FROM (va <+> vb) OR l2_norm(a) <> vector_norm(va) OR l2_normalize(a) <> l2_normalize(va)::sparsevec
	OR l2_distance(a, b) <> (va <-> vb) OR cosine_distance(a, b) IS DISTINCT FROM (va <=> vb) OR l1_distance(a, b) <> (va <+> vb)
	OR a::vector <> va OR sparsevec_cmp(a, b) <> vector_cmp(va, vb);
SELECT count(*) AS differ FROM pairs p, pairs q WHERE sparsevec_cmp(p.a, q.b) <> vector_cmp(p.va, q.vb) OR sparsevec_cmp(p.a, q.a) <> vector_cmp(p.va, q.va)
	OR (p.a < q.a) <> (p.va < q.va) OR (p.a <= q.b) <> (p.va <= q.vb) OR (p.a = q.a) <> (p.va = q.va) OR (p.a <> q.b) <> (p.va <> q.vb)
	OR (p.a >= q.a) <> (p.va >= q.va) OR (p.a > q.b) <> (p.va > q.vb);
SELECT '{2:1}/2'::sparsevec > '{}/1', '{2:-1}/2'::sparsevec > '{}/1', '{1:-1}/2'::sparsevec < '{}/1', '{}/1'::sparsevec < '{}/2', '{2:1}/9'::sparsevec > '{3:1}/9', '{2:-1}/9'::sparsevec < '{3:1}/9';

-- in tables: exact order, B-tree, DISTINCT, COPY in text and binary, TOAST
CREATE TABLE t (id int, s sparsevec(2000));
INSERT INTO t SELECT n, (SELECT ('{' || string_agg((k * 17 + n) % 2000 + 1 || ':' || n + k, ',') || '}/2000')::sparsevec FROM generate_series(1, 1 + n * 7 % 100) k)
	FROM generate_series(1, 200) n;
INSERT INTO t VALUES (0, NULL), (-1, '{}/2000');
INSERT INTO t VALUES (1000, '{1:1}/3');
SELECT id FROM t ORDER BY s <-> '{5:7,22:8}/2000' LIMIT 3;
SELECT id FROM t ORDER BY s <=> (SELECT s FROM t WHERE id = 77), id LIMIT 2;
CREATE UNIQUE INDEX t_b ON t (s);
SET enable_seqscan = off;
SELECT id FROM t WHERE s = (SELECT s FROM t x WHERE x.id = 150);
SELECT count(*) = count(DISTINCT s) AS distinct FROM t WHERE s IS NOT NULL;
INSERT INTO t VALUES (1000, '{}/2000');
RESET enable_seqscan;
CREATE TABLE big (s sparsevec);
INSERT INTO big SELECT ('{' || string_agg(k || ':' || sin(k), ',') || '}/1000000')::sparsevec FROM generate_series(1, 15999) k;
SELECT pg_column_size(s) > 100000 AS long, abs((s <-> '{}/1000000') / l2_norm(s) - 1) < 1e-6 AS measured FROM big;

-- binary, and what it must not be
SELECT encode(sparsevec_send('{1:1.5,4:-2}/5'), 'hex');

SELECT current_setting('data_directory') || '/sparsevec_copy_any.bin' AS file \gset
CREATE TABLE copied (LIKE t);
COPY t TO :'file' (FORMAT binary);
COPY copied FROM :'file' (FORMAT binary);
SELECT count(*) AS differ FROM t FULL JOIN copied c USING (id) WHERE t.s IS DISTINCT FROM c.s;
TRUNCATE copied;
COPY t TO :'file';
COPY copied FROM :'file';
SELECT count(*) AS differ FROM t FULL JOIN copied c USING (id) WHERE t.s IS DISTINCT FROM c.s;
CREATE TABLE any_bytes (s sparsevec);
-- no bytes
COPY (SELECT '\x'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- half a header
COPY (SELECT '\x00000005'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- none of them
COPY (SELECT '\x000000050000000000000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- two
COPY (SELECT '\x00000005000000020000000000000000000000033fc00000c0000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- fewer values than announced
COPY (SELECT '\x00000005000000020000000000000000000000033fc00000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- more
COPY (SELECT '\x000000050000000100000000000000003fc0000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- no dimensions
COPY (SELECT '\x000000000000000000000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- negative
COPY (SELECT '\xffffffff0000000000000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- too many dimensions
COPY (SELECT '\x3b9aca010000000000000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- negative
COPY (SELECT '\x00000005ffffffff00000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- too many
COPY (SELECT '\x000fffff00003e8100000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- by far
COPY (SELECT '\x7fffffff7fffffff00000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- more than dimensions
COPY (SELECT '\x000000020000000300000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- unused
COPY (SELECT '\x000000050000000000000001'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- out of bounds
COPY (SELECT '\x000000050000000100000000000000053fc00000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
COPY (SELECT '\x000000050000000100000000ffffffff3fc00000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- descending
COPY (SELECT '\x00000005000000020000000000000003000000013fc00000c0000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- twice
COPY (SELECT '\x00000005000000020000000000000003000000033fc00000c0000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- zero
COPY (SELECT '\x0000000500000001000000000000000300000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
COPY (SELECT '\x0000000500000001000000000000000380000000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- nan
COPY (SELECT '\x000000050000000100000000000000037fc00000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
-- infinite
COPY (SELECT '\x000000050000000100000000000000037f800000'::bytea) TO :'file' (FORMAT binary);
COPY any_bytes FROM :'file' (FORMAT binary);
SELECT * FROM any_bytes;
CREATE TABLE two (s sparsevec(2));
COPY (SELECT sparsevec_send('{1:1}/3')) TO :'file' (FORMAT binary);
COPY two FROM :'file' (FORMAT binary);

-- an index waits
CREATE INDEX ON t USING hnsw (s sparsevec_l2_ops);
CREATE INDEX ON t USING hnsw (s sparsevec_ip_ops) WITH (m = 16, ef_construction = 64);
CREATE INDEX ON t USING hnsw (s sparsevec_cosine_ops);
CREATE INDEX CONCURRENTLY t_c ON t USING hnsw (s sparsevec_l1_ops);
DROP INDEX t_c;
CREATE INDEX ON t USING vectron (s sparsevec_l2_ops);
CREATE INDEX ON t USING vectron (s);
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 't'::regclass;
INSERT INTO t VALUES (2000, '{7:7}/2000');
DROP TABLE t, big, pairs, copied, any_bytes, two;
