#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nightly.sh [TARGET...]: the long tests, one after the other, each with its output in target/nightly/TARGET.log; goes on after a failure. Ends
# with a table, and fails if any target did. Nothing is left out because it cannot run here: that is a failure. Without names, all, which takes
# a night. FUZZ_SECONDS=60 and HOSTILE_SECONDS=3600 say how long two of them go on.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
# cluster runs the image that image builds.
all=(image pipeline cluster deb alerts chart fuzz mutants hostile bench fresh)
logs=target/nightly
[ $# -gt 0 ] || set -- "${all[@]}"
for name in "$@"; do
	if [[ " ${all[*]} " != *" $name "* ]]; then
		echo "nightly: $name is none of ${all[*]}" >&2
		exit 2
	fi
done
mkdir -p "$logs"
# What was said to the make that runs this is not for the others.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

arguments() {
	case $1 in
	fuzz) echo "FUZZ_SECONDS=${FUZZ_SECONDS:-60}" ;;
	hostile) echo "HOSTILE_SECONDS=${HOSTILE_SECONDS:-3600}" ;;
	# The shortest in which every row is measured.
	bench) echo "BENCH_ARGS=--rounds 1 --outage 10" ;;
	esac
}

# telling LOG: its last line, but for what make says of itself.
telling() {
	tr -d '\r' <"$1" | sed 's/\x1b\[[0-9;]*m//g' | grep -avE '^(make(\[[0-9]+\])?: .*|[[:space:]]*)$' | tail -n 1 | tr '|' ' ' | cut -c 1-120
}

rows=()
failed=0
table() {
	printf '\n| target | result | seconds | its last line |\n|---|---|---:|---|\n'
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
	last=$(telling "$log")
	echo "nightly: $(date +%H:%M:%S): $name: $result after $took s: ${last:-no output}"
	rows+=("| $name | $result | $took | ${last:-no output} |")
done
table
[ "$failed" -eq 0 ]
