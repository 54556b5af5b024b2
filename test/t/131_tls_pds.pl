# Three placement drivers over tcp: they find each other by their certificates, a
# leader dies, and workers, PostgreSQL and people find the next one. A worker's
# certificate makes nobody a driver, and no driver is taken for another one.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new(pds => 3, tls => 1);
$cluster->start_pd_of($_) for 1 .. 3;
$cluster->start_worker($_) for 1, 2;

sub leader
{
	my $n;
	$cluster->wait_until('a driver leads', sub {
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'vectronctl', '--timeout', 10000, '--json', '--pd', $cluster->pd_endpoint, $cluster->tls_options('admin', 'anna'), 'pds' ],
			'>', \$out, '2>', \$err);
		return 0 if $?;
		my ($leads) = grep { $_->{role} eq 'leader' && $_->{state} eq 'up' } @{ decode_json($out)->{pds} };
		return 0 if !$leads;
		($n) = grep { $cluster->endpoint("pd$_") eq $leads->{endpoint} } 1 .. 3;
		return $n;
	});
	return $n;
}

my $first = leader();
ok($first, 'three drivers found their cluster');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\n");
$node->start;
$node->append_conf('postgresql.conf', $cluster->gateway_conf($node));
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT current_setting('vectron.pd_endpoints', true) LIKE 'tcp%' OR current_setting('vectron.pd_endpoints', true) IS NULL}), 'a server knows all of them');
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE a (id int, v vector(3));
	INSERT INTO a SELECT n, ARRAY[n, 1, 2] FROM generate_series(1, 100) n;
	CREATE INDEX a_v ON a USING vectron (v vector_l2_ops) WITH (shards = 2);
});
$cluster->kill9("pd$first");
my $second = leader();
isnt($second, $first, 'another leads when the leader is dead');
$node->safe_psql('postgres', q{
	CREATE TABLE b (id int, v vector(3));
	INSERT INTO b SELECT n, ARRAY[n, 1, 2] FROM generate_series(1, 100) n;
	CREATE INDEX b_v ON b USING vectron (v vector_l2_ops) WITH (shards = 2);
});
for my $t ('a', 'b')
{
	is($node->safe_psql('postgres', "SET enable_seqscan = off; SELECT id FROM $t ORDER BY v <-> '[7,1,2]' LIMIT 1"), '7', "table $t is searched");
}

# In the dead one's place: somebody with a worker's certificate.
my ($ca, $cert, $key) = $cluster->files('worker', 'worker1');
$cluster->spawn("pd$first", 'vectron-pd', '--data', $cluster->data("pd$first"), '--listen', $cluster->endpoint("pd$first"), '--peers', $cluster->pd_endpoint,
	'--tls-ca-file', $ca, '--tls-cert-file', $cert, '--tls-key-file', $key);
isnt($cluster->wait_end("pd$first"), 0, 'a driver with a worker\'s certificate ends');
like($cluster->log_text("pd$first", 1), qr/is for worker "worker1", and this is a pd/, 'and says why');
$cluster->start_pd_of($first);
$cluster->kill9("pd$second");
isnt(leader(), $second, 'with its own it is one of the three again, and a majority');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM b ORDER BY v <-> '[7,1,2]' LIMIT 200) s}), '100', 'and all is found');
unlike($cluster->log_text("pd$_"), qr/in the name of another placement driver/, "whoever spoke to driver $_ was who he said") for 1 .. 3;
$node->stop;
done_testing();
