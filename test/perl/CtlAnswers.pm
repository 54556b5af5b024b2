
=pod

=head1 NAME

CtlAnswers - what vectronctl answers as JSON, beside what it shows people and what SQL shows

=head1 SYNOPSIS

  use CtlAnswers;
  my $said = answered(\&ctl, 'a drain is asked for', 'drain', $store);      # vectronctl --json drain STORE
  shown_as_answered(\&ctl, 'workers', 'workers');                           # as a table, and with --json
  viewed_as_answered(\&ctl, $node, 'workers', 'workers', 'store');          # in vectron.workers, and with --json

=head1 DESCRIPTION

C<ctl> takes the words of a command and gives its exit status, what it said, and what it
said of errors.  Table, view and JSON are asked one after the other, and figures come with
heartbeats: they are asked until they agree.  What moves all the time is compared by its
form alone.

=cut

package CtlAnswers;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP;
use List::Util qw(max);
use PostgreSQL::Test::Utils;
use Scalar::Util qw(blessed);
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(answered shown_as_answered viewed_as_answered table_of until_same differ);

my %moves = map { $_ => 1 } qw(last_heartbeat_ms since_ms step_since_ms uptime_ms memory disk_free);

# How many of the least a unit is.
my %unit = (B => 1, KiB => 1024, MiB => 1024**2, GiB => 1024**3, TiB => 1024**4, ms => 1, s => 1000, min => 60_000, h => 3_600_000, d => 86_400_000);

# Columns of views that are called otherwise than members of answers.
my %column = (label => 'index', nshards => 'shards', replicas_wanted => 'replicas', since_ms => 'since', step_since_ms => 'step_since',
	created_us => 'created', dropped_us => 'dropped', verified_us => 'verified');

# Members whose 0 is no value in a view, and those that no view has.
my %none = map { $_ => 1 } qw(ef_95 ef_99);
my %unseen = map { $_ => 1 } qw(owner created_us dropped_us verified_us looks members unreachable broken_links);

# The columns of a table, and its rows by them: between columns no line has anything.
sub table_of
{
	my ($text) = @_;
	my @lines = split /\n/, $text;
	my $width = max map { length } @lines;
	my $ink = '';
	$ink |= sprintf('%-*s', $width, $_) =~ s/\S/x/gr foreach @lines;
	my @columns;
	push @columns, [ $-[0], $+[0] - $-[0] ] while $ink =~ /x+(?: x+)*/g;
	my @cells = map { my $line = sprintf '%-*s', $width, $_; [ map { substr($line, $_->[0], $_->[1]) =~ s/^ +| +$//gr } @columns ] } @lines;
	my @names = @{ shift @cells };
	return (\@names, map { my %row; @row{@names} = @$_; \%row } @cells);
}

sub as_text { my ($value) = @_; return !defined $value ? '' : blessed $value ? ($value ? 'yes' : 'no') : "$value"; }

# Does a cell say that value?
sub says
{
	my ($cell, $name, $value) = @_;
	my ($figure, $unit) = $cell =~ /^([\d.]+) (\S+)$/;
	return $cell eq as_text($value) if !defined $unit || !exists $unit{$unit} || $value !~ /^\d+$/;
	return 1 if $moves{$name};
	return abs($figure * $unit{$unit} - $value) <= ($figure =~ /\./ ? 0.0501 * $unit{$unit} : 0);
}

# In words how a table differs from the rows of an answer.
sub differ
{
	my ($text, @rows) = @_;
	my ($names, @shown) = table_of($text);
	my @differ;
	push @differ, scalar(@shown) . ' lines for ' . scalar(@rows) . ' rows' if @shown != @rows;
	push @differ, 'no rows' if !@rows;
	for my $i (0 .. $#rows)
	{
		push @differ, map { "$_: \"" . ($shown[$i]{$_} // '') . '" is shown, ' . as_text($rows[$i]{$_}) . ' answered' }
			grep { !says($shown[$i]{$_} // '', $_, $rows[$i]{$_}) } @$names;
	}
	return @differ;
}

# Until there is no difference: what the code gives.
sub until_same
{
	my ($name, $differences) = @_;
	my $until = time() + $PostgreSQL::Test::Utils::timeout_default;
	my @differ = $differences->();
	while (@differ && time() < $until)
	{
		usleep(100_000);
		@differ = $differences->();
	}
	local $Test::Builder::Level = $Test::Builder::Level + 2;
	return is(join("\n", @differ), '', $name);
}

sub asked
{
	my ($ctl, @words) = @_;
	my ($status, $out, $err) = $ctl->('--json', @words);
	return $status == 0 ? decode_json($out) : { failed => $err };
}

# A command that is done: JSON and nothing else is said.
sub answered
{
	my ($ctl, $name, @words) = @_;
	my ($status, $out, $err) = $ctl->('--json', @words);
	my $said = eval { decode_json($out) };
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is("$status$err " . ($said->{status} // $out), '0 0', $name);
	return $said;
}

sub shown_as_answered
{
	my ($ctl, $name, $member, @words) = @_;
	@words = ($member) if !@words;
	return until_same("$name: the table says what is answered as JSON", sub {
		my $rows = asked($ctl, @words)->{$member};
		my ($status, $out, $err) = $ctl->(@words);
		return $status == 0 && $rows ? differ($out, @$rows) : "not answered: $err";
	});
}

# Rows of a view and of an answer, which have one key.
sub viewed_as_answered
{
	my ($ctl, $node, $view, $member, $key, @words) = @_;
	@words = ($member) if !@words;
	return until_same("vectron.$view says what is answered as JSON", sub {
		my $rows = asked($ctl, @words)->{$member} or return 'not answered';
		my %row = map { $_->{$key} => $_ } @$rows;
		my $seen = decode_json($node->safe_psql('postgres', "SELECT coalesce(json_agg(v), '[]') FROM vectron.$view v"));
		my @differ;
		my $compared = 0;
		foreach my $v (@$seen)
		{
			my $r = delete $row{ $v->{$key} } or push(@differ, "$key $v->{$key} is viewed and not answered"), next;
			foreach my $name (grep { !$unseen{$_} && exists $v->{ $column{$_} // $_ } } sort keys %$r)
			{
				my ($is, $said) = ($v->{ $column{$name} // $name }, $r->{$name});
				next if ref $is eq 'HASH' || ref $is eq 'ARRAY' || $column{$name} && $moves{$name};
				$compared++;
				next if $moves{$name} ? defined $is : as_text($is) eq ($none{$name} && !$said ? '' : as_text($said));
				push @differ, "$name: \"" . as_text($is) . '" is viewed, ' . as_text($said) . ' answered';
			}
		}
		push @differ, map { "$key $_ is answered and not viewed" } sort keys %row;
		return @differ, $compared ? () : 'nothing was compared';
	});
}

1;
