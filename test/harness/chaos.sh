#!/bin/sh
# Rounds of chaos, and the sum of all that were ever run in this build folder.
#
#	chaos.sh ROUNDS SECONDS [FAULT[,FAULT ...]|pairs [SEED]]
#
# test/t/120_chaos.pl in a private PostgreSQL, in pieces of nine rounds, each on a new
# cluster with a seed of its own.  FAULT+FAULT is one history in which two take turns;
# pairs: in each history two, so that all come equally often.
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

# pairs SEED: of all faults, shuffled again and again, always the next two, one line a history
pairs() {
	perl -I "$pgxs/../test/perl" -I test/perl -MChaosFaults -MList::Util=shuffle -e '
		my ($n, $seed) = @ARGV;
		my @left;
		srand($seed);
		while ($n > 0)
		{
			push @left, shuffle(ChaosFaults::names()) if @left < 2;
			my ($one, $two) = splice(@left, 0, 2);
			next if $one eq $two;
			print "$one+$two\n";
			$n--;
		}' "$rounds" "$1"
}

# piece ROUNDS SEED FAULTS
piece() {
	as_pg env VECTRON_CHAOS="$work/chaos" VECTRON_ROUNDS="$1" VECTRON_SECONDS="$seconds" VECTRON_SEED="$2" \
		${3:+VECTRON_FAULT="$3"} PG_REGRESS="$pgxs/../test/regress/pg_regress" TESTDIR="$work" \
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
if [ "$fault" = pairs ]; then
	plan=$work/pairs
	pairs "${seed:-$(date +%s)}" >"$plan" || exit 1
fi
while [ $done -lt "$rounds" ]; do
	n=$((rounds - done))
	[ $n -le 9 ] || n=9
	now=${seed:-$(($(date +%s) % 1000000))}
	echo "# seed $now: $n rounds of $seconds s"
	[ "$fault" != pairs ] || now_faults=$(sed -n "$((done + 1)),$((done + n))p" "$plan" | paste -s -d ,)
	piece $n "$now" "${now_faults:-$fault}" || {
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
