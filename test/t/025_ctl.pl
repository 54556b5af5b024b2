# What a person asks the cluster without PostgreSQL: vectronctl.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd;
$cluster->start_worker($_) for 1, 2;
my $pd = $cluster->pd_endpoint;

sub ctl
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', @_ ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '$pd'\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(3));
	INSERT INTO t SELECT n, ARRAY[n, 1, 2] FROM generate_series(1, 100) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2);
});

my ($status, $out, $err) = ctl('--pd', $pd, 'workers');
is($status, 0, 'workers are listed') or diag $err;
my @lines = split /\n/, $out;
is(scalar(@lines), 3, 'a line of names and one for each worker');
like($lines[0], qr/^ *store +state .*endpoint$/, 'named columns');
like($lines[1], qr/^ *\d+ +up .*unix:/, 'a worker that is up, and where');
($status, $out, $err) = ctl('--pd', $pd, 'status');
like($out, qr/^cluster +[0-9a-f]{32}\n.*^uptime_ms +[\d.]+ (ms|s|min)$/ms, 'the placement driver says who it is');

# Figures come with the heartbeats.
my $generation = $node->safe_psql('postgres', q{SELECT generation FROM vectron.index_meta('t_v')});
my $records = 0;
for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	($status, $out, $err) = ctl('--json', '--pd', $pd, 'shards', $generation);
	$records = 0;
	$records += $_->{records} for @{ decode_json($out)->{shards} };
	last if $records == 100;
	Time::HiRes::usleep(100_000);
}
is($records, 100, 'the shards of a collection hold its records');
is(scalar(@{ decode_json($out)->{shards} }), 2, 'as JSON, for programs');
($status, $out, $err) = ctl('--json', '--pd', $pd, 'shards', 'public.t_v');
is(scalar(@{ decode_json($out)->{shards} }), 2, 'of a collection by its name');
($status, $out, $err) = ctl('--pd', $pd, 'shards', 'public.other');
like("$status $err", qr/^1 .*there is no collection with that generation or name/, 'and not of all where there is none');
($status, $out, $err) = ctl('--pd', $pd, 'collections');
like($out, qr/$generation +public\.t_v +live/, 'a collection is listed by its index');

my ($store) = $node->safe_psql('postgres', 'SELECT min(store) FROM vectron.workers');
($status, $out, $err) = ctl('--pd', $pd, 'drain', $store);
like("$status $out", qr/^0 It is being emptied: vectronctl operators .*\n\z/, 'a drain is asked for, and where to look is said');
($status, $out, $err) = ctl('--pd', $pd, 'workers');
like($out, qr/^ *$store +draining/m, 'and shown');
($status, $out, $err) = ctl('--pd', $pd, 'undrain', $store);
is($status, 0, 'and taken back');
($status, $out, $err) = ctl('--pd', $pd, 'drain', '12');
is($status, 1, 'a store that is not there');
like($err, qr/vectronctl: drain: .*no such store/, 'in words');

# Misused, or nobody there.
for my $args ([], ['dance'], ['--pd', $pd, 'drain'], ['--pd', $pd, 'status', 'x'], ['--nonsense'], ['status'],
	['--pd', $pd, '--timeout', 'soon', 'status'], ['--pd', $pd, 'set-replicas', 'x'], ['--pd', $pd, 'drain', 'w1'], ['--pd', $pd, 'add-pd', '10.0.0.1'], ['--pd', $pd, 'certs', 'show', 'x'], ['--pd', $pd, '--json', 'expose', 'a', 'b', 'c'],
	['--pd', $pd, 'set-replicas', 'x', 'many'])
{
	($status, $out, $err) = ctl(@$args);
	is($status, 2, 'misused: ' . join(' ', @$args));
	like($err, qr/see vectronctl --help/, 'with a hint');
}
($status, $out, $err) = ctl('--pd', 'unix:/nowhere', '--timeout', '300', 'workers');
is($status, 1, 'nobody there');
like($err, qr/nowhere/, 'and where that was');
($status, $out, $err) = ctl('--help');
is($status, 0, 'help');
like($out, qr/undrain store/, 'has all commands');
($status, $out, $err) = ctl('drain', '--help');
like($out, qr/\A *drain store .*\n\z/, 'or one');
$node->stop;
done_testing();
