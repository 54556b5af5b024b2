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
\c :db
DROP DATABASE vectron_other;
