#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# instructions.sh [KERNEL]: what one call takes, traced and not, in instructions, which no neighbour on the machine
# can change. In QEMU with -icount, whose clock goes one nanosecond on with each instruction. Build first: make programs.
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
