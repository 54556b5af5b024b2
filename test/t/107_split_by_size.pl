# Shards that become too large are split by the placement driver alone: by their rows, while
# they grow, and by their bytes, where there is a worker more than copies.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $rows = 1500;
my $cluster = VectronCluster->new;
$cluster->start_pd('--split-rows', $rows, '--split-bytes', 2);
$cluster->start_worker($_) for 1 .. 3;
my $node = $cluster->new_server("shared_preload_libraries = 'vectron'\n");
ok($node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'}), 'three workers are up');
$node->safe_psql('postgres', q{
	CREATE FUNCTION one(dimensions int) RETURNS vector LANGUAGE sql AS $$ SELECT array_agg(random())::vector FROM generate_series(1, dimensions) $$;
	CREATE TABLE many (id bigserial, v vector(8));
	CREATE INDEX many_v ON many USING vectron (v vector_l2_ops) WITH (shards = 1, replicas = 3);
	CREATE TABLE wide (id bigserial, v vector(512));
	CREATE INDEX wide_v ON wide USING vectron (v vector_l2_ops) WITH (shards = 1, replicas = 2);
});

# A split fails nothing, given time: more than a machine that stands still now and then may need.
local $ENV{PGOPTIONS} = '-c vectron.read_timeout=120s -c vectron.write_timeout=120s';

# So many shards has an index, none of them too large, and all replicas at work.
sub split_into
{
	my ($index, $n) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until('postgres', qq{
		SELECT count(DISTINCT shard) >= $n AND bool_and(state = 'up' AND records <= $rows) FROM vectron.shards WHERE index = 'public.$index'}),
		"$index is split into $n or more")
		|| diag $node->safe_psql('postgres', 'TABLE vectron.shards');
}

# Every row is found by its own vector.
sub all_are_found
{
	my ($table) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$cluster->clean($node, $table, "${table}_v", "$table: every row has its entry, and no entry is wrong");
	is($node->safe_psql('postgres', qq{
		SET enable_seqscan = off;
		SELECT count(*) FROM (SELECT * FROM $table LIMIT 200) q
			WHERE id = (SELECT id FROM $table ORDER BY v <-> q.v LIMIT 1)}), 200, "$table: rows are found by their vectors");
	return;
}

PostgreSQL::Test::Utils::append_to_file($node->basedir . '/grow.sql', "INSERT INTO many (v) SELECT one(8) FROM generate_series(1, 20);\n");
$node->command_ok([ 'pgbench', '-n', '-c', 2, '-t', 100, '-f', $node->basedir . '/grow.sql', $node->connstr('postgres') ],
	'no insert fails while a shard grows and is split');
is($node->safe_psql('postgres', 'SELECT count(*) FROM many'), 4000, 'all are there');
split_into('many_v', 3);
all_are_found('many');

# Fewer rows than are too many, in more bytes than a shard may have.
$node->safe_psql('postgres', "INSERT INTO wide (v) SELECT one(512) FROM generate_series(1, $rows - 100)");
split_into('wide_v', 2);
all_are_found('wide');

done_testing();
