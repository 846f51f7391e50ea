#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# matrix.sh [KERNEL...]: the cases in which the kernel has a part, on every kernel and backend; ends with
# a table of passed cases. Every program is loaded. Build first, as for e2e.sh.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- 5.10 6.1 6.12 backports
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# count WORD ABI: cases of the ABI that ended so. The names of 32-bit ones end in _32, and time64 is one.
count() {
	local all of32
	all=$(grep -acE "^test .* \.\.\. $1" "$work/log")
	of32=$(grep -acE "^test ([a-z0-9_]*_32|time64) \.\.\. $1" "$work/log")
	if [ "$2" = i386 ]; then echo "$of32"; else echo $((all - of32)); fi
}

failed=0
for kernel in "$@"; do
	for backend in fentry kprobe tracepoint; do
		printf '\n== Linux %s, %s\n' "$kernel" "$backend"
		"$here/e2e.sh" "$kernel" "$backend" 2>&1 | tee "$work/log" | sed 's/^/    /' || failed=1
		for abi in x86_64 i386; do
			passed=$(count ok "$abi")
			broken=$(count FAILED "$abi")
			[ "$passed" -gt 0 ] && [ "$broken" -eq 0 ] || failed=1
			printf '| %s | %s | %s | %s | %s |\n' "$kernel" "$backend" "$abi" "$passed" "$broken" >>"$work/table"
		done
	done
done
printf '\n| kernel | backend | ABI | passed | failed |\n|---|---|---|---|---|\n'
cat "$work/table"
exit "$failed"
