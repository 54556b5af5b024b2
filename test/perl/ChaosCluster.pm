
=pod

=head1 NAME

ChaosCluster - a cluster whose network, disks, clocks and power can fail

=head1 SYNOPSIS

  my $cluster = ChaosCluster->new($bin, $seed, 3, 3);     # drivers, workers
  $cluster->spawn_again($_) for $cluster->daemons;
  $cluster->wait_ready($_) for $cluster->daemons;
  $cluster->network('rule worker1 worker2 cut');
  $cluster->network('heal reset');
  $cluster->fault('worker1', sync_us => 300_000);
  $cluster->lose_power('worker1', 'worker2');

=head1 DESCRIPTION

A VectronCluster (same directory) in which each daemon is a machine of its own: what it
says and hears passes test/chaos/proxy.c, and it runs with the library of test/crash
preloaded.

=cut

package ChaosCluster;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Path qw(rmtree);
use IPC::Open2;
use IPC::Run;
use PostgreSQL::Test::Utils;
use PowerLoss;
use Test::More;

use parent -norequire, 'VectronCluster';
use VectronCluster;

# The struct of test/crash/layer.h
my @faults = qw(sync_us full low wall_us hang);

sub new
{
	my ($class, $bin, $seed, $pds, $workers) = @_;
	my $self = VectronCluster::new($class, $pds > 1 ? (pds => $pds) : ());
	@$self{qw(bin workers real)} = ($bin, $workers, PostgreSQL::Test::Utils::tempdir_short());
	$self->{proxy} = open2($self->{answers}, $self->{commands}, "$bin/chaos_proxy", $seed);
	$self->{commands}->autoflush(1);
	$self->add_machine($_) foreach $self->daemons;
	return $self;
}

sub add_machine
{
	my ($self, $name) = @_;
	my $machine = abs_path(PostgreSQL::Test::Utils::tempdir("machine-$name"));
	$self->{machine}{$name} = $machine;
	$self->{power}{$name} = PowerLoss->new("$machine/notes", "$machine/boot_id");
	$self->fault($name);
	$self->network(join ' ', 'target', $name, substr($self->endpoint($name), 5), "$self->{real}/$name");
	return;
}

# One more worker, which begins with an empty disk; and it goes again.
sub add_worker
{
	my ($self) = @_;
	my $name = 'worker' . ++$self->{workers};
	$self->{machine}{$name} ? $self->wipe($name) : $self->add_machine($name);
	$self->start_again($name);
	return $name;
}

sub remove_worker
{
	my ($self) = @_;
	my $status = $self->stop("worker$self->{workers}");
	$self->{workers}--;
	return $status;
}

