# While VACUUM raises the fence, some shards have it and others do not yet.  Sessions that
# meet it go on although no placement driver is there to say whose it is.  A VACUUM that is
# cancelled leaves it so: then only the driver can say whose it is, and once it has, nobody needs to ask again.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use HoldingProxy;
use VectronCluster;

my $cluster = VectronCluster->new;
my $proxy = HoldingProxy->new(substr($cluster->endpoint('proxy'), 5), substr($cluster->endpoint('worker1'), 5));
$cluster->start_pd;
$cluster->start_worker(1, '--advertise', $cluster->endpoint('proxy'));
$cluster->start_worker(2);
my $node = $cluster->new_server("shared_preload_libraries = 'vectron'\nvectron.write_timeout = '60s'\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM vectron.workers WHERE state = 'up'}), 'two workers are up');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int, v vector(2));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2, replicas = 1);
	INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 100) n;
	DELETE FROM t WHERE id = 7});
is($node->safe_psql('postgres', 'SELECT count(DISTINCT store) FROM vectron.shards'), '2', 'with a shard each');

# psql that is told its statements as it goes on.
sub session
{
	my %s = (in => '', out => '', err => '');
	$s{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$s{in}, '>', \$s{out}, '2>', \$s{err});
	return \%s;
}

sub say_to { my ($s, $sql) = @_; $s->{in} .= "$sql\n"; $s->{run}->pump_nb; return; }

sub hears
{
	my ($s, $what) = @_;
	$cluster->wait_until($what, sub {
		$s->{run}->pump_nb if $s->{run}->pumpable;
		die "$what: $s->{err}" if $s->{err} ne '';
		return $s->{out} =~ /^$what$/m;
	});
	return;
}

my $nearest = q{SELECT 'row ' || id FROM t ORDER BY v <-> '[%d,%d]' LIMIT 1;};
my ($reader, $writer, $vacuum) = (session(), session(), session());
foreach my $s ($reader, $writer)
{
	say_to($s, 'SET enable_seqscan = off; SET vectron.fallback_scan = off;');
	say_to($s, sprintf $nearest, 3, 3);
	hears($s, 'row 3');
}
# A TID for each shard, that both have a part in it.
say_to($writer, q{INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(101, 120) n; SELECT 'wrote';});
hears($writer, 'wrote');

# By the worker's own word: the driver may not have heard of the rows yet, and would take them for the raise.
sub applied
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--endpoint', $cluster->endpoint('worker2'), '--json', 'status' ], '>', \$out, '2>', \$err) or die $err;
	return decode_json($out)->{shards}[0]{applied};
}

my $applied = applied();
$proxy->hold('raise');
say_to($vacuum, q{VACUUM t; SELECT 'vacuumed';});
$proxy->wait_held;
$cluster->wait_until('one of two shards has a raised fence', sub { return applied() > $applied; });
pass('one of two shards has a raised fence');
$cluster->kill9('pd');

say_to($reader, sprintf $nearest, 50, 50);
say_to($writer, q{INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(201, 220) n; SELECT 'wrote more';});
# Each is done, or waits for something.
my %waits;
$cluster->wait_until('both are under way', sub {
	$_->{run}->pump_nb foreach $reader, $writer;
	my $now = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension' AND state = 'active'
		AND (query LIKE '%[50,50]%' OR query LIKE 'INSERT%220%')});
	return ++$waits{$now} >= 5 && ($now == 2 || $reader->{out} =~ /row 50/);
});
$proxy->let_go;
hears($vacuum, 'vacuumed');
hears($reader, 'row 50');
hears($writer, 'wrote more');
pass('VACUUM, a search and a write end without a placement driver');

$cluster->start_pd;
$_->{in} .= "\\q\n" foreach $reader, $writer, $vacuum;
$_->{run}->finish foreach $reader, $writer, $vacuum;
is(join('', map { $_->{err} } $reader, $writer, $vacuum), '', 'and without a complaint');

# The raise is cancelled half-way, and one session asks the driver.
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM vectron.workers WHERE state = 'up'}), 'the driver is back');
$node->safe_psql('postgres', 'DELETE FROM t WHERE id = 8');
$applied = applied();
$proxy->hold('raise');
$vacuum = session();
say_to($vacuum, 'VACUUM t;');
$proxy->wait_held;
$cluster->wait_until('one of two shards has a raised fence again', sub { return applied() > $applied; });
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'VACUUM t;'});
$cluster->wait_until('VACUUM is cancelled', sub {
	$vacuum->{run}->pump_nb if $vacuum->{run}->pumpable;
	return $vacuum->{err} =~ /canceling statement due to user request/;
});
pass('VACUUM is cancelled when one of two shards has a raised fence');
my $search = 'SET enable_seqscan = off; SET vectron.fallback_scan = off; ' . $nearest;
# What another session was told a moment ago is no answer: it may be a successor's, who came after.
$cluster->kill9('pd');
my $hasty = q{SET vectron.write_timeout = '2s'; };
my ($asked, undef, $unsaid) = $node->psql('postgres', $hasty . sprintf($search, 60, 60));
isnt($asked, 0, 'without a driver a new session does not take it for its own');
like($unsaid, qr/could not get this server's lease from the placement driver/, 'since only a driver can say whose it is');
$cluster->start_pd;
is($node->safe_psql('postgres', sprintf($search, 60, 60)), 'row 60', 'one session is told');
$cluster->kill9('pd');
is($node->safe_psql('postgres', sprintf($search, 70, 70)), 'row 70', 'without a driver a new one searches');
my ($wrote, undef, $why) = $node->psql('postgres', 'INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(301, 320) n');
is("$wrote$why", '0', 'and writes');
$proxy->let_go;
($wrote, undef, $why) = $node->psql('postgres', 'VACUUM t');
is("$wrote$why", '0', 'and vacuums');
$cluster->start_pd;
$vacuum->{in} .= "\\q\n";
$vacuum->{run}->finish;
is($node->safe_psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')}), '0|0|0', 'the index agrees with the table');
is($node->safe_psql('postgres', q{SELECT state FROM vectron.indexes WHERE index = 't_v'::regclass}), 'live', 'and is live');
$node->stop;
$proxy->stop;
done_testing();
