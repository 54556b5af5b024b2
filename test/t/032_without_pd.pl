# All placement drivers are gone: sessions that begin now write and search, in
# indexes that others have used, since the lease is this postmaster's and the way
# is known to the server.  What was not confirmed in this start of it is not assumed (law W7).

use strict;
use warnings;
use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd('--lease-time', 3);
$cluster->start_worker($_) for 1, 2;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint
	. "'\nshared_preload_libraries = 'vectron'\nautovacuum = off\njit = off\nvectron.sweep_interval = 0\n");
my $library = $ENV{VECTRON_POWERLOSS_LIBRARY};
my $arm = abs_path(PostgreSQL::Test::Utils::tempdir('interrupt')) . '/arm';
{
	local %ENV = (%ENV, $library ? (LD_PRELOAD => $library, VECTRON_INTERRUPT_WRITE_FILE => $arm) : ());
	$node->start;
}
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(2));
	INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 100) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2);
	CREATE TABLE unused AS SELECT * FROM t;
});

sub nearest
{
	my ($to) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "SET enable_seqscan = off; SET vectron.verify_scan = on;
		SELECT id FROM t ORDER BY v <-> '[$to,$to]' LIMIT 1");
	return $out . $err;
}

sub plan_of_search
{
	return $node->safe_psql('postgres', q{SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v <-> '[1,1]' LIMIT 1});
}

is(nearest(10), '10', 'a session uses the index');
$cluster->kill9('pd');

is(nearest(20), '20', 'without a placement driver a new session searches');
my ($status, $out, $err) = $node->psql('postgres', q{INSERT INTO t VALUES (101, '[101,101]')});
is("$status$err", '0', 'and writes');
is(nearest(101), '101', 'and another one sees it');
like(plan_of_search(), qr/t_v/, 'by the index');

# Somebody asks for what only a driver can do, and so notes that there is none.
($status, $out, $err) = $node->psql('postgres', q{SET vectron.write_timeout = '2s'; CREATE INDEX ON unused USING vectron (v vector_l2_ops)});
isnt($status, 0, 'a new index is not made');
is($node->safe_psql('postgres', 'SELECT unreachable_since IS NOT NULL FROM vectron.indexes'), 't', 'it is noted that there is no driver');
like(plan_of_search(), qr/t_v/, 'which keeps nobody from an index whose way is known');
is(nearest(30), '30', 'sessions go on');
$node->safe_psql('postgres', q{DELETE FROM t WHERE id = 30; VACUUM t});
unlike(nearest(30), qr/^30$/, 'also VACUUM');

# In its place another cluster's: one whose disk was emptied, and that founded a new one.
rename $cluster->data('pd'), $cluster->data('pd') . '.kept' or die;
$cluster->start_pd('--lease-time', 3);
is(nearest(40), '40', 'what another cluster says makes no difference');
($status, $out, $err) = $node->psql('postgres', q{INSERT INTO t VALUES (140, '[140,140]')});
is("$status$err", '0', 'nor does it to a write');
is($node->safe_psql('postgres', q{SELECT state FROM vectron.index_meta('t_v')}), 'live', 'and the index stays live');
$cluster->wait_until('its workers do not heed it', sub { return $cluster->log_text('worker1') =~ /belongs to another cluster.*it is not heeded/; });

# A cancel that comes while the other cluster is told of in the log: the session ends that statement, and no more.
SKIP:
{
	skip 'no powerloss.so', 3 unless $library && -f $library;
	# The supervisor and the sweepers tell of it, too, which is not what is to be cancelled: this has the session's name, as their lines have not.
	PostgreSQL::Test::Utils::append_to_file($arm, "$ENV{PGAPPNAME} LOG:  vectron: ");
	my $ask = q{SELECT vectron.report('status') LIKE '%another cluster%'};
	my ($s, $o, $e) = $node->psql('postgres', join(";\n", ($ask) x 3), on_error_stop => 0);
	like($e, qr/\A\S+ ERROR:  canceling statement due to user request\z/, 'a statement is cancelled when the other cluster is told of');
	is($o, "t\nt", 'and the session asks again, and again');
	ok(!-e $arm, 'it was told of');
}
$cluster->kill9('pd');
IPC::Run::run([ 'rm', '-rf', $cluster->data('pd') ]);
rename $cluster->data('pd') . '.kept', $cluster->data('pd') or die;

# Another start of the server: who has the incarnation now, only PD can say.
$node->restart;
($status, $out, $err) = $node->psql('postgres', q{SET vectron.write_timeout = '2s'; INSERT INTO t VALUES (102, '[102,102]')});
isnt($status, 0, 'after a restart nothing is written before the lease is confirmed');
like($err, qr/could not get this server's lease from the placement driver/, 'and the error says so');
unlike(plan_of_search(), qr/t_v/, 'and queries read the table');

$cluster->start_pd('--lease-time', 3);
$cluster->wait_until('the server has its lease again', sub { return $node->psql('postgres', q{INSERT INTO t VALUES (103, '[103,103]')}) == 0; });
is(nearest(103), '103', 'with a driver all goes on');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '102|0|0|0', 'and nothing is lost or mixed up');
$node->stop;
done_testing();
