#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nightly.sh [TARGET...]: runs the long tests one by one, each with its output in target/nightly/TARGET.log. Goes on after a failure, ends with a
# table, and fails if any target did. A target that cannot run on this machine has failed. Without names it runs all, which takes a night.
# FUZZ_SECONDS=60 (for each fuzz target), HOSTILE_SECONDS=150 (for each of some twenty attacks, an hour in all) and SOAK_SECONDS=3600 set how long
# these run.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
# cluster needs the image that image builds.
all=(image pipeline cluster deb alerts chart fuzz mutants hostile soak kernels bench fresh)
logs=target/nightly
[ $# -gt 0 ] || set -- "${all[@]}"
for name in "$@"; do
	if [[ " ${all[*]} " != *" $name "* ]]; then
		echo "nightly: no such target: $name; targets: ${all[*]}" >&2
		exit 2
	fi
done
mkdir -p "$logs"
# The variables and flags of the make that runs this would override those of the targets.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

arguments() {
	case $1 in
	fuzz) echo "FUZZ_SECONDS=${FUZZ_SECONDS:-60}" ;;
	hostile) echo "HOSTILE_SECONDS=${HOSTILE_SECONDS:-150}" ;;
	soak) echo "SOAK_SECONDS=${SOAK_SECONDS:-3600}" ;;
	# Every row, as briefly as possible.
	bench) echo "BENCH_ARGS=--rounds 1 --outage 10" ;;
	esac
}

# last_line LOG: prints the last line. A line from make itself counts only if there is no other.
last_line() {
	local lines
	lines=$(tr -d '\r' <"$1" | sed 's/\x1b\[[0-9;]*m//g' | grep -a '[^[:space:]]')
	{ grep -avE '^make(\[[0-9]+\])?: ' <<<"$lines" || cat <<<"$lines"; } | tail -n 1 | tr '|' ' ' | tr -s ' ' | cut -c 1-120
}

rows=()
failed=0
table() {
	printf '\n| target | result | seconds | last line |\n|---|---|---:|---|\n'
	printf '%s\n' "${rows[@]}"
}
trap 'table; echo "nightly: interrupted" >&2; exit 130' INT TERM HUP

for name in "$@"; do
	log=$logs/$name.log
	mapfile -t extra < <(arguments "$name")
	echo "nightly: $(date +%H:%M:%S): make $name ${extra[*]}"
	began=$SECONDS
	result=passed
	make "$name" "${extra[@]}" >"$log" 2>&1 </dev/null || result=FAILED
	[ "$result" = passed ] || failed=1
	took=$((SECONDS - began))
	last=$(last_line "$log")
	echo "nightly: $(date +%H:%M:%S): $name: $result after $took s: ${last:-no output}"
	rows+=("| $name | $result | $took | ${last:-no output} |")
done
table
[ "$failed" -eq 0 ]
