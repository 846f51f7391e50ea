#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# instructions.sh [KERNEL]: measures what one call takes, traced and not, in instructions, which other load on the
# machine cannot change. Runs in QEMU with -icount, where each instruction advances the clock by one nanosecond. Build
# first: make programs.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=$root/target
kernel=${1:-6.1}

mkdir -p "$target/bench"
gcc -O2 -Wall -Wextra -o "$target/bench/floor" "$here/floor.c"
"$root/tests/vm/run.sh" --kernel "$kernel" --icount --timeout 900 \
	--add "$target/release/mqspan" --add "$target/bench/floor" --add "$target/workload/mqwork-x86_64" \
	-- "$here/instructions-guest.sh" "$target/release/mqspan" "$target/bench/floor" "$target/workload/mqwork-x86_64"
