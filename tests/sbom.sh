#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# sbom.sh: writes a software bill of materials of the agent to target/dist/mqspan.cdx.json, with cargo cyclonedx, which
# it builds once.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${MQSPAN_CACHE:-$root/.cache}/sbom
version=0.5.9
cd "$root"
if [ "$(cat "$cache/version" 2>/dev/null)" != "$version" ]; then
	echo "sbom: building cargo-cyclonedx; some minutes" >&2
	cargo install --quiet --locked --root "$cache" "cargo-cyclonedx@$version" >&2
	echo "$version" >"$cache/version"
fi
mkdir -p target/dist
trap 'rm -f agent/mqspan.cdx.json testkit/mqspan.cdx.json tests/mqspan.cdx.json' EXIT
"$cache/bin/cargo-cyclonedx" cyclonedx --quiet --manifest-path agent/Cargo.toml --format json --spec-version 1.5 --target all --override-filename mqspan.cdx
mv agent/mqspan.cdx.json target/dist/mqspan.cdx.json
jq -e '.bomFormat == "CycloneDX" and any(.components[]; .name == "libbpf-sys")' target/dist/mqspan.cdx.json >/dev/null
echo "sbom: target/dist/mqspan.cdx.json names $(jq '.components | length' target/dist/mqspan.cdx.json) components"
