-- Distances of bit strings
SELECT B'111' <~> B'111', B'111' <~> B'110', B'111' <~> B'100', B'111' <~> B'000', hamming_distance(B'1010101010', B'0101010101');
SELECT B'1111' <%> B'1111', B'1111' <%> B'1110', B'1111' <%> B'1100', B'1111' <%> B'0000', jaccard_distance(B'1100', B'1000');
SELECT B'0000' <%> B'0000', hamming_distance(B'', B''), jaccard_distance(B'', B'');
SELECT B'11' <~> B'111';
SELECT B'11' <%> B'1';
SELECT NULL <~> B'1', B'1' <%> NULL;
-- by hand
SELECT count(*) AS differ FROM generate_series(1, 300) i,
	LATERAL (SELECT (i * 7919 % 8191)::bit(13) AS a, (i * 104729 % 8191)::bit(13) AS b) x,
	LATERAL (SELECT count(*) FILTER (WHERE get_bit(a, k) <> get_bit(b, k)) AS apart,
		count(*) FILTER (WHERE get_bit(a, k) = 1 AND get_bit(b, k) = 1) AS in_both,
		count(*) FILTER (WHERE get_bit(a, k) = 1 OR get_bit(b, k) = 1) AS in_either FROM generate_series(0, 12) k) y
	WHERE hamming_distance(a, b) <> apart OR abs(jaccard_distance(a, b) - (1 - in_both / greatest(in_either, 1)::float8)) > 1e-15;
-- the nearest by sign, then by distance
CREATE TABLE t (id int, v vector(4));
INSERT INTO t VALUES (1, '[1,1,1,1]'), (2, '[1,-1,1,1]'), (3, '[-1,-1,-1,-1]'), (4, '[9,9,9,9]');
SELECT id FROM (SELECT * FROM t ORDER BY binary_quantize(v)::bit(4) <~> binary_quantize('[1,1,1,2]'::vector)::bit(4), id LIMIT 3) x ORDER BY v <-> '[1,1,1,2]';
SELECT id FROM t ORDER BY binary_quantize(v::halfvec)::bit(4) <%> B'1011', id LIMIT 1;
DROP TABLE t;
