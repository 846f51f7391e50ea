#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh: runs all checks and tests, as CI does. Ends with one line that sums them up, and fails if any failed.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0
log=$(mktemp)
# Failures are repeated at the end, where they are read first.
failures=$(mktemp)
release_log=$(mktemp)
trap 'rm -f "$log" "$failures" "$release_log"' EXIT

section() {
	printf '\n== %s (%s s)\n' "$1" "$SECONDS"
}

# check NAME COMMAND...: one test, passed when the command succeeds.
check() {
	local name=$1
	shift
	section "$name"
	if "$@"; then
		passed=$((passed + 1))
		echo "-- $name: passed"
	else
		failed=$((failed + 1))
		echo "-- $name: FAILED" | tee -a "$failures"
	fi
}

# counted NAME COMMAND...: as many tests as the command's closing lines report. A command that fails without reporting a
# failure, or that reports no test, counts as one failure.
counted() {
	local name=$1 code=0 sums p f
	shift
	section "$name"
	# Indented, so that none of these lines is taken for the final sum.
	"$@" 2>&1 | tee "$log" | sed 's/^/    /' || code=1
	sums=$(sed -nE 's/^(test result: [a-zA-Z]+\. |[0-9a-z.:=\/]+ [a-z]+: )?([0-9]+) passed[,;] ([0-9]+) failed.*/\2 \3/p' "$log" |
		awk '{ p += $1; f += $2 } END { print p + 0, f + 0 }')
	p=${sums% *}
	f=${sums#* }
	if [ "$f" -eq 0 ] && { [ "$code" -ne 0 ] || [ "$p" -eq 0 ]; }; then
		f=1
	fi
	passed=$((passed + p))
	failed=$((failed + f))
	echo "-- $name: $p passed, $f failed"
	[ "$f" -eq 0 ] || {
		echo "-- $name: $f failed"
		# A failed case, and the reason that follows it.
		grep -aE -A 6 '^(test .* \.\.\. |[^ ].*: test .* \.\.\. )FAILED|^---- .* stdout ----|panicked at|^error' "$log" | head -n 80 | cut -c 1-400
	} >>"$failures"
}

# refuses COMMAND...: passes if the command exits with 1, which is how the harness reports a failure.
refuses() {
	local code=0
	"$@" >"$log" 2>&1 || code=$?
	[ "$code" -eq 1 ] && return
	cat "$log"
	echo "ended with $code, not 1"
	return 1
}

exits_with() {
	local want=$1 code=0
	shift
	"$@" >"$log" 2>&1 || code=$?
	[ "$code" -eq "$want" ] && return
	cat "$log"
	echo "ended with $code, not $want"
	return 1
}

format_c() {
	git ls-files -z 'bpf/*.c' 'bpf/*.h' 'tests/*.c' 'tests/*.h' | xargs -0 clang-format --dry-run -Werror
}

shell_scripts() {
	git ls-files -z '*.sh' .ci/run tests/vm/init | xargs -0 shellcheck
}

e2e() {
	target/debug/mqspan-e2e --agent target/release/mqspan --backend "$1" \
		--workload target/workload/mqwork-x86_64 --workload32 target/workload/mqwork-i386
}

# The last minutes of this build use one thread, so it runs beside the checks.
release_build() {
	wait "$release" && return
	cat "$release_log"
	return 1
}

# The fuzz targets are a separate workspace with its own lock file.
fuzz_versions() {
	cargo metadata --locked --quiet --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
}

check "dependencies" tests/install-deps.sh --for test
cargo build --release --quiet -p mqspan >"$release_log" 2>&1 &
release=$!
check "Rust formatting" cargo fmt --all -- --check
check "C formatting" format_c
check "shell scripts" shell_scripts
check "versions of the fuzz targets" fuzz_versions
check "tests that the documents name" tests/named_tests.sh
check "clippy" cargo clippy --workspace --all-targets --quiet -- -D warnings
# The tests enable a feature that makes everything public, which hides what nothing uses.
check "what nothing uses" cargo clippy -p mqspan --quiet -- -D warnings
counted "unit tests" cargo test --workspace --quiet
check "build of the cases" cargo build --quiet -p mqspan-tests
check "build of the agent" release_build
check "build of the workloads" make -s -C tests/workload
check "build of the attacks" make -s -C tests/hostile
check "build of programs with contexts" make -s -C tests/context
for abi in x86_64 i386; do
	for scenario in basic odd; do
		check "the truth of $scenario, $abi, by strace" tests/workload/oracle.sh "target/workload/mqwork-$abi" "$scenario"
	done
done
check "the truth of time64, i386, by strace" tests/workload/oracle.sh target/workload/mqwork-i386 time64
counted "end to end, tracepoint, on this machine" e2e tracepoint
counted "programs of others, by strace" tests/oracle/run.sh tracepoint
check "a test kernel gives a command's exit code" exits_with 3 tests/vm/run.sh -- sh -c 'exit 3'
check "a test kernel's panic is a failure" refuses tests/vm/run.sh -- sh -c 'echo c >/proc/sysrq-trigger'
check "a test kernel's warning is a failure" refuses tests/vm/run.sh -- sh -c 'echo "WARNING: CPU: 0 PID: 1" >/dev/kmsg'
# There, each thread can be preempted inside a system call.
counted "in a test kernel that preempts" tests/vm/e2e.sh 6.1:preempt=full kprobe -- --filter '^(balance_hidden|balance_contended_64|blocked_arriving_32)$'
# The part of `make kernels` in which kernel and backend differ most from those of this machine. On slow machines a case that starts an agent of
# its own takes most of a minute there; those that share one agent take a second.
export VM_CASES='^(basic|pingpong|exchange|odd_..$|time64|tocttou|interrupted|killed_|exec_|closed)|^(blocked_arriving_32|blocked_before_attach_64|detached_while_blocked_32|chains_request_and_reply|journeys_across|filter_in_kernel|limits_messages|limits_kretprobes|identity_pid_namespace)$'
counted "end to end in test kernels" tests/vm/matrix.sh 6.1,fentry 5.10,kprobe

[ ! -s "$failures" ] || section "what failed"
cat "$failures"
printf '\n%s s\n%s passed, %s failed\n' "$SECONDS" "$passed" "$failed"
[ "$failed" -eq 0 ]
