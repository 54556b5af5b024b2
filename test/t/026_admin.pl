# What an administrator sees and does, by vectronctl and from SQL: the cluster's
# health, operators under way, replicas that are wanted, a worker that is
# forgotten, and everything at once.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd('--down-after', 12);
$cluster->start_worker($_) for 1 .. 3;
my $pd = $cluster->pd_endpoint;

sub ctl
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--pd', $pd, @_ ], '>', \$out, '2>', \$err);
	return wantarray ? ($? >> 8, $out, $err) : $out;
}

my $node = $cluster->new_server;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers are up');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, v vector(6));
	INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(1, 2000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2, replicas = 2);
});

# The health comes to this, and vectronctl and the view agree.
sub health
{
	my ($wanted, $what, $name) = @_;
	my ($status, $out, $err);
	$cluster->wait_until($name, sub {
		($status, $out, $err) = ctl('check');
		return $status == $wanted && $out =~ $what;
	});
	pass($name);
	return $out;
}

health(0, qr/^all is well$/, 'a cluster that is well');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM vectron.health'), 'and the view is empty');
my $found;
$cluster->wait_until('as JSON', sub { $found = decode_json(scalar ctl('--json', 'check')); return $found->{status} == 0; });
is_deeply($found, { status => 0, findings => [] }, 'as JSON');

# -- Replicas ---------------------------------------------------------------------

my ($status, $out, $err) = ctl('set-replicas', 'public.t_v', 3);
is("$status$err", '0', 'a third replica is asked for, by the name of the index');
$cluster->whole($node, 2, 'and comes');
$node->safe_psql('postgres', q{SELECT vectron.set_replicas('t_v', 2)});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 4 AND (SELECT count(*) = 0 FROM vectron.operators) FROM vectron.shards}), 'and goes, from SQL');
my $generation = $node->safe_psql('postgres', q{SELECT generation FROM vectron.index_meta('t_v')});
($status, $out, $err) = ctl('set-replicas', $generation, 9);
is($status, 1, 'too many are refused');
like($err, qr/from 1 to 5/, 'with a number');
($status, $out, $err) = $node->psql('postgres', q{SELECT vectron.set_replicas('t_v', 0)});
like($err, qr/could not change the number of replicas.*from 1 to 5/, 'in SQL, too');
($status, $out, $err) = $node->psql('postgres', q{SELECT vectron.set_replicas('t_pkey', 2)});
like($err, qr/"t_pkey" is not a vectron index/, 'another index');
$cluster->clean($node, 't', 't_v', 'nothing was lost on the way');

# -- By hand ----------------------------------------------------------------------

my $shard = $node->safe_psql('postgres', 'SELECT min(shard) FROM vectron.shards');

# Where a replica is that leads or follows, when it is known who does.
sub store_of
{
	my ($role) = @_;
	my $store;
	$cluster->wait_until("a $role", sub {
		$store = $node->safe_psql('postgres', "SELECT store FROM vectron.shards WHERE shard = $shard AND role = '$role'");
		return $store =~ /^\d+$/;
	});
	return $store;
}

my $from = store_of('leader');

# Who stood still for a moment is not heard by his leader, or leads no more: that is said, and is over before long.
sub taken
{
	my ($name, $ask) = @_;
	$cluster->wait_until($name, sub { ($status, $out, $err) = $ask->(); return $err !~ /does not answer its leader|nobody leads shard|has just begun to lead/; });
	return is("$status$err", '0', $name);
}

my ($to) = $node->safe_psql('postgres', "SELECT store FROM vectron.workers WHERE store NOT IN (SELECT store FROM vectron.shards WHERE shard = $shard)");
taken('a replica is moved, which leads', sub { return ctl('move', $shard, $from, $to); });
ok($node->poll_query_until('postgres', "SELECT bool_or(store = $to) AND count(*) = 2 AND bool_and(state = 'up') AND bool_or(role = 'leader') FROM vectron.shards WHERE shard = $shard"), 'it is there');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM vectron.operators'), 'and nothing is under way any more');
($status, $out, $err) = ctl('move', $shard, $to, $to);
like($err, qr/has a replica of shard $shard already/, 'not to where one is');
my $follower = store_of('follower');
taken('it is to be led by the other one', sub { return $node->psql('postgres', "SELECT vectron.transfer_leader($shard, $follower)"); });
ok($node->poll_query_until('postgres', "SELECT bool_or(store = $follower) FROM vectron.shards WHERE shard = $shard AND role = 'leader'"), 'another replica leads, from SQL');
($status, $out, $err) = $node->psql('postgres', "SELECT vectron.transfer_leader($shard, 12)");
like($err, qr/could not transfer leadership.*has no replica with a vote on store 12/, 'not one that is not there');
for my $call ("move_shard($shard, 1, 2)", "transfer_leader($shard, 1)", "cancel_operator($shard)", "verify('t_v')", "set_replicas('t_v', 1)")
{
	like(($node->psql('postgres', "SET ROLE pg_monitor; SELECT vectron.$call"))[2], qr/permission denied/, "not for everybody: $call");
}
$cluster->clean($node, 't', 't_v', 'nothing was lost on the way');

# -- Operators --------------------------------------------------------------------

