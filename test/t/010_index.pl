# The whole path with daemons that die: an index keeps every acknowledged row.
#
# Rounds with a seed, printed: writers work, something is killed at a random
# moment, the server and its daemons come back, and then the index must agree
# with the table (vectron.check_index), and every row a client was told of must
# be in the table.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seed = $ENV{VECTRON_SEED} // int(time() * 1000) % 1000000;
my $rounds = $ENV{VECTRON_ROUNDS} // 3;
note "VECTRON_SEED=$seed VECTRON_ROUNDS=$rounds";
srand($seed);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "synchronous_commit = on\nlog_min_messages = log\nautovacuum = off\n"
	  . "shared_preload_libraries = 'vectron'\nrestart_after_crash = on\nvectron.sweep_interval = 0\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id bigserial PRIMARY KEY, who text, v vector(4));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops, who);
	INSERT INTO t (who, v) SELECT 'first', ARRAY[random(), random(), random(), random()] FROM generate_series(1, 200);
});
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}),
	'200|0|0|0', 'a filled index agrees with its table');

# Process ids of the daemons, as the supervisor logged them last.
sub daemon_pid
{
	my ($name) = @_;
	my $log = slurp_file($node->logfile);
	my @pids = $log =~ /started \S*vectron-$name, process (\d+)/g;
	return $pids[-1];
}

sub supervisor_pid
{
	my @pids = slurp_file($node->logfile) =~ /vectron supervisor in charge, process (\d+)/g;
	return $pids[-1];
}

# Try until the query works; the server may be on its way up.
sub until_ok
{
	my ($sql) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	my ($status, $out, $err) = (1, '', '');
	while (time() < $end)
	{
		# A psql that finds no server may be gone before it is written to.
		my $ran = eval { ($status, $out, $err) = $node->psql('postgres', $sql); 1 };
		return $out if $ran && $status == 0;
		usleep(100_000);
	}
	diag "last error: $err";
	return undef;
}

# Run psql on its own, from and into files: it works while we do something else.
my $dir = PostgreSQL::Test::Utils::tempdir();

sub psql_start
{
	my ($name, $sql) = @_;
	PostgreSQL::Test::Utils::append_to_file("$dir/$name.sql", $sql);
	return IPC::Run::start(
		# a line at a time, or what was acknowledged dies with psql
		[ 'stdbuf', '-oL', 'psql', '-XAtq', '-d', $node->connstr('postgres'),
			'-v', 'ON_ERROR_STOP=0', '-f', "$dir/$name.sql" ],
		'>', "$dir/$name.out", '2>', "$dir/$name.err",
		IPC::Run::timeout(2 * $PostgreSQL::Test::Utils::timeout_default));
}

my %kill = (
	worker => sub { kill 'KILL', daemon_pid('worker') },
	pd => sub { kill 'KILL', daemon_pid('pd') },
	supervisor => sub { kill 'KILL', supervisor_pid() },
	postmaster => sub { $node->stop('immediate'); $node->start });

