# A scan sees every write this server was acknowledged, whoever answers (rule R3).
#
# The replica that lags is a copy of the worker's data from a moment before, and a
# worker of its own that believes itself the leader; a proxy leads the gateway to
# it.  What it has not applied it cannot know, so only the marks in shared memory
# keep it from answering.  (A worker refuses to open a copy; so the copy is given
# the very file by which the original knows itself.)

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use HoldingProxy;
use VectronCluster;

my $cluster = VectronCluster->new;
my $proxy = HoldingProxy->new(substr($cluster->endpoint('proxy'), 5), substr($cluster->endpoint('worker1'), 5));

sub start_worker { return $cluster->start_worker(1, '--advertise', $cluster->endpoint('proxy')); }

# A replica that stands still from now on
sub leave_behind
{
	my ($name) = @_;
	$cluster->stop('worker1');
	system('cp', '-r', $cluster->data('worker1'), $cluster->data($name)) == 0 or die 'cp';
	system('ln', '-f', $cluster->data('worker1') . '/identity', $cluster->data($name) . '/identity') == 0 or die 'ln';
	start_worker();
	$cluster->start($name, 'vectron-worker', '--data', $cluster->data($name), '--listen', $cluster->endpoint($name),
		'--pd', $cluster->endpoint('nobody'));
}

sub lead_to { my ($name) = @_; $proxy->lead_to(substr($cluster->endpoint($name), 5)); }

$cluster->start_pd;
start_worker();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# It is the index that answers, also when the planner believes in an outage.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'vectron'\nvectron.mark_entries = 8\nvectron.fallback_scan = off\n"
	. "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id serial, v vector(2));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
	INSERT INTO t (v) SELECT ARRAY[n, n] FROM generate_series(1, 20) n;
});
$node->safe_psql('postgres', "CREATE TABLE o$_ (v vector(2)); CREATE INDEX ON o$_ USING vectron (v vector_l2_ops); INSERT INTO o$_ VALUES ('[1,1]')")
	for 1 .. 5;

