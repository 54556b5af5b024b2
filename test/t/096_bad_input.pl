# What comes in and makes no sense, and what is missing or full: a clear error,
# with SQLSTATE and hint, and everybody lives.

use strict;
use warnings;
use Cwd qw(abs_path);
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use HoldingProxy;
use VectronCluster;

$SIG{PIPE} = 'IGNORE';
my $cluster = VectronCluster->new;
my $proxy = HoldingProxy->new(substr($cluster->endpoint('proxy'), 5), substr($cluster->endpoint('worker1'), 5));
my @advertise = ('--advertise', $cluster->endpoint('proxy'));
$cluster->start_pd;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\nautovacuum = off\njit = off\n"
	  . "vectron.fallback_scan = off\nvectron.write_timeout = '20s'\nvectron.read_timeout = '20s'\n");
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(2)); INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 20) n;});

# Run SQL that must fail with this SQLSTATE, these words and a hint.
sub fails
{
	my ($name, $sql, $state, $words) = @_;
	my $err = $cluster->refused($node, "\\set VERBOSITY verbose\n$sql", qr/ERROR:  $state: .*$words/);
	ok(defined $err, "$name: it fails, with words") or return;
	like($err, qr/HINT:  \S/, "$name: and a hint");
	return;
}

# -- Nobody there yet ---------------------------------------------------------------

fails('no worker was ever there', q{SET vectron.write_timeout = '1s'; CREATE INDEX t_v ON t USING vectron (v vector_l2_ops)},
	'(08006|57014)', 'could not create the shards');
$cluster->start_worker(1, @advertise);
$node->safe_psql('postgres', q{CREATE INDEX t_v ON t USING vectron (v vector_l2_ops)});
my $search = q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[3.2,3]' LIMIT 1};
is($node->safe_psql('postgres', $search), '3', 'with a worker it works');

like($cluster->log_text('worker1'), qr/memory_limit is \d+ MiB: 75 % \(memory_share\) of the \d+ MiB of (the machine|its cgroup)/,
	'its memory has a limit that follows from the machine');

# -- Rubbish at the doors -------------------------------------------------------------

my $header = pack('V C C v Q< V V Q<', 0x4e525456, 1, 1, 1, 1, 4, 0, 0);
my %rubbish = (
	'nothing' => '',
	'one byte' => 'V',
	'half a header' => substr($header, 0, 16),
	'another protocol' => "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
	'JSON' => '{"op":"status"}' x 10,
	'zeroes' => "\0" x 100,
	'a wrong checksum' => $header . 'abcd',
	'a length beyond all bounds' => pack('V C C v Q< V V Q<', 0x4e525456, 1, 1, 1, 1, 0xffffffff, 0, 0),
	'another version' => pack('V C C v Q< V V Q<', 0x4e525456, 77, 1, 1, 1, 0, 0, 0),
	'random bytes' => join('', map { chr int rand 256 } 1 .. 4096));
foreach my $door ('pd', 'worker1')
{
	foreach my $name (sort keys %rubbish)
	{
		my $socket = IO::Socket::UNIX->new(Peer => substr($cluster->endpoint($door), 5)) or die "no door: $!";
		my $got = '';
		syswrite $socket, $rubbish{$name};
		shutdown $socket, 1;
		1 while sysread $socket, $got, 4096, length $got;
		is($cluster->ended($door), undef, "$door lives after $name");
	}
}
my @idle = map { IO::Socket::UNIX->new(Peer => substr($cluster->endpoint($_), 5)) } ('pd', 'worker1') x 50;
is($node->safe_psql('postgres', $search), '3', 'and serves, beside a hundred who say nothing');
close $_ for @idle;

# -- Damage on the way ------------------------------------------------------------------

