#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# supply.sh [CHECK...]: cargo deny looks at what mqspan is built of (deny.toml; all checks, or those named: advisories bans licenses sources), and
# cargo cyclonedx writes that down as target/dist/mqspan.cdx.json, a software bill of materials. Builds both, once. Advisories want the network.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${MQSPAN_CACHE:-$root/.cache}/supply
cd "$root"

# tool NAME VERSION: built if it is not there.
tool() {
	[ -x "$cache/bin/$1" ] && grep -qs "^$2$" "$cache/$1.version" && return
	echo "supply: building $1; some minutes" >&2
	cargo install --quiet --locked --root "$cache" "$1@$2" >&2
	echo "$2" >"$cache/$1.version"
}

tool cargo-deny 0.20.2
tool cargo-cyclonedx 0.5.9
"$cache/bin/cargo-deny" --locked check "$@"
mkdir -p target/dist
"$cache/bin/cargo-cyclonedx" cyclonedx --quiet --manifest-path agent/Cargo.toml --format json --spec-version 1.5 --target all --override-filename mqspan.cdx
mv agent/mqspan.cdx.json target/dist/mqspan.cdx.json
rm -f tests/mqspan.cdx.json
echo "supply: target/dist/mqspan.cdx.json names $(jq '.components | length' target/dist/mqspan.cdx.json) components"
