# A cluster of three workers under a steady load, and one fault after the other: no
# acknowledged write is lost, no row is wrong, what was read and written fits into one
# order, searches are answered soon wherever that can be, and what was found before is
# found afterwards (docs/testing.md).
#
#	VECTRON_SEED		repeats the draw
#	VECTRON_ROUNDS		faults, each with a history of its own
#	VECTRON_SECONDS		of load in a round; the fault is repeated meanwhile
#	VECTRON_FAULT		this one instead of a draw, or several with commas between, round by round;
#						kill-leader+one-way is one history in which the two take turns
#	VECTRON_PDS			placement drivers; one or three, by the seed
#	VECTRON_CLIENTS		sessions that read and write, 5

use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);
use ChaosCluster;
use ChaosFaults;

my $bin = $ENV{VECTRON_CHAOS};
plan skip_all => 'VECTRON_CHAOS names no folder with the programs of test/chaos' unless $bin && -x "$bin/chaos_proxy";
my $seed = $ENV{VECTRON_SEED} // int(time() * 1000) % 1000000;
my $rounds = $ENV{VECTRON_ROUNDS} // 3;
my $seconds = $ENV{VECTRON_SECONDS} // 5;
my $clients = $ENV{VECTRON_CLIENTS} // 5;
note "VECTRON_SEED=$seed VECTRON_ROUNDS=$rounds VECTRON_SECONDS=$seconds" . (defined $ENV{VECTRON_FAULT} ? " VECTRON_FAULT=$ENV{VECTRON_FAULT}" : '');
srand($seed);
my @wanted = split /,/, $ENV{VECTRON_FAULT} // '';
my $pds = $ENV{VECTRON_PDS} // (rand() < 0.5 || (grep { ChaosFaults::needs_drivers($_) } @wanted) ? 3 : 1);
note "VECTRON_PDS=$pds";
my @drawn = @wanted ? map { $wanted[ $_ % @wanted ] } 0 .. $rounds - 1 : ChaosFaults::drawn($rounds, $pds);

