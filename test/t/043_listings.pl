# A listing that is cut off begins again, but not for ever: VACUUM ends with the
# reason, and with the connection back it does all of its work.

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

# More entries than fit into one page of a listing.
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(1));
	INSERT INTO t SELECT n, ARRAY[n] FROM generate_series(1, 70000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (m = 4, ef_construction = 8, shards = 1, quantization = none);
	DELETE FROM t WHERE id % 10 = 0;
});
$proxy->sever(1);
my ($status, $out, $err) = $node->psql('postgres', 'VACUUM (PARALLEL 0) t');
isnt($status, 0, 'VACUUM ends when its listing is cut off again and again');
like($err, qr/could not list the entries of index "t_v": the listing was given up 10 times/, 'and says so');
is($proxy->severed, 10, 'after it has begun again');
$proxy->sever(0);
is($node->safe_psql('postgres', q{VACUUM t; SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '63000|0|0|0',
	'later it does all of its work');
$node->stop;
$proxy->stop;
done_testing();
