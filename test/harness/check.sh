#!/bin/sh
# All tests, part by part, each within its time; called by ./run check.
#
# A part prints its own lines into build/check/<part>.log and is counted from
# them: TAP of the unit programs and of prove, pg_regress' own lines, the
# simulator's last line.  The last line of all is "N passed, N failed, N
# skipped"; the status is 0 only if nothing failed.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
mode=full
for a in "$@"; do
	case "$a" in
	--quick) mode=quick ;;
	--long) mode=long ;;
	--bare) exec sh test/harness/bare.sh ;;
	*) echo "check: unrecognized option $a" >&2; exit 2 ;;
	esac
done
logs=$PWD/$BUILD/check
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0 skipped=0
. test/harness/pg.sh

# report PART SECONDS BUDGET PASSED FAILED SKIPPED
report() {
	over=
	if [ "$2" -gt $(($3 + $3 / 2)) ]; then
		over=" OVER ITS TIME of $3 s"
		set -- "$1" "$2" "$3" "$4" $(($5 + 1)) "$6"
	fi
	passed=$((passed + $4)) failed=$((failed + $5)) skipped=$((skipped + $6))
	printf '%-12s %4d passed %3d failed %3d skipped  %4d s%s\n' "$1" "$4" "$5" "$6" "$2" "$over"
	if [ "$5" -gt 0 ]; then
		echo "--- $1: the end of $BUILD/check/$1.log"
		tail -n 60 "$logs/$1.log"
		echo "---"
	fi
}

count() { grep -c -E "$1" "$2" || true; }

# part NAME BUDGET KIND command...: run it, count by kind
part() {
	name=$1 budget=$2 kind=$3
	shift 3
	begin=$(date +%s)
	"$@" >"$logs/$name.log" 2>&1
	status=$?
	seconds=$(($(date +%s) - begin))
	log=$logs/$name.log
	case "$kind" in
	tap)
		bad=$(count '^not ok ' "$log")
		skip=$(count '^ok .*# (SKIP|skip)' "$log")
		good=$(($(count '^ok ' "$log") - skip)) ;;
	regress)
		bad=$(count '^(test|     ).* (\.\.\.) FAILED' "$log")
		good=$(count '^(test|     ).* (\.\.\.) ok' "$log")
		skip=0 ;;
	sim)
		line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -n 1)
		good=$(echo "$line" | awk '{print $1 + 0}') bad=$(echo "$line" | awk '{print $3 + 0}')
		skip=$(echo "$line" | awk '{print $5 + 0}') ;;
	*) good=0 bad=0 skip=0; [ $status -ne 0 ] || good=1 ;;
	esac
	# A part that fails without naming a test has failed all the same.
	[ $status -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	report "$name" "$seconds" "$budget" "$good" "$bad" "$skip"
	return $status
}

units() {
	all=0
	for t in "$BUILD"/unit/*; do
		case "$t" in *.o | *.d) continue ;; esac
		[ -x "$t" ] || continue
		echo "# $t"
		CMOCKA_MESSAGE_OUTPUT=TAP timeout 300 "$t" 2>&1
		code=$?
		[ $code -eq 0 ] || all=1
		# A program that died printed no failing test.
		[ $code -lt 124 ] || echo "not ok - $t ended with status $code"
	done
	return $all
}

regress() {
	as_pg mkdir -p out/regress/expected
	cp -r test/sql "$PG_ROOT/work/out/regress/sql"
	cp expected/*.out "$PG_ROOT/work/out/regress/expected/" 2>/dev/null
	chown -R "$PG_USER" "$PG_ROOT/work/out"
	pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")
	tests=$(ls test/sql | sed 's/\.sql$//')
	pg_init regress </dev/null
	pg_start regress
	as_pg "$pgxs/../test/regress/pg_regress" --inputdir=out/regress --outputdir=out/regress \
		--bindir="$PG_BIN" --host="$PG_ROOT/work/regress.s" --user=postgres --dbname=regression \
		--load-extension=vectron $tests
	code=$?
	cat "$PG_ROOT/work/out/regress/regression.diffs" 2>/dev/null
	mkdir -p "$logs/regress.results"
	cp "$PG_ROOT"/work/out/regress/results/* "$logs/regress.results/" 2>/dev/null
	[ $code -eq 0 ] || cp "$PG_ROOT/work/regress.log" "$logs/regress.server.log"
	pg_stop regress
	return $code
}

tap() {
	pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")
	cp -r test/t test/perl "$PG_ROOT/work/"
	cp "$BUILD"/powerloss.so "$PG_ROOT/work/" 2>/dev/null
	chown -R "$PG_USER" "$PG_ROOT/work/t" "$PG_ROOT/work/perl"
	as_pg env PG_REGRESS="$pgxs/../test/regress/pg_regress" TESTDATADIR="$PG_ROOT/work/tmp_check" \
		TESTLOGDIR="$PG_ROOT/work/tmp_check/log" TMPDIR="$PG_ROOT/work" PG_TEST_TIMEOUT_DEFAULT=120 \
		VECTRON_POWERLOSS="$PG_ROOT/work/powerloss.so" \
		prove -v -I "$pgxs/../test/perl" -I perl t
	code=$?
	[ $code -eq 0 ] || cp -r "$PG_ROOT/work/tmp_check/log" "$logs/tap.server" 2>/dev/null
	return $code
}

sims() {
	"$BUILD/sim" --scenarios test/sim/scenarios && "$BUILD/sim" --seed 1 --runs "$1"
}

part build 240 one make -s -j2 BUILD="$BUILD" PG_CONFIG="$PG_CONFIG" all unit-programs sim-programs || {
	echo "$passed passed, $failed failed, $skipped skipped"
	exit 1
}
part lint 90 tap sh test/lint/lint.sh "$BUILD"
part unit 90 tap units
if [ -x "$BUILD/sim" ]; then
	case $mode in
	quick) part sim 30 sim sims 100 ;;
	full) part sim 240 sim sims 2000 ;;
	long) part sim 3600 sim sims 50000 ;;
	esac
fi
pg_tree
part regress 180 regress regress
if ls test/t/*.pl >/dev/null 2>&1 && [ $mode != quick ]; then
	part tap 480 tap tap
fi
if [ $mode = long ]; then
	part asan 900 one make -s BUILD="$BUILD" asan
	part tsan 900 one make -s BUILD="$BUILD" tsan
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
