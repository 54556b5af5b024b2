
=pod

=head1 NAME

PowerLoss - takes back what was not synced

=head1 SYNOPSIS

  my $power = PowerLoss->new("$dir/notes", "$dir/boot_id");
  ... daemons with VECTRON_POWERLOSS and VECTRON_BOOT_ID_FILE, killed ...
  my ($bytes, $names) = $power->cut(@folders);
  $power->boot;

=head1 DESCRIPTION

For processes that run with the library of test/crash preloaded and were killed.

Names first (test/crash/names.c).  What was made, renamed or removed in a directory since
its last sync is undone: all of it, nothing, or some, every directory by itself.  Some is
what came last, or any of it, as a file system with or without a journal would have it;
what built upon something that is undone is undone with it, and a rename is undone as one.
A file's own sync does not keep its name.  In LevelDB's folders it does, and what is undone
is what came last: LevelDB syncs the folder before each sync of a MANIFEST, and not for a
new log, nor after CURRENT was renamed and what it replaced was removed, so that it needs
both of every file system.

Then each file under a folder keeps what was synced, and of the rest nothing, all, or a
random part, every file by itself: an older file may lose its end while a younger one keeps
its own.  Where there was something to lose, one at least loses something, and so it is with
names; with C<< nothing => 1 >> nothing of either is kept.  In stores of rows, which are
replayed from the Raft log, what is left may end in bytes that were never written; the
log itself takes such an end for damage and stops, which is right and not what is
tested here.

What is left is on disk: another loss of power does not take it.

=cut

package PowerLoss;

use strict;
use warnings;

use File::Basename qw(basename dirname);
use File::Find;
use File::Path qw(rmtree);

