
=pod

=head1 NAME

ChaosOperatorFaults - what an administrator does to a cluster under load

=head1 DESCRIPTION

Faults of ChaosFaults (same directory): nothing is broken, but replicas come and go, shards
are split, others lead; and half the time somebody dies in the middle of that.

=cut

package ChaosOperatorFaults;

use strict;
use warnings;

use ChaosDice;
use JSON::PP;
use List::Util qw(shuffle uniq);
use Test::More;

our %faults = (
	'replicas' => \&replicas,
	'drain' => \&drain,
	'split' => \&split_shard,
	'move' => \&move,
	'transfer-leader' => \&transfer_leader);

my $walked = 'public.r_v';
my @indexes = ('public.t_v', 'public.t_b', $walked);

# Of that one no more: smaller shards would be compared row by row (test/chaos/recall.c).
my $walked_shards = 3;

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

# A list that vectronctl shows; undef: nobody answers now.
sub list_of
{
	my ($self, $list) = @_;
	my ($status, $out) = $self->{cluster}->ctl('--json', $list);
	return $status == 0 ? decode_json($out)->{$list} : undef;
}

# The replicas that vote, of the indexes and the collection; none: nobody answers now.
sub voters_now
{
	my ($self) = @_;
	my %known = map { $_ => 1 } @indexes, 'chaos.once';
	return grep { $known{ $_->{label} } && $_->{role} =~ /^(?:leader|follower)$/ } @{ list_of($self, 'shards') // [] };
}

sub voters
{
	my ($self) = @_;
	my @voters;
	$self->await('voters are known', sub { return @voters = voters_now($self); });
	return @voters;
}

# Is anything being done to a shard?  Data that a replica has left is no part of that, nor is what was given up.
sub is_under_way
{
	my ($self, $shard) = @_;
	my $operators = list_of($self, 'operators') // return 1;
	return scalar grep { $_->{shard} eq $shard && $_->{kind} ne 'delete' && $_->{step} !~ /^given up/ } @$operators;
}

# vectronctl has something done to a shard, until what it is to come to is so.  It may have to
# say it again: while a driver is away, or since who died in the middle of it made it void.
sub bring_about
{
	my ($self, $shard, $is_so, @words) = @_;
	my ($err, $taken) = ('', 0);
	$self->told('vectronctl', @words);
	eval {
		$self->await("vectronctl @words", sub {
			$self->last_for(0.1);
			return 0 if is_under_way($self, $shard);
			my @voters = voters_now($self) or return 0;
			return 1 if $is_so->(@voters);
			(my $status, undef, $err) = $self->{cluster}->ctl(@words);
			perhaps_kill($self) if $status == 0 && !$taken++;
			return 0;
		});
		1;
	} or die "$@: $err";
	return;
}

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

sub worker_comes
{
	my ($self) = @_;
	my $new = $self->{cluster}->add_worker;
	await_query($self, "$new is there", "SELECT count(*) = 4 FROM vectron.workers WHERE state = 'up'");
	return $new;
}

sub worker_goes
{
	my ($self, $name) = @_;
	my $gone = empty_by_drain($self, $name);
	is($self->{cluster}->remove_worker, 0, "$name stops in good order");
	return order($self, 'forget-store', $gone);
}

# -- The faults ---------------------------------------------------------------

# Each shard loses a replica, and gets another.
sub replicas
{
	my ($self) = @_;
	my $index = one_of(@indexes);
	order($self, 'set-replicas', $index, 2);
	perhaps_kill($self);
	# Dropped indexes are shown, too, for a day.
	await_query($self, 'each shard has two replicas', qq{SELECT bool_and(two) FROM (
		SELECT count(*) = 2 AS two FROM vectron.shards WHERE index = '$index' GROUP BY shard) s});
	order($self, 'set-replicas', $index, 3);
	perhaps_kill($self);
	return;
}

# A worker comes, another is emptied; then that takes back what the new one has, and the new one goes.
sub drain
{
	my ($self) = @_;
	my $victim = $self->some_worker;
	my $new = worker_comes($self);
	my $emptied = empty_by_drain($self, $victim);
	order($self, 'undrain', $emptied);
	return worker_goes($self, $new);
}

# A shard becomes two, for good.
sub split_shard
{
	my ($self) = @_;
	my @voters = voters($self);
	my $few = $walked_shards > uniq(map { $_->{shard} } grep { $_->{label} eq $walked } @voters);
	my $shard = one_of(grep { $few || $_->{label} ne $walked } @voters)->{shard};
	my $wanted = $self->{shards} + 1;
	bring_about($self, $shard, sub { return $wanted == uniq(map { $_->{shard} } @_); }, 'split', $shard);
	$self->{shards} = $wanted;
	return $self->last_for($self->{seconds} * between(0, 0.5));
}

# A worker comes, a replica moves to it and back, and the worker goes.
sub move
{
	my ($self) = @_;
	my $new = worker_comes($self);
	my ($shard, $from) = @{ one_of(voters($self)) }{qw(shard store)};
	my $to = store_of($self, $new);
	my $is_there = sub { return scalar grep { $_->{shard} eq $shard && $_->{store} eq $to } @_; };
	bring_about($self, $shard, $is_there, 'move', $shard, $from, $to);
	$self->last_for($self->{seconds} * between(0, 0.5));
	bring_about($self, $shard, sub { return !$is_there->(@_); }, 'move', $shard, $to, $from);
	return worker_goes($self, $new);
}

# Shards, one after the other, are led by who did not lead.
sub transfer_leader
{
	my ($self) = @_;
	my @voters = voters($self);
	my @shards = shuffle(uniq(map { $_->{shard} } @voters));
	foreach my $shard (@shards > 4 ? @shards[0 .. 3] : @shards)
	{
		my $next = one_of(map { $_->{store} } grep { $_->{shard} eq $shard && $_->{role} ne 'leader' } @voters);
		bring_about($self, $shard, sub { return scalar grep { $_->{shard} eq $shard && $_->{store} eq $next && $_->{role} eq 'leader' } @_; },
			'transfer-leader', $shard, $next);
	}
	return $self->last_for($self->{seconds} * between(0, 0.5));
}

1;
