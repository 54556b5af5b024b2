
=pod

=head1 NAME

Clone - a copy of a server's data directory that was made below the file system

=head1 SYNOPSIS

  my $copy = clone_of($node, 'copy');    # as a snapshot of the disk is: $node runs, or was killed
  $copy->start;

=head1 DESCRIPTION

All files are as they were at one moment, and the marker names the file that it
is, as it does on a disk that was copied as a whole.  The copy has a port and a
folder for sockets of its own.

=cut

package Clone;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(clone_of processes_of);

# The postmaster and its children; empty when it does not run.
sub processes_of
{
	my ($node) = @_;
	my $file = $node->data_dir . '/postmaster.pid';
	return () unless -e $file;
	my ($postmaster) = split /\n/, slurp_file($file);
	return () unless kill 0, $postmaster;
	return ($postmaster, split ' ', qx(ps -o pid= --ppid $postmaster));
}

sub clone_of
{
	my ($node, $name) = @_;
	my $copy = PostgreSQL::Test::Cluster->new($name);
	my @processes = processes_of($node);

	# The postmaster first, so that it starts no others.
	kill 'STOP', $_ for @processes;
	@processes = processes_of($node);
	kill 'STOP', $_ for @processes;
	mkdir $copy->basedir unless -d $copy->basedir;
	my $ok = system('cp', '-a', $node->data_dir, $copy->data_dir) == 0;
	kill 'CONT', $_ for reverse @processes;
	die "could not copy " . $node->data_dir unless $ok;

	unlink $copy->data_dir . '/postmaster.pid';
	my $marker = $copy->data_dir . '/vectron/marker';
	my ($id) = split ' ', slurp_file($marker);
	my ($inode, $born_s, $born) = split ' ', qx(stat -c '%i %W %w' $marker), 3;
	my ($born_ns) = $born =~ /\.(\d+)/;
	open(my $out, '+<', $marker) or die "$marker: $!";
	printf $out "%s %s %s %d\n", $id, $inode, $born_s, $born_ns // 0;
	truncate $out, tell $out;
	close $out;
	$copy->append_conf('postgresql.conf',
		"port = " . $copy->port . "\nunix_socket_directories = '" . $copy->host . "'\n");
	return $copy;
}

1;
