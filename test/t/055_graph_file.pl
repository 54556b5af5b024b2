# Graphs are written into files, and a worker that is killed takes them up again; a
# file is believed in nothing but who is linked to whom, so it may be old, damaged or
# of another moment: no row is lost, none comes back, none is shown at another's place.

use strict;
use warnings;
use File::Copy qw(copy);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;
$cluster->start_pd('--keep-dropped', 0);
$cluster->start_worker(1, '--graph-save', 500);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\nautovacuum = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE FUNCTION made(d int, seed int) RETURNS vector LANGUAGE sql AS
		$$ SELECT array_agg((hashint4(seed * 1000 + n) % 1000)::real / 1000)::vector FROM generate_series(1, d) n $$;
	CREATE TABLE t (id bigserial PRIMARY KEY, v vector(8), w vector(48));
	INSERT INTO t (v, w) SELECT made(8, n), made(48, n) FROM generate_series(1, 3000) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
	CREATE INDEX t_w ON t USING vectron (w vector_cosine_ops) WITH (quantization = 'int8');
});

sub files
{
	my ($pattern) = @_;
	my @files = glob($cluster->data('worker1') . "/shards/$pattern");
	return @files;
}

sub graphs { return files('*/graph'); }

sub right
{
	my ($when) = @_;
	for my $column ('v', 'w')
	{
		my $op = $column eq 'v' ? '<->' : '<=>';
		is($node->safe_psql('postgres', "SELECT missing, extra, wrong FROM vectron.check_index('t_$column')"), '0|0|0',
			"$when: the index of $column agrees with the table");
		is($node->safe_psql('postgres', qq{SET enable_seqscan = off; SET vectron.verify_scan = on;
			SELECT (SELECT count(DISTINCT id) FROM (SELECT id FROM t ORDER BY $column $op (SELECT $column FROM t LIMIT 1) LIMIT 1000000) s)
				= (SELECT count(*) FROM t)}), 't', "$when: a scan by $column shows every row, at its own place");
	}
	return;
}

# By the worker's own word: the placement driver may still have what it said before it was started again.
sub all_is_indexed
{
	my ($name) = @_;
	$cluster->wait_until($name, sub {
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'vectronctl', '--endpoint', $cluster->endpoint('worker1'), '--json', 'status' ], '>', \$out, '2>', \$err) or return 0;
		my @shards = @{ decode_json($out)->{shards} };
		return @shards == 2 && !grep { $_->{unindexed} != 0 } @shards;
	});
	pass($name);
	return;
}

# Each open line since the start: records, and how many of them no graph holds.
sub opened
{
	my @opened;
	my $log = $cluster->log_text('worker1', 1);
	push @opened, [ $1, $2 ] while $log =~ /open, (\d+) records in \d+ ms, (\d+) to index/g;
	return @opened;
}

$cluster->wait_until('both graphs are saved', sub { my @files = graphs(); return @files == 2; });
pass('both graphs have a file');

# A worker that stops saves what has changed by more than a hundredth, but not for longer than some seconds: on a
# busy machine it may have to link the rest, and be stopped again.
sub stop_whole
{
	my ($name) = @_;
	$cluster->wait_until($name, sub {
		all_is_indexed('all rows are indexed');
		is($cluster->stop('worker1'), 0, 'the worker stops');
		$cluster->start_worker(1, '--graph-save', 500);
		$cluster->wait_until('both shards are open', sub { my @opened = opened(); return @opened == 2; });
		return !grep { $_->[1] > $_->[0] / 100 } opened();
	});
	pass($name);
	return;
}

# On a busy machine the first files hold half the rows: what follows wants whole ones.
stop_whole('both graphs are saved whole');
my $n = 0;
my @first = map { [ $_, $cluster->data('worker1') . '.first' . $n++ ] } graphs();
copy($_->[0], $_->[1]) or die "$_->[1]: $!" foreach @first;

# Rows go, their places are used again, others change; then the worker dies.
$node->safe_psql('postgres', q{DELETE FROM t WHERE id % 6 = 0; VACUUM t});
$node->safe_psql('postgres', q{
	INSERT INTO t (v, w) SELECT made(8, 100000 + n), made(48, 100000 + n) FROM generate_series(1, 200) n;
	UPDATE t SET v = made(8, 200000 + id::int) WHERE id % 50 = 1;
});
$cluster->kill9('worker1');
$cluster->start_worker(1, '--graph-save', 500);
right('after a kill');
my @opened = opened();
is(scalar(@opened), 2, 'both shards are opened');
cmp_ok($_->[1], '<', $_->[0] / 2, "of $_->[0] records $_->[1] had to be indexed") foreach @opened;

# A file that is older than many changes, among them VACUUM and places used again.
$node->safe_psql('postgres', q{DELETE FROM t WHERE id % 6 = 1; VACUUM t});
$node->safe_psql('postgres', q{INSERT INTO t (v, w) SELECT made(8, 300000 + n), made(48, 300000 + n) FROM generate_series(1, 700) n});
$cluster->kill9('worker1');
copy($_->[1], $_->[0]) or die "$_->[0]: $!" foreach @first;
$cluster->start_worker(1, '--graph-save', 500);
right('with an old file');
cmp_ok($_->[1], '<', $_->[0] / 2, "an old file is of use: $_->[1] of $_->[0] had to be indexed") foreach opened();

# One damaged, the other in the place of the first.
$cluster->kill9('worker1');
my @files = graphs();
open my $fh, '+<', $files[0] or die "$files[0]: $!";
seek $fh, 1000, 0;
read $fh, my $byte, 1;
seek $fh, 1000, 0;
print $fh chr(ord($byte) ^ 255);
close $fh;
copy($first[0][1], $files[1]) or die "$files[1]: $!";
$cluster->start_worker(1, '--graph-save', 500);
right('with a damaged file and one of another shard');
my $refused = () = $cluster->log_text('worker1', 1) =~ /its graph is built anew/g;
is($refused, 2, 'both files were refused');

# An orderly stop keeps what there is.
stop_whole('after an orderly stop hardly any record has to be indexed');
right('after an orderly stop');

# What is dropped leaves nothing.
$node->safe_psql('postgres', 'DROP INDEX t_v; DROP INDEX t_w');
$cluster->wait_until('the directories are gone', sub { my @left = files('*'); return @left == 0; });
pass('a dropped shard leaves no file');
$node->stop;
done_testing();
