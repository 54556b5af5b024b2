# Copies of a database or of a data directory must not answer from, or write
# into, the original's index (law W7): they are stale, go on without the index,
# and REINDEX makes them live.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nshared_preload_libraries = 'vectron'\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE DATABASE origin;
});
$node->safe_psql('origin', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(2));
	INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 100) n;
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
});
my $near = q{SELECT id FROM t ORDER BY v <-> '[50.1,50]' LIMIT 1};

# CREATE DATABASE ... TEMPLATE
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE origin');
is($node->safe_psql('clone', $near), '50', 'a copied database answers');
is($node->safe_psql('clone', "SET enable_seqscan = off; $near"), '50', 'whatever the planner would like');
is($node->safe_psql('clone', "INSERT INTO t VALUES (1000, '[50.1,50]'); $near"), '1000', 'and takes writes');
is($node->safe_psql('clone', q{SELECT state FROM vectron.index_meta('t_v')}), 'stale', 'without the index, which is stale');
like($node->safe_psql('clone', q{SELECT stale_reason FROM vectron.indexes}), qr/\S/, 'and says why');
unlike($node->safe_psql("clone", "SET enable_seqscan = off; EXPLAIN $near"), qr/Index Scan/,
	'no plan uses a stale index');
is($node->safe_psql('clone', 'DELETE FROM t WHERE id < 10; VACUUM t; SELECT count(*) FROM t'), '92', 'VACUUM goes on without it');
is($node->safe_psql('origin', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '100|0|0|0',
	'the original never noticed');
is($node->safe_psql('clone', q{REINDEX INDEX t_v; SELECT state FROM vectron.index_meta('t_v')}), 'live', 'REINDEX makes it live');
is($node->safe_psql('clone', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '92|0|0|0', 'with its own entries');

# An index that held nothing when it was copied: each writes into its own
$node->safe_psql('postgres', 'CREATE DATABASE template');
$node->safe_psql('template', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id int, v vector(2));
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
});
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE template") for qw(first second);
for my $database (qw(first second template))
{
	is($node->safe_psql($database, "INSERT INTO t SELECT n, ARRAY[n, n] FROM generate_series(1, 60) n; SET enable_seqscan = off; $near"), '50',
		"$database: a copy of an empty index takes writes and answers");
	is($node->safe_psql($database, q{SELECT state FROM vectron.index_meta('t_v')}), 'live', "$database: and is live");
	is($node->safe_psql($database, q{DELETE FROM t WHERE id > 50; VACUUM t; SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}),
		'50|0|0|0', "$database: with its own entries");
}
is($node->safe_psql('first', q{SELECT entries FROM vectron.check_index('t_v')}), '50', 'whatever the others did');

# A base backup taken and started while the original runs
$node->backup('copy');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'copy');
$copy->append_conf('postgresql.conf', "unix_socket_directories = '" . $copy->host . "'\n");
$copy->start;
is($copy->safe_psql('origin', "SET enable_seqscan = off; $near"), '50', 'a started base backup answers');
is($copy->safe_psql('origin', "INSERT INTO t VALUES (2000, '[50.1,50]'); $near"), '2000', 'and takes writes');
is($copy->safe_psql('origin', q{SELECT state FROM vectron.index_meta('t_v')}), 'stale', 'its index is stale');
like(slurp_file($copy->logfile), qr/is a copy: its vectron data was set aside/, 'its torn store is set aside');
is($copy->safe_psql('origin', q{REINDEX INDEX t_v; SET enable_seqscan = off; } . $near), '2000', 'REINDEX makes it live');
is($node->safe_psql('origin', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '100|0|0|0',
	'and the original has only its own rows');
is($node->safe_psql('origin', "SET enable_seqscan = off; $near"), '50', 'and answers from its index');
$copy->stop;

# A standby does not choose the index; promoted, it is another incarnation
$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
$node->safe_psql('origin', "INSERT INTO t VALUES (3000, '[60.1,60]')");
$node->wait_for_catchup($standby);
is($standby->safe_psql('origin', q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[60.1,60]' LIMIT 1}), '3000',
	'a standby answers by exact scans');
$standby->promote;
is($standby->safe_psql('origin', q{SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[60.1,60]' LIMIT 1}), '3000',
	'promoted, it answers as before');
is($standby->safe_psql('origin', q{INSERT INTO t VALUES (4000, '[70.1,70]'); SELECT id FROM t ORDER BY v <-> '[70.1,70]' LIMIT 1}), '4000',
	'promoted, it takes writes');
is($standby->safe_psql('origin', q{SELECT state FROM vectron.index_meta('t_v')}), 'stale', 'with a stale index');
is($node->safe_psql('origin', q{SELECT entries, missing, extra, wrong FROM vectron.check_index('t_v')}), '101|0|0|0',
	'the old primary keeps its own');
$standby->stop;
$node->stop;
done_testing();
