#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# deny.sh [CHECK...]: cargo deny looks at what mqspan is built of (deny.toml): all checks, or those named of advisories, bans, licenses and sources.
# Builds cargo-deny, once. Advisories want their database from the network.
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
