# A placement driver and three workers: four shards of three replicas each lose
# a worker under writes, get it back, and have it replaced by an empty one, and
# no row that was acknowledged is missing.

use strict;
use warnings;
use File::Path qw(rmtree);
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd;
$cluster->start_worker(1);

my $node = $cluster->new_server;
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, v vector(6));
	INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(1, 2000) n;
});

# One worker is fewer than three: it says so, and catches up when there are more.
my ($status, $out, $err) = $node->psql('postgres', 'CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 4, replicas = 3)');
is($status, 0, 'an index may want more replicas than there are workers');
like($err, qr/WARNING:  index "t_v" has 1 of 3 wanted replicas of each shard/, 'and a warning says that it does');
is($node->safe_psql('postgres', q{SELECT under_replicated FROM vectron.indexes}), 't', 'the view shows it');
$cluster->start_worker($_) for 2, 3;

sub whole { my ($name) = @_; return $cluster->whole($node, 4, $name); }
sub clean { my ($name) = @_; return $cluster->clean($node, 't', 't_v', $name); }

# By the index and by the table, as of one moment: there may be writers.
sub found
{
	my ($name) = @_;
	my $both = $node->safe_psql('postgres', q{
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		SET LOCAL enable_seqscan = off;
		SET LOCAL vectron.verify_scan = on;
		SELECT string_agg(id::text, ' ') FROM (SELECT id FROM (SELECT id, v <-> '[6,3,5,1,8,2]' AS d FROM t ORDER BY v <-> '[6,3,5,1,8,2]' LIMIT 400) w ORDER BY d, id LIMIT 50) s;
		SET LOCAL enable_seqscan = on;
		SET LOCAL enable_indexscan = off;
		SELECT string_agg(id::text, ' ') FROM (SELECT id FROM t ORDER BY v <-> '[6,3,5,1,8,2]', id LIMIT 50) s;
		COMMIT});
	my ($by_index, $by_table) = split /\n/, $both;
	is($by_index, $by_table, $name);
	return;
}

whole('two workers join, and every shard has three replicas');
ok($node->poll_query_until('postgres', q{SELECT NOT under_replicated FROM vectron.indexes}), 'it is no longer under-replicated');
clean('what the new replicas hold is the index');
found('and it finds what it should');

# The worker that leads most, and a shard it leads.
sub busiest
{
	my $n;
	$cluster->wait_until('somebody leads', sub {
		($n) = $node->safe_psql('postgres', q{SELECT endpoint FROM vectron.shards WHERE role = 'leader' GROUP BY endpoint ORDER BY count(*) DESC, endpoint LIMIT 1}) =~ /worker(\d)$/;
		return $n;
	});
	return $n;
}

# Statements, each its own transaction, one after the other; returns a handle.
my $next = 10_000;
sub write_steadily
{
	my ($n) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/writes.sql';
	open(my $sql, '>', $file) or die $!;
	for my $i ($next .. $next + $n - 1)
	{
		print $sql "INSERT INTO t VALUES ($i, ARRAY[$i % 13, $i % 7, $i % 11, $i % 3, $i % 17, $i % 5]);\n";
		print $sql "DELETE FROM t WHERE id = $i - 5;\n" if $i % 10 == 0;
		print $sql "\\echo wrote $i\n";
	}
	close $sql;
	my %h = (first => $next, n => $n, out => '', err => '');
	$next += $n;
	$h{run} = IPC::Run::start(['psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file],
		'>', \$h{out}, '2>', \$h{err});
	return \%h;
}

sub wrote_at_least
{
	my ($h, $n) = @_;
	$cluster->wait_until("$n rows are written", sub {
		$h->{run}->pump_nb;
		my $wrote = () = $h->{out} =~ /^wrote /mg;
		die "the writer ended: $h->{err}" if !$h->{run}->pumpable && $wrote < $n;
		return $wrote >= $n;
	});
	return;
}

my $victim = busiest();
my $writer = write_steadily(600);
wrote_at_least($writer, 50);
$cluster->kill9("worker$victim");
found('a search while a leader is gone');
wrote_at_least($writer, 300);
$writer->{run}->finish;
is($writer->{err}, '', 'no write failed when a leader was killed');
clean('no acknowledged row is lost');
found('searches go on with one worker away');
$node->safe_psql('postgres', 'VACUUM t');
clean('so does VACUUM');

$cluster->start_worker($victim);
whole('the worker comes back and its replicas catch up');
clean('nothing is lost');

# An empty disk in its place is another worker; the replicas of the old one are
# made anew on it.
my $old = $node->safe_psql('postgres', "SELECT DISTINCT store FROM vectron.shards WHERE endpoint LIKE '%worker$victim'");
$writer = write_steadily(400);
wrote_at_least($writer, 20);
$cluster->kill9("worker$victim");
rmtree($cluster->data("worker$victim"));
$cluster->start_worker($victim);
$writer->{run}->finish;
is($writer->{err}, '', 'no write failed when a worker lost its disk');
whole('an empty worker takes the place of one that lost its disk');
is($node->safe_psql('postgres', "SELECT count(*) FROM vectron.shards WHERE store = $old"), '0', 'nothing is left on the lost one');
clean('nothing is lost with the disk');

# Now the others may go, one at a time.
for my $n (grep { $_ != $victim } 1 .. 3)
{
	$cluster->kill9("worker$n");
	found("worker $n is away: everything is found");
	$node->safe_psql('postgres', "INSERT INTO t VALUES (-$n, '[$n,$n,$n,$n,$n,$n]')");
	$cluster->start_worker($n);
	whole("worker $n is back");
}
clean('every worker but one was killed in turn, and nothing is lost');

# The placement driver is away: a session that knows the way goes on, also when
# a leader fails.
my $session = $node->background_psql('postgres', timeout => 3600);
my $nearest = q{SELECT id FROM t ORDER BY v <-> '[9,9,9,9,9,9]' LIMIT 1};
$session->query_safe(q{SET enable_seqscan = off; INSERT INTO t VALUES (-9, '[1000,9,9,9,9,9]');});
$session->query_safe($nearest);
$victim = busiest();
$cluster->kill9('pd');
$cluster->kill9("worker$victim");
$session->query_safe(q{INSERT INTO t VALUES (-10, '[9,9,9,9,9,9]')});
is($session->query_safe($nearest), '-10', 'writes and searches without the placement driver and a leader');
$session->quit;
$cluster->start_pd;
$cluster->start_worker($victim);
whole('all are back');
clean('nothing is lost without the placement driver');
$node->stop;
done_testing();
