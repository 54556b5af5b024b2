#!/bin/sh
# Break one law after the other and see that its test fails: make check-laws.
#
#	laws.sh [LAW ...]		only these
#
# The list is test/laws.txt.  A test that passes with its law broken is a hole in
# the tests, and fails here; so does one that fails by another assertion.  Several
# laws at a time; their logs are <n>-<law>.log in build/laws.  Ends with one line as
# ./run check does.
set -u
cd "$(dirname "$0")/../.."
logs=${BUILD:-build}/laws
# Compiled as the simulator's zoo is, which has half of it by now; no bug is chosen.
PLAIN=${BUILD:-build}
BUILD=$PLAIN/zoo
DEFINES="-DRAFT_BUGS -DVT_BREAKS"
export BUILD PLAIN DEFINES
. test/harness/pg.sh
. test/harness/lanes.sh
mkdir -p "$BUILD" "$logs"
rm -f "$logs"/*.log "$logs"/*.pid "$logs/results"
laws=$(awk -v only=" $* " 'NF > 0 && !/^#/ && (only == "  " || index(only, " " $1 " "))' test/laws.txt)
units=$(printf '%s\n' "$laws" | sed -n 's|^[A-Z].*unit:\([a-z_]*\).*|'"$BUILD"'/unit/\1|p' | sort -u)
make -s -j2 BUILD="$BUILD" PLAIN="$PLAIN" DEFINES="$DEFINES" PG_CONFIG="$PG_CONFIG" all "$BUILD/powerloss.so" $units >"$logs/build.log" 2>&1 || {
	cat "$logs/build.log"
	exit 1
}
pg_tree
pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")
work=$PG_ROOT/work
mkdir "$work/perl"
cp -r test/t "$PG_ROOT/work/"
cp test/perl/* "$PG_ROOT/work/perl/"
cp "$BUILD/powerloss.so" "$PG_ROOT/work/"
chown -R "$PG_USER" "$PG_ROOT/work/t" "$PG_ROOT/work/perl"

# differs SQL EXPECTED RESULTS: each line that is missing or too many, after the last line
# of the statement that it answers.  What of the results is the next line of SQL is its echo.
differs() {
	diff -w -U 100000 "$2" "$3" | awk -v sql="$1" '
		function next_of_sql() {
			while ((getline line <sql) > 0)
				if (line != "")
					return
			line = "\001"
		}
		BEGIN {next_of_sql()}
		NR < 4 {next}
		{said = substr($0, 2)}
		!/^-/ && said == line {statement = line; next_of_sql(); next}
		/^[-+]/ {print "differs: " statement " " $0}'
}

# The regression test beside its expected output; in its log is what differs and where.
run_regress() {
	name=law$1
	out=$work/$name.out
	mkdir -p "$out/expected"
	cp -r test/sql "$out/sql"
	cp expected/*.out "$out/expected/"
	chown -R "$PG_USER" "$out"
	echo "autovacuum = off" | pg_init "$name"
	VECTRON_BREAK=$2 pg_start "$name"
	as_pg "$pgxs/../test/regress/pg_regress" --inputdir="$name.out" --outputdir="$name.out" \
		--bindir="$PG_BIN" --host="$work/$name.s" --user=postgres --dbname=regression \
		--load-extension=vectron "$3" 2>&1
	pg_stop "$name"
	differs "$out/sql/$3.sql" "$out/expected/$3.out" "$out/results/$3.out"
}

# The test of a unit program; with its law broken it may run without end after it has failed.
run_unit() {
	: >"$log"
	{
		TEST_ONLY="$words*" VECTRON_BREAK=$1 sh -c 'echo $$ >"$0"; exec "$1"' "$log.pid" "$2"
		echo '# ended'
	} >"$log" 2>&1 &
	looks=0
	until grep -q -e "FAILED  \] $words" -e '^# ended' "$log" || [ $looks -ge 1100 ]; do
		sleep 0.1
		looks=$((looks + 1))
	done
	kill -9 "$(cat "$log.pid")" 2>/dev/null
	wait
}

# law N LAW TEST WORDS
law() {
	n=$1 law=$2 test=$3 words=$4
	log=$logs/$n-$law.log
	case "$test" in
	unit:*) run_unit "$law" "$BUILD/unit/${test#unit:}"
		grep -q "FAILED  \] $words" "$log" && seen=yes || seen= ;;
	regress:*) run_regress "$n" "$law" "${test#regress:}" >"$log" 2>&1
		grep -q "^differs: .*$words" "$log" && seen=yes || seen= ;;
	*) data=$work/law$n
		as_pg mkdir "$data"
		# What a power loss takes is a matter of chance: enough rounds that it shows.
		as_pg env VECTRON_BREAK="$law" VECTRON_ROUNDS=8 PG_REGRESS="$pgxs/../test/regress/pg_regress" \
			TESTDIR="$data" TESTDATADIR="$data" TESTLOGDIR="$data/log" \
			TMPDIR="$work" PG_TEST_TIMEOUT_DEFAULT=60 \
			VECTRON_POWERLOSS_LIBRARY="$work/powerloss.so" VECTRON_STOP_AT="$words" \
			timeout -k 5 300 perl -I "$pgxs/../test/perl" -I perl -MStopAt "$test" >"$log" 2>&1
		rm -rf "$data"
		grep -q "^not ok .*$words" "$log" && seen=yes || seen= ;;
	esac
	if [ -n "$seen" ]; then
		echo "ok - $law broken: $test fails"
	else
		echo "not ok - $law broken, and $test did not notice (see $log)"
	fi | tee -a "$logs/results"
}

# Each with its number in the list; those of whole clusters, which take longest, to begin with.
numbered=$(printf '%s\n' "$laws" | awk 'NF > 0 {print ++n, $0}')
n=0
lanes_open "$logs/lanes"
while read -r number law test words; do
	[ -n "$law" ] || continue
	n=$((n + 1))
	lane "$law" law "$number" "$law" "$test" "$words" </dev/null
done <<EOF
$(printf '%s\n' "$numbered" | grep '[ 	]t/')
$(printf '%s\n' "$numbered" | grep -v '[ 	]t/')
EOF
lanes_close
failed=$(grep -c '^not ok' "$logs/results")
echo "$(grep -c '^ok' "$logs/results") passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ $n -gt 0 ] && [ "$(wc -l <"$logs/results")" -eq $n ]
