# Placement drivers lose power: one, or all of them.  What was decided stays decided,
# and the digests that each new leader puts into the log find them all alike.

use strict;
use warnings;
use Cwd qw(abs_path);
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use PowerLoss;
use VectronCluster;

my $library = $ENV{VECTRON_POWERLOSS_LIBRARY};
plan skip_all => 'no powerloss.so' unless $library && -f $library;
my $seed = $ENV{VECTRON_SEED} // int(Time::HiRes::time() * 1000) % 1000000;
my $rounds = $ENV{VECTRON_ROUNDS} // 4;
note "VECTRON_SEED=$seed VECTRON_ROUNDS=$rounds";
srand($seed);

my $dir = abs_path(PostgreSQL::Test::Utils::tempdir('powerloss'));
my $cluster = VectronCluster->new(pds => 3);

# Each is a machine of its own.
my (@workers, %draining);   # what was decided, by store
my @power = map { PowerLoss->new("$dir/notes$_", "$dir/boot_id$_") } 1 .. 3;

sub start_pd
{
	my ($n) = @_;
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{VECTRON_POWERLOSS} = "$dir/notes$n";
	local $ENV{VECTRON_BOOT_ID_FILE} = "$dir/boot_id$n";
	$cluster->start_pd_of($n, '--checkpoint', 16);
	return;
}

sub ctl
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--json', '--timeout', 30000, '--pd', $cluster->pd_endpoint, @_ ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

sub drivers
{
	my ($status, $out) = ctl('pds');
	return $status == 0 ? @{ decode_json($out)->{pds} } : ();
}

sub await_all
{
	$cluster->wait_until('all drivers are up', sub { return 3 == grep { $_->{role} =~ /leader|follower/ && $_->{state} eq 'up' } drivers(); });
	return;
}

# There is something new, so the leader puts a digest into the log within ten seconds.
sub await_agreement
{
	my ($name) = @_;
	my %agreed;
	ctl($_, $workers[0]) for $draining{$workers[0]} ? ('undrain', 'drain') : ('drain', 'undrain');
	$cluster->wait_until("$name: all have applied a digest", sub {
		for my $n (1 .. 3)
		{
			my ($out, $err) = ('', '');
			die "pd$n ended:\n" . $cluster->log_text("pd$n", 1) if defined $cluster->ended("pd$n");
			IPC::Run::run([ 'vectronctl', '--json', '--pd', $cluster->endpoint("pd$n"), 'status' ], '>', \$out, '2>', \$err);
			return 0 if $? != 0;
			$agreed{$n} = decode_json($out)->{agreed_at};
		}
		return $agreed{1} ne '0' && $agreed{1} eq $agreed{2} && $agreed{2} eq $agreed{3};
	});
	pass("$name: all drivers have the same catalog");
	return;
}

start_pd($_) for 1 .. 3;
$cluster->start_worker($_) for 1 .. 2;
await_all();
$cluster->wait_until('two workers have registered', sub {
	my ($status, $out) = ctl('workers');
	@workers = $status == 0 ? map { $_->{store} } @{ decode_json($out)->{workers} } : ();
	return @workers == 2;
});

my $total = 0;
%draining = map { $_ => 0 } @workers;
for my $round (1 .. $rounds)
{
	# Decisions, each acknowledged before the next; the power fails among them.
	my @dead = $round % 2 ? (1 + int(rand(3))) : (1 .. 3);
	for my $i (1 .. 60 + int(rand(60)))
	{
		my $store = $workers[$i % 2];
		my ($status, undef, $err) = ctl($draining{$store} ? 'undrain' : 'drain', $store);
		$status == 0 or die $err;
		$draining{$store} = !$draining{$store};
	}
	$cluster->kill9("pd$_") for @dead;
	for my $n (@dead)
	{
		my ($lost, $names) = $power[$n - 1]->cut(abs_path($cluster->data("pd$n")));
		$power[$n - 1]->boot;
		$total += $lost;
		note "round $round: driver $n lost $lost bytes, $names changes of names";
	}
	my $up = eval { start_pd($_) for @dead; 1 };
	diag $@ unless $up;
	ok($up, "round $round: drivers start again, with no synced write lost") or last;
	await_all();
	# A new leader must have heard of the workers to know more than that they are there.
	my %state;
	$cluster->wait_until('the workers have spoken', sub {
		my ($status, $out) = ctl('workers');
		%state = $status == 0 ? map { $_->{store} => $_->{state} } @{ decode_json($out)->{workers} } : ();
		return 2 == grep { /^(up|draining)$/ } values %state;
	});
	is(join(' ', map { $state{$_} eq 'draining' ? 1 : 0 } @workers), join(' ', map { $draining{$_} ? 1 : 0 } @workers),
		"round $round: what was decided stays decided");
	await_agreement("round $round");
}
cmp_ok($total, '>', 0, "unsynced bytes were lost in all: $total");
done_testing();