my $worker = 0;
my $told = 0;
for my $round (1 .. $rounds)
{
	for my $what (sort keys %kill)
	{
		# Writers: single rows, each told of by psql's output after its commit.
		my @writers;
		for my $n (1 .. 2)
		{
			my $name = 'w' . ++$worker;
			my $sql = "SET vectron.write_timeout = '20s';\n";
			$sql .= "INSERT INTO t (who, v) VALUES ('$name', ARRAY[random(), random(), random(), random()]) RETURNING id;\n"
			  for 1 .. 300;
			my $h = psql_start($name, $sql);
			push @writers, { h => $h, name => $name };
		}
		my $bulk_sql = "COPY t (who, v) FROM PROGRAM 'for i in \$(seq 1 400); do echo \"bulk	[\$i,1,2,3]\"; done';\n"
		  . "DELETE FROM t WHERE who = 'first' AND id % 7 = $round;\nVACUUM t;\n"
		  . "CREATE INDEX IF NOT EXISTS t_more ON t USING vectron (v vector_cosine_ops);\nDROP INDEX t_more;\n";
		my $bulk = psql_start("bulk$worker", $bulk_sql);
		usleep(50_000 + int(rand(300_000)));
		$kill{$what}->();
		for my $w (@writers, { h => $bulk })
		{
			eval { $w->{h}->finish };
		}

		my $found = until_ok(q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')});
		is($found, '0|0|0', "round $round: the index agrees with its table after kill of $what");
		for my $w (@writers)
		{
			my @ids = grep { /^\d+$/ } split /\n/, slurp_file("$dir/$w->{name}.out");
			my $have = @ids ? until_ok("SELECT count(*) FROM t WHERE id IN (" . join(',', @ids) . ")") : 0;
			$told += @ids;
			note "$w->{name} last heard: ", (split /\n/, slurp_file("$dir/$w->{name}.err"))[-1] // 'nothing';
			is($have, scalar(@ids), "round $round: all " . @ids . " rows $w->{name} was told of are there");
		}

		# ef_search as large makes the worker compare thousands of rows one by one:
		# what is asked here is whether all are there, not how well a walk finds them.
		my $lost;
		my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
		do
		{
			$lost = until_ok(q{
				SET vectron.verify_scan = on; SET enable_seqscan = off; SET vectron.ef_search = 1000;
				SELECT count(*) FROM t a WHERE who LIKE 'w%' AND NOT EXISTS (
					SELECT FROM (SELECT b.id FROM t b ORDER BY b.v <-> a.v LIMIT 1) n WHERE n.id = a.id)});
		} while ($lost ne '0' && time() < $end);
		is($lost, '0', "round $round: every row is found by its own vector");
		is(until_ok(q{
			SET vectron.verify_scan = on; SET enable_seqscan = off; SET enable_sort = off;
			SELECT (SELECT count(*) FROM (SELECT id FROM t WHERE who = 'first' ORDER BY v <-> '[1,2,3,4]') s)
				- (SELECT count(*) FROM t WHERE who || '' = 'first')}), '0', "round $round: and by a condition, all that meet it");
	}
}
cmp_ok($told, '>', 0, "clients were told of $told rows");

# Commits that were never durable here must not leave entries that come to mean
# other rows: asynchronous commit, crash, and the same TIDs used again.
$node->safe_psql('postgres', q{CREATE TABLE a (id int, v vector(2)); CREATE INDEX a_v ON a USING vectron (v vector_l2_ops);});
for my $round (1 .. $rounds)
{
	$node->psql('postgres', qq{SET synchronous_commit = off;
		INSERT INTO a SELECT n, ARRAY[n, $round] FROM generate_series(1, 50) n;
		DELETE FROM a WHERE id % 3 = 0;});
	$node->stop('immediate');
	$node->start;
	until_ok(qq{INSERT INTO a SELECT -n, ARRAY[-n, $round] FROM generate_series(1, 50) n});
	until_ok('VACUUM a');
	is(until_ok(q{SELECT missing, extra, wrong FROM vectron.check_index('a_v')}), '0|0|0',
		"round $round: crash under asynchronous commit leaves no entry of another row");
}

# Of all that was made and cut off on the way, only what an index needs is left (law W8).
is(until_ok(q{SELECT FROM vectron.sweep(); SELECT FROM vectron.sweep();
	SELECT count(*) FROM vectron.collections c WHERE state = 'live' AND NOT EXISTS (SELECT FROM vectron.indexes i WHERE i.generation = c.generation)}), '0',
	'two sweeps later nothing lives that no index needs');
is(until_ok(q{SELECT count(*) FROM vectron.indexes WHERE state = 'live' AND cluster_state <> 'live'}), '0', 'and everything that one does');

# One damaged metapage fails no view of all, and a REINDEX mends it.
$node->safe_psql('postgres', q{
	CREATE TABLE o (id int, v vector(2));
	INSERT INTO o SELECT n, ARRAY[n, n] FROM generate_series(1, 100) n;
	CREATE INDEX o_v ON o USING vectron (v vector_l2_ops);
	CREATE INDEX o_w ON o USING vectron (v vector_ip_ops)});
my $file = $node->data_dir . '/' . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('o_w')});
$node->stop;
open my $page, '+<', $file or die "$file: $!";
binmode $page;
sysseek $page, 24, 0;
syswrite $page, 'none';
close $page;
$node->start;
is(until_ok(q{SELECT index, state, stale_reason FROM vectron.indexes WHERE index IN ('o_v'::regclass, 'o_w'::regclass) ORDER BY 1}),
	qq{o_v|live|\no_w|damaged|index "o_w" is not a vectron index or its metapage is damaged}, 'a view shows a damaged index, and the others');
$node->safe_psql('postgres', 'REINDEX INDEX o_w');
is($node->safe_psql('postgres', q{SELECT state FROM vectron.indexes WHERE index = 'o_w'::regclass}), 'live', 'REINDEX mends it');
$node->safe_psql('postgres', 'DROP TABLE o');

# With the cluster gone, what needs it fails in time and what does not, works.
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = 'unix:" . $node->basedir . "/nobody'\n"
	  . "vectron.write_timeout = '500ms'\nvectron.read_timeout = '500ms'\n");
$node->restart;
my ($status, $out, $err) = $node->psql('postgres', q{INSERT INTO t (who, v) VALUES ('nobody', '[1,2,3,4]')});
isnt($status, 0, 'a write without the cluster fails');
like($err, qr/could not .*\n.*HINT/s, 'with words and a hint');
($status, $out, $err) = $node->psql('postgres', q{
	SET vectron.fallback_scan = on; SET enable_indexscan = off; SELECT count(*) > 0 FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3,4]' LIMIT 5) s;
	TRUNCATE a; BEGIN; TRUNCATE t; ROLLBACK; DROP INDEX a_v; DROP TABLE a;
	SELECT count(*) FROM vectron.indexes;});
is($status, 0, 'reads without the index, TRUNCATE, ROLLBACK, DROP and the view work without the cluster') or diag $err;
$node->stop;

# Nothing is left running.
my @left = map { daemon_pid($_) } qw(pd worker);
my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
usleep(50_000) while time() < $end && grep { kill 0, $_ } @left;
is(scalar(grep { kill 0, $_ } @left), 0, 'the daemons ended with the server');

done_testing();