my $middle = q{'[} . join(',', (0.5) x 32) . q{]'::vector};
# Indexes of the table, and what each is searched by.
my %near = (t_v => "v <-> $middle", t_b => "(binary_quantize(v - $middle)::bit(32)) <~> B'" . '0' x 32 . q{'});
my $rows = 1500;
my $shards = 3;
my $cluster = ChaosCluster->new($bin, $seed, $pds, 3);
$cluster->spawn_again($_) foreach $cluster->daemons;
$cluster->wait_ready($_) foreach $cluster->daemons;
my $node = $cluster->new_server("shared_preload_libraries = 'vectron'\nrestart_after_crash = on\n");
my $conninfo = $node->connstr('postgres');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers are up');

# A program of test/chaos, to its end.
sub load
{
	my (@words) = @_;
	my ($out, $err) = ('', '');
	my $status = IPC::Run::run([ "$bin/chaos_load", @words ], '>', \$out, '2>', \$err);
	chomp $out;
	return ($status, $out, $err);
}

# Of a table that is large enough for walks through its graph, when everything is in that.
sub recall
{
	my ($what) = @_;
	ok($node->poll_query_until('postgres', q{SELECT bool_and(unindexed = 0) FROM vectron.shards WHERE index = 'public.r_v'}), "$what: all rows are in the graph");
	my ($walked, $found, $why) = load('recall', $conninfo, 1000);
	ok($walked, "$what: recall is that of walks") or diag $why;
	return $found;
}

my ($filled, undef, $why) = load('fill', $conninfo, $rows, $shards, $cluster->pd_endpoint);
ok($filled, 'rows of the beginning') or diag $why;
foreach my $condition (q{g = 7}, q{w = 'w7'})
{
	my ($column) = split / /, $condition;
	like($node->safe_psql('postgres', qq{
		SET enable_seqscan = off;
		EXPLAIN (COSTS OFF) SELECT id FROM t WHERE $condition ORDER BY $near{t_v} LIMIT 10}),
		qr/Index Cond:.*\b$column\b.*=/, "the index answers what has $condition");
}
like($node->safe_psql('postgres', "SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY $near{t_b} LIMIT 10"),
	qr/Index Scan using t_b /, 'that on bits what is near by them');
my $faults = ChaosFaults->new($cluster, $node, $shards, \&look);
$cluster->whole($node, $faults->shards, 'every shard has three replicas, and those of the collection, of bits and for recall');
my $recall = recall('before');
note "recall $recall";

# The load of a round: its output so far.
my ($load, $in, $out, $err, $operations, $slowest, $all_have_ms);
END { $load->kill_kill if $load; }
sub look
{
	$load->pump_nb if $load->pumpable;
	($operations, $slowest, $all_have_ms) = ($1, $2, $3) while $out =~ /^operations (\d+) slowest_ms (\d+) timeout_ms (\d+)$/mg;
	return $operations;
}

sub until_load
{
	my ($what, $condition) = @_;
	$cluster->wait_until($what, sub {
		look();
		die "the load has ended: $err" if !$load->pumpable;
		return $condition->();
	});
	return;
}

sub goes_on
{
	my ($n, $what) = @_;
	my $from = look();
	until_load($what, sub { $operations >= $from + $n });
	return;
}

# A search may take this long; where a replica that can answer is left, by what the slowest
# took while nothing was wrong.
my $lax_ms = 30_000;
my $patience_ms = $seconds < 60 ? 10_000 : 2500;	# a few short rounds come often, on any machine
my $patience_factor = 10;
my ($strict_ms, $given_ms);
sub be_strict
{
	my ($fault) = @_;
	my $ms = ChaosFaults::leaves_replicas($fault) ? $strict_ms : $lax_ms;
	return if $ms == $given_ms;
	note "$fault: searches have $ms ms";
	$in .= "$ms\n";
	$given_ms = $ms;
	# What was begun under another time has ended, too.
	until_load("all have $ms ms", sub { $all_have_ms == $ms });
	return;
}

sub searches { return $node->safe_psql('postgres', 'SELECT scans FROM vectron.stat_search'); }

# What a round of load has told: kind, then what of it.
sub told
{
	my ($kind, $what) = @_;
	return $out =~ /^$kind\b.*\b$what (\d+)/m ? $1 : die "nothing was told of $kind, $what: $out$err";
}

# Of the last round: seconds of load, and how often each fault came.
my @came;

sub round
{
	my ($number, $fault) = @_;
	my $history = "$PostgreSQL::Test::Utils::log_path/chaos_history_$number";
	my $before = searches();
	my $begin = time();
	my @parts = ChaosFaults::parts($fault);
	my %struck = map { $_ => 0 } @parts;
	my $turn = 0;

	# Registers begin at 0; what was added in another round was judged there.
	$node->safe_psql('postgres', 'DELETE FROM t WHERE id <= 1000 OR id >= 1000000');
	($in, $out, $err, $operations, $slowest, $all_have_ms) = ('', '', '', 0, 0, 0);
	$load = IPC::Run::start([ "$bin/chaos_load", 'run', $conninfo, int rand 1_000_000, $clients, 40, $lax_ms, 10 * $seconds + 100, $history, $cluster->pd_endpoint ],
		'<', \$in, '>', \$out, '2>', \$err);
	goes_on(150, 'the load has begun');
	$given_ms = $lax_ms;
	$strict_ms = $slowest * $patience_factor;
	$strict_ms = $patience_ms if $strict_ms < $patience_ms;
	$strict_ms = 2 * $patience_ms if $strict_ms > 2 * $patience_ms;
	do
	{
		# One fault at a time: nothing is on its way back any more.
		$cluster->whole($node, $faults->shards, "$fault: every shard has three replicas", 'under load') or return;
		# Mostly for some seconds, sometimes for long.
		my $part = $parts[ $turn++ % @parts ];
		my $longest = $seconds * 0.6 / @parts;
		my $length = $longest * (0.1, 0.3, 1)[ int rand 3 ];
		# None that begins near the end goes on for long behind it.
		my $left = $begin + $seconds - time();
		$length = $left if $length > $left;
		be_strict($part);
		$faults->suffer($part, $length > 3 ? $length : $longest < 3 ? $longest : 3);
		goes_on(100, 'the load goes on after the fault');
		$struck{$part}++;
	} while (time() - $begin < $seconds - 2 || (@parts > 1 && grep { $_ < 2 } values %struck));
	$load->signal('TERM');
	$load->finish;
	my $took = sprintf '%.1f', time() - $begin;
	@came = ($took, map { "$_=$struck{$_}" } @parts);
	note sprintf '%d children of splits so far, %d of them prepared', $cluster->splits_made;
	note "$fault: $took s; $_" foreach grep { !/^operations/ } split /\n/, $out;
	# Where room is short, new data is refused, and told why; a server that dies ends its
	# sessions; all the rest goes on.
	my $told_in = ChaosFaults::may_be_told($fault);
	my @failures = grep { /^#/ && !($told_in && /$told_in/) } split /\n/, slurp_file($history);
	note $_ foreach @failures[0 .. ($#failures < 9 ? $#failures : 9)];

	foreach my $name ($cluster->daemons)
	{
		next if $cluster->runs($name);
		fail("$fault: $name runs");
		diag $cluster->log_text($name, 1);
		return;
	}
	unlike(slurp_file($node->logfile), qr/was terminated by signal (?!9:)/, "$fault: no session has crashed");
	is(told('all', 'wrong'), 0, "$fault: no wrong row") or diag $err;
	is(told('all', 'unknown'), 0, "$fault: every statement was answered") unless ChaosFaults::ends_sessions($fault);
	is(scalar(@failures), 0, "$fault: nothing failed");
	my $checked = `$bin/lin $history`;
	like($checked, qr/^1 passed/m, "$fault: the history is linearizable") or diag $checked;
	# With the server's memory its counters are gone, too.
	ChaosFaults::ends_sessions($fault) ? cmp_ok(searches(), '>', 0, "$fault: searches go through the index") :
		cmp_ok(searches() - $before, '>=', told('get', 'done') + told('search', 'done') + told('many', 'done'), "$fault: every search went through the index");
	is($node->safe_psql('postgres', 'SELECT exact_batches < batches FROM vectron.stat_search'), 't', "$fault: and not all compared every row") unless ChaosFaults::ends_sessions($fault);
	is($node->safe_psql('postgres', q{SELECT count(*) FROM vectron.indexes WHERE index IN ('t_v'::regclass, 't_b'::regclass, 'r_v'::regclass) AND state = 'live'}), 3,
		"$fault: the indexes are live");

	$cluster->whole($node, $faults->shards, "$fault: every shard is whole again") or return;
	$cluster->clean($node, 't', $_, "$fault: $_ has what the table has") foreach sort keys %near;
	$cluster->clean($node, 'r', 'r_v', "$fault: r_v has what its table has");
	ok($node->poll_query_until('postgres', q{
		SELECT bool_and(same) FROM (SELECT count(DISTINCT records) = 1 AS same FROM vectron.shards WHERE state <> 'dropped' GROUP BY shard) s}),
		"$fault: replicas hold the same number of records")
		or diag join "\n", 'as the driver knows it', $node->safe_psql('postgres', 'SELECT shard, index, state, replica, store, role, term, applied, match, records, unindexed FROM vectron.shards ORDER BY shard, replica'),
		'as the workers do', map { my ($status, $out) = $cluster->ctl('--endpoint', $cluster->endpoint($_), '--json', 'status'); $out } grep { /^worker/ } $cluster->daemons;
	$cluster->agree($node, "$fault: replicas hold the same rows", 'public.t_v', 'public.t_b', 'public.r_v', 'chaos.once') or return;
	is($node->safe_psql('postgres', qq{
		SET enable_seqscan = off; SET enable_sort = off; SET vectron.verify_scan = on; SET vectron.fallback_scan = off;
		SELECT count(*) = (SELECT count(*) FROM t), count(*) = count(DISTINCT id)
		FROM (SELECT id FROM t ORDER BY $near{$_} LIMIT 1000000000) s}), 't|t',
		"$fault: a scan of $_ returns every row once") foreach sort keys %near;
	my ($status, $words, $wrong) = load('rows', $conninfo);
	ok($status, "$fault: every row is found by its own vector") or diag $wrong;
	my $now = recall($fault);
	note "$fault: $words; recall $now";
	cmp_ok($now, '>=', $recall - 0.005, "$fault: recall is what it was");
	$recall = $now if $now > $recall;
	return;
}

foreach my $number (1 .. $rounds)
{
	my $fault = $drawn[ $number - 1 ];
	my $begin = time();
	@came = (0, '-');
	my $passed = subtest "round $number: $fault" => sub {
		eval { round($number, $fault); 1 } or fail("$fault: $@");
	};
	my ($loaded, @struck) = @came;
	note sprintf 'history %s %s, load %.1f s, all %.1f s, struck %s', $fault, $passed ? 'good' : 'bad', $loaded, time() - $begin, join ',', @struck;

	# What is left of the cluster says little about the next fault.
	last if !$passed;
}

# Whoever leads has the same: each worker is away once.
subtest 'every replica' => sub {
	foreach my $n (1 .. 3)
	{
		$cluster->kill9("worker$n");
		$cluster->clean($node, 't', $_, "without worker $n $_ has what the table has") foreach sort keys %near;
		$cluster->clean($node, 'r', 'r_v', "without worker $n r_v has what its table has");
		$cluster->start_again("worker$n");
		$cluster->whole($node, $faults->shards, "worker $n is back");
	}
} if Test::More->builder->is_passing;
$node->stop;
is($cluster->stop_network, 0, 'the network ends in good order');
done_testing();
