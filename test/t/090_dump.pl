# pg_dump and its ways back: plain text into a fresh server, by sections, and in
# parallel into a cluster with fewer workers.  Each restored index is a new
# generation of its own server, and answers as the original does.

use strict;
use warnings;
use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Generations;
use VectronCluster;

sub server
{
	my ($name, $workers) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $cluster;
	$node->init;
	$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nshared_preload_libraries = 'vectron'\n");
	if ($workers)
	{
		$cluster = VectronCluster->new;
		$cluster->start_pd;
		$cluster->start_worker($_) for 1 .. $workers;
		$node->append_conf('postgresql.conf', "vectron.pd_endpoints = '" . $cluster->pd_endpoint . "'\n");
	}
	$node->start;
	return $node;
}

my $from = server('from', 2);
$from->safe_psql('postgres', q{CREATE DATABASE films});
$from->safe_psql('films', q{CREATE SCHEMA ext; CREATE EXTENSION vectron SCHEMA ext});
ok($from->poll_query_until('films', q{SELECT count(*) = 2 FROM vectron.workers WHERE state = 'up'}), 'two workers are up');
$from->safe_psql('films', q{
	SET search_path = public, ext;
	CREATE SCHEMA "Odd Names";
	CREATE TABLE plain (id int PRIMARY KEY, lang text, v vector(3));
	INSERT INTO plain SELECT n, CASE n % 3 WHEN 0 THEN 'en' ELSE 'de' END, ARRAY[sin(n), sin(n * 1.7), cos(n * 2.3)]::real[] FROM generate_series(1, 400) n;
	INSERT INTO plain VALUES (500, 'en', NULL);
	CREATE INDEX four ON plain USING vectron (v vector_l2_ops) WITH (m = 8, ef_construction = 64, shards = 4);
	CREATE INDEX cosine ON plain USING vectron (v vector_cosine_ops) WHERE lang = 'en';
	CREATE INDEX normal ON plain USING vectron ((l2_normalize(v)::vector(3)) vector_ip_ops);
	CREATE INDEX theirs ON plain USING hnsw (v vector_ip_ops) WITH (m = 16, ef_construction = 64);
	CREATE INDEX their_lists ON plain USING ivfflat (v) WITH (lists = 100);
	CREATE INDEX bits ON plain USING hnsw ((binary_quantize(v)::bit(3)) bit_hamming_ops);
	CREATE INDEX jaccard ON plain USING vectron ((binary_quantize(v)::bit(3)) bit_jaccard_ops);
	CREATE TABLE parts (id int, v vector(2)) PARTITION BY RANGE (id);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
	CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200);
	CREATE INDEX parts_v ON parts USING vectron (v);
	INSERT INTO parts SELECT n, ARRAY[n, 200 - n] FROM generate_series(1, 199) n;
	CREATE UNLOGGED TABLE "Odd Names"."Quick One" (v vector(2));
	CREATE INDEX "Quick Index" ON "Odd Names"."Quick One" USING vectron (v vector_l1_ops);
	INSERT INTO "Odd Names"."Quick One" SELECT ARRAY[n, -n] FROM generate_series(1, 30) n;
	CREATE TABLE empty (v vector(2));
	CREATE INDEX empty_v ON empty USING vectron (v);
	CREATE MATERIALIZED VIEW near AS SELECT id, v FROM plain WHERE lang = 'de';
	CREATE INDEX near_v ON near USING vectron (v);
});

