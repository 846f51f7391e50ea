#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# matrix.sh [KERNEL[:ARGUMENT][/arm64][,BACKEND]...]: runs the cases in which the kernel has a part on every kernel and
# backend, and ends with a table of passed cases. Every BPF program is loaded. Build first, as for e2e.sh.
# JOBS=2: how many kernels run at once; each needs a core. VM_CASES: a regular expression for the names of the cases to run instead.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- 5.10 6.1 6.1:preempt=full,kprobe 6.12 backports 6.12/arm64
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# cell KERNEL[/arm64] BACKEND LOG: one boot; each line of output begins with kernel and backend.
# shellcheck disable=SC2317 # xargs calls it
cell() {
	local kernel=${1%/*} arch=x86_64
	[[ $1 != */* ]] || arch=${1#*/}
	"$here/e2e.sh" --arch "$arch" "$kernel" "$2" ${VM_CASES:+-- --filter "$VM_CASES"} 2>&1 | tee "$3.all" | sed -u "s|^|$1 $2: |"
	# Drops what was printed before the emulator failed, because it is printed again.
	awk '/^vm: .* from the beginning$/ { text = ""; next } { text = text $0 "\n" } END { printf "%s", text }' \
		"$3.all" >"$3"
}
export -f cell
export here

# count LOG WORD BITS: counts the cases of programs of so many bits that ended with this word. The names of 32-bit cases
# end in _32; time64 is one, too.
count() {
	local all of32
	all=$(grep -acE "^test .* \.\.\. $2" "$1")
	of32=$(grep -acE "^test ([a-z0-9_]*_32|time64) \.\.\. $2" "$1")
	if [ "$3" = 32 ]; then echo "$of32"; else echo $((all - of32)); fi
}

cells=()
for name in "$@"; do
	if [[ $name == *,* ]]; then
		cells+=("${name%,*} ${name#*,}")
	else
		cells+=("$name fentry" "$name kprobe" "$name tracepoint")
	fi
done
# shellcheck disable=SC2016 # $1 to $3 are those of the inner shell
printf '%s\n' "${cells[@]}" | awk -v work="$work" '{ print $1, $2, work "/log." NR }' |
	xargs -L 1 -P "${JOBS:-2}" bash -c 'cell "$1" "$2" "$3"' cell

failed=0
printf '\n| kernel | backend | ABI | passed | failed |\n|---|---|---|---|---|\n'
for i in "${!cells[@]}"; do
	read -r name backend <<<"${cells[i]}"
	log=$work/log.$((i + 1))
	abis=("64 x86_64" "32 i386")
	[[ $name != */arm64 ]] || abis=("64 aarch64" "32 arm")
	# Without this line the suite did not get to its end.
	grep -qaE '^[0-9]+ passed, 0 failed$' "$log" || failed=1
	for abi in "${abis[@]}"; do
		passed=$(count "$log" ok "${abi% *}")
		broken=$(count "$log" FAILED "${abi% *}")
		[ "$passed" -gt 0 ] && [ "$broken" -eq 0 ] || failed=1
		printf '| %s | %s | %s | %s | %s |\n' "${name%/*}" "$backend" "${abi#* }" "$passed" "$broken"
	done
done
exit "$failed"
