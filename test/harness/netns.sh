#!/bin/sh
# A cluster over tcp and TLS whose links are cut by packet filters.
#
#	netns.sh [SCENARIO ...]
#
# Each placement driver, each worker and PostgreSQL has a network namespace of its own,
# with a cable to a bridge in one more; what is cut is dropped by a filter of the one it
# was for: nobody is told, as when a switch dies.  Meanwhile sessions write, delete,
# VACUUM, get and search (test/chaos/load.c).  After each scenario: no statement failed,
# no row was wrong, the history is linearizable, replicas agree, the index has what the
# table has and finds every row.
#
# Needs root and the means: without them it is skipped, and says why.  At its end
# namespaces, cables and filters are gone with their processes.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
PATH=$PATH:/usr/sbin:/sbin
id=vt$$
timeout=${PG_TEST_TIMEOUT_DEFAULT:-120}
members="gw pd1 pd2 pd3 w1 w2 w3"
count=0 failed=0

ok() { count=$((count + 1)); echo "ok $count - $*"; }
not_ok() { count=$((count + 1)); failed=1; echo "not ok $count - $*"; }
is() { [ "$1" = "$2" ] && ok "$3" || { not_ok "$3"; echo "# got '$1', expected '$2'"; }; }
skip() { echo "ok 1 - network namespaces # SKIP $*"; exit 0; }
give_up() { not_ok "$*"; tail -n 20 "$PG_ROOT/work"/*.log | sed 's/^/# /'; exit 1; }

# -- Namespaces ------------------------------------------------------------------

remove_net() {
	for n in hub $members; do
		[ -e "/run/netns/$id-$n" ] || continue
		# Only what we started is in there.
		for pid in $(ip netns pids "$id-$n"); do kill -9 "$pid"; done
		ip netns del "$id-$n"
	done
}

[ "$(id -u)" -eq 0 ] || skip 'not root'
command -v ip >/dev/null && command -v nft >/dev/null || skip 'ip or nft is not there (iproute2, nftables)'
trap remove_net EXIT
trap 'exit 130' INT TERM HUP
ip netns add "$id-hub" 2>/dev/null || skip 'no network namespaces here'
ip -n "$id-hub" link add br0 type bridge 2>/dev/null && ip -n "$id-hub" link set br0 up || skip 'no bridges here'

address() {
	case $1 in
	gw) echo 10.77.0.1 ;;
	pd*) echo "10.77.0.1${1#pd}" ;;
	w*) echo "10.77.0.2${1#w}" ;;
	esac
}

for n in $members; do
	ip netns add "$id-$n" && ip -n "$id-hub" link add "$n" type veth peer name eth0 netns "$id-$n" 2>/dev/null || skip 'no virtual cables here'
	ip -n "$id-hub" link set "$n" master br0 up
	ip -n "$id-$n" link set lo up
	ip -n "$id-$n" addr add "$(address "$n")/24" dev eth0
	ip -n "$id-$n" link set eth0 up
	ip netns exec "$id-$n" nft 'add table inet cut; add chain inet cut in { type filter hook input priority 0; }' 2>/dev/null || skip 'no packet filters here'
done

# cut FROM TO: nothing arrives any more, and nobody is told
cut() { ip netns exec "$id-$2" nft "add rule inet cut in ip saddr $(address "$1") drop"; }
cut_both() { cut "$1" "$2"; cut "$2" "$1"; }
heal() { for n in $members; do ip netns exec "$id-$n" nft flush chain inet cut in; done; }
others() { for n in $members; do [ "$n" = "$1" ] || echo "$n"; done; }

# -- The cluster -----------------------------------------------------------------

. test/harness/pg.sh
pg_tree || give_up 'an installation'
trap 'remove_net; pg_remove' EXIT
work=$PG_ROOT/work
for program in chaos_load lin; do cp "$BUILD/$program" "$work/"; done
pds=tcp://$(address pd1):7400,tcp://$(address pd2):7400,tcp://$(address pd3):7400

in_ns() {
	ns=$1
	shift
	(cd "$work" && exec ip netns exec "$id-$ns" runuser -u "$PG_USER" -- env PATH="$PG_BIN:$PATH" LC_ALL=C.UTF-8 HOME="$work" "$@")
}

# Poll a command until it succeeds.
until_true() {
	end=$(($(date +%s) + timeout))
	until "$@"; do
		[ "$(date +%s)" -lt "$end" ] || return 1
		sleep 0.1
	done
}

tls() { echo "--tls-ca-file certs/ca.crt --tls-cert-file certs/$1.crt --tls-key-file certs/$1.key"; }
is_ready() { grep -q '\bready\b' "$work/$1.log"; }

as_pg vectronctl certs init certs >/dev/null || give_up 'a CA'
for n in pd1 pd2 pd3 w1 w2 w3; do
	case $n in
	pd*) role=pd port=7400 program=vectron-pd peers=--peers ;;
	w*) role=worker port=7401 program=vectron-worker peers=--pd ;;
	esac
	as_pg vectronctl certs issue certs $role "$n" >/dev/null || give_up 'certificates'
	in_ns "$n" $program --data "$n" --listen "tcp://$(address "$n"):$port" $peers "$pds" $(tls "$role-$n") >"$work/$n.log" 2>&1 </dev/null &
done
for n in pd1 pd2 pd3 w1 w2 w3; do until_true is_ready "$n" || give_up "$n is ready"; done
ok 'three placement drivers and three workers find each other'

echo "shared_preload_libraries = 'vectron'
autovacuum = off
fsync = off
vectron.pd_endpoints = '$pds'" | pg_init pg
system=$(as_pg pg_controldata -D pg | sed -n 's/^Database system identifier: *//p')
as_pg vectronctl certs issue certs gateway "$system" >/dev/null || give_up 'a certificate for the server'
cat >>"$work/pg/postgresql.conf" <<END
vectron.tls_ca_file = '$work/certs/ca.crt'
vectron.tls_cert_file = '$work/certs/gateway-$system.crt'
vectron.tls_key_file = '$work/certs/gateway-$system.key'
END
in_ns gw pg_ctl -D pg -l pg.log -w start >/dev/null || give_up 'the server starts'
conninfo="host=$work/pg.s user=postgres dbname=postgres"
sql() { as_pg psql -XAtq -v ON_ERROR_STOP=1 -d "$conninfo" -c "$1"; }
sql_true() { [ "$(sql "$1" 2>/dev/null)" = t ]; }
load() { as_pg ./chaos_load "$@"; }

# Three of one index, one of that on bits and one of that for recall.
is_whole="SELECT count(*) = 5 FROM (SELECT shard FROM vectron.shards GROUP BY shard
	HAVING count(*) = 3 AND count(DISTINCT store) = 3 AND count(DISTINCT applied) = 1 AND count(DISTINCT records) = 1
		AND count(*) FILTER (WHERE role = 'leader') = 1 AND count(*) FILTER (WHERE role = 'follower') = 2 AND bool_and(state = 'up')) s"
