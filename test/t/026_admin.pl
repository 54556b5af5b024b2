# What an administrator sees and does, by vectronctl and from SQL: the cluster's
# health, operators under way, replicas that are wanted, a worker that is
# forgotten, and everything at once.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use CtlAnswers;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd('--down-after', 12);
$cluster->start_worker($_) for 1 .. 3;
my $pd = $cluster->pd_endpoint;

sub ctl
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--pd', $pd, @_ ], '>', \$out, '2>', \$err);
	return wantarray ? ($? >> 8, $out, $err) : $out;
}

my $node = $cluster->new_server;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers are up');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, v vector(6));
	INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(1, 2000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2, replicas = 2);
});

# The health comes to this, and vectronctl and the view agree.
sub health
{
	my ($wanted, $what, $name) = @_;
	my ($status, $out, $err);
	$cluster->wait_until($name, sub {
		($status, $out, $err) = ctl('check');
		return $status == $wanted && $out =~ $what;
	});
	pass($name);
	return $out;
}

health(0, qr/^all is well$/, 'a cluster that is well');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM vectron.health'), 'and the view is empty');
my $found;
$cluster->wait_until('as JSON', sub { $found = decode_json(scalar ctl('--json', 'check')); return $found->{status} == 0; });
is_deeply($found, { status => 0, findings => [] }, 'as JSON');

# -- Replicas ---------------------------------------------------------------------

my ($status, $out, $err) = ctl('set-replicas', 'public.t_v', 3);
is("$status$err", '0', 'a third replica is asked for, by the name of the index');
is($out, "So many are wanted: vectronctl operators shows what comes of it.\n", 'and where to look is said');
is_deeply(answered(\&ctl, 'asked for again, by a program', 'set-replicas', 'public.t_v', 3), { status => 0 }, 'which is told nothing but that');
($status, $out, $err) = ctl('--json', 'collections');
is(decode_json($out)->{collections}[0]{replicas_wanted} . $node->safe_psql('postgres', 'SELECT replicas FROM vectron.collections'), '33', 'three are wanted, by the driver and in SQL');
$cluster->whole($node, 2, 'and comes');
$node->safe_psql('postgres', q{SELECT vectron.set_replicas('t_v', 2)});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 4 AND (SELECT count(*) = 0 FROM vectron.operators) FROM vectron.shards}), 'and goes, from SQL');
my $generation = $node->safe_psql('postgres', q{SELECT generation FROM vectron.index_meta('t_v')});
($status, $out, $err) = ctl('set-replicas', $generation, 9);
is($status, 1, 'too many are refused');
like($err, qr/from 1 to 5/, 'with a number');
($status, $out, $err) = $node->psql('postgres', q{SELECT vectron.set_replicas('t_v', 0)});
like($err, qr/could not change the number of replicas.*from 1 to 5/, 'in SQL, too');
($status, $out, $err) = $node->psql('postgres', q{SELECT vectron.set_replicas('t_pkey', 2)});
like($err, qr/"t_pkey" is not a vectron index/, 'another index');
$cluster->clean($node, 't', 't_v', 'nothing was lost on the way');

# -- By hand ----------------------------------------------------------------------

my $shard = $node->safe_psql('postgres', 'SELECT min(shard) FROM vectron.shards');

# Where a replica is that leads or follows, when it is known who does.
sub store_of
{
	my ($role) = @_;
	my $store;
	$cluster->wait_until("a $role", sub {
		$store = $node->safe_psql('postgres', "SELECT store FROM vectron.shards WHERE shard = $shard AND role = '$role'");
		return $store =~ /^\d+$/;
	});
	return $store;
}

my $from = store_of('leader');

# Who stood still for a moment is not heard by his leader, or leads no more: that is said, and is over before long.
sub taken
{
	my ($name, $ask) = @_;
	$cluster->wait_until($name, sub { ($status, $out, $err) = $ask->(); return $err !~ /does not answer its leader|nobody leads shard|has just begun to lead|cannot be split now/; });
	return is("$status$err", '0', $name);
}

