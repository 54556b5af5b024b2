# A cluster over tcp, made by the commands of docs/cluster.md; and everybody who
# should not get in: without a certificate, with one of another CA, an expired
# one, another's, in plain text, silent, or half a thousand at a time.

use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP;
use POSIX qw(strftime);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use VectronCluster;

my $cluster = VectronCluster->new(tls => 1);
my $dir = $cluster->certs_dir;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nvectron.write_timeout = 20s\nvectron.read_timeout = 20s\n");
$node->start;
my $system = $node->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()');

sub run_it
{
	my ($out, $err) = ('', '');
	IPC::Run::run([@_], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

# -- The how-to ----------------------------------------------------------------

# Blocks of the page, by language, with its addresses, folders and names made ours.
my ($docdir) = `pg_config --docdir` =~ /(.+)/;
my $page = slurp_file("$docdir/vectron/cluster.md");
my %place = ('10.0.0.10:7400' => 'pd', '10.0.0.11:7401' => 'worker1', '10.0.0.12:7401' => 'worker2', '10.0.0.13:7401' => 'worker3');
$page =~ s/\Q$_\E/'127.0.0.1:' . $cluster->port($place{$_})/ge for keys %place;
$page =~ s/7301234567890123456/$system/g;
$page =~ s{/etc/vectron}{$dir}g;
$page =~ s{/var/lib/vectron}{$cluster->{dir}}g;
my %blocks;
push @{ $blocks{$1} }, $2 while $page =~ /^```(\w+)\n(.*?)^```$/msg;
rename($dir, "$dir.unused") or die $!;

my @commands = map { split /\n/ } @{ $blocks{sh} };
my %running;
foreach my $command (@commands)
{
	my @words = split ' ', $command;
	@words = map { $_ eq 'ca' ? $dir : s{^ca/}{$dir/}r } @words if $words[1] eq 'certs';
	if ($words[0] eq 'vectronctl')
	{
		my ($status, $out, $err) = run_it(@words);
		is("$status$err", '0', $command);
		if ($words[-1] eq 'workers')
		{
			$cluster->wait_until('all workers are up', sub {
				($status, $out, $err) = run_it(@words);
				return $out =~ /(^ *\d+ +up .*tcp:.*\n){3}/m;
			});
			pass('three workers are up');
		}
		like($out, qr/^\S+ca\.crt +CA .* days left.*\n\S+ +pd +pd1 .*\n\S+ +worker +w1 /m, 'and whom certificates are for') if $words[2] && $words[2] eq 'show';
		next;
	}
	my $name = $words[0] eq 'vectron-pd' ? 'pd' : 'worker' . ++$running{worker};
	$cluster->start($name, @words);
	ok($cluster->log_text($name) =~ /ready on tcp:/, "$words[0] runs as $name");
}
is(scalar(@commands), 15, 'the page has as many commands as it had');
my @mode = map { sprintf '%o', (stat "$dir/$_")[2] & 07777 } 'ca.key', 'pd-pd1.key', 'ca.crt';
is("@mode", '600 600 644', 'keys are nobody else\'s');

# Preloading is for a start; the rest is for a reload.
my $conf = $blocks{conf}[0];
$node->append_conf('postgresql.conf', $conf);
$node->restart;
my @sql = @{ $blocks{sql} };
is(($node->psql('postgres', $sql[0]))[1], $system, 'the server says who it is');
$node->safe_psql('postgres', $sql[1]);
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 AND count(DISTINCT store) = 3 FROM vectron.shards WHERE state = 'up'}), 'an index on all three machines');

# -- It is the same cluster as ever --------------------------------------------

$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, v vector(6));
	INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(1, 2000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2, replicas = 3);
});

sub whole
{
	my ($name) = @_;
	ok($node->poll_query_until('postgres', q{
		SELECT count(*) = 2 FROM (
			SELECT shard FROM vectron.shards WHERE index = 'public.t_v' GROUP BY shard
			HAVING count(*) = 3 AND count(DISTINCT store) = 3 AND count(DISTINCT applied) = 1
				AND count(*) FILTER (WHERE role = 'leader') = 1 AND bool_and(state = 'up')) s}), $name)
		or diag $node->safe_psql('postgres', 'TABLE vectron.shards');
	return;
}

