# What index threads do besides linking, as SQL sees it: the ef of a shard is found out, a search that
# names a recall uses it, stages of searches are counted, and memory of deleted rows goes back.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd;
$cluster->start_worker(1);
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int PRIMARY KEY, v vector(16));
	SELECT setseed(0.5);
	INSERT INTO t SELECT n, ARRAY(SELECT random() FROM generate_series(1, 16) WHERE n > 0)::vector FROM generate_series(1, 12000) n;
	CREATE TABLE q AS SELECT n, ARRAY(SELECT random() FROM generate_series(1, 16) WHERE n > 0)::vector AS v FROM generate_series(1, 50) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 1, m = 4, ef_construction = 30);
});

# A search that names a recall works before it is known what that takes.
my $whole = q{SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> (SELECT v FROM q WHERE n = 1) LIMIT 100000) s};
my $settings = q{SET enable_seqscan = off; SET vectron.verify_scan = on; SET vectron.recall_target = 0.5;};
is($node->safe_psql('postgres', "$settings $whole"), '12000|12000', 'a scan with a recall target returns every row');

$cluster->wait_until('the ef is known', sub {
	return $node->safe_psql('postgres', q{SELECT ef_95 >= 10 AND ef_99 >= ef_95 FROM vectron.shards}) eq 't';
});

sub recall
{
	my ($target) = @_;

	return $node->safe_psql('postgres', qq{
		SET vectron.recall_target = $target;
		SET enable_seqscan = off;
		CREATE TEMP TABLE found AS SELECT q.n, s.d FROM q, LATERAL (SELECT q.v <-> t.v AS d FROM t ORDER BY t.v <-> q.v LIMIT 10) s;
		SET enable_seqscan = on; SET enable_indexscan = off;
		CREATE TEMP TABLE truth AS SELECT q.n, max(s.d) AS d FROM q, LATERAL (SELECT q.v <-> t.v AS d FROM t ORDER BY t.v <-> q.v LIMIT 10) s GROUP BY q.n;
		SELECT avg((found.d <= truth.d)::int) FROM found JOIN truth USING (n);
	});
}
my $high = recall(0.97);
cmp_ok($high, '>=', 0.94, 'a recall asked for is found');
cmp_ok(recall(0.3), '<=', $high - 0.05, 'and less when less is asked for');

# Figures come with the heartbeats.
ok($node->poll_query_until('postgres', q{
	SELECT passes > 0, exact_passes > 0, distances > 0, refined > 0, hops > 0, walk_us > 0, refine_us >= 0, exact_us > 0,
		asked > 0, filter_us > 0 FROM vectron.stat_shards WHERE role = 'leader'},
	't|t|t|t|t|t|t|t|t|t'), 'searches are counted by stage') or diag $node->safe_psql('postgres', 'TABLE vectron.stat_shards');
is($node->safe_psql('postgres', q{SELECT has_table_privilege('pg_monitor', 'vectron.stat_shards', 'SELECT')}), 't', 'for monitors');
my ($code, $out, $err) = $node->psql('postgres', q{LOAD 'vectron'; SET vectron.recall_target = 1.5});
like($err, qr/outside the valid range/, 'a recall is less than 1');

# What ids and versions take stays; it is a fifth here, where vectors are short.
my $bytes = $node->safe_psql('postgres', q{SELECT bytes FROM vectron.shards});
$node->safe_psql('postgres', q{DELETE FROM t WHERE id % 5 <> 0});
$node->safe_psql('postgres', q{VACUUM t});
$cluster->wait_until('memory has gone back', sub {
	return $node->safe_psql('postgres', qq{SELECT bytes < $bytes * 0.65 FROM vectron.shards}) eq 't';
});
is($node->safe_psql('postgres', "$settings $whole"), '2400|2400', 'what is left is there once');
is($node->safe_psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')}), '0|0|0', 'and nothing else');
$node->safe_psql('postgres', q{INSERT INTO t SELECT id + 100000, v FROM t; UPDATE t SET v = v WHERE id % 2 = 0});
is($node->safe_psql('postgres', "$settings $whole"), '4800|4800', 'and it grows again');
is($node->safe_psql('postgres', q{SELECT missing, wrong FROM vectron.check_index('t_v')}), '0|0', 'with every row');

$node->stop;
done_testing();
