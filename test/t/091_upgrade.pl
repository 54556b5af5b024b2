# pg_upgrade keeps files and TIDs, and makes another server of them: the indexes are
# stale there (law W7), and those of the old server are its own.  And what an older
# placement driver does not know waits until it is upgraded, too.

use strict;
use warnings;
use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
{
	local $ENV{VECTRON_LEVEL_HIGH} = 2;
	$cluster->start_pd;
}
$cluster->start_worker(1);

sub server
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint
		. "'\nshared_preload_libraries = 'vectron'\nautovacuum = off\njit = off\n");
	return $node;
}

my $near = q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[9,9]' LIMIT 1};
my $check = q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')};
my $state = q{SELECT state FROM vectron.index_meta('t_v')};
my $old = server('old');
$old->start;
$old->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(2));
	INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 50) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
	DELETE FROM t WHERE id <= 5;
	VACUUM t;
	CREATE TABLE empty (v vector(2));
	CREATE INDEX empty_v ON empty USING vectron (v vector_l2_ops);
});
is($old->safe_psql('postgres', $check), '45|0|0|0', 'an index, before');
my ($status, $out, $err) = $old->psql('postgres', "\\set VERBOSITY verbose\nCREATE INDEX t_vi ON t USING vectron (v, id)");
like($err, qr/ERROR:  0A000: index "t_vi" cannot have columns beside the vector yet: .*HINT:  Upgrade all placement drivers/s,
	'columns for conditions wait for an older placement driver, with words');
$cluster->stop('pd');
$cluster->start_pd;
is($old->safe_psql('postgres', q{CREATE INDEX t_vi ON t USING vectron (v, id);
	SET enable_seqscan = off; SELECT id FROM t WHERE id > 20 ORDER BY v <-> '[9,9]' LIMIT 2}), "21\n22", 'which is upgraded, and there they are');
$old->safe_psql('postgres', 'DROP INDEX t_vi');
my $bin = $old->config_data('--bindir');

foreach my $mode ('copy', 'link')
{
	my $new = server($mode);
	$old->stop;
	command_ok([ 'env', '-C', abs_path($new->basedir), 'pg_upgrade', '--no-sync', '-d', abs_path($old->data_dir),
		'-D', abs_path($new->data_dir), '-b', $bin, '-B', $bin, '-s', $new->host, '-p', $old->port, '-P', $new->port,
		$mode eq 'link' ? '--link' : () ], "pg_upgrade by $mode");
	$new->start;
	is($new->safe_psql('postgres', $near), '9', "$mode: the new server answers");
	$new->safe_psql('postgres', q{INSERT INTO t VALUES (100, '[9.1,9]'); DELETE FROM t WHERE id = 9; VACUUM t;
		INSERT INTO t SELECT 200 + n, ARRAY[n, -n] FROM generate_series(1, 10) n});
	is($new->safe_psql('postgres', $near), '100', "$mode: and takes writes");
	is($new->safe_psql('postgres', $state), 'stale', "$mode: its index is stale");
	is($new->safe_psql('postgres', q{INSERT INTO empty VALUES ('[1,1]'); SELECT state FROM vectron.index_meta('empty_v')}), 'live',
		"$mode: one that held nothing is its own");
	is($new->safe_psql('postgres', "REINDEX INDEX t_v; $state"), 'live', "$mode: REINDEX makes it live");
	is($new->safe_psql('postgres', $check), '55|0|0|0', "$mode: with its own entries");
	is($new->safe_psql('postgres', $near), '100', "$mode: from which it answers");
	$new->stop;
	last if $mode eq 'link';
	$old->start;
	is($old->safe_psql('postgres', $check), '45|0|0|0', 'the old server has its own, as they were');
	is($old->safe_psql('postgres', $state), 'live', 'and they are live');
}
done_testing();
