# pg_stat_progress_create_index during a build: phases in their order, tuples done
# of total, never backwards.  The worker is frozen until the first of them is seen.

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
	CREATE TABLE t (v vector(64));
	SELECT setseed(0.5);
	INSERT INTO t SELECT ARRAY(SELECT random() FROM generate_series(1, 64) WHERE n > 0)::vector FROM generate_series(1, 5000) n;
});

my %order = (initializing => 0, scan => 1, send => 2, build => 3, sync => 4);
my @seen;

# One look: [phase, done, total], or nothing when no build runs.
sub look
{
	my $row = $node->safe_psql('postgres',
		q{SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total FROM pg_stat_progress_create_index});
	return undef unless $row =~ /^building index: (\w+)\|(\d+)\|(\d+)\|(\d+)\|(\d+)$/;
	push @seen, [ $1, $2, $3, $4, $5 ];
	return $1;
}

# A build, looked at all the time, into @seen.
sub build
{
	@seen = ();
	kill 'STOP', $cluster->pid('worker1');
	my ($out, $err) = ('', '');
	my $build = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', q{SET vectron.write_timeout = '120s'},
		'-c', 'CREATE INDEX t_v ON t USING vectron (v vector_l2_ops)', '-c', q{SELECT 'built'} ], '>', \$out, '2>', \$err);
	$cluster->wait_until('the batch is being sent', sub { return (look() // '') eq 'send'; });
	is($seen[-1][1], $seen[-1][2], 'all blocks are read when the last batch is sent');
	kill 'CONT', $cluster->pid('worker1');
	$cluster->wait_until('the build has ended', sub { look(); $build->pump_nb; return !$build->pumpable; });
	$build->finish;
	is($out, "built\n", 'the index is built') or diag $err;
	return;
}

# Who looks may be kept from it while the graph is built; then it is built again.
my @half;
for my $try (1 .. 20)
{
	$node->safe_psql('postgres', 'DROP INDEX IF EXISTS t_v');
	build();
	@half = grep { $_->[0] eq 'build' && $_->[3] > 0 && $_->[3] < 5000 } @seen;
	last if @half;
}
cmp_ok(scalar(@half), '>', 0, 'the build was seen half done');
is(scalar(grep { $_->[4] != 5000 } @half), 0, 'the graph will have all tuples');

my ($phases, $blocks, $tuples, $total) = (1, 1, 1, 1);
foreach my $i (1 .. $#seen)
{
	my ($before, $now) = @seen[ $i - 1, $i ];
	$phases = 0 if $order{ $now->[0] } < $order{ $before->[0] };
	$blocks = 0 if $now->[1] < $before->[1];
	$tuples = 0 if $now->[3] < $before->[3];
	$total = 0 if $now->[3] > $now->[4] && $now->[4] > 0;
}
ok($phases, 'phases come in their order');
ok($blocks, 'blocks never go backwards');
ok($tuples, 'tuples never go backwards');
ok($total, 'and never beyond their total');
note scalar(@seen), ' looks at the build';

$node->stop;
done_testing();
