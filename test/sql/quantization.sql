-- what a search walks on does not change what it says
CREATE TABLE q (id int, v vector(64));
INSERT INTO q SELECT i, (SELECT array_agg(sin(i * 0.37 + j * (i % 23 + 1)) ORDER BY j)::vector(64) FROM generate_series(1, 64) j)
	FROM generate_series(1, 3000) i;
SET enable_seqscan = off;
SET vectron.verify_scan = on;
CREATE TABLE truth AS SELECT a.id AS query, array_agg(b.id ORDER BY b.rank) AS ids
	FROM (SELECT id, v FROM q WHERE id % 100 = 0) a
		CROSS JOIN LATERAL (SELECT id, row_number() OVER (ORDER BY v <-> a.v, ctid) AS rank FROM q) b
	WHERE b.rank <= 10 GROUP BY a.id;
CREATE FUNCTION recall() RETURNS numeric LANGUAGE sql AS $$
	SELECT round(avg((SELECT count(*) FROM unnest(f.ids) i WHERE i = ANY (t.ids)) / 10.0), 2)
	FROM truth t JOIN LATERAL (SELECT array_agg(id) AS ids FROM
		(SELECT id FROM q ORDER BY v <-> (SELECT v FROM q WHERE id = t.query) LIMIT 10) n) f ON true $$;

CREATE INDEX q_i ON q USING vectron (v vector_l2_ops);
SELECT m.quantization FROM vectron.index_meta('q_i') m;
SELECT recall() >= 0.95 AS int8_finds;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM q ORDER BY v <-> (SELECT v FROM q WHERE id = 1)) n;
ALTER INDEX q_i SET (quantization = none);
REINDEX INDEX q_i;
SELECT m.quantization FROM vectron.index_meta('q_i') m;
SELECT recall() >= 0.95 AS none_finds;
DROP TABLE q, truth;
DROP FUNCTION recall();
