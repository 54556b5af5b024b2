-- COPY in both formats.  COPY (FORMAT binary) writes a bytea as it is, so a
-- bytea is a way to hand the reader any bytes.
SELECT current_setting('data_directory') || '/vector_copy_any.bin' AS file \gset
CREATE TABLE v (v vector);
CREATE TABLE w (v vector(2));
-- round trip of everything that a vector can hold
CREATE TABLE t (id int, v vector, a vector[]);
INSERT INTO t VALUES
	(1, '[1,-2.5,0]', '{"[1]","[2,3]",NULL}'),
	(2, '[3.4028235e38,-3.4028235e38,1e-45,-1e-45,-0]', '{}'),
	(3, NULL, NULL),
	(4, (SELECT array_agg(i) FROM generate_series(1, 16000) i), NULL);
CREATE TABLE u (LIKE t);
COPY t TO :'file' (FORMAT binary);
COPY u FROM :'file' (FORMAT binary);
SELECT id, t.v = u.v AS same, vector_send(t.v) = vector_send(u.v) AS same_bytes, t.a = u.a AS same_array FROM t JOIN u USING (id) ORDER BY id;
TRUNCATE u;
COPY t TO :'file';
COPY u FROM :'file';
SELECT id, t.v = u.v AS same, vector_send(t.v) = vector_send(u.v) AS same_bytes, t.a = u.a AS same_array FROM t JOIN u USING (id) ORDER BY id;
COPY (SELECT id, v, a FROM t WHERE id < 4 ORDER BY id) TO stdout;
COPY (SELECT v FROM t WHERE id < 3 ORDER BY id) TO stdout (FORMAT csv);
DROP TABLE t, u;
-- bad text: nothing of the COPY stays
COPY w FROM stdin;
[1,2]
[1,NaN]
\.
COPY w FROM stdin;
[1,2]
[1,2
\.
COPY w FROM stdin (FORMAT csv);
"[1,2]"
[1,2]
\.
SELECT count(*) FROM w;
-- no bytes, half a header, no elements, fewer than announced, more than announced
COPY (SELECT ''::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x0001'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x00010000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x000200003f800000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x000100003f80000000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
-- dimensions: 0, 16001, 65535
COPY (SELECT '\x00000000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x3e810000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\xffff0000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
-- the field that must be 0
COPY (SELECT '\x000100013f800000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x0001ffff3f800000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
-- NaN, infinity, minus infinity
COPY (SELECT '\x000100007fc00000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x000200003f8000007f800000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x00010000ff800000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
-- a column's typmod
COPY (SELECT '\x000100003f800000'::bytea) TO :'file' (FORMAT binary);
COPY w FROM :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
SELECT * FROM v;
-- SQLSTATEs
\set VERBOSITY sqlstate
COPY w FROM :'file' (FORMAT binary);
COPY (SELECT '\xffff0000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x000100013f800000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x00010000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
COPY (SELECT '\x000100007fc00000'::bytea) TO :'file' (FORMAT binary);
COPY v FROM :'file' (FORMAT binary);
\set VERBOSITY default
DROP TABLE v, w;
