#!/bin/sh
# Programs of an older release, from this repository's history.
#
#	older.sh			builds them and prints the folder they are in
#
# Of the first commit with feature levels: it knows two of them, where today's know
# more.  Status 77, and why, in git's words, where the history cannot be read; what was
# built stays.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
commit=6130766336e4bfb80589f307442cf950a272e436
older=$BUILD/older
words=$(git cat-file -e "$commit^{commit}" 2>&1) || {
	words=$(echo "$words" | head -n 1)
	[ "$(git rev-parse --is-shallow-repository 2>/dev/null)" != true ] || words="$words; git fetch --unshallow brings all of the history"
	echo "git cannot read $commit: $words"
	exit 77
}
if [ ! -e "$older/built" ]; then
	rm -rf "$older"
	mkdir -p "$older"
	git archive "$commit" | tar -x -C "$older" || exit 1
	make -s -j2 -C "$older" BUILD=build build/vectron-pd build/vectron-worker >"$older/make.log" 2>&1 || {
		tail -n 20 "$older/make.log"
		exit 1
	}
	touch "$older/built"
fi
echo "$older/build"
