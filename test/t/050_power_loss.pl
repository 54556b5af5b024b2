# The daemons lose power: what was not synced is gone, in part or torn, and so are names.
# Every row whose commit was acknowledged still has its entry (laws S1, S2, P-rules).

use strict;
use warnings;
use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use PowerLoss;
use VectronCluster;

my $library = $ENV{VECTRON_POWERLOSS_LIBRARY};
plan skip_all => 'no powerloss.so' unless $library && -f $library;
my $seed = $ENV{VECTRON_SEED} // int(Time::HiRes::time() * 1000) % 1000000;
my $rounds = $ENV{VECTRON_ROUNDS} // 3;
note "VECTRON_SEED=$seed VECTRON_ROUNDS=$rounds";
srand($seed);

my $dir = abs_path(PostgreSQL::Test::Utils::tempdir('powerloss'));
my $power = PowerLoss->new("$dir/notes", "$dir/boot_id");
my $cluster = VectronCluster->new;

sub start_daemons
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{VECTRON_POWERLOSS} = "$dir/notes";
	local $ENV{VECTRON_BOOT_ID_FILE} = "$dir/boot_id";
	$cluster->start_pd;
	# Graphs are saved all the time: their files lose power, too.
	$cluster->start_worker(1, '--graph-save', 20);
}

start_daemons();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id bigserial, v vector(16));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
	CREATE FUNCTION one() RETURNS vector LANGUAGE sql AS $$ SELECT array_agg(random())::vector FROM generate_series(1, 16) $$;
});

# The answer, or the first line of the error: a lost shard is a failed test.
sub ask
{
	my ($status, $out, $err) = $node->psql('postgres', "SET vectron.read_timeout = '60s';\n$_[0]");
	return $status == 0 ? $out : (split /\n/, $err)[0];
}

my $total = 0;
for my $round (1 .. $rounds)
{
	# Single commits, a bulk, deletes; sometimes an orderly restart, which
	# writes a checkpoint that the next loss must replay from.
	$node->safe_psql('postgres', 'INSERT INTO t (v) VALUES (one())') for 1 .. 5;
	$node->safe_psql('postgres', 'INSERT INTO t (v) SELECT one() FROM generate_series(1, 500)');
	if ($round % 2 == 0)
	{
		$cluster->stop('worker1');
		$cluster->stop('pd');
		start_daemons();
	}
	$node->safe_psql('postgres', "DELETE FROM t WHERE id % 9 = $round; VACUUM t; INSERT INTO t (v) SELECT one() FROM generate_series(1, 100)");
	my $writer = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c',
			q{SET vectron.write_timeout = '60s'}, map { ('-c', 'INSERT INTO t (v) VALUES (one())') } 1 .. 200 ],
		'>', "$dir/out.$round", '2>', "$dir/err.$round");
	usleep(20_000 + int(rand(150_000)));
	$cluster->kill9($_) for 'worker1', 'pd';
	# All of it at first, when directories are new; then as it comes.
	$power->keep_nothing($round == 1);
	my ($lost, $names) = $power->cut(map { abs_path($cluster->data($_)) } 'pd', 'worker1');
	$power->boot;
	$total += $lost;
	note "round $round: $lost bytes were lost, $names changes of names";
	my $up = eval { start_daemons(); 1 };
	diag $@ unless $up;
	ok($up, "round $round: the daemons start again, with no synced write lost") or last;
	eval { $writer->finish };
	is(ask(q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')}), '0|0|0',
		"round $round: no acknowledged entry is lost, none is wrong");
	is(ask(q{SET enable_seqscan = off; SET vectron.verify_scan = on;
		SELECT (SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> one() LIMIT 100000) s) = (SELECT count(*) FROM t)}), 't',
		"round $round: a scan returns every row, at its true distance") or last;
}
cmp_ok($total, '>', 0, "unsynced bytes were lost in all: $total");
$node->stop;
done_testing();
