#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [KERNEL [OPTIONS]]: in a test kernel, where each message is followed, the agent sends the spans of real programs to a
# real Collector and a real Jaeger, which are built here. Then Jaeger is asked what arrived, and the Collector what it
# took, sampled and counted. JAEGER_REPOSITORY is as for build.sh. Needs Go. Build first: make programs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
kernel=${1:-6.1}
[ $# -eq 0 ] || shift
target=$root/target
built=${MQSPAN_CACHE:-$root/.cache}/pipeline

"$here/build.sh" otelcol telemetrygen jaeger
make -s -C "$root/tests/demo"
# Strips debugging symbols, which would be most of the image.
mkdir -p "$target/vm"
strip -o "$target/vm/mqspan-pipeline.new" "$target/debug/mqspan-pipeline"
mv "$target/vm/mqspan-pipeline.new" "$target/vm/mqspan-pipeline"

command=("$target/vm/mqspan-pipeline" --backend "${BACKEND:-fentry}" --slow-factor 8)
add=()
# carry OPTION FILE: passes the file to the command, and takes it to the test kernel under the same path.
carry() {
	local file
	file=$(realpath "$2")
	command+=("$1" "$file")
	add+=(--add "$file")
}
carry --agent "$target/release/mqspan"
carry --agent-config "$root/config/examples/mqspan.yaml"
carry --otelcol "$built/otelcol"
carry --otelcol-config "$root/config/examples/collector.yaml"
carry --otelcol-writing "$here/collector.yaml"
carry --telemetrygen "$built/telemetrygen"
carry --jaeger "$built/jaeger"
carry --workload "$target/workload/mqwork-x86_64"
carry --workload32 "$target/workload/mqwork-i386"
carry --orders "$target/demo/orders"
carry --warehouse "$target/demo/warehouse"
# Jaeger and the Collector are 150 MB, once in the image and once unpacked.
exec "$root/tests/vm/run.sh" --kernel "$kernel" --memory 3G --timeout "${MQSPAN_VM_TIMEOUT:-1800}" "${add[@]}" -- "${command[@]}" "$@"
