# Sweeps (law W8): with nobody telling the cluster of dropped indexes, it still
# lets go of them, and of nothing that anybody may need.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Generations;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd('--keep-dropped', '3600');
$cluster->start_worker(1);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\n"
	  . "autovacuum = off\nmax_prepared_transactions = 5\nshared_preload_libraries = 'vectron'\n"
	  . "vectron.sweep_interval = 0\nvectron.drop_intents = off\nlog_min_messages = log\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION vectron');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM vectron.workers WHERE state = 'up'}), 'a worker is up');

my $g = filled_table($node, 'a');
$node->safe_psql('postgres', 'DROP TABLE a');
is($node->safe_psql('postgres', q{SELECT outcome FROM vectron.sweep()}), 'noted', 'what nobody needs is noted first');
is($node->safe_psql('postgres', q{SELECT generation, outcome FROM vectron.sweep()}), "$g|dropped", 'and dropped by the second look');
is($node->safe_psql('postgres', q{SELECT count(*) FROM vectron.sweep()}), '0', 'and then no more');

# An index whose transaction has not ended is not swept, prepared or running.
$node->safe_psql('postgres', 'CREATE TABLE u (id int, v vector(2)); ' . fill('u'));
my $session = $node->background_psql('postgres', timeout => 3600);
$session->query_safe('BEGIN');
$session->query_safe('CREATE INDEX u_v ON u USING hnsw (v vector_l2_ops)');
my $running = $session->query_safe(q{SELECT generation FROM vectron.index_meta('u_v')});
chomp $running;
is(state_of($node, $running), 'live', 'an uncommitted CREATE INDEX has its data in the cluster');
$node->safe_psql('postgres', 'CREATE TABLE w (id int, v vector(2)); ' . fill('w'));
my $prepared = $node->safe_psql('postgres', q{BEGIN; CREATE INDEX w_v ON w USING ivfflat (v vector_l2_ops);
	SELECT generation FROM vectron.index_meta('w_v'); PREPARE TRANSACTION 'w'});
$node->safe_psql('postgres', q{SELECT vectron.sweep(); SELECT vectron.sweep(); SELECT vectron.sweep()});
is(state_of($node, $running), 'live', 'and is not swept');
is(state_of($node, $prepared), 'live', 'nor is a prepared one');
$node->safe_psql('postgres', q{COMMIT PREPARED 'w'});
$session->query_safe('COMMIT');
$session->quit;
$node->safe_psql('postgres', q{SELECT vectron.sweep(); SELECT vectron.sweep()});
is(state_of($node, $running), 'live', 'nor when it is committed');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('u_v')}), '50|0|0|0', 'it is whole');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('w_v')}), '50|0|0|0', 'and so is the prepared one');

# A transaction that failed leaves a collection that is.
my ($status, $out, $err) = $node->psql('postgres', q{BEGIN; CREATE INDEX u_2 ON u USING vectron (v vector_ip_ops); ROLLBACK});
is($node->safe_psql('postgres', q{SELECT index, outcome FROM vectron.sweep()}), 'public.u_2|noted', 'what a rolled back CREATE INDEX left is noted');
is($node->safe_psql('postgres', q{SELECT index, outcome FROM vectron.sweep()}), 'public.u_2|dropped', 'and dropped');

# A DROP that is under way ends the look, and one's own makes it impossible.
$session = $node->background_psql('postgres', timeout => 3600);
$session->query_safe('BEGIN');
$session->query_safe('DROP INDEX u_v');
($status, $out, $err) = $node->psql('postgres', 'SELECT vectron.sweep()');
like($err, qr/could not obtain lock/, 'a sweep meets a lock and gives way');
$session->query_safe('ROLLBACK');
$session->quit;
($status, $out, $err) = $node->psql('postgres', 'BEGIN; DROP INDEX u_v; SELECT vectron.sweep(); ROLLBACK;');
like($err, qr/cannot run in a transaction that has written/, 'a sweep is refused in a transaction that has written');
is(state_of($node, $running), 'live', 'neither harms');
($status, $out, $err) = $node->psql('postgres', "CREATE ROLE plain LOGIN; GRANT EXECUTE ON FUNCTION vectron.sweep() TO plain;\n"
	  . "GRANT USAGE ON SCHEMA vectron TO plain; SET ROLE plain; SELECT vectron.sweep()");