my ($to) = $node->safe_psql('postgres', "SELECT store FROM vectron.workers WHERE store NOT IN (SELECT store FROM vectron.shards WHERE shard = $shard)");
taken('a replica is moved, which leads', sub { return ctl('--json', 'move', $shard, $from, $to); });
is_deeply(decode_json($out), { status => 0 }, 'as a program asks');
ok($node->poll_query_until('postgres', "SELECT bool_or(store = $to) AND count(*) = 2 AND bool_and(state = 'up') AND bool_or(role = 'leader') FROM vectron.shards WHERE shard = $shard"), 'it is there');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM vectron.operators'), 'and nothing is under way any more');
($status, $out, $err) = ctl('move', $shard, $to, $to);
like($err, qr/has a replica of shard $shard already/, 'not to where one is');
my $follower = store_of('follower');
taken('it is to be led by the other one', sub { return $node->psql('postgres', "SELECT vectron.transfer_leader($shard, $follower)"); });
ok($node->poll_query_until('postgres', "SELECT bool_or(store = $follower) FROM vectron.shards WHERE shard = $shard AND role = 'leader'"), 'another replica leads, from SQL');
$follower = store_of('follower');
taken('and back, as a program asks', sub { return ctl('--json', 'transfer-leader', $shard, $follower); });
is_deeply(decode_json($out), { status => 0 }, 'which is told so');
ok($node->poll_query_until('postgres', "SELECT bool_or(store = $follower) FROM vectron.shards WHERE shard = $shard AND role = 'leader'"), 'it leads');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM vectron.operators'), 'and that is over');

# To a worker that stands still: the move waits for it, is shown, and is ended.  Who stands for so long that he counts as
# gone ends it himself, and while the leader is not heard that is what is waited for; then it is begun again.
my ($goes, $comes, $waits, $differ, $viewed, $ended, $told);
$cluster->wait_until('a move that waits is shown, and cancelled', sub {
	($goes, $comes) = (store_of('follower'), $node->safe_psql('postgres', "SELECT store FROM vectron.workers WHERE store NOT IN (SELECT store FROM vectron.shards WHERE shard = $shard)"));
	return 0 if grep { !/^\d+$/ } $goes, $comes;
	my ($worker) = $node->safe_psql('postgres', "SELECT endpoint FROM vectron.workers WHERE store = $comes") =~ /(worker\d)$/;
	return 0 if !$worker;
	my ($asked, $cancelled);
	kill 'STOP', $cluster->pid($worker);
	my $looked = eval {
		($asked) = ctl('--json', 'move', $shard, $goes, $comes);
		$waits = decode_json(scalar ctl('--json', 'operators'))->{operators};
		$differ = join "\n", differ(scalar ctl('operators'), @$waits);
		$viewed = $node->safe_psql('postgres', 'SELECT shard, index, kind, from_store, to_store, step, behind, why FROM vectron.operators');
		($cancelled, $ended, $err) = ctl('--json', 'cancel', $shard);
		1;
	} || note $@;
	kill 'CONT', $cluster->pid($worker);
	$cluster->wait_until('nothing is under way', sub { return $node->safe_psql('postgres', 'SELECT count(*) FROM vectron.operators') == 0; });
	$told = $node->safe_psql('postgres', "SELECT shard, kind, result, to_store FROM vectron.operators_ended WHERE shard = $shard AND kind = 'move' LIMIT 1");
	return $looked && $asked == 0 && @$waits == 1 && $waits->[0]{step} eq 'make the new replica' && $differ eq '' && $viewed =~ /\|make the new replica\|/ && $cancelled == 0;
});
is(join('|', @{ $waits->[0] }{qw(shard label kind from_store to_store step behind why)}),
	"$shard|public.t_v|move|$goes|$comes|make the new replica|0|somebody asked for it", 'what waits, for what, and why, as JSON');
