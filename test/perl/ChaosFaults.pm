
=pod

=head1 NAME

ChaosFaults - what happens to a cluster, by name

=head1 SYNOPSIS

  my $chaos = ChaosFaults->new($cluster, $node, $shards, $look);
  foreach my $fault (ChaosFaults::drawn(3)) { $chaos->suffer($fault, $seconds); }
  $cluster->whole($node, $chaos->shards, 'every shard is whole');

=head1 DESCRIPTION

Each fault breaks something, leaves it broken for a while, and mends it; then every
daemon runs again.  Victims, lengths and variants are drawn with rand, so that srand
repeats them as far as processes allow.  C<$look> is called all the time meanwhile.

A history may have several in turn, written C<kill-leader+one-way>: how long searches may
take is what may be expected of the one whose turn it is, all else what may be of the worst.

=cut

package ChaosFaults;

use strict;
use warnings;

use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(time usleep);
use ChaosDice;
use ChaosDiskFaults;
use ChaosDriverFaults;
use ChaosOperatorFaults;
use ChaosServerFaults;

my %faults = (
	%ChaosDiskFaults::faults,
	%ChaosDriverFaults::faults,
	%ChaosOperatorFaults::faults,
	%ChaosServerFaults::faults,
	'kill-follower' => \&kill_follower,
	'kill-leader' => \&kill_leader,
	'kill-each' => \&kill_each,
	'kill-majority' => \&kill_majority,
	'stop-leader' => \&stop_leader,
	'cut-leader' => \&cut_leader,
	'one-way' => \&one_way,
	'network' => \&bad_network,
	'clock' => \&clock_jumps,
	'empty' => \&empty,
	'empty-early' => \&empty_early,
	'rolling' => \&rolling,
	'power-one' => \&power_one,
	'power-all' => \&power_all);

sub names { return sort keys %faults; }

# The faults that take turns.
sub parts { my ($name) = @_; return split /\+/, $name; }

# A fault of placement drivers, of which some are left, or that one of three leads.
sub needs_drivers { my ($name) = @_; return scalar grep { exists $ChaosDriverFaults::faults{$_} } parts($name); }

# Does every shard keep a replica that is within reach and has applied what was
# acknowledged, or will have when those that are left have elected a leader?  While a split
# copies rows, who has the parent answers for the child (docs/limits.md).
sub leaves_replicas { my ($name) = @_; return !ends_sessions($name) && !grep { /^(?:hanging-power|kill-majority|power-all)$/ } parts($name); }

# PostgreSQL's sessions end.
sub ends_sessions { my ($name) = @_; return scalar grep { exists $ChaosServerFaults::faults{$_} } parts($name); }

# What statements may be told meanwhile, as the history has it; undef: nothing.
sub may_be_told
{
	my ($name) = @_;
	my @told;
	# Of the collection, too: VT_FULL.  One whose disk is full may have seen that before a write fails and it ends.
	push @told, '^# write .* 53100: ', '^# once of client \d+, \d+ ms, 19: ' if grep { /^(?:low|full)-disk$/ } parts($name);
	push @told, '^# \w+ of client \d+, \d+ ms, (?:no answer|57P0[123]): ' if ends_sessions($name);
	my $any = join '|', @told;
	return @told ? qr/$any/ : undef;
}

# So many of them for so many drivers; none comes twice before all have come.
sub drawn
{
	my ($n, $drivers) = @_;
	my @drawn;
	push @drawn, shuffle(grep { $drivers > 1 || !needs_drivers($_) } names()) while @drawn < $n;
	return @drawn[0 .. $n - 1];
}

# Of all, shuffled again and again, always the next two: none comes much oftener than another.
sub pairs
{
	my ($n) = @_;
	my (@left, @pairs);
	while (@pairs < $n)
	{
		push @left, shuffle(names()) if @left < 3;
		# The last of a shuffle may be the first of the next.
		@left[1, 2] = @left[2, 1] if $left[0] eq $left[1];
		push @pairs, join '+', splice @left, 0, 2;
	}
	return @pairs;
}