sub well
{
	my ($name) = @_;
	my $query = q{SELECT string_agg(id::text, ' ') FROM (SELECT id FROM (SELECT id, v <-> '[6,3,5,1,8,2]' AS d FROM t ORDER BY v <-> '[6,3,5,1,8,2]' LIMIT 400) w ORDER BY d, id LIMIT 50) s};
	is($node->safe_psql('postgres', "SET vectron.read_timeout = '60s'; SET enable_seqscan = off; SET vectron.verify_scan = on; $query"),
		$node->safe_psql('postgres', "SET enable_indexscan = off; $query"), "$name: everything is found");
	is($node->safe_psql('postgres', q{SET vectron.read_timeout = '60s'; SELECT entries >= (SELECT count(*) FROM t), missing, extra, wrong FROM vectron.check_index('t_v')}), 't|0|0|0', "$name: nothing is missing");
	return;
}

whole('an index is on all workers');
well('over TLS');
my $victim;
$cluster->wait_until('somebody leads', sub {
	($victim) = $node->safe_psql('postgres', q{SELECT endpoint FROM vectron.shards WHERE role = 'leader' AND index = 'public.t_v' ORDER BY shard LIMIT 1}) =~ /:(\d+)$/;
	return $victim;
});
($victim) = grep { $cluster->port($_) == $victim } 'worker1', 'worker2', 'worker3';
$cluster->kill9($victim);
$node->safe_psql('postgres', q{INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(3001, 3200) n});
well('a leader is dead');
my @start = map { my @w = split; $w[0] eq 'vectron-worker' ? [@w] : () } @commands;
my ($n) = $victim =~ /(\d)$/;
$cluster->start($victim, @{ $start[ $n - 1 ] });
whole('it comes back and catches up');
well('it is back');

# -- Certificates --------------------------------------------------------------

my ($status, $out, $err) = run_it('vectronctl', 'certs', 'issue', $dir, 'worker', 'w1');
is($status, 1, 'a certificate is not overwritten');
like($err, qr/is there already and stays as it is/, 'and that is said');
($status, $out, $err) = run_it('vectronctl', 'certs', 'init', $dir);
is($status, 1, 'nor is a CA');
ok(!-e "$dir/ca.crt.new", 'and nothing is left behind');
($status, $out, $err) = run_it('vectronctl', 'certs', 'issue', $dir, 'gateway', 'main');
like($err, qr/no system identifier/, 'a gateway is named by its system identifier');
($status, $out, $err) = run_it('vectronctl', 'certs', 'issue', $dir, 'worker', '../w1');
like($err, qr/is no name/, 'a name is no path');

# Certificates that nobody should believe.
my $foreign = "$cluster->{dir}/foreign";
$cluster->certs('init', $foreign);
$cluster->certs('issue', $foreign, 'admin', 'eve');
my ($id) = decode_json((run_it('vectronctl', 'certs', 'show', '--json', "$dir/ca.crt"))[1])->[0]{cluster};
my $twin = "$cluster->{dir}/twin";
$cluster->certs('init', $twin, '--cluster', $id);
$cluster->certs('issue', $twin, 'admin', 'eve');
$cluster->certs('issue', $dir, 'admin', 'late', '--from', strftime('%Y-%m-%d', gmtime(time - 30 * 86400)), '--days', 2);
is((run_it('vectronctl', 'certs', 'show', "$dir/admin-late.crt"))[0], 1, 'show fails for one that has expired');

sub ctl
{
	my ($ca, $file, $where, @words) = @_;
	return run_it('vectronctl', '--timeout', '8000', '--pd', $cluster->endpoint($where), '--tls-ca-file', $ca, '--tls-cert-file', "$file.crt", '--tls-key-file', "$file.key", @words);
}

