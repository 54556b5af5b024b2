
=pod

=head1 NAME

VectronCluster - placement driver and workers for a test, started by hand

=head1 SYNOPSIS

  my $cluster = VectronCluster->new;
  $cluster->start_pd;
  $cluster->start_worker($_) for 1, 2;
  my $node = $cluster->new_server;        # with the extension, and no autovacuum
  $cluster->kill9('worker1');
  $cluster->start_worker(1);
  $cluster->whole($node, 4, 'each of four shards has its three replicas');
  $cluster->clean($node, 't', 't_v', 'the index has what the table has');
  my $said = $cluster->refused($node, $sql, qr/words/);

  my $cluster = VectronCluster->new(tls => 1);
  $cluster->certs('issue', $cluster->certs_dir, 'admin', 'anna');
  $node->append_conf('postgresql.conf', $cluster->gateway_conf($node));

=head1 DESCRIPTION

An index that names no number of replicas has one, so that it is not under-replicated
where a test starts few workers.  What is fine where it is stays there, so that a
test can say who leads and who has what: C<< start_pd('--balance', 'on') >>.

With C<< VectronCluster->new(pds => 3) >> there are placement drivers C<pd1> to C<pd3>,
which are started by C<start_pd_of>.

With C<tls> the daemons listen on ports of 127.0.0.1, each with a certificate of
its name from a CA made for the test.

Daemons are named C<pd>, C<worker1>, C<worker2> and so on.  A start returns when the
daemon says that it is ready, a stop when it has ended.  Data and logs outlive a
daemon, so starting it again is a restart.  What a test leaves running is killed
at its end.

=cut

package VectronCluster;

use strict;
use warnings;

use File::Spec;
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(usleep);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @clusters;

sub new
{
	my ($class, %options) = @_;

	# Paths of sockets are short by law.
	my $self = bless {
		dir => PostgreSQL::Test::Utils::tempdir('vectron'),
		sockets => PostgreSQL::Test::Utils::tempdir_short(),
		pids => {},
		pds => $options{pds} // 0,
		opened => {},
		tls => $options{tls},
		ports => {},
	}, $class;
	push @clusters, $self;
	$self->certs('init', $self->certs_dir) if $self->{tls};
	return $self;
}

# Of all placement drivers.
sub pd_endpoint
{
	my ($self) = @_;
	return join(',', map { $self->endpoint("pd$_") } 1 .. $self->{pds}) if $self->{pds};
	return $self->endpoint('pd');
}

sub endpoint
{
	my ($self, $name) = @_;
	return "unix:$self->{sockets}/$name" unless $self->{tls};
	$self->{ports}{$name} //= PostgreSQL::Test::Cluster::get_free_port();
	return "tcp://127.0.0.1:$self->{ports}{$name}";
}

sub port { my ($self, $name) = @_; $self->endpoint($name); return $self->{ports}{$name}; }

# An absolute path: servers have other working directories.
sub certs_dir { my ($self) = @_; return File::Spec->rel2abs("$self->{dir}/certs"); }

# vectronctl certs ...; dies when it fails.
sub certs
{
	my ($self, @words) = @_;
	PostgreSQL::Test::Utils::system_or_bail('vectronctl', 'certs', @words);
	return;
}

# Files of a certificate, which is made when it is asked for first: CA, certificate, key.
sub files
{
	my ($self, $role, $name) = @_;
	my $file = $self->certs_dir . "/$role-$name";
	$self->certs('issue', $self->certs_dir, $role, $name) unless -e "$file.crt";
	return ($self->certs_dir . '/ca.crt', "$file.crt", "$file.key");
}

# The same as options of a daemon or of vectronctl; nothing without tls.
sub tls_options
{
	my ($self, $role, $name) = @_;
	return () unless $self->{tls};
	my ($ca, $cert, $key) = $self->files($role, $name);
	return ('--tls-ca-file', $ca, '--tls-cert-file', $cert, '--tls-key-file', $key);
}

