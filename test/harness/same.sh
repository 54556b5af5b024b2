#!/bin/sh
# An object that switches do not change is that of the build without them.
#
#	same.sh FROM.o TO.o FILE ...
#
# Makes TO.o, with its list of dependencies, of FROM.o if none of the FILEs, which are all
# that mention a switch, is among what FROM.o was made of, and nothing of that is newer than
# it is.  The status is 1, and nothing is made, if TO.o is to be compiled.
set -u
from=$1 to=$2
shift 2
list=${from%.o}.d
[ -f "$from" ] && [ -f "$list" ] || exit 1
made_of=$(tr '\\: ' '\n\n\n' <"$list" | grep '\.[ch]$' | sort -u)
for file in "$@"; do
	case "$made_of
" in *"$file
"*) exit 1 ;; esac
done
newer=$(find $made_of -newer "$from") && [ -z "$newer" ] || exit 1
sed "s|^$from:|$to:|" "$list" >"${to%.o}.d" && cp -p "$from" "$to"
