#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# instructions-guest.sh AGENT FLOOR WORKLOAD: the part of instructions.sh that runs in the guest, under busybox.
set -eu

agent=$1
floor=$2
workload=$3

# In nanoseconds of the guest's clock, which are instructions. The least of seven runs: anything above it is the guest's
# own work.
cost() {
	for _ in 1 2 3 4 5 6 7; do
		"$workload" "$1" 2000
	done | sed -n 's/.*"ns_per_call":\([0-9]*\).*/\1/p' | sort -n | sed -n 1p
}

row() {
	calls=$(cost flood)
	others=$(cost getppid)
	[ -n "${calls_alone:-}" ] || calls_alone=$calls others_alone=$others
	echo "| $1 | $calls | $((calls - calls_alone)) | $others | $((others - others_alone)) |"
}

# The agent is stopped while calls are made, so that only the callers' cost counts.
traced() {
	echo "{capture: {backend: $1, ring_buffer_size: 64MiB}, exporters: {otlp: {endpoint: 'http://127.0.0.1:1'}}, metrics: {otlp: {enabled: false}}, logs: {level: debug}, health: {address: '127.0.0.1:13133'}}" >/tmp/mqspan.yaml
	"$agent" run --config /tmp/mqspan.yaml 2>/tmp/log &
	until wget -q -O /dev/null http://127.0.0.1:13133/readyz 2>/dev/null; do
		kill -0 $! || { cat /tmp/log && exit 1; }
		sleep 0.1
	done
	# Waits until the program that catches the returns of earlier calls is gone.
	[ "$1" = tracepoint ] || until grep -q 'no call that was blocked' /tmp/log; do sleep 0.1; done
	kill -STOP $!
	row "mqspan, $1"
	kill -CONT $!
	kill $!
	wait $! || { cat /tmp/log && exit 1; }
	grep -q 'seen 28014 ' /tmp/log || { cat /tmp/log && exit 1; }
}

uname -srm
echo "| who watches | a send or a receive | added | getppid() | added |"
echo "|---|---:|---:|---:|---:|"
row "nobody"
mkfifo /tmp/hold
"$floor" </tmp/hold >/tmp/floor &
exec 3>/tmp/hold
until grep -q attached /tmp/floor; do sleep 0.1; done
row "empty programs on sys_enter and sys_exit"
exec 3>&-
wait $!
traced tracepoint
traced fentry
traced kprobe
