
=pod

=head1 NAME

ChaosDice - what is drawn with rand, so that srand repeats it

=cut

package ChaosDice;

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(between maybe one_of);

sub between { my ($low, $high) = @_; return $low + rand($high - $low); }
sub maybe { return rand() < 0.5; }
sub one_of { return $_[ int rand @_ ]; }

1;
