#!/bin/sh
# The proof of the two commands: a minimal Debian 12 in a folder of its own, a
# copy of the tree without git, then ./run check --quick and ./run demo in it.
# Called by ./run check --bare; needs root, debootstrap and the archive that
# this machine's apt uses.  Everything is removed at the end.
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" -eq 0 ] || { echo "bare: only root can make a chroot" >&2; exit 1; }
command -v debootstrap >/dev/null 2>&1 || { echo "bare: install debootstrap first" >&2; exit 1; }

mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | awk '$2 == "bookworm" {print $1; exit}')
[ -n "$mirror" ] || { echo "bare: apt knows no archive of bookworm" >&2; exit 1; }
root=$(mktemp -d "${TMPDIR:-/tmp}/bare.XXXXXX")
chmod 755 "$root"
finish() {
	status=$?
	for m in dev/pts dev proc; do umount "$root/$m" 2>/dev/null || true; done
	if mount | grep -q " $root/"; then
		echo "bare: $root is still mounted, not removed" >&2
	else
		rm -rf "$root"
	fi
	exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 || { tail -n 20 "$root.log"; rm -f "$root.log"; exit 1; }
rm -f "$root.log"
# The machine's way to the archive: its apt settings, certificates and names.
for f in /etc/apt/apt.conf /etc/resolv.conf /etc/hosts; do [ ! -f $f ] || cp -L $f "$root$f"; done
[ ! -d /etc/apt/apt.conf.d ] || cp -rL /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
mount -t proc proc "$root/proc"
# Programs want the usual devices; the container's own are not touched.
mount -t tmpfs -o mode=755 none "$root/dev"
for d in null zero full random urandom tty; do cp -a /dev/$d "$root/dev/"; done
mkdir "$root/dev/pts" "$root/dev/shm"
chmod 1777 "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"

mkdir "$root/vectron"
tar -c --exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.so' . | tar -x -C "$root/vectron"

inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb sh -c "$1"; }
inside 'for p in make git sudo python3; do command -v $p && exit 1; done; exit 0' ||
	{ echo "bare: the new system is not bare" >&2; exit 1; }
inside '/vectron/run check --quick'
inside '/vectron/run demo'
for e in /proc/[0-9]*/root; do
	[ "$(readlink "$e" 2>/dev/null)" != "$root" ] || { echo "bare: left running: $(readlink "${e%root}exe")"; exit 1; }
done
[ -z "$(ls "$root/etc/postgresql/15" 2>/dev/null)" ] || { echo "bare: a system cluster was made"; exit 1; }
[ -z "$(ls "$root/tmp")" ] || { echo "bare: left in /tmp: $(ls "$root/tmp")"; exit 1; }
echo "bare: both commands work on a minimal Debian 12"