is($differ, '', 'the table says the same');
is($viewed, "$shard|public.t_v|move|$goes|$comes|make the new replica|0|somebody asked for it", 'and the view');
is_deeply(decode_json($ended), { status => 0 }, 'it is cancelled, as a program asks');
is($told, "$shard|move|cancelled|$comes", 'and told as ended');
is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE store = $goes), count(*) FILTER (WHERE store = $comes) FROM vectron.shards WHERE shard = $shard"), '1|0', 'the replica is where it was');
($status, $out, $err) = $node->psql('postgres', "SELECT vectron.transfer_leader($shard, 12)");
like($err, qr/could not transfer leadership.*has no replica with a vote on store 12/, 'not one that is not there');
for my $call ("move_shard($shard, 1, 2)", "transfer_leader($shard, 1)", "cancel_operator($shard)", "verify('t_v')", "set_replicas('t_v', 1)")
{
	like(($node->psql('postgres', "SET ROLE pg_monitor; SELECT vectron.$call"))[2], qr/permission denied/, "not for everybody: $call");
}
$cluster->clean($node, 't', 't_v', 'nothing was lost on the way');

# -- Operators --------------------------------------------------------------------

# More are wanted than can be had: nothing is under way, and it is said.
ctl('set-replicas', $generation, 4);
$cluster->whole($node, 2, 'as many replicas as there are workers');
like(health(1, qr/under_replicated|fewer than the 4 replicas/, 'more are wanted than there are workers'), qr/vectronctl set-replicas/, 'and what can be done');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM vectron.operators'), 'nothing is under way');
($status, $out, $err) = ctl('cancel', $node->safe_psql('postgres', 'SELECT min(shard) FROM vectron.shards'));
like($err, qr/has no operator under way/, 'and nothing can be cancelled');

# A worker cannot be emptied if nobody else can take what it has.
my $first = $node->safe_psql('postgres', 'SELECT min(store) FROM vectron.workers');
is_deeply(answered(\&ctl, 'it is to be emptied', 'drain', $first), { status => 0 }, 'as a program asks');
viewed_as_answered(\&ctl, $node, 'workers', 'workers', 'store');
shown_as_answered(\&ctl, 'workers, one of which is drained', 'workers');
is(join(' ', map { $_->{state} } grep { $_->{store} == $first } @{ decode_json(scalar ctl('--json', 'workers'))->{workers} }), 'draining', 'which says so');
like(health(1, qr/store $first at .* is to be emptied, and 2 of its 2 shards can go nowhere/, 'nor can a worker be emptied then'), qr/vectronctl undrain $first/, 'and what can be done');
is_deeply(answered(\&ctl, 'and no longer', 'undrain', $first), { status => 0 }, 'as a program asks');

# A fourth worker comes and goes again.
$cluster->start_worker(4);
$cluster->wait_until('the fourth is up', sub { return $node->safe_psql('postgres', q{SELECT count(*) FROM vectron.workers WHERE state = 'up'}) == 4 });
$cluster->whole($node, 0, 'no shard has three replicas any more');
health(0, qr/^all is well$/, 'four replicas on four workers');
my $store = $node->safe_psql('postgres', q{SELECT store FROM vectron.workers WHERE endpoint LIKE '%worker4'});
$cluster->kill9('worker4');
ctl('set-replicas', $generation, 3);
$cluster->whole($node, 2, 'the one that is lost is the one too many');

# -- A worker is forgotten ----------------------------------------------------------

($status, $out, $err) = ctl('forget-store', $node->safe_psql('postgres', q{SELECT min(store) FROM vectron.workers WHERE state = 'up'}));
like($err, qr/is up: drain it and stop its worker first/, 'not one that is up');
health(1, qr/store $store at .*silent for .*\n.*vectronctl forget-store $store/, 'a worker that is down is a finding');
ok($node->poll_query_until('postgres', q{SELECT severity, finding FROM vectron.health}, 'warning|store_down'), 'the view shows it');
is($node->safe_psql('postgres', "SELECT state, shards, leaders, records FROM vectron.workers WHERE store = $store"), 'down|0|0|0',
	'what it had is made anew, and what it said last no longer counts');
