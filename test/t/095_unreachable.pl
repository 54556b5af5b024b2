# With the cluster, or a part of it, out of reach: what does not need it works,
# what does fails within its deadline and with words, the view says since when,
# and when it is back everything goes on, in every session.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd;
$cluster->start_worker($_) for 1 .. 2;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\n"
	  . "autovacuum = off\njit = off\nmax_prepared_transactions = 5\nshared_preload_libraries = 'vectron'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION vectron');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM vectron.workers WHERE state = 'up'}), 'two workers are up');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int, v vector(2));
	INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 2000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops, id) WITH (shards = 2);
	ANALYZE t;
	CREATE TABLE e (v vector(2));
	CREATE INDEX e_v ON e USING vectron (v vector_l2_ops);
	CREATE TABLE f AS SELECT * FROM t LIMIT 10;
	CREATE INDEX f_v ON f USING vectron (v vector_l2_ops) WITH (shards = 1);
	CREATE TABLE d AS SELECT * FROM t LIMIT 10;
	CREATE INDEX d_v ON d USING vectron (v vector_l2_ops) WITH (shards = 1);
});
$node->safe_psql('postgres', 'CREATE DATABASE source');
$node->safe_psql('source', q{CREATE EXTENSION vectron; CREATE TABLE t (v vector(2)); CREATE INDEX ON t USING vectron (v vector_l2_ops);
	INSERT INTO t VALUES ('[1,2]')});
my $near = q{SELECT id FROM t WHERE id >= 50 ORDER BY v <-> '[50.1,50]' LIMIT 1};
my $plan = "SET enable_seqscan = off; EXPLAIN (COSTS OFF) $near";
like($node->safe_psql('postgres', $plan), qr/Index Scan/, 'the index serves');
is($node->safe_psql('postgres', q{SELECT bool_and(unreachable_since IS NULL) FROM vectron.indexes}), 't', 'nothing is out of reach');
my $old = $node->background_psql('postgres', timeout => 3600);
$old->query_safe('SET enable_seqscan = off');
is($old->query_safe($near), '50', 'a session that is there before');
# One that keeps its plan, which PostgreSQL makes anew only when something has changed.
my $keeps = $node->background_psql('postgres', timeout => 3600);
$keeps->query_safe("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; PREPARE p AS $near");
is($keeps->query_safe('EXECUTE p'), '50', 'a statement is prepared');
like($keeps->query_safe('EXPLAIN (COSTS OFF) EXECUTE p'), qr/Index Scan/, 'with the index');

# Run SQL that must fail, in its time, with this SQLSTATE and a hint.
sub fails
{
	my ($name, $sql, $state, $words) = @_;
	my $begin = time();
	my ($status, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSET vectron.write_timeout = '1s'; SET vectron.read_timeout = '1s';\n$sql", on_error_stop => 1);
	isnt($status, 0, "$name fails");
	# Those who have 30 s by default have given them up.
	cmp_ok(time() - $begin, '<', 25, "$name: in time");
	like($err, qr/ERROR:  $state: .*$words/, "$name: with words");
	like($err, qr/HINT:  \S/, "$name: and a hint");
	return;
}

# -- Everything is gone ---------------------------------------------------------

my $gone = time();
$cluster->kill9($_) for qw(worker1 worker2 pd);
fails('an INSERT', q{INSERT INTO t VALUES (0, '[0,0]')}, '(08006|57014)', 'could not');
my $noted = time();
fails('a COPY', "COPY t FROM STDIN;\n0\t[0,0]\n\\.\n", '(08006|57014)', 'could not');
fails('an UPDATE', q{UPDATE t SET v = '[7,8]' WHERE id = 7}, '(08006|57014)', 'could not');
fails('VACUUM with something to remove', q{DELETE FROM t WHERE id = 2000; VACUUM t}, '(08006|57014)', 'could not');
fails('CREATE INDEX', q{CREATE INDEX t_2 ON t USING vectron (v vector_l2_ops)}, '(08006|57014)', 'could not');
fails('REINDEX', q{REINDEX INDEX t_v}, '(08006|57014)', 'could not');
fails('a forced search', qq{SET vectron.fallback_scan = off; SET enable_seqscan = off; $near}, '(08006|57014)', 'could not');
fails('PREPARE TRANSACTION', q{BEGIN; INSERT INTO t VALUES (0, '[0,0]'); PREPARE TRANSACTION 'x'}, '(08006|57014)', 'could not');
fails('check_index', q{SELECT vectron.check_index('t_v')}, '(08006|57014)', 'could not');
fails('a sweep', q{SELECT vectron.sweep()}, '(08006|57014)', 'could not');

my ($said, $since) = split /\|/, $node->safe_psql('postgres', qq{SELECT cluster_state, extract(epoch FROM unreachable_since) BETWEEN $gone - 1 AND $noted + 1 AND table_xid_age >= 0
	FROM vectron.indexes WHERE index = 't_v'::regclass});
like($said, qr/unreachable/, 'the view says so');
is($since, 't', 'since when, and how old the table is');
is($node->safe_psql('postgres', $near), '50', 'a new session reads the table at once');
unlike($node->safe_psql('postgres', $plan), qr/Index Scan/, 'and plans without the index');
is($old->query_safe($near), '50', 'and so does one that was there');
is($keeps->query_safe('EXECUTE p'), '50', 'and one that had kept a plan');
unlike($keeps->query_safe('EXPLAIN (COSTS OFF) EXECUTE p'), qr/Index Scan/, 'which is another one now');

is($node->safe_psql('postgres', q{
	BEGIN; DELETE FROM t WHERE id < 5; SELECT count(*) FROM t; ROLLBACK;
	BEGIN; TRUNCATE t; ROLLBACK;
	BEGIN; DROP TABLE t; ROLLBACK;
	SELECT count(*) FROM t;}), "1995\n1999", 'DELETE, and what is rolled back');
is($node->safe_psql('postgres', q{UPDATE t SET id = id WHERE id = 1999; SELECT count(*) FROM e}), '0', 'an UPDATE that stays on its page, an empty index');
is($node->safe_psql('postgres', q{TRUNCATE d; CREATE INDEX d_2 ON d USING vectron (v vector_ip_ops); REINDEX TABLE d; VACUUM e; VACUUM (FREEZE) f; ANALYZE d; DROP INDEX d_2; DROP TABLE d;
	CREATE SCHEMA s; CREATE TABLE s.x (v vector(2)); CREATE INDEX ON s.x USING vectron (v vector_l2_ops); DROP SCHEMA s CASCADE; DISCARD ALL;
	SELECT count(*) FROM vectron.indexes}), '3', 'TRUNCATE, builds over nothing, VACUUM with nothing to remove, every DROP');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE source');
is($node->safe_psql('copy', q{SET enable_seqscan = off; SELECT v FROM t ORDER BY v <-> '[1,1]' LIMIT 1; DROP TABLE t}), '[1,2]', 'a copy of a database');
$node->safe_psql('postgres', "DROP DATABASE $_") for qw(copy source);
$node->restart;
is($node->safe_psql('postgres', $near), '50', 'a restarted server reads, too');

# -- It is back -------------------------------------------------------------------

$cluster->start_pd;
$cluster->start_worker($_) for 1 .. 2;
ok($node->poll_query_until('postgres', q{SELECT bool_and(unreachable_since IS NULL) FROM vectron.indexes}), 'it is found to be back, with nobody asking');
like($node->safe_psql('postgres', $plan), qr/Index Scan/, 'and the index serves again');
is($node->safe_psql('postgres', "SET enable_seqscan = off; SET vectron.verify_scan = on; $near"), '50', 'rightly');
$node->safe_psql('postgres', 'VACUUM t');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '1999|0|0|0', 'nothing was lost');

