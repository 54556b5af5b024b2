# Replicas of a shard are compared; one that holds something else than the others
# is found, set aside and replaced, also when its worker is started again.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use CtlAnswers;
use VectronCluster;

my $alter = $ENV{VECTRON_ALTER_ROW};
plan skip_all => 'no alter_row' unless $alter && -x $alter;

my $cluster = VectronCluster->new;
$cluster->start_pd;
$cluster->start_worker($_) for 1 .. 4;
my $pd = $cluster->pd_endpoint;

sub ctl
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--pd', $pd, @_ ], '>', \$out, '2>', \$err);
	return wantarray ? ($? >> 8, $out, $err) : $out;
}

my $node = $cluster->new_server;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 4 FROM vectron.workers WHERE state = 'up'}), 'four workers are up');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, v vector(6));
	INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(1, 3000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2, replicas = 3);
	DELETE FROM t WHERE id % 7 = 0;
	VACUUM t;
});
$cluster->whole($node, 2, 'each shard has three replicas');

# Every replica has been compared since then, and this is what came of it.
my $since = $node->safe_psql('postgres', 'SELECT now()');
sub verdicts
{
	my ($wanted, $name) = @_;
	return ok($node->poll_query_until('postgres', qq{
		SELECT coalesce(string_agg(DISTINCT verdict, ',' ORDER BY verdict), '') = '$wanted' AND bool_and(verified > '$since')
		FROM vectron.shards}), $name) || diag $node->safe_psql('postgres', 'TABLE vectron.shards');
}

is($node->safe_psql('postgres', 'SELECT count(verified) FROM vectron.shards'), '0', 'nothing was compared yet');
my ($status, $out, $err) = ctl('verify');
is("$status$err", '0', 'all is to be compared');
like($out, qr/^shards +2$/m, 'which is two shards');
verdicts('agrees', 'and they agree');
$since = $node->safe_psql('postgres', 'SELECT now()');
$node->safe_psql('postgres', q{SELECT vectron.verify('t_v')});
verdicts('agrees', 'as asked from SQL');
$since = $node->safe_psql('postgres', 'SELECT now()');
is_deeply(answered(\&ctl, 'by the name of the index, as a program asks', 'verify', 'public.t_v'), { status => 0, shards => 2 }, 'which is two shards');
verdicts('agrees', 'while nothing happens');
shown_as_answered(\&ctl, 'shards with their verdicts', 'shards');
viewed_as_answered(\&ctl, $node, 'shards', 'shards', 'replica');
is_deeply(answered(\&ctl, 'one shard', 'verify', $node->safe_psql('postgres', 'SELECT min(shard) FROM vectron.shards')), { status => 0, shards => 1 }, 'is one');
like((ctl('verify', 'nothing'))[2], qr/no collection with that generation or name/, 'but nothing that is not there');

# A row is changed behind the back of a worker, leader or not.
for my $role ('follower', 'leader')
{
	my ($shard, $replica, $worker);
	$cluster->wait_until("a $role", sub {
		($shard, $replica, $worker) = $node->safe_psql('postgres', qq{
			SELECT shard, replica, endpoint FROM vectron.shards WHERE role = '$role' ORDER BY shard, store LIMIT 1}) =~ /^(\d+)\|(\d+)\|.*(worker\d)$/;
		return $worker;
	});
	$cluster->stop($worker);
	system_or_bail($alter, sprintf('%s/shards/%016x', $cluster->data($worker), $shard));
	$cluster->start_worker($worker =~ /(\d)/);
	$cluster->whole($node, 2, "$role: a worker starts with a row that was changed, and does not know");
	is((ctl('verify', $shard))[0], 0, 'its shard is compared');
	$cluster->wait_until('it is found', sub { return $cluster->log_text('pd') =~ /shard=$shard replica=$replica .* holds something else than the majority/ });
	ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM vectron.shards WHERE replica = $replica"), 'another replica takes its place');
	$cluster->whole($node, 2, 'each shard has three replicas again');
	like($cluster->log_text($worker, 1), qr/shard=$shard: this replica is damaged and stays closed .*differed from the other replicas/, 'its worker has set it aside');
	$since = $node->safe_psql('postgres', 'SELECT now()');
	ctl('verify');
	verdicts('agrees', 'and all agree');
	$cluster->clean($node, 't', 't_v', 'nothing is missing');
}

$node->stop;
done_testing();
