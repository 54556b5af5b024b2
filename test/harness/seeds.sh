#!/bin/sh
# More seeds of the simulator, from where the last run ended.
#
#	seeds.sh RUNS			RUNS more random worlds of Raft, in pieces of 5000
#	seeds.sh RUNS shards	the same with shards and servers in them
#	seeds.sh RUNS splits	and with shards that are split
#	seeds.sh RUNS sessions	and with clients of collections in place of servers
#
# $BUILD/seeds.total (shards.total) keeps the next seed and the sum of all counts; it is replaced
# as a whole after each piece, so the work may be ended at any time and costs a
# piece at most.  A piece with a violation is not counted and ends the run.  Ends
# with "N passed, N failed, N skipped".  FIRST=n begins a new total at seed n.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
runs=${1:?how many}
kind=${2:-seeds}
total=$BUILD/$kind.total
piece=5000
log=$BUILD/$kind.log
flags=
[ "$kind" != shards ] || flags=--shards
[ "$kind" != splits ] || flags=--splits
[ "$kind" != sessions ] || flags=--sessions

next=$(awk '$1 == "next" {print $2}' "$total" 2>/dev/null || true)
[ -z "${FIRST:-}" ] || { next=$FIRST; rm -f "$total"; }
next=${next:-1}
passed=0
while [ "$passed" -lt "$runs" ]; do
	n=$((runs - passed))
	[ "$n" -le "$piece" ] || n=$piece
	if ! "$BUILD/sim" $flags --seed "$next" --runs "$n" >"$log" 2>&1; then
		cat "$log"
		echo "seeds: $n from $next on; $passed before them were well"
		exit 1
	fi
	next=$((next + n)) passed=$((passed + n))
	[ -s "$total" ] || echo "next $next" >"$total"
	awk -v next_seed="$next" -v n="$n" '
		FNR == NR { if ($1 != "next") { sum[$1] = $2; order[++k] = $1 } ; next }
		NF == 2 && $2 ~ /^[0-9]+$/ { if (!($1 in sum)) order[++k] = $1; sum[$1] += $2 }
		END {
			print "next", next_seed
			if (!("worlds" in sum)) order[++k] = "worlds"
			sum["worlds"] += n
			for (i = 1; i <= k; i++) printf "%s %.0f\n", order[i], sum[order[i]]
		}' "$total" "$log" >"$total.new"
	mv "$total.new" "$total"
done
cat "$total"
echo "$passed passed, 0 failed, 0 skipped"
