#!/bin/sh
# The benchmark of the whole path through SQL: a private server, clients, and
# pgvector beside us when it is there.  Called by make bench.
#
#	run.sh [--pgvector DIR] [--disk DIR] [--sync-us N] [--workers N] [options of sql_bench] [mode ...]
#
#	--pgvector DIR	an installation of pgvector for the same PostgreSQL, made with
#					"make install DESTDIR=DIR"; without it there is no rival
#	--disk DIR		data directories there; else on tmpfs, /dev/shm
#	--sync-us N		each sync takes at least so long
#	--workers N		a placement driver and so many workers, three replicas a shard at most;
#					else one of each, embedded
set -eu
cd "$(dirname "$0")/../../.."
command="test/bench/sql/run.sh $*"
pgvector=
disk=
sync_us=
workers=
for arg; do
	shift
	case "${previous:-}" in
	--pgvector) pgvector=$arg ;;
	--disk) disk=$arg ;;
	--workers) workers=$arg ;;
	--sync-us) sync_us=$arg; set -- "$@" --sync-us "$arg" ;;
	*)
		case "$arg" in
		--pgvector|--disk|--sync-us|--workers) ;;
		*) set -- "$@" "$arg" ;;
		esac ;;
	esac
	previous=$arg
done

place=$disk
if [ -z "$disk" ]; then
	case "$(stat -f -c %T /dev/shm 2>/dev/null)" in
	tmpfs) place=/dev/shm; set -- --tmpfs "$@" ;;
	*) place=${TMPDIR:-/tmp}; echo "bench: no tmpfs at /dev/shm, data directories are in $place" ;;
	esac
fi
TMPDIR=$place
. test/harness/pg.sh
pg_tree
# Ours of that name, which needs vectron, is not the rival.
rm -f "$PG_ROOT$("$PG_CONFIG" --sharedir)"/extension/vector.control "$PG_ROOT$("$PG_CONFIG" --sharedir)"/extension/vector--*.sql
if [ -n "$pgvector" ]; then
	library=$(find "$pgvector" -name vector.so | head -n 1)
	control=$(find "$pgvector" -name vector.control | head -n 1)
	[ -n "$library" ] && [ -n "$control" ] || { echo "bench: no pgvector is installed below $pgvector" >&2; exit 1; }
	cp "$library" "$PG_ROOT$("$PG_CONFIG" --pkglibdir)/"
	cp "$(dirname "$control")"/vector* "$PG_ROOT$("$PG_CONFIG" --sharedir)/extension/"
fi
cp "$BUILD/sync_count.so" "$PG_ROOT/"
work=$PG_ROOT/work
head -c 4096 /dev/zero | as_pg sh -c "cat >'$work/syncs'"

pg_init bench <<-EOC
	shared_buffers = '2GB'
	max_wal_size = '16GB'
	checkpoint_timeout = '1h'
	autovacuum = off
	max_connections = 100
	${workers:+vectron.pd_endpoints = 'unix:$work/pd'}
EOC
export VECTRON_SYNC_COUNT="$work/syncs" VECTRON_SYNC_US="${sync_us:-0}"

# A daemon that ends with this script (pg_remove).
daemon() {
	name=$1 program=$2
	shift 2
	LD_PRELOAD="$PG_ROOT/sync_count.so" as_pg "$program" --data "$work/$name.d" --listen "unix:$work/$name" "$@" >"$work/$name.log" 2>&1 &
}

if [ -n "$workers" ]; then
	daemon pd vectron-pd
	for n in $(seq "$workers"); do
		daemon "w$n" vectron-worker --pd "unix:$work/pd"
	done
	tries=0
	until [ "$(as_pg vectronctl --pd "unix:$work/pd" workers 2>/dev/null | grep -c -w up)" -eq "$workers" ]; do
		tries=$((tries + 1))
		[ $tries -lt 600 ] || { cat "$work"/*.log >&2; exit 1; }
		sleep 0.1
	done
fi
LD_PRELOAD="$PG_ROOT/sync_count.so" pg_start bench
"$BUILD/sql_bench" --host "$work/bench.s" --root "$PG_ROOT" --place "$place" --syncs "$work/syncs" \
	--demo demo --out "$BUILD/bench" --command "$command" "$@" || {
	echo "bench: the end of the server's log:" >&2
	tail -n 20 "$work/bench.log" >&2
	exit 1
}
