# Unlogged tables: a crash empties the table, and TIDs begin again at (0,1).  The
# entries of the life before must not come back (law W1): after each crash the
# index has a generation of its own, and every hit is checked.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Generations;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# Whoever comes first after a crash waits for the daemons to be there again.
$node->append_conf('postgresql.conf', "autovacuum = off\nshared_preload_libraries = 'vectron'\nvectron.sweep_interval = 0\n"
	. "vectron.write_timeout = '120s'\nvectron.read_timeout = '120s'\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE UNLOGGED TABLE t (id int, v vector(2));
	INSERT INTO t SELECT n, ARRAY[n, 0] FROM generate_series(1, 60) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
});
my $check = q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')};
my $all = q{SET enable_seqscan = off; SET vectron.verify_scan = on;
	SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[3,3]' LIMIT 1000) s};
my $zero = '0' x 32;

is($node->safe_psql('postgres', $check), '60|0|0|0', 'an unlogged table is indexed');
is($node->safe_psql('postgres', $all), '60', 'and searched');
$node->restart;
is($node->safe_psql('postgres', $all), '60', 'a clean restart keeps both');

my %seen;
my $last = generation_of($node, 't_v');
for my $round (1 .. $ENV{VECTRON_ROUNDS} // 3)
{
	# Other vectors each time, and fewer, at the same TIDs.
	my $rows = 60 - 10 * (1 + ($round - 1) % 5);
	$node->stop('immediate');
	$node->start;
	is(generation_of($node, 't_v'), $zero, "round $round: after a crash the index is nobody's");
	is($node->safe_psql('postgres', $all), '0', "round $round: and finds nothing");
	is($node->safe_psql('postgres', $check), '0|0|0|0', "round $round: there is nothing");
	is($node->safe_psql('postgres', "INSERT INTO t VALUES (-1, '[3,3]'); SELECT id FROM t ORDER BY v <-> '[3,3]' LIMIT 1"), '-1',
		"round $round: it takes a row, at the first TID");
	$node->safe_psql('postgres', "INSERT INTO t SELECT n, ARRAY[n, $round] FROM generate_series(2, $rows) n");
	is($node->safe_psql('postgres', $all), $rows, "round $round: every hit is at its true distance");
	is($node->safe_psql('postgres', $check), "$rows|0|0|0", "round $round: the index agrees with the table");
	my $g = generation_of($node, 't_v');
	ok($g ne $zero && !$seen{$g}++, "round $round: a generation that never was");
	is($node->safe_psql('postgres', q{SELECT generation, outcome FROM vectron.sweep()}), "$last|noted", "round $round: the one before is left to the sweep");
	is($node->safe_psql('postgres', q{SELECT generation, outcome FROM vectron.sweep()}), "$last|dropped", "round $round: which drops it");
	$last = $g;
}

# Two who come first at once agree on one generation.
$node->stop('immediate');
$node->start;
my @sessions = map { $node->background_psql('postgres', timeout => 3600) } 1 .. 2;
$_->query_safe('BEGIN') for @sessions;
$sessions[$_]->query_safe("INSERT INTO t SELECT n, ARRAY[n, 9] FROM generate_series($_ * 100, $_ * 100 + 9) n") for 0 .. 1;
$_->query_safe('COMMIT') for @sessions;
$_->quit for @sessions;
is($node->safe_psql('postgres', $check), '20|0|0|0', 'two that begin a life at once share it');
is($node->safe_psql('postgres', 'TRUNCATE t; INSERT INTO t SELECT n, ARRAY[n, 8] FROM generate_series(1, 5) n; ' . $check), '5|0|0|0', 'TRUNCATE');

# From one kind to the other.
$node->safe_psql('postgres', 'ALTER TABLE t SET LOGGED');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $check), '5|0|0|0', 'SET LOGGED: a crash takes nothing any more');
$node->safe_psql('postgres', 'ALTER TABLE t SET UNLOGGED');
is($node->safe_psql('postgres', $check), '5|0|0|0', 'SET UNLOGGED');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $check), '0|0|0|0', 'and it does again');
$node->stop;
done_testing();