whole() { until_true sql_true "$is_whole" && ok "$1" || { not_ok "$1"; sql 'TABLE vectron.shards' | sed 's/^/# /'; }; }

sql 'CREATE EXTENSION vectron' || give_up 'the extension'
until_true sql_true "SELECT count(*) = 3 FROM vectron.workers WHERE state = 'up'" || give_up 'three workers are up'
load fill "$conninfo" 1000 3 || give_up 'an index and rows'
whole 'every shard has three replicas'
# Of walks through a graph that has everything.
recall() {
	until_true sql_true "SELECT bool_and(unindexed = 0) FROM vectron.shards WHERE index = 'public.r_v'" && load recall "$conninfo" 1000
}
recall=$(recall) || give_up 'recall before'

# -- Scenarios -------------------------------------------------------------------

leader() {
	sql "SELECT 'w' || substring(endpoint from '10\.77\.0\.2(\d):') FROM vectron.shards GROUP BY endpoint
		ORDER BY count(*) FILTER (WHERE role = 'leader') DESC, 1 LIMIT 1"
}

cut_leader() {
	victim=$(leader)
	for n in $(others "$victim"); do cut_both "$victim" "$n"; done
	sleep 10
	heal
}

cut_leader_from_its_own() {
	victim=$(leader)
	for n in $(others "$victim"); do [ "$n" = gw ] || cut_both "$victim" "$n"; done
	sleep 10
	heal
}

