#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# matrix.sh [KERNEL[/arm64]...]: the cases in which the kernel has a part, on every kernel and backend; ends
# with a table of passed cases. Every program is loaded. Build first, as for e2e.sh.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- 5.10 6.1 6.1:preempt=full 6.12 backports 6.12/arm64
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# count WORD BITS: cases of programs of so many bits that ended so. The names of 32-bit ones end in _32,
# and time64 is one.
count() {
	local all of32
	all=$(grep -acE "^test .* \.\.\. $1" "$work/log")
	of32=$(grep -acE "^test ([a-z0-9_]*_32|time64) \.\.\. $1" "$work/log")
	if [ "$2" = 32 ]; then echo "$of32"; else echo $((all - of32)); fi
}

failed=0
for name in "$@"; do
	kernel=${name%/*}
	arch=x86_64
	abis=("64 x86_64" "32 i386")
	if [ "$name" != "$kernel" ]; then
		arch=${name#*/}
		abis=("64 aarch64" "32 arm")
	fi
	for backend in fentry kprobe tracepoint; do
		printf '\n== Linux %s, %s, %s\n' "$kernel" "$arch" "$backend"
		"$here/e2e.sh" --arch "$arch" "$kernel" "$backend" 2>&1 | tee "$work/all" | sed -u 's/^/    /' || failed=1
		# What was printed before the emulator failed is printed again.
		awk '/^vm: .* from the beginning$/ { text = ""; next } { text = text $0 "\n" } END { printf "%s", text }' \
			"$work/all" >"$work/log"
		for abi in "${abis[@]}"; do
			passed=$(count ok "${abi% *}")
			broken=$(count FAILED "${abi% *}")
			[ "$passed" -gt 0 ] && [ "$broken" -eq 0 ] || failed=1
			printf '| %s | %s | %s | %s | %s |\n' "$kernel" "$backend" "${abi#* }" "$passed" "$broken" >>"$work/table"
		done
	done
done
printf '\n| kernel | backend | ABI | passed | failed |\n|---|---|---|---|---|\n'
cat "$work/table"
exit "$failed"
