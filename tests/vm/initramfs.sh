#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# initramfs.sh OUT ARCH MODULE COMMAND_FILE [FILE...]: makes a root file system with busybox, a kernel module to load
# unless it is empty, the files at their absolute paths, the shared libraries that they need, and /command to run. For
# an architecture other than the machine's, MQSPAN_VM_SYSROOT has the libraries and a static busybox (arm64.sh makes
# one).
set -euo pipefail

out=$1
arch=$2
module=$3
command_file=$4
shift 4
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp,run,usr/bin}
chmod 1777 "$root/tmp"

machine=${arch/arm64/aarch64}
if [ "$machine" = "$(uname -m)" ]; then
	sysroot=
	busybox=$(command -v busybox || true)
else
	sysroot=${MQSPAN_VM_SYSROOT:-/nowhere}
	busybox=$sysroot/usr/bin/busybox
fi
if [ ! -x "$busybox" ]; then
	echo "initramfs.sh: no static busybox for $arch: tests/install-deps.sh --for vm, or for arm64 tests/vm/arm64.sh" >&2
	exit 2
fi
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
ln -s /bin/env "$root/usr/bin/env"
cp "$here/init" "$root/init"
cp "$command_file" "$root/command"
[ ! -s "$module" ] || cp "$module" "$root/module.ko"
chmod 755 "$root/init" "$root/bin/busybox"

echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:
nogroup:x:65534:' >"$root/etc/group"
echo '127.0.0.1 localhost mqspan-vm
::1 localhost' >"$root/etc/hosts"
echo 'hosts: files' >"$root/etc/nsswitch.conf"

add() {
	[ -e "$root$1" ] && return
	mkdir -p "$root$(dirname "$1")"
	cp -L "$1" "$root$1"
}

# Adds the libraries of a program for this machine; none for a static program or for other files.
add_libraries() {
	local library
	while read -r library; do
		add "$library"
	done < <(ldd "$1" 2>/dev/null | grep -oE '/[^ ]+' | sort -u)
}

# The same for a program of another architecture, which ldd cannot run.
add_foreign_libraries() {
	local library
	for library in $(readelf --wide --program-headers --dynamic "$1" 2>/dev/null |
		sed -nE 's/.*program interpreter: (.*)\]/\1/p; s/.*\(NEEDED\).*\[(.*)\]/\1/p'); do
		[[ $library == /* ]] || library=/usr/lib/$machine-linux-gnu/$library
		[ -e "$root$library" ] && continue
		mkdir -p "$root$(dirname "$library")"
		cp -L "$sysroot$library" "$root$library"
		add_foreign_libraries "$sysroot$library"
	done
}

for file in "$@"; do
	file=$(realpath "$file")
	add "$file"
	if [ -n "$sysroot" ]; then add_foreign_libraries "$file"; else add_libraries "$file"; fi
done

(cd "$root" && find . -print0 | sort -z | cpio --null --quiet -o -H newc --owner +0:+0) >"$out"
