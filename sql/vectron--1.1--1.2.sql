-- vectron 1.2: columns beside the vector in an index, and conditions on them; feature levels in views.
-- Run by ALTER EXTENSION, and by CREATE EXTENSION after 1.1; complain when it is not.
\echo Use "ALTER EXTENSION vectron UPDATE TO '1.2'" to load this file. \quit

-- Operator classes for the types whose values the workers can compare: the operators of
-- PostgreSQL's own B-tree families for them, and <>, of which the immutable ones between two of
-- these types.  (A date and a timestamptz compare by the time zone of the session.)  Types that
-- are only told apart have "=".
DO $$
DECLARE
	class record;
	made text[] := '{}';
BEGIN
	FOR class IN
		WITH types(type, family, operators) AS (VALUES
			('bool'::pg_catalog.regtype, 'bool_ops', 6),
			('"char"', 'char_ops', 6),
			('int2', 'integer_ops', 6),
			('int4', 'integer_ops', 6),
			('int8', 'integer_ops', 6),
			('oid', 'oid_ops', 6),
			('float4', 'float_ops', 6),
			('float8', 'float_ops', 6),
			('date', 'datetime_ops', 6),
			('timestamp', 'datetime_ops', 6),
			('timestamptz', 'datetime_ops', 6),
			('time', 'time_ops', 6),
			('uuid', 'uuid_ops', 1),
			('text', 'text_ops', 1),
			('bytea', 'bytea_ops', 1)),
		families AS (
			SELECT f.oid, f.opfname FROM pg_catalog.pg_opfamily f JOIN pg_catalog.pg_am a ON a.oid = f.opfmethod
			WHERE a.amname = 'btree' AND f.opfnamespace = 'pg_catalog'::pg_catalog.regnamespace),
		compared AS (
			SELECT o.amopfamily, o.amoplefttype AS left_type, o.amoprighttype AS right_type, o.amopstrategy AS strategy, o.amopopr AS operator
			FROM pg_catalog.pg_amop o JOIN families f ON f.oid = o.amopfamily
			UNION ALL
			SELECT o.amopfamily, o.amoplefttype, o.amoprighttype, 6, n.oprnegate
			FROM pg_catalog.pg_amop o JOIN families f ON f.oid = o.amopfamily JOIN pg_catalog.pg_operator n ON n.oid = o.amopopr
			WHERE o.amopstrategy = 3)
		SELECT t.type, y.typname AS name, t.family,
			pg_catalog.string_agg(pg_catalog.format('OPERATOR %s pg_catalog.%s (%s, %s)', c.strategy, p.oprname, c.left_type::pg_catalog.regtype,
				c.right_type::pg_catalog.regtype), ', ' ORDER BY r.type, c.strategy) AS members
		FROM types t JOIN pg_catalog.pg_type y ON y.oid = t.type JOIN families f ON f.opfname = t.family
			JOIN compared c ON c.amopfamily = f.oid AND c.left_type = t.type
			JOIN types r ON r.type = c.right_type AND r.family = t.family
			JOIN pg_catalog.pg_operator p ON p.oid = c.operator
			JOIN pg_catalog.pg_proc i ON i.oid = p.oprcode AND i.provolatile = 'i'
		WHERE t.operators = 6 OR c.strategy = 3
		GROUP BY t.type, y.typname, t.family
		ORDER BY t.family, t.type
	LOOP
		IF NOT class.family = ANY (made) THEN
			EXECUTE pg_catalog.format('CREATE OPERATOR FAMILY %I USING vectron', class.family);
			made := made || class.family;
		END IF;
		EXECUTE pg_catalog.format('CREATE OPERATOR CLASS %I DEFAULT FOR TYPE %s USING vectron FAMILY %I AS %s',
			class.name || '_ops', class.type, class.family, class.members);
	END LOOP;
END
$$;

-- The feature levels that members know, and the one that the cluster works at; what workers' memory goes for.
CREATE OR REPLACE VIEW vectron.workers AS
	SELECT w.store, w.endpoint, w.state, w.last_heartbeat_ms, w.shards, w.records, w.bytes,
		   w.disk_free, w.memory, w.version, w.leaders, w.role, w.labels, w.level_low, w.level_high,
		   w.memory_limit, w.memory_of
	FROM pg_catalog.json_to_recordset(vectron.report('workers')::json -> 'workers') AS
		w(store numeric, endpoint text, state text, last_heartbeat_ms bigint, shards bigint,
		  records bigint, bytes bigint, disk_free bigint, memory bigint, version text,
		  leaders bigint, role text, labels text, level_low integer, level_high integer,
		  memory_limit bigint, memory_of json);

CREATE OR REPLACE VIEW vectron.pds AS
	SELECT p.id, p.endpoint, p.role, p.state, p.match, p.level_low, p.level_high
	FROM pg_catalog.json_to_recordset(vectron.report('pds')::json -> 'pds') AS
		p(id numeric, endpoint text, role text, state text, match bigint, level_low integer, level_high integer);

CREATE VIEW vectron.cluster AS
	SELECT c.cluster, c.level, c.leader, c.term, c.message
	FROM pg_catalog.json_to_record(vectron.report('status')::json) AS
		c(cluster text, level integer, leader text, term bigint, message text);
COMMENT ON VIEW vectron.cluster IS 'the cluster''s id, the feature level that it works at and which placement driver leads; message: why that is not known';
GRANT SELECT ON vectron.cluster TO pg_monitor;
