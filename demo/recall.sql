-- How much of the exact answer the index finds: 100 films that are not in the
-- table, the ten nearest of each, by index and by reading every row.
CREATE FUNCTION pg_temp.plan(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		plan := plan || line || E'\n';
	END LOOP;
	RETURN plan;
END $$;

SET enable_indexscan = off;
SET max_parallel_workers_per_gather = 0;
CREATE TEMP TABLE exact AS
	SELECT q.id, f.id AS film
	FROM queries q, LATERAL (SELECT id FROM films ORDER BY embedding <=> q.embedding LIMIT 10) f;
RESET enable_indexscan;

SET enable_seqscan = off;
DO $$
BEGIN
	IF pg_temp.plan('SELECT id FROM films ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = 1) LIMIT 10')
		NOT LIKE '%Index Scan using films_embedding%' THEN
		RAISE EXCEPTION 'the planner does not use the index films_embedding';
	END IF;
END $$;
CREATE TEMP TABLE found AS
	SELECT q.id, f.id AS film
	FROM queries q, LATERAL (SELECT id FROM films ORDER BY embedding <=> q.embedding LIMIT 10) f;

SELECT round(count(f.film)::numeric / count(*), 4)
FROM exact e LEFT JOIN found f ON f.id = e.id AND f.film = e.film;