# What so many histories are to suffer: some named with commas between, round by round, "pairs", or
# nothing named.
sub planned
{
	my ($n, $seed, $named) = @_;
	my @named = split /,/, $named;
	srand($seed);
	return drawn($n, 3) if !@named;
	foreach (map { parts($_) } @named) { die "there is no fault named \"$_\"\n" unless exists $faults{$_} || $named eq 'pairs'; }
	return $named eq 'pairs' ? pairs($n) : map { $named[ $_ % @named ] } 0 .. $n - 1;
}

sub new
{
	my ($class, $cluster, $node, $shards, $look) = @_;
	# Those of the index, and one each of those on bits and for recall, and of the collection.
	return bless { cluster => $cluster, node => $node, shards => $shards + 3, look => $look }, $class;
}

# So many shards do the indexes and the collection have by now.
sub shards { my ($self) = @_; return $self->{shards}; }

sub suffer
{
	my ($self, $name, $seconds) = @_;
	$self->{seconds} = $seconds;
	($faults{$name} // die "there is no fault named \"$name\"")->($self);
	return;
}

# -- Parts of faults ----------------------------------------------------------

# A fault lasts as long as it lasts; the load goes on.
sub last_for
{
	my ($self, $seconds) = @_;
	my $until = time() + $seconds;
	while (time() < $until)
	{
		$self->{look}->();
		usleep(20_000);
	}
	return;
}

sub await
{
	my ($self, $what, $done) = @_;
	$self->{cluster}->wait_until($what, sub { $self->{look}->(); return $done->(); });
	return;
}

# About as long as a fault was asked to last, and until what must go on has.
sub wait_a_while
{
	my ($self) = @_;
	$self->{meanwhile}->() if $self->{meanwhile};
	return $self->last_for($self->{seconds} * between(0.3, 1));
}

sub workers { my ($self) = @_; return map { "worker$_" } 1 .. $self->{cluster}{workers}; }

# Workers, those that lead most first.
sub by_leadership
{
	my ($self) = @_;
	my ($status, $out) = $self->{node}->psql('postgres',
		q{SELECT substring(endpoint from 'worker\d+$') FROM vectron.shards GROUP BY 1 ORDER BY count(*) FILTER (WHERE role = 'leader') DESC, 1});
	my @workers = $status == 0 ? split(/\n/, $out) : ();
	my %known = map { $_ => 1 } @workers;
	return (@workers, grep { !$known{$_} } shuffle($self->workers));
}

sub leader { my ($self) = @_; return ($self->by_leadership)[0]; }
sub follower { my ($self) = @_; return ($self->by_leadership)[-1]; }
sub some_worker { my ($self) = @_; return maybe() ? $self->leader : one_of($self->workers); }

sub others
{
	my ($self, $name) = @_;
	return grep { $_ ne $name } $self->{cluster}->daemons;
}

sub told { my ($self, @words) = @_; note "fault: @words"; return; }

# Nobody hears from a machine, nor it from anybody.
sub cut_off
{
	my ($self, $name, @from) = @_;
	$self->{cluster}->cut($name, $_) foreach @from ? @from : ($self->others($name), 'gateway');
	return;
}

# How often frames began to wait at a cut so far.
sub held { my ($self) = @_; return ($self->{cluster}->network('count'))[1]; }

# What waited arrives late, or is lost with its connection.
sub heal { my ($self) = @_; $self->{cluster}->network('heal ' . one_of(qw(deliver reset))); return; }

# A process dies; the machine says so, or is gone, too.
sub kill_one
{
	my ($self, $name, $silent) = @_;
	my $cluster = $self->{cluster};
	$self->told($silent ? 'machine gone:' : 'kill -9', $name);
	$self->cut_off($name) if $silent;
	$cluster->kill9($name);
	$self->wait_a_while;
	$self->heal if $silent;
	$cluster->start_again($name);
	return;
}

# A machine comes back with an empty disk, and is known as another store.
sub comes_back_empty
{
	my ($self, $name) = @_;
	my $node = $self->{node};
	my $newest = "(SELECT max(store) FROM vectron.workers WHERE endpoint LIKE '%/$name')";
	my $old = $node->safe_psql('postgres', "SELECT $newest");
	$self->{cluster}->wipe($name);
	$self->{cluster}->start_again($name);
	ok($node->poll_query_until('postgres', "SELECT $newest > $old"), "$name has an empty disk, and is another store");
	return;
}

# -- The faults ---------------------------------------------------------------

sub kill_follower { my ($self) = @_; return $self->kill_one($self->follower, maybe()); }
sub kill_leader { my ($self) = @_; return $self->kill_one($self->leader, maybe()); }

sub kill_each
{
	my ($self) = @_;
	foreach my $name (shuffle($self->workers))
	{
		$self->told('kill -9', $name);
		$self->{cluster}->kill9($name);
		$self->last_for(between(0.1, $self->{seconds} / 3));
		$self->{cluster}->start_again($name);
		$self->last_for(between(0, $self->{seconds} / 4));
	}
	return;
}

sub kill_majority
{
	my ($self) = @_;
	my ($first, $second) = shuffle($self->workers);
	$self->told('kill -9', $first, $second);
	$self->{cluster}->kill9($first);
	$self->last_for(between(0, 0.5));
	$self->{cluster}->kill9($second);
	# Writes wait, but not for ever.
	$self->last_for(between(1, $self->{seconds} < 10 ? $self->{seconds} : 10));
	$self->{cluster}->start_again($first);
	$self->last_for(between(0, 1)) if maybe();
	$self->{cluster}->start_again($second);
	return;
}

sub stop_leader { my ($self) = @_; return $self->freeze_one($self->leader); }
sub cut_leader { my ($self) = @_; return $self->cut_one($self->leader); }

sub freeze_one
{
	my ($self, $name) = @_;
	$self->told('SIGSTOP', $name);
	$self->{deaf} = 1;
	$self->{cluster}->freeze($name);
	$self->wait_a_while;
	$self->{cluster}->thaw($name);
	return;
}

sub cut_one
{
	my ($self, $name) = @_;
	my @from = maybe() ? () : $self->others($name);
	my $held = $self->held;
	$self->{deaf} = 1;
	$self->told('cut off:', $name, @from ? '; gateways reach it' : '');
	$self->cut_off($name, @from);
	$self->wait_a_while;
	$self->await("something was to cross the cut around $name", sub { return $self->held > $held; });
	$self->heal;
	return;
}

sub one_way
{
	my ($self) = @_;
	my $name = $self->some_worker;
	my $drivers = maybe();
	return $self->hear_one_way($name, grep { $drivers || /^worker/ } $self->others($name));
}

sub hear_one_way
{
	my ($self, $name, @others) = @_;
	my $speaks = maybe();
	my $held = $self->held;
	$self->{deaf} = 1;
	$self->told($name, $speaks ? 'is not heard by' : 'does not hear', @others);
	$self->{cluster}->network($speaks ? "rule $name $_ cut" : "rule $_ $name cut") foreach @others;
	$self->wait_a_while;
	$self->await("something was to cross the cut at $name", sub { return $self->held > $held; });
	$self->heal;
	return;
}

sub bad_network
{
	my ($self) = @_;
	my $cluster = $self->{cluster};
	my @before = $cluster->network('count');
	$self->told('bad network');
	$cluster->network('rule * * delay 0 ' . one_of(5, 20, 60));
	foreach my $name ($self->workers)
	{
		$cluster->network("rule $name * drop " . int between(0, 200)) if maybe();
		$cluster->network("rule $name * twice " . int between(0, 300)) if maybe();
		$cluster->network("rule $name * reorder " . int(between(0, 500)) . ' ' . int(between(1, 300))) if maybe();
	}
	$self->wait_a_while;
	my @after = $cluster->network('count');
	$self->told(join ', ', map { $after[$_] - $before[$_] . ' ' . (qw(carried held dropped doubled overtaken))[$_] } 0 .. 4);
	$self->heal;
	return;
}

sub clock_jumps
{
	my ($self) = @_;
	for my $i (1 .. 3)
	{
		my $name = one_of($self->{cluster}->daemons);
		my $s = int(between(-1, 1) * one_of(1, 100, 100_000));
		$self->told("the clock of $name is $s s off");
		$self->{cluster}->fault($name, wall_us => $s * 1_000_000);
		$self->last_for($self->{seconds} * between(0.1, 0.4));
	}
	$self->{cluster}->fault($_) foreach $self->{cluster}->daemons;
	return;
}

sub empty
{
	my ($self) = @_;
	my $name = $self->some_worker;
	$self->told($name, 'comes back with an empty disk');
	$self->{cluster}->kill9($name);
	$self->last_for(between(0, $self->{seconds} / 2));
	$self->comes_back_empty($name);
	return;
}

# A worker loses its disk while an index is made, some of it there; and again before
# the placement driver has heard of the new one, or as soon as it has a number there, mostly before
# its first heartbeat.
sub empty_early
{
	my ($self) = @_;
	my ($cluster, $node) = @$self{qw(cluster node)};
	my $name = one_of($self->workers);
	$self->told($name, 'comes back with an empty disk while an index is made, twice');
	$node->safe_psql('postgres', q{
		DROP TABLE IF EXISTS early;
		CREATE TABLE early (id int, v vector(2));
		INSERT INTO early SELECT n, ARRAY[n, n % 7] FROM generate_series(1, 300) n});
	my ($out, $err) = ('', '');
	my $making = IPC::Run::start(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c',
			'CREATE INDEX early_v ON early USING vectron (v vector_l2_ops) WITH (shards = 4, replicas = 3)'],
		'>', \$out, '2>', \$err);
	usleep(int between(0, 400_000));
	$cluster->kill9($name);
	$cluster->wipe($name);
	my $is_known = maybe();
	# It is not heard, and so not known.
	if (!$is_known) { $cluster->cut($name, $_) foreach $cluster->drivers; }
	$cluster->spawn_again($name);
	if ($is_known) { $self->await("$name is registered", sub { return $cluster->log_text($name, 1) =~ /store=\d+ registered/; }); }
	else { $self->last_for(between(0.05, 0.5)); }
	$cluster->kill9($name) if $cluster->runs($name);
	$self->heal;
	$self->comes_back_empty($name);
	while ($making->pumpable) { $making->pump_nb; $self->{look}->(); usleep(20_000); }
	ok($making->finish, 'an index is made while a worker loses its disk') or diag $err;
	$cluster->clean($node, 'early', 'early_v', 'and it is whole');
	$node->safe_psql('postgres', 'DROP TABLE early');
	return;
}

sub rolling
{
	my ($self) = @_;
	foreach my $name (shuffle($self->{cluster}->daemons))
	{
		$self->told('restart of', $name);
		is($self->{cluster}->stop($name), 0, "$name stops in good order");
		$self->last_for(between(0, 0.3));
		$self->{cluster}->start_again($name);
		$self->last_for(between(0.5, 1 + $self->{seconds} / 4));
	}
	return;
}

sub power_one
{
	my ($self) = @_;
	my $name = maybe() ? $self->leader : one_of($self->{cluster}->daemons);
	$self->cut_off($name);
	my $lost = $self->{cluster}->lose_power($name);
	$self->told($name, "loses power, $lost");
	$self->wait_a_while;
	$self->heal;
	$self->{cluster}->start_again($name);
	return;
}

sub power_all
{
	my ($self) = @_;
	my @names = shuffle($self->{cluster}->daemons);
	my $lost = $self->{cluster}->lose_power(@names);
	$self->told("everything loses power, $lost");
	$self->last_for(between(0, 1));
	$self->{cluster}->spawn_again($_) foreach @names;
	$self->{cluster}->wait_ready($_) foreach @names;
	return;
}

1;
