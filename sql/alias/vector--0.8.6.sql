-- The alias of vectron by pgvector's name: it has nothing of its own.
\echo Use "CREATE EXTENSION vector" to load this file. \quit
