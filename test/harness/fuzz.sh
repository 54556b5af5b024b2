#!/bin/sh
# The fuzzers of test/fuzz, as many at a time as there are cores: make fuzz.
#
#	fuzz.sh [NAME ...]	all, or those named; FUZZ_SECONDS=n each (30)
#
# test/fuzz/<module>.c is linked with src/<module>, or the files it names instead, and the modules it names, and built three times: as a
# program that writes one valid input of each kind, as a fuzzer, and, when there is
# no clang with a fuzzer, as one that runs those inputs as they are.  What a run
# finds worth keeping stays in $BUILD/fuzz/<module>/corpus and is where the next
# one begins; an input that breaks something stays beside it as crash-*.
# Ends with "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
SECONDS_EACH=${FUZZ_SECONDS:-30}
CLANG=${CLANG:-$(command -v clang-14 || command -v clang || true)}
. test/harness/lanes.sh

# A clang that cannot link a fuzzer is none; what one that can does not compile is a failure.
if [ -n "$CLANG" ] && ! echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return !p || !n; }' |
	"$CLANG" -fsanitize=fuzzer,address -o /dev/null -x c - 2>/dev/null; then
	CLANG=
fi

# fuzz NAME: one line "ok", "not ok" or "skipped", and what led to it
fuzz() {
	name=$1
	dir=$BUILD/fuzz/$name
	more=$(sed -n 's/^ \* Links also: //p' "test/fuzz/$name.c")
	own=$(sed -n 's/^ \* Sources: //p' "test/fuzz/$name.c")
	sources="test/fuzz/$name.c $(for f in ${own:-$name/[a-z]*.c}; do ls src/$f; done)
		$(for m in $more; do ls src/"$m"/[a-z]*.c; done) src/base/bytes.c src/base/directory.c src/base/status.c src/base/hash.c src/base/log.c"
	mkdir -p "$dir/corpus"
	flags="-std=gnu11 -g -O1 -fno-omit-frame-pointer -Isrc"
	# shellcheck disable=SC2086
	if ! gcc -std=gnu11 -O0 -Isrc -DFUZZ_SAMPLES -o "$dir/samples" $sources -lxxhash -lssl -lcrypto -lm -pthread ||
		! "$dir/samples" "$dir/corpus"; then
		echo "not ok - $name: no first inputs"
		return 1
	fi
	# shellcheck disable=SC2086
	if [ -n "$CLANG" ]; then
		"$CLANG" $flags -gline-tables-only -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
			-o "$dir/fuzzer" $sources -lxxhash -lssl -lcrypto -lm -pthread >"$dir/log" 2>&1 &&
			"$dir/fuzzer" -max_total_time="$SECONDS_EACH" -timeout=10 -rss_limit_mb=2048 \
			-artifact_prefix="$dir/" -print_final_stats=1 "$dir/corpus" >"$dir/log" 2>&1
		status=$?
		words="$(sed -n 's/^stat::number_of_executed_units: //p' "$dir/log") inputs in $SECONDS_EACH s, $(ls "$dir/corpus" | wc -l) kept"
	elif gcc $flags -DFUZZ_REPLAY -fsanitize=address,undefined -fno-sanitize-recover=all \
		-o "$dir/replay" $sources -lxxhash -lssl -lcrypto -lm -pthread; then
		echo "# $name: no clang with a fuzzer (clang, libclang-rt-14-dev), only the corpus is run"
		"$dir/replay" "$dir"/corpus/* >"$dir/log" 2>&1
		status=$?
		words="$(ls "$dir/corpus" | wc -l) inputs, nothing new"
		if [ $status -eq 0 ]; then
			echo "skipped - $name: $words"
			return 0
		fi
	else
		status=1 words="does not build"
	fi
	if [ $status -eq 0 ]; then
		echo "ok - $name: $words"
	else
		tail -n 40 "$dir/log"
		echo "not ok - $name: $words"
	fi
}

results=$(mktemp)
trap 'rm -f "$results"' EXIT
lanes_open "$BUILD/fuzz.lanes"
for name in ${*:-$(ls test/fuzz/*.c | sed 's|.*/||; s|\.c$||')}; do
	lane "$name" fuzz "$name"
done
lanes_close >"$results"
cat "$results"
failed=$(grep -c '^not ok' "$results")
echo "$(grep -c '^ok' "$results") passed, $failed failed, $(grep -c '^skipped' "$results") skipped"
[ "$failed" -eq 0 ]
