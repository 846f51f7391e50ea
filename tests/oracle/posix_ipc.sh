#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# posix_ipc.sh: prints a directory with PyPI's posix_ipc: its tests in tests/, its builds in x86_64/ and i386/.
set -euo pipefail

version=1.3.2
root=$(cd "$(dirname "$0")/../.." && pwd)
unpacked=${MQSPAN_CACHE:-$root/.cache}/oracle/posix_ipc-$version
if [ -d "$unpacked" ]; then
	echo "$unpacked"
	exit 0
fi

download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
pip=(python3 -m pip --disable-pip-version-check --quiet download --no-deps --dest "$download" "posix-ipc==$version")
echo "posix_ipc.sh: fetching posix-ipc $version from PyPI" >&2
"${pip[@]}" --no-binary posix-ipc >&2
tar -xzf "$download/posix_ipc-$version.tar.gz" -C "$download"
new=$download/posix_ipc-$version
for abi in x86_64 i386; do
	platform=manylinux_2_17_${abi/i386/i686}
	# For the Python of Debian 12.
	"${pip[@]}" --only-binary posix-ipc --python-version 311 --platform "$platform" >&2
	python3 -m zipfile -e "$download"/posix_ipc-*"$platform"*.whl "$new/$abi"
done
mkdir -p "$(dirname "$unpacked")"
mv "$new" "$unpacked"
echo "$unpacked"