($status, $out, $err) = $node->psql('postgres', "SET ROLE pg_monitor; SELECT vectron.forget_worker($store)");
like($err, qr/permission denied/, 'not everybody may forget it');
$node->safe_psql('postgres', "SELECT vectron.forget_worker($store)");
health(0, qr/^all is well$/, 'it is forgotten');
is($node->safe_psql('postgres', "SELECT count(*) FROM vectron.workers WHERE store = $store"), '0', 'and not shown any more');
unlike(ctl('workers'), qr/tombstone|^ *$store /m, 'nor by vectronctl,');
like(ctl('workers', '--all'), qr/^ *$store +tombstone .*worker4$/m, 'but among all of them, as a tombstone');
ok(!exists answered(\&ctl, 'a program asks for workers', 'workers')->{tombstones}, 'and is told of no tombstones,');
is(answered(\&ctl, 'and for all of them', 'workers', '--all')->{tombstones}[0]{store}, $store, 'and is told of it');
is($node->safe_psql('postgres', q{SELECT store, state, endpoint LIKE '%worker4', since BETWEEN now() - interval '1 day' AND now() + interval '1 minute' FROM vectron.tombstones}),
	"$store|tombstone|t|t", 'and in a view');
is_deeply(answered(\&ctl, 'asked twice', 'forget-store', $store), { status => 0 }, 'as a program asks');
is($cluster->start_given_up(4), 78, 'it cannot come back: it stops when it is told');
like($cluster->log_text('worker4', 1), qr/store $store was forgotten .*start this worker with an empty one/, 'and says why');
is($node->safe_psql('postgres', 'SELECT count(*) FROM vectron.workers'), '3', 'nobody sees it');
is($node->safe_psql('postgres', 'SELECT string_agg(store::text, \',\') FROM vectron.tombstones'), $store, 'and it stays what it is');
$cluster->clean($node, 't', 't_v', 'nothing is lost');

# -- Everything ---------------------------------------------------------------------

my $dump;
$cluster->wait_until('each shard is led', sub {
	$dump = decode_json(scalar ctl('dump'));
	return 2 == grep { $_->{report}{leader} } map { @{ $_->{replicas} } } map { @{ $_->{shards} } } @{ $dump->{collections} };
});
is(scalar @{ $dump->{stores} }, 3, 'a dump has the stores');
is($dump->{gone}[0]{store}, $store, 'the one that was forgotten');
my ($collection) = grep { $_->{generation} eq $generation } @{ $dump->{collections} };
is($collection->{label}, 'public.t_v', 'the collections');
is(scalar(map { @{ $_->{replicas} } } @{ $collection->{shards} }), 6, 'their replicas');
is(scalar(grep { $_->{report}{leader} } map { @{ $_->{replicas} } } @{ $collection->{shards} }), 2, 'and what is reported of them');
unlike(ctl('dump'), qr/session|holder|PRIVATE KEY/, 'and no secrets');
is(join(' ', sort keys %{ answered(\&ctl, 'the same is answered', 'dump') }), join(' ', sort keys %$dump), 'where JSON is asked for');
until_same('a dump has what the lists have', sub {
	my %list = map { my $what = $_; $what => decode_json(scalar ctl('--json', $what))->{$what} } qw(workers shards collections pds);
	my $whole = decode_json(scalar ctl('dump'));
	my @dumped = map { my $c = $_; map { my $s = $_; map { [ $c, $s, $_ ] } @{ $s->{replicas} } } @{ $c->{shards} } } @{ $whole->{collections} };
	my @pairs = (
		[ stores => join ' ', sort map { "$_->{store}-$_->{state}-$_->{endpoint}" } @{ $whole->{stores} } ],
		[ stores => join ' ', sort map { "$_->{store}-$_->{state}-$_->{endpoint}" } @{ $list{workers} } ],
		[ drivers => join ' ', sort map { "$_->{id}-$_->{role}" } @{ $whole->{pds} } ],
		[ drivers => join ' ', sort map { "$_->{id}-$_->{role}" } @{ $list{pds} } ],
		[ collections => join ' ', sort map { join '-', @$_{qw(generation label state dim element m ef_construction replicas_wanted xid)} } @{ $whole->{collections} } ],
		[ collections => join ' ', sort map { join '-', @$_{qw(generation label state dim element m ef_construction replicas_wanted xid)} } @{ $list{collections} } ],
		[ replicas => join ' ', sort map { my ($c, $s, $r) = @$_; join '-', $c->{generation}, @$s{qw(shard first last)}, @$r{qw(store replica)}, @{ $r->{report} }{qw(term applied records bytes)} } @dumped ],
		[ replicas => join ' ', sort map { join '-', @$_{qw(generation shard first last store replica term applied records bytes)} } @{ $list{shards} } ]);
	return map { $pairs[ 2 * $_ ][1] eq $pairs[ 2 * $_ + 1 ][1] ? () : "$pairs[2 * $_][0]: $pairs[2 * $_][1] -- $pairs[2 * $_ + 1][1]" } 0 .. $#pairs / 2;
});

