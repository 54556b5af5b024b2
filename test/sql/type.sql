-- text format
SELECT '[1,2.5,-3]'::vector;
SELECT ' [ 1 , 2 ,	3 ] '::vector;
SELECT '[1.5e38,-1.5e38,1e-45]'::vector;
SELECT '[0.1,0.2,0.30000001192092896]'::vector;
SELECT '[1,2]'::vector(2), '[1,2]'::vector(2)::text;
SELECT '[]'::vector;
SELECT '[ ]'::vector;
SELECT ''::vector;
SELECT '1,2'::vector;
SELECT '[1,2'::vector;
SELECT '[1,2]x'::vector;
SELECT '[1,,2]'::vector;
SELECT '[1,2,]'::vector;
SELECT '[,1]'::vector;
SELECT '[1 2]'::vector;
SELECT '[a]'::vector;
SELECT '[1,'::vector;
SELECT '[NaN,1]'::vector;
SELECT '[Infinity,1]'::vector;
SELECT '[-Infinity,1]'::vector;
SELECT '[4e38,1]'::vector;
SELECT '[-4e38,1]'::vector;
SELECT '[1e-50]'::vector;
-- what strtof reads beyond plain numbers, and what it does not
SELECT '[+1,.5,5.,1e2,0x10,-0]'::vector;
SELECT E'\x0b[\n1\t,\x0c2\r]\n'::vector;
SELECT '[1_000]'::vector;
SELECT '[0x]'::vector;
SELECT '[1e]'::vector;
SELECT '[.]'::vector;
SELECT '[--1]'::vector;
SELECT '{1,2}'::vector;
SELECT '[[1]]'::vector;
SELECT '[1,2]]'::vector;
SELECT '[inf]'::vector;
SELECT '[nan]'::vector;
SELECT '[3.4028235e38]'::vector, '[3.4028236e38]'::vector;
SELECT '[1.17549435e-38,16777217,123456789,0.00001,1000000]'::vector;
-- what has no meaning for vectors has no meaning
SELECT ('[1,2]'::vector)[1];
SELECT -'[1,2]'::vector;
SELECT '[1,2]'::vector::text[];
-- dimensions
SELECT '[1,2]'::vector(3);
SELECT '[1]'::vector(0);
SELECT '[1]'::vector(16001);
SELECT '[1]'::vector(1,2);
SELECT '[1]'::vector('a');
SELECT vector_dims(('[' || repeat('0,', 15999) || '0]')::vector);
SELECT vector_dims(('[' || repeat('0,', 16000) || '0]')::vector);
CREATE TABLE t (v vector(3), w vector);
\d t
INSERT INTO t VALUES ('[1,2,3]', '[1]'), (NULL, '[1,2]');
INSERT INTO t VALUES ('[1,2]', NULL);
SELECT * FROM t;
-- size and storage
SELECT pg_column_size('[1,2,3]'::vector), typstorage, typlen, typalign FROM pg_type WHERE typname = 'vector';
-- binary format: int16 dim, int16 0, float4s
SELECT vector_send('[1,-2]');
CREATE TABLE u (v vector(3), w vector);
SELECT current_setting('data_directory') || '/vector_copy.bin' AS file \gset
COPY t TO :'file' (FORMAT binary);
COPY u FROM :'file' (FORMAT binary);
SELECT * FROM u;
SELECT count(*) FROM t JOIN u ON t.w = u.w;
COPY u (v) FROM stdin;
[4,5,6]
\N
[7,8]
\.
COPY u (v) FROM stdin;
[4,5,6]
\N
\.
SELECT v FROM u ORDER BY v;
DROP TABLE t, u;
-- long vectors are stored out of line, not compressed, and come back whole
CREATE TABLE t (id int, v vector);
INSERT INTO t SELECT n, array_agg(i + n)::real[] FROM generate_series(0, 2) n, generate_series(1, 16000) i GROUP BY n;
SELECT id, vector_dims(v), pg_column_size(v), subvector(v, 15999, 2), v = (SELECT array_agg(i + id) FROM generate_series(1, 16000) i)::vector AS whole FROM t ORDER BY id;
UPDATE t SET id = id + 10 WHERE id = 1;
SELECT id, v <-> (SELECT v FROM t WHERE id = 0) FROM t ORDER BY id;
DROP TABLE t;
-- typmod in arrays, domains, defaults, ALTER TABLE
SELECT '{"[1,2]","[3]"}'::vector[], '{"[1,2]","[3,4]"}'::vector(2)[];
SELECT '{"[1,2]","[3]"}'::vector(2)[];
CREATE DOMAIN pair AS vector(2) CHECK (vector_norm(VALUE) > 0);
SELECT '[1,2]'::pair, '[1,2]'::pair <-> '[1,3]';
SELECT '[0,0]'::pair;
SELECT '[1,2,3]'::pair;
DROP DOMAIN pair;
CREATE TABLE t (v vector);
INSERT INTO t VALUES ('[1,2]'), (NULL);
ALTER TABLE t ALTER v TYPE vector(3);
ALTER TABLE t ALTER v TYPE vector(2);
ALTER TABLE t ALTER v TYPE real[];
ALTER TABLE t ALTER v TYPE vector(2);
\d t
DROP TABLE t;
-- as part of other values
SELECT to_json('[1,2]'::vector), row('[1,2]'::vector, NULL::vector);
-- SQLSTATEs
\set VERBOSITY sqlstate
SELECT '[]'::vector;
SELECT '1'::vector;
SELECT '[1]x'::vector;
SELECT '[a]'::vector;
SELECT '[1,'::vector;
SELECT '[NaN]'::vector;
SELECT '[inf]'::vector;
SELECT '[4e38]'::vector;
SELECT '[1,2]'::vector(3);
SELECT '[1]'::vector(0);
SELECT '[1]'::vector(16001);
SELECT '[1]'::vector(1, 2);
SELECT ('[' || repeat('0,', 16000) || '0]')::vector;
\set VERBOSITY default
