
=pod

=head1 NAME

HoldingProxy - stands between gateways and a worker, and can hold messages back

=head1 SYNOPSIS

  my $proxy = HoldingProxy->new($listen_path, $worker_path);
  $proxy->hold('put');          # the next put, of any connection
  $proxy->copy('delete');       # or let it pass and keep a copy
  ...
  $proxy->wait_held;
  $proxy->release;              # sends it to the worker now, on a connection of its own
  $proxy->let_go;               # or where it belongs, so that it is answered
  $proxy->damage('reply', 'flip'); # the next reply after a greeting
  $proxy->sever(1);             # from now on hang up on whoever asks for the next page of a listing
  $proxy->severed;              # how often it did
  $proxy->lead_to($path);       # to another worker from now on; hangs up on everybody
  $proxy->stop;

=head1 DESCRIPTION

A process of its own that forwards frames (docs/wire.md: 32 bytes of header, type at
byte 6, length at byte 16; a write command has its type at byte 1 of the payload).  A
message that is held is not answered; whoever sent it gives up in its own time.  When
it is released the worker gets it late, after everything that happened meanwhile, as
from a network that kept it.

A message that is damaged has its last byte changed (flip), its version (version), its
length (long), or is cut off in the middle, and the connection closed (cut).

=cut

package HoldingProxy;

use strict;
use warnings;

use IO::Select;
use IO::Socket::UNIX;
use Socket;
use Time::HiRes qw(usleep);

use constant { HELLO => 1, WRITE => 10, LIST => 12 };
my %write_type = (put => 1, delete => 2, raise => 3);

sub new
{
	my ($class, $listen, $to) = @_;
	my $self = bless { listen => $listen, to => $to }, $class;
	pipe(my $command_read, my $command_write) or die "pipe: $!";
	pipe(my $answer_read, my $answer_write) or die "pipe: $!";
	my $server = IO::Socket::UNIX->new(Local => $listen, Listen => 64) or die "could not listen on $listen: $!";
	chmod 0600, $listen;
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		close $command_write;
		close $answer_read;
		eval { serve($server, $to, $command_read, $answer_write); };
		warn $@ if $@;
		require POSIX;
		POSIX::_exit(0);
	}
	close $command_read;
	close $answer_write;
	close $server;
	$command_write->autoflush(1);
	@$self{qw(pid command answer)} = ($pid, $command_write, $answer_read);
	return $self;
}

sub ask
{
	my ($self, $command) = @_;
	print { $self->{command} } "$command\n";
	my $answer = readline($self->{answer});
	chomp $answer;
	return $answer;
}

sub hold { my ($self, $what) = @_; return $self->ask("hold $write_type{$what}"); }
sub copy { my ($self, $what) = @_; return $self->ask("copy $write_type{$what}"); }
sub damage { my ($self, $what, $how) = @_; return $self->ask("damage $what $how"); }
sub damaged { my ($self) = @_; return $self->ask('damaged'); }
sub sever { my ($self, $on) = @_; return $self->ask("sever $on"); }
sub severed { my ($self) = @_; return $self->ask('severed'); }
sub lead_to { my ($self, $path) = @_; return $self->ask("to $path"); }
sub held { my ($self) = @_; return $self->ask('held'); }
sub let_go { my ($self) = @_; return $self->ask('go'); }
sub release { my ($self) = @_; return $self->ask('release'); }

sub wait_held
{
	my ($self) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	until ($self->held)
	{
		die "nothing was held" if time() > $end;
		usleep(10_000);
	}
}

sub stop
{
	my ($self) = @_;
	kill 'TERM', $self->{pid};
	waitpid($self->{pid}, 0);
	unlink $self->{listen};
}

sub upstream
{
	my ($to) = @_;
	return IO::Socket::UNIX->new(Peer => $to);
}

