-- vectron 1.4: searches for many vectors at once, and indexes on bit strings.
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

---------------------------------------------------------------------------
-- Indexes on bit strings
---------------------------------------------------------------------------

CREATE FUNCTION vectron.metric_bit_hamming() RETURNS integer
	AS 'MODULE_PATHNAME', 'vectron_metric_bit_hamming' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION vectron.metric_bit_jaccard() RETURNS integer
	AS 'MODULE_PATHNAME', 'vectron_metric_bit_jaccard' LANGUAGE C IMMUTABLE PARALLEL SAFE;

-- The operator classes that refused an index make way for those that build one.  What a refused
-- CREATE INDEX CONCURRENTLY, or one ON ONLY a partitioned table, has left behind hangs on them.
DO $$
DECLARE
	left_behind text;
	class record;
BEGIN
	SELECT d.objid::pg_catalog.regclass::text INTO left_behind
		FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_opclass c ON d.refobjid OPERATOR(pg_catalog.=) c.oid
			JOIN pg_catalog.pg_amproc p ON p.amprocfamily OPERATOR(pg_catalog.=) c.opcfamily
		WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_opclass'::pg_catalog.regclass
			AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
			AND p.amproc OPERATOR(pg_catalog.=) 'vectron.metric_none()'::pg_catalog.regprocedure
			AND c.opcintype OPERATOR(pg_catalog.=) 'pg_catalog.bit'::pg_catalog.regtype
		ORDER BY 1 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'index "%" on bit strings was refused, but is still there', left_behind
			USING ERRCODE = 'dependent_objects_still_exist', HINT = 'Drop it, and create it after the update.';
	END IF;
	FOR class IN
		VALUES ('bit_hamming_ops', '<~>', 'hamming', 'vectron'), ('bit_hamming_ops', '<~>', 'hamming', 'hnsw'),
			('bit_hamming_ops', '<~>', 'hamming', 'ivfflat'),
			('bit_jaccard_ops', '<%>', 'jaccard', 'vectron'), ('bit_jaccard_ops', '<%>', 'jaccard', 'hnsw')
	LOOP
		EXECUTE pg_catalog.format('DROP OPERATOR FAMILY %s.%I USING %I', '@extschema@', class.column1, class.column4);
		EXECUTE pg_catalog.format('CREATE OPERATOR CLASS %1$s.%2$I FOR TYPE pg_catalog.bit USING %3$I AS '
			'OPERATOR 1 %1$s.%4$s (pg_catalog.bit, pg_catalog.bit) FOR ORDER BY pg_catalog.float_ops, '
			'FUNCTION 1 vectron.metric_bit_%5$s()', '@extschema@', class.column1, class.column4, class.column2, class.column3);
	END LOOP;
END
$$;