my @indexes = ('four', 'cosine', 'normal', 'theirs', 'their_lists', 'bits', 'jaccard', 'parts_1_v_idx', 'parts_2_v_idx', '"Odd Names"."Quick Index"', 'empty_v', 'near_v');
my $answers = q{SET search_path = public, ext; SET enable_seqscan = off; SET vectron.verify_scan = on;
	SELECT string_agg(id::text, ' ') FROM (SELECT id FROM plain ORDER BY v <-> '[0.6,0.3,0.5]' LIMIT 25) s;
	SELECT string_agg(id::text, ' ') FROM (SELECT id FROM plain WHERE lang = 'en' ORDER BY v <=> '[0.6,0.3,0.5]' LIMIT 25) s;
	SELECT string_agg(id::text, ' ') FROM (SELECT id FROM plain ORDER BY l2_normalize(v)::vector(3) <#> '[0.6,0.3,0.5]' LIMIT 25) s;
	SELECT string_agg(id::text, ' ') FROM (SELECT id FROM plain ORDER BY v <#> '[0.6,0.3,0.5]' LIMIT 25) s;
	SELECT string_agg(d::text, ' ') FROM (SELECT binary_quantize(v)::bit(3) <~> B'101' AS d FROM plain WHERE v IS NOT NULL ORDER BY d LIMIT 25) s;
	SELECT string_agg(d::text, ' ') FROM (SELECT binary_quantize(v)::bit(3) <%> B'101' AS d FROM plain WHERE v IS NOT NULL ORDER BY d LIMIT 25) s;
	SELECT string_agg(id::text, ' ') FROM (SELECT id FROM parts ORDER BY v <-> '[99.3,100]' LIMIT 25) s;
	SELECT string_agg(v::text, ' ') FROM (SELECT v FROM "Odd Names"."Quick One" ORDER BY v <+> '[9.2,-9.1]' LIMIT 5) s;
	SELECT count(*) FROM (SELECT v FROM empty ORDER BY v <-> '[1,1]' LIMIT 5) s;
	SELECT string_agg(id::text, ' ') FROM (SELECT id FROM near ORDER BY v <-> '[0.6,0.3,0.5]' LIMIT 25) s};
my $definitions = q{SELECT string_agg(pg_get_indexdef(i.oid), E'\n' ORDER BY i.oid::regclass::text) FROM pg_class i JOIN pg_am a ON a.oid = i.relam
	WHERE a.amname IN ('vectron', 'hnsw', 'ivfflat')};

sub entries
{
	my ($node, $db) = @_;
	return join "\n", map { $node->safe_psql($db, "SELECT entries, missing, extra, wrong FROM vectron.check_index('$_')") } @indexes;
}

my $expected = $from->safe_psql('films', $answers);
my $defined = $from->safe_psql('films', $definitions);
my $counted = entries($from, 'films');
my $original = generation_of($from, 'four', 'films');
is((split /\n/, $counted)[0], '400|0|0|0', 'the original is whole');

sub same
{
	my ($node, $db, $name) = @_;
	is($node->safe_psql($db, $definitions), $defined, "$name: the same indexes");
	is($node->safe_psql($db, $answers), $expected, "$name: the same rows in the same order");
	is(entries($node, $db), $counted, "$name: every index agrees with its table");
	isnt(generation_of($node, 'four', $db), $original, "$name: it is a generation of its own");
	return;
}

my $dir = abs_path(PostgreSQL::Test::Utils::tempdir());

# A role of the original is none here; who owns what is not our business.
$from->command_ok([ 'pg_dump', '--no-owner', '-f', "$dir/plain.sql", '-d', $from->connstr('films') ], 'pg_dump');
my $to = server('to');
$to->safe_psql('postgres', 'CREATE DATABASE films');
$to->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", '-d', $to->connstr('films') ],
	'psql, into an embedded cluster');
same($to, 'films', 'plain text');
$to->safe_psql('films', 'DROP SCHEMA public CASCADE; DROP SCHEMA "Odd Names" CASCADE; DROP EXTENSION vectron CASCADE');
is($to->safe_psql('films', q{SELECT count(*) FROM pg_class WHERE relname = 'four'}), '0', 'it can be dropped, extension and all');

# By sections, in the order that the manual gives.
$to->safe_psql('postgres', 'CREATE DATABASE sections');
for my $section ('pre-data', 'data', 'post-data')
{
	$from->command_ok([ 'pg_dump', '--no-owner', "--section=$section", '-f', "$dir/$section.sql", '-d', $from->connstr('films') ],
		"pg_dump --section=$section");
	$to->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/$section.sql", '-d', $to->connstr('sections') ],
		"psql of $section");
}
same($to, 'sections', 'by sections');

