-- A database as an application of pgvector makes it.
CREATE TABLE items (id bigserial PRIMARY KEY, tenant int, embedding vector(3), half halfvec(3), sparse sparsevec(1000), bits bit(8));
INSERT INTO items (tenant, embedding, half, sparse, bits)
	SELECT n % 3, ARRAY[sin(n), cos(n * 1.3), sin(n * 0.7)]::real[], ARRAY[sin(n), cos(n * 1.3), sin(n * 0.7)]::real[],
		format('{%s:%s,%s:1}/1000', n, sin(n) + 2, n + 1)::sparsevec, (n % 256)::bit(8)
	FROM generate_series(1, 500) n;
INSERT INTO items (tenant) VALUES (7);
CREATE INDEX items_l2 ON items USING hnsw (embedding vector_l2_ops) WITH (m = 16, ef_construction = 64);
CREATE INDEX items_cosine ON items USING hnsw (embedding vector_cosine_ops);
CREATE INDEX items_lists ON items USING ivfflat (embedding) WITH (lists = 10);
CREATE INDEX items_ip ON items USING ivfflat (half halfvec_ip_ops) WITH (lists = 10);
CREATE INDEX items_half ON items USING hnsw (half halfvec_l1_ops) WHERE tenant = 1;
CREATE INDEX items_cast ON items USING hnsw ((embedding::halfvec(3)) halfvec_l2_ops);
CREATE INDEX items_bits ON items USING hnsw (bits bit_hamming_ops);
CREATE INDEX items_jaccard ON items USING hnsw (bits bit_jaccard_ops) WITH (m = 16, ef_construction = 64);
CREATE INDEX items_bit_lists ON items USING ivfflat (bits bit_hamming_ops) WITH (lists = 10);
CREATE INDEX items_quantized ON items USING hnsw ((binary_quantize(embedding)::bit(3)) bit_hamming_ops);
CREATE INDEX items_order ON items (embedding);
CREATE VIEW nearest AS SELECT id, embedding <-> '[1,0,0]' AS distance FROM items ORDER BY embedding <-> '[1,0,0]' LIMIT 5;
CREATE TABLE parts (id int, embedding vector(2)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
CREATE INDEX ON parts USING hnsw (embedding vector_l2_ops);
INSERT INTO parts SELECT n, ARRAY[n, 1] FROM generate_series(1, 199) n;