# -- One worker is away: only what it holds is out of reach --------------------------

my ($store) = $node->safe_psql('postgres', q{CREATE TABLE one (id int, v vector(2)); INSERT INTO one SELECT n, ARRAY[n, n] FROM generate_series(1, 2000) n;
	CREATE INDEX one_v ON one USING vectron (v vector_l2_ops) WITH (shards = 1); ANALYZE one;
	SELECT endpoint FROM vectron.shards WHERE index LIKE '%one_v'}) =~ /worker(\d)/;
my $away = 3 - $store;
my $kept = $node->background_psql('postgres', timeout => 3600);
$kept->query_safe("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; PREPARE p AS $near");
like($kept->query_safe('EXPLAIN (COSTS OFF) EXECUTE p'), qr/Index Scan/, 'a plan with the index is kept');
kill 'STOP', $cluster->pid("worker$away");
fails('a search that needs a frozen worker', qq{SET vectron.fallback_scan = off; SET enable_seqscan = off; $near}, '57014', 'could not search index "t_v"');
ok($node->poll_query_until('postgres', q{SELECT unreachable_since IS NOT NULL FROM vectron.indexes WHERE index = 't_v'::regclass}), 'it is noted');
is($node->safe_psql('postgres', q{SELECT unreachable_since IS NULL FROM vectron.indexes WHERE index = 'one_v'::regclass}), 't', 'for that index alone');
(my $one = $plan) =~ s/FROM t /FROM one /;
like($node->safe_psql('postgres', $one), qr/Index Scan/, 'another index serves');
$node->safe_psql('postgres', "INSERT INTO one VALUES (3000, '[5,5]')");
unlike($node->safe_psql('postgres', $plan), qr/Index Scan/, 'that one does not');
unlike($kept->query_safe('EXPLAIN (COSTS OFF) EXECUTE p'), qr/Index Scan/, 'nor is it in a plan that was kept');
kill 'CONT', $cluster->pid("worker$away");
ok($node->poll_query_until('postgres', q{SELECT bool_and(unreachable_since IS NULL) FROM vectron.indexes}), 'thawed, it is found to be back');
like($node->safe_psql('postgres', $plan), qr/Index Scan/, 'and serves again');
$cluster->wait_until('the statement that had kept a plan is planned with it again', sub {
	return $kept->query_safe('EXPLAIN (COSTS OFF) EXECUTE p') =~ /Index Scan/; });
is($kept->query_safe('EXECUTE p'), '50', 'also in a plan that is kept');
$_->quit foreach $old, $keeps, $kept;
$node->stop;
done_testing();
