
=pod

=head1 NAME

ChaosDriverFaults - what happens to placement drivers

=head1 DESCRIPTION

Faults of ChaosFaults (same directory).  Meanwhile an index is made and dropped again and
again: where more than half of the drivers are left, that goes on; with one driver, or with
more than half of them away, it waits and is done in the end.

=cut

package ChaosDriverFaults;

use strict;
use warnings;

use ChaosDice;
use ChaosDiskFaults;
use IPC::Run;
use JSON::PP;
use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(time);

our %faults = map { my $fault = $_->[1]; $_->[0] => sub { my ($self) = @_; return deciding($self, sub { $fault->($self) }) } } (
	[ 'kill-pd', sub { my ($self) = @_; return $self->kill_one(one_of($self->{cluster}->drivers), maybe()); } ],
	[ 'kill-pd-leader', sub { my ($self) = @_; return $self->kill_one(leading($self), maybe()); } ],
	[ 'kill-pd-majority', \&kill_majority ],
	[ 'stop-pd-leader', sub { my ($self) = @_; return $self->freeze_one(leading($self)); } ],
	[ 'cut-pd-leader', sub { my ($self) = @_; return $self->cut_one(leading($self)); } ],
	[ 'one-way-pd', \&one_way ],
	[ 'slow-disk-pd', sub { my ($self) = @_; return ChaosDiskFaults::slow_down($self, any($self)); } ],
	[ 'full-disk-pd', sub { my ($self) = @_; return ChaosDiskFaults::fill_up($self, any($self)); } ],
	[ 'hanging-disk-pd', sub { my ($self) = @_; return ChaosDiskFaults::hang($self, any($self), \&leads); } ],
	[ 'empty-pd', \&empty ]);

# -- Parts of faults ----------------------------------------------------------

# The drivers as their leader sees them.
sub seen
{
	my ($self) = @_;
	my ($status, $out) = $self->{cluster}->ctl('--json', 'pds');
	return $status == 0 ? @{ decode_json($out)->{pds} } : ();
}

sub leading
{
	my ($self) = @_;
	my $endpoint;
	$self->{cluster}->wait_until('a placement driver leads', sub {
		($endpoint) = map { $_->{endpoint} } grep { $_->{role} eq 'leader' } seen($self);
		return defined $endpoint;
	});
	return $endpoint =~ s{.*/}{}r;
}

# Does it lead?  One alone has nobody to leave that to.
sub leads
{
	my ($self, $name) = @_;
	return ($self->{cluster}->drivers) > 1 && scalar grep { $_->{role} eq 'leader' && $_->{endpoint} eq $self->{cluster}->endpoint($name) } seen($self);
}

sub any { my ($self) = @_; return maybe() ? leading($self) : one_of($self->{cluster}->drivers); }

# Decisions one after the other, in a session of its own, as often as anybody looks.
sub decide
{
	my ($self) = @_;
	my %d = (in => '', out => '', err => '', asked => 0, done => 0, again => 0);
	$self->{node}->safe_psql('postgres', q{
		CREATE TABLE IF NOT EXISTS decided (id int, v vector(2));
		TRUNCATE decided; INSERT INTO decided SELECT n, ARRAY[n, n % 7] FROM generate_series(1, 20) n});
	$d{run} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $self->{node}->connstr('postgres') ],
		'<', \$d{in}, '>', \$d{out}, '2>', \$d{err});
	$d{in} .= "SET vectron.write_timeout = '120s';\n";
	return \%d;
}

sub decide_more
{
	my ($d) = @_;
	$d->{run}->pump_nb if $d->{run}->pumpable;
	my $done = () = $d->{out} =~ /^decided$/mg;
	# Not at once: what is dropped stays for a day.
	$d->{again} = time() + 0.3 if $done > $d->{done};
	$d->{done} = $done;
	return if $d->{asked} > $done || $d->{ends} || time() < $d->{again};
	$d->{asked}++;
	$d->{in} .= "CREATE INDEX decided_v ON decided USING vectron (v vector_l2_ops) WITH (shards = 1, replicas = 3);\nDROP INDEX decided_v;\n\\echo decided\n";
	$d->{run}->pump_nb if $d->{run}->pumpable;
	return;
}

