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
case "$BUILD" in
/*) logs=$BUILD/check ;;
*) logs=$PWD/$BUILD/check ;;
esac
rm -rf "$logs"
mkdir -p "$logs"
passed=0 failed=0 skipped=0
. test/harness/pg.sh
. test/harness/lanes.sh

# reasons LOG: of the first dozen that failed, what was said around it; prove's comments may come before their line
reasons() {
	awk '
	/^# [^ ]*\/unit\/[^ ]*$/ || /^t\/[^ ]*\.pl \.\./ { program = $0 }
	/^not ok/ && ++failed <= 12 {
		print "-- " NR (program == "" ? "" : ", " program)
		for (i = NR - 6; i < NR; i++)
			if (i > told)
				print line[i % 6]
		print
		told = NR
		after = 12
		next
	}
	/^ok/ { after = 0 }
	after > 0 { after--; print; told = NR }
	{ line[NR % 6] = $0 }
	END { if (failed > 12) print "-- and " failed - 12 " more" }' "$1" | cut -c 1-400
}

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
		echo "--- $1: of $logs/$1.log"
		if grep -q '^not ok' "$logs/$1.log"; then
			reasons "$logs/$1.log"
			ending=15
		else
			grep -n -E '^(test|     ).* FAILED' "$logs/$1.log" | head -n 40
			ending=60
		fi
		echo "-- and its end"
		tail -n $ending "$logs/$1.log" | cut -c 1-400
		echo "---"
	fi
}

count() { grep -c -E "$1" "$2" || true; }

# summed FIELD LOG: over the lines "N passed, N failed, N skipped"
summed() { awk -v f="$1" '/^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ {n += $f} END {print n + 0}' "$2"; }

# run NAME BUDGET command...: into its log, and beside it how it ended.  What hangs is ended
# at twice its budget: $limit is for the commands to put before themselves.
run() {
	name=$1
	limit="timeout -k 20 $(($2 * 2))"
	shift 2
	begin=$(date +%s)
	"$@" >"$logs/$name.log" 2>&1
	echo "$? $(($(date +%s) - begin))" >"$logs/$name.ended"
}

# counted NAME BUDGET KIND: what came of it
counted() {
	name=$1 budget=$2 kind=$3
	log=$logs/$name.log
	status=1 seconds=0
	read -r status seconds <"$logs/$name.ended"
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
		# Each run of the simulator ends with such a line.
		good=$(summed 1 "$log") bad=$(summed 3 "$log") skip=$(summed 5 "$log") ;;
	*) good=0 bad=0 skip=0; [ $status -ne 0 ] || good=1 ;;
	esac
	# A part that fails without naming a test has failed all the same, and so has
	# one that ran none.
	[ $status -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	[ $((good + bad + skip)) -gt 0 ] || bad=1
	report "$name" "$seconds" "$budget" "$good" "$bad" "$skip"
	return $status
}

# part NAME BUDGET KIND command...: run it, count by kind
part() {
	part_is=$1 part_budget=$2 part_kind=$3
	shift 3
	run "$part_is" "$part_budget" "$@"
	counted "$part_is" "$part_budget" "$part_kind"
}

unit() {
	echo "# $1"
	CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 120 "$1" 2>&1
	code=$?
	# A program that died printed no failing test.
	[ $code -lt 124 ] || echo "not ok - $1 ended with status $code"
	return $code
}

# The same with the kernels of a lesser processor.
unit_on() {
	(VECTRON_CPU=$1; export VECTRON_CPU; unit "$2")
}

# Programs that wait for what comes of itself and hardly work: three of them are less than one that works.
waiting="replica_watch replica_room replica_peers worker_cluster replica_sleep replica_install pd_drivers pd_five net_link \
	worker_heirs replica_lag client_replicas net_server worker_split worker_broken pd_door replica_far replica_staged"
# Those that work longest, to begin with.
longest="worker_filters net_tls worker_limits hnsw_corners hnsw_door hnsw_half hnsw_bits hnsw_compact hnsw_reach hnsw_sets"

units_that_wait() {
	lanes_open "$logs/unit.waiting" 3
	for t in $waiting; do lane "$t" unit "$BUILD/unit/$t"; done
	lanes_close
}

units() {
	lanes_open "$logs/unit.lanes"
	lane waiting units_that_wait
	for t in half corners door mapped sets twins; do
		lane "hnsw_$t.avx2" unit_on avx2 "$BUILD/unit/hnsw_$t"
	done
	for t in half corners twins; do
		lane "hnsw_$t.plain" unit_on plain "$BUILD/unit/hnsw_$t"
	done
	for t in $longest; do lane "$t" unit "$BUILD/unit/$t"; done
	for t in "$BUILD"/unit/*; do
		case "$t" in *.o | *.d) continue ;; esac
		case " $(echo $waiting $longest) " in *" ${t##*/} "*) continue ;; esac
		[ ! -x "$t" ] || lane "${t##*/}" unit "$t"
	done
	lanes_close
}

