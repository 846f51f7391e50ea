#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# deny.sh [CHECK...]: runs cargo deny (deny.toml) on the dependencies of mqspan: all checks, or those named, of
# advisories, bans, licenses and sources. Builds cargo-deny once. Advisories need the network for their database.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${MQSPAN_CACHE:-$root/.cache}/deny
version=0.20.2
cd "$root"
if [ ! -x "$cache/bin/cargo-deny" ] || ! "$cache/bin/cargo-deny" --version | grep -q "$version"; then
	echo "deny: building cargo-deny; some minutes" >&2
	cargo install --quiet --locked --root "$cache" "cargo-deny@$version" >&2
fi
exec "$cache/bin/cargo-deny" --locked check "$@"
