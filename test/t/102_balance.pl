# Three workers in three zones are full of shards, a fourth joins: replicas and
# leaderships even out while rows are written and searched for, and no shard is ever
# twice in a zone while another one has room.  Then a worker for searches only joins:
# it gets a learner of each shard, which answers; and gives them back.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd('--balance', 'on', '--spread', 'zone', '--down-after', 60);
$cluster->start_worker(1, '--labels', 'zone=a,rack=1');
$cluster->start_worker(2, '--labels', 'zone=b');
$cluster->start_worker(3, '--labels', 'zone=c');

my $node = $cluster->new_server("shared_preload_libraries = 'vectron'\nenable_seqscan = off\nenable_sort = off\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers are up');
is($node->safe_psql('postgres', q{SELECT string_agg(labels || '/' || role, ' ' ORDER BY labels) FROM vectron.workers}),
	'zone=a,rack=1/data zone=b/data zone=c/data', 'and say where they are');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id bigint PRIMARY KEY, v vector(3));
	CREATE SEQUENCE ids START 100001;
	INSERT INTO t SELECT n, ARRAY[n, n % 7, 0] FROM generate_series(1, 4000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 8, replicas = 3);
});
$cluster->whole($node, 8, 'each of eight shards has three replicas');

my $files = PostgreSQL::Test::Utils::tempdir();
my %script = (search => q{
\set n random(1, 4000)
SELECT id AS found FROM t ORDER BY v <-> ARRAY[:n, :n % 7, 0]::vector LIMIT 1 \gset
SELECT 1 / (:found = :n)::int;
}, write => q{
SELECT nextval('ids') AS mine \gset
INSERT INTO t VALUES (:mine, ARRAY[:mine, :mine % 7, 0]);
SELECT id AS found FROM t ORDER BY v <-> ARRAY[:mine, :mine % 7, 0]::vector LIMIT 1 \gset
SELECT 1 / (:found = :mine)::int;
});
PostgreSQL::Test::Utils::append_to_file("$files/$_.sql", $script{$_}) for keys %script;

my $failed = 0;
my $done = 0;

# Writes and searches for some seconds.
sub load
{
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'pgbench', '-n', '-T', 3, '-c', 2, '-f', "$files/search.sql", '-f', "$files/write.sql", $node->connstr('postgres') ],
		'>', \$out, '2>', \$err);
	$failed++ if !$ok || $err =~ /aborted|ERROR/;
	diag $err if !$ok;
	$done += $1 if $out =~ /actually processed: (\d+)/;
	return;
}

# Shards with two voters in one zone.
my $doubled = q{
	SELECT count(*) FROM (
		SELECT s.shard, substring(w.labels FROM 'zone=(\w+)') AS zone
		FROM vectron.shards s JOIN vectron.workers w USING (store)
		WHERE w.role = 'data' AND s.role IN ('leader', 'follower')
		GROUP BY 1, 2 HAVING count(*) > 1) d};

# Load until this query says t; true if it came to that, and the zones were kept all the while.
sub load_until
{
	my ($query) = @_;
	my ($bad, $came) = (0, 0);
	for (my $i = 0; $i < 60 && !$came; $i++)
	{
		load();
		$bad += $node->safe_psql('postgres', $doubled);
		$came = $node->safe_psql('postgres', $query) eq 't';
	}
	is($bad, 0, 'no shard was ever twice in a zone');
	return $came;
}

# Zone a has two workers now: they share its replicas, and its leaderships with the others.
$cluster->start_worker(4, '--labels', 'zone=a,rack=2');
ok(load_until(q{
	SELECT string_agg(shards::text, ' ' ORDER BY endpoint) IN ('4 8 8 4') AND sum(leaders) = 8 AND max(leaders) <= 3 AND min(leaders) >= 1
	FROM vectron.workers}), 'a worker that joined has its share')
	or diag $node->safe_psql('postgres', 'SELECT endpoint, shards, leaders FROM vectron.workers');
$cluster->whole($node, 8, 'and all is whole');
$cluster->clean($node, 't', 't_v', 'nothing was lost on the way');

# A worker for searches only.
$cluster->start_worker(5, '--labels', 'zone=b', '--role', 'search-only');
ok(load_until(q{
	SELECT count(*) = 8 AND bool_and(s.state = 'up')
	FROM vectron.shards s JOIN vectron.workers w USING (store) WHERE w.role = 'search-only' AND s.role = 'learner'}),
	'a worker for searches has a learner of each shard')
	or diag $node->safe_psql('postgres', 'TABLE vectron.shards');
ok(load_until(q{
	SELECT sum(passes + exact_passes) > 0 FROM vectron.stat_shards s JOIN vectron.workers w USING (store) WHERE w.role = 'search-only'}),
	'and they answer');
is($node->safe_psql('postgres', q{SELECT count(*) FROM vectron.shards s JOIN vectron.workers w USING (store) WHERE w.role = 'search-only' AND s.role <> 'learner'}),
	'0', 'it never votes');
my $store = $node->safe_psql('postgres', q{SELECT store FROM vectron.workers WHERE role = 'search-only'});
$node->safe_psql('postgres', "SELECT vectron.drain_worker($store)");
ok(load_until(q{SELECT shards = 0 FROM vectron.workers WHERE role = 'search-only'}), 'a worker for searches is emptied');
$cluster->clean($node, 't', 't_v', 'and nothing is missing');
is($failed, 0, "$done transactions, and none has failed");
cmp_ok($done, '>', 0, 'some were done');
$node->stop;
done_testing();
