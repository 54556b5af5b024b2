# What a person asks the cluster without PostgreSQL: vectronctl, and what monitoring does.

use strict;
use warnings;
use IO::Socket::UNIX;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use CtlAnswers;
use VectronCluster;

my $cluster = VectronCluster->new;
my %http = map { $_ => $cluster->endpoint("$_.http") } 'pd', 'worker1', 'worker2';
$cluster->start_pd('--http', $http{pd});
$cluster->start_worker($_, '--http', $http{"worker$_"}) for 1, 2;
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
$node->safe_psql('postgres', 'CREATE EXTENSION vectron');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM vectron.workers WHERE state = 'up'}), 'two workers are up');
$node->safe_psql('postgres', q{
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
like($out, qr/$generation +public\.t_v +live +\d+ +\w+ +\w+ +exact/, 'a collection is listed by its index');

# For people, for programs, and in SQL: the same.
sub of_pd { return ctl('--pd', $pd, @_); }
my %key = (collections => 'generation', pds => 'id', shards => 'replica', workers => 'store');
foreach my $what (sort keys %key)
{
	shown_as_answered(\&of_pd, $what, $what);
	viewed_as_answered(\&of_pd, $node, $what, $what, $key{$what});
}
answered(\&of_pd, 'the driver says who it is as JSON', 'status');
until_same('which is what people are shown', sub {
	my $answer = decode_json((of_pd('--json', 'status'))[1]);
	my ($head, $members) = split /\n\n/, (of_pd('status'))[1];
	my $shown = join ' ', $head =~ /^(?:cluster|id|role|leader|term|level|level_high|version) +(\S+)$/mg;
	my $said = join ' ', @$answer{qw(cluster id role leader term level level_high version)};
	return ($shown eq $said ? () : "$shown -- $said", differ($members, @{ $answer->{pds} }));
});

my ($store) = $node->safe_psql('postgres', 'SELECT min(store) FROM vectron.workers');
($status, $out, $err) = ctl('--pd', $pd, 'drain', $store);
like("$status $out", qr/^0 It is being emptied: vectronctl operators .*\n\z/, 'a drain is asked for, and where to look is said');
($status, $out, $err) = ctl('--pd', $pd, 'workers');
like($out, qr/^ *$store +draining/m, 'and shown');
($status, $out, $err) = ctl('--pd', $pd, 'undrain', $store);
is($status, 0, 'and taken back');
# What it had may have begun to leave it, and goes on: its figures count for two until it is there.
$cluster->wait_until('nothing moves any more', sub {
	my ($has, $leads) = (0, 0);
	($status, $out, $err) = ctl('--json', '--pd', $pd, 'operators');
	return 0 if $status || @{ decode_json($out)->{operators} };
	($status, $out, $err) = ctl('--json', '--pd', $pd, 'workers');
	return 0 if $status;
	foreach my $worker (@{ decode_json($out)->{workers} })
	{
		$has += $worker->{shards};
		$leads += $worker->{leaders};
	}
	return $has == 2 && $leads == 2;
});
($status, $out, $err) = ctl('--pd', $pd, 'drain', '12');
is($status, 1, 'a store that is not there');
like($err, qr/vectronctl: drain: .*no such store/, 'in words');

# Misused, or nobody there.
for my $args ([], ['dance'], ['--pd', $pd, 'drain'], ['--pd', $pd, 'status', 'x'], ['--nonsense'], ['status'],
	['--pd', $pd, '--timeout', 'soon', 'status'], ['--pd', $pd, '--all', 'shards'], ['--pd', $pd, 'set-replicas', 'x'], ['--pd', $pd, 'drain', 'w1'], ['--pd', $pd, 'add-pd', '10.0.0.1'], ['--pd', $pd, 'certs', 'show', 'x'], ['--pd', $pd, '--json', 'expose', 'a', 'b', 'c'],
	['--pd', $pd, 'set-replicas', 'x', 'many'], ['--pd', $pd, '--dry-run', 'drain', $store], ['--pd', $pd, '--apply', '0' x 16, 'workers'],
	['--pd', $pd, '--dry-run', '--apply', '0' x 16, 'unsafe-recover', $store])
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

# The pages for monitoring.
sub page
{
	my ($of, $path) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => substr($http{$of}, 5)) or die "no socket of $of: $!";
	local $/;
	$socket->print("GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	my $answer = <$socket>;
	my ($head, $body) = split /\r\n\r\n/, $answer, 2;
	$head =~ m{^HTTP/1.1 (\d+) } or die "no answer: $answer";
	return ($1, $body);
}

# Each sample belongs to a family that was told before it, once, and is a number.
sub samples
{
	my ($text, $what) = @_;
	my (%types, %samples, @faults);
	foreach my $line (split /\n/, $text)
	{
		if ($line =~ /^# TYPE (\w+) (counter|gauge|histogram)$/)
		{
			push @faults, $line if $types{$1}++;
		}
		elsif ($line =~ /^# HELP (\w+) .*\.$/) { push @faults, $line if $types{$1}; }
		elsif ($line =~ /^(\w+?)((?:_bucket|_sum|_count)?)(\{(?:\w+="[^"\\]*",?)+\})? (\d+(?:\.\d+)?)$/)
		{
			push @faults, $line unless $types{$1} || $types{"$1$2"};
			push @faults, $line if exists $samples{$1 . $2 . ($3 // '')};
			$samples{$1 . $2 . ($3 // '')} = $4;
		}
		else { push @faults, $line; }
	}
	is_deeply(\@faults, [], "$what: Prometheus can read it") or diag join "\n", @faults;
	return \%samples;
}

$node->safe_psql('postgres', 'SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> \'[7,1,2]\' LIMIT 3');
foreach my $of (sort keys %http)
{
	($status, $out) = page($of, '/healthz');
	like("$status $out", qr/^200 ok/, "$of is healthy");
	($status, $out) = page($of, '/readyz');
	like("$status $out", qr/^200 ok/, "$of is ready");
	($status, $out) = page($of, '/nothing');
	is($status, 404, "$of has no other page");
}
my $driver = samples((page('pd', '/metrics'))[1], 'a placement driver');
is($driver->{'vectron_pd_leads'}, 1, 'it leads');
is($driver->{'vectron_pd_stores{state="up"}'}, 2, 'it knows of two workers');
is($driver->{'vectron_pd_shards'}, 2, 'and of two shards');
is($driver->{'vectron_pd_shards_at_risk{why="majority_lost"}'}, 0, 'of which none is lost');
my %sum;
foreach my $of ('worker1', 'worker2')
{
	my $worker = samples((page($of, '/metrics'))[1], $of);
	$sum{$_} += $worker->{$_} foreach keys %$worker;
}
is($sum{'vectron_worker_shards{state="leading"}'}, 2, 'both shards are led');
is($sum{'vectron_worker_records'}, 100, 'there are the records');
cmp_ok($sum{'vectron_worker_write_seconds_count'}, '>=', 2, 'writes were timed');
cmp_ok($sum{'vectron_worker_search_seconds_count'}, '>=', 2, 'and searches');
cmp_ok($sum{'vectron_raft_log_write_seconds_count'}, '>=', 2, 'and writes of the log');
cmp_ok($sum{'vectron_raft_applied_total'}, '>=', 2, 'entries were applied');
my $told = decode_json((page('pd', '/status'))[1]);
is($told->{role}, 'leader', 'the driver\'s status is JSON');
is(ref($told->{ended}) . ref($told->{recent}), 'ARRAYARRAY', 'with what has ended, and what it complained of');

# What vectronctl shows is in the views, each column of which is filled.
my %views = (workers => 'workers', shards => 'shards', collections => 'collections', pds => 'pds');
my %other = (label => 'index', owner => 'incarnation', nshards => 'shards', replicas_wanted => 'replicas', created_us => 'created',
	dropped_us => 'dropped', verified_us => 'verified');
my %elsewhere = map { $_ => 1 } qw(xid looks members);
foreach my $what (sort keys %views)
{
	my @columns = split /\n/, $node->safe_psql('postgres', "SELECT attname FROM pg_attribute WHERE attrelid = 'vectron.$views{$what}'::regclass AND attnum > 0");
	my %column = map { $_ => 1 } @columns, split /\n/, $node->safe_psql('postgres', "SELECT attname FROM pg_attribute WHERE attrelid = 'vectron.stat_shards'::regclass AND attnum > 0");
	($status, $out, $err) = ctl('--json', '--pd', $pd, $what, $what eq 'shards' ? $generation : ());
	my $row = decode_json($out)->{$what}[0];
	is(join(" ", grep { !$elsewhere{$_} && !$column{ $other{$_} // $_ } } sort keys %$row), "", "$what: SQL shows what vectronctl does");
}
is($node->safe_psql('postgres', q{SELECT dim, metric, element, quantization, distances, m > 0, ef_construction > 0, replicas, under_replicated, unindexed FROM vectron.collections WHERE index = 'public.t_v'}),
	'3|l2|float32|int8|exact|t|t|1|f|0', 'what a collection is like');
is($node->safe_psql('postgres', q{SELECT applied > 0, agreed_at IS NOT NULL, version IS NOT NULL, uptime > interval '0' FROM vectron.cluster}), 't|t|t|t', 'and the cluster');
is($node->safe_psql('postgres', q{SELECT count(*) >= 0 FROM vectron.operators_ended}), 't', 'and what has ended');

# A worker by itself, also when there is no placement driver.
$cluster->stop('pd');
my ($mine) = grep { $_->{shards} && @{ $_->{shards} } } map { decode_json((page($_, '/status'))[1]) } 'worker1', 'worker2';
($status, $out, $err) = ctl('--endpoint', $mine->{endpoint}, '--json', 'status');
is($status, 0, 'a worker is asked') or diag $err;
is(decode_json($out)->{store}, $mine->{store}, 'and says who it is');
($status, $out, $err) = ctl('--endpoint', $mine->{endpoint}, 'status');
like($out, qr/^store +$mine->{store}\n.*^health +ok\n.*^disk_free +[\d.]+ [MGT]iB\n/ms, 'with its disk and health');
like($out, qr/^ *$mine->{shards}[0]{shard} +$generation +\d+ +leader /m, 'and its shards');
my ($ready) = page('worker1', '/readyz');
is($ready, 200, 'it stays ready without a driver');
for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	($status, $out, $err) = ctl('--endpoint', $mine->{endpoint}, 'status');
	last if $out =~ /last warnings/;
	Time::HiRes::usleep(100_000);
}
like($out, qr/its last warnings and errors:\n.*WARN worker placement driver/s, 'and says what it complained of');
($status, $out, $err) = ctl('--endpoint', $mine->{endpoint}, 'workers');
like("$status $err", qr/^2 .*--endpoint is for status/, 'nothing else is asked of one process');
$cluster->start_pd('--http', $http{pd}, '--page-rows', 1);
($status, $out, $err) = ctl('--endpoint', $pd, 'status');
like("$status $out", qr/^0 cluster .*^uptime_ms/ms, 'a placement driver is asked by itself, too');

# A follower links what comes as its leader has.
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM vectron.workers WHERE state = 'up'}), 'it has heard of both workers');
$node->safe_psql('postgres', q{
	CREATE TABLE u (id int, v vector(3));
	CREATE INDEX u_v ON u USING vectron (v vector_l2_ops) WITH (shards = 1, replicas = 2);
});
my $rows = 0;
for (1 .. $PostgreSQL::Test::Utils::timeout_default)
{
	$node->safe_psql('postgres', "INSERT INTO u SELECT n, ARRAY[n % 31, n % 37, n % 41] FROM generate_series($rows + 1, $rows + 5000) n");
	$rows += 5000;
	%sum = ();
	foreach my $of ('worker1', 'worker2')
	{
		my ($text) = (page($of, '/metrics'))[1] =~ /^vectron_worker_graph_told (\d+)$/m;
		$sum{told} += $text;
	}
	last if $sum{told} > 0;
}
cmp_ok($sum{told}, '>', 0, 'a follower links as its leader has');
ok($node->poll_query_until('postgres', qq{SELECT count(*) = 2 AND sum(unindexed) = 0 AND min(records) = $rows FROM vectron.shards WHERE index = 'public.u_v'}),
	'and all of it is linked in both') or diag $node->safe_psql('postgres', 'TABLE vectron.shards');

# The driver answers in pages now, each index in one of its own: they come as one.
sub in_time { return decode_json((of_pd('--timeout', 1000 * $PostgreSQL::Test::Utils::timeout_default, '--json', @_))[1]); }
my $dump = in_time('dump');
is($dump->{settings}{page_rows}, 1, 'there is a page for each index');
is(join(' ', sort map { $_->{label} } @{ $dump->{collections} }), 'public.t_v public.u_v', 'a dump has both');
my %all = (collections => 2, shards => 4);
foreach my $what (sort keys %all)
{
	is(scalar(@{ in_time($what)->{$what} }), $all{$what}, "all $what are told");
	shown_as_answered(\&of_pd, $what, $what);
	viewed_as_answered(\&of_pd, $node, $what, $what, $key{$what});
}

# Only this machine, unless somebody says otherwise.
foreach my $program ('vectron-pd', 'vectron-worker')
{
	my @rest = $program eq 'vectron-worker' ? ('--pd', $pd) : ();
	($out, $err) = ('', '');
	ok(!IPC::Run::run([ $program, '--data', $cluster->data('x'), '--listen', $cluster->endpoint('x'), @rest,
		'--http', '0.0.0.0:9464' ], '>', \$out, '2>', \$err), "$program does not listen for everybody unasked");
	like($err, qr/http_open/, 'and names the setting');
}
$node->stop;
done_testing();
