#!/bin/sh
# What a machine can see of our rules; prints TAP, one test a rule.
# Called by make lint, with the build folder as argument.
set -u
cd "$(dirname "$0")/../.."
BUILD=${1:-build}
results=$(mktemp)
trap 'rm -f "$results"' EXIT

# rule NAME: reads complaints from standard input; none is well.  It runs at the
# end of a pipe, in a process of its own, so the count is kept in a file.
rule() {
	n=$(($(wc -l <"$results") + 1))
	complaints=$(cat)
	if [ -z "$complaints" ]; then
		echo "ok $n - $1"
		echo ok >>"$results"
	else
		echo "not ok $n - $1"
		printf '%s\n' "$complaints" | sed 's/^/#   /'
		echo bad >>"$results"
	fi
}

# files PATTERN: the project's files whose path matches; a fresh copy has no git.
files() {
	find . -name .git -prune -o -path "./${BUILD#./}" -prune -o -path ./build -prune -o -type f -print | sed 's|^\./||' | grep -E "$1" | sort
}

# Which modules a module may include; a module may also include what those may.
may_include() {
	case "$1" in
	base) echo base ;;
	vec | raft | store | wire) echo "$1 base" ;;
	hnsw) echo "hnsw vec base" ;;
	net) echo "net wire base" ;;
	http) echo "http base" ;;
	client) echo "client wire vec base" ;;
	replica) echo "replica raft store net wire base" ;;
	worker) echo "worker http hnsw vec replica raft store net wire base" ;;
	pd) echo "pd http replica raft store net wire base" ;;
	ctl | pg) echo "$1 client wire vec base" ;;
	esac
}
modules="base vec hnsw raft store wire net http replica worker pd client ctl pg"

for m in $modules; do
	ls src/$m/*.[ch] >/dev/null 2>&1 || continue
	allowed=" $(may_include $m) "
	grep -Hn -E '^#include "[a-z]+/' src/$m/*.[ch] | while IFS= read -r line; do
		to=$(printf '%s' "$line" | sed 's/.*#include "\([a-z]*\)\/.*/\1/')
		case " $modules " in *" $to "*) ;; *) continue ;; esac
		case "$allowed" in *" $to "*) ;; *) echo "$line" ;; esac
	done
done | rule "modules include only what the arrow map allows"

for m in $modules; do
	ls src/$m/*.[ch] >/dev/null 2>&1 || continue
	for o in $modules; do
		[ $o = $m ] || [ $o = base ] ||
			grep -Hn -E "^#include \"$o/" src/$m/*.[ch] | grep -v -E "\"$o/$o\.h\""
	done
done | rule "of another module only its public header is included"

for h in src/*/*.h; do
	case "$h" in src/pg/*) continue ;; esac
	${CC:-gcc} -std=gnu11 -Isrc -fsyntax-only -x c "$h" 2>&1 | head -n 3
done | rule "each header compiles alone"

ls src/pg/../*/*.[ch] 2>/dev/null | while read -r f; do
	head -n 1 "$f" | grep -q '^/\*---' || echo "$f"
done | rule "each file begins with its story"

for m in $modules; do
	ls src/$m/*.c >/dev/null 2>&1 || continue

	[ -f src/$m/README.md ] || echo "src/$m has no README.md"
done | rule "each module has a README"

grep -Hn -E '(^|[^>.[:alnum:]_])(time|malloc|calloc|realloc|free|rand|random|printf|fprintf|clock_gettime|gettimeofday|getenv)\(' src/raft/*.[ch] 2>/dev/null |
	rule "the Raft core calls no clock, allocator, random source or output"
grep -Hn -E '#include (<errno\.h>|<stdio\.h>|<pthread\.h>|<unistd\.h>|<time\.h>)' src/raft/*.[ch] 2>/dev/null |
	rule "the Raft core includes no system header of that kind"
grep -Hn -E 'CLOCK_REALTIME' src/*/*.[ch] | grep -v '^src/base/clock\.h' | rule "nobody waits by the wall clock"
grep -ln '"postgres\.h"' src/*/*.[ch] 2>/dev/null | grep -v '^src/pg/' | rule "PostgreSQL's headers stay in src/pg"
grep -ln -E '<leveldb/' src/*/*.[ch] 2>/dev/null | grep -v '^src/store/' | rule "LevelDB stays in src/store"
grep -ln -E '<nng/' src/*/*.[ch] 2>/dev/null | grep -v '^src/net/' | rule "nng stays in src/net"
grep -ln -E '<microhttpd\.h>' src/*/*.[ch] 2>/dev/null | grep -v '^src/http/' | rule "libmicrohttpd stays in src/http"