# Each of them is stopped by its own side already.
foreach my $bad (
	[ "$foreign/ca.crt", "$foreign/admin-eve", 'pd', qr/the certificate of pd "pd1" is not signed by the cluster's CA/, 'a person of another cluster' ],
	[ "$twin/ca.crt", "$twin/admin-eve", 'pd', qr/is not signed by the cluster's CA/, 'a person whose CA says it is the cluster\'s' ],
	[ "$dir/ca.crt", "$dir/admin-late", 'pd', qr/the certificate of admin "late" expired at \d{4}-/, 'an expired certificate' ],
	[ "$dir/ca.crt", "$dir/worker-w1", 'pd', qr/is for worker "w1", and this is an admin/, 'a worker\'s certificate' ],
	[ "$dir/ca.crt", "$dir/admin-anna", 'worker1', qr/is for worker "w1", where a pd was expected/, 'a worker in the driver\'s place' ])
{
	my ($ca, $file, $where, $words, $name) = @$bad;
	($status, $out, $err) = ctl($ca, $file, $where, 'status');
	is($status, 1, $name);
	like($err, $words, '... in words');
}
chmod 0644, "$dir/admin-anna.key";
like((ctl("$dir/ca.crt", "$dir/admin-anna", 'pd', 'status'))[2], qr/may be read by others/, 'a key for all to read is not used');
chmod 0600, "$dir/admin-anna.key";
is((ctl("$dir/ca.crt", "$dir/admin-anna", 'pd', 'status'))[0], 0, 'a person with a certificate is served');

# And by the other side, when they do not stop themselves: OpenSSL's client believes everybody.
sub knock
{
	my ($daemon, $words, $name, @show) = @_;
	my $before = length $cluster->log_text($daemon);
	my ($in, $said) = ('', '');
	# Of many in ten seconds the first ten are told: who was but counted comes again.
	$cluster->wait_until("$daemon tells of $name", sub {
		IPC::Run::run([ 'openssl', 's_client', '-quiet', '-connect', '127.0.0.1:' . $cluster->port($daemon), @show ],
			'<', \$in, '>&', \$said, IPC::Run::timeout(60));
		return substr($cluster->log_text($daemon), $before) =~ /WARN .*shut out 127\.0\.0\.1:\d+: .*$words/;
	});
	pass("$daemon shuts out $name, and says so");
	return;
}
foreach my $daemon ('pd', 'worker1')
{
	knock($daemon, 'showed no certificate', 'who shows nothing');
	knock($daemon, 'not signed by the cluster\'s CA', 'a foreigner', '-cert', "$foreign/admin-eve.crt", '-key', "$foreign/admin-eve.key");
	knock($daemon, 'not signed by the cluster\'s CA', 'an impostor', '-cert', "$twin/admin-eve.crt", '-key', "$twin/admin-eve.key");
	knock($daemon, 'the certificate of admin "late" expired at', 'who comes too late', '-cert', "$dir/admin-late.crt", '-key', "$dir/admin-late.key");
	knock($daemon, 'does not speak TLS 1.3', 'who speaks an old TLS', '-tls1_2');
}
well('after all these');

# -- Plain text, silence, a crowd ----------------------------------------------

sub call
{
	my ($daemon) = @_;
	return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $cluster->port($daemon), Proto => 'tcp') // die "no connection: $!";
}

foreach my $daemon ('pd', 'worker1')
{
	my $before = length $cluster->log_text($daemon);
	my $socket = call($daemon);
	# A frame that claims 16 MiB.
	print $socket pack('a4CCvQ<VVQ<', 'VTRN', 1, 1, 1, 1, 16 << 20, 0, 0), 'x' x 100;
	$socket->flush;
	1 while sysread($socket, my $byte, 100);
	close $socket;
	$cluster->wait_until('plain text is told', sub { substr($cluster->log_text($daemon), $before) =~ /does not speak TLS/ });
	pass("$daemon does not take plain text");

	# Many who say nothing, some of whom began to.
	my @crowd = map { call($daemon) } 1 .. 500;
	for my $i (0 .. 99)
	{
		my $one = $crowd[ 5 * $i ];
		print $one "\x16\x03\x01\x02\x00\x01";
		$one->flush;
	}
	well("500 strangers at $daemon");
	is((ctl("$dir/ca.crt", "$dir/admin-anna", 'pd', 'workers'))[0], 0, 'the driver answers');
	# All but 256.
	my %gone;
	$cluster->wait_until('those who waited longest are shut out', sub {
		for my $i (grep { !$gone{$_} } 0 .. $#crowd)
		{
			vec(my $ready = '', fileno($crowd[$i]), 1) = 1;
			$gone{$i} = 1 if select($ready, undef, undef, 0) && !sysread($crowd[$i], my $byte, 1);
		}
		return keys %gone >= 244;
	});
	pass('those who waited longest were shut out');
	my @lines = substr($cluster->log_text($daemon), $before) =~ /shut out/g;
	cmp_ok(scalar(@lines), '<', 60, 'without a line for each');
	close $_ for @crowd;
}

# TLS where a unix socket is.
my $local = VectronCluster->new;
$local->start_pd;
{
	my ($path) = $local->pd_endpoint =~ /^unix:(.*)/;
	my ($in, $said) = ('', '');
	IPC::Run::run([ 'openssl', 's_client', '-quiet', '-unix', $path, '-cert', "$dir/admin-anna.crt", '-key', "$dir/admin-anna.key" ],
		'<', \$in, '>&', \$said, IPC::Run::timeout(60));
	isnt($?, 0, 'a unix socket does not speak TLS');
	$local->wait_until('it says so', sub { return $local->log_text('pd') =~ /shut out who came by the unix socket: does not begin with a greeting/; });
	is((run_it('vectronctl', '--pd', $local->pd_endpoint, 'status'))[0], 0, 'but goes on');
}

# -- Two servers on one cluster ------------------------------------------------

my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;
my $other_conf = $cluster->gateway_conf($other);
$other->append_conf('postgresql.conf', $other_conf);
$other->reload;
ok($other->poll_query_until('postgres', q{SELECT current_setting('vectron.pd_endpoints', true) LIKE 'tcp%'}), 'a second server') ;
$other->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE o (id int, v vector(3));
	INSERT INTO o SELECT n, ARRAY[n, 1, 2] FROM generate_series(1, 100) n;
	CREATE INDEX o_v ON o USING vectron (v vector_l2_ops) WITH (shards = 1);
});
is($other->safe_psql('postgres', q{SET enable_seqscan = off; SELECT id FROM o ORDER BY v <-> '[7,1,2]' LIMIT 1}), '7', 'it has indexes of its own');
is($other->safe_psql('postgres', q{SELECT string_agg(DISTINCT index, ' ') FROM vectron.collections}), 'public.o_v', 'and sees no others');
is($other->safe_psql('postgres', q{SELECT string_agg(DISTINCT index, ' ') FROM vectron.shards}), 'public.o_v', 'nor their shards');
like(($other->psql('postgres', q{SELECT vectron.drain_worker(min(store)) FROM vectron.workers}))[2], qr/op "drain" is not for this certificate/, 'it does not move what is others\'');
my ($all) = (ctl("$dir/ca.crt", "$dir/admin-anna", 'pd', 'collections'))[1];
ok($all =~ /public\.o_v/ && $all =~ /public\.t_v/, 'an admin sees all');

