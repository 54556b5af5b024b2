#!/bin/sh
# Rounds of chaos, and the sum of all that were ever run in this build folder.
#
#	chaos.sh ROUNDS SECONDS [FAULT[,FAULT ...] [SEED]]
#
# test/t/120_chaos.pl in a private PostgreSQL, in pieces of nine rounds, each on a new
# cluster with a seed of its own.  FAULT+FAULT is one history in which two take turns.
# $BUILD/chaos.total counts the histories of each fault that were good, one with two for
# both; a bad one is not counted and ends the run, and what it left is in
# $BUILD/chaos.log and $BUILD/chaos.server.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
rounds=${1:?how many} seconds=${2:?how long} fault=${3:-} seed=${4:-}
total=$BUILD/chaos.total
log=$BUILD/chaos.log
. test/harness/pg.sh
pg_tree || exit 1
pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")
work=$PG_ROOT/work
mkdir "$work/perl" "$work/chaos"
cp -r test/t "$work/"
cp test/perl/* "$work/perl/"
for program in chaos_proxy chaos_load powerloss.so lin; do
	cp "$BUILD/$program" "$work/chaos/" || exit 1
done
chown -R "$PG_USER" "$work"
rm -rf "$BUILD/chaos.server"

# piece ROUNDS SEED
piece() {
	as_pg env VECTRON_CHAOS="$work/chaos" VECTRON_ROUNDS="$1" VECTRON_SECONDS="$seconds" VECTRON_SEED="$2" \
		${fault:+VECTRON_FAULT="$fault"} PG_REGRESS="$pgxs/../test/regress/pg_regress" TESTDIR="$work" \
		TESTDATADIR="$work/tmp_check" TESTLOGDIR="$work/tmp_check/log" TMPDIR="$work" PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-120}" \
		perl -I "$pgxs/../test/perl" -I perl t/120_chaos.pl >"$log" 2>&1
	code=$?
	grep -E '^(ok|not ok) ' "$log"
	{
		cat "$total" 2>/dev/null
		sed -n 's/^# history \(.*\) good$/\1 1/p' "$log"
	} | awk '{k = split($1, part, "+"); for (i = 1; i <= k; i++) n[part[i]] += $2} END {for (f in n) print f, n[f]}' | sort >"$total.new" && mv "$total.new" "$total"
	return $code
}

done=0 status=0
while [ $done -lt "$rounds" ]; do
	n=$((rounds - done))
	[ $n -le 9 ] || n=9
	now=${seed:-$(($(date +%s) % 1000000))}
	echo "# seed $now: $n rounds of $seconds s"
	piece $n "$now" || {
		status=1
		cat "$log"
		cp -r "$work/tmp_check" "$BUILD/chaos.server"
		break
	}
	rm -rf "$work/tmp_check"
	done=$((done + n))
	[ -z "$seed" ] || seed=$((seed + 1))
done
sed 's/^/# histories: /' "$total"
exit $status
