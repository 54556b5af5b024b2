# A backend that gets no memory for the client says so and lives on, at whichever
# allocation it happens; nothing else of the server notices, and nothing is lost.

use strict;
use warnings;
use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $library = $ENV{VECTRON_POWERLOSS_LIBRARY};
plan skip_all => 'no powerloss.so' unless $library && -f $library;

my $arm = abs_path(PostgreSQL::Test::Utils::tempdir('nomemory')) . '/arm';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nvectron.sweep_interval = 0\n");
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{VECTRON_FAIL_ALLOC_IN} = '/vectron.so';
	local $ENV{VECTRON_FAIL_ALLOC_FILE} = $arm;
	$node->start;
}
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(2));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
	INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 50) n;
});

sub arm
{
	my ($n) = @_;
	open my $fh, '>', "$arm.new" or die "$arm.new: $!";
	print $fh $n;
	close $fh;
	rename "$arm.new", $arm or die "$arm: $!";
	return;
}

# The n-th allocation of a session fails, for n from 1 until there is no n-th any
# more.  The statement runs twice: once it fails, the other time it succeeds.  What is to be
# there for it is made by another session.
sub every_allocation
{
	my ($what, $sql, $after, $before) = @_;
	my ($failed, $lived, $odd, $n) = (0, 0, '', 0);

	for ($n = 1; $n < 2000; $n++)
	{
		$node->safe_psql('postgres', $before) if $before;
		arm($n);
		my ($status, $out, $err) = $node->psql('postgres', "$sql;\n\\echo again\n$sql", on_error_stop => 0);
		unlink $arm;
		last if $err eq '';
		$failed++;
		$odd .= "$n: $err\n" unless $err =~ /\A\S+ ERROR:  out of memory\nDETAIL:  Failed on request of size \d+ in vectron's client\.(\nCONTEXT: .*)?\z/;
		$lived++ if $out =~ /^$after$/m && $out =~ /^again$/m;
	}
	cmp_ok($failed, '>', 10, "$what: allocations were made to fail");
	cmp_ok($n, '<', 2000, "$what: and there is an end to them");
	is($odd, '', "$what: every failure is said to be one of memory");
	is($lived, $failed, "$what: and every session goes on");
	return;
}

every_allocation('a search', q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[7,7]' LIMIT 1}, '7');
every_allocation('an insert', q{INSERT INTO t VALUES (100, '[100,100]') RETURNING id}, '100');
every_allocation('VACUUM', q{DELETE FROM t WHERE id = 100;
VACUUM t;
SELECT count(*) FROM t WHERE id = 100}, '0', q{INSERT INTO t VALUES (100, '[100,100]')});
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '50|0|0|0',
	'the index has what the table has');
unlike(slurp_file($node->logfile), qr/terminated by signal|server process .* was terminated|reinitializing/,
	'no process was ended by it');
$node->stop;
done_testing();
