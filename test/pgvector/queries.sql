-- What it asks; the answers must be the same.
\pset format unaligned
\pset tuples_only on
SET enable_seqscan = off;
SET hnsw.ef_search = 400;
SET ivfflat.probes = 10;
SET hnsw.iterative_scan = strict_order;
SELECT id FROM items ORDER BY embedding <-> '[0.3,0.2,0.1]' LIMIT 10;
SELECT id FROM items ORDER BY embedding <=> '[0.3,0.2,0.1]' LIMIT 10;
SELECT id FROM items ORDER BY half <#> '[0.3,0.2,0.1]' LIMIT 10;
SELECT id FROM items WHERE tenant = 1 ORDER BY half <+> '[0.3,0.2,0.1]' LIMIT 10;
SELECT id FROM items ORDER BY embedding::halfvec(3) <-> '[0.3,0.2,0.1]' LIMIT 10;
SELECT id FROM items WHERE tenant = 2 ORDER BY embedding <-> '[0.3,0.2,0.1]' LIMIT 10;
SELECT id FROM items ORDER BY sparse <-> '{10:1,11:1}/1000', id LIMIT 10;
SELECT id FROM items ORDER BY bits <~> B'10101010', id LIMIT 10;
SELECT bits <~> B'10101010' FROM items ORDER BY bits <~> B'10101010' LIMIT 10;
SELECT round((bits <%> B'10101010')::numeric, 12) FROM items ORDER BY bits <%> B'10101010' LIMIT 10;
SELECT id FROM (SELECT * FROM items ORDER BY binary_quantize(embedding)::bit(3) <~> binary_quantize('[0.3,0.2,0.1]'::vector)::bit(3) LIMIT 501) s ORDER BY embedding <-> '[0.3,0.2,0.1]' LIMIT 10;
SELECT id FROM items ORDER BY embedding LIMIT 3;
SELECT id FROM nearest;
SELECT id FROM parts ORDER BY embedding <-> '[99.4,1]' LIMIT 10;
BEGIN; SET LOCAL hnsw.ef_search = 100; SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <-> '[0.3,0.2,0.1]' LIMIT 50) s; COMMIT;
SELECT id, encode(vector_send(embedding), 'hex'), encode(halfvec_send(half), 'hex'), encode(sparsevec_send(sparse), 'hex') FROM items WHERE id % 50 = 0 ORDER BY id;
