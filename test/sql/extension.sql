-- a second type named vector is refused
SELECT current_database() AS db \gset
CREATE DATABASE vectron_other;
\c vectron_other
CREATE TYPE vector AS (x real);
CREATE EXTENSION vectron;
DROP TYPE vector;
CREATE SCHEMA vectron;
CREATE EXTENSION vectron;
DROP SCHEMA vectron;
CREATE SCHEMA elsewhere;
CREATE EXTENSION vectron SCHEMA elsewhere;
SELECT 'elsewhere.vector'::regtype, '[1,2]'::elsewhere.vector OPERATOR(elsewhere.<->) '[1,3]';
ALTER EXTENSION vectron SET SCHEMA public;
DROP EXTENSION vectron;
-- in schemas whose names need quotes
CREATE SCHEMA "Ext";
CREATE EXTENSION vectron SCHEMA "Ext";
CREATE TABLE e (b bit(8), v "Ext".vector(2));
CREATE INDEX e_b ON e USING hnsw (b "Ext".bit_hamming_ops);
CREATE INDEX e_v ON e USING vectron (v "Ext".vector_l2_ops);
SELECT index, state FROM vectron.indexes ORDER BY index::text;
DROP EXTENSION vectron CASCADE;
CREATE SCHEMA "100 %s";
CREATE EXTENSION vectron SCHEMA "100 %s";
CREATE INDEX e_b ON e USING hnsw (b "100 %s".bit_hamming_ops);
SELECT index, state FROM vectron.indexes;
DROP EXTENSION vectron CASCADE;
DROP TABLE e;
-- from the version before, with an index
CREATE EXTENSION vectron SCHEMA elsewhere VERSION '1.0';
CREATE TABLE t (v elsewhere.vector(2));
INSERT INTO t VALUES ('[1,2]'), ('[3,4]');
CREATE INDEX t_v ON t USING vectron (v);
CREATE TYPE halfvec AS (x real);
ALTER EXTENSION vectron UPDATE;
DROP TYPE halfvec;
CREATE ACCESS METHOD ivfflat TYPE INDEX HANDLER bthandler;
ALTER EXTENSION vectron UPDATE;
DROP ACCESS METHOD ivfflat;
ALTER EXTENSION vectron UPDATE;
SELECT extversion FROM pg_extension WHERE extname = 'vectron';
SELECT '[1,2]'::elsewhere.halfvec OPERATOR(elsewhere.<->) '[1,3]';
ALTER TABLE t ADD COLUMN n int;
CREATE INDEX t_vn ON t USING vectron (v, n);
INSERT INTO t VALUES ('[5,6]', 7);
SELECT entries, missing, extra, wrong FROM vectron.check_index('t_vn');
SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v');
CREATE INDEX t_h ON t USING hnsw (v elsewhere.vector_l2_ops) WITH (m = 8, ef_construction = 32);
SELECT index, state, m FROM vectron.indexes ORDER BY index::text;
DROP EXTENSION vectron CASCADE;
-- what refused an index on bits makes way for what builds one, if nothing hangs on it
CREATE EXTENSION vectron SCHEMA elsewhere VERSION '1.3';
CREATE TABLE b (b bit(8));
INSERT INTO b VALUES (B'00000001'), (B'11110000');
CREATE INDEX CONCURRENTLY b_b ON b USING hnsw (b elsewhere.bit_hamming_ops);
ALTER EXTENSION vectron UPDATE;
DROP INDEX b_b;
ALTER EXTENSION vectron UPDATE;
CREATE INDEX b_b ON b USING hnsw (b elsewhere.bit_hamming_ops);
CREATE INDEX b_j ON b USING vectron (b elsewhere.bit_jaccard_ops);
SELECT entries, missing, extra, wrong FROM vectron.indexes i, vectron.check_index(i.index) ORDER BY i.index::text;
DROP EXTENSION vectron CASCADE;
\c :db
DROP DATABASE vectron_other;
