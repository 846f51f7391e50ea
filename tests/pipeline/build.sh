#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh PROGRAM...: builds otelcol (the OpenTelemetry Collector), telemetrygen (the Collector's load generator) and jaeger into
# .cache/pipeline, unless they are there as these files want them. Static programs, so that they run in the test kernel too. Needs Go.
# Jaeger's releases since 2.14 are no Go modules: JAEGER_REPOSITORY=https://github.com/jaegertracing/jaeger, or a copy of it, builds the one that
# compose uses; without it, Jaeger is the last that is a module.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
directory=${MQSPAN_CACHE:-$root/.cache}/pipeline
builder=v0.165.0
telemetrygen=v0.161.0
# Jaeger v2.13.0. Its commit also has the tag v1.76.0, by which Go knows the module.
jaeger_module=v1.76.0
jaeger_release=v2.20.0
jaeger_version=github.com/jaegertracing/jaeger/internal/version.latestVersion

[ $# -gt 0 ] || { sed -n '3,6s/^# //p' "$0" >&2 && exit 2; }
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

# tool PROGRAM MODULE VERSION [LDFLAGS]: in a module of its own, because Go installs no module that has a replace directive.
tool() {
	mkdir -p "$directory/$1.build"
	cd "$directory/$1.build"
	logged "$1" go mod init "example.com/$1"
	logged "$1" go get -tool "$2@$3"
	logged "$1" go build -trimpath -ldflags "-s -w ${4:-}" -o "$directory/$1" "$2"
	cd "$root"
}

build_telemetrygen() {
	tool telemetrygen github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen "$telemetrygen"
}

build_jaeger() {
	if [ -z "${JAEGER_REPOSITORY:-}" ]; then
		tool jaeger github.com/jaegertracing/jaeger/cmd/jaeger "$jaeger_module" "-X $jaeger_version=v2.13.0"
		return
	fi
	logged jaeger git clone --quiet --depth 1 --branch "$jaeger_release" "$JAEGER_REPOSITORY" "$directory/jaeger.build"
	cd "$directory/jaeger.build"
	logged jaeger go build -trimpath -ldflags "-s -w -X $jaeger_version=$jaeger_release" -o "$directory/jaeger" ./cmd/jaeger
	cd "$root"
}

for program in "$@"; do
	case $program in
	otelcol) from=$builder$(cat "$here/otelcol-builder.yaml") ;;
	telemetrygen) from=$telemetrygen ;;
	jaeger) from=$([ -n "${JAEGER_REPOSITORY:-}" ] && echo "$jaeger_release" || echo "$jaeger_module") ;;
	*) echo "build.sh: no such program: $program" >&2 && exit 2 ;;
	esac
	made "$program" "$from" && continue
	command -v go >/dev/null || { echo "build.sh: $program is built with Go, which is not installed" >&2 && exit 1; }
	echo "build.sh: building $program; some minutes"
	rm -rf "${directory:?}/$program.build" "$directory/$program.log"
	"build_$program"
	rm -rf "${directory:?}/$program.build"
	printf '%s' "$from" >"$directory/$program.from"
done
