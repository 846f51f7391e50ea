#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# oracle.sh MQWORK SCENARIO: compares the workload's own truth with what strace sees: every call and its result.
set -euo pipefail

mqwork=$1
scenario=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

strace -qq -o "$work/strace" -e trace=/^mq_ -e signal=none \
	"$mqwork" --truth "$work/truth" --prefix "/oracle.$$" "$scenario"

# strace shows the time32 calls under the plain name, and -512 as a restart.
sed -nE 's/^(mq_[a-z0-9_]+)\(.*\) += (-?[0-9]+)( (E[A-Z]+))?.*/\1 \2 \4/p' "$work/strace" |
	awk '{ print $1, ($3 == "" ? $2 : $3) }' >"$work/seen"
sed -nE 's/^\{"op":"([^"]+)".*"ret":(-?[0-9]+),"errno_name":("([A-Z0-9]+)"|null).*/\1 \2 \4/p' "$work/truth" |
	sed 's/_time32//' | awk '{ print $1, ($3 == "" ? $2 : $3) }' >"$work/told"

if ! [ -s "$work/seen" ] || ! diff -u --label strace --label "$scenario" "$work/seen" "$work/told"; then
	echo "oracle: $(basename "$mqwork") $scenario does not tell what strace saw" >&2
	exit 1
fi
echo "oracle: $(basename "$mqwork") $scenario: $(wc -l <"$work/seen") calls as strace saw them"
