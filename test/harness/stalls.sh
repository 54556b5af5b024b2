#!/bin/sh
# Unit programs whose threads stand still at random (test/harness/stalls.c), as many at a time as there are cores.
#
#	stalls.sh all				each program of $BUILD/unit that has threads, with one seed
#	stalls.sh all 1 20			the same with each seed from 1 to 20
#	stalls.sh "net_server net_tls" 7
#
# Prints TAP, a test a program and seed: of one that failed what it printed.  How long one takes is not
# judged: ten minutes end only what hangs.  TEST_ONLY='survivors*' narrows it further, LANES=n runs n at a time.
set -u
cd "$(dirname "$0")/../.."
. test/harness/lanes.sh
BUILD=${BUILD:-build}
names=${1:-all} first=${2:-1} last=${3:-${2:-1}}
[ -e "$BUILD/stalls.so" ] || make -s BUILD="$BUILD" "$BUILD/stalls.so" || exit 1
library=$(realpath "$BUILD/stalls.so")

threaded() {
	for t in "$BUILD"/unit/*; do
		case "$t" in *.o | *.d) continue ;; esac
		nm -D --undefined-only "$t" 2>/dev/null | grep -q pthread_create && echo "${t##*/}"
	done
}
[ "$names" != all ] || names=$(threaded)
[ -n "$names" ] || {
	command -v nm >/dev/null && why="no program of $BUILD/unit has threads" || why="there is no nm, which tells the programs that have threads"
	echo "not ok - $why"
	exit 1
}

# one NAME SEED
one() {
	CMOCKA_MESSAGE_OUTPUT=TAP VECTRON_STALLS=$2 LD_PRELOAD=$library timeout -k 5 600 "$BUILD/unit/$1" >"$lanes_dir/$1.$2.log" 2>&1
	code=$?
	if [ $code -eq 0 ]; then
		echo "ok - $1 with seed $2"
	else
		echo "not ok - $1 with seed $2 ended with status $code"
		sed 's/^/# /' "$lanes_dir/$1.$2.log"
	fi
	return $code
}

lanes_open "$BUILD/stalls" ${LANES:-}
for seed in $(seq "$first" "$last"); do
	for name in $names; do
		lane "$name.$seed" one "$name" "$seed"
	done
done
lanes_close
