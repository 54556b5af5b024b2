# Four workers and three replicas: what a worker had that stays away is made anew
# on the fourth, what it still has when it comes back is deleted, and a worker is
# emptied before it leaves.  Then two of the three that are left are lost for good,
# with writes that the third has never heard of.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use CtlAnswers;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd('--down-after', 120);
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
$cluster->stop('pd');
$cluster->start_pd('--down-after', 12);
$cluster->kill9('worker2');
ok($node->poll_query_until('postgres', q{SELECT state = 'down' FROM vectron.workers WHERE endpoint LIKE '%worker2'}), 'a worker that stays away is down');
whole('its replicas are made anew on the fourth');
is(replicas_of(2), '0', 'it has none any more');
$node->safe_psql('postgres', q{INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(3501, 4000) n});
clean('nothing is missing');

$cluster->start_worker(2);
ok($node->poll_query_until('postgres', q{SELECT state = 'up' AND shards = 0 FROM vectron.workers WHERE endpoint LIKE '%worker2'}),
	'what it still had when it came back is deleted');
# It is taken out of what is reported first.
$cluster->wait_until('its directories are gone', sub { my @left = glob($cluster->data('worker2') . '/shards/*'); return @left == 0; });
pass('on its disk, too');
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

# -- A majority is lost for good -----------------------------------------------------

my $pd = $cluster->pd_endpoint;

sub ctl
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--pd', $pd, @_ ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

sub store_at { my ($n) = @_; return $node->safe_psql('postgres', "SELECT min(store) FROM vectron.workers WHERE endpoint LIKE '%worker$n'"); }

# Nearest to a row that worker 2 never hears of, by the index where that is chosen.
my $nearest = q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[500,501,502,503,504,505]' LIMIT 1};
my $lost = join ',', sort { $a <=> $b } store_at(3), store_at(4);
kill 'STOP', $cluster->pid('worker2');
$node->safe_psql('postgres', q{INSERT INTO t VALUES (9000, '[500,501,502,503,504,505]')});
is($node->safe_psql('postgres', $nearest), '9000', 'a write that two of three have acknowledged');
$cluster->kill9("worker$_") for 3, 4;
kill 'CONT', $cluster->pid('worker2');
rename $cluster->data('worker3'), $cluster->data('worker5') or die "could not rename: $!";
rename $cluster->data('worker4'), $cluster->data('worker6') or die "could not rename: $!";
($status, $out, $err) = ctl('unsafe-recover', $lost);
like($err, qr/only a store that is down can be given up/, 'stores are not given up that may come back');
$cluster->start_worker($_) for 3, 4;
# Down, and noticed by a leader that slept meanwhile.
$cluster->wait_until('all shards are known to be lost', sub { return (ctl('unsafe-recover', $lost))[1] =~ /^4 shards go on/m; });
($status, $out, $err) = ctl('check');
like("$status $out", qr/^2 .*majority.*unsafe-recover/s, 'somebody who is woken is told of it');
($status, $out, $err) = ctl('unsafe-recover', $lost);
like($out, qr/^4 shards go on from what is left of them, 0 have nothing left:/m, 'what would be done');
like($out, qr/REINDEX.*Nothing has been done\. .*unsafe-recover $lost --apply [0-9a-f]{16}/s, 'and what that means');
my ($plan) = $out =~ /--apply ([0-9a-f]{16})/;

