#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# named_tests.sh: checks that each test that CONTRIBUTING.md names in "Reports from the field" exists as a case or a
# function.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck disable=SC2016 # backquotes of Markdown
names=$(sed -n '/^## Reports from the field/,/^## Style/p' CONTRIBUTING.md | grep '^| \[' | awk -F'|' '{ print $4 }' | grep -o '`[^`]*`' | tr -d '`')
[ -n "$names" ] || { echo "named_tests.sh: CONTRIBUTING.md names no test" >&2 && exit 1; }
missing=0
for name in $names; do
	git grep -qE "(case!|scenario)\(\"$name\"|fn $name\(" -- '*.rs' && continue
	echo "named_tests.sh: no test is called $name" >&2
	missing=1
done
exit "$missing"
