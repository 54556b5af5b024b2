#!/bin/sh
# How much of src/raft its own tests run: make coverage.
#
# Builds without optimization and with counters, runs the unit tests of the
# module, all scenarios and RUNS random worlds, and prints lines and branches of
# each file.  The last line is the sum; the status is 1 if it is below FLOOR per
# cent in either.  COVERAGE_MISSING=1 lists each line with a branch that nobody took.
#
# Branches of an Assert are not counted: the one that nobody takes is its purpose.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}/coverage
RUNS=${RUNS:-1500}
FLOOR=${FLOOR:-95}
module=src/raft

units=$(ls test/unit/raft_*.c | sed "s|^test/unit/\(.*\)\.c$|$BUILD/unit/\1|")
make -s -j2 BUILD="$BUILD" SANITIZE= CFLAGS="-O0 -g --coverage" VT_LDFLAGS="-pthread --coverage" \
	$units "$BUILD/sim"
# Counters of an earlier run would be added to.
find "$BUILD" -name '*.gcda' -exec rm -f {} +
for t in $units; do
	"$t" >"$BUILD/tests.log" 2>&1 || { cat "$BUILD/tests.log"; echo "coverage: $t failed"; exit 1; }
done
"$BUILD/sim" --scenarios test/sim/scenarios >"$BUILD/tests.log" 2>&1 &&
	"$BUILD/sim" --seed 1 --runs "$RUNS" >"$BUILD/tests.log" 2>&1 ||
	{ tail -n 30 "$BUILD/tests.log"; echo "coverage: the simulator failed"; exit 1; }

for f in $module/*.c; do
	gcov -t -b -c -o "$BUILD/obj/$module" "$BUILD/obj/$f" 2>/dev/null
done | awk -v module="$module/" -v floor="$FLOOR" -v missing="${COVERAGE_MISSING:-}" '
	function flush_line() {
		if (missing != "" && untaken != "")
			printf "%s:%d %s%s\n", file, number, text, untaken
		untaken = ""
	}
	/^ *-: *0:Source:/ {
		flush_line()
		file = $0
		sub(/^.*Source:/, "", file)
		ours = index(file, module) == 1 && file ~ /\.c$/
		if (ours && !(file in lines)) { order[++files] = file; lines[file] = 0 }
		inside = 0
		next
	}
	!ours { next }
	/^branch / {
		if (asserted) next
		branches[file]++
		if ($0 ~ /taken [1-9]/) taken[file]++
		else untaken = untaken " [" $2 "]"
		next
	}
	/^ *[-#=0-9*]+: *[0-9]+:/ {
		flush_line()
		split($0, part, ":")
		text = $0
		sub(/^[^:]*:[^:]*:/, "", text)
		number = part[2] + 0
		if (text ~ /^[ \t]*Assert\(/) inside = 1
		asserted = inside
		if (inside && text ~ /;[ \t]*$/) inside = 0
		if (part[1] ~ /-/) next
		lines[file]++
		if (part[1] !~ /[#=]/) run[file]++
		else if (missing != "" && !asserted) untaken = " [never run]"
		next
	}
	END {
		flush_line()
		for (i = 1; i <= files; i++) {
			f = order[i]
			printf "%-28s lines %4d of %4d  branches %4d of %4d\n", f, run[f], lines[f], taken[f], branches[f]
			l += lines[f]; r += run[f]; b += branches[f]; t += taken[f]
		}
		if (l == 0 || b == 0) { print "coverage: nothing was counted"; exit 1 }
		printf "%s: lines %.1f %%, branches %.1f %% (%d of %d)\n", module, 100 * r / l, 100 * t / b, t, b
		exit 100 * r / l < floor || 100 * t / b < floor
	}'
