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
if [ ! -x "$directory/otelcol" ]; then
	command -v go >/dev/null || { echo "rivals: the Collector is built with Go, which is not installed" >&2 && exit 1; }
	echo "rivals: otelcol; some minutes"
	sed "s|^dist:|&\n  output_path: $directory/build|" "$here/otelcol-builder.yaml" >"$directory/builder.yaml"
	go run go.opentelemetry.io/collector/cmd/builder@v0.165.0 --config "$directory/builder.yaml" >"$directory/build.log" 2>&1 ||
		{ tail -n 20 "$directory/build.log" >&2 && exit 1; }
	mv "$directory/build/otelcol" "$directory/otelcol"
fi
if [ ! -x "$directory/sdk-path" ]; then
	echo "rivals: the OpenTelemetry SDK"
	CARGO_TARGET_DIR="$directory/sdk" cargo build --quiet --release --manifest-path "$here/sdk/Cargo.toml"
	cp "$directory/sdk/release/sdk-path" "$directory/sdk-path"
fi
