#!/bin/sh
# Rounds of chaos, which may be cut and go on, and the sum of all in this build folder.
#
#	chaos.sh ROUNDS SECONDS [FAULT[,FAULT ...]|pairs [SEED]]
#
# test/t/120_chaos.pl in a private PostgreSQL, in pieces of nine rounds, each on a new
# cluster with a seed of its own.  FAULT+FAULT is one history in which two take turns;
# pairs: in each history two, so that all come equally often.
#
# $BUILD/chaos.histories has a line for each history that came to its end.  Called again as
# before, while the code is the same, it goes on with those of the plan that have none; when
# all have, or with a SEED, or with FROM=1, it makes a new plan.  FROM=n leaves out what is
# before the nth.  A bad one ends its piece; what it left is in a folder of its own in
# $BUILD/chaos.bad, and after the third there are no more.  The status is 0 if all of the
# plan that came to their end, in this call or before, were good.
# What the last piece said is in $BUILD/chaos.log, with times in $BUILD/chaos.times.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
rounds=${1:?how many} seconds=${2:?how long} fault=${3:-} seed=${4:-} from=${FROM:-}
case $from in *[!0-9]*) echo "chaos: FROM=$from is no number" >&2; exit 2 ;; esac
histories=$BUILD/chaos.histories
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
touch "$histories"

# -- The plan ----------------------------------------------------------------------

# What is tested, and what tests it, whatever is committed.
code=$(find src sql test/chaos test/crash test/lin test/perl test/t/120_chaos.pl Makefile -type f ! -name '*.o' ! -name '*.so' ! -name '*.bc' | LC_ALL=C sort | xargs cat | sha256sum | cut -c 1-12)
commit=$(git rev-parse --short HEAD 2>/dev/null || echo none)
kind=$rounds/$seconds/${fault:-drawn}/$code

# Lines of $histories: RUN NUMBER FAULT good|bad SECONDS_OF_LOAD SECONDS COMMIT FAULT=TIMES,...
# Of the run, NUMBERs that have one, and those that are to come.
are_done() { awk -v run="$run" '$1 == run {n[$2] = 1} END {for (i in n) print i}' "$histories"; }
todo() { are_done | awk -v n="$rounds" -v from="${from:-1}" '{is_done[$1] = 1} END {for (i = from; i <= n; i++) if (!(i in is_done)) print i}'; }

run=
if [ -z "$seed" ] && [ "$from" != 1 ]; then
	run=$(awk -v kind="$kind/" 'index($1, kind) == 1 {run = $1} END {print run}' "$histories")
	[ -n "$from" ] || [ -z "$run" ] || [ "$(are_done | wc -l)" -lt "$rounds" ] || run=
fi
[ -n "$run" ] || run=$kind/${seed:-$(($(date +%s) % 1000000))}/$(date +%s)
seed=${run%/*} seed=${seed##*/}
plan=$PG_ROOT/plan
perl -I "$pgxs/../test/perl" -I test/perl -MChaosFaults -e 'print "$_\n" foreach ChaosFaults::planned(@ARGV)' "$rounds" "$seed" "$fault" >"$plan" || exit 1
todo=$(todo)
[ "$(are_done | wc -l)" -eq 0 ] || echo "# on with the plan of seed $seed: $(are_done | wc -l) of $rounds histories are done"

# -- Pieces of it ------------------------------------------------------------------

# What a piece says goes into its log, and of that here what counts; NUMBER ... of its histories.
heard() {
	while IFS= read -r line; do
		printf '%s\n' "$line" >>"$log"
		case $line in
		'ok '* | 'not ok '*) printf '%s\n' "$line" ;;
		'# history '*)
			# FAULT good|bad, load N s, all N s, struck FAULT=TIMES,...
			printf '%s\n' "${line#\# history }" | tr -d , | awk -v run="$run" -v number="$1" -v commit="$commit" -v struck="${line##* }" \
				'{print run, number, $1, $2, $4, $7, commit, struck}' >>"$histories"
			printf '# %s of %s: %s\n' "$1" "$rounds" "${line#\# history }"
			shift ;;
		esac
	done
}

