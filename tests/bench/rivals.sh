#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# rivals.sh DIRECTORY: puts two collectors there, rotel from PyPI and otelcol built from its Go modules, and a program
# that sends spans by the OpenTelemetry SDK, unless they are there already. Needs python3 with venv, Go, and Rust.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 1 ] || { sed -n '3,4s/^# //p' "$0" >&2 && exit 2; }
mkdir -p "$1"
directory=$(cd "$1" && pwd)

if [ ! -x "$directory/rotel" ]; then
	echo "rivals: rotel"
	python3 -m venv "$directory/venv"
	"$directory/venv/bin/pip" install --quiet rotel==0.0.1a15
	ln -sfn "$(find "$directory/venv" -name rotel-agent -type f | head -n 1)" "$directory/rotel"
fi
"$here/../pipeline/build.sh" otelcol
ln -sfn "$(realpath "${MQSPAN_CACHE:-$here/../../.cache}")/pipeline/otelcol" "$directory/otelcol"
if [ ! -x "$directory/sdk-path" ]; then
	echo "rivals: the OpenTelemetry SDK"
	CARGO_TARGET_DIR="$directory/sdk" cargo build --quiet --release --manifest-path "$here/sdk/Cargo.toml"
	cp "$directory/sdk/release/sdk-path" "$directory/sdk-path"
fi
