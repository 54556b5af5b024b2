
=pod

=head1 NAME

ChaosOperatorFaults - what an administrator does to a cluster under load

=head1 DESCRIPTION

Faults of ChaosFaults (same directory): nothing is broken, but replicas come and go; and in
half of them somebody dies in the middle of that.

=cut

package ChaosOperatorFaults;

use strict;
use warnings;

use ChaosDice;
use Test::More;

our %faults = (
	'replicas' => \&replicas,
	'drain' => \&drain);

# -- Parts of faults ----------------------------------------------------------

# vectronctl, which may have to say it again while a driver is away.
sub order
{
	my ($self, @words) = @_;
	my $err;
	$self->told('vectronctl', @words);
	eval { $self->await("vectronctl @words", sub { (my $status, undef, $err) = $self->{cluster}->ctl(@words); return $status == 0; }); 1 }
		or die "$@: $err";
	return;
}

# Until a query says t; a server that is asked may be told to wait.
sub await_query
{
	my ($self, $what, $query) = @_;
	$self->await($what, sub { my ($status, $out) = $self->{node}->psql('postgres', $query); return $status == 0 && $out eq 't'; });
	return;
}

# Now, or somebody dies first and comes back.
sub perhaps_kill
{
	my ($self) = @_;
	return if maybe();
	my $name = one_of($self->{cluster}->daemons);
	$self->last_for(between(0, 1));
	$self->told('kill -9', $name);
	$self->{cluster}->kill9($name);
	$self->last_for(between(0, $self->{seconds} / 3));
	$self->{cluster}->start_again($name);
	return;
}

sub store_of { my ($self, $name) = @_; return $self->{node}->safe_psql('postgres', "SELECT max(store) FROM vectron.workers WHERE endpoint LIKE '%/$name'"); }

# Everything that a worker has goes to the others.
sub empty_by_drain
{
	my ($self, $name) = @_;
	my $store = store_of($self, $name);
	order($self, 'drain', $store);
	perhaps_kill($self);
	await_query($self, "$name is empty", "SELECT shards = 0 FROM vectron.workers WHERE store = $store");
	return $store;
}

# -- The faults ---------------------------------------------------------------

# Each shard loses a replica, and gets another.
sub replicas
{
	my ($self) = @_;
	order($self, 'set-replicas', 'public.t_v', 2);
	perhaps_kill($self);
	# Dropped indexes are shown, too, for a day.
	await_query($self, 'each shard has two replicas', q{SELECT bool_and(two) FROM (
		SELECT count(*) = 2 AS two FROM vectron.shards WHERE index = 'public.t_v' GROUP BY shard) s});
	order($self, 'set-replicas', 'public.t_v', 3);
	perhaps_kill($self);
	return;
}

# A worker comes, another is emptied; then that takes back what the new one has, and the new one goes.
sub drain
{
	my ($self) = @_;
	my $victim = $self->some_worker;
	my $new = $self->{cluster}->add_worker;
	await_query($self, "$new is there", "SELECT count(*) = 4 FROM vectron.workers WHERE state = 'up'");
	my $emptied = empty_by_drain($self, $victim);
	order($self, 'undrain', $emptied);
	my $gone = empty_by_drain($self, $new);
	is($self->{cluster}->remove_worker, 0, "$new stops in good order");
	order($self, 'forget-store', $gone);
	return;
}

1;
