# A private PostgreSQL for tests and demo; sourced, not run.
#
# PostgreSQL finds its files by the place of its binaries, so a copy of the
# installation serves as a private one, into which our extension is installed:
# nothing of the system's is touched.  Servers run as $PG_USER, never as root,
# in folders under $PG_ROOT, which pg_tree makes and pg_remove takes away.
#
#	pg_tree				make $PG_ROOT and the installation, with vectron in it, and the
#						alias of pgvector's name in place of a pgvector
#	as_pg command ...	run as the server's user, with the installation in PATH
#	pg_init NAME [configuration lines on standard input]
#	pg_start NAME / pg_stop NAME
#	pg_remove			stop what runs and remove $PG_ROOT

PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
BUILD=${BUILD:-build}

pg_user() {
	if [ "$(id -u)" -ne 0 ]; then id -un
	elif id postgres >/dev/null 2>&1; then echo postgres
	else echo nobody
	fi
}

pg_tree() {
	PG_USER=$(pg_user)
	PG_ROOT=$(mktemp -d "${TMPDIR:-/tmp}/vectron.XXXXXX")
	chmod 755 "$PG_ROOT"
	pg_bin_from=$("$PG_CONFIG" --bindir)
	pg_share_from=$("$PG_CONFIG" --sharedir)
	PG_BIN=$PG_ROOT$pg_bin_from
	mkdir -p "$PG_BIN" "$PG_ROOT$pg_share_from" "$PG_ROOT/work"
	cp -a "$pg_bin_from/." "$PG_BIN/"
	cp -a "$(dirname "$pg_bin_from")/lib" "$(dirname "$PG_BIN")/"
	cp -a "$pg_share_from/." "$PG_ROOT$pg_share_from/"
	rm -f "$PG_ROOT$pg_share_from"/extension/vector.control "$PG_ROOT$pg_share_from"/extension/vector--*.sql
	# One at a time: it links vectron.so anew.
	flock "$BUILD" make -s install install-alias BUILD="$BUILD" PG_CONFIG="$PG_CONFIG" DESTDIR="$PG_ROOT" >"$PG_ROOT/install.log" 2>&1 || {
		cat "$PG_ROOT/install.log" >&2
		rm -rf "$PG_ROOT"
		return 1
	}
	chown -R "$PG_USER" "$PG_ROOT/work"
	trap pg_remove EXIT
	trap 'exit 130' INT TERM HUP
}

as_pg() {
	if [ "$(id -u)" -eq 0 ]; then
		(cd "$PG_ROOT/work" && runuser -u "$PG_USER" -- env PATH="$PG_BIN:$PATH" LC_ALL=C.UTF-8 HOME="$PG_ROOT/work" "$@")
	else
		(cd "$PG_ROOT/work" && env PATH="$PG_BIN:$PATH" LC_ALL=C.UTF-8 "$@")
	fi
}

# The server listens on a socket in its own folder only.
pg_init() {
	as_pg initdb -D "$PG_ROOT/work/$1" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
	as_pg mkdir -m 700 -p "$PG_ROOT/work/$1.s"
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$PG_ROOT/work/$1.s'"
		cat
	} | as_pg sh -c "cat >> '$PG_ROOT/work/$1/postgresql.conf'"
}

pg_start() {
	as_pg pg_ctl -D "$PG_ROOT/work/$1" -l "$PG_ROOT/work/$1.log" -w -t 60 -s start
}

pg_stop() {
	[ ! -f "$PG_ROOT/work/$1/postmaster.pid" ] || as_pg pg_ctl -D "$PG_ROOT/work/$1" -m fast -w -t 60 -s stop
}

pg_remove() {
	for pid in "$PG_ROOT"/work/*/postmaster.pid; do
		[ ! -f "$pid" ] || as_pg pg_ctl -D "$(dirname "$pid")" -m fast -w -t 60 -s stop || true
	done
	# What a test that was cut short left behind: programs of this installation only.
	for exe in /proc/[0-9]*/exe; do
		case "$(readlink "$exe" 2>/dev/null)" in
		"$PG_ROOT"/*) exe=${exe%/exe} && kill -9 "${exe#/proc/}" 2>/dev/null || true ;;
		esac
	done
	rm -rf "$PG_ROOT"
}