# Asked for as a dry run it says the same, as JSON, too; and nothing is decided of it, neither in the log nor in what the
# driver holds.  (Something else may be meanwhile: then it is looked at again.)
sub held
{
	my $dump = decode_json((ctl('dump'))[1]);
	delete $_->{heartbeat} foreach @{ $dump->{stores} };
	delete $_->{report} foreach map { @{ $_->{replicas} } } map { @{ $_->{shards} } } @{ $dump->{collections} };
	delete @$dump{qw(driver settings pds)};
	return JSON::PP->new->canonical->pretty->encode($dump);
}
my ($shown, $dry);
until_same('a dry run shows the plan, and changes nothing', sub {
	my $before = held();
	$shown = join ' ', ctl('unsafe-recover', $lost);
	my $same = join ' ', ctl('--dry-run', 'unsafe-recover', $lost);
	$dry = eval { decode_json((ctl('--json', '--dry-run', 'unsafe-recover', $lost))[1]) } // {};
	my $after = held();
	return ($same eq $shown ? () : "$shown\n-- as a dry run --\n$same", $before eq $after ? () : "$before\n-- then --\n$after",
		($dry->{plan} // '') eq $plan ? () : 'another plan');
});
is("$dry->{plan} $dry->{recovered} $dry->{given_up} $dry->{blocked} " . ($dry->{applied} ? 'applied' : 'not applied'), "$plan 4 0  not applied", 'as JSON, too');
my ($given_up, $goes_on) = grep { /^ *(?:store|shard) / } split /\n\n/, $shown;
is(join("\n", differ($given_up, @{ $dry->{stores} })), '', 'it tells of the same stores');
is(join("\n", differ($goes_on, @{ $dry->{shards} })), '', 'and of the same shards');
my $survivors = join ' ', sort map { my $s = $_; map { "$s->{shard}-$_->{store}-$_->{replica}-$_->{applied}" } @{ $s->{replicas} } } @{ $dry->{shards} };
is($survivors, join(' ', sort split /\n/, $node->safe_psql('postgres', q{SELECT concat_ws('-', shard, store, replica, applied) FROM vectron.shards WHERE state = 'up'})),
	'and of what is left of each, as SQL has it');
is($node->safe_psql('postgres', 'SELECT state FROM vectron.indexes') . ' ' . (ctl('operators'))[1] =~ s/.*\n//r, 'live ', 'the index is not stale for it, and nothing is under way');
($status, $out, $err) = ctl('unsafe-recover', $lost, '--apply', '0' x 16);
like("$status $err", qr/^1 .*look at it first/, 'another plan is refused');
my $applied = answered(\&ctl, 'the plan is carried out', 'unsafe-recover', $lost, '--apply', $plan);
is("$applied->{plan} $applied->{recovered} $applied->{blocked} " . ($applied->{applied} ? 'applied' : 'not applied'), "$plan 4  applied", 'as JSON');
$cluster->wait_until('it is over', sub { return (ctl('operators'))[1] !~ /recover/; });
($status, $out, $err) = $node->psql('postgres', $nearest);
like("$out$err", qr/acknowledged writes may be missing|became stale|^9000/, 'an index that may lack acknowledged writes answers nothing');
is($node->safe_psql('postgres', $nearest), '9000', 'and is not chosen any more');
is($node->safe_psql('postgres', q{SELECT state, stale_reason ~ 'majority' FROM vectron.indexes}), 'stale|t', 'it is stale, and the view says why');
$node->safe_psql('postgres', q{INSERT INTO t VALUES (9001, '[1,2,3,4,5,6]')});
($status, $out, $err) = ctl('check');
like("$status $out", qr/^2 .*acknowledged writes may be missing.*REINDEX/s, 'what is left to do');
$node->safe_psql('postgres', 'REINDEX INDEX t_v');
is($node->safe_psql('postgres', $nearest), '9000', 'REINDEX brings everything back');
clean('and nothing is missing');
$cluster->whole($node, $node->safe_psql('postgres', 'SELECT count(DISTINCT shard) FROM vectron.shards'), 'there are three replicas of each shard again');

# Nothing is left to be done: that is no success.
($status, $out, $err) = ctl('--json', 'unsafe-recover', $lost);
like("$status $err" . decode_json($out)->{blocked}, qr/^1 no shard has lost its majority/, 'asked for once more there is nothing to do, as JSON');
($status, $out, $err) = ctl('unsafe-recover', $lost);
like("$status $err$out", qr/^1 .*\nThis cannot be done now: no shard has lost its majority/s, 'and in words');

# Who was given up comes back at the wrong time.
is($cluster->start_given_up(5), 78, 'a directory that was given up never comes back');
like($cluster->log_text('worker5', 1), qr/was forgotten/, 'and says why');
$node->stop;
done_testing();