sub new
{
	my ($class, $notes, $boot_id_file, %options) = @_;
	my $self = bless { notes => $notes, boot => $boot_id_file, boots => 0, nothing => $options{nothing} }, $class;
	mkdir $notes;
	$self->forget;
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

# Is all lost that can be, from now on?
sub keep_nothing { my ($self, $yes) = @_; $self->{nothing} = $yes; return; }

# Nothing is noted of anything any more.
sub forget
{
	my ($self) = @_;
	rmtree($self->{notes}, { keep_root => 1 });
	mkdir "$self->{notes}/$_" or die "$self->{notes}/$_: $!" foreach 'kept', 'synced';
	return;
}

# Cut everything under some folders; returns how many bytes were lost, and how many names.
sub cut
{
	my ($self, @folders) = @_;
	my $names = $self->take_back(@folders);
	my $bytes = $self->cut_files(grep { -d } @folders);
	$self->forget;
	each_under(sub { $self->note_synced($_[0], -s $_[0]) if is_cut($_[0]) }, grep { -d } @folders);
	return wantarray ? ($bytes, $names) : $bytes;
}

# In an order that does not depend on the file system.
sub each_under
{
	my ($what, @folders) = @_;
	return if !@folders;
	find({ no_chdir => 1, preprocess => sub { sort @_ }, wanted => sub { $what->($File::Find::name) } }, @folders);
	return;
}

# What a file or directory goes by in the notes; undef: there is none.
sub key_of { my ($dev, $inode) = lstat $_[0]; return defined $inode ? sprintf('%x-%x', $dev, $inode) : undef; }

sub exists_there { return defined key_of($_[0]); }

# -- Names --------------------------------------------------------------------

# What no sync of its directory followed, in the order in which it was done.
sub pending
{
	my ($self) = @_;
	my ($at, @changes, %durable) = (0);
	open my $fh, '<:raw', "$self->{notes}/names" or return;
	while (my $line = <$fh>)
	{
		my ($kind, @words) = split /\t/, $line =~ s/\n\z//r;
		if ($kind eq 'sync') { $durable{ $words[0] } = $words[1]; }
		elsif ($kind eq 'rename') { push @changes, { kind => $kind, at => $at, from => [ @words[0, 1] ], in => $words[2], name => $words[3], kept => $words[4] }; }
		else { push @changes, { kind => $kind, at => $at, in => $words[0], name => $words[1], kept => $words[2] }; }
		$at += length $line;
	}
	close $fh;
	return grep { $_->{at} >= ($durable{ $_->{in} } // 0) } @changes;
}

# Where directories are, by what they go by: those under the folders, those that were removed,
# and those in which the folders themselves have their names.
sub places
{
	my ($self, @folders) = @_;
	my %places;
	each_under(sub { $places{ key_of($_[0]) } = $_[0] if -d $_[0] && !-l $_[0] }, @folders, "$self->{notes}/kept");
	$places{ key_of(dirname($_)) } //= dirname($_) foreach @folders;
	return \%places;
}

# A file that LevelDB has synced: it takes its name for durable.
sub is_pinned
{
	my ($self, $change, $folder) = @_;
	return 0 if $change->{kind} ne 'make' || $change->{name} !~ /^(?:MANIFEST-\d+|\d+\.(?:log|ldb|dbtmp))$/;
	my $key = key_of("$folder/$change->{name}");
	return defined $key && -e "$self->{notes}/synced/$key";
}

# Of the changes in one folder: those that are undone, by chance.
sub some_of
{
	my ($self, $folder, @changes) = @_;
	my $leveldb = -e "$folder/CURRENT" || grep { $_->{name} =~ /^(?:CURRENT$|MANIFEST-)/ } @changes;
	my $dice = $self->{nothing} ? 0 : int(rand(3));
	my @undone = @changes;
	if ($dice == 2) { @undone = (); }
	elsif ($dice == 1 && ($leveldb || rand() < 0.5)) { @undone = @changes[ int(rand(@changes)) .. $#changes ]; }
	elsif ($dice == 1) { @undone = grep { rand() < 0.5 } @changes; }
	return grep { !$leveldb || !$self->is_pinned($_, $folder) } @undone;
}

# Undo some of what was done to names; returns how many of these changes.
sub take_back
{
	my ($self, @folders) = @_;
	my $places = $self->places(@folders);
	my %own = map { key_of(dirname($_)) . '/' . basename($_) => 1 } @folders;
	my %outside = map { key_of(dirname($_)) => 1 } @folders;
	my @changes = grep { my $change = $_;
		!grep { !defined $places->{ $_->[0] } || $outside{ $_->[0] } && !$own{"$_->[0]/$_->[1]"} } names_of($change) } $self->pending;
	my (%of, @order, %undone, %built_upon);
	foreach my $change (@changes)
	{
		push @order, $change->{in} if !$of{ $change->{in} };
		push @{ $of{ $change->{in} } }, $change;
	}
	$undone{ $_->{at} } = 1 foreach map { $self->some_of($places->{$_}, @{ $of{$_} }) } @order;
	if (!%undone && @order)
	{
		my $last = $of{ $order[ rand @order ] }[-1];
		$undone{ $last->{at} } = 1 if !$self->is_pinned($last, $places->{ $last->{in} });
	}
	foreach my $change (@changes)
	{
		my @names = map { join '/', @$_ } names_of($change);
		$undone{ $change->{at} } = 1 if grep { $built_upon{$_} } @names;
		@built_upon{@names} = (1) x @names if $undone{ $change->{at} };
	}
	$self->undo($places, $_) foreach grep { $undone{ $_->{at} } } reverse @changes;
	return scalar keys %undone;
}

sub names_of { my ($change) = @_; return ([ $change->{in}, $change->{name} ], $change->{from} // ()); }

# If it was done at all.
sub undo
{
	my ($self, $places, $change) = @_;
	my $path = "$places->{ $change->{in} }/$change->{name}";
	my $kept = "$self->{notes}/kept/" . ($change->{kept} // '-');
	if ($change->{kind} eq 'make')
	{
		move($places, $path, "$self->{notes}/kept/gone.$change->{at}") if exists_there($path);
		return;
	}
	if ($change->{kind} eq 'rename')
	{
		my $before = "$places->{ $change->{from}[0] }/$change->{from}[1]";
		move($places, $path, $before) if exists_there($path) && !exists_there($before);
	}
	move($places, $kept, $path) if exists_there($kept) && !exists_there($path);
	return;
}

sub move
{
	my ($places, $from, $to) = @_;
	rename $from, $to or die "$from, $to: $!";
	s{^\Q$from\E(?=/|\z)}{$to} foreach values %$places;
	return;
}

# -- What is in files ---------------------------------------------------------

# Locks and LevelDB's log for people are not what this is about.
sub is_cut { my ($path) = @_; return -f $path && !-l $path && $path !~ m{/(?:LOCK|lock|LOG|LOG\.old)$}; }

sub synced
{
	my ($self, $path) = @_;
	open my $fh, '<', "$self->{notes}/synced/" . key_of($path) or return 0;
	my $line = <$fh>;
	close $fh;
	return defined $line && $line =~ /^(\d+)$/ ? $1 : 0;
}

sub note_synced
{
	my ($self, $path, $length) = @_;
	open my $fh, '>', "$self->{notes}/synced/" . key_of($path) or die "$path: $!";
	print $fh "$length\n";
	close $fh;
	return;
}

sub cut_files
{
	my ($self, @folders) = @_;
	my ($lost, @spared) = (0);
	each_under(sub {
		my ($path) = @_;
		return unless is_cut($path);
		my $length = -s $path;
		my $keep = $self->synced($path);
		return if $keep >= $length;
		my $dice = $self->{nothing} ? 0 : int(rand(3));
		push @spared, [ $path, $keep, $length ] if $dice == 2;
		return if $dice == 2;
		$keep += int(rand($length - $keep)) if $dice == 1;
		$lost += $length - $keep;
		open my $fh, '+<', $path or die "$path: $!";
		truncate $fh, $keep or die "$path: $!";
		if ($dice == 1 && $path !~ m{/log/} && rand() < 0.5)
		{
			seek $fh, 0, 2;
			print $fh join '', map { chr int rand 256 } 1 .. int(rand(200));
		}
		close $fh;
	}, @folders);
	if ($lost == 0 && @spared)
	{
		my ($path, $keep, $length) = @{ $spared[ rand @spared ] };
		truncate $path, $keep or die "$path: $!";
		$lost = $length - $keep;
	}
	return $lost;
}

1;
