# Three workers, three replicas: what one of them has is damaged, and nobody else has
# room for another copy.  Each is made anew where it was, from a snapshot, without
# anybody being asked; and when the power goes right after that, what was installed is
# safe.

use strict;
use warnings;
use Cwd qw(abs_path);
use PostgreSQL::Test::Utils;
use Test::More;
use PowerLoss;
use VectronCluster;

my $library = $ENV{VECTRON_POWERLOSS_LIBRARY};
plan skip_all => 'no powerloss.so' unless $library && -f $library;

my $shards = 2;
my $dir = abs_path(PostgreSQL::Test::Utils::tempdir('damaged'));
my $power = PowerLoss->new("$dir/notes", "$dir/boot_id", nothing => 1);
my $cluster = VectronCluster->new;
$cluster->start_pd;
# So little of a log is kept that a new copy cannot come from it.
my @options = ('--checkpoint', 1);
$cluster->start_worker($_, @options) for 1, 2;
start_third();

# The one that suffers.
sub start_third
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{VECTRON_POWERLOSS} = "$dir/notes";
	local $ENV{VECTRON_BOOT_ID_FILE} = "$dir/boot_id";
	$cluster->start_worker(3, @options);
	return;
}

my $node = $cluster->new_server;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers are up');
$node->safe_psql('postgres', qq{
	CREATE FUNCTION one(n int) RETURNS vector LANGUAGE sql AS \$\$ SELECT array_agg((n * i) % 251 ORDER BY i)::vector FROM generate_series(1, 256) i \$\$;
	CREATE TABLE t (id int PRIMARY KEY, v vector(256));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = $shards, replicas = 3);
	INSERT INTO t SELECT n, one(n) FROM generate_series(1, 4000) n;
	DELETE FROM t WHERE id % 7 = 0;
	VACUUM t;
});
$cluster->whole($node, $shards, 'each shard has three replicas');

my $had = $node->safe_psql('postgres', q{SELECT string_agg(replica::text, ',') FROM vectron.shards WHERE endpoint LIKE '%worker3'});
is($cluster->stop('worker3'), 0, 'worker 3 stops in good order');
my @tables = glob $cluster->data('worker3') . '/shards/*/*.ldb';
cmp_ok(scalar(@tables), '>=', $shards, 'it has tables of all shards');
foreach my $table (@tables)
{
	truncate($table, 0) or die "$table: $!";
}

start_third();
my $damaged = () = $cluster->log_text('worker3', 1) =~ /this replica is damaged and stays closed/g;
is($damaged, $shards, 'it is damaged, and says so');
$node->safe_psql('postgres', 'INSERT INTO t SELECT n, one(n) FROM generate_series(4001, 4100) n');
$cluster->whole($node, $shards, 'each shard has three replicas again');
is($node->safe_psql('postgres', "SELECT count(*) FROM vectron.shards WHERE replica IN ($had)"), '0', 'others than those that were damaged');
my $installed = () = $cluster->log_text('worker3', 1) =~ /snapshot at \d+ installed/g;
cmp_ok($installed, '>=', $shards, 'they came by snapshot');

$cluster->kill9('worker3');
my $lost = $power->cut(abs_path($cluster->data('worker3')));
$power->boot;
note "$lost bytes were lost";
start_third();
unlike($cluster->log_text('worker3', 1), qr/is damaged/, 'the power goes, and what was installed is safe');
$cluster->whole($node, $shards, 'it has all its replicas');

# Of three replicas the one that answers is not known: each that can be is away once.
foreach my $n (1, 2)
{
	$cluster->kill9("worker$n");
	$cluster->clean($node, 't', 't_v', "without worker $n nothing is missing");
	$cluster->start_worker($n, @options);
	$cluster->whole($node, $shards, "worker $n is back");
}
$node->stop;
done_testing();