# vectronctl: its status, and what it said.
sub ctl
{
	my ($self, @words) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--timeout', 20_000, '--pd', $self->pd_endpoint, @words ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# The replicas of each shard of some indexes hold the same rows: all are compared, and none ever differed.
sub agree
{
	my ($self, $node, $name, @indexes) = @_;
	my $since = $node->safe_psql('postgres', 'SELECT now()');
	my $of_them = 'index IN (' . join(', ', map { "'$_'" } @indexes) . ')';
	my %asked = map { $_ => 0 } @indexes;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $compared = eval {
		$self->wait_until('all agree', sub {
			# Another driver that leads does not know what the one before was asked.
			foreach (@indexes) { $asked{$_} = time() if time() > $asked{$_} + 30 && ($self->ctl('verify', $_))[0] == 0; }
			my ($status, $agree) = $node->psql('postgres', qq{
				SELECT count(DISTINCT index) = $#indexes + 1 AND bool_and(verdict = 'agrees' AND verified > '$since') FROM vectron.shards WHERE $of_them});
			return $status == 0 && $agree eq 't';
		});
		1;
	};
	my @differed = map { $self->log_text($_) =~ /^(.*holds something else than the majority.*)$/mg } $self->drivers;
	return ok($compared && !@differed, $name) || diag join "\n", @differed, $node->safe_psql('postgres', 'TABLE vectron.shards');
}

sub drivers { my ($self) = @_; my @names = $self->{pds} ? map { "pd$_" } 1 .. $self->{pds} : 'pd'; return @names; }
sub daemons { my ($self) = @_; return ($self->drivers, map { "worker$_" } 1 .. $self->{workers}); }

# What daemons said outlives the test: it tells why one failed.
sub log_file { my ($self, $name) = @_; return "$PostgreSQL::Test::Utils::log_path/chaos_$name.log"; }

# How many children of splits workers have made, and of how many the rows were copied before the split.
sub splits_made
{
	my ($self) = @_;
	my ($made, $prepared) = (0, 0);
	foreach my $name (grep { /^worker/ } $self->daemons)
	{
		my %ready;
		foreach (split /\n/, $self->log_text($name))
		{
			$ready{$1} = $2 if /shard=(\d+) can be split: rows of shard=(\d+) were copied/;
			delete $ready{$1} if /shard=(\d+): its split is not prepared/;
			# Of what is not founded a start leaves nothing.
			%ready = () if /\bready\b/;
			%ready = map { $_ => $ready{$_} } grep { $ready{$_} != $1 } keys %ready if /shard=(\d+): all rows are copied once more/;
			next unless /shard=(\d+) was split off shard=(\d+)/;
			$made++;
			$prepared++ if ($ready{$2} // 0) == $1;
		}
	}
	return ($made, $prepared);
}

# -- Processes ----------------------------------------------------------------

sub command
{
	my ($self, $name, @options) = @_;
	my @common = ('--data', $self->data($name), '--listen', "unix:$self->{real}/$name", '--advertise', $self->endpoint($name), @options);
	return ('vectron-worker', @common, '--pd', $self->pd_endpoint) if $name =~ /^worker/;
	return ('vectron-pd', @common, $self->{pds} ? ('--peers', $self->pd_endpoint) : ());
}

sub start_again { my ($self, $name) = @_; return $self->start($name, $self->command($name)); }
sub spawn_again { my ($self, $name) = @_; return $self->spawn($name, $self->command($name)); }

sub spawn
{
	my ($self, $name, @command) = @_;
	my $machine = $self->{machine}{$name};
	mkdir $self->data($name);
	local $ENV{LD_PRELOAD} = "$self->{bin}/powerloss.so";
	local $ENV{VECTRON_POWERLOSS} = "$machine/notes";
	local $ENV{VECTRON_BOOT_ID_FILE} = "$machine/boot_id";
	local $ENV{VECTRON_FAULTS} = "$machine/faults";
	local $ENV{VECTRON_FAULTS_DISK} = abs_path($self->data($name)) . '/';
	return $self->SUPER::spawn($name, @command);
}

sub runs
{
	my ($self, $name) = @_;
	return defined $self->pid($name) && !defined $self->ended($name);
}

sub freeze { my ($self, $name) = @_; kill 'STOP', $self->pid($name); return; }
sub thaw { my ($self, $name) = @_; kill 'CONT', $self->pid($name); return; }

# A disk with nothing on it, in its place.
sub wipe
{
	my ($self, $name) = @_;
	rmtree($self->data($name));
	$self->{power}{$name}->forget;
	return;
}

# Several machines at the same moment: what was not synced is gone, in part or torn.
# Returns what that was, in words.
sub lose_power
{
	my ($self, @names) = @_;
	my ($bytes, $changes) = (0, 0);
	kill 'KILL', $self->pid($_) foreach @names;
	foreach my $name (@names)
	{
		$self->wait_end($name);
		my @lost = $self->{power}{$name}->cut(abs_path($self->data($name)));
		$bytes += $lost[0];
		$changes += $lost[1];
		$self->{power}{$name}->boot;
	}
	return "$bytes bytes and $changes changes of names";
}

# -- Faults of a machine ------------------------------------------------------

# What is wrong with a machine from now on; what is not named is well.
sub fault
{
	my ($self, $name, %values) = @_;
	my $bytes = pack 'q<*', map { int($values{$_} // 0) } @faults;
	my $path = "$self->{machine}{$name}/faults";

	# In place: processes have it mapped.
	open(my $fh, -e $path ? '+<' : '>', $path) or die "$path: $!";
	syswrite($fh, $bytes) == length $bytes or die "$path: $!";
	close $fh;
	return;
}

# -- The network --------------------------------------------------------------

# A command of the proxy's; returns frames carried, held, dropped, doubled, overtaken.
sub network
{
	my ($self, $command) = @_;
	print { $self->{commands} } "$command\n";
	my $answer = readline($self->{answers}) // die 'the proxy has ended';
	die "proxy: $answer" unless $answer =~ /^ok (.*)$/;
	return split / /, $1;
}

# Both ways.
sub cut
{
	my ($self, $one, $other) = @_;
	$self->network("rule $one $other cut");
	$self->network("rule $other $one cut");
	return;
}

sub stop_network
{
	my ($self) = @_;
	close $self->{commands};
	waitpid($self->{proxy}, 0);
	return $?;
}

1;
