#!/bin/sh
# The benchmark of the whole path through SQL: a private server, clients, and
# pgvector beside us when it is there.  Called by make bench.
#
#	run.sh [--pgvector DIR] [--disk DIR] [--sync-us N] [options of sql_bench] [mode ...]
#
#	--pgvector DIR	an installation of pgvector for the same PostgreSQL, made with
#					"make install DESTDIR=DIR"; without it the server's own, if it has one
#	--disk DIR		data directories there; else on tmpfs, /dev/shm
#	--sync-us N		each sync takes at least so long
set -eu
cd "$(dirname "$0")/../../.."
command="test/bench/sql/run.sh $*"
pgvector=
disk=
sync_us=
for arg; do
	shift
	case "${previous:-}" in
	--pgvector) pgvector=$arg ;;
	--disk) disk=$arg ;;
	--sync-us) sync_us=$arg; set -- "$@" --sync-us "$arg" ;;
	*)
		case "$arg" in
		--pgvector|--disk|--sync-us) ;;
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
	max_connections = 40
EOC
export VECTRON_SYNC_COUNT="$work/syncs" VECTRON_SYNC_US="${sync_us:-0}"
LD_PRELOAD="$PG_ROOT/sync_count.so" pg_start bench
"$BUILD/sql_bench" --host "$work/bench.s" --root "$PG_ROOT" --place "$place" --syncs "$work/syncs" \
	--demo demo --out "$BUILD/bench" --command "$command" "$@" || {
	echo "bench: the end of the server's log:" >&2
	tail -n 20 "$work/bench.log" >&2
	exit 1
}