if [ -f vectron.so ]; then
	readelf -d vectron.so | grep -E 'libnng|libleveldb' | rule "vectron.so links neither nng nor LevelDB"
	nm -D --undefined-only vectron.so | grep -E ' json_object(@|$)' |
		rule "vectron.so does not call json_object, a name the server has too"
fi

if [ -f "$BUILD/vectron-worker" ]; then
	nm -C "$BUILD/vectron-worker" | grep 'leveldb::crc32c::.*Table' | rule "LevelDB's own checksums are not linked"
fi

# Which laws the switches of these files break (src/base/breaks.h).
broken_in() { grep -rhoE --include='*.[ch]' 'vt_broken\("[A-Z0-9]+-[^"]+"\)' "$@" | sed 's/.*"\(.*\)".*/\1/' | sort -u; }
in_src=$(broken_in src)
in_sim=$(broken_in test/sim)
in_list=$(sed -n 's/^\([A-Z][A-Za-z0-9-]*\)[ 	].*/\1/p' test/laws.txt | sort -u)
in_zoo=$(sed -n 's/^	{"\([^"]*\)", ".*", [0-9]*},$/\1/p' test/sim/shard_zoo.c | sort -u)
# without LIST LIST: lines of the first that are not in the second
without() { printf '%s\n' "$1" | grep -v -x -F -e "$2"; }
{
	without "$in_src" "$in_list" | sed 's/$/: a switch in src that is not in test\/laws.txt/'
	without "$in_list" "$in_src" | sed 's/$/: in test\/laws.txt, without a switch in src/'
	without "$in_sim" "$in_zoo" | sed 's/$/: a switch in test\/sim that is not in its zoo/'
	without "$in_zoo" "$in_src
$in_sim" | sed 's/$/: in the zoo of test\/sim, without a switch/'
} | rule "each law that a switch breaks is in test/laws.txt or, of a model in test/sim, in its zoo"

for s in sql/*.sql; do
	[ ! -f "test/sql/$(basename "$s")" ] || echo "$s"
done | rule "no test is named like an install script"
files '\.(c|h|sql|sh|md|pl|pm|mk|spec)$|(^|/)(run|Makefile)$' | xargs -r grep -Hn -E '[ 	]+$' | rule "no space at the end of a line"
files '\.[ch]$' | xargs -r grep -Hn -w -E 'TODO|FIXME|XXX' | rule "no unfinished business in comments"
files '\.[ch]$' | xargs -r wc -l | awk '$2 != "total" && $1 > 1000 {print $2 ": " $1 " lines"}' |
	rule "no file is longer than 1000 lines"
files '\.sh$|(^|/)run$' | while read -r f; do
	sh -n "$f" 2>&1 | sed "s|^|$f: |"
done | rule "shell scripts parse"
for d in *.md docs/*.md docs/*/*.md src/README.md src/*/README.md test/README.md test/*/README.md demo/README.md; do
	[ -f "$d" ] || continue
	grep -o -E '\]\([^)#:]+\)' "$d" | sed 's/](\(.*\))/\1/' | while read -r l; do
		[ -e "$(dirname "$d")/$l" ] || echo "$d: $l"
	done
done | rule "links in the documents lead somewhere"

if command -v cppcheck >/dev/null 2>&1; then
	ls src/*/*.c | grep -v '^src/pg/' | xargs cppcheck -q -j2 --std=c11 -Isrc --enable=warning,portability \
		--suppressions-list=test/lint/cppcheck.txt --inline-suppr --template='{file}:{line}: {id}: {message}' 2>&1 |
		rule "cppcheck has nothing to say"
fi
echo "1..$(wc -l <"$results")"
! grep -q bad "$results"