# A fault with decisions before it, meanwhile and after it.
sub deciding
{
	my ($self, $fault) = @_;
	my $look = $self->{look};
	my $d = decide($self);
	local $self->{look} = sub { my $seen = $look->(); decide_more($d); return $seen; };
	my $until = sub {
		my ($n, $what) = @_;
		my $from = $d->{done};
		$self->{cluster}->wait_until($what, sub { $self->{look}->(); die "$what: $d->{err}" if !$d->{run}->pumpable; return $d->{done} >= $from + $n; });
		return;
	};
	$until->(1, 'something is decided');
	{
		$self->{deaf} = 0;
		local $self->{decided} = sub { return $d->{done}; };
		local $self->{meanwhile} = sub { $until->(2, 'things are decided meanwhile') } if ($self->{cluster}->drivers) > 1;
		$fault->();
	}
	$until->(2, 'things are decided afterwards');
	$d->{ends} = 1;
	$self->{cluster}->wait_until('the last decision', sub { $self->{look}->(); return $d->{done} == $d->{asked}; });
	$d->{in} .= "\\q\n";
	$d->{run}->finish;
	# A driver alone that heard no worker for a while says so where it has to place something.
	$d->{err} =~ s/^WARNING: .*? has \d of 3 wanted replicas.*\n(?:(?:DETAIL|HINT): .*\n)*//mg if ($self->{cluster}->drivers) == 1 && $self->{deaf};
	is($d->{err}, '', "$d->{done} indexes are made and dropped meanwhile");
	return;
}

# -- The faults ---------------------------------------------------------------

# Two of three, or the only one, and back: meanwhile nothing is decided but what was before, and may be told later.
sub kill_majority
{
	my ($self) = @_;
	my $cluster = $self->{cluster};
	my @drivers = shuffle($cluster->drivers);
	my @away = @drivers[0 .. int(@drivers / 2)];
	$self->told('kill -9', @away);
	foreach my $name (@away)
	{
		$cluster->kill9($name);
		$self->last_for(between(0, 0.5)) if $name ne $away[-1];
	}
	my $decided = $self->{decided}->();
	$self->last_for($self->{seconds} * between(0.3, 1));
	cmp_ok($self->{decided}->() - $decided, '<=', 1, 'without a majority of the drivers nothing is decided');
	foreach my $name (shuffle(@away))
	{
		$cluster->start_again($name);
		$self->last_for(between(0, 1)) if maybe();
	}
	return;
}

sub one_way
{
	my ($self) = @_;
	my $name = any($self);
	return $self->hear_one_way($name, maybe() ? grep { /^pd/ } $self->others($name) : ($self->others($name), 'gateway'));
}

# A driver comes back with an empty disk: it is another one without a vote, and the old
# one is given up for it.
sub empty
{
	my ($self) = @_;
	my $cluster = $self->{cluster};
	my $name = any($self);
	my ($old) = map { $_->{id} } grep { $_->{endpoint} eq $cluster->endpoint($name) } seen($self);
	die "where is $name?" unless defined $old;
	$self->told($name, 'comes back with an empty disk');
	$cluster->kill9($name);
	$cluster->wipe($name);
	$self->last_for(between(0, $self->{seconds} / 3));
	$cluster->start_again($name);
	$self->wait_a_while;
	my $until = sub {
		my ($what, $done) = @_;
		$cluster->wait_until($what, sub { $self->{look}->(); return $done->(); });
	};
	$until->('the old one is removed', sub { ($cluster->ctl('remove-pd', $old))[0] == 0 });
	$until->('it is gone', sub { my @seen = seen($self); @seen && !grep { $_->{id} eq $old } @seen });
	$until->('the new one is added', sub { ($cluster->ctl('add-pd', $cluster->endpoint($name)))[0] == 0 });
	$until->('it is one of them', sub {
		3 == grep { $_->{role} =~ /^(?:leader|follower)$/ && $_->{state} eq 'up' } seen($self);
	});
	return;
}

1;
