#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kernel.sh KERNEL ARCH: prints the path of a Debian kernel's vmlinuz, which apt fetches once and which is then cached.
# fuse.ko is beside it, empty if the kernel has none to load.
# KERNEL: 5.10 | 6.1 | 6.12 | backports | the name of a Debian package that holds or depends on one.
set -euo pipefail

kernel=$1
arch=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${MQSPAN_CACHE:-$root/.cache}/vm
case $arch in
x86_64) debian_arch=amd64 ;;
arm64) debian_arch=arm64 ;;
*) echo "kernel.sh: no such architecture: $arch" >&2 && exit 2 ;;
esac

vmlinuz=$cache/kernels/$kernel-$arch/vmlinuz
fuse=$cache/kernels/$kernel-$arch/fuse.ko
# While one script fetches the kernel, the others wait.
mkdir -p "$cache/kernels"
exec 9>"$cache/kernels/$kernel-$arch.lock"
flock 9
if [ -s "$vmlinuz" ] && [ -e "$fuse" ]; then
	echo "$vmlinuz"
	exit 0
fi

package=linux-image-cloud-$debian_arch
case $kernel in
5.10) suites="bullseye" ;;
6.1) suites="bookworm" ;;
6.12) suites="trixie" ;;
backports) suites="trixie trixie-backports" ;;
*)
	suites="bullseye bookworm bookworm-backports trixie trixie-backports"
	package=$kernel
	;;
esac

# shellcheck source=tests/vm/debian.sh
. "$root/tests/vm/debian.sh"
debian_apt "$cache/apt/$kernel-$arch" "$debian_arch" "$suites" "kernel.sh: fetching $kernel ($arch) from Debian: $suites"
release=()
[ "$kernel" = backports ] && release=(-t trixie-backports)

# Follows packages that only depend on the kernel to the one that holds it.
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
for _ in 1 2 3 4; do
	(cd "$unpacked" && apt-get "${apt_options[@]}" "${release[@]}" -qq download "$package" >&2)
	deb=("$unpacked"/*.deb)
	dpkg-deb --fsys-tarfile "${deb[0]}" | tar -x -C "$unpacked" --wildcards '*/vmlinuz*' '*/fs/fuse/fuse.ko*' 2>/dev/null || true
	# In /boot, or from 7.x on in /usr/lib/modules/VERSION.
	found=$(find "$unpacked" -type f -name 'vmlinuz*')
	if [ -s "$found" ]; then
		mkdir -p "$(dirname "$vmlinuz")"
		module=$(find "$unpacked" -type f -name 'fuse.ko*')
		case $module in
		'') : ;;
		*.xz) busybox xzcat "$module" ;;
		*) cat "$module" ;;
		esac >"$fuse"
		cp "$found" "$vmlinuz.new"
		mv "$vmlinuz.new" "$vmlinuz"
		echo "kernel.sh: $(basename "${deb[0]}")" >&2
		echo "$vmlinuz"
		exit 0
	fi
	package=$(dpkg-deb -f "${deb[0]}" Depends | tr ',|' '\n' | sed -E 's/^ *//; s/[ :(].*//' | grep -E -m1 '^linux-(image|binary)-') || break
	rm -f "${deb[@]}"
done
echo "kernel.sh: no vmlinuz in what $kernel leads to (last: ${package:-nothing})" >&2
exit 1
