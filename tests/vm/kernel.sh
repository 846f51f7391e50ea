#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kernel.sh KERNEL ARCH: prints the path of a Debian kernel's vmlinuz, fetched by apt once and then cached.
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
if [ -s "$vmlinuz" ]; then
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

# Debian itself names its mirror; elsewhere it has to be named.
# shellcheck disable=SC2016 # the names in the format are apt's
mirror=${MQSPAN_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(SITE)' |
	awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }')}
if [ -z "$mirror" ]; then
	echo "kernel.sh: apt knows no Debian mirror here: set MQSPAN_DEBIAN_MIRROR to the URL of one" >&2
	exit 1
fi

# The machine's own apt lists stay as they are: these suites live in a state directory of ours.
state=$cache/apt/$kernel-$arch
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$state/lists/partial" "$state/archives/partial"
: >"$state/status"
for suite in $suites; do
	echo "deb [signed-by=$keyring] $mirror $suite main"
done >"$state/sources.list"
apt_options=(
	-o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::State::lists=$state/lists"
	-o "Dir::Cache=$state" -o "Dir::Cache::archives=$state/archives"
	-o "Dir::Etc::sourcelist=$state/sources.list" -o "Dir::Etc::sourceparts=/dev/null"
	-o "APT::Architecture=$debian_arch" -o "APT::Architectures=$debian_arch"
	-o "APT::Sandbox::User=root" -o "Acquire::Retries=3" -o "Acquire::Languages=none"
)
echo "kernel.sh: fetching $kernel ($arch) from Debian: $suites" >&2
apt-get "${apt_options[@]}" -qq update >&2
release=()
[ "$kernel" = backports ] && release=(-t trixie-backports)

# A package that only depends on the kernel leads to the one that holds it.
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
for _ in 1 2 3 4; do
	(cd "$unpacked" && apt-get "${apt_options[@]}" "${release[@]}" -qq download "$package" >&2)
	deb=("$unpacked"/*.deb)
	dpkg-deb --fsys-tarfile "${deb[0]}" | tar -x -C "$unpacked" --wildcards '*/vmlinuz*' 2>/dev/null || true
	# In /boot, or from 7.x on in /usr/lib/modules/VERSION.
	found=$(find "$unpacked" -type f -name 'vmlinuz*')
	if [ -s "$found" ]; then
		mkdir -p "$(dirname "$vmlinuz")"
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