# piece NUMBER ...
piece() {
	echo "# seed $((seed + $1 - 1)): $# rounds of $seconds s"
	: >"$log"
	before=$(wc -l <"$histories")
	{
		as_pg env VECTRON_CHAOS="$work/chaos" VECTRON_ROUNDS="$#" VECTRON_SECONDS="$seconds" VECTRON_SEED="$((seed + $1 - 1))" \
			VECTRON_FAULT="$(for i in "$@"; do sed -n "${i}p" "$plan"; done | paste -s -d ,)" \
			PG_REGRESS="$pgxs/../test/regress/pg_regress" TESTDIR="$work" \
			TESTDATADIR="$work/tmp_check" TESTLOGDIR="$work/tmp_check/log" TMPDIR="$work" PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-120}" \
			perl -I "$pgxs/../test/perl" -I perl t/120_chaos.pl 2>&1
		echo $? >"$PG_ROOT/code"
	} | heard "$@"
	cp "$work/tmp_check/log/regress_log_120_chaos" "$BUILD/chaos.times"
	[ "$(cat "$PG_ROOT/code")" -ne 0 ] || return 0
	blame $(($(wc -l <"$histories") - before)) "$@"
	return 1
}

# blame N NUMBER ...: of a piece that was bad N histories have told how they were.  If it was none of
# them, it was the one that has not, or what is asked after the last.
blame() {
	told=$1
	shift
	if tail -n "$told" "$histories" | grep -q ' bad '; then
		return
	elif [ "$told" -eq $# ]; then
		sed -i '$s/ good / bad /' "$histories"
	else
		shift "$told"
		echo "$run $1 $(sed -n "${1}p" "$plan") bad 0 0 $commit -" >>"$histories"
	fi
}

bad=0
while [ -n "$todo" ] && [ $bad -lt 3 ]; do
	piece $(echo "$todo" | head -n 9) || {
		bad=$((bad + 1))
		kept=$BUILD/chaos.bad/$(date +%m%d-%H%M%S)
		mkdir -p "$BUILD/chaos.bad"
		cp -r "$work/tmp_check" "$kept"
		cp "$log" "$kept/chaos.log"
		cat "$log"
		echo "# what it left: $kept"
	}
	rm -rf "$work/tmp_check"
	todo=$(todo)
done

# -- What came of it ---------------------------------------------------------------

awk '$4 == "good" {k = split($3, part, "+"); for (i = 1; i <= k; i++) n[part[i]]++} END {for (f in n) print "# good histories so far:", f, n[f]}' "$histories" | sort
# One line of all of this plan, in this call and before.
awk -v run="$run" -v rounds="$rounds" -v seconds="$seconds" '
	NR == FNR {k = split($1, part, "+"); for (i = 1; i <= k; i++) n[part[i]] += 0; next}
	$1 != run {next}
	{
		if (!($2 in seen)) numbers++
		seen[$2] = 1
		all++
		$4 == "good" ? good++ : bad++
		took += $6
		if (!index(" " commits " ", " " $7 " ")) commits = commits (commits ? " " : "") $7
		k = split($3, part, "+")
		for (i = 1; i <= k; i++) n[part[i]]++
		k = split($8, part, /[=,]/)
		for (i = 1; i < k; i += 2) times[part[i]] += part[i + 1]
	}
	END {
		for (f in n) {
			faults++
			if (faults == 1 || n[f] > most) most = n[f]
			if (faults == 1 || n[f] < fewest) fewest = n[f]
			if (faults == 1 || times[f] < least) least = times[f] + 0
		}
		for (i = fewest; i <= most; i++) {
			names = ""; k = 0
			for (f in n) if (n[f] == i) {names = names " " f; k++}
			if (k > 0) came = came (came ? "; " : "") (k == faults ? "each of " k " faults" : k > faults / 2 ? k " faults" : substr(names, 2)) " in " i
		}
		printf "# chaos: %d of %d histories of %d s, %d good, %d bad; %s, struck %d times or more; %.0f s a history, on %s\n",
			numbers, rounds, seconds, good, bad, came, least, all ? took / all : 0, commits
		exit bad > 0 || numbers == 0
	}' "$plan" "$histories"
