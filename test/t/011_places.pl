# Where the embedded cluster finds room: a slot for its supervisor, a path for its
# sockets.  Without, whoever needs it is told which setting to change; with, it works.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 0\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(2));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
});
my $search = q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[3,3]' LIMIT 1};

# A write that must fail, with a hint
sub refused
{
	my ($what, $words, $hint) = @_;
	my ($status, $out, $err) = $node->psql('postgres', q{INSERT INTO t VALUES (1, '[1,1]')});
	isnt($status, 0, "$what: a write fails");
	like($err, $words, "$what: with words");
	like($err, qr/HINT:.*$hint/, "$what: and a hint");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '0', "$what: the server lives");
}
refused('no slot', qr/no background worker slot/, 'max_worker_processes');

# PostgreSQL's own socket just fits where ours, longer, does not.
my $host = $node->host;
my $long = PostgreSQL::Test::Utils::tempdir_short();
my $room = 107 - length("/.s.PGSQL." . $node->port) - length($long) - 1;
SKIP:
{
	skip 'the place for temporary files has a long name itself', 4 if $room < 1;
	$long .= '/' . 'x' x $room;
	mkdir $long or die "$long: $!";
	$node->adjust_conf('postgresql.conf', 'max_worker_processes', '8');
	$node->adjust_conf('postgresql.conf', 'unix_socket_directories', "'$long, $host'");
	$node->restart;
	refused('a long path', qr/socket path ".*" is too long/, 'unix_socket_directories');
}

# Without a folder for sockets ours lie in the data directory.
$node->adjust_conf('postgresql.conf', 'max_worker_processes', '8');
$node->adjust_conf('postgresql.conf', 'unix_socket_directories', "'\@vectron-$$, $host'");
$node->restart;
$node->safe_psql('postgres', q{INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 5) n});
is($node->safe_psql('postgres', $search), '3', 'with an abstract socket it works');
is(scalar(grep { -S } glob($node->data_dir . '/.s.VECTRON.*')), 2, 'and its own lie in the data directory');
is((stat((glob($node->data_dir . '/.s.VECTRON.*'))[0]))[2] & 0777, 0600, 'for their user only');

# What the failed writes left is removed while that can be done.
$node->safe_psql('postgres', 'VACUUM t');

# A VACUUM that has nothing to delete asks how many entries there are: whoever cannot be asked fails none.
$node->adjust_conf('postgresql.conf', 'max_worker_processes', '0');
$node->restart;
my ($vacuumed, undef, $why) = $node->psql('postgres', 'VACUUM t; VACUUM (FREEZE, ANALYZE) t');
is("$vacuumed$why", '0', 'without a slot VACUUM ends well where nothing is to be deleted');
($vacuumed, undef, $why) = $node->psql('postgres', 'DELETE FROM t WHERE id = 5; VACUUM t');
isnt($vacuumed, 0, 'and fails where something is');
like($why, qr/no background worker slot/, 'with words');

# Back in the usual place, the same data is served.
$node->adjust_conf('postgresql.conf', 'max_worker_processes', '8');
$node->adjust_conf('postgresql.conf', 'unix_socket_directories', "'$host'");
$node->restart;
is($node->safe_psql('postgres', $search), '3', 'and so it does after a move');
is($node->safe_psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')}), '0|0|0', 'with all that was there');

$node->stop;
done_testing();