# More are wanted than can be had: nothing is under way, and it is said.
ctl('set-replicas', $generation, 4);
$cluster->whole($node, 2, 'as many replicas as there are workers');
like(health(1, qr/under_replicated|fewer than the 4 replicas/, 'more are wanted than there are workers'), qr/vectronctl set-replicas/, 'and what can be done');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM vectron.operators'), 'nothing is under way');
($status, $out, $err) = ctl('cancel', $node->safe_psql('postgres', 'SELECT min(shard) FROM vectron.shards'));
like($err, qr/has no operator under way/, 'and nothing can be cancelled');

# A worker cannot be emptied if nobody else can take what it has.
my $first = $node->safe_psql('postgres', 'SELECT min(store) FROM vectron.workers');
ctl('drain', $first);
like(health(1, qr/store $first at .* is to be emptied, and 2 of its 2 shards can go nowhere/, 'nor can a worker be emptied then'), qr/vectronctl undrain $first/, 'and what can be done');
ctl('undrain', $first);

# A fourth worker comes and goes again.
$cluster->start_worker(4);
$cluster->wait_until('the fourth is up', sub { return $node->safe_psql('postgres', q{SELECT count(*) FROM vectron.workers WHERE state = 'up'}) == 4 });
$cluster->whole($node, 0, 'no shard has three replicas any more');
health(0, qr/^all is well$/, 'four replicas on four workers');
my $store = $node->safe_psql('postgres', q{SELECT store FROM vectron.workers WHERE endpoint LIKE '%worker4'});
$cluster->kill9('worker4');
ctl('set-replicas', $generation, 3);
$cluster->whole($node, 2, 'the one that is lost is the one too many');

# -- A worker is forgotten ----------------------------------------------------------

($status, $out, $err) = ctl('forget-store', $node->safe_psql('postgres', q{SELECT min(store) FROM vectron.workers WHERE state = 'up'}));
like($err, qr/is up: drain it and stop its worker first/, 'not one that is up');
health(1, qr/store $store at .*silent for .*\n.*vectronctl forget-store $store/, 'a worker that is down is a finding');
ok($node->poll_query_until('postgres', q{SELECT severity, finding FROM vectron.health}, 'warning|store_down'), 'the view shows it');
is($node->safe_psql('postgres', "SELECT state, shards, leaders, records FROM vectron.workers WHERE store = $store"), 'down|0|0|0',
	'what it had is made anew, and what it said last no longer counts');
($status, $out, $err) = $node->psql('postgres', "SET ROLE pg_monitor; SELECT vectron.forget_worker($store)");
like($err, qr/permission denied/, 'not everybody may forget it');
$node->safe_psql('postgres', "SELECT vectron.forget_worker($store)");
health(0, qr/^all is well$/, 'it is forgotten');
is($node->safe_psql('postgres', "SELECT count(*) FROM vectron.workers WHERE store = $store"), '0', 'and not shown any more');
($status, $out, $err) = ctl('forget-store', $store);
is("$status$err", '0', 'asked twice');
is($cluster->start_given_up(4), 78, 'it cannot come back: it stops when it is told');
like($cluster->log_text('worker4', 1), qr/store $store was forgotten .*start this worker with an empty one/, 'and says why');
is($node->safe_psql('postgres', 'SELECT count(*) FROM vectron.workers'), '3', 'nobody sees it');
$cluster->clean($node, 't', 't_v', 'nothing is lost');

# -- Everything ---------------------------------------------------------------------

my $dump;
$cluster->wait_until('each shard is led', sub {
	$dump = decode_json(scalar ctl('dump'));
	return 2 == grep { $_->{report}{leader} } map { @{ $_->{replicas} } } map { @{ $_->{shards} } } @{ $dump->{collections} };
});
is(scalar @{ $dump->{stores} }, 3, 'a dump has the stores');
is($dump->{gone}[0]{store}, $store, 'the one that was forgotten');
my ($collection) = grep { $_->{generation} eq $generation } @{ $dump->{collections} };
is($collection->{label}, 'public.t_v', 'the collections');
is(scalar(map { @{ $_->{replicas} } } @{ $collection->{shards} }), 6, 'their replicas');
is(scalar(grep { $_->{report}{leader} } map { @{ $_->{replicas} } } @{ $collection->{shards} }), 2, 'and what is reported of them');
unlike(ctl('dump'), qr/session|holder|PRIVATE KEY/, 'and no secrets');

# -- Trouble ------------------------------------------------------------------------

$cluster->kill9("worker$_") for 1, 2;
$out = health(2, qr/no majority/, 'two of three workers are lost');
like($out, qr/^CRITICAL .*\n.*\n(CRITICAL|warning)/, 'the worst comes first');
$cluster->start_worker($_) for 1, 2;
$cluster->whole($node, 2, 'they are back');
health(0, qr/^all is well$/, 'and all is well');
$cluster->kill9('pd');
$out = health(2, qr/none of them can be reached/, 'no placement driver');
like($out, qr/^warning +placement driver at \Q$pd\E: /m, 'each is named');
is($node->safe_psql('postgres', q{SELECT severity, finding FROM vectron.health}), 'critical|unreachable', 'in SQL, too');
is(decode_json(scalar ctl('--json', 'check'))->{status}, 2, 'and as JSON');

$node->stop;
done_testing();