not_heard() {
	victim=$(leader)
	for n in $(others "$victim"); do cut "$victim" "$n"; done
	sleep 10
	heal
}

does_not_hear() {
	victim=$(leader)
	for n in $(others "$victim"); do [ "$n" = gw ] || cut "$n" "$victim"; done
	sleep 10
	heal
}

# Two workers and a driver here, the rest there: here is who can elect, there who asks.
zone() {
	for here in w2 w3 pd3; do
		for there in gw pd1 pd2 w1; do cut_both $here $there; done
	done
	sleep 8
	heal
}

# Long enough that TCP does not try again soon after it.
silence() {
	for n in $(others w1); do cut_both w1 "$n"; done
	sleep 30
	heal
}

# What the load has told last: operations so far, the slowest search.
seen() { sed -n 's/^operations \([0-9]*\) slowest_ms \([0-9]*\) .*/\1 \2/p' "$work/load.out" | tail -n 1; }
operations() { set -- $(seen) 0; echo "$1"; }
has_done() { kill -0 "$load_pid" && [ "$(operations)" -ge "$1" ]; }
goes_on() { until_true has_done $(($(operations) + $1)) 2>/dev/null; }

scenario() {
	name=$1
	sql 'DELETE FROM t WHERE id <= 1000'
	rm -f "$work/load.in"
	mkfifo "$work/load.in"
	load run "$conninfo" $$ 4 40 30000 600 history <"$work/load.in" >"$work/load.out" 2>"$work/load.err" &
	load_pid=$!
	exec 8>"$work/load.in"
	goes_on 150 || give_up "$name: the load has begun"
	set -- $(seen)
	# In "zone" a mark may be applied by those alone who are not within reach.
	# A machine that stands still for some seconds is none of the cluster's faults; waiting until it is healed would be.
	[ "$name" = zone ] || echo $(($2 * 10 > 8000 ? $2 * 10 : 8000)) >&8
	"$name"
	goes_on 100 && ok "$name: the load goes on" || not_ok "$name: the load goes on"
	echo end >&8
	wait "$load_pid"
	exec 8>&-
	sed -n '/^operations/!s/^/# /p' "$work/load.out"
	is "$(sed -n 's/^all wrong \([0-9]*\) unknown \([0-9]*\) .*/\1 \2/p' "$work/load.out")" '0 0' "$name: no wrong row, and every statement was answered"
	is "$(grep -c '^#' "$work/history")" 0 "$name: nothing failed"
	grep '^#' "$work/history" | head -n 5
	as_pg ./lin history | grep -q '^1 passed' && ok "$name: the history is linearizable" || not_ok "$name: the history is linearizable"
	begin=$(date +%s)
	whole "$name: every shard is whole again"
	echo "# that took $(($(date +%s) - begin)) s"
	for i in t_v t_b r_v; do
		is "$(sql "SELECT entries >= (SELECT count(*) FROM ${i%_*}), missing, extra, wrong FROM vectron.check_index('$i')")" 't|0|0|0' "$name: $i has what the table has"
	done
	load rows "$conninfo" >"$work/rows.out" 2>&1 && ok "$name: every row is found by its own vector" || { not_ok "$name: every row is found by its own vector"; sed 's/^/# /' "$work/rows.out"; }
	now=$(recall) && ok "$name: recall is that of walks" || not_ok "$name: recall is that of walks"
	is "$(echo "$now $recall" | awk '{print ($1 >= $2 - 0.005)}')" 1 "$name: recall is what it was: $now"
}

[ $# -gt 0 ] || set -- cut_leader cut_leader_from_its_own not_heard does_not_hear zone silence
for s in "$@"; do
	scenario "$s"
	[ $failed -eq 0 ] || break
done
in_ns gw pg_ctl -D pg -m fast -w stop >/dev/null
echo "1..$count"
[ $failed -eq 0 ] || for n in pd1 pd2 pd3 w1 w2 w3 pg; do echo "# $n"; tail -n 15 "$work/$n.log" | sed 's/^/# /'; done
exit $failed