like($err, qr/must be superuser/, 'a sweep is for superusers');

# A database that is gone; a copy that is not ours to sweep.
$node->safe_psql('postgres', 'CREATE DATABASE gone');
$node->safe_psql('gone', 'CREATE EXTENSION vectron');
$g = filled_table($node, 't', 'gone');
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE gone');
$node->safe_psql('clone', q{SELECT vectron.sweep(); SELECT vectron.sweep(); DROP TABLE t;});
$node->safe_psql('postgres', q{SELECT vectron.sweep(); SELECT vectron.sweep()});
is(state_of($node, $g), 'live', 'another database\'s index is not swept from here');
is($node->safe_psql('gone', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '50|0|0|0', 'and a clone lets it be');
$node->safe_psql('postgres', 'DROP DATABASE gone');
is($node->safe_psql('postgres', q{SELECT index, outcome FROM vectron.sweep()}), 'public.t_v|noted', 'what a dropped database owned is noted');
is($node->safe_psql('postgres', q{SELECT index, outcome FROM vectron.sweep()}), 'public.t_v|dropped', 'and dropped');

# The background does the same, in every database, and keeps out of nobody's way.
$g = filled_table($node, 'x', 'clone');
my $here = filled_table($node, 'x');
$node->safe_psql('clone', 'DROP TABLE x');
$node->safe_psql('postgres', 'DROP TABLE x');
$node->append_conf('postgresql.conf', "vectron.sweep_interval = 1\n");
$node->reload;
becomes($node, $g, 'hidden', 'the background sweeps a database');
becomes($node, $here, 'hidden', 'and another');
is(state_of($node, $running), 'live', 'and leaves what is needed');
$node->safe_psql('postgres', 'DROP DATABASE clone');

# A copy of the data directory, in the same cluster, is another server: what it
# drops, sweeps, or finds in its copied folder, is not the original's.
$node->append_conf('postgresql.conf', "vectron.sweep_interval = 0\nvectron.drop_intents = on\n");
$node->reload;
$node->backup('copy');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'copy');
$copy->append_conf('postgresql.conf', "unix_socket_directories = '" . $copy->host . "'\n");
my ($system, $incarnation, $database) = split /\|/, $node->safe_psql('postgres', qq{SELECT c.owner ->> 'system', c.owner ->> 'incarnation', c.owner ->> 'database'
	FROM json_to_recordset(vectron.report('collections')::json -> 'collections') AS c(generation text, owner json) WHERE c.generation = '$running'});
my $xid = $node->safe_psql('postgres', q{SELECT xmin FROM pg_class WHERE relname = 'u'});
my $word = $copy->data_dir . "/vectron/drops/$xid";
mkdir $copy->data_dir . '/vectron/drops';
PostgreSQL::Test::Utils::append_to_file($word, "$running $system $incarnation $database\n");
$copy->start;
is($copy->safe_psql('postgres', q{SELECT count(*) FROM u; DROP TABLE w; TRUNCATE u; SELECT vectron.sweep(); SELECT vectron.sweep()}), '50', 'a copy drops and sweeps');
ok($copy->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_ls_dir('vectron/drops')}), 'and forgets what it found in its folder');
is(state_of($node, $_), 'live', 'the original keeps what it has') for $running, $prepared;
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('u_v')}), '50|0|0|0', 'whole');

# What a server that is gone left behind is for a person to say.
my $left = filled_table($copy, 'z');
my $gone = $copy->safe_psql('postgres', qq{SELECT incarnation FROM vectron.collections WHERE generation = '$left'});
isnt($gone, $incarnation, 'it has an incarnation of its own');
($status, $out, $err) = $copy->psql('postgres', "SELECT vectron.retire('$gone')");
like($err, qr/is this server's own/, 'which it cannot retire itself');
$copy->stop;
$node->safe_psql('postgres', 'SELECT vectron.sweep(); SELECT vectron.sweep()');
is(state_of($node, $left), 'live', 'no sweep touches what another incarnation has');
is($node->safe_psql('postgres', "SELECT vectron.retire('$gone')"), '1', 'retired, it is dropped');
is(state_of($node, $left), 'hidden', 'as any other');
is(state_of($node, $running), 'live', 'and nothing else is');
$node->stop;
done_testing();