# Lines for postgresql.conf of a server, which is running.
sub gateway_conf
{
	my ($self, $node) = @_;
	my $system = $node->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()');
	my ($ca, $cert, $key) = $self->files('gateway', $system);
	return "vectron.pd_endpoints = '" . $self->pd_endpoint . "'\nvectron.tls_ca_file = '$ca'\n"
		. "vectron.tls_cert_file = '$cert'\nvectron.tls_key_file = '$key'\n";
}

sub data { my ($self, $name) = @_; return "$self->{dir}/$name"; }

sub log_file { my ($self, $name) = @_; return "$self->{dir}/$name.log"; }

# All that the daemon wrote, or what it wrote since it was started last.
sub log_text
{
	my ($self, $name, $since_start) = @_;
	my $offset = $since_start ? $self->{opened}{$name} // 0 : 0;
	return substr(PostgreSQL::Test::Utils::slurp_file($self->log_file($name)), $offset);
}

sub pid { my ($self, $name) = @_; return $self->{pids}{$name}; }

sub start_pd
{
	my ($self, @options) = @_;
	return $self->start('pd', 'vectron-pd', '--data', $self->data('pd'),
		'--listen', $self->pd_endpoint, '--default-replicas', 1, '--balance', 'off', $self->tls_options('pd', 'pd'), @options);
}

sub start_pd_of
{
	my ($self, $n, @options) = @_;
	return $self->start("pd$n", 'vectron-pd', '--data', $self->data("pd$n"), '--listen', $self->endpoint("pd$n"),
		'--peers', $self->pd_endpoint, '--default-replicas', 1, '--balance', 'off', $self->tls_options('pd', "pd$n"), @options);
}

sub start_worker
{
	my ($self, $n, @options) = @_;
	return $self->start("worker$n", 'vectron-worker', '--data', $self->data("worker$n"),
		'--listen', $self->endpoint("worker$n"), '--pd', $self->pd_endpoint,
		$self->tls_options('worker', "worker$n"), @options);
}

# One whose directory was given up: it may be ready for a moment.  Its exit status.
sub start_given_up
{
	my ($self, $n, @options) = @_;
	$self->spawn("worker$n", 'vectron-worker', '--data', $self->data("worker$n"),
		'--listen', $self->endpoint("worker$n"), '--pd', $self->pd_endpoint,
		$self->tls_options('worker', "worker$n"), @options);
	return $self->wait_end("worker$n") >> 8;
}

# Start a daemon and wait until it is ready; dies with its log if it ends instead.
sub start
{
	my ($self, $name, @command) = @_;
	die "$name runs already" if defined $self->{pids}{$name};
	$self->spawn($name, @command);
	$self->wait_ready($name);
	return;
}

# Wait until one that was spawned is ready.
sub wait_ready
{
	my ($self, $name) = @_;
	$self->wait_until("$name is ready", sub {
		return 1 if $self->log_text($name, 1) =~ /\bready\b/;
		my $status = $self->ended($name);
		die "$name ended with status $status:\n" . $self->log_text($name, 1) if defined $status;
		return 0;
	});
	note "$name is ready, pid $self->{pids}{$name}";
	return;
}

# Start without waiting.
sub spawn
{
	my ($self, $name, @command) = @_;
	my $log = $self->log_file($name);

	# The log is there before anybody looks at it.
	open(my $made, '>>', $log) or die "could not open $log: $!";
	close $made;
	$self->{opened}{$name} = -s $log;
	my $pid = fork() // die "could not fork: $!";
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null') or POSIX::_exit(127);
		open(STDOUT, '>>', $log) or POSIX::_exit(127);
		open(STDERR, '>&', \*STDOUT) or POSIX::_exit(127);

		# It holds nothing of the test's: psql waits for the end of its input for as long
		# as anybody could still write to it.
		POSIX::close($_) for 3 .. 63;

		# Its threads stand still at random, if somebody wants that (test/harness/stalls.c).
		$ENV{LD_PRELOAD} = join(' ', grep { defined } $ENV{VECTRON_STALLS_LIBRARY}, $ENV{LD_PRELOAD})
			if defined $ENV{VECTRON_STALLS_LIBRARY};
		exec { $command[0] } @command or POSIX::_exit(127);
	}
	$self->{pids}{$name} = $pid;
	return $pid;
}

