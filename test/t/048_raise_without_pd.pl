# While VACUUM raises the fence, some shards have it and others do not yet.  Sessions that
# meet it go on although no placement driver is there to say whose it is.

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
is($node->safe_psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')}), '0|0|0', 'the index agrees with the table');
is($node->safe_psql('postgres', q{SELECT state FROM vectron.indexes WHERE index = 't_v'::regclass}), 'live', 'and is live');
$node->stop;
$proxy->stop;
done_testing();
