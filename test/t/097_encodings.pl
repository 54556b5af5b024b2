# Names of indexes in databases that do not speak UTF-8.

use strict;
use warnings;
use utf8;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\nshared_preload_libraries = 'vectron'\n");
$node->start;

my %long = (LATIN1 => "chr(233)", EUC_JP => "convert_from('\\xa4a2', 'EUC_JP')", SQL_ASCII => "convert_from('\\xe9', 'SQL_ASCII')");
for my $encoding (sort keys %long)
{
	my $database = lc $encoding;

	$node->safe_psql('postgres', "CREATE DATABASE $database ENCODING '$encoding' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	$node->safe_psql($database, q{CREATE EXTENSION vectron});
	$node->safe_psql($database, qq{
		DO \$\$
		DECLARE name text := repeat($long{$encoding}, 60 / octet_length($long{$encoding}));
		BEGIN
			EXECUTE format('CREATE SCHEMA %I', name);
			EXECUTE format('CREATE TABLE %I.%I (id int, v vector(2))', name, name);
			EXECUTE format('INSERT INTO %I.%I SELECT n, ARRAY[n, n] FROM generate_series(1, 20) n', name, name);
			EXECUTE format('CREATE INDEX ON %I.%I USING vectron (v vector_l2_ops)', name, name);
			EXECUTE format('ALTER TABLE %I.%I SET SCHEMA public', name, name);
			EXECUTE format('ALTER TABLE %I RENAME TO t', name);
		END \$\$});
	is($node->safe_psql($database, q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[7.1,7]' LIMIT 1}), '7',
		"$encoding: an index with a long name in it");
	is($node->safe_psql($database, q{SELECT count(*) FROM vectron.indexes WHERE cluster_state = 'live'}), '1', "$encoding: and the view");
	is($node->safe_psql($database, q{SELECT count(*) > 0 FROM vectron.shards WHERE convert_from(convert_to(index, 'SQL_ASCII'), getdatabaseencoding()) = index}), 't',
		"$encoding: no view holds text that is none there");
	$node->safe_psql($database, 'DROP TABLE t');
	is($node->safe_psql($database, q{SELECT count(*) FROM vectron.sweep()}), '0', "$encoding: and a sweep");
}
$node->stop;
done_testing();
