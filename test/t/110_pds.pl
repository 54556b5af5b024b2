# Three placement drivers and three workers: drivers are killed, stopped, emptied
# and kept away under load.  Data goes on all the time, and DDL as long as more
# than half of the drivers are up.

use strict;
use warnings;
use File::Path qw(rmtree);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new(pds => 3);
my @small = ('--checkpoint', 16);
$cluster->start_pd_of($_, @small) for 1 .. 3;
$cluster->start_worker($_) for 1 .. 3;

sub ctl
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--timeout', 10000, '--pd', $cluster->pd_endpoint, @_ ], '>', \$out, '2>', \$err);
	return wantarray ? ($? >> 8, $out, $err) : $out;
}

# The drivers as the leader sees them.
sub drivers
{
	my ($status, $out) = ctl('--json', 'pds');
	return $status == 0 ? @{ decode_json($out)->{pds} } : ();
}

sub await_drivers
{
	my ($name, %wanted) = @_;
	my %have;
	$cluster->wait_until($name, sub {
		%have = ();
		$have{"$_->{role} $_->{state}"}++ for drivers();
		return join(',', map { "$_=$have{$_}" } sort keys %have) eq join(',', map { "$_=$wanted{$_}" } sort keys %wanted);
	});
	pass($name);
	return;
}

# The number of the one that leads.
sub leader
{
	my $n;
	$cluster->wait_until('a driver leads', sub {
		($n) = map { $_->{endpoint} =~ /pd(\d)$/ } grep { $_->{role} eq 'leader' } drivers();
		return $n;
	});
	return $n;
}

my %all_up = ('leader up' => 1, 'follower up' => 2);
await_drivers('three drivers found their cluster', %all_up);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int PRIMARY KEY, v vector(6));
	INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(1, 1000) n;
	CREATE TABLE d (id int, v vector(3));
	INSERT INTO d SELECT n, ARRAY[n % 13, n % 7, n] FROM generate_series(1, 50) n;
});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers are up');
ok($node->poll_query_until('postgres', q{SELECT string_agg(role || ' ' || state, ', ' ORDER BY role) FROM vectron.pds}, 'follower up, follower up, leader up'), 'the view shows them');
$node->safe_psql('postgres', 'CREATE TABLE e AS SELECT * FROM d; CREATE INDEX e_v ON e USING vectron (v vector_l2_ops)');
$node->safe_psql('postgres', 'CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2, replicas = 3)');

sub clean
{
	my ($name) = @_;
	is($node->safe_psql('postgres', q{SELECT entries >= (SELECT count(*) FROM t), missing, extra, wrong FROM vectron.check_index('t_v')}), 't|0|0|0', $name);
	return;
}

# Statements of a session of their own, one after the other; each says that it was done.
sub steadily
{
	my ($n, $statement) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/steadily.sql';
	open(my $sql, '>', $file) or die $!;
	print $sql "SET enable_seqscan = off;\nSET vectron.verify_scan = on;\n";
	print $sql $statement->($_) . "\n\\echo done\n" for 1 .. $n;
	close $sql;
	my %h = (n => $n, out => '', err => '');
	$h{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', $file ],
		'>', \$h{out}, '2>', \$h{err});
	return \%h;
}

sub did_at_least
{
	my ($h, $n) = @_;
	$cluster->wait_until("$n statements are done", sub {
		$h->{run}->pump_nb;
		my $did = () = $h->{out} =~ /^done$/mg;
		die "it ended: $h->{err}" if !$h->{run}->pumpable && $did < $n;
		return $did >= $n;
	});
	return;
}

my $next = 10_000;
sub load
{
	my $first = $next;
	$next += 10_000;
	return (
		steadily(400, sub { my $i = $first + $_[0]; "INSERT INTO t VALUES ($i, ARRAY[$i % 13, $i % 7, $i % 11, $i % 3, $i % 17, $i % 5]);" }),
		steadily(400, sub { "SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[6,3,5,1,8,2]' LIMIT 20) s;" }),
		steadily(12, sub { "CREATE INDEX d_v ON d USING vectron (v vector_l2_ops); DROP INDEX d_v;" }));
}

sub finish
{
	my ($name, @handles) = @_;
	$_->{run}->finish for @handles;
	is(join('', map { $_->{err} } @handles), '', "$name: no write, search or CREATE INDEX failed");
	clean("$name: no acknowledged row is lost");
	return;
}

# -- One of them ------------------------------------------------------------------

my @load = load();
did_at_least($load[2], 3);
my $victim = leader();
$cluster->kill9("pd$victim");
did_at_least($load[2], 8);
isnt(leader(), $victim, 'another driver leads');
$cluster->start_pd_of($victim, @small);
finish('the leader is killed and comes back', @load);
await_drivers('it follows', %all_up);

@load = load();
did_at_least($load[2], 2);
$victim = leader() % 3 + 1;
$cluster->kill9("pd$victim");
finish('a follower is killed', @load);
$cluster->start_pd_of($victim, @small);
await_drivers('it comes back', %all_up);

@load = load();
did_at_least($load[2], 2);
$victim = leader();
kill 'STOP', $cluster->pid("pd$victim");
did_at_least($load[2], 8);
kill 'CONT', $cluster->pid("pd$victim");
finish('the leader is frozen for a while', @load);
await_drivers('it follows who leads by then', %all_up);

# -- More than half of them -------------------------------------------------------

