# What a loss of power takes back of names, in the layer by which other tests lose it: a
# name is durable when its directory was synced, and what is undone is undone with all that
# was built upon it (test/crash/names.c, test/perl/PowerLoss.pm).

use strict;
use warnings;
use Cwd qw(abs_path);
use File::Find;
use PostgreSQL::Test::Utils;
use Test::More;
use PowerLoss;

my $library = $ENV{VECTRON_POWERLOSS_LIBRARY};
plan skip_all => 'no powerloss.so' unless $library && -f $library;

my $dir = abs_path(PostgreSQL::Test::Utils::tempdir('names'));
my $steps = <<'END';
use strict;
use warnings;
use Fcntl;
use IO::Handle;
chdir $ARGV[0] or die $!;
sub sync_dir { open my $fh, '<', $_[0] or die "$_[0]: $!"; $fh->sync or die "$_[0]: $!"; }
sub put { my ($path, $text, %how) = @_; sysopen my $fh, $path, O_RDWR | O_CREAT | ($how{append} ? O_APPEND : O_TRUNC) or die "$path: $!";
	syswrite $fh, $text; $how{unsynced} or $fh->sync or die $!; }
sub moved { rename $_[0], $_[1] or die "$_[0]: $!"; }
sub removed { unlink $_[0] or die "$_[0]: $!"; }
sub folder { mkdir $_[0] or die "$_[0]: $!"; }
END

my $tests = 0;

# What there is, by path: what is in it, or a slash.
sub tree
{
	my ($data) = @_;
	my %tree;
	find({ no_chdir => 1, wanted => sub {
		my $path = $File::Find::name;
		$tree{ substr $path, 1 + length $data } = -d $path ? '/' : slurp_file($path) if $path ne $data;
	} }, $data);
	return \%tree;
}

# Some steps in a folder of their own, the power, and what there is then.
sub after
{
	my ($script, %options) = @_;
	my $n = ++$tests;
	my $data = "$dir/data$n";
	mkdir $data;
	my $power = PowerLoss->new("$dir/notes$n", "$dir/boot$n", nothing => 1, %options);
	{
		local $ENV{LD_PRELOAD} = $library;
		local $ENV{VECTRON_POWERLOSS} = "$dir/notes$n";
		system($^X, '-e', "$steps\n$script", $data) == 0 or die "steps $n failed";
	}
	my (undef, $names) = $power->cut($data);
	# It is on disk now.
	my $tree = tree($data);
	is(scalar(join ',', $power->cut($data)), '0,0', "$n: nothing is lost twice");
	return ($tree, $names);
}

sub becomes
{
	my ($name, $script, $expected) = @_;
	my ($tree) = after($script);
	is_deeply($tree, $expected, $name) or diag explain $tree;
	return;
}

# -- One thing each -----------------------------------------------------------

becomes('a file that was synced has lost its name, unless its folder was synced after that', q{
	put('a', 'kept'); sync_dir('.'); put('a', ' not', append => 1, unsynced => 1); put('b', 'lost');
}, { a => 'kept' });

becomes('what was removed is back, with what was synced of it', q{
	put('a', 'kept'); put('a', ' not', append => 1, unsynced => 1); put('b', 'gone'); sync_dir('.'); removed('b'); sync_dir('.'); removed('a');
}, { a => 'kept' });

becomes('a file has its old name, and what it replaced is back', q{
	put('a', 'old'); put('b', 'other'); sync_dir('.');
	put('a.new', 'new'); moved('a.new', 'a');
	put('b.new', 'newer'); moved('b.new', 'b'); sync_dir('.');
	put('b.new', 'newest'); moved('b.new', 'b'); removed('a');
}, { a => 'new', b => 'newer' });

becomes('two hard links are two names', q{
	put('a', 'kept'); link('a', 'b') or die $!; sync_dir('.'); link('a', 'c') or die $!; removed('a');
}, { a => 'kept', b => 'kept' });

# -- Folders ------------------------------------------------------------------

