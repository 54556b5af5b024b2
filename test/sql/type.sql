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
