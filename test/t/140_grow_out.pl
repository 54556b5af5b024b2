# Growing out of one machine without a rebuild: the embedded daemons listen for
# others, workers join, replicas follow, another placement driver takes over, and
# what was embedded retires. Each step is what vectronctl expose says, and the
# server is killed between them.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# Whoever comes first after a crash waits for all daemons to be there again, and for an election.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'vectron'\nautovacuum = off\njit = off\n"
	. "vectron.write_timeout = '120s'\nvectron.read_timeout = '120s'\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int PRIMARY KEY, v vector(6));
	INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(1, 1000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2);
});
my $generation = $node->safe_psql('postgres', q{SELECT generation FROM vectron.index_meta('t_v')});
my $next = 1001;

# Writes and searches go on, nothing is missing, and the index is the one it was.
sub well
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $order = q{(SELECT string_agg(id::text, ' ') FROM (SELECT id FROM (SELECT id, v <-> '[6,3,5,1,8,2]' AS d FROM t ORDER BY v <-> '[6,3,5,1,8,2]' LIMIT 400) w ORDER BY d, id LIMIT 50) s)};
	my $to = $next + 49;
	my ($found, $exact, $state) = split /\n/, $node->safe_psql('postgres', qq{
		INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series($next, $to) n;
		SET enable_seqscan = off; SET vectron.verify_scan = on;
		SELECT $order;
		SET enable_indexscan = off;
		SELECT $order;
		SELECT i.generation || ' ' || i.state || ' ' || (c.entries >= $to) || ' ' || c.missing || c.extra || c.wrong
		FROM vectron.index_meta('t_v') i, vectron.check_index('t_v') c});
	$next = $to + 1;
	is($found, $exact, "$name: all is found");
	return is($state, "$generation live true 000", "$name: nothing is missing, in the same index");
}

sub killed_and_well
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->stop('immediate');
	$node->start;
	return well($name);
}

# The drivers can decide something.
sub decided
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql('postgres', 'CREATE TABLE d AS SELECT v FROM t LIMIT 10; CREATE INDEX d_v ON d USING vectron (v vector_l2_ops); DROP TABLE d');
	return ok(1, "$name: an index is made");
}

# -- What vectronctl expose says ---------------------------------------------------------

my $dir = $cluster->certs_dir;
my $socket = 'unix:' . $node->host . '/.s.VECTRON.' . $node->port . '.1';
$cluster->{tls} = 1;
my ($pd, $worker, $pd1) = map { $cluster->endpoint($_) } 'pd', 'worker', 'pd1';
my $ask = $socket;

sub ctl
{
	my ($out, $err) = ('', '');
	my @tls = $ask eq $socket ? () : $cluster->tls_options('admin', 'anna');
	# Who leads may change with what is asked for.
	IPC::Run::run([ 'vectronctl', '--timeout', 30000, '--pd', $ask, @tls, @_ ], '>', \$out, '2>', \$err);
	return wantarray ? ($? >> 8, $out, $err) : $out;
}

sub refused
{
	my ($what, $like, @words) = @_;
	my ($status, $out, $err) = ctl('expose', @words);
	return ok($status == 1 && $err =~ $like, "refused: $what") || diag "$status: $out$err";
}

# The next step, when there is nothing to wait for: the lines that are to be typed.
sub step
{
	my ($like) = @_;
	my ($status, $out, $err);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$cluster->wait_until("the step: $like", sub { ($status, $out, $err) = ctl('expose', $dir, $pd, $worker); return $status == 0 && $out =~ $like; });
	like($out, $like, 'the next step is told');
	return $out =~ /^ {13}(\S.*)$/mg;
}

sub configure { $node->append_conf('postgresql.conf', join("\n", @_) . "\n"); $node->reload; return; }

# Run a line that it has told.
sub type
{
	my ($line) = @_;
	my (undef, @words) = split ' ', $line =~ s/ *#.*//r =~ s/--pd \S+ //r;
	my ($status, $out, $err);
	# The other driver may not have been heard for a moment.
	$cluster->wait_until("@words", sub { ($status, $out, $err) = ctl(@words); return $err !~ /more than half must be/; });
	return is("$status$err", '0', "@words");
}

