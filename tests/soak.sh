#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# soak.sh SECONDS [KERNEL BACKEND]: stress-ng's message queues in 64 and 32 bits, new processes, reloads and a collector that goes and comes back, all
# at once; on this machine with tracepoints, or on a test kernel, where the clock is set as well. Ends with the agent's memory and its slope.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
[ $# -eq 1 ] || [ $# -eq 3 ] || { sed -n '3,4s/^# //p' "$0" >&2 && exit 2; }
seconds=$1
arguments=(--filter '^soak$' --soak-seconds "$seconds")
libraries=()

# stress ARCH TRIPLET LOADER: adds stress-ng of this architecture, with its own libraries.
stress() {
	local unpacked
	# The same packages as in tests/oracle/run.sh, so that they are unpacked only once.
	unpacked=$("$here/oracle/debian.sh" "$1" stress-ng rt-tests python3)
	local loader=$unpacked/$3 path=$unpacked/lib/$2:$unpacked/usr/lib/$2 program=$unpacked/usr/bin/stress-ng
	arguments+=(--soak-command "$loader --library-path $path $program --mq 1 --timeout $seconds")
	mapfile -t needed < <("$loader" --library-path "$path" --list "$program" | sed -nE 's|.* => (/[^ ]*) .*|\1|p')
	libraries+=("$loader" "$program" "${needed[@]}")
}

stress amd64 x86_64-linux-gnu lib64/ld-linux-x86-64.so.2
stress i386 i386-linux-gnu lib/ld-linux.so.2

if [ $# -eq 1 ]; then
	exec "$root/target/debug/mqspan-e2e" --agent "$root/target/release/mqspan" --backend tracepoint \
		--workload "$root/target/workload/mqwork-x86_64" --workload32 "$root/target/workload/mqwork-i386" "${arguments[@]}"
fi
add=()
for file in "${libraries[@]}"; do
	add+=(--add "$file")
done
MQSPAN_VM_TIMEOUT=$((seconds + 1800)) exec "$here/vm/e2e.sh" "${add[@]}" "$2" "$3" -- "${arguments[@]}"
