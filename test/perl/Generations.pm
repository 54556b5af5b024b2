
=pod

=head1 NAME

Generations - what the cluster says of a generation, for tests of drops

=head1 SYNOPSIS

  my $g = filled_table($node, 'a');       # table a, index a_v, 50 rows
  is(state_of($node, $g), 'live');
  becomes($node, $g, 'hidden', 'it is dropped');

=cut

package Generations;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT = qw(state_of generation_of becomes fill filled_table);

my $collections = q{json_to_recordset(vectron.report('collections')::json -> 'collections') AS c(generation text, state text)};

# As the placement driver has it: live, hidden, doomed, or gone.
sub state_of
{
	my ($node, $generation) = @_;
	return $node->safe_psql('postgres',
		"SELECT coalesce((SELECT c.state FROM $collections WHERE c.generation = '$generation'), 'gone')");
}

sub generation_of
{
	my ($node, $index, $db) = @_;
	return $node->safe_psql($db // 'postgres', "SELECT generation FROM vectron.index_meta('$index')");
}

# Wait for a state.
sub becomes
{
	my ($node, $generation, $state, $name) = @_;
	my $ok = $node->poll_query_until('postgres',
		"SELECT coalesce((SELECT c.state FROM $collections WHERE c.generation = '$generation'), 'gone') = '$state'");
	return ok($ok, $name) || diag "it is " . state_of($node, $generation);
}

# SQL that fills a table.
sub fill
{
	my ($table) = @_;
	return "INSERT INTO $table SELECT n, ARRAY[n, n] FROM generate_series(1, 50) n;";
}

# A table with 50 rows and an index; the generation of that.
sub filled_table
{
	my ($node, $table, $db) = @_;
	my ($name) = $table =~ /(\w+)$/;
	$node->safe_psql($db // 'postgres', "CREATE TABLE $table (id int, v vector(2)); " . fill($table)
		  . "CREATE INDEX ${name}_v ON $table USING vectron (v vector_l2_ops);");
	return generation_of($node, "${table}_v", $db);
}

1;
