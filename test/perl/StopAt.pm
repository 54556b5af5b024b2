# A test ends at the first assertion that fails and whose name matches VECTRON_STOP_AT:
# what comes after it may wait long for what a broken law has made impossible.
#
#	VECTRON_STOP_AT='and is not swept' perl -MStopAt ... t/071_sweeps.pl
package StopAt;

use strict;
use warnings;
use Test::Builder;

my $words = $ENV{VECTRON_STOP_AT};
my $ok = \&Test::Builder::ok;

{
	no warnings 'redefine';
	*Test::Builder::ok = sub {
		my ($self, $good, $name) = @_;
		local $Test::Builder::Level = $Test::Builder::Level + 1;
		my $result = $ok->($self, $good, $name);
		exit 1 if !$good && defined $name && $name =~ /$words/;
		return $result;
	};
}

1;
