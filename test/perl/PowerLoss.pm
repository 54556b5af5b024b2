
=pod

=head1 NAME

PowerLoss - cuts files back to what was synced

=head1 DESCRIPTION

For processes that run with the library of test/crash preloaded and were killed.  Each
file under a folder keeps what was synced, and of the rest nothing, all, or a random
part, every file by itself: an older file may lose its end while a younger one keeps
its own; but where there was something to lose, one at least loses something; with C<< nothing => 1 >> nothing of it is kept.  In stores of rows, which are
replayed from the Raft log, what is left may end in bytes that were never written; the
log itself takes such an end for damage and stops, which is right and not what is
tested here.

=cut

package PowerLoss;

use strict;
use warnings;

use File::Find;

sub new
{
	my ($class, $notes, $boot_id_file, %options) = @_;
	my $self = bless { notes => $notes, boot => $boot_id_file, boots => 0, nothing => $options{nothing} }, $class;
	mkdir $notes;
	$self->boot;
	return $self;
}

# Another boot id.
sub boot
{
	my ($self) = @_;
	open my $fh, '>', $self->{boot} or die "$self->{boot}: $!";
	printf $fh "%08x-0000-4000-8000-%012x\n", $$, ++$self->{boots};
	close $fh;
}

# Cut everything under a folder; returns how many bytes were lost.
sub cut
{
	my ($self, @folders) = @_;
	my %synced;
	foreach my $note (glob "$self->{notes}/*")
	{
		open my $fh, '<', $note or next;
		my $line = <$fh>;
		close $fh;
		$synced{$2} = $1 if defined $line && $line =~ /^(\d+) (.*)$/;
	}
	my ($lost, @spared) = (0);
	find({ no_chdir => 1, wanted => sub {
		return unless -f $File::Find::name && !-l $File::Find::name;
		my $path = $File::Find::name;
		# Locks and identity files are not what this is about.
		return if $path =~ m{/(LOCK|lock|LOG|LOG\.old)$};
		my $length = -s $path;
		my $keep = $synced{$path} // 0;
		return if $keep >= $length;
		my $dice = $self->{nothing} ? 0 : int(rand(3));
		$keep = $dice == 0 ? $keep : $dice == 1 ? $keep + int(rand($length - $keep)) : $length;
		push @spared, [ $path, $synced{$path} // 0, $length ] if $keep == $length;
		return if $keep == $length;
		$lost += $length - $keep;
		open my $fh, '+<', $path or die "$path: $!";
		truncate $fh, $keep or die "$path: $!";
		if ($dice == 1 && $path !~ m{/log/} && rand() < 0.5)
		{
			seek $fh, 0, 2;
			print $fh join '', map { chr int rand 256 } 1 .. int(rand(200));
		}
		close $fh;
	} }, @folders);
	if ($lost == 0 && @spared)
	{
		my ($path, $keep, $length) = @{ $spared[ rand @spared ] };
		truncate $path, $keep or die "$path: $!";
		$lost = $length - $keep;
	}
	return $lost;
}

1;
