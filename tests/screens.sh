#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# screens.sh [top|trace|chains]: prints what the documents show: the screen of `mqspan top` beside the two programs of the demo, on a terminal of
# 80x24 that tmux makes, or in a test kernel what `mqspan trace` says of them, or the chains of four programs that pass three messages on. As root;
# build first: make build, make -C tests/demo, make -C tests/workload.
set -euo pipefail

cd "$(dirname "$0")/.."
case ${1:-top} in
top) ;;
trace)
	exec tests/vm/run.sh --add target/demo/orders --add target/demo/warehouse -- \
		target/release/mqspan trace --color never --summary -- "$PWD/target/demo/orders" "$PWD/target/demo/warehouse"
	;;
chains)
	exec tests/vm/run.sh --add target/workload/mqwork-x86_64 -- \
		target/release/mqspan trace --color never --chains -- "$PWD/target/workload/mqwork-x86_64" --truth /dev/null shape pipeline 3
	;;
*) sed -n '3,5s/^# //p' "$0" >&2 && exit 2 ;;
esac
dir=$(mktemp -d)
in_tmux() {
	tmux -S "$dir/socket" "$@"
}
trap 'in_tmux kill-server 2>/dev/null || true; rm -rf "$dir"' EXIT

# await TEXT: waits until it is on the screen, for half a minute at most.
await() {
	for _ in $(seq 300); do
		in_tmux capture-pane -p >"$dir/screen"
		grep -q -- "$1" "$dir/screen" && return
		sleep 0.1
	done
	echo "screens.sh: no $1 on the screen:" >&2
	cat "$dir/screen" >&2
	exit 1
}

in_tmux -u -f /dev/null new-session -d -x 80 -y 24 -e LC_ALL=C.UTF-8 -e NO_COLOR=1 \
	"exec target/release/mqspan top --sort name --comm orders --comm warehouse" \; set-option -g status off
await 'No call on a queue yet'
target/demo/orders target/demo/warehouse &
demo=$!
await '/acks.*/8'
await '/orders.*/8'
# Goes to the last row, which has the error.
in_tmux send-keys G
await 'last error EMSGSIZE'
await 'warehouse.*receive_time32 /orders'
sed 's/[[:space:]]*$//' "$dir/screen"
wait "$demo"
