# A rolling upgrade under load: the placement driver and the workers of a cluster know
# the first feature level only, and are replaced one after the other by such as know
# more.  No write fails.  When the last has come the level is raised, what takes it is
# refused before and done after, and there is no way back.

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
my $pd = $cluster->pd_endpoint;

# Of the release in which there were levels first.
sub older
{
	my ($start) = @_;
	local $ENV{VECTRON_LEVEL_HIGH} = 1;
	return $start->();
}

older(sub { $cluster->start_pd; $cluster->start_worker($_) for 1 .. 3; });
my $node = $cluster->new_server;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers of an older release');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, v vector(6));
	INSERT INTO t SELECT n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5] FROM generate_series(1, 500) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2, replicas = 3);
	CREATE TABLE enough (at timestamptz);
});

sub ctl
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--pd', $pd, @_ ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

sub status { return decode_json((ctl('--json', 'status'))[1]); }

# Each row is committed or fails, and none may.
my ($out, $err) = ('', '');
my $load = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', q{DO $$ DECLARE n int := 10000; BEGIN
		WHILE NOT EXISTS (SELECT FROM enough) LOOP
			INSERT INTO t VALUES (n, ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5]);
			n := n + 1;
			COMMIT;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$} ], '>', \$out, '2>', \$err);
ok($node->poll_query_until('postgres', 'SELECT count(*) > 510 FROM t'), 'rows are written all the time');

# -- Forth ---------------------------------------------------------------------------

is(status()->{level}, 1, 'the cluster works at the level that all know');
my ($status, $said, $refused) = ctl('unsafe-recover', 1);
like($refused, qr/takes feature level \d+, and the cluster works at 1: /, 'nothing of a later level is done');
foreach my $n (1 .. 3)
{
	$cluster->stop("worker$n");
	$cluster->start_worker($n);
	$cluster->whole($node, 2, "worker $n is of the new release", 1);
}
is(status()->{level}, 1, 'the placement driver is not');
is_deeply([ map { "$_->{level_low} $_->{level_high}" } @{ status()->{pds} } ], [ '1 1' ], 'which is told');
my ($newest) = map { $_->{level_high} } @{ decode_json((ctl('--json', 'workers'))[1])->{workers} };
cmp_ok($newest, '>', 1, 'what the workers know');
my $levels = q{SELECT (SELECT level FROM vectron.cluster), (SELECT string_agg(DISTINCT level_low || '-' || level_high, ' ') FROM vectron.workers),
	(SELECT string_agg(level_low || '-' || level_high, ' ') FROM vectron.pds)};
is($node->safe_psql('postgres', $levels), "1|1-$newest|1-1", 'in SQL, too');
$cluster->stop('pd');
$cluster->start_pd;
$cluster->wait_until('the level is raised', sub { return status()->{level} == $newest; });
is($node->safe_psql('postgres', $levels), "$newest|1-$newest|1-$newest", 'in views, too');
($status, $said, $refused) = ctl('unsafe-recover', 1);
like($refused, qr/there is no store 1/, 'what takes a later level is looked at now');
my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM t');
ok($node->poll_query_until('postgres', "SELECT count(*) > $before FROM t"), 'rows are written still');
$node->safe_psql('postgres', 'INSERT INTO enough VALUES (now())');
$load->finish;
is($err, '', 'and none has failed');
$cluster->clean($node, 't', 't_v', 'nothing is missing');

# -- And not back ----------------------------------------------------------------------

sub too_old { my ($who) = @_; return qr/works at feature level $newest, and this $who knows only those up to 1/; }

older(sub {
	is($cluster->start_given_up(4), 78, 'a new worker of the older release is refused, and stops');
	like($cluster->log_text('worker4', 1), too_old('worker'), 'and says why');
	$cluster->stop('worker1');
	ok(!eval { $cluster->start_worker(1); 1 }, 'one that was upgraded before does not even start');
	like($cluster->log_text('worker1', 1), too_old('worker'), 'for the same reason');
	$cluster->stop('pd');
	ok(!eval { $cluster->start_pd; 1 }, 'nor does a placement driver');
	like($cluster->log_text('pd', 1), too_old('placement driver'), 'for the same reason');
	$node->restart;
});
$cluster->start_pd;
$cluster->start_worker(1);
$cluster->whole($node, 2, 'the new release is welcome');
(undef, undef, $refused) = $node->psql('postgres', q{SET enable_seqscan = off; SET vectron.fallback_scan = off;
	SELECT id FROM t ORDER BY v <-> '[1,2,3,4,5,6]' LIMIT 1});
like($refused, too_old('server'), 'a server of the older release is told');
$node->stop;
done_testing();
