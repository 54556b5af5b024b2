# A write of a worker's store fails, once, as on a disk that is full for a moment:
# the worker stops, and acknowledges nothing that it may not have (law S4).

use strict;
use warnings;
use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $library = $ENV{VECTRON_POWERLOSS_LIBRARY};
plan skip_all => 'no powerloss.so' unless $library && -f $library;

my $dir = abs_path(PostgreSQL::Test::Utils::tempdir('failedwrite'));
my $arm = "$dir/arm";
my $cluster = VectronCluster->new;

sub start_worker
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{VECTRON_FAIL_WRITE_FILE} = $arm;
	return $cluster->start_worker(1);
}

$cluster->start_pd;
start_worker();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(2));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
	INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 20) n;
});

my $id = 100;
foreach my $store ([ 'the Raft log', '/log/' ], [ 'the rows of a shard', '/shards/' ])
{
	my ($what, $path) = @$store;

	$id++;
	open my $fh, '>', "$arm.new" or die "$arm.new: $!";
	print $fh $path;
	close $fh;
	rename "$arm.new", $arm or die "$arm: $!";
	my $said = '';
	my $complained = '';
	my $insert = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', q{SET vectron.write_timeout = '120s'},
			'-c', "INSERT INTO t VALUES ($id, '[$id,0]')", '-c', q{SELECT 'committed'} ],
		'>', \$said, '2>', \$complained);

	# Either the worker ends, or the commit was acknowledged after all.
	my $status;
	$cluster->wait_until('the worker or the insert has ended', sub {
		$status = $cluster->ended('worker1');
		return 1 if defined $status;
		$insert->pump_nb;
		return !$insert->pumpable;
	});
	ok(defined $status, "$what: the worker stops after a failed write");
	is($said, '', "$what: and the commit is not acknowledged before it is back");
	if (defined $status) { isnt($status, 0, "$what: its status says so"); }
	else { $cluster->kill9('worker1'); }
	ok(!-e $arm, "$what: one write failed");
	start_worker();
	$insert->finish;
	is($said, "committed\n", "$what: then it is") or diag $complained;
	is($node->safe_psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')}), '0|0|0',
		"$what: nothing is lost");
	is($node->safe_psql('postgres', "SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[$id,0]' LIMIT 1"),
		$id, "$what: the row is found");
}

$node->stop;
done_testing();
