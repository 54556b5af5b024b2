# A placement driver and two workers started by hand: four shards over two
# workers answer as one shard on one does.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd;
$cluster->start_worker(1);
$cluster->start_worker(2);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION vectron');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM vectron.workers WHERE state = 'up'}),
	'both workers are up');

$node->safe_psql('postgres', q{
	CREATE TABLE one (id int, v vector(6));
	INSERT INTO one SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(1, 1000) n;
	CREATE TABLE four AS SELECT * FROM one;
	CREATE INDEX one_v ON one USING vectron (v vector_l2_ops) WITH (shards = 1);
	CREATE INDEX four_v ON four USING vectron (v vector_l2_ops) WITH (shards = 4);
});
ok($node->poll_query_until('postgres', q{SELECT sum(records) = 1000 FROM vectron.shards WHERE index LIKE '%four_v'}),
	'the view shows all records');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT store) FROM vectron.shards WHERE index LIKE '%four_v'}),
	'4|2', 'four shards lie on two workers');
is($node->safe_psql('postgres', q{SELECT min(first), max(last) FROM vectron.shards WHERE index LIKE '%four_v'}),
	'0|18446744073709551615', 'their intervals cover the hash space');
is($node->safe_psql('postgres', q{SELECT bool_or(under_replicated) FROM vectron.indexes}), 'f',
	'one replica each is what was wanted');

my $query = q{SET enable_seqscan = off; SET vectron.verify_scan = on;
	SELECT string_agg(id::text, ' ') FROM (SELECT id FROM %s ORDER BY v <-> '[6,3,5,1,8,2]' LIMIT %d) s};
for my $limit (10, 300, 2000)
{
	is($node->safe_psql('postgres', sprintf($query, 'four', $limit)),
		$node->safe_psql('postgres', sprintf($query, 'one', $limit)), "the same $limit rows in the same order");
}
$node->safe_psql('postgres', q{DELETE FROM four WHERE id % 3 = 0; VACUUM four; INSERT INTO four SELECT -n, ARRAY[n,n,n,n,n,n] FROM generate_series(1, 300) n});
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('four_v')}),
	'967|0|0|0', 'VACUUM and new rows keep all shards right');

# A worker that is away: a search waits for it and fails in time, never in part.
$cluster->kill9('worker2');
ok($cluster->refused($node, "SET vectron.fallback_scan = off; SET vectron.read_timeout = '500ms'; " . sprintf($query, 'four', 10),
	qr/index "four_v"/), 'a search without one of its shards fails, and names the index');
my ($status, $out, $err) = $node->psql('postgres', "DELETE FROM four WHERE id < -290");
is($status, 0, 'a DELETE needs no shard');
($status, $out, $err) = $node->psql('postgres', "SET vectron.write_timeout = '500ms';\nVACUUM four");
isnt($status, 0, 'so does VACUUM') or diag $out;
$cluster->start_worker(2);
ok($node->poll_query_until('postgres', "SELECT missing = 0 AND wrong = 0 AND extra = 0 FROM vectron.check_index('four_v')"),
	'it comes back with everything it had acknowledged');

# The placement driver is killed and comes back.
$cluster->kill9('pd');
$cluster->start_pd;
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM four ORDER BY v <-> '[1,1,1,1,1,1]' LIMIT 5) s}),
	'5', 'a placement driver that was killed knows everything again');
$node->stop;
done_testing();