my $id = 100;
foreach my $what ('request', 'reply')
{
	foreach my $how ('flip', 'long', 'cut')
	{
		$id++;
		my $before = $proxy->damaged;
		$proxy->damage($what, $how);
		is($node->safe_psql('postgres', "INSERT INTO t VALUES ($id, '[$id,1]'); SELECT 'committed'"), 'committed', "a $what with damage ($how): the write is made all the same");
		is($proxy->damaged, $before + 1, "a $what was damaged");
		$proxy->damage($what, $how);
		is($node->safe_psql('postgres', $search), '3', "and so is a search");
		is($proxy->damaged, $before + 2, "a $what of it was damaged");
	}
}
$proxy->damage('reply', 'version');
fails('a reply of another version', $search, '08P01', '');
is($node->safe_psql('postgres', $search), '3', 'the next one is understood');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '26|0|0|0', 'nothing was lost or made twice');

# -- Full ---------------------------------------------------------------------------------

$cluster->stop('worker1');
$cluster->start_worker(1, @advertise, '--disk-reserve', '1000000000');
# It serves before it has looked, and the driver knows when it is told.
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM vectron.health WHERE finding = 'disk_full'}), 'a disk that is almost full is told of');
fails('a disk that is almost full', q{INSERT INTO t VALUES (200, '[9,9]')}, '53100', 'full');
fails('an index on such a disk', q{CREATE INDEX t_2 ON t USING vectron (v vector_l1_ops)}, '53100', 'no worker has room');
is($node->safe_psql('postgres', $search), '3', 'searches go on');
$node->safe_psql('postgres', 'DELETE FROM t WHERE id = 1; VACUUM t');
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '25|0|0|0', 'and VACUUM');
$cluster->stop('worker1');
$cluster->start_worker(1, @advertise, '--memory-limit', '1');
ok($node->poll_query_until('postgres', q{SELECT memory_limit = 1048576 FROM vectron.workers}), 'the view has the limit of a worker');
$node->safe_psql('postgres', q{CREATE TABLE big (v vector(2000)); CREATE INDEX big_v ON big USING vectron (v vector_l2_ops)});
my ($status, $out, $err);
for (1 .. 50)
{
	($status, $out, $err) = $node->psql('postgres', q{INSERT INTO big SELECT array_agg(random()) FROM generate_series(1, 20) r, generate_series(1, 2000) GROUP BY r});
	last if $status;
}
like($err, qr/memory_limit/, 'the memory of a worker has a limit, which is named');
is($node->safe_psql('postgres', $search), '3', 'beyond which it answers');
my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM big');
cmp_ok($rows, '>', 0, 'what was committed is there');
is($node->safe_psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('big_v')}), '0|0|0', 'and indexed');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 7 FROM vectron.workers, json_each_text(memory_of) HAVING sum(value::bigint) = max(memory)}), 'the view has what the memory goes for');
# What is dropped makes room.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'vectron'\n");
$node->restart;
$node->safe_psql('postgres', 'DROP TABLE big');
ok($node->poll_query_until('postgres', q{SELECT (memory_of ->> 'records')::bigint + (memory_of ->> 'shards')::bigint < memory_limit * 3 / 4 FROM vectron.workers}),
	'a dropped index gives its memory back');
$node->safe_psql('postgres', q{INSERT INTO t VALUES (500, '[9,9]'); DELETE FROM t WHERE id = 500; VACUUM t});

# On a disk that is short what was dropped goes at once, not after a day.
my $hidden = q{SELECT count(*) FROM json_to_recordset(vectron.report('collections')::json -> 'collections') AS c(state text) WHERE state <> 'live'};
is($node->safe_psql('postgres', $hidden), '1', 'what was dropped is kept');
my ($free) = (split /\n/, qx{df -Pm '$PostgreSQL::Test::Utils::tmp_check'})[1] =~ /\d+\s+\d+\s+(\d+)/;
$cluster->stop('worker1');
$cluster->start_worker(1, @advertise, '--disk-reserve', int($free * 0.75));
ok($node->poll_query_until('postgres', "SELECT ($hidden) = 0"), 'but not where the disk is short');
is($node->safe_psql('postgres', $search), '3', 'what lives is not touched');