sub nearest
{
	my ($vector, $more) = @_;
	my ($status, $out, $err) = $node->psql('postgres', 'SET enable_seqscan = off; SET vectron.verify_scan = on; '
		. ($more // '') . " SELECT id FROM t ORDER BY v <-> '$vector' LIMIT 1");
	return $status == 0 ? $out : "failed: $err";
}

# What it says instead of an answer.  If the machine stands still until its deadline, it has asked
# nobody, and asks again; but not for ever, for it may have other reasons.
sub nearest_in_vain
{
	my ($vector) = @_;
	my $said = 'failed:';
	for (my $i = 0; $i < 10 && $said =~ /^failed/ && $said !~ /has not applied the mark/; $i++)
	{
		$said = nearest($vector, q{SET vectron.read_timeout = '1s';});
	}
	return $said;
}

# Scans, and how many of them had to ask, since it was called last
sub counts
{
	my $counts = $node->safe_psql('postgres', 'SELECT scans, asked FROM vectron.stat_search');
	$node->safe_psql('postgres', 'SELECT vectron.stat_search_reset()');
	return $counts;
}

# Known and unknown
counts();
is(nearest('[7,7]'), 7, 'a scan');
is(counts(), '1|1', 'has to ask where the leader stands');
is(nearest('[7,7]'), 7, 'another');
is(counts(), '1|0', 'knows');
$node->safe_psql('postgres', q{INSERT INTO t (v) VALUES ('[30,30]')});
is(nearest('[30,30]'), 21, 'so does one');
is(counts(), '1|0', 'after a write');
nearest('[7,7]', 'SET vectron.consistency = linearizable;');
is(counts(), '1|1', 'linearizable always asks');
$node->safe_psql('postgres', "SET enable_seqscan = off; SELECT 1 FROM o$_ ORDER BY v <-> '[1,1]' LIMIT 1") for 1 .. 5;
counts();
is(nearest('[7,7]'), 7, 'after five other indexes in a table of eight entries');
is(counts(), '1|1', 'it was forgotten');
$node->restart;
nearest('[7,7]');
is(counts(), '1|1', 'after a restart nothing is known');
is(nearest('[7,7]'), 7, 'but then');
is(counts(), '1|0', 'it is');

# VACUUM frees a TID whose entry a lagging replica still has
leave_behind('behind1');
is(nearest('[7,7]'), 7, 'the mark is known again');
lead_to('behind1');
is(nearest('[7,7]'), 7, 'a replica that has applied the mark answers');
lead_to('worker1');
my $tid = $node->safe_psql('postgres', q{DELETE FROM t WHERE id = 7; VACUUM t; INSERT INTO t (id, v) VALUES (77, NULL) RETURNING ctid});
is($tid, '(0,7)', 'a row without a vector takes the TID of a deleted one');
lead_to('behind1');
like(nearest_in_vain('[7,7]'), qr/failed: .*has not applied the mark/,
	'a replica from before VACUUM is not asked what its TIDs mean');
lead_to('worker1');
like(nearest('[7.1,7.1]'), qr/^[68]$/, 'the leader knows');

# A commit that a lagging replica has not seen
leave_behind('behind2');
is(nearest('[9,9]'), 9, 'the mark is known');
$node->safe_psql('postgres', "INSERT INTO t (id, v) VALUES ($_, '[$_,0]')") for 201 .. 203;
lead_to('behind2');
like(nearest_in_vain('[203,0]'), qr/failed: .*has not applied the mark/,
	'a replica that has not applied a commit does not answer after it');
lead_to('worker1');
is(nearest('[203,0]'), 203, 'the leader does');

# What vectron.check_index() says of an index that is behind its table
$node->safe_psql('postgres', q{DELETE FROM t WHERE id IN (11, 12, 14); VACUUM t; INSERT INTO t (id, v) VALUES (204, '[204,0]'), (205, '[205,0]')});
my $check = q{SELECT entries, tuples, missing, extra, wrong, first_missing, first_extra, first_wrong FROM vectron.check_index('t_v')};
my $tids = $node->safe_psql('postgres', q{SELECT string_agg(ctid::text, ' ' ORDER BY id) FROM t WHERE id > 200});
my @tids = split / /, $tids;
is($node->safe_psql('postgres', $check), '22|22|0|0|0|||', 'the index agrees with the table');
lead_to('behind2');
is($node->safe_psql('postgres', $check), "20|22|3|1|2|$tids[0]|(0,14)|$tids[3]",
	'three rows were inserted, one line pointer is free, two were used again');
lead_to('worker1');

# A scan that a setting ends
counts();
nearest('[9,9]', 'SET vectron.max_scan_tuples = 1;');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SET vectron.max_scan_tuples = 3;
	SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[9,9]' LIMIT 1000) s}), '3', 'a scan may be ended early');
is($node->safe_psql('postgres', 'SELECT rows, ended_early FROM vectron.stat_search'), '4|1', 'which is counted');

# Writers that read their own and each other's rows, while marks come and go
$node->safe_psql('postgres', 'CREATE TABLE w (id bigserial PRIMARY KEY, v vector(2)); CREATE INDEX w_v ON w USING vectron (v vector_l2_ops)');
my $files = PostgreSQL::Test::Utils::tempdir();
my %script = ('w.sql' => q{
SELECT nextval('w_id_seq') AS mine \gset
INSERT INTO w VALUES (:mine, ARRAY[:mine, 0]);
SELECT id AS found FROM w ORDER BY v <-> ARRAY[:mine, 0]::vector LIMIT 1 \gset
SELECT 1 / (:found = :mine)::int;
SELECT max(id) AS others FROM w \gset
SELECT id AS found FROM w ORDER BY v <-> ARRAY[:others, 0]::vector LIMIT 1 \gset
SELECT 1 / (:found = :others)::int;
}, 'o.sql' => q{
\set n random(1, 5)
SELECT 1 FROM o:n ORDER BY v <-> '[1,1]' LIMIT 1;
INSERT INTO o:n VALUES ('[1,1]');
});
foreach my $name (keys %script)
{
	open my $fh, '>', "$files/$name" or die $!;
	print $fh $script{$name};
	close $fh;
}
counts();
my ($out, $err);
my $ok = IPC::Run::run([ 'pgbench', '-n', '-c', '6', '-j', '2', '-t', '60', '-f', "$files/w.sql\@4", '-f', "$files/o.sql\@1",
	$node->connstr('postgres') . ' options=-cenable_seqscan=off\ -cenable_sort=off' ], '>', \$out, '2>', \$err);
ok($ok && $out =~ /processed: 360\/360/, 'six writers find their own and each other\'s rows') or diag $out, $err;
my ($scans, $asked) = split /\|/, counts();
note "$scans scans, $asked of them had to ask";
cmp_ok($asked, '>', 0, 'marks were forgotten meanwhile');
cmp_ok($asked, '<', $scans, 'and known');

$node->stop;

# Not preloaded: everything works as before, but nothing is counted
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->start;
is(nearest('[203,0]'), 203, 'without shared memory');
my ($status, $stdout, $stderr) = $node->psql('postgres', 'SELECT * FROM vectron.stat_search');
like($stderr, qr/shared_preload_libraries/, 'the counters name what they need');

$node->stop;
$proxy->stop;
done_testing();
