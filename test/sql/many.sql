-- vectron.search_many() gives what a join LATERAL gives
SET vectron.verify_scan = on;
SET vectron.ef_search = 400;
CREATE TABLE places (id int PRIMARY KEY, kind int, v vector(4));
CREATE FUNCTION some_place(n int) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$ SELECT array_agg(((n * 7919 + d * 104729 + (n * d) % 31) % 1009) / 100.0 - 5 ORDER BY d)::vector(4)
	   FROM generate_series(1, 4) d $$;
INSERT INTO places SELECT n, n % 5, some_place(n) FROM generate_series(1, 400) n;
CREATE INDEX places_l2 ON places USING vectron (v) WITH (shards = 3);
CREATE INDEX places_ip ON places USING vectron (v vector_ip_ops);
CREATE INDEX places_cos ON places USING hnsw (v vector_cosine_ops);
CREATE INDEX places_half ON places USING vectron ((v::halfvec(4)) halfvec_l1_ops);
CREATE INDEX places_id ON places (kind);
SET enable_seqscan = off;

-- rows that differ, for so many queries, k each
CREATE FUNCTION differ(op text, index regclass, n int, k int) RETURNS TABLE (missing bigint, more bigint) LANGUAGE plpgsql AS $$
DECLARE
	qs vector[] := (SELECT array_agg(some_place(1000 + q) ORDER BY q) FROM generate_series(1, n) q);
