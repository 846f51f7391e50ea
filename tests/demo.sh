#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# demo.sh: traces two programs live that talk over POSIX message queues, one of them 32-bit. Runs from a fresh clone on
# Debian or Ubuntu, as root: on this machine if its kernel lets mqspan trace, otherwise in QEMU.
set -euo pipefail

cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
	echo "demo: tracing needs root: sudo make demo" >&2
	exit 1
fi
tests/install-deps.sh --for demo
echo "demo: building mqspan, and two programs: orders, 64-bit, and warehouse, 32-bit"
cargo build --profile quick --quiet -p mqspan
make -s -C tests/demo

mqspan=$PWD/target/quick/mqspan
orders=$PWD/target/demo/orders
warehouse=$PWD/target/demo/warehouse
if why=$("$mqspan" doctor 2>&1); then
	exec "$mqspan" trace -- "$orders" "$warehouse"
fi
echo "demo: this machine's kernel does not let mqspan trace:"
printf '%s\n' "$why" | sed 's/^/    /'
echo "demo: the same in QEMU, on Debian's Linux 6.1"
tests/install-deps.sh --for vm
exec tests/vm/run.sh --add "$orders" --add "$warehouse" -- "$mqspan" trace -- "$orders" "$warehouse"
