#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# e2e.sh [--arch A] [--add FILE]... KERNEL[:ARGUMENT] BACKEND... [-- E2E_ARGS]: the end-to-end cases in a test kernel, one
# boot a backend. ARGUMENT is for the kernel's command line, as in 6.1:preempt=full.
# Without E2E_ARGS the cases in which the kernel has a part; the others run on the machine itself.
# Build first; x86_64: target/release/mqspan, target/debug/mqspan-e2e, target/workload; arm64: arm64.sh.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
arch=x86_64
[ "${1:-}" = --arch ] && arch=${2:-} && shift 2
add=()
while [ "${1:-}" = --add ]; do
	add+=(--add "$2")
	shift 2
done
[ $# -ge 2 ] || { sed -n '3,6s/^# //p' "$0" >&2 && exit 2; }
kernel=${1%%:*}
append=
[[ $1 == *:* ]] && append=${1#*:}
shift
backends=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	backends+=("$1")
	shift
done
[ $# -gt 0 ] && shift
if [ $# -eq 0 ]; then
	set -- --filter '^(basic|paced|pingpong|exchange|odd|time64|blocked|detached|interrupted|killed_|trace_json_killed|exec_)' \
		--filter '^(closed|tocttou|correlation|journeys|chains|process_spans|context_(executable|passed_on|exec|torn)|payload|balance_|abis|doctor|metrics|clock|top_)' \
		--filter '^filter_(min|errors|syscalls|in_kernel|include_all)'
	# Only attacks that kernels answer differently: how the ring is shared, where threads are remembered, what is
	# known about a process. The others are about the agent itself and would take minutes here.
	set -- "$@" --filter '^(hostile_(flood_getsetattr_1|namespaces)$|limits_(threads|payload_after_idle|messages|kretprobes)$|identity_(environ_huge|short_life|pid_namespace)$)'
fi

target=$root/target
case $arch in
x86_64)
	agent=$target/release/mqspan
	e2e=$target/vm/mqspan-e2e
	workload=$target/workload/mqwork-x86_64
	workload32=$target/workload/mqwork-i386
	# Strips debugging symbols, which would be most of the image.
	mkdir -p "$target/vm"
	strip -o "$e2e.$$" "$target/debug/mqspan-e2e"
	mv "$e2e.$$" "$e2e"
	;;
arm64)
	agent=$target/arm64/mqspan
	e2e=$target/arm64/mqspan-e2e
	workload=$target/arm64/mqwork-aarch64
	workload32=$target/arm64/mqwork-arm
	;;
*) echo "e2e.sh: no such architecture: $arch" >&2 && exit 2 ;;
esac
hostile=${workload%/*}/hostile-${workload##*/mqwork-}
steady=${workload%/*}/steady-${workload##*/mqwork-}
for program in "$agent" "$e2e" "$workload" "$workload32" "$hostile" "$steady"; do
	[ -x "$program" ] || { echo "e2e.sh: $program is not built: see the head of this script" >&2 && exit 2; }
done

# Programs that publish their contexts, with their libraries. ldd knows nothing of the C library of a cross compiler.
for program in "${workload%/*}"/ctx-* "${workload%/*}"/libctx-*; do
	add+=(--add "$program")
done
for library in /usr/i686-linux-gnu/lib/{ld-linux.so.2,libc.so.6}; do
	[ "$arch" = x86_64 ] && add+=(--add "$library")
done

failed=0
for backend in "${backends[@]}"; do
	"$root/tests/vm/run.sh" --kernel "$kernel" --arch "$arch" --append "$append" --timeout "${MQSPAN_VM_TIMEOUT:-2400}" \
		--add "$agent" --add "$workload" --add "$workload32" --add "$hostile" --add "$steady" \
		"${add[@]}" -- "$e2e" --agent "$agent" --backend "$backend" --slow-factor 8 --own-machine \
		--workload "$workload" --workload32 "$workload32" "$@" || failed=1
done
exit "$failed"
