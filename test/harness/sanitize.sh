#!/bin/sh
# Unit programs under a sanitizer, and the simulators, as many at a time as there are cores; called by make asan and make tsan.
#
#	sanitize.sh BUILD NAME ...		these of BUILD/unit, in that order; sim and pdsim are some seeds of each simulator
#
# What a sanitizer says goes into BUILD/reports, also of processes that a test starts, and fails the program whatever
# its tests say.  How long one takes is not judged: an hour ends only what hangs.
set -u
cd "$(dirname "$0")/../.."
. test/harness/lanes.sh
build=$1
shift
reports=$PWD/$build/reports
case "$build" in /*) reports=$build/reports ;; esac
rm -rf "$reports"
mkdir -p "$reports"

# The thread sanitizer of gcc 12 does not know where kernels of today put things; not every container lets us say so.
still=
! setarch -R true 2>/dev/null || still="setarch -R"

# one NAME command ...
one() {
	name=$1
	shift
	common="log_path=$reports/$name"
	CMOCKA_MESSAGE_OUTPUT=TAP ASAN_OPTIONS="$common:detect_stack_use_after_return=1" UBSAN_OPTIONS="$common:print_stacktrace=1" \
		TSAN_OPTIONS="$common:suppressions=$PWD/test/lint/tsan.supp" timeout -k 5 3600 $still "$@" >"$reports/$name.out" 2>&1
	code=$?
	cat "$reports/$name.out"
	[ $code -eq 0 ] || echo "not ok - $name ended with status $code"
	# The one for undefined behaviour writes where the program does.
	if grep -q "runtime error:" "$reports/$name.out"; then
		echo "not ok - $name: undefined behaviour"
		code=1
	fi
	for report in "$reports/$name".[0-9]*; do
		[ -e "$report" ] || continue
		echo "not ok - $name: what a sanitizer says"
		cat "$report"
		code=1
	done
	[ $code -ne 0 ] || echo "ok - $name says nothing"
	return $code
}

sims() {
	lane sim-scenarios one sim-scenarios "$build/sim" --scenarios test/sim/scenarios
	lane sim-raft one sim-raft "$build/sim" --seed 1 --runs 100
	lane sim-recover one sim-recover "$build/sim" --recover --seed 1 --runs 10
	lane sim-shards one sim-shards "$build/sim" --shards --seed 1 --runs 100
	lane sim-splits one sim-splits "$build/sim" --splits --seed 1 --runs 25
	lane sim-sessions one sim-sessions "$build/sim" --sessions --seed 1 --runs 30
}

lanes_open "$build/lanes"
for name in "$@"; do
	case $name in
	sim) sims ;;
	pdsim) lane pdsim one pdsim "$build/pdsim" --seeds 1 test/pdsim/scenarios/*.txt ;;
	*) lane "$name" one "$name" "$build/unit/$name" ;;
	esac
done
lanes_close