# What asks for pgvector, as its dumps and many applications do, has vectron.
$to->safe_psql('postgres', 'CREATE DATABASE app');
my ($code, $out, $err) = $to->psql('app', 'CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public');
like($err, qr/required extension "vectron" is not installed/, 'the alias asks for vectron');
$to->safe_psql('app', q{CREATE EXTENSION vectron; CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public; CREATE EXTENSION IF NOT EXISTS vector;
	CREATE TABLE items (id int, v public.vector(2)); INSERT INTO items VALUES (1, '[1,2]'), (2, '[3,4]');
	CREATE INDEX items_v ON items USING hnsw (v public.vector_l2_ops)});
$to->command_ok([ 'pg_dump', '--no-owner', '-f', "$dir/app.sql", '-d', $to->connstr('app') ], 'pg_dump with the alias');
$to->safe_psql('postgres', 'CREATE DATABASE app_2');
$to->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/app.sql", '-d', $to->connstr('app_2') ], 'and its way back');
is($to->safe_psql('app_2', q{SET enable_seqscan = off; SELECT string_agg(extname, ' ' ORDER BY extname), (SELECT id FROM items ORDER BY v <-> '[3,3]' LIMIT 1)
	FROM pg_extension WHERE extname LIKE 'vect%'}), 'vector vectron|2', 'with the same extensions and rows');
$to->safe_psql('app_2', 'DROP EXTENSION vector');
is($to->safe_psql('app_2', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('items_v')}), '2|0|0|0', 'an alias takes nothing with it');
$to->stop;

# In parallel, from two formats, where there is one worker for four shards.
my $few = server('few', 1);
for my $format ('custom', 'directory')
{
	my @jobs = $format eq 'directory' ? ('-j', '2') : ();
	$from->command_ok([ 'pg_dump', '--no-owner', "--format=$format", @jobs, '-f', "$dir/$format", '-d', $from->connstr('films') ],
		"pg_dump --format=$format");
	$few->safe_psql('postgres', "CREATE DATABASE $format");
	$few->command_ok([ 'pg_restore', '--no-owner', '--exit-on-error', '-j', '2', '-d', $few->connstr($format), "$dir/$format" ],
		"pg_restore -j2 of $format");
	same($few, $format, $format);
	is($few->safe_psql($format, q{SELECT count(*), count(DISTINCT store) FROM vectron.shards s JOIN vectron.indexes i USING (generation)
		WHERE i.index = 'four'::regclass}), '4|1', "$format: four shards on one worker");
}

# Beside the original, in the same cluster; and over an index that is there.
$from->safe_psql('postgres', 'CREATE DATABASE again');
$from->command_ok([ 'pg_restore', '--no-owner', '--exit-on-error', '-j', '2', '-d', $from->connstr('again'), "$dir/directory" ],
	'pg_restore beside the original');
same($from, 'again', 'beside the original');
$from->command_ok([ 'pg_restore', '--no-owner', '--exit-on-error', '--clean', '--if-exists', '-d', $from->connstr('again'), "$dir/directory" ],
	'pg_restore --clean');
same($from, 'again', 'with --clean');
is(entries($from, 'films'), $counted, 'the original never noticed');
is(generation_of($from, 'four', 'films'), $original, 'and is what it was');

# A copy of the database by CREATE DATABASE is not a restore: its indexes are
# stale, and rebuilt by one command.
for my $strategy ('WAL_LOG', 'FILE_COPY')
{
	$from->safe_psql('postgres', "CREATE DATABASE copy TEMPLATE films STRATEGY $strategy");
	is($from->safe_psql('copy', $answers), $expected, "$strategy: a copied database answers as the original");
	$from->safe_psql('copy', q{INSERT INTO plain VALUES (600, 'de', '[0.6,0.3,0.5]')});
	is($from->safe_psql('copy', q{SELECT state FROM vectron.index_meta('four')}), 'stale', "$strategy: its index is stale");
	$from->safe_psql('copy', 'DELETE FROM plain WHERE id = 600; REINDEX DATABASE copy');
	same($from, 'copy', $strategy);
	$from->safe_psql('postgres', 'DROP DATABASE copy');
}
is(entries($from, 'films'), $counted, 'the original never noticed that either');
$from->stop;
$few->stop;
done_testing();
