# A copy of a server made below the file system, and a server that has gone back
# in time, beside the same cluster (law W7): one of them goes on with the indexes,
# the others' are stale, and no entry is lost or mixed up.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Clone;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd;
$cluster->start_worker($_) for 1, 2;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint
	. "'\nshared_preload_libraries = 'vectron'\nautovacuum = off\njit = off\nvectron.sweep_interval = 0\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(2));
	INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 100) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2);
	CREATE TABLE u AS SELECT * FROM t;
	CREATE INDEX u_v ON u USING vectron (v vector_l2_ops) WITH (shards = 2);
	CREATE TABLE w (LIKE t);
	CREATE INDEX w_v ON w USING vectron (v vector_l2_ops);
});

# What the table has and what the cluster has: one text, also when that is an error.
sub agrees
{
	my ($server, $index) = @_;
	$index //= 't_v';
	my ($status, $out, $err) = $server->psql('postgres',
		"SELECT entries, missing, extra, wrong FROM vectron.check_index('$index')");
	return $out . $err;
}

sub state_is
{
	my ($server, $index) = @_;
	$index //= 't_v';
	return $server->safe_psql('postgres', "SELECT state FROM vectron.index_meta('$index')");
}

# The first query may be told that its index is stale, and to be run again.
sub nearest
{
	my ($server, $to) = @_;
	my $said;
	for (1 .. 2)
	{
		my ($status, $out, $err) = $server->psql('postgres', "SET enable_seqscan = off; SET vectron.verify_scan = on;
			SELECT id FROM t ORDER BY v <-> '[$to,$to]' LIMIT 1");
		return $out if $status == 0;
		$said = $err;
		last unless $err =~ /became stale after the query was planned/;
	}
	return $said;
}

# A copy goes its own way: no write, VACUUM or sweep of its touches the original.
sub is_stale_and_harmless
{
	my ($server, $what, $near) = @_;
	is(nearest($server, 50), $near // '50', "$what answers");
	$server->safe_psql('postgres', q{
		INSERT INTO t SELECT 1000 + n, ARRAY[n + 0.5, n + 0.5] FROM generate_series(1, 20) n;
		DELETE FROM t WHERE id < 30;
		VACUUM t;
		INSERT INTO t SELECT 2000 + n, ARRAY[n + 0.25, n + 0.25] FROM generate_series(1, 40) n;
	});
	$server->safe_psql('postgres', 'SELECT * FROM vectron.sweep()') for 1 .. 2;
	is(nearest($server, 10.25), '2010', "$what takes writes");
	is(state_is($server), 'stale', "$what: its index is stale");
	return;
}

# Shut down, copied, and both started
$node->stop;
my $copy = clone_of($node, 'copy');
$node->start;
$node->safe_psql('postgres', q{INSERT INTO t VALUES (101, '[101,101]')});
$copy->start;
is_stale_and_harmless($copy, 'a copy of a server that was shut down');
is(agrees($node), '101|0|0|0', 'the original never noticed');
is(nearest($node, 10), '10', 'and answers');
like(slurp_file($copy->logfile), qr/is a copy, or its data directory has gone back in time/, 'the copy says what it is');
$copy->safe_psql('postgres', 'REINDEX INDEX t_v');
is(state_is($copy), 'live', 'REINDEX makes it live');
is(agrees($copy), '131|0|0|0', 'with its own entries');
is(agrees($node), '101|0|0|0', 'and the original has only its own');
$copy->stop;

# Copied while it runs, and started beside it: both name the same predecessor.
$copy = clone_of($node, 'beside');
$copy->start;
is_stale_and_harmless($copy, 'a copy of a running server');
is(agrees($node), '101|0|0|0', 'the running original never noticed');
is(state_is($node), 'live', 'and its index is live');
$copy->stop;

# Crashed, with the end of its WAL lost: it goes on as itself.
my @frozen = split /\n/, $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE backend_type IN ('walwriter', 'checkpointer', 'background writer')});
is(kill('STOP', @frozen), 3, 'nobody writes WAL unasked');
$node->safe_psql('postgres', q{
	SET synchronous_commit = off;
	INSERT INTO t VALUES (102, '[102,102]');
	CREATE TABLE filler AS SELECT n FROM generate_series(1, 1000) n;
});
my @all = processes_of($node);
$node->kill9;
kill 'KILL', @frozen;
$cluster->wait_until('the server is gone', sub { return !grep { kill 0, $_ } @all; });
$node->start;
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 'filler'}), '0', 'the end of WAL was lost');
like(agrees($node), qr/^\d+\|0\|0\|0$/, 'after a crash nothing is missing, and nothing too much');
is(state_is($node), 'live', 'and the index is live');
$node->safe_psql('postgres', q{INSERT INTO t VALUES (103, '[103,103]'); DELETE FROM t WHERE id = 102; VACUUM t});
is(nearest($node, 103), '103', 'writes and searches go on');
is(agrees($node), '102|0|0|0', 'and agree');
$node->restart;
is(agrees($node), '102|0|0|0', 'so they do after a restart');

