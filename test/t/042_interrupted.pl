# What waits for the cluster can be interrupted, and what an interruption leaves is
# right: entries of an outer transaction are kept (law W2), nothing that was not
# acknowledged is committed (W4), and what the cluster has forgotten is an error,
# never an empty index (W1).

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use HoldingProxy;
use VectronCluster;

my $cluster = VectronCluster->new;
my $proxy = HoldingProxy->new(substr($cluster->endpoint('proxy'), 5), substr($cluster->endpoint('worker1'), 5));
sub start_daemons
{
	$cluster->start_pd;
	$cluster->start_worker(1, '--advertise', $cluster->endpoint('proxy'));
}
start_daemons();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(256));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
	CREATE FUNCTION vec(n int) RETURNS vector LANGUAGE sql IMMUTABLE AS
		$$ SELECT array_agg((n * 7919 + d * 104729) % 1009 ORDER BY d)::vector FROM generate_series(1, 256) d $$;
	INSERT INTO t SELECT n, vec(n) FROM generate_series(1, 20) n;
});
my $agrees = q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')};

# A flush fails inside an exception block; the rows outside of it are kept
$proxy->hold('put');
my ($status, $out, $err) = $node->psql('postgres', q{
	SET vectron.insert_buffer = '64kB';
	SET vectron.write_timeout = '5s';
	BEGIN;
	DO $$
	BEGIN
		INSERT INTO t SELECT n, vec(n) FROM generate_series(101, 140) n;
		BEGIN
			INSERT INTO t SELECT n, vec(n) FROM generate_series(201, 240) n;
			RAISE 'not reached';
		EXCEPTION WHEN query_canceled THEN NULL;
		END;
		INSERT INTO t SELECT n, vec(n) FROM generate_series(301, 310) n;
	END $$;
	SET vectron.write_timeout = '30s';
	COMMIT});
is($status, 0, 'a transaction goes on after a flush that failed in an exception block') or diag $err;
is($proxy->held, 1, 'whose put is still on its way');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '70', 'it has the rows of outside');
is($node->safe_psql('postgres', $agrees), '0|0|0', 'and their entries');
is($proxy->release, 1, 'the late put arrives');
is($node->safe_psql('postgres', $agrees), '0|0|0', 'and harms nobody');
is($node->safe_psql('postgres', "VACUUM t; $agrees"), '0|0|0', 'nor after VACUUM');

# Whatever waits can be cancelled, also where statement_timeout is off
sub cancelled
{
	my ($what, $sql, $words) = @_;
	kill 'STOP', $cluster->pid('worker1');
	my ($said, $complained) = ('', '');
	# For as long as somebody may need to see that it waits
	my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres')
		. " application_name=waits options='-c vectron.write_timeout=120s -c vectron.read_timeout=120s'", '-c', $sql ],
		'>', \$said, '2>', \$complained);
	$node->poll_query_until('postgres', q{SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE application_name = 'waits'})
		or die "$what does not wait";
	is($node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'waits'}), 't',
		"$what waits, and is cancelled");
	$session->finish;
	like($complained, qr/canceling statement due to user request/, "$what says so, before the worker answers");
	kill 'CONT', $cluster->pid('worker1');
	is($node->safe_psql('postgres', $agrees), '0|0|0', "$what leaves nothing wrong");
}
cancelled('a commit', "INSERT INTO t VALUES (400, vec(400))");
is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE id = 400'), '0', 'it was not committed');
# The flush that failed above is an outage to the planner, which would leave the index out
cancelled('a search', "SET enable_seqscan = off; SET vectron.fallback_scan = off; SELECT id FROM t ORDER BY v <-> vec(1) LIMIT 1");
$node->safe_psql('postgres', 'DELETE FROM t WHERE id < 5');
cancelled('a VACUUM', 'VACUUM t');
is($node->safe_psql('postgres', "VACUUM t; $agrees"), '0|0|0', 'the next one does its work');
cancelled('a build', 'CREATE INDEX other ON t USING vectron (v vector_l1_ops)');
cancelled('the check', "SELECT vectron.check_index('t_v')");

# A cluster that has forgotten everything
$cluster->stop('worker1');
$cluster->stop('pd');
system('rm', '-rf', $cluster->data('pd'), $cluster->data('worker1'));
start_daemons();
my $search = q{SET enable_seqscan = off; SET enable_sort = off; SELECT id FROM t ORDER BY v <-> vec(10) LIMIT 1};
foreach my $case ([ 'a search', $search ], [ 'an insert', q{INSERT INTO t VALUES (500, vec(500))} ],
	[ 'a VACUUM', q{DELETE FROM t WHERE id = 11; VACUUM t} ], [ 'REINDEX', 'REINDEX INDEX t_v' ])
{
	my ($what, $sql) = @$case;
	# An outage that was noted above may not be forgotten yet
	($status, $out, $err) = $node->psql('postgres', "SET vectron.fallback_scan = off;\n$sql");
	isnt($status, 0, "$what does not take a lost index for an empty one");
	like($err, qr/HINT:.*incarnation/, "$what says what to do");
}
unlink $node->data_dir . '/vectron/incarnation' or die 'there was no incarnation';
is($node->safe_psql('postgres', $search), '10', 'when that is done a search reads the table');
is($node->safe_psql('postgres', q{INSERT INTO t VALUES (501, vec(501)); VACUUM t; SELECT state FROM vectron.indexes}), 'stale',
	'writes and VACUUM go on without the index');
$node->safe_psql('postgres', 'REINDEX INDEX t_v');
is($node->safe_psql('postgres', $agrees), '0|0|0', 'REINDEX fills the new cluster');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> vec(501) LIMIT 1}), '501', 'which answers');

$node->stop;
$proxy->stop;
done_testing();