# One process, one loop: frames from gateways are looked at, the rest is bytes.
sub serve
{
	my ($server, $to, $command, $answer) = @_;
	my $select = IO::Select->new($server, $command);
	my (%peer, %from_gateway, %greeted, %buffer, $hello, $hold, $copy, @held);
	my ($damage, $how, $damaged) = ('', '', 0);
	my ($sever, $severed) = (0, 0);

	# Forward bytes that begin with a frame, or what is made of them; false: no more of this.
	my $forward = sub {
		my ($what, $fh, $bytes) = @_;
		if ($damage eq $what)
		{
			($damage, $damaged) = ('', $damaged + 1);
			substr($bytes, -1) = chr(ord(substr($bytes, -1)) ^ 0xff) if $how eq 'flip';
			substr($bytes, 4, 1) = chr(99) if $how eq 'version';
			substr($bytes, 16, 4) = pack('V', 1 << 30) if $how eq 'long';
			if ($how eq 'cut')
			{
				write_all($fh, substr $bytes, 0, length($bytes) / 2);
				return 0;
			}
		}
		write_all($fh, $bytes);
		return 1;
	};

	$answer->autoflush(1);
	$SIG{PIPE} = 'IGNORE';
	while (1)
	{
		foreach my $fh ($select->can_read)
		{
			if ($fh == $server)
			{
				my $gateway = $server->accept or next;
				my $worker = upstream($to);
				if (!$worker) { close $gateway; next; }
				$peer{ fileno $gateway } = $worker;
				$peer{ fileno $worker } = $gateway;
				$from_gateway{ fileno $gateway } = 1;
				$select->add($gateway, $worker);
			}
			elsif ($fh == $command)
			{
				my $line = readline($command) // return;
				if ($line =~ /^(hold|copy) (\d+)/) { ($hold, $copy) = ($2, $1 eq 'copy'); print {$answer} "1\n"; }
				elsif ($line =~ /^damage (\w+) (\w+)/) { ($damage, $how) = ($1, $2); print {$answer} "1\n"; }
				elsif ($line =~ /^sever (\d)/) { $sever = $1; print {$answer} "1\n"; }
				elsif ($line =~ /^severed/) { print {$answer} "$severed\n"; }
				elsif ($line =~ /^damaged/) { print {$answer} "$damaged\n"; }
				elsif ($line =~ /^to (.*)/)
				{
					$to = $1;
					foreach my $end (grep { $_ != $server && $_ != $command } $select->handles)
					{
						$select->remove($end);
						close $end;
					}
					(%peer, %from_gateway, %greeted, %buffer) = ();
					print {$answer} "1\n";
				}
				elsif ($line =~ /^held/) { print {$answer} scalar(@held), "\n"; }
				elsif ($line =~ /^go/)
				{
					write_all(@$_) foreach splice @held;
					print {$answer} "1\n";
				}
				elsif ($line =~ /^release/)
				{
					my $n = @held;
					while (my $kept = shift @held)
					{
						my $frame = $kept->[1];
						my $worker = upstream($to) or next;
						syswrite $worker, $hello . $frame;
						# Its answer proves that it was dealt with.
						my $got = '';
						while (length($got) < 64)
						{
							last unless sysread($worker, $got, 4096, length $got);
							my $length = unpack 'V', substr($got, 16, 4);
							last if length($got) > 32 + $length;
						}
						close $worker;
					}
					print {$answer} "$n\n";
				}
			}
			else
			{
				# It was hung up on a moment ago.
				my $number = fileno $fh // next;
				my $to_peer = $peer{$number} or next;
				my $bytes = '';
				my $read = sysread $fh, $bytes, 1 << 20;
				my $drop = sub {
					foreach my $end ($fh, $to_peer)
					{
						delete @$_{ fileno $end } for \%peer, \%from_gateway, \%greeted, \%buffer;
						$select->remove($end);
						close $end;
					}
				};
				if (!$read)
				{
					$drop->();
					next;
				}
				if (!$from_gateway{$number})
				{
					# The first answer is that to a greeting.
					if (!$greeted{$number}++) { write_all($to_peer, $bytes); }
					elsif (!$forward->('reply', $to_peer, $bytes)) { $drop->(); }
					next;
				}
				$buffer{$number} .= $bytes;
				while (length($buffer{$number} // '') >= 32)
				{
					my $length = 32 + unpack 'V', substr($buffer{$number}, 16, 4);
					last if length($buffer{$number}) < $length;
					my $frame = substr $buffer{$number}, 0, $length, '';
					my $type = unpack 'v', substr($frame, 6, 2);
					$hello = $frame if $type == HELLO;
					if (defined $hold && $type == WRITE && ord(substr($frame, 33, 1)) == $hold)
					{
						push @held, [ $to_peer, $frame ];
						undef $hold;
						next unless $copy;
					}
					# Route and mark, then the lease (0: a first page), then flags (2: close).
					if ($sever && $type == LIST && substr($frame, 32 + 72, 8) ne "\0" x 8 && !(unpack('V', substr($frame, 32 + 80, 4)) & 2))
					{
						$severed++;
						$drop->();
						last;
					}
					if ($type == HELLO) { write_all($to_peer, $frame); }
					elsif (!$forward->('request', $to_peer, $frame)) { $drop->(); last; }
				}
			}
		}
	}
}

sub write_all
{
	my ($fh, $bytes) = @_;
	my $at = 0;
	while ($at < length $bytes)
	{
		my $n = syswrite $fh, $bytes, length($bytes) - $at, $at;
		last unless defined $n;
		$at += $n;
	}
}

1;
