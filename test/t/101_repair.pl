# Four workers and three replicas: what a worker had that stays away is made anew
# on the fourth, what it still has when it comes back is deleted, and a worker is
# emptied before it leaves.

use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd('--down-after', 12);
$cluster->start_worker($_) for 1 .. 4;

my $node = $cluster->new_server;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 4 FROM vectron.workers WHERE state = 'up'}), 'four workers are up');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, v vector(6));
	INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(1, 3000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 4, replicas = 3);
});

sub whole { my ($name) = @_; return $cluster->whole($node, 4, $name); }
sub clean { my ($name) = @_; return $cluster->clean($node, 't', 't_v', $name); }

sub replicas_of
{
	my ($n) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM vectron.shards WHERE endpoint LIKE '%worker$n'");
}

whole('each shard has three replicas');
is($node->safe_psql('postgres', q{SELECT min(n), max(n) FROM (SELECT count(*) AS n FROM vectron.shards GROUP BY store) s}), '3|3', 'spread evenly over four workers');

# Away for less than down_after: nothing moves.
my $before = $node->safe_psql('postgres', 'SELECT string_agg(replica::text, $$ $$ ORDER BY replica) FROM vectron.shards');
$cluster->kill9('worker2');
$node->safe_psql('postgres', q{INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(3001, 3500) n});
$cluster->start_worker(2);
whole('a worker that was restarted has all its replicas');
is($node->safe_psql('postgres', 'SELECT string_agg(replica::text, $$ $$ ORDER BY replica) FROM vectron.shards'), $before, 'which are the same as before');

# Away for longer.
$cluster->kill9('worker2');
ok($node->poll_query_until('postgres', q{SELECT state = 'down' FROM vectron.workers WHERE endpoint LIKE '%worker2'}), 'a worker that stays away is down');
whole('its replicas are made anew on the fourth');
is(replicas_of(2), '0', 'it has none any more');
$node->safe_psql('postgres', q{INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(3501, 4000) n});
clean('nothing is missing');

$cluster->start_worker(2);
ok($node->poll_query_until('postgres', q{SELECT state = 'up' AND shards = 0 FROM vectron.workers WHERE endpoint LIKE '%worker2'}),
	'what it still had when it came back is deleted');
ok(!glob($cluster->data('worker2') . '/shards/*'), 'on its disk, too');
whole('and nothing else has moved');

# Emptied before it leaves.
my $store = $node->safe_psql('postgres', q{SELECT store FROM vectron.workers WHERE endpoint LIKE '%worker1'});
my ($status, $out, $err) = $node->psql('postgres', "SET ROLE pg_monitor; SELECT vectron.drain_worker($store)");
isnt($status, 0, 'not everybody may drain a worker');
$node->safe_psql('postgres', "SELECT vectron.drain_worker($store)");
ok($node->poll_query_until('postgres', q{SELECT state = 'draining' AND shards = 0 FROM vectron.workers WHERE endpoint LIKE '%worker1'}), 'a worker is emptied');
whole('its replicas are on the others');
clean('nothing was lost on the way');
$cluster->stop('worker1');
clean('and it is not needed any more');
($status, $out, $err) = $node->psql('postgres', 'SELECT vectron.drain_worker(1)');
like($err, qr/there is no such store/, 'a worker that is not there cannot be drained');
$node->stop;
done_testing();
