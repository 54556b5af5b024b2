
=pod

=head1 NAME

ChaosServerFaults - what happens to PostgreSQL while its cluster is well

=head1 DESCRIPTION

Faults of ChaosFaults (same directory).  All sessions end: what a commit under way came to
is not known to those who asked, and the load comes again when it is let in.

=cut

package ChaosServerFaults;

use strict;
use warnings;

use ChaosDice;
use Test::More;

our %faults = (
	'kill-backend' => \&kill_backend,
	'kill-postmaster' => \&kill_postmaster);

# Another one in each life of the server's memory.
my $life = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'};

# One session dies, any or that of VACUUM, and PostgreSQL ends all and recovers.
sub kill_backend
{
	my ($self) = @_;
	foreach my $n (1 .. 1 + int($self->{seconds} / 10))
	{
		my ($which) = one_of(q{query LIKE 'VACUUM%'}, q{state = 'active'});
		my ($status, $pid) = $self->{node}->psql('postgres',
			qq{SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY ($which) DESC, random() LIMIT 1});
		die 'no session to kill' unless $status == 0 && $pid;
		my (undef, $before) = $self->{node}->psql('postgres', $life);
		$self->told('kill -9 of a session');
		kill 'KILL', $pid;
		$self->{cluster}->wait_until('the server has recovered', sub {
			$self->{look}->();
			my ($up, $began) = eval { $self->{node}->psql('postgres', $life); };
			# Nobody reads the question of one that was refused: psql may be gone before it is written.
			die $@ if $@ && $@ !~ /Broken pipe/;
			return defined $up && $up == 0 && $began ne $before;
		});
		$self->last_for(between(0.5, 3));
	}
	return;
}

# The postmaster dies, and those it leaves behind end; then it is started again.
sub kill_postmaster
{
	my ($self) = @_;
	my $node = $self->{node};
	my $postmaster = $node->{_pid};
	$self->told('kill -9 of the postmaster');
	$node->kill9;
	$self->last_for(between(0, $self->{seconds} / 4));
	# As long as one of its sessions is there, its memory is.
	$self->{cluster}->wait_until('the server starts', sub {
		$self->{look}->();
		return 1 if $node->start(fail_ok => 1);
		$node->{_pid} = undef if defined $node->{_pid} && $node->{_pid} == $postmaster;
		return 0;
	});
	$self->wait_a_while;
	return;
}

1;