# With the other's certificate: at the driver, and at the workers whom its sessions know.
my $session = $node->background_psql('postgres', on_error_stop => 0, timeout => 3600);
$session->query_safe(q{SET enable_seqscan = off; SET vectron.fallback_scan = off});
my $search = q{SELECT id FROM t ORDER BY v <-> '[6,3,5,1,8,2]' LIMIT 1};
my $found = $session->query_safe($search);
my $entries = $session->query_safe(q{SELECT entries FROM vectron.check_index('t_v')});
my ($other_files) = $other_conf =~ /(vectron\.tls_ca_file.*)/s;
$node->append_conf('postgresql.conf', $other_files);
$node->reload;
ok($node->poll_query_until('postgres', "SELECT current_setting('vectron.tls_cert_file') LIKE '%gateway-%' AND current_setting('vectron.tls_cert_file') NOT LIKE '%$system%'"), 'a server with another\'s certificate');
# Nothing of the table answers for the index, so that what is found would be the cluster's.  A driver who
# does not answer within a second is passed by, with the way that is known, and a worker refuses: asked again.
sub shut_out
{
	my ($door, $words, @asks) = @_;
	foreach my $ask (@asks)
	{
		my ($name, $sql) = @$ask;
		my ($s, $o, $e);
		$cluster->wait_until("$door: $name is refused there", sub {
			($s, $o, $e) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET enable_seqscan = off; SET vectron.fallback_scan = off;\n$sql");
			return $e =~ $words || "$s $o" ne '3 ' || $e !~ /ERROR:  42501: .*not permitted/;
		});
		is("$s $o", '3 ', "$door: $name fails, and gives nothing");
		like($e, qr/ERROR:  42501: .*$words/, '... since the certificate is another\'s');
		like($e, qr/HINT: .*vectron\.tls_cert_file/, '... with a hint');
	}
	return;
}

my @asks = (
	[ 'a search', $search ],
	[ 'a search of many', q{SELECT * FROM vectron.search_many(NULL::t, 't_v', ARRAY['[6,3,5,1,8,2]', '[1,2,3,4,5,6]']::vector[], 10)} ],
	[ 'a write', q{INSERT INTO t VALUES (-1, '[1,2,3,4,5,6]')} ],
	[ 'a change', q{UPDATE t SET v = '[1,2,3,4,5,6]' WHERE id = 7} ],
	[ 'a fence', 'VACUUM t' ],
	[ 'a listing', q{SELECT * FROM vectron.check_index('t_v')} ]);
my $not_for_this = qr/op "\w+" is not for this certificate/;
shut_out('driver', $not_for_this, @asks, [ 'a new index', 'REINDEX INDEX t_v' ], [ 'a number of replicas', q{SELECT vectron.set_replicas('t_v', 1)} ],
	[ 'a comparison', q{SELECT vectron.verify('t_v')} ], [ 'a drain', 'SELECT vectron.drain_worker(min(store)) FROM vectron.workers' ]);
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT index, ' ') FROM vectron.collections}) . $node->safe_psql('postgres', q{SELECT string_agg(DISTINCT index, ' ') FROM vectron.shards}),
	'public.o_vpublic.o_v', 'driver: it lists what is that server\'s');

