#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# arm64.sh: cross-builds on x86-64 what the end-to-end cases need on arm64:
# target/arm64/{mqspan,mqspan-e2e,{mqwork,hostile,steady}-{aarch64,arm}}.
# The compilers, and Rust's library and the C libraries for arm64, come from Debian. They are unpacked once into
# .cache/vm/arm64/root, where the build runs; remove that directory to fetch them again. The programs are only for these
# tests: little optimised, to be built quickly.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cache=$(realpath -m "${MQSPAN_CACHE:-$root/.cache}/vm/arm64")
sysroot=$cache/root
vendor=$cache/vendor
target=aarch64-unknown-linux-gnu
suites="trixie trixie-backports"
# Only Rust comes from the backports: libbpf does not compile with their newer linux-libc-dev.
packages="base-files dash bash coreutils sed grep findutils make pkgconf
	cargo/trixie-backports rustc/trixie-backports libstd-rust-dev/trixie-backports
	libstd-rust-dev:arm64/trixie-backports
	clang gcc libc6-dev libelf-dev zlib1g-dev
	libc6-dev:arm64 libelf-dev:arm64 zlib1g-dev:arm64 busybox-static:arm64
	gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"

say() {
	echo "arm64.sh: $*" >&2
}

if [ "$(uname -m)" != x86_64 ]; then
	say "cross-builds on x86-64 only, not on $(uname -m)"
	exit 2
fi

unpack() {
	dpkg-deb --fsys-tarfile "$1" | tar -x -C "$sysroot.new" --keep-directory-symlink --no-same-owner \
		--exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale'
}

if [ "$(cat "$sysroot/packages" 2>/dev/null)" != "$packages" ]; then
	# shellcheck source=tests/vm/debian.sh
	. "$root/tests/vm/debian.sh"
	rm -rf "$sysroot" "$sysroot.new" "$cache/apt/archives"
	debian_apt "$cache/apt" "amd64 arm64" "$suites" "arm64.sh: fetching compilers from Debian: $suites (420 MB)"
	# shellcheck disable=SC2086 # a list of names
	apt-get "${apt_options[@]}" -qq -y --no-install-recommends --download-only install $packages >&2
	say "unpacking them into $sysroot (1.7 GB)"
	mkdir -p "$sysroot.new"
	# This package has the links /bin, /lib, …, through which the others unpack.
	unpack "$cache"/apt/archives/base-files_*.deb
	for package in "$cache"/apt/archives/*.deb; do
		unpack "$package"
	done
	# A link that installing the package would make.
	ln -s gcc "$sysroot.new/usr/bin/cc"
	mkdir -p "$sysroot.new/vendor" "$sysroot.new/source"
	echo "$packages" >"$sysroot.new/packages"
	mv "$sysroot.new" "$sysroot"
	rm -rf "$cache/apt/archives"
fi

if ! cmp -s "$root/Cargo.lock" "$cache/Cargo.lock"; then
	say "fetching the crates of Cargo.lock into $vendor"
	(cd "$root" && cargo vendor --quiet --locked "$vendor" >/dev/null)
	cp "$root/Cargo.lock" "$cache/Cargo.lock"
fi

# build COMMAND: runs it in the sysroot, with the sources at /source; needs no network. The mounts are in their own
# namespace and go away with it.
namespace=(unshare --mount)
[ "$(id -u)" -eq 0 ] || namespace+=(--map-root-user)
build() {
	# shellcheck disable=SC2016 # these are the inner shell's
	"${namespace[@]}" bash -euc '
		mount --rbind /dev "$1/dev"
		mount --rbind /proc "$1/proc"
		mount --bind "$2" "$1/source"
		mount --bind "$3" "$1/vendor"
		exec chroot "$1" /usr/bin/env -i PATH=/usr/bin HOME=/tmp LANG=C.UTF-8 bash -euc "cd /source && $4"
	' build "$sysroot" "$root" "$vendor" "$1"
}

say "building the agent and the cases for $target; the first time takes some ten minutes"
mkdir -p "$root/target/arm64"
build "CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	cargo --config 'source.crates-io.replace-with=\"vendored\"' --config 'source.vendored.directory=\"/vendor\"' \
	build --offline --locked --target-dir target/cross --target $target -p mqspan -p mqspan-tests"
for program in mqspan mqspan-e2e; do
	build "aarch64-linux-gnu-strip -o target/arm64/$program target/cross/$target/debug/$program"
done
for programs in workload hostile context; do
	build "make -s -C tests/$programs OUT=../../target/arm64 ABIS='aarch64 arm'"
done
say "built in $root/target/arm64"
