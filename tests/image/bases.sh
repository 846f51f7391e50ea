#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bases.sh: replaces a registry: makes, with debootstrap, images with the names in the Dockerfile's FROM lines.
# rust:1-bookworm is Debian 12 with this machine's Rust and its cargo settings, which are nowhere else in the build.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/image/buildah.sh
. "$here/buildah.sh"
# shellcheck source=tests/vm/debian.sh
. "$here/../vm/debian.sh"

work=$(mktemp -d "$image_cache/bases.XXXXXX")
trap 'rm -rf "$work"' EXIT

# commit NAME FROM ROOTFS [SETTING...]: makes an image of the files in ROOTFS.
commit() {
	local name=$1 from=$2 rootfs=$3 container
	shift 3
	container=$(buildah from scratch)
	cp -a "$rootfs/." "$(buildah mount "$container")/"
	buildah umount "$container" >/dev/null
	buildah config --label "from=$from" "$@" "$container"
	buildah commit --quiet --rm "$container" "$name" >/dev/null
}

# debian ROOTFS PACKAGES: the smallest Debian that debootstrap makes, without what Docker's slim images leave out.
debian() {
	debootstrap --variant=minbase ${2:+--include="$2"} bookworm "$1" "$mirror" >"$image_cache/debootstrap.log" ||
		{ tail -n 20 "$image_cache/debootstrap.log" >&2 && return 1; }
	rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives/*.deb "$1"/var/log/*.log \
		"$1"/usr/share/{man,info,locale,groff,lintian,linda}/*
	find "$1/usr/share/doc" ! -type d ! -name copyright -delete
	find "$1/usr/share/doc" -depth -type d -empty -delete
}

# Copies the toolchain, without its documentation, to where the official image has it.
rust() {
	local rootfs=$1 sysroot
	sysroot=$(rustc --print sysroot)
	mkdir -p "$rootfs/usr/local/cargo/bin" "$rootfs/usr/local/lib" "$rootfs/usr/local/bin"
	cp -a "$sysroot/lib/." "$rootfs/usr/local/lib/"
	cp -a "$sysroot/bin/cargo" "$sysroot/bin/rustc" "$rootfs/usr/local/bin/"
	# The registry of crates, and the certificates to trust.
	local cargo_home=${CARGO_HOME:-$HOME/.cargo} trust=${CARGO_HTTP_CAINFO:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
	[ ! -f "$cargo_home/config.toml" ] || cp "$cargo_home/config.toml" "$rootfs/usr/local/cargo/"
	cp "$trust" "$rootfs/usr/local/cargo/trust.crt"
}

mirror=$(debian_mirror)
if ! has_image docker.io/library/debian:bookworm-slim "$mirror"; then
	echo "image: debian:bookworm-slim, by debootstrap"
	debian "$work/slim" ""
	commit docker.io/library/debian:bookworm-slim "$mirror" "$work/slim" --cmd bash
fi
if ! has_image docker.io/library/rust:1-bookworm "$mirror $(rustc --version)"; then
	echo "image: rust:1-bookworm, by debootstrap and with $(rustc --version)"
	debian "$work/rust" "ca-certificates,gcc,libc6-dev,make"
	rust "$work/rust"
	commit docker.io/library/rust:1-bookworm "$mirror $(rustc --version)" "$work/rust" --cmd bash --env CARGO_HOME=/usr/local/cargo \
		--env CARGO_HTTP_CAINFO=/usr/local/cargo/trust.crt --env PATH=/usr/local/cargo/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
fi