becomes('a folder goes with all that was synced in it', q{
	folder('e'); put('e/a', 'kept'); sync_dir('e'); sync_dir('.'); put('e/b', 'lost'); folder('d'); put('d/a', 'lost'); sync_dir('d');
}, { e => '/', 'e/a' => 'kept' });

becomes('a folder has its old name, and what was done in it before and after is undone or not by itself', q{
	folder('d'); put('d/a', 'kept'); sync_dir('d'); sync_dir('.'); put('d/b', 'lost'); moved('d', 'e'); put('e/c', 'lost'); removed('e/a');
}, { d => '/', 'd/a' => 'kept' });

becomes('a folder keeps its new name, and loses what was not synced in it', q{
	folder('d'); put('d/a', 'kept'); sync_dir('d'); put('d/b', 'lost'); moved('d', 'e'); sync_dir('.'); put('e/c', 'lost');
}, { e => '/', 'e/a' => 'kept' });

becomes('a folder that was removed is back, and what was in it', q{
	folder('d'); put('d/a', 'kept'); sync_dir('d'); sync_dir('.');
	rmdir('d') and die 'it is not empty'; die $! unless $!{ENOTEMPTY};
	removed('d/a'); rmdir('d') or die $!; -e 'd' and die 'it is there';
}, { d => '/', 'd/a' => 'kept' });

becomes('nor does another one have to do with a folder that is gone', q{
	foreach my $n (1 .. 20) { folder('d'); sync_dir('.'); put('d/a', 'lost'); removed('d/a'); rmdir('d') or die $!; sync_dir('.'); }
	folder('e'); put('e/a', 'kept'); sync_dir('e'); sync_dir('.');
}, { e => '/', 'e/a' => 'kept' });

becomes('one folder onto the place of another', q{
	folder('d'); put('d/a', 'old'); sync_dir('d'); folder('in'); put('in/a', 'new'); sync_dir('in'); sync_dir('.');
	moved('d', 'old'); moved('in', 'd'); removed('old/a'); rmdir('old') or die $!;
}, { d => '/', 'd/a' => 'old', in => '/', 'in/a' => 'new' });

# -- As LevelDB does it -------------------------------------------------------

becomes('LevelDB keeps the names of what it synced', q{
	put('MANIFEST-000001', 'old'); put('CURRENT', '1'); put('000003.log', 'rows'); sync_dir('.');
	put('MANIFEST-000004', 'new'); sync_dir('.'); put('000004.dbtmp', '4'); moved('000004.dbtmp', 'CURRENT');
	removed('MANIFEST-000001'); removed('000003.log'); put('000005.log', 'more'); put('000006.log', 'lost', unsynced => 1); put('LOG', 'words');
}, { 'MANIFEST-000001' => 'old', 'MANIFEST-000004' => 'new', CURRENT => '1', '000003.log' => 'rows', '000005.log' => 'more', LOG => 'words' });

# -- By chance ----------------------------------------------------------------

# In many folders the same.  What chance does is the same each time with the same seed.
sub many
{
	srand(1);
	return after(q{
		folder('of'); foreach my $i (1 .. 5) { put("of/$i", $i); }
		foreach my $n (1 .. 60)
		{
			folder($n);
			foreach my $i (1 .. 5) { link("of/$i", "$n/new") or die $!; moved("$n/new", "$n/file"); $i == 2 and sync_dir($n); }
			link('of/1', "$n/a") or die $!; link('of/1', "$n/b") or die $!;
		}
		sync_dir('of'); sync_dir('.');
	}, nothing => 0);
}
my ($tree, $lost) = many();
my ($again) = many();
is_deeply($again, $tree, 'the same seed, the same loss');
my %found;
foreach my $n (1 .. 60)
{
	$found{ $tree->{"$n/file"} // 'none' }++;
	$found{disorder}++ if exists $tree->{"$n/b"} && !exists $tree->{"$n/a"};
}
is(join(',', sort keys %found), '2,3,4,5,disorder', 'a file that is replaced is the one before or one after, and not always the last change is lost')
	or diag explain \%found;
cmp_ok($lost, '>', 60, "changes of names were lost: $lost");

done_testing();
