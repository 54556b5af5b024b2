# Prepared transactions: what they wrote is in the index before PREPARE returns
# (laws W2, W4), through crashes, whichever way they end.

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
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\n"
	  . "autovacuum = off\nmax_prepared_transactions = 10\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION vectron');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM vectron.workers WHERE state = 'up'}), 'a worker is up');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int, v vector(2));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
	INSERT INTO t SELECT n, ARRAY[n, 0] FROM generate_series(1, 20) n;
});
my $check = q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')};
my $ids = q{SET enable_seqscan = off; SET vectron.verify_scan = on;
	SELECT string_agg(id::text, ' ' ORDER BY id) FROM (SELECT id FROM t ORDER BY v <-> '[0,0]' LIMIT 1000) s WHERE id > 20};

# Each with a row of a subtransaction that was rolled back.
$node->safe_psql('postgres', qq{BEGIN; INSERT INTO t VALUES ($_, '[$_,1]'); SAVEPOINT s; INSERT INTO t VALUES (900 + $_, '[0,$_]');
	ROLLBACK TO s; DELETE FROM t WHERE id = $_ - 20; PREPARE TRANSACTION 'p$_'}) for 21 .. 24;
is($node->safe_psql('postgres', $ids), '', 'what is prepared is not seen');
is($node->safe_psql('postgres', $check), '24|0|0|0', 'its entries are there, those rolled back are not');

$node->safe_psql('postgres', "COMMIT PREPARED 'p21'; ROLLBACK PREPARED 'p22'");
is($node->safe_psql('postgres', $ids), '21', 'one is committed, one rolled back');
$node->safe_psql('postgres', 'VACUUM t');
is($node->safe_psql('postgres', $check), '22|0|0|0', 'VACUUM takes the dead ones and leaves the prepared');

# Everybody dies in between.
$node->stop('immediate');
$cluster->kill9($_) for qw(worker1 pd);
$cluster->start_pd;
$cluster->start_worker(1);
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '2', 'two are still prepared after a crash');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM vectron.workers WHERE state = 'up'}), 'the cluster is back');
$node->safe_psql('postgres', "COMMIT PREPARED 'p23'; ROLLBACK PREPARED 'p24'");
is($node->safe_psql('postgres', $ids), '21 23', 'each ends as it is told');

# The TID of the one that was rolled back is used again.
$node->safe_psql('postgres', 'VACUUM t; INSERT INTO t SELECT n, ARRAY[n, 2] FROM generate_series(30, 40) n');
is($node->safe_psql('postgres', $ids), '21 23 30 31 32 33 34 35 36 37 38 39 40', 'and its TID means another row now');
is($node->safe_psql('postgres', $check), '31|0|0|0', 'the index agrees with the table');

# A first write, and a whole index, that are prepared.
$node->safe_psql('postgres', q{BEGIN; CREATE TABLE n (v vector(2)); CREATE INDEX n_v ON n USING vectron (v vector_l2_ops);
	INSERT INTO n VALUES ('[1,2]'); PREPARE TRANSACTION 'n'});
$node->restart;
$node->safe_psql('postgres', "COMMIT PREPARED 'n'");
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('n_v')}), '1|0|0|0', 'an index made in a prepared transaction');
is($node->safe_psql('postgres', $check), '31|0|0|0', 'others go on after the restart');

# PREPARE fails as COMMIT does when the cluster does not answer, and leaves nothing prepared.
$cluster->kill9('worker1');
my ($status, $out, $err) = $node->psql('postgres', q{SET vectron.write_timeout = '300ms';
	BEGIN; INSERT INTO t VALUES (50, '[50,1]'); PREPARE TRANSACTION 'late'});
like($err, qr/could not/, 'PREPARE without the worker fails within its deadline');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'and prepares nothing');
$cluster->start_worker(1);
ok($node->poll_query_until('postgres', "SELECT missing = 0 AND extra = 0 AND wrong = 0 FROM vectron.check_index('t_v')"), 'the index is whole');
$node->stop;
done_testing();
