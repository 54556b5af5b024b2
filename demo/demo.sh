#!/bin/sh
# The demonstration: a private server, films, an index, and queries.
#
#	demo/demo.sh			show everything, leave nothing
#	demo/demo.sh --keep		leave the server up; demo/demo.sh --stop ends it
#
# Called by ./run demo, which has installed and built what this needs.
set -eu
cd "$(dirname "$0")/.."
. test/harness/pg.sh
state=$BUILD/demo.state

keep=
case "${1:-}" in
'') ;;
--keep) keep=yes ;;
--stop)
	[ -f "$state" ] || { echo "demo: nothing was left running"; exit 0; }
	PG_ROOT=$(sed -n 's/^root=//p' "$state")
	PG_USER=$(sed -n 's/^user=//p' "$state")
	PG_BIN=$(sed -n 's/^bin=//p' "$state")
	case "$PG_ROOT" in */vectron.??????) ;; *) echo "demo: $state is damaged" >&2; exit 1 ;; esac
	[ ! -d "$PG_ROOT" ] || pg_remove
	rm -f "$state"
	echo "demo: stopped and removed"
	exit 0 ;;
*) echo "demo: unrecognized option $1" >&2; exit 2 ;;
esac
if [ -f "$state" ]; then
	echo "demo: a server of an earlier ./run demo --keep is there; end it with ./run stop" >&2
	exit 1
fi

heading() { printf '\n== %s\n' "$*"; }

# sql [psql options]: statements from standard input; the first error ends the demonstration
sql() { as_pg psql -X -q -v ON_ERROR_STOP=1 -h "$PG_ROOT/work/demo.s" -U postgres -d demo "$@"; }

# What went wrong stands in the server's log as often as in psql's words.
failed() {
	status=$?
	if [ $status -ne 0 ] && [ -f "$PG_ROOT/work/demo.log" ]; then
		echo "demo: failed; the end of the server's log:" >&2
		tail -n 25 "$PG_ROOT/work/demo.log" >&2
	fi
	pg_remove
	exit $status
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

heading "starting a private PostgreSQL"
pg_tree
trap failed EXIT
pg_init demo </dev/null
pg_start demo
as_pg createdb -h "$PG_ROOT/work/demo.s" -U postgres demo
as_pg postgres --version

heading "loading films"
sql <demo/schema.sql
gzip -dc demo/films.tsv.gz | sql -c "COPY films FROM STDIN"
gzip -dc demo/queries.tsv.gz | sql -c "COPY queries FROM STDIN"
sql -At -c "SELECT count(*) || ' films of ' || min(year) || ' to ' || max(year) FROM films"

heading "CREATE INDEX ... USING vectron (embedding vector_cosine_ops, year)"
begin=$(milliseconds)
sql <demo/index.sql
echo "built in $(($(milliseconds) - begin)) ms"

heading "plain SQL"
sql <demo/films.sql

heading "recall and speed"
recall=$(sql -At <demo/recall.sql)
echo "recall@10 against the exact scan, 100 queries: $recall"
cat demo/bench.sql | as_pg sh -c 'cat >bench.sql'
for clients in 1 2; do
	as_pg env PGOPTIONS='-c enable_seqscan=off -c jit=off' pgbench -n -M prepared -f bench.sql -c $clients -j $clients -T 4 \
		-h "$PG_ROOT/work/demo.s" -U postgres demo >"$PG_ROOT/bench.out" 2>&1 || { cat "$PG_ROOT/bench.out" >&2; exit 1; }
	awk -v c=$clients '/^latency average/ {l = $4} /^tps/ {t = $3}
		END {printf "%d client%s: %.0f queries per second, %.2f ms each\n", c, (c > 1 ? "s" : ""), t, l}' "$PG_ROOT/bench.out"
done
awk -v r="$recall" 'BEGIN {exit !(r >= 0.95)}' || { echo "demo: recall is below 0.95" >&2; exit 1; }

if [ -n "$keep" ]; then
	trap - EXIT INT TERM HUP
	printf 'root=%s\nuser=%s\nbin=%s\n' "$PG_ROOT" "$PG_USER" "$PG_BIN" >"$state"
	heading "the server stays up"
	echo "  $PG_BIN/psql -h $PG_ROOT/work/demo.s -U postgres demo"
	echo "  ./run stop          ends it and removes its files"
else
	heading "done; stopping the server and removing its files"
fi