# Its wait status if the daemon has ended, undef if it runs.
sub ended
{
	my ($self, $name) = @_;
	my $pid = $self->{pids}{$name} // die "$name was not started";
	return undef if waitpid($pid, WNOHANG) != $pid;
	my $status = $?;
	delete $self->{pids}{$name};
	# Of all signals only those that a test sends end one that is well.
	fail("$name died of signal " . ($status & 127)) if ($status & 127) && !grep { ($status & 127) == $_ } 9, 15;
	return $status;
}

# Wait for the end; returns the wait status.
sub wait_end
{
	my ($self, $name) = @_;
	my $status;
	$self->wait_until("$name has ended", sub { return defined($status = $self->ended($name)); });
	return $status;
}

sub stop
{
	my ($self, $name) = @_;
	kill 'TERM', $self->{pids}{$name} // die "$name was not started";
	return $self->wait_end($name);
}

sub kill9
{
	my ($self, $name) = @_;
	kill 'KILL', $self->{pids}{$name} // die "$name was not started";
	return $self->wait_end($name);
}

# Poll for a condition; dies when it has not come within the time that
# PostgreSQL's own tests wait.
sub wait_until
{
	my ($self, $what, $condition) = @_;
	my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;
	until ($condition->())
	{
		die "timed out waiting until $what" if time() > $deadline;
		usleep(20_000);
	}
	return;
}

# SQL that must fail, in these words: what it said; or undef when it succeeded.  A deadline that is
# meant to pass may do so before anything was asked, if the machine stood still meanwhile; that tells
# nothing, so it is tried again.
sub refused
{
	my ($self, $node, $sql, $words) = @_;
	my ($status, $out, $err);
	$self->wait_until("it fails: $sql", sub {
		($status, $out, $err) = $node->psql('postgres', $sql);
		return $status == 0 || $err =~ $words;
	});
	return $status == 0 ? undef : $err;
}

# A server with the extension whose placement driver is this cluster's.
sub new_server
{
	my ($self, $settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new('main');
	$node->init;
	$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $self->pd_endpoint . "'\nautovacuum = off\njit = off\n" . ($settings // ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION vectron');
	return $node;
}

# Each shard comes to have three replicas on three stores that are up, one of
# which leads; and all have applied the same, unless there is load.
sub whole
{
	my ($self, $node, $shards, $name, $loaded) = @_;
	my $same = $loaded ? '' : 'AND count(DISTINCT applied) = 1';
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until('postgres', qq{
		SELECT count(*) = $shards FROM (
			SELECT shard FROM vectron.shards
			GROUP BY shard
			HAVING count(*) = 3 AND count(DISTINCT store) = 3 $same
				AND count(*) FILTER (WHERE role = 'leader') = 1 AND count(*) FILTER (WHERE role = 'follower') = 2
				AND bool_and(state = 'up')) s}), $name)
		|| diag $node->safe_psql('postgres', 'TABLE vectron.shards');
}

# Every row has its entry, and no entry is wrong.
sub clean
{
	my ($self, $node, $table, $index, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($node->safe_psql('postgres', qq{
		SELECT entries >= (SELECT count(*) FROM $table), missing, extra, wrong FROM vectron.check_index('$index')}), 't|0|0|0', $name);
}

END
{
	# The exit status of the test is not ours to change.
	my $status = $?;
	foreach my $cluster (@clusters)
	{
		foreach my $name (keys %{ $cluster->{pids} })
		{
			kill 'KILL', $cluster->{pids}{$name};
			waitpid($cluster->{pids}{$name}, 0);
		}
	}
	$? = $status;
}

1;