# A server that lives, but is not heard of, while a copy of it goes on.  Before this nobody was to go
# on, however long the machine keeps a server from speaking.
$cluster->stop('pd');
$cluster->start_pd('--lease-time', 3);
my $session = sub {
	my %s = (in => '', out => '', err => '');
	$s{psql} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
		'<', \$s{in}, '>', \$s{out}, '2>', \$s{err});
	return \%s;
};
my $asks = sub {
	my ($s, $sql) = @_;
	$s->{out} = $s->{err} = '';
	$s->{in} .= "$sql;\n\\echo done\n";
	$s->{psql}->pump until $s->{out} =~ /done\n/ || !$s->{psql}->pumpable;
	$s->{out} =~ s/done\n//;
	return $s->{out} . $s->{err};
};
my ($reader, $writer, $newcomer, $idle) = map { $session->() } 1 .. 4;
my $search = q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[60,60]' LIMIT 1};
is($asks->($_, $search), "60\n", 'a session that has used the index') for $reader, $writer, $newcomer, $idle;
is($asks->($reader, q{SET plan_cache_mode = force_generic_plan; PREPARE near AS SELECT id FROM t ORDER BY v <-> '[60.1,60]' LIMIT 1; EXECUTE near}), "60\n", 'and keeps a plan');
my ($supervisor) = reverse slurp_file($node->logfile) =~ /vectron supervisor in charge, process (\d+)/g;
my $successor = clone_of($node, 'successor');
kill 'STOP', $supervisor;
$successor->start;
is(nearest($successor, 60), '60', 'a copy goes on when the original is silent');
is(state_is($successor), 'live', 'with the index');
$successor->safe_psql('postgres', q{INSERT INTO t VALUES (300, '[60.1,60]'); DELETE FROM t WHERE id BETWEEN 40 AND 50; VACUUM t});

# Indexes that the original has not used since it started: one that its successor has
# only searched, so that nothing but the fence tells of it, and one that held nothing.
is($successor->safe_psql('postgres', q{SET enable_seqscan = off; SELECT id FROM u ORDER BY v <-> '[60,60]' LIMIT 1}), '60',
	'the successor uses another index for the first time');
$successor->safe_psql('postgres', q{INSERT INTO w VALUES (1, '[1,1]')});
is($asks->($newcomer, q{INSERT INTO w SELECT n, ARRAY[n, n] FROM generate_series(1, 5) n}), '', 'so does the original,');
is($asks->($newcomer, q{INSERT INTO u VALUES (401, '[60.2,60]')}), '', 'which does not know that it was superseded');
is(state_is($node, 'u_v'), 'stale', 'a fence that it did not raise makes an index stale');
is(agrees($successor, 'u_v'), '100|0|0|0', 'no entry of the original is in the index of its successor');
is(agrees($successor, 'w_v'), '1|0|0|0', 'nor in one that both began to fill');

like($asks->($reader, 'EXECUTE near'), qr/became stale after the query was planned/,
	'a search of the original does not believe what it is told');
is($asks->($writer, q{INSERT INTO t VALUES (400, '[70.1,70]')}), '', 'a write of the original goes on without the index');
is($asks->($reader, 'EXECUTE near'), "60\n", 'and so do its searches, by a plan made anew');
is(state_is($node), 'stale', 'which is stale there');
is(agrees($successor), '92|0|0|0', 'the one that goes on never noticed');

# Who had no part in this finds an index that was built under the new lease.
$node->safe_psql('postgres', 'REINDEX INDEX u_v');
is($asks->($idle, q{INSERT INTO u VALUES (402, '[60.3,60]')}), '', 'a session that does not know of the new lease writes');
is(state_is($node, 'u_v'), 'live', 'to an index that was built under it');
is($asks->($idle, q{SELECT id FROM u ORDER BY v <-> '[60.3,60]' LIMIT 1}), "402\n", 'and searches it');
is(agrees($node, 'u_v'), '102|0|0|0', 'and that agrees with its table');
foreach my $s ($reader, $writer, $newcomer, $idle)
{
	$s->{in} .= "\\q\n";
	$s->{psql}->finish;
}
kill 'CONT', $supervisor;
$node->stop;

# A directory that goes back in time, in the same session of its server
my $snapshot = clone_of($successor, 'snapshot');
$successor->safe_psql('postgres', q{
	INSERT INTO t SELECT 500 + n, ARRAY[n + 0.1, n + 0.1] FROM generate_series(1, 30) n;
	DELETE FROM t WHERE id BETWEEN 51 AND 80;
	VACUUM t;
	INSERT INTO t SELECT 600 + n, ARRAY[n + 0.2, n + 0.2] FROM generate_series(1, 30) n;
});
is(agrees($successor), '122|0|0|0', 'a server goes on after it was copied');
@all = processes_of($successor);
$successor->kill9;
$cluster->wait_until('the server is gone', sub { return !grep { kill 0, $_ } @all; });
$snapshot->start;
is_stale_and_harmless($snapshot, 'a directory gone back in time', '51');
like($snapshot->safe_psql('postgres', 'SELECT stale_reason FROM vectron.indexes'), qr/gone back in time/, 'and says why');
$snapshot->safe_psql('postgres', 'REINDEX INDEX t_v');
like(agrees($snapshot), qr/^\d+\|0\|0\|0$/, 'REINDEX heals it');
is(nearest($snapshot, 10.25), '2010', 'and it answers');
$snapshot->stop;
done_testing();
