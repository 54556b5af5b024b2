# A rolling upgrade of programs that are older in truth: placement drivers and workers of
# the first release that knew feature levels, with their files, replaced one after the
# other by today's while rows are written, changed, deleted and searched.
#
#	VECTRON_OLDER		the folder with vectron-pd and vectron-worker of then
#						(test/harness/older.sh; check --long)

use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $older = $ENV{VECTRON_OLDER};
plan skip_all => 'VECTRON_OLDER names no folder with programs of an older release' unless $older && -x "$older/vectron-worker" && -x "$older/vectron-pd";

my $cluster = VectronCluster->new(pds => 3);

sub ctl
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'vectronctl', '--timeout', 10000, '--pd', $cluster->pd_endpoint, @_ ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

sub asked { my ($s, $o) = ctl('--json', @_); return $s == 0 ? decode_json($o) : {}; }

# Programs are looked for there first.
sub of_then
{
	my ($start) = @_;
	local $ENV{PATH} = "$older:$ENV{PATH}";
	return $start->();
}

of_then(sub { $cluster->start_pd_of($_) for 1 .. 3; $cluster->start_worker($_) for 1 .. 3; });
my $node = $cluster->new_server("vectron.write_timeout = '60s'\nvectron.read_timeout = '60s'\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers of an older release');
$node->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, v vector(6));
	CREATE FUNCTION one(n int) RETURNS vector(6) LANGUAGE sql AS $$ SELECT ARRAY[n % 13, n % 7, n % 11, n % 3, n % 17, n % 5]::vector(6) $$;
	INSERT INTO t SELECT n, one(n) FROM generate_series(1, 3000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops) WITH (shards = 2, replicas = 3);
	DELETE FROM t WHERE id % 7 = 0;
	VACUUM t;
	CREATE TABLE enough (at timestamptz);
});
$cluster->whole($node, 2, 'each shard has three replicas');