BEGIN
	RETURN QUERY EXECUTE format(
		'WITH many AS (SELECT query, distance, (item).id FROM vectron.search_many(NULL::places, $2, $1, $3)),
		each AS (SELECT q.n::int AS query, p.distance, p.id FROM unnest($1) WITH ORDINALITY q(v, n)
			CROSS JOIN LATERAL (SELECT v %s q.v AS distance, id FROM places ORDER BY v %1$s q.v LIMIT $3) p)
		SELECT (SELECT count(*) FROM (TABLE each EXCEPT ALL TABLE many) s), (SELECT count(*) FROM (TABLE many EXCEPT ALL TABLE each) s)', op)
		USING qs, index, k;
END $$;
SELECT * FROM differ('<->', 'places_l2', 1, 10);
SELECT * FROM differ('<->', 'places_l2', 70, 10);
SELECT * FROM differ('<->', 'places_l2', 300, 3);
SELECT * FROM differ('<->', 'places_l2', 5, 1000);
SELECT * FROM differ('<#>', 'places_ip', 70, 10);
SELECT * FROM differ('<=>', 'places_cos', 70, 10);
SELECT query, count(*), min((item).id), count(DISTINCT (item).id)
	FROM vectron.search_many(NULL::places, 'places_l2', ARRAY[some_place(3), some_place(4), some_place(3)]) GROUP BY 1 ORDER BY 1;
SELECT query, distance, (item).id FROM vectron.search_many(NULL::places, 'places_half', ARRAY[some_place(3)]::halfvec[], 1);
SELECT * FROM vectron.search_many(NULL::places, 'places_l2', '{}'::vector[], 5);

-- more than the workers were asked for at first: rows that the snapshot does not see
DELETE FROM places WHERE id % 10 <> 0;
SELECT * FROM differ('<->', 'places_l2', 20, 10);
SELECT count(*) FROM vectron.search_many(NULL::places, 'places_l2', ARRAY[some_place(1), some_place(2)], 100);

-- those of the own transaction; not those of one that was undone
BEGIN;
INSERT INTO places SELECT n, 1, some_place(n) FROM generate_series(401, 450) n;
UPDATE places SET kind = 9 WHERE id = 10;
SELECT query, (item).id, (item).kind FROM vectron.search_many(NULL::places, 'places_l2', ARRAY[some_place(401), some_place(10), some_place(450)], 1);
SAVEPOINT s;
DELETE FROM places WHERE id > 400;
SELECT count(*) FROM vectron.search_many(NULL::places, 'places_l2', ARRAY[some_place(401)], 100);
ROLLBACK TO s;
SELECT count(*) FROM vectron.search_many(NULL::places, 'places_l2', ARRAY[some_place(401)], 100);
ROLLBACK;
SELECT count(*) FROM vectron.search_many(NULL::places, 'places_l2', ARRAY[some_place(401)], 100);

-- no distance is a number
SELECT query, count(*), bool_and(distance = 'NaN') FROM vectron.search_many(NULL::places, 'places_cos', ARRAY['[0,0,0,0]', '[1,0,0,0]']::vector[], 3) GROUP BY 1 ORDER BY 1;

-- an index that has nothing yet
CREATE TABLE nothing (v vector(2));
CREATE INDEX nothing_v ON nothing USING vectron (v);
SELECT * FROM vectron.search_many(NULL::nothing, 'nothing_v', ARRAY['[0,0]', '[1,1]']::vector[], 3);

-- a row of before a column was added has its value wherever it is kept
CREATE TABLE grown (v vector(2));
INSERT INTO grown VALUES ('[1,2]');
CREATE INDEX grown_v ON grown USING vectron (v);
ALTER TABLE grown ADD COLUMN n int DEFAULT 7;
CREATE TABLE kept AS SELECT item FROM vectron.search_many(NULL::grown, 'grown_v', ARRAY['[1,2]']::vector[], 1);
VACUUM FULL grown;
SELECT item FROM kept;
DROP TABLE kept, grown;

-- what cannot be asked
SELECT * FROM vectron.search_many(NULL::places, 'places_l2', ARRAY['[1,2]']::vector[], 3);
SELECT * FROM vectron.search_many(NULL::places, 'places_l2', ARRAY['[1,2,3,4]', '[1,2]']::vector[], 3);
SELECT * FROM vectron.search_many(NULL::places, 'places_l2', ARRAY['[1,2,3,4]', NULL]::vector[], 3);
SELECT * FROM vectron.search_many(NULL::places, 'places_l2', ARRAY[ARRAY['[1,2,3,4]']]::vector[], 3);
SELECT * FROM vectron.search_many(NULL::places, 'places_half', ARRAY['[1,2,3,4]']::vector[], 3);
SELECT * FROM vectron.search_many(NULL::places, 'places_l2', ARRAY['[1,2,3,4]']::vector[], 0);
SELECT * FROM vectron.search_many(NULL::places, 'places_l2', ARRAY['[1,2,3,4]']::vector[], 65537);
SELECT * FROM vectron.search_many(NULL::places, 'places_l2', NULL::vector[], 1);
SELECT * FROM vectron.search_many(NULL::nothing, 'places_l2', ARRAY['[1,2,3,4]']::vector[], 3);
SELECT * FROM vectron.search_many(NULL::places, 'places_id', ARRAY['[1,2,3,4]']::vector[], 3);
SELECT * FROM vectron.search_many(NULL::places, 'places', ARRAY['[1,2,3,4]']::vector[], 3);
CREATE TABLE parted (v vector(2), n int) PARTITION BY LIST (n);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE INDEX parted_v ON parted USING vectron (v);
SELECT * FROM vectron.search_many(NULL::parted, 'parted_v', ARRAY['[1,2]']::vector[], 3);
INSERT INTO parted VALUES ('[1,2]', 1);
SELECT * FROM vectron.search_many(NULL::parted_1, 'parted_1_v_idx', ARRAY['[1,3]']::vector[], 3);

-- who may not see all rows
CREATE ROLE reader_of_places;
GRANT SELECT (id, v) ON places TO reader_of_places;
SET ROLE reader_of_places;
SELECT count(*) FROM vectron.search_many(NULL::places, 'places_l2', ARRAY['[1,2,3,4]']::vector[], 3);
RESET ROLE;
GRANT SELECT ON places TO reader_of_places;
SET ROLE reader_of_places;
SELECT count(*) FROM vectron.search_many(NULL::places, 'places_l2', ARRAY['[1,2,3,4]']::vector[], 3);
RESET ROLE;
ALTER TABLE places ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON places USING (id % 2 = 1);
SELECT count(*) FROM vectron.search_many(NULL::places, 'places_l2', ARRAY['[1,2,3,4]']::vector[], 3);
SET ROLE reader_of_places;
SELECT count(*) FROM vectron.search_many(NULL::places, 'places_l2', ARRAY['[1,2,3,4]']::vector[], 3);
RESET ROLE;
DROP OWNED BY reader_of_places;
DROP ROLE reader_of_places;
DROP TABLE places, nothing, parted;
DROP FUNCTION some_place, differ;
