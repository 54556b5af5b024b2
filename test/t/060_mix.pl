# Inserts, updates, deletes, savepoints, cancels, VACUUM and scans at the same
# time, with every row a scan returns compared with the table: no error that a
# client did not cause, and an index that agrees in the end.

use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{VECTRON_MIX_SECONDS} // 8;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'vectron'\nautovacuum = off\njit = off\nmax_connections = 30\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION vectron;
	CREATE TABLE t (id bigserial PRIMARY KEY, n int DEFAULT 0, v vector(8));
	CREATE FUNCTION one() RETURNS vector LANGUAGE sql AS $$ SELECT array_agg(random())::vector FROM generate_series(1, 8) $$;
	INSERT INTO t (v) SELECT one() FROM generate_series(1, 500);
	CREATE INDEX t_v ON t USING vectron (v vector_l2_ops);
});
my $dir = PostgreSQL::Test::Utils::tempdir();
my %scripts = (
	insert => "INSERT INTO t (v) VALUES (one());",
	update => "\\set a random(1, 2000)\nUPDATE t SET v = one() WHERE id = :a;",
	other => "\\set a random(1, 2000)\nUPDATE t SET n = n + 1 WHERE id = :a;",
	delete => "\\set a random(1, 3000)\nDELETE FROM t WHERE id = :a AND id % 3 = 0;",
	savepoint => "BEGIN;\nINSERT INTO t (v) VALUES (one());\nSAVEPOINT s;\nINSERT INTO t (v) VALUES (one());\nROLLBACK TO s;\nINSERT INTO t (v) VALUES (one());\nCOMMIT;",
	rollback => "BEGIN;\nINSERT INTO t (v) SELECT one() FROM generate_series(1, 20);\nROLLBACK;",
	scan => "SET enable_seqscan = off;\nSET vectron.verify_scan = on;\nSELECT id FROM t ORDER BY v <-> one() LIMIT 20;",
	whole => "SET enable_seqscan = off;\nSET vectron.verify_scan = on;\nSET vectron.ef_search = 17;\nSELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> one() LIMIT 1000000) s;",
	vacuum => "VACUUM t;");
my @running;
for my $name (sort keys %scripts)
{
	PostgreSQL::Test::Utils::append_to_file("$dir/$name.sql", "$scripts{$name}\n");
	push @running, [ $name, IPC::Run::start(
		[ 'pgbench', '-n', '-T', $seconds, '-c', $name eq 'vacuum' ? 1 : 2, '-j', 1, '-f', "$dir/$name.sql", $node->connstr('postgres') ],
		'>', "$dir/$name.out", '2>', "$dir/$name.err") ];
}
# Cancels, of statements that say they expect it
my $until = time() + $seconds - 1;
my $cancelled = 0;
do
{
	my ($status, $out, $err) = $node->psql('postgres',
		"SET statement_timeout = 3;\nINSERT INTO t (v) SELECT one() FROM generate_series(1, 5000)");
	$cancelled++ if $status != 0 && $err =~ /statement timeout/;
	die $err if $status != 0 && $err !~ /statement timeout/;
} while (time() < $until);
for my $run (@running)
{
	my ($name, $h) = @$run;
	$h->finish;
	my $err = slurp_file("$dir/$name.err");
	my $aborted = grep { !/^pgbench:? ?\(|^pgbench: (warning|detail|pgbench)|^starting|^$/ && /error|ERROR|abort/i } split /\n/, $err;
	is($aborted, 0, "$name went on without an error") or diag $err;
	like(slurp_file("$dir/$name.out"), qr/transactions actually processed: [1-9]/, "$name did something");
}
cmp_ok($cancelled, '>', 0, "$cancelled statements were cancelled");
is($node->safe_psql('postgres', q{SELECT missing, extra, wrong FROM vectron.check_index('t_v')}), '0|0|0', 'the index agrees with the table');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT (SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> one() LIMIT 1000000) s) = (SELECT count(*) FROM t)}), 't',
	'a scan returns every row once');
$node->stop;
done_testing();
