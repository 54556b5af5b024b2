-- vectron 1.4: searches for many vectors at once.
-- Run by ALTER EXTENSION, and by CREATE EXTENSION after 1.3; complain when it is not.
\echo Use "ALTER EXTENSION vectron UPDATE TO '1.4'" to load this file. \quit

---------------------------------------------------------------------------
-- Many queries in one question
---------------------------------------------------------------------------

-- The first argument tells the type of the rows; its value does not matter.
CREATE FUNCTION vectron.search_many(of anyelement, index regclass, queries anycompatiblearray, k integer DEFAULT 10,
		OUT query integer, OUT distance double precision, OUT item anyelement)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'vectron_search_many' LANGUAGE C STABLE PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION vectron.search_many(anyelement, regclass, anycompatiblearray, integer) IS
	'of each query the k nearest rows of the index''s table, as ORDER BY and LIMIT give them';
