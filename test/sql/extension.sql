-- a second type named vector is refused
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
\c regression
DROP DATABASE vectron_other;
