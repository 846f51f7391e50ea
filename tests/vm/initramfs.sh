#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# initramfs.sh OUT ARCH COMMAND_FILE [FILE...]: a root file system with busybox, the files at their own
# absolute paths, the shared libraries that they need, and /command to run.
set -euo pipefail

out=$1
arch=$2
command_file=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp,run,usr/bin}
chmod 1777 "$root/tmp"

busybox=${MQSPAN_VM_BUSYBOX:-$(command -v busybox)}
case $arch in
"$(uname -m)") ;;
arm64) [ "$(uname -m)" = aarch64 ] || [ -n "${MQSPAN_VM_BUSYBOX:-}" ] || {
	echo "initramfs.sh: MQSPAN_VM_BUSYBOX must name a static busybox for $arch" >&2
	exit 2
} ;;
esac
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
ln -s /bin/env "$root/usr/bin/env"
cp "$here/init" "$root/init"
cp "$command_file" "$root/command"
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

for file in "$@"; do
	file=$(realpath "$file")
	add "$file"
	# Nothing for a static program or what is no program.
	while read -r library; do
		add "$library"
	done < <(ldd "$file" 2>/dev/null | grep -oE '/[^ ]+' | sort -u)
done

(cd "$root" && find . -print0 | sort -z | cpio --null --quiet -o -H newc --owner +0:+0) >"$out"
