# An index is dropped while one of the three workers that hold it is away (law
# W8): its data goes everywhere, also there when that worker is back, and nothing
# else does.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Generations;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd('--keep-dropped', '1');
$cluster->start_worker($_) for 1 .. 3;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\n"
	  . "autovacuum = off\nshared_preload_libraries = 'vectron'\nvectron.sweep_interval = 0\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION vectron');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers are up');
my %g;
foreach my $table (qw(goes stays))
{
	$node->safe_psql('postgres', "CREATE TABLE $table (id int, v vector(2)); " . fill($table)
		  . "CREATE INDEX ${table}_v ON $table USING vectron (v vector_l2_ops) WITH (shards = 2, replicas = 3);");
	$g{$table} = generation_of($node, "${table}_v");
}

# Directories of shards on the disk of a worker.
sub on_disk
{
	my ($worker) = @_;
	return join ' ', sort map { m|/([0-9a-f]{16})$| ? $1 : () } glob($cluster->data("worker$worker") . '/shards/*');
}

sub shards_of
{
	my ($index) = @_;
	return join ' ', sort map { sprintf '%016x', $_ } split /\n/,
	  $node->safe_psql('postgres', "SELECT DISTINCT shard FROM vectron.shards WHERE index LIKE '%$index'");
}

my $stays = shards_of('stays_v');
my $both = join ' ', sort(split(/ /, $stays), split(/ /, shards_of('goes_v')));
$cluster->wait_until('every worker has every shard', sub { return 3 == grep { on_disk($_) eq $both } 1 .. 3; });

$cluster->kill9('worker3');
$node->safe_psql('postgres', 'DROP INDEX goes_v');
becomes($node, $g{goes}, 'doomed', 'with a worker away an index is dropped');
$cluster->wait_until('those that are there let go of it', sub { return 2 == grep { on_disk($_) eq $stays } 1, 2; });
is(on_disk(3), $both, 'the one that is away has it still');
is(state_of($node, $g{goes}), 'doomed', 'and is waited for');
$node->safe_psql('postgres', q{INSERT INTO stays VALUES (60, '[60,60]'); DELETE FROM stays WHERE id = 1; VACUUM stays});

$cluster->start_worker(3);
becomes($node, $g{goes}, 'gone', 'back again, it lets go too');
is(on_disk($_), $stays, "worker $_ has the other index, and nothing else") for 1 .. 3;
is(state_of($node, $g{stays}), 'live', 'which lives');
ok($node->poll_query_until('postgres', q{
	SELECT count(*) = 2 FROM (SELECT shard FROM vectron.shards GROUP BY shard
		HAVING count(*) = 3 AND count(DISTINCT applied) = 1 AND bool_and(state = 'up')) s}), 'on three workers that agree');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('stays_v')}), '50|0|0|0',
	'with all its entries');
$node->stop;
done_testing();