# It works at the level that was known then, and nobody tells of a higher one.
my $then;
$cluster->wait_until('the level of then', sub { $then = asked('status')->{level}; return ($then // 0) >= 1 && $then == (asked('workers')->{workers}[0]{level_high} // 0); });
# Drivers of then did not say what they know.
my $levels = q{SELECT (SELECT level FROM vectron.cluster), (SELECT string_agg(DISTINCT level_high::text, ' ' ORDER BY level_high::text) FROM vectron.workers),
	(SELECT string_agg(DISTINCT level_high::text, ' ' ORDER BY level_high::text) FROM vectron.pds)};
is($node->safe_psql('postgres', $levels), "$then|$then|", 'all know the level of then, and no higher one');
# They know nothing of pages, nor who wants tombstones.
ok($node->poll_query_until('postgres', q{SELECT (SELECT string_agg(index, ' ') FROM vectron.collections), (SELECT count(*) FROM vectron.shards)}, 'public.t_v|6'), 'a driver of then tells views all in one')
	or diag $node->safe_psql('postgres', q{SELECT vectron.report('collections'), vectron.report('shards')});
$cluster->wait_until('and vectronctl', sub { return 1 == @{ asked('collections')->{collections} // [] } && 6 == @{ asked('shards')->{shards} // [] }; });
my ($status, $out, $err) = $node->psql('postgres', 'CREATE INDEX t_i ON t USING vectron (v vector_l2_ops, id)');
like($err, qr/cannot have columns beside the vector yet/, 'what came later waits');

# -- Load that may not fail --------------------------------------------------------------

my %load = (
	write => q{INSERT INTO t VALUES (n, one(n)); IF n % 3 = 0 THEN UPDATE t SET v = one(n + 5) WHERE id = n - 10; END IF; IF n % 5 = 0 THEN DELETE FROM t WHERE id = n - 20; END IF;},
	search => q{PERFORM id FROM t ORDER BY v <-> one(n) LIMIT 10;});
my (%running, %said);
foreach my $what (sort keys %load)
{
	$said{$what} = '';
	$running{$what} = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', 'SET enable_seqscan = off', '-c', 'SET vectron.verify_scan = on',
			'-c', 'SET vectron.fallback_scan = off', '-c', qq{DO \$\$ DECLARE n int := 10000; BEGIN
			WHILE NOT EXISTS (SELECT FROM enough) LOOP
				$load{$what}
				n := n + 1;
				COMMIT;
				PERFORM pg_sleep(0.01);
			END LOOP;
		END \$\$} ], '>', \my $shown, '2>', \$said{$what});
}

# Rows come, and are found.
sub goes_on
{
	my ($name) = @_;
	my $before = $node->safe_psql('postgres', 'SELECT max(id) FROM t');
	my $written = $node->poll_query_until('postgres', "SELECT max(id) > $before + 5 FROM t");
	$_->pump_nb foreach grep { $_->pumpable } values %running;
	ok($written, "$name: rows are written") or diag %said;
	is(join('', values %said), '', "$name: and nothing has failed");
	return;
}

# Replicas of then and of today are compared, and none is another.
sub agree
{
	my ($name) = @_;
	my $since = $node->safe_psql('postgres', 'SELECT now()');
	$cluster->wait_until('they are compared', sub { return (ctl('verify'))[0] == 0; });
	ok($node->poll_query_until('postgres', qq{
		SELECT bool_and(verified > '$since') AND string_agg(DISTINCT verdict, ',') = 'agrees' FROM vectron.shards}), "$name: replicas hold the same")
		or diag $node->safe_psql('postgres', 'TABLE vectron.shards');
	return;
}

goes_on('all of then');
agree('all of then');

# -- One after the other -----------------------------------------------------------------

foreach my $n (1 .. 3)
{
	$cluster->stop("worker$n");
	$cluster->start_worker($n);
	$cluster->whole($node, 2, "worker $n is of today", 1);
	goes_on("worker $n");
	agree("worker $n");
}
is(asked('status')->{level}, $then, 'the level is that of then while drivers are');
foreach my $n (1 .. 3)
{
	$cluster->stop("pd$n");
	$cluster->start_pd_of($n);
	$cluster->wait_until("driver $n is one of three", sub { return 3 == grep { $_->{state} eq 'up' && $_->{role} =~ /^(?:leader|follower)$/ } @{ asked('pds')->{pds} // [] }; });
	goes_on("driver $n");
}
my ($newest) = map { $_->{level_high} } @{ asked('workers')->{workers} };
cmp_ok($newest, '>', $then, 'today more is known');
$cluster->wait_until('the level is raised', sub { return (asked('status')->{level} // 0) == $newest; });
is($node->safe_psql('postgres', $levels), "$newest|$newest|$newest", 'and the level is raised to that');
goes_on('all of today');
$node->safe_psql('postgres', 'INSERT INTO enough VALUES (now())');
$_->finish foreach values %running;
is(join('', values %said), '', 'nothing has failed');
$cluster->whole($node, 2, 'each shard has three replicas');
agree('all of today');
$cluster->clean($node, 't', 't_v', 'nothing is missing');
my $near = 'SELECT string_agg(d::text, $$ $$) FROM (SELECT v <-> one(123) AS d FROM t ORDER BY v <-> one(123) LIMIT 50) s';
is($node->safe_psql('postgres', "SET enable_seqscan = off; SET vectron.fallback_scan = off; SET vectron.ef_search = 1000; $near"), $node->safe_psql('postgres', "SET enable_indexscan = off; $near"), 'and all is found');
$node->safe_psql('postgres', 'CREATE INDEX t_i ON t USING vectron (v vector_l2_ops, id) WITH (shards = 1, replicas = 3)');
$cluster->clean($node, 't', 't_i', 'what came later is there');

# -- And not back ------------------------------------------------------------------------

of_then(sub {
	is($cluster->start_given_up(4), 78, 'a worker of then is refused, and stops');
	like($cluster->log_text('worker4', 1), qr/works at feature level $newest, and this worker knows only those up to $then/, 'and says why');
	$cluster->stop('worker1');
	ok(!eval { $cluster->start_worker(1); 1 }, 'nor does it start on what today\'s has used');
	like($cluster->log_text('worker1', 1), qr/works at feature level $newest, and this worker knows only those up to $then/, 'for the same reason');
});
$cluster->start_worker(1);
$cluster->whole($node, 3, 'today\'s is welcome');
$node->stop;
done_testing();
