#!/bin/sh
# Vectron beside the real pgvector, in one server: what each gives to SQL, and the way
# from one to the other that docs/from-pgvector.md describes.  Prints TAP.  Not a part of
# ./run check, which does without pgvector; called by make check-pgvector PGVECTOR=DIR,
# where DIR is what pgvector's "make install DESTDIR=DIR" has filled.
set -u
cd "$(dirname "$0")/../.."
here=$(pwd)
pgvector=$1
library=$(find "$pgvector" -name vector.so | head -n 1)
control=$(find "$pgvector" -name vector.control | head -n 1)
[ -n "$library" ] && [ -n "$control" ] || { echo "Bail out! no pgvector is installed below $pgvector"; exit 1; }
. test/harness/pg.sh
pg_tree
work=$PG_ROOT/work
# (Its control file takes the place of the alias.)
cp "$library" "$PG_ROOT$("$PG_CONFIG" --pkglibdir)/"
cp "$(dirname "$control")"/vector.control "$(dirname "$control")"/vector--*.sql "$PG_ROOT$("$PG_CONFIG" --sharedir)/extension/"
cp test/pgvector/*.sql "$work/"
chown -R "$PG_USER" "$work"

n=0
failed=0
ok() {
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else
		failed=1
		echo "not ok $n - $2"
		[ ! -s "$work/said" ] || sed 's/^/# /' "$work/said"
	fi
}
sql() {
	db=$1
	shift
	as_pg psql -X -q -v ON_ERROR_STOP=1 -h "$work/main.s" -U postgres -d "$db" "$@"
}
said() { grep -q "$1" "$work/said"; }

echo "shared_preload_libraries = 'vectron'" | pg_init main
pg_start main
for db in theirs ours moved listed; do sql postgres -c "CREATE DATABASE $db"; done
sql theirs -c 'CREATE EXTENSION vector'
sql ours -c 'CREATE EXTENSION vectron'

! make -s install-alias PG_CONFIG="$PG_CONFIG" DESTDIR="$PG_ROOT" >"$work/said" 2>&1 && said "is pgvector's"
ok $? 'no alias is installed where pgvector is'

# What there is, by name and types.  Only theirs: support functions of their access methods.
for db in theirs ours; do
	extension=vectron
	[ $db = ours ] || extension=vector
	sql $db -v extension=$extension -c "LOAD '$extension'" -c "SET enable_seqscan = off" -c 'CREATE TABLE t (v vector(2))' \
		-c 'CREATE INDEX ON t USING hnsw (v vector_l2_ops)' -c "SELECT * FROM t ORDER BY v <-> '[1,2]'" -f surface.sql -c 'DROP TABLE t' 2>&1 |
		grep -E '^[a-z]+ ' | LC_ALL=C sort >"$work/$db.surface"
done
LC_ALL=C comm -23 "$work/theirs.surface" "$work/ours.surface" |
	grep -vE '^function (ivfflathandler|hnswhandler|(hnsw|ivfflat)_[a-z]+_support)\(' >"$work/said"
[ "$(wc -l <"$work/theirs.surface")" -gt 200 ]
ok $? "$(wc -l <"$work/theirs.surface") types, functions, operators, casts, operator classes, settings of pgvector"
[ ! -s "$work/said" ]
ok $? 'each of them is in vectron'

# Beside each other: in databases of one server, not in one database.
sql theirs -f data.sql >"$work/said" 2>&1
ok $? 'pgvector works where vectron is preloaded'
sql theirs -c 'SET hnsw.ef_search = 10' -c 'SHOW hnsw.ef_search' -c "SELECT '[1]'::vector" -c 'SET hnsw.ef_search = 20' >"$work/said" 2>&1
ok $? 'its settings are its own there'
! sql theirs -c 'CREATE EXTENSION vectron' >"$work/said" 2>&1 && said 'a type named "vector" already exists'
ok $? 'vectron refuses a database that has it'
! sql ours -c 'CREATE EXTENSION vector' >"$work/said" 2>&1 && said 'type "vector" already exists'
ok $? 'and the other way round'

# The way from one to the other, as plain text and by a list.
sql theirs -f queries.sql >"$work/answers" 2>"$work/said"
ok $? "$(wc -l <"$work/answers") lines of answers by pgvector"
same() {
	sql "$1" -f queries.sql >"$work/$1.answers" 2>"$work/said" &&
		diff "$work/answers" "$work/$1.answers" >"$work/said"
	ok $? "$1: the same answers"
	sql "$1" -A -t -c 'SELECT index FROM vectron.indexes' >"$work/said"
	[ "$(wc -l <"$work/said")" = 12 ]
	ok $? "$1: by indexes of vectron"
	[ "$(sql "$1" -A -t -c 'SELECT sum(c.missing + c.extra + c.wrong) FROM vectron.indexes i, vectron.check_index(i.index) c')" = 0 ]
	ok $? "$1: which agree with their tables"
}
sql moved -c 'CREATE EXTENSION vectron'
as_pg sh -c "pg_dump -h '$work/main.s' -U postgres theirs | sed '/^CREATE EXTENSION .* vector /d; /^COMMENT ON EXTENSION vector /d' >moved.sql"
sql moved -f moved.sql >/dev/null 2>"$work/said"
ok $? 'a dump without the line of the extension is restored'
same moved
sql listed -c 'CREATE EXTENSION vectron'
as_pg pg_dump -h "$work/main.s" -U postgres -F c -f theirs.dump theirs
as_pg sh -c "pg_restore -l theirs.dump | grep -v ' EXTENSION .*vector' >list"
as_pg pg_restore -h "$work/main.s" -U postgres -d listed -j 2 --exit-on-error -L list theirs.dump 2>"$work/said"
ok $? 'so is an archive by its list'
same listed
# And back: what vectron has dumped is pgvector's.
sql postgres -c 'CREATE DATABASE back' -c 'DROP DATABASE ours'
sql back -c 'CREATE EXTENSION vector'
as_pg sh -c "pg_dump -h '$work/main.s' -U postgres moved | sed '/^CREATE EXTENSION .* vectron /d; /^COMMENT ON EXTENSION vectron /d' >back.sql"
sql back -f back.sql >/dev/null 2>"$work/said" && sql back -f queries.sql >"$work/back.answers" 2>"$work/said" &&
	diff "$work/answers" "$work/back.answers" >"$work/said"
ok $? 'and the way back is as short'
pg_stop main
echo "1..$n"
exit $failed
