# What the cluster hears of is in WAL, on disk, before (law W3): after a crash of
# PostgreSQL no entry names a tuple that never was, and no row that came back lacks
# its entry.
#
# Nobody but us flushes WAL in these servers: the processes that do it unasked are
# stopped, and stay so until they are killed with the rest.

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
	CREATE TABLE t (id int, v vector(2));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
	INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 20) n;
	CHECKPOINT;
});
# An error is an answer too: an index may have become stale.
sub agrees
{
	my ($status, $out, $err) = $node->psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')});
	return $out . $err;
}
my $nearest = q{SET enable_seqscan = off; SET vectron.verify_scan = on; SELECT id FROM t ORDER BY v <-> '%s' LIMIT 1};

# Stop whoever writes WAL on his own.
sub freeze
{
	my @writers = split /\n/, $node->safe_psql('postgres',
		q{SELECT pid FROM pg_stat_activity WHERE backend_type IN ('walwriter', 'checkpointer', 'background writer')});
	is(kill('STOP', @writers), 3, 'nobody writes WAL unasked');
	return @writers;
}

# kill -9, also of those who cannot notice; then a start, when all are gone.
sub crash
{
	my (@frozen) = @_;
	my @all = split /\n/, $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity});
	push @all, (split /\n/, PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid'))[0];
	$node->kill9;
	kill 'KILL', @frozen;
	$cluster->wait_until('the server is gone', sub { return !grep { kill 0, $_ } @all; });
	$node->start;
}

# A put of a transaction that never ends
my @frozen = freeze();
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	'<', \(my $in = "BEGIN;\nINSERT INTO t VALUES (100, '[1000,1000]') RETURNING ctid;\nSET enable_seqscan = off;\n"
		. "SELECT id FROM t ORDER BY v <-> '[1000,1000]' LIMIT 1;\nSELECT 'sent';\n"),
	'>', \(my $said = ''), '2>', \(my $complained = ''));
$session->pump until $said =~ /sent/ || !$session->pumpable;
like($said, qr/\A\(0,21\)\n100\nsent/, 'an entry was sent by a transaction in progress') or diag $complained;
crash(@frozen);
eval { $session->kill_kill; };
unless (is(agrees(), '0|0|0', 'after a crash no entry names a tuple that never was'))
{
	# What follows needs an index that is live.
	$node->stop('immediate');
	done_testing();
	exit 1;
}
is($node->safe_psql('postgres', q{INSERT INTO t VALUES (101, NULL) RETURNING ctid <> '(0,21)'}), 't',
	'its line pointer is not free before VACUUM');
is($node->safe_psql('postgres', sprintf($nearest, '[1000,1000]')), '20', 'and nothing is found there');

# A deletion whose commit is not on disk, and a VACUUM that believes it.  The first
# use of an index after a start flushes WAL, too: that is over by then.
$node->safe_psql('postgres', q{INSERT INTO t VALUES (102, '[500,500]')});
@frozen = freeze();
my ($status, $out, $err) = $node->psql('postgres', q{
	SET synchronous_commit = off;
	DELETE FROM t WHERE id = 7;
	VACUUM (TRUNCATE off) t;
	SELECT count(*) FROM t WHERE id = 7;
	SELECT entries FROM vectron.check_index('t_v')});
is($out, "0\n20", 'VACUUM has taken the entry of a deleted row') or diag $err;
crash(@frozen);
is(agrees(), '0|0|0', 'after a crash no row that came back lacks its entry');

# The insert position stands right behind the header of a page that holds nothing
# yet: there is nothing to flush up to there, and XLogFlush() refuses.  VACUUM is
# stopped on its way to a delete, and WAL is filled up to such a place.
@frozen = freeze();
$node->safe_psql('postgres', 'DELETE FROM t WHERE id = 9');
kill 'STOP', $cluster->pid('worker1');
$session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres')
	. " application_name=waits options='-c vectron.write_timeout=120s'", '-c', 'VACUUM t' ],
	'>', \($said = ''), '2>', \($complained = ''));
$node->poll_query_until('postgres', q{SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE application_name = 'waits'});
is($node->safe_psql('postgres', q{
	CREATE FUNCTION in_page() RETURNS int LANGUAGE sql AS $$ SELECT ((pg_current_wal_insert_lsn() - '0/0') % 8192)::int $$;
	DO $$
	DECLARE
		room int;
	BEGIN
		FOR i IN 0..100000 LOOP
			room := 8192 - in_page();
			EXIT WHEN room = 8192 - 24;
			PERFORM pg_logical_emit_message(false, '', repeat('x', greatest(0, least(room, 8000) - 8 * (i % 20))));
		END LOOP;
	END $$;
	SELECT in_page()}), '24', 'the insert position is behind a page header');
kill 'CONT', $cluster->pid('worker1');
$session->finish;
is($complained, '', 'VACUUM flushes WAL all the same');
is(agrees(), '0|0|0', 'and does its work');
kill 'CONT', @frozen;

$node->stop;
done_testing();
