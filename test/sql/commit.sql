-- what runs at commit, and what statistics say afterwards
SET vectron.verify_scan = on;
SET enable_seqscan = off;
CREATE TABLE t (id int, v vector(2));
CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
CREATE INDEX t_odd ON t USING vectron (v vector_l2_ops) WHERE id % 2 = 1;
INSERT INTO t SELECT n, ARRAY[n, 0] FROM generate_series(1, 100) n;

-- a deferred trigger still writes, and looks
CREATE FUNCTION shadow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id < 1000 THEN
		INSERT INTO t VALUES (NEW.id + 1000, NEW.v + '[0.25,0]');
		RAISE NOTICE 'nearest: %', (SELECT id FROM t ORDER BY v <-> NEW.v + '[0.25,0]' LIMIT 1);
	END IF;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER shadow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shadow();
BEGIN;
INSERT INTO t VALUES (200, '[200,0]');
COMMIT;
SELECT id FROM t ORDER BY v <-> '[200.2,0]' LIMIT 2;
-- a cursor that is held is read at commit, after what was written since
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY v <-> '[300,0]' LIMIT 3;
INSERT INTO t VALUES (300, '[300,0]');
COMMIT;
FETCH ALL FROM c;
CLOSE c;
-- a deferred constraint that fails takes the entries with it
ALTER TABLE t ADD CONSTRAINT one UNIQUE (id) DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO t VALUES (400, '[400,0]'), (300, '[401,0]');
SELECT id FROM t ORDER BY v <-> '[401,0]' LIMIT 2;
COMMIT;
SELECT id FROM t ORDER BY v <-> '[401,0]' LIMIT 2;
SELECT i, (vectron.check_index(i)).missing, (vectron.check_index(i)).extra, (vectron.check_index(i)).wrong
	FROM unnest('{t_v,t_odd}'::regclass[]) i;

-- COMMIT AND CHAIN, procedures that commit
BEGIN;
INSERT INTO t VALUES (501, '[501,0]');
COMMIT AND CHAIN;
INSERT INTO t VALUES (502, '[502,0]');
ROLLBACK AND CHAIN;
INSERT INTO t VALUES (503, '[503,0]');
COMMIT;
CREATE PROCEDURE load() LANGUAGE plpgsql AS $$
BEGIN
	FOR n IN 601..606 LOOP
		INSERT INTO t VALUES (n, ARRAY[n, 0]);
		IF n % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
	END LOOP;
END $$;
CALL load();
SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM t WHERE id BETWEEN 500 AND 999 ORDER BY v <-> '[550,0]') s;

-- an index counts its entries, not the table's rows
DELETE FROM t WHERE id BETWEEN 1 AND 40;
VACUUM t;
SELECT relname, reltuples FROM pg_class WHERE relname IN ('t_v', 't_odd') ORDER BY 1;
SELECT count(*), count(*) FILTER (WHERE id % 2 = 1) AS odd FROM t;
-- views; what comes from reports may be a second old
SELECT vectron.index_size('t_v') >= 0 AS has_a_size, vectron.index_size('pg_class') IS NULL AS is_not_ours;
SELECT index, state, cluster_state, shards, under_replicated FROM vectron.indexes WHERE index::text LIKE 't\_%' ORDER BY index::text;
SELECT count(*), sum(s.last - s.first) = 2 * 18446744073709551615 AS tile FROM vectron.shards s JOIN vectron.indexes i USING (generation)
	WHERE i.index::text LIKE 't\_%';
SELECT count(*), min(state) AS state FROM vectron.workers;
SELECT * FROM vectron.stat_search;
SELECT vectron.check_index('pg_class');
SELECT vectron.check_index('pg_class_oid_index');
SELECT vectron.index_meta('pg_class');
-- what an index's expression calls runs as the table's owner, whoever checks
CREATE ROLE regress_vectron_owner;
GRANT CREATE ON SCHEMA public TO regress_vectron_owner;
SET ROLE regress_vectron_owner;
CREATE FUNCTION whose(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF current_user <> 'regress_vectron_owner' THEN
		RAISE 'runs as another user';
	END IF;
	RETURN v;
END $$;
CREATE TABLE owned (v vector(2));
CREATE INDEX owned_v ON owned USING vectron ((whose(v)::vector(2)) vector_l2_ops);
INSERT INTO owned VALUES ('[1,2]');
RESET ROLE;
SELECT * FROM vectron.check_index('owned_v');
DROP OWNED BY regress_vectron_owner;
DROP ROLE regress_vectron_owner;
DROP TABLE t;
DROP PROCEDURE load;
DROP FUNCTION shadow;
