# Dropped indexes (law W8): the cluster hears of them from the transaction that
# dropped them, keeps their data for a time, and then lets go of it; of nothing
# else.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use Generations;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd('--keep-dropped', '3600');
$cluster->start_worker(1);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\n"
	  . "autovacuum = off\nmax_prepared_transactions = 5\nshared_preload_libraries = 'vectron'\n"
	  . "vectron.sweep_interval = 0\nlog_min_messages = log\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION vectron');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM vectron.workers WHERE state = 'up'}), 'a worker is up');

# -- By word of the transaction ------------------------------------------------

my $g = filled_table($node, 'a');
is(state_of($node, $g), 'live', 'an index lives');
$node->safe_psql('postgres', 'BEGIN; DROP INDEX a_v; ROLLBACK');
$node->safe_psql('postgres', 'BEGIN; SAVEPOINT s; DROP INDEX a_v; ROLLBACK TO s; COMMIT');
$node->safe_psql('postgres', 'BEGIN; SAVEPOINT s; TRUNCATE a; ROLLBACK TO s; CREATE TABLE other (); COMMIT');
my $reindexed = $g;
$node->safe_psql('postgres', 'REINDEX INDEX a_v');
$g = generation_of($node, 'a_v');
becomes($node, $reindexed, 'hidden', 'REINDEX drops the generation it replaces');
is(state_of($node, $g), 'live', 'and not the new one, nor did a DROP that was rolled back');
$node->safe_psql('postgres', 'DROP INDEX a_v');
becomes($node, $g, 'hidden', 'DROP INDEX is heard of, from a session that ended with it');

$g = filled_table($node, 'b');
$node->safe_psql('postgres', 'TRUNCATE b');
becomes($node, $g, 'hidden', 'TRUNCATE');
$node->safe_psql('postgres', fill('b'));
$g = generation_of($node, 'b_v');
$node->safe_psql('postgres', 'VACUUM FULL b');
becomes($node, $g, 'hidden', 'VACUUM FULL');
$g = generation_of($node, 'b_v');
$node->safe_psql('postgres', 'ALTER TABLE b ADD COLUMN x float DEFAULT random()');
becomes($node, $g, 'hidden', 'ALTER TABLE with a rewrite');
$g = generation_of($node, 'b_v');
$node->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY b_v');
becomes($node, $g, 'hidden', 'REINDEX CONCURRENTLY');
$g = generation_of($node, 'b_v');
$node->safe_psql('postgres', 'DROP TABLE b');
becomes($node, $g, 'hidden', 'DROP TABLE');

$node->safe_psql('postgres', 'CREATE SCHEMA s');
my @gs = map { filled_table($node, "s.t$_") } 1 .. 3;
$node->safe_psql('postgres', 'DROP SCHEMA s CASCADE');
becomes($node, $_, 'hidden', 'DROP SCHEMA CASCADE') for @gs;

# Prepared: nothing before COMMIT PREPARED.
$g = filled_table($node, 'p');
my $kept = filled_table($node, 'q');
$node->safe_psql('postgres', q{BEGIN; DROP TABLE p; PREPARE TRANSACTION 'p'});
$node->safe_psql('postgres', q{BEGIN; DROP TABLE q; PREPARE TRANSACTION 'q'});
my $dropped = filled_table($node, 'd');
$node->safe_psql('postgres', 'DROP TABLE d');
becomes($node, $dropped, 'hidden', 'others are dropped meanwhile');
is(state_of($node, $g), 'live', 'a prepared DROP has not happened');
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', q{COMMIT PREPARED 'p'; ROLLBACK PREPARED 'q'});
becomes($node, $g, 'hidden', 'committed after a crash, it has');
is(state_of($node, $kept), 'live', 'rolled back, it has not');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('q_v')}), '50|0|0|0', 'and its index is whole');

# Brought back.
$node->safe_psql('postgres', q{INSERT INTO q SELECT n, ARRAY[n, n] FROM generate_series(51, 60) n});
$node->safe_psql('postgres', "SELECT vectron.undrop('$g')");
is(state_of($node, $g), 'live', 'undrop brings a generation back');
my ($status, $out, $err) = $node->psql('postgres', "SELECT vectron.undrop('00000000000000000000000000000001')");
isnt($status, 0, 'but none that never was');
$node->safe_psql('postgres', q{SELECT vectron.sweep()});
is($node->safe_psql('postgres', q{SELECT generation, outcome FROM vectron.sweep()}), "$g|dropped", 'and if no index needs it, it is swept');

# -- Brought back -----------------------------------------------------------------

# As if an index that is needed had been dropped: word of it is forged.
$g = generation_of($node, 'q_v');
my ($system, $incarnation, $database) = split /\|/, $node->safe_psql('postgres', qq{SELECT c.owner ->> 'system', c.owner ->> 'incarnation', c.owner ->> 'database'
	FROM json_to_recordset(vectron.report('collections')::json -> 'collections') AS c(generation text, owner json) WHERE c.generation = '$g'});
