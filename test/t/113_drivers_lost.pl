# Two of three placement drivers are lost for good: no driver can be made to lead, data
# goes on, and the way out is docs/cluster.md's.  Another cluster is founded, the server
# moves to it, and REINDEX makes its indexes anew.

use strict;
use warnings;
use File::Path qw(rmtree);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $old = VectronCluster->new(pds => 3);
$old->start_pd_of($_) for 1 .. 3;
$old->start_worker(1);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'vectron'\nvectron.pd_endpoints = '" . $old->pd_endpoint . "'\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int PRIMARY KEY, v vector(3));
	INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n] FROM generate_series(1, 300) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
	CREATE INDEX t_w ON t USING vectron (v vector_l1_ops) WITH (quantization = 'none');
});

sub check
{
	my ($cluster) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--timeout', 1000, '--pd', $cluster->pd_endpoint, 'check' ], '>', \$out, '2>', \$err);
	return ($? >> 8) . " $out$err";
}

# Who looks is told this in the end: what has just changed is not known to all at once, and who
# stood still for a second was not answered.
sub comes_to
{
	my ($cluster, $words, $name) = @_;
	$cluster->wait_until($name, sub { return check($cluster) =~ $words; });
	return pass($name);
}

my $nearest = q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[5,5,400]' LIMIT 1};
my $is_indexed = q{SET enable_seqscan = off; EXPLAIN (COSTS off) SELECT id FROM t ORDER BY v <-> '[5,5,400]' LIMIT 1};
my $next = 301;

# The row that is nearest is a new one.
sub written_and_found
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $id = $next++;
	return is($node->safe_psql('postgres', "INSERT INTO t VALUES ($id, ARRAY[5, 5, $id]); $nearest"), $id, $name);
}

written_and_found('a cluster');
comes_to($old, qr/^0 all is well$/, 'which is well');
$old->kill9("pd$_") for 1, 2;
rmtree($old->data("pd$_")) for 1, 2;
written_and_found('two of three drivers are lost: another session writes and searches');
comes_to($old, qr/^2 CRITICAL +placement drivers: .*more than half of the 3 must be up.*if they are lost for good: docs\/cluster\.md/s, 'and who looks is told where to read on');

ok($old->refused($node, "SET vectron.write_timeout = '2s'; CREATE INDEX t_x ON t USING vectron (v vector_ip_ops)",
	qr/no placement driver leads now: more than half of the 3 must be up/), 'no index is made, and who wants one is told why');

# An empty directory makes no driver of the old cluster.
$old->start_pd_of(1);
comes_to($old, qr/^2 CRITICAL +placement drivers: .*it is not one of the placement drivers yet/s, 'a driver with an empty directory has no vote');
$old->kill9('pd1');

# -- Another cluster ---------------------------------------------------------------------

my $new = VectronCluster->new;
$new->start_pd;
$new->start_worker(1);
written_and_found('the old one goes on beside it');
$node->stop;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $new->pd_endpoint . "'\n");
unlink $node->data_dir . '/vectron/incarnation' or die "there was no incarnation: $!";
$node->start;
written_and_found('the server has moved: tables are scanned');
unlike($node->safe_psql('postgres', $is_indexed), qr/t_v/, 'without the indexes');
$node->safe_psql('postgres', 'VACUUM t');
my $reindex = $node->safe_psql('postgres', q{SELECT format('REINDEX INDEX %s', index) FROM vectron.indexes WHERE state = 'stale' ORDER BY 1});
is($reindex, "REINDEX INDEX t_v\nREINDEX INDEX t_w", 'which are stale');
$node->safe_psql('postgres', $_) for split /\n/, $reindex;
written_and_found('made anew');
like($node->safe_psql('postgres', $is_indexed), qr/t_v/, 'by the index');
$old->stop($_) for 'worker1', 'pd3';
$new->clean($node, 't', $_, "nothing is missing in $_, and nobody needs the old cluster") for 't_v', 't_w';
comes_to($new, qr/^0 all is well$/, 'all is well');
$node->stop;
done_testing();
