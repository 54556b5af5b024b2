# Three workers and three replicas; shards are split again and again while rows are
# inserted, changed, deleted, vacuumed and searched, and each daemon is killed at some
# moment of it.  In the end no row is missing, the shards tile the hash space, nothing
# of a child is left with its parent, and searches find what an exact scan finds.
#
# Beside it stands a collection, written at the door of src/client with writes that are
# done once, whose shard is split and loses its leader as well: what three clients wrote
# and read there fits into one order.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use JSON::PP;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd;
$cluster->start_worker($_) for 1 .. 3;
my $node = $cluster->new_server("shared_preload_libraries = 'vectron'\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers are up');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id bigserial PRIMARY KEY, n int DEFAULT 0, v vector(8));
	CREATE FUNCTION one() RETURNS vector LANGUAGE sql AS $$ SELECT array_agg(random())::vector FROM generate_series(1, 8) $$;
	INSERT INTO t (v) SELECT one() FROM generate_series(1, 3000);
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 1, replicas = 3);
});

# Three clients of the collection, if there are programs for it (see 120_chaos.pl).
my $bin = $ENV{VECTRON_CHAOS};
my $n = 1;
if ($bin)
{
	my $made = IPC::Run::run([ "$bin/chaos_load", 'collection', $node->connstr('postgres'), $cluster->pd_endpoint ], '2>', \my $why);
	ok($made, 'a collection beside the index') or diag $why;
	$n++;
}

sub ctl
{
	my (@args) = @_;
	my ($out, $err) = ('', '');
	# A split that was taken, and not heard of in time, would be asked for twice.
	IPC::Run::run([ 'vectronctl', '--timeout', 60000, '--pd', $cluster->pd_endpoint, @args ], '>', \$out, '2>', \$err);
	return ($?, $out, $err);
}

