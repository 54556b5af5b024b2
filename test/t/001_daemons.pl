# The daemons as a person starts them: ready, stopped, killed, started again,
# and what they say to settings that make no sense.
use strict;
use warnings;

use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use VectronCluster;

my $cluster = VectronCluster->new;

# An orderly life
$cluster->start_pd;
ok(-S substr($cluster->pd_endpoint, 5), 'the placement driver listens when it says so');
is((stat(substr($cluster->pd_endpoint, 5)))[2] & 0777, 0600, 'its socket is for its own user');
is($cluster->stop('pd'), 0, 'SIGTERM ends it with status 0');

# Killed, it comes back
$cluster->start_pd;
isnt($cluster->kill9('pd'), 0, 'it was killed');
$cluster->start_pd;
pass('it starts again over its socket and its data');

# Two on one data directory would be the end of the data
my ($out, $err);
my $second = IPC::Run::run([ 'vectron-pd', '--data', $cluster->data('pd'), '--listen', $cluster->endpoint('other') ],
	'>', \$out, '2>', \$err);
ok(!$second, 'a second one on the same data directory refuses');
like($err, qr/\S/, 'and says why');
note $err;
is($cluster->ended('pd'), undef, 'the first one is not disturbed');
$cluster->stop('pd');

# It lives with the process that holds the other end of its pipe
pipe(my $read, my $write) or die "pipe: $!";
# The daemon inherits it, by a number that IPC::Run has not used for itself.
POSIX::dup2(fileno($read), 99) or die "dup2: $!";
$cluster->start_pd('--death-fd', 99);
POSIX::close(99);
close $read;
close $write;
is($cluster->wait_end('pd'), 0, 'the end of the pipe ends it with status 0');

# Settings
my @bad = (
	[ 'no data directory', [ '--listen', 'unix:/tmp/x' ], qr/data/ ],
	[ 'an unknown option', [ '--data', $cluster->data('x'), '--listen', $cluster->endpoint('x'), '--colour', 'red' ], qr/colour/ ],
	[ 'an unknown log level', [ '--data', $cluster->data('x'), '--listen', $cluster->endpoint('x'), '--log-level', 'loud' ], qr/loud/ ]);
foreach my $case (@bad)
{
	my ($name, $options, $words) = @$case;
	ok(!IPC::Run::run([ 'vectron-pd', @$options ], '>', \$out, '2>', \$err), "$name is refused");
	like($err, $words, "$name is named");
}

done_testing();
