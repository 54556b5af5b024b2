#!/bin/sh
# Break one law after the other and see that its test fails: make check-laws.
#
# The list is test/laws.txt.  A test that passes with its law broken is a hole in
# the tests, and fails here.  Ends with one line as ./run check does.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}/laws
DEFINES=-DVT_BREAKS
export BUILD DEFINES
. test/harness/pg.sh
passed=0 failed=0
mkdir -p "$BUILD"
make -s -j2 BUILD="$BUILD" DEFINES="$DEFINES" PG_CONFIG="$PG_CONFIG" all "$BUILD/powerloss.so" >"$BUILD/build.log" 2>&1 || {
	cat "$BUILD/build.log"
	exit 1
}
pg_tree
pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")
mkdir "$PG_ROOT/work/perl"
cp -r test/t "$PG_ROOT/work/"
cp test/perl/* "$PG_ROOT/work/perl/"
cp "$BUILD/powerloss.so" "$PG_ROOT/work/"
chown -R "$PG_USER" "$PG_ROOT/work/t" "$PG_ROOT/work/perl"

# The regression test, without its expected output's help: run it, look at the diff.
run_regress() {
	name=law$passed$failed
	mkdir -p "$PG_ROOT/work/$name.out/expected"
	cp -r test/sql "$PG_ROOT/work/$name.out/sql"
	cp expected/*.out "$PG_ROOT/work/$name.out/expected/"
	chown -R "$PG_USER" "$PG_ROOT/work/$name.out"
	pg_init "$name" </dev/null
	VECTRON_BREAK=$1 pg_start "$name"
	as_pg "$pgxs/../test/regress/pg_regress" --inputdir="$name.out" --outputdir="$name.out" \
		--bindir="$PG_BIN" --host="$PG_ROOT/work/$name.s" --user=postgres --dbname=regression \
		--load-extension=vectron "$2" 2>&1
	pg_stop "$name"
}

while read -r law test words; do
	case "$law" in '' | '#'*) continue ;; esac
	log=$BUILD/$law.log
	case "$test" in
	unit:*) unit=$BUILD/unit/${test#unit:}
		make -s BUILD="$BUILD" DEFINES="$DEFINES" "$unit" >"$log" 2>&1
		VECTRON_BREAK="$law" "$unit" >>"$log" 2>&1
		grep -q "FAILED  \] $words" "$log" && seen=yes || seen= ;;
	regress:*) run_regress "$law" "${test#regress:}" >"$log" 2>&1
		grep -q 'FAILED' "$log" && seen=yes || seen= ;;
	*) rm -rf "$PG_ROOT/work/tmp_check"
		as_pg env VECTRON_BREAK="$law" PG_REGRESS="$pgxs/../test/regress/pg_regress" \
			TESTDATADIR="$PG_ROOT/work/tmp_check" TESTLOGDIR="$PG_ROOT/work/tmp_check/log" \
			TMPDIR="$PG_ROOT/work" PG_TEST_TIMEOUT_DEFAULT=60 \
			VECTRON_POWERLOSS_LIBRARY="$PG_ROOT/work/powerloss.so" \
			prove -v -I "$pgxs/../test/perl" -I perl "$test" >"$log" 2>&1
		grep -q "^not ok .*$words" "$log" && seen=yes || seen= ;;
	esac
	if [ -n "$seen" ]; then
		passed=$((passed + 1))
		echo "ok - $law broken: $test fails"
	else
		failed=$((failed + 1))
		echo "not ok - $law broken, and $test did not notice (see $log)"
	fi
done <test/laws.txt
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
