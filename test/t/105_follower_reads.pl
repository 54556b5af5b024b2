# Searches are answered by any replica that has applied what was acknowledged: they
# go on without an error, and without waiting for an election, while the leader of
# each shard in turn is frozen or killed; and whoever answers, a session finds what
# it and others have committed.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd;
$cluster->start_worker($_) for 1 .. 3;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'vectron'\nvectron.pd_endpoints = '" . $cluster->pd_endpoint
	. "'\nautovacuum = off\njit = off\nenable_seqscan = off\nenable_sort = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id bigint PRIMARY KEY, v vector(3));
	CREATE SEQUENCE ids START 100001;
	INSERT INTO t SELECT n, ARRAY[n, n % 7, 0] FROM generate_series(1, 3000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 3, replicas = 3);
});
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM (
		SELECT shard FROM vectron.shards GROUP BY shard
		HAVING count(*) FILTER (WHERE role = 'leader' OR (unindexed = 0 AND records > 0)) >= 2) s}), 3,
	'CREATE INDEX returns when another replica than the leader has indexed it, too');
ok($node->poll_query_until('postgres', q{
	SELECT count(*) = 3 FROM (
		SELECT shard FROM vectron.shards GROUP BY shard
		HAVING count(*) = 3 AND count(DISTINCT applied) = 1 AND count(*) FILTER (WHERE role = 'leader') = 1
			AND bool_and(state = 'up')) s}), 'three shards with three replicas each')
	or diag $node->safe_psql('postgres', 'TABLE vectron.shards');

sub counts
{
	my %c;
	@c{qw(scans asked by_leader by_follower behind hedged hedges_won)} = split /\|/,
		$node->safe_psql('postgres', 'SELECT scans, asked, by_leader, by_follower, behind, hedged, hedges_won FROM vectron.stat_search');
	note join ', ', map { "$_ $c{$_}" } sort keys %c;
	$node->safe_psql('postgres', 'SELECT vectron.stat_search_reset()');
	return \%c;
}

my $files = PostgreSQL::Test::Utils::tempdir();
my %script = ('search.sql' => q{
\set n random(1, 3000)
SELECT id AS found FROM t ORDER BY v <-> ARRAY[:n, :n % 7, 0]::vector LIMIT 1 \gset
SELECT 1 / (:found = :n)::int;
}, 'many.sql' => q{
\set n random(1, 2980)
SELECT count(*) FILTER (WHERE (item).id = :n + query - 1) AS found FROM vectron.search_many(NULL::t, 't_v',
	(SELECT array_agg(ARRAY[i, i % 7, 0]::vector ORDER BY i) FROM generate_series(:n, :n + 19) i), 1) \gset
SELECT 1 / (:found = 20)::int;
}, 'write.sql' => q{
SELECT nextval('ids') AS mine \gset
INSERT INTO t VALUES (:mine, ARRAY[:mine, :mine % 7, 0]);
SELECT id AS found FROM t ORDER BY v <-> ARRAY[:mine, :mine % 7, 0]::vector LIMIT 1 \gset
SELECT 1 / (:found = :mine)::int;
SELECT max(id) AS others FROM t \gset
SELECT id AS found FROM t ORDER BY v <-> ARRAY[:others, :others % 7, 0]::vector LIMIT 1 \gset
SELECT 1 / (:found = :others)::int;
});
foreach my $name (keys %script)
{
	open my $fh, '>', "$files/$name" or die $!;
	print $fh $script{$name};
	close $fh;
}

# Searches without end, until finish()
sub search_steadily
{
	my ($script, $clients, @more) = @_;
	my %h = (out => '', err => '');
	$h{run} = IPC::Run::start([ 'pgbench', '-n', '-c', $clients, '-j', 1, '-T', 600, '-P', 1, '-f', "$files/$script", @more,
		$node->connstr('postgres') ], '>', \$h{out}, '2>', \$h{err});
	return \%h;
}