# Without a driver the way to the workers is known to the server, and each of them has to see for itself.
$cluster->stop('pd');
shut_out('worker', qr/not permitted/, @asks);
$cluster->start('pd', @{ (map { my @w = split; $w[0] eq 'vectron-pd' ? [@w] : () } @commands)[0] });
is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE id = -1'), '0', 'no row came of it');

# A worker's, and a person's.
foreach my $wrong ('worker-w1', 'admin-anna')
{
	$node->append_conf('postgresql.conf', "vectron.tls_cert_file = '$dir/$wrong.crt'\nvectron.tls_key_file = '$dir/$wrong.key'\n");
	$node->reload;
	ok($node->poll_query_until('postgres', "SELECT current_setting('vectron.tls_cert_file') LIKE '%$wrong%'"), "a server with the certificate of $wrong");
	($status, $out, $err) = $node->psql('postgres', "INSERT INTO t VALUES (-1, '[1,2,3,4,5,6]')");
	like($err, qr/the certificate is for (worker|admin) "\w+", and this is a gateway/, 'is told so');
}
like(($node->psql('postgres', 'SHOW vectron.tls_key_file'))[1], qr/key/, 'a superuser sees where the key is');
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
isnt(($node->psql('postgres', 'SHOW vectron.tls_key_file', extra_params => [ '-U', 'nobody' ]))[0], 0, 'others do not');
$node->append_conf('postgresql.conf', $conf);
$node->reload;
ok($node->poll_query_until('postgres', "SELECT current_setting('vectron.tls_cert_file') LIKE '%$system%'"), 'with its own again');
$session->query_safe('SELECT 1');
is($session->query_safe($search), $found, 'with which all is found as before');
is($session->query_safe(q{SELECT entries FROM vectron.check_index('t_v')}), $entries, 'and nothing has come or gone');
$session->quit;
well('its own certificate again');

# A daemon with another's certificate does not even start.
$cluster->spawn('worker9', 'vectron-worker', '--data', $cluster->data('worker9'), '--listen', $cluster->endpoint('worker9'), '--pd', $cluster->pd_endpoint,
	$cluster->tls_options('gateway', $system));
isnt($cluster->wait_end('worker9'), 0, 'a worker with a gateway\'s certificate ends');
like($cluster->log_text('worker9'), qr/is for gateway "\d+", and this is a worker/, 'and says why');
$cluster->spawn('worker9', 'vectron-worker', '--data', $cluster->data('worker9'), '--listen', $cluster->endpoint('worker9'), '--pd', $cluster->pd_endpoint);
isnt($cluster->wait_end('worker9'), 0, 'without any it does not listen on tcp');
like($cluster->log_text('worker9', 1), qr/tcp needs tls_ca_file/, 'and says what it needs');

# -- New certificates while it runs ---------------------------------------------

$session = $node->background_psql('postgres', timeout => 3600);
$session->query_safe(q{SET enable_seqscan = off});
is($session->query_safe($search), $found, 'a session at work');
foreach my $daemon ([ 'pd', 'pd', 'pd1' ], [ 'worker1', 'worker', 'w1' ], [ 'worker2', 'worker', 'w2' ])
{
	my ($name, @who) = @$daemon;
	my $before = length $cluster->log_text($name);
	$cluster->certs('renew', $dir, @who);
	kill 'HUP', $cluster->pid($name);
	$cluster->wait_until("$name has read its certificate", sub { substr($cluster->log_text($name), $before) =~ /certificates were read anew/ });
	is($session->query_safe($search), $found, "$name has a new certificate, and the session goes on");
	$session->query_safe(q{INSERT INTO t SELECT max(id) + 1, '[1,1,1,1,1,1]' FROM t});
}
# One that does not fit: the old one stays.
my $good = slurp_file("$dir/worker-w3.crt");
my $before = length $cluster->log_text('worker3');
append_to_file("$dir/worker-w3.crt.bad", slurp_file("$foreign/admin-eve.crt"));
rename("$dir/worker-w3.crt.bad", "$dir/worker-w3.crt") or die $!;
kill 'HUP', $cluster->pid('worker3');
$cluster->wait_until('worker3 refuses it', sub { substr($cluster->log_text('worker3'), $before) =~ /ERROR .*certificates stay as they are/ });
whole('a wrong file changes nothing');
well('after renewals');
$session->quit;
$other->stop;
$node->stop;
done_testing();