my $session = $node->background_psql('postgres', timeout => 3600);
my $nearest = q{SELECT id FROM t ORDER BY v <-> '[9,9,9,9,9,9]' LIMIT 1};
$session->query_safe(q{SET enable_seqscan = off; INSERT INTO t VALUES (-1, '[1000,9,9,9,9,9]')});
$session->query_safe($nearest);

# Another session has used the cluster, but not this index.
my $newcomer = $node->background_psql('postgres', timeout => 3600);
$newcomer->query_safe(q{SET enable_seqscan = off; SELECT id FROM e ORDER BY v <-> '[1,2,3]' LIMIT 1});
my $last = leader() % 3 + 1;
$cluster->kill9("pd$_") for grep { $_ != $last } 1 .. 3;
$session->query_safe(q{INSERT INTO t VALUES (-2, '[9,9,9,9,9,9]')});
is($session->query_safe($nearest), '-2', 'one of three drivers: a session writes and searches');
$session->quit;
$newcomer->query_safe(q{INSERT INTO t VALUES (-3, '[9,9,9,9,9,8]')});
is($newcomer->query_safe($nearest), '-2', 'so does one that must be told the way');
$newcomer->quit;
my ($status, $out, $err);
ok($cluster->refused($node, q{SET vectron.write_timeout = '2s'; CREATE INDEX d_v ON d USING vectron (v vector_l2_ops)},
	qr/no placement driver leads now: more than half of the 3 must be up/), 'an index cannot be created, and the error says why');
like(scalar(ctl('status')), qr/^role +follower\nleader *\n/m, 'the last one says that nobody leads');
like(scalar(ctl('status')), qr/^ *\d+ +follower +up .*pd$last$/m, 'and shows where it and the others should be');

# -- All of them ------------------------------------------------------------------

$cluster->kill9("pd$last");
$cluster->start_pd_of($_, @small) for 1 .. 3;
await_drivers('all are started again', %all_up);
$node->safe_psql('postgres', 'CREATE INDEX d_v ON d USING vectron (v vector_l2_ops); DROP INDEX d_v');
clean('and nothing is lost');

# -- Away for long ----------------------------------------------------------------

my $store = $node->safe_psql('postgres', 'SELECT min(store) FROM vectron.workers');
my $away = leader() % 3 + 1;
$cluster->kill9("pd$away");
for (1 .. 300)
{
	($status, $out, $err) = ctl($_ % 2 ? 'drain' : 'undrain', $store);
	last if $status;
}
is($err, '', 'many things are decided meanwhile');
$cluster->start_pd_of($away, @small);
$cluster->wait_until('it has a snapshot', sub { return $cluster->log_text("pd$away", 1) =~ /group=1: snapshot at \d+ installed/ });
await_drivers('one that was away for long gets a snapshot', %all_up);
$victim = leader();
$cluster->kill9("pd$victim");
$node->safe_psql('postgres', 'CREATE INDEX d_v ON d USING vectron (v vector_l2_ops); DROP INDEX d_v');
pass('and counts');
$cluster->start_pd_of($victim, @small);
await_drivers('all are there', %all_up);

# -- Emptied ----------------------------------------------------------------------

my $emptied = leader() % 3 + 1;
my ($old) = map { $_->{id} } grep { $_->{endpoint} =~ /pd$emptied$/ } drivers();
$cluster->kill9("pd$emptied");
rmtree($cluster->data("pd$emptied"));
$cluster->start_pd_of($emptied, @small);
$cluster->wait_until('it says so', sub { return $cluster->log_text("pd$emptied", 1) =~ /is no member of the cluster that is there: it has no vote/ });
await_drivers('an emptied directory is another driver', 'leader up' => 1, 'follower up' => 1, 'follower silent' => 1, 'waiting up' => 1);
my $there = $cluster->endpoint("pd$emptied");
# Who has just begun to lead takes the others for heard.
$cluster->wait_until('check tells of both', sub { ($status, $out, $err) = ctl('check'); return $out =~ /it waits/ && $out =~ /another directory/; });
like($out, qr/^warning +placement driver \d+ at \Q$there\E: it waits .*\n +vectronctl remove-pd $old, which was there, then vectronctl add-pd \Q$there\E$/m, 'check says what to do');
like($out, qr/^warning +placement driver $old at .*another directory answers there, /m, 'and what has happened');
unlike($out, qr/does not know its cluster/, 'and not that somebody should start it');
$cluster->wait_until('the old one is in its place', sub { ($status, $out, $err) = ctl('add-pd', $cluster->endpoint("pd$emptied")); return $status != 0; });
like($err, qr/driver $old was at .* and is silent: remove it first/, 'the old one is to be removed first');
# Not while its leader has not heard of the third for a moment
$cluster->wait_until('enough are heard', sub { ($status, $out, $err) = ctl('remove-pd', $old); return $err !~ /more than half must be/; });
is("$status$err", '0', 'it is removed');
$cluster->wait_until('it is gone', sub { return !grep { $_->{id} eq $old } drivers(); });
$cluster->wait_until('the new one is added', sub { ($status, $out, $err) = ctl('add-pd', $cluster->endpoint("pd$emptied")); return $status == 0; });
await_drivers('and becomes a follower', %all_up);
$victim = leader();
$cluster->kill9("pd$victim");
$node->safe_psql('postgres', 'CREATE INDEX d_v ON d USING vectron (v vector_l2_ops); DROP INDEX d_v');
pass('that counts');
$cluster->start_pd_of($victim, @small);
await_drivers('all are there again', %all_up);

clean('nothing is lost');
unlike($cluster->log_text("pd$_"), qr/differs from its leader's/, "driver $_ always agreed with the leader") for 1 .. 3;
$node->stop;
done_testing();
