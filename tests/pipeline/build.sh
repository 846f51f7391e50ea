#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh PROGRAM...: builds otelcol, the OpenTelemetry Collector, and jaeger from their Go modules into .cache/pipeline, unless they
# are there as these files want them. Static programs, so that they run in the test kernel too. Needs Go.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
directory=${MQSPAN_CACHE:-$root/.cache}/pipeline
builder=v0.165.0
# Jaeger v2.13.0. Its commit also has the tag v1.76.0, by which Go knows the module.
jaeger=v1.76.0

[ $# -gt 0 ] || { sed -n '3,4s/^# //p' "$0" >&2 && exit 2; }
mkdir -p "$directory"
directory=$(realpath "$directory")
export CGO_ENABLED=0

# made PROGRAM WHAT: whether the program is there, made from WHAT.
made() {
	[ -x "$directory/$1" ] && [ "$(cat "$directory/$1.from" 2>/dev/null)" = "$2" ]
}

# logged PROGRAM COMMAND...: shows the command's output only if it fails.
logged() {
	local log=$directory/$1.log
	shift
	"$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2 && exit 1; }
}

build_otelcol() {
	sed "s|^dist:|&\n  output_path: $directory/otelcol.build|" "$here/otelcol-builder.yaml" >"$directory/otelcol.yaml"
	logged otelcol go run "go.opentelemetry.io/collector/cmd/builder@$builder" --config "$directory/otelcol.yaml"
	mv "$directory/otelcol.build/otelcol" "$directory/otelcol"
}

# In a module of its own: Go would not install Jaeger's, because it has a replace directive.
build_jaeger() {
	mkdir -p "$directory/jaeger.build"
	cd "$directory/jaeger.build"
	logged jaeger go mod init example.com/jaeger
	logged jaeger go get -tool "github.com/jaegertracing/jaeger/cmd/jaeger@$jaeger"
	logged jaeger go build -trimpath -ldflags "-s -w" -o "$directory/jaeger" github.com/jaegertracing/jaeger/cmd/jaeger
	cd "$root"
}

for program in "$@"; do
	case $program in
	otelcol) from=$builder$(cat "$here/otelcol-builder.yaml") ;;
	jaeger) from=$jaeger ;;
	*) echo "build.sh: no such program: $program" >&2 && exit 2 ;;
	esac
	made "$program" "$from" && continue
	command -v go >/dev/null || { echo "build.sh: $program is built with Go, which is not installed" >&2 && exit 1; }
	echo "build.sh: building $program from its Go modules; some minutes"
	rm -rf "${directory:?}/$program.build" "$directory/$program.log"
	"build_$program"
	rm -rf "${directory:?}/$program.build"
	printf '%s' "$from" >"$directory/$program.from"
done
