#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# e2e.sh KERNEL[:ARGUMENT] BACKEND... [-- E2E_ARGS]: the end-to-end cases in a test kernel, one boot a backend.
# ARGUMENT is for the kernel's command line, as in 6.1:preempt=full.
# Without E2E_ARGS the cases in which the kernel has a part; the others run on the machine itself.
# Build first: target/release/mqspan, target/debug/mqspan-e2e, target/workload.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
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
	for part in basic paced pingpong exchange odd time64 blocked interrupted killed exec_ closed tocttou correlation payload balance_ \
		filter_min filter_errors filter_syscalls abis trace_json doctor metrics clock; do
		set -- "$@" --filter "$part"
	done
fi

# Debugging symbols would be most of the image.
target=$root/target
mkdir -p "$target/vm"
strip -o "$target/vm/mqspan-e2e" "$target/debug/mqspan-e2e"

failed=0
for backend in "${backends[@]}"; do
	"$root/tests/vm/run.sh" --kernel "$kernel" --append "$append" --timeout "${MQSPAN_VM_TIMEOUT:-1200}" \
		--add "$target/release/mqspan" --add "$target/workload/mqwork-x86_64" --add "$target/workload/mqwork-i386" \
		-- "$target/vm/mqspan-e2e" --agent "$target/release/mqspan" --backend "$backend" --slow-factor 8 --own-machine \
		--workload "$target/workload/mqwork-x86_64" --workload32 "$target/workload/mqwork-i386" "$@" || failed=1
done
exit "$failed"
