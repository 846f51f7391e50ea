#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh [SECONDS] [TARGET...]: runs each fuzz target with libFuzzer for this many seconds. The corpus stays in
# .cache/fuzz for the next run. Stops at the first input on which a target fails, and leaves that input in target/fuzz.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- records requests
cache=${MQSPAN_CACHE:-$root/.cache}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

"$root/tests/install-deps.sh" --for fuzz
# The instrumentation that libFuzzer needs, without a sanitizer, which would need an unstable compiler. --target is
# given so that build scripts are not instrumented.
flags=(--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
	-Cllvm-args=-sanitizer-coverage-trace-compares)
RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR="$root/target/fuzz" \
	cargo build --quiet --locked --release --target "$host" --manifest-path "$root/fuzz/Cargo.toml"

for target in "$@"; do
	echo "fuzz: $target for $seconds s"
	mkdir -p "$cache/$target"
	"$root/target/fuzz/$host/release/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1 \
		-artifact_prefix="$root/target/fuzz/$target-" "$cache/$target" 2>"$root/target/fuzz/$target.log" || {
		tail -n 40 "$root/target/fuzz/$target.log"
		exit 1
	}
	grep -E '^#[0-9]+\s+DONE' "$root/target/fuzz/$target.log"
done