# A write that fails for want of space ends the driver; it comes back with all it said.
SKIP:
{
	my $library = $ENV{VECTRON_POWERLOSS_LIBRARY};
	skip 'no powerloss.so', 6 unless $library && -f $library;
	my $arm = abs_path(PostgreSQL::Test::Utils::tempdir()) . '/arm';
	foreach my $path ('/log/', '/catalog/')
	{
		$cluster->stop('pd');
		{
			local $ENV{LD_PRELOAD} = $library;
			local $ENV{VECTRON_FAIL_WRITE_FILE} = $arm;
			$cluster->start_pd;
		}
		$node->safe_psql('postgres', $search);
		PostgreSQL::Test::Utils::append_to_file("$arm.new", $path);
		rename "$arm.new", $arm or die "$arm: $!";
		# It may be made when the driver is back, or not.
		my $create = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', 'CREATE INDEX t_3 ON t USING vectron (v vector_ip_ops)' ],
			'>', \$out, '2>', \$err);
		my $ended = $cluster->wait_end('pd');
		isnt($ended, 0, "the driver stops when it cannot write $path");
		$cluster->start_pd;
		$create->finish;
		$node->safe_psql('postgres', 'DROP INDEX IF EXISTS t_3; CREATE INDEX t_3 ON t USING vectron (v vector_ip_ops)');
		is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_3')}), '25|0|0|0', 'and started again it goes on');
		is($node->safe_psql('postgres', $search), '3', 'with what it knew');
		$node->safe_psql('postgres', 'DROP INDEX t_3');
	}
}

# -- Settings, and files that somebody has touched ------------------------------------------

foreach my $case ([ 'no scheme', 'nowhere', '22023' ], [ 'a scheme nobody knows', 'carrier-pigeon://loft', '22023' ],
	[ 'a port that is none', 'tcp://localhost:x', '(22023|42501)' ], [ 'a path too long for a socket', 'unix:/' . 'x' x 200, '(22023|08006)' ])
{
	my ($name, $endpoint, $state) = @$case;
	$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '$endpoint'\n");
	$node->reload;
	ok($cluster->refused($node, "SET vectron.write_timeout = '1s';\n\\set VERBOSITY verbose\nINSERT INTO t VALUES (300, '[1,1]')", qr/ERROR:  $state: could not/),
		"vectron.pd_endpoints with $name is refused when used");
}
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\n");
$node->reload;
is($node->safe_psql('postgres', $search), '3', 'put right, it works');

my $folder = $node->data_dir . '/vectron';
for my $junk ('drops/18446744073709551615', 'drops/0', 'drops/nonsense', 'drops/3', 'down/nonsense', "down/" . 'a' x 32)
{
	mkdir "$folder/drops";
	mkdir "$folder/down";
	PostgreSQL::Test::Utils::append_to_file("$folder/$junk", "this is not\nwhat you think\0it is\n");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM vectron.sweep() WHERE index = 'public.t_v'}), '0', 'files of drops that make no sense are no drops');
is($node->safe_psql('postgres', q{SELECT cluster_state FROM vectron.indexes WHERE index = 't_v'::regclass}), 'live', 'and harm nobody');
foreach my $file ('incarnation', 'marker')
{
	# The file is there at each moment: who finds none makes one.
	link "$folder/$file", "$folder/$file.kept" or die "$file: $!";
	PostgreSQL::Test::Utils::append_to_file("$folder/$file.bad", "rubbish\n");
	rename "$folder/$file.bad", "$folder/$file" or die "$file: $!";
	fails("a damaged file $file", q{INSERT INTO t VALUES (400, '[1,1]')}, 'XX001', "file \"vectron/$file\" is damaged");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '25', 'the table can be read');
	rename "$folder/$file.kept", "$folder/$file" or die "$file: $!";
}
is($node->safe_psql('postgres', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '25|0|0|0', 'after all that the index is whole');
$node->stop;
$proxy->stop;
is($cluster->stop($_), 0, "$_ ends in order") for qw(worker1 pd);
done_testing();
