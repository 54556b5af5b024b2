# A file that moves to another tablespace is deleted where it was; the generation
# it holds lives on (law W8).

use strict;
use warnings;
use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Generations;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--data-checksums']);
$node->append_conf('postgresql.conf', "autovacuum = off\nshared_preload_libraries = 'vectron'\nvectron.sweep_interval = 0\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION vectron');

my $tablespace = abs_path(PostgreSQL::Test::Utils::tempdir());
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$tablespace'");
my $g = filled_table($node, 'c');
$node->safe_psql('postgres', 'ALTER INDEX c_v SET TABLESPACE elsewhere');
my $dropped = filled_table($node, 'd');
$node->safe_psql('postgres', 'DROP TABLE d');
becomes($node, $dropped, 'hidden', 'what was dropped later is gone');
is(state_of($node, $g), 'live', 'an index that moved to another tablespace lives');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('c_v')}), '50|0|0|0', 'with all its entries');
$node->safe_psql('postgres', 'BEGIN; ALTER INDEX c_v SET TABLESPACE pg_default; DROP INDEX c_v; COMMIT');
becomes($node, $g, 'hidden', 'moved and dropped at once is dropped');

# A page that is being written when it is looked at has a checksum of another
# moment: that says nothing of whose it is.
sub flip_checksum
{
	my ($path) = @_;
	my $bytes;

	open(my $file, '+<:raw', $path) or die "$path: $!";
	sysseek($file, 8, 0) && sysread($file, $bytes, 2) == 2 or die "$path: $!";
	sysseek($file, 8, 0) && syswrite($file, ~$bytes) == 2 or die "$path: $!";
	close $file;
	return;
}
$g = filled_table($node, 'e');
my $session = $node->background_psql('postgres', timeout => 3600);
$session->query_safe('BEGIN');
$session->query_safe('ALTER INDEX e_v SET TABLESPACE elsewhere');
my $path = $node->data_dir . '/' . $session->query_safe(q{SELECT pg_relation_filepath('e_v')});
$session->query_safe(q{SELECT vectron.index_meta('e_v')});
flip_checksum($path);
$session->query_safe('COMMIT');
flip_checksum($path);
$session->quit;
$dropped = filled_table($node, 'f');
$node->safe_psql('postgres', 'DROP TABLE f');
becomes($node, $dropped, 'hidden', 'what was dropped later is gone');
is(state_of($node, $g), 'live', 'a file that cannot be read for sure is not taken for another');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('e_v')}), '50|0|0|0', 'with all its entries');
$node->stop;

# A file that cannot be read at all: what it held is left to the sweeps, and the DROP succeeds.
SKIP:
{
	my $library = $ENV{VECTRON_POWERLOSS_LIBRARY};
	skip 'no powerloss.so', 4 unless $library && -f $library;
	my $arm = "$tablespace/arm";
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{VECTRON_FAIL_READ_FILE} = $arm;
	$node->start;
	$g = filled_table($node, 'h');
	$path = $node->safe_psql('postgres', q{SELECT pg_relation_filepath('h_v')});
	$node->safe_psql('postgres', 'CHECKPOINT');
	$node->restart;
	open(my $file, '>', $arm) or die "$arm: $!";
	print $file $path;
	close $file;
	my ($status, $out, $err) = $node->psql('postgres', q{DROP TABLE h});
	is($status, 0, 'a DROP needs to read nothing of what it drops') or diag $err;
	unlink $arm;
	is(state_of($node, $g), 'live', 'whose it was could not be told');
	$node->safe_psql('postgres', 'SELECT * FROM vectron.sweep()') for 1 .. 2;
	is(state_of($node, $g), 'hidden', 'and sweeps find it');
	is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('e_v')}), '50|0|0|0', 'others go on');
	$node->stop;
}
done_testing();
