
=pod

=head1 NAME

ChaosDiskFaults - what happens to disks

=head1 DESCRIPTION

Faults of ChaosFaults (same directory), by the library of test/crash.

=cut

package ChaosDiskFaults;

use strict;
use warnings;

use ChaosDice;
use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(time usleep);

our %faults = (
	'slow-disk' => sub { my ($self) = @_; return slow_down($self, $self->some_worker); },
	'full-disk' => sub { my ($self) = @_; return fill_up($self, $self->some_worker); },
	'low-disk' => \&low_disk,
	'hanging-disk' => sub { my ($self) = @_; return hang($self, $self->some_worker, \&leads_a_shard); },
	'hanging-power' => \&hanging_power);

# A daemon that waits for its disk longer than this may take it for dead, and end.
my $hang_seconds = 20;

# -- Parts of faults ----------------------------------------------------------

sub slow_down
{
	my ($self, $name) = @_;
	my $ms = int between(30, 600);
	$self->told("$name syncs in $ms ms");
	$self->{cluster}->fault($name, sync_us => 1000 * $ms);
	$self->wait_a_while;
	$self->{cluster}->fault($name);
	return;
}

# No room at all: a daemon stops rather than go on after a failed write (law S4), and
# starts again when there is room.
sub fill_up
{
	my ($self, $name) = @_;
	my $cluster = $self->{cluster};
	$self->told("no room on $name");
	$cluster->fault($name, full => 1);
	my $ended;
	$cluster->wait_until("$name stops", sub { $self->{look}->(); return defined($ended = $cluster->ended($name)); });
	is($ended, 70 << 8, "$name stops when its disk is full");
	for my $i (1 .. 3)
	{
		$self->last_for($self->{seconds} * between(0.1, 0.3));
		$cluster->spawn_again($name) if !$cluster->runs($name);
	}
	$cluster->fault($name);
	# What began while there was none may not have noticed, or be about to end.
	$cluster->kill9($name) if $cluster->runs($name);
	$cluster->start_again($name);
	return;
}

# Syncs do not come back for some seconds.  Nothing that waits for this disk is acknowledged by
# it; the others go on, and whoever led leads no more (leads($self, $name): does it?).
sub hang
{
	my ($self, $name, $leads) = @_;
	my $begin = time();
	my $seconds = $self->{seconds} * between(0.3, 1);
	$self->told("$name waits for its disk");
	$self->{cluster}->fault($name, hang => 1);
	while (time() < $begin + $hang_seconds && $leads->($self, $name))
	{
		$self->{look}->();
		usleep(200_000);
	}
	my $rest = ($seconds < $hang_seconds ? $seconds : $hang_seconds) - (time() - $begin);
	$self->last_for($rest < 3 ? 3 : $rest) if time() < $begin + $hang_seconds;
	ok(!$leads->($self, $name), "$name, whose disk hangs, leads nothing");
	$self->{cluster}->fault($name);
	return;
}

# None: nobody answers now.
sub leads_a_shard
{
	my ($self, $name) = @_;
	my ($status, $leads) = $self->{node}->psql('postgres',
		"SELECT count(*) > 0 FROM vectron.shards WHERE index ~ '^public[.][rt]_[vb]\$' AND role = 'leader' AND endpoint LIKE '%/$name'");
	return $status != 0 || $leads eq 't';
}

# -- The faults ---------------------------------------------------------------

# Almost no room: new data is refused, the rest goes on.
sub low_disk
{
	my ($self) = @_;
	my $cluster = $self->{cluster};
	my $name = $self->some_worker;
	$self->told("$name is short of room");
	$cluster->fault($name, low => 1);
	$cluster->wait_until("$name notices", sub { $self->{look}->(); return $cluster->log_text($name, 1) =~ /disk almost full.*\z/s; });
	$self->wait_a_while;
	$cluster->fault($name);
	return;
}

# A disk hangs until the power goes, and with it all that it never wrote; before that the only
# other that follows is cut off for a moment, in which nothing can be acknowledged.  When the
# machine is back, whoever led meanwhile is away: what was acknowledged is where it was cut off.
sub hanging_power
{
	my ($self) = @_;
	my $cluster = $self->{cluster};
	my $name = $self->some_worker;
	my ($other, $cut) = shuffle(grep { $_ ne $name } $self->workers);
	$self->told("$name waits for its disk");
	$cluster->fault($name, hang => 1);
	$self->last_for(between(0.2, 8));
	$self->told('cut off:', $cut);
	$self->cut_off($cut, grep { /^worker/ } $self->others($cut));
	$self->last_for(between(0.2, 2));
	my $lost = $cluster->lose_power($name);
	$cluster->kill9($other);
	$self->told($name, "loses power, $lost; kill -9 $other");
	$cluster->network('heal reset');
	$cluster->fault($name);
	$cluster->start_again($name);
	$self->last_for(between(1, $self->{seconds} < 10 ? $self->{seconds} : 10));
	$cluster->start_again($other);
	return;
}

1;
