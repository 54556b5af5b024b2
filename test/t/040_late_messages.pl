# A put or a delete that the network keeps back until after VACUUM and the reuse
# of its TID changes nothing (laws W5 and W6).

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use HoldingProxy;
use VectronCluster;

my $cluster = VectronCluster->new;
my $proxy = HoldingProxy->new(substr($cluster->endpoint('proxy'), 5), substr($cluster->endpoint('worker1'), 5));
$cluster->start_pd;
$cluster->start_worker(1, '--advertise', $cluster->endpoint('proxy'));

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
my $agrees = q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')};
is($node->safe_psql('postgres', $agrees), '0|0|0', 'before');

# How a statement ends whose message is kept back.  If the machine stands still until its deadline,
# nothing was sent, and there is another one.
sub unanswered
{
	my ($sql) = @_;
	my $status;
	$cluster->wait_until('a message is kept back', sub {
		($status) = $node->psql('postgres', "SET vectron.write_timeout = '700ms';\n$sql");
		return $status == 0 || $proxy->held;
	});
	return $status;
}

# A put whose transaction gives up, aborts, and is forgotten
$proxy->hold('put');
isnt(unanswered(q{INSERT INTO t VALUES (100, '[1000,1000]')}), 0, 'a transaction whose put is not answered fails within its deadline');
is($proxy->held, 1, 'its put is still on its way');
my $tid = $node->safe_psql('postgres', q{VACUUM t; INSERT INTO t VALUES (101, '[5,-5]') RETURNING ctid});
is($tid, '(0,21)', 'VACUUM frees its TID and another row takes it');
is($proxy->release, 1, 'now the late put arrives');
is($node->safe_psql('postgres', $agrees), '0|0|0', 'and changes nothing');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SET vectron.verify_scan = on; SELECT id FROM t ORDER BY v <-> '[5,-5]' LIMIT 1}),
	'101', 'the row is found by its own vector');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[1000,1000]' LIMIT 1}),
	'20', 'and not by the other one');

# A delete of a VACUUM that gives up
$node->safe_psql('postgres', q{DELETE FROM t WHERE id = 101});
$proxy->hold('delete');
isnt(unanswered('VACUUM t'), 0, 'a VACUUM whose delete is not answered fails');
is($proxy->held, 1, 'its delete is still on its way');
$tid = $node->safe_psql('postgres', q{VACUUM t; INSERT INTO t VALUES (102, '[7,-7]') RETURNING ctid});
is($tid, '(0,21)', 'the next VACUUM frees the TID and another row takes it');
is($proxy->release, 1, 'now the late delete arrives');
is($node->safe_psql('postgres', $agrees), '0|0|0', 'and changes nothing');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[7,-7]' LIMIT 1}),
	'102', 'the new row is still there');

# A delete that arrives twice: once in time, once after the TID was used again
$node->safe_psql('postgres', q{DELETE FROM t WHERE id = 102});
$proxy->copy('delete');
$tid = $node->safe_psql('postgres', q{VACUUM t; INSERT INTO t VALUES (104, '[8,-8]') RETURNING ctid});
is($tid, '(0,21)', 'VACUUM frees a TID and another row takes it');
is($proxy->release, 1, 'now its delete arrives again');
is($node->safe_psql('postgres', $agrees), '0|0|0', 'and the new row stays');

# A transaction in progress over a VACUUM sends again with the newer fence
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	'<', \(my $in = "BEGIN;\nINSERT INTO t VALUES (103, '[9,-9]');\nSELECT 'inserted';\n"), '>', \(my $said = ''), '2>', \(my $complained = ''));
$session->pump until $said =~ /inserted/;
$node->safe_psql('postgres', q{DELETE FROM t WHERE id = 3; VACUUM t});
$in .= "COMMIT;\nSET enable_seqscan = off;\nSELECT id FROM t ORDER BY v <-> '[9,-9]' LIMIT 1;\n\\q\n";
$session->finish;
like($said, qr/103/, 'an insert that was running during VACUUM commits and is found') or diag $complained;
is($node->safe_psql('postgres', $agrees), '0|0|0', 'after');

# A speculative tuple meets its conflict in a transaction that goes on: VACUUM frees the TID meanwhile,
# another row takes it, and the entry that is still to be sent is not stamped anew.
$node->safe_psql('postgres', q{
	CREATE TABLE s (k int, v vector(2));
	CREATE INDEX s_v ON s USING vectron (v vector_l2_ops);
	INSERT INTO s SELECT n, ARRAY[n, n] FROM generate_series(1, 20) n;
	CREATE FUNCTION key_of(k int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF current_setting('test.waits', true) = 'on' THEN
			PERFORM set_config('test.calls', (current_setting('test.calls')::int + 1)::text, false);
			PERFORM pg_advisory_lock_shared(current_setting('test.calls')::int);
		END IF;
		RETURN k;
	END $$;
	CREATE UNIQUE INDEX s_k ON s (key_of(k));
});
# The first look finds no conflict; the second, when the tuple is there, waits.
my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	'<', \(my $hold = "SELECT 'held' FROM pg_advisory_lock(2);\n"), '>', \(my $holds = ''), '2>', \(my $amiss = ''));
$holder->pump until $holds =~ /held/;
$session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<',
	\($in = "SET test.waits = 'on';\nSET test.calls = '0';\nBEGIN;\nINSERT INTO s VALUES (50, '[50,-50]') ON CONFLICT DO NOTHING;\nSELECT 'gave way';\n"),
	'>', \($said = ''), '2>', \($complained = ''));
$cluster->wait_until('a tuple is there, and its key is still to be looked for', sub {
	$session->pump_nb;
	return $node->safe_psql('postgres', q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 2 AND NOT granted}) == 1;
});
my ($block, $offset) = $node->safe_psql('postgres', q{INSERT INTO s VALUES (50, '[6,-6]') RETURNING ctid}) =~ /(\d+),(\d+)/;
$hold .= "SELECT pg_advisory_unlock(2);\n\\q\n";
$holder->finish;
$session->pump until $said =~ /gave way/;
$tid = $node->safe_psql('postgres', q{VACUUM (DISABLE_PAGE_SKIPPING) s; INSERT INTO s VALUES (51, '[8,-8]') RETURNING ctid});
is($tid, "($block," . ($offset - 1) . ')', 'its TID is another row\'s');
$in .= "COMMIT;\n\\q\n";
$session->finish;
unlike($complained, qr/ERROR|FATAL/, 'the transaction commits');
is($node->safe_psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('s_v')}), '0|0|0', 'the entry of the tuple that gave way is dropped, and is not sent for whose TID it is now');

$node->stop;
$proxy->stop;
done_testing();
