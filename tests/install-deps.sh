#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# install-deps.sh --for PURPOSE: installs, with apt, what is missing on Debian 12 or Ubuntu, and says what. Purposes: build demo vm arm64 test bench
# fuzz deb image cluster kubernetes chart alerts sbom fresh.
set -euo pipefail

purpose=
[ "${1:-}" = --for ] && purpose=${2:-}

build=(clang llvm gcc make pkg-config libc6-dev libelf-dev zlib1g-dev)
case $(uname -m) in
x86_64) compat=(gcc-i686-linux-gnu libc6-dev-i386-cross) qemu=qemu-system-x86 ;;
aarch64) compat=(gcc-arm-linux-gnueabihf libc6-dev-armhf-cross) qemu=qemu-system-arm ;;
*) echo "install-deps: mqspan is for x86-64 and arm64, not $(uname -m)" >&2 && exit 1 ;;
esac
vm=("$qemu" cpio busybox-static debian-archive-keyring)

case $purpose in
build) packages=("${build[@]}") ;;
demo) packages=("${build[@]}" "${compat[@]}") ;;
vm) packages=("${vm[@]}") ;;
# To run the cases on an emulated arm64. tests/vm/arm64.sh fetches the compilers itself.
arm64) packages=(qemu-system-arm binutils cpio debian-archive-keyring) ;;
test) packages=("${build[@]}" "${compat[@]}" "${vm[@]}" clang-format git shellcheck strace python3-pip runc tmux) ;;
deb) packages=("${build[@]}" "${compat[@]}" "${vm[@]}" debootstrap dpkg-dev) ;;
image) packages=(buildah debootstrap dnsmasq-base git iproute2 runc jq curl) ;;
cluster) packages=(buildah containernetworking-plugins iproute2 procps runc jq curl openssl python3) ;;
kubernetes) packages=(jq curl openssl python3) ;;
chart | sbom) packages=(jq) ;;
alerts) packages=(jq curl python3) ;;
fresh) packages=(debootstrap git) ;;
fuzz) packages=("${build[@]}" g++) ;;
bench) packages=("${build[@]}" "${compat[@]}" bpftrace linux-perf python3-venv strace) ;;
*) sed -n '3,4s/^# //p' "$0" >&2 && exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
	echo "install-deps: nothing is missing to $purpose"
else
	echo "install-deps: to $purpose, these are missing: ${missing[*]}"
	if [ "$(id -u)" -ne 0 ]; then
		echo "install-deps: only root can install them: sudo $0 --for $purpose" >&2
		exit 1
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	echo "install-deps: installed"
fi

if [ "$purpose" != vm ] && ! command -v cargo >/dev/null; then
	echo "install-deps: cargo is missing too, and Debian's is too old: install Rust from https://rustup.rs" >&2
	exit 1
fi
