#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [BACKEND]: compares mqspan with strace on programs that this project did not write, in 64 and in 32 bits:
# stress-ng, rt-tests' pmqtest, and the tests of PyPI's posix_ipc. Ends with the number of calls compared.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
backend=${1:-tracepoint}
packages=(stress-ng rt-tests python3)
wanted=100000
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0
calls=0

posix_ipc=$("$here/posix_ipc.sh")
amd64=$("$here/debian.sh" amd64 "${packages[@]}")
i386=$("$here/debian.sh" i386 "${packages[@]}")

# select_abi ABI: sets `run`, which runs a program of this ABI with its own libraries, whatever is installed on this
# machine.
select_abi() {
	abi=$1
	local triplet loader
	case $abi in
	x86_64) debian=$amd64 triplet=x86_64-linux-gnu loader=lib64/ld-linux-x86-64.so.2 ;;
	i386) debian=$i386 triplet=i386-linux-gnu loader=lib/ld-linux.so.2 ;;
	esac
	run=("$debian/$loader" --library-path "$debian/lib/$triplet:$debian/usr/lib/$triplet")
}

# compare NAME CALLS COMMAND...
compare() {
	local name=$1 at_least=$2
	shift 2
	"$root/target/debug/mqspan-oracle" --agent "$root/target/release/mqspan" --backend "$backend" --name "$name" \
		--abi "$abi" --calls-at-least "$at_least" -- "$@"
}

posix_ipc_tests() {
	compare "posix_ipc's tests" 200 env -C "$posix_ipc" PYTHONDONTWRITEBYTECODE=1 "PYTHONHOME=$debian/usr" \
		"PYTHONPATH=$posix_ipc/$abi:$posix_ipc" "${run[@]}" "$debian/usr/bin/python3.11" \
		-m unittest tests.test_message_queues
}

# counted COMMAND...: a comparison that must find no difference.
counted() {
	local code=0
	"$@" >"$log" 2>&1 || code=$?
	if [ "$code" -eq 0 ]; then
		passed=$((passed + 1))
		grep -E '^threads killed|differences$' "$log"
	else
		failed=$((failed + 1))
		cat "$log"
	fi
	calls=$((calls + $(sed -nE 's/^.*: ([0-9]+) calls, [0-9]+ differences$/\1/p' "$log" | tail -n 1 | grep . || echo 0)))
}

for name in x86_64 i386; do
	select_abi "$name"
	counted compare "stress-ng" 50000 "${run[@]}" "$debian/usr/bin/stress-ng" --mq 1 --mq-ops 12000
	counted compare "stress-ng, four pairs" 5000 "${run[@]}" "$debian/usr/bin/stress-ng" --mq 4 --mq-ops 1200
	counted compare "pmqtest" 1500 "${run[@]}" "$debian/usr/bin/pmqtest" -q -t 2 -i 100 -l 300
	counted compare "pmqtest, timeouts" 20 "${run[@]}" "$debian/usr/bin/pmqtest" -q -t 2 -i 100 -l 300 -T 1
	counted posix_ipc_tests
done

# With spans missing, the same comparison must fail: this shows that it can find a difference.
code=0
MQSPAN__SAMPLING__RATIO=0.5 posix_ipc_tests >"$log" 2>&1 || code=$?
if [ "$code" -eq 1 ] && grep -q '^  no span$' "$log"; then
	passed=$((passed + 1))
	echo "with half of the spans: $(tail -n 1 "$log"), as it must"
else
	failed=$((failed + 1))
	cat "$log"
	echo "ended with $code where half of the spans were missing"
fi

echo "$calls calls compared"
if [ "$calls" -lt "$wanted" ]; then
	failed=$((failed + 1))
	echo "fewer than $wanted"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