# The server that a run of tests needs, with the inputs in a folder it may write.
inputs() {
	as_pg mkdir -p "out/$1/expected"
	cp -r "test/$2" "$PG_ROOT/work/out/$1/"
	cp expected/*.out "$PG_ROOT/work/out/$1/expected/" 2>/dev/null
	chown -R "$PG_USER" "$PG_ROOT/work/out"
}

# outcome NAME STATUS: keep what tells why
outcome() {
	cat "$PG_ROOT/work/out/$1/regression.diffs" 2>/dev/null
	mkdir -p "$logs/$1.results"
	cp "$PG_ROOT/work/out/$1"/results/* "$logs/$1.results/" 2>/dev/null
	[ "$2" -eq 0 ] || cp "$PG_ROOT/work/$1.log" "$logs/$1.server.log"
	pg_stop "$1"
	return "$2"
}

regress() {
	inputs regress sql
	pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")
	tests=$(cd test/sql && ls *.sql | sed 's/\.sql$//')
	# Who analyzes in the background keeps a VACUUM from taking what it is to take, and changes plans.
	echo "autovacuum = off" | pg_init regress
	pg_start regress
	as_pg $limit "$pgxs/../test/regress/pg_regress" --inputdir=out/regress --outputdir=out/regress \
		--bindir="$PG_BIN" --host="$PG_ROOT/work/regress.s" --user=postgres --dbname=regression \
		--load-extension=vectron $tests
	outcome regress $?
}

isolation() {
	inputs isolation specs
	pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")
	tests=$(cd test/specs && ls *.spec | sed 's/\.spec$//')
	printf '%s\n' "shared_preload_libraries = 'vectron'" "autovacuum = off" | pg_init isolation
	pg_start isolation
	as_pg $limit "$pgxs/../test/isolation/pg_isolation_regress" --inputdir=out/isolation \
		--outputdir=out/isolation --bindir="$PG_BIN" --host="$PG_ROOT/work/isolation.s" --user=postgres \
		--dbname=isolation --load-extension=vectron $tests
	outcome isolation $?
}

# One file of tests.
file() {
	as_pg env VECTRON_CHAOS="$work/chaos" PG_REGRESS="$pgxs/../test/regress/pg_regress" TESTDATADIR="$work/tmp_check" \
		TESTLOGDIR="$work/tmp_check/log" TMPDIR="$work" PG_TEST_TIMEOUT_DEFAULT=120 PGCTLTIMEOUT=120 \
		VECTRON_POWERLOSS_LIBRARY="$work/powerloss.so" VECTRON_ALTER_ROW="$work/alter_row" \
		$limit prove -v -I "$pgxs/../test/perl" -I perl "$1"
}

# The files, or all of them.
tap() {
	[ $# -gt 0 ] || set -- $(cd test && ls t/*.pl)
	work=$PG_ROOT/work
	pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")
	mkdir -p "$work/perl" "$work/chaos"
	cp -r test/t "$work/"
	cp test/perl/* "$work/perl/" 2>/dev/null
	cp "$BUILD"/powerloss.so "$BUILD"/alter_row "$work/" 2>/dev/null
	cp "$BUILD"/chaos_proxy "$BUILD"/chaos_load "$BUILD"/powerloss.so "$BUILD"/lin "$work/chaos/"
	chown -R "$PG_USER" "$work/t" "$work/perl"
	lanes_open "$logs/$name.lanes"
	for f in "$@"; do
		lane "$(basename "$f")" file "$f"
	done
	lanes_close
	code=$?
	[ $code -eq 0 ] || cp -r "$work/tmp_check/log" "$logs/$name.server" 2>/dev/null
	return $code
}

# Rounds of kill -9 (four a round) and of power loss.
crashes() {
	VECTRON_ROUNDS=$1 tap t/010_index.pl t/050_power_loss.pl
}

# Half of Raft's seeds in each lane; each half has to meet whatever worlds may meet.
sims() {
	half=$(($1 / 2))
	$limit "$BUILD/sim" --scenarios test/sim/scenarios || return 1
	lanes_open "$logs/sim.lanes"
	lane raft $limit "$BUILD/sim" --seed 1 --runs $half
	lane raft2 $limit "$BUILD/sim" --seed $((half + 1)) --runs $half
	lane shards $limit "$BUILD/sim" --shards --seed 1 --runs "$2"
	lane sessions $limit "$BUILD/sim" --sessions --seed 1 --runs $(($2 / 3))
	lane splits $limit "$BUILD/sim" --splits --seed 1 --runs $(($2 / 4))
	lane recover $limit "$BUILD/sim" --recover --seed 1 --runs $(($1 / 20))
	lanes_close
}

# The same with packet filters between network namespaces; needs root.
netns() {
	$limit sh test/harness/netns.sh "$@"
}

# Each of the 36 faults six times, two in turn in each history.  What was cut goes on when it is called again.
chaos() {
	$limit sh test/harness/chaos.sh 108 120 pairs
}

chaos_part() {
	part chaos 18000 tap chaos
	code=$?
	sed -n '/^# chaos: /h; ${x; s/^# //p;}' "$logs/chaos.log"
	return $code
}

ends() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed -eq 0 ]
	exit
}

# Seeds nobody ran in this build folder yet.
more_sims() {
	$limit "$BUILD/sim" --scenarios test/sim/scenarios &&
		$limit env BUILD="$BUILD" sh test/harness/seeds.sh "$1" &&
		$limit env BUILD="$BUILD" sh test/harness/seeds.sh "$2" shards &&
		$limit env BUILD="$BUILD" sh test/harness/seeds.sh $(($2 / 4)) splits &&
		$limit env BUILD="$BUILD" sh test/harness/seeds.sh $(($2 / 2)) sessions
}

# Scheduling of the placement driver, so many seeds of each scenario; the big ones in check --long.
pdsims() {
	lanes_open "$logs/pdsim.lanes"
	for s in test/pdsim/scenarios/*.txt; do lane "$(basename "$s" .txt)" $limit "$BUILD/pdsim" --seeds "$1" "$s"; done
	lanes_close
	code=$?
	[ "$mode" != long ] || $limit "$BUILD/pdsim" test/pdsim/big/*.txt || code=1
	return $code
}

# A thousand workers with 100 000 shards; check --long.
wides() {
	$limit "$BUILD/pdsim" test/pdsim/wide/*.txt
}

# The checker of histories, itself checked against histories known good and bad.
lins() {
	code=0
	$limit "$BUILD/lin" --fuzz 20000 >"$logs/lin.fuzz" || code=1
	tail -n 3 "$logs/lin.fuzz" | sed 's/^/# against brute force: /'
	$limit "$BUILD/lin" --known test/lin/histories || code=1
	return $code
}

# Bugs put into the Raft core, and laws of shards and indexes broken, one by one: the
# simulator must notice each.
zoo() {
	make -s -j2 BUILD="$BUILD/zoo" PLAIN="$BUILD" DEFINES="-DRAFT_BUGS -DVT_BREAKS" "$BUILD/zoo/sim" || return 1
	lanes_open "$logs/zoo.lanes"
	lane raft $limit "$BUILD/zoo/sim" --zoo
	lane shards $limit "$BUILD/zoo/sim" --shards --zoo
	lanes_close
}

# Programs of an older release, replaced one after the other by today's.
older() {
	folder=$($limit sh test/harness/older.sh)
	case $? in
	0) ;;
	77) echo "ok 1 # SKIP $folder" && return ;;
	*) echo "$folder" && return 1 ;;
	esac
	mkdir -p "$PG_ROOT/older" && cp "$folder/vectron-pd" "$folder/vectron-worker" "$PG_ROOT/older/" || return 1
	VECTRON_OLDER=$PG_ROOT/older tap t/114_older.pl
}

failover() {
	make -s BUILD="$BUILD" "$BUILD/cluster_bench" &&
		$limit "$BUILD/cluster_bench" failover --programs "$BUILD" --kills 50
}

# Built anew: make asan, make tsan.
sanitized() {
	$limit make -s -j2 BUILD="$BUILD" "$1"
}

# Threads that stand still where another may go on; they wait more than they work.
stalled() {
	$limit env BUILD="$BUILD" LANES=6 sh test/harness/stalls.sh all 1 3
}

# A short look; make fuzz takes its time.
fuzz() {
	FUZZ_SECONDS=$1 $limit sh test/harness/fuzz.sh
}

part build 240 one timeout -k 20 480 make -s -j2 BUILD="$BUILD" PG_CONFIG="$PG_CONFIG" all test-programs sim-programs || ends
if [ $mode = long ] && [ -n "${FROM:-}" ]; then
	chaos_part
	ends
fi
part lint 90 tap timeout -k 20 180 sh test/lint/lint.sh "$BUILD"
part unit 180 tap units
if [ -x "$BUILD/sim" ]; then
	case $mode in
	quick) part sim 30 sim sims 100 100 ;;
	full) part sim 240 sim sims 20000 6000 ;;
	long) part sim 3600 sim more_sims 50000 50000 ;;
	esac
fi
case $mode in
quick) part pdsim 20 sim pdsims 1 ;;
full) part pdsim 60 sim pdsims 10 ;;
long)
	part pdsim 1800 sim pdsims 200
	part wide 3600 sim wides ;;
esac
if [ -x "$BUILD/lin" ] && [ $mode != quick ]; then
	part lin 60 sim lins
	part zoo 180 sim zoo
	case $mode in
	full) part fuzz 60 sim fuzz 5 ;;
	long) part fuzz 600 sim fuzz 240 ;;
	esac
fi
pg_tree || {
	failed=$((failed + 1))
	ends
}
# Most of its time a cluster waits until it is healed: meanwhile what needs one core.
# Nothing of that may have lanes, whose end is waited for with that of all others.
if [ $mode = full ]; then
	run netns 90 netns cut_leader zone &
	beside=$!
fi
part regress 180 regress regress
if ls test/specs/*.spec >/dev/null 2>&1; then
	part isolation 120 regress isolation
fi
if grep -q '^CREATE ACCESS METHOD' sql/vectron--*.sql && [ $mode != quick ]; then
	part demo 90 one timeout -k 20 180 sh demo/demo.sh
fi
case $mode in
full)
	wait $beside
	counted netns 90 tap ;;
long) part netns 300 tap netns ;;
esac
if ls test/t/*.pl >/dev/null 2>&1 && [ $mode != quick ]; then
	part tap 480 tap tap
fi
if [ $mode != quick ]; then
	part laws 240 tap sh test/harness/laws.sh
fi
if [ $mode = long ]; then
	part crashes 3600 tap crashes 60
	part older 900 tap older
	# Leaders killed under load; prints how long writes were away, fails when one fails.
	part failover 900 one failover
	chaos_part
	part stalls 5400 tap stalled
	part asan 5400 tap sanitized asan
	part tsan 5400 tap sanitized tsan
fi
ends
