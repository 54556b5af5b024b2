#!/bin/sh
# What TLS costs: the same table, index and queries on two clusters of one
# placement driver and one worker on this machine, by Unix sockets and by tcp.
#
#	tls.sh [ROUNDS [SECONDS]]		5 rounds of 5 s of each, in turn
#
# Prints the median of the rounds: transactions a second of pgbench with one client
# for searches (128 dimensions, LIMIT 10) and for inserts of one row, and what a
# new session needs for its first search.
set -eu
cd "$(dirname "$0")/../.."
rounds=${1:-5} seconds=${2:-5}
. test/harness/pg.sh
pg_tree
work=$PG_ROOT/work
daemons=

# start NAME command...: in the background, until it says that it is ready
start() {
	name=$1
	shift
	as_pg "$@" >"$work/$name.log" 2>&1 &
	daemons="$daemons $!"
	i=0
	until grep -q ready "$work/$name.log"; do
		i=$((i + 1))
		[ $i -lt 300 ] || { cat "$work/$name.log" >&2; exit 1; }
		sleep 0.1
	done
}
port=$((20000 + $$ % 20000))
tls() { printf '%s' "--tls-ca-file c/ca.crt --tls-cert-file c/$1.crt --tls-key-file c/$1.key"; }
as_pg vectronctl certs init c
as_pg vectronctl certs issue c pd pd
as_pg vectronctl certs issue c worker w
start pd-unix vectron-pd --data pd-unix --listen "unix:$work/pd" --default-replicas 1
start w-unix vectron-worker --data w-unix --listen "unix:$work/w" --pd "unix:$work/pd"
start pd-tcp vectron-pd --data pd-tcp --listen "tcp://127.0.0.1:$port" --default-replicas 1 $(tls pd-pd)
start w-tcp vectron-worker --data w-tcp --listen "tcp://127.0.0.1:$((port + 1))" --pd "tcp://127.0.0.1:$port" $(tls worker-w)

sql() { as_pg psql -XAtq -h "$work/$1.s" -U postgres -d postgres -c "$2"; }
for way in unix tcp; do
	echo "shared_preload_libraries = 'vectron'" | pg_init $way
	pg_start $way
	if [ $way = tcp ]; then
		system=$(sql tcp 'SELECT system_identifier FROM pg_control_system()')
		as_pg vectronctl certs issue c gateway "$system"
		at="tcp://127.0.0.1:$port"
		for f in "ca ca.crt" "cert gateway-$system.crt" "key gateway-$system.key"; do
			echo "vectron.tls_${f%% *}_file = '$work/c/${f#* }'"
		done >>"$work/tcp/postgresql.conf"
	else
		at="unix:$work/pd"
	fi
	printf "vectron.pd_endpoints = '%s'\nautovacuum = off\njit = off\nenable_seqscan = off\n" "$at" >>"$work/$way/postgresql.conf"
	as_pg pg_ctl -D "$work/$way" -m fast -w -s restart -l "$work/$way.log"
	sql $way "CREATE EXTENSION vectron;
		CREATE TABLE q AS SELECT n AS id, (SELECT array_agg(random())::vector(128) FROM generate_series(1, 128) WHERE n > 0) AS v FROM generate_series(1, 1000) n;
		ALTER TABLE q ADD PRIMARY KEY (id);
		CREATE TABLE t (id serial, v vector(128));
		INSERT INTO t (v) SELECT (SELECT array_agg(random())::vector(128) FROM generate_series(1, 128) WHERE n > 0) FROM generate_series(1, 20000) n;
		CREATE INDEX ON t USING vectron (v vector_l2_ops) WITH (shards = 1);
		ANALYZE; CHECKPOINT"
done
echo '\set i random(1, 1000)
SELECT id FROM t ORDER BY v <-> (SELECT v FROM q WHERE id = :i) LIMIT 10;' >"$work/search.sql"
echo '\set i random(1, 1000)
INSERT INTO t (v) SELECT v FROM q WHERE id = :i;' >"$work/insert.sql"

bench() { as_pg pgbench -n -M prepared -h "$work/$1.s" -U postgres -c 1 $3 -f "$work/$2.sql" postgres 2>/dev/null | sed -n 's/^tps = \([0-9.]*\).*/\1/p'; }
round=0
while [ $round -lt "$rounds" ]; do
	for what in search insert; do
		for way in unix tcp; do bench $way $what "-T $seconds" >>"$work/$what.$way"; done
	done
	for way in unix tcp; do bench $way search "-C -t 50" >>"$work/session.$way"; done
	round=$((round + 1))
done
median() { sort -n "$1" | awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}'; }
printf '%-28s %10s %10s %7s\n' 'per second, one client' unix tcp+TLS ratio
for what in search insert session; do
	u=$(median "$work/$what.unix") t=$(median "$work/$what.tcp")
	printf '%-28s %10.0f %10.0f %7.2f\n' "$what" "$u" "$t" "$(echo "$u $t" | awk '{print $2 / $1}')"
done
for pid in $daemons; do kill "$pid" 2>/dev/null || true; done
