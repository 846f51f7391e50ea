#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh: builds a Debian package of target/release/mqspan, with its manual pages and completions, in target/debian,
# and prints its path. Builds cargo-deb once if it is missing.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${MQSPAN_CACHE:-$root/.cache}/deb
version=3.8.0
dist=$root/target/dist
mqspan=$root/target/release/mqspan

cd "$root"
if [ ! -x "$cache/bin/cargo-deb" ] || ! "$cache/bin/cargo-deb" --version | grep -q "$version"; then
	echo "deb: building cargo-deb; some minutes" >&2
	cargo install --quiet --locked --root "$cache" "cargo-deb@$version" >&2
fi
rm -rf "$dist"
mkdir -p "$dist/man" "$dist/completions"
"$mqspan" man "$dist/man"
"$mqspan" completions bash >"$dist/completions/mqspan"
"$mqspan" completions zsh >"$dist/completions/_mqspan"
"$mqspan" completions fish >"$dist/completions/mqspan.fish"
"$cache/bin/cargo-deb" deb --quiet --no-build --no-strip --package mqspan