sub shards
{
	my ($status, $out) = ctl('--json', 'shards');
	my $rows = $status == 0 ? eval { decode_json($out)->{shards} } : undef;
	my %shards;
	for my $row (@{ $rows // [] })
	{
		my $s = $shards{ $row->{shard} } //= { shard => $row->{shard}, label => $row->{label}, first => $row->{first}, last => $row->{last}, up => 0, records => [] };
		$s->{up}++ if $row->{state} eq 'up' && $row->{role} ne 'learner';
		$s->{leads} = 1 if $row->{role} eq 'leader';
		push @{ $s->{records} }, $row->{records};
	}
	return \%shards;
}

sub wait_for
{
	my ($what, $test) = @_;
	my $until = time() + 180;
	while (time() < $until)
	{
		return pass($what) if $test->();
		usleep(100_000);
	}
	diag explain shards();
	return fail($what);
}

# Each has its three replicas and a leader.
sub whole
{
	my ($n) = @_;
	my $shards = shards();
	return keys %$shards == $n && !grep { $_->{up} != 3 || !$_->{leads} } values %$shards;
}

wait_for('three replicas of each shard', sub { whole($n) });

# Refused where it is not right.
my ($status, $out, $err) = ctl('split', '12345');
isnt($status, 0, 'a shard that is not there is not split');
like($err, qr/there is no such shard/, 'and it says so');

my $dir = PostgreSQL::Test::Utils::tempdir();
my %scripts = (
	insert => "INSERT INTO t (v) VALUES (one());",
	update => "\\set a random(1, 4000)\nUPDATE t SET v = one() WHERE id = :a;",
	delete => "\\set a random(1, 4000)\nDELETE FROM t WHERE id = :a AND id % 3 = 0;",
	scan => "SET enable_seqscan = off;\nSET vectron.verify_scan = on;\nSELECT id FROM t ORDER BY v <-> one() LIMIT 20;",
	whole => "SET enable_seqscan = off;\nSET vectron.verify_scan = on;\nSELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> one() LIMIT 1000000) s;",
	vacuum => "VACUUM t;");
my @running;
PostgreSQL::Test::Utils::append_to_file("$dir/$_.sql", "$scripts{$_}\n") for keys %scripts;
my $stop = "$dir/stop";

# A client of each kind, begun anew until told to stop.  Neither a split nor the death of one of three fails
# anything, given time: more than a machine that stands still now and then may need.
for my $name (sort keys %scripts)
{
	local $ENV{PGOPTIONS} = '-c vectron.read_timeout=120s -c vectron.write_timeout=120s';
	my $loop = "while [ ! -e $stop ]; do pgbench -n -T 3 -c 1 -f $dir/$name.sql '" . $node->connstr('postgres') . "'; done";
	push @running, [ $name, IPC::Run::start([ 'sh', '-c', $loop ], '>', "$dir/$name.out", '2>', "$dir/$name.err") ];
}

my ($once, $once_in, $once_out, $once_err) = (undef, '', '', '');
my $history = "$PostgreSQL::Test::Utils::log_path/splits_history";
$once = IPC::Run::start([ "$bin/chaos_load", 'run', $node->connstr('postgres'), int rand 1_000_000, 0, 1, 60_000, 900, $history, $cluster->pd_endpoint ],
	'<', \$once_in, '>', \$once_out, '2>', \$once_err) if $bin;
END { $once->kill_kill if $once; }

# Ask for a split of any shard, or any of these, until one is taken.
sub split_one
{
	my ($label) = @_;
	my $until = time() + 120;
	while (time() < $until)
	{
		my @ids = map { $_->{shard} } grep { !$label || $_->{label} eq $label } values %{ shards() };
		for my $id (@ids)
		{
			my ($s) = ctl('split', $id);
			return $id if $s == 0;
		}
		usleep(200_000);
	}
	return 0;
}

# Two sessions that know the way of now, and are not used before all is over.  By default each would have
# to end within two minutes of its beginning, whatever it is asked.
my @old = map { $node->background_psql('postgres', timeout => 3600) } 1 .. 2;
my $scan_whole = q{SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> one() LIMIT 1000000) s};
for my $session (@old)
{
	$session->query_safe('SET enable_seqscan = off; SET vectron.verify_scan = on');
	$session->query_safe('INSERT INTO t (v) SELECT one()');
	$session->query_safe($scan_whole);
}

# The collection's shard is split first, and the worker that leads it is killed; then the index',
# since what is taken at random need never be it.
my @victims = ('worker1', 'worker2', 'worker3', 'pd');
if ($bin)
{
	my $endpoint = $node->safe_psql('postgres', q{SELECT endpoint FROM vectron.shards WHERE index = 'chaos.once' AND role = 'leader'});
	@victims = sort { ($endpoint =~ /$b$/) <=> ($endpoint =~ /$a$/) } @victims;
}
my @labels = ($bin ? 'chaos.once' : (), 'public.t_v');
for my $victim (@victims)
{
	my $id = split_one(shift @labels);
	isnt($id, 0, "a split is taken, and $victim will be killed in the middle");
	usleep(1000 * int(rand(600)));
	$cluster->kill9($victim);
	usleep(1000 * int(rand(400)));
	$victim eq 'pd' ? $cluster->start_pd : $cluster->start_worker(substr($victim, 6));
	$n++;
	wait_for("there are $n shards with three replicas each", sub { whole($n) });
}
PostgreSQL::Test::Utils::append_to_file($stop, "x");
$_->[1]->finish for @running;
if ($once)
{
	$once->signal('TERM');
	$once->finish;
	undef $once;
	like($once_out, qr/^once done [1-9]\d* failed 0\b/m, 'every write of the collection was done') or diag $once_err;
	like($once_out, qr/^look done [1-9]\d* failed 0\b/m, 'and every read answered');
	my $checked = `$bin/lin $history`;
	like($checked, qr/^1 passed/m, 'what they saw fits into one order') or diag $checked;
	cmp_ok(scalar(grep { $_->{label} eq 'chaos.once' } values %{ shards() }), '>=', 2, 'its shard was split');
}
for my $run (@running)
{
	like(slurp_file("$dir/$run->[0].out"), qr/transactions actually processed: [1-9]/, "$run->[0] did something");
	my @failed = grep { /ERROR|FATAL|PANIC|aborted/ } split /\n/, slurp_file("$dir/$run->[0].err");
	is(join("\n", @failed), '', "$run->[0] went on without an error");
}

# Without a placement driver they hear of the splits from the workers: one writes to what it never
# heard of, and the other finds that.
cmp_ok(scalar(grep { $_->{label} eq 'public.t_v' } values %{ shards() }), '>=', 2, "the index' shard was split");
$cluster->stop('pd');
my $rows = $old[0]->query_safe('SELECT count(*) FROM t');
$old[0]->query_safe('INSERT INTO t (v) SELECT one() FROM generate_series(1, 200)');
is($old[1]->query_safe($scan_whole), $rows + 200, 'a split is heard of without the placement driver, by who writes and by who searches');
$_->quit for @old;
$cluster->start_pd;

# The ends of intervals as the catalog has them.
my $shards;
wait_for('the driver knows the shards', sub { $shards = shards(); return %$shards; });
for my $label ('public.t_v', $bin ? 'chaos.once' : ())
{
	my $next = '0';
	my $tiles = 1;
	for my $s (sort { sprintf('%020s', $a->{first}) cmp sprintf('%020s', $b->{first}) } grep { $_->{label} eq $label } values %$shards)
	{
		$tiles &&= $s->{first} eq $next;
		$next = $s->{last} eq '18446744073709551615' ? 'end' : add_one($s->{last});
	}
	ok($tiles && $next eq 'end', "the shards of $label tile the hash space");
}

sub add_one
{
	use bigint;
	my ($text) = @_;
	return '' . (0 + Math::BigInt->new($text) + 1);
}

wait_for('the replicas of a shard hold as many records each', sub {
	return !grep { my %seen = map { $_ => 1 } @{ $_->{records} }; keys %seen > 1 } values %{ shards() };
});
$cluster->clean($node, 't', 't_v', 'no row is missing, none is wrong');
$node->safe_psql('postgres', 'VACUUM t');
is($node->safe_psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')}), '0|0|0', 'and none is left over after VACUUM');
my $recall = $node->safe_psql('postgres', q{
	SET vectron.ef_search = 100;
	CREATE TEMP TABLE q AS SELECT n, one() AS v FROM generate_series(1, 50) n;
	CREATE TEMP TABLE exact AS SELECT q.n, t.id FROM q CROSS JOIN LATERAL
		(SELECT id FROM t ORDER BY t.v::real[]::vector <-> q.v LIMIT 10) t;
	SET enable_seqscan = off;
	CREATE TEMP TABLE found AS SELECT q.n, t.id FROM q CROSS JOIN LATERAL (SELECT id FROM t ORDER BY t.v <-> q.v LIMIT 10) t;
	SELECT count(*) / 500.0 >= 0.98 FROM exact NATURAL JOIN found});
is($recall, 't', 'a search finds what an exact one does');

# Frozen rows are gone from the disk: what a new start counts is what is served.
wait_for('rows that a split has left are removed', sub {
	my $text = join('', map { slurp_file($cluster->log_file("worker$_")) } 1 .. 3);
	return $text =~ /rows of other shards were removed/;
});
$node->stop;
done_testing();
