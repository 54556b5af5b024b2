\set q random(1, 100)
SELECT id FROM films ORDER BY embedding <=> (SELECT embedding FROM queries WHERE id = :q) LIMIT 10;