# -- A shard becomes two --------------------------------------------------------------

taken('a split is asked for, by a program', sub { return ctl('--json', 'split', $shard); });
my $child = decode_json($out)->{child};
$cluster->whole($node, 3, 'there are three shards');
is($node->safe_psql('postgres', "SELECT count(*) FROM vectron.shards WHERE shard = $child"), 3, 'one of which is the one that was told');
is(scalar(grep { $_->{shard} eq $child && $_->{label} eq 'public.t_v' } @{ decode_json(scalar ctl('--json', 'shards'))->{shards} }), 3, 'as JSON, too');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM vectron.operators'), 'and that is over');
$cluster->clean($node, 't', 't_v', 'nothing is lost');

# -- Trouble ------------------------------------------------------------------------

$cluster->kill9("worker$_") for 1, 2;
$out = health(2, qr/no majority/, 'two of three workers are lost');
like($out, qr/^CRITICAL .*\n.*\n(CRITICAL|warning)/, 'the worst comes first');

# But for how long something is so.
sub findings { return join "\n", sort map { s/\b[\d.]+ (?:ms|s|min|h)\b/a while/gr } @_; }
my @members = qw(severity finding subject what advice);
until_same('findings are the same for people, for programs, and in SQL', sub {
	my $shown = ctl('check');
	my $told = decode_json(scalar ctl('--json', 'check'));
	my $seen = decode_json($node->safe_psql('postgres', q{SELECT coalesce(json_agg(h), '[]') FROM vectron.health h}));
	my @lines = map { s/^ +//r } split /\n/, $shown;
	my $people = findings(map { "$lines[2 * $_]\n$lines[2 * $_ + 1]" } 0 .. $#lines / 2);
	my $programs = findings(map { sprintf "%-9s %s: %s\n%s", $_->{severity} eq 'critical' ? 'CRITICAL' : 'warning', @$_{qw(subject what advice)} } @{ $told->{findings} });
	my $sql = findings(map { join '|', @$_{@members} } @$seen);
	my $json = findings(map { join '|', @$_{@members} } @{ $told->{findings} });
	return ($told->{status} == 2 ? () : "status $told->{status}", $people eq $programs ? () : "$people\n-- shown, answered --\n$programs",
		$sql eq $json ? () : "$sql\n-- viewed, answered --\n$json");
});
$cluster->start_worker($_) for 1, 2;
$cluster->whole($node, 3, 'they are back');
health(0, qr/^all is well$/, 'and all is well');
$cluster->kill9('pd');
$out = health(2, qr/none of them can be reached/, 'no placement driver');
like($out, qr/^warning +placement driver at \Q$pd\E: /m, 'each is named');
is($node->safe_psql('postgres', q{SELECT severity, finding FROM vectron.health}), 'critical|unreachable', 'in SQL, too');
is(decode_json(scalar ctl('--json', 'check'))->{status}, 2, 'and as JSON');

$node->stop;
done_testing();