my ($id) = ctl('status') =~ /^cluster +(\w+)/;
refused('no certificates', qr/certs init --cluster $id ca\n.*issue ca pd embedded\n.*issue ca worker embedded\n.*issue ca gateway \d+/, $dir, $pd, $worker);
$cluster->certs('init', '--cluster', $id, $dir);
$cluster->files($_, 'embedded') for 'pd', 'worker';
$cluster->gateway_conf($node);
refused('a socket', qr/no place that other machines could come to/, $dir, $socket, $worker);
refused('every address', qr/no place that other machines could come to/, $dir, 'tcp://0.0.0.0:7400', $worker);
refused("another machine's address", qr/nobody could listen at/, $dir, 'tcp://192.0.2.1:7400', $worker);
refused('one port for both', qr/different ports/, $dir, $pd, $pd);
{
	my $other = "$dir-other";
	$cluster->certs('init', $other);
	$cluster->certs('issue', $other, @$_) for [ 'pd', 'embedded' ], [ 'worker', 'embedded' ];
	refused('certificates of another cluster', qr/is for cluster \w+, and this one is $id/, $other, $pd, $worker);
}

# -- Listen ---------------------------------------------------------------------------------

configure(step(qr/listen for other machines/));
ok($node->poll_query_until('postgres', "SELECT endpoint = '$worker' FROM vectron.workers"), 'the embedded worker says where');
refused('other endpoints', qr/exposed already/, $dir, $worker, $pd);
killed_and_well('listening for others');

# -- Workers join -----------------------------------------------------------------------------

like(join("\n", step(qr/start workers on other machines/)), qr/--pd \Q$pd\E/, 'workers are to be started');
my @workers = map { [ "worker$_", 'vectron-worker', '--data', $cluster->data("worker$_"), '--listen', $cluster->endpoint("worker$_"), $cluster->tls_options('worker', "worker$_") ] } 1 .. 3;
$cluster->spawn(@$_, '--pd', $pd) for @workers;
$cluster->wait_ready($_->[0]) for @workers;
$cluster->wait_until('three workers are there', sub { return ctl('expose', $dir, $pd, $worker) =~ /machines: 3 up/; });
type($_) for step(qr/more than the copy/);
type(step(qr/empty the embedded worker/));
$node->stop('immediate');
$node->start;
like(join("\n", step(qr/start another placement driver/)), qr/--peers \Q$pd\E/, 'it is emptied, and another driver is to be started');
$cluster->whole($node, 2, 'its replicas are on the others');
well('without the embedded worker');

# -- Another placement driver -------------------------------------------------------------

$cluster->start('pd1', 'vectron-pd', '--data', $cluster->data('pd1'), '--listen', $pd1, '--peers', "$pd,$pd1", '--default-replicas', 3, $cluster->tls_options('pd', 'pd1'));
$cluster->wait_until('it is added', sub { my ($status) = ctl('add-pd', $pd1); return $status == 0 });
my ($line, @rest) = step(qr/everybody goes to them/);
is($line, "vectron.pd_endpoints = '$pd1'", 'the server is to go there');
configure($line);
ok($node->poll_query_until('postgres', "SELECT bool_and(state = 'up') FROM vectron.pds WHERE role IN ('leader', 'follower') HAVING count(*) = 2"), 'both drivers are there');
well('told of the other driver');

# Whoever takes the lines out too early ends nothing: of two drivers both are needed.
my @exposed = ("vectron.expose_pd = '$pd'", "vectron.expose_worker = '$worker'", "vectron.expose_certificates = '$dir'");
my @taken_out = map { s/'.*'/''/r } @exposed;
my $daemons = sub { return scalar(() = slurp_file($node->logfile) =~ /started \S*vectron-(?:pd|worker), process/g); };
my $started = $daemons->();
$node->append_conf('postgresql.conf', "vectron.embedded_directory = 'elsewhere'\n");
configure(@taken_out);
$cluster->wait_until('the supervisor has seen it', sub { return slurp_file($node->logfile) =~ /the embedded vectron daemons go on listening at \Q$pd\E and \Q$worker\E until/; });
decided('without the lines');
is($daemons->(), $started, 'no daemon was stopped for that, nor for another folder, which takes a restart');
$node->append_conf('postgresql.conf', "vectron.embedded_directory = ''\n");
killed_and_well('without the lines, started anew');
decided('started anew');
configure(@exposed);
$ask = "$pd,$pd1";
type($rest[-1]);
$ask = $pd1;
$cluster->wait_until('it has left', sub { return ctl('pds') =~ /^ *\d+ +leader +up .*\Q$pd1\E\n\z/m; });
killed_and_well('led by another');

# -- What was embedded retires --------------------------------------------------------------

($line) = step(qr/stop the embedded daemons/);
configure($line, map { "vectron.expose_$_ = ''" } 'pd', 'worker', 'certificates');
type($_) for step(qr/not to come back/);
well('a cluster of its own');
my ($status, $out);
$cluster->wait_until('nothing is left to do', sub { ($status, $out) = ctl('expose', $dir, $pd, $worker); return $status == 4; });
is($status, 4, 'nothing is left to do') or diag $out;
killed_and_well('after a restart');
$cluster->wait_until('all is well', sub { return ctl('check') eq "all is well\n"; });

$node->stop;
done_testing();