# As many further seconds in which searches ended
sub goes_on
{
	my ($h, $n, $name) = @_;
	my $seen = () = $h->{err} =~ /^progress: [\d.]+ s, (?!0\.0 tps)/mg;
	$cluster->wait_until($name, sub {
		$h->{run}->pump_nb;
		die "$name: it ended: $h->{out} $h->{err}" unless $h->{run}->pumpable;
		my $now = () = $h->{err} =~ /^progress: [\d.]+ s, (?!0\.0 tps)/mg;
		return $now >= $seen + $n;
	});
	ok($h->{err} !~ /ERROR|aborted|error:/, $name) or diag $h->{err};
	return;
}

sub finish
{
	my ($h) = @_;
	# Not INT, which whoever began us in the background may have had ignored.
	$h->{run}->signal('TERM');
	eval { $h->{run}->finish };
	return;
}

# All replicas answer, and marks are known but for the first search of each
counts();
my $h = search_steadily('search.sql', 4);
goes_on($h, 2, 'searches at rest');
# So many that what is drawn at random, and the first of each session, are few
ok($node->poll_query_until('postgres', 'SELECT scans > 1000 FROM vectron.stat_search'), 'a thousand of them');
finish($h);
my $c = counts();
cmp_ok($c->{by_leader}, '>', 0, 'leaders answer');
cmp_ok($c->{by_follower}, '>', $c->{by_leader} / 2, 'and followers');
cmp_ok($c->{asked}, '<', $c->{scans} / 10, 'and few had to ask the leader');

# What is committed is found at once, whoever answers
my ($out, $err);
my $ok = IPC::Run::run([ 'pgbench', '-n', '-c', 4, '-j', 1, '-t', 100, '-f', "$files/write.sql", $node->connstr('postgres') ],
	'>', \$out, '2>', \$err);
ok($ok && $out =~ m{processed: 400/400}, 'four writers find their own and each other\'s rows') or diag $out, $err;
$c = counts();
cmp_ok($c->{by_follower}, '>', 0, 'some of them at followers');

# Each worker, and so the leader of each shard, is frozen while searches, of one query and of many, go on; then killed
$h = search_steadily('search.sql', 4, '-f', "$files/many.sql");
goes_on($h, 1, 'searches before');
counts();
foreach my $n (1 .. 3)
{
	kill 'STOP', $cluster->pid("worker$n");
	goes_on($h, 4, "searches while worker $n is frozen");
	kill 'CONT', $cluster->pid("worker$n");
	goes_on($h, 1, "and when it is back");
}
$c = counts();
cmp_ok($c->{hedges_won}, '>', 0, 'some searches had to ask twice');
cmp_ok($c->{hedged}, '<=', 0.06 * ($c->{by_leader} + $c->{by_follower}) + 60, 'but few');
foreach my $n (1 .. 3)
{
	$cluster->kill9("worker$n");
	goes_on($h, 2, "searches while worker $n is dead");
	$cluster->start_worker($n);
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 9 AND bool_and(state = 'up') AND count(DISTINCT (shard, applied)) = 3
		AND count(*) FILTER (WHERE role = 'leader') = 3 FROM vectron.shards}), "worker $n has caught up");
}
finish($h);
counts();

# A cursor that has begun goes on elsewhere, in order and without repeats, when the
# workers that keep its state are frozen one after the other
my $session = $node->background_psql('postgres', on_error_stop => 1, timeout => 3600);
$session->query_safe(q{BEGIN; SET vectron.ef_search = 10; DECLARE c CURSOR FOR SELECT id FROM t WHERE id <= 3000 ORDER BY v <-> '[1500,3,0]'});
my @ids;
foreach my $round (0 .. 11)
{
	my $n = $round % 3 + 1;
	kill 'STOP', $cluster->pid("worker$n");
	push @ids, split /\n/, $session->query_safe('FETCH 250 FROM c');
	kill 'CONT', $cluster->pid("worker$n");
}
is($session->query_safe('FETCH 1 FROM c'), '', 'the cursor comes to its end');
$session->quit;
my %times;
$times{$_}++ for @ids;
is(scalar(@ids), 3000, 'it returned every row');
is(scalar(keys %times), 3000, 'and each once');

is($node->safe_psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')}), '0|0|0', 'the index agrees with the table');
$node->stop;
done_testing();