my $xid = $node->safe_psql('postgres', 'CREATE TABLE anyone (); SELECT xmin FROM pg_class WHERE relname = $$anyone$$');
# As a whole: a file that has nothing yet would be read, and be gone.
my $word = $node->data_dir . '/vectron/word';
PostgreSQL::Test::Utils::append_to_file($word, "$g $system $incarnation $database\n");
rename $word, $node->data_dir . "/vectron/drops/$xid" or die "$word: $!";
becomes($node, $g, 'hidden', 'an index that is needed is dropped by a mistake');
my $shards_open = q{SELECT count(*) FROM vectron.shards WHERE role <> 'unknown' AND state = 'dropped'};
ok($node->poll_query_until('postgres', "SELECT ($shards_open) = 0"), 'what is hidden takes no memory');
# A route that a session had still leads to nothing.
($status, $out, $err) = $node->psql('postgres', q{SET vectron.fallback_scan = off; SET enable_seqscan = off; SELECT id FROM q ORDER BY v <-> '[1,1]' LIMIT 1});
like($err, qr/was dropped.*HINT/s, 'a search says what has happened');
($status, $out, $err) = $node->psql('postgres', q{INSERT INTO q VALUES (99, '[1,1]')});
like($err, qr/was dropped.*HINT/s, 'and a write');
$cluster->kill9('worker1');
$cluster->start_worker(1);
ok($node->poll_query_until('postgres', "SELECT ($shards_open) = 0 AND (SELECT count(*) FROM vectron.workers WHERE state = 'up') = 1"), 'neither does it after the worker was started again');
$node->safe_psql('postgres', "SELECT vectron.undrop('$g')");
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('q_v')}), '60|0|0|0', 'brought back, it is whole');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT id FROM q ORDER BY v <-> '[7.2,7]' LIMIT 1}), '7', 'and answers');

# -- For good --------------------------------------------------------------------

my $shards = $cluster->data('worker1') . '/shards';
sub directories { opendir(my $d, $shards) or die $!; my @n = grep { !/^\./ } readdir $d; return scalar @n; }
cmp_ok(directories(), '>', 5, 'hidden collections keep their data');
$cluster->stop('pd');
$cluster->start_pd('--keep-dropped', '0');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM json_to_recordset(vectron.report('collections')::json -> 'collections')
	AS c(state text) WHERE state <> 'live'}), 'after the time of grace the rows go') or diag $node->safe_psql('postgres', q{SELECT vectron.report('collections')});
is(directories(), $node->safe_psql('postgres', 'SELECT count(*) FROM vectron.shards'), 'and the directories of their shards');
is($node->safe_psql('postgres', q{SELECT sum(shards) FROM vectron.workers}), $node->safe_psql('postgres', 'SELECT count(*) FROM vectron.shards'),
	'the worker reports no others');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('q_v')}), '60|0|0|0', 'what lives is whole');

# Workers and driver die in the middle of it, again and again.
my $seed = $ENV{VECTRON_SEED} // int(rand(1000000));
note "VECTRON_SEED=$seed";
srand($seed);
for my $round (1 .. $ENV{VECTRON_ROUNDS} // 3)
{
	$node->safe_psql('postgres', 'CREATE TABLE k (id int, v vector(2)); ' . fill('k')
		  . ' CREATE INDEX k_v ON k USING vectron (v vector_l2_ops) WITH (shards = 12); DROP TABLE k;');
	Time::HiRes::usleep(1_000_000 + int(rand(2_500_000)));
	my @who = (['worker1'], ['pd'], ['worker1', 'pd'])[ $round % 3 ]->@*;
	note "round $round: @who";
	$cluster->kill9($_) for @who;
	$cluster->start_pd('--keep-dropped', '0') if grep { $_ eq 'pd' } @who;
	$cluster->start_worker(1) if grep { $_ eq 'worker1' } @who;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM vectron.shards WHERE index LIKE '%k_v'}),
		"round $round: every shard is dropped in the end");
	is(directories(), $node->safe_psql('postgres', 'SELECT count(*) FROM vectron.shards'), "round $round: nothing is left of them");
}
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('q_v')}), '60|0|0|0', 'and what lives is still whole');
$node->stop;

# -- With no configuration at all -------------------------------------------------

my $plain = PostgreSQL::Test::Cluster->new('plain');
$plain->init;
$plain->start;
$plain->safe_psql('postgres', 'CREATE EXTENSION vectron');
$g = filled_table($plain, 'a');
$plain->safe_psql('postgres', 'DROP TABLE a');
becomes($plain, $g, 'hidden', 'a session that had not loaded the library drops a table, and is heard');
$plain->stop;
done_testing();
